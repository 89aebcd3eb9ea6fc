//! The keys of secondary indexes: bytes whose order is the order of the values.
//!
//! A key is the columns of the index, one behind the other, and then the primary key of the row, so
//! that comparing bytes gives the order (columns, primary key), in which no two rows are equal.
//!
//!     int32, int64         big endian, sign bit flipped
//!     float64, timestamp   big endian, sign bit flipped, or all bits if it was set; -0 is 0
//!     bool                 0 or 1
//!     text, bytes          the bytes, 0 written as 00 ff, then 00 00
//!     nullable columns     a byte before: 0 for a value, 1 for null, so that nulls sort last
//!
//! No encoding is the beginning of another one of the same columns: two keys differ within the
//! shorter one. The columns are cut to `columns_size_max` bytes. An index whose columns may be
//! longer keeps rows with equal beginnings in primary key order, and does not promise the order of
//! its columns.

const std = @import("std");
const limits = @import("limits.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const Kind = table_info.Kind;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

/// Bytes of the encoded columns, without the primary key.
pub const columns_size_max = 512;
/// A text primary key whose bytes are all 0, and its end.
const primary_size_max = 2 * limits.key_size_max + 2;
pub const size_max = columns_size_max + primary_size_max;
pub const column_count_max = 8;

/// One column of a key: where its value stands in a row.
pub const Part = extern struct {
    /// Bytes from the payload's start to the cell.
    offset: u16,
    /// Most bytes of a text or bytes value.
    capacity: u16,
    /// `table_info.Kind`
    kind: u8,
    /// The number of the column.
    number: u8,
    nullable: u8,
    is_inline: u8,

    fn of(table: *const TableInfo, number: u8) Part {
        const column = &table.columns[number];
        return .{
            .offset = column.offset,
            .capacity = column.capacity,
            .kind = @intFromEnum(column.kind),
            .number = number,
            .nullable = @intFromBool(column.flags.nullable),
            .is_inline = @intFromBool(column.is_inline),
        };
    }

    /// Without an optional, which would go through memory: this is asked for each row.
    inline fn kindOf(part: *const Part) Kind {
        return if (Kind.isKind(part.kind)) @enumFromInt(part.kind) else .bool; // a corrupted region
    }

    fn text(part: *const Part, row: RowRef) []const u8 {
        if (part.is_inline != 0) return row.textInline(part.offset, part.capacity);
        return row.textTail(part.offset);
    }
};

/// How the keys of one index are made. Stands in the region, so that whoever cleans up after others
/// needs nothing else.
pub const Layout = extern struct {
    parts: [column_count_max]Part,
    primary: Part,
    count: u8,
    /// Some row's columns may be cut.
    may_cut: u8,
    /// Bytes that a payload of the table has at least, and at most.
    payload_size_min: u16,
    payload_size_max: u16,
    reserved: u16 = 0,

    pub fn of(table: *const TableInfo, numbers: []const u8) Layout {
        assert(numbers.len >= 1 and numbers.len <= column_count_max);
        var layout: Layout = .{
            .parts = @splat(std.mem.zeroes(Part)),
            .primary = .of(table, table.primary_key),
            .count = @intCast(numbers.len),
            .may_cut = 0,
            .payload_size_min = table.fixed_size,
            .payload_size_max = table.payload_size_max,
        };
        var size: usize = 0;
        for (numbers, layout.parts[0..numbers.len]) |number, *part| {
            part.* = .of(table, number);
            const column = &table.columns[number];
            size += @intFromBool(column.flags.nullable);
            size += column.kind.scalarSize() orelse 2 * @as(usize, column.capacity) + 2;
        }
        layout.may_cut = @intFromBool(size > columns_size_max);
        return layout;
    }

    pub fn slice(layout: *const Layout) []const Part {
        return layout.parts[0..@min(layout.count, column_count_max)];
    }

    /// The first bytes of a key as a number, which has the order of keys as far as it goes. A null
    /// in the first column is the largest number, so that the byte before its values is not spent.
    pub inline fn prefixOf(layout: *const Layout, key: []const u8) u64 {
        if (layout.parts[0].nullable == 0 or key.len == 0) return numberOf(key);
        return if (key[0] == 0) numberOf(key[1..]) else std.math.maxInt(u64);
    }

    /// The same for the key that a row has. `room` is for keys that must be encoded to tell.
    pub fn prefixOfRow(layout: *const Layout, row: RowRef, room: *Key) u64 {
        const part = &layout.parts[0];
        if (part.nullable == 0 or !row.isNull(part.number)) switch (part.kindOf()) {
            .int64 => return int64Bits(row.int64(part.offset)),
            .float64, .timestamp => return floatBits(row.float64(part.offset)),
            .text, .bytes, .int32, .bool => {},
        };
        room.encode(layout, row);
        return layout.prefixOf(room.slice());
    }

    pub const BoundPrefix = struct {
        bits: u64,
        /// The bits of a key's prefix to compare with.
        mask: u64,
        /// Keys whose prefix is the same need not be looked at: they stand behind a bound that is
        /// `before`, and before one that is `after`.
        decided: bool,
    };

    /// What keys before and behind a bound have as their prefix.
    pub fn boundPrefix(layout: *const Layout, bound: []const u8, side: Side) BoundPrefix {
        const all = std.math.maxInt(u64);
        if (bound.len == 0) return .{ .bits = 0, .mask = 0, .decided = true };
        const skipped = @intFromBool(layout.parts[0].nullable != 0);
        if (skipped != 0 and bound[0] != 0) return .{ .bits = all, .mask = all, .decided = false };
        const rest = bound[skipped..];
        if (rest.len == 0) {
            // Nulls have the largest prefix, and some values as well.
            return .{ .bits = if (side == .after) all else 0, .mask = all, .decided = false };
        }
        const bits = numberOf(rest);
        const counts = if (rest.len >= 8) all else ~(@as(u64, all) >> @intCast(8 * rest.len));
        const may_be_null = skipped != 0 and bits | ~counts == all;
        return .{ .bits = bits, .mask = counts, .decided = rest.len <= 8 and !may_be_null };
    }

    /// Bit i: column i is part of the key.
    pub fn mask(layout: *const Layout) u64 {
        var bits: u64 = 0;
        for (layout.slice()) |*part| bits |= @as(u64, 1) << @intCast(part.number & 63);
        return bits;
    }

    /// Whether a payload can have so many bytes.
    pub fn allows(layout: *const Layout, size: usize) bool {
        return size >= layout.payload_size_min and size <= layout.payload_size_max;
    }

    /// Whether a row has the columns of a key, of which the caller has the prefix and the bytes.
    /// `room` is for keys that must be encoded to tell.
    pub inline fn isKeyOf(
        layout: *const Layout,
        row: RowRef,
        prefix: u64,
        columns: []const u8,
        room: *Key,
    ) bool {
        const part = &layout.parts[0];
        if (layout.count != 1 or part.kindOf().isText()) {
            room.encodeColumns(layout, row);
            return std.mem.eql(u8, room.columnsSlice(), columns);
        }
        if (part.nullable != 0) {
            const key_is_null = columns.len > 0 and columns[0] != 0;
            if (row.isNull(part.number) or key_is_null) {
                return row.isNull(part.number) == key_is_null;
            }
        }
        // The only column is all of the prefix, or its first bytes.
        return switch (part.kindOf()) {
            .text, .bytes => unreachable, // They were encoded.
            .int32 => prefix >> 32 == int32Bits(row.int32(part.offset)),
            .int64 => prefix == int64Bits(row.int64(part.offset)),
            .float64, .timestamp => prefix == floatBits(row.float64(part.offset)),
            .bool => prefix >> 56 == @intFromBool(row.boolean(part.offset)),
        };
    }

    /// False: keys with these prefixes differ in their first column.
    pub inline fn mayShareColumns(layout: *const Layout, a: u64, b: u64) bool {
        const different = a ^ b;
        return switch (layout.parts[0].kindOf()) {
            .text, .bytes => true, // Beyond a short text stands what comes next.
            .int32 => different >> 32 == 0,
            .int64, .float64, .timestamp => different == 0,
            .bool => different >> 56 == 0,
        };
    }

    /// Whether two rows have the same values in the columns.
    pub fn isSame(layout: *const Layout, a: RowRef, b: RowRef) bool {
        for (layout.slice()) |*part| {
            if (a.isNull(part.number) != b.isNull(part.number)) return false;
            const same = switch (part.kindOf()) {
                .text, .bytes => std.mem.eql(u8, part.text(a), part.text(b)),
                .int32 => a.int32(part.offset) == b.int32(part.offset),
                .int64, .float64, .timestamp => a.int64(part.offset) == b.int64(part.offset),
                .bool => a.boolean(part.offset) == b.boolean(part.offset),
            };
            if (!same) return false;
        }
        return true;
    }
};

/// An encoded key.
pub const Key = struct {
    bytes: [size_max]u8,
    /// Bytes of the columns.
    columns_size: u16,
    /// Bytes in all.
    size: u16,
    /// Some column is null.
    has_null: bool,

    pub fn slice(key: *const Key) []const u8 {
        return key.bytes[0..key.size];
    }

    fn columnsSlice(key: *const Key) []const u8 {
        return key.bytes[0..key.columns_size];
    }

    /// Encodes what a row has in the columns of an index. The row's memory may change meanwhile;
    /// then the key is nonsense, and no more than that.
    pub fn encode(key: *Key, layout: *const Layout, row: RowRef) void {
        key.encodeColumns(layout, row);
        var rest: Writer = .{ .bytes = key.bytes[key.columns_size..][0..primary_size_max] };
        rest.value(&layout.primary, row);
        key.size += rest.size;
    }

    /// As `encode`, without the primary key.
    fn encodeColumns(key: *Key, layout: *const Layout, row: RowRef) void {
        var writer: Writer = .{ .bytes = key.bytes[0..columns_size_max] };
        key.has_null = false;
        for (layout.slice()) |*part| {
            if (part.nullable != 0) {
                const is_null = row.isNull(part.number);
                writer.byte(@intFromBool(is_null));
                if (is_null) {
                    key.has_null = true;
                    continue;
                }
            }
            writer.value(part, row);
        }
        key.columns_size = writer.size;
        key.size = writer.size;
    }
};

const Writer = struct {
    bytes: []u8,
    size: u16 = 0,
    is_cut: bool = false,

    fn byte(writer: *Writer, one: u8) void {
        if (writer.size == writer.bytes.len) {
            writer.is_cut = true;
            return;
        }
        writer.bytes[writer.size] = one;
        writer.size += 1;
    }

    fn word(writer: *Writer, comptime T: type, number: T) void {
        if (writer.bytes.len - writer.size >= @sizeOf(T)) {
            std.mem.writeInt(T, writer.bytes[writer.size..][0..@sizeOf(T)], number, .big);
            writer.size += @sizeOf(T);
            return;
        }
        const bytes: [@sizeOf(T)]u8 = @bitCast(std.mem.nativeToBig(T, number));
        for (bytes) |one| writer.byte(one);
    }

    fn int32(writer: *Writer, number: i32) void {
        writer.word(u32, int32Bits(number));
    }

    fn int64(writer: *Writer, number: i64) void {
        writer.word(u64, int64Bits(number));
    }

    fn float(writer: *Writer, number: f64) void {
        writer.word(u64, floatBits(number));
    }

    fn text(writer: *Writer, value_bytes: []const u8) void {
        for (value_bytes) |one| {
            writer.byte(one);
            if (one == 0) writer.byte(0xff);
        }
        writer.byte(0);
        writer.byte(0);
    }

    fn value(writer: *Writer, part: *const Part, row: RowRef) void {
        switch (part.kindOf()) {
            .text, .bytes => writer.text(part.text(row)),
            .int32 => writer.int32(row.int32(part.offset)),
            .int64 => writer.int64(row.int64(part.offset)),
            .float64, .timestamp => writer.float(row.float64(part.offset)),
            .bool => writer.byte(@intFromBool(row.boolean(part.offset))),
        }
    }
};

fn int32Bits(number: i32) u32 {
    return @as(u32, @bitCast(number)) ^ 1 << 31;
}

fn int64Bits(number: i64) u64 {
    return @as(u64, @bitCast(number)) ^ 1 << 63;
}

fn floatBits(number: f64) u64 {
    const bits: u64 = @bitCast(if (number == 0) 0 else number);
    const sign: u64 = 1 << 63;
    return if (bits & sign != 0) ~bits else bits | sign;
}

/// On which side of all keys that begin with its bytes a bound stands.
pub const Side = enum { before, after };

/// A place between keys.
pub const Bound = struct {
    bytes: [columns_size_max]u8 = undefined,
    size: u16 = 0,
    side: Side = .before,

    pub const first: Bound = .{};
    pub const last: Bound = .{ .side = .after };

    pub fn slice(bound: *const Bound) []const u8 {
        return bound.bytes[0..bound.size];
    }

    /// Becomes the bound before or behind everything.
    pub fn reset(bound: *Bound, side: Side) void {
        bound.size = 0;
        bound.side = side;
    }

    /// Becomes the bound on that side of what `other` begins.
    pub fn copy(bound: *Bound, other: *const Bound, side: Side) void {
        @memcpy(bound.bytes[0..other.size], other.slice());
        bound.size = other.size;
        bound.side = side;
    }

    /// Which end of an interval a bound is.
    pub const End = struct { is_low: bool, inclusive: bool };

    /// Becomes the bound that a plan's key cell gives: for each leading column that has a value 8
    /// bytes, or u32 length, bytes and padding to 8. False: the cell is not of these columns.
    ///
    /// Bounds are made in place, because a safe build fills what a copy leaves undefined.
    pub fn decode(
        bound: *Bound,
        layout: *const Layout,
        cell: []const u8,
        end: End,
        column_count: *u8,
    ) bool {
        bound.side = if (end.is_low == end.inclusive) .before else .after;
        var writer: Writer = .{ .bytes = &bound.bytes };
        var rest = cell;
        column_count.* = 0;
        for (layout.slice()) |*part| {
            if (rest.len == 0) break;
            if (part.nullable != 0) writer.byte(0);
            column_count.* += 1;
            if (part.kindOf().isText()) {
                if (rest.len < 4) return false;
                const length = std.mem.readInt(u32, rest[0..4], .little);
                const step = std.mem.alignForward(u64, 4 + @as(u64, length), 8);
                if (step > rest.len) return false;
                writer.text(rest[4..][0..length]);
                rest = rest[@intCast(step)..];
                continue;
            }
            if (rest.len < 8) return false;
            const bits = std.mem.readInt(u64, rest[0..8], .little);
            rest = rest[8..];
            if (outOfRange(part, bits)) |out| {
                // No value is beyond the ends: the bound stands at an end, whatever follows.
                writer.int32(if (out == .after) std.math.maxInt(i32) else std.math.minInt(i32));
                bound.size = writer.size;
                bound.side = out;
                return true;
            }
            switch (part.kindOf()) {
                .text, .bytes => unreachable,
                .int32 => writer.int32(@intCast(@as(i64, @bitCast(bits)))),
                .int64 => writer.int64(@bitCast(bits)),
                .float64, .timestamp => writer.float(@bitCast(bits)),
                .bool => writer.byte(@intFromBool(bits != 0)),
            }
        }
        if (rest.len != 0 or column_count.* == 0) return false;
        bound.size = writer.size;
        // What is equal as far as it goes may stand on either side.
        if (writer.is_cut) bound.side = if (end.is_low) .before else .after;
        return true;
    }

    /// Becomes the one behind all keys that have a value, and not null, in the column behind the
    /// first `column_count - 1`, and are equal to `low` in those before.
    pub fn setBeforeNulls(
        bound: *Bound,
        low: *const Bound,
        layout: *const Layout,
        column_count: u8,
    ) void {
        bound.side = .after;
        const shared = low.sizeOf(layout, column_count - 1);
        @memcpy(bound.bytes[0..shared], low.bytes[0..shared]);
        bound.size = shared;
        if (layout.parts[column_count - 1].nullable != 0 and shared < columns_size_max) {
            bound.bytes[shared] = 0;
            bound.size += 1;
        }
    }

    /// Bytes of the first `count` columns.
    fn sizeOf(bound: *const Bound, layout: *const Layout, count: u8) u16 {
        var at: usize = 0;
        for (layout.parts[0..count]) |*part| {
            at += part.nullable;
            if (part.kindOf().scalarSize()) |size| {
                at += size;
                continue;
            }
            while (at + 1 < bound.size) {
                if (bound.bytes[at] != 0) {
                    at += 1;
                    continue;
                }
                at += 2;
                if (bound.bytes[at - 1] == 0) break;
            } else break;
        }
        return @intCast(@min(at, bound.size));
    }
};

fn outOfRange(part: *const Part, bits: u64) ?Side {
    if (part.kindOf() != .int32) return null;
    const number: i64 = @bitCast(bits);
    if (number > std.math.maxInt(i32)) return .after;
    return if (number < std.math.minInt(i32)) .before else null;
}

/// The first 8 bytes as a number, zeros behind shorter ones.
inline fn numberOf(bytes: []const u8) u64 {
    if (bytes.len >= 8) return std.mem.readInt(u64, bytes[0..8], .big);
    var padded: [8]u8 = @splat(0);
    @memcpy(padded[0..bytes.len], bytes);
    return std.mem.readInt(u64, &padded, .big);
}

const testing = std.testing;

fn testTable() !TableInfo {
    return .init(0, "t", &.{
        .init("id", .text, 8, .{ .primary = true }),
        .init("i", .int32, 0, .{ .nullable = true }),
        .init("l", .int64, 0, .{}),
        .init("f", .float64, 0, .{ .nullable = true }),
        .init("s", .text, 300, .{ .nullable = true }),
        .init("b", .bool, 0, .{}),
    });
}

const Sample = struct { id: []const u8, i: ?i32, l: i64, f: ?f64, s: ?[]const u8, b: bool };

fn encodeSample(key: *Key, table: *const TableInfo, layout: *const Layout, sample: Sample) !void {
    var buffer: [512]u8 align(8) = undefined;
    key.encode(layout, try buildSample(table, &buffer, sample));
}

fn buildSample(table: *const TableInfo, buffer: []align(8) u8, sample: Sample) !RowRef {
    var builder: row_module.Builder = .init(table, buffer);
    try builder.setText(0, sample.id);
    if (sample.i) |i| builder.setInt32(1, i);
    builder.setInt64(2, sample.l);
    if (sample.f) |f| builder.setFloat64(3, f);
    if (sample.s) |s| try builder.setText(4, s);
    builder.setBool(5, sample.b);
    return builder.finish();
}

test "Key.encode: bytes are in the order of values, nulls last, then the primary key" {
    const table = try testTable();
    const base: Sample = .{ .id = "a", .i = 0, .l = 0, .f = 0, .s = "", .b = false };
    const inf = std.math.inf(f64);
    const texts = [_]?[]const u8{
        "", "\x00", "\x00\x00", "\x00\x01", "a", "a\x00", "a\x00b", "aa", "b", "\xff", null,
    };
    const ordered = .{
        .{ 1, "i", [_]?i32{ std.math.minInt(i32), -1, 0, 1, std.math.maxInt(i32), null } },
        .{ 2, "l", [_]i64{ std.math.minInt(i64), -1, 0, 1, std.math.maxInt(i64) } },
        .{ 3, "f", [_]?f64{ -inf, -1.5, -1e-300, 0, 1e-300, 2, inf, null } },
        .{ 4, "s", texts },
        .{ 5, "b", [_]bool{ false, true } },
    };
    inline for (ordered) |case| {
        const layout: Layout = .of(&table, &.{case[0]});
        for (case[2], 0..) |low, i| {
            for (case[2], 0..) |high, j| {
                var a: Key = undefined;
                var b: Key = undefined;
                var sample = base;
                @field(sample, case[1]) = low;
                sample.id = "z";
                try encodeSample(&a, &table, &layout, sample);
                @field(sample, case[1]) = high;
                sample.id = "b";
                try encodeSample(&b, &table, &layout, sample);
                const expected = if (i == j) .gt else std.math.order(i, j);
                try testing.expectEqual(expected, std.mem.order(u8, a.slice(), b.slice()));
            }
        }
    }
}

test "Layout.isKeyOf: a row has the columns of its own keys and of no others" {
    const table = try testTable();
    const base: Sample = .{ .id = "a", .i = 0, .l = 0, .f = 0, .s = "", .b = false };
    const inf = std.math.inf(f64);
    const nan: f64 = @bitCast(@as(u64, std.math.maxInt(i64)));
    const values = .{
        .{ "i", [_]?i32{ std.math.minInt(i32), -1, 0, 1, std.math.maxInt(i32), null } },
        .{ "l", [_]i64{ std.math.minInt(i64), -1, 0, 1, std.math.maxInt(i64) } },
        // The last number is encoded as all ones, which is what nulls have for a prefix.
        .{ "f", [_]?f64{ -inf, -1.5, 0, 1e-300, inf, null, nan } },
        .{ "s", [_]?[]const u8{ "", "\x00", "a", "a\x00", "aa", null } },
        .{ "b", [_]bool{ false, true } },
    };
    const layouts = [_]Layout{
        .of(&table, &.{1}),      .of(&table, &.{2}), .of(&table, &.{3}),
        .of(&table, &.{4}),      .of(&table, &.{5}), .of(&table, &.{ 1, 4 }),
        .of(&table, &.{ 5, 3 }),
    };
    var room: Key = undefined;
    for (layouts) |layout| inline for (values) |case| for (case[1]) |one| for (case[1]) |other| {
        var sample = base;
        @field(sample, case[0]) = one;
        var key: Key = undefined;
        try encodeSample(&key, &table, &layout, sample);
        const prefix = layout.prefixOf(key.slice());
        @field(sample, case[0]) = other;
        var buffer: [512]u8 align(8) = undefined;
        const row = try buildSample(&table, &buffer, sample);
        var its: Key = undefined;
        its.encode(&layout, row);
        const expected = std.mem.eql(u8, key.columnsSlice(), its.columnsSlice());
        const found = layout.isKeyOf(row, prefix, key.columnsSlice(), &room);
        try testing.expectEqual(expected, found);
        const may_share = layout.mayShareColumns(prefix, layout.prefixOf(its.slice()));
        if (expected) try testing.expect(may_share);
        // What fills the prefix or less of it is told apart by that, but for nulls.
        const is_number = !layout.parts[0].kindOf().isText() and layout.count == 1;
        const has_null = key.has_null or its.has_null;
        if (is_number and !has_null) try testing.expectEqual(expected, may_share);
    };
}

test "Key.encode: minus zero is zero, and a long text is cut" {
    const table = try testTable();
    var a: Key = undefined;
    var b: Key = undefined;
    var sample: Sample = .{ .id = "a", .i = 0, .l = 0, .f = -0.0, .s = "", .b = false };
    try encodeSample(&a, &table, &.of(&table, &.{3}), sample);
    sample.f = 0;
    try encodeSample(&b, &table, &.of(&table, &.{3}), sample);
    try testing.expectEqualSlices(u8, a.slice(), b.slice());

    const layout: Layout = .of(&table, &.{ 4, 1 });
    try testing.expectEqual(1, layout.may_cut);
    try testing.expectEqual(0, Layout.of(&table, &.{ 1, 3 }).may_cut);
    const zeros: [300]u8 = @splat(0);
    sample.s = &zeros;
    try encodeSample(&a, &table, &layout, sample);
    try testing.expectEqual(columns_size_max, a.columns_size);
    try testing.expectEqual(columns_size_max + 3, a.size);
}

test "Bound.decode: stands where rows of its columns begin or end" {
    const table = try testTable();
    const layout: Layout = .of(&table, &.{ 4, 1 });
    var cell: [24]u8 = @splat(0);
    std.mem.writeInt(u32, cell[0..4], 3, .little);
    @memcpy(cell[4..7], "abc");
    std.mem.writeInt(i64, cell[8..16], -7, .little);
    var count: u8 = 0;
    const low: Bound.End = .{ .is_low = true, .inclusive = true };
    var bound: Bound = .first;
    try testing.expect(bound.decode(&layout, cell[0..16], low, &count));
    try testing.expectEqual(2, count);
    try testing.expectEqualSlices(u8, "\x00abc\x00\x00\x00\x7f\xff\xff\xf9", bound.slice());
    var end: Bound = .first;
    end.setBeforeNulls(&bound, &layout, 2);
    try testing.expectEqualSlices(u8, "\x00abc\x00\x00\x00", end.slice());

    try testing.expect(!bound.decode(&layout, cell[0..12], low, &count));
    try testing.expect(!bound.decode(&layout, &cell, low, &count));
    std.mem.writeInt(i64, cell[8..16], 1 << 40, .little);
    try testing.expect(bound.decode(&layout, cell[0..16], low, &count));
    try testing.expectEqual(Side.after, bound.side);
}
