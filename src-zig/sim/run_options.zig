//! What a run is made of and depends on.

const Strategy = @import("chooser.zig").Strategy;
const Mutation = @import("mutation.zig").Mutation;

/// One fiber of a kernel: the code of one thread of one simulated process.
pub const Thread = struct {
    run: *const fn () void,
    /// Fibers of one process die together and share byte locks. Null: a process of its own.
    process: ?u8 = null,
    /// Starts only when that fiber has finished or died.
    after: ?u8 = null,
};

/// `fiber` stops before its access number `access`, counted from 0.
pub const Death = struct {
    fiber: u8,
    access: u32,
    kind: enum { kill, freeze } = .kill,
};

/// Everything that a run depends on, apart from the code.
pub const Options = struct {
    strategy: Strategy = .random,
    seed: u64 = 1,
    /// Priority strategy: number of places that a bug needs to be ordered at.
    depth: u8 = 3,
    /// Priority strategy: accesses of a typical run; the changes fall among them.
    accesses_expected: u32 = 100,
    /// Exhaustive strategy.
    preemptions_max: u8 = 2,
    /// Delay stores as an x86-64 processor may.
    store_buffers: bool = false,
    /// Make every word of a racing copy an access of its own.
    split_copies: bool = false,
    deaths: []const Death = &.{},
    /// More accesses than this mean that nobody makes progress.
    accesses_max: u32 = 20_000,
    /// How long those who are waited for do not run when their waiter endures.
    stall_ns: u64 = 3_000_000,
    mutation: Mutation = .none,
};

pub const Outcome = enum {
    ok,
    /// Nobody made progress.
    stuck,
    /// Something was seen that must not be.
    failed,
};

/// What one access did; for printing a run.
pub const Event = struct {
    task: u8,
    operation: []const u8,
    address: usize,
    before: u64,
    after: u64,
    caller: usize,
};
