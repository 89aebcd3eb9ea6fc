//! Rows by an index: an interval of it in either direction, or some of its keys.
//!
//! The rows are those that a view shows. An entry leads to a row; the row's visible version
//! decides: it must have the very key of the entry. A row has one visible version, that has one
//! key, and an entry of a key and row exists once, so each row comes once.
//!
//! Rows with equal columns come in ascending primary key order in both directions. The caller is
//! pinned from before the view's position was read until the scan is given up: entries that were
//! linked before then, which are all that the view needs, are passed even while others take entries
//! out.

const std = @import("std");
const sync = @import("sync");
const index_ahead = @import("index_ahead.zig");
const index_guide = @import("index_guide.zig");
const index_key = @import("index_key.zig");
const ordered_index = @import("ordered_index.zig");
const plan_module = @import("plan.zig");
const reader = @import("reader.zig");
const row_module = @import("row.zig");
const table_indexes = @import("table_indexes.zig");
const table_info = @import("table_info.zig");
const version_module = @import("version.zig");
const Bound = index_key.Bound;
const Head = version_module.Head;
const Link = version_module.Link;
const Index = table_indexes.Index;
const Node = ordered_index.Node;
const OrderedIndex = ordered_index.OrderedIndex;
const Probe = ordered_index.Probe;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

/// What an index is used for.
pub const Access = struct {
    low: Bound = .first,
    high: Bound = .last,
    descending: bool = false,
    /// Whole keys, one after the other, instead of an interval.
    keys: ?plan_module.CellIterator = null,

    /// False: the plan's cells are not keys of the index.
    pub fn take(
        access: *Access,
        plan: *const plan_module.Plan,
        keys: *const index_key.Layout,
    ) bool {
        access.low.reset(.before);
        access.high.reset(.after);
        access.descending = plan.scan.descending;
        access.keys = null;
        if (plan.route == .index_exact_match) {
            access.descending = false;
            access.keys = plan.keys();
            return true;
        }
        var count: u8 = 0;
        if (plan.low) |cell| {
            const end: Bound.End = .{ .is_low = true, .inclusive = plan.scan.low_inclusive };
            if (!access.low.decode(keys, cell, end, &count)) return false;
            if (plan.high == null) access.high.setBeforeNulls(&access.low, keys, count);
        }
        if (plan.high) |cell| {
            const end: Bound.End = .{ .is_low = false, .inclusive = plan.scan.high_inclusive };
            const low_count = count;
            if (!access.high.decode(keys, cell, end, &count)) return false;
            // What is null in the column that only the low bound has is above that, and not meant.
            const low = &access.low;
            if (plan.low != null and count < low_count and access.high.side == .after and
                std.mem.startsWith(u8, low.slice(), access.high.slice()))
            {
                access.high.setBeforeNulls(low, keys, low_count);
            }
        }
        return true;
    }

    /// Sets the bounds of the next interval. False if there are no keys left.
    pub fn begin(access: *Access, layout: *const index_key.Layout) error{BadArgument}!bool {
        const cells = if (access.keys) |*cells| cells else return true;
        const cell = cells.next() orelse return false;
        var count: u8 = 0;
        const low: Bound.End = .{ .is_low = true, .inclusive = true };
        const high: Bound.End = .{ .is_low = false, .inclusive = true };
        if (!access.low.decode(layout, cell, low, &count)) return error.BadArgument;
        if (!access.high.decode(layout, cell, high, &count)) return error.BadArgument;
        return true;
    }
};

pub const Scan = struct {
    region: *const Region,
    table: *const TableInfo,
    view: reader.View,
    keys: index_key.Layout,
    index: OrderedIndex,
    access: Access,
    phase: Phase = .start,
    /// Upwards: the entry to go on with. Downwards: the entry before which to go on, 0 at first.
    at: RelPtr = 0,
    /// What of the way upwards is asked for ahead of time.
    ahead: index_guide.Ahead = .{},
    /// Keys of the list whose searches are begun.
    keys_ahead: u32 = 0,
    /// In phase `group`: one of its entries.
    group: RelPtr = 0,
    /// Entries to visit, in the order of the result.
    batch: [batch_size]RelPtr = undefined,
    batch_count: u32 = 0,
    batch_at: u32 = 0,
    /// The key of the row that is looked at. It stands here because a safe build fills what is
    /// undefined, and to do so for each row would cost as much as the rest of the visit.
    key: index_key.Key = undefined,
    /// Room for the way downwards, here for the same reason.
    ring: [batch_size]RelPtr = undefined,
    list: [batch_size]RelPtr = undefined,

    pub const batch_size = if (sync.sim) 2 else 32;
    /// Entries that are passed before the next are asked for: a few, so that not all memory is
    /// asked for at once.
    const ahead_step = if (sync.sim) 2 else 8;
    const Phase = enum {
        start,
        upwards,
        downwards,
        /// A group of equal columns that is larger than a batch, upwards.
        group,
        end,
    };
    pub const Error = error{ Corrupt, BadArgument };

    pub fn init(
        region: *const Region,
        table: *const TableInfo,
        index: *const Index,
        view: reader.View,
        access: Access,
    ) Scan {
        var scan: Scan = undefined;
        scan.prepare(region, table, index, view);
        scan.access = access;
        return scan;
    }

    /// Starts in place, for the caller to set `access`. Memory that need not be defined stays as it
    /// is: to fill it would cost more than a short scan.
    pub fn prepare(
        scan: *Scan,
        region: *const Region,
        table: *const TableInfo,
        index: *const Index,
        view: reader.View,
    ) void {
        scan.region = region;
        scan.table = table;
        scan.view = view;
        scan.keys = index.keys;
        scan.index = .at(region, index.root);
        scan.phase = .start;
        scan.at = 0;
        scan.ahead = .{};
        scan.keys_ahead = 0;
        scan.group = 0;
        scan.batch_count = 0;
        scan.batch_at = 0;
    }

    /// `BadArgument`: a key of the plan is not one of the index.
    pub inline fn next(scan: *Scan) Error!?RowRef {
        while (true) {
            while (scan.batch_at < scan.batch_count) {
                const entry = scan.batch[scan.batch_at];
                scan.batch_at += 1;
                if (try scan.rowOf(entry)) |row| return row;
            }
            if (!try scan.fillBatch()) return null;
        }
    }

    /// Collects the next entries. False if there are none.
    noinline fn fillBatch(scan: *Scan) Error!bool {
        scan.batch_at = 0;
        scan.batch_count = 0;
        while (scan.phase != .end) {
            try scan.step();
            if (scan.batch_count == batch_size) break;
            // The rows of several keys are asked for together.
            if (scan.batch_count > 0 and scan.phase != .start) break;
        }
        if (scan.batch_count == 0) return false;
        scan.prefetchRows();
        return true;
    }

    /// Goes on to the next entries.
    fn step(scan: *Scan) Error!void {
        switch (scan.phase) {
            .start => try scan.start(),
            .upwards => scan.fillUpwards(),
            .downwards => scan.fillDownwards(),
            .group => scan.fillGroup(),
            .end => {},
        }
    }

    /// Begins the searches for the next keys of the list together.
    fn lookAhead(scan: *Scan) void {
        var cells = scan.access.keys orelse return;
        if (scan.keys_ahead > 0) {
            scan.keys_ahead -= 1;
            return;
        }
        if (cells.left < 2 or !index_ahead.isLarge(scan.index.root)) return;
        // Room for a bound, which is decoded anew when its turn comes.
        const bound = &scan.access.low;
        var ahead: index_ahead.Ahead = .{};
        var count: u8 = 0;
        while (!ahead.isFull()) {
            const cell = cells.next() orelse break;
            const end: Bound.End = .{ .is_low = true, .inclusive = true };
            if (!bound.decode(&scan.keys, cell, end, &count)) break;
            const probe: Probe = .at(&scan.keys, bound);
            _ = ahead.add(scan.region, scan.index.root, probe.prefix);
        }
        scan.keys_ahead = ahead.count -| 1;
        ahead.run(scan.region);
    }

    fn start(scan: *Scan) Error!void {
        scan.lookAhead();
        if (!try scan.access.begin(&scan.keys)) {
            scan.phase = .end;
            return;
        }
        scan.at = 0;
        scan.phase = .downwards;
        if (scan.access.descending) return;
        scan.phase = .upwards;
        var trail: index_guide.Trail = .{};
        scan.at = scan.index.seekTrail(&.at(&scan.keys, &scan.access.low), &trail);
        scan.ahead = .{ .block = trail.block, .at = trail.at };
        if (scan.at == 0) return scan.finishRange();
        scan.ahead.prefetch(scan.index.guide(), scan.at, batch_size);
    }

    fn finishRange(scan: *Scan) void {
        scan.phase = if (scan.access.keys == null) .end else .start;
    }

    fn push(scan: *Scan, entry: RelPtr) void {
        scan.batch[scan.batch_count] = entry;
        scan.batch_count += 1;
    }

    fn fillUpwards(scan: *Scan) void {
        const high: Probe = .at(&scan.keys, &scan.access.high);
        const is_open = high.isEnd();
        while (scan.batch_count < batch_size) {
            const node = ordered_index.nodeAt(scan.region, scan.at);
            if (!is_open and high.order(node) != .lt) return scan.finishRange();
            scan.push(scan.at);
            @prefetch(version_module.nodeAt(scan.region, node.row), .{});
            scan.at = Link.from(node.link.load(.acquire)).node;
            if (scan.at == 0) return scan.finishRange();
            if (scan.batch_count % ahead_step == 0) {
                scan.ahead.prefetch(scan.index.guide(), scan.at, batch_size);
            }
        }
    }

    /// There are no links back. So this goes a little back by the upper levels, and collects what
    /// lies between; group by group, because equal columns stay in ascending order.
    fn fillDownwards(scan: *Scan) void {
        const low: Probe = .at(&scan.keys, &scan.access.low);
        const high = if (scan.at == 0) Probe.at(&scan.keys, &scan.access.high) else blk: {
            const node = ordered_index.nodeAt(scan.region, scan.at);
            break :blk Probe.of(node);
        };
        const ring = &scan.ring;
        var count: usize = 0;
        const back = scan.index.seekBack(&high, &low, batch_size);
        var entry = back;
        if (entry == 0) entry = scan.index.following(0);
        while (entry != 0) : (entry = scan.index.following(entry)) {
            const node = ordered_index.nodeAt(scan.region, entry);
            if (high.order(node) != .lt) break;
            if (low.order(node) == .lt) continue;
            ring[count % batch_size] = entry;
            count += 1;
        }
        if (count == 0) return scan.finishRange();
        if (count <= batch_size) {
            scan.takeGroups(ring[0..count], scan.beginsRange(back, &low));
        } else {
            const list = &scan.list;
            for (list, 0..) |*to, i| to.* = ring[(count + i) % batch_size];
            scan.takeGroups(list, false);
        }
    }

    /// Whether no entry of the range stands before those that were collected from `back` on.
    fn beginsRange(scan: *Scan, back: RelPtr, low: *const Probe) bool {
        if (back == 0) return true;
        return low.order(ordered_index.nodeAt(scan.region, back)) == .lt;
    }

    /// Puts whole groups into the batch, the last one first.
    fn takeGroups(scan: *Scan, list: []const RelPtr, is_first: bool) void {
        var first: usize = 0;
        if (!is_first) {
            // More of the first group may stand before it.
            while (first < list.len and scan.sameColumns(list[0], list[first])) first += 1;
            if (first == list.len) {
                const node = ordered_index.nodeAt(scan.region, list[0]);
                scan.at = scan.index.seek(&.bound(&scan.keys, node.columns(), .before));
                scan.phase = .group;
                scan.group = list[0];
                return;
            }
        }
        var end = list.len;
        while (end > first) {
            var begin = end - 1;
            while (begin > first and scan.sameColumns(list[begin - 1], list[end - 1])) begin -= 1;
            for (list[begin..end]) |entry| {
                const node = ordered_index.nodeAt(scan.region, entry);
                @prefetch(version_module.nodeAt(scan.region, node.row), .{});
                scan.push(entry);
            }
            end = begin;
        }
        scan.at = list[first];
        if (is_first) scan.finishRange();
    }

    fn fillGroup(scan: *Scan) void {
        while (scan.batch_count < batch_size) {
            if (scan.at == 0 or !scan.sameColumns(scan.group, scan.at)) {
                scan.goBefore(scan.group);
                return;
            }
            const node = ordered_index.nodeAt(scan.region, scan.at);
            @prefetch(version_module.nodeAt(scan.region, node.row), .{});
            scan.push(scan.at);
            scan.at = scan.index.following(scan.at);
        }
    }

    /// Goes on downwards before everything that has the columns of `entry`, which may be gone.
    fn goBefore(scan: *Scan, entry: RelPtr) void {
        const columns = ordered_index.nodeAt(scan.region, entry).columns();
        const high = &scan.access.high;
        @memcpy(high.bytes[0..columns.len], columns);
        high.size = @intCast(columns.len);
        high.side = .before;
        scan.at = 0;
        scan.phase = .downwards;
    }

    inline fn sameColumns(scan: *const Scan, a: RelPtr, b: RelPtr) bool {
        const first = ordered_index.nodeAt(scan.region, a);
        const second = ordered_index.nodeAt(scan.region, b);
        if (!scan.keys.mayShareColumns(first.prefix, second.prefix)) return false;
        return std.mem.eql(u8, first.columns(), second.columns());
    }

    /// The nodes of the rows are on their way; now their versions.
    fn prefetchRows(scan: *Scan) void {
        if (sync.sim) return;
        for (scan.batch[0..scan.batch_count]) |entry| {
            const node = ordered_index.nodeAt(scan.region, entry);
            const row = version_module.nodeAt(scan.region, node.row);
            const head = Head.from(row.head.load(.monotonic));
            if (head.version == 0) continue;
            @prefetch(version_module.versionAt(scan.region, head.version), .{});
        }
    }

    inline fn rowOf(scan: *Scan, entry: RelPtr) error{Corrupt}!?RowRef {
        const node = ordered_index.nodeAt(scan.region, entry);
        const state = ordered_index.State.from(node.state.load(.acquire));
        if (state.phase == .dead) return null;
        const at = reader.visible(scan.region, node.row, scan.view);
        return if (at == 0) null else scan.rowWithKeyOf(node, at);
    }

    /// The row in a version, if it has the key of an entry.
    pub inline fn rowWithKeyOf(scan: *Scan, node: *const Node, at: RelPtr) error{Corrupt}!?RowRef {
        const row = try reader.rowAt(scan.region, scan.table, at);
        if (sync.mutated(.no_recheck)) return row;
        // The primary key is that of the row, in every version.
        const is_same = scan.keys.isKeyOf(row, node.prefix, node.columns(), &scan.key);
        return if (is_same) row else null;
    }
};
