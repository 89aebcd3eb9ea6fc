//! What the query side knows of a table: its columns, and where each stands in a row.
//!
//! A plain structure in private memory. The catalogue fills it from checked bytes of the region,
//! so nothing here is input any more and the rules below are asserted.
//!
//! A row's payload is a fixed part and a tail:
//!
//!     fixed part   8-byte columns | int32, text and bytes cells | bools | padding to 4
//!     tail         the bytes of long text and bytes columns, each 4-aligned, zero padded to 4
//!
//! Each group of the fixed part keeps the declared order. A text or bytes column of at most
//! `inline_capacity_max` bytes, and any primary key, has an inline cell:
//!
//!     u16 length | bytes[capacity], zero filled | padding to 4
//!
//! A longer one has a tail cell of 4 bytes, `u16 offset from the payload's start | u16 length`.
//! Null and empty values are a cell of zeros.
//!
//! Invariants:
//!
//!   * 1 <= column_count <= column_count_max, primary_key < column_count
//!   * every cell lies inside the fixed part and no two cells overlap
//!   * fixed_size is a multiple of 4, payload_size_max a multiple of 8 and at most
//!     `row_payload_size_max`, so every tail offset fits 16 bits

const std = @import("std");
const TableIndexes = @import("table_indexes.zig").TableIndexes;
const assert = std.debug.assert;

pub const column_count_max = 64;
pub const name_size_max = 64;
/// Capacity in bytes up to which a text or bytes value stands in the fixed part itself.
pub const inline_capacity_max = 30;
/// Largest text primary key, in bytes.
pub const key_capacity_max = 64;
/// Bytes of a payload whose columns are all full.
pub const row_payload_size_max = 60_000;

/// The numbers are part of the region and of the ABI.
pub const Kind = enum(u8) {
    text = 1,
    bytes = 2,
    int32 = 3,
    int64 = 4,
    float64 = 5,
    bool = 6,
    timestamp = 7,

    /// Null for a byte that names no kind: it came from outside.
    pub fn fromByte(byte: u8) ?Kind {
        return if (isKind(byte)) @enumFromInt(byte) else null;
    }

    pub inline fn isKind(byte: u8) bool {
        return byte >= 1 and byte <= 7;
    }

    pub fn isText(kind: Kind) bool {
        return kind == .text or kind == .bytes;
    }

    /// Stored as an `f64`.
    pub fn isFloat(kind: Kind) bool {
        return kind == .float64 or kind == .timestamp;
    }

    /// Bytes of a scalar's cell; null for text and bytes, whose size depends on the capacity.
    pub fn scalarSize(kind: Kind) ?u16 {
        return switch (kind) {
            .text, .bytes => null,
            .int32 => 4,
            .int64, .float64, .timestamp => 8,
            .bool => 1,
        };
    }
};

/// As in the schema blob.
pub const ColumnFlags = packed struct(u8) {
    nullable: bool = false,
    primary: bool = false,
    index: bool = false,
    unique: bool = false,
    has_default: bool = false,
    /// TypeScript shows the column as `bigint`.
    bigint: bool = false,
    reserved: u2 = 0,
};

pub const ColumnInfo = struct {
    name_bytes: [name_size_max]u8 = @splat(0),
    name_size: u8 = 0,
    kind: Kind,
    flags: ColumnFlags = .{},
    /// Most bytes of a text or bytes value; 0 for scalars.
    capacity: u16 = 0,
    /// The cell is an inline cell. False for scalars. Set by `physicalLayout`, as are the next two.
    is_inline: bool = false,
    /// Bytes from the payload's start to the cell.
    offset: u16 = 0,
    /// Bytes of the cell in the fixed part.
    cell_size: u16 = 0,

    pub fn init(column_name: []const u8, kind: Kind, capacity: u16, flags: ColumnFlags) ColumnInfo {
        assert(column_name.len >= 1 and column_name.len <= name_size_max);
        var column: ColumnInfo = .{ .kind = kind, .capacity = capacity, .flags = flags };
        column.name_size = @intCast(column_name.len);
        @memcpy(column.name_bytes[0..column_name.len], column_name);
        return column;
    }

    pub fn name(column: *const ColumnInfo) []const u8 {
        return column.name_bytes[0..column.name_size];
    }

    /// The value stands behind the fixed part and the cell points to it.
    pub fn isTail(column: *const ColumnInfo) bool {
        return column.kind.isText() and !column.is_inline;
    }
};

pub const TableInfo = struct {
    id: u16 = 0,
    name_bytes: [name_size_max]u8 = @splat(0),
    name_size: u8 = 0,
    column_count: u8 = 0,
    primary_key: u8 = 0,
    columns: [column_count_max]ColumnInfo = undefined,
    /// Bytes of the fixed part: every payload has at least so many.
    fixed_size: u16 = 0,
    payload_size_max: u16 = 0,
    /// The payload of a row whose columns all have their defaults, and zeros where there is none.
    /// A multiple of 8 bytes. Owned by whoever filled this structure.
    default_payload: []align(8) const u8 = &.{},
    /// Bit i: column i has no default, hence is null in the default row.
    default_null_mask: u64 = 0,
    /// The secondary indexes, for a table of a region. Not owned.
    indexes: ?*TableIndexes = null,

    /// Makes a table and lays its rows out. The default row is left empty.
    pub fn init(
        id: u16,
        table_name: []const u8,
        columns: []const ColumnInfo,
    ) LayoutError!TableInfo {
        if (columns.len == 0 or columns.len > column_count_max) return error.InvalidSchema;
        assert(table_name.len >= 1 and table_name.len <= name_size_max);
        var table: TableInfo = .{ .id = id, .name_size = @intCast(table_name.len) };
        @memcpy(table.name_bytes[0..table_name.len], table_name);
        @memcpy(table.columns[0..columns.len], columns);
        table.column_count = @intCast(columns.len);

        const layout = try physicalLayout(table.columns[0..columns.len]);
        table.primary_key = layout.primary_key;
        table.fixed_size = layout.fixed_size;
        table.payload_size_max = layout.payload_size_max;
        return table;
    }

    pub fn name(table: *const TableInfo) []const u8 {
        return table.name_bytes[0..table.name_size];
    }

    pub fn slice(table: *const TableInfo) []const ColumnInfo {
        return table.columns[0..table.column_count];
    }

    /// The column of that name, or null. Linear: for binding names, not for rows.
    pub fn find(table: *const TableInfo, column_name: []const u8) ?u8 {
        for (table.slice(), 0..) |*column, i| {
            if (std.mem.eql(u8, column.name(), column_name)) return @intCast(i);
        }
        return null;
    }

    /// A mask with one bit for every column.
    pub fn allColumns(table: *const TableInfo) u64 {
        assert(table.column_count >= 1);
        return @as(u64, std.math.maxInt(u64)) >> @intCast(64 - @as(u8, table.column_count));
    }

    /// The columns that a new row must be given: no null allowed and no default.
    pub fn requiredColumns(table: *const TableInfo) u64 {
        var mask: u64 = 0;
        for (table.slice(), 0..) |column, i| {
            const required = !column.flags.nullable and !column.flags.has_default;
            if (required) mask |= @as(u64, 1) << @intCast(i);
        }
        return mask;
    }
};

/// The largest integer up to which all are exact as an f64: what columns of int64 that are not
/// shown as `bigint` may hold.
pub const exact_integer_max = (1 << 53) - 1;

pub const LayoutError = error{ InvalidSchema, RowTooLarge };

pub const Layout = struct {
    fixed_size: u16,
    payload_size_max: u16,
    primary_key: u8,
};

/// Gives every column its place, by the rules at the top of this file. Writes `is_inline`, `offset`
/// and `cell_size`; reads `kind`, `flags` and `capacity`.
///
/// Fails with `InvalidSchema` when there is not exactly one primary key of a kind and size that
/// can be one, or when a capacity is 0, and with `RowTooLarge` when a full row would be.
pub fn physicalLayout(columns: []ColumnInfo) LayoutError!Layout {
    if (columns.len == 0 or columns.len > column_count_max) return error.InvalidSchema;
    const primary_key = try primaryKey(columns);

    var tail_size: u32 = 0;
    for (columns) |*column| {
        if (column.kind.scalarSize()) |size| {
            if (column.capacity != 0) return error.InvalidSchema;
            column.is_inline = false;
            column.cell_size = size;
            continue;
        }
        if (column.capacity == 0) return error.InvalidSchema;
        column.is_inline = column.flags.primary or column.capacity <= inline_capacity_max;
        if (column.is_inline) {
            column.cell_size = std.mem.alignForward(u16, 2 + column.capacity, 4);
        } else {
            column.cell_size = 4;
            tail_size += std.mem.alignForward(u32, column.capacity, 4);
        }
    }

    var at: u32 = 0;
    for ([_]u16{ 8, 4, 1 }) |alignment| {
        for (columns) |*column| {
            if (cellAlignment(column) != alignment) continue;
            column.offset = @intCast(at); // At most 64 cells of at most 68 bytes stand before it.
            at += column.cell_size;
        }
    }
    const fixed_size = std.mem.alignForward(u32, at, 4);
    const payload_size = std.mem.alignForward(u32, fixed_size + tail_size, 8);
    if (payload_size > row_payload_size_max) return error.RowTooLarge;
    return .{
        .fixed_size = @intCast(fixed_size),
        .payload_size_max = @intCast(payload_size),
        .primary_key = primary_key,
    };
}

fn primaryKey(columns: []const ColumnInfo) LayoutError!u8 {
    var found: ?u8 = null;
    for (columns, 0..) |column, i| {
        if (!column.flags.primary) continue;
        if (found != null) return error.InvalidSchema;
        if (column.flags.nullable) return error.InvalidSchema;
        switch (column.kind) {
            .int32, .int64 => {},
            .text => if (column.capacity > key_capacity_max) return error.InvalidSchema,
            else => return error.InvalidSchema,
        }
        found = @intCast(i);
    }
    return found orelse error.InvalidSchema;
}

fn cellAlignment(column: *const ColumnInfo) u16 {
    return switch (column.kind) {
        .int64, .float64, .timestamp => 8,
        .int32, .text, .bytes => 4,
        .bool => 1,
    };
}

test "physicalLayout: 8-byte columns first, then 4-byte cells, then bools" {
    var columns = [_]ColumnInfo{
        .init("id", .text, 16, .{ .primary = true }),
        .init("on_ground", .bool, 0, .{ .nullable = true }),
        .init("altitude", .int32, 0, .{ .nullable = true }),
        .init("lat", .float64, 0, .{ .nullable = true }),
        .init("remark", .text, 31, .{ .nullable = true }),
        .init("seen", .timestamp, 0, .{}),
        .init("serial", .int64, 0, .{}),
    };
    const layout = try physicalLayout(&columns);

    const offsets = [_]u16{ 24, 52, 44, 0, 48, 8, 16 };
    for (offsets, columns) |offset, column| try std.testing.expectEqual(offset, column.offset);
    try std.testing.expectEqual(20, columns[0].cell_size); // 2 + 16, rounded up to 4
    try std.testing.expect(columns[0].is_inline);
    try std.testing.expect(columns[4].isTail());
    try std.testing.expectEqual(56, layout.fixed_size);
    try std.testing.expectEqual(88, layout.payload_size_max); // 56 + 32
    try std.testing.expectEqual(0, layout.primary_key);
}

test "physicalLayout: cells neither overlap nor leave the fixed part" {
    var prng: std.Random.DefaultPrng = .init(7);
    const random = prng.random();
    for (0..200) |_| {
        var columns: [column_count_max]ColumnInfo = undefined;
        const count = random.intRangeAtMost(usize, 1, column_count_max);
        for (columns[0..count], 0..) |*column, i| {
            const kind: Kind = if (i == 0) .int64 else random.enumValue(Kind);
            const capacity = if (kind.isText()) random.intRangeAtMost(u16, 1, 300) else 0;
            column.* = .init("c", kind, capacity, .{ .primary = i == 0 });
        }
        const layout = try physicalLayout(columns[0..count]);

        var used: [row_payload_size_max]bool = @splat(false);
        for (columns[0..count]) |column| {
            for (used[column.offset..][0..column.cell_size]) |*byte| {
                try std.testing.expect(!byte.*);
                byte.* = true;
            }
            try std.testing.expect(column.offset + column.cell_size <= layout.fixed_size);
            try std.testing.expectEqual(0, column.offset % cellAlignment(&column));
        }
    }
}

test "physicalLayout: refuses a row that could outgrow 60,000 bytes" {
    var columns = [_]ColumnInfo{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("a", .text, 30_000, .{}),
        .init("b", .text, 29_976, .{}),
    };
    const layout = try physicalLayout(&columns);
    try std.testing.expectEqual(60_000 - 8, layout.payload_size_max);
    columns[2].capacity += 9;
    try std.testing.expectError(error.RowTooLarge, physicalLayout(&columns));
}

test "physicalLayout: wants exactly one primary key that can be one" {
    const primary: ColumnInfo = .init("a", .int32, 0, .{ .primary = true });
    const plain: ColumnInfo = .init("b", .int32, 0, .{});
    const bad = [_][2]ColumnInfo{
        .{ plain, plain },
        .{ primary, .init("b", .int32, 0, .{ .primary = true }) },
        .{ .init("a", .float64, 0, .{ .primary = true }), plain },
        .{ .init("a", .text, 65, .{ .primary = true }), plain },
        .{ .init("a", .int32, 0, .{ .primary = true, .nullable = true }), plain },
        .{ primary, .init("b", .text, 0, .{}) },
    };
    for (bad) |pair| {
        var columns = pair;
        try std.testing.expectError(error.InvalidSchema, physicalLayout(&columns));
    }
}

test "TableInfo: the masks name the columns" {
    const table = try TableInfo.init(0, "t", &.{
        .init("id", .int32, 0, .{ .primary = true }),
        .init("a", .int32, 0, .{ .nullable = true }),
        .init("b", .int32, 0, .{ .has_default = true }),
        .init("c", .int32, 0, .{}),
    });
    try std.testing.expectEqual(0b1111, table.allColumns());
    try std.testing.expectEqual(0b1001, table.requiredColumns());
    try std.testing.expectEqual(2, table.find("b"));
    try std.testing.expectEqual(null, table.find("d"));
}
