//! Freed blocks of the region under test: reading or swapping one is a finding.
//!
//! The engine reports each block that it frees. Until the next store into it, which is how a block
//! comes to life again, any load or compare-and-swap there means that somebody held on to it for
//! too long. The bytes are overwritten as well, so that plain reads give nonsense.

const std = @import("std");
const assert = std.debug.assert;

const word_size = 8;
const words_max = 1 << 15;
/// Neither a granule index, nor zero, nor a position.
const pattern = 0xd5;

var base: usize = 0;
var size: usize = 0;
/// For each word 1 + the first word of the freed block that it belongs to, or 0.
var freed: [words_max]u16 = @splat(0);
/// Words of the freed block that begins here.
var lengths: [words_max]u16 = undefined;

/// Watches `bytes` from now on, with nothing freed.
pub fn watch(bytes: []u8) void {
    assert(bytes.len <= words_max * word_size);
    base = @intFromPtr(bytes.ptr);
    size = bytes.len;
    @memset(freed[0 .. size / word_size], 0);
}

/// The memory that is watched; empty if there is none.
pub fn watched() []const u8 {
    if (size == 0) return &.{};
    return @as([*]const u8, @ptrFromInt(base))[0..size];
}

/// Notes that the block is freed and overwrites it.
pub fn poison(block: [*]u8, bytes: usize) void {
    const offset = @intFromPtr(block) -% base;
    if (offset >= size) return;
    const first = offset / word_size;
    const count = bytes / word_size;
    @memset(block[0..bytes], pattern);
    @memset(freed[first..][0..count], @intCast(first + 1));
    lengths[first] = @intCast(count);
}

/// True if the word belongs to a freed block.
pub inline fn isFreed(address: usize) bool {
    const offset = address -% base;
    return offset < size and freed[offset / word_size] != 0;
}

/// A store at `address` brings the block there to life.
pub inline fn revive(address: usize) void {
    const offset = address -% base;
    if (offset >= size) return;
    const mark = freed[offset / word_size];
    if (mark == 0) return;
    @memset(freed[mark - 1 ..][0..lengths[mark - 1]], 0);
}

test "poison: a block is freed until the first store into it" {
    var bytes: [256]u8 align(64) = @splat(0);
    watch(&bytes);
    defer watch(&.{});
    poison(bytes[64..].ptr, 128);
    const at = @intFromPtr(&bytes);
    try std.testing.expect(!isFreed(at) and isFreed(at + 64) and isFreed(at + 191));
    try std.testing.expect(!isFreed(at + 192));
    revive(at + 128);
    try std.testing.expect(!isFreed(at + 64));
}
