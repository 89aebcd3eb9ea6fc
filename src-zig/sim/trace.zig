//! Prints a run access by access: who, what, where in memory, and the source line. An address in
//! the region under test is printed as `@` and the offset from its start.

const std = @import("std");
const sync = @import("sync");
const scheduler = sync.scheduler;

pub fn print(event: scheduler.Event) void {
    const region = sync.memory.watched();
    const start = @intFromPtr(region.ptr);
    const inside = event.address >= start and event.address < start + region.len;
    std.debug.print("{d} {d:>4} {s:<10} {s}{x:0>8} {x} -> {x}  ", .{
        event.task,
        scheduler.accessesOf(event.task),
        event.operation,
        if (inside) "@" else "&",
        if (inside) event.address - start else event.address,
        event.before,
        event.after,
    });
    var addresses = [_]usize{event.caller};
    std.debug.dumpStackTrace(&.{ .return_addresses = &addresses, .skipped = .none });
}
