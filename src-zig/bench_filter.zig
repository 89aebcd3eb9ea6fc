//! How many rows a second does one core filter, sort and copy out, if a source costs nothing?
//!
//! A million rows of nine columns stand one after the other in private memory; a source walks them.
//! One line for each query: nanoseconds of the processor for a row of the source, and the rows
//! returned.
//!
//!     zig build bench-filter -Doptimize=ReleaseSafe -- [ROWS]

const std = @import("std");
const Cursor = @import("executor.zig").Cursor;
const Encoder = @import("plan_encoder.zig").Encoder;
const result = @import("result.zig");
const row_module = @import("row.zig");
const TableInfo = @import("table_info.zig").TableInfo;
const Allocator = std.mem.Allocator;
const RowRef = row_module.RowRef;

const repeat_count = 5;
const output_size = 1 << 20;

const Column = enum(u8) { id, lat, lon, altitude, gs, updated_at, typ, destination, remark };

fn at(column: Column) u8 {
    return @intFromEnum(column);
}

/// The rows, and the source over them.
const Rows = struct {
    table: TableInfo,
    memory: []align(8) u8,
    row_size: u32,
    null_masks: []u64,
    next_row: usize = 0,

    fn init(gpa: Allocator, count: usize) !Rows {
        const table: TableInfo = try .init(0, "flights", &.{
            .init("id", .text, 12, .{ .primary = true }),
            .init("lat", .float64, 0, .{ .nullable = true }),
            .init("lon", .float64, 0, .{ .nullable = true }),
            .init("altitude", .int32, 0, .{ .nullable = true }),
            .init("gs", .int32, 0, .{ .nullable = true }),
            .init("updated_at", .timestamp, 0, .{ .nullable = true }),
            .init("typ", .text, 8, .{ .nullable = true }),
            .init("destination", .text, 8, .{ .nullable = true }),
            .init("remark", .text, 31, .{ .nullable = true }),
        });
        var rows: Rows = .{
            .table = table,
            .row_size = table.payload_size_max,
            .memory = try gpa.alignedAlloc(u8, .@"8", count * @as(usize, table.payload_size_max)),
            .null_masks = try gpa.alloc(u64, count),
        };
        var prng: std.Random.DefaultPrng = .init(42);
        const random = prng.random();
        const types = [_][]const u8{
            "B738", "A320", "A21N", "E75L", "B77W", "C172", "CRJ9", "A359",
        };
        for (0..count) |i| {
            var builder: row_module.Builder = .init(&rows.table, rows.payload(i));
            var text: [12]u8 = undefined;
            try builder.setText(0, try std.fmt.bufPrint(&text, "UAL{d}", .{i}));
            builder.setFloat64(1, random.float(f64) * 180 - 90);
            builder.setFloat64(2, random.float(f64) * 360 - 180);
            if (i % 10 != 0) builder.setInt32(3, random.uintLessThan(u16, 41_000));
            builder.setInt32(4, random.uintLessThan(u16, 600));
            builder.setFloat64(5, @floatFromInt(1_533_099_600_000 + i * 100));
            try builder.setText(6, types[random.uintLessThan(usize, types.len)]);
            try builder.setText(7, try std.fmt.bufPrint(&text, "K{c}{c}{c}", .{
                random.intRangeAtMost(u8, 'A', 'Z'),
                random.intRangeAtMost(u8, 'A', 'Z'),
                random.intRangeAtMost(u8, 'A', 'Z'),
            }));
            if (i % 4 == 0) try builder.setText(8, "a remark of thirty bytes or so");
            rows.null_masks[i] = builder.finish().null_mask;
        }
        return rows;
    }

    fn payload(rows: *const Rows, i: usize) []align(8) u8 {
        return @alignCast(rows.memory[i * rows.row_size ..][0..rows.row_size]);
    }

    pub inline fn next(rows: *Rows) !?RowRef {
        const i = rows.next_row;
        if (i == rows.null_masks.len) return null;
        rows.next_row = i + 1;
        return .{
            .payload = @alignCast(rows.memory.ptr + i * rows.row_size),
            .null_mask = rows.null_masks[i],
            .version = 0,
            .size = rows.row_size,
        };
    }
};

const Query = struct { name: []const u8, make: *const fn (*Encoder) Encoder.Error!void };

const queries = [_]Query{
    .{ .name = "count, no condition", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
        }
    }.make },
    .{ .name = "count, one number", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.number(.lt, at(.altitude), 4_100);
        }
    }.make },
    .{ .name = "count, two numbers", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.number(.lt, at(.altitude), 4_100);
            try encoder.float(.ge, at(.lat), 72);
        }
    }.make },
    .{ .name = "count, text equal", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.text(.eq, at(.typ), "B738");
        }
    }.make },
    .{ .name = "count, in 20 texts", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.textList(at(.destination), &.{
                "KAAA", "KBBB", "KCCC", "KDDD", "KEEE", "KFFF", "KGGG", "KHHH", "KIII", "KJJJ",
                "KKKK", "KLLL", "KMMM", "KNNN", "KOOO", "KPPP", "KQQQ", "KRRR", "KSSS", "KTTT",
            });
        }
    }.make },
    .{ .name = "count, glob KA*", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.text(.match, at(.destination), "KA*");
        }
    }.make },
    .{ .name = "count, glob *thirty* in the tail", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.text(.match, at(.remark), "*thirty*");
        }
    }.make },
    .{ .name = "count, glob k[a-c]?x without case", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.flags.count_only = true;
            try encoder.text(.match, at(.destination), "k[a-c]?x");
            encoder.last().flags.ignore_case = true;
        }
    }.make },
    .{ .name = "first 50 by altitude, gs", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            encoder.header.limit = 50;
            try encoder.sort(at(.altitude), .{ .descending = true });
            try encoder.sort(at(.gs), .{});
        }
    }.make },
    .{ .name = "all, unsorted", .make = struct {
        fn make(_: *Encoder) Encoder.Error!void {}
    }.make },
    .{ .name = "all by destination", .make = struct {
        fn make(encoder: *Encoder) Encoder.Error!void {
            try encoder.sort(at(.destination), .{});
        }
    }.make },
};

fn run(cursor: *Cursor, rows: *Rows, query: Query, output: []align(8) u8) !u64 {
    var encoder: Encoder = .init(cursor.gpa, 0);
    defer encoder.deinit();
    try query.make(&encoder);
    var reason: []const u8 = "";
    try cursor.open(&rows.table, try encoder.finish(), &reason);
    defer cursor.close();
    rows.next_row = 0;
    while (true) {
        const batch = try cursor.fill(rows, output, .{});
        if (batch.done) return cursor.stats.returned;
    }
}

pub fn main(init: std.process.Init) !void {
    const gpa = std.heap.smp_allocator;
    var words = init.minimal.args.iterate();
    _ = words.next();
    const count = try std.fmt.parseInt(usize, words.next() orelse "1000000", 10);
    var rows: Rows = try .init(gpa, count);
    const output = try gpa.alignedAlloc(u8, .@"8", output_size);
    const cursor: *Cursor = try .create(gpa);

    var buffer: [512]u8 = undefined;
    var stdout = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    const out = &stdout.interface;
    try out.print("{d} rows of {d} bytes, {s}\n", .{
        count, rows.row_size, @tagName(@import("builtin").mode),
    });
    for (queries) |query| {
        var times: [repeat_count]f64 = undefined;
        var returned: u64 = 0;
        for (&times) |*time| {
            const start = nowNs();
            returned = try run(cursor, &rows, query, output);
            time.* = @as(f64, @floatFromInt(nowNs() - start)) / @as(f64, @floatFromInt(count));
        }
        std.mem.sort(f64, &times, {}, std.sort.asc(f64));
        try out.print("{s:<36}{d:>8.1} ns/row (least {d:.1}) {d:>9} rows\n", .{
            query.name, times[repeat_count / 2], times[0], returned,
        });
        try out.flush();
    }
}

fn nowNs() u64 {
    var time: std.os.linux.timespec = undefined;
    _ = std.os.linux.clock_gettime(.THREAD_CPUTIME_ID, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

test "bench: every query runs" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var rows: Rows = try .init(arena, 100);
    const output = try arena.alignedAlloc(u8, .@"8", output_size);
    const cursor: *Cursor = try .create(arena);
    for (queries) |query| _ = try run(cursor, &rows, query, output);
}
