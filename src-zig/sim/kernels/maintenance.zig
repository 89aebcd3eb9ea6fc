//! Whole rounds of maintenance beside committers: recovering the dead, draining the ring, moving
//! the horizon, freeing what orphans left. Several processes may do it at once, and each may die in
//! the middle.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

const writer: []const scenario.Step = &.{ .{ .add = .{ 0, 1 } }, .{ .delete = 1 }, .leave };

/// One of two dies anywhere, or stops; then both die, at every pair of places.
const rounds: []const Plan = scenario.long ++ .{
    Plan{
        .strategy = .random,
        .runs_max = 1,
        .victims = &.{ .{ .fiber = 0 }, .{ .fiber = 1 } },
    },
};

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "maintenance.writer",
        .about = "one writes, deletes and leaves, the other cleans up after it, dead or alive",
        .rows = &.{ 100, 200 },
        .fibers = &.{ .{ .steps = writer }, .{ .steps = &.{ .round, .round } } },
        .plans = rounds,
        .catches = &.{.exhaustively(.recovery_of_the_living)},
    }),
    kernel(.{
        .name = "maintenance.orphan",
        .about = "two clean up what a third has left, while it may still be leaving",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .fibers = &.{
            .{ .steps = writer },
            .{ .steps = &.{ .round, .round, .{ .insert = .{ 2, 5 } } } },
            .{ .steps = &.{ .round, .round, .{ .upsert = .{ 0, 6 } } } },
        },
        .plans = scenario.seeded_few ++ .{
            Plan{ .strategy = .random, .runs_max = 10, .victims = &.{.{ .fiber = 1 }} },
        },
    }),
    kernel(.{
        .name = "maintenance.adopted",
        .about = "two find the log that somebody has left, and one of them goes on with it",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .before = &.{
            .{ .fiber = 0, .step = .{ .upsert = .{ 0, 1 } } },
            .{ .fiber = 0, .step = .{ .delete = 1 } },
            .{ .fiber = 0, .step = .leave },
        },
        .fibers = &.{
            .{ .steps = &.{} },
            .{ .steps = &.{ .round, .{ .insert = .{ 2, 5 } } } },
            .{ .steps = &.{ .round, .{ .upsert = .{ 0, 6 } } } },
        },
        .plans = &.{
            .{ .strategy = .exhaustive, .runs_max = 200_000, .preemptions_max = 1 },
            .{
                .strategy = .exhaustive,
                .runs_max = 20_000,
                .preemptions_max = 0,
                .victims = &.{.{ .fiber = 1 }},
            },
            .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
        },
        .catches = &.{.exhaustively(.shared_orphan)},
    }),
    kernel(.{
        .name = "maintenance.three",
        .about = "two write rows of an index and one cleans up, and one of the two dies",
        .rows = &.{ 5, 6 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .transfer = .{ 0, 1 } }, .{ .delete = 1 }, .leave } },
            .{ .steps = &.{ .round, .round, .round } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 7 } }, .round, .{ .upsert = .{ 0, 5 } } } },
        },
        .plans = scenario.seeded_few,
    }),
};
