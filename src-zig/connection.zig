//! Connections: what an isolate has of an open store, and the numbers by which it names them.
//!
//! A connection is used by one thread, the one that opened it. It owns a control block and two
//! buffers, sessions (each a transaction slot of the region), open queries, ingests, and
//! transactions. Several connections of a process share one `Store`.
//!
//! Invariants:
//!
//!   * a connection's number is never given out again: one that is closed is `closed` for ever
//!   * a `Connection` is not freed, only used again, so a stale number finds a number that differs
//!   * a place is taken from before its connection is made until after it is undone; the mutex
//!     guards that alone, and a call looks its connection up without it
//!
//! When a thread ends without closing (a Worker that was terminated), its connections are closed
//! by a destructor of the thread: their slots would otherwise stay taken in a living process.
//! A forked child has no connections.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const os = @import("os.zig");
const status = @import("status.zig");
const abi_control = @import("abi_control.zig");
const durable_calls = @import("durable_calls.zig");
const ingest_calls = @import("ingest_calls.zig");
const query_calls = @import("query_calls.zig");
const removal = @import("removal.zig");
const row_calls = @import("row_calls.zig");
const store_module = @import("store.zig");
const table_info = @import("table_info.zig");
const tasks_module = @import("tasks.zig");
const transaction_calls = @import("transaction_calls.zig");
const Catalogue = @import("catalogue.zig").Catalogue;
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const Region = @import("region.zig").Region;
const Session = @import("session.zig").Session;
const Store = store_module.Store;
const TableInfo = table_info.TableInfo;
const Shm = sync.Shm;
const assert = std.debug.assert;

pub const Error = status.Error || error{OutOfMemory};
pub const gpa = store_module.gpa;

pub const buffer_size = 1 << 20;
const control_size = @sizeOf(abi_control.Control);
const memory_size = control_size + 2 * buffer_size;
const connection_count_max = 1024;
/// How long a statement waits for a free transaction slot.
const session_timeout_ns = 2 * std.time.ns_per_s;

pub const Connection = struct {
    /// 0 while it is closed.
    number: Shm(u32),
    thread: usize,
    store: *Store,
    read_only: bool,
    memory: []align(os.page_size) u8,
    control: *abi_control.Control,
    input: []align(8) u8,
    output: []align(8) u8,
    detail: status.Detail,
    /// Sessions that nothing uses now.
    sessions: std.ArrayList(*Session),
    rows: row_calls.Scratch,
    queries: query_calls.Queries,
    ingests: ingest_calls.Ingests,
    transactions: transaction_calls.Transactions,
    tasks: tasks_module.Tasks,

    fn init(
        connection: *Connection,
        store: *Store,
        read_only: bool,
        memory: []align(os.page_size) u8,
    ) void {
        const input = memory[control_size..][0..buffer_size];
        const output = memory[control_size + buffer_size ..][0..buffer_size];
        connection.* = .{
            .number = .init(0),
            .thread = currentThread(),
            .store = store,
            .read_only = read_only,
            .memory = memory,
            .control = @ptrCast(memory.ptr),
            .input = @alignCast(input),
            .output = @alignCast(output),
            .detail = .{},
            .sessions = .empty,
            .rows = .{},
            .queries = .{},
            .ingests = .{},
            .transactions = .{},
            .tasks = .{},
        };
        const region_base = store.file.region.base;
        connection.control.* = .{
            .input_address = addressOf(input.ptr),
            .output_address = addressOf(output.ptr),
            .region_address = addressOf(region_base),
            .region_size = @floatFromInt(store.file.size_max),
            .catalogue_version_address = addressOf(&store.file.region.control.catalogue.version),
            .input_size = buffer_size,
            .output_size = buffer_size,
            .catalogue_version = store.catalogue.version(),
        };
    }

    /// Everything but the store, which `close` gives back.
    fn deinit(connection: *Connection) void {
        connection.tasks.deinit();
        // A transaction closes its queries when it ends.
        connection.transactions.deinit(connection);
        connection.queries.deinit(connection);
        connection.ingests.deinit();
        connection.rows.deinit();
        for (connection.sessions.items) |session| connection.store.engine.closeSession(session);
        connection.sessions.deinit(gpa);
        os.unmap(connection.memory);
    }

    pub inline fn region(connection: *Connection) *const Region {
        return &connection.store.file.region;
    }

    pub fn catalogue(connection: *Connection) *Catalogue {
        return &connection.store.catalogue;
    }

    pub inline fn table(connection: *Connection, id: u32) Error!*const TableInfo {
        const schema = connection.store.catalogue.table(id) catch |err|
            return connection.noTable(id, err);
        return &schema.table;
    }

    fn noTable(connection: *Connection, id: u32, err: Error) Error {
        @branchHint(.cold);
        if (err == error.UnknownTable) connection.detail.set("there is no table {d}", .{id});
        return err;
    }

    /// A session for as long as the caller needs one; give it back with `releaseSession`.
    pub inline fn takeSession(connection: *Connection) Error!*Session {
        return connection.sessions.pop() orelse connection.openSession();
    }

    fn openSession(connection: *Connection) Error!*Session {
        @branchHint(.cold);
        try connection.sessions.ensureUnusedCapacity(gpa, 8);
        const start = sync.nowNs();
        while (true) {
            return connection.store.engine.openSession() catch |err| {
                if (err != error.TooManyTransactions) return err;
                // Others' transactions are short as a rule.
                if (sync.nowNs() -% start < session_timeout_ns) {
                    sync.sleepNs(std.time.ns_per_ms);
                    continue;
                }
                connection.detail.set("all transaction slots of the region are taken", .{});
                return err;
            };
        }
    }

    /// The session must not be pinned, and no transaction may run in it.
    pub inline fn releaseSession(connection: *Connection, session: *Session) void {
        // One is kept for single statements; a slot is too scarce to keep more.
        if (connection.sessions.items.len == 0) {
            connection.sessions.appendAssumeCapacity(session);
        } else {
            connection.store.engine.closeSession(session);
        }
    }

    pub inline fn refuseReadOnly(connection: *Connection) Error!void {
        if (connection.read_only) return connection.refuseToWrite();
    }

    fn refuseToWrite(connection: *Connection) Error {
        @branchHint(.cold);
        connection.detail.set("it was opened for reading only", .{});
        return error.ReadOnly;
    }

    /// The table of a declaration, which must exist: whoever only reads creates none.
    pub fn findDeclared(connection: *Connection, blob: []const u8) Error!u32 {
        const found = try connection.catalogue().check(blob, &connection.detail);
        if (found) |id| return id;
        connection.detail.set("the table does not exist, and it was opened for reading only", .{});
        return error.ReadOnly;
    }

    /// The first `size` bytes of the input buffer.
    pub fn inputBytes(connection: *Connection, size: u32) Error![]align(8) u8 {
        if (size <= connection.input.len) return connection.input[0..size];
        connection.detail.set("the input buffer has {d} bytes, not {d}", .{
            connection.input.len, size,
        });
        return error.BadArgument;
    }

    /// Notes an error and returns what the call returns for it.
    pub fn fail(connection: *Connection, err: Error) i32 {
        @branchHint(.cold);
        const code = status.fromError(err);
        connection.control.setError(code, os.lastErrno(), &connection.detail);
        return code.code();
    }
};

fn addressOf(pointer: anytype) f64 {
    return @floatFromInt(@intFromPtr(pointer));
}

/// What `aero_open` gets.
pub const Options = struct {
    store: store_module.Options,
    read_only: bool,
};

/// All connections of this process. Objects are made when first needed and then stay.
const Table = struct {
    mutex: ProcessMutex = .{},
    prepared: bool = false,
    places: [connection_count_max]Place = @splat(.{}),

    const Place = struct {
        taken: bool = false,
        /// How often the place was used; part of the number.
        uses: u32 = 0,
        connection: ?*Connection = null,
    };

    /// What a process needs once, before its first store.
    fn prepare(self: *Table) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.prepared) return;
        self.prepared = true;
        // First, for what follows leaves addresses of this library with the process.
        os.pinLibrary();
        os.atFork(forgetInChild);
        thread_exit.prepare();
    }

    fn take(self: *Table) Error!u32 {
        self.mutex.lock();
        defer self.mutex.unlock();
        for (&self.places, 0..) |*place, i| {
            if (place.taken) continue;
            if (place.connection == null) place.connection = try gpa.create(Connection);
            place.taken = true;
            const uses_max = std.math.maxInt(i32) / connection_count_max;
            place.uses = place.uses % (uses_max - 1) + 1;
            return @intCast(i);
        }
        open_detail.set("this process has {d} connections open", .{connection_count_max});
        return error.Busy;
    }

    fn giveBack(self: *Table, index: u32) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        assert(self.places[index].taken);
        self.places[index].taken = false;
    }
};

var connections: Table = .{};
/// Why this thread's last attempt to open failed.
threadlocal var open_detail: status.Detail = .{};

/// Opens a connection. Returns its number, which is at least 1.
pub fn open(options: Options) Error!u32 {
    prepareToOpen();
    const store = try Store.open(options.store, &open_detail);
    return openWith(store, options.read_only);
}

/// Called before a store is opened.
pub fn prepareToOpen() void {
    os.clearErrno();
    open_detail.clear();
    connections.prepare();
}

/// Makes a connection of the calling thread to an open store, which it closes, now if it fails.
pub fn openWith(store: *Store, read_only: bool) Error!u32 {
    errdefer store.close();
    const index = try connections.take();
    errdefer connections.giveBack(index);
    const memory = os.mapPrivate(memory_size) catch return error.OutOfMemory;

    const place = &connections.places[index];
    const connection = place.connection.?; // `take` has made it.
    connection.init(store, read_only, memory);
    thread_exit.arm();
    const number = place.uses * connection_count_max + index;
    // Release: whoever sees the number sees the connection.
    connection.number.store(number, .release);
    return number;
}

/// Removes a store that nobody has open. False if there is none.
pub fn remove(options: store_module.Options) Error!bool {
    os.clearErrno();
    open_detail.clear();
    return removal.remove(options, &open_detail);
}

/// Closes a connection. The memory it showed to its isolate is gone after this.
pub fn close(connection: *Connection) void {
    const index = connection.number.load(.monotonic) % connection_count_max;
    durable_calls.forget(connection);
    connection.number.store(0, .release);
    connection.deinit();
    connection.store.close();
    connections.giveBack(index);
}

/// The open connection of that number, or null.
pub inline fn find(number: u32) ?*Connection {
    const connection = connections.places[number % connection_count_max].connection orelse
        return null;
    if (number == 0 or connection.number.load(.acquire) != number) return null;
    return connection;
}

pub fn openDetail() []const u8 {
    return open_detail.text();
}

/// Says why an opening in another thread failed.
pub fn setOpenDetail(detail: *const status.Detail) void {
    open_detail = detail.*;
}

fn forgetInChild() callconv(.c) void {
    for (&connections.places) |*place| {
        place.taken = false;
        if (place.connection) |connection| connection.number.store(0, .release);
    }
    connections.mutex.resetInChild();
    durable_calls.notifier.resetInChild();
}

fn currentThread() usize {
    return std.Thread.getCurrentId();
}

/// Closes what a thread leaves open when it ends.
const thread_exit = struct {
    const enabled = builtin.link_libc;
    var key: if (enabled) std.c.pthread_key_t else void = undefined;

    fn prepare() void {
        if (!enabled) return;
        assert(std.c.pthread_key_create(&key, closeOfThread) == .SUCCESS);
    }

    /// The destructor runs for threads that have a value.
    fn arm() void {
        if (!enabled) return;
        _ = std.c.pthread_setspecific(key, &key);
    }

    fn closeOfThread(_: *anyopaque) callconv(.c) void {
        const thread = currentThread();
        for (&connections.places) |*place| {
            const connection = place.connection orelse continue;
            // The connections of this thread change in this thread only.
            if (connection.number.load(.acquire) == 0) continue;
            if (connection.thread == thread) close(connection);
        }
        durable_calls.notifier.closeOfThread(thread);
    }
};
