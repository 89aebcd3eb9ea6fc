/** Transactions of many rows: they get their turn, are seen whole, and fail whole. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Aerostore } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Field } from "./support/tables.ts";
import { assertSound, until } from "./support/verify.ts";

/** What a writer reports. */
interface Report {
  readonly writes: number;
  readonly seen: number;
  readonly torn: number;
}

function rowsOf(round: number, count: number) {
  return Array.from({ length: count }, (_, id) => ({ id, round, serial: id }));
}

/** Does something while a process of each runtime increments the same rows all the time. */
async function amongWriters(
  store: Store,
  db: Aerostore,
  looks: boolean,
  run: () => void,
): Promise<readonly Report[]> {
  const { directory, options } = store;
  const children = runtimes.map((runtime, seed) =>
    new Child(runtime, "field_writer.ts", { directory, options, seed, looks })
  );
  try {
    for (const child of children) assert.equal(await child.next(), "ready");
    for (const child of children) child.send("work");
    await until("they write", () => db.table(Field).aggregate("", { n: ["sum", "hits"] }).n !== 0);
    run();
    for (const child of children) child.send("leave");
    const reports = await Promise.all(children.map((child) => child.next())) as Report[];
    for (const child of children) await child.finish();
    return reports;
  } finally {
    for (const child of children) child[Symbol.dispose]();
  }
}

describe("a transaction of many rows", () => {
  test("commits while others write the same rows, and is seen whole", {
    timeout: 120_000,
  }, async () => {
    const count = 200_000;
    const rounds = 2;
    using store = new Store();
    const db = store.open({ tables: [Field], size: "512MiB" });
    const fields = db.table(Field);
    fields.upsertMany(rowsOf(0, count));
    const reports = await amongWriters(store, db, true, () => {
      for (let round = 1; round <= rounds; round++) fields.upsertMany(rowsOf(round, count));
    });
    console.log(`${db.stats().retries} attempts began again`);
    for (const { writes, seen, torn } of reports) {
      assert.ok(writes > 0 && seen > 0);
      assert.equal(torn, 0, "half of a transaction was seen");
    }
    const { low, high, n } = fields.aggregate("", {
      low: ["min", "round"],
      high: ["max", "round"],
      n: "count",
    });
    assert.deepEqual([low, high, n], [rounds, rounds, count]);
    await until("the writers have left", () => db.stats().processes === 1);
    assertSound(db);
  });

  test("that reads them first gets its turn as well, and loses nothing", {
    timeout: 120_000,
  }, async () => {
    const count = 50_000;
    using store = new Store();
    const db = store.open({ tables: [Field], size: "512MiB" });
    const fields = db.table(Field);
    fields.upsertMany(rowsOf(0, count));
    let runs = 0;
    const reports = await amongWriters(store, db, false, () => {
      db.transaction((transaction) => {
        runs += 1;
        const query = transaction.table(Field).query();
        // By an index, and by all rows.
        const halves = [query.where("serial", "<", count / 2), query.where("id", ">=", count / 2)];
        assert.deepEqual(halves.map((half) => half.explain().route), [
          "IndexRangeScan",
          "FullScan",
        ]);
        for (const half of halves) {
          assert.equal(half.update({ hits: { increment: 1000 } }), count / 2);
        }
      });
    });
    const { hits } = fields.aggregate("", { hits: ["sum", "hits"] });
    const writes = reports.reduce((sum, report) => sum + report.writes, 0);
    assert.equal(hits, writes + 1000 * count);
    console.log(`${count} rows in ${runs} runs, beside ${writes} increments`);
    await until("the writers have left", () => db.stats().processes === 1);
    assertSound(db);
  });

  test("for which there is no room is refused, with nothing half done", () => {
    using store = new Store();
    const db = store.open({ tables: [Field], size: "8MiB" });
    const fields = db.table(Field);
    fields.upsertMany(rowsOf(0, 5000));
    const { aborts } = db.stats();
    const all = rowsOf(1, 100_000);
    assert.throws(() => fields.upsertMany(all), { code: "region_full" });
    assert.throws(
      () =>
        db.transaction((transaction) => all.forEach((row) => transaction.table(Field).upsert(row))),
      { code: "region_full" },
    );
    assert.equal(db.stats().aborts, aborts, "something was installed before there was room");
    assert.equal(fields.count(), 5000);
    assert.equal(fields.query().where("round", "=", 1).count(), 0);
    fields.upsertMany(rowsOf(2, 5000));
    assertSound(db);
  });
});
