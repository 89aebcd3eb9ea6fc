//! A scan in the order of version blocks, which ignores nodes and heads.
//!
//! It is the reader for which `xmax` is kept and for which stores have the order that
//! `version.zig` promises. A version is visible at S if its `xmin` is a position of at most S, and
//! its `xmax` is 0 or larger than S. Four rules make that true of blocks that are recycled at the
//! same time: wait until every position up to S is stamped; `xmax` of the version below is
//! stamped before `xmin`; `xmin` is read again after the copy; and in a block that is used again
//! `xmin` is written before anything else.

const sync = @import("sync");
const engine = @import("aerostore");
const fixture = @import("fixture.zig");
const history = @import("history.zig");
const scheduler = sync.scheduler;
const ring = engine.commit_ring;
const slabs = engine.slabs;
const version_module = engine.version;

/// The caller is pinned.
pub fn scan(noted: *history.Operation) void {
    const region = &fixture.region;
    const at = engine.reader.snapshotNow(region);
    if (!sync.mutated(.heap_scan_no_wait)) awaitStamped(at);
    const top = region.control.memory.slab_top.load(.acquire);
    for (0..top) |slab| {
        const kind: slabs.SlabKind = .from(region.slab_metas[slab].kind.load(.acquire));
        if (kind.class != .version) continue;
        const size = slabs.size_classes[kind.size];
        for (0..size.count) |index| {
            const granule = slabs.blockGranule(region, @intCast(slab), size, @intCast(index));
            look(noted, version_module.versionAt(region, granule), at);
        }
    }
}

fn awaitStamped(at: u64) void {
    const region = &fixture.region;
    var wait: engine.waiting.Wait = .{};
    while (ring.Watermark.position(region.control.stamped.word.load(.acquire)) < at) {
        wait.drain(region);
    }
}

fn look(noted: *history.Operation, version: *version_module.Version, at: u64) void {
    while (true) {
        const xmin = version.xmin.load(.acquire);
        if (xmin == 0 or xmin > at) return;
        const xmax = version.xmax.load(.acquire);
        sync.step();
        const tombstone = version.isTombstone();
        var row: [2]u64 align(8) = .{ 0, 0 };
        if (!tombstone) sync.copyOut(@ptrCast(&row), version.payload(), 16);
        if (!sync.mutated(.no_xmin_recheck) and version.xmin.load(.acquire) != xmin) continue;
        if (tombstone or (xmax != 0 and xmax <= at)) return;
        if (row[0] >= history.keys_max) scheduler.fail("a heap scan sees key {d}", .{row[0]});
        const value = &noted.seen[@intCast(row[0])];
        if (value.* != null) scheduler.fail("a heap scan sees key {d} twice", .{row[0]});
        value.* = @bitCast(row[1]);
        return;
    }
}
