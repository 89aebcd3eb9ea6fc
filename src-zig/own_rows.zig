//! Rows that a transaction has changed and shows before they are in the region.
//!
//! A row view of TypeScript reads memory by its distance from the region's start. What a
//! transaction has written is in private memory until it commits, so a row of it that is to be
//! viewed is copied into bytes that every process maps right behind the region, for itself alone.
//! The distance then leads there like to any other row.
//!
//! The bytes are handed out in chunks to open transactions and come back when these end.

const std = @import("std");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const RowRef = @import("row.zig").RowRef;
const table_info = @import("table_info.zig");
const assert = std.debug.assert;

const chunk_size = 64 * 1024;
/// Stands before the payload, as in the region: the null mask, and the mask of valid columns.
const prefix_size = 16;

comptime {
    assert(prefix_size + table_info.row_payload_size_max <= chunk_size);
}

/// The bytes of one process behind one region.
pub const OwnRows = struct {
    mutex: ProcessMutex = .{},
    bytes: []align(4096) u8,
    taken: std.StaticBitSet(chunk_count_max) = .initEmpty(),

    const chunk_count_max = 256;

    fn take(own: *OwnRows) ?u16 {
        own.mutex.lock();
        defer own.mutex.unlock();
        for (0..@min(chunk_count_max, own.bytes.len / chunk_size)) |i| {
            if (own.taken.isSet(i)) continue;
            own.taken.set(i);
            return @intCast(i);
        }
        return null;
    }

    fn giveBack(own: *OwnRows, chunks: []const u16) void {
        own.mutex.lock();
        defer own.mutex.unlock();
        for (chunks) |chunk| {
            assert(own.taken.isSet(chunk));
            own.taken.unset(chunk);
        }
    }
};

/// The rows that one transaction shows.
pub const Shown = struct {
    own: *OwnRows,
    chunks: std.ArrayList(u16) = .empty,
    /// Bytes used of the last chunk.
    used: usize = chunk_size,
    /// Where the copy of each image is, by the image's address: an image is shown once.
    copies: std.AutoHashMapUnmanaged(usize, [*]align(8) u8) = .empty,

    pub const Error = error{ OutOfMemory, NotSupported };

    pub fn deinit(shown: *Shown, gpa: std.mem.Allocator) void {
        if (shown.chunks.items.len > 0) shown.own.giveBack(shown.chunks.items);
        shown.chunks.deinit(gpa);
        shown.copies.deinit(gpa);
    }

    /// The row where a view can read it. `row` must not change while the transaction is open.
    pub fn show(shown: *Shown, gpa: std.mem.Allocator, row: RowRef, columns: u64) Error!RowRef {
        if (row.version != 0) return row; // It is in the region.
        const entry = try shown.copies.getOrPut(gpa, @intFromPtr(row.payload));
        if (!entry.found_existing) {
            errdefer shown.copies.removeByPtr(entry.key_ptr);
            entry.value_ptr.* = try shown.copy(gpa, row, columns);
        }
        var there = row;
        there.payload = entry.value_ptr.*;
        return there;
    }

    fn copy(
        shown: *Shown,
        gpa: std.mem.Allocator,
        row: RowRef,
        columns: u64,
    ) Error![*]align(8) u8 {
        const size = prefix_size + std.mem.alignForward(usize, row.size, 8);
        if (shown.used + size > chunk_size) {
            try shown.chunks.ensureUnusedCapacity(gpa, 1);
            shown.chunks.appendAssumeCapacity(shown.own.take() orelse return error.NotSupported);
            shown.used = 0;
        }
        const chunk = shown.chunks.items[shown.chunks.items.len - 1];
        const to = shown.own.bytes[@as(usize, chunk) * chunk_size + shown.used ..][0..size];
        shown.used += size;
        std.mem.writeInt(u64, to[0..8], row.null_mask, .little);
        std.mem.writeInt(u64, to[8..16], columns, .little);
        @memcpy(to[prefix_size..][0..row.size], row.payload[0..row.size]);
        return @alignCast(to.ptr + prefix_size);
    }
};

const testing = std.testing;

test "Shown: copies an image once, with its masks before it, and gives the chunks back" {
    const bytes = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), 2 * chunk_size);
    defer testing.allocator.free(bytes);
    var own: OwnRows = .{ .bytes = bytes };
    var shown: Shown = .{ .own = &own };
    var image: [40_000]u8 align(8) = @splat(7);
    const row: RowRef = .{ .payload = &image, .null_mask = 5, .version = 0, .size = image.len };
    const first = try shown.show(testing.allocator, row, 0b111);
    const again = try shown.show(testing.allocator, row, 0b111);
    try testing.expectEqual(first.payload, again.payload);
    const masks: [*]const u64 = @ptrCast(first.payload - prefix_size);
    try testing.expectEqual(@as(u64, 5), masks[0]);
    try testing.expectEqual(@as(u64, 0b111), masks[1]);
    try testing.expectEqualSlices(u8, &image, first.payload[0..row.size]);

    var other: [40_000]u8 align(8) = @splat(8);
    var second = row;
    second.payload = &other;
    _ = try shown.show(testing.allocator, second, 0b111);
    var third = row;
    third.payload = other[8..];
    third.size = 30_000;
    try testing.expectError(error.NotSupported, shown.show(testing.allocator, third, 0b111));
    shown.deinit(testing.allocator);
    try testing.expectEqual(@as(usize, 0), own.taken.count());
}
