//! Transactions of one statement: each call pins, does its work, and lets go. A kicked one tries
//! again inside.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const gate = @import("gate.zig");
const ring = @import("commit_ring.zig");
const index_ahead = @import("index_ahead.zig");
const index_writer = @import("index_writer.zig");
const pk_map = @import("pk_map.zig");
const pressure = @import("pressure.zig");
const reclaim = @import("reclaim.zig");
const reservation = @import("reservation.zig");
const session_module = @import("session.zig");
const table_indexes = @import("table_indexes.zig");
const transaction = @import("transaction.zig");
const version_module = @import("version.zig");
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const Position = version_module.Position;
const Write = transaction.Write;
const Outcome = transaction.Outcome;
const Pinned = reclaim.Pinned;
const Relief = reclaim.Relief;
const Error = session_module.Error;

pub const Result = struct {
    outcome: Outcome,
    /// The commit position when the outcome is done.
    position: Position = 0,
};

/// Writes one row as a transaction of its own.
pub fn write(session: *Session, one: *const Write) Error!Result {
    session.lock();
    defer session.unlock();
    return writeLocked(session, one);
}

fn writeLocked(session: *Session, one: *const Write) Error!Result {
    // What follows up to the pin is time in which the bucket can come.
    pk_map.Ahead.bucket(session.region, one.key);
    var relief: Relief = .{ .session = session, .pinned = .unpinned };
    while (true) {
        const result = attempt(session, one) catch |err| {
            try relief.after(err);
            continue;
        };
        if (result.outcome != .kicked) return result;
        backOff(session);
    }
}

fn attempt(session: *Session, one: *const Write) Error!Result {
    try admit(session, .unpinned, 0);
    try session.reserveLog(4 + table_indexes.of(one.table).len);
    var installer: transaction.Installer = .begin(session, .sequencing);
    if (mustWait(session, 0)) return standBack(&installer);
    const outcome = installer.install(one) catch |err| {
        installer.abort();
        return err;
    };
    if (outcome != .done) {
        installer.abort();
        return .{ .outcome = outcome };
    }
    return switch (try installer.commit(null)) {
        .committed => |position| .{ .outcome = .done, .position = position },
        .conflict => .{ .outcome = .conflict },
        .unique_violation => .{ .outcome = .unique_violation },
        .kicked => .{ .outcome = .kicked },
    };
}

/// True if somebody holds the gate; `mine` is the caller's own word for it, or 0. Asked once more
/// after the transaction shows in its slot: whoever takes the gate then waits for it, or it sees
/// the gate here.
pub inline fn mustWait(session: *const Session, mine: u64) bool {
    const word = session.region.control.shared.gate.load(.acquire);
    return word != 0 and word != mine;
}

/// Ends an attempt that has done nothing yet; the next one waits at the gate.
fn standBack(installer: *transaction.Installer) Result {
    installer.abort();
    return .{ .outcome = .kicked };
}

/// Where a statement over several rows failed.
pub const ManyResult = struct {
    outcome: Outcome,
    position: Position = 0,
    /// Index of the row that caused an outcome other than done.
    failed: usize = 0,
};

/// Writes rows in one transaction. `writes` is sorted in place, and no key may stand there twice.
pub fn writeMany(session: *Session, writes: []Write) Error!ManyResult {
    std.sort.pdq(Write, writes, {}, before);
    session.lock();
    defer session.unlock();
    var relief: Relief = .{ .session = session, .pinned = .unpinned };
    while (true) {
        const result = attemptMany(session, writes) catch |err| {
            try relief.after(err);
            continue;
        };
        if (result.outcome != .kicked) return result;
        backOff(session);
    }
}

/// Which write was not alone with its value.
fn violator(session: *const Session, writes: []const Write) usize {
    const violation = &session.index_scratch.violation;
    for (writes, 0..) |*one, index| {
        if (violation.isOf(one.table, one.key.cell)) return index;
    }
    return 0;
}

/// Writes rows one by one, each a transaction of its own, and stops at the first that is refused.
/// The look-ups of the rows behind are started ahead. `failed` is the number of rows written.
pub fn writeEach(session: *Session, writes: []const Write) Error!ManyResult {
    session.lock();
    defer session.unlock();
    var position: Position = 0;
    for (writes, 0..) |*one, index| {
        if (index % ahead_step == 0) {
            session.pin();
            defer session.unpin();
            lookAhead(session.region, writes[index..]);
            lookAheadKeys(session, writes[index..]);
        }
        const result = try writeLocked(session, one);
        if (result.outcome != .done) return .{ .outcome = result.outcome, .failed = index };
        position = result.position;
    }
    return .{ .outcome = .done, .position = position, .failed = writes.len };
}

/// How often those who go through many writes call `lookAhead`.
pub const ahead_step = 16;

/// Starts the loads for the next rows, in three passes so that each finds what the one before asked
/// for. The caller is pinned.
pub fn lookAhead(region: *const Region, writes: []const Write) void {
    if (sync.sim) return;
    const near = writes[0..@min(writes.len, ahead_step)];
    for (near) |*one| pk_map.Ahead.node(region, one.key);
    for (near) |*one| pk_map.Ahead.version(region, one.key);
    if (writes.len <= ahead_step) return;
    for (writes[ahead_step..@min(writes.len, 2 * ahead_step)]) |*one| {
        pk_map.Ahead.bucket(region, one.key);
    }
}

/// Starts the searches in the indexes of the rows that `lookAhead` has asked for. The caller is
/// pinned and has locked the session.
pub fn lookAheadKeys(session: *Session, writes: []const Write) void {
    if (sync.sim) return;
    var ahead: index_ahead.Ahead = .{};
    for (writes[0..@min(writes.len, ahead_step)]) |*one| {
        index_writer.addAhead(session, one, &ahead);
    }
    ahead.run(session.region);
}

/// The one order in which all transactions install, so that no two wait for each other.
pub fn before(_: void, a: Write, b: Write) bool {
    if (a.table.id != b.table.id) return a.table.id < b.table.id;
    if (a.key.hash != b.key.hash) return a.key.hash < b.key.hash;
    return std.mem.lessThan(u8, a.key.cell, b.key.cell);
}

fn attemptMany(session: *Session, writes: []const Write) Error!ManyResult {
    const way = try prepare(session, writes, .unpinned, null);
    defer way.leave();
    var installer: transaction.Installer = .begin(session, .installing);
    if (way.isClosed()) {
        _ = standBack(&installer);
        return .{ .outcome = .kicked };
    }
    for (writes, 0..) |*one, index| {
        if (index % ahead_step == 0) {
            lookAhead(session.region, writes[index..]);
            lookAheadKeys(session, writes[index..]);
        }
        const outcome = installer.install(one) catch |err| {
            installer.abort();
            return err;
        };
        if (outcome == .done) continue;
        installer.abort();
        return .{ .outcome = outcome, .failed = index };
    }
    return switch (try installer.commit(null)) {
        .committed => |position| .{ .outcome = .done, .position = position },
        .conflict => .{ .outcome = .conflict },
        .unique_violation => .{
            .outcome = .unique_violation,
            .failed = violator(session, writes),
        },
        .kicked => .{ .outcome = .kicked },
    };
}

/// How a transaction of several rows passes the gate.
pub const Way = struct {
    session: *const Session,
    /// The caller's own gate, which stays.
    given: ?gate.Hold,
    /// The gate of a transaction of many rows, which ends with the attempt.
    taken: ?gate.Hold,

    /// True if the attempt has to stand back. Asked once more after the transaction shows in its
    /// slot, as for `mustWait`.
    pub fn isClosed(way: Way) bool {
        // Without its gate, a transaction of many rows begins again.
        if (way.taken) |hold| return !hold.stands();
        // Once the gate is taken away, somebody else may have it.
        return mustWait(way.session, if (way.given) |hold| hold.word else 0);
    }

    pub fn leave(way: Way) void {
        if (way.taken) |hold| hold.release();
    }
};

/// Everything that has to be done before a transaction of several rows begins to install: waits for
/// its turn, takes the gate if there are many rows, and takes memory for all of them.
pub fn prepare(
    session: *Session,
    writes: []const Write,
    pinned: Pinned,
    given: ?gate.Hold,
) Error!Way {
    const is_mine = if (given) |hold| hold.stands() else false;
    try admit(session, pinned, if (given) |hold| hold.word else 0);
    var way: Way = .{ .session = session, .given = given, .taken = null };
    errdefer way.leave();
    if (gate.isLarge(writes.len) and !is_mine) {
        way.taken = gate.takeForLarge(session, pinned);
        // Others have committed while it waited.
        try admit(session, pinned, way.taken.?.word);
    }
    try reservation.reserve(session, writes, pinned);
    return way;
}

/// Waits before anything is held: at the gate, unless its word is `mine`, a moment while memory is
/// scarce, and while the ring is nearly full. Fails, before anything is shared, while the log does
/// not take commits.
pub fn admit(session: *Session, pinned: Pinned, mine: u64) Error!void {
    const region = session.region;
    const word = region.control.shared.gate.load(.monotonic);
    if (word != 0 and word != mine) gate.pass(region);
    try refuseUnloggable(region);
    // Whoever holds the gate keeps all others waiting.
    if (mine == 0 and pressure.levelOf(region) == .scarce) reclaim.awaitRoom(session, pinned);
    if (!ring.isCrowded(region)) return;
    if (pinned == .unpinned) session.pin();
    defer if (pinned == .unpinned) session.unpin();
    var wait: waiting.Wait = .{};
    while (ring.isCrowded(region)) {
        wait.drain(region);
        if (mine != 0) gate.renew(session);
        // What stands in the ring may have to wait there for a disk that has no room.
        try refuseUnloggable(region);
    }
}

inline fn refuseUnloggable(region: *const Region) Error!void {
    const state = region.control.shared.log_state.load(.monotonic);
    switch (@as(region_module.LogState, @enumFromInt(state))) {
        .none, .working => {},
        .no_space => return error.DiskFull,
        .failed, _ => return error.LogFailed,
    }
}

/// A short random pause, so that two who kick each other do not meet again.
fn backOff(session: *Session) void {
    const longest = @min(session.slot.patience.load(.monotonic), 20_000);
    const micros = session.random.next() % (@as(u64, longest) / 8 + 1);
    sync.sleepNs(micros * std.time.ns_per_us);
}
