//! Power cuts, kills, changes of the leader and checkpoints, against a list of what was logged.
//!
//! Invariants:
//!
//!   * whatever subset of unsynced blocks and names a power cut leaves, the log is a prefix of what
//!     was logged, in order and byte by byte, that holds everything that was synced; and it is
//!     never called damaged
//!   * a kill of all processes loses nothing that was flushed
//!   * what a replaced leader goes on writing is in no log, and harms none
//!   * with one flipped bit, what is read is still a prefix; if it is shorter than what a mark
//!     tells of, it is called damaged
//!   * no block that was synced is written again (the disk asserts it)

const std = @import("std");
const emulation = @import("emulation.zig");
const log_frame = @import("log_frame.zig");
const log_reader = @import("log_reader.zig");
const log_writer = @import("log_writer.zig");
const segment = @import("log_segment.zig");
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;
const Allocator = std.mem.Allocator;
const LogReader = log_reader.LogReader;
const LogWriter = log_writer.LogWriter;

/// Returns the number of power cuts.
pub fn run(gpa: Allocator, seed: u64, rounds: usize) !u64 {
    var images: u64 = 0;
    for (0..rounds) |round| {
        var prng: std.Random.DefaultPrng = .init(seed +% round);
        errdefer std.debug.print("log: seed {d} breaks in one round\n", .{seed +% round});
        images += try runOnce(gpa, prng.random());
    }
    return images;
}

fn runOnce(gpa: Allocator, random: std.Random) !u64 {
    var world: World = try .init(gpa, random);
    defer world.deinit();
    const weights = Weights.draw(random);
    for (0..random.intRangeAtMost(u32, 5, 60)) |_| try world.step(weights.choose(random));
    for (0..8) |_| try world.checkCrash();
    return world.images;
}

const uuid: segment.Uuid = @splat(7);

const Operation = enum {
    commit,
    parts,
    give_up,
    note,
    flush,
    sync,
    slow_sync,
    spare,
    checkpoint,
    crash,
    power_cut,
    kill,
    take_over,
    zombie,
    idle,
};

/// How often each operation is drawn; some never.
const Weights = struct {
    of: std.EnumArray(Operation, u32),
    sum: u32,

    fn draw(random: std.Random) Weights {
        var weights: Weights = .{ .of = .initFill(0), .sum = 0 };
        for (std.enums.values(Operation)) |operation| {
            const weight: u32 = switch (operation) {
                .commit => 10,
                .crash => 1,
                else => if (random.boolean()) random.uintAtMost(u32, 4) else 0,
            };
            weights.of.set(operation, weight);
            weights.sum += weight;
        }
        return weights;
    }

    fn choose(weights: *const Weights, random: std.Random) Operation {
        var left = random.uintLessThan(u32, weights.sum);
        for (std.enums.values(Operation)) |operation| {
            const weight = weights.of.get(operation);
            if (left < weight) return operation;
            left -= weight;
        }
        unreachable;
    }
};

/// A transaction: its position, and the sizes of its frames.
const Logged = struct { position: u64, sizes: [5]u16 = @splat(0), frame_count: u8 = 1 };

const World = struct {
    gpa: Allocator,
    random: std.Random,
    disk: *MemoryDisk,
    writer: LogWriter,
    zombie: ?LogWriter = null,
    logged: std.ArrayList(Logged) = .empty,
    /// The position of the last transaction that was flushed, and of the last that was synced.
    flushed: u64 = 1,
    synced: u64 = 1,
    /// Positions that were given out.
    next: u64 = 2,
    /// What a checkpoint has.
    from: u64 = 1,
    incarnation: u64 = 1,
    epoch: u64 = 1,
    /// Disks that a power cut may have left.
    images: u64 = 0,

    fn init(gpa: Allocator, random: std.Random) !World {
        const disk = try gpa.create(MemoryDisk);
        errdefer gpa.destroy(disk);
        disk.* = .init(gpa);
        errdefer disk.deinit();
        var world: World = .{ .gpa = gpa, .random = random, .disk = disk, .writer = undefined };
        world.writer = try world.startWriter(2, 1);
        return world;
    }

    fn deinit(world: *World) void {
        world.writer.stop();
        if (world.zombie) |*zombie| zombie.stop();
        world.disk.deinit();
        world.gpa.destroy(world.disk);
        world.logged.deinit(world.gpa);
    }

    fn startWriter(world: *World, start: u64, previous: u64) !LogWriter {
        return .start(world.gpa, world.disk.files(), .{
            .store_uuid = uuid,
            .incarnation = world.incarnation,
            .leader_epoch = world.epoch,
            .start_position = start,
            .previous_position = previous,
            .size = segment.size_min,
            .size_max = segment.size_min * 2,
        });
    }

    fn step(world: *World, operation: Operation) !void {
        switch (operation) {
            .commit => try world.commit(1),
            .parts => try world.commit(world.random.intRangeAtMost(u8, 2, 5)),
            .give_up => try world.giveUp(),
            .note => try world.writer.note(.catalogue, "tables"),
            .flush => try world.flush(),
            .sync => try world.sync(0),
            .slow_sync => try world.sync(world.random.uintAtMost(u32, 12)),
            .spare => try world.makeSpare(),
            .checkpoint => try world.checkpoint(),
            .crash => try world.checkCrash(),
            .power_cut => try world.powerCut(),
            .kill => try world.kill(),
            .take_over => try world.takeOver(),
            .zombie => if (world.zombie) |*zombie| try world.actAsZombie(zombie),
            .idle => try world.idle(),
        }
    }

    /// Makes a spare, while up to eight other transactions are written, perhaps into one of their
    /// own.
    fn makeSpare(world: *World) !void {
        var order = world.writer.spareOrder(false) orelse return;
        order.filled = world.random.boolean();
        const made = try order.make(world.disk.files());
        for (0..world.random.uintAtMost(u8, 8)) |_| try world.commit(1);
        world.writer.giveSpare(made);
    }

    fn frameSize(world: *World) u16 {
        const most = [_]u16{ 40, 40, 400, 4000 };
        return world.random.uintAtMost(u16, most[world.random.uintLessThan(usize, most.len)]);
    }

    fn takePosition(world: *World) u64 {
        const skips = world.random.uintLessThan(u8, 8) == 0;
        const position = world.next + if (skips) world.random.uintAtMost(u64, 5) else 0;
        world.next = position + 1;
        return position;
    }

    fn commit(world: *World, frame_count: u8) !void {
        var made: Logged = .{ .position = world.takePosition(), .frame_count = frame_count };
        for (0..frame_count) |i| {
            made.sizes[i] = world.frameSize();
            const kind: log_frame.Kind = if (i + 1 == frame_count) .commit else .part;
            try putFrame(&world.writer, kind, made.position, @intCast(i), made.sizes[i]);
            if (world.random.uintLessThan(u8, 8) == 0) try world.writer.flush();
        }
        try world.logged.append(world.gpa, made);
    }

    fn giveUp(world: *World) !void {
        const position = world.next;
        for (0..world.random.uintAtMost(u8, 4)) |i| {
            try putFrame(&world.writer, .part, position, @intCast(i + 100), world.frameSize());
        }
        if (world.random.boolean()) {
            world.writer.begin(.commit, position);
            _ = try world.writer.room(10);
        }
        world.writer.cancel();
    }

    fn flush(world: *World) !void {
        try world.writer.flush();
        world.flushed = world.writer.last_logged;
    }

    /// Syncs, while up to `meanwhile` other things happen.
    fn sync(world: *World, meanwhile: u32) !void {
        const target = try world.writer.beginSync();
        if (world.random.boolean()) try world.writer.fillAhead();
        world.flushed = target.position;
        for (0..meanwhile) |_| switch (world.random.uintLessThan(u8, 8)) {
            0 => try world.flush(),
            1 => try world.commit(3),
            2 => try world.checkCrash(),
            else => try world.commit(1),
        };
        try target.sync(world.disk.files());
        world.writer.endSync(&target);
        world.writer.noteDurable(target.position);
        world.synced = target.position;
    }

    /// Removes what a reader from the older of two checkpoints on does not need.
    fn checkpoint(world: *World) !void {
        try world.sync(0);
        var log = try world.openLog(world.disk, world.from);
        defer log.close();
        world.from = @max(world.from, world.random.intRangeAtMost(u64, 1, world.synced));
        const needed = log.neededFor(world.from) orelse return error.NothingNeeded;
        for (log.listed) |file| {
            if (file.found != .header or !file.found.header.isBefore(needed)) continue;
            if (world.isInUse(file.number)) continue;
            try world.disk.files().unlink(segment.Name.of(file.number).slice());
        }
        if (world.random.boolean()) try world.disk.files().syncDirectory();
    }

    fn isInUse(world: *World, number: u32) bool {
        if (number == world.writer.segmentNumber()) return true;
        return if (world.zombie) |*zombie| number == zombie.segmentNumber() else false;
    }

    /// Another process takes the log over while the one before still believes to have it.
    fn takeOver(world: *World) !void {
        try world.flush();
        world.epoch += 1;
        const undecided = world.next - 1 - world.flushed;
        const drained = world.flushed + world.random.uintAtMost(u64, undecided);
        if (world.zombie) |*older| older.stop();
        world.zombie = world.writer;
        world.writer = try world.inherit(world.synced, drained);
        world.next = @max(world.next, drained + 1);
    }

    /// Begins a segment with a copy of what was logged in (durable, drained], which must end with
    /// what was flushed last. From when it has its header, that copy is on the disk.
    fn inherit(world: *World, durable: u64, drained: u64) !LogWriter {
        var log: LogReader = try .open(world.gpa, world.disk.files(), .{
            .store_uuid = uuid,
            .from = durable,
            .to = drained,
            .required = world.flushed,
        });
        defer log.close();
        if (log.verdict == .damaged or log.last_position != world.flushed) return error.NotTaken;
        var size: u64 = 0;
        var previous: ?u64 = null;
        var counting = log.cursor();
        defer counting.close();
        while (try counting.next()) |item| {
            const header = &item.frame.header;
            if (previous == null and header.kind != .catalogue) previous = header.previous;
            size += header.length;
        }
        var writer: LogWriter = try .prepare(world.gpa, world.disk.files(), .{
            .store_uuid = uuid,
            .incarnation = world.incarnation,
            .leader_epoch = world.epoch,
            .start_position = durable + 1,
            .previous_position = previous orelse @min(durable, log.last_position),
            .size = segment.size_min + std.mem.alignForward(u64, size, segment.block_size),
            .size_max = segment.size_min * 2,
        });
        errdefer writer.stop();
        if (world.random.boolean()) try writer.note(.catalogue, "tables");
        var cursor = log.cursor();
        defer cursor.close();
        while (try cursor.next()) |item| try writer.copy(&item.frame);
        if (writer.last_logged != world.flushed) return error.NotCopied;
        if (world.random.boolean()) {
            try writer.flush();
            try world.checkCrash();
        }
        try writer.publish();
        writer.noteDurable(writer.last_logged);
        world.synced = writer.last_logged;
        return writer;
    }

    fn actAsZombie(world: *World, zombie: *LogWriter) !void {
        const last = @max(zombie.last_logged, world.synced);
        const position = last + world.random.intRangeAtMost(u64, 1, 3);
        const size = world.frameSize();
        switch (world.random.uintLessThan(u8, 6)) {
            0 => try zombie.flush(),
            1 => {
                const target = try zombie.beginSync();
                try target.sync(world.disk.files());
                zombie.endSync(&target);
            },
            2 => try zombie.note(.mark, ""),
            3 => {
                try putFrame(zombie, .part, position, 77, size);
                if (world.random.boolean()) zombie.cancel();
            },
            else => if (zombie.parts.count == 0 or zombie.parts.position == position) {
                try putFrame(zombie, .commit, position, 77, size);
            } else zombie.cancel(),
        }
    }

    /// Syncs, and leaves a mark on the disk. From then on, damage is always noticed.
    fn idle(world: *World) !void {
        try world.sync(0);
        try world.writer.note(.mark, "");
        try world.sync(0);
        var image = try world.disk.crash(world.random, .{});
        defer image.deinit();
        for (0..4) |_| {
            const names = image.names.keys();
            const name = names[world.random.uintLessThan(usize, names.len)];
            const bytes = image.contents(name).?;
            const bit = world.random.uintLessThan(usize, @max(bytes.len, 1) * 8);
            if (bytes.len == 0) continue;
            image.flipBit(name, bit);
            defer image.flipBit(name, bit);
            var log = try world.openLog(&image, world.from);
            defer log.close();
            const last = try world.checkPrefix(&log);
            if (log.verdict != .damaged and last < world.synced) return error.Unnoticed;
        }
    }

    fn openLog(world: *World, disk: *MemoryDisk, from: u64) !LogReader {
        return .open(world.gpa, disk.files(), .{ .store_uuid = uuid, .from = from });
    }

    fn checkCrash(world: *World) !void {
        var image = try world.crashImage();
        defer image.deinit();
        _ = try world.checkLog(&image, world.synced);
    }

    fn crashImage(world: *World) !MemoryDisk {
        world.images += 1;
        const kept = world.random.uintAtMost(u8, 100);
        return world.disk.crash(world.random, .{
            .kept_percent = kept,
            .torn_percent = world.random.uintAtMost(u8, 100 - kept),
            .name_percent = world.random.uintAtMost(u8, 100),
        });
    }

    /// Reads the log of a disk, which must hold everything up to `promised`. Returns its end.
    fn checkLog(world: *World, disk: *MemoryDisk, promised: u64) !u64 {
        var log: LogReader = try .open(world.gpa, disk.files(), .{
            .store_uuid = uuid,
            .from = world.from,
            .required = if (world.isLogged(promised)) promised else 1,
        });
        defer log.close();
        if (log.verdict == .damaged) {
            std.debug.print("{any}\n", .{log.verdict.damaged});
            return error.CalledDamaged;
        }
        if (log.last_position < promised) return error.PromiseBroken;
        return world.checkPrefix(&log);
    }

    fn isLogged(world: *const World, position: u64) bool {
        for (world.logged.items) |made| if (made.position == position) return true;
        return false;
    }

    /// The cursor must give the transactions above `from` up to the last position, all of them.
    fn checkPrefix(world: *World, log: *const LogReader) !u64 {
        var cursor = log.cursor();
        defer cursor.close();
        for (world.logged.items) |*made| {
            if (made.position <= world.from) continue;
            if (made.position > log.last_position) break;
            for (0..made.frame_count) |i| {
                const item = while (try cursor.next()) |item| {
                    if (item.frame.header.kind != .catalogue) break item;
                    if (!std.mem.eql(u8, item.frame.image(), "tables")) return error.WrongImage;
                } else return error.FrameMissing;
                if (item.frame.header.position != made.position) return error.WrongPosition;
                const body = item.frame.body;
                const size = made.sizes[i];
                if (body.len != std.mem.alignForward(usize, size, 8)) return error.WrongSize;
                for (body[0..size], 0..) |byte, at| {
                    if (byte != byteOf(made.position, @intCast(i), at)) return error.WrongBytes;
                }
            }
        }
        while (try cursor.next()) |item| {
            if (item.frame.header.kind != .catalogue) return error.FrameTooMany;
        }
        return log.last_position;
    }

    /// The machine goes down and comes up again.
    fn powerCut(world: *World) !void {
        var image = try world.crashImage();
        errdefer image.deinit();
        const last = try world.checkLog(&image, world.synced);
        world.forgetProcesses();
        world.disk.deinit();
        world.disk.* = image;
        try world.recover(last);
    }

    /// All processes are killed, and the region is lost. Of the log, nothing is known to be on the
    /// disk but what it says itself.
    fn kill(world: *World) !void {
        const last = try world.checkLog(world.disk, world.flushed);
        world.forgetProcesses();
        world.forgetAbove(last);
        var log = try world.openLog(world.disk, world.from);
        defer log.close();
        var durable = @max(world.from, log.newest().?.durable_hint);
        var cursor = log.cursor();
        defer cursor.close();
        while (try cursor.next()) |item| durable = @max(durable, item.frame.header.durable_hint);
        world.incarnation += 1;
        world.epoch = 1;
        world.flushed = last;
        world.writer = try world.inherit(durable, @max(last, durable));
        world.next = last + 1 + if (world.random.boolean()) @as(u64, 1) << 32 else 0;
    }

    fn forgetProcesses(world: *World) void {
        world.writer.spare = null;
        world.writer.stop();
        if (world.zombie) |*zombie| {
            zombie.spare = null;
            zombie.stop();
        }
        world.zombie = null;
    }

    fn forgetAbove(world: *World, last: u64) void {
        while (world.logged.items.len > 0) {
            if (world.logged.items[world.logged.items.len - 1].position <= last) break;
            _ = world.logged.pop();
        }
    }

    fn recover(world: *World, last: u64) !void {
        world.forgetAbove(last);
        world.incarnation += 1;
        world.epoch = 1;
        world.flushed = last;
        world.synced = last;
        world.next = last + 1 + if (world.random.boolean()) @as(u64, 1) << 32 else 0;
        world.writer = try world.startWriter(last + 1, last);
    }
};

fn putFrame(writer: *LogWriter, kind: log_frame.Kind, position: u64, part: u8, size: u16) !void {
    writer.begin(kind, position);
    const out = try writer.room(size);
    for (out[0..size], 0..) |*byte, at| byte.* = byteOf(position, part, at);
    writer.advance(size);
    try writer.finish();
}

fn byteOf(position: u64, part: u8, at: usize) u8 {
    return @truncate(position *% 31 +% @as(u64, part) *% 101 +% at *% 7 +% 1);
}

test "fuzz: power cuts, kills and changes of the leader lose nothing that was promised" {
    try emulation.skip();
    try std.testing.expect(try run(std.testing.allocator, 1, 60) > 480);
}
