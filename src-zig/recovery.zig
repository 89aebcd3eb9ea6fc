//! Recovery of a dead process.
//!
//! Whoever locks the dead process's byte has the exclusive right to recover it, and loses that
//! right with its own death; then the next one starts again. So every step can be repeated: it
//! reads the dead slot's word, its cell and its log, and makes true what they say.
//!
//!     installing, sequencing   kick, roll back
//!     kicked                   roll back
//!     sequenced                the cell decides; an undecided one is skipped first
//!     idle                     nothing runs
//!
//! Then removals whose effect is unknown are finished, log chunks outside of the chain are freed,
//! slabs go back, and the slot is free, or an orphan if its log holds entries that are not ripe.
//!
//! The dead slot's own pin stays until the end. It protects whatever the dead process could reach,
//! and so whatever its recoverer reaches: a slot with work to finish is always pinned, because the
//! pin goes last in life as well.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const gate = @import("gate.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const ring = @import("commit_ring.zig");
const index_entry = @import("index_entry.zig");
const index_key = @import("index_key.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_guide_change = @import("index_guide_change.zig");
const ordered_index = @import("ordered_index.zig");
const table_indexes = @import("table_indexes.zig");
const settlement = @import("settlement.zig");
const vacuum = @import("vacuum.zig");
const session_module = @import("session.zig");
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Xmin = version_module.Xmin;
const Position = version_module.Position;
const versionAt = version_module.versionAt;
const nodeAt = version_module.nodeAt;

/// Recovers every slot that the process `index` of its present generation held. The caller holds
/// the process's byte. Returns the slots recovered.
pub fn recoverProcess(region: *const Region, index: u32) u32 {
    const generation = region.processes[index].generation.load(.acquire);
    const claim = session_module.processClaim(index, generation);
    var recovered: u32 = 0;
    for (0..limits.slot_count) |slot_index| {
        if (region.slots[slot_index].claim.load(.acquire) != claim) continue;
        recoverSlot(region, @intCast(slot_index));
        recovered += 1;
    }
    _ = region.control.leader.recovered_processes.fetchAdd(1, .monotonic);
    return recovered;
}

/// Recovers one slot whose owner is dead.
pub fn recoverSlot(region: *const Region, slot_index: u32) void {
    const slot = &region.slots[slot_index];
    const log = slot_log.Log.attach(region, slot);
    gate.reopen(region, slot_index); // first: others wait at it
    // Before what changes indexes in the name of the slot.
    finishIndexChange(region, slot);
    dropGuideBlock(region, slot);
    endTransaction(region, slot_index, &log);
    finishRemovals(region, slot_index, &log);
    sweepChunks(region, slot_index, &log);
    slabs.releaseOwned(region, slot_index + 1);
    const sequence = ring.SlotWord.from(slot.word.load(.acquire)).sequence;
    slot.word.store(ring.SlotWord.of(@as(u64, sequence) + 1, .idle), .release);
    slot.patience.store(session_module.patience_us_min, .monotonic);
    slot.pin.store(session_module.Pin.none, .release);
    sync.step();
    session_module.leaveSlot(slot);
}

/// Killed between a change of an index and the change of its number of groups, or before, or after.
fn finishIndexChange(region: *const Region, slot: *region_module.Slot) void {
    const root = slot.index_change.load(.acquire);
    if (root == 0) return;
    region.pointer(ordered_index.Root, root).recount.store(1, .release);
    slot.index_change.store(0, .release);
}

fn endTransaction(region: *const Region, slot_index: u32, log: *const slot_log.Log) void {
    const slot = &region.slots[slot_index];
    const extent: settlement.Extent = .all(log);
    while (true) {
        const word = slot.word.load(.acquire);
        const slot_word = ring.SlotWord.from(word);
        switch (slot_word.state) {
            .installing, .sequencing => {
                _ = ring.kickSlot(region, .{ .slot = slot_index, .word = word });
                continue;
            },
            .sequenced => {
                const position = slot.end.load(.acquire);
                if (isCommitted(region, position, slot_index, slot_word.sequence, log)) |last| {
                    if (last != 0) ring.stampForeign(region, position, last);
                    const sequence = slot_word.sequence;
                    settlement.settle(region, .recoverer, slot_index, sequence, extent, position);
                } else {
                    settlement.rollback(region, slot_index, extent);
                }
            },
            .idle, .draining, .kicked, _ => settlement.rollback(region, slot_index, extent),
        }
        return;
    }
}

/// The last version of the transaction at `position` if that is committed (0 if the ring has gone
/// on and the drainer has stamped it), else null. Skips the cell if it is undecided.
fn isCommitted(
    region: *const Region,
    position: Position,
    slot: u32,
    sequence: u64,
    log: *const slot_log.Log,
) ?u32 {
    while (true) {
        switch (ring.decisionAt(region, position)) {
            .undecided => _ = ring.skipCell(region, position),
            .not_yet => if (ring.advance(region, 64) == 0) {
                const oldest = ring.stampedPosition(region) + 1;
                if (!ring.skipCell(region, oldest)) waiting.wakeLog(region);
                sync.spinHint();
            },
            .committed => |last| return last,
            .skipped => return null,
            .lapped => return if (isStamped(region, slot, sequence, log)) 0 else null,
        }
    }
}

/// Whether the drainer has stamped the transaction's versions: its newest entry tells.
fn isStamped(region: *const Region, slot: u32, sequence: u64, log: *const slot_log.Log) bool {
    const reference = Xmin.reference(slot, sequence);
    var walk = log.backward();
    while (walk.next()) |entry| {
        if (entry.ts.load(.acquire) != slot_log.ts_running) continue;
        switch (entry.kind) {
            .insert, .update, .delete => {},
            .nop, .node_new, .index => continue,
            // Killed while it was rolled back.
            .node_retire, .version_retire, .index_retire, .guide_retire => return false,
        }
        const xmin = versionAt(region, entry.block).xmin.load(.acquire);
        return xmin != reference and xmin != Xmin.aborted;
    }
    // Nothing of it is left to do: either way of ending it is the same.
    return true;
}

fn finishRemovals(region: *const Region, slot: u32, log: *const slot_log.Log) void {
    var walk = log.backward();
    while (walk.next()) |entry| {
        if (entry.ts.load(.acquire) != slot_log.ts_unfinished) continue;
        switch (entry.kind) {
            .index, .index_retire => {
                finishIndexRemoval(region, slot, entry);
                continue;
            },
            .guide_retire => {
                finishGuideRemoval(region, slot, entry);
                continue;
            },
            else => {},
        }
        // Whether the head was swapped decides. If it was not, the tombstone's own entry still
        // stands in the log, behind this one, and will try again.
        const dead = version_module.Head.dead(slot).bits();
        const ours = slabs.holds(region, entry.block, entry.generation) and
            nodeAt(region, entry.block).head.load(.acquire) == dead;
        if (ours) {
            vacuum.finishRemoval(region, slot, entry, dead);
        } else {
            entry.kind = .nop;
            entry.ts.store(1, .release);
        }
    }
}

/// Asks again whether an index entry is needed. Its node is protected by the dead slot's pin, if it
/// was not freed before that pin, and then the entry is done.
fn finishIndexRemoval(region: *const Region, slot: u32, entry: *slot_log.Entry) void {
    const root = table_indexes.rootOf(region, entry.table, entry.old_generation);
    if (root != 0 and slabs.holds(region, entry.block, entry.generation)) {
        var room: index_key.Key = undefined;
        const entries: index_entry.Entries = .{
            .region = region,
            .root = root,
            .slot = slot,
            .room = &room,
        };
        entry.old = 0;
        entry.kind = .index_retire;
        return index_entry.Entries.noteEmpty(region, entry, entries.removeUnneeded(entry, null));
    }
    entry.kind = .nop;
    entry.ts.store(1, .release);
}

/// Goes on with taking a block out of a guide, if the dead slot has claimed it.
fn finishGuideRemoval(region: *const Region, slot: u32, entry: *slot_log.Entry) void {
    if (slabs.holds(region, entry.block, entry.generation)) {
        const block = index_guide_block.blockAt(region, entry.block);
        if (block.claim.load(.acquire) == slot + 1) {
            const index: ordered_index.OrderedIndex = .at(region, block.root);
            const empty = index_guide_change.finishTakeOut(index.guide(), slot, entry);
            return index_entry.Entries.noteEmpty(region, entry, empty);
        }
    }
    entry.kind = .nop;
    entry.ts.store(1, .release);
}

/// Frees the block of a guide that the dead slot took, if it did not come into its level.
fn dropGuideBlock(region: *const Region, slot: *region_module.Slot) void {
    const granule = slot.guide_block.load(.acquire);
    if (granule == 0) return;
    const state = slabs.stateOf(region, granule).load(.acquire);
    if (slabs.State.isUsed(state)) {
        const block = index_guide_block.blockAt(region, granule);
        const index: ordered_index.OrderedIndex = .at(region, block.root);
        if (block.claim.load(.acquire) == 0 and !index.guide().has(granule)) {
            slabs.free(region, granule, slabs.State.generation(state));
        }
    }
    slot.guide_block.store(0, .release);
}

/// Frees the slot's chunks that were taken and never came into the chain, or were dropped from it
/// and not freed. They may stand in slabs that the slot does not own any more.
fn sweepChunks(region: *const Region, slot_index: u32, log: *const slot_log.Log) void {
    const kind: slabs.SlabKind = .of(.log_chunk, 0, slot_log.chunk_granules);
    const size = slabs.size_classes[kind.size];
    const top = @min(region.control.memory.slab_top.load(.acquire), region.slab_count);
    for (0..top) |slab| {
        if (region.slab_metas[slab].kind.load(.acquire) != kind.bits()) continue;
        for (0..size.count) |index| {
            const word = slabs.stateWord(region, @intCast(slab), @intCast(index)).load(.acquire);
            if (!slabs.State.isUsed(word)) continue;
            const granule = slabs.blockGranule(region, @intCast(slab), size, @intCast(index));
            const header = &slot_log.chunkAt(region, granule).header;
            if (header.slot.load(.acquire) != slot_index) continue;
            if (isInChain(region, granule, log.first_chunk)) continue;
            slabs.free(region, granule, slabs.State.generation(word));
        }
    }
}

fn isInChain(region: *const Region, granule: u32, first: u32) bool {
    var chunk = first;
    while (chunk != 0) {
        if (chunk == granule) return true;
        chunk = slot_log.chunkAt(region, chunk).header.next.load(.acquire);
    }
    return false;
}
