//! Numbers and bools out of text, exactly.
//!
//! The whole text must be the value: no space around it, no digit separators, no hexadecimal.
//! Integers that do not fit and floats that overflow are errors, never rounded to an end. A float
//! is the nearest double, as JavaScript's `Number` gives it; NaN and infinities are refused because
//! no column stores them.

const std = @import("std");
const assert = std.debug.assert;

pub const Error = error{ Malformed, OutOfRange };

/// `[+-]digits`
pub inline fn integer(comptime T: type, text: []const u8) Error!T {
    comptime assert(T == i32 or T == i64);
    const negative = text.len > 0 and text[0] == '-';
    const signed = negative or (text.len > 0 and text[0] == '+');
    const digits = text[@intFromBool(signed)..];
    if (digits.len == 0) return error.Malformed;
    if (digits.len > 18) return longInteger(T, digits, negative);

    // 18 digits fit 64 bits.
    var number: u64 = 0;
    for (digits) |byte| {
        const digit = byte -% '0';
        if (digit > 9) return error.Malformed;
        number = number * 10 + digit;
    }
    const value = if (negative) -@as(i64, @intCast(number)) else @as(i64, @intCast(number));
    return std.math.cast(T, value) orelse error.OutOfRange;
}

fn longInteger(comptime T: type, digits: []const u8, negative: bool) Error!T {
    var number: u64 = 0;
    var overflow = false;
    for (digits) |byte| {
        const digit = byte -% '0';
        if (digit > 9) return error.Malformed;
        const product, const carried = @mulWithOverflow(number, 10);
        const sum, const wrapped = @addWithOverflow(product, digit);
        overflow = overflow or carried != 0 or wrapped != 0;
        number = sum;
    }
    if (overflow) return error.OutOfRange;
    const wide: i128 = if (negative) -@as(i128, number) else number;
    return std.math.cast(T, wide) orelse error.OutOfRange;
}

/// `[+-]digits[.digits][e[+-]digits]`, where one side of the point may be empty.
pub fn float(text: []const u8) Error!f64 {
    var at: usize = 0;
    const negative = text.len > 0 and text[0] == '-';
    if (negative or (text.len > 0 and text[0] == '+')) at = 1;

    var mantissa: u64 = 0;
    const whole_at = at;
    at = takeDigits(text, at, &mantissa);
    var digit_count = at - whole_at;
    var exponent: i64 = 0;
    if (at < text.len and text[at] == '.') {
        const fraction_at = at + 1;
        at = takeDigits(text, fraction_at, &mantissa);
        digit_count += at - fraction_at;
        exponent = -@as(i64, @intCast(at - fraction_at));
    }
    if (digit_count == 0) return error.Malformed;
    if (at < text.len and (text[at] | 0x20) == 'e') {
        at += 1;
        const exponent_negative = at < text.len and text[at] == '-';
        if (exponent_negative or (at < text.len and text[at] == '+')) at += 1;
        const exponent_at = at;
        var number: u64 = 0;
        at = takeDigits(text, at, &number);
        if (at == exponent_at) return error.Malformed;
        // Only the short way below uses it, and only if it is small.
        const size = if (at - exponent_at > 4) 10_000 else @as(i64, @intCast(number));
        exponent += if (exponent_negative) -size else size;
    }
    if (at != text.len) return error.Malformed;

    // Mantissa and power of ten are exact doubles, so one operation rounds once, correctly.
    if (digit_count <= 19 and mantissa <= 1 << 53 and exponent >= -22 and exponent <= 22) {
        const exact: f64 = @floatFromInt(mantissa);
        const size = if (exponent < 0)
            exact / powers[@intCast(-exponent)]
        else
            exact * powers[@intCast(exponent)];
        return if (negative) -size else size;
    }
    const value = std.fmt.parseFloat(f64, text) catch return error.Malformed;
    return if (std.math.isFinite(value)) value else error.OutOfRange;
}

/// Adds the digits at `at` to `number`, which wraps when there are more than it can hold.
inline fn takeDigits(text: []const u8, start: usize, number: *u64) usize {
    var at = start;
    while (at < text.len) : (at += 1) {
        const digit = text[at] -% '0';
        if (digit > 9) break;
        number.* = number.* *% 10 +% digit;
    }
    return at;
}

const powers = blk: {
    var table: [23]f64 = undefined;
    table[0] = 1;
    for (1..table.len) |i| table[i] = table[i - 1] * 10;
    break :blk table;
};

/// `1 0 t f y n true false yes no on off`, in any case.
pub fn boolean(text: []const u8) Error!bool {
    if (text.len == 1) {
        return switch (text[0]) {
            '1', 't', 'T', 'y', 'Y' => true,
            '0', 'f', 'F', 'n', 'N' => false,
            else => error.Malformed,
        };
    }
    for ([_][]const u8{ "true", "yes", "on" }) |word| {
        if (std.ascii.eqlIgnoreCase(text, word)) return true;
    }
    for ([_][]const u8{ "false", "no", "off" }) |word| {
        if (std.ascii.eqlIgnoreCase(text, word)) return false;
    }
    return error.Malformed;
}

test "integer: exact to the ends of both types" {
    try std.testing.expectEqual(-2147483648, integer(i32, "-2147483648"));
    try std.testing.expectEqual(2147483647, integer(i32, "+2147483647"));
    try std.testing.expectError(error.OutOfRange, integer(i32, "2147483648"));
    try std.testing.expectEqual(std.math.minInt(i64), integer(i64, "-9223372036854775808"));
    try std.testing.expectEqual(std.math.maxInt(i64), integer(i64, "9223372036854775807"));
    try std.testing.expectError(error.OutOfRange, integer(i64, "9223372036854775808"));
    try std.testing.expectError(error.OutOfRange, integer(i64, "-99999999999999999999999"));
    try std.testing.expectEqual(7, integer(i32, "0000000000000000000000007"));
    for ([_][]const u8{ "", "-", "+", "1.0", "1_000", " 1", "1 ", "--1", "0x10", "1e3" }) |text| {
        try std.testing.expectError(error.Malformed, integer(i64, text));
    }
}

test "float: the nearest double, or an error" {
    const cases = [_]struct { []const u8, f64 }{
        .{ "0", 0 },
        .{ "47.25", 47.25 },
        .{ "-1.5e-3", -1.5e-3 },
        .{ ".5", 0.5 },
        .{ "5.", 5 },
        .{ "+1E2", 100 },
        .{ "0.1", 0.1 },
        .{ "9007199254740993", 9007199254740992 },
        .{ "1e-400", 0 },
        .{ "1.7976931348623157e308", std.math.floatMax(f64) },
        .{ "123456789012345678901234567890", 1.2345678901234568e29 },
        .{ "4.9406564584124654e-324", 5e-324 },
        .{ "0.000000000000000000000000000001", 1e-30 },
        .{ "99999999999999999999999e-22", 9.9999999999999999999999 },
    };
    for (cases) |case| try std.testing.expectEqual(case[1], float(case[0]));
    try std.testing.expect(std.math.signbit(try float("-0")));
    for ([_][]const u8{
        "", ".", "-", "e5", "1e", "1e+", "nan", "inf", "Infinity", "1_0", "0x1p3", "1.2.3", " 1",
    }) |text| try std.testing.expectError(error.Malformed, float(text));
    try std.testing.expectError(error.OutOfRange, float("1e999"));
    try std.testing.expectError(error.OutOfRange, float("-1e309"));
}

test "float: agrees with the standard library on random decimals" {
    var prng: std.Random.DefaultPrng = .init(3);
    const random = prng.random();
    for (0..5000) |_| {
        var buffer: [64]u8 = undefined;
        const bits = random.int(u64);
        const exponent = random.intRangeAtMost(i32, -30, 30);
        const digits = bits >> random.int(u6);
        const parts = .{ digits, bits % 100, exponent };
        const text = try std.fmt.bufPrint(&buffer, "{d}.{d}e{d}", parts);
        try std.testing.expectEqual(try std.fmt.parseFloat(f64, text), try float(text));
    }
}

test "boolean: words in any case, nothing else" {
    for ([_][]const u8{ "1", "t", "TRUE", "yes", "On", "Y" }) |text| {
        try std.testing.expect(try boolean(text));
    }
    for ([_][]const u8{ "0", "F", "false", "NO", "off", "n" }) |text| {
        try std.testing.expect(!try boolean(text));
    }
    for ([_][]const u8{ "", "2", "tr", "truex", "10" }) |text| {
        try std.testing.expectError(error.Malformed, boolean(text));
    }
}
