//! A unique index: of two rows that want one number, one gets it and the other is told so.

const Kernel = @import("../kernel.zig").Kernel;
const Catch = @import("../kernel.zig").Catch;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

const unchecked: []const Catch = &.{.exhaustively(.no_unique_check)};

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "unique.insert",
        .about = "two rows with one number are inserted",
        .index = .unique,
        .fibers = &.{
            .{ .steps = &.{.{ .insert = .{ 0, 7 } }} },
            .{ .steps = &.{.{ .insert = .{ 1, 7 } }} },
        },
        .plans = scenario.long,
        .catches = unchecked,
    }),
    kernel(.{
        .name = "unique.move",
        .about = "a number is given up by one row while another one takes it",
        .rows = &.{ 5, 6 },
        .index = .unique,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 7 } }, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 1, 5 } }, .maintain } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "unique.delete",
        .about = "a row is deleted while another one takes its number, and it comes back",
        .rows = &.{ 5, 6 },
        .index = .unique,
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .{ .insert = .{ 0, 5 } } } },
            .{ .steps = &.{ .{ .update = .{ 1, 5 } }, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 2, 5 } }, .{ .index_scan = false } } },
        },
        .plans = scenario.seeded_few,
    }),
};
