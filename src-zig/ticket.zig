//! Queues for hot rows: fairness, never safety.
//!
//! A table of {next:32, serving:32} words, one for each hash of a row. Whoever wants to be served
//! takes the next number and waits for it; whoever is done moves `serving` on. A waiter that sees
//! no change for `lease_ns` of its own clock moves it on itself, so a dead or stopped holder costs
//! one lease, once. Two rows that share a word wait for each other, and that is all.
//!
//! What protects a row is validation at commit. This only keeps losers from losing again and again.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const Region = region_module.Region;

pub const lease_ns = if (sync.sim) 2 * std.time.ns_per_ms else 20 * std.time.ns_per_ms;

const Word = packed struct(u64) { serving: u32, next: u32 };

pub const Ticket = struct { index: u32, number: u32 };

pub inline fn indexOf(hash: u64) u32 {
    return @intCast((hash >> 20) % limits.ticket_count);
}

/// Queues for a row and waits for its turn.
pub fn take(region: *const Region, index: u32) Ticket {
    const shared = &region.tickets[index];
    const before: Word = @bitCast(shared.fetchAdd(1 << 32, .acq_rel));
    const ticket: Ticket = .{ .index = index, .number = before.next };
    var seen = before.serving;
    var since = sync.nowNs();
    var rounds: u32 = 0;
    while (true) : (rounds += 1) {
        const raw = shared.load(.acquire);
        const word: Word = @bitCast(raw);
        // Served, or passed over by somebody who lost patience with us.
        if (@as(i32, @bitCast(word.serving -% ticket.number)) >= 0) return ticket;
        if (word.serving != seen) {
            seen = word.serving;
            since = sync.nowNs();
        } else if (sync.nowNs() - since >= lease_ns) {
            var moved = word;
            moved.serving +%= 1;
            _ = shared.cas(raw, @bitCast(moved), .acq_rel, .monotonic);
        }
        if (rounds < 50) sync.yield() else sync.sleepNs(100 * std.time.ns_per_us);
    }
}

/// Whether it is still this ticket's turn.
pub fn isServed(region: *const Region, ticket: Ticket) bool {
    const word: Word = @bitCast(region.tickets[ticket.index].load(.acquire));
    return word.serving == ticket.number;
}

/// Tickets that were taken and neither given back nor passed over. Negative if the queue has served
/// more than came, which must not be.
pub fn waitingAt(region: *const Region, index: u32) i32 {
    const word: Word = @bitCast(region.tickets[index].load(.acquire));
    return @bitCast(word.next -% word.serving);
}

/// Lets the next one in.
pub fn release(region: *const Region, ticket: Ticket) void {
    const shared = &region.tickets[ticket.index];
    while (true) {
        const raw = shared.load(.acquire);
        var word: Word = @bitCast(raw);
        if (word.serving != ticket.number) { // somebody moved it on
            if (!sync.mutated(.ticket_released_twice)) return;
        }
        word.serving +%= 1;
        if (shared.cas(raw, @bitCast(word), .acq_rel, .monotonic) == null) return;
    }
}
