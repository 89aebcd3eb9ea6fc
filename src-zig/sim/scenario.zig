//! Kernels over the engine, written as lists: what rows there are, and what each fiber does.

const std = @import("std");
const sync = @import("sync");
const actions = @import("actions.zig");
const decisions = @import("decisions.zig");
const ending = @import("ending.zig");
const fixture = @import("fixture.zig");
const history = @import("history.zig");
const kernel_module = @import("kernel.zig");
const scheduler = sync.scheduler;
const Kernel = kernel_module.Kernel;
const Plan = kernel_module.Plan;

pub const KeyValue = struct { u8, i64 };

/// One thing that a fiber does.
pub const Step = union(enum) {
    insert: KeyValue,
    upsert: KeyValue,
    update: KeyValue,
    add: KeyValue,
    /// An amount from row 0 or 1 to the other one.
    transfer: KeyValue,
    /// One value for rows 0, 1 and 2, in one transaction that takes the gate.
    fill: i64,
    delete: u8,
    /// A transaction of several statements.
    decide: decisions.Decision,
    get: u8,
    snapshot,
    /// A transaction that reads all rows.
    look,
    /// The same by views of the rows, which it reads at its end.
    look_by_views,
    scan,
    heap_scan,
    /// Like `scan`, by the index, upwards or downwards.
    index_scan: bool,
    /// Counts the rows from a number to another by the index; null for no end.
    count: [2]?i64,
    /// A round of draining, horizon and vacuum.
    maintain,
    /// A whole round of a maintenance thread.
    round,
    /// Takes away the pin of the oldest snapshot in which nothing runs.
    revoke,
    /// Closes the fiber's session and opens another one.
    reopen,
    /// Closes the fiber's session for good.
    leave,
    /// Adds an index and enters the rows that are there.
    build_index,
    /// Recovers every process that is dead now.
    recover,
    /// Fails if somebody holds the gate.
    gate_is_open,
};

pub const Fiber = struct {
    steps: []const Step,
    /// Starts when that fiber has finished or died.
    after: ?u8 = null,
};

pub const Earlier = struct { fiber: u8, step: Step };

pub const Scenario = struct {
    name: []const u8,
    about: []const u8,
    /// Values of the rows 0, 1, ... that exist before.
    rows: []const ?i64 = &.{},
    fibers: []const Fiber,
    /// What the fibers' sessions did one after the other before the run. All of it is ripe for
    /// vacuum then, and none of it is freed.
    before: []const Earlier = &.{},
    cells_log2: u6 = 3,
    buckets_log2: u6 = 0,
    index: fixture.Index = .none,
    watch_freed: bool = true,
    scarce: bool = false,
    plans: []const Plan,
    catches: []const kernel_module.Catch = &.{},
};

/// Scenarios in which fiber 0 takes some steps and fiber 1 recovers it when it has ended: by its
/// death, where the plans say so.
pub const Recovery = struct {
    index: fixture.Index = .none,
    plans: []const Plan,

    pub fn kernel(
        comptime recovery: Recovery,
        comptime name: []const u8,
        comptime about: []const u8,
        comptime rows: []const ?i64,
        comptime steps: []const Step,
    ) Kernel {
        return kernelOf(.{
            .name = name,
            .about = about,
            .rows = rows,
            .index = recovery.index,
            .fibers = &.{ .{ .steps = steps }, .{ .steps = &.{.recover}, .after = 0 } },
            .plans = recovery.plans,
        });
    }
};

const kernelOf = kernel;

pub fn kernel(comptime scenario: Scenario) Kernel {
    const Made = struct {
        const threads = blk: {
            var list: [scenario.fibers.len]scheduler.Thread = undefined;
            for (scenario.fibers, &list) |fiber, *thread| {
                thread.* = .{ .run = Performer(fiber.steps).run, .after = fiber.after };
            }
            break :blk list;
        };

        fn init() void {
            history.unique = scenario.index == .unique;
            var rows: history.State = @splat(null);
            for (scenario.rows, 0..) |value, key| rows[key] = value;
            fixture.reset(.{
                .cells_log2 = scenario.cells_log2,
                .buckets_log2 = scenario.buckets_log2,
                .sessions = scenario.fibers.len,
                .rows = rows,
                .index = scenario.index,
                .watch_freed = scenario.watch_freed,
                .scarce = scenario.scarce,
            });
            if (scenario.before.len == 0) return;
            for (scenario.before) |earlier| {
                scheduler.actAs(earlier.fiber);
                perform(earlier.step);
            }
            fixture.ripen();
            scheduler.setProcess(scheduler.process_outside);
        }
    };
    return .{
        .name = scenario.name,
        .about = scenario.about,
        .threads = &Made.threads,
        .init = Made.init,
        .check = ending.check,
        .plans = scenario.plans,
        .catches = scenario.catches,
    };
}

fn Performer(comptime steps: []const Step) type {
    return struct {
        fn run() void {
            for (steps) |step| perform(step);
        }
    };
}

fn perform(step: Step) void {
    switch (step) {
        .insert => |it| actions.insert(it[0], it[1]),
        .upsert => |it| actions.upsert(it[0], it[1]),
        .update => |it| actions.update(it[0], it[1]),
        .add => |it| actions.add(it[0], it[1]),
        .transfer => |it| actions.transfer(it[0], it[1]),
        .fill => |value| actions.fill(value),
        .delete => |key| actions.delete(key),
        .decide => |decision| decisions.decide(decision),
        .get => |key| actions.get(key),
        .snapshot => actions.snapshot(),
        .look => decisions.look(),
        .look_by_views => decisions.lookByViews(),
        .scan => actions.scan(),
        .heap_scan => actions.heapScan(),
        .count => |ends| actions.count(ends[0], ends[1]),
        .index_scan => |descending| actions.indexScan(descending),
        .maintain => actions.maintain(),
        .round => actions.round(),
        .revoke => actions.revoke(),
        .reopen => actions.reopen(),
        .leave => actions.leave(),
        .build_index => actions.buildIndex(),
        .recover => actions.recover(),
        .gate_is_open => actions.expectOpenGate(),
    }
}

/// The plans that most scenarios of two fibers want: all interleavings with few preemptions, each
/// fiber killed or stopped anywhere, and random ones with all the rest.
pub fn usual(comptime preemptions: u8) []const Plan {
    return &.{
        .{ .strategy = .exhaustive, .runs_max = 2_000_000, .preemptions_max = preemptions },
        .{
            .strategy = .exhaustive,
            .runs_max = 2_000,
            .preemptions_max = 1,
            .victims = &.{.{ .fiber = 0 }},
        },
        .{
            .strategy = .exhaustive,
            .runs_max = 100_000,
            .preemptions_max = 0,
            .victims = &.{.{ .fiber = 1 }},
        },
        .{
            .strategy = .exhaustive,
            .runs_max = 100_000,
            .preemptions_max = 0,
            .victims = &.{.{ .fiber = 0, .kind = .freeze }},
        },
        .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
    };
}

/// The same for scenarios of many accesses: one preemption, and none together with a death.
pub const long: []const Plan = &.{
    .{ .strategy = .exhaustive, .runs_max = 2_000_000, .preemptions_max = 1 },
    .{
        .strategy = .exhaustive,
        .runs_max = 1_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 0 }},
    },
    .{
        .strategy = .exhaustive,
        .runs_max = 1_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 1 }},
    },
    .{
        .strategy = .exhaustive,
        .runs_max = 1_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 0, .kind = .freeze }},
    },
    .{ .strategy = .random, .runs_max = 20, .victims = &.{.{ .fiber = 0 }} },
    .{ .strategy = .random, .runs_max = 5_000 },
    .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
};

/// For three fibers and more: seeds only.
pub const seeded: []const Plan = &.{
    .{ .strategy = .random, .runs_max = 10_000 },
    .{ .strategy = .priority, .runs_max = 10_000, .depth = 4 },
    .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
    .{ .strategy = .random, .runs_max = 50, .victims = &.{.{ .fiber = 0 }} },
};

/// Fewer of them.
pub const seeded_few: []const Plan = &.{
    .{ .strategy = .random, .runs_max = 5_000 },
    .{ .strategy = .priority, .runs_max = 5_000, .depth = 4 },
    .{ .strategy = .random, .runs_max = 3_000, .store_buffers = true },
    .{ .strategy = .random, .runs_max = 10, .victims = &.{.{ .fiber = 0 }} },
};
