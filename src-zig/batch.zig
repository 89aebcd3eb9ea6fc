//! A batch of a result: as many of its rows as fit into a buffer, in the form that the query wants.
//!
//! What a record and a handle look like is in `result.zig`. A batch never holds part of one: a row
//! that does not fit leaves the buffer as it was, and begins the next batch.

const std = @import("std");
const Projector = @import("result.zig").Projector;
const RowRef = @import("row.zig").RowRef;
const assert = std.debug.assert;

pub const Batch = struct {
    /// Records or handles in the output.
    rows: u32 = 0,
    bytes: u32 = 0,
    /// There is nothing more; the query need not be asked again.
    done: bool = false,
};

/// Appends rows to the output.
pub const BatchWriter = struct {
    projector: *const Projector,
    /// Handles go out, and not records.
    handles: bool,
    output: []align(8) u8,
    /// The address that handles are counted from.
    handle_base: usize,
    batch: Batch = .{},

    /// False if there is no room for the row.
    pub inline fn append(writer: *BatchWriter, row: RowRef) error{}!bool {
        const rest: []align(8) u8 = @alignCast(writer.output[writer.batch.bytes..]);
        if (writer.handles) {
            if (rest.len < 8) return false;
            assert(@intFromPtr(row.payload) >= writer.handle_base);
            const offset = @intFromPtr(row.payload) - writer.handle_base;
            const handle: f64 = @floatFromInt(offset / 8);
            std.mem.writeInt(u64, rest[0..8], @bitCast(handle), .little);
            writer.batch.bytes += 8;
        } else {
            writer.batch.bytes += writer.projector.write(row, rest) orelse return false;
        }
        writer.batch.rows += 1;
        return true;
    }
};

test "BatchWriter.append: a row that does not fit leaves the batch as it was" {
    const projector: Projector = .{ .columns = 1, .fixed_size = 8, .tails = &.{} };
    const payload: [8]u8 align(8) = @splat(1);
    const row: RowRef = .{ .payload = &payload, .null_mask = 0, .version = 0, .size = 8 };
    var output: [72]u8 align(8) = undefined;
    for ([_]bool{ false, true }, [_]u32{ 32, 8 }) |handles, size| {
        @memset(&output, 0xaa);
        var writer: BatchWriter = .{
            .projector = &projector,
            .handles = handles,
            .output = output[0 .. 2 * size + size / 8],
            .handle_base = @intFromPtr(&payload),
        };
        for (0..2) |_| try std.testing.expect(try writer.append(row));
        try std.testing.expect(!try writer.append(row));
        const expected: Batch = .{ .rows = 2, .bytes = 2 * size };
        try std.testing.expectEqual(expected, writer.batch);
        try std.testing.expect(std.mem.allEqual(u8, output[2 * size ..], 0xaa));
    }
}
