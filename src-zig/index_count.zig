//! How many rows an index has in an interval, or for some of its keys.
//!
//! Counts what `index_scan.zig` would give, block of the guide by block: the interval is cut at the
//! least keys of blocks of level 1. A block whose keys are all inside adds the sum that it has, and
//! is walked if it has none, which leaves one there (`index_summary.zig`). What is before the first
//! of these and behind the last is walked.
//!
//! The cuts need not be in their level any more: keys do not move, so whatever is between two of
//! them is counted once. Only a sum is asked whether it holds.
//!
//! The caller is pinned from before the view's position was read until it gives the counter up.

const std = @import("std");
const sync = @import("sync");
const index_guide = @import("index_guide.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_scan = @import("index_scan.zig");
const index_summary = @import("index_summary.zig");
const ordered_index = @import("ordered_index.zig");
const reader = @import("reader.zig");
const ring = @import("commit_ring.zig");
const version_module = @import("version.zig");
const Block = index_guide_block.Block;
const Head = version_module.Head;
const Link = version_module.Link;
const OrderedIndex = ordered_index.OrderedIndex;
const Position = version_module.Position;
const Probe = ordered_index.Probe;
const Publisher = index_summary.Publisher;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const Scan = index_scan.Scan;
const behind = index_summary.behind;
const blockAt = index_guide_block.blockAt;
const assert = std.debug.assert;

pub const Counter = struct {
    region: *const Region,
    index: OrderedIndex,
    /// Whose rows are counted, and whose memory is used. It has not begun, and does not.
    scan: *Scan,
    /// Of the session that is pinned.
    slot: u32,
    phase: Phase = .start,
    /// In phase `blocks`: the block behind whose least key to go on.
    block: RelPtr = 0,
    /// In phase `walk`: the entry to go on with, or 0 at the end of the index.
    at: RelPtr = 0,
    /// In phase `walk`: the block at whose least key to end, or 0 for the end of the interval.
    until: RelPtr = 0,
    ahead: index_guide.Ahead = .{},
    /// Entries looked at.
    looked: u64 = 0,
    /// The same, and sums taken.
    examined: u64 = 0,

    const batch_size = Scan.batch_size;
    /// Entries of a block that are counted in one go.
    const block_entries_max = 16 * index_guide_block.block_count;
    const Phase = enum { start, blocks, walk, end };
    pub const Error = Scan.Error;

    pub fn prepare(counter: *Counter, scan: *Scan, slot: u32) void {
        assert(scan.keys.may_cut == 0);
        counter.* = .{
            .region = scan.region,
            .index = scan.index,
            .scan = scan,
            .slot = slot,
        };
    }

    pub inline fn isDone(counter: *const Counter) bool {
        return counter.phase == .end;
    }

    /// Goes on until at least `wanted` rows were found, or about `examine_max` entries looked at.
    /// Returns the rows found. `BadArgument`: a key of the plan is not one of the index.
    pub fn run(counter: *Counter, wanted: u64, examine_max: u64) Error!u64 {
        const last = counter.examined +| examine_max;
        var found: u64 = 0;
        while (counter.phase != .end and found < wanted and counter.examined < last) {
            found += switch (counter.phase) {
                .start => try counter.start(),
                .blocks => try counter.takeBlock(),
                .walk => try counter.walk(),
                .end => unreachable,
            };
        }
        return found;
    }

    fn start(counter: *Counter) Error!u64 {
        counter.phase = .end;
        if (!try counter.scan.access.begin(&counter.scan.keys)) return 0;
        const low: Probe = .at(&counter.scan.keys, &counter.scan.access.low);
        if (low.isStart()) {
            const first = Link.from(counter.index.root.heads[1].load(.acquire)).node;
            if (first == 0) counter.walkFrom(counter.index.following(0), 0);
            if (first != 0) counter.goTo(first);
            return 0;
        }
        var trail: index_guide.Trail = .{};
        const at = counter.index.seekTrail(&low, &trail);
        counter.ahead = .{ .block = trail.block, .at = trail.at };
        var next = trail.block;
        while (next != 0) {
            const block = blockAt(counter.region, next);
            if (block.order(&low) != .lt) break;
            next = Link.from(block.link.load(.acquire)).node;
        }
        counter.walkFrom(at, if (next != 0 and counter.isInside(next)) next else 0);
        return 0;
    }

    fn goTo(counter: *Counter, block: RelPtr) void {
        counter.phase = .blocks;
        counter.block = block;
    }

    fn walkFrom(counter: *Counter, at: RelPtr, until: RelPtr) void {
        counter.phase = .walk;
        counter.at = at;
        counter.until = until;
        if (at != 0) counter.ahead.prefetch(counter.index.guide(), at, batch_size);
    }

    fn finishInterval(counter: *Counter) void {
        counter.phase = if (counter.scan.access.keys == null) .end else .start;
    }

    /// Whether everything up to the least key of a block is before the end of the interval.
    fn isInside(counter: *const Counter, block: RelPtr) bool {
        const high: Probe = .at(&counter.scan.keys, &counter.scan.access.high);
        return blockAt(counter.region, block).order(&high) == .lt;
    }

    fn takeBlock(counter: *Counter) Error!u64 {
        const block = blockAt(counter.region, counter.block);
        const link: Link = .from(block.link.load(.acquire));
        const inside = if (link.node != 0)
            counter.isInside(link.node)
        else
            Probe.at(&counter.scan.keys, &counter.scan.access.high).isEnd();
        if (!inside) {
            counter.ahead = .{ .block = counter.block };
            counter.walkFrom(counter.firstBehind(block), 0);
            return 0;
        }
        if (index_summary.sumOf(block, link)) |count| {
            counter.examined += 1;
            counter.leave(link.node);
            return count;
        }
        const root = counter.index.root;
        if (Publisher.begin(root, block, link, counter.slot)) |publisher| {
            return counter.countBlock(block, link, publisher);
        }
        counter.ahead = .{ .block = counter.block };
        counter.walkFrom(counter.firstBehind(block), link.node);
        return 0;
    }

    /// Goes on behind what a block covers.
    fn leave(counter: *Counter, next: RelPtr) void {
        if (next == 0) counter.finishInterval() else counter.goTo(next);
    }

    /// The first entry behind the least key of a block, found from one that is in the list now.
    fn firstBehind(counter: *Counter, block: *const Block) RelPtr {
        if (block.low_size == 0) return counter.index.following(0);
        const low: Probe = behind(block);
        const first = block.reference(0);
        if (block.used() == 0 or !counter.index.guide().isBefore(1, first, &low)) {
            return counter.index.seek(&low);
        }
        var at = counter.index.following(first.granule);
        while (at != 0) : (at = counter.index.following(at)) {
            if (low.order(ordered_index.nodeAt(counter.region, at)) != .lt) break;
        }
        return at;
    }

    /// Counts what a block covers, and leaves the sum there.
    fn countBlock(
        counter: *Counter,
        block: *const Block,
        link: Link,
        publisher: Publisher,
    ) Error!u64 {
        errdefer publisher.giveUp();
        if (!sync.sim) for (0..block.used()) |i| {
            const reference = block.reference(i);
            @prefetch(ordered_index.nodeAt(counter.region, reference.granule), .{});
        };
        const horizon = counter.region.control.shared.horizon.load(.acquire);
        counter.at = counter.firstBehind(block);
        counter.until = link.node;
        var settled = true;
        var count: u64 = 0;
        var looked: u32 = 0;
        while (counter.at != 0) {
            const entries = counter.gather();
            if (entries.len == 0) break;
            for (entries) |entry| count += try counter.look(entry, horizon, &settled);
            looked += batch_size;
            if (looked < block_entries_max) continue;
            // The guide has lost its way here. What is left is walked.
            publisher.giveUp();
            counter.walkFrom(counter.at, counter.until);
            return count;
        }
        if (settled) publisher.finish(count, link) else publisher.giveUp();
        counter.leave(link.node);
        return count;
    }

    /// Counts the next entries.
    fn walk(counter: *Counter) Error!u64 {
        const entries = counter.gather();
        var settled = false;
        var count: u64 = 0;
        for (entries) |entry| count += try counter.look(entry, 0, &settled);
        if (entries.len == batch_size and counter.at != 0) {
            counter.ahead.prefetch(counter.index.guide(), counter.at, batch_size);
        } else {
            counter.leave(counter.until);
        }
        return count;
    }

    /// The next entries up to the end of the walk. Fewer than a batch: there are no more.
    fn gather(counter: *Counter) []const RelPtr {
        const region = counter.region;
        const end = if (counter.until != 0)
            behind(blockAt(region, counter.until))
        else
            Probe.at(&counter.scan.keys, &counter.scan.access.high);
        var count: usize = 0;
        while (count < batch_size and counter.at != 0) {
            const node = ordered_index.nodeAt(region, counter.at);
            if (end.order(node) != .lt) break;
            counter.scan.batch[count] = counter.at;
            count += 1;
            @prefetch(version_module.nodeAt(region, node.row), .{});
            counter.at = counter.index.following(counter.at);
        }
        counter.looked += count;
        counter.examined += count;
        const entries = counter.scan.batch[0..count];
        if (!sync.sim) for (entries) |entry| {
            const row = version_module.nodeAt(region, ordered_index.nodeAt(region, entry).row);
            const head = Head.from(row.head.load(.monotonic));
            if (head.version == 0) continue;
            @prefetch(version_module.versionAt(region, head.version), .{});
        };
        return entries;
    }

    /// 1 if the entry's row counts, else 0. Says if that is not the same for every snapshot that
    /// has a pin.
    fn look(counter: *Counter, entry: RelPtr, horizon: Position, settled: *bool) Error!u1 {
        const region = counter.region;
        const node = ordered_index.nodeAt(region, entry);
        const state = ordered_index.State.from(node.state.load(.acquire));
        if (state.phase == .dead) return 0;
        const head = Head.from(version_module.nodeAt(region, node.row).head.load(.acquire));
        if (head.state == .dead) return 0;
        var at = head.version;
        if (!isSettled(region, at, horizon)) {
            settled.* = false;
            at = reader.visible(region, node.row, counter.scan.view);
        }
        if (at == 0 or version_module.versionAt(region, at).isTombstone()) return 0;
        return @intFromBool(try counter.scan.rowWithKeyOf(node, at) != null);
    }

    /// Whether a version is the visible one of its row for all who have a pin, as long as nothing
    /// is put on top.
    fn isSettled(region: *const Region, at: RelPtr, horizon: Position) bool {
        if (at == 0) return false;
        return switch (ring.resolve(region, version_module.versionAt(region, at))) {
            .committed => |position| position <= horizon,
            else => false,
        };
    }
};
