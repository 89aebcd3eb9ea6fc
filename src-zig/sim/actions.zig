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
const OpenTransaction = engine.open_transaction.OpenTransaction;
const RowRef = engine.row.RowRef;
const Key = engine.pk_map.Key;

/// How often a transaction of several statements is tried before it counts as given up.
const attempts_max = 2;

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
const Line = struct {
    write: engine.transaction.Write,
    cell: [8]u8,
    payload: [16]u8 align(8),
    expressions: [1]engine.row_merge.Expression,

    fn init(line: *Line, operation: engine.transaction.Operation, key: u8, value: i64) void {
        const columns = &fixture.table.columns;
        std.mem.writeInt(u64, &line.cell, key, .little);
        std.mem.writeInt(u64, line.payload[columns[0].offset..][0..8], key, .little);
        std.mem.writeInt(i64, line.payload[columns[1].offset..][0..8], value, .little);
        line.expressions[0] = .{
            .column = 1,
            .operation = .increment,
            .operand = @bitCast(value),
        };
        line.write = .{
            .table = &fixture.table,
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

/// A transaction that looks at rows and then writes one.
pub const Decision = struct {
    /// Rows that it reads, one by one.
    reads: []const u8 = &.{},
    /// It reads the whole table by a scan as well.
    scans: bool = false,
    key: u8,
    value: i64,
};

/// Reads, then stores into one row a number that depends on what was read. Tried again on a
/// conflict, and then given up.
pub fn decide(decision: Decision) void {
    const noted = history.begin(.decide, decision.key, decision.value);
    noted.answer = .conflict;
    for (0..attempts_max) |_| {
        if (attempt(decision, noted) catch |err| {
            scheduler.fail("a transaction fails with {t}", .{err});
        }) |position| {
            noted.answer = .done;
            noted.position = position;
            break;
        }
    }
    history.end(noted);
}

/// Returns the position, or null on a conflict.
fn attempt(decision: Decision, noted: *history.Operation) !?u64 {
    const open: *OpenTransaction = try .begin(fixture.current(), fixture.allocator(), .{});
    defer open.destroy();
    noted.seen = @splat(null);
    noted.reads = 0;
    if (decision.scans) {
        try open.enter();
        var rows = open.scan(&fixture.table, null);
        while (try rows.next()) |row| noteRow(noted, row);
        try open.notePredicate(.{
            .table = &fixture.table,
            .filter = .{ .predicates = &.{}, .never = false },
            .columns = fixture.table.allColumns(),
        });
        noted.reads = history.reads_all;
        open.leave();
    }
    for (decision.reads) |key| {
        try open.enter();
        var cell: [8]u8 = undefined;
        if (try open.get(&fixture.table, keyOf(key, &cell))) |row| noteRow(noted, row);
        noted.reads |= @as(u8, 1) << @intCast(key);
        open.leave();
    }
    var sum = decision.value;
    for (noted.seen) |value| sum += value orelse 0;
    try open.enter();
    var line: Line = undefined;
    line.init(.upsert, decision.key, sum);
    if (try open.write(&line.write) != .done) scheduler.fail("an upsert is refused", .{});
    open.leave();
    return switch (try open.commit()) {
        .committed => |position| position,
        .conflict => null,
        .unique_violation => scheduler.fail("a transaction violates a unique index", .{}),
    };
}

fn noteRow(noted: *history.Operation, row: RowRef) void {
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

/// Reads all rows in a transaction that only reads, each in an operation of its own.
pub fn look() void {
    const noted = history.begin(.snapshot, 0, 0);
    lookAround(noted) catch |err| scheduler.fail("a transaction fails with {t}", .{err});
    history.end(noted);
}

fn lookAround(noted: *history.Operation) !void {
    const options: engine.open_transaction.Options = .{ .read_only = true };
    const open: *OpenTransaction = try .begin(fixture.current(), fixture.allocator(), options);
    defer open.destroy();
    for (&noted.seen, 0..) |*value, key| {
        try open.enter();
        var cell: [8]u8 = undefined;
        const row = try open.get(&fixture.table, keyOf(@intCast(key), &cell));
        value.* = if (row) |found| numbers(found).value else null;
        open.leave();
    }
}

/// Reads all rows as of one moment, by a scan.
pub fn scan() void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = fixture.current();
    session.pin();
    const at = reader.snapshotNow(&fixture.region);
    var rows: reader.Scan = .init(&fixture.region, &fixture.table, .{ .snapshot = at });
    while (rows.next() catch |err| scheduler.fail("a scan fails with {t}", .{err})) |row| {
        noteRow(noted, row);
    }
    session.unpin();
    history.end(noted);
}

pub fn read(key: u8, view: reader.View) history.Value {
    var cell: [8]u8 = undefined;
    const found = reader.find(&fixture.region, &fixture.table, keyOf(key, &cell), view);
    const row = found catch |err| scheduler.fail("a read fails with {t}", .{err});
    const pair = numbers(row orelse return null);
    if (pair.key != key) scheduler.fail("asked for key {d}, got key {d}", .{ key, pair.key });
    return pair.value;
}

fn keyOf(key: u8, cell: *[8]u8) Key {
    std.mem.writeInt(u64, cell, key, .little);
    return .of(0, cell);
}

fn numbers(row: RowRef) struct { key: u64, value: i64 } {
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
    const index = &fixture.indexes.current()[0];
    const access: engine.index_scan.Access = .{ .descending = descending };
    var rows: engine.index_scan.Scan = .init(&fixture.region, &fixture.table, index, view, access);
    while (rows.next() catch |err| scheduler.fail("a scan fails with {t}", .{err})) |row| {
        noteRow(noted, row);
    }
    session.unpin();
    history.end(noted);
}

/// One round of what a maintenance thread does.
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

/// Recovers every process that is dead now.
pub fn recover() void {
    _ = fixture.participants[scheduler.self()].recoverDead(fixture.recovery);
}
