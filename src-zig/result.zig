//! Rows on their way out: records in an output buffer.
//!
//! A record is 8-aligned and carries the row's payload as it stands in the region, so one row class
//! of TypeScript reads both:
//!
//!      0  u32 record_bytes, a multiple of 8 with this header
//!      4  u32 flags, 0
//!      8  u64 null_mask
//!     16  u64 column_mask: the columns that were asked for
//!     24  payload
//!
//! Of long text and bytes columns that were not asked for, the record has no bytes and a cell of
//! zeros. Other columns that were not asked for keep their cells: to remove them costs more than
//! to send them.
//!
//! A handle is the place of a payload in the region as an f64: bytes from the region's start, by 8.

const std = @import("std");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const Allocator = std.mem.Allocator;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

pub const RecordHeader = extern struct {
    record_bytes: u32,
    flags: u32 = 0,
    null_mask: u64,
    column_mask: u64,

    comptime {
        assert(@sizeOf(RecordHeader) == record_header_size);
    }
};

pub const record_header_size = 24;
/// Bytes of the largest record any table can have.
pub const record_size_max = record_header_size + table_info.row_payload_size_max;

/// Writes records of the columns that a query asked for.
pub const Projector = struct {
    columns: u64,
    fixed_size: u32,
    /// The tail cells to rebuild; empty if rows go out whole.
    tails: []const Tail,

    const Tail = struct { offset: u16, wanted: bool };

    pub fn compile(arena: Allocator, columns: u64, table: *const TableInfo) !Projector {
        assert(columns != 0 and columns & ~table.allColumns() == 0);
        var tails: std.ArrayList(Tail) = .empty;
        var all_wanted = true;
        for (table.slice(), 0..) |*column, i| {
            if (!column.isTail()) continue;
            const wanted = columns >> @intCast(i) & 1 != 0;
            try tails.append(arena, .{ .offset = column.offset, .wanted = wanted });
            if (!wanted) all_wanted = false;
        }
        return .{
            .columns = columns,
            .fixed_size = table.fixed_size,
            .tails = if (all_wanted) &.{} else tails.items,
        };
    }

    /// Writes the row's record to the start of `out` and returns its bytes, or null if there is no
    /// room for it.
    pub inline fn write(projector: *const Projector, row: RowRef, out: []align(8) u8) ?u32 {
        assert(row.size >= projector.fixed_size);
        // Room for the whole payload, though a projection may need less: simple, and only ever a
        // batch that ends one record early.
        const size_max = record_header_size + (@as(u64, row.size) + 7 & ~@as(u64, 7));
        if (size_max > out.len) return null;

        const payload: []align(8) u8 = @alignCast(out[record_header_size..]);
        const padded = if (projector.tails.len == 0 and row.size % 8 == 0) whole: {
            copyPayload(payload, row);
            break :whole row.size;
        } else projector.writeParts(row, payload);

        const header: *RecordHeader = @ptrCast(out.ptr);
        header.* = .{
            .record_bytes = record_header_size + padded,
            .null_mask = row.null_mask,
            .column_mask = projector.columns,
        };
        return record_header_size + padded;
    }

    /// Copies the fixed part and the tails that are wanted. Returns the payload's bytes, with zeros
    /// up to a multiple of 8.
    noinline fn writeParts(projector: *const Projector, row: RowRef, payload: []u8) u32 {
        const end = if (projector.tails.len == 0) row.size else projector.fixed_size;
        @memcpy(payload[0..end], row.payload[0..end]);
        const size = projector.writeTails(row, payload, end);
        const padded = std.mem.alignForward(u32, size, 8);
        @memset(payload[size..padded], 0);
        return padded;
    }

    fn writeTails(projector: *const Projector, row: RowRef, payload: []u8, start: u32) u32 {
        var at = start;
        for (projector.tails) |tail| {
            const cell = payload[tail.offset..][0..4];
            const text = if (tail.wanted) row.textTail(tail.offset) else "";
            // In a corrupt row, tails may overlap and together be larger than the payload.
            const padded = std.mem.alignForward(u32, @intCast(text.len), 4);
            if (text.len == 0 or at + padded > row.size) {
                @memset(cell, 0);
                continue;
            }
            std.mem.writeInt(u16, cell[0..2], @intCast(at), .little);
            std.mem.writeInt(u16, cell[2..4], @intCast(text.len), .little);
            @memcpy(payload[at..][0..text.len], text);
            @memset(payload[at + text.len ..][0 .. padded - text.len], 0);
            at += padded;
        }
        return at;
    }
};

/// Copies a payload of whole words. Short as most are, a call of the general function takes longer.
pub inline fn copyPayload(to: []align(8) u8, row: RowRef) void {
    assert(row.size % 8 == 0 and row.size <= to.len);
    if (row.size > payload_size_short) {
        @memcpy(to[0..row.size], row.payload[0..row.size]);
        return;
    }
    const Pair = @Vector(2, u64);
    const from = row.payload;
    var at: usize = 0;
    while (row.size - at >= 16) : (at += 16) {
        const pair: *align(8) const Pair = @ptrCast(@alignCast(from + at));
        @as(*align(8) Pair, @ptrCast(@alignCast(to[at..].ptr))).* = pair.*;
    }
    if (at < row.size) {
        const word: *const u64 = @ptrCast(@alignCast(from + at));
        @as(*u64, @ptrCast(@alignCast(to[at..].ptr))).* = word.*;
    }
}

/// Bytes up to which a loop wins.
const payload_size_short = 128;

/// The row of a record that this process wrote itself. Nothing is checked.
pub fn readRecord(record: [*]align(8) const u8) RowRef {
    const header: *const RecordHeader = @ptrCast(record);
    assert(header.record_bytes >= record_header_size);
    return .{
        .payload = @alignCast(record + record_header_size),
        .null_mask = header.null_mask,
        .version = 0,
        .size = header.record_bytes - record_header_size,
    };
}

const Builder = row_module.Builder;

fn testTable() !TableInfo {
    return .init(0, "t", &.{
        .init("id", .int32, 0, .{ .primary = true }),
        .init("a", .text, 50, .{ .nullable = true }),
        .init("n", .int64, 0, .{ .nullable = true }),
        .init("b", .text, 70, .{ .nullable = true }),
    });
}

fn testRow(table: *const TableInfo, buffer: []align(8) u8) !RowRef {
    var builder: Builder = .init(table, buffer);
    builder.setInt32(0, 7);
    try builder.setText(1, "a first text that is not short");
    try builder.setText(3, "b second text that is not short");
    return builder.finish();
}

fn expectRecord(columns: u64, a: []const u8, b: []const u8, size: u32) !void {
    const table = try testTable();
    var buffer: [256]u8 align(8) = undefined;
    const row = try testRow(&table, &buffer);
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const projector: Projector = try .compile(arena_state.allocator(), columns, &table);

    var out: [256]u8 align(8) = @splat(0xaa);
    try std.testing.expectEqual(size, projector.write(row, &out));
    const copy = readRecord(&out);
    try std.testing.expectEqual(0b0100, copy.null_mask);
    try std.testing.expectEqual(7, copy.int32(table.columns[0].offset));
    try std.testing.expectEqualStrings(a, copy.text(&table.columns[1]));
    try std.testing.expectEqualStrings(b, copy.text(&table.columns[3]));
    const header: *const RecordHeader = @ptrCast(&out);
    try std.testing.expectEqual(columns, header.column_mask);
    try std.testing.expect(out[size] == 0xaa);

    try std.testing.expectEqual(null, projector.write(row, out[0 .. row.size + 16]));
}

test "Projector.write: a record holds the texts that were asked for" {
    const a = "a first text that is not short";
    const b = "b second text that is not short";
    try expectRecord(0b1111, a, b, 24 + 24 + 32 + 32);
    try expectRecord(0b0010, a, "", 24 + 24 + 32);
    try expectRecord(0b1000, "", b, 24 + 24 + 32);
    try expectRecord(0b0001, "", "", 24 + 24);
}

test "copyPayload: copies all words of a payload, and no more" {
    var bytes: [256]u8 align(8) = undefined;
    for (&bytes, 0..) |*byte, i| byte.* = @intCast(i);
    for (0..bytes.len / 8) |words| {
        const row: RowRef = .{
            .payload = &bytes,
            .null_mask = 0,
            .version = 0,
            .size = @intCast(words * 8),
        };
        var out: [bytes.len]u8 align(8) = @splat(0xaa);
        copyPayload(&out, row);
        try std.testing.expectEqualSlices(u8, bytes[0..row.size], out[0..row.size]);
        try std.testing.expect(std.mem.allEqual(u8, out[row.size..], 0xaa));
    }
}

test "Projector.write: tails that lie about their length stay in the record" {
    const table = try testTable();
    var buffer: [256]u8 align(8) = undefined;
    const row = try testRow(&table, &buffer);
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const a: Projector = try .compile(arena_state.allocator(), 0b0010, &table);
    const both: Projector = try .compile(arena_state.allocator(), 0b1010, &table);

    for (table.columns[0..4]) |*column| {
        if (!column.isTail()) continue;
        std.mem.writeInt(u32, buffer[column.offset..][0..4], 0xffff_0000, .little);
    }
    var out: [256]u8 align(8) = undefined;
    for ([_]*const Projector{ &a, &both }) |projector| {
        const size = projector.write(row, &out).?;
        try std.testing.expect(size <= record_header_size + row.size);
    }
}
