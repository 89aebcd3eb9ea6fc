//! The engine on a region in private memory, one process.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const filter = @import("filter.zig");
const integrity = @import("integrity.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const recovery = @import("recovery.zig");
const ring = @import("commit_ring.zig");
const row_count = @import("row_count.zig");
const row_module = @import("row.zig");
const session_module = @import("session.zig");
const statement = @import("statement.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const vacuum = @import("vacuum.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const TableInfo = table_info.TableInfo;
const testing = std.testing;

/// A region in private memory, and a table of an int64 key, a text and a number.
pub const Bench = struct {
    memory: []align(4096) u8,
    region: Region,
    table: TableInfo,

    pub fn init(bench: *Bench, size: u64) !void {
        const config: region_module.Config = .forSize(size);
        const size_max = config.size_max;
        bench.memory = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), size_max);
        @memset(bench.memory, 0);
        try region_module.format(bench.memory.ptr, config, .{});
        bench.region = .init(bench.memory.ptr);
        bench.table = try .init(0, "t", &.{
            .init("id", .int64, 0, .{ .primary = true }),
            .init("n", .int64, 0, .{ .nullable = true }),
            .init("s", .text, 100, .{ .nullable = true }),
        });
    }

    pub fn deinit(bench: *Bench) void {
        testing.allocator.free(bench.memory);
    }

    pub fn session(bench: *Bench) !*Session {
        return .open(&bench.region, testing.allocator, session_module.processClaim(0, 1));
    }

    pub fn key(bench: *Bench, cell: *const [8]u8) pk_map.Key {
        return .of(@intCast(bench.table.id), cell);
    }

    pub fn run(
        bench: *Bench,
        on: *Session,
        operation: transaction.Operation,
        id: i64,
        n: i64,
    ) !transaction.Outcome {
        var buffer: [256]u8 align(8) = undefined;
        var builder: row_module.Builder = .init(&bench.table, &buffer);
        builder.setInt64(0, id);
        builder.setInt64(1, n);
        if (@mod(n, 3) == 0) try builder.setText(2, "some text that is longer than inline");
        const image = builder.finish();
        const cell: [8]u8 = @bitCast(id);
        const one: transaction.Write = .{
            .table = &bench.table,
            .operation = operation,
            .key = bench.key(&cell),
            .image = image,
            .mask = 0b10,
            .expressions = &.{.{
                .column = 1,
                .operation = .increment,
                .operand = @bitCast(n),
            }},
        };
        return (try statement.write(on, &one)).outcome;
    }

    pub fn get(bench: *Bench, on: *Session, id: i64) !?i64 {
        const cell: [8]u8 = @bitCast(id);
        on.pin();
        defer on.unpin();
        const found = try reader.find(&bench.region, &bench.table, bench.key(&cell), .latest);
        const row = found orelse return null;
        return row.int64(bench.table.columns[1].offset);
    }

    pub fn settle(bench: *Bench, on: *Session) void {
        for (0..3) |_| {
            on.pin();
            _ = ring.advance(&bench.region, 1 << 30);
            on.unpin();
            vacuum.burnPosition(&bench.region);
            on.pin();
            _ = ring.advance(&bench.region, 1 << 30);
            on.unpin();
            vacuum.advanceHorizon(&bench.region);
            on.pin();
            _ = vacuum.drain(on, 1 << 30);
            on.unpin();
        }
    }

    pub fn expectSound(bench: *Bench, on: *Session) !void {
        _ = bench;
        var report = try integrity.verify(on, testing.allocator);
        defer report.deinit(testing.allocator);
        for (report.problems.items) |line| std.debug.print("problem: {s}\n", .{line});
        try testing.expect(report.quiescent);
        try testing.expect(report.isOk());
    }
};

test "statements: insert, upsert, update, apply, delete, and their refusals" {
    var bench: Bench = undefined;
    try bench.init(16 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    try testing.expectEqual(.done, try bench.run(s, .insert, 1, 10));
    try testing.expectEqual(.duplicate_key, try bench.run(s, .insert, 1, 11));
    try testing.expectEqual(10, (try bench.get(s, 1)).?);
    try testing.expectEqual(.done, try bench.run(s, .update, 1, 12));
    try testing.expectEqual(12, (try bench.get(s, 1)).?);
    try testing.expectEqual(.done, try bench.run(s, .apply, 1, 5));
    try testing.expectEqual(17, (try bench.get(s, 1)).?);
    try testing.expectEqual(.not_found, try bench.run(s, .update, 2, 1));
    try testing.expectEqual(.done, try bench.run(s, .upsert, 2, 3));
    try testing.expectEqual(2, row_count.total(&bench.region, 0));
    try testing.expectEqual(.done, try bench.run(s, .delete, 1, 0));
    try testing.expectEqual(.not_found, try bench.run(s, .delete, 1, 0));
    try testing.expectEqual(null, try bench.get(s, 1));
    try testing.expectEqual(1, row_count.total(&bench.region, 0));
    try testing.expectEqual(.done, try bench.run(s, .insert, 1, 30));
    try bench.expectSound(s);
    bench.settle(s);
    try testing.expectEqual(30, (try bench.get(s, 1)).?);
    try bench.expectSound(s);
    try testing.expect(s.log.isEmpty());
}

test "hints: whatever stands in the buckets, rows are what they are" {
    var bench: Bench = undefined;
    try bench.init(16 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    var random: std.Random.DefaultPrng = .init(1);
    const last = bench.region.slabs_first + bench.region.slab_count * limits.slab_granules;
    for (0..4) |round| {
        for (0..200) |id| {
            for (bench.region.buckets[0 .. bench.region.bucket_mask + 1]) |*bucket| {
                const any = random.random().int(u32);
                const numbers = [_]u32{ 0, 1, last - 1, last, std.math.maxInt(u32), any };
                bucket.hint.store(numbers[(any >> 3) % numbers.len], .monotonic);
            }
            const n: i64 = @intCast(round * 1000 + id);
            try testing.expectEqual(.done, try bench.run(s, .upsert, @intCast(id), n));
            try testing.expectEqual(n, (try bench.get(s, @intCast(id))).?);
            if (id % 3 != round) continue;
            try testing.expectEqual(.done, try bench.run(s, .delete, @intCast(id), 0));
            try testing.expectEqual(null, try bench.get(s, @intCast(id)));
        }
        bench.settle(s);
        try bench.expectSound(s);
    }
}

test "churn: a small region takes endless updates, deletes and inserts" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    var model: [500]?i64 = @splat(null);
    var random: std.Random.DefaultPrng = .init(1);
    for (0..200_000) |step| {
        const id = random.random().uintLessThan(u32, model.len);
        const n: i64 = @intCast(step);
        switch (random.random().uintLessThan(u32, 4)) {
            0 => {
                const is_new = model[id] == null;
                const expected: transaction.Outcome = if (is_new) .done else .duplicate_key;
                try testing.expectEqual(expected, try bench.run(s, .insert, id, n));
                if (model[id] == null) model[id] = n;
            },
            1 => {
                const expected: transaction.Outcome = if (model[id] == null) .not_found else .done;
                try testing.expectEqual(expected, try bench.run(s, .delete, id, n));
                model[id] = null;
            },
            2 => {
                _ = try bench.run(s, .upsert, id, n);
                model[id] = n;
            },
            else => if (model[id] != null) {
                try testing.expectEqual(.done, try bench.run(s, .update, id, n));
                model[id] = n;
            },
        }
        if (step % 64 == 0) {
            const probe = random.random().uintLessThan(u32, model.len);
            try testing.expectEqual(model[probe], try bench.get(s, probe));
        }
    }
    var rows: u64 = 0;
    for (model) |value| rows += @intFromBool(value != null);
    try testing.expectEqual(rows, row_count.total(&bench.region, 0));
    var scan: reader.Scan = .init(&bench.region, &bench.table, .{
        .snapshot = reader.snapshotNow(&bench.region),
    });
    var scanned: u64 = 0;
    s.pin();
    while (try scan.next()) |row| {
        scanned += 1;
        const id: usize = @intCast(row.int64(bench.table.columns[0].offset));
        try testing.expectEqual(model[id].?, row.int64(bench.table.columns[1].offset));
    }
    s.unpin();
    try testing.expectEqual(rows, scanned);
    try expectPassing(&bench, s, &model);
    try bench.expectSound(s);
    bench.settle(s);
    try bench.expectSound(s);
    try testing.expect(s.log.isEmpty());
}

/// A scan that tests rows itself gives those that pass, and looks at no more than it may.
fn expectPassing(bench: *Bench, s: *Session, model: []const ?i64) !void {
    const column = &bench.table.columns[1];
    // Some 500 steps before the end: of about half of the rows.
    const least = 199_500;
    const at_least: filter.Predicate = .{
        .op = .int64_range,
        .null_passes = false,
        .is_inline = false,
        .offset = column.offset,
        .capacity = 0,
        .null_bit = 0,
        .low = least,
        .high = std.math.maxInt(i64) - least,
    };
    var expected: u64 = 0;
    for (model) |value| expected += @intFromBool(value != null and value.? >= least);
    s.pin();
    defer s.unpin();
    var scan: reader.Scan = .init(&bench.region, &bench.table, .{
        .snapshot = reader.snapshotNow(&bench.region),
    });
    var passing: u64 = 0;
    var examined: u64 = 0;
    while (true) {
        var budget: u64 = 3;
        const found = try scan.nextPassing(&at_least, &budget);
        examined += 3 - budget;
        const row = found orelse if (budget == 0) continue else break;
        try testing.expect(row.int64(column.offset) >= least);
        passing += 1;
    }
    try testing.expectEqual(expected, passing);
    try testing.expectEqual(row_count.total(&bench.region, 0), examined);
    for ([_]u64{ 3, 1000, std.math.maxInt(u64) }) |budget_each| {
        try expectCount(bench, at_least, expected, budget_each);
    }
}

/// A scan that counts finds as many, however the work is cut up.
fn expectCount(bench: *Bench, passes: filter.Predicate, expected: u64, budget_each: u64) !void {
    const view: reader.View = .{ .snapshot = reader.snapshotNow(&bench.region) };
    for ([_][]const filter.Predicate{ &.{passes}, &.{ passes, passes, passes } }) |predicates| {
        var scan: reader.Scan = .init(&bench.region, &bench.table, view);
        var counted: u64 = 0;
        var examined: u64 = 0;
        while (true) {
            var budget = budget_each;
            counted += try scan.countPassing(predicates, &budget);
            examined += budget_each - budget;
            if (budget > 0) break;
        }
        try testing.expectEqual(expected, counted);
        try testing.expectEqual(row_count.total(&bench.region, 0), examined);
    }
}

test "region_full: nothing half done, and what is deleted comes back" {
    var bench: Bench = undefined;
    try bench.init(3 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    var id: i64 = 0;
    while (true) : (id += 1) {
        const outcome = bench.run(s, .upsert, id, id) catch |err| {
            try testing.expectEqual(error.RegionFull, err);
            break;
        };
        try testing.expectEqual(.done, outcome);
    }
    try testing.expect(id > 1000);
    try testing.expectEqual(@as(u64, @intCast(id)), row_count.total(&bench.region, 0));
    try bench.expectSound(s);
    for (0..@intCast(id)) |gone| _ = try bench.run(s, .delete, @intCast(gone), 0);
    bench.settle(s);
    try bench.expectSound(s);
    try testing.expectEqual(.done, try bench.run(s, .upsert, id, 1));
}

test "recoverSlot: a transaction that was never decided leaves nothing" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const s = try bench.session();
    _ = try bench.run(s, .upsert, 1, 1);
    const dead = try bench.session();
    var installer: transaction.Installer = .begin(dead, .installing);
    var buffer: [256]u8 align(8) = undefined;
    for ([_]i64{ 1, 2 }) |id| {
        var builder: row_module.Builder = .init(&bench.table, &buffer);
        builder.setInt64(0, id);
        builder.setInt64(1, 99);
        const cell: [8]u8 = @bitCast(id);
        const one: transaction.Write = .{
            .table = &bench.table,
            .operation = .upsert,
            .key = bench.key(&cell),
            .image = builder.finish(),
        };
        try testing.expectEqual(.done, try installer.install(&one));
    }
    recovery.recoverSlot(&bench.region, dead.slot_index);
    try testing.expectEqual(1, (try bench.get(s, 1)).?);
    try testing.expectEqual(null, try bench.get(s, 2));
    const again = try bench.session();
    try testing.expectEqual(dead.slot_index, again.slot_index);
    bench.settle(again);
    try bench.expectSound(s);
    again.close();
    // What the dead process had in private memory went with it.
    for (dead.allocator.pools.items) |pool| {
        for (pool.slabs.items) |owned| testing.allocator.free(owned.free);
        pool.slabs.deinit(testing.allocator);
        testing.allocator.destroy(pool);
    }
    dead.allocator.pools.deinit(testing.allocator);
    testing.allocator.destroy(dead);
    s.close();
}

const open_transaction = @import("open_transaction.zig");
const OpenTransaction = open_transaction.OpenTransaction;

/// Reads a row's number, and writes it, through an open transaction.
const Steps = struct {
    bench: *Bench,
    transaction: *OpenTransaction,

    fn begin(bench: *Bench, options: open_transaction.Options) !Steps {
        const session = try bench.session();
        return .{ .bench = bench, .transaction = try .begin(session, testing.allocator, options) };
    }

    fn end(steps: Steps) void {
        const session = steps.transaction.session;
        steps.transaction.destroy();
        session.close();
    }

    fn get(steps: Steps, id: i64) !?i64 {
        const cell: [8]u8 = @bitCast(id);
        try steps.transaction.enter();
        defer steps.transaction.leave();
        const table = &steps.bench.table;
        const row = try steps.transaction.get(table, steps.bench.key(&cell)) orelse return null;
        return row.int64(table.columns[1].offset);
    }

    fn put(steps: Steps, operation: transaction.Operation, id: i64, n: i64) !transaction.Outcome {
        var buffer: [256]u8 align(8) = undefined;
        var builder: row_module.Builder = .init(&steps.bench.table, &buffer);
        builder.setInt64(0, id);
        builder.setInt64(1, n);
        const cell: [8]u8 = @bitCast(id);
        try steps.transaction.enter();
        defer steps.transaction.leave();
        return steps.transaction.write(&.{
            .table = &steps.bench.table,
            .operation = operation,
            .key = steps.bench.key(&cell),
            .image = builder.finish(),
            .mask = 0b10,
        });
    }

    fn commits(steps: Steps) !bool {
        return try steps.transaction.commit() == .committed;
    }
};

test "OpenTransaction: sees its own writes and a fixed snapshot" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    _ = try bench.run(s, .upsert, 1, 1);
    const steps: Steps = try .begin(&bench, .{});
    defer steps.end();
    try testing.expectEqual(1, (try steps.get(1)).?);
    _ = try bench.run(s, .upsert, 2, 2);
    try testing.expectEqual(null, try steps.get(2));
    try testing.expectEqual(.done, try steps.put(.update, 1, 11));
    try testing.expectEqual(11, (try steps.get(1)).?);
    try testing.expectEqual(1, (try bench.get(s, 1)).?);
    const place = steps.transaction.buffer.savepoint();
    try testing.expectEqual(.done, try steps.put(.delete, 1, 0));
    try testing.expectEqual(null, try steps.get(1));
    try testing.expectEqual(.done, try steps.put(.insert, 3, 3));
    steps.transaction.buffer.rollbackTo(place);
    try testing.expectEqual(11, (try steps.get(1)).?);
    try testing.expectEqual(null, try steps.get(3));
    try testing.expectEqual(.not_found, try steps.put(.update, 9, 0));
    // Row 2 was read as absent and exists now.
    try testing.expect(!try steps.commits());
}

test "OpenTransaction: an exclusive one opens the gate again, committed or not" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    const gate_word = &bench.region.control.shared.gate;
    for ([_]bool{ true, false }) |commits| {
        const steps: Steps = try .begin(&bench, .{ .exclusive = true });
        try testing.expect(gate_word.load(.monotonic) != 0);
        try testing.expectEqual(.done, try steps.put(.upsert, 1, 11));
        if (commits) try testing.expect(try steps.commits());
        steps.end();
        try testing.expectEqual(0, gate_word.load(.monotonic));
    }
    try testing.expectEqual(.done, try bench.run(s, .upsert, 1, 12));
}

test "OpenTransaction: each operation shows that the holder of the gate is alive, views or not" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const steps: Steps = try .begin(&bench, .{ .exclusive = true });
    defer steps.end();
    const progress = &steps.transaction.session.slot.progress;
    for ([_]bool{ false, true }) |has_views| {
        const before = progress.load(.monotonic);
        _ = try steps.get(1);
        try testing.expect(progress.load(.monotonic) != before);
        steps.transaction.has_views = has_views;
    }
}

test "OpenTransaction: a scan sees the buffer as it was when it began" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    for (0..6) |id| _ = try bench.run(s, .upsert, @intCast(id), 1);
    const steps: Steps = try .begin(&bench, .{});
    defer steps.end();
    try testing.expectEqual(.done, try steps.put(.update, 0, 10));
    try testing.expectEqual(.done, try steps.put(.delete, 1, 0));
    try testing.expectEqual(.done, try steps.put(.insert, 6, 16));
    const wanted = [_]?i64{ 10, null, 1, 1, 1, 1, 16 };
    var seen: [8]?i64 = @splat(null);
    var scan = steps.transaction.scan(&bench.table, null);
    var at: i64 = 0;
    while (true) : (at += 1) {
        try steps.transaction.enter();
        const row = (try scan.next()) orelse break;
        const id: usize = @intCast(row.int64(bench.table.columns[0].offset));
        try testing.expectEqual(null, seen[id]);
        seen[id] = row.int64(bench.table.columns[1].offset);
        steps.transaction.leave();
        // Rows that have come and rows that will, its own and others.
        if (at > 0) continue;
        for (0..7) |other| {
            _ = try steps.put(if (other % 2 == 0) .upsert else .remove, @intCast(other), 99);
        }
        try testing.expectEqual(.done, try steps.put(.insert, 7, 99));
    }
    steps.transaction.leave();
    try testing.expectEqualSlices(?i64, &wanted, seen[0..7]);
    try testing.expectEqual(null, seen[7]);
}

test "OpenTransaction: lost updates and write skew do not commit" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    for ([_]i64{ 1, 2 }) |id| _ = try bench.run(s, .upsert, id, 0);
    inline for (.{ .{ 1, 1, 1, 1, false }, .{ 1, 2, 2, 1, false }, .{ 1, 1, 2, 2, true } }) |case| {
        const a: Steps = try .begin(&bench, .{});
        defer a.end();
        const b: Steps = try .begin(&bench, .{});
        defer b.end();
        _ = try a.get(case[0]);
        _ = try b.get(case[2]);
        try testing.expectEqual(.done, try a.put(.update, case[1], 5));
        try testing.expectEqual(.done, try b.put(.update, case[3], 6));
        try testing.expect(try a.commits());
        try testing.expectEqual(case[4], try b.commits());
    }
    bench.settle(s);
    try bench.expectSound(s);
}

test "OpenTransaction: inserts, updates and deletes in one commit, and a scan over them" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    for (0..100) |id| _ = try bench.run(s, .upsert, @intCast(id), 1);
    const steps: Steps = try .begin(&bench, .{});
    for (0..50) |id| try testing.expectEqual(.done, try steps.put(.delete, @intCast(id), 0));
    for (100..120) |id| try testing.expectEqual(.done, try steps.put(.insert, @intCast(id), 7));
    var rows: u64 = 0;
    try steps.transaction.enter();
    var scan = steps.transaction.scan(&bench.table, null);
    while (try scan.next()) |_| rows += 1;
    steps.transaction.leave();
    try testing.expectEqual(70, rows);
    try testing.expectEqual(100, row_count.total(&bench.region, 0));
    try testing.expect(try steps.commits());
    steps.end();
    try testing.expectEqual(70, row_count.total(&bench.region, 0));
    bench.settle(s);
    try bench.expectSound(s);
}
