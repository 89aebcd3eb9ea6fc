/**
 * How the benchmarks measure and print.
 *
 * A group is one task, done by several subjects; the first is the one that the others are compared
 * with. All are measured in turn, several times, and the best median of each counts: what another
 * process of the machine takes away can only make it slower.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { do_not_optimize as keep, measure } from "mitata";
import { Aerostore, type TableDefinition } from "../mod.ts";

export { keep };

/** One way to do a task. */
export interface Subject {
  /** What does it, such as `Map`. */
  readonly name: string;
  /** Does it once. What it computes must go to {@linkcode keep}. */
  readonly run: () => void | Promise<void>;
  /** Does it on fixed input. All subjects of a group must give the same. */
  readonly check: () => number | string | Promise<number>;
}

/** A task. */
export interface Group {
  /** What it is. */
  readonly title: string;
  /** How many items one call handles. */
  readonly items: number;
  /** What an item is, such as `row`. */
  readonly item: string;
  /** The subjects; the first is the measure of the others. */
  readonly subjects: readonly Subject[];
}

/** The command line of a benchmark. */
export interface Settings {
  /** Rows in the table. */
  readonly rows: number;
  /** Whether to do as little as possible, only to see that it works. */
  readonly tiny: boolean;
}

/**
 * Reads the command line: `--rows N` and `--tiny`.
 *
 * @param rows Rows if nothing else is said.
 */
export function readSettings(rows: number): Settings {
  const { values } = parseArgs({
    options: { rows: { type: "string" }, tiny: { type: "boolean", default: false } },
  });
  return { rows: Number(values.rows ?? (values.tiny ? 2_000 : rows)), tiny: values.tiny };
}

/** Nanoseconds of each subject for one item, by its name. */
type Times = Map<string, number>;

const roundCount = 3;
const roundNs = 150e6;
const nameWidth = 44;

/**
 * Measures groups and prints a table.
 *
 * @param question What the benchmark answers.
 * @param settings The command line.
 * @param groups The tasks.
 */
export async function compare(
  question: string,
  settings: Settings,
  groups: readonly Group[],
): Promise<void> {
  const { bun, deno } = process.versions;
  const runtime = bun === undefined ? `Deno ${deno}` : `Bun ${bun}`;
  console.log(question);
  console.log(
    `${settings.rows.toLocaleString("en-US")} rows, ${runtime}, ${process.platform} ` +
      `${process.arch}, ${availableParallelism()} processors, best of ${roundCount} medians\n`,
  );
  console.log(`${"".padEnd(nameWidth)}    ns each   per second    ratio`);
  let hash = 0;
  for (const group of groups) {
    hash = mix(hash, await checkGroup(group));
    print(group, await measureGroup(group, settings.tiny));
  }
  console.log(`\nhash of the results: ${(hash >>> 0).toString(16).padStart(8, "0")}`);
}

/** Proves that all subjects give the same; returns it. */
async function checkGroup({ title, subjects }: Group): Promise<string> {
  const [first, ...others] = subjects;
  const expected = String(await first?.check());
  for (const { name, check } of others) {
    assert.equal(String(await check()), expected, `${title}: ${name} gives another result`);
  }
  return expected;
}

async function measureGroup({ items, subjects }: Group, tiny: boolean): Promise<Times> {
  const times: Times = new Map();
  for (let round = 0; round < (tiny ? 1 : roundCount); round++) {
    for (const { name, run } of subjects) {
      const stats = await measure(run, {
        min_samples: tiny ? 1 : 3,
        min_cpu_time: tiny ? 1 : roundNs,
        gc: false,
        ...tiny ? { max_samples: 1, batch_samples: 4 } : {},
      });
      // The median: a call that another process of the machine interrupts is much slower, and with
      // averages the numbers would tell about the neighbours.
      times.set(name, Math.min(times.get(name) ?? Infinity, stats.p50 / items));
    }
  }
  return times;
}

function print({ title, item, subjects }: Group, times: Times): void {
  console.log(`${title}, for each ${item}`);
  const base = times.get(subjects[0]?.name ?? "") ?? NaN;
  for (const [name, ns] of times) {
    console.log(
      `  ${name.padEnd(nameWidth - 2)} ${format(ns).padStart(10)} ${rate(ns).padStart(12)} ` +
        `${format(ns / base).padStart(8)}`,
    );
  }
}

/** Three digits that matter. */
function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function rate(ns: number): string {
  const perSecond = 1e9 / ns;
  return perSecond >= 1e6 ? `${format(perSecond / 1e6)} M` : `${format(perSecond / 1e3)} k`;
}

function mix(hash: number, text: string): number {
  let mixed = hash;
  for (const letter of text) mixed = Math.imul(mixed ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  return mixed;
}

/** A database that disappears with everything in it. */
export class Place implements Disposable {
  /** The open database. */
  readonly database: Aerostore;
  readonly #root: string;

  /**
   * @param tables Its tables.
   * @param size Most bytes of its region.
   */
  constructor(tables: readonly TableDefinition[], size: number) {
    const parent = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    this.#root = mkdtempSync(join(parent, "aerostore-bench-"));
    const shmPath = join(this.#root, "shm");
    mkdirSync(shmPath);
    this.database = Aerostore.open(join(this.#root, "data"), { tables, size, shmPath });
  }

  /** Closes it and removes the files. */
  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.#root, { recursive: true, force: true });
  }
}
