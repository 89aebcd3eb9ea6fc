//! Going on when the log is lost, or when its files take all of the disk and nobody finds room for
//! the first segment of a leader: what is not in the log is still in memory.
//!
//! While the log is in state `failed` or `no_space`, commits are refused. Those that were let in
//! before are waited for behind the gate; then nothing moves, and a snapshot of one position holds
//! all that was ever committed, so that nobody needs the log up to there. `checkpoint_newest`,
//! `logged`, `drained` and `durable` go to that position, in this order, and the next segment
//! begins behind it. On a full disk the segments that the snapshot has made void go before that.
//!
//! Killed before the snapshot has its name: nothing has changed. Killed between that and
//! `checkpoint_newest`: the next leader copies or repairs once more, and its segments are of a
//! later epoch. Killed after it: the next leader goes on behind the snapshot
//! (`log_keeper.goBehindSnapshot`), and needs none of the files that may be missing by now. If the
//! region is lost too, the snapshot says that what leaders before this one have written does not
//! count, so the log is not even read, and recovery begins the next one. `log_repair_test.zig` and
//! `log_room_test.zig` kill at each call of the file layer.

const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const file_layer = @import("file_layer.zig");
const gate = @import("gate.zig");
const log_keeper = @import("log_keeper.zig");
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
    /// Removes files of the directory, and returns whether there were any.
    remove: *const fn (context: *anyopaque, what: Superfluous) checkpoint.Error!bool,

    pub const Superfluous = enum {
        /// What only a snapshot before the newest one needs: `truncation.giveUpOlder`.
        older,
        /// The log that the newest snapshot stands in the place of: `truncation.removeReplaced`.
        replaced,
    };
};

/// Takes the log of a leader to where it can begin anew. False if that did not work or somebody
/// else leads; the log is what it was then.
pub fn run(rescue: Rescue, leader: *log_leader.Leader) bool {
    const position = rescue.write(rescue.context, leader.word.epoch) catch return false;
    const log = &leader.region.control.log;
    // Release: who sees it sees that all of the rows up to there were decided.
    const before = log.checkpoint_newest.fetchMax(position, .acq_rel);
    if (before < position) log.checkpoint_older.store(before, .release);
    return log_keeper.goBehindSnapshot(leader);
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
