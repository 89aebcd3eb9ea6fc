//! Rows of the log: encoded, damaged, and read against a page that cannot be read.
//!
//! Invariants:
//!
//!   * a full record of a row gives the same row again; a delta on another row gives that row with
//!     the columns of the delta
//!   * `encode` takes at most the bytes that `sizeMax` promises, whatever bytes the row consists of
//!   * no bytes make `read` do more than fail, and what it accepts is a row of the table

const std = @import("std");
const Generator = @import("query_generator.zig").Generator;
const log_row = @import("log_row.zig");
const RowRef = @import("row.zig").RowRef;
const row_merge = @import("row_merge.zig");
const table_info = @import("table_info.zig");
const TableInfo = table_info.TableInfo;
const Value = @import("query_model.zig").Value;
const Allocator = std.mem.Allocator;

pub fn run(gpa: Allocator, seed: u64, rounds: usize) !void {
    var prng: std.Random.DefaultPrng = .init(seed);
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    for (0..rounds) |_| {
        _ = arena_state.reset(.retain_capacity);
        const generator: Generator = .{
            .arena = arena_state.allocator(),
            .random = prng.random(),
        };
        var round: Round = try .init(generator);
        try round.full();
        try round.delta();
        try round.delete();
        try round.damaged();
        try round.garbage();
    }
}

const Buffer = []align(8) u8;

const Round = struct {
    generator: Generator,
    random: std.Random,
    table: *const TableInfo,
    tables: [1]?*const TableInfo,
    old: RowRef,
    new: RowRef,
    /// Exactly what `encode` may use.
    out: []u8,
    built: Buffer,

    fn init(generator: Generator) !Round {
        const arena = generator.arena;
        const table = try arena.create(TableInfo);
        table.* = try generator.table();
        return .{
            .generator = generator,
            .random = generator.random,
            .table = table,
            .tables = .{table},
            .old = try someRow(generator, table),
            .new = try someRow(generator, table),
            .out = try arena.alloc(u8, log_row.sizeMax(table)),
            .built = try arena.alignedAlloc(u8, .@"8", table.payload_size_max),
        };
    }

    fn someRow(generator: Generator, table: *const TableInfo) !RowRef {
        const values = try generator.arena.alloc(Value, table.column_count);
        for (table.slice(), values) |*column, *value| value.* = try generator.value(column, 25);
        const buffer = try generator.arena.alignedAlloc(u8, .@"8", table.payload_size_max);
        return Generator.row(table, values, buffer);
    }

    fn key(round: *const Round) []const u8 {
        const column = &round.table.columns[round.table.primary_key];
        const cell = round.new.payload[column.offset..];
        if (column.kind != .text) return cell[0..column.cell_size];
        return cell[0 .. 2 + round.new.text(column).len];
    }

    fn full(round: *Round) !void {
        const size = log_row.encode(round.table, .full, round.key(), round.new, 0, round.out);
        const record = try log_row.read(round.out[0..size], &round.tables);
        if (record.size != size) return error.WrongSize;
        if (!std.mem.eql(u8, record.key, round.key())) return error.WrongKey;
        try expectRow(round.table, round.new, record.apply(null, round.built));
    }

    fn delta(round: *Round) !void {
        const mask = round.random.int(u64) & round.table.allColumns();
        const size = log_row.encode(round.table, .delta, round.key(), round.new, mask, round.out);
        const record = try log_row.read(round.out[0..size], &round.tables);
        const buffer = try round.generator.arena.alignedAlloc(
            u8,
            .@"8",
            round.table.payload_size_max,
        );
        // Both rows have the same key.
        const expected = row_merge.merge(round.table, round.old, round.new, mask, buffer);
        try expectRow(round.table, expected, record.apply(round.old, round.built));
    }

    fn delete(round: *Round) !void {
        const size = log_row.encodeDelete(round.table, round.key(), round.out);
        const record = try log_row.read(round.out[0..size], &round.tables);
        if (record.operation != .delete or record.size != size) return error.WrongRecord;
    }

    /// Changes, cuts and continues good records.
    fn damaged(round: *Round) !void {
        const random = round.random;
        const operation: log_row.Operation = if (random.boolean()) .full else .delta;
        const mask = random.int(u64);
        const key_cell = round.key();
        const size = log_row.encode(round.table, operation, key_cell, round.new, mask, round.out);
        for (0..4) |_| {
            const extra = random.uintAtMost(usize, 3);
            const bytes = try round.generator.arena.alloc(u8, size + extra);
            random.bytes(bytes);
            @memcpy(bytes[0..size], round.out[0..size]);
            for (0..random.uintAtMost(usize, 3)) |_| {
                bytes[random.uintLessThan(usize, size)] = random.int(u8);
            }
            const end = if (random.boolean()) bytes.len else random.uintAtMost(usize, bytes.len);
            try round.readAny(bytes[0..end]);
        }
    }

    /// Encodes a row that another process may be overwriting: any bytes of the right size.
    fn garbage(round: *Round) !void {
        const random = round.random;
        const table = round.table;
        const steps = (table.payload_size_max - table.fixed_size) / 8;
        const size = table.fixed_size + 8 * random.uintAtMost(u32, steps);
        const payload = try round.generator.arena.alignedAlloc(u8, .@"8", size);
        random.bytes(payload);
        const row: RowRef = .{
            .payload = payload.ptr,
            .null_mask = random.int(u64) & random.int(u64),
            .version = 0,
            .size = size,
        };
        const cell = payload[0..@min(payload.len, random.uintAtMost(usize, 70))];
        const operation: log_row.Operation = if (random.boolean()) .full else .delta;
        const used = log_row.encode(table, operation, cell, row, random.int(u64), round.out);
        if (used > round.out.len) return error.TooLarge;
        try round.readAny(round.out[0..used]);
    }

    fn readAny(round: *Round, bytes: []const u8) !void {
        const record = log_row.read(bytes, &round.tables) catch return;
        if (record.size > bytes.len) return error.TooLarge;
        if (record.operation == .delete) return;
        const base = if (record.operation == .delta) round.old else null;
        const row = record.apply(base, round.built);
        const table = round.table;
        if (row.size > table.payload_size_max or row.size % 8 != 0) return error.NoRow;
        for (table.slice(), 0..) |*column, i| {
            if (row.isNull(@intCast(i)) and !column.flags.nullable) return error.NoRow;
            if (column.kind.isText() and row.text(column).len > column.capacity) {
                return error.NoRow;
            }
        }
    }
};

fn expectRow(table: *const TableInfo, expected: RowRef, found: RowRef) !void {
    if (expected.null_mask != found.null_mask or expected.size != found.size) return error.Differs;
    for (table.slice(), 0..) |*column, i| {
        if (expected.isNull(@intCast(i))) continue;
        const equal = if (column.kind.isText())
            std.mem.eql(u8, expected.text(column), found.text(column))
        else
            std.mem.eql(
                u8,
                expected.payload[column.offset..][0..column.cell_size],
                found.payload[column.offset..][0..column.cell_size],
            );
        if (!equal) return error.Differs;
    }
}

test "fuzz: rows of the log come back, and damaged ones harm nobody" {
    try run(std.testing.allocator, 1, 2_000);
}
