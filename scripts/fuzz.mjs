/**
 * Runs fuzzers with checks on.
 *
 *     npm run fuzz                        each of them for about a second, with a new seed
 *     npm run fuzz -- query 7 100000      one of them, with this seed and this many rounds
 *
 * A fuzzer prints its seed first; the same seed and rounds repeat a failure.
 */

import process from "node:process";
import { run } from "./command.mjs";
import { findZig, ToolError } from "./toolchain.mjs";

/** How many disks that a power cut may leave are looked at when all fuzzers run. */
const imagesMin = 2000;

/**
 * Fuzzers are deterministic programs: what differs between machines is only how far they get.
 *
 * @param {readonly string[]} args
 * @param {boolean} quiet
 */
function fuzz(args, quiet) {
  const zig = findZig();
  return run(
    zig.path,
    ["build", "fuzz", "-Doptimize=ReleaseSafe", "--", ...args],
    { env: zig.env, capture: true, quiet },
  );
}

/** @returns {Promise<number>} The exit code. */
async function fuzzAll() {
  const listed = await fuzz(["list"], true);
  if (listed.code !== 0) {
    console.error(listed.output);
    console.log("0 passed, 1 failed");
    return 1;
  }
  let passed = 0;
  let failed = 0;
  let images = 0;
  for (const name of listed.output.trim().split(/\s+/)) {
    const outcome = await fuzz([name], false);
    images += Number(/^(\d+) power cuts$/m.exec(outcome.output)?.[1] ?? 0);
    if (outcome.code === 0) {
      passed += 1;
    } else {
      failed += 1;
      console.error(`${name} ${outcome.reason}`);
    }
  }
  console.log(`${images} disks that a power cut may leave`);
  if (images < imagesMin) {
    failed += 1;
    console.error(`${imagesMin} are wanted: give more rounds to the fuzzers that make them`);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

try {
  const args = process.argv.slice(2);
  process.exitCode = args.length === 0 ? await fuzzAll() : (await fuzz(args, false)).code;
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
