//! The region: where every shared structure stands, and nothing about how it is used.
//!
//!     header | control | processes | slots | row counts | tickets | cells | buckets
//!            | slab metas | (aligned to a slab) slabs ...
//!
//! `layout` computes the offsets from a `Config`; `format` writes an empty region into zeroed
//! memory; `Region.init` resolves the offsets against one process's mapping. Everything is found
//! by offsets from the region's start, never by address, so that every process may map the
//! region anywhere.
//!
//! Invariants:
//!
//!   * parts do not overlap and stand in the order above, each aligned to `line_pair`
//!   * everything before `slabs_offset` is backed by memory from creation on
//!   * a slab below `control.memory.slab_top` is backed by memory, one above may not be
//!   * the header does not change after creation, apart from the words declared `Shm`

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const commit_ring = @import("commit_ring.zig");
const Shm = sync.Shm;
const assert = std.debug.assert;

pub const magic_expected: u32 = 0xAEB0_B007;
/// Bumped when the offset or the meaning of a shared field changes.
pub const layout_version_current: u32 = 1;

pub const RegionState = enum(u32) { building = 1, ready = 2, retired = 3 };

/// The first 4096 bytes of the region file.
pub const Header = extern struct {
    magic: u32,
    layout_version: u32,
    /// Hash over sizes and offsets of every shared structure of the build that made the region.
    layout_hash: u64,
    store_uuid: [16]u8,
    boot_id: [16]u8,
    /// Raised by each cold recovery, so that a stale region cannot be taken for the current one.
    incarnation: u64,
    /// Bytes that the region may ever use; every process maps this many.
    size_max: u64,
    cells_log2: u32,
    buckets_log2: u32,
    slab_count: u32,
    reserved_a: u32,
    offsets: Offsets,
    state: Shm(u32),
    /// Nonzero after an assertion failed in a process that was attached.
    poisoned: Shm(u32),
    /// 1 after the last process detached in order, 0 while anyone is attached.
    clean_shutdown: Shm(u32),
    reserved_b: u32,
    /// Zero, so that a later version can tell "absent" from "set".
    reserved: [4096 - 168]u8,

    comptime {
        assert(@sizeOf(Header) == 4096);
    }
};

/// Bytes from the region's start to each part.
pub const Offsets = extern struct {
    control: u64,
    processes: u64,
    slots: u64,
    row_counts: u64,
    tickets: u64,
    cells: u64,
    buckets: u64,
    slab_metas: u64,
    slabs: u64,
};

/// One word alone on its pair of cache lines.
fn Padded(comptime T: type) type {
    return extern struct {
        word: Shm(T),
        padding: [limits.line_pair - @sizeOf(T)]u8,
    };
}

/// The global words. See `commit_ring.zig` for the watermarks.
pub const Control = extern struct {
    /// Last position handed out. Written by every commit.
    next: Padded(u64),
    /// {leader epoch:8, position:56}: every position up to it is decided, stamped and logged.
    drained: Padded(u64),
    /// Every position up to it is decided and stamped.
    stamped: Padded(u64),
    /// {leader epoch:8, position:56}: every position up to it is on disk.
    durable: Padded(u64),
    shared: SharedLine,
    leader: LeaderLine,
    memory: MemoryLine,
    log: LogLine,
    catalogue: CatalogueLine,
};

/// What can be expected of the log, `shared.log_state`.
pub const LogState = enum(u32) {
    /// There is none: `drained` follows `stamped`.
    none = 0,
    working = 1,
    /// The disk is full: commits are refused until a segment could be prepared.
    no_space = 2,
    /// Writing or syncing failed: commits are refused until all is written anew.
    failed = 3,
    _,
};

/// Rarely written, read by everybody.
pub const SharedLine = extern struct {
    /// Positions up to it were decided before any pin that shows it.
    epoch: Shm(u64),
    /// No pin is older: what was retired at or before it can be reused.
    horizon: Shm(u64),
    /// Slot and sequence of the transaction that has asked others not to start commits, or 0.
    gate: Shm(u64),
    log_state: Shm(u32),
    /// How full the region is, from 0 to 3; see `pressure.zig`.
    memory_pressure: Shm(u32),
    checkpoint_start: Shm(u64),
    /// Nonzero while the maintenance thread sleeps and wants a wake-up from committers.
    drainer_sleeping: Shm(u32),
    /// Milliseconds after which a resting snapshot is revoked; 0 for never.
    snapshot_age_ms_max: Shm(u32),
    /// Milliseconds after which a process that is stuck in an operation is killed; 0 for never.
    kill_stalled_after_ms: Shm(u32),
    /// 1: a commit waits until its record is on disk, unless it says otherwise.
    synchronous_commit: Shm(u32),
    reserved: [limits.line_pair - 56]u8,
};

pub const LeaderLine = extern struct {
    /// {epoch:16, process + 1:8, process generation:40}, 0 while there is none.
    word: Shm(u64),
    heartbeat: Shm(u64),
    /// Futex of the maintenance threads.
    wake: Shm(u32),
    reserved_a: u32,
    recovered_processes: Shm(u64),
    kicks: Shm(u64),
    revocations: Shm(u64),
    reserved: [limits.line_pair - 48]u8,
};

pub const MemoryLine = extern struct {
    /// Bytes from the region's start that are backed by memory.
    committed: Shm(u64),
    /// Slabs at or above it were never taken.
    slab_top: Shm(u32),
    reserved_a: u32,
    reserved: [limits.line_pair - 16]u8,
};

/// The log on disk, as its leader and those who wait for it see it; see `durability.zig`.
pub const LogLine = extern struct {
    /// {epoch:16, process + 1:8, process generation:40} of the process that writes the log, or 0.
    leader: Shm(u64),
    /// Moves while the leader is at work.
    heartbeat: Shm(u64),
    /// The last position that has a record; those after it, up to `drained`, were skipped.
    logged: Shm(u64),
    /// Number of the segment that is being written. It only goes up.
    segment: Shm(u64),
    /// The highest position that somebody wants to have on disk.
    sync_wanted: Shm(u64),
    /// Futex of the leader's log thread, and whether it sleeps and wants to be woken.
    wake: Shm(u32),
    sleeping: Shm(u32),
    /// Futex of those who wait for `durable` or for another log state, and how many they are.
    durable_wake: Shm(u32),
    durable_waiters: Shm(u32),
    /// Seconds from one checkpoint to the next; 0 for none by time.
    checkpoint_interval_secs: Shm(u32),
    /// Waits for `durable` that have begun, around the wrap, and a futex of who waits for more of
    /// them; how many it waits for, 0 while nobody does. See `log_gather.zig`.
    arrivals: Shm(u32),
    /// Where the record of `logged` stands, {number of the segment:32, offset:32}; stored after
    /// `logged`, so that a kill can leave an older one.
    logged_place: Shm(u64),
    /// A position that has a record on disk: the last one, or a little before it.
    durable_logged: Shm(u64),
    gather_target: Shm(u32),
    reserved_a: [limits.line_pair - 84]u8,
    /// Counters for `stats`.
    bytes: Shm(u64),
    rows_full: Shm(u64),
    rows_delta: Shm(u64),
    row_bytes_full: Shm(u64),
    row_bytes_delta: Shm(u64),
    batches: Shm(u64),
    syncs: Shm(u64),
    takeovers: Shm(u64),
    /// Start of the newest checkpoint, and of the one before it, from which the log is kept.
    checkpoint_newest: Shm(u64),
    checkpoint_older: Shm(u64),
    checkpoints: Shm(u64),
    /// Rows that the running checkpoint or backup has written, and of about how many; 0 while none
    /// runs. One that was killed leaves them as they are, until the next.
    checkpoint_rows: Shm(u64),
    checkpoint_rows_expected: Shm(u64),
    /// Files that the last checkpoint had no use for and could not remove.
    checkpoint_files_left: Shm(u64),
    reserved_b: [limits.line_pair - 112]u8,

    comptime {
        assert(@sizeOf(LogLine) == 2 * limits.line_pair);
    }
};

pub const CatalogueLine = extern struct {
    /// Raised after each published change of `tables`.
    version: Shm(u32),
    table_count: Shm(u32),
    /// Granule of each table's descriptor, 0 while there is none.
    tables: [limits.table_count_max]Shm(u32),
    /// Granule of each table's first index, 0 while there is none; see `table_indexes.zig`.
    indexes: [limits.table_count_max]Shm(u32),
    reserved: [padding]u8,

    const padding = blk: {
        const used = 8 + 8 * limits.table_count_max;
        break :blk std.mem.alignForward(usize, used + 1, limits.line_pair) - used;
    };
};

pub const ProcessState = enum(u32) { free = 0, active = 1 };

/// Who holds lock byte 16 + i. The byte says who lives; the entry says who it is.
pub const Process = extern struct {
    state: Shm(u32),
    pid: Shm(u32),
    /// Clock ticks since boot, for diagnosis only.
    start_time: Shm(u64),
    pid_namespace: Shm(u64),
    /// Raised by each attach: a reused entry is not the old process.
    generation: Shm(u64),
    reserved: [32]u8,

    comptime {
        assert(@sizeOf(Process) == 64);
    }
};

/// A transaction slot. The first pair of lines is read by others, the second by its owner.
pub const Slot = extern struct {
    /// {sequence:53, state:3}, see `commit_ring.State`.
    word: Shm(u64),
    /// The position of the running transaction, valid in state sequenced.
    end: Shm(u64),
    /// See `pins.zig`.
    pin: Shm(u64),
    /// Microseconds that others wait without progress before they kick; doubled by each kick.
    patience: Shm(u32),
    /// Raised while installing, so that a waiter can tell slow from stopped.
    progress: Shm(u32),
    padding_a: [limits.line_pair - 32]u8,
    /// {process + 1:16, process generation:48}, 0 while free.
    claim: Shm(u64),
    /// Number of the next entry to write; entries are numbered without end.
    log_head: Shm(u64),
    /// Number of the oldest entry that is not done, and its chunk; see `slot_log.Tail`.
    log_tail: Shm(u64),
    commits: Shm(u64),
    aborts: Shm(u64),
    kicked: Shm(u64),
    /// Commits that validation refused.
    conflicts: Shm(u64),
    /// Attempts that began again, and looks at others that were still undecided.
    retries: Shm(u64),
    waits: Shm(u64),
    /// Root of the index whose number of groups the owner is about to change, or 0.
    index_change: Shm(u32),
    /// A block of a guide that the owner has taken and perhaps not linked yet, or 0.
    guide_block: Shm(u32),
    padding_b: [limits.line_pair - 80]u8,

    comptime {
        assert(@sizeOf(Slot) == 2 * limits.line_pair);
    }
};

/// One for each slab. Who may allocate from it, and of what its blocks are.
pub const SlabMeta = extern struct {
    /// Slot + 1 of the one slot that may allocate from the slab, or 0.
    owner: Shm(u32),
    /// `SlabKind` as an integer; 0 means never used.
    kind: Shm(u32),
    /// Set by whoever frees a block, cleared by the owner before it scans. A hint.
    has_free: Shm(u32),
    reserved: u32,

    comptime {
        assert(@sizeOf(SlabMeta) == 16);
    }
};

/// Where the rows begin whose keys have the same lower bits of the hash.
pub const Bucket = extern struct {
    /// The first node of the chain, or 0.
    head: Shm(u32),
    /// The version that was put last on some node of the chain, as far as anybody knows: something
    /// to ask memory for while the node is on its way, and nothing else. See `pk_map.zig`.
    hint: Shm(u32),

    comptime {
        assert(@sizeOf(Bucket) == 8);
    }
};

/// What decides the layout, apart from the build.
pub const Config = struct {
    size_max: u64,
    cells_log2: u6,
    buckets_log2: u6,

    /// The usual proportions for a region that may grow to `size_max` bytes.
    pub fn forSize(size_max: u64) Config {
        assert(size_max >= limits.region_size_min);
        const log2: u6 = @intCast(std.math.log2_int(u64, size_max));
        return .{
            .size_max = std.mem.alignBackward(u64, size_max, limits.slab_size),
            .cells_log2 = std.math.clamp(log2 - 8, 10, 18),
            // One bucket for each 256 bytes: more than one row in a bucket is the exception.
            .buckets_log2 = @max(10, log2 - 8),
        };
    }
};

pub const Layout = struct {
    offsets: Offsets,
    slab_count: u32,
    /// Bytes that must be backed by memory from creation on.
    fixed_size: u64,
};

pub const row_count_row = limits.slot_count;

/// Pure: where each part of a region with this configuration stands.
pub fn layout(config: Config) error{TooSmall}!Layout {
    var at: u64 = @sizeOf(Header);
    var offsets: Offsets = undefined;
    const cells = @as(u64, 1) << config.cells_log2;
    const buckets = @as(u64, 1) << config.buckets_log2;
    const slabs_possible = config.size_max / limits.slab_size;
    const parts = .{
        .{ "control", @sizeOf(Control) },
        .{ "processes", @sizeOf(Process) * limits.process_count },
        .{ "slots", @sizeOf(Slot) * limits.slot_count },
        .{ "row_counts", 8 * row_count_row * limits.table_count_max },
        .{ "tickets", 8 * limits.ticket_count },
        .{ "cells", 8 * cells },
        .{ "buckets", @sizeOf(Bucket) * buckets },
        .{ "slab_metas", @sizeOf(SlabMeta) * slabs_possible },
    };
    inline for (parts) |part| {
        @field(offsets, part[0]) = at;
        at = std.mem.alignForward(u64, at + part[1], limits.line_pair);
    }
    offsets.slabs = std.mem.alignForward(u64, at, limits.slab_size);
    if (offsets.slabs + 4 * limits.slab_size > config.size_max) return error.TooSmall;
    return .{
        .offsets = offsets,
        .slab_count = @intCast((config.size_max - offsets.slabs) / limits.slab_size),
        .fixed_size = offsets.slabs,
    };
}

/// Changes whenever two builds would disagree about a shared byte.
pub const layout_hash: u64 = blk: {
    @setEvalBranchQuota(200_000);
    const version = @import("version.zig");
    const slot_log = @import("slot_log.zig");
    const ordered_index = @import("ordered_index.zig");
    const index_guide_block = @import("index_guide_block.zig");
    const index_key = @import("index_key.zig");
    var hash: u64 = 0xcbf29ce484222325;
    for (.{
        Header,             Offsets,          Control,                 SharedLine,
        LeaderLine,         MemoryLine,       LogLine,                 CatalogueLine,
        Process,            Slot,             SlabMeta,                version.Version,
        version.NodeHeader, slot_log.Entry,   slot_log.ChunkHeader,    ordered_index.Node,
        ordered_index.Root, index_key.Layout, index_guide_block.Block, Bucket,
    }) |T| {
        hash = mixText(hash, @typeName(T));
        for (std.meta.fields(T)) |field| {
            hash = mixText(hash, field.name);
            hash = (hash ^ @offsetOf(T, field.name)) *% 0x100000001b3;
        }
        hash = (hash ^ @sizeOf(T)) *% 0x100000001b3;
    }
    for (.{
        limits.granule_size,   limits.slab_size,       limits.slot_count,      limits.process_count,
        limits.log_chunk_size, limits.table_count_max, layout_version_current,
    }) |number| hash = (hash ^ number) *% 0x100000001b3;
    break :blk if (@import("build_options").other_layout) ~hash else hash;
};

fn mixText(start: u64, text: []const u8) u64 {
    var hash = start;
    for (text) |byte| hash = (hash ^ byte) *% 0x100000001b3;
    return hash;
}

/// One process's mapping of a region. Copying it is fine; the memory must outlive it.
pub const Region = struct {
    base: [*]align(4096) u8,
    header: *Header,
    control: *Control,
    processes: *[limits.process_count]Process,
    slots: *[limits.slot_count]Slot,
    /// [table][slot]; see `row_count.zig`.
    row_counts: [*]Shm(u64),
    tickets: *[limits.ticket_count]Shm(u64),
    cells: [*]Shm(u64),
    buckets: [*]Bucket,
    slab_metas: [*]SlabMeta,
    cells_log2: u6,
    bucket_mask: u64,
    slab_count: u32,
    /// Granule of the first slab.
    slabs_first: u32,
    /// Makes the region at least `bytes` long; set by the owner of the file.
    grow: ?*const fn (context: *anyopaque, bytes: u64) error{RegionFull}!void = null,
    grow_context: *anyopaque = undefined,
    /// Brings the log forward in the calling thread, if this process writes it; set by the store.
    drain_log: ?*const fn (context: *anyopaque) void = null,
    drain_context: *anyopaque = undefined,

    /// The header must have been checked (`checkHeader`) or written by `format`.
    pub fn init(base: [*]align(4096) u8) Region {
        const header: *Header = @ptrCast(base);
        const o = &header.offsets;
        return .{
            .base = base,
            .header = header,
            .control = at(Control, base, o.control),
            .processes = at([limits.process_count]Process, base, o.processes),
            .slots = at([limits.slot_count]Slot, base, o.slots),
            .row_counts = @ptrCast(at(Shm(u64), base, o.row_counts)),
            .tickets = at([limits.ticket_count]Shm(u64), base, o.tickets),
            .cells = @ptrCast(at(Shm(u64), base, o.cells)),
            .buckets = @ptrCast(at(Bucket, base, o.buckets)),
            .slab_metas = @ptrCast(at(SlabMeta, base, o.slab_metas)),
            .cells_log2 = @intCast(header.cells_log2),
            .bucket_mask = (@as(u64, 1) << @intCast(header.buckets_log2)) - 1,
            .slab_count = header.slab_count,
            .slabs_first = @intCast(o.slabs / limits.granule_size),
        };
    }

    fn at(comptime T: type, base: [*]align(4096) u8, offset: u64) *T {
        return @ptrCast(@alignCast(base + offset));
    }

    /// The address of a granule, as a pointer to what its caller knows to stand there.
    pub inline fn pointer(region: *const Region, comptime T: type, granule: u32) *T {
        assert(granule >= region.slabs_first);
        comptime assert(@alignOf(T) <= limits.granule_size);
        // The base stands at a page: to test that for each pointer is much of what a look costs.
        @setRuntimeSafety(false);
        return @ptrCast(@alignCast(region.base + @as(u64, granule) * limits.granule_size));
    }

    pub inline fn slabOf(region: *const Region, granule: u32) u32 {
        assert(granule >= region.slabs_first);
        return (granule - region.slabs_first) / limits.slab_granules;
    }

    pub inline fn slabGranule(region: *const Region, slab: u32) u32 {
        assert(slab < region.slab_count);
        return region.slabs_first + slab * limits.slab_granules;
    }

    pub inline fn rowCount(region: *const Region, table: u8, slot: u32) *Shm(u64) {
        return &region.row_counts[@as(usize, table) * row_count_row + slot];
    }
};

pub const HeaderError = error{ NotAerostore, LayoutVersion, Corrupt };

/// Checks a private copy of a header that another process or a file wrote.
pub fn checkHeader(header: *const Header, file_size: u64) HeaderError!void {
    if (header.magic != magic_expected) return error.NotAerostore;
    if (header.layout_version != layout_version_current) return error.LayoutVersion;
    if (header.layout_hash != layout_hash) return error.LayoutVersion;
    if (header.size_max < limits.region_size_min) return error.Corrupt;
    if (header.size_max > limits.region_size_max) return error.Corrupt;
    if (header.size_max % limits.slab_size != 0) return error.Corrupt;
    const cells_min = if (sync.sim) 0 else 10;
    if (header.cells_log2 < cells_min or header.cells_log2 > 24) return error.Corrupt;
    if (header.buckets_log2 < cells_min or header.buckets_log2 > 31) return error.Corrupt;
    const expected = layout(.{
        .size_max = header.size_max,
        .cells_log2 = @intCast(header.cells_log2),
        .buckets_log2 = @intCast(header.buckets_log2),
    }) catch return error.Corrupt;
    if (!std.meta.eql(expected.offsets, header.offsets)) return error.Corrupt;
    if (expected.slab_count != header.slab_count) return error.Corrupt;
    if (file_size < expected.fixed_size) return error.Corrupt;
}

pub const Identity = struct {
    store_uuid: [16]u8 = @splat(0),
    boot_id: [16]u8 = @splat(0),
    incarnation: u64 = 1,
    /// The position of the empty store, or the one from which a recovered store goes on.
    start_position: u64 = 1,
};

/// Writes an empty region into zeroed memory of at least `layout(config).fixed_size` bytes. The
/// state is `building`; whoever owns the file sets it to `ready`.
pub fn format(base: [*]align(4096) u8, config: Config, identity: Identity) error{TooSmall}!void {
    const plan = try layout(config);
    const header: *Header = @ptrCast(base);
    header.* = .{
        .magic = magic_expected,
        .layout_version = layout_version_current,
        .layout_hash = layout_hash,
        .store_uuid = identity.store_uuid,
        .boot_id = identity.boot_id,
        .incarnation = identity.incarnation,
        .size_max = config.size_max,
        .cells_log2 = config.cells_log2,
        .buckets_log2 = config.buckets_log2,
        .slab_count = plan.slab_count,
        .reserved_a = 0,
        .offsets = plan.offsets,
        .state = .init(@intFromEnum(RegionState.building)),
        .poisoned = .init(0),
        .clean_shutdown = .init(0),
        .reserved_b = 0,
        .reserved = @splat(0),
    };
    const region = Region.init(base);
    // Position 1 is the empty store. A pin of epoch 0 would look like "no pin".
    const start = identity.start_position;
    assert(start >= 1);
    inline for (.{ "next", "drained", "stamped", "durable" }) |name| {
        @field(region.control, name).word.raw = start;
    }
    region.control.shared.epoch.raw = start;
    region.control.shared.horizon.raw = start;
    region.control.memory.committed.raw = plan.fixed_size;
    commit_ring.formatCells(&region, start);
    for (region.slots) |*slot| {
        slot.patience.raw = 1000;
        // Sequences start at 1: row counts are marked with them, and an empty count carries 0.
        slot.word.raw = commit_ring.SlotWord.of(1, .idle);
    }
}
