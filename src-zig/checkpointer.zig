//! The thread that writes checkpoints by itself.
//!
//! Each process with a log has one. It acts only while its process writes the log, so that there is
//! one in all, and the log that it waits for can come; whoever leads and finds no room to begin
//! makes some himself (`log_room.zig`). It goes by its own clock, because there is no common one:
//! what it measures is how long ago it saw the number of checkpoints change.
//!
//! A checkpoint is due when the interval of the settings is over, or the log has grown by
//! `log_growth_max` since, and something was logged behind the last one; and when the disk is full,
//! because a checkpoint lets old segments go (`truncation.zig`). One that failed is tried again
//! after `retry_ns`, and while the disk is full after `full_retry_ns`. It writes no faster than
//! `rate_max`, so that it does not take the disk from the log.

const std = @import("std");
const sync = @import("sync");
const checkpoint = @import("checkpoint.zig");
const log_leader = @import("log_leader.zig");
const os = @import("os.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const status = @import("status.zig");
const store_files = @import("store_files.zig");
const Durability = @import("durability.zig").Durability;
const Region = region_module.Region;
const Shm = sync.Shm;
const Store = @import("store.zig").Store;

const look_ns = 500 * std.time.ns_per_ms;
const retry_ns = 30 * std.time.ns_per_s;
/// While commits are refused.
const full_retry_ns = 5 * std.time.ns_per_s;
const log_growth_max = 256 << 20;
/// Bytes per second.
const rate_max = 256 << 20;

pub const Checkpointer = struct {
    store: *Store,
    thread: ?std.Thread = null,
    stopping: Shm(u32) = .init(0),
    /// When `checkpoints` was seen to change, and what the log's bytes were then.
    since_ns: u64 = 0,
    checkpoints: u64 = 0,
    bytes: u64 = 0,
    /// Not before this time.
    pause_until_ns: u64 = 0,
    write: *const fn (store: *Store, bytes_per_second: u64) checkpoint.Error!void = write,

    /// Starts the thread, if the store has a log. `self` stays where it is until `stop`.
    pub fn start(self: *Checkpointer, store: *Store) error{ThreadFailed}!void {
        self.* = .{ .store = store, .since_ns = sync.nowNs() };
        if (store.files == null or !ring.isLogged(&store.file.region)) return;
        const log = &store.file.region.control.log;
        self.checkpoints = log.checkpoints.load(.acquire);
        self.bytes = log.bytes.load(.monotonic);
        self.thread = std.Thread.spawn(.{ .stack_size = 1 << 20 }, run, .{self}) catch
            return error.ThreadFailed;
    }

    /// Waits for a checkpoint that is under way.
    pub fn stop(self: *Checkpointer) void {
        self.stopping.store(1, .release);
        sync.futexWake(&self.stopping, 1);
        if (self.thread) |thread| thread.join();
        self.thread = null;
    }

    fn run(self: *Checkpointer) void {
        os.blockSignals();
        while (self.stopping.load(.acquire) == 0) {
            sync.futexWait(&self.stopping, 0, look_ns);
            if (self.stopping.load(.acquire) != 0) return;
            self.look(sync.nowNs());
        }
    }

    /// Writes a checkpoint if one is due.
    fn look(self: *Checkpointer, now_ns: u64) void {
        if (!self.isDue(now_ns)) return;
        const failed = if (self.write(self.store, rate_max)) false else |_| true;
        if (isFull(&self.store.file.region)) {
            self.pause_until_ns = now_ns + full_retry_ns;
        } else if (failed) self.pause_until_ns = now_ns + retry_ns;
    }

    fn isDue(self: *Checkpointer, now_ns: u64) bool {
        const region = &self.store.file.region;
        const log = &region.control.log;
        const checkpoints = log.checkpoints.load(.acquire);
        if (checkpoints != self.checkpoints) {
            self.checkpoints = checkpoints;
            self.since_ns = now_ns;
            self.bytes = log.bytes.load(.monotonic);
        }
        if (now_ns < self.pause_until_ns or !self.leads(region)) return false;
        if (isFull(region)) return true;
        if (isWritten(region)) return false;
        if (log.bytes.load(.monotonic) -% self.bytes > log_growth_max) return true;
        const secs: u64 = log.checkpoint_interval_secs.load(.monotonic);
        return secs != 0 and now_ns - self.since_ns >= secs * std.time.ns_per_s;
    }

    fn leads(self: *const Checkpointer, region: *const Region) bool {
        const word: log_leader.Word = .from(region.control.log.leader.load(.acquire));
        if (word.process != self.store.participant.index + 1) return false;
        const durability = &(self.store.durability orelse return false);
        return durability.leading.load(.acquire) != 0;
    }
};

fn isFull(region: *const Region) bool {
    const state = region.control.shared.log_state.load(.monotonic);
    return state == @intFromEnum(region_module.LogState.no_space);
}

/// Whether the newest checkpoint has everything that was logged.
fn isWritten(region: *const Region) bool {
    const log = &region.control.log;
    return log.logged.load(.acquire) <= log.checkpoint_newest.load(.acquire);
}

fn write(store: *Store, bytes_per_second: u64) checkpoint.Error!void {
    var detail: status.Detail = .{};
    if (isWritten(&store.file.region)) return store_files.makeRoom(store, &detail);
    _ = try store_files.writeCheckpoint(store, bytes_per_second, null, &detail);
}

const testing = std.testing;

test "Checkpointer.isDue: by time, by bytes, when the disk is full, and never for nothing" {
    var bench: @import("core_test.zig").Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    var store: Store = undefined;
    store.file.region = bench.region;
    store.participant.index = 3;
    store.durability = @as(Durability, undefined);
    store.durability.?.leading = .init(1);
    const control = bench.region.control;
    const log = &control.log;
    const leader: log_leader.Word = .{ .generation = 1, .process = 4, .epoch = 1 };
    log.leader.raw = leader.bits();
    log.checkpoint_interval_secs.raw = 10;
    const second = std.time.ns_per_s;
    var checkpointer: Checkpointer = .{ .store = &store, .since_ns = 100 * second };
    // Nothing was logged.
    try testing.expect(!checkpointer.isDue(1000 * second));
    log.logged.raw = 5;
    try testing.expect(!checkpointer.isDue(109 * second));
    try testing.expect(checkpointer.isDue(110 * second));
    // Another process has written one.
    log.checkpoints.raw = 1;
    log.checkpoint_newest.raw = 5;
    log.logged.raw = 6;
    try testing.expect(!checkpointer.isDue(110 * second));
    try testing.expect(!checkpointer.isDue(119 * second));
    try testing.expect(checkpointer.isDue(120 * second));
    log.checkpoint_interval_secs.raw = 0;
    try testing.expect(!checkpointer.isDue(9999 * second));
    log.bytes.raw = log_growth_max + 1;
    try testing.expect(checkpointer.isDue(120 * second));
    log.bytes.raw = 0;
    control.shared.log_state.raw = @intFromEnum(region_module.LogState.no_space);
    try testing.expect(checkpointer.isDue(120 * second));
    checkpointer.pause_until_ns = 130 * second;
    try testing.expect(!checkpointer.isDue(129 * second));
    try testing.expect(checkpointer.isDue(130 * second));
    // It has found no room for a segment of its own yet.
    store.durability.?.leading.raw = 0;
    try testing.expect(!checkpointer.isDue(130 * second));
    store.durability.?.leading.raw = 1;
    try testing.expect(checkpointer.isDue(130 * second));
    log.leader.raw = 0;
    try testing.expect(!checkpointer.isDue(130 * second));
}

test "Checkpointer: writes at 256 MiB a second at most, and waits after one that failed" {
    const Told = struct {
        var bytes_per_second: u64 = 0;
        var count: u32 = 0;
        var failure: ?checkpoint.Error = null;

        fn note(_: *Store, rate: u64) checkpoint.Error!void {
            bytes_per_second = rate;
            count += 1;
            return failure orelse {};
        }
    };
    var bench: @import("core_test.zig").Bench = undefined;
    try bench.init(4 << 20);
    defer bench.deinit();
    var store: Store = undefined;
    store.file.region = bench.region;
    store.participant.index = 0;
    store.durability = @as(Durability, undefined);
    store.durability.?.leading = .init(1);
    const log = &bench.region.control.log;
    const leader: log_leader.Word = .{ .generation = 1, .process = 1, .epoch = 1 };
    log.leader.raw = leader.bits();
    log.logged.raw = 5;
    log.bytes.raw = log_growth_max + 1;
    var checkpointer: Checkpointer = .{ .store = &store, .write = Told.note };
    checkpointer.look(1);
    try testing.expectEqual(1, Told.count);
    try testing.expectEqual(256 << 20, Told.bytes_per_second);
    Told.failure = error.IoError;
    checkpointer.look(2);
    checkpointer.look(2 + retry_ns - 1);
    try testing.expectEqual(2, Told.count);
    checkpointer.look(2 + retry_ns);
    try testing.expectEqual(3, Told.count);
    bench.region.control.shared.log_state.raw = @intFromEnum(region_module.LogState.no_space);
    checkpointer.look(2 + 2 * retry_ns);
    checkpointer.look(2 + 2 * retry_ns + full_retry_ns - 1);
    try testing.expectEqual(4, Told.count);
    checkpointer.look(2 + 2 * retry_ns + full_retry_ns);
    try testing.expectEqual(5, Told.count);
}
