//! The primary key map: a fixed power of two of buckets, each a chain of row nodes.
//!
//! A node is published already holding its first version, by a compare-and-swap of the bucket's
//! head: the swap detects any insert in between. A node leaves in three steps: its head becomes
//! dead (that decides), its link is marked (that freezes it), a search takes it out of the chain.
//! (Michael's list, with inserts at the head only.)
//!
//! Invariants:
//!
//!   * at most one node of a key that is not dead stands in a chain
//!   * a marked link does not change; a node is unlinked only by a predecessor that is not marked
//!   * `table`, `hash` and the key do not change while a node is in a chain
//!
//! A bucket also names the version that was put last on one of its nodes: the hint. A look-up has
//! three loads that depend on each other, bucket, node, version, and in a large map each is a miss
//! of the cache; by the hint it asks for node and version at once. A hint may be of another row of
//! the bucket, superseded, aborted, or name a block that was freed: memory is asked for what stands
//! there, and nobody looks at it. So it needs no order, no repair and no recovery; a writer stores
//! it after the swap that links its version, and killed before that leaves an older one.
//!
//! Readers are pinned and walk through marked nodes. They never help; inserters and removers do.
//! Killed between the steps of a removal: any search by a later inserter or remover goes on
//! where it stands, and the remover's log entry makes recovery do so.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const Bucket = region_module.Bucket;
const Region = region_module.Region;
const Link = version_module.Link;
const Head = version_module.Head;
const NodeHeader = version_module.NodeHeader;
const RelPtr = version_module.RelPtr;
const nodeAt = version_module.nodeAt;
const assert = std.debug.assert;

/// A key as the map sees it: the key cell without padding, and its hash.
pub const Key = struct {
    table: u8,
    /// u16 length and bytes for text, 4 or 8 bytes for integers.
    cell: []const u8,
    hash: u64,

    pub fn of(table: u8, cell: []const u8) Key {
        assert(cell.len <= version_module.key_cell_size_max);
        return .{ .table = table, .cell = cell, .hash = hashOf(table, cell) };
    }

    inline fn tag(key: Key) u32 {
        return @truncate(key.hash >> 32);
    }
};

pub fn hashOf(table: u8, cell: []const u8) u64 {
    if (cell.len == 4) return mix(std.mem.readInt(u32, cell[0..4], .little), table);
    if (cell.len == 8) return mix(std.mem.readInt(u64, cell[0..8], .little), table);
    return std.hash.Wyhash.hash(table, cell);
}

/// The finalizer of MurmurHash3 over an integer and the table.
fn mix(value: u64, table: u8) u64 {
    var x = value ^ (@as(u64, table) +% 1) *% 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 33)) *% 0xff51afd7ed558ccd;
    x = (x ^ (x >> 33)) *% 0xc4ceb9fe1a85ec53;
    return x ^ (x >> 33);
}

pub inline fn bucketOf(region: *const Region, hash: u64) *Bucket {
    return &region.buckets[@intCast(hash & region.bucket_mask)];
}

/// The first node of a bucket, or 0. Asks memory for the version that the hint names, of which two
/// lines are most or all; the caller asks for the node.
inline fn enter(region: *const Region, bucket: *Bucket) RelPtr {
    const first = bucket.head.load(.acquire);
    if (sync.sim) return first;
    const hint = bucket.hint.load(.monotonic);
    if (hint -% region.slabs_first < region.slab_count * limits.slab_granules) {
        const bytes: [*]const u8 = @ptrCast(region.pointer(u8, hint));
        @prefetch(bytes, .{});
        @prefetch(bytes + limits.granule_size, .{});
    }
    return first;
}

/// Notes the version that a node of the bucket has got just now.
pub inline fn suggest(region: *const Region, hash: u64, version: RelPtr) void {
    bucketOf(region, hash).hint.store(version, .monotonic);
}

/// What `enter` looks at, for the mistake of believing it.
pub inline fn hinted(region: *const Region, key: Key) RelPtr {
    return bucketOf(region, key.hash).hint.load(.monotonic);
}

/// Asks memory for what a look-up will need. Someone with many keys calls these for keys further
/// and further ahead, so that the misses overlap; someone with one key calls `bucket` before he
/// pins. Nothing here is more than a hint, but for `version` the caller is pinned, because a node
/// is read.
pub const Ahead = struct {
    pub inline fn bucket(region: *const Region, key: Key) void {
        @prefetch(bucketOf(region, key.hash), .{});
    }
    /// The first node, and the version that the hint names.
    pub inline fn node(region: *const Region, key: Key) void {
        const at = enter(region, bucketOf(region, key.hash));
        if (at != 0) @prefetch(nodeAt(region, at), .{});
    }
    /// The version of the first node, if the hint has named another.
    pub inline fn version(region: *const Region, key: Key) void {
        const at = bucketOf(region, key.hash).head.load(.acquire);
        if (at == 0) return;
        const head = Head.from(nodeAt(region, at).head.load(.acquire));
        if (head.version != 0) @prefetch(version_module.versionAt(region, head.version), .{});
    }
};

/// True if the node holds the key, whether the row lives or not.
inline fn holds(node: *const NodeHeader, key: Key) bool {
    if (node.hash != key.tag() or node.table != key.table) return false;
    return std.mem.eql(u8, node.key(), key.cell);
}

/// The node of a key, or 0. The caller is pinned.
pub fn find(region: *const Region, key: Key) RelPtr {
    var at = enter(region, bucketOf(region, key.hash));
    while (at != 0) {
        const node = nodeAt(region, at);
        const link = Link.from(node.next.load(.acquire));
        if (holds(node, key) and !link.marked and
            Head.from(node.head.load(.acquire)).state == .live) return at;
        at = link.node;
    }
    return 0;
}

/// Like `find`, for a writer: takes removed nodes out of the chain on its way. Also gives the
/// bucket's head as it was before the search, for `publish`.
pub const Place = struct { node: RelPtr, first: RelPtr };

pub fn findForWrite(region: *const Region, key: Key) Place {
    const bucket = bucketOf(region, key.hash);
    retry: while (true) {
        const first = enter(region, bucket);
        var at = first;
        var previous: ?*NodeHeader = null;
        while (at != 0) {
            const node = nodeAt(region, at);
            const link = Link.from(node.next.load(.acquire));
            if (link.marked) {
                if (!unlink(bucket, previous, at, link.node)) continue :retry;
                if (previous == null) continue :retry; // the bucket's head changed
                at = link.node;
                continue;
            }
            if (holds(node, key)) {
                if (Head.from(node.head.load(.acquire)).state == .live) {
                    return .{ .node = at, .first = first };
                }
                mark(node);
                continue :retry;
            }
            previous = node;
            at = link.node;
        }
        return .{ .node = 0, .first = first };
    }
}

fn unlink(bucket: *Bucket, previous: ?*NodeHeader, at: RelPtr, next: RelPtr) bool {
    if (previous) |node| {
        const expected = Link.to(at).bits();
        return node.next.cas(expected, Link.to(next).bits(), .acq_rel, .acquire) == null;
    }
    return bucket.head.cas(at, next, .acq_rel, .acquire) == null;
}

/// Freezes a dead node's link.
fn mark(node: *NodeHeader) void {
    while (true) {
        const word = node.next.load(.acquire);
        var link = Link.from(word);
        if (link.marked) return;
        link.marked = true;
        if (node.next.cas(word, link.bits(), .acq_rel, .acquire) == null) return;
    }
}

/// Publishes a node that is complete apart from its link. False if the bucket changed since
/// `first` was read: search again.
pub fn publish(region: *const Region, key: Key, first: RelPtr, granule: RelPtr) bool {
    const node = nodeAt(region, granule);
    node.next.store(Link.to(first).bits(), .monotonic);
    const version = Head.from(node.head.load(.monotonic)).version;
    const bucket = bucketOf(region, key.hash);
    if (bucket.head.cas(first, granule, .acq_rel, .acquire) != null) return false;
    bucket.hint.store(version, .monotonic);
    return true;
}

/// Takes a dead node out of its chain. Can be called again, and by several at once.
pub fn remove(region: *const Region, granule: RelPtr) void {
    const node = nodeAt(region, granule);
    assert(Head.from(node.head.load(.monotonic)).state == .dead);
    mark(node);
    const bucket = bucketOf(region, hashOf(node.table, node.key()));
    retry: while (true) {
        var at = bucket.head.load(.acquire);
        var previous: ?*NodeHeader = null;
        while (at != 0) {
            const here = nodeAt(region, at);
            const link = Link.from(here.next.load(.acquire));
            if (link.marked) {
                if (!unlink(bucket, previous, at, link.node)) continue :retry;
                if (at == granule) return;
                at = link.node;
                continue;
            }
            if (at == granule) continue :retry;
            previous = here;
            at = link.node;
        }
        return;
    }
}

/// Writes a node that is not published. Its head comes last: a scan looks at every node in use, and
/// follows the head to the version, which must be complete.
pub fn initNode(node: *NodeHeader, key: Key, head: Head) void {
    node.next.store(Link.to(0).bits(), .monotonic);
    node.hash = key.tag();
    node.table = key.table;
    node.key_size = @intCast(key.cell.len);
    node.reserved = 0;
    const bytes: [*]u8 = @ptrCast(node);
    sync.copyIn(bytes + @sizeOf(NodeHeader), key.cell.ptr, key.cell.len);
    node.head.store(head.bits(), .release);
}

test "hashOf: tables with the same key fall apart" {
    const cell = [_]u8{ 7, 0, 0, 0 };
    try std.testing.expect(hashOf(0, &cell) != hashOf(1, &cell));
}
