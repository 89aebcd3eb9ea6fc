//! Runs a checked plan over a source of rows: filter, sort, limit, offset, count, and records out.
//!
//! A `Cursor` is one query on its way. It owns a copy of the plan, so the caller may reuse the
//! buffer the plan came in, and its memory lasts until `close`; a cursor that is opened again
//! reuses it. It knows nothing of the engine. The caller gives a source, any value with
//!
//!     fn next(source) !?RowRef
//!
//! and passes the same source to every `fill` until it says `done`. What a source promises:
//!
//!   * a row's memory stays readable until the source is asked for the next row; for a cursor
//!     whose `keepsRows` is true, until the query is closed
//!   * every row once, all of one snapshot
//!
//! A source may have as well
//!
//!     fn nextPassing(source, first: *const Predicate, budget: *u64) !?RowRef
//!
//! which passes over the rows that fail the first test, and counts each row that it looks at. It
//! gives rows of a size that the table has. And
//!
//!     fn countPassing(source, predicates: []const Predicate, budget: *u64) !u64
//!
//! which gives the number of rows that pass all tests, and counts down for each that it looks at;
//! it ends where the source or the budget does.
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
const Filter = @import("filter.zig").Filter;
const Plan = @import("plan.zig").Plan;
const QueryMemory = query_memory.QueryMemory;
const query_memory = @import("query_memory.zig");
const result = @import("result.zig");
const row_module = @import("row.zig");
const Sorter = @import("row_sorter.zig").Sorter;
const sort_order = @import("sort_order.zig");
const TableInfo = @import("table_info.zig").TableInfo;
const TopHeap = @import("top_heap.zig").TopHeap;
const Allocator = std.mem.Allocator;
const RowRef = row_module.RowRef;
const SortOrder = sort_order.SortOrder;
const assert = std.debug.assert;

pub const Options = struct {
    /// The address that handles are counted from: the start of the region's mapping.
    handle_base: usize = 0,
    /// Rows to look at before the batch ends, full or not. Lets a long search yield: a sort moves
    /// eight times as many.
    examine_max: u64 = std.math.maxInt(u64),
};

pub const Batch = struct {
    /// Records or handles in the output.
    rows: u32 = 0,
    bytes: u32 = 0,
    /// There is nothing more; `fill` need not be called again.
    done: bool = false,
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
    heap: Heap,
    table: *const TableInfo,
    plan: Plan,
    filter: Filter,
    projector: result.Projector,
    order: SortOrder,
    phase: Phase,
    /// Rows of the result still to leave out, and still to return.
    skip: u64,
    left: u64,
    /// A row that passed and was not written yet.
    held: ?RowRef,
    sorter: Sorter,
    /// What a large sort works in.
    scratch: []sort_order.Entry,
    /// The sorted rows and how many of them went out.
    entries: []const sort_order.Entry,
    entries_at: usize,
    stats: Stats,

    const Heap = TopHeap(sort_order.Entry, *const SortOrder);
    const Phase = enum { closed, scan, sort, emit, done };
    /// Moves of a sort for each row that may be looked at: they take about as long.
    const sort_moves = 8;
    /// Memory that a closed cursor keeps for the next query.
    const retained_bytes = 64 * 1024;

    /// Makes a closed cursor. It does not move afterwards: the heap refers to it.
    pub fn create(gpa: Allocator) Allocator.Error!*Cursor {
        const cursor = try gpa.create(Cursor);
        cursor.gpa = gpa;
        cursor.memory.init(gpa);
        cursor.heap = .init(0, &cursor.order);
        cursor.phase = .closed;
        cursor.scratch = &.{};
        return cursor;
    }

    pub fn destroy(cursor: *Cursor) void {
        const gpa = cursor.gpa;
        gpa.free(cursor.scratch);
        cursor.heap.deinit(gpa);
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
        cursor.order = try .compile(arena, plan.sorts, table);
        cursor.skip = plan.offset;
        cursor.left = plan.limit orelse std.math.maxInt(u64);
        cursor.held = null;
        cursor.entries = &.{};
        cursor.entries_at = 0;
        cursor.stats = .{};

        const kept = std.math.lossyCast(usize, cursor.skip +| cursor.left);
        cursor.heap.reset(kept, &cursor.order);
        cursor.phase = if (cursor.filter.never or cursor.left == 0) .done else .scan;
    }

    /// Ends the query and gives its memory back, but for a little that the next one reuses.
    pub fn close(cursor: *Cursor) void {
        cursor.phase = .closed;
        cursor.freeScratch();
        cursor.memory.reset();
        const entry_size = @sizeOf(sort_order.Entry);
        if (cursor.heap.items.capacity * entry_size > retained_bytes) {
            cursor.heap.items.clearAndFree(cursor.gpa);
        }
    }

    fn freeScratch(cursor: *Cursor) void {
        cursor.gpa.free(cursor.scratch);
        cursor.scratch = &.{};
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
        var writer: Writer = .{ .cursor = cursor, .output = output, .base = options.handle_base };

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
        var scan: Scan = .init(cursor, examine_max);
        defer scan.finish(cursor);
        const wanted = cursor.skip +| cursor.left;
        var found: u64 = 0;
        if (wanted == std.math.maxInt(u64) and has(@TypeOf(source), "countPassing")) {
            found = try source.countPassing(cursor.filter.predicates, &scan.budget);
            scan.matched = found;
            scan.at_end = scan.budget > 0;
        } else while (found < wanted) : (found += 1) {
            _ = try scan.next(source) orelse break;
        }
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

    fn stream(cursor: *Cursor, source: anytype, examine_max: u64, writer: anytype) !void {
        var scan: Scan = .init(cursor, examine_max);
        defer scan.finish(cursor);
        if (cursor.held) |row| {
            if (!try writer.append(row)) return;
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
            if (!try writer.append(row)) {
                cursor.held = row;
                return;
            }
            cursor.left -= 1;
        }
        cursor.phase = .done;
    }

    fn collect(cursor: *Cursor, source: anytype, examine_max: u64) !void {
        var scan: Scan = .init(cursor, examine_max);
        defer scan.finish(cursor);
        while (try scan.next(source)) |row| {
            try cursor.heap.offer(cursor.gpa, cursor.order.entry(row));
        }
        if (scan.at_end) try cursor.beginSort(examine_max != std.math.maxInt(u64));
    }

    /// Sorts what was collected, in one go.
    pub fn arrange(cursor: *Cursor) Allocator.Error!void {
        try cursor.beginSort(false);
        if (cursor.phase == .sort) cursor.sort(std.math.maxInt(u64));
    }

    fn beginSort(cursor: *Cursor, in_steps: bool) Allocator.Error!void {
        if (cursor.heap.is_heap and !in_steps) return cursor.endSort(cursor.heap.sorted());
        const arena = cursor.memory.allocator();
        const entries = cursor.heap.items.items;
        const is_small = entries.len * @sizeOf(sort_order.Entry) <= retained_bytes;
        const scratch = try (if (is_small) arena else cursor.gpa).alloc(
            sort_order.Entry,
            entries.len,
        );
        if (!is_small) cursor.scratch = scratch;
        cursor.sorter = try .init(arena, &cursor.order, entries, scratch);
        cursor.phase = .sort;
    }

    fn sort(cursor: *Cursor, moves: u64) void {
        if (!cursor.sorter.step(std.math.lossyCast(usize, moves))) return;
        cursor.freeScratch();
        cursor.endSort(cursor.heap.items.items);
    }

    fn endSort(cursor: *Cursor, entries: []const sort_order.Entry) void {
        cursor.entries = entries;
        cursor.entries_at = @min(cursor.skip, entries.len);
        cursor.phase = .emit;
    }

    /// Writes sorted rows until the writer has enough of them.
    pub fn emit(cursor: *Cursor, writer: anytype) !void {
        while (cursor.entries_at < cursor.entries.len) {
            const ahead = cursor.entries_at + sort_order.prefetch_distance;
            if (ahead < cursor.entries.len) @prefetch(cursor.entries[ahead].row.payload, .{});
            if (!try writer.append(cursor.entries[cursor.entries_at].row)) return;
            cursor.entries_at += 1;
        }
        cursor.phase = .done;
    }
};

/// Whether the source can do what it need not.
inline fn has(comptime Source: type, comptime name: []const u8) bool {
    return @hasDecl(std.meta.Child(Source), name);
}

/// The innermost loop of a batch. Its counters are here and not in the cursor so that they stay in
/// registers.
const Scan = struct {
    filter: *const Filter,
    size_min: u32,
    size_max: u32,
    /// Rows the batch may still look at.
    budget: u64,
    examine_max: u64,
    matched: u64 = 0,
    /// The source has no more rows; otherwise the budget has ended.
    at_end: bool = false,

    inline fn init(cursor: *const Cursor, examine_max: u64) Scan {
        return .{
            .filter = &cursor.filter,
            .size_min = cursor.table.fixed_size,
            .size_max = cursor.table.payload_size_max,
            .budget = examine_max,
            .examine_max = examine_max,
        };
    }

    inline fn finish(scan: *const Scan, cursor: *Cursor) void {
        cursor.stats.examined += scan.examine_max - scan.budget;
        cursor.stats.matched += scan.matched;
    }

    /// The next row that passes; null where the source or the budget ends.
    inline fn next(scan: *Scan, source: anytype) !?RowRef {
        if (comptime has(@TypeOf(source), "nextPassing")) {
            if (scan.filter.predicates.len > 0) return scan.nextPassing(source);
        }
        while (scan.budget > 0) {
            const row = try source.next() orelse {
                scan.at_end = true;
                return null;
            };
            scan.budget -= 1;
            if (row.size < scan.size_min or row.size > scan.size_max) return error.Corrupt;
            if (!scan.filter.matches(row)) continue;
            scan.matched += 1;
            return row;
        }
        return null;
    }

    inline fn nextPassing(scan: *Scan, source: anytype) !?RowRef {
        const first = &scan.filter.predicates[0];
        while (scan.budget > 0) {
            const row = try source.nextPassing(first, &scan.budget) orelse {
                scan.at_end = scan.budget > 0;
                return null;
            };
            if (!scan.filter.matchesRest(row)) continue;
            scan.matched += 1;
            return row;
        }
        return null;
    }
};

/// Appends rows to the output, as records or handles.
pub const Writer = struct {
    cursor: *const Cursor,
    output: []align(8) u8,
    base: usize,
    batch: Batch = .{},

    pub inline fn append(writer: *Writer, row: RowRef) error{}!bool {
        const rest: []align(8) u8 = @alignCast(writer.output[writer.batch.bytes..]);
        if (writer.cursor.plan.flags.handles) {
            if (rest.len < 8) return false;
            assert(@intFromPtr(row.payload) >= writer.base);
            const handle: f64 = @floatFromInt((@intFromPtr(row.payload) - writer.base) / 8);
            std.mem.writeInt(u64, rest[0..8], @bitCast(handle), .little);
            writer.batch.bytes += 8;
        } else {
            writer.batch.bytes += writer.cursor.projector.write(row, rest) orelse return false;
        }
        writer.batch.rows += 1;
        return true;
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
