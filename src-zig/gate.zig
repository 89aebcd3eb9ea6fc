//! The gate: one transaction asks the others not to start commits for a moment.
//!
//! The word names its holder, {slot + 1:16, sequence:48}. It is advice: whoever waits at it gives
//! up after `lease_ns` of its own clock without a change of the word or of the holder's progress,
//! and takes it away. So a dead or stopped holder costs each waiter one lease, once.
//!
//! A writer shows itself in its slot's word and then looks at the gate; whoever takes the gate then
//! looks at the slots (`awaitWriters`). At least one of the two sees the other, so while the gate
//! stands, and once the writers seen are decided, nobody else takes a position.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const limits = @import("limits.zig");
const ring = @import("commit_ring.zig");
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Session = session_module.Session;

pub const lease_ns = if (sync.sim) 2 * std.time.ns_per_ms else 50 * std.time.ns_per_ms;

/// The gate as its holder has it. The word stays what it was while the session's sequence goes on.
pub const Hold = struct {
    session: *Session,
    word: u64,

    /// False once somebody has lost patience and taken the gate away.
    pub fn stands(hold: Hold) bool {
        return hold.session.region.control.shared.gate.load(.acquire) == hold.word;
    }

    pub fn release(hold: Hold) void {
        const gate = &hold.session.region.control.shared.gate;
        _ = gate.cas(hold.word, 0, .acq_rel, .monotonic);
    }
};

/// Takes the gate, waiting for others at it. Null if it could not be had in ten leases.
pub fn take(session: *Session) ?Hold {
    const gate = &session.region.control.shared.gate;
    const word = (@as(u64, session.slot_index) + 1) << 48 | (session.sequence & 0xffff_ffff_ffff);
    for (0..10) |_| {
        if (gate.cas(0, word, .acq_rel, .acquire) == null) {
            return .{ .session = session, .word = word };
        }
        pass(session.region);
    }
    return null;
}

/// Waits until everyone who was installing when this was called is decided. The session is not
/// pinned and runs no transaction.
pub fn awaitWriters(session: *Session) void {
    const region = session.region;
    // Waiting may stamp what others have committed.
    session.pin();
    defer session.unpin();
    sync.fence(); // between taking the gate and looking at the slots
    for (region.slots, 0..) |*slot, i| {
        if (i == session.slot_index) continue;
        const sequence = ring.SlotWord.from(slot.word.load(.acquire)).sequence;
        var wait: waiting.Wait = .{};
        while (true) {
            const word = ring.SlotWord.from(slot.word.load(.acquire));
            if (word.sequence != sequence) break;
            const reference: ring.SlotReference = .{ .slot = @intCast(i), .word = word.bits() };
            switch (word.state) {
                .idle, .draining, .kicked, _ => break,
                .installing, .sequencing => wait.writer(region, .{ .unknown = reference }),
                .sequenced => {
                    const position = slot.end.load(.acquire);
                    switch (ring.decisionAt(region, position)) {
                        .undecided, .not_yet => wait.cell(region, position),
                        .lapped, .skipped, .committed => break,
                    }
                },
            }
            renew(session);
        }
    }
}

/// Shows that the holder is alive.
pub fn renew(session: *Session) void {
    _ = session.slot.progress.fetchAdd(1, .monotonic);
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
