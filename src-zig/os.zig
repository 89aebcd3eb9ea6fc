//! The operating system, as thin as it goes: files, mappings, identities.
//!
//! On Linux every function is a bare system call, because the wrappers of the C library keep their
//! own errno: `std.os.linux.errno` reads the result of a bare call, `std.posix.errno` does not.
//! Elsewhere the functions compile and answer `error.UnsupportedPlatform`, so that a library for
//! macOS can be built and can say so when a database is opened.
//!
//! Byte locks and futexes are in `sync`, where the simulator can replace them.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const assert = std.debug.assert;

pub const supported = builtin.os.tag == .linux;
/// Longest path including its final zero.
pub const path_bytes_max = 4096;
/// Mappings start at a multiple of this, so that huge pages can back them.
pub const mapping_align = huge_page_size;
pub const huge_page_size = 2 * 1024 * 1024;
pub const page_size = 4096;

pub const Fd = i32;

pub const Error = error{
    /// ENOENT.
    NotExist,
    /// EEXIST.
    Exists,
    /// EACCES, EPERM, EROFS, or a symbolic link where a file of ours should be.
    PermissionDenied,
    /// ENOSPC, EDQUOT, or EFBIG: nothing was changed.
    NoSpace,
    /// ENAMETOOLONG, EINVAL: nothing can have this path.
    BadPath,
    /// ENOTDIR, EISDIR: a file where a directory should be, or the other way round.
    NotDirectory,
    /// Everything else; `lastErrno` has the number.
    IoError,
    UnsupportedPlatform,
};

threadlocal var last_errno: u16 = 0;

/// The errno behind this thread's last error from this file; 0 if it had none.
pub fn lastErrno() u32 {
    return last_errno;
}

pub fn clearErrno() void {
    last_errno = 0;
}

/// Returns the result of a bare system call, or its error.
fn check(rc: usize) Error!usize {
    const errno = linux.errno(rc);
    if (errno == .SUCCESS) return rc;
    last_errno = @intFromEnum(errno);
    return switch (errno) {
        .NOENT => error.NotExist,
        .EXIST, .NOTEMPTY => error.Exists,
        .ACCES, .PERM, .ROFS, .LOOP => error.PermissionDenied,
        .NOSPC, .DQUOT, .FBIG => error.NoSpace,
        .NAMETOOLONG, .INVAL => error.BadPath,
        .NOTDIR, .ISDIR => error.NotDirectory,
        else => error.IoError,
    };
}

/// A path that owns its bytes and ends with a zero.
pub const Path = struct {
    buffer: [path_bytes_max]u8 = undefined,
    len: u32 = 0,

    pub fn init(bytes: []const u8) error{BadPath}!Path {
        var path: Path = .{};
        try path.append(bytes);
        return path;
    }

    pub fn format(comptime fmt: []const u8, args: anytype) error{BadPath}!Path {
        var path: Path = .{};
        const bytes = std.fmt.bufPrint(path.buffer[0 .. path_bytes_max - 1], fmt, args) catch
            return error.BadPath;
        path.len = @intCast(bytes.len);
        path.buffer[path.len] = 0;
        return path;
    }

    /// The path of `name` in directory `path`.
    pub fn join(path: *const Path, name: []const u8) error{BadPath}!Path {
        var joined = path.*;
        if (joined.len == 0 or joined.buffer[joined.len - 1] != '/') try joined.append("/");
        try joined.append(name);
        return joined;
    }

    pub fn append(path: *Path, bytes: []const u8) error{BadPath}!void {
        if (std.mem.indexOfScalar(u8, bytes, 0) != null) return error.BadPath;
        if (path.len + bytes.len >= path_bytes_max) return error.BadPath;
        @memcpy(path.buffer[path.len..][0..bytes.len], bytes);
        path.len += @intCast(bytes.len);
        path.buffer[path.len] = 0;
    }

    pub fn slice(path: *const Path) []const u8 {
        return path.buffer[0..path.len];
    }

    pub fn z(path: *const Path) [*:0]const u8 {
        assert(path.buffer[path.len] == 0);
        return @ptrCast(&path.buffer);
    }

    /// The directory that holds the file, `.` for a bare name.
    pub fn directory(path: *const Path) Path {
        const at = std.mem.lastIndexOfScalar(u8, path.slice(), '/') orelse
            return Path.init(".") catch unreachable;
        return Path.init(path.slice()[0..@max(at, 1)]) catch unreachable;
    }

    /// The name behind the last slash.
    pub fn baseName(path: *const Path) []const u8 {
        const at = std.mem.lastIndexOfScalar(u8, path.slice(), '/') orelse return path.slice();
        return path.slice()[at + 1 ..];
    }
};

pub const OpenMode = enum {
    /// An existing file, for reading only.
    read,
    /// An existing file, for reading and writing.
    existing,
    /// As `existing`; created empty with mode 0600 if it is not there.
    create,
    /// A new file with mode 0600; `error.Exists` if there is one.
    exclusive,
};

/// Opens a file, close-on-exec, and never through a symbolic link.
pub fn open(path: *const Path, mode: OpenMode) Error!Fd {
    if (!supported) return error.UnsupportedPlatform;
    const flags: linux.O = .{
        .ACCMODE = if (mode == .read) .RDONLY else .RDWR,
        .CREAT = mode == .create or mode == .exclusive,
        .EXCL = mode == .exclusive,
        .NOFOLLOW = true,
        .CLOEXEC = true,
    };
    while (true) {
        const rc = linux.openat(linux.AT.FDCWD, path.z(), flags, 0o600);
        if (linux.errno(rc) == .INTR) continue;
        return @intCast(try check(rc));
    }
}

pub fn openDirectory(path: *const Path) Error!Fd {
    if (!supported) return error.UnsupportedPlatform;
    const flags: linux.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    return @intCast(try check(linux.openat(linux.AT.FDCWD, path.z(), flags, 0)));
}

pub fn close(fd: Fd) void {
    if (!supported) return;
    // Linux has closed the descriptor even if it answers EINTR.
    _ = linux.close(fd);
}

/// What identifies a file and who may use it.
pub const Stat = struct {
    device: u64,
    inode: u64,
    size: u64,
    /// Bytes that are really reserved.
    allocated: u64,
    links: u32,
    uid: u32,
    /// Type and permission bits.
    mode: u16,

    pub fn isFile(info: *const Stat) bool {
        return info.mode & linux.S.IFMT == linux.S.IFREG;
    }

    pub fn isDirectory(info: *const Stat) bool {
        return info.mode & linux.S.IFMT == linux.S.IFDIR;
    }

    /// True for a file that belongs to this user and nobody else may open.
    pub fn isPrivate(info: *const Stat) bool {
        return info.uid == effectiveUser() and info.mode & 0o077 == 0;
    }

    pub fn sameFile(a: *const Stat, b: *const Stat) bool {
        return a.device == b.device and a.inode == b.inode;
    }
};

pub fn stat(fd: Fd) Error!Stat {
    if (!supported) return error.UnsupportedPlatform;
    return statAt(fd, "", linux.AT.EMPTY_PATH);
}

/// Follows symbolic links: meant for directories.
pub fn statPath(path: *const Path) Error!Stat {
    if (!supported) return error.UnsupportedPlatform;
    return statAt(linux.AT.FDCWD, path.z(), 0);
}

fn statAt(fd: Fd, path: [*:0]const u8, flags: u32) Error!Stat {
    var buffer: linux.Statx = undefined;
    _ = try check(linux.statx(fd, path, flags, linux.STATX.BASIC_STATS, &buffer));
    return .{
        .device = @as(u64, buffer.dev_major) << 32 | buffer.dev_minor,
        .inode = buffer.ino,
        .size = buffer.size,
        .allocated = buffer.blocks * 512,
        .links = buffer.nlink,
        .uid = buffer.uid,
        .mode = buffer.mode,
    };
}

/// Reserves bytes `offset..offset + length` and makes the file at least that long. A bare
/// `ftruncate` would succeed on a full file system and the first touch would then kill the process
/// with SIGBUS; this reports `error.NoSpace` instead. Never shrinks.
pub fn reserve(fd: Fd, offset: u64, length: u64) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    while (true) {
        const rc = linux.fallocate(fd, 0, @intCast(offset), @intCast(length));
        if (linux.errno(rc) == .INTR) continue;
        _ = try check(rc);
        return;
    }
}

/// Reads up to `buffer.len` bytes at `offset`; fewer at the end of the file.
pub fn readAt(fd: Fd, buffer: []u8, offset: u64) Error!usize {
    if (!supported) return error.UnsupportedPlatform;
    var done: usize = 0;
    while (done < buffer.len) {
        const at: i64 = @intCast(offset + done);
        const rc = linux.pread(fd, buffer.ptr + done, buffer.len - done, at);
        if (linux.errno(rc) == .INTR) continue;
        const n = try check(rc);
        if (n == 0) break;
        done += n;
    }
    return done;
}

pub fn writeAllAt(fd: Fd, bytes: []const u8, offset: u64) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    var done: usize = 0;
    while (done < bytes.len) {
        const at: i64 = @intCast(offset + done);
        const rc = linux.pwrite(fd, bytes.ptr + done, bytes.len - done, at);
        if (linux.errno(rc) == .INTR) continue;
        done += try check(rc);
    }
}

pub fn fsync(fd: Fd) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    _ = try check(linux.fsync(fd));
}

/// As `fsync`, without the times of the file, which need another write to the disk.
pub fn fdatasync(fd: Fd) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    _ = try check(linux.fdatasync(fd));
}

/// Ends a file after its first `size` bytes, of which it has at least so many: see `reserve`.
pub fn truncate(fd: Fd, size: u64) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    _ = try check(linux.ftruncate(fd, @intCast(size)));
}

/// Makes the names created, renamed, or removed in a directory survive a power cut.
pub fn fsyncDirectory(path: *const Path) Error!void {
    const fd = try openDirectory(path);
    defer close(fd);
    try fsync(fd);
}

/// Creates one directory with mode 0700. `error.Exists` if there is anything of that name.
pub fn makeDirectory(path: *const Path) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    _ = try check(linux.mkdirat(linux.AT.FDCWD, path.z(), 0o700));
}

/// Creates a directory and those above it. An existing one is fine.
pub fn makeDirectories(path: *const Path) Error!void {
    makeDirectory(path) catch |err| switch (err) {
        error.Exists => return,
        error.NotExist => {
            const parent = path.directory();
            if (parent.len >= path.len) return err;
            try makeDirectories(&parent);
            makeDirectory(path) catch |again| if (again != error.Exists) return again;
        },
        else => return err,
    };
}

/// Gives `from` the name `to`; what had that name before loses it in the same step.
pub fn rename(from: *const Path, to: *const Path) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    const cwd = linux.AT.FDCWD;
    _ = try check(linux.renameat2(cwd, from.z(), cwd, to.z(), .{}));
}

pub fn unlink(path: *const Path) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    _ = try check(linux.unlinkat(linux.AT.FDCWD, path.z(), 0));
}

/// Removes a directory that is empty.
pub fn removeDirectory(path: *const Path) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    _ = try check(linux.unlinkat(linux.AT.FDCWD, path.z(), linux.AT.REMOVEDIR));
}

/// Calls `visit(context, name)` for every name in a directory but `.` and `..`.
pub fn eachName(
    path: *const Path,
    context: anytype,
    comptime visit: fn (@TypeOf(context), []const u8) void,
) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    const fd = try openDirectory(path);
    defer close(fd);

    var buffer: [4096]u8 align(8) = undefined;
    while (true) {
        const end = try check(linux.getdents64(fd, &buffer, buffer.len));
        if (end == 0) return;
        var at: usize = 0;
        while (at < end) {
            const entry: *align(8) linux.dirent64 = @ptrCast(@alignCast(&buffer[at]));
            const start = at + @offsetOf(linux.dirent64, "name");
            const name = std.mem.sliceTo(buffer[start .. at + entry.reclen], 0);
            at += entry.reclen;
            if (std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..")) continue;
            visit(context, name);
        }
    }
}

/// Maps `length` bytes of a file, which may be shorter, at a multiple of `mapping_align`. Bytes
/// behind the end of the file must not be touched (SIGBUS) until `reserve` has grown it.
pub fn map(fd: Fd, length: usize) Error![]align(page_size) u8 {
    if (!supported) return error.UnsupportedPlatform;
    assert(length > 0 and length % page_size == 0);

    // The kernel aligns to pages only: take more address space, cut the slack off on both sides.
    const spare = length + mapping_align;
    const reserved = linux.MAP{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };
    const start = try check(linux.mmap(null, spare, .{}, reserved, -1, 0));
    const aligned = std.mem.alignForward(usize, start, mapping_align);
    if (aligned > start) _ = linux.munmap(@ptrFromInt(start), aligned - start);
    const tail = start + spare - (aligned + length);
    if (tail > 0) _ = linux.munmap(@ptrFromInt(aligned + length), tail);

    const base: [*]align(page_size) u8 = @ptrFromInt(aligned);
    errdefer _ = linux.munmap(base, length);
    const shared = linux.MAP{ .TYPE = .SHARED, .FIXED = true };
    const prot = linux.PROT{ .READ = true, .WRITE = true };
    _ = try check(linux.mmap(base, length, prot, shared, fd, 0));
    // Helps where a tmpfs is mounted with huge=advise, and is refused without harm elsewhere; see
    // also `huge_pages.zig`.
    _ = linux.madvise(base, length, linux.MADV.HUGEPAGE);
    return base[0..length];
}

/// What `collapse` has achieved.
pub const Collapse = enum {
    /// The memory lies in a huge page.
    done,
    /// Not now: memory is short or scattered, or somebody else has a hand on a page.
    refused,
    /// Never: the kernel or the file cannot do it.
    impossible,
};

/// Moves the `huge_page_size` bytes at `memory`, which has that alignment, into a huge page, for
/// all processes that map them. Holes of the file would be filled. Linux 6.1 and later; the setting
/// of /sys/kernel/mm/transparent_hugepage/shmem_enabled plays no part unless it is `deny`.
pub fn collapse(memory: [*]align(page_size) u8) Collapse {
    if (!supported) return .impossible;
    const madv_collapse = 25; // The standard library does not know it yet.
    const errno = linux.errno(linux.madvise(memory, huge_page_size, madv_collapse));
    return switch (errno) {
        .SUCCESS => .done,
        .AGAIN, .BUSY, .NOMEM, .INTR => .refused,
        else => .impossible,
    };
}

/// Maps `length` zero bytes that only this process sees.
pub fn mapPrivate(length: usize) Error![]align(page_size) u8 {
    if (!supported) return error.UnsupportedPlatform;
    assert(length > 0 and length % page_size == 0);
    const flags = linux.MAP{ .TYPE = .PRIVATE, .ANONYMOUS = true };
    const prot = linux.PROT{ .READ = true, .WRITE = true };
    const start = try check(linux.mmap(null, length, prot, flags, -1, 0));
    const base: [*]align(page_size) u8 = @ptrFromInt(start);
    return base[0..length];
}

pub fn unmap(memory: []align(page_size) u8) void {
    if (!supported) return;
    const rc = linux.munmap(memory.ptr, memory.len);
    assert(linux.errno(rc) == .SUCCESS);
}

/// Fills `buffer` with random bytes of cryptographic quality.
pub fn random(buffer: []u8) Error!void {
    if (!supported) return error.UnsupportedPlatform;
    var done: usize = 0;
    while (done < buffer.len) {
        const rc = linux.getrandom(buffer.ptr + done, buffer.len - done, 0);
        if (linux.errno(rc) == .INTR) continue;
        done += try check(rc);
    }
}

pub fn processId() u32 {
    if (!supported) return 0;
    return @intCast(linux.getpid());
}

pub fn effectiveUser() u32 {
    if (!supported) return 0;
    return linux.geteuid();
}

/// Changes with every boot of the machine: shared memory made under another one did not survive.
pub fn bootId() Error![16]u8 {
    var text: [36]u8 = undefined;
    if (try readSmall("/proc/sys/kernel/random/boot_id", &text) != text.len) return error.IoError;
    var id: [16]u8 = undefined;
    var digits: usize = 0;
    for (text) |byte| {
        if (byte == '-') continue;
        const digit = std.fmt.charToDigit(byte, 16) catch return error.IoError;
        if (digits == 32) return error.IoError;
        id[digits / 2] = if (digits % 2 == 0) digit << 4 else id[digits / 2] | digit;
        digits += 1;
    }
    if (digits != 32) return error.IoError;
    return id;
}

/// Clock ticks from boot to the start of this process. Diagnosis only: see `participants`.
pub fn startTime() u64 {
    return startTimeIn("/proc/self/stat");
}

/// The same of another process of this namespace; 0 if there is none.
pub fn startTimeOf(pid: u32) u64 {
    var name: [32]u8 = undefined;
    return startTimeIn(std.fmt.bufPrint(&name, "/proc/{d}/stat", .{pid}) catch unreachable);
}

fn startTimeIn(name: []const u8) u64 {
    var buffer: [1024]u8 = undefined;
    const len = readSmall(name, &buffer) catch return 0;
    // The second field is the program's name in brackets and may hold spaces and brackets.
    const close_at = std.mem.lastIndexOfScalar(u8, buffer[0..len], ')') orelse return 0;
    var fields = std.mem.tokenizeScalar(u8, buffer[close_at + 1 .. len], ' ');
    const start_time_field = 22;
    var number: u32 = 3;
    while (fields.next()) |field| : (number += 1) {
        if (number < start_time_field) continue;
        return std.fmt.parseInt(u64, field, 10) catch 0;
    }
    return 0;
}

/// Names the pid namespace: two equal pids are one process only within one namespace.
pub fn pidNamespace() u64 {
    const path = Path.init("/proc/self/ns/pid") catch unreachable;
    const info = statPath(&path) catch return 0;
    return info.inode;
}

fn readSmall(name: []const u8, buffer: []u8) Error!usize {
    if (!supported) return error.UnsupportedPlatform;
    const path = Path.init(name) catch unreachable;
    const fd: Fd = @intCast(try check(
        linux.openat(linux.AT.FDCWD, path.z(), .{ .CLOEXEC = true }, 0),
    ));
    defer close(fd);
    return readAt(fd, buffer, 0);
}

/// Two connected sockets that never block and are closed by `exec`.
pub fn socketPair() Error![2]Fd {
    if (!supported) return error.UnsupportedPlatform;
    const kind = linux.SOCK.STREAM | linux.SOCK.NONBLOCK | linux.SOCK.CLOEXEC;
    var pair: [2]Fd = undefined;
    _ = try check(linux.socketpair(linux.AF.UNIX, kind, 0, &pair));
    return pair;
}

/// Sends one byte. If the socket is full, the other end has enough to read; if it is closed, there
/// is nobody to tell, and no signal is raised.
pub fn sendByte(socket: Fd) void {
    if (!supported) return;
    const byte = [1]u8{1};
    _ = linux.sendto(socket, &byte, byte.len, linux.MSG.NOSIGNAL, null, 0);
}

/// Keeps signals from the calling thread: those of the host are for the host's threads.
pub fn blockSignals() void {
    if (!supported) return;
    const all = linux.sigfillset();
    _ = linux.sigprocmask(linux.SIG.BLOCK, &all, null);
}

/// How much longer the kernel may let timeouts of the calling thread last, to wake up less often:
/// sets it and returns what it was, in nanoseconds. Threads begin with 50 microseconds.
pub fn setTimerSlack(slack_ns: usize) usize {
    if (!supported) return 0;
    const before = linux.prctl(@intFromEnum(linux.PR.GET_TIMERSLACK), 0, 0, 0, 0);
    _ = linux.prctl(@intFromEnum(linux.PR.SET_TIMERSLACK), slack_ns, 0, 0, 0);
    return before;
}

/// Has `child` run in every process that this one forks, before `fork` returns there.
pub fn atFork(child: *const fn () callconv(.c) void) void {
    if (comptime !(supported and builtin.link_libc)) return;
    _ = std.c.pthread_atfork(null, null, child);
}

/// Makes the shared library that contains this function stay until the process ends. Deno unmaps a
/// library with the isolate that loaded it; threads of ours would then run in unmapped code.
pub fn pinLibrary() void {
    if (comptime !(supported and builtin.link_libc and builtin.output_mode == .Lib)) return;
    var info: DlInfo = undefined;
    if (dladdr(@ptrCast(&pinLibrary), &info) == 0) return;
    const name = info.file_name orelse return;
    const flags: std.c.RTLD = .{ .NOW = true, .NOLOAD = true, .NODELETE = true };
    _ = std.c.dlopen(name, flags);
}

const DlInfo = extern struct {
    file_name: ?[*:0]const u8,
    file_base: ?*anyopaque,
    symbol_name: ?[*:0]const u8,
    symbol_address: ?*anyopaque,
};

extern "c" fn dladdr(address: *const anyopaque, info: *DlInfo) c_int;

const testing = std.testing;

fn testPath(comptime name: []const u8) !Path {
    var salt: [8]u8 = undefined;
    try random(&salt);
    return Path.format("/dev/shm/aerostore-test-" ++ name ++ "-{x}", .{&salt});
}

test "open: creates a private file and refuses a symbolic link" {
    if (!supported) return error.SkipZigTest;
    const path = try testPath("open");
    const fd = try open(&path, .exclusive);
    defer close(fd);
    defer unlink(&path) catch {};
    try testing.expectError(error.Exists, open(&path, .exclusive));
    const info = try stat(fd);
    try testing.expect(info.isFile() and info.isPrivate());
    try testing.expectEqual(@as(u64, 0), info.size);

    var link = path;
    try link.append("-link");
    _ = linux.symlink(path.z(), link.z());
    defer unlink(&link) catch {};
    try testing.expectError(error.PermissionDenied, open(&link, .existing));
    try testing.expectEqual(@as(u32, @intFromEnum(linux.E.LOOP)), lastErrno());
}

test "map: two mappings of one file are one memory, at huge page alignment" {
    if (!supported) return error.SkipZigTest;
    const path = try testPath("map");
    const fd = try open(&path, .exclusive);
    defer close(fd);
    try unlink(&path);
    try reserve(fd, 0, 8192);
    const a = try map(fd, 1 << 20);
    defer unmap(a);
    const b = try map(fd, 1 << 20);
    defer unmap(b);
    try testing.expect(@intFromPtr(a.ptr) % mapping_align == 0);
    a[8191] = 77;
    try testing.expectEqual(@as(u8, 77), b[8191]);
    try testing.expectEqual(@as(u64, 8192), (try stat(fd)).size);
    try testing.expectEqual(@as(u32, 0), (try stat(fd)).links);
}

test "makeDirectories: makes parents, accepts what exists, lists names" {
    if (!supported) return error.SkipZigTest;
    const top = try testPath("dir");
    const inner = try (try top.join("a")).join("b");
    try makeDirectories(&inner);
    try makeDirectories(&inner);
    const file = try inner.join("file");
    close(try open(&file, .create));
    var seen: u32 = 0;
    try eachName(&inner, &seen, struct {
        fn visit(count: *u32, name: []const u8) void {
            assert(std.mem.eql(u8, name, "file"));
            count.* += 1;
        }
    }.visit);
    try testing.expectEqual(@as(u32, 1), seen);
    try testing.expectEqualStrings(inner.slice(), file.directory().slice());
    try testing.expectEqualStrings("file", file.baseName());
    try unlink(&file);
    for ([_]Path{ inner, inner.directory(), top }) |directory| {
        _ = linux.unlinkat(linux.AT.FDCWD, directory.z(), linux.AT.REMOVEDIR);
    }
}

test "identities: boot, start time, and namespace are known and stable" {
    if (!supported) return error.SkipZigTest;
    try testing.expectEqual(try bootId(), try bootId());
    try testing.expect(startTime() > 0);
    try testing.expectEqual(startTime(), startTime());
    try testing.expect(pidNamespace() > 0);
}

test "Path: refuses a zero byte and what is too long" {
    try testing.expectError(error.BadPath, Path.init("a\x00b"));
    const long: [path_bytes_max]u8 = @splat('a');
    try testing.expectError(error.BadPath, Path.init(&long));
    try testing.expectEqualStrings("/", (try Path.init("/a")).directory().slice());
    try testing.expectEqualStrings(".", (try Path.init("a")).directory().slice());
}
