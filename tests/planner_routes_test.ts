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
import type { Dialect, Query, Value } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { formatList } from "../lib/stapi/tcl_list.ts";
import { flightTable } from "./support/flight_table.ts";
import { oracleMissing, oracleTable, readOracle } from "./support/oracle.ts";
import { runBlob } from "./support/plan_blob.ts";
import { type ModelRow, runModel } from "./support/query_model.ts";

const tables: readonly TableMeta[] = [
  flightTable(),
  flightTable(["altitude"], ["typ"], ["lat"], ["on_ground"], ["hex"], ["serial"], ["origin"]),
  flightTable(["typ", "altitude"], ["altitude", "lat"], ["on_ground", "serial"], ["typ"]),
  flightTable(["serial", "typ", "altitude"], ["altitude"], ["origin", "typ"], ["hex", "typ"]),
];

/** Values few enough to meet often; each as the engine holds it and as a search writes it. */
const samples: Readonly<Record<string, readonly (readonly [Value, string])[]>> = {
  flight_id: ["UAL1", "UAL2", "DAL1", "é", "\u{1f600}", "\uff5e", ""].map((text) => [text, text]),
  altitude: [-5, 0, 1, 2, 3].map((number) => [number, String(number)]),
  lat: [-1.5, 0, 0.25, 1e10].map((number) => [number, String(number)]),
  typ: ["A", "B738", "B737", "b738", "B7", "", "é"].map((text) => [text, text]),
  on_ground: [[true, "1"], [false, "0"]],
  hex: ["a", "ab", "b"].map((text) => [new TextEncoder().encode(text), text]),
  serial: [-1n, 0n, 1n, 2n ** 60n, 2n ** 60n + 1n].map((number) => [number, String(number)]),
  origin: ["SFO", "SEA", "JFK"].map((text) => [text, text]),
};
const fields = Object.keys(samples);
/** Fields to ask about: those with most indexes more often. */
const asked = [...fields, "altitude", "typ", "altitude", "typ"];
/** Orders that an index could give, and some that it nearly gives. */
const sorts = [
  ["altitude"],
  ["-altitude"],
  ["typ"],
  ["-typ", "-altitude"],
  ["typ", "-altitude"],
  ["altitude", "lat"],
  ["-altitude", "-lat"],
  ["-altitude", "lat"],
  ["-on_ground", "-serial"],
  ["flight_id", "altitude"],
  ["-flight_id"],
];

const row_arbitrary = fc.record(Object.fromEntries(fields.map((field) => {
  const values = fc.constantFrom(...(samples[field] ?? []).map(([value]) => value));
  const nullable = field !== "flight_id" && field !== "origin";
  return [field, nullable ? fc.option(values, { nil: null, freq: 3 }) : values];
})));
const rows_arbitrary: fc.Arbitrary<ModelRow[]> = fc.uniqueArray(
  row_arbitrary as fc.Arbitrary<ModelRow>,
  { selector: (row) => row["flight_id"], maxLength: 7 },
);

const pattern_arbitrary = fc.constantFrom(
  "B*",
  "B73?",
  "b7*",
  "*8",
  "B738",
  "",
  "*",
  "[A-C]*",
  "é*",
);

const clause_arbitrary: fc.Arbitrary<string[]> = fc.constantFrom(...asked).chain((field) => {
  const words = (samples[field] ?? []).map(([, text]) => text);
  const word = fc.constantFrom(
    ...words,
    ...(field === "flight_id" ? ["longer than 16 bytes"] : []),
  );
  const choices: fc.Arbitrary<string[]>[] = [
    fc.constantFrom("null", "notnull").map((operator) => [operator, field]),
    fc.tuple(fc.constantFrom("=", "=", "=", "!=", ">", ">=", "<", "<="), word)
      .map(([operator, value]) => [operator, field, value]),
    fc.array(word, { maxLength: 4 }).map((words) => ["in", field, formatList(words)]),
    fc.tuple(word, word).map(([low, high]) => ["range", field, low, high]),
  ];
  if (field === "typ" || field === "flight_id") {
    const operators = fc.constantFrom("match", "notmatch", "imatch", "match_case");
    choices.push(
      fc.tuple(operators, pattern_arbitrary).map(([operator, glob]) => [operator, field, glob]),
    );
  }
  if (field === "on_ground") {
    choices.push(fc.constantFrom("true", "false").map((operator) => [operator, field]));
  }
  return fc.oneof(...choices);
});

const search_arbitrary: fc.Arbitrary<string> = fc.record({
  clauses: fc.array(clause_arbitrary, { maxLength: 4 }),
  sort: fc.oneof(
    fc.constantFrom(...sorts),
    fc.array(
      fc.tuple(fc.constantFrom("", "-"), fc.constantFrom(...fields)).map((parts) => parts.join("")),
      { maxLength: 3 },
    ),
  ),
  limit: fc.option(fc.integer({ min: 0, max: 4 })),
  offset: fc.option(fc.integer({ min: 0, max: 2 })),
  fields: fc.option(fc.subarray(fields, { minLength: 1 })),
  hint: fc.option(fc.constantFrom(...fields), { freq: 4 }),
}).map(({ clauses, sort, limit, offset, fields: wanted, hint }) => {
  const words = ["-compare", formatList(clauses.map(formatList)), "-sort", formatList(sort)];
  if (limit !== null) words.push("-limit", String(limit));
  if (offset !== null) words.push("-offset", String(offset));
  if (wanted !== null) words.push("-fields", formatList(wanted));
  if (hint !== null) words.push("-index", hint);
  return formatList(words);
});

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
      search_arbitrary,
      rows_arbitrary,
      fc.constantFrom<Dialect>("default", "speedtables"),
      fc.constantFrom(...tables),
      (search, rows, dialect, table) => {
        assertSame(table, parseSearch(search, table, { dialect }), rows);
      },
    ),
    { numRuns: 3000 },
  );
});

/** A search whose every value is a parameter, and its values. */
const prepared_arbitrary = fc.array(clause_arbitrary, { minLength: 1, maxLength: 4 }).map(
  (clauses) => {
    const args: unknown[] = [];
    const open = clauses.map(([operator = "", field = "", ...operands]) => {
      const places = operands.map((operand) => {
        const values = operator === "in"
          ? operand.split(/\s+/).filter((word) => word !== "{}")
          : [operand];
        args.push(operator === "in" ? values.filter((word) => word !== "") : operand);
        return `$${args.length}`;
      });
      return [operator, field, ...places];
    });
    return { open: formatList(["-compare", formatList(open.map(joinRaw))]), args };
  },
);

/** `$` must stay bare: within a list it is written without backslashes. */
function joinRaw(words: readonly string[]): string {
  return words.join(" ");
}

test("prepared queries give the same as literal ones, by every route", () => {
  fc.assert(
    fc.property(
      prepared_arbitrary,
      rows_arbitrary,
      fc.constantFrom<Dialect>("default", "speedtables"),
      fc.constantFrom(...tables),
      ({ open, args }, rows, dialect, table) => {
        const query = parseSearch(open, table, { dialect, parameters: true });
        assert.equal(query.parameterCount, args.length);
        const plan = planQuery(query, countsOf(table, rows));
        const buffer = new Uint8Array(8192).fill(0xee);
        const size = new PlanEncoder(plan).encode(buffer, args);
        const found = runBlob(buffer.subarray(0, size), table, rows);
        const literal = bindLiterals(query, args, table);
        const expected = runModel(literal, rows);
        const keys = (list: readonly ModelRow[]): unknown[] =>
          list.map((row) => String(row["flight_id"])).toSorted();
        assert.deepEqual(keys(found.rows), keys(expected), plan.route);
      },
    ),
    { numRuns: 2000 },
  );
});

/** Puts the values in the places of the parameters, by way of the parser's coercion. */
function bindLiterals(query: Query, args: readonly unknown[], table: TableMeta): Query {
  const clauses = query.clauses.map((clause) => {
    const operands = clause.operands.flatMap((operand): Value[] => {
      assert.ok(typeof operand === "object" && "parameter" in operand);
      const given = args[operand.parameter - 1];
      const words = (Array.isArray(given) ? given : [given]) as string[];
      const name = table.columns[clause.column]?.name ?? "";
      return words.map((word) => {
        const [parsed] = parseSearch(formatList(["-compare", formatList(["=", name, word])]), table)
          .clauses;
        return parsed?.operands[0] as Value;
      });
    });
    return { ...clause, operands };
  });
  return { ...query, clauses };
}

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
