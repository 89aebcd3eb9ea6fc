//! Runs a kernel many times, by a plan, until a run fails or the plan is through.

const std = @import("std");
const sync = @import("sync");
const scheduler = sync.scheduler;
const kernel_module = @import("kernel.zig");
const Kernel = kernel_module.Kernel;
const Plan = kernel_module.Plan;
const assert = std.debug.assert;

pub const victims_max = 2;

/// A failed run, with all it takes to repeat it.
pub const Finding = struct {
    outcome: scheduler.Outcome,
    options: scheduler.Options,
    deaths: [victims_max]scheduler.Death,
    /// Set for the exhaustive strategy; others repeat by their seed.
    schedule_buffer: [2048]u8 = undefined,
    schedule_length: usize = 0,
    message_buffer: [512]u8 = undefined,
    message_length: usize = 0,

    pub fn schedule(finding: *const Finding) []const u8 {
        return finding.schedule_buffer[0..finding.schedule_length];
    }

    pub fn message(finding: *const Finding) []const u8 {
        return finding.message_buffer[0..finding.message_length];
    }

    /// Writes the arguments that repeat this run of kernel `name`.
    pub fn writeCommand(
        finding: *const Finding,
        name: []const u8,
        writer: *std.Io.Writer,
    ) std.Io.Writer.Error!void {
        const options = finding.options;
        try writer.print("run {s} --strategy {t}", .{ name, options.strategy });
        switch (options.strategy) {
            .exhaustive => try writer.print(" --preemptions {d} --schedule {s}", .{
                options.preemptions_max,
                finding.schedule(),
            }),
            .priority => try writer.print(" --depth {d} --seed {d} --count 1", .{
                options.depth,
                options.seed,
            }),
            .random => try writer.print(" --seed {d} --count 1", .{options.seed}),
        }
        if (options.store_buffers) try writer.writeAll(" --store-buffers");
        if (options.split_copies) try writer.writeAll(" --split-copies");
        if (options.mutation != .none) try writer.print(" --mutation {t}", .{options.mutation});
        for (finding.deaths[0..options.deaths.len]) |death| {
            try writer.print(" --{t} {d}:{d}", .{ death.kind, death.fiber, death.access });
        }
    }
};

pub const Report = struct {
    runs: u64 = 0,
    accesses: u64 = 0,
    /// Places at which somebody was killed or frozen.
    death_points: u32 = 0,
    /// Every run that the exhaustive strategy could make was made.
    complete: bool = true,
    finding: ?Finding = null,
};

/// Explores `kernel` by `plan`, with `mutation` switched on. `first_seed` is the seed of the first
/// run of a random strategy; the next ones count up from it.
pub fn explore(
    kernel: *const Kernel,
    plan: Plan,
    mutation: sync.Mutation,
    first_seed: u64,
) Report {
    var explorer: Explorer = .{
        .kernel = kernel,
        .plan = plan,
        .first_seed = first_seed,
        .options = .{
            .strategy = plan.strategy,
            .seed = first_seed,
            .depth = plan.depth,
            .preemptions_max = plan.preemptions_max,
            .store_buffers = plan.store_buffers,
            .split_copies = plan.split_copies,
            .accesses_max = plan.accesses_max,
            .mutation = mutation,
        },
    };
    explorer.options.accesses_expected = explorer.measure();
    explorer.exploreDeaths(0);
    return explorer.report;
}

/// Repeats one run: `options` as in a finding, `schedule` for the exhaustive strategy. An empty
/// schedule is the run without preemption.
pub fn repeat(
    kernel: *const Kernel,
    options: scheduler.Options,
    schedule: []const u8,
) error{BadSchedule}!?Finding {
    var explorer: Explorer = .{
        .kernel = kernel,
        .plan = .{ .strategy = options.strategy, .runs_max = 1 },
        .first_seed = options.seed,
        .options = options,
    };
    assert(options.deaths.len <= victims_max);
    @memcpy(explorer.deaths[0..options.deaths.len], options.deaths);
    // The length of a typical run is drawn into priorities, so it has to be found again.
    const tracer = scheduler.tracer;
    scheduler.tracer = null;
    explorer.options.accesses_expected = explorer.measure();
    scheduler.tracer = tracer;
    try scheduler.tape.parse(schedule);
    _ = explorer.runOnce(options.deaths.len);
    return explorer.report.finding;
}

const Explorer = struct {
    kernel: *const Kernel,
    plan: Plan,
    first_seed: u64,
    options: scheduler.Options,
    deaths: [victims_max]scheduler.Death = undefined,
    report: Report = .{},

    /// Returns the number of accesses of a run in which nobody is preempted.
    fn measure(explorer: *Explorer) u32 {
        scheduler.options = explorer.options;
        scheduler.options.strategy = .exhaustive;
        scheduler.options.deaths = &.{};
        scheduler.tape.clear();
        _ = explorer.runKernel();
        return scheduler.accesses_total;
    }

    fn runKernel(explorer: *Explorer) scheduler.Outcome {
        const kernel = explorer.kernel;
        return scheduler.run(kernel.threads, kernel.init, kernel.check);
    }

    /// Chooses the point of death of victim number `level` and of all after it. Returns whether
    /// the victims chosen so far died in any run.
    fn exploreDeaths(explorer: *Explorer, level: usize) void {
        const victims = explorer.plan.victims;
        assert(victims.len <= victims_max);
        if (level == victims.len) {
            _ = explorer.exploreRuns(victims.len);
            return;
        }
        var point: u32 = 0;
        while (explorer.report.finding == null) : (point += 1) {
            explorer.deaths[level] = .{
                .fiber = victims[level].fiber,
                .access = point,
                .kind = victims[level].kind,
            };
            if (level + 1 < victims.len) {
                // Does the point exist at all? Later victims multiply the work.
                if (!explorer.reachable(level)) return;
                explorer.exploreDeaths(level + 1);
            } else {
                const reached = explorer.exploreRuns(victims.len);
                if (!reached) return;
                explorer.report.death_points += 1;
            }
        }
    }

    fn reachable(explorer: *Explorer, level: usize) bool {
        explorer.useDeaths(level + 1);
        scheduler.options.strategy = .exhaustive;
        scheduler.tape.clear();
        _ = explorer.runKernel();
        return scheduler.struck(explorer.deaths[level].fiber);
    }

    fn useDeaths(explorer: *Explorer, count: usize) void {
        explorer.options.deaths = explorer.deaths[0..count];
        scheduler.options = explorer.options;
    }

    /// Makes all runs with the deaths chosen. Returns whether the last victim died in any of them.
    fn exploreRuns(explorer: *Explorer, deaths: usize) bool {
        explorer.options.seed = explorer.first_seed;
        scheduler.tape.clear();
        var reached = deaths == 0;
        var runs: u64 = 0;
        while (runs < explorer.plan.runs_max) {
            runs += 1;
            if (explorer.runOnce(deaths)) return true;
            if (deaths > 0 and scheduler.struck(explorer.deaths[deaths - 1].fiber)) reached = true;
            if (explorer.plan.strategy == .exhaustive) {
                if (!scheduler.tape.advance()) return reached;
            } else {
                explorer.options.seed +%= 1;
            }
        }
        if (explorer.plan.strategy == .exhaustive) explorer.report.complete = false;
        return reached;
    }

    /// Makes one run. Returns whether it failed.
    fn runOnce(explorer: *Explorer, deaths: usize) bool {
        explorer.useDeaths(deaths);
        const outcome = explorer.runKernel();
        explorer.report.runs += 1;
        explorer.report.accesses += scheduler.accesses_total;
        if (outcome == .ok) return false;

        explorer.report.finding = .{
            .outcome = outcome,
            .options = explorer.options,
            .deaths = explorer.deaths,
        };
        const finding = &explorer.report.finding.?;
        const text = scheduler.message();
        @memcpy(finding.message_buffer[0..text.len], text);
        finding.message_length = text.len;
        if (explorer.plan.strategy == .exhaustive) {
            var writer: std.Io.Writer = .fixed(&finding.schedule_buffer);
            scheduler.tape.write(&writer) catch {}; // A longer schedule is cut off.
            finding.schedule_length = writer.end;
        }
        return true;
    }
};
