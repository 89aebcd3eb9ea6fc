//! Segments: the files that the log is made of, their names, and their headers.
//!
//! A segment is `aerostore-<number>.wal`. It is filled with zeros and synced before it is used,
//! because writing into blocks that exist costs a third less per sync than appending and does not
//! feel the neighbours of the disk. It begins with a header of 4096 bytes; frames follow
//! (`log_frame.zig`). `LOG.md` shows every byte.
//!
//! Invariants:
//!
//!   * a number is given to one file only, as long as any process lives that might remove it: the
//!     region remembers the highest one that was written. One that is taken is never taken over
//!   * a header is written once, with the first frames of its segment, or after those that a new
//!     leader has copied; until then it is zero, and the segment holds nothing
//!   * the header stands there twice, so that one damaged sector does not hide a segment
//!   * all logged positions below `start_position` and up to `previous_position` are in segments
//!     before this one, in the order of `Header.isBefore`, not in the order of numbers: a leader
//!     that was stopped may begin another segment after its successor has begun one

const std = @import("std");
const crc32c = @import("crc32c.zig");
const file_layer = @import("file_layer.zig");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const Files = file_layer.Files;
const Handle = file_layer.Handle;

/// Who has written a segment: a leader of a region.
pub const Generation = struct {
    incarnation: u64,
    leader_epoch: u64,

    pub fn isBefore(a: Generation, b: Generation) bool {
        if (a.incarnation != b.incarnation) return a.incarnation < b.incarnation;
        return a.leader_epoch < b.leader_epoch;
    }
};

/// Also what a sync may tear: a block that holds a synced byte is never written again.
pub const block_size = 4096;
/// Bytes before the first frame.
pub const header_area = block_size;
/// Smaller ones are for tests.
pub const size_min = 4 * block_size;
pub const size_first = 1024 * 1024;
pub const size_max = 64 * 1024 * 1024;
/// What a header may claim. Larger than `size_max`, so that later versions can use larger ones.
const size_limit = 1 << 40;

const magic_expected: u64 = std.mem.readInt(u64, "AEROWAL1", .little);
pub const format_current: u32 = 1;
const second_copy = 2048;

pub const Uuid = [16]u8;

/// Where bytes of the log stand: the number of a segment, and bytes from its start.
pub const Place = struct { number: u32 = 0, offset: u64 = 0 };

pub const Header = extern struct {
    magic: u64 = magic_expected,
    format: u32 = format_current,
    /// As in the name of the file.
    number: u32,
    store_uuid: Uuid,
    /// Counts the regions that were built from this log.
    incarnation: u64,
    /// Counts the leaders of one incarnation.
    leader_epoch: u64,
    /// Bytes in the file; a multiple of `block_size`.
    size: u64,
    /// No frame in this segment commits a position below it, and no earlier segment has a say
    /// about positions from it on.
    start_position: u64,
    /// The last logged position before `start_position`.
    previous_position: u64,
    /// As in a frame.
    durable_hint: u64,
    /// 1 if the segment begins within a transaction: parts of it are in the segment before.
    continues: u32 = 0,
    reserved: [36]u8 = @splat(0),
    /// CRC-32C of the bytes before it.
    checksum: u32 = 0,
    reserved_end: u32 = 0,

    comptime {
        assert(@sizeOf(Header) == 128);
        assert(second_copy + @sizeOf(Header) <= header_area);
    }

    /// The order in which segments make one log.
    pub fn isBefore(a: *const Header, b: *const Header) bool {
        if (a.generation().isBefore(b.generation())) return true;
        if (b.generation().isBefore(a.generation())) return false;
        return a.number < b.number;
    }

    pub fn generation(header: *const Header) Generation {
        return .{ .incarnation = header.incarnation, .leader_epoch = header.leader_epoch };
    }

    /// The whole header area.
    pub fn encode(header: *const Header) [header_area]u8 {
        assert(header.previous_position < header.start_position);
        assert(header.durable_hint <= header.previous_position);
        var copy = header.*;
        copy.checksum = copy.sum();
        var area: [header_area]u8 = @splat(0);
        @memcpy(area[0..@sizeOf(Header)], std.mem.asBytes(&copy));
        @memcpy(area[second_copy..][0..@sizeOf(Header)], std.mem.asBytes(&copy));
        return area;
    }

    fn sum(header: *const Header) u32 {
        return crc32c.update(0, std.mem.asBytes(header)[0..@offsetOf(Header, "checksum")]);
    }

    /// True if the bytes are as they were written by some version of this code.
    fn isIntact(header: *const Header) bool {
        return header.magic == magic_expected and header.checksum == header.sum();
    }

    fn isSound(header: *const Header) bool {
        return header.size % block_size == 0 and header.size >= 2 * block_size and
            header.size <= size_limit and header.previous_position < header.start_position and
            header.durable_hint <= header.previous_position;
    }
};

/// What stands in a header area.
pub const Found = union(enum) {
    header: Header,
    /// Only zeros: a spare, or a header that a power cut kept from the disk.
    blank,
    /// Neither copy can be read.
    damaged,
    /// A header of another store, of another format, or of a file that had another name.
    foreign: Foreign,

    pub const Foreign = enum { store, format, name };
};

/// Reads the header area of a segment that has the number `number` in its name.
pub fn decode(area: *const [header_area]u8, number: u32, store_uuid: *const Uuid) Found {
    if (std.mem.allEqual(u8, area, 0)) return .blank;
    for ([_]usize{ 0, second_copy }) |offset| {
        const header = std.mem.bytesToValue(Header, area[offset..][0..@sizeOf(Header)]);
        if (!header.isIntact()) continue;
        if (header.format != format_current) return .{ .foreign = .format };
        if (!std.mem.eql(u8, &header.store_uuid, store_uuid)) return .{ .foreign = .store };
        if (header.number != number) return .{ .foreign = .name };
        if (!header.isSound()) continue;
        return .{ .header = header };
    }
    return .damaged;
}

/// Reads the header of an open segment. A file shorter than a header area is damaged.
pub fn readHeader(
    files: Files,
    file: Handle,
    number: u32,
    store_uuid: *const Uuid,
) file_layer.Error!Found {
    var area: [header_area]u8 = undefined;
    const size = try files.readAt(file, &area, 0);
    if (size == 0) return .blank;
    if (size < area.len) return .damaged;
    return decode(&area, number, store_uuid);
}

const name_prefix = "aerostore-";
const name_suffix = ".wal";

/// The name of a file, in memory of its own.
pub const Name = struct {
    buffer: [name_prefix.len + 10 + name_suffix.len]u8,
    len: u8,

    pub fn of(number: u32) Name {
        var name: Name = .{ .buffer = undefined, .len = 0 };
        const text = std.fmt.bufPrint(&name.buffer, name_prefix ++ "{d:0>8}" ++ name_suffix, .{
            number,
        }) catch unreachable;
        name.len = @intCast(text.len);
        return name;
    }

    pub fn slice(name: *const Name) []const u8 {
        return name.buffer[0..name.len];
    }
};

/// The number of the segment that has this name, or null for any other file.
pub fn numberOf(name: []const u8) ?u32 {
    if (!std.mem.startsWith(u8, name, name_prefix)) return null;
    if (!std.mem.endsWith(u8, name, name_suffix)) return null;
    if (name.len < name_prefix.len + name_suffix.len) return null;
    const digits = name[name_prefix.len .. name.len - name_suffix.len];
    for (digits) |digit| if (!std.ascii.isDigit(digit)) return null;
    const number = std.fmt.parseInt(u32, digits, 10) catch return null;
    // One number has one name, or a copy named 7 instead of 00000007 would be a second segment 7.
    return if (std.mem.eql(u8, Name.of(number).slice(), name)) number else null;
}

/// The numbers of all segments in the directory, spares included, in ascending order. The caller
/// frees them.
pub fn numbers(files: Files, gpa: Allocator) (file_layer.Error || Allocator.Error)![]u32 {
    const Collector = struct {
        gpa: Allocator,
        found: std.ArrayList(u32) = .empty,
        failed: bool = false,

        fn visit(collector: *@This(), name: []const u8) void {
            const number = numberOf(name) orelse return;
            collector.found.append(collector.gpa, number) catch {
                collector.failed = true;
            };
        }
    };
    var collector: Collector = .{ .gpa = gpa };
    defer collector.found.deinit(gpa);
    try files.each(&collector, Collector.visit);
    if (collector.failed) return error.OutOfMemory;
    std.mem.sort(u32, collector.found.items, {}, std.sort.asc(u32));
    return collector.found.toOwnedSlice(gpa);
}

const testing = std.testing;

fn testHeader() Header {
    return .{
        .number = 7,
        .store_uuid = @splat(3),
        .incarnation = 2,
        .leader_epoch = 5,
        .size = size_first,
        .start_position = 1000,
        .previous_position = 990,
        .durable_hint = 980,
    };
}

test "decode: reads either copy of what encode wrote" {
    const header = testHeader();
    const good = header.encode();
    for ([_]?usize{ null, 20, second_copy + 20 }) |damaged_at| {
        var area = good;
        if (damaged_at) |offset| area[offset] ^= 1;
        const found = decode(&area, 7, &header.store_uuid).header;
        try testing.expectEqual(header.start_position, found.start_position);
        try testing.expectEqual(header.size, found.size);
    }
}

test "decode: tells spares, damage and what belongs elsewhere apart" {
    const header = testHeader();
    const uuid = header.store_uuid;
    var area = header.encode();
    try testing.expectEqual(Found.Foreign.name, decode(&area, 8, &uuid).foreign);
    try testing.expectEqual(Found.Foreign.store, decode(&area, 7, &@splat(4)).foreign);
    area[5] ^= 1;
    area[second_copy + 5] ^= 1;
    try testing.expectEqual(Found.damaged, decode(&area, 7, &uuid));
    try testing.expectEqual(Found.blank, decode(&@splat(0), 7, &uuid));

    var later = header;
    later.format = 2;
    try testing.expectEqual(Found.Foreign.format, decode(&later.encode(), 7, &uuid).foreign);
}

test "Header.isBefore: a new leader comes after its predecessor, whatever the numbers are" {
    var old = testHeader();
    var new = testHeader();
    old.number = 9;
    new.leader_epoch = 6;
    try testing.expect(old.isBefore(&new) and !new.isBefore(&old));
    old.incarnation = 3;
    try testing.expect(new.isBefore(&old));
}

test "numberOf: is the reverse of Name.of, and null for everything else" {
    for ([_]u32{ 0, 1, 99_999_999, 100_000_000, std.math.maxInt(u32) }) |number| {
        try testing.expectEqual(number, numberOf(Name.of(number).slice()));
    }
    try testing.expectEqualStrings("aerostore-00000012.wal", Name.of(12).slice());
    const others = [_][]const u8{
        "aerostore-12.wal",       "aerostore-.wal",        "aerostore-000000012.wal",
        "aerostore-0000001a.wal", "aerostore-00000012.wa", "aerostore-99999999999.wal",
        "LOCK",                   "aerostore-.wa",         "aerostore-+0000012.wal",
    };
    for (others) |name| try testing.expectEqual(null, numberOf(name));
}
