//! The private writes of an open transaction, and the journal that takes them back to a savepoint.
//!
//! One entry for each row, with its last image. An image is never changed in place: a row that was
//! handed out stays what it was.

const std = @import("std");
const pk_map = @import("pk_map.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const transaction = @import("transaction.zig");
const RowRef = row_module.RowRef;
const TableInfo = table_info.TableInfo;
const Key = pk_map.Key;
const Allocator = std.mem.Allocator;

/// One row as the transaction leaves it.
pub const Buffered = struct {
    table: *const TableInfo,
    key: Key,
    /// Place among the entries.
    ordinal: usize = 0,
    image: RowRef = undefined,
    /// False: the transaction deletes the row, or has taken its insert back.
    lives: bool = false,
    /// False: the entry was added after a savepoint that was rolled back to.
    counts: bool = false,
    /// Columns that may differ from the row below, 0 for all.
    mask: u64 = 0,
    /// What the transaction has read under the key; `any` for a blind upsert.
    expected: transaction.Expected = .any,

    const State = struct { image: RowRef, lives: bool, counts: bool, mask: u64 };

    fn state(buffered: *const Buffered) State {
        return .{
            .image = buffered.image,
            .lives = buffered.lives,
            .counts = buffered.counts,
            .mask = buffered.mask,
        };
    }
};

pub const WriteBuffer = struct {
    entries: std.ArrayList(*Buffered) = .empty,
    by_key: std.HashMapUnmanaged(Key, *Buffered, KeyContext, 80) = .empty,
    journal: std.ArrayList(Undo) = .empty,

    const Undo = struct { entry: *Buffered, before: Buffered.State };

    const KeyContext = struct {
        pub fn hash(_: KeyContext, key: Key) u64 {
            return key.hash;
        }
        pub fn eql(_: KeyContext, a: Key, b: Key) bool {
            return a.table == b.table and std.mem.eql(u8, a.cell, b.cell);
        }
    };

    pub fn deinit(buffer: *WriteBuffer, gpa: Allocator) void {
        for (buffer.entries.items) |entry| gpa.destroy(entry);
        buffer.entries.deinit(gpa);
        buffer.by_key.deinit(gpa);
        buffer.journal.deinit(gpa);
    }

    /// The entry of a key, if the transaction has written it.
    pub fn find(buffer: *const WriteBuffer, key: Key) ?*Buffered {
        if (buffer.entries.items.len == 0) return null;
        const entry = buffer.by_key.get(key) orelse return null;
        return if (entry.counts) entry else null;
    }

    /// True if the transaction has written rows of the table.
    pub fn hasTable(buffer: *const WriteBuffer, table: *const TableInfo) bool {
        for (buffer.entries.items) |entry| {
            if (entry.counts and entry.table == table) return true;
        }
        return false;
    }

    /// Adds the entry of a key that has none that counts. It counts from its first image on.
    pub fn add(buffer: *WriteBuffer, gpa: Allocator, entry: Buffered) Allocator.Error!*Buffered {
        if (buffer.by_key.get(entry.key)) |rolled_back| {
            rolled_back.expected = entry.expected;
            return rolled_back;
        }
        const made = try gpa.create(Buffered);
        errdefer gpa.destroy(made);
        made.* = entry;
        made.ordinal = buffer.entries.items.len;
        try buffer.entries.ensureUnusedCapacity(gpa, 1);
        try buffer.by_key.put(gpa, entry.key, made);
        buffer.entries.appendAssumeCapacity(made);
        return made;
    }

    /// Gives an entry a copy of `image`. `mask` 0 means that all columns may have changed.
    pub fn setImage(
        buffer: *WriteBuffer,
        arena: Allocator,
        gpa: Allocator,
        entry: *Buffered,
        image: RowRef,
        mask: u64,
    ) Allocator.Error!void {
        try buffer.journal.append(gpa, .{ .entry = entry, .before = entry.state() });
        const copy = try arena.alignedAlloc(u8, .@"8", image.size);
        @memcpy(copy, image.payload[0..image.size]);
        const was_all = entry.counts and (entry.mask == 0 or !entry.lives);
        const all = mask == 0 or was_all;
        entry.mask = if (all) 0 else entry.mask | mask;
        entry.image = .{
            .payload = copy.ptr,
            .null_mask = image.null_mask,
            .version = 0,
            .size = image.size,
        };
        entry.lives = true;
        entry.counts = true;
    }

    pub fn setDeleted(buffer: *WriteBuffer, gpa: Allocator, entry: *Buffered) Allocator.Error!void {
        try buffer.journal.append(gpa, .{ .entry = entry, .before = entry.state() });
        entry.lives = false;
        entry.counts = true;
    }

    /// A place to come back to.
    pub fn savepoint(buffer: *const WriteBuffer) usize {
        return buffer.journal.items.len;
    }

    /// Takes back all writes since `savepoint` gave `place`.
    pub fn rollbackTo(buffer: *WriteBuffer, place: usize) void {
        while (buffer.journal.items.len > place) {
            const undo = buffer.journal.pop().?;
            undo.entry.image = undo.before.image;
            undo.entry.lives = undo.before.lives;
            undo.entry.counts = undo.before.counts;
            undo.entry.mask = undo.before.mask;
        }
    }

    /// What there is to install.
    pub fn writes(
        buffer: *const WriteBuffer,
        arena: Allocator,
    ) Allocator.Error![]transaction.Write {
        var list: std.ArrayList(transaction.Write) = .empty;
        for (buffer.entries.items) |entry| {
            if (!entry.counts) continue;
            const was_there = entry.expected == .version and entry.expected.version != 0;
            const blind = entry.expected == .any;
            if (!entry.lives and !was_there and !blind) continue; // inserted and deleted again
            try list.append(arena, .{
                .table = entry.table,
                .operation = if (entry.lives) .upsert else .remove,
                .key = entry.key,
                .image = entry.image,
                .mask = entry.mask,
                .expected = entry.expected,
            });
        }
        return list.items;
    }
};
