//! A file of the log through a window: frames at an offset, and where there is anything at all.

const std = @import("std");
const file_layer = @import("file_layer.zig");
const log_frame = @import("log_frame.zig");
const segment = @import("log_segment.zig");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const Files = file_layer.Files;
const Handle = file_layer.Handle;

pub const Error = file_layer.Error || Allocator.Error;

/// Bytes that are read at a time, if the file has as many.
const chunk_size = 256 * 1024;

pub const Window = struct {
    gpa: Allocator,
    files: Files,
    file: ?Handle = null,
    /// Bytes of the file that may be looked at.
    size: u64 = 0,
    buffer: []u8 = &.{},
    /// The buffer holds `len` bytes from this offset on.
    start: u64 = 0,
    len: usize = 0,

    pub fn deinit(window: *Window) void {
        if (window.file) |file| window.files.close(file);
        window.gpa.free(window.buffer);
        window.* = undefined;
    }

    /// Turns to the first `size` bytes of a segment, or to fewer if the file is shorter.
    pub fn open(window: *Window, number: u32, size: u64) Error!void {
        if (window.file) |file| window.files.close(file);
        window.file = null;
        const name = segment.Name.of(number);
        const file = try window.files.open(name.slice(), .read);
        window.file = file;
        window.size = @min(size, try window.files.size(file));
        window.len = 0;
    }

    /// Looks at the first `size` bytes of the segment from now on.
    pub fn limit(window: *Window, size: u64) void {
        window.size = size;
    }

    /// The frame at `offset`, or null if there is none with a right checksum. Its body is valid
    /// until the next call.
    pub fn frameAt(window: *Window, offset: u64, seed: u32) Error!?log_frame.Frame {
        const front = try window.bytes(offset, log_frame.header_size);
        const length = log_frame.lengthOf(front) orelse return null;
        if (!log_frame.isPlausible(front)) return null;
        return log_frame.parse(try window.bytes(offset, length), seed);
    }

    /// The offset of the first eight bytes from `offset` on, a multiple of 8, that are not all
    /// zero; null if there are none.
    pub fn nextUsed(window: *Window, offset: u64) Error!?u64 {
        assert(offset % 8 == 0);
        var at = offset;
        while (true) {
            const left = try window.bytes(at, 1);
            if (left.len == 0) return null;
            const ahead = window.buffer[@intCast(at - window.start)..window.len];
            const used = firstUsed(ahead) orelse {
                at += ahead.len;
                continue;
            };
            return at + std.mem.alignBackward(u64, used, 8);
        }
    }

    /// `size` bytes at `offset`, or fewer at the end.
    fn bytes(window: *Window, offset: u64, size: usize) Error![]const u8 {
        if (offset >= window.size) return &.{};
        const wanted: usize = @intCast(@min(size, window.size - offset));
        const inside = offset >= window.start and
            offset + wanted <= window.start + window.len;
        if (!inside) try window.fill(offset, wanted);
        const at: usize = @intCast(offset - window.start);
        // A file that has become shorter since it was opened gives less.
        return window.buffer[at..@min(at + wanted, window.len)];
    }

    fn fill(window: *Window, offset: u64, wanted: usize) Error!void {
        window.len = 0;
        const size = @max(wanted, @min(chunk_size, window.size - offset));
        if (window.buffer.len < size) {
            window.gpa.free(window.buffer);
            window.buffer = &.{};
            window.buffer = try window.gpa.alloc(u8, @intCast(size));
        }
        window.start = offset;
        const room = @min(window.buffer.len, window.size - offset);
        const file = window.file.?;
        window.len = try window.files.readAt(file, window.buffer[0..@intCast(room)], offset);
    }
};

/// The index of the first byte that is not zero. In strides, because the rest of a segment is
/// long.
fn firstUsed(bytes: []const u8) ?usize {
    const Stride = @Vector(64, u8);
    const size = @sizeOf(Stride);
    var at: usize = 0;
    while (at + size <= bytes.len) : (at += size) {
        const stride: Stride = bytes[at..][0..size].*;
        if (@reduce(.Or, stride) != 0) break;
    }
    for (bytes[at..], at..) |byte, i| if (byte != 0) return i;
    return null;
}

test "firstUsed: finds the one byte, wherever it is" {
    var bytes: [300]u8 = @splat(0);
    try std.testing.expectEqual(null, firstUsed(&bytes));
    for (0..bytes.len) |i| {
        bytes[i] = 1;
        defer bytes[i] = 0;
        try std.testing.expectEqual(i, firstUsed(&bytes));
        try std.testing.expectEqual(null, firstUsed(bytes[0..i]));
    }
}
