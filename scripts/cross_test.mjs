/**
 * Runs the engine's unit tests as programs for another C library or processor:
 * `node scripts/cross_test.mjs musl`, or `arm64`, which needs qemu-user (says so and succeeds
 * without it).
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { run } from "./command.mjs";
import { findQemuArm64, findZig, root } from "./toolchain.mjs";

/** @import { Tool } from "./toolchain.mjs" */

/**
 * Returns the emulator for `arch`, or undefined where the processor itself can run it.
 *
 * @param {string} arch
 * @returns {{ emulator: Tool | undefined, runnable: boolean }}
 */
function runnerFor(arch) {
  if (arch === process.arch) return { emulator: undefined, runnable: true };
  const emulator = arch === "arm64" ? findQemuArm64() : undefined;
  return { emulator, runnable: emulator !== undefined };
}

/**
 * Adds up what Zig's test runner prints at the end of each program.
 *
 * @param {string} output
 * @returns {{ passed: number, failed: number }}
 */
function count(output) {
  const all = /^All (\d+) tests passed\.$/m.exec(output);
  if (all !== null) return { passed: Number(all[1]), failed: 0 };
  const some = /^(\d+) passed; \d+ skipped; (\d+) failed\.$/m.exec(output);
  return { passed: Number(some?.[1] ?? 0), failed: Number(some?.[2] ?? 0) };
}

const [what = ""] = process.argv.slice(2);
if (what !== "musl" && what !== "arm64") {
  console.error(`Cannot test ${what}: say musl or arm64`);
  process.exit(2);
}
const arch = what === "arm64" || process.arch === "arm64" ? "arm64" : "x64";
const { emulator, runnable } = runnerFor(arch);
if (!runnable) {
  console.log("Skipped: qemu-aarch64 (package qemu-user or qemu-user-static) is not installed");
  process.exit(0);
}

const triple = `${arch === "arm64" ? "aarch64" : "x86_64"}-linux-musl`;
const prefix = join(root, "zig-out", triple);
const zig = findZig();
const built = await run(
  zig.path,
  ["build", "test-programs", `-Dtarget=${triple}`, "--prefix", prefix],
  { env: zig.env },
);
if (built.code !== 0) {
  console.error(`The build for ${triple} ${built.reason}`);
  process.exit(1);
}

let passed = 0;
let failed = 0;
for (const name of readdirSync(join(prefix, "test"))) {
  const program = join(prefix, "test", name);
  const [path, args] = emulator === undefined ? [program, []] : [emulator.path, [program]];
  const env = emulator === undefined ? {} : { AEROSTORE_EMULATED: "1" };
  const outcome = await run(path, args, { capture: true, env });
  const counts = count(outcome.output);
  if (outcome.code !== 0) {
    console.error(`${triple}/${name} ${outcome.reason}`);
    counts.failed = Math.max(counts.failed, 1);
  }
  passed += counts.passed;
  failed += counts.failed;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
