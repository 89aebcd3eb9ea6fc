//! The segments of a log that are complete, but not synced to their ends, and the sync of them.
//!
//! Invariants, of whoever writes the log:
//!
//!   * there is one sync at a time, and none of its files is closed before it has ended
//!   * `limit` is called before each `add`, so there is always room for one more

const std = @import("std");
const file_layer = @import("file_layer.zig");
const assert = std.debug.assert;
const Files = file_layer.Files;
const Handle = file_layer.Handle;

/// Complete segments that may wait for their last sync. While a sync is under way there may be two
/// more: none of its files may be closed, and the active segment may be one of them.
const count_max = 8;

/// What has to be synced so that everything up to a position is on the disk.
pub const SyncTarget = struct {
    /// The last logged position that the sync covers.
    position: u64,
    files: [count_max + 1]Handle = undefined,
    count: u32 = 0,
    /// How many of the files are segments that are complete.
    complete: u32 = 0,

    /// Waits for the disk. After an error the log is lost: another sync would report success for
    /// pages that the kernel has dropped.
    pub fn sync(target: *const SyncTarget, files: Files) file_layer.Error!void {
        for (target.files[0..target.count]) |file| try files.sync(file);
    }
};

pub const Closing = struct {
    /// In the order in which they were completed.
    files: [count_max + 2]Handle = undefined,
    count: u32 = 0,
    /// The first so many of them belong to a sync that is under way; counts the active segment
    /// too if that does, which then is the next to be closed.
    syncing: u32 = 0,

    /// Takes over the file of the active segment, which is complete.
    pub fn add(closing: *Closing, file: Handle) void {
        closing.files[closing.count] = file;
        closing.count += 1;
    }

    /// What to sync: all of them, and `active` if it has bytes that are not synced either.
    pub fn beginSync(closing: *Closing, position: u64, active: ?Handle) SyncTarget {
        var target: SyncTarget = .{ .position = position };
        for (closing.files[0..closing.count]) |file| {
            target.files[target.count] = file;
            target.count += 1;
        }
        target.complete = target.count;
        if (active) |file| {
            target.files[target.count] = file;
            target.count += 1;
        }
        closing.syncing = target.count;
        return target;
    }

    /// Closes those that a sync has covered.
    pub fn endSync(closing: *Closing, files: Files, target: *const SyncTarget) void {
        const done = target.complete;
        assert(done <= closing.count);
        assert(std.mem.eql(Handle, target.files[0..done], closing.files[0..done]));
        for (target.files[0..done]) |file| files.close(file);
        const left = closing.count - done;
        @memmove(closing.files[0..left], closing.files[done..closing.count]);
        closing.count = left;
        closing.syncing = 0;
    }

    /// Syncs one here, and closes it, when nobody has done it for long.
    pub fn limit(closing: *Closing, files: Files) file_layer.Error!void {
        const oldest = closing.syncing;
        if (closing.count < count_max or oldest >= closing.count) return;
        try files.sync(closing.files[oldest]);
        files.close(closing.files[oldest]);
        closing.count -= 1;
        const left = closing.count - oldest;
        @memmove(closing.files[oldest..][0..left], closing.files[oldest + 1 ..][0..left]);
    }

    /// Syncs nothing.
    pub fn closeAll(closing: *const Closing, files: Files) void {
        for (closing.files[0..closing.count]) |file| files.close(file);
    }
};
