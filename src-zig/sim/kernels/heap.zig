//! Scans of version blocks against writers and the recycling of blocks.

const Kernel = @import("../kernel.zig").Kernel;
const Mutation = @import("sync").Mutation;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;
const Catch = @import("../kernel.zig").Catch;

fn catching(comptime mutation: Mutation) Catch {
    return .{
        .mutation = mutation,
        .plan = .{ .strategy = .exhaustive, .runs_max = 1_000_000, .expect_finding = true },
    };
}

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "heap.update",
        .about = "a heap scan sees an updated row once",
        .rows = &.{ 100, 200 },
        .watch_freed = false,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 10 } }, .{ .upsert = .{ 1, 20 } } } },
            .{ .steps = &.{.heap_scan} },
        },
        .plans = scenario.usual(2),
        .catches = &.{ catching(.heap_scan_no_wait), catching(.xmin_before_xmax) },
    }),
    kernel(.{
        .name = "heap.recycle",
        .about = "a heap scan sees each row once while blocks are freed and used again",
        .rows = &.{100},
        .watch_freed = false,
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{
                .{ .upsert = .{ 0, 10 } }, .maintain,                 .{ .upsert = .{ 0, 11 } },
                .maintain,                 .{ .upsert = .{ 0, 12 } },
            } },
            .{ .steps = &.{.heap_scan} },
        },
        .plans = scenario.usual(2),
        .catches = &.{ catching(.no_xmin_recheck), catching(.payload_before_txref) },
    }),
};
