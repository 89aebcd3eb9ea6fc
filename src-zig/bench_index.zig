//! What does a secondary index cost, and what does it give?
//!
//!     zig build bench-index -- [ROWS]
//!
//! One process, a region in anonymous memory. First the ordered index alone: entries of random
//! 8-byte keys are inserted, looked up one after the other (each depends on the last), and walked.
//! Then a table with two indexes: upserts that move both, that move none, and short ordered scans.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const engine = @import("aerostore.zig");
const index_scan = engine.index_scan;
const index_key = engine.index_key;
const ordered_index = engine.ordered_index;
const reader = engine.reader;
const statement = engine.statement;
const table_indexes = engine.table_indexes;
const Session = engine.session.Session;
const TableInfo = engine.table_info.TableInfo;

const Bench = struct {
    region: *const engine.region.Region,
    session: *Session,
    table: *TableInfo,
    indexes: *table_indexes.TableIndexes,
    random: std.Random.DefaultPrng,
    rows: u64,

    fn upsert(bench: *Bench, id: u64, a: i64, b: i64) !void {
        const columns = &bench.table.columns;
        var payload: [24]u8 align(8) = undefined;
        std.mem.writeInt(u64, payload[columns[0].offset..][0..8], id, .little);
        std.mem.writeInt(i64, payload[columns[1].offset..][0..8], a, .little);
        std.mem.writeInt(i64, payload[columns[2].offset..][0..8], b, .little);
        const cell: [8]u8 = @bitCast(id);
        const result = try statement.write(bench.session, &.{
            .table = bench.table,
            .operation = .upsert,
            .key = .of(0, &cell),
            .image = .{ .payload = &payload, .null_mask = 0, .version = 0, .size = 24 },
        });
        std.debug.assert(result.outcome == .done);
    }

    fn lookups(bench: *Bench, count: u64) u64 {
        const root = bench.indexes.current()[0].root;
        const index: ordered_index.OrderedIndex = .at(bench.region, root);
        bench.session.pin();
        defer bench.session.unpin();
        var key: u64 = 1;
        for (0..count) |_| {
            var bytes: [8]u8 = undefined;
            std.mem.writeInt(u64, &bytes, key, .big);
            const found = index.seek(&.bound(&bytes, .before));
            // The next key depends on what was found.
            const seen = if (found == 0) 1 else ordered_index.nodeAt(bench.region, found).prefix;
            key = (seen +% key) *% 0x9e3779b97f4a7c15;
        }
        return key;
    }

    fn scans(bench: *Bench, count: u64, span: u64, descending: bool) !u64 {
        var seen: u64 = 0;
        for (0..count) |_| {
            bench.session.pin();
            defer bench.session.unpin();
            const view: reader.View = .{ .snapshot = reader.snapshotNow(bench.region) };
            var bound: index_key.Bound = .{ .size = 8, .side = .before };
            std.mem.writeInt(u64, bound.bytes[0..8], bench.random.random().int(u64), .big);
            var access: index_scan.Access = .{ .descending = descending };
            if (descending) access.high = bound else access.low = bound;
            const index = &bench.indexes.current()[0];
            var scan: index_scan.Scan = .init(bench.region, bench.table, index, view, access);
            for (0..span) |_| {
                const row = try scan.next() orelse break;
                seen +%= @bitCast(row.int64(0));
            }
        }
        return seen;
    }
};

fn report(name: []const u8, operations: u64, started: u64) void {
    if (builtin.is_test) return;
    const ns = sync.nowNs() - started;
    const each = @as(f64, @floatFromInt(ns)) / @as(f64, @floatFromInt(operations));
    std.debug.print("{s:<40} {d:>9.1} ns  {d:>7.3} M/s\n", .{ name, each, 1000 / each });
}

pub fn main(init: std.process.Init) !void {
    var words = init.minimal.args.iterate();
    _ = words.next();
    const rows = if (words.next()) |text| try std.fmt.parseInt(u64, text, 10) else 1_000_000;
    const sum = try run(std.heap.page_allocator, rows);
    std.debug.print("check {x}\n", .{sum});
}

/// Measures with so many rows. Returns something of what was found.
fn run(gpa: std.mem.Allocator, rows: u64) !u64 {
    const size = @max(64 << 20, rows * 1024);
    const config: engine.region.Config = .forSize(size);
    const memory = try gpa.alignedAlloc(u8, .fromByteUnits(4096), config.size_max);
    defer gpa.free(memory);
    @memset(memory, 0);
    try engine.region.format(memory.ptr, config, .{});
    var region: engine.region.Region = .init(memory.ptr);
    var table: TableInfo = try .init(0, "bench", &.{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("a", .int64, 0, .{}),
        .init("b", .int64, 0, .{}),
    });
    for ([_]u8{ 1, 2 }) |number| _ = try table_indexes.add(&region, 0, .{
        .keys = .of(&table, &.{number}),
        .unique = false,
        .phase = .ready,
    });
    var indexes: table_indexes.TableIndexes = .init(&region, &table);
    table.indexes = &indexes;
    const claim = engine.session.processClaim(0, 1);
    var bench: Bench = .{
        .region = &region,
        .session = try .open(&region, gpa, claim),
        .table = &table,
        .indexes = &indexes,
        .random = .init(1),
        .rows = rows,
    };
    defer bench.session.close();
    const random = bench.random.random();
    var started = sync.nowNs();
    for (0..rows) |id| try bench.upsert(id, random.int(i64), @intCast(id));
    report("insert, a random key and a rising key", rows, started);
    started = sync.nowNs();
    var sum = bench.lookups(rows);
    report("lookup, each depends on the last", rows, started);
    started = sync.nowNs();
    sum +%= try bench.scans(rows / 50, 50, false);
    report("scan of 50 in order, each row", rows / 50 * 50, started);
    started = sync.nowNs();
    sum +%= try bench.scans(rows / 50, 50, true);
    report("scan of 50 downwards, each row", rows / 50 * 50, started);
    started = sync.nowNs();
    sum +%= try bench.scans(100, rows / 100, false);
    report("scan of 10,000 in order, each row", rows / 100 * 100, started);
    started = sync.nowNs();
    for (0..rows) |n| {
        const id = random.uintLessThan(u64, rows);
        try bench.upsert(id, random.int(i64), @intCast(rows + n));
    }
    report("upsert, both keys move", rows, started);
    started = sync.nowNs();
    for (0..rows) |n| try bench.upsert(n % 1000, 5, 5);
    report("upsert, no key moves, 1000 hot rows", rows, started);
    return sum;
}

test "bench_index: runs at a small size" {
    _ = try run(std.testing.allocator, 300);
}
