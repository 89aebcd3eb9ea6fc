//! One line of input to one row record.
//!
//! What a field means: the null text is null. Where the column takes no null, an empty null text is
//! an empty text, and any other is an error; a primary key is never null or empty in this way. All
//! other fields must be a value of their column: see `parse_value.zig`; timestamps are numbers of
//! milliseconds; text must be UTF-8.

const std = @import("std");
const ingest_problem = @import("ingest_problem.zig");
const parse_value = @import("parse_value.zig");
const result = @import("result.zig");
const row_module = @import("row.zig");
const spec_module = @import("ingest_spec.zig");
const table_info = @import("table_info.zig");
const tsv = @import("tsv.zig");
const Allocator = std.mem.Allocator;
const Builder = row_module.Builder;
const ColumnInfo = table_info.ColumnInfo;
const Problem = ingest_problem.Problem;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

pub const RowParser = struct {
    table: *const TableInfo,
    null_text: []const u8,
    tcl_values: bool,
    /// Where each field goes, `spec_module.ignored` for nowhere.
    columns: []const u8 = &.{},
    /// The row that all rows start from, in memory of `base_buffer`.
    base: RowRef = undefined,
    base_buffer: []align(8) u8,
    /// Room for a decoded field.
    scratch: std.ArrayList(u8) = .empty,
    /// Why the last call failed.
    problem: Problem = undefined,

    const BadLine = error{BadLine};

    pub fn init(
        gpa: Allocator,
        table: *const TableInfo,
        spec: *const spec_module.Spec,
    ) Allocator.Error!RowParser {
        return .{
            .table = table,
            .null_text = spec.null_text,
            .tcl_values = spec.flags.tcl_values,
            .base_buffer = try gpa.alignedAlloc(u8, .@"8", table.payload_size_max),
        };
    }

    pub fn deinit(parser: *RowParser, gpa: Allocator) void {
        parser.scratch.deinit(gpa);
        gpa.free(parser.base_buffer);
    }

    /// Sets where fields go. Each column may be there once. Fails with `NotNullViolation` if a
    /// column that every row needs is not.
    pub fn setColumns(parser: *RowParser, columns: []const u8) error{NotNullViolation}!void {
        const table = parser.table;
        var given: u64 = 0;
        for (columns) |column| {
            if (column == spec_module.ignored) continue;
            const bit = @as(u64, 1) << @intCast(column);
            assert(column < table.column_count and given & bit == 0);
            given |= bit;
        }
        const missing = table.requiredColumns() & ~given;
        if (missing != 0) {
            const column = &table.columns[@ctz(missing)];
            parser.problem = .about(.missing_column, column, "");
            return error.NotNullViolation;
        }
        parser.columns = columns;
        parser.base = parser.baseRow(given);
    }

    /// The row whose given columns are null, and all others at their defaults.
    fn baseRow(parser: *RowParser, given: u64) RowRef {
        const table = parser.table;
        var builder: Builder = .init(table, parser.base_buffer);
        if (table.default_payload.len == 0) return builder.unpadded();
        const defaults: RowRef = .{
            .payload = table.default_payload.ptr,
            .null_mask = table.default_null_mask,
            .version = 0,
            .size = @intCast(table.default_payload.len),
        };
        for (table.slice(), 0..) |*info, i| {
            const column: u8 = @intCast(i);
            if (given >> @intCast(i) & 1 != 0 or defaults.isNull(column)) continue;
            switch (info.kind) {
                // The default fits its column: it was checked when the table was declared.
                .text, .bytes => builder.setText(column, defaults.text(info)) catch unreachable,
                .int32 => builder.setInt32(column, defaults.int32(info.offset)),
                .int64 => builder.setInt64(column, defaults.int64(info.offset)),
                .float64, .timestamp => builder.setFloat64(column, defaults.float64(info.offset)),
                .bool => builder.setBool(column, defaults.boolean(info.offset)),
            }
        }
        return builder.unpadded();
    }

    /// Writes the record of a line to the start of `out`, which must have room for the largest
    /// record of the table. Returns its bytes. On `BadLine`, `problem` says why.
    pub fn parse(
        parser: *RowParser,
        gpa: Allocator,
        line: tsv.Line,
        out: []align(8) u8,
    ) (Allocator.Error || BadLine)!u32 {
        parser.parseFields(gpa, line, out) catch |err| {
            if (err == error.BadLine) {
                parser.problem.line = line.number;
                parser.problem.text = .of(line.bytes);
            }
            return err;
        };
        const header: *const result.RecordHeader = @ptrCast(out.ptr);
        return header.record_bytes;
    }

    fn parseFields(
        parser: *RowParser,
        gpa: Allocator,
        line: tsv.Line,
        out: []align(8) u8,
    ) (Allocator.Error || BadLine)!void {
        if (line.is_overlong) {
            parser.problem = .{ .reason = .line_too_long };
            return error.BadLine;
        }
        const payload: []align(8) u8 = @alignCast(out[result.record_header_size..]);
        var builder: Builder = .initFrom(parser.table, payload, parser.base);
        const is_ascii = tsv.isAscii(line.bytes);
        var fields: tsv.Fields = .{ .line = line.bytes };
        for (parser.columns, 0..) |column, i| {
            const field = fields.next() orelse return parser.wrongCount(line.bytes, i);
            if (column == spec_module.ignored) continue;
            try parser.set(gpa, &builder, column, field, is_ascii);
        }
        if (!fields.ended) return parser.wrongCount(line.bytes, parser.columns.len + 1);

        const row = builder.finish();
        const header: *result.RecordHeader = @ptrCast(out.ptr);
        header.* = .{
            .record_bytes = result.record_header_size + row.size,
            .null_mask = row.null_mask,
            .column_mask = parser.table.allColumns(),
        };
    }

    fn wrongCount(parser: *RowParser, line: []const u8, found_least: usize) BadLine {
        @branchHint(.cold);
        const found = std.mem.countScalar(u8, line, '\t') + 1;
        assert(found >= found_least);
        const expected = parser.columns.len;
        parser.problem = .{
            .reason = if (found < expected) .too_few_fields else .too_many_fields,
            .limit = @intCast(expected),
            .found = @intCast(found),
        };
        return error.BadLine;
    }

    fn set(
        parser: *RowParser,
        gpa: Allocator,
        builder: *Builder,
        column: u8,
        field: []const u8,
        is_ascii: bool,
    ) (Allocator.Error || BadLine)!void {
        const info = &parser.table.columns[column];
        var value = field;
        if (std.mem.eql(u8, field, parser.null_text)) {
            if (info.flags.nullable) return; // As in the base row.
            const is_empty_text = field.len == 0 and info.kind.isText() and !info.flags.primary;
            if (!is_empty_text) return parser.refuse(.null_refused, info, field);
        } else if (parser.tcl_values and tsv.needsDecoding(field)) {
            if (std.mem.eql(u8, field, "\\N") and info.flags.nullable) return;
            value = try parser.decode(gpa, info, field);
        }
        switch (info.kind) {
            .text => {
                if (!is_ascii and !std.unicode.utf8ValidateSlice(value)) {
                    return parser.refuse(.not_utf8, info, value);
                }
                builder.setText(column, value) catch return parser.refuse(.too_long, info, value);
            },
            .bytes => builder.setText(column, value) catch
                return parser.refuse(.too_long, info, value),
            .int32 => builder.setInt32(column, parse_value.integer(i32, value) catch |err|
                return parser.refuseNumber(err, info, value)),
            .int64 => {
                const number = parse_value.integer(i64, value) catch |err|
                    return parser.refuseNumber(err, info, value);
                if (!info.flags.bigint and @abs(number) > table_info.exact_integer_max) {
                    return parser.refuse(.not_exact, info, value);
                }
                builder.setInt64(column, number);
            },
            .float64, .timestamp => builder.setFloat64(column, parse_value.float(value) catch |err|
                return parser.refuseNumber(err, info, value)),
            .bool => builder.setBool(column, parse_value.boolean(value) catch |err|
                return parser.refuseNumber(err, info, value)),
        }
    }

    fn decode(
        parser: *RowParser,
        gpa: Allocator,
        info: *const ColumnInfo,
        field: []const u8,
    ) (Allocator.Error || BadLine)![]const u8 {
        try parser.scratch.resize(gpa, field.len);
        const escapes: tsv.Escapes = if (info.kind == .bytes) .bytes else .text;
        return tsv.decodeTcl(field, escapes, parser.scratch.items) catch
            parser.refuse(.bad_escape, info, field);
    }

    fn refuse(
        parser: *RowParser,
        reason: ingest_problem.Reason,
        info: *const ColumnInfo,
        value: []const u8,
    ) BadLine {
        @branchHint(.cold);
        parser.problem = .about(reason, info, value);
        return error.BadLine;
    }

    fn refuseNumber(
        parser: *RowParser,
        err: parse_value.Error,
        info: *const ColumnInfo,
        value: []const u8,
    ) BadLine {
        return parser.refuse(switch (err) {
            error.Malformed => .malformed,
            error.OutOfRange => .out_of_range,
        }, info, value);
    }
};
