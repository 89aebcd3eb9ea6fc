//! Reading the log: which frames make it, where it ends, and whether it should have gone on.
//!
//! `LogReader.open` looks at every segment of the directory and at every frame above a position,
//! and comes to a verdict; a `Cursor` then gives the frames that count, in their order. Everything
//! is input: no bytes can make the reader fail in another way than by a verdict or an error.
//!
//! What counts:
//!
//!   * segments go in the order of `Header.isBefore`. Frames that commit a position from the
//!     `start_position` of a later segment on are void: a leader that had been replaced wrote them
//!   * within and across segments the chain of `log_frame.zig` must hold. Where it breaks, the log
//!     ends, whatever follows
//!   * the end is damage, not just the end, if something that follows in the order of segments says
//!     that more was on the disk: a `durable_hint` above the last position, or the position that
//!     the caller requires. Start positions say nothing of the kind: the header of a segment may
//!     reach the disk before the frames of the segment before it
//!   * a segment that is of another store, of another format, or not the one its name says is never
//!     passed over: the log is refused
//!
//! What was damaged after the last sync of all, before any later byte reached the disk, cannot be
//! told from what was torn.

const std = @import("std");
const builtin = @import("builtin");
const sync = @import("sync");
const file_layer = @import("file_layer.zig");
const log_chain = @import("log_chain.zig");
const log_cursor = @import("log_cursor.zig");
const log_frame = @import("log_frame.zig");
const log_scan = @import("log_scan.zig");
const segment = @import("log_segment.zig");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const Chain = log_chain.Chain;
const Cursor = log_cursor.Cursor;
const Files = file_layer.Files;
const Frame = log_frame.Frame;
const Place = segment.Place;
const Window = log_scan.Window;
const nextFrame = log_chain.nextFrame;

pub const Error = file_layer.Error || Allocator.Error;

pub const Options = struct {
    store_uuid: segment.Uuid,
    /// Frames above it are wanted: the start of a checkpoint, or what is durable when a leader
    /// takes over. 1 is the beginning: no position at or below it is ever logged.
    from: u64 = 1,
    /// Frames above it are not looked at. A new leader sets it, who knows by `required` what the
    /// last position up to it must be.
    to: u64 = std.math.maxInt(u64),
    /// A position that was logged and synced, or 1 if the caller knows of none.
    required: u64 = 1,
    /// A snapshot has everything up to `from` and stands in the place of what came before this:
    /// segments before it have no say, and there may be none after it yet.
    begins: ?segment.Generation = null,
};

pub const Verdict = union(enum) {
    /// Nothing follows the last frame.
    clean,
    /// What follows the last frame was never promised to anybody.
    torn: Place,
    damaged: Damage,
};

pub const Damage = struct {
    reason: Reason,
    /// The first bytes that cannot be right.
    place: Place,
    /// The positions from which to which something is missing.
    first: u64,
    last: u64,

    pub const Reason = enum {
        /// Frames are missing or cannot be read.
        frames,
        /// A file is missing: segments go on in it.
        segment_missing,
        /// The oldest segment begins later than the caller needs it.
        start_missing,
        /// A file is shorter than its header says.
        file_cut,
        /// The required position was not logged.
        required_missing,
        other_store,
        other_format,
        /// The file has the header of another number.
        misnamed,
    };
};

/// A file with the name of a segment.
pub const Listed = struct {
    number: u32,
    found: segment.Found,
    size: u64,
};

/// A segment whose frames count, and how far.
pub const Live = struct {
    header: segment.Header,
    /// Bytes of it that can be read.
    size: u64,
    /// Commits from this position on are void.
    limit: u64,
    /// Behind its last good frame.
    end: u64 = segment.header_area,
};

/// Where a frame stands: a live segment, and bytes from its start.
pub const At = struct { live: u32, offset: u64 };

/// Bytes of frames between two places where reading may begin.
pub const chunk_size = if (sync.sim or builtin.is_test) 2048 else 256 * 1024;

/// A place between two frames where reading may begin, with all that the frames before it say
/// about those behind it.
const Start = struct {
    live: u32,
    offset: u64 = segment.header_area,
    chain: Chain,
    /// The transactions in parts that were committed before it.
    whole: usize = 0,
    /// Where the pending transaction began, if there is one.
    pending_at: At = .{ .live = 0, .offset = 0 },
};

pub const LogReader = struct {
    gpa: Allocator,
    files: Files,
    options: Options,
    /// Every file that has the name of a segment, by number.
    listed: []Listed,
    live: []Live,
    /// Index of the first live segment that is needed for `from`.
    first: u32 = 0,
    /// Live segments from `first` on that have good frames, as an index behind the last.
    live_end: u32 = 0,
    /// Transactions in parts that were committed, by their first parts.
    wholes: std.ArrayList(At) = .empty,
    /// Where the chunks begin, if there are frames at all.
    starts: std.ArrayList(Start) = .empty,
    images: std.ArrayList(At) = .empty,
    /// Rows that the commits above `from` have.
    rows: u64 = 0,
    /// The highest position that a good frame says to be on the disk.
    durable_hint: u64 = 1,
    /// The last good commit, or the last logged position before the first segment.
    last_position: u64,
    verdict: Verdict = .clean,

    /// Reads and judges the log. The caller calls `close`.
    pub fn open(gpa: Allocator, files: Files, options: Options) Error!LogReader {
        assert(options.from >= 1 and options.from <= options.to);
        const listed = try list(gpa, files, &options.store_uuid);
        var reader: LogReader = .{
            .gpa = gpa,
            .files = files,
            .options = options,
            .listed = listed,
            .live = &.{},
            .last_position = options.from,
        };
        errdefer reader.close();
        reader.live = try liveSegments(gpa, listed, &options);
        var walk: Walk = .{ .reader = &reader, .window = .{ .gpa = gpa, .files = files } };
        defer walk.window.deinit();
        if (firstNeeded(reader.live, options.from)) |first| {
            reader.first = first;
            try walk.run();
        } else {
            reader.verdict = try walk.judgeWithoutStart();
        }
        return reader;
    }

    pub fn close(reader: *LogReader) void {
        reader.gpa.free(reader.listed);
        reader.gpa.free(reader.live);
        reader.wholes.deinit(reader.gpa);
        reader.starts.deinit(reader.gpa);
        reader.images.deinit(reader.gpa);
        reader.* = undefined;
    }

    /// The header of the newest segment, or null if there is none.
    pub fn newest(reader: *const LogReader) ?*const segment.Header {
        var last: ?*const segment.Header = null;
        for (reader.listed) |*file| switch (file.found) {
            .header => |*header| if (last == null or last.?.isBefore(header)) {
                last = header;
            },
            else => {},
        };
        return last;
    }

    /// Starts over at the first frame. Each thread has its own cursor; the reader stays unchanged.
    pub fn cursor(reader: *const LogReader) Cursor {
        return reader.cursorOf(0, reader.starts.items.len);
    }

    /// How many chunks there are: the same frames in the same order, in pieces of about
    /// `chunk_size` bytes that can be read side by side.
    pub fn chunkCount(reader: *const LogReader) usize {
        return reader.starts.items.len;
    }

    /// As `cursor`, for the frames of one chunk.
    pub fn chunk(reader: *const LogReader, number: usize) Cursor {
        return reader.cursorOf(number, number + 1);
    }

    fn cursorOf(reader: *const LogReader, from: usize, to: usize) Cursor {
        const starts = reader.starts.items;
        var made: Cursor = .{
            .reader = reader,
            .window = .{ .gpa = reader.gpa, .files = reader.files },
            .live = reader.live_end,
            .chain = .{ .last = 0 },
        };
        if (from == starts.len) return made;
        const start = &starts[from];
        made.live = start.live;
        made.offset = start.offset;
        made.chain = start.chain;
        made.whole = start.whole;
        if (start.chain.pending.count > 0) made.enterWhole(start.pending_at);
        if (to < starts.len) made.end = .{ .live = starts[to].live, .offset = starts[to].offset };
        return made;
    }

    /// The images of the catalogue, from the first segment on. The caller closes it.
    pub fn catalogues(reader: *const LogReader) log_cursor.Images {
        return .{ .reader = reader, .window = .{ .gpa = reader.gpa, .files = reader.files } };
    }

    /// The header of the segment `firstNeeded` tells.
    pub fn neededFor(reader: *const LogReader, position: u64) ?*const segment.Header {
        return &reader.live[firstNeeded(reader.live, position) orelse return null].header;
    }

    /// A file that must not be passed over.
    fn refusal(reader: *const LogReader) ?Damage {
        for (reader.listed) |file| {
            if (file.found != .foreign) continue;
            return .{
                .reason = switch (file.found.foreign) {
                    .store => .other_store,
                    .format => .other_format,
                    .name => .misnamed,
                },
                .place = .{ .number = file.number },
                .first = reader.last_position + 1,
                .last = reader.last_position + 1,
            };
        }
        return null;
    }
};

/// Leaves out files that are removed meanwhile: whoever removes one knows that nobody needs it.
fn list(gpa: Allocator, files: Files, store_uuid: *const segment.Uuid) Error![]Listed {
    const numbers = try segment.numbers(files, gpa);
    defer gpa.free(numbers);
    var listed: std.ArrayList(Listed) = try .initCapacity(gpa, numbers.len);
    defer listed.deinit(gpa);
    for (numbers) |number| {
        const name = segment.Name.of(number);
        const file = files.open(name.slice(), .read) catch |err| {
            if (err == error.NotExist) continue;
            return err;
        };
        defer files.close(file);
        listed.appendAssumeCapacity(.{
            .number = number,
            .found = try segment.readHeader(files, file, number, store_uuid),
            .size = try files.size(file),
        });
    }
    return gpa.dupe(Listed, listed.items);
}

/// The first position about which segments before this one have no say. Its writer knew that
/// nothing counts between `previous_position` and its own start: where a power cut took the end of
/// a segment, the one behind it may be left, and is void once somebody has gone on before both.
fn voidFrom(header: *const segment.Header) u64 {
    // The parts that it continues have its start position.
    if (header.continues != 0) return header.start_position;
    return @min(header.start_position, header.previous_position + 1);
}

/// The index of the segment from which on the log is needed by somebody who has everything up to
/// `position`; null if even the oldest begins later. Segments before it in the order of
/// `Header.isBefore` may be removed. One that begins within a transaction needs the one before it.
pub fn firstNeeded(live: []const Live, position: u64) ?u32 {
    var i = live.len;
    while (i > 0) {
        i -= 1;
        const header = &live[i].header;
        if (header.previous_position <= position and header.continues == 0) return @intCast(i);
    }
    return null;
}

/// The segments that have a say about positions up to `options.to`, in their order. The caller
/// frees them.
pub fn liveSegments(
    gpa: Allocator,
    listed: []const Listed,
    options: *const Options,
) Allocator.Error![]Live {
    const to = options.to;
    var live: std.ArrayList(Live) = .empty;
    defer live.deinit(gpa);
    for (listed) |*file| {
        if (file.found != .header) continue;
        const header = file.found.header;
        if (options.begins) |first| if (header.generation().isBefore(first)) continue;
        try live.append(gpa, .{
            .header = header,
            .size = @min(header.size, file.size),
            .limit = to +| 1,
        });
    }
    std.mem.sort(Live, live.items, {}, struct {
        fn isBefore(_: void, a: Live, b: Live) bool {
            return a.header.isBefore(&b.header);
        }
    }.isBefore);
    var limit = to +| 1;
    var kept: usize = live.items.len;
    var i = live.items.len;
    while (i > 0) {
        i -= 1;
        var candidate = live.items[i];
        candidate.limit = limit;
        limit = @min(limit, voidFrom(&candidate.header));
        // One that starts where its successor starts may hold parts that are continued there.
        if (candidate.header.start_position > candidate.limit) continue;
        kept -= 1;
        live.items[kept] = candidate;
    }
    return gpa.dupe(Live, live.items[kept..]);
}

/// The first pass over the log.
const Walk = struct {
    reader: *LogReader,
    window: Window,
    chain: Chain = .{ .last = 0 },
    /// The first part of the pending transaction.
    pending_at: At = .{ .live = 0, .offset = 0 },
    required_seen: bool = false,
    /// The segment that the last frame names as the next one.
    rotation: ?u32 = null,
    /// The chain ended at a frame above `to`.
    passed_to: bool = false,
    /// Bytes of frames since the last start of a chunk.
    chunk_bytes: u64 = 0,

    fn run(walk: *Walk) Error!void {
        const reader = walk.reader;
        const live = reader.live;
        walk.chain.last = live[reader.first].header.previous_position;
        const required = reader.options.required;
        walk.required_seen = required <= walk.chain.last;
        try reader.starts.append(reader.gpa, .{ .live = reader.first, .chain = walk.chain });
        var last_live: u32 = reader.first;
        for (reader.first..live.len) |i| {
            last_live = @intCast(i);
            try walk.followSegment(last_live);
            if (i + 1 == live.len) break;
            if (walk.chain.last != live[i + 1].header.previous_position) break;
        }
        reader.live_end = last_live + 1;
        reader.last_position = walk.chain.last;
        reader.verdict = try walk.judge(last_live);
    }

    fn followSegment(walk: *Walk, index: u32) Error!void {
        const reader = walk.reader;
        const live = &reader.live[index];
        const seed = log_frame.seedOf(&reader.options.store_uuid, live.header.number);
        try walk.window.open(live.header.number, live.size);
        walk.chain.sequence = 0;
        walk.rotation = null;
        var offset: u64 = segment.header_area;
        while (try nextFrame(&walk.window, &walk.chain, live.limit, offset, seed)) |next| {
            if (next.step == .beyond) {
                walk.passed_to = live.limit == reader.options.to +| 1;
                break;
            }
            const header = &next.frame.header;
            try walk.remember(header, .{ .live = index, .offset = next.offset });
            walk.chain.take(header);
            if (header.kind == .rotation) walk.rotation = header.count;
            offset = next.offset + header.length;
            live.end = offset;
            walk.chunk_bytes += header.length;
            if (walk.chunk_bytes >= chunk_size) try walk.beginChunk(index, offset);
        }
    }

    fn beginChunk(walk: *Walk, index: u32, offset: u64) Error!void {
        walk.chunk_bytes = 0;
        try walk.reader.starts.append(walk.reader.gpa, .{
            .live = index,
            .offset = offset,
            .chain = walk.chain,
            .whole = walk.reader.wholes.items.len,
            .pending_at = walk.pending_at,
        });
    }

    fn remember(walk: *Walk, header: *const log_frame.Header, at: At) Error!void {
        const reader = walk.reader;
        reader.durable_hint = @max(reader.durable_hint, header.durable_hint);
        if (header.kind == .part and header.part == 0) walk.pending_at = at;
        if (header.kind == .catalogue) {
            try reader.images.append(reader.gpa, at);
        }
        if (header.kind != .commit) return;
        if (header.position > reader.options.from) reader.rows += header.count;
        if (header.position == reader.options.required) walk.required_seen = true;
        if (header.part > 0) try reader.wholes.append(reader.gpa, walk.pending_at);
    }

    /// The verdict when there is no segment to start with.
    fn judgeWithoutStart(walk: *Walk) Error!Verdict {
        const reader = walk.reader;
        if (reader.refusal()) |refused| return .{ .damaged = refused };
        const options = &reader.options;
        var after: After = .{ .hint = options.required, .from = options.from };
        try walk.lookIntoHeadless(0, &after);
        // The header of a first segment is on the disk before its first commit. So where there are
        // none, a power cut or a kill may have kept the header back, and nothing is lost.
        const begins = if (reader.live.len > 0) reader.live[0].header.previous_position else 1;
        const expected = if (options.begins == null) options.from else 1;
        const known = if (options.begins == null) 1 else options.from;
        if (@max(expected, after.hint, begins) > known or after.commit_count > 0) {
            const number = if (reader.listed.len > 0) reader.listed[0].number else 0;
            const last = @max(begins, after.hint, options.from + 1);
            return damagedAt(.start_missing, .{ .number = number }, options.from + 1, last);
        }
        return .clean;
    }

    /// Judges the end of the chain, in segment `index`.
    fn judge(walk: *Walk, index: u32) Error!Verdict {
        const reader = walk.reader;
        if (reader.refusal()) |damage| return .{ .damaged = damage };
        const last = walk.chain.last;
        const live = &reader.live[index];
        const place: Place = .{ .number = live.header.number, .offset = live.end };
        const required = reader.options.required;
        if (last >= required and !walk.required_seen) {
            return damagedAt(.required_missing, place, required, required);
        }
        // What is beyond `to` is nobody's business here, and a caller who sets it and has got what
        // it requires does not wait for the rest of a large file.
        const is_bounded = reader.options.to != std.math.maxInt(u64);
        if (is_bounded and (last == required or last == reader.options.to)) return .clean;
        if (walk.passed_to) return .clean;

        var after: After = .{ .hint = required, .from = reader.options.from };
        try walk.lookBehind(index, &after);
        if (after.hint > last) return damagedAt(.frames, place, last + 1, after.hint);
        const is_last = index + 1 == reader.live.len;
        if (is_last and live.size < live.header.size) {
            const cut: Place = .{ .number = place.number, .offset = live.size };
            return damagedAt(.file_cut, cut, last + 1, last + 1);
        }
        if (is_last) if (walk.rotation) |number| if (!walk.isListed(number)) {
            return damagedAt(.segment_missing, .{ .number = number }, last + 1, last + 1);
        };
        if (is_last and !after.has_bytes and walk.chain.pending.count == 0) return .clean;
        return .{ .torn = place };
    }

    /// Looks for evidence behind the end of the chain: in the rest of the segment, in the segments
    /// after it, and in files without a header that may come after it.
    fn lookBehind(walk: *Walk, index: u32, after: *After) Error!void {
        const reader = walk.reader;
        const uuid = &reader.options.store_uuid;
        const live = &reader.live[index];
        // The rest of a segment that a limit ends belongs to nobody.
        const limit = live.limit;
        try walk.window.open(live.header.number, live.size);
        try after.scan(&walk.window, live.end, log_frame.seedOf(uuid, live.header.number), limit);
        for (reader.live[index + 1 ..]) |*later| {
            after.hint = @max(after.hint, later.header.durable_hint);
            after.has_bytes = true;
            const seed = log_frame.seedOf(uuid, later.header.number);
            try walk.window.open(later.header.number, later.size);
            try after.scan(&walk.window, segment.header_area, seed, later.limit);
        }
        try walk.lookIntoHeadless(live.header.number, after);
    }

    /// Looks into files from a number on that have no header: spares, or what was damaged.
    fn lookIntoHeadless(walk: *Walk, number_min: u32, after: *After) Error!void {
        const reader = walk.reader;
        for (reader.listed) |file| {
            const headless = file.found == .damaged or file.found == .blank;
            if (!headless or file.number < number_min) continue;
            walk.window.open(file.number, file.size) catch |err| {
                if (err == error.NotExist) continue; // A spare that its leader has removed.
                return err;
            };
            const seed = log_frame.seedOf(&reader.options.store_uuid, file.number);
            const limit = walk.limitBefore(file.number);
            try after.scan(&walk.window, segment.header_area, seed, limit);
            if (file.found == .damaged) after.has_bytes = true;
        }
    }

    /// The lowest start position of the live segments with a higher number.
    fn limitBefore(walk: *const Walk, number: u32) u64 {
        var limit = walk.reader.options.to +| 1;
        for (walk.reader.live) |*live| {
            if (live.header.number > number) limit = @min(limit, live.header.start_position);
        }
        return limit;
    }

    fn isListed(walk: *const Walk, number: u32) bool {
        for (walk.reader.listed) |file| if (file.number == number) return true;
        return false;
    }
};

fn damagedAt(reason: Damage.Reason, place: Place, first: u64, last: u64) Verdict {
    return .{ .damaged = .{ .reason = reason, .place = place, .first = first, .last = last } };
}

/// What was found behind the end of the chain.
const After = struct {
    /// The highest position that is known to have been on the disk.
    hint: u64,
    /// There is something but zeros.
    has_bytes: bool = false,
    /// What the caller has anyway.
    from: u64,
    /// Commits and parts behind `from` that are not void.
    commit_count: u32 = 0,

    /// Looks at every place where a frame could be from `offset` on.
    fn scan(after: *After, window: *Window, offset: u64, seed: u32, limit: u64) Error!void {
        var at = std.mem.alignForward(u64, offset, 8);
        while (try window.nextUsed(at)) |used| {
            after.has_bytes = true;
            at = used + 8;
            const frame = try window.frameAt(used, seed) orelse continue;
            at = used + frame.header.length;
            if (frame.header.position >= limit) continue;
            const is_commit = frame.header.kind == .commit or frame.header.kind == .part;
            after.commit_count += @intFromBool(is_commit and frame.header.position > after.from);
            after.hint = @max(after.hint, frame.header.durable_hint);
        }
    }
};

/// True if the frame at a place is the commit of `position`: is the region that remembers this
/// place the one that wrote this log?
pub fn frameStands(
    gpa: Allocator,
    files: Files,
    store_uuid: *const segment.Uuid,
    place: Place,
    position: u64,
) Error!bool {
    var window: Window = .{ .gpa = gpa, .files = files };
    defer window.deinit();
    window.open(place.number, std.math.maxInt(u64)) catch |err| switch (err) {
        error.NotExist => return false,
        else => return err,
    };
    const seed = log_frame.seedOf(store_uuid, place.number);
    const frame = try window.frameAt(place.offset, seed) orelse return false;
    return frame.header.kind == .commit and frame.header.position == position;
}
