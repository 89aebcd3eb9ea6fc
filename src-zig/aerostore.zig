//! The root of the shared library, and of every program that contains the engine.
//!
//! From below to above: `sync` (injected by the build), `os`; the region's layout and its memory;
//! versions, positions and transactions; queries; files, processes and the catalogue; the ABI.
//! A file imports only files below it. `README.md` in this directory is the map.

const std = @import("std");
const builtin = @import("builtin");
pub const sync = @import("sync");
const panic_module = @import("panic.zig");

/// The simulator has no operating system below it, and so no files, processes, or ABI.
const with_border = !sync.sim;

pub const std_options: std.Options = .{
    // Crash signals belong to the host process.
    .enable_segfault_handler = false,
    // Would put a stack of 256 KiB into every thread of the host.
    .signal_stack_size = null,
};

pub const panic = std.debug.FullPanic(panic_module.panic);

pub const limits = @import("limits.zig");
pub const region = @import("region.zig");
pub const slabs = @import("slabs.zig");
pub const slot_log = @import("slot_log.zig");
pub const version = @import("version.zig");
pub const commit_ring = @import("commit_ring.zig");
pub const pk_map = @import("pk_map.zig");
pub const row_count = @import("row_count.zig");
pub const index_key = @import("index_key.zig");
pub const ordered_index = @import("ordered_index.zig");
pub const index_ahead = @import("index_ahead.zig");
pub const index_guide = @import("index_guide.zig");
pub const index_guide_block = @import("index_guide_block.zig");
pub const index_guide_change = @import("index_guide_change.zig");
pub const table_indexes = @import("table_indexes.zig");
pub const index_entry = @import("index_entry.zig");
pub const index_count = @import("index_count.zig");
pub const index_summary = @import("index_summary.zig");
pub const index_scan = @import("index_scan.zig");
pub const index_build = @import("index_build.zig");
pub const session = @import("session.zig");
pub const waiting = @import("waiting.zig");
pub const gate = @import("gate.zig");
pub const ticket = @import("ticket.zig");
pub const vacuum = @import("vacuum.zig");
pub const vacuum_ahead = @import("vacuum_ahead.zig");
pub const transaction = @import("transaction.zig");
pub const statement = @import("statement.zig");
pub const open_transaction = @import("open_transaction.zig");
pub const predicate = @import("predicate.zig");
pub const recovery = @import("recovery.zig");
pub const integrity = @import("integrity.zig");
pub const reader = @import("reader.zig");
pub const table_info = @import("table_info.zig");
pub const row = @import("row.zig");
pub const row_merge = @import("row_merge.zig");
pub const plan = @import("plan.zig");
pub const plan_encoder = @import("plan_encoder.zig");
pub const executor = @import("executor.zig");
pub const os = @import("os.zig");
pub const log_gather = @import("log_gather.zig");
pub const log_leader = @import("log_leader.zig");
pub const log_drain = @import("log_drain.zig");
pub const log_row = @import("log_row.zig");
pub const log_frame = @import("log_frame.zig");
pub const participants = @import("participants.zig");
pub const catalogue = @import("catalogue.zig");
pub const schema_blob = @import("schema_blob.zig");
pub const catalogue_image = @import("catalogue_image.zig");
pub const status = @import("status.zig");

comptime {
    if (with_border and builtin.output_mode == .Lib) _ = @import("abi.zig");
}

test {
    _ = @import("limits.zig");
    _ = region;
    _ = slabs;
    _ = slot_log;
    _ = version;
    _ = commit_ring;
    _ = pk_map;
    _ = row_count;
    _ = index_key;
    _ = ordered_index;
    _ = index_ahead;
    _ = index_guide;
    _ = index_guide_block;
    _ = index_guide_change;
    _ = table_indexes;
    _ = index_entry;
    _ = index_count;
    _ = index_summary;
    _ = index_scan;
    _ = index_build;
    _ = session;
    _ = waiting;
    _ = vacuum;
    _ = vacuum_ahead;
    _ = transaction;
    _ = statement;
    _ = recovery;
    _ = reader;
    _ = table_info;
    _ = row;
    _ = row_merge;
    _ = plan;
    _ = executor;
    _ = status;
    _ = schema_blob;
    _ = @import("row_input.zig");
    _ = @import("aggregate.zig");
    _ = @import("analyze.zig");
    _ = @import("case_fold.zig");
    _ = @import("cell_range.zig");
    _ = @import("filter.zig");
    _ = @import("filter_compiler.zig");
    _ = @import("glob.zig");
    _ = @import("heap_count.zig");
    _ = @import("plan_encoder.zig");
    _ = @import("query_memory.zig");
    _ = @import("result.zig");
    _ = @import("batch.zig");
    _ = @import("filtered_scan.zig");
    _ = @import("sorted_rows.zig");
    _ = @import("sort_order.zig");
    _ = @import("row_sorter.zig");
    _ = @import("top_heap.zig");
    _ = @import("bench_filter.zig");
    _ = @import("bench_index.zig");
    _ = @import("bench_ingest.zig");
    _ = @import("fuzz.zig");
    _ = @import("ingest.zig");
    _ = @import("ingest_problem.zig");
    _ = @import("ingest_spec.zig");
    _ = @import("merge_sort.zig");
    _ = @import("parse_value.zig");
    _ = @import("query_model.zig");
    _ = @import("tsv.zig");
    _ = @import("core_test.zig");
    _ = @import("race_test.zig");
    _ = @import("index_test.zig");
    _ = @import("index_guide_test.zig");
    _ = gate;
    _ = @import("pressure.zig");
    _ = @import("reclaim.zig");
    _ = ticket;
    _ = @import("write_buffer.zig");
    _ = @import("predicate.zig");
    _ = @import("integrity.zig");
    _ = @import("open_transaction.zig");
    _ = @import("ingest_row.zig");
    _ = @import("crc32c.zig");
    _ = @import("log_frame.zig");
    _ = @import("log_row.zig");
    if (with_border) {
        _ = @import("abi.zig");
        _ = @import("abi_control.zig");
        _ = @import("abi_gen.zig");
        _ = @import("abi_surface.zig");
        _ = @import("abi_test.zig");
        _ = catalogue;
        _ = catalogue_image;
        _ = @import("cold_recovery.zig");
        _ = @import("log_replay.zig");
        _ = @import("replay_list.zig");
        _ = @import("region_trust.zig");
        _ = @import("index_load.zig");
        _ = @import("index_sort.zig");
        _ = @import("region_loader.zig");
        _ = @import("checkpoint.zig");
        _ = @import("checkpoint_pace.zig");
        _ = @import("truncation.zig");
        _ = @import("snapshot_file.zig");
        _ = @import("connection.zig");
        _ = @import("durable_calls.zig");
        _ = @import("engine.zig");
        _ = @import("file_layer.zig");
        _ = @import("file_layer_memory.zig");
        _ = @import("log_chain.zig");
        _ = @import("log_cursor.zig");
        _ = @import("durability.zig");
        _ = @import("durability_test.zig");
        _ = @import("log_drain.zig");
        _ = @import("log_keeper.zig");
        _ = @import("log_gather.zig");
        _ = @import("log_leader.zig");
        _ = @import("log_patience.zig");
        _ = @import("log_repair_test.zig");
        _ = @import("log_room_test.zig");
        _ = @import("log_reader.zig");
        _ = @import("log_scan.zig");
        _ = @import("log_test.zig");
        _ = @import("log_damage_test.zig");
        _ = @import("log_segment.zig");
        _ = @import("log_spare.zig");
        _ = @import("huge_pages.zig");
        _ = @import("log_writer.zig");
        _ = @import("ingest_calls.zig");
        _ = @import("layout_doc_test.zig");
        _ = @import("lock_file.zig");
        _ = @import("notifier.zig");
        _ = @import("open_options.zig");
        _ = @import("opening.zig");
        _ = @import("os.zig");
        _ = panic_module;
        _ = participants;
        _ = @import("process_mutex.zig");
        _ = @import("query_calls.zig");
        _ = @import("recovery_test.zig");
        _ = @import("truncation_test.zig");
        _ = @import("power_cut_fuzz.zig");
        _ = @import("bench_recovery.zig");
        _ = @import("region_file.zig");
        _ = @import("region_opening.zig");
        _ = @import("store_options.zig");
        _ = @import("removal.zig");
        _ = @import("report_calls.zig");
        _ = @import("key_calls.zig");
        _ = @import("row_calls.zig");
        _ = @import("set_calls.zig");
        _ = @import("store.zig");
        _ = @import("store_files.zig");
        _ = @import("checkpointer.zig");
        _ = @import("tasks.zig");
        _ = @import("transaction_calls.zig");
    }
}
