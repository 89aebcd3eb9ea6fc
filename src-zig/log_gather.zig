//! Group commit: a sync waits a little for those who are about to want it.
//!
//! Whoever commits again and again comes back soon after a sync has let him go. A sync that begins
//! at once finds only those who came during the last one, and the others have to wait for it and
//! for the next: two groups take turns, each half as large as it could be. So before a sync begins,
//! its thread sleeps until as many have come as have been seen lately, for two thirds of the time
//! that a sync takes at the most. (As `commit_delay` of PostgreSQL, whose manual recommends half of
//! it; but whom to wait for, and for how long, is measured here.)
//!
//! `log.arrivals` counts waits, each once, when it begins. Nobody has two at a time, and those who
//! came before the sync before the last began were woken by that one: so those who came since are
//! as many as commit side by side. A lone one waits for nobody.
//!
//! Invariants:
//!
//!   * nothing waits for an arrival without a limit of time: a count that is too large, because
//!     somebody was killed or has gone, costs a part of a sync, and that less and less often
//!   * whoever arrives while `gather_target` is set need not wake anybody else: the thread that has
//!     set it takes it back before it looks for what to sync
//!
//! Memory orders: `arrivals` and `gather_target` are sequentially consistent on both sides. Who
//! arrives counts itself, then looks at the target; who gathers sets the target, then looks at the
//! count. So one of them sees the other. Killed in between: the limit of time.

const std = @import("std");
const sync = @import("sync");
const os = @import("os.zig");
const region_module = @import("region.zig");
const waiting = @import("waiting.zig");
const Position = @import("version.zig").Position;
const Region = region_module.Region;

/// So many thirds of the measured time of a sync. On a disk that syncs in 0.1 ms, half of it is too
/// short for 8 processes on 2 processors, and all of it costs more commits than it spares syncs.
const patience_thirds = 2;
/// After gatherings in vain, so many syncs at the most begin at once before another one is tried.
const skips_max = 64;
/// The average of the time of a sync follows a new one by this part of the difference.
const average_share = 8;

/// Counts a wait that begins. True if a sync is about to begin that will cover it, so that nobody
/// has to be woken.
pub fn arrive(region: *const Region) bool {
    const log = &region.control.log;
    const count = log.arrivals.fetchAdd(1, .seq_cst) +% 1;
    const target = log.gather_target.load(.seq_cst);
    if (target == 0) return false;
    if (!isReached(count, target)) return true;
    // One of those who come wakes the thread.
    if (log.gather_target.cas(target, 0, .seq_cst, .monotonic) != null) return false;
    sync.futexWake(&log.arrivals, 1);
    return true;
}

/// Asks for a position to be brought to the disk soon. Wakes the log's thread unless a sync is
/// expected in any case.
pub fn ask(region: *const Region, position: Position, is_expected: bool) void {
    // Before the look at whether the log's thread sleeps: it says so, and then looks here.
    _ = region.control.log.sync_wanted.fetchMax(position, .seq_cst);
    if (!is_expected) waiting.wakeLog(region);
}

/// Wakes all who wait for `durable` or for another state of the log.
pub fn wakeWaiters(region: *const Region) void {
    const log = &region.control.log;
    _ = log.durable_wake.fetchAdd(1, .seq_cst);
    if (log.durable_waiters.load(.seq_cst) == 0) return;
    sync.futexWake(&log.durable_wake, std.math.maxInt(u31));
}

/// Counts go around.
fn isReached(count: u32, target: u32) bool {
    return @as(i32, @bitCast(count -% target)) >= 0;
}

/// What the leader's process knows of those who wait. Guarded by its `sync_mutex`.
pub const Gathering = struct {
    /// `arrivals` when the last sync began, and when the one before it began.
    begun: u32 = 0,
    begun_before: u32 = 0,
    begun_ns: u64 = 0,
    /// How many commit side by side.
    crowd: u32 = 0,
    /// When nobody of them is worth waiting for any more.
    deadline_ns: u64 = 0,
    /// The average time of a sync.
    sync_ns: u64 = 0,
    /// Syncs to begin at once, and how many it will be after the next gathering in vain.
    skips: u32 = 0,
    skips_next: u32 = 1,

    /// Waits for those who are expected.
    pub fn wait(self: *Gathering, region: *const Region) void {
        const log = &region.control.log;
        const came = log.arrivals.load(.seq_cst);
        const target = self.begun +% self.crowd;
        const started_ns = sync.nowNs();
        if (self.crowd < 2 or self.skips > 0 or target == 0) return;
        if (isReached(came, target) or started_ns >= self.deadline_ns) return;
        // Perhaps a thread of the host. What the kernel adds to the limit could be half a sync.
        const slack_ns = os.setTimerSlack(1);
        defer _ = os.setTimerSlack(slack_ns);
        log.gather_target.store(target, .seq_cst);
        var seen = came;
        var now_ns = started_ns;
        while (now_ns < self.deadline_ns) : (now_ns = sync.nowNs()) {
            seen = log.arrivals.load(.seq_cst);
            if (isReached(seen, target)) break;
            sync.futexWait(&log.arrivals, seen, self.deadline_ns - now_ns);
        }
        if (!sync.mutated(.target_kept)) log.gather_target.store(0, .seq_cst);
        seen = log.arrivals.load(.seq_cst);
        self.judge(came -% self.begun, seen -% came, now_ns - started_ns);
    }

    /// The same when nobody has come yet, once after each sync. Returns the arrivals before it, or
    /// null if nobody is worth waiting for.
    pub fn ahead(self: *Gathering, region: *const Region) ?u32 {
        if (self.crowd < 2 or sync.nowNs() >= self.deadline_ns) return null;
        self.wait(region);
        self.deadline_ns = 0;
        return self.begun;
    }

    /// It pays if most of the crowd is together, because a sync that begins later has to serve so
    /// many more, and if those who came were spared more than all waited.
    fn judge(self: *Gathering, there: u32, gained: u32, waited_ns: u64) void {
        const together = @as(u64, there) + gained;
        const is_most = 4 * together >= 3 * @as(u64, self.crowd);
        if (is_most and gained * self.sync_ns > together * waited_ns) {
            self.skips_next = 1;
            return;
        }
        self.skips = self.skips_next;
        self.skips_next = @min(2 * self.skips_next, skips_max);
    }

    /// A sync begins. Before the look at what it shall cover. True if anybody waits for it.
    pub fn begin(self: *Gathering, region: *const Region) bool {
        self.begun_before = self.begun;
        self.begun = region.control.log.arrivals.load(.seq_cst);
        self.begun_ns = sync.nowNs();
        self.skips -|= 1;
        return self.begun != self.begun_before;
    }

    /// It has ended; those who waited are woken next.
    pub fn end(self: *Gathering, region: *const Region) void {
        const now_ns = sync.nowNs();
        const took_ns = now_ns - self.begun_ns;
        if (self.sync_ns == 0) self.sync_ns = took_ns;
        self.sync_ns = self.sync_ns - self.sync_ns / average_share + took_ns / average_share;
        self.crowd = region.control.log.arrivals.load(.seq_cst) -% self.begun_before;
        self.deadline_ns = now_ns + @min(took_ns, self.sync_ns) * patience_thirds / 3;
    }
};

const testing = std.testing;
const Bench = @import("core_test.zig").Bench;

fn arriveMany(region: *const Region, count: u32) void {
    for (0..count) |_| _ = arrive(region);
}

test "Gathering: two groups that take turns are one crowd, and a lone committer is none" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    // Around the wrap.
    const start = std.math.maxInt(u32) - 20;
    region.control.log.arrivals.raw = start;
    var gathering: Gathering = .{ .begun = start, .begun_before = start };
    arriveMany(region, 3);
    for (0..4) |_| {
        try testing.expect(gathering.begin(region));
        arriveMany(region, 5);
        gathering.end(region);
        try testing.expectEqual(8, gathering.crowd);
        try testing.expect(gathering.begin(region));
        arriveMany(region, 3);
        gathering.end(region);
        try testing.expectEqual(8, gathering.crowd);
    }
    for (0..3) |_| {
        _ = gathering.begin(region);
        gathering.end(region);
        arriveMany(region, 1);
    }
    try testing.expectEqual(1, gathering.crowd);
    gathering.deadline_ns = std.math.maxInt(u64);
    gathering.wait(region);
    try testing.expectEqual(null, gathering.ahead(region));
}

test "Gathering.wait: until all have come, and none of them need wake anybody else" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    const crowd = 3;
    const Comer = struct {
        fn run(where: *const Region, was_expected: *u32) void {
            const log = &where.control.log;
            while (log.gather_target.load(.acquire) == 0) sync.yield();
            for (0..crowd) |_| was_expected.* += @intFromBool(arrive(where));
        }
    };
    var was_expected: u32 = 0;
    const comer = try std.Thread.spawn(.{}, Comer.run, .{ region, &was_expected });
    var gathering: Gathering = .{
        .crowd = crowd,
        .deadline_ns = sync.nowNs() + 60 * std.time.ns_per_s,
        .sync_ns = std.time.ns_per_day,
    };
    gathering.wait(region);
    comer.join();
    try testing.expectEqual(crowd, region.control.log.arrivals.raw);
    try testing.expectEqual(crowd, was_expected);
    try testing.expectEqual(0, region.control.log.gather_target.raw);
    try testing.expectEqual(0, gathering.skips);
    try testing.expect(!arrive(region));
}

test "Gathering: whoever is waited for in vain is waited for less and less often" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    var gathering: Gathering = .{};
    var skipped: u32 = 0;
    for ([_]u32{ 1, 2, 4, 8, 16, 32, 64, 64 }) |expected| {
        gathering.crowd = 4;
        gathering.deadline_ns = sync.nowNs() + std.time.ns_per_ms;
        gathering.wait(region);
        try testing.expectEqual(expected, gathering.skips);
        while (gathering.skips > 0) : (skipped += 1) {
            // No target is set: this returns at once, though nobody has come.
            gathering.deadline_ns = std.math.maxInt(u64);
            gathering.wait(region);
            _ = gathering.begin(region);
        }
    }
    try testing.expectEqual(1 + 2 + 4 + 8 + 16 + 32 + 64 + 64, skipped);
    // Half of them are too few, three quarters are enough.
    gathering.crowd = 8;
    gathering.sync_ns = 100;
    gathering.judge(2, 3, 10);
    try testing.expectEqual(64, gathering.skips);
    gathering.skips = 0;
    gathering.judge(2, 4, 10);
    try testing.expectEqual(0, gathering.skips);
    // Nobody was spared anything, or less than the others have waited.
    gathering.judge(7, 0, 10);
    try testing.expectEqual(1, gathering.skips);
    gathering.judge(6, 2, 25);
    try testing.expectEqual(2, gathering.skips);
}

test "Gathering.ahead: once after each sync" {
    var bench: Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    var gathering: Gathering = .{ .crowd = 2, .skips = 1 };
    gathering.deadline_ns = std.math.maxInt(u64);
    try testing.expectEqual(0, gathering.ahead(region));
    try testing.expectEqual(null, gathering.ahead(region));
}
