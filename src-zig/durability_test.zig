//! Durability of several processes over one region and one disk, both in memory.
//!
//! A process is a `Durability` without threads: a test decides when each of them looks. Killing one
//! means never to call it again; its files stay open, as those of a stopped process would.

const std = @import("std");
const catalogue_module = @import("catalogue.zig");
const checkpoint = @import("checkpoint.zig");
const durability = @import("durability.zig");
const emulation = @import("emulation.zig");
const file_layer_memory = @import("file_layer_memory.zig");
const log_gather = @import("log_gather.zig");
const log_patience = @import("log_patience.zig");
const log_reader = @import("log_reader.zig");
const log_repair = @import("log_repair.zig");
const log_row = @import("log_row.zig");
const log_segment = @import("log_segment.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const row_module = @import("row.zig");
const schema_blob = @import("schema_blob.zig");
const session_module = @import("session.zig");
const statement = @import("statement.zig");
const sync = @import("sync");
const status = @import("status.zig");
const transaction = @import("transaction.zig");
const truncation = @import("truncation.zig");
const vacuum = @import("vacuum.zig");
const Catalogue = catalogue_module.Catalogue;
const Durability = durability.Durability;
const LogState = region_module.LogState;
const MemoryDisk = file_layer_memory.MemoryDisk;
const Region = region_module.Region;
const Session = session_module.Session;
const TableInfo = @import("table_info.zig").TableInfo;
const testing = std.testing;

pub const keys_max = 16;
/// The number of each row, null where there is none.
pub const State = [keys_max]?i64;

pub const Machine = struct {
    memory: []align(4096) u8,
    region: Region,
    catalogue: Catalogue,
    table: *const TableInfo,
    disk: MemoryDisk,
    session: *Session,
    processes: [4]Durability,
    dead: [4]bool,
    /// The committed transactions by their positions.
    history: std.ArrayList(struct { position: u64, key: u8, value: ?i64 }),

    pub fn init(self: *Machine) !void {
        var config: region_module.Config = .forSize(4 << 20);
        config.cells_log2 = 10;
        self.memory = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), config.size_max);
        @memset(self.memory, 0);
        try region_module.format(self.memory.ptr, config, .{ .store_uuid = @splat(7) });
        self.region = .init(self.memory.ptr);
        self.region.control.shared.log_state.raw = @intFromEnum(LogState.working);
        self.region.control.memory.committed.raw = config.size_max;
        self.catalogue = .init(&self.region, testing.allocator);
        var detail: status.Detail = .{};
        var blob = try schema_blob.TestWriter.flights("flights");
        defer blob.deinit();
        _ = try self.catalogue.declare(blob.bytes.items, &detail);
        self.table = &(try self.catalogue.table(0)).table;
        self.disk = .init(testing.allocator);
        self.dead = @splat(false);
        self.history = .empty;
        for (&self.processes, 0..) |*process, i| process.* = .init(.{
            .gpa = testing.allocator,
            .region = &self.region,
            .files = self.disk.files(),
            .tables = .{ .context = self, .find = findTable },
            .identity = .{ .process = @intCast(i), .generation = 1 },
            .liveness = .{ .context = self, .isGone = isGone },
            .segment_size = 64 * 1024,
        });
        const claim = session_module.processClaim(9, 1);
        self.session = try .open(&self.region, testing.allocator, claim);
    }

    pub fn deinit(self: *Machine) void {
        self.disk.fault = null;
        for (&self.processes, self.dead) |*process, dead| {
            if (dead) bury(process) else process.stop();
        }
        self.session.close();
        self.history.deinit(testing.allocator);
        self.disk.deinit();
        self.catalogue.deinit();
        testing.allocator.free(self.memory);
    }

    /// Frees what a dead process has on the heap of this one.
    fn bury(process: *Durability) void {
        if (process.keeper) |*keeper| keeper.end();
        if (process.session) |session| session.close();
    }

    pub fn rescueAll(self: *Machine) void {
        for (&self.processes) |*process| {
            process.options.rescue = .{ .context = self, .write = rescue, .remove = remove };
        }
    }

    pub fn rescue(context: *anyopaque, epoch: u32) checkpoint.Error!u64 {
        const self: *Machine = @ptrCast(@alignCast(context));
        const claim = session_module.processClaim(9, 1);
        const session = try Session.open(&self.region, testing.allocator, claim);
        defer session.close();
        return log_repair.writeSnapshot(
            self.disk.files(),
            testing.allocator,
            session,
            &self.catalogue,
            self.region.header.incarnation,
            epoch,
        );
    }

    pub fn remove(
        context: *anyopaque,
        what: log_repair.Rescue.Superfluous,
    ) checkpoint.Error!bool {
        const self: *Machine = @ptrCast(@alignCast(context));
        const options: truncation.Options = .{
            .files = self.disk.files(),
            .gpa = testing.allocator,
            .store_uuid = self.region.header.store_uuid,
            .active = self.region.control.log.segment.load(.acquire),
            .durable = self.durable(),
        };
        const removed = switch (what) {
            .older => truncation.giveUpOlder(options),
            .replaced => truncation.removeReplaced(options),
        };
        return removed catch |err| checkpoint.statusOf(err);
    }

    fn findTable(context: *anyopaque, id: u8) ?*const TableInfo {
        const self: *Machine = @ptrCast(@alignCast(context));
        const schema = self.catalogue.table(id) catch return null;
        return &schema.table;
    }

    fn isGone(context: *anyopaque, process: u32, _: u24) bool {
        const self: *Machine = @ptrCast(@alignCast(context));
        return self.dead[process];
    }

    pub fn put(self: *Machine, key: u8, value: ?i64) !void {
        var buffer: [512]u8 align(8) = undefined;
        var builder: row_module.Builder = .init(self.table, &buffer);
        const text = [_]u8{'a' + key};
        try builder.setText(0, &text);
        builder.setInt32(altitude, @intCast(value orelse 0));
        try builder.setText(2, "B738");
        builder.setFloat64(3, 0.5);
        const image = builder.finish();
        const cell = [_]u8{ 1, 0, text[0] };
        const one: transaction.Write = .{
            .table = self.table,
            .operation = if (value == null) .remove else .upsert,
            .key = .of(0, &cell),
            .image = image,
        };
        const result = try statement.write(self.session, &one);
        try testing.expectEqual(.done, result.outcome);
        try self.history.append(testing.allocator, .{
            .position = result.position,
            .key = key,
            .value = value,
        });
        self.settle();
    }

    pub const altitude = 1;

    /// What maintenance threads do.
    fn settle(self: *Machine) void {
        self.session.pin();
        _ = ring.advance(&self.region, 1 << 20);
        self.session.unpin();
        vacuum.advanceHorizon(&self.region);
    }

    pub fn next(self: *Machine) u64 {
        return self.region.control.next.word.load(.acquire);
    }

    pub fn durable(self: *Machine) u64 {
        return ring.Watermark.position(self.region.control.durable.word.load(.acquire));
    }

    pub fn state(self: *Machine) LogState {
        return @enumFromInt(self.region.control.shared.log_state.load(.acquire));
    }

    /// The rows as of a position.
    pub fn expected(self: *Machine, position: u64) State {
        var rows: State = @splat(null);
        for (self.history.items) |one| {
            if (one.position <= position) rows[one.key] = one.value;
        }
        return rows;
    }

    /// Reads the log of a disk and checks that it holds a prefix of the history, at least up to
    /// `promised`.
    pub fn expectPrefix(self: *Machine, disk: *MemoryDisk, promised: u64) !void {
        var log: log_reader.LogReader = try .open(testing.allocator, disk.files(), .{
            .store_uuid = @splat(7),
        });
        defer log.close();
        try testing.expect(log.verdict != .damaged);
        var rows: State = @splat(null);
        var cursor = log.cursor();
        defer cursor.close();
        var last: u64 = 1;
        while (try cursor.next()) |item| {
            if (item.frame.header.kind != .commit) continue;
            last = item.frame.header.position;
            try self.replay(item.frame.body, item.frame.header.count, &rows);
        }
        for (self.history.items) |one| {
            if (one.position <= promised) try testing.expect(one.position <= last);
        }
        try testing.expectEqual(self.expected(last), rows);
    }

    fn replay(self: *Machine, body: []const u8, count: u32, rows: *State) !void {
        var rest = body;
        for (0..count) |_| {
            const row = try log_row.read(rest, &.{self.table});
            rest = rest[row.size..];
            const key = row.key[2] - 'a';
            if (row.operation == .delete) {
                rows[key] = null;
                continue;
            }
            var cells = row.cellIterator();
            while (cells.next()) |cell| if (cell.column == altitude) {
                rows[key] = std.mem.readInt(i32, cell.value.?[0..4], .little);
            };
        }
    }
};

test "Durability: one sync serves all that were committed before it" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    _ = m.processes[0].round();
    const syncs = m.disk.calls.get(.sync);
    for (0..10) |i| try m.put(@intCast(i), @intCast(i));
    try testing.expect(try m.processes[0].waitDurable(m.history.items[3].position, 0));
    try testing.expectEqual(syncs + 1, m.disk.calls.get(.sync));
    try testing.expect(try m.processes[0].waitDurable(m.next(), 0));
    try testing.expectEqual(syncs + 1, m.disk.calls.get(.sync));
    try testing.expectEqual(m.next(), m.durable());
    try m.expectPrefix(&m.disk, m.next());
}

test "Durability: others ask the leader, and a wait ends with its time" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    try testing.expect(m.processes[0].round() or true);
    try testing.expect(!m.processes[1].round());
    try m.put(1, 10);
    try testing.expect(!try m.processes[1].waitDurable(m.next(), 1));
    try testing.expectEqual(m.next(), m.region.control.log.sync_wanted.raw);
    m.processes[0].syncRound();
    try testing.expect(try m.processes[1].waitDurable(m.next(), 1));
    // Its predecessor leaves in order, and it goes on in a segment of its own.
    m.processes[0].stop();
    _ = m.processes[1].round();
    try testing.expect(m.processes[1].keeper != null);
    try m.put(2, 20);
    try m.processes[1].flush();
    try m.expectPrefix(&m.disk, m.next());
}

/// Lets a process wait for what is committed, which another one syncs.
fn waitThrough(m: *Machine, leader: *Durability, waiter: *Durability) !void {
    const Waiting = struct {
        fn run(process: *Durability, position: u64, outcome: *bool) void {
            outcome.* = process.waitDurable(position, std.math.maxInt(u64)) catch false;
        }
    };
    var outcome = false;
    const position = m.next();
    const thread = try std.Thread.spawn(.{}, Waiting.run, .{ waiter, position, &outcome });
    while (m.region.control.log.sync_wanted.load(.acquire) < position) sync.yield();
    leader.syncRound();
    thread.join();
    try testing.expect(outcome);
}

test "Durability: who alone waits for the disk takes the lead, and who does not, does not" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const first = &m.processes[0];
    const second = &m.processes[1];
    _ = first.round();
    for (0..3 * log_patience.Alone.streak_min) |i| {
        // The leader waits as well, for a sync of its own or for the same one.
        try m.put(1, @intCast(i));
        if (i % 2 == 0) try first.flush() else _ = log_gather.arrive(&m.region);
        try m.put(1, @intCast(i));
        try waitThrough(&m, first, second);
        try testing.expect(!second.round());
        try testing.expect(second.keeper == null);
    }
    var waits: u32 = 0;
    while (second.keeper == null) : (waits += 1) {
        try testing.expect(waits <= log_patience.Alone.streak_min + 1);
        try m.put(2, @intCast(waits));
        try waitThrough(&m, first, second);
        _ = second.round();
    }
    try testing.expect(waits >= log_patience.Alone.streak_min - 2);
    // What the old leader has not yet noticed does no harm.
    try m.put(3, 3);
    try testing.expect(!first.drainOnce());
    _ = first.round();
    try testing.expect(first.keeper == null);
    try m.put(4, 4);
    try testing.expect(try second.waitDurable(m.next(), 0));
    try m.expectPrefix(&m.disk, m.next());
    // The old one may have the lead back in the same way, if it has not done so before.
    waits = 0;
    while (first.keeper == null) : (waits += 1) {
        try testing.expect(waits <= log_patience.Alone.streak_min + 2);
        try m.put(5, @intCast(waits));
        try waitThrough(&m, second, first);
        _ = first.round();
    }
    _ = second.round();
    // But `second` has to wait for some time: they would chase each other.
    for (0..2 * log_patience.Alone.streak_min) |i| {
        try m.put(6, @intCast(i));
        try waitThrough(&m, first, second);
        try testing.expect(!second.round());
    }
    try testing.expect(second.keeper == null);
    try m.expectPrefix(&m.disk, m.next());
}

test "Durability: who begins to wait in the leader's thread has blocks written ahead" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const process = &m.processes[0];
    _ = process.round();
    // Nobody waits: the next segment is only set aside.
    const active = &process.keeper.?.writer.active;
    const first = active.number;
    var count: u8 = 0;
    while (active.number == first) : (count +%= 1) {
        try m.put(1, count);
        process.syncRound();
    }
    try testing.expect(active.filled < active.size);
    try m.put(1, 1);
    process.syncRound();
    try testing.expect(active.filled < active.size);
    try m.put(1, 2);
    try testing.expect(try process.waitDurable(m.next(), 0));
    try testing.expectEqual(active.size, active.filled);
}

test "Durability: when the log is idle, damage to what was synced last is not taken for its end" {
    for ([_]bool{ false, true }) |marked| {
        var m: Machine = undefined;
        try m.init();
        defer m.deinit();
        const process = &m.processes[0];
        _ = process.round();
        try m.put(1, 1);
        try process.flush();
        try m.put(2, 2);
        try process.flush();
        const end = process.keeper.?.writer.active.end;
        const syncs = m.disk.calls.get(.sync);
        const writes = m.disk.calls.get(.write);
        // Once, and nobody waits for it.
        process.markIfIdle();
        process.markIfIdle();
        try testing.expectEqual(syncs, m.disk.calls.get(.sync));
        try testing.expectEqual(writes + 1, m.disk.calls.get(.write));
        try testing.expect(process.keeper.?.writer.active.end > end);

        const disk = &m.disk;
        const place = process.keeper.?.writer.last_place;
        const name = log_segment.Name.of(place.number);
        if (!marked) @memset(disk.contents(name.slice()).?[end..], 0);
        disk.flipBit(name.slice(), 8 * place.offset + 300);
        var log: log_reader.LogReader = try .open(testing.allocator, disk.files(), .{
            .store_uuid = @splat(7),
        });
        defer log.close();
        try testing.expectEqual(marked, log.verdict == .damaged);
        if (marked) try testing.expectEqual(m.next(), log.verdict.damaged.last);
        try testing.expectEqual(m.next() - 1, log.last_position);
        disk.flipBit(name.slice(), 8 * place.offset + 300);
        // What follows stands behind the mark.
        if (!marked) continue;
        try m.put(3, 3);
        try process.flush();
        try m.expectPrefix(disk, m.next());
    }
}

/// Commits and syncs until the disk refuses, which stands for a kill inside of that call.
fn runUntilKilled(m: *Machine, killed: usize) !u64 {
    const process = &m.processes[killed];
    var acknowledged: u64 = m.durable();
    _ = process.round();
    for (0..6) |i| {
        if (process.keeper == null or process.is_over) break;
        try m.put(@intCast(i), @intCast(100 * killed + i));
        if (i % 3 == 2) {
            if (process.waitDurable(m.next(), 0) catch false) acknowledged = m.next();
        } else _ = process.round();
    }
    return acknowledged;
}

test "Durability: killed at each call of the disk, no acknowledged commit is lost" {
    try emulation.skip();
    for (std.enums.values(file_layer_memory.Call)) |call| {
        var after: u32 = 0;
        while (true) : (after += 1) {
            var m: Machine = undefined;
            try m.init();
            defer m.deinit();
            const first = try runUntilKilled(&m, 0);
            m.dead[0] = true;
            // The second one takes over from the first, and is killed somewhere in between.
            m.disk.fault = .{ .call = call, .after = after };
            const second = @max(first, try runUntilKilled(&m, 1));
            const struck = m.disk.fault.?.after == 0;
            m.disk.fault = null;
            m.dead[1] = true;
            m.region.control.shared.log_state.raw = @intFromEnum(LogState.working);

            var random: std.Random.DefaultPrng = .init(after);
            var image = try m.disk.crash(random.random(), .{});
            defer image.deinit();
            try m.expectPrefix(&image, second);
            // Processes died, the machine goes on: nothing is lost at all.
            _ = m.processes[2].round();
            try m.processes[2].flush();
            try testing.expectEqual(m.next(), m.durable());
            try m.expectPrefix(&m.disk, m.next());
            if (!struck) break;
        }
    }
}

test "Durability: a full disk refuses commits before they share anything, and takes them again" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const process = &m.processes[0];
    _ = process.round();
    m.disk.fault = .{ .call = .reserve, .err = error.NoSpace };
    process.syncRound();
    try testing.expectEqual(LogState.no_space, m.state());
    const before = m.next();
    try testing.expectError(error.DiskFull, m.put(1, 1));
    try testing.expectEqual(before, m.next());

    m.disk.fault = null;
    process.retry = .{};
    _ = process.round();
    try testing.expectEqual(LogState.working, m.state());
    try m.put(1, 1);
    try process.flush();
    try m.expectPrefix(&m.disk, m.next());
}

test "Durability: what was committed before the disk was full is written when it has room" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const process = &m.processes[0];
    _ = process.round();
    m.disk.fault = .{ .call = .reserve, .err = error.NoSpace };
    // More than the segment holds.
    for (0..3000) |i| {
        if (i % 100 == 99) _ = process.round();
        m.put(@intCast(i % keys_max), @intCast(i)) catch |err| {
            try testing.expectEqual(error.DiskFull, err);
            break;
        };
    }
    try testing.expectEqual(LogState.no_space, m.state());
    try testing.expect(ring.drainedPosition(&m.region) < m.next());
    try testing.expect(!try process.waitDurable(m.next(), 1));
    m.disk.fault = null;
    process.retry = .{};
    _ = process.round();
    try process.flush();
    try testing.expectEqual(m.next(), m.durable());
    try m.expectPrefix(&m.disk, m.next());
}

test "Durability: on a full disk a small segment takes what was let in, and commits stay refused" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const process = &m.processes[0];
    _ = process.round();
    process.syncRound();
    // Room for a segment that is smaller than they are, and none for another as it should be.
    const room = 5 * log_segment.block_size;
    m.disk.capacity = m.disk.used() + room;
    var i: u32 = 0;
    while (!process.blocked) : (i += 1) {
        m.put(@intCast(i % keys_max), i) catch |err| try testing.expectEqual(error.DiskFull, err);
        if (i % 100 == 99) _ = process.drainOnce();
    }
    try testing.expectEqual(LogState.no_space, m.state());
    const drained = ring.drainedPosition(&m.region);
    try testing.expect(drained < m.next());
    process.retry = .{};
    _ = process.round();
    try testing.expect(ring.drainedPosition(&m.region) > drained);
    try testing.expectEqual(LogState.no_space, m.state());
    try testing.expectError(error.DiskFull, m.put(1, 1));
    // With room again, there is a whole one in its place.
    m.disk.capacity = 1 << 40;
    process.retry = .{};
    _ = process.round();
    try process.flush();
    try testing.expectEqual(LogState.working, m.state());
    try testing.expect(process.keeper.?.writer.spare.?.size >= process.options.segment_size);
    try m.put(1, 1);
    try process.flush();
    try m.expectPrefix(&m.disk, m.next());
}

test "Durability: a disk that is full or fails at any call costs waiting, and no commit" {
    try emulation.skip();
    const Fault = file_layer_memory.Fault;
    for (std.enums.values(file_layer_memory.Call)) |call| {
        for ([_]Fault{
            .{ .call = call, .err = error.NoSpace },
            .{ .call = call, .once = true },
            .{ .call = call, .once = true, .done = true },
        }) |kind| {
            var fault = kind;
            while (try failLog(fault)) fault.after += 1 + fault.after / 8;
        }
    }
}

/// Runs a log on a disk with a fault, and then without. False if it never came to that call.
fn failLog(fault: file_layer_memory.Fault) !bool {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    m.disk.fault = fault;
    const process = &m.processes[0];
    _ = process.round();
    var acknowledged: u64 = 1;
    for (0..40) |i| {
        // Larger than a segment in all, so that there is a next one.
        m.put(@intCast(i % keys_max), @intCast(i)) catch |err| {
            try testing.expect(err == error.DiskFull or err == error.LogFailed);
        };
        if (i % 8 == 7) _ = process.waitDurable(m.next(), 0) catch false;
        process.syncRound();
        _ = process.round();
        acknowledged = @max(acknowledged, m.durable());
    }
    const struck = if (m.disk.fault) |left| left.after == 0 else true;
    m.disk.fault = null;
    var random: std.Random.DefaultPrng = .init(fault.after);
    var before = try m.disk.crash(random.random(), .{});
    defer before.deinit();
    try m.expectPrefix(&before, acknowledged);
    // What was refused in the middle of a write or a sync is copied into another file.
    for (0..4) |_| {
        process.retry = .{};
        _ = process.round();
        process.flush() catch continue;
    }
    try testing.expectEqual(LogState.working, m.state());
    try m.put(1, 1);
    try process.flush();
    try testing.expectEqual(m.next(), m.durable());
    var image = try m.disk.crash(random.random(), .{});
    defer image.deinit();
    try m.expectPrefix(&image, m.next());
    return struck;
}

test "Durability: after an error of a sync the log goes on in a new file, or not at all" {
    for ([_]file_layer_memory.Call{ .sync, .write }) |call| {
        var m: Machine = undefined;
        try m.init();
        defer m.deinit();
        const process = &m.processes[0];
        _ = process.round();
        try m.put(1, 1);
        try process.flush();
        try m.put(2, 2);
        m.disk.fault = .{ .call = call };
        const outcome = process.waitDurable(m.next(), 0);
        try testing.expectError(error.DurabilityUnknown, outcome);
        try testing.expectError(error.LogFailed, m.put(3, 3));
        process.retry = .{};
        _ = process.round();
        try testing.expectEqual(LogState.failed, m.state());

        m.disk.fault = null;
        process.retry = .{};
        _ = process.round();
        try testing.expectEqual(LogState.working, m.state());
        try m.put(3, 3);
        try process.flush();
        try m.expectPrefix(&m.disk, m.next());
    }
}

test "Durability: a leader that stood still finds another one, and its segment sealed" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const old = &m.processes[0];
    _ = old.round();
    try m.put(1, 1);
    try old.flush();
    try m.put(2, 2);
    _ = old.drainOnce();
    // It stands between a write and the swap of `drained`.
    try m.put(3, 3);
    const stamped = ring.stampedPosition(&m.region);
    const writer = &old.keeper.?.writer;
    const result = old.keeper.?.drain.range(writer, old.keeper.?.leader.drainedPosition(), stamped);
    try testing.expectEqual(null, result.failure);
    try writer.flush();

    const new = &m.processes[1];
    try testing.expect(!new.round());
    m.dead[0] = true;
    _ = new.round();
    try m.put(4, 4);
    try new.flush();
    try m.expectPrefix(&m.disk, m.next());
    m.dead[0] = false;
    try testing.expect(!old.keeper.?.leader.passDrained(stamped));
    try testing.expect(!old.round());
    try testing.expectEqual(null, old.keeper);
    try testing.expectEqual(m.next(), m.durable());
    try m.expectPrefix(&m.disk, m.next());
}

test "Durability: while the log stands, the ring fills up and no further" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const process = &m.processes[0];
    _ = process.round();
    const cells = ring.cellCount(&m.region);
    var written: u64 = 0;
    while (!ring.isCrowded(&m.region)) : (written += 1) {
        try m.put(@intCast(written % keys_max), @intCast(written));
    }
    try testing.expect(written < cells);
    // Snapshots are taken and read all the same.
    m.session.pin();
    const cell = [_]u8{ 1, 0, 'a' };
    const reader = @import("reader.zig");
    const view: reader.View = .{ .snapshot = reader.snapshotNow(&m.region) };
    const row = try reader.find(&m.region, m.table, .of(0, &cell), view);
    m.session.unpin();
    try testing.expect(row != null);
    _ = process.round();
    try testing.expect(!ring.isCrowded(&m.region));
    try process.flush();
    try m.expectPrefix(&m.disk, m.next());
}
