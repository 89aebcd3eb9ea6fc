//! A process is killed at each of its accesses, and another one recovers it, and may be killed at
//! each of its own.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;
const Step = scenario.Step;

/// Fiber 0 dies anywhere while 1 recovers; then both die at every pair of places, and whoever
/// checks the outcome recovers the rest.
const deaths: []const Plan = &.{
    .{
        .strategy = .exhaustive,
        .runs_max = 10_000,
        .preemptions_max = 1,
        .victims = &.{.{ .fiber = 0 }},
    },
    .{
        .strategy = .exhaustive,
        .runs_max = 10_000,
        .preemptions_max = 0,
        .victims = &.{ .{ .fiber = 0 }, .{ .fiber = 1 } },
    },
};

const recovery: scenario.Recovery = .{ .plans = deaths };

pub const kernels = [_]Kernel{
    recovery.kernel("death.insert", "while it inserts a row", &.{}, &.{.{ .insert = .{ 0, 10 } }}),
    recovery.kernel("death.upsert", "while it writes a row", &.{100}, &.{
        .{ .upsert = .{ 0, 10 } },
    }),
    recovery.kernel("death.transfer", "in a transaction over two rows", &.{ 100, 200 }, &.{
        .{ .transfer = .{ 0, 1 } },
    }),
    recovery.kernel("death.vacuum", "while it deletes a row and frees it", &.{100}, &.{
        .{ .delete = 0 }, .maintain, .maintain,
    }),
    recovery.kernel("death.reopen", "while it hands its slot and slabs back", &.{100}, &.{
        .{ .upsert = .{ 0, 10 } }, .reopen, .{ .upsert = .{ 0, 11 } },
    }),
    recovery.kernel("death.chunk", "while its log goes from chunk to chunk", &.{100}, &.{
        .{ .upsert = .{ 0, 1 } }, .{ .upsert = .{ 0, 2 } }, .{ .upsert = .{ 0, 3 } },
        .maintain,                .{ .upsert = .{ 0, 4 } }, .{ .upsert = .{ 0, 5 } },
        .{ .upsert = .{ 0, 6 } }, .{ .upsert = .{ 0, 7 } }, .maintain,
    }),
    kernel(.{
        .name = "death.three",
        .about = "one dies, one recovers it, one goes on writing",
        .rows = &.{ 100, 200 },
        .cells_log2 = 2,
        .fibers = &.{
            .{ .steps = &.{ .{ .transfer = .{ 0, 1 } }, .{ .delete = 1 }, .maintain } },
            .{ .steps = &.{.recover}, .after = 0 },
            .{ .steps = &.{ .{ .upsert = .{ 0, 5 } }, .{ .upsert = .{ 1, 6 } }, .maintain } },
        },
        .plans = &.{
            .{ .strategy = .random, .runs_max = 100, .victims = &.{.{ .fiber = 0 }} },
            .{
                .strategy = .random,
                .runs_max = 100,
                .store_buffers = true,
                .victims = &.{.{ .fiber = 0 }},
            },
        },
    }),
};
