/**
 * Prints `src-zig/case_fold.zig`: the lower-case letter of every Unicode letter, as ranges.
 *
 * The rule is JavaScript's: `String.fromCodePoint(c).toLowerCase()`. One letter, U+0130, becomes
 * two; its table entry is the first of them, as in Unicode's simple mapping.
 *
 * Run it with a runtime whose Unicode version is the one wanted, and commit the result:
 *
 *     bun scripts/case_fold_gen.ts > src-zig/case_fold.zig
 */

type Range = { first: number; last: number; stride: number; delta: number };

const ranges: Range[] = [];
for (let code = 0x80; code <= 0x10ffff; code++) {
  if (code >= 0xd800 && code <= 0xdfff) continue;
  const lower = String.fromCodePoint(code).toLowerCase().codePointAt(0) ?? code;
  if (lower === code) continue;

  const delta = lower - code;
  const range = ranges.at(-1);
  const step = range === undefined ? 0 : code - range.last;
  if (range !== undefined && range.delta === delta && (step === 1 || step === 2)) {
    const single = range.first === range.last;
    if (single || range.stride === step) {
      range.last = code;
      range.stride = step;
      continue;
    }
  }
  ranges.push({ first: code, last: code, stride: 1, delta });
}

const hex = (code: number) => `0x${code.toString(16).padStart(4, "0")}`;
const lines = ranges.map((range) => {
  const ends = `.first = ${hex(range.first)}, .last = ${hex(range.last)}`;
  return `    .{ ${ends}, .stride = ${range.stride}, .delta = ${range.delta} },`;
});

console.log(
  `//! The lower-case letters of Unicode. Written by \`scripts/case_fold_gen.ts\`; do not edit.
//!
//! The mapping is JavaScript's \`toLowerCase\` of one code point, which ignores the letter's
//! surroundings; U+0130 gives its first code point only.

const std = @import("std");

/// Every \`stride\`-th code point from \`first\` to \`last\` becomes itself plus \`delta\`.
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
${lines.join("\n")}
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
}`,
);
