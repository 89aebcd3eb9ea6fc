//! Rows that are born and die: nodes, tombstones, and the removal of both.

const Kernel = @import("../kernel.zig").Kernel;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "row.insert",
        .about = "two inserts of one key: one of them finds a duplicate",
        .fibers = &.{
            .{ .steps = &.{.{ .insert = .{ 0, 10 } }} },
            .{ .steps = &.{.{ .insert = .{ 0, 20 } }} },
        },
        .plans = scenario.usual(2),
    }),
    kernel(.{
        .name = "row.neighbours",
        .about = "inserts of two keys into one bucket",
        .fibers = &.{
            .{ .steps = &.{.{ .insert = .{ 0, 10 } }} },
            .{ .steps = &.{.{ .insert = .{ 1, 20 } }} },
        },
        .plans = scenario.usual(2),
    }),
    kernel(.{
        .name = "row.delete",
        .about = "two deletes of one row: one of them finds nothing",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .delete = 0 }} },
            .{ .steps = &.{.{ .delete = 0 }} },
        },
        .plans = scenario.usual(2),
    }),
    kernel(.{
        .name = "row.reinsert",
        .about = "a row is deleted, inserted again, and removed, while another writes it",
        .rows = &.{100},
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .{ .insert = .{ 0, 10 } } } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 20 } }, .maintain } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "row.removal",
        .about = "vacuum takes a deleted row's node away while the key is inserted again",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .maintain } },
            .{ .steps = &.{ .{ .insert = .{ 0, 20 } }, .{ .get = 1 } } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "row.removal_neighbour",
        .about = "two nodes next to each other are removed at the same time",
        .rows = &.{ 100, 200, 300 },
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .maintain } },
            .{ .steps = &.{ .{ .delete = 1 }, .maintain, .maintain } },
            .{ .steps = &.{ .{ .get = 2 }, .snapshot } },
        },
        .plans = scenario.seeded,
    }),
    kernel(.{
        .name = "row.churn",
        .about = "deletes and inserts of one key by three, with vacuum in between",
        .rows = &.{100},
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .{ .upsert = .{ 0, 1 } } } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 2 } }, .{ .delete = 0 }, .maintain } },
            .{ .steps = &.{ .{ .get = 0 }, .snapshot, .{ .delete = 0 } } },
        },
        .plans = scenario.seeded,
    }),
};
