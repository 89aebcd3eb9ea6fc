//! The chain of frames: which frame follows which.
//!
//! The rules stand at the top of `log_frame.zig`; whoever walks the log, for a verdict or for the
//! frames, walks it by this file.

const std = @import("std");
const log_frame = @import("log_frame.zig");
const log_scan = @import("log_scan.zig");
const segment = @import("log_segment.zig");
const Window = log_scan.Window;

/// The chain of frames, as far as it was followed.
pub const Chain = struct {
    /// The position of the last commit.
    last: u64,
    /// Of the next frame in this segment.
    sequence: u8 = 0,
    pending: Pending = .{},

    /// Parts whose commit has not come yet.
    pub const Pending = struct { position: u64 = 0, count: u16 = 0, rows: u32 = 0 };

    pub const Step = enum {
        /// The frame is the next one.
        follows,
        /// It is not void, but does not fit behind the frame before it.
        breaks,
        /// It commits what a later segment has a say about: the segment ends here.
        beyond,
    };

    /// Judges the frame behind those that were taken. Commits from `limit` on are void.
    fn step(chain: *const Chain, header: *const log_frame.Header, limit: u64) Step {
        if (header.sequence != chain.sequence) return .breaks;
        if (header.previous != chain.last) return .breaks;
        const pending = &chain.pending;
        switch (header.kind) {
            .commit => {
                if (header.position <= chain.last) return .breaks;
                if (header.position >= limit) return .beyond;
                if (header.part == 0) return .follows;
                const continues = header.position == pending.position and
                    header.part == pending.count and header.count >= pending.rows;
                return if (continues) .follows else .breaks;
            },
            .part => {
                if (header.position <= chain.last) return .breaks;
                if (header.position > limit) return .beyond;
                if (header.part == 0) return .follows;
                const continues = header.position == pending.position and
                    header.part == pending.count;
                return if (continues) .follows else .breaks;
            },
            .catalogue, .mark, .rotation => {
                return if (header.position == chain.last) .follows else .breaks;
            },
            _ => return .breaks,
        }
    }

    pub fn take(chain: *Chain, header: *const log_frame.Header) void {
        chain.sequence +%= 1;
        switch (header.kind) {
            .commit => {
                chain.last = header.position;
                chain.pending = .{};
            },
            .part => {
                if (header.part == 0) chain.pending = .{ .position = header.position };
                chain.pending.count +|= 1;
                chain.pending.rows +|= header.count;
            },
            else => {},
        }
    }
};

/// A frame that does not break the chain, and where it stands.
pub const Found = struct { frame: log_frame.Frame, offset: u64, step: Chain.Step };

/// The frame at `offset`, or, behind a sync, at the start of the next block.
pub fn nextFrame(
    window: *Window,
    chain: *const Chain,
    limit: u64,
    offset: u64,
    seed: u32,
) log_scan.Error!?Found {
    const block = std.mem.alignForward(u64, offset, segment.block_size);
    for ([_]u64{ offset, block }) |at| {
        if (try window.frameAt(at, seed)) |frame| {
            const step = chain.step(&frame.header, limit);
            if (step != .breaks) return .{ .frame = frame, .offset = at, .step = step };
        }
        if (offset == block) break;
    }
    return null;
}
