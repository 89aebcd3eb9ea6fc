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
pub fn visible(region: *const Region, node: RelPtr, view: View) RelPtr {
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
pub fn rowAt(region: *const Region, table: *const TableInfo, at: RelPtr) error{Corrupt}!RowRef {
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
pub fn find(
    region: *const Region,
    table: *const TableInfo,
    key: pk_map.Key,
    view: View,
) error{Corrupt}!?RowRef {
    const node = pk_map.find(region, key);
    if (node == 0) return null;
    const at = visible(region, node, view);
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

/// All rows of a table that a view shows, each once, in the order of their nodes.
pub const Scan = struct {
    region: *const Region,
    table: *const TableInfo,
    view: View,
    nodes: Nodes,
    batch: [batch_size]RelPtr = undefined,
    batch_count: u32 = 0,
    batch_at: u32 = 0,

    const batch_size = if (sync.sim) 2 else 32;

    pub fn init(region: *const Region, table: *const TableInfo, view: View) Scan {
        return .{
            .region = region,
            .table = table,
            .view = view,
            .nodes = .init(region, table),
        };
    }

    pub fn next(scan: *Scan) error{Corrupt}!?RowRef {
        while (true) {
            while (scan.batch_at < scan.batch_count) {
                const node = scan.batch[scan.batch_at];
                scan.batch_at += 1;
                const at = visible(scan.region, node, scan.view);
                if (at == 0) continue;
                return try rowAt(scan.region, scan.table, at);
            }
            if (!scan.fillBatch()) return null;
        }
    }

    /// Collects nodes, and asks for their versions ahead of the visits: the loads overlap.
    fn fillBatch(scan: *Scan) bool {
        scan.batch_count = 0;
        scan.batch_at = 0;
        while (scan.batch_count < batch_size) {
            const node = scan.nodes.next() orelse break;
            const head = Head.from(nodeAt(scan.region, node).head.load(.acquire));
            if (head.state == .dead or head.version == 0) continue;
            @prefetch(versionAt(scan.region, head.version), .{});
            scan.batch[scan.batch_count] = node;
            scan.batch_count += 1;
        }
        return scan.batch_count > 0;
    }
};
