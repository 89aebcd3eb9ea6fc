//! The index on the rows' number: entries come, go and come back while others scan and die.

const Kernel = @import("../kernel.zig").Kernel;
const Plan = @import("../kernel.zig").Plan;
const scenario = @import("../scenario.zig");
const kernel = scenario.kernel;
const Step = scenario.Step;

/// All interleavings with few preemptions, each fiber killed anywhere, and random ones.
const pairs: []const Plan = &.{
    .{ .strategy = .exhaustive, .runs_max = 200_000, .preemptions_max = 1 },
    .{
        .strategy = .exhaustive,
        .runs_max = 20_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 0 }},
    },
    .{
        .strategy = .exhaustive,
        .runs_max = 20_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 1 }},
    },
    .{ .strategy = .random, .runs_max = 10_000 },
    .{ .strategy = .random, .runs_max = 5_000, .store_buffers = true },
    .{ .strategy = .priority, .runs_max = 10_000, .depth = 4 },
};

const deaths: []const Plan = &.{
    .{
        .strategy = .exhaustive,
        .runs_max = 20_000,
        .preemptions_max = 0,
        .victims = &.{.{ .fiber = 0 }},
    },
    .{
        .strategy = .exhaustive,
        .runs_max = 60_000,
        .preemptions_max = 0,
        .victims = &.{ .{ .fiber = 0 }, .{ .fiber = 1 } },
    },
};

const recovery: scenario.Recovery = .{ .index = .plain, .plans = deaths };

pub const kernels = [_]Kernel{
    kernel(.{
        .name = "index.insert",
        .about = "two rows with one number are inserted next to each other",
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{.{ .insert = .{ 0, 7 } }} },
            .{ .steps = &.{.{ .insert = .{ 1, 7 } }} },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "index.same_row",
        .about = "two writers want one entry of one row, and kick each other",
        .rows = &.{5},
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 7 } }, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 7 } }, .maintain } },
        },
        .plans = pairs,
    }),
    kernel(.{
        .name = "index.add",
        .about = "two additions to one number: the entry is that of the sum",
        .rows = &.{5},
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .add = .{ 0, 1 } }, .maintain } },
            .{ .steps = &.{ .{ .add = .{ 0, 2 } }, .maintain } },
        },
        .plans = pairs,
        .catches = &.{.exhaustively(.keys_of_another_base)},
    }),
    kernel(.{
        .name = "index.back",
        .about = "a number goes from a to b and back while the entry of a is removed",
        .rows = &.{5},
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 7 } }, .maintain, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 5 } }, .maintain } },
        },
        .plans = pairs,
        .catches = &.{
            .{
                .mutation = .index_first,
                .plan = .{ .strategy = .random, .runs_max = 2_000_000, .expect_finding = true },
            },
        },
    }),
    kernel(.{
        .name = "index.removers",
        .about = "two removers and a writer meet at one entry",
        .rows = &.{5},
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 7 } }, .maintain, .maintain } },
            .{ .steps = &.{
                .{ .upsert = .{ 0, 5 } },
                .{ .upsert = .{ 0, 7 } },
                .maintain,
                .maintain,
            } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 5 } }, .{ .index_scan = false } } },
        },
        .plans = scenario.seeded,
    }),
    kernel(.{
        .name = "index.two_removers",
        .about = "two logs name one old entry, and a writer wants it back",
        .rows = &.{5},
        .index = .plain,
        .before = &.{
            .{ .fiber = 0, .step = .{ .upsert = .{ 0, 7 } } },
            .{ .fiber = 1, .step = .{ .upsert = .{ 0, 5 } } },
            .{ .fiber = 1, .step = .{ .upsert = .{ 0, 7 } } },
        },
        .fibers = &.{
            .{ .steps = &.{.maintain} },
            .{ .steps = &.{.maintain} },
            .{ .steps = &.{.{ .upsert = .{ 0, 5 } }} },
        },
        .plans = scenario.seeded,
        .catches = &.{.{
            .mutation = .untagged_dying,
            .plan = .{
                .strategy = .priority,
                .depth = 4,
                .runs_max = 1_000_000,
                .expect_finding = true,
            },
        }},
    }),
    kernel(.{
        .name = "index.scan",
        .about = "a scan by the index sees each row once while numbers move and entries go",
        .rows = &.{ 5, 6, 7 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .upsert = .{ 0, 8 } }, .maintain, .{ .delete = 1 }, .maintain } },
            .{ .steps = &.{ .{ .index_scan = false }, .{ .index_scan = true } } },
        },
        .plans = pairs,
        .catches = &.{.randomly(.no_recheck)},
    }),
    kernel(.{
        .name = "index.scan_old",
        .about = "a snapshot finds the old number while the row moves on and vacuum runs",
        .rows = &.{ 5, 6 },
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{
                .{ .transfer = .{ 0, 1 } },
                .maintain,
                .{ .transfer = .{ 1, 1 } },
                .maintain,
            } },
            .{ .steps = &.{ .{ .index_scan = false }, .maintain } },
            .{ .steps = &.{ .{ .index_scan = true }, .maintain } },
        },
        .plans = scenario.seeded,
    }),
    kernel(.{
        .name = "index.scan_back",
        .about = "a snapshot finds a number that came back, while its first version is drained",
        .rows = &.{5},
        .index = .plain,
        .before = &.{
            .{ .fiber = 2, .step = .{ .upsert = .{ 0, 6 } } },
            .{ .fiber = 2, .step = .{ .upsert = .{ 0, 5 } } },
        },
        .fibers = &.{
            .{ .steps = &.{.{ .upsert = .{ 0, 7 } }} },
            .{ .steps = &.{.{ .index_scan = false }} },
            .{ .steps = &.{ .maintain, .maintain }, .after = 0 },
        },
        .plans = pairs,
        .catches = &.{.exhaustively(.removal_by_own_pin)},
    }),
    kernel(.{
        .name = "index.churn",
        .about = "deletes, inserts and moves of one row by three, with vacuum in between",
        .rows = &.{5},
        .index = .plain,
        .fibers = &.{
            .{ .steps = &.{ .{ .delete = 0 }, .maintain, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 5 } }, .maintain } },
            .{ .steps = &.{ .{ .upsert = .{ 0, 6 } }, .{ .delete = 0 }, .maintain } },
        },
        .plans = scenario.seeded,
    }),
    recovery.kernel("index.death_insert", "killed while it inserts a row with an entry", &.{5}, &.{
        .{ .insert = .{ 1, 5 } },
    }),
    recovery.kernel("index.death_move", "killed while it moves an entry and removes one", &.{5}, &.{
        .{ .upsert = .{ 0, 7 } }, .maintain, .maintain,
    }),
    recovery.kernel("index.death_delete", "killed while it deletes a row and entry", &.{ 5, 5 }, &.{
        .{ .delete = 0 }, .maintain, .maintain,
    }),
};
