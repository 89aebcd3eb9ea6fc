//! An open region: its file, mapped, and grown as memory is needed.
//!
//! Invariants:
//!
//!   * the file never shrinks, and every byte that is touched was reserved before: a full file
//!     system is the error `region_full`, not the signal SIGBUS
//!   * `size_max` is from a header that was checked: no other process can change it any more

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const ring = @import("commit_ring.zig");
const cold_recovery = @import("cold_recovery.zig");
const lock_file = @import("lock_file.zig");
const os = @import("os.zig");
const region_module = @import("region.zig");
const status = @import("status.zig");
const store_options = @import("store_options.zig");
const Detail = status.Detail;
const Region = region_module.Region;
const Shm = sync.Shm;
const osError = lock_file.osError;

pub const Error = store_options.Error;

/// Memory of the library itself. Freed memory may be reused by the host.
pub const gpa = if (builtin.link_libc) std.heap.c_allocator else std.heap.smp_allocator;

pub const grow_chunk_min = 1 << 20;
/// Reserving memory clears it, at up to 0.7 ms for each MiB: a longer stall is not wanted.
const grow_chunk_max = 16 << 20;
/// Whoever needs memory does not wait longer than that for the kernel to find a huge page.
const huge_page_ns_max = 20 * std.time.ns_per_ms;

/// An open, mapped region. Must not move: the region's `grow` refers to it.
pub const RegionFile = struct {
    fd: os.Fd,
    path: os.Path,
    mapping: []align(os.page_size) u8,
    region: Region,
    /// Bytes that the region may ever use, from the checked copy of the header.
    size_max: u64,
    /// 0 once the kernel had no huge page, or was slow to find one: see `fillHugePages`.
    grows_huge: Shm(u32),
    /// What was done to build it; null if it was there, or if there was nothing to build it from.
    recovery: ?cold_recovery.Report,

    /// Maps the open file. `resolve` must follow, once there is a header.
    pub fn map(file: *RegionFile, size_max: u64, detail: *Detail) Error!void {
        file.size_max = size_max;
        file.grows_huge = .init(1);
        file.mapping = os.map(file.fd, size_max) catch |err|
            return osError(err, "map", &file.path, detail);
    }

    /// Finds the parts of the region, by the header in the mapping.
    pub fn resolve(file: *RegionFile) void {
        file.region = Region.init(file.mapping.ptr);
        file.region.grow = growCallback;
        file.region.grow_context = file;
    }

    pub fn close(file: *RegionFile) void {
        os.unmap(file.mapping);
        os.close(file.fd);
        file.fd = -1;
    }

    /// Whether the last process that used the region has closed it, and left nothing to write.
    pub fn wasClosed(file: *const RegionFile) bool {
        const control = file.region.control;
        const durable = ring.Watermark.position(control.durable.word.load(.acquire));
        return file.region.header.clean_shutdown.load(.acquire) != 0 and
            durable >= control.next.word.load(.acquire);
    }

    /// Marks the region as replaced: whoever opens it next builds another one.
    pub fn retire(file: *const RegionFile) void {
        const retired = @intFromEnum(region_module.RegionState.retired);
        file.region.header.state.store(retired, .release);
    }

    /// Reserves memory for at least the first `needed_bytes` of the region.
    pub fn grow(file: *RegionFile, needed_bytes: u64) error{RegionFull}!void {
        if (needed_bytes > file.size_max) return error.RegionFull;
        const committed = &file.region.control.memory.committed;
        // Acquire: pairs with the release of `fetchMax` below.
        const now = committed.load(.acquire);
        if (needed_bytes <= now) return;
        if (now > file.size_max) return error.RegionFull; // Somebody damaged the word.

        const chunk = std.math.clamp(now / 8, grow_chunk_min, grow_chunk_max);
        const whole = std.mem.alignForward(u64, @max(needed_bytes, now + chunk), os.huge_page_size);
        const wanted = @min(file.size_max, whole);
        // When memory is short, what is needed may still be there when a chunk is not.
        const end = if (file.reserve(now, wanted)) wanted else |_| end: {
            os.reserve(file.fd, now, needed_bytes - now) catch return error.RegionFull;
            break :end needed_bytes;
        };
        // Two processes may reserve the same bytes at once, which is harmless. Release: memory
        // below `committed` is there for whoever reads it.
        _ = committed.fetchMax(end, .acq_rel);
    }

    /// Reserves bytes `start..end` of the file, in huge pages as far as there are any.
    pub fn reserve(file: *RegionFile, start: u64, end: u64) os.Error!void {
        file.fillHugePages(start, end);
        try os.reserve(file.fd, start, end - start);
    }

    /// Puts a huge page behind each piece of `start..end` that nobody uses yet. That takes 60 µs
    /// for each MiB, small pages take 300 and as much again when they are touched; `huge_pages.zig`
    /// has the other reasons. What fails is left to `reserve`.
    fn fillHugePages(file: *RegionFile, start: u64, end: u64) void {
        var at = std.mem.alignForward(u64, start, os.huge_page_size);
        while (at + os.huge_page_size <= end) : (at += os.huge_page_size) {
            if (file.grows_huge.load(.monotonic) == 0) return;
            const began = sync.nowNs();
            // A piece without any page is taken for one behind the end of the file.
            const last_page = at + os.huge_page_size - os.page_size;
            os.reserve(file.fd, last_page, os.page_size) catch return;
            const piece: [*]align(os.page_size) u8 = @alignCast(file.mapping.ptr + at);
            const done = os.collapse(piece) == .done;
            if (done and sync.nowNs() - began < huge_page_ns_max) continue;
            // The maintenance thread has the time to try again.
            file.grows_huge.store(0, .monotonic);
        }
    }
};

fn growCallback(context: *anyopaque, bytes: u64) error{RegionFull}!void {
    const file: *RegionFile = @ptrCast(@alignCast(context));
    try file.grow(bytes);
}

const Opened = @import("region_opening.zig").Opened;
const TestStore = @import("region_opening.zig").TestStore;
const testing = std.testing;

test "RegionFile.grow: reaches the limit of the region and not one byte more" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var opened: Opened = undefined;
    try store.openAs(&opened, null);
    defer opened.close();
    const region = &opened.file.region;
    try region.grow.?(region.grow_context, 8 << 20);
    try testing.expectEqual(@as(u64, 8 << 20), (try os.stat(opened.file.fd)).size);
    try testing.expectError(error.RegionFull, opened.file.grow((8 << 20) + 1));
    opened.file.mapping[(8 << 20) - 1] = 1;
}

test "RegionFile.grow: goes on where somebody was killed that had reserved and not noted it" {
    if (!os.supported) return error.SkipZigTest;
    var store: TestStore = undefined;
    try store.init();
    defer store.deinit();
    var killed: Opened = undefined;
    try store.openAs(&killed, 0);
    const committed = killed.file.region.control.memory.committed.load(.acquire);
    try os.reserve(killed.file.fd, committed, 2 << 20);
    killed.file.mapping[committed] = 7; // It had begun to use it.
    killed.close();
    var next: Opened = undefined;
    try store.openAs(&next, 0);
    defer next.close();
    const memory = &next.file.region.control.memory;
    try testing.expectEqual(committed, memory.committed.load(.acquire));
    try next.file.grow(committed + 1);
    try testing.expect(memory.committed.load(.acquire) > committed);
    const size = (try os.stat(next.file.fd)).size;
    try testing.expect(size >= memory.committed.load(.acquire));
}
