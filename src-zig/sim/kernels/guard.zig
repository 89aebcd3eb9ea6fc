//! The heart of the commit protocol alone: why a slot is moved to SEQUENCED by a CAS.
//!
//! Two transactions add 1 to the same row. Each installs its version at the head, takes a
//! position, guards its slot word, decides its ring cell and stamps. Whoever finds an undecided
//! version waits a moment and then kicks: the slot word while the owner sequences, the cell
//! afterwards. A kick and the commit must not both win. With the mistake `no_guard_cas` the owner
//! stores SEQUENCED over the kick, and an acknowledged addition is lost.

const std = @import("std");
const sync = @import("sync");
const Kernel = @import("../kernel.zig").Kernel;
const scheduler = sync.scheduler;
const Shm = sync.Shm;
const assert = std.debug.assert;

const State = enum(u8) { idle, sequencing, sequenced, kicked, finished };
const Word = packed struct(u32) { state: u8, sequence: u24 };
const Cell = enum(u8) { undecided, committed, skipped };

const attempts_max = 4;
const versions_max = 2 * attempts_max + 1;
const aborted: u64 = 1 << 62;
const reference_bit: u64 = 1 << 63;

const Version = struct { xmin: Shm(u64), prev: u32, value: u64 };
const Slot = struct { word: Shm(Word), end: Shm(u64) };

var next: Shm(u64) = undefined;
var head: Shm(u32) = undefined;
var cells: [2 * attempts_max + 1]Shm(u8) = undefined;
var slots: [2]Slot = undefined;
var versions: [versions_max]Version = undefined;
var acknowledged: [2]u32 = undefined;

fn init() void {
    next = .init(0);
    head = .init(0);
    cells = @splat(.init(@intFromEnum(Cell.undecided)));
    slots = @splat(.{ .word = .init(word(.idle, 0)), .end = .init(0) });
    versions = undefined;
    versions[0] = .{ .xmin = .init(0), .prev = 0, .value = 0 };
    acknowledged = @splat(0);
}

fn word(state: State, sequence: u24) Word {
    return .{ .state = @intFromEnum(state), .sequence = sequence };
}

/// Returns whether `version` is committed. Waits for an undecided one, then kicks it.
fn resolve(version: *Version) bool {
    var patience: u32 = 2;
    while (true) {
        const xmin = version.xmin.load(.acquire);
        if (xmin & reference_bit == 0) return xmin != aborted;
        const slot = &slots[@intCast((xmin >> 32) & 1)];
        const seen = slot.word.load(.acquire);
        if (seen.sequence != @as(u24, @truncate(xmin))) continue;
        const cell = switch (@as(State, @enumFromInt(seen.state))) {
            .kicked => return false,
            .sequenced => cell: {
                const end = slot.end.load(.acquire);
                if (slot.word.load(.acquire) != seen) continue;
                const cell = &cells[end];
                const state = cell.load(.acquire);
                if (state != 0) return state == @intFromEnum(Cell.committed);
                break :cell cell;
            },
            else => null,
        };
        if (patience > 0) {
            patience -= 1;
            sync.yield();
        } else if (cell) |undecided| {
            _ = undecided.cas(0, @intFromEnum(Cell.skipped), .acq_rel, .acquire);
        } else {
            const kicked = word(.kicked, seen.sequence);
            _ = slot.word.cas(seen, kicked, .acq_rel, .acquire);
        }
    }
}

/// One attempt to add 1. Returns whether it committed.
fn add(me: u8, attempt: u24) bool {
    const slot = &slots[me];
    const index: u32 = 1 + me * attempts_max + attempt;
    const mine = &versions[index];
    slot.word.store(word(.sequencing, attempt), .release);
    mine.xmin.store(reference_bit | @as(u64, me) << 32 | attempt, .release);
    while (true) {
        const top = head.load(.acquire);
        const base = if (resolve(&versions[top])) top else versions[top].prev;
        mine.prev = base;
        mine.value = versions[base].value + 1;
        if (head.cas(top, index, .acq_rel, .acquire) == null) break;
    }
    const end = next.fetchAdd(1, .acq_rel) + 1;
    slot.end.store(end, .release);
    const committed = guardSequence(slot, attempt) and
        cells[end].cas(0, @intFromEnum(Cell.committed), .acq_rel, .acquire) == null;
    if (committed) {
        mine.xmin.store(end, .release);
    } else {
        _ = cells[end].cas(0, @intFromEnum(Cell.skipped), .acq_rel, .acquire);
        _ = head.cas(index, mine.prev, .acq_rel, .acquire);
        mine.xmin.store(aborted, .release);
    }
    slot.word.store(word(.finished, attempt), .release);
    return committed;
}

/// The guard. Returns false if somebody has kicked the transaction.
fn guardSequence(slot: *Slot, attempt: u24) bool {
    if (sync.mutated(.no_guard_cas)) {
        slot.word.store(word(.sequenced, attempt), .release);
        return true;
    }
    const sequencing = word(.sequencing, attempt);
    return slot.word.cas(sequencing, word(.sequenced, attempt), .acq_rel, .acquire) == null;
}

fn Adder(comptime me: u8) type {
    return struct {
        fn run() void {
            for (0..attempts_max) |attempt| {
                if (!add(me, @intCast(attempt))) continue;
                acknowledged[me] += 1;
                return;
            }
        }
    };
}

/// What a process that finds the other dead does before it looks: decide what is undecided.
fn check() void {
    var top = head.raw;
    if (!resolve(&versions[top])) top = versions[top].prev;
    const value = versions[top].value;
    var least: u64 = 0;
    for (acknowledged) |n| least += n;
    // A killed fiber may have committed without a chance to say so.
    const most = least + @intFromBool(scheduler.died(0));
    if (value < least or value > most) {
        scheduler.fail("{d} additions acknowledged, the row says {d}", .{ least, value });
    }
}

const threads = [_]scheduler.Thread{ .{ .run = Adder(0).run }, .{ .run = Adder(1).run } };

pub const kernels = [_]Kernel{.{
    .name = "guard",
    .about = "two transactions add 1 to a row and kick each other: no addition is lost",
    .threads = &threads,
    .init = init,
    .check = check,
    .plans = &.{
        .{ .strategy = .exhaustive, .runs_max = 2_000_000, .preemptions_max = 3 },
        .{ .strategy = .exhaustive, .runs_max = 100_000, .victims = &.{.{ .fiber = 0 }} },
        .{
            .strategy = .exhaustive,
            .runs_max = 100_000,
            .victims = &.{.{ .fiber = 0, .kind = .freeze }},
        },
        .{ .strategy = .random, .runs_max = 20_000, .store_buffers = true },
    },
    .catches = &.{.exhaustively(.no_guard_cas)},
}};
