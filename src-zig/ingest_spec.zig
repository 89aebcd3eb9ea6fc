//! How an input is to be read: the bytes TypeScript sends to begin an ingest.
//!
//! Packed, little endian, no alignment:
//!
//!     0  u32 flags        1 the first line names the fields
//!                         2 Tcl-style values (see tsv.zig)
//!                         4 skip bad lines and count them
//!                         8 insert, so that an existing key is an error, instead of upsert
//!                        16 there is a column list
//!                        32 there are renames
//!                        64 fields whose name in the first line is unknown are ignored
//!     4  u32 batch_rows   most rows handed over at once; 0 for `batch_rows_default`
//!     8  u16 field_count  0 without a column list
//!    10  u8 column[field_count]: where field i goes; 255 ignores it
//!     .  u8 length, null text: a field that equals it is null
//!     .  with renames: u16 count, then for each
//!           u8 length, name in the first line, u8 column or 255
//!
//! With a column list and a first line of names, the list decides and the names are passed over.
//! With neither, the fields are the table's columns in their declared order.

const std = @import("std");
const table_info = @import("table_info.zig");
const TableInfo = table_info.TableInfo;

pub const batch_rows_default = 1000;
/// Fields of a line, ignored ones included.
pub const field_count_max = 1024;
/// A field that goes to no column.
pub const ignored: u8 = 255;

pub const Flags = packed struct(u32) {
    header_line: bool = false,
    tcl_values: bool = false,
    skip_bad_lines: bool = false,
    insert: bool = false,
    column_list: bool = false,
    renames: bool = false,
    ignore_unknown: bool = false,
    reserved: u25 = 0,
};

/// A decoded specification. It refers to the bytes it was decoded from.
pub const Spec = struct {
    flags: Flags,
    batch_rows: u32,
    columns: []const u8,
    null_text: []const u8,
    rename_count: u16,
    rename_bytes: []const u8,

    pub const Error = error{BadArgument};

    pub fn decode(bytes: []const u8, table: *const TableInfo) Error!Spec {
        var reader: Reader = .{ .bytes = bytes };
        const flags: Flags = @bitCast(std.mem.readInt(u32, (try reader.take(4))[0..4], .little));
        if (flags.reserved != 0) return error.BadArgument;
        const batch_rows = std.mem.readInt(u32, (try reader.take(4))[0..4], .little);
        const field_count = std.mem.readInt(u16, (try reader.take(2))[0..2], .little);
        if (field_count > field_count_max) return error.BadArgument;
        if (flags.column_list != (field_count > 0)) return error.BadArgument;

        const columns = try reader.take(field_count);
        var seen: u64 = 0;
        for (columns) |column| {
            if (column == ignored) continue;
            if (column >= table.column_count) return error.BadArgument;
            const bit = @as(u64, 1) << @intCast(column);
            if (seen & bit != 0) return error.BadArgument;
            seen |= bit;
        }
        const null_text = try reader.takeShort();

        var spec: Spec = .{
            .flags = flags,
            .batch_rows = if (batch_rows == 0) batch_rows_default else batch_rows,
            .columns = columns,
            .null_text = null_text,
            .rename_count = 0,
            .rename_bytes = "",
        };
        if (flags.renames) {
            spec.rename_count = std.mem.readInt(u16, (try reader.take(2))[0..2], .little);
            const start = reader.at;
            for (0..spec.rename_count) |_| {
                _ = try reader.takeShort();
                const column = (try reader.take(1))[0];
                if (column != ignored and column >= table.column_count) return error.BadArgument;
            }
            spec.rename_bytes = bytes[start..reader.at];
        }
        if (reader.at != bytes.len) return error.BadArgument;
        return spec;
    }

    /// The column a name in the first line stands for: by a rename, else by the table. Null if it
    /// is unknown.
    pub fn columnOf(spec: *const Spec, table: *const TableInfo, name: []const u8) ?u8 {
        var reader: Reader = .{ .bytes = spec.rename_bytes };
        for (0..spec.rename_count) |_| {
            // The bytes were walked in the same way by `decode`.
            const renamed = reader.takeShort() catch unreachable;
            const column = (reader.take(1) catch unreachable)[0];
            if (std.mem.eql(u8, renamed, name)) return column;
        }
        return table.find(name) orelse if (spec.flags.ignore_unknown) ignored else null;
    }
};

const Reader = struct {
    bytes: []const u8,
    at: usize = 0,

    fn take(reader: *Reader, count: usize) Spec.Error![]const u8 {
        if (count > reader.bytes.len - reader.at) return error.BadArgument;
        defer reader.at += count;
        return reader.bytes[reader.at..][0..count];
    }

    fn takeShort(reader: *Reader) Spec.Error![]const u8 {
        const length = (try reader.take(1))[0];
        return reader.take(length);
    }
};

/// Encodes a specification, for tests and benches. Returns a part of `buffer`.
pub fn encode(
    buffer: []u8,
    flags: Flags,
    batch_rows: u32,
    columns: []const u8,
    null_text: []const u8,
    renames: []const struct { []const u8, u8 },
) []const u8 {
    var writer: std.Io.Writer = .fixed(buffer);
    var all = flags;
    all.column_list = columns.len > 0;
    all.renames = renames.len > 0;
    encodeTo(&writer, all, batch_rows, columns, null_text, renames) catch unreachable;
    return writer.buffered();
}

fn encodeTo(
    writer: *std.Io.Writer,
    flags: Flags,
    batch_rows: u32,
    columns: []const u8,
    null_text: []const u8,
    renames: []const struct { []const u8, u8 },
) std.Io.Writer.Error!void {
    try writer.writeInt(u32, @bitCast(flags), .little);
    try writer.writeInt(u32, batch_rows, .little);
    try writer.writeInt(u16, @intCast(columns.len), .little);
    try writer.writeAll(columns);
    try writer.writeByte(@intCast(null_text.len));
    try writer.writeAll(null_text);
    if (renames.len == 0) return;
    try writer.writeInt(u16, @intCast(renames.len), .little);
    for (renames) |rename| {
        try writer.writeByte(@intCast(rename[0].len));
        try writer.writeAll(rename[0]);
        try writer.writeByte(rename[1]);
    }
}

fn testTable() !TableInfo {
    return .init(0, "t", &.{
        .init("id", .int32, 0, .{ .primary = true }),
        .init("a", .int32, 0, .{ .nullable = true }),
    });
}

test "Spec: gives back what was encoded, and refuses it when cut" {
    const table = try testTable();
    var buffer: [128]u8 = undefined;
    const bytes = encode(&buffer, .{ .tcl_values = true }, 7, &.{ 1, 255, 0 }, "\\N", &.{
        .{ "alpha", 1 },
        .{ "junk", ignored },
    });
    const spec: Spec = try .decode(bytes, &table);
    try std.testing.expect(spec.flags.tcl_values and !spec.flags.header_line);
    try std.testing.expectEqual(7, spec.batch_rows);
    try std.testing.expectEqualSlices(u8, &.{ 1, 255, 0 }, spec.columns);
    try std.testing.expectEqualStrings("\\N", spec.null_text);
    try std.testing.expectEqual(1, spec.columnOf(&table, "alpha"));
    try std.testing.expectEqual(ignored, spec.columnOf(&table, "junk"));
    try std.testing.expectEqual(0, spec.columnOf(&table, "id"));
    try std.testing.expectEqual(null, spec.columnOf(&table, "other"));
    for (0..bytes.len) |size| {
        try std.testing.expectError(error.BadArgument, Spec.decode(bytes[0..size], &table));
    }
}

test "Spec: refuses a column twice and one that is not there" {
    const table = try testTable();
    var buffer: [128]u8 = undefined;
    for ([_][]const u8{ &.{ 0, 0 }, &.{2} }) |columns| {
        const bytes = encode(&buffer, .{}, 0, columns, "", &.{});
        try std.testing.expectError(error.BadArgument, Spec.decode(bytes, &table));
    }
}
