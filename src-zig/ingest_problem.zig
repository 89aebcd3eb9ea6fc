//! Why a line of an input cannot be a row, kept small and told in words.
//!
//! The parts of the input that a message quotes are copied, cut to a readable length, so that a
//! problem outlives the chunk it was found in.

const std = @import("std");
const table_info = @import("table_info.zig");
const ColumnInfo = table_info.ColumnInfo;

pub const Reason = enum {
    malformed,
    out_of_range,
    /// An int64 that no number of JavaScript is, for a column that gives numbers.
    not_exact,
    too_long,
    not_utf8,
    bad_escape,
    null_refused,
    too_few_fields,
    too_many_fields,
    line_too_long,
    /// The next three concern the line of names, or the column list.
    unknown_name,
    repeated_column,
    missing_column,
};

pub const Problem = struct {
    reason: Reason,
    /// Counts from 1; 0 where no line is to blame.
    line: u64 = 0,
    kind: table_info.Kind = .text,
    /// What the reason is about: bytes of the column, or fields expected.
    limit: u32 = 0,
    /// Bytes of the value, or fields found.
    found: u32 = 0,
    column: Excerpt(table_info.name_size_max) = .{},
    value: Excerpt(80) = .{},
    text: Excerpt(240) = .{},

    pub fn about(reason: Reason, column: *const ColumnInfo, value: []const u8) Problem {
        return .{
            .reason = reason,
            .kind = column.kind,
            .limit = column.capacity,
            .found = @intCast(value.len),
            .column = .of(column.name()),
            .value = .of(value),
        };
    }

    /// Writes the problem as the second half of a sentence, for example
    ///
    ///     line 3, column "altitude": "abc" is not an int32; the line is "UAL1\tabc"
    ///
    /// and returns the part of `buffer` it took, cut if it does not fit. 1 KiB is enough.
    pub fn describe(problem: *const Problem, buffer: []u8) []const u8 {
        var writer: std.Io.Writer = .fixed(buffer);
        problem.write(&writer) catch {}; // A cut message is better than none.
        return writer.buffered();
    }

    fn write(problem: *const Problem, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        if (problem.line > 0) try writer.print("line {d}", .{problem.line});
        const has_column = problem.column.size > 0 and problem.reason != .missing_column;
        if (has_column) try writer.print(", column \"{f}\"", .{problem.column});
        if (problem.line > 0) try writer.writeAll(": ");
        const value = problem.value;
        switch (problem.reason) {
            .malformed => try writer.print("\"{f}\" is not {s}", .{ value, noun(problem.kind) }),
            .out_of_range => try writer.print(
                "\"{f}\" is too large for {s}",
                .{ value, noun(problem.kind) },
            ),
            .not_exact => try writer.print(
                "\"{f}\" is beyond 2^53, and the column is not declared as bigint",
                .{value},
            ),
            .too_long => try writer.print(
                "\"{f}\" has {d} bytes, the column takes {d}",
                .{ value, problem.found, problem.limit },
            ),
            .not_utf8 => try writer.print("\"{f}\" is not UTF-8", .{value}),
            .bad_escape => try writer.print("\"{f}\" has an escape of no character", .{value}),
            .null_refused => try writer.writeAll("the column does not take null"),
            .too_few_fields, .too_many_fields => try writer.print(
                "it has {d} fields instead of {d}",
                .{ problem.found, problem.limit },
            ),
            .line_too_long => try writer.writeAll("it is longer than 1 MiB"),
            .unknown_name => try writer.print("there is no column \"{f}\"", .{value}),
            .repeated_column => try writer.print("\"{f}\" names a column again", .{value}),
            .missing_column => try writer.print(
                "the column \"{f}\" is not in the input and has no default",
                .{problem.column},
            ),
        }
        if (problem.text.size > 0) try writer.print("; the line is \"{f}\"", .{problem.text});
    }

    fn noun(kind: table_info.Kind) []const u8 {
        return switch (kind) {
            .text => "text",
            .bytes => "bytes",
            .int32 => "an int32",
            .int64 => "an int64",
            .float64 => "a float64",
            .bool => "a bool",
            .timestamp => "a timestamp in milliseconds",
        };
    }
};

/// The start of a text, printed with escapes for what a terminal would not show.
fn Excerpt(comptime capacity: usize) type {
    return struct {
        const Self = @This();

        bytes: [capacity]u8 = undefined,
        size: u8 = 0,
        is_cut: bool = false,

        pub fn of(text: []const u8) Self {
            var excerpt: Self = .{};
            var size = @min(text.len, capacity);
            excerpt.is_cut = size < text.len;
            // Not through the middle of a character.
            while (excerpt.is_cut and size > 0 and text[size] & 0xc0 == 0x80) size -= 1;
            @memcpy(excerpt.bytes[0..size], text[0..size]);
            excerpt.size = @intCast(size);
            return excerpt;
        }

        pub fn format(excerpt: Self, writer: *std.Io.Writer) std.Io.Writer.Error!void {
            const text = excerpt.bytes[0..excerpt.size];
            const is_utf8 = std.unicode.utf8ValidateSlice(text);
            for (text) |byte| switch (byte) {
                '\t' => try writer.writeAll("\\t"),
                '\r' => try writer.writeAll("\\r"),
                '\n' => try writer.writeAll("\\n"),
                '"' => try writer.writeAll("\\\""),
                '\\' => try writer.writeAll("\\\\"),
                0...8, 0x0b, 0x0c, 0x0e...0x1f, 0x7f => try writer.print("\\x{x:0>2}", .{byte}),
                0x80...0xff => if (is_utf8)
                    try writer.writeByte(byte)
                else
                    try writer.print("\\x{x:0>2}", .{byte}),
                else => try writer.writeByte(byte),
            };
            if (excerpt.is_cut) try writer.writeAll("...");
        }
    };
}

test "Problem.describe: says where, what, and quotes the line" {
    const column: ColumnInfo = .init("altitude", .int32, 0, .{});
    var problem: Problem = .about(.malformed, &column, "a\"bc");
    problem.line = 3;
    problem.text = .of("UAL1\ta\"bc");
    var buffer: [1024]u8 = undefined;
    try std.testing.expectEqualStrings(
        "line 3, column \"altitude\": \"a\\\"bc\" is not an int32; the line is \"UAL1\\ta\\\"bc\"",
        problem.describe(&buffer),
    );
    try std.testing.expectEqualStrings("line 3, col", problem.describe(buffer[0..11]));
}

test "Problem.describe: cuts long values between characters, shows bytes that are not UTF-8" {
    const column: ColumnInfo = .init("city", .text, 4, .{});
    var buffer: [1024]u8 = undefined;
    const long = "x" ** 79 ++ "é" ** 20;
    var problem: Problem = .about(.too_long, &column, long);
    problem.line = 1;
    try std.testing.expectEqualStrings(
        "line 1, column \"city\": \"" ++ "x" ** 79 ++ "...\" has 119 bytes, the column takes 4",
        problem.describe(&buffer),
    );
    problem = .about(.not_utf8, &column, "Z\xfcrich");
    problem.line = 1;
    try std.testing.expectEqualStrings(
        "line 1, column \"city\": \"Z\\xfcrich\" is not UTF-8",
        problem.describe(&buffer),
    );
}
