//! Going on when the log is lost: what a leader cannot copy out of files that failed, it still has
//! in memory.
//!
//! While the log is in state `failed`, commits are refused. Those that were let in before are
//! waited for behind the gate; then nothing moves, and a snapshot of one position holds all that
//! was ever committed, so that nobody needs the log up to there. `drained` and `durable` go to that
//! position, and the next segment begins behind it.
//!
//! Killed before the snapshot has its name: nothing has changed. Killed between that and the header
//! of the next segment: the next leader copies or repairs once more, and its segments are of a
//! later epoch. If the region is lost too, the snapshot says that what leaders before this one have
//! written does not count, so the log that failed is not even read, and recovery begins the next
//! one. `log_repair_test.zig` kills at each call of the file layer.

const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const file_layer = @import("file_layer.zig");
const gate = @import("gate.zig");
const log_leader = @import("log_leader.zig");
const ring = @import("commit_ring.zig");
const waiting = @import("waiting.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const Position = @import("version.zig").Position;
const Session = @import("session.zig").Session;

/// How a process writes down what it has in memory.
pub const Rescue = struct {
    context: *anyopaque,
    /// Puts a snapshot on the disk that replaces what leaders before `epoch` have logged, and
    /// returns the position up to which it holds everything.
    write: *const fn (context: *anyopaque, epoch: u32) checkpoint.Error!Position,
};

/// Takes the log of a leader to where it can begin anew. False if that did not work or somebody
/// else leads; the log is what it was then.
pub fn run(rescue: Rescue, leader: *log_leader.Leader) bool {
    const position = rescue.write(rescue.context, leader.word.epoch) catch return false;
    // In this order: `durable` never passes `drained`.
    return leader.passDrained(position) and leader.passDurable(position);
}

/// Writes the snapshot. The session is not pinned and runs no transaction; the caller holds the
/// lock byte of checkpoints, and the state of the log keeps new commits out.
/// `error.Busy`: commits that were let in before did not come to an end.
pub fn writeSnapshot(
    files: file_layer.Files,
    gpa: std.mem.Allocator,
    session: *Session,
    catalogue: *Catalogue,
    incarnation: u64,
    epoch: u32,
) checkpoint.Error!Position {
    const hold = gate.take(session) orelse return error.Busy;
    defer hold.release();
    gate.awaitWriters(session, .unpinned);
    const region = session.region;
    const next = region.control.next.word.load(.acquire);
    session.pin();
    var wait: waiting.Wait = .{};
    while (ring.stampedPosition(region) < next) {
        wait.drain(region);
        gate.renew(session);
    }
    session.unpin();
    const result = try checkpoint.run(files, gpa, session, catalogue, .{
        .store_uuid = region.header.store_uuid,
        .incarnation = incarnation,
        .log = .{ .begin = epoch },
        .progress = .{ .context = session, .report = renew },
    });
    return result.end;
}

fn renew(context: *anyopaque, _: u64, _: u64) void {
    const session: *Session = @ptrCast(@alignCast(context));
    gate.renew(session);
}
