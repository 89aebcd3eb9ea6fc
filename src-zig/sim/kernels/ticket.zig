//! Queues for hot rows. Whoever is served has the row for itself among those who queue, and a dead
//! or stopped one is passed over. That is all they are good for: what happens is serializable
//! whoever is passed over, and whoever does not queue.

const Kernel = @import("../kernel.zig").Kernel;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

fn queued(comptime value: i64) scenario.Step {
    return .{ .decide = .{ .queued = true, .reads = &.{0}, .key = 0, .value = value } };
}

/// Queues among some who do not, so it may lose although it is served.
fn outsider(comptime value: i64) scenario.Step {
    return .{ .decide = .{
        .queued = true,
        .alone = false,
        .reads = &.{0},
        .key = 0,
        .value = value,
    } };
}

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "ticket.two",
        .about = "two queue for a row, and none of them loses while it is served",
        .rows = &.{100},
        .fibers = &.{ .{ .steps = &.{queued(1)} }, .{ .steps = &.{queued(2)} } },
        .plans = scenario.long,
        .catches = &.{
            .exhaustively(.ticket_without_snapshot),
            .{
                .mutation = .ticket_released_twice,
                .plan = .{
                    .strategy = .exhaustive,
                    .runs_max = 1_000_000,
                    .preemptions_max = 0,
                    .victims = &.{.{ .fiber = 0, .kind = .freeze }},
                    .expect_finding = true,
                },
            },
        },
    }),
    kernel(.{
        .name = "ticket.outsider",
        .about = "two queue for a row, and one that does not writes it all the same",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{outsider(1)} },
            .{ .steps = &.{ outsider(2), .{ .get = 0 } } },
            .{ .steps = &.{.{ .decide = .{ .reads = &.{0}, .key = 0, .value = 4 } }} },
        },
        .plans = scenario.seeded_few,
    }),
    kernel(.{
        .name = "ticket.three",
        .about = "three queue for a row, one of them twice",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{queued(1)} },
            .{ .steps = &.{queued(2)} },
            .{ .steps = &.{ queued(4), queued(8) } },
        },
        .plans = scenario.seeded_few,
    }),
};
