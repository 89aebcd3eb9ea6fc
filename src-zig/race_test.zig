//! Several threads on one region, each with a session of its own, as processes would have one.
//!
//! At full speed they meet where the simulator puts them, and under ThreadSanitizer
//! (`zig build test -Dtsan`) an order that is too weak, or plain memory that two of them touch at
//! once, is reported even where x86-64 forgives it. Every row carries its number twice, so that a
//! torn one is noticed.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const open_transaction = @import("open_transaction.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const ring = @import("commit_ring.zig");
const row_module = @import("row.zig");
const table_indexes = @import("table_indexes.zig");
const index_count = @import("index_count.zig");
const index_key = @import("index_key.zig");
const index_scan = @import("index_scan.zig");
const transaction = @import("transaction.zig");
const vacuum = @import("vacuum.zig");
const Bench = @import("core_test.zig").Bench;
const OpenTransaction = open_transaction.OpenTransaction;
const RowRef = row_module.RowRef;
const Session = @import("session.zig").Session;
const testing = std.testing;

const keys = 8;
/// Rows that are written less often, so that the index has blocks that rest for a while.
const quiet_keys = 1500;
const rounds = if (builtin.sanitize_thread) 2000 else 2000;

/// What the threads share.
const Race = struct {
    bench: Bench,
    indexes: table_indexes.TableIndexes,
    stopping: sync.Shm(u32) = .init(0),
    torn: sync.Shm(u32) = .init(0),
    miscounted: sync.Shm(u32) = .init(0),

    fn init(race: *Race) !void {
        race.* = .{ .bench = undefined, .indexes = undefined };
        try race.bench.init(16 << 20);
        const region = &race.bench.region;
        _ = try table_indexes.add(region, 0, .{
            .keys = .of(&race.bench.table, &.{1}),
            .unique = false,
            .phase = .ready,
        });
        race.indexes = .init(region, &race.bench.table);
        race.bench.table.indexes = &race.indexes;
    }

    fn look(race: *Race, row: RowRef) void {
        const columns = &race.bench.table.columns;
        const number = row.int64(columns[1].offset);
        const has_text = row.null_mask >> 2 & 1 == 0;
        if (has_text != (@mod(number, 3) == 0)) _ = race.torn.fetchAdd(1, .monotonic);
    }

    fn count(
        race: *Race,
        session: *Session,
        index: *const table_indexes.Index,
        view: reader.View,
        access: index_scan.Access,
    ) !u64 {
        const table = &race.bench.table;
        var scan: index_scan.Scan = .init(&race.bench.region, table, index, view, access);
        var counter: index_count.Counter = undefined;
        counter.prepare(&scan, session.slot_index);
        return counter.run(std.math.maxInt(u64), std.math.maxInt(u64));
    }
};

fn write(race: *Race, seed: u64) !void {
    const session = try race.bench.session();
    defer session.close();
    var random: std.Random.SplitMix64 = .init(seed);
    for (0..rounds) |_| {
        const draw = random.next();
        const is_quiet = draw >> 40 & 3 == 0;
        const key: i64 = @intCast(if (is_quiet) keys + draw % quiet_keys else draw % keys);
        const number: i64 = @intCast(draw >> 8 & 0x3ff);
        const operation: transaction.Operation = switch (draw >> 32 & 7) {
            0 => .delete,
            1 => .insert,
            else => .upsert,
        };
        _ = try race.bench.run(session, operation, key, number);
    }
}

/// Reads two rows and writes one of them anew, in transactions of several statements.
fn transact(race: *Race) !void {
    const session = try race.bench.session();
    defer session.close();
    for (0..rounds / 2) |round| {
        const open: *OpenTransaction = try .begin(session, testing.allocator, .{
            .exclusive = round % 64 == 0,
        });
        defer open.destroy();
        var sum: i64 = 0;
        for (0..2) |i| {
            const cell: [8]u8 = @bitCast((round + i) % keys);
            try open.enter();
            defer open.leave();
            const row = try open.get(&race.bench.table, race.bench.key(&cell)) orelse continue;
            race.look(row);
            sum += row.int64(race.bench.table.columns[1].offset);
        }
        try put(race, open, @intCast(round % keys), @mod(sum, 255));
        _ = try open.commit();
    }
}

fn put(race: *Race, open: *OpenTransaction, key: i64, number: i64) !void {
    var buffer: [256]u8 align(8) = undefined;
    var builder: row_module.Builder = .init(&race.bench.table, &buffer);
    builder.setInt64(0, key);
    builder.setInt64(1, number);
    if (@mod(number, 3) == 0) try builder.setText(2, "some text that is longer than inline");
    const cell: [8]u8 = @bitCast(key);
    try open.enter();
    defer open.leave();
    _ = try open.write(&.{
        .table = &race.bench.table,
        .operation = .upsert,
        .key = race.bench.key(&cell),
        .image = builder.finish(),
    });
}

/// Reads until the writers have ended: single rows, all rows, and all rows by the index.
fn read(race: *Race) !void {
    const session = try race.bench.session();
    defer session.close();
    const region = &race.bench.region;
    var round: u64 = 0;
    while (race.stopping.load(.acquire) == 0) : (round += 1) {
        session.pin();
        defer session.unpin();
        const cell: [8]u8 = @bitCast(round % keys);
        const key = race.bench.key(&cell);
        if (try reader.find(region, &race.bench.table, key, .latest)) |row| race.look(row);
        const view: reader.View = .{ .snapshot = reader.snapshotNow(region) };
        var rows: reader.Scan = .init(region, &race.bench.table, view);
        var seen: u64 = 0;
        while (try rows.next()) |row| : (seen += 1) race.look(row);
        var counted_rows: reader.Scan = .init(region, &race.bench.table, view);
        var budget: u64 = std.math.maxInt(u64);
        const counted_all = try counted_rows.countPassing(&.{}, &budget);
        if (counted_all != seen) _ = race.miscounted.fetchAdd(1, .monotonic);
        const index = &race.indexes.current()[0];
        const low: i64 = @intCast(round * 7 % 1024);
        for ([_]index_scan.Access{ .{}, try accessFrom(index, low) }) |access| {
            var found: index_scan.Scan = .init(region, &race.bench.table, index, view, access);
            var rows_found: u64 = 0;
            while (try found.next()) |row| : (rows_found += 1) race.look(row);
            const counted = try race.count(session, index, view, access);
            if (counted != rows_found) _ = race.miscounted.fetchAdd(1, .monotonic);
        }
    }
}

/// The entries from a number on.
fn accessFrom(index: *const table_indexes.Index, number: i64) !index_scan.Access {
    const end: index_key.Bound.End = .{ .is_low = true, .inclusive = true };
    var columns: u8 = 0;
    const cell: [8]u8 = @bitCast(number);
    var access: index_scan.Access = .{};
    if (!access.low.decode(&index.keys, &cell, end, &columns)) return error.BadArgument;
    access.high.setBeforeNulls(&access.low, &index.keys, columns);
    return access;
}

fn maintain(race: *Race) !void {
    const session = try race.bench.session();
    defer session.close();
    const region = &race.bench.region;
    while (race.stopping.load(.acquire) == 0) {
        session.pin();
        _ = ring.advance(region, 64);
        session.unpin();
        vacuum.advanceHorizon(region);
        _ = vacuum.drainOrphans(region, testing.allocator, session.slot.claim.raw);
        sync.yield();
    }
}

const Worker = struct {
    fn run(race: *Race, failed: *sync.Shm(u32), comptime work: anytype, args: anytype) void {
        @call(.auto, work, .{race} ++ args) catch |err| {
            std.debug.print("a thread fails with {t}\n", .{err});
            failed.store(1, .release);
        };
    }
};

test "threads: writers, transactions, readers and vacuum on the same rows of an index" {
    var race: Race = undefined;
    try race.init();
    defer race.bench.deinit();
    var failed: sync.Shm(u32) = .init(0);
    var finite: [3]std.Thread = undefined;
    finite[0] = try .spawn(.{}, Worker.run, .{ &race, &failed, write, .{1} });
    finite[1] = try .spawn(.{}, Worker.run, .{ &race, &failed, write, .{2} });
    finite[2] = try .spawn(.{}, Worker.run, .{ &race, &failed, transact, .{} });
    var endless: [3]std.Thread = undefined;
    endless[0] = try .spawn(.{}, Worker.run, .{ &race, &failed, read, .{} });
    endless[2] = try .spawn(.{}, Worker.run, .{ &race, &failed, read, .{} });
    endless[1] = try .spawn(.{}, Worker.run, .{ &race, &failed, maintain, .{} });
    for (finite) |thread| thread.join();
    race.stopping.store(1, .release);
    for (endless) |thread| thread.join();

    try testing.expectEqual(0, failed.load(.acquire));
    try testing.expectEqual(0, race.torn.load(.acquire));
    try testing.expectEqual(0, race.miscounted.load(.acquire));
    const session = try race.bench.session();
    defer session.close();
    for (0..4) |_| {
        race.bench.settle(session);
        _ = vacuum.drainOrphans(&race.bench.region, testing.allocator, session.slot.claim.raw);
    }
    try race.bench.expectSound(session);
}
