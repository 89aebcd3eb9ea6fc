//! The plan of a query: the bytes TypeScript sends, checked and typed.
//!
//! The blob is input. `decode` believes nothing in it: any bytes give a plan or `BadArgument`, and
//! what it returns can be used without further tests. A plan refers to the blob's bytes, so the
//! blob must be private memory that outlives it (the executor copies it first).
//!
//! Layout, little endian, offsets from the blob's start:
//!
//!      0  u32 total_bytes    4  u16 table    6  u8 route    7  u8 flags
//!      8  u16 clause_count  10  u16 sort_count             12  u32 key_count
//!     16  f64 limit, -1 for none                           24  f64 offset
//!     32  u64 projection: bit i asks for column i; 0 asks for all
//!     40  u32 clauses_at    44  u32 sorts_at               48  u32 keys_at
//!     52  u32 index_id      56  u32 scan flags             60  u32 bounds_at
//!
//! A clause has 40 bytes (`Clause`), a sort field 4 (`Sort`). A key and a bound are a cell:
//! u32 length, then that many bytes, padded to 8; the low bound stands before the high one. An
//! in-list is `count` cells of 8 bytes for scalars, and for text and bytes `count` times u32
//! length, bytes, padding to 4.

const std = @import("std");
const table_info = @import("table_info.zig");
const Kind = table_info.Kind;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

pub const header_size = 64;
pub const clause_count_max = 1024;
pub const key_count_max = 65_536;

pub const Route = enum(u8) {
    empty = 0,
    primary_key_lookup = 1,
    index_exact_match = 2,
    index_range_scan = 3,
    full_scan = 4,
};

pub const Flags = packed struct(u8) {
    count_only: bool = false,
    speedtables: bool = false,
    /// Positions of rows instead of records, for views inside a transaction.
    handles: bool = false,
    /// Batches end early, also without a row: the caller lets others run between them.
    yields: bool = false,
    reserved: u4 = 0,
};

pub const ScanFlags = packed struct(u32) {
    descending: bool = false,
    low_present: bool = false,
    low_inclusive: bool = false,
    high_present: bool = false,
    high_inclusive: bool = false,
    /// The walk gives the order of the sort fields.
    ordered: bool = false,
    reserved: u26 = 0,
};

pub const Header = extern struct {
    total_bytes: u32,
    table: u16,
    route: u8,
    flags: Flags,
    clause_count: u16,
    sort_count: u16,
    key_count: u32,
    limit: f64,
    offset: f64,
    projection: u64,
    clauses_at: u32,
    sorts_at: u32,
    keys_at: u32,
    index_id: u32,
    scan: ScanFlags,
    bounds_at: u32,

    comptime {
        assert(@sizeOf(Header) == header_size);
    }
};

pub const Op = enum(u8) {
    is_null = 1,
    is_not_null = 2,
    eq = 3,
    ne = 4,
    gt = 5,
    ge = 6,
    lt = 7,
    le = 8,
    in = 9,
    /// a <= value < b
    range = 10,
    match = 11,
    not_match = 12,
    is_true = 13,
    is_false = 14,
    /// No row satisfies it.
    never = 15,
};

pub const ClauseFlags = packed struct(u16) {
    /// A null value satisfies the clause (speedtables: nulls sort high). Not for `is_null` and
    /// `is_not_null`.
    null_satisfies: bool = false,
    /// For `match` and `not_match`.
    ignore_case: bool = false,
    /// The keys or bounds of the index let exactly the rows through that satisfy the clause.
    answered: bool = false,
    reserved: u13 = 0,
};

/// One condition on one column. Bool operands are the integers 0 and 1.
pub const Clause = extern struct {
    op: Op,
    column: u8,
    flags: ClauseFlags = .{},
    /// Items of an in-list.
    count: u32 = 0,
    /// The text operand, the glob, the low end of a text range, or the in-list.
    pool_at: u32 = 0,
    pool_len: u32 = 0,
    /// An i64 for int32, int64 and bool columns, an f64 for float64 and timestamp.
    a: u64 = 0,
    b: u64 = 0,
    /// The high end of a text range.
    pool2_at: u32 = 0,
    pool2_len: u32 = 0,

    comptime {
        assert(@sizeOf(Clause) == 40);
    }
};

pub const SortFlags = packed struct(u8) {
    /// Reverses the order of values. It does not move nulls.
    descending: bool = false,
    /// Nulls stand before all values in the result, ascending or descending; else after them.
    nulls_first: bool = false,
    /// Ascending means true before false. `descending` reverses this too.
    true_first: bool = false,
    reserved: u5 = 0,
};

pub const Sort = extern struct {
    column: u8,
    flags: SortFlags = .{},
    zero: u16 = 0,

    comptime {
        assert(@sizeOf(Sort) == 4);
    }
};

pub const DecodeError = error{BadArgument};

pub const Plan = struct {
    table: u16,
    route: Route,
    flags: Flags,
    /// Most rows to return; null for all.
    limit: ?u64,
    /// Rows to leave out at the start of the result.
    offset: u64,
    /// The columns wanted; never 0.
    projection: u64,
    clauses: []const Clause,
    sorts: []const Sort,
    /// Distinct primary keys to look up, as cells; walk them by `keys`.
    key_count: u32,
    key_bytes: []const u8,
    index_id: u32,
    scan: ScanFlags,
    /// Key cells of the index bounds; null where the scan flags say there is none.
    low: ?[]const u8,
    high: ?[]const u8,
    blob: []align(8) const u8,

    /// Checks `blob` against `table`. On `BadArgument`, `reason` is a phrase for people.
    pub fn decode(
        blob: []align(8) const u8,
        table: *const TableInfo,
        reason: *[]const u8,
    ) DecodeError!Plan {
        var decoder: Decoder = .{ .blob = blob, .table = table, .reason = reason };
        return decoder.plan();
    }

    /// For the operators that have a text operand or a list of at least one item.
    pub fn pool(plan: *const Plan, clause: *const Clause) []const u8 {
        return plan.blob[clause.pool_at..][0..clause.pool_len];
    }

    pub fn pool2(plan: *const Plan, clause: *const Clause) []const u8 {
        return plan.blob[clause.pool2_at..][0..clause.pool2_len];
    }

    pub fn keys(plan: *const Plan) CellIterator {
        return .{ .bytes = plan.key_bytes, .left = plan.key_count, .alignment = 8 };
    }

    /// The items of a text or bytes in-list.
    pub fn textItems(plan: *const Plan, clause: *const Clause) CellIterator {
        assert(clause.op == .in);
        const bytes = if (clause.count == 0) &.{} else plan.pool(clause);
        return .{ .bytes = bytes, .left = clause.count, .alignment = 4 };
    }

    /// Item `i` of a scalar in-list, as the bits of an i64 or f64.
    pub fn scalarItem(plan: *const Plan, clause: *const Clause, i: usize) u64 {
        assert(clause.op == .in and i < clause.count);
        return std.mem.readInt(u64, plan.pool(clause)[i * 8 ..][0..8], .little);
    }
};

/// Walks cells of `u32 length, bytes, padding`. Stops early, with `failed` set, at a cell that
/// does not lie inside the bytes.
pub const CellIterator = struct {
    bytes: []const u8,
    left: u32,
    alignment: u32,
    at: u32 = 0,
    failed: bool = false,

    pub fn next(iterator: *CellIterator) ?[]const u8 {
        if (iterator.left == 0 or iterator.failed) return null;
        const rest = iterator.bytes[iterator.at..];
        if (rest.len < 4) return iterator.fail();
        const length = std.mem.readInt(u32, rest[0..4], .little);
        if (length > rest.len - 4) return iterator.fail();
        const cell = rest[4..][0..length];
        // The last cell may end with its bytes.
        const step = std.mem.alignForward(usize, 4 + @as(usize, length), iterator.alignment);
        iterator.at += @intCast(@min(step, rest.len));
        iterator.left -= 1;
        return cell;
    }

    fn fail(iterator: *CellIterator) ?[]const u8 {
        iterator.failed = true;
        return null;
    }
};

const Decoder = struct {
    blob: []align(8) const u8,
    table: *const TableInfo,
    reason: *[]const u8,

    fn plan(decoder: *Decoder) DecodeError!Plan {
        const blob = decoder.blob;
        if (blob.len < header_size) return decoder.bad("the plan is shorter than its header");
        if (blob.len > std.math.maxInt(u32)) return decoder.bad("the plan is too long");
        const header: *const Header = @ptrCast(blob.ptr);
        if (header.total_bytes != blob.len) return decoder.bad("the plan has another length");
        if (header.table != decoder.table.id) return decoder.bad("the plan is for another table");
        if (header.route > @intFromEnum(Route.full_scan)) return decoder.bad("unknown route");
        if (header.flags.reserved != 0) return decoder.bad("unknown plan flags");
        if (header.scan.reserved != 0) return decoder.bad("unknown scan flags");
        const all = decoder.table.allColumns();
        if (header.projection & ~all != 0) return decoder.bad("unknown column in the projection");

        const key_bytes = try decoder.keys(header);
        const ends = try decoder.bounds(header);
        return .{
            .table = header.table,
            .route = @enumFromInt(header.route),
            .flags = header.flags,
            .limit = if (header.limit == -1) null else try decoder.rowCount(header.limit),
            .offset = try decoder.rowCount(header.offset),
            .projection = if (header.projection == 0) all else header.projection,
            .clauses = try decoder.clauses(header),
            .sorts = try decoder.sorts(header),
            .key_count = header.key_count,
            .key_bytes = key_bytes,
            .index_id = header.index_id,
            .scan = header.scan,
            .low = ends[0],
            .high = ends[1],
            .blob = blob,
        };
    }

    fn bad(decoder: *Decoder, reason: []const u8) DecodeError {
        decoder.reason.* = reason;
        return error.BadArgument;
    }

    /// `size` bytes at `at`, which must be a multiple of `alignment` behind the header.
    fn section(decoder: *Decoder, at: u32, size: u64, alignment: u32) DecodeError![]const u8 {
        const length = decoder.blob.len;
        if (at < header_size or at > length) return decoder.bad("a part lies outside the plan");
        if (size > length - at) return decoder.bad("a part ends outside the plan");
        if (at % alignment != 0) return decoder.bad("a part of the plan is misaligned");
        return decoder.blob[at..][0..@intCast(size)];
    }

    fn rowCount(decoder: *Decoder, number: f64) DecodeError!u64 {
        // Negated, so that NaN is refused too.
        if (!(number >= 0 and number <= 0x1p53)) return decoder.bad("a row count is out of range");
        if (@trunc(number) != number) return decoder.bad("a row count is not an integer");
        return @intFromFloat(number);
    }

    fn keys(decoder: *Decoder, header: *const Header) DecodeError![]const u8 {
        if (header.key_count == 0) return &.{};
        if (header.key_count > key_count_max) return decoder.bad("too many keys");
        const rest = decoder.blob.len - @min(header.keys_at, decoder.blob.len);
        const bytes = try decoder.section(header.keys_at, rest, 8);
        const info = &decoder.table.columns[decoder.table.primary_key];

        var iterator: CellIterator = .{ .bytes = bytes, .left = header.key_count, .alignment = 8 };
        while (iterator.next()) |cell| {
            // What a key of an index is, its scan tests.
            if (header.route != @intFromEnum(Route.primary_key_lookup)) continue;
            const sound = switch (info.kind) {
                .int32 => cell.len == 4,
                .int64 => cell.len == 8,
                else => isTextKey(cell, info.capacity),
            };
            if (!sound) return decoder.bad("a key does not fit the primary key");
        }
        if (iterator.failed) return decoder.bad("a key ends outside the plan");
        return bytes[0..iterator.at];
    }

    /// `u16 length, bytes`, zero padded to a multiple of 4.
    fn isTextKey(cell: []const u8, capacity: u16) bool {
        if (cell.len < 2) return false;
        const length = std.mem.readInt(u16, cell[0..2], .little);
        if (length > capacity) return false;
        if (cell.len != std.mem.alignForward(usize, 2 + @as(usize, length), 4)) return false;
        return std.mem.allEqual(u8, cell[2 + length ..], 0);
    }

    fn bounds(decoder: *Decoder, header: *const Header) DecodeError![2]?[]const u8 {
        const count = @as(u32, @intFromBool(header.scan.low_present)) +
            @intFromBool(header.scan.high_present);
        if (count == 0) return .{ null, null };
        const rest = decoder.blob.len - @min(header.bounds_at, decoder.blob.len);
        const bytes = try decoder.section(header.bounds_at, rest, 8);

        var iterator: CellIterator = .{ .bytes = bytes, .left = count, .alignment = 8 };
        const low = if (header.scan.low_present) iterator.next() else null;
        const high = if (header.scan.high_present) iterator.next() else null;
        if (iterator.failed) return decoder.bad("a bound ends outside the plan");
        return .{ low, high };
    }

    fn sorts(decoder: *Decoder, header: *const Header) DecodeError![]const Sort {
        if (header.sort_count == 0) return &.{};
        if (header.sort_count > table_info.column_count_max) return decoder.bad("too many sorts");
        const size = @as(u64, header.sort_count) * @sizeOf(Sort);
        const bytes = try decoder.section(header.sorts_at, size, 4);
        const fields: []const Sort = @ptrCast(@as([]align(4) const u8, @alignCast(bytes)));
        for (fields) |field| {
            const is_known = field.column < decoder.table.column_count;
            if (!is_known) return decoder.bad("unknown sort column");
            if (field.flags.reserved != 0) return decoder.bad("unknown sort flags");
        }
        return fields;
    }

    fn clauses(decoder: *Decoder, header: *const Header) DecodeError![]const Clause {
        if (header.clause_count == 0) return &.{};
        if (header.clause_count > clause_count_max) return decoder.bad("too many clauses");
        const size = @as(u64, header.clause_count) * @sizeOf(Clause);
        const bytes = try decoder.section(header.clauses_at, size, 8);
        // The operator is tested as a byte before anything reads it as an `Op`.
        for (0..header.clause_count) |i| {
            const op = bytes[i * @sizeOf(Clause) + @offsetOf(Clause, "op")];
            if (op < 1 or op > 15) return decoder.bad("unknown operator");
        }
        const list: []const Clause = @ptrCast(@as([]align(8) const u8, @alignCast(bytes)));
        for (list) |*clause| try decoder.checkClause(clause);
        return list;
    }

    fn checkClause(decoder: *Decoder, clause: *const Clause) DecodeError!void {
        if (clause.flags.reserved != 0) return decoder.bad("unknown clause flags");
        if (clause.op == .never) return;
        if (clause.column >= decoder.table.column_count) return decoder.bad("unknown column");
        const is_glob = clause.op == .match or clause.op == .not_match;
        if (clause.flags.ignore_case and !is_glob) return decoder.bad("only globs ignore case");

        const kind = decoder.table.columns[clause.column].kind;
        switch (clause.op) {
            .is_null, .is_not_null, .never => {},
            .is_true, .is_false => if (kind.isText()) return decoder.bad("text is not a bool"),
            .match, .not_match => {
                if (!kind.isText()) return decoder.bad("a glob needs a text column");
                _ = try decoder.section(clause.pool_at, clause.pool_len, 1);
            },
            .eq, .ne, .gt, .ge, .lt, .le => {
                if (!kind.isText()) return decoder.checkNumber(kind, clause.a);
                _ = try decoder.section(clause.pool_at, clause.pool_len, 1);
            },
            .range => {
                if (kind.isText()) {
                    _ = try decoder.section(clause.pool_at, clause.pool_len, 1);
                    _ = try decoder.section(clause.pool2_at, clause.pool2_len, 1);
                } else {
                    try decoder.checkNumber(kind, clause.a);
                    try decoder.checkNumber(kind, clause.b);
                }
            },
            .in => try decoder.checkList(kind, clause),
        }
    }

    fn checkNumber(decoder: *Decoder, kind: Kind, bits: u64) DecodeError!void {
        if (!kind.isFloat()) return;
        const number: f64 = @bitCast(bits);
        if (std.math.isNan(number)) return decoder.bad("NaN compares with nothing");
    }

    fn checkList(decoder: *Decoder, kind: Kind, clause: *const Clause) DecodeError!void {
        if (clause.count == 0) return;
        const bytes = try decoder.section(clause.pool_at, clause.pool_len, 1);
        if (kind.isText()) {
            var iterator: CellIterator = .{ .bytes = bytes, .left = clause.count, .alignment = 4 };
            while (iterator.next()) |_| {}
            if (iterator.failed) return decoder.bad("a list item ends outside its list");
            return;
        }
        const size = @as(u64, clause.count) * 8;
        if (bytes.len != size) return decoder.bad("a list has another length");
        for (0..clause.count) |i| {
            try decoder.checkNumber(kind, std.mem.readInt(u64, bytes[i * 8 ..][0..8], .little));
        }
    }
};

const Encoder = @import("plan_encoder.zig").Encoder;

fn testTable() !TableInfo {
    return .init(2, "t", &.{
        .init("id", .text, 8, .{ .primary = true }),
        .init("n", .int32, 0, .{ .nullable = true }),
        .init("x", .float64, 0, .{ .nullable = true }),
    });
}

fn expectBad(blob: []align(8) const u8, reason: []const u8) !void {
    const table = try testTable();
    var why: []const u8 = "";
    try std.testing.expectError(error.BadArgument, Plan.decode(blob, &table, &why));
    try std.testing.expectEqualStrings(reason, why);
}

test "Plan.decode: gives back what was encoded" {
    const table = try testTable();
    var encoder: Encoder = .init(std.testing.allocator, 2);
    defer encoder.deinit();
    encoder.header.limit = 50;
    encoder.header.offset = 7;
    encoder.header.projection = 0b011;
    try encoder.number(.ge, 1, 10_000);
    try encoder.textList(0, &.{ "UAL1", "", "DAL22" });
    try encoder.sort(2, .{ .descending = true });
    try encoder.key("\x03\x00abc\x00\x00\x00");
    const blob = try encoder.finish();

    var why: []const u8 = "";
    const plan = try Plan.decode(blob, &table, &why);
    try std.testing.expectEqual(50, plan.limit);
    try std.testing.expectEqual(7, plan.offset);
    try std.testing.expectEqual(0b011, plan.projection);
    try std.testing.expectEqual(2, plan.clauses.len);
    try std.testing.expectEqual(10_000, plan.clauses[0].a);
    try std.testing.expect(plan.sorts[0].flags.descending);

    var items = plan.textItems(&plan.clauses[1]);
    try std.testing.expectEqualStrings("UAL1", items.next().?);
    try std.testing.expectEqualStrings("", items.next().?);
    try std.testing.expectEqualStrings("DAL22", items.next().?);
    try std.testing.expectEqual(null, items.next());
    var keys = plan.keys();
    try std.testing.expectEqual(8, keys.next().?.len);
}

test "Plan.decode: names the first thing that is wrong" {
    var encoder: Encoder = .init(std.testing.allocator, 2);
    defer encoder.deinit();
    try encoder.number(.eq, 1, 1);
    const blob = try encoder.finish();
    const header: *Header = @ptrCast(@constCast(blob.ptr));
    const clause: *Clause = @ptrCast(@alignCast(@constCast(blob.ptr + header.clauses_at)));

    try expectBad(blob[0..40], "the plan is shorter than its header");
    header.table = 1;
    try expectBad(blob, "the plan is for another table");
    header.table = 2;
    header.limit = 1.5;
    try expectBad(blob, "a row count is not an integer");
    header.limit = -1;
    clause.column = 3;
    try expectBad(blob, "unknown column");
    clause.column = 0;
    clause.pool_at = 64;
    clause.pool_len = 0xffff_ffff;
    try expectBad(blob, "a part ends outside the plan");
    clause.op = .match;
    clause.column = 1;
    try expectBad(blob, "a glob needs a text column");
    @as(*u8, @ptrCast(clause)).* = 16;
    try expectBad(blob, "unknown operator");
}
