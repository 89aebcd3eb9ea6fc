//! Runs a checked plan over a source of rows: filter, sort, limit, offset, count, and records out.
//!
//! A `Cursor` is one query on its way. It owns a copy of the plan, so the caller may reuse the
//! buffer the plan came in, and its memory lasts until `close`; a cursor that is opened again
//! reuses it. It knows nothing of the engine. The caller gives a source of rows
//! (`filtered_scan.zig` says what that is) and passes the same one to every `fill` until it says
//! `done`. The rows of a cursor whose `keepsRows` is true must stay readable until it is closed.
//!
//! A plan without a sort streams: a batch ends when the output is full and goes on with the same
//! source, and the source is not read past the limit. A plan with a sort reads the source to its
//! end first, keeps references to the rows (only the first offset + limit of them, if there is a
//! limit), sorts those, and then fills batches without the source. With a budget, the sort too is
//! done bit by bit.
//!
//! Invariants:
//!
//!   * the row filter runs for every row; only clauses that the plan's index answers are left out,
//!     and only by whoever has made a source of that index (`trustIndex`)
//!   * a batch never holds part of a record; `held` is the row that did not fit

const std = @import("std");
const Batch = batch_module.Batch;
const batch_module = @import("batch.zig");
const Filter = @import("filter.zig").Filter;
const FilteredScan = @import("filtered_scan.zig").FilteredScan;
const Plan = @import("plan.zig").Plan;
const QueryMemory = query_memory.QueryMemory;
const query_memory = @import("query_memory.zig");
const result = @import("result.zig");
const row_module = @import("row.zig");
const SortedRows = @import("sorted_rows.zig").SortedRows;
const SortOrder = @import("sort_order.zig").SortOrder;
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;
const BatchWriter = batch_module.BatchWriter;
const RowRef = row_module.RowRef;
const assert = std.debug.assert;

pub const Options = struct {
    /// The address that handles are counted from: the start of the region's mapping.
    handle_base: usize = 0,
    /// Rows to look at before the batch ends, full or not. Lets a long search yield: a sort moves
    /// eight times as many.
    examine_max: u64 = std.math.maxInt(u64),
};

pub const Stats = struct {
    /// Rows the source gave.
    examined: u64 = 0,
    /// Those that passed the filter.
    matched: u64 = 0,
    /// Those that are in the result: after offset and limit. The count, for a plan that counts.
    returned: u64 = 0,
};

pub const Cursor = struct {
    gpa: Allocator,
    memory: QueryMemory,
    table: *const TableInfo,
    plan: Plan,
    filter: Filter,
    projector: result.Projector,
    /// The rows of the result, if the plan has a sort.
    sorted: SortedRows,
    phase: Phase,
    /// Rows of the result still to leave out, and still to return.
    skip: u64,
    left: u64,
    /// A row that passed and was not written yet.
    held: ?RowRef,
    stats: Stats,

    const Phase = enum { closed, scan, sort, emit, done };
    /// Moves of a sort for each row that may be looked at: they take about as long.
    const sort_moves = 8;

    /// Makes a closed cursor. It does not move afterwards: what it holds refers to it.
    pub fn create(gpa: Allocator) Allocator.Error!*Cursor {
        const cursor = try gpa.create(Cursor);
        cursor.gpa = gpa;
        cursor.memory.init(gpa);
        cursor.sorted.init(gpa);
        cursor.phase = .closed;
        return cursor;
    }

    pub fn destroy(cursor: *Cursor) void {
        const gpa = cursor.gpa;
        cursor.sorted.deinit();
        cursor.memory.deinit();
        gpa.destroy(cursor);
    }

    /// Starts a query. `blob` is copied; `table` must stay as it is until `close`. On
    /// `BadArgument`, `reason` says what is wrong with the plan, and the cursor is closed.
    pub fn open(
        cursor: *Cursor,
        table: *const TableInfo,
        blob: []const u8,
        reason: *[]const u8,
    ) (Allocator.Error || error{BadArgument})!void {
        assert(cursor.phase == .closed);
        errdefer cursor.close();
        const arena = cursor.memory.allocator();
        const words = try query_memory.take(arena, u64, blob.len / 8 + 1);
        const copy = std.mem.sliceAsBytes(words)[0..blob.len];
        @memcpy(copy, blob);

        cursor.table = table;
        cursor.plan = try .decode(copy, table, reason);
        const plan = &cursor.plan;
        cursor.filter = try .compile(arena, plan, table);
        cursor.projector = try .compile(arena, plan.projection, table);
        const order: SortOrder = try .compile(arena, plan.sorts, table);
        cursor.skip = plan.offset;
        cursor.left = plan.limit orelse std.math.maxInt(u64);
        cursor.held = null;
        cursor.sorted.open(order, cursor.skip, cursor.left);
        cursor.stats = .{};
        cursor.phase = if (cursor.filter.never or cursor.left == 0) .done else .scan;
    }

    /// Ends the query and gives its memory back, but for a little that the next one reuses.
    pub fn close(cursor: *Cursor) void {
        cursor.phase = .closed;
        cursor.sorted.close();
        cursor.memory.reset();
    }

    /// Whether there is anything to ask a source for. If not, any source will do.
    pub fn needsSource(cursor: *const Cursor) bool {
        assert(cursor.phase != .closed);
        return cursor.phase == .scan;
    }

    /// Whether rows must stay readable until the query is closed.
    pub fn keepsRows(cursor: *const Cursor) bool {
        assert(cursor.phase != .closed);
        return cursor.isSorted();
    }

    /// Writes the next batch to the start of `output`, which must have room for a record.
    ///
    /// Fails with what the source fails with, with `OutOfMemory` while sorting, and with `Corrupt`
    /// for a row whose size is not one of the table. After a failure only `close` makes sense.
    pub fn fill(
        cursor: *Cursor,
        source: anytype,
        output: []align(8) u8,
        options: Options,
    ) !Batch {
        assert(cursor.phase != .closed);
        assert(output.len >= result.record_size_max);
        var writer = cursor.batchWriter(output, options.handle_base);

        if (cursor.phase == .scan) {
            if (cursor.plan.flags.count_only) {
                try cursor.count(source, options.examine_max);
            } else if (cursor.isSorted()) {
                try cursor.collect(source, options.examine_max);
            } else {
                try cursor.stream(source, options.examine_max, &writer);
            }
        }
        if (cursor.phase == .sort) cursor.sort(options.examine_max *| sort_moves);
        if (cursor.phase == .emit) try cursor.emit(&writer);
        cursor.stats.returned += writer.batch.rows;
        writer.batch.done = cursor.phase == .done;
        return writer.batch;
    }

    /// Gives all rows of the result to `sink`, any value with
    ///
    ///     fn append(sink, row: RowRef) !bool
    ///
    /// which never has enough. Nothing is left then. Not for a plan that counts.
    pub fn drain(cursor: *Cursor, source: anytype, sink: anytype) !void {
        assert(cursor.phase != .closed and !cursor.plan.flags.count_only);
        if (cursor.phase == .scan) {
            if (cursor.isSorted()) {
                try cursor.collect(source, std.math.maxInt(u64));
            } else {
                try cursor.stream(source, std.math.maxInt(u64), sink);
            }
        }
        if (cursor.phase == .sort) cursor.sort(std.math.maxInt(u64));
        if (cursor.phase == .emit) try cursor.emit(sink);
        assert(cursor.phase == .done);
    }

    pub fn isSorted(cursor: *const Cursor) bool {
        return cursor.plan.sorts.len != 0 and !cursor.plan.flags.count_only;
    }

    fn count(cursor: *Cursor, source: anytype, examine_max: u64) !void {
        var scan: FilteredScan = .init(&cursor.filter, cursor.table, examine_max);
        defer cursor.noteScan(&scan);
        const found = try scan.count(source, cursor.skip +| cursor.left);
        cursor.noteCount(found, scan.at_end);
    }

    /// Counts by a source that gives numbers of rows, any value with
    ///
    ///     fn run(source, wanted: u64, examine_max: u64) !u64
    ///     fn isDone(source) bool
    ///
    /// for a plan that counts and whose filter lets all of the source's rows pass. True if nothing
    /// is left.
    pub fn countBy(cursor: *Cursor, source: anytype, examine_max: u64) !bool {
        assert(cursor.plan.flags.count_only and cursor.filter.predicates.len == 0);
        if (cursor.phase == .scan) {
            const found = try source.run(cursor.skip +| cursor.left, examine_max);
            cursor.stats.matched += found;
            cursor.noteCount(found, source.isDone());
        }
        return cursor.phase == .done;
    }

    inline fn noteScan(cursor: *Cursor, scan: *const FilteredScan) void {
        cursor.stats.examined += scan.examined();
        cursor.stats.matched += scan.matched;
    }

    fn noteCount(cursor: *Cursor, found: u64, at_end: bool) void {
        const skipped = @min(found, cursor.skip);
        const counted = @min(found - skipped, cursor.left);
        cursor.skip -= skipped;
        cursor.left -= counted;
        cursor.stats.returned += counted;
        if (at_end or cursor.left == 0) cursor.phase = .done;
    }

    /// Leaves out the tests that the source passes by itself: those of clauses that the index of
    /// the plan answers, for a source of rows by that index.
    pub fn trustIndex(cursor: *Cursor) void {
        const filter = &cursor.filter;
        var kept: usize = 0;
        for (filter.predicates, filter.clauses) |predicate, clause| {
            if (cursor.plan.clauses[clause].flags.answered) continue;
            filter.predicates[kept] = predicate;
            filter.clauses[kept] = clause;
            kept += 1;
        }
        filter.predicates = filter.predicates[0..kept];
        filter.clauses = filter.clauses[0..kept];
    }

    fn stream(cursor: *Cursor, source: anytype, examine_max: u64, sink: anytype) !void {
        var scan: FilteredScan = .init(&cursor.filter, cursor.table, examine_max);
        defer cursor.noteScan(&scan);
        if (cursor.held) |row| {
            if (!try sink.append(row)) return;
            cursor.held = null;
            cursor.left -= 1;
        }
        while (cursor.left > 0) {
            const row = try scan.next(source) orelse {
                if (scan.at_end) break;
                return;
            };
            if (cursor.skip > 0) {
                cursor.skip -= 1;
                continue;
            }
            if (!try sink.append(row)) {
                cursor.held = row;
                return;
            }
            cursor.left -= 1;
        }
        cursor.phase = .done;
    }

    fn collect(cursor: *Cursor, source: anytype, examine_max: u64) !void {
        var scan: FilteredScan = .init(&cursor.filter, cursor.table, examine_max);
        defer cursor.noteScan(&scan);
        while (try scan.next(source)) |row| {
            try cursor.sorted.offer(row);
        }
        if (scan.at_end) try cursor.beginSort(examine_max != std.math.maxInt(u64));
    }

    /// Sorts what was collected, in one go.
    pub fn arrange(cursor: *Cursor) Allocator.Error!void {
        try cursor.beginSort(false);
        if (cursor.phase == .sort) cursor.sort(std.math.maxInt(u64));
    }

    fn beginSort(cursor: *Cursor, in_steps: bool) Allocator.Error!void {
        const is_sorted = try cursor.sorted.begin(cursor.memory.allocator(), in_steps);
        cursor.phase = if (is_sorted) .emit else .sort;
    }

    fn sort(cursor: *Cursor, moves: u64) void {
        if (cursor.sorted.step(moves)) cursor.phase = .emit;
    }

    /// Gives sorted rows to `sink` until it has enough of them.
    pub fn emit(cursor: *Cursor, sink: anytype) !void {
        if (try cursor.sorted.emit(sink)) cursor.phase = .done;
    }

    /// Begins a batch of rows in the form that the plan wants.
    pub fn batchWriter(
        cursor: *const Cursor,
        output: []align(8) u8,
        handle_base: usize,
    ) BatchWriter {
        return .{
            .projector = &cursor.projector,
            .handles = cursor.plan.flags.handles,
            .output = output,
            .handle_base = handle_base,
        };
    }
};

const Builder = row_module.Builder;
const Encoder = @import("plan_encoder.zig").Encoder;

/// Rows in plain memory, id 0 to count-1, n = a permutation of them with some nulls.
const Rows = struct {
    table: TableInfo,
    buffers: []align(8) [64]u8,
    refs: []RowRef,
    next_row: usize = 0,

    fn init(count: usize) !Rows {
        const gpa = std.testing.allocator;
        var rows: Rows = .{
            .table = try .init(0, "t", &.{
                .init("id", .int32, 0, .{ .primary = true }),
                .init("n", .int32, 0, .{ .nullable = true }),
                .init("name", .text, 12, .{ .nullable = true }),
            }),
            .buffers = try gpa.alignedAlloc([64]u8, .@"8", count),
            .refs = try gpa.alloc(RowRef, count),
        };
        for (rows.refs, rows.buffers, 0..) |*ref, *buffer, i| {
            var builder: Builder = .init(&rows.table, @alignCast(buffer));
            builder.setInt32(0, @intCast(i));
            if (i % 10 != 9) builder.setInt32(1, @intCast(i * 7 % count));
            try builder.setText(2, if (i % 2 == 0) "even" else "odd");
            ref.* = builder.finish();
        }
        return rows;
    }

    fn deinit(rows: *Rows) void {
        std.testing.allocator.free(rows.buffers);
        std.testing.allocator.free(rows.refs);
    }

    pub fn next(rows: *Rows) !?RowRef {
        if (rows.next_row == rows.refs.len) return null;
        rows.next_row += 1;
        return rows.refs[rows.next_row - 1];
    }

    /// Runs the plan to its end in batches of `output_size` bytes and returns the ids.
    fn run(rows: *Rows, cursor: *Cursor, encoder: *Encoder, options: Options) ![]const i32 {
        rows.next_row = 0;
        var reason: []const u8 = "";
        try cursor.open(&rows.table, try encoder.finish(), &reason);
        const output = try std.testing.allocator.alignedAlloc(u8, .@"8", result.record_size_max);
        defer std.testing.allocator.free(output);

        var ids: std.ArrayList(i32) = .empty;
        while (true) {
            const batch = try cursor.fill(rows, output, options);
            var at: usize = 0;
            for (0..batch.rows) |_| {
                const record: [*]align(8) const u8 = @alignCast(output.ptr + at);
                const row = result.readRecord(record);
                try ids.append(std.testing.allocator, row.int32(rows.table.columns[0].offset));
                at += result.record_header_size + row.size;
            }
            try std.testing.expectEqual(batch.bytes, at);
            if (batch.done) return ids.toOwnedSlice(std.testing.allocator);
        }
    }

    fn expect(rows: *Rows, encoder: *Encoder, options: Options, expected: []const i32) !void {
        const cursor: *Cursor = try .create(std.testing.allocator);
        defer cursor.destroy();
        const ids = try rows.run(cursor, encoder, options);
        defer std.testing.allocator.free(ids);
        try std.testing.expectEqualSlices(i32, expected, ids);
        try std.testing.expectEqual(expected.len, cursor.stats.returned);
        cursor.close();
    }
};

test "Cursor: streams in the source's order and stops at the limit" {
    var rows: Rows = try .init(40);
    defer rows.deinit();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    encoder.header.limit = 3;
    encoder.header.offset = 2;
    try encoder.text(.eq, 2, "odd");
    try rows.expect(&encoder, .{}, &.{ 5, 7, 9 });
    try std.testing.expectEqual(10, rows.next_row);

    encoder.header.limit = 0;
    try rows.expect(&encoder, .{}, &.{});
    try std.testing.expectEqual(0, rows.next_row);
}

test "Cursor: sorts with and without a limit, nulls and ties in their places" {
    var rows: Rows = try .init(10);
    defer rows.deinit();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    try encoder.sort(1, .{ .descending = true, .nulls_first = true });
    // n of row i is 7i mod 10: 0 7 4 1 8 5 2 9 6, and null in row 9
    try rows.expect(&encoder, .{}, &.{ 9, 7, 4, 1, 8, 5, 2, 6, 3, 0 });
    encoder.header.limit = 3;
    encoder.header.offset = 1;
    try rows.expect(&encoder, .{}, &.{ 7, 4, 1 });
    encoder.header.offset = 9;
    try rows.expect(&encoder, .{}, &.{0});
    encoder.header.offset = 11;
    try rows.expect(&encoder, .{}, &.{});
}

test "Cursor: batches join without a seam" {
    const count = 5000; // 48 bytes a record: several batches
    var rows: Rows = try .init(count);
    defer rows.deinit();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    var all: [count]i32 = undefined;
    for (&all, 0..) |*id, i| id.* = @intCast(i);
    try rows.expect(&encoder, .{}, &all);
    try rows.expect(&encoder, .{ .examine_max = 7 }, &all);
    try encoder.sort(0, .{});
    try rows.expect(&encoder, .{}, &all);
    try rows.expect(&encoder, .{ .examine_max = 100 }, &all);
}

test "Cursor: a budget bounds what is sorted in one go" {
    const count = 5000;
    var rows: Rows = try .init(count);
    defer rows.deinit();
    const cursor: *Cursor = try .create(std.testing.allocator);
    defer cursor.destroy();
    const output = try std.testing.allocator.alignedAlloc(u8, .@"8", result.record_size_max);
    defer std.testing.allocator.free(output);
    // All rows, and so many that a heap keeps them.
    for ([_]f64{ -1, count - 1 }) |limit| {
        var encoder: Encoder = .init(std.testing.allocator, 0);
        defer encoder.deinit();
        encoder.header.limit = limit;
        try encoder.sort(1, .{ .descending = true });
        rows.next_row = 0;
        var reason: []const u8 = "";
        try cursor.open(&rows.table, try encoder.finish(), &reason);
        var empty_after_scan: usize = 0;
        while (true) {
            const batch = try cursor.fill(&rows, output, .{ .examine_max = 100 });
            if (rows.next_row == count and batch.rows == 0) empty_after_scan += 1;
            if (batch.done) break;
        }
        // 5000 rows are merged nine times, 800 moves a batch.
        try std.testing.expect(empty_after_scan >= 50);
        const expected: u64 = if (limit < 0) count else count - 1;
        try std.testing.expectEqual(expected, cursor.stats.returned);
        cursor.close();
    }
}

test "Cursor: allocates nothing for the queries that follow the first ones" {
    var rows: Rows = try .init(600);
    defer rows.deinit();
    var counting: std.testing.FailingAllocator = .init(std.testing.allocator, .{});
    const cursor: *Cursor = try .create(counting.allocator());
    defer cursor.destroy();
    const output = try std.testing.allocator.alignedAlloc(u8, .@"8", result.record_size_max);
    defer std.testing.allocator.free(output);
    var before: usize = 0;
    for (0..10) |round| {
        // The first rounds find out how much is needed.
        if (round == 4) before = counting.allocations;
        for ([_]f64{ -1, 7 }) |limit| for ([_]bool{ false, true }) |sorts| {
            var encoder: Encoder = .init(std.testing.allocator, 0);
            defer encoder.deinit();
            encoder.header.limit = limit;
            try encoder.text(.ne, 2, "neither");
            try encoder.textList(2, &.{ "odd", "even" });
            if (sorts) try encoder.sort(1, .{ .descending = true });
            rows.next_row = 0;
            var reason: []const u8 = "";
            try cursor.open(&rows.table, try encoder.finish(), &reason);
            while (!(try cursor.fill(&rows, output, .{})).done) {}
            const expected: u64 = if (limit < 0) 600 else 7;
            try std.testing.expectEqual(expected, cursor.stats.returned);
            cursor.close();
        };
    }
    try std.testing.expect(before > 0);
    try std.testing.expectEqual(before, counting.allocations);
}

test "Cursor: counts what the same plan would return" {
    var rows: Rows = try .init(100);
    defer rows.deinit();
    const cursor: *Cursor = try .create(std.testing.allocator);
    defer cursor.destroy();
    for ([_]f64{ -1, 0, 30, 60 }, [_]u64{ 40, 0, 30, 40 }) |limit, expected| {
        var encoder: Encoder = .init(std.testing.allocator, 0);
        defer encoder.deinit();
        encoder.header.flags.count_only = true;
        encoder.header.limit = limit;
        encoder.header.offset = 10;
        try encoder.text(.eq, 2, "odd");
        try encoder.sort(1, .{});
        const ids = try rows.run(cursor, &encoder, .{});
        try std.testing.expectEqual(0, ids.len);
        try std.testing.expectEqual(expected, cursor.stats.returned);
        cursor.close();
    }
}

test "Cursor: hands out places instead of records" {
    var rows: Rows = try .init(3);
    defer rows.deinit();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    encoder.header.flags.handles = true;
    const cursor: *Cursor = try .create(std.testing.allocator);
    defer cursor.destroy();
    var reason: []const u8 = "";
    try cursor.open(&rows.table, try encoder.finish(), &reason);
    const output = try std.testing.allocator.alignedAlloc(u8, .@"8", result.record_size_max);
    defer std.testing.allocator.free(output);
    const base = @intFromPtr(rows.buffers.ptr);
    const batch = try cursor.fill(&rows, output, .{ .handle_base = base });
    try std.testing.expectEqual(Batch{ .rows = 3, .bytes = 24, .done = true }, batch);
    const handles: []const f64 = @ptrCast(output[0..24]);
    try std.testing.expectEqualSlices(f64, &.{ 0, 8, 16 }, handles);
}

test "Cursor: a row of another size is corrupt, a plan of other bytes refused" {
    var rows: Rows = try .init(3);
    defer rows.deinit();
    var encoder: Encoder = .init(std.testing.allocator, 0);
    defer encoder.deinit();
    const cursor: *Cursor = try .create(std.testing.allocator);
    defer cursor.destroy();
    rows.refs[1].size = 8;
    try std.testing.expectError(error.Corrupt, rows.run(cursor, &encoder, .{}));
    cursor.close();

    var reason: []const u8 = "";
    const refused = cursor.open(&rows.table, "short", &reason);
    try std.testing.expectError(error.BadArgument, refused);
    try std.testing.expect(reason.len > 0);
    try cursor.open(&rows.table, try encoder.finish(), &reason);
}
