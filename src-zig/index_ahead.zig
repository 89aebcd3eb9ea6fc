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
const Reference = index_guide_block.Reference;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const Root = ordered_index.Root;
const blockAt = index_guide_block.blockAt;
const level_count = index_guide_block.level_count;

/// Searches that go together: about as many as a core has misses under way.
pub const searches_max = 16;

/// An index without this level, of some thousand entries, stands in the cache.
const level_min = 3;

/// Whether it is worth it for this index. Not in the simulator, in which there is no cache.
pub inline fn isLarge(root: *const Root) bool {
    return !sync.sim and root.heads[level_min].load(.monotonic) != 0;
}

pub const Ahead = struct {
    searches: [searches_max]Search = undefined,
    count: u32 = 0,

    const Search = struct {
        prefix: u64,
        /// A block of the level, asked for.
        block: Reference,
        /// 0: the entries were asked for.
        level: u32,
    };

    pub fn isFull(ahead: *const Ahead) bool {
        return ahead.count == searches_max;
    }

    /// Begins a search for a key with this prefix. Without room, or in a small index, does nothing.
    pub fn add(ahead: *Ahead, region: *const Region, root: *const Root, prefix: u64) void {
        if (ahead.isFull() or !isLarge(root)) return;
        var level: u32 = level_count - 1;
        while (level >= level_min) : (level -= 1) {
            const first = Link.from(root.heads[level].load(.acquire)).node;
            if (first == 0) continue;
            const block = blockAt(region, first);
            const generation = block.generation.load(.acquire);
            ahead.searches[ahead.count] = .{
                .prefix = prefix,
                .block = .{ .granule = first, .generation = generation },
                .level = level,
            };
            ahead.count += 1;
            return;
        }
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
                step(region, top, search);
                goes_on = goes_on or search.level > 1;
            }
        }
    }

    /// Asks for the entries, and forgets all searches. The caller is pinned since before.
    pub fn toEntries(ahead: *Ahead, region: *const Region) void {
        const top = backedGranules(region);
        for (ahead.searches[0..ahead.count]) |*search| {
            if (search.level == 1) step(region, top, search);
        }
        ahead.count = 0;
    }

    /// All of it.
    pub fn run(ahead: *Ahead, region: *const Region) void {
        ahead.toBlocks(region);
        ahead.toEntries(region);
    }
};

/// Looks into a block, and asks for what it leads to.
fn step(region: *const Region, top: u32, search: *Ahead.Search) void {
    const level = search.level;
    search.level = 0;
    if (!isWithin(region, top, search.block.granule)) return;
    if (!search.block.isLinked(region)) return;
    const block = blockAt(region, search.block.granule);
    if (block.level != level) return;
    const used = block.used();
    if (used == 0) return;
    const at = block.countLess(used, std.math.maxInt(u64), search.prefix);
    const before = block.reference(at -| 1);
    if (level == 1) {
        // Whoever looks for a place reads what is before it and what is behind it.
        askFor(region, before.granule);
        if (at != 0 and at < used) askFor(region, block.reference(at).granule);
        return;
    }
    if (!isWithin(region, top, before.granule)) return;
    blockAt(region, before.granule).prefetch();
    search.block = before;
    search.level = level - 1;
}

inline fn askFor(region: *const Region, granule: RelPtr) void {
    if (granule < region.slabs_first) return;
    @prefetch(region.pointer(u8, granule), .{});
}

/// What is behind the last granule of memory that can be read.
fn backedGranules(region: *const Region) u32 {
    const slabs = region.control.memory.slab_top.load(.acquire);
    return region.slabs_first + slabs * limits.slab_granules;
}

/// Whether a block may stand there.
fn isWithin(region: *const Region, top: u32, granule: RelPtr) bool {
    const granules = (@sizeOf(Block) + limits.granule_size - 1) / limits.granule_size;
    return granule >= region.slabs_first and granule < top and top - granule >= granules;
}
