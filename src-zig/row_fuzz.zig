//! Rows of random bytes, standing directly before a page that cannot be read.
//!
//! Another process can write anything into a row that this one filters, sorts or copies out. The
//! invariant is that no query leaves the row's payload: a read past it ends the fuzzer at once.

const std = @import("std");
const Cursor = @import("executor.zig").Cursor;
const Encoder = @import("plan_encoder.zig").Encoder;
const Generator = @import("query_generator.zig").Generator;
const result = @import("result.zig");
const RowRef = @import("row.zig").RowRef;
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;

const row_count = 6;

pub fn run(gpa: Allocator, seed: u64, rounds: usize) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    const cursor: *Cursor = try .create(gpa);
    defer cursor.destroy();
    const output = try gpa.alignedAlloc(u8, .@"8", result.record_size_max);
    defer gpa.free(output);
    var fences: [row_count]Fence = undefined;
    for (&fences) |*fence| fence.* = try .init();
    defer for (&fences) |*fence| fence.deinit();

    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    for (0..rounds) |_| {
        _ = arena_state.reset(.retain_capacity);
        const generator: Generator = .{ .arena = arena_state.allocator(), .random = random };
        const table = try generator.table();
        var encoder: Encoder = .init(generator.arena, 0);
        for (0..random.uintAtMost(usize, 2)) |_| {
            const condition = try generator.condition(&table);
            try Generator.encode(&condition, &encoder);
        }
        for (0..random.uintAtMost(usize, 2)) |_| {
            const column = random.uintLessThan(u8, table.column_count);
            try encoder.sort(column, .{ .descending = random.boolean() });
        }
        encoder.header.projection = random.int(u64) & table.allColumns();

        var source: Source = .{ .random = random, .table = &table, .fences = &fences };
        var reason: []const u8 = "";
        try cursor.open(&table, try encoder.finish(), &reason);
        defer cursor.close();
        while (true) {
            const batch = try cursor.fill(&source, output, .{});
            if (batch.done) break;
        }
    }
}

const Source = struct {
    random: std.Random,
    table: *const TableInfo,
    fences: []Fence,
    at: usize = 0,

    pub fn next(source: *Source) !?RowRef {
        if (source.at == source.fences.len) return null;
        source.at += 1;
        const table = source.table;
        const fence = source.fences[source.at - 1];
        const least = std.mem.alignForward(u32, table.fixed_size, 8);
        const steps = (table.payload_size_max - least) / 8;
        const size = least + 8 * source.random.uintAtMost(u32, steps);
        const payload = fence.before(size);
        source.random.bytes(payload);
        // Lengths that are nearly right reach further than noise does.
        for (table.slice()) |*column| {
            if (!column.isTail() or source.random.boolean()) continue;
            const start = source.random.uintLessThan(u16, @intCast(size + 4));
            const length = source.random.uintLessThan(u16, 40);
            std.mem.writeInt(u16, payload[column.offset..][0..2], start, .little);
            std.mem.writeInt(u16, payload[column.offset + 2 ..][0..2], length, .little);
        }
        return .{
            .payload = @alignCast(payload.ptr),
            .null_mask = source.random.int(u64) & source.random.int(u64),
            .version = 0,
            .size = size,
        };
    }
};

/// Some readable pages and one that is not.
const Fence = struct {
    memory: []align(std.heap.page_size_min) u8,

    const readable = 64 * 1024;

    fn init() !Fence {
        const page = std.heap.pageSize();
        const memory = try std.posix.mmap(
            null,
            readable + page,
            .{},
            .{ .TYPE = .PRIVATE, .ANONYMOUS = true },
            -1,
            0,
        );
        errdefer std.posix.munmap(memory);
        _ = try std.posix.mmap(
            memory.ptr,
            readable,
            .{ .READ = true, .WRITE = true },
            .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .FIXED = true },
            -1,
            0,
        );
        return .{ .memory = memory };
    }

    fn deinit(fence: *Fence) void {
        std.posix.munmap(fence.memory);
    }

    /// The last `size` bytes that can be read.
    fn before(fence: Fence, size: usize) []u8 {
        return fence.memory[readable - size .. readable];
    }
};

test "fuzz: corrupt rows never lead outside their payload" {
    try run(std.testing.allocator, 1, 500);
}
