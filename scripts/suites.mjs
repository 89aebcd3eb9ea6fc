/**
 * What `npm test` and `npm run ok` run: each suite's commands, its time budget, and how its own
 * summary is read.
 */

import { existsSync } from "node:fs";
import process from "node:process";
import { join } from "node:path";
import { findBun, findDeno, findQemuArm64, findZig, root } from "./toolchain.mjs";

/** @import { Tool } from "./toolchain.mjs" */

/**
 * @typedef {object} Counts
 * @property {number} passed
 * @property {number} failed
 */

/**
 * A command of a suite.
 *
 * @typedef {object} Command
 * @property {() => Tool} tool
 * @property {readonly string[]} args
 * @property {Record<string, string>} [env]
 */

/**
 * @typedef {object} Suite
 * @property {string} name What it is called on the command line.
 * @property {string} about What it proves.
 * @property {number} budgetSeconds After this time it is killed and counts as failed. Several times
 * what it takes on two cores with empty caches.
 * @property {"test" | "ok" | "extra"} level `npm test` runs "test", `npm run ok` runs "ok" too, and
 * "extra" ones run when they are named.
 * @property {readonly Command[]} commands
 * @property {RegExp} [summary] Matches the runner's own summary; its groups are named `passed` and
 * `failed` (or `total`). A suite without one is a check: it counts one for each command.
 * @property {() => string} [skip] Why it cannot run here; empty if it can.
 * @property {boolean} [beside] It takes one processor and does not ask how fast it is, so that it
 * may run beside another one.
 */

/** @type {() => Tool} */
const node = () => ({ path: process.execPath, env: {} });

const zigSummary = /(?<passed>\d+)\/(?<total>\d+) tests passed/;
const bunSummary = /^ *(?<passed>\d+) pass$[^]*?^ *(?<failed>\d+) fail$/m;
const denoSummary = /\| (?<passed>\d+) passed(?: \(\d+ steps?\))? \| (?<failed>\d+) failed/;
const plainSummary = /^(?<passed>\d+) passed, (?<failed>\d+) failed$/m;

/** @type {readonly Suite[]} */
const checks = [
  {
    name: "format",
    about: "Every file is formatted; `npm run format` does it",
    budgetSeconds: 60,
    level: "ok",
    commands: [
      { tool: findZig, args: ["build", "fmt-check"] },
      { tool: findDeno, args: ["fmt", "--check"] },
    ],
  },
  {
    name: "lint",
    about: "The linter finds nothing, and every public symbol has a docstring",
    budgetSeconds: 60,
    level: "ok",
    commands: [
      { tool: findDeno, args: ["lint"] },
      { tool: findDeno, args: ["doc", "--quiet", "--lint", "mod.ts"] },
    ],
  },
  {
    name: "types",
    about: "Both type checkers agree with the code",
    budgetSeconds: 120,
    level: "ok",
    commands: [
      { tool: node, args: [join("node_modules", "typescript", "bin", "tsc"), "--noEmit"] },
      { tool: findDeno, args: ["check", "mod.ts", "lib", "tests", "bench", "scripts"] },
    ],
  },
  {
    name: "abi",
    about: "lib/abi.ts is what the Zig sources generate",
    budgetSeconds: 120,
    level: "ok",
    commands: [{ tool: findZig, args: ["build", "abi"], env: { CI: "1" } }],
  },
];

/** @type {readonly Suite[]} */
const tests = [
  {
    name: "zig",
    about: "The engine's unit tests",
    budgetSeconds: 400,
    level: "test",
    commands: [
      { tool: findZig, args: ["build", "test", "--summary", "all", "--test-timeout", "240s"] },
    ],
    summary: zigSummary,
  },
  {
    name: "zig-musl",
    beside: true,
    about: "The engine's unit tests against the other C library",
    budgetSeconds: 400,
    level: "ok",
    commands: [{ tool: node, args: [join("scripts", "cross_test.mjs"), "musl"] }],
    summary: plainSummary,
    skip: () => process.platform === "linux" ? "" : "musl programs run on Linux only",
  },
  {
    name: "zig-arm64",
    beside: true,
    about: "The engine's unit tests on ARM, under qemu",
    budgetSeconds: 600,
    level: "ok",
    commands: [{ tool: node, args: [join("scripts", "cross_test.mjs"), "arm64"] }],
    summary: plainSummary,
    skip: () => findQemuArm64() === undefined ? "qemu-user is not installed" : "",
  },
  {
    name: "tsan",
    about:
      "The engine's unit tests under ThreadSanitizer, which sees too weak orderings of threads",
    budgetSeconds: 900,
    level: "extra",
    commands: [{ tool: findZig, args: ["build", "test", "-Dtsan", "--summary", "all"] }],
    summary: zigSummary,
  },
  {
    name: "sim",
    beside: true,
    about: "The simulator: protocols hold in every interleaving and crash, mistakes are caught",
    budgetSeconds: 800,
    level: "test",
    commands: [
      { tool: findZig, args: ["build", "sim", "-Doptimize=ReleaseSafe", "--", "quick"] },
      { tool: findZig, args: ["build", "sim", "-Doptimize=ReleaseSafe", "--", "mutations"] },
    ],
    summary: plainSummary,
    skip: () => missing("src-zig/sim/main.zig"),
  },
  {
    name: "crashstep",
    beside: true,
    about: "Killed at any machine instruction, an operation has happened or it has not",
    budgetSeconds: 600,
    level: "ok",
    commands: [{ tool: findZig, args: ["build", "crashstep", "-Doptimize=ReleaseSafe"] }],
    summary: plainSummary,
  },
  {
    name: "fuzz",
    beside: true,
    about: "Every fuzzer for a moment, with a seed of its own",
    budgetSeconds: 240,
    level: "ok",
    commands: [{ tool: node, args: [join("scripts", "fuzz.mjs")] }],
    summary: plainSummary,
    skip: () => missing("src-zig/fuzz.zig"),
  },
  {
    name: "bun",
    about: "The tests of the TypeScript face, on Bun",
    budgetSeconds: 400,
    level: "test",
    commands: [{ tool: findBun, args: ["test"] }],
    summary: bunSummary,
  },
  {
    name: "deno",
    about: "The tests of the TypeScript face, on Deno",
    budgetSeconds: 400,
    level: "test",
    commands: [{ tool: findDeno, args: ["test", "--allow-all", "--no-check"] }],
    summary: denoSummary,
  },
  {
    name: "examples",
    about: "The examples in docstrings and the README run and their assertions hold",
    budgetSeconds: 120,
    level: "ok",
    commands: [
      { tool: findDeno, args: ["test", "--allow-all", "--doc", "mod.ts", "lib", "README.md"] },
    ],
    summary: denoSummary,
  },
];

/** Every suite, in the order in which failures are cheapest to find. */
export const suites = [...checks, ...tests];

/**
 * @param {string} path
 * @returns {string}
 */
function missing(path) {
  return existsSync(join(root, path)) ? "" : `there is no ${path}`;
}
