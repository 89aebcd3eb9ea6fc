//! Which row of a transaction has broken which unique index, for whoever has to say so. The
//! transaction is undone by then, so what names the row is a copy.

const index_key = @import("index_key.zig");
const std = @import("std");
const table_indexes = @import("table_indexes.zig");
const table_info = @import("table_info.zig");
const version_module = @import("version.zig");
const Detail = @import("status.zig").Detail;
const Index = table_indexes.Index;
const TableInfo = table_info.TableInfo;

pub const UniqueViolation = struct {
    table: *const TableInfo,
    index: *const Index,
    cell: [version_module.key_cell_size_max]u8,
    cell_size: u8,

    /// `cell` is the primary key of the row, as its node has it.
    pub fn set(
        violation: *UniqueViolation,
        table: *const TableInfo,
        index: *const Index,
        cell: []const u8,
    ) void {
        violation.table = table;
        violation.index = index;
        violation.cell_size = @intCast(cell.len);
        @memcpy(violation.cell[0..cell.len], cell);
    }

    /// Whether this is the row.
    pub fn isOf(violation: *const UniqueViolation, table: *const TableInfo, cell: []const u8) bool {
        return violation.table == table and std.mem.eql(u8, violation.key(), cell);
    }

    fn key(violation: *const UniqueViolation) []const u8 {
        return violation.cell[0..violation.cell_size];
    }

    /// Writes what has happened, as the end of a sentence.
    pub fn describe(violation: *const UniqueViolation, detail: *Detail) void {
        const table = violation.table;
        detail.set("another row of table \"{s}\" has the value that row ", .{table.name()});
        addKey(detail, table, violation.key());
        detail.add(" has in the unique index on ", .{});
        addColumns(detail, table, violation.index);
    }
};

/// Appends a primary key: text in quotes, numbers without.
pub fn addKey(detail: *Detail, table: *const TableInfo, cell: []const u8) void {
    const kind = table.columns[table.primary_key].kind;
    const size: usize = switch (kind) {
        .int32 => 4,
        .int64 => 8,
        else => 2,
    };
    if (cell.len < size) return; // a corrupted region
    switch (kind) {
        .int32 => detail.add("{d}", .{std.mem.readInt(i32, cell[0..4], .little)}),
        .int64 => detail.add("{d}", .{std.mem.readInt(i64, cell[0..8], .little)}),
        else => detail.add("\"{s}\"", .{cell[2..]}),
    }
}

/// Appends the names of the columns of an index.
pub fn addColumns(detail: *Detail, table: *const TableInfo, index: *const Index) void {
    const count = @min(index.keys.count, index_key.column_count_max);
    for (index.keys.parts[0..count], 0..) |part, i| {
        if (part.number >= table.column_count) continue; // a corrupted region
        const separator = if (i == 0) "" else ", ";
        detail.add("{s}\"{s}\"", .{ separator, table.columns[part.number].name() });
    }
}
