//! Snapshots: the rows of all tables in one file, from which recovery starts.
//!
//! A snapshot is fuzzy. It was written while others committed, so each row stands there with the
//! position of its version, which is any position between two that the file names: everything
//! that was committed up to C0 is in it, and nothing behind C1. The log from C0 on makes it exact.
//!
//! `snapshot-<C0>.dat`, little endian:
//!
//!     header, 4096 bytes
//!     catalogue image (catalogue_image.zig), zero filled to a multiple of 4096
//!     blocks of 65,536 bytes; the last one ends where its rows end
//!     footer, 64 bytes
//!
//!     header  +0     magic u32 = 0xAEB0_54A9      footer  +0   magic u32 = 0xAEB0_F007
//!             +4     format u32 = 1                       +4   checksum u32, of what follows
//!             +8     store_uuid, 16 bytes                 +8   C0 u64
//!             +24    incarnation u64                      +16  C1 u64
//!             +32    C0 u64                               +24  L1 u64
//!             +40    catalogue_size u32                   +32  rows u64
//!             +44    catalogue_checksum u32               +40  blocks u64
//!             +48    zeros                                +48  file_size u64
//!             +4092  checksum u32, of what stands before  +56  begins_log u32, 0 or 1
//!                                                         +60  leader_epoch u32
//!
//!     block   +0   checksum u32, of what follows, as far as `size` goes
//!             +4   size u32: bytes used, this header included; a multiple of 8
//!             +8   rows u32
//!             +12  zero u32
//!             +16  rows: position u64 | null_mask u64 | table u8 | 0 u8 | payload_words u16 |
//!                  0 u32 | payload_words * 8 bytes of payload as in the region (table_info.zig)
//!
//! All checksums are CRC-32C. Those of blocks and of the footer begin with the store's uuid, C0 and
//! the number of the block, so that no block counts in another place or another file.
//!
//! L1 is the last position that was logged when the snapshot was finished, and the log was on disk
//! up to it: a log that ends before L1 has lost something. It is 0 if there was no log.
//!
//! With `begins_log` the snapshot stands in the place of a log that was lost. C0 is C1, nothing
//! behind it was ever logged, and segments that come before `incarnation` and `leader_epoch` in the
//! order of `log_segment.Header.isBefore` have no say.
//!
//! A snapshot is written under the name `snapshot.tmp`, synced, and renamed. Killed anywhere before
//! the rename: the next writer takes the file. Killed after it: the snapshot is complete.
//!
//! What is read is input. A byte that is wrong is `error.Corrupt`, or lies where nobody looks.

const std = @import("std");
const crc32c = @import("crc32c.zig");
const file_layer = @import("file_layer.zig");
const catalogue_image = @import("catalogue_image.zig");
const log_segment = @import("log_segment.zig");
const row_module = @import("row.zig");
const table_info = @import("table_info.zig");
const Files = file_layer.Files;
const Handle = file_layer.Handle;
const Position = @import("version.zig").Position;
const RowRef = row_module.RowRef;
const assert = std.debug.assert;

pub const Error = file_layer.Error || error{ Corrupt, OutOfMemory };

const header_magic: u32 = 0xAEB0_54A9;
const footer_magic: u32 = 0xAEB0_F007;
const format_current: u32 = 1;
const page_size = 4096;
pub const block_size = 64 * 1024;
/// Blocks that a writer collects before it writes them.
const blocks_at_once = 16;
pub const temporary_name = "snapshot.tmp";

pub const Header = extern struct {
    magic: u32 = header_magic,
    format: u32 = format_current,
    store_uuid: [16]u8,
    incarnation: u64,
    /// Everything that was committed at or before it is in the snapshot.
    start: Position,
    catalogue_size: u32,
    catalogue_checksum: u32,
    reserved: [page_size - 52]u8 = @splat(0),
    checksum: u32 = 0,

    comptime {
        assert(@sizeOf(Header) == page_size);
    }

    fn sum(header: *const Header) u32 {
        return crc32c.update(0, std.mem.asBytes(header)[0..@offsetOf(Header, "checksum")]);
    }
};

pub const Footer = extern struct {
    magic: u32 = footer_magic,
    checksum: u32 = 0,
    start: Position,
    /// Nothing that was committed behind it is in the snapshot.
    end: Position,
    /// The log holds everything up to this position that was committed; see the top of the file.
    logged: Position,
    rows: u64,
    blocks: u64,
    file_size: u64,
    /// 1: it stands in the place of a log that was lost.
    begins_log: u32,
    /// Then: the first leader of its incarnation whose segments count. Else 0.
    leader_epoch: u32,

    comptime {
        assert(@sizeOf(Footer) == 64);
    }

    fn sum(footer: *const Footer, seed: u32) u32 {
        return crc32c.update(seed, std.mem.asBytes(footer)[8..]);
    }
};

const BlockHeader = extern struct {
    checksum: u32 = 0,
    size: u32,
    rows: u32,
    reserved: u32 = 0,
};

const RowHeader = extern struct {
    position: Position,
    null_mask: u64,
    table: u8,
    reserved_a: u8 = 0,
    payload_words: u16,
    reserved_b: u32 = 0,

    comptime {
        assert(@sizeOf(RowHeader) == 24);
    }
};

const row_size_max = @sizeOf(RowHeader) + table_info.row_payload_size_max;

comptime {
    assert(@sizeOf(BlockHeader) + row_size_max <= block_size);
    assert(table_info.row_payload_size_max % 8 == 0);
}

/// Begins every checksum of one file.
fn seedOf(uuid: [16]u8, start: Position) u32 {
    return crc32c.update(crc32c.update(0, &uuid), std.mem.asBytes(&start));
}

fn blockSeed(seed: u32, number: u64) u32 {
    return crc32c.update(seed, std.mem.asBytes(&number));
}

pub const Name = struct {
    buffer: [file_layer.name_size_max]u8,
    len: usize,

    pub fn of(start: Position) Name {
        var name: Name = .{ .buffer = undefined, .len = 0 };
        const text = std.fmt.bufPrint(&name.buffer, "snapshot-{d:0>20}.dat", .{start}) catch
            unreachable; // 33 bytes
        name.len = text.len;
        return name;
    }

    pub fn slice(name: *const Name) []const u8 {
        return name.buffer[0..name.len];
    }
};

/// The C0 in the name of a snapshot, or null if it is not the name of one.
pub fn startOf(name: []const u8) ?Position {
    const prefix = "snapshot-";
    const suffix = ".dat";
    if (name.len != prefix.len + 20 + suffix.len) return null;
    if (!std.mem.startsWith(u8, name, prefix) or !std.mem.endsWith(u8, name, suffix)) return null;
    return std.fmt.parseInt(Position, name[prefix.len..][0..20], 10) catch null;
}

/// The snapshots of a directory by their C0, newest first. The caller frees them.
pub fn list(files: Files, gpa: std.mem.Allocator) Error![]Position {
    var found: Found = .{ .gpa = gpa };
    errdefer found.starts.deinit(gpa);
    try files.each(&found, Found.visit);
    if (found.failed) return error.OutOfMemory;
    std.mem.sort(Position, found.starts.items, {}, std.sort.desc(Position));
    return found.starts.toOwnedSlice(gpa);
}

const Found = struct {
    gpa: std.mem.Allocator,
    starts: std.ArrayList(Position) = .empty,
    failed: bool = false,

    fn visit(found: *Found, name: []const u8) void {
        const start = startOf(name) orelse return;
        found.starts.append(found.gpa, start) catch {
            found.failed = true;
        };
    }
};

/// Writes one snapshot. `create`, `add` and `flush` as often as needed, `finish`; or `abandon`.
pub const Writer = struct {
    files: Files,
    gpa: std.mem.Allocator,
    file: Handle,
    /// The file was there before, and stays if nothing comes of it: it holds room on a full disk.
    is_kept: bool,
    header: Header,
    seed: u32,
    /// Complete blocks, and the one that is being filled.
    buffer: []align(8) u8,
    /// Bytes before the block that is being filled.
    complete: usize = 0,
    /// Bytes used of that block, its header included.
    used: usize = @sizeOf(BlockHeader),
    rows_in_block: u32 = 0,
    /// Bytes written to the file.
    offset: u64,
    blocks: u64 = 0,
    rows: u64 = 0,

    /// How far it goes, and what the log has to do with it.
    pub const Ending = struct {
        /// C1.
        position: Position,
        /// 0, or a position up to which the log is on disk.
        logged: Position,
        /// Not null: segments of leaders before this epoch do not count any more.
        begins_log: ?u32 = null,
    };

    /// What the file is about.
    pub const Start = struct { store_uuid: [16]u8, incarnation: u64, position: Position };

    pub fn create(
        files: Files,
        gpa: std.mem.Allocator,
        start: Start,
        catalogue: []const u8,
    ) Error!Writer {
        const padded = std.mem.alignForward(usize, catalogue.len, page_size);
        const size = @max(blocks_at_once * block_size, page_size + padded);
        const buffer = try gpa.alignedAlloc(u8, .@"8", size);
        errdefer gpa.free(buffer);
        const kept: ?Handle = files.open(temporary_name, .write) catch |err| kept: {
            if (err != error.NotExist) try files.unlink(temporary_name);
            break :kept null;
        };
        const file = kept orelse try files.open(temporary_name, .create_exclusive);
        errdefer if (kept == null) files.unlink(temporary_name) catch {};
        errdefer files.close(file);

        var header: Header = .{
            .store_uuid = start.store_uuid,
            .incarnation = start.incarnation,
            .start = start.position,
            .catalogue_size = @intCast(catalogue.len),
            .catalogue_checksum = crc32c.update(0, catalogue),
        };
        header.checksum = header.sum();
        @memcpy(buffer[0..page_size], std.mem.asBytes(&header));
        @memcpy(buffer[page_size..][0..catalogue.len], catalogue);
        @memset(buffer[page_size + catalogue.len .. page_size + padded], 0);
        try files.writeAt(file, buffer[0 .. page_size + padded], 0);
        return .{
            .files = files,
            .gpa = gpa,
            .file = file,
            .is_kept = kept != null,
            .header = header,
            .seed = seedOf(start.store_uuid, start.position),
            .buffer = buffer,
            .offset = page_size + padded,
        };
    }

    /// Whether `add` can be called. If not, `flush` makes room.
    pub fn hasRoom(writer: *const Writer) bool {
        // The row may not fit into the block, and then needs all of the next one.
        return writer.complete + 2 * block_size <= blocks_at_once * block_size;
    }

    /// Adds a row of a table. Writes nothing, so that the caller may be pinned.
    pub fn add(writer: *Writer, table: u8, position: Position, row: RowRef) void {
        assert(writer.hasRoom());
        assert(row.size % 8 == 0 and row.size <= table_info.row_payload_size_max);
        const size = @sizeOf(RowHeader) + row.size;
        if (writer.used + size > block_size) writer.endBlock(block_size);
        const header: RowHeader = .{
            .position = position,
            .null_mask = row.null_mask,
            .table = table,
            .payload_words = @intCast(row.size / 8),
        };
        const to = writer.buffer[writer.complete + writer.used ..][0..size];
        @memcpy(to[0..@sizeOf(RowHeader)], std.mem.asBytes(&header));
        @memcpy(to[@sizeOf(RowHeader)..], row.payload[0..row.size]);
        writer.used += size;
        writer.rows_in_block += 1;
        writer.rows += 1;
    }

    /// Completes the block that is being filled, which takes `stride` bytes of the file.
    fn endBlock(writer: *Writer, stride: usize) void {
        const block = writer.buffer[writer.complete..][0..block_size];
        var header: BlockHeader = .{
            .size = @intCast(writer.used),
            .rows = writer.rows_in_block,
        };
        @memcpy(block[0..@sizeOf(BlockHeader)], std.mem.asBytes(&header));
        const seed = blockSeed(writer.seed, writer.blocks);
        header.checksum = crc32c.update(seed, block[4..writer.used]);
        @memcpy(block[0..4], std.mem.asBytes(&header.checksum));
        @memset(block[writer.used..], 0);
        writer.complete += stride;
        writer.blocks += 1;
        writer.used = @sizeOf(BlockHeader);
        writer.rows_in_block = 0;
    }

    /// Writes the blocks that are complete. Returns how many bytes.
    pub fn flush(writer: *Writer) Error!usize {
        const written = writer.complete;
        if (written == 0) return 0;
        try writer.files.writeAt(writer.file, writer.buffer[0..written], writer.offset);
        writer.offset += written;
        std.mem.copyForwards(u8, writer.buffer, writer.buffer[written..][0..writer.used]);
        writer.complete = 0;
        return written;
    }

    /// Completes the snapshot and gives it its name. Afterwards it is on disk, and the writer is
    /// gone.
    pub fn finish(writer: *Writer, ending: Ending) Error!Footer {
        errdefer writer.abandon();
        assert(ending.position >= writer.header.start);
        if (ending.begins_log) |_| assert(ending.position == writer.header.start);
        if (writer.rows_in_block > 0) {
            _ = try writer.flush(); // makes room for the footer
            writer.endBlock(writer.used);
        }
        _ = try writer.flush();
        var footer: Footer = .{
            .start = writer.header.start,
            .end = ending.position,
            .logged = ending.logged,
            .rows = writer.rows,
            .blocks = writer.blocks,
            .file_size = writer.offset + @sizeOf(Footer),
            .begins_log = @intFromBool(ending.begins_log != null),
            .leader_epoch = ending.begins_log orelse 0,
        };
        footer.checksum = footer.sum(writer.seed);
        try writer.files.writeAt(writer.file, std.mem.asBytes(&footer), writer.offset);
        if (writer.is_kept) try writer.files.cut(writer.file, footer.file_size);
        try writer.files.sync(writer.file);
        const name: Name = .of(writer.header.start);
        try writer.files.rename(temporary_name, name.slice());
        try writer.files.syncDirectory();
        writer.files.close(writer.file);
        writer.gpa.free(writer.buffer);
        return footer;
    }

    /// Gives up, and leaves no debris if it can.
    pub fn abandon(writer: *Writer) void {
        writer.files.close(writer.file);
        if (!writer.is_kept) writer.files.unlink(temporary_name) catch {};
        writer.gpa.free(writer.buffer);
    }
};

/// An open snapshot whose header, catalogue and footer were checked; its blocks are checked as they
/// are read. Several threads may read at once.
pub const Snapshot = struct {
    files: Files,
    gpa: std.mem.Allocator,
    file: Handle,
    header: Header,
    footer: Footer,
    catalogue: []u8,
    seed: u32,
    blocks_offset: u64,

    /// Opens the snapshot of that C0. `error.Corrupt` if anything is wrong with it.
    pub fn open(
        files: Files,
        gpa: std.mem.Allocator,
        store_uuid: [16]u8,
        start: Position,
    ) Error!Snapshot {
        const name: Name = .of(start);
        const file = try files.open(name.slice(), .read);
        errdefer files.close(file);
        var header: Header = undefined;
        try readAll(files, file, std.mem.asBytes(&header), 0);
        if (header.magic != header_magic or header.format != format_current) return error.Corrupt;
        if (header.checksum != header.sum() or header.start != start) return error.Corrupt;
        if (!std.mem.eql(u8, &header.store_uuid, &store_uuid)) return error.Corrupt;
        if (header.catalogue_size > catalogue_image.size_max) return error.Corrupt;

        const catalogue = try gpa.alloc(u8, header.catalogue_size);
        errdefer gpa.free(catalogue);
        try readAll(files, file, catalogue, page_size);
        if (crc32c.update(0, catalogue) != header.catalogue_checksum) return error.Corrupt;
        const padded = std.mem.alignForward(u64, header.catalogue_size, page_size);
        var snapshot: Snapshot = .{
            .files = files,
            .gpa = gpa,
            .file = file,
            .header = header,
            .footer = undefined,
            .catalogue = catalogue,
            .seed = seedOf(store_uuid, start),
            .blocks_offset = page_size + padded,
        };
        try snapshot.readFooter();
        return snapshot;
    }

    fn readFooter(snapshot: *Snapshot) Error!void {
        const footer = &snapshot.footer;
        const size = try snapshot.files.size(snapshot.file);
        if (size < snapshot.blocks_offset + @sizeOf(Footer)) return error.Corrupt;
        const at = size - @sizeOf(Footer);
        try readAll(snapshot.files, snapshot.file, std.mem.asBytes(footer), at);
        if (footer.magic != footer_magic) return error.Corrupt;
        if (footer.checksum != footer.sum(snapshot.seed)) return error.Corrupt;
        const sound = footer.file_size == size and footer.start == snapshot.header.start and
            footer.end >= footer.start and
            footer.begins_log <= 1 and
            (footer.begins_log == 0 or footer.end == footer.start) and
            footer.blocks == std.math.divCeil(u64, at - snapshot.blocks_offset, block_size) catch
                unreachable;
        if (!sound) return error.Corrupt;
    }

    /// The first leader whose segments count, if the log before it was lost.
    pub fn logBegins(snapshot: *const Snapshot) ?log_segment.Generation {
        if (snapshot.footer.begins_log == 0) return null;
        return .{
            .incarnation = snapshot.header.incarnation,
            .leader_epoch = snapshot.footer.leader_epoch,
        };
    }

    pub fn close(snapshot: *Snapshot) void {
        snapshot.files.close(snapshot.file);
        snapshot.gpa.free(snapshot.catalogue);
    }

    pub const Buffer = [block_size]u8;

    /// Reads and checks a block. Its rows stand in `buffer`.
    pub fn readBlock(snapshot: *const Snapshot, number: u64, buffer: *align(8) Buffer) Error!Rows {
        assert(number < snapshot.footer.blocks);
        const offset = snapshot.blocks_offset + number * block_size;
        const left = snapshot.footer.file_size - @sizeOf(Footer) - offset;
        const bytes = buffer[0..@intCast(@min(left, block_size))];
        if (bytes.len < @sizeOf(BlockHeader)) return error.Corrupt;
        try readAll(snapshot.files, snapshot.file, bytes, offset);
        const header = std.mem.bytesToValue(BlockHeader, bytes[0..@sizeOf(BlockHeader)]);
        if (header.size < @sizeOf(BlockHeader) or header.size > bytes.len) return error.Corrupt;
        const seed = blockSeed(snapshot.seed, number);
        if (crc32c.update(seed, bytes[4..header.size]) != header.checksum) return error.Corrupt;
        const rows = bytes[@sizeOf(BlockHeader)..header.size];
        return .{ .bytes = @alignCast(rows), .count = header.rows };
    }

    /// Reads every block. `error.Corrupt` if any is damaged.
    pub fn verify(snapshot: *const Snapshot) Error!void {
        const buffer = try snapshot.gpa.alignedAlloc(u8, .@"8", block_size);
        defer snapshot.gpa.free(buffer);
        var rows: u64 = 0;
        for (0..snapshot.footer.blocks) |number| {
            rows += (try snapshot.readBlock(number, buffer[0..block_size])).count;
        }
        if (rows != snapshot.footer.rows) return error.Corrupt;
    }
};

fn readAll(files: Files, file: Handle, bytes: []u8, offset: u64) Error!void {
    if (try files.readAt(file, bytes, offset) != bytes.len) return error.Corrupt;
}

/// The rows of a block, one after the other.
pub const Rows = struct {
    bytes: []align(8) const u8,
    count: u32,
    taken: u32 = 0,

    pub const Row = struct { table: u8, position: Position, row: RowRef };

    /// The next row, or null behind the last one. Its payload stands in the block's buffer, and
    /// whether it fits its table is for the caller to check.
    pub fn next(rows: *Rows) error{Corrupt}!?Row {
        if (rows.taken == rows.count) {
            return if (rows.bytes.len == 0) null else error.Corrupt;
        }
        if (rows.bytes.len < @sizeOf(RowHeader)) return error.Corrupt;
        const header = std.mem.bytesToValue(RowHeader, rows.bytes[0..@sizeOf(RowHeader)]);
        const size = @as(usize, header.payload_words) * 8;
        if (size > rows.bytes.len - @sizeOf(RowHeader)) return error.Corrupt;
        const payload = rows.bytes[@sizeOf(RowHeader)..][0..size];
        rows.bytes = @alignCast(rows.bytes[@sizeOf(RowHeader) + size ..]);
        rows.taken += 1;
        return .{
            .table = header.table,
            .position = header.position,
            .row = .{
                .payload = @alignCast(payload.ptr),
                .null_mask = header.null_mask,
                .version = 0,
                .size = @intCast(size),
            },
        };
    }
};

const testing = std.testing;

/// Whether a row of SNAPSHOT.md in the table of a structure has a field at its offset.
fn isShown(table: []const u8, offset: usize, name: []const u8) bool {
    const page = @embedFile("SNAPSHOT.md");
    const start = std.mem.indexOf(u8, page, table) orelse return false;
    const end = std.mem.indexOfPos(u8, page, start, "\n\n") orelse page.len;
    var lines = std.mem.splitScalar(u8, page[start..end], '\n');
    while (lines.next()) |line| {
        var cells = std.mem.tokenizeAny(u8, line, "| ");
        const first = cells.next() orelse continue;
        const at = std.fmt.parseInt(usize, first, 10) catch continue;
        if (at != offset) continue;
        return std.mem.eql(u8, cells.next() orelse "", name);
    }
    return false;
}

test "SNAPSHOT.md has every field where it stands" {
    inline for (.{
        .{ "| Header |", Header },
        .{ "| Block |", BlockHeader },
        .{ "| Row |", RowHeader },
        .{ "| Footer |", Footer },
    }) |structure| {
        inline for (@typeInfo(structure[1]).@"struct".fields) |field| {
            if (comptime std.mem.startsWith(u8, field.name, "reserved")) continue;
            const offset = @offsetOf(structure[1], field.name);
            errdefer std.debug.print("{s} {d} {s}\n", .{ structure[0], offset, field.name });
            try testing.expect(isShown(structure[0], offset, field.name));
        }
    }
}
