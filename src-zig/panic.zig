//! What happens when an assertion of ours fails: one line that names Aerostore, then abort.
//!
//! A panic inside the library takes the host process down and cannot be caught, and the host's own
//! crash report would send people to the wrong project. There is no stack trace in a release
//! build: the machinery for it is most of a small library's size.

const std = @import("std");
const builtin = @import("builtin");
const build_options = @import("build_options");

/// Called first, with the region still mapped. Set by whoever can mark regions as not trusted.
pub var on_panic: ?*const fn () void = null;

pub fn panic(message: []const u8, return_address: ?usize) noreturn {
    @branchHint(.cold);
    const hook = on_panic;
    on_panic = null; // A panic inside the hook shall not call it again.
    if (hook) |run| run();
    if (builtin.mode == .Debug) std.debug.defaultPanic(message, return_address);

    write("Aerostore " ++ build_options.version ++ " panicked: ");
    write(message);
    write("\nThis is a bug in Aerostore, not in the program that loaded it.\n");
    std.process.abort();
}

fn write(bytes: []const u8) void {
    const stderr = 2;
    if (builtin.os.tag == .linux) {
        _ = std.os.linux.write(stderr, bytes.ptr, bytes.len);
    } else {
        _ = std.c.write(stderr, bytes.ptr, bytes.len);
    }
}
