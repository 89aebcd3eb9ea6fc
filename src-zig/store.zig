//! A store as one process has it: one mapping of the region, one entry among the processes, one
//! engine, shared by all isolates and threads that open it.
//!
//! Invariants:
//!
//!   * a process has at most one `Store` for a lock file, however often and by whatever path it is
//!     opened: two would be two processes to the region, and the second could wait for the first
//!   * opening and closing hold the registry's mutex from beginning to end
//!   * a `Store` that the registry names is complete: others use it without further checks
//!
//! After `fork` the child has the parent's memory but none of its locks. The child closes its
//! copies of the descriptors at once, because a lock lives as long as any copy, and forgets every
//! store: what it opens then is opened anew.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const os = @import("os.zig");
const status = @import("status.zig");
const lock_file = @import("lock_file.zig");
const panic_module = @import("panic.zig");
const participants = @import("participants.zig");
const region_file = @import("region_file.zig");
const region_opening = @import("region_opening.zig");
const store_options = @import("store_options.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const index_build = @import("index_build.zig");
const table_indexes = @import("table_indexes.zig");
const Checkpointer = @import("checkpointer.zig").Checkpointer;
const store_files = @import("store_files.zig");
const checkpoint_module = @import("checkpoint.zig");
const commit_ring = @import("commit_ring.zig");
const engine_module = @import("engine.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const region_module = @import("region.zig");
const LogState = region_module.LogState;
const Region = region_module.Region;
const Durability = @import("durability.zig").Durability;
const Engine = engine_module.Engine;
const TableInfo = @import("table_info.zig").TableInfo;
const assert = std.debug.assert;
const Detail = status.Detail;

pub const Error = store_options.Error;
pub const Options = store_options.Options;

pub const gpa = region_file.gpa;

const store_count_max = 256;
/// Closing in order is worth that much waiting, and no more: a killed process does without it.
const detach_timeout_ns = 1 * std.time.ns_per_s;
const tables_timeout_ns = 30 * std.time.ns_per_s;
/// How long the log of a region that is to be replaced may have no room.
const cool_patience_ns = 1 * std.time.ns_per_s;

/// What the log had when a store was closed, for TypeScript.
pub const Closing = extern struct {
    /// Commits that are not on disk.
    pending: f64 = 0,
    /// A `LogState`.
    state: f64 = 0,
    /// 1 if nothing of this process has the store open any more.
    last: f64 = 0,

    fn of(region: *const Region, last: bool) Closing {
        return .{
            .pending = @floatFromInt(pendingCommits(region)),
            .state = @floatFromInt(region.control.shared.log_state.load(.acquire)),
            .last = @floatFromInt(@intFromBool(last)),
        };
    }

    /// Positions without a commit do not count: maintenance takes them as well, and a recovery
    /// leaves very many out. What is older than the ring is counted as one.
    fn pendingCommits(region: *const Region) u64 {
        if (!commit_ring.isLogged(region)) return 0;
        const durable = commit_ring.Watermark.position(
            region.control.durable.word.load(.acquire),
        );
        const next = region.control.next.word.load(.acquire);
        var position = @max(durable, next -| commit_ring.cellCount(region));
        const logged = region.control.log.logged.load(.acquire);
        var count: u64 = @intFromBool(logged > durable and logged <= position);
        while (position < next) {
            position += 1;
            if (commit_ring.decisionAt(region, position) == .committed) count += 1;
        }
        return count;
    }
};

/// Of the last store that this thread has closed.
pub threadlocal var last_closing: Closing = .{};

pub const Store = struct {
    /// How often it is open in this process. Guarded by the registry's mutex.
    references: u32,
    lock: lock_file.LockFile,
    file: region_file.RegionFile,
    participant: participants.Participant,
    catalogue: Catalogue,
    engine: Engine,
    /// Null if it has no directory.
    files: ?store_files.StoreFiles,
    checkpointer: Checkpointer,
    /// This process's part in the log; null without a data directory, and while all who have the
    /// store open only read.
    durability: ?Durability,

    /// Opens a store, or hands out the one that this process has open already.
    pub fn open(options: Options, detail: *Detail) Error!*Store {
        if (!os.supported) {
            detail.set("Aerostore needs Linux: it relies on locks that belong to open files", .{});
            return error.UnsupportedPlatform;
        }
        const paths = try store_options.Paths.resolve(options, detail);
        registry.mutex.lock();
        defer registry.mutex.unlock();
        registry.prepareProcess();
        try prepareDirectory(&paths, options, detail);

        var lock = lock_file.LockFile.open(&paths.lock, options.must_exist, detail) catch |err|
            return if (err == error.NotFound) missing(options, detail) else err;
        if (registry.find(&lock.stat)) |store| {
            lock.close();
            try store.checkSameRegion(&paths, detail);
            try store.takePartInLog(options, detail);
            store.references += 1;
            return store;
        }
        errdefer lock.close();
        const place = registry.freePlace() orelse {
            detail.set("this process has {d} databases open", .{store_count_max});
            return error.Busy;
        };
        const store = try gpa.create(Store);
        errdefer gpa.destroy(store);
        store.references = 1;
        store.lock = lock;
        try store.attach(&paths, options, detail);
        lock = store.lock; // It may have been opened again.
        place.* = store;
        return store;
    }

    fn attach(
        store: *Store,
        paths: *const store_options.Paths,
        options: Options,
        detail: *Detail,
    ) Error!void {
        try store.lock.lockInit(options.must_exist, detail);
        defer store.lock.unlockInit();
        try store.coolDown(paths, options, detail);
        try region_opening.open(&store.file, &store.lock, paths, options, detail);
        errdefer store.file.close();
        try store.start(paths, options, detail);
        errdefer store.stop(true);
        store.checkpointer.start(store) catch {
            detail.set("cannot start the thread for checkpoints", .{});
            return error.Internal;
        };
    }

    /// Where `warm` wants a region built anew that nobody uses: brings what it has to the disk, and
    /// marks it as replaced. Killed anywhere before that: it is as it was, or has more in the log.
    fn coolDown(
        store: *Store,
        paths: *const store_options.Paths,
        options: Options,
        detail: *Detail,
    ) Error!void {
        if (options.warm == .always) return;
        const is_open = try region_opening.openIdle(
            &store.file,
            &store.lock,
            paths,
            options,
            detail,
        );
        if (!is_open) return;
        defer store.file.close();
        if (options.warm == .clean_only and store.file.wasClosed()) return;
        var writing = options;
        writing.read_only = false;
        try store.start(paths, writing, detail);
        defer store.stop(true);
        const control = store.file.region.control;
        const position = control.next.word.load(.acquire);
        while (true) {
            const durability = &store.durability.?;
            const is_there = durability.waitDurable(position, cool_patience_ns) catch false;
            if (is_there) return store.file.retire();
            const state: LogState = @enumFromInt(control.shared.log_state.load(.acquire));
            if (state == .working) continue; // The disk is slow.
            detail.set("its region has commits that the log does not take now", .{});
            return if (state == .no_space) error.DiskFull else error.LogFailed;
        }
    }

    /// Everything that runs on a region that was just opened, but checkpoints.
    fn start(
        store: *Store,
        paths: *const store_options.Paths,
        options: Options,
        detail: *Detail,
    ) Error!void {
        const region = &store.file.region;
        const recovery = engine_module.recoveryOf(region);
        store.participant = participants.Participant.attach(
            region,
            store.lock.fd,
            store.file.fd,
            .{
                .pid = os.processId(),
                .start_time = os.startTime(),
                .pid_namespace = os.pidNamespace(),
            },
            recovery,
        ) catch |err| {
            detail.set("all entries for processes are taken", .{});
            return err;
        };
        errdefer store.participant.detach(true);
        // Before anybody sees the store open: what was committed is complete then.
        _ = store.participant.recoverDead(recovery);
        store.catalogue = .init(region, gpa);
        store.files = if (paths.data_directory) |*path| .init(path) else null;
        store.engine.start(region, gpa, &store.participant) catch |err| return switch (err) {
            error.ThreadFailed => {
                detail.set("cannot start the maintenance thread", .{});
                return error.Internal;
            },
            error.OutOfMemory,
            error.RegionFull,
            error.TooManyTransactions,
            error.Corrupt,
            error.DiskFull,
            error.LogFailed,
            => |other| other,
        };
        errdefer store.engine.stop();
        store.durability = null;
        try store.takePartInLog(options, detail);
    }

    /// The reverse of `start`. With `holds_init`, or if INIT can be had, the process leaves in
    /// order.
    fn stop(store: *Store, holds_init: bool) void {
        // In this order: vacuum may take positions, and the log ends with the last of them.
        store.engine.stopThread();
        if (store.durability) |*durability| durability.stop();
        store.engine.stop();
        last_closing = .of(&store.file.region, true);
        store.catalogue.deinit();
        if (holds_init) return store.participant.detach(true);
        var detail: Detail = .{};
        const in_order = if (store.lock.wait(
            lock_file.byte_init,
            detach_timeout_ns,
            &detail,
        )) true else |_| false;
        store.participant.detach(in_order);
        if (in_order) store.lock.unlockInit();
    }

    /// Whoever may write takes part in writing the log.
    fn takePartInLog(store: *Store, options: Options, detail: *Detail) Error!void {
        if (options.read_only) return;
        // By a pointer: a copy would read what its threads write.
        if (store.durability) |*durability| {
            _ = durability;
            return;
        }
        const files = &(store.files orelse return);
        store.durability = .init(.{
            .gpa = gpa,
            .region = &store.file.region,
            .files = files.native.files(),
            .tables = .{ .context = store, .find = findTable },
            .identity = .{
                .process = store.participant.index,
                .generation = store.participant.generation,
            },
            .liveness = .{ .context = store, .isGone = isGone },
            .rescue = .{
                .context = store,
                .write = store_files.rescue,
                .remove = store_files.removeSuperfluous,
            },
        });
        const durability = &store.durability.?;
        durability.start() catch {
            store.durability = null;
            detail.set("cannot start the threads of the log", .{});
            return error.Internal;
        };
        const region = &store.file.region;
        region.drain_context = durability;
        region.drain_log = Durability.help;
    }

    fn findTable(context: *anyopaque, id: u8) ?*const TableInfo {
        const store: *Store = @ptrCast(@alignCast(context));
        const schema = store.catalogue.table(id) catch return null;
        return &schema.table;
    }

    fn isGone(context: *anyopaque, process: u32, generation: u24) bool {
        const store: *Store = @ptrCast(@alignCast(context));
        const processes = store.file.region.processes;
        if (process >= processes.len) return true; // only a corrupted region
        const present: u24 = @truncate(processes[process].generation.load(.acquire));
        return present != generation or store.participant.looksDead(process);
    }

    /// Takes back one `open`. With the last one everything goes; nothing of the store may be in
    /// use then, in any thread. `last_closing` tells what the log has.
    pub fn close(store: *Store) void {
        registry.mutex.lock();
        defer registry.mutex.unlock();
        assert(store.references > 0);
        store.references -= 1;
        last_closing = .of(&store.file.region, false);
        if (store.references > 0) return;

        registry.forget(store);
        store.checkpointer.stop();
        store.stop(false);
        store.file.close();
        store.lock.close();
        gpa.destroy(store);
    }

    /// Writes a snapshot of all rows into the data directory.
    pub fn checkpoint(
        store: *Store,
        progress: ?checkpoint_module.Options.Progress,
        detail: *Detail,
    ) Error!checkpoint_module.Result {
        return store_files.writeCheckpoint(store, 0, progress, detail);
    }

    /// Writes a copy into another directory.
    pub fn backup(
        store: *Store,
        path: []const u8,
        progress: ?checkpoint_module.Options.Progress,
        detail: *Detail,
    ) Error!checkpoint_module.Result {
        return store_files.writeBackup(store, path, progress, detail);
    }

    fn checkSameRegion(
        store: *const Store,
        paths: *const store_options.Paths,
        detail: *Detail,
    ) Error!void {
        const path = try paths.regionPath(store.lock.store_uuid, detail);
        if (std.mem.eql(u8, path.slice(), store.file.path.slice())) return;
        // Another spelling of the same file is fine.
        const here = os.stat(store.file.fd) catch return;
        if (os.statPath(&path)) |there| {
            if (here.sameFile(&there)) return;
        } else |_| {}
        detail.set("this process has it open with the region at \"{s}\", not \"{s}\"", .{
            store.file.path.slice(), path.slice(),
        });
        return error.AlreadyOpen;
    }

    /// Creates a table, or checks the declaration against the table of that name. Returns its
    /// number.
    pub fn declare(store: *Store, blob: []const u8, detail: *Detail) Error!u32 {
        store.engine.declaring.lock();
        defer store.engine.declaring.unlock();
        try store.lock.wait(lock_file.byte_tables, tables_timeout_ns, detail);
        defer sync.ByteLock.unlock(store.lock.fd, lock_file.byte_tables);
        const id = try store.catalogue.declare(blob, detail);
        try store.buildIndexes(id, detail);
        return id;
    }

    /// Drops an index of a table. Its memory comes back when nobody uses it any more.
    pub fn dropIndex(store: *Store, table: u32, number: u32, detail: *Detail) Error!void {
        store.engine.declaring.lock();
        defer store.engine.declaring.unlock();
        try store.lock.wait(lock_file.byte_tables, tables_timeout_ns, detail);
        defer sync.ByteLock.unlock(store.lock.fd, lock_file.byte_tables);
        const schema = try store.catalogue.table(table);
        const region = &store.file.region;
        if (schema.table.indexes.?.byNumber(number)) |index| {
            if (index.phase(region).isKept()) return index_build.drop(region, index.root);
        }
        detail.set("table \"{s}\" has no index {d}", .{ schema.table.name(), number });
        return error.NotFound;
    }

    /// Builds what the declaration has added to a table that was there, or what a builder that was
    /// killed has left.
    fn buildIndexes(store: *Store, id: u32, detail: *Detail) Error!void {
        const schema = try store.catalogue.table(id);
        for (table_indexes.of(&schema.table)) |*index| {
            const phase = index.phase(&store.file.region);
            if (phase == .building or phase == .emptying) break;
        } else return;
        const session = try store.engine.openSession();
        defer store.engine.closeSession(session);
        index_build.complete(session, &schema.table) catch |err| {
            if (err == error.UniqueViolation) {
                session.index_scratch.violation.describe(detail);
            }
            return err;
        };
    }
};

fn prepareDirectory(
    paths: *const store_options.Paths,
    options: Options,
    detail: *Detail,
) Error!void {
    const directory = paths.data_directory orelse return;
    if (os.statPath(&directory)) |info| {
        if (info.isDirectory()) return;
        detail.set("\"{s}\" is not a directory", .{directory.slice()});
        return error.IoError;
    } else |err| if (err != error.NotExist) {
        return lock_file.osError(err, "examine", &directory, detail);
    }
    if (options.must_exist) return missing(options, detail);
    os.makeDirectories(&directory) catch |err|
        return lock_file.osError(err, "create", &directory, detail);
}

fn missing(options: Options, detail: *Detail) Error {
    const what = if (options.ephemeral) "ephemeral database" else "database in";
    detail.set("there is no {s} \"{s}\"", .{ what, options.path });
    return error.NotFound;
}

/// The stores of this process.
const Registry = struct {
    mutex: ProcessMutex = .{},
    prepared: bool = false,
    stores: [store_count_max]?*Store = @splat(null),

    fn find(self: *const Registry, info: *const os.Stat) ?*Store {
        for (self.stores) |entry| {
            const store = entry orelse continue;
            if (store.lock.stat.sameFile(info)) return store;
        }
        return null;
    }

    fn freePlace(self: *Registry) ?*?*Store {
        for (&self.stores) |*place| if (place.* == null) return place;
        return null;
    }

    fn forget(self: *Registry, store: *const Store) void {
        for (&self.stores) |*place| if (place.* == store) {
            place.* = null;
            return;
        };
        unreachable; // `open` has put it there.
    }

    /// What a process needs once, before its first store.
    fn prepareProcess(self: *Registry) void {
        if (self.prepared) return;
        self.prepared = true;
        os.atFork(forgetInChild);
        panic_module.on_panic = poisonAll;
    }
};

var registry: Registry = .{};

/// Runs in a forked child before it goes on. Other threads are not in it and hold no lock in it.
fn forgetInChild() callconv(.c) void {
    for (&registry.stores) |*place| {
        const store = place.* orelse continue;
        place.* = null;
        os.close(store.file.fd);
        os.close(store.lock.fd);
    }
    registry.mutex.resetInChild();
}

/// After a failed assertion nobody shall trust the regions that this process was writing to.
fn poisonAll() void {
    for (registry.stores) |entry| {
        const store = entry orelse continue;
        store.file.region.header.poisoned.store(1, .release);
    }
}

const testing = std.testing;
const TestWriter = @import("schema_blob.zig").TestWriter;

const TestDirectory = struct {
    path: os.Path,
    options: Options,
    detail: Detail = .{},

    fn init(self: *TestDirectory) !void {
        var salt: [8]u8 = undefined;
        try os.random(&salt);
        self.path = try os.Path.format("/dev/shm/aerostore-test-store-{x}/data", .{&salt});
        self.detail = .{};
        self.options = .{ .path = self.path.slice(), .size_max = 8 << 20 };
        const parent = self.path.directory();
        try os.makeDirectory(&parent);
        // The region stands beside the data, so that nothing is left anywhere else.
        self.options.shm_path = self.path.slice()[0..parent.len];
    }

    fn deinit(self: *TestDirectory) void {
        const parent = self.path.directory();
        for ([_]*const os.Path{ &self.path, &parent }) |directory| {
            os.eachName(directory, directory, struct {
                fn visit(where: *const os.Path, name: []const u8) void {
                    const path = where.join(name) catch unreachable;
                    os.unlink(&path) catch {};
                }
            }.visit) catch {};
            const linux = std.os.linux;
            _ = linux.unlinkat(linux.AT.FDCWD, directory.z(), linux.AT.REMOVEDIR);
        }
    }

    fn open(self: *TestDirectory) Error!*Store {
        return Store.open(self.options, &self.detail);
    }
};

test "Store.open: is one for all openers of a process, by any path" {
    if (!os.supported) return error.SkipZigTest;
    var directory: TestDirectory = undefined;
    try directory.init();
    defer directory.deinit();
    directory.options.must_exist = true;
    try testing.expectError(error.NotFound, directory.open());
    directory.options.must_exist = false;
    const a = try directory.open();
    directory.options.must_exist = true;
    const b = try directory.open();
    try testing.expectEqual(a, b);
    const spelled = try os.Path.format("{s}/../data/.", .{directory.path.slice()});
    directory.options.path = spelled.slice();
    const c = try directory.open();
    try testing.expectEqual(a, c);
    const shm_path = directory.options.shm_path;
    directory.options.shm_path = "/dev/shm/aerostore-test-elsewhere";
    try testing.expectError(error.AlreadyOpen, directory.open());
    directory.options.shm_path = shm_path;
    c.close();
    b.close();
    a.close();
    const again = try directory.open();
    try testing.expectEqual(@as(u32, 0), again.file.region.header.clean_shutdown.load(.acquire));
    again.close();
}

test "Store: a failed assertion poisons what the process has open, and the log replaces it" {
    if (!os.supported) return error.SkipZigTest;
    var directory: TestDirectory = undefined;
    try directory.init();
    defer directory.deinit();
    const store = try directory.open();
    const incarnation = store.file.region.header.incarnation;
    poisonAll();
    store.close();
    const again = try directory.open();
    defer again.close();
    const header = again.file.region.header;
    try testing.expectEqual(@as(u32, 0), header.poisoned.load(.acquire));
    try testing.expect(header.incarnation > incarnation);
}

test "Store.declare: tables outlive every process that had them open" {
    if (!os.supported) return error.SkipZigTest;
    var directory: TestDirectory = undefined;
    try directory.init();
    defer directory.deinit();
    var flights = try TestWriter.flights("flights");
    defer flights.deinit();
    var ships = try TestWriter.flights("ships");
    defer ships.deinit();
    const first = try directory.open();
    const blob = flights.bytes.items;
    try testing.expectEqual(@as(u32, 0), try first.declare(blob, &directory.detail));
    first.close();
    const second = try directory.open();
    defer second.close();
    const other = ships.bytes.items;
    try testing.expectEqual(@as(u32, 1), try second.declare(other, &directory.detail));
    try testing.expectEqual(@as(u32, 0), try second.declare(blob, &directory.detail));
    try testing.expectEqualStrings("flights", (try second.catalogue.table(0)).table.name());
}

test "Store.open: recovers who was killed, and a forked child holds nothing of its parent" {
    if (!os.supported) return error.SkipZigTest;
    // It ends a child that starts threads, and the parent would wait for the child for ever.
    if (builtin.sanitize_thread) return error.SkipZigTest;
    const linux = std.os.linux;
    var directory: TestDirectory = undefined;
    try directory.init();
    defer directory.deinit();
    // The parent has the store open while it forks. The child must open it anew.
    const parent = try directory.open();
    const child: i32 = if (builtin.link_libc) std.c.fork() else @intCast(linux.fork());
    if (child == 0) {
        if (!builtin.link_libc) forgetInChild(); // Nobody calls handlers without a C library.
        const store = directory.open() catch linux.exit_group(1);
        _ = store.file.region.control.leader.kicks.fetchAdd(1, .acq_rel);
        while (true) sync.sleepNs(std.time.ns_per_s);
    }
    errdefer _ = linux.kill(child, .KILL);
    const region = &parent.file.region;
    while (region.control.leader.kicks.load(.acquire) == 0) sync.sleepNs(100_000);
    try testing.expect(parent.participant.index == 0);
    try testing.expectEqual(@as(u32, 1), region.processes[1].state.load(.acquire));
    try testing.expect(!parent.participant.looksDead(1));
    _ = linux.kill(child, .KILL);
    var exit: u32 = 0;
    _ = linux.waitpid(child, &exit, 0);
    // The janitor of the parent finds it.
    for (0..5000) |_| {
        if (region.processes[1].state.load(.acquire) == 0) break;
        sync.sleepNs(std.time.ns_per_ms);
    }
    try testing.expectEqual(@as(u32, 0), region.processes[1].state.load(.acquire));
    parent.close();
}
