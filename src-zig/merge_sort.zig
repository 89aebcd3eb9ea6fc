//! A stable sort that no order can confuse.
//!
//! The order may come from rows in shared memory that somebody changes while they are compared. So
//! nothing here relies on a consistent answer: a wrong one gives a wrong order, never an access out
//! of bounds. (`std.sort.pdq` keeps a stack whose depth depends on the answers.)

const std = @import("std");
const assert = std.debug.assert;

/// Sorts `items`, with `scratch` of the same length as room to work. `context` has
/// `fn before(context, a: T, b: T) bool`, a strict order.
pub fn mergeSort(comptime T: type, context: anytype, items: []T, scratch: []T) void {
    assert(items.len == scratch.len);
    const run_size = 12;
    var start: usize = 0;
    while (start < items.len) : (start += run_size) {
        insertionSort(T, context, items[start..@min(start + run_size, items.len)]);
    }

    var from = items;
    var to = scratch;
    var size: usize = run_size;
    while (size < items.len) : (size *= 2) {
        start = 0;
        while (start < items.len) : (start += 2 * size) {
            const middle = @min(start + size, items.len);
            const end = @min(start + 2 * size, items.len);
            merge(T, context, from[start..middle], from[middle..end], to[start..end]);
        }
        std.mem.swap([]T, &from, &to);
    }
    if (from.ptr != items.ptr) @memcpy(items, from);
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

fn merge(comptime T: type, context: anytype, left: []const T, right: []const T, to: []T) void {
    assert(left.len + right.len == to.len);
    // Runs that follow each other already are common: rows often arrive nearly in order.
    if (left.len == 0 or right.len == 0 or !context.before(right[0], left[left.len - 1])) {
        @memcpy(to[0..left.len], left);
        @memcpy(to[left.len..], right);
        return;
    }
    var l: usize = 0;
    var r: usize = 0;
    for (to) |*slot| {
        const take_right = l == left.len or
            (r < right.len and context.before(right[r], left[l]));
        if (take_right) {
            slot.* = right[r];
            r += 1;
        } else {
            slot.* = left[l];
            l += 1;
        }
    }
}

test "mergeSort: equal items keep their order" {
    const Pair = struct { key: u8, number: u32 };
    const ByKey = struct {
        fn before(_: @This(), a: Pair, b: Pair) bool {
            return a.key < b.key;
        }
    };
    var prng: std.Random.DefaultPrng = .init(5);
    var items: [500]Pair = undefined;
    var scratch: [500]Pair = undefined;
    for ([_]usize{ 0, 1, 2, 12, 13, 100, 500 }) |count| {
        for (items[0..count], 0..) |*item, i| {
            item.* = .{ .key = prng.random().uintLessThan(u8, 20), .number = @intCast(i) };
        }
        mergeSort(Pair, ByKey{}, items[0..count], scratch[0..count]);
        for (items[0..count], 0..) |item, i| {
            if (i == 0) continue;
            const previous = items[i - 1];
            try std.testing.expect(previous.key <= item.key);
            if (previous.key == item.key) try std.testing.expect(previous.number < item.number);
        }
    }
}
