//! Transactions of several statements: the anomalies that validation has to prevent.

const Kernel = @import("../kernel.zig").Kernel;
const Catch = @import("../kernel.zig").Catch;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

const no_validation: []const Catch = &.{.exhaustively(.no_validation)};

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "isolation.lost_update",
        .about = "two transactions read a row and write what they made of it",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .reads = &.{0}, .key = 0, .value = 1 } }} },
            .{ .steps = &.{.{ .decide = .{ .reads = &.{0}, .key = 0, .value = 2 } }} },
        },
        .plans = scenario.long,
        .catches = no_validation,
    }),
    kernel(.{
        .name = "isolation.write_skew",
        .about = "two transactions read both rows, and each writes another one",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .reads = &.{ 0, 1 }, .key = 0, .value = 1 } }} },
            .{ .steps = &.{.{ .decide = .{ .reads = &.{ 0, 1 }, .key = 1, .value = 2 } }} },
        },
        .plans = scenario.long,
        .catches = no_validation,
    }),
    kernel(.{
        .name = "isolation.absent",
        .about = "two transactions find a row absent, and each inserts what the other missed",
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .reads = &.{1}, .key = 0, .value = 1 } }} },
            .{ .steps = &.{.{ .decide = .{ .reads = &.{0}, .key = 1, .value = 2 } }} },
        },
        .plans = scenario.long,
        .catches = no_validation,
    }),
    kernel(.{
        .name = "isolation.phantom",
        .about = "two transactions scan the table, and each inserts a row",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .scans = true, .key = 1, .value = 1 } }} },
            .{ .steps = &.{.{ .decide = .{ .scans = true, .key = 2, .value = 2 } }} },
        },
        .plans = scenario.long,
        .catches = no_validation,
    }),
    kernel(.{
        .name = "isolation.phantom_delete",
        .about = "a transaction scans the table while a row is deleted, and another inserted",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .scans = true, .key = 2, .value = 1 } }} },
            .{ .steps = &.{ .{ .delete = 0 }, .{ .insert = .{ 3, 5 } }, .maintain } },
        },
        .plans = scenario.long,
        .catches = no_validation,
    }),
    kernel(.{
        .name = "isolation.read_only",
        .about = "a reader sees no order of two commits that no serial run has",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .reads = &.{ 0, 1 }, .key = 0, .value = 1 } }} },
            .{ .steps = &.{.{ .upsert = .{ 1, 20 } }} },
            .{ .steps = &.{ .snapshot, .snapshot } },
        },
        .plans = scenario.seeded,
    }),
    kernel(.{
        .name = "isolation.look",
        .about = "a transaction that only reads sees one moment, while vacuum goes on",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .transfer = .{ 0, 1 } }, .maintain } },
            .{ .steps = &.{.look} },
        },
        .plans = scenario.long,
        .catches = &.{
            .exhaustively(.moving_snapshot),
            .exhaustively(.dirty_read),
        },
    }),
    kernel(.{
        .name = "isolation.lapped",
        .about = "more commits than the ring holds pass between a scan and its commit",
        .rows = &.{ 100, 200 },
        .cells_log2 = 1,
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .scans = true, .key = 2, .value = 1 } }} },
            .{ .steps = &.{
                .{ .upsert = .{ 0, 1 } }, .{ .delete = 1 },         .maintain,
                .{ .upsert = .{ 0, 3 } }, .{ .upsert = .{ 1, 4 } }, .maintain,
            } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "isolation.three",
        .about = "three transactions read in a circle",
        .rows = &.{ 100, 200, 300 },
        .cells_log2 = 2,
        .fibers = &.{
            .{ .steps = &.{.{ .decide = .{ .reads = &.{0}, .key = 1, .value = 1 } }} },
            .{ .steps = &.{.{ .decide = .{ .reads = &.{1}, .key = 2, .value = 2 } }} },
            .{ .steps = &.{ .{ .decide = .{ .scans = true, .key = 0, .value = 3 } }, .maintain } },
        },
        .plans = scenario.seeded,
    }),
};
