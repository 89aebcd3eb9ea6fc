//! Transactions of several statements, as a connection has them: numbers for open transactions, and
//! what became of them in words.

const std = @import("std");
const connection_module = @import("connection.zig");
const durable_calls = @import("durable_calls.zig");
const open_transaction = @import("open_transaction.zig");
const pk_map = @import("pk_map.zig");
const row_calls = @import("row_calls.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const unique_violation = @import("unique_violation.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Key = pk_map.Key;
const OpenTransaction = open_transaction.OpenTransaction;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const gpa = connection_module.gpa;

/// Flags of `aero_transaction_begin`.
pub const TransactionFlags = packed struct(u32) {
    /// It only reads.
    read_only: bool = false,
    /// It sees the state of a moment ago, and waits for nobody.
    relaxed: bool = false,
    /// Others do not start commits while it runs, for as long as their patience lasts.
    exclusive: bool = false,
    /// It queues for the row that the connection's last conflict was about.
    queue: bool = false,
    /// Its commit returns when it is on disk, or when it is visible; by default, as the region's
    /// `synchronous_commit` says.
    durable: bool = false,
    visible: bool = false,
    /// It begins when all that it sees is on disk. It only reads.
    read_durable: bool = false,
    /// It begins at once all the same: whoever began it waits for the control block's `position`
    /// before it is used.
    wait_later: bool = false,
    reserved: u24 = 0,
};

/// One open transaction, and the places it can go back to.
pub const Open = struct {
    connection: *Connection,
    inner: *OpenTransaction,
    /// Null: as the region says.
    promise: ?durable_calls.Promise = null,
    savepoints: std.ArrayList(usize) = .empty,

    /// The row of a key as the transaction sees it. Call between `enter` and `leave`.
    pub fn find(open: *Open, table: *const TableInfo, key: Key) Error!?RowRef {
        return open.inner.get(table, key);
    }

    pub fn enter(open: *Open) Error!void {
        open.inner.enter() catch |err| {
            if (err == error.SnapshotRevoked) open.connection.detail.set(
                "its snapshot was given up, for its age or to free memory",
                .{},
            );
            return err;
        };
    }

    pub fn leave(open: *Open) void {
        open.inner.leave();
    }

    pub fn write(open: *Open, one: *const transaction.Write) Error!void {
        if (open.inner.options.read_only) {
            open.connection.detail.set("the transaction only reads", .{});
            return error.ReadOnly;
        }
        try open.enter();
        defer open.leave();
        const outcome = try open.inner.write(one);
        try row_calls.check(open.connection, one, outcome);
    }
};

/// The open transactions of a connection. A number is never given out twice, so that one that has
/// ended is told from one that runs.
pub const Transactions = struct {
    list: std.ArrayList(Entry) = .empty,
    next: u32 = 1,
    /// Hash of the row that the last conflict was about, 0 if it was about a search.
    last_conflict: u64 = 0,

    const Entry = struct { number: u32, open: *Open };
    const count_max = 64;

    pub fn deinit(self: *Transactions, connection: *Connection) void {
        while (self.list.items.len > 0) {
            const entry = self.list.items[0];
            end(connection, entry.open, entry.number);
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
    if (flags.reserved != 0 or (flags.durable and flags.visible)) {
        connection.detail.set("unknown flags", .{});
        return error.BadArgument;
    }
    if (flags.durable or flags.read_durable) try durable_calls.refuseUnlogged(connection);
    if (flags.read_durable and !flags.read_only) {
        connection.detail.set("only a transaction that only reads waits for what it sees", .{});
        return error.BadArgument;
    }
    if (transactions.list.items.len >= Transactions.count_max) {
        connection.detail.set("the connection has {d} transactions open", .{
            Transactions.count_max,
        });
        return error.TooManyTransactions;
    }
    if (!flags.read_only) try connection.refuseReadOnly();
    try transactions.list.ensureUnusedCapacity(gpa, 1);
    const open = try gpa.create(Open);
    errdefer gpa.destroy(open);
    const session = try connection.takeSession();
    errdefer connection.releaseSession(session);
    const inner = try OpenTransaction.begin(session, gpa, .{
        .read_only = flags.read_only,
        .relaxed = flags.relaxed,
        .exclusive = flags.exclusive,
    });
    errdefer inner.destroy();
    if (flags.queue and transactions.last_conflict != 0) {
        try inner.enter();
        defer inner.leave();
        try inner.queue(transactions.last_conflict);
    }
    if (flags.read_durable) {
        connection.control.position = @floatFromInt(inner.snapshot);
        if (!flags.wait_later) try durable_calls.waitEndless(connection, inner.snapshot);
    }
    open.* = .{ .connection = connection, .inner = inner };
    if (flags.durable) open.promise = .durable;
    if (flags.visible) open.promise = .visible;
    const number = transactions.next;
    transactions.next = transactions.next % std.math.maxInt(i32) + 1;
    transactions.list.appendAssumeCapacity(.{ .number = number, .open = open });
    return number;
}

/// Commits, and ends the transaction whatever comes of it. Waits until it is on disk if that is
/// promised and `may_wait`. True if it was promised, and the caller has to wait.
pub fn commit(connection: *Connection, number: u32, may_wait: bool) Error!bool {
    const open = try connection.transactions.find(connection, number);
    const promise = open.promise orelse durable_calls.promiseOf(connection);
    const position = try commitOpen(connection, open, number);
    if (position == 0 or promise == .visible) return false;
    if (may_wait) try durable_calls.waitEndless(connection, position);
    return !may_wait;
}

/// Returns the position of the commit; 0 if nothing was written.
fn commitOpen(connection: *Connection, open: *Open, number: u32) Error!u64 {
    defer end(connection, open, number);
    const wrote = !open.inner.options.read_only and open.inner.buffer.savepoint() > 0;
    switch (try open.inner.commit()) {
        .committed => |position| {
            connection.control.position = @floatFromInt(position);
            return if (wrote) position else 0;
        },
        .unique_violation => {
            const session = open.inner.session;
            session.index_scratch.violation.describe(&connection.detail);
            return error.UniqueViolation;
        },
        .conflict => {
            const conflict = open.inner.conflict;
            const hash = if (conflict == .row) conflict.row.key.hash else 0;
            connection.transactions.last_conflict = hash;
            describe(connection, conflict);
            return error.SerializationFailure;
        },
    }
}

/// Says what another transaction has changed.
fn describe(connection: *Connection, conflict: open_transaction.Conflict) void {
    const detail = &connection.detail;
    switch (conflict) {
        .none => detail.set("another transaction came first", .{}),
        .predicate => |table| detail.set(
            "another transaction changed what a search of table \"{s}\" has read",
            .{table.name()},
        ),
        .row => |row| {
            detail.set("another transaction changed row ", .{});
            unique_violation.addKey(detail, row.table, row.key.cell);
            detail.add(" of table \"{s}\"", .{row.table.name()});
        },
    }
}

pub fn abort(connection: *Connection, number: u32) Error!void {
    const open = try connection.transactions.find(connection, number);
    end(connection, open, number);
}

/// Marks a place in the transaction. Returns its number, which is at least 1.
pub fn savepoint(connection: *Connection, number: u32) Error!u32 {
    const open = try connection.transactions.find(connection, number);
    try open.savepoints.append(gpa, open.inner.savepoint());
    return @intCast(open.savepoints.items.len);
}

/// Takes back what was written since a savepoint. It stays; later ones are gone.
pub fn rollbackTo(connection: *Connection, number: u32, place: u32) Error!void {
    const open = try connection.transactions.find(connection, number);
    if (place == 0 or place > open.savepoints.items.len) {
        connection.detail.set("the transaction has no savepoint {d}", .{place});
        return error.BadArgument;
    }
    connection.queries.closeOf(connection, number);
    open.inner.rollbackTo(open.savepoints.items[place - 1]);
    open.savepoints.shrinkRetainingCapacity(place);
}

/// Queues for the row of the key in the input.
pub fn lock(connection: *Connection, number: u32, table_id: u32) Error!void {
    const open = try connection.transactions.find(connection, number);
    const table = try connection.table(table_id);
    const key = try row_calls.keyOfInput(connection, table);
    try open.enter();
    defer open.leave();
    try open.inner.lock(key);
}

fn end(connection: *Connection, open: *Open, number: u32) void {
    connection.queries.closeOf(connection, number);
    const session = open.inner.session;
    open.inner.destroy();
    open.savepoints.deinit(gpa);
    gpa.destroy(open);
    connection.releaseSession(session);
    const list = &connection.transactions.list;
    for (list.items, 0..) |entry, i| {
        if (entry.number != number) continue;
        _ = list.swapRemove(i);
        return;
    }
}
