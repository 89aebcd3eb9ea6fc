//! The exported functions, called as TypeScript calls them: numbers, and bytes in the buffers of a
//! connection.

const std = @import("std");
const builtin = @import("builtin");
const build_options = @import("build_options");
const abi = @import("abi.zig");
const abi_control = @import("abi_control.zig");
const connection_module = @import("connection.zig");
const os = @import("os.zig");
const plan_encoder = @import("plan_encoder.zig");
const result = @import("result.zig");
const row_calls = @import("row_calls.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const Status = @import("status.zig").Status;
const TestWriter = @import("schema_blob.zig").TestWriter;
const linux = std.os.linux;
const testing = std.testing;

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

    fn encode(store: *TestStore, flags: abi.OpenFlags, size: f64) !void {
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
        return abi.aero_open(store.options.items.ptr, @intCast(store.options.items.len));
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
        const control: *const abi_control.Control = at(abi.aero_connection_control(number));
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
        const id = abi.aero_table_declare(number, @intCast(blob.bytes.items.len));
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
    try testing.expectEqual(bad_argument, abi.aero_open(null, 0));
    const options = store.options.items;
    for (0..options.len) |size| {
        try testing.expectEqual(bad_argument, abi.aero_open(options.ptr, @intCast(size)));
    }
    for ([_]f64{ -1, 1, 1e300, std.math.nan(f64) }) |size| {
        try store.encode(.{}, size);
        try testing.expectEqual(bad_argument, store.open());
    }
    try store.encode(.{ .must_exist = true }, 0);
    try testing.expectEqual(Status.not_found.code(), store.open());
    var text: [200]u8 = undefined;
    const size: usize = @intCast(abi.aero_open_error(&text, text.len));
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
    try testing.expectEqual(@as(i32, 0), abi.aero_close(a.number));
    const c = try store.mustOpen();
    try testing.expect(c.number != a.number);
    for ([_]u32{ 0, 1, a.number, std.math.maxInt(u32) }) |number| {
        try testing.expectEqual(Status.closed.code(), abi.aero_close(number));
        try testing.expectEqual(Status.closed.code(), abi.aero_row_get(number, 0, 0));
        try testing.expectEqual(Status.closed.codeF64(), abi.aero_row_count(number, 0));
        try testing.expectEqual(Status.closed.codeF64(), abi.aero_connection_control(number));
    }
    try testing.expectEqual(@as(f64, 0), abi.aero_row_count(b.number, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_close(b.number));
    try testing.expectEqual(@as(i32, 0), abi.aero_close(c.number));
}

test "rows: go in and come out, and errors say what was wrong" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    const first = try isolate.putRow("UAL1", 10);
    try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, 0, 0, first));
    const again = try isolate.putRow("UAL1", 11);
    try testing.expectEqual(Status.duplicate_key.code(), abi.aero_row_insert(c, 0, 0, again));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_upsert(c, 0, 0, again));
    isolate.putKey("UAL1");
    try testing.expectEqual(@as(i32, 1), abi.aero_row_get(c, 0, 0));
    try testing.expectEqual(@as(i32, 11), isolate.altitudeInOutput());
    try testing.expectEqual(@as(f64, 1), abi.aero_row_count(c, 0));
    try testing.expect(isolate.control.position > 1);
    try testing.expectEqual(@as(i32, 1), abi.aero_row_delete(c, 0, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_delete(c, 0, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_has(c, 0, 0));

    try isolate.expectError(.unknown_table, abi.aero_row_get(c, 0, 7), "no table 7");
    try isolate.expectError(.bad_argument, abi.aero_row_insert(c, 0, 0, 8), "a record of");
    const too_many = abi.aero_rows_get(c, 0, 0, 0, 1 << 17);
    try isolate.expectError(.bad_argument, too_many, "no 131072 keys");
    try isolate.expectError(.bad_argument, abi.aero_rows_get(c, 0, 0, 2, 1), "no 1 keys");
    try isolate.expectError(.transaction_closed, abi.aero_row_get(c, 9, 0), "has ended");
    const size: u32 = abi.buffer_size + 1;
    try isolate.expectError(.bad_argument, abi.aero_table_declare(c, size), "input buffer");
}

test "rows: many at once are all written or none, and the bad one is named" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    var size: u32 = 0;
    for ([_][]const u8{ "C", "A", "D", "A", "B" }, 0..) |id, i| {
        size += try isolate.putRowAt(size, id, @intCast(i));
    }
    const insert: u32 = @bitCast(abi.RowsFlags{ .insert = true });
    const inserted = abi.aero_rows_upsert(c, 0, 0, 5, size, insert);
    try testing.expectEqual(Status.duplicate_key.code(), inserted);
    try testing.expectEqual(@as(u32, 3), isolate.control.failed_index);
    try testing.expectEqual(@as(f64, 0), abi.aero_row_count(c, 0));
    const one_by_one: u32 = @bitCast(abi.RowsFlags{ .insert = true, .row_by_row = true });
    const some = abi.aero_rows_upsert(c, 0, 0, 5, size, one_by_one);
    try testing.expectEqual(Status.duplicate_key.code(), some);
    try testing.expectEqual(@as(u32, 3), isolate.control.failed_index);
    try testing.expectEqual(@as(f64, 3), abi.aero_row_count(c, 0));
    try testing.expectEqual(@as(i32, 5), abi.aero_rows_upsert(c, 0, 0, 5, size, 0));
    try testing.expectEqual(@as(f64, 4), abi.aero_row_count(c, 0));
    isolate.putKey("A");
    try testing.expectEqual(@as(i32, 1), abi.aero_row_get(c, 0, 0));
    try testing.expectEqual(@as(i32, 3), isolate.altitudeInOutput());
}

test "transactions: own rows are seen, viewed, rolled back, and lost without a commit" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    const tx: u32 = @intCast(abi.aero_transaction_begin(c, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, tx, 0, try isolate.putRow("A", 1)));
    const place: u32 = @intCast(abi.aero_transaction_savepoint(c, tx));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_upsert(c, tx, 0, try isolate.putRow("A", 2)));
    isolate.putKey("A");
    const in_output: f64 = row_calls.view_in_output;
    try testing.expectEqual(in_output, abi.aero_row_view(c, tx, 0));
    try testing.expectEqual(@as(i32, 2), isolate.altitudeInOutput());
    try testing.expectEqual(@as(i32, 0), abi.aero_row_get(c, 0, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_transaction_rollback_to(c, tx, place));
    const unknown = abi.aero_transaction_rollback_to(c, tx, 2);
    try isolate.expectError(.bad_argument, unknown, "savepoint 2");
    try testing.expectEqual(@as(i32, 1), abi.aero_row_get(c, tx, 0));
    try testing.expectEqual(@as(i32, 1), isolate.altitudeInOutput());
    try testing.expectEqual(@as(i32, 0), abi.aero_transaction_commit(c, tx, 0));
    try testing.expectEqual(@as(i32, 1), abi.aero_row_get(c, 0, 0));
    const ended = abi.aero_transaction_commit(c, tx, 0);
    try isolate.expectError(.transaction_closed, ended, "has ended");

    const lost: u32 = @intCast(abi.aero_transaction_begin(c, 0));
    const payload: [*]const u8 = @ptrFromInt(@as(usize, @intFromFloat(
        isolate.control.region_address + abi.aero_row_view(c, lost, 0) * 8,
    )));
    const offset = isolate.table.columns[1].offset;
    try testing.expectEqual(@as(i32, 1), std.mem.readInt(i32, payload[offset..][0..4], .little));
    try testing.expectEqual(@as(i32, 1), abi.aero_row_delete(c, lost, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_transaction_abort(c, lost));
    try testing.expectEqual(@as(f64, 1), abi.aero_row_count(c, 0));
}

test "transactions: what another one changed is a serialization failure that names the row" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, 0, 0, try isolate.putRow("A", 1)));
    const tx: u32 = @intCast(abi.aero_transaction_begin(c, 0));
    isolate.putKey("A");
    try testing.expectEqual(@as(i32, 1), abi.aero_row_get(c, tx, 0));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_upsert(c, 0, 0, try isolate.putRow("A", 2)));
    try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, tx, 0, try isolate.putRow("B", 1)));
    const outcome = abi.aero_transaction_commit(c, tx, 0);
    try isolate.expectError(.serialization_failure, outcome, "row \"A\" of table \"flights\"");
    try testing.expectEqual(@as(f64, 1), abi.aero_row_count(c, 0));
}

test "queries: give batches of one snapshot, and end early" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    const total = 15_000;
    var name: [8]u8 = undefined;
    for (0..total) |i| {
        const id = try std.fmt.bufPrint(&name, "R{d}", .{i});
        const size = try isolate.putRow(id, @intCast(i));
        try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, 0, 0, size));
    }
    var encoder: plan_encoder.Encoder = .init(testing.allocator, 0);
    defer encoder.deinit();
    const blob = try encoder.finish();
    @memcpy(isolate.input[0..blob.len], blob);
    const size: u32 = @intCast(blob.len);
    const query = abi.aero_query_open(c, 0, size);
    try testing.expect(query > 0);
    var rows = isolate.control.result_rows;
    // Written between two batches, and so not in the second one.
    try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, 0, 0, try isolate.putRow("X", 1)));
    while (abi.aero_query_next(c, @intCast(query)) == 1) rows += isolate.control.result_rows;
    rows += isolate.control.result_rows;
    try testing.expectEqual(@as(u32, total), rows);
    const ended = abi.aero_query_next(c, @intCast(query));
    try isolate.expectError(.closed, ended, "the query has ended");

    @memcpy(isolate.input[0..blob.len], blob);
    const second = abi.aero_query_open(c, 0, size);
    try testing.expectEqual(@as(i32, 0), abi.aero_query_close(c, @intCast(second)));
    isolate.input[6] = 9;
    try isolate.expectError(.bad_argument, abi.aero_query_open(c, 0, size), "unknown route");
}

test "reports: are JSON, and verify finds nothing lost" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    try testing.expectEqual(@as(i32, 0), abi.aero_row_insert(c, 0, 0, try isolate.putRow("A", 1)));
    for ([_]i32{ abi.aero_catalogue_read(c), abi.aero_stats(c), abi.aero_verify(c) }) |size| {
        try testing.expect(size > 0); // The last one is still in the output.
    }
    const verified = isolate.output[0..@intCast(abi.aero_verify(c))];
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
    defer _ = abi.aero_close(writer.number);
    try store.encode(.{ .read_only = true }, 0);
    var reader = try store.mustOpen(); // Its table is there already.
    const c = reader.number;
    defer _ = abi.aero_close(c);
    const size = try reader.putRow("A", 1);
    try reader.expectError(.read_only, abi.aero_row_upsert(c, 0, 0, size), "reading only");
    var blob = try TestWriter.flights("trains");
    defer blob.deinit();
    @memcpy(reader.input[0..blob.bytes.items.len], blob.bytes.items);
    const declared = abi.aero_table_declare(c, @intCast(blob.bytes.items.len));
    try reader.expectError(.read_only, declared, "does not exist");
}

test "a thread that ends closes its connections and frees their slots" {
    if (!os.supported or !builtin.link_libc) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    const main = try store.mustOpen();
    defer _ = abi.aero_close(main.number);
    var numbers: [3]u32 = undefined;
    for (&numbers) |*number| {
        const thread = try std.Thread.spawn(.{}, struct {
            fn run(of: *TestStore, to: *u32) void {
                const isolate = of.mustOpen() catch unreachable;
                to.* = isolate.number;
                _ = abi.aero_transaction_begin(isolate.number, 0);
            }
        }.run, .{ &store, number });
        thread.join();
        try testing.expectEqual(Status.closed.code(), abi.aero_stats(number.*));
    }
    const connection = connection_module.find(main.number).?;
    try testing.expectEqual(@as(u32, 1), connection.store.references);
}

test "a forked child finds its connections closed and can open anew" {
    if (!os.supported or !builtin.link_libc) return error.SkipZigTest;
    // It ends a child that starts threads.
    if (builtin.sanitize_thread) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var isolate = try store.mustOpen();
    const c = isolate.number;
    defer _ = abi.aero_close(c);
    const child = std.c.fork();
    if (child == 0) {
        if (abi.aero_stats(c) != Status.closed.code()) linux.exit_group(1);
        var own = store.mustOpen() catch linux.exit_group(2);
        const size = own.putRow("CHILD", 1) catch linux.exit_group(3);
        if (abi.aero_row_insert(own.number, 0, 0, size) != 0) linux.exit_group(4);
        linux.exit_group(if (abi.aero_close(own.number) == 0) 0 else 5);
    }
    var exit: u32 = 0;
    _ = linux.waitpid(child, &exit, 0);
    try testing.expectEqual(@as(u32, 0), exit);
    isolate.putKey("CHILD");
    try testing.expectEqual(@as(i32, 1), abi.aero_row_get(c, 0, 0));
}

test "aero_library_version: is the one of the package" {
    var text: [32]u8 = undefined;
    const size: usize = @intCast(abi.aero_library_version(&text, text.len));
    try testing.expectEqualStrings(build_options.version, text[0..size]);
    try testing.expectEqual(Status.bad_argument.code(), abi.aero_library_version(null, 0));
}
