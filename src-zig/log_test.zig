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

const uuid: segment.Uuid = @splat(9);

fn startWith(disk: *MemoryDisk, epoch: u64, start: u64, previous: u64) !LogWriter {
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

fn commit(writer: *LogWriter, kind: log_frame.Kind, position: u64, size: usize) !void {
    writer.begin(kind, position);
    const out = try writer.room(size);
    @memset(out[0..size], @truncate(position));
    writer.advance(size);
    try writer.finish();
}

fn sync(writer: *LogWriter) !void {
    var target = try writer.beginSync();
    try target.sync(writer.files);
    writer.endSync(&target);
    writer.noteDurable(target.position);
}

fn openLog(disk: *MemoryDisk, from: u64, to: u64) !LogReader {
    return .open(testing.allocator, disk.files(), .{ .store_uuid = uuid, .from = from, .to = to });
}

const all = std.math.maxInt(u64);

/// Expects exactly these commits, each with all of its rows.
fn expectCommits(log: *const LogReader, positions: []const u64) !void {
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
fn fiveSegments(disk: *MemoryDisk) !void {
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

fn upTo(comptime last: u64) []const u64 {
    const positions = comptime blk: {
        var positions: [last - 1]u64 = undefined;
        for (&positions, 2..) |*position, i| position.* = i;
        break :blk positions;
    };
    return &positions;
}

fn nameOf(comptime number: u32) []const u8 {
    return comptime blk: {
        const name = segment.Name.of(number);
        const text: [name.len]u8 = name.buffer[0..name.len].*;
        break :blk &text;
    };
}

/// Where the frames of `fiveSegments` stand: two in each block.
const first_frame = segment.header_area;
const second_frame = first_frame + 1240;
const third_frame = first_frame + segment.block_size;

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

/// One thing that happens to the files of `fiveSegments`, and what is read then.
const Accident = struct {
    what: union(enum) {
        nothing,
        flip: struct { name: []const u8, offsets: []const usize },
        /// Zeros over 1240 bytes and what follows them up to the end of the file.
        wipe: struct { name: []const u8, offset: usize },
        cut: struct { name: []const u8, size: usize },
        remove: []const u8,
        rename: struct { from: []const u8, to: []const u8 },
        duplicate: struct { from: []const u8, to: []const u8 },
    } = .nothing,
    from: u64 = 1,
    required: u64 = 1,
    last: u64,
    verdict: union(enum) {
        clean,
        torn,
        damaged: struct { log_reader.Damage.Reason, u64, u64 },
    } = .clean,
};

const accidents = [_]Accident{
    .{ .last = 19 },
    // What a checkpoint has is not needed.
    .{ .what = .{ .remove = nameOf(1) }, .from = 5, .last = 19 },
    .{
        .what = .{ .remove = nameOf(1) },
        .from = 4,
        .last = 4,
        .verdict = .{ .damaged = .{ .start_missing, 5, 5 } },
    },
    // The last commit, with the mark behind it that tells of it.
    .{
        .what = .{ .flip = .{ .name = nameOf(5), .offsets = &.{second_frame + 50} } },
        .last = 18,
        .verdict = .{ .damaged = .{ .frames, 19, 19 } },
    },
    // Without the mark, only whoever has heard of the commit can tell.
    .{ .what = .{ .wipe = .{ .name = nameOf(5), .offset = second_frame } }, .last = 18 },
    .{
        .what = .{ .wipe = .{ .name = nameOf(5), .offset = second_frame } },
        .required = 19,
        .last = 18,
        .verdict = .{ .damaged = .{ .frames, 19, 19 } },
    },
    .{
        .what = .{ .wipe = .{ .name = nameOf(5), .offset = second_frame + 8 } },
        .last = 18,
        .verdict = .torn,
    },
    // In the middle.
    .{
        .what = .{ .flip = .{ .name = nameOf(2), .offsets = &.{second_frame + 50} } },
        .last = 6,
        .verdict = .{ .damaged = .{ .frames, 7, 19 } },
    },
    .{
        .what = .{ .wipe = .{ .name = nameOf(2), .offset = first_frame } },
        .last = 5,
        .verdict = .{ .damaged = .{ .frames, 6, 19 } },
    },
    .{
        .what = .{ .cut = .{ .name = nameOf(2), .size = third_frame } },
        .last = 7,
        .verdict = .{ .damaged = .{ .frames, 8, 19 } },
    },
    .{
        .what = .{ .remove = nameOf(3) },
        .last = 9,
        .verdict = .{ .damaged = .{ .frames, 10, 19 } },
    },
    // At the end.
    .{
        .what = .{ .cut = .{ .name = nameOf(5), .size = second_frame } },
        .last = 18,
        .verdict = .{ .damaged = .{ .file_cut, 19, 19 } },
    },
    .{
        .what = .{ .remove = nameOf(5) },
        .last = 17,
        .verdict = .{ .damaged = .{ .segment_missing, 18, 18 } },
    },
    // Headers.
    .{ .what = .{ .flip = .{ .name = nameOf(3), .offsets = &.{20} } }, .last = 19 },
    .{
        .what = .{ .flip = .{ .name = nameOf(3), .offsets = &.{ 20, 2068 } } },
        .last = 9,
        .verdict = .{ .damaged = .{ .frames, 10, 19 } },
    },
    .{
        .what = .{ .flip = .{ .name = nameOf(5), .offsets = &.{ 20, 2068 } } },
        .last = 17,
        .verdict = .{ .damaged = .{ .frames, 18, 19 } },
    },
    // Names.
    .{
        .what = .{ .rename = .{ .from = nameOf(5), .to = nameOf(9) } },
        .last = 17,
        .verdict = .{ .damaged = .{ .misnamed, 18, 18 } },
    },
    .{
        .what = .{ .rename = .{ .from = nameOf(3), .to = nameOf(2) } },
        .last = 5,
        .verdict = .{ .damaged = .{ .misnamed, 6, 6 } },
    },
    .{
        .what = .{ .duplicate = .{ .from = nameOf(4), .to = nameOf(9) } },
        .last = 19,
        .verdict = .{ .damaged = .{ .misnamed, 20, 20 } },
    },
    .{ .what = .{ .duplicate = .{ .from = nameOf(4), .to = "aerostore-4.wal" } }, .last = 19 },
    // A snapshot of another log.
    .{ .required = 19, .last = 19 },
    .{
        .required = 20,
        .last = 19,
        .verdict = .{ .damaged = .{ .frames, 20, 20 } },
    },
};

test "LogReader.open: tells a torn tail from a damaged middle" {
    for (accidents, 0..) |accident, number| {
        errdefer std.debug.print("accident {d}\n", .{number});
        var disk: MemoryDisk = .init(testing.allocator);
        defer disk.deinit();
        try fiveSegments(&disk);
        const files = disk.files();
        switch (accident.what) {
            .nothing => {},
            .flip => |flip| for (flip.offsets) |offset| disk.flipBit(flip.name, offset * 8),
            .wipe => |wipe| @memset(disk.contents(wipe.name).?[wipe.offset..], 0),
            .cut => |cut| disk.truncate(cut.name, cut.size),
            .remove => |name| try files.unlink(name),
            .rename => |names| try files.rename(names.from, names.to),
            .duplicate => |names| try disk.duplicate(names.from, names.to),
        }
        var log: LogReader = try .open(testing.allocator, files, .{
            .store_uuid = uuid,
            .from = accident.from,
            .required = accident.required,
        });
        defer log.close();
        try testing.expectEqual(accident.last, log.last_position);
        switch (accident.verdict) {
            .clean => try testing.expectEqual(Verdict.clean, log.verdict),
            .torn => try testing.expect(log.verdict == .torn),
            .damaged => |expected| {
                try testing.expectEqual(expected[0], log.verdict.damaged.reason);
                try testing.expectEqual(expected[1], log.verdict.damaged.first);
                try testing.expectEqual(expected[2], log.verdict.damaged.last);
            },
        }
        const from: usize = @intCast(@min(accident.from, accident.last));
        try expectCommits(&log, upTo(19)[from - 1 .. @intCast(accident.last - 1)]);
    }
}

test "LogReader.open: a lost tail that nobody was promised is torn, across segments too" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer = try startWith(&disk, 1, 2, 1);
    defer writer.stop();
    try commit(&writer, .commit, 2, 1200);
    try sync(&writer);
    for (3..12) |position| try commit(&writer, .commit, position, 1200);
    try writer.flush();
    // The power cut left the third segment, and of the first only what was synced.
    @memset(disk.contents(nameOf(1)).?[third_frame..], 0);

    var log = try openLog(&disk, 1, all);
    defer log.close();
    try testing.expectEqual(third_frame, (log.verdict.torn.offset + 4095) / 4096 * 4096);
    try expectCommits(&log, upTo(2));
}

test "LogReader.open: a lost frame without a position of its own breaks the chain too" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer = try startWith(&disk, 1, 2, 1);
    defer writer.stop();
    // The image fills its block, so what follows it is where a frame behind a sync could be.
    try commit(&writer, .commit, 2, 1000);
    const image: [segment.block_size - 1040 - 40]u8 = @splat(1);
    try writer.note(.catalogue, &image);
    try commit(&writer, .commit, 3, 100);
    try writer.flush();
    const bytes = disk.contents(nameOf(1)).?;
    @memset(bytes[first_frame + 1040 .. third_frame], 0);

    var log = try openLog(&disk, 1, all);
    defer log.close();
    try testing.expect(log.verdict == .torn);
    try expectCommits(&log, upTo(2));
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

test "LogReader.open: another store and another format are refused" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    try fiveSegments(&disk);
    var log: LogReader = try .open(testing.allocator, disk.files(), .{ .store_uuid = @splat(8) });
    defer log.close();
    try testing.expectEqual(.other_store, log.verdict.damaged.reason);

    const bytes = disk.contents(nameOf(5)).?;
    var header = segment.decode(bytes[0..segment.header_area], 5, &uuid).header;
    header.format += 1;
    bytes[0..segment.header_area].* = header.encode();
    var later = try openLog(&disk, 1, all);
    defer later.close();
    try testing.expectEqual(.other_format, later.verdict.damaged.reason);
}

test "LogReader.open: an empty directory is an empty log, unless a checkpoint says otherwise" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var log = try openLog(&disk, 1, all);
    defer log.close();
    try testing.expectEqual(Verdict.clean, log.verdict);
    try testing.expectEqual(1, log.last_position);
    var after = try openLog(&disk, 7, all);
    defer after.close();
    try testing.expectEqual(.start_missing, after.verdict.damaged.reason);
}

test "LogReader.open: a first segment without a header is nothing, unless it has commits" {
    for ([_]bool{ false, true }) |committed| {
        var disk: MemoryDisk = .init(testing.allocator);
        defer disk.deinit();
        var writer = try startWith(&disk, 1, 2, 1);
        defer writer.stop();
        try writer.note(.catalogue, "tables");
        if (committed) try commit(&writer, .commit, 2, 10);
        try writer.flush();
        for ([_]u8{ 0, 1 }) |byte| {
            @memset(disk.contents(nameOf(1)).?[0..segment.header_area], byte);
            var log = try openLog(&disk, 1, all);
            defer log.close();
            try testing.expectEqual(1, log.last_position);
            try testing.expectEqual(committed, log.verdict == .damaged);
        }
    }
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

test "LogReader: a flipped bit in any byte of a log is harmless or damage" {
    try emulation.skip();
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer = try startWith(&disk, 1, 2, 1);
    defer writer.stop();
    for (2..5) |position| try commit(&writer, .commit, position, 30);
    try sync(&writer);
    try writer.note(.catalogue, "a table");
    try commit(&writer, .part, 7, 50);
    try commit(&writer, .commit, 7, 50);
    for (8..11) |position| try commit(&writer, .commit, position, 3000);
    try sync(&writer);
    try writer.note(.mark, "");
    try writer.flush();
    writer.giveSpare(try writer.spareOrder(false).?.make(disk.files()));
    const expected = [_]u64{ 2, 3, 4, 7, 8, 9, 10 };

    var prng: std.Random.DefaultPrng = .init(5);
    var damaged: u32 = 0;
    for ([_][]const u8{ nameOf(1), nameOf(2), nameOf(3) }) |name| {
        const bytes = disk.contents(name).?;
        var offset: usize = 0;
        while (offset < bytes.len) {
            // Of long stretches of one byte, some are enough.
            const ahead = bytes[offset..@min(offset + 64, bytes.len)];
            defer offset += if (std.mem.allEqual(u8, ahead, ahead[0])) 61 else 1;
            const bit = offset * 8 + prng.random().uintLessThan(usize, 8);
            disk.flipBit(name, bit);
            defer disk.flipBit(name, bit);
            var log = try openLog(&disk, 1, all);
            defer log.close();
            if (log.verdict == .damaged) {
                damaged += 1;
                const last = log.last_position;
                const kept = for (expected, 0..) |position, i| {
                    if (position > last) break i;
                } else expected.len;
                try expectCommits(&log, expected[0..kept]);
            } else {
                try expectCommits(&log, &expected);
            }
        }
    }
    try testing.expect(damaged > 500);
}
