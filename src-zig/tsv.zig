//! Tab-separated text: lines out of chunks, fields out of lines, values out of fields.
//!
//! A line ends with \n or \r\n, or with the input. Fields are separated by single tabs; nothing
//! quotes a tab or a line end. Chunks may be cut anywhere, inside a line, a character or a \r\n:
//! the lines are the same.
//!
//! In Tcl style a field is an element of a Tcl list, as far as tabs allow: {braced} is verbatim,
//! "quoted" and bare fields have backslash escapes
//!
//!     \a \b \f \n \r \t \v   \ooo   \xhh   \uhhhh   \Uhhhhhhhh   \c for any other c
//!
//! which covers what speedtables writes with `-quote escape`. A field that begins like a braced or
//! quoted one but does not end like it is a bare one: speedtables does not protect those.

const std = @import("std");
const Allocator = std.mem.Allocator;
const assert = std.debug.assert;

/// Longer lines are not kept; `Line.is_overlong` reports them.
pub const line_size_max = 1 << 20;

pub const Line = struct {
    /// Without its end. Valid until the next line is asked for.
    bytes: []const u8,
    /// Counts from 1.
    number: u64,
    is_overlong: bool = false,
};

/// Cuts chunks into lines. Lines that lie in one chunk are not copied.
pub const Lines = struct {
    /// The start of a line whose end has not come yet.
    carry: std.ArrayList(u8) = .empty,
    /// `carry` was returned as a line and is to be emptied.
    carry_returned: bool = false,
    /// The current line has grown too long; its bytes are dropped.
    dropping: bool = false,
    chunk: []const u8 = "",
    at: usize = 0,
    is_last: bool = false,
    /// Lines returned so far.
    number: u64 = 0,

    pub fn deinit(lines: *Lines, gpa: Allocator) void {
        lines.carry.deinit(gpa);
    }

    /// Starts on the next chunk, which must stay until `next` has returned null.
    pub fn feed(lines: *Lines, chunk: []const u8, is_last: bool) void {
        assert(lines.at == lines.chunk.len and !lines.is_last);
        lines.chunk = chunk;
        lines.at = 0;
        lines.is_last = is_last;
    }

    /// The next line, or null if the chunk holds no more.
    pub fn next(lines: *Lines, gpa: Allocator) Allocator.Error!?Line {
        if (lines.carry_returned) {
            lines.carry_returned = false;
            lines.carry.clearRetainingCapacity();
        }
        const rest = lines.chunk[lines.at..];
        const end = findByte(rest, 0, '\n') orelse {
            lines.at = lines.chunk.len;
            try lines.keep(gpa, rest);
            const pending = lines.carry.items.len > 0 or lines.dropping;
            if (lines.is_last and pending) return lines.finish(lines.carry.items, true);
            return null;
        };
        lines.at += end + 1;
        if (lines.carry.items.len == 0 and !lines.dropping) {
            return lines.finish(rest[0..end], false);
        }
        try lines.keep(gpa, rest[0..end]);
        return lines.finish(lines.carry.items, true);
    }

    fn keep(lines: *Lines, gpa: Allocator, bytes: []const u8) Allocator.Error!void {
        if (lines.dropping) return;
        // One byte more, for the \r that does not count.
        if (lines.carry.items.len + bytes.len > line_size_max + 1) {
            lines.dropping = true;
            lines.carry.clearRetainingCapacity();
            return;
        }
        try lines.carry.appendSlice(gpa, bytes);
    }

    fn finish(lines: *Lines, bytes: []const u8, from_carry: bool) Line {
        lines.number += 1;
        lines.carry_returned = from_carry;
        var line: Line = .{ .bytes = bytes, .number = lines.number };
        if (bytes.len > 0 and bytes[bytes.len - 1] == '\r') line.bytes.len -= 1;
        if (line.bytes.len > line_size_max or lines.dropping) {
            line.is_overlong = true;
            line.bytes = "";
        }
        lines.dropping = false;
        return line;
    }
};

/// Cuts a line into fields. A line without tabs is one field.
pub const Fields = struct {
    line: []const u8,
    at: usize = 0,
    ended: bool = false,

    pub inline fn next(fields: *Fields) ?[]const u8 {
        if (fields.ended) return null;
        const start = fields.at;
        if (findByte(fields.line, start, '\t')) |end| {
            fields.at = end + 1;
            return fields.line[start..end];
        }
        fields.ended = true;
        return fields.line[start..];
    }
};

/// The index of the first `byte` at or behind `start`.
pub inline fn findByte(bytes: []const u8, start: usize, byte: u8) ?usize {
    const width = 16;
    const Vector = @Vector(width, u8);
    const wanted: Vector = @splat(byte);
    var at = start;
    while (at + width <= bytes.len) : (at += width) {
        const block: Vector = bytes[at..][0..width].*;
        const mask: u16 = @bitCast(block == wanted);
        if (mask != 0) return at + @ctz(mask);
    }
    if (bytes.len >= width) {
        // The last block once more, without what was looked at before.
        const last = bytes.len - width;
        const block: Vector = bytes[last..][0..width].*;
        var mask: u32 = @as(u16, @bitCast(block == wanted));
        mask >>= @intCast(at - last);
        return if (mask != 0) at + @ctz(mask) else null;
    }
    while (at < bytes.len) : (at += 1) {
        if (bytes[at] == byte) return at;
    }
    return null;
}

pub fn isAscii(bytes: []const u8) bool {
    const width = 16;
    const Vector = @Vector(width, u8);
    var bits: Vector = @splat(0);
    var at: usize = 0;
    while (at + width <= bytes.len) : (at += width) bits |= bytes[at..][0..width].*;
    var rest: u8 = @reduce(.Or, bits);
    for (bytes[at..]) |byte| rest |= byte;
    return rest < 0x80;
}

/// What \x and \ooo mean: a code point in text, a byte in bytes.
pub const Escapes = enum { text, bytes };

/// Whether the field means something else than its bytes in Tcl style.
pub fn needsDecoding(field: []const u8) bool {
    if (field.len == 0) return false;
    return field[0] == '{' or field[0] == '"' or findByte(field, 0, '\\') != null;
}

pub const DecodeError = error{InvalidEscape};

/// Decodes a field in Tcl style into `out`, which must be as long as the field: no escape becomes
/// longer. Returns the value, in `out` or a part of `field`.
///
/// Fails with `InvalidEscape` for an escape that names no Unicode character.
pub fn decodeTcl(field: []const u8, escapes: Escapes, out: []u8) DecodeError![]const u8 {
    assert(out.len >= field.len);
    if (isBraced(field)) return field[1 .. field.len - 1];
    var source = if (isQuoted(field)) field[1 .. field.len - 1] else field;
    var size: usize = 0;
    while (source.len > 0) {
        const escape = findByte(source, 0, '\\') orelse source.len;
        @memcpy(out[size..][0..escape], source[0..escape]);
        size += escape;
        source = source[escape..];
        if (source.len > 0) size += try decodeEscape(&source, escapes, out[size..]);
    }
    return out[0..size];
}

/// `{...}` whose first brace is closed by the last byte.
fn isBraced(field: []const u8) bool {
    if (field.len < 2 or field[0] != '{') return false;
    var depth: usize = 0;
    var at: usize = 0;
    while (at < field.len) : (at += 1) {
        switch (field[at]) {
            '\\' => at += 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if (depth == 0) return at == field.len - 1;
            },
            else => {},
        }
    }
    return false;
}

fn isQuoted(field: []const u8) bool {
    if (field.len < 2 or field[0] != '"') return false;
    var at: usize = 1;
    while (at < field.len) : (at += 1) {
        switch (field[at]) {
            '\\' => at += 1,
            '"' => return at == field.len - 1,
            else => {},
        }
    }
    return false;
}

/// Takes one escape from the start of `source`. Returns the bytes written.
fn decodeEscape(source: *[]const u8, escapes: Escapes, out: []u8) DecodeError!usize {
    const rest = source.*[1..];
    if (rest.len == 0) {
        source.* = rest;
        out[0] = '\\';
        return 1;
    }
    const limits: struct { base: u8, digits: usize, skip: usize } = switch (rest[0]) {
        '0'...'7' => .{ .base = 8, .digits = 3, .skip = 0 },
        'x' => .{ .base = 16, .digits = 2, .skip = 1 },
        'u' => .{ .base = 16, .digits = 4, .skip = 1 },
        'U' => .{ .base = 16, .digits = 8, .skip = 1 },
        else => |byte| {
            out[0] = controlCharacter(byte);
            source.* = rest[1..];
            return 1;
        },
    };
    var number: u32 = 0;
    var count: usize = 0;
    const digits = rest[limits.skip..];
    while (count < limits.digits and count < digits.len) : (count += 1) {
        const digit = std.fmt.charToDigit(digits[count], limits.base) catch break;
        number = number * limits.base + digit;
    }
    if (count == 0) {
        // \x without digits is an x, as in Tcl.
        out[0] = rest[0];
        source.* = rest[1..];
        return 1;
    }
    source.* = digits[count..];
    if (escapes == .bytes and rest[0] != 'u' and rest[0] != 'U') {
        out[0] = @truncate(number);
        return 1;
    }
    const code = std.math.cast(u21, number) orelse return error.InvalidEscape;
    return std.unicode.utf8Encode(code, out) catch error.InvalidEscape;
}

fn controlCharacter(letter: u8) u8 {
    return switch (letter) {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => 0x0b,
        else => letter,
    };
}

fn expectLines(chunks: []const []const u8, expected: []const []const u8) !void {
    const gpa = std.testing.allocator;
    var lines: Lines = .{};
    defer lines.deinit(gpa);
    var count: usize = 0;
    for (chunks, 0..) |chunk, i| {
        lines.feed(chunk, i == chunks.len - 1);
        while (try lines.next(gpa)) |line| {
            try std.testing.expectEqualStrings(expected[count], line.bytes);
            count += 1;
            try std.testing.expectEqual(count, line.number);
        }
    }
    try std.testing.expectEqual(expected.len, count);
}

test "Lines: the cut of the chunks does not matter" {
    const input = "one\r\ntwo\n\nfour\r\r\n\tfive";
    const expected = [_][]const u8{ "one", "two", "", "four\r", "\tfive" };
    for (0..input.len + 1) |a| {
        for (a..input.len + 1) |b| {
            try expectLines(&.{ input[0..a], input[a..b], input[b..] }, &expected);
        }
    }
    try expectLines(&.{""}, &.{});
    try expectLines(&.{"\n"}, &.{""});
    try expectLines(&.{ "a\r", "" }, &.{"a"});
}

test "Lines: a line beyond the limit is reported and dropped" {
    const gpa = std.testing.allocator;
    const input = try gpa.alloc(u8, 2 * line_size_max);
    defer gpa.free(input);
    @memset(input, 'x');
    input[line_size_max + 1] = '\n';
    input[line_size_max + 5] = '\n';
    for ([_]usize{ 0, 10, line_size_max + 1, input.len }) |cut| {
        var lines: Lines = .{};
        defer lines.deinit(gpa);
        var seen: [3]Line = undefined;
        var count: usize = 0;
        for ([_][]const u8{ input[0..cut], input[cut..] }, 0..) |chunk, i| {
            lines.feed(chunk, i == 1);
            while (try lines.next(gpa)) |line| : (count += 1) seen[count] = line;
        }
        try std.testing.expectEqual(3, count);
        try std.testing.expect(seen[0].is_overlong and !seen[1].is_overlong);
        try std.testing.expect(!seen[2].is_overlong);
    }
}

test "Fields: empty ones count" {
    const cases = [_]struct { []const u8, []const []const u8 }{
        .{ "", &.{""} },
        .{ "\t", &.{ "", "" } },
        .{ "a\tbc\t\td", &.{ "a", "bc", "", "d" } },
        .{ "a field of more than sixteen bytes\tand another one of them", &.{
            "a field of more than sixteen bytes", "and another one of them",
        } },
    };
    for (cases) |case| {
        var fields: Fields = .{ .line = case[0] };
        for (case[1]) |expected| try std.testing.expectEqualStrings(expected, fields.next().?);
        try std.testing.expectEqual(null, fields.next());
    }
}

test "findByte: finds the first at or behind the start" {
    var bytes: [50]u8 = @splat('.');
    for (0..50) |size| {
        for (0..size) |where| {
            bytes[where] = 'x';
            defer bytes[where] = '.';
            for (0..size + 1) |start| {
                const expected: ?usize = if (start <= where) where else null;
                try std.testing.expectEqual(expected, findByte(bytes[0..size], start, 'x'));
            }
        }
    }
}

test "decodeTcl: braces, quotes and escapes" {
    const cases = [_][2][]const u8{
        .{ "plain", "plain" },     .{ "{a \\n {b}}", "a \\n {b}" }, .{ "{}", "" },
        .{ "\"a\\tb\"", "a\tb" },  .{ "a\\tb\\\\", "a\tb\\" },      .{ "{a}b", "{a}b" },
        .{ "\"a\" b", "\"a\" b" },
        .{ "\\x41\\u20ac", "A€" },
        .{ "\\101\\0", "A\x00" },
        .{ "\\U0001F600z", "😀z" },
        .{ "\\q\\xg", "qxg" },     .{ "tail\\", "tail\\" },         .{ "{a\\}", "{a}" },
        .{ "\\xe9", "é" },
        .{ "\\351", "é" },
    };
    for (cases) |case| {
        var out: [32]u8 = undefined;
        try std.testing.expectEqualStrings(case[1], try decodeTcl(case[0], .text, &out));
    }
    var out: [32]u8 = undefined;
    try std.testing.expectEqualStrings("\xe9\xff", try decodeTcl("\\xe9\\377", .bytes, &out));
    try std.testing.expectError(error.InvalidEscape, decodeTcl("\\ud800", .text, &out));
    try std.testing.expectError(error.InvalidEscape, decodeTcl("\\UFFFFFFFF", .text, &out));
}
