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

const testing = std.testing;

test "killOwner: kills the process that attached, and nobody who has its number by now" {
    if (builtin.os.tag != .linux) return error.SkipZigTest;
    const linux = std.os.linux;
    const os = @import("os.zig");
    var bench: @import("core_test.zig").Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const child: i32 = @intCast(linux.fork());
    if (child == 0) while (true) sync.sleepNs(std.time.ns_per_s);
    const pid: u32 = @intCast(child);
    const number = 5;
    const claim = session_module.processClaim(number, 1);
    const entry = &bench.region.processes[number];
    const start = os.startTimeOf(pid);
    const Seen = struct { generation: u64, namespace: u64, start: u64 };
    const here: Seen = .{ .generation = 1, .namespace = os.pidNamespace(), .start = start };
    var another = [_]Seen{ here, here, here };
    another[0].generation += 1; // the place of the process was given to a later one
    another[1].namespace += 1; // numbers of another namespace say nothing here
    another[2].start -= 1; // the number was given to a later process
    var status: u32 = undefined;
    for (another ++ [_]Seen{here}) |seen| {
        entry.generation.store(seen.generation, .monotonic);
        entry.pid.store(pid, .monotonic);
        entry.pid_namespace.store(seen.namespace, .monotonic);
        entry.start_time.store(seen.start, .monotonic);
        try testing.expectEqual(0, linux.waitpid(child, &status, linux.W.NOHANG));
        killOwner(&bench.region, claim);
        sync.sleepNs(5 * std.time.ns_per_ms);
    }
    try testing.expectEqual(pid, linux.waitpid(child, &status, 0));
    try testing.expectEqual(linux.SIG.KILL, linux.W.TERMSIG(status));
}
