//! What fibers do with the rows of the fixture. Each action notes itself in `history.zig`.

const std = @import("std");
const sync = @import("sync");
const engine = @import("aerostore");
const fixture = @import("fixture.zig");
const history = @import("history.zig");
const scheduler = sync.scheduler;
const reader = engine.reader;
const ring = engine.commit_ring;
const statement = engine.statement;
const vacuum = engine.vacuum;
const Session = engine.session.Session;
const RowRef = engine.row.RowRef;
const Key = engine.pk_map.Key;

pub fn insert(key: u8, value: i64) void {
    noteWrite(.insert, .insert, key, value);
}

pub fn upsert(key: u8, value: i64) void {
    noteWrite(.upsert, .upsert, key, value);
}

pub fn update(key: u8, value: i64) void {
    noteWrite(.update, .update, key, value);
}

pub fn delete(key: u8) void {
    noteWrite(.delete, .delete, key, 0);
}

/// Adds to the row's number by an expression, evaluated at commit.
pub fn add(key: u8, value: i64) void {
    noteWrite(.add, .apply, key, value);
}

fn noteWrite(
    kind: history.Kind,
    operation: engine.transaction.Operation,
    key: u8,
    value: i64,
) void {
    const noted = history.begin(kind, key, value);
    const result = write(fixture.current(), operation, key, value);
    noted.answer = switch (result.outcome) {
        .done => .done,
        .duplicate_key => .duplicate_key,
        .not_found => .not_found,
        .unique_violation => .unique_violation,
        else => |outcome| scheduler.fail("a write answers {t}", .{outcome}),
    };
    noted.position = result.position;
    history.end(noted);
}

pub fn write(
    session: *Session,
    operation: engine.transaction.Operation,
    key: u8,
    value: i64,
) statement.Result {
    var line: Line = undefined;
    line.init(operation, key, value);
    return statement.write(session, &line.write) catch |err| {
        scheduler.fail("a write fails with {t}", .{err});
    };
}

/// A write with the memory that it points to.
pub const Line = struct {
    write: engine.transaction.Write,
    cell: [8]u8,
    payload: [16]u8 align(8),
    expressions: [1]engine.row_merge.Expression,

    pub fn init(line: *Line, operation: engine.transaction.Operation, key: u8, value: i64) void {
        const table = fixture.tableHere();
        const columns = &table.columns;
        std.mem.writeInt(u64, &line.cell, key, .little);
        std.mem.writeInt(u64, line.payload[columns[0].offset..][0..8], key, .little);
        std.mem.writeInt(i64, line.payload[columns[1].offset..][0..8], value, .little);
        line.expressions[0] = .{
            .column = 1,
            .operation = .increment,
            .operand = @bitCast(value),
        };
        line.write = .{
            .table = table,
            .operation = operation,
            .key = .of(0, &line.cell),
            .image = .{ .payload = &line.payload, .null_mask = 0, .version = 0, .size = 16 },
            .mask = if (operation == .update) 0b10 else 0,
            .expressions = if (operation == .apply) &line.expressions else &.{},
        };
    }
};

/// Moves `amount` from row `from` (0 or 1) to the other, in one statement over two rows.
pub fn transfer(from: u8, amount: i64) void {
    const noted = history.begin(.transfer, from, amount);
    var lines: [2]Line = undefined;
    lines[0].init(.apply, from, -amount);
    lines[1].init(.apply, (from + 1) % 2, amount);
    var writes = [_]engine.transaction.Write{ lines[0].write, lines[1].write };
    const result = statement.writeMany(fixture.current(), &writes) catch |err| {
        scheduler.fail("a transfer fails with {t}", .{err});
    };
    if (result.outcome != .done) scheduler.fail("a transfer answers {t}", .{result.outcome});
    noted.position = result.position;
    history.end(noted);
}

/// Gives the first rows one value, in one statement over so many that it takes the gate.
pub fn fill(value: i64) void {
    const noted = history.begin(.fill, 0, value);
    var lines: [history.filled_rows]Line = undefined;
    var writes: [history.filled_rows]engine.transaction.Write = undefined;
    for (&lines, &writes, 0..) |*line, *one, key| {
        line.init(.upsert, @intCast(key), value);
        one.* = line.write;
    }
    if (!engine.gate.isLarge(writes.len)) scheduler.fail("too few rows for the gate", .{});
    const result = statement.writeMany(fixture.current(), &writes) catch |err| {
        scheduler.fail("a statement over many rows fails with {t}", .{err});
    };
    if (result.outcome != .done) scheduler.fail("it answers {t}", .{result.outcome});
    noted.position = result.position;
    history.end(noted);
}

pub fn noteRow(noted: *history.Operation, row: RowRef) void {
    const pair = numbers(row);
    if (pair.key >= history.keys_max) scheduler.fail("a row has key {d}", .{pair.key});
    const value = &noted.seen[@intCast(pair.key)];
    if (noted.kind == .snapshot and value.* != null) {
        scheduler.fail("a scan sees key {d} twice", .{pair.key});
    }
    value.* = pair.value;
}

/// Reads the latest committed row.
pub fn get(key: u8) void {
    const noted = history.begin(.get, key, 0);
    const session = fixture.current();
    session.pin();
    noted.seen[key] = read(key, .latest);
    session.unpin();
    history.end(noted);
}

/// Reads all rows as of one moment.
pub fn snapshot() void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = fixture.current();
    session.pin();
    const at = reader.snapshotNow(&fixture.region);
    for (&noted.seen, 0..) |*value, key| value.* = read(@intCast(key), .{ .snapshot = at });
    session.unpin();
    history.end(noted);
}

/// Reads all rows as of one moment, by a scan.
pub fn scan() void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = fixture.current();
    session.pin();
    const at = reader.snapshotNow(&fixture.region);
    scanRows(noted, .{ .snapshot = at });
    session.unpin();
    history.end(noted);
}

fn scanRows(noted: *history.Operation, view: reader.View) void {
    var rows: reader.Scan = .init(&fixture.region, fixture.tableHere(), view);
    while (rows.next() catch |err| scheduler.fail("a scan fails with {t}", .{err})) |row| {
        noteRow(noted, row);
    }
}

pub fn read(key: u8, view: reader.View) history.Value {
    var cell: [8]u8 = undefined;
    const found = reader.find(&fixture.region, fixture.tableHere(), keyOf(key, &cell), view);
    const row = found catch |err| scheduler.fail("a read fails with {t}", .{err});
    const pair = numbers(row orelse return null);
    if (pair.key != key) scheduler.fail("asked for key {d}, got key {d}", .{ key, pair.key });
    return pair.value;
}

pub fn keyOf(key: u8, cell: *[8]u8) Key {
    std.mem.writeInt(u64, cell, key, .little);
    return .of(0, cell);
}

pub fn numbers(row: RowRef) struct { key: u64, value: i64 } {
    var copy: [2]u64 = undefined;
    sync.copyOut(@ptrCast(&copy), row.payload, 16);
    return .{ .key = copy[0], .value = @bitCast(copy[1]) };
}

/// Reads all rows as of one moment, straight from the slabs of versions: see `heap_scan.zig`.
pub fn heapScan() void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = fixture.current();
    session.pin();
    @import("heap_scan.zig").scan(noted);
    session.unpin();
    history.end(noted);
}

/// Reads all rows as of one moment, by the index.
pub fn indexScan(descending: bool) void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = fixture.current();
    session.pin();
    const view: reader.View = .{ .snapshot = reader.snapshotNow(&fixture.region) };
    const table = fixture.tableHere();
    const list = engine.table_indexes.of(table);
    if (list.len == 0 or !list[0].serves(&fixture.region, view.snapshot)) {
        // Not there yet, or younger than the snapshot.
        scanRows(noted, view);
    } else {
        scanIndex(noted, &list[0], view, descending);
    }
    session.unpin();
    history.end(noted);
}

fn scanIndex(
    noted: *history.Operation,
    index: *const engine.table_indexes.Index,
    view: reader.View,
    descending: bool,
) void {
    const table = fixture.tableHere();
    const access: engine.index_scan.Access = .{ .descending = descending };
    var rows: engine.index_scan.Scan = .init(&fixture.region, table, index, view, access);
    while (rows.next() catch |err| scheduler.fail("a scan fails with {t}", .{err})) |row| {
        noteRow(noted, row);
    }
}

/// Counts the rows from `low` to `high` by the index.
pub fn count(low: ?i64, high: ?i64) void {
    const noted = history.begin(.count, 0, 0);
    noted.seen[0] = low;
    noted.seen[1] = high;
    const session = fixture.current();
    session.pin();
    noted.value = countRows(session, low, high);
    session.unpin();
    history.end(noted);
}

pub fn countRows(session: *Session, low: ?i64, high: ?i64) i64 {
    const region = &fixture.region;
    const view: reader.View = .{ .snapshot = reader.snapshotNow(region) };
    const table = fixture.tableHere();
    const index = &engine.table_indexes.of(table)[0];
    var rows: engine.index_scan.Scan = .init(region, table, index, view, .{});
    if (low) |number| setBound(&rows.access.low, index, number, true);
    if (high) |number| setBound(&rows.access.high, index, number, false);
    var counter: engine.index_count.Counter = undefined;
    counter.prepare(&rows, session.slot_index);
    const most = std.math.maxInt(u64);
    const found = counter.run(most, most) catch |err| {
        scheduler.fail("a count fails with {t}", .{err});
    };
    return @intCast(found);
}

fn setBound(
    bound: *engine.index_key.Bound,
    index: *const engine.table_indexes.Index,
    number: i64,
    is_low: bool,
) void {
    var columns: u8 = 0;
    const cell: [8]u8 = @bitCast(number);
    const end: engine.index_key.Bound.End = .{ .is_low = is_low, .inclusive = true };
    if (!bound.decode(&index.keys, &cell, end, &columns)) scheduler.fail("a bound is no key", .{});
}

/// Drains the ring, moves the horizon, and frees what the fiber's own log names.
pub fn maintain() void {
    const session = fixture.current();
    session.pin();
    _ = ring.advance(&fixture.region, 8);
    session.unpin();
    vacuum.advanceHorizon(&fixture.region);
    session.pin();
    _ = vacuum.drain(session, 8);
    session.unpin();
}

/// Gives the fiber's slot back and takes one again: slabs and log change hands.
pub fn reopen() void {
    const fiber = scheduler.self();
    fixture.sessions[fiber].?.close();
    fixture.sessions[fiber] = null;
    fixture.sessions[fiber] = fixture.open(fiber) catch |err| {
        scheduler.fail("a session cannot be opened: {t}", .{err});
    };
}

/// Gives the fiber's slot back. What its log holds is left to others.
pub fn leave() void {
    const fiber = scheduler.self();
    fixture.sessions[fiber].?.close();
    fixture.sessions[fiber] = null;
}

/// A whole round of a maintenance thread: as in `Engine.round`.
pub fn round() void {
    const region = &fixture.region;
    const session = fixture.current();
    recover();
    const target = region.control.next.word.load(.acquire);
    var wait: engine.waiting.Wait = .{};
    session.pin();
    while (ring.drainedPosition(region) < target) wait.drain(region);
    session.unpin();
    vacuum.advanceHorizon(region);
    const claim = fixture.claimOf(scheduler.self());
    const some = vacuum.drainOrphans(region, fixture.allocator(), claim);
    session.pin();
    _ = vacuum.drainResting(session, std.math.maxInt(u32));
    session.unpin();
    const next = region.control.next.word.load(.acquire);
    if (some and ring.drainedPosition(region) == next) vacuum.burnPosition(region);
}

/// Takes away the pin of the oldest snapshot in which nothing runs.
pub fn revoke() void {
    _ = vacuum.revokeOldest(&fixture.region, fixture.current().slot_index);
}

/// Adds an index to the table while others write, and enters the rows.
pub fn buildIndex() void {
    fixture.addIndex(.plain, .building);
    engine.index_build.complete(fixture.current(), fixture.tableHere()) catch |err| {
        scheduler.fail("an index cannot be built: {t}", .{err});
    };
}

/// Recovers every process that is dead now.
pub fn recover() void {
    _ = fixture.participants[scheduler.self()].recoverDead(fixture.recovery);
}

/// Nobody who lives has taken the gate.
pub fn expectOpenGate() void {
    const word = fixture.region.control.shared.gate.load(.acquire);
    if (word != 0) scheduler.fail("slot {d} holds the gate", .{(word >> 48) - 1});
}
