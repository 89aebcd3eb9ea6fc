//! The file that holds a region: creating, checking, mapping, and growing it.
//!
//! A region is built in a file of another name and renamed when it is complete, so nobody ever
//! sees half of one, and a creator that is killed leaves only debris that the next one removes.
//!
//! Invariants:
//!
//!   * everything here but `grow` happens under INIT (see `lock_file`)
//!   * a region that any process uses is never replaced: whoever opens it attaches or fails
//!   * a file that is not ours, or damaged, is reported and left as it is
//!   * the file never shrinks, and every byte that is touched was reserved before: a full file
//!     system is the error `region_full`, not the signal SIGBUS
//!
//! The bytes of the header are input. They are copied, the copy is checked, and later code relies
//! on the checked values alone where another process could still change the original.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const ring = @import("commit_ring.zig");
const cold_recovery = @import("cold_recovery.zig");
const file_layer = @import("file_layer.zig");
const limits = @import("limits.zig");
const os = @import("os.zig");
const status = @import("status.zig");
const lock_file = @import("lock_file.zig");
const region_module = @import("region.zig");
const region_loader = @import("region_loader.zig");
const region_trust = @import("region_trust.zig");
const checkpoint = @import("checkpoint.zig");
const store_options = @import("store_options.zig");
const assert = std.debug.assert;
const Reason = region_trust.Reason;
const Region = region_module.Region;
const Shm = sync.Shm;
const Header = region_module.Header;
const Detail = status.Detail;
const Options = store_options.Options;
const Paths = store_options.Paths;
const osError = lock_file.osError;

pub const Error = store_options.Error;

/// Memory of the library itself. Freed memory may be reused by the host.
pub const gpa = if (builtin.link_libc) std.heap.c_allocator else std.heap.smp_allocator;

const checkpoint_secs_default = 300;
const grow_chunk_min = 1 << 20;
/// Reserving memory clears it, at up to 0.7 ms for each MiB: a longer stall is not wanted.
const grow_chunk_max = 16 << 20;
/// Whoever needs memory does not wait longer than that for the kernel to find a huge page.
const huge_page_ns_max = 20 * std.time.ns_per_ms;

/// Of which store, and of which start of the machine.
const Identity = struct { uuid: [16]u8, boot_id: [16]u8 };

/// An open, mapped region. Must not move: the region's `grow` refers to it.
pub const RegionFile = struct {
    fd: os.Fd,
    path: os.Path,
    mapping: []align(os.page_size) u8,
    region: Region,
    /// Bytes that the region may ever use, from the checked copy of the header.
    size_max: u64,
    /// 0 once the kernel had no huge page, or was slow to find one: see `fillHugePages`.
    grows_huge: Shm(u32),
    /// What was done to build it; null if it was there, or if there was nothing to build it from.
    recovery: ?cold_recovery.Report,

    /// Maps the region of the store that `lock` identifies; builds it from the files of the
    /// directory if there is none, or if what is there cannot be trusted. The caller holds INIT.
    pub fn open(
        file: *RegionFile,
        lock: *const lock_file.LockFile,
        paths: *const Paths,
        options: Options,
        detail: *Detail,
    ) Error!void {
        switch (try file.examine(lock, paths, options, detail)) {
            .attach => |found| try file.mapFound(found.size_max, detail),
            .build => |reason| try file.build(lock.store_uuid, paths, options, reason, detail),
        }
    }

    /// Maps the region if `open` would take one as it is that nobody uses. False if not, and then
    /// nothing is open.
    pub fn openIdle(
        file: *RegionFile,
        lock: *const lock_file.LockFile,
        paths: *const Paths,
        options: Options,
        detail: *Detail,
    ) Error!bool {
        const found = switch (try file.examine(lock, paths, options, detail)) {
            .attach => |found| found,
            .build => return false,
        };
        if (found.used) {
            os.close(file.fd);
            return false;
        }
        try file.mapFound(found.size_max, detail);
        return true;
    }

    /// Whether the last process that used the region has closed it, and left nothing to write.
    pub fn wasClosed(file: *const RegionFile) bool {
        const control = file.region.control;
        const durable = ring.Watermark.position(control.durable.word.load(.acquire));
        return file.region.header.clean_shutdown.load(.acquire) != 0 and
            durable >= control.next.word.load(.acquire);
    }

    /// Marks the region as replaced: whoever opens it next builds another one.
    pub fn retire(file: *const RegionFile) void {
        const retired = @intFromEnum(region_module.RegionState.retired);
        file.region.header.state.store(retired, .release);
    }

    pub fn close(file: *RegionFile) void {
        os.unmap(file.mapping);
        os.close(file.fd);
        file.fd = -1;
    }

    fn mapFound(file: *RegionFile, size_max: u64, detail: *Detail) Error!void {
        errdefer os.close(file.fd);
        try file.mapAll(size_max, detail);
        file.resolve();
    }

    fn resolve(file: *RegionFile) void {
        file.region = Region.init(file.mapping.ptr);
        file.region.grow = growCallback;
        file.region.grow_context = file;
    }

    /// What to do: attach to a region that may use so many bytes, and that processes use or nobody;
    /// or build one, because of what is wrong with the one that is there, if there is one.
    const Verdict = union(enum) {
        attach: struct { size_max: u64, used: bool },
        build: ?Reason,
    };

    /// Decides between attaching and building, or says why neither is right. With `attach`,
    /// `file.fd` is open.
    fn examine(
        file: *RegionFile,
        lock: *const lock_file.LockFile,
        paths: *const Paths,
        options: Options,
        detail: *Detail,
    ) Error!Verdict {
        file.path = try paths.regionPath(lock.store_uuid, detail);
        file.recovery = null;
        const peers = lock.hasPeers();
        file.fd = os.open(&file.path, .existing) catch |err| {
            if (err != error.NotExist) return osError(err, "open", &file.path, detail);
            if (!peers) return .{ .build = null };
            detail.set("processes use the store, but its region is not at \"{s}\": it was " ++
                "removed, or they have it elsewhere (shmPath)", .{file.path.slice()});
            return error.RegionLost;
        };
        errdefer os.close(file.fd);
        _ = try lock_file.checkPrivate(file.fd, &file.path, detail);
        const used = peers or lock_file.anyProcess(file.fd);
        const identity = try file.identityOf(lock.store_uuid, detail);
        const verdict = if (used)
            try file.judgeUsed(identity, detail)
        else
            try file.judge(identity, paths, options, detail);
        if (verdict == .build) os.close(file.fd);
        return verdict;
    }

    fn identityOf(file: *const RegionFile, uuid: [16]u8, detail: *Detail) Error!Identity {
        const boot_id = os.bootId() catch |err|
            return osError(err, "read the boot id for", &file.path, detail);
        return .{ .uuid = uuid, .boot_id = boot_id };
    }

    /// A region that processes use is attached to, or not opened at all.
    fn judgeUsed(file: *RegionFile, identity: Identity, detail: *Detail) Error!Verdict {
        var header: Header = undefined;
        try file.readHeader(&header, detail);
        try file.checkHeader(&header, detail);
        if (!std.mem.eql(u8, &header.store_uuid, &identity.uuid)) {
            file.detailOfOther(detail);
            return error.RegionLost;
        }
        try file.expectState(&header, detail);
        return .{ .attach = .{ .size_max = header.size_max, .used = true } };
    }

    /// Nobody uses it: the question is whether its content can be trusted, and if not, whether
    /// there are files to build another one from.
    fn judge(
        file: *RegionFile,
        identity: Identity,
        paths: *const Paths,
        options: Options,
        detail: *Detail,
    ) Error!Verdict {
        var header: Header = undefined;
        file.readHeader(&header, detail) catch |err|
            return if (err == error.Corrupt) file.distrust(.damaged, paths, err) else err;
        if (!std.mem.eql(u8, &header.store_uuid, &identity.uuid)) {
            file.detailOfOther(detail);
            return error.BadArgument;
        }
        file.checkHeader(&header, detail) catch |err| switch (err) {
            error.LayoutVersion => {
                // Commits that are nowhere else: the version that made it must write them down.
                if (!file.hasUnlogged(&header)) return file.distrust(.layout, paths, err);
                if (options.gives_up_region) return file.distrust(.given_up, paths, err);
                detail.add(". It has commits that are not in the log: let that version open it " ++
                    "once more, or give them up (salvage: \"files\")", .{});
                return err;
            },
            error.Corrupt => return file.distrust(.damaged, paths, err),
            else => return err,
        };
        if (header.state.raw == @intFromEnum(region_module.RegionState.retired)) {
            return .{ .build = .retired };
        }
        file.expectState(&header, detail) catch |err| return file.distrust(.damaged, paths, err);
        if (!std.mem.eql(u8, &header.boot_id, &identity.boot_id)) return .{ .build = .boot };
        if (header.poisoned.raw != 0) {
            detail.set("\"{s}\" is poisoned: an assertion failed in a process that used it. " ++
                "Remove the file to start with an empty store", .{file.path.slice()});
            return file.distrust(.poisoned, paths, error.Corrupt);
        }
        const reason = try file.compareWithLog(&header, paths, detail) orelse
            return .{ .attach = .{ .size_max = header.size_max, .used = false } };
        return .{ .build = reason };
    }

    /// Build another region if there is anything to build it from, else say what is wrong.
    fn distrust(
        file: *const RegionFile,
        reason: Reason,
        paths: *const Paths,
        err: Error,
    ) Error!Verdict {
        _ = file;
        const directory = paths.data_directory orelse return err;
        var native: file_layer.NativeFiles = .init(&directory);
        const any = cold_recovery.hasFiles(native.files(), gpa) catch return err;
        return if (any) .{ .build = reason } else err;
    }

    fn compareWithLog(
        file: *const RegionFile,
        header: *const Header,
        paths: *const Paths,
        detail: *Detail,
    ) Error!?Reason {
        const directory = paths.data_directory orelse return null;
        var control: region_module.Control = undefined;
        const bytes = std.mem.asBytes(&control);
        const size = os.readAt(file.fd, bytes, header.offsets.control) catch |err|
            return osError(err, "read", &file.path, detail);
        if (size < bytes.len) return error.Corrupt; // `checkHeader` has compared the sizes.
        if (control.shared.log_state.raw == @intFromEnum(region_module.LogState.none)) return null;
        var native: file_layer.NativeFiles = .init(&directory);
        const claim: region_trust.Claim = .of(header, &control);
        return region_trust.compare(native.files(), gpa, &claim, detail) catch |err|
            return checkpoint.statusOf(err);
    }

    /// Whether there are commits in a region of any layout that are not in the log. The first words
    /// of the control part are `next` and `drained` in every layout.
    fn hasUnlogged(file: *const RegionFile, header: *const Header) bool {
        if (header.offsets.control >= limits.region_size_max) return true;
        var words: [limits.line_pair / 8 + 1]u64 = undefined;
        const bytes = std.mem.asBytes(&words);
        const size = os.readAt(file.fd, bytes, header.offsets.control) catch return true;
        if (size < bytes.len) return true;
        const drained = words[limits.line_pair / 8] & (1 << 56) - 1;
        return words[0] > drained;
    }

    fn readHeader(file: *const RegionFile, header: *Header, detail: *Detail) Error!void {
        const path = file.path.slice();
        const size = os.readAt(file.fd, std.mem.asBytes(header), 0) catch |err|
            return osError(err, "read", &file.path, detail);
        if (size < 4 or header.magic != region_module.magic_expected) {
            detail.set("\"{s}\" is not an Aerostore region", .{path});
            return error.NotAerostore;
        }
        if (size < @sizeOf(Header)) {
            detail.set("\"{s}\" is cut off in its header, at {d} bytes", .{ path, size });
            return error.Corrupt;
        }
    }

    fn detailOfOther(file: *const RegionFile, detail: *Detail) void {
        detail.set("\"{s}\" is the region of another store", .{file.path.slice()});
    }

    fn expectState(file: *const RegionFile, header: *const Header, detail: *Detail) Error!void {
        if (header.state.raw == @intFromEnum(region_module.RegionState.ready)) return;
        detail.set("\"{s}\" is in state {d}", .{ file.path.slice(), header.state.raw });
        return error.Corrupt;
    }

    fn checkHeader(file: *RegionFile, header: *const Header, detail: *Detail) Error!void {
        const path = file.path.slice();
        // Committed is raised after the file has grown, and so it is read before the size.
        const committed = file.readCommitted(header) catch |err|
            return osError(err, "read", &file.path, detail);
        const info = os.stat(file.fd) catch |err|
            return osError(err, "examine", &file.path, detail);
        region_module.checkHeader(header, info.size) catch |err| {
            switch (err) {
                error.NotAerostore => unreachable, // `judge` has looked at the magic number.
                error.LayoutVersion => detail.set(
                    "\"{s}\" has layout {d} ({x}), this version has {d} ({x})",
                    .{
                        path,
                        header.layout_version,
                        header.layout_hash,
                        region_module.layout_version_current,
                        region_module.layout_hash,
                    },
                ),
                error.Corrupt => detail.set(
                    "the header of \"{s}\" contradicts itself or its size of {d} bytes",
                    .{ path, info.size },
                ),
            }
            return err;
        };
        if (committed > info.size or committed > header.size_max) {
            detail.set("\"{s}\" has {d} bytes and should have {d}: it was cut off", .{
                path, info.size, committed,
            });
            return error.Corrupt;
        }
    }

    fn readCommitted(file: *RegionFile, header: *const Header) os.Error!u64 {
        const at = @offsetOf(region_module.Control, "memory") +
            @offsetOf(region_module.MemoryLine, "committed");
        var committed: u64 = 0;
        // A wrong offset reads nothing or anything: `checkHeader` refuses the header after this.
        if (header.offsets.control >= limits.region_size_max) return 0;
        _ = try os.readAt(file.fd, std.mem.asBytes(&committed), header.offsets.control + at);
        return committed;
    }

    fn mapAll(file: *RegionFile, size_max: u64, detail: *Detail) Error!void {
        file.size_max = size_max;
        file.grows_huge = .init(1);
        file.mapping = os.map(file.fd, size_max) catch |err|
            return osError(err, "map", &file.path, detail);
    }

    fn build(
        file: *RegionFile,
        store_uuid: [16]u8,
        paths: *const Paths,
        options: Options,
        reason: ?Reason,
        detail: *Detail,
    ) Error!void {
        const identity = try file.identityOf(store_uuid, detail);
        const directory = paths.data_directory orelse
            return file.create(identity, options.size_max, null, reason, detail);
        var native: file_layer.NativeFiles = .init(&directory);
        const started = sync.nowNs();
        var plan = try cold_recovery.examine(native.files(), gpa, .{
            .store_uuid = identity.uuid,
            .salvage = options.salvage,
            .progress = options.progress,
            .worker_count = region_loader.workerCount(),
        }, detail);
        defer plan.deinit();
        try file.create(identity, options.size_max, &plan, reason, detail);
        if (file.recovery) |*report| report.ns = sync.nowNs() -% started;
    }

    /// Makes a region under another name, fills it with what `plan` has found, and names it.
    fn create(
        file: *RegionFile,
        identity: Identity,
        size_max: u64,
        plan: ?*cold_recovery.Plan,
        reason: ?Reason,
        detail: *Detail,
    ) Error!void {
        const config = region_module.Config.forSize(size_max);
        const layout = region_module.layout(config) catch return tooSmall(size_max, detail);
        const temporary = try temporaryPath(&file.path, identity.uuid);
        os.unlink(&temporary) catch |err| if (err != error.NotExist)
            return osError(err, "remove", &temporary, detail);

        file.fd = os.open(&temporary, .exclusive) catch |err|
            return osError(err, "create", &temporary, detail);
        errdefer os.close(file.fd);
        errdefer os.unlink(&temporary) catch {};
        try file.mapAll(config.size_max, detail);
        errdefer os.unmap(file.mapping);
        const reserved = @min(
            config.size_max,
            std.mem.alignForward(u64, layout.fixed_size, os.huge_page_size),
        );
        file.reserve(0, reserved) catch |err|
            return osError(err, "reserve memory for", &temporary, detail);

        const empty: region_module.Identity = .{
            .store_uuid = identity.uuid,
            .boot_id = identity.boot_id,
        };
        const header_identity = if (plan) |it| it.identity(identity.boot_id) else empty;
        region_module.format(file.mapping.ptr, config, header_identity) catch
            return tooSmall(size_max, detail);
        file.resolve();
        file.region.control.memory.committed.store(reserved, .monotonic);
        if (plan) |it| {
            if (!it.isEmpty()) file.recovery = try cold_recovery.load(it, &file.region, detail);
            const control = file.region.control;
            const working = @intFromEnum(region_module.LogState.working);
            control.shared.log_state.store(working, .monotonic);
            control.log.checkpoint_interval_secs.store(checkpoint_secs_default, .monotonic);
        }
        try file.setAside(reason, detail);
        // Release: whoever maps the file under its final name finds everything written before.
        const ready = @intFromEnum(region_module.RegionState.ready);
        file.region.header.state.store(ready, .release);
        os.rename(&temporary, &file.path) catch |err|
            return osError(err, "rename", &temporary, detail);
    }

    /// Keeps a region that was not believed, as evidence, until there is another one of that kind.
    fn setAside(file: *const RegionFile, reason: ?Reason, detail: *Detail) Error!void {
        switch (reason orelse return) {
            // Nothing is to be learned from these, and they take memory.
            .boot, .retired, .layout => return,
            .damaged, .poisoned, .behind, .ahead, .given_up => {},
        }
        const old = os.open(&file.path, .existing) catch |err|
            return osError(err, "open", &file.path, detail);
        defer os.close(old);
        const retired: u32 = @intFromEnum(region_module.RegionState.retired);
        os.writeAllAt(old, std.mem.asBytes(&retired), @offsetOf(Header, "state")) catch |err|
            return osError(err, "write", &file.path, detail);
        const aside = try asidePath(&file.path);
        os.rename(&file.path, &aside) catch |err|
            return osError(err, "rename", &file.path, detail);
    }

    /// Reserves memory for at least the first `needed_bytes` of the region.
    pub fn grow(file: *RegionFile, needed_bytes: u64) error{RegionFull}!void {
        if (needed_bytes > file.size_max) return error.RegionFull;
        const committed = &file.region.control.memory.committed;
        // Acquire: pairs with the release of `fetchMax` below.
        const now = committed.load(.acquire);
        if (needed_bytes <= now) return;
        if (now > file.size_max) return error.RegionFull; // Somebody damaged the word.

        const chunk = std.math.clamp(now / 8, grow_chunk_min, grow_chunk_max);
        const whole = std.mem.alignForward(u64, @max(needed_bytes, now + chunk), os.huge_page_size);
        const wanted = @min(file.size_max, whole);
        // When memory is short, what is needed may still be there when a chunk is not.
        const end = if (file.reserve(now, wanted)) wanted else |_| end: {
            os.reserve(file.fd, now, needed_bytes - now) catch return error.RegionFull;
            break :end needed_bytes;
        };
        // Two processes may reserve the same bytes at once, which is harmless. Release: memory
        // below `committed` is there for whoever reads it.
        _ = committed.fetchMax(end, .acq_rel);
    }

    /// Reserves bytes `start..end` of the file, in huge pages as far as there are any.
    fn reserve(file: *RegionFile, start: u64, end: u64) os.Error!void {
        file.fillHugePages(start, end);
        try os.reserve(file.fd, start, end - start);
    }

    /// Puts a huge page behind each piece of `start..end` that nobody uses yet. That takes 60 µs
    /// for each MiB, small pages take 300 and as much again when they are touched; `huge_pages.zig`
    /// has the other reasons. What fails is left to `reserve`.
    fn fillHugePages(file: *RegionFile, start: u64, end: u64) void {
        var at = std.mem.alignForward(u64, start, os.huge_page_size);
        while (at + os.huge_page_size <= end) : (at += os.huge_page_size) {
            if (file.grows_huge.load(.monotonic) == 0) return;
            const began = sync.nowNs();
            // A piece without any page is taken for one behind the end of the file.
            const last_page = at + os.huge_page_size - os.page_size;
            os.reserve(file.fd, last_page, os.page_size) catch return;
            const piece: [*]align(os.page_size) u8 = @alignCast(file.mapping.ptr + at);
            const done = os.collapse(piece) == .done;
            if (done and sync.nowNs() - began < huge_page_ns_max) continue;
            // The maintenance thread has the time to try again.
            file.grows_huge.store(0, .monotonic);
        }
    }
};

/// Where a region is built before it gets its name. One for all creators of a store: INIT allows
/// one at a time, and what a killed one left behind is removed by the next.
pub fn temporaryPath(path: *const os.Path, uuid: [16]u8) Error!os.Path {
    var temporary = path.*;
    const tag = std.fmt.bytesToHex(uuid[0..8], .lower);
    for ([_][]const u8{ ".", &tag, ".building" }) |part| {
        temporary.append(part) catch return error.BadArgument;
    }
    return temporary;
}

/// Where a region is kept that was not believed.
pub fn asidePath(path: *const os.Path) Error!os.Path {
    var aside = path.*;
    aside.append(".retired") catch return error.BadArgument;
    return aside;
}

fn growCallback(context: *anyopaque, bytes: u64) error{RegionFull}!void {
    const file: *RegionFile = @ptrCast(@alignCast(context));
    try file.grow(bytes);
}

fn tooSmall(size_max: u64, detail: *Detail) Error {
    detail.set("{d} bytes are too few for a region", .{size_max});
    return error.BadArgument;
}

const testing = std.testing;
const LockFile = lock_file.LockFile;

/// A store in a directory of its own under /dev/shm, with the region in the same directory.
const TestStore = struct {
    directory: os.Path,
    options: Options,
    paths: Paths,
    detail: Detail = .{},

    fn init(store: *TestStore) !void {
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

    fn deinit(store: *TestStore) void {
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
    fn open(store: *TestStore, opened: *Opened, index: ?u64) Error!void {
        opened.lock = try LockFile.open(&store.paths.lock, false, &store.detail);
        errdefer opened.lock.close();
        try opened.lock.lockInit(false, &store.detail);
        defer opened.lock.unlockInit();
        const file = &opened.file;
        try file.open(&opened.lock, &store.paths, store.options, &store.detail);
        if (index) |i| {
            assert(sync.ByteLock.tryLock(opened.lock.fd, lock_file.byte_process_first + i));
            assert(sync.ByteLock.tryLock(file.fd, lock_file.byte_process_first + i));
        }
    }

    /// Creates the region, closes it, and returns it open as a bare file.
    fn createAndOpenRaw(store: *TestStore) !os.Fd {
        var opened: Opened = undefined;
        try store.open(&opened, null);
        const path = opened.file.path;
        opened.close();
        return os.open(&path, .existing);
    }

    fn expectRefusal(store: *TestStore, expected: Error, text: []const u8) !void {
        var opened: Opened = undefined;
        try testing.expectError(expected, store.open(&opened, null));
        try testing.expect(std.mem.indexOf(u8, store.detail.text(), text) != null);
    }
};

const Opened = struct {
    lock: LockFile,
    file: RegionFile,

    fn close(opened: *Opened) void {
        opened.file.close();
        opened.lock.close();
    }
};

test "RegionFile.open: builds once, attaches after that, and leaves no debris" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var a: Opened = undefined;
    try store.open(&a, 0);
    defer a.close();
    var b: Opened = undefined;
    try store.open(&b, 1);
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

test "RegionFile.open: removes what a killed creator left and starts again" {
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
    try store.open(&opened, null);
    defer opened.close();
    try testing.expectError(error.NotExist, os.statPath(&debris));
    try testing.expectEqual(@as(u64, 8 << 20), opened.file.size_max);
}

test "RegionFile.open: refuses foreign and truncated files, and leaves them alone" {
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

test "RegionFile.open: refuses a region that lost grown pages" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var opened: Opened = undefined;
    try store.open(&opened, null);
    const before = (try os.stat(opened.file.fd)).size;
    try opened.file.grow(before + 1);
    const after = (try os.stat(opened.file.fd)).size;
    try testing.expect(after >= before + grow_chunk_min);
    try testing.expectEqual(after, opened.file.region.control.memory.committed.load(.acquire));
    _ = std.os.linux.ftruncate(opened.file.fd, @intCast(after - 4096));
    opened.close();
    try store.expectRefusal(error.Corrupt, "it was cut off");
}

test "RegionFile.grow: reaches the limit of the region and not one byte more" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var opened: Opened = undefined;
    try store.open(&opened, null);
    defer opened.close();
    const region = &opened.file.region;
    try region.grow.?(region.grow_context, 8 << 20);
    try testing.expectEqual(@as(u64, 8 << 20), (try os.stat(opened.file.fd)).size);
    try testing.expectError(error.RegionFull, opened.file.grow((8 << 20) + 1));
    opened.file.mapping[(8 << 20) - 1] = 1;
}

test "RegionFile.grow: goes on where somebody was killed that had reserved and not noted it" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var killed: Opened = undefined;
    try store.open(&killed, 0);
    const committed = killed.file.region.control.memory.committed.load(.acquire);
    try os.reserve(killed.file.fd, committed, 2 << 20);
    killed.file.mapping[committed] = 7; // It had begun to use it.
    killed.close();
    var next: Opened = undefined;
    try store.open(&next, 0);
    defer next.close();
    const memory = &next.file.region.control.memory;
    try testing.expectEqual(committed, memory.committed.load(.acquire));
    try next.file.grow(committed + 1);
    try testing.expect(memory.committed.load(.acquire) > committed);
    const size = (try os.stat(next.file.fd)).size;
    try testing.expect(size >= memory.committed.load(.acquire));
}

test "RegionFile.open: refuses a region of another layout, used or not" {
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

test "RegionFile.open: trusts a region of an earlier boot only while somebody uses it" {
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
    try store.open(&used, null);
    try testing.expect(old.sameFile(&(try os.stat(used.file.fd))));
    used.close();
    sync.ByteLock.unlock(fd, lock_file.byte_process_first + 3);
    var fresh: Opened = undefined;
    try store.open(&fresh, null);
    defer fresh.close();
    try testing.expect(!old.sameFile(&(try os.stat(fresh.file.fd))));
}

test "RegionFile.open: refuses a poisoned region and one that is still building" {
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

test "RegionFile.open: never rebuilds under live processes" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var user: Opened = undefined;
    try store.open(&user, 5);
    try os.unlink(&user.file.path);
    try store.expectRefusal(error.RegionLost, "processes use the store, but its region is not at");
    user.close();
    var fresh: Opened = undefined;
    try store.open(&fresh, null);
    fresh.close();
}

test "RegionFile.open: refuses the region of another store" {
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

test "RegionFile.open: refuses a region that others may open" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const fd = try store.createAndOpenRaw();
    defer os.close(fd);
    _ = std.os.linux.fchmod(fd, 0o604);
    try store.expectRefusal(error.PermissionDenied, "has mode 604");
}

test "RegionFile.open: says that a directory cannot be written" {
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
        const outcome = store.open(&opened, null);
        linux.exit_group(if (outcome == error.PermissionDenied) 0 else 1);
    }
    var exit: u32 = 0;
    _ = linux.waitpid(@intCast(child), &exit, 0);
    try testing.expectEqual(@as(u32, 0), exit);
}

test "RegionFile.open: of racing creators one builds and all get the same region" {
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
        store.open(&opened, i) catch linux.exit_group(1);
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
