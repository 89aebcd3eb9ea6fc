//! Slabs and blocks: where memory comes from and goes back to.
//!
//! A slab holds blocks of one kind and size for as long as it is not empty, so that a reader
//! that looks at a block a moment too late still looks at a block of that kind. The state words of
//! its blocks stand at its start: {generation:31, used:1} each.
//!
//! Invariants:
//!
//!   * only the slot named in `meta.owner` takes blocks from a slab; taking is a plain store
//!   * a block is freed by the one party whose log entry names it with its generation; freeing
//!     is a plain store, and freeing twice is a no-op, because the generation or the used
//!     bit differs
//!   * at every instant a block is unused, or reachable from a structure, or named by a log
//!     entry, or a chunk of a log: nothing can be lost by a kill
//!   * the lists of free blocks that a process keeps are hints; losing them loses nothing
//!
//! Killed between taking a slab and setting its kind: the slab has an owner and kind 0, and
//! recovery gives it back. Killed anywhere else: the owner word names the dead slot.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const Region = region_module.Region;
const SlabMeta = region_module.SlabMeta;
const Shm = sync.Shm;
const assert = std.debug.assert;

pub const Error = error{ RegionFull, OutOfMemory };

pub const Class = enum(u8) {
    /// Never used.
    none = 0,
    version = 1,
    node = 2,
    log_chunk = 3,
    catalogue = 4,
    /// Entries of ordered indexes.
    index_node = 5,
    /// Roots of ordered indexes; see `table_indexes.zig`.
    index_root = 6,
    /// Blocks of hints for ordered indexes; see `index_guide.zig`.
    index_guide = 7,
    _,
};

/// What a slab's blocks are. Compared as one integer.
pub const SlabKind = packed struct(u32) {
    class: Class,
    table: u8 = 0,
    /// Index into `size_classes`.
    size: u8,
    reserved: u8 = 0,

    pub inline fn bits(kind: SlabKind) u32 {
        return @bitCast(kind);
    }
    pub inline fn from(word: u32) SlabKind {
        return @bitCast(word);
    }
    pub fn of(class: Class, table: u8, granules: u32) SlabKind {
        return .{ .class = class, .table = table, .size = sizeClassFor(granules) };
    }
};

pub const SizeClass = struct {
    /// Granules of one block.
    granules: u32,
    /// Blocks in a slab.
    count: u32,
    /// Granules that the state words take.
    header: u32,
};

const block_granules = if (sync.sim)
    [_]u32{ 1, 2, 3, 4, 5, 6, 8, 10, 14, 28 }
else
    [_]u32{
        1,  2,  3,  4,  5,  6,   7,   8,   10,  12,  14,  16,  20,  24,  28,  32,  40,
        48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1000,
    };

pub const size_classes = blk: {
    var classes: [block_granules.len]SizeClass = undefined;
    for (block_granules, &classes) |granules, *class| {
        var count: u32 = limits.slab_size / (granules * limits.granule_size + 4);
        while (headerGranules(count) + count * granules > limits.slab_granules) count -= 1;
        assert(count > 0);
        class.* = .{ .granules = granules, .count = count, .header = headerGranules(count) };
    }
    break :blk classes;
};

fn headerGranules(count: u32) u32 {
    return (count * 4 + limits.granule_size - 1) / limits.granule_size;
}

const class_by_granules = blk: {
    @setEvalBranchQuota(100_000);
    const largest = block_granules[block_granules.len - 1];
    var classes: [largest + 1]u8 = undefined;
    for (&classes, 0..) |*class, granules| {
        class.* = 0;
        while (block_granules[class.*] < granules) class.* += 1;
    }
    break :blk classes;
};

/// The smallest class that holds a block of so many granules. The schema bounds a row below the
/// largest.
pub inline fn sizeClassFor(granules: u32) u8 {
    return class_by_granules[granules];
}

/// A block's state: {generation:31, used:1}.
pub const State = struct {
    pub inline fn free(of: u32) u32 {
        return of << 1;
    }
    pub inline fn used(of: u32) u32 {
        return of << 1 | 1;
    }
    pub inline fn isUsed(word: u32) bool {
        return word & 1 != 0;
    }
    pub inline fn generation(word: u32) u32 {
        return word >> 1;
    }
    pub inline fn nextGeneration(word: u32) u32 {
        return (word >> 1) +% 1 & 0x7fff_ffff;
    }
};

pub inline fn stateWord(region: *const Region, slab: u32, index: u32) *Shm(u32) {
    const words = region.pointer(Shm(u32), region.slabGranule(slab));
    return @ptrCast(@as([*]Shm(u32), @ptrCast(words)) + index);
}

/// The state word of the block at `granule`, which must be the first granule of a block.
pub fn stateOf(region: *const Region, granule: u32) *Shm(u32) {
    const slab = region.slabOf(granule);
    const kind = SlabKind.from(region.slab_metas[slab].kind.load(.acquire));
    const size = size_classes[kind.size];
    const within = granule - region.slabGranule(slab) - size.header;
    assert(within % size.granules == 0);
    return stateWord(region, slab, within / size.granules);
}

pub inline fn prefetchState(region: *const Region, granule: u32) void {
    @prefetch(stateOf(region, granule), .{ .rw = .write });
}

pub fn generationOf(region: *const Region, granule: u32) u32 {
    return State.generation(stateOf(region, granule).load(.acquire));
}

pub inline fn blockGranule(region: *const Region, slab: u32, size: SizeClass, index: u32) u32 {
    return region.slabGranule(slab) + size.header + index * size.granules;
}

/// Frees a block if `generation` still holds it; does nothing if that happened before. The caller
/// holds the one log entry that names the block.
///
/// Only the low `tag_bits` of the generation count, because a head word has no room for more. The
/// test is for entries that are drained twice, around a kill; then the block would have to be
/// reused exactly 2^20 times in between.
pub fn free(region: *const Region, granule: u32, generation: u32) void {
    const state = stateOf(region, granule);
    const word = state.load(.monotonic);
    if (!State.isUsed(word) or tagOf(State.generation(word)) != tagOf(generation)) return;
    // Release: pairs with the acquire in `Pool.scan`: whoever takes the block again does so
    // after everything that the freeing process did with it.
    state.store(State.free(State.generation(word)), .release);
    if (sync.sim) poison(region, granule);
    const meta = &region.slab_metas[region.slabOf(granule)];
    if (meta.has_free.load(.monotonic) == 0) meta.has_free.store(1, .release);
}

/// Tells the simulator that nobody may look at the block any more. A scan may look at a node's head
/// whenever it likes, the head of a free node is dead; and at `xmin` and `xmax` of a version: those
/// of a free one say that no snapshot sees it. And whoever follows a hint looks at the link and the
/// generation of what stands there.
fn poison(region: *const Region, granule: u32) void {
    const kind = SlabKind.from(region.slab_metas[region.slabOf(granule)].kind.raw);
    const kept: usize = switch (kind.class) {
        .node => @sizeOf(u64),
        .version, .index_node, .index_guide => 2 * @sizeOf(u64),
        else => 0,
    };
    const size = size_classes[kind.size].granules * limits.granule_size;
    sync.poison(@as([*]u8, @ptrCast(region.pointer(u8, granule))) + kept, size - kept);
}

/// Bits of a block's generation that head words and log entries carry for a block they only name.
pub const tag_bits = 20;

pub inline fn tagOf(generation: u32) u20 {
    return @truncate(generation);
}

/// True if the block at `granule` is in use under a generation with this tag.
pub fn holds(region: *const Region, granule: u32, generation: u32) bool {
    const word = stateOf(region, granule).load(.acquire);
    return State.isUsed(word) and tagOf(State.generation(word)) == tagOf(generation);
}

/// A free block that its slab's owner has set aside. Nothing shared says so yet.
pub const Block = struct {
    granule: u32,
    /// The generation that it will have once it is in use.
    generation: u32,
    state: *Shm(u32),

    /// Puts the block into use. Its log entry must be written already.
    pub inline fn use(block: Block) void {
        block.state.store(State.used(block.generation), .release);
    }
};

/// The free blocks of one kind that one slot may take.
pub const Pool = struct {
    kind: SlabKind,
    slabs: std.ArrayList(Owned) = .empty,
    free_count: u64 = 0,
    /// Where the next search for a slab begins, so that searches go around.
    rotor: u32 = 0,
    /// Blocks that the slabs taken from others gave, averaged and in percent of a slab.
    recycled_percent: u32 = 100,
    /// Where `isCrowded` looks.
    random: u64,

    const Owned = struct {
        slab: u32,
        free: []u16,
        count: u32,
    };

    /// Sets a free block aside, or fails with the region full.
    pub fn take(pool: *Pool, allocator: *Allocator) Error!Block {
        if (pool.free_count == 0) try pool.refill(allocator);
        var at = pool.slabs.items.len;
        while (at > 0) {
            at -= 1;
            const owned = &pool.slabs.items[at];
            if (owned.count == 0) continue;
            owned.count -= 1;
            pool.free_count -= 1;
            const index = owned.free[owned.count];
            const state = stateWord(allocator.region, owned.slab, index);
            const word = state.load(.monotonic);
            assert(!State.isUsed(word));
            pool.prefetchNext(allocator.region, owned);
            return .{
                .granule = blockGranule(allocator.region, owned.slab, pool.sizeClass(), index),
                .generation = State.nextGeneration(word),
                .state = state,
            };
        }
        unreachable; // free_count counts what the lists hold
    }

    /// Whoever takes the next block will write to it.
    inline fn prefetchNext(pool: *const Pool, region: *const Region, owned: *const Owned) void {
        if (sync.sim or owned.count == 0) return;
        const next = owned.free[owned.count - 1];
        const granule = blockGranule(region, owned.slab, pool.sizeClass(), next);
        const bytes: [*]u8 = @ptrCast(region.pointer(u8, granule));
        @prefetch(bytes, .{ .rw = .write });
        if (pool.sizeClass().granules > 1) @prefetch(bytes + 64, .{ .rw = .write });
    }

    /// Gives back a block that was set aside and not used.
    pub fn putBack(pool: *Pool, region: *const Region, block: Block) void {
        const slab = region.slabOf(block.granule);
        for (pool.slabs.items) |*owned| {
            if (owned.slab != slab) continue;
            const size = pool.sizeClass();
            const within = block.granule - region.slabGranule(slab) - size.header;
            owned.free[owned.count] = @intCast(within / size.granules);
            owned.count += 1;
            pool.free_count += 1;
            return;
        }
        unreachable; // a block comes from a slab that the pool owns
    }

    /// Makes sure that the next `count` calls of `take` succeed.
    pub fn reserve(pool: *Pool, allocator: *Allocator, count: u64) Error!void {
        while (pool.free_count < count) try pool.refill(allocator);
    }

    inline fn sizeClass(pool: *const Pool) SizeClass {
        return size_classes[pool.kind.size];
    }

    /// Finds more free blocks: in the slabs it owns, in slabs that nobody owns, in new ones.
    fn refill(pool: *Pool, allocator: *Allocator) Error!void {
        const before = pool.free_count;
        pool.rescanOwned(allocator.region);
        if (pool.free_count > before) return;
        pool.dropEmpty(allocator);
        if (allocator.nothing_freed and try pool.takeNew(allocator)) return;
        if (pool.recycled_percent < crowded_percent and !allocator.isPressed()) {
            if (pool.isCrowded(allocator.region) and try pool.takeNew(allocator)) return;
            pool.recycled_percent = 100;
        }
        if (try pool.takeRecycled(allocator, false)) return;
        if (try pool.takeNew(allocator)) return;
        if (try pool.takeRecycled(allocator, true)) return;
        return error.RegionFull;
    }

    /// Slabs with fewer free blocks than this, in percent, are not worth the search.
    const crowded_percent = 12;

    /// Whether slabs of the kind are nearly full everywhere. Where the rotor is they may be so by
    /// chance: right behind the rotor of another slot, which has just filled them. Looks at some at
    /// random, and moves the rotor to the best of these.
    ///
    /// Without it two slots that update the same rows take new slabs now and then, for ever.
    fn isCrowded(pool: *Pool, region: *const Region) bool {
        const top = @min(region.control.memory.slab_top.load(.acquire), region.slab_count);
        if (top == 0) return true;
        const count = pool.sizeClass().count;
        var looks: u32 = 0;
        var free_sum: u32 = 0;
        var best: u32 = 0;
        for (0..128) |_| {
            pool.random = pool.random *% 6364136223846793005 +% 1442695040888963407;
            const slab: u32 = @intCast((pool.random >> 33) % top);
            if (region.slab_metas[slab].kind.load(.monotonic) != pool.kind.bits()) continue;
            var free_here: u32 = 0;
            for (0..count) |index| {
                const word = stateWord(region, slab, @intCast(index)).load(.monotonic);
                if (!State.isUsed(word)) free_here += 1;
            }
            free_sum += free_here;
            if (free_here > best) {
                best = free_here;
                pool.rotor = slab;
            }
            looks += 1;
            if (looks == 8) break;
        }
        return free_sum * 100 < looks * count * crowded_percent or looks == 0;
    }

    fn rescanOwned(pool: *Pool, region: *const Region) void {
        for (pool.slabs.items) |*owned| {
            const meta = &region.slab_metas[owned.slab];
            if (owned.count == 0 and meta.has_free.load(.monotonic) != 0) pool.scan(region, owned);
        }
    }

    /// Lists the free blocks of an owned slab whose list is empty.
    fn scan(pool: *Pool, region: *const Region, owned: *Owned) void {
        assert(owned.count == 0);
        region.slab_metas[owned.slab].has_free.store(0, .seq_cst);
        var index = pool.sizeClass().count;
        while (index > 0) { // the list is a stack: the first block ends on top
            index -= 1;
            if (State.isUsed(stateWord(region, owned.slab, index).load(.acquire))) continue;
            owned.free[owned.count] = @intCast(index);
            owned.count += 1;
        }
        pool.free_count += owned.count;
    }

    fn dropEmpty(pool: *Pool, allocator: *Allocator) void {
        var at: usize = 0;
        while (at < pool.slabs.items.len) {
            const owned = pool.slabs.items[at];
            if (owned.count > 0) {
                at += 1;
                continue;
            }
            _ = pool.slabs.swapRemove(at);
            allocator.gpa.free(owned.free);
            allocator.region.slab_metas[owned.slab].owner.store(0, .release);
        }
    }

    fn adopt(pool: *Pool, allocator: *Allocator, slab: u32) Error!bool {
        const list = allocator.gpa.alloc(u16, pool.sizeClass().count) catch {
            allocator.region.slab_metas[slab].owner.store(0, .release);
            return error.OutOfMemory;
        };
        var owned: Owned = .{ .slab = slab, .free = list, .count = 0 };
        pool.scan(allocator.region, &owned);
        if (owned.count > 0) {
            if (pool.slabs.append(allocator.gpa, owned)) |_| return true else |_| {}
            pool.free_count -= owned.count;
            allocator.region.slab_metas[slab].has_free.store(1, .release);
        }
        allocator.gpa.free(list);
        allocator.region.slab_metas[slab].owner.store(0, .release);
        return false;
    }

    /// Takes a slab of the kind that nobody owns. `thorough` looks behind the hint as well.
    fn takeRecycled(pool: *Pool, allocator: *Allocator, thorough: bool) Error!bool {
        const region = allocator.region;
        const top = @min(region.control.memory.slab_top.load(.acquire), region.slab_count);
        var steps: u32 = 0;
        while (steps < top) : (steps += 1) {
            const slab = pool.rotor % top;
            pool.rotor = slab + 1;
            const meta = &region.slab_metas[slab];
            if (meta.kind.load(.monotonic) != pool.kind.bits()) continue;
            if (!thorough and meta.has_free.load(.monotonic) == 0) continue;
            if (meta.owner.load(.monotonic) != 0) continue;
            if (meta.owner.cas(0, allocator.owner, .acq_rel, .monotonic) != null) continue;
            const before = pool.free_count;
            if (try pool.adopt(allocator, slab)) {
                const percent = (pool.free_count - before) * 100 / pool.sizeClass().count;
                pool.recycled_percent = @intCast((pool.recycled_percent * 3 + percent) / 4);
                return true;
            }
        }
        return false;
    }

    /// Takes a slab that was never used.
    fn takeNew(pool: *Pool, allocator: *Allocator) Error!bool {
        const region = allocator.region;
        const urgent = allocator.use_reserve or pool.kind.class == .log_chunk;
        const kept = if (urgent) 0 else reserveOf(region);
        const taken = takeUnused(region, allocator.owner, pool.kind, kept);
        const found = taken catch |err| switch (err) {
            // No more memory to back a new slab; there may be free blocks in used ones.
            error.RegionFull => null,
            error.OutOfMemory => return err,
        };
        const slab = found orelse return false;
        pool.recycled_percent = 100;
        return pool.adopt(allocator, slab);
    }

    /// Gives every slab back. The blocks in use stay in use.
    fn release(pool: *Pool, allocator: *Allocator) void {
        for (pool.slabs.items) |owned| {
            const meta = &allocator.region.slab_metas[owned.slab];
            if (owned.count > 0) meta.has_free.store(1, .release);
            meta.owner.store(0, .release);
            allocator.gpa.free(owned.free);
        }
        pool.slabs.deinit(allocator.gpa);
        pool.* = .{ .kind = pool.kind, .random = pool.random };
    }
};

/// Slabs that only log chunks and deletes may take, so that a full region can be emptied.
pub fn reserveOf(region: *const Region) u32 {
    return std.math.clamp(region.slab_count / 64, 2, 64);
}

/// Blocks of a slab that are free now.
pub fn countFree(region: *const Region, slab: u32, kind: SlabKind) u32 {
    var count: u32 = 0;
    for (0..size_classes[kind.size].count) |index| {
        const word = stateWord(region, slab, @intCast(index)).load(.monotonic);
        count += @intFromBool(!State.isUsed(word));
    }
    return count;
}

/// Takes a slab that was never used and gives it a kind, or null if there is none.
/// `owner` is slot + 1, or a number that no slot has for slabs which nobody allocates from.
/// `kept` slabs at the region's end are left alone.
pub fn takeUnused(region: *const Region, owner: u32, kind: SlabKind, kept: u32) Error!?u32 {
    const end_slab = region.slab_count - kept;
    const memory = &region.control.memory;
    var slab = memory.slab_top.load(.acquire);
    // A process killed between the two stores below leaves a slab of kind none under the top.
    var wrapped = false;
    while (true) : (slab += 1) {
        if (slab >= end_slab) {
            if (wrapped) return null;
            wrapped = true;
            slab = 0;
        }
        const meta = &region.slab_metas[slab];
        if (meta.kind.load(.acquire) != 0 or meta.owner.load(.acquire) != 0) continue;
        if (region.grow) |grow| {
            // With the reserve, so that it is there when the file system is full.
            const backed = @min(slab + 1 + kept, region.slab_count);
            const end = (@as(u64, region.slabs_first) + @as(u64, backed) * limits.slab_granules) *
                limits.granule_size;
            if (memory.committed.load(.acquire) < end) try grow(region.grow_context, end);
        }
        if (meta.owner.cas(0, owner, .acq_rel, .monotonic) != null) continue;
        if (meta.kind.load(.acquire) != 0) { // taken, set and given back since the look above
            meta.owner.store(0, .release);
            continue;
        }
        meta.kind.store(kind.bits(), .release);
        _ = memory.slab_top.fetchMax(slab + 1, .acq_rel);
        return slab;
    }
}

/// All pools of one slot.
pub const Allocator = struct {
    region: *const Region,
    gpa: std.mem.Allocator,
    /// Slot + 1.
    owner: u32,
    /// Set while a row is deleted: what frees memory must work when there is none.
    use_reserve: bool = false,
    /// Nobody has freed anything yet, so there is no use in looking for slabs with free blocks
    /// before new ones are used up: while a region is filled.
    nothing_freed: bool = false,
    pools: std.ArrayList(*Pool) = .empty,

    pub fn pool(allocator: *Allocator, kind: SlabKind) Error!*Pool {
        for (allocator.pools.items) |candidate| {
            if (candidate.kind.bits() == kind.bits()) return candidate;
        }
        const created = try allocator.gpa.create(Pool);
        errdefer allocator.gpa.destroy(created);
        // Different slots begin at different places, so that they do not meet at each slab.
        created.* = .{
            .kind = kind,
            .rotor = allocator.owner *% 2654435761 % 1024,
            .random = allocator.owner,
        };
        try allocator.pools.append(allocator.gpa, created);
        return created;
    }

    /// Three quarters of the region are in slabs: recycle before taking new ones.
    pub fn isPressed(allocator: *const Allocator) bool {
        const top = allocator.region.control.memory.slab_top.load(.monotonic);
        return top > allocator.region.slab_count / 4 * 3;
    }

    /// Gives all slabs back, for others to take, and keeps the pools, which find slabs again when
    /// they need some. No block is set aside.
    pub fn giveBack(allocator: *Allocator) void {
        for (allocator.pools.items) |entry| entry.release(allocator);
    }

    /// Gives all slabs back for good.
    pub fn release(allocator: *Allocator) void {
        allocator.giveBack();
        for (allocator.pools.items) |entry| {
            allocator.gpa.destroy(entry);
        }
        allocator.pools.deinit(allocator.gpa);
        allocator.pools = .empty;
    }
};

/// Gives back every slab of a slot whose process is dead. The caller holds the right to recover it.
pub fn releaseOwned(region: *const Region, owner: u32) void {
    const top = @min(region.control.memory.slab_top.load(.acquire) + 1, region.slab_count);
    for (region.slab_metas[0..top]) |*meta| {
        if (meta.owner.load(.acquire) != owner) continue;
        meta.has_free.store(1, .release);
        meta.owner.store(0, .release);
    }
}

test "size classes: blocks and state words fill a slab without overlap" {
    for (size_classes) |size| {
        try std.testing.expect(size.count >= 1);
        try std.testing.expect(size.header * limits.granule_size >= size.count * 4);
        try std.testing.expect(size.header + size.count * size.granules <= limits.slab_granules);
    }
}

test "sizeClassFor: the smallest class that holds the block" {
    try std.testing.expectEqual(1, size_classes[sizeClassFor(1)].granules);
    try std.testing.expectEqual(10, size_classes[sizeClassFor(9)].granules);
}
