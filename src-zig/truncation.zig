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
//! Nothing is synced: who has lost power finds some of the files again, and they are superfluous as
//! before. Killed anywhere: the next checkpoint goes on.

const std = @import("std");
const file_layer = @import("file_layer.zig");
const log_reader = @import("log_reader.zig");
const segment = @import("log_segment.zig");
const snapshot_file = @import("snapshot_file.zig");
const Files = file_layer.Files;
const Position = @import("version.zig").Position;
const Listed = log_reader.Listed;

/// Snapshots that stay.
const generations = 2;

pub const Options = struct {
    files: Files,
    gpa: std.mem.Allocator,
    store_uuid: segment.Uuid,
    /// The number of the segment that is written now; 0 if it is not known.
    active: u64 = 0,
};

/// Removes what the newest snapshots make superfluous. Returns how many files it could not look at
/// or remove.
pub fn run(options: Options) error{OutOfMemory}!u32 {
    const starts = snapshot_file.list(options.files, options.gpa) catch |err|
        return if (err == error.OutOfMemory) error.OutOfMemory else 1;
    defer options.gpa.free(starts);
    if (starts.len < generations) return 0;
    var left: u32 = 0;
    for (starts[generations..]) |old| {
        left += remove(options.files, snapshot_file.Name.of(old).slice());
    }
    return left + try removeSegments(options, starts[generations - 1]);
}

/// 1 if that did not work.
fn remove(files: Files, name: []const u8) u32 {
    files.unlink(name) catch |err| return @intFromBool(err != error.NotExist);
    return 0;
}

/// Removes the segments that nobody needs who has everything up to `position`.
fn removeSegments(options: Options, position: Position) error{OutOfMemory}!u32 {
    const gpa = options.gpa;
    const numbers = segment.numbers(options.files, gpa) catch |err|
        return if (err == error.OutOfMemory) error.OutOfMemory else 1;
    defer gpa.free(numbers);
    var listed: std.ArrayList(Listed) = try .initCapacity(gpa, numbers.len);
    defer listed.deinit(gpa);
    var left: u32 = 0;
    // Of the files that stay.
    var lowest: u32 = std.math.maxInt(u32);
    for (numbers) |number| {
        if (look(options, number)) |file| {
            listed.appendAssumeCapacity(file);
        } else |err| if (err != error.NotExist) {
            left += 1;
            lowest = @min(lowest, number);
        }
    }
    const live = try log_reader.liveSegments(gpa, listed.items, &.{
        .store_uuid = options.store_uuid,
        .from = position,
        .to = position,
    });
    defer gpa.free(live);
    const first = &live[log_reader.firstNeeded(live, position) orelse return left].header;
    for (listed.items) |*file| switch (file.found) {
        .header => |*header| if (header.isBefore(first)) {
            left += remove(options.files, segment.Name.of(file.number).slice());
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
        left += remove(options.files, segment.Name.of(file.number).slice());
    }
    return left;
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
