//! Savepoints: what was written after one is taken back, what was read after it is not.

const Kernel = @import("../kernel.zig").Kernel;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "savepoint.undone",
        .about = "two transactions write a row, take that back, and write another one",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{
                .decide = .{
                    .reads = &.{0},
                    .undone = .{ .key = 1, .value = 7 },
                    .key = 0,
                    .value = 1,
                },
            }} },
            .{ .steps = &.{.{
                .decide = .{
                    .reads = &.{1},
                    .undone = .{ .key = 2, .value = 8 },
                    .key = 1,
                    .value = 2,
                },
            }} },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "savepoint.reads",
        .about = "two transactions read after a savepoint what the other writes, and go back",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{
                .decide = .{
                    .undone = .{ .key = 2, .value = 7, .reads = &.{ 0, 1 } },
                    .key = 0,
                    .value = 1,
                },
            }} },
            .{ .steps = &.{.{
                .decide = .{
                    .undone = .{ .key = 3, .value = 8, .reads = &.{ 0, 1 } },
                    .key = 1,
                    .value = 2,
                },
            }} },
        },
        .plans = scenario.long,
        .catches = &.{.exhaustively(.rollback_forgets_reads)},
    }),
};
