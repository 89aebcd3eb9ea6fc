//! Installing versions and committing them.
//!
//! Writes are linked only at commit. A transaction of one statement goes straight to state
//! sequencing; one of several statements installs its rows in key order in state installing, then
//! moves on. After that both take a position, decide their cell, stamp, and end:
//!
//!     pin | word | log entry -> block in use -> content -> head swap ... | position | guard swap
//!         | validate | cell swap = COMMIT | stamp | entries done | word idle | unpin
//!
//! Invariants:
//!
//!   * a log entry stands before its block is in use, and names `old` before the head swap
//!   * the head swap is the row's write lock: whoever wants the row next resolves our version
//!   * nothing waits in state sequencing once a head is swapped
//!   * the slot's sequence goes up only after every version is stamped or aborted
//!
//! Killed before the cell swap: `rollback` by recovery; after it: `rollForward`. Both can be
//! repeated and are the same code that the living owner runs.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const ring = @import("commit_ring.zig");
const pk_map = @import("pk_map.zig");
const index_entry = @import("index_entry.zig");
const table_indexes = @import("table_indexes.zig");
const index_writer = @import("index_writer.zig");
const row_module = @import("row.zig");
const row_write = @import("row_write.zig");
const row_merge = @import("row_merge.zig");
const table_info = @import("table_info.zig");
const vacuum = @import("vacuum.zig");
const session_module = @import("session.zig");
const settlement = @import("settlement.zig");
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const Version = version_module.Version;
const Flags = version_module.Flags;
const Head = version_module.Head;
const Xmin = version_module.Xmin;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const Key = pk_map.Key;
const Entry = slot_log.Entry;
const Index = table_indexes.Index;
const versionAt = version_module.versionAt;
const nodeAt = version_module.nodeAt;
const assert = std.debug.assert;

pub const Error = session_module.Error;

pub const Operation = row_write.Operation;
pub const Write = row_write.Write;
pub const Expected = row_write.Expected;
pub const Outcome = row_write.Outcome;
pub const keyOf = row_write.keyOf;
pub const keyCell = row_write.keyCell;

/// What a tombstone holds.
const no_row: RowRef = .{ .payload = undefined, .null_mask = 0, .version = 0, .size = 0 };

/// A transaction from its first installed row to its end.
pub const Installer = struct {
    session: *Session,
    state: ring.State,
    /// The newest version, from which the others follow by `txn_next`.
    last: RelPtr = 0,
    table: u8 = 0,
    multi: bool = false,
    /// Log entries of this transaction; they are the newest ones of the log.
    entries: u64 = 0,
    prepared: ?Prepared = null,
    prepared_node: ?PreparedNode = null,
    indexes: index_writer.Prepared = .{},
    /// The pin is the session's, from before, and stays when the transaction ends.
    keeps_pin: bool = false,

    const Prepared = struct { block: slabs.Block, entry: *Entry, pool: *slabs.Pool };
    const PreparedNode = struct { block: slabs.Block, entry: *Entry, pool: *slabs.Pool };

    /// Pins and shows that a transaction runs. `state` is installing, or sequencing for a single
    /// row.
    pub fn begin(session: *Session, state: ring.State) Installer {
        const word = ring.SlotWord.of(session.sequence, state);
        session.slot.word.store(word, .release);
        // The pin's full barrier stands between the word and a look at the gate.
        session.pin();
        return .{ .session = session, .state = state };
    }

    /// The same under a pin that the session has already, which stays.
    pub fn beginPinned(session: *Session, state: ring.State) Installer {
        const word = ring.SlotWord.of(session.sequence, state);
        _ = session.slot.word.swap(word, .seq_cst);
        return .{ .session = session, .state = state, .keeps_pin = true };
    }

    fn wasKicked(installer: *const Installer) bool {
        const session = installer.session;
        const word = ring.SlotWord.of(session.sequence, installer.state);
        return session.slot.word.load(.acquire) != word;
    }

    /// Links a version of one row on top of its latest committed one. On an outcome other than done
    /// nothing of this row is linked; the caller aborts or goes on.
    pub fn install(installer: *Installer, write: *const Write) Error!Outcome {
        const region = installer.session.region;
        var wait: waiting.Wait = .{};
        const slot = installer.session.slot;
        const indexes = table_indexes.of(write.table);
        slot.progress.store(slot.progress.raw +% 1, .monotonic);
        while (true) {
            const place = pk_map.findForWrite(region, write.key);
            if (place.node == 0) {
                if (try installer.installNew(write, indexes, place.first)) |outcome| return outcome;
                continue;
            }
            installer.discardNode();
            const node = nodeAt(region, place.node);
            const head = Head.from(node.head.load(.acquire));
            if (head.state == .dead) continue;
            const base = switch (ring.resolve(region, versionAt(region, head.version))) {
                .committed => head.version,
                .aborted => versionAt(region, head.version).prev.load(.acquire),
                else => |resolution| {
                    if (installer.wasKicked()) {
                        installer.discardVersion();
                        return .kicked;
                    }
                    slot.waits.store(slot.waits.raw +% 1, .monotonic);
                    wait.writer(region, resolution);
                    continue;
                },
            };
            const outcome = try installer.installOn(write, indexes, place.node, head, base);
            return outcome orelse continue;
        }
    }

    /// The key has no node: links a new one that holds the row's first version. Null: look again.
    fn installNew(
        installer: *Installer,
        write: *const Write,
        indexes: []const Index,
        first: RelPtr,
    ) Error!?Outcome {
        switch (write.operation) {
            .insert, .upsert => {},
            .update, .delete, .apply, .remove => {
                installer.discardVersion();
                if (write.expected == .version and write.expected.version != 0) return .conflict;
                return if (write.operation == .remove) .done else .not_found;
            },
        }
        if (write.expected == .version and write.expected.version != 0) return .conflict;
        const region = installer.session.region;
        const image = write.image;
        const concerned = index_writer.concerned(region, indexes, .insert, image);
        if (installer.prepared_node == null) {
            installer.discardVersion(); // its entry must follow the node's
            index_writer.lookAhead(installer.session, indexes, concerned, image, 0);
            try index_writer.prepare(installer, write.table, indexes, concerned, image);
            try installer.prepareNode(write.key, write.table);
        }
        const node = installer.prepared_node.?;
        try installer.prepareVersion(write, image, .insert, indexes, installer.indexes.mask);
        const prepared = installer.prepared.?;
        prepared.entry.row = node.block.granule;
        const head = Head.to(prepared.block.granule, prepared.block.generation);
        installer.fill(write, image, write.table.allColumns(), .{
            .base = 0,
            .node = node.block.granule,
            .flags = Flags.insert,
        });
        pk_map.initNode(nodeAt(region, node.block.granule), write.key, head);
        index_writer.aim(installer, 0, node.block.granule);
        index_writer.beforeHead(installer, write.table, indexes, 0);
        if (!pk_map.publish(region, write.key, first, node.block.granule)) return null;
        installer.installed(write, indexes, 0);
        installer.prepared_node = null;
        return .done;
    }

    /// The key has a node whose latest committed version is `base` (0: none). Null: look again.
    fn installOn(
        installer: *Installer,
        write: *const Write,
        indexes: []const Index,
        node: RelPtr,
        head: Head,
        base: RelPtr,
    ) Error!?Outcome {
        const region = installer.session.region;
        const below: ?*Version = if (base == 0) null else versionAt(region, base);
        const lives = below != null and !below.?.isTombstone();
        if (refuse(write, base, lives)) |outcome| {
            installer.discardVersion();
            return outcome;
        }
        var image = write.image;
        var dirty = write.table.allColumns();
        switch (write.operation) {
            .insert => {},
            // A transaction that has read the row knows which columns it changed.
            .upsert => if (write.mask != 0) {
                dirty = write.mask;
            },
            .delete, .remove => image = no_row,
            .update, .apply => {
                const outcome = try installer.buildImage(write, below.?, &image, &dirty);
                if (outcome != .done) {
                    installer.discardVersion();
                    return outcome;
                }
            },
        }
        const over: slot_log.Kind = if (deletes(write)) .delete else .update;
        const kind: slot_log.Kind = if (base == 0) .insert else over;
        const change: index_writer.Change = if (deletes(write))
            .delete
        else if (!lives) .insert else .{ .replace = .{
            .below = index_entry.rowOf(region, base),
            .dirty = dirty,
        } };
        const concerned = if (indexes.len == 0)
            0
        else
            index_writer.concerned(region, indexes, change, image);
        const loses = if (lives) base else 0;
        const gets: ?RowRef = if (deletes(write)) null else image;
        index_writer.lookAhead(installer.session, indexes, concerned, gets, loses);
        try installer.prepareVersion(write, image, kind, indexes, concerned);
        index_writer.aim(installer, loses, node);
        const prepared = installer.prepared.?;
        prepared.entry.row = node;
        prepared.entry.old = base;
        // The head word knows the generation; reading the state word would be a cache miss.
        prepared.entry.old_generation = if (base == head.version)
            head.generation
        else if (base == 0) 0 else slabs.tagOf(slabs.generationOf(region, base));
        var flags: u8 = if (lives) 0 else Flags.insert;
        if (deletes(write)) flags |= Flags.tombstone;
        installer.fill(write, image, dirty, .{ .base = base, .node = node, .flags = flags });
        sync.step();
        const new = Head.to(prepared.block.granule, prepared.block.generation).bits();
        const anchor = nodeAt(region, node);
        index_writer.beforeHead(installer, write.table, indexes, loses);
        if (anchor.head.cas(head.bits(), new, .acq_rel, .acquire) != null) return null;
        pk_map.suggest(region, write.key.hash, prepared.block.granule);
        installer.installed(write, indexes, loses);
        return .done;
    }

    fn deletes(write: *const Write) bool {
        return write.operation == .delete or write.operation == .remove;
    }

    fn refuse(write: *const Write, base: RelPtr, lives: bool) ?Outcome {
        switch (write.expected) {
            .any => {},
            .version => |expected| {
                const seen = if (lives) base else 0;
                if (seen != expected and !sync.mutated(.no_validation)) return .conflict;
            },
        }
        return switch (write.operation) {
            .insert => if (lives) .duplicate_key else null,
            .update, .delete, .apply => if (lives) null else .not_found,
            .remove => if (lives) null else .done,
            .upsert => null,
        };
    }

    /// The new image of an update, in the session's private memory.
    fn buildImage(
        installer: *Installer,
        write: *const Write,
        below: *Version,
        image: *RowRef,
        dirty: *u64,
    ) Error!Outcome {
        const size = below.payloadSize();
        if (size < write.table.fixed_size or size > write.table.payload_size_max) {
            return error.Corrupt;
        }
        const base: RowRef = .{
            .payload = @alignCast(below.payload()),
            .null_mask = below.null_mask,
            .version = 0,
            .size = @intCast(size),
        };
        const buffer = try installer.session.imageBuffer(write.table.payload_size_max);
        const patch = if (write.operation == .update) write.image else base;
        image.* = row_merge.merge(write.table, base, patch, write.mask, buffer);
        dirty.* = write.mask;
        if (write.operation == .update) return .done;
        dirty.* = row_merge.apply(write.table, image, buffer, write.expressions) catch |err| {
            return switch (err) {
                error.TypeMismatch => .type_mismatch,
                error.OutOfRange => .out_of_range,
                error.NotANumber => .not_a_number,
            };
        };
        return .done;
    }

    /// A block for the version, in use, named by an entry. Keeps the one of the last try if it
    /// fits.
    fn prepareVersion(
        installer: *Installer,
        write: *const Write,
        image: RowRef,
        kind: slot_log.Kind,
        indexes: []const Index,
        concerned: u64,
    ) Error!void {
        const session = installer.session;
        const granules = version_module.versionGranules(image.size);
        const table: u8 = @intCast(write.table.id);
        const pool = try session.allocator.pool(.of(.version, table, granules));
        if (installer.prepared) |prepared| {
            // An image that was made from another base may have other keys.
            const same_keys = concerned == 0 or switch (write.operation) {
                .update, .apply => sync.mutated(.keys_of_another_base),
                .insert, .upsert, .delete, .remove => true,
            };
            const same_indexes = installer.indexes.mask == concerned and same_keys;
            if (prepared.pool == pool and prepared.entry.kind == kind and same_indexes) return;
            installer.discardVersion();
        }
        if (installer.prepared_node == null and concerned != 0) {
            const row: ?RowRef = if (deletes(write)) null else image;
            session.allocator.use_reserve = deletes(write);
            try index_writer.prepare(installer, write.table, indexes, concerned, row);
        }
        if (kind == .insert and installer.prepared_node == null) {
            // An insert's entry follows one for its node: rolled back, it may have to remove it.
            _ = installer.log(.nop, table, 0, 0);
        }
        session.allocator.use_reserve = deletes(write);
        const block = try pool.take(&session.allocator);
        const entry = installer.log(kind, table, block.granule, block.generation);
        sync.step();
        block.use();
        installer.prepared = .{ .block = block, .entry = entry, .pool = pool };
    }

    fn prepareNode(installer: *Installer, key: Key, table: *const TableInfo) Error!void {
        const session = installer.session;
        const pool = try session.allocator.pool(version_module.nodeKind(table));
        const block = try pool.take(&session.allocator);
        const entry = installer.log(.node_new, key.table, block.granule, block.generation);
        // Not the head of the block's last life: a scan looks at every node in use, and recovery
        // has to tell that nothing was published.
        const node = nodeAt(session.region, block.granule);
        node.head.store(Head.none.bits(), .monotonic);
        // Recovery takes a node that was killed here out of its chain, in which it is not.
        node.next.store(0, .monotonic);
        block.use();
        installer.prepared_node = .{ .block = block, .entry = entry, .pool = pool };
    }

    pub fn log(
        installer: *Installer,
        kind: slot_log.Kind,
        table: u8,
        granule: RelPtr,
        generation: u32,
    ) *Entry {
        installer.entries += 1;
        return installer.session.append(.{
            .kind = kind,
            .table = table,
            .block = granule,
            .generation = generation,
            .old = 0,
            .old_generation = 0,
            .row = 0,
            .ts = .init(slot_log.ts_running),
        });
    }

    const Place = struct { base: RelPtr, node: RelPtr, flags: u8 };

    /// Writes the version. `xmin` comes first: see the invariants in `version.zig`.
    fn fill(
        installer: *Installer,
        write: *const Write,
        image: RowRef,
        dirty: u64,
        place: Place,
    ) void {
        const session = installer.session;
        const version = versionAt(session.region, installer.prepared.?.block.granule);
        const reference = Xmin.reference(session.slot_index, session.sequence);
        if (!sync.mutated(.payload_before_txref)) version.xmin.store(reference, .release);
        version.xmax.store(0, .monotonic);
        version.prev.store(place.base, .monotonic);
        version.txn_next.store(installer.last, .monotonic);
        version.row.store(place.node, .monotonic);
        version.table = @intCast(write.table.id);
        version.flags = place.flags;
        version.payload_words = @intCast(image.size / 8);
        version.null_mask = image.null_mask;
        version.dirty = dirty;
        sync.copyIn(version.payload(), image.payload, image.size);
        if (sync.mutated(.payload_before_txref)) version.xmin.store(reference, .release);
    }

    /// `below` is the version whose keys the new one loses, or 0.
    fn installed(
        installer: *Installer,
        write: *const Write,
        indexes: []const Index,
        below: RelPtr,
    ) void {
        const table: u8 = @intCast(write.table.id);
        if (installer.last != 0 and installer.table != table) installer.multi = true;
        installer.table = table;
        installer.last = installer.prepared.?.block.granule;
        installer.prepared = null;
        if (installer.indexes.mask != 0) {
            index_writer.ensure(installer, write.table, indexes, below);
        }
    }

    /// Gives back a block that was prepared and not linked.
    fn discardVersion(installer: *Installer) void {
        index_writer.drop(installer);
        const prepared = installer.prepared orelse return;
        discard(installer.session, prepared.pool, prepared.block, prepared.entry);
        installer.prepared = null;
    }

    /// Gives up a node that was prepared and not published, and the version it holds. A scan of the
    /// node's slab may stand on both, so they are retired and not freed: the node as dead, the
    /// version as aborted. That happens before the transaction decides, so a scan that finds it
    /// committed finds the node dead.
    fn discardNode(installer: *Installer) void {
        const node = installer.prepared_node orelse return;
        index_writer.drop(installer);
        const session = installer.session;
        const region = session.region;
        const dead = Head.dead(session.slot_index).bits();
        nodeAt(region, node.block.granule).head.store(dead, .release);
        if (installer.prepared) |version| {
            versionAt(region, version.block.granule).xmin.store(Xmin.aborted, .release);
        }
        sync.fence();
        const ts = vacuum.retirePosition(region);
        if (installer.prepared) |version| retire(version.entry, .version_retire, ts);
        retire(node.entry, .node_retire, ts);
        installer.prepared = null;
        installer.prepared_node = null;
    }

    fn retire(entry: *Entry, kind: slot_log.Kind, ts: Position) void {
        entry.old = 0;
        entry.kind = kind;
        entry.ts.store(ts, .release);
    }

    fn discard(session: *Session, pool: *slabs.Pool, block: slabs.Block, entry: *Entry) void {
        slabs.free(session.region, block.granule, block.generation);
        entry.kind = .nop;
        pool.putBack(session.region, block);
    }

    /// Takes a position and decides. `validation` is asked at the position, with all smaller ones
    /// decided or waited for; null where there is nothing to validate.
    pub fn commit(
        installer: *Installer,
        validation: ?Validation,
    ) Error!CommitOutcome {
        const session = installer.session;
        const region = session.region;
        installer.discardNode();
        installer.discardVersion();
        if (installer.last == 0) {
            installer.abort();
            return .{ .committed = ring.drainedPosition(region) };
        }
        if (installer.state == .installing and !installer.move(.sequencing)) {
            return installer.lost();
        }
        const position = region.control.next.word.fetchAdd(1, .acq_rel) + 1;
        session.slot.end.store(position, .release);
        if (!installer.move(.sequenced)) {
            awaitCell(region, position);
            _ = ring.skipCell(region, position);
            return installer.lost();
        }
        awaitCell(region, position);
        if (!index_writer.areUnique(installer, position)) {
            _ = ring.skipCell(region, position);
            installer.abort();
            return .unique_violation;
        }
        if (validation) |check| if (!sync.mutated(.no_validation)) {
            if (!try check.run(check.context, position)) {
                _ = ring.skipCell(region, position);
                installer.abort();
                return .conflict;
            }
        };
        if (!ring.decideCommitted(region, position, installer.last, installer.multi)) {
            return installer.lost();
        }
        installer.stamp(position);
        session.wasCommitted();
        return .{ .committed = position };
    }

    fn lost(installer: *Installer) CommitOutcome {
        installer.session.wasKicked();
        installer.abort();
        return .kicked;
    }

    /// Moves the slot word on, unless somebody kicked us.
    fn move(installer: *Installer, to: ring.State) bool {
        const session = installer.session;
        const from = ring.SlotWord.of(session.sequence, installer.state);
        const next = ring.SlotWord.of(session.sequence, to);
        installer.state = to;
        if (sync.mutated(.no_guard_cas) and to == .sequenced) {
            session.slot.word.store(next, .release);
            return true;
        }
        return session.slot.word.cas(from, next, .acq_rel, .acquire) == null;
    }

    /// Everything after the commit point. Plain stores are safe: we are pinned below the position.
    fn stamp(installer: *Installer, position: Position) void {
        const session = installer.session;
        const region = session.region;
        var at = installer.last;
        if (sync.mutated(.seq_before_stamp)) {
            const idle = ring.SlotWord.of(session.sequence + 1, .idle);
            session.slot.word.store(idle, .release);
        }
        while (at != 0) {
            const version = versionAt(region, at);
            const below = version.prev.load(.monotonic);
            at = version.txn_next.load(.monotonic);
            if (sync.mutated(.xmin_before_xmax)) version.xmin.store(position, .release);
            if (below != 0) versionAt(region, below).xmax.store(position, .release);
            version.xmin.store(position, .release);
        }
        const slot = session.slot_index;
        const extent_now = installer.extent();
        settlement.settle(region, .owner, slot, session.sequence, extent_now, position);
        session.slot.commits.store(session.slot.commits.raw +% 1, .monotonic);
        settlement.end(session, installer.keeps_pin, installer.entries);
    }

    fn extent(installer: *const Installer) settlement.Extent {
        return .{ .log = &installer.session.log, .count = installer.entries };
    }

    /// Undoes everything that was installed and ends the transaction.
    pub fn abort(installer: *Installer) void {
        const session = installer.session;
        installer.discardNode();
        installer.discardVersion();
        if (installer.entries > 0) {
            settlement.rollback(session.region, session.slot_index, installer.extent());
        }
        if (installer.last != 0) {
            session.slot.aborts.store(session.slot.aborts.raw +% 1, .monotonic);
        }
        settlement.end(session, installer.keeps_pin, installer.entries);
    }
};

/// Asked at the transaction's position whether what it has read still holds.
pub const Validation = struct {
    context: *anyopaque,
    run: *const fn (context: *anyopaque, position: Position) Error!bool,
};

pub const CommitOutcome = union(enum) { committed: Position, conflict, unique_violation, kicked };

/// Waits until the ring reaches a position. Nobody waits for us who does not kick.
fn awaitCell(region: *const Region, position: Position) void {
    var wait: waiting.Wait = .{};
    while (ring.drainedPosition(region) + ring.cellCount(region) < position) wait.drain(region);
}
