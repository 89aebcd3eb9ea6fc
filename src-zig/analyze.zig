//! Measures a query: how many rows each step of it got and gave, and how long each took.
//!
//! The steps are those of the executor, one after the other over a block of rows: some rows are
//! fetched, the first test runs over them, the next one over those that passed, and so on. The
//! clock is read for each block and step, not for each row, so it hardly disturbs what it measures.
//! A block is never larger than the number of rows that are still wanted: a scan that stops early
//! does so here too.
//!
//! The rows go nowhere: each batch overwrites the last.

const std = @import("std");
const sync = @import("sync");
const BatchWriter = @import("batch.zig").BatchWriter;
const Cursor = @import("executor.zig").Cursor;
const result = @import("result.zig");
const RowRef = @import("row.zig").RowRef;
const assert = std.debug.assert;

const block_size = 256;

/// Everything as f64: counts of rows, and nanoseconds.
pub const Report = extern struct {
    /// Rows that the route gave.
    visited: f64 = 0,
    route_ns: f64 = 0,
    /// Rows that passed all tests and went into a sort, and those that the sort kept.
    sorted: f64 = 0,
    kept: f64 = 0,
    sort_ns: f64 = 0,
    returned: f64 = 0,
    /// Full or last buffers of rows.
    batches: f64 = 0,
    output_bytes: f64 = 0,
    output_ns: f64 = 0,
    total_ns: f64 = 0,
    /// 1 if every row was read although the plan names an index: it does not know all rows of the
    /// snapshot.
    fell_back: f64 = 0,
    /// Tests that follow.
    steps: f64 = 0,
};

/// One test of the filter.
pub const Step = extern struct {
    /// The number of the clause in the plan.
    clause: f64,
    tested: f64 = 0,
    passed: f64 = 0,
    ns: f64 = 0,
};

/// A query while it is measured.
const Run = struct {
    cursor: *Cursor,
    steps: []Step,
    report: Report = .{},
    output: []align(8) u8,
    base: usize,
    writer: BatchWriter,
    rows: [block_size]RowRef = undefined,

    /// Fetches rows. False if there are no more.
    fn fetch(run: *Run, source: anytype, count: *usize) !bool {
        const wanted: u64 = if (run.cursor.isSorted())
            block_size
        else
            @min(block_size, run.cursor.skip +| run.cursor.left);
        const table = run.cursor.table;
        const started = sync.nowNs();
        defer run.report.route_ns += since(started);
        while (count.* < wanted) {
            const row = try source.next() orelse return false;
            if (row.size < table.fixed_size or row.size > table.payload_size_max) {
                return error.Corrupt;
            }
            run.rows[count.*] = row;
            count.* += 1;
            run.report.visited += 1;
        }
        return true;
    }

    /// Runs the tests over the first `count` rows. Returns how many passed; they stand first.
    fn filter(run: *Run, count: usize) usize {
        var left = count;
        for (run.cursor.filter.predicates, run.steps) |*predicate, *step| {
            const started = sync.nowNs();
            step.tested += @floatFromInt(left);
            var passed: usize = 0;
            for (run.rows[0..left]) |row| {
                if (!predicate.passes(row)) continue;
                run.rows[passed] = row;
                passed += 1;
            }
            left = passed;
            step.passed += @floatFromInt(passed);
            step.ns += since(started);
        }
        return left;
    }

    /// Lets rows that passed go where the executor lets them go.
    fn take(run: *Run, rows: []const RowRef) !void {
        const cursor = run.cursor;
        const started = sync.nowNs();
        if (cursor.isSorted()) {
            for (rows) |row| try cursor.sorted.offer(row);
            run.report.sorted += @floatFromInt(rows.len);
            run.report.sort_ns += since(started);
            return;
        }
        for (rows) |row| {
            if (cursor.left == 0) break;
            if (cursor.skip > 0) {
                cursor.skip -= 1;
                continue;
            }
            cursor.left -= 1;
            run.report.returned += 1;
            if (!cursor.plan.flags.count_only) try run.write(row);
        }
        run.report.output_ns += since(started);
    }

    fn write(run: *Run, row: RowRef) !void {
        if (try run.writer.append(row)) return;
        run.endBatch();
        _ = try run.writer.append(row);
    }

    fn endBatch(run: *Run) void {
        run.report.output_bytes += @floatFromInt(run.writer.batch.bytes);
        run.report.batches += 1;
        run.writer = run.cursor.batchWriter(run.output, run.base);
    }

    fn emit(run: *Run) !void {
        const cursor = run.cursor;
        const started = sync.nowNs();
        try cursor.arrange();
        run.report.kept = @floatFromInt(cursor.sorted.entries.len);
        run.report.sort_ns += since(started);
        const sorted = sync.nowNs();
        while (cursor.phase == .emit) {
            try cursor.emit(&run.writer);
            run.report.returned += @floatFromInt(run.writer.batch.rows);
            run.endBatch();
        }
        run.report.output_ns += since(sorted);
    }
};

fn since(started: u64) f64 {
    return @floatFromInt(sync.nowNs() - started);
}

/// Runs a query to its end and writes a `Report` and its `Step`s to the start of `output`, which
/// has room for a record behind them. Returns their bytes.
pub fn measure(
    cursor: *Cursor,
    source: anytype,
    output: []align(8) u8,
    base: usize,
) !u32 {
    const predicates = cursor.filter.predicates;
    const head = @sizeOf(Report) + predicates.len * @sizeOf(Step);
    assert(output.len >= head + result.record_size_max);
    const first: [*]Step = @ptrCast(output.ptr + @sizeOf(Report));
    const rest: []align(8) u8 = @alignCast(output[head..]);
    var run: Run = .{
        .cursor = cursor,
        .steps = first[0..predicates.len],
        .output = rest,
        .base = base,
        .writer = cursor.batchWriter(rest, base),
    };
    for (run.steps, cursor.filter.clauses) |*step, clause| {
        step.* = .{ .clause = @floatFromInt(clause) };
    }
    const started = sync.nowNs();
    if (cursor.phase == .scan) {
        var more = true;
        while (more and (cursor.isSorted() or cursor.left > 0)) {
            var count: usize = 0;
            more = try run.fetch(source, &count);
            const passed = run.filter(count);
            try run.take(run.rows[0..passed]);
        }
        if (cursor.isSorted()) try run.emit();
        if (run.writer.batch.rows > 0) run.endBatch();
    }
    run.report.steps = @floatFromInt(run.steps.len);
    run.report.total_ns = since(started);
    const report: *Report = @ptrCast(output.ptr);
    report.* = run.report;
    return @intCast(head);
}

/// The same for a query that an index counts: it gives a number, and no rows to test. `visited` are
/// the rows that it had to look at, because no summary counts them.
pub fn measureCount(cursor: *Cursor, source: anytype, output: []align(8) u8) !u32 {
    assert(output.len >= @sizeOf(Report));
    const started = sync.nowNs();
    while (!try cursor.countBy(source, std.math.maxInt(u64))) {}
    const ns = since(started);
    const report: *Report = @ptrCast(output.ptr);
    report.* = .{
        .visited = @floatFromInt(source.looked),
        .route_ns = ns,
        .returned = @floatFromInt(cursor.stats.returned),
        .total_ns = ns,
    };
    return @sizeOf(Report);
}
