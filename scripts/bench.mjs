/**
 * Runs benchmarks, each in a process of its own: those of the engine without a host, then those of
 * the TypeScript face, on Bun and on Deno.
 *
 *     npm run bench                       all of them
 *     npm run bench -- native             src-zig/bench_native.zig
 *     npm run bench -- upsert             bench/upsert_bench.ts
 *     npm run bench -- upsert deno        on this runtime only
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { build } from "./build.mjs";
import { run } from "./command.mjs";
import { findBun, findDeno, findZig, root, ToolError } from "./toolchain.mjs";

/** @import { Tool } from "./toolchain.mjs" */

const suffix = "_bench.ts";

const runtimes = {
  bun: { find: findBun, args: ["run"] },
  // With `deno run` and not `deno bench`, which would print an empty table of its own.
  deno: { find: findDeno, args: ["run", "--allow-all", "--no-check"] },
};

/** Steps of build.zig, by the name that asks for them here. */
const native = new Map([
  ["native", "bench-native"],
  ["native_filter", "bench-filter"],
  ["native_index", "bench-index"],
  ["native_ingest", "bench-ingest"],
  ["native_recovery", "bench-recovery"],
]);

/**
 * @typedef {object} Job
 * @property {string} title
 * @property {() => Tool} find
 * @property {readonly string[]} args
 */

/**
 * @param {readonly string[]} args
 * @returns {Job[]}
 */
function choose(args) {
  const files = readdirSync(join(root, "bench"))
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length));
  const known = [...native.keys(), ...files];
  const unknown = args.filter((arg) => !known.includes(arg) && !(arg in runtimes));
  if (unknown.length > 0) {
    throw new ToolError(`No benchmark is called ${unknown.join(", ")}: use ${known.join(", ")}`);
  }
  const named = args.filter((arg) => known.includes(arg));
  const wanted = (/** @type {string} */ name) => named.length === 0 || named.includes(name);
  const chosen = Object.entries(runtimes).filter(([name]) => args.includes(name));

  const jobs = [...native].filter(([name]) => wanted(name)).map(([name, step]) => ({
    title: name,
    find: findZig,
    args: ["build", step, "-Doptimize=ReleaseSafe"],
  }));
  for (const name of files.filter(wanted)) {
    for (const [runtime, { find, args }] of chosen.length > 0 ? chosen : Object.entries(runtimes)) {
      const file = join("bench", `${name}${suffix}`);
      jobs.push({ title: `${file} on ${runtime}`, find, args: [...args, file] });
    }
  }
  return jobs;
}

/**
 * @param {readonly Job[]} jobs
 * @returns {Promise<number>} The exit code.
 */
async function runAll(jobs) {
  const problem = await build([]);
  if (problem !== "") throw new ToolError(problem);

  let worst = 0;
  for (const { title, find, args } of jobs) {
    console.log(`\n== ${title}`);
    const tool = find();
    const outcome = await run(tool.path, args, { env: tool.env });
    if (outcome.interrupted) return outcome.code;
    if (outcome.code === 0) continue;
    console.error(`${title} ${outcome.reason}`);
    worst = Math.max(worst, outcome.code);
  }
  return worst;
}

try {
  process.exitCode = await runAll(choose(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
