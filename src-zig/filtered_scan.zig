//! The rows of a source that pass a filter: the innermost loop of a query.
//!
//! A source is any value with
//!
//!     fn next(source) !?RowRef
//!
//! What it promises:
//!
//!   * a row's memory stays readable until the source is asked for the next row; for a query that
//!     keeps its rows, until that is closed
//!   * every row once, all of one snapshot
//!
//! A source may have as well
//!
//!     fn nextPassing(source, first: *const Predicate, budget: *u64) !?RowRef
//!
//! which passes over the rows that fail the first test, and counts each row that it looks at. It
//! gives rows of a size that the table has. And
//!
//!     fn countPassing(source, predicates: []const Predicate, budget: *u64) !u64
//!
//! which gives the number of rows that pass all tests, and counts down for each that it looks at;
//! it ends where the source or the budget does.
//!
//! A scan lasts for one batch; the source goes on where it was. Its counters are its own, and not
//! those of the query, so that they stay in registers.
//!
//! Invariant: the filter runs for every row. Tests that a source passes by itself are left out by
//! whoever has made the source.

const std = @import("std");
const Filter = @import("filter.zig").Filter;
const RowRef = @import("row.zig").RowRef;
const TableInfo = @import("table_info.zig").TableInfo;

pub const FilteredScan = struct {
    filter: *const Filter,
    size_min: u32,
    size_max: u32,
    /// Rows the batch may still look at.
    budget: u64,
    examine_max: u64,
    matched: u64 = 0,
    /// The source has no more rows; otherwise the budget has ended.
    at_end: bool = false,

    pub inline fn init(
        filter: *const Filter,
        table: *const TableInfo,
        examine_max: u64,
    ) FilteredScan {
        return .{
            .filter = filter,
            .size_min = table.fixed_size,
            .size_max = table.payload_size_max,
            .budget = examine_max,
            .examine_max = examine_max,
        };
    }

    /// Rows the source gave or passed over.
    pub inline fn examined(scan: *const FilteredScan) u64 {
        return scan.examine_max - scan.budget;
    }

    /// The next row that passes; null where the source or the budget ends. `Corrupt` for a row
    /// whose size is not one of the table.
    pub inline fn next(scan: *FilteredScan, source: anytype) !?RowRef {
        if (comptime has(@TypeOf(source), "nextPassing")) {
            if (scan.filter.predicates.len > 0) return scan.nextPassing(source);
        }
        while (scan.budget > 0) {
            const row = try source.next() orelse {
                scan.at_end = true;
                return null;
            };
            scan.budget -= 1;
            if (row.size < scan.size_min or row.size > scan.size_max) return error.Corrupt;
            if (!scan.filter.matches(row)) continue;
            scan.matched += 1;
            return row;
        }
        return null;
    }

    inline fn nextPassing(scan: *FilteredScan, source: anytype) !?RowRef {
        const first = &scan.filter.predicates[0];
        while (scan.budget > 0) {
            const row = try source.nextPassing(first, &scan.budget) orelse {
                scan.at_end = scan.budget > 0;
                return null;
            };
            if (!scan.filter.matchesRest(row)) continue;
            scan.matched += 1;
            return row;
        }
        return null;
    }

    /// The number of rows that pass, until there are `wanted`, or the source or the budget ends.
    pub inline fn count(scan: *FilteredScan, source: anytype, wanted: u64) !u64 {
        var found: u64 = 0;
        if (wanted == std.math.maxInt(u64) and has(@TypeOf(source), "countPassing")) {
            found = try source.countPassing(scan.filter.predicates, &scan.budget);
            scan.matched = found;
            scan.at_end = scan.budget > 0;
        } else while (found < wanted) : (found += 1) {
            _ = try scan.next(source) orelse break;
        }
        return found;
    }
};

/// Whether the source can do what it need not.
inline fn has(comptime Source: type, comptime name: []const u8) bool {
    return @hasDecl(std.meta.Child(Source), name);
}

/// `left` rows that are all the same.
const Repeated = struct {
    payload: [8]u8 align(8) = @splat(0),
    left: u64,

    pub fn next(rows: *Repeated) !?RowRef {
        if (rows.left == 0) return null;
        rows.left -= 1;
        return .{ .payload = &rows.payload, .null_mask = 0, .version = 0, .size = 8 };
    }
};

test "FilteredScan: says whether the source has ended, or only the budget" {
    const table: TableInfo = try .init(0, "t", &.{.init("id", .int32, 0, .{ .primary = true })});
    const all: Filter = .{ .predicates = &.{}, .never = false };
    for ([_]u64{ 2, 3, 4 }) |budget| {
        var rows: Repeated = .{ .left = 3 };
        var scan: FilteredScan = .init(&all, &table, budget);
        const expected = @min(budget, 3);
        try std.testing.expectEqual(expected, try scan.count(&rows, 10));
        try std.testing.expectEqual(expected, scan.examined());
        try std.testing.expectEqual(expected, scan.matched);
        try std.testing.expectEqual(budget == 4, scan.at_end);
    }
}

test "FilteredScan.count: takes no more rows than are wanted" {
    const table: TableInfo = try .init(0, "t", &.{.init("id", .int32, 0, .{ .primary = true })});
    const all: Filter = .{ .predicates = &.{}, .never = false };
    var rows: Repeated = .{ .left = 3 };
    var scan: FilteredScan = .init(&all, &table, 10);
    try std.testing.expectEqual(2, try scan.count(&rows, 2));
    try std.testing.expectEqual(1, rows.left);
    try std.testing.expect(!scan.at_end);
}
