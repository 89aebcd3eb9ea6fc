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
const limits = engine.limits;
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
    var rounds: u32 = 0;
    while (true) : (rounds += 1) {
        session.pin();
        var wait: engine.waiting.Wait = .{};
        while (ring.drainedPosition(&fixture.region) < reader.snapshotNow(&fixture.region)) wait.drain(&fixture.region);
        session.unpin();
        vacuum.burnPosition(&fixture.region);
        session.pin();
        _ = ring.drainDecided(&fixture.region, 1);
        session.unpin();
        vacuum.advanceHorizon(&fixture.region);
        if (drainLogs(session)) break;
        if (rounds == 8) scheduler.fail("a log does not drain", .{});
    }
    for (fixture.sessions[0..fixture.sessions_count], 0..) |open, i| {
        if (scheduler.died(@intCast(i))) continue;
        scheduler.setProcess(@intCast(i));
        open.?.close();
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

/// Drains the logs of the living and of the orphans. True if all are empty.
fn drainLogs(mine: *Session) bool {
    var empty = drainLog(mine);
    for (fixture.sessions[0..fixture.sessions_count], 0..) |open, i| {
        if (!scheduler.died(@intCast(i)) and !drainLog(open.?)) empty = false;
    }
    for (0..limits.slot_count) |i| {
        const slot: u32 = @intCast(i);
        const orphan = Session.adopt(&fixture.region, fixture.allocator(), slot, fixture.claimOf(fixture.janitor)) catch
            unreachable;
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
        var at = bucket.raw;
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
        var at = bucket.raw;
        while (at != 0) {
            const node = version_module.nodeAt(&fixture.region, at);
            if (at == granule) return true;
            if (version_module.Head.from(node.head.raw).version == granule) return true;
            at = version_module.Link.from(node.next.raw).node;
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
