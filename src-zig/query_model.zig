//! The rules of a query in the most obvious words, for fuzzers to compare the real thing with.
//!
//! Values are ordinary values, patterns are matched by recursion, lists are searched from the
//! front. It shares no code with the filter, the globs and the sort, only the plan's types.

const std = @import("std");
const plan = @import("plan.zig");
const TableInfo = @import("table_info.zig").TableInfo;
const Order = std.math.Order;

pub const Value = union(enum) {
    none,
    integer: i64,
    float: f64,
    text: []const u8,

    pub fn order(a: Value, b: Value) Order {
        return switch (a) {
            .none => unreachable,
            .integer => |number| std.math.order(number, b.integer),
            .float => |number| std.math.order(number, b.float),
            .text => |bytes| std.mem.order(u8, bytes, b.text),
        };
    }
};

/// One condition. Which operands count depends on `op`.
pub const Condition = struct {
    op: plan.Op,
    column: u8,
    flags: plan.ClauseFlags = .{},
    a: Value = .none,
    b: Value = .none,
    list: []const Value = &.{},

    pub fn holds(condition: *const Condition, values: []const Value) bool {
        if (condition.op == .never) return false;
        const value = values[condition.column];
        switch (condition.op) {
            .is_null => return value == .none,
            .is_not_null => return value != .none,
            else => if (value == .none) return condition.flags.null_satisfies,
        }
        const a = condition.a;
        return switch (condition.op) {
            .eq => value.order(a) == .eq,
            .ne => value.order(a) != .eq,
            .gt => value.order(a) == .gt,
            .ge => value.order(a) != .lt,
            .lt => value.order(a) == .lt,
            .le => value.order(a) != .gt,
            .range => value.order(a) != .lt and value.order(condition.b) == .lt,
            .in => for (condition.list) |item| {
                if (value.order(item) == .eq) break true;
            } else false,
            .is_true => !isZero(value),
            .is_false => isZero(value),
            .match => globMatches(a.text, value.text),
            .not_match => !globMatches(a.text, value.text),
            .is_null, .is_not_null, .never => unreachable,
        };
    }

    fn isZero(value: Value) bool {
        return switch (value) {
            .integer => |number| number == 0,
            .float => |number| number == 0,
            .none, .text => unreachable,
        };
    }
};

/// `string match` for ASCII patterns and texts, with case.
pub fn globMatches(pattern: []const u8, text: []const u8) bool {
    if (pattern.len == 0) return text.len == 0;
    switch (pattern[0]) {
        '*' => for (0..text.len + 1) |skip| {
            if (globMatches(pattern[1..], text[skip..])) return true;
        } else return false,
        '?' => return text.len > 0 and globMatches(pattern[1..], text[1..]),
        '[' => {
            const end, const found = setHolds(pattern, if (text.len > 0) text[0] else null);
            return found and globMatches(pattern[end..], text[1..]);
        },
        '\\' => {
            if (pattern.len == 1) return false;
            const same = text.len > 0 and text[0] == pattern[1];
            return same and globMatches(pattern[2..], text[1..]);
        },
        else => {
            const same = text.len > 0 and text[0] == pattern[0];
            return same and globMatches(pattern[1..], text[1..]);
        },
    }
}

/// Where the set at the start of `pattern` ends, and whether it holds `byte`.
fn setHolds(pattern: []const u8, byte: ?u8) struct { usize, bool } {
    var found = false;
    var at: usize = 1;
    while (at < pattern.len and pattern[at] != ']') {
        var low = pattern[at];
        var high = low;
        if (at + 1 < pattern.len and pattern[at + 1] == '-') {
            if (at + 2 == pattern.len) return .{ pattern.len, found };
            high = pattern[at + 2];
            at += 2;
        }
        at += 1;
        if (low > high) std.mem.swap(u8, &low, &high);
        if (byte != null and byte.? >= low and byte.? <= high) found = true;
    }
    return .{ @min(at + 1, pattern.len), found };
}

/// Whether row `a` stands before row `b`.
pub fn before(
    table: *const TableInfo,
    sorts: []const plan.Sort,
    a: []const Value,
    b: []const Value,
) bool {
    for (sorts) |sort| {
        const left = a[sort.column];
        const right = b[sort.column];
        if (left == .none and right == .none) continue;
        if (left == .none) return sort.flags.nulls_first;
        if (right == .none) return !sort.flags.nulls_first;
        var order = left.order(right);
        if (order == .eq) continue;
        const is_bool = table.columns[sort.column].kind == .bool;
        if (is_bool and sort.flags.true_first) order = order.invert();
        if (sort.flags.descending) order = order.invert();
        return order == .lt;
    }
    return a[table.primary_key].order(b[table.primary_key]) == .lt;
}

test "globMatches: the patterns every reader knows" {
    try std.testing.expect(globMatches("a*[b-d]?", "axxc."));
    try std.testing.expect(!globMatches("a*[b-d]?", "axxe."));
    try std.testing.expect(globMatches("\\*", "*"));
}
