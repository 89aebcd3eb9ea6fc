//! Transactions of several statements, as fibers run them. Each notes itself in `history.zig`.

const sync = @import("sync");
const engine = @import("aerostore");
const actions = @import("actions.zig");
const fixture = @import("fixture.zig");
const history = @import("history.zig");
const scheduler = sync.scheduler;
const ticket = engine.ticket;
const OpenTransaction = engine.open_transaction.OpenTransaction;
const RowRef = engine.row.RowRef;

/// How often a transaction is tried before it counts as given up.
const attempts_max = 2;

/// A transaction that looks at rows and then writes one.
pub const Decision = struct {
    /// Rows that it reads, one by one.
    reads: []const u8 = &.{},
    /// It reads the whole table by a scan as well.
    scans: bool = false,
    /// It asks others not to start commits.
    exclusive: bool = false,
    /// It queues for the row that it writes.
    queued: bool = false,
    /// Everybody else in the kernel queues for the row as well, so it cannot lose while it is
    /// served.
    alone: bool = true,
    /// What it does and takes back before it writes.
    undone: ?Undone = null,
    key: u8,
    value: i64,
};

/// A write and some reads after a savepoint that is rolled back to.
pub const Undone = struct {
    key: u8,
    value: i64,
    reads: []const u8 = &.{},
};

/// Reads, then stores into one row a number that depends on what was read. Tried again on a
/// conflict, and then given up.
pub fn decide(decision: Decision) void {
    const noted = history.begin(.decide, decision.key, decision.value);
    noted.answer = .conflict;
    for (0..attempts_max) |_| {
        if (attempt(decision, noted) catch |err| {
            scheduler.fail("a transaction fails with {t}", .{err});
        }) |position| {
            noted.answer = .done;
            noted.position = position;
            break;
        }
    }
    history.end(noted);
}

/// Returns the position, or null on a conflict.
fn attempt(decision: Decision, noted: *history.Operation) !?u64 {
    const options: engine.open_transaction.Options = .{ .exclusive = decision.exclusive };
    const open: *OpenTransaction = try .begin(fixture.current(), fixture.allocator(), options);
    defer open.destroy();
    noted.seen = @splat(null);
    noted.reads = 0;
    if (decision.queued) {
        var cell: [8]u8 = undefined;
        try open.enter();
        try open.lock(actions.keyOf(decision.key, &cell));
        open.leave();
    }
    if (decision.scans) try scan(open, noted);
    try read(open, decision.reads, noted);
    if (decision.undone) |undone| {
        const place = open.savepoint();
        try write(open, undone.key, undone.value);
        try read(open, undone.reads, noted);
        open.rollbackTo(place);
    }
    var sum = decision.value;
    for (noted.seen) |value| sum += value orelse 0;
    try write(open, decision.key, sum);
    return switch (try open.commit()) {
        .committed => |position| position,
        .conflict => {
            checkTurn(open, decision);
            return null;
        },
        .unique_violation => scheduler.fail("a transaction violates a unique index", .{}),
    };
}

/// Fails the run if the transaction lost although it was its turn.
fn checkTurn(open: *const OpenTransaction, decision: Decision) void {
    if (open.hold) |hold| if (hold.stands()) {
        scheduler.fail("a transaction loses while it holds the gate", .{});
    };
    if (!decision.alone) return;
    // Who was passed over may still be under way, and that takes a lease.
    if (sync.nowNs() - fixture.started_ns >= ticket.lease_ns) return;
    for (open.tickets.items) |held| {
        if (!ticket.isServed(&fixture.region, held)) continue;
        scheduler.fail("a transaction loses although it is its turn", .{});
    }
}

fn scan(open: *OpenTransaction, noted: *history.Operation) !void {
    const table = fixture.tableHere();
    try open.enter();
    defer open.leave();
    var rows = open.scan(table, null);
    while (try rows.next()) |row| actions.noteRow(noted, row);
    try open.notePredicate(.{
        .table = table,
        .filter = .{ .predicates = &.{}, .never = false },
        .columns = table.allColumns(),
    });
    noted.reads = history.reads_all;
}

fn read(open: *OpenTransaction, keys: []const u8, noted: *history.Operation) !void {
    for (keys) |key| {
        var cell: [8]u8 = undefined;
        try open.enter();
        defer open.leave();
        const row = try open.get(fixture.tableHere(), actions.keyOf(key, &cell));
        if (row) |found| actions.noteRow(noted, found);
        noted.reads |= @as(u8, 1) << @intCast(key);
    }
}

fn write(open: *OpenTransaction, key: u8, value: i64) !void {
    var line: actions.Line = undefined;
    line.init(.upsert, key, value);
    try open.enter();
    defer open.leave();
    if (try open.write(&line.write) != .done) scheduler.fail("an upsert is refused", .{});
}

/// Reads all rows in a transaction that only reads, each in an operation of its own. Gives up if
/// its snapshot is taken away.
pub fn look() void {
    noteLook(lookAround);
}

/// The same with views of the rows: they stay readable until the end, whatever others do.
pub fn lookByViews() void {
    noteLook(lookAtViews);
}

fn noteLook(comptime run: fn (*OpenTransaction, *history.Operation) anyerror!void) void {
    const noted = history.begin(.snapshot, 0, 0);
    const options: engine.open_transaction.Options = .{ .read_only = true };
    const begun = OpenTransaction.begin(fixture.current(), fixture.allocator(), options);
    const open = begun catch |err| scheduler.fail("a transaction fails with {t}", .{err});
    defer open.destroy();
    run(open, noted) catch |err| switch (err) {
        error.SnapshotRevoked => noted.answer = .given_up,
        else => scheduler.fail("a transaction fails with {t}", .{err}),
    };
    history.end(noted);
}

fn lookAround(open: *OpenTransaction, noted: *history.Operation) !void {
    for (&noted.seen, 0..) |*value, key| {
        var cell: [8]u8 = undefined;
        try open.enter();
        defer open.leave();
        const row = try open.get(fixture.tableHere(), actions.keyOf(@intCast(key), &cell));
        value.* = if (row) |found| actions.numbers(found).value else null;
    }
}

fn lookAtViews(open: *OpenTransaction, noted: *history.Operation) !void {
    var views: [history.keys_max]?RowRef = @splat(null);
    try open.enter();
    for (&views, 0..) |*view, key| {
        var cell: [8]u8 = undefined;
        view.* = try open.get(fixture.tableHere(), actions.keyOf(@intCast(key), &cell));
    }
    open.has_views = true;
    open.leave();
    // What the program does with them meanwhile is no operation.
    for (views, &noted.seen) |view, *value| {
        value.* = if (view) |row| actions.numbers(row).value else null;
    }
}
