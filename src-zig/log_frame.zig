//! Frames: what the log is written and checked in. One frame is one transaction, or a part of a
//! large one, or a note of the log itself.
//!
//! A frame is a header of 40 bytes and a body, padded with zeros to a multiple of 8 and never
//! moved: its checksum is seeded with the store and the segment, so a frame counts only in the file
//! it was written to. `LOG.md` shows every byte.
//!
//! Invariants of the frames of one segment, in their order:
//!
//!   * `sequence` counts up by one, from 0, modulo 256
//!   * `previous` is the position of the last commit frame before it, over all segments
//!   * a commit frame has a position above `previous`; the frames of other kinds change nothing in
//!     this chain, and those that are not parts have `position == previous`
//!   * the parts of a transaction have its position and count up from 0 in `part`; the commit frame
//!     says how many there are, and without it they are nothing
//!   * frames stand one behind the other, except that a frame after a sync may start at the
//!     next block instead

const std = @import("std");
const crc32c = @import("crc32c.zig");
const assert = std.debug.assert;

pub const header_size = @sizeOf(Header);
/// Frames are cut into parts around this size.
pub const part_size = 1024 * 1024;
/// Bytes of the largest frame. A reader holds a whole frame in memory.
pub const size_max = 4 * 1024 * 1024;

pub const Kind = enum(u8) {
    /// A transaction, or its end. The body is rows.
    commit = 1,
    /// Rows of a transaction that is too large for one frame.
    part = 2,
    /// The tables and indexes as of `position`. The body is an image of the catalogue.
    catalogue = 3,
    /// Only a header: brings `durable_hint` to the disk while nothing else is written.
    mark = 4,
    /// The end of a segment whose writer went on in another one.
    rotation = 5,
    _,
};

pub const Header = extern struct {
    /// Bytes of the frame with this header and the padding; a multiple of 8.
    length: u32,
    /// CRC-32C, from the seed of the segment, of the length as eight bytes and of what follows the
    /// checksum.
    checksum: u32 = 0,
    /// The position that it commits or will commit, else `previous`.
    position: u64,
    previous: u64,
    /// The last logged position that the writer knew to be on the disk. Evidence: where the log
    /// ends below it, something was damaged that had been promised.
    durable_hint: u64,
    kind: Kind,
    sequence: u8,
    /// Of a part: its number. Of a commit: how many parts come before it.
    part: u16 = 0,
    /// Of a part: its rows. Of a commit: the rows of the whole transaction. Of a catalogue: the
    /// bytes of the image, without padding. Of a rotation: the number of the next segment.
    count: u32 = 0,

    comptime {
        assert(@sizeOf(Header) == 40);
    }
};

/// A frame whose checksum is right. The body is memory of whoever read it.
pub const Frame = struct {
    header: Header,
    /// With the padding.
    body: []const u8,

    /// The image of a catalogue frame; empty if the frame is shorter than it says.
    pub fn image(frame: *const Frame) []const u8 {
        assert(frame.header.kind == .catalogue);
        if (frame.header.count > frame.body.len) return &.{};
        return frame.body[0..frame.header.count];
    }
};

/// The seed of the checksums in one segment.
pub fn seedOf(store_uuid: *const [16]u8, number: u32) u32 {
    return crc32c.update(crc32c.update(0, store_uuid), std.mem.asBytes(&number));
}

/// Completes the frame in `bytes`, which has a header and a padded body, by its checksum.
pub fn finish(bytes: []u8, seed: u32) void {
    assert(bytes.len >= header_size and bytes.len <= size_max and bytes.len % 8 == 0);
    std.mem.writeInt(u32, bytes[0..4], @intCast(bytes.len), .little);
    std.mem.writeInt(u32, bytes[4..8], sumOf(bytes, seed), .little);
}

/// The frame at the start of `bytes`, or null if there is none with a right checksum.
pub fn parse(bytes: []const u8, seed: u32) ?Frame {
    const length = lengthOf(bytes) orelse return null;
    if (length > bytes.len) return null;
    const frame = bytes[0..length];
    const header = std.mem.bytesToValue(Header, frame[0..header_size]);
    if (header.checksum != sumOf(frame, seed)) return null;
    return .{ .header = header, .body = frame[header_size..] };
}

/// The length that a frame at the start of `bytes` would have, or null if there cannot be one.
/// Says how many bytes `parse` must be given.
pub fn lengthOf(bytes: []const u8) ?u32 {
    if (bytes.len < header_size) return null;
    const length = std.mem.readInt(u32, bytes[0..4], .little);
    if (length < header_size or length > size_max or length % 8 != 0) return null;
    return length;
}

/// False if a header at the start of `bytes`, which hold one, contradicts itself: spares the
/// checksum over what is no frame.
pub fn isPlausible(bytes: []const u8) bool {
    const header = std.mem.bytesToValue(Header, bytes[0..header_size]);
    const kind = @intFromEnum(header.kind);
    return kind >= @intFromEnum(Kind.commit) and kind <= @intFromEnum(Kind.rotation) and
        header.durable_hint <= header.previous and header.previous <= header.position;
}

fn sumOf(frame: []const u8, seed: u32) u32 {
    const length: u64 = std.mem.readInt(u32, frame[0..4], .little);
    return crc32c.update(crc32c.update(seed, std.mem.asBytes(&length)), frame[8..]);
}

const testing = std.testing;

fn testFrame(bytes: *[64]u8, seed: u32) void {
    bytes.* = @splat(0);
    const header: Header = .{
        .length = 64,
        .position = 12,
        .previous = 11,
        .durable_hint = 9,
        .kind = .commit,
        .sequence = 3,
        .count = 1,
    };
    @memcpy(bytes[0..header_size], std.mem.asBytes(&header));
    @memcpy(bytes[header_size..][0..5], "hello");
    finish(bytes, seed);
}

test "parse: gives back what finish completed" {
    const seed = seedOf(&@splat(1), 4);
    var bytes: [64]u8 = undefined;
    testFrame(&bytes, seed);
    const frame = parse(&bytes, seed).?;
    try testing.expectEqual(12, frame.header.position);
    try testing.expectEqual(Kind.commit, frame.header.kind);
    try testing.expectEqualStrings("hello", frame.body[0..5]);
    try testing.expectEqual(24, frame.body.len);
}

test "parse: no flipped bit goes unnoticed, and no cut" {
    const seed = seedOf(&@splat(1), 4);
    var good: [64]u8 = undefined;
    testFrame(&good, seed);
    for (0..good.len * 8) |bit| {
        var bytes = good;
        bytes[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        try testing.expectEqual(null, parse(&bytes, seed));
    }
    for (0..good.len) |size| try testing.expectEqual(null, parse(good[0..size], seed));
}

test "parse: a frame counts only in the segment and the store it was written to" {
    var bytes: [64]u8 = undefined;
    testFrame(&bytes, seedOf(&@splat(1), 4));
    try testing.expectEqual(null, parse(&bytes, seedOf(&@splat(1), 5)));
    try testing.expectEqual(null, parse(&bytes, seedOf(&@splat(2), 4)));
    try testing.expectEqual(null, parse(&@as([64]u8, @splat(0)), seedOf(&@splat(1), 4)));
}
