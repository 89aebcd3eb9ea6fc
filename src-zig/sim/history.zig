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
const operations_max = 24;

pub const Value = ?i64;
pub const State = [keys_max]Value;

pub const Kind = enum { insert, upsert, update, delete, add, get, snapshot, transfer };

/// What an operation answered, as far as the model predicts it.
pub const Answer = enum { done, duplicate_key, not_found };

pub const Operation = struct {
    fiber: u8,
    kind: Kind,
    key: u8,
    value: i64 = 0,
    answer: Answer = .done,
    /// Of a get the value of `key`, of a snapshot the values of all keys.
    seen: State = @splat(null),
    /// 0 if nothing was committed.
    position: u64 = 0,
    called: u32,
    returned: u32 = never,

    const never = std.math.maxInt(u32);
};

var operations: [operations_max]Operation = undefined;
var count: usize = 0;
var initial: State = @splat(null);
var clock: u32 = 0;

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
pub fn check(final: State) void {
    var search: Search = .{ .final = final };
    if (search.explains(initial, 0, 0)) return;
    var text: [400]u8 = undefined;
    scheduler.fail("no serial order explains {s}", .{describe(&text, final)});
}

const Search = struct {
    final: State,

    /// Tries every operation that may come next. `taken` has a bit for each one already placed.
    fn explains(search: *Search, state: State, taken: u32, position: u64) bool {
        var first_return: u32 = Operation.never;
        var left = false;
        for (operations[0..count], 0..) |*operation, i| {
            if (taken >> @intCast(i) & 1 != 0) continue;
            first_return = @min(first_return, operation.returned);
            if (operation.returned != Operation.never) left = true;
        }
        if (!left and std.meta.eql(state, search.final)) return true;
        for (operations[0..count], 0..) |*operation, i| {
            if (taken >> @intCast(i) & 1 != 0) continue;
            if (operation.called > first_return) continue;
            if (operation.position != 0 and operation.position < position) continue;
            const next = apply(operation, state) orelse continue;
            const reached = @max(position, operation.position);
            if (search.explains(next, taken | @as(u32, 1) << @intCast(i), reached)) return true;
        }
        return false;
    }
};

/// The state after `operation`, or null if it would not have answered as it did.
fn apply(operation: *const Operation, state: State) ?State {
    var next = state;
    const here = state[operation.key];
    const answer: Answer = switch (operation.kind) {
        .insert => if (here != null) .duplicate_key else .done,
        .update, .delete, .add => if (here == null) .not_found else .done,
        .upsert, .get, .snapshot, .transfer => .done,
    };
    const pending = operation.returned == Operation.never;
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
        .get => if (!pending and operation.seen[operation.key] != here) return null,
        .snapshot => if (!pending and !std.meta.eql(operation.seen, state)) return null,
    }
    return next;
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
            .insert, .upsert, .update, .add, .transfer => try writer.print(",{d}", .{it.value}),
            .delete, .get, .snapshot => {},
        }
        if (it.returned == Operation.never) {
            try writer.writeAll(")? ");
            continue;
        }
        try writer.print(")={t}", .{it.answer});
        if (it.position != 0) try writer.print("@{d}", .{it.position});
        if (it.kind == .get) try writer.print(" {?d}", .{it.seen[it.key]});
        if (it.kind == .snapshot) try writeState(writer, it.seen);
        try writer.print(" [{d},{d}] ", .{ it.called, it.returned });
    }
    try writer.writeAll("final");
    try writeState(writer, final);
}

fn writeState(writer: *std.Io.Writer, state: State) std.Io.Writer.Error!void {
    for (state) |value| try writer.print(" {?d}", .{value});
}

test "apply: an insert onto a row must have answered duplicate_key" {
    var operation: Operation = .{ .fiber = 0, .kind = .insert, .key = 1, .called = 1 };
    operation.returned = 2;
    const empty: State = @splat(null);
    try std.testing.expect(apply(&operation, empty) != null);
    operation.answer = .duplicate_key;
    try std.testing.expect(apply(&operation, empty) == null);
}
