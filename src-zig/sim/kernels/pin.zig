//! The handshake between a reader's pin and the reclaimer's horizon: store, then load, on both
//! sides. Without a barrier the reader's store may wait in its processor while the load goes
//! ahead; only a simulation of store buffers shows it.
//!
//! Position 1 is decided and `head` names the old version. The reclaimer supersedes it at position
//! 2, publishes the new epoch, looks for pins and frees the old version if nobody pinned below 2.

const sync = @import("sync");
const Kernel = @import("../kernel.zig").Kernel;
const scheduler = sync.scheduler;
const Shm = sync.Shm;

fn Handshake(comptime fenced: bool) type {
    return struct {
        var epoch: Shm(u64) = undefined;
        var pin: Shm(u64) = undefined;
        var head: Shm(u32) = undefined;
        var freed: [2]bool = undefined;

        fn init() void {
            epoch = .init(1);
            pin = .init(0);
            head = .init(0);
            freed = @splat(false);
        }

        fn read() void {
            while (true) {
                const e = epoch.load(.acquire);
                if (fenced) _ = pin.swap(e, .seq_cst) else pin.store(e, .release);
                if (epoch.load(.acquire) == e) break;
            }
            const version = head.load(.acquire);
            sync.step();
            if (freed[version]) scheduler.fail("a reader uses a freed version", .{});
            pin.store(0, .release);
        }

        fn reclaim() void {
            head.store(1, .release);
            _ = epoch.fetchMax(2, .seq_cst);
            sync.fence();
            const pinned = pin.load(.acquire);
            if (pinned == 0 or pinned >= 2) freed[0] = true;
        }

        fn check() void {}

        const threads = [_]scheduler.Thread{ .{ .run = read }, .{ .run = reclaim } };
    };
}

pub const kernels = [_]Kernel{
    .{
        .name = "pin.unfenced",
        .about = "pin by a plain store: a freed version is read, with store buffers only",
        .threads = &Handshake(false).threads,
        .init = Handshake(false).init,
        .check = Handshake(false).check,
        .plans = &.{
            .{ .strategy = .exhaustive, .runs_max = 100_000, .preemptions_max = 6 },
            .{
                .strategy = .exhaustive,
                .runs_max = 100_000,
                .store_buffers = true,
                .expect_finding = true,
            },
            .{
                .strategy = .random,
                .runs_max = 100_000,
                .store_buffers = true,
                .expect_finding = true,
            },
        },
    },
    .{
        .name = "pin.fenced",
        .about = "pin by an atomic swap: no freed version is read, store buffers or not",
        .threads = &Handshake(true).threads,
        .init = Handshake(true).init,
        .check = Handshake(true).check,
        .plans = &.{
            .{
                .strategy = .exhaustive,
                .runs_max = 1_000_000,
                .preemptions_max = 6,
                .store_buffers = true,
            },
            .{ .strategy = .random, .runs_max = 20_000, .store_buffers = true },
        },
    },
};
