//! What the leader has in its hands: its segments, the drain that feeds them, and the watermarks
//! that it moves.
//!
//! A keeper begins where the predecessor ended. Positions up to `durable` are on the disk. Those
//! behind it, up to `drained`, are in files that the predecessor has written and perhaps not
//! synced; an error of a sync is known to the process that got it and to nobody else, so nothing in
//! those files is trusted to reach the disk. Their frames, each of which proves itself by its
//! checksum, are copied into the first segment of the keeper, which begins at `durable` + 1. The
//! header of that segment is written when all of them are on the disk. Until then the log is what
//! it was before, whoever is killed; from then on nobody's frames but the keeper's count behind
//! `durable`.
//!
//! Where a snapshot stands in the place of the log (`log_repair.zig`), a keeper begins behind it
//! and reads no file: its first segment calls that position the last one that was logged, so
//! whoever has not got the snapshot finds the log broken there, and not a log without what the
//! snapshot has.
//!
//! Invariants:
//!
//!   * `drained` moves after the write of what is up to it has returned, `durable` after the sync
//!   * `logged`, its place and `segment` are set after the swap of `drained` worked, so they never
//!     name what a leader that was replaced has written
//!   * a frame that uses a table comes behind an image of the catalogue that has it
//!
//! Killed anywhere in `begin`: an unfinished segment, which nobody believes. Killed between a write
//! and the swap of `drained`: the successor's seal makes the frames void, and it writes them again
//! from the same versions. Killed between that swap and `logged`: the successor reads the file.
//! `durability_test.zig` kills at each call of the file layer, the simulator at each access.

const std = @import("std");
const sync = @import("sync");
const catalogue_image = @import("catalogue_image.zig");
const file_layer = @import("file_layer.zig");
const log_drain = @import("log_drain.zig");
const log_frame = @import("log_frame.zig");
const log_reader = @import("log_reader.zig");
const log_segment = @import("log_segment.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const Drain = log_drain.Drain;
const Files = file_layer.Files;
const Leader = @import("log_leader.zig").Leader;
const LogWriter = @import("log_writer.zig").LogWriter;
const SyncTarget = @import("log_writer.zig").SyncTarget;
const Region = region_module.Region;
const Position = @import("version.zig").Position;
const assert = std.debug.assert;

pub const Error = file_layer.Error || catalogue_image.Error || error{
    /// Somebody else leads.
    Deposed,
    /// The predecessor's frames, or the region's versions, are not what they must be.
    Damaged,
};

/// Positions that one write hands over at the most.
const batch_max = 16 * 1024;

pub const Options = struct {
    gpa: std.mem.Allocator,
    files: Files,
    tables: log_drain.Tables,
    /// Bytes of the first segment, unless what is copied into it needs more.
    segment_size: u64 = log_segment.size_first,
};

/// A sync that is under way.
pub const Sync = struct {
    target: SyncTarget,
    /// What is on the disk when it worked.
    position: Position,
};

pub const Keeper = struct {
    options: Options,
    region: *const Region,
    leader: Leader,
    writer: LogWriter,
    drain: Drain,
    /// Of the catalogue whose image was written last.
    catalogue_version: u32 = 0,
    /// The segment that it was written into.
    catalogue_segment: u32 = 0,
    bytes_counted: u64 = 0,

    /// Takes the log over. On success everything up to `leader.drained` is on the disk.
    pub fn begin(options: Options, leader: Leader) Error!Keeper {
        const region = leader.region;
        var self: Keeper = .{
            .options = options,
            .region = region,
            .leader = leader,
            .writer = undefined,
            .drain = .{ .region = region, .tables = options.tables },
        };
        if (!goBehindSnapshot(&self.leader)) return error.Deposed;
        const inheritance = try Inheritance.find(&self);
        defer inheritance.close();
        self.writer = try LogWriter.prepare(options.gpa, options.files, .{
            .store_uuid = region.header.store_uuid,
            .incarnation = region.header.incarnation,
            .leader_epoch = leader.word.epoch,
            .start_position = self.leader.durablePosition() + 1,
            .previous_position = inheritance.previous,
            .size = inheritance.segmentSize(options.segment_size),
            .size_least = options.segment_size,
            .numbers_used = @truncate(region.control.log.segment.load(.acquire)),
        });
        errdefer self.writer.abandon();
        try self.noteCatalogue();
        try inheritance.copyTo(&self.writer);
        try self.writer.publish();
        self.writer.noteDurable(self.writer.last_logged);
        const log = &region.control.log;
        _ = log.logged.fetchMax(self.writer.last_logged, .release);
        self.notePlace();
        _ = log.takeovers.fetchAdd(1, .monotonic);
        if (!self.leader.passDurable(self.leader.drainedPosition())) return error.Deposed;
        _ = log.durable_logged.fetchMax(self.writer.last_logged, .release);
        return self;
    }

    /// Closes the files.
    pub fn end(self: *Keeper) void {
        self.writer.stop();
        self.* = undefined;
    }

    /// Writes everything that is stamped and not in the log yet. True if `drained` moved.
    /// `error.NoSpace` and `error.OutOfMemory` leave what cannot be written for the next time.
    pub fn drainAll(self: *Keeper) Error!bool {
        const before = self.leader.drainedPosition();
        const target = ring.stampedPosition(self.region);
        while (self.leader.drainedPosition() < target) {
            try self.drainSome(@min(target, self.leader.drainedPosition() + batch_max));
        }
        return self.leader.drainedPosition() > before;
    }

    fn drainSome(self: *Keeper, to: Position) Error!void {
        self.leader.beat();
        const from = self.leader.drainedPosition();
        try self.noteCatalogueIfChanged();
        const result = self.drain.range(&self.writer, from, to);
        try self.writer.flush();
        if (result.position > from) try self.publish(result.position);
        const failure = result.failure orelse return;
        switch (failure) {
            error.Astray => return if (self.leader.holds()) error.Damaged else error.Deposed,
            error.UnknownTable => {
                const known = self.drain.tables_known;
                try self.noteCatalogue();
                if (self.drain.tables_known > known) return;
                return if (self.leader.holds()) error.Damaged else error.Deposed;
            },
            else => |other| return other,
        }
    }

    fn publish(self: *Keeper, position: Position) Error!void {
        if (!self.leader.passDrained(position)) return error.Deposed;
        const log = &self.region.control.log;
        _ = log.logged.fetchMax(self.writer.last_logged, .release);
        self.notePlace();
        const counts = &self.drain.counts;
        _ = log.batches.fetchAdd(1, .monotonic);
        _ = log.rows_full.fetchAdd(counts.rows_full, .monotonic);
        _ = log.rows_delta.fetchAdd(counts.rows_delta, .monotonic);
        _ = log.row_bytes_full.fetchAdd(counts.bytes_full, .monotonic);
        _ = log.row_bytes_delta.fetchAdd(counts.bytes_delta, .monotonic);
        counts.* = .{};
        const written = self.writer.bytes_written;
        _ = log.bytes.fetchAdd(written - self.bytes_counted, .monotonic);
        self.bytes_counted = written;
    }

    /// Where the record of `logged` stands; whoever opens the region when nobody has it open looks
    /// there.
    fn notePlace(self: *Keeper) void {
        const log = &self.region.control.log;
        _ = log.segment.fetchMax(self.writer.segmentNumber(), .release);
        const place = self.writer.last_place;
        if (place.number == 0 or place.offset > std.math.maxInt(u32)) return;
        log.logged_place.store(@as(u64, place.number) << 32 | place.offset, .release);
    }

    fn noteCatalogueIfChanged(self: *Keeper) Error!void {
        const version = self.region.control.catalogue.version.load(.acquire);
        const same_segment = self.catalogue_segment == self.writer.segmentNumber();
        if (version == self.catalogue_version and same_segment) return;
        try self.noteCatalogue();
    }

    fn noteCatalogue(self: *Keeper) Error!void {
        const version = self.region.control.catalogue.version.load(.acquire);
        const image = try catalogue_image.encode(self.region, self.options.gpa);
        defer self.options.gpa.free(image);
        try self.writer.note(.catalogue, image);
        self.catalogue_version = version;
        self.catalogue_segment = self.writer.segmentNumber();
        self.drain.tables_known = catalogue_image.tableCount(image).?;
    }

    /// Says what to sync so that everything that was drained is on the disk. One at a time; the
    /// caller syncs without the lock, then calls `endSync`.
    pub fn beginSync(self: *Keeper, is_waited_for: bool) Error!Sync {
        self.leader.beat();
        const target = try self.writer.beginSync();
        if (is_waited_for) try self.writer.fillAhead();
        return .{ .target = target, .position = self.leader.drainedPosition() };
    }

    /// The sync has worked.
    pub fn endSync(self: *Keeper, done: *const Sync) Error!void {
        self.leader.beat();
        self.writer.endSync(&done.target);
        if (!self.leader.passDurable(done.position)) return error.Deposed;
        self.writer.noteDurable(done.target.position);
        const log = &self.region.control.log;
        _ = log.durable_logged.fetchMax(done.target.position, .release);
        _ = log.syncs.fetchAdd(1, .monotonic);
    }

    /// Leaves a mark behind what was synced, unless more is about to be written: then rot in the
    /// last batch that somebody relies on is told from a torn tail.
    pub fn markIfIdle(self: *Keeper) Error!void {
        if (self.leader.durablePosition() < self.leader.drainedPosition()) return;
        if (!self.leader.holds()) return;
        self.writer.tellDurable() catch |err| switch (err) {
            // Nobody waits for a mark.
            error.NoSpace, error.OutOfMemory => {},
            else => return err,
        };
    }
};

/// Takes the watermarks to where the newest snapshot says that the log begins, if that has not been
/// done. A checkpoint begins at or below `durable`: one that begins above it stands in the place of
/// the log. False if somebody else leads.
pub fn goBehindSnapshot(leader: *Leader) bool {
    const log = &leader.region.control.log;
    const start = log.checkpoint_newest.load(.acquire);
    if (start <= leader.durablePosition()) return true;
    // Only a damaged region says so.
    if (start > ring.stampedPosition(leader.region)) return true;
    if (start >= leader.drainedPosition()) {
        _ = log.logged.fetchMax(start, .release);
        // `durable` never passes `drained`.
        if (!leader.passDrained(start)) return false;
    }
    return leader.passDurable(start);
}

/// What the predecessor has written and perhaps not synced.
const Inheritance = struct {
    reader: ?log_reader.LogReader,
    /// The last logged position up to `durable`.
    previous: Position,
    /// Bytes of the frames behind it.
    size: u64,

    fn find(keeper: *const Keeper) Error!Inheritance {
        const leader = &keeper.leader;
        const log = &keeper.region.control.log;
        const logged = log.logged.load(.acquire);
        const from = leader.durablePosition();
        const to = leader.drainedPosition();
        const newest = log.checkpoint_newest.load(.acquire);
        const is_in_snapshot = from == to and logged == from and newest == from;
        // No segment was begun since the region was made: what was before is on the disk.
        if (log.segment.load(.acquire) == 0 or is_in_snapshot) {
            const previous = std.math.clamp(logged, 1, from);
            return .{ .reader = null, .previous = previous, .size = 0 };
        }
        var reader = try log_reader.LogReader.open(keeper.options.gpa, keeper.options.files, .{
            .store_uuid = keeper.region.header.store_uuid,
            .from = from,
            .to = to,
        });
        errdefer reader.close();
        if (reader.verdict == .damaged or reader.last_position < @min(logged, to)) {
            return error.Damaged;
        }
        var self: Inheritance = .{
            .reader = reader,
            .previous = @min(reader.last_position, from),
            .size = 0,
        };
        var first = true;
        var cursor = reader.cursor();
        defer cursor.close();
        while (try cursor.next()) |item| {
            const header = &item.frame.header;
            if (header.kind != .commit and header.kind != .part) continue;
            if (first) self.previous = header.previous;
            first = false;
            self.size += header.length;
        }
        return self;
    }

    fn close(self: *const Inheritance) void {
        if (self.reader) |reader| {
            var mutable = reader;
            mutable.close();
        }
    }

    /// Bytes of a segment that holds all of it, with the catalogue in front.
    fn segmentSize(self: *const Inheritance, size_min: u64) u64 {
        const catalogue = log_frame.header_size + catalogue_image.size_max;
        const fixed = log_segment.header_area + 4 * log_segment.block_size;
        if (self.size == 0) return size_min;
        const needed = fixed + catalogue + self.size;
        return @max(size_min, std.mem.alignForward(u64, needed, log_segment.size_min));
    }

    fn copyTo(self: *const Inheritance, writer: *LogWriter) Error!void {
        const reader = &(self.reader orelse return);
        var cursor = reader.cursor();
        defer cursor.close();
        while (try cursor.next()) |item| switch (item.frame.header.kind) {
            .commit, .part => try writer.copy(&item.frame),
            else => {},
        };
    }
};
