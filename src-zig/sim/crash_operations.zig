//! What the crash stepper steps through: operations of the engine on a small table, and what stands
//! in it before.

const std = @import("std");
const engine = @import("aerostore");
const OpenTransaction = engine.open_transaction.OpenTransaction;
const Session = engine.session.Session;
const Region = engine.region.Region;
const TableInfo = engine.table_info.TableInfo;

const keys = 6;

var heap_bytes: [1 << 20]u8 = undefined;
pub var heap: std.heap.FixedBufferAllocator = .init(&heap_bytes);

/// The numbers of the rows, by their keys.
pub const Rows = [keys]?i64;

/// The engine on one mapping, as one process sees it.
pub const Bench = struct {
    region: Region,
    table: TableInfo,
    indexes: engine.table_indexes.TableIndexes = undefined,
    session: *Session,

    /// Gives the table an index on its number and one on its text. The bench stays where it is.
    pub fn addIndexes(bench: *Bench) !void {
        for ([_]u8{ 1, 2 }) |column| {
            _ = try engine.table_indexes.add(&bench.region, 0, .{
                .keys = .of(&bench.table, &.{column}),
                .unique = column == 1,
                .phase = .ready,
            });
        }
        bench.indexes = .init(&bench.region, &bench.table);
        bench.table.indexes = &bench.indexes;
        _ = bench.indexes.current();
    }

    fn write(
        bench: *Bench,
        operation: engine.transaction.Operation,
        key: u8,
        number: i64,
    ) engine.transaction.Outcome {
        var line: Line = undefined;
        line.init(&bench.table, operation, key, number);
        const result = engine.statement.write(bench.session, &line.write) catch |err|
            std.debug.panic("a write fails: {t}", .{err});
        return result.outcome;
    }

    pub fn rows(bench: *Bench, session: *Session) Rows {
        var seen: Rows = @splat(null);
        session.pin();
        defer session.unpin();
        for (&seen, 0..) |*value, key| {
            const cell: [8]u8 = @bitCast(@as(u64, key));
            const found = engine.reader.find(&bench.region, &bench.table, .of(0, &cell), .latest);
            const row = (found catch |err| std.debug.panic("a read fails: {t}", .{err})) orelse
                continue;
            value.* = row.int64(bench.table.columns[1].offset);
            const text = row.text(&bench.table.columns[2]);
            if (!std.mem.eql(u8, text, textOf(value.*.?))) @panic("a text is torn");
        }
        return seen;
    }
};

/// Numbers decide the text beside them, so that a torn row is noticed, and its length.
fn textOf(number: i64) []const u8 {
    const all = "a text that does not fit into the fixed part of a row, by any means at all";
    return all[0..@intCast(@mod(number, 2) * @as(i64, all.len))];
}

/// A write with the memory that it points to.
const Line = struct {
    write: engine.transaction.Write,
    cell: [8]u8,
    payload: [256]u8 align(8),
    expressions: [1]engine.row_merge.Expression,

    fn init(
        line: *Line,
        table: *const TableInfo,
        operation: engine.transaction.Operation,
        key: u8,
        number: i64,
    ) void {
        line.cell = @bitCast(@as(u64, key));
        var builder: engine.row.Builder = .init(table, &line.payload);
        builder.setInt64(0, key);
        builder.setInt64(1, number);
        builder.setText(2, textOf(number)) catch unreachable;
        line.expressions[0] = .{
            .column = 1,
            .operation = .increment,
            .operand = @bitCast(number),
        };
        line.write = .{
            .table = table,
            .operation = operation,
            .key = .of(0, &line.cell),
            .image = builder.finish(),
            .mask = if (operation == .update) 0b110 else 0,
            .expressions = if (operation == .apply) &line.expressions else &.{},
        };
    }
};

pub const Operation = struct {
    name: []const u8,
    prepare: *const fn (bench: *Bench) void = prepareRows,
    /// The table has indexes, one of them unique.
    indexed: bool = false,
    run: *const fn (bench: *Bench) void,
};

fn prepareNothing(_: *Bench) void {}

fn prepareRows(bench: *Bench) void {
    for (0..3) |key| _ = bench.write(.insert, @intCast(key), @intCast(100 + key));
}

fn prepareTombstone(bench: *Bench) void {
    prepareRows(bench);
    _ = bench.write(.delete, 0, 0);
}

/// Superseded versions and a deleted row wait in the log for a horizon that has passed them.
fn prepareGarbage(bench: *Bench) void {
    prepareTombstone(bench);
    for (0..4) |i| _ = bench.write(.upsert, 1, @intCast(200 + i));
    drainRing(&bench.region, bench.session);
    engine.vacuum.advanceHorizon(&bench.region);
}

/// Rows that are at or before the horizon, so that a count leaves sums.
fn prepareSettled(bench: *Bench) void {
    prepareRows(bench);
    drain(bench);
}

/// Rows that are counted already.
fn prepareSums(bench: *Bench) void {
    prepareSettled(bench);
    count(bench);
}

/// The next entry of the log begins a new chunk.
fn prepareFullChunk(bench: *Bench) void {
    prepareRows(bench);
    const chunk = engine.slot_log.entries_per_chunk;
    while (bench.session.log.head % chunk != chunk - 1) _ = bench.write(.upsert, 1, 4);
}

fn insertFirst(bench: *Bench) void {
    _ = bench.write(.insert, 4, 401);
}

fn upsert(bench: *Bench) void {
    _ = bench.write(.upsert, 1, 301);
}

fn update(bench: *Bench) void {
    _ = bench.write(.update, 1, 302);
}

fn apply(bench: *Bench) void {
    _ = bench.write(.apply, 1, 2);
}

fn delete(bench: *Bench) void {
    _ = bench.write(.delete, 1, 0);
}

fn insertDuplicate(bench: *Bench) void {
    if (bench.write(.insert, 1, 5) != .duplicate_key) @panic("a duplicate is inserted");
}

fn reinsert(bench: *Bench) void {
    _ = bench.write(.insert, 0, 303);
}

fn writeMany(bench: *Bench) void {
    var lines: [3]Line = undefined;
    lines[0].init(&bench.table, .upsert, 0, 501);
    lines[1].init(&bench.table, .delete, 1, 0);
    lines[2].init(&bench.table, .insert, 5, 502);
    var writes = [_]engine.transaction.Write{ lines[0].write, lines[1].write, lines[2].write };
    _ = engine.statement.writeMany(bench.session, &writes) catch |err|
        std.debug.panic("a write fails: {t}", .{err});
}

/// Reads, writes, takes a part of that back, and commits.
fn transact(bench: *Bench) void {
    const open = OpenTransaction.begin(bench.session, heap.allocator(), .{}) catch |err|
        std.debug.panic("a transaction fails: {t}", .{err});
    step(bench, open, .apply, 0, 8);
    step(bench, open, .upsert, 4, 601);
    const place = open.savepoint();
    step(bench, open, .delete, 1, 0);
    step(bench, open, .insert, 5, 602);
    open.rollbackTo(place);
    step(bench, open, .delete, 2, 0);
    const result = open.commit() catch |err| std.debug.panic("a commit fails: {t}", .{err});
    if (result != .committed) @panic("a transaction without rivals does not commit");
    open.destroy();
}

fn step(
    bench: *Bench,
    open: *OpenTransaction,
    operation: engine.transaction.Operation,
    key: u8,
    number: i64,
) void {
    var line: Line = undefined;
    line.init(&bench.table, operation, key, number);
    open.enter() catch |err| std.debug.panic("a statement fails: {t}", .{err});
    defer open.leave();
    const outcome = open.write(&line.write) catch |err|
        std.debug.panic("a statement fails: {t}", .{err});
    if (outcome != .done) @panic("a statement is refused");
}

/// The number of another row, which a unique index refuses at the very end.
fn violate(bench: *Bench) void {
    if (bench.write(.upsert, 1, 102) != .unique_violation) @panic("a number is there twice");
}

fn vacuum(bench: *Bench) void {
    bench.session.pin();
    _ = engine.vacuum.drain(bench.session, 100);
    bench.session.unpin();
}

fn drain(bench: *Bench) void {
    drainRing(&bench.region, bench.session);
    engine.vacuum.advanceHorizon(&bench.region);
}

/// Counts all rows by each index.
fn count(bench: *Bench) void {
    const session = bench.session;
    const most = std.math.maxInt(u64);
    session.pin();
    defer session.unpin();
    const at = engine.reader.snapshotNow(&bench.region);
    for (bench.indexes.current()) |*index| {
        var scan: engine.index_scan.Scan =
            .init(&bench.region, &bench.table, index, .{ .snapshot = at }, .{});
        var counter: engine.index_count.Counter = undefined;
        counter.prepare(&scan, session.slot_index);
        const found = counter.run(most, most) catch |err|
            std.debug.panic("a count fails: {t}", .{err});
        if (found != 3) std.debug.panic("3 rows are counted as {d}", .{found});
    }
}

fn reopen(bench: *Bench) void {
    bench.session.close();
    const claim = engine.session.processClaim(0, 1);
    bench.session = Session.open(&bench.region, heap.allocator(), claim) catch unreachable;
    _ = bench.write(.upsert, 1, 306);
}

pub const operations = [_]Operation{
    .{ .name = "insert_first", .prepare = prepareNothing, .run = insertFirst },
    .{ .name = "insert", .run = insertFirst },
    .{ .name = "insert_duplicate", .run = insertDuplicate },
    .{ .name = "upsert", .run = upsert },
    .{ .name = "update", .run = update },
    .{ .name = "apply", .run = apply },
    .{ .name = "delete", .run = delete },
    .{ .name = "reinsert", .prepare = prepareTombstone, .run = reinsert },
    .{ .name = "write_many", .run = writeMany },
    .{ .name = "new_chunk", .prepare = prepareFullChunk, .run = upsert },
    .{ .name = "vacuum", .prepare = prepareGarbage, .run = vacuum },
    .{ .name = "drain", .prepare = prepareTombstone, .run = drain },
    .{ .name = "reopen", .run = reopen },
    .{ .name = "transaction", .run = transact },
    .{ .name = "index_insert", .run = insertFirst, .indexed = true },
    .{ .name = "index_move", .run = upsert, .indexed = true },
    .{ .name = "index_delete", .run = delete, .indexed = true },
    .{ .name = "index_violation", .run = violate, .indexed = true },
    .{ .name = "index_vacuum", .prepare = prepareGarbage, .run = vacuum, .indexed = true },
    .{ .name = "index_transaction", .run = transact, .indexed = true },
    .{ .name = "summary_count", .prepare = prepareSettled, .run = count, .indexed = true },
    .{ .name = "summary_move", .prepare = prepareSums, .run = upsert, .indexed = true },
    .{ .name = "summary_delete", .prepare = prepareSums, .run = delete, .indexed = true },
};

/// Decides and stamps what can be.
pub fn drainRing(region: *const Region, session: *Session) void {
    session.pin();
    _ = engine.commit_ring.advance(region, std.math.maxInt(u32));
    session.unpin();
}
