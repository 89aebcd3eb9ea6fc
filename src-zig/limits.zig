//! Sizes that are part of the region's layout.
//!
//! The simulator compiles the same engine with tiny numbers, so that chunks roll, slabs fill
//! and rings wrap within a few steps; nothing else differs between the two builds.

const std = @import("std");
const sync = @import("sync");

/// Bytes of one granule. A shared pointer is a granule index, so 32 bits reach 256 GiB.
pub const granule_size = 64;
/// Two cache lines: adjacent-line prefetchers make a pair the unit of false sharing.
pub const line_pair = 128;
/// Processes attached at one time. Each owns one byte of the lock file.
pub const process_count = if (sync.sim) 4 else 128;
/// Transactions open at one time, over all processes.
pub const transaction_slot_count = if (sync.sim) 6 else 256;
/// Slots in all: one more for each process, for its maintenance work.
pub const slot_count = transaction_slot_count + process_count;
pub const table_count_max = if (sync.sim) 4 else 64;
pub const column_count_max = 64;
pub const slab_size = if (sync.sim) 2048 else 64 * 1024;
pub const slab_granules = slab_size / granule_size;
/// Bytes of one chunk of a slot log.
pub const log_chunk_size = if (sync.sim) 256 else 4096;
pub const ticket_count = if (sync.sim) 8 else 1024;
/// A row's payload when every column is at its capacity.
pub const payload_size_max = if (sync.sim) 512 else 60_000;
pub const key_size_max = 64;
pub const region_size_min = if (sync.sim) 64 * 1024 else 2 * 1024 * 1024;
pub const region_size_max = @as(u64, 1) << 38;

comptime {
    std.debug.assert(slot_count < 1023); // 10 bits in a transaction reference, 1023 is kept
    std.debug.assert(process_count <= 255);
}
