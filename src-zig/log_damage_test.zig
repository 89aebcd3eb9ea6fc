//! A log whose files were damaged: what is believed of it, and what is said of the rest.

const std = @import("std");
const emulation = @import("emulation.zig");
const log_reader = @import("log_reader.zig");
const log_test = @import("log_test.zig");
const segment = @import("log_segment.zig");
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;
const LogReader = log_reader.LogReader;
const Verdict = log_reader.Verdict;
const all = log_test.all;
const commit = log_test.commit;
const expectCommits = log_test.expectCommits;
const first_frame = log_test.first_frame;
const fiveSegments = log_test.fiveSegments;
const nameOf = log_test.nameOf;
const openLog = log_test.openLog;
const second_frame = log_test.second_frame;
const startWith = log_test.startWith;
const sync = log_test.sync;
const testing = std.testing;
const third_frame = log_test.third_frame;
const upTo = log_test.upTo;
const uuid = log_test.uuid;

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
