//! Treiber's stack over an array: the simulator must find the ABA error of the untagged one.
//!
//! One fiber pops an element and pushes it back; the other pops two and pushes the first back.
//! Without a tag, the first fiber's CAS can succeed although the head it read was popped and
//! pushed again in between, and then it installs a stale `next`: an element that somebody holds
//! is in the stack again.

const sync = @import("sync");
const Kernel = @import("../kernel.zig").Kernel;
const scheduler = sync.scheduler;
const Shm = sync.Shm;

const elements = 3;

fn Stack(comptime tagged: bool) type {
    return struct {
        var head: Shm(u64) = undefined;
        var next: [elements + 1]Shm(u32) = undefined;
        var held: [elements + 1]u8 = undefined;

        fn link(old: u64, element: u32) u64 {
            if (!tagged) return element;
            return ((old >> 32) +% 1) << 32 | element;
        }

        fn push(element: u32) void {
            var old = head.load(.monotonic);
            while (true) {
                next[element].store(@truncate(old), .monotonic);
                old = head.cas(old, link(old, element), .release, .monotonic) orelse return;
            }
        }

        fn pop() ?u32 {
            var old = head.load(.acquire);
            while (true) {
                const element: u32 = @truncate(old);
                if (element == 0) return null;
                const below = next[element].load(.monotonic);
                old = head.cas(old, link(old, below), .acquire, .acquire) orelse return element;
            }
        }

        fn init() void {
            head = .init(0);
            held = @splat(0);
            for (0..elements) |i| push(@intCast(elements - i));
        }

        fn popAndPush() void {
            push(pop() orelse return);
        }

        fn popTwoKeepOne() void {
            const first = pop() orelse return;
            if (pop()) |second| held[second] += 1;
            push(first);
        }

        fn check() void {
            var seen = held;
            var element: u32 = @truncate(head.raw);
            var length: u32 = 0;
            while (element != 0) : (element = next[element].raw) {
                seen[element] += 1;
                length += 1;
                if (length > elements) scheduler.fail("the stack is a cycle", .{});
            }
            for (seen[1..], 1..) |n, i| {
                if (n != 1) scheduler.fail("element {d} is there {d} times", .{ i, n });
            }
        }

        const threads = [_]scheduler.Thread{ .{ .run = popAndPush }, .{ .run = popTwoKeepOne } };
    };
}

pub const kernels = [_]Kernel{
    .{
        .name = "stack.untagged",
        .about = "lock-free stack without a tag: must lose or duplicate an element",
        .threads = &Stack(false).threads,
        .init = Stack(false).init,
        .check = Stack(false).check,
        .plans = &.{
            .{ .strategy = .exhaustive, .runs_max = 100_000, .expect_finding = true },
            .{ .strategy = .random, .runs_max = 100_000, .expect_finding = true },
            .{ .strategy = .priority, .runs_max = 100_000, .expect_finding = true },
        },
    },
    .{
        .name = "stack.tagged",
        .about = "lock-free stack with a tag in the head word: every element exactly once",
        .threads = &Stack(true).threads,
        .init = Stack(true).init,
        .check = Stack(true).check,
        .plans = &.{
            .{ .strategy = .exhaustive, .runs_max = 1_000_000, .preemptions_max = 6 },
            .{ .strategy = .random, .runs_max = 20_000 },
            .{ .strategy = .priority, .runs_max = 20_000 },
        },
    },
};
