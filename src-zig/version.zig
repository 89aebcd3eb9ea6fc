//! Row versions, row nodes, and the words that link them.
//!
//! A row is a node (its primary key, the anchor that never moves while the row lives) and a chain
//! of versions, newest first:
//!
//!     node.head -> [at most one undecided or aborted version] -> committed E_k > E_(k-1) > ...
//!
//! Invariants:
//!
//!   * I1: the chain from `head` has the form above.
//!   * I2: from a committed version v, `v.prev` may be followed only if E(v) > the reader's pin.
//!     Older versions may be gone: nobody unlinks a superseded version, it is simply freed, and
//!     the link to it dangles from then on.
//!   * A version's payload, null mask and links do not change once a head word names it.
//!   * `xmin` goes from a transaction reference to a position or to `aborted`, once. `xmax` goes
//!     from 0 to the position of the version that superseded it, once, and before that
//!     version's own `xmin` is stamped.
//!   * When a block is reused, `xmin` is written first: a reader that finds the old `xmin`
//!     again after it copied a version has copied that version.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const slabs = @import("slabs.zig");
const TableInfo = @import("table_info.zig").TableInfo;
const Region = region_module.Region;
const Shm = sync.Shm;
const assert = std.debug.assert;

/// A granule index from the region's start: a position that means the same in every process.
/// Zero is the header and serves as null.
pub const RelPtr = u32;

/// The commit position of a transaction, its timestamp, and its place in the serial order.
pub const Position = u64;

/// Positions stay below it; 2^56 commits are out of reach.
pub const position_limit: Position = 1 << 56;

/// Who wrote a version: a reference to a running transaction, a position, or `aborted`.
pub const Xmin = struct {
    pub const reference_bit: u64 = 1 << 63;
    pub const aborted: u64 = std.math.maxInt(u64);
    pub const sequence_mask: u64 = (1 << 53) - 1;

    pub inline fn reference(of_slot: u32, of_sequence: u64) u64 {
        assert(of_slot < limits.slot_count);
        assert(of_sequence <= sequence_mask);
        return reference_bit | @as(u64, of_slot) << 53 | of_sequence;
    }
    pub inline fn isReference(word: u64) bool {
        return word & reference_bit != 0 and word != aborted;
    }
    pub inline fn slot(word: u64) u32 {
        return @intCast((word >> 53) & 0x3ff);
    }
    pub inline fn sequence(word: u64) u64 {
        return word & sequence_mask;
    }
};

pub const Flags = struct {
    /// The row is deleted as of this version.
    pub const tombstone: u8 = 1;
    /// There was no live row below this version.
    pub const insert: u8 = 2;
};

/// The first 48 bytes of a version; the payload follows. One cache line holds the header and the
/// first two 8-byte columns.
pub const Version = extern struct {
    xmin: Shm(u64),
    xmax: Shm(u64),
    prev: Shm(u32),
    /// The version that the same transaction wrote before this one: a transaction's versions are
    /// a list, and the commit cell names its end.
    txn_next: Shm(u32),
    /// The node of the row.
    row: Shm(u32),
    table: u8,
    flags: u8,
    /// Payload bytes / 8.
    payload_words: u16,
    /// Bit i set: column i is null.
    null_mask: u64,
    /// Bit i set: column i may differ from `prev`.
    dirty: u64,

    comptime {
        assert(@sizeOf(Version) == 48);
        assert(@offsetOf(Version, "null_mask") + 16 == @sizeOf(Version));
    }

    /// Asks memory for two lines, which are most or all of it.
    pub inline fn prefetch(version: *const Version) void {
        const bytes: [*]const u8 = @ptrCast(version);
        @prefetch(bytes, .{});
        @prefetch(bytes + limits.granule_size, .{});
    }

    pub inline fn payload(version: *Version) [*]u8 {
        return @as([*]u8, @ptrCast(version)) + @sizeOf(Version);
    }

    pub inline fn payloadSize(version: *const Version) usize {
        return @as(usize, version.payload_words) * 8;
    }

    pub inline fn isTombstone(version: *const Version) bool {
        return version.flags & Flags.tombstone != 0;
    }
};

/// The granules that a version with this payload takes.
pub fn versionGranules(payload_size: usize) u32 {
    const bytes = @sizeOf(Version) + payload_size;
    return @intCast(std.math.divCeil(usize, bytes, limits.granule_size) catch unreachable);
}

/// The head word of a node. A word of its own type, so that no other number is taken for one.
///
/// The low bits of the version block's generation are part of it: a compare-and-swap that
/// expects a version fails when that block was recycled and came back, even into the same row.
pub const Head = packed struct(u64) {
    version: u32,
    state: State,
    slot: u10,
    generation: u20,

    /// `dead` is final: the row is being removed by the slot in `slot`.
    pub const State = enum(u2) { live = 0, dead = 1 };
    pub const none: Head = .{ .version = 0, .state = .live, .slot = 0, .generation = 0 };

    pub inline fn to(target: RelPtr, block_generation: u32) Head {
        return .{
            .version = target,
            .state = .live,
            .slot = 0,
            .generation = @truncate(block_generation),
        };
    }
    pub inline fn dead(by_slot: u32) Head {
        return .{ .version = 0, .state = .dead, .slot = @intCast(by_slot), .generation = 0 };
    }
    pub inline fn bits(head: Head) u64 {
        return @bitCast(head);
    }
    pub inline fn from(word: u64) Head {
        return @bitCast(word);
    }
};

/// The link from one node to the next of its bucket. `marked` means that the node which holds
/// the link is removed, and freezes the link.
pub const Link = packed struct(u64) {
    node: u32,
    marked: bool,
    reserved: u31 = 0,

    pub inline fn to(target: RelPtr) Link {
        return .{ .node = target, .marked = false };
    }
    pub inline fn bits(link: Link) u64 {
        return @bitCast(link);
    }
    pub inline fn from(word: u64) Link {
        return @bitCast(word);
    }
};

/// The anchor of a row: 24 bytes, then the key cell. Nodes of one table share slabs of one
/// block size, cut to the declared key.
pub const NodeHeader = extern struct {
    /// `Head`
    head: Shm(u64),
    /// `Link`
    next: Shm(u64),
    hash: u32,
    table: u8,
    key_size: u8,
    reserved: u16,

    comptime {
        assert(@sizeOf(NodeHeader) == 24);
    }

    pub inline fn key(node: *const NodeHeader) []const u8 {
        const bytes: [*]const u8 = @ptrCast(node);
        return (bytes + @sizeOf(NodeHeader))[0..@min(node.key_size, key_cell_size_max)];
    }
};

/// The longest key cell: a length and 64 bytes of text, rounded up to a word of 8.
pub const key_cell_size_max = 72;

pub fn nodeGranules(key_cell_size: usize) u32 {
    assert(key_cell_size <= key_cell_size_max);
    const bytes = @sizeOf(NodeHeader) + key_cell_size;
    return @intCast(std.math.divCeil(usize, bytes, limits.granule_size) catch unreachable);
}

/// The kind of the slabs that hold a table's nodes: cut to its declared key.
pub fn nodeKind(table: *const TableInfo) slabs.SlabKind {
    const column = &table.columns[table.primary_key];
    const cell = if (column.kind == .text) 2 + @as(usize, column.capacity) else column.cell_size;
    return .of(.node, @intCast(table.id), nodeGranules(cell));
}

pub inline fn versionAt(region: *const Region, granule: RelPtr) *Version {
    return region.pointer(Version, granule);
}

pub inline fn nodeAt(region: *const Region, granule: RelPtr) *NodeHeader {
    return region.pointer(NodeHeader, granule);
}

test "Xmin: a reference gives back its slot and sequence, and is no position" {
    const word = Xmin.reference(3, 77);
    try std.testing.expect(Xmin.isReference(word));
    try std.testing.expectEqual(3, Xmin.slot(word));
    try std.testing.expectEqual(77, Xmin.sequence(word));
    try std.testing.expect(!Xmin.isReference(Xmin.aborted));
    try std.testing.expect(!Xmin.isReference(position_limit - 1));
}

test "Head: the same version under another generation is another word" {
    try std.testing.expect(Head.to(9, 1).bits() != Head.to(9, 2).bits());
    try std.testing.expectEqual(Head.to(9, 1).bits(), Head.to(9, 1 + (1 << 20)).bits());
}
