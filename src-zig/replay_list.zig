//! Records of the log on their way from who reads them to who applies them.
//!
//! Copies, one behind the other, so that the memory they were read into can be used again. Whoever
//! goes through a list knows which rows come next, and asks memory for them ahead of their time:
//! the bucket of a key, then the node there, then its version. In a large map each is a cache miss,
//! and here these of many rows overlap.

const std = @import("std");
const sync = @import("sync");
const log_row = @import("log_row.zig");
const pk_map = @import("pk_map.zig");
const version_module = @import("version.zig");
const Position = version_module.Position;
const Region = @import("region.zig").Region;

/// What stands before the key and the rest of a record.
const Header = extern struct {
    position: Position,
    hash: u64,
    rest_size: u32,
    key_size: u16,
    table: u8,
    operation: u8,

    fn size(header: *const Header) usize {
        const bytes = @sizeOf(Header) + @as(usize, header.key_size) + header.rest_size;
        return std.mem.alignForward(usize, bytes, @alignOf(Header));
    }
};

/// One record.
pub const Entry = struct {
    position: Position,
    hash: u64,
    table: u8,
    operation: log_row.Operation,
    key: []const u8,
    rest: []const u8,

    /// As `log_row.outline` gave it.
    pub fn outline(entry: *const Entry, tables: log_row.Tables) log_row.Outline {
        return .{
            .table = tables[entry.table].?,
            .operation = entry.operation,
            .key = entry.key,
            .rest = entry.rest,
            .size = 0,
        };
    }
};

pub const List = struct {
    bytes: std.ArrayListAligned(u8, .of(Header)) = .empty,

    pub fn deinit(list: *List, gpa: std.mem.Allocator) void {
        list.bytes.deinit(gpa);
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(list: *List) void {
        list.bytes.clearRetainingCapacity();
    }

    /// Copies a record to the end.
    pub fn add(
        list: *List,
        gpa: std.mem.Allocator,
        position: Position,
        hash: u64,
        front: *const log_row.Outline,
    ) error{OutOfMemory}!void {
        const header: Header = .{
            .position = position,
            .hash = hash,
            .rest_size = @intCast(front.rest.len),
            .key_size = @intCast(front.key.len),
            .table = @intCast(front.table.id),
            .operation = @intFromEnum(front.operation),
        };
        const out = try list.bytes.addManyAsSlice(gpa, header.size());
        @memcpy(out[0..@sizeOf(Header)], std.mem.asBytes(&header));
        @memcpy(out[@sizeOf(Header)..][0..front.key.len], front.key);
        @memcpy(out[@sizeOf(Header) + front.key.len ..][0..front.rest.len], front.rest);
    }

    /// Goes through the records, whose rows stand in `region`.
    pub fn iterator(list: *const List, region: *const Region) Iterator {
        var made: Iterator = .{ .region = region, .bytes = list.bytes.items };
        for (0..distance) |_| {
            made.prefetch(.bucket);
            if (made.ahead_count > distance / 3) made.prefetch(.node);
            if (made.ahead_count > distance * 2 / 3) made.prefetch(.version);
            made.ahead_count += 1;
        }
        return made;
    }
};

/// How many records ahead of the one that is applied.
const distance = if (sync.sim) 0 else 24;

pub const Iterator = struct {
    region: *const Region,
    bytes: []align(@alignOf(Header)) const u8,
    at: usize = 0,
    ahead: [3]usize = @splat(0),
    ahead_count: usize = 0,

    const What = enum(u2) { bucket = 0, node = 1, version = 2 };

    /// The next record. It stays as long as the list does.
    pub fn next(iterator: *Iterator) ?Entry {
        if (distance > 0) inline for (.{ .bucket, .node, .version }) |what| {
            iterator.prefetch(what);
        };
        if (iterator.at == iterator.bytes.len) return null;
        const header = iterator.headerAt(iterator.at);
        const body = iterator.bytes[iterator.at + @sizeOf(Header) ..];
        iterator.at += header.size();
        return .{
            .position = header.position,
            .hash = header.hash,
            .table = header.table,
            .operation = @enumFromInt(header.operation),
            .key = body[0..header.key_size],
            .rest = body[header.key_size..][0..header.rest_size],
        };
    }

    inline fn prefetch(iterator: *Iterator, what: What) void {
        const at = &iterator.ahead[@intFromEnum(what)];
        if (at.* == iterator.bytes.len) return;
        const header = iterator.headerAt(at.*);
        at.* += header.size();
        const key: pk_map.Key = .{ .table = header.table, .cell = "", .hash = header.hash };
        switch (what) {
            .bucket => pk_map.Ahead.bucket(iterator.region, key),
            .node => pk_map.Ahead.node(iterator.region, key),
            .version => pk_map.Ahead.version(iterator.region, key),
        }
    }

    inline fn headerAt(iterator: *const Iterator, at: usize) *const Header {
        return @ptrCast(@alignCast(iterator.bytes[at..].ptr));
    }
};
