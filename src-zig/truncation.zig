//! Letting go of the files that a snapshot makes superfluous.
//!
//! The two newest snapshots stay, and every segment that the older of them needs. What goes:
//!
//!   * older snapshots
//!   * segments before the one in which the log goes on behind the older snapshot's C0. Their
//!     headers say so, nothing else of them is read
//!   * spares without a header that a killed leader has left: whoever leads now writes behind them
//!
//! A file that cannot be looked at or removed stays, and keeps nothing else from going: it is
//! counted, and tried again after the next snapshot. To be without a header that cannot be read
//! never makes a later segment the first that is needed, so nothing goes that would stay otherwise.
//!
//! When the disk is full, `giveUpOlder` gives up what only the older snapshot needs, and its file
//! becomes `snapshot.tmp`: the reserve for the next snapshot, as large as one of this database is.
//! It is never free in between, or the log would take it. What else there is room for then makes it
//! a little larger. Where there is no older snapshot, because the log from its beginning on did as
//! well, that part of the log goes, and all of the reserve is made of the room that it gives back.
//! Before that
//!
//!   * the newest snapshot is read and verified, and the log from its C0 to its L1
//!   * its name is synced
//!
//! so recovery would not have looked at what goes. Killed anywhere: the newest snapshot and all
//! that it needs are there, and the next checkpoint takes `snapshot.tmp`, whatever is in it.
//!
//! When nobody can lead because no segment fits, a snapshot in the place of the log is written
//! (`log_repair.zig`), and `removeReplaced` removes all segments that it makes void, under the same
//! conditions. Neither of the two removes what the next leader has to copy: segments that are
//! needed behind the region's `durable`.
//!
//! Names that are removed are not synced: who has lost power finds some of the files again, and
//! they are superfluous as before. Killed anywhere: the next checkpoint goes on.

const std = @import("std");
const file_layer = @import("file_layer.zig");
const log_reader = @import("log_reader.zig");
const segment = @import("log_segment.zig");
const snapshot_file = @import("snapshot_file.zig");
const Files = file_layer.Files;
const Listed = log_reader.Listed;
const LogReader = log_reader.LogReader;
const Position = @import("version.zig").Position;
const Snapshot = snapshot_file.Snapshot;

/// Snapshots that stay.
const generations = 2;
/// The next one may be larger than the last one by this share of it.
const growth_share = 8;

pub const Options = struct {
    files: Files,
    gpa: std.mem.Allocator,
    store_uuid: segment.Uuid,
    /// The number of the segment that is written now; 0 if it is not known.
    active: u64 = 0,
    /// The region has everything up to there on the disk, in the log or in a snapshot.
    durable: Position = std.math.maxInt(Position),
};

/// Removes what the newest snapshots make superfluous. Returns how many files it could not look at
/// or remove.
pub fn run(options: Options) error{OutOfMemory}!u32 {
    const starts = snapshot_file.list(options.files, options.gpa) catch |err|
        return if (err == error.OutOfMemory) error.OutOfMemory else 1;
    defer options.gpa.free(starts);
    if (starts.len < generations) return 0;
    var count: Count = .{};
    for (starts[generations..]) |old| {
        count.remove(options.files, snapshot_file.Name.of(old).slice());
    }
    try removeSegments(options, starts[generations - 1], &count);
    return count.left;
}

/// Gives up everything that the newest snapshot does not need, and makes a reserve for the next
/// one. False if there is nothing to give up, or if the newest snapshot cannot be relied on.
pub fn giveUpOlder(options: Options) snapshot_file.Error!bool {
    const files = options.files;
    const starts = try snapshot_file.list(files, options.gpa);
    defer options.gpa.free(starts);
    if (starts.len == 0) return false;
    const newest = try reliable(options, starts[0]) orelse return false;
    try files.syncDirectory();
    var count: Count = .{};
    for (starts[1..], 0..) |old, i| {
        const name: snapshot_file.Name = .of(old);
        if (i == 0) {
            try files.rename(name.slice(), snapshot_file.temporary_name);
            // Before anybody writes into it.
            try files.syncDirectory();
        } else count.remove(files, name.slice());
    }
    try removeSegments(options, @min(starts[0], options.durable), &count);
    const has_given = starts.len > 1 or count.removed > 0;
    const size = newest.size;
    if (has_given) makeReserve(files, size + size / growth_share + snapshot_file.block_size);
    return has_given;
}

/// Removes the segments that have no say because the newest snapshot stands in their place. False
/// if there are none, or if that snapshot cannot be relied on.
pub fn removeReplaced(options: Options) snapshot_file.Error!bool {
    const files = options.files;
    const starts = try snapshot_file.list(files, options.gpa);
    defer options.gpa.free(starts);
    if (starts.len == 0 or starts[0] > options.durable) return false;
    const newest = try reliable(options, starts[0]) orelse return false;
    const begins = newest.begins orelse return false;
    try files.syncDirectory();
    const numbers = try segment.numbers(files, options.gpa);
    defer options.gpa.free(numbers);
    var count: Count = .{};
    for (numbers) |number| {
        const file = look(options, number) catch continue;
        if (file.found != .header) continue;
        if (!file.found.header.generation().isBefore(begins)) continue;
        count.remove(files, segment.Name.of(number).slice());
    }
    return count.removed > 0;
}

/// A snapshot that recovery can do with, without another one.
const Reliable = struct {
    /// Bytes of its file.
    size: u64,
    /// The first leader whose segments count, if it stands in the place of the log before.
    begins: ?segment.Generation,
};

/// Null if recovery might need another snapshot than the one that begins at `start`.
fn reliable(options: Options, start: Position) snapshot_file.Error!?Reliable {
    const gpa = options.gpa;
    var snapshot = Snapshot.open(options.files, gpa, options.store_uuid, start) catch |err|
        return if (err == error.Corrupt) null else err;
    defer snapshot.close();
    snapshot.verify() catch |err| return if (err == error.Corrupt) null else err;
    const logged = snapshot.footer.logged;
    var log: LogReader = try .open(gpa, options.files, .{
        .store_uuid = options.store_uuid,
        .from = start,
        .to = @max(start, logged),
        .required = if (logged > start) logged else 1,
        .begins = snapshot.logBegins(),
    });
    defer log.close();
    if (log.verdict == .damaged) return null;
    return .{ .size = snapshot.footer.file_size, .begins = snapshot.logBegins() };
}

/// Takes room for a snapshot, as far as there is some.
fn makeReserve(files: Files, size: u64) void {
    const name = snapshot_file.temporary_name;
    const file = files.open(name, .write) catch
        files.open(name, .create_exclusive) catch return;
    defer files.close(file);
    files.reserve(file, size) catch {};
}

/// What became of files.
const Count = struct {
    removed: u32 = 0,
    left: u32 = 0,

    fn remove(count: *Count, files: Files, name: []const u8) void {
        files.unlink(name) catch |err| {
            count.left += @intFromBool(err != error.NotExist);
            return;
        };
        count.removed += 1;
    }
};

/// Removes the segments that nobody needs who has everything up to `position`.
fn removeSegments(
    options: Options,
    position: Position,
    count: *Count,
) error{OutOfMemory}!void {
    const gpa = options.gpa;
    const numbers = segment.numbers(options.files, gpa) catch |err|
        return if (err == error.OutOfMemory) error.OutOfMemory else {
            count.left += 1;
        };
    defer gpa.free(numbers);
    var listed: std.ArrayList(Listed) = try .initCapacity(gpa, numbers.len);
    defer listed.deinit(gpa);
    // Of the files that stay.
    var lowest: u32 = std.math.maxInt(u32);
    for (numbers) |number| {
        if (look(options, number)) |file| {
            listed.appendAssumeCapacity(file);
        } else |err| if (err != error.NotExist) {
            count.left += 1;
            lowest = @min(lowest, number);
        }
    }
    const live = try log_reader.liveSegments(gpa, listed.items, &.{
        .store_uuid = options.store_uuid,
        .from = position,
        .to = position,
    });
    defer gpa.free(live);
    const first = &live[log_reader.firstNeeded(live, position) orelse return].header;
    for (listed.items) |*file| switch (file.found) {
        .header => |*header| if (header.isBefore(first)) {
            count.remove(options.files, segment.Name.of(file.number).slice());
        } else {
            lowest = @min(lowest, file.number);
        },
        .damaged, .foreign => lowest = @min(lowest, file.number),
        .blank => {},
    };
    for (listed.items) |*file| {
        // A segment in the making has no header either, and the highest number of all.
        const is_abandoned = file.number < lowest and file.number < options.active;
        if (file.found != .blank or !is_abandoned) continue;
        count.remove(options.files, segment.Name.of(file.number).slice());
    }
}

fn look(options: Options, number: u32) file_layer.Error!Listed {
    const files = options.files;
    const file = try files.open(segment.Name.of(number).slice(), .read);
    defer files.close(file);
    return .{
        .number = number,
        .found = try segment.readHeader(files, file, number, &options.store_uuid),
        .size = try files.size(file),
    };
}
