//! The scheduler's own tests: each claims that a kind of behaviour is possible, or reported.

const std = @import("std");
const sync = @import("sync_sim.zig");
const scheduler = @import("scheduler.zig");
const testing = std.testing;

var word: sync.Shm(u32) = undefined;
var other: sync.Shm(u32) = undefined;
var seen: u64 = 0;

fn init() void {
    word = .init(0);
    other = .init(0);
    seen = 0;
}

fn checkNothing() void {}

fn runWith(options: scheduler.Options, threads: []const scheduler.Thread) scheduler.Outcome {
    scheduler.options = options;
    return scheduler.run(threads, init, checkNothing);
}

fn waitForever() void {
    sync.futexWait(&word, 0, std.math.maxInt(u64));
}

test "run: a sleeper that nobody wakes is a deadlock" {
    const threads = [_]scheduler.Thread{.{ .run = waitForever }};
    try testing.expectEqual(.stuck, runWith(.{}, &threads));
    try testing.expectEqualStrings("deadlock: everybody waits for ever", scheduler.message());
}

fn setAndWake() void {
    word.store(1, .release);
    sync.futexWake(&word, 1);
}

test "run: a futex wakes its sleeper, or the sleeper sees the new value" {
    const threads = [_]scheduler.Thread{ .{ .run = waitForever }, .{ .run = setAndWake } };
    for (0..200) |seed| {
        try testing.expectEqual(.ok, runWith(.{ .seed = seed }, &threads));
    }
}

fn spinUntilSet() void {
    while (word.load(.acquire) == 0) sync.spinHint();
}

test "run: a loop that waits for the dead is no progress" {
    const threads = [_]scheduler.Thread{ .{ .run = setAndWake }, .{ .run = spinUntilSet } };
    const deaths = [_]scheduler.Death{.{ .fiber = 0, .access = 0 }};
    try testing.expectEqual(.ok, runWith(.{}, &threads));
    try testing.expectEqual(.stuck, runWith(.{ .deaths = &deaths }, &threads));
    try testing.expect(scheduler.died(0));
}

test "run: the frozen go on when nobody else can" {
    const threads = [_]scheduler.Thread{ .{ .run = setAndWake }, .{ .run = waitForever } };
    const deaths = [_]scheduler.Death{.{ .fiber = 0, .access = 0, .kind = .freeze }};
    try testing.expectEqual(.ok, runWith(.{ .deaths = &deaths }, &threads));
    try testing.expect(scheduler.struck(0) and !scheduler.died(0));
}

fn holdLock() void {
    _ = sync.ByteLock.tryLock(3, 16);
    word.store(1, .release);
    word.store(2, .release);
}

fn observeLock() void {
    if (sync.ByteLock.tryLock(3, 16)) other.store(1, .release);
}

test "run: a killed process loses its byte locks, one that ended in order keeps them" {
    const threads = [_]scheduler.Thread{
        .{ .run = holdLock },
        .{ .run = observeLock, .after = 0 },
    };
    try testing.expectEqual(.ok, runWith(.{}, &threads));
    try testing.expectEqual(0, other.raw);
    const deaths = [_]scheduler.Death{.{ .fiber = 0, .access = 2 }};
    try testing.expectEqual(.ok, runWith(.{ .deaths = &deaths }, &threads));
    try testing.expectEqual(1, word.raw);
    try testing.expectEqual(1, other.raw);
}

fn slowOwner() void {
    word.store(1, .release);
    other.store(1, .release);
}

fn impatientWaiter() void {
    const start = sync.nowNs();
    while (other.load(.acquire) == 0) {
        if (sync.nowNs() - start > 1_000_000) {
            seen = 1;
            return;
        }
        sync.yield();
    }
}

test "run: a living owner may stand still for longer than its waiter has patience" {
    const threads = [_]scheduler.Thread{ .{ .run = slowOwner }, .{ .run = impatientWaiter } };
    scheduler.tape.clear();
    var impatient: u32 = 0;
    while (true) {
        const options: scheduler.Options = .{ .strategy = .exhaustive, .preemptions_max = 1 };
        try testing.expectEqual(.ok, runWith(options, &threads));
        impatient += @intCast(seen);
        if (!scheduler.tape.advance()) break;
    }
    try testing.expect(impatient > 0);
}

fn sleepTwice() void {
    const start = sync.nowNs();
    sync.sleepNs(5_000_000_000);
    seen = sync.nowNs() - start;
}

test "run: sleeping costs simulated time only" {
    const threads = [_]scheduler.Thread{.{ .run = sleepTwice }};
    try testing.expectEqual(.ok, runWith(.{}, &threads));
    try testing.expect(seen >= 5_000_000_000 and seen < 5_001_000_000);
}

fn failInside() void {
    word.store(1, .release);
    scheduler.fail("seen {d}", .{word.raw});
}

test "run: a failure ends the run, and the next run starts afresh" {
    const threads = [_]scheduler.Thread{ .{ .run = failInside }, .{ .run = slowOwner } };
    try testing.expectEqual(.failed, runWith(.{}, &threads));
    try testing.expectEqualStrings("seen 1", scheduler.message());
    try testing.expectEqual(.ok, runWith(.{}, threads[1..]));
}
