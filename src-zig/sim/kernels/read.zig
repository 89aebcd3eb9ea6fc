//! Readers against writers and vacuum.

const Kernel = @import("../kernel.zig").Kernel;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "read.snapshot",
        .about = "a snapshot sees a transaction whole or not at all",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{.{ .transfer = .{ 0, 1 } }} },
            .{ .steps = &.{.snapshot} },
        },
        .plans = scenario.usual(2),
        .catches = &.{.exhaustively(.no_sequencing)},
    }),
    kernel(.{
        .name = "read.latest",
        .about = "reads of the latest row are linearizable and wait for nobody",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 10 } }, .{ .upsert = .{ 0, 11 } } } },
            .{ .steps = &.{ .{ .get = 0 }, .{ .get = 0 } } },
        },
        .plans = scenario.usual(2),
    }),
    kernel(.{
        .name = "read.vacuum",
        .about = "superseded versions are freed under a snapshot reader",
        .rows = &.{100},
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{
                .{ .upsert = .{ 0, 10 } }, .maintain, .{ .upsert = .{ 0, 11 } }, .maintain,
            } },
            .{ .steps = &.{ .snapshot, .{ .get = 0 } } },
        },
        .plans = scenario.usual(2),
        .catches = &.{
            .{
                .mutation = .unfenced_pin,
                .plan = .{
                    .strategy = .exhaustive,
                    .runs_max = 1_000_000,
                    .store_buffers = true,
                    .expect_finding = true,
                },
            },
        },
    }),
    kernel(.{
        .name = "read.abort",
        .about = "a kicked writer's version is freed under readers",
        .rows = &.{100},
        .scarce = true,
        .fibers = &.{
            .{ .steps = &.{ .{ .add = .{ 0, 1 } }, .maintain } },
            .{ .steps = &.{ .{ .add = .{ 0, 2 } }, .maintain } },
            .{ .steps = &.{ .snapshot, .snapshot } },
        },
        .plans = scenario.seeded,
        .catches = &.{
            .randomly(.free_at_abort),
            .randomly(.retire_without_plus_one),
        },
    }),
    kernel(.{
        .name = "read.hint",
        .about = "a bucket names the version of a writer that is kicked and begins again",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{.{ .add = .{ 0, 1 } }} },
            .{ .steps = &.{.{ .add = .{ 0, 2 } }} },
            .{ .steps = &.{ .{ .get = 0 }, .{ .get = 0 } } },
        },
        .plans = scenario.seeded,
        .catches = &.{.randomly(.believed_hint)},
    }),
    kernel(.{
        .name = "read.drainer",
        .about = "a drainer stamps and laps the ring under writers and a reader",
        .rows = &.{100},
        .cells_log2 = 1,
        .fibers = &.{
            .{ .steps = &.{ .{ .add = .{ 0, 1 } }, .{ .add = .{ 0, 2 } } } },
            .{ .steps = &.{ .maintain, .maintain, .maintain } },
            .{ .steps = &.{ .{ .get = 0 }, .snapshot } },
        },
        .plans = scenario.seeded,
    }),
    kernel(.{
        .name = "read.epoch",
        .about = "the epoch is published while a writer is undecided and a reader pins it",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 10 } }, .maintain } },
            .{ .steps = &.{.maintain} },
            .{ .steps = &.{ .{ .get = 0 }, .{ .get = 0 } } },
        },
        .plans = scenario.seeded,
        .catches = &.{.randomly(.epoch_from_next)},
    }),
    kernel(.{
        .name = "read.scan",
        .about = "a scan sees each row once while rows come, go and change",
        .rows = &.{ 100, 200 },
        .fibers = &.{
            .{ .steps = &.{ .{ .insert = .{ 2, 30 } }, .{ .delete = 0 }, .maintain } },
            .{ .steps = &.{.scan} },
        },
        .plans = scenario.usual(2),
    }),
    kernel(.{
        .name = "read.scan_prepared",
        .about = "a scan finds a node that its inserter gives up, because another was faster",
        .fibers = &.{
            .{ .steps = &.{.{ .upsert = .{ 0, 10 } }} },
            .{ .steps = &.{.{ .upsert = .{ 0, 20 } }} },
            .{ .steps = &.{.scan} },
        },
        .plans = &.{
            .{ .strategy = .exhaustive, .runs_max = 100_000, .preemptions_max = 1 },
            .{ .strategy = .priority, .runs_max = 20_000, .depth = 4 },
        },
    }),
    kernel(.{
        .name = "read.scan_insert",
        .about = "a scan passes nodes that two inserters of one key prepare and give back",
        .rows = &.{100},
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 1, 10 } }, .{ .upsert = .{ 2, 11 } } } },
            .{ .steps = &.{ .{ .upsert = .{ 1, 20 } }, .{ .upsert = .{ 3, 21 } } } },
            .{ .steps = &.{ .scan, .scan } },
        },
        .plans = scenario.seeded,
    }),
};
