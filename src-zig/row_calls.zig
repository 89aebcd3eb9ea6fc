//! The calls on single rows, and on many at once: from the input buffer to the engine and back.
//!
//! Outside of a transaction each call is one. A row that goes out is copied to the output buffer
//! while the session is pinned, so nothing of the region is referred to after the call.

const std = @import("std");
const connection_module = @import("connection.zig");
const durable_calls = @import("durable_calls.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const result = @import("result.zig");
const row_count = @import("row_count.zig");
const row_input = @import("row_input.zig");
const row_merge = @import("row_merge.zig");
const row_module = @import("row.zig");
const statement = @import("statement.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Key = pk_map.Key;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const Write = transaction.Write;
const assert = std.debug.assert;
const gpa = connection_module.gpa;

const expressions_at = row_input.key_area_size + 8;

/// Flags of `aero_rows_upsert`.
pub const RowsFlags = packed struct(u32) {
    /// Each row is a transaction of its own, and those before a bad one stay written.
    row_by_row: bool = false,
    /// An existing key is an error.
    insert: bool = false,
    reserved: u30 = 0,
};

/// Private memory of a connection in which writes are prepared.
pub const Scratch = struct {
    /// A row whose missing columns were filled in.
    image: []align(8) u8 = &.{},
    writes: std.ArrayList(Write) = .empty,
    /// Indexes of `writes` in the order of their keys, and the writes in that order.
    order: std.ArrayList(u32) = .empty,
    sorted: std.ArrayList(Write) = .empty,
    /// Rows of a batch whose missing columns were filled in.
    images: std.heap.ArenaAllocator = .init(gpa),

    pub fn deinit(scratch: *Scratch) void {
        gpa.free(scratch.image);
        scratch.writes.deinit(gpa);
        scratch.order.deinit(gpa);
        scratch.sorted.deinit(gpa);
        scratch.images.deinit();
    }

    fn imageBuffer(scratch: *Scratch, size: usize) Error![]align(8) u8 {
        if (scratch.image.len < size) {
            const grown = try gpa.alignedAlloc(u8, .@"8", size);
            gpa.free(scratch.image);
            scratch.image = grown;
        }
        return scratch.image;
    }
};

pub inline fn keyOfInput(connection: *Connection, table: *const TableInfo) Error!Key {
    const cell = try row_input.readKey(table, connection.input, &connection.detail);
    const key: Key = .of(@intCast(table.id), cell);
    // What follows up to the pin is time in which the bucket can come.
    pk_map.Ahead.bucket(connection.region(), key);
    return key;
}

/// Copies the row of the key in the input to the output. False if there is none.
pub fn get(connection: *Connection, transaction_number: u32, table_id: u32) Error!bool {
    const table = try connection.table(table_id);
    const key = try keyOfInput(connection, table);
    if (transaction_number != 0) {
        const open = try connection.transactions.find(connection, transaction_number);
        try open.enter();
        defer open.leave();
        const row = try open.find(table, key) orelse return false;
        copyOut(connection, table, row);
        return true;
    }
    const session = try connection.takeSession();
    defer connection.releaseSession(session);
    session.pin();
    defer session.unpin();
    const row = try reader.find(connection.region(), table, key, .latest) orelse return false;
    copyOut(connection, table, row);
    return true;
}

/// Writes the row's record to the start of the output buffer.
inline fn copyOut(connection: *Connection, table: *const TableInfo, row: RowRef) void {
    assert(row.size % 8 == 0 and row.size <= table.payload_size_max);
    const output = connection.output;
    const header: *result.RecordHeader = @ptrCast(output.ptr);
    header.* = .{
        .record_bytes = result.record_header_size + row.size,
        .null_mask = row.null_mask,
        .column_mask = table.allColumns(),
    };
    result.copyPayload(@alignCast(output[result.record_header_size..]), row);
}

/// True if there is a row of the key in the input.
pub fn has(connection: *Connection, transaction_number: u32, table_id: u32) Error!bool {
    const table = try connection.table(table_id);
    const key = try keyOfInput(connection, table);
    if (transaction_number != 0) {
        const open = try connection.transactions.find(connection, transaction_number);
        try open.enter();
        defer open.leave();
        return try open.find(table, key) != null;
    }
    const session = try connection.takeSession();
    defer connection.releaseSession(session);
    session.pin();
    defer session.unpin();
    return try reader.find(connection.region(), table, key, .latest) != null;
}

/// What `view` returns for a row that the transaction has written itself: its record is in the
/// output. No payload stands at 8 bytes, because the region begins with its header.
pub const view_in_output = 1;

/// The place of the row's payload in the region, in units of 8 bytes; 0 if there is no row, and
/// `view_in_output` if it is one that the transaction has written.
pub fn view(connection: *Connection, transaction_number: u32, table_id: u32) Error!f64 {
    const table = try connection.table(table_id);
    const key = try keyOfInput(connection, table);
    const open = try connection.transactions.find(connection, transaction_number);
    try open.enter();
    defer open.leave();
    const row = try open.find(table, key) orelse return 0;
    if (row.version == 0) {
        copyOut(connection, table, row);
        return view_in_output;
    }
    open.inner.has_views = true;
    const base = @intFromPtr(connection.region().base);
    return @floatFromInt((@intFromPtr(row.payload) - base) / 8);
}

pub fn count(connection: *Connection, table_id: u32) Error!u64 {
    const table = try connection.table(table_id);
    return row_count.total(connection.region(), @intCast(table.id));
}

/// The number of distinct keys in an index, for the planner.
pub fn countKeys(connection: *Connection, table_id: u32, number: u32) Error!u64 {
    const table = try connection.table(table_id);
    const indexes = table.indexes orelse return error.BadArgument;
    const index = indexes.byNumber(number) orelse return error.BadArgument;
    return index.distinct(connection.region());
}

pub const Operation = transaction.Operation;

/// Inserts, upserts, or updates by the record in the input.
pub fn write(
    connection: *Connection,
    transaction_number: u32,
    table_id: u32,
    size: u32,
    operation: Operation,
) Error!void {
    try connection.refuseReadOnly();
    const table = try connection.table(table_id);
    const bytes = try connection.inputBytes(size);
    const record = try row_input.readRecord(table, bytes, &connection.detail);
    const one = switch (operation) {
        .insert, .upsert => whole: {
            const buffer = try connection.rows.imageBuffer(table.payload_size_max);
            const image = try row_input.wholeRow(table, &record, buffer, &connection.detail);
            break :whole writeOf(table, operation, image);
        },
        .update => patch: {
            try refuseMissingKey(connection, table, record.mask);
            var patch = writeOf(table, operation, record.row);
            patch.mask = record.mask & ~keyBit(table);
            break :patch patch;
        },
        else => unreachable, // They have no record.
    };
    try writeOne(connection, transaction_number, &one);
}

fn writeOf(table: *const TableInfo, operation: Operation, image: RowRef) Write {
    return .{
        .table = table,
        .operation = operation,
        .key = transaction.keyOf(table, image.payload[0..image.size]),
        .image = image,
    };
}

fn keyBit(table: *const TableInfo) u64 {
    return @as(u64, 1) << @intCast(table.primary_key);
}

fn refuseMissingKey(connection: *Connection, table: *const TableInfo, mask: u64) Error!void {
    if (mask & keyBit(table) != 0) return;
    connection.detail.set("the record has no key", .{});
    return error.BadArgument;
}

/// Deletes the row of the key in the input. False if there is none.
pub fn delete(connection: *Connection, transaction_number: u32, table_id: u32) Error!bool {
    try connection.refuseReadOnly();
    const table = try connection.table(table_id);
    const key = try keyOfInput(connection, table);
    const one: Write = .{ .table = table, .operation = .delete, .key = key };
    writeOne(connection, transaction_number, &one) catch |err|
        return if (err == error.NotFound) false else err;
    return true;
}

/// Applies the expressions behind the key in the input to its row.
pub fn apply(
    connection: *Connection,
    transaction_number: u32,
    table_id: u32,
    size: u32,
) Error!void {
    try connection.refuseReadOnly();
    const table = try connection.table(table_id);
    const key = try keyOfInput(connection, table);
    const bytes = try connection.inputBytes(size);
    const one: Write = .{
        .table = table,
        .operation = .apply,
        .key = key,
        .expressions = try expressionsOf(connection, table, bytes),
    };
    try writeOne(connection, transaction_number, &one);
}

fn expressionsOf(
    connection: *Connection,
    table: *const TableInfo,
    bytes: []align(8) const u8,
) Error![]const row_merge.Expression {
    if (bytes.len < expressions_at) {
        connection.detail.set("the expressions are cut off", .{});
        return error.BadArgument;
    }
    const number = std.mem.readInt(u32, bytes[row_input.key_area_size..][0..4], .little);
    return expressionsIn(connection, table, @alignCast(bytes[expressions_at..]), number);
}

/// The first `number` expressions in `bytes`, checked.
pub fn expressionsIn(
    connection: *Connection,
    table: *const TableInfo,
    bytes: []align(8) const u8,
    number: u32,
) Error![]const row_merge.Expression {
    const detail = &connection.detail;
    if (number > bytes.len / @sizeOf(row_merge.Expression)) {
        detail.set("the expressions are cut off", .{});
        return error.BadArgument;
    }
    const first: [*]const row_merge.Expression = @ptrCast(bytes.ptr);
    const expressions = first[0..number];
    for (expressions) |*expression| {
        if (expression.column >= table.column_count) {
            detail.set("table \"{s}\" has no column {d}", .{ table.name(), expression.column });
            return error.UnknownColumn;
        }
        const column = &table.columns[expression.column];
        if (!column.kind.isText() and column.kind != .bool and !column.flags.primary) continue;
        detail.set("column \"{s}\" of table \"{s}\" is {s}: there is nothing to calculate", .{
            column.name(),
            table.name(),
            if (column.flags.primary) "the primary key" else @tagName(column.kind),
        });
        return error.TypeMismatch;
    }
    return expressions;
}

fn writeOne(connection: *Connection, transaction_number: u32, one: *const Write) Error!void {
    if (transaction_number != 0) {
        const open = try connection.transactions.find(connection, transaction_number);
        return open.write(one);
    }
    const position = try commitOne(connection, one);
    try durable_calls.settle(connection, position);
}

/// Returns the position of the commit.
fn commitOne(connection: *Connection, one: *const Write) Error!u64 {
    const session = try connection.takeSession();
    defer connection.releaseSession(session);
    const outcome = try statement.write(session, one);
    try checkIn(session, connection, one, outcome.outcome);
    connection.control.position = @floatFromInt(outcome.position);
    return outcome.position;
}

/// Maps what became of a statement that was committed.
fn checkIn(
    session: *const @import("session.zig").Session,
    connection: *Connection,
    one: *const Write,
    outcome: transaction.Outcome,
) Error!void {
    if (outcome == .unique_violation) {
        session.index_scratch.violation.describe(&connection.detail);
    }
    return check(connection, one, outcome);
}

/// Maps what became of a write.
pub fn check(
    connection: *Connection,
    one: *const Write,
    outcome: transaction.Outcome,
) Error!void {
    const detail = &connection.detail;
    switch (outcome) {
        .done => {},
        .duplicate_key => return error.DuplicateKey,
        .not_found => return error.NotFound,
        .conflict, .kicked => return error.SerializationFailure,
        .unique_violation => return error.UniqueViolation,
        .type_mismatch => {
            detail.set("an expression does not fit its column", .{});
            return error.TypeMismatch;
        },
        .out_of_range => {
            nameResult(detail, one);
            detail.add(" does not fit its column", .{});
            return error.TypeMismatch;
        },
        .not_a_number => {
            nameResult(detail, one);
            detail.add(" is no number", .{});
            return error.NotANumber;
        },
    }
}

/// Begins to say what is wrong with what expressions give.
fn nameResult(detail: *@import("status.zig").Detail, one: *const Write) void {
    detail.set("the new value of ", .{});
    for (one.expressions, 0..) |expression, i| {
        const separator = if (i == 0) "" else " or ";
        const column = &one.table.columns[expression.column];
        detail.add("{s}\"{s}\"", .{ separator, column.name() });
    }
}

/// Writes `number` records that stand one behind the other in the input. Returns how many were
/// written: all, unless they are written row by row and one is refused, which `failed_index` names.
pub fn writeMany(
    connection: *Connection,
    transaction_number: u32,
    table_id: u32,
    number: u32,
    size: u32,
    flags: RowsFlags,
) Error!u32 {
    try connection.refuseReadOnly();
    const table = try connection.table(table_id);
    const bytes = try connection.inputBytes(size);
    if (flags.reserved != 0) {
        connection.detail.set("unknown flags", .{});
        return error.BadArgument;
    }
    const operation: Operation = if (flags.insert) .insert else .upsert;
    const records: Records = .{
        .bytes = bytes,
        .number = number,
        .operation = operation,
        .row_by_row = flags.row_by_row,
    };
    if (transaction_number != 0) {
        return writeRecords(connection, transaction_number, table, records);
    }
    connection.control.position = 0;
    // Row by row, those before one that is refused are committed as well.
    const written = writeRecords(connection, 0, table, records);
    const position: u64 = @intFromFloat(connection.control.position);
    if (written) |_| try durable_calls.settle(connection, position) else |err| {
        const detail = connection.detail;
        durable_calls.settle(connection, position) catch {};
        connection.detail = detail;
        return err;
    }
    return written;
}

pub const Records = struct {
    bytes: []align(8) const u8,
    number: u32,
    operation: Operation,
    row_by_row: bool,
};

/// As `writeMany`, for records anywhere in private memory, and without waiting for the disk.
pub fn writeRecords(
    connection: *Connection,
    transaction_number: u32,
    table: *const TableInfo,
    records: Records,
) Error!u32 {
    var collector: Collector = .{ .connection = connection, .table = table, .records = records };
    connection.control.failed_index = 0;
    if (records.row_by_row and transaction_number == 0) {
        try writeChunks(&collector);
        return records.number;
    }
    const writes = try collector.next(records.number);
    try collector.finish();
    if (transaction_number != 0) {
        const open = try connection.transactions.find(connection, transaction_number);
        // The statement is done or not: the transaction may go on after an error of it.
        const before = open.inner.buffer.savepoint();
        errdefer open.inner.buffer.rollbackTo(before);
        for (writes, 0..) |*one, i| {
            connection.control.failed_index = @intCast(i);
            try open.write(one);
        }
    } else {
        try writeTogether(connection, writes);
    }
    return records.number;
}

/// Turns records into writes.
const Collector = struct {
    connection: *Connection,
    table: *const TableInfo,
    records: Records,
    /// Records and bytes behind us.
    index: u32 = 0,
    at: usize = 0,

    /// The next writes, at most `most`. On an error, `failed_index` names the bad record, and the
    /// writes before it are in `scratch.writes`.
    fn next(collector: *Collector, most: u32) Error![]Write {
        const connection = collector.connection;
        const scratch = &connection.rows;
        const table = collector.table;
        scratch.writes.clearRetainingCapacity();
        _ = scratch.images.reset(.{ .retain_with_limit = 1 << 20 });
        const end = @min(collector.records.number, collector.index + most);
        while (collector.index < end) : (collector.index += 1) {
            connection.control.failed_index = collector.index;
            const rest: []align(8) const u8 = @alignCast(collector.records.bytes[collector.at..]);
            const record = try row_input.readRecord(table, rest, &connection.detail);
            const image = if (record.isWhole(table)) record.row else filled: {
                const arena = scratch.images.allocator();
                const buffer = try arena.alignedAlloc(u8, .@"8", table.payload_size_max);
                break :filled try row_input.wholeRow(table, &record, buffer, &connection.detail);
            };
            try scratch.writes.append(gpa, writeOf(table, collector.records.operation, image));
            collector.at += record.size;
        }
        return scratch.writes.items;
    }

    fn finish(collector: *Collector) Error!void {
        if (collector.at == collector.records.bytes.len) return;
        collector.connection.detail.set("{d} bytes follow the last record", .{
            collector.records.bytes.len - collector.at,
        });
        return error.BadArgument;
    }
};

/// Rows of one chunk: few enough that they stay in the cache from reading to writing.
const chunk_rows = 128;

/// Each row is a transaction of its own. Rows before one that is refused stay written.
fn writeChunks(collector: *Collector) Error!void {
    const connection = collector.connection;
    const session = try connection.takeSession();
    defer connection.releaseSession(session);
    while (collector.index < collector.records.number) {
        const first = collector.index;
        const problem: ?Error = if (collector.next(chunk_rows)) |_| null else |err| err;
        const writes = connection.rows.writes.items;
        const outcome = try statement.writeEach(session, writes);
        if (outcome.position != 0) connection.control.position = @floatFromInt(outcome.position);
        if (outcome.outcome != .done) {
            connection.control.failed_index = first + @as(u32, @intCast(outcome.failed));
            return checkIn(session, connection, &writes[outcome.failed], outcome.outcome);
        }
        if (problem) |err| return err;
    }
    try collector.finish();
}

/// One transaction. Of several records with one key the last one counts, as if they had been
/// written one after the other; inserted, the second is a duplicate.
fn writeTogether(connection: *Connection, writes: []const Write) Error!void {
    if (writes.len == 0) return;
    const scratch = &connection.rows;
    try scratch.order.resize(gpa, writes.len);
    const order = scratch.order.items;
    for (order, 0..) |*index, i| index.* = @intCast(i);
    // Ties are broken by the index: the last of equal keys is the last in the input.
    std.sort.pdq(u32, order, writes, precedes);

    scratch.sorted.clearRetainingCapacity();
    try scratch.sorted.ensureTotalCapacity(gpa, writes.len);
    var kept: usize = 0;
    for (order) |index| {
        const one = &writes[index];
        if (kept > 0 and sameKey(&scratch.sorted.items[kept - 1], one)) {
            if (one.operation == .insert) {
                connection.control.failed_index = index;
                return error.DuplicateKey;
            }
            scratch.sorted.items[kept - 1] = one.*;
            order[kept - 1] = index;
            continue;
        }
        scratch.sorted.appendAssumeCapacity(one.*);
        order[kept] = index;
        kept += 1;
    }
    const session = try connection.takeSession();
    defer connection.releaseSession(session);
    connection.control.failed_index = 0;
    // Sorts as well, and as the keys are distinct, to the same order.
    const outcome = try statement.writeMany(session, scratch.sorted.items);
    if (outcome.outcome == .done) {
        connection.control.position = @floatFromInt(outcome.position);
        return;
    }
    connection.control.failed_index = order[outcome.failed];
    try checkIn(session, connection, &scratch.sorted.items[outcome.failed], outcome.outcome);
}

fn precedes(writes: []const Write, a: u32, b: u32) bool {
    if (statement.before({}, writes[a], writes[b])) return true;
    return a < b and !statement.before({}, writes[b], writes[a]);
}

fn sameKey(a: *const Write, b: *const Write) bool {
    return a.key.hash == b.key.hash and std.mem.eql(u8, a.key.cell, b.key.cell);
}
