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
const opening = @import("opening.zig");
const os = @import("os.zig");
const query_calls = @import("query_calls.zig");
const store_options = @import("store_options.zig");
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
pub const RowsFlags = row_calls.RowsFlags;
pub const TransactionFlags = transaction_calls.TransactionFlags;
pub const Setting = config_calls.Setting;
pub const TaskKind = tasks.Kind;

/// Flags of `aero_open`.
pub const OpenFlags = packed struct(u32) {
    /// Refuse all writes of this connection.
    read_only: bool = false,
    /// The path is the name of a store without a data directory.
    ephemeral: bool = false,
    /// Fail if the store does not exist.
    must_exist: bool = false,
    /// If the log is damaged in its middle, open what stands before the damage.
    salvage_prefix: bool = false,
    /// Do without commits that are only in a region of another layout.
    salvage_files: bool = false,
    /// Take a region that nobody uses only if it was closed with everything on disk.
    warm_clean_only: bool = false,
    /// Take none that nobody uses.
    warm_never: bool = false,
    reserved: u25 = 0,
};

/// Identifies everything that the two sides must agree about.
pub export fn aero_abi_hash() f64 {
    return @floatFromInt(abi_surface.hash);
}

/// Copies the version of the library to `buffer`. Returns its bytes, which may be more than `size`.
pub export fn aero_library_version(buffer: ?[*]u8, size: u32) i32 {
    return copyText(build_options.version, buffer, size);
}

/// Opens what the options say. Returns the number of the connection, at least 1.
///
/// Options: u32 flags, u32 0, f64 most bytes of a new region (0: the default), u32 size and bytes
/// of the path, u32 size and bytes of the region's path (may be empty).
pub export fn aero_open(options: ?[*]const u8, size: u32) i32 {
    const bytes = options orelse return Status.bad_argument.code();
    const decoded = decodeOptions(bytes[0..size]) orelse return Status.bad_argument.code();
    const number = connection_module.open(decoded) catch |err| return status.fromError(err).code();
    return @intCast(number);
}

/// As `aero_open`, in a thread of its own: `aero_open_wait` tells how far it is.
pub export fn aero_open_begin(options: ?[*]const u8, size: u32) i32 {
    const bytes = options orelse return Status.bad_argument.code();
    opening.begin(bytes[0..size], decodeOptions) catch |err| return status.fromError(err).code();
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
    const decoded = decodeOptions(bytes[0..size]) orelse return Status.bad_argument.code();
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

fn decodeOptions(bytes: []const u8) ?connection_module.Options {
    if (bytes.len < 20) return null;
    const flags: OpenFlags = @bitCast(std.mem.readInt(u32, bytes[0..4], .little));
    const size: f64 = @bitCast(std.mem.readInt(u64, bytes[8..16], .little));
    var rest = bytes[16..];
    const path = takeText(&rest) orelse return null;
    const shm_path = takeText(&rest) orelse return null;
    if (flags.reserved != 0 or rest.len != 0) return null;
    return .{
        .read_only = flags.read_only,
        .store = .{
            .path = path,
            .ephemeral = flags.ephemeral,
            .must_exist = flags.must_exist,
            .read_only = flags.read_only,
            .size_max = store_options.sizeOf(size) orelse return null,
            .shm_path = shm_path,
            .salvage = if (flags.salvage_prefix) .prefix else .none,
            .gives_up_region = flags.salvage_files,
            .warm = if (flags.warm_never)
                .never
            else if (flags.warm_clean_only) .clean_only else .always,
        },
    };
}

fn takeText(rest: *[]const u8) ?[]const u8 {
    if (rest.len < 4) return null;
    const size = std.mem.readInt(u32, rest.*[0..4], .little);
    if (size > rest.len - 4) return null;
    defer rest.* = rest.*[4 + size ..];
    return rest.*[4..][0..size];
}

const testing = std.testing;
const linux = std.os.linux;
const abi_control = @import("abi_control.zig");
const plan_encoder = @import("plan_encoder.zig");
const result = @import("result.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const TestWriter = @import("schema_blob.zig").TestWriter;

/// A store in a directory of its own, used as TypeScript would use it.
const TestStore = struct {
    directory: os.Path,
    options: std.ArrayList(u8) = .empty,

    fn init(store: *TestStore) !void {
        var salt: [8]u8 = undefined;
        try os.random(&salt);
        store.* = .{
            .directory = try os.Path.format("/dev/shm/aerostore-test-abi-{x}", .{&salt}),
        };
        try os.makeDirectory(&store.directory);
        try store.encode(.{}, 8 << 20);
    }

    fn deinit(store: *TestStore) void {
        store.options.deinit(testing.allocator);
        os.eachName(&store.directory, &store.directory, struct {
            fn visit(directory: *os.Path, name: []const u8) void {
                const path = directory.join(name) catch unreachable;
                os.unlink(&path) catch {};
            }
        }.visit) catch {};
        _ = linux.unlinkat(linux.AT.FDCWD, store.directory.z(), linux.AT.REMOVEDIR);
    }

    fn encode(store: *TestStore, flags: OpenFlags, size: f64) !void {
        const gpa = testing.allocator;
        const list = &store.options;
        list.clearRetainingCapacity();
        try list.appendSlice(gpa, std.mem.asBytes(&@as(u32, @bitCast(flags))));
        try list.appendSlice(gpa, &@as([4]u8, @splat(0)));
        try list.appendSlice(gpa, std.mem.asBytes(&size));
        for (0..2) |_| { // The region stands in the data directory.
            try list.appendSlice(gpa, std.mem.asBytes(&store.directory.len));
            try list.appendSlice(gpa, store.directory.slice());
        }
    }

    fn open(store: *TestStore) i32 {
        return aero_open(store.options.items.ptr, @intCast(store.options.items.len));
    }

    fn mustOpen(store: *TestStore) !Isolate {
        const number = store.open();
        try testing.expect(number > 0);
        return .init(@intCast(number));
    }
};

/// What an isolate knows of its connection.
const Isolate = struct {
    number: u32,
    control: *const abi_control.Control,
    input: []align(8) u8,
    output: []align(8) u8,
    table: table_info.TableInfo,

    fn init(number: u32) !Isolate {
        const control: *const abi_control.Control = at(aero_connection_control(number));
        const input: [*]align(8) u8 = @ptrCast(at(control.input_address));
        const output: [*]align(8) u8 = @ptrCast(at(control.output_address));
        var isolate: Isolate = .{
            .number = number,
            .control = control,
            .input = input[0..control.input_size],
            .output = output[0..control.output_size],
            .table = undefined,
        };
        var blob = try TestWriter.flights("flights");
        defer blob.deinit();
        @memcpy(isolate.input[0..blob.bytes.items.len], blob.bytes.items);
        const id = aero_table_declare(number, @intCast(blob.bytes.items.len));
        try testing.expectEqual(@as(i32, 0), id);
        const connection = connection_module.find(number).?;
        isolate.table = (try connection.table(0)).*;
        return isolate;
    }

    fn at(address: f64) *align(8) abi_control.Control {
        return @ptrFromInt(@as(usize, @intFromFloat(address)));
    }

    /// Puts a record into the input and returns its size.
    fn putRow(isolate: *Isolate, id: []const u8, altitude: i32) !u32 {
        return isolate.putRowAt(0, id, altitude);
    }

    fn putRowAt(isolate: *Isolate, offset: usize, id: []const u8, altitude: i32) !u32 {
        const to: []align(8) u8 = @alignCast(isolate.input[offset..]);
        const payload: []align(8) u8 = @alignCast(to[result.record_header_size..]);
        var builder: row_module.Builder = .init(&isolate.table, payload);
        try builder.setText(0, id);
        builder.setInt32(1, altitude);
        try builder.setText(2, "A320");
        builder.setFloat64(3, 1.5);
        const row = builder.finish();
        const header: *result.RecordHeader = @ptrCast(to.ptr);
        header.* = .{
            .record_bytes = result.record_header_size + row.size,
            .null_mask = row.null_mask,
            .column_mask = isolate.table.allColumns(),
        };
        return header.record_bytes;
    }

    fn putKey(isolate: *Isolate, id: []const u8) void {
        std.mem.writeInt(u16, isolate.input[0..2], @intCast(id.len), .little);
        @memcpy(isolate.input[2..][0..id.len], id);
    }

    fn altitudeInOutput(isolate: *Isolate) i32 {
        const row = result.readRecord(isolate.output.ptr);
        return row.int32(isolate.table.columns[1].offset);
    }

    fn expectError(isolate: *Isolate, expected: Status, answer: i32, text: []const u8) !void {
        try testing.expectEqual(expected.code(), answer);
        try testing.expectEqual(-expected.code(), @as(i32, @intCast(isolate.control.error_status)));
        const detail = isolate.control.error_detail[0..isolate.control.error_detail_length];
        try testing.expect(std.mem.indexOf(u8, detail, text) != null);
    }
};

test "aero_open: refuses options that make no sense, and says why opening failed" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const bad_argument = Status.bad_argument.code();
    try testing.expectEqual(bad_argument, aero_open(null, 0));
    const options = store.options.items;
    for (0..options.len) |size| {
        try testing.expectEqual(bad_argument, aero_open(options.ptr, @intCast(size)));
    }
    for ([_]f64{ -1, 1, 1e300, std.math.nan(f64) }) |size| {
        try store.encode(.{}, size);
        try testing.expectEqual(bad_argument, store.open());
    }
    try store.encode(.{ .must_exist = true }, 0);
    try testing.expectEqual(Status.not_found.code(), store.open());
    var text: [200]u8 = undefined;
    const size: usize = @intCast(aero_open_error(&text, text.len));
    try testing.expect(std.mem.startsWith(u8, text[0..size], "cannot open \"/dev/shm/") or
        std.mem.startsWith(u8, text[0..size], "there is no database"));
}

test "aero_close: its connection is closed for ever, and no other one" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const a = try store.mustOpen();
    const b = try store.mustOpen();
    try testing.expectEqual(@as(i32, 0), aero_close(a.number));
    const c = try store.mustOpen();
    try testing.expect(c.number != a.number);
    for ([_]u32{ 0, 1, a.number, std.math.maxInt(u32) }) |number| {
        try testing.expectEqual(Status.closed.code(), aero_close(number));
        try testing.expectEqual(Status.closed.code(), aero_row_get(number, 0, 0));
        try testing.expectEqual(Status.closed.codeF64(), aero_row_count(number, 0));
        try testing.expectEqual(Status.closed.codeF64(), aero_connection_control(number));
    }
    try testing.expectEqual(@as(f64, 0), aero_row_count(b.number, 0));
    try testing.expectEqual(@as(i32, 0), aero_close(b.number));
    try testing.expectEqual(@as(i32, 0), aero_close(c.number));
}

test "rows: go in and come out, and errors say what was wrong" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    try testing.expectEqual(@as(i32, 0), aero_row_insert(c, 0, 0, try isolate.putRow("UAL1", 10)));
    const again = try isolate.putRow("UAL1", 11);
    try testing.expectEqual(Status.duplicate_key.code(), aero_row_insert(c, 0, 0, again));
    try testing.expectEqual(@as(i32, 0), aero_row_upsert(c, 0, 0, again));
    isolate.putKey("UAL1");
    try testing.expectEqual(@as(i32, 1), aero_row_get(c, 0, 0));
    try testing.expectEqual(@as(i32, 11), isolate.altitudeInOutput());
    try testing.expectEqual(@as(f64, 1), aero_row_count(c, 0));
    try testing.expect(isolate.control.position > 1);
    try testing.expectEqual(@as(i32, 1), aero_row_delete(c, 0, 0));
    try testing.expectEqual(@as(i32, 0), aero_row_delete(c, 0, 0));
    try testing.expectEqual(@as(i32, 0), aero_row_has(c, 0, 0));

    try isolate.expectError(.unknown_table, aero_row_get(c, 0, 7), "no table 7");
    try isolate.expectError(.bad_argument, aero_row_insert(c, 0, 0, 8), "a record of");
    try isolate.expectError(.bad_argument, aero_rows_get(c, 0, 0, 0, 1 << 17), "no 131072 keys");
    try isolate.expectError(.bad_argument, aero_rows_get(c, 0, 0, 2, 1), "no 1 keys");
    try isolate.expectError(.transaction_closed, aero_row_get(c, 9, 0), "has ended");
    const size: u32 = buffer_size + 1;
    try isolate.expectError(.bad_argument, aero_table_declare(c, size), "input buffer");
}

test "rows: many at once are all written or none, and the bad one is named" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    var size: u32 = 0;
    for ([_][]const u8{ "C", "A", "D", "A", "B" }, 0..) |id, i| {
        size += try isolate.putRowAt(size, id, @intCast(i));
    }
    const insert: u32 = @bitCast(RowsFlags{ .insert = true });
    const inserted = aero_rows_upsert(c, 0, 0, 5, size, insert);
    try testing.expectEqual(Status.duplicate_key.code(), inserted);
    try testing.expectEqual(@as(u32, 3), isolate.control.failed_index);
    try testing.expectEqual(@as(f64, 0), aero_row_count(c, 0));
    const one_by_one: u32 = @bitCast(RowsFlags{ .insert = true, .row_by_row = true });
    const some = aero_rows_upsert(c, 0, 0, 5, size, one_by_one);
    try testing.expectEqual(Status.duplicate_key.code(), some);
    try testing.expectEqual(@as(u32, 3), isolate.control.failed_index);
    try testing.expectEqual(@as(f64, 3), aero_row_count(c, 0));
    try testing.expectEqual(@as(i32, 5), aero_rows_upsert(c, 0, 0, 5, size, 0));
    try testing.expectEqual(@as(f64, 4), aero_row_count(c, 0));
    isolate.putKey("A");
    try testing.expectEqual(@as(i32, 1), aero_row_get(c, 0, 0));
    try testing.expectEqual(@as(i32, 3), isolate.altitudeInOutput());
}

test "transactions: own rows are seen, viewed, rolled back, and lost without a commit" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    const tx: u32 = @intCast(aero_transaction_begin(c, 0));
    try testing.expectEqual(@as(i32, 0), aero_row_insert(c, tx, 0, try isolate.putRow("A", 1)));
    const place: u32 = @intCast(aero_transaction_savepoint(c, tx));
    try testing.expectEqual(@as(i32, 0), aero_row_upsert(c, tx, 0, try isolate.putRow("A", 2)));
    isolate.putKey("A");
    const in_output: f64 = row_calls.view_in_output;
    try testing.expectEqual(in_output, aero_row_view(c, tx, 0));
    try testing.expectEqual(@as(i32, 2), isolate.altitudeInOutput());
    try testing.expectEqual(@as(i32, 0), aero_row_get(c, 0, 0));
    try testing.expectEqual(@as(i32, 0), aero_transaction_rollback_to(c, tx, place));
    try isolate.expectError(.bad_argument, aero_transaction_rollback_to(c, tx, 2), "savepoint 2");
    try testing.expectEqual(@as(i32, 1), aero_row_get(c, tx, 0));
    try testing.expectEqual(@as(i32, 1), isolate.altitudeInOutput());
    try testing.expectEqual(@as(i32, 0), aero_transaction_commit(c, tx, 0));
    try testing.expectEqual(@as(i32, 1), aero_row_get(c, 0, 0));
    const ended = aero_transaction_commit(c, tx, 0);
    try isolate.expectError(.transaction_closed, ended, "has ended");

    const lost: u32 = @intCast(aero_transaction_begin(c, 0));
    const payload: [*]const u8 = @ptrFromInt(@as(usize, @intFromFloat(
        isolate.control.region_address + aero_row_view(c, lost, 0) * 8,
    )));
    const offset = isolate.table.columns[1].offset;
    try testing.expectEqual(@as(i32, 1), std.mem.readInt(i32, payload[offset..][0..4], .little));
    try testing.expectEqual(@as(i32, 1), aero_row_delete(c, lost, 0));
    try testing.expectEqual(@as(i32, 0), aero_transaction_abort(c, lost));
    try testing.expectEqual(@as(f64, 1), aero_row_count(c, 0));
}

test "transactions: what another one changed is a serialization failure that names the row" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    try testing.expectEqual(@as(i32, 0), aero_row_insert(c, 0, 0, try isolate.putRow("A", 1)));
    const tx: u32 = @intCast(aero_transaction_begin(c, 0));
    isolate.putKey("A");
    try testing.expectEqual(@as(i32, 1), aero_row_get(c, tx, 0));
    try testing.expectEqual(@as(i32, 0), aero_row_upsert(c, 0, 0, try isolate.putRow("A", 2)));
    try testing.expectEqual(@as(i32, 0), aero_row_insert(c, tx, 0, try isolate.putRow("B", 1)));
    const outcome = aero_transaction_commit(c, tx, 0);
    try isolate.expectError(.serialization_failure, outcome, "row \"A\" of table \"flights\"");
    try testing.expectEqual(@as(f64, 1), aero_row_count(c, 0));
}

test "queries: give batches of one snapshot, and end early" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    const total = 15_000;
    var name: [8]u8 = undefined;
    for (0..total) |i| {
        const id = try std.fmt.bufPrint(&name, "R{d}", .{i});
        const size = try isolate.putRow(id, @intCast(i));
        try testing.expectEqual(@as(i32, 0), aero_row_insert(c, 0, 0, size));
    }
    var encoder: plan_encoder.Encoder = .init(testing.allocator, 0);
    defer encoder.deinit();
    const blob = try encoder.finish();
    @memcpy(isolate.input[0..blob.len], blob);
    const size: u32 = @intCast(blob.len);
    const query = aero_query_open(c, 0, size);
    try testing.expect(query > 0);
    var rows = isolate.control.result_rows;
    // Written between two batches, and so not in the second one.
    try testing.expectEqual(@as(i32, 0), aero_row_insert(c, 0, 0, try isolate.putRow("X", 1)));
    while (aero_query_next(c, @intCast(query)) == 1) rows += isolate.control.result_rows;
    rows += isolate.control.result_rows;
    try testing.expectEqual(@as(u32, total), rows);
    const ended = aero_query_next(c, @intCast(query));
    try isolate.expectError(.closed, ended, "the query has ended");

    @memcpy(isolate.input[0..blob.len], blob);
    const second = aero_query_open(c, 0, size);
    try testing.expectEqual(@as(i32, 0), aero_query_close(c, @intCast(second)));
    isolate.input[6] = 9;
    try isolate.expectError(.bad_argument, aero_query_open(c, 0, size), "unknown route");
}

test "reports: are JSON, and verify finds nothing lost" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    try testing.expectEqual(@as(i32, 0), aero_row_insert(c, 0, 0, try isolate.putRow("A", 1)));
    for ([_]i32{ aero_catalogue_read(c), aero_stats(c), aero_verify(c) }) |size| {
        try testing.expect(size > 0); // The last one is still in the output.
    }
    const verified = isolate.output[0..@intCast(aero_verify(c))];
    const Report = struct { ok: bool, leaks: u64, rows: u64 };
    const report = try std.json.parseFromSlice(Report, testing.allocator, verified, .{
        .ignore_unknown_fields = true,
    });
    defer report.deinit();
    try testing.expect(report.value.ok and report.value.leaks == 0);
    try testing.expectEqual(@as(u64, 1), report.value.rows);
}

test "read-only connections: refuse writes and create nothing" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const writer = try store.mustOpen();
    defer _ = aero_close(writer.number);
    try store.encode(.{ .read_only = true }, 0);
    var reader = try store.mustOpen(); // Its table is there already.
    const c = reader.number;
    defer _ = aero_close(c);
    const size = try reader.putRow("A", 1);
    try reader.expectError(.read_only, aero_row_upsert(c, 0, 0, size), "reading only");
    var blob = try TestWriter.flights("trains");
    defer blob.deinit();
    @memcpy(reader.input[0..blob.bytes.items.len], blob.bytes.items);
    const declared = aero_table_declare(c, @intCast(blob.bytes.items.len));
    try reader.expectError(.read_only, declared, "does not exist");
}

test "a thread that ends closes its connections and frees their slots" {
    if (!os.supported or !@import("builtin").link_libc) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const main = try store.mustOpen();
    defer _ = aero_close(main.number);
    var numbers: [3]u32 = undefined;
    for (&numbers) |*number| {
        const thread = try std.Thread.spawn(.{}, struct {
            fn run(of: *TestStore, to: *u32) void {
                const isolate = of.mustOpen() catch unreachable;
                to.* = isolate.number;
                _ = aero_transaction_begin(isolate.number, 0);
            }
        }.run, .{ &store, number });
        thread.join();
        try testing.expectEqual(Status.closed.code(), aero_stats(number.*));
    }
    const connection = connection_module.find(main.number).?;
    try testing.expectEqual(@as(u32, 1), connection.store.references);
}

test "a forked child finds its connections closed and can open anew" {
    if (!os.supported or !@import("builtin").link_libc) return error.SkipZigTest;
    // It ends a child that starts threads.
    if (@import("builtin").sanitize_thread) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = aero_close(c);
    const child = std.c.fork();
    if (child == 0) {
        if (aero_stats(c) != Status.closed.code()) linux.exit_group(1);
        var own = store.mustOpen() catch linux.exit_group(2);
        const size = own.putRow("CHILD", 1) catch linux.exit_group(3);
        if (aero_row_insert(own.number, 0, 0, size) != 0) linux.exit_group(4);
        linux.exit_group(if (aero_close(own.number) == 0) 0 else 5);
    }
    var exit: u32 = 0;
    _ = linux.waitpid(child, &exit, 0);
    try testing.expectEqual(@as(u32, 0), exit);
    isolate.putKey("CHILD");
    try testing.expectEqual(@as(i32, 1), aero_row_get(c, 0, 0));
}

test "aero_library_version: is the one of the package" {
    var text: [32]u8 = undefined;
    const size: usize = @intCast(aero_library_version(&text, text.len));
    try testing.expectEqualStrings(build_options.version, text[0..size]);
    try testing.expectEqual(Status.bad_argument.code(), aero_library_version(null, 0));
}
