//! The guide of an index whose rows come and go: what it knows, and what its damage must not do.

const std = @import("std");
const index_ahead = @import("index_ahead.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_test = @import("index_test.zig");
const ordered_index = @import("ordered_index.zig");
const statement = @import("statement.zig");
const transaction = @import("transaction.zig");
const Indexed = index_test.Indexed;
const Line = index_test.Line;
const Link = @import("version.zig").Link;
const Model = index_test.Model;
const OrderedIndex = ordered_index.OrderedIndex;
const expectScans = index_test.expectScans;
const testing = std.testing;
const words = index_test.words;

/// Entries that a search for each entry of an index has to pass without help, at most.
fn stepsMax(indexed: *Indexed, number: u32) u32 {
    const region = &indexed.bench.region;
    const index: OrderedIndex = .at(region, indexed.indexes.byNumber(number).?.root);
    var most: u32 = 0;
    var at = index.following(0);
    while (at != 0) : (at = index.following(at)) {
        var place: ordered_index.Place = undefined;
        const probe: ordered_index.Probe = .of(ordered_index.nodeAt(region, at));
        if (index.find(indexed.session.slot_index, &probe, &place) != at) return 1 << 30;
        most = @max(most, place.steps);
    }
    return most;
}

fn guideBlocks(indexed: *Indexed, number: u32) u32 {
    const region = &indexed.bench.region;
    const index: OrderedIndex = .at(region, indexed.indexes.byNumber(number).?.root);
    var count: u32 = 0;
    for (index.root.heads[1..]) |*head| {
        var at = Link.from(head.raw).node;
        while (at != 0) : (count += 1) {
            at = Link.from(index_guide_block.blockAt(region, at).link.raw).node;
        }
    }
    return count;
}

test "index_guide: knows every entry while keys rise, and shrinks to nothing behind them" {
    var indexed: Indexed = undefined;
    try indexed.init(8 << 20, false);
    defer indexed.deinit();
    const window = 3000;
    var most: u32 = 0;
    for (0..8000) |n| {
        const number: i64 = @intCast(n);
        // Texts with one beginning: their prefixes say nothing.
        var text: [24]u8 = undefined;
        const s = try std.fmt.bufPrint(&text, "the same beginning {d:0>5}", .{n});
        try testing.expectEqual(.done, try indexed.put(.insert, number, number, s));
        if (n < window) continue;
        try testing.expectEqual(.done, try indexed.put(.delete, number - window, null, null));
        if (n % 1000 != 0) continue;
        indexed.session.pin();
        defer indexed.session.unpin();
        for (0..3) |i| try testing.expect(stepsMax(&indexed, @intCast(i)) <= 1);
        most = @max(most, guideBlocks(&indexed, 0));
    }
    // Full blocks are left behind by rising keys, and go when they are empty.
    try testing.expect(most < 2 * (window / index_guide_block.block_count + 8));
    for (8000 - window..8000) |n| {
        const number: i64 = @intCast(n);
        try testing.expectEqual(.done, try indexed.put(.delete, number, null, null));
    }
    for (0..3) |_| indexed.bench.settle(indexed.session);
    try testing.expect(indexed.session.log.isEmpty());
    for (0..3) |i| try testing.expect(guideBlocks(&indexed, @intCast(i)) <= 3);
    try indexed.bench.expectSound(indexed.session);
}

/// Every block of an index's guide.
fn blocksOf(indexed: *Indexed, number: u32, into: *std.ArrayList(*index_guide_block.Block)) !void {
    const region = &indexed.bench.region;
    const index: OrderedIndex = .at(region, indexed.indexes.byNumber(number).?.root);
    for (index.root.heads[1..]) |*head| {
        var at = Link.from(head.raw).node;
        while (at != 0) {
            const block = index_guide_block.blockAt(region, at);
            try into.append(testing.allocator, block);
            at = Link.from(block.link.raw).node;
        }
    }
}

test "index_ahead: blocks of any bytes neither stop it nor lead it out of memory" {
    var indexed: Indexed = undefined;
    try indexed.init(16 << 20, false);
    defer indexed.deinit();
    for (0..5000) |i| {
        _ = try indexed.put(.insert, @intCast(i), @intCast(i), words[i % words.len]);
    }
    const region = &indexed.bench.region;
    const root = indexed.indexes.byNumber(0).?.rootOf(region);
    try testing.expect(index_ahead.isLarge(root));
    var blocks: std.ArrayList(*index_guide_block.Block) = .empty;
    defer blocks.deinit(testing.allocator);
    try blocksOf(&indexed, 0, &blocks);
    const before = try testing.allocator.alloc(index_guide_block.Block, blocks.items.len);
    defer testing.allocator.free(before);
    for (before, blocks.items) |*copy, block| copy.* = block.*;

    var random: std.Random.DefaultPrng = .init(3);
    const any = random.random();
    indexed.session.pin();
    for (0..300) |round| {
        for (blocks.items) |block| for (&block.prefixes, &block.references) |*prefix, *word| {
            if (any.uintLessThan(u32, 4) != 0) continue;
            prefix.raw = any.int(u64);
            const other = blocks.items[any.uintLessThan(usize, blocks.items.len)];
            word.raw = switch (any.uintLessThan(u32, 4)) {
                0 => any.int(u64),
                // Within the region, of whatever stands there.
                1 => (index_guide_block.Reference{
                    .granule = any.uintLessThan(u32, 16 << 20 >> 6),
                    .generation = any.uintLessThan(u32, 4),
                }).bits(),
                // Of another block, or an entry at a wrong place.
                else => other.references[any.uintLessThan(usize, other.references.len)].raw,
            };
        };
        if (round % 3 == 0) for (blocks.items) |block| {
            block.count.raw = any.int(u32);
        };
        var ahead: index_ahead.Ahead = .{};
        while (!ahead.isFull()) _ = ahead.add(region, root, any.int(u64));
        ahead.run(region);
        try testing.expectEqual(0, ahead.count);
    }
    for (before, blocks.items) |*copy, block| block.* = copy.*;
    indexed.session.unpin();
    try indexed.bench.expectSound(indexed.session);
}

test "index_ahead: wrong prefixes and misplaced hints change no result" {
    var indexed: Indexed = undefined;
    try indexed.init(32 << 20, false);
    defer indexed.deinit();
    const model = try testing.allocator.alloc(?Model, 4000);
    defer testing.allocator.free(model);
    for (model, 0..) |*row, i| {
        const n: i64 = @intCast(i);
        row.* = .{ .n = n, .s = "s" };
        try testing.expectEqual(.done, try indexed.put(.insert, n, n, "s"));
    }
    try testing.expect(index_ahead.isLarge(indexed.indexes.byNumber(0).?.rootOf(
        &indexed.bench.region,
    )));
    var random: std.Random.DefaultPrng = .init(4);
    const any = random.random();
    var blocks: std.ArrayList(*index_guide_block.Block) = .empty;
    defer blocks.deinit(testing.allocator);
    for (0..6) |round| {
        blocks.clearRetainingCapacity();
        try blocksOf(&indexed, 0, &blocks);
        for (blocks.items) |block| {
            const count = block.used();
            if (count < 2 or block.level > 1) continue;
            // What a writer leaves whose lock was taken away: prefixes beside other references.
            for (0..4) |_| {
                const a = any.uintLessThan(usize, count);
                const b = any.uintLessThan(usize, count);
                block.references[a].raw = block.references[b].raw;
                block.prefixes[any.uintLessThan(usize, count)].raw = block.prefixes[a].raw;
            }
        }
        // Rows one by one, and in one transaction; what they supersede is taken out with both.
        var lines: [64]Line = undefined;
        var writes: [64]transaction.Write = undefined;
        for (0..40) |_| {
            const first = any.uintLessThan(usize, model.len - lines.len);
            for (&lines, &writes, first..) |*line, *one, id| {
                const n = any.intRangeAtMost(i64, 0, 10_000);
                try line.init(&indexed, .upsert, @intCast(id), n, "s");
                one.* = line.write;
                model[id] = .{ .n = n, .s = "s" };
            }
            if (round % 2 == 0) {
                const result = try statement.writeMany(indexed.session, &writes);
                try testing.expectEqual(.done, result.outcome);
            } else for (&writes) |*one| {
                const result = try statement.write(indexed.session, one);
                try testing.expectEqual(.done, result.outcome);
            }
        }
        for (0..2) |_| indexed.bench.settle(indexed.session);
        try testing.expect(indexed.session.log.isEmpty());
        try expectScans(&indexed, model);
        try indexed.bench.expectSound(indexed.session);
    }
}
