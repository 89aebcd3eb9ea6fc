//! Makes one predicate of one clause: the work of `filter.zig` that is done once for each query.
//!
//! The plan was checked when it was decoded, so operators and operands fit their columns here.

const std = @import("std");
const filter = @import("filter.zig");
const Glob = @import("glob.zig").Glob;
const plan_module = @import("plan.zig");
const ColumnInfo = @import("table_info.zig").ColumnInfo;
const Allocator = std.mem.Allocator;
const Clause = plan_module.Clause;
const Op = filter.Op;
const Plan = plan_module.Plan;
const Predicate = filter.Predicate;

/// Compiles one clause. What the predicate refers to is allocated in `arena` or stands in the
/// plan's blob.
pub const Compiler = struct {
    arena: Allocator,
    plan: *const Plan,
    clause: *const Clause,
    column: *const ColumnInfo,

    pub fn compile(compiler: Compiler) Allocator.Error!Predicate {
        const clause = compiler.clause;
        switch (clause.op) {
            .is_null => return compiler.constant(false, true),
            .is_not_null => return compiler.constant(true, false),
            .never => unreachable, // The filter takes it.
            else => {},
        }
        if (clause.op == .in and clause.count == 0) return compiler.value(.constant, 0, 0);
        return switch (compiler.column.kind) {
            .bool => compiler.boolean(),
            .int32 => compiler.integer(i32),
            .int64 => compiler.integer(i64),
            .float64, .timestamp => compiler.float(),
            .text, .bytes => compiler.text(),
        };
    }

    fn constant(compiler: Compiler, value_passes: bool, null_passes: bool) Predicate {
        var predicate = compiler.value(.constant, @intFromBool(value_passes), 0);
        predicate.null_passes = null_passes;
        return predicate;
    }

    fn value(compiler: Compiler, op: Op, low: u64, high: u64) Predicate {
        const column = compiler.column;
        const bit = @as(u64, 1) << @intCast(compiler.clause.column);
        return .{
            .op = op,
            .null_passes = compiler.clause.flags.null_satisfies,
            .null_bit = if (column.flags.nullable) bit else 0,
            .is_inline = column.is_inline,
            .offset = column.offset,
            .capacity = column.capacity,
            .low = low,
            .high = high,
        };
    }

    /// Tests the two values there are, and keeps what came out.
    fn boolean(compiler: Compiler) Predicate {
        const passes = [2]bool{ compiler.integerPasses(0), compiler.integerPasses(1) };
        if (passes[0] == passes[1]) return compiler.value(.constant, @intFromBool(passes[0]), 0);
        return compiler.value(.bool_is, @intFromBool(passes[1]), 0);
    }

    fn integerPasses(compiler: Compiler, number: i64) bool {
        const clause = compiler.clause;
        const a: i64 = @bitCast(clause.a);
        const b: i64 = @bitCast(clause.b);
        return switch (clause.op) {
            .eq => number == a,
            .ne => number != a,
            .gt => number > a,
            .ge => number >= a,
            .lt => number < a,
            .le => number <= a,
            .range => number >= a and number < b,
            .is_true => number != 0,
            .is_false => number == 0,
            .in => for (0..clause.count) |i| {
                if (@as(i64, @bitCast(compiler.plan.scalarItem(clause, i))) == number) break true;
            } else false,
            else => unreachable, // The plan was checked.
        };
    }

    fn integer(compiler: Compiler, comptime T: type) Allocator.Error!Predicate {
        const is_narrow = T == i32;
        const a: i64 = @bitCast(compiler.clause.a);
        const b: i64 = @bitCast(compiler.clause.b);
        const min: i128 = std.math.minInt(T);
        const max: i128 = std.math.maxInt(T);
        var low: i128 = min;
        var high: i128 = max;
        switch (compiler.clause.op) {
            .ne, .is_true => {
                const other = if (compiler.clause.op == .ne) a else 0;
                if (other < min or other > max) return compiler.value(.constant, 1, 0);
                const op: Op = if (is_narrow) .int32_ne else .int64_ne;
                return compiler.value(op, @bitCast(other), 0);
            },
            .in => return compiler.integerList(if (is_narrow) .int32_in else .int64_in),
            .is_false => {
                low = 0;
                high = 0;
            },
            .eq => {
                low = a;
                high = a;
            },
            .gt => low = @as(i128, a) + 1,
            .ge => low = a,
            .lt => high = @as(i128, a) - 1,
            .le => high = a,
            .range => {
                low = a;
                high = @as(i128, b) - 1;
            },
            else => unreachable, // The plan was checked.
        }
        low = @max(low, min);
        high = @min(high, max);
        if (low > high) return compiler.value(.constant, 0, 0);
        if (low == min and high == max) return compiler.value(.constant, 1, 0);
        const op: Op = if (is_narrow) .int32_range else .int64_range;
        return compiler.value(op, @bitCast(@as(i64, @intCast(low))), @intCast(high - low));
    }

    fn integerList(compiler: Compiler, op: Op) Allocator.Error!Predicate {
        const list = try compiler.arena.alloc(i64, compiler.clause.count);
        for (list, 0..) |*item, i| {
            item.* = @bitCast(compiler.plan.scalarItem(compiler.clause, i));
        }
        std.mem.sortUnstable(i64, list, {}, std.sort.asc(i64));
        var predicate = compiler.value(op, 0, 0);
        predicate.operand = .{ .integers = list };
        return predicate;
    }

    fn float(compiler: Compiler) Allocator.Error!Predicate {
        const infinity = std.math.inf(f64);
        const a: f64 = @bitCast(compiler.clause.a);
        const b: f64 = @bitCast(compiler.clause.b);
        var low = -infinity;
        var high = infinity;
        switch (compiler.clause.op) {
            .ne => return compiler.value(.float64_ne, @bitCast(a), 0),
            .is_true => return compiler.value(.float64_ne, @bitCast(@as(f64, 0)), 0),
            .is_false => {
                low = 0;
                high = 0;
            },
            .in => return compiler.floatList(),
            .eq => {
                low = a;
                high = a;
            },
            .gt => low = above(a) orelse return compiler.value(.constant, 0, 0),
            .ge => low = a,
            .lt => high = below(a) orelse return compiler.value(.constant, 0, 0),
            .le => high = a,
            .range => {
                low = a;
                high = below(b) orelse return compiler.value(.constant, 0, 0);
            },
            else => unreachable, // The plan was checked.
        }
        if (low > high) return compiler.value(.constant, 0, 0);
        return compiler.value(.float64_range, @bitCast(low), @bitCast(high));
    }

    /// The least number greater than `x`, if there is one.
    fn above(x: f64) ?f64 {
        const infinity = std.math.inf(f64);
        return if (x == infinity) null else std.math.nextAfter(f64, x, infinity);
    }

    fn below(x: f64) ?f64 {
        const infinity = std.math.inf(f64);
        return if (x == -infinity) null else std.math.nextAfter(f64, x, -infinity);
    }

    fn floatList(compiler: Compiler) Allocator.Error!Predicate {
        const list = try compiler.arena.alloc(f64, compiler.clause.count);
        for (list, 0..) |*item, i| {
            item.* = @bitCast(compiler.plan.scalarItem(compiler.clause, i));
        }
        std.mem.sortUnstable(f64, list, {}, std.sort.asc(f64));
        var predicate = compiler.value(.float64_in, 0, 0);
        predicate.operand = .{ .floats = list };
        return predicate;
    }

    fn text(compiler: Compiler) Allocator.Error!Predicate {
        const clause = compiler.clause;
        return switch (clause.op) {
            .eq => compiler.textEqual(.text_eq, compiler.plan.pool(clause)),
            .ne => compiler.textEqual(.text_ne, compiler.plan.pool(clause)),
            .gt => compiler.textRange(.exclusive, .open),
            .ge => compiler.textRange(.inclusive, .open),
            .lt => compiler.textRange(.open, .exclusive),
            .le => compiler.textRange(.open, .inclusive),
            .range => compiler.textRange(.inclusive, .exclusive),
            .in => compiler.textList(),
            .match, .not_match => compiler.glob(),
            else => unreachable, // The plan was checked.
        };
    }

    fn textEqual(compiler: Compiler, op: Op, wanted: []const u8) Predicate {
        if (wanted.len > compiler.column.capacity) {
            return compiler.value(.constant, @intFromBool(op == .text_ne), 0);
        }
        var word: [4]u8 = @splat(0);
        std.mem.writeInt(u16, word[0..2], @intCast(wanted.len), .little);
        const start = @min(wanted.len, 2);
        @memcpy(word[2..][0..start], wanted[0..start]);
        var predicate = compiler.value(op, std.mem.readInt(u32, &word, .little), 0);
        predicate.operand = .{ .text = wanted };
        return predicate;
    }

    fn textRange(
        compiler: Compiler,
        low_end: Predicate.End,
        high_end: Predicate.End,
    ) Allocator.Error!Predicate {
        const plan = compiler.plan;
        const clause = compiler.clause;
        const texts = try compiler.arena.create([2][]const u8);
        texts[0] = plan.pool(clause);
        texts[1] = if (clause.op == .range) plan.pool2(clause) else plan.pool(clause);
        var predicate = compiler.value(.text_range, 0, 0);
        predicate.low_end = low_end;
        predicate.high_end = high_end;
        predicate.operand = .{ .texts = texts };
        return predicate;
    }

    fn textList(compiler: Compiler) Allocator.Error!Predicate {
        const list = try compiler.arena.alloc([]const u8, compiler.clause.count);
        var items = compiler.plan.textItems(compiler.clause);
        for (list) |*item| item.* = items.next().?;
        std.mem.sortUnstable([]const u8, list, {}, struct {
            fn lessThan(_: void, a: []const u8, b: []const u8) bool {
                return filter.listOrder(a, b) == .lt;
            }
        }.lessThan);
        var predicate = compiler.value(.text_in, 0, 0);
        predicate.operand = .{ .text_list = list };
        return predicate;
    }

    fn glob(compiler: Compiler) Allocator.Error!Predicate {
        const clause = compiler.clause;
        const negated = clause.op == .not_match;
        const compiled = try compiler.arena.create(Glob);
        const pattern = compiler.plan.pool(clause);
        compiled.* = try .compile(compiler.arena, pattern, clause.flags.ignore_case);
        switch (compiled.shape) {
            .any => return compiler.value(.constant, @intFromBool(!negated), 0),
            .never => return compiler.value(.constant, @intFromBool(negated), 0),
            .equal => if (!clause.flags.ignore_case) {
                return compiler.textEqual(if (negated) .text_ne else .text_eq, compiled.head);
            },
            .affix, .infix, .general => {},
        }
        var predicate = compiler.value(if (negated) .text_not_match else .text_match, 0, 0);
        predicate.operand = .{ .glob = compiled };
        return predicate;
    }
};
