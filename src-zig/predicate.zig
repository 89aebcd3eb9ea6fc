//! Phantoms: was anything committed between a snapshot and a position that a query would have seen?
//!
//! Precision locking (Jordan, Banerjee and Batman 1981; HyPer's use of it for MVCC, Neumann et al.
//! 2015): the ring lists what was committed after the snapshot, in order, so each version of each
//! transaction is tested against the query's own filter, before image and after image. Writers pay
//! nothing.
//!
//! The ring forgets. When positions of the window may have been lapped, `rescan` compares the whole
//! table as of two snapshots, and the window starts anew.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const ring = @import("commit_ring.zig");
const reader = @import("reader.zig");
const waiting = @import("waiting.zig");
const Filter = @import("filter.zig").Filter;
const TableInfo = @import("table_info.zig").TableInfo;
const RowRef = @import("row.zig").RowRef;
const Region = region_module.Region;
const Flags = version_module.Flags;
const Position = version_module.Position;
const Version = version_module.Version;
const RelPtr = version_module.RelPtr;
const versionAt = version_module.versionAt;

pub const Error = error{Corrupt};

/// A query that a transaction has run.
pub const Predicate = struct {
    table: *const TableInfo,
    filter: Filter,
    /// Columns that the filter, the sort or the caller looked at. A change of others is no matter.
    columns: u64,

    fn matches(predicate: *const Predicate, region: *const Region, at: RelPtr) Error!bool {
        return predicate.filter.matches(try reader.rowAt(region, predicate.table, at));
    }

    /// True if what this version did can change the query's result.
    fn conflicts(predicate: *const Predicate, region: *const Region, at: RelPtr) Error!bool {
        const version = versionAt(region, at);
        if (version.table != predicate.table.id) return false;
        const structural = version.flags & (Flags.insert | Flags.tombstone) != 0;
        if (!structural and version.dirty & predicate.columns == 0) return false;
        if (!version.isTombstone() and try predicate.matches(region, at)) return true;
        const below = version.prev.load(.acquire);
        if (below == 0 or versionAt(region, below).isTombstone()) return false;
        return predicate.matches(region, below);
    }
};

pub const Finding = union(enum) {
    clean,
    /// Index of the predicate whose result changed.
    conflict: usize,
    /// The ring has gone on over the window.
    lost,
};

/// Tests what was committed at positions `from` < p < `until`. Waits for undecided ones. The caller
/// has been pinned since before `from`.
pub fn check(
    region: *const Region,
    predicates: []const Predicate,
    from: Position,
    until: Position,
) Error!Finding {
    if (predicates.len == 0) return .clean;
    var position = from + 1;
    var wait: waiting.Wait = .{};
    while (position < until) {
        switch (ring.decisionAt(region, position)) {
            .lapped => return .lost,
            .undecided, .not_yet => {
                wait.cell(region, position);
                continue;
            },
            .skipped => {},
            // Its versions stand as long as our pin: whatever superseded them came after it.
            .committed => |last| if (try conflictWith(region, predicates, last)) |index| {
                return .{ .conflict = index };
            },
        }
        wait = .{};
        position += 1;
    }
    return .clean;
}

fn conflictWith(region: *const Region, predicates: []const Predicate, last: RelPtr) Error!?usize {
    var at = last;
    while (at != 0) {
        for (predicates, 0..) |*predicate, index| {
            if (try predicate.conflicts(region, at)) return index;
        }
        at = versionAt(region, at).txn_next.load(.acquire);
    }
    return null;
}

/// Compares each predicate's rows as of two snapshots, row by row.
pub fn rescan(
    region: *const Region,
    predicates: []const Predicate,
    from: Position,
    to: Position,
) Error!?usize {
    for (predicates, 0..) |*predicate, index| {
        var nodes: reader.Nodes = .init(region, predicate.table);
        while (nodes.next()) |node| {
            const before = reader.visible(region, node, .{ .snapshot = from });
            const after = reader.visible(region, node, .{ .snapshot = to });
            if (before == after) continue;
            if (before != 0 and try predicate.matches(region, before)) return index;
            if (after != 0 and try predicate.matches(region, after)) return index;
        }
    }
    return null;
}
