//! Reading rows: the latest committed version, or the one a snapshot shows.
//!
//! A snapshot is one number S, a load of `next`. It shows every transaction whose position is at
//! most S, decided or waited for. The caller is pinned the whole time; what a reader gets stays
//! where it is until the pin goes.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const slabs = @import("slabs.zig");
const ring = @import("commit_ring.zig");
const pk_map = @import("pk_map.zig");
const row_module = @import("row.zig");
const heap_count = @import("heap_count.zig");
const filter_module = @import("filter.zig");
const session_module = @import("session.zig");
const table_info = @import("table_info.zig");
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const Head = version_module.Head;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const versionAt = version_module.versionAt;
const nodeAt = version_module.nodeAt;
const HeapCount = heap_count.HeapCount;
const Predicate = filter_module.Predicate;
const assert = std.debug.assert;

/// What to see.
pub const View = union(enum) {
    /// Whatever is committed at the moment of the look. Never waits for anybody.
    latest,
    /// Exactly the transactions up to this position. Waits for undecided ones before it.
    snapshot: Position,
    /// The same, and the transaction that asks has this position itself: validation.
    validate: Position,
};

/// The position up to which a new snapshot sees.
pub fn snapshotNow(region: *const Region) Position {
    return region.control.next.word.load(.acquire);
}

/// The version of a row that `view` shows, or 0. A tombstone counts as nothing.
pub inline fn visible(region: *const Region, node: RelPtr, view: View) RelPtr {
    const head = Head.from(nodeAt(region, node).head.load(.acquire));
    if (head.state != .dead and head.version != 0) {
        const version = versionAt(region, head.version);
        // Nearly always the newest version is stamped and shown. What is no position is larger.
        const last: Position = switch (view) {
            .latest => version_module.position_limit,
            .snapshot => |position| position,
            .validate => |position| position -| 1,
        };
        if (version.xmin.load(.acquire) <= last) {
            return if (version.isTombstone()) 0 else head.version;
        }
    }
    return visibleBelow(region, node, view);
}

/// The same for any version. Looks at the newest once more, which may be another one by now.
noinline fn visibleBelow(region: *const Region, node: RelPtr, view: View) RelPtr {
    var wait: waiting.Wait = .{};
    retry: while (true) {
        const head = Head.from(nodeAt(region, node).head.load(.acquire));
        if (head.state == .dead) return 0;
        var at = head.version;
        while (at != 0) {
            const version = versionAt(region, at);
            const resolution = ring.resolve(region, version);
            switch (judge(resolution, view)) {
                .take => return if (version.isTombstone()) 0 else at,
                .below => at = version.prev.load(.acquire),
                .wait => {
                    wait.writer(region, resolution);
                    continue :retry;
                },
            }
        }
        return 0;
    }
}

const Judgement = enum { take, below, wait };

fn judge(resolution: ring.Resolution, view: View) Judgement {
    if (sync.mutated(.dirty_read) and view != .validate and resolution != .committed) return .take;
    switch (view) {
        .latest => return if (resolution == .committed) .take else .below,
        .snapshot => |position| return switch (resolution) {
            .committed => |at| if (at <= position) .take else .below,
            .aborted, .later => .below,
            .unknown => .wait,
            .undecided, .not_yet => |s| if (s.position > position) .below else .wait,
        },
        .validate => |position| return switch (resolution) {
            .committed => |at| if (at < position) .take else .below,
            .aborted, .later => .below,
            .unknown => .wait,
            // Its own versions have the very position.
            .undecided, .not_yet => |s| if (s.position >= position) .below else .wait,
        },
    }
}

/// The row in a version. The version must be visible to the caller and pinned.
pub inline fn rowAt(
    region: *const Region,
    table: *const TableInfo,
    at: RelPtr,
) error{Corrupt}!RowRef {
    const version = versionAt(region, at);
    const size = version.payloadSize();
    if (size < table.fixed_size or size > table.payload_size_max) return error.Corrupt;
    return .{
        .payload = @alignCast(version.payload()),
        .null_mask = version.null_mask,
        .version = at,
        .size = @intCast(size),
    };
}

/// The row of a key, or null.
pub inline fn find(
    region: *const Region,
    table: *const TableInfo,
    key: pk_map.Key,
    view: View,
) error{Corrupt}!?RowRef {
    const node = pk_map.find(region, key);
    if (node == 0) return null;
    const at = visible(region, node, view);
    if (sync.mutated(.believed_hint) and view == .latest) {
        const hint = pk_map.hinted(region, key);
        const is_here = versionAt(region, hint).row.load(.acquire) == node;
        if (is_here) return try rowAt(region, table, hint);
    }
    return if (at == 0) null else try rowAt(region, table, at);
}

/// The nodes of a table that may hold a row, in the order of their blocks. Nodes never move, and a
/// row that lives in a snapshot has one node that lives as long, so each row comes once.
pub const Nodes = struct {
    region: *const Region,
    kind: u32,
    size: slabs.SizeClass,
    slab: u32 = 0,
    block: u32 = 0,
    /// Where to stop: slabs taken later hold rows of later transactions only.
    slab_end: u32,

    pub fn init(region: *const Region, table: *const TableInfo) Nodes {
        const kind = version_module.nodeKind(table);
        return .{
            .region = region,
            .kind = kind.bits(),
            .size = slabs.size_classes[kind.size],
            .slab_end = @min(region.control.memory.slab_top.load(.acquire), region.slab_count),
        };
    }

    pub fn next(nodes: *Nodes) ?RelPtr {
        while (nodes.slab < nodes.slab_end) {
            if (nodes.region.slab_metas[nodes.slab].kind.load(.acquire) == nodes.kind) {
                while (nodes.block < nodes.size.count) {
                    const block = nodes.block;
                    nodes.block += 1;
                    const state = slabs.stateWord(nodes.region, nodes.slab, block);
                    if (!slabs.State.isUsed(state.load(.acquire))) continue;
                    return slabs.blockGranule(nodes.region, nodes.slab, nodes.size, block);
                }
            }
            nodes.slab += 1;
            nodes.block = 0;
        }
        return null;
    }
};

/// Blocks ahead that a scan asks for.
const prefetch_distance = 16;

/// All rows of a table that a snapshot shows, each once, in the order in which their versions stand
/// in memory: the fastest way through all of them, because it follows no pointer.
///
/// A version is visible if `xmin` is a position of at most S and `xmax` is none. Four rules make
/// that true although blocks are recycled meanwhile: every position up to S is stamped before the
/// scan begins; `xmax` of the version below is stamped before `xmin`; in a block that is used again
/// `xmin` is written before anything else; and `xmin` is read once more after `xmax`. If it is
/// still the same then, the block held a visible version at that moment, and our pin keeps it.
pub const Scan = struct {
    region: *const Region,
    table: *const TableInfo,
    at: Position,
    /// False until everything up to `at` is stamped.
    is_stamped: bool = false,
    slab: u32 = 0,
    /// Where to stop: slabs taken later hold versions of later transactions only.
    slab_end: u32,
    /// The next block of the slab and those that are left in it.
    granule: RelPtr = 0,
    left: u32 = 0,
    block_granules: u32 = 0,

    /// For views of a snapshot. The caller is pinned from before that was taken until it needs no
    /// row any more.
    pub fn init(region: *const Region, table: *const TableInfo, view: View) Scan {
        return .{
            .region = region,
            .table = table,
            .at = view.snapshot,
            .slab_end = @min(region.control.memory.slab_top.load(.acquire), region.slab_count),
        };
    }

    pub fn next(scan: *Scan) error{Corrupt}!?RowRef {
        while (true) {
            while (scan.left > 0) {
                const granule = scan.granule;
                scan.left -= 1;
                scan.granule += scan.block_granules;
                scan.prefetch(granule, scan.left, 0);
                if (!scan.shows(granule)) continue;
                return try rowAt(scan.region, scan.table, granule);
            }
            if (!scan.nextSlab()) return null;
        }
    }

    /// The next row that passes the first predicate, or null. `budget` says how many rows may be
    /// looked at, and counts down; it is what ends the search if it is 0 afterwards.
    ///
    /// There is a loop for each kind of test, in which everything stays in registers: that takes
    /// half the time of a loop that asks for one row after the other and tests each.
    pub fn nextPassing(
        scan: *Scan,
        predicate: *const Predicate,
        budget: *u64,
    ) error{Corrupt}!?RowRef {
        switch (predicate.op) {
            inline else => |op| return scan.nextPassingAs(op, predicate, budget),
        }
    }

    fn nextPassingAs(
        scan: *Scan,
        comptime op: filter_module.Op,
        predicate: *const Predicate,
        budget: *u64,
    ) error{Corrupt}!?RowRef {
        // Copies, so that nothing need be read again after a write.
        const copy = predicate.*;
        var rest = budget.*;
        defer budget.* = rest;
        while (true) {
            if (try scan.passingOfSlab(op, &copy, &rest)) |row| return row;
            if (rest == 0 or !scan.nextSlab()) return null;
        }
    }

    inline fn passingOfSlab(
        scan: *Scan,
        comptime op: filter_module.Op,
        predicate: *const Predicate,
        budget: *u64,
    ) error{Corrupt}!?RowRef {
        var granule = scan.granule;
        var left = scan.left;
        defer {
            scan.granule = granule;
            scan.left = left;
        }
        while (left > 0 and budget.* > 0) {
            const at = granule;
            left -= 1;
            granule += scan.block_granules;
            scan.prefetch(at, left, predicate.offset);
            if (!scan.shows(at)) continue;
            const row = try rowAt(scan.region, scan.table, at);
            budget.* -= 1;
            if (predicate.passesAs(op, row)) return row;
        }
        return null;
    }

    /// Asks for a block some way ahead: what fetches memory by itself stops at the end of a page,
    /// and does not know how far the next block is. `cell` is where in the payload the test looks.
    inline fn prefetch(scan: *const Scan, granule: RelPtr, left: u32, cell: usize) void {
        if (sync.sim) return;
        const ahead = @min(left, prefetch_distance);
        const version = versionAt(scan.region, granule +% ahead *% scan.block_granules);
        @prefetch(version, .{});
        const bytes: [*]const u8 = @ptrCast(version);
        @prefetch(bytes + @sizeOf(version_module.Version) + cell, .{});
    }

    inline fn shows(scan: *const Scan, granule: RelPtr) bool {
        return heap_count.isShown(versionAt(scan.region, granule), scan.at) != 0;
    }

    /// The number of rows that pass all tests; `budget` as for `nextPassing`.
    pub fn countPassing(
        scan: *Scan,
        predicates: []const Predicate,
        budget: *u64,
    ) error{Corrupt}!u64 {
        var counter = HeapCount.init(scan.table, predicates, scan.at) orelse
            return scan.countEach(predicates, budget);
        while (budget.* > 0) {
            while (scan.left > 0 and budget.* > 0) {
                // No more are looked at than there are blocks.
                const blocks: u32 = @intCast(@min(scan.left, budget.*));
                const first = versionAt(scan.region, scan.granule);
                budget.* -= try counter.some(first, scan.block_granules, blocks);
                scan.granule += blocks * scan.block_granules;
                scan.left -= blocks;
            }
            if (scan.left == 0 and !scan.nextSlab()) break;
        }
        return counter.found;
    }

    fn countEach(
        scan: *Scan,
        predicates: []const Predicate,
        budget: *u64,
    ) error{Corrupt}!u64 {
        var found: u64 = 0;
        const rest = predicates[1..];
        while (budget.* > 0) {
            const row = try scan.nextPassing(&predicates[0], budget) orelse break;
            found += @intFromBool(rest.len == 0 or filter_module.Filter.run(rest, row));
        }
        return found;
    }

    fn nextSlab(scan: *Scan) bool {
        if (!scan.is_stamped) scan.awaitStamped();
        while (scan.slab < scan.slab_end) {
            const slab = scan.slab;
            scan.slab += 1;
            const word = scan.region.slab_metas[slab].kind.load(.acquire);
            const kind: slabs.SlabKind = .from(word);
            if (kind.class != .version or kind.table != scan.table.id) continue;
            if (kind.size >= slabs.size_classes.len) continue;
            const size = slabs.size_classes[kind.size];
            scan.granule = slabs.blockGranule(scan.region, slab, size, 0);
            scan.left = size.count;
            scan.block_granules = size.granules;
            return true;
        }
        return false;
    }

    fn awaitStamped(scan: *Scan) void {
        var wait: waiting.Wait = .{};
        while (ring.stampedPosition(scan.region) < scan.at) wait.drain(scan.region);
        scan.is_stamped = true;
    }
};
