//! The ordered index: a list of entries in shared memory, in order.
//!
//! An entry is a node that holds the whole encoded key (columns and primary key, see
//! `index_key.zig`), the row's node, a state, and a link to the next entry. The order is
//! (key, row), in which no two entries are equal. The list is the truth; blocks of hints lead
//! near the place that is searched for (`index_guide.zig`), and what they do not know is found by
//! a few steps along the list.
//!
//! Why not blocks of entries, which would be one miss of the cache shorter: an entry must become
//! dying, dead and live again in one word, must not move while others hold it, and must be counted
//! in its group in the moment in which it is linked. A split would have to carry all that over, at
//! each of its steps. Hints may be wrong, so a split of hints carries nothing.
//!
//! (Harris 2001 and Michael 2002 for the marked links.)
//!
//! Invariants:
//!
//!   * key, row and generation of a node do not change while it is linked
//!   * a marked link does not change; a node is unlinked only from a link that is not marked
//!   * only the links of dead nodes are marked
//!   * `distinct` counts the groups of equal columns among the linked nodes: each link and unlink
//!     is one compare-and-swap, at which both neighbours are known
//!
//! Readers are pinned and never help. Writers unlink marked nodes that they meet; only the one that
//! made a node dead retires it (`index_entry.zig`).
//!
//! Killed while linking: the node is linked or was never; the creator's log entry tells. Killed
//! while unlinking: the next search goes on. Killed between a swap and the change of `distinct`:
//! the slot's `index_change` names the index, and it is counted anew.

const std = @import("std");
const sync = @import("sync");
const index_guide = @import("index_guide.zig");
const index_guide_block = @import("index_guide_block.zig");
const index_guide_change = @import("index_guide_change.zig");
const index_key = @import("index_key.zig");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const slabs = @import("slabs.zig");
const version_module = @import("version.zig");
const Region = region_module.Region;
const Shm = sync.Shm;
const Link = version_module.Link;
const RelPtr = version_module.RelPtr;
const assert = std.debug.assert;

/// The state word of an entry.
pub const State = packed struct(u32) {
    phase: Phase,
    /// Who makes it `dying` or `dead`.
    slot: u10 = 0,
    reserved: u20 = 0,

    /// Readers treat `dying` as `live`. `dead` is final.
    pub const Phase = enum(u2) { live = 0, dying = 1, dead = 2, _ };

    pub inline fn bits(state: State) u32 {
        return @bitCast(state);
    }
    pub inline fn from(word: u32) State {
        return @bitCast(word);
    }
};

/// The first 32 bytes of an entry; the key follows.
pub const Node = extern struct {
    /// `Link` to the next entry. This and the generation come first: `index_guide_block.Anchor`.
    link: Shm(u64),
    generation: Shm(u32),
    /// `State`
    state: Shm(u32),
    /// The first bytes of the key, as a number; see `index_key.Layout.prefixOf`.
    prefix: u64,
    row: RelPtr,
    columns_size: u16,
    key_size: u16,

    comptime {
        assert(@sizeOf(Node) == 32);
        assert(@offsetOf(Node, "link") == @offsetOf(index_guide_block.Anchor, "link"));
        assert(@offsetOf(Node, "generation") == @offsetOf(index_guide_block.Anchor, "generation"));
    }

    pub inline fn key(node: *const Node) []const u8 {
        const bytes: [*]const u8 = @ptrCast(node);
        return (bytes + @sizeOf(Node))[0..@min(node.key_size, index_key.size_max)];
    }

    pub inline fn columns(node: *const Node) []const u8 {
        return node.key()[0..@min(node.columns_size, node.key_size)];
    }
};

/// What one index is and where it begins. Does not move and is not freed.
pub const Root = extern struct {
    /// The next index of the same table, or 0.
    next: Shm(u32),
    /// `Phase`
    phase: Shm(u32),
    /// Nonzero: a process died while it changed `distinct`, which must be counted anew.
    recount: Shm(u32),
    table: u8,
    /// Number of the index within its table.
    index: u8,
    flags: u8,
    /// 1 once some block of the guide had a summary (`index_summary.zig`).
    summarized: Shm(u8),
    keys: index_key.Layout,
    /// Snapshots before this position do not find all their rows here. In phase dropping: once the
    /// horizon is here, nobody uses the index any more.
    ready_at: Shm(u64),
    padding_a: [line * 2 - 24 - @sizeOf(index_key.Layout)]u8,
    /// Groups of entries with equal columns. Changes often, so it has a cache line of its own.
    distinct: Shm(i64),
    padding_b: [line - 8]u8,
    /// Links to the first entry, and to the first block of each level of the guide.
    heads: [index_guide_block.level_count]Shm(u64),

    pub const Phase = enum(u32) {
        none = 0,
        /// Writers keep it, queries do not use it: not all old rows are in.
        building = 1,
        ready = 2,
        /// Given up; its entries go. Then it is `none`, and may be built again.
        emptying = 3,
        /// Dropped: from now on nobody keeps it or begins to use it. Its entries stay for those who
        /// have begun; then they go, and it is `none`.
        dropping = 4,
        _,

        /// Whether writers keep it.
        pub fn isKept(phase: Phase) bool {
            return phase == .building or phase == .ready;
        }
    };

    pub const flag_unique: u8 = 1;
    const line = limits.granule_size;

    comptime {
        assert(@offsetOf(Root, "distinct") == 2 * line);
        assert(@offsetOf(Root, "heads") == 3 * line);
    }
};

pub const root_granules: u32 = (@sizeOf(Root) + limits.granule_size - 1) / limits.granule_size;

pub inline fn nodeAt(region: *const Region, granule: RelPtr) *Node {
    return region.pointer(Node, granule);
}

pub fn nodeKind(table: u8, key_size: u32) slabs.SlabKind {
    const bytes = @sizeOf(Node) + key_size;
    return .of(.index_node, table, (bytes + limits.granule_size - 1) / limits.granule_size);
}

/// What is searched for: an entry, or a place between entries.
pub const Probe = struct {
    bytes: []const u8,
    prefix: u64,
    /// Bits of the prefix that count.
    mask: u64,
    row: RelPtr,
    side: index_key.Side,
    /// Keys with the same prefix all stand on one side of the probe.
    decided: bool,

    /// The entry of this key and row.
    pub fn entry(key: []const u8, row: RelPtr, prefix: u64) Probe {
        return .{
            .bytes = key,
            .prefix = prefix,
            .mask = std.math.maxInt(u64),
            .row = row,
            .side = .before,
            .decided = false,
        };
    }

    /// The entry that a node is.
    pub inline fn of(node: *const Node) Probe {
        return .entry(node.key(), node.row, node.prefix);
    }

    /// A place before or behind all entries whose keys begin with `bytes`.
    pub fn bound(keys: *const index_key.Layout, bytes: []const u8, side: index_key.Side) Probe {
        const prefix = keys.boundPrefix(bytes, side);
        return .{
            .bytes = bytes,
            .prefix = prefix.bits,
            .mask = prefix.mask,
            .row = 0,
            .side = side,
            .decided = prefix.decided,
        };
    }

    /// The place of a bound.
    pub fn at(keys: *const index_key.Layout, place: *const index_key.Bound) Probe {
        return .bound(keys, place.slice(), place.side);
    }

    /// Whether it is a place before all entries.
    pub fn isStart(probe: *const Probe) bool {
        return probe.bytes.len == 0 and probe.side == .before;
    }

    /// Whether it is a place behind all entries.
    pub fn isEnd(probe: *const Probe) bool {
        return probe.bytes.len == 0 and probe.side == .after;
    }

    /// Where `node` stands to the probe.
    pub inline fn order(probe: *const Probe, node: *const Node) std.math.Order {
        const prefix = node.prefix & probe.mask;
        if (prefix != probe.prefix) return if (prefix < probe.prefix) .lt else .gt;
        const compared = probe.orderRest(node.key());
        return if (compared == .eq) std.math.order(node.row, probe.row) else compared;
    }

    /// Where a key stands to the probe, rows apart.
    pub fn orderKey(probe: *const Probe, key_prefix: u64, key: []const u8) std.math.Order {
        const prefix = key_prefix & probe.mask;
        if (prefix != probe.prefix) return if (prefix < probe.prefix) .lt else .gt;
        return probe.orderRest(key);
    }

    fn orderRest(probe: *const Probe, key: []const u8) std.math.Order {
        const shared = @min(key.len, probe.bytes.len);
        const compared = std.mem.order(u8, key[0..shared], probe.bytes[0..shared]);
        if (compared != .eq or key.len == probe.bytes.len) return compared;
        // Keys are not beginnings of each other: the probe is a bound, or the node is garbage.
        return if (probe.side == .before) .gt else .lt;
    }
};

/// Where a probe stands: the last link before it, and what it leads to.
pub const Place = struct {
    before: *Shm(u64),
    /// The node of `before`, 0 for the root.
    before_node: RelPtr,
    after: RelPtr,
    /// Where the guide would have a hint for it.
    trail: index_guide.Trail,
    /// Entries that the guide did not know of.
    steps: u32,
};

/// One process's hand on an index, for a slot that it owns or recovers.
pub const OrderedIndex = struct {
    region: *const Region,
    root: *Root,
    /// Granule of the root: the name of the index in `slot.index_change`.
    root_granule: u32,

    pub fn at(region: *const Region, granule: u32) OrderedIndex {
        return .{
            .region = region,
            .root = region.pointer(Root, granule),
            .root_granule = granule,
        };
    }

    pub inline fn guide(index: OrderedIndex) index_guide.Guide {
        return .{
            .region = index.region,
            .root = index.root,
            .root_granule = index.root_granule,
        };
    }

    inline fn linkOf(index: OrderedIndex, granule: RelPtr) *Shm(u64) {
        return if (granule == 0) &index.root.heads[0] else &nodeAt(index.region, granule).link;
    }

    /// Finds the place of a probe, and takes marked nodes out on its way. Returns the entry that is
    /// equal to the probe, or 0. The caller is pinned.
    pub fn find(index: OrderedIndex, slot: u32, probe: *const Probe, place: *Place) RelPtr {
        return index.findNear(slot, probe, &.none, place);
    }

    /// The same, beginning at a block of the guide, see `Guide.entryNear`.
    pub fn findNear(
        index: OrderedIndex,
        slot: u32,
        probe: *const Probe,
        near: *const index_guide.Near,
        place: *Place,
    ) RelPtr {
        const region = index.region;
        retry: while (true) {
            place.trail = .{};
            place.steps = 0;
            place.before_node = index.guide().entryNear(near, probe, &place.trail);
            place.before = index.linkOf(place.before_node);
            while (true) {
                const link = Link.from(place.before.load(.acquire));
                if (link.marked) continue :retry;
                place.after = link.node;
                if (link.node == 0) return 0;
                const node = nodeAt(region, link.node);
                const next = Link.from(node.link.load(.acquire));
                if (next.marked) {
                    if (!index.unlink(slot, place, next.node)) continue :retry;
                    continue;
                }
                switch (probe.order(node)) {
                    .lt => {},
                    .eq => return link.node,
                    .gt => return 0,
                }
                place.before = &node.link;
                place.before_node = link.node;
                place.steps += 1;
            }
        }
    }

    fn unlink(index: OrderedIndex, slot: u32, place: *const Place, after: RelPtr) bool {
        const from = Link.to(place.after).bits();
        const node = nodeAt(index.region, place.after);
        const alone = index.isAlone(node, place.before_node, after);
        return index.change(slot, place.before, from, Link.to(after).bits(), if (alone) -1 else 0);
    }

    /// Swaps a link, and counts what that does to the number of groups.
    fn change(index: OrderedIndex, slot: u32, link: *Shm(u64), from: u64, to: u64, by: i64) bool {
        if (by == 0) return link.cas(from, to, .acq_rel, .acquire) == null;
        const note = &index.region.slots[slot].index_change;
        note.store(index.root_granule, .release);
        const done = link.cas(from, to, .acq_rel, .acquire) == null;
        if (done) _ = index.root.distinct.fetchAdd(by, .monotonic);
        note.store(0, .release);
        return done;
    }

    /// Whether neither neighbour has the columns of `node`.
    fn isAlone(index: OrderedIndex, node: *const Node, before: RelPtr, after: RelPtr) bool {
        const columns = node.columns();
        for ([_]RelPtr{ before, after }) |neighbour| {
            if (neighbour == 0) continue;
            const other = nodeAt(index.region, neighbour);
            if (std.mem.eql(u8, other.columns(), columns)) return false;
        }
        return true;
    }

    /// Links a node that is complete apart from its link. False if the place has changed: search
    /// again.
    pub fn insert(index: OrderedIndex, slot: u32, granule: RelPtr, place: *const Place) bool {
        const node = nodeAt(index.region, granule);
        const from = Link.to(place.after).bits();
        node.link.store(from, .release);
        const alone = index.isAlone(node, place.before_node, place.after);
        const to = Link.to(granule).bits();
        return index.change(slot, place.before, from, to, if (alone) 1 else 0);
    }

    /// Takes a dead node out. Can be called again, and by several at once. `found` is where the
    /// caller has found the node under this pin, or null. Returns a block of the guide that is
    /// empty now, see `index_guide_change.reclaim`, or 0.
    pub fn remove(index: OrderedIndex, slot: u32, granule: RelPtr, found: ?*const Place) RelPtr {
        const node = nodeAt(index.region, granule);
        assert(State.from(node.state.load(.acquire)).phase == .dead);
        mark(&node.link);
        if (found) |place| {
            assert(place.after == granule);
            // Its link does not change any more. If the one before it has changed, search again.
            const next = Link.from(node.link.load(.acquire)).node;
            if (index.unlink(slot, place, next)) return index.dropHint(slot, place, granule);
        }
        var place: Place = undefined;
        _ = index.find(slot, &.of(node), &place);
        return index.dropHint(slot, &place, granule);
    }

    fn dropHint(index: OrderedIndex, slot: u32, place: *const Place, granule: RelPtr) RelPtr {
        const prefix = nodeAt(index.region, granule).prefix;
        return index_guide_change.drop(index.guide(), slot, place.trail, granule, prefix);
    }

    /// The first entry that is not before the probe, or 0. Passes marked nodes. The caller is
    /// pinned.
    pub fn seek(index: OrderedIndex, probe: *const Probe) RelPtr {
        var trail: index_guide.Trail = .{};
        return index.seekTrail(probe, &trail);
    }

    /// The same, and says where the guide knows of it.
    pub fn seekTrail(index: OrderedIndex, probe: *const Probe, trail: *index_guide.Trail) RelPtr {
        var granule = index.following(index.guide().entryBefore(probe, trail));
        while (granule != 0) : (granule = index.following(granule)) {
            if (probe.order(nodeAt(index.region, granule)) != .lt) break;
        }
        return granule;
    }

    /// An entry up to `span` entries before the probe, but hardly further than `low`, or 0 for the
    /// start of the index.
    pub fn seekBack(
        index: OrderedIndex,
        probe: *const Probe,
        low: *const Probe,
        span: u32,
    ) RelPtr {
        return index.guide().entryBack(probe, low, span);
    }

    /// The entry behind one, or behind the start (0). Passes marked nodes.
    pub inline fn following(index: OrderedIndex, granule: RelPtr) RelPtr {
        return Link.from(index.linkOf(granule).load(.acquire)).node;
    }

    /// The number of groups, counted. Exact only while nobody changes the index.
    pub fn countGroups(index: OrderedIndex) u64 {
        var groups: u64 = 0;
        var before: RelPtr = 0;
        var node = index.following(0);
        while (node != 0) : (node = index.following(node)) {
            const same = before != 0 and std.mem.eql(
                u8,
                nodeAt(index.region, before).columns(),
                nodeAt(index.region, node).columns(),
            );
            if (!same) groups += 1;
            before = node;
        }
        return groups;
    }
};

/// Marks the link of what is to be taken out of its list: it does not change any more.
pub fn mark(link: *Shm(u64)) void {
    while (true) {
        const word = link.load(.acquire);
        var marked = Link.from(word);
        if (marked.marked) return;
        marked.marked = true;
        if (link.cas(word, marked.bits(), .acq_rel, .acquire) == null) return;
    }
}

/// Writes a node that is not linked. `generation` is that of its memory.
pub fn initNode(
    node: *Node,
    root: *const Root,
    generation: u32,
    key: *const index_key.Key,
    row: RelPtr,
) void {
    // Before all else: hints for what stood here must not fit any more.
    node.generation.store(generation, .release);
    node.state.store((State{ .phase = .live }).bits(), .release);
    node.prefix = root.keys.prefixOf(key.slice());
    node.row = row;
    node.columns_size = key.columns_size;
    node.key_size = key.size;
    const bytes: [*]u8 = @ptrCast(node);
    sync.copyIn(bytes + @sizeOf(Node), &key.bytes, key.size);
}
