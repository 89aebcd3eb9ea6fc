//! The log of a slot: undo log, intent log of allocations and retire list in one.
//!
//! Whoever changes shared memory writes down first what it is about to do, in the log of its own
//! slot. A process can then be killed between any two instructions: whoever finds it dead reads
//! the log and finishes or undoes each entry. Every entry can be done twice, so the finisher may be
//! killed as well.
//!
//! Entries are numbered without end and stand in a chain of chunks
//! that `slot.log_tail` begins.
//!
//! Invariants:
//!
//!   * only the slot's owner, or the one process that holds the dead owner's lock byte, writes
//!   * an entry is complete before `log_head` passes it (release; recovery reads with acquire)
//!   * ts == running: the entry belongs to the transaction that runs in the slot
//!   * ts == unfinished: responsibility was taken, the effect may or may not have happened
//!   * otherwise ts is a position: the entry's blocks may be freed once the horizon reaches it
//!   * a chunk is in use exactly while it is in the chain; one that is used and not in the chain
//!     was taken or dropped by a process that died there, and recovery frees it
//!
//! A kill between any two steps of `append` leaves either an entry beyond `log_head`, which
//! does not exist, or a chunk that is linked and empty, which is legal.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const Region = region_module.Region;
const Slot = region_module.Slot;
const Shm = sync.Shm;
const assert = std.debug.assert;

pub const Kind = enum(u16) {
    nop = 0,
    /// `block` is a version on top of no live row: undo takes it off the node `row`.
    insert = 1,
    /// `block` is a version on top of version `old`: done means that `old` is freed.
    update = 2,
    /// `block` is a node that is being created with its first version.
    node_new = 3,
    /// `block` is a node taken out of its bucket, `old` the version that was its head.
    node_retire = 4,
    /// `block` is a version that was rolled back.
    version_retire = 5,
    /// Like update, and `block` is a tombstone: done means that the row's node goes as well.
    delete = 6,
    /// Stands before the entry of a version whose key in an index is new: `block` is the index node
    /// that was made for it, 0 if none was, `old_generation` the number of the index. Undo removes
    /// the entry again. `old`, if not 0, is the version below, whose own key in the index goes when
    /// the entry is ripe. `row` is the row's node.
    index = 7,
    /// `block` is an index node that is dead, or may become so (ts unfinished); `old_generation` is
    /// the number of the index. Done means that `block` is freed.
    index_retire = 8,
    /// `block` is a block of the guide of an index (`index_guide.zig`) that is taken out, or may be
    /// so (ts unfinished); `old_generation` is the number of the index. Done means that `block` is
    /// freed.
    guide_retire = 9,
};

/// The entry belongs to the running transaction.
pub const ts_running: u64 = 0;
/// Responsibility is taken, the effect is unknown.
pub const ts_unfinished: u64 = std.math.maxInt(u64);

pub const Entry = extern struct {
    kind: Kind,
    table: u16,
    block: u32,
    /// Generation of `block` after it was taken. A block whose state word shows another one
    /// is not the entry's any more.
    generation: u32,
    old: u32,
    old_generation: u32,
    row: u32,
    ts: Shm(u64),

    comptime {
        assert(@sizeOf(Entry) == 32);
    }
};

pub const ChunkHeader = extern struct {
    next: Shm(u32),
    previous: Shm(u32),
    /// Number of the chunk's first entry.
    start: Shm(u64),
    /// The slot whose log the chunk belongs to, or belonged to last.
    slot: Shm(u32),
    reserved: [12]u8,

    comptime {
        assert(@sizeOf(ChunkHeader) == 32);
    }
};

pub const entries_per_chunk = (limits.log_chunk_size - @sizeOf(ChunkHeader)) / @sizeOf(Entry);
pub const chunk_granules = limits.log_chunk_size / limits.granule_size;

pub const Chunk = extern struct {
    header: ChunkHeader,
    entries: [entries_per_chunk]Entry,

    comptime {
        assert(@sizeOf(Chunk) <= limits.log_chunk_size);
    }
};

pub inline fn chunkAt(region: *const Region, granule: u32) *Chunk {
    return region.pointer(Chunk, granule);
}

/// Where the oldest entry stands: the first chunk of the chain, and the low half of the entry's
/// number. One word, so that a kill cannot part the two.
pub const Tail = packed struct(u64) {
    number_low: u32,
    chunk: u32,

    pub inline fn bits(tail: Tail) u64 {
        return @bitCast(tail);
    }
    pub inline fn from(word: u64) Tail {
        return @bitCast(word);
    }
    /// The whole number. A log never holds 2^32 entries.
    pub inline fn number(tail: Tail, head: u64) u64 {
        return head - (@as(u32, @truncate(head)) -% tail.number_low);
    }
};

/// One process's hand on the log of a slot that it owns. The words that matter are shared; the
/// rest is derived from them by `attach`.
pub const Log = struct {
    region: *const Region,
    slot: *Slot,
    head: u64,
    tail: u64,
    /// First chunk of the chain, 0 while there is none.
    first_chunk: u32,
    /// Chunk of entry `head - 1`, or of `head` if that one begins the chain.
    head_chunk: u32,

    /// Reads where the slot's log stands. The caller owns the slot.
    pub fn attach(region: *const Region, slot: *Slot) Log {
        const head = slot.log_head.load(.acquire);
        const tail = Tail.from(slot.log_tail.load(.acquire));
        var chunk = tail.chunk;
        while (chunk != 0) {
            const header = &chunkAt(region, chunk).header;
            if (head <= header.start.load(.monotonic) + entries_per_chunk) break;
            chunk = header.next.load(.acquire);
        }
        return .{
            .region = region,
            .slot = slot,
            .head = head,
            .tail = tail.number(head),
            .first_chunk = tail.chunk,
            .head_chunk = chunk,
        };
    }

    pub inline fn isEmpty(log: *const Log) bool {
        return log.head == log.tail;
    }

    /// True if the next `append` needs a chunk that the chain does not have yet.
    pub inline fn needsChunk(log: *const Log) bool {
        if (log.head_chunk == 0) return true;
        const header = &chunkAt(log.region, log.head_chunk).header;
        if (log.head < header.start.load(.monotonic) + entries_per_chunk) return false;
        return header.next.load(.monotonic) == 0;
    }

    /// Chunks that the next `entry_count` calls of `append` will ask for, at the most.
    pub fn chunksFor(entry_count: u64) u64 {
        return entry_count / entries_per_chunk + 2;
    }

    /// Writes into a chunk that is not in use yet whose it will be. Recovery frees chunks of a slot
    /// that are in use and outside of its chain, so this comes before the state word.
    pub fn claimChunk(region: *const Region, chunk: u32, slot: u32) void {
        const header = &chunkAt(region, chunk).header;
        header.next.store(0, .monotonic);
        header.slot.store(slot, .release);
    }

    /// Links `chunk`, a block that is claimed and in use, behind the last one.
    pub fn addChunk(log: *Log, chunk: u32) void {
        assert(log.needsChunk());
        const header = &chunkAt(log.region, chunk).header;
        header.previous.store(log.head_chunk, .monotonic);
        header.start.store(log.head, .monotonic);
        if (log.head_chunk == 0) {
            assert(log.isEmpty());
            log.first_chunk = chunk;
            log.head_chunk = chunk;
            log.storeTail();
        } else {
            chunkAt(log.region, log.head_chunk).header.next.store(chunk, .release);
        }
    }

    fn storeTail(log: *Log) void {
        const tail: Tail = .{ .number_low = @truncate(log.tail), .chunk = log.first_chunk };
        log.slot.log_tail.store(tail.bits(), .release);
    }

    /// Writes the next entry and returns it. There must be room (`needsChunk`).
    pub fn append(log: *Log, entry: Entry) *Entry {
        var chunk = chunkAt(log.region, log.head_chunk);
        var index = log.head - chunk.header.start.load(.monotonic);
        if (index == entries_per_chunk) {
            log.head_chunk = chunk.header.next.load(.monotonic);
            assert(log.head_chunk != 0);
            chunk = chunkAt(log.region, log.head_chunk);
            index = 0;
        }
        sync.step();
        const place = &chunk.entries[@intCast(index)];
        place.* = entry;
        log.head += 1;
        // Release: pairs with the acquire in `attach`, so that whoever recovers the slot
        // reads a complete entry.
        log.slot.log_head.store(log.head, .release);
        return place;
    }

    /// The oldest entry. The log must not be empty.
    pub fn oldest(log: *const Log) *Entry {
        assert(!log.isEmpty());
        const chunk = chunkAt(log.region, log.first_chunk);
        return &chunk.entries[@intCast(log.tail - chunk.header.start.load(.monotonic))];
    }

    /// Passes the oldest entry. Returns the chunk that fell out of the chain, or 0. The caller
    /// frees it; killed before that, it leaves a used chunk outside of the chain, which
    /// recovery frees.
    pub fn dropOldest(log: *Log) u32 {
        assert(!log.isEmpty());
        const chunk = chunkAt(log.region, log.first_chunk);
        log.tail += 1;
        var dropped: u32 = 0;
        if (log.tail == chunk.header.start.load(.monotonic) + entries_per_chunk) {
            dropped = log.first_chunk;
            log.first_chunk = chunk.header.next.load(.monotonic);
            if (log.head_chunk == dropped) log.head_chunk = log.first_chunk;
        }
        log.storeTail();
        return dropped;
    }

    /// Walks the entries from the oldest to the newest.
    pub fn forward(log: *const Log) Forward {
        return .{ .log = log, .chunk = log.first_chunk, .number = log.tail };
    }

    /// Walks the entries from the newest to the oldest.
    pub fn backward(log: *const Log) Backward {
        return .{ .log = log, .chunk = log.head_chunk, .number = log.head };
    }

    pub const Forward = struct {
        log: *const Log,
        chunk: u32,
        number: u64,

        pub fn next(walk: *Forward) ?*Entry {
            if (walk.number == walk.log.head) return null;
            var chunk = chunkAt(walk.log.region, walk.chunk);
            var index = walk.number - chunk.header.start.load(.monotonic);
            if (index == entries_per_chunk) {
                walk.chunk = chunk.header.next.load(.acquire);
                chunk = chunkAt(walk.log.region, walk.chunk);
                index = 0;
            }
            walk.number += 1;
            return &chunk.entries[@intCast(index)];
        }
    };

    pub const Backward = struct {
        log: *const Log,
        chunk: u32,
        /// Number after the entry that `next` gives.
        number: u64,

        pub fn next(walk: *Backward) ?*Entry {
            if (walk.number == walk.log.tail) return null;
            var chunk = chunkAt(walk.log.region, walk.chunk);
            if (walk.number == chunk.header.start.load(.monotonic)) {
                walk.chunk = chunk.header.previous.load(.acquire);
                chunk = chunkAt(walk.log.region, walk.chunk);
            }
            walk.number -= 1;
            return &chunk.entries[@intCast(walk.number - chunk.header.start.load(.monotonic))];
        }
    };
};
