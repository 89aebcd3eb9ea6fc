/**
 * Nobody waits long for a process that is killed or stopped in the middle of a write: about 25 ms
 * for the killed, a second for the stopped.
 *
 * A machine that has other things to do adds to every wait, so the same is measured without any
 * such process, and that much more is allowed.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Aerostore } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { assertSound, until } from "./support/verify.ts";
import { Counter } from "./support/workload.ts";

const killedMs = 25;
const stoppedMs = 1_000;

/** Works on the row for a while; returns the milliseconds of the statement that took longest. */
function longestWait(db: Aerostore, ms: number): number {
  const counters = db.table(Counter);
  const end = performance.now() + ms;
  let longest = 0;
  let before = performance.now();
  const took = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - before);
    before = now;
  };
  do {
    counters.apply(0, { total: { increment: 1 } });
    took();
    counters.get(0);
    took();
    db.transaction((transaction) => {
      const table = transaction.table(Counter);
      table.update(0, { total: (table.get(0)?.total ?? 0) + 1 });
    });
    took();
  } while (performance.now() < end);
  return longest;
}

/** Lets one process after the other come to harm while it writes the row. */
async function harm(
  store: Store,
  db: Aerostore,
  { signal, trials, ms }: {
    readonly signal: "SIGKILL" | "SIGSTOP";
    readonly trials: number;
    readonly ms: number;
  },
): Promise<{ waits: number[]; quiet: number }> {
  const waits: number[] = [];
  let quiet = 0;
  for (let trial = 0; trial < trials; trial++) {
    const { directory, options } = store;
    // A stopped process keeps all that is superseded meanwhile: memory, and nobody's time.
    using child = new Child(runtimes[trial % 2] ?? "bun", "incrementer.ts", { directory, options });
    assert.equal(await child.next(), "ready");
    quiet = Math.max(quiet, longestWait(db, ms));
    child.send({ by: trial % 4 < 2 ? "transaction" : "apply", times: 1_000_000_000 });
    const start = db.table(Counter).get(0)?.total;
    await until("the child writes", () => db.table(Counter).get(0)?.total !== start);
    await new Promise((resolve) => setTimeout(resolve, trial % 7));
    child.signal(signal);
    waits.push(longestWait(db, ms));
    await child.kill();
  }
  return { waits: waits.sort((a, b) => a - b), quiet };
}

function report(what: string, { waits, quiet }: { waits: readonly number[]; quiet: number }): void {
  const at = (part: number): string =>
    (waits[Math.floor(part * (waits.length - 1))] ?? 0).toFixed(1);
  console.log(
    `longest waits for ${what}: median ${at(0.5)} ms, 90% ${at(0.9)} ms, worst ${at(1)} ms; ` +
      `without it ${quiet.toFixed(1)} ms`,
  );
}

describe("the longest wait of a statement", () => {
  for (
    const { what, most, ...how } of [
      { what: "the killed", signal: "SIGKILL", trials: 16, ms: 60, most: killedMs },
      { what: "the stopped", signal: "SIGSTOP", trials: 12, ms: 150, most: stoppedMs },
    ] as const
  ) {
    test(`for ${what} is bounded`, { timeout: 120_000 }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Counter], size: "128MiB" });
      db.table(Counter).insert({ id: 0 });
      const result = await harm(store, db, how);
      report(what, result);
      const usual = result.waits[Math.floor(0.9 * (result.waits.length - 1))] ?? 0;
      assert.ok(usual <= most + 3 * result.quiet, `${usual} ms`);
      await until("the dead are recovered", () => db.stats().processes === 1);
      assertSound(db);
    });
  }
});

describe("a process that looks after the others", () => {
  test("is replaced when it is stopped", { timeout: 60_000 }, async () => {
    using store = new Store();
    const { directory, options } = store;
    // The first one to open the database leads.
    using leader = new Child("bun", "incrementer.ts", { directory, options });
    assert.equal(await leader.next(), "ready");
    const db = store.open({ tables: [Counter] });
    using other = new Child("deno", "incrementer.ts", { directory, options });
    assert.equal(await other.next(), "ready");
    leader.signal("SIGSTOP");
    await other.kill();
    await until("the dead one is recovered", () => db.stats().processes === 2);
    leader.signal("SIGCONT");
    await leader.finish();
    await until("the leader has left", () => db.stats().processes === 1);
    assertSound(db);
  });
});
