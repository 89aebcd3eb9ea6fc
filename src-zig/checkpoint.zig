//! Checkpoints: writing a snapshot while others commit, and letting go of what it makes
//! superfluous.
//!
//!     C0 = drained | the catalogue | rows, a thousand to a pin | C1 = next | the log is on disk
//!     to C1 | footer, sync, rename, sync of the directory | old snapshots and segments go
//!
//! The scan is fuzzy: each row is taken as it is when the scan comes by. That is enough, because
//! the log from C0 on is replayed over it, and a frame changes a row only if its position is
//! larger than the row's. What was committed at or before C0 is found by the scan, or superseded
//! or deleted by something behind C0. No pin lasts longer than a thousand rows: a snapshot of one
//! position would hold back every version that is superseded meanwhile.
//!
//! Rules:
//!
//!   * one process at a time writes snapshots into a directory: the holder of lock byte 2
//!   * C0 is taken before the catalogue is read: what is declared later is in the log behind C0
//!   * the snapshot gets its name only when the log is on disk up to C1. Rows of it may be as late
//!     as that, and what is committed before them must not be lost when they are not
//!   * the two newest snapshots stay, and every segment that the older of them needs
//!
//! Killed before the rename: the next checkpoint removes the file in the making. Killed after it:
//! superfluous files stay until the next checkpoint.

const std = @import("std");
const sync = @import("sync");
const catalogue_image = @import("catalogue_image.zig");
const file_layer = @import("file_layer.zig");
const log_segment = @import("log_segment.zig");
const log_reader = @import("log_reader.zig");
const reader = @import("reader.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const row_module = @import("row.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const version_module = @import("version.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const Files = file_layer.Files;
const Head = version_module.Head;
const LogReader = log_reader.LogReader;
const Position = version_module.Position;
const Region = region_module.Region;
const RelPtr = version_module.RelPtr;
const Session = @import("session.zig").Session;
const TableInfo = @import("table_info.zig").TableInfo;
const assert = std.debug.assert;

pub const Error = status.Error || error{OutOfMemory};

/// Snapshots that stay.
const generations = 2;

pub const Options = struct {
    store_uuid: [16]u8,
    incarnation: u64,
    /// Bytes per second to write at most; 0 for no limit.
    rate_max: u64 = 0,
    /// Rows that are taken under one pin.
    rows_per_pin: u32 = 1000,
    /// How to bring the log to the disk.
    log: Log,
    progress: ?Progress = null,

    pub const Log = union(enum) {
        /// Nobody commits until the snapshot is done, which then stands in the place of all that
        /// was logged by leaders before this epoch: C0 = C1, no L1. `error.Busy` if somebody did.
        begin: u32,
        flush: Flush,
    };

    pub const Flush = struct {
        context: *anyopaque,
        /// Waits until the log is on disk up to `position`. Returns the last logged position that
        /// is on disk then, 0 if nothing was ever logged.
        wait: *const fn (context: *anyopaque, position: Position) Error!Position,
    };

    pub const Progress = struct {
        context: *anyopaque,
        /// Rows so far, and about how many there are.
        report: *const fn (context: *anyopaque, done: u64, total: u64) void,
    };
};

pub const Result = struct {
    start: Position,
    end: Position,
    logged: Position,
    rows: u64,
    bytes: u64,
};

/// Writes a snapshot of the region. The session is not pinned and runs no transaction. The caller
/// holds lock byte 2 of the directory that `files` is.
pub fn run(
    files: Files,
    gpa: std.mem.Allocator,
    session: *Session,
    catalogue: *Catalogue,
    options: Options,
) Error!Result {
    const region = session.region;
    const start = switch (options.log) {
        .begin => region.control.next.word.load(.acquire),
        .flush => ring.drainedPosition(region),
    };
    // From here on the log has a whole row where it would have a change of one from before.
    _ = region.control.shared.checkpoint_start.fetchMax(start, .acq_rel);
    const image = try catalogue_image.encode(region, gpa);
    defer gpa.free(image);
    var writer = snapshot_file.Writer.create(files, gpa, .{
        .store_uuid = options.store_uuid,
        .incarnation = options.incarnation,
        .position = start,
    }, image) catch |err| return statusOf(err);

    var scan: Scan = .{
        .session = session,
        .writer = &writer,
        .options = &options,
        .start = start,
        .started_ns = sync.nowNs(),
        .total = totalRows(region, catalogue_image.tableCount(image).?),
    };
    const log = &region.control.log;
    log.checkpoint_rows_expected.store(scan.total, .monotonic);
    defer {
        log.checkpoint_rows_expected.store(0, .monotonic);
        log.checkpoint_rows.store(0, .monotonic);
    }
    const ending = scan.all(catalogue, image) catch |err| {
        writer.abandon();
        return err;
    };
    const footer = writer.finish(ending) catch |err| return statusOf(err);
    return .{
        .start = start,
        .end = ending.position,
        .logged = ending.logged,
        .rows = footer.rows,
        .bytes = footer.file_size,
    };
}

fn totalRows(region: *const Region, tables: u8) u64 {
    var total: u64 = 0;
    for (0..tables) |table| total += @import("row_count.zig").total(region, @intCast(table));
    return total;
}

const Scan = struct {
    session: *Session,
    writer: *snapshot_file.Writer,
    options: *const Options,
    start: Position,
    started_ns: u64,
    bytes: u64 = 0,
    total: u64,

    /// Writes all rows.
    fn all(
        scan: *Scan,
        catalogue: *Catalogue,
        image: []const u8,
    ) Error!snapshot_file.Writer.Ending {
        const region = scan.session.region;
        for (0..catalogue_image.tableCount(image).?) |id| {
            const schema = try catalogue.table(@intCast(id));
            try scan.oneTable(&schema.table);
        }
        const end = region.control.next.word.load(.acquire);
        return switch (scan.options.log) {
            .begin => |epoch| if (end == scan.start)
                .{ .position = end, .logged = 0, .begins_log = epoch }
            else
                error.Busy,
            .flush => |log| .{ .position = end, .logged = try log.wait(log.context, end) },
        };
    }

    fn oneTable(scan: *Scan, table: *const TableInfo) Error!void {
        var nodes: reader.Nodes = .init(scan.session.region, table);
        while (true) {
            scan.session.pin();
            const more = scan.some(table, &nodes);
            scan.session.unpin();
            try scan.flush();
            if (!try more) return;
        }
    }

    /// Takes rows under one pin. False if there are no more.
    fn some(scan: *Scan, table: *const TableInfo, nodes: *reader.Nodes) Error!bool {
        const region = scan.session.region;
        for (0..scan.options.rows_per_pin) |_| {
            if (!scan.writer.hasRoom()) return true;
            const node = nodes.next() orelse return false;
            const latest = latestOf(region, node) orelse continue;
            const row = try reader.rowAt(region, table, latest.version);
            scan.writer.add(@intCast(table.id), latest.position, row);
        }
        return true;
    }

    /// Writes what is complete, and waits if that was too fast.
    fn flush(scan: *Scan) Error!void {
        scan.bytes += scan.writer.flush() catch |err| return statusOf(err);
        const log = &scan.session.region.control.log;
        log.checkpoint_rows.store(scan.writer.rows, .monotonic);
        if (scan.options.progress) |progress| {
            progress.report(progress.context, scan.writer.rows, scan.total);
        }
        const rate = scan.options.rate_max;
        if (rate == 0) return;
        const wanted_ns = @as(u128, scan.bytes) * std.time.ns_per_s / rate;
        const taken_ns = sync.nowNs() -% scan.started_ns;
        if (wanted_ns > taken_ns) sync.sleepNs(@intCast(wanted_ns - taken_ns));
    }
};

const Latest = struct { version: RelPtr, position: Position };

/// The latest committed version of a row and its position; null if there is none or it is deleted.
fn latestOf(region: *const Region, node: RelPtr) ?Latest {
    const head = Head.from(version_module.nodeAt(region, node).head.load(.acquire));
    if (head.state == .dead) return null;
    var at = head.version;
    while (at != 0) {
        const version = version_module.versionAt(region, at);
        switch (ring.resolve(region, version)) {
            .committed => |position| {
                if (version.isTombstone()) return null;
                return .{ .version = at, .position = position };
            },
            else => at = version.prev.load(.acquire),
        }
    }
    return null;
}

/// Removes snapshots beyond the two newest, and the segments of the log that neither needs. Files
/// that cannot be read stay where they are.
pub fn truncate(files: Files, gpa: std.mem.Allocator, store_uuid: [16]u8) Error!void {
    const starts = snapshot_file.list(files, gpa) catch |err| return statusOf(err);
    defer gpa.free(starts);
    if (starts.len < generations) return;
    for (starts[generations..]) |old| {
        const name: snapshot_file.Name = .of(old);
        files.unlink(name.slice()) catch |err| if (err != error.NotExist) return statusOf(err);
    }
    const needed = starts[generations - 1];
    removeSegments(files, gpa, store_uuid, needed) catch |err| return statusOf(err);
}

/// Removes the segments that nobody needs who has everything up to `needed`.
fn removeSegments(
    files: Files,
    gpa: std.mem.Allocator,
    store_uuid: [16]u8,
    needed: Position,
) snapshot_file.Error!void {
    const options: log_reader.Options = .{ .store_uuid = store_uuid, .from = needed, .to = needed };
    var log = LogReader.open(gpa, files, options) catch |err|
        return if (err == error.IoError) {} else err;
    defer log.close();
    const first = log.neededFor(needed) orelse return;
    for (log.listed) |*file| {
        if (file.found != .header or !file.found.header.isBefore(first)) continue;
        const name: log_segment.Name = .of(file.number);
        files.unlink(name.slice()) catch |err| if (err != error.NotExist) return err;
    }
}

/// The status of what went wrong with a file.
pub fn statusOf(err: snapshot_file.Error) Error {
    return switch (err) {
        error.Corrupt => error.Corrupt,
        error.OutOfMemory => error.OutOfMemory,
        error.NoSpace => error.DiskFull,
        error.PermissionDenied => error.PermissionDenied,
        error.UnsupportedPlatform => error.UnsupportedPlatform,
        error.BadPath => error.BadArgument,
        error.NotExist, error.Exists, error.NotDirectory, error.IoError => error.IoError,
    };
}
