//! The decisions of one run, in order.
//!
//! The exhaustive strategy uses the tape as the stack of a depth-first search: a run follows what
//! is recorded and takes the first choice after that; `advance` turns it into the prefix of the
//! next unexplored run. Printed, it is the schedule that reproduces a finding.

const std = @import("std");
const assert = std.debug.assert;

pub const decisions_max = 1 << 15;

const Decision = struct { chosen: u8, choices: u8 };

pub const Tape = struct {
    decisions: [decisions_max]Decision = undefined,
    length: usize = 0,
    position: usize = 0,

    pub fn clear(tape: *Tape) void {
        tape.length = 0;
        tape.rewind();
    }

    pub fn rewind(tape: *Tape) void {
        tape.position = 0;
    }

    /// Returns the recorded decision among `choices`, or records the first one at the end of the
    /// tape. Null if the tape cannot belong to this run.
    pub fn next(tape: *Tape, choices: u8) ?usize {
        if (tape.position == tape.length) {
            if (tape.length == decisions_max) return null;
            tape.decisions[tape.length] = .{ .chosen = 0, .choices = choices };
            tape.length += 1;
        }
        const decision = &tape.decisions[tape.position];
        tape.position += 1;
        if (decision.choices == 0) decision.choices = choices; // Parsed from text.
        if (decision.choices != choices or decision.chosen >= choices) return null;
        return decision.chosen;
    }

    /// Turns the tape of a finished run into the next one to try. False when all were tried.
    pub fn advance(tape: *Tape) bool {
        tape.length = tape.position;
        while (tape.length > 0) {
            const last = &tape.decisions[tape.length - 1];
            if (last.chosen + 1 < last.choices) {
                last.chosen += 1;
                return true;
            }
            tape.length -= 1;
        }
        return false;
    }

    /// Writes the schedule as decisions separated by dots, `n*d` for a run of equal ones:
    /// `14*0.1.3*0`. Decisions 0 at the end are left out.
    pub fn write(tape: *const Tape, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        var end = tape.position;
        while (end > 0 and tape.decisions[end - 1].chosen == 0) end -= 1;
        if (end == 0) return writer.writeAll("0");
        var i: usize = 0;
        while (i < end) {
            const chosen = tape.decisions[i].chosen;
            var n: usize = 1;
            while (i + n < end and tape.decisions[i + n].chosen == chosen) n += 1;
            if (i > 0) try writer.writeByte('.');
            if (n > 1) try writer.print("{d}*", .{n});
            try writer.print("{d}", .{chosen});
            i += n;
        }
    }

    /// Reads what `write` wrote.
    pub fn parse(tape: *Tape, text: []const u8) error{BadSchedule}!void {
        tape.clear();
        var parts = std.mem.tokenizeScalar(u8, text, '.');
        while (parts.next()) |part| {
            const star = std.mem.indexOfScalar(u8, part, '*');
            const n = if (star) |at|
                std.fmt.parseInt(usize, part[0..at], 10) catch return error.BadSchedule
            else
                1;
            const digits = if (star) |at| part[at + 1 ..] else part;
            const chosen = std.fmt.parseInt(u8, digits, 10) catch return error.BadSchedule;
            if (n > decisions_max - tape.length) return error.BadSchedule;
            for (0..n) |_| {
                tape.decisions[tape.length] = .{ .chosen = chosen, .choices = 0 };
                tape.length += 1;
            }
        }
    }
};

test "Tape: advance visits every combination once" {
    const tape = try std.testing.allocator.create(Tape);
    defer std.testing.allocator.destroy(tape);
    tape.clear();
    var runs: u32 = 0;
    while (true) {
        tape.rewind();
        const a = tape.next(2).?;
        if (a == 1) _ = tape.next(3).?;
        runs += 1;
        if (!tape.advance()) break;
    }
    try std.testing.expectEqual(4, runs);
}

test "Tape: a written schedule reads back" {
    const tape = try std.testing.allocator.create(Tape);
    defer std.testing.allocator.destroy(tape);
    tape.clear();
    try tape.parse("3*0.1.0.2*2.0");
    for ([_]u8{ 0, 0, 0, 1, 0, 2, 2, 0 }) |chosen| {
        try std.testing.expectEqual(chosen, tape.next(3).?);
    }
    var buffer: [64]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    try tape.write(&writer);
    try std.testing.expectEqualStrings("3*0.1.0.2*2", writer.buffered());
    try std.testing.expectError(error.BadSchedule, tape.parse("1.x"));
}
