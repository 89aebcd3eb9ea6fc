//! Sorts the entries of a result, bit by bit if that is wanted.
//!
//! A row is a cache miss, so comparing rows with each other costs most when many are equal in the
//! first field. Here each row of such a group of ties is looked at once, for the prefix of its next
//! field, and the group is sorted by that; and so on. What is under way stands in frames, one for
//! each field, because a step may end anywhere.
//!
//! The order may come from rows in shared memory that somebody changes meanwhile, so nothing here
//! relies on a consistent answer (`merge_sort.zig`).

const std = @import("std");
const MergeSort = @import("merge_sort.zig").MergeSort;
const sort_order = @import("sort_order.zig");
const Allocator = std.mem.Allocator;
const Entry = sort_order.Entry;
const SortOrder = sort_order.SortOrder;
const assert = std.debug.assert;

/// Groups up to this size are sorted by comparing rows.
const small_group = 4;

/// A range of entries that are equal in all fields before the one that the frame is for.
const Frame = struct {
    end: usize,
    /// Where the next group of ties begins, once the range is sorted by its prefixes.
    at: usize,
};

pub const Sorter = struct {
    order: *const SortOrder,
    entries: []Entry,
    scratch: []Entry,
    frames: []Frame,
    depth: usize = 0,
    phase: Phase = .by_prefix,
    by_prefix: MergeSort(Entry, ByPrefix),
    by_row: MergeSort(Entry, ByRow),
    /// The group of ties that is looked at, and how far.
    ties_start: usize = 0,
    ties_end: usize = 0,
    ties_at: usize = 0,
    all_equal: bool = true,

    const Phase = enum {
        by_prefix,
        /// The next group is to be chosen.
        choose,
        /// Its end is looked for.
        extend,
        /// Its rows are looked at.
        look,
        by_row,
        done,
    };

    /// `entries` have the prefixes of the first field; `scratch` is as long. What is allocated in
    /// `arena` is small.
    pub fn init(
        arena: Allocator,
        order: *const SortOrder,
        entries: []Entry,
        scratch: []Entry,
    ) Allocator.Error!Sorter {
        assert(entries.len == scratch.len);
        const frames = try arena.alloc(Frame, order.keys.len);
        frames[0] = .{ .end = entries.len, .at = 0 };
        return .{
            .order = order,
            .entries = entries,
            .scratch = scratch,
            .frames = frames,
            .by_prefix = .init(.{}, entries, scratch),
            .by_row = .init(.{ .order = order }, entries[0..0], scratch[0..0]),
        };
    }

    /// Goes on until about `budget` entries were moved or looked at. True if they are sorted.
    pub fn step(sorter: *Sorter, budget: usize) bool {
        var left = budget;
        while (true) {
            const goes_on = switch (sorter.phase) {
                .by_prefix => sorter.sortByPrefix(&left),
                .choose => sorter.choose(),
                .extend => sorter.extend(&left),
                .look => sorter.look(&left),
                .by_row => sorter.sortByRow(&left),
                .done => return true,
            };
            if (!goes_on) return false;
        }
    }

    fn sortByPrefix(sorter: *Sorter, left: *usize) bool {
        if (!sorter.by_prefix.step(left)) return false;
        sorter.phase = .choose;
        return true;
    }

    fn choose(sorter: *Sorter) bool {
        const frame = &sorter.frames[sorter.depth];
        if (frame.at < frame.end) {
            sorter.ties_start = frame.at;
            sorter.ties_end = frame.at + 1;
            sorter.phase = .extend;
        } else if (sorter.depth > 0) {
            sorter.depth -= 1;
        } else {
            sorter.phase = .done;
        }
        return true;
    }

    fn extend(sorter: *Sorter, left: *usize) bool {
        const frame = &sorter.frames[sorter.depth];
        const entries = sorter.entries;
        const prefix = entries[sorter.ties_start].prefix;
        while (sorter.ties_end < frame.end and entries[sorter.ties_end].prefix == prefix) {
            if (left.* == 0) return false;
            left.* -= 1;
            sorter.ties_end += 1;
        }
        frame.at = sorter.ties_end;
        const count = sorter.ties_end - sorter.ties_start;
        if (count == 1) {
            sorter.phase = .choose;
        } else if (count > small_group and sorter.depth + 1 < sorter.frames.len) {
            sorter.ties_at = sorter.ties_start;
            sorter.all_equal = true;
            sorter.phase = .look;
        } else {
            sorter.beginByRow();
        }
        // A result without ties counts, too.
        if (left.* == 0) return false;
        left.* -= 1;
        return true;
    }

    fn look(sorter: *Sorter, left: *usize) bool {
        const key = &sorter.order.keys[sorter.depth];
        const next = &sorter.order.keys[sorter.depth + 1];
        const ties = sorter.entries[sorter.ties_start..sorter.ties_end];
        const first = ties[0].row;
        while (sorter.ties_at < sorter.ties_end) : (sorter.ties_at += 1) {
            if (left.* == 0) return false;
            left.* -= 1;
            const i = sorter.ties_at - sorter.ties_start;
            const ahead = i + sort_order.prefetch_distance;
            if (ahead < ties.len) @prefetch(ties[ahead].row.payload, .{});
            const tie = &ties[i];
            sorter.all_equal = sorter.all_equal and key.compare(first, tie.row) == .eq;
            tie.prefix = next.prefix(tie.row);
        }
        if (sorter.all_equal) {
            sorter.depth += 1;
            sorter.frames[sorter.depth] = .{ .end = sorter.ties_end, .at = sorter.ties_start };
            const scratch = sorter.scratch[sorter.ties_start..sorter.ties_end];
            sorter.by_prefix = .init(.{}, ties, scratch);
            sorter.phase = .by_prefix;
        } else {
            sorter.beginByRow();
        }
        return true;
    }

    fn beginByRow(sorter: *Sorter) void {
        const ties = sorter.entries[sorter.ties_start..sorter.ties_end];
        const scratch = sorter.scratch[sorter.ties_start..sorter.ties_end];
        sorter.by_row = .init(.{ .order = sorter.order }, ties, scratch);
        sorter.phase = .by_row;
    }

    fn sortByRow(sorter: *Sorter, left: *usize) bool {
        if (!sorter.by_row.step(left)) return false;
        sorter.phase = .choose;
        return true;
    }
};

const ByPrefix = struct {
    pub fn before(_: ByPrefix, a: Entry, b: Entry) bool {
        return a.prefix < b.prefix;
    }
};

const ByRow = struct {
    order: *const SortOrder,

    pub fn before(by: ByRow, a: Entry, b: Entry) bool {
        return by.order.compare(a.row, b.row) == .lt;
    }
};

const row_module = @import("row.zig");
const TableInfo = @import("table_info.zig").TableInfo;

test "Sorter: gives the order of the rows, whatever the steps" {
    const gpa = std.testing.allocator;
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const table: TableInfo = try .init(0, "t", &.{
        .init("id", .int32, 0, .{ .primary = true }),
        .init("text", .text, 20, .{ .nullable = true }),
        .init("n", .int32, 0, .{}),
    });
    // Beginnings of 8 bytes that are equal, and whole texts that are.
    const texts = [_][]const u8{ "", "a", "the same start", "the same s", "the same start" };
    const count = 700;
    var prng: std.Random.DefaultPrng = .init(9);
    const random = prng.random();
    const buffers = try arena.alignedAlloc([64]u8, .@"8", count);
    const entries = try arena.alloc(Entry, count);
    const scratch = try arena.alloc(Entry, count);
    const order: SortOrder = try .compile(arena, &.{
        .{ .column = 1 },
        .{ .column = 2, .flags = .{ .descending = true } },
    }, &table);
    for ([_]usize{ 1, 50, std.math.maxInt(usize) }) |step_size| {
        for (entries, buffers, 0..) |*entry, *buffer, i| {
            var builder: row_module.Builder = .init(&table, @alignCast(buffer));
            builder.setInt32(0, @intCast(i * 37 % count));
            const text = random.uintLessThan(usize, texts.len + 1);
            if (text < texts.len) try builder.setText(1, texts[text]);
            builder.setInt32(2, random.uintLessThan(u8, 5));
            entry.* = order.entry(builder.finish());
        }
        var sorter: Sorter = try .init(arena, &order, entries, scratch);
        var steps: usize = 0;
        while (!sorter.step(step_size)) steps += 1;
        // Each merge moves all entries once, and then each group is sorted by what comes next.
        if (step_size == 50) try std.testing.expect(steps >= 7 * count / 50);
        for (entries[1..], entries[0 .. count - 1]) |one, previous| {
            try std.testing.expectEqual(.lt, order.compare(previous.row, one.row));
        }
    }
}
