//! Keeps the first `capacity` items of a stream in a given order, and sorts them at the end.
//!
//! A binary heap with the last of the kept items on top: an item that comes after it is refused by
//! one comparison, and for n items the work is O(n log capacity) in O(capacity) memory. Up to the
//! capacity, items are only appended: who expects no more may sort `items` in another way.
//!
//! The order may come from rows in shared memory that somebody changes while they are compared. So
//! nothing here relies on a consistent answer: a wrong one gives a wrong order, never an access out
//! of bounds.
//!
//! `Context` has `fn before(context: Context, a: T, b: T) bool`, a strict order.

const std = @import("std");
const Allocator = std.mem.Allocator;

pub fn TopHeap(comptime T: type, comptime Context: type) type {
    return struct {
        const Self = @This();

        items: std.ArrayList(T) = .empty,
        capacity: usize,
        context: Context,
        /// More items than the capacity were offered.
        is_heap: bool = false,

        pub fn init(capacity: usize, context: Context) Self {
            return .{ .capacity = capacity, .context = context };
        }

        pub fn deinit(heap: *Self, gpa: Allocator) void {
            heap.items.deinit(gpa);
            heap.* = undefined;
        }

        /// Empties the heap for another stream, keeping its memory.
        pub fn reset(heap: *Self, capacity: usize, context: Context) void {
            heap.items.clearRetainingCapacity();
            heap.capacity = capacity;
            heap.context = context;
            heap.is_heap = false;
        }

        pub fn offer(heap: *Self, gpa: Allocator, item: T) Allocator.Error!void {
            if (heap.items.items.len < heap.capacity) return heap.items.append(gpa, item);
            if (heap.capacity == 0) return;
            if (!heap.is_heap) heap.heapify();
            const items = heap.items.items;
            if (!heap.context.before(item, items[0])) return;
            items[0] = item;
            siftDown(heap.context, items, 0);
        }

        /// Returns the kept items in order. Ends the stream: offer nothing after it.
        pub fn sorted(heap: *Self) []const T {
            if (!heap.is_heap) heap.heapify();
            const items = heap.items.items;
            var left = items.len;
            while (left > 1) {
                left -= 1;
                std.mem.swap(T, &items[0], &items[left]);
                siftDown(heap.context, items[0..left], 0);
            }
            return items;
        }

        fn heapify(heap: *Self) void {
            const items = heap.items.items;
            var at = items.len / 2;
            while (at > 0) {
                at -= 1;
                siftDown(heap.context, items, at);
            }
            heap.is_heap = true;
        }

        fn siftDown(context: Context, items: []T, start: usize) void {
            const item = items[start];
            var at = start;
            while (2 * at + 1 < items.len) {
                var child = 2 * at + 1;
                if (child + 1 < items.len and context.before(items[child], items[child + 1])) {
                    child += 1;
                }
                if (!context.before(item, items[child])) break;
                items[at] = items[child];
                at = child;
            }
            items[at] = item;
        }
    };
}

const Ascending = struct {
    fn before(_: Ascending, a: u32, b: u32) bool {
        return a < b;
    }
};

fn expectFirst(capacity: usize, numbers: []const u32) !void {
    const gpa = std.testing.allocator;
    const expected = try gpa.dupe(u32, numbers);
    defer gpa.free(expected);
    std.mem.sort(u32, expected, {}, std.sort.asc(u32));

    var heap: TopHeap(u32, Ascending) = .init(capacity, .{});
    defer heap.deinit(gpa);
    for (numbers) |number| try heap.offer(gpa, number);
    const kept = expected[0..@min(capacity, expected.len)];
    try std.testing.expectEqualSlices(u32, kept, heap.sorted());
}

test "TopHeap: keeps the first items, sorted, whatever the capacity" {
    var prng: std.Random.DefaultPrng = .init(5);
    const random = prng.random();
    var numbers: [300]u32 = undefined;
    for ([_]u32{ 5, 1000, std.math.maxInt(u32) }) |limit| {
        for ([_]usize{ 0, 1, 2, 11, 12, 13, 24, 25, 100, 299, 300 }) |count| {
            for (numbers[0..count]) |*number| number.* = random.uintLessThan(u32, limit);
            for ([_]usize{ 0, 1, 2, 7, 50, 300, std.math.maxInt(usize) }) |capacity| {
                try expectFirst(capacity, numbers[0..count]);
            }
        }
    }
    for (&numbers, 0..) |*number, i| number.* = @intCast(i);
    try expectFirst(300, &numbers);
    std.mem.reverse(u32, &numbers);
    try expectFirst(301, &numbers);
    try expectFirst(299, &numbers);
}

test "TopHeap: an order that contradicts itself does no harm" {
    const Chaos = struct {
        random: std.Random,
        fn before(chaos: @This(), _: u32, _: u32) bool {
            return chaos.random.boolean();
        }
    };
    var prng: std.Random.DefaultPrng = .init(6);
    const gpa = std.testing.allocator;
    for ([_]usize{ 10, 1000 }) |capacity| {
        var heap: TopHeap(u32, Chaos) = .init(capacity, .{ .random = prng.random() });
        defer heap.deinit(gpa);
        for (0..500) |i| try heap.offer(gpa, @intCast(i));
        try std.testing.expectEqual(@min(capacity, 500), heap.sorted().len);
    }
}
