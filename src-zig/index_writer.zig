//! What a writer does for the secondary indexes of its row.
//!
//!     log entries, nodes -> head swap -> entries ensured -> summaries cleared | position | unique
//!         keys checked
//!
//! The log entries stand before the head swap, because from then on a remover may see the new
//! version and leave an entry to us. The entries are ensured after it, because a remover that does
//! not see the version must see that we want the entry. Nodes are written before it, so that
//! nothing that can fail comes after it. Summaries of blocks that lose or get the row are cleared
//! after all that and before the position (`index_summary.zig`).

const std = @import("std");
const sync = @import("sync");
const gate = @import("gate.zig");
const index_ahead = @import("index_ahead.zig");
const index_entry = @import("index_entry.zig");
const index_key = @import("index_key.zig");
const index_summary = @import("index_summary.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const row_module = @import("row.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const table_indexes = @import("table_indexes.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const version_module = @import("version.zig");
const Entries = index_entry.Entries;
const Entry = slot_log.Entry;
const Flags = version_module.Flags;
const Guide = @import("index_guide.zig").Guide;
const Head = version_module.Head;
const Index = table_indexes.Index;
const Installer = transaction.Installer;
const Near = @import("index_guide.zig").Near;
const Position = version_module.Position;
const Probe = ordered_index.Probe;
const Region = @import("region.zig").Region;
const Session = @import("session.zig").Session;
const RelPtr = version_module.RelPtr;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const UniqueViolation = @import("unique_violation.zig").UniqueViolation;
const Xmin = version_module.Xmin;
const Write = @import("row_write.zig").Write;
const versionAt = version_module.versionAt;

const count_max = table_indexes.count_max;

/// What is prepared for the version that an installer is about to link.
pub const Prepared = struct {
    /// Bit i: there is a log entry for index i.
    mask: u64 = 0,
    /// Bit i: there is a node for index i, in use and not linked.
    nodes: u64 = 0,
    /// Tables with unique indexes that the transaction has written to.
    unique_count: u8 = 0,
};

/// The rest of it stands in the session: an installer is made for every single-row write, and
/// filling a kilobyte each time would cost a quarter of the write.
pub const Scratch = struct {
    entries: [count_max]*Entry = undefined,
    /// Blocks of the guides at which the entries stand, or 0.
    hints: [count_max]RelPtr = undefined,
    unique_tables: [limits.table_count_max]*const TableInfo = undefined,
    /// Room for one key at a time.
    key: index_key.Key = undefined,
    /// The searches that the row which is about to be linked will need.
    ahead: index_ahead.Ahead = .{},
    /// For each index the one for the new key, and the one for the old key.
    nears: [count_max][2]?*const index_ahead.Search = @splat(.{ null, null }),
    /// Of the last transaction that had one.
    violation: UniqueViolation = undefined,
};

/// What happens to the row.
pub const Change = union(enum) {
    /// There is no live row below.
    insert,
    delete,
    /// The row below, and the columns that may differ.
    replace: struct { below: RowRef, dirty: u64 },
};

/// Bit i: index i gets a key of the row, or loses one.
pub fn concerned(
    region: *const Region,
    indexes: []const Index,
    change: Change,
    image: RowRef,
) u64 {
    var mask: u64 = 0;
    for (indexes, 0..) |*index, i| {
        const differs = switch (change) {
            .insert, .delete => true,
            .replace => |it| it.dirty & index.mask != 0 and
                !index.keys.isSame(it.below, image),
        };
        if (!differs or !index.phase(region).isKept()) continue;
        mask |= @as(u64, 1) << @intCast(i);
    }
    return mask;
}

/// Begins the searches that `ensure` will do for a row, in all indexes of `mask` at once. What
/// there is to do until then is time in which memory can come. `old` is the version whose keys go,
/// or 0.
pub inline fn lookAhead(
    session: *Session,
    indexes: []const Index,
    mask: u64,
    image: ?RowRef,
    old: RelPtr,
) void {
    if (mask != 0) lookAheadIn(session, indexes, mask, image, old);
}

fn lookAheadIn(
    session: *Session,
    indexes: []const Index,
    mask: u64,
    image: ?RowRef,
    old: RelPtr,
) void {
    const region = session.region;
    const scratch = &session.index_scratch;
    scratch.ahead.count = 0;
    var left = mask;
    while (left != 0) : (left &= left - 1) {
        const i = @ctz(left);
        const keys = &indexes[i].keys;
        const root = indexes[i].rootOf(region);
        const nears = &scratch.nears[i];
        nears.* = .{ null, null };
        if (!index_ahead.isLarge(root)) continue;
        if (image) |row| {
            nears[0] = scratch.ahead.add(region, root, keys.prefixOfRow(row, &scratch.key));
        }
        // The old key is looked for where its summary must be cleared.
        if (old == 0 or root.summarized.load(.monotonic) == 0) continue;
        const row = index_entry.rowOf(region, old);
        nears[1] = scratch.ahead.add(region, root, keys.prefixOfRow(row, &scratch.key));
    }
    scratch.ahead.toBlocks(region);
}

/// Writes a log entry for each index of `mask`, and a node for each if the row lives on.
pub fn prepare(
    installer: *Installer,
    table: *const TableInfo,
    indexes: []const Index,
    mask: u64,
    image: ?RowRef,
) transaction.Error!void {
    const prepared = &installer.indexes;
    const entries = &installer.session.index_scratch.entries;
    const id: u8 = @intCast(table.id);
    var left = mask;
    while (left != 0) : (left &= left - 1) {
        const i: u6 = @intCast(@ctz(left));
        const bit = @as(u64, 1) << i;
        if (image) |row| {
            try prepareNode(installer, id, &indexes[i], row);
            prepared.nodes |= bit;
        } else {
            entries[i] = installer.log(.index, id, 0, 0);
            entries[i].old_generation = indexes[i].number;
        }
        prepared.mask |= bit;
    }
}

fn prepareNode(
    installer: *Installer,
    table: u8,
    index: *const Index,
    row: RowRef,
) transaction.Error!void {
    const session = installer.session;
    session.index_scratch.entries[index.number] = try newNode(session, table, index, row);
    installer.entries += 1;
}

/// Writes a node that is in use and not linked, and the log entry of kind `index` that names it.
pub fn newNode(
    session: *Session,
    table: u8,
    index: *const Index,
    row: RowRef,
) transaction.Error!*Entry {
    const region = session.region;
    const key = &session.index_scratch.key;
    key.encode(&index.keys, row);
    const pool = try session.allocator.pool(ordered_index.nodeKind(table, key.size));
    const block = try pool.take(&session.allocator);
    const entry = session.append(.{
        .kind = .index,
        .table = table,
        .block = block.granule,
        .generation = block.generation,
        .old = 0,
        .old_generation = index.number,
        .row = 0,
        .ts = .init(slot_log.ts_running),
    });
    // Complete before it is in use: whoever finds it in use after a kill reads its key.
    const node = ordered_index.nodeAt(region, block.granule);
    ordered_index.initNode(node, index.rootOf(region), block.generation, key, 0);
    block.use();
    return entry;
}

/// Says in the log entries which row they are for, and which version's keys go when the new one is
/// committed (0: none). Comes right before the head swap.
pub fn aim(installer: *Installer, old: RelPtr, node: RelPtr) void {
    const prepared = &installer.indexes;
    var left = prepared.mask;
    while (left != 0) : (left &= left - 1) {
        const entry = installer.session.index_scratch.entries[@ctz(left)];
        entry.old = old;
        entry.row = node;
        if (entry.block == 0) continue;
        ordered_index.nodeAt(installer.session.region, entry.block).row = node;
    }
    if (prepared.mask != 0) {
        installer.session.index_scratch.ahead.toEntries(installer.session.region);
    }
}

/// Mistakes that the simulator has to catch: what belongs behind the head swap, before it.
pub inline fn beforeHead(
    installer: *Installer,
    table: *const TableInfo,
    indexes: []const Index,
    below: RelPtr,
) void {
    if (sync.mutated(.index_first)) ensure(installer, table, indexes, below);
    if (sync.mutated(.clear_before_head)) {
        clearSummaries(installer, indexes, below, installer.prepared.?.block.granule);
    }
}

/// Begins the searches for the keys that a row to be written gets, and for those that it loses
/// where summaries must be cleared. The caller is pinned, and runs what is left in `ahead`.
pub fn addAhead(session: *Session, write: *const Write, ahead: *index_ahead.Ahead) void {
    const indexes = table_indexes.of(write.table);
    if (sync.sim or indexes.len == 0) return;
    switch (write.operation) {
        .insert, .upsert => {},
        // What these make of the row, or which keys it has, is not known yet.
        .update, .apply, .delete, .remove => return,
    }
    const region = session.region;
    const key = &session.index_scratch.key;
    const below = rowBelow(region, pk_map.find(region, write.key));
    for (indexes) |*index| {
        const root = index.rootOf(region);
        if (!index_ahead.isLarge(root)) continue;
        if (below) |row| if (!index.keys.allows(row.size)) continue;
        if (below) |row| if (index.keys.isSame(row, write.image)) continue;
        key.encode(&index.keys, write.image);
        _ = ahead.add(region, root, index.keys.prefixOf(key.slice()));
        if (below) |row| if (root.summarized.load(.monotonic) != 0) {
            key.encode(&index.keys, row);
            _ = ahead.add(region, root, index.keys.prefixOf(key.slice()));
        };
        if (ahead.isFull()) ahead.run(region);
    }
}

/// The newest version of a row, decided or not.
fn rowBelow(region: *const Region, node: RelPtr) ?RowRef {
    if (node == 0) return null;
    const head = Head.from(version_module.nodeAt(region, node).head.load(.acquire));
    if (head.state == .dead or head.version == 0) return null;
    if (versionAt(region, head.version).isTombstone()) return null;
    return index_entry.rowOf(region, head.version);
}

/// Makes sure that the entries of a version exist, which is in the row's chain, and that no summary
/// counts the row where it was, or leaves it out where it is. `below` is the version whose keys it
/// loses, or 0.
pub fn ensure(
    installer: *Installer,
    table: *const TableInfo,
    indexes: []const Index,
    below: RelPtr,
) void {
    const prepared = &installer.indexes;
    const region = installer.session.region;
    const scratch = &installer.session.index_scratch;
    var left = prepared.nodes;
    while (left != 0) : (left &= left - 1) {
        const i = @ctz(left);
        const entries: Entries = .{
            .region = region,
            .root = indexes[i].root,
            .slot = installer.session.slot_index,
            .room = &scratch.key,
        };
        const near: Near = if (scratch.nears[i][0]) |search| search.near() else .none;
        scratch.hints[i] = entries.ensure(installer.session, scratch.entries[i], &near);
    }
    if (!sync.mutated(.clear_before_head)) {
        clearSummaries(installer, indexes, below, installer.last);
    }
    noteUnique(installer, table, indexes);
    prepared.mask = 0;
    prepared.nodes = 0;
}

/// Clears what counts the keys that a version `new` has and `below` has not, and those that it has
/// and `new` has not. Both may be 0, or a version that has no keys.
pub fn clearSummaries(
    installer: *Installer,
    indexes: []const Index,
    below: RelPtr,
    new: RelPtr,
) void {
    const region = installer.session.region;
    const scratch = &installer.session.index_scratch;
    const key = &scratch.key;
    sync.fence(); // the Dekker partner of `Publisher.begin`
    var left = installer.indexes.mask;
    while (left != 0) : (left &= left - 1) {
        const i = @ctz(left);
        const index = &indexes[i];
        const root = index.rootOf(region);
        if (root.summarized.load(.acquire) == 0) continue;
        const ordered: ordered_index.OrderedIndex = .at(region, index.root);
        const is_new = installer.indexes.nodes >> @intCast(i) & 1 != 0;
        for ([_]RelPtr{ below, new }) |at| {
            if (at == 0 or (at == below and sync.mutated(.no_clear_of_old_key))) continue;
            const version = versionAt(region, at);
            if (version.isTombstone() or !index.keys.allows(version.payloadSize())) continue;
            key.encode(&index.keys, index_entry.rowOf(region, at));
            const row = version.row.load(.monotonic);
            const probe: Probe = .entry(key.slice(), row, index.keys.prefixOf(key.slice()));
            const guide = ordered.guide();
            const hint = if (at == new)
                if (is_new) scratch.hints[i] else 0
            else
                nearOld(scratch, i, guide, &probe);
            index_summary.clear(guide, hint, &probe);
        }
    }
}

/// A block of the guide near the old key, or 0.
fn nearOld(scratch: *const Scratch, i: usize, guide: Guide, probe: *const Probe) RelPtr {
    const search = scratch.nears[i][1] orelse return 0;
    const near = search.near();
    return if (guide.isNear(&near, probe)) near.block.granule else 0;
}

fn noteUnique(installer: *Installer, table: *const TableInfo, indexes: []const Index) void {
    const prepared = &installer.indexes;
    const tables = &installer.session.index_scratch.unique_tables;
    for (indexes) |*index| {
        if (index.unique) break;
    } else return;
    for (tables[0..prepared.unique_count]) |known| if (known == table) return;
    tables[prepared.unique_count] = table;
    prepared.unique_count += 1;
}

/// Gives up what was prepared for a version that was not linked.
pub fn drop(installer: *Installer) void {
    const prepared = &installer.indexes;
    const region = installer.session.region;
    var left = prepared.mask;
    while (left != 0) : (left &= left - 1) {
        const i: u6 = @intCast(@ctz(left));
        const entry = installer.session.index_scratch.entries[i];
        if (entry.block != 0) slabs.free(region, entry.block, entry.generation);
        entry.kind = .nop;
    }
    prepared.mask = 0;
    prepared.nodes = 0;
}

/// Whether every unique key that the transaction has written is its row's alone at `position`.
/// Waits for undecided transactions before that. Of two that write the same key the one with the
/// larger position sees the other's entry, because entries come before positions.
pub fn areUnique(installer: *const Installer, position: Position) bool {
    const region = installer.session.region;
    const prepared = &installer.indexes;
    if (prepared.unique_count == 0 or sync.mutated(.no_unique_check)) return true;
    const tables = &installer.session.index_scratch.unique_tables;
    var at = installer.last;
    var rows: usize = 0;
    while (at != 0) : (rows += 1) {
        // Others wait for the decision, and would take a long look for a stop.
        if (rows % 64 == 63) gate.renew(installer.session);
        const version = versionAt(region, at);
        for (tables[0..prepared.unique_count]) |table| {
            if (table.id != version.table or version.isTombstone()) continue;
            for (table_indexes.of(table)) |*index| {
                if (!index.unique or !index.phase(region).isKept()) continue;
                const is_new = version.flags & Flags.insert != 0;
                if (!is_new and version.dirty & index.mask == 0) continue;
                if (isAlone(installer, index, at, position)) continue;
                const node = version_module.nodeAt(region, version.row.load(.monotonic));
                installer.session.index_scratch.violation.set(table, index, node.key());
                return false;
            }
        }
        at = version.txn_next.load(.monotonic);
    }
    return true;
}

fn isAlone(
    installer: *const Installer,
    index: *const Index,
    at: RelPtr,
    position: Position,
) bool {
    const region = installer.session.region;
    const mine = index_entry.rowOf(region, at);
    var key: index_key.Key = undefined;
    key.encode(&index.keys, mine);
    if (key.has_null) return true;
    const columns = key.bytes[0..key.columns_size];
    const ordered: ordered_index.OrderedIndex = .at(region, index.root);
    var granule = ordered.seek(&.bound(&index.keys, columns, .before));
    while (granule != 0) : (granule = ordered.following(granule)) {
        const node = ordered_index.nodeAt(region, granule);
        if (!std.mem.eql(u8, node.columns(), columns)) return true;
        if (node.row == versionAt(region, at).row.load(.monotonic)) continue;
        if (ordered_index.State.from(node.state.load(.acquire)).phase == .dead) continue;
        const other = visibleTo(installer, node.row, position);
        if (other == 0) continue;
        if (index.keys.isSame(mine, index_entry.rowOf(region, other))) return false;
    }
    return true;
}

/// The version of a row that stands once this transaction is committed at `position`, or 0.
fn visibleTo(installer: *const Installer, row: RelPtr, position: Position) RelPtr {
    const session = installer.session;
    const region = session.region;
    const head = Head.from(version_module.nodeAt(region, row).head.load(.acquire));
    if (head.state == .dead or head.version == 0) return 0;
    const version = versionAt(region, head.version);
    if (version.xmin.load(.acquire) == Xmin.reference(session.slot_index, session.sequence)) {
        return if (version.isTombstone()) 0 else head.version;
    }
    return reader.visible(region, row, .{ .validate = position });
}
