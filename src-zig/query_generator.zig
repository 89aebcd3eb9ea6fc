//! Random tables, rows and conditions for the fuzzers of the query side.
//!
//! Values are drawn from few, the edges of their types among them, so that they meet often.

const std = @import("std");
const Encoder = @import("plan_encoder.zig").Encoder;
const model = @import("query_model.zig");
const plan = @import("plan.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const Condition = model.Condition;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const Value = model.Value;

pub const Generator = struct {
    arena: std.mem.Allocator,
    random: std.Random,

    const alphabet = "abcAB[]-*?\\^";

    pub fn table(generator: Generator) !TableInfo {
        const random = generator.random;
        var columns: [table_info.column_count_max]table_info.ColumnInfo = undefined;
        const count = random.intRangeAtMost(usize, 1, 12);
        const primary = random.uintLessThan(usize, count);
        for (columns[0..count], 0..) |*column, i| {
            const keys = [_]table_info.Kind{ .text, .int32, .int64 };
            const is_key = i == primary;
            const kind = if (is_key) keys[random.uintLessThan(usize, 3)] else random.enumValue(
                table_info.Kind,
            );
            const capacities = [_]u16{ 1, 2, 3, 4, 5, 30, 31, 60 };
            const capacity = if (!kind.isText()) 0 else if (is_key) 12 else capacities[
                random.uintLessThan(usize, capacities.len)
            ];
            const nullable = !is_key and random.boolean();
            column.* = .init("c", kind, capacity, .{
                .primary = is_key,
                .nullable = nullable,
                .bigint = kind == .int64,
            });
        }
        return .init(0, "t", columns[0..count]);
    }

    /// A value of the column; the primary key is made of `id` and therefore unique.
    pub fn value(generator: Generator, info: *const table_info.ColumnInfo, id: usize) !Value {
        const random = generator.random;
        if (info.flags.primary) {
            if (info.kind != .text) return .{ .integer = @as(i64, @intCast(id)) - 20 };
            return .{ .text = try std.fmt.allocPrint(generator.arena, "k{d}", .{id}) };
        }
        if (info.flags.nullable and random.uintLessThan(u8, 4) == 0) return .none;
        return generator.operand(info.kind, info.capacity);
    }

    pub fn operand(generator: Generator, kind: table_info.Kind, capacity: u16) !Value {
        const random = generator.random;
        switch (kind) {
            .text, .bytes => {
                const size = random.uintAtMost(usize, @min(capacity, 9));
                return .{ .text = try generator.text(size) };
            },
            .bool => return .{ .integer = random.uintLessThan(u8, 2) },
            .int32, .int64 => {
                const extremes: [2]i64 = if (kind == .int32)
                    .{ std.math.minInt(i32), std.math.maxInt(i32) }
                else
                    .{ std.math.minInt(i64), std.math.maxInt(i64) };
                return .{ .integer = switch (random.uintLessThan(u8, 12)) {
                    0 => extremes[0],
                    1 => extremes[1],
                    else => random.intRangeAtMost(i64, -4, 4),
                } };
            },
            .float64, .timestamp => {
                const numbers = [_]f64{ -1e300, -2, -1.5, -0.0, 0.0, 5e-324, 1, 1.5, 2, 1e300 };
                return .{ .float = numbers[random.uintLessThan(usize, numbers.len)] };
            },
        }
    }

    pub fn text(generator: Generator, size: usize) ![]const u8 {
        const bytes = try generator.arena.alloc(u8, size);
        for (bytes) |*byte| {
            byte.* = alphabet[generator.random.uintLessThan(usize, alphabet.len)];
        }
        return bytes;
    }

    pub fn row(
        table_ref: *const TableInfo,
        values: []const Value,
        buffer: []align(8) u8,
    ) !RowRef {
        var builder: row_module.Builder = .init(table_ref, buffer);
        for (table_ref.slice(), values, 0..) |*info, item, i| {
            const column: u8 = @intCast(i);
            if (item == .none) continue;
            switch (info.kind) {
                .text, .bytes => try builder.setText(column, item.text),
                .bool => builder.setBool(column, item.integer != 0),
                .int32 => builder.setInt32(column, @intCast(item.integer)),
                .int64 => builder.setInt64(column, item.integer),
                .float64, .timestamp => builder.setFloat64(column, item.float),
            }
        }
        return builder.finish();
    }

    pub fn condition(generator: Generator, table_ref: *const TableInfo) !Condition {
        const random = generator.random;
        const column = random.uintLessThan(u8, table_ref.column_count);
        const info = &table_ref.columns[column];
        const any = [_]plan.Op{ .is_null, .is_not_null, .eq, .ne, .gt, .ge, .lt, .le, .in, .range };
        const op = while (true) {
            const op = random.enumValue(plan.Op);
            const for_all = std.mem.findScalar(plan.Op, &any, op) != null;
            const is_glob = op == .match or op == .not_match;
            const is_flag = op == .is_true or op == .is_false;
            if (for_all or (is_glob and info.kind.isText())) break op;
            if (is_flag and !info.kind.isText()) break op;
        };
        var made: Condition = .{ .op = op, .column = column };
        const is_test = op == .is_null or op == .is_not_null;
        if (!is_test) made.flags.null_satisfies = random.uintLessThan(u8, 4) == 0;
        made.a = try generator.operand(info.kind, 9);
        made.b = try generator.operand(info.kind, 9);
        if (op == .in) {
            const list = try generator.arena.alloc(Value, random.uintAtMost(usize, 5));
            for (list) |*item| item.* = try generator.operand(info.kind, 9);
            made.list = list;
        }
        return made;
    }

    /// Adds the condition to a plan.
    pub fn encode(made: *const Condition, encoder: *Encoder) !void {
        const is_text = made.a == .text;
        if (made.op == .in) {
            if (is_text) {
                var items: [8][]const u8 = undefined;
                for (made.list, 0..) |item, i| items[i] = item.text;
                try encoder.textList(made.column, items[0..made.list.len]);
            } else {
                var items: [8]u64 = undefined;
                for (made.list, 0..) |item, i| items[i] = bits(item);
                try encoder.scalarList(made.column, items[0..made.list.len]);
            }
        } else if (is_text) {
            try encoder.textRange(made.op, made.column, made.a.text, made.b.text);
        } else {
            try encoder.bits(made.op, made.column, bits(made.a), bits(made.b));
        }
        encoder.last().flags = made.flags;
    }

    fn bits(value_ref: Value) u64 {
        return switch (value_ref) {
            .integer => |number| @bitCast(number),
            .float => |number| @bitCast(number),
            .none, .text => unreachable,
        };
    }
};
