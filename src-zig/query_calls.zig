//! Queries: a plan in the input buffer, batches of rows in the output buffer.
//!
//! A query sees one snapshot from its first batch to its last. Outside of a transaction it has a
//! session of its own, pinned from `open` to the last batch, because what the next batch needs must
//! stay where it is. Most queries end with their first batch and are not numbered at all.

const std = @import("std");
const connection_module = @import("connection.zig");
const Batch = @import("batch.zig").Batch;
const executor = @import("executor.zig");
const index_count = @import("index_count.zig");
const index_scan = @import("index_scan.zig");
const pk_map = @import("pk_map.zig");
const open_transaction = @import("open_transaction.zig");
const plan_module = @import("plan.zig");
const Filter = @import("filter.zig").Filter;
const OpenTransaction = open_transaction.OpenTransaction;
const reader = @import("reader.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Region = @import("region.zig").Region;
const RowRef = row_module.RowRef;
const Session = @import("session.zig").Session;
const TableInfo = table_info.TableInfo;
const assert = std.debug.assert;
const gpa = connection_module.gpa;

/// The rows of some primary keys.
const KeySource = struct {
    region: *const Region,
    table: *const TableInfo,
    view: reader.View,
    keys: plan_module.CellIterator,
    /// Set inside of a transaction, which sees its own writes and notes what it reads.
    transaction: ?*OpenTransaction,
    /// Where its own writes stood when the query began.
    place: usize,

    pub fn next(source: *KeySource) open_transaction.Error!?RowRef {
        const column = &source.table.columns[source.table.primary_key];
        while (source.keys.next()) |padded| {
            const cell = transaction.keyCell(column, padded);
            const key: pk_map.Key = .of(@intCast(source.table.id), cell);
            const row = if (source.transaction) |inner|
                try inner.getAt(source.table, key, source.place)
            else
                try reader.find(source.region, source.table, key, source.view);
            if (row) |found| return found;
        }
        return null;
    }
};

/// What a query that yields may do in one batch: a millisecond or two.
const yielding_rows = 8192;
const yielding_bytes = 128 << 10;

const Source = union(enum) {
    none,
    keys: KeySource,
    scan: reader.Scan,
    index: *index_scan.Scan,
    counter: *index_count.Counter,
    transaction_scan: open_transaction.TransactionScan,
};

pub const Query = struct {
    /// 0 until the first batch has left rows for a second one.
    number: u32,
    /// The transaction it belongs to, 0 for its own.
    transaction_number: u32,
    session: ?*Session,
    cursor: *executor.Cursor,
    source: Source,
    /// What `source` refers to, if rows come by an index.
    scan: index_scan.Scan,
    /// The same, if they are only counted.
    counter: index_count.Counter,

    /// Whether every row of the table is looked at.
    pub fn scansAll(query: *const Query) bool {
        return switch (query.source) {
            .scan => true,
            .transaction_scan => |*scan| scan.rows == .all,
            .none, .keys, .index, .counter => false,
        };
    }
};

pub const Queries = struct {
    /// Those that have more batches.
    open: std.ArrayList(*Query) = .empty,
    /// Closed ones, kept for the next.
    spare: ?*Query = null,
    next: u32 = 1,

    const count_max = 64;

    pub fn deinit(queries: *Queries, connection: *Connection) void {
        while (queries.open.items.len > 0) closeAt(connection, 0);
        queries.open.deinit(gpa);
        if (queries.spare) |query| destroy(query);
    }

    /// Closes the queries of a transaction that ends.
    pub fn closeOf(queries: *Queries, connection: *Connection, transaction_number: u32) void {
        var i: usize = 0;
        while (i < queries.open.items.len) {
            if (queries.open.items[i].transaction_number == transaction_number) {
                closeAt(connection, i);
            } else i += 1;
        }
    }

    fn indexOf(queries: *const Queries, connection: *Connection, number: u32) Error!usize {
        for (queries.open.items, 0..) |query, i| if (query.number == number) return i;
        connection.detail.set("the query has ended", .{});
        return error.Closed;
    }

    fn create(queries: *Queries) Error!*Query {
        if (queries.spare) |query| {
            queries.spare = null;
            return query;
        }
        const query = try gpa.create(Query);
        errdefer gpa.destroy(query);
        query.cursor = try .create(gpa);
        return query;
    }
};

fn destroy(query: *Query) void {
    query.cursor.destroy();
    gpa.destroy(query);
}

/// Runs the plan in the input. Returns 0 if all rows are in the output, else the query's number.
pub fn open(connection: *Connection, transaction_number: u32, size: u32) Error!u32 {
    const queries = &connection.queries;
    if (queries.open.items.len >= Queries.count_max) {
        connection.detail.set("the connection has {d} queries open", .{Queries.count_max});
        return error.TooManyTransactions;
    }
    try queries.open.ensureUnusedCapacity(gpa, 1);
    const blob = try connection.inputBytes(size);
    const query = try start(connection, transaction_number, blob, null);
    errdefer release(connection, query);
    if (try fill(connection, query)) {
        release(connection, query);
        return 0;
    }
    if (query.session) |session| session.rest();
    query.number = queries.next;
    queries.next = queries.next % std.math.maxInt(i32) + 1;
    queries.open.appendAssumeCapacity(query);
    return query.number;
}

/// A query whose snapshot is taken and whose rows nobody has asked for yet. `columns` are those
/// that the caller looks at, if they are not the ones that the plan asks for. End it with
/// `release`.
pub fn start(
    connection: *Connection,
    transaction_number: u32,
    blob: []align(8) const u8,
    columns: ?u64,
) Error!*Query {
    if (blob.len < plan_module.header_size) {
        connection.detail.set("the plan is shorter than its header", .{});
        return error.BadArgument;
    }
    const table = try connection.table(std.mem.readInt(u16, blob[4..6], .little));
    const queries = &connection.queries;
    const query = try queries.create();
    query.number = 0;
    query.transaction_number = transaction_number;
    query.session = null;
    query.source = .none;
    var reason: []const u8 = "";
    query.cursor.open(table, blob, &reason) catch |err| {
        queries.spare = query;
        if (err == error.BadArgument) connection.detail.set("{s}", .{reason});
        return err;
    };
    errdefer release(connection, query);
    const plan = &query.cursor.plan;
    const looked_at = columns orelse if (plan.flags.count_only) 0 else plan.projection;
    try begin(connection, query, table, try transactionOf(connection, query), looked_at);
    return query;
}

fn transactionOf(connection: *Connection, query: *const Query) Error!?*OpenTransaction {
    if (query.transaction_number == 0) return null;
    return (try connection.transactions.find(connection, query.transaction_number)).inner;
}

/// Puts the next batch into the output. False if it is the last one; the query is closed then.
pub fn next(connection: *Connection, number: u32) Error!bool {
    const at = try connection.queries.indexOf(connection, number);
    const query = connection.queries.open.items[at];
    errdefer closeAt(connection, at);
    if (query.session) |session| if (!session.resumePin()) {
        connection.detail.set("its snapshot was given up, for its age or to free memory", .{});
        return error.SnapshotRevoked;
    };
    if (!try fill(connection, query)) {
        if (query.session) |session| session.rest();
        return true;
    }
    closeAt(connection, at);
    return false;
}

pub fn close(connection: *Connection, number: u32) Error!void {
    closeAt(connection, try connection.queries.indexOf(connection, number));
}

fn closeAt(connection: *Connection, at: usize) void {
    const query = connection.queries.open.swapRemove(at);
    release(connection, query);
}

/// Ends a query that is not in the list of open ones.
pub fn release(connection: *Connection, query: *Query) void {
    query.cursor.close();
    if (query.session) |session| {
        session.unpin();
        connection.releaseSession(session);
        query.session = null;
    }
    if (connection.queries.spare == null) {
        connection.queries.spare = query;
    } else destroy(query);
}

/// Takes the snapshot and chooses where rows come from.
fn begin(
    connection: *Connection,
    query: *Query,
    table: *const TableInfo,
    inner: ?*OpenTransaction,
    columns: u64,
) Error!void {
    const region = connection.region();
    const cursor = query.cursor;
    const plan = &cursor.plan;
    if (inner == null and plan.flags.handles) {
        connection.detail.set("views of rows exist within transactions only", .{});
        return error.BadArgument;
    }
    const view: reader.View = if (inner) |open_one| .{
        .snapshot = open_one.snapshot,
    } else view: {
        const session = try connection.takeSession();
        query.session = session;
        session.pin();
        break :view .{ .snapshot = reader.snapshotNow(region) };
    };
    if (inner) |open_one| try join(query, table, open_one, columns);
    connection.control.result_has_handles = @intFromBool(plan.flags.handles);
    if (!cursor.needsSource()) return;
    query.source = switch (plan.route) {
        .empty => .none,
        .primary_key_lookup => .{ .keys = .{
            .region = region,
            .table = table,
            .view = view,
            .keys = plan.keys(),
            .transaction = inner,
            .place = if (inner) |open_one| open_one.buffer.savepoint() else 0,
        } },
        .full_scan => fullScan(region, table, view, inner),
        .index_exact_match,
        .index_range_scan,
        => try indexScan(connection, query, table, view, inner),
    };
}

fn fullScan(
    region: *const Region,
    table: *const TableInfo,
    view: reader.View,
    inner: ?*OpenTransaction,
) Source {
    if (inner) |open_one| return .{ .transaction_scan = open_one.scan(table, null) };
    return .{ .scan = .init(region, table, view) };
}

/// The rows by an index. Where it does not serve, all rows do: the filter and the sort are part of
/// the plan.
fn indexScan(
    connection: *Connection,
    query: *Query,
    table: *const TableInfo,
    view: reader.View,
    inner: ?*OpenTransaction,
) Error!Source {
    const region = connection.region();
    const plan = &query.cursor.plan;
    const indexes = table.indexes orelse return fullScan(region, table, view, inner);
    const index = indexes.byNumber(plan.index_id) orelse {
        connection.detail.set("table \"{s}\" has no index {d}", .{ table.name(), plan.index_id });
        return error.BadArgument;
    };
    if (!index.serves(region, view.snapshot)) return fullScan(region, table, view, inner);
    const scan = &query.scan;
    scan.prepare(region, table, index, view);
    if (!scan.access.take(plan, &index.keys)) {
        connection.detail.set("a bound is not a key of the index", .{});
        return error.BadArgument;
    }
    const has_own_rows = if (inner) |open_one| open_one.buffer.hasTable(table) else false;
    // What it has written itself comes last, wherever it belongs.
    if (has_own_rows) return .{ .transaction_scan = inner.?.scan(table, scan) };
    const decides = index.keys.may_cut == 0;
    if (decides) query.cursor.trustIndex();
    // Nothing is left to sort.
    if (decides and plan.scan.ordered) plan.sorts = &.{};
    if (inner) |open_one| if (open_one.hold != null) {
        // The same rows in the same order; and whoever waits sees that it goes on.
        return .{ .transaction_scan = open_one.scan(table, scan) };
    };
    if (decides and plan.flags.count_only and query.cursor.filter.predicates.len == 0) {
        const session = if (inner) |open_one| open_one.session else query.session.?;
        query.counter.prepare(scan, session.slot_index);
        return .{ .counter = &query.counter };
    }
    return .{ .index = scan };
}

/// Tells a transaction what a query of it looks at, for validation.
fn join(
    query: *Query,
    table: *const TableInfo,
    inner: *OpenTransaction,
    looked_at: u64,
) Error!void {
    const plan = &query.cursor.plan;
    if (plan.flags.handles) {
        if (inner.buffer.hasTable(table)) {
            // Its own rows stand in private memory: no place in the region names them.
            plan.flags.handles = false;
        } else inner.has_views = true;
    }
    if (inner.options.read_only or plan.route == .empty) return;
    // The keys of a look-up are noted one by one.
    if (plan.route == .primary_key_lookup) return;
    const arena = inner.arena.allocator();
    const blob = try arena.alignedAlloc(u8, .@"8", plan.blob.len);
    @memcpy(blob, plan.blob);
    const kept = try arena.create(plan_module.Plan);
    var reason: []const u8 = "";
    kept.* = plan_module.Plan.decode(blob, table, &reason) catch unreachable; // decoded before
    var columns = looked_at;
    for (kept.clauses) |*clause| columns |= @as(u64, 1) << @intCast(clause.column);
    for (kept.sorts) |*sort| columns |= @as(u64, 1) << @intCast(sort.column);
    try inner.notePredicate(.{
        .table = table,
        .filter = try Filter.compile(arena, kept, table),
        .columns = columns,
    });
}

/// What `readAll` gives a query that has no source.
pub const NoRows = struct {
    pub fn next(_: *NoRows) error{Corrupt}!?RowRef {
        return null;
    }
};

/// Fills the output. True if nothing is left.
fn fill(connection: *Connection, query: *Query) Error!bool {
    if (query.transaction_number == 0) return fillOutput(connection, query);
    const within = try connection.transactions.find(connection, query.transaction_number);
    try within.enter();
    defer within.leave();
    const is_done = try fillOutput(connection, query);
    // What the next batch needs must stay where it is.
    if (!is_done) within.inner.has_views = true;
    return is_done;
}

fn fillOutput(connection: *Connection, query: *Query) Error!bool {
    const cursor = query.cursor;
    const yields = cursor.plan.flags.yields;
    const options: executor.Options = .{
        .handle_base = @intFromPtr(connection.region().base),
        .examine_max = if (yields) yielding_rows else std.math.maxInt(u64),
    };
    const output = if (yields) connection.output[0..yielding_bytes] else connection.output;
    var none: NoRows = .{};
    const batch: Batch = switch (query.source) {
        .none => try cursor.fill(&none, output, options),
        .index => |source| try cursor.fill(source, output, options),
        .counter => |source| .{ .done = try cursor.countBy(source, options.examine_max) },
        inline else => |*source| try cursor.fill(source, output, options),
    };
    const control = connection.control;
    control.result_rows = batch.rows;
    control.result_bytes = batch.bytes;
    const counts = cursor.plan.flags.count_only;
    const total = if (counts) cursor.stats.returned else cursor.stats.matched;
    control.total = @floatFromInt(total);
    return batch.done;
}
