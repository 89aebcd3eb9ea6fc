//! The control block: facts about a connection and about its last call, read by TypeScript.
//!
//! One for each connection, in native memory that stays in its place until the connection is
//! closed. Addresses and other large numbers are `f64`, which TypeScript reads exactly up to 2^53;
//! nothing here needs a bigint. Only the thread that uses the connection touches it, so its words
//! are plain.

const std = @import("std");
const status = @import("status.zig");
const assert = std.debug.assert;

pub const Control = extern struct {
    /// Address of the buffer for arguments in this process.
    input_address: f64 = 0,
    /// Address of the buffer for results.
    output_address: f64 = 0,
    /// Address of the region. Row handles count from it, in units of 8 bytes.
    region_address: f64 = 0,
    /// Bytes that are mapped. Those behind what the region uses must not be touched.
    region_size: f64 = 0,
    /// Address of the catalogue's version, a u32 that every change of tables and indexes raises.
    catalogue_version_address: f64 = 0,
    /// Commit position of the last write.
    position: f64 = 0,
    /// Rows that the last query matched or counted, or the last ingest wrote.
    total: f64 = 0,
    input_size: u32 = 0,
    output_size: u32 = 0,
    /// Rows in the output buffer.
    result_rows: u32 = 0,
    /// Bytes in the output buffer.
    result_bytes: u32 = 0,
    /// The status of the last call that failed.
    error_status: u32 = 0,
    /// Its errno, 0 if the operating system was not involved.
    error_number: u32 = 0,
    error_detail_length: u32 = 0,
    /// Index of the record, or number of the line, at which the last failed call stopped.
    failed_index: u32 = 0,
    /// The catalogue's version as of the last call that looked at it.
    catalogue_version: u32 = 0,
    /// 1 if the rows of the last query are handles, 0 if they are records.
    result_has_handles: u32 = 0,
    /// What the last failed call was about, in UTF-8.
    error_detail: [status.Detail.capacity]u8 = @splat(0),
    /// Zero, so that a later version can tell "absent" from "set".
    reserved: [4096 - 96 - status.Detail.capacity]u8 = @splat(0),

    comptime {
        assert(@sizeOf(Control) == 4096);
    }

    /// Notes why a call failed.
    pub fn setError(
        control: *Control,
        code: status.Status,
        errno: u32,
        detail: *const status.Detail,
    ) void {
        assert(code != .ok);
        control.error_status = @intCast(@intFromEnum(code));
        control.error_number = errno;
        control.error_detail_length = detail.len;
        @memcpy(control.error_detail[0..detail.len], detail.text());
    }
};

test "Control.setError: keeps the status and its words" {
    var control: Control = .{};
    var detail: status.Detail = .{};
    detail.set("row {d} is too long", .{7});
    control.setError(.value_too_long, 0, &detail);
    try std.testing.expectEqual(@as(u32, 17), control.error_status);
    const text = control.error_detail[0..control.error_detail_length];
    try std.testing.expectEqualStrings("row 7 is too long", text);
}
