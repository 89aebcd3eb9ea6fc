//! Rows out of tab-separated text: chunks in, batches of row records out.
//!
//!     const ingest = try Ingest.begin(gpa, table, spec_bytes);  // see ingest_spec.zig
//!     defer ingest.end();
//!     try ingest.feed(chunk, is_last, sink);                    // once for each chunk
//!
//! `sink` is any value with
//!
//!     fn write(sink, records: []align(8) const u8, count: u32) !void
//!
//! which takes `count` records, one after the other, in the layout of `result.zig`. Every record is
//! a whole row: columns that the input does not have are at their defaults, else null, and the
//! column mask names all columns. A batch holds at most `batch_rows` rows and at most 1 MiB.
//!
//! A line that cannot be a row ends the ingest with `BadLine` and a `problem`, or is counted and
//! passed over if the specification says so; `problem` is then that of the first. Batches that were
//! written before stay written. Empty lines are no rows.

const std = @import("std");
const Problem = @import("ingest_problem.zig").Problem;
const RowParser = @import("ingest_row.zig").RowParser;
const result = @import("result.zig");
const spec_module = @import("ingest_spec.zig");
const table_info = @import("table_info.zig");
const tsv = @import("tsv.zig");
const Allocator = std.mem.Allocator;
const Spec = spec_module.Spec;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

const batch_bytes_max = 1 << 20;
const batch_rows_max = 65_536;
const byte_order_mark = "\xef\xbb\xbf";

pub const Counts = struct {
    /// Rows the sink has taken.
    rows: u64 = 0,
    batches: u64 = 0,
    /// Bad lines passed over.
    skipped: u64 = 0,
    /// Bytes fed.
    bytes: u64 = 0,
};

pub const Ingest = struct {
    gpa: Allocator,
    table: *const TableInfo,
    spec_bytes: []const u8,
    spec: Spec,
    state: State = .start,
    lines: tsv.Lines = .{},
    columns: std.ArrayList(u8) = .empty,
    parser: RowParser,
    batch: []align(8) u8,
    batch_bytes: usize = 0,
    batch_rows: u32 = 0,
    /// The line that each row of the batch came from. As long as a batch may have rows.
    batch_lines: []u64,
    counts: Counts = .{},
    problem: ?Problem = null,
    /// Rows of the batch that the sink has left out.
    refused: u32 = 0,

    const State = enum {
        start,
        /// The next line names the fields.
        names,
        /// The next line names the fields, but they are known.
        names_ignored,
        rows,
        ended,
    };

    /// Starts an ingest. `spec_bytes` are copied, `table` must stay as it is until `end`.
    ///
    /// Fails with `BadArgument` if the bytes are no specification. That the input lacks a column is
    /// found by `feed`, which can say which.
    pub fn begin(
        gpa: Allocator,
        table: *const TableInfo,
        spec_bytes: []const u8,
    ) (Allocator.Error || Spec.Error)!*Ingest {
        const copy = try gpa.dupe(u8, spec_bytes);
        errdefer gpa.free(copy);
        const spec: Spec = try .decode(copy, table);
        const rows_max = @min(spec.batch_rows, batch_rows_max);
        const record_size = recordSizeMax(table);
        const batch_size = @max(record_size, @min(rows_max * record_size, batch_bytes_max));

        var parser: RowParser = try .init(gpa, table, &spec);
        errdefer parser.deinit(gpa);
        const batch = try gpa.alignedAlloc(u8, .@"8", batch_size);
        errdefer gpa.free(batch);
        const batch_lines = try gpa.alloc(u64, rows_max);
        errdefer gpa.free(batch_lines);
        const ingest = try gpa.create(Ingest);
        ingest.* = .{
            .gpa = gpa,
            .table = table,
            .spec_bytes = copy,
            .spec = spec,
            .parser = parser,
            .batch = batch,
            .batch_lines = batch_lines,
        };
        return ingest;
    }

    /// Frees the ingest. Rows that were not written yet are dropped: feed the last chunk with
    /// `is_last` to have them all.
    pub fn end(ingest: *Ingest) void {
        const gpa = ingest.gpa;
        ingest.columns.deinit(gpa);
        ingest.lines.deinit(gpa);
        ingest.parser.deinit(gpa);
        gpa.free(ingest.batch_lines);
        gpa.free(ingest.batch);
        gpa.free(ingest.spec_bytes);
        gpa.destroy(ingest);
    }

    /// Takes the next chunk. With `is_last`, the input ends with it and all rows are written.
    ///
    /// Fails with what the sink fails with, and with `BadLine`, `UnknownColumn` (a name in the
    /// first line) or `NotNullViolation` (a column that the input must have), for which `problem`
    /// has the details. After a failure or the last chunk, feeding is a `BadArgument`.
    pub fn feed(ingest: *Ingest, chunk: []const u8, is_last: bool, sink: anytype) !void {
        if (ingest.state == .ended) return error.BadArgument;
        errdefer ingest.state = .ended;
        if (ingest.state == .start) try ingest.start();

        ingest.counts.bytes += chunk.len;
        ingest.lines.feed(chunk, is_last);
        while (try ingest.lines.next(ingest.gpa)) |line| try ingest.takeLine(line, sink);
        if (is_last) {
            try ingest.flush(sink);
            ingest.state = .ended;
        }
    }

    /// The line that record `index` of the current batch came from: for a sink that refused it.
    pub fn lineOf(ingest: *const Ingest, index: u32) u64 {
        assert(index < ingest.batch_rows);
        return ingest.batch_lines[index];
    }

    fn start(ingest: *Ingest) !void {
        const spec = &ingest.spec;
        if (spec.flags.column_list) {
            try ingest.columns.appendSlice(ingest.gpa, spec.columns);
        } else if (spec.flags.header_line) {
            ingest.state = .names;
            return;
        } else {
            for (0..ingest.table.column_count) |column| {
                try ingest.columns.append(ingest.gpa, @intCast(column));
            }
        }
        try ingest.setColumns();
        ingest.state = if (spec.flags.header_line) .names_ignored else .rows;
    }

    fn setColumns(ingest: *Ingest) !void {
        ingest.parser.setColumns(ingest.columns.items) catch |err| {
            ingest.problem = ingest.parser.problem;
            return err;
        };
    }

    fn takeLine(ingest: *Ingest, whole: tsv.Line, sink: anytype) !void {
        var line = whole;
        if (line.number == 1 and std.mem.startsWith(u8, line.bytes, byte_order_mark)) {
            line.bytes = line.bytes[byte_order_mark.len..];
        }
        if (line.bytes.len == 0 and !line.is_overlong) return;
        switch (ingest.state) {
            .start, .ended => unreachable, // `feed` sees to it.
            .names => try ingest.takeNames(line),
            .names_ignored => ingest.state = .rows,
            .rows => try ingest.takeRow(line, sink),
        }
    }

    fn takeNames(ingest: *Ingest, line: tsv.Line) !void {
        var seen: u64 = 0;
        var fields: tsv.Fields = .{ .line = line.bytes };
        while (fields.next()) |name| {
            const column = ingest.spec.columnOf(ingest.table, name) orelse {
                ingest.blame(.{ .reason = .unknown_name, .value = .of(name) }, line);
                return error.UnknownColumn;
            };
            if (column != spec_module.ignored) {
                const bit = @as(u64, 1) << @intCast(column);
                if (seen & bit != 0) {
                    ingest.blame(.{ .reason = .repeated_column, .value = .of(name) }, line);
                    return error.BadLine;
                }
                seen |= bit;
            }
            try ingest.columns.append(ingest.gpa, column);
        }
        try ingest.setColumns();
        ingest.state = .rows;
    }

    fn blame(ingest: *Ingest, problem: Problem, line: tsv.Line) void {
        ingest.problem = problem;
        ingest.problem.?.line = line.number;
        ingest.problem.?.text = .of(line.bytes);
    }

    fn takeRow(ingest: *Ingest, line: tsv.Line, sink: anytype) !void {
        const room = ingest.batch.len - ingest.batch_bytes;
        const is_full = ingest.batch_rows == ingest.batch_lines.len;
        if (is_full or room < recordSizeMax(ingest.table)) try ingest.flush(sink);

        const out: []align(8) u8 = @alignCast(ingest.batch[ingest.batch_bytes..]);
        const size = ingest.parser.parse(ingest.gpa, line, out) catch |err| {
            if (err != error.BadLine) return err;
            if (ingest.problem == null) ingest.problem = ingest.parser.problem;
            if (!ingest.spec.flags.skip_bad_lines) return err;
            ingest.counts.skipped += 1;
            return;
        };
        ingest.batch_lines[ingest.batch_rows] = line.number;
        ingest.batch_bytes += size;
        ingest.batch_rows += 1;
    }

    fn flush(ingest: *Ingest, sink: anytype) !void {
        if (ingest.batch_rows == 0) return;
        const records: []align(8) const u8 = ingest.batch[0..ingest.batch_bytes];
        try sink.write(records, ingest.batch_rows);
        ingest.counts.rows += ingest.batch_rows - ingest.refused;
        ingest.counts.skipped += ingest.refused;
        ingest.counts.batches += 1;
        ingest.batch_bytes = 0;
        ingest.batch_rows = 0;
        ingest.refused = 0;
    }
};

fn recordSizeMax(table: *const TableInfo) usize {
    return result.record_header_size + @as(usize, table.payload_size_max);
}

/// Prints the rows it is given, one a line, values separated by bars.
const Printer = struct {
    table: *const TableInfo,
    out: std.ArrayList(u8) = .empty,
    batches: u32 = 0,

    pub fn write(printer: *Printer, records: []align(8) const u8, count: u32) !void {
        const gpa = std.testing.allocator;
        printer.batches += 1;
        var at: usize = 0;
        for (0..count) |_| {
            const row = result.readRecord(@alignCast(records.ptr + at));
            at += result.record_header_size + row.size;
            for (printer.table.slice(), 0..) |*column, i| {
                if (row.isNull(@intCast(i))) {
                    try printer.out.appendSlice(gpa, "null");
                } else switch (column.kind) {
                    .text, .bytes => try printer.out.appendSlice(gpa, row.text(column)),
                    .int32 => try printer.out.print(gpa, "{d}", .{row.int32(column.offset)}),
                    .int64 => try printer.out.print(gpa, "{d}", .{row.int64(column.offset)}),
                    .bool => try printer.out.print(gpa, "{}", .{row.boolean(column.offset)}),
                    else => try printer.out.print(gpa, "{d}", .{row.float64(column.offset)}),
                }
                try printer.out.append(gpa, if (i + 1 == printer.table.column_count) '\n' else '|');
            }
        }
        try std.testing.expectEqual(records.len, at);
    }
};

const Bench = struct {
    table: TableInfo,
    default_buffer: [256]u8 align(8) = undefined,
    printer: Printer = undefined,
    problem: ?Problem = null,
    counts: Counts = .{},

    fn init(bench: *Bench) !void {
        bench.* = .{ .table = try .init(0, "flights", &.{
            .init("id", .text, 8, .{ .primary = true }),
            .init("altitude", .int32, 0, .{ .nullable = true }),
            .init("lat", .float64, 0, .{ .nullable = true }),
            .init("up", .bool, 0, .{ .has_default = true }),
            .init("remark", .text, 40, .{ .has_default = true, .nullable = true }),
            .init("city", .text, 8, .{}),
        }) };
        var builder: @import("row.zig").Builder = .init(&bench.table, &bench.default_buffer);
        builder.setBool(3, true);
        try builder.setText(4, "a remark that stands in the tail");
        const row = builder.finish();
        bench.table.default_payload = bench.default_buffer[0..row.size];
        bench.table.default_null_mask = row.null_mask;
        bench.printer = .{ .table = &bench.table };
    }

    fn deinit(bench: *Bench) void {
        bench.printer.out.deinit(std.testing.allocator);
    }

    fn run(bench: *Bench, spec: []const u8, input: []const u8) !void {
        bench.printer.out.clearRetainingCapacity();
        const ingest: *Ingest = try .begin(std.testing.allocator, &bench.table, spec);
        defer ingest.end();
        defer bench.problem = ingest.problem;
        defer bench.counts = ingest.counts;
        try ingest.feed(input, true, &bench.printer);
    }

    fn expect(bench: *Bench, spec: []const u8, input: []const u8, rows: []const u8) !void {
        try bench.run(spec, input);
        try std.testing.expectEqualStrings(rows, bench.printer.out.items);
    }

    fn expectProblem(
        bench: *Bench,
        spec: []const u8,
        input: []const u8,
        err: anyerror,
        message: []const u8,
    ) !void {
        try std.testing.expectError(err, bench.run(spec, input));
        var buffer: [1024]u8 = undefined;
        try std.testing.expectEqualStrings(message, bench.problem.?.describe(&buffer));
    }
};

const encode = spec_module.encode;

test "Ingest: fields in declared order, null text and defaults" {
    var bench: Bench = undefined;
    try bench.init();
    defer bench.deinit();
    var buffer: [64]u8 = undefined;
    try bench.expect(
        encode(&buffer, .{}, 0, &.{}, "", &.{}),
        "UAL1\t100\t47.5\t0\tlate\tZürich\r\n\nUAL2\t\t\tyes\t\t\n",
        "UAL1|100|47.5|false|late|Zürich\nUAL2|null|null|true|null|\n",
    );
    try bench.expect(
        encode(&buffer, .{}, 0, &.{ 5, 255, 0 }, "NULL", &.{}),
        "\xef\xbb\xbfBern\tjunk\tUAL1",
        "UAL1|null|null|true|a remark that stands in the tail|Bern\n",
    );
    try std.testing.expectEqual(1, bench.counts.rows);
}

test "Ingest: the first line names the fields" {
    var bench: Bench = undefined;
    try bench.init();
    defer bench.deinit();
    var buffer: [64]u8 = undefined;
    const renamed = encode(&buffer, .{ .header_line = true }, 0, &.{}, "", &.{
        .{ "town", 5 }, .{ "x", 255 },
    });
    try bench.expect(renamed, "town\tx\tid\tup\nBern\t?\tA\t0\n", //
        "A|null|null|false|a remark that stands in the tail|Bern\n");
    try bench.expectProblem(renamed, "id\ttown\tflap\n", error.UnknownColumn, //
        "line 1: there is no column \"flap\"; the line is \"id\\ttown\\tflap\"");
    try bench.expectProblem(renamed, "id\ttown\tcity\n", error.BadLine, //
        "line 1: \"city\" names a column again; the line is \"id\\ttown\\tcity\"");
    try bench.expectProblem(renamed, "id\tup\n", error.NotNullViolation, //
        "the column \"city\" is not in the input and has no default");
    const both = encode(&buffer, .{ .header_line = true }, 0, &.{ 0, 5 }, "", &.{});
    try bench.expect(both, "what\tever\nA\tBern\n", //
        "A|null|null|true|a remark that stands in the tail|Bern\n");
    const lenient: spec_module.Flags = .{ .header_line = true, .ignore_unknown = true };
    try bench.expect(encode(&buffer, lenient, 0, &.{}, "", &.{}), "a\tid\tcity\n1\tA\tB\n", //
        "A|null|null|true|a remark that stands in the tail|B\n");
}

test "Ingest: says which line is bad, and why" {
    var bench: Bench = undefined;
    try bench.init();
    defer bench.deinit();
    var buffer: [64]u8 = undefined;
    const spec = encode(&buffer, .{}, 0, &.{ 0, 1, 5 }, "", &.{});
    const cases = [_]struct { []const u8, []const u8 }{
        .{ "A\tx1\tB", "line 1, column \"altitude\": \"x1\" is not an int32" },
        .{
            "A\t9999999999\tB",
            "line 1, column \"altitude\": \"9999999999\" is too large for an int32",
        },
        .{
            "A\t1\tBern in Bern",
            "line 1, column \"city\": \"Bern in Bern\" has 12 bytes, the column takes 8",
        },
        .{ "A\t1\tZ\xfc", "line 1, column \"city\": \"Z\\xfc\" is not UTF-8" },
        .{ "\t1\tB", "line 1, column \"id\": the column does not take null" },
        .{ "A\t1", "line 1: it has 2 fields instead of 3" },
        .{ "A\t1\tB\t", "line 1: it has 4 fields instead of 3" },
    };
    for (cases) |case| {
        try std.testing.expectError(error.BadLine, bench.run(spec, case[0]));
        var text: [1024]u8 = undefined;
        const message = bench.problem.?.describe(&text);
        try std.testing.expectStringStartsWith(message, case[1]);
        try std.testing.expectStringStartsWith(message[case[1].len..], "; the line is \"");
    }
    try std.testing.expectError(error.BadLine, bench.run(spec, "A\t1\tB\n\nA\t1\tB\nA\tz\tB\n"));
    try std.testing.expectEqual(4, bench.problem.?.line);
}

test "Ingest: skips bad lines, counts them, and remembers the first" {
    var bench: Bench = undefined;
    try bench.init();
    defer bench.deinit();
    var buffer: [64]u8 = undefined;
    const spec = encode(&buffer, .{ .skip_bad_lines = true }, 0, &.{ 0, 5 }, "", &.{});
    try bench.expect(spec, "A\tB\nC\nD\tE\tF\nG\tH", //
        "A|null|null|true|a remark that stands in the tail|B\n" ++
            "G|null|null|true|a remark that stands in the tail|H\n");
    try std.testing.expectEqual(2, bench.counts.skipped);
    try std.testing.expectEqual(2, bench.problem.?.line);
}

test "Ingest: Tcl-style values" {
    var bench: Bench = undefined;
    try bench.init();
    defer bench.deinit();
    var buffer: [64]u8 = undefined;
    const spec = encode(&buffer, .{ .tcl_values = true }, 0, &.{ 0, 1, 4, 5 }, "", &.{});
    try bench.expect(spec, "A\t{12}\t\\N\t{}\nB\t\t{a b}\ta\\tb\\u20ac\n", //
        "A|12|null|true|null|\nB|null|null|true|a b|a\tb€\n");
    try std.testing.expectError(error.BadLine, bench.run(spec, "A\t1\t\\ud800\tB"));
}

test "Ingest: batches hold as many rows as asked for, and know their lines" {
    var bench: Bench = undefined;
    try bench.init();
    defer bench.deinit();
    var buffer: [64]u8 = undefined;
    const spec = encode(&buffer, .{}, 2, &.{ 0, 5 }, "", &.{});
    try bench.run(spec, "A\tx\nB\tx\n\nC\tx\nD\tx\nE\tx\n");
    try std.testing.expectEqual(3, bench.printer.batches);
    try std.testing.expectEqual(Counts{ .rows = 5, .batches = 3, .bytes = 21 }, bench.counts);

    const Refusing = struct {
        pub fn write(_: @This(), _: []align(8) const u8, _: u32) !void {
            return error.DuplicateKey;
        }
    };
    const ingest: *Ingest = try .begin(std.testing.allocator, &bench.table, spec);
    defer ingest.end();
    const fed = ingest.feed("A\tx\n\nB\tx\nC\tx\n", false, Refusing{});
    try std.testing.expectError(error.DuplicateKey, fed);
    try std.testing.expectEqual(3, ingest.lineOf(1));
    try std.testing.expectError(error.BadArgument, ingest.feed("", true, Refusing{}));
}
