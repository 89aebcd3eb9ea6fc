//! Tests of single cells without a branch, for loops that look at every row of a table.
//!
//! A branch that depends on a row costs more than the test where the processor cannot guess it,
//! some 15 to 20 cycles for each wrong guess. So a `CellRange` is arithmetic only: one aligned word
//! of the payload, and for its cell the distance from the low end of one closed interval, which
//! must not be larger than the interval. That does for every kind of cell of at most eight bytes:
//!
//!   * integers and bools stay where they stand in the word: a mask leaves the distance
//!   * floats become integers of the same order; the two zeros are both ends of one interval
//!   * text is equal if its length and its bytes are, and these are at most eight
//!   * "not in the interval" is the interval of all other numbers, which goes around the end
//!   * a null has the distance that passes or fails, as the predicate says
//!
//! The word lies in the payload, if that has the table's `fixed_size` bytes rounded up to 8, as
//! each payload has. What stands in it does not matter for memory: any bytes pass or fail.

const std = @import("std");
const Predicate = @import("filter.zig").Predicate;
const assert = std.debug.assert;

pub const CellRange = struct {
    /// Where the word is in the payload.
    at: u32,
    /// The bits of the cell.
    mask: u64,
    /// All bits but the sign for floats, else 0: what a negative number inverts.
    fold: u64,
    low: u64,
    /// The distance from `low` to the last number of the interval.
    span: u64,
    null_bit: u64,
    /// The distance of a null.
    null_distance: u64,

    /// The test of any row: it passes.
    pub const always: CellRange = .{
        .at = 0,
        .mask = 0,
        .fold = 0,
        .low = 0,
        .span = 0,
        .null_bit = 0,
        .null_distance = 0,
    };

    /// The same test as the predicate's, or null if it is not one of a single word.
    pub fn of(predicate: *const Predicate, fixed_size: u32) ?CellRange {
        return switch (predicate.op) {
            .bool_is => made(predicate, fixed_size, 1, .{
                .low = @intFromBool(predicate.low != 0),
                .span = if (predicate.low != 0) 254 else 0,
            }),
            .int32_range => made(predicate, fixed_size, 4, .{
                .low = @as(u32, @truncate(predicate.low)),
                .span = predicate.high,
            }),
            .int32_ne => made(predicate, fixed_size, 4, .{
                .low = @as(u32, @truncate(predicate.low)),
                .is_inverted = true,
            }),
            .int64_range => made(predicate, fixed_size, 8, .{
                .low = predicate.low,
                .span = predicate.high,
            }),
            .int64_ne => made(predicate, fixed_size, 8, .{
                .low = predicate.low,
                .is_inverted = true,
            }),
            .float64_range => ofFloats(predicate, fixed_size, predicate.low, predicate.high),
            .float64_ne => ofFloats(predicate, fixed_size, predicate.low, predicate.low),
            .text_eq, .text_ne => ofText(predicate, fixed_size),
            else => null,
        };
    }

    const Interval = struct { low: u64, span: u64 = 0, is_inverted: bool = false };

    fn made(
        predicate: *const Predicate,
        fixed_size: u32,
        width: u32,
        of_cell: Interval,
    ) ?CellRange {
        const offset: u32 = predicate.offset;
        assert(width >= 1 and width <= 8 and offset + width <= fixed_size);
        // Aligned, it lies in one line of the cache.
        const aligned = offset & ~@as(u32, 7);
        const fits = offset + width <= aligned + 8;
        const at = if (fits) aligned else @min(offset, fixed_size - 8);
        const shift: u6 = @intCast((offset - at) * 8);
        const ones = @as(u64, std.math.maxInt(u64)) >> @intCast(64 - width * 8);
        var low = of_cell.low;
        var span = of_cell.span;
        if (span == ones) return null; // No number would fail.
        if (of_cell.is_inverted) {
            low = low +% span +% 1 & ones;
            span = ones - span - 1;
        }
        return .{
            .at = at,
            .mask = ones << shift,
            .fold = 0,
            .low = low << shift,
            .span = span << shift,
            .null_bit = predicate.null_bit,
            .null_distance = if (predicate.null_passes) 0 else std.math.maxInt(u64),
        };
    }

    fn ofFloats(predicate: *const Predicate, fixed_size: u32, low: u64, high: u64) ?CellRange {
        const low_float: f64 = @bitCast(low);
        const high_float: f64 = @bitCast(high);
        if (!(low_float <= high_float)) return null; // Empty, or not numbers.
        const zero_below: u64 = @bitCast(@as(f64, -0.0));
        const first = ordered(if (low_float == 0) zero_below else low);
        const last = ordered(if (high_float == 0) 0 else high);
        var range = made(predicate, fixed_size, 8, .{
            .low = first,
            .span = last -% first,
            .is_inverted = predicate.op == .float64_ne,
        }) orelse return null;
        range.fold = float_fold;
        return range;
    }

    const float_fold: u64 = std.math.maxInt(i64);

    /// A number whose order, with a sign, is that of the floats.
    fn ordered(bits: u64) u64 {
        return folded(bits, float_fold);
    }

    inline fn folded(word: u64, fold: u64) u64 {
        const sign: u64 = @bitCast(@as(i64, @bitCast(word)) >> 63);
        return word ^ (sign & fold);
    }

    fn ofText(predicate: *const Predicate, fixed_size: u32) ?CellRange {
        const wanted = predicate.operand.text;
        // The predicate, too, compares four bytes at least.
        const width = @max(4, 2 + wanted.len);
        if (!predicate.is_inline or width > 8 or wanted.len > predicate.capacity) return null;
        var cell: [8]u8 = @splat(0);
        std.mem.writeInt(u16, cell[0..2], @intCast(wanted.len), .little);
        @memcpy(cell[2..][0..wanted.len], wanted);
        return made(predicate, fixed_size, @intCast(width), .{
            .low = std.mem.readInt(u64, &cell, .little),
            .is_inverted = predicate.op == .text_ne,
        });
    }

    /// What a test has to reckon with. One that reckons with more than it must is right as well.
    pub const Shape = enum(u2) {
        plain = 0,
        float = 1,
        nullable = 2,
        nullable_float = 3,

        pub fn with(one: Shape, other: Shape) Shape {
            return @enumFromInt(@intFromEnum(one) | @intFromEnum(other));
        }
    };

    pub fn shape(range: *const CellRange) Shape {
        const float: Shape = if (range.fold != 0) .float else .plain;
        return float.with(if (range.null_bit != 0) .nullable else .plain);
    }

    /// 1 if the row passes, else 0. `of_shape` is the test's own, or has more.
    pub inline fn passesAs(
        range: *const CellRange,
        comptime of_shape: Shape,
        payload: [*]const u8,
        null_mask: u64,
    ) u64 {
        const folds = of_shape == .float or of_shape == .nullable_float;
        const has_null = of_shape == .nullable or of_shape == .nullable_float;
        const word = std.mem.readInt(u64, (payload + range.at)[0..8], .little);
        const number = if (folds) folded(word, range.fold) else word;
        // What stands below the cell does not change it: nothing is taken off there.
        var distance = (number -% range.low) & range.mask;
        if (has_null and null_mask & range.null_bit != 0) distance = range.null_distance;
        return @intFromBool(distance <= range.span);
    }

    /// The same for those who do not know the shape before.
    fn passes(range: *const CellRange, payload: [*]const u8, null_mask: u64) u64 {
        return switch (range.shape()) {
            inline else => |own| range.passesAs(own, payload, null_mask),
        };
    }
};

const Cases = struct {
    const Generator = @import("query_generator.zig").Generator;
    const Encoder = @import("plan_encoder.zig").Encoder;
    const Filter = @import("filter.zig").Filter;
    const Op = @import("filter.zig").Op;
    const Plan = @import("plan.zig").Plan;

    /// How often each kind of test was met, with a row that passes and with one that fails.
    met: std.EnumArray(Op, [2]u32) = .initFill(.{ 0, 0 }),
    nulls: [2]u32 = .{ 0, 0 },

    /// One random condition on the rows of one random table.
    fn one(cases: *Cases, arena: std.mem.Allocator, random: std.Random) !void {
        const generator: Generator = .{ .arena = arena, .random = random };
        const table = try generator.table();
        var encoder: Encoder = .init(arena, 0);
        const condition = try generator.condition(&table);
        try Generator.encode(&condition, &encoder);
        var reason: []const u8 = "";
        const plan = try Plan.decode(try encoder.finish(), &table, &reason);
        const filter: Filter = try .compile(arena, &plan, &table);
        if (filter.never or filter.predicates.len == 0) return;
        const predicate = &filter.predicates[0];
        const cell = CellRange.of(predicate, table.fixed_size) orelse return;
        try std.testing.expect(cell.at + 8 <= std.mem.alignForward(u32, table.fixed_size, 8));

        const buffer = try arena.alignedAlloc(u8, .@"8", table.payload_size_max);
        const values = try arena.alloc(@import("query_model.zig").Value, table.column_count);
        for (0..8) |id| {
            // What a cell does not use may be anything.
            random.bytes(buffer);
            for (values, table.slice()) |*value, *info| value.* = try generator.value(info, id);
            const row = try Generator.row(&table, values, buffer);
            const expected = predicate.passes(row);
            const passed = cell.passes(row.payload, row.null_mask) != 0;
            try std.testing.expectEqual(expected, passed);
            cases.met.getPtr(predicate.op)[@intFromBool(expected)] += 1;
            const is_null = row.null_mask & predicate.null_bit != 0;
            if (is_null) cases.nulls[@intFromBool(expected)] += 1;
        }
        // Any bytes at all, NaN among them.
        const raw: @import("row.zig").RowRef = .{
            .payload = buffer.ptr,
            .null_mask = random.int(u64),
            .version = 0,
            .size = table.payload_size_max,
        };
        for (0..8) |_| {
            random.bytes(buffer);
            if (random.boolean()) @memset(buffer, 0xff);
            const passed = cell.passes(raw.payload, raw.null_mask) != 0;
            try std.testing.expectEqual(predicate.passes(raw), passed);
        }
    }
};

test "CellRange: the same answers as the predicate, for every kind, operator and null" {
    var prng: std.Random.DefaultPrng = .init(1);
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    var cases: Cases = .{};
    for (0..30_000) |_| {
        _ = arena_state.reset(.retain_capacity);
        try cases.one(arena_state.allocator(), prng.random());
    }
    const of_one_word = [_]Cases.Op{
        .bool_is,       .int32_range, .int32_ne, .int64_range, .int64_ne,
        .float64_range, .float64_ne,  .text_eq,  .text_ne,
    };
    for (of_one_word) |op| for (cases.met.get(op)) |count| {
        errdefer std.debug.print("{t} was met too seldom\n", .{op});
        try std.testing.expect(count > 20);
    };
    for (cases.nulls) |count| try std.testing.expect(count > 20);
}
