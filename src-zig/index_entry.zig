//! The life of index entries.
//!
//! There is one entry for each key that some version of a row has, shared by all versions that have
//! it. A writer makes sure that the entry exists after its version is in the row's chain and before
//! it takes its position. An entry goes when no version that any pin can need has its key: whoever
//! drains a superseded version, or rolls one back, asks for that.
//!
//! Removal is a handshake with writers that want the same entry again:
//!
//!     remover                                   writer
//!     state: live|dying(x) -> dying(me)         head: base -> version with the key
//!     fence                                     fence
//!     walk the row's chain for the key          state: live? done. dying(x)? -> live
//!     found: dying(me) -> live
//!     not found: dying(me) -> dead(me)
//!
//! At least one of the two sees the other (Dekker). `dying` carries the remover's slot: else a
//! remover that was overtaken by a writer and by another remover would take that one's `dying` for
//! its own and kill a live entry. `dead` is final; a writer that meets it takes the node out and
//! makes a new one.
//!
//! The walk goes from the head, undecided versions included, down to the first version at or before
//! the horizon: what stands below that no pin needs. Versions below it may be freed at any time, so
//! what was read of one counts only if the horizon has not passed the version above it meanwhile.
//!
//! Responsibility is written down before the effect, in an entry of the slot's log (kind
//! `index_retire`, ts unfinished). Killed anywhere: readers treat dying as live and skip dead;
//! recovery asks again.

const std = @import("std");
const sync = @import("sync");
const index_guide_block = @import("index_guide_block.zig");
const index_guide_change = @import("index_guide_change.zig");
const index_key = @import("index_key.zig");
const ordered_index = @import("ordered_index.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const row_module = @import("row.zig");
const Pin = @import("session.zig").Pin;
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const vacuum = @import("vacuum.zig");
const version_module = @import("version.zig");
const Region = region_module.Region;
const RowRef = row_module.RowRef;
const OrderedIndex = ordered_index.OrderedIndex;
const Place = ordered_index.Place;
const State = ordered_index.State;
const Head = version_module.Head;
const Session = @import("session.zig").Session;
const Near = @import("index_guide.zig").Near;
const Version = version_module.Version;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const Xmin = version_module.Xmin;
const Entry = slot_log.Entry;
const versionAt = version_module.versionAt;

/// Entries that a search may pass without help before the guide gets a hint more.
const steps_max = 32;

/// One index, seen by a slot that somebody owns or recovers.
pub const Entries = struct {
    region: *const Region,
    /// Granule of its root.
    root: u32,
    slot: u32,
    /// For keys that are looked at. Not on the stack, where a safe build fills it each time.
    room: *index_key.Key,

    inline fn ordered(entries: Entries) OrderedIndex {
        return .at(entries.region, entries.root);
    }

    inline fn keys(entries: Entries) *const index_key.Layout {
        return &entries.region.pointer(ordered_index.Root, entries.root).keys;
    }

    /// Makes sure that there is an entry like the node of `entry`, a log entry of kind `index` that
    /// stands for it since before the version was in the chain. If another node serves, that one is
    /// freed, and the log entry does not name it any more. `near` is where its search may begin.
    /// The session is the slot's own. Returns the block of the guide that the search came by, or 0.
    pub fn ensure(entries: Entries, session: *Session, entry: *Entry, near: *const Near) RelPtr {
        const region = entries.region;
        const index = entries.ordered();
        const granule = entry.block;
        const own = ordered_index.nodeAt(region, granule);
        const probe: ordered_index.Probe = .of(own);
        var place: ordered_index.Place = undefined;
        // The Dekker partner of the remover's: the head swap comes before the load of the state.
        sync.fence();
        while (true) {
            const found = index.findNear(entries.slot, &probe, near, &place);
            if (found != 0) {
                const node = ordered_index.nodeAt(region, found);
                const word = node.state.load(.acquire);
                switch (State.from(word).phase) {
                    .live => {},
                    .dying => {
                        const live: State = .{ .phase = .live };
                        if (node.state.cas(word, live.bits(), .acq_rel, .acquire) != null) continue;
                    },
                    .dead, _ => {
                        _ = index.remove(entries.slot, found, &place);
                        continue;
                    },
                }
                slabs.free(region, granule, entry.generation);
                sync.step();
                entry.block = 0;
                return place.trail.block;
            }
            if (index.insert(entries.slot, granule, &place)) break;
        }
        const guide = index.guide();
        index_guide_change.add(guide, session, granule, &place.trail);
        // A piece of the list that the guide does not know: the way was long because hints were
        // lost. One more halves it.
        if (place.steps > steps_max) {
            index_guide_change.add(guide, session, place.before_node, &place.trail);
        }
        return place.trail.block;
    }

    /// The entry of a key and row, or 0.
    fn findKey(
        entries: Entries,
        key: []const u8,
        row: RelPtr,
        near: *const Near,
        place: *Place,
    ) RelPtr {
        const prefix = entries.keys().prefixOf(key);
        return entries.ordered().findNear(entries.slot, &.entry(key, row, prefix), near, place);
    }

    /// The entry of the key that a version has, and where it stands, or 0. `at` may be 0, or a
    /// version that was never filled. The search may begin at `near`.
    pub fn findOf(
        entries: Entries,
        at: RelPtr,
        row: RelPtr,
        near: *const Near,
        place: *Place,
    ) RelPtr {
        if (at == 0) return 0;
        const version = versionAt(entries.region, at);
        if (version.isTombstone() or !entries.keys().allows(version.payloadSize())) return 0;
        const key = entries.room;
        key.encode(entries.keys(), rowOf(entries.region, at));
        return entries.findKey(key.slice(), row, near, place);
    }

    /// Undoes an `index` entry of a transaction that is rolled back, whose version `at` has left
    /// the chain, or never came into it (0: there is none). Leaves the entry as nothing, or as a
    /// finished `index_retire`. Can be repeated.
    pub fn undo(entries: Entries, entry: *Entry, at: RelPtr) void {
        const region = entries.region;
        const own = if (entry.block != 0 and
            slabs.holds(region, entry.block, entry.generation)) entry.block else 0;
        var place: Place = undefined;
        const found = if (own != 0) blk: {
            const node = ordered_index.nodeAt(region, own);
            break :blk entries.findKey(node.key(), node.row, &.none, &place);
        } else entries.findOf(at, entry.row, &.none, &place);
        if (own != 0 and own != found) {
            // Never linked, and then ours to free, or dead and somebody else's to free.
            const state = State.from(ordered_index.nodeAt(region, own).state.load(.acquire));
            if (state.phase != .dead) slabs.free(region, own, entry.generation);
        }
        if (found == 0) {
            entry.block = 0;
            entry.kind = .nop;
            return;
        }
        entry.block = found;
        entry.generation = slabs.generationOf(region, found);
        entry.ts.store(slot_log.ts_unfinished, .release);
        sync.step();
        entry.old = 0; // it was a version
        entry.kind = .index_retire;
        noteEmpty(region, entry, entries.removeUnneeded(entry, &place));
    }

    /// Leaves it to whoever drains the log entry to take out a block of the guide that is empty now
    /// (0: none), because a rollback has no room in its log.
    pub fn noteEmpty(region: *const Region, entry: *Entry, block: RelPtr) void {
        if (block == 0) return;
        entry.row = index_guide_block.blockAt(region, block).generation.load(.monotonic);
        sync.step();
        entry.old = block;
    }

    /// Removes the node of an `index_retire` entry with ts unfinished, unless some version needs
    /// it. Afterwards the entry is nothing, or names when the node may be freed. Can be repeated.
    /// `found` is where the caller has found the node under this pin, or null. Returns what
    /// `OrderedIndex.remove` does.
    pub fn removeUnneeded(entries: Entries, entry: *Entry, found: ?*const Place) RelPtr {
        const region = entries.region;
        const node = ordered_index.nodeAt(region, entry.block);
        const tag: u10 = if (sync.mutated(.untagged_dying)) 0 else @intCast(entries.slot);
        const dying = (State{ .phase = .dying, .slot = tag }).bits();
        const dead = (State{ .phase = .dead, .slot = @intCast(entries.slot) }).bits();
        while (true) {
            const word = node.state.load(.acquire);
            const state = State.from(word);
            if (word == dead) return entries.finish(entry, found); // killed after the swap below
            if (state.phase == .dead) return nothing(entry);
            if (word == dying) break;
            if (node.state.cas(word, dying, .acq_rel, .acquire) == null) break;
        }
        sync.fence();
        if (entries.isNeeded(node)) {
            const live = (State{ .phase = .live }).bits();
            _ = node.state.cas(dying, live, .acq_rel, .acquire);
            return nothing(entry);
        }
        if (node.state.cas(dying, dead, .acq_rel, .acquire) != null) return nothing(entry);
        return entries.finish(entry, found);
    }

    /// Removes the node of such an entry whether a version needs it or not.
    pub fn removeAnyway(entries: Entries, entry: *Entry) RelPtr {
        const node = ordered_index.nodeAt(entries.region, entry.block);
        const dead = (State{ .phase = .dead, .slot = @intCast(entries.slot) }).bits();
        while (true) {
            const word = node.state.load(.acquire);
            const state = State.from(word);
            if (state.phase == .dead) {
                const empty = entries.ordered().remove(entries.slot, entry.block, null);
                _ = nothing(entry);
                return empty;
            }
            if (node.state.cas(word, dead, .acq_rel, .acquire) == null) break;
        }
        return entries.finish(entry, null);
    }

    fn nothing(entry: *Entry) RelPtr {
        entry.kind = .nop;
        entry.ts.store(1, .release);
        return 0;
    }

    fn finish(entries: Entries, entry: *Entry, found: ?*const Place) RelPtr {
        const empty = entries.ordered().remove(entries.slot, entry.block, found);
        sync.fence();
        entry.ts.store(vacuum.retirePosition(entries.region), .release);
        return empty;
    }

    /// Whether a version that some pin may need has the entry's key.
    fn isNeeded(entries: Entries, node: *const ordered_index.Node) bool {
        const region = entries.region;
        const head = Head.from(version_module.nodeAt(region, node.row).head.load(.acquire));
        if (head.state == .dead or head.version == 0) return false;
        const horizon = &region.control.shared.horizon;
        const last = if (sync.mutated(.removal_by_own_pin))
            Pin.epoch(region.slots[entries.slot].pin.load(.acquire)) orelse 0
        else
            horizon.load(.acquire);
        var at = head.version;
        // The position of the version above; what stands below may be freed once the horizon is
        // there.
        var above: Position = std.math.maxInt(Position);
        while (at != 0) {
            var copy: Version = undefined;
            const to: [*]u8 = @ptrCast(&copy);
            sync.copyRacing(to, @ptrCast(versionAt(region, at)), @sizeOf(Version));
            const has = entries.hasKey(at, &copy, node);
            if (!sync.mutated(.no_recheck)) {
                sync.fence();
                if (horizon.load(.acquire) >= above) return false;
            }
            const below = copy.prev.raw;
            var xmin = copy.xmin.raw;
            if (Xmin.isReference(xmin)) {
                // Not stamped yet, so nothing below it can be freed under our pin.
                xmin = switch (ring.resolve(region, versionAt(region, at))) {
                    .committed => |position| position,
                    .aborted => Xmin.aborted,
                    else => {
                        if (has) return true;
                        at = below;
                        continue;
                    },
                };
            }
            if (xmin == Xmin.aborted) {
                at = below;
                continue;
            }
            if (has) return true;
            if (xmin <= last) return false;
            above = xmin;
            at = below;
        }
        return false;
    }

    fn hasKey(
        entries: Entries,
        at: RelPtr,
        header: *const Version,
        node: *const ordered_index.Node,
    ) bool {
        if (header.isTombstone() or header.table != entries.ordered().root.table) return false;
        const size = header.payloadSize();
        if (!entries.keys().allows(size)) return false;
        const row: RowRef = .{
            .payload = @alignCast(versionAt(entries.region, at).payload()),
            .null_mask = header.null_mask,
            .version = at,
            .size = @intCast(size),
        };
        const key = entries.room;
        // Most have not, and that is seen without making a key.
        if (!entries.keys().isKeyOf(row, node.prefix, node.columns(), key)) return false;
        key.encode(entries.keys(), row);
        return std.mem.eql(u8, key.slice(), node.key());
    }
};

/// The row in a version whose size was checked when it was written.
pub fn rowOf(region: *const Region, at: RelPtr) RowRef {
    const version = versionAt(region, at);
    return .{
        .payload = @alignCast(version.payload()),
        .null_mask = version.null_mask,
        .version = at,
        .size = @intCast(version.payloadSize()),
    };
}
