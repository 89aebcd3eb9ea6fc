//! What a kernel is: a small concurrent program with a check, and how it is to be explored.

const std = @import("std");
const sync = @import("sync");
const scheduler = sync.scheduler;

pub const Kernel = struct {
    /// `noun.variant`, unique.
    name: []const u8,
    /// One line: what goes on and what must hold.
    about: []const u8,
    threads: []const scheduler.Thread,
    /// Resets the kernel's own state. Runs before every run, as `process_outside`.
    init: *const fn () void,
    /// Calls `scheduler.fail` if the outcome is impossible. Runs after every run.
    check: *const fn () void,
    plans: []const Plan,
    /// Mistakes that must not get past this kernel.
    catches: []const Catch = &.{},
};

/// One way of exploring a kernel.
pub const Plan = struct {
    strategy: scheduler.Strategy,
    /// Stop after this many runs (per death point, if there are victims). An exhaustive plan that
    /// stops before it is through says so; with `complete` that is a failure.
    runs_max: u64,
    complete: bool = true,
    preemptions_max: u8 = 2,
    depth: u8 = 3,
    store_buffers: bool = false,
    split_copies: bool = false,
    accesses_max: u32 = 20_000,
    /// Each is killed or frozen at each of its accesses in turn; two victims mean every pair of
    /// points.
    victims: []const Victim = &.{},
    /// The kernel is wrong on purpose and the plan has to find out.
    expect_finding: bool = false,
};

pub const Victim = struct {
    fiber: u8,
    kind: @FieldType(scheduler.Death, "kind") = .kill,
};

pub const Catch = struct {
    mutation: sync.Mutation,
    plan: Plan,

    const runs_max = 1_000_000;

    /// Finds it among the interleavings with few preemptions.
    pub fn exhaustively(mutation: sync.Mutation) Catch {
        return .{
            .mutation = mutation,
            .plan = .{ .strategy = .exhaustive, .runs_max = runs_max, .expect_finding = true },
        };
    }

    /// Finds it among random ones.
    pub fn randomly(mutation: sync.Mutation) Catch {
        return .{
            .mutation = mutation,
            .plan = .{ .strategy = .random, .runs_max = runs_max, .expect_finding = true },
        };
    }
};
