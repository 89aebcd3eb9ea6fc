//! A full region: what is done before somebody hears that there is no room; and what writers do a
//! little before it is full, see `pressure.zig`.
//!
//! What nobody needs any more stands in the logs of those who superseded it. The caller drains its
//! own log and the logs that nobody owns. Sessions that rest are drained by the maintenance threads
//! of their processes, which are asked through the wake word. A resting snapshot that holds memory
//! back is revoked, the oldest first.
//!
//! Memory that commits set free comes back when the log has them, so the log comes first.
//!
//! It is bounded: `log_wait_ns` for a log that does not move; `pin_wait_ns` for a pin that holds
//! memory back and is in the middle of an operation, and for others to drain what it has held back,
//! so that a process which was stopped for a moment costs the others time and no error; otherwise
//! `rounds_max` rounds of about a millisecond without any progress, and `reliefs_max` times with
//! some.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const pressure = @import("pressure.zig");
const ring = @import("commit_ring.zig");
const session_module = @import("session.zig");
const vacuum = @import("vacuum.zig");
const waiting = @import("waiting.zig");
const Region = @import("region.zig").Region;
const LogState = @import("region.zig").LogState;
const Logs = pressure.Logs;
const Session = session_module.Session;

/// Whether the caller holds a pin of its own, which must stay.
pub const Pinned = enum { pinned, unpinned };

const rounds_max = 50;
/// Longer than it takes to replace a leader of the log that stands still.
const log_wait_ns = 3 * std.time.ns_per_s;
/// Entries in all logs, too many to be what failed attempts have left.
const waiting_much = 1000;
const pin_wait_ns = if (builtin.is_test) 100 * std.time.ns_per_ms else 2 * std.time.ns_per_s;
/// Rounds before a snapshot has to go.
const rounds_before_revocation = 3;
/// A failed attempt leaves something to free, too: so "something was freed" is not enough.
const reliefs_max = 3;
/// Rounds, of about a millisecond, that a statement waits while memory is scarce.
const scarce_rounds = 4;
/// Transactions of a session from one such wait in vain to the next.
pub const scarce_interval = 64;

/// What the attempts of one statement may ask for.
pub const Relief = struct {
    session: *Session,
    pinned: Pinned,
    left: u32 = reliefs_max,
    /// When the first attempt failed, by the clock of `sync.nowNs`; 0 before.
    started_ns: u64 = 0,

    /// Returns if the attempt that failed with `err` is worth repeating, and fails with it
    /// otherwise: it has another reason than a full region, or nothing could be freed.
    pub fn after(relief: *Relief, err: anytype) @TypeOf(err)!void {
        if (err != error.RegionFull) return err;
        if (relief.started_ns == 0) relief.started_ns = sync.nowNs();
        if (relief.left == 0) {
            if (!relief.hasHope()) return err;
            sync.sleepNs(std.time.ns_per_ms);
        }
        relief.left -|= 1;
        if (!relief.reclaim() and !relief.hasHope()) return err;
    }

    /// Frees what can be freed. False if nothing was, even after waiting for others' pins to move
    /// on. With a pin of its own, what that holds back stays.
    fn reclaim(relief: *const Relief) bool {
        const session = relief.session;
        const pinned = relief.pinned;
        const region = session.region;
        const before = Logs.of(region);
        _ = pressure.publish(region);
        awaitLog(session, pinned);
        var round: u32 = 0;
        while (round < rounds_max or relief.isHeldBack()) : (round +|= 1) {
            drainAll(session, pinned);
            const now = Logs.of(region);
            if (now.done != before.done) return true;
            if (now.waiting == 0) return false;
            if (round >= rounds_before_revocation and
                vacuum.revokeOldest(region, session.slot_index)) continue;
            waiting.wakeMaintenance(region);
            sync.sleepNs(std.time.ns_per_ms);
        }
        return false;
    }

    /// True while much more may come back than one failed attempt leaves.
    fn hasHope(relief: *const Relief) bool {
        if (relief.isHeldBack()) return true;
        if (sync.nowNs() -% relief.started_ns >= pin_wait_ns) return false;
        return Logs.of(relief.session.region).waiting >= waiting_much;
    }

    /// True while somebody else's pin is older than what could be freed, and not for too long yet.
    fn isHeldBack(relief: *const Relief) bool {
        const session = relief.session;
        const region = session.region;
        const horizon = region.control.shared.horizon.load(.acquire);
        if (horizon +| 1 >= ring.drainedPosition(region)) return false;
        if (relief.pinned == .pinned and session.epoch <= horizon) return false;
        return sync.nowNs() -% relief.started_ns < pin_wait_ns;
    }
};

/// Drains what the caller may drain, once.
fn drainAll(session: *Session, pinned: Pinned) void {
    const region = session.region;
    vacuum.burnPosition(region);
    if (pinned == .unpinned) session.pin();
    var wait: waiting.Wait = .{};
    if (ring.advance(region, ring.cellCount(region)) == 0) wait.drain(region);
    if (pinned == .unpinned) session.unpin();
    vacuum.advanceHorizon(region);
    if (pinned == .unpinned) session.pin();
    _ = vacuum.drainResting(session, std.math.maxInt(u32));
    if (pinned == .unpinned) session.unpin();
    const claim = session.slot.claim.load(.monotonic);
    _ = vacuum.drainOrphans(region, session.gpa, claim);
}

/// Before a statement that writes takes memory while it is scarce: drains, and waits for others to
/// drain. If that was in vain, the next `scarce_interval` transactions do not try it again, so
/// that writers become slow and do not stop.
pub fn awaitRoom(session: *Session, pinned: Pinned) void {
    if (session.operations -% session.waited_in_vain < scarce_interval) return;
    const region = session.region;
    for (0..scarce_rounds) |_| {
        drainAll(session, pinned);
        if (!pressure.isAtLeast(pressure.publish(region).level, .scarce)) return;
        const horizon = region.control.shared.horizon.load(.acquire);
        if (pinned == .pinned and session.epoch <= horizon) break; // it would wait for itself
        waiting.wakeMaintenance(region);
        sync.sleepNs(std.time.ns_per_ms);
    }
    session.waited_in_vain = session.operations;
}

/// Waits until the log on disk has what is committed now, if it takes anything.
fn awaitLog(session: *Session, pinned: Pinned) void {
    const region = session.region;
    if (!ring.isLogged(region)) return;
    if (pinned == .unpinned) session.pin();
    _ = ring.advance(region, ring.cellCount(region));
    if (pinned == .unpinned) session.unpin();
    const target = ring.stampedPosition(region);
    const started = sync.nowNs();
    while (ring.drainedPosition(region) < target) {
        const state = region.control.shared.log_state.load(.acquire);
        if (state != @intFromEnum(LogState.working)) return;
        if (sync.nowNs() -% started >= log_wait_ns) return;
        waiting.pushLog(region);
        if (ring.drainedPosition(region) < target) sync.sleepNs(std.time.ns_per_ms / 4);
    }
}

const testing = std.testing;
const Bench = @import("core_test.zig").Bench;

/// Fills a region with versions that a pin holds back, all of them in the log of `writer`.
fn fill(bench: *Bench, writer: *Session, holder: *Session) !void {
    for (0..16) |id| _ = try bench.run(writer, .upsert, @intCast(id), 1);
    holder.pin();
    var n: i64 = 0;
    while (true) : (n += 1) {
        _ = bench.run(writer, .upsert, @mod(n, 16), n) catch |err| {
            try testing.expectEqual(error.RegionFull, err);
            return;
        };
    }
}

test "Relief: a full region takes back what stands in a log that nobody owns" {
    var bench: Bench = undefined;
    try bench.init(3 << 20);
    defer bench.deinit();
    const holder = try bench.session();
    defer holder.close();
    const mine = try bench.session();
    defer mine.close();
    const gone = try bench.session();
    try fill(&bench, gone, holder);
    gone.close();
    try testing.expectEqual(error.RegionFull, bench.run(mine, .upsert, 99, 1));
    holder.unpin();
    try testing.expectEqual(.done, try bench.run(mine, .upsert, 99, 1));
    bench.settle(mine);
    try bench.expectSound(mine);
}

test "Relief: others are asked to drain what rests with them" {
    var bench: Bench = undefined;
    try bench.init(3 << 20);
    defer bench.deinit();
    const holder = try bench.session();
    defer holder.close();
    const mine = try bench.session();
    defer mine.close();
    const other = try bench.session();
    defer other.close();
    try fill(&bench, other, holder);
    holder.unpin();
    const wake = &bench.region.control.leader.wake;
    const asked = wake.load(.monotonic);
    // Nobody answers here: there is no maintenance thread.
    try testing.expectEqual(error.RegionFull, bench.run(mine, .upsert, 5, 1));
    try testing.expect(wake.load(.monotonic) != asked);
    mine.pin();
    try testing.expect(vacuum.drainResting(other, 1 << 30) > 0);
    mine.unpin();
    try testing.expectEqual(.done, try bench.run(mine, .upsert, 5, 1));
    bench.settle(other);
    try bench.expectSound(mine);
}

test "Relief: what a session at rest has set aside comes to others when memory is scarce" {
    var bench: Bench = undefined;
    try bench.init(3 << 20);
    defer bench.deinit();
    const holder = try bench.session();
    defer holder.close();
    const mine = try bench.session();
    defer mine.close();
    const other = try bench.session();
    defer other.close();
    try fill(&bench, other, holder);
    holder.unpin();
    bench.settle(other);
    // There are free blocks for a new row's node, but in a slab that is not ours to take from.
    try testing.expectEqual(error.RegionFull, bench.run(mine, .insert, 99, 1));
    for (0..2) |_| other.giveBackAtRest();
    try testing.expectEqual(.done, try bench.run(mine, .insert, 99, 1));
    bench.settle(other);
    try bench.expectSound(mine);
}
