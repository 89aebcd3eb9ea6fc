//! The file that is found where a region should be, before anything in it is believed.
//!
//! Invariants:
//!
//!   * a region that any process uses is never replaced: whoever opens it attaches or fails
//!   * a file that is not ours, or damaged, is reported and left as it is
//!
//! The bytes of the header are input. They are copied, the copy is checked, and later code relies
//! on the checked values alone where another process could still change the original.

const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const cold_recovery = @import("cold_recovery.zig");
const file_layer = @import("file_layer.zig");
const limits = @import("limits.zig");
const lock_file = @import("lock_file.zig");
const os = @import("os.zig");
const region_file = @import("region_file.zig");
const region_module = @import("region.zig");
const region_trust = @import("region_trust.zig");
const status = @import("status.zig");
const store_options = @import("store_options.zig");
const Detail = status.Detail;
const Error = store_options.Error;
const Header = region_module.Header;
const Options = store_options.Options;
const Paths = store_options.Paths;
const Reason = region_trust.Reason;
const gpa = region_file.gpa;
const osError = lock_file.osError;

/// What to do: attach to a region that may use so many bytes, and that processes use or nobody;
/// or build one, because of what is wrong with the one that is there, if there is one.
pub const Verdict = union(enum) {
    attach: struct { fd: os.Fd, size_max: u64, used: bool },
    build: ?Reason,
};

/// Decides between attaching to what is at `path` and building, or says why neither is right. The
/// caller holds INIT.
pub fn examine(
    path: *const os.Path,
    lock: *const lock_file.LockFile,
    paths: *const Paths,
    options: Options,
    detail: *Detail,
) Error!Verdict {
    const peers = lock.hasPeers();
    const fd = os.open(path, .existing) catch |err| {
        if (err != error.NotExist) return osError(err, "open", path, detail);
        if (!peers) return .{ .build = null };
        detail.set("processes use the store, but its region is not at \"{s}\": it was " ++
            "removed, or they have it elsewhere (shmPath)", .{path.slice()});
        return error.RegionLost;
    };
    errdefer os.close(fd);
    _ = try lock_file.checkPrivate(fd, path, detail);
    const used = peers or lock_file.anyProcess(fd);
    const boot_id = os.bootId() catch |err|
        return osError(err, "read the boot id for", path, detail);
    const candidate: Candidate = .{
        .fd = fd,
        .path = path,
        .store_uuid = lock.store_uuid,
        .boot_id = boot_id,
    };
    const verdict = if (used)
        try candidate.judgeUsed(detail)
    else
        try candidate.judge(paths, options, detail);
    if (verdict == .build) os.close(fd);
    return verdict;
}

/// An open file that may be the region.
const Candidate = struct {
    fd: os.Fd,
    path: *const os.Path,
    /// Of which store, and of which start of the machine, it should be.
    store_uuid: [16]u8,
    boot_id: [16]u8,

    /// A region that processes use is attached to, or not opened at all.
    fn judgeUsed(candidate: *const Candidate, detail: *Detail) Error!Verdict {
        var header: Header = undefined;
        try candidate.readHeader(&header, detail);
        try candidate.checkHeader(&header, detail);
        if (!std.mem.eql(u8, &header.store_uuid, &candidate.store_uuid)) {
            candidate.detailOfOther(detail);
            return error.RegionLost;
        }
        try candidate.expectState(&header, detail);
        return candidate.attach(&header, true);
    }

    /// Nobody uses it: the question is whether its content can be trusted, and if not, whether
    /// there are files to build another one from.
    fn judge(
        candidate: *const Candidate,
        paths: *const Paths,
        options: Options,
        detail: *Detail,
    ) Error!Verdict {
        var header: Header = undefined;
        candidate.readHeader(&header, detail) catch |err|
            return if (err == error.Corrupt) distrust(.damaged, paths, err) else err;
        if (!std.mem.eql(u8, &header.store_uuid, &candidate.store_uuid)) {
            candidate.detailOfOther(detail);
            return error.BadArgument;
        }
        candidate.checkHeader(&header, detail) catch |err| switch (err) {
            error.LayoutVersion => {
                // Commits that are nowhere else: the version that made it must write them down.
                if (!candidate.hasUnlogged(&header)) return distrust(.layout, paths, err);
                if (options.gives_up_region) return distrust(.given_up, paths, err);
                detail.add(". It has commits that are not in the log: let that version open it " ++
                    "once more, or give them up (salvage: \"files\")", .{});
                return err;
            },
            error.Corrupt => return distrust(.damaged, paths, err),
            else => return err,
        };
        if (header.state.raw == @intFromEnum(region_module.RegionState.retired)) {
            return .{ .build = .retired };
        }
        candidate.expectState(&header, detail) catch |err| return distrust(.damaged, paths, err);
        if (!std.mem.eql(u8, &header.boot_id, &candidate.boot_id)) return .{ .build = .boot };
        if (header.poisoned.raw != 0) {
            detail.set("\"{s}\" is poisoned: an assertion failed in a process that used it. " ++
                "Remove the file to start with an empty store", .{candidate.path.slice()});
            return distrust(.poisoned, paths, error.Corrupt);
        }
        const reason = try candidate.compareWithLog(&header, paths, detail) orelse
            return candidate.attach(&header, false);
        return .{ .build = reason };
    }

    fn attach(candidate: *const Candidate, header: *const Header, used: bool) Verdict {
        return .{ .attach = .{ .fd = candidate.fd, .size_max = header.size_max, .used = used } };
    }

    fn compareWithLog(
        candidate: *const Candidate,
        header: *const Header,
        paths: *const Paths,
        detail: *Detail,
    ) Error!?Reason {
        const directory = paths.data_directory orelse return null;
        var control: region_module.Control = undefined;
        const bytes = std.mem.asBytes(&control);
        const size = os.readAt(candidate.fd, bytes, header.offsets.control) catch |err|
            return osError(err, "read", candidate.path, detail);
        if (size < bytes.len) return error.Corrupt; // `checkHeader` has compared the sizes.
        if (control.shared.log_state.raw == @intFromEnum(region_module.LogState.none)) return null;
        var native: file_layer.NativeFiles = .init(&directory);
        const claim: region_trust.Claim = .of(header, &control);
        return region_trust.compare(native.files(), gpa, &claim, detail) catch |err|
            return checkpoint.statusOf(err);
    }

    /// Whether there are commits in a region of any layout that are not in the log. The first words
    /// of the control part are `next` and `drained` in every layout.
    fn hasUnlogged(candidate: *const Candidate, header: *const Header) bool {
        if (header.offsets.control >= limits.region_size_max) return true;
        var words: [limits.line_pair / 8 + 1]u64 = undefined;
        const bytes = std.mem.asBytes(&words);
        const size = os.readAt(candidate.fd, bytes, header.offsets.control) catch return true;
        if (size < bytes.len) return true;
        const drained = words[limits.line_pair / 8] & (1 << 56) - 1;
        return words[0] > drained;
    }

    fn readHeader(candidate: *const Candidate, header: *Header, detail: *Detail) Error!void {
        const path = candidate.path.slice();
        const size = os.readAt(candidate.fd, std.mem.asBytes(header), 0) catch |err|
            return osError(err, "read", candidate.path, detail);
        if (size < 4 or header.magic != region_module.magic_expected) {
            detail.set("\"{s}\" is not an Aerostore region", .{path});
            return error.NotAerostore;
        }
        if (size < @sizeOf(Header)) {
            detail.set("\"{s}\" is cut off in its header, at {d} bytes", .{ path, size });
            return error.Corrupt;
        }
    }

    fn detailOfOther(candidate: *const Candidate, detail: *Detail) void {
        detail.set("\"{s}\" is the region of another store", .{candidate.path.slice()});
    }

    fn expectState(candidate: *const Candidate, header: *const Header, detail: *Detail) Error!void {
        if (header.state.raw == @intFromEnum(region_module.RegionState.ready)) return;
        detail.set("\"{s}\" is in state {d}", .{ candidate.path.slice(), header.state.raw });
        return error.Corrupt;
    }

    fn checkHeader(candidate: *const Candidate, header: *const Header, detail: *Detail) Error!void {
        const path = candidate.path.slice();
        // Committed is raised after the file has grown, and so it is read before the size.
        const committed = candidate.readCommitted(header) catch |err|
            return osError(err, "read", candidate.path, detail);
        const info = os.stat(candidate.fd) catch |err|
            return osError(err, "examine", candidate.path, detail);
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

    fn readCommitted(candidate: *const Candidate, header: *const Header) os.Error!u64 {
        const at = @offsetOf(region_module.Control, "memory") +
            @offsetOf(region_module.MemoryLine, "committed");
        var committed: u64 = 0;
        // A wrong offset reads nothing or anything: `checkHeader` refuses the header after this.
        if (header.offsets.control >= limits.region_size_max) return 0;
        _ = try os.readAt(candidate.fd, std.mem.asBytes(&committed), header.offsets.control + at);
        return committed;
    }
};

/// Build another region if there is anything to build it from, else say what is wrong.
fn distrust(reason: Reason, paths: *const Paths, err: Error) Error!Verdict {
    const directory = paths.data_directory orelse return err;
    var native: file_layer.NativeFiles = .init(&directory);
    const any = cold_recovery.hasFiles(native.files(), gpa) catch return err;
    return if (any) .{ .build = reason } else err;
}
