/**
 * Runs test suites and adds up what they report.
 *
 *     node scripts/test.mjs              what `npm test` runs
 *     node scripts/test.mjs --ok         everything that has to hold before a change is merged
 *     node scripts/test.mjs bun lint     these suites only
 *
 * Each suite has its own time budget; one that overruns is killed, with all that it started, and
 * counts as failed. The last line printed is always `N passed, N failed`, and the exit code is zero
 * only if nothing failed.
 */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { build } from "./build.mjs";
import { run } from "./command.mjs";
import { suites } from "./suites.mjs";
import { findBun, findDeno, ToolError } from "./toolchain.mjs";

/** @import { Counts, Suite } from "./suites.mjs" */

/**
 * @typedef {object} Result
 * @property {string} name
 * @property {Counts} counts
 * @property {number} seconds
 * @property {string} note Why it failed or was skipped.
 */

/** The suites that load the library. */
const needLibrary = new Set(["bun", "deno", "examples"]);

/**
 * Runs one suite.
 *
 * @param {Suite} suite
 * @param {Record<string, string>} env
 * @returns {Promise<Result>}
 */
async function runSuite(suite, env) {
  const started = Date.now();
  const deadline = started + suite.budgetSeconds * 1000;
  const counts = { passed: 0, failed: 0 };
  const notes = [];
  let skippedItself = "";

  const skipped = suite.skip?.() ?? "";
  if (skipped !== "") return { name: suite.name, counts, seconds: 0, note: `skipped: ${skipped}` };

  for (const command of suite.commands) {
    const tool = command.tool();
    console.log(`$ ${[tool.path, ...command.args].join(" ")}`);
    const outcome = await run(tool.path, command.args, {
      env: { ...env, ...tool.env, ...command.env },
      capture: true,
      timeoutMs: Math.max(1, deadline - Date.now()),
    });
    if (outcome.interrupted) throw new ToolError(`Interrupted during ${suite.name}`);
    skippedItself = /^skipped: (?<why>.*)$/m.exec(outcome.output)?.groups?.["why"] ?? "";
    const read = suite.summary === undefined
      ? { passed: outcome.code === 0 ? 1 : 0, failed: 0 }
      : readSummary(suite.summary, outcome.output);
    // A crash, an overrun or a test file that does not compile leaves no count behind.
    if (outcome.code !== 0) {
      read.failed = Math.max(read.failed, 1);
      const overrun = Date.now() >= deadline;
      notes.push(overrun ? `overran its ${suite.budgetSeconds} s and was killed` : outcome.reason);
    }
    counts.passed += read.passed;
    counts.failed += read.failed;
  }
  if (counts.passed + counts.failed === 0 && skippedItself !== "") {
    notes.push(`skipped: ${skippedItself}`);
  } else if (counts.passed + counts.failed === 0) {
    counts.failed = 1;
    notes.push("reported no test at all");
  }
  return {
    name: suite.name,
    counts,
    seconds: (Date.now() - started) / 1000,
    note: notes.join("; "),
  };
}

/**
 * @param {RegExp} summary
 * @param {string} output
 * @returns {Counts}
 */
function readSummary(summary, output) {
  const groups = summary.exec(output)?.groups ?? {};
  const passed = Number(groups["passed"] ?? 0);
  const failed = groups["total"] === undefined
    ? Number(groups["failed"] ?? 0)
    : Number(groups["total"]) - passed;
  return { passed, failed };
}

/**
 * Builds the library, as a suite of its own.
 *
 * @returns {Promise<Result>}
 */
async function buildLibrary() {
  const started = Date.now();
  const note = await build([]);
  return {
    name: "build",
    counts: note === "" ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 },
    seconds: (Date.now() - started) / 1000,
    note,
  };
}

/**
 * @param {string} name
 * @param {string} note
 * @returns {Result}
 */
function failure(name, note) {
  return { name, counts: { passed: 0, failed: 1 }, seconds: 0, note };
}

/**
 * @param {readonly string[]} args
 * @returns {readonly Suite[]}
 */
function choose(args) {
  const names = args.filter((arg) => !arg.startsWith("--"));
  const known = new Set(suites.map((suite) => suite.name));
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new ToolError(`No suite is called ${unknown.join(", ")}: use ${[...known].join(", ")}`);
  }
  if (names.length > 0) return suites.filter((suite) => names.includes(suite.name));
  const levels = args.includes("--ok") ? ["test", "ok"] : ["test"];
  return suites.filter((suite) => levels.includes(suite.level));
}

/**
 * @param {readonly Suite[]} chosen
 * @returns {Promise<Result[]>}
 */
async function runAll(chosen) {
  // Regions that are put nowhere in particular, such as those of the examples, go with it.
  const shmPath = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "aerostore-"));
  try {
    return await runEach(chosen, shmPath);
  } finally {
    rmSync(shmPath, { recursive: true, force: true });
  }
}

/**
 * @param {Suite} suite
 * @param {Record<string, string>} env
 * @returns {Promise<Result>}
 */
function announce(suite, env) {
  console.log(`\n== ${suite.name}: ${suite.about} (at most ${suite.budgetSeconds} s)`);
  return runSuite(suite, env);
}

/**
 * Runs suites two at a time, if there are two processors. Gives the results in their order.
 *
 * @param {readonly Suite[]} suites
 * @param {Record<string, string>} env
 * @returns {Promise<Result[]>}
 */
async function runBeside(suites, env) {
  /** @type {Result[]} */
  const results = [];
  let next = 0;
  const work = async () => {
    while (next < suites.length) {
      const index = next++;
      const suite = suites[index];
      if (suite !== undefined) results[index] = await announce(suite, env);
    }
  };
  const workers = Math.min(2, availableParallelism());
  await Promise.all(Array.from({ length: workers }, work));
  return results;
}

/**
 * @param {readonly Suite[]} chosen
 * @param {string} shmPath
 * @returns {Promise<Result[]>}
 */
async function runEach(chosen, shmPath) {
  // Tests start processes of both runtimes, whichever they run on themselves.
  const env = {
    AEROSTORE_BUN: findBun().path,
    AEROSTORE_DENO: findDeno().path,
    AEROSTORE_SHM_PATH: shmPath,
    NO_COLOR: "1",
  };
  /** @type {Result[]} */
  const results = [];
  /** @type {Result | undefined} */
  let built;
  /** @type {Suite[]} */
  const waiting = [];
  for (const suite of chosen) {
    if (suite.beside === true) {
      waiting.push(suite);
      continue;
    }
    results.push(...await runBeside(waiting.splice(0), env));
    if (needLibrary.has(suite.name)) {
      if (built === undefined) {
        console.log("\n== build: the library that the next suites load");
        built = await buildLibrary();
        results.push(built);
      }
      // Every test would fail, and hide why.
      if (built.counts.failed > 0) {
        results.push(failure(suite.name, "not run: there is no library"));
        continue;
      }
    }
    results.push(await announce(suite, env));
  }
  results.push(...await runBeside(waiting, env));
  return results;
}

/** @param {readonly Result[]} results */
function report(results) {
  console.log("\nsuite       passed  failed  seconds");
  for (const { name, counts, seconds, note } of results) {
    const cells = [
      name.padEnd(10),
      String(counts.passed).padStart(7),
      String(counts.failed).padStart(7),
      seconds.toFixed(1).padStart(8),
    ];
    console.log(`${cells.join(" ")}${note === "" ? "" : `  ${note}`}`);
  }
  const passed = results.reduce((sum, { counts }) => sum + counts.passed, 0);
  const failed = results.reduce((sum, { counts }) => sum + counts.failed, 0);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

try {
  report(await runAll(choose(process.argv.slice(2))));
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  console.log("0 passed, 1 failed");
  process.exitCode = 1;
}
