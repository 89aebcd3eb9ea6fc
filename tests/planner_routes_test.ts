/**
 * Whatever the indexes, the plan of a query gives the rows that the query means: the bytes of each
 * plan are executed by its route over plain arrays, and compared with the model.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PlanEncoder, PlanFlag } from "../lib/query/encode.ts";
import { planQuery } from "../lib/query/planner.ts";
import type { IndexMeta, TableMeta } from "../lib/query/table_meta.ts";
import type { Dialect, Query } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { flightTable } from "./support/flight_table.ts";
import { oracleMissing, oracleTable, readOracle } from "./support/oracle.ts";
import { runBlob } from "./support/plan_blob.ts";
import { preparedArbitrary, rowsArbitrary, searchArbitrary } from "./support/query_arbitrary.ts";
import { type ModelRow, runModel } from "./support/query_model.ts";

const tables: readonly TableMeta[] = [
  flightTable(),
  flightTable(["altitude"], ["typ"], ["lat"], ["on_ground"], ["hex"], ["serial"], ["origin"]),
  flightTable(["typ", "altitude"], ["altitude", "lat"], ["on_ground", "serial"], ["typ"]),
  flightTable(["serial", "typ", "altitude"], ["altitude"], ["origin", "typ"], ["hex", "typ"]),
];

/** Counts that are what the rows say. */
function countsOf(table: TableMeta, rows: readonly ModelRow[]) {
  return {
    rows: () => rows.length,
    distinctKeys: (index: IndexMeta | null): number => {
      if (index === null) return rows.length;
      const names = index.columns.map((column) => table.columns[column]?.name ?? "");
      return new Set(rows.map((row) => names.map((name) => String(row[name])).join("\0"))).size;
    },
  };
}

/** Asserts that the bytes of the plan give what the query means. */
function assertSame(
  table: TableMeta,
  query: Query,
  rows: readonly ModelRow[],
  args: readonly unknown[] = [],
): void {
  const plan = planQuery(query, countsOf(table, rows));
  const buffer = new Uint8Array(8192).fill(0xee);
  const encoder = new PlanEncoder(plan);
  const size = encoder.encode(buffer, args);
  const found = runBlob(buffer.subarray(0, size), table, rows);
  const expected = runModel(query, rows, args);
  if (query.sort.length > 0) {
    assert.deepEqual(found.rows, expected, plan.route);
  } else {
    // Any order will do, and which rows a limit keeps is open too.
    assert.equal(found.rows.length, expected.length, plan.route);
    const all = runModel({ ...query, limit: null, offset: 0 }, rows, args);
    for (const row of found.rows) {
      assert.ok(all.some((other) => equal(row, other)), plan.route);
    }
  }
  const counted = encoder.encode(buffer, args, PlanFlag.countOnly);
  const count = runBlob(buffer.subarray(0, counted), table, rows);
  assert.equal(count.countOnly, true);
  assert.equal(count.rows.length, expected.length);
  const one = encoder.encode(buffer, args, PlanFlag.handles, 1);
  assert.equal(
    runBlob(buffer.subarray(0, one), table, rows).rows.length,
    Math.min(1, expected.length),
  );
}

function equal(a: ModelRow, b: ModelRow): boolean {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}

test("every route gives the rows that the query means", () => {
  fc.assert(
    fc.property(
      searchArbitrary,
      rowsArbitrary,
      fc.constantFrom<Dialect>("default", "speedtables"),
      fc.constantFrom(...tables),
      (search, rows, dialect, table) => {
        assertSame(table, parseSearch(search, table, { dialect }), rows);
      },
    ),
    { numRuns: 3000 },
  );
});

test("prepared queries give the same as literal ones, by every route", () => {
  fc.assert(
    fc.property(
      preparedArbitrary,
      rowsArbitrary,
      fc.constantFrom<Dialect>("default", "speedtables"),
      fc.constantFrom(...tables),
      ({ open, literal, args }, rows, dialect, table) => {
        const query = parseSearch(open, table, { dialect, parameters: true });
        assert.equal(query.parameterCount, args.length);
        const plan = planQuery(query, countsOf(table, rows));
        const buffer = new Uint8Array(8192).fill(0xee);
        const size = new PlanEncoder(plan).encode(buffer, args);
        const found = runBlob(buffer.subarray(0, size), table, rows);
        const expected = runModel(parseSearch(literal, table, { dialect }), rows);
        const keys = (list: readonly ModelRow[]): unknown[] =>
          list.map((row) => String(row["flight_id"])).toSorted();
        assert.deepEqual(keys(found.rows), keys(expected), plan.route);
      },
    ),
    { numRuns: 2000 },
  );
});

test("plans of which only numbers differ are the same bytes as by the general way", () => {
  const searches = [
    "{= altitude $1} {< lat $2}",
    "{> altitude $1} {!= lat $2}",
    "{<= altitude $1} {= on_ground 1} {> lat $2}",
    "{range altitude $1 $2}",
    "{= typ B738} {range altitude $1 $2}",
    "{= typ B738} {>= altitude $1} {<= lat $2}",
    "{range lat $1 $2} {= origin KSFO}",
    "{> altitude $1} {< altitude $2}",
    "{= serial 7} {= altitude $1} {< lat $2}",
  ];
  // Text goes the general way, and numbers beyond a column fail there.
  const numbers = [[3, 4], [-7, 0], [-0, 0], [2147483647, -2147483648], [41000, 1e9]];
  for (const table of tables) {
    for (const search of searches) {
      for (const sort of ["", " -sort -altitude -limit 5 -offset 2"]) {
        const text = `-compare {${search}}${sort}`;
        const query = parseSearch(text, table, { dialect: "default", parameters: true });
        const plan = planQuery(query, countsOf(table, []));
        const encoder = new PlanEncoder(plan);
        // Only runs of a plan that has run before are written so.
        for (const args of numbers) encoder.encode(new Uint8Array(1024), args);
        for (const args of numbers) {
          const encoded = [args, args.map(String)].map((given) => {
            const buffer = new Uint8Array(1024).fill(0xee);
            return buffer.subarray(0, encoder.encode(buffer, given, PlanFlag.handles, 3));
          });
          assert.deepEqual(encoded[0], encoded[1], `${text} ${args}`);
        }
        assert.throws(() => encoder.encode(new Uint8Array(1024), [NaN, 1]), {
          code: "type_mismatch",
        });
        assert.throws(() => encoder.encode(new Uint8Array(1024), [1]), {
          code: "unknown_parameter",
        });
        assert.throws(() => encoder.encode(new Uint8Array(64), [1, 2]), { code: "invalid_query" });
      }
    }
  }
});

for (const indexed of [false, true]) {
  const how = indexed ? "every column indexed" : "no index";
  test(`plans give what speedtables gave, with ${how}`, { skip: oracleMissing }, () => {
    const oracle = readOracle();
    const table = oracleTable(oracle, indexed);
    const routes = new Set<number>();
    for (const { stapi, keys, sort } of oracle.queries) {
      const query = parseSearch(stapi, table, { dialect: "speedtables" });
      const plan = planQuery(query, countsOf(table, oracle.rows));
      const buffer = new Uint8Array(4096);
      const size = new PlanEncoder(plan).encode(buffer);
      const found = runBlob(buffer.subarray(0, size), table, oracle.rows);
      const ids = found.rows.map((row) => String(row["id"]));
      assert.deepEqual(sort.length > 0 ? ids : ids.toSorted(), keys, stapi);
      routes.add(found.route);
    }
    assert.deepEqual([...routes].toSorted(), indexed ? [0, 2, 3, 4] : [0, 4]);
  });
}
