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
const ingest_calls = @import("ingest_calls.zig");
const os = @import("os.zig");
const query_calls = @import("query_calls.zig");
const region_file = @import("region_file.zig");
const report_calls = @import("report_calls.zig");
const row_calls = @import("row_calls.zig");
const status = @import("status.zig");
const transaction_calls = @import("transaction_calls.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Status = status.Status;

pub const buffer_size = connection_module.buffer_size;
pub const RowsFlags = row_calls.RowsFlags;
pub const TransactionFlags = transaction_calls.TransactionFlags;
pub const Setting = config_calls.Setting;

/// Flags of `aero_open`.
pub const OpenFlags = packed struct(u32) {
    /// Refuse all writes of this connection.
    read_only: bool = false,
    /// The path is the name of a store without a data directory.
    ephemeral: bool = false,
    /// Fail if the store does not exist.
    must_exist: bool = false,
    reserved: u29 = 0,
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

/// Copies why this thread's last `aero_open` failed. Returns the bytes of the whole text.
pub export fn aero_open_error(buffer: ?[*]u8, size: u32) i32 {
    return copyText(connection_module.openDetail(), buffer, size);
}

/// Closes a connection. All memory that it showed must have been let go before.
pub export fn aero_close(connection: u32) i32 {
    const c = connection_module.find(connection) orelse return closed();
    connection_module.close(c);
    return 0;
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

/// Copies the row of the key in the input to the output. 1, or 0 if there is none.
pub export fn aero_row_get(connection: u32, transaction: u32, table: u32) i32 {
    const c = enter(connection) orelse return closed();
    return truth(c, row_calls.get(c, transaction, table));
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

/// Where in the region the payload of the row of the key in the input stands, in units of 8 bytes;
/// 0 if there is no row. Valid until the transaction ends.
pub export fn aero_row_view(connection: u32, transaction: u32, table: u32) f64 {
    const c = enter(connection) orelse return Status.closed.codeF64();
    return row_calls.view(c, transaction, table) catch |err| @floatFromInt(c.fail(err));
}

/// Begins a transaction. Returns its number, at least 1. `flags` is a `TransactionFlags`.
pub export fn aero_transaction_begin(connection: u32, flags: u32) i32 {
    const c = enter(connection) orelse return closed();
    return count(c, transaction_calls.begin(c, @bitCast(flags)));
}

pub export fn aero_transaction_commit(connection: u32, transaction: u32) i32 {
    const c = enter(connection) orelse return closed();
    return done(c, transaction_calls.commit(c, transaction));
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
            .size_max = region_file.sizeOf(size) orelse return null,
            .shm_path = shm_path,
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
