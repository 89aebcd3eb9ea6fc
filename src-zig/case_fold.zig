//! The lower-case letters of Unicode. Written by `scripts/case_fold_gen.ts`; do not edit.
//!
//! The mapping is JavaScript's `toLowerCase` of one code point, which ignores the letter's
//! surroundings; U+0130 gives its first code point only.

const std = @import("std");

/// Every `stride`-th code point from `first` to `last` becomes itself plus `delta`.
pub const Range = struct { first: u21, last: u21, stride: u2, delta: i32 };

/// The code point in lower case, or itself. Takes any number, also those past U+10FFFF that stand
/// for bytes that are not UTF-8.
pub fn lower(code: u21) u21 {
    if (code < 0x80) {
        return if (code >= 'A' and code <= 'Z') code + ('a' - 'A') else code;
    }
    var low: usize = 0;
    var high: usize = ranges.len;
    while (low < high) {
        const middle = (low + high) / 2;
        if (ranges[middle].last < code) low = middle + 1 else high = middle;
    }
    if (low == ranges.len) return code;
    const range = ranges[low];
    if (code < range.first or (code - range.first) % range.stride != 0) return code;
    return @intCast(@as(i32, code) + range.delta);
}

/// Ascending, none overlapping another.
pub const ranges = [_]Range{
    .{ .first = 0x00c0, .last = 0x00d6, .stride = 1, .delta = 32 },
    .{ .first = 0x00d8, .last = 0x00de, .stride = 1, .delta = 32 },
    .{ .first = 0x0100, .last = 0x012e, .stride = 2, .delta = 1 },
    .{ .first = 0x0130, .last = 0x0130, .stride = 1, .delta = -199 },
    .{ .first = 0x0132, .last = 0x0136, .stride = 2, .delta = 1 },
    .{ .first = 0x0139, .last = 0x0147, .stride = 2, .delta = 1 },
    .{ .first = 0x014a, .last = 0x0176, .stride = 2, .delta = 1 },
    .{ .first = 0x0178, .last = 0x0178, .stride = 1, .delta = -121 },
    .{ .first = 0x0179, .last = 0x017d, .stride = 2, .delta = 1 },
    .{ .first = 0x0181, .last = 0x0181, .stride = 1, .delta = 210 },
    .{ .first = 0x0182, .last = 0x0184, .stride = 2, .delta = 1 },
    .{ .first = 0x0186, .last = 0x0186, .stride = 1, .delta = 206 },
    .{ .first = 0x0187, .last = 0x0187, .stride = 1, .delta = 1 },
    .{ .first = 0x0189, .last = 0x018a, .stride = 1, .delta = 205 },
    .{ .first = 0x018b, .last = 0x018b, .stride = 1, .delta = 1 },
    .{ .first = 0x018e, .last = 0x018e, .stride = 1, .delta = 79 },
    .{ .first = 0x018f, .last = 0x018f, .stride = 1, .delta = 202 },
    .{ .first = 0x0190, .last = 0x0190, .stride = 1, .delta = 203 },
    .{ .first = 0x0191, .last = 0x0191, .stride = 1, .delta = 1 },
    .{ .first = 0x0193, .last = 0x0193, .stride = 1, .delta = 205 },
    .{ .first = 0x0194, .last = 0x0194, .stride = 1, .delta = 207 },
    .{ .first = 0x0196, .last = 0x0196, .stride = 1, .delta = 211 },
    .{ .first = 0x0197, .last = 0x0197, .stride = 1, .delta = 209 },
    .{ .first = 0x0198, .last = 0x0198, .stride = 1, .delta = 1 },
    .{ .first = 0x019c, .last = 0x019c, .stride = 1, .delta = 211 },
    .{ .first = 0x019d, .last = 0x019d, .stride = 1, .delta = 213 },
    .{ .first = 0x019f, .last = 0x019f, .stride = 1, .delta = 214 },
    .{ .first = 0x01a0, .last = 0x01a4, .stride = 2, .delta = 1 },
    .{ .first = 0x01a6, .last = 0x01a6, .stride = 1, .delta = 218 },
    .{ .first = 0x01a7, .last = 0x01a7, .stride = 1, .delta = 1 },
    .{ .first = 0x01a9, .last = 0x01a9, .stride = 1, .delta = 218 },
    .{ .first = 0x01ac, .last = 0x01ac, .stride = 1, .delta = 1 },
    .{ .first = 0x01ae, .last = 0x01ae, .stride = 1, .delta = 218 },
    .{ .first = 0x01af, .last = 0x01af, .stride = 1, .delta = 1 },
    .{ .first = 0x01b1, .last = 0x01b2, .stride = 1, .delta = 217 },
    .{ .first = 0x01b3, .last = 0x01b5, .stride = 2, .delta = 1 },
    .{ .first = 0x01b7, .last = 0x01b7, .stride = 1, .delta = 219 },
    .{ .first = 0x01b8, .last = 0x01b8, .stride = 1, .delta = 1 },
    .{ .first = 0x01bc, .last = 0x01bc, .stride = 1, .delta = 1 },
    .{ .first = 0x01c4, .last = 0x01c4, .stride = 1, .delta = 2 },
    .{ .first = 0x01c5, .last = 0x01c5, .stride = 1, .delta = 1 },
    .{ .first = 0x01c7, .last = 0x01c7, .stride = 1, .delta = 2 },
    .{ .first = 0x01c8, .last = 0x01c8, .stride = 1, .delta = 1 },
    .{ .first = 0x01ca, .last = 0x01ca, .stride = 1, .delta = 2 },
    .{ .first = 0x01cb, .last = 0x01db, .stride = 2, .delta = 1 },
    .{ .first = 0x01de, .last = 0x01ee, .stride = 2, .delta = 1 },
    .{ .first = 0x01f1, .last = 0x01f1, .stride = 1, .delta = 2 },
    .{ .first = 0x01f2, .last = 0x01f4, .stride = 2, .delta = 1 },
    .{ .first = 0x01f6, .last = 0x01f6, .stride = 1, .delta = -97 },
    .{ .first = 0x01f7, .last = 0x01f7, .stride = 1, .delta = -56 },
    .{ .first = 0x01f8, .last = 0x021e, .stride = 2, .delta = 1 },
    .{ .first = 0x0220, .last = 0x0220, .stride = 1, .delta = -130 },
    .{ .first = 0x0222, .last = 0x0232, .stride = 2, .delta = 1 },
    .{ .first = 0x023a, .last = 0x023a, .stride = 1, .delta = 10795 },
    .{ .first = 0x023b, .last = 0x023b, .stride = 1, .delta = 1 },
    .{ .first = 0x023d, .last = 0x023d, .stride = 1, .delta = -163 },
    .{ .first = 0x023e, .last = 0x023e, .stride = 1, .delta = 10792 },
    .{ .first = 0x0241, .last = 0x0241, .stride = 1, .delta = 1 },
    .{ .first = 0x0243, .last = 0x0243, .stride = 1, .delta = -195 },
    .{ .first = 0x0244, .last = 0x0244, .stride = 1, .delta = 69 },
    .{ .first = 0x0245, .last = 0x0245, .stride = 1, .delta = 71 },
    .{ .first = 0x0246, .last = 0x024e, .stride = 2, .delta = 1 },
    .{ .first = 0x0370, .last = 0x0372, .stride = 2, .delta = 1 },
    .{ .first = 0x0376, .last = 0x0376, .stride = 1, .delta = 1 },
    .{ .first = 0x037f, .last = 0x037f, .stride = 1, .delta = 116 },
    .{ .first = 0x0386, .last = 0x0386, .stride = 1, .delta = 38 },
    .{ .first = 0x0388, .last = 0x038a, .stride = 1, .delta = 37 },
    .{ .first = 0x038c, .last = 0x038c, .stride = 1, .delta = 64 },
    .{ .first = 0x038e, .last = 0x038f, .stride = 1, .delta = 63 },
    .{ .first = 0x0391, .last = 0x03a1, .stride = 1, .delta = 32 },
    .{ .first = 0x03a3, .last = 0x03ab, .stride = 1, .delta = 32 },
    .{ .first = 0x03cf, .last = 0x03cf, .stride = 1, .delta = 8 },
    .{ .first = 0x03d8, .last = 0x03ee, .stride = 2, .delta = 1 },
    .{ .first = 0x03f4, .last = 0x03f4, .stride = 1, .delta = -60 },
    .{ .first = 0x03f7, .last = 0x03f7, .stride = 1, .delta = 1 },
    .{ .first = 0x03f9, .last = 0x03f9, .stride = 1, .delta = -7 },
    .{ .first = 0x03fa, .last = 0x03fa, .stride = 1, .delta = 1 },
    .{ .first = 0x03fd, .last = 0x03ff, .stride = 1, .delta = -130 },
    .{ .first = 0x0400, .last = 0x040f, .stride = 1, .delta = 80 },
    .{ .first = 0x0410, .last = 0x042f, .stride = 1, .delta = 32 },
    .{ .first = 0x0460, .last = 0x0480, .stride = 2, .delta = 1 },
    .{ .first = 0x048a, .last = 0x04be, .stride = 2, .delta = 1 },
    .{ .first = 0x04c0, .last = 0x04c0, .stride = 1, .delta = 15 },
    .{ .first = 0x04c1, .last = 0x04cd, .stride = 2, .delta = 1 },
    .{ .first = 0x04d0, .last = 0x052e, .stride = 2, .delta = 1 },
    .{ .first = 0x0531, .last = 0x0556, .stride = 1, .delta = 48 },
    .{ .first = 0x10a0, .last = 0x10c5, .stride = 1, .delta = 7264 },
    .{ .first = 0x10c7, .last = 0x10c7, .stride = 1, .delta = 7264 },
    .{ .first = 0x10cd, .last = 0x10cd, .stride = 1, .delta = 7264 },
    .{ .first = 0x13a0, .last = 0x13ef, .stride = 1, .delta = 38864 },
    .{ .first = 0x13f0, .last = 0x13f5, .stride = 1, .delta = 8 },
    .{ .first = 0x1c89, .last = 0x1c89, .stride = 1, .delta = 1 },
    .{ .first = 0x1c90, .last = 0x1cba, .stride = 1, .delta = -3008 },
    .{ .first = 0x1cbd, .last = 0x1cbf, .stride = 1, .delta = -3008 },
    .{ .first = 0x1e00, .last = 0x1e94, .stride = 2, .delta = 1 },
    .{ .first = 0x1e9e, .last = 0x1e9e, .stride = 1, .delta = -7615 },
    .{ .first = 0x1ea0, .last = 0x1efe, .stride = 2, .delta = 1 },
    .{ .first = 0x1f08, .last = 0x1f0f, .stride = 1, .delta = -8 },
    .{ .first = 0x1f18, .last = 0x1f1d, .stride = 1, .delta = -8 },
    .{ .first = 0x1f28, .last = 0x1f2f, .stride = 1, .delta = -8 },
    .{ .first = 0x1f38, .last = 0x1f3f, .stride = 1, .delta = -8 },
    .{ .first = 0x1f48, .last = 0x1f4d, .stride = 1, .delta = -8 },
    .{ .first = 0x1f59, .last = 0x1f5f, .stride = 2, .delta = -8 },
    .{ .first = 0x1f68, .last = 0x1f6f, .stride = 1, .delta = -8 },
    .{ .first = 0x1f88, .last = 0x1f8f, .stride = 1, .delta = -8 },
    .{ .first = 0x1f98, .last = 0x1f9f, .stride = 1, .delta = -8 },
    .{ .first = 0x1fa8, .last = 0x1faf, .stride = 1, .delta = -8 },
    .{ .first = 0x1fb8, .last = 0x1fb9, .stride = 1, .delta = -8 },
    .{ .first = 0x1fba, .last = 0x1fbb, .stride = 1, .delta = -74 },
    .{ .first = 0x1fbc, .last = 0x1fbc, .stride = 1, .delta = -9 },
    .{ .first = 0x1fc8, .last = 0x1fcb, .stride = 1, .delta = -86 },
    .{ .first = 0x1fcc, .last = 0x1fcc, .stride = 1, .delta = -9 },
    .{ .first = 0x1fd8, .last = 0x1fd9, .stride = 1, .delta = -8 },
    .{ .first = 0x1fda, .last = 0x1fdb, .stride = 1, .delta = -100 },
    .{ .first = 0x1fe8, .last = 0x1fe9, .stride = 1, .delta = -8 },
    .{ .first = 0x1fea, .last = 0x1feb, .stride = 1, .delta = -112 },
    .{ .first = 0x1fec, .last = 0x1fec, .stride = 1, .delta = -7 },
    .{ .first = 0x1ff8, .last = 0x1ff9, .stride = 1, .delta = -128 },
    .{ .first = 0x1ffa, .last = 0x1ffb, .stride = 1, .delta = -126 },
    .{ .first = 0x1ffc, .last = 0x1ffc, .stride = 1, .delta = -9 },
    .{ .first = 0x2126, .last = 0x2126, .stride = 1, .delta = -7517 },
    .{ .first = 0x212a, .last = 0x212a, .stride = 1, .delta = -8383 },
    .{ .first = 0x212b, .last = 0x212b, .stride = 1, .delta = -8262 },
    .{ .first = 0x2132, .last = 0x2132, .stride = 1, .delta = 28 },
    .{ .first = 0x2160, .last = 0x216f, .stride = 1, .delta = 16 },
    .{ .first = 0x2183, .last = 0x2183, .stride = 1, .delta = 1 },
    .{ .first = 0x24b6, .last = 0x24cf, .stride = 1, .delta = 26 },
    .{ .first = 0x2c00, .last = 0x2c2f, .stride = 1, .delta = 48 },
    .{ .first = 0x2c60, .last = 0x2c60, .stride = 1, .delta = 1 },
    .{ .first = 0x2c62, .last = 0x2c62, .stride = 1, .delta = -10743 },
    .{ .first = 0x2c63, .last = 0x2c63, .stride = 1, .delta = -3814 },
    .{ .first = 0x2c64, .last = 0x2c64, .stride = 1, .delta = -10727 },
    .{ .first = 0x2c67, .last = 0x2c6b, .stride = 2, .delta = 1 },
    .{ .first = 0x2c6d, .last = 0x2c6d, .stride = 1, .delta = -10780 },
    .{ .first = 0x2c6e, .last = 0x2c6e, .stride = 1, .delta = -10749 },
    .{ .first = 0x2c6f, .last = 0x2c6f, .stride = 1, .delta = -10783 },
    .{ .first = 0x2c70, .last = 0x2c70, .stride = 1, .delta = -10782 },
    .{ .first = 0x2c72, .last = 0x2c72, .stride = 1, .delta = 1 },
    .{ .first = 0x2c75, .last = 0x2c75, .stride = 1, .delta = 1 },
    .{ .first = 0x2c7e, .last = 0x2c7f, .stride = 1, .delta = -10815 },
    .{ .first = 0x2c80, .last = 0x2ce2, .stride = 2, .delta = 1 },
    .{ .first = 0x2ceb, .last = 0x2ced, .stride = 2, .delta = 1 },
    .{ .first = 0x2cf2, .last = 0x2cf2, .stride = 1, .delta = 1 },
    .{ .first = 0xa640, .last = 0xa66c, .stride = 2, .delta = 1 },
    .{ .first = 0xa680, .last = 0xa69a, .stride = 2, .delta = 1 },
    .{ .first = 0xa722, .last = 0xa72e, .stride = 2, .delta = 1 },
    .{ .first = 0xa732, .last = 0xa76e, .stride = 2, .delta = 1 },
    .{ .first = 0xa779, .last = 0xa77b, .stride = 2, .delta = 1 },
    .{ .first = 0xa77d, .last = 0xa77d, .stride = 1, .delta = -35332 },
    .{ .first = 0xa77e, .last = 0xa786, .stride = 2, .delta = 1 },
    .{ .first = 0xa78b, .last = 0xa78b, .stride = 1, .delta = 1 },
    .{ .first = 0xa78d, .last = 0xa78d, .stride = 1, .delta = -42280 },
    .{ .first = 0xa790, .last = 0xa792, .stride = 2, .delta = 1 },
    .{ .first = 0xa796, .last = 0xa7a8, .stride = 2, .delta = 1 },
    .{ .first = 0xa7aa, .last = 0xa7aa, .stride = 1, .delta = -42308 },
    .{ .first = 0xa7ab, .last = 0xa7ab, .stride = 1, .delta = -42319 },
    .{ .first = 0xa7ac, .last = 0xa7ac, .stride = 1, .delta = -42315 },
    .{ .first = 0xa7ad, .last = 0xa7ad, .stride = 1, .delta = -42305 },
    .{ .first = 0xa7ae, .last = 0xa7ae, .stride = 1, .delta = -42308 },
    .{ .first = 0xa7b0, .last = 0xa7b0, .stride = 1, .delta = -42258 },
    .{ .first = 0xa7b1, .last = 0xa7b1, .stride = 1, .delta = -42282 },
    .{ .first = 0xa7b2, .last = 0xa7b2, .stride = 1, .delta = -42261 },
    .{ .first = 0xa7b3, .last = 0xa7b3, .stride = 1, .delta = 928 },
    .{ .first = 0xa7b4, .last = 0xa7c2, .stride = 2, .delta = 1 },
    .{ .first = 0xa7c4, .last = 0xa7c4, .stride = 1, .delta = -48 },
    .{ .first = 0xa7c5, .last = 0xa7c5, .stride = 1, .delta = -42307 },
    .{ .first = 0xa7c6, .last = 0xa7c6, .stride = 1, .delta = -35384 },
    .{ .first = 0xa7c7, .last = 0xa7c9, .stride = 2, .delta = 1 },
    .{ .first = 0xa7cb, .last = 0xa7cb, .stride = 1, .delta = -42343 },
    .{ .first = 0xa7cc, .last = 0xa7da, .stride = 2, .delta = 1 },
    .{ .first = 0xa7dc, .last = 0xa7dc, .stride = 1, .delta = -42561 },
    .{ .first = 0xa7f5, .last = 0xa7f5, .stride = 1, .delta = 1 },
    .{ .first = 0xff21, .last = 0xff3a, .stride = 1, .delta = 32 },
    .{ .first = 0x10400, .last = 0x10427, .stride = 1, .delta = 40 },
    .{ .first = 0x104b0, .last = 0x104d3, .stride = 1, .delta = 40 },
    .{ .first = 0x10570, .last = 0x1057a, .stride = 1, .delta = 39 },
    .{ .first = 0x1057c, .last = 0x1058a, .stride = 1, .delta = 39 },
    .{ .first = 0x1058c, .last = 0x10592, .stride = 1, .delta = 39 },
    .{ .first = 0x10594, .last = 0x10595, .stride = 1, .delta = 39 },
    .{ .first = 0x10c80, .last = 0x10cb2, .stride = 1, .delta = 64 },
    .{ .first = 0x10d50, .last = 0x10d65, .stride = 1, .delta = 32 },
    .{ .first = 0x118a0, .last = 0x118bf, .stride = 1, .delta = 32 },
    .{ .first = 0x16e40, .last = 0x16e5f, .stride = 1, .delta = 32 },
    .{ .first = 0x16ea0, .last = 0x16eb8, .stride = 1, .delta = 27 },
    .{ .first = 0x1e900, .last = 0x1e921, .stride = 1, .delta = 34 },
};

test "lower: letters of several scripts, and what has no lower case" {
    const pairs = [_][2]u21{
        .{ 'A', 'a' },       .{ 'z', 'z' },         .{ '[', '[' },
        .{ 0xc4, 0xe4 },     .{ 0xd7, 0xd7 },       .{ 0x130, 'i' },
        .{ 0x3a3, 0x3c3 },   .{ 0x416, 0x436 },     .{ 0x100, 0x101 },
        .{ 0x101, 0x101 },   .{ 0x1e9e, 0xdf },     .{ 0x212a, 'k' },
        .{ 0x4e2d, 0x4e2d }, .{ 0x10400, 0x10428 }, .{ 0x1100ff, 0x1100ff },
    };
    for (pairs) |pair| try std.testing.expectEqual(pair[1], lower(pair[0]));
}

test "lower: a letter in lower case stays as it is" {
    for (0..0x110000) |code| {
        const once = lower(@intCast(code));
        try std.testing.expectEqual(once, lower(once));
    }
}

test "ranges: ascend and do not overlap" {
    for (ranges[0 .. ranges.len - 1], ranges[1..]) |range, following| {
        try std.testing.expect(range.first <= range.last and range.last < following.first);
    }
}
