//! How long the log's threads wait before they try again, or replace a leader that stands still.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const LogState = region_module.LogState;
const Region = region_module.Region;
const Shm = sync.Shm;

/// A leader that does not move for this long, with work before it, is replaced. Doubled by each
/// such replacement, so that a slow disk does not make leaders chase each other.
pub const stall_ns_min = 2 * std.time.ns_per_s;
const stall_ns_max = 64 * std.time.ns_per_s;

/// When to try again what did not work.
pub const Retry = struct {
    due_ns: u64 = 0,
    pause_ns: u64 = 0,

    pub fn isDue(retry: *const Retry) bool {
        return sync.nowNs() >= retry.due_ns;
    }

    pub fn after(retry: *Retry, pause_min: u64, pause_max: u64) void {
        retry.pause_ns = std.math.clamp(retry.pause_ns * 2, pause_min, pause_max);
        retry.due_ns = sync.nowNs() + retry.pause_ns;
    }
};

/// Whether this process alone waits for the disk, while another one leads: then each of its commits
/// takes two changes of threads, which it can spare itself by taking the lead.
///
/// Called by every thread that waits: what they overwrite of each other makes it wait longer.
pub const Alone = struct {
    /// Waits, one after the other, for a sync that nobody else waited for.
    streak: Shm(u32) = .init(0),
    /// Waits of all processes when they began.
    arrivals_before: Shm(u32) = .init(0),
    /// 1: the drainer shall take the lead.
    wanted: Shm(u32) = .init(0),
    due_ns: Shm(u64) = .init(0),
    pause_ns: Shm(u64) = .init(0),

    /// A leader that has made so many syncs for one process only has no use for its office.
    pub const streak_min = if (builtin.is_test) 8 else 64;
    /// Who else waits once in a while may wait for us.
    const others_min = 2;
    const others_share = 4;
    /// Between two times that a process takes the lead so. It doubles, so that processes which take
    /// turns do not chase each other, and begins anew after a rest.
    const pause_ns_min = 2 * std.time.ns_per_s;
    const pause_ns_max = 64 * std.time.ns_per_s;

    /// A wait for another process's sync has ended. True if the drainer is to be woken.
    pub fn noteWait(alone: *Alone, region: *const Region, was_only_one: bool) bool {
        const arrivals = region.control.log.arrivals.load(.monotonic);
        const streak = alone.streak.load(.monotonic);
        const waits = arrivals -% alone.arrivals_before.load(.monotonic);
        const waits_max = streak + streak / others_share + others_min;
        if (!was_only_one or streak == 0 or waits > waits_max) {
            alone.arrivals_before.store(arrivals, .monotonic);
            alone.streak.store(@intFromBool(was_only_one), .monotonic);
            return false;
        }
        alone.streak.store(streak + 1, .monotonic);
        if (streak < streak_min) return false;
        alone.streak.store(0, .monotonic);
        if (sync.nowNs() < alone.due_ns.load(.monotonic)) return false;
        alone.wanted.store(1, .release);
        return true;
    }

    /// True once after the lead was asked for.
    pub fn take(alone: *Alone, region: *const Region) bool {
        if (alone.wanted.load(.acquire) == 0 or alone.wanted.swap(0, .acquire) == 0) return false;
        const state = region.control.shared.log_state.load(.monotonic);
        if (state != @intFromEnum(LogState.working)) return false;
        const now = sync.nowNs();
        const rested = now -% alone.due_ns.load(.monotonic) >= pause_ns_max;
        const pause_before = if (rested) 0 else alone.pause_ns.load(.monotonic);
        const pause = std.math.clamp(2 * pause_before, pause_ns_min, pause_ns_max);
        alone.pause_ns.store(pause, .monotonic);
        alone.due_ns.store(now + pause, .monotonic);
        return true;
    }
};

/// How long the present leader has not moved, by this process's clock.
pub const Stall = struct {
    leader: u64 = 0,
    heartbeat: u64 = 0,
    /// 0: nobody is watched yet.
    since_ns: u64 = 0,
    patience_ns: u64 = stall_ns_min,

    /// True if it has stood still for too long, with work before it.
    pub fn isOver(stall: *Stall, region: *const Region, leader: u64, now_ns: u64) bool {
        const log = &region.control.log;
        const heartbeat = log.heartbeat.load(.monotonic);
        const work = ring.stampedPosition(region) > ring.drainedPosition(region) or
            log.sync_wanted.load(.monotonic) > ring.durablePosition(region);
        const state = region.control.shared.log_state.load(.monotonic);
        const moves = leader != stall.leader or heartbeat != stall.heartbeat or !work or
            state != @intFromEnum(LogState.working);
        // No such clock goes back, but a machine that is moved while it runs may bring another one.
        if (now_ns < stall.since_ns) stall.since_ns = now_ns;
        const waited_ns = now_ns - stall.since_ns;
        if (moves or stall.since_ns == 0) {
            const rested = waited_ns >= stall_ns_max;
            if (leader == stall.leader and rested) stall.patience_ns = stall_ns_min;
            stall.leader = leader;
            stall.heartbeat = heartbeat;
            stall.since_ns = now_ns;
            return false;
        }
        if (waited_ns < stall.patience_ns) return false;
        stall.patience_ns = @min(2 * stall.patience_ns, stall_ns_max);
        stall.since_ns = 0;
        return true;
    }
};

const testing = std.testing;

/// A region with a leader, one commit that it has not drained, and somebody who watches it.
const Watch = struct {
    bench: @import("core_test.zig").Bench,
    stall: Stall = .{},
    now_ns: u64 = 30 * 24 * 3600 * std.time.ns_per_s,
    leader: u64 = 7,

    fn init(watch: *Watch) !void {
        watch.* = .{ .bench = undefined };
        try watch.bench.init(4 << 20);
        const control = watch.bench.region.control;
        control.shared.log_state.raw = @intFromEnum(LogState.working);
        control.stamped.word.raw = ring.drainedPosition(&watch.bench.region) + 1;
    }

    /// Looks every 20 ms, as a drainer does, and returns the milliseconds until it would take over;
    /// null if it would not within a time.
    fn patienceMs(watch: *Watch, most_ms: u64) ?u64 {
        const started = watch.now_ns;
        while (!watch.isOver()) {
            if (watch.now_ns - started >= most_ms * std.time.ns_per_ms) return null;
            watch.now_ns += 20 * std.time.ns_per_ms;
        }
        return (watch.now_ns - started) / std.time.ns_per_ms;
    }

    fn isOver(watch: *Watch) bool {
        return watch.stall.isOver(&watch.bench.region, watch.leader, watch.now_ns);
    }
};

test "Stall: a leader with work that stands still is replaced after 2 s, the next ones later" {
    var watch: Watch = undefined;
    try watch.init();
    defer watch.bench.deinit();
    try testing.expectEqual(2_000, watch.patienceMs(60_000));
    // Whoever took over stands still as well, as on a disk that is slow for everybody.
    for ([_]u64{ 4_000, 8_000, 16_000, 32_000, 64_000, 64_000 }) |expected_ms| {
        watch.leader += 1;
        try testing.expectEqual(expected_ms, watch.patienceMs(100_000));
    }
    // One that has led for a while without a stall ends the suspicion.
    watch.leader += 1;
    _ = watch.isOver();
    watch.now_ns += stall_ns_max;
    watch.bench.region.control.log.heartbeat.raw += 1;
    _ = watch.isOver();
    try testing.expectEqual(2_000, watch.patienceMs(60_000));
}

test "Stall: a leader that moves, has nothing to do, or has no disk is left alone" {
    var watch: Watch = undefined;
    try watch.init();
    defer watch.bench.deinit();
    const control = watch.bench.region.control;
    for (0..10) |_| {
        try testing.expectEqual(null, watch.patienceMs(1_900));
        control.log.heartbeat.raw += 1;
    }
    for ([_]LogState{ .no_space, .failed }) |state| {
        control.shared.log_state.raw = @intFromEnum(state);
        try testing.expectEqual(null, watch.patienceMs(60_000));
    }
    control.shared.log_state.raw = @intFromEnum(LogState.working);
    control.stamped.word.raw = ring.drainedPosition(&watch.bench.region);
    try testing.expectEqual(null, watch.patienceMs(60_000));
    // Somebody waits for the disk.
    control.log.sync_wanted.raw = ring.durablePosition(&watch.bench.region) + 1;
    try testing.expectEqual(2_000, watch.patienceMs(60_000));
}

test "Stall: a clock that jumps costs one take-over or one wait, and no more" {
    var watch: Watch = undefined;
    try watch.init();
    defer watch.bench.deinit();
    _ = watch.isOver();
    watch.now_ns += 7 * 24 * 3600 * std.time.ns_per_s;
    try testing.expect(watch.isOver());
    watch.leader += 1;
    try testing.expectEqual(null, watch.patienceMs(3_900));
    // Back by a week: the wait begins anew.
    watch.now_ns -= 7 * 24 * 3600 * std.time.ns_per_s;
    try testing.expectEqual(4_000, watch.patienceMs(60_000));
}
