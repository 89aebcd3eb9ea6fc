//! A session: one process's hand on one transaction slot.
//!
//! A thread, or one open transaction, owns a slot for a while. The slot's log stays with the
//! slot when the owner leaves: a slot whose log is not empty is left as an orphan, and whoever
//! claims it next goes on where the log stands.
//!
//! Pins. A pin says "nothing that was decided after epoch e may be recycled". Its word is
//! 0 none | epoch << 2 | 1 idle in a transaction | epoch << 2 | 2 inside an operation | 3 revoked.
//!
//!   * the epoch is published from the decided prefix (`drained`), never from `next`: else a
//!     reader could pin a value at or above a position that is decided later, and stand on a
//!     version that the decision supersedes
//!   * `pin` stores the word and then reads the epoch again; the horizon scan stores the epoch
//!     and then reads the pins. Both stores are full barriers (swap seq_cst / fence), so at least
//!     one of the two sees the other (Dekker)
//!   * killed while pinned: the pin stays until the slot is recovered, and protects what the
//!     dead process's log still names

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const ring = @import("commit_ring.zig");
const index_writer = @import("index_writer.zig");
const VacuumAhead = @import("vacuum_ahead.zig").VacuumAhead;
const Region = region_module.Region;
const Slot = region_module.Slot;
const Log = slot_log.Log;
const assert = std.debug.assert;

pub const Error = error{
    RegionFull,
    OutOfMemory,
    TooManyTransactions,
    /// The region holds something that the engine never writes.
    Corrupt,
    /// The disk has no room for the log: nothing is committed until it has.
    DiskFull,
    /// The log cannot be written: nothing is committed until that is repaired.
    LogFailed,
};

/// The claim of a slot that nobody owns but whose log is not empty.
pub const orphan_claim: u64 = std.math.maxInt(u64);

/// Names a process and its attach: {process + 1:16, generation:48}.
pub inline fn processClaim(process: u32, generation: u64) u64 {
    return (@as(u64, process) + 1) << 48 | (generation & 0xffff_ffff_ffff);
}

pub const Pin = struct {
    pub const none: u64 = 0;
    pub const revoked: u64 = 3;
    pub inline fn idle(at: u64) u64 {
        return at << 2 | 1;
    }
    pub inline fn operating(at: u64) u64 {
        return at << 2 | 2;
    }
    pub inline fn epoch(word: u64) ?u64 {
        return if (word > revoked) word >> 2 else null;
    }
};

pub const Session = struct {
    region: *const Region,
    gpa: std.mem.Allocator,
    slot_index: u32,
    slot: *Slot,
    /// The sequence of the running or next transaction.
    sequence: u64,
    log: Log,
    allocator: slabs.Allocator,
    chunk_pool: *slabs.Pool,
    /// Memory in which an update builds the new image of a row.
    image: []align(8) u8 = &.{},
    /// What the running transaction prepares for indexes.
    index_scratch: index_writer.Scratch = .{},
    epoch: u64 = 0,
    clean_commits: u32 = 0,
    operations: u32 = 0,
    /// What `operations` was when the maintenance thread looked last.
    operations_before: u32 = 0,
    /// What it was when `reclaim.awaitRoom` waited in vain; long ago at first.
    waited_in_vain: u32 = 1 << 31,
    vacuum_ahead: VacuumAhead = .{},
    /// 1 while somebody of this process uses the log and the pools: the thread that writes, or the
    /// maintenance thread that drains them meanwhile. Private to the process.
    busy: sync.Shm(u32) = .init(0),
    random: std.Random.SplitMix64,

    /// Takes a slot for the process that `claim` names. Prefers orphans, so that their logs move
    /// on.
    pub fn open(region: *const Region, gpa: std.mem.Allocator, claim: u64) Error!*Session {
        const index = claimOrphan(region, claim) orelse
            claimFree(region, claim) orelse return error.TooManyTransactions;
        errdefer leaveSlot(&region.slots[index]);
        return create(region, gpa, index);
    }

    /// Takes the maintenance slot of a process. The caller holds the process's lock byte.
    pub fn openMaintenance(
        region: *const Region,
        gpa: std.mem.Allocator,
        process: u32,
        claim: u64,
    ) Error!*Session {
        const index = limits.transaction_slot_count + process;
        region.slots[index].claim.store(claim, .release);
        return create(region, gpa, index);
    }

    /// Takes one particular orphan, or null if somebody else was faster.
    pub fn adopt(region: *const Region, gpa: std.mem.Allocator, index: u32, claim: u64) !?*Session {
        const slot = &region.slots[index];
        if (sync.mutated(.shared_orphan)) {
            if (slot.claim.load(.acquire) != orphan_claim) return null;
            slot.claim.store(claim, .release);
        } else if (slot.claim.cas(orphan_claim, claim, .acq_rel, .monotonic) != null) return null;
        errdefer leaveSlot(slot);
        return try create(region, gpa, index);
    }

    fn create(region: *const Region, gpa: std.mem.Allocator, index: u32) Error!*Session {
        const session = try gpa.create(Session);
        errdefer gpa.destroy(session);
        const slot = &region.slots[index];
        session.* = .{
            .region = region,
            .gpa = gpa,
            .slot_index = index,
            .slot = slot,
            .sequence = ring.SlotWord.from(slot.word.load(.acquire)).sequence,
            .log = .attach(region, slot),
            .allocator = .{ .region = region, .gpa = gpa, .owner = index + 1 },
            .chunk_pool = undefined,
            .random = .init(@as(u64, index) << 32 ^ slot.log_head.load(.monotonic)),
        };
        session.chunk_pool = session.allocator.pool(.of(
            .log_chunk,
            0,
            slot_log.chunk_granules,
        )) catch return error.OutOfMemory;
        return session;
    }

    /// Gives the slot back. What its log still holds goes to whoever claims the slot next.
    pub fn close(session: *Session) void {
        assert(ring.SlotWord.from(session.slot.word.load(.monotonic)).state == .idle);
        session.slot.pin.store(Pin.none, .release);
        session.allocator.release();
        session.gpa.free(session.image);
        leaveSlot(session.slot);
        session.gpa.destroy(session);
    }

    /// Keeps the maintenance thread from the log and the pools while the owner writes.
    pub fn lock(session: *Session) void {
        while (!session.tryLock()) sync.yield();
    }

    pub inline fn tryLock(session: *Session) bool {
        return session.busy.cas(0, 1, .acquire, .monotonic) == null;
    }

    pub inline fn unlock(session: *Session) void {
        session.busy.store(0, .release);
    }

    /// Gives free blocks back to others if memory is scarce and nothing has run here since the last
    /// call. The caller has locked the session.
    pub fn giveBackAtRest(session: *Session) void {
        const rests = session.operations == session.operations_before;
        session.operations_before = session.operations;
        if (rests and session.allocator.isPressed()) session.allocator.giveBack();
    }

    pub fn pin(session: *Session) void {
        const epoch = &session.region.control.shared.epoch;
        while (true) {
            const seen = epoch.load(.acquire);
            if (sync.mutated(.unfenced_pin)) {
                session.slot.pin.store(Pin.operating(seen), .release);
            } else {
                _ = session.slot.pin.swap(Pin.operating(seen), .seq_cst);
            }
            session.epoch = seen;
            if (epoch.load(.acquire) == seen) return;
        }
    }

    pub inline fn unpin(session: *Session) void {
        session.slot.pin.store(Pin.none, .release);
    }

    /// Between operations of an open transaction: the snapshot stays, unless memory runs out.
    pub inline fn rest(session: *Session) void {
        session.slot.pin.store(Pin.idle(session.epoch), .release);
    }

    /// Begins the next operation. False if the pin was taken away meanwhile.
    pub fn resumePin(session: *Session) bool {
        const expected = Pin.idle(session.epoch);
        const operating = Pin.operating(session.epoch);
        if (sync.mutated(.blind_resume)) {
            _ = session.slot.pin.swap(operating, .seq_cst);
            return true;
        }
        const seen = session.slot.pin.cas(expected, operating, .seq_cst, .acquire);
        return seen == null or seen.? == operating;
    }

    /// Makes sure that `append` cannot fail for `count` entries.
    pub fn reserveLog(session: *Session, count: u64) Error!void {
        const chunks = Log.chunksFor(count);
        if (session.chunk_pool.free_count >= chunks) return;
        try session.chunk_pool.reserve(&session.allocator, chunks);
    }

    /// Writes an entry. There must be a reserved chunk if one is needed.
    pub fn append(session: *Session, entry: slot_log.Entry) *slot_log.Entry {
        if (session.log.needsChunk()) {
            const block = session.chunk_pool.take(&session.allocator) catch unreachable;
            Log.claimChunk(session.region, block.granule, session.slot_index);
            block.use();
            session.log.addChunk(block.granule);
        }
        return session.log.append(entry);
    }

    /// Passes the oldest entry of the log and frees the chunk that it leaves.
    pub fn dropOldest(session: *Session) void {
        const chunk = session.log.dropOldest();
        if (chunk == 0) return;
        const generation = slabs.generationOf(session.region, chunk);
        slabs.free(session.region, chunk, generation);
    }

    /// At least `size` bytes of private memory.
    pub fn imageBuffer(session: *Session, size: usize) error{OutOfMemory}![]align(8) u8 {
        if (session.image.len < size) {
            const rounded = std.mem.alignForward(usize, size, 4096);
            const grown = try session.gpa.alignedAlloc(u8, .@"8", rounded);
            session.gpa.free(session.image);
            session.image = grown;
        }
        return session.image;
    }

    /// The transaction was kicked: others will wait longer for this slot.
    pub fn wasKicked(session: *Session) void {
        session.slot.retries.store(session.slot.retries.raw +% 1, .monotonic);
        session.clean_commits = 0;
        const patience = session.slot.patience.load(.monotonic);
        session.slot.patience.store(@min(patience *| 2, patience_us_max), .monotonic);
    }

    /// After 64 commits without a kick the patience of others halves again.
    pub inline fn wasCommitted(session: *Session) void {
        session.clean_commits +%= 1;
        if (session.clean_commits % 64 != 0) return;
        const patience = session.slot.patience.load(.monotonic);
        if (patience > patience_us_min) {
            session.slot.patience.store(@max(patience / 2, patience_us_min), .monotonic);
        }
    }
};

pub const patience_us_min: u32 = 1000;
pub const patience_us_max: u32 = 1_000_000;

fn claimOrphan(region: *const Region, claim: u64) ?u32 {
    for (region.slots[0..limits.transaction_slot_count], 0..) |*slot, index| {
        if (slot.claim.load(.monotonic) != orphan_claim) continue;
        if (slot.claim.cas(orphan_claim, claim, .acq_rel, .monotonic) == null) {
            return @intCast(index);
        }
    }
    return null;
}

fn claimFree(region: *const Region, claim: u64) ?u32 {
    for (region.slots[0..limits.transaction_slot_count], 0..) |*slot, index| {
        if (slot.claim.load(.monotonic) != 0) continue;
        if (slot.claim.cas(0, claim, .acq_rel, .monotonic) == null) return @intCast(index);
    }
    return null;
}

/// Frees the claim of an idle slot, or leaves the slot as an orphan if its log is not empty. The
/// caller has the right to the slot and no chunk outside of its chain.
pub fn leaveSlot(slot: *Slot) void {
    const head = slot.log_head.load(.monotonic);
    const tail = slot_log.Tail.from(slot.log_tail.load(.monotonic)).number(head);
    slot.claim.store(if (head == tail) 0 else orphan_claim, .release);
}
