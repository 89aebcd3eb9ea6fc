//! Building the indexes of a region that nobody else sees yet, from its rows.
//!
//! Entries are made in the order of the rows, sorted by key, and linked from the first to the last,
//! with the guide to them (`index_guide.zig`), level above level: no searches. Several workers
//! build several indexes at a time; one index is built by one.
//!
//! The region has one committed version for each node and no index has entries yet. Killed
//! anywhere: the region is never seen.

const std = @import("std");
const sync = @import("sync");
const index_entry = @import("index_entry.zig");
const index_guide = @import("index_guide.zig");
const index_guide_block = @import("index_guide_block.zig");
const change = @import("index_guide_change.zig");
const index_key = @import("index_key.zig");
const index_sort = @import("index_sort.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const reader = @import("reader.zig");
const region_loader = @import("region_loader.zig");
const slabs = @import("slabs.zig");
const table_indexes = @import("table_indexes.zig");
const version_module = @import("version.zig");
const Index = table_indexes.Index;
const Link = version_module.Link;
const Item = index_sort.Item;
const OrderedIndex = ordered_index.OrderedIndex;
const Position = version_module.Position;
const Reference = index_guide_block.Reference;
const Region = @import("region.zig").Region;
const RelPtr = version_module.RelPtr;
const Shm = sync.Shm;
const TableInfo = @import("table_info.zig").TableInfo;
const Worker = region_loader.Worker;

pub const Error = region_loader.Error;

/// One index to build.
const Job = struct { table: *const TableInfo, index: *const Index };

pub const Build = struct {
    jobs: std.ArrayList(Job) = .empty,
    taken: Shm(u32) = .init(0),
    done: Shm(u32) = .init(0),
    /// Snapshots from this position on find their rows in the indexes.
    ready_at: Position,
    progress: Progress,

    pub const Progress = struct {
        context: *anyopaque,
        report: *const fn (context: *anyopaque, done: u64, total: u64) void,
    };
};

/// Builds every index in phase `building` of the tables. One that should be unique and cannot be is
/// left empty, in phase `none`.
pub fn buildAll(
    loader: *region_loader.Loader,
    tables: []const ?*const TableInfo,
    ready_at: Position,
    progress: Build.Progress,
) Error!void {
    var build: Build = .{ .ready_at = ready_at, .progress = progress };
    defer build.jobs.deinit(loader.gpa);
    for (tables) |entry| {
        const table = entry orelse continue;
        for (table_indexes.of(table)) |*index| {
            if (index.phase(loader.region) != .building) continue;
            try build.jobs.append(loader.gpa, .{ .table = table, .index = index });
        }
    }
    try loader.run(&build, work);
}

fn work(build: *Build, worker: *Worker) Error!void {
    const total = build.jobs.items.len;
    while (!worker.loader.isFailed()) {
        const number = build.taken.fetchAdd(1, .monotonic);
        if (number >= total) return;
        const job = &build.jobs.items[number];
        var entries: Entries = .{ .worker = worker, .job = job };
        defer entries.items.deinit(worker.loader.gpa);
        try entries.build(build.ready_at);
        const done = build.done.fetchAdd(1, .monotonic) + 1;
        if (worker.index == 0) build.progress.report(build.progress.context, done, total);
    }
}

/// The entries of one index, before and while they are linked.
const Entries = struct {
    worker: *Worker,
    job: *const Job,
    items: std.ArrayList(Item) = .empty,

    fn build(entries: *Entries, ready_at: Position) Error!void {
        const region = entries.worker.region;
        const index = entries.job.index;
        try entries.make();
        try index_sort.sort(entries.worker.loader.gpa, region, entries.items.items);
        const root = index.rootOf(region);
        if (index.unique and !entries.isUnique()) {
            for (entries.items.items) |item| {
                slabs.free(region, item.node, slabs.generationOf(region, item.node));
            }
            return root.phase.store(@intFromEnum(ordered_index.Root.Phase.none), .release);
        }
        try entries.link(root);
        root.ready_at.store(ready_at, .release);
        root.phase.store(@intFromEnum(ordered_index.Root.Phase.ready), .release);
    }

    /// Nodes and rows that are asked of memory before their turn.
    const ahead = if (sync.sim) 0 else 16;

    /// Makes a node for each row.
    fn make(entries: *Entries) Error!void {
        const worker = entries.worker;
        const region = worker.region;
        const table = entries.job.table;
        const root = entries.job.index.rootOf(region);
        var nodes: reader.Nodes = .init(region, table);
        // Once, because checked builds fill it.
        var key: index_key.Key = undefined;
        while (nodes.next()) |row| {
            const image = worker.rowOf(row);
            if (!root.keys.allows(image.size)) return error.Corrupt;
            key.encode(&root.keys, image);
            const kind = ordered_index.nodeKind(@intCast(table.id), key.size);
            const pool = try worker.allocator.pool(kind);
            const block = try pool.take(&worker.allocator);
            block.use();
            const node = ordered_index.nodeAt(region, block.granule);
            ordered_index.initNode(node, root, block.generation, &key, row);
            try entries.items.append(worker.loader.gpa, .{
                .word = node.prefix,
                .node = block.granule,
            });
        }
    }

    fn isUnique(entries: *const Entries) bool {
        const index = entries.job.index;
        const items = entries.items.items;
        for (items[0..items.len -| 1], 0..) |item, i| {
            const here = entries.rowAt(item);
            if (here.null_mask & index.mask != 0) continue;
            if (index.keys.isSame(here, entries.rowAt(items[i + 1]))) return false;
        }
        return true;
    }

    fn rowAt(entries: *const Entries, item: Item) @import("row.zig").RowRef {
        return entries.worker.rowOf(ordered_index.nodeAt(entries.worker.region, item.node).row);
    }

    /// Links the sorted nodes, leads to them, and counts the groups of equal columns.
    fn link(entries: *const Entries, root: *ordered_index.Root) Error!void {
        const region = entries.worker.region;
        const index: OrderedIndex = .at(region, entries.job.index.root);
        var levels: Levels = .{ .guide = index.guide(), .allocator = &entries.worker.allocator };
        var last: *Shm(u64) = &root.heads[0];
        var groups: i64 = 0;
        var before: ?*const ordered_index.Node = null;
        const items = entries.items.items;
        for (items, 0..) |item, i| {
            if (i + ahead < items.len) {
                @prefetch(ordered_index.nodeAt(region, items[i + ahead].node), .{ .rw = .write });
            }
            const node = ordered_index.nodeAt(region, item.node);
            last.store(Link.to(item.node).bits(), .monotonic);
            last = &node.link;
            try levels.add(1, item.node, node.generation.load(.monotonic));
            const same = if (before) |b| std.mem.eql(u8, b.columns(), node.columns()) else false;
            if (!same) groups += 1;
            before = node;
        }
        last.store(Link.to(0).bits(), .monotonic);
        root.distinct.store(groups, .release);
    }
};

/// The levels of a guide that is built from its first entry to its last.
const Levels = struct {
    guide: index_guide.Guide,
    allocator: *slabs.Allocator,
    /// The last block of each level, 0 while it has none.
    last: [index_guide_block.level_count]RelPtr = @splat(0),

    /// References of a block that is left behind: room for a few more.
    const full = index_guide_block.block_count - index_guide_block.block_count / 8;

    /// Adds a reference to what is one level below, and comes next.
    fn add(levels: *Levels, level: u8, granule: RelPtr, generation: u32) Error!void {
        if (level == index_guide_block.level_count) return;
        const region = levels.guide.region;
        const key = levels.guide.keyOf(level, granule);
        if (levels.last[level] == 0) try levels.begin(level);
        var block = index_guide_block.blockAt(region, levels.last[level]);
        if (block.count.raw == full) {
            const made = try change.makeBlock(levels.guide, levels.allocator, level, key);
            made.use();
            block.link.store(Link.to(made.granule).bits(), .monotonic);
            block.high_prefix.store(key.prefix, .monotonic);
            levels.last[level] = made.granule;
            try levels.add(level + 1, made.granule, made.generation);
            block = index_guide_block.blockAt(region, made.granule);
        }
        const at = block.count.raw;
        const reference: Reference = .{ .granule = granule, .generation = generation };
        block.prefixes[at].store(key.prefix, .monotonic);
        block.references[at].store(reference.bits(), .monotonic);
        block.count.store(at + 1, .monotonic);
    }

    /// Makes the first block of a level, which leads to the first one below.
    fn begin(levels: *Levels, level: u8) Error!void {
        const first: index_guide.Guide.Key = .{ .bytes = "", .prefix = 0 };
        const made = try change.makeBlock(levels.guide, levels.allocator, level, first);
        made.use();
        const heads = &levels.guide.root.heads;
        heads[level].store(Link.to(made.granule).bits(), .monotonic);
        levels.last[level] = made.granule;
        if (level == 1) return;
        const below = Link.from(heads[level - 1].raw).node;
        const block = index_guide_block.blockAt(levels.guide.region, below);
        try levels.add(level, below, block.generation.load(.monotonic));
    }
};
