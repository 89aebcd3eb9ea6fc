/**
 * Many processes change one row, and each change counts once.
 *
 * `AEROSTORE_HOT_ROW=full` lets each process do 10,000 transactions instead of 1,000.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { assertSound } from "./support/verify.ts";
import { Counter } from "./support/workload.ts";

const full = process.env["AEROSTORE_HOT_ROW"] === "full";
const processCount = 16;
const orders = [
  { by: "apply", times: 10_000 },
  { by: "transaction", times: full ? 10_000 : 1000 },
] as const;

describe(`${processCount} processes that increment one row`, () => {
  test("lose no increment", { timeout: full ? 1_800_000 : 120_000 }, async () => {
    using store = new Store();
    const db = store.open({ tables: [Counter] });
    const counters = db.table(Counter);
    counters.insert({ id: 0 });
    const { directory, options } = store;
    const children = Array.from({ length: processCount }, (_, i) => {
      return new Child(runtimes[i % 2] ?? "bun", "incrementer.ts", { directory, options });
    });
    try {
      for (const child of children) assert.equal(await child.next(), "ready");
      for (const { by, times } of orders) {
        counters.upsert({ id: 0 });
        const started = Date.now();
        for (const child of children) child.send({ by, times });
        let runs = 0;
        for (const child of children) runs += (await child.next() as { runs: number }).runs;
        const total = processCount * times;
        assert.equal(counters.get(0)?.total, total, `increments by ${by}`);
        console.log(`${total} increments by ${by}: ${Date.now() - started} ms, ${runs} runs`);
      }
      for (const child of children) await child.finish();
    } finally {
      for (const child of children) child[Symbol.dispose]();
    }
    assertSound(db);
  });
});
