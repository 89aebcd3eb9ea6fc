//! Spares: segments that are ready before they are needed.
//!
//! A spare has its name, its size and its zeros on the disk, so the first frame that goes into it
//! needs no more than any other. Making one waits for the disk and is done without a lock.
//!
//! Its zeros are written where somebody waits for syncs, because a sync into blocks that were
//! written before takes a third less. Where nobody does, the file system is told to give zeros for
//! blocks that it only sets aside: that spares half of the bytes that go to the disk. Who begins to
//! wait while such a segment is in use has zeros written ahead, piece by piece
//! (`LogWriter.fillAhead`).

const std = @import("std");
const file_layer = @import("file_layer.zig");
const segment = @import("log_segment.zig");
const Files = file_layer.Files;

const zeros: [64 * 1024]u8 = @splat(0);

/// A segment that nothing has been written into but zeros.
pub const Spare = struct {
    file: file_layer.Handle,
    number: u32,
    size: u64,
    /// Its zeros were written.
    filled: bool,

    /// Removes it.
    pub fn discard(spare: Spare, files: Files) void {
        files.close(spare.file);
        files.unlink(segment.Name.of(spare.number).slice()) catch {};
    }
};

/// A spare to be made.
pub const SpareOrder = struct {
    /// The lowest number that it may get.
    number: u32,
    size: u64,
    /// What will do where there is no room for `size`; 0 if nothing smaller will.
    size_min: u64 = 0,
    /// If not even that fits, smaller ones down to this will do, because frames wait that need no
    /// more: it takes what is left of the disk, so it is for when nothing comes after them. 0 if
    /// nothing waits.
    last_resort: u64 = 0,
    /// Write the zeros.
    filled: bool = true,

    /// Creates the file, fills it, and puts it on the disk: milliseconds. If that fails, the file
    /// is removed again. `error.NoSpace` says that the disk is full, and harms nothing.
    pub fn make(order: SpareOrder, files: Files) file_layer.Error!Spare {
        var size = order.size;
        while (true) return order.makeOnce(size, files) catch |err| {
            if (err != error.NoSpace) return err;
            const half = std.mem.alignBackward(u64, size / 2, segment.block_size);
            const least = if (order.last_resort > 0) order.last_resort else order.size_min;
            if (least == 0 or size <= least) return err;
            size = @max(half, least);
            continue;
        };
    }

    fn makeOnce(order: SpareOrder, size: u64, files: Files) file_layer.Error!Spare {
        var number = order.number;
        // A number may be taken: by the spare of a leader before us that knew nothing of us.
        const file = while (true) : (number += 1) {
            if (number == std.math.maxInt(u32)) return error.IoError;
            const name = segment.Name.of(number);
            break files.open(name.slice(), .create_exclusive) catch |err| switch (err) {
                error.Exists => continue,
                else => return err,
            };
        };
        const spare: Spare = .{
            .file = file,
            .number = number,
            .size = size,
            .filled = order.filled,
        };
        errdefer spare.discard(files);
        try files.reserve(file, spare.size);
        if (order.filled) try writeZeros(files, file, 0, spare.size);
        try files.sync(file);
        try files.syncDirectory();
        return spare;
    }
};

/// Both ends are multiples of a block.
pub fn writeZeros(files: Files, file: file_layer.Handle, from: u64, to: u64) file_layer.Error!void {
    var offset = from;
    while (offset < to) : (offset += zeros.len) {
        const size: usize = @intCast(@min(zeros.len, to - offset));
        try files.writeAt(file, zeros[0..size], offset);
    }
}

const testing = std.testing;
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;

test "SpareOrder.make: takes the next free number, and leaves nothing behind when it fails" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    const files = disk.files();
    const order: SpareOrder = .{ .number = 4, .size = segment.size_min };
    const first = try order.make(files);
    const second = try order.make(files);
    try testing.expectEqual(4, first.number);
    try testing.expectEqual(5, second.number);
    try testing.expectEqual(segment.size_min, try files.size(second.file));
    first.discard(files);
    const writes = disk.calls.get(.write);
    const plain: SpareOrder = .{ .number = 6, .size = segment.size_min, .filled = false };
    const bare = try plain.make(files);
    try testing.expectEqual(writes, disk.calls.get(.write));
    try testing.expectEqual(segment.size_min, try files.size(bare.file));
    bare.discard(files);
    try testing.expectEqual(null, disk.contents(segment.Name.of(4).slice()));

    disk.fault = .{ .call = .sync };
    try testing.expectError(error.IoError, order.make(files));
    disk.fault = null;
    disk.capacity = disk.used() + segment.size_min - 1;
    try testing.expectError(error.NoSpace, order.make(files));
    try testing.expectEqual(null, disk.contents(segment.Name.of(4).slice()));
}

test "SpareOrder.make: where there is no room, makes a smaller one if that will do" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    const files = disk.files();
    disk.capacity = 5 * segment.size_min;
    var order: SpareOrder = .{ .number = 1, .size = 16 * segment.size_min };
    try testing.expectError(error.NoSpace, order.make(files));
    order.size_min = 8 * segment.size_min;
    try testing.expectError(error.NoSpace, order.make(files));
    try testing.expectEqual(0, disk.used());
    order.size_min = 2 * segment.size_min;
    const spare = try order.make(files);
    defer files.close(spare.file);
    try testing.expectEqual(4 * segment.size_min, spare.size);
    try testing.expectEqual(spare.size, disk.used());
    try testing.expectEqual(1, spare.number);
    try testing.expectError(error.NoSpace, order.make(files));
    order.last_resort = segment.block_size;
    const smallest = try order.make(files);
    defer files.close(smallest.file);
    try testing.expectEqual(segment.size_min, smallest.size);
}
