//! Building the indexes of a region that nobody else sees yet, from its rows.
//!
//! Entries are made in the order of the rows, sorted by key, and linked from the first to the last
//! on every level at once: no searches. Several workers build several indexes at a time; one index
//! is built by one.
//!
//! The region has one committed version for each node and no index has entries yet. Killed
//! anywhere: the region is never seen.

const std = @import("std");
const sync = @import("sync");
const index_entry = @import("index_entry.zig");
const index_key = @import("index_key.zig");
const limits = @import("limits.zig");
const ordered_index = @import("ordered_index.zig");
const reader = @import("reader.zig");
const region_loader = @import("region_loader.zig");
const slabs = @import("slabs.zig");
const table_indexes = @import("table_indexes.zig");
const version_module = @import("version.zig");
const Index = table_indexes.Index;
const Link = version_module.Link;
const Position = version_module.Position;
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

    const Item = struct {
        /// The first 8 bytes of the key, which decide most comparisons without another load.
        prefix: u64,
        node: RelPtr,
    };

    fn build(entries: *Entries, ready_at: Position) Error!void {
        const region = entries.worker.region;
        const index = entries.job.index;
        try entries.make();
        std.sort.pdq(Item, entries.items.items, region, isLess);
        const root = index.rootOf(region);
        if (index.unique and !entries.isUnique()) {
            for (entries.items.items) |item| {
                slabs.free(region, item.node, slabs.generationOf(region, item.node));
            }
            return root.phase.store(@intFromEnum(ordered_index.Root.Phase.none), .release);
        }
        entries.link(root);
        root.ready_at.store(ready_at, .release);
        root.phase.store(@intFromEnum(ordered_index.Root.Phase.ready), .release);
    }

    /// Makes a node for each row.
    fn make(entries: *Entries) Error!void {
        const worker = entries.worker;
        const region = worker.region;
        const table = entries.job.table;
        const root = entries.job.index.rootOf(region);
        var random: std.Random.SplitMix64 = .init(entries.job.index.root);
        var nodes: reader.Nodes = .init(region, table);
        // Once, because checked builds fill it.
        var key: index_key.Key = undefined;
        while (nodes.next()) |row| {
            const image = worker.rowOf(row);
            if (!root.keys.allows(image.size)) return error.Corrupt;
            key.encode(&root.keys, image);
            const height = ordered_index.heightOf(random.next());
            const kind = ordered_index.nodeKind(@intCast(table.id), height, key.size);
            const pool = try worker.allocator.pool(kind);
            const block = try pool.take(&worker.allocator);
            block.use();
            const node = ordered_index.nodeAt(region, block.granule);
            ordered_index.initNode(node, root, height, &key, row);
            node.state.store((ordered_index.State{ .phase = .live }).bits(), .release);
            try entries.items.append(worker.loader.gpa, .{
                .prefix = node.prefix,
                .node = block.granule,
            });
        }
    }

    fn isLess(region: *const Region, a: Item, b: Item) bool {
        if (a.prefix != b.prefix) return a.prefix < b.prefix;
        const left = ordered_index.nodeAt(region, a.node);
        const right = ordered_index.nodeAt(region, b.node);
        return std.mem.order(u8, left.key(), right.key()) == .lt;
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

    /// Links the sorted nodes, and counts the groups of equal columns.
    fn link(entries: *const Entries, root: *ordered_index.Root) void {
        const region = entries.worker.region;
        var last: [ordered_index.height_max]*Shm(u64) = undefined;
        for (&last, &root.links) |*to, *first| to.* = first;
        var groups: i64 = 0;
        var before: ?*const ordered_index.Node = null;
        for (entries.items.items) |item| {
            const node = ordered_index.nodeAt(region, item.node);
            for (0..node.height) |level| {
                last[level].store(Link.to(item.node).bits(), .monotonic);
                last[level] = &node.links()[level];
            }
            const same = if (before) |b| std.mem.eql(u8, b.columns(), node.columns()) else false;
            if (!same) groups += 1;
            before = node;
        }
        for (&last) |to| to.store(Link.to(0).bits(), .monotonic);
        root.distinct.store(groups, .release);
    }
};
