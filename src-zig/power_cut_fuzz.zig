//! Power cuts over the log that the processes write themselves.
//!
//! Several processes, which are `Durability`s without threads, share one region and one disk, both
//! in memory. They commit with `on` and with `off`, write checkpoints, are killed inside of any
//! call of the disk, and take over from each other. Now and then a call of the disk fails, of the
//! log or of a checkpoint, whether it has done what it should or not; perhaps what was written
//! cannot be read either, and the log is repaired. Or the disk is full for a while, and checkpoints
//! make room, or whoever finds none to lead makes it (`log_room.zig`). Every few steps the power is
//! cut: a copy of the disk is made on which any subset of the blocks and names that were not synced
//! is missing or torn, and it is recovered.
//!
//! Checks, for each of these images:
//!
//!   * it is recovered: no power cut is a reason to refuse
//!   * the rows are those of one position, and whole transactions: no earlier than the last
//!     position that somebody was told is on the disk
//!   * `verify` finds nothing
//!
//! And after a kill of all processes, with the page cache intact, everything is there that was
//! drained. Now and then the store goes on from an image.

const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const durability = @import("durability.zig");
const emulation = @import("emulation.zig");
const log_repair = @import("log_repair.zig");
const log_segment = @import("log_segment.zig");
const memory = @import("file_layer_memory.zig");
const model = @import("recovery_model.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const truncation = @import("truncation.zig");
const vacuum = @import("vacuum.zig");
const Durability = durability.Durability;
const LogState = region_module.LogState;
const MemoryDisk = memory.MemoryDisk;
const Position = @import("version.zig").Position;
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;
const testing = std.testing;

const process_count = 3;
/// Rounds of a leader within which it has repaired the log.
const repair_rounds_max = 8;
/// Power cuts after which the store goes on, before it is made anew.
const restarts_max = 4;
/// Images of one moment.
const images_per_cut = 4;
/// Steps after which the ring is drained in any case, so that no commit waits for room.
const undrained_max = 64;

/// Returns the number of images that were recovered.
pub fn run(gpa: Allocator, seed: u64, rounds: usize) !u64 {
    var prng: std.Random.DefaultPrng = .init(seed);
    var images: u64 = 0;
    for (0..rounds) |_| images += try life(gpa, prng.random());
    return images;
}

/// One store from its beginning to its end.
fn life(gpa: Allocator, random: std.Random) !u64 {
    var disks: [restarts_max + 1]MemoryDisk = undefined;
    var count: usize = 1;
    var images: u64 = 0;
    disks[0] = .init(gpa);
    defer for (disks[0..count]) |*disk| disk.deinit();
    var machine: Machine = undefined;
    try machine.init(gpa, random, &disks[0]);
    defer machine.deinit();
    for (0..restarts_max) |_| {
        for (0..1 + random.uintLessThan(u32, 6)) |_| {
            for (0..random.uintLessThan(u32, 40)) |_| try machine.step();
            for (0..images_per_cut) |_| {
                var image = try machine.disk.crash(random, cut(random));
                defer image.deinit();
                _ = try machine.expectRecovered(&image, machine.acknowledged);
                images += 1;
            }
            // All processes are killed, and the machine stays up.
            _ = try machine.expectRecovered(
                machine.disk,
                ring.drainedPosition(&machine.store.region),
            );
        }
        disks[count] = try machine.disk.crash(random, cut(random));
        count += 1;
        images += 1;
        try machine.restart(&disks[count - 1]);
    }
    return images;
}

fn cut(random: std.Random) memory.CrashOptions {
    return .{
        .kept_percent = random.uintAtMost(u8, 100),
        .torn_percent = random.uintAtMost(u8, 50),
        .name_percent = random.uintAtMost(u8, 100),
    };
}

/// The region, its processes, its disk, and what was committed.
const Machine = struct {
    gpa: Allocator,
    random: std.Random,
    disk: *MemoryDisk,
    store: model.Store,
    processes: [process_count]Durability,
    generations: [process_count]u64,
    dead: [process_count]bool,
    current: model.Model = .{},
    history: std.ArrayList(model.Change) = .empty,
    /// The last position that somebody was told is on the disk.
    acknowledged: Position = 1,
    incarnation: u64 = 1,
    undrained: u32 = 0,
    /// Nothing else happens during a checkpoint.
    is_quiet: bool = false,

    fn init(machine: *Machine, gpa: Allocator, random: std.Random, disk: *MemoryDisk) !void {
        machine.* = .{
            .gpa = gpa,
            .random = random,
            .disk = disk,
            .store = undefined,
            .processes = undefined,
            .generations = @splat(0),
            .dead = undefined,
        };
        try machine.store.init(gpa, .{ .store_uuid = model.uuid });
        machine.join();
        errdefer machine.deinit();
        try machine.declare(0, false);
    }

    /// All processes open the region.
    fn join(machine: *Machine) void {
        const working = @intFromEnum(LogState.working);
        machine.store.region.control.shared.log_state.store(working, .release);
        for (0..process_count) |i| machine.open(i);
    }

    fn open(machine: *Machine, i: usize) void {
        machine.dead[i] = false;
        machine.generations[i] += 1;
        machine.processes[i] = .init(.{
            .gpa = machine.gpa,
            .region = &machine.store.region,
            .files = machine.disk.files(),
            .tables = .{ .context = machine, .find = findTable },
            // The first one is that of the session that commits.
            .identity = .{ .process = @intCast(i + 1), .generation = machine.generations[i] },
            .liveness = .{ .context = machine, .isGone = isGone },
            .segment_size = log_segment.size_min,
            .rescue = .{ .context = machine, .write = rescue, .remove = removeSuperfluous },
        });
    }

    fn deinit(machine: *Machine) void {
        machine.leave();
        machine.store.deinit();
        machine.history.deinit(machine.gpa);
    }

    fn leave(machine: *Machine) void {
        for (0..process_count) |i| machine.kill(i);
    }

    /// Frees what a process has on the heap of this one. Nothing is written any more.
    fn kill(machine: *Machine, i: usize) void {
        if (machine.dead[i]) return;
        machine.dead[i] = true;
        const process = &machine.processes[i];
        if (process.keeper) |*keeper| keeper.end();
        if (process.session) |session| session.close();
    }

    fn findTable(context: *anyopaque, id: u8) ?*const TableInfo {
        const machine: *Machine = @ptrCast(@alignCast(context));
        return machine.store.table(id) catch null;
    }

    /// An entry that was taken again has another generation.
    fn isGone(context: *anyopaque, process: u32, generation: u24) bool {
        const machine: *Machine = @ptrCast(@alignCast(context));
        const i = process - 1;
        return machine.dead[i] or @as(u24, @truncate(machine.generations[i])) != generation;
    }

    /// The process that leads; somebody takes the lead if nobody has it.
    fn leader(machine: *Machine) !*Durability {
        for (0..2) |_| {
            for (&machine.processes, machine.dead) |*process, dead| {
                if (dead) continue;
                _ = process.round();
                if (process.keeper != null and !process.is_over) return process;
            }
        }
        return error.NobodyLeads;
    }

    /// One thing that happens.
    fn step(machine: *Machine) !void {
        switch (machine.random.uintLessThan(u32, 100)) {
            0 => try machine.declareSome(),
            1...2 => try machine.writeCheckpoint(),
            3...5 => try machine.killLeader(),
            6 => try machine.failLog(),
            7 => try machine.failCall(),
            8 => try machine.failCheckpoint(),
            9...10 => try machine.fillDisk(),
            11...13 => try machine.drain(),
            14...16 => try machine.syncRound(),
            else => try machine.commit(),
        }
        machine.undrained += 1;
        if (machine.undrained >= undrained_max) try machine.drain();
    }

    fn declare(machine: *Machine, id: u32, more: bool) !void {
        try machine.store.declare(id, more);
        machine.settle();
    }

    fn declareSome(machine: *Machine) !void {
        const count = try machine.store.catalogue.refresh();
        const id = machine.random.uintAtMost(u32, @min(count, model.table_count_max - 1));
        try machine.declare(id, machine.random.boolean());
    }

    /// Commits a transaction, and waits for the disk if it is one of those that do.
    fn commit(machine: *Machine) !void {
        const position = try machine.write();
        if (machine.random.uintLessThan(u8, 4) == 0) try machine.waitFor(position);
    }

    fn write(machine: *Machine) !Position {
        var writes: model.Writes = .{
            .random = machine.random,
            .store = &machine.store,
            .model = &machine.current,
        };
        try writes.fill();
        const position = try writes.commit(machine.gpa, &machine.history);
        machine.settle();
        return position;
    }

    fn waitFor(machine: *Machine, position: Position) !void {
        const process = try machine.leader();
        try testing.expect(try process.waitDurable(position, 0));
        machine.noteDurable();
    }

    /// What everybody may read in the region counts as told.
    fn noteDurable(machine: *Machine) void {
        const word = machine.store.region.control.durable.word.load(.acquire);
        machine.acknowledged = @max(machine.acknowledged, ring.Watermark.position(word));
    }

    /// What maintenance threads do.
    fn settle(machine: *Machine) void {
        const session = machine.store.session;
        session.pin();
        _ = ring.advance(&machine.store.region, 1 << 20);
        session.unpin();
        vacuum.advanceHorizon(&machine.store.region);
    }

    fn drain(machine: *Machine) !void {
        const process = try machine.leader();
        _ = process.drainOnce();
        machine.undrained = 0;
        machine.noteDurable();
    }

    fn syncRound(machine: *Machine) !void {
        const process = try machine.leader();
        process.syncRound();
        machine.noteDurable();
    }

    /// Kills the leader inside of some call of the disk, or between two, and its successor perhaps
    /// as well. Then somebody is there to take over.
    fn killLeader(machine: *Machine) !void {
        const random = machine.random;
        for (0..1 + random.uintLessThan(usize, 2)) |_| {
            machine.disk.fault = .{
                .call = random.enumValue(memory.Call),
                .after = random.uintLessThan(u32, 6),
                .written = random.uintLessThan(usize, 3000),
            };
            machine.dieAtFault();
            machine.disk.fault = null;
            const working = @intFromEnum(LogState.working);
            machine.store.region.control.shared.log_state.store(working, .release);
        }
        for (0..process_count) |i| if (machine.dead[i]) machine.open(i);
        _ = try machine.leader();
        machine.noteDurable();
    }

    /// A sync fails, and a later one does not. What the leader has written can be read, or not.
    fn failLog(machine: *Machine) !void {
        const process = try machine.leader();
        const position = machine.store.region.control.next.word.load(.acquire);
        machine.disk.fault = .{ .call = .sync, .once = true };
        const name: log_segment.Name = .of(process.keeper.?.writer.segmentNumber());
        const key = machine.disk.names.getKey(name.slice());
        if (machine.random.boolean()) machine.disk.unreadable = key;
        defer machine.disk.unreadable = null;
        _ = process.waitDurable(position, 0) catch {};
        machine.disk.fault = null;
        try machine.mend();
    }

    /// Some call of the disk fails, whatever it is, and whoever made it lives on.
    fn failCall(machine: *Machine) !void {
        const process = try machine.leader();
        const position = machine.store.region.control.next.word.load(.acquire);
        machine.disk.fault = machine.someFault();
        _ = process.waitDurable(position, 0) catch {};
        process.syncRound();
        machine.noteDurable();
        machine.disk.fault = null;
        try machine.mend();
    }

    /// The same while a checkpoint is written and old files go.
    fn failCheckpoint(machine: *Machine) !void {
        _ = try machine.leader();
        machine.is_quiet = true;
        defer machine.is_quiet = false;
        machine.disk.fault = machine.someFault();
        machine.writeCheckpoint() catch {};
        machine.noteDurable();
        machine.disk.fault = null;
        try machine.mend();
    }

    /// The disk is full for a while. Commits are refused, and checkpoints make room for them, or
    /// find none.
    fn fillDisk(machine: *Machine) !void {
        const random = machine.random;
        machine.is_quiet = true;
        defer machine.is_quiet = false;
        defer machine.disk.capacity = std.math.maxInt(u64);
        const free = random.uintAtMost(u64, 6 * log_segment.size_min);
        machine.disk.capacity = machine.disk.used() + free;
        for (0..random.uintLessThan(u32, 60)) |_| {
            for (&machine.processes) |*process| {
                process.retry = .{};
                process.room.retry = .{};
            }
            if (random.uintLessThan(u8, 6) == 0) machine.killOnFullDisk();
            const process = machine.leader() catch |err| {
                // Whoever would lead finds no room for a segment of its own, and nothing to give.
                try testing.expectEqual(error.NobodyLeads, err);
                const state = machine.store.region.control.shared.log_state.load(.acquire);
                try testing.expectEqual(@intFromEnum(LogState.no_space), state);
                machine.noteDurable();
                continue;
            };
            process.retry = .{};
            switch (random.uintLessThan(u8, 16)) {
                0 => machine.writeCheckpoint() catch |err| {
                    try testing.expect(err == error.DiskFull or err == error.IoError);
                },
                1 => _ = try truncation.giveUpOlder(machine.truncationOptions()),
                2...5 => process.syncRound(),
                6...8 => _ = process.drainOnce(),
                else => _ = machine.write() catch |err|
                    try testing.expectEqual(error.DiskFull, err),
            }
            machine.noteDurable();
        }
        var image = try machine.disk.crash(random, cut(random));
        defer image.deinit();
        _ = try machine.expectRecovered(&image, machine.acknowledged);
        machine.disk.capacity = std.math.maxInt(u64);
        try machine.mend();
    }

    /// Kills the leader, or who would be it, inside of some call of the disk, and another process
    /// comes.
    fn killOnFullDisk(machine: *Machine) void {
        machine.disk.fault = machine.someFault();
        machine.disk.fault.?.once = false;
        machine.dieAtFault();
        machine.disk.fault = null;
        for (0..process_count) |i| if (machine.dead[i]) machine.open(i);
    }

    fn someFault(machine: *Machine) memory.Fault {
        const random = machine.random;
        return .{
            .call = random.enumValue(memory.Call),
            .after = random.uintLessThan(u32, 8),
            .err = if (random.boolean()) error.IoError else error.NoSpace,
            .once = random.boolean(),
            .written = random.uintLessThan(usize, 3000),
            .done = random.uintLessThan(u8, 3) == 0,
        };
    }

    /// Lets the processes look until one of them writes the log again.
    fn mend(machine: *Machine) !void {
        for (0..repair_rounds_max) |_| {
            for (&machine.processes, machine.dead) |*process, dead| {
                if (dead) continue;
                process.retry = .{};
                _ = process.round();
                const state = machine.store.region.control.shared.log_state.load(.acquire);
                if (state != @intFromEnum(LogState.working)) continue;
                if (process.keeper != null and !process.is_over) return machine.noteDurable();
            }
        }
        return error.NotRepaired;
    }

    fn rescue(context: *anyopaque, epoch: u32) checkpoint.Error!Position {
        const machine: *Machine = @ptrCast(@alignCast(context));
        return log_repair.writeSnapshot(
            machine.disk.files(),
            machine.gpa,
            machine.store.session,
            &machine.store.catalogue,
            machine.incarnation,
            epoch,
        );
    }

    fn removeSuperfluous(
        context: *anyopaque,
        what: log_repair.Rescue.Superfluous,
    ) checkpoint.Error!bool {
        const machine: *Machine = @ptrCast(@alignCast(context));
        const removed = switch (what) {
            .older => truncation.giveUpOlder(machine.truncationOptions()),
            .replaced => truncation.removeReplaced(machine.truncationOptions()),
        };
        return removed catch |err| checkpoint.statusOf(err);
    }

    fn truncationOptions(machine: *Machine) truncation.Options {
        const region = &machine.store.region;
        return .{
            .files = machine.disk.files(),
            .gpa = machine.gpa,
            .store_uuid = model.uuid,
            .active = region.control.log.segment.load(.acquire),
            .durable = ring.durablePosition(region),
        };
    }

    fn dieAtFault(machine: *Machine) void {
        for (&machine.processes, 0..) |*process, i| {
            if (machine.dead[i]) continue;
            _ = process.round();
            if (process.keeper == null and process.leader == null) continue;
            process.syncRound();
            machine.noteDurable();
            return machine.kill(i);
        }
    }

    /// Writes a snapshot, with transactions and kills between its rows, and removes what it
    /// replaces.
    fn writeCheckpoint(machine: *Machine) checkpoint.Error!void {
        const result = try checkpoint.replace(
            machine.disk.files(),
            machine.gpa,
            machine.store.session,
            &machine.store.catalogue,
            .{
                .store_uuid = model.uuid,
                .incarnation = machine.incarnation,
                .rows_per_pin = 1 + machine.random.uintLessThan(u32, 8),
                .log = .{ .flush = .{ .context = machine, .wait = flushLog } },
                .progress = .{ .context = machine, .report = interrupt },
            },
        );
        const log = &machine.store.region.control.log;
        _ = log.checkpoint_newest.fetchMax(result.start, .release);
    }

    /// As `store_files` does it.
    fn flushLog(context: *anyopaque, position: Position) checkpoint.Error!Position {
        const machine: *Machine = @ptrCast(@alignCast(context));
        machine.waitFor(position) catch return error.IoError;
        const logged = machine.store.region.control.log.logged.load(.acquire);
        machine.waitFor(logged) catch return error.IoError;
        return logged;
    }

    fn interrupt(context: *anyopaque, _: u64, _: u64) void {
        const machine: *Machine = @ptrCast(@alignCast(context));
        if (machine.is_quiet) return;
        for (0..machine.random.uintLessThan(u32, 3)) |_| {
            const happens = switch (machine.random.uintLessThan(u8, 16)) {
                0 => machine.killLeader(),
                1 => machine.drain(),
                else => machine.commit(),
            };
            happens catch |err| std.debug.panic("in a checkpoint: {t}", .{err});
        }
    }

    /// Recovers a disk, and compares with the history.
    fn expectRecovered(machine: *Machine, disk: *MemoryDisk, promised: Position) !Position {
        var recovered: model.Recovered = undefined;
        try recovered.init(machine.gpa, disk, .none);
        defer recovered.deinit();
        try machine.expectPrefix(recovered.last, promised);
        const expected: model.Model = .at(machine.history.items, recovered.last);
        try recovered.store.expect(&expected);
        return recovered.last;
    }

    /// Positions that no transaction has are passed over: what is committed counts.
    fn expectPrefix(machine: *const Machine, last: Position, promised: Position) !void {
        for (machine.history.items) |*change| {
            if (change.position <= promised) try testing.expect(change.position <= last);
        }
    }

    /// Goes on from what is left on `disk`. The machine it was is gone.
    fn restart(machine: *Machine, disk: *MemoryDisk) !void {
        machine.leave();
        machine.store.deinit();
        var recovered: model.Recovered = undefined;
        try recovered.init(machine.gpa, disk, .none);
        try machine.expectPrefix(recovered.last, machine.acknowledged);
        machine.disk = disk;
        machine.store = recovered.store;
        // It has moved.
        machine.store.session.close();
        machine.store.catalogue.deinit();
        try machine.store.begin();
        machine.incarnation = recovered.incarnation;
        machine.current = .at(machine.history.items, recovered.last);
        var kept: usize = 0;
        for (machine.history.items) |change| {
            if (change.position > recovered.last) continue;
            machine.history.items[kept] = change;
            kept += 1;
        }
        machine.history.shrinkRetainingCapacity(kept);
        machine.acknowledged = recovered.last;
        machine.join();
        try machine.store.expect(&machine.current);
        // Not even the table may have reached the disk.
        if (try machine.store.catalogue.refresh() == 0) try machine.declare(0, false);
    }
};

test "fuzz: any power cut leaves what was promised, and whole transactions" {
    try emulation.skip();
    const images = try run(testing.allocator, 1, 1);
    try testing.expect(images >= restarts_max * (images_per_cut + 1));
}
