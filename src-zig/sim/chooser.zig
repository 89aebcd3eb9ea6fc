//! The strategies: which of the possible choices is taken.

const std = @import("std");
const Tape = @import("tape.zig").Tape;
const assert = std.debug.assert;

/// `random` switches with a probability that is itself drawn per run. `priority` is probabilistic
/// concurrency testing (Burckhardt et al., ASPLOS 2010): the fiber with the highest priority runs,
/// and at `depth` - 1 random accesses it drops to the lowest. `exhaustive` enumerates every run
/// with at most a given number of preemptions.
pub const Strategy = enum { random, priority, exhaustive };

pub const depth_max = 9;

/// One possible answer to "who goes on?".
pub const Choice = struct {
    task: u8,
    priority: u32,
    /// Time passes for this waiting task alone.
    endure: bool = false,
};

/// What the running fiber is doing when the question comes up.
pub const Situation = struct {
    /// Choices before this index do not endure.
    runs: u8,
    /// Choice 0 is to stay with the running fiber.
    stays: bool,
};

pub const Chooser = struct {
    strategy: Strategy = .random,
    random: std.Random.SplitMix64 = .init(0),
    switch_chance: u32 = 2,
    endure_chance: u32 = 8,
    priority_next: u32 = 0,
    changes: [depth_max - 1]u32 = undefined,
    changes_count: u8 = 0,

    const priority_first = 1 << 31;

    /// Draws what one run has at random. `length` is the number of accesses of a typical run.
    pub fn init(strategy: Strategy, seed: u64, depth: u8, length: u32) Chooser {
        assert(depth >= 1 and depth <= depth_max);
        var chooser: Chooser = .{ .strategy = strategy, .random = .init(seed) };
        chooser.priority_next = priority_first;
        if (strategy == .random) {
            chooser.switch_chance = @as(u32, 2) << @intCast(chooser.below(5)); // 1/2 .. 1/32
            chooser.endure_chance = @as(u32, 4) << @intCast(chooser.below(4));
        }
        chooser.changes_count = depth - 1;
        for (chooser.changes[0..chooser.changes_count]) |*access| {
            access.* = 1 + chooser.below(@max(1, length));
        }
        return chooser;
    }

    /// A random priority above all that `lowest` gives.
    pub fn initialPriority(chooser: *Chooser) u32 {
        return priority_first + 1 + chooser.below(priority_first - 1);
    }

    /// A priority below all given so far.
    pub fn lowest(chooser: *Chooser) u32 {
        chooser.priority_next -= 1;
        return chooser.priority_next;
    }

    pub fn isChange(chooser: *const Chooser, access: u32) bool {
        if (chooser.strategy != .priority) return false;
        const changes = chooser.changes[0..chooser.changes_count];
        return std.mem.indexOfScalar(u32, changes, access) != null;
    }

    pub fn oneIn(chooser: *Chooser, n: u32) bool {
        return chooser.below(n) == 0;
    }

    fn below(chooser: *Chooser, n: u32) u32 {
        return @intCast(((chooser.random.next() >> 32) * n) >> 32);
    }

    /// Returns the index of the choice to take. Null: the tape belongs to another run.
    pub fn choose(
        chooser: *Chooser,
        choices: []const Choice,
        situation: Situation,
        tape: *Tape,
    ) ?usize {
        if (choices.len == 1) return 0;
        return switch (chooser.strategy) {
            .random => chooser.atRandom(choices, situation),
            .priority => chooser.byPriority(choices, situation),
            .exhaustive => tape.next(@intCast(choices.len)),
        };
    }

    fn atRandom(chooser: *Chooser, choices: []const Choice, situation: Situation) usize {
        const runs = situation.runs;
        const endurers: u32 = @intCast(choices.len - runs);
        const chance = if (situation.stays) 64 else chooser.endure_chance;
        if (endurers > 0 and chooser.oneIn(chance)) return runs + chooser.below(endurers);
        if (!situation.stays) return chooser.below(runs);
        if (runs == 1 or !chooser.oneIn(chooser.switch_chance)) return 0;
        return 1 + chooser.below(runs - 1);
    }

    fn byPriority(chooser: *Chooser, choices: []const Choice, situation: Situation) usize {
        const runs = situation.runs;
        const endurers: u32 = @intCast(choices.len - runs);
        if (endurers > 0 and !situation.stays and chooser.oneIn(chooser.endure_chance)) {
            return runs + chooser.below(endurers);
        }
        var best: usize = 0;
        for (choices[0..runs], 0..) |choice, i| {
            if (choice.priority > choices[best].priority) best = i;
        }
        return best;
    }
};

test "Chooser: the same seed draws the same run" {
    var a: Chooser = .init(.random, 7, 3, 100);
    var b: Chooser = .init(.random, 7, 3, 100);
    var tape: Tape = .{};
    const choices = [_]Choice{ .{ .task = 0, .priority = 1 }, .{ .task = 1, .priority = 2 } };
    for (0..100) |_| {
        const situation: Situation = .{ .runs = 2, .stays = true };
        try std.testing.expectEqual(
            a.choose(&choices, situation, &tape),
            b.choose(&choices, situation, &tape),
        );
    }
}
