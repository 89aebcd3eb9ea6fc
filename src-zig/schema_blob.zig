//! The schema blob: how a table is declared, and how the region remembers it.
//!
//! TypeScript writes a blob to declare a table, and the same bytes stand in the region as the
//! table's descriptor. One decoder reads both and trusts neither. Little endian, packed:
//!
//!     u8 format = 1
//!     str8 table name
//!     u8 number of columns, then for each
//!         str8 name | u8 kind | u8 flags | u16 capacity
//!         with a default: u16 size | the bytes (a scalar's cell, or the text itself)
//!     u8 number of composite indexes, then for each
//!         u8 number of columns | their numbers | u8 flags (1 unique)
//!
//! A str8 is `u8 size | 1 to 64 bytes of UTF-8`.
//!
//! The physical layout is not in the blob. It follows from the columns (`table_info`), so it
//! cannot contradict them.

const std = @import("std");
const status = @import("status.zig");
const table_info = @import("table_info.zig");
const row = @import("row.zig");
const assert = std.debug.assert;
const Detail = status.Detail;
const ColumnInfo = table_info.ColumnInfo;
const ColumnFlags = table_info.ColumnFlags;
const Kind = table_info.Kind;
const TableInfo = table_info.TableInfo;

pub const format_current = 1;
/// Bytes of a blob, so that it fits one block of the region.
pub const size_max = 60_000;
pub const index_count_max = 16;
pub const index_column_count_max = 8;

pub const Error = error{ InvalidSchema, OutOfMemory };

/// An index over several columns.
pub const CompositeIndex = struct {
    columns: [index_column_count_max]u8,
    count: u8,
    unique: bool,

    pub fn slice(index: *const CompositeIndex) []const u8 {
        return index.columns[0..index.count];
    }
};

/// A decoded table. Owns its memory; `table.default_payload` is part of it.
pub const Schema = struct {
    table: TableInfo,
    /// The value of each column that has a default, as in the blob. Slices of `blob`.
    defaults: [table_info.column_count_max][]const u8,
    indexes: [index_count_max]CompositeIndex,
    index_count: u8,
    /// A copy of what was decoded.
    blob: []const u8,

    pub fn deinit(schema: *Schema, gpa: std.mem.Allocator) void {
        gpa.free(schema.table.default_payload);
        gpa.free(schema.blob);
        schema.* = undefined;
    }

    pub fn compositeIndexes(schema: *const Schema) []const CompositeIndex {
        return schema.indexes[0..schema.index_count];
    }

    pub fn defaultOf(schema: *const Schema, column: usize) ?[]const u8 {
        if (!schema.table.columns[column].flags.has_default) return null;
        return schema.defaults[column];
    }
};

/// Decodes and checks a blob, of which it keeps a copy. `detail` says what is wrong with it.
pub fn decode(
    schema: *Schema,
    gpa: std.mem.Allocator,
    id: u16,
    bytes: []const u8,
    detail: *Detail,
) Error!void {
    if (bytes.len > size_max) {
        detail.set("the declaration takes {d} bytes, more than {d}", .{ bytes.len, size_max });
        return error.InvalidSchema;
    }
    const blob = try gpa.dupe(u8, bytes);
    errdefer gpa.free(blob);
    schema.blob = blob;
    var reader: Reader = .{ .bytes = blob, .detail = detail };
    try reader.schema(schema, id);
    try buildDefaultRow(schema, gpa, detail);
}

const Reader = struct {
    bytes: []const u8,
    at: usize = 0,
    detail: *Detail,

    fn schema(reader: *Reader, result: *Schema, id: u16) error{InvalidSchema}!void {
        const format = try reader.byte();
        if (format != format_current) {
            return reader.fail("the declaration has format {d}, not {d}", .{
                format, format_current,
            });
        }
        const name = try reader.text("table");
        const count = try reader.byte();
        if (count == 0 or count > table_info.column_count_max) {
            return reader.fail("table \"{s}\" has {d} columns, not 1 to {d}", .{
                name, count, table_info.column_count_max,
            });
        }
        var columns: [table_info.column_count_max]ColumnInfo = undefined;
        for (0..count) |i| {
            columns[i] = try reader.column(result, i);
            for (columns[0..i]) |*before| {
                if (!std.mem.eql(u8, before.name(), columns[i].name())) continue;
                return reader.fail("two columns have the name \"{s}\"", .{before.name()});
            }
        }
        try reader.compositeIndexes(result, count);
        if (reader.at != reader.bytes.len) return reader.torn();

        result.table = TableInfo.init(id, name, columns[0..count]) catch |err| switch (err) {
            error.InvalidSchema => return reader.fail(
                "table \"{s}\" needs exactly one primary key: text of at most {d} bytes, " ++
                    "int32 or int64, not nullable",
                .{ name, table_info.key_capacity_max },
            ),
            error.RowTooLarge => return reader.fail(
                "a row of table \"{s}\" with all columns full would take more than {d} bytes; " ++
                    "make its columns of text or bytes smaller",
                .{ name, table_info.row_payload_size_max },
            ),
        };
    }

    fn column(reader: *Reader, result: *Schema, i: usize) error{InvalidSchema}!ColumnInfo {
        const name = try reader.text("column");
        const kind_byte = try reader.byte();
        const kind = Kind.fromByte(kind_byte) orelse
            return reader.fail("column \"{s}\" has kind {d}", .{ name, kind_byte });
        const flags: ColumnFlags = @bitCast(try reader.byte());
        if (flags.reserved != 0) return reader.fail("column \"{s}\" has unknown flags", .{name});
        if (flags.bigint and kind != .int64) {
            return reader.fail("column \"{s}\" is no int64 and cannot be a bigint", .{name});
        }
        const capacity = try reader.word();
        if (kind.isText() != (capacity > 0)) {
            return reader.fail("column \"{s}\" of type {t} has a capacity of {d} bytes", .{
                name, kind, capacity,
            });
        }
        result.defaults[i] = "";
        if (flags.has_default) {
            const value = try reader.take(try reader.word());
            try reader.checkDefault(name, kind, capacity, value);
            result.defaults[i] = value;
        }
        return .init(name, kind, capacity, flags);
    }

    fn checkDefault(
        reader: *Reader,
        name: []const u8,
        kind: Kind,
        capacity: u16,
        value: []const u8,
    ) error{InvalidSchema}!void {
        const fits = if (kind.scalarSize()) |size| value.len == size else value.len <= capacity;
        if (!fits) return reader.fail("the default of column \"{s}\" does not fit it", .{name});
        const sound = switch (kind) {
            .text => std.unicode.utf8ValidateSlice(value),
            .bytes, .int32, .int64 => true,
            .float64 => !std.math.isNan(floatOf(value)),
            .timestamp => std.math.isFinite(floatOf(value)),
            .bool => value[0] <= 1,
        };
        if (!sound) return reader.fail("the default of column \"{s}\" is no {t}", .{ name, kind });
    }

    fn compositeIndexes(reader: *Reader, result: *Schema, count: u8) error{InvalidSchema}!void {
        result.index_count = try reader.byte();
        if (result.index_count > index_count_max) {
            return reader.fail("there are more than {d} composite indexes", .{index_count_max});
        }
        for (result.indexes[0..result.index_count]) |*index| {
            index.count = try reader.byte();
            if (index.count == 0 or index.count > index_column_count_max) {
                return reader.fail("a composite index has {d} columns, not 1 to {d}", .{
                    index.count, index_column_count_max,
                });
            }
            const columns = try reader.take(index.count);
            @memcpy(index.columns[0..index.count], columns);
            for (columns, 0..) |number, i| {
                const again = std.mem.indexOfScalar(u8, columns[0..i], number) != null;
                if (number < count and !again) continue;
                return reader.fail("a composite index names column {d} wrongly", .{number});
            }
            const flags = try reader.byte();
            if (flags > 1) return reader.fail("a composite index has unknown flags", .{});
            index.unique = flags == 1;
        }
    }

    fn take(reader: *Reader, count: usize) error{InvalidSchema}![]const u8 {
        if (count > reader.bytes.len - reader.at) return reader.torn();
        defer reader.at += count;
        return reader.bytes[reader.at..][0..count];
    }

    fn byte(reader: *Reader) error{InvalidSchema}!u8 {
        return (try reader.take(1))[0];
    }

    fn word(reader: *Reader) error{InvalidSchema}!u16 {
        return std.mem.readInt(u16, (try reader.take(2))[0..2], .little);
    }

    fn text(reader: *Reader, comptime what: []const u8) error{InvalidSchema}![]const u8 {
        const size = try reader.byte();
        const name = try reader.take(size);
        if (size >= 1 and size <= table_info.name_size_max and
            std.unicode.utf8ValidateSlice(name)) return name;
        return reader.fail("the name of a " ++ what ++ " has {d} bytes of UTF-8, not 1 to {d}", .{
            size, table_info.name_size_max,
        });
    }

    fn torn(reader: *Reader) error{InvalidSchema} {
        return reader.fail("the declaration is cut off or too long, at byte {d}", .{reader.at});
    }

    fn fail(reader: *Reader, comptime fmt: []const u8, args: anytype) error{InvalidSchema} {
        reader.detail.set(fmt, args);
        return error.InvalidSchema;
    }
};

fn floatOf(cell: []const u8) f64 {
    return @bitCast(std.mem.readInt(u64, cell[0..8], .little));
}

/// Lays out the row in which every column has its default, and is null where it has none.
fn buildDefaultRow(schema: *Schema, gpa: std.mem.Allocator, detail: *Detail) Error!void {
    const table = &schema.table;
    const buffer = try gpa.alignedAlloc(u8, .@"8", table.payload_size_max);
    defer gpa.free(buffer);
    var builder: row.Builder = .init(table, buffer);
    for (table.slice(), 0..) |*column, i| {
        const value = schema.defaultOf(i) orelse continue;
        const number: u8 = @intCast(i);
        switch (column.kind) {
            .text, .bytes => builder.setText(number, value) catch {
                detail.set("the default of column \"{s}\" does not fit it", .{column.name()});
                return error.InvalidSchema;
            },
            .int32 => builder.setInt32(number, std.mem.readInt(i32, value[0..4], .little)),
            .int64 => builder.setInt64(number, std.mem.readInt(i64, value[0..8], .little)),
            .float64, .timestamp => builder.setFloat64(number, floatOf(value)),
            .bool => builder.setBool(number, value[0] != 0),
        }
    }
    const defaults = builder.finish();
    const payload = try gpa.alignedAlloc(u8, .@"8", defaults.size);
    @memcpy(payload, defaults.payload[0..defaults.size]);
    table.default_payload = payload;
    table.default_null_mask = defaults.null_mask;
}

/// True if the columns of a declaration differ from those that the region has; `detail` then says
/// which one and how. Indexes may differ: they are no part of what a row is.
pub fn mismatch(declared: *const Schema, stored: *const Schema, detail: *Detail) bool {
    const table = &declared.table;
    for (table.slice(), 0..) |*column, i| {
        const j = stored.table.find(column.name()) orelse {
            detail.set("column \"{s}\" of table \"{s}\" is declared, but not in the region", .{
                column.name(), table.name(),
            });
            return true;
        };
        if (columnMismatch(declared, i, stored, j, detail)) return true;
    }
    for (stored.table.slice()) |*column| {
        if (table.find(column.name()) != null) continue;
        detail.set("column \"{s}\" of table \"{s}\" is in the region, but not declared", .{
            column.name(), table.name(),
        });
        return true;
    }
    return false;
}

fn columnMismatch(
    declared: *const Schema,
    i: usize,
    stored: *const Schema,
    j: usize,
    detail: *Detail,
) bool {
    const here = &declared.table.columns[i];
    const there = &stored.table.columns[j];
    const same_type = here.kind == there.kind and here.capacity == there.capacity and
        here.flags.nullable == there.flags.nullable and
        here.flags.primary == there.flags.primary and
        here.flags.bigint == there.flags.bigint;
    if (!same_type) {
        detail.set("column \"{s}\" of table \"{s}\" is declared as {f}, and the region has {f}", .{
            here.name(), declared.table.name(), describe(here), describe(there),
        });
        return true;
    }
    if (!sameDefault(declared.defaultOf(i), stored.defaultOf(j))) {
        detail.set("column \"{s}\" of table \"{s}\" has another default in the region", .{
            here.name(), declared.table.name(),
        });
        return true;
    }
    if (i != j) {
        detail.set("column \"{s}\" of table \"{s}\" is declared as number {d}, and the region " ++
            "has it as number {d}", .{ here.name(), declared.table.name(), i + 1, j + 1 });
        return true;
    }
    return false;
}

fn sameDefault(a: ?[]const u8, b: ?[]const u8) bool {
    const left = a orelse return b == null;
    return std.mem.eql(u8, left, b orelse return false);
}

fn describe(column: *const ColumnInfo) std.fmt.Alt(*const ColumnInfo, writeType) {
    return .{ .data = column };
}

/// As one would declare it: `text(16), nullable`.
fn writeType(column: *const ColumnInfo, writer: *std.Io.Writer) std.Io.Writer.Error!void {
    try writer.print("{t}", .{column.kind});
    if (column.kind.isText()) try writer.print("({d})", .{column.capacity});
    if (column.flags.bigint) try writer.writeAll(" as bigint");
    if (column.flags.primary) try writer.writeAll(", primary key");
    if (column.flags.nullable) try writer.writeAll(", nullable");
}

/// Writes blobs for tests.
pub const TestWriter = struct {
    bytes: std.ArrayList(u8) = .empty,

    const gpa = std.testing.allocator;

    pub fn init(name: []const u8, column_count: u8) !TestWriter {
        var writer: TestWriter = .{};
        try writer.bytes.append(gpa, format_current);
        try writer.text(name);
        try writer.bytes.append(gpa, column_count);
        return writer;
    }

    pub fn deinit(writer: *TestWriter) void {
        writer.bytes.deinit(gpa);
    }

    fn text(writer: *TestWriter, name: []const u8) !void {
        try writer.bytes.append(gpa, @intCast(name.len));
        try writer.bytes.appendSlice(gpa, name);
    }

    pub fn column(
        writer: *TestWriter,
        name: []const u8,
        kind: Kind,
        capacity: u16,
        flags: ColumnFlags,
        default: ?[]const u8,
    ) !void {
        var all = flags;
        all.has_default = default != null;
        try writer.text(name);
        try writer.bytes.appendSlice(gpa, &.{ @intFromEnum(kind), @bitCast(all) });
        try writer.word(capacity);
        if (default) |value| {
            try writer.word(@intCast(value.len));
            try writer.bytes.appendSlice(gpa, value);
        }
    }

    fn word(writer: *TestWriter, value: u16) !void {
        try writer.bytes.appendSlice(gpa, &.{ @truncate(value), @intCast(value >> 8) });
    }

    pub fn indexes(writer: *TestWriter, bytes: []const u8) !void {
        try writer.bytes.appendSlice(gpa, bytes);
    }

    /// A table of flights with all that a blob can say.
    pub fn flights(name: []const u8) !TestWriter {
        var writer: TestWriter = try .init(name, 5);
        try writer.column("id", .text, 16, .{ .primary = true }, null);
        try writer.column("altitude", .int32, 0, .{ .nullable = true, .index = true }, null);
        try writer.column("typ", .text, 8, .{}, "B738");
        const half: u64 = @bitCast(@as(f64, 0.5));
        try writer.column("gs", .float64, 0, .{}, std.mem.asBytes(&half));
        try writer.column("serial", .int64, 0, .{ .nullable = true, .bigint = true }, null);
        try writer.indexes(&.{ 1, 2, 2, 1, 0 });
        return writer;
    }
};

const testing = std.testing;

test "decode: reads what was declared and lays out the default row" {
    var writer = try TestWriter.flights("flights");
    defer writer.deinit();
    var detail: Detail = .{};
    var schema: Schema = undefined;
    try decode(&schema, testing.allocator, 3, writer.bytes.items, &detail);
    defer schema.deinit(testing.allocator);

    const table = &schema.table;
    try testing.expectEqualStrings("flights", table.name());
    try testing.expectEqual(@as(u16, 3), table.id);
    try testing.expectEqual(@as(u8, 5), table.column_count);
    try testing.expect(table.columns[4].flags.bigint);
    try testing.expectEqualSlices(u8, &.{ 2, 1 }, schema.compositeIndexes()[0].slice());
    const defaults: row.RowRef = .{
        .payload = table.default_payload.ptr,
        .null_mask = table.default_null_mask,
        .version = 0,
        .size = @intCast(table.default_payload.len),
    };
    try testing.expectEqual(@as(u64, 0b10011), defaults.null_mask);
    try testing.expectEqualStrings("B738", defaults.text(&table.columns[2]));
    try testing.expectEqual(@as(f64, 0.5), defaults.float64(table.columns[3].offset));
}

test "decode: no cut, and no changed byte, does more than fail" {
    var writer = try TestWriter.flights("flights");
    defer writer.deinit();
    const blob = writer.bytes.items;
    var detail: Detail = .{};
    var schema: Schema = undefined;
    for (0..blob.len) |size| {
        const outcome = decode(&schema, testing.allocator, 0, blob[0..size], &detail);
        try testing.expectError(error.InvalidSchema, outcome);
        try testing.expect(detail.len > 0);
    }
    const changed = try testing.allocator.dupe(u8, blob);
    defer testing.allocator.free(changed);
    for (0..blob.len) |at| {
        for ([_]u8{ 0, 1, 7, 65, 128, 255 }) |byte| {
            changed[at] = byte;
            if (decode(&schema, testing.allocator, 0, changed, &detail)) {
                schema.deinit(testing.allocator);
            } else |err| try testing.expectEqual(error.InvalidSchema, err);
        }
        changed[at] = blob[at];
    }
}

test "decode: says which rule a declaration breaks" {
    const nan: u64 = @bitCast(std.math.nan(f64));
    var detail: Detail = .{};
    var schema: Schema = undefined;
    const Case = struct { Kind, u16, ColumnFlags, ?[]const u8, []const u8 };
    for ([_]Case{
        .{ .int32, 4, .{}, null, "has a capacity of 4 bytes" },
        .{ .text, 0, .{}, null, "has a capacity of 0 bytes" },
        .{ .text, 2, .{}, "abc", "does not fit" },
        .{ .text, 2, .{}, "\xff\xff", "is no text" },
        .{ .float64, 0, .{}, std.mem.asBytes(&nan), "is no float64" },
        .{ .bool, 0, .{}, "\x02", "is no bool" },
        .{ .int32, 0, .{ .bigint = true }, null, "cannot be a bigint" },
        .{ .int32, 0, .{ .primary = true }, null, "exactly one primary key" },
        .{ .text, 59_990, .{}, null, "more than 60000 bytes" },
    }) |case| {
        var writer: TestWriter = try .init("t", 2);
        defer writer.deinit();
        try writer.column("id", .int64, 0, .{ .primary = true }, null);
        try writer.column("c", case[0], case[1], case[2], case[3]);
        try writer.indexes(&.{0});
        const outcome = decode(&schema, testing.allocator, 0, writer.bytes.items, &detail);
        try testing.expectError(error.InvalidSchema, outcome);
        try testing.expect(std.mem.indexOf(u8, detail.text(), case[4]) != null);
    }
}

test "mismatch: says which column differs and how" {
    var detail: Detail = .{};
    var original = try TestWriter.flights("flights");
    defer original.deinit();
    var stored: Schema = undefined;
    try decode(&stored, testing.allocator, 0, original.bytes.items, &detail);
    defer stored.deinit(testing.allocator);
    try testing.expect(!mismatch(&stored, &stored, &detail));

    const Case = struct { []const u8, Kind, u16, ColumnFlags, ?[]const u8, []const u8 };
    for ([_]Case{
        .{ "height", .int32, 0, .{ .nullable = true }, null, "is declared, but" },
        .{ "altitude", .int64, 0, .{ .nullable = true }, null, "as int64, nullable, and the " ++
            "region has int32, nullable" },
        .{ "altitude", .int32, 0, .{}, null, "as int32, and the region has int32, nullable" },
        .{ "typ", .text, 9, .{}, "B738", "as text(9), and the region has text(8)" },
        .{ "typ", .text, 8, .{}, "A320", "has another default in the region" },
        .{ "typ", .text, 8, .{}, "B738", "as number 2, and the region has it as number 3" },
        .{ "altitude", .int32, 0, .{ .nullable = true }, null, "column \"typ\" of table " ++
            "\"flights\" is in the region, but not declared" },
    }) |case| {
        var writer: TestWriter = try .init("flights", 2);
        defer writer.deinit();
        try writer.column("id", .text, 16, .{ .primary = true }, null);
        try writer.column(case[0], case[1], case[2], case[3], case[4]);
        try writer.indexes(&.{0});
        var declared: Schema = undefined;
        try decode(&declared, testing.allocator, 0, writer.bytes.items, &detail);
        defer declared.deinit(testing.allocator);
        try testing.expect(mismatch(&declared, &stored, &detail));
        try testing.expect(std.mem.indexOf(u8, detail.text(), case[5]) != null);
    }
}
