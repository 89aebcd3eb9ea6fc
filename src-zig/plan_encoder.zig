//! Encodes plans as TypeScript does, for the tests, fuzzers and benches of the query side.
//!
//!     var encoder: Encoder = .init(gpa, table.id);
//!     defer encoder.deinit();
//!     try encoder.number(.ge, altitude, 10_000);
//!     try encoder.sort(altitude, .{ .descending = true });
//!     const blob = try encoder.finish();

const std = @import("std");
const plan = @import("plan.zig");
const Allocator = std.mem.Allocator;

pub const Encoder = struct {
    gpa: Allocator,
    /// Limits, flags and the like are set here before `finish`.
    header: plan.Header,
    clauses: std.ArrayList(plan.Clause) = .empty,
    sorts: std.ArrayList(plan.Sort) = .empty,
    keys: std.ArrayList(u8) = .empty,
    bounds: std.ArrayList(u8) = .empty,
    pool: std.ArrayList(u8) = .empty,
    blob: std.ArrayListAligned(u8, .@"8") = .empty,

    pub const Error = Allocator.Error;

    pub fn init(gpa: Allocator, table: u16) Encoder {
        return .{
            .gpa = gpa,
            .header = std.mem.zeroInit(plan.Header, .{
                .table = table,
                .route = @intFromEnum(plan.Route.full_scan),
                .limit = -1.0,
            }),
        };
    }

    pub fn deinit(encoder: *Encoder) void {
        encoder.clauses.deinit(encoder.gpa);
        encoder.sorts.deinit(encoder.gpa);
        encoder.keys.deinit(encoder.gpa);
        encoder.bounds.deinit(encoder.gpa);
        encoder.pool.deinit(encoder.gpa);
        encoder.blob.deinit(encoder.gpa);
    }

    /// A clause without operands.
    pub fn bare(encoder: *Encoder, op: plan.Op, column: u8) Error!void {
        try encoder.clauses.append(encoder.gpa, .{ .op = op, .column = column });
    }

    /// For int32, int64 and bool columns.
    pub fn number(encoder: *Encoder, op: plan.Op, column: u8, a: i64) Error!void {
        try encoder.bits(op, column, @bitCast(a), 0);
    }

    /// For float64 and timestamp columns.
    pub fn float(encoder: *Encoder, op: plan.Op, column: u8, a: f64) Error!void {
        try encoder.bits(op, column, @bitCast(a), 0);
    }

    /// Any scalar clause with both operands as bits.
    pub fn bits(encoder: *Encoder, op: plan.Op, column: u8, a: u64, b: u64) Error!void {
        try encoder.clauses.append(encoder.gpa, .{ .op = op, .column = column, .a = a, .b = b });
    }

    pub fn text(encoder: *Encoder, op: plan.Op, column: u8, value: []const u8) Error!void {
        try encoder.textRange(op, column, value, "");
    }

    pub fn textRange(
        encoder: *Encoder,
        op: plan.Op,
        column: u8,
        low: []const u8,
        high: []const u8,
    ) Error!void {
        const low_at = encoder.pool.items.len;
        try encoder.pool.appendSlice(encoder.gpa, low);
        const high_at = encoder.pool.items.len;
        try encoder.pool.appendSlice(encoder.gpa, high);
        try encoder.clauses.append(encoder.gpa, .{
            .op = op,
            .column = column,
            .pool_at = @intCast(low_at),
            .pool_len = @intCast(low.len),
            .pool2_at = @intCast(high_at),
            .pool2_len = @intCast(high.len),
        });
    }

    pub fn textList(encoder: *Encoder, column: u8, items: []const []const u8) Error!void {
        const at = encoder.pool.items.len;
        for (items) |item| try cell(encoder.gpa, &encoder.pool, item, 4);
        try encoder.list(column, at, items.len);
    }

    /// The items are the bits of an i64 or f64.
    pub fn scalarList(encoder: *Encoder, column: u8, items: []const u64) Error!void {
        const at = encoder.pool.items.len;
        try encoder.pool.appendSlice(encoder.gpa, std.mem.sliceAsBytes(items));
        try encoder.list(column, at, items.len);
    }

    fn list(encoder: *Encoder, column: u8, at: usize, count: usize) Error!void {
        try encoder.clauses.append(encoder.gpa, .{
            .op = .in,
            .column = column,
            .count = @intCast(count),
            .pool_at = @intCast(at),
            .pool_len = @intCast(encoder.pool.items.len - at),
        });
    }

    /// The last clause added.
    pub fn last(encoder: *Encoder) *plan.Clause {
        return &encoder.clauses.items[encoder.clauses.items.len - 1];
    }

    pub fn sort(encoder: *Encoder, column: u8, flags: plan.SortFlags) Error!void {
        try encoder.sorts.append(encoder.gpa, .{ .column = column, .flags = flags });
    }

    /// A primary key to look up, as a cell.
    pub fn key(encoder: *Encoder, bytes: []const u8) Error!void {
        try cell(encoder.gpa, &encoder.keys, bytes, 8);
        encoder.header.key_count += 1;
    }

    /// A bound of the index scan, low before high; the scan flags say which there are.
    pub fn bound(encoder: *Encoder, bytes: []const u8) Error!void {
        try cell(encoder.gpa, &encoder.bounds, bytes, 8);
    }

    fn cell(
        gpa: Allocator,
        out: *std.ArrayList(u8),
        bytes: []const u8,
        alignment: usize,
    ) Error!void {
        var length: [4]u8 = undefined;
        std.mem.writeInt(u32, &length, @intCast(bytes.len), .little);
        try out.appendSlice(gpa, &length);
        try out.appendSlice(gpa, bytes);
        const size = 4 + bytes.len;
        try out.appendNTimes(gpa, 0, std.mem.alignForward(usize, size, alignment) - size);
    }

    /// Returns the plan. It belongs to the encoder and is valid until the next `finish`.
    pub fn finish(encoder: *Encoder) Error![]align(8) u8 {
        const gpa = encoder.gpa;
        const out = &encoder.blob;
        out.clearRetainingCapacity();
        try out.appendNTimes(gpa, 0, plan.header_size);

        encoder.header.clause_count = @intCast(encoder.clauses.items.len);
        encoder.header.clauses_at = @intCast(out.items.len);
        try out.appendSlice(gpa, std.mem.sliceAsBytes(encoder.clauses.items));
        encoder.header.keys_at = @intCast(out.items.len);
        try out.appendSlice(gpa, encoder.keys.items);
        encoder.header.bounds_at = @intCast(out.items.len);
        try out.appendSlice(gpa, encoder.bounds.items);
        encoder.header.sort_count = @intCast(encoder.sorts.items.len);
        encoder.header.sorts_at = @intCast(out.items.len);
        try out.appendSlice(gpa, std.mem.sliceAsBytes(encoder.sorts.items));
        const pool_at: u32 = @intCast(out.items.len);
        try out.appendSlice(gpa, encoder.pool.items);

        const at = encoder.header.clauses_at;
        const placed: []plan.Clause = @ptrCast(@alignCast(
            out.items[at..][0 .. encoder.clauses.items.len * @sizeOf(plan.Clause)],
        ));
        for (placed) |*clause| {
            clause.pool_at += pool_at;
            clause.pool2_at += pool_at;
        }
        encoder.header.total_bytes = @intCast(out.items.len);
        @memcpy(out.items[0..plan.header_size], std.mem.asBytes(&encoder.header));
        return out.items;
    }
};
