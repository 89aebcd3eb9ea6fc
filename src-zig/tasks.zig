//! What a connection has done in threads of their own: checkpoints and backups, which take longer
//! than an event loop should stand still.
//!
//! A task ends by itself; its connection is not closed before that. It wakes its isolate when it
//! has ended, and now and then before, so that somebody may look how far it is.

const std = @import("std");
const sync = @import("sync");
const checkpoint = @import("checkpoint.zig");
const connection_module = @import("connection.zig");
const durable_calls = @import("durable_calls.zig");
const os = @import("os.zig");
const status = @import("status.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Shm = sync.Shm;
const Store = @import("store.zig").Store;
const gpa = connection_module.gpa;

/// The numbers are part of the ABI.
pub const Kind = enum(u32) {
    /// Writes a snapshot into the data directory.
    checkpoint = 1,
    /// Writes a copy of the database into another directory.
    backup = 2,
};

const report_pause_ns = 50 * std.time.ns_per_ms;

const Task = struct {
    number: u32,
    store: *Store,
    kind: Kind,
    path: []const u8,
    waker: u32,
    thread: std.Thread,
    ended: Shm(u32) = .init(0),
    done: Shm(u64) = .init(0),
    total: Shm(u64) = .init(0),
    reported_ns: u64 = 0,
    result: Error!checkpoint.Result = undefined,
    errno: u32 = 0,
    detail: status.Detail = .{},

    fn run(task: *Task) void {
        os.blockSignals();
        task.reported_ns = sync.nowNs();
        const progress: checkpoint.Options.Progress = .{ .context = task, .report = report };
        task.result = perform(task.store, task.kind, task.path, progress, &task.detail);
        task.errno = os.lastErrno();
        // Release: pairs with the acquire in `poll`.
        task.ended.store(1, .release);
        durable_calls.notifier.wake(task.waker);
    }

    fn report(context: *anyopaque, done: u64, total: u64) void {
        const task: *Task = @ptrCast(@alignCast(context));
        task.done.store(done, .monotonic);
        task.total.store(total, .monotonic);
        const now = sync.nowNs();
        if (now -% task.reported_ns < report_pause_ns) return;
        task.reported_ns = now;
        durable_calls.notifier.wake(task.waker);
    }

    fn free(task: *Task) void {
        task.thread.join();
        gpa.free(task.path);
        gpa.destroy(task);
    }
};

/// The tasks of a connection. A number is never given out twice.
pub const Tasks = struct {
    list: std.ArrayList(*Task) = .empty,
    next: u32 = 1,

    const count_max = 16;

    /// Waits for those that run.
    pub fn deinit(tasks: *Tasks) void {
        for (tasks.list.items) |task| task.free();
        tasks.list.deinit(gpa);
    }
};

fn perform(
    store: *Store,
    kind: Kind,
    path: []const u8,
    progress: ?checkpoint.Options.Progress,
    detail: *status.Detail,
) Error!checkpoint.Result {
    return switch (kind) {
        .checkpoint => store.checkpoint(progress, detail),
        .backup => store.backup(path, progress, detail),
    };
}

fn kindOf(connection: *Connection, number: u32) Error!Kind {
    if (std.enums.fromInt(Kind, number)) |kind| return kind;
    connection.detail.set("there is no task {d}", .{number});
    return error.BadArgument;
}

fn refuse(connection: *Connection, kind: Kind) Error!void {
    if (kind == .checkpoint) try connection.refuseReadOnly();
    try durable_calls.refuseUnlogged(connection);
}

/// Starts a task. The path of a backup stands in the first `size` bytes of the input. Returns its
/// number.
pub fn start(connection: *Connection, waker: u32, number: u32, size: u32) Error!u32 {
    const kind = try kindOf(connection, number);
    try refuse(connection, kind);
    const tasks = &connection.tasks;
    if (tasks.list.items.len >= Tasks.count_max) {
        connection.detail.set("the connection has {d} of them under way", .{Tasks.count_max});
        return error.Busy;
    }
    try tasks.list.ensureUnusedCapacity(gpa, 1);
    const path = try gpa.dupe(u8, try connection.inputBytes(size));
    errdefer gpa.free(path);
    const task = try gpa.create(Task);
    errdefer gpa.destroy(task);
    task.* = .{
        .number = tasks.next,
        .store = connection.store,
        .kind = kind,
        .path = path,
        .waker = waker,
        .thread = undefined,
    };
    task.thread = std.Thread.spawn(.{ .stack_size = 4 << 20 }, Task.run, .{task}) catch
        return error.Internal;
    tasks.next = tasks.next % std.math.maxInt(i32) + 1;
    tasks.list.appendAssumeCapacity(task);
    return task.number;
}

/// Writes how far a task is. Returns the bytes of it. One that has ended is forgotten.
pub fn poll(connection: *Connection, number: u32) Error!u32 {
    const list = &connection.tasks.list;
    const index = for (list.items, 0..) |task, i| {
        if (task.number == number) break i;
    } else {
        connection.detail.set("the task has ended", .{});
        return error.Closed;
    };
    const task = list.items[index];
    if (task.ended.load(.acquire) == 0) {
        const format = "{{\"rows\":{d},\"rowsExpected\":{d}}}";
        const done = task.done.load(.monotonic);
        return print(connection, format, .{ done, task.total.load(.monotonic) });
    }
    _ = list.swapRemove(index);
    defer task.free();
    const result = task.result catch |err| {
        connection.detail = task.detail;
        return err;
    };
    return printResult(connection, &result);
}

/// Does in the calling thread what a task does. Returns the bytes of the result.
pub fn performNow(connection: *Connection, number: u32, size: u32) Error!u32 {
    const kind = try kindOf(connection, number);
    try refuse(connection, kind);
    const path = try connection.inputBytes(size);
    const result = try perform(connection.store, kind, path, null, &connection.detail);
    return printResult(connection, &result);
}

fn printResult(connection: *Connection, result: *const checkpoint.Result) Error!u32 {
    return print(connection, "{{\"position\":{d},\"rows\":{d},\"bytes\":{d}}}", .{
        result.end, result.rows, result.bytes,
    });
}

fn print(connection: *Connection, comptime format: []const u8, args: anytype) Error!u32 {
    const text = std.fmt.bufPrint(connection.output, format, args) catch return error.Internal;
    return @intCast(text.len);
}
