//! One row as the query side sees it: a payload in memory, its null mask, and how to read cells.
//!
//! The payload may stand in the shared region, where another process can scribble over it, or in
//! private memory. So a cell is input: its offset and length are read once and clipped to the
//! payload before use, and no bytes of it can make a read leave the payload. What a torn or
//! corrupt cell reads as is otherwise undefined.
//!
//! Invariants that the maker of a `RowRef` guarantees:
//!
//!   * `payload[0..size]` is readable for as long as the reference is used
//!   * `size` >= the table's `fixed_size`. The executor tests it once for each row; everything
//!     below relies on it.

const std = @import("std");
const builtin = @import("builtin");
const table_info = @import("table_info.zig");
const ColumnInfo = table_info.ColumnInfo;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

comptime {
    // Cells are little endian in the region, in buffers and on every supported processor.
    assert(builtin.cpu.arch.endian() == .little);
}

pub const RowRef = extern struct {
    payload: [*]align(8) const u8,
    /// Bit i: column i is null, and its cell is zero.
    null_mask: u64,
    /// The granule of the version in the region, or 0 for a row that is not in one. Opaque here.
    version: u32,
    /// Bytes of the payload.
    size: u32,

    pub inline fn isNull(row: RowRef, column: u8) bool {
        return row.null_mask >> @intCast(column) & 1 != 0;
    }

    pub inline fn int32(row: RowRef, offset: u16) i32 {
        return std.mem.readInt(i32, row.payload[offset..][0..4], .little);
    }

    pub inline fn int64(row: RowRef, offset: u16) i64 {
        return std.mem.readInt(i64, row.payload[offset..][0..8], .little);
    }

    pub inline fn float64(row: RowRef, offset: u16) f64 {
        return @bitCast(row.int64(offset));
    }

    /// Any byte but 0 is true.
    pub inline fn boolean(row: RowRef, offset: u16) bool {
        return row.payload[offset] != 0;
    }

    /// The value of a text or bytes column: bytes of the payload itself, not a copy.
    pub inline fn text(row: RowRef, column: *const ColumnInfo) []const u8 {
        assert(column.kind.isText());
        if (column.is_inline) return row.textInline(column.offset, column.capacity);
        return row.textTail(column.offset);
    }

    pub inline fn textInline(row: RowRef, offset: u16, capacity: u16) []const u8 {
        // An atomic load, because an ordinary one may be repeated after the test.
        const cell: *const u16 = @ptrCast(@alignCast(row.payload + offset));
        const length = @atomicLoad(u16, cell, .unordered);
        return row.payload[offset + 2 ..][0..@min(length, capacity)];
    }

    pub inline fn textTail(row: RowRef, offset: u16) []const u8 {
        const cell: *const u32 = @ptrCast(@alignCast(row.payload + offset));
        const word = @atomicLoad(u32, cell, .unordered);
        const start = @min(word & 0xffff, row.size);
        const length = @min(word >> 16, row.size - start);
        return row.payload[start..][0..length];
    }
};

comptime {
    assert(@sizeOf(RowRef) == 24);
}

/// Compares by bytes, as if by `memcmp` and then by length: the order of text columns. UTF-8
/// compared so sorts by code point.
pub fn compareBytes(a: []const u8, b: []const u8) std.math.Order {
    const shared = @min(a.len, b.len);
    var i: usize = 0;
    while (i + 8 <= shared) : (i += 8) {
        const a_word = std.mem.readInt(u64, a[i..][0..8], .big);
        const b_word = std.mem.readInt(u64, b[i..][0..8], .big);
        if (a_word != b_word) return if (a_word < b_word) .lt else .gt;
    }
    while (i < shared) : (i += 1) {
        if (a[i] != b[i]) return if (a[i] < b[i]) .lt else .gt;
    }
    return std.math.order(a.len, b.len);
}

/// Lays one row out in a buffer, column by column.
///
/// Start from `init`, set columns in any order, each at most once, and take the row by `finish`.
/// Columns that are not set keep what the base row has.
pub const Builder = struct {
    table: *const TableInfo,
    buffer: []align(8) u8,
    null_mask: u64,
    /// Bytes laid out so far.
    size: u32,

    pub const Error = error{ValueTooLong};

    /// Starts a row in `buffer`, which must have room for `payload_size_max` bytes of the table.
    /// All columns are null.
    pub fn init(table: *const TableInfo, buffer: []align(8) u8) Builder {
        assert(buffer.len >= table.payload_size_max);
        @memset(buffer[0..table.fixed_size], 0);
        return .{
            .table = table,
            .buffer = buffer,
            .null_mask = table.allColumns(),
            .size = table.fixed_size,
        };
    }

    /// Starts from another row of the same table. Its tail columns that will be set must be null
    /// or empty in it, so that no bytes are left behind in the tail.
    pub fn initFrom(table: *const TableInfo, buffer: []align(8) u8, base: RowRef) Builder {
        assert(base.size >= table.fixed_size and base.size <= table.payload_size_max);
        assert(buffer.len >= table.payload_size_max);
        @memcpy(buffer[0..base.size], base.payload[0..base.size]);
        return .{
            .table = table,
            .buffer = buffer,
            .null_mask = base.null_mask,
            .size = base.size,
        };
    }

    pub fn setNull(builder: *Builder, column: u8) void {
        const column_info = builder.columnInfo(column);
        assert(column_info.flags.nullable);
        @memset(builder.buffer[column_info.offset..][0..column_info.cell_size], 0);
        builder.null_mask |= @as(u64, 1) << @intCast(column);
    }

    pub fn setInt32(builder: *Builder, column: u8, value: i32) void {
        const cell = builder.valueCell(column, .int32);
        std.mem.writeInt(i32, cell[0..4], value, .little);
    }

    pub fn setInt64(builder: *Builder, column: u8, value: i64) void {
        const cell = builder.valueCell(column, .int64);
        std.mem.writeInt(i64, cell[0..8], value, .little);
    }

    /// For float64 and timestamp columns.
    pub fn setFloat64(builder: *Builder, column: u8, value: f64) void {
        const cell = builder.valueCell(column, builder.columnInfo(column).kind);
        assert(builder.columnInfo(column).kind.isFloat());
        std.mem.writeInt(u64, cell[0..8], @bitCast(value), .little);
    }

    pub fn setBool(builder: *Builder, column: u8, value: bool) void {
        builder.valueCell(column, .bool)[0] = @intFromBool(value);
    }

    /// For text and bytes columns. The cell must still be zero.
    pub fn setText(builder: *Builder, column: u8, value: []const u8) Error!void {
        const column_info = builder.columnInfo(column);
        assert(column_info.kind.isText());
        if (value.len > column_info.capacity) return error.ValueTooLong;
        builder.null_mask &= ~(@as(u64, 1) << @intCast(column));
        if (value.len == 0) return;

        const at = builder.buffer[column_info.offset..];
        const length: u16 = @intCast(value.len);
        if (column_info.is_inline) {
            std.mem.writeInt(u16, at[0..2], length, .little);
            @memcpy(at[2..][0..value.len], value);
            return;
        }
        assert(builder.size % 4 == 0);
        std.mem.writeInt(u16, at[0..2], @intCast(builder.size), .little);
        std.mem.writeInt(u16, at[2..4], length, .little);
        const padded = std.mem.alignForward(u32, length, 4);
        const tail = builder.buffer[builder.size..][0..padded];
        @memcpy(tail[0..value.len], value);
        @memset(tail[value.len..], 0);
        builder.size += padded;
    }

    /// Pads to a multiple of 8 and returns the row, which lives in the builder's buffer.
    pub fn finish(builder: *Builder) RowRef {
        if (builder.size % 8 != 0) {
            assert(builder.size % 8 == 4);
            @memset(builder.buffer[builder.size..][0..4], 0);
            builder.size += 4;
        }
        return builder.unpadded();
    }

    /// The row so far, for other builders to start from: padding would stay between its tail and
    /// what they add.
    pub fn unpadded(builder: *const Builder) RowRef {
        return .{
            .payload = builder.buffer.ptr,
            .null_mask = builder.null_mask,
            .version = 0,
            .size = builder.size,
        };
    }

    inline fn columnInfo(builder: *const Builder, column: u8) *const ColumnInfo {
        assert(column < builder.table.column_count);
        return &builder.table.columns[column];
    }

    inline fn valueCell(builder: *Builder, column: u8, kind: table_info.Kind) []u8 {
        const column_info = builder.columnInfo(column);
        assert(column_info.kind == kind);
        builder.null_mask &= ~(@as(u64, 1) << @intCast(column));
        return builder.buffer[column_info.offset..][0..column_info.cell_size];
    }
};

fn testTable() !TableInfo {
    return .init(3, "flights", &.{
        .init("id", .text, 12, .{ .primary = true }),
        .init("altitude", .int32, 0, .{ .nullable = true }),
        .init("lat", .float64, 0, .{ .nullable = true }),
        .init("remark", .text, 100, .{ .nullable = true }),
        .init("on_ground", .bool, 0, .{ .nullable = true }),
        .init("route", .bytes, 40, .{ .nullable = true }),
    });
}

test "Builder: cells read back as they were set" {
    const table = try testTable();
    var buffer: [512]u8 align(8) = @splat(0xaa);
    var builder: Builder = .init(&table, &buffer);
    try builder.setText(0, "UAL123");
    builder.setInt32(1, -5);
    builder.setFloat64(2, 47.25);
    try builder.setText(3, "a remark of more than thirty bytes");
    builder.setBool(4, true);
    try builder.setText(5, "KJFK");
    const row = builder.finish();

    try std.testing.expectEqual(0, row.size % 8);
    try std.testing.expectEqual(0, row.null_mask);
    try std.testing.expectEqualStrings("UAL123", row.text(&table.columns[0]));
    try std.testing.expectEqual(-5, row.int32(table.columns[1].offset));
    try std.testing.expectEqual(47.25, row.float64(table.columns[2].offset));
    try std.testing.expectEqualStrings(
        "a remark of more than thirty bytes",
        row.text(&table.columns[3]),
    );
    try std.testing.expect(row.boolean(table.columns[4].offset));
    try std.testing.expectEqualStrings("KJFK", row.text(&table.columns[5]));
}

test "Builder: a null column is a zero cell and a bit" {
    const table = try testTable();
    var buffer: [512]u8 align(8) = @splat(0xaa);
    var builder: Builder = .init(&table, &buffer);
    try builder.setText(0, "");
    builder.setInt32(1, 7);
    builder.setNull(1);
    const row = builder.finish();
    try std.testing.expectEqual(0b111110, row.null_mask);
    try std.testing.expect(row.isNull(1) and !row.isNull(0));
    try std.testing.expect(std.mem.allEqual(u8, row.payload[0..row.size], 0));
    try std.testing.expectError(error.ValueTooLong, builder.setText(0, "thirteen byte"));
}

test "RowRef.text: corrupt cells are clipped to the payload" {
    const table = try testTable();
    var buffer: [512]u8 align(8) = undefined;
    var builder: Builder = .init(&table, &buffer);
    try builder.setText(0, "UAL123");
    try builder.setText(3, "remark");
    const row = builder.finish();

    const inline_cell = buffer[table.columns[0].offset..];
    std.mem.writeInt(u16, inline_cell[0..2], 0xffff, .little);
    try std.testing.expectEqual(12, row.text(&table.columns[0]).len);

    const tail_cell = buffer[table.columns[3].offset..];
    std.mem.writeInt(u32, tail_cell[0..4], 0xffff_fff0, .little);
    try std.testing.expectEqual(0, row.text(&table.columns[3]).len);
    std.mem.writeInt(u32, tail_cell[0..4], 0xffff_0000 | (row.size - 3), .little);
    try std.testing.expectEqual(3, row.text(&table.columns[3]).len);
}

test "compareBytes: equals a byte by byte comparison" {
    var prng: std.Random.DefaultPrng = .init(11);
    const random = prng.random();
    for (0..2000) |_| {
        var a: [20]u8 = undefined;
        var b: [20]u8 = undefined;
        for (&a, &b) |*x, *y| {
            x.* = 'a';
            y.* = 'a';
            if (random.uintLessThan(u8, 16) == 0) x.* = random.int(u8);
            if (random.uintLessThan(u8, 16) == 0) y.* = random.int(u8);
        }
        const left = a[0..random.uintAtMost(usize, 20)];
        const right = b[0..random.uintAtMost(usize, 20)];
        try std.testing.expectEqual(std.mem.order(u8, left, right), compareBytes(left, right));
    }
}
