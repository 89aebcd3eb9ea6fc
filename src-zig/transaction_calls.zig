//! Transactions of several statements, as a connection has them.
//!
//! A read-only transaction is a session with a pin and a position: it sees the state after every
//! transaction up to that position, waits for those that are not decided yet, and never fails by
//! what others do. Rows it finds stay where they are until it ends.

const std = @import("std");
const connection_module = @import("connection.zig");
const pk_map = @import("pk_map.zig");
const reader = @import("reader.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const commit_ring = @import("commit_ring.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Key = pk_map.Key;
const RowRef = row_module.RowRef;
const Session = @import("session.zig").Session;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;
const gpa = connection_module.gpa;

/// Flags of `aero_transaction_begin`.
pub const TransactionFlags = packed struct(u32) {
    /// It only reads.
    read_only: bool = false,
    /// It sees the state of a moment ago, and waits for nobody.
    relaxed: bool = false,
    reserved: u30 = 0,
};

/// One open transaction.
pub const Open = struct {
    connection: *Connection,
    session: *Session,
    view: reader.View,

    pub fn find(open: *Open, table: *const TableInfo, key: Key) Error!?RowRef {
        return reader.find(open.connection.region(), table, key, open.view);
    }

    pub fn viewOf(open: *Open, table: *const TableInfo, key: Key) Error!f64 {
        const row = try open.find(table, key) orelse return 0;
        const base = @intFromPtr(open.connection.region().base);
        return @floatFromInt((@intFromPtr(row.payload) - base) / 8);
    }

    pub fn write(open: *Open, one: *const transaction.Write) Error!void {
        _ = one;
        return notYet(open.connection);
    }
};

/// The open transactions of a connection. A number is never given out twice, so that one that has
/// ended is told from one that runs.
pub const Transactions = struct {
    list: std.ArrayList(Entry) = .empty,
    next: u32 = 1,

    const Entry = struct { number: u32, open: *Open };
    const count_max = 64;

    pub fn deinit(self: *Transactions, connection: *Connection) void {
        while (self.list.items.len > 0) {
            end(connection, self.list.items[0].number) catch unreachable;
        }
        self.list.deinit(gpa);
    }

    pub fn find(self: *Transactions, connection: *Connection, number: u32) Error!*Open {
        for (self.list.items) |entry| if (entry.number == number) return entry.open;
        connection.detail.set("the transaction has ended", .{});
        return error.TransactionClosed;
    }
};

pub fn begin(connection: *Connection, flags: TransactionFlags) Error!u32 {
    const transactions = &connection.transactions;
    if (flags.reserved != 0) {
        connection.detail.set("unknown flags", .{});
        return error.BadArgument;
    }
    if (transactions.list.items.len >= Transactions.count_max) {
        connection.detail.set("the connection has {d} transactions open", .{
            Transactions.count_max,
        });
        return error.TooManyTransactions;
    }
    try transactions.list.ensureUnusedCapacity(gpa, 1);
    const open = try gpa.create(Open);
    errdefer gpa.destroy(open);
    const session = try connection.takeSession();
    session.pin();
    // The pin comes first: nothing that the position shows is recycled from here on.
    const region = connection.region();
    const position = if (flags.relaxed)
        commit_ring.drainedPosition(region)
    else
        reader.snapshotNow(region);
    open.* = .{
        .connection = connection,
        .session = session,
        .view = .{ .snapshot = position },
    };
    const number = transactions.next;
    transactions.next = transactions.next % std.math.maxInt(i32) + 1;
    transactions.list.appendAssumeCapacity(.{ .number = number, .open = open });
    return number;
}

pub fn commit(connection: *Connection, number: u32) Error!void {
    return end(connection, number);
}

pub fn abort(connection: *Connection, number: u32) Error!void {
    return end(connection, number);
}

pub fn savepoint(connection: *Connection, number: u32) Error!u32 {
    _ = try connection.transactions.find(connection, number);
    return notYet(connection);
}

pub fn rollbackTo(connection: *Connection, number: u32, place: u32) Error!void {
    _ = place;
    _ = try connection.transactions.find(connection, number);
    return notYet(connection);
}

pub fn lock(connection: *Connection, number: u32, table_id: u32) Error!void {
    _ = try connection.transactions.find(connection, number);
    _ = try connection.table(table_id);
    return notYet(connection);
}

fn notYet(connection: *Connection) Error {
    connection.detail.set("this version writes in transactions of one statement only", .{});
    return error.NotSupported;
}

fn end(connection: *Connection, number: u32) Error!void {
    const open = try connection.transactions.find(connection, number);
    connection.queries.closeOf(connection, number);
    open.session.unpin();
    connection.releaseSession(open.session);
    gpa.destroy(open);
    const list = &connection.transactions.list;
    for (list.items, 0..) |entry, i| {
        if (entry.number != number) continue;
        _ = list.swapRemove(i);
        return;
    }
    unreachable; // `find` has found it.
}
