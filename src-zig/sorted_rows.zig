//! The rows of a result that has an order: collected, sorted, and given out again.
//!
//! Rows are kept as references, and only those that can be in the result (`top_heap.zig`). They go
//! through three steps: `offer` each row, `begin` and `step` until they are sorted, `emit` until
//! all are out. What is sorted bit by bit is as large as the result, and lives in memory that is
//! given back as soon as it can be; a little of the rest is kept for the next query.

const std = @import("std");
const RowRef = @import("row.zig").RowRef;
const Sorter = @import("row_sorter.zig").Sorter;
const sort_order = @import("sort_order.zig");
const TopHeap = @import("top_heap.zig").TopHeap;
const Allocator = std.mem.Allocator;
const Entry = sort_order.Entry;
const SortOrder = sort_order.SortOrder;

pub const SortedRows = struct {
    gpa: Allocator,
    order: SortOrder,
    heap: Heap,
    /// Rows at the beginning that are not in the result.
    skip: u64,
    sorter: Sorter,
    /// What a large sort works in.
    scratch: []Entry,
    /// The sorted rows and how many of them went out.
    entries: []const Entry,
    entries_at: usize,

    const Heap = TopHeap(Entry, *const SortOrder);
    /// Memory that is kept for the next query, and what a small sort may take of this one's.
    const retained_bytes = 64 * 1024;

    /// Prepares it in place. It does not move afterwards: the heap refers to it.
    pub fn init(rows: *SortedRows, gpa: Allocator) void {
        rows.gpa = gpa;
        rows.heap = .init(0, &rows.order);
        rows.scratch = &.{};
    }

    pub fn deinit(rows: *SortedRows) void {
        rows.gpa.free(rows.scratch);
        rows.heap.deinit(rows.gpa);
    }

    /// Starts anew. Of the rows in their order, `skip` are left out, and `left` after them kept.
    pub fn open(rows: *SortedRows, order: SortOrder, skip: u64, left: u64) void {
        rows.order = order;
        rows.skip = skip;
        rows.entries = &.{};
        rows.entries_at = 0;
        rows.heap.reset(std.math.lossyCast(usize, skip +| left), &rows.order);
    }

    /// Gives memory back, but for a little that the next query reuses.
    pub fn close(rows: *SortedRows) void {
        rows.freeScratch();
        if (rows.heap.items.capacity * @sizeOf(Entry) > retained_bytes) {
            rows.heap.items.clearAndFree(rows.gpa);
        }
    }

    fn freeScratch(rows: *SortedRows) void {
        rows.gpa.free(rows.scratch);
        rows.scratch = &.{};
    }

    pub inline fn offer(rows: *SortedRows, row: RowRef) Allocator.Error!void {
        try rows.heap.offer(rows.gpa, rows.order.entry(row));
    }

    /// Begins to sort what was offered. True if that is done already, which it never is
    /// `in_steps`. `arena` lasts until `close`.
    pub fn begin(rows: *SortedRows, arena: Allocator, in_steps: bool) Allocator.Error!bool {
        if (rows.heap.is_heap and !in_steps) {
            rows.end(rows.heap.sorted());
            return true;
        }
        const entries = rows.heap.items.items;
        const is_small = entries.len * @sizeOf(Entry) <= retained_bytes;
        const scratch = try (if (is_small) arena else rows.gpa).alloc(Entry, entries.len);
        if (!is_small) rows.scratch = scratch;
        rows.sorter = try .init(arena, &rows.order, entries, scratch);
        return false;
    }

    /// Goes on sorting. True if nothing is left to do.
    pub fn step(rows: *SortedRows, moves: u64) bool {
        if (!rows.sorter.step(std.math.lossyCast(usize, moves))) return false;
        rows.freeScratch();
        rows.end(rows.heap.items.items);
        return true;
    }

    fn end(rows: *SortedRows, entries: []const Entry) void {
        rows.entries = entries;
        rows.entries_at = @min(rows.skip, entries.len);
    }

    /// Gives sorted rows to `sink` until it has enough. True if all are out.
    pub fn emit(rows: *SortedRows, sink: anytype) !bool {
        while (rows.entries_at < rows.entries.len) {
            const ahead = rows.entries_at + sort_order.prefetch_distance;
            if (ahead < rows.entries.len) @prefetch(rows.entries[ahead].row.payload, .{});
            if (!try sink.append(rows.entries[rows.entries_at].row)) return false;
            rows.entries_at += 1;
        }
        return true;
    }
};
