//! What a database tells about itself, as JSON in the output buffer.

const std = @import("std");
const connection_module = @import("connection.zig");
const commit_ring = @import("commit_ring.zig");
const integrity = @import("integrity.zig");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const row_count = @import("row_count.zig");
const session_module = @import("session.zig");
const Connection = connection_module.Connection;
const Error = connection_module.Error;
const Region = region_module.Region;
const Writer = std.Io.Writer;
const gpa = connection_module.gpa;

/// Writes the catalogue. Returns its bytes.
pub fn catalogue(connection: *Connection) Error!u32 {
    var writer: Writer = .fixed(connection.output);
    // Read before the tables: whoever compares it later looks once too often, never too seldom.
    connection.control.catalogue_version = connection.catalogue().version();
    connection.catalogue().writeJson(&writer) catch |err| return switch (err) {
        error.WriteFailed => tooLong(connection),
        else => |other| other,
    };
    return @intCast(writer.end);
}

fn tooLong(connection: *Connection) Error {
    connection.detail.set("the answer takes more than {d} bytes", .{connection.output.len});
    return error.NotSupported;
}

/// Writes counts and sizes. Returns their bytes.
pub fn stats(connection: *Connection) Error!u32 {
    _ = try connection.catalogue().refresh();
    var writer: Writer = .fixed(connection.output);
    writeStats(connection, &writer) catch return tooLong(connection);
    return @intCast(writer.end);
}

fn writeStats(connection: *Connection, writer: *Writer) Writer.Error!void {
    const region = connection.region();
    const control = region.control;
    try writer.writeAll("{\"tables\":[");
    for (0..limits.table_count_max) |id| {
        const schema = connection.catalogue().table(@intCast(id)) catch break;
        if (id > 0) try writer.writeByte(',');
        try writer.writeAll("{\"name\":");
        try std.json.Stringify.encodeJsonString(schema.table.name(), .{}, writer);
        try writer.print(",\"rows\":{d}}}", .{row_count.total(region, @intCast(id))});
    }
    try writer.print(
        "],\"position\":{d},\"drained\":{d},\"epoch\":{d},\"horizon\":{d}",
        .{
            control.next.word.load(.acquire),
            commit_ring.drainedPosition(region),
            control.shared.epoch.load(.acquire),
            control.shared.horizon.load(.acquire),
        },
    );
    const slab_top = @min(control.memory.slab_top.load(.acquire), region.slab_count);
    try writer.print(
        ",\"regionSizeMax\":{d},\"regionSize\":{d},\"slabs\":{d},\"slabsMax\":{d}",
        .{
            connection.store.file.size_max,
            control.memory.committed.load(.acquire),
            slab_top,
            region.slab_count,
        },
    );
    const slots = countSlots(region);
    try writer.print(
        ",\"processes\":{d},\"slots\":{d},\"commits\":{d},\"aborts\":{d}",
        .{ countProcesses(region), slots.claimed, slots.commits, slots.aborts },
    );
    try writer.print(
        ",\"kicks\":{d},\"recoveredProcesses\":{d},\"catalogueVersion\":{d},\"regionPath\":",
        .{
            control.leader.kicks.load(.monotonic),
            control.leader.recovered_processes.load(.monotonic),
            control.catalogue.version.load(.acquire),
        },
    );
    const path = connection.store.file.path.slice();
    try std.json.Stringify.encodeJsonString(path, .{}, writer);
    try writer.writeByte('}');
}

fn countProcesses(region: *const Region) u32 {
    var count: u32 = 0;
    for (region.processes) |*entry| {
        const state = entry.state.load(.acquire);
        if (state == @intFromEnum(region_module.ProcessState.active)) count += 1;
    }
    return count;
}

const SlotCounts = struct { claimed: u32 = 0, commits: u64 = 0, aborts: u64 = 0 };

fn countSlots(region: *const Region) SlotCounts {
    var counts: SlotCounts = .{};
    for (region.slots[0..limits.slot_count], 0..) |*slot, i| {
        counts.commits +%= slot.commits.load(.monotonic);
        counts.aborts +%= slot.aborts.load(.monotonic);
        const claim = slot.claim.load(.monotonic);
        const owned = claim != 0 and claim != session_module.orphan_claim;
        if (owned and i < limits.transaction_slot_count) counts.claimed += 1;
    }
    return counts;
}

/// Checks the region and writes what was found. Returns its bytes.
pub fn verify(connection: *Connection) Error!u32 {
    const session = try connection.takeSession();
    defer connection.releaseSession(session);
    var report = try integrity.verify(session, gpa);
    defer report.deinit(gpa);
    var writer: Writer = .fixed(connection.output);
    writeReport(&report, &writer) catch return tooLong(connection);
    return @intCast(writer.end);
}

fn writeReport(report: *const integrity.Report, writer: *Writer) Writer.Error!void {
    try writer.print(
        "{{\"ok\":{},\"quiescent\":{},\"leaks\":{d},\"contradictions\":{d},\"rows\":{d}",
        .{
            report.isOk(),
            report.quiescent,
            report.leaks,
            report.contradictions,
            report.rows,
        },
    );
    try writer.print(",\"blocksUsed\":{d},\"blocksRetired\":{d},\"problems\":[", .{
        report.blocks_used, report.blocks_retired,
    });
    for (report.problems.items, 0..) |problem, i| {
        if (i > 0) try writer.writeByte(',');
        try std.json.Stringify.encodeJsonString(problem, .{}, writer);
    }
    try writer.writeAll("]}");
}
