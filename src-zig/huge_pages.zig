//! Huge pages under the region, put there while it is used.
//!
//! A look-up in hundreds of MiB misses the processor's cache of addresses as often as its cache of
//! memory, and with pages of 4 KiB that is a third of its time. A tmpfs has huge pages only if it
//! was mounted so, and /dev/shm usually is not. But since Linux 6.1 a process may ask for a piece
//! of a mapping to be moved into a huge page there and then, whatever the mount says.
//!
//! A region grows by such pieces, while they are empty (`region_file.zig`). Here the leader's
//! maintenance thread visits them all, and moves those for which there was no huge page then. The
//! pages belong to the file, so one process does it for all: the kernel takes the small mappings
//! away, and the next access maps the huge page, in processes that attach later too.
//!
//! Invariants:
//!
//!   * only pieces that are reserved as a whole are moved: a hole would be filled, and the region
//!     would take memory that was never counted
//!   * nothing depends on success: a refusal is remembered and never told
//!   * the thread moves for at most a quarter of the time, for whoever touches a piece in that
//!     moment waits for it: usually less than a millisecond

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const os = @import("os.zig");
const region_module = @import("region.zig");
const Region = region_module.Region;
const Shm = sync.Shm;

/// Below it all addresses fit the processor's cache anyway.
const region_size_min = 32 << 20;
/// A moved piece is followed by a rest that many times as long as the move took.
const rest_factor = 3;
const rest_ns_refused: u64 = 200 * std.time.ns_per_ms;
/// After that many refusals of one piece, it stays as it is.
const attempts_max = 4;

/// How far one process has got with a region that it leads.
pub const HugePages = struct {
    /// Bytes from the region's start to the first piece that was not tried.
    next: u64 = 0,
    /// Pieces that lie in huge pages, as far as this process knows.
    done: u32 = 0,
    /// Refusals of the piece at `next`.
    attempts: u32 = 0,
    resting_until_ns: u64 = 0,
    /// The kernel cannot do it, or not with this file.
    given_up: bool = false,

    /// Moves at most one piece. True if there may be another one soon.
    pub fn step(pages: *HugePages, region: *const Region) bool {
        if (pages.given_up) return false;
        // Another process may have damaged the word; the end of the mapping is known for sure.
        const mapped = @as(u64, region.slabs_first) * limits.granule_size +
            @as(u64, region.slab_count) * limits.slab_size;
        // Acquire: pairs with the growth of the file. What is below is reserved.
        const committed = region.control.memory.committed.load(.acquire);
        const end = @min(committed, mapped);
        if (end < region_size_min or pages.next + os.huge_page_size > end) return false;
        const started = sync.nowNs();
        if (started < pages.resting_until_ns) return pages.attempts == 0;

        const piece: [*]align(os.page_size) u8 = @alignCast(region.base + pages.next);
        switch (os.collapse(piece)) {
            .done => {
                pages.done += 1;
                pages.advance();
                pages.resting_until_ns = started + (sync.nowNs() - started) * (1 + rest_factor);
                return true;
            },
            .refused => {
                pages.attempts += 1;
                pages.resting_until_ns = started + pages.attempts * rest_ns_refused;
                if (pages.attempts == attempts_max) pages.advance();
            },
            .impossible => if (pages.done == 0) {
                pages.given_up = true;
            } else pages.advance(),
        }
        return false;
    }

    fn advance(pages: *HugePages) void {
        pages.next += os.huge_page_size;
        pages.attempts = 0;
    }
};

const testing = std.testing;

/// A region file with more memory than the processor's cache of addresses reaches.
const TestRegion = struct {
    fd: os.Fd,
    region: Region,
    mapping: []align(os.page_size) u8,
    /// Another process would see the file so.
    other: []align(os.page_size) u8,

    const size = 40 << 20;
    const committed = 37 << 20;

    fn init() !TestRegion {
        var salt: [8]u8 = undefined;
        try os.random(&salt);
        const path = try os.Path.format("/dev/shm/aerostore-test-huge-{x}", .{&salt});
        const fd = try os.open(&path, .exclusive);
        errdefer os.close(fd);
        try os.unlink(&path);
        try os.reserve(fd, 0, committed);
        const mapping = try os.map(fd, size);
        try region_module.format(mapping.ptr, .forSize(size), .{});
        const region: Region = .init(mapping.ptr);
        region.control.memory.committed.store(committed, .release);
        return .{ .fd = fd, .region = region, .mapping = mapping, .other = try os.map(fd, size) };
    }

    fn deinit(self: *TestRegion) void {
        os.unmap(self.other);
        os.unmap(self.mapping);
        os.close(self.fd);
    }

    /// Words of the part behind everything that `format` has written.
    fn words(self: *const TestRegion, mapping: []align(os.page_size) u8) []Shm(u64) {
        const start = @as(u64, self.region.slabs_first) * limits.granule_size;
        return @ptrCast(@alignCast(mapping[start..committed]));
    }

    fn moveAll(self: *const TestRegion, pages: *HugePages) void {
        while (pages.step(&self.region)) pages.resting_until_ns = 0;
    }
};

test "HugePages.step: moves what is reserved as a whole, and takes no more memory" {
    if (!os.supported) return error.SkipZigTest;
    var file = try TestRegion.init();
    defer file.deinit();
    for (file.words(file.other), 0..) |*word, n| word.store(n, .monotonic);
    const before = try os.stat(file.fd);
    var pages: HugePages = .{};
    file.moveAll(&pages);
    if (pages.given_up) return error.SkipZigTest; // Linux before 6.1, or without huge pages.
    try testing.expectEqual(@as(u64, 36 << 20), pages.next);
    const after = try os.stat(file.fd);
    try testing.expectEqual(before.allocated, after.allocated);
    try testing.expectEqual(before.size, after.size);
    for ([_][]align(os.page_size) u8{ file.mapping, file.other }) |mapping| {
        for (file.words(mapping), 0..) |*word, n| try testing.expectEqual(n, word.load(.monotonic));
    }
    // What grows is moved as well.
    try os.reserve(file.fd, TestRegion.committed, 1 << 20);
    file.region.control.memory.committed.store(TestRegion.committed + (1 << 20), .release);
    file.moveAll(&pages);
    try testing.expectEqual(@as(u64, 38 << 20), pages.next);
}

test "HugePages.step: loses no write that happens meanwhile, by whatever mapping" {
    if (!os.supported) return error.SkipZigTest;
    var file = try TestRegion.init();
    defer file.deinit();
    const Writer = struct {
        fn run(list: []Shm(u64), first: usize, stop: *Shm(u32)) void {
            var round: u64 = 1;
            while (stop.load(.acquire) == 0) : (round += 1) {
                var at = first;
                while (at < list.len) : (at += 2 * 509) {
                    const seen = list[at].fetchAdd(1, .monotonic);
                    std.debug.assert(seen == round - 1); // Nobody else writes this word.
                }
            }
        }
    };
    var stop: Shm(u32) = .init(0);
    var threads: [2]std.Thread = undefined;
    const mappings = [_][]align(os.page_size) u8{ file.mapping, file.other };
    for (&threads, mappings, 0..) |*thread, mapping, n| {
        thread.* = try .spawn(.{}, Writer.run, .{ file.words(mapping), n * 509, &stop });
    }
    // From the start again and again: pieces that are huge already change nothing.
    for (0..3) |_| {
        var pages: HugePages = .{};
        file.moveAll(&pages);
        sync.sleepNs(10 * std.time.ns_per_ms);
    }
    stop.store(1, .release);
    for (threads) |thread| thread.join();
    const list = file.words(file.mapping);
    for ([_]usize{ 0, 509 }) |first| {
        const rounds = list[first].load(.monotonic);
        var at = first;
        while (at < list.len) : (at += 2 * 509) {
            try testing.expectEqual(rounds, list[at].load(.monotonic));
        }
    }
}

test "HugePages.step: leaves small regions and foreign memory alone" {
    if (!os.supported) return error.SkipZigTest;
    const memory = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), 4 << 20);
    defer testing.allocator.free(memory);
    @memset(memory, 0);
    try region_module.format(memory.ptr, .forSize(4 << 20), .{});
    const region: Region = .init(memory.ptr);
    var pages: HugePages = .{};
    // Also with a damaged word: the mapping ends where it ends.
    region.control.memory.committed.store(std.math.maxInt(u64), .release);
    try testing.expect(!pages.step(&region));
    try testing.expectEqual(@as(u64, 0), pages.next);
}
