/** Aggregates by cases; `query_model_test.ts` has them at random. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type AerostoreError, defineTable, t } from "../mod.ts";
import { Store } from "./support/store.ts";

const Sample = defineTable("Sample", {
  id: t.int32().primaryKey(),
  n: t.int32().nullable().index(),
  big: t.int64().nullable(),
  exact: t.int64({ as: "bigint" }).nullable(),
  x: t.float64().nullable(),
  at: t.timestamp().nullable(),
  name: t.text(60).nullable(),
  raw: t.bytes(8).nullable(),
  flag: t.bool().nullable(),
});

function open(store: Store) {
  return store.open({ tables: [Sample] }).table(Sample);
}

test("of no rows and of nulls only, counts are 0 and the rest is null", () => {
  using store = new Store();
  const table = open(store);
  const aggregates = {
    rows: "count",
    values: ["count", "n"],
    low: ["min", "n"],
    high: ["max", "name"],
    sum: ["sum", "exact"],
    mean: ["avg", "x"],
  } as const;
  const nothing = { rows: 0, values: 0, low: null, high: null, sum: null, mean: null };
  assert.deepEqual(table.query().aggregate(aggregates), nothing);
  table.insert({ id: 1 });
  assert.deepEqual(table.query().aggregate(aggregates), { ...nothing, rows: 1 });
  assert.equal(table.query().min("n"), null);
  assert.equal(table.query().max("x"), null);
  assert.equal(table.query().sum("x"), null);
  assert.equal(table.query().avg("n"), null);
  assert.deepEqual(table.query().aggregate({}), {});
});

test("of each type there are values of that type", () => {
  using store = new Store();
  const table = open(store);
  table.insert({ id: 1, n: 2, big: 5, x: 0.5, at: 1000, name: "é", raw: Uint8Array.of(1) });
  table.insert({ id: 2, n: -4, big: 6, x: 0.25, at: 3000, name: "z".repeat(50), flag: true });
  table.insert({ id: 3, exact: 2n ** 62n, raw: Uint8Array.of(0, 9), flag: false });
  table.insert({ id: 4, exact: 2n ** 62n });
  const query = table.query();
  assert.deepEqual(
    query.aggregate({
      name: ["max", "name"],
      first: ["min", "name"],
      raw: ["min", "raw"],
      flag: ["min", "flag"],
      at: ["max", "at"],
      middle: ["avg", "at"],
      exact: ["sum", "exact"],
      mean: ["avg", "exact"],
      big: ["sum", "big"],
    }),
    {
      name: "é",
      first: "z".repeat(50),
      raw: Uint8Array.of(0, 9),
      flag: false,
      at: 3000,
      middle: 2000,
      // Beyond 64 bits, and exact.
      exact: 2n ** 63n,
      mean: 2 ** 62,
      big: 11,
    },
  );
  assert.equal(query.sum("n"), -2);
  assert.equal(query.avg("n"), -1);
  assert.equal(query.where("n", ">", 0).sum("x"), 0.5);
});

test("a sum that is no exact number is an error", () => {
  using store = new Store();
  const table = open(store);
  table.insert({ id: 1, big: Number.MAX_SAFE_INTEGER });
  assert.equal(table.query().sum("big"), Number.MAX_SAFE_INTEGER);
  table.insert({ id: 2, big: 1 });
  assert.throws(() => table.query().sum("big"), (error: AerostoreError) => {
    assert.equal(error.code, "unsafe_integer");
    assert.match(error.message, /"big" of "Sample": no number is exactly 9007199254740992/);
    return true;
  });
  assert.equal(table.query().avg("big"), 2 ** 52);
});

test("least and greatest values come from an end of an index where that is enough", () => {
  using store = new Store();
  const table = open(store);
  table.upsertMany(Array.from({ length: 1000 }, (_, id) => ({ id, n: id < 10 ? null : id % 100 })));
  assert.equal(table.query().min("n"), 0);
  assert.equal(table.query().max("n"), 99);
  assert.equal(table.query().where("n", "<", 50).max("n"), 49);
  assert.equal(table.query().where("n", ">", 99).max("n"), null);
  assert.equal(table.query().where("id", "<", 20).max("n"), 19);
  assert.equal(table.query().where("n", "null").max("n"), null);
  assert.equal(table.query().sort("-n").limit(150).offset(10).min("n"), 85); // Behind 10 nulls.
});

test("what makes no sense is refused", () => {
  using store = new Store();
  const table = open(store);
  const query = table.query() as { aggregate(aggregates: unknown): unknown };
  const refused: [unknown, string][] = [
    ["sum", "invalid_query"],
    [["median", "n"], "invalid_query"],
    [["sum"], "invalid_query"],
    [["sum", "nothing"], "unknown_column"],
    [["sum", "name"], "type_mismatch"],
    [["avg", "flag"], "type_mismatch"],
    [null, "invalid_query"],
  ];
  for (const [aggregate, code] of refused) {
    assert.throws(() => query.aggregate({ it: aggregate }), { code }, JSON.stringify(aggregate));
  }
});
