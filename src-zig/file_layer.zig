//! The files of one data directory, behind an interface that tests can put a bad disk under.
//!
//! The log, snapshots and recovery do all their input and output here. Every path is a bare name
//! inside the directory. `NativeFiles` is the real one; `file_layer_memory.zig` is a disk that
//! forgets, tears and refuses.
//!
//! Rules that all users keep, because the disk model of the tests checks them or relies on them:
//!
//!   * what was written is on the disk only after `sync` of the same file has returned
//!   * a name that was created, renamed or removed is so on the disk only after `syncDirectory`
//!   * after an error of `sync` the file is not synced again: the kernel may have dropped the
//!     pages it could not write, and the next sync would report success

const std = @import("std");
const os = @import("os.zig");
const assert = std.debug.assert;

pub const Error = os.Error;

/// An open file. Not below zero.
pub const Handle = i32;

pub const name_size_max = 64;

pub const Mode = enum {
    /// An existing file, for reading.
    read,
    /// An existing file, for reading and writing.
    write,
    /// A new file with mode 0600; `error.Exists` if there is anything of that name.
    create_exclusive,
};

pub const Files = struct {
    context: *anyopaque,
    vtable: *const VTable,

    pub const VTable = struct {
        open: *const fn (*anyopaque, name: []const u8, mode: Mode) Error!Handle,
        close: *const fn (*anyopaque, file: Handle) void,
        size: *const fn (*anyopaque, file: Handle) Error!u64,
        readAt: *const fn (*anyopaque, file: Handle, buffer: []u8, offset: u64) Error!usize,
        writeAt: *const fn (*anyopaque, file: Handle, bytes: []const u8, offset: u64) Error!void,
        reserve: *const fn (*anyopaque, file: Handle, bytes: u64) Error!void,
        cut: *const fn (*anyopaque, file: Handle, bytes: u64) Error!void,
        sync: *const fn (*anyopaque, file: Handle) Error!void,
        syncDirectory: *const fn (*anyopaque) Error!void,
        rename: *const fn (*anyopaque, from: []const u8, to: []const u8) Error!void,
        unlink: *const fn (*anyopaque, name: []const u8) Error!void,
        list: *const fn (*anyopaque, visitor: Visitor) Error!void,
    };

    pub const Visitor = struct {
        context: *anyopaque,
        visit: *const fn (context: *anyopaque, name: []const u8) void,
    };

    /// Opens a file. `error.PermissionDenied` also if it is not a private file of this user.
    pub fn open(files: Files, name: []const u8, mode: Mode) Error!Handle {
        assert(isBareName(name));
        return files.vtable.open(files.context, name, mode);
    }

    pub fn close(files: Files, file: Handle) void {
        files.vtable.close(files.context, file);
    }

    /// Bytes in the file.
    pub fn size(files: Files, file: Handle) Error!u64 {
        return files.vtable.size(files.context, file);
    }

    /// Reads up to `buffer.len` bytes at `offset`, and returns how many: fewer only at the end of
    /// the file.
    pub fn readAt(files: Files, file: Handle, buffer: []u8, offset: u64) Error!usize {
        return files.vtable.readAt(files.context, file, buffer, offset);
    }

    /// Writes all of `bytes`. After an error, any part of them may have been written.
    pub fn writeAt(files: Files, file: Handle, bytes: []const u8, offset: u64) Error!void {
        return files.vtable.writeAt(files.context, file, bytes, offset);
    }

    /// Makes the file at least `bytes` long, with room on the disk. `error.NoSpace` if there is
    /// none. New bytes are zero.
    pub fn reserve(files: Files, file: Handle, bytes: u64) Error!void {
        return files.vtable.reserve(files.context, file, bytes);
    }

    /// Ends the file after the first `bytes`, of which it has at least so many.
    pub fn cut(files: Files, file: Handle, bytes: u64) Error!void {
        return files.vtable.cut(files.context, file, bytes);
    }

    /// Waits until all that was written to the file, and its length, are on the disk. Where there
    /// was no room for it after all, it is lost like after any other error: the system says so
    /// once, and takes it for written the next time.
    pub fn sync(files: Files, file: Handle) Error!void {
        files.vtable.sync(files.context, file) catch |err|
            return if (err == error.NoSpace) error.IoError else err;
    }

    /// Waits until all names are on the disk as they are now.
    pub fn syncDirectory(files: Files) Error!void {
        return files.vtable.syncDirectory(files.context);
    }

    /// Gives the file `from` the name `to`. A file that had the name loses it in the same step.
    pub fn rename(files: Files, from: []const u8, to: []const u8) Error!void {
        assert(isBareName(from) and isBareName(to));
        return files.vtable.rename(files.context, from, to);
    }

    pub fn unlink(files: Files, name: []const u8) Error!void {
        assert(isBareName(name));
        return files.vtable.unlink(files.context, name);
    }

    /// Calls `visit(context, name)` for every name in the directory, in no order. `context` is a
    /// pointer; a name is valid during its call. The directory must not be changed meanwhile.
    pub fn each(
        files: Files,
        context: anytype,
        comptime visit: fn (@TypeOf(context), []const u8) void,
    ) Error!void {
        const Visit = struct {
            fn call(erased: *anyopaque, name: []const u8) void {
                visit(@ptrCast(@alignCast(erased)), name);
            }
        };
        const visitor: Visitor = .{ .context = @ptrCast(context), .visit = Visit.call };
        return files.vtable.list(files.context, visitor);
    }
};

fn isBareName(name: []const u8) bool {
    return name.len >= 1 and name.len <= name_size_max and
        std.mem.indexOfScalar(u8, name, '/') == null;
}

/// A directory of the operating system.
///
///     var native: NativeFiles = .init(&data_directory);
///     const files = native.files();
pub const NativeFiles = struct {
    directory: os.Path,

    pub fn init(directory: *const os.Path) NativeFiles {
        return .{ .directory = directory.* };
    }

    /// Refers to `native`, which must stay where it is. May be used by several threads.
    pub fn files(native: *NativeFiles) Files {
        return .{ .context = native, .vtable = &vtable };
    }

    const vtable: Files.VTable = .{
        .open = open,
        .close = close,
        .size = size,
        .readAt = readAt,
        .writeAt = writeAt,
        .reserve = reserve,
        .cut = cut,
        .sync = sync,
        .syncDirectory = syncDirectory,
        .rename = rename,
        .unlink = unlink,
        .list = list,
    };

    fn from(context: *anyopaque) *NativeFiles {
        return @ptrCast(@alignCast(context));
    }

    fn open(context: *anyopaque, name: []const u8, mode: Mode) Error!Handle {
        const path = try from(context).directory.join(name);
        const fd = try os.open(&path, switch (mode) {
            .read => .read,
            .write => .existing,
            .create_exclusive => .exclusive,
        });
        errdefer os.close(fd);
        const info = try os.stat(fd);
        if (!info.isFile() or !info.isPrivate()) return error.PermissionDenied;
        return fd;
    }

    fn close(_: *anyopaque, file: Handle) void {
        os.close(file);
    }

    fn size(_: *anyopaque, file: Handle) Error!u64 {
        return (try os.stat(file)).size;
    }

    fn readAt(_: *anyopaque, file: Handle, buffer: []u8, offset: u64) Error!usize {
        return os.readAt(file, buffer, offset);
    }

    fn writeAt(_: *anyopaque, file: Handle, bytes: []const u8, offset: u64) Error!void {
        return os.writeAllAt(file, bytes, offset);
    }

    fn reserve(_: *anyopaque, file: Handle, bytes: u64) Error!void {
        return os.reserve(file, 0, bytes) catch |err| {
            // Some file systems cannot reserve; all can be written to.
            const cannot = @intFromEnum(std.os.linux.E.OPNOTSUPP);
            if (err != error.IoError or os.lastErrno() != cannot) return err;
            return fill(file, bytes);
        };
    }

    /// Writes zeros from the end of the file up to `bytes`.
    fn fill(file: Handle, bytes: u64) Error!void {
        const zeros: [4096]u8 = @splat(0);
        var at = (try os.stat(file)).size;
        while (at < bytes) {
            const step: usize = @intCast(@min(zeros.len, bytes - at));
            try os.writeAllAt(file, zeros[0..step], at);
            at += step;
        }
    }

    fn cut(_: *anyopaque, file: Handle, bytes: u64) Error!void {
        return os.truncate(file, bytes);
    }

    fn sync(_: *anyopaque, file: Handle) Error!void {
        return os.fdatasync(file);
    }

    fn syncDirectory(context: *anyopaque) Error!void {
        return os.fsyncDirectory(&from(context).directory);
    }

    fn rename(context: *anyopaque, old: []const u8, new: []const u8) Error!void {
        const old_path = try from(context).directory.join(old);
        const new_path = try from(context).directory.join(new);
        return os.rename(&old_path, &new_path);
    }

    fn unlink(context: *anyopaque, name: []const u8) Error!void {
        const path = try from(context).directory.join(name);
        return os.unlink(&path);
    }

    fn list(context: *anyopaque, visitor: Files.Visitor) Error!void {
        return os.eachName(&from(context).directory, visitor, struct {
            fn visit(to: Files.Visitor, name: []const u8) void {
                to.visit(to.context, name);
            }
        }.visit);
    }
};

const testing = std.testing;

test "NativeFiles: writes, reads back, renames, lists and removes" {
    if (!os.supported) return error.SkipZigTest;
    var salt: [8]u8 = undefined;
    try os.random(&salt);
    const directory = try os.Path.format("/dev/shm/aerostore-test-files-{x}", .{&salt});
    try os.makeDirectory(&directory);
    defer _ = std.os.linux.unlinkat(std.os.linux.AT.FDCWD, directory.z(), 0x200);
    var native: NativeFiles = .init(&directory);
    const files = native.files();

    const file = try files.open("a.dat", .create_exclusive);
    try testing.expectError(error.Exists, files.open("a.dat", .create_exclusive));
    try files.reserve(file, 8192);
    try files.writeAt(file, "hello", 4096);
    try NativeFiles.fill(file, 8100);
    try files.sync(file);
    try testing.expectEqual(8192, try files.size(file));
    try NativeFiles.fill(file, 20_000);
    try testing.expectEqual(20_000, try files.size(file));
    try files.cut(file, 20_000 - 7);
    try testing.expectEqual(19_993, try files.size(file));
    try files.reserve(file, 20_000);
    files.close(file);
    try files.rename("a.dat", "b.dat");
    try files.syncDirectory();

    const again = try files.open("b.dat", .read);
    defer files.close(again);
    var buffer: [8]u8 = undefined;
    try testing.expectEqual(8, try files.readAt(again, &buffer, 4096));
    try testing.expectEqualStrings("hello\x00\x00\x00", &buffer);
    try testing.expectEqual(4, try files.readAt(again, &buffer, 19_996));
    try testing.expectError(error.IoError, files.writeAt(again, "x", 0));

    var seen: u32 = 0;
    try files.each(&seen, struct {
        fn visit(count: *u32, name: []const u8) void {
            assert(std.mem.eql(u8, name, "b.dat"));
            count.* += 1;
        }
    }.visit);
    try testing.expectEqual(1, seen);
    try files.unlink("b.dat");
    try testing.expectError(error.NotExist, files.open("b.dat", .read));
}

test "NativeFiles.open: refuses a file that others may open" {
    if (!os.supported) return error.SkipZigTest;
    var salt: [8]u8 = undefined;
    try os.random(&salt);
    const name = try std.fmt.allocPrint(testing.allocator, "aerostore-test-{x}", .{&salt});
    defer testing.allocator.free(name);
    const directory = try os.Path.init("/dev/shm");
    var native: NativeFiles = .init(&directory);
    const files = native.files();
    const file = try files.open(name, .create_exclusive);
    defer files.unlink(name) catch {};
    defer files.close(file);
    _ = std.os.linux.fchmod(file, 0o644);
    try testing.expectError(error.PermissionDenied, files.open(name, .read));
}
