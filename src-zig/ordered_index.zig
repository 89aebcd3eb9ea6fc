//! The ordered index: a skip list of entries in shared memory.
//!
//! An entry is a node that holds the whole encoded key (columns and primary key, see
//! `index_key.zig`), the row's node, a state, and its tower of links. The order is (key, row), in
//! which no two entries are equal. Level 0 is the truth; the levels above are shortcuts, and an
//! entry may stand on fewer of them than its tower has.
//!
//! (Pugh 1990; the marked links are Harris 2001 and Michael 2002; Fraser 2003 for the removal top
//! down.)
//!
//! Invariants:
//!
//!   * key, row, height and table of a node do not change while it is linked
//!   * a marked link does not change; a node is unlinked only from a link that is not marked
//!   * links are marked from the top down, and only those of nodes that are dead
//!   * a node is `building` until its creator has linked the whole tower; it is not made dead
//!     before that, so no level can be linked after the node was retired
//!   * `distinct` counts the groups of equal columns among the nodes linked at level 0: each link
//!     and unlink there is one compare-and-swap, at which both neighbours are known
//!
//! Readers are pinned and never help. Writers unlink marked nodes that they meet; only the one that
//! made a node dead retires it (`index_entry.zig`).
//!
//! Killed while linking: the tower stays short, or the node was never linked; the creator's log
//! entry tells. Killed while unlinking: the next search goes on. Killed between a swap at level 0
//! and the change of `distinct`: the slot's `index_change` names the index, and it is counted anew.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const index_key = @import("index_key.zig");
const region_module = @import("region.zig");
const slabs = @import("slabs.zig");
const version_module = @import("version.zig");
const Region = region_module.Region;
const Shm = sync.Shm;
const Link = version_module.Link;
const RelPtr = version_module.RelPtr;
const assert = std.debug.assert;

pub const height_max = if (sync.sim) 3 else 24;

/// The state word of an entry.
pub const State = packed struct(u32) {
    phase: Phase,
    /// Its creator still links the tower.
    building: bool = false,
    /// Who makes it `dying` or `dead`.
    slot: u10 = 0,
    reserved: u19 = 0,

    /// Readers treat `dying` as `live`. `dead` is final.
    pub const Phase = enum(u2) { live = 0, dying = 1, dead = 2, _ };

    pub inline fn bits(state: State) u32 {
        return @bitCast(state);
    }
    pub inline fn from(word: u32) State {
        return @bitCast(word);
    }
};

/// The first 24 bytes of an entry; `height` links and the key follow.
pub const Node = extern struct {
    /// `State`
    state: Shm(u32),
    row: RelPtr,
    /// The first 8 bytes of the key, as a number.
    prefix: u64,
    columns_size: u16,
    key_size: u16,
    height: u8,
    table: u8,
    /// Number of the index within its table.
    index: u8,
    reserved: u8,

    comptime {
        assert(@sizeOf(Node) == 24);
    }

    pub inline fn links(node: *const Node) [*]Shm(u64) {
        const bytes: [*]u8 = @ptrCast(@constCast(node));
        return @ptrCast(@alignCast(bytes + @sizeOf(Node)));
    }

    pub inline fn key(node: *const Node) []const u8 {
        const bytes: [*]const u8 = @ptrCast(node);
        const at = @sizeOf(Node) + @as(usize, @min(node.height, height_max)) * 8;
        return (bytes + at)[0..@min(node.key_size, index_key.size_max)];
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
    reserved: u8,
    keys: index_key.Layout,
    /// Snapshots before this position do not find all their rows here. In phase dropping: once the
    /// horizon is here, nobody uses the index any more.
    ready_at: Shm(u64),
    padding_a: [line * 2 - 24 - @sizeOf(index_key.Layout)]u8,
    /// Groups of entries with equal columns. Changes often, so it has a cache line of its own.
    distinct: Shm(i64),
    padding_b: [line - 8]u8,
    links: [height_max]Shm(u64),

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
        assert(@offsetOf(Root, "links") == 3 * line);
    }
};

pub const root_granules: u32 = (@sizeOf(Root) + limits.granule_size - 1) / limits.granule_size;

pub inline fn nodeAt(region: *const Region, granule: RelPtr) *Node {
    return region.pointer(Node, granule);
}

pub fn nodeGranules(height: u32, key_size: u32) u32 {
    const bytes = @sizeOf(Node) + height * 8 + key_size;
    return (bytes + limits.granule_size - 1) / limits.granule_size;
}

pub fn nodeKind(table: u8, height: u32, key_size: u32) slabs.SlabKind {
    return .of(.index_node, table, nodeGranules(height, key_size));
}

/// A height from random bits: half as many nodes on each level as on the one below.
pub fn heightOf(random: u64) u32 {
    return @min(@ctz(random | 1 << 63) + 1, height_max);
}

/// What is searched for: an entry, or a place between entries.
pub const Probe = struct {
    bytes: []const u8,
    prefix: u64,
    /// Bits of the prefix that count.
    mask: u64,
    row: RelPtr,
    side: index_key.Side,

    /// The entry of this key and row.
    pub fn entry(key: []const u8, row: RelPtr) Probe {
        return .of(key, row, .before);
    }

    /// A place before or behind all entries whose keys begin with `bytes`.
    pub fn bound(bytes: []const u8, side: index_key.Side) Probe {
        return .of(bytes, 0, side);
    }

    fn of(bytes: []const u8, row: RelPtr, side: index_key.Side) Probe {
        const mask: u64 = if (bytes.len >= 8)
            std.math.maxInt(u64)
        else if (bytes.len == 0)
            0
        else
            ~(@as(u64, std.math.maxInt(u64)) >> @intCast(8 * bytes.len));
        const prefix = index_key.prefixOf(bytes);
        return .{ .bytes = bytes, .prefix = prefix, .mask = mask, .row = row, .side = side };
    }

    /// Where `node` stands to the probe.
    pub inline fn order(probe: *const Probe, node: *const Node) std.math.Order {
        const prefix = node.prefix & probe.mask;
        if (prefix != probe.prefix) return if (prefix < probe.prefix) .lt else .gt;
        return probe.orderRest(node);
    }

    fn orderRest(probe: *const Probe, node: *const Node) std.math.Order {
        const key = node.key();
        const shared = @min(key.len, probe.bytes.len);
        const compared = std.mem.order(u8, key[0..shared], probe.bytes[0..shared]);
        if (compared != .eq) return compared;
        if (key.len == probe.bytes.len) return std.math.order(node.row, probe.row);
        // Keys are not beginnings of each other: the probe is a bound, or the node is garbage.
        return if (probe.side == .before) .gt else .lt;
    }
};

/// Where a probe stands on each level: the last links before it, and what they lead to.
pub const Place = struct {
    before: [height_max][*]Shm(u64),
    /// The node of `before[0]`, 0 for the root.
    before_node: RelPtr,
    after: [height_max]RelPtr,
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

    /// Finds the place of a probe, and takes marked nodes out on its way. Returns the entry that is
    /// equal to the probe, or 0. The caller is pinned.
    pub fn find(index: OrderedIndex, slot: u32, probe: *const Probe, place: *Place) RelPtr {
        const region = index.region;
        retry: while (true) {
            var links: [*]Shm(u64) = &index.root.links;
            var links_node: RelPtr = 0;
            var known: RelPtr = 0; // not before the probe, as a level above has shown
            var level: usize = height_max;
            while (level > 0) {
                level -= 1;
                var link = Link.from(links[level].load(.acquire));
                prefetchBelow(region, links, level);
                while (true) {
                    if (link.marked) continue :retry;
                    if (link.node == 0 or link.node == known) break;
                    const node = nodeAt(region, link.node);
                    const next = Link.from(node.links()[level].load(.acquire));
                    if (next.marked) {
                        if (!index.unlink(slot, level, links, links_node, link.node, next.node)) {
                            continue :retry;
                        }
                        link = .to(next.node);
                        continue;
                    }
                    if (probe.order(node) != .lt) break;
                    links = node.links();
                    links_node = link.node;
                    link = next;
                    prefetchBelow(region, links, level);
                }
                known = link.node;
                place.before[level] = links;
                place.after[level] = known;
            }
            place.before_node = links_node;
            if (known == 0) return 0;
            return if (probe.order(nodeAt(region, known)) == .eq) known else 0;
        }
    }

    inline fn prefetchBelow(region: *const Region, links: [*]Shm(u64), level: usize) void {
        if (sync.sim or level == 0) return;
        const below = Link.from(links[level - 1].load(.monotonic));
        if (below.node != 0) @prefetch(nodeAt(region, below.node), .{});
    }

    fn unlink(
        index: OrderedIndex,
        slot: u32,
        level: usize,
        links: [*]Shm(u64),
        before: RelPtr,
        node: RelPtr,
        after: RelPtr,
    ) bool {
        const from = Link.to(node).bits();
        const to = Link.to(after).bits();
        if (level > 0) return links[level].cas(from, to, .acq_rel, .acquire) == null;
        const alone = index.isAlone(nodeAt(index.region, node), before, after);
        return index.change(slot, &links[0], from, to, if (alone) -1 else 0);
    }

    /// Swaps a link of level 0, and counts what that does to the number of groups.
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

    /// Links a node that is complete apart from its links, at level 0. False if the place has
    /// changed: search again.
    pub fn link0(index: OrderedIndex, slot: u32, granule: RelPtr, place: *const Place) bool {
        const node = nodeAt(index.region, granule);
        node.links()[0].store(Link.to(place.after[0]).bits(), .release);
        const alone = index.isAlone(node, place.before_node, place.after[0]);
        const from = Link.to(place.after[0]).bits();
        const to = Link.to(granule).bits();
        return index.change(slot, &place.before[0][0], from, to, if (alone) 1 else 0);
    }

    /// Links the levels above. The node is `building`, so its links are not marked.
    pub fn linkTower(
        index: OrderedIndex,
        slot: u32,
        granule: RelPtr,
        probe: *const Probe,
        place: *Place,
    ) void {
        const node = nodeAt(index.region, granule);
        for (1..node.height) |level| {
            while (true) {
                // An equal node that stands here is dead and on its way out. Linked before it, we
                // would hide it from the search that takes it out.
                const follower = place.after[level];
                if (follower != 0 and probe.order(nodeAt(index.region, follower)) == .eq) {
                    _ = index.find(slot, probe, place);
                    continue;
                }
                // What the place says is what the swap expects: a stale link would bring a node
                // back that was taken out.
                const from = Link.to(follower).bits();
                node.links()[level].store(from, .release);
                const to = Link.to(granule).bits();
                if (place.before[level][level].cas(from, to, .acq_rel, .acquire) == null) break;
                _ = index.find(slot, probe, place);
            }
        }
    }

    /// Takes a dead node out on every level. Can be called again, and by several at once.
    pub fn remove(index: OrderedIndex, slot: u32, granule: RelPtr) void {
        const node = nodeAt(index.region, granule);
        assert(State.from(node.state.load(.acquire)).phase == .dead);
        var level: usize = node.height;
        while (level > 0) {
            level -= 1;
            mark(&node.links()[level]);
        }
        var place: Place = undefined;
        _ = index.find(slot, &.entry(node.key(), node.row), &place);
    }

    fn mark(link: *Shm(u64)) void {
        while (true) {
            const word = link.load(.acquire);
            var marked = Link.from(word);
            if (marked.marked) return;
            marked.marked = true;
            if (link.cas(word, marked.bits(), .acq_rel, .acquire) == null) return;
        }
    }

    /// The first entry that is not before the probe, or 0. Passes marked nodes. The caller is
    /// pinned.
    pub fn seek(index: OrderedIndex, probe: *const Probe) RelPtr {
        return index.descend(probe, 0, null);
    }

    /// An entry about `span` entries before the probe, or 0 for the start of the index.
    pub fn seekBack(index: OrderedIndex, probe: *const Probe, span: u32) RelPtr {
        var back: RelPtr = 0;
        _ = index.descend(probe, std.math.log2_int_ceil(u32, span), &back);
        return back;
    }

    fn descend(index: OrderedIndex, probe: *const Probe, back_level: usize, back: ?*RelPtr) RelPtr {
        const region = index.region;
        var links: [*]Shm(u64) = &index.root.links;
        var links_node: RelPtr = 0;
        var known: RelPtr = 0;
        var level: usize = height_max;
        while (level > 0) {
            level -= 1;
            var next = Link.from(links[level].load(.acquire)).node;
            prefetchBelow(region, links, level);
            while (next != 0 and next != known) {
                const node = nodeAt(region, next);
                if (probe.order(node) != .lt) break;
                links = node.links();
                links_node = next;
                next = Link.from(links[level].load(.acquire)).node;
                prefetchBelow(region, links, level);
            }
            known = next;
            if (back) |out| if (level == @min(back_level, height_max - 1)) {
                out.* = links_node;
            };
        }
        return known;
    }

    /// The entry behind one, or behind the start (0). Passes marked nodes.
    pub inline fn following(index: OrderedIndex, granule: RelPtr) RelPtr {
        const links: [*]Shm(u64) = if (granule == 0)
            &index.root.links
        else
            nodeAt(index.region, granule).links();
        return Link.from(links[0].load(.acquire)).node;
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

/// Writes a node that is not linked.
pub fn initNode(
    node: *Node,
    root: *const Root,
    height: u32,
    key: *const index_key.Key,
    row: RelPtr,
) void {
    node.state.store((State{ .phase = .live, .building = true }).bits(), .release);
    node.row = row;
    node.prefix = index_key.prefixOf(key.slice());
    node.columns_size = key.columns_size;
    node.key_size = key.size;
    node.height = @intCast(height);
    node.table = root.table;
    node.index = root.index;
    node.reserved = 0;
    const bytes: [*]u8 = @ptrCast(node);
    sync.copyIn(bytes + @sizeOf(Node) + height * 8, &key.bytes, key.size);
}
