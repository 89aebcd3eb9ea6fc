//! The guide of the index on the rows' number: blocks of two hints, which split at each third entry
//! and go when they are empty, while others look for their way and die.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;
const Step = scenario.Step;

/// All interleavings with few preemptions, each fiber killed anywhere, and random ones.
const pairs: []const Plan = &.{
    .{ .strategy = .exhaustive, .runs_max = 200_000, .preemptions_max = 1 },
    .{
        .strategy = .exhaustive,
        .runs_max = 20_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 0 }},
    },
    .{
        .strategy = .exhaustive,
        .runs_max = 20_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 1 }},
    },
    .{ .strategy = .random, .runs_max = 10_000 },
    .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
    .{ .strategy = .priority, .runs_max = 10_000, .depth = 4 },
};

/// Killed anywhere.
const one_death: []const Plan = &.{.{
    .strategy = .exhaustive,
    .runs_max = 20_000,
    .preemptions_max = 0,
    .victims = &.{.{ .fiber = 0 }},
}};

/// And whoever recovers it, anywhere.
const two_deaths: []const Plan = one_death ++ .{Plan{
    .strategy = .exhaustive,
    .runs_max = 20_000,
    .preemptions_max = 0,
    .victims = &.{ .{ .fiber = 0 }, .{ .fiber = 1 } },
}};

const one: scenario.Recovery = .{ .index = .plain, .plans = one_death };
const two: scenario.Recovery = .{ .index = .plain, .plans = two_deaths };

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "guide.split",
        .about = "two entries want to split one block, at its end and in its middle",
        .rows = &.{ 4, 8 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{.{ .insert = .{ 2, 9 } }} },
            .{ .steps = &.{.{ .insert = .{ 3, 6 } }} },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "guide.split_scan",
        .about = "scans in both directions while blocks split below and above",
        .rows = &.{ 4, 8, 12 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{.{ .insert = .{ 3, 16 } }} },
            .{ .steps = &.{ .{ .index_scan = false }, .{ .index_scan = true } } },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "guide.empty",
        .about = "a block becomes empty and goes while an entry is added to it",
        .rows = &.{ 5, 6, 7 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 1 }, .{ .delete = 2 }, .maintain, .maintain } },
            .{ .steps = &.{ .{ .insert = .{ 3, 6 } }, .{ .index_scan = true } } },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "guide.hints",
        .about = "entries move and their memory is used again while three hold hints for it",
        .rows = &.{ 5, 6, 7, 8 },
        .index = .plain,
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 9 } }, .maintain, .{ .delete = 1 }, .maintain } },
            .{ .steps = &.{
                .{ .upsert = .{ 2, 5 } },
                .maintain,
                .{ .upsert = .{ 2, 7 } },
                .maintain,
            } },
            .{ .steps = &.{ .{ .index_scan = false }, .{ .upsert = .{ 3, 6 } }, .maintain } },
        },
        .plans = scenario.seeded,
        .catches = &.{.randomly(.trusted_hint)},
    }),
    two.kernel(
        "guide.death_split",
        "killed while a block splits and the level above begins",
        &.{ 4, 8 },
        &.{.{ .insert = .{ 2, 12 } }},
    ),
    one.kernel(
        "guide.death_begin",
        "killed while the first blocks of a guide are made",
        &.{},
        &.{ .{ .insert = .{ 0, 1 } }, .{ .insert = .{ 1, 2 } }, .{ .insert = .{ 2, 3 } } },
    ),
    one.kernel(
        "guide.death_empty",
        "killed while empty blocks go",
        &.{ 5, 6, 7, 8 },
        &.{ .{ .delete = 1 }, .{ .delete = 2 }, .{ .delete = 3 }, .maintain, .maintain },
    ),
};
