//! The call on the rows of many keys: each look-up is three loads that depend on each other, and
//! those of many keys are under way at the same time.

const std = @import("std");
const connection_module = @import("connection.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const result = @import("result.zig");
const row_input = @import("row_input.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const transaction_calls = @import("transaction_calls.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Key = pk_map.Key;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;

/// In the place of a record: there is no row. As long as the size of a record, and its padding.
const no_record_size = 8;

/// Bytes from one key in the input to the next.
fn strideOf(table: *const TableInfo) usize {
    const column = &table.columns[table.primary_key];
    const cell = if (column.kind == .text) 2 + @as(usize, column.capacity) else column.cell_size;
    return std.mem.alignForward(usize, cell, 8);
}

/// Copies the rows of the keys in the input, from the key with the number `first`, to the output:
/// records one behind the other, and 8 bytes of zero for each key that has no row. Outside of a
/// transaction all are of one moment. Returns how many keys are answered; the output may hold
/// fewer than all.
pub fn get(
    connection: *Connection,
    transaction_number: u32,
    table_id: u32,
    first: u32,
    count: u32,
) Error!u32 {
    const table = try connection.table(table_id);
    const stride = strideOf(table);
    const room = connection.input.len - row_input.key_area_size;
    if (first > count or @as(usize, count) * stride > room) {
        connection.detail.set("the input buffer has no {d} keys", .{count});
        return error.BadArgument;
    }
    var answer: Answer = .{
        .connection = connection,
        .table = table,
        .keys = .{ .connection = connection, .table = table, .next = first, .end = count },
    };
    if (transaction_number != 0) {
        const open = try connection.transactions.find(connection, transaction_number);
        try open.enter();
        defer open.leave();
        try answer.run(open, undefined);
    } else {
        const session = try connection.takeSession();
        defer connection.releaseSession(session);
        session.pin();
        defer session.unpin();
        try answer.run(null, .{ .snapshot = reader.snapshotNow(connection.region()) });
    }
    return answer.answered;
}

/// Keys that are looked up together.
const group_size = 16;

const Group = struct {
    /// Null is a text that is longer than any key.
    keys: [group_size]?Key = undefined,
    count: usize = 0,

    fn slice(group: *const Group) []const ?Key {
        return group.keys[0..group.count];
    }
};

/// The keys in the input.
const Keys = struct {
    connection: *Connection,
    table: *const TableInfo,
    next: u32,
    end: u32,

    /// The next keys; memory is asked for their buckets.
    fn read(keys: *Keys, group: *Group) void {
        const table = keys.table;
        const stride = strideOf(table);
        const region = keys.connection.region();
        group.count = @min(group_size, keys.end - keys.next);
        for (group.keys[0..group.count]) |*key| {
            const bytes = keys.connection.input[keys.next * stride ..][0..row_input.key_area_size];
            keys.next += 1;
            key.* = if (row_input.readKey(table, bytes, &keys.connection.detail)) |cell|
                .of(@intCast(table.id), cell)
            else |_|
                null;
            if (key.*) |known| pk_map.Ahead.bucket(region, known);
        }
    }
};

const Answer = struct {
    connection: *Connection,
    table: *const TableInfo,
    keys: Keys,
    answered: u32 = 0,
    /// Bytes in the output.
    size: usize = 0,

    fn run(
        answer: *Answer,
        open: ?*transaction_calls.Open,
        view: reader.View,
    ) Error!void {
        const region = answer.connection.region();
        const table = answer.table;
        var near: Group = .{};
        var far: Group = .{};
        answer.keys.read(&near);
        while (near.count > 0) {
            answer.keys.read(&far);
            for (near.slice()) |key| if (key) |known| pk_map.Ahead.node(region, known);
            for (near.slice()) |key| if (key) |known| pk_map.Ahead.version(region, known);
            for (near.slice()) |key| {
                const row: ?RowRef = if (key == null)
                    null
                else if (open) |transaction|
                    try transaction.find(table, key.?)
                else
                    try reader.find(region, table, key.?, view);
                if (!answer.write(row)) return;
            }
            near = far;
        }
    }

    /// False if the output is full.
    fn write(answer: *Answer, found: ?RowRef) bool {
        const output = answer.connection.output[answer.size..];
        const row = found orelse {
            if (output.len < no_record_size) return false;
            @memset(output[0..no_record_size], 0);
            answer.size += no_record_size;
            answer.answered += 1;
            return true;
        };
        assert(row.size % 8 == 0 and row.size <= answer.table.payload_size_max);
        const size = result.record_header_size + row.size;
        if (output.len < size) return false;
        const header: *result.RecordHeader = @ptrCast(@alignCast(output.ptr));
        header.* = .{
            .record_bytes = size,
            .null_mask = row.null_mask,
            .column_mask = answer.table.allColumns(),
        };
        @memcpy(output[result.record_header_size..][0..row.size], row.payload[0..row.size]);
        answer.size += size;
        answer.answered += 1;
        return true;
    }
};
