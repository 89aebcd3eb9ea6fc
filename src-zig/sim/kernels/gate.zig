//! The gate: a transaction that has lost too often, or that writes many rows, asks others not to
//! start commits.
//!
//! While it holds the gate it cannot lose: the run fails if it does (`decisions.zig`). A holder
//! that dies or stops keeps nobody waiting for longer than a lease, and then the others go on as
//! if there were no gate.

const Kernel = @import("../kernel.zig").Kernel;
const Catch = @import("../kernel.zig").Catch;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

const holder: scenario.Step = .{
    .decide = .{ .exclusive = true, .reads = &.{ 0, 1 }, .key = 0, .value = 1 },
};

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "gate.writer",
        .about = "a transaction holds the gate while another writes what it has read",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{holder} },
            .{ .steps = &.{ .{ .upsert = .{ 1, 5 } }, .{ .add = .{ 0, 2 } } } },
        },
        .plans = scenario.long,
        .catches = &.{.exhaustively(.gate_without_wait)},
    }),
    kernel(.{
        .name = "gate.two",
        .about = "two want the gate, and both read what the other writes",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{holder} },
            .{ .steps = &.{.{
                .decide = .{ .exclusive = true, .reads = &.{ 0, 1 }, .key = 1, .value = 2 },
            }} },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "gate.large",
        .about = "a transaction of many rows takes the gate to commit while another writes them",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{ .fill = 7 }} },
            .{ .steps = &.{ .{ .add = .{ 0, 2 } }, .snapshot, .{ .upsert = .{ 2, 5 } } } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "gate.two_large",
        .about = "two transactions of many rows, and the gate for one after the other",
        .rows = &.{ 100, 200, 300 },
        .fibers = &.{
            .{ .steps = &.{.{ .fill = 7 }} },
            .{ .steps = &.{ .{ .fill = 8 }, .{ .get = 1 } } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "gate.large_and_holder",
        .about = "one holds the gate from its beginning, and one of many rows wants it",
        .rows = &.{ 100, 200, 300 },
        .fibers = &.{ .{ .steps = &.{holder} }, .{ .steps = &.{.{ .fill = 8 }} } },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "gate.dead",
        .about = "one dies with the gate, and its recovery opens it",
        .rows = &.{ 100, 200, 300 },
        .fibers = &.{
            .{ .steps = &.{ .{ .fill = 7 }, holder } },
            .{ .steps = &.{ .recover, .gate_is_open, .{ .add = .{ 0, 2 } } }, .after = 0 },
        },
        .plans = &.{.{
            .strategy = .exhaustive,
            .runs_max = 10_000,
            .victims = &.{.{ .fiber = 0 }},
        }},
        .catches = &.{.{
            .mutation = .gate_of_the_dead,
            .plan = .{
                .strategy = .exhaustive,
                .runs_max = 10_000,
                .victims = &.{.{ .fiber = 0 }},
                .expect_finding = true,
            },
        }},
    }),
    kernel(.{
        .name = "gate.three",
        .about = "one holds the gate, one writes, one goes over two rows and drains",
        .rows = &.{ 100, 200 },
        .cells_log2 = 2,
        .fibers = &.{
            .{ .steps = &.{holder} },
            .{ .steps = &.{ .{ .add = .{ 0, 2 } }, .{ .upsert = .{ 1, 5 } } } },
            .{ .steps = &.{ .{ .transfer = .{ 1, 3 } }, .round } },
        },
        .plans = scenario.seeded_few,
    }),
    kernel(.{
        .name = "gate.three_large",
        .about = "one of many rows, one that holds the gate, and one that writes and drains",
        .rows = &.{ 100, 200 },
        .cells_log2 = 2,
        .fibers = &.{
            .{ .steps = &.{.{ .fill = 7 }} },
            .{ .steps = &.{holder} },
            .{ .steps = &.{ .{ .add = .{ 0, 2 } }, .round, .snapshot } },
        },
        .plans = scenario.seeded_few,
    }),
};
