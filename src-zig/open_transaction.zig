//! A transaction of several statements: one snapshot, a private write buffer, and a list of what
//! was read.
//!
//! Nothing shared is touched before `commit` except the slot's pin. Reads see the snapshot with the
//! buffer laid over it. `commit` installs the buffered rows in the one global order, takes a
//! position E, and asks whether every row, every absence and every query that was read is at E what
//! it was at the snapshot. If so, the transaction has read exactly the state that the positions
//! before E made, and the order of positions is a serial order, which respects real time.
//!
//! (Optimistic concurrency control with backward validation: Kung and Robinson 1981; the commit
//! order from one log position as in Hyder; visibility as in Hekaton.)
//!
//! A read-only transaction keeps no list and validates nothing: the positions up to its snapshot
//! are a prefix of the serial order.
//!
//! Killed anywhere before `commit`: the slot and its pin are all that is left. In `commit`: see
//! `transaction.zig`.

const std = @import("std");
const sync = @import("sync");
const region_module = @import("region.zig");
const version_module = @import("version.zig");
const gate = @import("gate.zig");
const index_scan = @import("index_scan.zig");
const pk_map = @import("pk_map.zig");
const predicate_module = @import("predicate.zig");
const reader = @import("reader.zig");
const Relief = @import("reclaim.zig").Relief;
const ring = @import("commit_ring.zig");
const row_merge = @import("row_merge.zig");
const row_module = @import("row.zig");
const session_module = @import("session.zig");
const statement = @import("statement.zig");
const table_info = @import("table_info.zig");
const ticket = @import("ticket.zig");
const transaction = @import("transaction.zig");
const write_buffer = @import("write_buffer.zig");
const Region = region_module.Region;
const Session = session_module.Session;
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const Key = pk_map.Key;
const Position = version_module.Position;
const RelPtr = version_module.RelPtr;
const Predicate = predicate_module.Predicate;
const Buffered = write_buffer.Buffered;
const WriteBuffer = write_buffer.WriteBuffer;
const assert = std.debug.assert;

pub const Error = session_module.Error || error{ SnapshotRevoked, ReadOnly };

pub const Options = struct {
    read_only: bool = false,
    /// The snapshot is what is decided already: never waits, and may be a millisecond behind.
    relaxed: bool = false,
    /// Others do not start commits while this transaction runs: for one that has lost too often.
    exclusive: bool = false,
};

pub const Outcome = transaction.Outcome;

/// What the snapshot had under a key that was read.
const Read = struct {
    table: *const TableInfo,
    key: Key,
    node: RelPtr,
    /// 0: there was no row.
    version: RelPtr,
};

/// What made validation fail.
pub const Conflict = union(enum) {
    none,
    row: struct { table: *const TableInfo, key: Key },
    predicate: *const TableInfo,
};

pub const OpenTransaction = struct {
    session: *Session,
    gpa: std.mem.Allocator,
    arena: std.heap.ArenaAllocator,
    options: Options,
    snapshot: Position,
    /// Predicates are validated up to here.
    validated: Position,
    buffer: WriteBuffer,
    reads: std.ArrayList(Read) = .empty,
    predicates: std.ArrayList(Predicate) = .empty,
    tickets: std.ArrayList(ticket.Ticket) = .empty,
    conflict: Conflict = .none,
    /// A view of region memory was handed out: the pin must not be taken away.
    has_views: bool = false,
    /// The gate, for one that is exclusive.
    hold: ?gate.Hold = null,
    /// Rows that it has looked at and written.
    rows: u32 = 0,

    /// Begins on a session that nobody else uses until `commit` or `abort`.
    pub fn begin(
        session: *Session,
        gpa: std.mem.Allocator,
        options: Options,
    ) Error!*OpenTransaction {
        const self = try gpa.create(OpenTransaction);
        errdefer gpa.destroy(self);
        const hold = if (options.exclusive) gate.take(session) else null;
        // The snapshot comes after the last commit that the gate has not stopped.
        const waits = hold != null and !sync.mutated(.gate_without_wait);
        if (waits) gate.awaitWriters(session, .unpinned);
        session.pin();
        const region = session.region;
        const snapshot = if (options.relaxed)
            ring.stampedPosition(region)
        else
            reader.snapshotNow(region);
        self.* = .{
            .session = session,
            .gpa = gpa,
            .arena = .init(gpa),
            .options = options,
            .snapshot = snapshot,
            .validated = snapshot,
            .buffer = .{},
            .hold = hold,
        };
        self.leave();
        return self;
    }

    /// Begins an operation. Fails if the snapshot was taken away while nothing ran.
    pub fn enter(self: *OpenTransaction) Error!void {
        if (sync.mutated(.moving_snapshot)) {
            self.snapshot = reader.snapshotNow(self.session.region);
        }
        if (self.hold != null) gate.renew(self.session);
        if (self.has_views) return;
        if (!self.session.resumePin()) return error.SnapshotRevoked;
    }

    /// Ends an operation: what it returned is copied out, or `has_views` is set.
    pub fn leave(self: *OpenTransaction) void {
        if (!self.has_views or sync.mutated(.views_at_rest)) self.session.rest();
    }

    /// Ends the transaction and frees it. Its session is idle and unpinned then.
    pub fn destroy(self: *OpenTransaction) void {
        for (self.tickets.items) |held| ticket.release(self.session.region, held);
        if (self.hold) |hold| hold.release();
        self.session.unpin();
        self.tickets.deinit(self.gpa);
        self.reads.deinit(self.gpa);
        self.predicates.deinit(self.gpa);
        self.buffer.deinit(self.gpa);
        self.arena.deinit();
        self.gpa.destroy(self);
    }

    /// Counts a row. In an operation over many, whoever waits at the gate sees that it goes on.
    inline fn countRow(self: *OpenTransaction) void {
        if (self.hold == null) return;
        self.rows +%= 1;
        if (self.rows % 256 == 0) gate.renew(self.session);
    }

    inline fn view(self: *const OpenTransaction) reader.View {
        return .{ .snapshot = self.snapshot };
    }

    /// The row of a key, as the transaction sees it. In region memory, or in the buffer's (its
    /// `version` is 0 then); valid until the operation ends, or longer if `has_views`.
    pub fn get(self: *OpenTransaction, table: *const TableInfo, key: Key) Error!?RowRef {
        return self.getAt(table, key, self.buffer.savepoint());
    }

    /// The same without what the transaction has written since `savepoint` gave `place`.
    pub fn getAt(
        self: *OpenTransaction,
        table: *const TableInfo,
        key: Key,
        place: usize,
    ) Error!?RowRef {
        if (self.buffer.findAt(key, place)) |buffered| {
            return if (buffered.lives) buffered.image else null;
        }
        const version = try self.read(table, key);
        return if (version == 0) null else try reader.rowAt(self.session.region, table, version);
    }

    /// The version of a key in the snapshot, noted for validation.
    fn read(self: *OpenTransaction, table: *const TableInfo, key: Key) Error!RelPtr {
        self.countRow();
        const region = self.session.region;
        const node = pk_map.find(region, key);
        const version = if (node == 0) 0 else reader.visible(region, node, self.view());
        if (!self.options.read_only) {
            try self.reads.append(self.gpa, .{
                .table = table,
                .key = try self.keepKey(key),
                .node = node,
                .version = version,
            });
        }
        return version;
    }

    fn keepKey(self: *OpenTransaction, key: Key) Error!Key {
        var kept = key;
        kept.cell = try self.arena.allocator().dupe(u8, key.cell);
        return kept;
    }

    /// Buffers one write. Only outcomes that do not depend on others: done, duplicate_key,
    /// not_found and the refusals of expressions.
    pub fn write(self: *OpenTransaction, one: *const transaction.Write) Error!Outcome {
        if (self.options.read_only) return error.ReadOnly;
        const known = self.buffer.find(one.key);
        if (one.operation == .upsert) {
            const buffered = known orelse try self.newEntry(one.table, one.key);
            try self.buffer.setImage(self.arena.allocator(), self.gpa, buffered, one.image, 0);
            return .done;
        }
        const base: ?RowRef, const expected: transaction.Expected = if (known) |buffered| .{
            if (buffered.lives) buffered.image else null,
            buffered.expected,
        } else blk: {
            const version = try self.read(one.table, one.key);
            const row = if (version == 0)
                null
            else
                try reader.rowAt(self.session.region, one.table, version);
            break :blk .{ row, .{ .version = version } };
        };
        switch (one.operation) {
            .insert => if (base != null) return .duplicate_key,
            else => if (base == null) return .not_found,
        }
        return self.change(one, base, expected);
    }

    /// Buffers a change of a row that a query of this transaction gave, and that it has noted as a
    /// predicate. Outcomes as for `write`, without `not_found`.
    pub fn writeTo(
        self: *OpenTransaction,
        one: *const transaction.Write,
        row: RowRef,
    ) Error!Outcome {
        if (self.options.read_only) return error.ReadOnly;
        const expected: transaction.Expected = if (row.version != 0)
            .{ .version = row.version }
        else
            self.buffer.find(one.key).?.expected; // Such a row is its own.
        return self.change(one, row, expected);
    }

    fn newEntry(self: *OpenTransaction, table: *const TableInfo, key: Key) Error!*Buffered {
        return self.buffer.add(self.gpa, .{ .table = table, .key = try self.keepKey(key) });
    }

    /// An insert, update, apply or delete whose row is known.
    fn change(
        self: *OpenTransaction,
        one: *const transaction.Write,
        base: ?RowRef,
        expected: transaction.Expected,
    ) Error!Outcome {
        self.countRow();
        var image = one.image;
        var mask: u64 = 0;
        switch (one.operation) {
            .upsert => unreachable,
            .insert, .delete, .remove => {},
            .update, .apply => {
                const scratch = try self.session.imageBuffer(one.table.payload_size_max);
                const patch = if (one.operation == .update) one.image else base.?;
                image = row_merge.merge(one.table, base.?, patch, one.mask, scratch);
                const changes = one.expressions;
                const changed = row_merge.apply(one.table, &image, scratch, changes) catch |err|
                    return switch (err) {
                        error.TypeMismatch => .type_mismatch,
                        error.OutOfRange => .out_of_range,
                        error.NotANumber => .not_a_number,
                    };
                mask = one.mask | changed;
            },
        }
        // Found again: `read` may have moved nothing, but an entry may have been added.
        const buffered = self.buffer.find(one.key) orelse blk: {
            const added = try self.newEntry(one.table, one.key);
            added.expected = expected;
            break :blk added;
        };
        if (one.operation == .delete) {
            try self.buffer.setDeleted(self.gpa, buffered);
        } else {
            try self.buffer.setImage(self.arena.allocator(), self.gpa, buffered, image, mask);
        }
        return .done;
    }

    /// Notes a query for validation. `columns` are those of its filter, its sort and its result.
    pub fn notePredicate(self: *OpenTransaction, predicate: Predicate) Error!void {
        if (self.options.read_only) return;
        try self.predicates.append(self.gpa, predicate);
    }

    /// The rows of a table, as the transaction sees them: all of them, or, of those that it has not
    /// written, the ones that an index gives.
    pub fn scan(
        self: *OpenTransaction,
        table: *const TableInfo,
        index: ?*index_scan.Scan,
    ) TransactionScan {
        const all: reader.Scan = .init(self.session.region, table, self.view());
        return .{
            .transaction = self,
            .table = table,
            .rows = if (index) |by| .{ .index = by } else .{ .all = all },
            .place = self.buffer.savepoint(),
            .buffered_end = self.buffer.entries.items.len,
        };
    }

    /// Queues for a row and keeps the place until the end. Advice among those who ask for it.
    pub fn lock(self: *OpenTransaction, key: Key) Error!void {
        return self.queue(key.hash);
    }

    /// The same, for the row or rows of a hash.
    pub fn queue(self: *OpenTransaction, hash: u64) Error!void {
        const index = ticket.indexOf(hash);
        for (self.tickets.items) |held| if (held.index == index) return;
        try self.tickets.ensureUnusedCapacity(self.gpa, 1);
        self.tickets.appendAssumeCapacity(ticket.take(self.session.region, index));
        if (self.reads.items.len > 0 or self.predicates.items.len > 0) return;
        if (self.buffer.entries.items.len > 0 or self.has_views) return;
        // Nothing was read yet: what the one before us committed is worth seeing.
        if (sync.mutated(.ticket_without_snapshot)) return;
        self.session.pin();
        self.snapshot = reader.snapshotNow(self.session.region);
        self.validated = self.snapshot;
    }

    /// A place among the writes to come back to.
    pub fn savepoint(self: *const OpenTransaction) usize {
        return self.buffer.savepoint();
    }

    /// Takes back what was written since `savepoint` gave `place`. What was read stays in the list:
    /// the program has seen it, and may act on it.
    pub fn rollbackTo(self: *OpenTransaction, place: usize) void {
        if (sync.mutated(.rollback_forgets_reads)) self.reads.clearRetainingCapacity();
        self.buffer.rollbackTo(place);
    }

    pub const CommitResult = union(enum) { committed: Position, conflict, unique_violation };

    /// Commits. On a conflict `conflict` says what; the caller destroys the transaction either way.
    pub fn commit(self: *OpenTransaction) Error!CommitResult {
        try self.enter();
        const writes = try self.buffer.writes(self.arena.allocator());
        // What only read has its place in the order at its snapshot.
        if (writes.len == 0) return .{ .committed = self.snapshot };
        if (self.hold != null) gate.renew(self.session);
        std.sort.pdq(transaction.Write, writes, {}, statement.before);
        if (self.hold != null) gate.renew(self.session);
        self.session.lock();
        defer self.session.unlock();
        const result = try self.install(writes);
        if (result == .conflict) {
            const slot = self.session.slot;
            slot.conflicts.store(slot.conflicts.raw +% 1, .monotonic);
        }
        return result;
    }

    /// Tries until others let it, or something that was read does not hold any more.
    fn install(self: *OpenTransaction, writes: []const transaction.Write) Error!CommitResult {
        var relief: Relief = .{ .session = self.session, .pinned = .pinned };
        while (true) {
            if (!try self.prevalidate()) return .conflict;
            return self.attempt(writes) catch |err| switch (err) {
                error.Kicked => continue,
                else => |other| {
                    try relief.after(other);
                    continue;
                },
            };
        }
    }

    /// Validates predicates up to now, so that only a short window is left for the position.
    fn prevalidate(self: *OpenTransaction) Error!bool {
        if (self.predicates.items.len == 0 or sync.mutated(.no_validation)) return true;
        const region = self.session.region;
        const now = reader.snapshotNow(region);
        const finding = try predicate_module.check(
            region,
            self.predicates.items,
            self.validated,
            now + 1,
        );
        const index: ?usize = switch (finding) {
            .clean => null,
            .conflict => |found| found,
            .lost => try predicate_module.rescan(
                region,
                self.predicates.items,
                self.validated,
                now,
            ),
        };
        if (index) |found| {
            self.conflict = .{ .predicate = self.predicates.items[found].table };
            return false;
        }
        self.validated = now;
        return true;
    }

    fn attempt(
        self: *OpenTransaction,
        writes: []const transaction.Write,
    ) (Error || error{Kicked})!CommitResult {
        const session = self.session;
        const way = try statement.prepare(session, writes, .pinned, self.hold);
        defer way.leave();
        var installer: transaction.Installer = .beginPinned(session, .installing);
        if (way.isClosed()) {
            installer.abort();
            return error.Kicked;
        }
        for (writes, 0..) |*one, index| {
            if (index % statement.ahead_step == 0) {
                statement.lookAhead(session.region, writes[index..]);
                statement.lookAheadKeys(session, writes[index..]);
            }
            const outcome = installer.install(one) catch |err| {
                installer.abort();
                return err;
            };
            switch (outcome) {
                .done => continue,
                .kicked => {
                    installer.abort();
                    return error.Kicked;
                },
                else => {
                    self.conflict = .{ .row = .{ .table = one.table, .key = one.key } };
                    installer.abort();
                    return .conflict;
                },
            }
        }
        const validation: transaction.Validation = .{ .context = self, .run = validate };
        return switch (try installer.commit(validation)) {
            .committed => |position| .{ .committed = position },
            .conflict => .conflict,
            .unique_violation => .unique_violation,
            .kicked => error.Kicked,
        };
    }

    /// Whether all that was read is at `position` what it was at the snapshot.
    fn validate(context: *anyopaque, position: Position) session_module.Error!bool {
        const self: *OpenTransaction = @ptrCast(@alignCast(context));
        const region = self.session.region;
        for (self.reads.items, 0..) |*one, index| {
            if (index % 256 == 255) gate.renew(self.session);
            if (versionAtPosition(region, one, position) == one.version) continue;
            self.conflict = .{ .row = .{ .table = one.table, .key = one.key } };
            return false;
        }
        const items = self.predicates.items;
        const finding = try predicate_module.check(region, items, self.validated, position);
        switch (finding) {
            .clean => return true,
            .conflict => |index| self.conflict = .{ .predicate = items[index].table },
            // More commits since `prevalidate` than the ring holds: too long a wait to go on with.
            .lost => self.conflict = .{ .predicate = items[0].table },
        }
        return false;
    }

    fn versionAtPosition(region: *const Region, one: *const Read, position: Position) RelPtr {
        const view_then: reader.View = .{ .validate = position };
        // A row that was there keeps its node as long as it lives.
        if (one.version != 0) return reader.visible(region, one.node, view_then);
        const node = pk_map.find(region, one.key);
        return if (node == 0) 0 else reader.visible(region, node, view_then);
    }
};

/// The snapshot's rows without those that the transaction has written, then those. What it writes
/// while the scan goes on changes nothing: each row comes once, as it was when the scan began.
pub const TransactionScan = struct {
    transaction: *OpenTransaction,
    table: *const TableInfo,
    rows: union(enum) { all: reader.Scan, index: *index_scan.Scan },
    /// The buffer is seen as it was at this place,
    place: usize,
    /// when it had so many entries.
    buffered_end: usize,
    buffered_at: ?usize = null,

    pub fn next(self: *TransactionScan) index_scan.Scan.Error!?RowRef {
        const buffer = &self.transaction.buffer;
        if (self.buffered_at == null) {
            while (try self.nextOfSnapshot()) |row| {
                if (self.buffered_end == 0) return row;
                const key = transaction.keyOf(self.table, row.payload[0..row.size]);
                if (buffer.findAt(key, self.place) == null) return row;
            }
            self.buffered_at = 0;
        }
        while (self.buffered_at.? < self.buffered_end) {
            const entry = buffer.entries.items[self.buffered_at.?];
            self.buffered_at.? += 1;
            if (entry.table != self.table) continue;
            const buffered = buffer.stateAt(entry, self.place) orelse continue;
            if (buffered.lives) return buffered.image;
        }
        return null;
    }

    inline fn nextOfSnapshot(self: *TransactionScan) index_scan.Scan.Error!?RowRef {
        self.transaction.countRow();
        return switch (self.rows) {
            .all => |*rows| rows.next(),
            .index => |rows| rows.next(),
        };
    }
};
