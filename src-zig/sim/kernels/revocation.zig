//! Snapshots are taken away while nothing runs in them, and their owners come back.
//!
//! Between its operations a reader's pin rests, and one swap decides who has it: the reader, who
//! goes on, or whoever needs the memory. A reader that has handed out views does not rest.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

const taker: []const scenario.Step = &.{
    .{ .upsert = .{ 0, 10 } }, .maintain, .revoke,                   .maintain,
    .{ .upsert = .{ 1, 20 } }, .maintain, .{ .upsert = .{ 0, 11 } },
};

const expected: Plan = .{
    .strategy = .exhaustive,
    .runs_max = 1_000_000,
    .expect_finding = true,
};

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "revocation.resume",
        .about = "a snapshot is revoked, and what it saw is freed, while its owner goes on reading",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .fibers = &.{ .{ .steps = &.{.look} }, .{ .steps = taker } },
        .plans = scenario.long,
        .catches = &.{
            .{ .mutation = .blind_resume, .plan = expected },
            .randomly(.blind_revoke),
        },
    }),
    kernel(.{
        .name = "revocation.views",
        .about = "views of rows stay what they were while others look for memory",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .fibers = &.{ .{ .steps = &.{.look_by_views} }, .{ .steps = taker } },
        .plans = scenario.long,
        .catches = &.{.{ .mutation = .views_at_rest, .plan = expected }},
    }),
    kernel(.{
        .name = "revocation.three",
        .about = "two take snapshots away, from a reader and from each other",
        .rows = &.{ 100, 200 },
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .look, .look } },
            .{ .steps = &.{ .{ .transfer = .{ 0, 1 } }, .maintain, .revoke, .maintain, .look } },
            .{ .steps = &.{ .{ .upsert = .{ 1, 20 } }, .maintain, .revoke, .round } },
        },
        .plans = scenario.seeded_few,
    }),
};
