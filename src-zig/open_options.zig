//! What `aero_open` is told: the bytes of its options, decoded and checked.
//!
//!      0  u32 `OpenFlags`
//!      4  u32 0
//!      8  f64 most bytes of a new region; 0: the default
//!     16  u32 size and bytes of the path
//!         u32 size and bytes of the region's path, may be empty

const std = @import("std");
const connection_module = @import("connection.zig");
const store_options = @import("store_options.zig");

/// Flags of `aero_open`.
pub const OpenFlags = packed struct(u32) {
    /// Refuse all writes of this connection.
    read_only: bool = false,
    /// The path is the name of a store without a data directory.
    ephemeral: bool = false,
    /// Fail if the store does not exist.
    must_exist: bool = false,
    /// If the log is damaged in its middle, open what stands before the damage.
    salvage_prefix: bool = false,
    /// Do without commits that are only in a region of another layout.
    salvage_files: bool = false,
    /// Take a region that nobody uses only if it was closed with everything on disk.
    warm_clean_only: bool = false,
    /// Take none that nobody uses.
    warm_never: bool = false,
    reserved: u25 = 0,
};

/// Null for bytes that are not options.
pub fn decode(bytes: []const u8) ?connection_module.Options {
    if (bytes.len < 20) return null;
    const flags: OpenFlags = @bitCast(std.mem.readInt(u32, bytes[0..4], .little));
    const size: f64 = @bitCast(std.mem.readInt(u64, bytes[8..16], .little));
    var rest = bytes[16..];
    const path = takeText(&rest) orelse return null;
    const shm_path = takeText(&rest) orelse return null;
    if (flags.reserved != 0 or rest.len != 0) return null;
    return .{
        .read_only = flags.read_only,
        .store = .{
            .path = path,
            .ephemeral = flags.ephemeral,
            .must_exist = flags.must_exist,
            .read_only = flags.read_only,
            .size_max = store_options.sizeOf(size) orelse return null,
            .shm_path = shm_path,
            .salvage = if (flags.salvage_prefix) .prefix else .none,
            .gives_up_region = flags.salvage_files,
            .warm = if (flags.warm_never)
                .never
            else if (flags.warm_clean_only) .clean_only else .always,
        },
    };
}

fn takeText(rest: *[]const u8) ?[]const u8 {
    if (rest.len < 4) return null;
    const size = std.mem.readInt(u32, rest.*[0..4], .little);
    if (size > rest.len - 4) return null;
    defer rest.* = rest.*[4 + size ..];
    return rest.*[4..][0..size];
}

/// The bytes of options without a size.
fn encode(comptime flags: OpenFlags, comptime path: u8, comptime shm_path: u8) [26]u8 {
    const word: [4]u8 = @bitCast(flags);
    return word ++ [_]u8{0} ** 12 ++ [_]u8{ 1, 0, 0, 0, path, 1, 0, 0, 0, shm_path };
}

test "decode: each flag has its meaning, and no other one is accepted" {
    const plain = decode(&encode(.{}, 'a', 'b')).?;
    try std.testing.expectEqualStrings("a", plain.store.path);
    try std.testing.expectEqualStrings("b", plain.store.shm_path);
    try std.testing.expectEqual(store_options.size_default, plain.store.size_max);
    try std.testing.expect(!plain.read_only and !plain.store.read_only);
    try std.testing.expect(!plain.store.ephemeral and !plain.store.must_exist);
    try std.testing.expect(!plain.store.gives_up_region and plain.store.salvage == .none);
    try std.testing.expectEqual(.always, plain.store.warm);

    const reading = decode(&encode(.{ .read_only = true }, 'a', 'b')).?;
    try std.testing.expect(reading.read_only and reading.store.read_only);
    const ephemeral = decode(&encode(.{ .ephemeral = true }, 'a', 'b')).?;
    try std.testing.expect(ephemeral.store.ephemeral);
    const existing = decode(&encode(.{ .must_exist = true }, 'a', 'b')).?;
    try std.testing.expect(existing.store.must_exist);
    const prefix = decode(&encode(.{ .salvage_prefix = true }, 'a', 'b')).?;
    try std.testing.expectEqual(.prefix, prefix.store.salvage);
    const files = decode(&encode(.{ .salvage_files = true }, 'a', 'b')).?;
    try std.testing.expect(files.store.gives_up_region);
    const clean = decode(&encode(.{ .warm_clean_only = true }, 'a', 'b')).?;
    try std.testing.expectEqual(.clean_only, clean.store.warm);
    const never = decode(&encode(.{ .warm_never = true, .warm_clean_only = true }, 'a', 'b')).?;
    try std.testing.expectEqual(.never, never.store.warm);
    try std.testing.expectEqual(null, decode(&encode(.{ .reserved = 1 }, 'a', 'b')));
}
