//! Builds the engine, its tests and its tools. `zig build --help` lists every step and option.
//!
//! The engine never names the file behind `@import("sync")`: it is injected here, as the native
//! one (real atomics and system calls) or as the simulated one (every access is a scheduling
//! point of a seeded scheduler). The same sources thus make the shared library and the simulator.
//!
//! A Zig file belongs to one module only. So whatever both `sync` files need must be theirs alone
//! or come from `std`, and a program that exercises the engine from outside, as those in
//! `src-zig/sim/` do, reaches it as `@import("aerostore")`, never by a relative path.

const std = @import("std");
const Build = std.Build;

const engine_path = "src-zig/aerostore.zig";
const generated_path = "lib/abi.ts";

const Personality = enum {
    native,
    simulated,

    fn syncPath(personality: Personality) []const u8 {
        return switch (personality) {
            .native => "src-zig/sync_native.zig",
            .simulated => "src-zig/sim/sync_sim.zig",
        };
    }
};

/// What `zig build cross` makes: every platform a release carries a library for.
const release_triples = [_][]const u8{
    "x86_64-linux-gnu.2.17",
    "x86_64-linux-musl",
    "aarch64-linux-gnu.2.17",
    "aarch64-linux-musl",
    "x86_64-macos",
    "aarch64-macos",
};

/// A program that runs against the native engine.
const Tool = struct {
    name: []const u8,
    about: []const u8,
    path: []const u8,
    /// How it reaches the engine: its files belong to the program, or it is a module of its own.
    engine: enum { included, imported },
};

const tools = [_]Tool{
    .{
        .name = "fuzz",
        .about = "Run one fuzzer: zig build fuzz -- NAME SEED",
        .path = "src-zig/fuzz.zig",
        .engine = .included,
    },
    .{
        .name = "crashstep",
        .about = "Stop an operation after every instruction and recover",
        .path = "src-zig/sim/crashstep.zig",
        .engine = .imported,
    },
    .{
        .name = "bench-native",
        .about = "Measure the engine without a host; add -Doptimize=ReleaseSafe",
        .path = "src-zig/bench_native.zig",
        .engine = .imported,
    },
    .{
        .name = "bench-ingest",
        .about = "Measure the parser of ingest; add -Doptimize=ReleaseSafe",
        .path = "src-zig/bench_ingest.zig",
        .engine = .included,
    },
    .{
        .name = "bench-index",
        .about = "Measure secondary indexes; add -Doptimize=ReleaseSafe",
        .path = "src-zig/bench_index.zig",
        .engine = .included,
    },
    .{
        .name = "bench-recovery",
        .about = "Measure recovery and attaching; add -Doptimize=ReleaseSafe",
        .path = "src-zig/bench_recovery.zig",
        .engine = .included,
    },
    .{
        .name = "bench-filter",
        .about = "Measure compiled filters; add -Doptimize=ReleaseSafe",
        .path = "src-zig/bench_filter.zig",
        .engine = .included,
    },
};

pub fn build(b: *Build) void {
    const house: House = .init(b);

    const library = house.library(house.target, house.optimize);
    const install = b.addInstallArtifact(library, .{ .dest_dir = house.libraryPlace() });
    b.getInstallStep().dependOn(&install.step);

    addTests(house);
    addSimulator(house);
    for (tools) |tool| addTool(house, tool);
    addGenerated(house);
    addCross(house);

    const format = b.addFmt(.{ .paths = &.{ "build.zig", "src-zig" }, .check = true });
    b.step("fmt-check", "Fail if a Zig file is not formatted").dependOn(&format.step);
}

/// The options of this run of `zig build`, and the modules made from them.
const House = struct {
    b: *Build,
    target: Build.ResolvedTarget,
    optimize: std.builtin.OptimizeMode,
    strip: ?bool,
    tsan: bool,
    /// Null lets the compiler choose: its own backend for Debug on x86-64, otherwise LLVM.
    llvm: ?bool,
    filters: []const []const u8,
    /// Where a library stands that must never take the place of the sound one.
    place: ?[]const u8,
    /// One module for all: its file must not belong to two modules of a program.
    options: *Build.Module,

    fn init(b: *Build) House {
        const tsan = b.option(bool, "tsan", "Instrument with ThreadSanitizer") orelse false;
        const llvm = b.option(bool, "llvm", "Force the LLVM backend on or off");

        const mutation = b.option(
            []const u8,
            "mutation",
            "Put a mistake into the library, to prove that tests notice: see sync.Mutation",
        ) orelse "none";

        const other_layout = b.option(
            bool,
            "other-layout",
            "Let regions of the library be those of another version, to test that it is refused",
        ) orelse false;

        const options = b.addOptions();
        options.addOption([]const u8, "version", packageVersion(b));
        options.addOption([]const u8, "mutation", mutation);
        options.addOption(bool, "other_layout", other_layout);

        return .{
            .b = b,
            .target = b.resolveTargetQuery(targetQuery(b)),
            .optimize = b.standardOptimizeOption(.{}),
            .strip = b.option(bool, "strip", "Leave out debug information"),
            .tsan = tsan,
            // ThreadSanitizer is silently ignored by the compiler's own backend.
            .llvm = if (tsan) true else llvm,
            .filters = b.option(
                []const []const u8,
                "test-filter",
                "Run only tests whose name contains this; may be repeated",
            ) orelse &.{},
            .place = if (other_layout)
                "other-layout"
            else if (!std.mem.eql(u8, mutation, "none"))
                b.fmt("mutated/{s}", .{mutation})
            else
                null,
            .options = options.createModule(),
        };
    }

    fn module(
        house: House,
        path: []const u8,
        target: Build.ResolvedTarget,
        optimize: std.builtin.OptimizeMode,
    ) *Build.Module {
        const made = house.b.createModule(.{
            .root_source_file = house.b.path(path),
            .target = target,
            .optimize = optimize,
            // Threads started inside a loaded library need libc's set-up of thread-local storage.
            .link_libc = true,
            .pic = true,
            .sanitize_thread = house.tsan,
            .strip = house.strip,
            .omit_frame_pointer = false,
        });
        made.addImport("build_options", house.options);
        return made;
    }

    fn syncModule(house: House, personality: Personality) *Build.Module {
        return house.module(personality.syncPath(), house.target, house.optimize);
    }

    fn library(
        house: House,
        target: Build.ResolvedTarget,
        optimize: std.builtin.OptimizeMode,
    ) *Build.Step.Compile {
        const engine = house.module(engine_path, target, optimize);
        engine.addImport("sync", house.module(Personality.native.syncPath(), target, optimize));
        return house.b.addLibrary(.{
            .name = "aerostore",
            .linkage = .dynamic,
            .root_module = engine,
            .use_llvm = house.llvm,
        });
    }

    fn libraryPlace(house: House) Build.Step.InstallArtifact.Options.Dir {
        const place = house.place orelse return .default;
        return .{ .override = .{ .custom = place } };
    }

    /// The module of a program that sees the engine as `@import("aerostore")`.
    fn workbench(house: House, path: []const u8, personality: Personality) *Build.Module {
        const sync = house.syncModule(personality);
        const engine = house.module(engine_path, house.target, house.optimize);
        engine.addImport("sync", sync);

        const program = house.module(path, house.target, house.optimize);
        program.addImport("sync", sync);
        program.addImport("aerostore", engine);
        return program;
    }

    fn addTest(house: House, name: []const u8, root: *Build.Module) *Build.Step.Compile {
        return house.b.addTest(.{
            .name = name,
            .root_module = root,
            .filters = house.filters,
            .use_llvm = house.llvm,
        });
    }

    /// Returns whether a source file is there. A step whose file is missing fails alone instead of
    /// taking all others with it.
    fn has(house: House, path: []const u8) bool {
        house.b.build_root.handle.access(house.b.graph.io, path, .{}) catch return false;
        return true;
    }

    fn missing(house: House, step: *Build.Step, path: []const u8) void {
        step.dependOn(&house.b.addFail(house.b.fmt("there is no {s}", .{path})).step);
    }
};

/// The target asked for, or the host's with the oldest C library and CPU that releases support. A
/// library built for the host itself would carry this machine's vector instructions and newest
/// glibc symbols, and die elsewhere.
fn targetQuery(b: *Build) std.Target.Query {
    const host = b.graph.host.result;
    const arch = @tagName(host.cpu.arch);
    const triple = switch (host.os.tag) {
        .linux => if (host.abi.isMusl())
            b.fmt("{s}-linux-musl", .{arch})
        else
            b.fmt("{s}-linux-gnu.2.17", .{arch}),
        else => b.fmt("{s}-{s}", .{ arch, @tagName(host.os.tag) }),
    };
    return withMinimumCpu(b.standardTargetOptionsQueryOnly(.{ .default_target = parse(triple) }));
}

/// The processors below which the library is not built: x86-64-v2 brings the 128-bit compare and
/// swap and the CRC-32C instruction, the ARM extensions the same.
fn withMinimumCpu(query: std.Target.Query) std.Target.Query {
    if (query.cpu_model != .determined_by_arch_os) return query;

    var raised = query;
    switch (query.cpu_arch orelse return query) {
        .x86_64 => raised.cpu_model = .{ .explicit = &std.Target.x86.cpu.x86_64_v2 },
        .aarch64 => if (query.os_tag == .macos) {
            raised.cpu_model = .{ .explicit = &std.Target.aarch64.cpu.apple_m1 };
        } else {
            raised.cpu_model = .{ .explicit = &std.Target.aarch64.cpu.generic };
            raised.cpu_features_add.addFeature(@intFromEnum(std.Target.aarch64.Feature.crc));
            raised.cpu_features_add.addFeature(@intFromEnum(std.Target.aarch64.Feature.lse));
        },
        else => {},
    }
    return raised;
}

fn parse(triple: []const u8) std.Target.Query {
    return std.Target.Query.parse(.{ .arch_os_abi = triple }) catch
        std.debug.panic("cannot parse the target {s}", .{triple});
}

/// package.json is the one place that states the version.
fn packageVersion(b: *Build) []const u8 {
    const Package = struct { version: []const u8 };
    const package = std.json.parseFromSliceLeaky(
        Package,
        b.allocator,
        @embedFile("package.json"),
        .{ .ignore_unknown_fields = true },
    ) catch |err| std.debug.panic("package.json: {t}", .{err});
    return package.version;
}

/// Each module has tests of its own: a test program runs only those of its root module.
fn addTests(house: House) void {
    const b = house.b;
    const run_step = b.step("test", "Run the unit tests");
    const install_step = b.step("test-programs", "Build the unit tests into <prefix>/test/");

    const sync = house.syncModule(.native);
    const engine = house.module(engine_path, house.target, house.optimize);
    engine.addImport("sync", sync);

    const suites = [_]*Build.Step.Compile{
        house.addTest("engine", engine),
        house.addTest("sync", sync),
        house.addTest("simulated-sync", house.syncModule(.simulated)),
        house.addTest("simulator", house.workbench("src-zig/sim/main.zig", .simulated)),
    };
    // The simulator has one thread and switches stacks, which ThreadSanitizer cannot follow.
    const suites_count: usize = if (house.tsan) 2 else suites.len;
    for (suites[0..suites_count]) |suite| {
        run_step.dependOn(&b.addRunArtifact(suite).step);
        const install = b.addInstallArtifact(suite, .{
            .dest_dir = .{ .override = .{ .custom = "test" } },
        });
        install_step.dependOn(&install.step);
    }
}

fn addSimulator(house: House) void {
    const b = house.b;
    const step = b.step("sim", "Run the simulator: zig build sim -- ARGUMENTS");
    const path = "src-zig/sim/main.zig";
    if (!house.has(path)) return house.missing(step, path);

    const program = b.addExecutable(.{
        .name = "aerostore-sim",
        .root_module = house.workbench(path, .simulated),
        // The switch between fibers is global assembly, which only LLVM assembles.
        .use_llvm = true,
    });
    addRun(house, step, program);
}

fn addTool(house: House, tool: Tool) void {
    const b = house.b;
    const step = b.step(tool.name, tool.about);
    if (!house.has(tool.path)) return house.missing(step, tool.path);

    const root = switch (tool.engine) {
        .imported => house.workbench(tool.path, .native),
        .included => root: {
            const module = house.module(tool.path, house.target, house.optimize);
            module.addImport("sync", house.syncModule(.native));
            break :root module;
        },
    };
    const program = b.addExecutable(.{
        .name = b.fmt("aerostore-{s}", .{tool.name}),
        .root_module = root,
        .use_llvm = house.llvm,
    });
    addRun(house, step, program);
}

fn addRun(house: House, step: *Build.Step, program: *Build.Step.Compile) void {
    const run = house.b.addRunArtifact(program);
    // The result depends on seeds and clocks, so no run stands for the next one.
    run.has_side_effects = true;
    run.stdio = .inherit;
    if (house.b.args) |args| run.addArgs(args);
    step.dependOn(&run.step);
}

/// `src-zig/abi_gen.zig` prints the TypeScript side of the border to standard output. Locally the
/// committed file is rewritten; with CI in the environment it must already be the same.
fn addGenerated(house: House) void {
    const b = house.b;
    const step = b.step("abi", "Write " ++ generated_path ++ "; with CI set, check it");
    const path = "src-zig/abi_gen.zig";
    if (!house.has(path)) return house.missing(step, path);

    const module = house.module(path, house.target, house.optimize);
    module.addImport("sync", house.syncModule(.native));
    const generator = b.addExecutable(.{
        .name = "aerostore-abi-gen",
        .root_module = module,
        .use_llvm = house.llvm,
    });
    const printed = b.addRunArtifact(generator).captureStdOut(.{ .basename = "abi.ts" });

    if (b.graph.environ_map.get("CI") == null) {
        const update = b.addUpdateSourceFiles();
        update.addCopyFileToSource(printed, generated_path);
        step.dependOn(&update.step);
    } else {
        step.dependOn(&Fresh.create(b, printed).step);
    }
}

/// Fails when the committed generated file differs from what the sources generate now.
const Fresh = struct {
    step: Build.Step,
    generated: Build.LazyPath,

    fn create(b: *Build, generated: Build.LazyPath) *Fresh {
        const fresh = b.allocator.create(Fresh) catch @panic("OOM");
        fresh.* = .{
            .step = .init(.{
                .id = .custom,
                .name = "check " ++ generated_path,
                .owner = b,
                .makeFn = make,
            }),
            .generated = generated,
        };
        generated.addStepDependencies(&fresh.step);
        return fresh;
    }

    fn make(step: *Build.Step, _: Build.Step.MakeOptions) anyerror!void {
        const fresh: *Fresh = @fieldParentPtr("step", step);
        const b = step.owner;
        const io = b.graph.io;
        const limit: std.Io.Limit = .limited(1 << 20);

        const wanted_path = fresh.generated.getPath2(b, step);
        const wanted = try std.Io.Dir.cwd().readFileAlloc(io, wanted_path, b.allocator, limit);
        const root = b.build_root.handle;
        const found = root.readFileAlloc(io, generated_path, b.allocator, limit) catch |err|
            return step.fail("cannot read {s}: {t}", .{ generated_path, err });
        if (std.mem.eql(u8, wanted, found)) return;
        return step.fail(
            "{s} is stale: run `npm run abi` and commit the result",
            .{generated_path},
        );
    }
};

fn addCross(house: House) void {
    const b = house.b;
    const step = b.step("cross", "Build the library of every release platform");
    for (release_triples) |triple| {
        const target = b.resolveTargetQuery(withMinimumCpu(parse(triple)));
        var release = house;
        release.strip = house.strip orelse true;
        const install = b.addInstallArtifact(release.library(target, .ReleaseSafe), .{
            .dest_dir = .{ .override = .{ .custom = triple } },
        });
        step.dependOn(&install.step);
    }
}
