//! Summaries of blocks of the guide: counts beside writers, splits and blocks that go.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;
const Step = scenario.Step;

/// All interleavings with few preemptions, each fiber killed anywhere, and random ones.
const pairs: []const Plan = &.{
    .{ .strategy = .exhaustive, .runs_max = 100_000, .preemptions_max = 1 },
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
    .{
        .strategy = .exhaustive,
        .runs_max = 20_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 1, .kind = .freeze }},
    },
    .{ .strategy = .random, .runs_max = 10_000 },
    .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
    .{ .strategy = .priority, .runs_max = 10_000, .depth = 4 },
};

const all: Step = .{ .count = .{ null, null } };
const counts: []const Step = &.{ all, .maintain, all };

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "summary.move",
        .about = "rows are counted, and the counts kept, while one moves from block to block",
        .rows = &.{ 5, 6, 7 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 8 } }, all } },
            .{ .steps = counts },
        },
        .plans = pairs,
        .catches = &.{
            .randomly(.no_clear_of_old_key),
            .exhaustively(.clear_before_head),
        },
    }),
    kernel(.{
        .name = "summary.back",
        .about = "a row moves to another block and back while others count and keep the count",
        .rows = &.{ 5, 6, 7 },
        .index = .plain,
        .before = &.{.{ .fiber = 1, .step = all }},
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 8 } }, .{ .upsert = .{ 0, 5 } }, .maintain } },
            .{ .steps = &.{ .{ .count = .{ null, 6 } }, .{ .count = .{ 6, null } }, all } },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "summary.insert",
        .about = "a row comes, and its block splits, while others count and keep the count",
        .rows = &.{ 5, 6, 8 },
        .index = .plain,
        .before = &.{.{ .fiber = 1, .step = all }},
        .fibers = &.{
            .{ .steps = &.{ .{ .insert = .{ 3, 7 } }, all } },
            .{ .steps = counts },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "summary.delete",
        .about = "a row goes and its entry after it, while others count and keep the count",
        .rows = &.{ 5, 6, 7 },
        .index = .plain,
        .before = &.{.{ .fiber = 1, .step = all }},
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 2 }, .maintain, .{ .insert = .{ 2, 7 } } } },
            .{ .steps = counts },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "summary.block_goes",
        .about = "a block goes that was split off a counted one, while a row comes into it",
        .rows = &.{ 5, 6 },
        .index = .plain,
        // The second block begins with the entry of a row that is deleted, so it becomes empty
        // without a change of what is counted at its left.
        .before = &.{
            .{ .fiber = 0, .step = .{ .delete = 1 } },
            .{ .fiber = 1, .step = .maintain },
            .{ .fiber = 1, .step = all },
            .{ .fiber = 1, .step = .{ .insert = .{ 2, 7 } } },
            .{ .fiber = 0, .step = .{ .delete = 2 } },
        },
        .fibers = &.{
            .{ .steps = &.{ .maintain, all } },
            .{ .steps = &.{.{ .insert = .{ 3, 8 } }} },
        },
        .plans = pairs,
        .catches = &.{.{
            .mutation = .link_before_clear,
            .plan = .{
                .strategy = .exhaustive,
                .runs_max = 1_000_000,
                .preemptions_max = 1,
                .expect_finding = true,
            },
        }},
    }),
    kernel(.{
        .name = "summary.publishers",
        .about = "two count one block and keep the count while a row comes into it",
        .rows = &.{5},
        .index = .plain,
        .fibers = &.{
            .{ .steps = counts },
            .{ .steps = &.{ .{ .insert = .{ 1, 7 } }, all } },
        },
        .plans = pairs,
        .catches = &.{.exhaustively(.untagged_candidate)},
    }),
    kernel(.{
        .name = "summary.churn",
        .about = "counts beside moves, deletes and vacuum of two writers, with scarce memory",
        .rows = &.{ 5, 6, 7, 8 },
        .index = .plain,
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 9 } }, .maintain, .{ .delete = 1 }, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 2, 5 } }, .maintain, .{ .upsert = .{ 2, 7 } } } },
            .{ .steps = &.{ all, .maintain, .{ .count = .{ 6, 8 } }, .maintain, all } },
        },
        .plans = scenario.seeded,
    }),
};
