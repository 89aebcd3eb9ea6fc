//! Checkpoints and recovery over a disk in memory, and an engine in private memory.

const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const checkpoint_pace = @import("checkpoint_pace.zig");
const cold_recovery = @import("cold_recovery.zig");
const emulation = @import("emulation.zig");
const file_layer = @import("file_layer.zig");
const log_reader = @import("log_reader.zig");
const log_segment = @import("log_segment.zig");
const model = @import("recovery_model.zig");
const region_trust = @import("region_trust.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const memory = @import("file_layer_memory.zig");
const LogReader = log_reader.LogReader;
const LogWriter = @import("log_writer.zig").LogWriter;
const MemoryDisk = memory.MemoryDisk;
const Machine = model.Machine;
const Recovered = model.Recovered;
const Snapshot = snapshot_file.Snapshot;
const testing = std.testing;
const gpa = testing.allocator;

/// A machine and its disk.
pub const Bench = struct {
    prng: std.Random.DefaultPrng,
    disk: MemoryDisk,
    machine: Machine,

    pub fn init(bench: *Bench, seed: u64) !void {
        bench.prng = .init(seed);
        bench.disk = .init(gpa);
        errdefer bench.disk.deinit();
        try bench.machine.init(gpa, bench.prng.random(), &bench.disk);
    }

    pub fn deinit(bench: *Bench) void {
        bench.machine.deinit();
        bench.disk.deinit();
    }

    pub fn steps(bench: *Bench, count: u32) !void {
        for (0..count) |_| try bench.machine.step();
    }

    /// The names of its snapshots, newest first.
    pub fn snapshots(bench: *Bench) ![]u64 {
        return snapshot_file.list(bench.disk.files(), gpa);
    }

    /// Flips a bit in the newest snapshot but `behind`.
    pub fn damageSnapshot(bench: *Bench, behind: usize, at: usize) !void {
        const starts = try bench.snapshots();
        defer gpa.free(starts);
        const name: snapshot_file.Name = .of(starts[behind]);
        bench.disk.flipBit(name.slice(), at * 8);
    }

    /// Flips a bit in the frame that commits a position. False if there is none.
    pub fn damageFrame(bench: *Bench, position: u64) !bool {
        var log: LogReader = try .open(gpa, bench.disk.files(), .{ .store_uuid = model.uuid });
        defer log.close();
        for (log.listed) |*file| {
            const name: log_segment.Name = .of(file.number);
            var offset: u64 = log_segment.header_area;
            while (offset < file.size) : (offset += 8) {
                const place: log_segment.Place = .{ .number = file.number, .offset = offset };
                const uuid = &model.uuid;
                if (!try log_reader.frameStands(gpa, log.files, uuid, place, position)) continue;
                bench.disk.flipBit(name.slice(), (offset + 40) * 8);
                return true;
            }
        }
        return false;
    }

    /// Segments of the directory, spares included.
    pub fn segmentCount(bench: *const Bench) usize {
        var count: usize = 0;
        for (bench.disk.names.keys()) |name| {
            if (log_segment.numberOf(name) != null) count += 1;
        }
        return count;
    }

    /// The number of the segment that was begun last.
    pub fn newestSegment(bench: *Bench) u32 {
        return bench.machine.log.segmentNumber();
    }
};

test "recovery: the log alone gives back what was committed" {
    var bench: Bench = undefined;
    try bench.init(1);
    defer bench.deinit();
    try bench.steps(300);
    try bench.machine.log.flush();
    const last = try bench.machine.expectRecovered(&bench.disk);
    try testing.expectEqual(bench.machine.log.last_logged, last);
}

test "recovery: a directory without any file is a new store" {
    var disk: MemoryDisk = .init(gpa);
    defer disk.deinit();
    var detail: status.Detail = .{};
    const options: cold_recovery.Options = .{ .store_uuid = model.uuid };
    var plan = try cold_recovery.examine(disk.files(), gpa, options, &detail);
    defer plan.deinit();
    try testing.expect(plan.isEmpty());
    try testing.expectEqual(1, plan.start);
    try testing.expectEqual(1, plan.incarnation);
    try testing.expect(!try cold_recovery.hasFiles(disk.files(), gpa));
}

test "recovery: a snapshot that was written between commits converges by the log" {
    for (0..3) |seed| {
        var bench: Bench = undefined;
        try bench.init(seed);
        defer bench.deinit();
        for (0..4) |_| {
            try bench.steps(100);
            _ = try bench.machine.checkpointNow();
            try bench.machine.log.flush();
            _ = try bench.machine.expectRecovered(&bench.disk);
        }
    }
}

test "recovery: after a power cut there is a prefix that has all that was acknowledged" {
    try emulation.skip();
    for (0..3) |seed| {
        var bench: Bench = undefined;
        try bench.init(seed);
        defer bench.deinit();
        const random = bench.prng.random();
        for (0..40) |round| {
            try bench.steps(random.uintLessThan(u32, 20));
            if (round % 8 == 5) _ = try bench.machine.checkpointNow();
            var image = try bench.disk.crash(random, .{});
            defer image.deinit();
            _ = try bench.machine.expectRecovered(&image);
        }
    }
}

test "recovery: goes on after crash upon crash, in positions that were never used" {
    try emulation.skip();
    for (0..4) |seed| try crashUponCrash(seed);
}

fn crashUponCrash(seed: u64) !void {
    var bench: Bench = undefined;
    try bench.init(seed);
    var images: [6]MemoryDisk = undefined;
    var count: usize = 0;
    defer {
        bench.deinit();
        for (images[0..count]) |*image| image.deinit();
    }
    for (0..images.len) |i| {
        try bench.steps(40);
        if (i == 3) _ = try bench.machine.checkpointNow();
        try bench.steps(10);
        const before = bench.machine.log.last_logged;
        images[i] = try bench.machine.disk.crash(bench.prng.random(), .{});
        count += 1;
        try bench.machine.restart(&images[i]);
        try bench.machine.store.expect(&bench.machine.model);
        try bench.steps(1);
        const first = bench.machine.history.items[bench.machine.history.items.len - 1].position;
        try testing.expect(first > before + cold_recovery.position_gap / 2);
        try bench.machine.log.flush();
        const last = try bench.machine.expectRecovered(&images[i]);
        try testing.expectEqual(bench.machine.log.last_logged, last);
    }
}

test "LogReader: a segment that a recovery has passed over does not end the log" {
    // A power cut took the end of a segment and left the one behind it. The recovery went on from
    // what came before both, and the next one must find what was written since: the reader once
    // stopped at the segment between, and lost it.
    var disk: MemoryDisk = .init(gpa);
    defer disk.deinit();
    const files = disk.files();
    {
        var before = try startLog(&disk, 1, 2, 1);
        defer before.stop();
        while (before.segmentNumber() == 1) {
            if (before.spareOrder(false)) |order| before.giveSpare(try order.make(files));
            try commitEmpty(&before, before.last_logged + 1);
        }
        try before.flush();
    }
    const name: log_segment.Name = .of(1);
    const bytes = disk.contents(name.slice()).?;
    const torn_at = std.mem.alignBackward(usize, bytes.len / 2, log_segment.block_size);
    @memset(bytes[torn_at..], 0);
    var torn: LogReader = try .open(gpa, files, .{ .store_uuid = model.uuid });
    defer torn.close();
    try testing.expect(torn.verdict == .torn);
    const next = torn.last_position + cold_recovery.position_gap;
    {
        var after = try startLog(&disk, 2, next, torn.last_position);
        defer after.stop();
        try commitEmpty(&after, next);
        try after.flush();
    }
    var whole: LogReader = try .open(gpa, files, .{ .store_uuid = model.uuid });
    defer whole.close();
    try testing.expectEqual(.clean, whole.verdict);
    try testing.expectEqual(next, whole.last_position);
}

fn startLog(disk: *MemoryDisk, incarnation: u64, start: u64, previous: u64) !LogWriter {
    return .start(gpa, disk.files(), .{
        .store_uuid = model.uuid,
        .incarnation = incarnation,
        .leader_epoch = 1,
        .start_position = start,
        .previous_position = previous,
        .size = log_segment.size_min,
    });
}

fn commitEmpty(writer: *LogWriter, position: u64) !void {
    writer.begin(.commit, position);
    try writer.finish();
}

test "recovery: a damaged snapshot is passed by, for the one before it or for the whole log" {
    var bench: Bench = undefined;
    try bench.init(2);
    defer bench.deinit();
    try bench.steps(80);
    _ = try bench.machine.checkpointNow();
    try bench.steps(20);
    try bench.machine.sync();
    const damage_at = [_]usize{ 0, 30, 4000, 4100, 8200, 9000 };
    // One snapshot: the log goes back to the beginning.
    for (damage_at) |at| {
        try bench.damageSnapshot(0, at);
        _ = try bench.machine.expectRecovered(&bench.disk);
        try bench.damageSnapshot(0, at);
    }
    _ = try bench.machine.checkpointNow();
    try bench.steps(200);
    _ = try bench.machine.checkpointNow();
    const starts = try bench.snapshots();
    defer gpa.free(starts);
    try testing.expectEqual(2, starts.len);
    for (damage_at) |at| {
        try bench.damageSnapshot(0, at);
        _ = try bench.machine.expectRecovered(&bench.disk);
        try bench.damageSnapshot(0, at);
    }
}

test "recovery: refuses when no snapshot can be read and the log begins later" {
    var bench: Bench = undefined;
    try bench.init(3);
    defer bench.deinit();
    // Until the beginning of the log is gone.
    const first: log_segment.Name = .of(1);
    while (bench.disk.contents(first.slice()) != null) {
        try bench.steps(400);
        _ = try bench.machine.checkpointNow();
    }
    _ = try bench.machine.expectRecovered(&bench.disk);
    try bench.damageSnapshot(0, 8200);
    try bench.damageSnapshot(1, 8200);
    try testing.expect(!try bench.machine.expectContained(&bench.disk));
    // Nor is anything invented when there is no log at all.
    const numbers = try log_segment.numbers(bench.disk.files(), gpa);
    defer gpa.free(numbers);
    for (numbers) |number| {
        const name: log_segment.Name = .of(number);
        try bench.disk.files().unlink(name.slice());
    }
    try testing.expect(!try bench.machine.expectContained(&bench.disk));
}

test "recovery: refuses a log that ends before what the snapshot has seen" {
    var bench: Bench = undefined;
    try bench.init(4);
    defer bench.deinit();
    try bench.steps(60);
    const result = try bench.machine.checkpointNow();
    try testing.expect(result.logged > result.start);
    const name: log_segment.Name = .of(bench.newestSegment());
    bench.disk.truncate(name.slice(), log_segment.header_area);
    try testing.expect(!try bench.machine.expectContained(&bench.disk));
}

test "recovery: salvage goes on before the damage, and leaves the evidence" {
    var bench: Bench = undefined;
    try bench.init(6);
    defer bench.deinit();
    try bench.steps(40);
    try bench.machine.sync();
    const place = bench.machine.log.last_place;
    const good = bench.machine.log.last_logged;
    try bench.steps(40);
    try bench.machine.sync();
    try bench.steps(40);
    try bench.machine.sync();
    // In the middle of the frame that follows: behind a sync it begins a block.
    const next = std.mem.alignForward(u64, place.offset + 1, log_segment.block_size);
    const name: log_segment.Name = .of(place.number);
    bench.disk.flipBit(name.slice(), (next + 50) * 8);
    try testing.expect(!try bench.machine.expectContained(&bench.disk));

    {
        var saved: Recovered = undefined;
        try saved.init(gpa, &bench.disk, .prefix);
        defer saved.deinit();
        try testing.expectEqual(good, saved.last);
        try testing.expect(saved.warned);
        const expected = bench.machine.modelAt(good);
        try saved.store.expect(&expected);
    }
    var aside: [file_layer.name_size_max]u8 = undefined;
    const damaged = try std.fmt.bufPrint(&aside, "{s}.damaged", .{name.slice()});
    try testing.expect(bench.disk.contents(damaged) != null);
    try testing.expectEqual(null, bench.disk.contents(name.slice()));
    var again: Recovered = undefined;
    try again.init(gpa, &bench.disk, .none);
    defer again.deinit();
    const expected = bench.machine.modelAt(good);
    try again.store.expect(&expected);
}

test "Snapshot: every flipped byte is noticed, or lies where nobody looks" {
    try emulation.skip();
    var bench: Bench = undefined;
    try bench.init(7);
    defer bench.deinit();
    try bench.steps(40);
    const result = try bench.machine.checkpointNow();
    const name: snapshot_file.Name = .of(result.start);
    const bytes = bench.disk.contents(name.slice()).?;
    var unnoticed: usize = 0;
    for (bytes) |*byte| {
        byte.* ^= 0x10;
        defer byte.* ^= 0x10;
        const opened = Snapshot.open(bench.disk.files(), gpa, model.uuid, result.start);
        var snapshot = opened catch |err| {
            try testing.expectEqual(error.Corrupt, err);
            continue;
        };
        defer snapshot.close();
        snapshot.verify() catch |err| {
            try testing.expectEqual(error.Corrupt, err);
            continue;
        };
        // Zeros behind the image of the catalogue.
        try testing.expectEqual(0x10, byte.*);
        unnoticed += 1;
    }
    try testing.expect(unnoticed < 4096);
    for (0..bytes.len) |size| {
        if (size % 97 != 0) continue;
        var cut = try bench.disk.crash(bench.prng.random(), .{ .kept_percent = 100 });
        defer cut.deinit();
        cut.truncate(name.slice(), size);
        const outcome = Snapshot.open(cut.files(), gpa, model.uuid, result.start);
        try testing.expectError(error.Corrupt, outcome);
    }
}

test "checkpoint: killed at any file operation, it leaves what was there" {
    try emulation.skip();
    for (std.enums.values(memory.Call)) |call| {
        var after: u32 = 0;
        while (true) : (after += 1) {
            var bench: Bench = undefined;
            try bench.init(8);
            defer bench.deinit();
            try bench.steps(40);
            _ = try bench.machine.checkpointNow();
            try bench.steps(20);
            bench.disk.fault = .{ .call = call, .after = after, .written = 100 };
            const outcome = bench.machine.checkpointNow();
            const reached = if (bench.disk.fault) |fault| fault.after == 0 else true;
            bench.disk.fault = null;
            // Everything is in the page cache, or a power cut follows.
            _ = try bench.machine.expectRecovered(&bench.disk);
            var image = try bench.disk.crash(bench.prng.random(), .{});
            defer image.deinit();
            _ = try bench.machine.expectRecovered(&image);
            if (outcome) |_| {
                if (!reached) break;
            } else |_| {}
        }
    }
}

test "checkpoint: after an error of any file operation the next one works" {
    try emulation.skip();
    for (std.enums.values(memory.Call)) |call| {
        // The log has tests of its own. A directory as a whole has no name.
        const is_nameless = call == .sync_directory or call == .list;
        const name: ?[]const u8 = if (is_nameless) null else "snapshot";
        for ([_]memory.Fault{
            .{ .call = call, .name = name, .once = true },
            .{ .call = call, .name = name, .once = true, .err = error.NoSpace },
            .{ .call = call, .name = name, .once = true, .done = true },
        }) |kind| {
            var fault = kind;
            while (try failCheckpoint(fault)) fault.after += 1;
        }
    }
}

/// False if the checkpoint does not come to that call.
fn failCheckpoint(fault: memory.Fault) !bool {
    var bench: Bench = undefined;
    try bench.init(8);
    defer bench.deinit();
    for (0..2) |_| {
        try bench.steps(20);
        _ = try bench.machine.checkpointNow();
    }
    try bench.steps(20);
    bench.disk.fault = fault;
    const failed = if (bench.machine.checkpointNow()) |_| false else |_| true;
    const struck = bench.disk.fault == null;
    bench.disk.fault = null;
    try testing.expect(struck or !failed);
    for (0..4) |_| {
        var image = try bench.disk.crash(bench.prng.random(), .{});
        defer image.deinit();
        _ = try bench.machine.expectRecovered(&image);
    }
    try bench.steps(20);
    _ = try bench.machine.checkpointNow();
    try testing.expectEqual(0, bench.machine.files_left);
    const starts = try bench.snapshots();
    defer gpa.free(starts);
    try testing.expectEqual(2, starts.len);
    try testing.expectEqual(null, bench.disk.contents(snapshot_file.temporary_name));
    for (0..4) |_| {
        var image = try bench.disk.crash(bench.prng.random(), .{});
        defer image.deinit();
        _ = try bench.machine.expectRecovered(&image);
    }
    return struck;
}

test "recovery: killed at any file operation, it can be done again" {
    var bench: Bench = undefined;
    try bench.init(9);
    defer bench.deinit();
    try bench.steps(60);
    _ = try bench.machine.checkpointNow();
    try bench.steps(40);
    try bench.machine.sync();
    for ([_]memory.Call{ .open, .read, .list }) |call| {
        var after: u32 = 0;
        while (true) : (after += 1) {
            bench.disk.fault = .{ .call = call, .after = after };
            var recovered: Recovered = undefined;
            const outcome = recovered.init(gpa, &bench.disk, .none);
            bench.disk.fault = null;
            if (outcome) |_| {
                recovered.deinit();
                break;
            } else |err| try testing.expectEqual(error.IoError, err);
        }
        try testing.expect(after > 0);
        _ = try bench.machine.expectRecovered(&bench.disk);
    }
}

test "region_trust: believes the region that wrote the log last, and no other" {
    var bench: Bench = undefined;
    try bench.init(10);
    defer bench.deinit();
    try bench.steps(50);
    try bench.machine.sync();
    const log = &bench.machine.log;
    const good: region_trust.Claim = .{
        .store_uuid = model.uuid,
        .incarnation = 1,
        .logged = log.last_logged,
        .place = log.last_place,
        .segment = log.segmentNumber(),
        .snapshot = 1,
    };
    try expectReason(&bench, good, null);
    var claim = good;
    claim.place = .{};
    try expectReason(&bench, claim, null); // killed between the two stores
    claim.logged += 1;
    try expectReason(&bench, claim, .ahead);
    claim = good;
    claim.incarnation = 2;
    try expectReason(&bench, claim, null); // recovered, and nothing logged since
    claim.segment += 7;
    try expectReason(&bench, claim, .behind);
    claim = good;
    claim.incarnation = 0;
    try expectReason(&bench, claim, .behind);
    // After a checkpoint the place may be gone with its segment.
    try bench.machine.sync();
    claim = good;
    claim.logged = bench.machine.log.last_logged;
    try expectReason(&bench, claim, null);

    var empty: MemoryDisk = .init(gpa);
    defer empty.deinit();
    var detail: status.Detail = .{};
    const gone = region_trust.compare(empty.files(), gpa, &good, &detail);
    try testing.expectError(error.Corrupt, gone);
    claim = good;
    claim.segment = 0;
    const fresh = try region_trust.compare(empty.files(), gpa, &claim, &detail);
    try testing.expectEqual(null, fresh);
}

test "region_trust: where a snapshot is said to stand in the place of the log, it has to be there" {
    var bench: Bench = undefined;
    try bench.init(18);
    defer bench.deinit();
    try bench.steps(50);
    try bench.machine.sync();
    const log = &bench.machine.log;
    const claim: region_trust.Claim = .{
        .store_uuid = model.uuid,
        .incarnation = 1,
        .logged = log.last_logged + 1,
        .place = log.last_place,
        .segment = log.segmentNumber(),
        .snapshot = log.last_logged + 1,
    };
    try expectReason(&bench, claim, .ahead);
    const name: snapshot_file.Name = .of(claim.snapshot);
    const files = bench.disk.files();
    files.close(try files.open(name.slice(), .create_exclusive));
    try expectReason(&bench, claim, null);
    // The log goes with it.
    const numbers = try log_segment.numbers(files, gpa);
    defer gpa.free(numbers);
    for (numbers) |number| try files.unlink(log_segment.Name.of(number).slice());
    try expectReason(&bench, claim, null);
    var other = claim;
    other.logged += 1;
    var detail: status.Detail = .{};
    const gone = region_trust.compare(files, gpa, &other, &detail);
    try testing.expectError(error.Corrupt, gone);
}

fn expectReason(bench: *Bench, claim: region_trust.Claim, expected: ?region_trust.Reason) !void {
    var detail: status.Detail = .{};
    const reason = try region_trust.compare(bench.disk.files(), gpa, &claim, &detail);
    try testing.expectEqual(expected, reason);
}

test "checkpoint: sleeps between its rows so that it writes no faster than it may" {
    var disk: MemoryDisk = .init(gpa);
    defer disk.deinit();
    var store: model.Store = undefined;
    try store.init(gpa, .{ .store_uuid = model.uuid });
    defer store.deinit();
    try store.declare(0, false);
    try store.fill(3000);
    const rate = 100_000;
    var clock: checkpoint_pace.TestClock = .{};
    const began_ns = clock.now_ns;
    var options: checkpoint.Options = .{
        .store_uuid = model.uuid,
        .incarnation = 1,
        .rate_max = rate,
        .clock = clock.clock(),
        .rows_per_pin = 100,
        .log = .{ .begin = 1 },
    };
    const paced = try checkpoint.run(disk.files(), gpa, store.session, &store.catalogue, options);
    try testing.expectEqual(3000, paced.rows);
    // All but the header, the catalogue, and the last block, which comes with the footer.
    const blocks = (paced.bytes - 2 * memory.block_size) / snapshot_file.block_size;
    try testing.expect(blocks >= 4);
    try testing.expectEqual(blocks, clock.sleeps);
    const least_ns = blocks * snapshot_file.block_size * std.time.ns_per_s / rate;
    try testing.expectEqual(began_ns + least_ns, clock.now_ns);

    options.rate_max = 0;
    const looks = clock.looks;
    _ = try checkpoint.run(disk.files(), gpa, store.session, &store.catalogue, options);
    try testing.expectEqual(looks, clock.looks);
}
