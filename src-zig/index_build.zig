//! Entering the rows of a table into an index that was added to it, and taking the entries of one
//! that was dropped out again.
//!
//! The root is in the table's list already, in phase building, so writers that begin now keep the
//! index. Those that began before are waited for, until they are decided. Then each row's latest
//! version is entered. What is visible to a snapshot taken after that is either such a version, or
//! was written by someone who kept the index. Older snapshots do not use it (`Root.ready_at`).
//!
//! Killed: the index stays in phase building. The lock byte of declarations is free, so whoever
//! declares the table next knows that nobody builds, and builds again; entries that exist already
//! stay.
//!
//! Dropping is one store of the phase. Whoever keeps or uses the index then looked at the phase
//! under a pin from before the store, so all of them have ended once the horizon has passed it
//! (`Root.ready_at`). Then the leader's maintenance thread takes the entries out, some in each
//! round, under the lock byte of declarations.
//!
//! Killed: the phase tells, and the next leader goes on. Killed between the phase and the position:
//! a position that nobody wrote is taken anew, which can only be later.

const std = @import("std");
const sync = @import("sync");
const gate = @import("gate.zig");
const index_entry = @import("index_entry.zig");
const index_guide_change = @import("index_guide_change.zig");
const index_writer = @import("index_writer.zig");
const integrity = @import("integrity.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const reader = @import("reader.zig");
const ring = @import("commit_ring.zig");
const session_module = @import("session.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const statement = @import("statement.zig");
const table_indexes = @import("table_indexes.zig");
const table_info = @import("table_info.zig");
const vacuum = @import("vacuum.zig");
const version_module = @import("version.zig");
const Index = table_indexes.Index;
const Region = @import("region.zig").Region;
const Phase = ordered_index.Root.Phase;
const RelPtr = version_module.RelPtr;
const Session = session_module.Session;
const TableInfo = table_info.TableInfo;

pub const Error = session_module.Error || error{UniqueViolation};

/// Rows that are entered under one pin.
const rows_per_pin = 256;

/// Builds every index of a table that is in phase building. The caller holds the lock byte of
/// declarations; the session is not pinned.
pub fn complete(session: *Session, table: *const TableInfo) Error!void {
    session.lock();
    defer session.unlock();
    for (table_indexes.of(table)) |*index| {
        if (index.phase(session.region) == .emptying) {
            try empty(session, index);
            table_indexes.setPhase(session.region, index.root, .building);
        }
        if (index.phase(session.region) != .building) continue;
        try build(session, table, index);
    }
}

fn build(session: *Session, table: *const TableInfo, index: *const Index) Error!void {
    const region = session.region;
    awaitWriters(session);
    var nodes: reader.Nodes = .init(region, table);
    var more = true;
    while (more) {
        session.pin();
        more = enterSome(session, table, index, &nodes) catch |err| {
            session.unpin();
            return err;
        };
        _ = vacuum.drain(session, 4 * rows_per_pin);
        session.unpin();
    }
    if (index.unique and !isUnique(session, table, index)) {
        table_indexes.setPhase(region, index.root, .emptying);
        try empty(session, index);
        table_indexes.setPhase(region, index.root, .none);
        return error.UniqueViolation;
    }
    index.rootOf(region).ready_at.store(reader.snapshotNow(region), .release);
    table_indexes.setPhase(region, index.root, .ready);
}

/// A writer that does not see the index has shown itself in its slot's word before it looked, so it
/// is seen here and waited for.
fn awaitWriters(session: *Session) void {
    if (sync.mutated(.build_without_wait)) return;
    sync.everywhereFence();
    gate.awaitWriters(session, .unpinned);
}

/// False if there are no more rows.
fn enterSome(
    session: *Session,
    table: *const TableInfo,
    index: *const Index,
    nodes: *reader.Nodes,
) Error!bool {
    const region = session.region;
    const entries: index_entry.Entries = .{
        .region = region,
        .root = index.root,
        .slot = session.slot_index,
        .room = &session.index_scratch.key,
    };
    for (0..rows_per_pin) |_| {
        const row = nodes.next() orelse return false;
        // It was superseded under our pin at the earliest, so nobody removes its entry yet.
        const at = reader.visible(region, row, .latest);
        if (at == 0) continue;
        try session.reserveLog(2);
        const image = index_entry.rowOf(region, at);
        const entry = try index_writer.newNode(session, @intCast(table.id), index, image);
        ordered_index.nodeAt(region, entry.block).row = row;
        entry.row = row;
        _ = entries.ensure(session, entry, &.none);
        entry.kind = .nop;
        entry.ts.store(1, .release);
    }
    return true;
}

/// Takes every entry out of an index that nobody keeps from now on.
fn empty(session: *Session, index: *const Index) Error!void {
    awaitWriters(session);
    _ = try takeOut(session, index.root, std.math.maxInt(u32));
}

/// Takes up to `count` entries out of an index that nobody keeps or uses. True if none is left.
fn takeOut(session: *Session, root: u32, count: u32) Error!bool {
    const region = session.region;
    const ordered: ordered_index.OrderedIndex = .at(region, root);
    const entries: index_entry.Entries = .{
        .region = region,
        .root = root,
        .slot = session.slot_index,
        .room = &session.index_scratch.key,
    };
    for (0..count) |_| {
        try session.reserveLog(2);
        session.pin();
        defer session.unpin();
        const node = ordered.following(0);
        if (node == 0) {
            if (!index_guide_change.clearOne(ordered.guide(), session)) return true;
            continue;
        }
        const entry = session.append(.{
            .kind = .index_retire,
            .table = @intCast(ordered.root.table),
            .block = node,
            .generation = slabs.generationOf(region, node),
            .old = 0,
            .old_generation = ordered.root.index,
            .row = 0,
            .ts = .init(slot_log.ts_unfinished),
        });
        _ = entries.removeAnyway(entry);
        _ = vacuum.drain(session, 4);
    }
    return false;
}

/// What stands in `Root.ready_at` until the position is known at which a dropped index is free.
const not_known = std.math.maxInt(u64);

/// Drops an index that is kept. The caller holds the lock byte of declarations.
pub fn drop(region: *const Region, root: u32) void {
    const ready_at = &region.pointer(ordered_index.Root, root).ready_at;
    ready_at.store(not_known, .release);
    sync.step();
    table_indexes.setPhase(region, root, .dropping);
    sync.fence();
    ready_at.store(vacuum.retirePosition(region), .release);
}

/// What is left to do about dropped indexes.
pub const Dropped = struct {
    /// There is one.
    any: bool = false,
    /// One waits for a position that nobody has taken yet.
    waits: bool = false,
};

/// Whether there are dropped indexes. Gives those a position that were left without by a kill.
pub fn findDropped(region: *const Region) Dropped {
    var found: Dropped = .{};
    for (&region.control.catalogue.indexes) |*first| {
        var at = first.load(.acquire);
        while (at != 0) {
            const root = region.pointer(ordered_index.Root, at);
            at = root.next.load(.acquire);
            if (root.phase.load(.acquire) != @intFromEnum(Phase.dropping)) continue;
            found.any = true;
            if (root.ready_at.load(.acquire) == not_known) {
                sync.fence();
                root.ready_at.store(vacuum.retirePosition(region), .release);
            }
            const drained = ring.drainedPosition(region);
            if (root.ready_at.load(.acquire) > drained) found.waits = true;
        }
    }
    return found;
}

/// Takes up to `count` entries out of each dropped index that nobody uses any more, and gives up
/// those that are empty then, unless somebody holds the gate: `verify` counts blocks under it. The
/// caller holds the lock byte of declarations; the session is not pinned.
pub fn collect(session: *Session, count: u32) Error!void {
    const region = session.region;
    session.lock();
    defer session.unlock();
    const word = &session.slot.word;
    _ = word.swap(ring.SlotWord.of(session.sequence, .draining), .seq_cst);
    defer word.store(ring.SlotWord.of(session.sequence, .idle), .release);
    if (region.control.shared.gate.load(.acquire) != 0) return;
    const horizon = region.control.shared.horizon.load(.acquire);
    for (&region.control.catalogue.indexes) |*first| {
        var at = first.load(.acquire);
        while (at != 0) {
            const granule = at;
            const root = region.pointer(ordered_index.Root, at);
            at = root.next.load(.acquire);
            if (root.phase.load(.acquire) != @intFromEnum(Phase.dropping)) continue;
            if (root.ready_at.load(.acquire) > horizon) continue;
            if (try takeOut(session, granule, count)) {
                table_indexes.setPhase(region, granule, .none);
            }
        }
    }
}

/// Whether no two rows have the same key. Writers see to what is written meanwhile.
fn isUnique(session: *Session, table: *const TableInfo, index: *const Index) bool {
    const region = session.region;
    const ordered: ordered_index.OrderedIndex = .at(region, index.root);
    session.pin();
    defer session.unpin();
    var before: RelPtr = 0;
    var node = ordered.following(0);
    while (node != 0) : (node = ordered.following(node)) {
        const row = ordered_index.nodeAt(region, node).row;
        const at = reader.visible(region, row, .latest);
        if (at == 0) continue;
        const here = index_entry.rowOf(region, at);
        defer before = at;
        if (before == 0 or before == at or hasNull(index, here)) continue;
        if (!index.keys.isSame(index_entry.rowOf(region, before), here)) continue;
        const key = version_module.nodeAt(region, row).key();
        session.index_scratch.violation.set(table, index, key);
        return false;
    }
    return true;
}

fn hasNull(index: *const Index, row: @import("row.zig").RowRef) bool {
    return row.null_mask & index.mask != 0;
}

/// Counts the groups of indexes anew in whose change somebody was killed. Takes the gate, because
/// the count is exact only while nobody writes. False if somebody did not come to rest.
pub fn recount(session: *Session) bool {
    const region = session.region;
    if (!needsRecount(region)) return true;
    const hold = gate.take(session) orelse return false;
    defer hold.release();
    if (!integrity.rest(session)) return false;
    for (&region.control.catalogue.indexes) |*first| {
        var root = first.load(.acquire);
        while (root != 0) {
            const ordered: ordered_index.OrderedIndex = .at(region, root);
            if (ordered.root.recount.load(.acquire) != 0) {
                gate.renew(session);
                ordered.root.distinct.store(@intCast(ordered.countGroups()), .release);
                ordered.root.recount.store(0, .release);
            }
            root = ordered.root.next.load(.acquire);
        }
    }
    return true;
}

pub fn needsRecount(region: *const Region) bool {
    for (&region.control.catalogue.indexes) |*first| {
        var at = first.load(.acquire);
        while (at != 0) {
            const root = region.pointer(ordered_index.Root, at);
            if (root.recount.load(.acquire) != 0) return true;
            at = root.next.load(.acquire);
        }
    }
    return false;
}

const Indexed = @import("index_test.zig").Indexed;
const testing = std.testing;

test "collect: leaves a dropped index to those who have begun to use it" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, false);
    defer indexed.deinit();
    const region = &indexed.bench.region;
    for (0..100) |i| _ = try indexed.put(.insert, @intCast(i), @intCast(i / 3), "s");
    const late = try indexed.bench.session();
    defer late.close();
    late.pin();
    var scan = indexed.scan(0, .{});
    for (0..10) |_| _ = (try scan.next()).?;

    const root = indexed.indexes.byNumber(0).?.root;
    const phase = &region.pointer(ordered_index.Root, root).phase;
    drop(region, root);
    try testing.expect(findDropped(region).waits);
    // Neither kept by writers from now on, nor taken away.
    _ = try indexed.put(.upsert, 99, 5, "s");
    indexed.bench.settle(indexed.session);
    try collect(indexed.session, 1000);
    try testing.expect(findDropped(region).any);
    var left: u32 = 0;
    while (try scan.next()) |_| left += 1;
    try testing.expectEqual(90, left);
    late.unpin();

    indexed.bench.settle(indexed.session);
    try collect(indexed.session, 30);
    try testing.expectEqual(@intFromEnum(Phase.dropping), phase.load(.acquire));
    try collect(indexed.session, 1000);
    try testing.expectEqual(@intFromEnum(Phase.none), phase.load(.acquire));
    try testing.expect(!findDropped(region).any);
    try testing.expectEqual(0, ordered_index.OrderedIndex.at(region, root).following(0));
    indexed.bench.settle(indexed.session);
    try indexed.bench.expectSound(indexed.session);
}

test "findDropped: gives an index a position that a kill has left without" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, false);
    defer indexed.deinit();
    const region = &indexed.bench.region;
    _ = try indexed.put(.insert, 1, 1, "s");
    const root = indexed.indexes.byNumber(1).?.root;
    drop(region, root);
    const ready_at = &region.pointer(ordered_index.Root, root).ready_at;
    ready_at.store(std.math.maxInt(u64), .release);
    indexed.bench.settle(indexed.session);
    try collect(indexed.session, 1000);
    try testing.expect(findDropped(region).any);
    try testing.expect(ready_at.load(.acquire) < std.math.maxInt(u64));
    indexed.bench.settle(indexed.session);
    try collect(indexed.session, 1000);
    try testing.expect(!findDropped(region).any);
}
