//! The file LOCK: who a store is, and who uses it.
//!
//! It stands in the data directory (beside the region for a store without one) and is never
//! removed while the store exists. Its first bytes name the store; single bytes of it are locked:
//!
//!     byte 0         INIT: creating, attaching, detaching
//!     byte 1         declaring tables
//!     byte 2         writing a snapshot, or copying the files
//!     byte 16 + i    process entry i is alive
//!
//! Invariants:
//!
//!   * the content is written once, under INIT, and never changes
//!   * the INIT holder acts on the file that has the name, not on one that lost it meanwhile
//!   * a region is created, replaced, or attached to under INIT only
//!
//! A lock belongs to the open file. The kernel gives it back when the process dies, so a lock is
//! at once permission and proof of life; nothing here is decided by a process number.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const os = @import("os.zig");
const status = @import("status.zig");
const assert = std.debug.assert;
const Detail = status.Detail;
const ByteLock = sync.ByteLock;

pub const byte_init = 0;
pub const byte_tables = 1;
pub const byte_checkpoint = 2;
pub const byte_process_first = 16;

pub const magic_expected: u32 = 0xAEB0_10C4;
const format_current: u32 = 1;
/// How long to wait for another process that creates or recovers the region.
const init_timeout_ns = 30 * std.time.ns_per_s;
const sleep_ns_max = 2 * std.time.ns_per_ms;

/// The first 64 bytes of the file.
const Content = extern struct {
    magic: u32 = magic_expected,
    format: u32 = format_current,
    store_uuid: [16]u8,
    reserved: [32]u8 = @splat(0),
    /// Of the bytes before it.
    checksum: u64,

    comptime {
        assert(@sizeOf(Content) == 64);
    }

    fn sum(content: *const Content) u64 {
        return std.hash.Wyhash.hash(0, std.mem.asBytes(content)[0..@offsetOf(Content, "checksum")]);
    }
};

pub const Error = status.Error;

pub const LockFile = struct {
    fd: os.Fd,
    path: os.Path,
    stat: os.Stat,
    /// Valid once `lockInit` has returned.
    store_uuid: [16]u8 = @splat(0),

    /// Opens the file, creating it unless it `must_exist`. Takes no lock.
    pub fn open(path: *const os.Path, must_exist: bool, detail: *Detail) Error!LockFile {
        const mode: os.OpenMode = if (must_exist) .existing else .create;
        const fd = os.open(path, mode) catch |err| {
            const answer = osError(err, "open", path, detail);
            return if (err == error.NotExist and must_exist) error.NotFound else answer;
        };
        errdefer os.close(fd);
        const info = try checkPrivate(fd, path, detail);
        return .{ .fd = fd, .path = path.*, .stat = info };
    }

    pub fn close(lock: *LockFile) void {
        os.close(lock.fd);
        lock.fd = -1;
    }

    /// Waits for INIT and reads the identity of the store, which it creates in a new file.
    /// On success the caller holds INIT until `unlockInit`.
    pub fn lockInit(lock: *LockFile, must_exist: bool, detail: *Detail) Error!void {
        try lock.wait(byte_init, init_timeout_ns, detail);
        // While we waited, the directory may have been removed and made again.
        const named = os.statPath(&lock.path) catch null;
        if (named == null or !lock.stat.sameFile(&named.?)) {
            lock.close();
            lock.* = try open(&lock.path, must_exist, detail);
            try lock.wait(byte_init, init_timeout_ns, detail);
        }
        errdefer lock.unlockInit();
        try lock.identify(detail);
    }

    pub fn unlockInit(lock: *LockFile) void {
        ByteLock.unlock(lock.fd, byte_init);
    }

    /// Waits up to `timeout_ns` for a byte; `error.Busy` after that.
    pub fn wait(lock: *LockFile, byte: u64, timeout_ns: u64, detail: *Detail) Error!void {
        if (ByteLock.tryLock(lock.fd, byte)) return;
        const start = sync.nowNs();
        var sleep_ns: u64 = 50 * std.time.ns_per_us;
        while (sync.nowNs() -% start < timeout_ns) {
            sync.sleepNs(sleep_ns);
            if (ByteLock.tryLock(lock.fd, byte)) return;
            sleep_ns = @min(sleep_ns * 2, sleep_ns_max);
        }
        const what = switch (byte) {
            byte_init => "opens it",
            byte_tables => "declares a table",
            else => "writes a checkpoint or a backup",
        };
        detail.set("another process {s} for more than {d} s (byte {d} of \"{s}\" is locked)", .{
            what, timeout_ns / std.time.ns_per_s, byte, lock.path.slice(),
        });
        return error.Busy;
    }

    /// True if a process other than this one holds an entry. Call it under INIT.
    pub fn hasPeers(lock: *const LockFile) bool {
        return anyProcess(lock.fd);
    }

    fn identify(lock: *LockFile, detail: *Detail) Error!void {
        var content: Content = undefined;
        const size = os.readAt(lock.fd, std.mem.asBytes(&content), 0) catch |err|
            return osError(err, "read", &lock.path, detail);
        if (size == @sizeOf(Content)) {
            if (content.magic != magic_expected) {
                detail.set("\"{s}\" is not an Aerostore lock file", .{lock.path.slice()});
                return error.NotAerostore;
            }
            if (content.format != format_current) {
                detail.set("\"{s}\" has format {d}, this version knows {d}", .{
                    lock.path.slice(), content.format, format_current,
                });
                return error.LayoutVersion;
            }
            if (content.checksum != content.sum()) {
                detail.set("the checksum of \"{s}\" is wrong", .{lock.path.slice()});
                return error.Corrupt;
            }
            lock.store_uuid = content.store_uuid;
            return;
        }
        // Shorter: the creator was killed between creating the file and writing it, or it is new.
        if (size >= 4 and content.magic != magic_expected) {
            detail.set("\"{s}\" is not an Aerostore lock file", .{lock.path.slice()});
            return error.NotAerostore;
        }
        try lock.create(detail);
    }

    fn create(lock: *LockFile, detail: *Detail) Error!void {
        var content: Content = .{ .store_uuid = undefined, .checksum = 0 };
        os.random(&content.store_uuid) catch |err|
            return osError(err, "make an identity for", &lock.path, detail);
        content.checksum = content.sum();
        os.writeAllAt(lock.fd, std.mem.asBytes(&content), 0) catch |err|
            return osError(err, "write", &lock.path, detail);
        os.fsync(lock.fd) catch |err| return osError(err, "sync", &lock.path, detail);
        os.fsyncDirectory(&lock.path.directory()) catch |err|
            return osError(err, "sync the directory of", &lock.path, detail);
        lock.store_uuid = content.store_uuid;
    }
};

/// True if some other open file holds a process byte of `fd`.
pub fn anyProcess(fd: os.Fd) bool {
    for (0..limits.process_count) |i| {
        if (ByteLock.isHeld(fd, byte_process_first + i)) return true;
    }
    return false;
}

/// Checks that an open file is a regular one that nobody but its owner, this user, may open.
pub fn checkPrivate(fd: os.Fd, path: *const os.Path, detail: *Detail) Error!os.Stat {
    const info = os.stat(fd) catch |err| return osError(err, "examine", path, detail);
    if (!info.isFile()) {
        detail.set("\"{s}\" is not a regular file", .{path.slice()});
        return error.NotAerostore;
    }
    if (info.uid != os.effectiveUser()) {
        detail.set("\"{s}\" belongs to user {d}, and this process runs as user {d}", .{
            path.slice(), info.uid, os.effectiveUser(),
        });
        return error.PermissionDenied;
    }
    if (!info.isPrivate()) {
        detail.set("\"{s}\" has mode {o}, but only its owner may have access (chmod 600)", .{
            path.slice(), info.mode & 0o777,
        });
        return error.PermissionDenied;
    }
    return info;
}

/// The status error of an operating system error, with a text that says what was attempted.
pub fn osError(
    err: os.Error,
    comptime what: []const u8,
    path: *const os.Path,
    detail: *Detail,
) Error {
    const reason = switch (err) {
        error.NotExist => "it does not exist",
        error.Exists => "it exists",
        error.PermissionDenied => "permission denied",
        error.NoSpace => "no space left",
        error.BadPath => "the path is not valid",
        error.NotDirectory => "a part of the path is not a directory",
        error.IoError => "input or output error",
        error.UnsupportedPlatform => "this platform is not supported",
    };
    detail.set("cannot " ++ what ++ " \"{s}\": {s} (errno {d})", .{
        path.slice(), reason, os.lastErrno(),
    });
    return switch (err) {
        error.PermissionDenied => error.PermissionDenied,
        error.NoSpace => error.DiskFull,
        error.BadPath => error.BadArgument,
        error.NotExist, error.Exists, error.IoError, error.NotDirectory => error.IoError,
        error.UnsupportedPlatform => error.UnsupportedPlatform,
    };
}

const testing = std.testing;

fn testPath(comptime name: []const u8) !os.Path {
    var salt: [8]u8 = undefined;
    try os.random(&salt);
    return os.Path.format("/dev/shm/aerostore-test-lock-" ++ name ++ "-{x}", .{&salt});
}

test "LockFile: gives a store one identity for good" {
    if (!os.supported) return error.SkipZigTest;
    var detail: Detail = .{};
    const path = try testPath("id");
    defer os.unlink(&path) catch {};
    try testing.expectError(error.NotFound, LockFile.open(&path, true, &detail));
    var a = try LockFile.open(&path, false, &detail);
    defer a.close();
    try a.lockInit(false, &detail);
    a.unlockInit();
    var b = try LockFile.open(&path, true, &detail);
    defer b.close();
    try b.lockInit(true, &detail);
    defer b.unlockInit();
    try testing.expectEqual(a.store_uuid, b.store_uuid);
    try testing.expect(!ByteLock.tryLock(a.fd, byte_init));
}

test "LockFile.wait: gives up after the time, and says who is in the way" {
    if (!os.supported) return error.SkipZigTest;
    var detail: Detail = .{};
    const path = try testPath("wait");
    defer os.unlink(&path) catch {};
    var a = try LockFile.open(&path, false, &detail);
    defer a.close();
    var b = try LockFile.open(&path, false, &detail);
    defer b.close();
    try a.wait(byte_tables, 0, &detail);
    try b.wait(byte_init, 0, &detail);
    const outcome = b.wait(byte_tables, std.time.ns_per_ms, &detail);
    try testing.expectError(error.Busy, outcome);
    try testing.expect(std.mem.indexOf(u8, detail.text(), "declares a table") != null);
    try testing.expect(!b.hasPeers());
}

test "LockFile: a creator that was killed before it wrote leaves nothing in the way" {
    if (!os.supported) return error.SkipZigTest;
    var detail: Detail = .{};
    const path = try testPath("torn");
    defer os.unlink(&path) catch {};
    const fd = try os.open(&path, .create);
    try os.writeAllAt(fd, std.mem.asBytes(&magic_expected), 0);
    os.close(fd);
    var lock = try LockFile.open(&path, false, &detail);
    defer lock.close();
    try lock.lockInit(false, &detail);
    lock.unlockInit();
    try testing.expect(!std.mem.allEqual(u8, &lock.store_uuid, 0));
}

test "LockFile: follows the name when the file was replaced while it waited" {
    if (!os.supported) return error.SkipZigTest;
    var detail: Detail = .{};
    const path = try testPath("replaced");
    var old = try LockFile.open(&path, false, &detail);
    defer old.close();
    try os.unlink(&path);
    var new = try LockFile.open(&path, false, &detail);
    defer new.close();
    defer os.unlink(&path) catch {};
    try old.lockInit(false, &detail);
    defer old.unlockInit();
    try testing.expect(old.stat.sameFile(&new.stat));
}

test "LockFile: refuses foreign, damaged, and public files" {
    if (!os.supported) return error.SkipZigTest;
    var detail: Detail = .{};
    const path = try testPath("foreign");
    defer os.unlink(&path) catch {};
    const fd = try os.open(&path, .create);
    defer os.close(fd);
    var lock = try LockFile.open(&path, false, &detail);
    defer lock.close();

    const foreign: [64]u8 = @splat('x');
    try os.writeAllAt(fd, &foreign, 0);
    try testing.expectError(error.NotAerostore, lock.lockInit(false, &detail));
    var content: Content = .{ .store_uuid = @splat(1), .checksum = 0 };
    try os.writeAllAt(fd, std.mem.asBytes(&content), 0);
    try testing.expectError(error.Corrupt, lock.lockInit(false, &detail));
    var whole: Content = .{ .store_uuid = @splat(1), .checksum = 0 };
    whole.checksum = whole.sum();
    for (0..8 * @sizeOf(Content)) |bit| {
        const bytes = std.mem.asBytes(&whole);
        bytes[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        defer bytes[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        try os.writeAllAt(fd, bytes, 0);
        try testing.expect(std.meta.isError(lock.lockInit(false, &detail)));
    }
    content.format = 9;
    try os.writeAllAt(fd, std.mem.asBytes(&content), 0);
    try testing.expectError(error.LayoutVersion, lock.lockInit(false, &detail));

    _ = std.os.linux.fchmod(fd, 0o640);
    try testing.expectError(error.PermissionDenied, LockFile.open(&path, false, &detail));
    try testing.expect(std.mem.indexOf(u8, detail.text(), "has mode 640") != null);
}
