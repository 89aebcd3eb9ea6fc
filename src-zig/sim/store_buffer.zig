//! The store buffer of a simulated x86-64 processor.
//!
//! Total store order: a store waits here, visible to its own fiber only, and reaches memory later
//! but in order; locked instructions and fences empty the buffer first. So the one thing that can
//! be observed is a load that overtook an earlier store of its own processor.

const std = @import("std");
const assert = std.debug.assert;

/// More than enough to hold back every store of one operation; a real buffer has about 60 entries.
const entries_max = 16;

const Entry = struct {
    address: usize,
    value: u64,
    size: u8,
};

pub const StoreBuffer = struct {
    entries: [entries_max]Entry = undefined,
    count: u8 = 0,

    /// Takes a store. The oldest one leaves first if the buffer is full.
    pub fn push(buffer: *StoreBuffer, address: usize, value: u64, size: u8) void {
        if (buffer.count == entries_max) buffer.flush(1);
        buffer.entries[buffer.count] = .{ .address = address, .value = value, .size = size };
        buffer.count += 1;
    }

    /// Returns what this processor itself reads at `address` if it has a store waiting there.
    pub fn lookup(buffer: *const StoreBuffer, address: usize) ?u64 {
        var i = buffer.count;
        while (i > 0) {
            i -= 1;
            if (buffer.entries[i].address == address) return buffer.entries[i].value;
        }
        return null;
    }

    /// Lets the `n` oldest stores reach memory.
    pub fn flush(buffer: *StoreBuffer, n: u8) void {
        assert(n <= buffer.count);
        for (buffer.entries[0..n]) |entry| write(entry);
        const left = buffer.count - n;
        std.mem.copyForwards(Entry, buffer.entries[0..left], buffer.entries[n..buffer.count]);
        buffer.count = left;
    }

    pub fn flushAll(buffer: *StoreBuffer) void {
        buffer.flush(buffer.count);
    }

    fn write(entry: Entry) void {
        switch (entry.size) {
            1 => @as(*u8, @ptrFromInt(entry.address)).* = @truncate(entry.value),
            2 => @as(*u16, @ptrFromInt(entry.address)).* = @truncate(entry.value),
            4 => @as(*u32, @ptrFromInt(entry.address)).* = @truncate(entry.value),
            8 => @as(*u64, @ptrFromInt(entry.address)).* = entry.value,
            else => unreachable,
        }
    }
};

test "StoreBuffer: its own fiber reads the newest store, memory gets them in order" {
    var word: u32 = 1;
    var buffer: StoreBuffer = .{};
    buffer.push(@intFromPtr(&word), 2, 4);
    buffer.push(@intFromPtr(&word), 3, 4);
    try std.testing.expectEqual(3, buffer.lookup(@intFromPtr(&word)).?);
    try std.testing.expectEqual(1, word);
    buffer.flush(1);
    try std.testing.expectEqual(2, word);
    buffer.flushAll();
    try std.testing.expectEqual(3, word);
    try std.testing.expectEqual(null, buffer.lookup(@intFromPtr(&word)));
}
