//! The catalogue: which tables the region has.
//!
//! Each table is a descriptor in the region: a small header and the schema blob by which the table
//! was declared. `control.catalogue.tables[id]` names it. A descriptor does not change once it is
//! named, and tables are not removed, so a process decodes each descriptor once and keeps the
//! result for as long as it has the region open.
//!
//! Invariants:
//!
//!   * one process at a time declares, holding lock byte 1
//!   * storing `tables[id]` publishes table `id` and is the last step of declaring it; the table
//!     count and the version follow and are only hints to look
//!   * tables[0..n] are named before tables[n]
//!
//! Killed before the table is published: the bytes are not named, so the next declaration writes
//! over them, and a slab that was taken for them is found by its owner. Killed after it: the next
//! one to look counts the named tables, not the hint.

const std = @import("std");
const sync = @import("sync");
const limits = @import("limits.zig");
const status = @import("status.zig");
const catalogue_json = @import("catalogue_json.zig");
const region_module = @import("region.zig");
const schema_blob = @import("schema_blob.zig");
const slabs = @import("slabs.zig");
const index_key = @import("index_key.zig");
const ordered_index = @import("ordered_index.zig");
const table_indexes = @import("table_indexes.zig");
const table_info = @import("table_info.zig");
const ProcessMutex = @import("process_mutex.zig").ProcessMutex;
const assert = std.debug.assert;
const Detail = status.Detail;
const Region = region_module.Region;
const Schema = schema_blob.Schema;
const Shm = sync.Shm;
const IndexDeclaration = table_indexes.Declaration;
const TableIndexes = table_indexes.TableIndexes;

pub const Error = error{
    InvalidSchema,
    SchemaMismatch,
    UnknownTable,
    RegionFull,
    OutOfMemory,
    NotSupported,
    Corrupt,
};

/// The first bytes of a descriptor; the schema blob follows.
pub const DescriptorHeader = extern struct {
    blob_size: u32,
    table: u32,
    /// Of the blob.
    checksum: u64,

    comptime {
        assert(@sizeOf(DescriptorHeader) == 16);
    }
};

/// Descriptors stand one behind the other in slabs of their own. No slot allocates from these
/// slabs, and the state words of their blocks stay "unused": what is in use follows from the
/// descriptors that are named.
const slab_kind: slabs.SlabKind = .{
    .class = .catalogue,
    .size = slabs.size_classes.len - 1,
};
const slab_block = slabs.size_classes[slab_kind.size];
/// Owner of these slabs: a number that no slot has.
const slab_owner: u32 = std.math.maxInt(u32);

/// One process's view of the tables. Must not move. Reading is for any thread.
pub const Catalogue = struct {
    region: *const Region,
    gpa: std.mem.Allocator,
    /// Guards changes of `tables` and `count`.
    mutex: ProcessMutex,
    tables: [limits.table_count_max]*Schema,
    /// Tables decoded so far.
    count: Shm(u32),

    pub fn init(region: *const Region, gpa: std.mem.Allocator) Catalogue {
        return .{
            .region = region,
            .gpa = gpa,
            .mutex = .{},
            .tables = undefined,
            .count = .init(0),
        };
    }

    pub fn deinit(catalogue: *Catalogue) void {
        for (catalogue.tables[0..catalogue.count.load(.acquire)]) |schema| {
            if (schema.table.indexes) |indexes| catalogue.gpa.destroy(indexes);
            schema.deinit(catalogue.gpa);
            catalogue.gpa.destroy(schema);
        }
    }

    /// The table of that number. Valid until `deinit`.
    pub inline fn table(catalogue: *Catalogue, id: u32) Error!*const Schema {
        // Acquire: pairs with the release in `load`.
        if (id < catalogue.count.load(.acquire)) return catalogue.tables[id];
        return catalogue.tableSlow(id);
    }

    fn tableSlow(catalogue: *Catalogue, id: u32) Error!*const Schema {
        @branchHint(.cold);
        const count = try catalogue.refresh();
        return if (id < count) catalogue.tables[id] else error.UnknownTable;
    }

    /// Reads what was declared since the last time. Returns the number of tables.
    pub fn refresh(catalogue: *Catalogue) Error!u32 {
        catalogue.mutex.lock();
        defer catalogue.mutex.unlock();
        return catalogue.refreshLocked();
    }

    fn refreshLocked(catalogue: *Catalogue) Error!u32 {
        const line = &catalogue.region.control.catalogue;
        var id = catalogue.count.load(.monotonic);
        while (id < limits.table_count_max) : (id += 1) {
            // Acquire: pairs with the release by which `declare` publishes.
            const granule = line.tables[id].load(.acquire);
            if (granule == 0) break;
            try catalogue.load(id, granule);
        }
        return id;
    }

    /// Decodes a descriptor from a private copy.
    fn load(catalogue: *Catalogue, id: u32, granule: u32) Error!void {
        var header: DescriptorHeader = undefined;
        try catalogue.copy(granule, 0, std.mem.asBytes(&header));
        if (header.table != id or header.blob_size > schema_blob.size_max) return error.Corrupt;
        const padded = std.mem.alignForward(u32, header.blob_size, 8);
        const blob = try catalogue.gpa.alignedAlloc(u8, .@"8", padded);
        defer catalogue.gpa.free(blob);
        try catalogue.copy(granule, @sizeOf(DescriptorHeader), blob);
        if (checksum(blob[0..header.blob_size]) != header.checksum) return error.Corrupt;

        const schema = try catalogue.gpa.create(Schema);
        errdefer catalogue.gpa.destroy(schema);
        try catalogue.decode(schema, @intCast(id), blob[0..header.blob_size]);
        errdefer schema.deinit(catalogue.gpa);
        try catalogue.giveIndexes(schema);
        catalogue.add(schema);
    }

    fn decode(catalogue: *Catalogue, schema: *Schema, id: u16, blob: []const u8) Error!void {
        var detail: Detail = .{};
        const outcome = schema_blob.decode(schema, catalogue.gpa, id, blob, &detail);
        outcome catch |err| return switch (err) {
            error.InvalidSchema => error.Corrupt,
            error.OutOfMemory => error.OutOfMemory,
        };
    }

    fn giveIndexes(catalogue: *Catalogue, schema: *Schema) Error!void {
        const indexes = try catalogue.gpa.create(TableIndexes);
        indexes.* = .init(catalogue.region, &schema.table);
        schema.table.indexes = indexes;
    }

    fn add(catalogue: *Catalogue, schema: *Schema) void {
        const id = catalogue.count.load(.monotonic);
        assert(schema.table.id == id);
        catalogue.tables[id] = schema;
        // Release: whoever sees the count sees the table.
        catalogue.count.store(id + 1, .release);
    }

    fn copy(catalogue: *Catalogue, granule: u32, offset: u32, to: []align(8) u8) Error!void {
        const region = catalogue.region;
        const start = @as(u64, granule) * limits.granule_size + offset;
        const end = start + to.len;
        if (granule < region.slabs_first) return error.Corrupt;
        if (end > region.control.memory.committed.load(.acquire)) return error.Corrupt;
        sync.copyOut(to.ptr, region.base + start, to.len);
    }

    /// The table of that name, or null.
    pub fn find(catalogue: *Catalogue, name: []const u8) Error!?*const Schema {
        const count = try catalogue.refresh();
        return catalogue.findAmong(count, name);
    }

    fn findAmong(catalogue: *Catalogue, count: u32, name: []const u8) ?*const Schema {
        for (catalogue.tables[0..count]) |schema| {
            if (std.mem.eql(u8, schema.table.name(), name)) return schema;
        }
        return null;
    }

    /// Compares a declaration with the table of its name. Null if there is none.
    pub fn check(catalogue: *Catalogue, blob: []const u8, detail: *Detail) Error!?u32 {
        const count = try catalogue.refresh();
        var declared: Schema = undefined;
        try schema_blob.decode(&declared, catalogue.gpa, 0, blob, detail);
        defer declared.deinit(catalogue.gpa);
        const stored = catalogue.findAmong(count, declared.table.name()) orelse return null;
        if (schema_blob.mismatch(&declared, stored, detail)) return error.SchemaMismatch;
        return stored.table.id;
    }

    /// Creates the table that `blob` declares, or checks it against the one of that name. The
    /// caller holds lock byte 1, and no other thread of this process declares.
    pub fn declare(
        catalogue: *Catalogue,
        blob: []const u8,
        detail: *Detail,
    ) Error!u32 {
        catalogue.mutex.lock();
        defer catalogue.mutex.unlock();
        const count = try catalogue.refreshLocked();
        const declared = try catalogue.gpa.create(Schema);
        var keep = false;
        defer if (!keep) catalogue.gpa.destroy(declared);
        try schema_blob.decode(declared, catalogue.gpa, @intCast(count), blob, detail);
        defer if (!keep) declared.deinit(catalogue.gpa);

        var list: [table_indexes.count_max]IndexDeclaration = undefined;
        if (catalogue.findAmong(count, declared.table.name())) |stored| {
            if (schema_blob.mismatch(declared, stored, detail)) return error.SchemaMismatch;
            const wanted = try indexesOf(declared, &stored.table, .building, &list, detail);
            try catalogue.addIndexes(stored, wanted);
            return stored.table.id;
        }
        if (count == limits.table_count_max) {
            detail.set("the region has {d} tables and takes no more", .{count});
            return error.InvalidSchema;
        }
        // Before the table, which nobody can write to until then. What a killed process has left
        // there is not named by any table.
        catalogue.region.control.catalogue.indexes[count].store(0, .release);
        const wanted = try indexesOf(declared, &declared.table, .ready, &list, detail);
        for (wanted) |index| _ = try table_indexes.add(catalogue.region, @intCast(count), index);
        try catalogue.giveIndexes(declared);
        errdefer catalogue.gpa.destroy(declared.table.indexes.?);
        try catalogue.publish(count, blob);
        keep = true;
        catalogue.add(declared);
        return count;
    }

    /// Creates the next table in a region that nobody else sees yet, without any index. The blob
    /// comes from a file.
    pub fn restore(catalogue: *Catalogue, blob: []const u8, detail: *Detail) Error!*const Schema {
        catalogue.mutex.lock();
        defer catalogue.mutex.unlock();
        const count = try catalogue.refreshLocked();
        if (count == limits.table_count_max) return error.Corrupt;
        const schema = try catalogue.gpa.create(Schema);
        errdefer catalogue.gpa.destroy(schema);
        schema_blob.decode(schema, catalogue.gpa, @intCast(count), blob, detail) catch |err|
            return if (err == error.InvalidSchema) error.Corrupt else error.OutOfMemory;
        errdefer schema.deinit(catalogue.gpa);
        if (catalogue.findAmong(count, schema.table.name()) != null) return error.Corrupt;
        try catalogue.giveIndexes(schema);
        errdefer catalogue.gpa.destroy(schema.table.indexes.?);
        try catalogue.publish(count, blob);
        catalogue.add(schema);
        return schema;
    }

    /// Adds the indexes that a stored table does not have yet. They have to be built.
    fn addIndexes(
        catalogue: *Catalogue,
        stored: *const Schema,
        wanted: []const IndexDeclaration,
    ) Error!void {
        const region = catalogue.region;
        for (wanted) |index| {
            for (table_indexes.of(&stored.table)) |*known| {
                const same = std.meta.eql(known.keys, index.keys) and known.unique == index.unique;
                if (!same) continue;
                switch (known.phase(region)) {
                    // Still used by those who have begun before; no need to wait for them.
                    .dropping => continue,
                    .none => table_indexes.setPhase(region, known.root, .emptying),
                    else => {},
                }
                break;
            } else {
                _ = try table_indexes.add(region, @intCast(stored.table.id), index);
                table_indexes.announce(region);
            }
        }
    }

    fn publish(catalogue: *Catalogue, id: u32, blob: []const u8) Error!void {
        const size: u32 = @intCast(blob.len);
        const granule = try catalogue.place(id, granulesOf(size));
        const header: DescriptorHeader = .{
            .blob_size = size,
            .table = id,
            .checksum = checksum(blob),
        };
        const bytes: [*]u8 = @ptrCast(catalogue.region.pointer(u8, granule));
        sync.copyIn(bytes, std.mem.asBytes(&header), @sizeOf(DescriptorHeader));
        sync.copyIn(bytes + @sizeOf(DescriptorHeader), blob.ptr, size);

        const line = &catalogue.region.control.catalogue;
        // Release: pairs with the acquire in `refreshLocked`.
        line.tables[id].store(granule, .release);
        line.table_count.store(id + 1, .release);
        _ = line.version.fetchAdd(1, .release);
    }

    /// Where a descriptor of so many granules can be written: behind the last ones of a slab of
    /// ours, else in a new slab.
    fn place(catalogue: *Catalogue, count: u32, granules: u32) Error!u32 {
        const region = catalogue.region;
        if (granules > slab_block.granules) return error.InvalidSchema;
        const top = @min(region.control.memory.slab_top.load(.acquire) + 1, region.slab_count);
        for (region.slab_metas[0..top], 0..) |*meta, i| {
            if (meta.owner.load(.acquire) != slab_owner) continue;
            const slab: u32 = @intCast(i);
            if (meta.kind.load(.acquire) == 0) {
                // Whoever took it was killed before it said what for.
                meta.kind.store(slab_kind.bits(), .release);
                _ = region.control.memory.slab_top.fetchMax(slab + 1, .acq_rel);
            }
            const first = slabs.blockGranule(region, slab, slab_block, 0);
            const end = catalogue.endWithin(count, first);
            if (first + slab_block.granules - end >= granules) return end;
        }
        const kept = slabs.reserveOf(region);
        const slab = try slabs.takeUnused(region, slab_owner, slab_kind, kept) orelse
            return error.RegionFull;
        return slabs.blockGranule(region, slab, slab_block, 0);
    }

    /// The granule behind the last descriptor in the block that begins at `first`.
    fn endWithin(catalogue: *Catalogue, count: u32, first: u32) u32 {
        var end = first;
        for (catalogue.tables[0..count], 0..) |schema, id| {
            const at = catalogue.region.control.catalogue.tables[id].load(.acquire);
            if (at < first or at >= first + slab_block.granules) continue;
            end = @max(end, at + granulesOf(@intCast(schema.blob.len)));
        }
        return @min(end, first + slab_block.granules);
    }

    /// Raised by every change. Read it to learn whether the catalogue must be read again.
    pub fn version(catalogue: *const Catalogue) u32 {
        return catalogue.region.control.catalogue.version.load(.acquire);
    }

    /// Writes all tables as JSON.
    pub fn writeJson(
        catalogue: *Catalogue,
        writer: *std.Io.Writer,
    ) (Error || std.Io.Writer.Error)!void {
        const count = try catalogue.refresh();
        try writer.writeAll("{\"tables\":[");
        for (catalogue.tables[0..count], 0..) |schema, i| {
            if (i > 0) try writer.writeByte(',');
            try catalogue_json.writeTable(writer, schema);
        }
        try writer.writeAll("]}");
    }
};

/// The secondary indexes that a declaration asks for, each once.
fn indexesOf(
    declared: *const Schema,
    table: *const table_info.TableInfo,
    phase: ordered_index.Root.Phase,
    list: *[table_indexes.count_max]IndexDeclaration,
    detail: *Detail,
) Error![]const IndexDeclaration {
    var count: usize = 0;
    for (declared.table.slice(), 0..) |*column, i| {
        const flags = column.flags;
        // A primary key is unique and indexed by being one.
        if (flags.primary or !(flags.index or flags.unique)) continue;
        const number: [1]u8 = .{@intCast(i)};
        try append(list, &count, table, &number, flags.unique, phase, detail);
    }
    for (declared.compositeIndexes()) |*index| {
        try append(list, &count, table, index.slice(), index.unique, phase, detail);
    }
    return list[0..count];
}

fn append(
    list: *[table_indexes.count_max]IndexDeclaration,
    count: *usize,
    table: *const table_info.TableInfo,
    numbers: []const u8,
    unique: bool,
    phase: ordered_index.Root.Phase,
    detail: *Detail,
) Error!void {
    const keys: index_key.Layout = .of(table, numbers);
    for (list[0..count.*]) |*known| {
        if (std.meta.eql(known.keys, keys) and known.unique == unique) return;
    }
    if (count.* == list.len) {
        detail.set("table \"{s}\" has more than {d} indexes", .{ table.name(), list.len });
        return error.InvalidSchema;
    }
    list[count.*] = .{ .keys = keys, .unique = unique, .phase = phase };
    count.* += 1;
}

fn granulesOf(blob_size: u32) u32 {
    const bytes = @sizeOf(DescriptorHeader) + blob_size;
    return std.math.divCeil(u32, bytes, limits.granule_size) catch unreachable;
}

fn checksum(blob: []const u8) u64 {
    return std.hash.Wyhash.hash(0, blob);
}

const testing = std.testing;
const TestWriter = schema_blob.TestWriter;

/// A region in private memory.
const TestRegion = struct {
    memory: []align(4096) u8,
    region: Region,

    const size = 8 << 20;

    fn init(self: *TestRegion) !void {
        self.memory = try testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), size);
        @memset(self.memory, 0);
        try region_module.format(self.memory.ptr, .forSize(size), .{});
        self.region = .init(self.memory.ptr);
        self.region.control.memory.committed.store(size, .release);
    }

    fn deinit(self: *TestRegion) void {
        testing.allocator.free(self.memory);
    }
};

test "Catalogue.declare: publishes a table once, for every process" {
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    var a: Catalogue = .init(&shared.region, testing.allocator);
    defer a.deinit();
    var b: Catalogue = .init(&shared.region, testing.allocator);
    defer b.deinit();
    var detail: Detail = .{};
    var flights = try TestWriter.flights("flights");
    defer flights.deinit();
    var ships = try TestWriter.flights("ships");
    defer ships.deinit();

    try testing.expectError(error.UnknownTable, b.table(0));
    try testing.expectEqual(null, try b.check(flights.bytes.items, &detail));
    const blob = flights.bytes.items;
    try testing.expectEqual(@as(u32, 0), try a.declare(blob, &detail));
    try testing.expectEqual(@as(u32, 0), try b.declare(blob, &detail));
    const second = ships.bytes.items;
    try testing.expectEqual(@as(u32, 1), try b.declare(second, &detail));
    try testing.expectEqual(@as(?u32, 1), try a.check(second, &detail));
    try testing.expectEqual(@as(u32, 2), a.version());
    try testing.expectEqualStrings("ships", (try a.table(1)).table.name());
    try testing.expectEqualStrings("ships", (try a.find("ships")).?.table.name());
    try testing.expectEqual(null, try a.find("trains"));
    try testing.expectEqualSlices(u8, second, (try a.table(1)).blob);
}

test "Catalogue.declare: refuses other columns and torn declarations" {
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    var catalogue: Catalogue = .init(&shared.region, testing.allocator);
    defer catalogue.deinit();
    var detail: Detail = .{};
    var flights = try TestWriter.flights("flights");
    defer flights.deinit();
    _ = try catalogue.declare(flights.bytes.items, &detail);

    var other: TestWriter = try .init("flights", 1);
    defer other.deinit();
    try other.column("id", .text, 17, .{ .primary = true }, null);
    try other.indexes(&.{0});
    const bytes = other.bytes.items;
    try testing.expectError(error.SchemaMismatch, catalogue.declare(bytes, &detail));
    const torn = catalogue.declare(bytes[0 .. bytes.len - 1], &detail);
    try testing.expectError(error.InvalidSchema, torn);

    var ships = try TestWriter.flights("ships");
    defer ships.deinit();
    try testing.expectEqual(@as(u32, 1), catalogue.version());
}

test "Catalogue.declare: fills its slabs, reuses what a killed process took, and then is full" {
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    const region = &shared.region;
    var catalogue: Catalogue = .init(region, testing.allocator);
    defer catalogue.deinit();
    var detail: Detail = .{};
    // Killed between taking a slab and naming a descriptor in it, and before saying what for.
    const empty = (try slabs.takeUnused(region, slab_owner, slab_kind, 0)).?;
    region.slab_metas[empty + 1].owner.store(slab_owner, .release);

    const filler: [20_000]u8 = @splat('x');
    for (0..8) |i| {
        var name: [1]u8 = .{@intCast('a' + i)};
        var writer: TestWriter = try .init(&name, 2);
        defer writer.deinit();
        try writer.column("id", .int32, 0, .{ .primary = true }, null);
        try writer.column("c", .text, 20_000, .{}, &filler);
        try writer.indexes(&.{0});
        const blob = writer.bytes.items;
        if (i < 6) {
            // Three to a slab, the two slabs of the killed.
            try testing.expectEqual(@as(u32, @intCast(i)), try catalogue.declare(blob, &detail));
            const at = region.control.catalogue.tables[i].load(.acquire);
            try testing.expectEqual(empty + @as(u32, @intCast(i / 3)), region.slabOf(at));
            continue;
        }
        for (region.slab_metas[0..region.slab_count]) |*meta| {
            if (meta.owner.load(.acquire) == 0) meta.owner.store(1, .release);
        }
        try testing.expectError(error.RegionFull, catalogue.declare(blob, &detail));
    }
    try testing.expectEqual(@as(u32, 6), catalogue.version());
    var reader: Catalogue = .init(region, testing.allocator);
    defer reader.deinit();
    try testing.expectEqualStrings("f", (try reader.table(5)).table.name());
}

test "Catalogue.table: a damaged descriptor is corrupt and nothing worse" {
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    var writer: Catalogue = .init(&shared.region, testing.allocator);
    defer writer.deinit();
    var detail: Detail = .{};
    var flights = try TestWriter.flights("flights");
    defer flights.deinit();
    _ = try writer.declare(flights.bytes.items, &detail);
    const named = shared.region.control.catalogue.tables[0].load(.acquire);
    const start = @as(usize, named) * limits.granule_size;
    for (0..@sizeOf(DescriptorHeader) + flights.bytes.items.len) |at| {
        const byte = &shared.memory[start + at];
        byte.* ^= 0x41;
        defer byte.* ^= 0x41;
        var reader: Catalogue = .init(&shared.region, testing.allocator);
        defer reader.deinit();
        try testing.expectError(error.Corrupt, reader.table(0));
    }
    const granule = &shared.region.control.catalogue.tables[0];
    for ([_]u32{ 1, std.math.maxInt(u32), 8 << 20 >> 6 }) |wild| {
        granule.store(wild, .release);
        var reader: Catalogue = .init(&shared.region, testing.allocator);
        defer reader.deinit();
        try testing.expectError(error.Corrupt, reader.table(0));
    }
}

test "Catalogue.writeJson: says all that a reader without declarations needs" {
    var shared: TestRegion = undefined;
    try shared.init();
    defer shared.deinit();
    var catalogue: Catalogue = .init(&shared.region, testing.allocator);
    defer catalogue.deinit();
    var detail: Detail = .{};
    var blob: TestWriter = try .init("q\"t", 4);
    defer blob.deinit();
    const infinity: u64 = @bitCast(std.math.inf(f64));
    try blob.column("id", .int64, 0, .{ .primary = true }, null);
    try blob.column("b", .bytes, 40, .{ .nullable = true }, "\x00\xff");
    try blob.column("n", .int64, 0, .{ .bigint = true }, &@as([8]u8, @splat(0xff)));
    try blob.column("f", .float64, 0, .{ .index = true }, std.mem.asBytes(&infinity));
    try blob.indexes(&.{ 1, 2, 2, 3, 0 });
    _ = try catalogue.declare(blob.bytes.items, &detail);

    var buffer: [2048]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    try catalogue.writeJson(&writer);
    const column = "\"index\":false,\"unique\":false";
    try testing.expectEqualStrings(
        "{\"tables\":[{\"id\":0,\"name\":\"q\\\"t\",\"fixedSize\":28,\"payloadSizeMax\":72," ++
            "\"primaryKey\":0,\"columns\":[" ++
            "{\"name\":\"id\",\"kind\":\"int64\",\"capacity\":0,\"inline\":false,\"offset\":0," ++
            "\"nullable\":false,\"primary\":true," ++ column ++ ",\"bigint\":false}," ++
            "{\"name\":\"b\",\"kind\":\"bytes\",\"capacity\":40,\"inline\":false,\"offset\":24," ++
            "\"nullable\":true,\"primary\":false," ++ column ++ ",\"bigint\":false," ++
            "\"default\":\"AP8=\"}," ++
            "{\"name\":\"n\",\"kind\":\"int64\",\"capacity\":0,\"inline\":false,\"offset\":8," ++
            "\"nullable\":false,\"primary\":false," ++ column ++ ",\"bigint\":true," ++
            "\"default\":\"-1\"}," ++
            "{\"name\":\"f\",\"kind\":\"float64\",\"capacity\":0,\"inline\":false,\"offset\":16," ++
            "\"nullable\":false,\"primary\":false,\"index\":true,\"unique\":false," ++
            "\"bigint\":false,\"default\":1e999}],\"indexes\":[{\"id\":0,\"columns\":[3]," ++
            "\"unique\":false},{\"id\":1,\"columns\":[2,3],\"unique\":false}]}]}",
        writer.buffered(),
    );
}
