//! For unit tests that take minutes on an emulated processor and say nothing about a processor:
//! what they try at length are files in memory, by one thread.

const std = @import("std");

/// Skips the test if whoever runs the tests says that the processor is emulated.
pub fn skip() error{SkipZigTest}!void {
    if (std.c.getenv("AEROSTORE_EMULATED") != null) return error.SkipZigTest;
}
