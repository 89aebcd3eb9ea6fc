//! The end of a run: what the last process would do, and then what must hold.
//!
//! The dead are recovered and everything is drained. Then a serial order explains the history,
//! every row is a live node with one stamped version, and no block is lost.

const std = @import("std");
const sync = @import("sync");
const engine = @import("aerostore");
const actions = @import("actions.zig");
const fixture = @import("fixture.zig");
const history = @import("history.zig");
const scheduler = sync.scheduler;
const index_guide = engine.index_guide_block;
const limits = engine.limits;
const ordered_index = engine.ordered_index;
const OrderedIndex = ordered_index.OrderedIndex;
const ring = engine.commit_ring;
const reader = engine.reader;
const vacuum = engine.vacuum;
const version_module = engine.version;
const Session = engine.session.Session;

/// The check of every kernel over the engine.
pub fn check() void {
    settle();
    var final: history.State = @splat(null);
    scheduler.setProcess(fixture.janitor);
    const session = fixture.attach(fixture.janitor);
    session.pin();
    for (&final, 0..) |*value, key| value.* = actions.read(@intCast(key), .latest);
    session.unpin();
    checkChains();
    checkTurns();
    checkIndexes(final);
    checkSummaries();
    checkBlocks();
    history.check(final);
    var rows: u64 = 0;
    for (final) |value| rows += @intFromBool(value != null);
    const counted = engine.row_count.total(&fixture.region, 0);
    if (counted != rows) scheduler.fail("{d} rows are counted as {d}", .{ rows, counted });
}

/// Recovers the dead and drains every log until nothing is left to free.
fn settle() void {
    scheduler.setProcess(fixture.janitor);
    const session = fixture.attach(fixture.janitor);
    _ = fixture.participants[fixture.janitor].recoverDead(fixture.recovery);
    finishBuild(session);
    var rounds: u32 = 0;
    while (true) : (rounds += 1) {
        session.pin();
        var wait: engine.waiting.Wait = .{};
        const last = reader.snapshotNow(&fixture.region);
        while (ring.drainedPosition(&fixture.region) < last) wait.drain(&fixture.region);
        session.unpin();
        vacuum.burnPosition(&fixture.region);
        session.pin();
        _ = ring.advance(&fixture.region, 1);
        session.unpin();
        vacuum.advanceHorizon(&fixture.region);
        if (drainLogs(session)) break;
        if (rounds == 8) scheduler.fail("a log does not drain", .{});
    }
    if (!engine.index_build.recount(session)) scheduler.fail("an index is not counted", .{});
    for (fixture.sessions[0..fixture.sessions_count], 0..) |open, i| {
        if (scheduler.died(@intCast(i))) continue;
        scheduler.setProcess(@intCast(i));
        if (open) |session_left| session_left.close();
        fixture.participants[i].detach(false);
    }
    scheduler.setProcess(fixture.janitor);
    session.close();
    fixture.participants[fixture.janitor].detach(false);
    for (fixture.region.slots) |*slot| {
        if (slot.claim.raw != 0) scheduler.fail("a slot is still claimed", .{});
        if (slot.pin.raw != 0) scheduler.fail("a slot is still pinned", .{});
    }
}

/// Whoever declares the table next builds an index that its builder has left behind.
fn finishBuild(session: *Session) void {
    if (fixture.region.control.catalogue.indexes[0].raw == 0) return;
    engine.table_indexes.announce(&fixture.region);
    for (engine.table_indexes.of(fixture.tableHere())) |*index| {
        if (index.phase(&fixture.region) == .ready) continue;
        engine.index_build.complete(session, fixture.tableHere()) catch |err| {
            scheduler.fail("an index cannot be built: {t}", .{err});
        };
    }
}

/// Drains the logs of the living and of the orphans. True if all are empty.
fn drainLogs(mine: *Session) bool {
    var empty = drainLog(mine);
    for (fixture.sessions[0..fixture.sessions_count], 0..) |open, i| {
        if (scheduler.died(@intCast(i))) continue;
        if (open) |session| if (!drainLog(session)) {
            empty = false;
        };
    }
    for (0..limits.slot_count) |i| {
        const slot: u32 = @intCast(i);
        const gpa = fixture.allocator();
        const claim = fixture.claimOf(fixture.janitor);
        const orphan = Session.adopt(&fixture.region, gpa, slot, claim) catch unreachable;
        if (!drainLog(orphan orelse continue)) empty = false;
        orphan.?.close();
    }
    return empty;
}

fn drainLog(session: *Session) bool {
    session.pin();
    _ = vacuum.drain(session, std.math.maxInt(u32));
    session.unpin();
    return session.log.isEmpty();
}

/// After `settle`: every node is alive, has one version, and that is stamped.
fn checkChains() void {
    for (fixture.region.buckets[0 .. fixture.region.bucket_mask + 1]) |*bucket| {
        var at = bucket.head.raw;
        while (at != 0) {
            const node = version_module.nodeAt(&fixture.region, at);
            const link: version_module.Link = .from(node.next.raw);
            const head: version_module.Head = .from(node.head.raw);
            if (link.marked) scheduler.fail("a removed node is in its bucket", .{});
            if (head.state != .live or head.version == 0) scheduler.fail("a node is dead", .{});
            const version = version_module.versionAt(&fixture.region, head.version);
            if (version.xmin.raw >= version_module.position_limit) {
                scheduler.fail("a head is not stamped: {x}", .{version.xmin.raw});
            }
            if (version.xmax.raw != 0) scheduler.fail("a head is superseded", .{});
            if (version.isTombstone()) scheduler.fail("a deleted row is not removed", .{});
            if (version.row.raw != at) scheduler.fail("a version is of another row", .{});
            at = link.node;
        }
    }
}

/// After `settle`: nobody of the living has left the gate closed, and no queue has served more than
/// came.
fn checkTurns() void {
    const gate = fixture.region.control.shared.gate.raw;
    var dead = false;
    for (0..fixture.sessions_count) |i| {
        if (scheduler.died(@intCast(i))) dead = true;
    }
    if (gate != 0 and !dead) scheduler.fail("the gate is left closed", .{});
    for (0..limits.ticket_count) |index| {
        if (engine.ticket.waitingAt(&fixture.region, @intCast(index)) >= 0) continue;
        scheduler.fail("a queue has served more than came", .{});
    }
}

/// After `settle`: every row has one entry, alive and in order, and there are no others.
fn checkIndexes(final: history.State) void {
    const first = fixture.region.control.catalogue.indexes[0].raw;
    if (first == 0) return;
    const ordered: OrderedIndex = .at(&fixture.region, first);
    var rows: u64 = 0;
    var groups: u64 = 0;
    for (final, 0..) |value, key| {
        if (value == null) continue;
        rows += 1;
        for (final[0..key]) |other| {
            if (std.meta.eql(other, value)) break;
        } else groups += 1;
    }
    var entries: u64 = 0;
    var at = ordered.following(0);
    while (at != 0) : (at = ordered.following(at)) {
        entries += 1;
        const node = ordered_index.nodeAt(&fixture.region, at);
        const state: ordered_index.State = .from(node.state.raw);
        if (state.phase != .live) scheduler.fail("an entry is not live", .{});
        const visible = reader.visible(&fixture.region, node.row, .latest);
        if (visible == 0) scheduler.fail("an entry has no row", .{});
        var key: engine.index_key.Key = undefined;
        key.encode(&ordered.root.keys, engine.index_entry.rowOf(&fixture.region, visible));
        if (!std.mem.eql(u8, key.slice(), node.key())) {
            scheduler.fail("an entry has an old key", .{});
        }
    }
    if (entries != rows) scheduler.fail("{d} rows have {d} entries", .{ rows, entries });
    const counted = ordered.root.distinct.raw;
    if (counted != groups) {
        scheduler.fail("{d} distinct keys are counted as {d}", .{ groups, counted });
    }
    for (1..index_guide.level_count) |level| checkLevel(ordered.root, level);
}

/// No block that was taken out is left in its level, and none is locked for ever: the dead leave
/// locks, which others take away.
fn checkLevel(root: *const ordered_index.Root, level: usize) void {
    var link: version_module.Link = .from(root.heads[level].raw);
    var before: ?*const index_guide.Block = null;
    while (link.node != 0) {
        if (link.marked) scheduler.fail("a marked link is left on level {d}", .{level});
        const block = index_guide.blockAt(&fixture.region, link.node);
        if (block.level != level) scheduler.fail("a block is on a wrong level", .{});
        if (block.claim.raw != 0) scheduler.fail("a block is claimed and not taken out", .{});
        if ((block.low_size == 0) != (before == null)) {
            scheduler.fail("level {d} does not begin with the empty key", .{level});
        }
        if (before) |left| {
            if (left.low_prefix > block.low_prefix) scheduler.fail("blocks out of order", .{});
        }
        before = block;
        link = .from(block.link.raw);
    }
}

/// After `settle`: each sum that holds is the number of entries that its block covers.
fn checkSummaries() void {
    const first = fixture.region.control.catalogue.indexes[0].raw;
    if (first == 0) return;
    const ordered: OrderedIndex = .at(&fixture.region, first);
    var at = version_module.Link.from(ordered.root.heads[1].raw).node;
    while (at != 0) {
        const block = index_guide.blockAt(&fixture.region, at);
        const link: version_module.Link = .from(block.link.raw);
        at = link.node;
        const sum = engine.index_summary.sumOf(block, link) orelse continue;
        const entries = engine.index_summary.countCovered(ordered, block, link);
        if (sum != entries) scheduler.fail("{d} entries are summed up as {d}", .{ entries, sum });
    }
}

/// After `settle`: the used blocks are the nodes, their versions and the chunks of logs.
fn checkBlocks() void {
    const top = fixture.region.control.memory.slab_top.raw;
    for (fixture.region.slab_metas[0..top], 0..) |*meta, slab| {
        const kind: engine.slabs.SlabKind = .from(meta.kind.raw);
        const size = engine.slabs.size_classes[kind.size];
        for (0..size.count) |index| {
            const i: u32 = @intCast(index);
            const word = engine.slabs.stateWord(&fixture.region, @intCast(slab), i).raw;
            if (!engine.slabs.State.isUsed(word)) continue;
            const granule = engine.slabs.blockGranule(&fixture.region, @intCast(slab), size, i);
            if (!isReachable(granule)) {
                scheduler.fail("a {t} block at {x} is lost", .{ kind.class, granule });
            }
        }
    }
}

fn isReachable(granule: u32) bool {
    for (fixture.region.buckets[0 .. fixture.region.bucket_mask + 1]) |*bucket| {
        var at = bucket.head.raw;
        while (at != 0) {
            const node = version_module.nodeAt(&fixture.region, at);
            if (at == granule) return true;
            if (version_module.Head.from(node.head.raw).version == granule) return true;
            at = version_module.Link.from(node.next.raw).node;
        }
    }
    const first = fixture.region.control.catalogue.indexes[0].raw;
    if (first != 0) {
        const ordered: OrderedIndex = .at(&fixture.region, first);
        var at = ordered.following(0);
        while (at != 0) : (at = ordered.following(at)) if (at == granule) return true;
        for (ordered.root.heads[1..]) |head| {
            at = version_module.Link.from(head.raw).node;
            while (at != 0) {
                if (at == granule) return true;
                const block = index_guide.blockAt(&fixture.region, at);
                at = version_module.Link.from(block.link.raw).node;
            }
        }
    }
    for (fixture.region.slots) |*slot| {
        var chunk = engine.slot_log.Tail.from(slot.log_tail.raw).chunk;
        while (chunk != 0) {
            if (chunk == granule) return true;
            chunk = engine.slot_log.chunkAt(&fixture.region, chunk).header.next.raw;
        }
    }
    return false;
}
