//! Snapshots that are too old, and processes that do not come out of an operation.
//!
//! Both hold memory back and nothing else. Two settings of the region, off unless somebody sets
//! them, bound how long: a resting snapshot is revoked, which costs its owner one error; a process
//! that stays inside of one operation, or keeps views of rows, is killed, which frees everything it
//! had.
//!
//! The leader measures by its own clock since it first saw a pin: no time stands in the region.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const vacuum = @import("vacuum.zig");
const Region = region_module.Region;
const Pin = session_module.Pin;

pub const Ages = struct {
    seen: [limits.slot_count]Seen = @splat(.{}),

    const Seen = struct { word: u64 = 0, since_ns: u64 = 0 };

    /// Looks at every pin once, and ends what is older than the settings allow.
    pub fn enforce(ages: *Ages, region: *const Region) void {
        const shared = &region.control.shared;
        const snapshot_ms = shared.snapshot_age_ms_max.load(.monotonic);
        const stalled_ms = shared.kill_stalled_after_ms.load(.monotonic);
        if (snapshot_ms == 0 and stalled_ms == 0) return;
        const now = sync.nowNs();
        for (region.slots, &ages.seen, 0..) |*slot, *seen, index| {
            const word = slot.pin.load(.acquire);
            if (word != seen.word) seen.* = .{ .word = word, .since_ns = now };
            const epoch = Pin.epoch(word) orelse continue;
            const age_ms = (now - seen.since_ns) / std.time.ns_per_ms;
            if (word == Pin.idle(epoch)) {
                if (snapshot_ms == 0 or age_ms < snapshot_ms) continue;
                _ = vacuum.revoke(region, @intCast(index), word);
            } else if (stalled_ms != 0 and age_ms >= stalled_ms) {
                killOwner(region, slot.claim.load(.acquire));
                seen.* = .{};
            }
        }
    }
};

/// Kills the process that holds a slot, if it is the one that attached and in our own namespace.
/// Its lock byte then says that it is dead, and recovery does the rest.
fn killOwner(region: *const Region, claim: u64) void {
    if (builtin.os.tag != .linux) return;
    if (claim == 0 or claim == session_module.orphan_claim) return;
    const process = (claim >> 48) - 1;
    if (process >= limits.process_count) return;
    const entry = &region.processes[@intCast(process)];
    const generation = entry.generation.load(.acquire);
    if (session_module.processClaim(@intCast(process), generation) != claim) return;
    const os = @import("os.zig");
    if (entry.pid_namespace.load(.monotonic) != os.pidNamespace()) return;
    const pid = entry.pid.load(.monotonic);
    if (pid == os.processId() or pid <= 1) return;
    if (os.startTimeOf(pid) != entry.start_time.load(.monotonic)) return;
    _ = std.os.linux.kill(@intCast(pid), .KILL);
}
