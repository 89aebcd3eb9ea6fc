//! Runs one fuzzer: `zig build fuzz -- NAME SEED [ROUNDS]`.
//!
//! The same name, seed and rounds repeat the same run. Without a seed, a random one is drawn and
//! printed first, so that a failure can be repeated. `list` prints the names.

const std = @import("std");
const Allocator = std.mem.Allocator;

const Fuzzer = struct {
    name: []const u8,
    /// Rounds that take about a second in a debug build.
    rounds: usize,
    /// Returns how many disks it has looked at that a power cut may have left.
    run: *const fn (gpa: Allocator, seed: u64, rounds: usize) anyerror!u64,

    fn of(comptime name: []const u8, rounds: usize, comptime file: type) Fuzzer {
        return .{ .name = name, .rounds = rounds, .run = struct {
            fn run(gpa: Allocator, seed: u64, count: usize) anyerror!u64 {
                const images = try file.run(gpa, seed, count);
                return if (@TypeOf(images) == u64) images else 0;
            }
        }.run };
    }
};

const fuzzers = [_]Fuzzer{
    .of("glob", 10_000, @import("glob_fuzz.zig")),
    .of("ingest", 500, @import("ingest_fuzz.zig")),
    .of("log", 150, @import("log_fuzz.zig")),
    .of("log_row", 20_000, @import("log_row_fuzz.zig")),
    .of("plan", 1_000, @import("plan_fuzz.zig")),
    .of("power_cut", 6, @import("power_cut_fuzz.zig")),
    .of("query", 500, @import("query_fuzz.zig")),
    .of("recovery", 12, @import("recovery_fuzz.zig")),
    .of("row", 5_000, @import("row_fuzz.zig")),
};

pub fn main(init: std.process.Init) !u8 {
    var buffer: [1024]u8 = undefined;
    var stdout = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    const out = &stdout.interface;
    defer out.flush() catch {};

    var words = init.minimal.args.iterate();
    _ = words.next();
    const name = words.next() orelse "list";
    for (fuzzers) |fuzzer| {
        if (!std.mem.eql(u8, fuzzer.name, name)) continue;
        var seed: u64 = undefined;
        if (words.next()) |word| {
            seed = std.fmt.parseInt(u64, word, 10) catch return usage(out, "SEED is a number");
        } else {
            init.io.random(std.mem.asBytes(&seed));
        }
        var rounds = fuzzer.rounds;
        if (words.next()) |word| {
            rounds = std.fmt.parseInt(usize, word, 10) catch
                return usage(out, "ROUNDS is a number");
        }
        try out.print("fuzz {s} {d} {d}\n", .{ name, seed, rounds });
        try out.flush();
        const images = try fuzzer.run(init.gpa, seed, rounds);
        if (images > 0) try out.print("{d} power cuts\n", .{images});
        try out.print("nothing found\n", .{});
        return 0;
    }
    if (!std.mem.eql(u8, name, "list")) return usage(out, "there is no such fuzzer");
    for (fuzzers) |fuzzer| try out.print("{s}\n", .{fuzzer.name});
    return 0;
}

fn usage(out: *std.Io.Writer, problem: []const u8) !u8 {
    try out.print("{s}; zig build fuzz -- NAME SEED [ROUNDS]\n", .{problem});
    return 2;
}

test {
    _ = @import("glob_fuzz.zig");
    _ = @import("ingest_fuzz.zig");
    _ = @import("log_fuzz.zig");
    _ = @import("log_row_fuzz.zig");
    _ = @import("plan_fuzz.zig");
    _ = @import("query_fuzz.zig");
    _ = @import("recovery_fuzz.zig");
    _ = @import("row_fuzz.zig");
}
