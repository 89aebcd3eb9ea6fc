//! A lock among the threads of one process, for what happens rarely: opening, closing, probing.
//!
//! Nothing shared between processes may depend on it, because a killed holder never gives it back.
//! It is a futex word and needs no thread library, so it works before and after `fork`.

const std = @import("std");
const sync = @import("sync");
const assert = std.debug.assert;

pub const ProcessMutex = struct {
    word: sync.Shm(u32) = .init(unlocked),

    const unlocked = 0;
    const locked = 1;
    const contended = 2;
    const spins_max = 100;

    pub fn lock(mutex: *ProcessMutex) void {
        for (0..spins_max) |_| {
            if (mutex.tryLock()) return;
            sync.spinHint();
        }
        // Acquire: pairs with the release in `unlock`.
        while (mutex.word.swap(contended, .acquire) != unlocked) {
            sync.futexWait(&mutex.word, contended, std.math.maxInt(u64));
        }
    }

    pub fn tryLock(mutex: *ProcessMutex) bool {
        // Acquire: pairs with the release in `unlock`.
        return mutex.word.cas(unlocked, locked, .acquire, .monotonic) == null;
    }

    pub fn unlock(mutex: *ProcessMutex) void {
        // Release: whoever locks next sees what was done under the lock.
        const before = mutex.word.swap(unlocked, .release);
        assert(before != unlocked);
        if (before == contended) sync.futexWake(&mutex.word, 1);
    }

    /// Makes a forked child the owner of nothing: the thread that held the lock is not in it.
    pub fn resetInChild(mutex: *ProcessMutex) void {
        mutex.word = .init(unlocked);
    }
};

test "ProcessMutex: many threads count without losing one" {
    const Shared = struct {
        mutex: ProcessMutex = .{},
        count: u64 = 0,

        fn run(shared: *@This()) void {
            for (0..20_000) |_| {
                shared.mutex.lock();
                defer shared.mutex.unlock();
                shared.count += 1;
            }
        }
    };
    var shared: Shared = .{};
    var threads: [4]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, Shared.run, .{&shared});
    for (threads) |thread| thread.join();
    try std.testing.expectEqual(@as(u64, 80_000), shared.count);
}
