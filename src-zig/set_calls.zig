//! The calls that go through all rows of a query before they return: aggregates, and changes of
//! every row that a query finds, and measurements.
//!
//! A change happens in a transaction that the caller has begun. The rows are found first and
//! changed then, so that no row is found in the state that the same call gave it. The call is done
//! or not: after an error of it the transaction may go on.

const std = @import("std");
const aggregate = @import("aggregate.zig");
const analyze = @import("analyze.zig");
const connection_module = @import("connection.zig");
const open_transaction = @import("open_transaction.zig");
const plan_module = @import("plan.zig");
const query_calls = @import("query_calls.zig");
const row_calls = @import("row_calls.zig");
const row_input = @import("row_input.zig");
const row_merge = @import("row_merge.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const transaction_calls = @import("transaction_calls.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Open = transaction_calls.Open;
const OpenTransaction = open_transaction.OpenTransaction;
const Query = query_calls.Query;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const gpa = connection_module.gpa;

/// The plan at the start of the input, and what follows it.
const Input = struct {
    plan: []align(8) const u8,
    rest: []align(8) const u8,

    fn read(connection: *Connection, size: u32) Error!Input {
        const bytes = try connection.inputBytes(size);
        const plan_size = if (bytes.len < plan_module.header_size)
            0
        else
            std.mem.readInt(u32, bytes[0..4], .little);
        if (plan_size % 8 != 0 or plan_size > bytes.len or plan_size == 0) {
            connection.detail.set("the plan is cut off", .{});
            return error.BadArgument;
        }
        return .{ .plan = bytes[0..plan_size], .rest = @alignCast(bytes[plan_size..]) };
    }
};

/// Computes the aggregates behind the plan in the input, and puts the answers into the output.
/// Returns their bytes.
pub fn aggregates(connection: *Connection, transaction_number: u32, size: u32) Error!u32 {
    const input = try Input.read(connection, size);
    const requests: []const aggregate.Request = @ptrCast(
        input.rest[0 .. input.rest.len / 8 * 8],
    );
    const query = try query_calls.start(connection, transaction_number, input.plan, null);
    defer query_calls.release(connection, query);
    const cursor = query.cursor;
    if (cursor.plan.flags.count_only) {
        connection.detail.set("a plan that counts has no other aggregates", .{});
        return error.BadArgument;
    }
    var reason: []const u8 = "";
    var sink = aggregate.Aggregates.compile(
        cursor.memory.allocator(),
        cursor.table,
        requests,
        &reason,
    ) catch |err| {
        if (err != error.OutOfMemory) connection.detail.set("{s}", .{reason});
        return err;
    };
    const open = try enter(connection, query);
    defer if (open) |entered| entered.leave();
    try drainTo(query, &sink);
    return sink.write(connection.output) orelse {
        connection.detail.set("the texts take more than {d} bytes", .{connection.output.len});
        return error.ValueTooLong;
    };
}

/// The transaction of a query, entered; null if it has none.
fn enter(connection: *Connection, query: *const Query) Error!?*Open {
    if (query.transaction_number == 0) return null;
    const open = try connection.transactions.find(connection, query.transaction_number);
    try open.enter();
    return open;
}

fn drainTo(query: *Query, sink: anytype) Error!void {
    var none: query_calls.NoRows = .{};
    return switch (query.source) {
        .none => query.cursor.drain(&none, sink),
        .index => |source| query.cursor.drain(source, sink),
        .counter => unreachable, // It is for plans that count, which have no rows.
        inline else => |*source| query.cursor.drain(source, sink),
    };
}

/// What a change does to each row.
const Change = struct {
    connection: *Connection,
    operation: transaction.Operation,
    /// The columns of `mask`, for an update.
    patch: RowRef = undefined,
    mask: u64 = 0,
    expressions: []const row_merge.Expression = &.{},
    rows: std.ArrayList(RowRef) = .empty,

    pub fn append(change: *Change, row: RowRef) error{OutOfMemory}!bool {
        try change.rows.append(gpa, row);
        return true;
    }

    fn run(change: *Change, query: *Query, inner: *OpenTransaction) Error!void {
        try drainTo(query, change);
        const before = inner.buffer.savepoint();
        errdefer inner.buffer.rollbackTo(before);
        const table = query.cursor.table;
        for (change.rows.items) |row| {
            const one: transaction.Write = .{
                .table = table,
                .operation = change.operation,
                .key = transaction.keyOf(table, row.payload[0..row.size]),
                .image = change.patch,
                .mask = change.mask,
                .expressions = change.expressions,
            };
            try row_calls.check(change.connection, &one, try inner.writeTo(&one, row));
        }
    }
};

/// Gives every row of the plan in the input the columns and the results of the expressions behind
/// it: u32 bytes of the record (0: none), u32 number of expressions, the record, the expressions.
/// Returns the number of rows in `control.total`.
pub fn update(connection: *Connection, transaction_number: u32, size: u32) Error!void {
    const input = try Input.read(connection, size);
    const rest = input.rest;
    const table_id = std.mem.readInt(u16, input.plan[4..6], .little);
    const table = try connection.table(table_id);
    if (rest.len < 8) return cutOff(connection);
    const record_size = std.mem.readInt(u32, rest[0..4], .little);
    const number = std.mem.readInt(u32, rest[4..8], .little);
    if (record_size % 8 != 0 or record_size > rest.len - 8) return cutOff(connection);
    const expression_bytes: []align(8) const u8 = @alignCast(rest[8 + record_size ..]);

    var change: Change = .{ .connection = connection, .operation = .update };
    change.expressions = try row_calls.expressionsIn(connection, table, expression_bytes, number);
    if (record_size == 0) {
        change.operation = .apply;
    } else {
        const bytes: []align(8) const u8 = @alignCast(rest[8..][0..record_size]);
        const record = try row_input.readRecord(table, bytes, &connection.detail);
        if (record.mask >> @intCast(table.primary_key) & 1 != 0) {
            connection.detail.set("a primary key cannot become another", .{});
            return error.BadArgument;
        }
        change.patch = record.row;
        change.mask = record.mask;
    }
    try apply(&change, transaction_number, input.plan);
}

fn cutOff(connection: *Connection) Error {
    connection.detail.set("the changes are cut off", .{});
    return error.BadArgument;
}

/// Deletes every row of the plan in the input. Returns their number in `control.total`.
pub fn delete(connection: *Connection, transaction_number: u32, size: u32) Error!void {
    const input = try Input.read(connection, size);
    var change: Change = .{ .connection = connection, .operation = .delete };
    try apply(&change, transaction_number, input.plan);
}

fn apply(
    change: *Change,
    transaction_number: u32,
    plan: []align(8) const u8,
) Error!void {
    const connection = change.connection;
    try connection.refuseReadOnly();
    if (transaction_number == 0) {
        connection.detail.set("rows are changed by a query in a transaction only", .{});
        return error.BadArgument;
    }
    const open = try connection.transactions.find(connection, transaction_number);
    if (open.inner.options.read_only) {
        connection.detail.set("the transaction only reads", .{});
        return error.ReadOnly;
    }
    // What a row held beside the columns of the filter is checked where its change is installed.
    const query = try query_calls.start(connection, transaction_number, plan, 0);
    defer query_calls.release(connection, query);
    if (query.cursor.plan.flags.count_only) {
        connection.detail.set("a plan that counts has no rows to change", .{});
        return error.BadArgument;
    }
    defer change.rows.deinit(gpa);
    try open.enter();
    defer open.leave();
    try change.run(query, open.inner);
    connection.control.total = @floatFromInt(change.rows.items.len);
}

/// Runs the plan in the input without giving its rows, and puts what it took into the output: a
/// `Report` and its `Step`s. Returns their bytes.
pub fn measure(connection: *Connection, transaction_number: u32, size: u32) Error!u32 {
    const blob = try connection.inputBytes(size);
    const query = try query_calls.start(connection, transaction_number, blob, null);
    defer query_calls.release(connection, query);
    const open = try enter(connection, query);
    defer if (open) |entered| entered.leave();
    const cursor = query.cursor;
    const output = connection.output;
    const base = @intFromPtr(connection.region().base);
    var none: query_calls.NoRows = .{};
    const written = try switch (query.source) {
        .none => analyze.measure(cursor, &none, output, base),
        .index => |source| analyze.measure(cursor, source, output, base),
        .counter => |source| analyze.measureCount(cursor, source, output),
        inline else => |*source| analyze.measure(cursor, source, output, base),
    };
    const report: *analyze.Report = @ptrCast(output.ptr);
    const wants_index = switch (cursor.plan.route) {
        .index_exact_match, .index_range_scan => true,
        else => false,
    };
    report.fell_back = @floatFromInt(@intFromBool(wants_index and query.scansAll()));
    return written;
}
