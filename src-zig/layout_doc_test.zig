//! The diagrams of README.md and LOG.md in this directory against the declarations that they show.
//!
//! A diagram is a fenced block whose info string is `text NAME`. Each row starts with an offset,
//! and each bar after that stands at the first byte of a cell, at 11 characters for a byte.

const std = @import("std");
const catalogue = @import("catalogue.zig");
const commit_ring = @import("commit_ring.zig");
const log_frame = @import("log_frame.zig");
const log_row = @import("log_row.zig");
const log_segment = @import("log_segment.zig");
const index_guide_block = @import("index_guide_block.zig");
const ordered_index = @import("ordered_index.zig");
const region = @import("region.zig");
const slabs = @import("slabs.zig");
const slot_log = @import("slot_log.zig");
const version = @import("version.zig");

const page = @embedFile("README.md") ++ @embedFile("LOG.md");
const byte_width = 11;

const structures = .{
    .{ "Header", region.Header },
    .{ "Offsets", region.Offsets },
    .{ "Control", region.Control },
    .{ "SharedLine", region.SharedLine },
    .{ "LeaderLine", region.LeaderLine },
    .{ "MemoryLine", region.MemoryLine },
    .{ "LogLine", region.LogLine },
    .{ "CatalogueLine", region.CatalogueLine },
    .{ "Process", region.Process },
    .{ "Slot", region.Slot },
    .{ "Bucket", region.Bucket },
    .{ "SlabMeta", region.SlabMeta },
    .{ "Version", version.Version },
    .{ "NodeHeader", version.NodeHeader },
    .{ "IndexRoot", ordered_index.Root },
    .{ "IndexNode", ordered_index.Node },
    .{ "GuideBlock", index_guide_block.Block },
    .{ "ChunkHeader", slot_log.ChunkHeader },
    .{ "Entry", slot_log.Entry },
    .{ "DescriptorHeader", catalogue.DescriptorHeader },
    .{ "SegmentHeader", log_segment.Header },
    .{ "FrameHeader", log_frame.Header },
};

const words = .{
    commit_ring.SlotWord,
    commit_ring.Cell,
    slot_log.Tail,
    slabs.SlabKind,
    version.Head,
    version.Link,
    ordered_index.State,
    index_guide_block.Reference,
    @import("index_summary.zig").Summary,
};

const numbers = .{
    region.RegionState,
    region.ProcessState,
    region.LogState,
    commit_ring.State,
    commit_ring.CellState,
    slabs.Class,
    version.Head.State,
    slot_log.Kind,
    ordered_index.State.Phase,
    log_frame.Kind,
    log_row.Operation,
};

/// A part of a diagram: its name, and where it stands.
const Cell = struct { name: []const u8, offset: usize, size: usize };

/// Goes through the cells of one diagram.
const Cells = struct {
    lines: std.mem.SplitIterator(u8, .scalar),
    line: []const u8 = "",
    /// Where the first bar of the line is, and the next one to look at.
    first: usize = 0,
    bar: usize = 0,
    offset: usize = 0,

    fn of(comptime name: []const u8) ?Cells {
        const start = "```text " ++ name ++ "\n";
        const at = std.mem.indexOf(u8, page, start) orelse return null;
        const end = std.mem.indexOfPos(u8, page, at + start.len, "```") orelse return null;
        return .{ .lines = std.mem.splitScalar(u8, page[at + start.len .. end], '\n') };
    }

    fn next(cells: *Cells) !?Cell {
        while (true) {
            if (std.mem.indexOfScalarPos(u8, cells.line, cells.bar + 1, '|')) |end| {
                const text = std.mem.trim(u8, cells.line[cells.bar + 1 .. end], " ");
                const within = (cells.bar - cells.first) / byte_width;
                const size = (end - cells.bar) / byte_width;
                cells.bar = end;
                const name_end = std.mem.indexOfAny(u8, text, " :") orelse text.len;
                const offset = cells.offset + within;
                return .{ .name = text[0..name_end], .offset = offset, .size = size };
            }
            cells.line = cells.lines.next() orelse return null;
            cells.first = std.mem.indexOfScalar(u8, cells.line, '|') orelse cells.line.len;
            cells.bar = cells.first;
            if (cells.first == cells.line.len) continue;
            const offset = std.mem.trim(u8, cells.line[0..cells.first], " ");
            cells.offset = try std.fmt.parseInt(usize, offset, 10);
        }
    }
};

/// Bytes that have no meaning, and what follows a structure.
fn isFiller(name: []const u8) bool {
    for ([_][]const u8{ "reserved", "padding", "the", "links" }) |filler| {
        if (std.mem.startsWith(u8, name, filler)) return true;
    }
    return false;
}

fn isMeant(comptime name: []const u8) bool {
    return !std.mem.startsWith(u8, name, "reserved") and !std.mem.startsWith(u8, name, "padding");
}

fn expectDiagram(comptime name: []const u8, comptime T: type) !void {
    var cells = Cells.of(name) orelse return missing("a diagram \"text " ++ name ++ "\"");
    var shown: usize = 0;
    next: while (try cells.next()) |cell| {
        inline for (std.meta.fields(T)) |field| {
            if (comptime !isMeant(field.name)) continue;
            if (std.mem.eql(u8, cell.name, field.name)) {
                errdefer std.debug.print("{s}.{s} stands elsewhere\n", .{ name, field.name });
                try std.testing.expectEqual(@offsetOf(T, field.name), cell.offset);
                try std.testing.expectEqual(@min(@sizeOf(field.type), 8), cell.size);
                shown += 1;
                continue :next;
            }
        }
        if (isFiller(cell.name)) continue;
        std.debug.print("{s} has no field {s}\n", .{ name, cell.name });
        return error.UnknownField;
    }
    comptime var meant: usize = 0;
    inline for (std.meta.fields(T)) |field| meant += @intFromBool(comptime isMeant(field.name));
    errdefer std.debug.print("{s} has a field that is not shown\n", .{name});
    try std.testing.expectEqual(meant, shown);
}

fn expectText(text: []const u8) !void {
    if (std.mem.indexOf(u8, page, text) == null) return missing(text);
}

fn missing(text: []const u8) error{Missing} {
    std.debug.print("README.md or LOG.md should have {s}\n", .{text});
    return error.Missing;
}

test "README.md: the diagrams show the structures of the region" {
    inline for (structures) |structure| try expectDiagram(structure[0], structure[1]);
}

test "README.md: words are divided as it says" {
    @setEvalBranchQuota(100_000);
    inline for (words) |T| {
        comptime var text: []const u8 = "";
        inline for (std.meta.fields(T)) |field| {
            text = text ++ std.fmt.comptimePrint("{s}{s}:{d}", .{
                if (text.len > 0) " " else "", field.name, @bitSizeOf(field.type),
            });
        }
        try expectText("`" ++ text ++ "`");
    }
}

test "README.md: numbers of the region mean what it says" {
    @setEvalBranchQuota(100_000);
    inline for (numbers) |T| {
        inline for (std.meta.fields(T)) |field| {
            try expectText(std.fmt.comptimePrint("`{s}` = {d}", .{ field.name, field.value }));
        }
    }
    try expectText(std.fmt.comptimePrint("magic = 0x{X}", .{region.magic_expected}));
    try expectText(std.fmt.comptimePrint(
        "layout_version = {d}",
        .{region.layout_version_current},
    ));
}
