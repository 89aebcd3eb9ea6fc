//! How long the log's threads wait before they try again, or replace a leader that stands still.

const std = @import("std");
const sync = @import("sync");
const durability = @import("durability.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const LogState = region_module.LogState;
const Region = region_module.Region;

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

/// How long the present leader has not moved, by this process's clock.
pub const Stall = struct {
    leader: u64 = 0,
    heartbeat: u64 = 0,
    since_ns: u64 = 0,
    patience_ns: u64 = stall_ns_min,

    /// True if it has stood still for too long, with work before it.
    pub fn isOver(stall: *Stall, region: *const Region, leader: u64) bool {
        const log = &region.control.log;
        const now = sync.nowNs();
        const heartbeat = log.heartbeat.load(.monotonic);
        const work = ring.stampedPosition(region) > ring.drainedPosition(region) or
            log.sync_wanted.load(.monotonic) > durability.durablePosition(region);
        const state = region.control.shared.log_state.load(.monotonic);
        const moves = leader != stall.leader or heartbeat != stall.heartbeat or !work or
            state != @intFromEnum(LogState.working);
        if (moves or stall.since_ns == 0) {
            const rested = now -% stall.since_ns >= stall_ns_max;
            if (leader == stall.leader and rested) stall.patience_ns = stall_ns_min;
            stall.leader = leader;
            stall.heartbeat = heartbeat;
            stall.since_ns = now;
            return false;
        }
        if (now -% stall.since_ns < stall.patience_ns) return false;
        stall.patience_ns = @min(2 * stall.patience_ns, stall_ns_max);
        stall.since_ns = 0;
        return true;
    }
};
