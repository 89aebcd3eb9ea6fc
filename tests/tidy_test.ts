/** Rules that a machine can check. Each message says what to do about it. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  functionsOf,
  importsOf,
  readSources,
  type SourceFile,
  sourceFile,
} from "./support/sources.ts";

const columnsMax = 100;
const functionLinesMax = 70;
const fileLinesMax = 600;

/** The programs and libraries that `build.zig` builds: every Zig file belongs to one of them. */
const zigRoots = [
  "src-zig/aerostore.zig",
  "src-zig/sync_native.zig",
  "src-zig/abi_gen.zig",
  "src-zig/bench_filter.zig",
  "src-zig/bench_index.zig",
  "src-zig/bench_ingest.zig",
  "src-zig/bench_native.zig",
  "src-zig/bench_recovery.zig",
  "src-zig/fuzz.zig",
  "src-zig/sim/main.zig",
  "src-zig/sim/sync_sim.zig",
  "src-zig/sim/crashstep.zig",
];

/** Those of them whose tests `zig build test` runs, with the tests of what they import. */
const zigTestRoots = [
  "src-zig/aerostore.zig",
  "src-zig/sync_native.zig",
  "src-zig/sim/main.zig",
  "src-zig/sim/sync_sim.zig",
];

/** Of which `lib/host.ts` chooses one. */
const hostFiles = ["lib/host.bun.ts", "lib/host.deno.ts"];

/** A word that must not stand in the code of some files, and what to write instead. */
interface Ban {
  readonly pattern: RegExp;
  readonly applies: (path: string) => boolean;
  readonly instead: string;
}

const inEngine = (path: string): boolean =>
  path.startsWith("src-zig/") && !path.startsWith("src-zig/sim/") &&
  !/(^|\/)(bench_\w+|\w*fuzz|\w+_gen)\.zig$/.test(path);
const inZig = (path: string): boolean => path.endsWith(".zig");
const inLibrary = (path: string): boolean => path.startsWith("lib/");
const inTests = (path: string): boolean => path.startsWith("tests/") && path.endsWith(".ts");

const bans: readonly Ban[] = [
  {
    pattern: /\bThread\.(Futex|Mutex|Condition|Semaphore)\b/,
    applies: inZig,
    instead: "these work inside one process only: use sync.futexWait and sync.futexWake",
  },
  {
    // Unordered loads are how bytes that may be racing are copied; they order nothing.
    pattern: /@(atomic(Load|Store|Rmw)|cmpxchg(Strong|Weak))\((?!.*\.unordered)|std\.atomic\.Value/,
    applies: (path) => inEngine(path) && path !== "src-zig/sync_native.zig",
    instead: "the simulator cannot see it: use sync.Shm",
  },
  {
    pattern: /\bdebug\.print\b/,
    applies: inEngine,
    instead: "a library must not write to its host's stderr: return an error or a number",
  },
  {
    pattern: /\bposix\.errno\(\s*linux\b/,
    applies: inZig,
    instead: "std.posix.errno reads libc's errno: use std.os.linux.errno for a bare call's result",
  },
  {
    pattern: /\bF\.(SETLKW?|GETLK)\b/,
    applies: inZig,
    instead: "these locks vanish when any descriptor closes: use sync.ByteLock",
  },
  {
    pattern: /\bIo\.Threaded\.init\(/,
    applies: inEngine,
    instead: "it installs signal handlers in the host: use the functions of os.zig",
  },
  {
    pattern: /\b(Deno|Bun)\./,
    applies: (path) => inLibrary(path) && !hostFiles.includes(path),
    instead: "only the host files know the runtime: add what you need to lib/host.ts",
  },
  {
    pattern: /\bconsole\.\w+\(/,
    applies: (path) => inLibrary(path) && !path.startsWith("lib/cli/"),
    instead: "a library does not print: return it or throw an AerostoreError",
  },
  {
    pattern: /\bprocess\.exit\(/,
    applies: (path) => inLibrary(path) && !path.startsWith("lib/cli/"),
    instead: "a library does not end its host: throw an AerostoreError",
  },
  {
    pattern: /\b(test|it|describe)\.only\(/,
    applies: inTests,
    instead: "this hides every other test: remove .only",
  },
];

const sources = readSources();

/** Fails with one line for each problem. */
function report(problems: readonly string[]): void {
  assert.ok(problems.length === 0, `\n${problems.join("\n")}\n`);
}

/**
 * Returns how many lines stand above a file's unit tests and the helpers of these, which stand
 * together at its end.
 */
function linesAboveTests({ language, lines, code }: SourceFile): number {
  if (language !== "zig") return lines.length;
  let top = 0;
  for (const [index, line] of code.entries()) {
    if (/^(test|comptime|(pub |export |inline )*(const|var|fn))\b/.test(line)) top = index;
    if (/^test\b|\btesting\.\w/.test(line)) return top;
  }
  return lines.length;
}

/** Returns all files that can be reached from `roots` by imports. */
function reachable(roots: readonly string[]): Set<string> {
  const byPath = new Map(sources.map((file) => [file.path, file]));
  const seen = new Set<string>();
  const waiting = [...roots];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = byPath.get(path);
    if (file === undefined || seen.has(path)) continue;
    seen.add(path);
    waiting.push(...importsOf(file));
  }
  return seen;
}

describe("tidy", () => {
  test(`lines are at most ${columnsMax} columns wide`, () => {
    report(
      sources.filter((file) => file.language !== "prose").flatMap(({ path, lines }) =>
        lines.flatMap((line, index) => {
          const columns = [...line].length;
          if (columns <= columnsMax || /https?:\/\//.test(line)) return [];
          return [`${path}:${index + 1}: ${columns} columns wide: break the line`];
        })
      ),
    );
  });

  test(`functions are at most ${functionLinesMax} lines long`, () => {
    report(
      sources.filter((file) => file.language !== "prose").flatMap((file) =>
        functionsOf(file).flatMap(({ name, first, last }) => {
          const count = last - first + 1;
          if (count <= functionLinesMax) return [];
          return [
            `${file.path}:${first}: ${name} has ${count} lines: name a part of it and move it out`,
          ];
        })
      ),
    );
  });

  test(`files are at most ${fileLinesMax} lines long, without their unit tests`, () => {
    report(
      sources.filter((file) => file.language !== "prose").flatMap((file) => {
        const count = linesAboveTests(file);
        if (count <= fileLinesMax) return [];
        return [`${file.path}: ${count} lines: it holds more than one noun, so split it`];
      }),
    );
  });

  test("nothing is left for later", () => {
    // The brackets keep the rule from finding itself.
    const pattern = /\b(TO[D]O|FIX[M]E|XX[X])\b/;
    report(
      sources.flatMap(({ path, lines }) =>
        lines.flatMap((line, index) =>
          pattern.test(line) ? [`${path}:${index + 1}: do it now, or open an issue`] : []
        )
      ),
    );
  });

  test("no path leads out of the repository", () => {
    const pattern = /(^|[\s"'`(=])\/(work|home|root|Users)\//;
    report(
      sources.flatMap(({ path, lines }) =>
        lines.flatMap((line, index) =>
          pattern.test(line)
            ? [`${path}:${index + 1}: exists on one machine only: make it relative to this file`]
            : []
        )
      ),
    );
  });

  test("no file uses what has a safer replacement", () => {
    report(sources.flatMap((file) => {
      const applying = bans.filter(({ applies }) => applies(file.path));
      // Unit tests may print and use plain atomics: they run in a process of their own.
      return file.code.slice(0, linesAboveTests(file)).flatMap((line, index) =>
        applying.filter(({ pattern }) => pattern.test(line)).map(({ pattern, instead }) =>
          `${file.path}:${index + 1}: ${pattern.exec(line)?.[0]}: ${instead}`
        )
      );
    }));
  });

  test("nothing asks for the time of day, which may jump", () => {
    const asks = /REALTIME|gettimeofday|[a-z]Timestamp\(|Date\.now|new Date\(\)/;
    const concerned = (path: string) =>
      path === "mod.ts" || path.startsWith("lib/") ||
      /^src-zig\/(?!bench_|sim\/|.*(?:_test|_fuzz)\.zig)/.test(path);
    report(
      sources.filter(({ path }) => concerned(path)).flatMap(({ path, code }) =>
        code.flatMap((line, index) =>
          asks.test(line) ? [`${path}:${index + 1}: use a monotonic clock: ${line.trim()}`] : []
        )
      ),
    );
  });

  test("files say first what they are", () => {
    report(sources.flatMap(({ path, language, lines }) => {
      const wanted = language === "zig"
        ? "//!"
        : path.endsWith(".ts") && inLibrary(path)
        ? "/**"
        : undefined;
      if (wanted === undefined || (lines[0] ?? "").startsWith(wanted)) return [];
      return [`${path}:1: open the file with a ${wanted} comment that says what it is for`];
    }));
  });

  test("file names are snake_case", () => {
    report(
      sources.filter((file) => file.language !== "prose").flatMap(({ path }) =>
        /(^|\/)[a-z0-9_]+(\.(bun|deno))?\.(zig|ts|mjs)$/.test(path)
          ? []
          : [`${path}: rename it, with small letters, digits and underscores only`]
      ),
    );
  });

  test("no Zig file is dead", () => {
    const live = reachable(zigRoots);
    report(
      sources.filter(({ path, language }) =>
        language === "zig" && path.startsWith("src-zig/") && !live.has(path)
      ).map((
        { path },
      ) => `${path}: no program or library imports it: import it or delete it`),
    );
  });

  test("no Zig test is left out", () => {
    const tested = reachable(zigTestRoots);
    report(
      sources.filter(({ path, lines }) =>
        path.startsWith("src-zig/") && !tested.has(path) &&
        lines.some((line) => /^test /.test(line))
      ).map(({ path }) =>
        `${path}: its tests never run: import it in the test block of aerostore.zig`
      ),
    );
  });

  test("no TypeScript file of the library is dead", () => {
    const live = reachable(["mod.ts"]);
    report(
      sources.filter(({ path }) => inLibrary(path) && path.endsWith(".ts") && !live.has(path))
        .map(({ path }) => `${path}: mod.ts does not lead to it: use it or delete it`),
    );
  });

  test("the library imports only its own files and node: modules", () => {
    report(
      sources.filter(({ path }) => path === "mod.ts" || inLibrary(path)).flatMap((file) =>
        importsOf(file).filter((target) =>
          !(target.startsWith("lib/") && target.endsWith(".ts")) &&
          !target.startsWith("node:")
        ).map((target) => `${file.path}: imports ${target}: the library depends on nothing`)
      ),
    );
  });
});

describe("the measures of the tidy test", () => {
  test("functionsOf() finds the extent of Zig functions", () => {
    const file = sourceFile(
      "a.zig",
      "zig",
      [
        "extern fn prototype(a: u32) void;",
        "pub fn one() void {}",
        "pub fn List(comptime T: type) type {",
        "    return struct {",
        "        fn method(",
        "            list: *@This(),",
        "        ) !void {",
        "            if (true) {",
        "            }",
        "        }",
        "    };",
        "}",
        "",
      ].join("\n"),
    );
    assert.deepEqual(functionsOf(file), [{ name: "method", first: 5, last: 10 }]);
  });

  test("functionsOf() finds the extent of TypeScript functions", () => {
    const file = sourceFile(
      "a.ts",
      "script",
      [
        "export function one<T>(",
        "  a: { b: T },",
        "): void {",
        "  if (a) {",
        "  }",
        "}",
        "class A {",
        "  get #two(): number {",
        "    return 2;",
        "  }",
        "}",
        "const three = async (a: number) => {",
        "  call(() => {",
        "  });",
        "};",
        'test("four", () => {',
        "});",
        "",
      ].join("\n"),
    );
    assert.deepEqual(functionsOf(file), [
      { name: "one", first: 1, last: 6 },
      { name: "#two", first: 8, last: 10 },
      { name: "three", first: 12, last: 15 },
    ]);
  });

  test("SourceFile.code holds neither comments nor texts", () => {
    const file = sourceFile(
      "a.ts",
      "script",
      [
        "/** Calls Deno.exit. */",
        "/*",
        " * Bun.serve",
        " */",
        'const a = "Deno.x"; // Bun.y',
        "Deno.z();",
      ].join("\n"),
    );
    assert.equal(file.code.join("").match(/(Deno|Bun)\.\w/g)?.join(), "Deno.z");
  });

  test("importsOf() resolves relative paths and keeps names", () => {
    const file = sourceFile(
      "lib/a/b.ts",
      "script",
      [
        'import { c } from "../c.ts";',
        'export type { D } from "./d.ts";',
        ' * import { e } from "e";',
        'import process from "node:process";',
      ].join("\n"),
    );
    assert.deepEqual(importsOf(file), ["lib/c.ts", "lib/a/d.ts", "node:process"]);
  });
});
