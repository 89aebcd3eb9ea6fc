//! Building a region from files: the newest snapshot that verifies, and the log behind it.
//!
//! `examine` reads the directory and decides what can be had, without a region. `load` then fills a
//! region that nobody else sees. Between the two the caller formats it, because its first position
//! depends on what was found:
//!
//!     snapshots, newest first | the log from its C0 on | what the region will be
//!     rows by several threads | replay | indexes | watermarks
//!
//! What is decided:
//!
//!   * a snapshot that is damaged is passed by; the one before it and a longer log do as well. With
//!     none left, the log must begin with the first position
//!   * a log that ends in what a power cut leaves is cut there, with a warning
//!   * a log that is damaged where it had been promised to be on disk, or that does not reach L1 of
//!     the snapshot, is refused with `corrupt`. `salvage: prefix` opens what stands before the
//!     damage; then a new snapshot is written, and the old segments are kept under other names
//!   * files of another store are refused, never passed by
//!   * a snapshot that stands in the place of a log that was lost (`log_repair.zig`) needs no log;
//!     if whoever wrote it was killed before the next segment, that is begun here
//!
//! No file is changed or removed, apart from the renaming after a salvage. So a recovery that is
//! killed or fails anywhere is simply done again: the region is named only when it is complete, and
//! positions begin 2^32 above the last one that was found, in the next incarnation, so that none of
//! them was used before with another content.

const std = @import("std");
const catalogue_image = @import("catalogue_image.zig");
const checkpoint = @import("checkpoint.zig");
const file_layer = @import("file_layer.zig");
const index_load = @import("index_load.zig");
const limits = @import("limits.zig");
const log_reader = @import("log_reader.zig");
const log_replay = @import("log_replay.zig");
const log_segment = @import("log_segment.zig");
const region_loader = @import("region_loader.zig");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const sync = @import("sync");
const version_module = @import("version.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const Detail = status.Detail;
const Files = file_layer.Files;
const Damage = log_reader.Damage;
const LogReader = log_reader.LogReader;
const LogWriter = @import("log_writer.zig").LogWriter;
const Position = version_module.Position;
const Region = region_module.Region;
const Session = session_module.Session;
const Shm = sync.Shm;
const Snapshot = snapshot_file.Snapshot;
const TableInfo = @import("table_info.zig").TableInfo;

pub const Error = checkpoint.Error;

/// Position 1 is the empty store.
const position_first: Position = 1;
/// Positions that are left out after a recovery: more than can have been taken and lost.
pub const position_gap: Position = 1 << 32;

pub const Salvage = enum {
    /// Refuse a log that is damaged in its middle.
    none,
    /// Go on with what stands before the damage.
    prefix,
};

pub const Phase = enum(u32) {
    /// Reading and checking snapshots and the log; in files.
    examine = 0,
    /// Loading a snapshot; in rows.
    load = 1,
    /// Applying the log; in rows.
    replay = 2,
    /// Building indexes; in indexes.
    index = 3,
};

pub const Progress = struct {
    context: *anyopaque,
    report: *const fn (context: *anyopaque, phase: Phase, done: u64, total: u64) void,

    fn ignore(_: *anyopaque, _: Phase, _: u64, _: u64) void {}
    var nobody: u8 = 0;
    pub const none: Progress = .{ .context = &nobody, .report = ignore };
};

pub const Options = struct {
    store_uuid: [16]u8,
    salvage: Salvage = .none,
    progress: Progress = .none,
    /// Threads that load. A power of two.
    worker_count: u32 = 1,
};

/// What a directory holds, and what the region made of it will be.
pub const Plan = struct {
    files: Files,
    gpa: std.mem.Allocator,
    options: Options,
    /// Null: everything is in the log.
    snapshot: ?Snapshot,
    log: LogReader,
    /// The last position that is recovered.
    last: Position,
    /// The position with which the region begins.
    start: Position,
    incarnation: u64,
    /// Number of the newest segment, 0 if there is none.
    segment: u32,
    /// The log is cut by force.
    salvaged: bool,
    /// What the owner should know, for example that a torn end was cut; may be empty.
    warning: Detail = .{},

    pub fn deinit(plan: *Plan) void {
        if (plan.snapshot) |*snapshot| snapshot.close();
        plan.log.close();
    }

    /// True if there is nothing to recover: no snapshot, and no segment.
    pub fn isEmpty(plan: *const Plan) bool {
        return plan.snapshot == null and plan.segment == 0;
    }

    /// For `region.format`.
    pub fn identity(plan: *const Plan, boot_id: [16]u8) region_module.Identity {
        return .{
            .store_uuid = plan.options.store_uuid,
            .boot_id = boot_id,
            .incarnation = plan.incarnation,
            .start_position = plan.start,
        };
    }
};

/// Reads the snapshots and the log of a directory and decides what can be recovered. `detail` says
/// why nothing can. The caller ends the plan by `deinit`.
pub fn examine(
    files: Files,
    gpa: std.mem.Allocator,
    options: Options,
    detail: *Detail,
) Error!Plan {
    var search: Search = .{ .files = files, .gpa = gpa, .options = options, .detail = detail };
    return search.run();
}

const Search = struct {
    files: Files,
    gpa: std.mem.Allocator,
    options: Options,
    detail: *Detail,
    warning: Detail = .{},
    /// Files that have the name of a snapshot.
    snapshots: usize = 0,

    fn run(search: *Search) Error!Plan {
        const starts = snapshot_file.list(search.files, search.gpa) catch |err|
            return checkpoint.statusOf(err);
        defer search.gpa.free(starts);
        search.snapshots = starts.len;
        for (starts, 0..) |start, i| {
            search.report(i, starts.len + 1);
            var snapshot = search.openSnapshot(start) catch |err| {
                if (err != error.Corrupt) return err;
                continue;
            };
            return search.withSnapshot(&snapshot) catch |err| {
                snapshot.close();
                if (err != error.Corrupt or search.options.salvage == .none) return err;
                continue;
            };
        }
        return search.withSnapshot(null);
    }

    fn report(search: *const Search, done: usize, total: usize) void {
        const progress = search.options.progress;
        progress.report(progress.context, .examine, done, total);
    }

    fn openSnapshot(search: *Search, start: Position) Error!Snapshot {
        const name: snapshot_file.Name = .of(start);
        const uuid = search.options.store_uuid;
        var snapshot = Snapshot.open(search.files, search.gpa, uuid, start) catch |err| {
            search.damagedSnapshot(name.slice(), err);
            return checkpoint.statusOf(err);
        };
        snapshot.verify() catch |err| {
            snapshot.close();
            search.damagedSnapshot(name.slice(), err);
            return checkpoint.statusOf(err);
        };
        return snapshot;
    }

    fn damagedSnapshot(search: *Search, name: []const u8, err: snapshot_file.Error) void {
        search.detail.set("cannot read \"{s}\": {s}", .{ name, switch (err) {
            error.Corrupt => "it is damaged, or belongs to another database",
            else => @errorName(err),
        } });
        search.warning = search.detail.*;
    }

    /// Decides about the log behind a snapshot, or from the first position on. Takes the snapshot
    /// over if it succeeds.
    fn withSnapshot(search: *Search, snapshot: ?*Snapshot) Error!Plan {
        const from = if (snapshot) |s| s.footer.start else position_first;
        const converged = if (snapshot) |s| s.footer.end else position_first;
        const required = if (snapshot) |s| s.footer.logged else 0;
        var log = LogReader.open(search.gpa, search.files, .{
            .store_uuid = search.options.store_uuid,
            .from = from,
            .required = if (required > from) required else position_first,
            .begins = if (snapshot) |s| s.logBegins() else null,
        }) catch |err| return checkpoint.statusOf(err);
        errdefer log.close();
        if (snapshot == null and search.snapshots > 0 and log.newest() == null) {
            return error.Corrupt; // `detail` says what is wrong with the snapshots
        }
        var salvaged = false;
        switch (log.verdict) {
            .clean => search.warnOfHeadless(&log),
            .torn => |place| search.warning.set(
                "the log ended torn behind position {d} (\"{s}\", byte {d}): what followed had " ++
                    "not reached the disk",
                .{ log.last_position, log_segment.Name.of(place.number).slice(), place.offset },
            ),
            .damaged => |damage| {
                search.describe(&damage);
                if (search.options.salvage == .none) return error.Corrupt;
                if (!canSalvage(&log, damage.reason, @max(required, from))) return error.Corrupt;
                search.warning = search.detail.*;
                salvaged = true;
            },
        }
        return search.planOf(snapshot, log, @max(log.last_position, converged), salvaged);
    }

    /// A segment without a readable header is what a power cut leaves of one that was just begun,
    /// or all that is left of one that was damaged.
    fn warnOfHeadless(search: *Search, log: *const LogReader) void {
        for (log.listed) |*file| {
            if (file.found != .damaged) continue;
            const name: log_segment.Name = .of(file.number);
            search.warning.set("the header of \"{s}\" cannot be read, and nothing in it counts", .{
                name.slice(),
            });
        }
    }

    /// Whether what stands before the damage is the state of some position. That of a snapshot is
    /// so only from L1 on, because the snapshot is fuzzy.
    fn canSalvage(log: *const LogReader, reason: Damage.Reason, required: Position) bool {
        return switch (reason) {
            .other_store, .other_format, .misnamed => false,
            .start_missing => false,
            .frames, .segment_missing, .file_cut => log.last_position >= required,
            .required_missing => false,
        };
    }

    fn planOf(
        search: *const Search,
        snapshot: ?*Snapshot,
        log: LogReader,
        last: Position,
        salvaged: bool,
    ) Plan {
        const newest = log.newest();
        var incarnation: u64 = if (snapshot) |s| s.header.incarnation else 0;
        var highest = last;
        for (log.listed) |*file| {
            if (file.found != .header) continue;
            incarnation = @max(incarnation, file.found.header.incarnation);
            highest = @max(highest, file.found.header.start_position);
        }
        if (log.verdict == .damaged) highest = @max(highest, log.verdict.damaged.last);
        const is_new = snapshot == null and newest == null;
        return .{
            .files = search.files,
            .gpa = search.gpa,
            .options = search.options,
            .snapshot = if (snapshot) |s| s.* else null,
            .log = log,
            .last = last,
            .start = if (is_new) position_first else highest + position_gap,
            .incarnation = incarnation + 1,
            .segment = if (newest) |header| header.number else 0,
            .salvaged = salvaged,
            .warning = search.warning,
        };
    }

    fn describe(search: *Search, damage: *const Damage) void {
        const what = switch (damage.reason) {
            .frames => "frames are missing or cannot be read",
            .segment_missing => "a file is missing",
            .start_missing => "it begins too late",
            .file_cut => "the file is too short",
            .required_missing => "it ends before a position that was on the disk",
            .other_store => "the file belongs to another database",
            .other_format => "the file has the format of another version",
            .misnamed => "the file had another name",
        };
        const name: log_segment.Name = .of(damage.place.number);
        search.detail.set("the log is damaged in \"{s}\" at byte {d}: {s}; positions {d} to " ++
            "{d} are concerned", .{
            name.slice(), damage.place.offset, what, damage.first, damage.last,
        });
    }
};

/// What a recovery has done.
pub const Report = struct {
    rows_loaded: u64,
    /// Rows in the log that changed something.
    rows_replayed: u64,
    /// C0 of the snapshot, 0 if there was none.
    snapshot: Position,
    /// The last position that came back.
    last: Position,
    /// The log was cut here, because it ended torn or by a salvage; 0 if it ended in order.
    cut_at: Position,
    salvaged: bool,
    /// What the owner should know; may be empty.
    warning: Detail,
    /// Set by the caller.
    ns: u64 = 0,
};

/// Whether the directory has any file that a region can be built from.
pub fn hasFiles(files: Files, gpa: std.mem.Allocator) snapshot_file.Error!bool {
    const snapshots = try snapshot_file.list(files, gpa);
    defer gpa.free(snapshots);
    const segments = try log_segment.numbers(files, gpa);
    defer gpa.free(segments);
    return snapshots.len > 0 or segments.len > 0;
}

/// Fills a region that was formatted with the plan's identity. `detail` says what went wrong.
///
/// Fails with `error.RegionFull` if the rows do not fit: the region may then be made larger.
pub fn load(plan: *Plan, region: *const Region, detail: *Detail) Error!Report {
    var catalogue: Catalogue = .init(region, plan.gpa);
    defer catalogue.deinit();
    var filling: Filling = .{
        .plan = plan,
        .region = region,
        .catalogue = &catalogue,
        .detail = detail,
    };
    try filling.declareTables();
    const report = try filling.fill();
    filling.setWatermarks();
    if (plan.salvaged) try filling.settleSalvage() else try filling.settleRepair();
    return report;
}

const Filling = struct {
    plan: *Plan,
    region: *const Region,
    catalogue: *Catalogue,
    detail: *Detail,
    tables: [limits.table_count_max]?*const TableInfo = @splat(null),
    loader: region_loader.Loader = undefined,
    /// The last logged position that is sure to be on the disk.
    durable: Position = position_first,
    /// The next block of the snapshot.
    block: Shm(u64) = .init(0),
    rows_loaded: Shm(u64) = .init(0),

    /// Makes all tables that the snapshot or the log knows, so that every row finds its own.
    fn declareTables(filling: *Filling) Error!void {
        const plan = filling.plan;
        if (plan.snapshot) |*snapshot| {
            try catalogue_image.apply(filling.catalogue, snapshot.catalogue, filling.detail);
        }
        filling.durable = plan.log.durable_hint;
        if (plan.log.newest()) |header| {
            filling.durable = @max(filling.durable, header.durable_hint);
        }
        if (plan.snapshot) |*s| {
            filling.durable = @max(filling.durable, s.footer.logged, s.footer.start);
        }
        var images = plan.log.catalogues();
        defer images.close();
        while (images.next() catch |err| return checkpoint.statusOf(err)) |image| {
            try catalogue_image.apply(filling.catalogue, image, filling.detail);
        }
        for (0..try filling.catalogue.refresh()) |id| {
            filling.tables[id] = &(try filling.catalogue.table(@intCast(id))).table;
        }
    }

    /// Says where the log stands. What is not known to be on the disk is not durable yet: whoever
    /// leads next copies it into a segment of its own.
    fn setWatermarks(filling: *Filling) void {
        const control = filling.region.control;
        control.log.logged.store(filling.plan.log.last_position, .release);
        control.log.segment.store(filling.plan.segment, .release);
        if (filling.plan.isEmpty()) return;
        control.durable.word.store(filling.durable, .release);
        const snapshot = &(filling.plan.snapshot orelse return);
        control.log.checkpoint_newest.store(snapshot.footer.start, .release);
        control.shared.checkpoint_start.store(snapshot.footer.start, .release);
    }

    fn fill(filling: *Filling) Error!Report {
        const plan = filling.plan;
        const loader = &filling.loader;
        loader.init(filling.region, plan.gpa, plan.options.worker_count);
        defer loader.deinit();
        if (plan.snapshot != null) {
            loader.run(filling, loadBlocks) catch |err|
                return filling.explain(err, "load the rows");
        }
        var replay: log_replay.Replay = .{
            .log = &plan.log,
            .tables = &filling.tables,
            .start = if (plan.snapshot) |*s| s.footer.start else position_first,
            .converged = if (plan.snapshot) |*s| s.footer.end else position_first,
            .rows_total = plan.log.rows,
            .progress = .{ .context = filling, .report = reportReplay },
        };
        replay.run(loader) catch |err| {
            if (err != error.Corrupt) return filling.explain(err, "apply the log");
            filling.detail.set("the log cannot be applied at position {d}: the row that it " ++
                "changes is missing, or its record is damaged", .{
                replay.bad_position.load(.monotonic),
            });
            return err;
        };
        index_load.buildAll(loader, &filling.tables, plan.start, .{
            .context = filling,
            .report = reportIndexes,
        }) catch |err| return filling.explain(err, "build the indexes");
        const is_cut = plan.salvaged or plan.log.verdict != .clean;
        return .{
            .rows_loaded = filling.rows_loaded.load(.monotonic),
            .rows_replayed = replay.rows_applied.load(.monotonic),
            .snapshot = if (plan.snapshot) |*s| s.footer.start else 0,
            .last = plan.last,
            .cut_at = if (is_cut) plan.last else 0,
            .salvaged = plan.salvaged,
            .warning = plan.warning,
        };
    }

    fn explain(filling: *Filling, err: Error, comptime what: []const u8) Error {
        switch (err) {
            error.RegionFull => filling.detail.set("the region of {d} bytes is too small to " ++
                what ++ ": open the database with a larger size", .{
                filling.region.header.size_max,
            }),
            else => filling.detail.set("cannot " ++ what ++ ": {s}", .{@errorName(err)}),
        }
        return err;
    }

    /// Loads blocks of the snapshot until none is left. Runs in every worker.
    fn loadBlocks(filling: *Filling, worker: *region_loader.Worker) region_loader.Error!void {
        const snapshot = &filling.plan.snapshot.?;
        const gpa = filling.plan.gpa;
        const buffer = try gpa.alignedAlloc(u8, .@"8", snapshot_file.block_size);
        defer gpa.free(buffer);
        while (!worker.loader.isFailed()) {
            const number = filling.block.fetchAdd(1, .monotonic);
            if (number >= snapshot.footer.blocks) return;
            const into = buffer[0..snapshot_file.block_size];
            var rows = snapshot.readBlock(number, into) catch |err|
                return if (err == error.Corrupt) error.Corrupt else error.IoError;
            var queue: region_loader.Queue = .{ .worker = worker };
            while (try rows.next()) |entry| {
                if (entry.table >= filling.tables.len) return error.Corrupt;
                const table = filling.tables[entry.table] orelse return error.Corrupt;
                try queue.insert(table, entry.position, entry.row);
            }
            try queue.finish();
            const loaded = filling.rows_loaded.fetchAdd(rows.count, .monotonic) + rows.count;
            if (worker.index == 0) filling.report(.load, loaded, snapshot.footer.rows);
        }
    }

    fn report(filling: *const Filling, phase: Phase, done: u64, total: u64) void {
        const progress = filling.plan.options.progress;
        progress.report(progress.context, phase, done, total);
    }

    fn reportReplay(context: *anyopaque, done: u64, total: u64) void {
        const filling: *const Filling = @ptrCast(@alignCast(context));
        filling.report(.replay, done, total);
    }

    fn reportIndexes(context: *anyopaque, done: u64, total: u64) void {
        const filling: *const Filling = @ptrCast(@alignCast(context));
        filling.report(.index, done, total);
    }

    /// Begins the log anew behind the snapshot, which has everything up to `previous`. Returns the
    /// number of the segment.
    fn beginLog(filling: *Filling, previous: Position) log_reader.Error!u32 {
        const plan = filling.plan;
        var writer: LogWriter = try .start(plan.gpa, plan.files, .{
            .store_uuid = plan.options.store_uuid,
            .incarnation = plan.incarnation,
            .leader_epoch = 0,
            .start_position = plan.start + 1,
            .previous_position = previous,
            .size = log_segment.size_min,
        });
        defer writer.stop();
        return writer.segmentNumber();
    }

    /// After a repair whose owner did not come to begin the log: nothing of the old one may be
    /// asked any more.
    fn settleRepair(filling: *Filling) Error!void {
        const plan = filling.plan;
        const snapshot = &(plan.snapshot orelse return);
        if (snapshot.logBegins() == null or plan.log.live.len > 0) return;
        const segment = filling.beginLog(plan.last) catch |err| return checkpoint.statusOf(err);
        const control = filling.region.control;
        control.log.segment.store(segment, .release);
        control.durable.word.store(plan.start, .release);
    }

    /// After a salvage the directory must not hold the damage any more: writes what was saved as a
    /// snapshot of its own, and gives the old segments other names. They are evidence.
    fn settleSalvage(filling: *Filling) Error!void {
        const plan = filling.plan;
        const claim = session_module.processClaim(0, 1);
        const session: *Session = try .open(filling.region, plan.gpa, claim);
        defer session.close();
        _ = try checkpoint.run(plan.files, plan.gpa, session, filling.catalogue, .{
            .store_uuid = plan.options.store_uuid,
            .incarnation = plan.incarnation,
            .log = .{ .begin = 0 },
        });
        const numbers = log_segment.numbers(plan.files, plan.gpa) catch |err|
            return checkpoint.statusOf(err);
        defer plan.gpa.free(numbers);
        // So that nobody asks the old ones, which are about to have other names.
        const segment = filling.beginLog(plan.start) catch |err| return checkpoint.statusOf(err);
        for (numbers) |number| {
            const name: log_segment.Name = .of(number);
            var buffer: [file_layer.name_size_max]u8 = undefined;
            const aside = std.fmt.bufPrint(&buffer, "{s}.damaged", .{name.slice()}) catch
                unreachable; // 35 bytes
            plan.files.rename(name.slice(), aside) catch |err| return checkpoint.statusOf(err);
        }
        plan.files.syncDirectory() catch |err| return checkpoint.statusOf(err);
        const control = filling.region.control;
        control.log.logged.store(plan.start, .release);
        control.log.segment.store(segment, .release);
        control.durable.word.store(plan.start, .release);
    }
};
