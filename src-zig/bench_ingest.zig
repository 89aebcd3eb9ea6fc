//! How many megabytes of text a second become row records, on one core?
//!
//! The lines look like aircraft positions, nine fields of four types and 70 bytes each. The sink
//! adds the records' bytes up and stores nothing, so this is the parser alone.
//!
//!     zig build-exe -OReleaseSafe bench_ingest.zig && ./bench_ingest [LINES]

const std = @import("std");
const Ingest = @import("ingest.zig").Ingest;
const spec_module = @import("ingest_spec.zig");
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;

const chunk_size = 1 << 20;
const repeat_count = 7;

const Sum = struct {
    hash: u64 = 0,
    bytes: u64 = 0,

    pub fn write(sum: *Sum, records: []align(8) const u8, count: u32) !void {
        sum.bytes += records.len;
        sum.hash = sum.hash *% 31 +% count;
        // One word of each cache line: enough to tell results apart, little to the time.
        const words: []const u64 = @ptrCast(records);
        var at: usize = 0;
        while (at < words.len) : (at += 8) sum.hash = sum.hash *% 31 +% words[at];
    }
};

fn makeTable() !TableInfo {
    return .init(0, "positions", &.{
        .init("icao24", .text, 6, .{ .primary = true }),
        .init("callsign", .text, 8, .{ .nullable = true }),
        .init("lat", .float64, 0, .{ .nullable = true }),
        .init("lon", .float64, 0, .{ .nullable = true }),
        .init("altitude", .int32, 0, .{ .nullable = true }),
        .init("gs", .float64, 0, .{ .nullable = true }),
        .init("track", .float64, 0, .{ .nullable = true }),
        .init("vertical_rate", .int32, 0, .{ .nullable = true }),
        .init("updated_at", .timestamp, 0, .{ .nullable = true }),
    });
}

fn makeInput(gpa: Allocator, line_count: usize) ![]const u8 {
    var prng: std.Random.DefaultPrng = .init(42);
    const random = prng.random();
    var text: std.ArrayList(u8) = .empty;
    for (0..line_count) |i| {
        try text.print(gpa, "{x:0>6}\tUAL{d}\t{d}.{d:0>6}\t{d}.{d:0>6}\t{d}\t{d}.{d}\t", .{
            random.int(u24),                  random.uintLessThan(u32, 9000),
            random.uintLessThan(u32, 90),     random.uintLessThan(u32, 1_000_000),
            random.uintLessThan(u32, 180),    random.uintLessThan(u32, 1_000_000),
            random.uintLessThan(u32, 41_000), random.uintLessThan(u32, 600),
            random.uintLessThan(u32, 10),
        });
        try text.print(gpa, "{d}.{d}\t", .{
            random.uintLessThan(u32, 360),
            random.uintLessThan(u32, 10),
        });
        // Every third vertical rate is unknown.
        if (i % 3 != 0) try text.print(gpa, "{d}", .{random.intRangeAtMost(i32, -3000, 3000)});
        try text.print(gpa, "\t{d}\n", .{1_533_099_600_000 + i * 100});
    }
    return text.toOwnedSlice(gpa);
}

fn ingestAll(gpa: Allocator, table: *const TableInfo, input: []const u8) !Sum {
    var spec_buffer: [64]u8 = undefined;
    const spec = spec_module.encode(&spec_buffer, .{}, 1000, &.{}, "", &.{});
    const ingest: *Ingest = try .begin(gpa, table, spec);
    defer ingest.end();
    var sum: Sum = .{};
    var at: usize = 0;
    while (at < input.len) {
        const size = @min(chunk_size, input.len - at);
        try ingest.feed(input[at..][0..size], at + size == input.len, &sum);
        at += size;
    }
    return sum;
}

pub fn main(init: std.process.Init) !void {
    const gpa = std.heap.smp_allocator;
    var words = init.minimal.args.iterate();
    _ = words.next();
    const line_count = try std.fmt.parseInt(usize, words.next() orelse "1000000", 10);
    const table = try makeTable();
    const input = try makeInput(gpa, line_count);

    var rates: [repeat_count]f64 = undefined;
    var sum: Sum = undefined;
    for (&rates) |*rate| {
        const start = nowNs();
        sum = try ingestAll(gpa, &table, input);
        const elapsed_ns: f64 = @floatFromInt(nowNs() - start);
        rate.* = @as(f64, @floatFromInt(input.len)) * 1000 / elapsed_ns;
    }
    std.mem.sort(f64, &rates, {}, std.sort.asc(f64));

    var buffer: [512]u8 = undefined;
    var stdout = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    const out = &stdout.interface;
    try out.print("{d} lines, {d} bytes, {d} bytes of records, hash {x}, {s}\n", .{
        line_count, input.len, sum.bytes, sum.hash, @tagName(@import("builtin").mode),
    });
    try out.print("{d:.0} MB/s (least {d:.0}, most {d:.0})\n", .{
        rates[repeat_count / 2], rates[0], rates[repeat_count - 1],
    });
    try out.flush();
}

fn nowNs() u64 {
    var time: std.os.linux.timespec = undefined;
    _ = std.os.linux.clock_gettime(.MONOTONIC, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

test "bench: the input becomes one record a line" {
    const gpa = std.testing.allocator;
    const table = try makeTable();
    const input = try makeInput(gpa, 100);
    defer gpa.free(input);
    const sum = try ingestAll(gpa, &table, input);
    try std.testing.expectEqual(100 * (24 + @as(u64, table.payload_size_max)), sum.bytes);
}
