//! Decides which fiber makes the next access to shared memory.
//!
//! A run takes a few fibers from their first access to their last. Before every access the running
//! fiber asks here, and somebody (perhaps itself) goes on. Everything else is plain code between
//! two accesses, so a run is one interleaving, and it is a function of its `Options` alone: clocks,
//! sleeps, futexes and byte locks are simulated too.
//!
//!   * Strategies are in `chooser.zig`.
//!   * Waiting: a fiber that spins, yields or sleeps lets others go first. It may also be that the
//!     others do not run at all for a while (preempted, stopped, swapped out); then time passes
//!     for the waiter alone. That is the choice to `endure`, and how timeouts and kicks of living
//!     owners are explored. It counts as a preemption.
//!   * Deaths: before a given access a fiber is killed (with every fiber of its process; locks
//!     are released, memory stays) or frozen until nobody else can go on.
//!
//! A violated assertion in the code under test is a result, not a crash of the simulator: the
//! panic handler ends in `onPanic`, which leaves the fiber for ever and reports.

const std = @import("std");
const Fiber = @import("fiber.zig").Fiber;
const StoreBuffer = @import("store_buffer.zig").StoreBuffer;
const ByteLocks = @import("byte_locks.zig").ByteLocks;
const run_options = @import("run_options.zig");
const Tape = @import("tape.zig").Tape;
const chooser_module = @import("chooser.zig");
const Chooser = chooser_module.Chooser;
const Choice = chooser_module.Choice;
const assert = std.debug.assert;

pub const fibers_max = 6;
/// The process of code that runs outside the fibers: a kernel's `init` and `check`.
pub const process_outside: u8 = 255;

/// Simulated nanoseconds that one access, one spin and one yield take.
const access_ns = 20;
const spin_ns = 1_000;
const yield_ns = 5_000;
/// Accesses outside fibers after which `init` or `check` is taken to loop for ever.
const outside_accesses_max = 50_000_000;
const never = std.math.maxInt(u64);

pub const Strategy = chooser_module.Strategy;

pub const Death = run_options.Death;
pub const Options = run_options.Options;
pub const Outcome = run_options.Outcome;
pub const Thread = run_options.Thread;
pub const Event = run_options.Event;

const State = enum { unused, pending, ready, sleeping, frozen, done, dead };

const Task = struct {
    fiber: Fiber = .{},
    state: State = .unused,
    thread: Thread = undefined,
    process: u8 = 0,
    accesses: u32 = 0,
    priority: u32 = 0,
    /// In a wait loop: others first.
    waiting: bool = false,
    was_frozen: bool = false,
    /// Waits, and nothing has changed in memory since.
    idle: bool = false,
    wake_at: u64 = 0,
    stalled_until: u64 = 0,
    futex: ?*const anyopaque = null,
    buffer: StoreBuffer = .{},
};

pub var options: Options = .{};
pub var tape: Tape = .{};
pub var outcome: Outcome = .ok;
pub var accesses_total: u32 = 0;
/// Called after every access while a run is being printed.
pub var tracer: ?*const fn (Event) void = null;

var tasks: [fibers_max]Task = @splat(.{});
var count: u8 = 0;
var current: u8 = 0;
var running = false;
var outside: Fiber = .{};
/// Runs `init` and `check`, so that a panic in them can be left behind too.
var helper: Fiber = .{};
var helper_active = false;
var helper_function: *const fn () void = undefined;
var outside_accesses: u64 = 0;
var outside_process: u8 = process_outside;
var main_context: Fiber = .{};
var now: u64 = 0;
/// A write before this moment is not taken for the end of a wait.
var stall_end_min: u64 = 0;
var preemptions: u8 = 0;
var chooser: Chooser = .{};
var locks: ByteLocks = .{};
var message_buffer: [512]u8 = undefined;
var message_length: usize = 0;

/// Why the run was not ok. Empty if it was.
pub fn message() []const u8 {
    return message_buffer[0..message_length];
}

/// The fiber that runs now. Meaningless outside a run.
pub fn self() u8 {
    return current;
}

/// Whether fiber `i` was killed in this run.
pub fn died(i: u8) bool {
    return tasks[i].state == .dead;
}

/// Whether the death meant for fiber `i` came about in this run.
pub fn struck(i: u8) bool {
    return tasks[i].state == .dead or tasks[i].was_frozen;
}

/// Number of accesses fiber `i` has made.
pub fn accessesOf(i: u8) u32 {
    return tasks[i].accesses;
}

pub fn isRunning() bool {
    return running;
}

/// Code outside fibers acts as `process` from now on; `process_outside` when a run starts.
pub fn setProcess(process: u8) void {
    assert(!running);
    outside_process = process;
}

/// Code outside fibers acts as fiber `i` and its process from now on.
pub fn actAs(i: u8) void {
    assert(!running and i < fibers_max);
    current = i;
    outside_process = i;
}

pub fn currentProcess() u8 {
    return if (running) tasks[current].process else outside_process;
}

/// Kernels call it when what they see is impossible. Ends the run.
pub fn fail(comptime format: []const u8, arguments: anytype) noreturn {
    abandon(.failed, format, arguments);
}

/// For the root file's `panic`: turns a failed assertion of the code under test into a result.
pub fn onPanic(text: []const u8, first_address: ?usize) noreturn {
    @branchHint(.cold);
    if (running or helper_active) {
        if (tracer != null) std.debug.dumpCurrentStackTrace(.{ .first_address = first_address });
        abandon(.failed, "panic: {s}", .{text});
    }
    std.debug.defaultPanic(text, first_address);
}

fn abandon(result: Outcome, comptime format: []const u8, arguments: anytype) noreturn {
    assert(running or helper_active);
    outcome = result;
    const text = std.fmt.bufPrint(&message_buffer, format, arguments) catch &message_buffer;
    message_length = text.len;
    if (running) {
        running = false;
        tasks[current].fiber.switchTo(&main_context);
    } else {
        helper_active = false;
        helper.switchTo(&main_context);
    }
    unreachable;
}

// ----------------------------------------------------------------------------- running

/// Runs `threads` once under the current `options`, between `init` and `check`.
pub fn run(threads: []const Thread, init: *const fn () void, check: *const fn () void) Outcome {
    assert(threads.len <= fibers_max);
    outcome = .ok;
    message_length = 0;
    running = false;
    now = 1_000_000_000;
    locks = .{};
    outside_process = process_outside;
    accesses_total = 0;
    stall_end_min = 0;
    preemptions = 0;
    chooser = .init(options.strategy, options.seed, options.depth, options.accesses_expected);
    tape.rewind();

    runHelper(init);
    if (outcome != .ok) return outcome;

    count = @intCast(threads.len);
    for (threads, 0..) |thread, i| startTask(@intCast(i), thread);
    current = 0;
    running = true;
    if (pick(true)) |first| {
        current = first;
        main_context.switchTo(&tasks[first].fiber);
    }
    running = false;
    for (tasks[0..count]) |*task| task.buffer.flushAll();
    outside_process = process_outside;
    if (outcome == .ok) runHelper(check);
    return outcome;
}

fn startTask(i: u8, thread: Thread) void {
    const task = &tasks[i];
    const fiber = task.fiber; // Keeps its stack.
    task.* = .{
        .fiber = fiber,
        .state = if (thread.after == null) .ready else .pending,
        .thread = thread,
        .process = thread.process orelse i,
        .priority = chooser.initialPriority(),
    };
    task.fiber.start(taskEntry);
}

fn taskEntry() callconv(.c) noreturn {
    tasks[current].thread.run();
    tasks[current].state = .done;
    leave();
}

fn runHelper(function: *const fn () void) void {
    helper_function = function;
    helper_active = true;
    outside_accesses = 0;
    helper.start(helperEntry);
    main_context.switchTo(&helper);
    helper_active = false;
}

fn helperEntry() callconv(.c) noreturn {
    helper_function();
    helper_active = false;
    helper.switchTo(&main_context);
    unreachable;
}

/// The current fiber never runs again.
fn leave() noreturn {
    for (tasks[0..count]) |*task| {
        if (task.state != .pending) continue;
        const before = tasks[task.thread.after.?].state;
        if (before == .done or before == .dead) task.state = .ready;
    }
    wrote(); // Whoever waited for us in a loop shall look again.
    const me = current;
    if (pick(true)) |next| {
        current = next;
        tasks[me].fiber.switchTo(&tasks[next].fiber);
    }
    for (tasks[0..count]) |*task| {
        if (task.state != .done and task.state != .dead) deadlock();
    }
    tasks[me].fiber.switchTo(&main_context);
    unreachable;
}

// ----------------------------------------------------------------------------- accesses

/// A scheduling and crash point. Every function of `sync` that shared memory can notice calls it
/// first.
pub fn access() void {
    if (!running) return accessOutside();
    accesses_total += 1;
    now += access_ns;
    if (accesses_total > options.accesses_max) abandon(.stuck, "no progress", .{});
    if (options.store_buffers and options.strategy != .exhaustive) flushAtRandom();
    if (chooser.isChange(accesses_total)) tasks[current].priority = chooser.lowest();
    reschedule();
    dieIfDue();
    tasks[current].accesses += 1;
}

fn accessOutside() void {
    outside_accesses += 1;
    now += access_ns;
    if (outside_accesses > outside_accesses_max and helper_active) {
        abandon(.stuck, "no progress outside the fibers", .{});
    }
}

pub const Pause = enum { spin, yield };

/// One turn of a wait loop.
pub fn pause(kind: Pause) void {
    now += switch (kind) {
        .spin => spin_ns,
        .yield => yield_ns,
    };
    if (!running) return accessOutside();
    const task = &tasks[current];
    task.buffer.flushAll(); // Buffers empty by themselves; here there is time for it.
    task.waiting = true;
    task.idle = true;
    task.priority = chooser.lowest();
    access();
}

/// The current fiber does not go on before `ns` have passed.
pub fn sleep(ns: u64) void {
    if (!running) {
        now +|= ns;
        return accessOutside();
    }
    access();
    block(ns);
}

/// Sleeps until woken through `address` or until `ns` have passed. The caller has found the word
/// unchanged, with no access in between.
pub fn sleepOn(address: *const anyopaque, ns: u64) void {
    if (!running) {
        if (ns == never) abandon(.stuck, "waits for ever outside the fibers", .{});
        now +|= ns;
        return;
    }
    tasks[current].futex = address;
    block(ns);
}

fn block(ns: u64) void {
    const task = &tasks[current];
    task.buffer.flushAll();
    task.wake_at = now +| ns;
    task.state = .sleeping;
    task.priority = chooser.lowest();
    reschedule();
    assert(tasks[current].state == .ready);
}

/// Wakes up to `n` fibers that sleep on `address`.
pub fn wake(address: *const anyopaque, n: u32) void {
    var left = n;
    for (tasks[0..count]) |*task| {
        if (left == 0) return;
        if (task.state != .sleeping or task.futex != address) continue;
        task.state = .ready;
        task.futex = null;
        left -= 1;
    }
}

/// Memory changed: whoever looks at it in a loop has a reason to look again. And whoever endured a
/// standstill of others for long enough to do something about it has done it now.
pub fn wrote() void {
    const stall_ends = now >= stall_end_min;
    for (tasks[0..count]) |*task| {
        task.idle = false;
        if (stall_ends) task.stalled_until = 0;
    }
}

/// Nanoseconds on the simulated clock. Looking at it takes time, so that loops over it end.
pub fn clock() u64 {
    now += access_ns;
    return now;
}

fn dieIfDue() void {
    for (options.deaths) |death| {
        const task = &tasks[current];
        if (death.fiber != current or death.access != task.accesses) continue;
        task.buffer.flushAll(); // What has retired reaches memory, dead or not.
        switch (death.kind) {
            .kill => {
                for (tasks[0..count]) |*other| {
                    if (other.process != task.process) continue;
                    if (other.state == .done or other.state == .unused) continue;
                    other.buffer.flushAll();
                    other.state = .dead;
                }
                locks.releaseProcess(task.process);
                leave();
            },
            .freeze => {
                if (task.was_frozen) continue;
                task.was_frozen = true;
                task.state = .frozen;
                reschedule();
            },
        }
    }
}

// ----------------------------------------------------------------------------- byte locks

pub fn tryLock(fd: i32, byte: u64) bool {
    systemCall();
    return locks.tryLock(fd, byte, currentProcess());
}

pub fn unlock(fd: i32, byte: u64) void {
    systemCall();
    locks.unlock(fd, byte, currentProcess());
    wrote();
}

pub fn isHeld(fd: i32, byte: u64) bool {
    systemCall();
    return locks.isHeld(fd, byte, currentProcess());
}

fn systemCall() void {
    access();
    if (running) tasks[current].buffer.flushAll();
}

/// The store buffer of the running fiber, or null if stores are not delayed.
pub fn storeBuffer() ?*StoreBuffer {
    if (!options.store_buffers or !running) return null;
    return &tasks[current].buffer;
}

fn flushAtRandom() void {
    for (tasks[0..count]) |*task| {
        while (task.buffer.count > 0 and chooser.oneIn(4)) task.buffer.flush(1);
    }
}

// ----------------------------------------------------------------------------- choosing

/// Lets somebody go on. Returns when the calling fiber is chosen again.
fn reschedule() void {
    const me = current;
    const next = pick(false) orelse deadlock();
    if (next != me) {
        const buffer = &tasks[me].buffer;
        if (options.strategy == .exhaustive and buffer.count > 0) {
            const flushed = tape.next(buffer.count + 1) orelse misfit();
            buffer.flush(@intCast(flushed));
        }
        current = next;
        tasks[me].fiber.switchTo(&tasks[next].fiber);
    }
    tasks[me].waiting = false;
    tasks[me].idle = false;
}

fn misfit() noreturn {
    abandon(.stuck, "the schedule does not fit this run", .{});
}

fn deadlock() noreturn {
    abandon(.stuck, "deadlock: everybody waits for ever", .{});
}

/// Chooses who goes on; null when everybody has finished. `leaving`: the current fiber cannot.
fn pick(leaving: bool) ?u8 {
    while (true) {
        wakeSleepers();
        var choices: [2 * fibers_max]Choice = undefined;
        const stays = !leaving and tasks[current].state == .ready and !tasks[current].waiting;
        const runs = listRuns(&choices, leaving, stays);
        if (runs == 0) {
            if (forced()) |only| return only;
            if (!passTime()) return null;
            continue;
        }
        const all = listEndurers(&choices, runs);
        const free: u8 = if (stays) 1 else runs;
        const allowed = if (preemptions < options.preemptions_max or
            options.strategy != .exhaustive) all else free;
        const situation: chooser_module.Situation = .{ .runs = runs, .stays = stays };
        const chosen = chooser.choose(choices[0..allowed], situation, &tape) orelse misfit();
        if (chosen >= free) preemptions +|= 1;
        const choice = choices[chosen];
        if (choice.endure) endure(choice.task);
        return choice.task;
    }
}

/// Lists who may go on at once: the current fiber first if it does not wait, then the others
/// beginning behind it, so that the first choice is also the fair one.
fn listRuns(choices: []Choice, leaving: bool, stays: bool) u8 {
    var n: u8 = 0;
    if (stays) {
        choices[n] = .{ .task = current, .priority = tasks[current].priority };
        n += 1;
    }
    for (1..@as(usize, count) + 1) |distance| {
        const i: u8 = @intCast((current + distance) % count);
        if (i == current and !leaving) continue;
        const task = &tasks[i];
        if (task.state != .ready or task.idle or task.stalled_until > now) continue;
        choices[n] = .{ .task = i, .priority = task.priority };
        n += 1;
    }
    return n;
}

/// Adds those for whom time may pass while the runnable ones stand still.
fn listEndurers(choices: []Choice, runs: u8) u8 {
    var n = runs;
    for (0..count) |i| {
        const task = &tasks[i];
        const sleeps = task.state == .sleeping and task.wake_at != never;
        const spins = i == current and task.state == .ready and task.waiting;
        if (!sleeps and !spins) continue;
        choices[n] = .{ .task = @intCast(i), .priority = task.priority, .endure = true };
        n += 1;
    }
    return n;
}

/// Nobody has a reason to run except wait loops: their next turn, in a fixed order.
fn forced() ?u8 {
    for (1..@as(usize, count) + 1) |distance| {
        const i: u8 = @intCast((current + distance) % count);
        const task = &tasks[i];
        if (task.state == .ready and task.stalled_until <= now) return i;
    }
    return null;
}

/// Jumps to the next moment at which somebody can go on. False if there is none.
fn passTime() bool {
    var next: u64 = never;
    for (tasks[0..count]) |*task| {
        if (task.state == .sleeping) next = @min(next, task.wake_at);
        if (task.state == .ready) next = @min(next, task.stalled_until);
    }
    if (next != never) {
        now = @max(now, next);
        return true;
    }
    var thawed = false;
    for (tasks[0..count]) |*task| {
        if (task.state != .frozen) continue;
        task.state = .ready;
        thawed = true;
    }
    return thawed;
}

fn wakeSleepers() void {
    for (tasks[0..count]) |*task| {
        if (task.state == .sleeping and task.wake_at <= now) {
            task.state = .ready;
            task.futex = null;
        }
    }
}

fn endure(i: u8) void {
    stall_end_min = now + options.stall_ns / 3;
    for (tasks[0..count], 0..) |*task, j| {
        if (j != i and task.state == .ready) task.stalled_until = now + options.stall_ns;
    }
    const task = &tasks[i];
    if (task.state == .sleeping) {
        now = @max(now, task.wake_at);
        wakeSleepers();
    }
    task.stalled_until = 0;
}

test {
    _ = @import("scheduler_test.zig");
}
