//! The calls that wait until commits are on disk: blocking, and by way of the notifier.
//!
//! A position is durable when every commit up to it is on disk. Waiting asks the log to get there;
//! nothing is synchronised for the sake of those who do not wait.

const std = @import("std");
const sync = @import("sync");
const commit_ring = @import("commit_ring.zig");
const connection_module = @import("connection.zig");
const log_gather = @import("log_gather.zig");
const notifier_module = @import("notifier.zig");
const region_module = @import("region.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const LogState = region_module.LogState;
const Region = region_module.Region;
const assert = std.debug.assert;

/// Wakes the event loops of this process.
pub var notifier: notifier_module.Notifier = .{};

/// When a commit returns.
pub const Promise = enum {
    /// When it is visible.
    visible,
    /// When its record is on disk.
    durable,
};

/// The largest position that TypeScript can name exactly.
const position_max: f64 = 1 << 53;
/// A wake-up can be lost with the process that owed it: look again after this time.
const doubt_ns = 20 * std.time.ns_per_ms;
/// Waits without a limit.
pub const endless_ms = std.math.maxInt(u32);

fn positionOf(connection: *Connection, value: f64) Error!u64 {
    if (value >= 0 and value <= position_max and @floor(value) == value) {
        return @intFromFloat(value);
    }
    connection.detail.set("{d} is no position", .{value});
    return error.BadArgument;
}

/// The last position that was handed out: everything committed so far is at or before it.
pub fn lastPosition(connection: *Connection) u64 {
    return connection.region().control.next.word.load(.acquire);
}

/// What the region promises for commits that do not say it themselves.
pub fn promiseOf(connection: *Connection) Promise {
    const word = &connection.region().control.shared.synchronous_commit;
    return if (word.load(.monotonic) == 0) .visible else .durable;
}

/// After a commit outside of transactions: waits if that is what the region promises.
pub fn settle(connection: *Connection, position: u64) Error!void {
    if (position == 0 or promiseOf(connection) == .visible) return;
    try waitEndless(connection, position);
}

/// Refuses a promise that only a log can keep.
pub fn refuseUnlogged(connection: *Connection) Error!void {
    if (commit_ring.isLogged(connection.region())) return;
    connection.detail.set("an ephemeral database has nothing on disk", .{});
    return error.NotSupported;
}

fn isDurable(region: *const Region, position: u64) bool {
    const word = region.control.durable.word.load(.acquire);
    return commit_ring.Watermark.position(word) >= position;
}

/// True if the position is on disk, false if it may get there.
fn look(connection: *Connection, position: u64) Error!bool {
    try refuseUnlogged(connection);
    const region = connection.region();
    if (isDurable(region, position)) return true;
    const state: LogState = @enumFromInt(region.control.shared.log_state.load(.acquire));
    return switch (state) {
        // Where the disk is full, what is committed waits in memory and is written when there
        // is room.
        .none, .working, .no_space => false,
        .failed, _ => error.DurabilityUnknown,
    };
}

/// 1 if the position is on disk, 0 if not yet.
pub fn poll(connection: *Connection, value: f64) Error!bool {
    return look(connection, try positionOf(connection, value));
}

/// Asks the log to bring the position to disk soon.
pub fn request(connection: *Connection, value: f64) Error!void {
    log_gather.ask(connection.region(), try positionOf(connection, value), false);
}

/// Has a waker woken as soon as the position is on disk, or cannot get there. True if it is there
/// already; then nobody is woken.
pub fn arm(connection: *Connection, waker: u32, value: f64) Error!bool {
    const position = try positionOf(connection, value);
    if (try look(connection, position)) return true;
    _ = log_gather.arrive(connection.region());
    log_gather.ask(connection.region(), position, false);
    const log = &connection.region().control.log;
    const key = connection.number.load(.monotonic);
    const known = notifier.arm(waker, key, .{
        .context = connection,
        .word = &log.durable_wake,
        .waiters = &log.durable_waiters,
        .reached = reached,
    }, position) catch |err| {
        connection.detail.set("the process cannot wait for more at once", .{});
        return err;
    };
    if (!known) return error.BadArgument;
    return false;
}

/// Called by the notifier's thread.
fn reached(context: *anyopaque, position: u64) bool {
    const connection: *Connection = @ptrCast(@alignCast(context));
    const region = connection.region();
    if (isDurable(region, position)) return true;
    const state = region.control.shared.log_state.load(.acquire);
    return state == @intFromEnum(LogState.failed);
}

/// Blocks until the position is on disk. False after `timeout_ms`.
pub fn waitFor(connection: *Connection, value: f64, timeout_ms: u32) Error!bool {
    return wait(connection, try positionOf(connection, value), timeout_ms);
}

pub fn waitEndless(connection: *Connection, position: u64) Error!void {
    const there = try wait(connection, position, endless_ms);
    assert(there);
}

fn wait(connection: *Connection, position: u64, timeout_ms: u32) Error!bool {
    // A process that takes part in the log may do the work itself, in this thread.
    if (connection.store.durability) |*durability| {
        const timeout_ns = if (timeout_ms == endless_ms)
            std.math.maxInt(u64)
        else
            @as(u64, timeout_ms) * std.time.ns_per_ms;
        return durability.waitDurable(position, timeout_ns);
    }
    const log = &connection.region().control.log;
    const start = sync.nowNs();
    const limit_ns = @as(u64, timeout_ms) * std.time.ns_per_ms;
    if (!try look(connection, position)) _ = log_gather.arrive(connection.region());
    while (!try look(connection, position)) {
        log_gather.ask(connection.region(), position, false);
        _ = log.durable_waiters.fetchAdd(1, .seq_cst);
        defer _ = log.durable_waiters.fetchSub(1, .seq_cst);
        const seen = log.durable_wake.load(.seq_cst);
        if (try look(connection, position)) return true;
        const passed = sync.nowNs() -% start;
        if (timeout_ms != endless_ms and passed >= limit_ns) return false;
        const left = if (timeout_ms == endless_ms) doubt_ns else limit_ns - passed;
        sync.futexWait(&log.durable_wake, seen, @min(left, doubt_ns));
    }
    return true;
}

/// Ends what the connection has armed.
pub fn forget(connection: *Connection) void {
    notifier.forget(connection.number.load(.monotonic));
}
