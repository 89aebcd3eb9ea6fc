//! What a transaction leaves behind: counting and marking after a commit, taking back
//! after a defeat.
//!
//! The living owner and whoever recovers a dead one run the same code. Every step can be repeated,
//! because each log entry says by its ts whether it is done, and blocks are named with their
//! generation.
//!
//! Invariants:
//!
//!   * rows are counted before the first entry of a committed transaction is marked
//!   * a version is off its row before its `xmin` says aborted, and both before its entry has a ts
//!   * an insert's entry follows one for its node; whoever makes the node dead has said so there
//!     first

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const index_entry = @import("index_entry.zig");
const index_key = @import("index_key.zig");
const table_indexes = @import("table_indexes.zig");
const row_count = @import("row_count.zig");
const vacuum = @import("vacuum.zig");
const pressure = @import("pressure.zig");
const waiting = @import("waiting.zig");
const ring = @import("commit_ring.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const Region = region_module.Region;
const Flags = version_module.Flags;
const Head = version_module.Head;
const Xmin = version_module.Xmin;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const Entry = slot_log.Entry;
const versionAt = version_module.versionAt;
const nodeAt = version_module.nodeAt;

/// Which entries at the end of a log to look at. Those that are not of the running transaction are
/// passed over, so "all" is always right; the living owner knows the number.
pub const Extent = struct {
    log: *const slot_log.Log,
    count: u64,

    pub fn all(log: *const slot_log.Log) Extent {
        return .{ .log = log, .count = log.head - log.tail };
    }

    fn walk(extent: Extent) Running {
        return .{ .walk = extent.log.backward(), .left = extent.count };
    }

    /// The running transaction's entries, newest first.
    const Running = struct {
        walk: slot_log.Log.Backward,
        left: u64,

        fn next(running: *Running) ?*Entry {
            while (running.left > 0) {
                running.left -= 1;
                const entry = running.walk.next() orelse return null;
                if (entry.ts.load(.monotonic) == slot_log.ts_running) return entry;
            }
            return null;
        }
    };
};

/// Marks the entries of a committed transaction as done and counts its rows. Its versions are
/// stamped. Can be repeated: counting carries the sequence as a marker, and all of it happens
/// before the first entry is marked.
pub fn settle(
    region: *const Region,
    caller: row_count.Caller,
    slot: u32,
    sequence: u64,
    extent: Extent,
    position: Position,
) void {
    countRows(region, caller, slot, sequence, extent);
    var running = extent.walk();
    while (running.next()) |entry| {
        switch (entry.kind) {
            .insert, .node_new => entry.kind = .nop,
            .update, .delete, .nop => {},
            // The key of the version below goes when no pin needs it any more.
            .index => if (entry.old == 0) {
                entry.kind = .nop;
            },
            .node_retire, .version_retire, .index_retire, .guide_retire => unreachable,
        }
        entry.ts.store(position, .release);
    }
}

fn countRows(
    region: *const Region,
    caller: row_count.Caller,
    slot: u32,
    sequence: u64,
    extent: Extent,
) void {
    var running = extent.walk();
    var table: ?u16 = null;
    var change: i32 = 0;
    while (running.next()) |entry| {
        const difference = rowDifference(region, entry) orelse continue;
        if (table != null and table.? != entry.table) {
            return countTables(region, caller, slot, sequence, extent);
        }
        table = entry.table;
        change += difference;
    }
    const only = table orelse return;
    row_count.add(region, caller, @intCast(only), slot, sequence, change);
}

fn countTables(
    region: *const Region,
    caller: row_count.Caller,
    slot: u32,
    sequence: u64,
    extent: Extent,
) void {
    var sums: [limits.table_count_max]?i32 = @splat(null);
    var running = extent.walk();
    while (running.next()) |entry| {
        const difference = rowDifference(region, entry) orelse continue;
        if (entry.table < sums.len) sums[entry.table] = (sums[entry.table] orelse 0) + difference;
    }
    for (sums, 0..) |sum, table| {
        const change = sum orelse continue;
        row_count.add(region, caller, @intCast(table), slot, sequence, change);
    }
}

/// +1 for a row that began to live, -1 for one that ended, null for no change.
fn rowDifference(region: *const Region, entry: *const Entry) ?i32 {
    switch (entry.kind) {
        .insert, .update, .delete => {},
        else => return null,
    }
    const flags = versionAt(region, entry.block).flags;
    const began = flags & Flags.insert != 0;
    const ended = flags & Flags.tombstone != 0;
    if (began == ended) return null;
    return if (began) 1 else -1;
}

/// Takes the versions of an undecided transaction off their rows and retires them. The caller owns
/// the slot, or has the right to recover it; no cell of it can become committed. Can be repeated.
pub fn rollback(region: *const Region, slot: u32, extent: Extent) void {
    var running = extent.walk();
    while (running.next()) |entry| {
        switch (entry.kind) {
            .update, .delete => unlinkUpdate(region, entry),
            .insert => {
                var older = running.walk;
                unlinkInsert(region, slot, entry, older.next().?);
            },
            .nop, .node_new, .index => {},
            .node_retire, .version_retire, .index_retire, .guide_retire => {},
        }
    }
    undoIndexes(region, slot, extent);
    sync.fence();
    const ts = vacuum.retirePosition(region);
    running = extent.walk();
    while (running.next()) |entry| {
        // A block that never came into use gets the very generation of the entry from the next
        // owner of its slab, who must not find it retired.
        const is_ours = entry.kind != .nop and
            slabs.holds(region, entry.block, entry.generation);
        if (!is_ours) entry.kind = .nop;
        switch (entry.kind) {
            .update, .delete => {
                // A tombstone that we stood on may have been passed over by its own vacuum.
                if (entry.old != 0 and !versionAt(region, entry.old).isTombstone()) entry.old = 0;
                entry.kind = .version_retire;
            },
            .insert => {
                entry.old = 0;
                entry.kind = .version_retire;
            },
            .node_new => {
                entry.old = 0;
                entry.kind = .node_retire;
            },
            .nop, .index => {},
            .node_retire, .version_retire, .index_retire, .guide_retire => {},
        }
        entry.ts.store(ts, .release);
    }
}

/// Takes index entries back that nobody needs now that the versions have left their chains.
fn undoIndexes(region: *const Region, slot: u32, extent: Extent) void {
    var running = extent.walk();
    var at: RelPtr = 0;
    while (running.next()) |entry| {
        switch (entry.kind) {
            .insert, .update, .delete => {
                const is_ours = slabs.holds(region, entry.block, entry.generation);
                at = if (is_ours) entry.block else 0;
            },
            .index => {
                const root = table_indexes.rootOf(region, entry.table, entry.old_generation);
                if (root == 0) {
                    entry.kind = .nop; // only a corrupted region
                    continue;
                }
                var room: index_key.Key = undefined;
                const entries: index_entry.Entries = .{
                    .region = region,
                    .root = root,
                    .slot = slot,
                    .room = &room,
                };
                entries.undo(entry, at);
            },
            .nop, .node_new => {},
            .node_retire, .version_retire, .index_retire, .guide_retire => {},
        }
    }
}

fn unlinkUpdate(region: *const Region, entry: *Entry) void {
    if (!slabs.holds(region, entry.block, entry.generation)) return;
    if (entry.old != 0 and entry.row != 0) {
        // Fails if a later installer put its own version in our place: then we are off already.
        const ours = Head.to(entry.block, entry.generation).bits();
        const before = Head.to(entry.old, entry.old_generation).bits();
        _ = nodeAt(region, entry.row).head.cas(ours, before, .acq_rel, .acquire);
    }
    versionAt(region, entry.block).xmin.store(Xmin.aborted, .release);
}

/// `companion` is the entry before: the new node, or an empty one when the node was there.
fn unlinkInsert(region: *const Region, slot: u32, entry: *Entry, companion: *Entry) void {
    if (!slabs.holds(region, entry.block, entry.generation)) return;
    if (entry.row != 0 and companion.ts.load(.monotonic) == slot_log.ts_running) {
        companion.block = entry.row;
        companion.generation = slabs.generationOf(region, entry.row);
        companion.old = 0;
        companion.row = entry.row;
        companion.kind = .node_retire;
        sync.step();
        const ours = Head.to(entry.block, entry.generation).bits();
        const none = Head.none.bits(); // A new node, killed before it got its version.
        const seen = nodeAt(region, entry.row).head.load(.acquire);
        vacuum.finishRemoval(region, slot, companion, if (seen == none) none else ours);
    }
    versionAt(region, entry.block).xmin.store(Xmin.aborted, .release);
}

/// The slot is idle again under the next sequence; then a little vacuum, then the pin goes.
pub fn end(session: *Session, keeps_pin: bool, entries: u64) void {
    session.sequence += 1;
    session.slot.word.store(ring.SlotWord.of(session.sequence, .draining), .release);
    const is_calm = pressure.levelOf(session.region) == .calm;
    // An index entry that goes leaves an entry of its own, so twice as many as were written keep
    // up.
    const more: u64 = if (is_calm) 1 else drain_more;
    _ = vacuum.drain(session, @intCast(@min(2 * entries + more, drain_max)));
    session.slot.word.store(ring.SlotWord.of(session.sequence, .idle), .release);
    session.operations +%= 1;
    const region = session.region;
    // Who waits for the disk needs what came before it to be stamped.
    const now = session.operations % drain_interval == 0 or
        region.control.shared.synchronous_commit.load(.monotonic) != 0;
    if (now) {
        _ = ring.advance(region, 4 * drain_interval);
        if (ring.isLogBehind(region)) waiting.pushLog(region);
    }
    if (!keeps_pin) session.unpin();
    const interval: u32 = if (is_calm) horizon_interval else horizon_interval_pressed;
    if (session.operations % interval == 0) vacuum.advanceHorizon(region);
    if (region.control.shared.drainer_sleeping.load(.monotonic) != 0) wakeDrainer(region);
}

/// Log entries that a commit drains at the most.
const drain_max = 4096;
/// Entries that it drains beyond what keeps up, once memory is not ample: what a pin has held back
/// for long is gone soon.
const drain_more = 16;
/// Commits between two rounds in which a committer drains the ring itself.
const drain_interval = if (sync.sim) 1 << 30 else 64;
/// Commits between two looks at all pins.
const horizon_interval = if (sync.sim) 1 << 30 else 128;
/// The same under pressure: right after the committer has drained the ring.
const horizon_interval_pressed = drain_interval;

fn wakeDrainer(region: *const Region) void {
    if (region.control.shared.drainer_sleeping.swap(0, .acq_rel) == 0) return;
    _ = region.control.leader.wake.fetchAdd(1, .release);
    sync.futexWake(&region.control.leader.wake, 1);
}
