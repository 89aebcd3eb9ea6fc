//! Who writes the log: one process at a time, and none for longer than it is able to.
//!
//! `log.leader` names the leader, with an epoch that only goes up. A process takes the lead by one
//! compare-and-swap on that word, from a leader that has resigned, is dead, has stood still for too
//! long with work before it, or has synced for nobody else in a while. Then it puts its epoch into
//! `drained` and `durable`. From that moment its predecessor, which may be alive and inside of any
//! system call, moves neither of them: it expects its own epoch there. What the predecessor still
//! writes goes to its own segment, behind the position at which the successor's segment begins,
//! where nobody believes it.
//!
//! Invariants:
//!
//!   * epochs of `log.leader` go up by one with each leader, so a word names one leadership
//!   * `drained` and `durable` are moved only by a compare-and-swap from the very word that the
//!     leader saw or wrote last; their epoch goes up only (compared around the wrap of its 8 bits)
//!   * what a leader appends for (drained, stamped] it reads from versions that nobody reuses: the
//!     horizon stays at or below `drained`
//!
//! Memory orders: every word here is swapped with acq_rel and read with acquire. Who sees a
//! watermark sees that the bytes below it were handed to the kernel; who sees the successor's
//! epoch sees the last watermark of the predecessor.
//!
//! Killed after the swap of `leader`: whoever looks next takes over, with the next epoch. Killed
//! between the two watermarks: the successor raises both. Killed after `drained` was passed: what
//! is up to it is in the file. Kernel `log.takeover` of the simulator kills and stops leaders at
//! each of these places.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const Region = region_module.Region;
const Position = @import("version.zig").Position;
const Watermark = ring.Watermark;
const Shm = sync.Shm;
const assert = std.debug.assert;

/// The word `log.leader`.
pub const Word = packed struct(u64) {
    /// Low bits of the generation of the process's entry.
    generation: u24,
    /// The number of the process's entry + 1; 0: nobody leads.
    process: u8,
    epoch: u32,

    pub fn from(word: u64) Word {
        return @bitCast(word);
    }
    pub fn bits(word: Word) u64 {
        return @bitCast(word);
    }
};

/// A process, as the leader's word names it.
pub const Identity = struct { process: u32, generation: u64 };

/// One leadership, from its election until a swap of it fails.
pub const Leader = struct {
    region: *const Region,
    word: Word,
    /// `drained` and `durable` as this leader saw or wrote them last.
    drained: u64,
    durable: u64,

    /// Takes the lead from whoever `seen` names. Null if somebody else was faster, at any step.
    pub fn take(region: *const Region, seen: u64, identity: Identity) ?Leader {
        assert(identity.process < limits.process_count);
        const word: Word = .{
            .generation = @truncate(identity.generation),
            .process = @intCast(identity.process + 1),
            .epoch = Word.from(seen).epoch +% 1,
        };
        const control = region.control;
        if (control.log.leader.cas(seen, word.bits(), .acq_rel, .acquire) != null) return null;
        const epoch: u8 = @truncate(word.epoch);
        // In this order: `durable` never passes a `drained` that it has not seen.
        const drained = raiseEpoch(&control.drained.word, epoch) orelse return null;
        const durable = raiseEpoch(&control.durable.word, epoch) orelse return null;
        return .{ .region = region, .word = word, .drained = drained, .durable = durable };
    }

    /// False if somebody else has taken the lead. Good for stopping work early; what must not
    /// happen under another leader is kept from happening by the watermarks.
    pub fn holds(leader: *const Leader) bool {
        return leader.region.control.log.leader.load(.acquire) == leader.word.bits();
    }

    /// Everything up to `to` is in the log, in the hands of the kernel. False if the lead is lost.
    pub fn passDrained(leader: *Leader, to: Position) bool {
        return pass(&leader.region.control.drained.word, &leader.drained, to);
    }

    /// Everything up to `to` is on the disk. False if the lead is lost.
    pub fn passDurable(leader: *Leader, to: Position) bool {
        return pass(&leader.region.control.durable.word, &leader.durable, to);
    }

    pub fn drainedPosition(leader: *const Leader) Position {
        return Watermark.position(leader.drained);
    }

    pub fn durablePosition(leader: *const Leader) Position {
        return Watermark.position(leader.durable);
    }

    /// Shows that the leader moves.
    pub fn beat(leader: *const Leader) void {
        _ = leader.region.control.log.heartbeat.fetchAdd(1, .monotonic);
    }

    /// Leaves the lead to whoever comes. Whoever leads meanwhile is not disturbed.
    pub fn resign(leader: *const Leader) void {
        const free: Word = .{ .generation = 0, .process = 0, .epoch = leader.word.epoch };
        const word = &leader.region.control.log.leader;
        _ = word.cas(leader.word.bits(), free.bits(), .acq_rel, .monotonic);
    }
};

fn pass(watermark: *Shm(u64), known: *u64, to: Position) bool {
    const position = Watermark.position(known.*);
    assert(to >= position);
    if (to == position) return watermark.load(.acquire) == known.*;
    const after = Watermark.with(known.*, to);
    const expected = if (sync.mutated(.drained_without_epoch))
        watermark.load(.acquire)
    else
        known.*;
    if (watermark.cas(expected, after, .acq_rel, .acquire) != null) return false;
    known.* = after;
    return true;
}

/// Puts a leader's epoch into a watermark and returns the word. Null if a later leader has been
/// there.
fn raiseEpoch(watermark: *Shm(u64), epoch: u8) ?u64 {
    while (true) {
        const seen = watermark.load(.acquire);
        const ahead: i8 = @bitCast(epoch -% Watermark.epoch(seen));
        if (ahead < 0) return null;
        const raised = Watermark.of(epoch, Watermark.position(seen));
        if (watermark.cas(seen, raised, .acq_rel, .acquire) == null) return raised;
    }
}

const testing = std.testing;

test "Leader: a successor stops its predecessor at both watermarks, and at them only" {
    var bench: @import("core_test.zig").Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    const region = &bench.region;
    const word = &region.control.log.leader;
    var first = Leader.take(region, word.load(.acquire), .{ .process = 3, .generation = 7 }).?;
    try testing.expect(first.holds() and first.passDrained(9) and first.passDurable(5));
    try testing.expectEqual(null, Leader.take(region, 0, .{ .process = 4, .generation = 1 }));

    var second = Leader.take(region, word.load(.acquire), .{ .process = 4, .generation = 1 }).?;
    try testing.expectEqual(9, second.drainedPosition());
    try testing.expectEqual(5, second.durablePosition());
    try testing.expect(!first.holds() and !first.passDrained(12) and !first.passDurable(9));
    first.resign();
    try testing.expect(second.holds() and second.passDrained(12) and second.passDurable(12));
    second.resign();
    try testing.expectEqual(0, Word.from(word.load(.acquire)).process);
    try testing.expectEqual(2, Word.from(word.load(.acquire)).epoch);
}

test "Leader.take: one that was overtaken between its election and the watermarks gives up" {
    var watermark: Shm(u64) = .init(Watermark.of(6, 100));
    try testing.expectEqual(null, raiseEpoch(&watermark, 5));
    try testing.expectEqual(Watermark.of(7, 100), raiseEpoch(&watermark, 7).?);
    watermark.raw = Watermark.of(255, 100);
    try testing.expectEqual(Watermark.of(1, 100), raiseEpoch(&watermark, 1).?);
}
