//! Searches by guides that are begun ahead, several together.
//!
//! A search has two loads that depend on each other and that a large index has not in the cache:
//! the block of level 1, and the entry. Whoever has several keys before him, of one index or of
//! several, lets all of them go down here first, level by level: the blocks of the next level are
//! asked for, for all keys, before one of them is looked at. The searches that count follow, and
//! find in the cache what they need.
//!
//! Nothing that is read here is believed, and nothing is written: where a search goes is only what
//! memory is asked for. So it knows no marks but those of a block, does not go to the right, and
//! takes a prefix for the key. What it misses, a search pays for.
//!
//! Memory order: a block counts once its reference is linked (`index_guide_block.Reference`), whose
//! loads acquire; the caller is pinned, so it stays a block. That a reference names backed memory
//! is looked at as well, because hints may be lost but no reader may fault. Killed anywhere:
//! nothing is left.

const std = @import("std");
const sync = @import("sync");
const index_guide_block = @import("index_guide_block.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const version_module = @import("version.zig");
const Block = index_guide_block.Block;
const Link = version_module.Link;
const Near = @import("index_guide.zig").Near;
const Reference = index_guide_block.Reference;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const Root = ordered_index.Root;
const blockAt = index_guide_block.blockAt;
const level_count = index_guide_block.level_count;

/// Searches that go together: about as many as a core has misses under way.
pub const searches_max = 16;

/// An index without this level, of some thousand entries, stands in the cache. In the simulator,
/// which has none, searches are begun all the same, for where they lead.
const level_min = if (sync.sim) 2 else 3;

/// Whether it is worth it for this index.
pub inline fn isLarge(root: *const Root) bool {
    return root.heads[level_min].load(.monotonic) != 0;
}

/// One search. Nothing of it is more than a hint.
pub const Search = struct {
    prefix: u64,
    /// A block of the level, asked for. In the end one of level 1, near which the key stands.
    block: Reference,
    /// 0: the entries were asked for.
    level: u32,
    /// How many references of the block are before the prefix, once the entries were asked for.
    at: u32 = 0,
    /// The entry at or behind the prefix, once that was asked for, or 0.
    entry: RelPtr = 0,

    pub const none: Search = .{ .prefix = 0, .block = .none, .level = 0 };

    /// Begins at the top of the guide. A small index is not worth it, and gives `none`.
    pub fn begin(region: *const Region, root: *const Root, prefix: u64) Search {
        var level: u32 = level_count - 1;
        while (level >= level_min) : (level -= 1) {
            const first = Link.from(root.heads[level].load(.acquire)).node;
            if (first == 0) continue;
            const generation = blockAt(region, first).generation.load(.acquire);
            return .{
                .prefix = prefix,
                .block = .{ .granule = first, .generation = generation },
                .level = level,
            };
        }
        return .none;
    }

    /// Goes one level down, if there is one. The caller is pinned.
    pub fn step(search: *Search, region: *const Region, top: u32) void {
        if (search.level == 0) return;
        if (!search.goDown(region, top)) search.* = .none;
    }

    /// Looks into a block, and asks for what it leads to. False if it cannot be looked into.
    fn goDown(search: *Search, region: *const Region, top: u32) bool {
        if (!isWithin(region, top, search.block.granule)) return false;
        if (!search.block.isLinked(region)) return false;
        const block = blockAt(region, search.block.granule);
        if (block.level != search.level) return false;
        const used = block.used();
        if (used == 0) return false;
        const at = block.countLess(used, std.math.maxInt(u64), search.prefix);
        const before = block.reference(at -| 1);
        search.level -= 1;
        if (search.level == 0) {
            search.at = at;
            // Whoever looks for a place reads what is before it and what is behind it.
            askFor(region, before.granule);
            if (at == 0 or at == used) return true;
            search.entry = block.reference(at).granule;
            askFor(region, search.entry);
            return true;
        }
        if (!isWithin(region, top, before.granule)) return false;
        // Those above stand in the cache. One of level 2 is only searched, and one line of its
        // references read; of level 1, whoever changes it moves half of all.
        if (search.level == 1) blockAt(region, before.granule).prefetch();
        if (search.level == 2) blockAt(region, before.granule).prefetchPrefixes();
        search.block = before;
        return true;
    }

    /// Asks for the entry behind the one that the search has asked for. The caller is pinned.
    pub fn askForNext(search: *const Search, region: *const Region, top: u32) void {
        if (search.entry < region.slabs_first or search.entry >= top) return;
        const node = ordered_index.nodeAt(region, search.entry);
        askFor(region, Link.from(node.link.load(.monotonic)).node);
    }

    /// The block of level 1 that was found, or `none`.
    pub fn near(search: *const Search) Near {
        if (search.level > 1) return .none;
        return .{ .block = search.block, .at = search.at };
    }
};

pub const Ahead = struct {
    searches: [searches_max]Search = undefined,
    count: u32 = 0,

    pub fn isFull(ahead: *const Ahead) bool {
        return ahead.count == searches_max;
    }

    /// Begins a search for a key with this prefix, and returns it. Without room, or in a small
    /// index, does nothing.
    pub fn add(
        ahead: *Ahead,
        region: *const Region,
        root: *const Root,
        prefix: u64,
    ) ?*const Search {
        if (ahead.isFull() or !isLarge(root)) return null;
        const search = &ahead.searches[ahead.count];
        search.* = .begin(region, root, prefix);
        ahead.count += 1;
        return search;
    }

    /// Goes down until the blocks of level 1 are asked for. The caller is pinned since before he
    /// added the first search.
    pub fn toBlocks(ahead: *Ahead, region: *const Region) void {
        const top = backedGranules(region);
        var goes_on = ahead.count > 0;
        while (goes_on) {
            goes_on = false;
            for (ahead.searches[0..ahead.count]) |*search| {
                if (search.level < 2) continue;
                search.step(region, top);
                goes_on = goes_on or search.level > 1;
            }
        }
    }

    /// Asks for the entries, and forgets all searches. The caller is pinned since before.
    pub fn toEntries(ahead: *Ahead, region: *const Region) void {
        const top = backedGranules(region);
        for (ahead.searches[0..ahead.count]) |*search| search.step(region, top);
        ahead.count = 0;
    }

    /// All of it.
    pub fn run(ahead: *Ahead, region: *const Region) void {
        ahead.toBlocks(region);
        ahead.toEntries(region);
    }
};

inline fn askFor(region: *const Region, granule: RelPtr) void {
    if (granule < region.slabs_first) return;
    @prefetch(region.pointer(u8, granule), .{});
}

/// What is behind the last granule of memory that can be read.
pub fn backedGranules(region: *const Region) u32 {
    const slabs = region.control.memory.slab_top.load(.acquire);
    return region.slabs_first + slabs * limits.slab_granules;
}

/// Whether a block may stand there.
fn isWithin(region: *const Region, top: u32, granule: RelPtr) bool {
    const granules = (@sizeOf(Block) + limits.granule_size - 1) / limits.granule_size;
    return granule >= region.slabs_first and granule < top and top - granule >= granules;
}

const testing = std.testing;
const Indexed = @import("index_test.zig").Indexed;
const OrderedIndex = ordered_index.OrderedIndex;
const Probe = ordered_index.Probe;

test "OrderedIndex.findNear: finds the same wherever it begins" {
    var indexed: Indexed = undefined;
    try indexed.init(16 << 20, false);
    defer indexed.deinit();
    for (0..3000) |id| {
        _ = try indexed.put(.insert, @intCast(id), @intCast(id * 1_000_003 % 3001), "s");
    }
    const region = &indexed.bench.region;
    const index: OrderedIndex = .at(region, indexed.indexes.byNumber(0).?.root);
    var nears: std.ArrayList(Near) = .empty;
    defer nears.deinit(testing.allocator);
    // All blocks of all indexes, as they are, and as they were in another life.
    for (0..3) |number| for (indexed.indexes.byNumber(@intCast(number)).?.rootOf(
        region,
    ).heads[1..]) |*head| {
        var at = Link.from(head.raw).node;
        while (at != 0) : (at = Link.from(blockAt(region, at).link.raw).node) {
            const generation = blockAt(region, at).generation.raw;
            for ([_]u32{ generation, generation + 1 }) |of| {
                const block: Reference = .{ .granule = at, .generation = of };
                try nears.append(testing.allocator, .{ .block = block, .at = @intCast(at % 60) });
            }
        }
    };
    indexed.session.pin();
    defer indexed.session.unpin();
    var random: std.Random.DefaultPrng = .init(7);
    var entry = index.following(0);
    while (entry != 0) : (entry = index.following(entry)) {
        const probe: Probe = .of(ordered_index.nodeAt(region, entry));
        for (0..8) |_| {
            const near = nears.items[random.random().uintLessThan(usize, nears.items.len)];
            var place: ordered_index.Place = undefined;
            const slot = indexed.session.slot_index;
            try testing.expectEqual(entry, index.findNear(slot, &probe, &near, &place));
            try testing.expectEqual(entry, place.after);
        }
    }
}
