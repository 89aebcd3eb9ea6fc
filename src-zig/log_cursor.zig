//! Frames of a log that was read and judged, in their order.
//!
//! A cursor follows the chain once more and checks every frame again: what it reads is memory of
//! the disk, which may have changed since. It can begin at each start of a chunk, so that several
//! threads read one log side by side.

const std = @import("std");
const log_chain = @import("log_chain.zig");
const log_frame = @import("log_frame.zig");
const log_reader = @import("log_reader.zig");
const log_scan = @import("log_scan.zig");
const segment = @import("log_segment.zig");
const At = log_reader.At;
const Chain = log_chain.Chain;
const Error = log_reader.Error;
const Frame = log_frame.Frame;
const Live = log_reader.Live;
const LogReader = log_reader.LogReader;
const Place = segment.Place;
const Window = log_scan.Window;
const nextFrame = log_chain.nextFrame;

/// One frame of a cursor.
pub const Item = struct { frame: Frame, place: Place };

/// The frames that count, in their order: commits and parts above `from`, and images of the
/// catalogue from the first segment on. Parts come only if their commit is in the log.
pub const Cursor = struct {
    reader: *const LogReader,
    window: Window,
    live: u32,
    offset: u64 = segment.header_area,
    /// The live segment that the window shows.
    shown: ?u32 = null,
    /// Where it ends, if that is not the end of the log.
    end: ?At = null,
    chain: Chain,
    whole: usize = 0,
    /// The pending parts are those of a transaction that was committed.
    in_whole: bool = false,

    pub fn close(cursor: *Cursor) void {
        cursor.window.deinit();
    }

    /// The next frame, or null at the end. Its body is valid until the next call.
    /// `error.IoError` also if the log has changed since it was opened.
    pub fn next(cursor: *Cursor) Error!?Item {
        const reader = cursor.reader;
        while (cursor.live < reader.live_end) {
            const live = &reader.live[cursor.live];
            if (cursor.end) |end| {
                if (cursor.live == end.live and cursor.offset == end.offset) return null;
            }
            if (cursor.offset == live.end) {
                cursor.live += 1;
                cursor.offset = segment.header_area;
                cursor.chain.sequence = 0;
                continue;
            }
            try cursor.show(live);
            if (try cursor.step(live)) |item| return item;
        }
        return null;
    }

    /// Turns to another chunk, with the memory and the file that it has.
    pub fn turnTo(cursor: *Cursor, number: usize) void {
        var next_chunk = cursor.reader.chunk(number);
        next_chunk.window = cursor.window;
        next_chunk.shown = cursor.shown;
        cursor.* = next_chunk;
    }

    fn show(cursor: *Cursor, live: *const Live) Error!void {
        // Not more than is wanted: others read what follows.
        const is_last = cursor.end != null and cursor.end.?.live == cursor.live;
        const size = if (is_last) cursor.end.?.offset else live.end;
        if (cursor.shown == cursor.live) return cursor.window.limit(size);
        cursor.shown = null;
        try cursor.window.open(live.header.number, size);
        cursor.shown = cursor.live;
    }

    fn step(cursor: *Cursor, live: *const Live) Error!?Item {
        const reader = cursor.reader;
        const seed = log_frame.seedOf(&reader.options.store_uuid, live.header.number);
        const at = cursor.offset;
        const found = try nextFrame(&cursor.window, &cursor.chain, live.limit, at, seed) orelse
            return error.IoError;
        if (found.step != .follows) return error.IoError;
        const frame = found.frame;
        cursor.chain.take(&frame.header);
        cursor.offset = found.offset + frame.header.length;
        const wanted = switch (frame.header.kind) {
            .catalogue => true,
            .commit => frame.header.position > reader.options.from,
            .part => cursor.isOfWhole(&frame.header, found.offset) and
                frame.header.position > reader.options.from,
            else => false,
        };
        if (!wanted) return null;
        const place: Place = .{ .number = live.header.number, .offset = found.offset };
        return .{ .frame = frame, .place = place };
    }

    fn isOfWhole(cursor: *Cursor, header: *const log_frame.Header, offset: u64) bool {
        if (header.part == 0) cursor.enterWhole(.{ .live = cursor.live, .offset = offset });
        return cursor.in_whole;
    }

    /// A transaction in parts begins at a place. Is it the next one that was committed?
    pub fn enterWhole(cursor: *Cursor, at: At) void {
        cursor.in_whole = false;
        const wholes = cursor.reader.wholes.items;
        if (cursor.whole == wholes.len) return;
        const next_whole = wholes[cursor.whole];
        if (next_whole.live != at.live or next_whole.offset != at.offset) return;
        cursor.whole += 1;
        cursor.in_whole = true;
    }
};

/// The images of the catalogue in the log, in their order.
pub const Images = struct {
    reader: *const LogReader,
    window: Window,
    next_image: usize = 0,
    /// The live segment that the window shows.
    live: ?u32 = null,

    pub fn close(images: *Images) void {
        images.window.deinit();
    }

    /// The next image, valid until the next call. `error.IoError` also if the log has changed.
    pub fn next(images: *Images) Error!?[]const u8 {
        const reader = images.reader;
        if (images.next_image == reader.images.items.len) return null;
        const at = reader.images.items[images.next_image];
        images.next_image += 1;
        const live = &reader.live[at.live];
        if (images.live != at.live) try images.window.open(live.header.number, live.end);
        images.live = at.live;
        const seed = log_frame.seedOf(&reader.options.store_uuid, live.header.number);
        const frame = try images.window.frameAt(at.offset, seed) orelse return error.IoError;
        if (frame.header.kind != .catalogue) return error.IoError;
        return frame.image();
    }
};
