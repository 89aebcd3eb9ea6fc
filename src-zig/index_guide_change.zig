//! Changing the guide of an index: hints come and go, blocks split and are taken out.
//!
//!     entry linked   -> hint added -> block full: split -> hint added one level above ...
//!     entry unlinked -> hint dropped -> block empty: taken out -> hint dropped one level above ...
//!
//! Each arrow may be missed: by a kill, for want of memory, or because somebody was faster. What is
//! left is a guide that knows a little less. Only memory is accounted for to the last block.
//!
//! A new block is named by its maker's slot until one swap has put it behind the block that it was
//! split from. A block that goes is claimed, marked and unlinked as an entry is, under a log entry
//! of kind `guide_retire`. Killed between: recovery looks whether a block came into its level, or
//! goes on with taking it out.

const std = @import("std");
const sync = @import("sync");
const index_guide = @import("index_guide.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_summary = @import("index_summary.zig");
const ordered_index = @import("ordered_index.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const vacuum = @import("vacuum.zig");
const version_module = @import("version.zig");
const Block = index_guide_block.Block;
const Entry = slot_log.Entry;
const Guide = index_guide.Guide;
const Key = Guide.Key;
const Link = version_module.Link;
const Probe = ordered_index.Probe;
const Reference = index_guide_block.Reference;
const RelPtr = version_module.RelPtr;
const Session = @import("session.zig").Session;
const Trail = index_guide.Trail;
const blockAt = index_guide_block.blockAt;
const block_count = index_guide_block.block_count;
const level_count = index_guide_block.level_count;

/// What a reference is made for.
const Target = struct {
    reference: Reference,
    prefix: u64,
    probe: Probe,
};

/// Adds a hint for an entry that is in the list. The session is pinned.
pub fn add(guide: Guide, session: *Session, granule: RelPtr, trail: *const Trail) void {
    const node = ordered_index.nodeAt(guide.region, granule);
    const target: Target = .{
        .reference = .{ .granule = granule, .generation = node.generation.load(.monotonic) },
        .prefix = node.prefix,
        .probe = .entry(node.key(), node.row, node.prefix),
    };
    insert(guide, session, 1, &target, trail.*);
}

/// Adds a reference to the block of a level where it belongs, perhaps where a search has been.
fn insert(
    guide: Guide,
    session: *Session,
    level: usize,
    target: *const Target,
    trail: Trail,
) void {
    if (level == level_count) return;
    var granule = trail.block;
    for (0..4) |_| {
        if (granule == 0) granule = guide.blockOf(level, &target.probe);
        if (granule == 0) {
            if (!begin(guide, session, level)) return;
            continue;
        }
        const block = blockAt(guide.region, granule);
        block.acquire(session.slot_index);
        var new: RelPtr = 0;
        const done = insertLocked(guide, session, granule, target, trail.at, &new);
        block.release(session.slot_index);
        if (new != 0) addBlock(guide, session, level + 1, new);
        if (done) return;
        granule = 0;
    }
}

/// False if there was no room, or the reference belongs to another block.
fn insertLocked(
    guide: Guide,
    session: *Session,
    granule: RelPtr,
    target: *const Target,
    likely: u32,
    new: *RelPtr,
) bool {
    const block = blockAt(guide.region, granule);
    if (block.claim.load(.acquire) != 0) return false;
    if (guide.goRight(granule, &target.probe) != granule) return false;
    const count = block.used();
    const at = if (block.isLeast(likely, count, std.math.maxInt(u64), target.prefix))
        guide.positionFrom(likely, block, count, &target.probe)
    else
        guide.position(block, count, &target.probe);
    if (at < count and block.reference(at) == target.reference) return true;
    if (count == block_count) {
        new.* = makeRoom(guide, session, block, at);
        return new.* == 0 and block.used() == block_count;
    }
    block.putAt(at, count, target.prefix, target.reference);
    return true;
}

/// Drops what is stale, and splits the block if that gives too little. Returns the new block.
fn makeRoom(guide: Guide, session: *Session, block: *Block, at: u32) RelPtr {
    const count = block.sweep(guide.region);
    if (count * 4 <= block_count * 3) return 0;
    // Keys that rise leave full blocks behind.
    const is_last = Link.from(block.link.load(.acquire)).node == 0;
    const rises = is_last and at * 4 >= block_count * 3;
    const half = if (rises) @max(1, @min(at, count - 1)) else count / 2;
    return split(guide, session, block, half, count);
}

/// Moves the references from `half` on to a new block. 0 if there is no memory, or somebody
/// else was faster.
fn split(guide: Guide, session: *Session, block: *Block, half: u32, count: u32) RelPtr {
    const region = guide.region;
    const least = block.reference(half);
    if (!least.isLinked(region)) return 0;
    const key = guide.keyOf(block.level, least.granule);
    const link = block.link.load(.acquire);
    if (!fits(guide, block, link, key)) return 0;
    const made = newBlock(guide, session, block.level, key) orelse return 0;
    const new = blockAt(region, made.granule);
    for (half..count, 0..) |from, to| {
        new.prefixes[to].store(block.prefixes[from].load(.monotonic), .monotonic);
        new.references[to].store(block.references[from].load(.monotonic), .monotonic);
    }
    new.count.store(count - half, .monotonic);
    new.high_prefix.store(block.high_prefix.load(.monotonic), .monotonic);
    new.link.store(link, .release);
    // First: one that is too small only makes others look to the right.
    block.high_prefix.store(new.low_prefix, .release);
    const right: Link = .to(made.granule);
    index_summary.clearLeft(block);
    const linked = block.link.cas(link, right.bits(), .acq_rel, .acquire) == null;
    if (linked) block.count.store(half, .release);
    return finishNew(guide, session, made, linked);
}

/// Whether a block whose least key is `key` may stand between a block and what it links to.
/// Somebody who took the lock away may have split the block meanwhile.
fn fits(guide: Guide, block: *const Block, link: u64, key: Key) bool {
    const probe: Probe = .entry(key.bytes, 0, key.prefix);
    if (Link.from(link).marked or block.order(&probe) != .lt) return false;
    const next = Link.from(link).node;
    return next == 0 or blockAt(guide.region, next).order(&probe) == .gt;
}

/// Makes a block that is in use, and named by the slot until `finishNew`.
fn newBlock(guide: Guide, session: *Session, level: u8, key: Key) ?slabs.Block {
    const taken = makeBlock(guide, &session.allocator, level, key) catch return null;
    session.slot.guide_block.store(taken.granule, .release);
    taken.use();
    return taken;
}

/// Makes a block that is not in use yet. It has no references and leads nowhere.
pub fn makeBlock(
    guide: Guide,
    allocator: *slabs.Allocator,
    level: u8,
    key: Key,
) slabs.Error!slabs.Block {
    const pool = try allocator.pool(index_guide_block.kindOf(guide.root.table, key.bytes.len));
    const taken = try pool.take(allocator);
    const block = blockAt(guide.region, taken.granule);
    block.generation.store(taken.generation, .release);
    block.lock.store(0, .monotonic);
    block.root = guide.root_granule;
    block.level = level;
    block.reserved = 0;
    block.low_size = @intCast(key.bytes.len);
    block.low_prefix = key.prefix;
    block.high_prefix.store(std.math.maxInt(u64), .monotonic);
    block.count.store(0, .monotonic);
    block.claim.store(0, .monotonic);
    block.summary.store(0, .monotonic);
    const bytes: [*]u8 = @ptrCast(block);
    sync.copyIn(bytes + @sizeOf(Block), key.bytes.ptr, key.bytes.len);
    block.link.store(0, .release);
    return taken;
}

fn finishNew(guide: Guide, session: *Session, made: slabs.Block, linked: bool) RelPtr {
    if (!linked) slabs.free(guide.region, made.granule, made.generation);
    session.slot.guide_block.store(0, .release);
    return if (linked) made.granule else 0;
}

/// Makes the first block of a level. False if there is no memory.
fn begin(guide: Guide, session: *Session, level: usize) bool {
    const first: Key = .{ .bytes = "", .prefix = 0 };
    const made = newBlock(guide, session, @intCast(level), first) orelse return false;
    const block = blockAt(guide.region, made.granule);
    if (level > 1) {
        const below = Link.from(guide.root.heads[level - 1].load(.acquire)).node;
        const generation = blockAt(guide.region, below).generation.load(.acquire);
        const reference: Reference = .{ .granule = below, .generation = generation };
        block.prefixes[0].store(0, .monotonic);
        block.references[0].store(reference.bits(), .monotonic);
        block.count.store(1, .monotonic);
    }
    const link: Link = .to(made.granule);
    const head = &guide.root.heads[level];
    const linked = head.cas(0, link.bits(), .acq_rel, .acquire) == null;
    _ = finishNew(guide, session, made, linked);
    return true;
}

/// Tells the level above of a block.
fn addBlock(guide: Guide, session: *Session, level: usize, granule: RelPtr) void {
    const block = blockAt(guide.region, granule);
    const target: Target = .{
        .reference = .{
            .granule = granule,
            .generation = block.generation.load(.monotonic),
        },
        .prefix = block.low_prefix,
        .probe = .entry(block.low(), 0, block.low_prefix),
    };
    insert(guide, session, level, &target, .{});
}

/// Drops the hint for something that has gone from the list below `level`, whose prefix is given.
/// The block of `near` is one of the level, at which or right of which the hint stands, likely at
/// its place. Returns the block if that is empty now and may go, else 0.
pub fn drop(guide: Guide, slot: u32, near: Trail, granule: RelPtr, prefix: u64) RelPtr {
    var at = near.block;
    for (0..2) |_| {
        if (at == 0) return 0;
        const block = blockAt(guide.region, at);
        if (block.indexNear(granule, prefix, near.at)) |found| {
            block.acquire(slot);
            const left = block.drop(granule, prefix, found);
            block.release(slot);
            return if (left == 0 and block.low_size != 0) at else 0;
        }
        at = Link.from(block.link.load(.acquire)).node;
    }
    return 0;
}

/// Takes an empty block out of its level, and those above that become empty by that. The
/// session is pinned and runs no transaction.
pub fn reclaim(guide: Guide, session: *Session, granule: RelPtr) void {
    var empty = granule;
    while (empty != 0) {
        const block = blockAt(guide.region, empty);
        if (block.used() != 0 or block.claim.load(.acquire) != 0) return;
        empty = takeOut(guide, session, empty);
    }
}

fn takeOut(guide: Guide, session: *Session, granule: RelPtr) RelPtr {
    session.reserveLog(1) catch return 0;
    const block = blockAt(guide.region, granule);
    const entry = session.append(.{
        .kind = .guide_retire,
        .table = guide.root.table,
        .block = granule,
        .generation = block.generation.load(.monotonic),
        .old = 0,
        .old_generation = guide.root.index,
        .row = 0,
        .ts = .init(slot_log.ts_unfinished),
    });
    if (block.claim.cas(0, session.slot_index + 1, .acq_rel, .acquire) != null) {
        entry.kind = .nop;
        entry.ts.store(1, .release);
        return 0;
    }
    return finishTakeOut(guide, session.slot_index, entry);
}

/// Goes on with an entry of kind `guide_retire` whose block the slot has claimed. Returns a
/// block of the level above that is empty now, or 0. Can be repeated.
pub fn finishTakeOut(guide: Guide, slot: u32, entry: *Entry) RelPtr {
    const block = blockAt(guide.region, entry.block);
    const level = block.level;
    ordered_index.mark(&block.link);
    unlink(guide, level, block);
    var empty: RelPtr = 0;
    if (level + 1 < level_count and block.low_size != 0) {
        const near = guide.blockOf(level + 1, &.entry(block.low(), 0, block.low_prefix));
        empty = drop(guide, slot, .{ .block = near }, entry.block, block.low_prefix);
    }
    sync.fence();
    entry.ts.store(vacuum.retirePosition(guide.region), .release);
    return empty;
}

/// Takes marked blocks out of a level up to `block`.
fn unlink(guide: Guide, level: u8, block: *const Block) void {
    const probe: Probe = .entry(block.low(), 0, block.low_prefix);
    retry: while (true) {
        var left = leftOf(guide, level, &probe);
        while (true) {
            const link = if (left) |at| &at.link else &guide.root.heads[level];
            const word = link.load(.acquire);
            const to: Link = .from(word);
            if (to.marked) continue :retry;
            if (to.node == 0) return;
            const next = blockAt(guide.region, to.node);
            const behind: Link = .from(next.link.load(.acquire));
            if (behind.marked) {
                const after: Link = .to(behind.node);
                if (left) |at| index_summary.clearLeft(at);
                if (link.cas(word, after.bits(), .acq_rel, .acquire) != null) continue :retry;
                if (next == block) return;
                continue;
            }
            if (next.order(&probe) == .gt) return;
            left = next;
        }
    }
}

/// A block of a level at the left of a key, or null for the start of the level.
fn leftOf(guide: Guide, level: u8, probe: *const Probe) ?*Block {
    const granule = guide.blockOf(level, probe);
    if (granule != 0) {
        const block = blockAt(guide.region, granule);
        const is_marked = Link.from(block.link.load(.acquire)).marked;
        if (!is_marked and block.order(probe) == .lt) return block;
    }
    return null;
}

/// Takes a block out of an index that has no entries and is not kept by anybody. The session is
/// pinned and runs no transaction. False if there was none.
pub fn clearOne(guide: Guide, session: *Session) bool {
    var level: usize = level_count - 1;
    while (level > 0) : (level -= 1) {
        const first = Link.from(guide.root.heads[level].load(.acquire)).node;
        if (first == 0) continue;
        _ = takeOut(guide, session, first);
        return true;
    }
    return false;
}
