//! Checkpoints: writing a snapshot while others commit. What it makes superfluous goes afterwards
//! (`truncation.zig`).
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
//!   * one that takes the name of a snapshot that stands in the place of the log, because nothing
//!     was committed since, stands in that place as well: there may be no segment
//!
//! Killed before the rename: the next checkpoint takes the file in the making. Killed after it:
//! superfluous files stay until the next checkpoint.

const std = @import("std");
const catalogue_image = @import("catalogue_image.zig");
const checkpoint_pace = @import("checkpoint_pace.zig");
const file_layer = @import("file_layer.zig");
const reader = @import("reader.zig");
const region_module = @import("region.zig");
const ring = @import("commit_ring.zig");
const row_module = @import("row.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const truncation = @import("truncation.zig");
const version_module = @import("version.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const Files = file_layer.Files;
const Head = version_module.Head;
const Position = version_module.Position;
const Region = region_module.Region;
const RelPtr = version_module.RelPtr;
const Session = @import("session.zig").Session;
const TableInfo = @import("table_info.zig").TableInfo;
const assert = std.debug.assert;

pub const Error = status.Error || error{OutOfMemory};

pub const Options = struct {
    store_uuid: [16]u8,
    incarnation: u64,
    /// Bytes per second to write at most; 0 for no limit.
    rate_max: u64 = 0,
    clock: checkpoint_pace.Clock = .system,
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
    /// Files that were superfluous and could not be removed.
    files_left: u32 = 0,
};

/// Writes a snapshot as `run` does, and removes what it makes superfluous. Where the disk is full,
/// the older snapshot gives its room.
pub fn replace(
    files: Files,
    gpa: std.mem.Allocator,
    session: *Session,
    catalogue: *Catalogue,
    options: Options,
) Error!Result {
    const old: truncation.Options = .{
        .files = files,
        .gpa = gpa,
        .store_uuid = options.store_uuid,
        .active = session.region.control.log.segment.load(.acquire),
        .durable = ring.durablePosition(session.region),
    };
    var result = run(files, gpa, session, catalogue, options) catch |err| again: {
        if (err != error.DiskFull) return err;
        const has_room = truncation.giveUpOlder(old) catch |failure| return statusOf(failure);
        if (!has_room) return err;
        break :again try run(files, gpa, session, catalogue, options);
    };
    result.files_left = try truncation.run(old);
    return result;
}

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
        .files = files,
        .session = session,
        .writer = &writer,
        .options = &options,
        .start = start,
        .pace = .begin(options.rate_max, options.clock),
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
    files: Files,
    session: *Session,
    writer: *snapshot_file.Writer,
    options: *const Options,
    start: Position,
    pace: checkpoint_pace.Pace,
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
            .flush => |log| {
                const logged = try log.wait(log.context, end);
                if (end == scan.start) if (scan.logBegins()) |epoch| {
                    return .{ .position = end, .logged = 0, .begins_log = epoch };
                };
                return .{ .position = end, .logged = logged };
            },
        };
    }

    /// The first leader whose segments count, if the snapshot that has our name by now says so.
    fn logBegins(scan: *const Scan) ?u32 {
        const header = &scan.writer.header;
        const uuid = header.store_uuid;
        const start = scan.start;
        var old = snapshot_file.Snapshot.open(scan.files, scan.writer.gpa, uuid, start) catch
            return null;
        defer old.close();
        const begins = old.logBegins() orelse return null;
        if (begins.incarnation != header.incarnation) return null;
        return @intCast(begins.leader_epoch);
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
        const bytes = scan.writer.flush() catch |err| return statusOf(err);
        const log = &scan.session.region.control.log;
        log.checkpoint_rows.store(scan.writer.rows, .monotonic);
        if (scan.options.progress) |progress| {
            progress.report(progress.context, scan.writer.rows, scan.total);
        }
        scan.pace.keep(bytes);
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
