//! How a store is opened, and the paths that follow from that.

const std = @import("std");
const cold_recovery = @import("cold_recovery.zig");
const limits = @import("limits.zig");
const lock_file = @import("lock_file.zig");
const os = @import("os.zig");
const status = @import("status.zig");
const Detail = status.Detail;
const osError = lock_file.osError;

pub const Error = status.Error || error{OutOfMemory};

pub const size_default = 1 << 30;
/// Where a region stands unless the caller says otherwise.
const directory_default = "/dev/shm";
const ephemeral_name_max = 100;

/// The limit of a new region for a number that came from outside; 0 stands for the default.
pub fn sizeOf(number: f64) ?u64 {
    if (number == 0) return size_default;
    const sound = number >= limits.region_size_min and number <= limits.region_size_max;
    return if (sound) @intFromFloat(number) else null; // NaN is not sound either.
}

/// Whether a region that nobody uses is taken as it is. One that processes use always is.
pub const Warm = enum(u32) {
    /// If nothing speaks against it; see `region_trust.zig`.
    always = 0,
    /// Then, and if the last process that used it has closed it with everything on the disk.
    clean_only = 1,
    /// What it has is brought to the disk, and another one is built from the files.
    never = 2,
};

/// Which store, and where its region shall be.
pub const Options = struct {
    /// The data directory, or the name of an ephemeral store.
    path: []const u8,
    ephemeral: bool = false,
    /// Fail with `error.NotFound` instead of creating the store.
    must_exist: bool = false,
    /// The opener does not write, and so has no part in the log.
    read_only: bool = false,
    /// Bytes that a new region may ever use. An existing region keeps its own limit.
    size_max: u64 = size_default,
    /// Where the region shall be: a file, or an existing directory. Empty: /dev/shm.
    shm_path: []const u8 = "",
    /// What to do about a log that is damaged in its middle.
    salvage: cold_recovery.Salvage = .none,
    /// A region of another layout that has commits which are not in the log is no reason to refuse:
    /// what the files have will do.
    gives_up_region: bool = false,
    warm: Warm = .always,
    /// Whom to tell how far a recovery is.
    progress: cold_recovery.Progress = .none,
};

/// The paths that follow from the options before the store is known.
pub const Paths = struct {
    lock: os.Path,
    /// Set when the options name the region; otherwise the name contains the store's uuid.
    region: ?os.Path,
    /// Where the region goes if `region` is null.
    region_directory: os.Path,
    data_directory: ?os.Path,

    pub fn resolve(options: Options, detail: *Detail) Error!Paths {
        if (options.ephemeral and options.warm != .always) {
            detail.set("an ephemeral database is nowhere but in its region", .{});
            return error.NotSupported;
        }
        return resolvePaths(options) catch |err| switch (err) {
            error.BadPath => {
                detail.set("the path is too long or has a zero byte in it", .{});
                return error.BadArgument;
            },
            error.BadName => {
                detail.set("the name of an ephemeral store has 1 to {d} of the characters " ++
                    "a-z A-Z 0-9 . _ -, not \"{s}\"", .{ ephemeral_name_max, options.path });
                return error.BadArgument;
            },
        };
    }

    /// The region's path for the store `uuid`.
    pub fn regionPath(paths: *const Paths, uuid: [16]u8, detail: *Detail) Error!os.Path {
        if (paths.region) |path| return path;
        // With the directory's own number, a copied directory is another store than its original.
        var seed: u64 = 0;
        if (paths.data_directory) |directory| {
            const info = os.statPath(&directory) catch |err|
                return osError(err, "examine", &directory, detail);
            seed = std.hash.Wyhash.hash(info.device, std.mem.asBytes(&info.inode));
        }
        const digest = std.hash.Wyhash.hash(seed, &uuid);
        const name = os.Path.format("aerostore-{d}-{x:0>16}", .{ os.effectiveUser(), digest }) catch
            unreachable;
        return paths.region_directory.join(name.slice()) catch error.BadArgument;
    }
};

fn resolvePaths(options: Options) error{ BadPath, BadName }!Paths {
    const shm = try os.Path.init(if (options.shm_path.len > 0)
        options.shm_path
    else
        directory_default);
    const is_directory = if (os.statPath(&shm)) |info| info.isDirectory() else |_| false;
    if (!options.ephemeral) {
        const data = try os.Path.init(if (options.path.len > 0) options.path else ".");
        return .{
            .lock = try data.join("LOCK"),
            .region = if (is_directory) null else shm,
            .region_directory = shm,
            .data_directory = data,
        };
    }
    if (!isEphemeralName(options.path)) return error.BadName;
    const region = if (!is_directory) shm else blk: {
        const user = os.effectiveUser();
        const name = try os.Path.format("aerostore-{d}-named-{s}", .{ user, options.path });
        break :blk try shm.join(name.slice());
    };
    var lock = region;
    try lock.append(".lock");
    return .{
        .lock = lock,
        .region = region,
        .region_directory = shm,
        .data_directory = null,
    };
}

fn isEphemeralName(name: []const u8) bool {
    if (name.len == 0 or name.len > ephemeral_name_max) return false;
    for (name) |byte| switch (byte) {
        'a'...'z', 'A'...'Z', '0'...'9', '.', '_', '-' => {},
        else => return false,
    };
    return true;
}

const testing = std.testing;

test "Paths: an ephemeral store stands in /dev/shm under its name, or where shmPath says" {
    if (!os.supported) return error.SkipZigTest;
    var detail: Detail = .{};
    const plain = try Paths.resolve(.{ .path = "radar-1", .ephemeral = true }, &detail);
    try testing.expect(std.mem.startsWith(u8, plain.region.?.slice(), "/dev/shm/aerostore-"));
    try testing.expect(std.mem.endsWith(u8, plain.lock.slice(), "-named-radar-1.lock"));
    const file = try Paths.resolve(.{
        .path = "radar-1",
        .ephemeral = true,
        .shm_path = "/dev/shm/no/such.aero",
    }, &detail);
    try testing.expectEqualStrings("/dev/shm/no/such.aero.lock", file.lock.slice());
    for ([_][]const u8{ "", "../x", "a/b", "a b" }) |bad| {
        const options: Options = .{ .path = bad, .ephemeral = true };
        try testing.expectError(error.BadArgument, Paths.resolve(options, &detail));
    }
}
