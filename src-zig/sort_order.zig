//! The order of a result: the sort fields of a query, then the primary key.
//!
//! Rows are sorted as entries, a reference and the first 64 bits that the order depends on, so that
//! most comparisons do not touch the rows. Rows of one snapshot differ in their primary keys, so
//! the order is total and every route gives the same sequence.
//!
//! Nulls come where the field's flags say, whatever the direction. Any bits are in order, also a
//! NaN that a corrupt row may hold: the comparison is always consistent for bytes that stay.

const std = @import("std");
const plan_module = @import("plan.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const take = @import("query_memory.zig").take;
const Allocator = std.mem.Allocator;
const ColumnInfo = table_info.ColumnInfo;
const RowRef = row_module.RowRef;
const Sort = plan_module.Sort;
const TableInfo = table_info.TableInfo;
const Order = std.math.Order;

pub const Entry = struct {
    prefix: u64,
    row: RowRef,
};

pub const SortOrder = struct {
    keys: []const Key,

    /// The keys are allocated in `arena` and refer to `table`'s columns.
    pub fn compile(
        arena: Allocator,
        sorts: []const Sort,
        table: *const TableInfo,
    ) Allocator.Error!SortOrder {
        var keys: std.ArrayList(Key) = .initBuffer(try take(arena, Key, sorts.len + 1));
        var seen: u64 = 0;
        const primary: Sort = .{ .column = table.primary_key };
        for (0..sorts.len + 1) |i| {
            const field = if (i < sorts.len) sorts[i] else primary;
            const bit = @as(u64, 1) << @intCast(field.column);
            if (seen & bit != 0) continue; // Rows that reach it are equal in it.
            seen |= bit;
            const column = &table.columns[field.column];
            keys.appendAssumeCapacity(.{
                .column = column,
                .null_bit = if (column.flags.nullable) bit else 0,
                .descending = field.flags.descending !=
                    (column.kind == .bool and field.flags.true_first),
                .nulls_first = field.flags.nulls_first,
            });
            if (field.column == table.primary_key) break;
        }
        return .{ .keys = keys.items };
    }

    pub fn entry(order: *const SortOrder, row: RowRef) Entry {
        return .{ .prefix = order.keys[0].prefix(row), .row = row };
    }

    /// Whether `a` stands before `b` in the result.
    pub fn before(order: *const SortOrder, a: Entry, b: Entry) bool {
        if (a.prefix != b.prefix) return a.prefix < b.prefix;
        return order.compare(a.row, b.row) == .lt;
    }

    pub fn compare(order: *const SortOrder, a: RowRef, b: RowRef) Order {
        for (order.keys) |*key| {
            const result = key.compare(a, b);
            if (result != .eq) return result;
        }
        return .eq;
    }
};

/// Rows ahead that are fetched while one is looked at.
pub const prefetch_distance = 8;

pub const Key = struct {
    column: *const ColumnInfo,
    null_bit: u64,
    descending: bool,
    nulls_first: bool,

    pub fn compare(key: *const Key, a: RowRef, b: RowRef) Order {
        const a_null = a.null_mask & key.null_bit != 0;
        const b_null = b.null_mask & key.null_bit != 0;
        if (a_null or b_null) {
            if (a_null and b_null) return .eq;
            return if (a_null == key.nulls_first) .lt else .gt;
        }
        const result = if (key.column.kind.isText())
            row_module.compareBytes(a.text(key.column), b.text(key.column))
        else
            std.math.order(rank(key.column, a), rank(key.column, b));
        return if (key.descending) result.invert() else result;
    }

    /// A number that never contradicts `compare`: where two differ, the rows are in their order.
    /// The top bit tells nulls from values, the others hold the value's first 63 bits.
    pub fn prefix(key: *const Key, row: RowRef) u64 {
        const values_bit = @as(u64, @intFromBool(key.nulls_first)) << 63;
        if (row.null_mask & key.null_bit != 0) return values_bit ^ (1 << 63);
        const ascending = if (key.column.kind.isText())
            textRank(row.text(key.column))
        else
            rank(key.column, row);
        return values_bit | (if (key.descending) ~ascending else ascending) >> 1;
    }
};

/// The value of a scalar column as a number in the column's order.
fn rank(column: *const ColumnInfo, row: RowRef) u64 {
    const offset = column.offset;
    return switch (column.kind) {
        .int32 => @as(u64, @as(u32, @bitCast(row.int32(offset))) ^ (1 << 31)) << 32,
        .int64 => @as(u64, @bitCast(row.int64(offset))) ^ (1 << 63),
        .bool => @as(u64, @intFromBool(row.boolean(offset))) << 63,
        .float64, .timestamp => floatRank(row.float64(offset)),
        .text, .bytes => unreachable, // The callers take them.
    };
}

fn floatRank(value: f64) u64 {
    // Adding zero makes -0 a +0, which it equals.
    const bits: u64 = @bitCast(value + 0.0);
    return if (bits >> 63 == 0) bits ^ (1 << 63) else ~bits;
}

fn textRank(text: []const u8) u64 {
    if (text.len >= 8) return std.mem.readInt(u64, text[0..8], .big);
    var bytes: [8]u8 = @splat(0);
    @memcpy(bytes[0..text.len], text);
    return std.mem.readInt(u64, &bytes, .big);
}

const Builder = row_module.Builder;

const Rows = struct {
    table: TableInfo,
    buffers: [8][256]u8 align(8) = undefined,
    count: usize = 0,

    fn init() !Rows {
        return .{ .table = try .init(0, "t", &.{
            .init("id", .int32, 0, .{ .primary = true }),
            .init("n", .int64, 0, .{ .nullable = true }),
            .init("x", .float64, 0, .{ .nullable = true }),
            .init("s", .text, 40, .{ .nullable = true }),
            .init("b", .bool, 0, .{ .nullable = true }),
        }) };
    }

    fn add(rows: *Rows, n: ?i64, x: ?f64, s: ?[]const u8, b: ?bool) !RowRef {
        const buffer = &rows.buffers[rows.count];
        var builder: Builder = .init(&rows.table, buffer);
        builder.setInt32(0, @intCast(rows.count));
        rows.count += 1;
        if (n) |value| builder.setInt64(1, value);
        if (x) |value| builder.setFloat64(2, value);
        if (s) |value| try builder.setText(3, value);
        if (b) |value| builder.setBool(4, value);
        return builder.finish();
    }

    /// The rows must stand in `expected` order, and their entries too.
    fn expect(rows: *Rows, sorts: []const Sort, expected: []const RowRef) !void {
        var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
        defer arena_state.deinit();
        const order: SortOrder = try .compile(arena_state.allocator(), sorts, &rows.table);
        for (expected, 0..) |a, i| {
            for (expected, 0..) |b, j| {
                try std.testing.expectEqual(std.math.order(i, j), order.compare(a, b));
                const a_entry = order.entry(a);
                const b_entry = order.entry(b);
                try std.testing.expectEqual(i < j, order.before(a_entry, b_entry));
            }
        }
    }
};

test "SortOrder: ties end on the primary key" {
    var rows: Rows = try .init();
    const a = try rows.add(1, null, null, null);
    const b = try rows.add(1, null, null, null);
    const c = try rows.add(0, null, null, null);
    try rows.expect(&.{.{ .column = 1 }}, &.{ c, a, b });
    try rows.expect(&.{.{ .column = 1, .flags = .{ .descending = true } }}, &.{ a, b, c });
    try rows.expect(&.{}, &.{ a, b, c });
    try rows.expect(&.{.{ .column = 0, .flags = .{ .descending = true } }}, &.{ c, b, a });
}

test "SortOrder: nulls stand where the flag says, in both directions" {
    var rows: Rows = try .init();
    const low = try rows.add(std.math.minInt(i64), null, null, null);
    const none = try rows.add(null, null, null, null);
    const high = try rows.add(std.math.maxInt(i64), null, null, null);
    try rows.expect(&.{.{ .column = 1 }}, &.{ low, high, none });
    try rows.expect(&.{.{ .column = 1, .flags = .{ .nulls_first = true } }}, &.{ none, low, high });
    try rows.expect(
        &.{.{ .column = 1, .flags = .{ .descending = true, .nulls_first = true } }},
        &.{ none, high, low },
    );
    try rows.expect(&.{.{ .column = 1, .flags = .{ .descending = true } }}, &.{ high, low, none });
}

test "SortOrder: floats by value, text by bytes, bools either way round" {
    var rows: Rows = try .init();
    const a = try rows.add(0, -std.math.inf(f64), "", false);
    const b = try rows.add(1, -0.0, "Zurich airport", false);
    const c = try rows.add(1, 0.0, "Zurich airport a", true);
    const d = try rows.add(1, 1e-300, "Zürich", true);
    try rows.expect(&.{.{ .column = 2 }}, &.{ a, b, c, d });
    try rows.expect(&.{.{ .column = 3 }}, &.{ a, b, c, d });
    try rows.expect(&.{.{ .column = 3, .flags = .{ .descending = true } }}, &.{ d, c, b, a });
    try rows.expect(&.{.{ .column = 4, .flags = .{ .true_first = true } }}, &.{ c, d, a, b });
    try rows.expect(
        &.{.{ .column = 4, .flags = .{ .true_first = true, .descending = true } }},
        &.{ a, b, c, d },
    );
    try rows.expect(&.{ .{ .column = 4 }, .{ .column = 2, .flags = .{ .descending = true } } }, &.{
        b, a, d, c,
    });
}
