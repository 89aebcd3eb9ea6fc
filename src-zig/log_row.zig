//! Rows in the log: what a transaction did to one row, as bytes and back.
//!
//! A record is
//!
//!     size        varint, bytes of the record behind this number
//!     table       u8
//!     operation   u8
//!     key         the key cell: 4 or 8 bytes, or u16 length and the text
//!
//! and, unless the row was deleted,
//!
//!     columns     varint, bit i: column i is given. Only in a delta: a full row gives them all
//!     nulls       varint, bit i: column i is given, and null
//!     cells       of the given columns that are not null, in the order of columns: a number as it
//!                 is in the row, a text or bytes as varint length and the bytes
//!
//! The primary key is never among the columns. A varint is LEB128: seven bits a byte, lowest
//! first, and no longer than needed.
//!
//! The writer walks versions that, behind the seal of a leader that was replaced, somebody may be
//! overwriting: whatever stands in a row, `encode` stays within the bytes it promised. The reader
//! gets bytes of a file: what it does not refuse is a row that the table could have.

const std = @import("std");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const assert = std.debug.assert;
const ColumnInfo = table_info.ColumnInfo;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;

pub const Operation = enum(u8) {
    /// Every column of the row; there may have been another row of this key.
    full = 1,
    /// Some columns; the others stay as they are in the row that this key had before.
    delta = 2,
    /// The row is gone.
    delete = 3,
};

/// `Corrupt`: the bytes are no record of that table. `UnknownTable`: no catalogue before this
/// frame has the table.
pub const Error = error{ Corrupt, UnknownTable };

const varint_size_max = 10;
/// Size, table, operation, both masks.
const overhead_max = 3 * varint_size_max + 2;

/// The tables by their numbers; null where there is none.
pub const Tables = []const ?*const TableInfo;

/// The most bytes that `encode` writes for a row of this table.
pub fn sizeMax(table: *const TableInfo) usize {
    // No cell is longer than in a payload: a length takes at most two bytes where the cell has two,
    // and three where a long text has a cell of four.
    return overhead_max + @as(usize, table.payload_size_max);
}

/// Writes the record of a full row, or of the columns in `mask` of it, to the start of `out`, which
/// has room for `sizeMax` bytes. `key` is the key cell, as in `row_input.readKey`. `mask` is
/// ignored for a full row. Returns the bytes written.
pub fn encode(
    table: *const TableInfo,
    operation: Operation,
    key: []const u8,
    row: RowRef,
    mask: u64,
    out: []u8,
) usize {
    assert(operation != .delete and out.len >= sizeMax(table));
    const given = givenColumns(table, operation, mask);
    const nulls = row.null_mask & given;
    var writer: Writer = .start(table, operation, key, out);
    if (operation == .delta) writer.varint(given);
    writer.varint(nulls);
    var left = given & ~nulls;
    while (left != 0) : (left &= left - 1) {
        const column = &table.columns[@ctz(left)];
        switch (column.kind) {
            .int64, .float64, .timestamp => writer.copy(8, row.payload + column.offset),
            .int32 => writer.copy(4, row.payload + column.offset),
            .bool => writer.byte(@intFromBool(row.boolean(column.offset))),
            .text, .bytes => {
                const value = row.text(column);
                writer.text(value[0..@min(value.len, column.capacity)]);
            },
        }
    }
    return writer.finish();
}

/// As `encode`, for a row that is deleted.
pub fn encodeDelete(table: *const TableInfo, key: []const u8, out: []u8) usize {
    assert(out.len >= sizeMax(table));
    var writer: Writer = .start(table, .delete, key, out);
    return writer.finish();
}

fn givenColumns(table: *const TableInfo, operation: Operation, mask: u64) u64 {
    const plain = table.allColumns() & ~(@as(u64, 1) << @intCast(table.primary_key));
    return if (operation == .delta) plain & mask else plain;
}

const Writer = struct {
    out: []u8,
    at: usize,

    /// The size goes in front in the end, into as few bytes as it needs: the record is moved
    /// when it is longer than 127 bytes.
    const body_at = 1;

    fn start(table: *const TableInfo, operation: Operation, key: []const u8, out: []u8) Writer {
        var writer: Writer = .{ .out = out, .at = body_at };
        writer.byte(@intCast(table.id));
        writer.byte(@intFromEnum(operation));
        const column = &table.columns[table.primary_key];
        // A key cell may come from a block that is being reused: no more than the column takes.
        const size_max = if (column.kind == .text) 2 + column.capacity else column.cell_size;
        const size = @min(key.len, size_max);
        @memcpy(out[writer.at..][0..size], key[0..size]);
        writer.at += size;
        return writer;
    }

    fn byte(writer: *Writer, value: u8) void {
        writer.out[writer.at] = value;
        writer.at += 1;
    }

    fn copy(writer: *Writer, comptime size: usize, from: [*]const u8) void {
        writer.out[writer.at..][0..size].* = from[0..size].*;
        writer.at += size;
    }

    fn varint(writer: *Writer, value: u64) void {
        writer.at += putVarint(writer.out[writer.at..], value);
    }

    fn text(writer: *Writer, value: []const u8) void {
        writer.varint(value.len);
        @memcpy(writer.out[writer.at..][0..value.len], value);
        writer.at += value.len;
    }

    fn finish(writer: *Writer) usize {
        const size = writer.at - body_at;
        var number: [varint_size_max]u8 = undefined;
        const number_size = putVarint(&number, size);
        if (number_size > body_at) {
            @memmove(writer.out[number_size..][0..size], writer.out[body_at..][0..size]);
        }
        @memcpy(writer.out[0..number_size], number[0..number_size]);
        return number_size + size;
    }
};

/// What is known of a record without reading its columns: enough to pass by rows of others.
pub const Outline = struct {
    table: *const TableInfo,
    operation: Operation,
    /// The key cell.
    key: []const u8,
    /// What follows the key.
    rest: []const u8,
    /// Bytes of the whole record.
    size: u32,
};

/// A record, checked. It refers to the bytes it was read from.
pub const Row = struct {
    table: *const TableInfo,
    operation: Operation,
    key: []const u8,
    /// The columns that it gives, without the primary key; none for a delete.
    columns: u64,
    /// Those of them that are null.
    nulls: u64,
    cells: []const u8,
    size: u32,

    /// The given columns in their order.
    pub fn cellIterator(row: *const Row) CellIterator {
        return .{ .row = row, .left = row.columns, .rest = row.cells };
    }

    /// Builds the row that comes out of this record in `buffer`, which has room for
    /// `payload_size_max` bytes. A delta needs the row before it as `base`, which must not be in
    /// the same buffer. Not for a delete.
    pub fn apply(row: *const Row, base: ?RowRef, buffer: []align(8) u8) RowRef {
        assert(row.operation != .delete);
        assert((base != null) == (row.operation == .delta));
        const table = row.table;
        assert(buffer.len >= table.payload_size_max);
        const fixed = buffer[0..table.fixed_size];
        if (base) |old| @memcpy(fixed, old.payload[0..table.fixed_size]) else @memset(fixed, 0);
        const key = &table.columns[table.primary_key];
        @memcpy(buffer[key.offset..][0..row.key.len], row.key);

        var size: u32 = table.fixed_size;
        if (base) |old| size = copyTails(table, old, row.columns, buffer);
        var cells = row.cellIterator();
        while (cells.next()) |cell| {
            const column = &table.columns[cell.column];
            const to = buffer[column.offset..][0..column.cell_size];
            if (column.isTail() and cell.value != null) {
                size += putTail(buffer, column, cell.value.?, size);
            } else {
                putCell(column, to, cell.value);
            }
        }
        const padded = std.mem.alignForward(u32, size, 8);
        @memset(buffer[size..padded], 0);
        const kept = if (base) |old| old.null_mask & ~row.columns else 0;
        return .{
            .payload = buffer.ptr,
            .null_mask = kept | row.nulls,
            .version = 0,
            .size = padded,
        };
    }

    /// True if none of the given columns moves the bytes of others.
    pub fn keepsSize(row: *const Row) bool {
        var left = row.columns;
        while (left != 0) : (left &= left - 1) {
            if (row.table.columns[@ctz(left)].isTail()) return false;
        }
        return true;
    }

    /// As `apply` with a base, in the row itself: for a delta that keeps its size.
    pub fn patch(row: *const Row, payload: [*]u8, null_mask: *u64) void {
        assert(row.operation == .delta);
        var cells = row.cellIterator();
        while (cells.next()) |cell| {
            const column = &row.table.columns[cell.column];
            putCell(column, payload[column.offset..][0..column.cell_size], cell.value);
        }
        null_mask.* = (null_mask.* & ~row.columns) | row.nulls;
    }
};

/// Fills the cell of a column that has its whole value there.
fn putCell(column: *const ColumnInfo, to: []u8, cell: ?[]const u8) void {
    const value = cell orelse return @memset(to, 0);
    if (!column.is_inline) return @memcpy(to, value);
    std.mem.writeInt(u16, to[0..2], @intCast(value.len), .little);
    @memcpy(to[2..][0..value.len], value);
    @memset(to[2 + value.len ..], 0);
}

/// Copies the long texts that a delta leaves as they are. Returns the bytes of the row so far.
fn copyTails(table: *const TableInfo, base: RowRef, given: u64, buffer: []align(8) u8) u32 {
    var size: u32 = table.fixed_size;
    for (table.slice(), 0..) |*column, i| {
        if (!column.isTail() or given >> @intCast(i) & 1 != 0) continue;
        const value = base.text(column);
        size += putTail(buffer, column, value[0..@min(value.len, column.capacity)], size);
    }
    return size;
}

fn putTail(buffer: []align(8) u8, column: *const ColumnInfo, value: []const u8, at: u32) u32 {
    const cell = buffer[column.offset..][0..4];
    if (value.len == 0) {
        @memset(cell, 0);
        return 0;
    }
    std.mem.writeInt(u16, cell[0..2], @intCast(at), .little);
    std.mem.writeInt(u16, cell[2..4], @intCast(value.len), .little);
    const padded = std.mem.alignForward(u32, @intCast(value.len), 4);
    @memcpy(buffer[at..][0..value.len], value);
    @memset(buffer[at + value.len ..][0 .. padded - value.len], 0);
    return padded;
}

pub const Cell = struct {
    column: u8,
    /// The bytes of a number as they are in a row, or of a text; null if the column is null.
    value: ?[]const u8,
};

pub const CellIterator = struct {
    row: *const Row,
    left: u64,
    rest: []const u8,

    pub fn next(iterator: *CellIterator) ?Cell {
        if (iterator.left == 0) return null;
        const column: u8 = @ctz(iterator.left);
        iterator.left &= iterator.left - 1;
        if (iterator.row.nulls >> @intCast(column) & 1 != 0) {
            return .{ .column = column, .value = null };
        }
        // `read` has checked these bytes.
        const info = &iterator.row.table.columns[column];
        return .{ .column = column, .value = takeValue(info, &iterator.rest) catch unreachable };
    }
};

/// Reads the front of the record at the start of `bytes`.
pub fn outline(bytes: []const u8, tables: Tables) Error!Outline {
    var rest = bytes;
    const size = try takeVarint(&rest);
    if (size > rest.len or size < 2) return error.Corrupt;
    const total = bytes.len - rest.len + @as(usize, @intCast(size));
    rest = rest[0..@intCast(size)];

    const number = rest[0];
    if (number >= tables.len) return error.UnknownTable;
    const table = tables[number] orelse return error.UnknownTable;
    const operation = std.enums.fromInt(Operation, rest[1]) orelse return error.Corrupt;
    rest = rest[2..];
    const key = try takeKey(&table.columns[table.primary_key], &rest);
    return .{
        .table = table,
        .operation = operation,
        .key = key,
        .rest = rest,
        .size = std.math.cast(u32, total) orelse return error.Corrupt,
    };
}

/// Reads and checks the record at the start of `bytes`.
pub fn read(bytes: []const u8, tables: Tables) Error!Row {
    return complete(&try outline(bytes, tables));
}

/// Reads and checks what follows the key.
pub fn complete(front: *const Outline) Error!Row {
    const table = front.table;
    var row: Row = .{
        .table = table,
        .operation = front.operation,
        .key = front.key,
        .columns = 0,
        .nulls = 0,
        .cells = &.{},
        .size = front.size,
    };
    var rest = front.rest;
    if (row.operation != .delete) {
        row.columns = givenColumns(table, .full, 0);
        if (row.operation == .delta) {
            const given = try takeVarint(&rest);
            if (given & ~row.columns != 0) return error.Corrupt;
            row.columns = given;
        }
        row.nulls = try takeVarint(&rest);
        if (row.nulls & ~row.columns != 0) return error.Corrupt;
        row.cells = rest;
        var left = row.columns;
        while (left != 0) : (left &= left - 1) {
            const column = &table.columns[@ctz(left)];
            if (row.nulls >> @intCast(@ctz(left)) & 1 != 0) {
                if (!column.flags.nullable) return error.Corrupt;
            } else {
                try checkValue(column, try takeValue(column, &rest));
            }
        }
    }
    return if (rest.len == 0) row else error.Corrupt;
}

fn checkValue(column: *const ColumnInfo, value: []const u8) Error!void {
    switch (column.kind) {
        .int32, .int64 => {},
        .bool => if (value[0] > 1) return error.Corrupt,
        .float64, .timestamp => {
            const number: f64 = @bitCast(std.mem.readInt(u64, value[0..8], .little));
            if (std.math.isNan(number)) return error.Corrupt;
            if (column.kind == .timestamp and std.math.isInf(number)) return error.Corrupt;
        },
        .text, .bytes => if (value.len > column.capacity) return error.Corrupt,
    }
}

fn takeKey(column: *const ColumnInfo, rest: *[]const u8) Error![]const u8 {
    if (column.kind != .text) return take(rest, column.cell_size);
    if (rest.len < 2) return error.Corrupt;
    const length = std.mem.readInt(u16, rest.*[0..2], .little);
    if (length > column.capacity) return error.Corrupt;
    return take(rest, 2 + @as(usize, length));
}

fn takeValue(column: *const ColumnInfo, rest: *[]const u8) Error![]const u8 {
    if (column.kind.scalarSize()) |size| return take(rest, size);
    const length = try takeVarint(rest);
    return take(rest, std.math.cast(usize, length) orelse return error.Corrupt);
}

fn take(rest: *[]const u8, size: usize) Error![]const u8 {
    if (size > rest.len) return error.Corrupt;
    defer rest.* = rest.*[size..];
    return rest.*[0..size];
}

/// Writes a varint to the start of `out` and returns its size.
fn putVarint(out: []u8, value: u64) usize {
    var left = value;
    var size: usize = 0;
    while (left >= 0x80) : (left >>= 7) {
        out[size] = @as(u8, @truncate(left)) | 0x80;
        size += 1;
    }
    out[size] = @intCast(left);
    return size + 1;
}

fn takeVarint(rest: *[]const u8) Error!u64 {
    var value: u64 = 0;
    for (rest.*[0..@min(rest.len, varint_size_max)], 0..) |byte, i| {
        // The tenth byte has room for one bit.
        if (i == varint_size_max - 1 and byte > 1) return error.Corrupt;
        value |= @as(u64, byte & 0x7f) << @intCast(7 * i);
        if (byte & 0x80 != 0) continue;
        if (byte == 0 and i > 0) return error.Corrupt; // Longer than needed.
        rest.* = rest.*[i + 1 ..];
        return value;
    }
    return error.Corrupt;
}

const testing = std.testing;

fn testTable() !TableInfo {
    return .init(3, "flights", &.{
        .init("id", .text, 12, .{ .primary = true }),
        .init("altitude", .int32, 0, .{ .nullable = true }),
        .init("lat", .float64, 0, .{ .nullable = true }),
        .init("remark", .text, 200, .{ .nullable = true }),
        .init("on_ground", .bool, 0, .{}),
        .init("route", .bytes, 40, .{ .nullable = true }),
        .init("from", .text, 4, .{ .nullable = true }),
    });
}

const key_cell = "\x06\x00UAL123";

fn testRow(table: *const TableInfo, buffer: []align(8) u8) !RowRef {
    var builder: row_module.Builder = .init(table, buffer);
    try builder.setText(0, "UAL123");
    builder.setInt32(1, 35_000);
    try builder.setText(3, "a remark of more than thirty bytes");
    builder.setBool(4, true);
    try builder.setText(5, "JFK BOS");
    try builder.setText(6, "KJFK");
    return builder.finish();
}

test "encode: a full row comes back as it was, nulls and long texts included" {
    const table = try testTable();
    const tables = [_]?*const TableInfo{ null, null, null, &table };
    var buffer: [512]u8 align(8) = undefined;
    const row = try testRow(&table, &buffer);
    var bytes: [512]u8 = undefined;
    const size = encode(&table, .full, key_cell, row, 0, &bytes);

    const record = try read(&bytes, &tables);
    try testing.expectEqual(size, record.size);
    try testing.expectEqualStrings(key_cell, record.key);
    var again: [512]u8 align(8) = @splat(0xaa);
    const built = record.apply(null, &again);
    try testing.expectEqual(row.null_mask, built.null_mask);
    try testing.expectEqualSlices(u8, row.payload[0..row.size], built.payload[0..built.size]);
}

test "encode: a delta of one number takes 17 bytes and changes only that column" {
    const table = try testTable();
    const tables = [_]?*const TableInfo{ null, null, null, &table };
    var buffer: [512]u8 align(8) = undefined;
    const old = try testRow(&table, &buffer);
    var patch_buffer: [512]u8 align(8) = undefined;
    var patch: row_module.Builder = .init(&table, &patch_buffer);
    patch.setInt32(1, 36_000);
    var bytes: [512]u8 = undefined;
    // Size, table, operation, key of 8, two masks, the number.
    try testing.expectEqual(17, encode(&table, .delta, key_cell, patch.finish(), 0b11, &bytes));

    const record = try read(&bytes, &tables);
    try testing.expectEqual(0b10, record.columns);
    var again: [512]u8 align(8) = undefined;
    const built = record.apply(old, &again);
    try testing.expectEqual(36_000, built.int32(table.columns[1].offset));
    try testing.expectEqual(old.null_mask, built.null_mask);
    for ([_]u8{ 0, 3, 5, 6 }) |i| {
        const column = &table.columns[i];
        try testing.expectEqualStrings(old.text(column), built.text(column));
    }
}

test "Row.apply: a delta shortens, lengthens and nulls texts" {
    const table = try testTable();
    const tables = [_]?*const TableInfo{ null, null, null, &table };
    var buffer: [512]u8 align(8) = undefined;
    const old = try testRow(&table, &buffer);
    var patch_buffer: [512]u8 align(8) = undefined;
    var patch: row_module.Builder = .init(&table, &patch_buffer);
    const long: [150]u8 = @splat('r');
    try patch.setText(5, long[0..40]);
    try patch.setText(6, "");
    var bytes: [512]u8 = undefined;
    // The remark, column 3, is null in the patch.
    _ = encode(&table, .delta, key_cell, patch.finish(), 0b1101000, &bytes);
    const record = try read(&bytes, &tables);
    var again: [512]u8 align(8) = undefined;
    const built = record.apply(old, &again);
    try testing.expectEqual(0b0001100, built.null_mask);
    try testing.expectEqualStrings(long[0..40], built.text(&table.columns[5]));
    try testing.expectEqualStrings("", built.text(&table.columns[6]));
    try testing.expectEqual(table.fixed_size + 40, std.mem.alignBackward(u32, built.size, 8));
}

test "encodeDelete: names the row and nothing else" {
    const table = try testTable();
    const tables = [_]?*const TableInfo{ null, null, null, &table };
    var bytes: [512]u8 = undefined;
    try testing.expectEqual(11, encodeDelete(&table, key_cell, &bytes));
    const record = try read(&bytes, &tables);
    try testing.expectEqual(Operation.delete, record.operation);
    try testing.expectEqualStrings(key_cell, record.key);
    try testing.expectEqual(0, record.columns);
}

test "read: refuses unknown tables, wrong masks, values out of range, and bytes left over" {
    const table = try testTable();
    const tables = [_]?*const TableInfo{ null, null, null, &table };
    const head = "\x03\x02\x01\x00A"; // table 3, delta, key "A"
    const bad = [_][]const u8{
        "",
        "\x01\x03",
        "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        "\x09" ++ head, // torn
        "\x06" ++ head ++ "\x01", // no nulls
        "\x07" ++ head ++ "\x01\x00", // the primary key
        "\x08" ++ head ++ "\x80\x01\x00", // no such column
        "\x07" ++ head ++ "\x02\x04", // null, but not given
        "\x07" ++ head ++ "\x10\x10", // null is not allowed
        "\x08" ++ head ++ "\x10\x00\x02", // neither true nor false
        "\x08" ++ head ++ "\x82\x00\x02", // a varint longer than needed
        "\x0d" ++ head ++ "\x40\x00\x05ABCDE", // longer than the column
        "\x0b" ++ head ++ "\x02\x02ABCD", // bytes left over
        "\x0f" ++ head ++ "\x04\x00\x00\x00\x00\x00\x00\x00\xf8\x7f", // not a number
        "\x05\x03\x04\x01\x00A", // no such operation
        "\x06\x03\x03\x0d\x00AB", // a key that is too long
    };
    for (bad) |bytes| try testing.expectError(error.Corrupt, read(bytes, &tables));
    try testing.expectError(error.UnknownTable, read("\x05\x02\x03\x01\x00A", &tables));
    try testing.expectError(error.UnknownTable, read("\x05\x04\x03\x01\x00A", &tables));
    try testing.expectEqual(6, (try read("\x05\x03\x03\x01\x00A", &tables)).size);
}
