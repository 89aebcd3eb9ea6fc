//! Repairs of a log that is lost, on a disk that fails in all ways, with kills in the middle.
//!
//! The region and the disk are those of `durability_test.zig`. What a repair leaves is judged by a
//! cold recovery, because the region may be lost as well.

const std = @import("std");
const catalogue_module = @import("catalogue.zig");
const checkpoint = @import("checkpoint.zig");
const cold_recovery = @import("cold_recovery.zig");
const durability = @import("durability.zig");
const emulation = @import("emulation.zig");
const file_layer = @import("file_layer.zig");
const log_segment = @import("log_segment.zig");
const memory = @import("file_layer_memory.zig");
const model = @import("durability_test.zig");
const reader = @import("reader.zig");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const Durability = durability.Durability;
const LogState = region_module.LogState;
const Machine = model.Machine;
const MemoryDisk = memory.MemoryDisk;
const State = model.State;
const testing = std.testing;
const gpa = testing.allocator;

const uuid: [16]u8 = @splat(7);
/// Rounds after which a repair that the disk allows is done: copies are tried first.
const rounds_enough = 6;

/// What a directory gives back: the rows, and up to which position.
pub const Found = struct { rows: State, last: u64 };

/// Recovers a disk into a region of its own. `error.Corrupt` if it is refused.
pub fn recover(disk: *MemoryDisk) !Found {
    var detail: status.Detail = .{};
    const options: cold_recovery.Options = .{ .store_uuid = uuid };
    var plan = try cold_recovery.examine(disk.files(), gpa, options, &detail);
    defer plan.deinit();
    const config: region_module.Config = .forSize(4 << 20);
    const bytes = try gpa.alignedAlloc(u8, .fromByteUnits(4096), config.size_max);
    defer gpa.free(bytes);
    @memset(bytes, 0);
    try region_module.format(bytes.ptr, config, plan.identity(@splat(0)));
    var region: region_module.Region = .init(bytes.ptr);
    region.control.memory.committed.raw = config.size_max;
    _ = try cold_recovery.load(&plan, &region, &detail);
    return .{ .rows = try rowsOf(&region), .last = plan.last };
}

fn rowsOf(region: *region_module.Region) !State {
    var catalogue: catalogue_module.Catalogue = .init(region, gpa);
    defer catalogue.deinit();
    const table = &(try catalogue.table(0)).table;
    const claim = session_module.processClaim(9, 1);
    const session: *session_module.Session = try .open(region, gpa, claim);
    defer session.close();
    session.pin();
    defer session.unpin();
    var rows: State = @splat(null);
    for (&rows, 0..) |*row, key| {
        const cell = [_]u8{ 1, 0, 'a' + @as(u8, @intCast(key)) };
        const found = try reader.find(region, table, .of(0, &cell), .latest) orelse continue;
        row.* = found.int32(table.columns[Machine.altitude].offset);
    }
    return rows;
}

/// A leader whose log is lost: a sync has failed, and what it has written cannot be read, not even
/// what was durable. Returns the last position that somebody was told is on the disk.
fn loseLog(m: *Machine, how: enum { damaged, unreadable }) !u64 {
    m.rescueAll();
    const process = &m.processes[0];
    _ = process.round();
    try m.put(1, 1);
    try process.flush();
    const place = process.keeper.?.writer.last_place;
    try m.put(2, 2);
    try process.flush();
    const acknowledged = m.durable();
    try m.put(1, 3);
    _ = process.drainOnce();
    try m.put(3, 4);
    m.disk.fault = .{ .call = .sync };
    try testing.expectError(error.DurabilityUnknown, process.waitDurable(m.next(), 0));
    m.disk.fault = null;
    const name: log_segment.Name = .of(place.number);
    switch (how) {
        .damaged => m.disk.flipBit(name.slice(), 8 * (place.offset + 40)),
        .unreadable => m.disk.unreadable = m.disk.names.getKey(name.slice()).?,
    }
    return acknowledged;
}

/// Lets a process look until the log works. False if it does not come to that.
fn repair(m: *Machine, process: *Durability) bool {
    for (0..rounds_enough) |_| {
        process.retry = .{};
        _ = process.round();
        if (m.state() == .working and process.keeper != null) return true;
    }
    return false;
}

/// True if a disk has the snapshot of a repair.
fn isRepaired(disk: *MemoryDisk) !bool {
    const starts = try snapshot_file.list(disk.files(), gpa);
    defer gpa.free(starts);
    return starts.len > 0;
}

/// A power cut takes the region: what comes back is all that there was, or, if the repair had not
/// come to its snapshot, a refusal of the log that is damaged.
fn expectSaved(m: *Machine, random: std.Random) !void {
    for (0..6) |_| {
        var image = try m.disk.crash(random, .{});
        defer image.deinit();
        const found = recover(&image) catch |err| {
            const expected: anyerror = if (m.disk.unreadable == null)
                error.Corrupt
            else
                error.IoError;
            try testing.expectEqual(expected, err);
            try testing.expect(!try isRepaired(&image));
            continue;
        };
        try testing.expectEqual(m.expected(found.last), found.rows);
        try testing.expect(found.last >= m.next());
        // What a recovery has begun is recovered as well.
        const again = try recover(&image);
        try testing.expectEqual(found.rows, again.rows);
        try testing.expect(again.last >= found.last);
    }
}

test "log_repair: what cannot be copied out of a lost log is written down from memory" {
    inline for (.{ .damaged, .unreadable }) |how| {
        var m: Machine = undefined;
        try m.init();
        defer m.deinit();
        _ = try loseLog(&m, how);
        try testing.expectEqual(LogState.failed, m.state());
        try testing.expectError(error.LogFailed, m.put(4, 5));
        const process = &m.processes[0];
        try testing.expect(repair(&m, process));
        try testing.expectEqual(m.next(), m.durable());
        try m.put(4, 5);
        try process.flush();
        // The file that failed lies there, and nobody looks into it.
        var prng: std.Random.DefaultPrng = .init(1);
        var image = try m.disk.crash(prng.random(), .{});
        defer image.deinit();
        const found = try recover(&image);
        try testing.expectEqual(m.next(), found.last);
        try testing.expectEqual(m.expected(found.last), found.rows);
    }
}

test "log_repair: killed at each call of the disk, it saves all or has changed nothing" {
    inline for (.{ .damaged, .unreadable }) |how| {
        for (std.enums.values(memory.Call)) |call| {
            var after: u32 = 0;
            while (try killRepair(how, call, after)) after += 1;
        }
    }
}

/// Kills the leader in its repair at one call. False if there was none.
fn killRepair(comptime how: anytype, call: memory.Call, after: u32) !bool {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    _ = try loseLog(&m, how);
    m.disk.fault = .{ .call = call, .after = after, .written = 100 };
    _ = repair(&m, &m.processes[0]);
    const struck = m.disk.fault.?.after == 0;
    m.disk.fault = null;
    m.dead[0] = true;
    var prng: std.Random.DefaultPrng = .init(after);
    try expectSaved(&m, prng.random());
    // The machine goes on: another process has the same memory before it, and repairs.
    const next = &m.processes[1];
    try testing.expect(repair(&m, next));
    try expectGoesOn(&m, next, prng.random());
    return struck;
}

/// A process that has repaired the log commits, and a power cut takes nothing of that.
fn expectGoesOn(m: *Machine, process: *Durability, random: std.Random) !void {
    try m.put(5, 6);
    try process.flush();
    try testing.expectEqual(m.next(), m.durable());
    var image = try m.disk.crash(random, .{});
    defer image.deinit();
    const found = try recover(&image);
    try testing.expectEqual(m.next(), found.last);
    try testing.expectEqual(m.expected(found.last), found.rows);
}

test "log_repair: after an error of any call of the disk it is tried again, and saves all" {
    try emulation.skip();
    inline for (.{ .damaged, .unreadable }) |how| {
        for (std.enums.values(memory.Call)) |call| for ([_]memory.Fault{
            .{ .call = call, .err = error.NoSpace, .once = true },
            .{ .call = call, .once = true, .done = true },
        }) |fault| {
            var after: u32 = 0;
            while (try failRepair(how, fault, after)) after += 1 + after / 8;
        };
    }
}

/// Fails one call of a repair. False if there was none.
fn failRepair(comptime how: anytype, fault: memory.Fault, after: u32) !bool {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const acknowledged = try loseLog(&m, how);
    const process = &m.processes[0];
    m.disk.fault = fault;
    m.disk.fault.?.after = after;
    var prng: std.Random.DefaultPrng = .init(after);
    while (m.disk.fault != null and !(m.state() == .working and process.keeper != null)) {
        process.retry = .{};
        _ = process.round();
        if (m.state() == .failed) try testing.expectError(error.LogFailed, m.put(4, 5));
        if (m.disk.fault == null) try expectSaved(&m, prng.random());
    }
    const struck = m.disk.fault == null;
    m.disk.fault = null;
    try testing.expect(repair(&m, process));
    try testing.expect(m.durable() >= acknowledged);
    try expectGoesOn(&m, process, prng.random());
    return struck;
}

test "log_repair: while the disk takes nothing the log stays failed, and reads go on" {
    for ([_]memory.Call{ .open, .write, .reserve, .sync, .sync_directory, .rename }) |call| {
        var m: Machine = undefined;
        try m.init();
        defer m.deinit();
        _ = try loseLog(&m, .damaged);
        const process = &m.processes[0];
        const err: file_layer.Error =
            if (call == .reserve) error.NoSpace else error.IoError;
        m.disk.fault = .{ .call = call, .err = err };
        try testing.expect(!repair(&m, process));
        try testing.expect(m.state() != .working);
        const before = m.next();
        try testing.expect(std.meta.isError(m.put(4, 5)));
        try testing.expectEqual(before, m.next());
        try testing.expectEqual(m.expected(before), try rowsOf(&m.region));
        m.disk.fault = null;
        try testing.expect(repair(&m, process));
        try m.put(4, 5);
        try process.flush();
        try testing.expectEqual(m.next(), m.durable());
    }
}

test "log_repair: a log that goes on behind a snapshot is not read without it" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    m.rescueAll();
    const process = &m.processes[0];
    _ = process.round();
    try m.put(1, 1);
    try process.flush();
    try m.put(2, 2);
    m.disk.fault = .{ .call = .write };
    try testing.expectError(error.DurabilityUnknown, process.waitDurable(m.next(), 0));
    m.disk.fault = null;
    const name: log_segment.Name = .of(process.keeper.?.writer.segmentNumber());
    m.disk.unreadable = m.disk.names.getKey(name.slice()).?;
    try testing.expect(repair(&m, process));
    try m.put(5, 6);
    try process.flush();
    // The files of before can be read again, and lack only what is nowhere but in the snapshot.
    m.disk.unreadable = null;
    const starts = try snapshot_file.list(m.disk.files(), gpa);
    defer gpa.free(starts);
    m.disk.flipBit(snapshot_file.Name.of(starts[0]).slice(), 8 * 40);
    try testing.expectError(error.Corrupt, recover(&m.disk));
}

/// Writes the snapshot, and does not come to what follows; meanwhile the files can be read again.
fn rescueAndStop(context: *anyopaque, epoch: u32) checkpoint.Error!u64 {
    const m: *Machine = @ptrCast(@alignCast(context));
    _ = try Machine.rescue(context, epoch);
    m.disk.unreadable = null;
    return error.Busy;
}

test "log_repair: a copy that works after all counts, although it begins before the snapshot" {
    var m: Machine = undefined;
    try m.init();
    defer m.deinit();
    const acknowledged = try loseLog(&m, .unreadable);
    const process = &m.processes[0];
    process.options.rescue.?.write = rescueAndStop;
    try testing.expect(repair(&m, process));
    try testing.expect(try isRepaired(&m.disk));
    try testing.expect(process.keeper.?.writer.last_logged > acknowledged);
    try m.put(5, 6);
    try process.flush();
    var prng: std.Random.DefaultPrng = .init(1);
    var image = try m.disk.crash(prng.random(), .{});
    defer image.deinit();
    const found = try recover(&image);
    try testing.expectEqual(m.next(), found.last);
    try testing.expectEqual(m.expected(found.last), found.rows);
}
