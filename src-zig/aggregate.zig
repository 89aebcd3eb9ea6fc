//! Aggregates over the rows of a query: counts, least and greatest values, sums and averages.
//!
//! Nulls do not count; of no values the count is 0 and everything else is null. Sums of integers
//! are made in 128 bits, so they are exact for any table. Sums of floats carry the part that each
//! addition rounds away (Neumaier 1974): what they give hardly depends on the order of the rows.
//!
//! Requests come as an array of `Request` and answers go out as an array of `Answer`, with the
//! bytes of texts behind it.

const std = @import("std");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const Allocator = std.mem.Allocator;
const ColumnInfo = table_info.ColumnInfo;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

/// Aggregates of one query.
pub const count_max = 256;

pub const Function = enum(u8) {
    /// Rows.
    count = 1,
    /// Values that are not null.
    count_values = 2,
    minimum = 3,
    maximum = 4,
    sum = 5,
    average = 6,
    _,
};

pub const Request = extern struct {
    function: Function,
    column: u8,
    reserved: [6]u8 = @splat(0),

    comptime {
        assert(@sizeOf(Request) == 8);
    }
};

pub const Answer = extern struct {
    state: State,
    /// Bytes of a text.
    length: u32 = 0,
    /// The low half of an integer, the bits of a float, or where a text stands in the output.
    low: u64 = 0,
    /// The high half of an integer.
    high: u64 = 0,

    pub const State = enum(u32) { none = 0, integer = 1, float = 2, text = 3 };

    comptime {
        assert(@sizeOf(Answer) == 24);
    }

    fn ofInteger(value: i128) Answer {
        const bits: u128 = @bitCast(value);
        return .{ .state = .integer, .low = @truncate(bits), .high = @truncate(bits >> 64) };
    }

    fn ofFloat(value: f64) Answer {
        return .{ .state = .float, .low = @bitCast(value) };
    }
};

/// What one aggregate has seen so far.
const Accumulator = struct {
    function: Function,
    column: *const ColumnInfo,
    /// The column's bit in the null mask; 0 if it cannot be null.
    null_bit: u64,
    /// Rows or values.
    count: u64 = 0,
    integer: i128 = 0,
    float: f64 = 0,
    /// What additions to `float` have rounded away.
    rest: f64 = 0,
    text: []const u8 = "",

    inline fn add(accumulator: *Accumulator, row: RowRef) void {
        if (row.null_mask & accumulator.null_bit != 0) return;
        accumulator.count += 1;
        switch (accumulator.function) {
            .minimum => accumulator.keep(row, .lt),
            .maximum => accumulator.keep(row, .gt),
            .sum, .average => accumulator.addValue(row),
            else => {},
        }
    }

    fn addValue(accumulator: *Accumulator, row: RowRef) void {
        const offset = accumulator.column.offset;
        switch (accumulator.column.kind) {
            .int32 => accumulator.integer += row.int32(offset),
            .int64 => accumulator.integer += row.int64(offset),
            .float64, .timestamp => accumulator.addFloat(row.float64(offset)),
            .text, .bytes, .bool => unreachable, // `compile` has refused them.
        }
    }

    fn addFloat(accumulator: *Accumulator, value: f64) void {
        const sum = accumulator.float + value;
        accumulator.rest += if (@abs(accumulator.float) >= @abs(value))
            (accumulator.float - sum) + value
        else
            (value - sum) + accumulator.float;
        accumulator.float = sum;
    }

    /// Takes the row's value if it stands to the one kept as `order` says.
    fn keep(accumulator: *Accumulator, row: RowRef, order: std.math.Order) void {
        const column = accumulator.column;
        const is_first = accumulator.count == 1;
        switch (column.kind) {
            .int32, .int64, .bool => {
                const value: i64 = switch (column.kind) {
                    .int32 => row.int32(column.offset),
                    .int64 => row.int64(column.offset),
                    else => @intFromBool(row.boolean(column.offset)),
                };
                if (!is_first and std.math.order(value, accumulator.integer) != order) return;
                accumulator.integer = value;
            },
            .float64, .timestamp => {
                const value = row.float64(column.offset);
                const is_better = if (order == .lt)
                    value < accumulator.float
                else
                    value > accumulator.float;
                if (is_first or is_better) accumulator.float = value;
            },
            .text, .bytes => {
                const value = row.text(column);
                const compared = row_module.compareBytes(value, accumulator.text);
                if (is_first or compared == order) accumulator.text = value;
            },
        }
    }

    fn answer(accumulator: *const Accumulator) Answer {
        const is_integer = switch (accumulator.column.kind) {
            .int32, .int64, .bool => true,
            else => false,
        };
        switch (accumulator.function) {
            .count, .count_values => return .ofInteger(accumulator.count),
            else => if (accumulator.count == 0) return .{ .state = .none },
        }
        const float = accumulator.total();
        return switch (accumulator.function) {
            .sum => if (is_integer) .ofInteger(accumulator.integer) else .ofFloat(float),
            .average => .ofFloat(float / @as(f64, @floatFromInt(accumulator.count))),
            else => if (is_integer) .ofInteger(accumulator.integer) else .ofFloat(float),
        };
    }

    fn total(accumulator: *const Accumulator) f64 {
        return switch (accumulator.column.kind) {
            .int32, .int64 => @floatFromInt(accumulator.integer),
            // What infinity rounds away is not a number.
            else => if (std.math.isFinite(accumulator.float))
                accumulator.float + accumulator.rest
            else
                accumulator.float,
        };
    }
};

/// All aggregates of a query. A sink of `Cursor.drain`; the rows must stay readable until `write`.
pub const Aggregates = struct {
    list: []Accumulator,

    pub const Error = Allocator.Error || error{ BadArgument, TypeMismatch };

    /// Checks the requests. On an error, `reason` is a phrase for people.
    pub fn compile(
        arena: Allocator,
        table: *const TableInfo,
        requests: []const Request,
        reason: *[]const u8,
    ) Error!Aggregates {
        if (requests.len > count_max) {
            reason.* = "there are too many aggregates";
            return error.BadArgument;
        }
        const list = try arena.alloc(Accumulator, requests.len);
        for (list, requests) |*accumulator, request| {
            if (request.column >= table.column_count) {
                reason.* = "unknown column of an aggregate";
                return error.BadArgument;
            }
            const column = &table.columns[request.column];
            switch (request.function) {
                .count, .count_values, .minimum, .maximum => {},
                .sum, .average => if (column.kind.isText() or column.kind == .bool) {
                    reason.* = "only numbers have a sum";
                    return error.TypeMismatch;
                },
                _ => {
                    reason.* = "unknown aggregate";
                    return error.BadArgument;
                },
            }
            const counts_nulls = request.function == .count or !column.flags.nullable;
            accumulator.* = .{
                .function = request.function,
                .column = column,
                .null_bit = if (counts_nulls) 0 else @as(u64, 1) << @intCast(request.column),
            };
        }
        return .{ .list = list };
    }

    pub fn append(aggregates: *Aggregates, row: RowRef) error{}!bool {
        for (aggregates.list) |*accumulator| accumulator.add(row);
        return true;
    }

    /// Writes the answers to the start of `output`. Returns their bytes, or null if the texts do
    /// not fit.
    pub fn write(aggregates: *const Aggregates, output: []align(8) u8) ?u32 {
        var at: usize = aggregates.list.len * @sizeOf(Answer);
        assert(at <= output.len);
        const answers: [*]Answer = @ptrCast(output.ptr);
        for (aggregates.list, answers) |*accumulator, *answer| {
            answer.* = accumulator.answer();
            if (answer.state == .none or !accumulator.column.kind.isText()) continue;
            if (accumulator.function != .minimum and accumulator.function != .maximum) continue;
            const text = accumulator.text;
            if (text.len > output.len - at) return null;
            @memcpy(output[at..][0..text.len], text);
            answer.* = .{ .state = .text, .length = @intCast(text.len), .low = at };
            at += text.len;
        }
        return @intCast(at);
    }
};

const Fixture = struct {
    table: TableInfo,
    arena: std.heap.ArenaAllocator,
    rows: std.ArrayList(RowRef) = .empty,

    fn init() !Fixture {
        return .{
            .table = try .init(0, "t", &.{
                .init("id", .int64, 0, .{ .primary = true }),
                .init("x", .float64, 0, .{ .nullable = true }),
                .init("s", .text, 100, .{ .nullable = true }),
                .init("b", .bool, 0, .{}),
            }),
            .arena = .init(std.testing.allocator),
        };
    }

    fn add(fixture: *Fixture, id: i64, x: ?f64, s: ?[]const u8) !void {
        const arena = fixture.arena.allocator();
        const buffer = try arena.alignedAlloc(u8, .@"8", 256);
        var builder: row_module.Builder = .init(&fixture.table, buffer);
        builder.setInt64(0, id);
        if (x) |value| builder.setFloat64(1, value);
        if (s) |value| try builder.setText(2, value);
        builder.setBool(3, id == 2);
        try fixture.rows.append(arena, builder.finish());
    }

    fn run(fixture: *Fixture, requests: []const Request, output: []align(8) u8) ![]const Answer {
        var reason: []const u8 = "";
        const arena = fixture.arena.allocator();
        var aggregates: Aggregates = try .compile(arena, &fixture.table, requests, &reason);
        for (fixture.rows.items) |row| _ = try aggregates.append(row);
        _ = aggregates.write(output).?;
        const answers: [*]const Answer = @ptrCast(output.ptr);
        return answers[0..requests.len];
    }
};

fn ask(function: Function, column: u8) Request {
    return .{ .function = function, .column = column };
}

test "Aggregates: of no values counts are 0 and the rest is nothing" {
    var fixture: Fixture = try .init();
    defer fixture.arena.deinit();
    var output: [512]u8 align(8) = undefined;
    try fixture.add(1, null, null);
    const answers = try fixture.run(&.{
        ask(.count, 1),   ask(.count_values, 1), ask(.sum, 1),
        ask(.average, 1), ask(.minimum, 2),      ask(.maximum, 1),
    }, &output);
    try std.testing.expectEqual(1, answers[0].low);
    try std.testing.expectEqual(0, answers[1].low);
    for (answers[2..]) |answer| try std.testing.expectEqual(.none, answer.state);
}

test "Aggregates: sums of integers are exact beyond 64 bits" {
    var fixture: Fixture = try .init();
    defer fixture.arena.deinit();
    var output: [512]u8 align(8) = undefined;
    for (0..4) |_| try fixture.add(std.math.maxInt(i64), null, null);
    const answers = try fixture.run(&.{ ask(.sum, 0), ask(.average, 0) }, &output);
    const sum: u128 = @as(u128, answers[0].high) << 64 | answers[0].low;
    try std.testing.expectEqual(4 * @as(u128, std.math.maxInt(i64)), sum);
    try std.testing.expectEqual(0x1p63, @as(f64, @bitCast(answers[1].low)));
}

test "Aggregates: sums of floats keep what additions round away, and infinity" {
    var fixture: Fixture = try .init();
    defer fixture.arena.deinit();
    var output: [512]u8 align(8) = undefined;
    for ([_]f64{ 1, 1e100, 1, -1e100 }) |x| try fixture.add(1, x, null);
    var answers = try fixture.run(&.{ask(.sum, 1)}, &output);
    try std.testing.expectEqual(2, @as(f64, @bitCast(answers[0].low)));
    try fixture.add(1, std.math.inf(f64), null);
    answers = try fixture.run(&.{ask(.sum, 1)}, &output);
    try std.testing.expect(std.math.isPositiveInf(@as(f64, @bitCast(answers[0].low))));
}

test "Aggregates: least and greatest texts and bools" {
    var fixture: Fixture = try .init();
    defer fixture.arena.deinit();
    var output: [512]u8 align(8) = undefined;
    for ([_]?[]const u8{ "b", null, "ab", "" }, 0..) |s, i| try fixture.add(@intCast(i), -1, s);
    const answers = try fixture.run(&.{
        ask(.minimum, 2), ask(.maximum, 2), ask(.maximum, 3), ask(.maximum, 1),
    }, &output);
    try std.testing.expectEqual(0, answers[0].length);
    const greatest = output[@intCast(answers[1].low)..][0..answers[1].length];
    try std.testing.expectEqualStrings("b", greatest);
    try std.testing.expectEqual(1, answers[2].low);
    try std.testing.expectEqual(-1, @as(f64, @bitCast(answers[3].low)));
}

test "Aggregates.compile: refuses sums of text, and what it does not know" {
    var fixture: Fixture = try .init();
    defer fixture.arena.deinit();
    var output: [512]u8 align(8) = undefined;
    const text_sum = fixture.run(&.{ask(.sum, 2)}, &output);
    try std.testing.expectError(error.TypeMismatch, text_sum);
    const unknown = fixture.run(&.{ask(@enumFromInt(9), 0)}, &output);
    try std.testing.expectError(error.BadArgument, unknown);
    try std.testing.expectError(error.BadArgument, fixture.run(&.{ask(.sum, 4)}, &output));
}
