//! Which secondary indexes a table has.
//!
//! The roots of a table's indexes are a list in the region: `control.catalogue.indexes[table]`
//! names the first, each root the next. Roots are only added, at the end, by whoever holds the lock
//! byte of declarations, and the catalogue's version is raised after that. A process keeps a
//! private copy of the list and looks for more when the version has changed.
//!
//! A writer looks after it has shown in its slot's word that it installs. So whoever adds an index
//! to a table with rows has to wait only for the writers that it sees in flight, and then enters
//! what is there (`index_build.zig`).
//!
//! Roots stand in slabs of their own, whose state words stay "unused": what is in use follows from
//! the lists. Killed before a root is named: the next declaration writes over it.

const std = @import("std");
const sync = @import("sync");
const index_key = @import("index_key.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const region_module = @import("region.zig");
const slabs = @import("slabs.zig");
const table_info = @import("table_info.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Region = region_module.Region;
const Root = ordered_index.Root;
const Shm = sync.Shm;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

/// Indexes of one table.
pub const count_max = if (sync.sim) 4 else 64;

/// One index, as this process knows it. Does not change.
pub const Index = struct {
    /// Granule of its root.
    root: u32,
    number: u8,
    /// A copy.
    keys: index_key.Layout,
    /// Bit i: column i is part of the key.
    mask: u64,
    unique: bool,

    pub fn rootOf(index: *const Index, region: *const Region) *Root {
        return region.pointer(Root, index.root);
    }

    pub fn phase(index: *const Index, region: *const Region) Root.Phase {
        return @enumFromInt(index.rootOf(region).phase.load(.acquire));
    }

    /// Whether a snapshot finds all its rows here.
    pub fn serves(index: *const Index, region: *const Region, snapshot: u64) bool {
        if (index.phase(region) != .ready) return false;
        return index.rootOf(region).ready_at.load(.acquire) <= snapshot;
    }

    /// Distinct values of the indexed columns. Exact while nobody writes.
    pub fn distinct(index: *const Index, region: *const Region) u64 {
        return @intCast(@max(index.rootOf(region).distinct.load(.monotonic), 0));
    }
};

/// The indexes of one table. Does not move. For any thread.
pub const TableIndexes = struct {
    region: *const Region,
    table: *const TableInfo,
    items: [count_max]Index = undefined,
    count: Shm(u32) = .init(0),
    /// The catalogue's version when the list was read.
    version: Shm(u32) = .init(std.math.maxInt(u32)),
    mutex: ProcessMutex = .{},

    pub fn init(region: *const Region, table: *const TableInfo) TableIndexes {
        return .{ .region = region, .table = table };
    }

    /// All indexes that are there now.
    pub inline fn current(indexes: *TableIndexes) []const Index {
        const version = indexes.region.control.catalogue.version.load(.acquire);
        if (indexes.version.load(.acquire) != version) indexes.refresh(version);
        return indexes.items[0..indexes.count.load(.acquire)];
    }

    fn refresh(indexes: *TableIndexes, version: u32) void {
        @branchHint(.cold);
        indexes.mutex.lock();
        defer indexes.mutex.unlock();
        const region = indexes.region;
        var count = indexes.count.load(.monotonic);
        while (count < count_max) : (count += 1) {
            const granule = if (count == 0)
                region.control.catalogue.indexes[indexes.table.id].load(.acquire)
            else
                indexes.items[count - 1].rootOf(region).next.load(.acquire);
            if (granule == 0) break;
            indexes.items[count] = read(region, indexes.table, granule) orelse break;
        }
        // Release: whoever sees the count sees the items.
        indexes.count.store(count, .release);
        indexes.version.store(version, .release);
    }

    pub fn byNumber(indexes: *TableIndexes, number: u32) ?*const Index {
        const items = indexes.current();
        return if (number < items.len) &items[number] else null;
    }
};

/// The indexes of a table; none if it is not one of a region.
pub inline fn of(table: *const TableInfo) []const Index {
    const indexes = table.indexes orelse return &.{};
    return indexes.current();
}

/// Null for bytes that no engine has written.
fn read(region: *const Region, table: *const TableInfo, granule: u32) ?Index {
    if (granule < region.slabs_first) return null;
    if (region.slabOf(granule) >= region.slab_count) return null;
    const root = region.pointer(Root, granule);
    const keys = root.keys;
    if (keys.count == 0 or keys.count > index_key.column_count_max) return null;
    for (keys.slice()) |*part| if (part.number >= table.column_count) return null;
    return .{
        .root = granule,
        .number = root.index,
        .keys = keys,
        .mask = keys.mask(),
        .unique = root.flags & Root.flag_unique != 0,
    };
}

/// The root of an index by its number, or 0. For those who clean up and have no list.
pub fn rootOf(region: *const Region, table: u32, number: u32) u32 {
    if (table >= limits.table_count_max) return 0;
    var at = region.control.catalogue.indexes[table].load(.acquire);
    for (0..number) |_| {
        if (at == 0) return 0;
        at = region.pointer(Root, at).next.load(.acquire);
    }
    return at;
}

const slab_kind: slabs.SlabKind = .of(.index_root, 0, ordered_index.root_granules);
const slab_block = slabs.size_classes[slab_kind.size];
/// Owner of these slabs: a number that no slot has.
const slab_owner: u32 = std.math.maxInt(u32) - 1;

/// What to add.
pub const Declaration = struct { keys: index_key.Layout, unique: bool, phase: Root.Phase };

/// Adds an index to a table, for those who look from now on; see `announce`. The caller holds the
/// lock byte of declarations. Returns its root.
pub fn add(
    region: *const Region,
    table: u8,
    declaration: Declaration,
) error{ RegionFull, OutOfMemory, InvalidSchema }!u32 {
    const granule = try place(region);
    const root = region.pointer(Root, granule);
    var count: u8 = 0;
    var link = &region.control.catalogue.indexes[table];
    while (link.load(.acquire) != 0) : (count += 1) {
        if (count + 1 >= count_max) return error.InvalidSchema;
        link = &region.pointer(Root, link.load(.acquire)).next;
    }
    root.next.store(0, .monotonic);
    root.phase.store(@intFromEnum(declaration.phase), .monotonic);
    root.distinct.store(0, .monotonic);
    root.recount.store(0, .monotonic);
    root.ready_at.store(0, .monotonic);
    root.summarized.store(0, .monotonic);
    root.table = table;
    root.index = count;
    root.flags = if (declaration.unique) Root.flag_unique else 0;
    root.keys = declaration.keys;
    for (&root.heads) |*head| head.store(0, .monotonic);
    // Release: pairs with the acquire in `refresh`.
    link.store(granule, .release);
    return granule;
}

/// Makes every process look for new indexes.
pub fn announce(region: *const Region) void {
    _ = region.control.catalogue.version.fetchAdd(1, .seq_cst);
}

/// Changes what an index is good for.
pub fn setPhase(region: *const Region, granule: u32, phase: Root.Phase) void {
    region.pointer(Root, granule).phase.store(@intFromEnum(phase), .release);
    announce(region);
}

fn place(region: *const Region) error{ RegionFull, OutOfMemory }!u32 {
    const top = @min(region.control.memory.slab_top.load(.acquire) + 1, region.slab_count);
    for (region.slab_metas[0..top], 0..) |*meta, i| {
        if (meta.owner.load(.acquire) != slab_owner) continue;
        const slab: u32 = @intCast(i);
        if (meta.kind.load(.acquire) == 0) {
            // Whoever took it was killed before it said what for.
            meta.kind.store(slab_kind.bits(), .release);
            _ = region.control.memory.slab_top.fetchMax(slab + 1, .acq_rel);
        }
        for (0..slab_block.count) |block| {
            const granule = slabs.blockGranule(region, slab, slab_block, @intCast(block));
            if (!isNamed(region, granule)) return granule;
        }
    }
    const kept = slabs.reserveOf(region);
    const slab = try slabs.takeUnused(region, slab_owner, slab_kind, kept) orelse
        return error.RegionFull;
    return slabs.blockGranule(region, slab, slab_block, 0);
}

fn isNamed(region: *const Region, granule: u32) bool {
    for (&region.control.catalogue.indexes) |*first| {
        var at = first.load(.acquire);
        while (at != 0) {
            if (at == granule) return true;
            at = region.pointer(Root, at).next.load(.acquire);
        }
    }
    return false;
}
