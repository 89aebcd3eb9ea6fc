//! What the vacuum of a log will look at, asked for ahead.
//!
//! To take a superseded version's key out of an index costs loads that depend on each other: the
//! version, blocks of the guide, the entries about the key's place, and the row, whose chain is
//! walked. So removals go through stages, one load further in each, while those before them are
//! carried out. Blocks that are freed are asked for the word of their state, some entries earlier.
//!
//! Nothing that is read here is believed, and nothing shared is written (`index_ahead.zig`). An
//! entry of the log that is ripe stands still until it is passed. Killed anywhere: nothing is left.

const std = @import("std");
const sync = @import("sync");
const index_ahead = @import("index_ahead.zig");
const index_entry = @import("index_entry.zig");
const index_key = @import("index_key.zig");
const ordered_index = @import("ordered_index.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const table_indexes = @import("table_indexes.zig");
const version_module = @import("version.zig");
const Entry = slot_log.Entry;
const Head = version_module.Head;
const Log = slot_log.Log;
const Near = @import("index_guide.zig").Near;
const Position = version_module.Position;
const Region = @import("region.zig").Region;
const Root = ordered_index.Root;
const nodeAt = version_module.nodeAt;
const versionAt = version_module.versionAt;

/// Removals under way: as many as keep each load at least two ahead of the next.
const removals_max = 16;

/// Stage i is gone through by the removals of which at most so many are before them.
const stage_ends = [_]u64{ 12, 9, 6, 3 };

/// Entries of the log that are looked at before their turn.
const span = 4 * removals_max;

/// Entries that are passed before the log is looked at again.
const collect_step = if (sync.sim) 1 else 6;

/// How far before its turn an entry itself is asked for.
const ahead_entries = 16;

/// One for a session. Private to its process.
pub const VacuumAhead = struct {
    removals: [removals_max]Removal = undefined,
    /// Removals are numbered without end. These are under way.
    first: u64 = 0,
    end: u64 = 0,
    /// The first that has not gone through the stage.
    reached: [stage_ends.len]u64 = @splat(0),
    /// Where the log was looked at last.
    walk: ?Log.Forward = null,
    /// The number of the oldest entry at which it is looked at again.
    due: u64 = 0,

    const Removal = struct {
        /// Of its entry in the log.
        number: u64,
        entry: *const Entry,
        root: *const Root,
        search: index_ahead.Search,
    };

    /// Looks ahead while the oldest entry of the log is passed. The caller is pinned. `room` is for
    /// keys.
    pub inline fn step(
        ahead: *VacuumAhead,
        log: *const Log,
        horizon: Position,
        room: *index_key.Key,
    ) void {
        const is_removal = log.oldest().kind == .index and log.oldest().old != 0;
        if (!is_removal and log.tail < ahead.due) return;
        ahead.stepTo(log, horizon, room);
    }

    fn stepTo(
        ahead: *VacuumAhead,
        log: *const Log,
        horizon: Position,
        room: *index_key.Key,
    ) void {
        while (ahead.first < ahead.end and ahead.at(ahead.first).number < log.tail) {
            ahead.first += 1;
        }
        if (log.tail >= ahead.due or ahead.first == ahead.end) {
            ahead.collect(log, horizon);
            ahead.due = log.tail + collect_step;
        }
        if (ahead.first == ahead.end) return;
        const region = log.region;
        const top = index_ahead.backedGranules(region);
        for (stage_ends, &ahead.reached, 0..) |stage_end, *reached, stage| {
            reached.* = @max(reached.*, ahead.first);
            while (reached.* < @min(ahead.end, ahead.first + stage_end)) : (reached.* += 1) {
                advance(region, top, ahead.at(reached.*), stage, room);
            }
        }
    }

    /// A block of level 1 near the key that the oldest entry of the log takes out, or none.
    pub fn near(ahead: *VacuumAhead, number: u64) Near {
        if (ahead.first == ahead.end) return .none;
        const removal = ahead.at(ahead.first);
        return if (removal.number == number) removal.search.near() else .none;
    }

    inline fn at(ahead: *VacuumAhead, number: u64) *Removal {
        return &ahead.removals[number % removals_max];
    }

    /// Looks at the next entries of the log.
    fn collect(ahead: *VacuumAhead, log: *const Log, horizon: Position) void {
        const region = log.region;
        // Behind the tail, the chunk of the walk may be gone.
        if (ahead.walk == null or ahead.walk.?.number <= log.tail) ahead.walk = log.forward();
        const walk = &ahead.walk.?;
        while (walk.number < log.tail + span and ahead.end - ahead.first < removals_max) {
            var further = walk.*;
            const number = further.number;
            const entry = further.next() orelse return;
            @prefetch(@as([*]const Entry, @ptrCast(entry)) + ahead_entries, .{});
            const ts = entry.ts.load(.acquire);
            if (ts > horizon or ts == slot_log.ts_running) return;
            walk.* = further;
            switch (entry.kind) {
                .nop, .insert, .node_new => {},
                .update, .delete, .version_retire => askForState(region, entry.old),
                .index_retire, .guide_retire, .node_retire => askForState(region, entry.block),
                .index => ahead.begin(region, number, entry),
            }
        }
    }

    fn begin(ahead: *VacuumAhead, region: *const Region, number: u64, entry: *const Entry) void {
        const granule = table_indexes.rootOf(region, entry.table, entry.old_generation);
        if (granule == 0 or entry.old == 0) return;
        const root = region.pointer(Root, granule);
        if (!index_ahead.isLarge(root)) return;
        ahead.at(ahead.end).* = .{
            .number = number,
            .entry = entry,
            .root = root,
            .search = .none,
        };
        ahead.end += 1;
        versionAt(region, entry.old).prefetch();
        @prefetch(nodeAt(region, entry.row), .{});
    }

    fn advance(
        region: *const Region,
        top: u32,
        removal: *Removal,
        stage: usize,
        room: *index_key.Key,
    ) void {
        switch (stage) {
            0 => {
                const entry = removal.entry;
                const head = Head.from(nodeAt(region, entry.row).head.load(.monotonic));
                if (head.version != 0) versionAt(region, head.version).prefetch();
                const version = versionAt(region, entry.old);
                const keys = &removal.root.keys;
                if (version.isTombstone() or !keys.allows(version.payloadSize())) return;
                const prefix = keys.prefixOfRow(index_entry.rowOf(region, entry.old), room);
                removal.search = .begin(region, removal.root, prefix);
                // Down to the blocks that do not stand in the cache.
                while (removal.search.level > 2) removal.search.step(region, top);
            },
            1, 2 => if (removal.search.level == 3 - stage) removal.search.step(region, top),
            else => removal.search.askForNext(region, top),
        }
    }
};

fn askForState(region: *const Region, granule: u32) void {
    if (granule != 0) slabs.prefetchState(region, granule);
}

const testing = std.testing;
const index_guide_block = @import("index_guide_block.zig");
const Indexed = @import("index_test.zig").Indexed;
const ring = @import("commit_ring.zig");
const vacuum = @import("vacuum.zig");

test "VacuumAhead: removals know where their keys stand before their turn" {
    var indexed: Indexed = undefined;
    try indexed.init(32 << 20, false);
    defer indexed.deinit();
    const region = &indexed.bench.region;
    const reader = try indexed.bench.session();
    defer reader.close();
    const session = indexed.session;
    for (0..4000) |id| _ = try indexed.put(.insert, @intCast(id), @intCast(id), "s");
    reader.pin(); // What is superseded from here on stays in the log.
    for (0..200) |n| _ = try indexed.put(.upsert, @intCast(n * 7), @intCast(5000 + n), "s");
    reader.unpin();
    session.pin();
    _ = ring.advance(region, 1 << 30);
    session.unpin();
    vacuum.advanceHorizon(region);
    session.pin();
    defer session.unpin();
    const horizon = region.control.shared.horizon.load(.acquire);

    const ahead = &session.vacuum_ahead;
    var removals: u32 = 0;
    while (!session.log.isEmpty() and session.log.oldest().ts.load(.acquire) <= horizon) {
        const entry = session.log.oldest();
        if (entry.kind == .index and entry.old != 0) {
            ahead.step(&session.log, horizon, &session.index_scratch.key);
            const root = table_indexes.rootOf(region, entry.table, entry.old_generation);
            const found = ahead.near(session.log.tail);
            const is_known = index_ahead.isLarge(region.pointer(Root, root));
            try testing.expectEqual(is_known, found.block.granule != 0);
            if (is_known) {
                const block = index_guide_block.blockAt(region, found.block.granule);
                try testing.expect(found.block.isLinked(region));
                try testing.expectEqual(root, block.root);
                try testing.expectEqual(1, block.level);
                removals += 1;
            }
        }
        try testing.expectEqual(1, vacuum.drain(session, 1));
    }
    try testing.expect(removals >= 2 * 200); // of n, and of s and n
}
