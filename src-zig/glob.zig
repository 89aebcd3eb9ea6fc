//! Tcl's `string match`, compiled once for many texts.
//!
//!     *        any characters, also none
//!     ?        any one character
//!     [a-dx]   one character of the set: x, or a to d. A range may run backwards, [d-a]. The set
//!              ends at the first ] that is not the end of a range, or with the pattern. There is
//!              no negation and no escape inside; [] matches nothing
//!     \x       the character x itself. A pattern that ends in a lone \ matches nothing
//!
//! A character is a Unicode code point. A byte that is not part of well-formed UTF-8 counts as one
//! character too, equal only to the same byte, and stands after every code point in a range.
//! Without case, pattern and text are compared in lower case, code point by code point.
//!
//! Most patterns are a text with a star before or behind it. Those compare bytes: well-formed UTF-8
//! never begins inside a character, so bytes and characters agree. The rest runs an element list
//! that returns to the last star on a mismatch, in time |pattern| * |text| at worst, without
//! recursion.

const std = @import("std");
const lower = @import("case_fold.zig").lower;
const Allocator = std.mem.Allocator;

pub const Glob = struct {
    shape: Shape,
    ignore_case: bool,
    /// The literal bytes of the shapes that have some, in lower case if the case is ignored.
    head: []const u8 = "",
    tail: []const u8 = "",
    elements: []const Element = &.{},

    const Shape = enum {
        /// Every text.
        any,
        /// No text.
        never,
        /// `head`
        equal,
        /// `head*tail`, either may be empty.
        affix,
        /// `*head*`
        infix,
        /// Whatever `elements` say.
        general,
    };

    /// Compiles a pattern. What it keeps is allocated in `arena`, nothing refers to `pattern`.
    pub fn compile(arena: Allocator, pattern: []const u8, ignore_case: bool) Allocator.Error!Glob {
        const elements = try parse(arena, pattern, ignore_case) orelse
            return .{ .shape = .never, .ignore_case = ignore_case };
        return simplify(arena, elements, ignore_case);
    }

    pub fn matches(glob: *const Glob, text: []const u8) bool {
        if (glob.ignore_case) return glob.matchesFolded(text);
        return switch (glob.shape) {
            .any => true,
            .never => false,
            .equal => std.mem.eql(u8, glob.head, text),
            .affix => text.len >= glob.head.len + glob.tail.len and
                std.mem.startsWith(u8, text, glob.head) and
                std.mem.endsWith(u8, text, glob.tail),
            .infix => contains(text, glob.head),
            .general => glob.run(text),
        };
    }

    /// The literals are ASCII here, but letters outside ASCII may fold into it (the Kelvin sign is
    /// a k), so a text with any other byte where it matters goes the general way.
    fn matchesFolded(glob: *const Glob, text: []const u8) bool {
        switch (glob.shape) {
            .any => return true,
            .never => return false,
            .general => return glob.run(text),
            .equal, .affix, .infix => {},
        }
        // A character takes at least one byte, so a shorter text has too few of them.
        const head = glob.head;
        const tail = glob.tail;
        if (text.len < head.len + tail.len) return false;
        switch (glob.shape) {
            .any, .never, .general => unreachable,
            .equal => {
                if (!isAscii(text)) return glob.run(text);
                return text.len == head.len and eqlFolded(text, head);
            },
            .affix => {
                const start = text[0..head.len];
                const end = text[text.len - tail.len ..];
                if (!isAscii(start) or !isAscii(end)) return glob.run(text);
                return eqlFolded(start, head) and eqlFolded(end, tail);
            },
            .infix => {
                if (!isAscii(text)) return glob.run(text);
                for (0..text.len - head.len + 1) |i| {
                    if (eqlFolded(text[i..][0..head.len], head)) return true;
                }
                return false;
            },
        }
    }

    fn run(glob: *const Glob, text: []const u8) bool {
        const elements = glob.elements;
        var element: usize = 0;
        var at: usize = 0;
        // Where to go on after a mismatch: behind the last star, one character further.
        var star: ?usize = null;
        var star_at: usize = 0;

        while (at < text.len) {
            if (element < elements.len) {
                if (elements[element] == .star) {
                    element += 1;
                    if (element == elements.len) return true;
                    star = element;
                    star_at = at;
                    continue;
                }
                const char = decode(text[at..]);
                const code = if (glob.ignore_case) lower(char.code) else char.code;
                if (elements[element].accepts(code)) {
                    at += char.size;
                    element += 1;
                    continue;
                }
            }
            element = star orelse return false;
            star_at += decode(text[star_at..]).size;
            at = star_at;
        }
        while (element < elements.len and elements[element] == .star) element += 1;
        return element == elements.len;
    }
};

const Element = union(enum) {
    star,
    any,
    char: u21,
    set: []const Span,

    fn accepts(element: Element, code: u21) bool {
        return switch (element) {
            .star => unreachable, // The caller's loop takes it.
            .any => true,
            .char => |char| char == code,
            .set => |spans| for (spans) |span| {
                if (code >= span.low and code <= span.high) break true;
            } else false,
        };
    }
};

const Span = struct { low: u21, high: u21 };

/// Null if the pattern can match nothing because it ends in a lone backslash.
fn parse(arena: Allocator, pattern: []const u8, fold: bool) Allocator.Error!?[]const Element {
    var elements: std.ArrayList(Element) = .empty;
    var at: usize = 0;
    while (at < pattern.len) {
        switch (pattern[at]) {
            '*' => {
                at += 1;
                const last = elements.getLastOrNull();
                if (last == null or last.? != .star) try elements.append(arena, .star);
            },
            '?' => {
                at += 1;
                try elements.append(arena, .any);
            },
            '[' => {
                at += 1;
                try elements.append(arena, .{ .set = try parseSet(arena, pattern, &at, fold) });
            },
            else => |byte| {
                if (byte == '\\') at += 1;
                if (at == pattern.len) return null;
                try elements.append(arena, .{ .char = take(pattern, &at, fold) });
            },
        }
    }
    return elements.items;
}

/// Reads from behind the `[` to behind the `]`.
fn parseSet(
    arena: Allocator,
    pattern: []const u8,
    at: *usize,
    fold: bool,
) Allocator.Error![]const Span {
    var spans: std.ArrayList(Span) = .empty;
    while (at.* < pattern.len) {
        if (pattern[at.*] == ']') {
            at.* += 1;
            break;
        }
        const first = take(pattern, at, fold);
        if (at.* == pattern.len or pattern[at.*] != '-') {
            try spans.append(arena, .{ .low = first, .high = first });
            continue;
        }
        at.* += 1;
        if (at.* == pattern.len) break; // A range without an end holds nothing.
        const last = take(pattern, at, fold);
        try spans.append(arena, .{ .low = @min(first, last), .high = @max(first, last) });
    }
    return spans.items;
}

fn take(pattern: []const u8, at: *usize, fold: bool) u21 {
    const char = decode(pattern[at.*..]);
    at.* += char.size;
    return if (fold) lower(char.code) else char.code;
}

/// Finds the cheapest shape that equals the elements.
fn simplify(arena: Allocator, elements: []const Element, fold: bool) Allocator.Error!Glob {
    const general: Glob = .{ .shape = .general, .ignore_case = fold, .elements = elements };
    var stars: usize = 0;
    var star_at: usize = 0;
    const code_limit: u21 = if (fold) 0x80 else invalid_base;
    for (elements, 0..) |element, i| switch (element) {
        .star => {
            stars += 1;
            star_at = i;
        },
        .char => |code| if (code >= code_limit) return general,
        .any, .set => return general,
    };

    var glob = general;
    switch (stars) {
        0 => {
            glob.shape = .equal;
            glob.head = try literal(arena, elements);
        },
        1 => {
            glob.shape = if (elements.len == 1) .any else .affix;
            glob.head = try literal(arena, elements[0..star_at]);
            glob.tail = try literal(arena, elements[star_at + 1 ..]);
        },
        2 => if (elements[0] == .star and star_at == elements.len - 1) {
            glob.shape = .infix;
            glob.head = try literal(arena, elements[1..star_at]);
        },
        else => {},
    }
    return glob;
}

fn literal(arena: Allocator, elements: []const Element) Allocator.Error![]const u8 {
    var bytes: std.ArrayList(u8) = .empty;
    for (elements) |element| {
        var encoded: [4]u8 = undefined;
        // Code points that were decoded from well-formed UTF-8: they encode again.
        const size = std.unicode.utf8Encode(element.char, &encoded) catch unreachable;
        try bytes.appendSlice(arena, encoded[0..size]);
    }
    return bytes.items;
}

/// Characters from here on are single bytes that are not UTF-8.
const invalid_base: u21 = 0x11_0000;

const Char = struct { code: u21, size: usize };

/// The first character of `bytes`, which must not be empty.
fn decode(bytes: []const u8) Char {
    const first = bytes[0];
    if (first < 0x80) return .{ .code = first, .size = 1 };
    const size = std.unicode.utf8ByteSequenceLength(first) catch return invalid(first);
    if (size > bytes.len) return invalid(first);
    const code = std.unicode.utf8Decode(bytes[0..size]) catch return invalid(first);
    return .{ .code = code, .size = size };
}

fn invalid(byte: u8) Char {
    return .{ .code = invalid_base + byte, .size = 1 };
}

fn contains(text: []const u8, needle: []const u8) bool {
    if (needle.len > text.len) return false;
    // Not std.mem.find: it prepares a skip table for each call, and texts are short.
    const last_start = text.len - needle.len;
    var at: usize = 0;
    const starts = text[0 .. last_start + 1];
    while (at <= last_start) : (at += 1) {
        at = std.mem.findScalarPos(u8, starts, at, needle[0]) orelse return false;
        if (std.mem.eql(u8, text[at..][0..needle.len], needle)) return true;
    }
    return false;
}

fn isAscii(text: []const u8) bool {
    var bits: u8 = 0;
    for (text) |byte| bits |= byte;
    return bits < 0x80;
}

fn eqlFolded(text: []const u8, folded: []const u8) bool {
    for (text, folded) |byte, expected| {
        if (std.ascii.toLower(byte) != expected) return false;
    }
    return true;
}

fn expectMatch(expected: bool, pattern: []const u8, text: []const u8, fold: bool) !void {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const glob = try Glob.compile(arena_state.allocator(), pattern, fold);
    std.testing.expectEqual(expected, glob.matches(text)) catch |err| {
        std.debug.print("pattern \"{s}\", text \"{s}\"\n", .{ pattern, text });
        return err;
    };
}

test "Glob: agrees with Tcl's string match" {
    const yes = [_][2][]const u8{
        .{ "", "" },         .{ "*", "" },             .{ "a*", "abc" },
        .{ "*c", "abc" },    .{ "a*c", "ac" },         .{ "*b*", "abc" },
        .{ "a?c", "abc" },   .{ "[a-c]x", "bx" },      .{ "[c-a]x", "bx" },
        .{ "[xyz]", "y" },   .{ "\\*", "*" },          .{ "a\\bc", "abc" },
        .{ "**a**", "a" },   .{ "*a*b*c*", "xaybzc" },
        .{ "?", "é" },
        .{ "[à-ö]*", "été" },
        .{ "*\\[*", "a[b" }, .{ "[abc", "b" },         .{ "[^a]", "^" },
        .{ "[a-]]", "^" },   .{ "*ab", "aab" },        .{ "a*b?d", "axxbxbcd" },
        .{ "[\\]x", "\\x" },
    };
    for (yes) |pair| try expectMatch(true, pair[0], pair[1], false);

    const no = [_][2][]const u8{
        .{ "", "a" },      .{ "a", "A" },  .{ "a*c", "abd" }, .{ "?", "" },
        .{ "??", "é" },
        .{ "[a-c]", "d" }, .{ "[]", "]" }, .{ "[]a]", "a" },  .{ "a\\", "a" },
        .{ "a\\", "a\\" }, .{ "\\", "" },  .{ "[a-", "a" },   .{ "ab*ba", "aba" },
        .{ "*aa*", "a" },  .{ "[]", "" },
    };
    for (no) |pair| try expectMatch(false, pair[0], pair[1], false);
}

test "Glob: ignores case by code point" {
    const yes = [_][2][]const u8{
        .{ "ual*", "UAL123" },
        .{ "*Über*", "DIE ÜBERFAHRT" },
        .{ "[A-C]x", "bX" },
        .{ "k", "\u{212a}" },
        .{ "*k", "a\u{212a}" },
        .{ "k*", "\u{212a}b" },
        .{ "*k*", "x\u{212a}y" },
        .{ "ΣΑΣ", "σασ" },
        .{ "straße", "STRAẞE" },
        .{ "i", "\u{130}" },
    };
    for (yes) |pair| try expectMatch(true, pair[0], pair[1], true);
    try expectMatch(false, "k", "kk", true);
    try expectMatch(false, "strasse", "straße", true);
}

test "Glob: a byte that is not UTF-8 is one character, equal to itself only" {
    try expectMatch(true, "a?c", "a\xffc", false);
    try expectMatch(true, "a\xff*", "a\xffc", false);
    try expectMatch(false, "\xc3*", "é", false); // é begins with this byte, but is one character
    try expectMatch(false, "?", "\xe2\x82", false);
    try expectMatch(true, "??", "\xe2\x82", false);
    try expectMatch(true, "??", "\xc0\x80", false); // overlong
    try expectMatch(true, "???", "\xed\xa0\x80", false); // surrogate
}

test "Glob: many stars end in time" {
    var text: [2000]u8 = @splat('a');
    const pattern = "*a" ** 200 ++ "*b";
    try expectMatch(false, pattern, &text, false);
    text[1999] = 'b';
    try expectMatch(true, pattern, &text, false);
}
