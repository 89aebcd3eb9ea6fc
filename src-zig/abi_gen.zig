//! Prints `lib/abi.ts`: the TypeScript side of the border, from the declarations of the Zig side.
//!
//! Numbers that are written by hand on both sides drift apart. Here they are written once, and the
//! hash over all of them is compared when the library is loaded.

const std = @import("std");
const status = @import("status.zig");
const surface = @import("abi_surface.zig");

const width_max = 100;

pub fn main(init: std.process.Init) !void {
    var buffer: [4096]u8 = undefined;
    var file = std.Io.File.stdout().writer(init.io, &buffer);
    try print(&file.interface);
    try file.interface.flush();
}

fn print(writer: *std.Io.Writer) !void {
    try writer.writeAll(
        \\/**
        \\ * The border as the native library publishes it: signatures, codes, offsets and limits.
        \\ *
        \\ * Generated from the Zig sources by `npm run abi`; changes made here are lost.
        \\ *
        \\ * @module
        \\ */
        \\
        \\
    );
    try writer.print(
        \\/** Stands for everything below; a library that returns another number is refused. */
        \\export const abiHash = {d};
        \\
        \\
    , .{surface.hash});
    try printStatuses(writer);
    try printFunctions(writer);
    for (surface.groups) |group| try printGroup(writer, group);
}

fn printStatuses(writer: *std.Io.Writer) !void {
    try writer.writeAll(
        \\/** What each number that the library returns (negated) means. Append-only. */
        \\export const Status = {
        \\
    );
    for (std.enums.values(status.Status)) |code| {
        try writer.print("  {t}: {d},\n", .{ code, @intFromEnum(code) });
    }
    try writer.writeAll(
        \\} as const;
        \\
        \\/** One line for each status that completes "Cannot do this: ...". */
        \\export const statusText = {
        \\
    );
    for (std.enums.values(status.Status)) |code| {
        try writer.print("  {t}: \"{s}\",\n", .{ code, code.text() });
    }
    try writer.writeAll("} as const;\n\n");
}

fn printFunctions(writer: *std.Io.Writer) !void {
    try writer.writeAll(
        \\/** Arguments and result of every exported function. */
        \\export const signatures = {
        \\
    );
    for (surface.functions) |function| {
        try writer.print("  {s}: [[", .{function.name});
        for (function.parameters, 0..) |parameter, i| {
            if (i > 0) try writer.writeAll(", ");
            try writer.print("\"{s}\"", .{parameter});
        }
        try writer.print("], \"{s}\"],\n", .{function.result});
    }
    try writer.writeAll("} as const;\n");
}

fn printGroup(writer: *std.Io.Writer, group: surface.Group) !void {
    try writer.writeByte('\n');
    if (group.doc.len + 7 <= width_max) {
        try writer.print("/** {s} */\n", .{group.doc});
    } else {
        try writer.writeAll("/**");
        var column: usize = width_max;
        var words = std.mem.tokenizeScalar(u8, group.doc, ' ');
        while (words.next()) |word| {
            if (column + 1 + word.len > width_max) {
                try writer.writeAll("\n *");
                column = 2;
            }
            try writer.print(" {s}", .{word});
            column += 1 + word.len;
        }
        try writer.writeAll("\n */\n");
    }
    try writer.print("export const {s} = {{\n", .{group.name});
    for (group.numbers) |number| try writer.print("  {s}: {d},\n", .{ number.name, number.value });
    try writer.writeAll("} as const;\n");
}

test "print: is stable and names everything" {
    var buffer: [64 * 1024]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    try print(&writer);
    const text = writer.buffered();
    for ([_][]const u8{
        "export const abiHash = ",
        "  region_full: 6,\n",
        "  aero_row_upsert: [[\"u32\", \"u32\", \"u32\", \"u32\"], \"i32\"],\n",
        "  input_address: 0,\n",
        "  timestamp: 7,\n",
    }) |part| try std.testing.expect(std.mem.indexOf(u8, text, part) != null);
    var lines = std.mem.splitScalar(u8, text, '\n');
    while (lines.next()) |line| try std.testing.expect(line.len <= width_max);
}
