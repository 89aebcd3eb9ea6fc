//! The engine of one process: its region, its place among the participants, its maintenance thread.
//!
//! One thread per process does what nobody should wait for: it recovers dead processes, moves
//! `stamped` when committers do not, publishes the epoch and the horizon, and drains the logs of
//! orphaned slots. One process leads; the others look every `round_ns_idle` whether the leader
//! lives, and replace one that has stood still for a second.
//!
//! Nothing in the protocol depends on the leader being alone: every step it takes may be taken by
//! several at once. Leading only saves the others the work.

const std = @import("std");
const sync = @import("sync");
const HugePages = @import("huge_pages.zig").HugePages;
const index_build = @import("index_build.zig");
const limits = @import("limits.zig");
const lock_file = @import("lock_file.zig");
const os = @import("os.zig");
const region_module = @import("region.zig");
const participants = @import("participants.zig");
const pressure = @import("pressure.zig");
const recovery = @import("recovery.zig");
const ring = @import("commit_ring.zig");
const session_module = @import("session.zig");
const stalls = @import("stalls.zig");
const vacuum = @import("vacuum.zig");
const waiting = @import("waiting.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Region = region_module.Region;
const Session = session_module.Session;
const Shm = sync.Shm;

pub const Error = session_module.Error || error{ThreadFailed};

const round_ns_busy = 1 * std.time.ns_per_ms;
/// Entries after which others may have a session back.
const drain_at_once = 8192;
const recount_pause_rounds = 1000;
const round_ns_idle = 20 * std.time.ns_per_ms;
/// A leader makes a round every `round_ns_idle` at the latest. Taking over from one that merely had
/// no processor is harmless.
const leader_stall_ns_max = 1 * std.time.ns_per_s;
/// Entries of a dropped index that go in one round: a few milliseconds.
const collect_at_once = 2048;

/// For `Participant.attach`, before there is an engine.
pub fn recoveryOf(region: *const Region) participants.Recovery {
    return .{ .context = @constCast(region), .recoverProcess = recoverProcess };
}

fn recoverProcess(context: *anyopaque, index: u32) void {
    const region: *const Region = @ptrCast(@alignCast(context));
    _ = recovery.recoverProcess(region, index);
}

pub const Engine = struct {
    region: *const Region,
    gpa: std.mem.Allocator,
    participant: *participants.Participant,
    claim: u64,
    maintenance: *Session,
    thread: ?std.Thread = null,
    stopping: Shm(u32) = .init(0),
    wait: waiting.Wait = .{},
    drained_before: u64 = 0,
    /// Rounds until indexes are looked at again.
    recount_pause: u32 = 0,
    /// Sessions of this process, apart from the maintenance one. Guarded by `mutex`.
    sessions: std.ArrayList(*Session) = .empty,
    mutex: ProcessMutex = .{},
    ages: stalls.Ages = .{},
    pressure: pressure.Watch = .{},
    seen_leader: SeenLeader = .{},
    /// Held by threads of this process that declare tables, or add and drop indexes. The lock byte
    /// for that excludes other processes only.
    declaring: ProcessMutex = .{},
    huge_pages: HugePages = .{},

    /// Starts the maintenance thread. `engine` must stay where it is until `stop`.
    pub fn start(
        engine: *Engine,
        region: *const Region,
        gpa: std.mem.Allocator,
        participant: *participants.Participant,
    ) Error!void {
        const claim = session_module.processClaim(participant.index, participant.generation);
        engine.* = .{
            .region = region,
            .gpa = gpa,
            .participant = participant,
            .claim = claim,
            .maintenance = try .openMaintenance(region, gpa, participant.index, claim),
        };
        errdefer engine.maintenance.close();
        engine.thread = std.Thread.spawn(.{ .stack_size = 1 << 20 }, run, .{engine}) catch {
            return error.ThreadFailed;
        };
    }

    /// Stops the thread and gives the maintenance slot back. All other sessions must be closed.
    pub fn stop(engine: *Engine) void {
        engine.stopThread();
        engine.sessions.deinit(engine.gpa);
        engine.drainOwn();
        const leader = &engine.region.control.leader.word;
        const word = leader.load(.acquire);
        if (engine.leads(word)) _ = leader.cas(word, 0, .acq_rel, .monotonic);
        engine.maintenance.close();
    }

    /// Stops the thread alone. It takes no position after that, so the log can come to an end.
    pub fn stopThread(engine: *Engine) void {
        engine.stopping.store(1, .release);
        const wake = &engine.region.control.leader.wake;
        _ = wake.fetchAdd(1, .release);
        sync.futexWake(wake, std.math.maxInt(u31));
        if (engine.thread) |thread| thread.join();
        engine.thread = null;
    }

    pub fn openSession(engine: *Engine) session_module.Error!*Session {
        engine.mutex.lock();
        defer engine.mutex.unlock();
        try engine.sessions.ensureUnusedCapacity(engine.gpa, 1);
        const session = try Session.open(engine.region, engine.gpa, engine.claim);
        engine.sessions.appendAssumeCapacity(session);
        return session;
    }

    /// The session is not pinned and runs no transaction.
    pub fn closeSession(engine: *Engine, session: *Session) void {
        engine.mutex.lock();
        defer engine.mutex.unlock();
        for (engine.sessions.items, 0..) |known, index| {
            if (known != session) continue;
            _ = engine.sessions.swapRemove(index);
            break;
        }
        session.close();
    }

    /// Drains the logs of sessions that write nothing at the moment, and takes from those that rest
    /// what others may need.
    fn drainIdle(engine: *Engine) void {
        engine.mutex.lock();
        defer engine.mutex.unlock();
        for (engine.sessions.items) |session| {
            if (!session.tryLock()) continue;
            defer session.unlock();
            defer session.giveBackAtRest();
            if (session.log.isEmpty()) continue;
            // Under the maintenance slot's pin: the session's own is its owner's.
            engine.maintenance.pin();
            defer engine.maintenance.unpin();
            _ = vacuum.drainResting(session, drain_at_once);
        }
    }

    fn run(engine: *Engine) void {
        os.blockSignals();
        while (engine.stopping.load(.acquire) == 0) {
            const wake = &engine.region.control.leader.wake;
            const seen = wake.load(.acquire);
            const leading = engine.lead();
            const busy = leading and engine.round();
            engine.drainIdle();
            const moving = leading and engine.huge_pages.step(engine.region);
            if (!busy and leading) engine.region.control.shared.drainer_sleeping.store(1, .seq_cst);
            if (engine.stopping.load(.acquire) != 0) break;
            sync.futexWait(wake, seen, if (busy or moving) round_ns_busy else round_ns_idle);
        }
    }

    fn leads(engine: *const Engine, word: u64) bool {
        return word & leader_mask == leaderName(engine.participant);
    }

    /// True if this process leads, perhaps from now on: because nobody did, or the leader is dead,
    /// or it has stood still for too long. One that goes on later finds that it does not lead.
    fn lead(engine: *Engine) bool {
        const leader = &engine.region.control.leader;
        const word = leader.word.load(.acquire);
        if (engine.leads(word)) return true;
        if (word & leader_mask != 0) {
            const process: u32 = @intCast((word >> 40 & 0xff) -% 1 & 0xff);
            const entry = &engine.region.processes[process % limits.process_count];
            const generation = entry.generation.load(.acquire) & generation_mask;
            const same = generation == word & generation_mask;
            const moves = engine.seen_leader.moves(word, leader.heartbeat.load(.monotonic));
            if (moves and same and process != engine.participant.index and
                !engine.participant.looksDead(process)) return false;
        }
        const epoch = (word >> 48) +% 1;
        const mine = epoch << 48 | leaderName(engine.participant);
        return leader.word.cas(word, mine, .acq_rel, .monotonic) == null;
    }

    /// One round of maintenance. True if there may be more to do soon.
    pub fn round(engine: *Engine) bool {
        const region = engine.region;
        _ = region.control.leader.heartbeat.fetchAdd(1, .monotonic);
        _ = engine.participant.recoverDead(recoveryOf(region));
        engine.advanceRing();
        engine.ages.enforce(region);
        vacuum.advanceHorizon(region);
        engine.pressure.round(region);
        const waiting_logs = vacuum.drainOrphans(region, engine.gpa, engine.claim);
        engine.drainOwn();
        engine.recount();
        const dropped = engine.collectDropped();
        const drained = ring.drainedPosition(region);
        const moved = drained != engine.drained_before;
        engine.drained_before = drained;
        const retired = waiting_logs or dropped.waits;
        if (retired and drained == region.control.next.word.load(.acquire)) {
            // Nobody commits, and something retired at drained + 1 waits for it.
            vacuum.burnPosition(region);
            return true;
        }
        return moved or drained != region.control.next.word.load(.acquire);
    }

    /// Counts the keys of indexes anew in whose change a process died. It stops the others for a
    /// moment, so it is not tried again at once.
    fn recount(engine: *Engine) void {
        engine.recount_pause -|= 1;
        if (engine.recount_pause > 0 or !index_build.needsRecount(engine.region)) return;
        if (!index_build.recount(engine.maintenance)) engine.recount_pause = recount_pause_rounds;
    }

    /// Goes on with dropped indexes, unless somebody declares something.
    fn collectDropped(engine: *Engine) index_build.Dropped {
        const dropped = index_build.findDropped(engine.region);
        if (!dropped.any or !engine.declaring.tryLock()) return dropped;
        defer engine.declaring.unlock();
        const fd = engine.participant.lock_fd;
        if (!sync.ByteLock.tryLock(fd, lock_file.byte_tables)) return dropped;
        defer sync.ByteLock.unlock(fd, lock_file.byte_tables);
        // In a full region it goes on when there is room for its log.
        index_build.collect(engine.maintenance, collect_at_once) catch {};
        return dropped;
    }

    fn advanceRing(engine: *Engine) void {
        engine.maintenance.pin();
        defer engine.maintenance.unpin();
        const target = engine.region.control.next.word.load(.acquire);
        var rounds: u32 = 0;
        while (ring.stampedPosition(engine.region) < target and rounds < 4096) : (rounds += 1) {
            engine.wait.drain(engine.region);
        }
        _ = ring.advance(engine.region, 1);
    }

    fn drainOwn(engine: *Engine) void {
        engine.maintenance.pin();
        defer engine.maintenance.unpin();
        _ = vacuum.drainResting(engine.maintenance, std.math.maxInt(u32));
    }
};

/// Another process that leads, as this one has seen it.
const SeenLeader = struct {
    word: u64 = 0,
    heartbeat: u64 = 0,
    since_ns: u64 = 0,

    /// False once nothing of it has changed for a second of this process's clock.
    fn moves(seen: *SeenLeader, word: u64, heartbeat: u64) bool {
        const now = sync.nowNs();
        if (seen.word != word or seen.heartbeat != heartbeat) {
            seen.* = .{ .word = word, .heartbeat = heartbeat, .since_ns = now };
            return true;
        }
        return now - seen.since_ns < leader_stall_ns_max;
    }
};

const generation_mask: u64 = (1 << 40) - 1;
const leader_mask: u64 = (1 << 48) - 1;

fn leaderName(participant: *const participants.Participant) u64 {
    return (@as(u64, participant.index) + 1) << 40 | (participant.generation & generation_mask);
}
