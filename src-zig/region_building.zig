//! A region in the making.
//!
//! It is made in a file of another name and renamed when it is complete, so nobody ever sees half
//! of one, and a creator that is killed leaves only debris that the next one removes. All of it
//! happens under INIT (see `lock_file.zig`).

const std = @import("std");
const sync = @import("sync");
const cold_recovery = @import("cold_recovery.zig");
const file_layer = @import("file_layer.zig");
const lock_file = @import("lock_file.zig");
const os = @import("os.zig");
const region_file = @import("region_file.zig");
const region_loader = @import("region_loader.zig");
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
const RegionFile = region_file.RegionFile;
const gpa = region_file.gpa;
const osError = lock_file.osError;

const checkpoint_secs_default = 300;

/// Makes the region that `file.path` names from the files of the directory, or an empty one, and
/// opens it. `reason` is what was wrong with the one that is there, if there is one.
pub fn build(
    file: *RegionFile,
    store_uuid: [16]u8,
    paths: *const Paths,
    options: Options,
    reason: ?Reason,
    detail: *Detail,
) Error!void {
    const boot_id = os.bootId() catch |err|
        return osError(err, "read the boot id for", &file.path, detail);
    const identity: region_module.Identity = .{ .store_uuid = store_uuid, .boot_id = boot_id };
    const directory = paths.data_directory orelse
        return create(file, identity, options.size_max, null, reason, detail);
    var native: file_layer.NativeFiles = .init(&directory);
    const started = sync.nowNs();
    var plan = try cold_recovery.examine(native.files(), gpa, .{
        .store_uuid = store_uuid,
        .salvage = options.salvage,
        .progress = options.progress,
        .worker_count = region_loader.workerCount(),
    }, detail);
    defer plan.deinit();
    try create(file, identity, options.size_max, &plan, reason, detail);
    if (file.recovery) |*report| report.ns = sync.nowNs() -% started;
}

/// Makes a region under another name, fills it with what `plan` has found, and names it.
fn create(
    file: *RegionFile,
    identity: region_module.Identity,
    size_max: u64,
    plan: ?*cold_recovery.Plan,
    reason: ?Reason,
    detail: *Detail,
) Error!void {
    const config = region_module.Config.forSize(size_max);
    const layout = region_module.layout(config) catch return tooSmall(size_max, detail);
    const temporary = try temporaryPath(&file.path, identity.store_uuid);
    os.unlink(&temporary) catch |err| if (err != error.NotExist)
        return osError(err, "remove", &temporary, detail);

    file.fd = os.open(&temporary, .exclusive) catch |err|
        return osError(err, "create", &temporary, detail);
    errdefer os.close(file.fd);
    errdefer os.unlink(&temporary) catch {};
    try file.map(config.size_max, detail);
    errdefer os.unmap(file.mapping);
    const reserved = @min(
        config.size_max,
        std.mem.alignForward(u64, layout.fixed_size, os.huge_page_size),
    );
    file.reserve(0, reserved) catch |err|
        return osError(err, "reserve memory for", &temporary, detail);

    const header_identity = if (plan) |it| it.identity(identity.boot_id) else identity;
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
    try setAside(file, reason, detail);
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

fn tooSmall(size_max: u64, detail: *Detail) Error {
    detail.set("{d} bytes are too few for a region", .{size_max});
    return error.BadArgument;
}
