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
const linux = std.os.linux;
const OpenTransaction = engine.open_transaction.OpenTransaction;
const Session = engine.session.Session;
const Region = engine.region.Region;
const TableInfo = engine.table_info.TableInfo;

const region_size = 2 << 20;
const keys = 6;
/// Every this many states of an operation, the recovery of that state is stepped through as well.
const recovery_stride = 9;

const Rows = [keys]?i64;

/// The engine on one mapping, as one process sees it.
const Bench = struct {
    region: Region,
    table: TableInfo,
    indexes: engine.table_indexes.TableIndexes = undefined,
    session: *Session,

    /// Gives the table an index on its number and one on its text. The bench stays where it is.
    fn addIndexes(bench: *Bench) !void {
        for ([_]u8{ 1, 2 }) |column| {
            _ = try engine.table_indexes.add(&bench.region, 0, .{
                .keys = .of(&bench.table, &.{column}),
                .unique = column == 1,
                .phase = .ready,
            });
        }
        bench.indexes = .init(&bench.region, &bench.table);
        bench.table.indexes = &bench.indexes;
        _ = bench.indexes.current();
    }

    fn write(
        bench: *Bench,
        operation: engine.transaction.Operation,
        key: u8,
        number: i64,
    ) engine.transaction.Outcome {
        var line: Line = undefined;
        line.init(&bench.table, operation, key, number);
        const result = engine.statement.write(bench.session, &line.write) catch |err|
            std.debug.panic("a write fails: {t}", .{err});
        return result.outcome;
    }

    fn rows(bench: *Bench, session: *Session) Rows {
        var seen: Rows = @splat(null);
        session.pin();
        defer session.unpin();
        for (&seen, 0..) |*value, key| {
            const cell: [8]u8 = @bitCast(@as(u64, key));
            const found = engine.reader.find(&bench.region, &bench.table, .of(0, &cell), .latest);
            const row = (found catch |err| std.debug.panic("a read fails: {t}", .{err})) orelse
                continue;
            value.* = row.int64(bench.table.columns[1].offset);
            const text = row.text(&bench.table.columns[2]);
            if (!std.mem.eql(u8, text, textOf(value.*.?))) @panic("a text is torn");
        }
        return seen;
    }
};

/// Numbers decide the text beside them, so that a torn row is noticed, and its length.
fn textOf(number: i64) []const u8 {
    const all = "a text that does not fit into the fixed part of a row, by any means at all";
    return all[0..@intCast(@mod(number, 2) * @as(i64, all.len))];
}

/// A write with the memory that it points to.
const Line = struct {
    write: engine.transaction.Write,
    cell: [8]u8,
    payload: [256]u8 align(8),
    expressions: [1]engine.row_merge.Expression,

    fn init(
        line: *Line,
        table: *const TableInfo,
        operation: engine.transaction.Operation,
        key: u8,
        number: i64,
    ) void {
        line.cell = @bitCast(@as(u64, key));
        var builder: engine.row.Builder = .init(table, &line.payload);
        builder.setInt64(0, key);
        builder.setInt64(1, number);
        builder.setText(2, textOf(number)) catch unreachable;
        line.expressions[0] = .{
            .column = 1,
            .operation = .increment,
            .operand = @bitCast(number),
        };
        line.write = .{
            .table = table,
            .operation = operation,
            .key = .of(0, &line.cell),
            .image = builder.finish(),
            .mask = if (operation == .update) 0b110 else 0,
            .expressions = if (operation == .apply) &line.expressions else &.{},
        };
    }
};

const Operation = struct {
    name: []const u8,
    prepare: *const fn (bench: *Bench) void = prepareRows,
    /// The table has indexes, one of them unique.
    indexed: bool = false,
    run: *const fn (bench: *Bench) void,
};

fn prepareNothing(_: *Bench) void {}

fn prepareRows(bench: *Bench) void {
    for (0..3) |key| _ = bench.write(.insert, @intCast(key), @intCast(100 + key));
}

fn prepareTombstone(bench: *Bench) void {
    prepareRows(bench);
    _ = bench.write(.delete, 0, 0);
}

/// Superseded versions and a deleted row wait in the log for a horizon that has passed them.
fn prepareGarbage(bench: *Bench) void {
    prepareTombstone(bench);
    for (0..4) |i| _ = bench.write(.upsert, 1, @intCast(200 + i));
    drainRing(&bench.region, bench.session);
    engine.vacuum.advanceHorizon(&bench.region);
}

/// The next entry of the log begins a new chunk.
fn prepareFullChunk(bench: *Bench) void {
    prepareRows(bench);
    const chunk = engine.slot_log.entries_per_chunk;
    while (bench.session.log.head % chunk != chunk - 1) _ = bench.write(.upsert, 1, 4);
}

fn insertFirst(bench: *Bench) void {
    _ = bench.write(.insert, 4, 401);
}

fn upsert(bench: *Bench) void {
    _ = bench.write(.upsert, 1, 301);
}

fn update(bench: *Bench) void {
    _ = bench.write(.update, 1, 302);
}

fn apply(bench: *Bench) void {
    _ = bench.write(.apply, 1, 2);
}

fn delete(bench: *Bench) void {
    _ = bench.write(.delete, 1, 0);
}

fn insertDuplicate(bench: *Bench) void {
    if (bench.write(.insert, 1, 5) != .duplicate_key) @panic("a duplicate is inserted");
}

fn reinsert(bench: *Bench) void {
    _ = bench.write(.insert, 0, 303);
}

fn writeMany(bench: *Bench) void {
    var lines: [3]Line = undefined;
    lines[0].init(&bench.table, .upsert, 0, 501);
    lines[1].init(&bench.table, .delete, 1, 0);
    lines[2].init(&bench.table, .insert, 5, 502);
    var writes = [_]engine.transaction.Write{ lines[0].write, lines[1].write, lines[2].write };
    _ = engine.statement.writeMany(bench.session, &writes) catch |err|
        std.debug.panic("a write fails: {t}", .{err});
}

/// Reads, writes, takes a part of that back, and commits.
fn transact(bench: *Bench) void {
    const open = OpenTransaction.begin(bench.session, heap.allocator(), .{}) catch |err|
        std.debug.panic("a transaction fails: {t}", .{err});
    step(bench, open, .apply, 0, 8);
    step(bench, open, .upsert, 4, 601);
    const place = open.savepoint();
    step(bench, open, .delete, 1, 0);
    step(bench, open, .insert, 5, 602);
    open.rollbackTo(place);
    step(bench, open, .delete, 2, 0);
    const result = open.commit() catch |err| std.debug.panic("a commit fails: {t}", .{err});
    if (result != .committed) @panic("a transaction without rivals does not commit");
    open.destroy();
}

fn step(
    bench: *Bench,
    open: *OpenTransaction,
    operation: engine.transaction.Operation,
    key: u8,
    number: i64,
) void {
    var line: Line = undefined;
    line.init(&bench.table, operation, key, number);
    open.enter() catch |err| std.debug.panic("a statement fails: {t}", .{err});
    defer open.leave();
    const outcome = open.write(&line.write) catch |err|
        std.debug.panic("a statement fails: {t}", .{err});
    if (outcome != .done) @panic("a statement is refused");
}

/// The number of another row, which a unique index refuses at the very end.
fn violate(bench: *Bench) void {
    if (bench.write(.upsert, 1, 102) != .unique_violation) @panic("a number is there twice");
}

fn vacuum(bench: *Bench) void {
    bench.session.pin();
    _ = engine.vacuum.drain(bench.session, 100);
    bench.session.unpin();
}

fn drain(bench: *Bench) void {
    drainRing(&bench.region, bench.session);
    engine.vacuum.advanceHorizon(&bench.region);
}

fn reopen(bench: *Bench) void {
    bench.session.close();
    const claim = engine.session.processClaim(0, 1);
    bench.session = Session.open(&bench.region, heap.allocator(), claim) catch unreachable;
    _ = bench.write(.upsert, 1, 306);
}

const operations = [_]Operation{
    .{ .name = "insert_first", .prepare = prepareNothing, .run = insertFirst },
    .{ .name = "insert", .run = insertFirst },
    .{ .name = "insert_duplicate", .run = insertDuplicate },
    .{ .name = "upsert", .run = upsert },
    .{ .name = "update", .run = update },
    .{ .name = "apply", .run = apply },
    .{ .name = "delete", .run = delete },
    .{ .name = "reinsert", .prepare = prepareTombstone, .run = reinsert },
    .{ .name = "write_many", .run = writeMany },
    .{ .name = "new_chunk", .prepare = prepareFullChunk, .run = upsert },
    .{ .name = "vacuum", .prepare = prepareGarbage, .run = vacuum },
    .{ .name = "drain", .prepare = prepareTombstone, .run = drain },
    .{ .name = "reopen", .run = reopen },
    .{ .name = "transaction", .run = transact },
    .{ .name = "index_insert", .run = insertFirst, .indexed = true },
    .{ .name = "index_move", .run = upsert, .indexed = true },
    .{ .name = "index_delete", .run = delete, .indexed = true },
    .{ .name = "index_violation", .run = violate, .indexed = true },
    .{ .name = "index_vacuum", .prepare = prepareGarbage, .run = vacuum, .indexed = true },
    .{ .name = "index_transaction", .run = transact, .indexed = true },
};

// ----------------------------------------------------------------------------- memory

var heap_bytes: [1 << 20]u8 = undefined;
var heap: std.heap.FixedBufferAllocator = .init(&heap_bytes);
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

fn drainRing(region: *const Region, session: *Session) void {
    session.pin();
    _ = engine.commit_ring.advance(region, std.math.maxInt(u32));
    session.unpin();
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
