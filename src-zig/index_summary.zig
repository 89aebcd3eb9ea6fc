//! Summaries: how many rows stand in the part of an index that a block of the guide covers, so that
//! a count need not walk it.
//!
//! A block of level 1 covers the keys behind its own least key, up to and with that of the block
//! which its link names now, as long as that link has no mark. Its summary is one word: `none`,
//! `candidate` with the slot of a reader that is counting, or `sum` with the number of rows and the
//! block at the right for which it holds.
//!
//!     reader that counts (publisher)            writer that moves a row
//!     summary: none|candidate -> candidate(me)  head: base -> version; entry of its key ensured
//!     fence                                     fence
//!     read the link, walk what it covers:       of the old key and of the new one:
//!       each row's head is committed at or        find the block that covers it now
//!       before the horizon, or: give up           clear its summary
//!     candidate(me) -> sum                      take the position
//!
//! At least one of the two sees the other (Dekker): either the publisher finds a head that is not
//! decided and gives up, or the writer clears the candidate or the sum. Clearing comes before the
//! position is taken, so whoever has a snapshot with the change in it finds no sum without it. What
//! a sum has counted is at or before the horizon, so it is part of every snapshot that has a pin.
//! A change that is rolled back clears for nothing. `candidate` carries the slot for the reason
//! that `dying` does (`index_entry.zig`): a publisher that was overtaken by a writer and by another
//! publisher must not take that one's candidate for its own.
//!
//! What a block covers changes with its link: a split puts a block behind it, and taking a block
//! out lets the one at its left reach further. Whoever swaps such a link clears the summary of the
//! block that holds it, between reading the link and swapping it. A sum that is set after that was
//! made for the link of before, and names another block than the new link does; the next swap
//! clears it. So a sum that names what the link names was made for what the block covers. A user
//! reads the link first, and then the sum.
//!
//! Why the writer's search finds every block that may get a wrong sum. Let k be its key, and let a
//! publisher of block Y have set its candidate before the writer's fence, so that it may miss the
//! change. The writer takes the last block without a mark whose least key is before k, after the
//! fence, at a moment at which its link was seen to lead past k (over blocks with marks only). If
//! that is Y, it clears Y. If not, Y does not reach to k then, though it does when its link is read
//! by the publisher or by the user of the sum. So its link was swapped in between, after the
//! writer's search or after the publisher's look, and both come after the candidate: who swapped it
//! has cleared it. (The block that was taken out got its mark after the search had seen it without
//! one, or was put in after the publisher's look.)
//!
//! Memory orders, with their partners:
//!
//!   * summary cas acq_rel, then fence / fence, then load acquire: the handshake above
//!   * `sum` cas acq_rel / load acquire: the user reads only the word itself
//!   * swap acq_rel before a link's cas acq_rel / link load acquire, then summary load acquire: who
//!     sees the new link does not see what was cleared
//!   * `next` fetchAdd acq_rel / load acquire: who has the position in its snapshot sees the
//!     summary cleared
//!   * `Root.summarized` store release, then fence / fence, then load acquire: a writer that sees 0
//!     is seen by every publisher
//!
//! Killed anywhere: a candidate of the dead is no sum, and gives way to the next publisher, also to
//! the next owner of its slot, who walks anew. A writer that is killed before it has cleared has no
//! position and is never committed.

const std = @import("std");
const sync = @import("sync");
const index_guide = @import("index_guide.zig");
const index_guide_block = @import("index_guide_block.zig");
const ordered_index = @import("ordered_index.zig");
const version_module = @import("version.zig");
const Block = index_guide_block.Block;
const Guide = index_guide.Guide;
const Link = version_module.Link;
const Probe = ordered_index.Probe;
const RelPtr = version_module.RelPtr;
const Root = ordered_index.Root;
const blockAt = index_guide_block.blockAt;

/// The summary of a block of level 1.
pub const Summary = packed struct(u64) {
    /// The block at the right for which a sum holds, 0 for none.
    next: u32 = 0,
    /// Rows, or a slot.
    number: u30 = 0,
    kind: Kind = .none,

    pub const Kind = enum(u2) { none = 0, candidate = 1, sum = 2, _ };

    pub inline fn bits(summary: Summary) u64 {
        return @bitCast(summary);
    }
    pub inline fn from(word: u64) Summary {
        return @bitCast(word);
    }
};

/// The rows of a block, or null if nobody has counted them for what it covers. `link` is what its
/// link was found to be.
pub inline fn sumOf(block: *const Block, link: Link) ?u32 {
    if (link.marked) return null;
    const summary: Summary = .from(block.summary.load(.acquire));
    if (summary.kind != .sum or summary.next != link.node) return null;
    return summary.number;
}

/// A reader that counts the rows of a block to leave the sum there. It is pinned.
pub const Publisher = struct {
    block: *Block,
    candidate: u64,

    /// Null if the block does not cover what `link` says any more.
    pub fn begin(root: *Root, block: *Block, link: Link, slot: u32) ?Publisher {
        if (link.marked) return null;
        if (root.summarized.load(.monotonic) == 0) root.summarized.store(1, .release);
        const tag: u30 = if (sync.mutated(.untagged_candidate)) 0 else @intCast(slot);
        const candidate = (Summary{ .kind = .candidate, .number = tag }).bits();
        const seen = block.summary.load(.monotonic);
        // One of this slot was left by a publisher that was killed.
        if (seen != candidate) {
            if (block.summary.cas(seen, candidate, .acq_rel, .monotonic) != null) return null;
        }
        sync.fence();
        const publisher: Publisher = .{ .block = block, .candidate = candidate };
        if (block.link.load(.acquire) == link.bits()) return publisher;
        publisher.giveUp();
        return null;
    }

    /// Leaves the sum, unless somebody has changed what is counted.
    pub fn finish(publisher: Publisher, count: u64, link: Link) void {
        if (count > std.math.maxInt(u30)) return publisher.giveUp();
        const sum: Summary = .{ .kind = .sum, .number = @intCast(count), .next = link.node };
        _ = publisher.block.summary.cas(publisher.candidate, sum.bits(), .acq_rel, .monotonic);
    }

    pub fn giveUp(publisher: Publisher) void {
        _ = publisher.block.summary.cas(publisher.candidate, 0, .acq_rel, .monotonic);
    }
};

/// Clears the summary of the block that holds a link which is about to be swapped, after that link
/// was read.
pub fn clearLeft(block: *Block) void {
    if (block.level != 1 or sync.mutated(.link_before_clear)) return;
    _ = block.summary.swap(0, .acq_rel);
}

/// Clears the summary of what covers an entry's place, for a writer whose change is to be seen by
/// all who look after the caller's fence. `hint` is a block of level 1 near it, or 0. The caller is
/// pinned.
pub fn clear(guide: Guide, hint: RelPtr, probe: *const Probe) void {
    const block = blockAt(guide.region, coverOf(guide, hint, probe) orelse return);
    if (block.summary.load(.acquire) == 0) return;
    _ = block.summary.swap(0, .acq_rel);
}

/// The last block of level 1 that is in its list and whose least key is before the probe; null if
/// the level has none.
fn coverOf(guide: Guide, hint: RelPtr, probe: *const Probe) ?RelPtr {
    if (hint != 0 and blockAt(guide.region, hint).order(probe) == .lt) {
        if (coverFrom(guide, hint, probe)) |found| return found;
    }
    while (true) {
        const first = guide.blockOf(1, probe);
        if (first == 0) return null;
        if (coverFrom(guide, first, probe)) |found| return found;
        sync.spinHint();
    }
}

/// The same, from a block before the probe to the right. Null if that has gone: search again.
fn coverFrom(guide: Guide, first: RelPtr, probe: *const Probe) ?RelPtr {
    const region = guide.region;
    var last = first;
    while (true) {
        const word = blockAt(region, last).link.load(.acquire);
        if (Link.from(word).marked) return null;
        var at = Link.from(word).node;
        var right: RelPtr = 0;
        while (at != 0) {
            const block = blockAt(region, at);
            if (block.order(probe) != .lt) break;
            const link: Link = .from(block.link.load(.acquire));
            if (!link.marked) {
                right = at;
                break;
            }
            at = link.node;
        }
        if (right != 0) {
            last = right;
            continue;
        }
        // The marks that were passed do not go away: if the link still leads to them, there was a
        // moment at which nothing in the list stood between.
        if (at == Link.from(word).node) return last;
        if (blockAt(region, last).link.load(.acquire) == word) return last;
    }
}

/// Entries that a block covers, walked one by one. Exact only while nobody changes the index; then,
/// and if nothing waits for vacuum, they are as many as rows.
pub fn countCovered(index: ordered_index.OrderedIndex, block: *const Block, link: Link) u32 {
    const low: Probe = behind(block);
    var count: u32 = 0;
    var at = if (block.low_size == 0) index.following(0) else index.seek(&low);
    while (at != 0) : (at = index.following(at)) {
        if (link.node != 0) {
            const high: Probe = behind(blockAt(index.region, link.node));
            if (high.order(ordered_index.nodeAt(index.region, at)) != .lt) break;
        }
        count += 1;
    }
    return count;
}

/// The place behind all entries with the least key of a block: where what it covers begins.
pub fn behind(block: *const Block) Probe {
    return .entry(block.low(), std.math.maxInt(RelPtr), block.low_prefix);
}
