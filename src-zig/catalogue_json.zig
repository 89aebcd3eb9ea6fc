//! Tables as JSON: all that a reader who declares nothing has to know of them.
//!
//! `lib/catalogue.ts` reads it. Numbers that JSON would not keep stand as text: defaults of 64-bit
//! integers in digits, defaults of bytes in base64.

const std = @import("std");
const table_info = @import("table_info.zig");
const Schema = @import("schema_blob.zig").Schema;

const Error = std.Io.Writer.Error;

/// Writes a table with its columns, and the indexes that searches may use.
pub fn writeTable(writer: *std.Io.Writer, schema: *const Schema) Error!void {
    const table = &schema.table;
    try writer.print("{{\"id\":{d},\"name\":", .{table.id});
    try writeString(writer, table.name());
    try writer.print(",\"fixedSize\":{d},\"payloadSizeMax\":{d},\"primaryKey\":{d}", .{
        table.fixed_size, table.payload_size_max, table.primary_key,
    });
    try writer.writeAll(",\"columns\":[");
    for (table.slice(), 0..) |*column, i| {
        if (i > 0) try writer.writeByte(',');
        try writeColumn(writer, column, schema.defaultOf(i));
    }
    try writer.writeAll("],\"indexes\":[");
    const indexes = schema.table.indexes orelse return writer.writeAll("]}");
    var first = true;
    for (indexes.current()) |*index| {
        if (index.phase(indexes.region) != .ready) continue;
        if (!first) try writer.writeByte(',');
        first = false;
        try writer.print("{{\"id\":{d},\"columns\":[", .{index.number});
        for (index.keys.slice(), 0..) |*part, j| {
            if (j > 0) try writer.writeByte(',');
            try writer.print("{d}", .{part.number});
        }
        try writer.print("],\"unique\":{}}}", .{index.unique});
    }
    try writer.writeAll("]}");
}

fn writeColumn(
    writer: *std.Io.Writer,
    column: *const table_info.ColumnInfo,
    default: ?[]const u8,
) Error!void {
    try writer.writeAll("{\"name\":");
    try writeString(writer, column.name());
    try writer.print(",\"kind\":\"{t}\",\"capacity\":{d},\"inline\":{},\"offset\":{d}", .{
        column.kind, column.capacity, column.is_inline, column.offset,
    });
    const flags = column.flags;
    try writer.print(",\"nullable\":{},\"primary\":{},\"index\":{},\"unique\":{},\"bigint\":{}", .{
        flags.nullable, flags.primary, flags.index, flags.unique, flags.bigint,
    });
    if (default) |value| {
        try writer.writeAll(",\"default\":");
        try writeDefault(writer, column.kind, value);
    }
    try writer.writeByte('}');
}

fn writeDefault(writer: *std.Io.Writer, kind: table_info.Kind, value: []const u8) Error!void {
    switch (kind) {
        .text => try writeString(writer, value),
        .bytes => {
            try writer.writeByte('"');
            try std.base64.standard.Encoder.encodeWriter(writer, value);
            try writer.writeByte('"');
        },
        .int32 => try writer.print("{d}", .{std.mem.readInt(i32, value[0..4], .little)}),
        // As text: a number in JSON would lose digits behind 2^53.
        .int64 => try writer.print("\"{d}\"", .{std.mem.readInt(i64, value[0..8], .little)}),
        .float64, .timestamp => {
            const number: f64 = @bitCast(std.mem.readInt(u64, value[0..8], .little));
            // JSON has no infinity, and every reader makes one of this.
            if (std.math.isInf(number)) {
                return writer.writeAll(if (number > 0) "1e999" else "-1e999");
            }
            try writer.print("{e}", .{number});
        },
        .bool => try writer.print("{}", .{value[0] != 0}),
    }
}

fn writeString(writer: *std.Io.Writer, text: []const u8) Error!void {
    try std.json.Stringify.encodeJsonString(text, .{}, writer);
}
