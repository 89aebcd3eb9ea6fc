//! Memory for what one query after the other is made of: plan, tests, order.
//!
//! Small requests stand in a buffer that stays, others in an arena. The arena alone would take a
//! fifth of the time of a short query: its allocations are atomic, and safe builds fill what is
//! allocated, byte by byte. So what `take` gives is not filled; whoever asks writes all that is
//! read.
//!
//! Invariant: nothing that was given is used after `reset`.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Alignment = std.mem.Alignment;
const assert = std.debug.assert;

pub const QueryMemory = struct {
    buffer: [buffer_size]u8 align(16) = undefined,
    used: usize = 0,
    arena: std.heap.ArenaAllocator,
    /// Something is in the arena.
    overflowed: bool = false,

    const buffer_size = 2048;
    /// Memory of the arena that the next query may use.
    const retained_size = 64 * 1024;

    /// Prepares memory in place. It does not move afterwards: allocators refer to it.
    pub fn init(memory: *QueryMemory, gpa: Allocator) void {
        memory.used = 0;
        memory.arena = .init(gpa);
        memory.overflowed = false;
    }

    pub fn deinit(memory: *QueryMemory) void {
        memory.arena.deinit();
    }

    /// Takes everything back.
    pub fn reset(memory: *QueryMemory) void {
        memory.used = 0;
        if (!memory.overflowed) return;
        memory.overflowed = false;
        _ = memory.arena.reset(.{ .retain_with_limit = retained_size });
    }

    pub fn allocator(memory: *QueryMemory) Allocator {
        return .{ .ptr = memory, .vtable = &.{
            .alloc = alloc,
            .resize = Allocator.noResize,
            .remap = Allocator.noRemap,
            .free = Allocator.noFree,
        } };
    }

    fn alloc(context: *anyopaque, size: usize, alignment: Alignment, address: usize) ?[*]u8 {
        const memory: *QueryMemory = @ptrCast(@alignCast(context));
        assert(memory.used <= buffer_size);
        const start = alignment.forward(memory.used);
        if (alignment.toByteUnits() <= 16 and start <= buffer_size and
            size <= buffer_size - start)
        {
            memory.used = start + size;
            return memory.buffer[start..].ptr;
        }
        memory.overflowed = true;
        return memory.arena.allocator().rawAlloc(size, alignment, address);
    }
};

/// Memory for `count` values, not filled in any build.
pub fn take(allocator: Allocator, comptime T: type, count: usize) Allocator.Error![]T {
    if (count == 0) return &.{};
    const size = std.math.mul(usize, @sizeOf(T), count) catch return error.OutOfMemory;
    const bytes = allocator.rawAlloc(size, .of(T), @returnAddress()) orelse
        return error.OutOfMemory;
    return @as([*]T, @ptrCast(@alignCast(bytes)))[0..count];
}

test "QueryMemory: gives aligned memory that does not overlap, in the buffer and behind it" {
    var memory: QueryMemory = undefined;
    memory.init(std.testing.allocator);
    defer memory.deinit();
    for (0..3) |_| {
        const allocator = memory.allocator();
        const odd = try take(allocator, u8, 13);
        @memset(odd, 1);
        const words = try take(allocator, u64, 20);
        @memset(words, 2);
        try std.testing.expect(!memory.overflowed);
        const large = try take(allocator, u64, 1000);
        @memset(large, 3);
        try std.testing.expect(memory.overflowed);
        // What is left of the buffer is still used.
        const last = try allocator.alloc(u32, 8);
        @memset(last, 4);
        const start = @intFromPtr(&memory.buffer);
        const at = @intFromPtr(last.ptr);
        try std.testing.expect(at >= start and at < start + QueryMemory.buffer_size);

        for (odd) |byte| try std.testing.expectEqual(1, byte);
        for (words) |word| try std.testing.expectEqual(2, word);
        for (large) |word| try std.testing.expectEqual(3, word);
        try std.testing.expectEqual(0, (try take(allocator, u64, 0)).len);
        memory.reset();
        try std.testing.expectEqual(0, memory.used);
    }
}

test "QueryMemory: says so if there is no memory" {
    var failing: std.testing.FailingAllocator = .init(std.testing.allocator, .{ .fail_index = 0 });
    var memory: QueryMemory = undefined;
    memory.init(failing.allocator());
    defer memory.deinit();
    _ = try take(memory.allocator(), u8, QueryMemory.buffer_size);
    try std.testing.expectError(error.OutOfMemory, take(memory.allocator(), u8, 1));
    const far = std.math.maxInt(usize) / 4;
    try std.testing.expectError(error.OutOfMemory, take(memory.allocator(), u64, far));
}
