//! Writing the log: frames into segments, in batches.
//!
//! A `LogWriter` knows files and positions, and no region. It belongs to one leader and begins a
//! segment of its own: nobody writes into a segment that somebody else has begun.
//!
//!     var writer: LogWriter = try .start(gpa, files, .{ ... });
//!     writer.begin(.commit, position);
//!     const out = try writer.room(log_row.sizeMax(table));
//!     writer.advance(log_row.encode(table, .full, key, row, 0, out));
//!     try writer.finish();
//!     try writer.flush();                      // in the page cache: survives the process
//!     var target = try writer.beginSync();
//!     try target.sync(files);                  // on the disk: survives a power cut
//!     writer.endSync(&target);
//!
//! Invariants:
//!
//!   * frames go to a file in order, each once, and zeros only where no frame is yet; after
//!     `beginSync` the next frame starts a new block, so no block that the sync may promise is
//!     written again
//!   * the next segment, the spare, has its name, its size and its zeros on the disk before the
//!     first frame goes into it
//!   * when making a spare fails, nothing that was finished is lost, and writing may be tried
//!     again; after an error of a write or a sync `failed` is set and stays: what the file holds is
//!     unknown
//!
//! One thread at a time: whoever drains holds a lock. Only `SyncTarget.sync` and `SpareOrder.make`
//! are meant to run without it, because they wait for the disk.

const std = @import("std");
const file_layer = @import("file_layer.zig");
const Active = @import("log_active.zig").Active;
const log_closing = @import("log_closing.zig");
const log_frame = @import("log_frame.zig");
const log_spare = @import("log_spare.zig");
const segment = @import("log_segment.zig");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const Closing = log_closing.Closing;
const Files = file_layer.Files;
const Frame = log_frame.Frame;
const Spare = log_spare.Spare;
const SpareOrder = log_spare.SpareOrder;

pub const Error = file_layer.Error || Allocator.Error;
pub const SyncTarget = log_closing.SyncTarget;

/// Bytes of finished frames that go to the file without being asked for.
const batch_size_max = 1024 * 1024;
/// Where the disk has no room for a spare, one that is smaller by this factor will do.
const spare_share_min = 8;

/// What a log begins with, or goes on with after a change of the leader.
pub const Start = struct {
    store_uuid: segment.Uuid,
    incarnation: u64,
    /// Larger than that of any leader before in this incarnation.
    leader_epoch: u64,
    /// From here on this writer says what the log is; frames of others at or above it are void.
    start_position: u64,
    /// The last logged position below it. The caller vouches that everything up to it is synced.
    previous_position: u64,
    /// Bytes of the first segment. Each further one is twice as large, up to `size_max`.
    size: u64 = segment.size_first,
    size_max: u64 = segment.size_max,
    /// Bytes of the smallest spare, for a disk that has no room for another one.
    size_least: u64 = segment.size_min,
    /// Numbers up to this one were given out, even if no file has them any more.
    numbers_used: u32 = 0,
};

/// The frame that rows are being put into: the end of the buffer.
const Open = struct { kind: log_frame.Kind, position: u64, rows: u32 = 0 };

/// The parts of the transaction that is being written.
const Parts = struct { position: u64 = 0, count: u16 = 0, rows: u32 = 0 };

pub const LogWriter = struct {
    gpa: Allocator,
    files: Files,
    start_options: Start,
    active: Active,
    spare: ?Spare = null,
    /// Bytes of a segment for the frame that was to go into the next one last.
    needed: u64 = 0,
    closing: Closing = .{},
    /// `finished` bytes of frames that wait to be written, then the open frame.
    buffer: std.ArrayList(u8) = .empty,
    finished: usize = 0,
    open: ?Open = null,
    parts: Parts = .{},
    /// The position of the last commit frame that was finished.
    last_logged: u64,
    last_place: segment.Place = .{},
    durable: u64,
    /// The largest `durable` that a frame or a header carries.
    durable_told: u64,
    failed: bool = false,
    /// Somebody waits for syncs.
    fills_spares: bool = true,
    /// The header of a segment that still lacks it.
    unpublished: ?segment.Header = null,
    /// Bytes of frames and headers that went to files.
    bytes_written: u64 = 0,

    /// Begins a segment, whose header is on the disk when this returns: from then on, nobody who
    /// wrote before has a say about `start_position` and what follows it.
    pub fn start(gpa: Allocator, files: Files, options: Start) Error!LogWriter {
        var writer = try prepare(gpa, files, options);
        errdefer writer.abandon();
        try writer.publish();
        return writer;
    }

    /// As `start`, but the segment has no header yet, so that nobody believes it: for a leader that
    /// first brings frames of its predecessor here. They must fit into the segment. Ends in
    /// `publish` or `abandon`.
    pub fn prepare(gpa: Allocator, files: Files, options: Start) Error!LogWriter {
        assert(options.size >= segment.size_min and options.size % segment.block_size == 0);
        const taken = try segment.numbers(files, gpa);
        defer gpa.free(taken);
        const last = if (taken.len == 0) 0 else taken[taken.len - 1];
        const number = @max(last, options.numbers_used) +| 1;
        const order: SpareOrder = .{ .number = number, .size = options.size };
        const spare = try order.make(files);
        var writer: LogWriter = .{
            .gpa = gpa,
            .files = files,
            .start_options = options,
            .active = undefined,
            .last_logged = options.previous_position,
            .durable = options.previous_position,
            .durable_told = options.previous_position,
        };
        errdefer spare.discard(files);
        errdefer writer.buffer.deinit(gpa);
        try writer.buffer.ensureTotalCapacity(gpa, 2 * batch_size_max);
        writer.unpublished = writer.enter(spare);
        writer.active.end = segment.header_area;
        return writer;
    }

    /// Puts what was copied on the disk, and then the header: a kill in between leaves a file that
    /// counts for nothing.
    pub fn publish(writer: *LogWriter) Error!void {
        const active = &writer.active;
        const files = writer.files;
        try writer.flush();
        errdefer writer.failed = true;
        if (active.unsynced) try files.sync(active.file);
        try files.writeAt(active.file, &writer.unpublished.?.encode(), 0);
        try files.sync(active.file);
        writer.bytes_written += segment.header_area;
        active.unsynced = false;
        active.end = std.mem.alignForward(u64, active.end, segment.block_size);
        writer.unpublished = null;
    }

    /// Ends what `prepare` has begun, and removes its file.
    pub fn abandon(writer: *LogWriter) void {
        const name = segment.Name.of(writer.active.number);
        // With a header, it counts.
        const removed = writer.unpublished != null and !writer.failed;
        const files = writer.files;
        writer.stop();
        if (removed) files.unlink(name.slice()) catch {};
    }

    /// Closes the files and removes the spare. Syncs nothing.
    pub fn stop(writer: *LogWriter) void {
        const files = writer.files;
        if (writer.spare) |spare| spare.discard(files);
        writer.closing.closeAll(files);
        files.close(writer.active.file);
        writer.buffer.deinit(writer.gpa);
        writer.* = undefined;
    }

    /// Opens a frame for rows: of a whole transaction or the last of it (`commit`), or of one that
    /// goes on (`part`). Its position is above all that were logged.
    pub fn begin(writer: *LogWriter, kind: log_frame.Kind, position: u64) void {
        assert(kind == .commit or kind == .part);
        assert(position > writer.last_logged);
        if (writer.parts.position != position) writer.parts = .{ .position = position };
        writer.openFrame(kind, position);
    }

    /// At least `size` bytes at the end of the open frame. Valid until the next call.
    pub fn room(writer: *LogWriter, size: usize) Allocator.Error![]u8 {
        assert(writer.open != null);
        try writer.buffer.ensureUnusedCapacity(writer.gpa, size);
        return writer.buffer.unusedCapacitySlice();
    }

    /// Takes the first `size` bytes of `room` into the frame, as one row.
    pub fn advance(writer: *LogWriter, size: usize) void {
        writer.buffer.items.len += size;
        writer.open.?.rows += 1;
        assert(writer.frameSize() <= log_frame.size_max);
    }

    /// Bytes of the open frame so far. From `log_frame.part_size` on, `finish` it and go on in
    /// another one.
    pub fn frameSize(writer: *const LogWriter) usize {
        assert(writer.open != null);
        return writer.buffer.items.len - writer.finished;
    }

    /// Completes the open frame. `error.NoSpace` means that its transaction is dropped, with the
    /// parts that were finished before: write it again from its first row, or another one.
    pub fn finish(writer: *LogWriter) Error!void {
        const open = writer.open.?;
        const parts = writer.parts;
        errdefer writer.cancel();
        switch (open.kind) {
            .part => {
                try writer.complete(parts.count, open.rows);
                writer.parts.count += 1;
                writer.parts.rows += open.rows;
            },
            .commit => {
                try writer.complete(parts.count, parts.rows + open.rows);
                writer.parts = .{};
            },
            else => unreachable,
        }
        if (writer.finished >= batch_size_max) try writer.flush();
    }

    /// Completes the open frame as a part: its transaction goes on in another one. Fails as
    /// `finish` does.
    pub fn finishPart(writer: *LogWriter) Error!void {
        writer.open.?.kind = .part;
        return writer.finish();
    }

    /// Drops the open frame, if there is one, and the parts before it.
    pub fn cancel(writer: *LogWriter) void {
        writer.buffer.items.len = writer.finished;
        writer.open = null;
        writer.parts = .{};
    }

    /// Appends an image of the catalogue, or a mark, whose body is empty.
    pub fn note(writer: *LogWriter, kind: log_frame.Kind, body: []const u8) Error!void {
        assert(kind == .catalogue or kind == .mark);
        assert(log_frame.header_size + body.len <= log_frame.size_max - 8);
        try writer.appendFrame(kind, writer.last_logged, body, 0, @intCast(body.len));
    }

    /// Appends a frame of another segment as it is: the new leader's copy of what its
    /// predecessor did not sync. Frames come in the order of the reader's cursor. Images of the
    /// catalogue from before the first of them are passed over.
    pub fn copy(writer: *LogWriter, frame: *const Frame) Error!void {
        const header = &frame.header;
        if (header.kind == .catalogue and header.position < writer.last_logged) return;
        assert(header.previous == writer.last_logged);
        switch (header.kind) {
            .commit, .part => assert(header.position > writer.last_logged),
            .catalogue => assert(header.position == writer.last_logged),
            else => unreachable,
        }
        const position = header.position;
        try writer.appendFrame(header.kind, position, frame.body, header.part, header.count);
        switch (header.kind) {
            .part => writer.parts = .{ .position = position, .count = header.part + 1 },
            .commit => writer.parts = .{},
            else => {},
        }
    }

    /// Bytes of finished frames that are not in a file yet.
    pub fn pending(writer: *const LogWriter) usize {
        return writer.finished;
    }

    /// Writes what was finished: when it returns, a kill loses none of it. The open frame stays.
    pub fn flush(writer: *LogWriter) Error!void {
        if (writer.failed) return error.IoError;
        if (writer.finished == 0) return;
        errdefer writer.failed = true;
        const active = &writer.active;
        const bytes = writer.buffer.items[0..writer.finished];
        assert(active.end + bytes.len <= active.size);
        // It has room for them: a disk that says that it is full has given it to others.
        writer.files.writeAt(active.file, bytes, active.end) catch |err|
            return if (err == error.NoSpace) error.IoError else err;
        active.end += bytes.len;
        active.unsynced = true;
        writer.bytes_written += bytes.len;
        const rest = writer.buffer.items.len - writer.finished;
        @memmove(writer.buffer.items[0..rest], writer.buffer.items[writer.finished..]);
        writer.buffer.items.len = rest;
        writer.finished = 0;
    }

    /// Flushes, and says what to sync. Frames that are finished from now on start in a new block.
    /// There may be one sync at a time.
    pub fn beginSync(writer: *LogWriter) Error!SyncTarget {
        try writer.flush();
        const active = &writer.active;
        if (!active.unsynced) return writer.closing.beginSync(writer.last_logged, null);
        active.unsynced = false;
        active.end = std.mem.alignForward(u64, active.end, segment.block_size);
        return writer.closing.beginSync(writer.last_logged, active.file);
    }

    /// `Active.fillAhead`, after `beginSync`, for somebody who waits: who waits again soon pays for
    /// it once in many syncs.
    pub fn fillAhead(writer: *LogWriter) Error!void {
        if (writer.failed) return error.IoError;
        writer.active.fillAhead(writer.files) catch |err| {
            writer.failed = true;
            return if (err == error.NoSpace) error.IoError else err;
        };
    }

    /// Closes the segments that are complete and synced. Call it after `SyncTarget.sync` worked.
    pub fn endSync(writer: *LogWriter, target: *const SyncTarget) void {
        writer.closing.endSync(writer.files, target);
    }

    /// Everything logged up to `position` is on the disk, and nobody has taken over before that was
    /// decided. Later frames carry it, as evidence of what the log must hold.
    pub fn noteDurable(writer: *LogWriter, position: u64) void {
        assert(position <= writer.last_logged);
        writer.durable = @max(writer.durable, position);
    }

    /// Appends a mark if nothing says yet that what was synced last is on the disk. It goes into
    /// the block behind the synced ones, and nobody syncs it: it is evidence against rot, and a
    /// power cut that takes it takes nothing that was promised.
    pub fn tellDurable(writer: *LogWriter) Error!void {
        assert(writer.open == null);
        if (writer.durable <= writer.durable_told) return;
        try writer.note(.mark, "");
        try writer.flush();
    }

    /// The spare that should be made now, or null if there is one that will do. `blocked`: frames
    /// wait for it, and no others will follow.
    pub fn spareOrder(writer: *const LogWriter, blocked: bool) ?SpareOrder {
        const options = &writer.start_options;
        const size = std.math.clamp(2 * writer.active.size, options.size_least, options.size_max);
        const size_min = @max(options.size_least, size / spare_share_min);
        if (writer.spare) |spare| if (spare.size >= size_min) return null;
        return .{
            .number = writer.active.number + 1,
            .size = size,
            .size_min = size_min,
            .last_resort = if (blocked) @max(segment.size_min, writer.needed) else 0,
            .filled = writer.fills_spares,
        };
    }

    /// Hands over what `SpareOrder.make` has made. Of two the larger one stays. One that comes
    /// late, when writing has gone on in a segment with a larger number, is of no use: segments of
    /// one leader are read by number.
    pub fn giveSpare(writer: *LogWriter, spare: Spare) void {
        if (spare.number < writer.active.number) return spare.discard(writer.files);
        if (writer.spare) |other| {
            if (other.size >= spare.size) return spare.discard(writer.files);
            other.discard(writer.files);
        }
        writer.spare = spare;
    }

    pub fn segmentNumber(writer: *const LogWriter) u32 {
        return writer.active.number;
    }

    fn openFrame(writer: *LogWriter, kind: log_frame.Kind, position: u64) void {
        assert(writer.open == null and writer.buffer.items.len == writer.finished);
        // Room for a header is always left: see `complete` and `activate`.
        writer.buffer.items.len += log_frame.header_size;
        writer.open = .{ .kind = kind, .position = position };
    }

    fn appendFrame(
        writer: *LogWriter,
        kind: log_frame.Kind,
        position: u64,
        body: []const u8,
        part: u16,
        count: u32,
    ) Error!void {
        writer.openFrame(kind, position);
        errdefer writer.cancel();
        const out = try writer.room(body.len);
        @memcpy(out[0..body.len], body);
        writer.buffer.items.len += body.len;
        try writer.complete(part, count);
        if (writer.finished >= batch_size_max) try writer.flush();
    }

    /// Pads the open frame and gives it its header, in the next segment if this one is full.
    fn complete(writer: *LogWriter, part: u16, count: u32) Error!void {
        if (writer.failed) return error.IoError;
        const open = writer.open.?;
        const size = std.mem.alignForward(usize, writer.frameSize(), 8);
        try writer.buffer.ensureUnusedCapacity(writer.gpa, 8);
        @memset(writer.buffer.unusedCapacitySlice()[0..8], 0);
        writer.buffer.items.len = writer.finished + size;
        if (writer.active.end + writer.finished + size > writer.active.limit()) {
            try writer.rotate(size);
        }
        // For the header of the next frame, and that of a rotation.
        try writer.buffer.ensureUnusedCapacity(writer.gpa, 2 * log_frame.header_size);

        const frame = writer.buffer.items[writer.finished..];
        writer.putHeader(frame, open.kind, open.position, part, count);
        if (open.kind == .commit) {
            writer.last_logged = open.position;
            writer.last_place = .{
                .number = writer.active.number,
                .offset = writer.active.end + writer.finished,
            };
        }
        writer.finished = writer.buffer.items.len;
        writer.open = null;
    }

    fn putHeader(
        writer: *LogWriter,
        frame: []u8,
        kind: log_frame.Kind,
        position: u64,
        part: u16,
        count: u32,
    ) void {
        const header: log_frame.Header = .{
            .length = @intCast(frame.len),
            .position = position,
            .previous = writer.last_logged,
            .durable_hint = writer.durable,
            .kind = kind,
            .sequence = writer.active.sequence,
            .part = part,
            .count = count,
        };
        @memcpy(frame[0..log_frame.header_size], std.mem.asBytes(&header));
        log_frame.finish(frame, writer.active.seed);
        writer.active.sequence +%= 1;
        writer.durable_told = writer.durable;
    }

    /// Ends the active segment and goes on in the spare, with the open frame of `frame_size` bytes.
    /// Until the spare is there, nothing is changed.
    fn rotate(writer: *LogWriter, frame_size: usize) Error!void {
        assert(writer.unpublished == null);
        try writer.ensureSpare(frame_size);
        writer.closing.limit(writer.files) catch |err| {
            writer.failed = true;
            return err;
        };
        const spare = writer.spare.?;
        assert(spare.number > writer.active.number);
        var ending: [log_frame.header_size]u8 = undefined;
        writer.putHeader(&ending, .rotation, writer.last_logged, 0, spare.number);
        writer.buffer.insertSlice(writer.gpa, writer.finished, &ending) catch |err| {
            writer.active.sequence -%= 1;
            return err;
        };
        writer.finished += ending.len;
        writer.flush() catch |err| {
            // The file may name the spare by now: it stays, or its absence would be damage.
            writer.files.close(spare.file);
            writer.spare = null;
            return err;
        };

        writer.closing.add(writer.active.file);
        writer.spare = null;
        errdefer writer.failed = true;
        try writer.activate(spare);
    }

    fn ensureSpare(writer: *LogWriter, frame_size: usize) Error!void {
        const whole = segment.header_area + frame_size + segment.block_size;
        writer.needed = std.mem.alignForward(u64, whole, segment.block_size);
        if (writer.spare) |spare| {
            if (spare.size >= writer.needed) return;
            spare.discard(writer.files);
            writer.spare = null;
        }
        var order = writer.spareOrder(false).?;
        while (order.size < writer.needed) order.size *= 2;
        order.size_min = @max(order.size_min, writer.needed);
        writer.spare = try order.make(writer.files);
    }

    /// Makes a spare the active segment and puts its header in front of the open frame.
    fn activate(writer: *LogWriter, spare: Spare) Error!void {
        assert(writer.finished == 0);
        try writer.buffer.ensureUnusedCapacity(writer.gpa, segment.header_area);
        const area = writer.enter(spare).encode();
        writer.buffer.insertSliceAssumeCapacity(0, &area);
        writer.finished = segment.header_area;
    }

    /// Makes a spare the active segment, and returns the header that it must get.
    fn enter(writer: *LogWriter, spare: Spare) segment.Header {
        const options = &writer.start_options;
        const in_parts = writer.parts.count > 0;
        const next = if (in_parts) writer.parts.position else writer.last_logged + 1;
        writer.active = .{
            .file = spare.file,
            .number = spare.number,
            .size = spare.size,
            .seed = log_frame.seedOf(&options.store_uuid, spare.number),
            .filled = if (spare.filled) spare.size else 0,
        };
        return .{
            .number = spare.number,
            .store_uuid = options.store_uuid,
            .incarnation = options.incarnation,
            .leader_epoch = options.leader_epoch,
            .size = spare.size,
            .start_position = @max(next, options.start_position),
            .previous_position = writer.last_logged,
            .durable_hint = writer.durable,
            .continues = @intFromBool(in_parts),
        };
    }
};

const testing = std.testing;
const MemoryDisk = @import("file_layer_memory.zig").MemoryDisk;
const log_reader = @import("log_reader.zig");
const LogReader = log_reader.LogReader;

const test_start: Start = .{
    .store_uuid = @splat(9),
    .incarnation = 1,
    .leader_epoch = 1,
    .start_position = 2,
    .previous_position = 1,
    .size = segment.size_min,
};

/// Logs a transaction whose body is `size` bytes.
fn testCommit(writer: *LogWriter, kind: log_frame.Kind, position: u64, size: usize) Error!void {
    writer.begin(kind, position);
    const out = try writer.room(size);
    @memset(out[0..size], @truncate(position));
    writer.advance(size);
    try writer.finish();
}

fn testOpen(disk: *MemoryDisk) !LogReader {
    return .open(testing.allocator, disk.files(), .{ .store_uuid = @splat(9) });
}

test "LogWriter: what was flushed is read back in order" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer: LogWriter = try .start(testing.allocator, disk.files(), test_start);
    defer writer.stop();
    try testCommit(&writer, .commit, 2, 10);
    try writer.note(.catalogue, "tables");
    try testCommit(&writer, .commit, 5, 0);
    try writer.note(.mark, "");
    try testCommit(&writer, .commit, 6, 100);
    try testing.expect(writer.pending() > 0);
    try writer.flush();
    try testCommit(&writer, .commit, 7, 100);

    var log = try testOpen(&disk);
    defer log.close();
    try testing.expectEqual(log_reader.Verdict.clean, log.verdict);
    try testing.expectEqual(6, log.last_position);
    var cursor = log.cursor();
    defer cursor.close();
    for ([_]u64{ 2, 2, 5, 6 }, 0..) |position, i| {
        const item = (try cursor.next()).?;
        try testing.expectEqual(position, item.frame.header.position);
        const kind: log_frame.Kind = if (i == 1) .catalogue else .commit;
        try testing.expectEqual(kind, item.frame.header.kind);
        if (kind == .catalogue) try testing.expectEqualStrings("tables", item.frame.image());
    }
    try testing.expectEqual(null, try cursor.next());
    const uuid = &test_start.store_uuid;
    const place: segment.Place = .{ .number = 1, .offset = segment.header_area };
    for ([_]u64{ 2, 3 }) |position| {
        const stands = log_reader.frameStands(log.gpa, log.files, uuid, place, position);
        try testing.expectEqual(position == 2, try stands);
    }
}

test "LogWriter: a spare that comes when writing has gone on behind its number is not used" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer: LogWriter = try .start(testing.allocator, disk.files(), test_start);
    defer writer.stop();
    // One thread makes a spare, and meanwhile another one needs it and makes its own.
    const late = try writer.spareOrder(false).?.make(disk.files());
    var position: u64 = 2;
    while (writer.segmentNumber() < late.number) : (position += 1) {
        try testCommit(&writer, .commit, position, 1000);
    }
    writer.giveSpare(late);
    const number = writer.segmentNumber();
    while (writer.segmentNumber() == number) : (position += 1) {
        try testCommit(&writer, .commit, position, 1000);
    }
    try writer.flush();
    var log = try testOpen(&disk);
    defer log.close();
    try testing.expectEqual(log_reader.Verdict.clean, log.verdict);
    try testing.expectEqual(position - 1, log.last_position);
}

test "LogWriter.fillAhead: writes zeros once, behind the frames, and those that follow stay" {
    var disk: MemoryDisk = .init(testing.allocator);
    defer disk.deinit();
    var writer: LogWriter = try .start(testing.allocator, disk.files(), test_start);
    defer writer.stop();
    writer.fills_spares = false;
    var position: u64 = 2;
    while (writer.segmentNumber() == 1) : (position += 1) {
        try testCommit(&writer, .commit, position, 1000);
    }
    const written = struct {
        fn by(w: *LogWriter, d: *MemoryDisk) !usize {
            const before = d.calls.get(.write);
            try w.fillAhead();
            return d.calls.get(.write) - before;
        }
    }.by;
    try writer.flush();
    try testing.expectEqual(0, try written(&writer, &disk)); // not synced: nobody waits
    for (0..3) |round| {
        try testCommit(&writer, .commit, position, 1000);
        position += 1;
        const target = try writer.beginSync();
        const count = try written(&writer, &disk);
        try testing.expect((count > 0) == (round == 0));
        try target.sync(disk.files());
        writer.endSync(&target);
    }
    var log = try testOpen(&disk);
    defer log.close();
    try testing.expectEqual(log_reader.Verdict.clean, log.verdict);
    try testing.expectEqual(position - 1, log.last_position);
}
