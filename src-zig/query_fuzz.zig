//! Random queries over random tables, compared with `query_model.zig`.
//!
//! Checks, for each query:
//!
//!   * the rows that come out, and their order, are the model's
//!   * cutting the work into batches and small budgets changes nothing
//!   * counting the same plan gives the number of rows that it returns

const std = @import("std");
const Cursor = @import("executor.zig").Cursor;
const Encoder = @import("plan_encoder.zig").Encoder;
const Generator = @import("query_generator.zig").Generator;
const model = @import("query_model.zig");
const plan = @import("plan.zig");
const result = @import("result.zig");
const RowRef = @import("row.zig").RowRef;
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;
const Value = model.Value;

const row_count_max = 40;

pub fn run(gpa: Allocator, seed: u64, rounds: usize) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    const cursor: *Cursor = try .create(gpa);
    defer cursor.destroy();
    const output = try gpa.alignedAlloc(u8, .@"8", result.record_size_max);
    defer gpa.free(output);

    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    for (0..rounds) |_| {
        _ = arena_state.reset(.retain_capacity);
        const arena = arena_state.allocator();
        var world: World = undefined;
        try world.init(arena, prng.random());
        for (0..20) |_| try world.query(cursor, output);
    }
}

/// One table with its rows, as memory and as values.
const World = struct {
    arena: Allocator,
    random: std.Random,
    generator: Generator,
    table: TableInfo,
    rows: []RowRef,
    values: []const []const Value,
    at: usize = 0,

    fn init(world: *World, arena: Allocator, random: std.Random) !void {
        const generator: Generator = .{ .arena = arena, .random = random };
        world.* = .{
            .arena = arena,
            .random = random,
            .generator = generator,
            .table = try generator.table(),
            .rows = try arena.alloc(RowRef, random.uintAtMost(usize, row_count_max)),
            .values = undefined,
        };
        const values = try arena.alloc([]const Value, world.rows.len);
        for (world.rows, values, 0..) |*row, *row_values, id| {
            const list = try arena.alloc(Value, world.table.column_count);
            for (list, world.table.slice()) |*value, *info| value.* = try generator.value(info, id);
            row_values.* = list;
            const buffer = try arena.alignedAlloc(u8, .@"8", world.table.payload_size_max);
            row.* = try Generator.row(&world.table, list, buffer);
        }
        world.values = values;
    }

    pub fn next(world: *World) !?RowRef {
        if (world.at == world.rows.len) return null;
        world.at += 1;
        return world.rows[world.at - 1];
    }

    fn query(world: *World, cursor: *Cursor, output: []align(8) u8) !void {
        const random = world.random;
        var encoder: Encoder = .init(world.arena, 0);
        const conditions = try world.arena.alloc(model.Condition, random.uintAtMost(usize, 3));
        for (conditions) |*condition| {
            condition.* = try world.generator.condition(&world.table);
            try Generator.encode(condition, &encoder);
        }
        for (0..random.uintAtMost(usize, 3)) |_| {
            try encoder.sort(random.uintLessThan(u8, world.table.column_count), .{
                .descending = random.boolean(),
                .nulls_first = random.boolean(),
                .true_first = random.boolean(),
            });
        }
        if (random.boolean()) encoder.header.limit = @floatFromInt(random.uintAtMost(u8, 20));
        if (random.boolean()) encoder.header.offset = @floatFromInt(random.uintAtMost(u8, 10));

        const expected = try world.answer(conditions, &encoder);
        const examine_max = if (random.boolean()) random.intRangeAtMost(u64, 1, 9) else 1000;
        world.at = 0;
        var reason: []const u8 = "";
        try cursor.open(&world.table, try encoder.finish(), &reason);
        var got: std.ArrayList(u32) = .empty;
        while (true) {
            const batch = try cursor.fill(world, output, .{ .examine_max = examine_max });
            try world.readBatch(output[0..batch.bytes], &got);
            if (batch.done) break;
        }
        cursor.close();
        try std.testing.expectEqualSlices(u32, expected, got.items);

        encoder.header.flags.count_only = true;
        world.at = 0;
        try cursor.open(&world.table, try encoder.finish(), &reason);
        const batch = try cursor.fill(world, output, .{});
        try std.testing.expect(batch.done and batch.rows == 0);
        try std.testing.expectEqual(expected.len, cursor.stats.returned);
        cursor.close();
    }

    /// The row numbers the model returns.
    fn answer(world: *World, conditions: []const model.Condition, encoder: *Encoder) ![]u32 {
        var rows: std.ArrayList(u32) = .empty;
        outer: for (world.values, 0..) |values, i| {
            for (conditions) |*condition| {
                if (!condition.holds(values)) continue :outer;
            }
            try rows.append(world.arena, @intCast(i));
        }
        const Context = struct {
            world: *World,
            sorts: []const plan.Sort,
            fn before(context: @This(), a: u32, b: u32) bool {
                const values = context.world.values;
                return model.before(&context.world.table, context.sorts, values[a], values[b]);
            }
        };
        const sorts = encoder.sorts.items;
        if (sorts.len > 0) {
            const context: Context = .{ .world = world, .sorts = sorts };
            std.mem.sort(u32, rows.items, context, Context.before);
        }
        const start = @min(rows.items.len, @as(usize, @intFromFloat(encoder.header.offset)));
        const rest = rows.items[start..];
        if (encoder.header.limit < 0) return rest;
        return rest[0..@min(rest.len, @as(usize, @intFromFloat(encoder.header.limit)))];
    }

    fn readBatch(world: *World, bytes: []align(8) const u8, got: *std.ArrayList(u32)) !void {
        const key = &world.table.columns[world.table.primary_key];
        var at: usize = 0;
        while (at < bytes.len) {
            const row = result.readRecord(@alignCast(bytes.ptr + at));
            at += result.record_header_size + row.size;
            const id: i64 = switch (key.kind) {
                .int32 => row.int32(key.offset) + 20,
                .int64 => row.int64(key.offset) + 20,
                else => try std.fmt.parseInt(i64, row.text(key)[1..], 10),
            };
            try got.append(world.arena, @intCast(id));
            const original = world.rows[@intCast(id)];
            const same = original.payload[0..original.size];
            try std.testing.expectEqualSlices(u8, same, row.payload[0..row.size]);
        }
    }
};

test "fuzz: queries agree with the model" {
    try run(std.testing.allocator, 1, 60);
}
