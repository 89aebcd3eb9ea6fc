//! What does the engine cost without a host: upserts, batches and gets of one process and one
//! thread, with the whole protocol on and the maintenance done inline.
//!
//! `bench_native ROWS SECONDS` prints one line for each question.

const std = @import("std");
const aerostore = @import("aerostore");
const sync = aerostore.sync;
const region_module = aerostore.region;
const statement = aerostore.statement;
const transaction = aerostore.transaction;
const reader = aerostore.reader;
const Region = region_module.Region;
const Session = aerostore.session.Session;
const TableInfo = aerostore.table_info.TableInfo;

const gpa = std.heap.c_allocator;

const Bench = struct {
    region: *const Region,
    session: *Session,
    table: *const TableInfo,
    rows: u64,
    random: std.Random.DefaultPrng,
    image: [256]u8 align(8) = @splat(0),
    images: [64][128]u8 align(8) = undefined,
    batch: [64]transaction.Write = undefined,

    fn prepare(bench: *Bench, id: u64, n: u64) transaction.Write {
        return bench.prepareIn(&bench.image, id, n);
    }

    fn prepareIn(bench: *Bench, image: []align(8) u8, id: u64, n: u64) transaction.Write {
        var builder: aerostore.row.Builder = .init(bench.table, image);
        builder.setInt64(0, @bitCast(id));
        builder.setFloat64(1, @floatFromInt(n));
        builder.setFloat64(2, @floatFromInt(id));
        builder.setInt32(3, @intCast(n & 0xffff));
        builder.setInt32(4, @intCast(id & 0xffff));
        builder.setFloat64(5, 1.5);
        builder.setText(6, "B738") catch unreachable;
        builder.setText(7, "LSZH") catch unreachable;
        return .{
            .table = bench.table,
            .operation = .upsert,
            .key = transaction.keyOf(bench.table, image),
            .image = builder.finish(),
        };
    }

    fn upsert(bench: *Bench, id: u64, n: u64) !void {
        const one = bench.prepare(id, n);
        const result = try statement.write(bench.session, &one);
        if (result.outcome != .done) return error.Unexpected;
    }

    fn upsertBatch(bench: *Bench, count: u64) !void {
        const random = bench.random.random();
        for (&bench.batch, &bench.images, 0..) |*one, *image, n| {
            one.* = bench.prepareIn(@alignCast(image), random.uintLessThan(u64, count), n);
        }
        const result = try statement.writeEach(bench.session, &bench.batch);
        if (result.outcome != .done) return error.Unexpected;
    }

    fn get(bench: *Bench, id: u64) !f64 {
        const cell: [8]u8 = @bitCast(id);
        bench.session.pin();
        defer bench.session.unpin();
        const key: aerostore.pk_map.Key = .of(0, &cell);
        const row = try reader.find(bench.region, bench.table, key, .latest) orelse return -1;
        return row.float64(bench.table.columns[1].offset);
    }
};

fn report(name: []const u8, count: u64, started: u64) void {
    const ns = sync.nowNs() - started;
    const per = @as(f64, @floatFromInt(ns)) / @as(f64, @floatFromInt(count));
    std.debug.print("{s:<28} {d:>9.1} ns  {d:>7.2} M/s\n", .{ name, per, 1000.0 / per });
}

/// Aircraft positions: eight columns, 104 bytes with the version's header.
fn positions() !TableInfo {
    return .init(0, "bench", &.{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("lat", .float64, 0, .{}),
        .init("lon", .float64, 0, .{}),
        .init("altitude", .int32, 0, .{}),
        .init("gs", .int32, 0, .{}),
        .init("at", .timestamp, 0, .{}),
        .init("typ", .text, 8, .{}),
        .init("dst", .text, 8, .{}),
    });
}

pub fn main(init: std.process.Init.Minimal) !void {
    var arguments = init.args.iterate();
    _ = arguments.next();
    const rows = try std.fmt.parseInt(u64, arguments.next() orelse "1000000", 10);
    const size: u64 = std.mem.alignForward(u64, 64 << 20, 1 << 20) + rows * 640;
    const config: region_module.Config = .forSize(size);
    const memory = try std.posix.mmap(
        null,
        config.size_max,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .SHARED, .ANONYMOUS = true },
        -1,
        0,
    );
    try region_module.format(memory.ptr, config, .{});
    const region: Region = .init(memory.ptr);
    const table = try positions();
    const session = try Session.open(&region, gpa, aerostore.session.processClaim(0, 1));
    var bench: Bench = .{
        .region = &region,
        .session = session,
        .table = &table,
        .rows = rows,
        .random = .init(1),
    };
    var started = sync.nowNs();
    for (0..rows) |id| try bench.upsert(id, id);
    report("insert by upsert", rows, started);
    const random = bench.random.random();
    for (0..3) |_| {
        started = sync.nowNs();
        for (0..rows) |n| try bench.upsert(random.uintLessThan(u64, rows), n);
        report("upsert, random row", rows, started);
    }
    started = sync.nowNs();
    for (0..rows / 64) |_| try bench.upsertBatch(rows);
    report("upsert, random row, batched", rows / 64 * 64, started);
    started = sync.nowNs();
    for (0..rows / 64) |_| try bench.upsertBatch(1000);
    report("upsert, 1000 hot, batched", rows / 64 * 64, started);
    started = sync.nowNs();
    for (0..rows) |n| try bench.upsert(n % 1000, n);
    report("upsert, 1000 hot rows", rows, started);
    started = sync.nowNs();
    var sum: f64 = 0;
    for (0..rows) |_| sum += try bench.get(random.uintLessThan(u64, rows));
    report("get, random row", rows, started);
    started = sync.nowNs();
    for (0..rows) |n| sum += try bench.get(n % 1000);
    report("get, 1000 hot rows", rows, started);
    started = sync.nowNs();
    var scan: reader.Scan = .init(&region, &table, .{ .snapshot = reader.snapshotNow(&region) });
    session.pin();
    var scanned: u64 = 0;
    while (try scan.next()) |row| {
        sum += row.float64(table.columns[1].offset);
        scanned += 1;
    }
    session.unpin();
    report("scan in node order", scanned, started);
    std.debug.print("check {d}\n", .{sum});
}
