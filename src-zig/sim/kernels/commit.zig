//! Writers of the same rows against each other.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

const unstamped: Plan = .{
    .strategy = .exhaustive,
    .runs_max = 100_000,
    .victims = &.{.{ .fiber = 0 }},
};

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "commit.upsert",
        .about = "two blind writes of one row",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .upsert = .{ 0, 10 } }} },
            .{ .steps = &.{.{ .upsert = .{ 0, 20 } }} },
        },
        .plans = scenario.usual(2),
    }),
    kernel(.{
        .name = "commit.add",
        .about = "two additions to one row: no lost update",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .add = .{ 0, 1 } }} },
            .{ .steps = &.{.{ .add = .{ 0, 2 } }} },
        },
        .plans = scenario.usual(2),
        .catches = &.{.exhaustively(.no_guard_cas)},
    }),
    kernel(.{
        .name = "commit.transfer",
        .about = "two transactions over the same two rows, in opposite directions",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{ .transfer = .{ 0, 1 } }} },
            .{ .steps = &.{.{ .transfer = .{ 1, 2 } }} },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "commit.ring_of_one",
        .about = "a ring of one cell: every commit waits for the one before",
        .rows = &.{100},
        .cells_log2 = 0,
        .fibers = &.{
            .{ .steps = &.{ .{ .add = .{ 0, 1 } }, .{ .add = .{ 0, 2 } } } },
            .{ .steps = &.{.{ .add = .{ 0, 4 } }} },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "commit.lapped",
        .about = "the ring goes on over a commit whose owner has not stamped it",
        .rows = &.{ 100, 200 },
        .cells_log2 = 1,
        .fibers = &.{
            .{ .steps = &.{.{ .add = .{ 0, 1 } }} },
            .{ .steps = &.{
                .{ .upsert = .{ 1, 5 } }, .{ .upsert = .{ 1, 6 } }, .{ .upsert = .{ 1, 7 } },
                .{ .get = 0 },            .{ .add = .{ 0, 2 } },
            } },
        },
        .plans = scenario.long,
        .catches = &.{.exhaustively(.no_stamp_by_drainer)},
    }),
    kernel(.{
        .name = "commit.unstamped",
        .about = "an owner dies or stops between its commit and its stamps, and nobody drains",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .upsert = .{ 0, 10 } }} },
            .{ .steps = &.{ .{ .get = 0 }, .{ .upsert = .{ 0, 20 } } }, .after = 0 },
        },
        .plans = &.{unstamped},
        .catches = &.{.{
            // Harmless while a drainer stamps; without one, whoever resolves waits for ever.
            .mutation = .seq_before_stamp,
            .plan = .{
                .strategy = .exhaustive,
                .runs_max = 1_000_000,
                .accesses_max = 5_000,
                .victims = &.{.{ .fiber = 0 }},
                .expect_finding = true,
            },
        }},
    }),
    kernel(.{
        .name = "commit.three",
        .about = "three writers of two rows and a ring of two cells",
        .rows = &.{ 100, 200 },
        .cells_log2 = 1,
        .fibers = &.{
            .{ .steps = &.{ .{ .add = .{ 0, 1 } }, .{ .upsert = .{ 1, 5 } } } },
            .{ .steps = &.{.{ .transfer = .{ 1, 2 } }} },
            .{ .steps = &.{ .{ .add = .{ 1, 4 } }, .maintain } },
        },
        .plans = scenario.seeded,
    }),
};
