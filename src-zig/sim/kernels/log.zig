//! Leaders of the log: what is drained is in the log, whoever dies or stands still.
//!
//! The disk is a list of segments in plain memory. A leader appends what it has read of the ring
//! in one step, as a write into the page cache is one, and passes `drained`. One that takes over
//! copies what its predecessor has between `durable` and `drained` into a segment of its own, and
//! then makes it count. Nothing here syncs: `durable` stays where a take-over puts it.
//!
//! After each run another leader takes over, drains the rest, and the log must hold every
//! committed transaction once, in order, with its row.

const std = @import("std");
const sync = @import("sync");
const engine = @import("aerostore");
const actions = @import("../actions.zig");
const ending = @import("../ending.zig");
const fixture = @import("../fixture.zig");
const history = @import("../history.zig");
const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scheduler = sync.scheduler;
const log_drain = engine.log_drain;
const log_leader = engine.log_leader;
const log_row = engine.log_row;
const ring = engine.commit_ring;
const Leader = log_leader.Leader;
const TableInfo = engine.table_info.TableInfo;

const entries_max = 16;
const segments_max = 8;

/// A transaction in the log: it wrote one row.
const Entry = struct { position: u64, key: i64, value: i64 };

const Segment = struct {
    epoch: u32,
    start: u64,
    /// It has its header.
    counts: bool = false,
    entries: [entries_max]Entry = undefined,
    count: usize = 0,

    fn add(segment: *Segment, entry: Entry) void {
        if (segment.count == entries_max) scheduler.fail("too many entries", .{});
        segment.entries[segment.count] = entry;
        segment.count += 1;
    }
};

var segments: [segments_max]Segment = undefined;
var segment_count: usize = 0;

fn init() void {
    var rows: history.State = @splat(null);
    rows[0] = 100;
    rows[1] = 200;
    fixture.reset(.{
        .cells_log2 = 6,
        .sessions = 3,
        .rows = rows,
        // A leader that was replaced looks at what it likes.
        .watch_freed = false,
    });
    segment_count = 0;
    const control = fixture.region.control;
    control.shared.log_state.raw = @intFromEnum(engine.region.LogState.working);
    control.durable.word.raw = control.drained.word.raw;
    control.log.logged.raw = control.drained.word.raw;
    for (0..2) |key| {
        scheduler.actAs(@intCast(key));
        actions.upsert(@intCast(key), @intCast(10 + key));
    }
    scheduler.setProcess(scheduler.process_outside);
}

/// What a transaction's frame becomes before it is written.
const Sink = struct {
    buffer: [1024]u8 = undefined,
    size: usize = 0,
    position: u64 = 0,
    entries: [entries_max]Entry = undefined,
    count: usize = 0,

    pub fn begin(sink: *Sink, _: engine.log_frame.Kind, position: u64) void {
        sink.position = position;
        sink.size = 0;
    }
    pub fn room(sink: *Sink, size: usize) error{OutOfMemory}![]u8 {
        if (sink.size + size > sink.buffer.len) return error.OutOfMemory;
        return sink.buffer[sink.size..];
    }
    pub fn advance(sink: *Sink, size: usize) void {
        sink.size += size;
    }
    pub fn frameSize(sink: *const Sink) usize {
        return sink.size;
    }
    pub fn finishPart(_: *Sink) error{OutOfMemory}!void {
        unreachable;
    }
    pub fn finish(sink: *Sink) error{OutOfMemory}!void {
        const row = log_row.read(sink.buffer[0..sink.size], &.{fixture.tableHere()}) catch return;
        if (sink.count == entries_max) return error.OutOfMemory;
        sink.entries[sink.count] = .{
            .position = sink.position,
            .key = std.mem.readInt(i64, row.key[0..8], .little),
            .value = std.mem.readInt(i64, row.cells[0..8], .little),
        };
        sink.count += 1;
    }
    pub fn cancel(sink: *Sink) void {
        sink.size = 0;
    }
};

fn findTable(_: *anyopaque, id: u8) ?*const TableInfo {
    return if (id == 0) fixture.tableHere() else null;
}

/// Where the entries of a segment are void.
fn limitOf(index: usize) u64 {
    var limit: u64 = std.math.maxInt(u64);
    for (segments[0..segment_count]) |*later| {
        if (later.counts and later.epoch > segments[index].epoch) limit = @min(limit, later.start);
    }
    return limit;
}

/// Takes the log over from whoever leads, and begins a segment.
fn takeOver(process: u32) ?struct { Leader, *Segment } {
    const seen = fixture.region.control.log.leader.load(.acquire);
    const identity: log_leader.Identity = .{ .process = process, .generation = 1 };
    var leader = Leader.take(&fixture.region, seen, identity) orelse return null;
    if (segment_count == segments_max) scheduler.fail("too many segments", .{});
    const segment = &segments[segment_count];
    segment_count += 1;
    segment.* = .{ .epoch = leader.word.epoch, .start = leader.durablePosition() + 1 };
    var at = segment.start;
    while (at <= leader.drainedPosition()) : (at += 1) {
        if (entryAt(at)) |entry| segment.add(entry);
    }
    sync.step();
    segment.counts = true;
    sync.step();
    if (!leader.passDurable(leader.drainedPosition())) return null;
    return .{ leader, segment };
}

/// The entry of a position, in the segments that count.
fn entryAt(position: u64) ?Entry {
    var found: ?Entry = null;
    for (segments[0..segment_count], 0..) |*segment, index| {
        if (!segment.counts or position >= limitOf(index)) continue;
        for (segment.entries[0..segment.count]) |entry| {
            if (entry.position != position) continue;
            if (found != null) scheduler.fail("position {d} is logged twice", .{position});
            found = entry;
        }
    }
    return found;
}

/// One batch. False if the lead is lost.
fn drainOnce(leader: *Leader, segment: *Segment) bool {
    var drain: log_drain.Drain = .{
        .region = &fixture.region,
        .tables = .{ .context = undefined, .find = findTable },
        .tables_known = 1,
    };
    var sink: Sink = .{};
    const to = ring.stampedPosition(&fixture.region);
    const result = drain.range(&sink, leader.drainedPosition(), to);
    if (result.failure) |failure| switch (failure) {
        error.Astray => if (leader.holds()) scheduler.fail("astray at {d}", .{result.position}),
        else => scheduler.fail("{t}", .{failure}),
    };
    sync.step();
    for (sink.entries[0..sink.count]) |entry| segment.add(entry);
    sync.step();
    return leader.passDrained(result.position);
}

fn stamp() void {
    const session = fixture.current();
    session.pin();
    _ = ring.advance(&fixture.region, 8);
    session.unpin();
}

fn Leading(comptime rounds: u8) type {
    return struct {
        fn run() void {
            var leader, const segment = takeOver(scheduler.self()) orelse return;
            for (0..rounds) |_| {
                stamp();
                if (!drainOnce(&leader, segment)) return;
            }
        }
    };
}

fn commit() void {
    actions.upsert(0, 30);
    actions.upsert(1, 31);
}

fn check() void {
    const region = &fixture.region;
    const drained = ring.drainedPosition(region);
    checkUpTo(drained);
    // The last one takes over from the dead and the living, and drains what is left.
    scheduler.setProcess(fixture.janitor);
    const session = fixture.attach(fixture.janitor);
    session.pin();
    var wait: engine.waiting.Wait = .{};
    const last = engine.reader.snapshotNow(region);
    while (ring.stampedPosition(region) < last) wait.drain(region);
    session.unpin();
    session.close();
    fixture.participants[fixture.janitor].detach(false);
    var leader, const segment = takeOver(0) orelse scheduler.fail("nobody can lead", .{});
    if (!drainOnce(&leader, segment)) scheduler.fail("the last leader is not alone", .{});
    checkUpTo(last);

    // From here on as without a log.
    for ([_]*sync.Shm(u64){ &region.control.drained.word, &region.control.durable.word }) |word| {
        word.raw = ring.Watermark.position(word.raw);
    }
    region.control.shared.log_state.raw = 0;
    ending.check();
}

/// The log has every commit up to a position, and nothing else.
fn checkUpTo(position: u64) void {
    const region = &fixture.region;
    var at: u64 = 4; // Before that, there was no log.
    while (at <= position) : (at += 1) {
        const entry = entryAt(at);
        switch (ring.decisionAt(region, at)) {
            .skipped => if (entry != null) scheduler.fail("{d} was skipped and is logged", .{at}),
            .committed => |version| {
                const logged = entry orelse scheduler.fail("{d} is drained and not logged", .{at});
                const payload = engine.version.versionAt(region, version).payload();
                const columns = &fixture.tableHere().columns;
                const id = std.mem.readInt(i64, payload[columns[0].offset..][0..8], .little);
                const n = std.mem.readInt(i64, payload[columns[1].offset..][0..8], .little);
                if (logged.key != id or logged.value != n) {
                    scheduler.fail("{d} is logged as another row", .{at});
                }
            },
            else => scheduler.fail("{d} is drained and not decided", .{at}),
        }
    }
}

const both = [_]scheduler.Thread{ .{ .run = Leading(2).run }, .{ .run = Leading(0).run } };
const three = [_]scheduler.Thread{
    .{ .run = Leading(2).run },
    .{ .run = Leading(2).run },
    .{ .run = commit },
};

const exhaustive: Plan = .{ .strategy = .exhaustive, .runs_max = 500_000, .preemptions_max = 3 };

pub const kernels = [_]Kernel{
    .{
        .name = "log.takeover",
        .about = "a leader takes over while the other one is anywhere: nothing drained is lost",
        .threads = &both,
        .init = init,
        .check = check,
        .plans = &.{
            exhaustive,
            .{
                .strategy = .exhaustive,
                .runs_max = 100_000,
                .preemptions_max = 1,
                .victims = &.{.{ .fiber = 0 }},
            },
            .{
                .strategy = .exhaustive,
                .runs_max = 100_000,
                .preemptions_max = 1,
                .victims = &.{.{ .fiber = 0, .kind = .freeze }},
            },
            .{
                .strategy = .exhaustive,
                .runs_max = 100_000,
                .preemptions_max = 1,
                .victims = &.{.{ .fiber = 1 }},
            },
            .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
        },
        .catches = &.{.exhaustively(.drained_without_epoch)},
    },
    .{
        .name = "log.three",
        .about = "two leaders and a writer",
        .threads = &three,
        .init = init,
        .check = check,
        .plans = &.{
            .{ .strategy = .random, .runs_max = 5_000 },
            .{ .strategy = .priority, .runs_max = 5_000, .depth = 4 },
            .{ .strategy = .random, .runs_max = 20, .victims = &.{.{ .fiber = 0 }} },
            .{
                .strategy = .random,
                .runs_max = 20,
                .victims = &.{.{ .fiber = 1, .kind = .freeze }},
            },
            .{ .strategy = .random, .runs_max = 20, .victims = &.{.{ .fiber = 2 }} },
        },
    },
};
