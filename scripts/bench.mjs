/**
 * Runs benchmarks, each in a process of its own, on Bun and then on Deno.
 *
 *     npm run bench                       every bench/*_bench.ts
 *     npm run bench -- upsert             bench/upsert_bench.ts
 *     npm run bench -- upsert deno        on this runtime only
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { build } from "./build.mjs";
import { run } from "./command.mjs";
import { findBun, findDeno, root, ToolError } from "./toolchain.mjs";

const suffix = "_bench.ts";

const runtimes = {
  bun: { find: findBun, args: ["run"] },
  // With `deno run` and not `deno bench`, which would print an empty table of its own.
  deno: { find: findDeno, args: ["run", "--allow-all", "--no-check"] },
};

/**
 * @param {readonly string[]} args
 * @returns {Promise<number>} The exit code.
 */
async function main(args) {
  const known = readdirSync(join(root, "bench"))
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length));
  const names = args.filter((arg) => known.includes(arg));
  const chosen = Object.entries(runtimes).filter(([name]) => args.includes(name));
  const unknown = args.filter((arg) => !known.includes(arg) && !(arg in runtimes));
  if (unknown.length > 0) {
    throw new ToolError(`No benchmark is called ${unknown.join(", ")}: use ${known.join(", ")}`);
  }

  const problem = await build([]);
  if (problem !== "") throw new ToolError(problem);

  let worst = 0;
  for (const name of names.length > 0 ? names : known) {
    for (const [runtime, how] of chosen.length > 0 ? chosen : Object.entries(runtimes)) {
      const file = join("bench", `${name}${suffix}`);
      console.log(`\n== ${file} on ${runtime}`);
      const tool = how.find();
      const outcome = await run(tool.path, [...how.args, file], { env: tool.env });
      if (outcome.code === 0) continue;
      console.error(`${file} on ${runtime} ${outcome.reason}`);
      worst = Math.max(worst, outcome.code);
    }
  }
  return worst;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
