//! How many rows a table has: one word for each table and slot, {change:32, marker:32}.
//!
//! A slot's owner adds what its transaction inserted and deleted, after the commit point and before
//! it marks its log entries as done. The marker is the low half of the transaction's sequence, in
//! the same word as the number: whoever finishes the transaction of a killed process sees by it
//! whether the change is in already. The sum over all slots is exact whenever no commit is between
//! those two points.

const std = @import("std");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const Region = region_module.Region;

const Word = packed struct(u64) { change: i32, marker: u32 };

/// Who counts: the transaction itself, which knows that it did not do so before, or whoever
/// finishes it after a kill.
pub const Caller = enum { owner, recoverer };

/// Adds `change` for the transaction `sequence` of `slot`, unless a recoverer finds it added. Call
/// it with 0, too, when inserts and deletes cancel out.
pub fn add(
    region: *const Region,
    caller: Caller,
    table: u8,
    slot: u32,
    sequence: u64,
    change: i32,
) void {
    const shared = region.rowCount(table, slot);
    const word: Word = @bitCast(shared.load(.monotonic));
    const marker: u32 = @truncate(sequence);
    if (caller == .recoverer and word.marker == marker) return;
    const new: Word = .{ .change = word.change +% change, .marker = marker };
    shared.store(@bitCast(new), .release);
}

pub fn total(region: *const Region, table: u8) u64 {
    var sum: i64 = 0;
    for (0..limits.slot_count) |slot| {
        const word: Word = @bitCast(region.rowCount(table, @intCast(slot)).load(.acquire));
        sum += word.change;
    }
    return @intCast(@max(sum, 0));
}
