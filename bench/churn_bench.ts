/**
 * Does it stay as fast while rows are replaced, deleted and inserted again for ever?
 *
 *     npm run bench -- churn
 *     npm run bun -- bench/churn_bench.ts --writes 100000000
 *
 * 10,000 keys in a region of 64 MiB; the writes of `tests/churn_test.ts`. Everything that is
 * superseded has to be found, freed and used again, or the region is full after a second.
 */

import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { Churner, churnKeys, churnRoundWrites, Plain } from "../tests/support/churn.ts";
import { hashOf, Place } from "./harness.ts";

const { values } = parseArgs({
  options: {
    writes: { type: "string" },
    tiny: { type: "boolean", default: false },
  },
});
const slicesCount = 20;
const writes = Number(values.writes ?? (values.tiny ? 10 * churnRoundWrites : 10_000_000));
const bars = "▁▂▃▄▅▆▇█";

/** A part of the run. */
interface Slice {
  /** Writes in each second of the clock on the wall. */
  readonly perSecond: number;
  /** Writes in each second of processor time, all threads together. */
  readonly perProcessorSecond: number;
  /** Bytes in use at its end. */
  readonly bytes: number;
  /** Entries in all logs at its end. */
  readonly logEntries: number;
}

function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

async function run(place: Place): Promise<Slice[]> {
  const db = place.database;
  const churner = new Churner(db, Plain);
  const rounds = Math.max(1, Math.round(writes / slicesCount / churnRoundWrites));
  // The first rounds write the rows and let the runtime compile what it runs.
  for (let round = 0; round < 10; round++) churner.run();
  const slices: Slice[] = [];
  for (let slice = 0; slice < slicesCount; slice++) {
    const started = performance.now();
    const used = processorSeconds();
    for (let round = 0; round < rounds; round++) {
      churner.run();
      await churner.yield();
    }
    const written = rounds * churnRoundWrites;
    const { memory, logEntries } = db.stats();
    slices.push({
      perSecond: written / (performance.now() - started) * 1_000,
      perProcessorSecond: written / (processorSeconds() - used),
      bytes: Object.values(memory).reduce((sum, part) => sum + part, 0),
      logEntries,
    });
  }
  return slices;
}

/** A bar for each number, against the largest. */
function line(numbers: readonly number[]): string {
  const most = Math.max(...numbers, Number.MIN_VALUE);
  return numbers.map((number) => bars[Math.round(number / most * (bars.length - 1))]).join("");
}

function average(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** Prints how a number went, and what the last quarter was of the first. */
function print(name: string, numbers: readonly number[], unit: number): void {
  const quarter = numbers.length / 4;
  const ratio = average(numbers.slice(-quarter)) / average(numbers.slice(0, quarter));
  const all = numbers.map((number) => (number / unit).toFixed(2));
  console.log(
    `  ${name.padEnd(44)} ${line(numbers)} ${(all[0] ?? "").padStart(8)} ` +
      `${(all.at(-1) ?? "").padStart(8)} ${
        (Number.isFinite(ratio) ? ratio.toFixed(2) : "").padStart(8)
      }`,
  );
}

using place = new Place([Plain], 64 << 20);
const { bun, deno } = process.versions;
console.log("Does it stay as fast while rows are replaced for ever?");
console.log(
  `${churnKeys.toLocaleString("en-US")} keys, ${writes.toLocaleString("en-US")} writes, ` +
    `${bun ? `Bun ${bun}` : `Deno ${deno}`}, ${process.platform} ${process.arch}, ` +
    `${availableParallelism()} processors, ${slicesCount} slices\n`,
);
console.log(`${"".padEnd(46)} ${"".padEnd(slicesCount)}    first     last  quarters`);
const slices = await run(place);
print(
  "Aerostore, million writes a processor second",
  slices.map((slice) => slice.perProcessorSecond),
  1e6,
);
print("Aerostore, million writes a second", slices.map((slice) => slice.perSecond), 1e6);
print("MiB in use", slices.map((slice) => slice.bytes), 2 ** 20);
print("thousand log entries", slices.map((slice) => slice.logEntries), 1e3);
const table = place.database.table(Plain);
assert.equal(table.count(), churnKeys);
const { ok, leaks } = place.database.verify();
assert.deepEqual({ ok, leaks }, { ok: true, leaks: 0 });
const some = Array.from({ length: 100 }, (_, index) => table.get(`k${index * 97}`));
console.log(`\nhash of the results: ${hashOf(JSON.stringify(some))}`);
