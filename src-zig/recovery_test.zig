//! Checkpoints and recovery over a disk in memory, and an engine in private memory.

const std = @import("std");
const model = @import("recovery_model.zig");
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;
const Machine = model.Machine;
const testing = std.testing;
const gpa = testing.allocator;

test "recovery: the log alone gives back what was committed" {
    var prng: std.Random.DefaultPrng = .init(1);
    var disk: MemoryDisk = .init(gpa);
    defer disk.deinit();
    var machine: Machine = undefined;
    try machine.init(gpa, prng.random(), &disk);
    defer machine.deinit();
    for (0..300) |_| try machine.step();
    try machine.log.flush();
    const last = try machine.expectRecovered(&disk);
    try testing.expectEqual(machine.log.last_logged, last);
}

test "recovery: a snapshot that was written between commits converges by the log" {
    for (0..3) |seed| {
        var prng: std.Random.DefaultPrng = .init(seed);
        var disk: MemoryDisk = .init(gpa);
        defer disk.deinit();
        var machine: Machine = undefined;
        try machine.init(gpa, prng.random(), &disk);
        defer machine.deinit();
        for (0..4) |_| {
            for (0..100) |_| try machine.step();
            _ = try machine.checkpointNow();
            try machine.log.flush();
            _ = try machine.expectRecovered(&disk);
        }
    }
}

test "recovery: after a power cut there is a prefix that has all that was acknowledged" {
    for (0..3) |seed| {
        var prng: std.Random.DefaultPrng = .init(seed);
        const random = prng.random();
        var disk: MemoryDisk = .init(gpa);
        defer disk.deinit();
        var machine: Machine = undefined;
        try machine.init(gpa, random, &disk);
        defer machine.deinit();
        for (0..40) |round| {
            for (0..random.uintLessThan(u32, 20)) |_| try machine.step();
            if (round % 8 == 5) _ = try machine.checkpointNow();
            var image = try disk.crash(random, .{});
            defer image.deinit();
            _ = try machine.expectRecovered(&image);
        }
    }
}
