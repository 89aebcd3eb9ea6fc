/**
 * While processes of both runtimes change rows, give changes up and are killed, a search gives the
 * same by every route: what a plain model makes of all rows of the same moment.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseSearch } from "../lib/stapi/parser.ts";
import type { Aerostore } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { flightTable } from "./support/flight_table.ts";
import { Indexed } from "./support/indexed_flight.ts";
import { searchArbitrary } from "./support/query_arbitrary.ts";
import { type ModelRow, runModel } from "./support/query_model.ts";
import { Store } from "./support/store.ts";
import { assertSound, until } from "./support/verify.ts";

const meta = flightTable();

function inspect(row: unknown): string {
  return JSON.stringify(
    row,
    (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value,
  );
}

/** Asserts that random searches give what the model gives, each in one snapshot. */
function compareRoutes(db: Aerostore, numRuns: number): void {
  const routes = new Set<string>();
  fc.assert(
    fc.property(searchArbitrary, (search) => {
      using transaction = db.begin({ readOnly: true });
      const flights = transaction.table(Indexed);
      const plain = (rows: Iterable<object>): ModelRow[] =>
        Array.from(rows, (row) => "toObject" in row ? (row as Plain).toObject() : row as ModelRow);
      const all = plain(flights.search(""));
      const query = parseSearch(search, meta);
      const result = flights.search(search);
      routes.add(result.explain().route);
      const found = plain(result);
      const expected = runModel(query, all);
      if (query.sort.length > 0) return assert.deepEqual(found, expected);
      assert.equal(found.length, expected.length);
      const any = runModel({ ...query, limit: null, offset: 0 }, all).map(inspect);
      for (const row of found) assert.ok(any.includes(inspect(row)));
    }),
    { numRuns },
  );
  for (const route of ["IndexExactMatch", "IndexRangeScan", "FullScan"]) {
    assert.ok(routes.has(route), `no search by ${route}`);
  }
}

interface Plain {
  toObject(): ModelRow;
}

test("every route gives the same while processes write and are killed", {
  timeout: 240_000,
}, async () => {
  using store = new Store();
  const db = store.open({ tables: [Indexed] });
  for (let round = 0; round < 3; round++) {
    const children = runtimes.map((runtime, at) =>
      new Child(runtime, "mixer.ts", {
        directory: store.directory,
        options: store.options,
        seed: round * 10 + at,
      })
    );
    try {
      await Promise.all(children.map((child) => child.next()));
      const { position } = db.stats();
      await until("rows have changed", () => db.stats().position > position + 300);
      compareRoutes(db, 150);
    } finally {
      await Promise.all(children.map((child) => child.kill()));
    }
    compareRoutes(db, 150);
    await until("the dead are recovered", () => db.stats().processes === 1);
    assertSound(db);
  }
});
