//! Vacuum: publishing the epoch, computing the horizon, and draining slot logs.
//!
//! There is no collector: each session frees what its own log names, a few entries with each
//! commit. An entry is ripe when its position is at or below the horizon, that is, when
//! no pin is left from before it.
//!
//! What is unlinked now is retired at drained + 1, not at drained: a reader that pins the
//! present epoch may have seen it.
//!
//! Killed anywhere: the entry still stands at the tail, or is passed. Each step can be repeated,
//! because a block's generation tells whether it was freed.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const ring = @import("commit_ring.zig");
const pk_map = @import("pk_map.zig");
const index_entry = @import("index_entry.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_guide_change = @import("index_guide_change.zig");
const ordered_index = @import("ordered_index.zig");
const table_indexes = @import("table_indexes.zig");
const session_module = @import("session.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const Head = version_module.Head;
const OrderedIndex = ordered_index.OrderedIndex;
const Place = ordered_index.Place;
const Position = version_module.Position;
const Entry = slot_log.Entry;
const versionAt = version_module.versionAt;
const nodeAt = version_module.nodeAt;

/// Publishes the decided prefix as the epoch and moves the horizon up to the oldest pin. Any
/// process may call it at any time.
pub fn advanceHorizon(region: *const Region) void {
    const shared = &region.control.shared;
    const decided = if (sync.mutated(.epoch_from_next))
        region.control.next.word.load(.acquire)
    else
        ring.drainedPosition(region);
    _ = shared.epoch.fetchMax(decided, .seq_cst);
    sync.fence(); // the Dekker partner of `Session.pin`
    var oldest = decided;
    for (region.slots) |*slot| {
        const pinned = session_module.Pin.epoch(slot.pin.load(.acquire)) orelse continue;
        oldest = @min(oldest, pinned);
    }
    _ = shared.horizon.fetchMax(oldest, .release);
}

/// Takes the pin of the oldest snapshot in which nothing runs, if it holds the horizon back. Its
/// owner finds out at its next operation. False if there is none.
///
/// No cooperation is needed: between operations nothing of a process stands on region memory,
/// unless it has handed out views, and then its pin never rests.
pub fn revokeOldest(region: *const Region, except: u32) bool {
    const found = oldestResting(region, except) orelse return false;
    return revoke(region, found.slot, found.word);
}

/// A pin between operations, as it was seen.
pub const Resting = struct {
    slot: u32,
    word: u64,

    pub fn epoch(resting: Resting) Position {
        return session_module.Pin.epoch(resting.word).?;
    }
};

/// The oldest snapshot in which nothing runs, unless it is as new as can be.
pub fn oldestResting(region: *const Region, except: ?u32) ?Resting {
    const Pin = session_module.Pin;
    const decided = ring.drainedPosition(region);
    var oldest: ?Resting = null;
    for (region.slots, 0..) |*slot, i| {
        const word = slot.pin.load(.acquire);
        const index: u32 = @intCast(i);
        const epoch = Pin.epoch(word) orelse continue;
        if (index == except or word != Pin.idle(epoch) or epoch >= decided) continue;
        if (oldest) |found| if (found.epoch() <= epoch) continue;
        oldest = .{ .slot = index, .word = word };
    }
    return oldest;
}

/// Takes one resting pin away. False if its owner has begun an operation meanwhile.
pub fn revoke(region: *const Region, slot: u32, word: u64) bool {
    const revoked = session_module.Pin.revoked;
    const pin = &region.slots[slot].pin;
    if (sync.mutated(.blind_revoke)) {
        pin.store(revoked, .seq_cst);
    } else if (pin.cas(word, revoked, .seq_cst, .monotonic) != null) return false;
    _ = region.control.leader.revocations.fetchAdd(1, .monotonic);
    return true;
}

/// Skips one position on purpose, so that `drained` moves when nobody commits and what was retired
/// at drained + 1 ripens. Not where the ring is nearly full: then its log stands, and nothing
/// would ripen.
pub fn burnPosition(region: *const Region) void {
    if (ring.isCrowded(region)) return;
    const position = region.control.next.word.fetchAdd(1, .acq_rel) + 1;
    _ = ring.skipCell(region, position);
}

/// The position at which something unlinked just now may be freed. The caller has a full barrier
/// between the unlinking and this.
pub fn retirePosition(region: *const Region) Position {
    if (sync.mutated(.free_at_abort)) return 1;
    const drained = ring.drainedPosition(region);
    return if (sync.mutated(.retire_without_plus_one)) drained else drained + 1;
}

/// Drains the log of a session that runs no transaction, unless somebody holds the gate: blocks
/// must not move while `verify` counts them. A pin of this process protects the walk.
pub fn drainResting(session: *Session, count: u32) u32 {
    if (session.log.isEmpty()) return 0;
    const word = &session.slot.word;
    const resting = ring.SlotWord.of(session.sequence, .idle);
    // A swap, because whoever takes the gate looks at this word afterwards: at least one of the two
    // sees the other.
    _ = word.swap(ring.SlotWord.of(session.sequence, .draining), .seq_cst);
    defer word.store(resting, .release);
    if (session.region.control.shared.gate.load(.acquire) != 0) return 0;
    return drain(session, count);
}

/// Drains the logs of slots that nobody owns; `claim` names the process that adopts them meanwhile.
/// True if some log, of whatever slot, has entries that wait.
pub fn drainOrphans(region: *const Region, gpa: std.mem.Allocator, claim: u64) bool {
    var some = false;
    for (region.slots, 0..) |*slot, index| {
        const head = slot.log_head.load(.monotonic);
        const tail: u32 = @truncate(slot.log_tail.load(.monotonic));
        if (@as(u32, @truncate(head)) == tail) continue;
        some = true;
        if (slot.claim.load(.monotonic) != session_module.orphan_claim) continue;
        const adopted = Session.adopt(region, gpa, @intCast(index), claim) catch continue orelse
            continue;
        adopted.pin();
        _ = drainResting(adopted, std.math.maxInt(u32));
        adopted.close();
    }
    return some;
}

/// Frees what the oldest ripe entries of the session's log name, at most `count` entries. The
/// session is pinned and runs no transaction. Returns the entries passed.
pub fn drain(session: *Session, count: u32) u32 {
    const region = session.region;
    const horizon = region.control.shared.horizon.load(.acquire);
    var passed: u32 = 0;
    while (passed < count and !session.log.isEmpty()) {
        const entry = session.log.oldest();
        const ts = entry.ts.load(.acquire);
        if (ts > horizon) break; // running and unfinished entries are not ripe either
        if (ts == slot_log.ts_running) break;
        session.vacuum_ahead.step(&session.log, horizon, &session.index_scratch.key);
        switch (entry.kind) {
            // Drained at commit already, or nothing to do.
            .nop, .insert, .node_new => {},
            .update => slabs.free(region, entry.old, entry.old_generation),
            .index => if (!removeOldEntry(session, entry)) break,
            .index_retire, .guide_retire => {
                if (entry.old != 0 and !removeEmptyBlock(session, entry)) break;
                slabs.free(region, entry.block, entry.generation);
            },
            .delete => {
                // Room for the entry of a node removal, without allocating: the chunk that the
                // tail leaves pays for the one that the head opens.
                const tombstone: Block = .{ .at = entry.block, .generation = entry.generation };
                if (removeDeletedRow(session, entry, tombstone, horizon) != .done) break;
                slabs.free(region, entry.old, entry.old_generation);
            },
            .node_retire => {
                slabs.free(region, entry.block, entry.generation);
                if (entry.old != 0) slabs.free(region, entry.old, entry.old_generation);
            },
            .version_retire => {
                const below: Block = .{ .at = entry.old, .generation = entry.old_generation };
                if (below.at != 0) switch (removeDeletedRow(session, entry, below, horizon)) {
                    .done => {},
                    .no_room => break,
                    .not_ripe => {
                        entry.ts.store(ring.drainedPosition(region) + 1, .release);
                        break;
                    },
                };
                slabs.free(region, entry.block, entry.generation);
            },
        }
        sync.step();
        session.dropOldest();
        passed += 1;
    }
    return passed;
}

/// Removes the index entry of a superseded version's key, unless another version has it. False if
/// there is no room in the log.
fn removeOldEntry(session: *Session, entry: *Entry) bool {
    const region = session.region;
    // Whoever holds the gate may be counting what stands in an index.
    const gate = region.control.shared.gate.load(.acquire);
    if (gate != 0 and gate >> 48 != session.slot_index + 1) return false;
    const root = table_indexes.rootOf(region, entry.table, entry.old_generation);
    if (root == 0 or entry.old == 0) return true;
    const entries: index_entry.Entries = .{
        .region = region,
        .root = root,
        .slot = session.slot_index,
        .room = &session.index_scratch.key,
    };
    var place: Place = undefined;
    const near = session.vacuum_ahead.near(session.log.tail);
    const found = entries.findOf(entry.old, entry.row, &near, &place);
    if (found == 0) return true;
    session.reserveLog(1) catch return false;
    const removal = session.append(.{
        .kind = .index_retire,
        .table = entry.table,
        .block = found,
        // That of its memory, which may have to come from far.
        .generation = ordered_index.nodeAt(region, found).generation.load(.monotonic),
        .old = 0,
        .old_generation = entry.old_generation,
        .row = entry.row,
        .ts = .init(slot_log.ts_unfinished),
    });
    const empty = entries.removeUnneeded(removal, &place);
    if (empty != 0) {
        const index: OrderedIndex = .at(region, root);
        index_guide_change.reclaim(index.guide(), session, empty);
    }
    return true;
}

/// Takes a block of an index's guide out that an entry's removal has left empty. False if that has
/// to wait.
fn removeEmptyBlock(session: *Session, entry: *const Entry) bool {
    const region = session.region;
    const gate = region.control.shared.gate.load(.acquire);
    if (gate != 0 and gate >> 48 != session.slot_index + 1) return false;
    const root = table_indexes.rootOf(region, entry.table, entry.old_generation);
    const reference: index_guide_block.Reference = .{
        .granule = entry.old,
        .generation = entry.row,
    };
    // Without the log entry it would be empty for ever; without the test another block.
    if (root == 0 or !reference.isLinked(region)) return true;
    const index: OrderedIndex = .at(region, root);
    index_guide_change.reclaim(index.guide(), session, entry.old);
    return true;
}

const Block = struct { at: u32, generation: u32 };
const Removal = enum { done, no_room, not_ripe };

/// If `block` is a tombstone and still the newest version of the entry's row, takes the row's node
/// away. `no_room` in the log, or a tombstone that some reader may still look behind: the
/// entry stays.
fn removeDeletedRow(session: *Session, entry: *Entry, block: Block, horizon: Position) Removal {
    const region = session.region;
    if (!slabs.holds(region, block.at, block.generation)) return .done;
    const version = versionAt(region, block.at);
    if (!version.isTombstone()) return .done;
    const node_granule = entry.row;
    const node = nodeAt(region, node_granule);
    const expected = Head.to(block.at, block.generation).bits();
    if (node.head.load(.acquire) != expected) return .done;
    if (version.xmin.load(.acquire) > horizon) return .not_ripe;
    session.reserveLog(1) catch return .no_room;
    const removal = session.append(.{
        .kind = .node_retire,
        .table = entry.table,
        .block = node_granule,
        .generation = slabs.generationOf(region, node_granule),
        .old = block.at,
        .old_generation = block.generation,
        .row = node_granule,
        .ts = .init(slot_log.ts_unfinished),
    });
    finishRemoval(session.region, session.slot_index, removal, expected);
    return .done;
}

/// Makes the node of a removal entry dead, if its head is still `expected`, and takes it out of its
/// chain. The entry has ts unfinished. Can be repeated.
pub fn finishRemoval(region: *const Region, slot: u32, entry: *Entry, expected: u64) void {
    const node = nodeAt(region, entry.block);
    const dead = Head.dead(slot).bits();
    const seen = node.head.cas(expected, dead, .acq_rel, .acquire);
    if (seen == null or seen.? == dead) {
        pk_map.remove(region, entry.block);
        sync.fence();
        entry.ts.store(retirePosition(region), .release);
    } else {
        // Somebody wrote on top: the row lives, and its node with it.
        entry.kind = .nop;
        entry.ts.store(1, .release);
    }
}
