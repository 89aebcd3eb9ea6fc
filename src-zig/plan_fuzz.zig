//! Plans of damaged bytes.
//!
//! Invariants: any bytes decode to a plan or to `BadArgument` with a reason, and a plan that was
//! accepted runs to its end over real rows. Damage is done to valid plans, a few bytes at a time,
//! because noise does not get past the header.

const std = @import("std");
const Cursor = @import("executor.zig").Cursor;
const Encoder = @import("plan_encoder.zig").Encoder;
const Generator = @import("query_generator.zig").Generator;
const result = @import("result.zig");
const RowRef = @import("row.zig").RowRef;
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;

pub const Counts = struct { accepted: u64 = 0, refused: u64 = 0 };

pub fn run(gpa: Allocator, seed: u64, rounds: usize) !Counts {
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    const cursor: *Cursor = try .create(gpa);
    defer cursor.destroy();
    const output = try gpa.alignedAlloc(u8, .@"8", result.record_size_max);
    defer gpa.free(output);

    var counts: Counts = .{};
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    for (0..rounds) |_| {
        _ = arena_state.reset(.retain_capacity);
        const generator: Generator = .{ .arena = arena_state.allocator(), .random = random };
        const table = try generator.table();
        var source = try Source.init(generator, &table);
        const sound = try plan(generator, &table);
        for (0..20) |_| {
            const bytes = try generator.arena.dupe(u8, sound);
            damage(random, bytes);
            const size = if (random.uintLessThan(u8, 8) == 0)
                random.uintAtMost(usize, bytes.len)
            else
                bytes.len;
            var reason: []const u8 = "";
            cursor.open(&table, bytes[0..size], &reason) catch |err| {
                if (err != error.BadArgument) return err;
                try std.testing.expect(reason.len > 0);
                counts.refused += 1;
                continue;
            };
            defer cursor.close();
            counts.accepted += 1;
            source.at = 0;
            var keys = cursor.plan.keys();
            while (keys.next()) |_| {}
            while (true) {
                const batch = try cursor.fill(&source, output, .{});
                if (batch.done) break;
            }
        }
    }
    return counts;
}

const Source = struct {
    rows: [5]RowRef = undefined,
    at: usize = 0,

    fn init(generator: Generator, table: *const TableInfo) !Source {
        var source: Source = .{};
        for (&source.rows, 0..) |*row, id| {
            const values = try generator.arena.alloc(
                @import("query_model.zig").Value,
                table.column_count,
            );
            for (values, table.slice()) |*value, *info| value.* = try generator.value(info, id);
            const size = table.payload_size_max;
            const buffer = try generator.arena.alignedAlloc(u8, .@"8", size);
            row.* = try Generator.row(table, values, buffer);
        }
        return source;
    }

    pub fn next(source: *Source) !?RowRef {
        if (source.at == source.rows.len) return null;
        source.at += 1;
        return source.rows[source.at - 1];
    }
};

fn plan(generator: Generator, table: *const TableInfo) ![]const u8 {
    const random = generator.random;
    var encoder: Encoder = .init(generator.arena, 0);
    for (0..random.uintAtMost(usize, 3)) |_| {
        const condition = try generator.condition(table);
        try Generator.encode(&condition, &encoder);
    }
    for (0..random.uintAtMost(usize, 2)) |_| {
        try encoder.sort(random.uintLessThan(u8, table.column_count), .{});
    }
    const key: []const u8 = switch (table.columns[table.primary_key].kind) {
        .int32 => "\x01\x00\x00\x00",
        .int64 => "\x01\x00\x00\x00\x00\x00\x00\x00",
        else => "\x02\x00k1",
    };
    for (0..random.uintAtMost(usize, 3)) |_| try encoder.key(key);
    if (random.boolean()) {
        encoder.header.scan = .{ .low_present = true, .high_present = true };
        try encoder.bound(key);
        try encoder.bound(key);
    }
    return encoder.finish();
}

/// Changes up to four bytes, often those of a 32-bit word, to values at an edge.
fn damage(random: std.Random, bytes: []u8) void {
    const edges = [_]u8{ 0, 1, 2, 7, 0x40, 0x7f, 0x80, 0xff };
    for (0..random.uintAtMost(usize, 4)) |_| {
        const at = random.uintLessThan(usize, bytes.len);
        bytes[at] = if (random.boolean())
            edges[random.uintLessThan(usize, edges.len)]
        else
            random.int(u8);
    }
}

test "fuzz: damaged plans are refused or run" {
    const counts = try run(std.testing.allocator, 1, 100);
    try std.testing.expect(counts.accepted > 100 and counts.refused > 100);
}
