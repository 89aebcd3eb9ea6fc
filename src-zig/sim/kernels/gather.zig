//! Group commit: whoever is told that a sync is expected is in it.
//!
//! A thread gathers those who come back, takes its word back, and looks at what is committed: that
//! is what its sync covers. Two others commit, count themselves, and wake nobody if they are told
//! that they need not. The log's disk and its ring are not needed here: a commit is a number.

const std = @import("std");
const sync = @import("sync");
const engine = @import("aerostore");
const fixture = @import("../fixture.zig");
const Kernel = @import("../kernel.zig").Kernel;
const scheduler = sync.scheduler;
const log_gather = engine.log_gather;
const Shm = sync.Shm;

const patience_ns = std.time.ns_per_ms;
/// Fibers that commit; fiber 0 syncs.
const committers = 2;

var committed: Shm(u64) = undefined;
/// What the sync covers, 0 until it has looked.
var covered: u64 = undefined;
/// Of each fiber: its commit if it was told that a sync is expected, else 0.
var trusting: [committers + 1]u64 = undefined;

fn init() void {
    fixture.reset(.{ .cells_log2 = 6, .sessions = 1 });
    committed = .init(0);
    covered = 0;
    trusting = @splat(0);
}

fn gather() void {
    var gathering: log_gather.Gathering = .{
        .crowd = committers,
        .deadline_ns = sync.nowNs() + patience_ns,
    };
    gathering.wait(&fixture.region);
    _ = gathering.begin(&fixture.region);
    covered = committed.load(.acquire);
}

fn commit() void {
    const position = committed.fetchAdd(1, .acq_rel) + 1;
    if (log_gather.arrive(&fixture.region)) trusting[scheduler.self()] = position;
}

fn check() void {
    if (scheduler.died(0)) return;
    for (trusting) |position| {
        if (position > covered) scheduler.fail("commit {d} was told to rely on it", .{position});
    }
}

const threads = [_]scheduler.Thread{ .{ .run = gather }, .{ .run = commit }, .{ .run = commit } };

pub const kernels = [_]Kernel{.{
    .name = "gather.crowd",
    .about = "a sync waits for two who are expected: whoever relies on it is in it",
    .threads = &threads,
    .init = init,
    .check = check,
    .plans = &.{
        .{ .strategy = .exhaustive, .runs_max = 500_000, .preemptions_max = 3 },
        .{
            .strategy = .exhaustive,
            .runs_max = 100_000,
            .preemptions_max = 1,
            .victims = &.{.{ .fiber = 1 }},
        },
        .{
            .strategy = .exhaustive,
            .runs_max = 100_000,
            .preemptions_max = 1,
            .victims = &.{.{ .fiber = 1, .kind = .freeze }},
        },
        .{
            .strategy = .exhaustive,
            .runs_max = 100_000,
            .preemptions_max = 1,
            .victims = &.{.{ .fiber = 0 }},
        },
        .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
        .{ .strategy = .priority, .runs_max = 5_000, .depth = 3 },
    },
    .catches = &.{.{
        .mutation = .target_kept,
        .plan = .{ .strategy = .exhaustive, .runs_max = 500_000, .expect_finding = true },
    }},
}};
