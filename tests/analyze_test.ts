/** What `explain({ analyze: true })` tells of a run. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Actual, defineTable, t } from "../mod.ts";
import { Store } from "./support/store.ts";

const Flight = defineTable("Flight", {
  id: t.int32().primaryKey(),
  altitude: t.int32().nullable().index(),
  typ: t.text(8),
  note: t.text(200).nullable(),
});
const count = 20_000;

function open(store: Store) {
  const db = store.open({ tables: [Flight] });
  const flights = db.table(Flight);
  flights.upsertMany(
    Array.from({ length: count }, (_, id) => ({
      id,
      altitude: id % 100,
      typ: id % 4 === 0 ? "B738" : "A320",
      note: "a note that is long enough to stand behind the row",
    })),
  );
  return { db, flights };
}

/** The counts of a measurement: times differ each time. */
function countsOf(actual: Actual | null): unknown {
  assert.ok(actual !== null);
  const { route, rowsVisited, filters, rowsSorted, rowsKept, rowsReturned, batches } = actual;
  const times = [actual.routeTimeMs, actual.sortTimeMs, actual.outputTimeMs, actual.totalTimeMs];
  for (const time of times) assert.ok(time >= 0 && time < 60_000, String(time));
  return {
    route,
    rowsVisited,
    filters: filters.map(({ clause, driver, tested, passed }) => [clause, driver, tested, passed]),
    rowsSorted,
    rowsKept,
    rowsReturned,
    batches,
  };
}

test("explain({ analyze: true }) counts what each step got and gave", () => {
  using store = new Store();
  const { flights } = open(store);
  const query = flights.query().where("typ", "=", "B738").where("altitude", ">=", 90);
  assert.equal(query.explain().actual, null);
  const sorted = query.sort("-id").limit(7).offset(2).explain({ analyze: true });
  assert.deepEqual(countsOf(sorted.actual), {
    route: "IndexRangeScan",
    rowsVisited: 2000,
    // The bounds of the index decide the other clause.
    filters: [["= typ B738", false, 2000, 400]],
    rowsSorted: 400,
    rowsKept: 9,
    rowsReturned: 7,
    batches: 1,
  });
  const text = String(sorted);
  assert.match(text, /^actual: {4}IndexRangeScan gave 2000 rows, [\d.]+ ms$/m);
  assert.match(text, /^ {11}= typ B738: 400 of 2000 rows passed, [\d.]+ ms$/m);
  assert.match(text, /^ {11}400 rows sorted, 9 kept, [\d.]+ ms$/m);
  assert.match(text, /^ {11}7 rows given in 1 buffer, [\d.]+ ms$/m);
  assert.match(text, /^time: {6}[\d.]+ ms in all$/m);
});

test("a scan that stops early does so when it is measured", () => {
  using store = new Store();
  const { flights } = open(store);
  const query = flights.query().where("altitude", ">", 50).sort("altitude").limit(300);
  const { actual } = query.explain({ analyze: true });
  assert.ok(actual !== null && actual.rowsVisited < 600, String(actual?.rowsVisited));
  assert.equal(actual.rowsReturned, 300);
  assert.equal(actual.rowsSorted, 0);
});

test("large results take several buffers, and counts take none", () => {
  using store = new Store();
  const { flights } = open(store);
  const all = flights.search("").explain({ analyze: true }).actual;
  assert.equal(all?.route, "FullScan");
  assert.equal(all.rowsReturned, count);
  assert.ok(all.batches > 1 && all.outputBytes > 1e6);
  const counted = flights.search("-countOnly 1 -compare {> id 9}").explain({ analyze: true });
  assert.equal(counted.actual?.rowsReturned, count - 10);
  assert.equal(counted.actual.batches, 0);
  const empty = flights.search("-compare {{= typ a} {= typ b}}").explain({ analyze: true });
  assert.deepEqual(countsOf(empty.actual), {
    route: "Empty",
    rowsVisited: 0,
    filters: empty.actual?.filters.map(({ clause }) => [clause, false, 0, 0]),
    rowsSorted: 0,
    rowsKept: 0,
    rowsReturned: 0,
    batches: 0,
  });
});

test("prepared searches and transactions are measured as they run", () => {
  using store = new Store();
  const { db, flights } = open(store);
  const prepared = flights.prepare("-compare {= altitude $1}");
  assert.equal(prepared.analyze(5).actual?.rowsReturned, count / 100);
  assert.throws(() => prepared.analyze(), { code: "unknown_parameter" });
  db.transaction((tx) => {
    const inside = tx.table(Flight);
    inside.update(5, { altitude: 6 });
    const query = inside.query().where("altitude", "=", 5);
    const { actual } = query.explain({ analyze: true });
    // By the index, without the row that it does not know yet.
    assert.equal(actual?.route, "IndexExactMatch");
    assert.equal(actual.rowsReturned, count / 100 - 1);
    assert.ok(actual.rowsVisited <= count / 100 + 1);
  });
});
