//! Removing a store: its region, its log and snapshots, and last the file LOCK.
//!
//! Invariants:
//!
//!   * nothing is removed while any process has the store open, this one included
//!   * nothing is removed before every file was found to belong to the store and to this user
//!   * INIT is held from the first look to the last removal; who waits for it meanwhile finds that
//!     LOCK has lost its name, and starts an empty store
//!   * killed between two removals: what is left is a sound store, perhaps an older state of it,
//!     and removing it again goes on. So the newest parts of the log go first, and LOCK, which
//!     says whose they are, goes last

const std = @import("std");
const lock_file = @import("lock_file.zig");
const log_segment = @import("log_segment.zig");
const os = @import("os.zig");
const region_building = @import("region_building.zig");
const store_options = @import("store_options.zig");
const region_module = @import("region.zig");
const snapshot_file = @import("snapshot_file.zig");
const status = @import("status.zig");
const LockFile = lock_file.LockFile;
const Detail = status.Detail;
const Error = store_options.Error;
const osError = lock_file.osError;

/// Removes the store that the options name. False if there is none.
pub fn remove(options: store_options.Options, detail: *Detail) Error!bool {
    if (!os.supported) return error.UnsupportedPlatform;
    const paths = try store_options.Paths.resolve(options, detail);
    var lock = LockFile.open(&paths.lock, true, detail) catch |err| switch (err) {
        error.NotFound => return false,
        else => return err,
    };
    defer lock.close();
    lock.lockInit(true, detail) catch |err| switch (err) {
        error.NotFound => return false, // Somebody else has removed it while we waited.
        else => return err,
    };
    defer lock.unlockInit();
    if (lock.hasPeers()) return inUse(detail);

    const region = try paths.regionPath(lock.store_uuid, detail);
    const has_region = try checkRegion(&region, lock.store_uuid, detail);
    const aside = try region_building.asidePath(&region);
    const has_aside = checkRegion(&aside, lock.store_uuid, detail) catch false;
    var files: Files = .{ .gpa = std.heap.page_allocator };
    defer files.names.deinit(files.gpa);
    if (paths.data_directory) |*directory| try files.collect(directory, detail);

    if (has_region) try unlink(&region, detail);
    if (has_aside) try unlink(&aside, detail);
    const unfinished = try region_building.temporaryPath(&region, lock.store_uuid);
    try unlink(&unfinished, detail);
    for (files.names.items) |name| {
        const path = try pathOf(&paths.data_directory.?, name.slice());
        try unlink(&path, detail);
    }
    try unlink(&paths.lock, detail);
    if (paths.data_directory) |*directory| {
        os.fsyncDirectory(directory) catch {};
        os.removeDirectory(directory) catch {}; // Whatever else is in it keeps it.
    }
    return true;
}

fn inUse(detail: *Detail) Error {
    detail.set("a process has it open: close it everywhere first", .{});
    return error.Busy;
}

/// True if there is a region to remove. Its layout does not matter, whether it is sound neither: it
/// must be a region, of this store, and not in use.
fn checkRegion(path: *const os.Path, uuid: [16]u8, detail: *Detail) Error!bool {
    const fd = os.open(path, .existing) catch |err|
        return if (err == error.NotExist) false else osError(err, "open", path, detail);
    defer os.close(fd);
    _ = try lock_file.checkPrivate(fd, path, detail);
    if (lock_file.anyProcess(fd)) return inUse(detail);
    const Header = region_module.Header;
    var start: [@offsetOf(Header, "boot_id")]u8 align(@alignOf(Header)) = undefined;
    const size = os.readAt(fd, &start, 0) catch |err| return osError(err, "read", path, detail);
    const magic = std.mem.readInt(u32, start[0..4], .little);
    if (size < start.len or magic != region_module.magic_expected) {
        detail.set("\"{s}\" is not an Aerostore region", .{path.slice()});
        return error.NotAerostore;
    }
    if (!std.mem.eql(u8, start[@offsetOf(Header, "store_uuid")..], &uuid)) {
        detail.set("\"{s}\" is the region of another store", .{path.slice()});
        return error.BadArgument;
    }
    return true;
}

/// The files of a data directory that belong to the store, apart from LOCK, in the order in which
/// they may be removed.
const Files = struct {
    gpa: std.mem.Allocator,
    names: std.ArrayList(Name) = .empty,
    failed: bool = false,

    const Name = struct {
        kind: Kind,
        number: u64,
        buffer: [name_size_max]u8 = undefined,
        len: u8,

        const Kind = enum { unfinished, log, snapshot };

        fn slice(name: *const Name) []const u8 {
            return name.buffer[0..name.len];
        }

        /// Newer files of the log go first, and snapshots after all of it.
        fn before(_: void, a: Name, b: Name) bool {
            if (a.kind != b.kind) return @intFromEnum(a.kind) < @intFromEnum(b.kind);
            return a.number > b.number;
        }
    };
    const name_size_max = 64;

    fn collect(files: *Files, directory: *const os.Path, detail: *Detail) Error!void {
        os.eachName(directory, files, visit) catch |err|
            return osError(err, "list", directory, detail);
        if (files.failed) return error.OutOfMemory;
        std.mem.sort(Name, files.names.items, {}, Name.before);
        for (files.names.items) |*name| {
            const path = try pathOf(directory, name.slice());
            const fd = os.open(&path, .existing) catch |err|
                return osError(err, "open", &path, detail);
            defer os.close(fd);
            _ = try lock_file.checkPrivate(fd, &path, detail);
        }
    }

    fn visit(files: *Files, text: []const u8) void {
        if (text.len > name_size_max) return;
        var name: Name = if (log_segment.numberOf(text)) |number|
            .{ .kind = .log, .number = number, .len = @intCast(text.len) }
        else if (snapshot_file.startOf(text)) |start|
            .{ .kind = .snapshot, .number = start, .len = @intCast(text.len) }
        else if (std.mem.eql(u8, text, snapshot_file.temporary_name))
            .{ .kind = .unfinished, .number = 0, .len = @intCast(text.len) }
        else
            return;
        @memcpy(name.buffer[0..text.len], text);
        files.names.append(files.gpa, name) catch {
            files.failed = true;
        };
    }
};

fn pathOf(directory: *const os.Path, name: []const u8) Error!os.Path {
    return directory.join(name) catch error.BadArgument;
}

fn unlink(path: *const os.Path, detail: *Detail) Error!void {
    os.unlink(path) catch |err|
        if (err != error.NotExist) return osError(err, "remove", path, detail);
}

const testing = std.testing;
const Store = @import("store.zig").Store;

/// A directory under /dev/shm with a store in `data` and its region beside that.
const TestPlace = struct {
    root: os.Path,
    data: os.Path,
    detail: Detail = .{},

    fn init() !TestPlace {
        var salt: [8]u8 = undefined;
        try os.random(&salt);
        const root = try os.Path.format("/dev/shm/aerostore-test-removal-{x}", .{&salt});
        try os.makeDirectory(&root);
        return .{ .root = root, .data = try root.join("data") };
    }

    fn options(place: *const TestPlace) store_options.Options {
        return .{ .path = place.data.slice(), .shm_path = place.root.slice(), .size_max = 8 << 20 };
    }

    fn put(place: *const TestPlace, name: []const u8) !void {
        const path = try place.data.join(name);
        os.close(try os.open(&path, .exclusive));
    }

    fn has(place: *const TestPlace, name: []const u8) bool {
        const path = place.data.join(name) catch unreachable;
        return if (os.statPath(&path)) |_| true else |_| false;
    }

    fn deinit(place: *TestPlace) void {
        for ([_]*const os.Path{ &place.data, &place.root }) |directory| {
            os.eachName(directory, directory, struct {
                fn visit(where: *const os.Path, name: []const u8) void {
                    const path = where.join(name) catch unreachable;
                    os.unlink(&path) catch {};
                }
            }.visit) catch {};
            os.removeDirectory(directory) catch {};
        }
    }

    fn expectEmpty(place: *const TestPlace) !void {
        var names: u32 = 0;
        try os.eachName(&place.root, &names, struct {
            fn visit(count: *u32, _: []const u8) void {
                count.* += 1;
            }
        }.visit);
        try testing.expectEqual(@as(u32, 0), names);
    }
};

test "remove: takes everything of a store, and nothing while it is open" {
    if (!os.supported) return error.SkipZigTest;
    var place = try TestPlace.init();
    defer place.deinit();
    try testing.expect(!try remove(place.options(), &place.detail));
    const store = try Store.open(place.options(), &place.detail);
    try testing.expectError(error.Busy, remove(place.options(), &place.detail));
    store.close();
    try place.put(log_segment.Name.of(7).slice());
    try place.put(snapshot_file.Name.of(12).slice());
    try testing.expect(try remove(place.options(), &place.detail));
    try place.expectEmpty();
    try testing.expect(!try remove(place.options(), &place.detail));
    // The next one is another store.
    const fresh = try Store.open(place.options(), &place.detail);
    fresh.close();
}

test "remove: leaves what is not of the store, and the directory with it" {
    if (!os.supported) return error.SkipZigTest;
    var place = try TestPlace.init();
    defer place.deinit();
    (try Store.open(place.options(), &place.detail)).close();
    const foreign = [_][]const u8{ "notes.txt", "aerostore-7.wal", "snapshot-7.dat", "a.wal" };
    for (foreign) |name| try place.put(name);
    try testing.expect(try remove(place.options(), &place.detail));
    for (foreign) |name| try testing.expect(place.has(name));
    try testing.expect(!place.has("LOCK"));
}

test "remove: refuses before the first removal if a file is not private or not a region" {
    if (!os.supported) return error.SkipZigTest;
    var place = try TestPlace.init();
    defer place.deinit();
    (try Store.open(place.options(), &place.detail)).close();
    const log = log_segment.Name.of(9); // Behind those that the store has made.
    try place.put(log.slice());
    const path = try place.data.join(log.slice());
    const fd = try os.open(&path, .existing);
    defer os.close(fd);
    _ = std.os.linux.fchmod(fd, 0o644);
    try testing.expectError(error.PermissionDenied, remove(place.options(), &place.detail));
    _ = std.os.linux.fchmod(fd, 0o600);

    var elsewhere = place.options();
    elsewhere.shm_path = path.slice(); // A file that is no region.
    try testing.expectError(error.NotAerostore, remove(elsewhere, &place.detail));
    try testing.expect(place.has(log.slice()) and place.has("LOCK"));
    try testing.expect(try remove(place.options(), &place.detail));
    try place.expectEmpty();
}
