//! Putting rows into a region that nobody else sees yet, by several threads at once.
//!
//! Recovery builds a region under a name that no process opens. So nothing here takes positions,
//! writes slot logs or waits for anybody: nodes and versions are put down as a committed
//! transaction leaves them after everything it superseded is gone, one version to a node. If the
//! process is killed, the region is never seen, and the next recovery begins anew.
//!
//! Each thread is a `Worker` with the slabs of one slot, as a session has them, because only the
//! owner of a slab takes blocks from it. Two ways to add rows:
//!
//!   * `insert`, for rows in any order by any worker: of two rows with one key the one with the
//!     larger position stays (a fuzzy snapshot can have both)
//!   * `find`, `put`, `remove`, for changes in their order: the caller gives all keys of a bucket
//!     to one worker (`shareOf`), so chains and rows have one writer
//!
//! Invariants when all workers have finished: every block in use is reachable, heads name versions
//! with their generations, `xmin` is a position, the row counts are exact, no slab has an owner.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const log_row = @import("log_row.zig");
const pk_map = @import("pk_map.zig");
const region_module = @import("region.zig");
const row_count = @import("row_count.zig");
const row_module = @import("row.zig");
const slabs = @import("slabs.zig");
const table_info = @import("table_info.zig");
const version_module = @import("version.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Head = version_module.Head;
const Position = version_module.Position;
const Region = region_module.Region;
const RelPtr = version_module.RelPtr;
const RowRef = row_module.RowRef;
const Shm = sync.Shm;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

pub const Error = slabs.Error || error{ Corrupt, IoError };

/// Most threads that load one region. A power of two, so that buckets are shared out evenly.
pub const worker_count_max = if (sync.sim) 2 else 16;

/// Workers for this machine.
pub fn workerCount() u32 {
    const processors = std.Thread.getCpuCount() catch 1;
    const wanted = std.math.clamp(processors, 1, worker_count_max);
    return std.math.floorPowerOfTwo(u32, @intCast(wanted));
}

/// Which of `count` workers has the bucket of a key.
pub inline fn shareOf(hash: u64, count: u32) u32 {
    assert(std.math.isPowerOfTwo(count));
    return @intCast(hash & (count - 1));
}

/// The key cell that a row has in its payload, as the map sees it. `error.Corrupt` if the payload
/// cannot be a row of the table.
pub fn keyOf(table: *const TableInfo, row: RowRef) error{Corrupt}!pk_map.Key {
    if (row.size < table.fixed_size or row.size > table.payload_size_max) return error.Corrupt;
    const column = &table.columns[table.primary_key];
    const cell = row.payload[column.offset..];
    if (column.kind != .text) return .of(@intCast(table.id), cell[0..column.cell_size]);
    const length = std.mem.readInt(u16, cell[0..2], .little);
    if (length > column.capacity) return error.Corrupt;
    return .of(@intCast(table.id), cell[0 .. 2 + length]);
}

/// What the workers of one recovery share. Must not move.
pub const Loader = struct {
    region: *const Region,
    gpa: std.mem.Allocator,
    workers: [worker_count_max]Worker = undefined,
    worker_count: u32,
    /// Guards the replacement of rows that a snapshot has twice.
    mutex: ProcessMutex = .{},
    /// Set by the first worker that fails; the others stop.
    failed: Shm(u32) = .init(0),

    pub fn init(
        loader: *Loader,
        region: *const Region,
        gpa: std.mem.Allocator,
        worker_count: u32,
    ) void {
        assert(worker_count >= 1 and worker_count <= worker_count_max);
        loader.* = .{ .region = region, .gpa = gpa, .worker_count = worker_count };
        for (loader.workers[0..worker_count], 0..) |*worker, i| worker.init(loader, @intCast(i));
    }

    /// Gives all slabs back and adds the rows to the counts of the region.
    pub fn deinit(loader: *Loader) void {
        for (loader.workers[0..loader.worker_count]) |*worker| worker.deinit();
    }

    /// Runs `work(context, worker)` in every worker, the first of them in the calling thread, and
    /// waits for all. Returns the first error by the number of the worker.
    pub fn run(
        loader: *Loader,
        context: anytype,
        comptime work: fn (@TypeOf(context), *Worker) Error!void,
    ) Error!void {
        const Body = struct {
            fn run(shared: *Loader, with: @TypeOf(context), index: u32, outcome: *Error!void) void {
                outcome.* = work(with, &shared.workers[index]);
                if (outcome.*) |_| {} else |_| shared.failed.store(1, .release);
            }
        };
        loader.failed.store(0, .release);
        var outcomes: [worker_count_max]Error!void = @splat({});
        var threads: [worker_count_max]?std.Thread = @splat(null);
        for (1..loader.worker_count) |i| {
            const arguments = .{ loader, context, @as(u32, @intCast(i)), &outcomes[i] };
            threads[i] = std.Thread.spawn(.{ .stack_size = 1 << 20 }, Body.run, arguments) catch
                null;
        }
        Body.run(loader, context, 0, &outcomes[0]);
        for (1..loader.worker_count) |i| {
            // Without a thread its share is done here.
            if (threads[i]) |thread| thread.join() else {
                Body.run(loader, context, @intCast(i), &outcomes[i]);
            }
        }
        for (outcomes[0..loader.worker_count]) |outcome| try outcome;
    }

    /// Whether some worker has failed, so that going on is no use.
    pub fn isFailed(loader: *const Loader) bool {
        return loader.failed.load(.monotonic) != 0;
    }
};

/// One thread of a recovery.
pub const Worker = struct {
    loader: *Loader,
    region: *const Region,
    /// Its number, and the slot by whose name it owns slabs.
    index: u32,
    allocator: slabs.Allocator,
    /// Rows that it added to each table, less those that it removed.
    rows: [limits.table_count_max]i32,
    /// Where changed rows are built.
    image: []align(8) u8,

    fn init(worker: *Worker, loader: *Loader, index: u32) void {
        assert(index < limits.transaction_slot_count);
        worker.* = .{
            .loader = loader,
            .region = loader.region,
            .index = index,
            .allocator = .{
                .region = loader.region,
                .gpa = loader.gpa,
                .owner = index + 1,
                .nothing_freed = true,
            },
            .rows = @splat(0),
            .image = &.{},
        };
    }

    fn deinit(worker: *Worker) void {
        worker.allocator.release();
        worker.loader.gpa.free(worker.image);
        for (worker.rows, 0..) |change, table| {
            if (change == 0) continue;
            row_count.add(worker.region, .owner, @intCast(table), worker.index, 0, change);
        }
    }

    /// Memory for a row of any table. Valid until the next call.
    pub fn imageBuffer(worker: *Worker) error{OutOfMemory}![]align(8) u8 {
        if (worker.image.len == 0) {
            const size = table_info.row_payload_size_max;
            worker.image = try worker.loader.gpa.alignedAlloc(u8, .@"8", size);
        }
        return worker.image;
    }

    /// Adds a row, unless the region has its key at this position or a later one. Other workers may
    /// insert at the same time.
    pub fn insert(
        worker: *Worker,
        table: *const TableInfo,
        key: pk_map.Key,
        position: Position,
        row: RowRef,
    ) Error!void {
        const region = worker.region;
        const place = pk_map.findForWrite(region, key);
        if (place.node != 0) return worker.insertNewer(table, place.node, position, row);
        const node = try worker.newNode(table, key, position, row);
        var first = place.first;
        while (!pk_map.publish(region, key, first, node)) {
            const again = pk_map.findForWrite(region, key);
            if (again.node != 0) {
                worker.freeNode(node);
                return worker.insertNewer(table, again.node, position, row);
            }
            first = again.first;
        }
        worker.rows[table.id] += 1;
    }

    /// The slow half of `insert`: the snapshot has the key twice.
    fn insertNewer(
        worker: *Worker,
        table: *const TableInfo,
        node: RelPtr,
        position: Position,
        row: RowRef,
    ) Error!void {
        worker.loader.mutex.lock();
        defer worker.loader.mutex.unlock();
        if (worker.positionOf(node) >= position) return;
        try worker.replace(table, node, position, row);
    }

    /// The node of a key, or 0.
    pub fn find(worker: *const Worker, key: pk_map.Key) RelPtr {
        return pk_map.find(worker.region, key);
    }

    /// The position of the row that a node has.
    pub fn positionOf(worker: *const Worker, node: RelPtr) Position {
        return worker.versionOf(node).xmin.load(.monotonic);
    }

    /// The row that a node has. Valid until the row is put or removed.
    pub fn rowOf(worker: *const Worker, node: RelPtr) RowRef {
        const version = worker.versionOf(node);
        return .{
            .payload = @alignCast(version.payload()),
            .null_mask = version.null_mask,
            .version = 0,
            .size = @intCast(version.payloadSize()),
        };
    }

    /// Sets the row of a key. `node` is what `find` has given, 0 for a new row. Only the worker
    /// that has the key's bucket calls it.
    pub fn put(
        worker: *Worker,
        table: *const TableInfo,
        node: RelPtr,
        key: pk_map.Key,
        position: Position,
        row: RowRef,
    ) Error!void {
        if (node != 0) return worker.replace(table, node, position, row);
        const created = try worker.newNode(table, key, position, row);
        const bucket = pk_map.bucketOf(worker.region, key.hash);
        const published = pk_map.publish(worker.region, key, bucket.head.load(.monotonic), created);
        assert(published); // Nobody else changes the bucket.
        worker.rows[table.id] += 1;
    }

    /// Changes columns of a row where it stands: nobody else sees the region. Only the worker that
    /// has the key's bucket calls it, with a record that keeps the row's size.
    pub fn patch(
        worker: *Worker,
        node: RelPtr,
        position: Position,
        record: *const log_row.Row,
    ) void {
        const version = worker.versionOf(node);
        record.patch(version.payload(), &version.null_mask);
        version.xmin.store(position, .monotonic);
    }

    /// Removes a row. Only the worker that has the key's bucket calls it.
    pub fn remove(worker: *Worker, table: *const TableInfo, node: RelPtr) void {
        const region = worker.region;
        const version = worker.headOf(node).version;
        version_module.nodeAt(region, node).head.store(Head.dead(worker.index).bits(), .release);
        pk_map.remove(region, node);
        worker.freeVersion(version);
        worker.free(node);
        worker.rows[table.id] -= 1;
    }

    fn headOf(worker: *const Worker, node: RelPtr) Head {
        return .from(version_module.nodeAt(worker.region, node).head.load(.acquire));
    }

    fn versionOf(worker: *const Worker, node: RelPtr) *version_module.Version {
        return version_module.versionAt(worker.region, worker.headOf(node).version);
    }

    /// Gives a node another row, in the block that it has if that fits.
    fn replace(
        worker: *Worker,
        table: *const TableInfo,
        node: RelPtr,
        position: Position,
        row: RowRef,
    ) Error!void {
        const old = worker.headOf(node).version;
        const before = version_module.versionAt(worker.region, old).payloadSize();
        const class = slabs.sizeClassFor(version_module.versionGranules(before));
        if (class == slabs.sizeClassFor(version_module.versionGranules(row.size))) {
            return worker.fill(table, old, node, position, row);
        }
        const block = try worker.takeVersion(table, row.size);
        worker.fill(table, block.granule, node, position, row);
        const head: Head = .to(block.granule, block.generation);
        const anchor = version_module.nodeAt(worker.region, node);
        anchor.head.store(head.bits(), .release);
        pk_map.suggest(worker.region, pk_map.hashOf(anchor.table, anchor.key()), block.granule);
        worker.freeVersion(old);
    }

    fn newNode(
        worker: *Worker,
        table: *const TableInfo,
        key: pk_map.Key,
        position: Position,
        row: RowRef,
    ) Error!RelPtr {
        const version = try worker.takeVersion(table, row.size);
        const pool = try worker.allocator.pool(version_module.nodeKind(table));
        const block = try pool.take(&worker.allocator);
        block.use();
        worker.fill(table, version.granule, block.granule, position, row);
        const node = version_module.nodeAt(worker.region, block.granule);
        pk_map.initNode(node, key, .to(version.granule, version.generation));
        return block.granule;
    }

    /// Gives back a node that was never published, and its version.
    fn freeNode(worker: *Worker, node: RelPtr) void {
        const version = worker.headOf(node).version;
        // Scans look at the head of every node: that of a free one is dead.
        const dead = Head.dead(worker.index).bits();
        version_module.nodeAt(worker.region, node).head.store(dead, .release);
        worker.freeVersion(version);
        worker.free(node);
    }

    fn takeVersion(
        worker: *Worker,
        table: *const TableInfo,
        payload_size: usize,
    ) Error!slabs.Block {
        const granules = version_module.versionGranules(payload_size);
        const pool = try worker.allocator.pool(.of(.version, @intCast(table.id), granules));
        const block = try pool.take(&worker.allocator);
        block.use();
        return block;
    }

    fn fill(
        worker: *Worker,
        table: *const TableInfo,
        granule: RelPtr,
        node: RelPtr,
        position: Position,
        row: RowRef,
    ) void {
        assert(row.size % 8 == 0);
        const version = version_module.versionAt(worker.region, granule);
        version.xmin.store(position, .monotonic);
        version.xmax.store(0, .monotonic);
        version.prev.store(0, .monotonic);
        version.txn_next.store(0, .monotonic);
        version.row.store(node, .monotonic);
        version.table = @intCast(table.id);
        version.flags = version_module.Flags.insert;
        version.payload_words = @intCast(row.size / 8);
        version.null_mask = row.null_mask;
        version.dirty = table.allColumns();
        sync.copyIn(version.payload(), row.payload, row.size);
    }

    /// A scan looks at every block of versions: that of a free one must not look like a row.
    fn freeVersion(worker: *Worker, granule: RelPtr) void {
        const version = version_module.versionAt(worker.region, granule);
        version.xmin.store(version_module.Xmin.aborted, .release);
        worker.free(granule);
    }

    fn free(worker: *Worker, granule: RelPtr) void {
        worker.allocator.nothing_freed = false;
        slabs.free(worker.region, granule, slabs.generationOf(worker.region, granule));
    }
};

/// Rows that wait for the buckets of their keys, and for the nodes there, to come from memory while
/// the rows before them are inserted: in a large map each of both is a cache miss. Rows must stay
/// where they are until they are inserted.
pub const Queue = struct {
    worker: *Worker,
    waiting: [distance]Entry = undefined,
    count: usize = 0,

    const distance = 16;
    const Entry = struct {
        table: *const TableInfo,
        key: pk_map.Key,
        position: Position,
        row: RowRef,
    };

    /// As `Worker.insert`, a few calls later.
    pub fn insert(
        queue: *Queue,
        table: *const TableInfo,
        position: Position,
        row: RowRef,
    ) Error!void {
        const key = try keyOf(table, row);
        const region = queue.worker.region;
        pk_map.Ahead.bucket(region, key);
        if (queue.count >= distance / 2) {
            const before = &queue.waiting[(queue.count - distance / 2) % distance];
            pk_map.Ahead.node(region, before.key);
        }
        const place = &queue.waiting[queue.count % distance];
        if (queue.count >= distance) try queue.settle(place);
        place.* = .{ .table = table, .key = key, .position = position, .row = row };
        queue.count += 1;
    }

    /// Inserts those that still wait.
    pub fn finish(queue: *Queue) Error!void {
        for (0..@min(queue.count, distance)) |i| try queue.settle(&queue.waiting[i]);
        queue.count = 0;
    }

    fn settle(queue: *Queue, entry: *const Entry) Error!void {
        try queue.worker.insert(entry.table, entry.key, entry.position, entry.row);
    }
};
