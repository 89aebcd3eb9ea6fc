//! Memory pressure: what is done before a region is full.
//!
//!     level   share in use   what it asks for
//!     calm    less           nothing
//!     ample   70 %           commits drain more of their logs and move the horizon more often
//!     tight   85 %           the leader revokes the oldest snapshot that rests
//!     scarce  92 %           statements that write help first, and wait a few milliseconds
//!
//! The leader looks in each round of maintenance; whoever finds no room, or waits for it, looks as
//! well. In use is what blocks in use take, not slabs: a slab never changes its kind, but all of it
//! may be free. A look counts the blocks of a sample of slabs, so it costs the same in a region of
//! any size, and nothing before the slabs that were ever taken are 70 % of the region.
//!
//! Rows alone never lead beyond `ample`: revoking and waiting help only where much of what is in
//! use waits in the logs for a pin or an owner.
//!
//! `memory_pressure` is stored and loaded monotonic and has no partner: whoever acts on an old
//! level does what is right at every level, sooner or later than would be best. Killed before the
//! store: the next look makes it good.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const vacuum = @import("vacuum.zig");
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Session = session_module.Session;

/// The numbers stand in `memory_pressure` and in `stats`.
pub const Level = enum(u32) { calm = 0, ample = 1, tight = 2, scarce = 3 };

/// The shares in use, in thousandths, from which on the levels hold.
const thresholds = [_]u32{ 700, 850, 920 };
/// A level ends so much below where it began, so that it does not flicker.
const slack = 50;
/// Slabs of which a look counts the blocks.
const looks_max = 64;
/// What the logs hold is much if it is one part in so many of the region.
const much_divisor = 32;

/// The level that somebody has seen last. In the simulator nobody looks: its scenarios themselves
/// choose who drains, who revokes and when.
pub inline fn levelOf(region: *const Region) Level {
    if (sync.sim) return .calm;
    return switch (region.control.shared.memory_pressure.load(.monotonic)) {
        0 => .calm,
        1 => .ample,
        2 => .tight,
        else => .scarce,
    };
}

pub fn isAtLeast(level: Level, least: Level) bool {
    return @intFromEnum(level) >= @intFromEnum(least);
}

pub const Seen = struct {
    level: Level = .calm,
    /// Entries that wait in all logs; only counted from `tight` on.
    waiting: u64 = 0,
};

/// Looks how full the region is, and tells all.
pub fn publish(region: *const Region) Seen {
    const word = &region.control.shared.memory_pressure;
    const before = word.load(.monotonic);
    const seen = look(region, before);
    const level = @intFromEnum(seen.level);
    if (level != before) word.store(level, .monotonic);
    return seen;
}

fn look(region: *const Region, before: u32) Seen {
    const usable = region.slab_count - slabs.reserveOf(region);
    const top = @min(region.control.memory.slab_top.load(.monotonic), region.slab_count);
    if (@as(u64, top) * 1000 < @as(u64, usable) * (thresholds[0] - slack)) return .{};
    const sample: Sample = .take(region, top);
    const share = sample.used * region.slab_count / usable;
    var level: u32 = 0;
    for (thresholds, 1..) |threshold, number| {
        const from = if (number <= before) threshold - slack else threshold;
        if (share >= from) level = @intCast(number);
    }
    if (level <= @intFromEnum(Level.ample)) return .{ .level = @enumFromInt(level) };
    const entries = Logs.of(region).waiting;
    const held = entries *| (sample.versionSize() + @sizeOf(slot_log.Entry));
    const size = @as(u64, region.slab_count) * limits.slab_size;
    if (held < size / much_divisor) return .{ .level = .ample, .waiting = entries };
    return .{ .level = @enumFromInt(level), .waiting = entries };
}

/// What some slabs hold, spread evenly over the region.
const Sample = struct {
    /// The share of blocks in use, in thousandths.
    used: u64,
    versions: u64 = 0,
    version_granules: u64 = 0,

    fn take(region: *const Region, top: u32) Sample {
        const step = std.math.divCeil(u32, region.slab_count, looks_max) catch unreachable;
        const seed = region.control.next.word.load(.monotonic);
        var sample: Sample = .{ .used = 0 };
        var looks: u64 = 0;
        var first: u32 = 0;
        // One of each `step` slabs, another one each time.
        while (first < region.slab_count) : (first += step) {
            looks += 1;
            const random: u32 = @truncate((seed +% looks) *% 0x9e3779b97f4a7c15 >> 32);
            const slab = first + random % @min(step, region.slab_count - first);
            if (slab < top) sample.used += sample.add(region, slab);
        }
        sample.used /= looks;
        return sample;
    }

    /// Thousandths of the slab that are in use.
    fn add(sample: *Sample, region: *const Region, slab: u32) u64 {
        // Acquire: pairs with the release in `takeUnused`, after the slab is backed by memory.
        const kind: slabs.SlabKind = .from(region.slab_metas[slab].kind.load(.acquire));
        switch (kind.class) {
            .none => return 0,
            // Their state words say nothing; they are never free.
            .catalogue, .index_root => return 1000,
            else => if (kind.size >= slabs.size_classes.len) return 1000,
        }
        const size = slabs.size_classes[kind.size];
        const used = size.count - slabs.countFree(region, slab, kind);
        if (kind.class == .version) {
            sample.versions += used;
            sample.version_granules += @as(u64, used) * size.granules;
        }
        return @as(u64, used) * 1000 / size.count;
    }

    /// Bytes of a version, on the average.
    fn versionSize(sample: *const Sample) u64 {
        return sample.version_granules * limits.granule_size / @max(sample.versions, 1);
    }
};

/// All logs together.
pub const Logs = struct {
    /// Entries that were ever passed.
    done: u64 = 0,
    /// Entries that wait, for a pin to go or for their owner to find time.
    waiting: u64 = 0,

    pub fn of(region: *const Region) Logs {
        var logs: Logs = .{};
        for (region.slots) |*slot| {
            // In this order: the tail that is read never passes the head.
            const tail: slot_log.Tail = .from(slot.log_tail.load(.acquire));
            const head = slot.log_head.load(.acquire);
            const done = tail.number(head);
            logs.done += done;
            logs.waiting += head - done;
        }
        return logs;
    }
};

/// What the leader does about it in each round.
pub const Watch = struct {
    /// What the round before has found, if memory was tight.
    before: ?Found = null,

    const Found = struct { waiting: u64, horizon: u64 };

    /// The horizon has just been moved. Revokes at most one snapshot: the oldest one, if nothing
    /// but it has held the horizon where it is since the round before, and the logs do not get
    /// shorter by themselves.
    pub fn round(watch: *Watch, region: *const Region) void {
        const seen = publish(region);
        const now: Found = .{
            .waiting = seen.waiting,
            .horizon = region.control.shared.horizon.load(.acquire),
        };
        const before = watch.before;
        watch.before = if (isAtLeast(seen.level, .tight)) now else null;
        if (watch.before == null or before == null) return;
        if (now.horizon != before.?.horizon or now.waiting < before.?.waiting) return;
        const oldest = vacuum.oldestResting(region, null) orelse return;
        if (oldest.epoch() > now.horizon) return;
        if (vacuum.revoke(region, oldest.slot, oldest.word)) waiting.wakeMaintenance(region);
    }
};

const testing = std.testing;
const Bench = @import("core_test.zig").Bench;
const Pinned = enum { operating, resting };

/// Rows that the tests write to, over and over.
const rows = 16;

/// Updates rows until memory is at a level, with somebody's pin in the way.
fn fillTo(bench: *Bench, writer: *Session, holder: *Session, how: Pinned, level: Level) !void {
    for (0..rows) |id| _ = try bench.run(writer, .upsert, @intCast(id), 1);
    holder.pin();
    if (how == .resting) holder.rest();
    while (!isAtLeast(publish(&bench.region).level, level)) try update(bench, writer, 32);
    try testing.expectEqual(level, levelOf(&bench.region));
}

fn update(bench: *Bench, writer: *Session, times: i64) !void {
    var n: i64 = 0;
    while (n < times) : (n += 1) {
        try testing.expectEqual(.done, try bench.run(writer, .upsert, @mod(n, rows), n));
    }
}

test "levels: rows alone are no more than ample, and what is deleted counts no more" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    try testing.expectEqual(.calm, publish(&bench.region).level);
    var id: i64 = 0;
    while (true) : (id += 1) _ = bench.run(s, .upsert, id, id) catch break;
    bench.settle(s);
    try testing.expectEqual(.ample, publish(&bench.region).level);
    // Slabs stay what they are, but most of their blocks are free.
    while (id >= 100) : (id -= 1) _ = try bench.run(s, .delete, id, 0);
    for (0..3) |_| bench.settle(s);
    try testing.expectEqual(.calm, publish(&bench.region).level);
    try bench.expectSound(s);
}

test "levels: one ends a little below where it began" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    const region = &bench.region;
    var id: i64 = 0;
    while (publish(region).level == .calm) : (id += 1) _ = try bench.run(s, .upsert, id, id);
    bench.settle(s);
    try testing.expectEqual(.ample, publish(region).level);
    // One slab fewer is in use: too many to begin, and too few to end.
    for (0..300) |gone| _ = try bench.run(s, .delete, @intCast(gone), 0);
    for (0..3) |_| bench.settle(s);
    try testing.expectEqual(.ample, publish(region).level);
    region.control.shared.memory_pressure.store(0, .monotonic);
    try testing.expectEqual(.calm, publish(region).level);
}

test "ample: commits shorten their logs, and move the horizon without help" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const holder = try bench.session();
    defer holder.close();
    const writer = try bench.session();
    defer writer.close();
    const word = &bench.region.control.shared.memory_pressure;
    try fillTo(&bench, writer, holder, .operating, .ample);
    holder.unpin();
    const full = Logs.of(&bench.region).waiting;
    word.store(@intFromEnum(Level.calm), .monotonic);
    writer.operations = 0; // it is not its turn to look at the pins before 512
    try update(&bench, writer, 200);
    const calm = Logs.of(&bench.region).waiting;
    try testing.expect(calm + 200 >= full);
    word.store(@intFromEnum(Level.ample), .monotonic);
    try update(&bench, writer, 200);
    try testing.expect(Logs.of(&bench.region).waiting + 1500 < calm);
}

test "tight: a snapshot that rests goes before the region is full, and a young one stays" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    const forgotten = try bench.session();
    defer forgotten.close();
    const young = try bench.session();
    defer young.close();
    const writer = try bench.session();
    defer writer.close();
    const wake = &region.control.leader.wake;
    const asked = wake.load(.monotonic);
    forgotten.pin();
    forgotten.rest();
    var watch: Watch = .{};
    var highest: Level = .calm;
    // Many times what the region holds.
    for (0..4000) |_| {
        young.pin();
        young.rest();
        try update(&bench, writer, 64);
        vacuum.advanceHorizon(region);
        watch.round(region);
        if (isAtLeast(levelOf(region), highest)) highest = levelOf(region);
        try testing.expect(young.resumePin());
        young.unpin();
    }
    try testing.expectEqual(.tight, highest);
    try testing.expectEqual(1, region.control.leader.revocations.load(.monotonic));
    try testing.expect(!forgotten.resumePin());
    // Once all were told to drain, and no writer has asked for memory.
    try testing.expectEqual(asked + 1, wake.load(.monotonic));
    try testing.expectEqual(.calm, levelOf(region));
    bench.settle(writer);
    try bench.expectSound(writer);
}

test "tight: no snapshot goes while an older pin is in the middle of something" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    const holder = try bench.session();
    defer holder.close();
    const resting = try bench.session();
    defer resting.close();
    const writer = try bench.session();
    defer writer.close();
    try fillTo(&bench, writer, holder, .operating, .tight);
    resting.pin();
    resting.rest();
    try update(&bench, writer, 64);
    var watch: Watch = .{};
    for (0..3) |_| {
        vacuum.advanceHorizon(region);
        watch.round(region);
    }
    try testing.expectEqual(.tight, levelOf(region));
    try testing.expect(resting.resumePin());
    resting.unpin();
    holder.rest();
    for (0..3) |_| {
        vacuum.advanceHorizon(region);
        watch.round(region);
    }
    try testing.expect(!holder.resumePin());
}

test "scarce: whoever writes frees first what can be freed, and waits for no more than a moment" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    const holder = try bench.session();
    defer holder.close();
    const mine = try bench.session();
    defer mine.close();
    const gone = try bench.session();
    try fillTo(&bench, gone, holder, .operating, .scarce);
    gone.close();
    const wake = &region.control.leader.wake;
    var asked = wake.load(.monotonic);
    try testing.expectEqual(.done, try bench.run(mine, .upsert, 1, 1));
    try testing.expect(wake.load(.monotonic) != asked);
    try testing.expectEqual(.scarce, levelOf(region));
    // It was in vain, so the next ones do not wait.
    asked = wake.load(.monotonic);
    try update(&bench, mine, 8);
    try testing.expectEqual(asked, wake.load(.monotonic));
    // The region is not full, so nothing but the level asks for this.
    holder.unpin();
    const before = Logs.of(region).waiting;
    try update(&bench, mine, 64);
    try testing.expectEqual(.calm, levelOf(region));
    try testing.expect(Logs.of(region).waiting < before / 4);
    bench.settle(mine);
    try bench.expectSound(mine);
}
