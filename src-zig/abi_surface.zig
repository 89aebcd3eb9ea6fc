//! Everything about which the library and `lib/abi.ts` must agree, found by reflection over the
//! declarations themselves, and one number that stands for all of it.
//!
//! The generator prints it, and the library returns the number from `aero_abi_hash`. TypeScript
//! refuses a library whose number differs from the one in its own copy.

const std = @import("std");
const abi = @import("abi.zig");
const aggregate = @import("aggregate.zig");
const analyze = @import("analyze.zig");
const abi_control = @import("abi_control.zig");
const cold_recovery = @import("cold_recovery.zig");
const limits = @import("limits.zig");
const plan = @import("plan.zig");
const region = @import("region.zig");
const result = @import("result.zig");
const schema_blob = @import("schema_blob.zig");
const status = @import("status.zig");
const table_info = @import("table_info.zig");
const version = @import("version.zig");
const assert = std.debug.assert;

/// Raised when the meaning of something changes that reflection does not see.
const abi_version = 1;

pub const Number = struct { name: []const u8, value: u64 };

/// A group of numbers that becomes one constant object in TypeScript.
pub const Group = struct {
    name: []const u8,
    doc: []const u8,
    numbers: []const Number,
};

pub const Function = struct {
    name: []const u8,
    parameters: []const []const u8,
    result: []const u8,
};

/// The exported functions in the order of their declaration.
pub const functions: []const Function = blk: {
    @setEvalBranchQuota(100_000);
    var list: []const Function = &.{};
    for (@typeInfo(abi).@"struct".decls) |decl| {
        if (!std.mem.startsWith(u8, decl.name, "aero_")) continue;
        const info = @typeInfo(@TypeOf(@field(abi, decl.name))).@"fn";
        assert(info.params.len <= 8); // More leave the registers and the hosts' fast paths.
        var parameters: []const []const u8 = &.{};
        for (info.params) |parameter| {
            parameters = parameters ++ .{typeName(parameter.type.?)};
        }
        const returned = typeName(info.return_type.?);
        assert(!std.mem.eql(u8, returned, "buffer"));
        list = list ++ .{Function{
            .name = decl.name,
            .parameters = parameters,
            .result = returned,
        }};
    }
    break :blk list;
};

/// Only what both hosts pass without a detour may cross the border.
fn typeName(comptime T: type) []const u8 {
    return switch (T) {
        u32 => "u32",
        i32 => "i32",
        f64 => "f64",
        void => "void",
        ?[*]u8, ?[*]const u8 => "buffer",
        else => @compileError(@typeName(T) ++ " cannot cross the border"),
    };
}

pub const groups: []const Group = &.{
    .{
        .name = "Control",
        .doc = "Bytes from the start of a connection's control block to each field, and its size.",
        .numbers = fieldOffsets(abi_control.Control, &.{
            .{ .name = "size", .value = @sizeOf(abi_control.Control) },
        }),
    },
    .{
        .name = "Kind",
        .doc = "The number of each column type in schema blobs.",
        .numbers = enumValues(table_info.Kind),
    },
    .{
        .name = "ColumnFlag",
        .doc = "What the flag byte of a column in a schema blob can say.",
        .numbers = flagValues(table_info.ColumnFlags),
    },
    .{
        .name = "Limit",
        .doc = "The limits of schemas, rows and buffers.",
        .numbers = &.{
            .{ .name = "columns_max", .value = table_info.column_count_max },
            .{ .name = "tables_max", .value = limits.table_count_max },
            .{ .name = "name_size_max", .value = table_info.name_size_max },
            .{ .name = "key_size_max", .value = table_info.key_capacity_max },
            .{ .name = "inline_size_max", .value = table_info.inline_capacity_max },
            .{ .name = "payload_size_max", .value = table_info.row_payload_size_max },
            .{ .name = "schema_size_max", .value = schema_blob.size_max },
            .{ .name = "composite_indexes_max", .value = schema_blob.index_count_max },
            .{ .name = "index_columns_max", .value = schema_blob.index_column_count_max },
            .{ .name = "clauses_max", .value = plan.clause_count_max },
            .{ .name = "keys_max", .value = plan.key_count_max },
            .{ .name = "region_size_min", .value = limits.region_size_min },
            .{ .name = "region_size_max", .value = limits.region_size_max },
            .{ .name = "buffer_size", .value = abi.buffer_size },
            .{ .name = "transactions_max", .value = limits.transaction_slot_count },
            .{ .name = "processes_max", .value = limits.process_count },
            .{ .name = "window_size", .value = 1 << 30 },
        },
    },
    .{
        .name = "Record",
        .doc = "Bytes from the start of a row record to each field, and the size of its header.",
        .numbers = fieldOffsets(result.RecordHeader, &.{
            .{ .name = "size", .value = @sizeOf(result.RecordHeader) },
        }),
    },
    .{
        .name = "Version",
        .doc = "Bytes from the start of a row version in the region to each field, and the size " ++
            "of its header. The payload follows.",
        .numbers = fieldOffsets(version.Version, &.{
            .{ .name = "size", .value = @sizeOf(version.Version) },
        }),
    },
    .{
        .name = "OpenFlag",
        .doc = "Flags of `aero_open`.",
        .numbers = flagValues(abi.OpenFlags),
    },
    .{
        .name = "RowsFlag",
        .doc = "Flags of `aero_rows_upsert`.",
        .numbers = flagValues(abi.RowsFlags),
    },
    .{
        .name = "TransactionFlag",
        .doc = "Flags of `aero_transaction_begin`.",
        .numbers = flagValues(abi.TransactionFlags),
    },
    .{
        .name = "Setting",
        .doc = "The number of each setting of a region.",
        .numbers = enumValues(abi.Setting),
    },
    .{
        .name = "LogState",
        .doc = "The number of each state of the log.",
        .numbers = enumValues(region.LogState),
    },
    .{
        .name = "TaskKind",
        .doc = "The number of each kind of task.",
        .numbers = enumValues(abi.TaskKind),
    },
    .{
        .name = "RecoveryPhase",
        .doc = "The number of each phase of a recovery.",
        .numbers = enumValues(cold_recovery.Phase),
    },
    .{
        .name = "Route",
        .doc = "The number of each route in a plan.",
        .numbers = enumValues(plan.Route),
    },
    .{
        .name = "PlanFlag",
        .doc = "Flags of a plan.",
        .numbers = flagValues(plan.Flags),
    },
    .{
        .name = "ScanFlag",
        .doc = "Flags of an index route in a plan.",
        .numbers = flagValues(plan.ScanFlags),
    },
    .{
        .name = "PlanHeader",
        .doc = "Bytes from the start of a plan to each field, and the size of its header.",
        .numbers = fieldOffsets(plan.Header, &.{
            .{ .name = "size", .value = @sizeOf(plan.Header) },
        }),
    },
    .{
        .name = "Clause",
        .doc = "Bytes from the start of a clause to each field, and its size.",
        .numbers = fieldOffsets(plan.Clause, &.{
            .{ .name = "size", .value = @sizeOf(plan.Clause) },
        }),
    },
    .{
        .name = "ClauseOp",
        .doc = "The number of each operator of a clause.",
        .numbers = enumValues(plan.Op),
    },
    .{
        .name = "ClauseFlag",
        .doc = "Flags of a clause.",
        .numbers = flagValues(plan.ClauseFlags),
    },
    .{
        .name = "SortFlag",
        .doc = "Flags of a sort field.",
        .numbers = flagValues(plan.SortFlags),
    },
    .{
        .name = "AggregateFunction",
        .doc = "The number of each aggregate.",
        .numbers = enumValues(aggregate.Function),
    },
    .{
        .name = "Answer",
        .doc = "Bytes from the start of an aggregate's answer to each field, and its size.",
        .numbers = fieldOffsets(aggregate.Answer, &.{
            .{ .name = "size", .value = @sizeOf(aggregate.Answer) },
        }),
    },
    .{
        .name = "AnswerState",
        .doc = "What an answer holds.",
        .numbers = enumValues(aggregate.Answer.State),
    },
    .{
        .name = "Report",
        .doc = "Bytes from the start of a measurement to each field, and its size. Steps follow.",
        .numbers = fieldOffsets(analyze.Report, &.{
            .{ .name = "size", .value = @sizeOf(analyze.Report) },
        }),
    },
    .{
        .name = "Step",
        .doc = "Bytes from the start of a measured test to each field, and its size.",
        .numbers = fieldOffsets(analyze.Step, &.{
            .{ .name = "size", .value = @sizeOf(analyze.Step) },
        }),
    },
    .{
        .name = "Region",
        .doc = "What every region begins with.",
        .numbers = &.{
            .{ .name = "magic", .value = region.magic_expected },
            .{ .name = "layout_version", .value = region.layout_version_current },
        },
    },
};

/// The offsets of the fields that mean something.
fn fieldOffsets(comptime T: type, comptime first: []const Number) []const Number {
    var list = first;
    for (std.meta.fields(T)) |field| {
        if (std.mem.startsWith(u8, field.name, "reserved")) continue;
        list = list ++ .{Number{ .name = field.name, .value = @offsetOf(T, field.name) }};
    }
    return list;
}

fn enumValues(comptime T: type) []const Number {
    var list: []const Number = &.{};
    for (std.meta.fields(T)) |field| {
        list = list ++ .{Number{ .name = field.name, .value = field.value }};
    }
    return list;
}

fn flagValues(comptime T: type) []const Number {
    var list: []const Number = &.{};
    for (std.meta.fields(T)) |field| {
        if (std.mem.startsWith(u8, field.name, "reserved")) continue;
        const bit: u64 = 1 << @bitOffsetOf(T, field.name);
        list = list ++ .{Number{ .name = field.name, .value = bit }};
    }
    return list;
}

/// Stands for everything above. Below 2^53, so that TypeScript reads it exactly.
pub const hash: u64 = blk: {
    @setEvalBranchQuota(1_000_000);
    var sum: u64 = 0xcbf29ce484222325;
    sum = mixNumber(sum, abi_version);
    for (functions) |function| {
        sum = mixText(sum, function.name);
        for (function.parameters) |parameter| sum = mixText(sum, parameter);
        sum = mixText(sum, function.result);
    }
    for (std.meta.fields(status.Status)) |field| {
        sum = mixNumber(mixText(sum, field.name), field.value);
    }
    for (groups) |group| {
        sum = mixText(sum, group.name);
        for (group.numbers) |number| sum = mixNumber(mixText(sum, number.name), number.value);
    }
    break :blk (sum ^ sum >> 53) & ((1 << 53) - 1);
};

fn mixText(start: u64, text: []const u8) u64 {
    var sum = start;
    for (text) |byte| sum = mixByte(sum, byte);
    return mixByte(sum, 0);
}

fn mixNumber(start: u64, number: u64) u64 {
    var sum = start;
    for (0..8) |i| sum = mixByte(sum, @truncate(number >> @intCast(8 * i)));
    return sum;
}

/// FNV-1a.
fn mixByte(sum: u64, byte: u8) u64 {
    return (sum ^ byte) *% 0x100000001b3;
}

test "hash: is a whole number that TypeScript can hold" {
    const as_float: f64 = @floatFromInt(hash);
    try std.testing.expectEqual(hash, @as(u64, @intFromFloat(as_float)));
    try std.testing.expect(functions.len >= 32);
}
