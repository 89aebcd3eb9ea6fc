//! The log as a whole: what is written is what is read, whatever happens to the files in between.

const std = @import("std");
const emulation = @import("emulation.zig");
const file_layer = @import("file_layer.zig");
const os = @import("os.zig");
const log_frame = @import("log_frame.zig");
const log_reader = @import("log_reader.zig");
const log_writer = @import("log_writer.zig");
const segment = @import("log_segment.zig");
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;
const LogReader = log_reader.LogReader;
const LogWriter = log_writer.LogWriter;
const Verdict = log_reader.Verdict;
const testing = std.testing;

pub const uuid: segment.Uuid = @splat(9);

pub fn startWith(disk: *MemoryDisk, epoch: u64, start: u64, previous: u64) !LogWriter {
    return startIn(disk.files(), epoch, start, previous);
}

fn startIn(files: file_layer.Files, epoch: u64, start: u64, previous: u64) !LogWriter {
    return .start(testing.allocator, files, .{
        .store_uuid = uuid,
        .incarnation = 1,
        .leader_epoch = epoch,
        .start_position = start,
        .previous_position = previous,
        .size = segment.size_min,
        .size_max = segment.size_min,
    });
}

pub fn commit(writer: *LogWriter, kind: log_frame.Kind, position: u64, size: usize) !void {
    writer.begin(kind, position);
    const out = try writer.room(size);
    @memset(out[0..size], @truncate(position));
    writer.advance(size);
    try writer.finish();
}

pub fn sync(writer: *LogWriter) !void {
    var target = try writer.beginSync();
    try target.sync(writer.files);
    writer.endSync(&target);
    writer.noteDurable(target.position);
}

pub fn openLog(disk: *MemoryDisk, from: u64, to: u64) !LogReader {
    return .open(testing.allocator, disk.files(), .{ .store_uuid = uuid, .from = from, .to = to });
}

pub const all = std.math.maxInt(u64);

/// Expects exactly these commits, each with all of its rows.
pub fn expectCommits(log: *const LogReader, positions: []const u64) !void {
    var cursor = log.cursor();
    defer cursor.close();
    var rows: u32 = 0;
    var i: usize = 0;
    while (try cursor.next()) |item| {
        const header = &item.frame.header;
        switch (header.kind) {
            .part => rows += header.count,
            .commit => {
                try testing.expect(i < positions.len);
                try testing.expectEqual(positions[i], header.position);
                try testing.expectEqual(rows + 1, header.count);
                i += 1;
                rows = 0;
            },
            else => {},
        }
    }
    try testing.expectEqual(positions.len, i);
}

/// Five segments of four commits each, from 2 to 19, all synced two at a time, with a mark behind.
pub fn fiveSegments(disk: *MemoryDisk) !void {
    var writer = try startWith(disk, 1, 2, 1);
    defer writer.stop();
    for (2..20) |position| {
        try commit(&writer, .commit, position, 1200);
        if (position % 2 == 1) try sync(&writer);
    }
    try writer.note(.mark, "");
    try writer.flush();
    try testing.expectEqual(5, writer.segmentNumber());
}

pub fn upTo(comptime last: u64) []const u64 {
    const positions = comptime blk: {
        var positions: [last - 1]u64 = undefined;
        for (&positions, 2..) |*position, i| position.* = i;
        break :blk positions;
    };
    return &positions;
}

pub fn nameOf(comptime number: u32) []const u8 {
    return comptime blk: {
        const name = segment.Name.of(number);
        const text: [name.len]u8 = name.buffer[0..name.len].*;
        break :blk &text;
    };
}

/// Where the frames of `fiveSegments` stand: two in each block.
pub const first_frame = segment.header_area;
pub const second_frame = first_frame + 1240;
pub const third_frame = first_frame + segment.block_size;

test "LogWriter: a sync seals its block, and the log goes on behind the gap" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    try fiveSegments(&disk);
    const bytes = disk.contents(nameOf(1)).?;
    try testing.expect(std.mem.allEqual(u8, bytes[second_frame + 1240 .. third_frame], 0));
    try testing.expect(bytes[third_frame] != 0);

    var log = try openLog(&disk, 1, all);
    defer log.close();
    try testing.expectEqual(Verdict.clean, log.verdict);
    try testing.expectEqual(19, log.last_position);
    try testing.expectEqual(5, log.newest().?.number);
    try expectCommits(&log, upTo(19));
}

test "LogWriter: any number of segments may end while one sync is under way" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer = try startWith(&disk, 1, 2, 1);
    defer writer.stop();
    for (2..20) |position| try commit(&writer, .commit, position, 3000);
    const target = try writer.beginSync();
    for (20..60) |position| try commit(&writer, .commit, position, 3000);
    try target.sync(disk.files());
    writer.endSync(&target);
    writer.noteDurable(target.position);
    try sync(&writer);

    var prng: std.Random.DefaultPrng = .init(1);
    var image = try disk.crash(prng.random(), .{
        .kept_percent = 0,
        .torn_percent = 0,
        .name_percent = 0,
    });
    defer image.deinit();
    var log = try openLog(&image, 1, all);
    defer log.close();
    try testing.expectEqual(Verdict.clean, log.verdict);
    try expectCommits(&log, upTo(59));
}

test "LogWriter: works on files of the operating system" {
    if (!os.supported) return error.SkipZigTest;
    var salt: [8]u8 = undefined;
    try os.random(&salt);
    const directory = try os.Path.format("/dev/shm/aerostore-test-log-{x}", .{&salt});
    try os.makeDirectory(&directory);
    defer _ = std.os.linux.rmdir(directory.z());
    var native: file_layer.NativeFiles = .init(&directory);
    const files = native.files();
    defer for (1..6) |number| {
        files.unlink(segment.Name.of(@intCast(number)).slice()) catch {};
    };

    var writer = try startIn(files, 1, 2, 1);
    for (2..12) |position| {
        try commit(&writer, .commit, position, 1200);
        if (position % 5 == 0) try sync(&writer);
    }
    writer.giveSpare(try writer.spareOrder(false).?.make(files));
    try writer.flush();
    const number = writer.segmentNumber();
    writer.stop();
    var log: LogReader = try .open(testing.allocator, files, .{ .store_uuid = uuid });
    defer log.close();
    try testing.expectEqual(Verdict.clean, log.verdict);
    try testing.expectEqual(number, log.listed.len);
    try expectCommits(&log, upTo(11));
}

test "LogWriter: what a replaced leader still writes is void" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var old = try startWith(&disk, 1, 2, 1);
    defer old.stop();
    for (2..7) |position| try commit(&old, .commit, position, 1200);
    try sync(&old);
    try commit(&old, .commit, 7, 100);
    try commit(&old, .commit, 9, 100);
    try old.flush();

    // Durable is 6, drained is 8: what the successor finds between them it copies.
    var log = try openLog(&disk, 6, 8);
    defer log.close();
    try testing.expectEqual(7, log.last_position);
    try testing.expectEqual(Verdict.clean, log.verdict);
    var new = try startWith(&disk, 2, 7, 6);
    defer new.stop();
    var cursor = log.cursor();
    defer cursor.close();
    while (try cursor.next()) |item| try new.copy(&item.frame);
    try commit(&new, .commit, 10, 100);
    try sync(&new);

    // The old one goes on, into further segments of its own.
    for (11..20) |position| try commit(&old, .commit, position, 1200);
    try sync(&old);
    try testing.expect(old.segmentNumber() > new.segmentNumber());

    var whole = try openLog(&disk, 1, all);
    defer whole.close();
    try testing.expectEqual(Verdict.clean, whole.verdict);
    try expectCommits(&whole, &.{ 2, 3, 4, 5, 6, 7, 10 });
    try testing.expectEqual(new.segmentNumber(), whole.newest().?.number);
    try testing.expectEqual(new.segmentNumber(), whole.neededFor(8).?.number);
    try testing.expectEqual(1, whole.neededFor(4).?.number);
}

test "LogWriter: a transaction in parts goes over segments, and counts when it is complete" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer = try startWith(&disk, 1, 2, 1);
    defer writer.stop();
    try commit(&writer, .commit, 2, 100);
    for (0..3) |_| try commit(&writer, .part, 5, 3000);
    try commit(&writer, .commit, 5, 3000);
    // Begun and given up.
    for (0..2) |_| try commit(&writer, .part, 6, 3000);
    writer.cancel();
    for (0..5) |_| try commit(&writer, .part, 6, 3000);
    try commit(&writer, .commit, 6, 0);
    for (0..3) |_| try commit(&writer, .part, 9, 3000);
    try writer.flush();
    try testing.expect(writer.segmentNumber() > 5);

    for ([_]u64{ 1, 2, 4, 5 }) |from| {
        var log = try openLog(&disk, from, all);
        defer log.close();
        try testing.expect(log.verdict == .torn);
        try testing.expectEqual(6, log.last_position);
        const positions = [_]u64{ 2, 5, 6 };
        const skipped: usize = if (from == 1) 0 else if (from < 5) 1 else 2;
        try expectCommits(&log, positions[skipped..]);
    }
    try commit(&writer, .commit, 9, 10);
    try writer.flush();

    // A successor copies the parts, and its own segments end between them.
    var log = try openLog(&disk, 5, 8);
    defer log.close();
    var new = try startWith(&disk, 2, 6, 5);
    defer new.stop();
    var cursor = log.cursor();
    defer cursor.close();
    while (try cursor.next()) |item| try new.copy(&item.frame);
    try new.flush();
    var again = try openLog(&disk, 1, all);
    defer again.close();
    try testing.expectEqual(Verdict.clean, again.verdict);
    try expectCommits(&again, &.{ 2, 5, 6 });
}

test "LogWriter: a full disk loses nothing that was finished, and writing goes on later" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    disk.capacity = 3 * segment.size_min + 100;
    var writer = try startWith(&disk, 1, 2, 1);
    defer writer.stop();
    var position: u64 = 2;
    while (true) : (position += 1) {
        commit(&writer, .commit, position, 1200) catch |err| {
            try testing.expectEqual(error.NoSpace, err);
            break;
        };
    }
    try testing.expectError(error.NoSpace, writer.spareOrder(false).?.make(disk.files()));
    try testing.expectError(error.NoSpace, commit(&writer, .part, position, 1200));
    try testing.expect(!writer.failed);
    try sync(&writer);
    try testing.expectEqual(position - 1, writer.durable);
    disk.capacity *= 2;
    writer.giveSpare(try writer.spareOrder(false).?.make(disk.files()));
    try testing.expectEqual(null, writer.spareOrder(false));
    try commit(&writer, .commit, position, 1200);
    try sync(&writer);

    var log = try openLog(&disk, 1, all);
    defer log.close();
    try testing.expectEqual(Verdict.clean, log.verdict);
    try testing.expectEqual(position, log.last_position);
    // Three segments of six frames that nobody made wait, and one more.
    try testing.expectEqual(20, position);
}

test "LogWriter: after any failed call, what was synced is there and nothing is damaged" {
    try emulation.skip();
    const calls = [_]@import("file_layer_memory.zig").Call{
        .open, .write, .reserve, .sync, .sync_directory,
    };
    for (calls) |call| for (0..30) |after| {
        var disk: MemoryDisk = .init(testing.allocator);
        defer disk.deinit();
        var writer = try startWith(&disk, 1, 2, 1);
        disk.fault = .{ .call = call, .after = @intCast(after), .once = true, .written = 700 };
        for (2..20) |position| {
            commit(&writer, .commit, position, 1200) catch break;
            if (position % 3 == 0) sync(&writer) catch break;
        }
        disk.fault = null;
        // A spare that could not be made is no harm; the rest is for good.
        const next = writer.last_logged + 1;
        if (writer.failed) {
            try testing.expectError(error.IoError, commit(&writer, .commit, next, 1200));
        } else if (call != .sync or disk.callCount(.sync) == 0) {
            try commit(&writer, .commit, next, 1200);
            try sync(&writer);
        }
        const durable = writer.durable;
        const failed = writer.failed;
        writer.stop();
        var log = try openLog(&disk, 1, all);
        defer log.close();
        try testing.expect(log.verdict != .damaged);
        try testing.expect(log.last_position >= durable);
        if (!failed and call != .sync) try testing.expectEqual(next, log.last_position);
    };
}
