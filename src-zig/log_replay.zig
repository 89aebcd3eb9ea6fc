//! Replay: applying the log to the rows of a snapshot.
//!
//! A frame of position E changes a row only if the row's own position is smaller. So it does not
//! matter at which position between C0 and C1 a fuzzy snapshot has caught a row: replay from C0
//! comes to the state of every position from C1 on.
//!
//! It goes in rounds of some chunks of the log. First the workers read the chunks, each the next
//! one that nobody has, and sort the records by who has the bucket of their key. Then each worker
//! applies its own records of all these chunks, in the order of the log: rows of one key come in
//! their order, and nobody waits for another within a round.
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
const log_cursor = @import("log_cursor.zig");
const log_reader = @import("log_reader.zig");
const log_row = @import("log_row.zig");
const pk_map = @import("pk_map.zig");
const region_loader = @import("region_loader.zig");
const replay_list = @import("replay_list.zig");
const version_module = @import("version.zig");
const List = replay_list.List;
const LogReader = log_reader.LogReader;
const Position = version_module.Position;
const Shm = sync.Shm;
const Worker = region_loader.Worker;
const worker_count_max = region_loader.worker_count_max;

pub const Error = region_loader.Error;

/// Chunks that are read before they are applied, for each worker: enough that starting threads for
/// them takes no time that counts.
const chunks_per_worker = 8;

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
        const gpa = loader.gpa;
        const shares = try gpa.alloc(Share, loader.worker_count);
        defer gpa.free(shares);
        for (shares) |*share| share.* = .{ .replay = replay };
        defer for (shares) |*share| share.deinit(gpa);
        var round: Round = .{ .replay = replay, .shares = shares };
        round.slots = try gpa.alloc(Slot, chunks_per_worker * loader.worker_count);
        defer gpa.free(round.slots);
        @memset(round.slots, .{});
        defer for (round.slots) |*slot| slot.deinit(gpa);

        const count = replay.log.chunkCount();
        while (round.first < count) : (round.first += round.slots.len) {
            round.count = @min(round.slots.len, count - round.first);
            round.taken.store(0, .monotonic);
            try loader.run(&round, Round.read);
            try loader.run(&round, Round.apply);
            replay.progress.report(
                replay.progress.context,
                round.rows_read.load(.monotonic),
                replay.rows_total,
            );
        }
        for (shares) |*share| try share.finish();
    }

    fn blame(replay: *Replay, position: Position) void {
        _ = replay.bad_position.cas(0, position, .monotonic, .monotonic);
    }
};

/// What was read was read before, so whatever the error is, the file has become unreadable.
fn fileError(err: log_reader.Error) Error {
    return if (err == error.OutOfMemory) error.OutOfMemory else error.IoError;
}

/// The records of one chunk, by the workers that apply them.
const Slot = struct {
    lists: [worker_count_max]List = @splat(.{}),

    fn deinit(slot: *Slot, gpa: std.mem.Allocator) void {
        for (&slot.lists) |*list| list.deinit(gpa);
    }
};

/// Some chunks of the log.
const Round = struct {
    replay: *Replay,
    shares: []Share,
    slots: []Slot = &.{},
    /// The number of the first chunk, and how many there are.
    first: usize = 0,
    count: usize = 0,
    /// Chunks that somebody reads or has read.
    taken: Shm(u64) = .init(0),
    rows_read: Shm(u64) = .init(0),

    /// Reads chunks until none is left. Runs in every worker.
    fn read(round: *Round, worker: *Worker) Error!void {
        var cursor = round.replay.log.chunk(round.first);
        defer cursor.close();
        while (!worker.loader.isFailed()) {
            const number: usize = @intCast(round.taken.fetchAdd(1, .monotonic));
            if (number >= round.count) return;
            const slot = &round.slots[number];
            for (&slot.lists) |*list| list.clear();
            cursor.turnTo(round.first + number);
            try round.readChunk(&cursor, slot, worker.loader);
        }
    }

    fn readChunk(
        round: *Round,
        cursor: *log_cursor.Cursor,
        slot: *Slot,
        loader: *const region_loader.Loader,
    ) Error!void {
        const replay = round.replay;
        var rows: u64 = 0;
        while (cursor.next() catch |err| return fileError(err)) |item| {
            const header = &item.frame.header;
            switch (header.kind) {
                .commit, .part => {},
                else => continue,
            }
            if (header.position <= replay.start) continue;
            rows += round.readFrame(header.position, item.frame.body, slot, loader) catch |err| {
                if (err == error.Corrupt) replay.blame(header.position);
                return err;
            };
        }
        _ = round.rows_read.fetchAdd(rows, .monotonic);
    }

    /// Hands the rows of one frame to those who apply them, and returns how many there are. Behind
    /// the rows there are zeros.
    fn readFrame(
        round: *const Round,
        position: Position,
        body: []const u8,
        slot: *Slot,
        loader: *const region_loader.Loader,
    ) Error!u64 {
        var rows: u64 = 0;
        var rest = body;
        while (rest.len > 0 and rest[0] != 0) : (rows += 1) {
            const front = log_row.outline(rest, round.replay.tables) catch return error.Corrupt;
            rest = rest[front.size..];
            const hash = pk_map.hashOf(@intCast(front.table.id), front.key);
            const owner = region_loader.shareOf(hash, loader.worker_count);
            try slot.lists[owner].add(loader.gpa, position, hash, &front);
        }
        return rows;
    }

    /// Applies what is this worker's of all chunks.
    fn apply(round: *Round, worker: *Worker) Error!void {
        const share = &round.shares[worker.index];
        const before = share.applied;
        for (round.slots[0..round.count]) |*slot| {
            if (worker.loader.isFailed()) return;
            try share.applyAll(worker, &slot.lists[worker.index]);
        }
        _ = round.replay.rows_applied.fetchAdd(share.applied - before, .monotonic);
    }
};

/// What one worker does.
const Share = struct {
    replay: *Replay,
    applied: u64 = 0,
    /// Changes of rows that were not there: table and key cell, and the position.
    missing: std.StringHashMapUnmanaged(Position) = .empty,

    fn deinit(share: *Share, gpa: std.mem.Allocator) void {
        var keys = share.missing.keyIterator();
        while (keys.next()) |key| gpa.free(key.*);
        share.missing.deinit(gpa);
    }

    /// All is applied: nothing may be missing any more.
    fn finish(share: *Share) Error!void {
        var values = share.missing.valueIterator();
        const position = values.next() orelse return;
        share.replay.blame(position.*);
        return error.Corrupt;
    }

    fn applyAll(share: *Share, worker: *Worker, list: *const List) Error!void {
        var records = list.iterator(worker.region);
        while (records.next()) |entry| {
            const front = entry.outline(share.replay.tables);
            const key: pk_map.Key = .{
                .table = entry.table,
                .cell = front.key,
                .hash = entry.hash,
            };
            share.apply(worker, entry.position, key, &front) catch |err| {
                if (err == error.Corrupt) share.replay.blame(entry.position);
                return err;
            };
        }
    }

    fn apply(
        share: *Share,
        worker: *Worker,
        position: Position,
        key: pk_map.Key,
        front: *const log_row.Outline,
    ) Error!void {
        const node = worker.find(key);
        if (node != 0 and worker.positionOf(node) >= position) return;
        share.applied += 1;
        if (node == 0) try share.mind(worker.loader.gpa, position, key, front.operation);
        if (node == 0 and front.operation != .full) return;
        if (front.operation == .delete) return worker.remove(front.table, node);

        const record = log_row.complete(front) catch return error.Corrupt;
        if (front.operation == .delta and record.keepsSize()) {
            return worker.patch(node, position, &record);
        }
        const buffer = try worker.imageBuffer();
        const base = if (front.operation == .delta) worker.rowOf(node) else null;
        const row = record.apply(base, buffer);
        try worker.put(front.table, node, key, position, row);
    }

    /// Keeps in mind that a row is missing which was changed, or that it need not be there.
    fn mind(
        share: *Share,
        gpa: std.mem.Allocator,
        position: Position,
        key: pk_map.Key,
        operation: log_row.Operation,
    ) Error!void {
        if (operation != .delta and share.missing.count() == 0) return;
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
