//! The commit ring: one write-once cell for each commit position.
//!
//! A transaction takes a position E by one fetch-and-add on `next`. The ring has a cell for each of
//! the last N positions. One compare-and-swap moves a cell from the previous lap to committed
//! (with the transaction's last version) or to skipped: **that is the commit point**, and whoever
//! is tired of waiting may skip the cell first. So nobody ever has to prove that somebody died.
//!
//! (CORFU's write-once log positions and Hyder's "log order decides commit", inside one
//! machine's memory.)
//!
//! Slot words go {sequence, state}: idle -> installing -> sequencing -> sequenced -> idle of the
//! next sequence; installing and sequencing may be kicked. `sequencing` stands before the counter
//! is touched: an observer that sees it must not conclude anything about the position.
//!
//! Three watermarks follow: durable <= drained <= stamped <= next. `stamped` is moved by anybody
//! over what is decided; `drained` over what the log has, or at once where there is no log;
//! `durable` over what is on disk. Cells are used again and memory is reused behind `drained`, so
//! the versions of a commit are intact until the log has them.
//!
//! Memory orders, with their partners:
//!
//!   * `next` fetchAdd acq_rel / load acquire: an install happens before its position is taken,
//!     so whoever reads a `next` of E or more sees the versions of E at their heads
//!   * slot word cas acq_rel / load acquire: `end` is written before `sequenced` is visible, and
//!     read between two loads of the word that agree
//!   * cell cas acq_rel / load acquire: who sees committed sees the transaction's versions
//!   * `xmin` store release / load acquire: who sees a position sees `xmax` of the version below
//!   * `stamped` and `drained` cas acq_rel / load acquire: who sees a watermark sees the stamps,
//!     and what the log's leader wrote before it
//!
//! Killed before the cell's swap: the transaction never happened; anybody skips the cell.
//! Killed after it: it is committed; whoever advances stamps its versions, recovery rolls its log
//! forward. There is nothing in between. Killed between `stamped` and `drained`, where there is no
//! log: the next one to advance moves the second (`death.*` in the simulator).

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const Region = region_module.Region;
const Slot = region_module.Slot;
const LogState = region_module.LogState;
const Version = version_module.Version;
const Xmin = version_module.Xmin;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const versionAt = version_module.versionAt;
const assert = std.debug.assert;

/// State of a transaction slot, the low 3 bits of `slot.word`.
pub const State = enum(u3) {
    idle = 0,
    /// Versions are being linked; the position is not taken and will be larger than any that
    /// an observer holds.
    installing = 1,
    /// The position may or may not have been taken.
    sequencing = 2,
    /// `slot.end` is the position, its cell decides.
    sequenced = 3,
    /// Somebody else aborted the transaction before it took a position.
    kicked = 4,
    /// No transaction runs, but the slot's log is being drained: `verify` waits for it.
    draining = 5,
    _,
};

/// The word of a transaction slot.
pub const SlotWord = packed struct(u64) {
    state: State,
    sequence: u61,

    pub inline fn from(word: u64) SlotWord {
        return @bitCast(word);
    }
    pub inline fn bits(word: SlotWord) u64 {
        return @bitCast(word);
    }
    pub inline fn of(sequence: u64, state: State) u64 {
        return (SlotWord{ .state = state, .sequence = @intCast(sequence) }).bits();
    }
};

pub const CellState = enum(u2) { empty = 0, committed = 1, skipped = 2, _ };

pub const Cell = packed struct(u64) {
    /// The last version of the transaction; its others follow by `txn_next`.
    version: u32,
    state: CellState,
    /// The transaction wrote rows of several tables.
    multi: bool,
    lap: u29,

    pub inline fn from(word: u64) Cell {
        return @bitCast(word);
    }
    pub inline fn bits(cell: Cell) u64 {
        return @bitCast(cell);
    }
};

/// A watermark word: {leader epoch:8, position:56}.
pub const Watermark = struct {
    pub const position_mask: u64 = (1 << 56) - 1;

    pub inline fn position(word: u64) Position {
        return word & position_mask;
    }
    pub inline fn with(word: u64, to: Position) u64 {
        return (word & ~position_mask) | to;
    }
    pub inline fn epoch(word: u64) u8 {
        return @intCast(word >> 56);
    }
    pub inline fn of(leader_epoch: u8, at: Position) u64 {
        return @as(u64, leader_epoch) << 56 | at;
    }
};

pub inline fn cellCount(region: *const Region) u64 {
    return @as(u64, 1) << region.cells_log2;
}

/// Consecutive positions fall on consecutive cache lines, so that neighbours in time do not
/// share one.
pub inline fn cellOf(region: *const Region, position: Position) *sync.Shm(u64) {
    const log2 = region.cells_log2;
    const mask = cellCount(region) - 1;
    if (log2 < 6) return &region.cells[@intCast(position & mask)];
    const line = position & (mask >> 3);
    const within = (position >> (log2 - 3)) & 7;
    return &region.cells[@intCast(line << 3 | within)];
}

pub inline fn lapOf(region: *const Region, position: Position) u29 {
    return @truncate(position >> region.cells_log2);
}

/// Laps are compared around the wrap: negative means that the cell is behind.
inline fn lapDifference(cell: Cell, lap: u29) i29 {
    return @bitCast(cell.lap -% lap);
}

/// Gives every cell the lap of the last position up to `start` that it belongs to: those are used
/// up, and the cell waits for the next lap.
pub fn formatCells(region: *const Region, start: Position) void {
    for (0..cellCount(region)) |behind| {
        const position = start -% behind; // Below position 0 there are the laps before lap 0.
        cellOf(region, position).raw = (Cell{
            .version = 0,
            .state = .skipped,
            .multi = false,
            .lap = lapOf(region, position),
        }).bits();
    }
}

pub inline fn drainedPosition(region: *const Region) Position {
    return Watermark.position(region.control.drained.word.load(.acquire));
}

pub inline fn durablePosition(region: *const Region) Position {
    return Watermark.position(region.control.durable.word.load(.seq_cst));
}

pub inline fn stampedPosition(region: *const Region) Position {
    return region.control.stamped.word.load(.acquire);
}

/// True if commits go to a log on disk. Settled when the region is made.
pub inline fn isLogged(region: *const Region) bool {
    return region.control.shared.log_state.load(.monotonic) != @intFromEnum(LogState.none);
}

/// True if the ring is so full that nobody may begin to install: those who have begun need the
/// cells that are left. With a log, memory that commits set free waits for it as well, so a
/// quarter of the ring is all that it may be behind.
pub inline fn isCrowded(region: *const Region) bool {
    const cells = cellCount(region);
    const margin = @min(region_module.row_count_row, cells / 4);
    const most = if (isLogged(region)) cells / 4 else cells - margin;
    // In this order: `drained` never passes `next`, so the second look is not smaller.
    const drained = drainedPosition(region);
    const next = region.control.next.word.load(.acquire);
    return next - drained >= most and next != drained;
}

/// True if the log is so far behind that committers should help it, if they can.
pub inline fn isLogBehind(region: *const Region) bool {
    const behind = stampedPosition(region) -| drainedPosition(region);
    return behind >= @min(cellCount(region) / 8, log_help_backlog);
}

const log_help_backlog = 2048;

/// What a version's writer has come to, as far as this observer may conclude.
pub const Resolution = union(enum) {
    committed: Position,
    aborted,
    /// Its position will be larger than any that exists.
    later: SlotReference,
    /// It may or may not have taken its position.
    unknown: SlotReference,
    /// It has a position and its cell is not decided.
    undecided: Sequenced,
    /// Its cell still belongs to the lap before: the ring is full.
    not_yet: Sequenced,
};

/// A slot and the word that was read there.
pub const SlotReference = struct { slot: u32, word: u64 };
pub const Sequenced = struct { position: Position, slot: u32 };

/// The only place that interprets a transaction reference.
pub fn resolve(region: *const Region, version: *const Version) Resolution {
    while (true) {
        const xmin = version.xmin.load(.acquire);
        if (!Xmin.isReference(xmin)) {
            return if (xmin == Xmin.aborted) .aborted else .{ .committed = xmin };
        }
        return resolveReference(region, version, xmin) orelse continue;
    }
}

/// Null means that the owner went on: `xmin` has changed and is worth another look.
fn resolveReference(region: *const Region, version: *const Version, xmin: u64) ?Resolution {
    const slot_index = Xmin.slot(xmin);
    if (slot_index >= limits.slot_count) return .aborted; // only a corrupted region
    const slot = &region.slots[slot_index];
    const word = slot.word.load(.acquire);
    const slot_word = SlotWord.from(word);
    if (slot_word.sequence != Xmin.sequence(xmin)) {
        // The owner went on only after it stamped its versions.
        sync.spinHint();
        return null;
    }
    switch (slot_word.state) {
        .kicked => return .aborted,
        .idle, .draining, .installing => return .{ .later = .{ .slot = slot_index, .word = word } },
        .sequencing => {
            if (sync.mutated(.no_sequencing)) {
                return .{ .later = .{ .slot = slot_index, .word = word } };
            }
            return .{ .unknown = .{ .slot = slot_index, .word = word } };
        },
        .sequenced => {},
        _ => return .aborted,
    }
    const end = slot.end.load(.acquire);
    if (slot.word.load(.acquire) != word) return null;
    const cell = Cell.from(cellOf(region, end).load(.acquire));
    const difference = lapDifference(cell, lapOf(region, end));
    if (difference == 0) {
        return if (cell.state == .committed) .{ .committed = end } else .aborted;
    }
    if (difference > 0) {
        // Lapped, so drained, so stamped if it was committed.
        return if (version.xmin.load(.acquire) == xmin) .aborted else null;
    }
    if (difference == -1 and drainedPosition(region) + cellCount(region) >= end) {
        return .{ .undecided = .{ .position = end, .slot = slot_index } };
    }
    return .{ .not_yet = .{ .position = end, .slot = slot_index } };
}

/// Aborts a transaction that has not taken a position. True if this call did it.
pub fn kickSlot(region: *const Region, reference: SlotReference) bool {
    const word = SlotWord.from(reference.word);
    assert(word.state == .installing or word.state == .sequencing);
    const kicked = SlotWord.of(word.sequence, .kicked);
    const slot = &region.slots[reference.slot];
    if (slot.word.cas(reference.word, kicked, .acq_rel, .acquire) != null) return false;
    _ = slot.kicked.fetchAdd(1, .monotonic);
    return true;
}

/// Skips an undecided cell. False if it was decided, or belongs to the lap before.
pub fn skipCell(region: *const Region, position: Position) bool {
    const cell = cellOf(region, position);
    const old = cell.load(.acquire);
    const lap = lapOf(region, position);
    if (lapDifference(Cell.from(old), lap) != -1) return false;
    if (drainedPosition(region) + cellCount(region) < position) return false;
    const skipped: Cell = .{ .version = 0, .state = .skipped, .multi = false, .lap = lap };
    return cell.cas(old, skipped.bits(), .acq_rel, .acquire) == null;
}

pub const Decision = union(enum) { undecided, not_yet, lapped, skipped, committed: RelPtr };

pub fn decisionAt(region: *const Region, position: Position) Decision {
    const cell = Cell.from(cellOf(region, position).load(.acquire));
    const difference = lapDifference(cell, lapOf(region, position));
    if (difference > 0) return .lapped;
    if (difference == 0) {
        return if (cell.state == .committed) .{ .committed = cell.version } else .skipped;
    }
    if (difference == -1 and drainedPosition(region) + cellCount(region) >= position) {
        return .undecided;
    }
    return .not_yet;
}

/// The commit point. True if the transaction is committed, false if somebody skipped its cell.
/// The cell must belong to the ring already (`drained` >= position - N).
pub fn decideCommitted(
    region: *const Region,
    position: Position,
    version: RelPtr,
    multi: bool,
) bool {
    const cell = cellOf(region, position);
    const old = cell.load(.acquire);
    const lap = lapOf(region, position);
    if (lapDifference(Cell.from(old), lap) != -1) return false;
    const new: Cell = .{ .version = version, .state = .committed, .multi = multi, .lap = lap };
    return cell.cas(old, new.bits(), .acq_rel, .acquire) == null;
}

/// Stamps the versions of a committed transaction from outside. Compare-and-swap, so that a
/// latecomer cannot hit a recycled block. The caller is pinned at or before `position`.
pub fn stampForeign(region: *const Region, position: Position, last: RelPtr) void {
    var at = last;
    while (at != 0) {
        const version = versionAt(region, at);
        const next = version.txn_next.load(.monotonic);
        const below = version.prev.load(.monotonic);
        const xmin = version.xmin.load(.acquire);
        if (Xmin.isReference(xmin)) {
            // First xmax of the version below, then xmin: a heap scan that finds the new
            // version stamped finds the old one superseded.
            if (below != 0) {
                _ = versionAt(region, below).xmax.cas(0, position, .acq_rel, .monotonic);
            }
            _ = version.xmin.cas(xmin, position, .acq_rel, .monotonic);
        }
        at = next;
    }
}

/// Moves `stamped` over positions that are decided, stamping what they committed, as far as it goes
/// without waiting, at most `count` of them. Any process may do it. The caller is pinned. Returns
/// the positions passed.
///
/// Without a log `drained` follows at once; with one it is the log's leader who moves it.
pub fn advance(region: *const Region, count: u64) u64 {
    const follows = !isLogged(region);
    var passed: u64 = 0;
    while (passed < count) {
        const stamped = stampedPosition(region);
        const position = stamped + 1;
        // Killed between the two watermarks: whoever comes next moves the second one.
        if (follows and drainedPosition(region) < stamped) followStamped(region, stamped);
        if (position > region.control.next.word.load(.acquire)) break;
        switch (decisionAt(region, position)) {
            .undecided, .not_yet => break,
            .lapped => continue, // somebody else was faster
            .skipped => {},
            .committed => |last| {
                if (!sync.mutated(.no_stamp_by_drainer)) stampForeign(region, position, last);
            },
        }
        const word = &region.control.stamped.word;
        if (word.cas(stamped, position, .acq_rel, .monotonic) == null) passed += 1;
        if (follows) followStamped(region, position);
    }
    return passed;
}

fn followStamped(region: *const Region, position: Position) void {
    _ = region.control.drained.word.fetchMax(position, .acq_rel);
}

test "Cell: laps are compared around the wrap" {
    const cell: Cell = .{ .version = 0, .state = .skipped, .multi = false, .lap = 0 };
    try std.testing.expectEqual(-1, lapDifference(cell, 1));
    const last: Cell = .{ .version = 0, .state = .skipped, .multi = false, .lap = 0x1fff_ffff };
    try std.testing.expectEqual(-1, lapDifference(last, 0));
}

test "SlotWord: sequence and state go into one word and come back" {
    const word = SlotWord.from(SlotWord.of(41, .sequenced));
    try std.testing.expectEqual(41, word.sequence);
    try std.testing.expectEqual(State.sequenced, word.state);
}
