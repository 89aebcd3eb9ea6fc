//! What does the engine cost without a host: upserts, batches and gets of one process and one
//! thread, with the whole protocol on and the maintenance done inline.
//!
//! `bench_native ROWS` prints one line for each question.

const std = @import("std");
const aerostore = @import("aerostore");
const limits = aerostore.limits;
const os = aerostore.os;
const region_module = aerostore.region;
const statement = aerostore.statement;
const transaction = aerostore.transaction;
const reader = aerostore.reader;
const Region = region_module.Region;
const Session = aerostore.session.Session;
const TableInfo = aerostore.table_info.TableInfo;
const Cursor = aerostore.executor.Cursor;
const Encoder = aerostore.plan_encoder.Encoder;

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
    sum: f64 = 0,

    fn randomId(bench: *Bench) u64 {
        return bench.random.random().uintLessThan(u64, bench.rows);
    }

    fn prepare(bench: *Bench, id: u64, n: u64) transaction.Write {
        return bench.prepareIn(&bench.image, id, n);
    }

    fn prepareIn(bench: *Bench, image: []align(8) u8, id: u64, n: u64) transaction.Write {
        var builder: aerostore.row.Builder = .init(bench.table, image);
        builder.setInt64(0, @bitCast(id));
        builder.setFloat64(1, @floatFromInt(n));
        builder.setFloat64(2, @floatFromInt(id));
        // Numbers that no processor guesses.
        const mixed = (n +% 1) *% 0x9e37_79b9_7f4a_7c15;
        builder.setInt32(3, @intCast(mixed >> 48));
        builder.setInt32(4, @intCast(mixed >> 24 & 0xffff));
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

    /// Copies the row, as the border does.
    fn get(bench: *Bench, id: u64) !f64 {
        const cell: [8]u8 = @bitCast(id);
        const key: aerostore.pk_map.Key = .of(0, &cell);
        aerostore.pk_map.Ahead.bucket(bench.region, key);
        bench.session.pin();
        defer bench.session.unpin();
        const row = try reader.find(bench.region, bench.table, key, .latest) orelse return -1;
        @memcpy(bench.image[0..row.size], row.payload);
        return @floatFromInt(bench.image[8]);
    }
};

/// Counts rows in heap order: what a full scan costs without a host.
const Count = struct {
    name: []const u8,
    make: *const fn (*Encoder) Encoder.Error!void,

    const all = [_]Count{
        .{ .name = "count, 1 number, 28%", .make = struct {
            fn make(encoder: *Encoder) Encoder.Error!void {
                try encoder.number(.ge, 3, 47_000);
            }
        }.make },
        .{ .name = "count, 2 numbers, 14%", .make = struct {
            fn make(encoder: *Encoder) Encoder.Error!void {
                try encoder.number(.ge, 3, 47_000);
                try encoder.number(.lt, 4, 32_768);
            }
        }.make },
        .{ .name = "count, int32 and float64", .make = struct {
            fn make(encoder: *Encoder) Encoder.Error!void {
                try encoder.number(.ge, 3, 47_000);
                try encoder.float(.gt, 1, 400_000);
            }
        }.make },
        .{ .name = "count, int32 and text", .make = struct {
            fn make(encoder: *Encoder) Encoder.Error!void {
                try encoder.number(.ge, 3, 47_000);
                try encoder.text(.eq, 6, "B738");
            }
        }.make },
    };

    /// The fastest of some rounds, and how many rows pass, so that the work cannot be left out.
    fn run(count: Count, bench: *Bench, cursor: *Cursor, suffix: []const u8) !void {
        var encoder: Encoder = .init(gpa, 0);
        defer encoder.deinit();
        encoder.header.flags.count_only = true;
        try count.make(&encoder);
        const output = try gpa.alignedAlloc(u8, .@"8", 1 << 17);
        defer gpa.free(output);
        var fastest: f64 = std.math.inf(f64);
        for (0..10) |_| {
            const started = processorNs();
            var reason: []const u8 = "";
            try cursor.open(bench.table, try encoder.finish(), &reason);
            defer cursor.close();
            bench.session.pin();
            defer bench.session.unpin();
            const view: reader.View = .{ .snapshot = reader.snapshotNow(bench.region) };
            var scan: reader.Scan = .init(bench.region, bench.table, view);
            while (!(try cursor.fill(&scan, output, .{})).done) {}
            const ns: f64 = @floatFromInt(processorNs() - started);
            fastest = @min(fastest, ns / @as(f64, @floatFromInt(cursor.stats.examined)));
            bench.sum += @floatFromInt(cursor.stats.returned);
        }
        var name: [64]u8 = undefined;
        report(try std.fmt.bufPrint(&name, "{s}{s}", .{ count.name, suffix }), fastest);
    }
};

/// One word of each line of all slabs: what memory alone takes for the bytes of a row, 128 here.
fn sweep(bench: *Bench) void {
    const region = bench.region;
    const granules = region.control.memory.slab_top.load(.acquire) * limits.slab_granules;
    const first = region.pointer(u8, region.slabs_first);
    const words: [*]const u64 = @ptrCast(@alignCast(first));
    const lines = @as(u64, granules) * (limits.granule_size / 64);
    var fastest: f64 = std.math.inf(f64);
    for (0..10) |_| {
        const started = processorNs();
        var sum: u64 = 0;
        for (0..lines) |line| sum +%= words[line * 8];
        const ns: f64 = @floatFromInt(processorNs() - started);
        fastest = @min(fastest, ns / @as(f64, @floatFromInt(lines / 2)));
        bench.sum += @floatFromInt(sum & 1);
    }
    report("memory alone, 128 bytes", fastest);
}

/// Processor time of this thread: the clock on the wall tells about the neighbours as well.
fn processorNs() u64 {
    var time: std.os.linux.timespec = undefined;
    _ = std.os.linux.clock_gettime(.THREAD_CPUTIME_ID, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

/// Does `operation(bench, n)` for each n below `count`, in tenths, and prints the time of one row
/// in the fastest tenth; `rows_each` is the number of rows that it handles.
fn measure(
    bench: *Bench,
    name: []const u8,
    count: u64,
    rows_each: u64,
    operation: fn (*Bench, u64) anyerror!void,
) !void {
    var fastest: f64 = std.math.inf(f64);
    for (0..10) |tenth| {
        const started = processorNs();
        const portion = count / 10;
        for (tenth * portion..(tenth + 1) * portion) |n| try operation(bench, n);
        const ns: f64 = @floatFromInt(processorNs() - started);
        fastest = @min(fastest, ns / @as(f64, @floatFromInt(portion * rows_each)));
    }
    report(name, fastest);
}

fn report(name: []const u8, ns: f64) void {
    std.debug.print("{s:<28} {d:>9.1} ns  {d:>7.2} M/s\n", .{ name, ns, 1000.0 / ns });
}

const Operations = struct {
    fn upsertNew(bench: *Bench, n: u64) !void {
        try bench.upsert(n, n);
    }
    fn upsertRandom(bench: *Bench, n: u64) !void {
        try bench.upsert(bench.randomId(), n);
    }
    fn upsertRandomBatch(bench: *Bench, _: u64) !void {
        try bench.upsertBatch(bench.rows);
    }
    fn upsertHotBatch(bench: *Bench, _: u64) !void {
        try bench.upsertBatch(1000);
    }
    fn upsertHot(bench: *Bench, n: u64) !void {
        try bench.upsert(n % 1000, n);
    }
    fn getRandom(bench: *Bench, _: u64) !void {
        bench.sum += try bench.get(bench.randomId());
    }
    fn getHot(bench: *Bench, n: u64) !void {
        bench.sum += try bench.get(n % 1000);
    }
};

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

/// The memory of a region as a process of Aerostore has it: a file in /dev/shm, in huge pages where
/// the kernel gives them.
fn mapFile(size: u64) ![]align(4096) u8 {
    var salt: [8]u8 = undefined;
    try os.random(&salt);
    const path = try os.Path.format("/dev/shm/aerostore-bench-{x}", .{&salt});
    const fd = try os.open(&path, .exclusive);
    try os.unlink(&path);
    const mapping = try os.map(fd, size);
    var at: u64 = 0;
    while (at + os.huge_page_size <= size) : (at += os.huge_page_size) {
        try os.reserve(fd, at + os.huge_page_size - os.page_size, os.page_size);
        _ = os.collapse(@alignCast(mapping.ptr + at));
    }
    try os.reserve(fd, 0, size);
    return mapping;
}

pub fn main(init: std.process.Init.Minimal) !void {
    var arguments = init.args.iterate();
    _ = arguments.next();
    const rows = try std.fmt.parseInt(u64, arguments.next() orelse "1000000", 10);
    const size: u64 = std.mem.alignForward(u64, 64 << 20, 1 << 20) + rows * 640;
    const config: region_module.Config = .forSize(size);
    const memory = try mapFile(config.size_max);
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
    try measure(&bench, "insert by upsert", rows, 1, Operations.upsertNew);
    const cursor: *Cursor = try .create(gpa);
    sweep(&bench);
    for (Count.all) |count| try count.run(&bench, cursor, "");
    try measure(&bench, "upsert, random row", 3 * rows, 1, Operations.upsertRandom);
    try measure(&bench, "upsert, random row, batched", rows / 64, 64, Operations.upsertRandomBatch);
    try measure(&bench, "upsert, 1000 hot, batched", rows / 64, 64, Operations.upsertHotBatch);
    try measure(&bench, "upsert, 1000 hot rows", rows, 1, Operations.upsertHot);
    try measure(&bench, "get, random row", rows, 1, Operations.getRandom);
    try measure(&bench, "get, 1000 hot rows", rows, 1, Operations.getHot);

    sweep(&bench);
    for (Count.all) |count| try count.run(&bench, cursor, ", reused");
    const started = processorNs();
    var scan: reader.Scan = .init(&region, &table, .{ .snapshot = reader.snapshotNow(&region) });
    session.pin();
    var scanned: u64 = 0;
    while (try scan.next()) |row| {
        bench.sum += row.float64(table.columns[1].offset);
        scanned += 1;
    }
    session.unpin();
    const ns: f64 = @floatFromInt(processorNs() - started);
    report("scan in heap order", ns / @as(f64, @floatFromInt(scanned)));
    std.debug.print("check {d}\n", .{bench.sum});
}
