//! A store whose log and snapshots go to a disk in memory, beside a model of what was committed.
//!
//! The machine runs transactions on an engine in private memory, one after the other, and writes
//! the log for them. So the whole history is known, by position, and after any crash there is one
//! question: is what `cold_recovery` makes of the disk the state of some position, no earlier than
//! the last one that was synced?
//!
//! For the tests of recovery and for its fuzzer.

const std = @import("std");
const catalogue_image = @import("catalogue_image.zig");
const checkpoint = @import("checkpoint.zig");
const cold_recovery = @import("cold_recovery.zig");
const integrity = @import("integrity.zig");
const log_row = @import("log_row.zig");
const log_segment = @import("log_segment.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const region_module = @import("region.zig");
const row_module = @import("row.zig");
const session_module = @import("session.zig");
const statement = @import("statement.zig");
const status = @import("status.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const LogWriter = @import("log_writer.zig").LogWriter;
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;
const Position = @import("version.zig").Position;
const Region = region_module.Region;
const RowRef = row_module.RowRef;
const Session = session_module.Session;
const TableInfo = table_info.TableInfo;
const Allocator = std.mem.Allocator;
const testing = std.testing;

pub const uuid: [16]u8 = @splat(0x5a);
/// Keys of a table are below it.
pub const id_count = 48;
pub const table_count_max = 3;
const write_count_max = 4;
const text_size_max = 90;

/// A region in private memory, its catalogue, and a session.
pub const Store = struct {
    gpa: Allocator,
    memory: []align(4096) u8,
    region: Region,
    catalogue: Catalogue,
    session: *Session,

    pub const size = region_module.Config.forSize(4 << 20).size_max;

    pub fn init(store: *Store, gpa: Allocator, identity: region_module.Identity) !void {
        try store.format(gpa, identity);
        errdefer gpa.free(store.memory);
        try store.begin();
    }

    /// Without a session, as recovery fills it.
    fn format(store: *Store, gpa: Allocator, identity: region_module.Identity) !void {
        store.gpa = gpa;
        store.memory = try gpa.alignedAlloc(u8, .fromByteUnits(4096), size);
        @memset(store.memory, 0);
        region_module.format(store.memory.ptr, .forSize(size), identity) catch unreachable;
        store.region = .init(store.memory.ptr);
        store.region.control.memory.committed.store(size, .release);
    }

    /// The session of a region that recovery has filled, or that has moved.
    pub fn begin(store: *Store) !void {
        store.catalogue = .init(&store.region, store.gpa);
        const claim = session_module.processClaim(0, 1);
        store.session = try .open(&store.region, store.gpa, claim);
    }

    pub fn deinit(store: *Store) void {
        store.session.close();
        store.catalogue.deinit();
        store.gpa.free(store.memory);
    }

    pub fn table(store: *Store, id: u32) !*const TableInfo {
        return &(try store.catalogue.table(id)).table;
    }

    /// Inserts rows into table 0, keys from 0 on, for what needs many.
    pub fn fill(store: *Store, count: u32) !void {
        const info = try store.table(0);
        for (0..count) |id| {
            var buffer: [256]u8 align(8) = undefined;
            const row: Row = .{ .n = @intCast(id), .s = text_size_max };
            const cell: [8]u8 = @bitCast(@as(i64, @intCast(id)));
            const one: transaction.Write = .{
                .table = info,
                .operation = .insert,
                .key = .of(0, &cell),
                .image = try row.build(info, @intCast(id), &buffer),
            };
            const result = try statement.write(store.session, &one);
            try testing.expectEqual(.done, result.outcome);
        }
    }

    /// Declares table `id`: an int64 key, a number and a text that may be null. With an index on
    /// the number from the beginning, and one on both columns if `more`.
    pub fn declare(store: *Store, id: u32, more: bool) !void {
        const name: u8 = @intCast('a' + id);
        const one = [_]u8{ 1, 1, name, 3 } ++ column("id", .int64, 0, .{ .primary = true }) ++
            column("n", .int64, 0, .{ .nullable = true, .index = true }) ++
            column("s", .text, text_size_max, .{ .nullable = true });
        const none = one ++ [_]u8{0};
        const composite = one ++ [_]u8{ 1, 2, 2, 1, 0 };
        var detail: status.Detail = .{};
        const blob: []const u8 = if (more) &composite else &none;
        const given = try store.catalogue.declare(blob, &detail);
        try testing.expectEqual(id, given);
        try @import("index_build.zig").complete(store.session, try store.table(id));
    }

    /// A column as in a schema blob.
    fn column(
        comptime name: []const u8,
        kind: table_info.Kind,
        capacity: u16,
        flags: table_info.ColumnFlags,
    ) [name.len + 5]u8 {
        const most: [2]u8 = @bitCast(std.mem.nativeToLittle(u16, capacity));
        return [_]u8{name.len} ++ name[0..name.len].* ++
            [_]u8{ @intFromEnum(kind), @bitCast(flags) } ++ most;
    }

    /// Compares all rows with a model, and looks for everything that `verify` looks for.
    pub fn expect(store: *Store, model: *const Model) !void {
        const tables = try store.catalogue.refresh();
        for (&model.rows, 0..) |*rows, id| {
            if (id >= tables) {
                for (rows) |row| try testing.expectEqual(null, row);
                continue;
            }
            const info = try store.table(@intCast(id));
            for (rows, 0..) |expected, key| {
                try testing.expectEqual(expected, try store.get(info, @intCast(key)));
            }
            try testing.expectEqual(countRows(rows), try store.scanned(info));
        }
        var report = try integrity.verify(store.session, store.gpa);
        defer report.deinit(store.gpa);
        for (report.problems.items) |line| std.debug.print("problem: {s}\n", .{line});
        try testing.expect(report.quiescent and report.isOk());
    }

    fn countRows(rows: *const [id_count]?Row) usize {
        var count: usize = 0;
        for (rows) |row| count += @intFromBool(row != null);
        return count;
    }

    /// Rows in the order of the memory, where free blocks stand between them.
    fn scanned(store: *Store, info: *const TableInfo) !usize {
        store.session.pin();
        defer store.session.unpin();
        const snapshot = reader.snapshotNow(&store.region);
        var scan: reader.Scan = .init(&store.region, info, .{ .snapshot = snapshot });
        var count: usize = 0;
        while (try scan.next()) |_| count += 1;
        return count;
    }

    pub fn get(store: *Store, info: *const TableInfo, id: i64) !?Row {
        const cell: [8]u8 = @bitCast(id);
        store.session.pin();
        defer store.session.unpin();
        const key: pk_map.Key = .of(@intCast(info.id), &cell);
        const found = try reader.find(&store.region, info, key, .latest);
        return Row.of(info, found orelse return null);
    }
};

/// What a row says. A text is one letter, repeated.
pub const Row = struct {
    n: ?i64,
    /// Letters of the text; null if it is null.
    s: ?u8,

    fn of(info: *const TableInfo, row: RowRef) Row {
        return .{
            .n = if (row.isNull(1)) null else row.int64(info.columns[1].offset),
            .s = if (row.isNull(2)) null else @intCast(row.text(&info.columns[2]).len),
        };
    }

    fn build(row: Row, info: *const TableInfo, id: i64, buffer: []align(8) u8) !RowRef {
        const text: [text_size_max]u8 = @splat('x');
        var builder: row_module.Builder = .init(info, buffer);
        builder.setInt64(0, id);
        if (row.n) |n| builder.setInt64(1, n);
        if (row.s) |length| try builder.setText(2, text[0..length]);
        return builder.finish();
    }
};

/// One row that a transaction wrote.
pub const Change = struct {
    position: Position,
    table: u8,
    id: u8,
    /// Null: the row is gone.
    row: ?Row,
};

/// The rows as of some position.
pub const Model = struct {
    rows: [table_count_max][id_count]?Row = @splat(@splat(null)),

    /// The state as of a position.
    pub fn at(history: []const Change, position: Position) Model {
        var model: Model = .{};
        for (history) |*change| {
            if (change.position <= position) model.apply(change);
        }
        return model;
    }

    fn apply(model: *Model, change: *const Change) void {
        model.rows[change.table][change.id] = change.row;
    }
};

/// The machine: an engine, its log, its disk, and its history.
pub const Machine = struct {
    gpa: Allocator,
    random: std.Random,
    disk: *MemoryDisk,
    store: Store,
    log: LogWriter,
    model: Model = .{},
    history: std.ArrayList(Change) = .empty,
    /// The last position whose sync has returned.
    acknowledged: Position,
    incarnation: u64,
    catalogue_version: u32 = 0,
    segment: u32 = 0,
    checkpoints: u32 = 0,
    /// Files that the last checkpoint could not remove.
    files_left: u32 = 0,
    /// Nothing is committed during a checkpoint.
    is_quiet: bool = false,

    /// A new store on an empty disk.
    pub fn init(machine: *Machine, gpa: Allocator, random: std.Random, disk: *MemoryDisk) !void {
        machine.* = .{
            .gpa = gpa,
            .random = random,
            .disk = disk,
            .store = undefined,
            .log = undefined,
            .acknowledged = 1,
            .incarnation = 1,
        };
        try machine.store.init(gpa, .{ .store_uuid = uuid });
        errdefer machine.store.deinit();
        try machine.startLog(2, 1);
        errdefer machine.log.stop();
        try machine.store.declare(0, false);
    }

    pub fn deinit(machine: *Machine) void {
        machine.log.stop();
        machine.store.deinit();
        machine.history.deinit(machine.gpa);
    }

    fn startLog(machine: *Machine, start: Position, previous: Position) !void {
        machine.log = try .start(machine.gpa, machine.disk.files(), .{
            .store_uuid = uuid,
            .incarnation = machine.incarnation,
            .leader_epoch = 1,
            .start_position = start,
            .previous_position = previous,
            .size = log_segment.size_min,
        });
        machine.segment = 0;
    }

    /// Commits a random transaction and logs it. Now and then declares something, writes the log
    /// to the file, or syncs it.
    pub fn step(machine: *Machine) !void {
        const random = machine.random;
        switch (random.uintLessThan(u32, 100)) {
            0 => try machine.declareSome(),
            1...8 => try machine.log.flush(),
            9...12 => try machine.sync(),
            else => {},
        }
        var writes: Writes = .{
            .random = random,
            .store = &machine.store,
            .model = &machine.model,
        };
        try writes.fill();
        const position = try writes.commit(machine.gpa, &machine.history);
        try machine.logWrites(&writes, position);
    }

    /// Writes the records, in one frame or in several.
    fn logWrites(machine: *Machine, writes: *const Writes, position: Position) !void {
        const writer = &machine.log;
        if (writer.spareOrder(false)) |order| {
            writer.giveSpare(try order.make(machine.disk.files()));
        }
        try machine.noteCatalogue();
        var start: usize = 0;
        while (start < writes.count) {
            const left = writes.count - start;
            const taken = if (machine.random.uintLessThan(u8, 8) == 0) 1 else left;
            writer.begin(if (taken == left) .commit else .part, position);
            for (start..start + taken) |i| {
                const out = try writer.room(log_row.sizeMax(writes.list[i].table));
                writer.advance(writes.encode(i, out));
            }
            try writer.finish();
            start += taken;
        }
    }

    fn declareSome(machine: *Machine) !void {
        const count = try machine.store.catalogue.refresh();
        const id = machine.random.uintAtMost(u32, @min(count, table_count_max - 1));
        try machine.store.declare(id, machine.random.boolean());
    }

    /// Writes the tables down where a reader may need them before the next rows.
    fn noteCatalogue(machine: *Machine) !void {
        const version = machine.store.catalogue.version();
        const segment = machine.log.segmentNumber();
        if (version == machine.catalogue_version and segment == machine.segment) return;
        const image = try catalogue_image.encode(&machine.store.region, machine.gpa);
        defer machine.gpa.free(image);
        try machine.log.note(.catalogue, image);
        machine.catalogue_version = version;
        machine.segment = segment;
    }

    /// Puts the whole log on the disk.
    pub fn sync(machine: *Machine) !void {
        const files = machine.disk.files();
        var target = try machine.log.beginSync();
        try target.sync(files);
        machine.log.endSync(&target);
        machine.log.noteDurable(target.position);
        machine.acknowledged = target.position;
    }

    /// Writes a snapshot, with transactions between its rows, and removes what it replaces.
    pub fn checkpointNow(machine: *Machine) !checkpoint.Result {
        const files = machine.disk.files();
        machine.store.region.control.log.segment.raw = machine.log.segmentNumber();
        const result = try checkpoint.replace(
            files,
            machine.gpa,
            machine.store.session,
            &machine.store.catalogue,
            .{
                .store_uuid = uuid,
                .incarnation = machine.incarnation,
                .rows_per_pin = 1 + machine.random.uintLessThan(u32, 8),
                .log = .{ .flush = .{ .context = machine, .wait = flushLog } },
                .progress = .{ .context = machine, .report = interrupt },
            },
        );
        machine.checkpoints += 1;
        machine.files_left = result.files_left;
        return result;
    }

    fn flushLog(context: *anyopaque, _: Position) checkpoint.Error!Position {
        const machine: *Machine = @ptrCast(@alignCast(context));
        machine.sync() catch return error.IoError;
        return machine.log.last_logged;
    }

    fn interrupt(context: *anyopaque, done: u64, total: u64) void {
        const machine: *Machine = @ptrCast(@alignCast(context));
        const words = &machine.store.region.control.log;
        std.debug.assert(words.checkpoint_rows.raw == done);
        std.debug.assert(words.checkpoint_rows_expected.raw == total);
        if (machine.is_quiet or machine.disk.fault != null) return;
        for (0..machine.random.uintLessThan(u32, 4)) |_| machine.step() catch unreachable;
    }

    /// The state as of a position.
    pub fn modelAt(machine: *const Machine, position: Position) Model {
        return .at(machine.history.items, position);
    }

    /// Recovers a disk as it is and compares with the history. Returns the position that came out.
    pub fn expectRecovered(machine: *const Machine, disk: *MemoryDisk) !Position {
        var recovered: Recovered = undefined;
        try recovered.init(machine.gpa, disk, .none);
        defer recovered.deinit();
        try testing.expect(recovered.last >= machine.acknowledged);
        const model = machine.modelAt(recovered.last);
        try recovered.store.expect(&model);
        return recovered.last;
    }

    /// As `expectRecovered`, for a disk that was damaged beyond what a power cut does: what was
    /// acknowledged may be refused, or missing with a warning. True if it was not refused.
    pub fn expectContained(machine: *const Machine, disk: *MemoryDisk) !bool {
        var recovered: Recovered = undefined;
        recovered.init(machine.gpa, disk, .none) catch |err| {
            if (err == error.Corrupt) return false;
            return err;
        };
        defer recovered.deinit();
        try testing.expect(recovered.last >= machine.acknowledged or recovered.warned);
        const model = machine.modelAt(recovered.last);
        try recovered.store.expect(&model);
        return true;
    }

    /// Goes on from what is left on `disk` after a crash. The machine it was is gone.
    pub fn restart(machine: *Machine, disk: *MemoryDisk) !void {
        machine.log.stop();
        machine.store.deinit();
        var recovered: Recovered = undefined;
        try recovered.init(machine.gpa, disk, .none);
        machine.disk = disk;
        machine.store = recovered.store;
        // It has moved.
        machine.store.session.close();
        machine.store.catalogue.deinit();
        try machine.store.begin();
        machine.incarnation = recovered.incarnation;
        machine.catalogue_version = 0;
        machine.model = machine.modelAt(recovered.last);
        var kept: usize = 0;
        for (machine.history.items) |change| {
            if (change.position > recovered.last) continue;
            machine.history.items[kept] = change;
            kept += 1;
        }
        machine.history.shrinkRetainingCapacity(kept);
        try machine.startLog(recovered.start + 1, recovered.logged);
        // Not even the table may have reached the disk.
        if (try machine.store.catalogue.refresh() == 0) try machine.store.declare(0, false);
        machine.acknowledged = recovered.last;
    }
};

/// The rows of one transaction, in private memory until it is committed.
pub const Writes = struct {
    random: std.Random,
    store: *Store,
    /// The rows as they are, and then as the commit leaves them.
    model: *Model,
    list: [write_count_max]transaction.Write = undefined,
    changes: [write_count_max]Change = undefined,
    cells: [write_count_max][8]u8 = undefined,
    images: [write_count_max][256]u8 align(8) = undefined,
    count: usize = 0,

    /// Adds random writes, at least one.
    pub fn fill(writes: *Writes) !void {
        const count = 1 + writes.random.uintLessThan(u32, write_count_max);
        for (0..count) |_| try writes.add();
    }

    /// Adds a random write of a row that the transaction has not written yet.
    fn add(writes: *Writes) !void {
        const random = writes.random;
        const tables = try writes.store.catalogue.refresh();
        const table: u8 = @intCast(random.uintLessThan(u32, tables));
        const id = random.uintLessThan(u8, id_count);
        for (writes.changes[0..writes.count]) |*other| {
            if (other.table == table and other.id == id) return;
        }
        const before = writes.model.rows[table][id];
        const value: Row = .{
            .n = if (random.uintLessThan(u8, 8) == 0) null else random.uintLessThan(u8, 20),
            .s = if (random.boolean()) null else random.uintAtMost(u8, text_size_max),
        };
        if (before) |old| switch (random.uintLessThan(u8, 4)) {
            0 => try writes.put(table, id, .delete, null, 0),
            1 => try writes.put(table, id, .upsert, value, 0),
            2 => try writes.put(table, id, .update, .{ .n = value.n, .s = old.s }, 0b010),
            else => try writes.put(table, id, .update, .{ .n = old.n, .s = value.s }, 0b100),
        } else try writes.put(table, id, .upsert, value, 0);
    }

    fn put(
        writes: *Writes,
        table: u8,
        id: u8,
        operation: transaction.Operation,
        row: ?Row,
        mask: u64,
    ) !void {
        const i = writes.count;
        const info = try writes.store.table(table);
        writes.cells[i] = @bitCast(@as(i64, id));
        const image = row orelse Row{ .n = null, .s = null };
        writes.list[i] = .{
            .table = info,
            .operation = operation,
            .key = .of(table, &writes.cells[i]),
            .image = try image.build(info, id, &writes.images[i]),
            .mask = mask,
        };
        writes.changes[i] = .{ .position = 0, .table = table, .id = id, .row = row };
        writes.count += 1;
    }

    /// Commits, and writes down what changed. Returns the position.
    pub fn commit(
        writes: *Writes,
        gpa: Allocator,
        history: *std.ArrayList(Change),
    ) !Position {
        // Sorted by the call; the changes keep their order.
        var list = writes.list;
        const outcome = try statement.writeMany(writes.store.session, list[0..writes.count]);
        try testing.expectEqual(.done, outcome.outcome);
        for (writes.changes[0..writes.count]) |*change| {
            change.position = outcome.position;
            writes.model.apply(change);
            try history.append(gpa, change.*);
        }
        return outcome.position;
    }

    fn encode(writes: *const Writes, i: usize, out: []u8) usize {
        const one = &writes.list[i];
        if (one.operation == .delete) return log_row.encodeDelete(one.table, one.key.cell, out);
        const is_delta = one.operation == .update;
        const operation: log_row.Operation = if (is_delta) .delta else .full;
        return log_row.encode(one.table, operation, one.key.cell, one.image, one.mask, out);
    }
};

/// What recovery makes of a disk.
pub const Recovered = struct {
    store: Store,
    last: Position,
    logged: Position,
    start: Position,
    incarnation: u64,
    warned: bool,

    pub fn init(
        recovered: *Recovered,
        gpa: Allocator,
        disk: *MemoryDisk,
        salvage: cold_recovery.Salvage,
    ) !void {
        var detail: status.Detail = .{};
        var plan = try cold_recovery.examine(disk.files(), gpa, .{
            .store_uuid = uuid,
            .salvage = salvage,
            .worker_count = 2,
        }, &detail);
        defer plan.deinit();
        try recovered.store.format(gpa, plan.identity(@splat(0)));
        errdefer gpa.free(recovered.store.memory);
        _ = try cold_recovery.load(&plan, &recovered.store.region, &detail);
        try recovered.store.begin();
        recovered.last = plan.last;
        recovered.logged = recovered.store.region.control.log.logged.load(.acquire);
        recovered.start = plan.start;
        recovered.incarnation = plan.incarnation;
        recovered.warned = plan.warning.len > 0;
    }

    pub fn deinit(recovered: *Recovered) void {
        recovered.store.deinit();
    }
};
