//! A disk for tests: files in memory that are lost, torn, refused and damaged as real ones are.
//!
//! The disk keeps two contents of each file: what the running system sees, and what a power cut is
//! sure to leave, which follows at `sync`. Blocks and names that were changed in between may be on
//! the disk or not, each on its own: `crash` draws one of the possible images.
//!
//! A block that was being written may come back torn, or with sectors of garbage, even if the bytes
//! before had been synced: so whoever promises bytes must leave their block alone. In files of the
//! log the disk also asserts that no byte is written again once it was synced.
//!
//! Used from several threads it behaves as one disk would.

const std = @import("std");
const file_layer = @import("file_layer.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const Error = file_layer.Error;
const Files = file_layer.Files;
const Handle = file_layer.Handle;

pub const block_size = 4096;
pub const sector_size = 512;

/// What a call does that is meant to fail.
pub const Call = enum {
    open,
    read,
    write,
    reserve,
    cut,
    sync,
    sync_directory,
    rename,
    unlink,
    list,
};

pub const Fault = struct {
    call: Call,
    /// Calls of this kind that still work.
    after: u32 = 0,
    err: Error = error.IoError,
    /// Only one call fails, else all from then on.
    once: bool = false,
    /// Of a write: bytes that are written although it fails.
    written: usize = 0,
    /// Only calls for files that have this in their names; null: all. Calls for the directory as a
    /// whole have no name.
    name: ?[]const u8 = null,
    /// The call does all that it should and fails nevertheless, as one may whose answer is lost.
    done: bool = false,
};

/// How much of what was not synced a crash leaves.
pub const CrashOptions = struct {
    /// Chance in percent of an unsynced block to be on the disk as a whole.
    kept_percent: u8 = 50,
    /// Chance in percent of an unsynced block to be there in part.
    torn_percent: u8 = 20,
    /// Chance in percent of an unsynced change of a name to be there.
    name_percent: u8 = 50,
};

const Node = struct {
    seen: std.ArrayList(u8) = .empty,
    synced: std.ArrayList(u8) = .empty,
    /// Bit i: block i was written since the last sync.
    unsynced: std.DynamicBitSetUnmanaged = .{},
    /// Behind the last byte of all writes of something other than zeros, and of those of them
    /// that were synced.
    used_end: usize = 0,
    synced_end: usize = 0,
    is_log: bool,

    fn deinit(node: *Node, gpa: Allocator) void {
        node.seen.deinit(gpa);
        node.synced.deinit(gpa);
        node.unsynced.deinit(gpa);
    }

    /// True if the blocks that a write touches hold nothing: the header of a segment may follow
    /// what stands behind it.
    fn isBlank(node: *const Node, offset: usize, size: usize) bool {
        const first = offset / block_size * block_size;
        const end = @min(blockCount(offset + size) * block_size, node.seen.items.len);
        return std.mem.allEqual(u8, node.seen.items[first..end], 0);
    }

    fn grow(node: *Node, gpa: Allocator, size: usize) !void {
        if (size <= node.seen.items.len) return;
        try node.seen.appendNTimes(gpa, 0, size - node.seen.items.len);
        try node.unsynced.resize(gpa, blockCount(size), false);
    }
};

const Names = std.StringArrayHashMapUnmanaged(usize);

/// A change of the directory that is not synced. The names are owned by the disk's arena.
const NameChange = union(enum) {
    set: struct { name: []const u8, node: usize },
    move: struct { from: []const u8, to: []const u8, node: usize },
    remove: []const u8,
};

pub const MemoryDisk = struct {
    gpa: Allocator,
    arena: std.heap.ArenaAllocator,
    mutex: ProcessMutex = .{},
    nodes: std.ArrayList(Node) = .empty,
    names: Names = .empty,
    names_synced: Names = .empty,
    name_changes: std.ArrayList(NameChange) = .empty,
    /// By handle; null once closed.
    open_files: std.ArrayList(?struct { node: usize, writable: bool }) = .empty,
    fault: ?Fault = null,
    /// A file of which nothing behind the first block can be read.
    unreadable: ?[]const u8 = null,
    /// Bytes that fit on the disk.
    capacity: u64 = 1 << 40,
    calls: std.EnumArray(Call, u32) = .initFill(0),
    bytes_written: u64 = 0,

    pub fn init(gpa: Allocator) MemoryDisk {
        return .{ .gpa = gpa, .arena = .init(gpa) };
    }

    pub fn deinit(disk: *MemoryDisk) void {
        const gpa = disk.gpa;
        for (disk.nodes.items) |*node| node.deinit(gpa);
        disk.nodes.deinit(gpa);
        disk.names.deinit(gpa);
        disk.names_synced.deinit(gpa);
        disk.name_changes.deinit(gpa);
        disk.open_files.deinit(gpa);
        disk.arena.deinit();
        disk.* = undefined;
    }

    /// Refers to `disk`, which must stay where it is.
    pub fn files(disk: *MemoryDisk) Files {
        return .{ .context = disk, .vtable = &vtable };
    }

    /// The disk as it may be found after a power cut at this moment. The caller owns it; this disk
    /// goes on unchanged.
    pub fn crash(disk: *MemoryDisk, random: std.Random, options: CrashOptions) !MemoryDisk {
        disk.mutex.lock();
        defer disk.mutex.unlock();
        var image: MemoryDisk = .init(disk.gpa);
        errdefer image.deinit();
        for (disk.names_synced.keys(), disk.names_synced.values()) |name, node| {
            try image.names.put(disk.gpa, try image.own(name), node);
        }
        for (disk.name_changes.items) |name_change| {
            if (random.uintLessThan(u8, 100) >= options.name_percent) continue;
            try image.change(name_change);
        }
        for (disk.nodes.items) |*node| {
            try image.nodes.append(disk.gpa, try disk.crashNode(node, random, options));
        }
        try image.forgetChanges();
        image.unreadable = disk.unreadable;
        return image;
    }

    fn crashNode(
        disk: *MemoryDisk,
        node: *const Node,
        random: std.Random,
        options: CrashOptions,
    ) !Node {
        const gpa = disk.gpa;
        var left: Node = .{ .is_log = node.is_log };
        errdefer left.deinit(gpa);
        const resized = node.seen.items.len != node.synced.items.len;
        const size = if (resized and random.uintLessThan(u8, 100) < options.kept_percent)
            node.seen.items.len
        else
            node.synced.items.len;
        try left.grow(gpa, size);
        const kept = node.synced.items[0..@min(size, node.synced.items.len)];
        @memcpy(left.seen.items[0..kept.len], kept);
        var dirty = node.unsynced.iterator(.{});
        while (dirty.next()) |block| {
            const start = block * block_size;
            const end = @min(start + block_size, size, node.seen.items.len);
            if (start >= end) break;
            const new = node.seen.items[start..end];
            const draw = random.uintLessThan(u8, 100);
            if (draw < options.kept_percent) {
                @memcpy(left.seen.items[start..end], new);
            } else if (draw < options.kept_percent + options.torn_percent) {
                tear(random, left.seen.items[start..end], new);
            }
        }
        try left.synced.appendSlice(gpa, left.seen.items);
        const last_used = std.mem.lastIndexOfNone(u8, left.seen.items, &.{0});
        left.synced_end = if (last_used) |at| at + 1 else 0;
        left.used_end = left.synced_end;
        return left;
    }

    /// Changes one bit of a file, on the disk and in what the system sees.
    pub fn flipBit(disk: *MemoryDisk, name: []const u8, bit: usize) void {
        const node = &disk.nodes.items[disk.names.get(name).?];
        const mask = @as(u8, 1) << @intCast(bit % 8);
        node.seen.items[bit / 8] ^= mask;
        if (bit / 8 < node.synced.items.len) node.synced.items[bit / 8] ^= mask;
    }

    /// The bytes of a file, which the caller may change.
    pub fn contents(disk: *MemoryDisk, name: []const u8) ?[]u8 {
        return disk.nodes.items[disk.names.get(name) orelse return null].seen.items;
    }

    /// Removes what is behind the first `size` bytes of a file.
    pub fn truncate(disk: *MemoryDisk, name: []const u8, size: usize) void {
        const node = &disk.nodes.items[disk.names.get(name).?];
        node.seen.shrinkRetainingCapacity(size);
        node.synced.shrinkRetainingCapacity(@min(size, node.synced.items.len));
    }

    /// Makes `to` a file of its own with the bytes of `from`.
    pub fn duplicate(disk: *MemoryDisk, from: []const u8, to: []const u8) !void {
        const source = disk.names.get(from).?;
        var copy: Node = .{ .is_log = disk.nodes.items[source].is_log };
        try copy.grow(disk.gpa, disk.nodes.items[source].seen.items.len);
        @memcpy(copy.seen.items, disk.nodes.items[source].seen.items);
        try copy.synced.appendSlice(disk.gpa, copy.seen.items);
        try disk.nodes.append(disk.gpa, copy);
        try disk.names.put(disk.gpa, try disk.own(to), disk.nodes.items.len - 1);
        try disk.forgetChanges();
    }

    /// Bytes of all files that have a name.
    pub fn used(disk: *const MemoryDisk) u64 {
        var bytes: u64 = 0;
        for (disk.names.values()) |node| bytes += disk.nodes.items[node].seen.items.len;
        return bytes;
    }

    /// How many calls of this kind there were.
    pub fn callCount(disk: *const MemoryDisk, call: Call) u32 {
        return disk.calls.get(call);
    }

    const vtable: Files.VTable = .{
        .open = open,
        .close = close,
        .size = sizeOf,
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

    fn enter(context: *anyopaque) *MemoryDisk {
        const disk: *MemoryDisk = @ptrCast(@alignCast(context));
        disk.mutex.lock();
        return disk;
    }

    /// Counts a call, and returns the fault that it meets.
    fn meet(disk: *MemoryDisk, call: Call, name: []const u8) ?Fault {
        disk.calls.getPtr(call).* += 1;
        const fault = if (disk.fault) |*fault| fault else return null;
        if (fault.call != call) return null;
        if (fault.name) |part| if (std.mem.indexOf(u8, name, part) == null) return null;
        if (fault.after > 0) {
            fault.after -= 1;
            return null;
        }
        const met = fault.*;
        if (fault.once) disk.fault = null;
        return met;
    }

    fn nameOf(disk: *const MemoryDisk, file: Handle) []const u8 {
        const node = disk.open_files.items[@intCast(file)].?.node;
        for (disk.names.keys(), disk.names.values()) |name, other| if (other == node) return name;
        return "";
    }

    fn open(context: *anyopaque, name: []const u8, mode: file_layer.Mode) Error!Handle {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const fault = disk.meet(.open, name);
        if (fault) |met| if (!met.done) return met.err;
        const file = try disk.openNow(name, mode);
        if (fault) |met| return met.err;
        return file;
    }

    fn openNow(disk: *MemoryDisk, name: []const u8, mode: file_layer.Mode) Error!Handle {
        const found = disk.names.get(name);
        if (mode == .create_exclusive) {
            if (found != null) return error.Exists;
            disk.create(name) catch return error.IoError;
        }
        const node = disk.names.get(name) orelse return error.NotExist;
        disk.open_files.append(disk.gpa, .{ .node = node, .writable = mode != .read }) catch
            return error.IoError;
        return @intCast(disk.open_files.items.len - 1);
    }

    fn create(disk: *MemoryDisk, name: []const u8) !void {
        try disk.nodes.append(disk.gpa, .{ .is_log = std.mem.endsWith(u8, name, ".wal") });
        try disk.record(.{ .set = .{
            .name = try disk.own(name),
            .node = disk.nodes.items.len - 1,
        } });
    }

    fn close(context: *anyopaque, file: Handle) void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        assert(disk.open_files.items[@intCast(file)] != null);
        disk.open_files.items[@intCast(file)] = null;
    }

    fn nodeOf(disk: *MemoryDisk, file: Handle) *Node {
        return &disk.nodes.items[disk.open_files.items[@intCast(file)].?.node];
    }

    fn isUnreadable(disk: *MemoryDisk, file: Handle) bool {
        const name = disk.unreadable orelse return false;
        return disk.names.get(name) == disk.open_files.items[@intCast(file)].?.node;
    }

    fn sizeOf(context: *anyopaque, file: Handle) Error!u64 {
        const disk = enter(context);
        defer disk.mutex.unlock();
        return disk.nodeOf(file).seen.items.len;
    }

    fn readAt(context: *anyopaque, file: Handle, buffer: []u8, offset: u64) Error!usize {
        const disk = enter(context);
        defer disk.mutex.unlock();
        if (disk.meet(.read, disk.nameOf(file))) |met| return met.err;
        if (offset + buffer.len > block_size and disk.isUnreadable(file)) return error.IoError;
        const bytes = disk.nodeOf(file).seen.items;
        if (offset >= bytes.len) return 0;
        const at: usize = @intCast(offset);
        const size = @min(buffer.len, bytes.len - at);
        @memcpy(buffer[0..size], bytes[at..][0..size]);
        return size;
    }

    fn writeAt(context: *anyopaque, file: Handle, bytes: []const u8, offset: u64) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        if (!disk.open_files.items[@intCast(file)].?.writable) return error.IoError;
        const fault = disk.meet(.write, disk.nameOf(file));
        const written = if (fault) |met| if (met.done) bytes.len else met.written else bytes.len;
        try disk.put(file, bytes[0..@min(written, bytes.len)], @intCast(offset));
        if (fault) |met| return met.err;
    }

    fn put(disk: *MemoryDisk, file: Handle, bytes: []const u8, offset: usize) Error!void {
        if (bytes.len == 0) return;
        const node = disk.nodeOf(file);
        try disk.claim(node, offset + bytes.len);
        assert(!node.is_log or offset >= node.synced_end or node.isBlank(offset, bytes.len));
        @memcpy(node.seen.items[offset..][0..bytes.len], bytes);
        disk.bytes_written += bytes.len;
        for (offset / block_size..blockCount(offset + bytes.len)) |block| node.unsynced.set(block);
        if (!std.mem.allEqual(u8, bytes, 0)) {
            node.used_end = @max(node.used_end, offset + bytes.len);
        }
    }

    /// Makes a file at least `size` bytes long, if the disk has room.
    fn claim(disk: *MemoryDisk, node: *Node, size: usize) Error!void {
        if (size <= node.seen.items.len) return;
        if (disk.used() + (size - node.seen.items.len) > disk.capacity) return error.NoSpace;
        const start = node.seen.items.len / block_size;
        node.grow(disk.gpa, size) catch return error.IoError;
        for (start..blockCount(size)) |block| node.unsynced.set(block);
    }

    fn reserve(context: *anyopaque, file: Handle, bytes: u64) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const fault = disk.meet(.reserve, disk.nameOf(file));
        if (fault) |met| if (!met.done) return met.err;
        try disk.claim(disk.nodeOf(file), @intCast(bytes));
        if (fault) |met| return met.err;
    }

    fn cut(context: *anyopaque, file: Handle, bytes: u64) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const fault = disk.meet(.cut, disk.nameOf(file));
        if (fault) |met| if (!met.done) return met.err;
        const node = disk.nodeOf(file);
        assert(!node.is_log and bytes <= node.seen.items.len);
        node.seen.shrinkRetainingCapacity(@intCast(bytes));
        node.used_end = @min(node.used_end, node.seen.items.len);
        if (fault) |met| return met.err;
    }

    fn sync(context: *anyopaque, file: Handle) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const node = disk.nodeOf(file);
        // As kernels do: after an error the pages count as clean, and the next sync is content.
        defer node.unsynced.unsetAll();
        const fault = disk.meet(.sync, disk.nameOf(file));
        if (fault) |met| if (!met.done) return met.err;
        const size = node.seen.items.len;
        node.synced.shrinkRetainingCapacity(@min(size, node.synced.items.len));
        const before = node.synced.items.len;
        node.synced.appendNTimes(disk.gpa, 0, size - before) catch return error.IoError;
        var dirty = node.unsynced.iterator(.{});
        while (dirty.next()) |block| {
            const start = block * block_size;
            if (start >= size) break;
            const end = @min(start + block_size, size);
            @memcpy(node.synced.items[start..end], node.seen.items[start..end]);
        }
        node.synced_end = node.used_end;
        if (fault) |met| return met.err;
    }

    fn syncDirectory(context: *anyopaque) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const fault = disk.meet(.sync_directory, "");
        if (fault) |met| if (!met.done) return met.err;
        disk.forgetChanges() catch return error.IoError;
        if (fault) |met| return met.err;
    }

    fn rename(context: *anyopaque, from: []const u8, to: []const u8) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const fault = disk.meet(.rename, from);
        if (fault) |met| if (!met.done) return met.err;
        const node = disk.names.get(from) orelse return error.NotExist;
        const old = disk.own(from) catch return error.IoError;
        const new = disk.own(to) catch return error.IoError;
        disk.record(.{ .move = .{ .from = old, .to = new, .node = node } }) catch
            return error.IoError;
        if (fault) |met| return met.err;
    }

    fn unlink(context: *anyopaque, name: []const u8) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        const fault = disk.meet(.unlink, name);
        if (fault) |met| if (!met.done) return met.err;
        if (!disk.names.contains(name)) return error.NotExist;
        const owned = disk.own(name) catch return error.IoError;
        disk.record(.{ .remove = owned }) catch return error.IoError;
        if (fault) |met| return met.err;
    }

    fn list(context: *anyopaque, visitor: Files.Visitor) Error!void {
        const disk = enter(context);
        defer disk.mutex.unlock();
        if (disk.meet(.list, "")) |met| return met.err;
        // Newest first, so that nobody relies on an order that directories do not have.
        var i = disk.names.count();
        while (i > 0) {
            i -= 1;
            visitor.visit(visitor.context, disk.names.keys()[i]);
        }
    }

    fn record(disk: *MemoryDisk, name_change: NameChange) !void {
        try disk.change(name_change);
        try disk.name_changes.append(disk.gpa, name_change);
    }

    fn change(disk: *MemoryDisk, name_change: NameChange) !void {
        switch (name_change) {
            .set => |set| try disk.names.put(disk.gpa, try disk.own(set.name), set.node),
            .move => |move| {
                _ = disk.names.orderedRemove(move.from);
                try disk.names.put(disk.gpa, try disk.own(move.to), move.node);
            },
            .remove => |name| _ = disk.names.orderedRemove(name),
        }
    }

    fn forgetChanges(disk: *MemoryDisk) !void {
        disk.name_changes.clearRetainingCapacity();
        disk.names_synced.clearRetainingCapacity();
        for (disk.names.keys(), disk.names.values()) |name, node| {
            try disk.names_synced.put(disk.gpa, name, node);
        }
    }

    fn own(disk: *MemoryDisk, name: []const u8) ![]const u8 {
        return disk.arena.allocator().dupe(u8, name);
    }
};

/// Leaves in `old` what a write of `new` may leave that was cut off: some sectors as they were,
/// some as they should be, of some the first bytes, and some that are neither.
fn tear(random: std.Random, old: []u8, new: []const u8) void {
    var at: usize = 0;
    while (at < new.len) : (at += sector_size) {
        const size = @min(sector_size, new.len - at);
        const draw = random.uintLessThan(u8, 20);
        const kept = if (draw < 8) 0 else if (draw < 16) size else random.uintAtMost(usize, size);
        @memcpy(old[at..][0..kept], new[at..][0..kept]);
        if (draw == 19) random.bytes(old[at..][0..size]);
    }
}

fn blockCount(size: usize) usize {
    return std.math.divCeil(usize, size, block_size) catch unreachable;
}

const testing = std.testing;

test "MemoryDisk.crash: what was synced is there, the rest may be there" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    const files = disk.files();
    const file = try files.open("a", .create_exclusive);
    try files.writeAt(file, &@as([block_size]u8, @splat(1)), 0);
    try files.sync(file);
    try files.syncDirectory();
    try files.writeAt(file, &@as([3 * block_size]u8, @splat(2)), block_size);
    _ = try files.open("b", .create_exclusive);

    var prng: std.Random.DefaultPrng = .init(1);
    var sizes: [2]u32 = @splat(0);
    var later: [2]u32 = @splat(0);
    var named: u32 = 0;
    for (0..100) |_| {
        var image = try disk.crash(prng.random(), .{});
        defer image.deinit();
        const bytes = image.contents("a").?;
        try testing.expect(std.mem.allEqual(u8, bytes[0..block_size], 1));
        sizes[@intFromBool(bytes.len == 4 * block_size)] += 1;
        named += @intFromBool(image.contents("b") != null);
        if (bytes.len == block_size) continue;
        try testing.expectEqual(4 * block_size, bytes.len);
        for (bytes[block_size..]) |byte| later[@intFromBool(byte == 2)] += 1;
    }
    try testing.expect(sizes[0] > 20 and sizes[1] > 20);
    try testing.expect(later[0] > 1000 and later[1] > 1000);
    try testing.expect(named > 20 and named < 80);
}

test "MemoryDisk: a sync that failed leaves nothing to sync" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    const files = disk.files();
    const file = try files.open("a", .create_exclusive);
    try files.writeAt(file, "hello", 0);
    disk.fault = .{ .call = .sync, .once = true };
    try testing.expectError(error.IoError, files.sync(file));
    try files.sync(file);
    try files.syncDirectory();
    var prng: std.Random.DefaultPrng = .init(1);
    var image = try disk.crash(prng.random(), .{ .kept_percent = 0, .torn_percent = 0 });
    defer image.deinit();
    try testing.expect(std.mem.allEqual(u8, image.contents("a").?, 0));
}

test "MemoryDisk: a rename that was not synced is there as a whole or not at all" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    const files = disk.files();
    for ([_][]const u8{ "new", "old" }) |name| {
        const file = try files.open(name, .create_exclusive);
        try files.writeAt(file, name, 0);
        try files.sync(file);
    }
    try files.syncDirectory();
    try files.rename("new", "old");
    var prng: std.Random.DefaultPrng = .init(1);
    var done: u32 = 0;
    for (0..50) |_| {
        var image = try disk.crash(prng.random(), .{});
        defer image.deinit();
        const renamed = image.contents("new") == null;
        done += @intFromBool(renamed);
        const expected = if (renamed) "new" else "old";
        try testing.expectEqualStrings(expected, image.contents("old").?);
    }
    try testing.expect(done > 10 and done < 40);
}

test "MemoryDisk: a full disk and faults answer as asked" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    disk.capacity = 10_000;
    const files = disk.files();
    const file = try files.open("a", .create_exclusive);
    try testing.expectError(error.NoSpace, files.reserve(file, 10_001));
    try files.reserve(file, 10_000);
    disk.fault = .{ .call = .write, .after = 1, .written = 2 };
    try files.writeAt(file, "abcd", 0);
    try testing.expectError(error.IoError, files.writeAt(file, "efgh", 4));
    try testing.expectEqualStrings("abcdef\x00", disk.contents("a").?[0..7]);
    try testing.expectEqual(2, disk.callCount(.write));
}
