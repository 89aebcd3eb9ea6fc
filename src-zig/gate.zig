//! The gate: one transaction asks the others not to start commits for a moment.
//!
//! The word names its holder, {slot + 1:16, sequence:48}. It is advice: whoever waits at it gives
//! up after `lease_ns` of its own clock without a change of the word or of the holder's progress,
//! and takes it away. So a dead or stopped holder costs each waiter one lease, once.
//!
//! Two kinds of transactions take it: one that has lost too often, from its beginning on, and one
//! of many rows, while it commits. Others would have to wait for each row of that one, and would
//! lose patience in the end, because it takes longer than anybody may.
//!
//! Killed while it holds the gate: recovery opens it (`reopen`). Stopped: a lease.
//!
//! A writer shows itself in its slot's word and then looks at the gate; whoever takes the gate then
//! looks at the slots (`awaitWriters`). At least one of the two sees the other, so while the gate
//! stands, and once the writers seen are decided, nobody else takes a position.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const session_module = @import("session.zig");
const limits = @import("limits.zig");
const ring = @import("commit_ring.zig");
const Pinned = @import("reclaim.zig").Pinned;
const waiting = @import("waiting.zig");
const Region = region_module.Region;
const Session = session_module.Session;

pub const lease_ns = if (sync.sim) 2 * std.time.ns_per_ms else 50 * std.time.ns_per_ms;
/// A transaction of more rows takes the gate to commit.
const small_rows_max = if (sync.sim) 2 else 4096;

/// The gate as its holder has it. The word stays what it was while the session's sequence goes on.
pub const Hold = struct {
    session: *Session,
    word: u64,

    /// False once somebody has lost patience and taken the gate away.
    pub fn stands(hold: Hold) bool {
        return hold.session.region.control.shared.gate.load(.acquire) == hold.word;
    }

    pub fn release(hold: Hold) void {
        const gate = &hold.session.region.control.shared.gate;
        _ = gate.cas(hold.word, 0, .acq_rel, .monotonic);
    }
};

/// Takes the gate, waiting for others at it. Null if it could not be had in ten leases.
pub fn take(session: *Session) ?Hold {
    const gate = &session.region.control.shared.gate;
    const word = (@as(u64, session.slot_index) + 1) << 48 | (session.sequence & 0xffff_ffff_ffff);
    for (0..10) |_| {
        if (gate.cas(0, word, .acq_rel, .acquire) == null) {
            return .{ .session = session, .word = word };
        }
        pass(session.region);
    }
    return null;
}

pub inline fn isLarge(rows: usize) bool {
    return rows > small_rows_max;
}

/// Takes the gate for a transaction of many rows, after whoever has it and wants it.
pub fn takeForLarge(session: *Session, pinned: Pinned) Hold {
    const hold = while (true) break take(session) orelse continue;
    awaitWriters(session, pinned);
    return hold;
}

/// True if the transaction in a slot holds the gate.
pub inline fn isHeldBy(region: *const Region, slot: u32) bool {
    return region.control.shared.gate.load(.monotonic) >> 48 == @as(u64, slot) + 1;
}

/// Opens the gate that a dead process has left closed. The caller has the right to its slot.
pub fn reopen(region: *const Region, slot: u32) void {
    if (sync.mutated(.gate_of_the_dead)) return;
    const gate = &region.control.shared.gate;
    const word = gate.load(.acquire);
    // Nobody but its owner takes the gate for a slot, so the word cannot come back meanwhile.
    if (word >> 48 == @as(u64, slot) + 1) _ = gate.cas(word, 0, .acq_rel, .monotonic);
}

/// Waits until everyone who was installing when this was called is decided. The session runs no
/// transaction.
pub fn awaitWriters(session: *Session, pinned: Pinned) void {
    const region = session.region;
    // Waiting may stamp what others have committed.
    if (pinned == .unpinned) session.pin();
    defer if (pinned == .unpinned) session.unpin();
    sync.fence(); // between taking the gate and looking at the slots
    for (region.slots, 0..) |*slot, i| {
        if (i == session.slot_index) continue;
        const sequence = ring.SlotWord.from(slot.word.load(.acquire)).sequence;
        var wait: waiting.Wait = .{};
        while (true) {
            const word = ring.SlotWord.from(slot.word.load(.acquire));
            if (word.sequence != sequence) break;
            const reference: ring.SlotReference = .{ .slot = @intCast(i), .word = word.bits() };
            switch (word.state) {
                .idle, .draining, .kicked, _ => break,
                .installing, .sequencing => wait.writer(region, .{ .unknown = reference }),
                .sequenced => {
                    const position = slot.end.load(.acquire);
                    switch (ring.decisionAt(region, position)) {
                        .undecided, .not_yet => wait.cell(region, position),
                        .lapped, .skipped, .committed => break,
                    }
                },
            }
            renew(session);
        }
    }
}

/// Shows that the holder is alive.
pub fn renew(session: *Session) void {
    _ = session.slot.progress.fetchAdd(1, .monotonic);
}

/// Waits at a taken gate.
pub fn pass(region: *const Region) void {
    const gate = &region.control.shared.gate;
    var seen: u64 = 0;
    var progress: u32 = 0;
    var since: u64 = 0;
    while (true) {
        const word = gate.load(.acquire);
        if (word == 0) return;
        const slot = (word >> 48) -% 1;
        if (slot >= limits.slot_count) { // only a corrupted region
            _ = gate.cas(word, 0, .acq_rel, .monotonic);
            return;
        }
        const now_progress = region.slots[@intCast(slot)].progress.load(.monotonic);
        const now = sync.nowNs();
        if (word != seen or now_progress != progress or since == 0) {
            seen = word;
            progress = now_progress;
            since = now;
        } else if (now - since >= lease_ns) {
            _ = gate.cas(word, 0, .acq_rel, .monotonic);
            return;
        }
        sync.sleepNs(200 * std.time.ns_per_us);
    }
}

const testing = std.testing;
const Bench = @import("core_test.zig").Bench;
const statement = @import("statement.zig");
const transaction = @import("transaction.zig");

/// Looks at the gate until it has seen a slot hold it, or is told to end.
const Watcher = struct {
    region: *const Region,
    slot: u32,
    seen: sync.Shm(u32) = .init(0),
    ends: sync.Shm(u32) = .init(0),

    fn run(watcher: *Watcher) void {
        while (watcher.ends.load(.acquire) == 0) {
            if (isHeldBy(watcher.region, watcher.slot)) watcher.seen.store(1, .release);
        }
    }
};

/// Rows with the memory that their writes point to.
const Rows = struct {
    const Row = struct { payload: [256]u8 align(8), cell: [8]u8 };

    list: []Row,
    writes: []transaction.Write,

    fn init(bench: *Bench, count: usize) !Rows {
        const rows: Rows = .{
            .list = try testing.allocator.alloc(Row, count),
            .writes = try testing.allocator.alloc(transaction.Write, count),
        };
        for (rows.list, rows.writes, 0..) |*row, *one, id| {
            std.mem.writeInt(u64, &row.cell, id, .little);
            var builder: @import("row.zig").Builder = .init(&bench.table, &row.payload);
            builder.setInt64(0, @intCast(id));
            one.* = .{
                .table = &bench.table,
                .operation = .upsert,
                .key = bench.key(&row.cell),
                .image = builder.finish(),
            };
        }
        return rows;
    }

    fn deinit(rows: Rows) void {
        testing.allocator.free(rows.list);
        testing.allocator.free(rows.writes);
    }
};

test "gate: a statement of many rows takes it and opens it again, one of few does not" {
    var bench: Bench = undefined;
    try bench.init(64 << 20);
    defer bench.deinit();
    const s = try bench.session();
    defer s.close();
    for ([_]usize{ small_rows_max, small_rows_max + 1 }) |count| {
        const rows: Rows = try .init(&bench, count);
        defer rows.deinit();
        var watcher: Watcher = .{ .region = &bench.region, .slot = s.slot_index };
        const thread = try std.Thread.spawn(.{}, Watcher.run, .{&watcher});
        defer thread.join();
        defer watcher.ends.store(1, .release);
        // The watcher needs a processor of its own for a moment.
        const rounds_max: u32 = if (isLarge(count)) 500 else 20;
        for (0..rounds_max) |_| {
            const result = try statement.writeMany(s, rows.writes);
            try testing.expectEqual(.done, result.outcome);
            if (watcher.seen.load(.acquire) != 0) break;
            bench.settle(s);
        }
        try testing.expectEqual(isLarge(count), watcher.seen.load(.acquire) != 0);
        try testing.expectEqual(0, bench.region.control.shared.gate.load(.monotonic));
    }
    bench.settle(s);
    try bench.expectSound(s);
}
