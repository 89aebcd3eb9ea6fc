//! The notifier: tells event loops that something has come to pass.
//!
//! JavaScript cannot wait on a word of shared memory without blocking its thread; it can wait for a
//! socket. So each isolate that waits has a `Waker`, a pair of sockets of which its event loop
//! reads one. One thread of the process sleeps on the words of all that is waited for, and sends a
//! byte to the waker of whoever may look again. The byte means nothing more than that: many events
//! may become one byte, and whoever reads it looks at everything it waits for.
//!
//! A wait is armed for one wake-up and then forgotten. Each is known by a key, of which there is
//! one in a connection: who waits for several things arms the nearest.
//!
//! Invariants, all guarded by the mutex:
//!
//!   * a subject is looked at only while it is armed, so after `forget` its memory may go
//!   * the thread runs while there is a waker, from the first time that one is armed
//!   * a waker's number is never given out again: one that is closed is unknown for ever
//!
//! Nobody is woken by a process that died before it could: the thread looks again after
//! `doubt_ns` in any case.

const std = @import("std");
const sync = @import("sync");
const os = @import("os.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Shm = sync.Shm;
const assert = std.debug.assert;

pub const waker_count_max = 1024;
const wait_count_max = 1024;
/// After this time a thread looks for itself whether a wake-up was lost with its sender.
const doubt_ns = 20 * std.time.ns_per_ms;
/// The same while more words are waited for than the kernel takes.
const crowded_ns = std.time.ns_per_ms;

pub const Error = error{ Busy, IoError, Internal };

/// What can be waited for. It must stay where it is while it is armed.
pub const Subject = struct {
    context: *anyopaque,
    /// Futex, raised after each change that `reached` could notice.
    word: *const Shm(u32),
    /// How many wait on `word`: who raises it may save the call that wakes if there is nobody.
    waiters: *Shm(u32),
    /// True if whoever waits for `position` should look. Called by the notifier's thread.
    reached: *const fn (context: *anyopaque, position: u64) bool,
};

const Waker = struct {
    taken: bool = false,
    /// How often the place was used; part of the number.
    uses: u32 = 0,
    /// Our end, and that of the event loop.
    socket: os.Fd = -1,
    other: os.Fd = -1,
    /// The thread of the isolate.
    thread: usize = 0,
};

const Wait = struct {
    key: u32,
    waker: u32,
    subject: Subject,
    position: u64,
};

pub const Notifier = struct {
    mutex: ProcessMutex = .{},
    wakers: [waker_count_max]Waker = @splat(.{}),
    waker_count: u32 = 0,
    waits: [wait_count_max]Wait = undefined,
    wait_count: u32 = 0,
    /// Futex of the thread: raised when it must look at the waits anew.
    changes: Shm(u32) = .init(0),
    /// Raised to end the thread; the next one belongs to the new number.
    generation: Shm(u32) = .init(0),
    thread: ?std.Thread = null,

    /// Makes a waker for the calling thread. Returns its number, at least 1.
    pub fn open(notifier: *Notifier) Error!u32 {
        notifier.mutex.lock();
        defer notifier.mutex.unlock();
        for (&notifier.wakers, 0..) |*waker, i| {
            if (waker.taken) continue;
            const pair = os.socketPair() catch return error.IoError;
            const uses_max = std.math.maxInt(i32) / waker_count_max;
            waker.* = .{
                .taken = true,
                .uses = waker.uses % (uses_max - 1) + 1,
                .socket = pair[1],
                .other = pair[0],
                .thread = std.Thread.getCurrentId(),
            };
            notifier.waker_count += 1;
            return waker.uses * waker_count_max + @as(u32, @intCast(i));
        }
        return error.Busy;
    }

    /// The end to read from, which belongs to the caller; null if there is no such waker.
    pub fn descriptor(notifier: *Notifier, number: u32) ?os.Fd {
        notifier.mutex.lock();
        defer notifier.mutex.unlock();
        const waker = notifier.find(number) orelse return null;
        return waker.other;
    }

    /// Closes a waker; nothing wakes its isolate after this. With the last one the thread ends.
    /// False if there is no such waker.
    pub fn close(notifier: *Notifier, number: u32) bool {
        {
            notifier.mutex.lock();
            defer notifier.mutex.unlock();
            const waker = notifier.find(number) orelse return false;
            notifier.release(waker, number);
        }
        notifier.stopIfUnused();
        return true;
    }

    /// Closes the wakers of a thread that ends.
    pub fn closeOfThread(notifier: *Notifier, thread: usize) void {
        {
            notifier.mutex.lock();
            defer notifier.mutex.unlock();
            for (&notifier.wakers, 0..) |*waker, i| {
                if (!waker.taken or waker.thread != thread) continue;
                const index: u32 = @intCast(i);
                notifier.release(waker, waker.uses * waker_count_max + index);
            }
        }
        notifier.stopIfUnused();
    }

    /// Has the waker woken once, as soon as the subject has reached a position. Replaces what was
    /// armed with this key. False if there is no such waker.
    pub fn arm(
        notifier: *Notifier,
        number: u32,
        key: u32,
        subject: Subject,
        position: u64,
    ) Error!bool {
        notifier.mutex.lock();
        defer notifier.mutex.unlock();
        if (notifier.find(number) == null) return false;
        const wait = notifier.waitOf(key) orelse blk: {
            if (notifier.wait_count == wait_count_max) return error.Busy;
            // Before the thread looks at the subject: who changes it must see one of the two.
            _ = subject.waiters.fetchAdd(1, .seq_cst);
            notifier.wait_count += 1;
            break :blk &notifier.waits[notifier.wait_count - 1];
        };
        wait.* = .{ .key = key, .waker = number, .subject = subject, .position = position };
        try notifier.startThread();
        notifier.changed();
        return true;
    }

    /// Forgets what was armed with a key; its subject is not looked at after this.
    pub fn forget(notifier: *Notifier, key: u32) void {
        notifier.mutex.lock();
        defer notifier.mutex.unlock();
        if (notifier.waitOf(key)) |wait| notifier.remove(wait);
    }

    /// Wakes an isolate now. For threads that have something to tell it.
    pub fn wake(notifier: *Notifier, number: u32) void {
        notifier.mutex.lock();
        defer notifier.mutex.unlock();
        if (notifier.find(number)) |waker| os.sendByte(waker.socket);
    }

    /// Makes a forked child the owner of nothing: the thread is not in it.
    pub fn resetInChild(notifier: *Notifier) void {
        for (&notifier.wakers) |*waker| {
            if (waker.taken) os.close(waker.socket);
            waker.taken = false;
        }
        notifier.waker_count = 0;
        notifier.wait_count = 0;
        notifier.thread = null;
        notifier.mutex.resetInChild();
    }

    fn find(notifier: *Notifier, number: u32) ?*Waker {
        const waker = &notifier.wakers[number % waker_count_max];
        if (!waker.taken or waker.uses != number / waker_count_max) return null;
        return waker;
    }

    fn release(notifier: *Notifier, waker: *Waker, number: u32) void {
        var i = notifier.wait_count;
        while (i > 0) {
            i -= 1;
            const wait = &notifier.waits[i];
            if (wait.waker == number) notifier.remove(wait);
        }
        os.close(waker.socket);
        waker.taken = false;
        notifier.waker_count -= 1;
    }

    fn waitOf(notifier: *Notifier, key: u32) ?*Wait {
        for (notifier.waits[0..notifier.wait_count]) |*wait| if (wait.key == key) return wait;
        return null;
    }

    fn remove(notifier: *Notifier, wait: *Wait) void {
        _ = wait.subject.waiters.fetchSub(1, .seq_cst);
        notifier.wait_count -= 1;
        wait.* = notifier.waits[notifier.wait_count];
    }

    fn changed(notifier: *Notifier) void {
        // Release: pairs with the acquire in `run`.
        _ = notifier.changes.fetchAdd(1, .release);
        // One that is about to end may sleep there as well.
        sync.futexWake(&notifier.changes, std.math.maxInt(u31));
    }

    fn startThread(notifier: *Notifier) Error!void {
        if (notifier.thread != null) return;
        const generation = notifier.generation.load(.monotonic);
        notifier.thread = std.Thread.spawn(
            .{ .stack_size = 1 << 20 },
            run,
            .{ notifier, generation },
        ) catch return error.Internal;
    }

    fn stopIfUnused(notifier: *Notifier) void {
        notifier.mutex.lock();
        if (notifier.waker_count > 0 or notifier.thread == null) return notifier.mutex.unlock();
        const thread = notifier.thread.?;
        notifier.thread = null;
        _ = notifier.generation.fetchAdd(1, .release);
        notifier.changed();
        notifier.mutex.unlock();
        // Without the mutex, which the thread takes.
        thread.join();
    }

    fn run(notifier: *Notifier, generation: u32) void {
        os.blockSignals();
        while (true) {
            var words: [sync.futex_wait_any_max]sync.FutexWait = undefined;
            words[0] = .{ .word = &notifier.changes, .expected = notifier.changes.load(.acquire) };
            if (notifier.generation.load(.acquire) != generation) break;
            const look = notifier.lookAtAll(words[1..]);
            sync.futexWaitAny(words[0 .. 1 + look.words], look.pause_ns);
        }
    }

    const Look = struct { words: usize, pause_ns: u64 };

    /// Wakes whoever should look, and gives the words of the rest to sleep on.
    fn lookAtAll(notifier: *Notifier, words: []sync.FutexWait) Look {
        notifier.mutex.lock();
        defer notifier.mutex.unlock();
        var count: usize = 0;
        var crowded = false;
        var i = notifier.wait_count;
        while (i > 0) {
            i -= 1;
            const wait = &notifier.waits[i];
            const subject = wait.subject;
            // The word before the condition: a change between the two ends the sleep at once.
            const expected = subject.word.load(.acquire);
            if (subject.reached(subject.context, wait.position)) {
                const waker = notifier.find(wait.waker);
                notifier.remove(wait);
                if (waker) |it| os.sendByte(it.socket);
                continue;
            }
            if (count == words.len) {
                crowded = true;
                continue;
            }
            words[count] = .{ .word = subject.word, .expected = expected };
            count += 1;
        }
        const pause_ns: u64 = if (crowded) crowded_ns else doubt_ns;
        const nothing = notifier.wait_count == 0;
        return .{ .words = count, .pause_ns = if (nothing) std.math.maxInt(u64) else pause_ns };
    }
};

const testing = std.testing;
const linux = std.os.linux;

/// A number that threads raise.
const TestSubject = struct {
    word: Shm(u32) = .init(0),
    waiters: Shm(u32) = .init(0),
    position: Shm(u64) = .init(0),

    fn subject(self: *TestSubject) Subject {
        return .{
            .context = self,
            .word = &self.word,
            .waiters = &self.waiters,
            .reached = reached,
        };
    }

    fn reached(context: *anyopaque, position: u64) bool {
        const self: *TestSubject = @ptrCast(@alignCast(context));
        return self.position.load(.acquire) >= position;
    }

    fn raise(self: *TestSubject, position: u64) void {
        self.position.store(position, .seq_cst);
        _ = self.word.fetchAdd(1, .seq_cst);
        if (self.waiters.load(.seq_cst) > 0) sync.futexWake(&self.word, 1);
    }
};

/// Waits until a byte is there, and takes all of them. False after `timeout_ms`.
fn takeBytes(socket: os.Fd, timeout_ms: i32) bool {
    var list = [1]linux.pollfd{.{ .fd = socket, .events = linux.POLL.IN, .revents = 0 }};
    if (linux.poll(&list, 1, timeout_ms) != 1) return false;
    var bytes: [64]u8 = undefined;
    const count: isize = @bitCast(linux.read(socket, &bytes, bytes.len));
    return count > 0;
}

test "Notifier: wakes once for each arm, and not before the position" {
    if (!os.supported) return error.SkipZigTest;
    const notifier = try testing.allocator.create(Notifier);
    defer testing.allocator.destroy(notifier);
    notifier.* = .{};
    var one: TestSubject = .{};
    var other: TestSubject = .{};
    const waker = try notifier.open();
    const socket = notifier.descriptor(waker).?;
    defer os.close(socket);
    try testing.expect(try notifier.arm(waker, 1, one.subject(), 5));
    try testing.expect(try notifier.arm(waker, 2, other.subject(), 3));
    one.raise(4);
    try testing.expect(!takeBytes(socket, 50));
    one.raise(5);
    try testing.expect(takeBytes(socket, 10_000));
    try testing.expectEqual(@as(u32, 0), one.waiters.load(.acquire));
    other.raise(100);
    try testing.expect(takeBytes(socket, 10_000));
    // Reached already.
    try testing.expect(try notifier.arm(waker, 1, one.subject(), 1));
    try testing.expect(takeBytes(socket, 10_000));
    try testing.expect(notifier.close(waker));
    try testing.expect(notifier.thread == null);
    try testing.expect(!notifier.close(waker));
    try testing.expect(!try notifier.arm(waker, 1, one.subject(), 1));
}

test "Notifier: a change without a wake-up is noticed, and a forgotten wait wakes nobody" {
    if (!os.supported) return error.SkipZigTest;
    const notifier = try testing.allocator.create(Notifier);
    defer testing.allocator.destroy(notifier);
    notifier.* = .{};
    var subject: TestSubject = .{};
    const waker = try notifier.open();
    const socket = notifier.descriptor(waker).?;
    defer os.close(socket);
    try testing.expect(try notifier.arm(waker, 7, subject.subject(), 1));
    // As if the process had been killed before it raised the word.
    subject.position.store(1, .release);
    try testing.expect(takeBytes(socket, 10_000));
    try testing.expect(try notifier.arm(waker, 7, subject.subject(), 2));
    notifier.forget(7);
    try testing.expectEqual(@as(u32, 0), subject.waiters.load(.acquire));
    subject.raise(2);
    try testing.expect(!takeBytes(socket, 50));
    notifier.wake(waker);
    try testing.expect(takeBytes(socket, 10_000));
    notifier.closeOfThread(std.Thread.getCurrentId());
    try testing.expect(!notifier.close(waker));
}
