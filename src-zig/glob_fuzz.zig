//! Random patterns and texts, compared with the recursive matcher of `query_model.zig`.
//!
//! Checks that both agree, with case and without, and that no bytes at all, as pattern or as text,
//! do any harm.

const std = @import("std");
const Glob = @import("glob.zig").Glob;
const model = @import("query_model.zig");
const Allocator = std.mem.Allocator;

pub fn run(gpa: Allocator, seed: u64, rounds: usize) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    var pattern_buffer: [10]u8 = undefined;
    var text_buffer: [10]u8 = undefined;
    for (0..rounds) |_| {
        _ = arena_state.reset(.retain_capacity);
        const pattern = draw(random, "ab*?[]-\\cAB^", &pattern_buffer);
        const glob: Glob = try .compile(arena_state.allocator(), pattern, false);
        const folded: Glob = try .compile(arena_state.allocator(), pattern, true);
        for (0..20) |_| {
            const text = draw(random, "aabbc]\\*-AB^", &text_buffer);
            try std.testing.expectEqual(model.globMatches(pattern, text), glob.matches(text));

            var low_pattern: [10]u8 = undefined;
            var low_text: [10]u8 = undefined;
            const expected = model.globMatches(
                std.ascii.lowerString(&low_pattern, pattern),
                std.ascii.lowerString(&low_text, text),
            );
            try std.testing.expectEqual(expected, folded.matches(text));
        }
        random.bytes(&text_buffer);
        random.bytes(&pattern_buffer);
        for (&pattern_buffer) |*byte| {
            if (random.boolean()) byte.* = "*?[]-\\\xc3\xa9"[random.uintLessThan(usize, 8)];
        }
        const wild: Glob = try .compile(arena_state.allocator(), &pattern_buffer, random.boolean());
        _ = wild.matches(&text_buffer);
    }
}

fn draw(random: std.Random, alphabet: []const u8, buffer: []u8) []const u8 {
    const text = buffer[0..random.uintAtMost(usize, buffer.len)];
    for (text) |*byte| byte.* = alphabet[random.uintLessThan(usize, alphabet.len)];
    return text;
}

test "fuzz: globs agree with the recursive matcher" {
    try run(std.testing.allocator, 1, 2000);
}
