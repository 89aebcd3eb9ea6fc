//! What a store does with its data directory: checkpoints and backups.
//!
//! A backup is a directory that opens like the original: the lock file, because the files name
//! their store by its identity; a snapshot; and one segment with the frames from its C0 to its L1.
//! The lock file is written last: what has none yet is refused, as the files of another store.

const std = @import("std");
const sync = @import("sync");
const catalogue_image = @import("catalogue_image.zig");
const checkpoint = @import("checkpoint.zig");
const file_layer = @import("file_layer.zig");
const lock_file = @import("lock_file.zig");
const log_frame = @import("log_frame.zig");
const log_gather = @import("log_gather.zig");
const log_reader = @import("log_reader.zig");
const log_repair = @import("log_repair.zig");
const log_segment = @import("log_segment.zig");
const os = @import("os.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const status = @import("status.zig");
const truncation = @import("truncation.zig");
const Detail = status.Detail;
const Files = file_layer.Files;
const LogReader = log_reader.LogReader;
const LogState = region_module.LogState;
const LogWriter = @import("log_writer.zig").LogWriter;
const NativeFiles = file_layer.NativeFiles;
const Position = @import("version.zig").Position;
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Region = region_module.Region;
const Session = @import("session.zig").Session;
const Store = @import("store.zig").Store;

pub const Error = checkpoint.Error;

/// For another process that writes a snapshot.
const wait_timeout_ns = 30 * std.time.ns_per_s;
/// How long a snapshot waits for a log that has no room. Whoever closes the store waits for it.
const full_patience_ns = 1 * std.time.ns_per_s;
/// A wake-up can be lost with the process that owed it: look again after this time.
const doubt_ns = 20 * std.time.ns_per_ms;
const lock_name = "LOCK";

/// A store's hand on its directory.
pub const StoreFiles = struct {
    native: NativeFiles,
    /// Lock byte 2 excludes other processes only.
    busy: ProcessMutex = .{},

    pub fn init(directory: *const os.Path) StoreFiles {
        return .{ .native = .init(directory) };
    }
};

/// Writes a snapshot into the store's directory and removes what it makes superfluous.
pub fn writeCheckpoint(
    store: *Store,
    rate_max: u64,
    progress: ?checkpoint.Options.Progress,
    detail: *Detail,
) Error!checkpoint.Result {
    const held: Held = try .take(store, detail);
    defer held.release();
    const session = try store.engine.openSession();
    defer store.engine.closeSession(session);
    const files = held.files.native.files();
    const result = checkpoint.replace(
        files,
        held.gpa,
        session,
        &store.catalogue,
        held.options(rate_max, progress),
    ) catch |err| return explain(err, "write the checkpoint", &held.files.native.directory, detail);
    const log = &store.file.region.control.log;
    log.checkpoint_files_left.store(result.files_left, .monotonic);
    const before = log.checkpoint_newest.fetchMax(result.start, .acq_rel);
    if (before < result.start) log.checkpoint_older.store(before, .release);
    _ = log.checkpoints.fetchAdd(1, .release);
    if (!hasRoom(held.region())) held.makeRoom(detail) catch {};
    return result;
}

/// Where the log has no space although everything is in a snapshot: gives up what only the one
/// before it needs.
pub fn makeRoom(store: *Store, detail: *Detail) Error!void {
    const held: Held = try .take(store, detail);
    defer held.release();
    return held.makeRoom(detail);
}

/// Whether the log has a segment to go on with, after the time that it takes to make one.
fn hasRoom(region: *const Region) bool {
    const started_ns = sync.nowNs();
    const full = @intFromEnum(LogState.no_space);
    while (region.control.shared.log_state.load(.acquire) == full) {
        if (sync.nowNs() -% started_ns > full_patience_ns) return false;
        sync.sleepNs(doubt_ns);
    }
    return true;
}

/// Writes down what is in memory because the log is lost; see `log_repair.Rescue`.
pub fn rescue(context: *anyopaque, epoch: u32) Error!Position {
    const store: *Store = @ptrCast(@alignCast(context));
    var detail: Detail = .{};
    const held: Held = try .take(store, &detail);
    defer held.release();
    const session = try store.engine.openSession();
    defer store.engine.closeSession(session);
    const files = held.files.native.files();
    const incarnation = held.region().header.incarnation;
    return log_repair.writeSnapshot(
        files,
        held.gpa,
        session,
        &store.catalogue,
        incarnation,
        epoch,
    );
}

/// Removes files to make room for the log; see `log_repair.Rescue`.
pub fn removeSuperfluous(context: *anyopaque, what: log_repair.Rescue.Superfluous) Error!bool {
    const store: *Store = @ptrCast(@alignCast(context));
    var detail: Detail = .{};
    const held: Held = try .take(store, &detail);
    defer held.release();
    const options = held.truncationOptions();
    const removed = switch (what) {
        .older => truncation.giveUpOlder(options),
        .replaced => truncation.removeReplaced(options),
    };
    return removed catch |err| checkpoint.statusOf(err);
}

/// Writes a copy of the store into the directory `path`, which does not exist or is empty.
pub fn writeBackup(
    store: *Store,
    path: []const u8,
    progress: ?checkpoint.Options.Progress,
    detail: *Detail,
) Error!checkpoint.Result {
    const held: Held = try .take(store, detail);
    defer held.release();
    const directory = os.Path.init(path) catch {
        detail.set("the path is too long or has a zero byte in it", .{});
        return error.BadArgument;
    };
    try prepareTarget(&directory, detail);
    var native: NativeFiles = .init(&directory);
    const result = held.copyTo(native.files(), progress) catch |err| {
        removeAll(&directory);
        return explain(err, "write the backup", &directory, detail);
    };
    return result;
}

/// The right to write snapshots, and what they are made of.
const Held = struct {
    store: *Store,
    files: *StoreFiles,
    gpa: std.mem.Allocator,

    fn take(store: *Store, detail: *Detail) Error!Held {
        const files = &(store.files orelse {
            detail.set("an ephemeral database has nothing on disk", .{});
            return error.NotSupported;
        });
        if (!ring.isLogged(&store.file.region)) {
            detail.set("it has no log", .{});
            return error.NotSupported;
        }
        files.busy.lock();
        errdefer files.busy.unlock();
        try store.lock.wait(lock_file.byte_checkpoint, wait_timeout_ns, detail);
        return .{ .store = store, .files = files, .gpa = @import("store.zig").gpa };
    }

    fn release(held: *const Held) void {
        sync.ByteLock.unlock(held.store.lock.fd, lock_file.byte_checkpoint);
        held.files.busy.unlock();
    }

    fn makeRoom(held: *const Held, detail: *Detail) Error!void {
        const directory = &held.files.native.directory;
        _ = truncation.giveUpOlder(held.truncationOptions()) catch |err|
            return explain(checkpoint.statusOf(err), "make room", directory, detail);
        // Let the log take it before anybody asks whether it was enough.
        _ = hasRoom(held.region());
    }

    fn truncationOptions(held: *const Held) truncation.Options {
        return .{
            .files = held.files.native.files(),
            .gpa = held.gpa,
            .store_uuid = held.store.lock.store_uuid,
            .active = held.region().control.log.segment.load(.acquire),
            .durable = ring.durablePosition(held.region()),
        };
    }

    fn region(held: *const Held) *Region {
        return &held.store.file.region;
    }

    fn options(
        held: *const Held,
        rate_max: u64,
        progress: ?checkpoint.Options.Progress,
    ) checkpoint.Options {
        return .{
            .store_uuid = held.store.lock.store_uuid,
            .incarnation = held.region().header.incarnation,
            .rate_max = rate_max,
            .log = .{ .flush = .{ .context = held.region(), .wait = flushLog } },
            .progress = progress,
        };
    }

    fn copyTo(
        held: *const Held,
        target: Files,
        progress: ?checkpoint.Options.Progress,
    ) Error!checkpoint.Result {
        const store = held.store;
        const session = try store.engine.openSession();
        defer store.engine.closeSession(session);
        const made = held.options(0, progress);
        const result = try checkpoint.run(target, held.gpa, session, &store.catalogue, made);
        held.copyLog(target, &result) catch |err| return switch (err) {
            error.Corrupt => error.Corrupt,
            else => |other| checkpoint.statusOf(other),
        };
        copyLock(held.files.native.files(), target) catch |err| return checkpoint.statusOf(err);
        return result;
    }

    /// Writes the frames that the snapshot needs into a segment of their own.
    fn copyLog(
        held: *const Held,
        target: Files,
        result: *const checkpoint.Result,
    ) (log_reader.Error || error{Corrupt})!void {
        const uuid = held.store.lock.store_uuid;
        var log: LogReader = try .open(held.gpa, held.files.native.files(), .{
            .store_uuid = uuid,
            .from = result.start,
            .to = @max(result.start, result.logged),
            .required = if (result.logged > result.start) result.logged else 1,
        });
        defer log.close();
        if (log.verdict == .damaged) return error.Corrupt;
        const image = catalogue_image.encode(held.region(), held.gpa) catch |err|
            return if (err == error.OutOfMemory) error.OutOfMemory else error.Corrupt;
        defer held.gpa.free(image);
        const need = try measure(&log);
        const whole = need.size + image.len + log_frame.header_size + 4 * log_segment.block_size;
        var writer: LogWriter = try .start(held.gpa, target, .{
            .store_uuid = uuid,
            .incarnation = held.region().header.incarnation,
            .leader_epoch = 1,
            .start_position = result.start + 1,
            .previous_position = @min(need.previous, result.start),
            .size = std.mem.alignForward(u64, whole, log_segment.size_min),
        });
        defer writer.stop();
        try writer.note(.catalogue, image);
        var cursor = log.cursor();
        defer cursor.close();
        while (try cursor.next()) |item| switch (item.frame.header.kind) {
            .commit, .part => try writer.copy(&item.frame),
            else => {},
        };
        var synced = try writer.beginSync();
        try synced.sync(target);
        writer.endSync(&synced);
    }
};

/// Bytes of the frames of a log, and the position before the first one.
const Need = struct { size: u64 = 0, previous: Position };

fn measure(log: *const LogReader) log_reader.Error!Need {
    var need: Need = .{ .previous = log.last_position };
    var cursor = log.cursor();
    defer cursor.close();
    while (try cursor.next()) |item| {
        const header = &item.frame.header;
        if (header.kind != .commit and header.kind != .part) continue;
        if (need.size == 0) need.previous = header.previous;
        need.size += header.length;
    }
    return need;
}

fn copyLock(from: Files, to: Files) file_layer.Error!void {
    const source = try from.open(lock_name, .read);
    defer from.close(source);
    var content: [64]u8 = undefined;
    const size = try from.readAt(source, &content, 0);
    const target = try to.open(lock_name, .create_exclusive);
    defer to.close(target);
    try to.writeAt(target, content[0..size], 0);
    try to.sync(target);
    try to.syncDirectory();
}

/// Waits until the log is on disk up to `position`; see `checkpoint.Options.Flush`.
fn flushLog(context: *anyopaque, position: Position) Error!Position {
    const region: *Region = @ptrCast(@alignCast(context));
    try waitDurable(region, position);
    // What was logged up to `position` is logged by now, and this may be a little later.
    const logged = region.control.log.logged.load(.acquire);
    try waitDurable(region, logged);
    return logged;
}

/// `error.DiskFull` if the disk is full and the log has not moved for so long that somebody else
/// has to make room.
fn waitDurable(region: *const Region, position: Position) Error!void {
    const log = &region.control.log;
    var working_ns = sync.nowNs();
    var drained_before: u64 = 0;
    while (true) {
        const durable = region.control.durable.word.load(.acquire);
        if (ring.Watermark.position(durable) >= position) return;
        const state = region.control.shared.log_state.load(.acquire);
        if (state == @intFromEnum(LogState.failed)) return error.DurabilityUnknown;
        const drained = region.control.drained.word.load(.acquire);
        const moves = drained != drained_before or state != @intFromEnum(LogState.no_space);
        if (moves) working_ns = sync.nowNs();
        drained_before = drained;
        if (sync.nowNs() - working_ns > full_patience_ns) return error.DiskFull;
        log_gather.ask(region, position, false);
        const seen = log.durable_wake.load(.seq_cst);
        _ = log.durable_waiters.fetchAdd(1, .seq_cst);
        defer _ = log.durable_waiters.fetchSub(1, .seq_cst);
        const again = region.control.durable.word.load(.seq_cst);
        if (ring.Watermark.position(again) >= position) return;
        sync.futexWait(&log.durable_wake, seen, doubt_ns);
    }
}

/// Makes sure that there is an empty directory.
fn prepareTarget(directory: *const os.Path, detail: *Detail) Error!void {
    os.makeDirectories(directory) catch |err|
        return lock_file.osError(err, "create", directory, detail);
    var names: u32 = 0;
    os.eachName(directory, &names, struct {
        fn visit(count: *u32, _: []const u8) void {
            count.* += 1;
        }
    }.visit) catch |err| return lock_file.osError(err, "examine", directory, detail);
    if (names == 0) return;
    detail.set("the directory \"{s}\" is not empty", .{directory.slice()});
    return error.BadArgument;
}

/// Removes what a backup that failed has written. The directory was empty.
fn removeAll(directory: *const os.Path) void {
    os.eachName(directory, directory, struct {
        fn visit(where: *const os.Path, name: []const u8) void {
            const path = where.join(name) catch return;
            os.unlink(&path) catch {};
        }
    }.visit) catch {};
}

fn explain(err: Error, comptime what: []const u8, path: *const os.Path, detail: *Detail) Error {
    detail.set("cannot " ++ what ++ " in \"{s}\": {s} (errno {d})", .{
        path.slice(), status.fromError(err).text(), os.lastErrno(),
    });
    return err;
}
