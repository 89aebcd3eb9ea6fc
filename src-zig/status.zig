//! Every answer the library gives to TypeScript, with its number.
//!
//! A function of the ABI returns 0 or more when it worked and the negative of one of these numbers
//! when it did not. The numbers are part of the ABI: append, never renumber, never reuse.

const std = @import("std");
const assert = std.debug.assert;

pub const Status = enum(i32) {
    ok = 0,
    bad_argument = 1,
    not_aerostore = 2,
    layout_version = 3,
    corrupt = 4,
    region_lost = 5,
    region_full = 6,
    permission_denied = 7,
    io_error = 8,
    busy = 9,
    too_many_transactions = 10,
    too_many_processes = 11,
    schema_mismatch = 12,
    unknown_table = 13,
    unknown_column = 14,
    duplicate_key = 15,
    not_found = 16,
    value_too_long = 17,
    type_mismatch = 18,
    not_null_violation = 19,
    unique_violation = 20,
    serialization_failure = 21,
    closed = 22,
    view_expired = 23,
    unsafe_integer = 24,
    not_a_number = 25,
    unsupported_platform = 26,
    invalid_list = 27,
    unknown_option = 28,
    unsupported_operator = 29,
    wrong_arity = 30,
    unknown_parameter = 31,
    invalid_query = 32,
    invalid_schema = 33,
    bad_line = 34,
    transaction_closed = 35,
    read_only = 36,
    abi_mismatch = 37,
    library_not_found = 38,
    snapshot_revoked = 39,
    disk_full = 40,
    not_supported = 41,
    already_open = 42,
    internal = 43,
    log_failed = 44,
    durability_unknown = 45,

    /// One line that completes "Cannot do this: ...". It goes into the generated TypeScript.
    pub fn text(status: Status) []const u8 {
        return switch (status) {
            .ok => "it worked",
            .bad_argument => "an argument is out of its range",
            .not_aerostore => "the file is not an Aerostore file",
            .layout_version => "the region was made by another version of Aerostore",
            .corrupt => "stored bytes contradict each other",
            .region_lost => "the region was removed or replaced while processes use it",
            .region_full => "the region has no room left",
            .permission_denied => "the operating system denies access, or the file is not private",
            .io_error => "the operating system reports an error",
            .busy => "somebody else holds it for too long",
            .too_many_transactions => "all transaction slots are taken",
            .too_many_processes => "all process entries are taken",
            .schema_mismatch => "the declared table differs from the stored one",
            .unknown_table => "there is no such table",
            .unknown_column => "there is no such column",
            .duplicate_key => "a row with this primary key exists",
            .not_found => "there is no row with this primary key",
            .value_too_long => "the value is longer than its column",
            .type_mismatch => "the value does not fit the type of its column",
            .not_null_violation => "the column does not take null",
            .unique_violation => "another row has this value in a unique index",
            .serialization_failure => "another transaction changed what this one has read",
            .closed => "the database is closed",
            .view_expired => "the row view outlived its transaction",
            .unsafe_integer => "the integer does not fit a JavaScript number exactly",
            .not_a_number => "NaN cannot be stored",
            .unsupported_platform => "Aerostore does not run on this platform",
            .invalid_list => "the list is malformed",
            .unknown_option => "there is no such option",
            .unsupported_operator => "there is no such operator",
            .wrong_arity => "the operator has another number of operands",
            .unknown_parameter => "the parameter has no value",
            .invalid_query => "the query contradicts itself",
            .invalid_schema => "the table cannot be declared like this",
            .bad_line => "a line of the input cannot be a row",
            .transaction_closed => "the transaction has ended",
            .read_only => "it was opened for reading only",
            .abi_mismatch => "the native library belongs to another version of the module",
            .library_not_found => "the native library cannot be loaded",
            .snapshot_revoked => "the snapshot was given up to free memory",
            .disk_full => "the disk is full",
            .not_supported => "this version cannot do it",
            .already_open => "it is open already with other options",
            .internal => "Aerostore has a bug or is out of memory",
            .log_failed => "the log cannot be written",
            .durability_unknown => "the commit is visible, but perhaps not on disk",
        };
    }

    /// The value an ABI function returns for this status: 0 for `ok`, else negative.
    pub fn code(status: Status) i32 {
        return -@intFromEnum(status);
    }

    /// As `code`, for the functions that return an `f64`.
    pub fn codeF64(status: Status) f64 {
        return @floatFromInt(status.code());
    }
};

/// The error of a status: `error.RegionFull` for `region_full`. Modules may raise any of them by
/// that name; `fromError` finds the number.
pub const Error = error{
    BadArgument,
    NotAerostore,
    LayoutVersion,
    Corrupt,
    RegionLost,
    RegionFull,
    PermissionDenied,
    IoError,
    Busy,
    TooManyTransactions,
    TooManyProcesses,
    SchemaMismatch,
    UnknownTable,
    UnknownColumn,
    DuplicateKey,
    NotFound,
    ValueTooLong,
    TypeMismatch,
    NotNullViolation,
    UniqueViolation,
    SerializationFailure,
    Closed,
    ViewExpired,
    UnsafeInteger,
    NotANumber,
    UnsupportedPlatform,
    InvalidList,
    UnknownOption,
    UnsupportedOperator,
    WrongArity,
    UnknownParameter,
    InvalidQuery,
    InvalidSchema,
    BadLine,
    TransactionClosed,
    ReadOnly,
    AbiMismatch,
    LibraryNotFound,
    SnapshotRevoked,
    DiskFull,
    NotSupported,
    AlreadyOpen,
    Internal,
    LogFailed,
    DurabilityUnknown,
};

/// Maps an error to its status. The error set of `err` is walked at compile time, so an error
/// without a number does not compile.
pub fn fromError(err: anytype) Status {
    const Set = @TypeOf(err);
    const errors = @typeInfo(Set).error_set orelse
        @compileError("fromError needs a closed error set, not anyerror");
    inline for (errors) |candidate| {
        if (err == @field(Set, candidate.name)) return comptime statusOfName(candidate.name);
    }
    unreachable;
}

fn statusOfName(comptime name: []const u8) Status {
    @setEvalBranchQuota(100_000);
    // The process is out of memory of its own: nothing the caller did, so not `region_full`.
    if (std.mem.eql(u8, name, "OutOfMemory")) return .internal;
    for (@typeInfo(Status).@"enum".fields) |field| {
        if (std.mem.eql(u8, errorName(field.name), name)) return @field(Status, field.name);
    }
    @compileError("error." ++ name ++ " has no number in Status");
}

/// `region_full` to `RegionFull`.
fn errorName(comptime field: []const u8) []const u8 {
    var result: []const u8 = "";
    var upper = true;
    for (field) |byte| {
        if (byte == '_') {
            upper = true;
            continue;
        }
        result = result ++ [_]u8{if (upper) std.ascii.toUpper(byte) else byte};
        upper = false;
    }
    return result;
}

/// What an error was about, in words: `column "altitude" is int32 here and text in the region`.
/// TypeScript puts it behind what was attempted. Starts with a small letter, ends without a period.
pub const Detail = struct {
    buffer: [capacity]u8 = undefined,
    len: u32 = 0,

    pub const capacity = 1024;

    /// Replaces the text; what does not fit is cut off.
    pub fn set(detail: *Detail, comptime fmt: []const u8, args: anytype) void {
        var writer: std.Io.Writer = .fixed(&detail.buffer);
        writer.print(fmt, args) catch {};
        detail.len = @intCast(writer.end);
    }

    /// Appends to what was set.
    pub fn add(detail: *Detail, comptime fmt: []const u8, args: anytype) void {
        var writer: std.Io.Writer = .fixed(detail.buffer[detail.len..]);
        writer.print(fmt, args) catch {};
        detail.len += @intCast(writer.end);
    }

    pub fn clear(detail: *Detail) void {
        detail.len = 0;
    }

    pub fn text(detail: *const Detail) []const u8 {
        return detail.buffer[0..detail.len];
    }
};

comptime {
    @setEvalBranchQuota(200_000);
    const fields = @typeInfo(Status).@"enum".fields;
    for (fields, 0..) |field, i| assert(field.value == i);
    const errors = @typeInfo(Error).error_set.?;
    assert(errors.len + 1 == fields.len);
    for (errors) |err| assert(statusOfName(err.name) != .ok);
}

test "Status.text: says something short about every number" {
    for (std.enums.values(Status)) |status| {
        try std.testing.expect(status.text().len > 0);
        try std.testing.expect(status.text().len < 80);
    }
}

test "Detail.set: replaces the text and cuts what does not fit" {
    var detail: Detail = .{};
    detail.set("row {d}", .{12345});
    detail.set("row {d}", .{7});
    try std.testing.expectEqualStrings("row 7", detail.text());
    const long: [2 * Detail.capacity]u8 = @splat('x');
    detail.set("{s}", .{&long});
    try std.testing.expectEqual(@as(u32, Detail.capacity), detail.len);
}

test "fromError: finds the number of an error by its name" {
    const few: error{ RegionFull, OutOfMemory, NotANumber } = error.RegionFull;
    try std.testing.expectEqual(Status.region_full, fromError(few));
    const all: Error = error.NotANumber;
    try std.testing.expectEqual(Status.not_a_number, fromError(all));
    try std.testing.expectEqual(@as(i32, -25), fromError(all).code());
}
