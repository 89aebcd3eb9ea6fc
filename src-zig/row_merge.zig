//! Building a new row image out of an old one: patches and column expressions.

const std = @import("std");
const table_info = @import("table_info.zig");
const row_module = @import("row.zig");
const TableInfo = table_info.TableInfo;
const RowRef = row_module.RowRef;
const assert = std.debug.assert;

/// Writes into `buffer` the row that has the columns in `mask` from `patch` and all others from
/// `base`. `buffer` must have room for `payload_size_max` bytes and overlap neither.
pub fn merge(
    table: *const TableInfo,
    base: RowRef,
    patch: RowRef,
    mask: u64,
    buffer: []align(8) u8,
) RowRef {
    assert(buffer.len >= table.payload_size_max);
    @memcpy(buffer[0..table.fixed_size], base.payload[0..table.fixed_size]);
    var size: u32 = table.fixed_size;
    for (table.slice(), 0..) |*column, i| {
        const bit = @as(u64, 1) << @intCast(i);
        const source = if (mask & bit != 0) patch else base;
        if (column.isTail()) {
            size += placeTail(buffer, column, source.text(column), size);
        } else if (mask & bit != 0) {
            const cell = buffer[column.offset..][0..column.cell_size];
            @memcpy(cell, patch.payload[column.offset..][0..column.cell_size]);
        }
    }
    const padded = std.mem.alignForward(u32, size, 8);
    @memset(buffer[size..padded], 0);
    return .{
        .payload = buffer.ptr,
        .null_mask = (base.null_mask & ~mask) | (patch.null_mask & mask),
        .version = 0,
        .size = padded,
    };
}

/// Writes a tail column's cell and bytes; returns the bytes that it takes in the tail.
fn placeTail(
    buffer: []align(8) u8,
    column: *const table_info.ColumnInfo,
    value: []const u8,
    at: u32,
) u32 {
    const cell = buffer[column.offset..][0..4];
    const length: u16 = @intCast(@min(value.len, column.capacity));
    if (length == 0) {
        @memset(cell, 0);
        return 0;
    }
    std.mem.writeInt(u16, cell[0..2], @intCast(at), .little);
    std.mem.writeInt(u16, cell[2..4], length, .little);
    const padded = std.mem.alignForward(u32, length, 4);
    @memcpy(buffer[at..][0..length], value[0..length]);
    @memset(buffer[at + length ..][0 .. padded - length], 0);
    return padded;
}

/// A change of one numeric column that needs no earlier read: it is evaluated on the latest
/// committed row at the moment of the commit.
pub const Expression = extern struct {
    column: u8,
    operation: Operation,
    range: Range = .whole,
    reserved: [5]u8 = @splat(0),
    /// An f64 for float64 and timestamp columns, an i64 for integers.
    operand: u64,

    pub const Operation = enum(u8) { increment = 1, minimum = 2, maximum = 3, multiply = 4, _ };

    /// What the result of an expression on integers may be: all that the column holds, or what a
    /// number of JavaScript is exactly, for whoever reads the column as numbers.
    pub const Range = enum(u8) { whole = 0, exact = 1, _ };

    comptime {
        assert(@sizeOf(Expression) == 16);
    }
};

pub const ExpressionError = error{ TypeMismatch, OutOfRange, NotANumber };

/// Evaluates expressions on the row in `buffer`, which `merge` has filled. A null counts as absent:
/// increment, minimum and maximum give the operand, multiply stays null. Returns the changed
/// columns. On an error the buffer's contents are undefined.
pub fn apply(
    table: *const TableInfo,
    image: *RowRef,
    buffer: []align(8) u8,
    expressions: []const Expression,
) ExpressionError!u64 {
    var changed: u64 = 0;
    for (expressions) |expression| {
        if (expression.column >= table.column_count) return error.TypeMismatch;
        if (expression.column == table.primary_key) return error.TypeMismatch;
        const column = &table.columns[expression.column];
        const bit = @as(u64, 1) << @intCast(expression.column);
        const is_null = image.null_mask & bit != 0;
        if (is_null and expression.operation == .multiply) continue;
        const cell = buffer[column.offset..];
        switch (column.kind) {
            .float64, .timestamp => {
                const old: f64 = @bitCast(std.mem.readInt(u64, cell[0..8], .little));
                const new = try applyFloat(expression, old, is_null);
                if (column.kind == .timestamp and std.math.isInf(new)) return error.OutOfRange;
                std.mem.writeInt(u64, cell[0..8], @bitCast(new), .little);
            },
            .int64 => {
                const old = std.mem.readInt(i64, cell[0..8], .little);
                std.mem.writeInt(i64, cell[0..8], try applyInt(expression, old, is_null), .little);
            },
            .int32 => {
                const old = std.mem.readInt(i32, cell[0..4], .little);
                const new = try applyInt(expression, old, is_null);
                const narrow = std.math.cast(i32, new) orelse return error.OutOfRange;
                std.mem.writeInt(i32, cell[0..4], narrow, .little);
            },
            .text, .bytes, .bool => return error.TypeMismatch,
        }
        image.null_mask &= ~bit;
        changed |= bit;
    }
    return changed;
}

fn applyFloat(expression: Expression, old: f64, is_null: bool) ExpressionError!f64 {
    const operand: f64 = @bitCast(expression.operand);
    const new = if (is_null) operand else switch (expression.operation) {
        .increment => old + operand,
        .minimum => @min(old, operand),
        .maximum => @max(old, operand),
        .multiply => old * operand,
        _ => return error.TypeMismatch,
    };
    if (std.math.isNan(new)) return error.NotANumber;
    return new;
}

fn applyInt(expression: Expression, old: i64, is_null: bool) ExpressionError!i64 {
    const operand: i64 = @bitCast(expression.operand);
    const new = if (is_null) operand else switch (expression.operation) {
        .increment => std.math.add(i64, old, operand) catch return error.OutOfRange,
        .minimum => @min(old, operand),
        .maximum => @max(old, operand),
        .multiply => std.math.mul(i64, old, operand) catch return error.OutOfRange,
        _ => return error.TypeMismatch,
    };
    const is_exact = @abs(new) <= table_info.exact_integer_max;
    if (expression.range == .exact and !is_exact) return error.OutOfRange;
    return new;
}

fn testTable() !TableInfo {
    return .init(0, "t", &.{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("n", .int32, 0, .{ .nullable = true }),
        .init("a", .text, 100, .{ .nullable = true }),
        .init("b", .text, 100, .{ .nullable = true }),
    });
}

test "merge: takes masked columns from the patch and moves tails" {
    const table = try testTable();
    var base_buffer: [256]u8 align(8) = @splat(0);
    var base: row_module.Builder = .init(&table, &base_buffer);
    base.setInt64(0, 7);
    base.setInt32(1, 5);
    try base.setText(2, "a value that is long");
    try base.setText(3, "kept");
    var patch_buffer: [256]u8 align(8) = @splat(0);
    var patch: row_module.Builder = .init(&table, &patch_buffer);
    try patch.setText(2, "b");
    var out: [256]u8 align(8) = undefined;
    const merged = merge(&table, base.finish(), patch.finish(), 0b0100, &out);
    try std.testing.expectEqual(7, merged.int64(table.columns[0].offset));
    try std.testing.expectEqual(5, merged.int32(table.columns[1].offset));
    try std.testing.expectEqualStrings("b", merged.text(&table.columns[2]));
    try std.testing.expectEqualStrings("kept", merged.text(&table.columns[3]));
    try std.testing.expect(!merged.isNull(2));
}

test "apply: an increment that leaves the column's range is refused" {
    const table = try testTable();
    var buffer: [256]u8 align(8) = @splat(0);
    var builder: row_module.Builder = .init(&table, &buffer);
    builder.setInt64(0, 7);
    builder.setInt32(1, std.math.maxInt(i32));
    var image = builder.finish();
    const up: Expression = .{ .column = 1, .operation = .increment, .operand = 1 };
    try std.testing.expectError(error.OutOfRange, apply(&table, &image, &buffer, &.{up}));
    const down: Expression = .{ .column = 1, .operation = .minimum, .operand = 3 };
    try std.testing.expectEqual(0b10, try apply(&table, &image, &buffer, &.{down}));
    try std.testing.expectEqual(3, image.int32(table.columns[1].offset));
}

test "apply: a result that is not exact is refused if asked for, and an infinite time always" {
    const table: TableInfo = try .init(0, "t", &.{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("n", .int64, 0, .{}),
        .init("at", .timestamp, 0, .{}),
    });
    var buffer: [256]u8 align(8) = @splat(0);
    var builder: row_module.Builder = .init(&table, &buffer);
    builder.setInt64(0, 7);
    builder.setInt64(1, table_info.exact_integer_max);
    builder.setFloat64(2, 1e308);
    var image = builder.finish();
    const up: Expression = .{ .column = 1, .operation = .increment, .range = .exact, .operand = 1 };
    try std.testing.expectError(error.OutOfRange, apply(&table, &image, &buffer, &.{up}));
    const many: u64 = @bitCast(@as(i64, -2));
    var down = up;
    down.operation = .multiply;
    down.operand = many;
    try std.testing.expectError(error.OutOfRange, apply(&table, &image, &buffer, &.{down}));
    const any: Expression = .{ .column = 1, .operation = .increment, .operand = 1 };
    try std.testing.expectEqual(0b10, try apply(&table, &image, &buffer, &.{any}));
    try std.testing.expectEqual(1 << 53, image.int64(table.columns[1].offset));
    const later: Expression = .{
        .column = 2,
        .operation = .multiply,
        .operand = @bitCast(@as(f64, 10)),
    };
    try std.testing.expectError(error.OutOfRange, apply(&table, &image, &buffer, &.{later}));
}
