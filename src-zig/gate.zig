//! The gate: one transaction asks the others not to start commits for a moment.
//!
//! The word names its holder, {slot + 1:16, sequence:48}. It is advice: whoever waits at it gives
//! up after `lease_ns` of its own clock without a change of the word or of the holder's progress,
//! and takes it away. So a dead or stopped holder costs each waiter one lease, once.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const limits = @import("limits.zig");
const Region = region_module.Region;
const Session = session_module.Session;

pub const lease_ns = 50 * std.time.ns_per_ms;

fn wordOf(session: *const Session) u64 {
    return (@as(u64, session.slot_index) + 1) << 48 | (session.sequence & 0xffff_ffff_ffff);
}

/// Takes the gate, waiting for others at it. False if it could not be had in ten leases.
pub fn take(session: *Session) bool {
    const word = &session.region.control.shared.gate;
    for (0..10) |_| {
        if (word.cas(0, wordOf(session), .acq_rel, .acquire) == null) return true;
        pass(session.region);
    }
    return false;
}

/// Shows that the holder is alive.
pub fn renew(session: *Session) void {
    _ = session.slot.progress.fetchAdd(1, .monotonic);
}

pub fn release(session: *Session) void {
    _ = session.region.control.shared.gate.cas(wordOf(session), 0, .acq_rel, .monotonic);
}

/// Waits at a taken gate.
pub fn pass(region: *const Region) void {
    const gate = &region.control.shared.gate;
    var seen: u64 = 0;
    var progress: u32 = 0;
    var since: u64 = 0;
    while (true) {
        const word = gate.load(.acquire);
        if (word == 0) return;
        const slot = (word >> 48) -% 1;
        if (slot >= limits.slot_count) { // only a corrupted region
            _ = gate.cas(word, 0, .acq_rel, .monotonic);
            return;
        }
        const now_progress = region.slots[@intCast(slot)].progress.load(.monotonic);
        const now = sync.nowNs();
        if (word != seen or now_progress != progress or since == 0) {
            seen = word;
            progress = now_progress;
            since = now;
        } else if (now - since >= lease_ns) {
            _ = gate.cas(word, 0, .acq_rel, .monotonic);
            return;
        }
        sync.sleepNs(200 * std.time.ns_per_us);
    }
}
