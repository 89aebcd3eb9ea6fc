//! Durability of one process: its part in writing the log, and waiting for the disk.
//!
//! Every process that may write has two threads here. The **drainer** takes part in the election of
//! the leader, and while it leads it hands what is committed to the kernel, every millisecond. The
//! **syncer** sleeps until somebody wants a position on the disk; it also syncs what nobody waits
//! for, so that a power cut costs little of what did not ask for more.
//!
//! A thread that waits in the leader's own process drains and syncs by itself: there is no
//! hand-over to a thread that would have to wake up first. Committers there drain, too, when the
//! log falls behind. While one thread syncs, the others of its process
//! wait for the end of that, and then one of them syncs for all that have come meanwhile: group
//! commit, for which a sync also waits a little (`log_gather.zig`). Threads of other processes
//! raise `sync_wanted` and wake the leader's syncer. A process that alone has waited so for a while
//! takes the lead, as if the leader had stood still.
//!
//! What the disk answers:
//!
//!   * full: state `no_space`. Commits are refused before they share anything. What is committed
//!     stays in the ring, and in the rest of the segment. A spare segment is tried again. A leader
//!     who finds no room to begin makes some: see `log_room.zig`
//!   * an error: state `failed`. The same, and whoever waits is told that it is unknown what the
//!     disk has. The leader takes over from itself: it copies what it can read of the files that
//!     failed into a new one, and goes on if the disk takes that. If they cannot be read, or that
//!     fails again and again, it writes a snapshot of what it has in memory: see `log_repair.zig`
//!
//! Invariants:
//!
//!   * `mutex` guards the keeper; nothing waits for the disk under it but a write
//!   * `sync_mutex` is held from the beginning to the end of a sync, before `mutex`; the keeper
//!     goes away only under both
//!   * a leader that finds another's epoch drops its files and stands for election again
//!   * who sleeps on `durable_wake` is counted in `durable_waiters` before it looks at `durable`;
//!     who raises `durable` looks at the count after that. Both are full barriers, so one of the
//!     two sees the other
//!
//! Killed anywhere: the next process that looks finds the leader's byte free and takes over; see
//! `log_keeper.zig` for what it finds. Waiters look again after `doubt_ns` in any case.

const std = @import("std");
const sync = @import("sync");
const file_layer = @import("file_layer.zig");
const log_drain = @import("log_drain.zig");
const log_gather = @import("log_gather.zig");
const log_keeper = @import("log_keeper.zig");
const log_leader = @import("log_leader.zig");
const log_patience = @import("log_patience.zig");
const log_repair = @import("log_repair.zig");
const log_room = @import("log_room.zig");
const log_segment = @import("log_segment.zig");
const os = @import("os.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const session_module = @import("session.zig");
const waiting = @import("waiting.zig");
const Files = file_layer.Files;
const Keeper = log_keeper.Keeper;
const Leader = log_leader.Leader;
const LogState = region_module.LogState;
const Position = @import("version.zig").Position;
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Region = region_module.Region;
const Session = session_module.Session;
const Shm = sync.Shm;

/// `DurabilityUnknown`: the position is committed, and nobody knows whether the disk has it.
pub const Error = error{DurabilityUnknown};

/// Between two looks of the drainer.
const drain_busy_ns = 1 * std.time.ns_per_ms;
const drain_idle_ns = 20 * std.time.ns_per_ms;
/// Looks without work after which the drainer is idle.
const idle_rounds = 50;
/// Between two looks of the syncer: with a look of the drainer and the sync itself, what nobody
/// waits for is on the disk within 100 ms.
const flush_interval_ns = 50 * std.time.ns_per_ms;
/// A wake-up can be lost with the process that owed it: look again after this time.
const doubt_ns = 20 * std.time.ns_per_ms;
const space_retry_ns = 100 * std.time.ns_per_ms;
const repair_ns_min = 200 * std.time.ns_per_ms;
const repair_ns_max = 30 * std.time.ns_per_s;
/// Attempts to copy what is in files that failed before memory is asked instead.
const copy_attempts_max = 3;

/// Who of the other processes is alive.
pub const Liveness = struct {
    context: *anyopaque,
    /// True if the process that an entry of `region.processes` named, under these low bits of its
    /// generation, is gone.
    isGone: *const fn (context: *anyopaque, process: u32, generation: u24) bool,
};

pub const Options = struct {
    gpa: std.mem.Allocator,
    region: *const Region,
    files: Files,
    tables: log_drain.Tables,
    identity: log_leader.Identity,
    liveness: Liveness,
    segment_size: u64 = log_segment.size_first,
    /// Null: what cannot be copied stays lost to the log.
    rescue: ?log_repair.Rescue = null,
};

pub const Durability = struct {
    options: Options,
    region: *const Region,
    mutex: ProcessMutex = .{},
    sync_mutex: ProcessMutex = .{},
    keeper: ?Keeper = null,
    /// A leadership whose keeper could not begin, or has failed.
    leader: ?Leader = null,
    /// The keeper has failed, or somebody else leads: it has to go.
    is_over: bool = false,
    /// 1 while there is a keeper, for a look without the mutex.
    leading: Shm(u32) = .init(0),
    stopping: Shm(u32) = .init(0),
    /// Futex of the drainer, and of the syncer while this process does not lead.
    own_wake: Shm(u32) = .init(0),
    threads: [2]?std.Thread = @splat(null),
    /// Pins this process while it moves `stamped` for somebody who waits.
    session: ?*Session = null,
    stall: log_patience.Stall = .{},
    alone: log_patience.Alone = .{},
    gathering: log_gather.Gathering = .{},
    retry: log_patience.Retry = .{},
    room: log_room.Room = .{},
    /// Times that a keeper could not begin for the sake of the files, one after the other.
    begin_failures: u32 = 0,
    /// `log.arrivals` when the last spare was made.
    arrivals_seen: u32 = 0,
    /// The next frame needs a segment for which there is no space.
    blocked: bool = false,

    pub fn init(options: Options) Durability {
        return .{ .options = options, .region = options.region };
    }

    /// Starts the threads. `self` must stay where it is until `stop`.
    pub fn start(self: *Durability) error{ThreadFailed}!void {
        const config: std.Thread.SpawnConfig = .{ .stack_size = 1 << 20 };
        errdefer self.joinThreads();
        inline for (.{ runDrainer, runSyncer }, 0..) |run, i| {
            self.threads[i] = std.Thread.spawn(config, run, .{self}) catch {
                return error.ThreadFailed;
            };
        }
    }

    /// Puts what is committed on the disk if no other process is there to do it, and leaves the
    /// lead. Sessions of this process are closed.
    pub fn stop(self: *Durability) void {
        self.joinThreads();
        self.drainLast();
        self.sync_mutex.lock();
        self.mutex.lock();
        const led = self.keeper != null or self.leader != null;
        if (self.keeper) |*keeper| keeper.leader.resign();
        if (self.leader) |*leader| leader.resign();
        self.dropKeeper();
        self.mutex.unlock();
        self.sync_mutex.unlock();
        if (self.session) |session| session.close();
        self.session = null;
        if (!led) return;
        // Somebody may wait for a leader.
        const log = &self.region.control.log;
        _ = log.wake.fetchAdd(1, .release);
        sync.futexWake(&log.wake, std.math.maxInt(u31));
        log_gather.wakeWaiters(self.region);
    }

    fn joinThreads(self: *Durability) void {
        self.stopping.store(1, .release);
        const log = &self.region.control.log;
        for ([_]*Shm(u32){ &log.wake, &self.own_wake }) |word| {
            _ = word.fetchAdd(1, .release);
            sync.futexWake(word, std.math.maxInt(u31));
        }
        for (&self.threads) |*place| {
            if (place.*) |thread| thread.join();
            place.* = null;
        }
    }

    /// Brings the log up to date in a process that leads, or that finds no leader.
    fn drainLast(self: *Durability) void {
        _ = self.candidate();
        if (self.leading.load(.acquire) == 0) return;
        const position = self.region.control.next.word.load(.acquire);
        self.settleStamps(position);
        self.sync_mutex.lock();
        _ = self.syncLocked();
        self.markIfIdle();
    }

    /// Waits until everything up to `position` is on the disk. False after `timeout_ns`.
    pub fn waitDurable(self: *Durability, position: Position, timeout_ns: u64) Error!bool {
        const log = &self.region.control.log;
        const started = sync.nowNs();
        var has_asked = false;
        var is_only_one = true;
        if (try isDurable(self.region, position)) return true;
        var is_expected = log_gather.arrive(self.region);
        while (!try isDurable(self.region, position)) {
            if (self.leading.load(.acquire) != 0) {
                if (ring.stampedPosition(self.region) < position) self.settleStamps(position);
                if (self.sync_mutex.tryLock() and self.syncLocked()) continue;
            }
            if (self.leading.load(.acquire) == 0) {
                has_asked = true;
                log_gather.ask(self.region, position, is_expected);
                is_expected = false;
            }
            if (log.durable_waiters.fetchAdd(1, .seq_cst) != 0) is_only_one = false;
            defer _ = log.durable_waiters.fetchSub(1, .seq_cst);
            const seen = log.durable_wake.load(.seq_cst);
            if (try isDurable(self.region, position)) break;
            const passed = sync.nowNs() -% started;
            if (passed >= timeout_ns) return false;
            sync.futexWait(&log.durable_wake, seen, @min(doubt_ns, timeout_ns - passed));
        }
        if (has_asked and self.alone.noteWait(self.region, is_only_one)) self.wakeOwn();
        return true;
    }

    fn wakeOwn(self: *Durability) void {
        _ = self.own_wake.fetchAdd(1, .release);
        sync.futexWake(&self.own_wake, std.math.maxInt(u31));
    }

    /// Waits until everything that was committed before the call is on the disk.
    pub fn flush(self: *Durability) Error!void {
        const position = self.region.control.next.word.load(.acquire);
        _ = try self.waitDurable(position, std.math.maxInt(u64));
    }

    // What follows runs in threads that wait, and in the two of this process.

    /// Waits until `position` is decided and stamped, which takes no longer than others' patience.
    fn settleStamps(self: *Durability, position: Position) void {
        self.mutex.lock();
        const session = self.session orelse blk: {
            const claim = session_module.processClaim(
                self.options.identity.process,
                self.options.identity.generation,
            );
            self.session = Session.open(self.region, self.options.gpa, claim) catch null;
            break :blk self.session;
        };
        // One pin for all threads that come here: they come one by one.
        defer self.mutex.unlock();
        const pinned = session orelse return sync.sleepNs(drain_busy_ns);
        pinned.pin();
        defer pinned.unpin();
        var wait: waiting.Wait = .{};
        while (ring.stampedPosition(self.region) < position) {
            if (self.keeper) |*keeper| if (!self.is_over) {
                _ = self.drainLocked(keeper);
            };
            if (self.is_over or self.blocked) return;
            wait.drain(self.region);
        }
    }

    /// Syncs what is committed. The caller has taken `sync_mutex`, which is given back. True if
    /// `durable` moved or the state changed.
    fn syncLocked(self: *Durability) bool {
        const result = self.syncOnce() catch |err| blk: {
            self.mutex.lock();
            defer self.mutex.unlock();
            self.failLocked(err);
            break :blk true;
        };
        self.sync_mutex.unlock();
        if (result) log_gather.wakeWaiters(self.region);
        return result;
    }

    fn syncOnce(self: *Durability) log_keeper.Error!bool {
        self.gathering.wait(self.region);
        const is_waited_for = self.gathering.begin(self.region);
        const target = blk: {
            self.mutex.lock();
            defer self.mutex.unlock();
            if (self.is_over) self.dropKeeper();
            const keeper = &(self.keeper orelse return false);
            _ = self.drainLocked(keeper);
            if (self.is_over) return false;
            break :blk try keeper.beginSync(is_waited_for);
        };
        // Without the mutex: others go on writing meanwhile. The keeper stays while we have
        // `sync_mutex`.
        try target.target.sync(self.options.files);
        self.gathering.end(self.region);
        self.mutex.lock();
        defer self.mutex.unlock();
        const keeper = &self.keeper.?;
        const before = keeper.leader.durablePosition();
        try keeper.endSync(&target);
        return target.position > before;
    }

    /// Hands over what is committed. True if there was something.
    pub fn drainOnce(self: *Durability) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.is_over) return false;
        return self.drainLocked(&(self.keeper orelse return false));
    }

    /// Drains in the thread of a committer, unless another one does. For `Region.drain_log`.
    pub fn help(context: *anyopaque) void {
        const self: *Durability = @ptrCast(@alignCast(context));
        if (self.leading.load(.acquire) == 0) return waiting.wakeLog(self.region);
        if (!self.mutex.tryLock()) return;
        defer self.mutex.unlock();
        if (self.is_over) return;
        if (self.keeper) |*keeper| _ = self.drainLocked(keeper);
    }

    fn drainLocked(self: *Durability, keeper: *Keeper) bool {
        if (self.blocked) return false;
        return keeper.drainAll() catch |err| {
            self.blocked = err == error.NoSpace;
            self.failLocked(err);
            return false;
        };
    }

    /// Draws the consequences of an error of the keeper.
    fn failLocked(self: *Durability, err: log_keeper.Error) void {
        const holds = if (self.keeper) |*keeper|
            keeper.leader.holds()
        else if (self.leader) |*leader| leader.holds() else false;
        switch (err) {
            error.OutOfMemory => {}, // Of this process. The next round tries again.
            error.NoSpace => {
                self.retry.after(space_retry_ns, space_retry_ns);
                if (holds) self.setState(.no_space);
            },
            error.Deposed => self.is_over = true,
            else => {
                self.is_over = true;
                if (holds) self.setState(.failed);
            },
        }
    }

    fn setState(self: *Durability, state: LogState) void {
        const word = &self.region.control.shared.log_state;
        const number = @intFromEnum(state);
        if (word.load(.acquire) == number) return;
        word.store(number, .release);
        log_gather.wakeWaiters(self.region);
    }

    /// Both mutexes are held.
    fn dropKeeper(self: *Durability) void {
        self.leading.store(0, .release);
        self.is_over = false;
        self.blocked = false;
        if (self.keeper) |*keeper| {
            self.leader = if (keeper.leader.holds()) keeper.leader else null;
            keeper.end();
        }
        self.keeper = null;
    }

    fn runDrainer(self: *Durability) void {
        os.blockSignals();
        var quiet: u32 = 0;
        while (self.stopping.load(.acquire) == 0) {
            const seen = self.own_wake.load(.acquire);
            quiet = if (self.round()) 0 else quiet +| 1;
            const pause: u64 = if (quiet < idle_rounds) drain_busy_ns else drain_idle_ns;
            if (self.stopping.load(.acquire) != 0) break;
            sync.futexWait(&self.own_wake, seen, pause);
        }
    }

    /// One look of the drainer. True if it found something to do. Tests call it instead of having
    /// threads.
    pub fn round(self: *Durability) bool {
        self.dropIfOver();
        if (!self.candidate()) return false;
        self.recover();
        return self.drainOnce();
    }

    fn dropIfOver(self: *Durability) void {
        // Who waits and finds `sync_mutex` taken sleeps: it is not taken for a look alone.
        if (!self.isDeposed() or !self.sync_mutex.tryLock()) return;
        defer self.sync_mutex.unlock();
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.is_over) self.dropKeeper();
    }

    /// True if what this process has as a leader has to go.
    fn isDeposed(self: *Durability) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.leader) |*leader| if (!leader.holds()) {
            self.leader = null;
        };
        const keeper = &(self.keeper orelse return self.is_over);
        if (!keeper.leader.holds()) self.is_over = true;
        return self.is_over;
    }

    fn runSyncer(self: *Durability) void {
        os.blockSignals();
        const log = &self.region.control.log;
        while (self.stopping.load(.acquire) == 0) {
            // Only the leader's syncer sleeps on the shared word: whoever wakes one wakes it.
            const leading = self.leading.load(.acquire) != 0;
            const word = if (leading) &log.wake else &self.own_wake;
            const seen = word.load(.acquire);
            self.syncRound();
            // The flag first, then a look at what is wanted, then the sleep: who wants something
            // raises its word first and then looks at the flag.
            if (leading) {
                if (self.gatherAhead()) continue;
                log.sleeping.store(1, .seq_cst);
                sync.fence();
                if (self.isWanted()) continue;
            }
            if (self.stopping.load(.acquire) != 0) break;
            sync.futexWait(word, seen, flush_interval_ns);
        }
    }

    /// After a sync that several had waited for: they come back soon. True if anybody has.
    fn gatherAhead(self: *Durability) bool {
        const arrivals = &self.region.control.log.arrivals;
        const seen = arrivals.load(.seq_cst);
        if (!self.sync_mutex.tryLock()) return false;
        const before = self.gathering.ahead(self.region) orelse seen;
        self.sync_mutex.unlock();
        // Threads of this process that came meanwhile have found the mutex taken.
        return arrivals.load(.seq_cst) != before;
    }

    fn isWanted(self: *Durability) bool {
        const wanted = self.region.control.log.sync_wanted.load(.seq_cst);
        if (!self.isState(.working)) return false;
        return wanted > ring.durablePosition(self.region) and
            wanted <= self.region.control.next.word.load(.acquire);
    }

    /// One look of the syncer: everything that is committed goes to the disk.
    pub fn syncRound(self: *Durability) void {
        if (self.leading.load(.acquire) == 0) return;
        const wanted = self.region.control.log.sync_wanted.load(.acquire);
        if (wanted > ring.stampedPosition(self.region) and
            wanted <= self.region.control.next.word.load(.acquire)) self.settleStamps(wanted);
        if (ring.stampedPosition(self.region) > ring.durablePosition(self.region)) {
            self.sync_mutex.lock();
            _ = self.syncLocked();
        } else self.markIfIdle();
        self.prepareSpare();
    }

    /// Leaves a mark behind what was synced last, if nothing follows it.
    pub fn markIfIdle(self: *Durability) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.is_over or self.blocked) return;
        const keeper = &(self.keeper orelse return);
        keeper.markIfIdle() catch |err| self.failLocked(err);
    }

    /// Makes the next segment ahead of its time, so that nobody waits for it, and so that a full
    /// disk is found while there is room to write down what is committed. What does not fit gets a
    /// small one of its own, if there is room for that; commits are refused all the same.
    fn prepareSpare(self: *Durability) void {
        const order = blk: {
            self.mutex.lock();
            defer self.mutex.unlock();
            const keeper = &(self.keeper orelse return);
            if (self.is_over or keeper.writer.spareOrder(false) == null) return;
            keeper.writer.fills_spares = self.isWaitedFor();
            break :blk keeper.writer.spareOrder(self.blocked).?;
        };
        const made = order.make(self.options.files);
        self.mutex.lock();
        defer self.mutex.unlock();
        const spare = made catch |err| {
            if (self.keeper != null) self.failLocked(err);
            return;
        };
        const keeper = &(self.keeper orelse return spare.discard(self.options.files));
        keeper.writer.giveSpare(spare);
        self.blocked = false;
        if (spare.size < order.size_min) return self.failLocked(error.NoSpace);
        if (!self.is_over and keeper.leader.holds() and self.isState(.no_space)) {
            self.setState(.working);
        }
    }

    /// Whether anybody has waited for the disk since the last call. `mutex` is held.
    fn isWaitedFor(self: *Durability) bool {
        const arrivals = self.region.control.log.arrivals.load(.monotonic);
        defer self.arrivals_seen = arrivals;
        return arrivals != self.arrivals_seen;
    }

    fn isState(self: *const Durability, state: LogState) bool {
        const word = &self.region.control.shared.log_state;
        return word.load(.acquire) == @intFromEnum(state);
    }

    /// Goes on after a failure, or with a leadership that could not begin.
    fn recover(self: *Durability) void {
        if (self.leading.load(.acquire) != 0) {
            if (self.isState(.no_space) and self.retry.isDue()) self.prepareSpare();
            return;
        }
        if (!self.retry.isDue()) return;
        const leader = self.leader orelse return;
        // With an epoch of its own, so that its segments are told from those that failed.
        const word = leader.word.bits();
        var again = Leader.take(self.region, word, self.options.identity) orelse return;
        // Commits are refused in both states, and only then memory stands still.
        if (self.options.rescue) |rescue| if (self.isState(.no_space)) {
            self.room.make(rescue, &again);
        } else if (self.isState(.failed) and self.begin_failures >= copy_attempts_max) {
            _ = log_repair.run(rescue, &again);
        };
        self.lead(again);
    }

    /// True if this process leads, perhaps from now on.
    fn candidate(self: *Durability) bool {
        if (self.leading.load(.acquire) != 0 or self.leader != null) return true;
        const log = &self.region.control.log;
        const seen = log.leader.load(.acquire);
        const word: log_leader.Word = .from(seen);
        if (word.process != 0) {
            const identity = self.options.identity;
            const liveness = self.options.liveness;
            const process: u32 = word.process - 1;
            const is_us = process == identity.process and
                word.generation == @as(u24, @truncate(identity.generation));
            if (!is_us and !liveness.isGone(liveness.context, process, word.generation)) {
                const may = self.stall.isOver(self.region, seen, sync.nowNs()) or
                    self.alone.take(self.region);
                if (!may) return false;
            }
        }
        const leader = Leader.take(self.region, seen, self.options.identity) orelse return false;
        self.lead(leader);
        return true;
    }

    fn lead(self: *Durability, leader: Leader) void {
        const options = &self.options;
        const begun = Keeper.begin(.{
            .gpa = options.gpa,
            .files = options.files,
            .tables = options.tables,
            .segment_size = options.segment_size,
        }, leader);
        self.mutex.lock();
        defer self.mutex.unlock();
        self.leader = null;
        self.keeper = begun catch |err| {
            if (!leader.holds()) return;
            self.leader = leader;
            self.retry.after(repair_ns_min, repair_ns_max);
            if (err != error.Deposed) self.failLocked(err);
            self.is_over = false;
            self.begin_failures = switch (err) {
                error.Damaged => copy_attempts_max,
                error.NoSpace, error.OutOfMemory => self.begin_failures,
                else => self.begin_failures +| 1,
            };
            return;
        };
        self.begin_failures = 0;
        self.retry = .{};
        self.room = .{};
        self.leading.store(1, .release);
        self.setState(.working);
        log_gather.wakeWaiters(self.region);
        // The syncer has another word to sleep on now.
        self.wakeOwn();
    }
};

/// True if a position is on the disk, false if it may get there.
pub fn isDurable(region: *const Region, position: Position) Error!bool {
    if (ring.durablePosition(region) >= position) return true;
    return switch (@as(LogState, @enumFromInt(region.control.shared.log_state.load(.acquire)))) {
        .none => true,
        .working, .no_space => false,
        .failed, _ => error.DurabilityUnknown,
    };
}
