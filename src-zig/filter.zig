//! The conditions of a query, compiled to a short list of tests that run on a row in place.
//!
//! Every clause becomes at most one `Predicate`, a null rule and one test of one cell
//! (`filter_compiler.zig`). A row passes if it passes all of them, in the plan's order, and the
//! first that fails ends the work. A list beats a bytecode program by a third here, because most
//! queries are conjunctions of "column, operator, constant".
//!
//! What compiling does to keep the tests few and cheap:
//!
//!   * equality and every order on numbers become one closed interval, clamped to the column
//!   * bools become "is true" or "is false"
//!   * lists are sorted, once, so that a row costs a binary search
//!   * globs become equality where they have no wildcard (`glob.zig` has the other short cuts)
//!   * a clause that always holds disappears; one that never holds makes the filter `never`
//!
//! Nulls are decided before the value: a null column passes only where the clause says so.
//! Nothing is allocated for a row. The compiled filter lives in the arena it was compiled in.

const std = @import("std");
const Compiler = @import("filter_compiler.zig").Compiler;
const Glob = @import("glob.zig").Glob;
const Plan = @import("plan.zig").Plan;
const row_module = @import("row.zig");
const RowRef = row_module.RowRef;
const TableInfo = @import("table_info.zig").TableInfo;
const take = @import("query_memory.zig").take;
const Allocator = std.mem.Allocator;
const compareBytes = row_module.compareBytes;

pub const Filter = struct {
    predicates: []Predicate,
    /// For each predicate, the number of its clause in the plan.
    clauses: []u16 = &.{},
    /// No row can pass: the source need not be read at all.
    never: bool,

    pub fn compile(arena: Allocator, plan: *const Plan, table: *const TableInfo) !Filter {
        const count = plan.clauses.len;
        var predicates: std.ArrayList(Predicate) = .initBuffer(try take(arena, Predicate, count));
        var clauses: std.ArrayList(u16) = .initBuffer(try take(arena, u16, count));
        var never = plan.route == .empty;
        for (plan.clauses, 0..) |*clause, number| {
            if (clause.op == .never) {
                never = true;
                continue;
            }
            const compiler: Compiler = .{
                .arena = arena,
                .plan = plan,
                .clause = clause,
                .column = &table.columns[clause.column],
            };
            const predicate = try compiler.compile();
            switch (predicate.outcome()) {
                .always => {},
                .never => never = true,
                .depends => {
                    predicates.appendAssumeCapacity(predicate);
                    clauses.appendAssumeCapacity(@intCast(number));
                },
            }
        }
        return .{ .predicates = predicates.items, .clauses = clauses.items, .never = never };
    }

    /// Whether the row passes. `row.size` must be at least the table's `fixed_size`.
    pub inline fn matches(filter: *const Filter, row: RowRef) bool {
        if (filter.never) return false;
        if (filter.predicates.len == 0) return true;
        return run(filter.predicates, row);
    }

    /// Whether a row that passes the first predicate passes the others.
    pub inline fn matchesRest(filter: *const Filter, row: RowRef) bool {
        return filter.predicates.len <= 1 or run(filter.predicates[1..], row);
    }

    /// Whether the row passes all of them.
    // Not inline: within the loop of a scan, the tests of all kinds leave no registers to the loop.
    pub noinline fn run(predicates: []const Predicate, row: RowRef) bool {
        for (predicates) |*predicate| if (!predicate.passes(row)) return false;
        return true;
    }
};

/// What a predicate tests.
pub const Op = enum(u8) {
    /// `low != 0`, whatever the value.
    constant,
    /// The byte is 0 if and only if `low` is.
    bool_is,
    int32_range,
    int32_ne,
    int32_in,
    int64_range,
    int64_ne,
    int64_in,
    float64_range,
    float64_ne,
    float64_in,
    text_eq,
    text_ne,
    text_range,
    text_in,
    text_match,
    text_not_match,
};

pub const Predicate = struct {
    op: Op,
    null_passes: bool,
    is_inline: bool,
    /// The ends of `text_range`.
    low_end: End = .open,
    high_end: End = .open,
    offset: u16,
    capacity: u16,
    /// The column's bit in the null mask; 0 if it cannot be null.
    null_bit: u64,
    /// The closed interval of a number, or its single value in `low`. Integers stand in `low` with
    /// `high` the distance to the other end, so that one unsigned comparison tests both.
    low: u64 = 0,
    high: u64 = 0,
    operand: Operand = .{ .none = {} },

    pub const End = enum(u8) { open, inclusive, exclusive };

    const Operand = union {
        none: void,
        text: []const u8,
        /// Low and high end of `text_range`.
        texts: *const [2][]const u8,
        /// Sorted by length, then by bytes.
        text_list: []const []const u8,
        integers: []const i64,
        floats: []const f64,
        glob: *const Glob,
    };

    /// Whether the row passes this test.
    pub inline fn passes(predicate: *const Predicate, row: RowRef) bool {
        if (row.null_mask & predicate.null_bit != 0) return predicate.null_passes;
        switch (predicate.op) {
            inline else => |op| return predicate.accepts(op, row),
        }
    }

    /// The same where what is tested is known already, for loops that are made for it.
    pub inline fn passesAs(predicate: *const Predicate, comptime op: Op, row: RowRef) bool {
        if (row.null_mask & predicate.null_bit != 0) return predicate.null_passes;
        return predicate.accepts(op, row);
    }

    /// Whether the row need not be looked at.
    fn outcome(predicate: *const Predicate) enum { always, never, depends } {
        if (predicate.op != .constant) return .depends;
        const value_passes = predicate.low != 0;
        if (predicate.null_bit == 0 or predicate.null_passes == value_passes) {
            return if (value_passes) .always else .never;
        }
        return .depends;
    }

    inline fn accepts(predicate: *const Predicate, comptime op: Op, row: RowRef) bool {
        const offset = predicate.offset;
        switch (op) {
            .constant => return predicate.low != 0,
            .bool_is => return row.boolean(offset) == (predicate.low != 0),
            .int32_range => {
                const low: u32 = @truncate(predicate.low);
                const distance = @as(u32, @bitCast(row.int32(offset))) -% low;
                return distance <= predicate.high;
            },
            .int32_ne => {
                const low: u32 = @truncate(predicate.low);
                return @as(u32, @bitCast(row.int32(offset))) != low;
            },
            .int32_in => return contains(i64, predicate.operand.integers, row.int32(offset)),
            .int64_range => {
                const distance = @as(u64, @bitCast(row.int64(offset))) -% predicate.low;
                return distance <= predicate.high;
            },
            .int64_ne => return row.int64(offset) != @as(i64, @bitCast(predicate.low)),
            .int64_in => return contains(i64, predicate.operand.integers, row.int64(offset)),
            .float64_range => {
                const value = row.float64(offset);
                const low: f64 = @bitCast(predicate.low);
                const high: f64 = @bitCast(predicate.high);
                return value >= low and value <= high;
            },
            .float64_ne => return row.float64(offset) != @as(f64, @bitCast(predicate.low)),
            .float64_in => return contains(f64, predicate.operand.floats, row.float64(offset)),
            .text_eq => return predicate.equals(row),
            .text_ne => return !predicate.equals(row),
            .text_range => return predicate.inTextRange(row),
            .text_in => return containsText(predicate.operand.text_list, predicate.text(row)),
            .text_match => return predicate.operand.glob.matches(predicate.text(row)),
            .text_not_match => return !predicate.operand.glob.matches(predicate.text(row)),
        }
    }

    inline fn text(predicate: *const Predicate, row: RowRef) []const u8 {
        if (predicate.is_inline) return row.textInline(predicate.offset, predicate.capacity);
        return row.textTail(predicate.offset);
    }

    inline fn equals(predicate: *const Predicate, row: RowRef) bool {
        const wanted = predicate.operand.text;
        if (predicate.is_inline) {
            // Length and the first two bytes in one comparison: few other texts get further.
            const word = std.mem.readInt(u32, row.payload[predicate.offset..][0..4], .little);
            if (word != predicate.low) return false;
            if (wanted.len <= 2) return true;
            const rest = row.payload[predicate.offset + 4 ..][0 .. wanted.len - 2];
            return std.mem.eql(u8, rest, wanted[2..]);
        }
        return std.mem.eql(u8, row.textTail(predicate.offset), wanted);
    }

    fn inTextRange(predicate: *const Predicate, row: RowRef) bool {
        const value = predicate.text(row);
        const low, const high = predicate.operand.texts.*;
        const above = switch (predicate.low_end) {
            .open => true,
            .inclusive => compareBytes(value, low) != .lt,
            .exclusive => compareBytes(value, low) == .gt,
        };
        return above and switch (predicate.high_end) {
            .open => true,
            .inclusive => compareBytes(value, high) != .gt,
            .exclusive => compareBytes(value, high) == .lt,
        };
    }
};

fn contains(comptime T: type, sorted: []const T, value: T) bool {
    var low: usize = 0;
    var high: usize = sorted.len;
    while (low < high) {
        const middle = low + (high - low) / 2;
        if (sorted[middle] < value) low = middle + 1 else high = middle;
    }
    return low < sorted.len and sorted[low] == value;
}

/// The order of text lists. Length first: most comparisons then end without a look at the bytes.
pub fn listOrder(a: []const u8, b: []const u8) std.math.Order {
    if (a.len != b.len) return std.math.order(a.len, b.len);
    return compareBytes(a, b);
}

fn containsText(sorted: []const []const u8, value: []const u8) bool {
    var low: usize = 0;
    var high: usize = sorted.len;
    while (low < high) {
        const middle = low + (high - low) / 2;
        switch (listOrder(sorted[middle], value)) {
            .lt => low = middle + 1,
            .gt => high = middle,
            .eq => return true,
        }
    }
    return false;
}

const Builder = row_module.Builder;
const Encoder = @import("plan_encoder.zig").Encoder;
const PlanOp = @import("plan.zig").Op;

/// One row of a table with a column of each kind, and filters over it.
const Bench = struct {
    table: TableInfo,
    buffer: [512]u8 align(8) = undefined,
    row: RowRef = undefined,

    const id = 0;
    const small = 1;
    const large = 2;
    const real = 3;
    const flag = 4;
    const city = 5;
    const remark = 6;
    const gone = 7;

    fn init(bench: *Bench) !void {
        bench.table = try .init(0, "t", &.{
            .init("id", .text, 8, .{ .primary = true }),
            .init("small", .int32, 0, .{ .nullable = true }),
            .init("large", .int64, 0, .{ .nullable = true }),
            .init("real", .float64, 0, .{ .nullable = true }),
            .init("flag", .bool, 0, .{ .nullable = true }),
            .init("city", .text, 12, .{ .nullable = true }),
            .init("remark", .text, 60, .{ .nullable = true }),
            .init("gone", .int32, 0, .{ .nullable = true }),
        });
        var builder: Builder = .init(&bench.table, &bench.buffer);
        try builder.setText(id, "UAL123");
        builder.setInt32(small, 100);
        builder.setInt64(large, 1 << 40);
        builder.setFloat64(real, -2.5);
        builder.setBool(flag, true);
        try builder.setText(city, "Zürich");
        try builder.setText(remark, "diverted to another airport by weather");
        bench.row = builder.finish();
    }

    fn expect(bench: *Bench, expected: bool, encoder: *Encoder) !void {
        var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
        defer arena_state.deinit();
        var reason: []const u8 = "";
        const plan = try Plan.decode(try encoder.finish(), &bench.table, &reason);
        const filter: Filter = try .compile(arena_state.allocator(), &plan, &bench.table);
        try std.testing.expectEqual(expected, filter.matches(bench.row));
        encoder.clauses.clearRetainingCapacity();
        encoder.pool.clearRetainingCapacity();
    }
};

test "Filter: numbers compare exactly, also beyond the column's range" {
    var bench: Bench = undefined;
    try bench.init();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    const cases = [_]struct { bool, PlanOp, u8, i64 }{
        .{ true, .eq, Bench.small, 100 },      .{ false, .eq, Bench.small, 100 + (1 << 32) },
        .{ true, .ne, Bench.small, 99 },       .{ true, .ne, Bench.small, 100 + (1 << 32) },
        .{ false, .gt, Bench.small, 100 },     .{ true, .ge, Bench.small, 100 },
        .{ true, .lt, Bench.small, 1 << 40 },  .{ false, .gt, Bench.small, 1 << 40 },
        .{ true, .gt, Bench.small, -1 << 40 }, .{ false, .le, Bench.small, 99 },
        .{ true, .eq, Bench.large, 1 << 40 },  .{ false, .gt, Bench.large, std.math.maxInt(i64) },
        .{ true, .is_true, Bench.small, 0 },   .{ false, .is_false, Bench.large, 0 },
        .{ true, .eq, Bench.flag, 1 },         .{ false, .eq, Bench.flag, 2 },
        .{ true, .gt, Bench.flag, 0 },         .{ true, .ne, Bench.flag, 7 },
        .{ true, .is_true, Bench.flag, 0 },    .{ false, .is_false, Bench.flag, 0 },
    };
    for (cases) |case| {
        try encoder.number(case[1], case[2], case[3]);
        try bench.expect(case[0], &encoder);
    }
}

test "Filter: floats compare as numbers, with zero of either sign equal" {
    var bench: Bench = undefined;
    try bench.init();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    const infinity = std.math.inf(f64);
    const cases = [_]struct { bool, PlanOp, f64 }{
        .{ true, .eq, -2.5 },     .{ false, .ne, -2.5 },     .{ false, .gt, -2.5 },
        .{ true, .ge, -2.5 },     .{ true, .gt, -2.6 },      .{ true, .lt, -0.0 },
        .{ true, .le, -2.5 },     .{ false, .lt, -2.5 },     .{ false, .lt, -infinity },
        .{ true, .lt, infinity }, .{ false, .gt, infinity }, .{ true, .is_true, 0 },
    };
    for (cases) |case| {
        try encoder.float(case[1], Bench.real, case[2]);
        try bench.expect(case[0], &encoder);
    }

    std.mem.writeInt(u64, bench.buffer[bench.table.columns[Bench.real].offset..][0..8], 0, .little);
    for ([_]f64{ 0.0, -0.0 }) |zero| {
        try encoder.float(.eq, Bench.real, zero);
        try bench.expect(true, &encoder);
        try encoder.float(.lt, Bench.real, zero);
        try bench.expect(false, &encoder);
        try encoder.float(.gt, Bench.real, zero);
        try bench.expect(false, &encoder);
        try encoder.scalarList(Bench.real, &.{@bitCast(zero)});
        try bench.expect(true, &encoder);
    }
}

test "Filter: text compares by bytes, inline and in the tail" {
    var bench: Bench = undefined;
    try bench.init();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    const cases = [_]struct { bool, PlanOp, u8, []const u8 }{
        .{ true, .eq, Bench.id, "UAL123" },           .{ false, .eq, Bench.id, "UAL12" },
        .{ false, .eq, Bench.id, "UAL124" },          .{ false, .eq, Bench.id, "UAL1234567" },
        .{ true, .ne, Bench.id, "UAL1234567" },       .{ true, .gt, Bench.id, "UAL12" },
        .{ true, .ge, Bench.id, "UAL123" },           .{ false, .gt, Bench.id, "UAL123" },
        .{ true, .gt, Bench.city, "ZÜRICH" },
        .{ true, .match, Bench.city, "Z?rich" },      .{ true, .match, Bench.remark, "*an*" },
        .{ false, .not_match, Bench.remark, "div*" }, .{ true, .le, Bench.remark, "e" },
        .{ true, .match, Bench.city, "Zürich" },
        .{ false, .match, Bench.remark, "*\\" },      .{ true, .not_match, Bench.remark, "*\\" },
    };
    for (cases) |case| {
        try encoder.text(case[1], case[2], case[3]);
        try bench.expect(case[0], &encoder);
    }
    try encoder.textRange(.range, Bench.remark, "diverted", "diverted u");
    try bench.expect(true, &encoder);
    try encoder.textRange(.range, Bench.id, "A", "UAL123");
    try bench.expect(false, &encoder);
    try encoder.textList(Bench.id, &.{ "X", "UAL124", "UAL123", "" });
    try bench.expect(true, &encoder);
    try encoder.textList(Bench.id, &.{ "X", "UAL124", "" });
    try bench.expect(false, &encoder);
    try encoder.text(.match, Bench.city, "ZÜR*");
    encoder.last().flags.ignore_case = true;
    try bench.expect(true, &encoder);
}

test "Filter: a null passes only where its clause says so" {
    var bench: Bench = undefined;
    try bench.init();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    for ([_]PlanOp{ .eq, .ne, .gt, .ge, .lt, .le }) |op| {
        try encoder.number(op, Bench.gone, 0);
        try bench.expect(false, &encoder);
        try encoder.number(op, Bench.gone, 1 << 40); // A constant, but for nulls.
        encoder.last().flags.null_satisfies = true;
        try bench.expect(true, &encoder);
    }
    try encoder.bare(.is_null, Bench.gone);
    try bench.expect(true, &encoder);
    try encoder.bare(.is_not_null, Bench.gone);
    try bench.expect(false, &encoder);
    try encoder.bare(.is_null, Bench.id);
    try bench.expect(false, &encoder);
    try encoder.bare(.is_not_null, Bench.id);
    try bench.expect(true, &encoder);
}

test "Filter: every clause must pass, and an empty list passes nothing" {
    var bench: Bench = undefined;
    try bench.init();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    try bench.expect(true, &encoder);
    try encoder.number(.ge, Bench.small, 100);
    try encoder.text(.eq, Bench.id, "UAL123");
    try bench.expect(true, &encoder);
    try encoder.number(.ge, Bench.small, 100);
    try encoder.text(.eq, Bench.id, "UAL");
    try bench.expect(false, &encoder);
    try encoder.scalarList(Bench.small, &.{});
    try bench.expect(false, &encoder);
    try encoder.bare(.never, 0);
    try bench.expect(false, &encoder);
}
