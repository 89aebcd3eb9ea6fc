//! The functions that TypeScript calls. Each checks its arguments, calls, and maps the error.
//!
//! Only `u32`, `i32`, `f64` and, on calls that are rare, a buffer cross the border: both hosts pass
//! these without a detour. A result of 0 or more means that it worked; a negative one is the
//! negated `Status`, and the connection's control block says more. Whatever is larger than a number
//! stands in the connection's input or output buffer.
//!
//! A connection number that is closed, or never was one, gives `closed`, from any thread.

const std = @import("std");
const build_options = @import("build_options");
const abi_surface = @import("abi_surface.zig");
const config_calls = @import("config_calls.zig");
const connection_module = @import("connection.zig");
const durable_calls = @import("durable_calls.zig");
const ingest_calls = @import("ingest_calls.zig");
const key_calls = @import("key_calls.zig");
const open_options = @import("open_options.zig");
const opening = @import("opening.zig");
const os = @import("os.zig");
const query_calls = @import("query_calls.zig");
const report_calls = @import("report_calls.zig");
const row_calls = @import("row_calls.zig");
const set_calls = @import("set_calls.zig");
const status = @import("status.zig");
const store_module = @import("store.zig");
const tasks = @import("tasks.zig");
const transaction_calls = @import("transaction_calls.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Status = status.Status;

pub const buffer_size = connection_module.buffer_size;
pub const OpenFlags = open_options.OpenFlags;
pub const RowsFlags = row_calls.RowsFlags;
pub const TransactionFlags = transaction_calls.TransactionFlags;
pub const Setting = config_calls.Setting;
pub const TaskKind = tasks.Kind;

/// Identifies everything that the two sides must agree about.
pub export fn aero_abi_hash() f64 {
    return @floatFromInt(abi_surface.hash);
}

/// Copies the version of the library to `buffer`. Returns its bytes, which may be more than `size`.
pub export fn aero_library_version(buffer: ?[*]u8, size: u32) i32 {
    return copyText(build_options.version, buffer, size);
}

/// Opens what the options say, whose bytes `open_options.zig` shows. Returns the number of the
/// connection, at least 1.
pub export fn aero_open(options: ?[*]const u8, size: u32) i32 {
    const bytes = options orelse return Status.bad_argument.code();
    const decoded = open_options.decode(bytes[0..size]) orelse return Status.bad_argument.code();
    const number = connection_module.open(decoded) catch |err| return status.fromError(err).code();
    return @intCast(number);
}

/// As `aero_open`, in a thread of its own: `aero_open_wait` tells how far it is.
pub export fn aero_open_begin(options: ?[*]const u8, size: u32) i32 {
    const bytes = options orelse return Status.bad_argument.code();
    opening.begin(bytes[0..size], open_options.decode) catch |err|
        return status.fromError(err).code();
    return 0;
}

/// Waits for `timeout_ms` at most until what this thread has begun to open is open. Returns the
/// number of the connection, or 0 while it is not there. `progress` has room for 3 f64: the phase
/// of the recovery or -1, what is done, and of how much.
pub export fn aero_open_wait(timeout_ms: u32, progress: ?[*]u8) i32 {
    var report: opening.Progress = .{};
    const outcome = opening.wait(timeout_ms, &report);
    if (progress) |to| @memcpy(to[0..@sizeOf(opening.Progress)], std.mem.asBytes(&report));
    const number = outcome catch |err| return status.fromError(err).code();
    return @intCast(number);
}

/// Removes the store that the options of `aero_open` name. 1, or 0 if there is none.
pub export fn aero_remove(options: ?[*]const u8, size: u32) i32 {
    const bytes = options orelse return Status.bad_argument.code();
    const decoded = open_options.decode(bytes[0..size]) orelse return Status.bad_argument.code();
    const removed = connection_module.remove(decoded.store) catch |err|
        return status.fromError(err).code();
    return @intFromBool(removed);
}

/// Copies why this thread's last `aero_open` or `aero_remove` failed. Returns the bytes of the
/// whole text.
pub export fn aero_open_error(buffer: ?[*]u8, size: u32) i32 {
    return copyText(connection_module.openDetail(), buffer, size);
}

/// Closes a connection. All memory that it showed must have been let go before.
pub export fn aero_close(connection: u32) i32 {
    const c = connection_module.find(connection) orelse return closed();
    connection_module.close(c);
    return 0;
}

/// Copies what the log had when this thread closed a connection last: a `store.Closing`.
pub export fn aero_close_report(buffer: ?[*]u8, size: u32) i32 {
    return copyText(std.mem.asBytes(&store_module.last_closing), buffer, size);
}

/// The address of the control block.
pub export fn aero_connection_control(connection: u32) f64 {
    const c = connection_module.find(connection) orelse return Status.closed.codeF64();
    return @floatFromInt(@intFromPtr(c.control));
}

/// Declares the table in the input. Returns its number.
pub export fn aero_table_declare(connection: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, declare(c, size));
}

fn declare(c: *Connection, size: u32) Error!u32 {
    const blob = try c.inputBytes(size);
    if (c.read_only) return c.findDeclared(blob);
    return c.store.declare(blob, &c.detail);
}

/// Puts the catalogue into the output, as JSON. Returns its bytes.
pub export fn aero_catalogue_read(connection: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, report_calls.catalogue(c));
}

/// Drops an index. Queries that use it go on; it is gone for all that begin later.
pub export fn aero_index_drop(connection: u32, table: u32, index: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, dropIndex(c, table, index));
}

fn dropIndex(c: *Connection, table: u32, index: u32) Error!void {
    try c.refuseReadOnly();
    return c.store.dropIndex(table, index, &c.detail);
}

/// Copies the row of the key in the input to the output. 1, or 0 if there is none.
pub export fn aero_row_get(connection: u32, transaction: u32, table: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, row_calls.get(c, transaction, table));
}

/// Copies the rows of `number` keys in the input, from the key `first` on, to the output. Returns
/// how many keys are answered: all, or as many as the output holds.
pub export fn aero_rows_get(
    connection: u32,
    transaction: u32,
    table: u32,
    first: u32,
    number: u32,
) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, key_calls.get(c, transaction, table, first, number));
}

/// 1 if there is a row of the key in the input, else 0.
pub export fn aero_row_has(connection: u32, transaction: u32, table: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, row_calls.has(c, transaction, table));
}

/// Inserts the record in the input.
pub export fn aero_row_insert(connection: u32, transaction: u32, table: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, row_calls.write(c, transaction, table, size, .insert));
}

/// Inserts the record in the input, or replaces the row of its key.
pub export fn aero_row_upsert(connection: u32, transaction: u32, table: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, row_calls.write(c, transaction, table, size, .upsert));
}

/// Gives the row of the record's key the columns that the record has.
pub export fn aero_row_update(connection: u32, transaction: u32, table: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, row_calls.write(c, transaction, table, size, .update));
}

/// Deletes the row of the key in the input. 1, or 0 if there is none.
pub export fn aero_row_delete(connection: u32, transaction: u32, table: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, row_calls.delete(c, transaction, table));
}

/// Applies expressions to the row of the key in the input, whatever it holds by then.
pub export fn aero_row_apply(connection: u32, transaction: u32, table: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, row_calls.apply(c, transaction, table, size));
}

/// Writes `number` records of the input. Returns how many. `flags` is a `RowsFlags`.
pub export fn aero_rows_upsert(
    connection: u32,
    transaction: u32,
    table: u32,
    number: u32,
    size: u32,
    flags: u32,
) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, row_calls.writeMany(c, transaction, table, number, size, @bitCast(flags)));
}

/// The number of rows in a table.
pub export fn aero_row_count(connection: u32, table: u32) f64 {
    const c = enter(connection) orelse return Status.closed.codeF64();
    const number = row_calls.count(c, table) catch |err| return @floatFromInt(c.fail(err));
    return @floatFromInt(number);
}

/// The number of distinct keys in an index. Exact while nobody writes.
pub export fn aero_index_count(connection: u32, table: u32, index: u32) f64 {
    const c = enter(connection) orelse return Status.closed.codeF64();
    const number = row_calls.countKeys(c, table, index) catch |err|
        return @floatFromInt(c.fail(err));
    return @floatFromInt(number);
}

/// Where in the region the payload of the row of the key in the input stands, in units of 8 bytes;
/// 0 if there is no row, 1 if the transaction has written it: its record is in the output then.
/// Valid until the transaction ends.
pub export fn aero_row_view(connection: u32, transaction: u32, table: u32) f64 {
    const c = enter(connection) orelse return Status.closed.codeF64();
    return row_calls.view(c, transaction, table) catch |err| @floatFromInt(c.fail(err));
}

/// Begins a transaction. Returns its number, at least 1. `flags` is a `TransactionFlags`; with
/// `read_durable` the control block's `position` is that of its snapshot.
pub export fn aero_transaction_begin(connection: u32, flags: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, transaction_calls.begin(c, @bitCast(flags)));
}

/// Commits. With `may_wait` 0 it never waits for the disk: 1 then says that the caller has to wait
/// for the control block's `position`, because the transaction or the region promises it.
pub export fn aero_transaction_commit(connection: u32, transaction: u32, may_wait: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, transaction_calls.commit(c, transaction, may_wait != 0));
}

pub export fn aero_transaction_abort(connection: u32, transaction: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, transaction_calls.abort(c, transaction));
}

/// Marks a place to return to. Returns its number.
pub export fn aero_transaction_savepoint(connection: u32, transaction: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, transaction_calls.savepoint(c, transaction));
}

/// Undoes what the transaction did since a savepoint.
pub export fn aero_transaction_rollback_to(connection: u32, transaction: u32, place: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, transaction_calls.rollbackTo(c, transaction, place));
}

/// Asks others to leave the row of the key in the input alone until the transaction ends.
pub export fn aero_transaction_lock(connection: u32, transaction: u32, table: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, transaction_calls.lock(c, transaction, table));
}

/// Runs the plan in the input. 0 if all rows are in the output, else the query's number.
pub export fn aero_query_open(connection: u32, transaction: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, query_calls.open(c, transaction, size));
}

/// Puts the next rows of a query into the output. 1 if more follow, 0 if it has ended.
pub export fn aero_query_next(connection: u32, query: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, query_calls.next(c, query));
}

/// Ends a query before its last rows.
pub export fn aero_query_close(connection: u32, query: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, query_calls.close(c, query));
}

/// Computes the aggregates behind the plan in the input: one `Request` for each. Puts an `Answer`
/// for each into the output. Returns the bytes.
pub export fn aero_query_aggregate(connection: u32, transaction: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, set_calls.aggregates(c, transaction, size));
}

/// Changes every row of the plan in the input as what follows the plan says, within a transaction.
/// The control block has the number of rows.
pub export fn aero_query_update(connection: u32, transaction: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, set_calls.update(c, transaction, size));
}

/// Deletes every row of the plan in the input, within a transaction. The control block has the
/// number of rows.
pub export fn aero_query_delete(connection: u32, transaction: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, set_calls.delete(c, transaction, size));
}

/// Runs the plan in the input and gives no rows, but puts into the output what it took: a `Report`
/// and a `Step` for each test. Returns the bytes.
pub export fn aero_query_measure(connection: u32, transaction: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, set_calls.measure(c, transaction, size));
}

/// Begins an ingest by the options in the input. Returns its number.
pub export fn aero_ingest_begin(connection: u32, table: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, ingest_calls.begin(c, table, size));
}

/// Feeds the text in the input. With `last` other than 0 the text ends with it.
pub export fn aero_ingest_feed(connection: u32, ingest: u32, size: u32, last: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, ingest_calls.feed(c, ingest, size, last != 0));
}

/// Ends an ingest, finished or not.
pub export fn aero_ingest_end(connection: u32, ingest: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, ingest_calls.end(c, ingest));
}

/// The position that everything committed so far is at or before.
pub export fn aero_position(connection: u32) f64 {
    const c = enter(connection) orelse return Status.closed.codeF64();
    return @floatFromInt(durable_calls.lastPosition(c));
}

/// 1 if the position is on disk, 0 if it may get there.
pub export fn aero_durable_poll(connection: u32, position: f64) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, durable_calls.poll(c, position));
}

/// Asks the log to bring the position to disk soon, and does not wait for it.
pub export fn aero_durable_request(connection: u32, position: f64) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, durable_calls.request(c, position));
}

/// As `aero_durable_request`, and blocks until it is there: 1, or 0 after `timeout_ms` (all ones:
/// never).
pub export fn aero_durable_wait(connection: u32, position: f64, timeout_ms: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, durable_calls.waitFor(c, position, timeout_ms));
}

/// As `aero_durable_request`, and has a waker woken when the position is on disk or cannot get
/// there. 1 if it is there already, else 0. A connection has one such wait: the last one.
pub export fn aero_durable_arm(connection: u32, waker: u32, position: f64) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, durable_calls.arm(c, waker, position));
}

/// Writes a checkpoint or a backup, and blocks until it is done. `kind` is a `tasks.Kind`; the path
/// of a backup stands in the input. Returns the bytes of JSON in the output.
pub export fn aero_task_perform(connection: u32, kind: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, tasks.performNow(c, kind, size));
}

/// As `aero_task_perform`, in a thread of its own. Returns the number of the task. The waker is
/// woken when it has ended, and now and then before.
pub export fn aero_task_start(connection: u32, waker: u32, kind: u32, size: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, tasks.start(c, waker, kind, size));
}

/// Puts how far a task is into the output, as JSON, or its result. Returns its bytes. A task that
/// has ended is forgotten.
pub export fn aero_task_poll(connection: u32, task: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, tasks.poll(c, task));
}

/// Makes a waker for the calling thread. Returns its number, at least 1.
pub export fn aero_waker_open() i32 {
    const number = durable_calls.notifier.open() catch |err| return status.fromError(err).code();
    return @intCast(number);
}

/// The socket on which a waker's bytes arrive. It belongs to the caller.
pub export fn aero_waker_descriptor(waker: u32) i32 {
    return durable_calls.notifier.descriptor(waker) orelse Status.bad_argument.code();
}

/// Closes a waker, but not the socket that the caller has.
pub export fn aero_waker_close(waker: u32) i32 {
    return if (durable_calls.notifier.close(waker)) 0 else Status.bad_argument.code();
}

/// Changes a setting of the region. `setting` is a `Setting`.
pub export fn aero_config_set(connection: u32, setting: u32, value: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, config_calls.set(c, setting, value));
}

/// The value of a setting, or a negative status.
pub export fn aero_config_get(connection: u32, setting: u32) f64 {
    const c = enter(connection) orelse return @floatFromInt(closed());
    return config_calls.get(c, setting) catch |err| @floatFromInt(c.fail(err));
}

/// Puts counts and sizes into the output, as JSON. Returns its bytes.
pub export fn aero_stats(connection: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, report_calls.stats(c));
}

/// Checks the region and puts what was found into the output, as JSON. Returns its bytes.
pub export fn aero_verify(connection: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, report_calls.verify(c));
}

/// The open connection of that number, ready for a call.
inline fn enter(number: u32) ?*Connection {
    const c = connection_module.find(number) orelse return null;
    c.detail.clear();
    os.clearErrno();
    return c;
}

fn closed() i32 {
    @branchHint(.cold);
    return Status.closed.code();
}

inline fn done(c: *Connection, outcome: Error!void) i32 {
    outcome catch |err| return c.fail(err);
    return 0;
}

inline fn truth(c: *Connection, outcome: Error!bool) i32 {
    return @intFromBool(outcome catch |err| return c.fail(err));
}

inline fn count(c: *Connection, outcome: Error!u32) i32 {
    const number = outcome catch |err| return c.fail(err);
    return @intCast(number);
}

fn copyText(text: []const u8, buffer: ?[*]u8, size: u32) i32 {
    const to = buffer orelse return Status.bad_argument.code();
    const length = @min(text.len, size);
    @memcpy(to[0..length], text[0..length]);
    return @intCast(text.len);
}
