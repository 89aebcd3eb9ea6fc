//! Every atomic, futex, byte lock, clock and pause of the engine: the simulated personality.
//!
//! Same names and meanings as `sync_native.zig`; read the contracts there. Each function that
//! another process could notice is a scheduling point of `scheduler.zig`, at which any fiber may
//! go on and at which a fiber may be killed. Memory is sequentially consistent, or with store
//! buffers as weak as x86-64. Weaker orders than that are not simulated: a missing acquire or
//! release is for ThreadSanitizer and for arm64 machines to find.

const std = @import("std");
const assert = std.debug.assert;
const AtomicOrder = std.builtin.AtomicOrder;

pub const scheduler = @import("scheduler.zig");
pub const memory = @import("memory.zig");
pub const Mutation = @import("mutation.zig").Mutation;

pub const sim = true;

pub fn Shm(comptime T: type) type {
    const size = @sizeOf(T);
    switch (@typeInfo(T)) {
        .int => {},
        .@"struct" => |info| assert(info.layout == .@"packed"),
        else => @compileError("Shm(" ++ @typeName(T) ++ "): only integers and packed structs"),
    }
    assert(size == 1 or size == 2 or size == 4 or size == 8);
    assert(@bitSizeOf(T) == size * 8);

    return extern struct {
        raw: T,

        const Self = @This();
        const Bits = @Int(.unsigned, size * 8);

        pub fn init(value: T) Self {
            return .{ .raw = value };
        }

        fn encode(value: T) u64 {
            return @as(Bits, @bitCast(value));
        }

        fn decode(bits: u64) T {
            return @bitCast(@as(Bits, @truncate(bits)));
        }

        fn address(self: *const Self) usize {
            return @intFromPtr(&self.raw);
        }

        // None of these is inlined, so that a return address names the line of the engine that
        // made the access.

        pub noinline fn load(self: *const Self, comptime order: AtomicOrder) T {
            comptime assert(order != .release and order != .acq_rel);
            scheduler.access();
            refuseFreed(self.address());
            var value = self.raw;
            if (scheduler.storeBuffer()) |buffer| {
                if (buffer.lookup(self.address())) |own| value = decode(own);
            }
            trace("load", self.address(), encode(value), encode(value), @returnAddress());
            return value;
        }

        pub noinline fn store(self: *Self, value: T, comptime order: AtomicOrder) void {
            comptime assert(order != .acquire and order != .acq_rel);
            scheduler.access();
            memory.revive(self.address());
            trace("store", self.address(), encode(self.raw), encode(value), @returnAddress());
            const buffer = scheduler.storeBuffer() orelse return self.write(value);
            buffer.push(self.address(), encode(value), size);
            if (order == .seq_cst) buffer.flushAll();
            scheduler.wrote();
        }

        /// Stores without delay, and tells the waiting if that changes anything.
        inline fn write(self: *Self, value: T) void {
            const before = self.raw;
            self.raw = value;
            if (before != value) scheduler.wrote();
        }

        pub noinline fn swap(self: *Self, value: T, comptime _: AtomicOrder) T {
            lockedAccess();
            return self.update("swap", value, @returnAddress());
        }

        pub noinline fn fetchAdd(self: *Self, value: T, comptime _: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            lockedAccess();
            return self.update("add", self.raw +% value, @returnAddress());
        }

        pub noinline fn fetchSub(self: *Self, value: T, comptime _: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            lockedAccess();
            return self.update("subtract", self.raw -% value, @returnAddress());
        }

        pub noinline fn fetchMax(self: *Self, value: T, comptime _: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            lockedAccess();
            return self.update("maximum", @max(self.raw, value), @returnAddress());
        }

        pub noinline fn fetchOr(self: *Self, value: T, comptime _: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            lockedAccess();
            return self.update("or", self.raw | value, @returnAddress());
        }

        /// The second half of a read-modify-write.
        inline fn update(self: *Self, operation: []const u8, new: T, caller: usize) T {
            refuseFreed(self.address());
            const before = self.raw;
            self.write(new);
            trace(operation, self.address(), encode(before), encode(new), caller);
            return before;
        }

        pub noinline fn cas(
            self: *Self,
            expected: T,
            new: T,
            comptime _: AtomicOrder,
            comptime failure: AtomicOrder,
        ) ?T {
            comptime assert(failure != .release and failure != .acq_rel);
            lockedAccess();
            refuseFreed(self.address());
            const before = self.raw;
            const caller = @returnAddress();
            if (before != expected) {
                trace("cas failed", self.address(), encode(before), encode(new), caller);
                return before;
            }
            self.write(new);
            trace("cas", self.address(), encode(before), encode(new), caller);
            return null;
        }
    };
}

/// A scheduling point of a locked instruction: it empties the store buffer.
fn lockedAccess() void {
    scheduler.access();
    if (scheduler.storeBuffer()) |buffer| buffer.flushAll();
}

/// Reports a use of memory that somebody has freed.
inline fn refuseFreed(address: usize) void {
    if (!memory.isFreed(address)) return;
    const offset = address - @intFromPtr(memory.watched().ptr);
    scheduler.fail("uses freed memory at @{x}", .{offset});
}

/// Notes that a block of the region is free from now on; see `memory.zig`.
pub fn poison(block: [*]u8, bytes: usize) void {
    memory.poison(block, bytes);
}

inline fn trace(
    operation: []const u8,
    address: usize,
    before: u64,
    after: u64,
    caller: usize,
) void {
    if (scheduler.tracer) |tracer| tracer(.{
        .task = scheduler.self(),
        .operation = operation,
        .address = address,
        .before = before,
        .after = after,
        .caller = caller,
    });
}

pub fn fence() void {
    lockedAccess();
}

pub fn step() void {
    scheduler.access();
}

pub noinline fn copyIn(dst: [*]u8, src: [*]const u8, n: usize) void {
    lockedAccess(); // Plain bytes do not pass through the simulated buffer: keep the order.
    memory.revive(@intFromPtr(dst));
    @memcpy(dst[0..n], src[0..n]);
    trace("copy in", @intFromPtr(dst), 0, n, @returnAddress());
}

pub noinline fn copyOut(dst: [*]u8, src: [*]const u8, n: usize) void {
    assert(n % 8 == 0);
    const from: [*]const u64 = @ptrCast(@alignCast(src));
    const to: [*]u64 = @ptrCast(@alignCast(dst));
    scheduler.access();
    refuseFreed(@intFromPtr(src));
    trace("copy out", @intFromPtr(src), 0, n, @returnAddress());
    for (0..n / 8) |i| {
        if (i > 0 and scheduler.options.split_copies) scheduler.access();
        to[i] = from[i];
    }
}

pub fn everywhereFence() void {
    fence();
}

pub noinline fn copyRacing(dst: [*]u8, src: [*]const u8, n: usize) void {
    assert(n % 8 == 0);
    scheduler.access();
    trace("copy racing", @intFromPtr(src), 0, n, @returnAddress());
    @memcpy(dst[0..n], src[0..n]);
}

pub fn spinHint() void {
    scheduler.pause(.spin);
}

pub fn yield() void {
    scheduler.pause(.yield);
}

pub fn sleepNs(ns: u64) void {
    scheduler.sleep(ns);
}

pub fn nowNs() u64 {
    return scheduler.clock();
}

pub noinline fn futexWait(word: *const Shm(u32), expected: u32, timeout_ns: u64) void {
    lockedAccess();
    trace("futex wait", @intFromPtr(word), word.raw, expected, @returnAddress());
    if (word.raw == expected) scheduler.sleepOn(word, timeout_ns);
}

pub const FutexWait = struct { word: *const Shm(u32), expected: u32 };
pub const futex_wait_any_max = 128;

/// Sleeps on the first word, for a moment at most: the native one may wake for no reason as well.
pub noinline fn futexWaitAny(waits: []const FutexWait, timeout_ns: u64) void {
    lockedAccess();
    for (waits) |wait| {
        trace("futex wait", @intFromPtr(wait.word), wait.word.raw, wait.expected, @returnAddress());
        if (wait.word.raw != wait.expected) return;
    }
    scheduler.sleepOn(waits[0].word, @min(timeout_ns, 1_000_000));
}

pub noinline fn futexWake(word: *const Shm(u32), n: u32) void {
    lockedAccess();
    trace("futex wake", @intFromPtr(word), word.raw, n, @returnAddress());
    scheduler.wake(word, n);
}

pub fn mutated(comptime m: Mutation) bool {
    comptime assert(m != .none);
    return scheduler.options.mutation == m;
}

pub const ByteLock = struct {
    pub fn tryLock(fd: i32, byte: u64) bool {
        return scheduler.tryLock(fd, byte);
    }

    pub fn unlock(fd: i32, byte: u64) void {
        scheduler.unlock(fd, byte);
    }

    pub fn isHeld(fd: i32, byte: u64) bool {
        return scheduler.isHeld(fd, byte);
    }
};

test {
    _ = @import("fiber.zig");
    _ = @import("store_buffer.zig");
    _ = @import("byte_locks.zig");
    _ = @import("tape.zig");
    _ = memory;
    _ = @import("chooser.zig");
    _ = scheduler;
}
