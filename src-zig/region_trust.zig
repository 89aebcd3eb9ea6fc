//! Whether a region that nobody uses can be taken as it is, or is built anew from the files.
//!
//! A region outlives its processes as long as the machine runs, and then holds more than the files
//! do: what was committed and not written yet. So it is believed if nothing speaks against it:
//!
//!   * its header is sound and it is of this store, layout and boot, complete, and not poisoned
//!   * it is the one that wrote the log last: no segment is of a later incarnation, the newest one
//!     of its own or the one that it was recovered from, and the log, or the snapshot that stands
//!     in its place, has what it logged last
//!
//! A region that is not believed is kept under another name and built anew. In three cases neither
//! is right, and the owner is asked: the file is not of this store at all; another version of
//! Aerostore has left commits in it that are not in the log, and nobody has said to give them up
//! (`salvage: "files"`); the log is gone and the region is all there is.
//!
//! Who opens with `warm` other than `always` does not want even one that is believed. Then what it
//! has is brought to the disk, and it is marked as replaced (`Store.coolDown`). It is not kept:
//! everything in it is in the files.

const std = @import("std");
const file_layer = @import("file_layer.zig");
const log_reader = @import("log_reader.zig");
const log_segment = @import("log_segment.zig");
const region_module = @import("region.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const Detail = status.Detail;
const Files = file_layer.Files;
const LogReader = log_reader.LogReader;

pub const Error = file_layer.Error || error{ OutOfMemory, Corrupt };

/// Why a region is built anew.
pub const Reason = enum {
    /// It is from before the machine was started; what it held of commits went with that.
    boot,
    /// The file or its header is cut off or contradicts itself.
    damaged,
    /// It was marked as replaced.
    retired,
    /// An assertion failed in a process that used it.
    poisoned,
    /// Another version made it, and everything in it is in the log.
    layout,
    /// Another version made it, and what it has beyond the log was given up.
    given_up,
    /// The log went on without it.
    behind,
    /// The log does not have what the region logged last.
    ahead,

    pub fn text(reason: Reason) []const u8 {
        return switch (reason) {
            .boot => "it is from before the last start of the machine",
            .damaged => "it is damaged",
            .retired => "it was replaced",
            .poisoned => "an assertion failed in a process that used it",
            .layout => "another version of Aerostore made it",
            .given_up => "another version of Aerostore made it, and what it had was given up",
            .behind => "the log went on without it",
            .ahead => "the log does not have what it logged last",
        };
    }
};

/// What the region says about the log; a copy.
pub const Claim = struct {
    store_uuid: [16]u8,
    incarnation: u64,
    /// The last position that has a record, and where that was written; the place may be older.
    logged: u64,
    place: log_segment.Place,
    /// The segment that was written last, 0 if there was none.
    segment: u64,
    /// The start of the newest snapshot.
    snapshot: u64,

    pub fn of(header: *const region_module.Header, control: *const region_module.Control) Claim {
        const word = control.log.logged_place.raw;
        return .{
            .store_uuid = header.store_uuid,
            .incarnation = header.incarnation,
            .logged = control.log.logged.raw,
            .place = .{ .number = @truncate(word >> 32), .offset = word & 0xffff_ffff },
            .segment = control.log.segment.raw,
            .snapshot = control.log.checkpoint_newest.raw,
        };
    }
};

/// Compares what a region says about the log with the log. Null: they belong together.
/// `error.Corrupt`: the log is gone, and `detail` says so.
pub fn compare(
    files: Files,
    gpa: std.mem.Allocator,
    claim: *const Claim,
    detail: *Detail,
) Error!?Reason {
    const newest = try newestSegment(files, gpa, &claim.store_uuid) orelse {
        if (claim.segment == 0 or isInSnapshot(files, claim)) return null;
        detail.set("the log is gone, and the region in memory has what was in it. Put the files " ++
            "back, or remove the region to go on with what the directory has", .{});
        return error.Corrupt;
    };
    if (newest.incarnation > claim.incarnation) return .behind;
    // Since it was recovered it has begun no segment of its own.
    if (newest.incarnation < claim.incarnation and newest.number != claim.segment) return .behind;
    if (claim.logged <= 1) return null;
    if (try log_reader.frameStands(
        gpa,
        files,
        &claim.store_uuid,
        claim.place,
        claim.logged,
    )) return null;
    // The writer was killed before it had written down the place, or the frame went with the
    // segments before a checkpoint.
    var log: LogReader = try .open(gpa, files, .{
        .store_uuid = claim.store_uuid,
        .from = claim.logged,
        .to = claim.logged,
    });
    defer log.close();
    const stands = log.verdict == .clean and log.last_position == claim.logged;
    return if (stands or isInSnapshot(files, claim)) null else .ahead;
}

/// Whether what was logged last is what a snapshot begins with, so that the log may be gone up to
/// there: `log_repair.zig`.
fn isInSnapshot(files: Files, claim: *const Claim) bool {
    if (claim.logged != claim.snapshot) return false;
    const name: snapshot_file.Name = .of(claim.snapshot);
    const file = files.open(name.slice(), .read) catch return false;
    files.close(file);
    return true;
}

fn newestSegment(
    files: Files,
    gpa: std.mem.Allocator,
    store_uuid: *const [16]u8,
) Error!?log_segment.Header {
    const numbers = try log_segment.numbers(files, gpa);
    defer gpa.free(numbers);
    var newest: ?log_segment.Header = null;
    for (numbers) |number| {
        const name: log_segment.Name = .of(number);
        const file = try files.open(name.slice(), .read);
        defer files.close(file);
        switch (try log_segment.readHeader(files, file, number, store_uuid)) {
            .header => |header| if (newest == null or newest.?.isBefore(&header)) {
                newest = header;
            },
            .blank, .damaged, .foreign => {},
        }
    }
    return newest;
}
