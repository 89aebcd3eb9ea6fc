//! Opening a store in a thread of its own, while the caller looks how far it is.
//!
//! A recovery may take seconds, and its caller may want to tell somebody. A function of JavaScript
//! cannot be called from another thread, so the caller's thread stays the one that calls: it waits
//! for a moment at a time and reads the progress in between.
//!
//! A thread has one opening at most, so it needs no number.

const std = @import("std");
const sync = @import("sync");
const cold_recovery = @import("cold_recovery.zig");
const connection_module = @import("connection.zig");
const os = @import("os.zig");
const status = @import("status.zig");
const Error = connection_module.Error;
const Shm = sync.Shm;
const Store = @import("store.zig").Store;
const gpa = connection_module.gpa;

/// How far an opening is, for TypeScript.
pub const Progress = extern struct {
    /// A `cold_recovery.Phase`; -1 while nothing is recovered.
    phase: f64 = -1,
    done: f64 = 0,
    total: f64 = 0,
};

const Opening = struct {
    options: connection_module.Options,
    /// What `options` refers to.
    bytes: []const u8,
    thread: std.Thread,
    /// Futex: raised by progress, and at the end.
    changes: Shm(u32) = .init(0),
    ended: Shm(u32) = .init(0),
    phase: Shm(u32) = .init(no_phase),
    done: Shm(u64) = .init(0),
    total: Shm(u64) = .init(0),
    result: Error!*Store = undefined,
    errno: u32 = 0,
    detail: status.Detail = .{},

    const no_phase = std.math.maxInt(u32);

    fn run(opening: *Opening) void {
        os.blockSignals();
        opening.result = Store.open(opening.options.store, &opening.detail);
        opening.errno = os.lastErrno();
        // Release: pairs with the acquire in `wait`.
        opening.ended.store(1, .release);
        opening.raise();
    }

    fn report(context: *anyopaque, phase: cold_recovery.Phase, done: u64, total: u64) void {
        const opening: *Opening = @ptrCast(@alignCast(context));
        opening.done.store(done, .monotonic);
        opening.total.store(total, .monotonic);
        opening.phase.store(@intFromEnum(phase), .release);
    }

    fn raise(opening: *Opening) void {
        _ = opening.changes.fetchAdd(1, .release);
        sync.futexWake(&opening.changes, 1);
    }

    fn progress(opening: *const Opening) Progress {
        const phase = opening.phase.load(.acquire);
        if (phase == no_phase) return .{};
        return .{
            .phase = @floatFromInt(phase),
            .done = @floatFromInt(opening.done.load(.monotonic)),
            .total = @floatFromInt(opening.total.load(.monotonic)),
        };
    }
};

threadlocal var current: ?*Opening = null;

/// Starts to open a store. `decode` reads the options out of bytes, which are copied.
pub fn begin(
    bytes: []const u8,
    comptime decode: fn ([]const u8) ?connection_module.Options,
) Error!void {
    if (current != null) return error.Busy;
    connection_module.prepareToOpen();
    const opening = try gpa.create(Opening);
    errdefer gpa.destroy(opening);
    const copy = try gpa.dupe(u8, bytes);
    errdefer gpa.free(copy);
    opening.* = .{
        .options = decode(copy) orelse return error.BadArgument,
        .bytes = copy,
        .thread = undefined,
    };
    opening.options.store.progress = .{ .context = opening, .report = Opening.report };
    opening.thread = std.Thread.spawn(.{ .stack_size = 4 << 20 }, Opening.run, .{opening}) catch
        return error.Internal;
    current = opening;
}

/// Waits until the store is open, or for `timeout_ms`. Returns the number of the connection, or 0
/// while it is not open yet.
pub fn wait(timeout_ms: u32, progress: *Progress) Error!u32 {
    const opening = current orelse return error.BadArgument;
    const seen = opening.changes.load(.acquire);
    if (opening.ended.load(.acquire) == 0) {
        const timeout_ns = @as(u64, timeout_ms) * std.time.ns_per_ms;
        sync.futexWait(&opening.changes, seen, timeout_ns);
    }
    progress.* = opening.progress();
    if (opening.ended.load(.acquire) == 0) return 0;
    current = null;
    opening.thread.join();
    defer gpa.destroy(opening);
    defer gpa.free(opening.bytes);
    const store = opening.result catch |err| {
        connection_module.setOpenDetail(&opening.detail);
        return err;
    };
    return connection_module.openWith(store, opening.options.read_only);
}
