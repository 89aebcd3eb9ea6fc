//! The catalogue as bytes: what a snapshot and the log say about tables and their indexes.
//!
//! The log has an image at the beginning of each segment and wherever the catalogue changed, a
//! snapshot has one at its beginning. A later image holds everything that an earlier one holds,
//! because tables and indexes are only ever added, at the end. Little endian, packed:
//!
//!     u8 format = 1
//!     u8 number of tables, then for each in the order of their numbers
//!         u32 size | the schema blob (schema_blob.zig)
//!         u8 number of indexes, then for each in the order of their numbers
//!             u8 flags: 1 unique, 2 given up
//!             u8 number of columns | their numbers
//!
//! An index that was still being built counts as one that is kept: whoever reads the image builds
//! all indexes anyway. One that could not become unique is given up and keeps its number.
//!
//! An image is input. `apply` takes it against a region that nobody else sees yet, and stops at the
//! first byte that is wrong; the region is then thrown away.

const std = @import("std");
const catalogue_module = @import("catalogue.zig");
const emulation = @import("emulation.zig");
const index_key = @import("index_key.zig");
const limits = @import("limits.zig");
const region_module = @import("region.zig");
const schema_blob = @import("schema_blob.zig");
const status = @import("status.zig");
const table_indexes = @import("table_indexes.zig");
const Catalogue = catalogue_module.Catalogue;
const Detail = status.Detail;
const Region = region_module.Region;
const Schema = schema_blob.Schema;

pub const Error = catalogue_module.Error;

const format_current = 1;
const flag_unique: u8 = 1;
const flag_given_up: u8 = 2;

/// Bytes of the largest image: every table with a blob and indexes of the largest size.
pub const size_max = 2 + limits.table_count_max *
    (4 + schema_blob.size_max + 1 + table_indexes.count_max * (2 + index_key.column_count_max));

/// The tables and indexes of a region, as bytes. The caller frees them.
///
/// Read `control.catalogue.version` before the call to learn later whether the image is still
/// complete: whatever is announced after that reading may be in the image or not.
pub fn encode(region: *const Region, gpa: std.mem.Allocator) Error![]u8 {
    var catalogue: Catalogue = .init(region, gpa);
    defer catalogue.deinit();
    const count = try catalogue.refresh();
    var bytes: std.ArrayList(u8) = .empty;
    errdefer bytes.deinit(gpa);
    try bytes.appendSlice(gpa, &.{ format_current, @intCast(count) });
    for (catalogue.tables[0..count]) |schema| try encodeTable(region, gpa, schema, &bytes);
    return bytes.toOwnedSlice(gpa);
}

/// The image of a region with one table and the indexes that its declaration asks for on single
/// columns. For those who write files without a region.
pub fn ofBlob(gpa: std.mem.Allocator, schema: *const Schema) error{OutOfMemory}![]u8 {
    var bytes: std.ArrayList(u8) = .empty;
    errdefer bytes.deinit(gpa);
    const size: u32 = @intCast(schema.blob.len);
    try bytes.appendSlice(gpa, &.{ format_current, 1 });
    try bytes.appendSlice(gpa, std.mem.asBytes(&std.mem.nativeToLittle(u32, size)));
    try bytes.appendSlice(gpa, schema.blob);
    const count_at = bytes.items.len;
    try bytes.append(gpa, 0);
    for (schema.table.slice(), 0..) |*column, number| {
        if (!column.flags.index) continue;
        try bytes.appendSlice(gpa, &.{ 0, 1, @intCast(number) });
        bytes.items[count_at] += 1;
    }
    return bytes.toOwnedSlice(gpa);
}

fn encodeTable(
    region: *const Region,
    gpa: std.mem.Allocator,
    schema: *const Schema,
    bytes: *std.ArrayList(u8),
) Error!void {
    const size: u32 = @intCast(schema.blob.len);
    try bytes.appendSlice(gpa, std.mem.asBytes(&std.mem.nativeToLittle(u32, size)));
    try bytes.appendSlice(gpa, schema.blob);
    const indexes = table_indexes.of(&schema.table);
    try bytes.append(gpa, @intCast(indexes.len));
    for (indexes) |*index| {
        const unique = if (index.unique) flag_unique else 0;
        const given_up = if (index.phase(region).isKept()) 0 else flag_given_up;
        try bytes.appendSlice(gpa, &.{ unique | given_up, @intCast(index.keys.slice().len) });
        for (index.keys.slice()) |*part| try bytes.append(gpa, part.number);
    }
}

/// Tables in an image, or null if it is not one.
pub fn tableCount(image: []const u8) ?u8 {
    if (image.len < 2 or image[0] != format_current) return null;
    return if (image[1] <= limits.table_count_max) image[1] else null;
}

/// Adds to a region what an image has and the region has not. Indexes are added empty and in phase
/// `building`; `detail` says what is wrong with the image. An image that is older than what the
/// region has already changes nothing.
///
/// Fails with `error.Corrupt` if the image is damaged, or neither a continuation nor a beginning of
/// what the region has.
pub fn apply(catalogue: *Catalogue, image: []const u8, detail: *Detail) Error!void {
    var reader: Reader = .{ .bytes = image };
    applyAll(catalogue, &reader, detail) catch |err| {
        if (err == error.Corrupt and detail.len == 0) {
            detail.set("the description of the tables is damaged at byte {d} of {d}", .{
                reader.at, image.len,
            });
        }
        return err;
    };
}

fn applyAll(catalogue: *Catalogue, reader: *Reader, detail: *Detail) Error!void {
    detail.clear();
    if (try reader.byte() != format_current) return error.Corrupt;
    const count = try reader.byte();
    const known = try catalogue.refresh();
    if (count > limits.table_count_max) return error.Corrupt;
    for (0..count) |id| {
        const size = std.mem.readInt(u32, (try reader.take(4))[0..4], .little);
        const blob = try reader.take(size);
        const schema = if (id < known)
            try catalogue.table(@intCast(id))
        else
            try catalogue.restore(blob, detail);
        if (!std.mem.eql(u8, schema.blob, blob)) return error.Corrupt;
        try applyIndexes(catalogue, reader, schema);
    }
    if (reader.at != reader.bytes.len) return error.Corrupt;
}

fn applyIndexes(catalogue: *Catalogue, reader: *Reader, schema: *const Schema) Error!void {
    const region = catalogue.region;
    const table = &schema.table;
    const count = try reader.byte();
    const known = table_indexes.of(table);
    if (count > table_indexes.count_max) return error.Corrupt;
    for (0..count) |number| {
        const flags = try reader.byte();
        if (flags > flag_unique | flag_given_up) return error.Corrupt;
        const columns = try reader.take(try reader.byte());
        if (columns.len == 0 or columns.len > index_key.column_count_max) return error.Corrupt;
        for (columns) |column| if (column >= table.column_count) return error.Corrupt;

        const wanted: table_indexes.Declaration = .{
            .keys = .of(table, columns),
            .unique = flags & flag_unique != 0,
            .phase = if (flags & flag_given_up != 0) .none else .building,
        };
        if (number < known.len) {
            const index = &known[number];
            const same = std.meta.eql(index.keys, wanted.keys) and index.unique == wanted.unique;
            if (!same) return error.Corrupt;
            // Given up or built again since the image before.
            table_indexes.setPhase(region, index.root, wanted.phase);
            continue;
        }
        _ = table_indexes.add(region, @intCast(table.id), wanted) catch |err| return switch (err) {
            error.InvalidSchema => error.Corrupt,
            else => |other| other,
        };
    }
    if (count > known.len) table_indexes.announce(region);
}

const Reader = struct {
    bytes: []const u8,
    at: usize = 0,

    fn take(reader: *Reader, count: usize) error{Corrupt}![]const u8 {
        if (count > reader.bytes.len - reader.at) return error.Corrupt;
        defer reader.at += count;
        return reader.bytes[reader.at..][0..count];
    }

    fn byte(reader: *Reader) error{Corrupt}!u8 {
        return (try reader.take(1))[0];
    }
};

const testing = std.testing;
const TestWriter = schema_blob.TestWriter;

/// Two regions in private memory, each with its catalogue.
const TestPair = struct {
    memory: [2][]align(4096) u8,
    regions: [2]Region,
    catalogues: [2]Catalogue,

    const size = 4 << 20;

    fn init(pair: *TestPair) !void {
        for (0..2) |i| {
            pair.memory[i] = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), size);
            @memset(pair.memory[i], 0);
            try region_module.format(pair.memory[i].ptr, .forSize(size), .{});
            pair.regions[i] = .init(pair.memory[i].ptr);
            pair.regions[i].control.memory.committed.store(size, .release);
            pair.catalogues[i] = .init(&pair.regions[i], testing.allocator);
        }
    }

    fn deinit(pair: *TestPair) void {
        for (0..2) |i| {
            pair.catalogues[i].deinit();
            testing.allocator.free(pair.memory[i]);
        }
    }

    /// Declares a table in the first region. Its columns are those of `TestWriter.flights`.
    fn declare(pair: *TestPair, name: []const u8) !u32 {
        var writer = try TestWriter.flights(name);
        defer writer.deinit();
        var detail: Detail = .{};
        return pair.catalogues[0].declare(writer.bytes.items, &detail);
    }

    fn addIndex(pair: *TestPair, table: u32, columns: []const u8, unique: bool) !u32 {
        const schema = try pair.catalogues[0].table(table);
        const root = try table_indexes.add(&pair.regions[0], @intCast(table), .{
            .keys = .of(&schema.table, columns),
            .unique = unique,
            .phase = .building,
        });
        table_indexes.announce(&pair.regions[0]);
        return root;
    }

    /// Brings the second region up to the first, and compares their images.
    fn follow(pair: *TestPair) !void {
        const image = try encode(&pair.regions[0], testing.allocator);
        defer testing.allocator.free(image);
        try testing.expect(image.len <= size_max);
        var detail: Detail = .{};
        try apply(&pair.catalogues[1], image, &detail);
        const again = try encode(&pair.regions[1], testing.allocator);
        defer testing.allocator.free(again);
        try testing.expectEqualSlices(u8, image, again);
    }
};

test "apply: makes the same tables and indexes, and adds what came later" {
    var pair: TestPair = undefined;
    try pair.init();
    defer pair.deinit();
    try pair.follow();
    const flights = try pair.declare("flights");
    try pair.follow();
    const root = try pair.addIndex(flights, &.{ 2, 1 }, true);
    try pair.follow();
    table_indexes.setPhase(&pair.regions[0], root, .none);
    _ = try pair.declare("ships");
    try pair.follow();

    const schema = try pair.catalogues[1].table(flights);
    const indexes = table_indexes.of(&schema.table);
    const last = &indexes[indexes.len - 1];
    try testing.expect(last.unique);
    try testing.expectEqual(.none, last.phase(&pair.regions[1]));
    for (indexes[0 .. indexes.len - 1]) |*index| {
        try testing.expectEqual(.building, index.phase(&pair.regions[1]));
    }
    try testing.expectEqual(2, last.keys.parts[0].number);
    try testing.expectEqual(2, tableCount(&.{ 1, 2 }).?);
}

test "apply: refuses an image that contradicts what is there" {
    var pair: TestPair = undefined;
    try pair.init();
    defer pair.deinit();
    var other = try TestWriter.flights("others");
    defer other.deinit();
    var detail: Detail = .{};
    _ = try pair.catalogues[1].declare(other.bytes.items, &detail);
    const empty = try encode(&pair.regions[0], testing.allocator);
    defer testing.allocator.free(empty);
    try apply(&pair.catalogues[1], empty, &detail);
    _ = try pair.declare("flights");
    const image = try encode(&pair.regions[0], testing.allocator);
    defer testing.allocator.free(image);
    try testing.expectError(error.Corrupt, apply(&pair.catalogues[1], image, &detail));
    try testing.expect(detail.len > 0);
}

test "apply: damaged images are refused or harmless" {
    try emulation.skip();
    var pair: TestPair = undefined;
    try pair.init();
    defer pair.deinit();
    const flights = try pair.declare("flights");
    _ = try pair.addIndex(flights, &.{ 2, 1 }, false);
    const image = try encode(&pair.regions[0], testing.allocator);
    defer testing.allocator.free(image);
    const size = limits.region_size_min;
    const memory = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), size);
    defer testing.allocator.free(memory);
    for (0..image.len) |at| {
        for ([_]u8{ 1, 0x80 }) |flip| {
            image[at] ^= flip;
            defer image[at] ^= flip;
            try expectContained(memory, image);
        }
        try expectContained(memory, image[0..at]);
    }
}

/// Applies an image to an empty region. It may fail, but only in the ways that it says.
fn expectContained(memory: []align(4096) u8, image: []const u8) !void {
    @memset(memory, 0);
    try region_module.format(memory.ptr, .forSize(memory.len), .{});
    const region: Region = .init(memory.ptr);
    region.control.memory.committed.store(memory.len, .release);
    var catalogue: Catalogue = .init(&region, testing.allocator);
    defer catalogue.deinit();
    var detail: Detail = .{};
    apply(&catalogue, image, &detail) catch |err| {
        try testing.expect(err == error.Corrupt or err == error.RegionFull);
    };
}
