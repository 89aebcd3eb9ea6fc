//! Proof that nothing is lost: every block in use is reachable from a row or named by a log.
//!
//! `verify` takes the gate, so that no commit starts, and waits until nobody is inside one. Then it
//! marks what the buckets and the logs reach and compares the marks with the state words. If
//! somebody does not come to rest in time, what it finds is not proof, and the report says so.
//!
//! What it reads may be corrupt. It follows no granule that does not lie at the start of a block of
//! the expected kind, and no chain further than there are blocks.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const ring = @import("commit_ring.zig");
const row_count = @import("row_count.zig");
const index_entry = @import("index_entry.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_summary = @import("index_summary.zig");
const index_key = @import("index_key.zig");
const ordered_index = @import("ordered_index.zig");
const reader = @import("reader.zig");
const session_module = @import("session.zig");
const gate = @import("gate.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const Head = version_module.Head;
const Link = version_module.Link;
const versionAt = version_module.versionAt;
const nodeAt = version_module.nodeAt;

pub const Report = struct {
    /// Nobody was inside a transaction: leaks and problems are proof.
    quiescent: bool = false,
    /// Blocks in use that nothing names.
    leaks: u64 = 0,
    /// Contradictions of any other kind.
    contradictions: u64 = 0,
    rows: u64 = 0,
    blocks_used: u64 = 0,
    blocks_retired: u64 = 0,
    /// One line for each of the first problems.
    problems: std.ArrayList([]u8) = .empty,

    pub fn isOk(report: *const Report) bool {
        return report.leaks == 0 and report.contradictions == 0;
    }

    pub fn deinit(report: *Report, gpa: std.mem.Allocator) void {
        for (report.problems.items) |line| gpa.free(line);
        report.problems.deinit(gpa);
    }
};

const problems_max = 100;
const rest_ns_max = 500 * std.time.ns_per_ms;

/// Checks the whole region. `session` is not pinned and runs no transaction.
pub fn verify(session: *Session, gpa: std.mem.Allocator) error{OutOfMemory}!Report {
    const region = session.region;
    // Its own log is one of those that the maintenance thread drains, and `rest` passes over it.
    session.lock();
    defer session.unlock();
    const held = gate.take(session);
    defer if (held) |hold| hold.release();
    var report: Report = .{ .quiescent = held != null and rest(session) };
    errdefer report.deinit(gpa);
    var marks = try Marks.init(region, gpa);
    defer marks.deinit(gpa);
    var check: Check = .{
        .region = region,
        .session = session,
        .gpa = gpa,
        .report = &report,
        .marks = &marks,
    };
    try check.buckets();
    try check.indexes();
    try check.logs();
    try check.compare();
    return report;
}

/// Waits until no other slot runs a transaction or drains its log. Readers change nothing.
pub fn rest(session: *Session) bool {
    const started = sync.nowNs();
    for (session.region.slots, 0..) |*slot, index| {
        if (index == session.slot_index) continue;
        while (true) {
            const word = ring.SlotWord.from(slot.word.load(.acquire));
            if (word.state == .idle) break;
            if (sync.nowNs() - started > rest_ns_max) return false;
            gate.renew(session);
            sync.sleepNs(100 * std.time.ns_per_us);
        }
    }
    return true;
}

/// One bit for each granule at which a block may start.
const Marks = struct {
    bits: std.DynamicBitSetUnmanaged,
    first: u32,
    top: u32,

    fn init(region: *const Region, gpa: std.mem.Allocator) error{OutOfMemory}!Marks {
        const top = @min(region.control.memory.slab_top.load(.acquire), region.slab_count);
        const granules = @as(usize, top) * limits.slab_granules;
        return .{
            .bits = try .initEmpty(gpa, granules),
            .first = region.slabs_first,
            .top = top,
        };
    }

    fn deinit(marks: *Marks, gpa: std.mem.Allocator) void {
        marks.bits.deinit(gpa);
    }
};

const Check = struct {
    region: *const Region,
    session: *Session,
    gpa: std.mem.Allocator,
    report: *Report,
    marks: *Marks,
    rows_by_table: [limits.table_count_max]u64 = @splat(0),

    fn problem(check: *Check, comptime format: []const u8, args: anytype) error{OutOfMemory}!void {
        check.report.contradictions += 1;
        if (check.report.problems.items.len >= problems_max) return;
        const line = try std.fmt.allocPrint(check.gpa, format, args);
        errdefer check.gpa.free(line);
        try check.report.problems.append(check.gpa, line);
    }

    /// The kind of the block that starts at `granule`, or null if none can.
    fn kindAt(check: *const Check, granule: u32) ?slabs.SlabKind {
        if (granule < check.marks.first) return null;
        const slab = (granule - check.marks.first) / limits.slab_granules;
        if (slab >= check.marks.top) return null;
        const kind = slabs.SlabKind.from(check.region.slab_metas[slab].kind.load(.acquire));
        if (kind.class == .none or kind.size >= slabs.size_classes.len) return null;
        const size = slabs.size_classes[kind.size];
        const within = (granule - check.marks.first) % limits.slab_granules;
        if (within < size.header or (within - size.header) % size.granules != 0) return null;
        if ((within - size.header) / size.granules >= size.count) return null;
        return kind;
    }

    /// Marks a block. False if it is not one of the class, or marked already.
    fn mark(
        check: *Check,
        granule: u32,
        class: slabs.Class,
        comptime by: []const u8,
    ) error{OutOfMemory}!bool {
        const kind = check.kindAt(granule) orelse {
            try check.problem(by ++ " names granule {d}, where no block starts", .{granule});
            return false;
        };
        if (kind.class != class) {
            try check.problem(by ++ " names granule {d} as a {t}, but it is a {t}", .{
                granule, class, kind.class,
            });
            return false;
        }
        const state = slabs.stateOf(check.region, granule).load(.acquire);
        if (!slabs.State.isUsed(state)) {
            try check.problem(by ++ " names the {t} block {d}, which is free", .{ class, granule });
            return false;
        }
        const bit = granule - check.marks.first;
        if (check.marks.bits.isSet(bit)) {
            try check.problem(by ++ " names the {t} block {d}, which is named already", .{
                class, granule,
            });
            return false;
        }
        check.marks.bits.set(bit);
        return true;
    }

    fn buckets(check: *Check) error{OutOfMemory}!void {
        const count = check.region.bucket_mask + 1;
        for (0..count) |bucket| {
            if (bucket % 65536 == 0) gate.renew(check.session);
            var at = check.region.buckets[bucket].head.load(.acquire);
            while (at != 0) {
                if (!try check.mark(at, .node, "a bucket")) break;
                const node = nodeAt(check.region, at);
                try check.row(at);
                at = Link.from(node.next.load(.acquire)).node;
            }
        }
        if (!check.report.quiescent) return;
        for (check.rows_by_table, 0..) |rows, table| {
            const counted = row_count.total(check.region, @intCast(table));
            if (rows != counted) {
                try check.problem("table {d} has {d} rows but counts {d}", .{
                    table, rows, counted,
                });
            }
        }
    }

    fn row(check: *Check, granule: u32) error{OutOfMemory}!void {
        const node = nodeAt(check.region, granule);
        const head = Head.from(node.head.load(.acquire));
        if (head.state == .dead) {
            // Dead and in its chain: somebody is between the two.
            if (check.report.quiescent) {
                try check.problem("node {d} is dead and still in its bucket", .{granule});
            }
            return;
        }
        if (!try check.mark(head.version, .version, "a node")) return;
        const version = versionAt(check.region, head.version);
        if (version.row.load(.acquire) != granule) {
            try check.problem("version {d} is the head of node {d} but names node {d}", .{
                head.version, granule, version.row.load(.acquire),
            });
        }
        const generation = slabs.generationOf(check.region, head.version);
        if (head.generation != @as(u20, @truncate(generation))) {
            try check.problem("node {d} names version {d} of another generation", .{
                granule, head.version,
            });
        }
        switch (ring.resolve(check.region, version)) {
            .committed => if (!version.isTombstone()) {
                check.report.rows += 1;
                if (node.table < limits.table_count_max) check.rows_by_table[node.table] += 1;
            },
            else => |resolution| if (check.report.quiescent) {
                try check.problem("version {d} heads a row and is {t}", .{
                    head.version, resolution,
                });
            },
        }
    }

    /// Marks the entries of every index, and compares them with the rows both ways.
    fn indexes(check: *Check) error{OutOfMemory}!void {
        for (&check.region.control.catalogue.indexes, 0..) |*first, table| {
            var root = first.load(.acquire);
            while (root != 0) {
                if (root < check.marks.first or
                    check.region.slabOf(root) >= check.region.slab_count) break;
                gate.renew(check.session);
                try check.entries(root, @intCast(table));
                root = check.region.pointer(ordered_index.Root, root).next.load(.acquire);
            }
        }
    }

    fn entries(check: *Check, root: u32, table: u8) error{OutOfMemory}!void {
        const ordered: ordered_index.OrderedIndex = .at(check.region, root);
        const number = ordered.root.index;
        var before: u32 = 0;
        var needed: u64 = 0;
        var at = ordered.following(0);
        while (at != 0) : (at = ordered.following(at)) {
            if (!try check.mark(at, .index_node, "an index")) return;
            const node = ordered_index.nodeAt(check.region, at);
            if (before != 0) {
                const probe: ordered_index.Probe = .of(node);
                if (probe.order(ordered_index.nodeAt(check.region, before)) != .lt) {
                    try check.problem("index {d} of table {d} is out of order at entry {d}", .{
                        number, table, at,
                    });
                }
            }
            before = at;
            if (check.kindAt(node.row) == null) {
                try check.problem("index entry {d} names granule {d} as its row", .{
                    at, node.row,
                });
            } else if (check.isOfLatest(ordered.root, node)) needed += 1;
        }
        try check.guide(ordered.root);
        if (!check.report.quiescent) return;
        // A row has one latest version, and that has one key: equal numbers mean the same rows.
        const rows = check.rows_by_table[table];
        if (ordered.root.phase.load(.acquire) == @intFromEnum(ordered_index.Root.Phase.ready) and
            needed != rows)
        {
            try check.problem("index {d} of table {d} has entries for {d} of {d} rows", .{
                number, table, needed, rows,
            });
        }
        if (check.report.contradictions == 0) try check.summaries(ordered);
        const groups = ordered.countGroups();
        const counted = ordered.root.distinct.load(.acquire);
        if (ordered.root.recount.load(.acquire) == 0 and counted != groups) {
            try check.problem("index {d} of table {d} has {d} distinct keys but counts {d}", .{
                number, table, groups, counted,
            });
        }
    }

    /// Compares each sum that holds with the rows that its block covers.
    fn summaries(check: *Check, ordered: ordered_index.OrderedIndex) error{OutOfMemory}!void {
        var at = Link.from(ordered.root.heads[1].load(.acquire)).node;
        var entry = ordered.following(0);
        while (at != 0) {
            const block = index_guide_block.blockAt(check.region, at);
            const link: Link = .from(block.link.load(.acquire));
            var rows: u32 = 0;
            while (entry != 0) : (entry = ordered.following(entry)) {
                const node = ordered_index.nodeAt(check.region, entry);
                if (link.node != 0) {
                    const next = index_guide_block.blockAt(check.region, link.node);
                    if (index_summary.behind(next).order(node) != .lt) break;
                }
                if (check.kindAt(node.row) == null) return;
                rows += @intFromBool(check.isOfLatest(ordered.root, node));
            }
            if (index_summary.sumOf(block, link)) |sum| if (sum != rows) {
                try check.problem("block {d} of an index covers {d} rows but counts {d}", .{
                    at, rows, sum,
                });
            };
            at = link.node;
        }
    }

    fn guide(check: *Check, root: *const ordered_index.Root) error{OutOfMemory}!void {
        for (root.heads[1..]) |*head| {
            var at = Link.from(head.load(.acquire)).node;
            while (at != 0) {
                if (!try check.mark(at, .index_guide, "the guide of an index")) break;
                const block = index_guide_block.blockAt(check.region, at);
                at = Link.from(block.link.load(.acquire)).node;
            }
        }
    }

    /// Whether the entry has the key of its row's latest version.
    fn isOfLatest(
        check: *Check,
        root: *const ordered_index.Root,
        node: *const ordered_index.Node,
    ) bool {
        const state = ordered_index.State.from(node.state.load(.acquire));
        if (state.phase == .dead) return false;
        const latest = reader.visible(check.region, node.row, .latest);
        if (latest == 0 or versionAt(check.region, latest).table != root.table) return false;
        var key: index_key.Key = undefined;
        if (!root.keys.allows(versionAt(check.region, latest).payloadSize())) return false;
        key.encode(&root.keys, index_entry.rowOf(check.region, latest));
        return std.mem.eql(u8, key.slice(), node.key());
    }

    fn logs(check: *Check) error{OutOfMemory}!void {
        for (check.region.slots, 0..) |*slot, index| {
            const log = slot_log.Log.attach(check.region, slot);
            var chunk = log.first_chunk;
            while (chunk != 0) {
                if (!try check.mark(chunk, .log_chunk, "a slot's log")) break;
                chunk = slot_log.chunkAt(check.region, chunk).header.next.load(.acquire);
            }
            // Live slots change their logs while we read: only chains at rest are walked.
            if (!check.report.quiescent and index != check.session.slot_index) continue;
            var walk = log.forward();
            while (walk.next()) |entry| try check.logEntry(entry);
        }
    }

    fn logEntry(check: *Check, entry: *const slot_log.Entry) error{OutOfMemory}!void {
        const ts = entry.ts.load(.acquire);
        if (ts == slot_log.ts_running or ts == slot_log.ts_unfinished) {
            return check.problem("a log at rest holds an unfinished {t} entry", .{entry.kind});
        }
        switch (entry.kind) {
            .nop, .insert, .node_new => {},
            .update, .delete => try check.retired(entry.old, entry.old_generation, .version),
            .node_retire => {
                try check.retired(entry.block, entry.generation, .node);
                if (entry.old != 0) try check.retired(entry.old, entry.old_generation, .version);
            },
            .version_retire => try check.retired(entry.block, entry.generation, .version),
            .index => {},
            .index_retire => try check.retired(entry.block, entry.generation, .index_node),
            .guide_retire => try check.retired(entry.block, entry.generation, .index_guide),
        }
    }

    fn retired(
        check: *Check,
        granule: u32,
        generation: u32,
        class: slabs.Class,
    ) error{OutOfMemory}!void {
        if (check.kindAt(granule) == null) {
            return check.problem("a log names granule {d}, where no block starts", .{granule});
        }
        if (!slabs.holds(check.region, granule, generation)) return; // freed already
        if (try check.mark(granule, class, "a log")) check.report.blocks_retired += 1;
    }

    fn compare(check: *Check) error{OutOfMemory}!void {
        for (0..check.marks.top) |index| {
            const slab: u32 = @intCast(index);
            const kind = slabs.SlabKind.from(check.region.slab_metas[slab].kind.load(.acquire));
            switch (kind.class) {
                .version, .node, .log_chunk, .index_node, .index_guide => {},
                else => continue,
            }
            if (kind.size >= slabs.size_classes.len) {
                try check.problem("slab {d} has the unknown size class {d}", .{ slab, kind.size });
                continue;
            }
            const size = slabs.size_classes[kind.size];
            for (0..size.count) |block| {
                const state = slabs.stateWord(check.region, slab, @intCast(block)).load(.acquire);
                if (!slabs.State.isUsed(state)) continue;
                check.report.blocks_used += 1;
                const granule = slabs.blockGranule(check.region, slab, size, @intCast(block));
                if (check.marks.bits.isSet(granule - check.marks.first)) continue;
                if (!check.report.quiescent) continue;
                check.report.leaks += 1;
                try check.problem("nothing names the {t} block {d} of table {d}, yet it is used", .{
                    kind.class, granule, kind.table,
                });
                check.report.contradictions -= 1;
            }
        }
    }
};
