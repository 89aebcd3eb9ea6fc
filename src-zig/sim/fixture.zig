//! A small region in plain memory, the processes attached to it, and what kernels do with them.
//!
//! Fiber i of a kernel works with session i, opened for process i before the run starts. The
//! operations note themselves in `history.zig`. `check` does what the last process would do:
//! recovers the dead, drains everything, and then demands that a serial order explains the
//! history, that every chain is one stamped version, and that no block is lost.

const std = @import("std");
const sync = @import("sync");
const engine = @import("aerostore");
const history = @import("history.zig");
const scheduler = sync.scheduler;
const limits = engine.limits;
const ring = engine.commit_ring;
const reader = engine.reader;
const statement = engine.statement;
const vacuum = engine.vacuum;
const pk_map = engine.pk_map;
const version_module = engine.version;
const Session = engine.session.Session;
const Participant = engine.participants.Participant;
const TableInfo = engine.table_info.TableInfo;
const RowRef = engine.row.RowRef;
const assert = std.debug.assert;

pub const Options = struct {
    /// Binary logarithm of the cells of the ring.
    cells_log2: u6 = 3,
    /// One bucket by default, so that all keys share a chain.
    buckets_log2: u6 = 0,
    /// Fibers with a process and a session each.
    sessions: u8 = 2,
    /// Rows that exist before the run.
    rows: history.State = @splat(null),
};

pub const region_size = 96 * 1024;
/// The process that cleans up at the end.
const janitor = limits.process_count;
const lock_fd = 3;
const region_fd = 4;

var bytes: [region_size]u8 align(4096) = undefined;
var heap_bytes: [1 << 20]u8 align(16) = undefined;
var heap: std.heap.FixedBufferAllocator = .init(&heap_bytes);
pub var region: engine.region.Region = undefined;
pub var table: TableInfo = undefined;
var participants: [limits.process_count + 1]Participant = undefined;
var sessions: [scheduler.fibers_max]?*Session = @splat(null);
var sessions_count: u8 = 0;

/// An empty region with the sessions and rows that `options` asks for.
pub fn reset(options: Options) void {
    heap.reset();
    sync.memory.watch(&bytes);
    @memset(&bytes, 0);
    engine.region.format(&bytes, .{
        .size_max = region_size,
        .cells_log2 = options.cells_log2,
        .buckets_log2 = options.buckets_log2,
    }, .{}) catch unreachable;
    region = .init(&bytes);
    table = TableInfo.init(0, "t", &.{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("n", .int64, 0, .{}),
    }) catch unreachable;
    sessions = @splat(null);
    sessions_count = options.sessions;
    for (0..options.sessions) |i| sessions[i] = attach(@intCast(i));
    history.reset();
    history.setInitial(options.rows);
    for (options.rows, 0..) |value, key| {
        const n = value orelse continue;
        const result = write(sessions[0].?, .insert, @intCast(key), n);
        assert(result.outcome == .done);
    }
    drainRing();
    scheduler.setProcess(scheduler.process_outside);
}

/// Attaches `process` and opens a session of it.
fn attach(process: u8) *Session {
    scheduler.setProcess(process);
    participants[process] = Participant.attach(
        &region,
        lock_fd,
        region_fd,
        .{ .pid = process, .start_time = 0, .pid_namespace = 0 },
        recovery,
    ) catch unreachable;
    return Session.open(&region, heap.allocator(), claimOf(process)) catch unreachable;
}

fn claimOf(process: u8) u64 {
    const participant = &participants[process];
    return engine.session.processClaim(participant.index, participant.generation);
}

const recovery: engine.participants.Recovery = .{
    .context = undefined,
    .recoverProcess = recoverProcess,
};

fn recoverProcess(_: *anyopaque, index: u32) void {
    _ = engine.recovery.recoverProcess(&region, index);
}

fn drainRing() void {
    const session = sessions[0] orelse return;
    session.pin();
    _ = ring.drainDecided(&region, ring.cellCount(&region));
    session.unpin();
    vacuum.advanceHorizon(&region);
}

// ----------------------------------------------------------------------------- operations

/// The session of the fiber that runs.
pub fn current() *Session {
    return sessions[scheduler.self()].?;
}

pub fn insert(key: u8, value: i64) void {
    _ = noteWrite(.insert, .insert, key, value);
}

pub fn upsert(key: u8, value: i64) void {
    _ = noteWrite(.upsert, .upsert, key, value);
}

pub fn update(key: u8, value: i64) void {
    _ = noteWrite(.update, .update, key, value);
}

pub fn delete(key: u8) void {
    _ = noteWrite(.delete, .delete, key, 0);
}

/// Adds to the row's number by an expression, evaluated at commit.
pub fn add(key: u8, value: i64) void {
    _ = noteWrite(.add, .apply, key, value);
}

fn noteWrite(
    kind: history.Kind,
    operation: engine.transaction.Operation,
    key: u8,
    value: i64,
) engine.transaction.Outcome {
    const noted = history.begin(kind, key, value);
    const result = write(current(), operation, key, value);
    noted.answer = switch (result.outcome) {
        .done => .done,
        .duplicate_key => .duplicate_key,
        .not_found => .not_found,
        else => |outcome| scheduler.fail("a write answers {t}", .{outcome}),
    };
    noted.position = result.position;
    history.end(noted);
    return result.outcome;
}

fn write(
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
        std.mem.writeInt(u64, &line.cell, key, .little);
        std.mem.writeInt(u64, line.payload[table.columns[0].offset..][0..8], key, .little);
        std.mem.writeInt(i64, line.payload[table.columns[1].offset..][0..8], value, .little);
        line.expressions[0] = .{
            .column = 1,
            .operation = .increment,
            .operand = @bitCast(value),
        };
        line.write = .{
            .table = &table,
            .operation = operation,
            .key = .of(0, &line.cell),
            .image = .{ .payload = &line.payload, .null_mask = 0, .version = 0, .size = 16 },
            .mask = if (operation == .update) 0b10 else 0,
            .expressions = if (operation == .apply) &line.expressions else &.{},
        };
    }
};

/// Moves `amount` from row `from` (0 or 1) to the other, in one transaction.
pub fn transfer(from: u8, amount: i64) void {
    const noted = history.begin(.transfer, from, amount);
    var lines: [2]Line = undefined;
    lines[0].init(.apply, from, -amount);
    lines[1].init(.apply, (from + 1) % 2, amount);
    var writes = [_]engine.transaction.Write{ lines[0].write, lines[1].write };
    const result = statement.writeMany(current(), &writes) catch |err| {
        scheduler.fail("a transfer fails with {t}", .{err});
    };
    if (result.outcome != .done) scheduler.fail("a transfer answers {t}", .{result.outcome});
    noted.position = result.position;
    history.end(noted);
}

/// Reads the latest committed row.
pub fn get(key: u8) void {
    const noted = history.begin(.get, key, 0);
    const session = current();
    session.pin();
    noted.seen[key] = read(key, .latest);
    session.unpin();
    history.end(noted);
}

/// Reads all rows as of one moment.
pub fn snapshot() void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = current();
    session.pin();
    const at = reader.snapshotNow(&region);
    for (&noted.seen, 0..) |*value, key| value.* = read(@intCast(key), .{ .snapshot = at });
    session.unpin();
    history.end(noted);
}

/// Reads all rows as of one moment, by a scan.
pub fn scan() void {
    const noted = history.begin(.snapshot, 0, 0);
    const session = current();
    session.pin();
    const at = reader.snapshotNow(&region);
    var rows: reader.Scan = .init(&region, &table, .{ .snapshot = at });
    while (rows.next() catch |err| scheduler.fail("a scan fails with {t}", .{err})) |row| {
        const pair = numbers(row);
        if (pair.key >= history.keys_max) scheduler.fail("a scan sees key {d}", .{pair.key});
        const value = &noted.seen[@intCast(pair.key)];
        if (value.* != null) scheduler.fail("a scan sees key {d} twice", .{pair.key});
        value.* = pair.value;
    }
    session.unpin();
    history.end(noted);
}

fn read(key: u8, view: reader.View) history.Value {
    var cell: [8]u8 = undefined;
    std.mem.writeInt(u64, &cell, key, .little);
    const row = reader.find(&region, &table, .of(0, &cell), view) catch |err| {
        scheduler.fail("a read fails with {t}", .{err});
    };
    const pair = numbers(row orelse return null);
    if (pair.key != key) scheduler.fail("asked for key {d}, got key {d}", .{ key, pair.key });
    return pair.value;
}

fn numbers(row: RowRef) struct { key: u64, value: i64 } {
    var copy: [2]u64 = undefined;
    sync.copyOut(@ptrCast(&copy), row.payload, 16);
    return .{ .key = copy[0], .value = @bitCast(copy[1]) };
}

/// One round of what a maintenance thread does.
pub fn maintain() void {
    const session = current();
    session.pin();
    _ = ring.drainDecided(&region, 8);
    session.unpin();
    vacuum.advanceHorizon(&region);
    session.pin();
    _ = vacuum.drain(session, 8);
    session.unpin();
}

/// Gives the fiber's slot back and takes one again: slabs and log change hands.
pub fn reopen() void {
    const fiber = scheduler.self();
    sessions[fiber].?.close();
    sessions[fiber] = null;
    sessions[fiber] = Session.open(&region, heap.allocator(), claimOf(fiber)) catch |err| {
        scheduler.fail("a session cannot be opened: {t}", .{err});
    };
}

/// Recovers every process that is dead now, as fiber `self`'s process.
pub fn recoverDead() void {
    _ = participants[scheduler.self()].recoverDead(recovery);
}

// ----------------------------------------------------------------------------- the end

/// See the top of this file. Kernels use it as their check.
pub fn check() void {
    settle();
    var final: history.State = @splat(null);
    scheduler.setProcess(janitor);
    const session = attach(janitor);
    session.pin();
    for (&final, 0..) |*value, key| value.* = read(@intCast(key), .latest);
    session.unpin();
    checkChains();
    checkBlocks();
    history.check(final);
    var rows: u64 = 0;
    for (final) |value| rows += @intFromBool(value != null);
    const counted = engine.row_count.total(&region, 0);
    if (counted != rows) scheduler.fail("{d} rows are counted as {d}", .{ rows, counted });
}

/// Recovers the dead and drains every log until nothing is left to free.
fn settle() void {
    scheduler.setProcess(janitor);
    const session = attach(janitor);
    _ = participants[janitor].recoverDead(recovery);
    var rounds: u32 = 0;
    while (true) : (rounds += 1) {
        session.pin();
        var wait: engine.waiting.Wait = .{};
        while (ring.drainedPosition(&region) < reader.snapshotNow(&region)) wait.drain(&region);
        session.unpin();
        vacuum.burnPosition(&region);
        session.pin();
        _ = ring.drainDecided(&region, 1);
        session.unpin();
        vacuum.advanceHorizon(&region);
        if (drainLogs(session)) break;
        if (rounds == 8) scheduler.fail("a log does not drain", .{});
    }
    for (sessions[0..sessions_count], 0..) |open, i| {
        if (scheduler.died(@intCast(i))) continue;
        scheduler.setProcess(@intCast(i));
        open.?.close();
        participants[i].detach(false);
    }
    scheduler.setProcess(janitor);
    session.close();
    participants[janitor].detach(false);
    for (region.slots) |*slot| {
        if (slot.claim.raw != 0) scheduler.fail("a slot is still claimed", .{});
        if (slot.pin.raw != 0) scheduler.fail("a slot is still pinned", .{});
    }
}

/// Drains the logs of the living and of the orphans. True if all are empty.
fn drainLogs(mine: *Session) bool {
    var empty = drainLog(mine);
    for (sessions[0..sessions_count], 0..) |open, i| {
        if (!scheduler.died(@intCast(i)) and !drainLog(open.?)) empty = false;
    }
    for (0..limits.slot_count) |i| {
        const slot: u32 = @intCast(i);
        const orphan = Session.adopt(&region, heap.allocator(), slot, claimOf(janitor)) catch
            unreachable;
        if (!drainLog(orphan orelse continue)) empty = false;
        orphan.?.close();
    }
    return empty;
}

fn drainLog(session: *Session) bool {
    session.pin();
    _ = vacuum.drain(session, std.math.maxInt(u32));
    session.unpin();
    return session.log.isEmpty();
}

/// After `settle`: every node is alive, has one version, and that is stamped.
fn checkChains() void {
    for (region.buckets[0 .. region.bucket_mask + 1]) |*bucket| {
        var at = bucket.raw;
        while (at != 0) {
            const node = version_module.nodeAt(&region, at);
            const link: version_module.Link = .from(node.next.raw);
            const head: version_module.Head = .from(node.head.raw);
            if (link.marked) scheduler.fail("a removed node is in its bucket", .{});
            if (head.state != .live or head.version == 0) scheduler.fail("a node is dead", .{});
            const version = version_module.versionAt(&region, head.version);
            if (version.xmin.raw >= version_module.position_limit) {
                scheduler.fail("a head is not stamped: {x}", .{version.xmin.raw});
            }
            if (version.xmax.raw != 0) scheduler.fail("a head is superseded", .{});
            if (version.isTombstone()) scheduler.fail("a deleted row is not removed", .{});
            if (version.row.raw != at) scheduler.fail("a version is of another row", .{});
            at = link.node;
        }
    }
}

/// After `settle`: the used blocks are the nodes, their versions and the chunks of logs.
fn checkBlocks() void {
    const top = region.control.memory.slab_top.raw;
    for (region.slab_metas[0..top], 0..) |*meta, slab| {
        const kind: engine.slabs.SlabKind = .from(meta.kind.raw);
        const size = engine.slabs.size_classes[kind.size];
        for (0..size.count) |index| {
            const i: u32 = @intCast(index);
            const word = engine.slabs.stateWord(&region, @intCast(slab), i).raw;
            if (!engine.slabs.State.isUsed(word)) continue;
            const granule = engine.slabs.blockGranule(&region, @intCast(slab), size, i);
            if (!isReachable(granule)) {
                scheduler.fail("a {t} block at {x} is lost", .{ kind.class, granule });
            }
        }
    }
}

fn isReachable(granule: u32) bool {
    for (region.buckets[0 .. region.bucket_mask + 1]) |*bucket| {
        var at = bucket.raw;
        while (at != 0) {
            const node = version_module.nodeAt(&region, at);
            if (at == granule) return true;
            if (version_module.Head.from(node.head.raw).version == granule) return true;
            at = version_module.Link.from(node.next.raw).node;
        }
    }
    for (region.slots) |*slot| {
        var chunk = engine.slot_log.Tail.from(slot.log_tail.raw).chunk;
        while (chunk != 0) {
            if (chunk == granule) return true;
            chunk = engine.slot_log.chunkAt(&region, chunk).header.next.raw;
        }
    }
    return false;
}
