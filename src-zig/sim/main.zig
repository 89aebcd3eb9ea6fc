//! The simulator's command line.
//!
//!     sim list                     the kernels and what they check
//!     sim quick [PREFIX [SEED]]    every plan of every kernel; for continuous integration
//!     sim mutations [PREFIX]       every deliberate mistake must be caught
//!     sim run KERNEL [options]     one kernel: --count runs, or one schedule again
//!
//! Options of `run`: --strategy random|priority|exhaustive, --seed N, --count N, --preemptions N,
//! --depth N, --schedule TEXT, --kill FIBER:ACCESS, --freeze FIBER:ACCESS, --mutation NAME,
//! --store-buffers, --split-copies, --accesses N, --trace. A failed run prints the options that
//! repeat it. Add --trace to see each access, with the source line that made it.
//!
//! Exit code 0 means that everything was as it should be.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const scheduler = sync.scheduler;
const explore_module = @import("explore.zig");
const arguments_module = @import("arguments.zig");
const trace = @import("trace.zig");
const Kernel = @import("kernel.zig").Kernel;
const Plan = @import("kernel.zig").Plan;

const kernels = @import("kernels/stack.zig").kernels ++
    @import("kernels/pin.zig").kernels ++
    @import("kernels/guard.zig").kernels ++
    @import("kernels/commit.zig").kernels ++
    @import("kernels/read.zig").kernels ++
    @import("kernels/row.zig").kernels ++
    @import("kernels/heap.zig").kernels ++
    @import("kernels/isolation.zig").kernels ++
    @import("kernels/savepoint.zig").kernels ++
    @import("kernels/gate.zig").kernels ++
    @import("kernels/ticket.zig").kernels ++
    @import("kernels/revocation.zig").kernels ++
    @import("kernels/index.zig").kernels ++
    @import("kernels/unique.zig").kernels ++
    @import("kernels/build.zig").kernels ++
    @import("kernels/maintenance.zig").kernels ++
    @import("kernels/log.zig").kernels ++
    @import("kernels/gather.zig").kernels ++
    @import("kernels/guide.zig").kernels ++
    @import("kernels/summary.zig").kernels ++
    @import("kernels/death.zig").kernels;

pub const panic = std.debug.FullPanic(scheduler.onPanic);
pub const std_options: std.Options = .{ .enable_segfault_handler = false };

pub fn main(init: std.process.Init) !u8 {
    installFaultHandler();
    var buffer: [4096]u8 = undefined;
    var stdout = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    var session: Session = .{ .out = &stdout.interface, .io = init.io };
    defer session.out.flush() catch {};

    var words = init.minimal.args.iterate();
    _ = words.next();
    const command = words.next() orelse "quick";
    if (std.mem.eql(u8, command, "list")) return session.list();
    if (std.mem.eql(u8, command, "quick")) {
        const prefix = words.next() orelse "";
        const seed = words.next() orelse "1";
        session.first_seed = std.fmt.parseInt(u64, seed, 10) catch {
            try session.out.print("sim quick: \"{s}\" is no seed\n", .{seed});
            return 2;
        };
        return session.quick(prefix);
    }
    if (std.mem.eql(u8, command, "mutations")) return session.mutations(words.next() orelse "");
    if (std.mem.eql(u8, command, "run")) {
        const arguments = arguments_module.parse(&words) catch |err| {
            try session.out.print("sim run: {t}; see the top of main.zig\n", .{err});
            return 2;
        };
        return session.run(&arguments);
    }
    try session.out.print("sim: no command \"{s}\"; list, quick, mutations or run\n", .{command});
    return 2;
}

const Session = struct {
    out: *std.Io.Writer,
    io: std.Io,
    /// Random plans count up from it. A fixed one makes continuous integration repeatable.
    first_seed: u64 = 1,
    passed: u32 = 0,
    failed: u32 = 0,

    fn list(session: *Session) !u8 {
        for (&kernels) |*kernel| {
            try session.out.print("{s:<28} {s}\n", .{ kernel.name, kernel.about });
        }
        return 0;
    }

    fn quick(session: *Session, prefix: []const u8) !u8 {
        for (&kernels) |*kernel| {
            if (!std.mem.startsWith(u8, kernel.name, prefix)) continue;
            for (kernel.plans) |plan| try session.judge(kernel, plan, .none);
        }
        return session.sum();
    }

    /// Every mistake that some kernel claims to notice, one at a time.
    fn mutations(session: *Session, prefix: []const u8) !u8 {
        var known: std.EnumSet(sync.Mutation) = .empty;
        known.insert(.none);
        for (&kernels) |*kernel| {
            for (kernel.catches) |catching| {
                known.insert(catching.mutation);
                if (!std.mem.startsWith(u8, kernel.name, prefix)) continue;
                try session.judge(kernel, catching.plan, catching.mutation);
            }
        }
        var unclaimed = known.complement().iterator();
        while (unclaimed.next()) |mutation| {
            try session.out.print("{t}: no kernel looks for it\n", .{mutation});
        }
        return session.sum();
    }

    fn sum(session: *Session) !u8 {
        try session.out.print("{d} passed, {d} failed\n", .{ session.passed, session.failed });
        return if (session.failed == 0) 0 else 1;
    }

    fn judge(session: *Session, kernel: *const Kernel, plan: Plan, mutation: sync.Mutation) !void {
        const start = std.Io.Clock.awake.now(session.io);
        const report = explore_module.explore(kernel, plan, mutation, session.first_seed);
        const elapsed = start.durationTo(std.Io.Clock.awake.now(session.io));
        const seconds = @as(f64, @floatFromInt(elapsed.toNanoseconds())) / std.time.ns_per_s;

        const found = report.finding != null;
        const exhausted = plan.strategy != .exhaustive or report.complete or !plan.complete;
        const good = found == plan.expect_finding and (found or exhausted);
        if (good) session.passed += 1 else session.failed += 1;

        const out = session.out;
        try out.print("{s} {s:<28} ", .{ if (good) "ok  " else "FAIL", kernel.name });
        try writePlan(out, plan, mutation);
        if (report.death_points > 0) try out.print(" {d} death points,", .{report.death_points});
        try out.print(" {d} schedules, {d} accesses, {d:.2} s", .{
            report.runs,
            report.accesses,
            seconds,
        });
        if (!report.complete and !found) try out.writeAll(", not complete");
        if (report.finding) |*finding| {
            try out.print("\n     {s}: {s}\n     ", .{
                if (plan.expect_finding) "caught" else "found",
                finding.message(),
            });
            try finding.writeCommand(kernel.name, out);
        }
        if (plan.expect_finding and !found) try out.writeAll("\n     not caught");
        try out.writeAll("\n");
        try out.flush();
    }

    fn run(session: *Session, arguments: *const arguments_module.Arguments) !u8 {
        const kernel = for (&kernels) |*kernel| {
            if (std.mem.eql(u8, kernel.name, arguments.kernel)) break kernel;
        } else {
            try session.out.print("sim run: no kernel \"{s}\"; see sim list\n", .{
                arguments.kernel,
            });
            return 2;
        };
        var options = arguments.options;
        options.deaths = arguments.deaths[0..arguments.deaths_count];
        if (arguments.trace) scheduler.tracer = trace.print;
        if (arguments.schedule == null and options.deaths.len == 0 and arguments.count != 1) {
            const plan = planOf(arguments);
            const report = explore_module.explore(kernel, plan, options.mutation, options.seed);
            try session.out.print("{d} schedules, {d} accesses\n", .{
                report.runs,
                report.accesses,
            });
            return session.conclude(kernel, report.finding);
        }
        const finding = try explore_module.repeat(kernel, options, arguments.schedule orelse "");
        return session.conclude(kernel, finding);
    }

    fn conclude(session: *Session, kernel: *const Kernel, finding: ?explore_module.Finding) !u8 {
        const found = if (finding) |*it| it else {
            try session.out.writeAll("ok\n");
            return 0;
        };
        try session.out.print("{t}: {s}\n", .{ found.outcome, found.message() });
        try found.writeCommand(kernel.name, session.out);
        try session.out.writeAll("\n");
        return 1;
    }
};

fn planOf(arguments: *const arguments_module.Arguments) Plan {
    const options = arguments.options;
    return .{
        .strategy = options.strategy,
        .runs_max = arguments.count,
        .preemptions_max = options.preemptions_max,
        .depth = options.depth,
        .store_buffers = options.store_buffers,
        .split_copies = options.split_copies,
        .accesses_max = options.accesses_max,
    };
}

fn writePlan(out: *std.Io.Writer, plan: Plan, mutation: sync.Mutation) !void {
    try out.print("{t}", .{plan.strategy});
    switch (plan.strategy) {
        .exhaustive => try out.print(" {d}", .{plan.preemptions_max}),
        .priority => try out.print(" {d}", .{plan.depth}),
        .random => {},
    }
    if (plan.store_buffers) try out.writeAll(" tso");
    for (plan.victims) |victim| try out.print(" {t} {d}", .{ victim.kind, victim.fiber });
    if (mutation != .none) try out.print(" [{t}]", .{mutation});
    try out.writeAll(":");
}

var fault_stack: [64 << 10]u8 align(16) = undefined;

/// A wild pointer in the code under test is a finding like any other.
fn installFaultHandler() void {
    if (builtin.os.tag != .linux) return;
    var stack: std.posix.stack_t = .{ .sp = &fault_stack, .flags = 0, .size = fault_stack.len };
    std.posix.sigaltstack(&stack, null) catch return;
    const action: std.posix.Sigaction = .{
        .handler = .{ .handler = onFault },
        .mask = std.posix.sigemptyset(),
        // The handler never returns, so the signal must not stay blocked.
        .flags = std.posix.SA.ONSTACK | std.posix.SA.NODEFER,
    };
    for ([_]std.posix.SIG{ .SEGV, .BUS, .ILL, .FPE }) |signal| {
        std.posix.sigaction(signal, &action, null);
    }
}

fn onFault(signal: std.posix.SIG) callconv(.c) void {
    scheduler.onPanic(@tagName(signal), null);
}

test {
    _ = sync;
    _ = arguments_module;
    for (&kernels) |*kernel| {
        // `sim quick` runs every plan in full, and many times faster.
        var plan = kernel.plans[0];
        plan.runs_max = 1;
        const report = explore_module.explore(kernel, plan, .none, 1);
        if (!plan.expect_finding) try std.testing.expect(report.finding == null);
    }
}
