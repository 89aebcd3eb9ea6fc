/**
 * The engine against the model: random searches over random rows, through the whole path.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Dialect } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { defineTable, type RowOf } from "../mod.ts";
import { flightTable } from "./support/flight_table.ts";
import { flightColumns } from "./support/indexed_flight.ts";
import {
  manyRowsArbitrary,
  preparedArbitrary,
  rowsArbitrary,
  searchArbitrary,
} from "./support/query_arbitrary.ts";
import { type ModelRow, runModel } from "./support/query_model.ts";
import { Store } from "./support/store.ts";

/** The table of `flight_table.ts`. */
const Flight = defineTable("Flight", flightColumns);
type Flight = RowOf<typeof Flight>;

const meta = flightTable();
const dialects = fc.constantFrom<Dialect>("default", "speedtables");

/** Rows as the table gives them: with every column, in declared order. */
function complete(rows: readonly ModelRow[]): Flight[] {
  const names = meta.columns.map(({ name }) => name);
  return rows.map((row) =>
    Object.fromEntries(names.map((name) => [name, row[name] ?? null])) as unknown as Flight
  );
}

/** Asserts that a search of the engine gives what the model gives. */
function assertSame(
  search: string,
  dialect: Dialect,
  rows: readonly ModelRow[],
  run: (search: string, dialect: Dialect) => { all(): unknown[]; count: number },
): void {
  const query = parseSearch(search, meta, { dialect });
  const found = run(search, dialect);
  const expected = runModel(query, rows);
  assert.equal(found.count, expected.length, search);
  if (query.sort.length > 0) {
    assert.deepEqual(found.all(), expected, search);
    return;
  }
  // Any order will do, and which rows a limit keeps is open too.
  const all = runModel({ ...query, limit: null, offset: 0 }, rows).map(inspect);
  for (const row of found.all()) assert.ok(all.includes(inspect(row)), search);
}

function inspect(row: unknown): string {
  return JSON.stringify(
    row,
    (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value,
  );
}

test("searches of a few rows give what the model gives", () => {
  using store = new Store();
  const table = store.open({ tables: [Flight] }).table(Flight);
  fc.assert(
    fc.property(
      rowsArbitrary,
      fc.array(searchArbitrary, { minLength: 1, maxLength: 4 }),
      dialects,
      (few, searches, dialect) => {
        for (const { flight_id } of table.search("-fields flight_id")) table.delete(flight_id);
        const rows = complete(few);
        table.upsertMany(rows);
        for (const search of searches) {
          assertSame(search, dialect, rows, (text) => table.search(text, { dialect }));
        }
      },
    ),
    { numRuns: 300 },
  );
});

/** 200 rows, always the same. */
function manyRows(): Flight[] {
  const [rows = []] = fc.sample(manyRowsArbitrary, { numRuns: 1, seed: 20261123 });
  return complete(rows);
}

test("searches of many rows give what the model gives", () => {
  using store = new Store();
  const table = store.open({ tables: [Flight] }).table(Flight);
  const rows = manyRows();
  table.upsertMany(rows);
  fc.assert(
    fc.property(searchArbitrary, dialects, (search, dialect) => {
      assertSame(search, dialect, rows, (text) => table.search(text, { dialect }));
    }),
    { numRuns: 1000 },
  );
});

test("searches in a transaction give the same, as views", () => {
  using store = new Store();
  const db = store.open({ tables: [Flight] });
  const rows = manyRows();
  db.table(Flight).upsertMany(rows);
  db.transaction((tx) => {
    const table = tx.table(Flight);
    fc.assert(
      fc.property(searchArbitrary, (search) => {
        assertSame(search, "default", rows, (text) => {
          const all = [...table.search(text)].map((row) =>
            "toObject" in row ? row.toObject() : row
          );
          return { all: () => all, count: all.length };
        });
      }),
      { numRuns: 300 },
    );
  });
});

test("prepared searches give what the model gives", () => {
  using store = new Store();
  const table = store.open({ tables: [Flight] }).table(Flight);
  const rows = manyRows();
  table.upsertMany(rows);
  fc.assert(
    fc.property(preparedArbitrary, dialects, ({ open, literal, args }, dialect) => {
      const prepared = table.prepare(`${open} -sort flight_id`, { dialect });
      const query = parseSearch(`${literal} -sort flight_id`, meta, { dialect });
      const expected = runModel(query, rows);
      assert.deepEqual(prepared.all(...args), expected, literal);
      assert.deepEqual(prepared.first(...args), expected[0], literal);
      assert.equal(prepared.count(...args), expected.length, literal);
    }),
    { numRuns: 500 },
  );
});
