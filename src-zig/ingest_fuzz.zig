//! Random inputs in random chunks.
//!
//! Checks two things:
//!
//!   * noise: however an input is cut, the rows, the counts and the first problem are the same, and
//!     no bytes do any harm
//!   * round trip: random rows written as Tcl-style text come back as they were

const std = @import("std");
const Generator = @import("query_generator.zig").Generator;
const ingest_module = @import("ingest.zig");
const result = @import("result.zig");
const spec_module = @import("ingest_spec.zig");
const table_info = @import("table_info.zig");
const Allocator = std.mem.Allocator;
const Ingest = ingest_module.Ingest;
const TableInfo = table_info.TableInfo;
const Value = @import("query_model.zig").Value;

pub fn run(gpa: Allocator, seed: u64, rounds: usize) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    for (0..rounds) |_| {
        _ = arena_state.reset(.retain_capacity);
        const generator: Generator = .{
            .arena = arena_state.allocator(),
            .random = prng.random(),
        };
        try noise(gpa, generator);
        try roundTrip(gpa, generator);
    }
}

const Outcome = struct {
    records: std.ArrayList(u8) = .empty,
    counts: ingest_module.Counts = .{},
    message: []const u8 = "",
    failed: bool = false,
    arena: Allocator,

    pub fn write(outcome: *Outcome, records: []align(8) const u8, count: u32) !void {
        if (count == 0 or records.len % 8 != 0) return error.TestUnexpectedResult;
        try outcome.records.appendSlice(outcome.arena, records);
    }
};

/// Feeds `input` in chunks of random sizes up to `chunk_max`.
fn outcomeOf(
    gpa: Allocator,
    generator: Generator,
    table: *const TableInfo,
    spec: []const u8,
    input: []const u8,
    chunk_max: usize,
) !Outcome {
    var outcome: Outcome = .{ .arena = generator.arena };
    const ingest: *Ingest = try .begin(gpa, table, spec);
    defer ingest.end();
    var at: usize = 0;
    while (true) {
        const size = @min(generator.random.uintAtMost(usize, chunk_max), input.len - at);
        // A copy of its own, so that a line which still refers to the last chunk is noticed.
        const chunk = try gpa.dupe(u8, input[at..][0..size]);
        defer gpa.free(chunk);
        at += size;
        const is_last = at == input.len;
        ingest.feed(chunk, is_last, &outcome) catch |err| switch (err) {
            error.BadLine, error.UnknownColumn, error.NotNullViolation => {
                outcome.failed = true;
                break;
            },
            else => return err,
        };
        if (is_last) break;
    }
    outcome.counts = ingest.counts;
    if (ingest.problem) |*problem| {
        const buffer = try generator.arena.alloc(u8, 1024);
        outcome.message = problem.describe(buffer);
    }
    return outcome;
}

fn noise(gpa: Allocator, generator: Generator) !void {
    const random = generator.random;
    const table: TableInfo = try .init(0, "t", &.{
        .init("id", .int32, 0, .{ .primary = true }),
        .init("a", .text, 4, .{ .nullable = true }),
        .init("b", .float64, 0, .{ .nullable = true }),
        .init("c", .bytes, 40, .{}),
    });
    const words = [_][]const u8{
        "\t",   "\t",  "\t", "\n", "\n", "\r\n", "1",  "23",           "-4", "id", "a", "b",
        "c",    ".5",
        "é",
        "\xc3", "\\n", "{",  "}",  "\"", "\\",   "\r", "\xef\xbb\xbf",
    };
    var input: std.ArrayList(u8) = .empty;
    if (random.boolean()) try input.appendSlice(generator.arena, "id\ta\tb\tc\n");
    for (0..random.uintAtMost(usize, 60)) |_| {
        const is_row = random.uintLessThan(u8, 4) == 0;
        const word = words[random.uintLessThan(usize, words.len)];
        try input.appendSlice(generator.arena, if (is_row) "1\tab\t2.5\txyz\n" else word);
    }
    var buffer: [64]u8 = undefined;
    const flags: spec_module.Flags = .{
        .header_line = random.boolean(),
        .tcl_values = random.boolean(),
        .skip_bad_lines = random.boolean(),
        .ignore_unknown = random.boolean(),
    };
    const columns: []const u8 = if (random.boolean()) &.{ 0, 1, 2, 3 } else &.{};
    const spec = spec_module.encode(&buffer, flags, 3, columns, "", &.{});

    const whole = try outcomeOf(gpa, generator, &table, spec, input.items, 1 << 20);
    const parts = try outcomeOf(gpa, generator, &table, spec, input.items, 5);
    try std.testing.expectEqualStrings(whole.message, parts.message);
    try std.testing.expectEqual(whole.failed, parts.failed);
    try std.testing.expectEqualSlices(u8, whole.records.items, parts.records.items);
    try std.testing.expectEqual(whole.counts.rows, parts.counts.rows);
    try std.testing.expectEqual(whole.counts.skipped, parts.counts.skipped);
}

fn roundTrip(gpa: Allocator, generator: Generator) !void {
    const random = generator.random;
    const arena = generator.arena;
    const table = try generator.table();
    var expected: std.ArrayList(u8) = .empty;
    var input: std.ArrayList(u8) = .empty;
    const buffer = try arena.alignedAlloc(u8, .@"8", table.payload_size_max);
    for (0..random.uintAtMost(usize, 20)) |id| {
        const values = try arena.alloc(Value, table.column_count);
        for (values, table.slice(), 0..) |*value, *info, i| {
            value.* = try generator.value(info, id);
            if (i > 0) try input.append(arena, '\t');
            try print(&input, arena, value.*, info.kind);
        }
        // A row of one empty field would be an empty line.
        try input.append(arena, '\n');
        const row = try Generator.row(&table, values, buffer);
        try expected.appendSlice(arena, std.mem.asBytes(&result.RecordHeader{
            .record_bytes = result.record_header_size + row.size,
            .null_mask = row.null_mask,
            .column_mask = table.allColumns(),
        }));
        try expected.appendSlice(arena, row.payload[0..row.size]);
    }
    var spec_buffer: [64]u8 = undefined;
    const flags: spec_module.Flags = .{ .tcl_values = true };
    const spec = spec_module.encode(&spec_buffer, flags, 0, &.{}, "\\N", &.{});
    const outcome = try outcomeOf(gpa, generator, &table, spec, input.items, 300);
    try std.testing.expectEqualStrings("", outcome.message);
    try std.testing.expectEqualSlices(u8, expected.items, outcome.records.items);
}

fn print(
    out: *std.ArrayList(u8),
    arena: Allocator,
    value: Value,
    kind: table_info.Kind,
) Allocator.Error!void {
    switch (value) {
        .none => try out.appendSlice(arena, "\\N"),
        .integer => |number| if (kind == .bool)
            try out.appendSlice(arena, if (number != 0) "true" else "F")
        else
            try out.print(arena, "{d}", .{number}),
        .float => |number| try out.print(arena, "{e}", .{number}),
        .text => |text| for (text) |byte| switch (byte) {
            // The first byte of a braced or quoted value is escaped too.
            '\\', '{', '"' => try out.appendSlice(arena, &.{ '\\', byte }),
            else => try out.append(arena, byte),
        },
    }
}

test "fuzz: inputs survive any cut and any bytes" {
    try run(std.testing.allocator, 1, 150);
}
