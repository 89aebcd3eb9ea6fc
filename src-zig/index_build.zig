//! Entering the rows of a table into an index that was added to it.
//!
//! The root is in the table's list already, in phase building, so writers that begin now keep the
//! index. Those that began before are waited for, until they are decided. Then each row's latest
//! version is entered. What is visible to a snapshot taken after that is either such a version, or
//! was written by someone who kept the index. Older snapshots do not use it (`Root.ready_at`).
//!
//! Killed: the index stays in phase building. The lock byte of declarations is free, so whoever
//! declares the table next knows that nobody builds, and builds again; entries that exist already
//! stay.

const std = @import("std");
const sync = @import("sync");
const gate = @import("gate.zig");
const index_entry = @import("index_entry.zig");
const index_writer = @import("index_writer.zig");
const integrity = @import("integrity.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const reader = @import("reader.zig");
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
    if (index.unique and !isUnique(session, index)) {
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
    gate.awaitWriters(session);
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
        entries.ensure(entry);
        entry.kind = .nop;
        entry.ts.store(1, .release);
    }
    return true;
}

/// Takes every entry out of an index that nobody keeps from now on.
fn empty(session: *Session, index: *const Index) Error!void {
    const region = session.region;
    awaitWriters(session);
    const ordered: ordered_index.OrderedIndex = .at(region, index.root);
    const entries: index_entry.Entries = .{
        .region = region,
        .root = index.root,
        .slot = session.slot_index,
    };
    while (true) {
        try session.reserveLog(2);
        session.pin();
        defer session.unpin();
        const node = ordered.following(0);
        if (node == 0) return;
        const entry = session.append(.{
            .kind = .index_retire,
            .table = @intCast(ordered.root.table),
            .block = node,
            .generation = slabs.generationOf(region, node),
            .old = 0,
            .old_generation = index.number,
            .row = 0,
            .ts = .init(slot_log.ts_unfinished),
        });
        entries.removeAnyway(entry);
        _ = vacuum.drain(session, 4);
    }
}

/// Whether no two rows have the same key. Writers see to what is written meanwhile.
fn isUnique(session: *Session, index: *const Index) bool {
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
        if (index.keys.isSame(index_entry.rowOf(region, before), here)) return false;
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
