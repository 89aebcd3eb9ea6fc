//! Byte locks of simulated processes: what `fcntl` keeps in the kernel.
//!
//! A lock belongs to a process, not to a fiber. The simulator releases the locks of a process when
//! it kills it, exactly as the kernel does, and keeps them while a process is only stopped.

const std = @import("std");
const assert = std.debug.assert;

const locks_max = 64;

const Lock = struct { fd: i32, byte: u64, process: u8 };

pub const ByteLocks = struct {
    held: [locks_max]Lock = undefined,
    count: usize = 0,

    fn find(locks: *const ByteLocks, fd: i32, byte: u64) ?usize {
        for (locks.held[0..locks.count], 0..) |lock, i| {
            if (lock.fd == fd and lock.byte == byte) return i;
        }
        return null;
    }

    pub fn tryLock(locks: *ByteLocks, fd: i32, byte: u64, process: u8) bool {
        if (locks.find(fd, byte)) |i| return locks.held[i].process == process;
        assert(locks.count < locks_max);
        locks.held[locks.count] = .{ .fd = fd, .byte = byte, .process = process };
        locks.count += 1;
        return true;
    }

    pub fn unlock(locks: *ByteLocks, fd: i32, byte: u64, process: u8) void {
        const i = locks.find(fd, byte) orelse return;
        if (locks.held[i].process == process) locks.remove(i);
    }

    /// Whether a process other than `process` has the lock.
    pub fn isHeld(locks: *const ByteLocks, fd: i32, byte: u64, process: u8) bool {
        const i = locks.find(fd, byte) orelse return false;
        return locks.held[i].process != process;
    }

    pub fn releaseProcess(locks: *ByteLocks, process: u8) void {
        var i = locks.count;
        while (i > 0) {
            i -= 1;
            if (locks.held[i].process == process) locks.remove(i);
        }
    }

    fn remove(locks: *ByteLocks, i: usize) void {
        locks.count -= 1;
        locks.held[i] = locks.held[locks.count];
    }
};

test "ByteLocks: excludes other processes until the owner unlocks or is killed" {
    var locks: ByteLocks = .{};
    try std.testing.expect(locks.tryLock(3, 16, 0));
    try std.testing.expect(locks.tryLock(3, 16, 0));
    try std.testing.expect(!locks.tryLock(3, 16, 1));
    try std.testing.expect(locks.tryLock(3, 17, 0));
    try std.testing.expect(locks.isHeld(3, 17, 1) and !locks.isHeld(3, 17, 0));
    locks.unlock(3, 17, 1);
    try std.testing.expect(locks.isHeld(3, 17, 1));
    locks.releaseProcess(0);
    try std.testing.expect(locks.tryLock(3, 16, 1) and locks.tryLock(3, 17, 1));
}
