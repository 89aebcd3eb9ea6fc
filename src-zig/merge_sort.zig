//! A stable sort that no order can confuse, and that can be done bit by bit.
//!
//! The order may come from rows in shared memory that somebody changes while they are compared. So
//! nothing here relies on a consistent answer: a wrong one gives a wrong order, never an access out
//! of bounds. (`std.sort.pdq` keeps a stack whose depth depends on the answers.)

const std = @import("std");
const assert = std.debug.assert;

/// Runs of so many items are sorted by insertion before they are merged.
const run_size = 12;

/// `Context` has `fn before(context, a: T, b: T) bool`, a strict order.
pub fn MergeSort(comptime T: type, comptime Context: type) type {
    return struct {
        const Self = @This();

        context: Context,
        items: []T,
        /// Where the runs stand that are merged, and where they are merged to.
        from: []T,
        to: []T,
        /// Items of each sorted run; 0 while the first ones are made.
        size: usize = 0,
        /// Where the pair of runs begins that is merged, or the run that is made.
        start: usize = 0,
        /// What of the pair was taken: from its left run, and from its right one.
        left: usize = 0,
        right: usize = 0,

        /// `scratch` is room to work, as long as `items`.
        pub fn init(context: Context, items: []T, scratch: []T) Self {
            assert(items.len == scratch.len);
            return .{ .context = context, .items = items, .from = items, .to = scratch };
        }

        /// Goes on until about `budget` items were moved, which are subtracted. True if `items` are
        /// sorted.
        pub fn step(sort: *Self, budget: *usize) bool {
            while (sort.size < sort.items.len) {
                if (sort.start >= sort.items.len) {
                    if (sort.size > 0) std.mem.swap([]T, &sort.from, &sort.to);
                    sort.size = @max(run_size, 2 * sort.size);
                    sort.start = 0;
                    continue;
                }
                if (budget.* == 0) return false;
                if (sort.size == 0) sort.makeRun(budget) else sort.mergePair(budget);
            }
            if (sort.from.ptr != sort.items.ptr) {
                @memcpy(sort.items, sort.from);
                sort.from = sort.items;
            }
            return true;
        }

        fn makeRun(sort: *Self, budget: *usize) void {
            const end = @min(sort.start + run_size, sort.items.len);
            insertionSort(T, sort.context, sort.items[sort.start..end]);
            budget.* -|= end - sort.start;
            sort.start = end;
        }

        fn mergePair(sort: *Self, budget: *usize) void {
            const middle = @min(sort.start + sort.size, sort.items.len);
            const end = @min(middle + sort.size, sort.items.len);
            const left = sort.from[sort.start..middle];
            const right = sort.from[middle..end];
            const done = sort.left + sort.right;
            const rest = end - sort.start - done;
            const count = @min(rest, budget.*);
            budget.* -= count;
            sort.merge(left, right, sort.to[sort.start + done ..][0..count]);
            if (count < rest) return;
            sort.start = end;
            sort.left = 0;
            sort.right = 0;
        }

        /// Merges what comes next of two runs, as much as there is room for.
        fn merge(sort: *Self, left: []const T, right: []const T, to: []T) void {
            const context = sort.context;
            var l = sort.left;
            var r = sort.right;
            // Runs that follow each other already are common: rows often arrive nearly in order.
            const follows = r == 0 and left.len > 0 and
                (right.len == 0 or !context.before(right[0], left[left.len - 1]));
            var at: usize = 0;
            if (follows) {
                at = @min(left.len - l, to.len);
                @memcpy(to[0..at], left[l..][0..at]);
                l += at;
            }
            while (at < to.len) : (at += 1) {
                const take_right = l == left.len or
                    (r < right.len and context.before(right[r], left[l]));
                if (take_right) {
                    to[at] = right[r];
                    r += 1;
                } else {
                    to[at] = left[l];
                    l += 1;
                }
            }
            sort.left = l;
            sort.right = r;
        }
    };
}

fn insertionSort(comptime T: type, context: anytype, items: []T) void {
    for (items[@min(1, items.len)..], 1..) |item, i| {
        var at = i;
        while (at > 0 and context.before(item, items[at - 1])) : (at -= 1) {
            items[at] = items[at - 1];
        }
        items[at] = item;
    }
}

test "MergeSort: equal items keep their order, whatever the steps" {
    const Pair = struct { key: u8, number: u32 };
    const ByKey = struct {
        pub fn before(_: @This(), a: Pair, b: Pair) bool {
            return a.key < b.key;
        }
    };
    var prng: std.Random.DefaultPrng = .init(5);
    var items: [500]Pair = undefined;
    var scratch: [500]Pair = undefined;
    for ([_]usize{ 1, 7, 100, std.math.maxInt(usize) }) |step_size| {
        for ([_]usize{ 0, 1, 2, 12, 13, 25, 100, 500 }) |count| {
            for (items[0..count], 0..) |*item, i| {
                item.* = .{ .key = prng.random().uintLessThan(u8, 20), .number = @intCast(i) };
            }
            var sort: MergeSort(Pair, ByKey) = .init(.{}, items[0..count], scratch[0..count]);
            var steps: usize = 0;
            while (true) : (steps += 1) {
                var budget = step_size;
                if (sort.step(&budget)) break;
                try std.testing.expectEqual(0, budget);
            }
            // A merge of n items takes n / 100 steps of 100.
            if (step_size == 100 and count == 500) try std.testing.expect(steps >= 25);
            for (items[0..count], 0..) |item, i| {
                if (i == 0) continue;
                const previous = items[i - 1];
                try std.testing.expect(previous.key <= item.key);
                if (previous.key == item.key) try std.testing.expect(previous.number < item.number);
            }
        }
    }
}

test "MergeSort: an order that contradicts itself does no harm" {
    const Chaos = struct {
        random: std.Random,
        pub fn before(chaos: @This(), _: u32, _: u32) bool {
            return chaos.random.boolean();
        }
    };
    var prng: std.Random.DefaultPrng = .init(6);
    var items: [300]u32 = undefined;
    var scratch: [300]u32 = undefined;
    for ([_]usize{ 1, 5, 1000 }) |step_size| {
        for (&items, 0..) |*item, i| item.* = @intCast(i);
        var sort: MergeSort(u32, Chaos) = .init(.{ .random = prng.random() }, &items, &scratch);
        while (true) {
            var budget = step_size;
            if (sort.step(&budget)) break;
        }
    }
}
