//! How long does a database take to come back?
//!
//!     zig build bench-recovery -- [ROWS]
//!
//! A directory and a region in /dev/shm, which are removed in the end. First from files, with the
//! region gone: a snapshot, with and without two indexes to build, and a log alone, in which every
//! row was inserted and then updated once; the best of three. Then with the region there: the time
//! to attach to it, the best of twenty, for all rows and for a hundredth of them. First comes the
//! time of processors, added up over the threads that load, then that on the wall.

const std = @import("std");
const builtin = @import("builtin");
const catalogue_image = @import("catalogue_image.zig");
const file_layer = @import("file_layer.zig");
const lock_file = @import("lock_file.zig");
const log_row = @import("log_row.zig");
const log_segment = @import("log_segment.zig");
const os = @import("os.zig");
const region_file = @import("region_file.zig");
const region_opening = @import("region_opening.zig");
const store_options = @import("store_options.zig");
const row_count = @import("row_count.zig");
const row_module = @import("row.zig");
const schema_blob = @import("schema_blob.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const sync = @import("sync");
const LogWriter = @import("log_writer.zig").LogWriter;
const RowRef = row_module.RowRef;
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;

/// What the files have.
const Case = struct { name: []const u8, indexes: bool, source: enum { snapshot, log } };

const cases = [_]Case{
    .{ .name = "snapshot", .indexes = false, .source = .snapshot },
    .{ .name = "snapshot, two indexes to build", .indexes = true, .source = .snapshot },
    .{ .name = "log of inserts and updates", .indexes = false, .source = .log },
};

/// A directory of its own, with a store that was never opened.
const Bench = struct {
    gpa: Allocator,
    rows: u64,
    directory: os.Path,
    native: file_layer.NativeFiles,
    paths: store_options.Paths,
    options: store_options.Options,
    detail: status.Detail,

    fn init(bench: *Bench, gpa: Allocator, rows: u64) !void {
        var salt: [8]u8 = undefined;
        try os.random(&salt);
        bench.gpa = gpa;
        bench.rows = rows;
        bench.directory = try os.Path.format("/dev/shm/aerostore-bench-recovery-{x}", .{&salt});
        try os.makeDirectory(&bench.directory);
        bench.native = .init(&bench.directory);
        bench.detail = .{};
        bench.options = .{
            .path = bench.directory.slice(),
            .shm_path = bench.directory.slice(),
            .size_max = @max(16 << 20, rows * 1024),
        };
        bench.paths = try store_options.Paths.resolve(bench.options, &bench.detail);
    }

    fn deinit(bench: *Bench) void {
        os.eachName(&bench.directory, &bench.directory, struct {
            fn visit(directory: *os.Path, name: []const u8) void {
                const path = directory.join(name) catch return;
                os.unlink(&path) catch {};
            }
        }.visit) catch {};
        os.removeDirectory(&bench.directory) catch {};
    }

    /// Opens the region and closes it again.
    fn open(bench: *Bench, count: *u64) !Time {
        const started: Time = .now();
        var lock = try lock_file.LockFile.open(&bench.paths.lock, false, &bench.detail);
        defer lock.close();
        try lock.lockInit(false, &bench.detail);
        defer lock.unlockInit();
        var file: region_file.RegionFile = undefined;
        try region_opening.open(&file, &lock, &bench.paths, bench.options, &bench.detail);
        defer file.close();
        const taken = started.passed();
        count.* = row_count.total(&file.region, 0);
        return taken;
    }

    fn removeRegion(bench: *Bench) !void {
        const uuid = try bench.identity();
        const path = try bench.paths.regionPath(uuid, &bench.detail);
        os.unlink(&path) catch |err| if (err != error.NotExist) return err;
    }

    fn identity(bench: *Bench) ![16]u8 {
        var lock = try lock_file.LockFile.open(&bench.paths.lock, false, &bench.detail);
        defer lock.close();
        try lock.lockInit(false, &bench.detail);
        lock.unlockInit();
        return lock.store_uuid;
    }

    fn write(bench: *Bench, case: Case) !void {
        var schema: schema_blob.Schema = undefined;
        const blob = blobOf(case.indexes);
        try schema_blob.decode(&schema, bench.gpa, 0, blob, &bench.detail);
        defer schema.deinit(bench.gpa);
        const image = try catalogue_image.ofBlob(bench.gpa, &schema);
        defer bench.gpa.free(image);
        switch (case.source) {
            .snapshot => try bench.writeSnapshot(&schema.table, image),
            .log => try bench.writeLog(&schema.table, image),
        }
    }

    fn writeSnapshot(bench: *Bench, table: *const TableInfo, image: []const u8) !void {
        const files = bench.native.files();
        const uuid = try bench.identity();
        var writer: snapshot_file.Writer = try .create(files, bench.gpa, .{
            .store_uuid = uuid,
            .incarnation = 1,
            .position = 2,
        }, image);
        for (0..bench.rows) |id| {
            if (!writer.hasRoom()) _ = try writer.flush();
            var buffer: [128]u8 align(8) = undefined;
            writer.add(0, 2, rowOf(table, id, id, &buffer));
        }
        _ = try writer.finish(.{ .position = 2, .logged = 0 });
        // A snapshot without a log would be refused.
        var log = try bench.startLog(uuid, 3, 2);
        log.stop();
    }

    fn writeLog(bench: *Bench, table: *const TableInfo, image: []const u8) !void {
        const files = bench.native.files();
        var log = try bench.startLog(try bench.identity(), 2, 1);
        defer log.stop();
        try log.note(.catalogue, image);
        for (0..2 * bench.rows) |n| {
            if (log.spareOrder(false)) |order| log.giveSpare(try order.make(files));
            const id = if (n < bench.rows) n else (n * 7919) % bench.rows;
            var buffer: [128]u8 align(8) = undefined;
            const row = rowOf(table, id, n, &buffer);
            const cell: [8]u8 = @bitCast(id);
            log.begin(.commit, n + 2);
            const out = try log.room(log_row.sizeMax(table));
            const operation: log_row.Operation = if (n < bench.rows) .full else .delta;
            log.advance(log_row.encode(table, operation, &cell, row, 0b010, out));
            try log.finish();
        }
        try log.flush();
    }

    fn startLog(bench: *Bench, uuid: [16]u8, start: u64, previous: u64) !LogWriter {
        return .start(bench.gpa, bench.native.files(), .{
            .store_uuid = uuid,
            .incarnation = 1,
            .leader_epoch = 1,
            .start_position = start,
            .previous_position = previous,
            .size = log_segment.size_first,
        });
    }
};

/// Of this process, over all threads, and on the wall, where neighbours count as well.
const Time = struct {
    processor_ns: u64 = std.math.maxInt(u64),
    wall_ns: u64 = std.math.maxInt(u64),

    fn now() Time {
        const linux = std.os.linux;
        var used: linux.timespec = undefined;
        _ = linux.clock_gettime(.PROCESS_CPUTIME_ID, &used);
        const seconds: u64 = @intCast(used.sec);
        return .{
            .processor_ns = seconds * std.time.ns_per_s + @as(u64, @intCast(used.nsec)),
            .wall_ns = sync.nowNs(),
        };
    }

    fn passed(since: Time) Time {
        const end: Time = .now();
        return .{
            .processor_ns = end.processor_ns - since.processor_ns,
            .wall_ns = end.wall_ns - since.wall_ns,
        };
    }

    fn best(a: Time, b: Time) Time {
        return .{
            .processor_ns = @min(a.processor_ns, b.processor_ns),
            .wall_ns = @min(a.wall_ns, b.wall_ns),
        };
    }
};

/// An int64 key, a number, and a text of up to 20 bytes.
fn blobOf(indexes: bool) []const u8 {
    const plain = "\x01\x01t\x03" ++ "\x02id\x04\x02\x00\x00";
    return if (indexes)
        plain ++ "\x01n\x04\x04\x00\x00" ++ "\x01s\x01\x04\x14\x00" ++ "\x00"
    else
        plain ++ "\x01n\x04\x00\x00\x00" ++ "\x01s\x01\x00\x14\x00" ++ "\x00";
}

fn rowOf(table: *const TableInfo, id: u64, n: u64, buffer: []align(8) u8) RowRef {
    var builder: row_module.Builder = .init(table, buffer);
    builder.setInt64(0, @bitCast(id));
    builder.setInt64(1, @bitCast(n *% 0x9e3779b97f4a7c15));
    var text: [20]u8 = undefined;
    const bytes = std.fmt.bufPrint(&text, "row {d}", .{id}) catch unreachable; // 19 digits at most
    builder.setText(2, bytes) catch unreachable;
    return builder.finish();
}

fn report(name: []const u8, rows: u64, time: Time) void {
    if (builtin.is_test) return;
    std.debug.print("{s:<31} {d:>8} rows", .{ name, rows });
    for ([_]u64{ time.processor_ns, time.wall_ns }) |ns| {
        const ms = @as(f64, @floatFromInt(ns)) / 1e6;
        const rate = @as(f64, @floatFromInt(rows)) / ms / 1000;
        std.debug.print(" {d:>8.2} ms {d:>7.2} M/s", .{ ms, rate });
    }
    std.debug.print("\n", .{});
}

pub fn main(init: std.process.Init) !void {
    var words = init.minimal.args.iterate();
    _ = words.next();
    const rows = if (words.next()) |text| try std.fmt.parseInt(u64, text, 10) else 1_000_000;
    try run(std.heap.page_allocator, rows);
}

fn run(gpa: Allocator, rows: u64) !void {
    if (!os.supported) return;
    for (cases) |case| {
        var bench: Bench = undefined;
        try bench.init(gpa, rows);
        defer bench.deinit();
        try bench.write(case);
        var best: Time = .{};
        var count: u64 = 0;
        for (0..3) |_| {
            try bench.removeRegion();
            best = .best(best, try bench.open(&count));
            if (count != rows) return error.RowsMissing;
        }
        report(case.name, if (case.source == .log) 2 * rows else rows, best);
    }
    for ([_]u64{ rows, rows / 100 }) |some| {
        var bench: Bench = undefined;
        try bench.init(gpa, some);
        defer bench.deinit();
        try bench.write(cases[0]);
        var count: u64 = 0;
        _ = try bench.open(&count);
        var best: Time = .{};
        for (0..20) |_| best = .best(best, try bench.open(&count));
        if (count != some) return error.RowsMissing;
        report("attach to a region", some, best);
    }
}

test "bench_recovery: runs at a small size" {
    try run(std.testing.allocator, 300);
}
