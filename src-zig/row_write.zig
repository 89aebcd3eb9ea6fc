//! One row to be written: what a statement hands to the transaction, and what becomes of it.

const std = @import("std");
const version_module = @import("version.zig");
const pk_map = @import("pk_map.zig");
const row_module = @import("row.zig");
const row_merge = @import("row_merge.zig");
const table_info = @import("table_info.zig");
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const RelPtr = version_module.RelPtr;
const Key = pk_map.Key;

pub const Operation = enum {
    insert,
    upsert,
    update,
    delete,
    apply,
    /// Deletes the row if there is one.
    remove,
};

/// One row to write.
pub const Write = struct {
    table: *const TableInfo,
    operation: Operation,
    key: Key,
    /// The whole row (insert, upsert) or the columns of `mask` (update).
    image: RowRef = undefined,
    mask: u64 = 0,
    expressions: []const row_merge.Expression = &.{},
    /// The version that this row must still have below ours, when the transaction has read it.
    expected: Expected = .any,
};

pub const Expected = union(enum) { any, version: RelPtr };

pub const Outcome = enum {
    done,
    duplicate_key,
    not_found,
    /// The row is not what the transaction has read.
    conflict,
    /// Another row has the value in a unique index.
    unique_violation,
    /// Somebody lost patience with us. Nothing of the attempt is left; try again.
    kicked,
    type_mismatch,
    out_of_range,
    not_a_number,
};

/// The key cell of a row image, without padding. The text length is clipped to the capacity.
pub fn keyOf(table: *const TableInfo, payload: []const u8) Key {
    const column = &table.columns[table.primary_key];
    return Key.of(@intCast(table.id), keyCell(column, payload[column.offset..]));
}

/// The key cell that stands at the beginning of `bytes`.
pub fn keyCell(column: *const table_info.ColumnInfo, bytes: []const u8) []const u8 {
    if (column.kind != .text) return bytes[0..column.cell_size];
    const length = std.mem.readInt(u16, bytes[0..2], .little);
    return bytes[0 .. 2 + @as(usize, @min(length, column.capacity))];
}
