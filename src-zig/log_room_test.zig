//! A leader is killed while the disk is full, and whoever comes after it makes room.
//!
//! The region and the disk are those of `durability_test.zig`. The disk has no byte left, and takes
//! only what is given back.

const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const emulation = @import("emulation.zig");
const log_segment = @import("log_segment.zig");
const memory = @import("file_layer_memory.zig");
const model = @import("durability_test.zig");
const region_module = @import("region.zig");
const region_trust = @import("region_trust.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const truncation = @import("truncation.zig");
const recover = @import("log_repair_test.zig").recover;
const Durability = @import("durability.zig").Durability;
const LogState = region_module.LogState;
const Machine = model.Machine;
const Snapshot = snapshot_file.Snapshot;
const testing = std.testing;
const gpa = testing.allocator;

const uuid: [16]u8 = @splat(7);
/// Rounds after which a leader who can make room has made it.
const rounds_enough = 8;

/// What there is besides the newest snapshot and the log.
const Left = enum {
    /// An older snapshot, and the segments that only it needs.
    older,
    /// The reserve that was made of it.
    reserve,
    /// Nothing, and no snapshot at all.
    nothing,
};

/// A process writes the log, the disk gets full, and the process is killed with commits in the
/// region that are not in the log. Returns the last position that somebody was told is on the disk.
fn killOnFull(m: *Machine, left: Left) !u64 {
    m.rescueAll();
    for (&m.processes) |*process| process.options.segment_size = 2 * log_segment.size_min;
    const process = &m.processes[0];
    _ = process.round();
    const segments: u32 = if (left == .older) 2 else 1;
    if (left != .nothing) for ([_]u32{ 1, segments }) |count| {
        for (0..count) |_| try writeSegments(m, process);
        _ = try writeCheckpoint(m, process);
    };
    try m.put(1, 10);
    try process.flush();
    if (left == .reserve) try testing.expect(try Machine.remove(m, .older));
    m.disk.capacity = m.disk.used();
    try m.put(2, 20);
    // What the successor has to copy takes a larger segment than there will be room for.
    if (left != .older) _ = process.drainOnce();
    try m.put(3, 30);
    m.dead[0] = true;
    return m.durable();
}

/// Goes on until the log is in another segment.
fn writeSegments(m: *Machine, process: *Durability) !void {
    const number = process.keeper.?.writer.segmentNumber();
    var i: u32 = 0;
    while (process.keeper.?.writer.segmentNumber() == number) : (i += 1) {
        try m.put(@intCast(i % model.keys_max), i);
        if (i % 200 == 199) process.syncRound();
    }
    try process.flush();
}

const Flush = struct {
    m: *Machine,
    process: *Durability,

    fn wait(context: *anyopaque, position: u64) checkpoint.Error!u64 {
        const flush: *Flush = @ptrCast(@alignCast(context));
        const is_there = flush.process.waitDurable(position, 0) catch return error.IoError;
        if (!is_there) return error.DiskFull;
        return flush.m.region.control.log.logged.load(.acquire);
    }
};

/// As `store_files` does it.
fn writeCheckpoint(m: *Machine, process: *Durability) checkpoint.Error!checkpoint.Result {
    var flush: Flush = .{ .m = m, .process = process };
    const result = try checkpoint.replace(m.disk.files(), gpa, m.session, &m.catalogue, .{
        .store_uuid = uuid,
        .incarnation = m.region.header.incarnation,
        .log = .{ .flush = .{ .context = &flush, .wait = Flush.wait } },
    });
    _ = m.region.control.log.checkpoint_newest.fetchMax(result.start, .acq_rel);
    return result;
}

/// Lets a process look until it writes the log. False if it does not come to that.
fn takeOver(process: *Durability) bool {
    for (0..rounds_enough) |_| {
        process.retry = .{};
        process.room.retry = .{};
        _ = process.round();
        if (process.keeper != null and !process.is_over) return true;
    }
    return false;
}

/// A power cut leaves what was promised, and the rows of one position.
fn expectSafe(m: *Machine, random: std.Random, promised: u64) !void {
    var image = try m.disk.crash(random, .{});
    defer image.deinit();
    const found = try recover(&image);
    try testing.expect(found.last >= promised);
    try testing.expectEqual(m.expected(found.last), found.rows);
}

/// A process that has taken over has all there was, and checkpoints make room for more.
fn expectGoesOn(m: *Machine, process: *Durability, random: std.Random) !void {
    try process.flush();
    try testing.expectEqual(m.next(), m.durable());
    try expectSafe(m, random, m.next());
    try testing.expectEqual(LogState.working, m.state());
    try m.put(5, 50);
    try process.flush();
    _ = try writeCheckpoint(m, process);
    try expectSafe(m, random, m.next());
}

/// Whether the newest snapshot stands in the place of the log.
fn beginsLog(m: *Machine) !bool {
    const starts = try snapshot_file.list(m.disk.files(), gpa);
    defer gpa.free(starts);
    var newest: Snapshot = try .open(m.disk.files(), gpa, uuid, starts[0]);
    defer newest.close();
    return newest.logBegins() != null;
}

test "log_room: gives up what only the older snapshot needs, and the log goes on as it is" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    _ = try killOnFull(&m, .older);
    try testing.expect(takeOver(&m.processes[1]));
    try testing.expect(!try beginsLog(&m));
    var prng: std.Random.DefaultPrng = .init(1);
    try expectGoesOn(&m, &m.processes[1], prng.random());
}

test "log_room: where there is only the reserve, a snapshot in it takes the place of the log" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const acknowledged = try killOnFull(&m, .reserve);
    try testing.expect(acknowledged < m.next());
    const process = &m.processes[1];
    _ = process.round();
    try testing.expectEqual(LogState.no_space, m.state());
    try testing.expectError(error.DiskFull, m.put(4, 40));
    try testing.expect(takeOver(process));
    try testing.expect(try beginsLog(&m));
    try testing.expectEqual(m.next(), m.durable());
    var prng: std.Random.DefaultPrng = .init(1);
    try expectGoesOn(&m, process, prng.random());
}

test "log_room: without a snapshot nothing goes, until the owner makes room" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const acknowledged = try killOnFull(&m, .nothing);
    const used = m.disk.used();
    const process = &m.processes[1];
    try testing.expect(!takeOver(process));
    try testing.expectEqual(LogState.no_space, m.state());
    try testing.expectEqual(used, m.disk.used());
    var prng: std.Random.DefaultPrng = .init(1);
    try expectSafe(&m, prng.random(), acknowledged);
    m.disk.capacity = 1 << 40;
    try testing.expect(takeOver(process));
    try expectGoesOn(&m, process, prng.random());
}

test "log_room: killed at each call of the disk, the next one makes room, and nothing is lost" {
    try emulation.skip();
    for ([_]Left{ .older, .reserve }) |left| for (std.enums.values(memory.Call)) |call| {
        var after: u32 = 0;
        while (try killRoom(left, call, after)) after += 1 + after / 4;
    };
}

/// Kills the one who makes room at one call. False if there was none.
fn killRoom(left: Left, call: memory.Call, after: u32) !bool {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const acknowledged = try killOnFull(&m, left);
    m.disk.fault = .{ .call = call, .after = after, .written = 100 };
    _ = takeOver(&m.processes[1]);
    const struck = m.disk.fault.?.after == 0;
    m.disk.fault = null;
    m.dead[1] = true;
    var prng: std.Random.DefaultPrng = .init(after);
    try expectSafe(&m, prng.random(), @max(acknowledged, m.durable()));
    // If nobody else has the region open, the next opener believes it.
    try testing.expectEqual(null, try distrust(&m));
    const next = &m.processes[2];
    try testing.expect(takeOver(next));
    try expectGoesOn(&m, next, prng.random());
    return struck;
}

/// Why the region would not be taken as it is; null if it would be.
fn distrust(m: *Machine) !?region_trust.Reason {
    var detail: status.Detail = .{};
    const claim: region_trust.Claim = .of(m.region.header, m.region.control);
    return region_trust.compare(m.disk.files(), gpa, &claim, &detail);
}

test "log_room: after an error of any call of the disk it is tried again, and nothing is lost" {
    try emulation.skip();
    for (std.enums.values(memory.Call)) |call| for ([_]memory.Fault{
        .{ .call = call, .err = error.NoSpace, .once = true },
        .{ .call = call, .once = true, .done = true },
    }) |fault| {
        var after: u32 = 0;
        while (try failRoom(fault, after)) after += 1 + after / 4;
    };
}

/// Fails one call of the one who makes room. False if there was none.
fn failRoom(fault: memory.Fault, after: u32) !bool {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const acknowledged = try killOnFull(&m, .reserve);
    m.disk.fault = fault;
    m.disk.fault.?.after = after;
    const process = &m.processes[1];
    try testing.expect(takeOver(process));
    const struck = m.disk.fault == null;
    m.disk.fault = null;
    var prng: std.Random.DefaultPrng = .init(after);
    try expectSafe(&m, prng.random(), @max(acknowledged, m.durable()));
    try expectGoesOn(&m, process, prng.random());
    return struck;
}

test "log_room: a checkpoint while no segment is left stands in the place of the log as well" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    _ = try killOnFull(&m, .reserve);
    const process = &m.processes[1];
    // The room that it gets is taken by somebody else.
    while (true) {
        m.disk.fault = .{ .call = .reserve, .err = error.NoSpace, .name = ".wal" };
        process.retry = .{};
        process.room.retry = .{};
        _ = process.round();
        if (process.room.replaced != 0) break;
    }
    try testing.expectEqual(null, process.keeper);
    try testing.expectEqual(m.next(), m.durable());
    m.disk.fault = null;
    m.disk.capacity = 1 << 40;
    const result = try writeCheckpoint(&m, process);
    try testing.expectEqual(m.next(), result.start);
    try testing.expect(try beginsLog(&m));
    var prng: std.Random.DefaultPrng = .init(1);
    try expectSafe(&m, prng.random(), m.next());
    try testing.expect(takeOver(process));
    try expectGoesOn(&m, process, prng.random());
}

test "log_room: numbers of segments are not given out again when the log is replaced" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    _ = try killOnFull(&m, .reserve);
    const number = m.processes[0].keeper.?.writer.segmentNumber();
    // Of all files with a number, only those that are replaced are left.
    const numbers = try log_segment.numbers(m.disk.files(), gpa);
    defer gpa.free(numbers);
    for (numbers) |other| {
        if (other > number) try m.disk.files().unlink(log_segment.Name.of(other).slice());
    }
    m.disk.capacity = m.disk.used();
    try testing.expect(takeOver(&m.processes[1]));
    try testing.expectEqual(null, m.disk.contents(log_segment.Name.of(number).slice()));
    try testing.expect(m.processes[1].keeper.?.writer.segmentNumber() > number);
}
