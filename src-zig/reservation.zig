//! Memory for a transaction of several rows, taken before anything is shared: so a full region is
//! found while there is nothing to undo.
//!
//! A slab stays what it has become. A transaction of many rows that took what there is and then
//! found that it is not enough would leave a region in which nothing but such rows has room. So
//! before it takes anything, it counts what it could have (`Demands.fit`); and it takes the entries
//! of indexes for its new rows as well. What others take meanwhile is not foreseen: then taking
//! fails, as it does for a transaction of few rows.
//!
//! What is taken are private lists of free blocks. Killed here: the slabs have an owner who is
//! dead.

const std = @import("std");
const gate = @import("gate.zig");
const index_key = @import("index_key.zig");
const index_writer = @import("index_writer.zig");
const ordered_index = @import("ordered_index.zig");
const pk_map = @import("pk_map.zig");
const session_module = @import("session.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const statement = @import("statement.zig");
const table_indexes = @import("table_indexes.zig");
const version_module = @import("version.zig");
const Pinned = @import("reclaim.zig").Pinned;
const Session = session_module.Session;
const Write = @import("row_write.zig").Write;
const Error = session_module.Error;

/// Rows after which a long loop shows that it goes on.
const renewal_rows = 256;

/// Takes what installing `writes` needs. They are sorted by their tables.
pub fn reserve(session: *Session, writes: []const Write, pinned: Pinned) Error!void {
    if (gate.isLarge(writes.len)) return reserveLarge(session, writes, pinned);
    try session.reserveLog(logEntries(writes));
    var at: usize = 0;
    while (at < writes.len) {
        const table = writes[at].table;
        var end = at;
        while (end < writes.len and writes[end].table == table) end += 1;
        try reserveTable(session, writes[at..end], pinned);
        at = end;
    }
}

fn logEntries(writes: []const Write) u64 {
    var entries: u64 = 2;
    for (writes) |*one| entries += 2 + table_indexes.of(one.table).len;
    return entries;
}

fn reserveTable(session: *Session, writes: []const Write, pinned: Pinned) Error!void {
    const table = writes[0].table;
    if (pinned == .unpinned) session.pin();
    var new_rows: u64 = 0;
    for (writes, 0..) |*one, index| {
        if (index % statement.ahead_step == 0) statement.lookAhead(session.region, writes[index..]);
        new_rows += @intFromBool(isNew(session, one));
    }
    if (pinned == .unpinned) session.unpin();
    const nodes = try session.allocator.pool(version_module.nodeKind(table));
    try nodes.reserve(&session.allocator, new_rows);
    var by_size: [64]u32 = @splat(0);
    for (writes) |*one| by_size[versionKind(one).size] += 1;
    for (by_size, 0..) |count, class| {
        if (count == 0) continue;
        const pool = try session.allocator.pool(.{
            .class = .version,
            .table = @intCast(table.id),
            .size = @intCast(class),
        });
        try pool.reserve(&session.allocator, count);
    }
}

/// True if the row has no node now. More may need one when others delete meanwhile; fewer are the
/// rule.
fn isNew(session: *const Session, one: *const Write) bool {
    return switch (one.operation) {
        .insert, .upsert => pk_map.find(session.region, one.key) == 0,
        .update, .apply, .delete, .remove => false,
    };
}

/// The size of an update's image is known when its base is; most rows have one size.
fn versionKind(one: *const Write) slabs.SlabKind {
    const size: usize = switch (one.operation) {
        .insert, .upsert => one.image.size,
        .update, .apply => std.mem.alignForward(usize, one.table.fixed_size, 8),
        .delete, .remove => 0,
    };
    return .of(.version, @intCast(one.table.id), version_module.versionGranules(size));
}

fn reserveLarge(session: *Session, writes: []const Write, pinned: Pinned) Error!void {
    var demands: Demands = .{ .session = session };
    defer demands.list.deinit(session.gpa);
    {
        if (pinned == .unpinned) session.pin();
        defer if (pinned == .unpinned) session.unpin();
        try demands.collect(writes);
    }
    if (!demands.fit()) return error.RegionFull;
    for (demands.list.items) |demand| {
        const pool = try session.allocator.pool(demand.kind);
        var some: u64 = 0;
        while (some < demand.count) { // in steps, because it may take long
            some = @min(some + 16 * renewal_rows, demand.count);
            try pool.reserve(&session.allocator, some);
            gate.renew(session);
        }
    }
}

/// Blocks of each kind that a transaction needs.
const Demands = struct {
    session: *Session,
    list: std.ArrayList(Demand) = .empty,

    const Demand = struct { kind: slabs.SlabKind, count: u64, free: u64 = 0 };

    fn collect(demands: *Demands, writes: []const Write) Error!void {
        const region = demands.session.region;
        const chunks = slot_log.Log.chunksFor(logEntries(writes));
        try demands.add(.of(.log_chunk, 0, slot_log.chunk_granules), chunks);
        for (writes, 0..) |*one, index| {
            if (index % renewal_rows == 0) gate.renew(demands.session);
            if (index % statement.ahead_step == 0) statement.lookAhead(region, writes[index..]);
            try demands.add(versionKind(one), 1);
            if (!isNew(demands.session, one)) continue;
            try demands.add(version_module.nodeKind(one.table), 1);
            const indexes = table_indexes.of(one.table);
            var mask = index_writer.concerned(region, indexes, .insert, one.image);
            while (mask != 0) : (mask &= mask - 1) {
                var key: index_key.Key = undefined;
                key.encode(&indexes[@ctz(mask)].keys, one.image);
                try demands.add(ordered_index.nodeKind(@intCast(one.table.id), key.size), 1);
            }
        }
    }

    fn add(demands: *Demands, kind: slabs.SlabKind, count: u64) Error!void {
        for (demands.list.items) |*demand| {
            if (demand.kind != kind) continue;
            demand.count += count;
            return;
        }
        try demands.list.append(demands.session.gpa, .{ .kind = kind, .count = count });
    }

    /// Whether there is room for all of it now.
    fn fit(demands: *Demands) bool {
        const session = demands.session;
        const region = session.region;
        const memory = &region.control.memory;
        const top = @min(memory.slab_top.load(.acquire), region.slab_count);
        var unused: u64 = region.slab_count - top -| slabs.reserveOf(region);
        // Nearly always there are more slabs that were never used.
        if (demands.slabsMissing() <= unused) return true;
        for (region.slab_metas[0..top], 0..) |*meta, slab| {
            if (slab % 64 == 0) gate.renew(session);
            const owner = meta.owner.load(.acquire);
            if (owner != 0 and owner != session.allocator.owner) continue;
            const kind: slabs.SlabKind = .from(meta.kind.load(.acquire));
            if (kind.class == .none) {
                unused += 1;
                continue;
            }
            for (demands.list.items) |*demand| {
                if (demand.kind != kind) continue;
                demand.free += slabs.countFree(region, @intCast(slab), kind);
            }
        }
        return demands.slabsMissing() <= unused;
    }

    fn slabsMissing(demands: *const Demands) u64 {
        var missing: u64 = 0;
        for (demands.list.items) |demand| {
            const blocks = demand.count -| demand.free;
            const each = slabs.size_classes[demand.kind.size].count;
            missing += std.math.divCeil(u64, blocks, each) catch unreachable;
        }
        return missing;
    }
};
