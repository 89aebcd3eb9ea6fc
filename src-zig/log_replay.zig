//! Replay: applying the log to the rows of a snapshot.
//!
//! A frame of position E changes a row only if the row's own position is smaller. So it does not
//! matter at which position between C0 and C1 a fuzzy snapshot has caught a row: replay from C0
//! comes to the state of every position from C1 on.
//!
//! Every worker reads the whole log and applies the rows of the buckets that it has. Rows of one
//! key come in their order, and no worker waits for another.
//!
//! A change of a row that is not there is legal in one case: the row was deleted before the scan of
//! the snapshot came by. Then its delete follows in the log, at or before C1, or a whole row does
//! and then the delete. Such changes are kept in mind until then; anything else means that the
//! snapshot has lost a row.
//!
//! The log was checked before (`LogReader.open`), and what is read here is memory of the disk that
//! may have changed since: a record that is wrong is `error.Corrupt`, as is a row of a table that
//! the catalogue does not have.

const std = @import("std");
const sync = @import("sync");
const log_reader = @import("log_reader.zig");
const log_row = @import("log_row.zig");
const pk_map = @import("pk_map.zig");
const region_loader = @import("region_loader.zig");
const version_module = @import("version.zig");
const LogReader = log_reader.LogReader;
const Position = version_module.Position;
const Shm = sync.Shm;
const Worker = region_loader.Worker;

pub const Error = region_loader.Error;

pub const Replay = struct {
    log: *LogReader,
    tables: log_row.Tables,
    /// C0: frames up to it are in the snapshot.
    start: Position,
    /// C1: a change of a missing row must be followed by its delete until then.
    converged: Position,
    /// Rows that were applied or passed by, for the progress.
    rows_total: u64 = 0,
    progress: Progress,
    /// The position of the frame that a worker could not apply, or 0.
    bad_position: Shm(u64) = .init(0),
    /// Rows that changed something.
    rows_applied: Shm(u64) = .init(0),

    pub const Progress = struct {
        context: *anyopaque,
        report: *const fn (context: *anyopaque, done: u64, total: u64) void,
    };

    /// Applies everything. `bad_position` tells what `error.Corrupt` is about.
    pub fn run(replay: *Replay, loader: *region_loader.Loader) Error!void {
        try loader.run(replay, work);
    }

    fn work(replay: *Replay, worker: *Worker) Error!void {
        var share: Share = .{ .replay = replay, .worker = worker };
        defer share.deinit();
        try share.all();
        _ = replay.rows_applied.fetchAdd(share.applied, .monotonic);
    }
};

/// What was read was read before, so whatever the error is, the file has become unreadable.
fn fileError(err: log_reader.Error) Error {
    return if (err == error.OutOfMemory) error.OutOfMemory else error.IoError;
}

/// What one worker does.
const Share = struct {
    replay: *Replay,
    worker: *Worker,
    applied: u64 = 0,
    rows_seen: u64 = 0,
    /// Changes of rows that were not there: table and key cell, and the position.
    missing: std.StringHashMapUnmanaged(Position) = .empty,

    fn deinit(share: *Share) void {
        const gpa = share.worker.loader.gpa;
        var keys = share.missing.keyIterator();
        while (keys.next()) |key| gpa.free(key.*);
        share.missing.deinit(gpa);
    }

    fn all(share: *Share) Error!void {
        const replay = share.replay;
        var cursor = replay.log.cursor();
        defer cursor.close();
        var frames: u32 = 0;
        while (cursor.next() catch |err| return fileError(err)) |item| {
            if (share.worker.loader.isFailed()) return;
            const header = &item.frame.header;
            switch (header.kind) {
                .commit, .part => {},
                else => continue,
            }
            if (header.position <= replay.start) continue;
            share.rowsOf(header.position, item.frame.body) catch |err| {
                if (err == error.Corrupt) share.blame(header.position);
                return err;
            };
            frames += 1;
            if (share.worker.index == 0 and frames % 1024 == 0) share.report();
        }
        share.report();
        var values = share.missing.valueIterator();
        if (values.next()) |position| {
            share.blame(position.*);
            return error.Corrupt;
        }
    }

    fn report(share: *Share) void {
        if (share.worker.index != 0) return;
        const progress = share.replay.progress;
        progress.report(progress.context, share.rows_seen, share.replay.rows_total);
    }

    fn blame(share: *Share, position: Position) void {
        _ = share.replay.bad_position.cas(0, position, .monotonic, .monotonic);
    }

    /// Applies what is this worker's of one frame. Behind the rows there are zeros.
    fn rowsOf(share: *Share, position: Position, body: []const u8) Error!void {
        var rest = body;
        while (rest.len > 0 and rest[0] != 0) {
            const front = log_row.outline(rest, share.replay.tables) catch return error.Corrupt;
            rest = rest[front.size..];
            share.rows_seen += 1;
            const key: pk_map.Key = .of(@intCast(front.table.id), front.key);
            const owner = region_loader.shareOf(key.hash, share.worker.loader.worker_count);
            if (owner == share.worker.index) try share.apply(position, key, &front);
        }
    }

    fn apply(
        share: *Share,
        position: Position,
        key: pk_map.Key,
        front: *const log_row.Outline,
    ) Error!void {
        const worker = share.worker;
        const node = worker.find(key);
        if (node != 0 and worker.positionOf(node) >= position) return;
        share.applied += 1;
        if (node == 0) try share.mind(position, key, front.operation);
        if (node == 0 and front.operation != .full) return;
        if (front.operation == .delete) return worker.remove(front.table, node);

        const record = log_row.complete(front) catch return error.Corrupt;
        const buffer = try worker.imageBuffer();
        const base = if (front.operation == .delta) worker.rowOf(node) else null;
        const row = record.apply(base, buffer);
        try worker.put(front.table, node, key, position, row);
    }

    /// Keeps in mind that a row is missing which was changed, or that it need not be there.
    fn mind(
        share: *Share,
        position: Position,
        key: pk_map.Key,
        operation: log_row.Operation,
    ) Error!void {
        if (operation != .delta and share.missing.count() == 0) return;
        const gpa = share.worker.loader.gpa;
        var buffer: [1 + version_module.key_cell_size_max]u8 = undefined;
        buffer[0] = key.table;
        @memcpy(buffer[1..][0..key.cell.len], key.cell);
        const name = buffer[0 .. 1 + key.cell.len];
        if (operation != .delta) {
            const entry = share.missing.fetchRemove(name) orelse return;
            return gpa.free(entry.key);
        }
        const entry = try share.missing.getOrPut(gpa, name);
        if (entry.found_existing) return;
        entry.key_ptr.* = gpa.dupe(u8, name) catch |err| {
            share.missing.removeByPtr(entry.key_ptr);
            return err;
        };
        entry.value_ptr.* = position;
        if (position > share.replay.converged) return error.Corrupt;
    }
};
