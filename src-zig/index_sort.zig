//! Sorting the entries of an index that is built, by their keys.
//!
//! Words of eight bytes of the keys are sorted as numbers, by their bytes from the last to the
//! first, each into 256 places: no comparisons, and bytes that are the same in all keys cost
//! nothing. Entries whose words are the same are sorted by the next eight bytes, and few of them by
//! comparisons.

const std = @import("std");
const ordered_index = @import("ordered_index.zig");
const Region = @import("region.zig").Region;
const RelPtr = @import("version.zig").RelPtr;
const assert = std.debug.assert;

pub const Item = struct {
    /// A word of the key that has the order of keys as far as it goes; at first the node's prefix.
    /// What it is afterwards is nobody's business.
    word: u64,
    node: RelPtr,
};

/// Fewer are sorted by comparisons.
const radix_min = 256;

/// Sorts entries by their keys, no two of which are the same. Needs as much memory again.
pub fn sort(
    gpa: std.mem.Allocator,
    region: *const Region,
    items: []Item,
) error{OutOfMemory}!void {
    const other = try gpa.alloc(Item, items.len);
    defer gpa.free(other);
    const sorter: Sorter = .{ .region = region };
    // The prefix leaves out the byte that says whether a nullable column is null, so the bytes
    // behind it are not those behind the first eight of the key: ties begin at the key's start.
    sorter.byWord(items, other);
    sorter.ties(items, other, 0);
}

const Sorter = struct {
    region: *const Region,

    fn byWord(sorter: *const Sorter, items: []Item, other: []Item) void {
        if (items.len < radix_min) {
            return std.sort.pdq(Item, items, sorter, isLessWord);
        }
        radix(items, other[0..items.len]);
    }

    /// Sorts each run of entries with the same word, by what their keys have from `at` on.
    fn ties(sorter: *const Sorter, items: []Item, other: []Item, at: usize) void {
        var from: usize = 0;
        while (from < items.len) {
            var to = from + 1;
            while (to < items.len and items[to].word == items[from].word) to += 1;
            if (to - from > 1) sorter.run(items[from..to], other, at);
            from = to;
        }
    }

    fn run(sorter: *const Sorter, items: []Item, other: []Item, at: usize) void {
        if (items.len < radix_min) {
            for (items) |item| @prefetch(ordered_index.nodeAt(sorter.region, item.node), .{});
            return std.sort.pdq(Item, items, sorter, isLess);
        }
        for (items, 0..) |*item, i| {
            if (i + ahead < items.len) {
                @prefetch(ordered_index.nodeAt(sorter.region, items[i + ahead].node), .{});
            }
            const key = sorter.keyOf(item);
            // A key that ends here, or nearly so, has no whole word left.
            if (key.len < at + 8) return std.sort.pdq(Item, items, sorter, isLess);
            item.word = std.mem.readInt(u64, key[at..][0..8], .big);
        }
        sorter.byWord(items, other);
        sorter.ties(items, other, at + 8);
    }

    const ahead = 16;

    fn keyOf(sorter: *const Sorter, item: *const Item) []const u8 {
        return ordered_index.nodeAt(sorter.region, item.node).key();
    }

    fn isLessWord(_: *const Sorter, a: Item, b: Item) bool {
        return a.word < b.word;
    }

    fn isLess(sorter: *const Sorter, a: Item, b: Item) bool {
        return std.mem.order(u8, sorter.keyOf(&a), sorter.keyOf(&b)) == .lt;
    }
};

/// Sorts by `word`; `other` is room for as many.
fn radix(items: []Item, other: []Item) void {
    assert(items.len == other.len);
    var counts: [8][256]u32 = @splat(@splat(0));
    for (items) |item| {
        inline for (0..8) |byte| counts[byte][@as(u8, @truncate(item.word >> 8 * byte))] += 1;
    }
    var from = items;
    var to = other;
    for (&counts, 0..) |*places, byte| {
        const shift: u6 = @intCast(8 * byte);
        const first: u8 = @truncate(from[0].word >> shift);
        if (places[first] == items.len) continue;
        var sum: u32 = 0;
        for (places) |*place| {
            const count = place.*;
            place.* = sum;
            sum += count;
        }
        for (from) |item| {
            const place = &places[@as(u8, @truncate(item.word >> shift))];
            to[place.*] = item;
            place.* += 1;
        }
        std.mem.swap([]Item, &from, &to);
    }
    if (from.ptr != items.ptr) @memcpy(items, from);
}

test "radix: gives the order of numbers, whichever of their bytes differ" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    var items: [700]Item = undefined;
    var other: [700]Item = undefined;
    const masks = [_]u64{ std.math.maxInt(u64), 0xff00, 0xff00_0000_0000_00ff, 0x7, 0 };
    for (masks) |mask| {
        var sum: u64 = 0;
        for (&items, 0..) |*item, i| {
            item.* = .{ .word = random.int(u64) & mask | 0x10_0000, .node = @intCast(i) };
            sum +%= item.word *% (i + 1);
        }
        radix(&items, &other);
        for (items[1..], items[0..699]) |item, before| {
            // Those that are the same stay in their order.
            if (item.word == before.word) try std.testing.expect(item.node > before.node);
            try std.testing.expect(item.word >= before.word);
        }
        for (items) |item| sum -%= item.word *% (item.node + 1);
        try std.testing.expectEqual(0, sum);
    }
}
