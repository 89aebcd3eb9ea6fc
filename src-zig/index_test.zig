//! Secondary indexes on a region in private memory: against a model, under churn, and after kills.

const std = @import("std");
const index_ahead = @import("index_ahead.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_count = @import("index_count.zig");
const index_key = @import("index_key.zig");
const index_scan = @import("index_scan.zig");
const ordered_index = @import("ordered_index.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const recovery = @import("recovery.zig");
const row_module = @import("row.zig");
const statement = @import("statement.zig");
const table_indexes = @import("table_indexes.zig");
const transaction = @import("transaction.zig");
const Bench = @import("core_test.zig").Bench;
const OrderedIndex = ordered_index.OrderedIndex;
const Session = @import("session.zig").Session;
const testing = std.testing;

/// A region whose table has an index on n, one on s, and one on both.
pub const Indexed = struct {
    bench: Bench,
    indexes: table_indexes.TableIndexes,
    session: *Session,

    pub fn init(self: *Indexed, size: u64, unique: bool) !void {
        try self.bench.init(size);
        const table = &self.bench.table;
        inline for (.{ &[_]u8{1}, &[_]u8{2}, &[_]u8{ 2, 1 } }, 0..) |numbers, i| {
            _ = try table_indexes.add(&self.bench.region, 0, .{
                .keys = .of(table, numbers),
                .unique = unique and i == 0,
                .phase = .ready,
            });
        }
        self.indexes = .init(&self.bench.region, table);
        table.indexes = &self.indexes;
        self.session = try self.bench.session();
    }

    pub fn deinit(self: *Indexed) void {
        self.session.close();
        self.bench.deinit();
    }

    pub fn put(
        self: *Indexed,
        operation: transaction.Operation,
        id: i64,
        n: ?i64,
        s: ?[]const u8,
    ) !transaction.Outcome {
        var line: Line = undefined;
        try line.init(self, operation, id, n, s);
        return (try statement.write(self.session, &line.write)).outcome;
    }

    pub fn scan(self: *Indexed, number: u32, access: index_scan.Access) index_scan.Scan {
        const view: reader.View = .{ .snapshot = reader.snapshotNow(&self.bench.region) };
        const index = self.indexes.byNumber(number).?;
        return .init(&self.bench.region, &self.bench.table, index, view, access);
    }
};

/// A write, with the memory that it refers to.
pub const Line = struct {
    write: transaction.Write,
    cell: [8]u8,
    buffer: [256]u8 align(8),

    pub fn init(
        line: *Line,
        indexed: *Indexed,
        operation: transaction.Operation,
        id: i64,
        n: ?i64,
        s: ?[]const u8,
    ) !void {
        const table = &indexed.bench.table;
        var builder: row_module.Builder = .init(table, &line.buffer);
        builder.setInt64(0, id);
        if (n) |value| builder.setInt64(1, value);
        if (s) |value| try builder.setText(2, value);
        line.cell = @bitCast(id);
        line.write = .{
            .table = table,
            .operation = operation,
            .key = .of(0, &line.cell),
            .image = builder.finish(),
            .mask = if (operation == .update) 0b110 else 0,
        };
    }
};

/// What a row should be.
pub const Model = struct { n: ?i64, s: ?[]const u8 };
pub const words = [_]?[]const u8{ "", "a", "ab", "abc", "b", null, "zz" };

/// Every row once, in the order of the index, in both directions.
pub fn expectScans(indexed: *Indexed, model: []const ?Model) !void {
    var rows: u64 = 0;
    for (model) |row| rows += @intFromBool(row != null);
    indexed.session.pin();
    defer indexed.session.unpin();
    for (0..3) |number| {
        for ([_]bool{ false, true }) |descending| {
            var scan = indexed.scan(@intCast(number), .{ .descending = descending });
            var seen: u64 = 0;
            var before: ?index_key.Key = null;
            while (try scan.next()) |row| {
                seen += 1;
                const id: usize = @intCast(row.int64(indexed.bench.table.columns[0].offset));
                const expected = model[id].?;
                if (expected.n) |n| {
                    try testing.expectEqual(n, row.int64(indexed.bench.table.columns[1].offset));
                } else try testing.expect(row.isNull(1));
                var key: index_key.Key = undefined;
                key.encode(&scan.keys, row);
                if (before) |last| {
                    const columns = std.mem.order(
                        u8,
                        last.bytes[0..last.columns_size],
                        key.bytes[0..key.columns_size],
                    );
                    const expects: std.math.Order = if (descending) .gt else .lt;
                    if (columns == .eq) {
                        const order = std.mem.order(u8, last.slice(), key.slice());
                        try testing.expectEqual(.lt, order);
                    } else try testing.expectEqual(expects, columns);
                }
                before = key;
            }
            try testing.expectEqual(rows, seen);
        }
    }
}

test "indexes: the model's rows in order, both ways, through churn" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, false);
    defer indexed.deinit();
    var model: [700]?Model = @splat(null);
    var random: std.Random.DefaultPrng = .init(1);
    for (0..30_000) |step| {
        const id = random.random().uintLessThan(u32, model.len);
        const n: ?i64 = if (step % 11 == 0) null else random.random().intRangeAtMost(i64, -20, 20);
        const s = words[random.random().uintLessThan(usize, words.len)];
        if (step % 5 == 0) {
            const outcome = try indexed.put(.delete, id, null, null);
            const expected: transaction.Outcome = if (model[id] == null) .not_found else .done;
            try testing.expectEqual(expected, outcome);
            model[id] = null;
        } else {
            try testing.expectEqual(.done, try indexed.put(.upsert, id, n, s));
            model[id] = .{ .n = n, .s = s };
        }
        if (step % 10_000 == 0) {
            try expectScans(&indexed, &model);
            try indexed.bench.expectSound(indexed.session);
        }
    }
    try expectScans(&indexed, &model);
    indexed.bench.settle(indexed.session);
    indexed.bench.settle(indexed.session);
    try testing.expect(indexed.session.log.isEmpty());
    try expectScans(&indexed, &model);
    try indexed.bench.expectSound(indexed.session);
    var groups: std.AutoHashMap(?i64, void) = .init(testing.allocator);
    defer groups.deinit();
    for (model) |row| if (row) |it| try groups.put(it.n, {});
    const index = indexed.indexes.byNumber(0).?;
    try testing.expectEqual(groups.count(), index.distinct(&indexed.bench.region));
}

const CountCase = struct { low: ?i64, high: ?i64 };

/// A scan of an interval by the index on n.
fn scanOf(indexed: *Indexed, case: CountCase, descending: bool) !index_scan.Scan {
    var scan = indexed.scan(0, .{ .descending = descending });
    const access = &scan.access;
    var columns: u8 = 0;
    if (case.low) |low| {
        const cell: [8]u8 = @bitCast(low);
        const end: index_key.Bound.End = .{ .is_low = true, .inclusive = true };
        try testing.expect(access.low.decode(&scan.keys, &cell, end, &columns));
        access.high.setBeforeNulls(&access.low, &scan.keys, columns);
    }
    if (case.high) |high| {
        const cell: [8]u8 = @bitCast(high);
        const end: index_key.Bound.End = .{ .is_low = false, .inclusive = false };
        try testing.expect(access.high.decode(&scan.keys, &cell, end, &columns));
    }
    return scan;
}

/// Whether a scan gives the rows of an interval, in its order.
fn expectScanOf(indexed: *Indexed, case: CountCase, descending: bool, expected: u64) !void {
    var scan = try scanOf(indexed, case, descending);
    var found: u64 = 0;
    var last: ?i64 = null;
    while (try scan.next()) |row| : (found += 1) {
        // Nulls stand behind all numbers, and only an interval without ends has them.
        const n = if (row.isNull(1))
            std.math.maxInt(i64)
        else
            row.int64(indexed.bench.table.columns[1].offset);
        if (case.low) |low| try testing.expect(n >= low);
        if (case.high) |high| try testing.expect(n < high);
        if (last) |before| try testing.expect(if (descending) n <= before else n >= before);
        last = n;
    }
    try testing.expectEqual(expected, found);
}

/// Counts by the index on n, in pieces if `examine_max` is small. Adds to `looked` how many entries
/// it had to look at.
fn countOf(indexed: *Indexed, case: CountCase, examine_max: u64, looked: *u64) !u64 {
    var scan = try scanOf(indexed, case, false);
    var counter: index_count.Counter = undefined;
    counter.prepare(&scan, indexed.session.slot_index);
    var found: u64 = 0;
    while (!counter.isDone()) found += try counter.run(std.math.maxInt(u64), examine_max);
    looked.* += counter.looked;
    return found;
}

fn expectCount(indexed: *Indexed, model: []const ?Model, case: CountCase, looked: *u64) !void {
    var expected: u64 = 0;
    for (model) |row| {
        const it = row orelse continue;
        const n = it.n orelse {
            expected += @intFromBool(case.low == null and case.high == null);
            continue;
        };
        if (case.low) |low| if (n < low) continue;
        if (case.high) |high| if (n >= high) continue;
        expected += 1;
    }
    indexed.session.pin();
    defer indexed.session.unpin();
    for ([_]u64{ std.math.maxInt(u64), 1 }) |examine_max| {
        const found = try countOf(indexed, case, examine_max, looked);
        try testing.expectEqual(expected, found);
    }
    for ([_]bool{ false, true }) |descending| {
        try expectScanOf(indexed, case, descending, expected);
    }
}

test "Counter and Scan: the model's rows of intervals, whatever is summed up already" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, false);
    defer indexed.deinit();
    var model: [3000]?Model = @splat(null);
    var prng: std.Random.DefaultPrng = .init(3);
    const random = prng.random();
    for (0..20_000) |step| {
        const id = random.uintLessThan(u32, model.len);
        // Some numbers fill several blocks, others none.
        const spread: i64 = if (step % 3 == 0) 5 else 4000;
        const n: ?i64 = if (step % 17 == 0) null else random.intRangeAtMost(i64, -spread, spread);
        if (step % 4 == 0) {
            _ = try indexed.put(.delete, id, null, null);
            model[id] = null;
        } else {
            try testing.expectEqual(.done, try indexed.put(.upsert, id, n, "s"));
            model[id] = .{ .n = n, .s = "s" };
        }
        if (step % 200 != 0) continue;
        if (step % 400 == 0) indexed.bench.settle(indexed.session);
        var looked: u64 = 0;
        const low = random.intRangeAtMost(i64, -4100, 4100);
        const high = low + random.intRangeAtMost(i64, 0, 3000);
        try expectCount(&indexed, &model, .{ .low = null, .high = null }, &looked);
        try expectCount(&indexed, &model, .{ .low = low, .high = high }, &looked);
        try expectCount(&indexed, &model, .{ .low = low, .high = null }, &looked);
        try expectCount(&indexed, &model, .{ .low = null, .high = high }, &looked);
        try expectCount(&indexed, &model, .{ .low = 2, .high = 3 }, &looked);
    }
    // At rest everything but the ends is summed up.
    indexed.bench.settle(indexed.session);
    var looked: u64 = 0;
    try expectCount(&indexed, &model, .{ .low = null, .high = null }, &looked);
    looked = 0;
    try expectCount(&indexed, &model, .{ .low = null, .high = null }, &looked);
    try testing.expectEqual(0, looked);
    try expectCount(&indexed, &model, .{ .low = -3000, .high = 3000 }, &looked);
    try testing.expect(looked < 8 * index_guide_block.block_count);
    try indexed.bench.expectSound(indexed.session);
}

test "indexes: a unique key is one row's, nulls are not, and two rows may swap theirs" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, true);
    defer indexed.deinit();
    try testing.expectEqual(.done, try indexed.put(.insert, 1, 10, "a"));
    try testing.expectEqual(.unique_violation, try indexed.put(.insert, 2, 10, "b"));
    try testing.expectEqual(.done, try indexed.put(.insert, 2, 20, "b"));
    try testing.expectEqual(.unique_violation, try indexed.put(.update, 2, 10, "b"));
    try testing.expectEqual(.done, try indexed.put(.update, 2, 20, "c"));
    try testing.expectEqual(.done, try indexed.put(.insert, 3, null, "c"));
    try testing.expectEqual(.done, try indexed.put(.insert, 4, null, "c"));
    try testing.expectEqual(.done, try indexed.put(.update, 1, 11, "a"));
    try testing.expectEqual(.done, try indexed.put(.update, 2, 10, "b"));
    var lines: [2]Line = undefined;
    try lines[0].init(&indexed, .update, 1, 10, "a");
    try lines[1].init(&indexed, .update, 2, 11, "a");
    var writes = [_]transaction.Write{ lines[0].write, lines[1].write };
    const swapped = try statement.writeMany(indexed.session, &writes);
    try testing.expectEqual(.done, swapped.outcome);
    try testing.expectEqual(.unique_violation, try indexed.put(.insert, 5, 11, "a"));
    // Of a statement of many rows it is known which.
    for ([_]i64{ 5, 6, 7, 8 }) |taken| {
        var more: [4]Line = undefined;
        var many: [4]transaction.Write = undefined;
        for (&more, &many, 5..) |*line, *one, id| {
            const number: i64 = @intCast(id);
            const n = if (number == taken) 11 else 100 + number;
            try line.init(&indexed, .insert, number, n, "a");
            one.* = line.write;
        }
        const refused = try statement.writeMany(indexed.session, &many);
        try testing.expectEqual(.unique_violation, refused.outcome);
        try testing.expectEqual(@as([8]u8, @bitCast(taken)), many[refused.failed].key.cell[0..8].*);
    }
    try testing.expectEqual(.done, try indexed.put(.delete, 2, null, null));
    try testing.expectEqual(.done, try indexed.put(.insert, 5, 11, "a"));
    indexed.bench.settle(indexed.session);
    try indexed.bench.expectSound(indexed.session);
}

test "indexes: a transaction that was never decided leaves no entry" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, false);
    defer indexed.deinit();
    const bench = &indexed.bench;
    _ = try indexed.put(.upsert, 1, 1, "a");
    const dead = try bench.session();
    var installer: transaction.Installer = .begin(dead, .installing);
    for ([_]i64{ 1, 2 }) |id| {
        var line: Line = undefined;
        try line.init(&indexed, .upsert, id, 99, "b");
        try testing.expectEqual(.done, try installer.install(&line.write));
    }
    recovery.recoverSlot(&bench.region, dead.slot_index);
    const again = try bench.session();
    bench.settle(again);
    try testing.expectEqual(1, indexed.indexes.byNumber(0).?.distinct(&bench.region));
    try expectScans(&indexed, &.{ null, .{ .n = 1, .s = "a" }, null });
    try bench.expectSound(indexed.session);
    again.close();
    for (dead.allocator.pools.items) |pool| {
        for (pool.slabs.items) |owned| testing.allocator.free(owned.free);
        pool.slabs.deinit(testing.allocator);
        testing.allocator.destroy(pool);
    }
    dead.allocator.pools.deinit(testing.allocator);
    testing.allocator.destroy(dead);
}

test "Scan: gives the rows of many keys in their order, of an index with a tall guide" {
    var indexed: Indexed = undefined;
    try indexed.init(16 << 20, false);
    defer indexed.deinit();
    // Each number twice, but for those that are missing.
    for (0..6000) |i| {
        const n: i64 = @intCast(i / 2);
        if (@mod(n, 10) == 7) continue;
        _ = try indexed.put(.insert, @intCast(i), n, "s");
    }
    const root = indexed.indexes.byNumber(0).?.rootOf(&indexed.bench.region);
    try testing.expect(index_ahead.isLarge(root));
    var random: std.Random.DefaultPrng = .init(5);
    var bytes: [100][16]u8 = undefined;
    var wanted: [100]i64 = undefined;
    for (&bytes, &wanted) |*cell, *n| {
        n.* = random.random().intRangeLessThan(i64, -100, 3100);
        @memset(cell, 0);
        std.mem.writeInt(u32, cell[0..4], 8, .little);
        std.mem.writeInt(i64, cell[4..12], n.*, .little);
    }
    indexed.session.pin();
    defer indexed.session.unpin();
    for ([_]u32{ 1, 2, 16, 17, 33, 100 }) |count| {
        var scan = indexed.scan(0, .{ .keys = .{
            .bytes = std.mem.sliceAsBytes(bytes[0..count]),
            .left = count,
            .alignment = 8,
        } });
        const columns = &indexed.bench.table.columns;
        for (wanted[0..count]) |n| {
            if (n < 0 or n >= 3000 or @mod(n, 10) == 7) continue;
            for (0..2) |second| {
                const row = (try scan.next()).?;
                try testing.expectEqual(n, row.int64(columns[1].offset));
                const id = row.int64(columns[0].offset);
                try testing.expectEqual(2 * n + @as(i64, @intCast(second)), id);
            }
        }
        try testing.expectEqual(null, try scan.next());
    }
}
