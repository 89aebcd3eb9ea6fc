//! The processes attached to a region: who is alive, and who may clean up after whom.
//!
//! Entry i of `region.processes` says who process i is. Byte 16 + i, locked in the lock file and
//! in the region's own file, says that it is alive. The kernel drops the locks when the process is
//! gone, however it went. So one kernel object is at once proof of life, ownership of the entry,
//! and the right to recover a dead owner: whoever gets the lock of an entry that is not free has
//! it alone, and if the recoverer dies the lock is free again.
//!
//! Invariants:
//!
//!   * an entry is written only by the holder of both of its bytes
//!   * the state of an entry becomes `active` after its other fields are written, and `free` after
//!     everything the process had in the region is recovered
//!   * a generation is never used twice, so a claim names one process, not its successor
//!   * within a process one thread probes an entry at a time: locks belong to the open file, which
//!     its threads share, and two of them would both get the lock
//!
//! The process number and start time are for people who look at the region. Nothing is decided by
//! them: a number is reused, means something else in another namespace, and still answers for a
//! process that is dead but not yet reaped. The lock of a process whose forked child kept the
//! descriptor stays taken until the child is gone; its entry waits for that.
//!
//! Killed while attaching: the entry is free or the one of the last owner, and whoever takes its
//! byte next goes on from there.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const Region = region_module.Region;
const ByteLock = sync.ByteLock;
const Shm = sync.Shm;
const assert = std.debug.assert;

pub const byte_first = 16;

const free = @intFromEnum(region_module.ProcessState.free);
const active = @intFromEnum(region_module.ProcessState.active);

/// What an entry tells people.
pub const Identity = struct {
    pid: u32,
    start_time: u64,
    pid_namespace: u64,
};

/// Repairs what process `index` left in the region. Called with both of its bytes held; may be
/// called again after a failure, or after a recoverer was killed.
pub const Recovery = struct {
    context: *anyopaque,
    recoverProcess: *const fn (context: *anyopaque, index: u32) void,
};

pub const Participant = struct {
    region: *const Region,
    lock_fd: i32,
    region_fd: i32,
    /// This process's entry.
    index: u32,
    generation: u64,
    /// Entries that a thread of this process probes or recovers.
    probing: [limits.process_count]Shm(u32),

    /// Takes an entry, an unused one if there is any, else that of a dead process after recovering
    /// it. The caller holds INIT.
    pub fn attach(
        region: *const Region,
        lock_fd: i32,
        region_fd: i32,
        identity: Identity,
        recovery: Recovery,
    ) error{TooManyProcesses}!Participant {
        var self: Participant = .{
            .region = region,
            .lock_fd = lock_fd,
            .region_fd = region_fd,
            .index = undefined,
            .generation = undefined,
            .probing = @splat(.init(0)),
        };
        self.index = self.takeEntry(free, recovery) orelse
            self.takeEntry(active, recovery) orelse return error.TooManyProcesses;

        const entry = &region.processes[self.index];
        self.generation = entry.generation.load(.monotonic) + 1;
        entry.generation.store(self.generation, .monotonic);
        entry.pid.store(identity.pid, .monotonic);
        entry.start_time.store(identity.start_time, .monotonic);
        entry.pid_namespace.store(identity.pid_namespace, .monotonic);
        // Release: whoever sees an active entry sees whose it is.
        entry.state.store(active, .release);
        region.header.clean_shutdown.store(0, .monotonic);
        return self;
    }

    fn takeEntry(self: *Participant, state: u32, recovery: Recovery) ?u32 {
        for (self.region.processes, 0..) |*entry, i| {
            const index: u32 = @intCast(i);
            if (entry.state.load(.acquire) != state) continue;
            if (!self.lockBytes(index)) continue;
            // Under INIT no entry becomes active, but one may have become free meanwhile.
            if (entry.state.load(.acquire) != free) {
                recovery.recoverProcess(recovery.context, index);
                entry.state.store(free, .release);
            }
            return index;
        }
        return null;
    }

    /// Gives the entry back. Everything this process had in the region must be gone. The caller
    /// holds INIT, or could not get it: then the region merely does not count as closed in order.
    pub fn detach(self: *Participant, holds_init: bool) void {
        const entry = &self.region.processes[self.index];
        assert(entry.generation.load(.monotonic) == self.generation);
        if (holds_init and self.isLast()) self.region.header.clean_shutdown.store(1, .monotonic);
        // Release: whoever takes the entry sees that nothing of ours is left.
        entry.state.store(free, .release);
        self.unlockBytes(self.index);
    }

    fn isLast(self: *const Participant) bool {
        for (self.region.processes, 0..) |*entry, i| {
            if (i == self.index) continue;
            // A dead process counts: its work has yet to be recovered.
            if (entry.state.load(.acquire) != free) return false;
        }
        return true;
    }

    /// True if process `index` is dead, and then its bytes are held by this process until
    /// `releaseDead`: the exclusive right to recover it. Several threads may call this at once.
    pub fn probeDead(self: *Participant, index: u32) bool {
        assert(index < limits.process_count);
        if (index == self.index) return false;
        const entry = &self.region.processes[index];
        if (entry.state.load(.acquire) == free) return false;
        // Acquire: pairs with the release in `releaseDead`.
        if (self.probing[index].cas(0, 1, .acquire, .monotonic) != null) return false;
        if (self.lockBytes(index)) {
            // Free by now: somebody else has just recovered it.
            if (entry.state.load(.acquire) != free) return true;
            self.unlockBytes(index);
        }
        self.probing[index].store(0, .release);
        return false;
    }

    /// Ends what `probeDead` began. With `recovered` the entry is free for another process.
    pub fn releaseDead(self: *Participant, index: u32, recovered: bool) void {
        assert(index != self.index);
        assert(self.probing[index].load(.monotonic) == 1);
        // Release: pairs with the acquire of whoever takes the entry.
        if (recovered) self.region.processes[index].state.store(free, .release);
        self.unlockBytes(index);
        self.probing[index].store(0, .release);
    }

    /// True if process `index` looks dead. Takes nothing, and may be out of date at once: good
    /// enough to stop waiting for it, not to touch what it left.
    pub fn looksDead(self: *const Participant, index: u32) bool {
        assert(index < limits.process_count);
        if (index == self.index) return false;
        return !ByteLock.isHeld(self.lock_fd, byte_first + @as(u64, index));
    }

    /// Recovers every dead process. Returns how many there were.
    pub fn recoverDead(self: *Participant, recovery: Recovery) u32 {
        var count: u32 = 0;
        for (0..limits.process_count) |i| {
            const index: u32 = @intCast(i);
            if (!self.probeDead(index)) continue;
            recovery.recoverProcess(recovery.context, index);
            self.releaseDead(index, true);
            count += 1;
        }
        return count;
    }

    /// Both or none. The lock file first, everywhere, so that two who want an entry meet there.
    fn lockBytes(self: *const Participant, index: u32) bool {
        const byte = byte_first + @as(u64, index);
        if (!ByteLock.tryLock(self.lock_fd, byte)) return sync.mutated(.recovery_of_the_living);
        if (ByteLock.tryLock(self.region_fd, byte)) return true;
        // Its owner is about to die: the kernel closes one descriptor after the other.
        ByteLock.unlock(self.lock_fd, byte);
        return false;
    }

    fn unlockBytes(self: *const Participant, index: u32) void {
        const byte = byte_first + @as(u64, index);
        // The other order than in `lockBytes`: who gets the first byte gets the second as well.
        ByteLock.unlock(self.region_fd, byte);
        ByteLock.unlock(self.lock_fd, byte);
    }
};

comptime {
    assert(byte_first == @import("lock_file.zig").byte_process_first);
}

const testing = std.testing;
const os = @import("os.zig");
const linux = std.os.linux;

/// A region in anonymous shared memory and two files for the locks, seen by parent and children.
const TestRegion = struct {
    region: Region,
    memory: []align(4096) u8,
    paths: [2]os.Path,
    recovered: *Shm(u32),

    fn init(self: *TestRegion) !void {
        for (&self.paths, 0..) |*path, i| {
            var salt: [8]u8 = undefined;
            try os.random(&salt);
            path.* = try os.Path.format("/dev/shm/aerostore-test-part{d}-{x}", .{ i, &salt });
            os.close(try os.open(path, .exclusive));
        }
        const size = 8 << 20;
        const fd = try os.open(&self.paths[1], .existing);
        defer os.close(fd);
        try os.reserve(fd, 0, size);
        self.memory = try os.map(fd, size);
        try region_module.format(self.memory.ptr, .forSize(size), .{});
        self.region = .init(self.memory.ptr);
        self.recovered = @ptrCast(&self.region.header.poisoned);
    }

    fn deinit(self: *TestRegion) void {
        os.unmap(self.memory);
        for (&self.paths) |*path| os.unlink(path) catch {};
    }

    /// As one process would: with files of its own, which stay open.
    fn attach(self: *TestRegion) !Participant {
        const lock_fd = try os.open(&self.paths[0], .existing);
        const region_fd = try os.open(&self.paths[1], .existing);
        const identity: Identity = .{ .pid = os.processId(), .start_time = 1, .pid_namespace = 1 };
        return .attach(&self.region, lock_fd, region_fd, identity, self.recovery());
    }

    fn recovery(self: *TestRegion) Recovery {
        return .{
            .context = self,
            .recoverProcess = struct {
                fn recover(context: *anyopaque, _: u32) void {
                    const region: *TestRegion = @ptrCast(@alignCast(context));
                    _ = region.recovered.fetchAdd(1, .acq_rel);
                    sync.sleepNs(std.time.ns_per_ms); // So that racing recoverers overlap.
                }
            }.recover,
        };
    }

    fn closeFiles(participant: *const Participant) void {
        os.close(participant.lock_fd);
        os.close(participant.region_fd);
    }

    /// Starts a process that attaches and waits to be killed.
    fn spawnAttached(self: *TestRegion) !i32 {
        const before = self.activeCount();
        const child: i32 = @intCast(linux.fork());
        if (child == 0) {
            _ = self.attach() catch linux.exit_group(1);
            while (true) sync.sleepNs(std.time.ns_per_s);
        }
        while (self.activeCount() == before) sync.sleepNs(50_000);
        return child;
    }

    /// Starts a process that takes the bytes of the first entry and is killed before it goes on.
    fn killBeforeEntry(self: *TestRegion) !void {
        const child: i32 = @intCast(linux.fork());
        if (child == 0) {
            const taker: Participant = .{
                .region = &self.region,
                .lock_fd = os.open(&self.paths[0], .existing) catch linux.exit_group(1),
                .region_fd = os.open(&self.paths[1], .existing) catch linux.exit_group(1),
                .index = 0,
                .generation = 0,
                .probing = undefined,
            };
            if (!taker.lockBytes(0)) linux.exit_group(1);
            self.recovered.store(1, .release);
            while (true) sync.sleepNs(std.time.ns_per_s);
        }
        while (self.recovered.load(.acquire) == 0) sync.sleepNs(50_000);
        self.recovered.store(0, .release);
        kill(child);
    }

    fn activeCount(self: *TestRegion) u32 {
        var count: u32 = 0;
        for (self.region.processes) |*entry| count += entry.state.load(.acquire);
        return count;
    }

    fn kill(child: i32) void {
        _ = linux.kill(child, .KILL);
        var exit: u32 = 0;
        _ = linux.waitpid(child, &exit, 0);
    }
};

test "Participant: entries and generations are one process's alone" {
    if (!os.supported) return error.SkipZigTest;
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    var a = try shared.attach();
    defer TestRegion.closeFiles(&a);
    var b = try shared.attach();
    defer TestRegion.closeFiles(&b);
    try testing.expect(a.index != b.index);
    try testing.expect(!a.probeDead(b.index) and !a.looksDead(b.index));
    try testing.expect(!a.probeDead(a.index) and !a.looksDead(a.index));

    a.detach(true);
    try testing.expectEqual(@as(u32, 0), shared.region.header.clean_shutdown.load(.acquire));
    b.detach(true);
    try testing.expectEqual(@as(u32, 1), shared.region.header.clean_shutdown.load(.acquire));
    var c = try shared.attach();
    defer TestRegion.closeFiles(&c);
    try testing.expectEqual(a.index, c.index);
    try testing.expectEqual(a.generation + 1, c.generation);
    try testing.expectEqual(@as(u32, 0), shared.recovered.load(.acquire));
    try testing.expectEqual(@as(u32, 0), shared.region.header.clean_shutdown.load(.acquire));
}

test "Participant.attach: takes an entry whose owner was killed before it wrote it" {
    if (!os.supported) return error.SkipZigTest;
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    var before = try shared.attach();
    const generation = before.generation;
    before.detach(true);
    TestRegion.closeFiles(&before);
    try shared.killBeforeEntry();
    try testing.expectEqual(@as(u32, 0), shared.activeCount());
    var next = try shared.attach();
    defer TestRegion.closeFiles(&next);
    try testing.expectEqual(@as(u32, 0), next.index);
    try testing.expectEqual(generation + 1, next.generation);
    // There was nothing to recover.
    try testing.expectEqual(@as(u32, 0), shared.recovered.load(.acquire));
}

test "Participant.probeDead: a killed process is recovered once, by one" {
    if (!os.supported) return error.SkipZigTest;
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    const child = try shared.spawnAttached();
    var a = try shared.attach();
    defer TestRegion.closeFiles(&a);
    var b = try shared.attach();
    defer TestRegion.closeFiles(&b);
    try testing.expect(!a.looksDead(0) and !a.probeDead(0));
    TestRegion.kill(child);
    try testing.expect(a.looksDead(0));

    try testing.expect(a.probeDead(0));
    try testing.expect(!a.probeDead(0)); // Another thread of the same process.
    try testing.expect(!b.probeDead(0)); // Another process.
    a.releaseDead(0, false); // As if the recoverer had given up.
    const threads = 4;
    var workers: [threads]std.Thread = undefined;
    const Worker = struct {
        fn run(participant: *Participant, region: *TestRegion) void {
            _ = participant.recoverDead(region.recovery());
        }
    };
    for (&workers, 0..) |*worker, i| {
        const who = if (i % 2 == 0) &a else &b;
        worker.* = try std.Thread.spawn(.{}, Worker.run, .{ who, &shared });
    }
    for (workers) |worker| worker.join();
    try testing.expectEqual(@as(u32, 1), shared.recovered.load(.acquire));
    try testing.expectEqual(@as(u32, 2), shared.activeCount());
}

test "Participant.attach: takes over from the dead when no entry is free" {
    if (!os.supported) return error.SkipZigTest;
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    for (shared.region.processes) |*entry| entry.state.store(active, .release);
    var a = try shared.attach();
    defer TestRegion.closeFiles(&a);
    try testing.expectEqual(@as(u32, 1), shared.recovered.load(.acquire));
    try testing.expectEqual(@as(u64, 1), a.generation);
    const rest = a.recoverDead(shared.recovery());
    try testing.expectEqual(@as(u32, limits.process_count - 1), rest);

    // And when everybody lives there is no place.
    const lock_fd = try os.open(&shared.paths[0], .existing);
    defer os.close(lock_fd);
    for (shared.region.processes, 0..) |*entry, i| {
        entry.state.store(active, .release);
        if (i != a.index) assert(ByteLock.tryLock(lock_fd, byte_first + i));
    }
    try testing.expectError(error.TooManyProcesses, shared.attach());
}
