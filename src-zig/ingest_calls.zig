//! Ingests: text in the input buffer, piece by piece, rows in the region batch by batch.

const std = @import("std");
const connection_module = @import("connection.zig");
const row_calls = @import("row_calls.zig");
const ingest_module = @import("ingest.zig");
const result = @import("result.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Ingest = ingest_module.Ingest;
const gpa = connection_module.gpa;

pub const Ingests = struct {
    list: std.ArrayList(Entry) = .empty,
    next: u32 = 1,

    const Entry = struct { number: u32, ingest: *Ingest };
    const count_max = 64;

    pub fn deinit(ingests: *Ingests) void {
        for (ingests.list.items) |entry| entry.ingest.end();
        ingests.list.deinit(gpa);
    }

    fn indexOf(ingests: *const Ingests, connection: *Connection, number: u32) Error!usize {
        for (ingests.list.items, 0..) |entry, i| if (entry.number == number) return i;
        connection.detail.set("the ingest has ended", .{});
        return error.Closed;
    }
};

/// Starts an ingest by the options in the input. Returns its number.
pub fn begin(connection: *Connection, table_id: u32, size: u32) Error!u32 {
    try connection.refuseReadOnly();
    const table = try connection.table(table_id);
    const options = try connection.inputBytes(size);
    const ingests = &connection.ingests;
    if (ingests.list.items.len >= Ingests.count_max) {
        connection.detail.set("the connection has {d} ingests open", .{Ingests.count_max});
        return error.Busy;
    }
    try ingests.list.ensureUnusedCapacity(gpa, 1);
    const ingest = try Ingest.begin(gpa, table, options);
    const number = ingests.next;
    ingests.next = ingests.next % std.math.maxInt(i32) + 1;
    ingests.list.appendAssumeCapacity(.{ .number = number, .ingest = ingest });
    return number;
}

/// Takes the records of a batch and writes them as one transaction, or, if the table refuses a row
/// and bad lines are skipped, row by row.
const Sink = struct {
    connection: *Connection,
    ingest: *Ingest,

    pub fn write(sink: *Sink, records: []align(8) const u8, count: u32) Error!void {
        sink.writeSome(records, count, false) catch |err| {
            if (!sink.skips(err)) return sink.blame(err, 0);
            try sink.writeEach(records, count);
        };
    }

    fn writeEach(sink: *Sink, records: []align(8) const u8, count: u32) Error!void {
        var rest = records;
        var done: u32 = 0;
        while (done < count) {
            sink.writeSome(rest, count - done, true) catch |err| {
                if (!sink.skips(err)) return sink.blame(err, done);
                sink.ingest.refused += 1;
                const passed = sink.connection.control.failed_index + 1;
                for (0..passed) |_| {
                    const size = result.record_header_size + result.readRecord(rest.ptr).size;
                    rest = @alignCast(rest[size..]);
                }
                done += passed;
                continue;
            };
            return;
        }
    }

    fn writeSome(
        sink: *Sink,
        records: []align(8) const u8,
        count: u32,
        row_by_row: bool,
    ) Error!void {
        sink.connection.detail.clear();
        _ = try row_calls.writeRecords(sink.connection, 0, sink.ingest.table, .{
            .bytes = records,
            .number = count,
            .operation = if (sink.ingest.spec.flags.insert) .insert else .upsert,
            .row_by_row = row_by_row,
        });
    }

    /// Whether an error says that the table refuses one row, which is left out then.
    fn skips(sink: *const Sink, err: Error) bool {
        if (!sink.ingest.spec.flags.skip_bad_lines) return false;
        return err == error.DuplicateKey or err == error.UniqueViolation;
    }

    /// The record's index means nothing to the reader of the text; its line does. `done` records of
    /// the batch stand before those that were to be written.
    fn blame(sink: *Sink, err: Error, done: u32) Error {
        const connection = sink.connection;
        const line = sink.ingest.lineOf(done + connection.control.failed_index);
        connection.control.failed_index = std.math.lossyCast(u32, line);
        const known = connection.detail;
        if (known.len == 0) connection.detail.set("line {d}: {s}", .{
            line, @import("status.zig").fromError(err).text(),
        }) else if (err == error.UniqueViolation) connection.detail.set("line {d}: {s}", .{
            line, known.text(),
        });
        return err;
    }
};

/// Feeds the first `size` bytes of the input. `control.total` has the rows written so far,
/// `control.result_rows` the lines passed over.
pub fn feed(connection: *Connection, number: u32, size: u32, is_last: bool) Error!void {
    const at = try connection.ingests.indexOf(connection, number);
    const ingest = connection.ingests.list.items[at].ingest;
    const chunk = try connection.inputBytes(size);
    connection.control.failed_index = 0;
    var sink: Sink = .{ .connection = connection, .ingest = ingest };
    const outcome = ingest.feed(chunk, is_last, &sink);
    connection.control.total = @floatFromInt(ingest.counts.rows);
    connection.control.result_rows = std.math.lossyCast(u32, ingest.counts.skipped);
    outcome catch |err| {
        if (ingest.problem) |*problem| switch (err) {
            error.BadLine, error.UnknownColumn, error.NotNullViolation => {
                connection.control.failed_index = std.math.lossyCast(u32, problem.line);
                connection.detail.len = @intCast(problem.describe(&connection.detail.buffer).len);
            },
            else => {},
        };
        return err;
    };
}

pub fn end(connection: *Connection, number: u32) Error!void {
    const at = try connection.ingests.indexOf(connection, number);
    connection.ingests.list.swapRemove(at).ingest.end();
}
