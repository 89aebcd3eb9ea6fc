//! Room for the first segment of a leader, where the disk is full.
//!
//! A leader who is killed while the disk is full leaves commits that are in no log yet, and a log
//! in which nobody may write any more. Its successor needs a segment of its own for them. While
//! there is no room for that, no checkpoint can get its name either, because it waits for the log,
//! and nothing would ever free space. So the successor does, in two steps, each of which is enough
//! if it leads to a segment:
//!
//!   1. what only the older snapshot needs goes (`truncation.giveUpOlder`), and its file becomes
//!      the reserve for the next snapshot
//!   2. where nothing of that kind is left, a snapshot of what is in memory takes the place of the
//!      whole log, for which it needs no room but the reserve (`log_repair.zig`). Then all segments
//!      are void, and go
//!
//! Both are done by the process that `log.leader` names, in its drainer's thread, and under the
//! lock byte of checkpoints. One that was replaced meanwhile does no harm: what it gives up is
//! superfluous whoever leads, its snapshot counts only for what leaders before it have written, and
//! no void segment goes before the watermarks have passed that snapshot, which only the present
//! leader brings about.
//!
//! Killed anywhere: the next leader begins with step 1. See `truncation.zig` and `log_repair.zig`
//! for what it finds. `log_room_test.zig` kills at each call of the file layer.
//!
//! What stays: a spare that a killed leader has left. It has no header that would say whose it is,
//! so it could be the segment that a successor is making; it goes with the first checkpoint after
//! somebody has found room to lead.

const std = @import("std");
const log_patience = @import("log_patience.zig");
const log_repair = @import("log_repair.zig");
const Leader = @import("log_leader.zig").Leader;
const Position = @import("version.zig").Position;

const pause_ns_min = 1 * std.time.ns_per_s;
const pause_ns_max = 32 * std.time.ns_per_s;

/// What one leader has done for room, until it begins.
pub const Room = struct {
    retry: log_patience.Retry = .{},
    /// The position of the snapshot that stands in the place of the log; 0 if there is none yet.
    replaced: Position = 0,

    /// Makes room, as far as there is something to give. The state of the log is `no_space`.
    pub fn make(room: *Room, rescue: log_repair.Rescue, leader: *Leader) void {
        if (!room.retry.isDue()) return;
        room.retry.after(pause_ns_min, pause_ns_max);
        // First see whether that will do.
        if (rescue.remove(rescue.context, .older) catch false) return;
        const next = leader.region.control.next.word.load(.acquire);
        if (room.replaced != next) {
            if (!log_repair.run(rescue, leader)) return;
            room.replaced = leader.durablePosition();
        }
        _ = rescue.remove(rescue.context, .replaced) catch {};
    }
};
