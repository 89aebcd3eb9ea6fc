/**
 * The engine against the real speedtables: every recorded search, through the whole path.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { defineTable, t } from "../mod.ts";
import { oracleMissing, readOracle } from "./support/oracle.ts";
import { Store } from "./support/store.ts";

const Flight = defineTable("Flight", {
  id: t.text(16).primaryKey(),
  origin: t.text(8),
  destination: t.text(8).nullable(),
  city: t.text(40),
  name: t.text(64).nullable(),
  delay: t.int32().nullable(),
  distance: t.int32(),
  lat: t.float64().nullable(),
  lon: t.float64(),
  late: t.bool().nullable(),
  gate: t.text(8).nullable(),
});

test("search() gives what speedtables gave", { skip: oracleMissing }, () => {
  const oracle = readOracle();
  using store = new Store();
  const table = store.open({ tables: [Flight] }).table(Flight);
  for (const row of oracle.rows) table.insert(row as unknown as Parameters<typeof table.insert>[0]);
  assert.equal(table.count(), 300);
  for (const { stapi, keys, sort } of oracle.queries) {
    const found = table.search(stapi, { dialect: "speedtables" }).all().map((row) => row.id);
    assert.deepEqual(sort.length > 0 ? found : found.toSorted(), keys, stapi);
    const count = table.search(`${stapi} -countOnly 1`, { dialect: "speedtables" }).count;
    assert.equal(count, keys.length, stapi);
  }
});

test(
  "search() gives the same in the default dialect but for nulls",
  { skip: oracleMissing },
  () => {
    const oracle = readOracle();
    using store = new Store();
    const table = store.open({ tables: [Flight] }).table(Flight);
    for (const row of oracle.rows) {
      table.insert(
        row as unknown as Parameters<typeof table.insert>[0],
      );
    }
    for (const { stapi, keys, limit, sort, null_matches, sort_has_nulls } of oracle.queries) {
      const sortsBool = sort.some((field) => field.endsWith("late"));
      if (/match\}/.test(stapi) || limit !== undefined || sort_has_nulls || sortsBool) continue;
      const expected = keys.filter((key) => !null_matches?.includes(key));
      const found = table.search(stapi).all().map((row) => row.id);
      assert.deepEqual(sort.length > 0 ? found : found.toSorted(), expected, stapi);
    }
  },
);
