//! Every atomic, futex, byte lock, clock and pause of the engine: the native personality.
//!
//! Engine code never touches shared memory by `@atomicLoad` and friends, and never makes a system
//! call that another process can notice. It does `const sync = @import("sync")`, and the build
//! decides which file that is: this one, in which every function is one instruction or one system
//! call, or `sim/sync_sim.zig`, in which the same names are the scheduling points of a
//! deterministic simulator. Both files therefore have the same public names and meanings; a
//! function added here is added there.
//!
//! Rules that hold for every user:
//!
//!   * A word that two processes may touch at the same time is a `Shm(T)`. A plain field is legal
//!     only while its block is private, that is before the store or CAS that publishes it.
//!   * The comment at each call names the access it pairs with. Orders are `.monotonic`,
//!     `.acquire`, `.release`, `.acq_rel` and `.seq_cst`; store-to-load order needs `fence`.
//!   * Addresses differ between processes, so nothing here stores one.
//!   * No deadline is absolute: monotonic clocks differ between time namespaces. Callers measure
//!     intervals with their own clock.
//!
//! Linux is reached by raw system calls, so that a result never depends on which libc the host
//! process uses. On macOS the file compiles (the library is built there), but there is no futex
//! across processes and no lock owned by an open file: waits become short sleeps and byte locks
//! are never granted. Opening a region refuses on macOS before any of this could matter.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const assert = std.debug.assert;
const AtomicOrder = std.builtin.AtomicOrder;

const is_linux = builtin.os.tag == .linux;

comptime {
    assert(is_linux or builtin.os.tag.isDarwin());
    // The region is little endian, and blocks are found by 64-bit arithmetic.
    assert(builtin.cpu.arch == .x86_64 or builtin.cpu.arch == .aarch64);
}

/// True in the simulator. Use it to drop work that makes no sense there (prefetching, thread
/// pinning), never to change a protocol.
pub const sim = false;

/// Longest single sleep of a wait that has no wake-up call, in nanoseconds.
const sleep_ns_max: u64 = 1_000_000;

/// One word of shared memory that several processes read and write.
///
/// `T` is an integer or a packed struct of 8, 16, 32 or 64 bits. The struct has the size and the
/// alignment of `T` and nothing else in it, so that it may stand in any `extern struct` of the
/// region. Copying a `Shm` copies the word non-atomically: keep pointers to it instead.
pub fn Shm(comptime T: type) type {
    const size = @sizeOf(T);
    switch (@typeInfo(T)) {
        .int => {},
        .@"struct" => |info| assert(info.layout == .@"packed"),
        else => @compileError("Shm(" ++ @typeName(T) ++ "): only integers and packed structs"),
    }
    assert(size == 1 or size == 2 or size == 4 or size == 8);
    assert(@bitSizeOf(T) == size * 8); // Padding bits would make a CAS fail for no reason.

    return extern struct {
        raw: T,

        const Self = @This();
        /// What the hardware sees. Signed integers stay signed, because `fetchMax` compares.
        const Word = if (@typeInfo(T) == .int) T else @Int(.unsigned, size * 8);

        comptime {
            assert(@sizeOf(Self) == size);
        }

        /// A word that is not shared yet.
        pub fn init(value: T) Self {
            return .{ .raw = value };
        }

        inline fn word(self: *Self) *Word {
            return @ptrCast(&self.raw);
        }

        /// Reads the word. `order` is `.unordered`, `.monotonic`, `.acquire` or `.seq_cst`.
        pub inline fn load(self: *const Self, comptime order: AtomicOrder) T {
            const address: *const Word = @ptrCast(&self.raw);
            return @bitCast(@atomicLoad(Word, address, order));
        }

        /// Writes the word. `order` is `.unordered`, `.monotonic`, `.release` or `.seq_cst`.
        pub inline fn store(self: *Self, value: T, comptime order: AtomicOrder) void {
            @atomicStore(Word, self.word(), @bitCast(value), order);
        }

        /// Writes the word and returns what stood there. On x86-64 this is also a full barrier.
        pub inline fn swap(self: *Self, value: T, comptime order: AtomicOrder) T {
            return @bitCast(@atomicRmw(Word, self.word(), .Xchg, @bitCast(value), order));
        }

        /// Adds, wrapping around, and returns what stood there. Integers only.
        pub inline fn fetchAdd(self: *Self, value: T, comptime order: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            return @atomicRmw(T, &self.raw, .Add, value, order);
        }

        /// Subtracts, wrapping around, and returns what stood there. Integers only.
        pub inline fn fetchSub(self: *Self, value: T, comptime order: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            return @atomicRmw(T, &self.raw, .Sub, value, order);
        }

        /// Raises the word to `value` if it is smaller, and returns what stood there.
        /// Integers only.
        pub inline fn fetchMax(self: *Self, value: T, comptime order: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            return @atomicRmw(T, &self.raw, .Max, value, order);
        }

        /// Sets bits and returns what stood there. Integers only.
        pub inline fn fetchOr(self: *Self, value: T, comptime order: AtomicOrder) T {
            comptime assert(@typeInfo(T) == .int);
            return @atomicRmw(T, &self.raw, .Or, value, order);
        }

        /// Replaces `expected` by `new`. Returns null on success, else the word that was found.
        /// Never fails spuriously: a failure is news about another process.
        pub inline fn cas(
            self: *Self,
            expected: T,
            new: T,
            comptime success: AtomicOrder,
            comptime failure: AtomicOrder,
        ) ?T {
            const found = @cmpxchgStrong(
                Word,
                self.word(),
                @bitCast(expected),
                @bitCast(new),
                success,
                failure,
            ) orelse return null;
            return @bitCast(found);
        }
    };
}

/// A full barrier: every access before it is ordered before every access after it, stores before
/// loads included. Both sides of a Dekker-shaped handshake need one (or an atomic swap on x86-64).
pub inline fn fence() void {
    switch (builtin.cpu.arch) {
        // A locked no-op on the stack's own line; measured faster than `mfence`.
        .x86_64 => asm volatile ("lock orl $0, (%%rsp)" ::: .{ .memory = true, .cc = true }),
        .aarch64 => asm volatile ("dmb ish" ::: .{ .memory = true }),
        else => comptime unreachable,
    }
}

/// Marks a place between plain stores where being killed matters. Nothing here; in the simulator
/// a scheduling and crash point.
pub inline fn step() void {}

/// Copies `n` plain bytes into a block that nobody else can reach yet.
pub inline fn copyIn(dst: [*]u8, src: [*]const u8, n: usize) void {
    @memcpy(dst[0..n], src[0..n]);
}

/// Copies `n` bytes out of memory that another process may be writing.
///
/// Word by word with monotonic atomic loads (LLVM makes unordered ones a call to a function that no
/// library has), so that every single word is one that was stored,
/// while different words may be of different times: the caller re-checks a version word and
/// throws the copy away if that changed. `src` and `dst` are 8-aligned, `n` is a multiple of 8.
pub inline fn copyOut(dst: [*]u8, src: [*]const u8, n: usize) void {
    assert(n % 8 == 0);
    const from: [*]const u64 = @ptrCast(@alignCast(src));
    const to: [*]u64 = @ptrCast(@alignCast(dst));
    for (0..n / 8) |i| to[i] = @atomicLoad(u64, &from[i], .monotonic);
}

/// A full barrier in every thread of every process, for one who looks seldom at what many write
/// often.
pub fn everywhereFence() void {
    if (!is_linux) return fence();
    const global = 1; // MEMBARRIER_CMD_GLOBAL
    if (linux.errno(linux.syscall3(.membarrier, global, 0, 0)) == .SUCCESS) return;
    // No store stays in a processor's buffer for so long.
    sleepNs(10 * std.time.ns_per_ms);
    fence();
}

/// Like `copyOut`, from memory that may be freed meanwhile. The caller finds out afterwards, and
/// then throws the copy away.
pub const copyRacing = copyOut;

/// Tells the processor that this is a wait loop.
pub inline fn spinHint() void {
    std.atomic.spinLoopHint();
}

/// Gives the rest of the time slice to another thread.
pub fn yield() void {
    if (is_linux) {
        _ = linux.sched_yield();
    } else {
        _ = std.c.sched_yield();
    }
}

/// Sleeps for about `ns` nanoseconds. May return early when a signal arrives.
pub fn sleepNs(ns: u64) void {
    const request = timespecFromNs(ns);
    if (is_linux) {
        _ = linux.nanosleep(&request, null);
    } else {
        _ = std.c.nanosleep(&request, null);
    }
}

/// Nanoseconds of the monotonic clock. Comparable only inside this process.
pub fn nowNs() u64 {
    var now: std.posix.timespec = undefined;
    if (is_linux and !builtin.link_libc) {
        _ = linux.clock_gettime(.MONOTONIC, &now);
    } else {
        // With libc: inside a shared library only libc is sure to find the vDSO.
        _ = std.c.clock_gettime(.MONOTONIC, &now);
    }
    return @as(u64, @intCast(now.sec)) * std.time.ns_per_s + @as(u64, @intCast(now.nsec));
}

/// Sleeps while `word` holds `expected`, until somebody wakes it or `timeout_ns` have passed.
///
/// May return at any time for no reason, so callers loop over their own condition. The check of
/// `word` and falling asleep are one step for every process that maps the word, because the futex
/// is not marked private. `maxInt(u64)` waits without a limit.
pub fn futexWait(word: *const Shm(u32), expected: u32, timeout_ns: u64) void {
    if (!is_linux) {
        // Acquire: whoever changed the word released what we are waiting for.
        if (word.load(.acquire) == expected) sleepNs(@min(timeout_ns, sleep_ns_max));
        return;
    }
    const timeout = timespecFromNs(timeout_ns);
    const endless = timeout_ns == std.math.maxInt(u64);
    const limit: ?*const linux.timespec = if (endless) null else &timeout;
    // Woken, changed, timed out, interrupted: the caller looks at its condition in every case.
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = false }, expected, limit);
}

/// A word and what it holds while there is nothing to do.
pub const FutexWait = struct { word: *const Shm(u32), expected: u32 };

/// Most words that `futexWaitAny` sleeps on.
pub const futex_wait_any_max = 128;

/// As `futexWait`, on several words at once: returns when one of them is woken or differs.
///
/// Where the kernel cannot do it (before Linux 5.16, or in a sandbox that does not let it), sleeps
/// on the first one alone, and never for longer than `sleep_ns_max`.
pub fn futexWaitAny(waits: []const FutexWait, timeout_ns: u64) void {
    assert(waits.len > 0 and waits.len <= futex_wait_any_max);
    if (waits.len == 1) return futexWait(waits[0].word, waits[0].expected, timeout_ns);
    if (is_linux) {
        var list: [futex_wait_any_max]linux.futex2_waitone = undefined;
        for (waits, list[0..waits.len]) |wait, *entry| entry.* = .{
            .val = wait.expected,
            .uaddr = @intFromPtr(&wait.word.raw),
            .flags = .{ .size = .U32, .private = false },
        };
        // The deadline is of this process's own clock, and of this call alone.
        const deadline = timespecFromNs(nowNs() +| timeout_ns);
        const limit: linux.kernel_timespec = .{ .sec = deadline.sec, .nsec = deadline.nsec };
        const endless = timeout_ns == std.math.maxInt(u64);
        const rc = linux.futex2_waitv(
            &list,
            @intCast(waits.len),
            .{},
            if (endless) null else &limit,
            .MONOTONIC,
        );
        switch (linux.errno(rc)) {
            .NOSYS, .PERM, .INVAL => {},
            else => return,
        }
    }
    futexWait(waits[0].word, waits[0].expected, @min(timeout_ns, sleep_ns_max));
}

/// Wakes at most `n` waiters of `word`, in any process. Costs the caller several microseconds when
/// somebody sleeps on another processor: check a flag that says so first.
pub fn futexWake(word: *const Shm(u32), n: u32) void {
    if (!is_linux) return;
    const limit = @min(n, std.math.maxInt(i32)); // The kernel reads a signed number.
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = false }, limit);
}

/// Names of deliberate protocol mistakes. The simulator switches them on one at a time to prove
/// that its kernels would notice. Here they do not exist, unless `-Dmutation=NAME` builds one in to
/// prove that tests of real processes would notice.
pub const Mutation = enum {
    none,
    no_sequencing,
    epoch_from_next,
    free_at_abort,
    no_guard_cas,
    unfenced_pin,
    retire_without_plus_one,
    no_stamp_by_drainer,
    no_validation,
    heap_scan_no_wait,
    xmin_before_xmax,
    no_xmin_recheck,
    payload_before_txref,
    seq_before_stamp,
    untagged_dying,
    index_first,
    no_recheck,
    removal_by_own_pin,
    trusted_hint,
    believed_hint,
    moving_snapshot,
    dirty_read,
    gate_without_wait,
    gate_of_the_dead,
    ticket_without_snapshot,
    ticket_released_twice,
    blind_resume,
    blind_revoke,
    views_at_rest,
    rollback_forgets_reads,
    recovery_of_the_living,
    shared_orphan,
    build_without_wait,
    no_unique_check,
    keys_of_another_base,
    drained_without_epoch,
    target_kept,
    untagged_candidate,
    link_before_clear,
    no_clear_of_old_key,
    clear_before_head,
};

const mutation = @field(Mutation, @import("build_options").mutation);

/// Whether the engine shall make mistake `m`. Known at compile time here, and false in any library
/// that is meant to be used.
pub inline fn mutated(comptime m: Mutation) bool {
    comptime assert(m != .none);
    return m == mutation;
}

/// Exclusive locks on single bytes of a file. They are at once liveness and permission.
///
/// The owner is the open file description behind `fd`: a lock ends when the last descriptor of
/// that open file is closed, thus also by kill -9, and is not shared with another `open` of the
/// same file in the same process. A forked child that keeps the descriptor keeps the lock.
pub const ByteLock = struct {
    /// Takes the lock on `byte` without waiting. False if another open file has it, or if the
    /// kernel refuses: then nobody may conclude that the owner is dead. Taking a lock that `fd`
    /// has already succeeds.
    pub fn tryLock(fd: i32, byte: u64) bool {
        if (!is_linux) return false;
        var lock = byteRange(linux.F.WRLCK, byte);
        const result = linux.fcntl(fd, linux.F.OFD_SETLK, @intFromPtr(&lock));
        return linux.errno(result) == .SUCCESS;
    }

    /// Gives the lock on `byte` back; nothing happens if `fd` does not have it.
    pub fn unlock(fd: i32, byte: u64) void {
        if (!is_linux) return;
        var lock = byteRange(linux.F.UNLCK, byte);
        // Can fail only for a descriptor that is not open, and then the lock is gone as well.
        _ = linux.fcntl(fd, linux.F.OFD_SETLK, @intFromPtr(&lock));
    }

    /// Whether some other open file has the lock on `byte`. True also when the kernel does not
    /// answer, because the question is always "may I treat its owner as dead?".
    pub fn isHeld(fd: i32, byte: u64) bool {
        if (!is_linux) return true;
        var lock = byteRange(linux.F.WRLCK, byte);
        const result = linux.fcntl(fd, linux.F.OFD_GETLK, @intFromPtr(&lock));
        if (linux.errno(result) != .SUCCESS) return true;
        return lock.type != linux.F.UNLCK;
    }

    fn byteRange(kind: i16, byte: u64) linux.Flock {
        var lock = std.mem.zeroes(linux.Flock); // `pid` has to be 0 for locks of open files.
        lock.type = kind;
        lock.whence = linux.SEEK.SET;
        lock.start = @intCast(byte);
        lock.len = 1;
        return lock;
    }
};

fn timespecFromNs(ns: u64) std.posix.timespec {
    return .{
        .sec = @intCast(ns / std.time.ns_per_s),
        .nsec = @intCast(ns % std.time.ns_per_s),
    };
}

const testing = std.testing;

test "Shm: integers add, subtract, raise and set bits, and return what stood there" {
    var word: Shm(u32) = .init(5);
    try testing.expectEqual(5, word.fetchAdd(3, .acq_rel));
    try testing.expectEqual(8, word.fetchSub(2, .acq_rel));
    try testing.expectEqual(6, word.fetchMax(4, .acq_rel));
    try testing.expectEqual(6, word.fetchMax(9, .acq_rel));
    try testing.expectEqual(9, word.fetchOr(16, .acq_rel));
    try testing.expectEqual(25, word.swap(1, .acq_rel));
    try testing.expectEqual(1, word.load(.acquire));
}

test "Shm.fetchMax: compares signed words as signed" {
    var word: Shm(i64) = .init(-5);
    try testing.expectEqual(-5, word.fetchMax(-7, .monotonic));
    try testing.expectEqual(-5, word.load(.monotonic));
}

test "Shm.cas: returns null on success and the found word on failure, packed structs too" {
    const Head = packed struct(u64) { version: u32, state: u2, slot: u30 };
    var word: Shm(Head) = .init(.{ .version = 7, .state = 1, .slot = 9 });
    const first = word.load(.acquire);
    const second: Head = .{ .version = 8, .state = 2, .slot = 9 };
    try testing.expectEqual(null, word.cas(first, second, .acq_rel, .acquire));
    try testing.expectEqual(second, word.cas(first, first, .acq_rel, .acquire).?);
    try testing.expectEqual(second, word.swap(first, .seq_cst));
}

test "copyOut: copies whole words, nothing beyond them" {
    const source = [_]u64{ 1, 2, 3, 4 };
    var target = [_]u64{ 0, 0, 0, 9 };
    copyOut(@ptrCast(&target), @ptrCast(&source), 24);
    try testing.expectEqual([_]u64{ 1, 2, 3, 9 }, target);
}

test "nowNs: a sleep takes at least as long as asked" {
    const start = nowNs();
    sleepNs(200_000);
    fence();
    try testing.expect(nowNs() - start >= 200_000);
}

test "futexWait: returns at once when the word has changed, and after the timeout otherwise" {
    var word: Shm(u32) = .init(1);
    futexWait(&word, 0, std.math.maxInt(u64));
    const start = nowNs();
    futexWait(&word, 1, 300_000);
    futexWake(&word, std.math.maxInt(u32));
    if (is_linux) try testing.expect(nowNs() - start >= 200_000);
}

test "ByteLock: excludes another open file, byte by byte, and ends with it" {
    if (!is_linux) return error.SkipZigTest;
    var name_buffer: [96]u8 = undefined;
    const name = try std.fmt.bufPrintSentinel(
        &name_buffer,
        "/dev/shm/aerostore-test-lock-{d}-{x}",
        .{ linux.getpid(), nowNs() },
        0,
    );
    const flags: linux.O = .{ .ACCMODE = .RDWR, .CREAT = true, .CLOEXEC = true };
    const a = try std.posix.openatZ(std.posix.AT.FDCWD, name, flags, 0o600);
    defer _ = linux.unlink(name);
    defer _ = linux.close(a);
    const b = try std.posix.openatZ(std.posix.AT.FDCWD, name, flags, 0o600);

    try testing.expect(ByteLock.tryLock(b, 20));
    try testing.expect(!ByteLock.tryLock(a, 20));
    try testing.expect(ByteLock.isHeld(a, 20));
    try testing.expect(!ByteLock.isHeld(b, 20)); // Its own lock is nobody else's.
    try testing.expect(ByteLock.tryLock(a, 21));
    _ = linux.close(b);
    try testing.expect(ByteLock.tryLock(a, 20));
    ByteLock.unlock(a, 20);
    try testing.expect(!ByteLock.isHeld(a, 20));
}

test "ByteLock: a closed descriptor locks nothing and frees nothing" {
    if (!is_linux) return error.SkipZigTest;
    try testing.expect(!ByteLock.tryLock(-1, 20));
    try testing.expect(ByteLock.isHeld(-1, 20));
}
