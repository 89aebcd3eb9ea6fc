//! The segment that frames go into, as its writer sees it (`log_writer.zig`).

const std = @import("std");
const file_layer = @import("file_layer.zig");
const log_spare = @import("log_spare.zig");
const segment = @import("log_segment.zig");
const Files = file_layer.Files;
const Handle = file_layer.Handle;

/// Bytes of zeros that are written at a time ahead of the frames.
const fill_size = 1024 * 1024;

/// The segment that frames go into.
pub const Active = struct {
    file: Handle,
    number: u32,
    size: u64,
    seed: u32,
    /// Bytes from the file's start to where the next byte goes.
    end: u64 = 0,
    /// Of the next frame.
    sequence: u8 = 0,
    /// Written since the last `beginSync`.
    unsynced: bool = false,
    /// Before this, every block was written before; the rest is only set aside.
    filled: u64,

    /// Behind this, only the frame that ends the segment.
    pub fn limit(active: *const Active) u64 {
        return active.size - segment.block_size;
    }

    /// Writes zeros behind the frames of a segment that has none: syncs to come then go into blocks
    /// that were written before, as in `SpareOrder`.
    pub fn fillAhead(active: *Active, files: Files) file_layer.Error!void {
        if (active.unsynced or active.filled >= @min(active.end + fill_size / 2, active.size)) {
            return;
        }
        const from = std.mem.alignForward(u64, @max(active.end, active.filled), segment.block_size);
        const to = @min(from + fill_size, active.size);
        try log_spare.writeZeros(files, active.file, from, to);
        active.filled = to;
    }
};
