//! Blocks of hints, of which the guide of an index is made (`index_guide.zig`).
//!
//! A block holds references to what stands one level below it, in the order of their keys, with the
//! beginning of each key. It knows the least key that belongs to it.
//!
//! Nothing in it is believed. Whoever changed it may have been killed between any two stores, and
//! its lock is only a courtesy: whoever has waited a little takes it away. So references may be
//! missing, there twice, or stale, and a prefix may stand beside the reference of another.
//!
//! Invariants:
//!
//!   * generation, level, root and least key do not change while the block is in use
//!   * references below any count that ever stood there were true once: a count is at most one that
//!     somebody has seen, and one more, and that one's reference is written first

const std = @import("std");
const sync = @import("sync");
const index_key = @import("index_key.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const slabs = @import("slabs.zig");
const version_module = @import("version.zig");
const Link = version_module.Link;
const Probe = ordered_index.Probe;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const Shm = sync.Shm;
const assert = std.debug.assert;

/// References of one block.
pub const block_count = if (sync.sim) 2 else 32;
/// Prefixes that are looked at together.
const stride_size = if (sync.sim) 1 else 8;
const stride_count = block_count / stride_size;
/// The list of entries, and the levels of blocks above it.
pub const level_count = if (sync.sim) 4 else 8;

/// How often a lock is looked at before it is taken away from whoever holds it.
const lock_looks = if (sync.sim) 2 else 256;

/// What an entry and a block begin with: all that is read of one that may be gone.
pub const Anchor = extern struct {
    /// `Link` to the next of its list; marked when it is taken out.
    link: Shm(u64),
    /// The generation of its memory. Written before the link is.
    generation: Shm(u32),
};

pub const Reference = packed struct(u64) {
    granule: u32,
    generation: u32,

    pub const none: Reference = .{ .granule = 0, .generation = 0 };

    pub inline fn bits(reference: Reference) u64 {
        return @bitCast(reference);
    }
    pub inline fn from(word: u64) Reference {
        return @bitCast(word);
    }

    /// Whether it leads to something that is in its list now. The caller is pinned.
    pub inline fn isLinked(reference: Reference, region: *const Region) bool {
        if (sync.mutated(.trusted_hint)) return true;
        const anchor = region.pointer(Anchor, reference.granule);
        // In this order: memory that was taken again has its new generation before its new link.
        if (Link.from(anchor.link.load(.acquire)).marked) return false;
        return anchor.generation.load(.acquire) == reference.generation;
    }
};

/// The first 56 bytes of a block and its references; the least key follows.
pub const Block = extern struct {
    /// `Link` to the block at its right.
    link: Shm(u64),
    generation: Shm(u32),
    /// Slot + 1 of whoever moves references, or 0.
    lock: Shm(u32),
    /// Granule of the index's root.
    root: u32,
    level: u8,
    reserved: u8,
    low_size: u16,
    low_prefix: u64,
    /// No block at the right has a smaller prefix.
    high_prefix: Shm(u64),
    count: Shm(u32),
    /// Slot + 1 of whoever takes the block out of its level. Final.
    claim: Shm(u32),
    /// `Summary`, of level 1 (`index_summary.zig`).
    summary: Shm(u64),
    prefixes: [block_count]Shm(u64),
    /// `Reference`
    references: [block_count]Shm(u64),

    comptime {
        assert(stride_count * stride_size == block_count);
        assert(@offsetOf(Block, "prefixes") == 56);
    }

    pub inline fn low(block: *const Block) []const u8 {
        const bytes: [*]const u8 = @ptrCast(block);
        return (bytes + @sizeOf(Block))[0..@min(block.low_size, index_key.size_max)];
    }

    /// Where the block's least key stands to the probe.
    pub inline fn order(block: *const Block, probe: *const Probe) std.math.Order {
        if (block.low_size == 0) return .lt;
        return probe.orderKey(block.low_prefix, block.low());
    }

    pub inline fn used(block: *const Block) u32 {
        return @min(block.count.load(.acquire), block_count);
    }

    pub inline fn reference(block: *const Block, at: usize) Reference {
        return .from(block.references[at].load(.acquire));
    }

    /// The first references of `count` whose prefix is less than `than`, in the bits of `mask`.
    ///
    /// One prefix of each eight says which eight to look at; no look waits for the one before, nor
    /// branches on what it sees. For a block that stands in the cache, where half of the branches
    /// of a search by halves would be guessed wrong.
    pub fn countLess(block: *const Block, count: u32, mask: u64, than: u64) u32 {
        assert(count <= block_count);
        // The checks would be a third of it, and the assertion implies them: see the fuzz test.
        @setRuntimeSafety(false);
        const strides = count / stride_size;
        var first: u32 = 0;
        inline for (1..stride_count) |stride| {
            const prefix = block.prefixes[stride * stride_size - 1].load(.monotonic);
            // What stands behind `count` is nothing.
            first += @intFromBool(prefix & mask < than) & @intFromBool(stride <= strides);
        }
        first *= stride_size;
        var less: u64 = 0;
        inline for (0..stride_size) |at| {
            const prefix = block.prefixes[first + at].load(.monotonic);
            less |= @as(u64, @intFromBool(prefix & mask < than)) << at;
        }
        const rest: u6 = @intCast(@min(count - first, stride_size));
        return first + @ctz(~less | @as(u64, 1) << rest);
    }

    /// The same for a block that was asked for just now. Of a search by halves, the processor goes
    /// on with a guess while lines are under way, which asks for the next ones.
    pub inline fn countLessFar(block: *const Block, count: u32, mask: u64, than: u64) u32 {
        assert(count <= block_count);
        @setRuntimeSafety(false); // as above
        var first: u32 = 0;
        var left = count;
        while (left > 0) {
            const half = left / 2;
            const is_less = block.prefixes[first + half].load(.monotonic) & mask < than;
            first = if (is_less) first + half + 1 else first;
            left = if (is_less) left - half - 1 else half;
        }
        return first;
    }

    /// Where the reference to `granule` stands, which has this prefix: where its prefix says if
    /// nothing has gone wrong, or at `likely`, where a search has found it.
    pub fn indexNear(block: *const Block, granule: RelPtr, prefix: u64, likely: u32) ?u32 {
        const count = block.used();
        if (likely < count and block.reference(likely).granule == granule) return likely;
        const at = block.countLess(count, std.math.maxInt(u64), prefix);
        if (at < count and block.reference(at).granule == granule) return at;
        return block.indexAmong(0, count, granule);
    }

    /// Whether so many of the first `count` references are less, as `countLess` counts them.
    pub inline fn isLeast(block: *const Block, at: u32, count: u32, mask: u64, than: u64) bool {
        if (at > count) return false;
        if (at > 0 and block.prefixes[at - 1].load(.monotonic) & mask >= than) return false;
        return at == count or block.prefixes[at].load(.monotonic) & mask >= than;
    }

    /// The same from `first` to before `end`.
    pub fn indexAmong(block: *const Block, first: u32, end: u32, granule: RelPtr) ?u32 {
        if (first >= end) return null;
        for (block.references[first..end], first..) |*word, at| {
            if (Reference.from(word.load(.acquire)).granule == granule) return @intCast(at);
        }
        return null;
    }

    /// Puts a reference in between. Whoever has the lock.
    pub fn putAt(block: *Block, at: u32, count: u32, prefix: u64, new: Reference) void {
        assert(at <= count and count < block_count);
        var to = count;
        while (to > at) : (to -= 1) {
            block.prefixes[to].store(block.prefixes[to - 1].load(.monotonic), .monotonic);
            block.references[to].store(block.references[to - 1].load(.monotonic), .monotonic);
        }
        block.prefixes[at].store(prefix, .monotonic);
        block.references[at].store(new.bits(), .release);
        block.count.store(count + 1, .release);
    }

    /// Takes the reference to `granule` out, which is likely to be found at `likely`. Whoever has
    /// the lock. Returns how many are left.
    pub fn drop(block: *Block, granule: RelPtr, near_prefix: u64, likely: u32) u32 {
        const count = block.used();
        const found = block.indexNear(granule, near_prefix, likely) orelse return count;
        if (found >= count) return count;
        for (found + 1..count) |from| {
            const prefix = block.prefixes[from].load(.monotonic);
            block.prefixes[from - 1].store(prefix, .monotonic);
            const word = block.references[from].load(.monotonic);
            block.references[from - 1].store(word, .release);
        }
        block.count.store(count - 1, .release);
        return count - 1;
    }

    /// Takes references out that are stale. Whoever has the lock. Returns how many are left.
    pub fn sweep(block: *Block, region: *const Region) u32 {
        const before = block.used();
        if (!sync.sim) for (block.references[0..before]) |*word| {
            const stale: Reference = .from(word.load(.monotonic));
            @prefetch(region.pointer(Anchor, stale.granule), .{});
        };
        var count: u32 = 0;
        for (0..before) |at| {
            const kept = block.reference(at);
            if (!kept.isLinked(region)) continue;
            const prefix = block.prefixes[at].load(.monotonic);
            block.prefixes[count].store(prefix, .monotonic);
            block.references[count].store(kept.bits(), .release);
            count += 1;
        }
        block.count.store(count, .release);
        return count;
    }

    /// Takes the lock, after a while from whoever has it: it keeps hints together, and no more.
    pub fn acquire(block: *Block, slot: u32) void {
        var seen: u32 = 0;
        while (true) {
            for (0..lock_looks) |_| {
                seen = block.lock.cas(0, slot + 1, .acq_rel, .monotonic) orelse return;
                sync.spinHint();
            }
            if (block.lock.cas(seen, slot + 1, .acq_rel, .monotonic) == null) return;
        }
    }

    /// Gives the lock back, if nobody has taken it away.
    pub fn release(block: *Block, slot: u32) void {
        _ = block.lock.cas(slot + 1, 0, .acq_rel, .monotonic);
    }

    /// Asks for what a search reads before it knows which reference it wants.
    pub inline fn prefetchPrefixes(block: *const Block) void {
        if (sync.sim) return;
        const bytes: [*]const u8 = @ptrCast(block);
        inline for (0..(@offsetOf(Block, "references") + 63) / 64) |line| {
            @prefetch(bytes + line * 64, .{});
        }
    }

    /// Asks for what a scan reads that goes from reference to reference.
    pub inline fn prefetchReferences(block: *const Block) void {
        if (sync.sim) return;
        const bytes: [*]const u8 = @ptrCast(block);
        @prefetch(bytes, .{});
        const first = @offsetOf(Block, "references") / 64;
        inline for (first..(@offsetOf(Block, "references") + 8 * block_count + 63) / 64) |line| {
            @prefetch(bytes + line * 64, .{});
        }
    }

    pub inline fn prefetch(block: *const Block) void {
        if (sync.sim) return;
        const bytes: [*]const u8 = @ptrCast(block);
        inline for (0..(@sizeOf(Block) + 63) / 64) |line| @prefetch(bytes + line * 64, .{});
    }
};

pub inline fn blockAt(region: *const Region, granule: RelPtr) *Block {
    return region.pointer(Block, granule);
}

pub fn kindOf(table: u8, low_size: usize) slabs.SlabKind {
    const bytes: u32 = @intCast(@sizeOf(Block) + low_size);
    const granules = (bytes + limits.granule_size - 1) / limits.granule_size;
    return .of(.index_guide, table, granules);
}

test "Block.countLess: what a search by halves finds, whatever stands behind the count" {
    var block: Block = undefined;
    var random: std.Random.DefaultPrng = .init(6);
    const any = random.random();
    for (0..20_000) |round| {
        const bits: u6 = if (round % 2 == 0) 5 else 63;
        for (&block.prefixes) |*prefix| prefix.raw = any.int(u64) >> 63 - bits;
        const count = any.uintAtMost(u32, block_count);
        const prefixes: []u64 = @ptrCast(block.prefixes[0..count]);
        std.mem.sort(u64, prefixes, {}, std.sort.asc(u64));
        const mask = if (round % 3 == 0) ~(@as(u64, 3)) else std.math.maxInt(u64);
        const than = any.int(u64) >> 63 - bits & mask;
        const expected = block.countLessFar(count, mask, than);
        try std.testing.expectEqual(expected, block.countLess(count, mask, than));
        var seen: u32 = 0;
        for (prefixes) |prefix| seen += @intFromBool(prefix & mask < than);
        try std.testing.expectEqual(seen, expected);
    }
}
