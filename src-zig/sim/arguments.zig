//! The options of `sim run`.

const std = @import("std");
const sync = @import("sync");
const scheduler = sync.scheduler;
const victims_max = @import("explore.zig").victims_max;

pub const Arguments = struct {
    kernel: []const u8,
    options: scheduler.Options = .{},
    count: u64 = 10_000,
    schedule: ?[]const u8 = null,
    deaths: [victims_max]scheduler.Death = undefined,
    deaths_count: usize = 0,
    trace: bool = false,
};

pub const Error = error{ NoKernel, UnknownOption, MissingValue, BadValue, TooManyDeaths };

/// Reads the words after `run`.
pub fn parse(words: anytype) Error!Arguments {
    var arguments: Arguments = .{ .kernel = words.next() orelse return error.NoKernel };
    while (words.next()) |word| {
        if (is(word, "--trace")) {
            arguments.trace = true;
        } else if (is(word, "--store-buffers")) {
            arguments.options.store_buffers = true;
        } else if (is(word, "--split-copies")) {
            arguments.options.split_copies = true;
        } else {
            const value = words.next() orelse return error.MissingValue;
            try parseValue(&arguments, word, value);
        }
    }
    return arguments;
}

fn parseValue(arguments: *Arguments, word: []const u8, value: []const u8) Error!void {
    const options = &arguments.options;
    if (is(word, "--strategy")) {
        options.strategy = try tag(scheduler.Strategy, value);
    } else if (is(word, "--mutation")) {
        options.mutation = try tag(sync.Mutation, value);
    } else if (is(word, "--seed")) {
        options.seed = try number(u64, value);
    } else if (is(word, "--count")) {
        arguments.count = try number(u64, value);
    } else if (is(word, "--preemptions")) {
        options.preemptions_max = try number(u8, value);
    } else if (is(word, "--depth")) {
        options.depth = try number(u8, value);
    } else if (is(word, "--accesses")) {
        options.accesses_max = try number(u32, value);
    } else if (is(word, "--schedule")) {
        arguments.schedule = value;
    } else if (is(word, "--kill") or is(word, "--freeze")) {
        if (arguments.deaths_count == victims_max) return error.TooManyDeaths;
        const colon = std.mem.indexOfScalar(u8, value, ':') orelse return error.BadValue;
        arguments.deaths[arguments.deaths_count] = .{
            .fiber = try number(u8, value[0..colon]),
            .access = try number(u32, value[colon + 1 ..]),
            .kind = if (is(word, "--kill")) .kill else .freeze,
        };
        arguments.deaths_count += 1;
    } else {
        return error.UnknownOption;
    }
}

fn is(word: []const u8, name: []const u8) bool {
    return std.mem.eql(u8, word, name);
}

fn tag(comptime Tag: type, value: []const u8) Error!Tag {
    return std.meta.stringToEnum(Tag, value) orelse error.BadValue;
}

fn number(comptime T: type, value: []const u8) Error!T {
    return std.fmt.parseInt(T, value, 10) catch error.BadValue;
}

test "parse: reads deaths, values and switches" {
    var words = std.mem.tokenizeScalar(
        u8,
        "guard --seed 7 --kill 1:20 --trace --strategy priority",
        ' ',
    );
    const arguments = try parse(&words);
    try std.testing.expectEqualStrings("guard", arguments.kernel);
    try std.testing.expectEqual(7, arguments.options.seed);
    try std.testing.expectEqual(.priority, arguments.options.strategy);
    try std.testing.expectEqual(1, arguments.deaths[0].fiber);
    try std.testing.expectEqual(20, arguments.deaths[0].access);
    try std.testing.expect(arguments.trace);
}

test "parse: an unknown option is an error" {
    var words = std.mem.tokenizeScalar(u8, "guard --colour red", ' ');
    try std.testing.expectError(error.UnknownOption, parse(&words));
}
