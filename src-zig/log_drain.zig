//! From the ring to the log: the rows that a committed transaction wrote, read from its versions.
//!
//! The versions are the log's buffer. Those of positions above `drained` stay as they are until the
//! leader passes it, so the leader reads them without a lock and without a pin. A leader that was
//! replaced while it stood still may read blocks that mean something else by now: slabs keep their
//! kind while they are in use, every link is checked before it is followed, every walk ends, every
//! length is cut to the block it is in. What it makes of them goes behind the seal of its segment.
//!
//! Invariants:
//!
//!   * a row is logged as a whole if it is new, if every column was written, or if the version
//!     below it is from before the running checkpoint began: no change of a row depends on one that
//!     a snapshot may or may not have
//!   * a transaction is one commit frame, after as many parts as it takes; nothing of it counts
//!     without the commit frame
//!
//! Killed anywhere: nothing shared was touched. The next leader reads the same versions again.

const std = @import("std");
const sync = @import("sync");
const file_layer = @import("file_layer.zig");
const limits = @import("limits.zig");
const log_frame = @import("log_frame.zig");
const log_row = @import("log_row.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const row_module = @import("row.zig");
const row_write = @import("row_write.zig");
const slabs = @import("slabs.zig");
const version_module = @import("version.zig");
const Region = region_module.Region;
const TableInfo = @import("table_info.zig").TableInfo;
const Version = version_module.Version;
const Flags = version_module.Flags;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const nodeAt = version_module.nodeAt;
const versionAt = version_module.versionAt;

/// `Astray`: what was read cannot be the versions of a commit that nobody has logged yet. Either
/// somebody else leads, or the region is damaged. `UnknownTable`: the log has no image of the
/// catalogue with that table yet.
pub const Error = SinkError || error{ Astray, UnknownTable };

/// What a sink may answer.
pub const SinkError = file_layer.Error || std.mem.Allocator.Error;

/// Where to ask for a table by its number; null if there is none.
pub const Tables = struct {
    context: *anyopaque,
    find: *const fn (context: *anyopaque, id: u8) ?*const TableInfo,
};

/// What was appended, for `stats`.
pub const Counts = struct {
    rows_full: u64 = 0,
    rows_delta: u64 = 0,
    bytes_full: u64 = 0,
    bytes_delta: u64 = 0,
};

/// How many cells ahead to ask memory for versions, and for the versions below them.
const ahead = if (sync.sim) 0 else 16;
const ahead_below = ahead / 2;

pub const Drain = struct {
    region: *const Region,
    tables: Tables,
    /// Tables in the image of the catalogue that the log has.
    tables_known: u8 = 0,
    counts: Counts = .{},

    /// What became of a range of positions.
    pub const Result = struct {
        /// The last position that was appended or skipped.
        position: Position,
        /// Why it is not the last one of the range.
        failure: ?Error = null,
    };

    /// Appends what was committed in (from, to] to `sink`, a `LogWriter` or what a test has in its
    /// place. The caller leads, and all of these positions are stamped.
    pub fn range(drain: *Drain, sink: anytype, from: Position, to: Position) Result {
        var position = from;
        while (position < to) : (position += 1) {
            if (ahead > 0 and position + ahead <= to) drain.prefetch(position + ahead);
            if (ahead > 0 and position + ahead_below <= to) {
                drain.prefetchBelow(position + ahead_below);
            }
            drain.append(sink, position + 1) catch |err| {
                return .{ .position = position, .failure = err };
            };
        }
        return .{ .position = position };
    }

    fn prefetch(drain: *const Drain, position: Position) void {
        const block = drain.lastBlock(position) orelse return;
        const bytes: [*]const u8 = @ptrCast(block.version);
        @prefetch(bytes, .{});
        @prefetch(bytes + 64, .{});
    }

    /// What `isDelta` looks at.
    fn prefetchBelow(drain: *const Drain, position: Position) void {
        const block = drain.lastBlock(position) orelse return;
        const below = versionBlock(drain.region, block.version.prev.load(.monotonic)) orelse return;
        @prefetch(below.version, .{});
    }

    fn lastBlock(drain: *const Drain, position: Position) ?Block {
        return switch (ring.decisionAt(drain.region, position)) {
            .committed => |last| versionBlock(drain.region, last),
            else => null,
        };
    }

    fn append(drain: *Drain, sink: anytype, position: Position) Error!void {
        const last = switch (ring.decisionAt(drain.region, position)) {
            .committed => |last| last,
            .skipped => return,
            .undecided, .not_yet, .lapped => return error.Astray,
        };
        const counts = drain.counts;
        errdefer drain.counts = counts;
        sink.begin(.commit, position);
        errdefer sink.cancel();
        var at = last;
        var left = drain.rowsMax();
        while (at != 0) : (left -= 1) {
            if (left == 0) return error.Astray;
            const block = versionBlock(drain.region, at) orelse return error.Astray;
            if (sink.frameSize() >= log_frame.part_size) {
                try sink.finishPart();
                sink.begin(.commit, position);
            }
            try drain.appendRow(sink, block);
            at = block.version.txn_next.load(.monotonic);
        }
        try sink.finish();
    }

    /// A transaction has no more rows than the region has blocks.
    fn rowsMax(drain: *const Drain) u64 {
        return @as(u64, drain.region.slab_count) * limits.slab_granules;
    }

    fn appendRow(drain: *Drain, sink: anytype, block: Block) Error!void {
        const version = block.version;
        if (block.table >= drain.tables_known) return error.UnknownTable;
        const table = drain.tables.find(drain.tables.context, block.table) orelse
            return error.Astray;
        const out = try sink.room(log_row.sizeMax(table));
        if (version.isTombstone()) {
            const key = try drain.nodeKey(version.row.load(.monotonic), block.table);
            const size = log_row.encodeDelete(table, key, out);
            sink.advance(size);
            drain.counts.rows_full += 1;
            drain.counts.bytes_full += size;
            return;
        }
        const size_row = version.payloadSize();
        if (size_row < table.fixed_size or size_row > block.payload_max) return error.Astray;
        const row: row_module.RowRef = .{
            .payload = @alignCast(version.payload()),
            .null_mask = version.null_mask,
            .version = 0,
            .size = @intCast(size_row),
        };
        const column = &table.columns[table.primary_key];
        const key = row_write.keyCell(column, row.payload[column.offset..size_row]);
        const operation: log_row.Operation = if (drain.isDelta(version, table)) .delta else .full;
        const size = log_row.encode(table, operation, key, row, version.dirty, out);
        sink.advance(size);
        if (operation == .delta) {
            drain.counts.rows_delta += 1;
            drain.counts.bytes_delta += size;
        } else {
            drain.counts.rows_full += 1;
            drain.counts.bytes_full += size;
        }
    }

    fn isDelta(drain: *const Drain, version: *const Version, table: *const TableInfo) bool {
        if (version.flags & Flags.insert != 0) return false;
        const plain = table.allColumns() & ~(@as(u64, 1) << @intCast(table.primary_key));
        if (version.dirty & plain == plain) return false;
        const below = versionBlock(drain.region, version.prev.load(.monotonic)) orelse return false;
        const began = drain.region.control.shared.checkpoint_start.load(.acquire);
        const committed = below.version.xmin.load(.acquire);
        return committed > began and committed < version_module.position_limit;
    }

    /// The key of a row whose last version holds none.
    fn nodeKey(drain: *const Drain, granule: RelPtr, table: u8) Error![]const u8 {
        const found = blockAt(drain.region, granule, .node) orelse return error.Astray;
        if (found.table != table) return error.Astray;
        const key = nodeAt(drain.region, granule).key();
        const room = found.granules * limits.granule_size - @sizeOf(version_module.NodeHeader);
        return key[0..@min(key.len, room)];
    }
};

const Block = struct { version: *Version, table: u8, payload_max: usize };

/// The version at `granule`, if a block of versions begins there.
fn versionBlock(region: *const Region, granule: RelPtr) ?Block {
    const found = blockAt(region, granule, .version) orelse return null;
    return .{
        .version = versionAt(region, granule),
        .table = found.table,
        .payload_max = found.granules * limits.granule_size - @sizeOf(Version),
    };
}

const Found = struct { table: u8, granules: usize };

/// What kind of block begins at `granule`, which may be any number; null if none of `class` does.
fn blockAt(region: *const Region, granule: u32, class: slabs.Class) ?Found {
    if (granule < region.slabs_first) return null;
    const slab = (granule - region.slabs_first) / limits.slab_granules;
    if (slab >= region.slab_count) return null;
    const kind = slabs.SlabKind.from(region.slab_metas[slab].kind.load(.acquire));
    if (kind.class != class or kind.size >= slabs.size_classes.len) return null;
    const size = slabs.size_classes[kind.size];
    const within = granule - region.slabGranule(slab);
    if (within < size.header) return null;
    const index = (within - size.header) / size.granules;
    if (index >= size.count or within != size.header + index * size.granules) return null;
    return .{ .table = kind.table, .granules = size.granules };
}

const testing = std.testing;
const Bench = @import("core_test.zig").Bench;

/// Keeps frames as they would be in a file, without headers.
const TestSink = struct {
    bytes: std.ArrayList(u8) = .empty,
    open_at: usize = 0,
    frames: std.ArrayList(struct { position: Position, size: usize, part: bool }) = .empty,
    position: Position = 0,

    fn deinit(sink: *TestSink) void {
        sink.bytes.deinit(testing.allocator);
        sink.frames.deinit(testing.allocator);
    }

    pub fn begin(sink: *TestSink, _: log_frame.Kind, position: Position) void {
        sink.open_at = sink.bytes.items.len;
        sink.position = position;
    }
    pub fn room(sink: *TestSink, size: usize) error{OutOfMemory}![]u8 {
        try sink.bytes.ensureUnusedCapacity(testing.allocator, size);
        return sink.bytes.unusedCapacitySlice();
    }
    pub fn advance(sink: *TestSink, size: usize) void {
        sink.bytes.items.len += size;
    }
    pub fn frameSize(sink: *const TestSink) usize {
        return sink.bytes.items.len - sink.open_at;
    }
    pub fn finishPart(sink: *TestSink) error{OutOfMemory}!void {
        try sink.end(true);
    }
    pub fn finish(sink: *TestSink) error{OutOfMemory}!void {
        try sink.end(false);
    }
    pub fn cancel(sink: *TestSink) void {
        sink.bytes.items.len = sink.open_at;
    }
    fn end(sink: *TestSink, part: bool) !void {
        const size = sink.frameSize();
        try sink.frames.append(testing.allocator, .{
            .position = sink.position,
            .size = size,
            .part = part,
        });
    }
};

const TestDrain = struct {
    bench: Bench,
    session: *@import("session.zig").Session,
    drain: Drain,
    sink: TestSink = .{},
    done: Position = 1,

    fn init(self: *TestDrain) !void {
        try self.bench.init(8 << 20);
        self.session = try self.bench.session();
        self.sink = .{};
        self.done = 1;
        self.drain = .{ .region = &self.bench.region, .tables = .{
            .context = &self.bench.table,
            .find = find,
        }, .tables_known = 1 };
        const working = @intFromEnum(region_module.LogState.working);
        self.bench.region.control.shared.log_state.raw = working;
    }

    fn deinit(self: *TestDrain) void {
        self.sink.deinit();
        self.session.close();
        self.bench.deinit();
    }

    fn find(context: *anyopaque, id: u8) ?*const TableInfo {
        const table: *const TableInfo = @ptrCast(@alignCast(context));
        return if (id == table.id) table else null;
    }

    /// Appends all that is committed.
    fn all(self: *TestDrain) !void {
        const region = &self.bench.region;
        self.session.pin();
        _ = ring.advance(region, 1 << 20);
        self.session.unpin();
        const to = ring.stampedPosition(region);
        const result = self.drain.range(&self.sink, self.done, to);
        if (result.failure) |err| return err;
        self.done = result.position;
    }

    fn row(self: *TestDrain, at: usize) !log_row.Row {
        const table: *const TableInfo = &self.bench.table;
        return log_row.read(self.sink.bytes.items[at..], &.{table});
    }
};

test "Drain.range: an insert is a full row, a change a delta, a delete a key, a skip nothing" {
    var t: TestDrain = undefined;
    try t.init();
    defer t.deinit();
    _ = try t.bench.run(t.session, .insert, 5, 10);
    _ = try t.bench.run(t.session, .update, 5, 11);
    @import("vacuum.zig").burnPosition(&t.bench.region);
    _ = try t.bench.run(t.session, .delete, 5, 0);
    try t.all();
    try testing.expectEqual(3, t.sink.frames.items.len);
    try testing.expectEqual(2, t.sink.frames.items[0].position);
    try testing.expectEqual(5, t.sink.frames.items[2].position);

    const inserted = try t.row(0);
    try testing.expectEqual(log_row.Operation.full, inserted.operation);
    const updated = try t.row(inserted.size);
    try testing.expectEqual(log_row.Operation.delta, updated.operation);
    try testing.expectEqual(0b10, updated.columns);
    const deleted = try t.row(inserted.size + updated.size);
    try testing.expectEqual(log_row.Operation.delete, deleted.operation);
    for ([_]log_row.Row{ inserted, updated, deleted }) |record| {
        try testing.expectEqual(5, std.mem.readInt(i64, record.key[0..8], .little));
    }
    try testing.expectEqual(1, t.drain.counts.rows_delta);
}

test "Drain.range: the first change of a row after a checkpoint began is the whole row" {
    var t: TestDrain = undefined;
    try t.init();
    defer t.deinit();
    _ = try t.bench.run(t.session, .insert, 5, 10);
    try t.all();
    t.bench.region.control.shared.checkpoint_start.raw = t.done;
    const start = t.sink.bytes.items.len;
    _ = try t.bench.run(t.session, .update, 5, 11);
    _ = try t.bench.run(t.session, .update, 5, 12);
    try t.all();
    const first = try t.row(start);
    try testing.expectEqual(log_row.Operation.full, first.operation);
    const second = try t.row(start + first.size);
    try testing.expectEqual(log_row.Operation.delta, second.operation);
}

test "Drain.range: a link that leads anywhere is refused, whatever it is" {
    var t: TestDrain = undefined;
    try t.init();
    defer t.deinit();
    _ = try t.bench.run(t.session, .insert, 5, 10);
    _ = try t.bench.run(t.session, .insert, 6, 10);
    const region = &t.bench.region;
    t.session.pin();
    _ = ring.advance(region, 1 << 20);
    t.session.unpin();
    const last = ring.decisionAt(region, 3).committed;
    const version = versionAt(region, last);
    const far = region.slabs_first + region.slab_count * limits.slab_granules;
    for ([_]u32{ 1, last + 1, region.slabs_first, far, std.math.maxInt(u32), last }) |link| {
        version.txn_next.store(link, .release);
        const result = t.drain.range(&t.sink, 2, 3);
        try testing.expectEqual(error.Astray, result.failure.?);
        try testing.expectEqual(2, result.position);
    }
    version.txn_next.store(0, .release);
    version.payload_words = 0xffff;
    try testing.expectEqual(error.Astray, t.drain.range(&t.sink, 2, 3).failure.?);
    version.payload_words = 0;
    try testing.expectEqual(error.Astray, t.drain.range(&t.sink, 2, 3).failure.?);
    for (t.sink.frames.items) |frame| try testing.expect(frame.part);
}
