//! Fibers: several call stacks on one operating system thread, switched by hand.
//!
//! The switch saves exactly the registers that the C calling convention lets a function keep, so
//! for the compiler it is an ordinary call that returns later. It is a function of its own, never
//! inlined: an inline switch in a loop lets the compiler keep values in registers that the other
//! stack destroys.
//!
//! A fiber that is abandoned in the middle is simply started again from the top; nothing is
//! unwound, which is what being killed looks like.

const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;

/// Bytes of one stack. Engine code in debug builds uses a few kilobytes; formatted printing more.
const stack_size: usize = 512 << 10;

/// A stack and, while it does not run, the stack pointer at which it continues.
pub const Fiber = struct {
    stack: []align(std.heap.page_size_min) u8 = &.{},
    stack_pointer: usize = 0,

    /// Prepares the fiber so that the first switch to it calls `entry`, which never returns.
    pub fn start(fiber: *Fiber, entry: *const fn () callconv(.c) noreturn) void {
        if (fiber.stack.len == 0) fiber.stack = allocateStack();
        const top = @intFromPtr(fiber.stack.ptr) + fiber.stack.len;
        fiber.stack_pointer = top - initial_frame_size;
        const words: [*]usize = @ptrFromInt(fiber.stack_pointer);
        @memset(words[0 .. initial_frame_size / @sizeOf(usize)], 0);
        words[return_address_index] = @intFromPtr(entry);
    }

    /// Stops the stack that runs now, which is `from`, and continues `to`.
    pub fn switchTo(from: *Fiber, to: *Fiber) void {
        assert(from != to);
        switch_function(&from.stack_pointer, to.stack_pointer);
    }
};

/// A stack that overflows hits an unmapped page instead of somebody else's memory.
fn allocateStack() []align(std.heap.page_size_min) u8 {
    const guard = std.heap.pageSize();
    const memory = std.posix.mmap(
        null,
        stack_size + guard,
        .{},
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true },
        -1,
        0,
    ) catch @panic("no memory for a fiber stack");
    const usable: []align(std.heap.page_size_min) u8 = @alignCast(memory[guard..]);
    const rc = std.posix.system.mprotect(usable.ptr, usable.len, .{ .READ = true, .WRITE = true });
    if (rc != 0) @panic("no memory for a fiber stack");
    return usable;
}

/// The switch as the C function that it is for its callers.
const switch_function: *const fn (old: *usize, new: usize) callconv(.c) void =
    @ptrCast(&switchStacks);

/// What the switch finds on a fresh stack: saved registers and where to return to. The size keeps
/// the alignment that the calling convention promises at a function's entry.
const initial_frame_size: usize = switch (builtin.cpu.arch) {
    .x86_64 => 64,
    .aarch64 => 160,
    else => @compileError("fibers need a context switch for this architecture"),
};
const return_address_index: usize = switch (builtin.cpu.arch) {
    .x86_64 => 6,
    .aarch64 => 11,
    else => unreachable,
};

/// Stores the stack pointer in the first argument's word and loads the second argument into it.
/// Naked, because a prologue would run on one stack and its epilogue on the other.
fn switchStacks() callconv(.naked) void {
    switch (builtin.cpu.arch) {
        .x86_64 => asm volatile (
            \\pushq %%rbp
            \\pushq %%rbx
            \\pushq %%r12
            \\pushq %%r13
            \\pushq %%r14
            \\pushq %%r15
            \\movq %%rsp, (%%rdi)
            \\movq %%rsi, %%rsp
            \\popq %%r15
            \\popq %%r14
            \\popq %%r13
            \\popq %%r12
            \\popq %%rbx
            \\popq %%rbp
            \\retq
        ),
        .aarch64 => asm volatile (
            \\sub sp, sp, #160
            \\stp x19, x20, [sp, #0]
            \\stp x21, x22, [sp, #16]
            \\stp x23, x24, [sp, #32]
            \\stp x25, x26, [sp, #48]
            \\stp x27, x28, [sp, #64]
            \\stp x29, x30, [sp, #80]
            \\stp d8, d9, [sp, #96]
            \\stp d10, d11, [sp, #112]
            \\stp d12, d13, [sp, #128]
            \\stp d14, d15, [sp, #144]
            \\mov x9, sp
            \\str x9, [x0]
            \\mov sp, x1
            \\ldp x19, x20, [sp, #0]
            \\ldp x21, x22, [sp, #16]
            \\ldp x23, x24, [sp, #32]
            \\ldp x25, x26, [sp, #48]
            \\ldp x27, x28, [sp, #64]
            \\ldp x29, x30, [sp, #80]
            \\ldp d8, d9, [sp, #96]
            \\ldp d10, d11, [sp, #112]
            \\ldp d12, d13, [sp, #128]
            \\ldp d14, d15, [sp, #144]
            \\add sp, sp, #160
            \\ret
        ),
        else => comptime unreachable,
    }
}

var test_main: Fiber = .{};
var test_other: Fiber = .{};
var test_count: u32 = 0;

fn testEntry() callconv(.c) noreturn {
    while (true) {
        test_count += 1;
        test_other.switchTo(&test_main);
    }
}

test "Fiber: continues where it stopped, and starts over after start" {
    for (0..2) |_| {
        test_count = 0;
        test_other.start(testEntry);
        for (0..3) |_| test_main.switchTo(&test_other);
        try std.testing.expectEqual(3, test_count);
    }
}
