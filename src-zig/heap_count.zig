//! Counts the rows of a stretch of version blocks that a snapshot shows and that pass a filter.
//!
//! This is the loop of a full scan. Neither whether a block shows a row nor whether the row passes
//! can be guessed, so both are numbers here, and nothing branches on them: of the filter's tests,
//! one or two are done so (`cell_range.zig`), and the others on the rows that are left. Each block
//! is looked at, whatever is in it. That its bytes may be those of a row which is being written
//! does no harm, because they count for nothing then.
//!
//! `reader.Scan` says when a version is visible and why that stays true.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const limits = @import("limits.zig");
const CellRange = @import("cell_range.zig").CellRange;
const filter_module = @import("filter.zig");
const TableInfo = @import("table_info.zig").TableInfo;
const version_module = @import("version.zig");
const Filter = filter_module.Filter;
const Position = version_module.Position;
const Predicate = filter_module.Predicate;
const Version = version_module.Version;
const assert = std.debug.assert;

/// 1 if the version is visible at `at` and no tombstone, else 0. Everything up to `at` is stamped.
///
/// One comparison for each word, which of all numbers only the positions up to `at` pass, or fail.
/// A block whose `xmin` is another at the second look was used again, or stamped, after the scan
/// began: what is in it now is later than `at`. The loads acquire what the release stores of the
/// stamps and of a new `xmin` order: `xmax` of the version below comes before `xmin`, and a new
/// `xmin` before anything else of the block. What a visible version holds is read after them.
///
/// It writes nothing, so a kill leaves nothing behind but the pin.
pub inline fn isShown(version: *const Version, at: Position) u64 {
    const xmin = version.xmin.load(.acquire);
    const xmax = version.xmax.load(.acquire);
    const xmin_again = version.xmin.load(.acquire);
    const is_of_snapshot = @intFromBool(xmin -% 1 < at) & @intFromBool(xmax -% 1 >= at) &
        @intFromBool(xmin == xmin_again);
    if (looks_first and is_of_snapshot == 0) return 0;
    const tombstone = version.flags & version_module.Flags.tombstone;
    return is_of_snapshot & (tombstone ^ 1);
}

/// Where bytes that count for nothing must not even be read: they race, and one who looks for
/// races would report them.
const looks_first = sync.sim or builtin.sanitize_thread;

/// Bytes ahead that the loop asks for, at least. What fetches memory by itself stops at the end of
/// a page.
const prefetch_distance = 4096;

pub const HeapCount = struct {
    at: Position,
    size_min: u32,
    size_max: u32,
    /// Tests without a branch, and how many they are.
    ranges: [2]CellRange,
    range_count: u2,
    /// What all of them have in common.
    shape: CellRange.Shape = .plain,
    /// What else a row must pass.
    rest: []const Predicate,
    /// Rows that passed.
    found: u64 = 0,

    /// Null if there are tests and none of them is done without a branch: a loop that is made for
    /// the first of them is faster then.
    pub fn init(table: *const TableInfo, predicates: []const Predicate, at: Position) ?HeapCount {
        var count: HeapCount = .{
            .at = at,
            .size_min = table.fixed_size,
            .size_max = table.payload_size_max,
            .ranges = @splat(.always),
            .range_count = 0,
            .rest = predicates,
        };
        for (predicates, 0..) |*predicate, i| {
            if (count.range_count == count.ranges.len) break;
            const range = CellRange.of(predicate, table.fixed_size) orelse continue;
            // Those that were passed over are tests of the rest, and so are these then.
            count.rest = if (count.range_count == i) predicates[i + 1 ..] else predicates;
            count.ranges[count.range_count] = range;
            count.range_count += 1;
            count.shape = count.shape.with(range.shape());
        }
        return if (count.range_count == 0 and predicates.len > 0) null else count;
    }

    /// Counts in `blocks` blocks from `first` on. Returns the rows that it looked at.
    pub fn some(
        count: *HeapCount,
        first: *const Version,
        block_granules: u32,
        blocks: u32,
    ) error{Corrupt}!u64 {
        const stride = block_granules * limits.granule_size;
        const payload_min = std.mem.alignForward(u32, count.size_min, 8);
        if (@sizeOf(Version) + payload_min > stride) {
            // Too small for a row: there are tombstones only.
            const shown = try count.run(0, .plain, false, first, stride, blocks);
            return if (shown > 0) error.Corrupt else 0;
        }
        const has_rest = count.rest.len > 0;
        return switch (count.range_count) {
            0 => count.run(0, .plain, false, first, stride, blocks),
            inline 1, 2 => |ranges| switch (has_rest) {
                inline else => |rest| switch (count.shape) {
                    inline else => |shape| count.run(ranges, shape, rest, first, stride, blocks),
                },
            },
            3 => unreachable, // There are two.
        };
    }

    noinline fn run(
        count: *HeapCount,
        comptime range_count: usize,
        comptime shape: CellRange.Shape,
        comptime has_rest: bool,
        first: *const Version,
        stride: u32,
        blocks: u32,
    ) error{Corrupt}!u64 {
        // Checks of alignment and of overflow take as long as the tests do. `some` has checked that
        // all words lie in their blocks; the caller, that the blocks lie in their slab.
        @setRuntimeSafety(false);
        const ranges = count.ranges;
        const at = count.at;
        const ahead = stride * (1 + prefetch_distance / stride);
        const ahead_cell = ahead + @sizeOf(Version) + @max(ranges[0].at, ranges[1].at);
        var shown_sum: u64 = 0;
        var found: u64 = 0;
        var block: [*]const u8 = @ptrCast(first);
        for (0..blocks) |_| {
            const version: *const Version = @ptrCast(@alignCast(block));
            const payload = block + @sizeOf(Version);
            // Where no block is any more, too: such an address is passed over.
            if (!sync.sim) @prefetch(block + ahead, .{});
            if (!sync.sim and range_count > 0) @prefetch(block + ahead_cell, .{});
            block += stride;
            const shown = isShown(version, at);
            if (looks_first and shown == 0) continue;
            shown_sum += shown;
            var passes = shown;
            inline for (0..range_count) |i| {
                passes &= ranges[i].passesAs(shape, payload, version.null_mask);
            }
            if (!has_rest) {
                found += passes;
            } else if (passes != 0) {
                const size = @as(u32, version.payload_words) * 8;
                if (size < count.size_min or size > count.size_max) return error.Corrupt;
                found += @intFromBool(Filter.run(count.rest, .{
                    .payload = @alignCast(payload),
                    .null_mask = version.null_mask,
                    .version = 0,
                    .size = size,
                }));
            }
        }
        count.found += found;
        return shown_sum;
    }
};

/// Blocks in private memory, with headers and rows of every kind.
const Blocks = struct {
    const Encoder = @import("plan_encoder.zig").Encoder;
    const Generator = @import("query_generator.zig").Generator;
    const Plan = @import("plan.zig").Plan;
    const RowRef = @import("row.zig").RowRef;
    const Value = @import("query_model.zig").Value;
    const Xmin = version_module.Xmin;

    const count_max = 40;
    const at: Position = 1000;

    arena: std.mem.Allocator,
    random: std.Random,
    table: TableInfo,
    memory: []align(8) u8,
    block_granules: u32,
    count: u32,

    fn init(arena: std.mem.Allocator, random: std.Random) !Blocks {
        const generator: Generator = .{ .arena = arena, .random = random };
        const table = try generator.table();
        var blocks: Blocks = .{
            .arena = arena,
            .random = random,
            .table = table,
            .memory = undefined,
            .block_granules = version_module.versionGranules(table.payload_size_max),
            .count = random.intRangeAtMost(u32, 1, count_max),
        };
        const size = blocks.count * blocks.stride();
        blocks.memory = try arena.alignedAlloc(u8, .@"8", size);
        const values = try arena.alloc(Value, table.column_count);
        for (0..blocks.count) |i| {
            const version = blocks.versionOf(i);
            for (values, table.slice()) |*value, *info| value.* = try generator.value(info, i);
            const row = try Generator.row(&table, values, blocks.payloadOf(i));
            version.null_mask = row.null_mask;
            version.payload_words = @intCast(row.size / 8);
            version.flags = random.uintLessThan(u8, 4);
            version.xmin = .init(blocks.anyXmin());
            version.xmax = .init(if (random.boolean()) 0 else blocks.anyPosition());
        }
        return blocks;
    }

    fn anyXmin(blocks: *const Blocks) u64 {
        return switch (blocks.random.uintLessThan(u8, 8)) {
            0 => 0,
            1 => Xmin.reference(blocks.random.uintLessThan(u32, 4), blocks.random.int(u32)),
            2 => Xmin.aborted,
            else => blocks.anyPosition(),
        };
    }

    fn anyPosition(blocks: *const Blocks) Position {
        const edges = [_]Position{ 1, at - 1, at, at + 1, version_module.position_limit - 1 };
        return edges[blocks.random.uintLessThan(usize, edges.len)];
    }

    fn stride(blocks: *const Blocks) u32 {
        return blocks.block_granules * limits.granule_size;
    }

    fn versionOf(blocks: *const Blocks, i: usize) *Version {
        return @ptrCast(@alignCast(blocks.memory.ptr + i * blocks.stride()));
    }

    fn payloadOf(blocks: *const Blocks, i: usize) []align(8) u8 {
        const from = i * blocks.stride() + @sizeOf(Version);
        return @alignCast(blocks.memory[from..][0..blocks.table.payload_size_max]);
    }

    fn filter(blocks: *const Blocks) !Filter {
        const generator: Generator = .{ .arena = blocks.arena, .random = blocks.random };
        var encoder: Encoder = .init(blocks.arena, 0);
        for (0..blocks.random.uintAtMost(usize, 4)) |_| {
            const condition = try generator.condition(&blocks.table);
            try Generator.encode(&condition, &encoder);
        }
        var reason: []const u8 = "";
        const plan = try Plan.decode(try encoder.finish(), &blocks.table, &reason);
        return .compile(blocks.arena, &plan, &blocks.table);
    }

    /// The rule itself, in the order in which it is written down.
    fn shows(blocks: *const Blocks, i: usize) bool {
        const version = blocks.versionOf(i);
        const xmin = version.xmin.load(.monotonic);
        const xmax = version.xmax.load(.monotonic);
        if (xmin == 0 or xmin >= version_module.position_limit or xmin > at) return false;
        if (xmax > 0 and xmax <= at) return false;
        return !version.isTombstone();
    }

    fn rowOf(blocks: *const Blocks, i: usize) RowRef {
        const version = blocks.versionOf(i);
        return .{
            .payload = blocks.payloadOf(i).ptr,
            .null_mask = version.null_mask,
            .version = 0,
            .size = @intCast(version.payloadSize()),
        };
    }

    /// Counts by random pieces and compares with one row after the other.
    fn compare(blocks: *const Blocks, predicates: []const Predicate) !?HeapCount {
        var count = HeapCount.init(&blocks.table, predicates, at) orelse return null;
        var shown: u64 = 0;
        var passing: u64 = 0;
        for (0..blocks.count) |i| {
            if (!blocks.shows(i)) continue;
            shown += 1;
            passing += for (predicates) |*predicate| {
                if (!predicate.passes(blocks.rowOf(i))) break 0;
            } else 1;
        }
        var counted: u64 = 0;
        var done: u32 = 0;
        while (done < blocks.count) {
            const some = blocks.random.intRangeAtMost(u32, 1, blocks.count - done);
            counted += try count.some(blocks.versionOf(done), blocks.block_granules, some);
            done += some;
        }
        try std.testing.expectEqual(shown, counted);
        try std.testing.expectEqual(passing, count.found);
        return count;
    }
};

test "HeapCount: counts what the plain rule and the plain tests let pass" {
    var prng: std.Random.DefaultPrng = .init(7);
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    // For each loop that there is: how many rows it has found.
    var found: [3][2][4]u64 = @splat(@splat(@splat(0)));
    for (0..2000) |_| {
        _ = arena_state.reset(.retain_capacity);
        const blocks: Blocks = try .init(arena_state.allocator(), prng.random());
        for (0..10) |_| {
            const filter = try blocks.filter();
            if (filter.never) continue;
            const count = try blocks.compare(filter.predicates) orelse continue;
            const has_rest = @intFromBool(count.rest.len > 0);
            found[count.range_count][has_rest][@intFromEnum(count.shape)] += count.found;
        }
    }
    for (found, 0..) |by_rest, ranges| for (by_rest, 0..) |by_shape, rest| for (
        by_shape,
        0..,
    ) |sum, shape| {
        errdefer std.debug.print("{d} ranges of shape {d} found nothing\n", .{ ranges, shape });
        const exists = ranges > 0 or (shape == 0 and rest == 0);
        try std.testing.expectEqual(exists, sum > 0);
    };
}

test "HeapCount: a row that does not fit its block or its table is corrupt" {
    var prng: std.Random.DefaultPrng = .init(3);
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const tombstone_granules = version_module.versionGranules(0);
    // A table whose rows do not fit there.
    const blocks: Blocks = while (true) {
        const any: Blocks = try .init(arena_state.allocator(), prng.random());
        if (any.table.fixed_size > 16) break any;
    };
    const version = blocks.versionOf(0);
    version.xmin = .init(1);
    version.xmax = .init(0);
    var count = HeapCount.init(&blocks.table, &.{}, Blocks.at).?;
    version.flags = version_module.Flags.tombstone;
    try std.testing.expectEqual(0, try count.some(version, tombstone_granules, 1));
    version.flags = 0;
    const failing = count.some(version, tombstone_granules, 1);
    try std.testing.expectError(error.Corrupt, failing);

    const in_none: Predicate = .{
        .op = .int32_in,
        .null_passes = false,
        .is_inline = false,
        .offset = 0,
        .capacity = 0,
        .null_bit = 0,
        .operand = .{ .integers = &.{} },
    };
    var not_zero = in_none;
    not_zero.op = .int32_ne;
    version.payload()[0] = 1;
    count = HeapCount.init(&blocks.table, &.{ not_zero, in_none }, Blocks.at).?;
    _ = try count.some(version, blocks.block_granules, 1);
    for ([_]u16{ 0, blocks.table.payload_size_max / 8 + 1 }) |words| {
        version.payload_words = words;
        const result = count.some(version, blocks.block_granules, 1);
        try std.testing.expectError(error.Corrupt, result);
    }
}
