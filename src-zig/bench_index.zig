//! What does a secondary index cost, and what does it give?
//!
//!     zig build bench-index -- [ROWS]
//!
//! One process, a region in anonymous memory, a table with two indexes: one of random keys, one of
//! rising keys. Rows are inserted; the first index is searched (each search depends on the last),
//! walked without a look at rows, and scanned with one; rows are updated so that both keys move,
//! and so that none does. The same random keys in a B+tree of one writer, which no kill survives,
//! and in a sorted array, which nothing is inserted into, say what the memory allows; and the same
//! updates with two such trees.
//!
//! Times are of the processor: busy machines disturb them least.

const std = @import("std");
const builtin = @import("builtin");
const engine = @import("aerostore.zig");
const index_scan = engine.index_scan;
const index_key = engine.index_key;
const ordered_index = engine.ordered_index;
const reader = engine.reader;
const statement = engine.statement;
const table_indexes = engine.table_indexes;
const Session = engine.session.Session;
const TableInfo = engine.table_info.TableInfo;

const Bench = struct {
    region: *const engine.region.Region,
    session: *Session,
    table: *TableInfo,
    indexes: *table_indexes.TableIndexes,
    random: std.Random.DefaultPrng,
    rows: u64,

    fn upsert(bench: *Bench, id: u64, a: i64, b: i64) !void {
        const columns = &bench.table.columns;
        var payload: [24]u8 align(8) = undefined;
        std.mem.writeInt(u64, payload[columns[0].offset..][0..8], id, .little);
        std.mem.writeInt(i64, payload[columns[1].offset..][0..8], a, .little);
        std.mem.writeInt(i64, payload[columns[2].offset..][0..8], b, .little);
        const cell: [8]u8 = @bitCast(id);
        const result = try statement.write(bench.session, &.{
            .table = bench.table,
            .operation = .upsert,
            .key = .of(0, &cell),
            .image = .{ .payload = &payload, .null_mask = 0, .version = 0, .size = 24 },
        });
        std.debug.assert(result.outcome == .done);
    }

    fn lookups(bench: *Bench, count: u64) u64 {
        const root = bench.indexes.current()[0].root;
        const index: ordered_index.OrderedIndex = .at(bench.region, root);
        bench.session.pin();
        defer bench.session.unpin();
        var key: u64 = 1;
        for (0..count) |_| {
            var bytes: [8]u8 = undefined;
            std.mem.writeInt(u64, &bytes, key, .big);
            const found = index.seek(&.bound(&index.root.keys, &bytes, .before));
            // The next key depends on what was found.
            const seen = if (found == 0) 1 else ordered_index.nodeAt(bench.region, found).prefix;
            key = (seen +% key) *% 0x9e3779b97f4a7c15;
        }
        return key;
    }

    /// Walks the entries of the first index from some places on, and looks at no row.
    fn walks(bench: *Bench, count: u64, span: u64) u64 {
        const root = bench.indexes.current()[0].root;
        const index: ordered_index.OrderedIndex = .at(bench.region, root);
        bench.session.pin();
        defer bench.session.unpin();
        var seen: u64 = 0;
        for (0..count) |_| {
            var bytes: [8]u8 = undefined;
            std.mem.writeInt(u64, &bytes, bench.random.random().int(u64), .big);
            var trail: engine.index_guide.Trail = .{};
            var at = index.seekTrail(&.bound(&index.root.keys, &bytes, .before), &trail);
            var ahead: engine.index_guide.Ahead = .{ .block = trail.block };
            for (0..span) |n| {
                if (at == 0) break;
                if (n % 8 == 0) ahead.prefetch(index.guide(), at, 40);
                seen +%= ordered_index.nodeAt(bench.region, at).prefix;
                at = index.following(at);
            }
        }
        return seen;
    }

    fn scans(bench: *Bench, count: u64, span: u64, descending: bool) !u64 {
        var seen: u64 = 0;
        for (0..count) |_| {
            bench.session.pin();
            defer bench.session.unpin();
            const view: reader.View = .{ .snapshot = reader.snapshotNow(bench.region) };
            var bound: index_key.Bound = .{ .size = 8, .side = .before };
            std.mem.writeInt(u64, bound.bytes[0..8], bench.random.random().int(u64), .big);
            var access: index_scan.Access = .{ .descending = descending };
            if (descending) access.high = bound else access.low = bound;
            const index = &bench.indexes.current()[0];
            var scan: index_scan.Scan = .init(bench.region, bench.table, index, view, access);
            for (0..span) |_| {
                const row = try scan.next() orelse break;
                seen +%= @bitCast(row.int64(0));
            }
        }
        return seen;
    }
};

/// A B+tree of numbers. One thread, one process, and half done if it is killed.
const Tree = struct {
    gpa: std.mem.Allocator,
    /// All that there will ever be.
    nodes: std.ArrayList(Node) = .empty,
    root: u32 = 0,
    height: u32 = 0,

    const fanout = 64;
    const Node = struct {
        keys: [fanout]u64 = @splat(std.math.maxInt(u64)),
        /// Values in a leaf, else nodes. The first key of a node is not looked at.
        to: [fanout]u32 = undefined,
        count: u32 = 0,
        next: u32 = 0,
    };
    const Split = struct { key: u64, node: u32 };

    fn init(gpa: std.mem.Allocator, rows: u64) !Tree {
        var tree: Tree = .{ .gpa = gpa };
        const node_count = rows / 20 + 16;
        const nodes = try allocHuge(gpa, Node, node_count);
        tree.nodes = .initBuffer(nodes);
        tree.nodes.appendAssumeCapacity(.{});
        return tree;
    }

    fn deinit(tree: *Tree) void {
        freeHuge(tree.gpa, Node, tree.nodes.allocatedSlice());
    }

    inline fn below(node: *const Node, key: u64) u32 {
        var count: u32 = 0;
        inline for (0..fanout / 8) |i| {
            const keys: @Vector(8, u64) = node.keys[i * 8 ..][0..8].*;
            count += @popCount(@as(u8, @bitCast(keys < @as(@Vector(8, u64), @splat(key)))));
        }
        return count;
    }

    fn put(tree: *Tree, key: u64, value: u32) !void {
        const split = try tree.putIn(tree.root, tree.height, key, value) orelse return;
        var root: Node = .{ .count = 2 };
        root.keys[0] = 0;
        root.to[0] = tree.root;
        root.keys[1] = split.key;
        root.to[1] = split.node;
        tree.root = @intCast(tree.nodes.items.len);
        tree.height += 1;
        try tree.nodes.append(tree.gpa, root);
    }

    fn putIn(tree: *Tree, at: u32, height: u32, key: u64, value: u32) error{OutOfMemory}!?Split {
        if (height == 0) return tree.insert(at, key, value);
        const node = &tree.nodes.items[at];
        const child = node.to[@max(below(node, key +| 1), 1) - 1];
        const split = try tree.putIn(child, height - 1, key, value) orelse return null;
        return tree.insert(at, split.key, split.node);
    }

    fn insert(tree: *Tree, at: u32, key: u64, to: u32) !?Split {
        var split: ?Split = null;
        var target = at;
        if (tree.nodes.items[at].count == fanout) {
            try tree.nodes.appendBounded(.{});
            const new: u32 = @intCast(tree.nodes.items.len - 1);
            const left = &tree.nodes.items[at];
            const right = &tree.nodes.items[new];
            const half = fanout / 2;
            @memcpy(right.keys[0..half], left.keys[half..]);
            @memcpy(right.to[0..half], left.to[half..]);
            @memset(left.keys[half..], std.math.maxInt(u64));
            right.next = left.next;
            left.next = new;
            left.count = half;
            right.count = half;
            split = .{ .key = right.keys[0], .node = new };
            if (key >= right.keys[0]) target = new;
        }
        const node = &tree.nodes.items[target];
        const place = below(node, key);
        std.mem.copyBackwards(u64, node.keys[place + 1 ..], node.keys[place..node.count]);
        std.mem.copyBackwards(u32, node.to[place + 1 ..], node.to[place..node.count]);
        node.keys[place] = key;
        node.to[place] = to;
        node.count += 1;
        return split;
    }

    /// Takes a key out. Nodes that become small stay as they are.
    fn remove(tree: *Tree, key: u64) void {
        const cursor = tree.seek(key);
        const node = &tree.nodes.items[cursor.node];
        std.debug.assert(node.keys[cursor.at] == key);
        const last = node.count - 1;
        const at = cursor.at;
        std.mem.copyForwards(u64, node.keys[at..last], node.keys[at + 1 .. node.count]);
        std.mem.copyForwards(u32, node.to[at..last], node.to[at + 1 .. node.count]);
        node.keys[last] = std.math.maxInt(u64);
        node.count = last;
    }

    const Cursor = struct { node: u32, at: u32 };

    fn seek(tree: *const Tree, key: u64) Cursor {
        var node = tree.root;
        for (0..tree.height) |_| {
            const here = &tree.nodes.items[node];
            node = here.to[@max(below(here, key +| 1), 1) - 1];
        }
        const at = below(&tree.nodes.items[node], key);
        if (at < tree.nodes.items[node].count) return .{ .node = node, .at = at };
        return .{ .node = tree.nodes.items[node].next, .at = 0 };
    }

    fn lookups(tree: *const Tree, count: u64) u64 {
        var key: u64 = 1;
        for (0..count) |_| {
            const found = tree.seek(key);
            const seen = tree.nodes.items[found.node].keys[found.at];
            key = (seen +% key) *% 0x9e3779b97f4a7c15;
        }
        return key;
    }

    fn walks(tree: *const Tree, random: std.Random, count: u64, span: u64) u64 {
        var seen: u64 = 0;
        for (0..count) |_| {
            var cursor = tree.seek(random.int(u64));
            for (0..span) |_| {
                const node = &tree.nodes.items[cursor.node];
                seen +%= node.keys[cursor.at];
                cursor.at += 1;
                if (cursor.at < node.count) continue;
                if (node.next == 0) break;
                cursor = .{ .node = node.next, .at = 0 };
            }
        }
        return seen;
    }
};

/// Moves rows in two trees, one of random keys and one of rising keys.
fn benchMoves(gpa: std.mem.Allocator, random: std.Random, rows: u64) !u64 {
    const Row = struct { a: u64, b: u64 };
    const table = try allocHuge(gpa, Row, rows);
    defer freeHuge(gpa, Row, table);
    var trees: [2]Tree = .{ try .init(gpa, 2 * rows), try .init(gpa, 2 * rows) };
    defer for (&trees) |*tree| tree.deinit();
    for (table, 0..) |*row, id| {
        row.* = .{ .a = random.int(u64), .b = id };
        try trees[0].put(row.a, @intCast(id));
        try trees[1].put(row.b, @intCast(id));
    }
    const started = cpuNs();
    for (0..rows) |n| {
        const id = random.uintLessThan(u32, @intCast(rows));
        const row = &table[id];
        trees[0].remove(row.a);
        trees[1].remove(row.b);
        row.* = .{ .a = random.int(u64), .b = rows + n };
        try trees[0].put(row.a, id);
        try trees[1].put(row.b, id);
    }
    report("B+tree: upsert, both keys move", rows, started);
    return table[0].a;
}

/// The keys in an array, in order.
fn benchArray(gpa: std.mem.Allocator, random: std.Random, rows: u64) !u64 {
    const keys = try allocHuge(gpa, u64, rows);
    defer freeHuge(gpa, u64, keys);
    random.bytes(std.mem.sliceAsBytes(keys));
    std.mem.sort(u64, keys, {}, std.sort.asc(u64));
    var started = cpuNs();
    var key: u64 = 1;
    for (0..rows) |_| {
        const at = std.sort.lowerBound(u64, keys, key, compareKeys);
        const seen = if (at < rows) keys[at] else 1;
        key = (seen +% key) *% 0x9e3779b97f4a7c15;
    }
    report("array: lookup, each depends on the last", rows, started);
    started = cpuNs();
    const span = rows / 100;
    for (0..100) |_| {
        const at = random.uintLessThan(u64, rows - span);
        for (keys[at..][0..span]) |one| key +%= one;
    }
    report("array: walk of 10,000, each key", rows / 100 * 100, started);
    return key;
}

fn compareKeys(wanted: u64, key: u64) std.math.Order {
    return std.math.order(wanted, key);
}

fn benchTree(gpa: std.mem.Allocator, rows: u64) !u64 {
    var random: std.Random.DefaultPrng = .init(1);
    var tree: Tree = try .init(gpa, rows);
    defer tree.deinit();
    var started = cpuNs();
    for (0..rows) |id| try tree.put(random.random().int(u64) ^ 1 << 63, @intCast(id));
    report("B+tree: insert, a random key", rows, started);
    started = cpuNs();
    var sum = tree.lookups(rows);
    report("B+tree: lookup, each depends on the last", rows, started);
    started = cpuNs();
    sum +%= tree.walks(random.random(), 100, rows / 100);
    report("B+tree: walk of 10,000, each key", rows / 100 * 100, started);
    sum +%= try benchMoves(gpa, random.random(), rows);
    sum +%= try benchArray(gpa, random.random(), rows);
    return sum;
}

const huge_page = 2 << 20;

/// Regions stand in huge pages where the kernel has some, so what they are compared with does too.
/// Nothing may write to the memory before it is asked for, as `alloc` does in a safe build.
fn allocHuge(gpa: std.mem.Allocator, T: type, count: usize) ![]T {
    const size = count * @sizeOf(T);
    const memory = gpa.rawAlloc(size, .fromByteUnits(huge_page), @returnAddress()) orelse
        return error.OutOfMemory;
    _ = std.os.linux.madvise(memory, size, std.os.linux.MADV.HUGEPAGE);
    return @as([*]T, @ptrCast(@alignCast(memory)))[0..count];
}

fn freeHuge(gpa: std.mem.Allocator, T: type, slice: []T) void {
    const bytes = std.mem.sliceAsBytes(slice);
    gpa.rawFree(@ptrCast(bytes), .fromByteUnits(huge_page), @returnAddress());
}

fn cpuNs() u64 {
    var now: std.os.linux.timespec = undefined;
    _ = std.os.linux.clock_gettime(.THREAD_CPUTIME_ID, &now);
    return @as(u64, @intCast(now.sec)) * std.time.ns_per_s + @as(u64, @intCast(now.nsec));
}

fn report(name: []const u8, operations: u64, started: u64) void {
    if (builtin.is_test) return;
    const ns = cpuNs() - started;
    const each = @as(f64, @floatFromInt(ns)) / @as(f64, @floatFromInt(operations));
    std.debug.print("{s:<40} {d:>9.1} ns  {d:>7.3} M/s\n", .{ name, each, 1000 / each });
}

pub fn main(init: std.process.Init) !void {
    var words = init.minimal.args.iterate();
    _ = words.next();
    const rows = if (words.next()) |text| try std.fmt.parseInt(u64, text, 10) else 1_000_000;
    const sum = try run(std.heap.page_allocator, rows);
    std.debug.print("check {x}\n", .{sum});
}

/// Measures with so many rows. Returns something of what was found.
fn run(gpa: std.mem.Allocator, rows: u64) !u64 {
    const size = @max(64 << 20, rows * 1024);
    const config: engine.region.Config = .forSize(size);
    const memory = try allocHuge(gpa, u8, config.size_max);
    defer freeHuge(gpa, u8, memory);
    @memset(memory, 0);
    const base: [*]align(huge_page) u8 = @alignCast(memory.ptr);
    try engine.region.format(base, config, .{});
    var region: engine.region.Region = .init(base);
    var table: TableInfo = try .init(0, "bench", &.{
        .init("id", .int64, 0, .{ .primary = true }),
        .init("a", .int64, 0, .{}),
        .init("b", .int64, 0, .{}),
    });
    for ([_]u8{ 1, 2 }) |number| _ = try table_indexes.add(&region, 0, .{
        .keys = .of(&table, &.{number}),
        .unique = false,
        .phase = .ready,
    });
    var indexes: table_indexes.TableIndexes = .init(&region, &table);
    table.indexes = &indexes;
    const claim = engine.session.processClaim(0, 1);
    var bench: Bench = .{
        .region = &region,
        .session = try .open(&region, gpa, claim),
        .table = &table,
        .indexes = &indexes,
        .random = .init(1),
        .rows = rows,
    };
    defer bench.session.close();
    const random = bench.random.random();
    var started = cpuNs();
    for (0..rows) |id| try bench.upsert(id, random.int(i64), @intCast(id));
    report("insert, a random key and a rising key", rows, started);
    started = cpuNs();
    var sum = bench.lookups(rows);
    report("lookup, each depends on the last", rows, started);
    started = cpuNs();
    sum +%= bench.walks(100, rows / 100);
    report("walk of 10,000, each entry", rows / 100 * 100, started);
    started = cpuNs();
    sum +%= try bench.scans(rows / 50, 50, false);
    report("scan of 50 in order, each row", rows / 50 * 50, started);
    started = cpuNs();
    sum +%= try bench.scans(rows / 50, 50, true);
    report("scan of 50 downwards, each row", rows / 50 * 50, started);
    started = cpuNs();
    sum +%= try bench.scans(100, rows / 100, false);
    report("scan of 10,000 in order, each row", rows / 100 * 100, started);
    started = cpuNs();
    for (0..rows) |n| {
        const id = random.uintLessThan(u64, rows);
        try bench.upsert(id, random.int(i64), @intCast(rows + n));
    }
    report("upsert, both keys move", rows, started);
    started = cpuNs();
    for (0..rows) |n| try bench.upsert(n % 1000, 5, 5);
    report("upsert, no key moves, 1000 hot rows", rows, started);
    sum +%= try benchTree(gpa, rows);
    return sum;
}

test "bench_index: runs at a small size" {
    _ = try run(std.testing.allocator, 300);
}
