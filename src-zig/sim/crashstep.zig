//! Kill -9 at every machine instruction, without killing anybody.
//!
//!     crashstep              every operation
//!     crashstep NAME         one of them
//!     crashstep --thorough   also the recovery of many of the states that an operation leaves
//!
//! A child runs one operation of the real engine on a shared mapping, one instruction at a time
//! (PTRACE_SINGLESTEP). Whenever an instruction has changed the mapping, the parent copies it: that
//! is exactly what the child would have left if it had been killed there. The parent recovers the
//! copy as the next process would, and then demands that
//!
//!   * verify finds no leak and no contradiction, before and after everything is drained
//!   * the rows are those from before the operation or those after it, and never go back
//!   * the row counter agrees with them
//!
//! Nothing in the engine helps; what is tested is what the compiler made of it, so build it with
//! -Doptimize=ReleaseSafe (a debug build has ten times the instructions). x86-64 Linux only,
//! and only where the kernel lets a process trace its child.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const engine = @import("aerostore");
const crash_operations = @import("crash_operations.zig");
const linux = std.os.linux;
const Bench = crash_operations.Bench;
const Operation = crash_operations.Operation;
const Rows = crash_operations.Rows;
const drainRing = crash_operations.drainRing;
const heap = &crash_operations.heap;
const operations = crash_operations.operations;
const Session = engine.session.Session;
const Region = engine.region.Region;
const TableInfo = engine.table_info.TableInfo;

const region_size = 2 << 20;
/// Every this many states of an operation, the recovery of that state is stepped through as well.
const recovery_stride = 9;

// ----------------------------------------------------------------------------- memory

/// Memory of the process that recovers a copy.
var janitor_bytes: [8 << 20]u8 = undefined;
var janitor_heap: std.heap.FixedBufferAllocator = .init(&janitor_bytes);

const Memory = []align(4096) u8;

/// What the child and the parent share.
var shared: Memory = undefined;
/// `shared` as it was after the last change.
var previous: Memory = undefined;
/// Where a copy is recovered.
var scratch: Memory = undefined;

fn map() !Memory {
    const flags: std.posix.MAP = .{ .TYPE = .SHARED, .ANONYMOUS = true };
    const bytes = try std.posix.mmap(
        null,
        region_size,
        .{ .READ = true, .WRITE = true },
        flags,
        -1,
        0,
    );
    return @alignCast(bytes);
}

/// Bytes from the start that anybody can have written.
fn usedBytes() usize {
    const region: Region = .init(shared.ptr);
    const top = region.control.memory.slab_top.raw + 1;
    const slabs_start = @as(usize, region.slabs_first) * engine.limits.granule_size;
    return @min(shared.len, slabs_start + top * engine.limits.slab_size);
}

fn makeBench() !Bench {
    heap.reset();
    @memset(shared, 0);
    try engine.region.format(shared.ptr, .{
        .size_max = region_size,
        .cells_log2 = 10,
        .buckets_log2 = 10,
    }, .{});
    var bench: Bench = .{
        .region = .init(shared.ptr),
        .table = try .init(0, "t", &.{
            .init("id", .int64, 0, .{ .primary = true }),
            .init("n", .int64, 0, .{}),
            .init("s", .text, 100, .{}),
        }),
        .session = undefined,
    };
    const process = &bench.region.processes[0];
    process.generation.raw = 1;
    process.state.raw = 1;
    return bench;
}

// ----------------------------------------------------------------------------- checking

const Expectation = struct {
    before: Rows,
    after: Rows,
    seen_after: bool = false,
    /// Whether `prepare` left rows that must be there whatever happens is part of `before`.
    states: u64 = 0,

    /// Recovers `scratch`, which is a state that a killed process left, and looks at it. Returns
    /// what is wrong, or null.
    fn check(expectation: *Expectation, table: TableInfo) ?[]const u8 {
        expectation.states += 1;
        janitor_heap.reset();
        var bench: Bench = .{ .region = .init(scratch.ptr), .table = table, .session = undefined };
        const region = &bench.region;
        _ = engine.recovery.recoverProcess(region, 0);
        const claim = engine.session.processClaim(1, 1);
        const session = Session.open(region, janitor_heap.allocator(), claim) catch
            return "no session can be opened";
        if (verify(session)) |problem| return problem;
        const rows = bench.rows(session);
        const is_after = std.meta.eql(rows, expectation.after);
        if (!is_after and !std.meta.eql(rows, expectation.before)) return "the rows are torn";
        if (!is_after and expectation.seen_after) return "a commit is lost";
        // Where the operation changes nothing, both are the same and nothing can be lost.
        if (!std.meta.eql(expectation.before, expectation.after)) {
            expectation.seen_after = expectation.seen_after or is_after;
        }
        var count: u64 = 0;
        for (rows) |value| count += @intFromBool(value != null);
        if (engine.row_count.total(region, 0) != count) return "the row counter is wrong";
        settle(region, session, claim);
        return verify(session);
    }
};

fn verify(session: *Session) ?[]const u8 {
    const report = engine.integrity.verify(session, janitor_heap.allocator()) catch
        return "verify runs out of memory";
    if (report.problems.items.len > 0) return report.problems.items[0];
    if (!report.quiescent) return "the region does not come to rest";
    if (report.leaks > 0) return "a block is lost";
    return null;
}

/// Frees everything that can be freed.
fn settle(region: *const Region, session: *Session, claim: u64) void {
    for (0..3) |_| {
        drainRing(region, session);
        engine.vacuum.burnPosition(region);
        drainRing(region, session);
        engine.vacuum.advanceHorizon(region);
        for (0..engine.limits.slot_count) |slot| {
            const gpa = janitor_heap.allocator();
            const orphan = Session.adopt(region, gpa, @intCast(slot), claim) catch continue;
            const open = orphan orelse continue;
            open.pin();
            _ = engine.vacuum.drain(open, std.math.maxInt(u32));
            open.unpin();
            open.close();
        }
        session.pin();
        _ = engine.vacuum.drain(session, std.math.maxInt(u32));
        session.unpin();
    }
}

// ----------------------------------------------------------------------------- stepping

const Stepped = struct {
    instructions: u64 = 0,
    changes: u64 = 0,
};

/// Runs `function` in a child, one instruction at a time, and calls `onChange` after each one that
/// changed the shared memory.
fn stepThrough(
    bench: *Bench,
    function: *const fn (bench: *Bench) void,
    context: anytype,
    comptime onChange: fn (context: @TypeOf(context)) anyerror!void,
) !Stepped {
    @memcpy(previous, shared);
    const forked = linux.fork();
    if (linux.errno(forked) != .SUCCESS) return error.ForkFailed;
    const pid: linux.pid_t = @intCast(forked);
    if (pid == 0) {
        const traced = linux.ptrace(linux.PTRACE.TRACEME, 0, 0, 0, 0);
        if (linux.errno(traced) != .SUCCESS) linux.exit_group(tracing_refused);
        _ = linux.kill(linux.getpid(), .STOP);
        function(bench);
        linux.exit_group(0);
    }
    var stepped: Stepped = .{};
    var status: u32 = 0;
    _ = linux.waitpid(pid, &status, 0);
    if (linux.W.IFEXITED(status)) return error.TracingRefused;
    const kill_with_us = 0x0010_0000; // PTRACE_O_EXITKILL
    _ = linux.ptrace(linux.PTRACE.SETOPTIONS, pid, 0, kill_with_us, 0);
    while (true) {
        const rc = linux.ptrace(linux.PTRACE.SINGLESTEP, pid, 1, 0, 0);
        if (linux.errno(rc) != .SUCCESS) return error.TracingRefused;
        _ = linux.waitpid(pid, &status, 0);
        if (linux.W.IFEXITED(status)) {
            if (linux.W.EXITSTATUS(status) != 0) return error.OperationFailed;
            return stepped;
        }
        if (linux.W.IFSIGNALED(status)) return error.OperationFailed;
        if (linux.W.STOPSIG(status) != .TRAP) return error.OperationFailed;
        stepped.instructions += 1;
        const used = usedBytes();
        if (isSame(previous[0..used], shared[0..used])) continue;
        stepped.changes += 1;
        @memcpy(previous[0..used], shared[0..used]);
        try onChange(context);
    }
}

const tracing_refused = 77;

/// Compares mappings. It runs once per instruction, so it must be as fast in a debug build as in
/// any other; a loop in Zig is not.
fn isSame(a: []align(4096) const u8, b: []align(4096) const u8) bool {
    std.debug.assert(a.len == b.len and a.len % 8 == 0 and a.len > 0);
    var left = a.len / 8;
    var at_a = a.ptr;
    var at_b = b.ptr;
    var equal: u8 = 0;
    asm volatile (
        \\cld
        \\repe cmpsq
        \\sete %[equal]
        : [equal] "=r" (equal),
          [left] "+{rcx}" (left),
          [at_a] "+{rsi}" (at_a),
          [at_b] "+{rdi}" (at_b),
        :
        : .{ .memory = true, .cc = true });
    return equal != 0;
}

/// The states that an operation leaves, checked one by one.
const Walk = struct {
    bench: *Bench,
    expectation: *Expectation,
    /// Set in a thorough run: some of the states, to step their recovery later.
    kept: ?*std.ArrayList([]u8) = null,
    gpa: std.mem.Allocator,

    fn onChange(walk: *Walk) anyerror!void {
        @memcpy(scratch, shared);
        if (walk.expectation.check(walk.bench.table)) |problem| {
            std.debug.print("state {d}: {s}\n", .{ walk.expectation.states, problem });
            return error.StateIsWrong;
        }
        const kept = walk.kept orelse return;
        if (walk.expectation.states % recovery_stride != 0) return;
        try kept.append(walk.gpa, try walk.gpa.dupe(u8, shared));
    }
};

fn recoverShared(bench: *Bench) void {
    _ = engine.recovery.recoverProcess(&bench.region, 0);
}

fn runOperation(operation: *const Operation, thorough: bool, gpa: std.mem.Allocator) !void {
    var bench = try makeBench();
    const claim = engine.session.processClaim(0, 1);
    bench.session = try Session.open(&bench.region, heap.allocator(), claim);
    if (operation.indexed) try bench.addIndexes();
    operation.prepare(&bench);
    var expectation: Expectation = .{ .before = bench.rows(bench.session), .after = undefined };
    expectation.after = try rowsAfter(&bench, operation);

    var kept: std.ArrayList([]u8) = .empty;
    defer {
        for (kept.items) |state| gpa.free(state);
        kept.deinit(gpa);
    }
    var walk: Walk = .{
        .bench = &bench,
        .expectation = &expectation,
        .kept = if (thorough) &kept else null,
        .gpa = gpa,
    };
    const stepped = try stepThrough(&bench, operation.run, &walk, Walk.onChange);
    @memcpy(scratch, shared);
    expectation.seen_after = true; // The operation has returned: it is acknowledged.
    if (expectation.check(bench.table)) |problem| {
        std.debug.print("at the end: {s}\n", .{problem});
        return error.StateIsWrong;
    }
    std.debug.print("ok   {s:<18} {d} instructions, {d} states\n", .{
        operation.name,
        stepped.instructions,
        stepped.changes,
    });
    if (thorough) try stepRecoveries(&bench, operation, expectation, kept.items);
}

/// The rows that the operation makes, found by a child that runs it at full speed.
fn rowsAfter(bench: *Bench, operation: *const Operation) !Rows {
    const saved = previous;
    @memcpy(saved, shared);
    const forked = linux.fork();
    if (linux.errno(forked) != .SUCCESS) return error.ForkFailed;
    if (forked == 0) {
        operation.run(bench);
        linux.exit_group(0);
    }
    var status: u32 = 0;
    _ = linux.waitpid(@intCast(forked), &status, 0);
    if (!linux.W.IFEXITED(status)) return error.OperationFailed;
    @memcpy(scratch, shared);
    @memcpy(shared, saved);
    janitor_heap.reset();
    var reader: Bench = .{
        .region = .init(scratch.ptr),
        .table = bench.table,
        .session = undefined,
    };
    const claim = engine.session.processClaim(1, 1);
    const session = try Session.open(&reader.region, janitor_heap.allocator(), claim);
    return reader.rows(session);
}

/// The recoverer is killed at every instruction too, and another one recovers what it left.
fn stepRecoveries(
    bench: *Bench,
    operation: *const Operation,
    first: Expectation,
    states: []const []u8,
) !void {
    var total: Stepped = .{};
    for (states) |state| {
        @memcpy(shared, state);
        var expectation = first;
        expectation.seen_after = false;
        var walk: Walk = .{ .bench = bench, .expectation = &expectation, .gpa = undefined };
        const stepped = try stepThrough(bench, recoverShared, &walk, Walk.onChange);
        total.instructions += stepped.instructions;
        total.changes += stepped.changes;
    }
    std.debug.print("ok   {s:<18} {d} recoveries, {d} instructions, {d} states\n", .{
        operation.name,
        states.len,
        total.instructions,
        total.changes,
    });
}

pub fn main(init: std.process.Init) !u8 {
    if (builtin.os.tag != .linux or builtin.cpu.arch != .x86_64) {
        std.debug.print("skipped: it runs on x86-64 Linux only\n", .{});
        return 0;
    }
    shared = try map();
    previous = try map();
    scratch = try map();
    var thorough = false;
    var only: ?[]const u8 = null;
    var words = init.minimal.args.iterate();
    _ = words.next();
    while (words.next()) |word| {
        if (std.mem.eql(u8, word, "--thorough")) thorough = true else only = word;
    }
    var passed: u32 = 0;
    var failed: u32 = 0;
    for (&operations) |*operation| {
        if (only) |name| if (!std.mem.eql(u8, name, operation.name)) continue;
        if (runOperation(operation, thorough, init.gpa)) |_| {
            passed += 1;
        } else |err| {
            if (err == error.TracingRefused) {
                std.debug.print("skipped: this system does not allow tracing\n", .{});
                return 0;
            }
            failed += 1;
            std.debug.print("FAIL {s:<18} {t}\n", .{ operation.name, err });
        }
    }
    std.debug.print("{d} passed, {d} failed\n", .{ passed, failed });
    return if (failed == 0 and passed > 0) 0 else 1;
}
