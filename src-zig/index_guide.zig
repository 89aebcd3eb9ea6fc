//! The guide of an ordered index: blocks of hints that lead to an entry near a key.
//!
//! The entries of an index are a list, and the list alone is the truth (`ordered_index.zig`). Above
//! it stand levels of blocks. A block of level 1 holds references to entries, one of a higher level
//! references to blocks of the level below, in the order of their keys. Each level of blocks is a
//! list too, and every block knows the least key that belongs to it, which does not change.
//!
//! A reference is a granule, and the generation of the block that stood there. It is a hint: the
//! entry may have gone since, and its memory may be another entry's. So a reader believes none. It
//! looks whether what stands there still has the generation, and a link without a mark; then it is
//! in its list at that moment, and stays in memory for as long as the reader is pinned. And it
//! compares the key. What fails the test is passed over, and the reference before is tried.
//!
//! That makes writing easy. References are moved about under a lock which is only a courtesy: who
//! meets it and has waited a little takes it away, and whatever two who hold it, or one who was
//! killed, leave behind is a block of hints. A lost hint costs a few steps along the list.
//!
//! (Lehman and Yao 1981 for blocks that are linked to the right, so that a split is complete before
//! the level above knows of it.)
//!
//! Invariants:
//!
//!   * every block in use is in the list of its level, or named by a log entry, or by its maker's
//!     slot (`guide_block`)
//!   * a level's first block has the empty key as its least and stays
//!   * a block is taken out by the one whose slot is its `claim`, and freed when the horizon has
//!     passed that
//!
//! Taking an entry out of the index never needs a block. Putting one in may want one, and does
//! without if there is none.

const std = @import("std");
const sync = @import("sync");
const index_guide_block = @import("index_guide_block.zig");
const ordered_index = @import("ordered_index.zig");
const version_module = @import("version.zig");
const Block = index_guide_block.Block;
const Link = version_module.Link;
const Probe = ordered_index.Probe;
const Reference = index_guide_block.Reference;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const Root = ordered_index.Root;
const blockAt = index_guide_block.blockAt;
const level_count = index_guide_block.level_count;

/// References that are tried, one before the other, until one is not stale.
const tries_max = 8;

/// Where a search went: the block of level 1 that the probe belongs to, and how many of its
/// references are before the probe.
pub const Trail = struct {
    block: RelPtr = 0,
    at: u32 = 0,
    /// Where it first led nothing fits.
    retreats: bool = false,
};

/// A block of level 1 that somebody has seen near a key, and how many of its references were before
/// that then. It may have gone, and is believed as little as the reference of a block is.
pub const Near = struct {
    block: Reference,
    at: u32,

    pub const none: Near = .{ .block = .none, .at = 0 };
};

pub const Guide = struct {
    region: *const Region,
    root: *Root,
    root_granule: u32,

    /// An entry before the probe that is in the list, as near as the hints know, or 0 for the start
    /// of the index. The caller is pinned.
    pub fn entryBefore(guide: Guide, probe: *const Probe, trail: *Trail) RelPtr {
        return guide.search(probe, 0, trail);
    }

    /// The same, beginning there if that can be, else at the top.
    pub fn entryNear(guide: Guide, near: *const Near, probe: *const Probe, trail: *Trail) RelPtr {
        if (guide.isNear(near, probe)) {
            const first = guide.goRight(near.block.granule, probe);
            const block = blockAt(guide.region, first);
            const count = block.used();
            const least = if (block.isLeast(near.at, count, probe.mask, probe.prefix))
                near.at
            else
                block.countLess(count, probe.mask, probe.prefix);
            const at = guide.positionFrom(least, block, count, probe);
            const found = guide.withinFrom(first, at, 1, probe, 0, trail);
            if (found != 0) return found;
            trail.* = .{};
        }
        return guide.entryBefore(probe, trail);
    }

    /// Whether it is a block of level 1 of this index that is in its list now and before the probe.
    pub fn isNear(guide: Guide, near: *const Near, probe: *const Probe) bool {
        if (near.block.granule == 0 or !near.block.isLinked(guide.region)) return false;
        const block = blockAt(guide.region, near.block.granule);
        if (block.level != 1 or block.root != guide.root_granule) return false;
        return block.order(probe) == .lt;
    }

    /// The block of a level that the probe belongs to, or 0 if the level has none.
    pub fn blockOf(guide: Guide, level: usize, probe: *const Probe) RelPtr {
        var trail: Trail = .{};
        const found = guide.search(probe, level, &trail);
        if (found != 0) return found;
        const first = Link.from(guide.root.heads[level].load(.acquire)).node;
        return if (first == 0) 0 else guide.goRight(first, probe);
    }

    fn search(guide: Guide, probe: *const Probe, goal: usize, trail: *Trail) RelPtr {
        var level: usize = level_count - 1;
        while (level > goal) : (level -= 1) {
            const first = Link.from(guide.root.heads[level].load(.acquire)).node;
            if (first == 0) continue;
            const granule = guide.goRight(first, probe);
            const found = guide.straight(granule, level, probe, goal, trail);
            if (found != 0) return found;
            trail.* = .{};
            return guide.within(granule, level, probe, goal, trail);
        }
        return 0;
    }

    /// Goes down from a block by the references that searches mostly go by: the last before the
    /// probe, which nearly always leads to where it did. 0 if one does not.
    fn straight(
        guide: Guide,
        from: RelPtr,
        top: usize,
        probe: *const Probe,
        goal: usize,
        trail: *Trail,
    ) RelPtr {
        const region = guide.region;
        var granule = from;
        var level = top;
        while (level > goal) : (level -= 1) {
            const block = blockAt(region, granule);
            const count = block.used();
            const at = guide.positionIn(block, level, count, probe);
            if (at == 0) return 0;
            const reference = block.reference(at - 1);
            if (level > 1) {
                const below = blockAt(region, reference.granule);
                if (level <= 3) below.prefetch();
                if (!guide.isBefore(level, reference, probe)) return 0;
                granule = guide.goRight(reference.granule, probe);
                continue;
            }
            guide.prefetchEntry(block, at);
            trail.* = .{ .block = granule, .at = at };
            return if (guide.isBefore(level, reference, probe)) reference.granule else 0;
        }
        return granule;
    }

    /// How many of the first `count` references of a block that was reached from above are before
    /// the probe, if none is stale.
    inline fn positionIn(
        guide: Guide,
        block: *const Block,
        level: usize,
        count: u32,
        probe: *const Probe,
    ) u32 {
        // Blocks of the lower levels were asked for just now.
        const least = if (level <= 2)
            block.countLessFar(count, probe.mask, probe.prefix)
        else
            block.countLess(count, probe.mask, probe.prefix);
        return guide.positionFrom(least, block, count, probe);
    }

    /// Searches below a block. 0 if all that it leads to is stale or not before the probe.
    fn within(
        guide: Guide,
        granule: RelPtr,
        level: usize,
        probe: *const Probe,
        goal: usize,
        trail: *Trail,
    ) RelPtr {
        if (level == goal) return granule;
        const block = blockAt(guide.region, granule);
        const at = guide.positionIn(block, level, block.used(), probe);
        return guide.withinFrom(granule, at, level, probe, goal, trail);
    }

    /// The same, if so many of the block's references are before the probe.
    inline fn withinFrom(
        guide: Guide,
        granule: RelPtr,
        position_in_block: u32,
        level: usize,
        probe: *const Probe,
        goal: usize,
        trail: *Trail,
    ) RelPtr {
        const region = guide.region;
        const block = blockAt(region, granule);
        var at = position_in_block;
        if (level == 1 and trail.block == 0) {
            trail.block = granule;
            trail.at = at;
        }
        var tries: u32 = 0;
        while (at > 0 and tries < tries_max) : (tries += 1) {
            at -= 1;
            const reference = block.reference(at);
            if (level > 1) {
                blockAt(region, reference.granule).prefetch();
            } else if (tries == 0) {
                guide.prefetchEntry(block, at + 1);
            }
            if (!guide.isBefore(level, reference, probe)) continue;
            if (level == 1) return reference.granule;
            // To the right only at first: what stands before has been left because nothing fits
            // where that leads.
            const below = if (trail.retreats)
                reference.granule
            else
                guide.goRight(reference.granule, probe);
            const found = guide.within(below, level - 1, probe, goal, trail);
            if (found != 0) return found;
        }
        trail.retreats = true;
        return 0;
    }

    /// Asks for the entries that some references of a block of level 1 lead to.
    fn prefetchEntries(guide: Guide, block: *const Block, first: u32, end: u32) void {
        if (sync.sim or first >= end) return;
        for (block.references[first..end]) |*word| {
            const reference: Reference = .from(word.load(.monotonic));
            @prefetch(ordered_index.nodeAt(guide.region, reference.granule), .{});
        }
    }

    /// Whoever looks for a place reads the entry behind it as well.
    inline fn prefetchEntry(guide: Guide, block: *const Block, at: u32) void {
        if (sync.sim or at >= block.used()) return;
        @prefetch(ordered_index.nodeAt(guide.region, block.reference(at).granule), .{});
    }

    /// The last block, from `first` to the right, whose least key is before the probe.
    pub inline fn goRight(guide: Guide, first: RelPtr, probe: *const Probe) RelPtr {
        const block = blockAt(guide.region, first);
        if (block.high_prefix.load(.acquire) & probe.mask > probe.prefix) return first;
        return guide.goFurtherRight(first, probe);
    }

    fn goFurtherRight(guide: Guide, first: RelPtr, probe: *const Probe) RelPtr {
        var last = first;
        var block = blockAt(guide.region, first);
        while (true) {
            if (block.high_prefix.load(.acquire) & probe.mask > probe.prefix) return last;
            const next = Link.from(block.link.load(.acquire)).node;
            if (next == 0) return last;
            block = blockAt(guide.region, next);
            if (block.order(probe) != .lt) return last;
            if (!Link.from(block.link.load(.acquire)).marked) last = next;
        }
    }

    /// How many of the first `count` references are before the probe, if none is stale.
    pub fn position(guide: Guide, block: *const Block, count: u32, probe: *const Probe) u32 {
        const first = block.countLess(count, probe.mask, probe.prefix);
        return guide.positionFrom(first, block, count, probe);
    }

    /// The same, from the first reference that has the probe's prefix.
    pub inline fn positionFrom(
        guide: Guide,
        least: u32,
        block: *const Block,
        count: u32,
        probe: *const Probe,
    ) u32 {
        if (least == count) return least;
        if (block.prefixes[least].load(.monotonic) & probe.mask != probe.prefix) return least;
        return guide.positionAmong(least, block, count, probe);
    }

    /// The same among those that have the probe's prefix.
    fn positionAmong(
        guide: Guide,
        least: u32,
        block: *const Block,
        count: u32,
        probe: *const Probe,
    ) u32 {
        var first = least;
        if (probe.decided and probe.side == .before) return first;
        const all = std.math.maxInt(u64);
        const same_last = probe.prefix | ~probe.mask;
        // Mostly it is one.
        const is_one = first + 1 == count or
            block.prefixes[first + 1].load(.monotonic) > same_last;
        var end = if (is_one)
            first + 1
        else if (same_last == all) count else block.countLess(count, all, same_last + 1);
        if (probe.decided) return end;
        while (first < end) {
            const middle = first + (end - first) / 2;
            if (guide.isBefore(block.level, block.reference(middle), probe)) {
                first = middle + 1;
            } else {
                end = middle;
            }
        }
        return first;
    }

    pub inline fn isBefore(
        guide: Guide,
        level: usize,
        reference: Reference,
        probe: *const Probe,
    ) bool {
        if (!reference.isLinked(guide.region)) return false;
        if (level == 1) {
            return probe.order(ordered_index.nodeAt(guide.region, reference.granule)) == .lt;
        }
        return blockAt(guide.region, reference.granule).order(probe) == .lt;
    }

    /// An entry up to `span` entries before the probe, or 0 for the start of the index. It is not
    /// further back than the last one before `low`, if the guide knows that. The caller is pinned.
    pub fn entryBack(guide: Guide, probe: *const Probe, low: *const Probe, span: u32) RelPtr {
        var trail: Trail = .{};
        const nearest = guide.entryBefore(probe, &trail);
        if (nearest == 0) return 0;
        var block = blockAt(guide.region, trail.block);
        var back = trail.at;
        var missing = span;
        var before_low = block.countLess(back, low.mask, low.prefix);
        if (back < span and before_low == 0 and block.low_size != 0) {
            // The rest stands at the end of the block at the left.
            const least: Probe = .entry(block.low(), 0, block.low_prefix);
            missing -= back;
            guide.prefetchEntries(block, 0, back);
            trail = .{};
            if (guide.entryBefore(&least, &trail) == 0) return 0;
            block = blockAt(guide.region, trail.block);
            back = trail.at;
            before_low = block.countLess(back, low.mask, low.prefix);
        }
        var at = @max(back -| missing, before_low -| 1);
        // The way goes up from there. Whoever has come down to here goes on before that.
        const further: u32 = if (probe.row == 0) 0 else span;
        guide.prefetchEntries(block, @max(at -| further, before_low -| 1), back);
        while (at < back) : (at += 1) {
            const reference = block.reference(at);
            if (guide.isBefore(1, reference, probe)) return reference.granule;
        }
        return nearest;
    }

    /// Whether a block is in the list of its level. Goes through all of it.
    pub fn has(guide: Guide, granule: RelPtr) bool {
        const level = blockAt(guide.region, granule).level;
        if (level == 0 or level >= level_count) return false;
        var at = Link.from(guide.root.heads[level].load(.acquire)).node;
        while (at != 0) {
            if (at == granule) return true;
            at = Link.from(blockAt(guide.region, at).link.load(.acquire)).node;
        }
        return false;
    }

    pub const Key = struct { bytes: []const u8, prefix: u64 };

    pub fn keyOf(guide: Guide, level: u8, granule: RelPtr) Key {
        if (level == 1) {
            const node = ordered_index.nodeAt(guide.region, granule);
            return .{ .bytes = node.key(), .prefix = node.prefix };
        }
        const block = blockAt(guide.region, granule);
        return .{ .bytes = block.low(), .prefix = block.low_prefix };
    }
};

/// Where a scan upwards is, as the guide knows it. Only asks for memory ahead of time.
pub const Ahead = struct {
    /// A block of level 1, or 0, and which of its references the scan has come by.
    block: RelPtr = 0,
    at: u32 = 0,
    /// Up to here entries were asked for: that block or one at its right, how many of its
    /// references, and how many those are from where the scan is.
    asked_block: RelPtr = 0,
    asked: u32 = 0,
    distance: u32 = 0,

    /// References whose entries are asked for once more: a processor that has much under way drops
    /// some. A walk takes 0.8 of the time that it takes without.
    const asked_again = 24;
    /// References at which an entry is looked for before its prefix is.
    const near_count = 16;

    /// Makes sure that the next entries behind `granule`, about `count`, were asked for. The caller
    /// is pinned since before it had that entry.
    pub fn prefetch(ahead: *Ahead, guide: Guide, granule: RelPtr, count: u32) void {
        if (sync.sim) return;
        const region = guide.region;
        if (!ahead.find(guide, granule)) return;
        if (ahead.distance == 0) {
            ahead.asked_block = ahead.block;
            ahead.asked = ahead.at + 1;
        }
        while (ahead.distance < count) {
            const block = blockAt(region, ahead.asked_block);
            const used = block.used();
            const begin = ahead.asked;
            const end = @min(used, begin + count - ahead.distance);
            const next = Link.from(block.link.load(.acquire)).node;
            if (begin < end) {
                guide.prefetchEntries(block, begin -| asked_again, end);
                ahead.distance += end - begin;
                ahead.asked = end;
                if (begin == 0 and next != 0) blockAt(region, next).prefetchReferences();
            }
            if (ahead.distance >= count or next == 0) return;
            ahead.asked_block = next;
            ahead.asked = 0;
        }
    }

    /// Finds where the scan is. False if the guide does not know.
    fn find(ahead: *Ahead, guide: Guide, granule: RelPtr) bool {
        const node = ordered_index.nodeAt(guide.region, granule);
        for (0..3) |_| {
            if (ahead.block == 0) return false;
            const block = blockAt(guide.region, ahead.block);
            const count = block.used();
            if (block.indexAmong(ahead.at, @min(count, ahead.at + near_count), granule)) |at| {
                ahead.goTo(at);
                return true;
            }
            if (node.prefix < block.high_prefix.load(.acquire)) {
                // An entry that the guide does not know, or further on.
                ahead.goTo(block.countLess(count, std.math.maxInt(u64), node.prefix) -| 1);
                return true;
            }
            ahead.goTo(count);
            ahead.block = Link.from(block.link.load(.acquire)).node;
            ahead.at = 0;
        }
        ahead.distance = 0;
        var trail: Trail = .{};
        _ = guide.entryBefore(&.of(node), &trail);
        ahead.block = trail.block;
        ahead.at = trail.at -| 1;
        return trail.block != 0;
    }

    /// Goes on to a reference of the block.
    fn goTo(ahead: *Ahead, at: u32) void {
        ahead.distance -|= at -| ahead.at;
        ahead.at = at;
    }
};
