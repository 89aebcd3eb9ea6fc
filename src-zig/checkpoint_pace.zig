//! How fast a checkpoint writes: no faster than it was told, so that it leaves the disk to the log.
//!
//! What counts is the mean since the beginning. So a checkpoint that was held up may catch up, and
//! one whose disk is slower than the limit never sleeps.

const std = @import("std");
const sync = @import("sync");

/// What time it is, and how to let some pass. Tests have clocks of their own.
pub const Clock = struct {
    context: *anyopaque,
    now: *const fn (context: *anyopaque) u64,
    sleep: *const fn (context: *anyopaque, ns: u64) void,

    var nobody: u8 = 0;
    pub const system: Clock = .{ .context = &nobody, .now = systemNow, .sleep = systemSleep };

    fn systemNow(_: *anyopaque) u64 {
        return sync.nowNs();
    }

    fn systemSleep(_: *anyopaque, ns: u64) void {
        sync.sleepNs(ns);
    }
};

pub const Pace = struct {
    /// Bytes per second; 0 for no limit.
    rate_max: u64,
    clock: Clock,
    started_ns: u64,
    bytes: u64 = 0,

    pub fn begin(rate_max: u64, clock: Clock) Pace {
        const started_ns = if (rate_max == 0) 0 else clock.now(clock.context);
        return .{ .rate_max = rate_max, .clock = clock, .started_ns = started_ns };
    }

    /// Takes note of what was written, and sleeps if that was too fast.
    pub fn keep(pace: *Pace, bytes: u64) void {
        if (pace.rate_max == 0) return;
        pace.bytes += bytes;
        const wanted_ns = @as(u128, pace.bytes) * std.time.ns_per_s / pace.rate_max;
        const taken_ns = pace.clock.now(pace.clock.context) -% pace.started_ns;
        if (wanted_ns > taken_ns) {
            pace.clock.sleep(pace.clock.context, @intCast(wanted_ns - taken_ns));
        }
    }
};

const testing = std.testing;

/// A clock that stands still but for sleeps, and for what each look takes.
pub const TestClock = struct {
    now_ns: u64 = 1000,
    look_ns: u64 = 0,
    looks: u32 = 0,
    sleeps: u32 = 0,

    pub fn clock(self: *TestClock) Clock {
        return .{ .context = self, .now = now, .sleep = sleep };
    }

    fn now(context: *anyopaque) u64 {
        const self: *TestClock = @ptrCast(@alignCast(context));
        self.looks += 1;
        self.now_ns += self.look_ns;
        return self.now_ns;
    }

    fn sleep(context: *anyopaque, ns: u64) void {
        const self: *TestClock = @ptrCast(@alignCast(context));
        self.sleeps += 1;
        self.now_ns += ns;
    }
};

test "Pace: sleeps as long as the mean is above the limit, and not at all below it" {
    const second = std.time.ns_per_s;
    var fast: TestClock = .{};
    var pace: Pace = .begin(1000, fast.clock());
    pace.keep(0);
    try testing.expectEqual(0, fast.sleeps);
    for (1..11) |i| {
        pace.keep(500);
        try testing.expectEqual(i, fast.sleeps);
        try testing.expectEqual(1000 + i * second / 2, fast.now_ns);
    }
    // Held up for a second, and it may write as much without a sleep.
    fast.now_ns += second;
    pace.keep(1000);
    try testing.expectEqual(10, fast.sleeps);
    pace.keep(1);
    try testing.expectEqual(11, fast.sleeps);

    var slow: TestClock = .{ .look_ns = second };
    pace = .begin(1000, slow.clock());
    for (0..10) |_| pace.keep(1000);
    try testing.expectEqual(0, slow.sleeps);

    var unused: TestClock = .{};
    pace = .begin(0, unused.clock());
    pace.keep(1 << 40);
    try testing.expectEqual(0, unused.looks);
}
