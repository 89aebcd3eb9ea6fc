//! Random transactions, checkpoints, crashes and damage, with a recovery after each.
//!
//! Checks:
//!
//!   * after a power cut there is the state of one position, no earlier than the last sync
//!   * after a kill, with the page cache intact, there is all that was written
//!   * after damage there is the state of one position, or a refusal; what was acknowledged is
//!     missing only with a warning
//!   * `verify` finds nothing in what was recovered, and the store goes on from there

const std = @import("std");
const memory = @import("file_layer_memory.zig");
const Machine = @import("recovery_model.zig").Machine;
const MemoryDisk = memory.MemoryDisk;
const Allocator = std.mem.Allocator;

/// Crashes before the store is made anew.
const crashes_max = 8;

/// Returns the number of power cuts.
pub fn run(gpa: Allocator, seed: u64, rounds: usize) !u64 {
    var prng: std.Random.DefaultPrng = .init(seed);
    var images: u64 = 0;
    for (0..rounds) |_| images += try life(gpa, prng.random());
    return images;
}

/// One store from its beginning to its end.
fn life(gpa: Allocator, random: std.Random) !u64 {
    var disks: [crashes_max + 1]MemoryDisk = undefined;
    var count: usize = 1;
    var images: u64 = 0;
    disks[0] = .init(gpa);
    var machine: Machine = undefined;
    defer for (disks[0..count]) |*disk| disk.deinit();
    try machine.init(gpa, random, &disks[0]);
    defer machine.deinit();
    // Some lives have no checkpoints, some many.
    const checkpoint_percent = random.uintLessThan(u32, 30);
    for (0..crashes_max) |_| {
        for (0..1 + random.uintLessThan(u32, 6)) |_| {
            for (0..random.uintLessThan(u32, 30)) |_| try machine.step();
            if (random.uintLessThan(u32, 100) < checkpoint_percent) _ = try machine.checkpointNow();
            try lookAt(&machine, random);
            images += 1;
        }
        disks[count] = try machine.disk.crash(random, options(random));
        count += 1;
        images += 1;
        try machine.restart(&disks[count - 1]);
    }
    return images;
}

fn options(random: std.Random) memory.CrashOptions {
    return .{
        .kept_percent = random.uintAtMost(u8, 100) / 2,
        .torn_percent = random.uintAtMost(u8, 50),
        .name_percent = random.uintAtMost(u8, 100),
    };
}

/// Recovers what would be left now, whole and damaged.
fn lookAt(machine: *Machine, random: std.Random) !void {
    try machine.log.flush();
    const last = try machine.expectRecovered(machine.disk);
    try std.testing.expect(last >= machine.log.last_logged);
    var image = try machine.disk.crash(random, options(random));
    defer image.deinit();
    _ = try machine.expectRecovered(&image);
    for (0..1 + random.uintLessThan(usize, 3)) |_| damage(&image, random);
    _ = try machine.expectContained(&image);
}

fn damage(disk: *MemoryDisk, random: std.Random) void {
    const names = disk.names.keys();
    if (names.len == 0) return;
    const name = names[random.uintLessThan(usize, names.len)];
    const size = disk.contents(name).?.len;
    if (size == 0) return;
    const used = usedSize(disk.contents(name).?);
    switch (random.uintLessThan(u8, 8)) {
        0 => disk.truncate(name, random.uintLessThan(usize, size)),
        else => disk.flipBit(name, random.uintLessThan(usize, 8 * @max(used, 1))),
    }
}

/// Bytes before the zeros at the end.
fn usedSize(bytes: []const u8) usize {
    var size = bytes.len;
    while (size > 0 and bytes[size - 1] == 0) size -= 1;
    return size;
}

test "fuzz: recovery agrees with the history" {
    try std.testing.expect(try run(std.testing.allocator, 1, 2) > 32);
}
