//! An index is added to a table with rows while others write. Afterwards it has an entry for every
//! row, and none too many, whoever has died; and a search by it sees what a scan would see.

const Kernel = @import("../kernel.zig").Kernel;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "build.insert",
        .about = "an index is built while a row is inserted and another moves",
        .rows = &.{5},
        .fibers = &.{
            .{ .steps = &.{.build_index} },
            .{ .steps = &.{ .{ .insert = .{ 1, 7 } }, .{ .upsert = .{ 0, 6 } } } },
        },
        .plans = scenario.long,
        .catches = &.{.exhaustively(.build_without_wait)},
    }),
    kernel(.{
        .name = "build.delete",
        .about = "an index is built while a row is deleted and comes back",
        .rows = &.{ 5, 6 },
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{.build_index} },
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .{ .insert = .{ 0, 6 } }, .maintain } },
        },
        .plans = scenario.long,
    }),
    kernel(.{
        .name = "build.search",
        .about = "an index is built while one writes and one searches by it as soon as it can",
        .rows = &.{ 5, 6 },
        .fibers = &.{
            .{ .steps = &.{.build_index} },
            .{ .steps = &.{ .{ .transfer = .{ 0, 1 } }, .{ .insert = .{ 2, 6 } } } },
            .{ .steps = &.{ .{ .index_scan = false }, .{ .index_scan = true } } },
        },
        .plans = scenario.seeded_few,
    }),
};
