//! A small region in plain memory, and the processes attached to it.
//!
//! Fiber i of a kernel works with session i, opened for process i before the run starts. What
//! fibers do is in `actions.zig`, what must hold afterwards in `ending.zig`.

const std = @import("std");
const sync = @import("sync");
const engine = @import("aerostore");
const actions = @import("actions.zig");
const history = @import("history.zig");
const scheduler = sync.scheduler;
const limits = engine.limits;
const ring = engine.commit_ring;
const Session = engine.session.Session;
const Participant = engine.participants.Participant;
const TableInfo = engine.table_info.TableInfo;
const assert = std.debug.assert;

pub const Options = struct {
    /// Binary logarithm of the cells of the ring.
    cells_log2: u6 = 3,
    /// One bucket by default, so that all keys share a chain.
    buckets_log2: u6 = 0,
    /// Fibers with a process and a session each.
    sessions: u8 = 2,
    /// Rows that exist before the run.
    rows: history.State = @splat(null),
    /// Leave each session so few free blocks of a kind that every block is soon used again.
    scarce: bool = false,
    /// The index on the number of the row.
    index: Index = .none,
    /// Report uses of freed blocks. Off for readers that are allowed to look at them.
    watch_freed: bool = true,
};

pub const Index = enum { none, plain, unique };

pub const region_size = 96 * 1024;
/// The process that cleans up at the end.
pub const janitor = limits.process_count;
const lock_fd = 3;
const region_fd = 4;

var bytes: [region_size]u8 align(4096) = undefined;
var heap_bytes: [1 << 20]u8 align(16) = undefined;
var heap: std.heap.FixedBufferAllocator = .init(&heap_bytes);
pub var region: engine.region.Region = undefined;
/// The table, as the process of each fiber and, at the end, the janitor know it, and its indexes.
var tables: [scheduler.fibers_max + 1]TableInfo = undefined;
var indexes: [scheduler.fibers_max + 1]engine.table_indexes.TableIndexes = undefined;
/// When the run began, on the simulated clock.
pub var started_ns: u64 = 0;
pub var participants: [limits.process_count + 1]Participant = undefined;
/// Null while a fiber has given its session back.
pub var sessions: [scheduler.fibers_max]?*Session = @splat(null);
pub var sessions_count: u8 = 0;

/// An empty region with the sessions and rows that `options` asks for.
pub fn reset(options: Options) void {
    heap.reset();
    sync.memory.watch(if (options.watch_freed) &bytes else &.{});
    @memset(&bytes, 0);
    engine.region.format(&bytes, .{
        .size_max = region_size,
        .cells_log2 = options.cells_log2,
        .buckets_log2 = options.buckets_log2,
    }, .{}) catch unreachable;
    region = .init(&bytes);
    sessions = @splat(null);
    sessions_count = options.sessions;
    makeTables();
    if (options.index != .none) addIndex(options.index, .ready);
    for (0..options.sessions) |i| sessions[i] = attach(@intCast(i));
    history.reset();
    history.setInitial(options.rows);
    for (options.rows, 0..) |value, key| {
        const n = value orelse continue;
        assert(actions.write(sessions[0].?, .insert, @intCast(key), n).outcome == .done);
    }
    ripen();
    if (options.scarce) for (sessions[0..sessions_count]) |session| leaveFew(session.?);
    scheduler.setProcess(scheduler.process_outside);
    started_ns = sync.nowNs();
}

fn makeTables() void {
    for (&tables, &indexes, 0..) |*table, *list, i| {
        if (i >= sessions_count and i < scheduler.fibers_max) continue;
        table.* = TableInfo.init(0, "t", &.{
            .init("id", .int64, 0, .{ .primary = true }),
            .init("n", .int64, 0, .{}),
        }) catch unreachable;
        list.* = .init(&region, table);
        table.indexes = list;
    }
}

/// The table as the process that runs knows it.
pub fn tableHere() *const TableInfo {
    const process = scheduler.currentProcess();
    return &tables[if (process < sessions_count) process else scheduler.fibers_max];
}

/// Drains the ring and moves the horizon, so that what was superseded so far may be freed.
pub fn ripen() void {
    // The first one may have left.
    const session = sessions[sessions_count - 1].?;
    session.pin();
    _ = ring.advance(&region, ring.cellCount(&region));
    session.unpin();
    engine.vacuum.advanceHorizon(&region);
}

/// Adds an index on the number of the row. Processes find it when they look.
pub fn addIndex(kind: Index, phase: engine.ordered_index.Root.Phase) void {
    assert(kind != .none);
    _ = engine.table_indexes.add(&region, 0, .{
        .keys = .of(&tables[0], &.{1}),
        .unique = kind == .unique,
        .phase = phase,
    }) catch |err| scheduler.fail("an index cannot be added: {t}", .{err});
    engine.table_indexes.announce(&region);
}

/// Sets all but one free block of each of a session's pools of rows and entries aside. The others
/// come back when the pool is empty and finds its slabs' free blocks again, with the ones freed
/// meanwhile.
fn leaveFew(session: *Session) void {
    for (session.allocator.pools.items) |pool| {
        switch (pool.kind.class) {
            .version, .node, .index_node, .index_guide => {},
            else => continue,
        }
        while (pool.free_count > 1) _ = pool.take(&session.allocator) catch unreachable;
    }
}

/// Attaches `process` and opens a session of it.
pub fn attach(process: u8) *Session {
    scheduler.setProcess(process);
    participants[process] = Participant.attach(
        &region,
        lock_fd,
        region_fd,
        .{ .pid = process, .start_time = 0, .pid_namespace = 0 },
        recovery,
    ) catch unreachable;
    return open(process) catch unreachable;
}

/// Opens a session of a process that is attached.
pub fn open(process: u8) engine.session.Error!*Session {
    return Session.open(&region, allocator(), claimOf(process));
}

pub fn allocator() std.mem.Allocator {
    return heap.allocator();
}

pub fn claimOf(process: u8) u64 {
    const participant = &participants[process];
    return engine.session.processClaim(participant.index, participant.generation);
}

pub const recovery: engine.participants.Recovery = .{
    .context = undefined,
    .recoverProcess = recoverProcess,
};

fn recoverProcess(_: *anyopaque, index: u32) void {
    _ = engine.recovery.recoverProcess(&region, index);
}

/// The session of the fiber that runs.
pub fn current() *Session {
    return sessions[scheduler.self()].?;
}
