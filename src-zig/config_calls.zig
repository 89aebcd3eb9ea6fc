//! Settings of the whole region, which any process may read and change while it is open.

const std = @import("std");
const connection_module = @import("connection.zig");
const durable_calls = @import("durable_calls.zig");
const sync = @import("sync");
const Connection = connection_module.Connection;
const Error = connection_module.Error;

/// The numbers are part of the ABI.
pub const Setting = enum(u32) {
    /// Milliseconds after which a snapshot that nothing runs in is given up; 0 for never.
    max_snapshot_age_ms = 1,
    /// Milliseconds after which a process that does not come out of an operation, or keeps views of
    /// rows, is killed; 0 for never.
    kill_stalled_after_ms = 2,
    /// 1: commits return when they are on disk. 0: when they are visible.
    synchronous_commit = 3,
    /// Seconds from one checkpoint to the next; 0 for none by time.
    checkpoint_interval_secs = 4,
};

fn wordOf(connection: *Connection, number: u32) Error!*sync.Shm(u32) {
    const shared = &connection.region().control.shared;
    const setting = std.enums.fromInt(Setting, number) orelse {
        connection.detail.set("there is no setting {d}", .{number});
        return error.BadArgument;
    };
    return switch (setting) {
        .max_snapshot_age_ms => &shared.snapshot_age_ms_max,
        .kill_stalled_after_ms => &shared.kill_stalled_after_ms,
        .synchronous_commit => &shared.synchronous_commit,
        .checkpoint_interval_secs => &connection.region().control.log.checkpoint_interval_secs,
    };
}

pub fn set(connection: *Connection, number: u32, value: u32) Error!void {
    try connection.refuseReadOnly();
    const needs_log = number == @intFromEnum(Setting.synchronous_commit) or
        number == @intFromEnum(Setting.checkpoint_interval_secs);
    if (needs_log and value != 0) try durable_calls.refuseUnlogged(connection);
    (try wordOf(connection, number)).store(value, .monotonic);
}

pub fn get(connection: *Connection, number: u32) Error!f64 {
    return @floatFromInt((try wordOf(connection, number)).load(.monotonic));
}
