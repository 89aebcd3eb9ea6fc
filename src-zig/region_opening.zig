//! Opening the region of a store: attaching to the one that is there, or building another one.
//!
//! Everything here happens under INIT (see `lock_file.zig`). `region_candidate.zig` decides, and
//! `region_building.zig` builds.

const std = @import("std");
const sync = @import("sync");
const lock_file = @import("lock_file.zig");
const os = @import("os.zig");
const region_building = @import("region_building.zig");
const region_candidate = @import("region_candidate.zig");
const region_file = @import("region_file.zig");
const region_module = @import("region.zig");
const status = @import("status.zig");
const store_options = @import("store_options.zig");
const Detail = status.Detail;
const Header = region_module.Header;
const LockFile = lock_file.LockFile;
const Options = store_options.Options;
const Paths = store_options.Paths;
const RegionFile = region_file.RegionFile;
const assert = std.debug.assert;

pub const Error = store_options.Error;

/// Maps the region of the store that `lock` identifies; builds it from the files of the
/// directory if there is none, or if what is there cannot be trusted. The caller holds INIT.
pub fn open(
    file: *RegionFile,
    lock: *const LockFile,
    paths: *const Paths,
    options: Options,
    detail: *Detail,
) Error!void {
    switch (try examine(file, lock, paths, options, detail)) {
        .attach => |found| try attach(file, found.fd, found.size_max, detail),
        .build => |reason| {
            try region_building.build(file, lock.store_uuid, paths, options, reason, detail);
        },
    }
}

/// Maps the region if `open` would take one as it is that nobody uses. False if not, and then
/// nothing is open.
pub fn openIdle(
    file: *RegionFile,
    lock: *const LockFile,
    paths: *const Paths,
    options: Options,
    detail: *Detail,
) Error!bool {
    const found = switch (try examine(file, lock, paths, options, detail)) {
        .attach => |found| found,
        .build => return false,
    };
    if (found.used) {
        os.close(found.fd);
        return false;
    }
    try attach(file, found.fd, found.size_max, detail);
    return true;
}

fn examine(
    file: *RegionFile,
    lock: *const LockFile,
    paths: *const Paths,
    options: Options,
    detail: *Detail,
) Error!region_candidate.Verdict {
    file.path = try paths.regionPath(lock.store_uuid, detail);
    file.recovery = null;
    return region_candidate.examine(&file.path, lock, paths, options, detail);
}

fn attach(file: *RegionFile, fd: os.Fd, size_max: u64, detail: *Detail) Error!void {
    errdefer os.close(fd);
    file.fd = fd;
    try file.map(size_max, detail);
    file.resolve();
}

const testing = std.testing;

/// A store in a directory of its own under /dev/shm, with the region in the same directory.
pub const TestStore = struct {
    directory: os.Path,
    options: Options,
    paths: Paths,
    detail: Detail = .{},

    pub fn init(store: *TestStore) !void {
        var salt: [8]u8 = undefined;
        try os.random(&salt);
        store.directory = try os.Path.format("/dev/shm/aerostore-test-region-{x}", .{&salt});
        try os.makeDirectory(&store.directory);
        store.detail = .{};
        store.options = .{
            .path = store.directory.slice(),
            .shm_path = store.directory.slice(),
            .size_max = 8 << 20,
        };
        store.paths = try Paths.resolve(store.options, &store.detail);
    }

    pub fn deinit(store: *TestStore) void {
        os.eachName(&store.directory, &store.directory, struct {
            fn visit(directory: *os.Path, name: []const u8) void {
                const path = directory.join(name) catch unreachable;
                os.unlink(&path) catch {};
            }
        }.visit) catch {};
        const linux = std.os.linux;
        _ = linux.unlinkat(linux.AT.FDCWD, store.directory.z(), linux.AT.REMOVEDIR);
    }

    /// Opens as one process would, and holds process byte `index` if that is not null.
    pub fn openAs(store: *TestStore, opened: *Opened, index: ?u64) Error!void {
        opened.lock = try LockFile.open(&store.paths.lock, false, &store.detail);
        errdefer opened.lock.close();
        try opened.lock.lockInit(false, &store.detail);
        defer opened.lock.unlockInit();
        const file = &opened.file;
        try open(file, &opened.lock, &store.paths, store.options, &store.detail);
        if (index) |i| {
            assert(sync.ByteLock.tryLock(opened.lock.fd, lock_file.byte_process_first + i));
            assert(sync.ByteLock.tryLock(file.fd, lock_file.byte_process_first + i));
        }
    }

    /// Creates the region, closes it, and returns it open as a bare file.
    fn createAndOpenRaw(store: *TestStore) !os.Fd {
        var opened: Opened = undefined;
        try store.openAs(&opened, null);
        const path = opened.file.path;
        opened.close();
        return os.open(&path, .existing);
    }

    fn expectRefusal(store: *TestStore, expected: Error, text: []const u8) !void {
        var opened: Opened = undefined;
        try testing.expectError(expected, store.openAs(&opened, null));
        try testing.expect(std.mem.indexOf(u8, store.detail.text(), text) != null);
    }
};

pub const Opened = struct {
    lock: LockFile,
    file: RegionFile,

    pub fn close(opened: *Opened) void {
        opened.file.close();
        opened.lock.close();
    }
};

test "open: builds once, attaches after that, and leaves no debris" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var a: Opened = undefined;
    try store.openAs(&a, 0);
    defer a.close();
    var b: Opened = undefined;
    try store.openAs(&b, 1);
    defer b.close();
    try testing.expectEqual(a.lock.store_uuid, b.file.region.header.store_uuid);
    a.file.region.control.next.word.store(77, .release);
    try testing.expectEqual(@as(u64, 77), b.file.region.control.next.word.load(.acquire));
    var names: u32 = 0;
    try os.eachName(&store.directory, &names, struct {
        fn visit(count: *u32, _: []const u8) void {
            count.* += 1;
        }
    }.visit);
    try testing.expectEqual(@as(u32, 2), names);
}

test "open: removes what a killed creator left and starts again" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    // Only the lock file exists, and a half-built region under the temporary name.
    var lock = try LockFile.open(&store.paths.lock, false, &store.detail);
    try lock.lockInit(false, &store.detail);
    var debris = try store.paths.regionPath(lock.store_uuid, &store.detail);
    const tag = std.fmt.bytesToHex(lock.store_uuid[0..8], .lower);
    for ([_][]const u8{ ".", &tag, ".building" }) |part| try debris.append(part);
    const fd = try os.open(&debris, .exclusive);
    try os.writeAllAt(fd, "half", 0);
    os.close(fd);
    lock.close(); // The kernel gives INIT back.

    var opened: Opened = undefined;
    try store.openAs(&opened, null);
    defer opened.close();
    try testing.expectError(error.NotExist, os.statPath(&debris));
    try testing.expectEqual(@as(u64, 8 << 20), opened.file.size_max);
}

test "open: refuses foreign and truncated files, and leaves them alone" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    const size = (try os.stat(fd)).size;
    _ = std.os.linux.ftruncate(fd, @intCast(size - 1));
    try store.expectRefusal(error.Corrupt, "it was cut off");
    _ = std.os.linux.ftruncate(fd, @sizeOf(Header));
    try store.expectRefusal(error.Corrupt, "contradicts itself or its size");
    _ = std.os.linux.ftruncate(fd, 1000);
    try store.expectRefusal(error.Corrupt, "is cut off in its header");
    _ = std.os.linux.ftruncate(fd, 0);
    try store.expectRefusal(error.NotAerostore, "is not an Aerostore region");
    try os.writeAllAt(fd, "SQLite format 3", 0);
    try store.expectRefusal(error.NotAerostore, "is not an Aerostore region");
    try testing.expectEqual(@as(u64, 15), (try os.stat(fd)).size);
}

test "open: refuses a region that lost grown pages" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var opened: Opened = undefined;
    try store.openAs(&opened, null);
    const before = (try os.stat(opened.file.fd)).size;
    try opened.file.grow(before + 1);
    const after = (try os.stat(opened.file.fd)).size;
    try testing.expect(after >= before + region_file.grow_chunk_min);
    try testing.expectEqual(after, opened.file.region.control.memory.committed.load(.acquire));
    _ = std.os.linux.ftruncate(opened.file.fd, @intCast(after - 4096));
    opened.close();
    try store.expectRefusal(error.Corrupt, "it was cut off");
}

test "open: refuses a region of another layout, used or not" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    const version: u32 = region_module.layout_version_current + 1;
    try os.writeAllAt(fd, std.mem.asBytes(&version), @offsetOf(Header, "layout_version"));
    try store.expectRefusal(error.LayoutVersion, "has layout");
    assert(sync.ByteLock.tryLock(fd, lock_file.byte_process_first + 3));
    try store.expectRefusal(error.LayoutVersion, "has layout");
}

test "open: trusts a region of an earlier boot only while somebody uses it" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    const other: [16]u8 = @splat(7);
    try os.writeAllAt(fd, &other, @offsetOf(Header, "boot_id"));
    const old = try os.stat(fd);

    assert(sync.ByteLock.tryLock(fd, lock_file.byte_process_first + 3));
    var used: Opened = undefined;
    try store.openAs(&used, null);
    try testing.expect(old.sameFile(&(try os.stat(used.file.fd))));
    used.close();
    sync.ByteLock.unlock(fd, lock_file.byte_process_first + 3);
    var fresh: Opened = undefined;
    try store.openAs(&fresh, null);
    defer fresh.close();
    try testing.expect(!old.sameFile(&(try os.stat(fresh.file.fd))));
}

test "open: refuses a poisoned region and one that is still building" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    const one: u32 = 1;
    try os.writeAllAt(fd, std.mem.asBytes(&one), @offsetOf(Header, "poisoned"));
    try store.expectRefusal(error.Corrupt, "is poisoned");
    try os.writeAllAt(fd, std.mem.asBytes(&one), @offsetOf(Header, "state"));
    try store.expectRefusal(error.Corrupt, "is in state 1");
}

test "open: never rebuilds under live processes" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var user: Opened = undefined;
    try store.openAs(&user, 5);
    try os.unlink(&user.file.path);
    try store.expectRefusal(error.RegionLost, "processes use the store, but its region is not at");
    user.close();
    var fresh: Opened = undefined;
    try store.openAs(&fresh, null);
    fresh.close();
}

test "open: refuses the region of another store" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    const other: [16]u8 = @splat(7);
    try os.writeAllAt(fd, &other, @offsetOf(Header, "store_uuid"));
    try store.expectRefusal(error.BadArgument, "is the region of another store");
    assert(sync.ByteLock.tryLock(fd, lock_file.byte_process_first));
    try store.expectRefusal(error.RegionLost, "is the region of another store");
}

test "open: refuses a region that others may open" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    _ = std.os.linux.fchmod(fd, 0o604);
    try store.expectRefusal(error.PermissionDenied, "has mode 604");
}

test "open: says that a directory cannot be written" {
    if (!os.supported) return error.SkipZigTest;
    const linux = std.os.linux;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const directory = try os.openDirectory(&store.directory);
    defer os.close(directory);
    _ = linux.fchmod(directory, 0o555);
    defer _ = linux.fchmod(directory, 0o755);
    const child = linux.fork();
    if (child == 0) {
        // The superuser may write anywhere, so be nobody.
        if (os.effectiveUser() == 0) _ = linux.setuid(65534);
        var opened: Opened = undefined;
        const outcome = store.openAs(&opened, null);
        linux.exit_group(if (outcome == error.PermissionDenied) 0 else 1);
    }
    var exit: u32 = 0;
    _ = linux.waitpid(@intCast(child), &exit, 0);
    try testing.expectEqual(@as(u32, 0), exit);
}

test "open: of racing creators one builds and all get the same region" {
    if (!os.supported) return error.SkipZigTest;
    const linux = std.os.linux;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const racers = 8;
    var children: [racers]i32 = undefined;
    for (&children, 0..) |*child, i| {
        child.* = @intCast(linux.fork());
        if (child.* != 0) continue;
        var opened: Opened = undefined;
        store.openAs(&opened, i) catch linux.exit_group(1);
        _ = opened.file.region.control.next.word.fetchAdd(1, .acq_rel);
        // Stay until everybody has counted: the region is in use when the last one comes.
        for (0..5000) |_| {
            const count = opened.file.region.control.next.word.load(.acquire);
            if (count == racers + 1) linux.exit_group(0);
            sync.sleepNs(std.time.ns_per_ms);
        }
        linux.exit_group(2);
    }
    for (children) |child| {
        var exit: u32 = 0;
        _ = linux.waitpid(child, &exit, 0);
        try testing.expectEqual(@as(u32, 0), exit);
    }
}
