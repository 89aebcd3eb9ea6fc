//! What checkpoints let go of: files that are superfluous, and on a full disk the older snapshot.

const std = @import("std");
const emulation = @import("emulation.zig");
const file_layer = @import("file_layer.zig");
const log_segment = @import("log_segment.zig");
const log_spare = @import("log_spare.zig");
const memory = @import("file_layer_memory.zig");
const model = @import("recovery_model.zig");
const snapshot_file = @import("snapshot_file.zig");
const truncation = @import("truncation.zig");
const Bench = @import("recovery_test.zig").Bench;
const Snapshot = snapshot_file.Snapshot;
const testing = std.testing;
const gpa = testing.allocator;

test "truncation: what cannot be looked at or removed stays, and everything else goes" {
    for ([_]memory.Call{ .open, .read, .unlink, .list }) |call| {
        var bench: Bench = undefined;
        try bench.init(12);
        defer bench.deinit();
        const first: log_segment.Name = .of(1);
        while (bench.newestSegment() < 4) try bench.steps(100);
        _ = try bench.machine.checkpointNow();
        try bench.steps(20);
        // Segment 1 is not needed any more from the second checkpoint on.
        const err: file_layer.Error =
            if (call == .open) error.PermissionDenied else error.IoError;
        bench.disk.fault = .{ .call = call, .err = err, .name = first.slice() };
        if (call == .list) bench.disk.fault.?.name = null;
        const before = bench.segmentCount();
        _ = try bench.machine.checkpointNow();
        try testing.expect(bench.machine.files_left == 1);
        try testing.expect(bench.disk.contents(first.slice()) != null);
        bench.disk.fault = null;
        const after = bench.segmentCount();
        try testing.expect(if (call == .list) after >= before else after + 2 <= before);
        _ = try bench.machine.expectRecovered(&bench.disk);
        // It is tried again.
        try bench.steps(20);
        _ = try bench.machine.checkpointNow();
        try testing.expectEqual(0, bench.machine.files_left);
        try testing.expectEqual(null, bench.disk.contents(first.slice()));
        _ = try bench.machine.expectRecovered(&bench.disk);
    }
}

test "truncation: spares of killed leaders go when writing has gone on behind them" {
    var bench: Bench = undefined;
    try bench.init(13);
    defer bench.deinit();
    const files = bench.disk.files();
    const order: log_spare.SpareOrder = .{
        .number = bench.newestSegment() + 1,
        .size = log_segment.size_min,
    };
    const orphan = try order.make(files);
    files.close(orphan.file);
    const name: log_segment.Name = .of(orphan.number);
    _ = try bench.machine.checkpointNow();
    while (bench.newestSegment() < orphan.number) {
        try bench.steps(20);
        _ = try bench.machine.checkpointNow();
        const kept = bench.disk.contents(name.slice()) != null;
        try testing.expect(kept or bench.newestSegment() > orphan.number);
    }
    // And the spare behind the segment that is written now, which somebody may just fill.
    const behind = try order.make(files);
    files.close(behind.file);
    while (bench.disk.contents(name.slice()) != null) {
        const active = bench.newestSegment();
        try testing.expect(active < behind.number + 2);
        try bench.steps(50);
        _ = try bench.machine.checkpointNow();
        const kept = bench.disk.contents(log_segment.Name.of(behind.number).slice()) != null;
        try testing.expect(kept or bench.newestSegment() > behind.number);
    }
    _ = try bench.machine.expectRecovered(&bench.disk);
}

/// A bench with two checkpoints and a log behind them, on a disk that is full but for `free` bytes.
fn initFull(bench: *Bench, seed: u64, free: u64) !void {
    try bench.init(seed);
    errdefer bench.deinit();
    while (bench.newestSegment() < 3) try bench.steps(100);
    _ = try bench.machine.checkpointNow();
    try bench.steps(150);
    _ = try bench.machine.checkpointNow();
    try bench.steps(20);
    try bench.machine.sync();
    bench.disk.capacity = bench.disk.used() + free;
}

/// Whatever a power cut leaves is recovered.
fn expectSafe(bench: *Bench) !void {
    _ = try bench.machine.expectRecovered(&bench.disk);
    for (0..4) |_| {
        var image = try bench.disk.crash(bench.prng.random(), .{});
        defer image.deinit();
        _ = try bench.machine.expectRecovered(&image);
    }
}

test "checkpoint: where the disk is full, the older one gives its room" {
    var bench: Bench = undefined;
    try initFull(&bench, 14, 4096);
    defer bench.deinit();
    const before = try bench.snapshots();
    defer gpa.free(before);
    const segments = bench.segmentCount();
    bench.machine.is_quiet = true;
    const result = try bench.machine.checkpointNow();
    const after = try bench.snapshots();
    defer gpa.free(after);
    try testing.expectEqualSlices(u64, &.{ result.start, before[0] }, after);
    try testing.expectEqual(null, bench.disk.contents(snapshot_file.temporary_name));
    try testing.expect(bench.segmentCount() < segments);
    try expectSafe(&bench);
}

test "checkpoint: gives nothing up for a newest snapshot that recovery could not do with" {
    for ([_]bool{ false, true }) |in_log| {
        var bench: Bench = undefined;
        try initFull(&bench, 15, 4096);
        defer bench.deinit();
        bench.machine.is_quiet = true;
        const before = try bench.snapshots();
        defer gpa.free(before);
        const segments = bench.segmentCount();
        if (in_log) {
            // The last frame that the snapshot needs, before those that were synced behind it.
            var snapshot = try Snapshot.open(bench.disk.files(), gpa, model.uuid, before[0]);
            defer snapshot.close();
            try testing.expect(try bench.damageFrame(snapshot.footer.logged));
        } else try bench.damageSnapshot(0, 8200);
        try testing.expectError(error.DiskFull, bench.machine.checkpointNow());
        const after = try bench.snapshots();
        defer gpa.free(after);
        try testing.expectEqualSlices(u64, before, after);
        try testing.expectEqual(segments, bench.segmentCount());
    }
}

test "checkpoint: what was given up is kept for the next attempt, and the log cannot take it" {
    var bench: Bench = undefined;
    try initFull(&bench, 16, 4096);
    defer bench.deinit();
    bench.machine.is_quiet = true;
    const files = bench.disk.files();
    const before = try bench.snapshots();
    defer gpa.free(before);
    const room = bench.disk.contents(snapshot_file.Name.of(before[1]).slice()).?.len;
    bench.disk.fault = .{ .call = .write, .after = 1, .err = error.NoSpace, .name = "snapshot" };
    try testing.expectError(error.DiskFull, bench.machine.checkpointNow());
    bench.disk.fault = null;
    try expectSafe(&bench);
    const kept = bench.disk.contents(snapshot_file.temporary_name).?.len;
    try testing.expect(kept >= room);
    // The log takes what there is otherwise.
    bench.disk.capacity = bench.disk.used() + 2 * log_segment.size_min + 1000;
    var spares: u32 = 0;
    const order: log_spare.SpareOrder = .{ .number = 100, .size = log_segment.size_min };
    while (order.make(files)) |spare| : (spares += 1) {
        files.close(spare.file);
    } else |err| try testing.expectEqual(error.NoSpace, err);
    try testing.expectEqual(2, spares);
    const result = try bench.machine.checkpointNow();
    const after = try bench.snapshots();
    defer gpa.free(after);
    try testing.expectEqualSlices(u64, &.{ result.start, before[0] }, after);
    try expectSafe(&bench);
}

test "truncation.giveUpOlder: of one snapshot and the log before it, that goes for a reserve" {
    var bench: Bench = undefined;
    try bench.init(17);
    defer bench.deinit();
    while (bench.newestSegment() < 3) try bench.steps(100);
    const options: truncation.Options = .{
        .files = bench.disk.files(),
        .gpa = gpa,
        .store_uuid = model.uuid,
    };
    try testing.expect(!try truncation.giveUpOlder(options));
    const result = try bench.machine.checkpointNow();
    const segments = bench.segmentCount();
    try testing.expect(try truncation.giveUpOlder(options));
    try testing.expect(bench.segmentCount() < segments);
    const reserve = bench.disk.contents(snapshot_file.temporary_name).?;
    try testing.expect(reserve.len > result.bytes + result.bytes / 8);
    try testing.expect(!try truncation.giveUpOlder(options));
    try expectSafe(&bench);
    // The next one, however long, takes it.
    bench.disk.capacity = bench.disk.used();
    bench.machine.is_quiet = true;
    _ = try bench.machine.checkpointNow();
    try testing.expectEqual(null, bench.disk.contents(snapshot_file.temporary_name));
    try expectSafe(&bench);
}

test "truncation.giveUpOlder: the newest name is on the disk before anything goes" {
    var bench: Bench = undefined;
    try initFull(&bench, 19, 1 << 30);
    defer bench.deinit();
    bench.machine.is_quiet = true;
    const options: truncation.Options = .{
        .files = bench.disk.files(),
        .gpa = gpa,
        .store_uuid = model.uuid,
    };
    // The log before the newest one is gone.
    try testing.expect(try truncation.giveUpOlder(options));
    try bench.steps(20);
    // A snapshot that has its name, and nobody knows whether the disk has it.
    bench.disk.fault = .{ .call = .sync_directory, .once = true };
    try testing.expectError(error.IoError, bench.machine.checkpointNow());
    const before = try bench.snapshots();
    defer gpa.free(before);
    try testing.expectEqual(2, before.len);
    bench.disk.fault = .{ .call = .sync_directory, .once = true };
    try testing.expectError(error.IoError, truncation.giveUpOlder(options));
    for (0..8) |_| try expectSafe(&bench);
    try testing.expect(try truncation.giveUpOlder(options));
    for (0..8) |_| try expectSafe(&bench);
    const after = try bench.snapshots();
    defer gpa.free(after);
    try testing.expectEqualSlices(u64, before[0..1], after);
}

test "checkpoint: killed at any file operation on a full disk, it leaves what is needed" {
    try emulation.skip();
    for (std.enums.values(memory.Call)) |call| for ([_]bool{ false, true }) |done| {
        var after: u32 = 0;
        while (true) : (after += 1) {
            var bench: Bench = undefined;
            try initFull(&bench, 18, 4096);
            defer bench.deinit();
            bench.machine.is_quiet = true;
            bench.disk.fault = .{ .call = call, .after = after, .written = 100, .done = done };
            _ = bench.machine.checkpointNow() catch {};
            const struck = bench.disk.fault.?.after == 0;
            bench.disk.fault = null;
            try expectSafe(&bench);
            bench.disk.capacity = 1 << 40;
            _ = try bench.machine.checkpointNow();
            try expectSafe(&bench);
            if (!struck) break;
        }
    };
}
