//! What a database tells about itself, as JSON in the output buffer.

const std = @import("std");
const cold_recovery = @import("cold_recovery.zig");
const connection_module = @import("connection.zig");
const commit_ring = @import("commit_ring.zig");
const integrity = @import("integrity.zig");
const limits = @import("limits.zig");
const pressure = @import("pressure.zig");
const region_module = @import("region.zig");
const row_count = @import("row_count.zig");
const session_module = @import("session.zig");
const slabs = @import("slabs.zig");
const Tail = @import("slot_log.zig").Tail;
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
    try writer.writeByte(']');
    const next = control.next.word.load(.acquire);
    const horizon = control.shared.horizon.load(.acquire);
    try field(writer, "position", next);
    try field(writer, "drained", commit_ring.drainedPosition(region));
    try field(writer, "epoch", control.shared.epoch.load(.acquire));
    try field(writer, "horizon", horizon);
    try field(writer, "horizonLag", next -| horizon);
    try field(writer, "regionSizeMax", connection.store.file.size_max);
    try field(writer, "regionSize", control.memory.committed.load(.acquire));
    try writeMemory(region, writer);
    try field(writer, "processes", countProcesses(region));
    try field(writer, "processesMax", limits.process_count);
    try writeSlots(region, writer);
    const leader = &control.leader;
    try field(writer, "recoveredProcesses", leader.recovered_processes.load(.monotonic));
    try field(writer, "revokedSnapshots", leader.revocations.load(.monotonic));
    try field(writer, "catalogueVersion", control.catalogue.version.load(.acquire));
    try writer.writeAll(",\"regionPath\":");
    const path = connection.store.file.path.slice();
    try std.json.Stringify.encodeJsonString(path, .{}, writer);
    try writeLog(region, writer);
    try writer.writeAll(",\"recovery\":");
    if (connection.store.file.recovery) |*report| try writeRecovery(report, writer) else {
        try writer.writeAll("null");
    }
    try writer.writeByte('}');
}

/// What this process had to do when it made the region of files.
fn writeRecovery(report: *const cold_recovery.Report, writer: *Writer) Writer.Error!void {
    const format = "{{\"rowsLoaded\":{d},\"rowsReplayed\":{d},\"checkpointPosition\":{d}";
    try writer.print(format, .{ report.rows_loaded, report.rows_replayed, report.snapshot });
    try field(writer, "lastPosition", report.last);
    try field(writer, "cutAt", report.cut_at);
    try field(writer, "milliseconds", report.ns / std.time.ns_per_ms);
    try writer.print(",\"salvaged\":{},\"warning\":", .{report.salvaged});
    try std.json.Stringify.encodeJsonString(report.warning.text(), .{}, writer);
    try writer.writeByte('}');
}

/// What the log on disk has, and what it has cost.
fn writeLog(region: *const Region, writer: *Writer) Writer.Error!void {
    const control = region.control;
    const log = &control.log;
    const state: region_module.LogState = @enumFromInt(control.shared.log_state.load(.acquire));
    const name = std.enums.tagName(region_module.LogState, state) orelse "unknown";
    try writer.print(",\"log\":{{\"state\":\"{s}\"", .{name});
    try field(writer, "position", control.next.word.load(.acquire));
    try field(writer, "logged", log.logged.load(.acquire));
    try field(writer, "drained", commit_ring.drainedPosition(region));
    const durable = control.durable.word.load(.acquire);
    try field(writer, "durable", commit_ring.Watermark.position(durable));
    try field(writer, "segment", log.segment.load(.acquire));
    inline for (.{
        .{ "bytes", &log.bytes },
        .{ "wholeRows", &log.rows_full },
        .{ "wholeRowBytes", &log.row_bytes_full },
        .{ "deltaRows", &log.rows_delta },
        .{ "deltaRowBytes", &log.row_bytes_delta },
        .{ "batches", &log.batches },
        .{ "syncs", &log.syncs },
        .{ "leaderChanges", &log.takeovers },
        .{ "checkpoints", &log.checkpoints },
        .{ "checkpointPosition", &log.checkpoint_newest },
        .{ "checkpointRows", &log.checkpoint_rows },
        .{ "checkpointRowsExpected", &log.checkpoint_rows_expected },
        .{ "checkpointFilesLeft", &log.checkpoint_files_left },
    }) |counter| try field(writer, counter[0], counter[1].load(.monotonic));
    const commits = countSlots(region).commits;
    const syncs = @max(log.syncs.load(.monotonic), 1);
    const per_sync = @as(f64, @floatFromInt(commits)) / @as(f64, @floatFromInt(syncs));
    try writer.print(",\"commitsPerSync\":{d:.2}}}", .{per_sync});
}

fn field(writer: *Writer, comptime name: []const u8, value: u64) Writer.Error!void {
    try writer.print(",\"" ++ name ++ "\":{d}", .{value});
}

/// Slabs and bytes by what they hold.
fn writeMemory(region: *const Region, writer: *Writer) Writer.Error!void {
    const top = @min(region.control.memory.slab_top.load(.acquire), region.slab_count);
    var versions: u64 = 0;
    var nodes: u64 = 0;
    var indexes: u64 = 0;
    var logs: u64 = 0;
    var others: u64 = 0;
    for (region.slab_metas[0..top]) |*meta| {
        switch (slabs.SlabKind.from(meta.kind.load(.acquire)).class) {
            .none => {},
            .version => versions += limits.slab_size,
            .node => nodes += limits.slab_size,
            .index_node, .index_guide, .index_root => indexes += limits.slab_size,
            .log_chunk => logs += limits.slab_size,
            else => others += limits.slab_size,
        }
    }
    try field(writer, "slabs", top);
    try field(writer, "slabsMax", region.slab_count);
    try field(writer, "memoryPressure", @intFromEnum(pressure.levelOf(region)));
    try writer.print(",\"memory\":{{\"versions\":{d}", .{versions});
    try field(writer, "rows", nodes);
    try field(writer, "indexes", indexes);
    try field(writer, "logs", logs);
    try field(writer, "other", others);
    try writer.writeByte('}');
}

fn writeSlots(region: *const Region, writer: *Writer) Writer.Error!void {
    const slots = countSlots(region);
    try field(writer, "slots", slots.claimed);
    try field(writer, "slotsMax", limits.transaction_slot_count);
    try field(writer, "orphanedSlots", slots.orphaned);
    try field(writer, "logEntries", slots.log_entries);
    try field(writer, "commits", slots.commits);
    try field(writer, "aborts", slots.aborts);
    try field(writer, "conflicts", slots.conflicts);
    try field(writer, "kicks", slots.kicked);
    try field(writer, "skips", region.control.leader.kicks.load(.monotonic) -| slots.kicked);
    try field(writer, "retries", slots.retries);
    try field(writer, "waits", slots.waits);
}

fn countProcesses(region: *const Region) u32 {
    var count: u32 = 0;
    for (region.processes) |*entry| {
        const state = entry.state.load(.acquire);
        if (state == @intFromEnum(region_module.ProcessState.active)) count += 1;
    }
    return count;
}

const SlotCounts = struct {
    claimed: u32 = 0,
    orphaned: u32 = 0,
    log_entries: u64 = 0,
    commits: u64 = 0,
    aborts: u64 = 0,
    conflicts: u64 = 0,
    kicked: u64 = 0,
    retries: u64 = 0,
    waits: u64 = 0,
};

fn countSlots(region: *const Region) SlotCounts {
    var counts: SlotCounts = .{};
    for (region.slots[0..limits.slot_count], 0..) |*slot, i| {
        counts.commits +%= slot.commits.load(.monotonic);
        counts.aborts +%= slot.aborts.load(.monotonic);
        counts.conflicts +%= slot.conflicts.load(.monotonic);
        counts.kicked +%= slot.kicked.load(.monotonic);
        counts.retries +%= slot.retries.load(.monotonic);
        counts.waits +%= slot.waits.load(.monotonic);
        const head = slot.log_head.load(.monotonic);
        counts.log_entries += head - Tail.from(slot.log_tail.load(.monotonic)).number(head);
        if (i >= limits.transaction_slot_count) continue;
        const claim = slot.claim.load(.monotonic);
        if (claim == session_module.orphan_claim) counts.orphaned += 1 else if (claim != 0) {
            counts.claimed += 1;
        }
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
