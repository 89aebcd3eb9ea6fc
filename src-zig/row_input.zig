//! Rows and keys on their way in: the bytes TypeScript put into the input buffer, checked.
//!
//! A record has the form that `result` describes. Its payload goes into the region as it is, so
//! whatever other processes rely on is tested here: sizes, capacities, nulls, NaN, and that the
//! cells of long texts point into the record. What only the owner of a row would notice, such as
//! the order of bytes within a text, is not.

const std = @import("std");
const result = @import("result.zig");
const row_module = @import("row.zig");
const row_merge = @import("row_merge.zig");
const status = @import("status.zig");
const table_info = @import("table_info.zig");
const assert = std.debug.assert;
const ColumnInfo = table_info.ColumnInfo;
const Detail = status.Detail;
const RecordHeader = result.RecordHeader;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;

pub const Error = error{ BadArgument, ValueTooLong, NotNullViolation, NotANumber };

/// Bytes at the start of the input that hold a key when more follows it.
pub const key_area_size = 72;

/// A checked record. The row refers to the bytes of the record.
pub const Record = struct {
    row: RowRef,
    /// The columns it gives. The others have no meaning.
    mask: u64,
    /// Bytes of the whole record.
    size: u32,

    pub fn isWhole(record: *const Record, table: *const TableInfo) bool {
        return record.mask == table.allColumns();
    }
};

/// Reads the record at the start of `bytes`, which begin at a multiple of 8.
pub fn readRecord(
    table: *const TableInfo,
    bytes: []align(8) const u8,
    detail: *Detail,
) Error!Record {
    if (bytes.len < @sizeOf(RecordHeader)) return torn(table, bytes.len, detail);
    const header: *const RecordHeader = @ptrCast(bytes.ptr);
    const size = header.record_bytes;
    if (size % 8 != 0 or size > bytes.len or size < @sizeOf(RecordHeader) + table.fixed_size) {
        return torn(table, size, detail);
    }
    const payload_size = size - @sizeOf(RecordHeader);
    if (payload_size > table.payload_size_max) return torn(table, size, detail);
    const all = table.allColumns();
    if (header.column_mask & ~all != 0 or header.null_mask & ~all != 0) {
        detail.set("the record names columns that table \"{s}\" does not have", .{table.name()});
        return error.BadArgument;
    }
    const record: Record = .{
        .row = .{
            .payload = @alignCast(bytes.ptr + @sizeOf(RecordHeader)),
            .null_mask = header.null_mask,
            .version = 0,
            .size = payload_size,
        },
        .mask = header.column_mask,
        .size = size,
    };
    for (table.slice(), 0..) |*column, i| {
        if (record.mask >> @intCast(i) & 1 == 0) continue;
        if (isSound(column, record.row, @intCast(i))) continue;
        try checkColumn(table, column, record.row, @intCast(i), detail);
    }
    return record;
}

/// What nearly all values are. False: `checkColumn` decides.
inline fn isSound(column: *const ColumnInfo, row: RowRef, number: u8) bool {
    if (row.isNull(number)) return column.flags.nullable;
    switch (column.kind) {
        .int32, .int64, .bool => return true,
        .float64, .timestamp => return std.math.isFinite(row.float64(column.offset)),
        .text, .bytes => {
            const length = std.mem.readInt(u16, row.payload[column.offset..][0..2], .little);
            return column.is_inline and length <= column.capacity;
        },
    }
}

noinline fn checkColumn(
    table: *const TableInfo,
    column: *const ColumnInfo,
    row: RowRef,
    number: u8,
    detail: *Detail,
) Error!void {
    if (row.isNull(number)) {
        if (column.flags.nullable) return;
        detail.set("column \"{s}\" of table \"{s}\" does not take null", .{
            column.name(), table.name(),
        });
        return error.NotNullViolation;
    }
    switch (column.kind) {
        .int32, .int64, .bool => {},
        .float64, .timestamp => {
            const value = row.float64(column.offset);
            const sound = if (column.kind == .timestamp)
                std.math.isFinite(value)
            else
                !std.math.isNan(value);
            if (sound) return;
            detail.set("the value of column \"{s}\" of table \"{s}\" is no number", .{
                column.name(), table.name(),
            });
            return error.NotANumber;
        },
        .text, .bytes => try checkText(table, column, row, detail),
    }
}

fn checkText(
    table: *const TableInfo,
    column: *const ColumnInfo,
    row: RowRef,
    detail: *Detail,
) Error!void {
    const cell = row.payload[column.offset..];
    const first = std.mem.readInt(u16, cell[0..2], .little);
    const length = if (column.is_inline) first else std.mem.readInt(u16, cell[2..4], .little);
    if (length > column.capacity) {
        detail.set("the value of column \"{s}\" of table \"{s}\" takes {d} bytes, and {d} fit", .{
            column.name(), table.name(), length, column.capacity,
        });
        return error.ValueTooLong;
    }
    if (column.is_inline or length == 0) return;
    const inside = first % 4 == 0 and first >= table.fixed_size and
        @as(u32, first) + length <= row.size;
    if (inside) return;
    detail.set("the text of column \"{s}\" of table \"{s}\" lies outside of its record", .{
        column.name(), table.name(),
    });
    return error.BadArgument;
}

fn torn(table: *const TableInfo, size: u64, detail: *Detail) error{BadArgument} {
    detail.set("a record of {d} bytes is no row of table \"{s}\", whose payload has {d} to " ++
        "{d} bytes", .{ size, table.name(), table.fixed_size, table.payload_size_max });
    return error.BadArgument;
}

/// The row that a record stands for when columns it does not give have their default, or null.
/// Built in `buffer` (of at least `payload_size_max` bytes) unless the record gives all columns.
pub fn wholeRow(
    table: *const TableInfo,
    record: *const Record,
    buffer: []align(8) u8,
    detail: *Detail,
) Error!RowRef {
    if (record.isWhole(table)) return record.row;
    const missing = table.allColumns() & ~record.mask & table.default_null_mask;
    for (table.slice(), 0..) |*column, i| {
        if (missing >> @intCast(i) & 1 == 0 or column.flags.nullable) continue;
        detail.set("column \"{s}\" of table \"{s}\" has no default and needs a value", .{
            column.name(), table.name(),
        });
        return error.NotNullViolation;
    }
    const defaults: RowRef = .{
        .payload = table.default_payload.ptr,
        .null_mask = table.default_null_mask,
        .version = 0,
        .size = @intCast(table.default_payload.len),
    };
    return row_merge.merge(table, defaults, record.row, record.mask, buffer);
}

/// The key cell at the start of `bytes`, without padding.
pub inline fn readKey(
    table: *const TableInfo,
    bytes: []const u8,
    detail: *Detail,
) Error![]const u8 {
    assert(bytes.len >= key_area_size);
    const column = &table.columns[table.primary_key];
    if (column.kind != .text) return bytes[0..column.cell_size];
    const length = std.mem.readInt(u16, bytes[0..2], .little);
    if (length > column.capacity) return keyTooLong(table, column, length, detail);
    return bytes[0 .. 2 + @as(usize, length)];
}

fn keyTooLong(
    table: *const TableInfo,
    column: *const ColumnInfo,
    length: u16,
    detail: *Detail,
) Error {
    @branchHint(.cold);
    detail.set("the key takes {d} bytes, and {d} fit column \"{s}\" of table \"{s}\"", .{
        length, column.capacity, column.name(), table.name(),
    });
    return error.ValueTooLong;
}

const testing = std.testing;

fn testTable() !TableInfo {
    return .init(0, "flights", &.{
        .init("id", .text, 6, .{ .primary = true }),
        .init("lat", .float64, 0, .{}),
        .init("remark", .text, 40, .{ .nullable = true }),
        .init("seen", .timestamp, 0, .{ .nullable = true }),
    });
}

const TestRecord = struct {
    bytes: [256]u8 align(8) = @splat(0),
    size: u32 = 0,

    fn init(table: *const TableInfo) !TestRecord {
        var record: TestRecord = .{};
        var builder: row_module.Builder = .init(table, record.bytes[24..][0..232]);
        try builder.setText(0, "UAL123");
        builder.setFloat64(1, 47.5);
        try builder.setText(2, "more than thirty bytes of a remark");
        const row = builder.finish();
        record.size = 24 + row.size;
        record.header().* = .{
            .record_bytes = record.size,
            .null_mask = row.null_mask,
            .column_mask = table.allColumns(),
        };
        return record;
    }

    fn header(record: *TestRecord) *RecordHeader {
        return @ptrCast(&record.bytes);
    }

    fn cell(record: *TestRecord, column: *const ColumnInfo) []u8 {
        return record.bytes[24 + column.offset ..];
    }

    fn read(record: *TestRecord, table: *const TableInfo, detail: *Detail) Error!Record {
        return readRecord(table, record.bytes[0..record.size], detail);
    }
};

test "readRecord: gives the row that was written" {
    const table = try testTable();
    var bytes: TestRecord = try .init(&table);
    var detail: Detail = .{};
    const record = try bytes.read(&table, &detail);
    try testing.expect(record.isWhole(&table));
    try testing.expectEqualStrings("UAL123", record.row.text(&table.columns[0]));
    try testing.expectEqual(@as(u64, 0b1000), record.row.null_mask);
    try testing.expectEqual(bytes.size, record.size);
}

test "readRecord: refuses sizes, masks, and cells that contradict the table" {
    const table = try testTable();
    var detail: Detail = .{};
    const good: TestRecord = try .init(&table);
    var bytes = good;
    for ([_]u32{ 0, 8, 24, 32, 44, 1 << 20, 0xffff_fff8 }) |size| {
        bytes.header().record_bytes = size;
        try testing.expectError(error.BadArgument, bytes.read(&table, &detail));
    }
    bytes = good;
    bytes.header().column_mask = 1 << 4;
    try testing.expectError(error.BadArgument, bytes.read(&table, &detail));
    bytes = good;
    bytes.header().null_mask = 0b1010;
    try testing.expectError(error.NotNullViolation, bytes.read(&table, &detail));
    bytes = good;
    bytes.cell(&table.columns[0])[0] = 7;
    try testing.expectError(error.ValueTooLong, bytes.read(&table, &detail));
    bytes = good;
    bytes.cell(&table.columns[2])[2] = 41;
    try testing.expectError(error.ValueTooLong, bytes.read(&table, &detail));
    bytes = good;
    for ([_]u16{ 0, 4, 30, 500, 0xfffc }) |offset| {
        std.mem.writeInt(u16, bytes.cell(&table.columns[2])[0..2], offset, .little);
        try testing.expectError(error.BadArgument, bytes.read(&table, &detail));
    }
    bytes = good;
    const nan: u64 = @bitCast(std.math.nan(f64));
    std.mem.writeInt(u64, bytes.cell(&table.columns[1])[0..8], nan, .little);
    try testing.expectError(error.NotANumber, bytes.read(&table, &detail));
    try testing.expect(std.mem.indexOf(u8, detail.text(), "\"lat\"") != null);
}

test "wholeRow: missing columns become null, or an error where null is not allowed" {
    var table = try testTable();
    var defaults: [64]u8 align(8) = @splat(0);
    table.default_payload = defaults[0..table.fixed_size];
    table.default_null_mask = table.allColumns();
    var bytes: TestRecord = try .init(&table);
    var buffer: [256]u8 align(8) = undefined;
    var detail: Detail = .{};

    bytes.header().column_mask = 0b0011;
    const partial = try bytes.read(&table, &detail);
    const row = try wholeRow(&table, &partial, &buffer, &detail);
    try testing.expectEqual(@as(u64, 0b1100), row.null_mask);
    try testing.expectEqual(@as(f64, 47.5), row.float64(table.columns[1].offset));
    bytes.header().column_mask = 0b0001;
    const too_little = try bytes.read(&table, &detail);
    const outcome = wholeRow(&table, &too_little, &buffer, &detail);
    try testing.expectError(error.NotNullViolation, outcome);
}

test "readKey: a text key has its length in front, and never more than its column takes" {
    const table = try testTable();
    var detail: Detail = .{};
    var bytes: [key_area_size]u8 = @splat(0);
    bytes[0] = 3;
    @memcpy(bytes[2..5], "abc");
    try testing.expectEqualStrings("\x03\x00abc", try readKey(&table, &bytes, &detail));
    bytes[0] = 7;
    try testing.expectError(error.ValueTooLong, readKey(&table, &bytes, &detail));
}
