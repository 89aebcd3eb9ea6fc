//! The private writes of an open transaction, and the journal that takes them back to a savepoint.
//!
//! One entry for each row, with its last image. An image is never changed in place: a row that was
//! handed out stays what it was.
//!
//! The journal has every earlier state, and each record leads to the one before of the same row. So
//! a search that goes on while the transaction writes sees the buffer as it was at its beginning:
//! `stateAt`.

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
    image: RowRef = undefined,
    /// False: the transaction deletes the row, or has taken its insert back.
    lives: bool = false,
    /// False: the entry was added after a savepoint that was rolled back to.
    counts: bool = false,
    /// Columns that may differ from the row below, 0 for all.
    mask: u64 = 0,
    /// What the transaction has read under the key; `any` for a blind upsert.
    expected: transaction.Expected = .any,
    /// The record of the last change in the journal.
    changed: usize = 0,

    const State = struct { image: RowRef, lives: bool, counts: bool, mask: u64, changed: usize };

    fn state(buffered: *const Buffered) State {
        return .{
            .image = buffered.image,
            .lives = buffered.lives,
            .counts = buffered.counts,
            .mask = buffered.mask,
            .changed = buffered.changed,
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

    /// What was buffered of an entry at a place that `savepoint` gave and that was not rolled back
    /// since; null if nothing was.
    pub fn stateAt(
        buffer: *const WriteBuffer,
        entry: *const Buffered,
        place: usize,
    ) ?Buffered.State {
        var state = entry.state();
        while (state.counts and state.changed >= place) {
            state = buffer.journal.items[state.changed].before;
        }
        return if (state.counts) state else null;
    }

    /// What was buffered under a key at such a place.
    pub fn findAt(buffer: *const WriteBuffer, key: Key, place: usize) ?Buffered.State {
        if (place == 0) return null;
        return buffer.stateAt(buffer.by_key.get(key) orelse return null, place);
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
        const copy = try arena.alignedAlloc(u8, .@"8", image.size);
        @memcpy(copy, image.payload[0..image.size]);
        try buffer.note(gpa, entry);
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
        try buffer.note(gpa, entry);
        entry.lives = false;
        entry.counts = true;
    }

    /// Keeps the state of an entry that is about to change.
    fn note(buffer: *WriteBuffer, gpa: Allocator, entry: *Buffered) Allocator.Error!void {
        try buffer.journal.append(gpa, .{ .entry = entry, .before = entry.state() });
        entry.changed = buffer.journal.items.len - 1;
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
            undo.entry.changed = undo.before.changed;
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

const testing = std.testing;

test "WriteBuffer: an earlier place is seen as it was" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    var table: TableInfo = try .init(0, "t", &.{.init("id", .int64, 0, .{ .primary = true })});
    var buffer: WriteBuffer = .{};
    defer buffer.deinit(testing.allocator);
    const Place = struct {
        fn valueAt(of: *const WriteBuffer, key: Key, place: usize) ?u64 {
            const state = of.findAt(key, place) orelse return null;
            if (!state.lives) return 0;
            return std.mem.readInt(u64, state.image.payload[0..8], .little);
        }
    };
    const key: Key = .of(0, "8 bytes!");
    var places: [5]usize = undefined;
    var payload: [8]u8 align(8) = undefined;
    const image: RowRef = .{ .payload = &payload, .null_mask = 0, .version = 0, .size = 8 };
    const entry = try buffer.add(testing.allocator, .{ .table = &table, .key = key });
    for (&places, 0..) |*place, value| {
        place.* = buffer.savepoint();
        if (value == 3) {
            try buffer.setDeleted(testing.allocator, entry);
        } else {
            std.mem.writeInt(u64, &payload, value + 1, .little);
            try buffer.setImage(arena.allocator(), testing.allocator, entry, image, 0);
        }
    }
    const wanted = [_]?u64{ null, 1, 2, 3, 0 };
    for (places, wanted) |place, value| {
        try testing.expectEqual(value, Place.valueAt(&buffer, key, place));
    }
    try testing.expectEqual(5, Place.valueAt(&buffer, key, buffer.savepoint()));
    // What is taken back does not come back, and a later write does not reach behind it.
    buffer.rollbackTo(places[2]);
    for (places[0..2], wanted[0..2]) |place, value| {
        try testing.expectEqual(value, Place.valueAt(&buffer, key, place));
    }
    buffer.rollbackTo(places[0]);
    try testing.expectEqual(null, buffer.find(key));
    const again = try buffer.add(testing.allocator, .{ .table = &table, .key = key });
    try buffer.setImage(arena.allocator(), testing.allocator, again, image, 0);
    try testing.expectEqual(null, Place.valueAt(&buffer, key, 0));
    try testing.expectEqual(5, Place.valueAt(&buffer, key, 1));
}
