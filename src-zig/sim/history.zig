//! What the fibers of a kernel did and saw, and whether some serial order explains it.
//!
//! Every operation is noted with the moments of its call and its return. A history is strictly
//! serializable if its operations can be put into one order that respects real time (an operation
//! that returned before another was called comes first), the order of commit positions, and what
//! each operation answered. The order is searched by trying (Wing and Gong, 1993), which is quick
//! for the handful of operations of a kernel. An operation whose fiber was killed in the middle may
//! have happened or not.

const std = @import("std");
const sync = @import("sync");
const scheduler = sync.scheduler;
const assert = std.debug.assert;

pub const keys_max = 4;
pub const reads_all: u8 = (1 << keys_max) - 1;
const operations_max = 24;

pub const Value = ?i64;
pub const State = [keys_max]Value;

pub const Kind = enum {
    insert,
    upsert,
    update,
    delete,
    add,
    get,
    snapshot,
    count,
    transfer,
    fill,
    decide,
};

/// Rows that `fill` writes, from the first one on: as many as make a transaction take the gate.
pub const filled_rows = 3;

/// What an operation answered, as far as the model predicts it.
pub const Answer = enum { done, duplicate_key, not_found, unique_violation, conflict, given_up };

pub const Operation = struct {
    fiber: u8,
    kind: Kind,
    key: u8,
    value: i64 = 0,
    answer: Answer = .done,
    /// Of a get the value of `key`, of a snapshot the values of all keys, of a count its ends.
    seen: State = @splat(null),
    /// Of a decision: bit i set if row i was read.
    reads: u8 = 0,
    /// 0 if nothing was committed.
    position: u64 = 0,
    called: u32,
    returned: u32 = never,

    const never = std.math.maxInt(u32);

    /// Whether it writes row `key` or has seen it.
    fn touches(operation: *const Operation, key: u8) bool {
        return switch (operation.kind) {
            .snapshot => true,
            .count => false,
            .transfer => key < 2,
            .fill => key < filled_rows,
            .decide => operation.key == key or operation.reads >> @intCast(key) & 1 != 0,
            else => operation.key == key,
        };
    }

    /// What a count has to be.
    fn countIn(operation: *const Operation, state: State) i64 {
        var rows: i64 = 0;
        for (state) |value| {
            const number = value orelse continue;
            if (operation.seen[0]) |low| if (number < low) continue;
            if (operation.seen[1]) |high| if (number > high) continue;
            rows += 1;
        }
        return rows;
    }
};

var operations: [operations_max]Operation = undefined;
var count: usize = 0;
var initial: State = @splat(null);
var clock: u32 = 0;
/// No two rows may have the same value.
pub var unique = false;

pub fn reset() void {
    count = 0;
    clock = 0;
    initial = @splat(null);
}

/// The state before the first operation.
pub fn setInitial(state: State) void {
    initial = state;
}

/// Notes a call. The answer is filled in by the caller, and then `end` called.
pub fn begin(kind: Kind, key: u8, value: i64) *Operation {
    assert(count < operations_max and key < keys_max);
    clock += 1;
    operations[count] = .{
        .fiber = scheduler.self(),
        .kind = kind,
        .key = key,
        .value = value,
        .called = clock,
    };
    count += 1;
    return &operations[count - 1];
}

pub fn end(operation: *Operation) void {
    clock += 1;
    operation.returned = clock;
}

/// Fails the run if no serial order explains the history and ends in `final`.
///
/// A get of the latest row never waits, so it may pass over a commit that has a position and is not
/// decided. It is linearizable for its row: gets are left out of the one order of everything, and
/// have their place in the order of what was done to their row.
pub fn check(final: State) void {
    var search: Search = .{ .final = final, .only = null };
    if (!search.explains(initial, search.skipped(), 0)) {
        var text: [400]u8 = undefined;
        scheduler.fail("no serial order explains {s}", .{describe(&text, final)});
    }
    for (0..keys_max) |key| {
        if (!hasGet(@intCast(key))) continue;
        search.only = @intCast(key);
        if (search.explains(initial, search.skipped(), 0)) continue;
        var text: [400]u8 = undefined;
        scheduler.fail("row {d} is not linearizable: {s}", .{ key, describe(&text, final) });
    }
}

fn hasGet(key: u8) bool {
    for (operations[0..count]) |*operation| {
        if (operation.kind == .get and operation.key == key) return true;
    }
    return false;
}

const Search = struct {
    final: State,
    /// Looks at one row only, or at everything but gets.
    only: ?u8,

    /// A bit for each operation that has no part in this search.
    fn skipped(search: *const Search) u32 {
        var bits: u32 = 0;
        for (operations[0..count], 0..) |*operation, i| {
            const key = search.only;
            const away = if (key) |row| !operation.touches(row) else operation.kind == .get;
            if (away) bits |= @as(u32, 1) << @intCast(i);
        }
        return bits;
    }

    fn agree(search: *const Search, a: State, b: State) bool {
        const row = search.only orelse return std.meta.eql(a, b);
        return std.meta.eql(a[row], b[row]);
    }

    /// Tries every operation that may come next. `taken` has a bit for each one already placed.
    fn explains(search: *Search, state: State, taken: u32, position: u64) bool {
        var first_return: u32 = Operation.never;
        var left = false;
        for (operations[0..count], 0..) |*operation, i| {
            if (taken >> @intCast(i) & 1 != 0) continue;
            first_return = @min(first_return, operation.returned);
            if (operation.returned != Operation.never) left = true;
        }
        if (!left and search.agree(state, search.final)) return true;
        for (operations[0..count], 0..) |*operation, i| {
            if (taken >> @intCast(i) & 1 != 0) continue;
            if (operation.called > first_return) continue;
            if (operation.position != 0 and operation.position < position) continue;
            const next = search.apply(operation, state) orelse continue;
            const reached = @max(position, operation.position);
            if (search.explains(next, taken | @as(u32, 1) << @intCast(i), reached)) return true;
        }
        return false;
    }

    /// The state after `operation`, or null if it would not have answered as it did.
    fn apply(search: *const Search, operation: *const Operation, state: State) ?State {
        var next = state;
        const here = state[operation.key];
        const pending = operation.returned == Operation.never;
        if (operation.answer == .given_up) return next;
        const answer: Answer = switch (operation.kind) {
            .insert => if (here != null) .duplicate_key else refusal(operation, state),
            .update, .add => if (here == null) .not_found else refusal(operation, state),
            .delete => if (here == null) .not_found else .done,
            .upsert => refusal(operation, state),
            .get, .snapshot, .count, .transfer, .fill => .done,
            // A transaction may be given up at any time; then it has done nothing.
            .decide => if (pending) .done else operation.answer,
        };
        if (!pending and answer != operation.answer) return null;
        if (answer != .done) return next;
        switch (operation.kind) {
            .insert, .upsert, .update => next[operation.key] = operation.value,
            .delete => next[operation.key] = null,
            .add => next[operation.key] = here.? + operation.value,
            .transfer => {
                next[operation.key] = (here orelse 0) - operation.value;
                const other = (operation.key + 1) % 2;
                next[other] = (state[other] orelse 0) + operation.value;
            },
            .fill => @memset(next[0..filled_rows], operation.value),
            .decide => {
                var sum = operation.value;
                for (operation.seen, state, 0..) |seen, now, key| {
                    const was_read = operation.reads >> @intCast(key) & 1 != 0;
                    const counts = search.only == null or search.only.? == key;
                    if (was_read and counts and !std.meta.eql(seen, now)) return null;
                    if (was_read) sum += seen orelse 0;
                }
                next[operation.key] = sum;
            },
            .get => if (!pending and operation.seen[operation.key] != here) return null,
            .count => if (!pending and operation.value != operation.countIn(state)) return null,
            .snapshot => if (!pending and !search.agree(operation.seen, state)) return null,
        }
        return next;
    }
};

/// What a unique index has to say about a write.
fn refusal(operation: *const Operation, state: State) Answer {
    if (!unique) return .done;
    const here = state[operation.key] orelse 0;
    const value = operation.value + if (operation.kind == .add) here else 0;
    for (state, 0..) |other, key| {
        if (key != operation.key and other == value) return .unique_violation;
    }
    return .done;
}

fn describe(text: []u8, final: State) []const u8 {
    var writer: std.Io.Writer = .fixed(text);
    writeAll(&writer, final) catch {}; // Cut off where the text is full.
    return writer.buffered();
}

fn writeAll(writer: *std.Io.Writer, final: State) std.Io.Writer.Error!void {
    for (operations[0..count]) |*it| {
        try writer.print("{d}:{t}({d}", .{ it.fiber, it.kind, it.key });
        switch (it.kind) {
            .insert, .upsert, .update, .add, .transfer, .fill, .decide => {
                try writer.print(",{d}", .{it.value});
            },
            .count => try writer.print(",{d} of {?d}..{?d}", .{
                it.value,
                it.seen[0],
                it.seen[1],
            }),
            .delete, .get, .snapshot => {},
        }
        if (it.returned == Operation.never) {
            try writer.writeAll(")? ");
            continue;
        }
        try writer.print(")={t}", .{it.answer});
        if (it.position != 0) try writer.print("@{d}", .{it.position});
        if (it.kind == .get) try writer.print(" {?d}", .{it.seen[it.key]});
        if (it.kind == .snapshot or it.kind == .decide) try writeState(writer, it.seen);
        try writer.print(" [{d},{d}] ", .{ it.called, it.returned });
    }
    try writer.writeAll("final");
    try writeState(writer, final);
}

fn writeState(writer: *std.Io.Writer, state: State) std.Io.Writer.Error!void {
    for (state) |value| try writer.print(" {?d}", .{value});
}

test "apply: an insert onto a row must have answered duplicate_key" {
    const search: Search = .{ .final = @splat(null), .only = null };
    var operation: Operation = .{ .fiber = 0, .kind = .insert, .key = 1, .called = 1 };
    operation.returned = 2;
    const empty: State = @splat(null);
    try std.testing.expect(search.apply(&operation, empty) != null);
    operation.answer = .duplicate_key;
    try std.testing.expect(search.apply(&operation, empty) == null);
}
