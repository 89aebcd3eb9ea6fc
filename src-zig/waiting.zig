//! Waiting for another transaction, and losing patience with it.
//!
//! The ladder: spin, yield the processor, sleep. Whoever waits measures by its own clock since it
//! first saw what it waits for; no deadline stands in shared memory. When the other shows no
//! progress for its slot's patience, the waiter aborts it by a compare-and-swap on its slot word or
//! its cell, which is safe whether it lives or not.
//!
//! Wait-for edges: installing -> (installing with a smaller key | sequenced), sequenced ->
//! sequenced with a smaller position | sequencing | drainer. Sequencing waits for nobody once it
//! holds a head. No cycle; and every edge ends in a kick. The last edge of all, from the drainer to
//! the disk, does not: who waits for it holds nothing, because `statement.admit` keeps room in the
//! ring for everybody who has begun.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const gate = @import("gate.zig");
const ring = @import("commit_ring.zig");
const session_module = @import("session.zig");
const Region = region_module.Region;

const spins = if (sync.sim) 1 else 64;
const yields = if (sync.sim) 1 else 20;
const sleep_ns_min: u64 = 50 * std.time.ns_per_us;
const sleep_ns_max: u64 = 1 * std.time.ns_per_ms;
/// A transaction that makes progress but installs for longer than this is kicked all the same,
/// unless it holds the gate.
const install_ns_max = 1 * std.time.ns_per_s;

/// One wait, from the first look to the end.
pub const Wait = struct {
    rounds: u32 = 0,
    /// What is waited for; another value starts the clock again.
    identity: u64 = 0,
    progress: u32 = 0,
    started_ns: u64 = 0,
    progressed_ns: u64 = 0,

    /// Waits a little for the writer that `resolution` names, or kicks it.
    pub fn writer(
        wait: *Wait,
        region: *const Region,
        resolution: ring.Resolution,
    ) void {
        switch (resolution) {
            .later, .unknown => |reference| {
                const patience = region.slots[reference.slot].patience.load(.monotonic);
                if (!wait.isOver(region, reference.word, reference.slot, patience)) return;
                if (ring.kickSlot(region, reference)) countKick(region);
            },
            .undecided, .not_yet => |sequenced| {
                const patience = region.slots[sequenced.slot].patience.load(.monotonic);
                if (resolution == .not_yet) _ = ring.advance(region, 64);
                if (!wait.isOver(region, sequenced.position, sequenced.slot, patience)) return;
                const position = if (resolution == .not_yet)
                    ring.stampedPosition(region) + 1
                else
                    sequenced.position;
                if (ring.skipCell(region, position)) countKick(region) else wait.forLog(region);
            },
            .committed, .aborted => {},
        }
    }

    /// Waits a little for the oldest position that is not drained: for its log, or its owner, whom
    /// it then skips.
    pub fn drain(wait: *Wait, region: *const Region) void {
        if (ring.advance(region, 256) > 0) {
            wait.* = .{};
            return;
        }
        const position = ring.stampedPosition(region) + 1;
        if (position > region.control.next.word.load(.acquire)) return wait.forLog(region);
        if (ring.decisionAt(region, position) != .undecided) return wait.forLog(region);
        if (!wait.isOwnerOver(region, position)) return;
        if (ring.skipCell(region, position)) countKick(region);
    }

    /// Waits a little for one undecided position, or skips it.
    pub fn cell(wait: *Wait, region: *const Region, position: version_module.Position) void {
        _ = ring.advance(region, 64);
        if (!wait.isOwnerOver(region, position)) return;
        if (ring.skipCell(region, position)) {
            countKick(region);
        } else if (ring.skipCell(region, ring.stampedPosition(region) + 1)) {
            countKick(region); // the ring is full: the oldest one is in the way
        } else {
            wait.forLog(region);
        }
    }

    /// Waits a little for the log to take what is decided, if it is behind. No patience: nobody
    /// may skip what is committed.
    fn forLog(wait: *Wait, region: *const Region) void {
        if (ring.drainedPosition(region) == ring.stampedPosition(region)) return;
        pushLog(region);
        wait.rounds += 1;
        if (wait.rounds <= spins) return sync.spinHint();
        if (wait.rounds <= spins + yields) return sync.yield();
        wait.sleep();
    }

    fn sleep(wait: *const Wait) void {
        const doublings: u6 = @intCast(@min(wait.rounds -| (spins + yields), 5));
        sync.sleepNs(@min(sleep_ns_min << doublings, sleep_ns_max));
    }

    /// The same for a position, whoever holds it.
    fn isOwnerOver(wait: *Wait, region: *const Region, position: version_module.Position) bool {
        const slot = ownerOf(region, position);
        const patience = if (slot) |index|
            region.slots[index].patience.load(.monotonic)
        else
            session_module.patience_us_min;
        return wait.isOver(region, position, slot, patience);
    }

    /// True if the owner of what is waited for has had its time. `slot` is the owner's, or null if
    /// nobody shows that it is.
    fn isOver(
        wait: *Wait,
        region: *const Region,
        identity: u64,
        slot: ?u32,
        patience_us: u32,
    ) bool {
        wait.rounds += 1;
        if (wait.rounds <= spins) {
            sync.spinHint();
            return false;
        }
        if (wait.rounds <= spins + yields) {
            sync.yield();
            return false;
        }
        const progress = if (slot) |index| region.slots[index].progress.load(.monotonic) else 0;
        const before = sync.nowNs();
        if (wait.identity != identity or wait.started_ns == 0) {
            wait.identity = identity;
            wait.started_ns = before;
            wait.progressed_ns = before;
            wait.progress = progress;
        } else if (wait.progress != progress) {
            wait.progress = progress;
            wait.progressed_ns = before;
        }
        const patience_ns = @as(u64, patience_us) * std.time.ns_per_us;
        if (before - wait.progressed_ns >= patience_ns) return true;
        if (before - wait.started_ns >= @max(install_ns_max, patience_ns)) {
            const holds_gate = if (slot) |index| gate.isHeldBy(region, index) else false;
            if (!holds_gate) return true;
        }
        wait.sleep();
        return false;
    }
};

/// Brings the log forward: in this thread, if this process writes it.
pub fn pushLog(region: *const Region) void {
    if (region.drain_log) |drain| drain(region.drain_context) else wakeLog(region);
}

/// Wakes the thread that writes the log, if it sleeps.
pub fn wakeLog(region: *const Region) void {
    const log = &region.control.log;
    // Pairs with the thread's store of the flag before it looks at `wake` and `stamped` again.
    if (log.sleeping.load(.monotonic) == 0 or log.sleeping.swap(0, .acq_rel) == 0) return;
    _ = log.wake.fetchAdd(1, .release);
    sync.futexWake(&log.wake, 1);
}

/// Wakes the maintenance thread of every process: each drains what rests with it.
pub fn wakeMaintenance(region: *const Region) void {
    const wake = &region.control.leader.wake;
    _ = wake.fetchAdd(1, .release);
    sync.futexWake(wake, std.math.maxInt(u31));
}

/// The slot that holds a position, so that a slow validation is not taken for a stop.
fn ownerOf(region: *const Region, position: version_module.Position) ?u32 {
    for (region.slots, 0..) |*slot, index| {
        if (slot.end.load(.monotonic) != position) continue;
        const word = ring.SlotWord.from(slot.word.load(.acquire));
        if (word.state == .sequenced) return @intCast(index);
    }
    return null;
}

fn countKick(region: *const Region) void {
    _ = region.control.leader.kicks.fetchAdd(1, .monotonic);
}

const testing = std.testing;
const Bench = @import("core_test.zig").Bench;

test "Wait: whoever makes progress has a second, and with the gate no limit" {
    var bench: Bench = undefined;
    try bench.init(8 << 20);
    defer bench.deinit();
    const region = &bench.region;
    const slot = 3;
    const patience_us = session_module.patience_us_min;
    const Case = struct { has_gate: bool, started_s: u64, is_over: bool };
    for ([_]Case{
        .{ .has_gate = false, .started_s = 0, .is_over = false },
        .{ .has_gate = false, .started_s = 2, .is_over = true },
        .{ .has_gate = true, .started_s = 2, .is_over = false },
    }) |case| {
        const now = sync.nowNs();
        var wait: Wait = .{
            .rounds = spins + yields,
            .identity = 7,
            .started_ns = now - case.started_s * std.time.ns_per_s,
            .progressed_ns = now - std.time.ns_per_s,
        };
        const word: u64 = if (case.has_gate) (slot + 1) << 48 | 1 else 0;
        region.control.shared.gate.store(word, .monotonic);
        _ = region.slots[slot].progress.fetchAdd(1, .monotonic);
        try testing.expectEqual(case.is_over, wait.isOver(region, 7, slot, patience_us));
        // Without progress, the patience is all that it has.
        wait.progressed_ns = now - std.time.ns_per_s;
        try testing.expect(wait.isOver(region, 7, slot, patience_us));
    }
}
