/**
 * Prepared queries, their values and the errors about them; and the cache of search strings.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AerostoreError, type ErrorCode } from "../lib/errors.ts";
import { PreparedQuery } from "../lib/query/builder.ts";
import { type CompiledQuery, QueryCompiler } from "../lib/query/compiler.ts";
import type { IndexMeta } from "../lib/query/table_meta.ts";
import type { Dialect } from "../lib/stapi/ast.ts";
import { FakeExecutor } from "./support/fake_executor.ts";
import { flightTable } from "./support/flight_table.ts";
import { runBlob } from "./support/plan_blob.ts";
import type { ModelRow } from "./support/query_model.ts";

const table = flightTable(["altitude"]);
const rows: readonly ModelRow[] = [
  { flight_id: "UAL1", altitude: 100, typ: "B738", serial: 1n, lat: 1.5, on_ground: true },
  { flight_id: "UAL2", altitude: 200, typ: "A320", serial: 2n, lat: 2.5, on_ground: false },
  { flight_id: "DAL1", altitude: null, typ: "B738", serial: null, lat: null, on_ground: null },
];
const counts = { rows: () => rows.length, distinctKeys: () => rows.length };
const compiler = new QueryCompiler(table, counts);
const buffer = new Uint8Array(4096);

/** Runs a prepared search over the rows; returns the primary keys. */
function keysOf(query: CompiledQuery, ...args: unknown[]): unknown[] {
  const size = query.encode(buffer, args);
  return runBlob(buffer.subarray(0, size), table, rows).rows.map((row) => row["flight_id"]);
}

test("prepare() takes parameters in every place of a value", () => {
  const cases: [string, unknown[], string[]][] = [
    ["-compare {= flight_id $1}", ["UAL1"], ["UAL1"]],
    ["-compare {{=} {flight_id} {$1}}", ["UAL1"], ["UAL1"]],
    ["-compare {{= typ $1} {> altitude $2}}", ["B738", 50], ["UAL1"]],
    ["-compare {range altitude $1 $2} -sort altitude", [100, 201], ["UAL1", "UAL2"]],
    ["-compare {in flight_id {$1 UAL2 $2}} -sort flight_id", ["DAL1", "x"], ["DAL1", "UAL2"]],
    ["-compare {in flight_id $1} -sort flight_id", [["UAL2", "DAL1"]], ["DAL1", "UAL2"]],
    ["-compare {in flight_id $1}", ["UAL2"], ["UAL2"]],
    ["-compare {in flight_id $1}", [[]], []],
    ["-compare {in altitude $1} -sort -altitude", [[100, 200, 100]], ["UAL2", "UAL1"]],
    ["-compare {match typ $1} -sort flight_id", ["B*"], ["DAL1", "UAL1"]],
    ["-compare {= serial $1}", [2n], ["UAL2"]],
    ["-compare {= serial $1}", [2], ["UAL2"]],
    ["-compare {= serial $1}", ["2"], ["UAL2"]],
    ["-compare {= lat $1}", [1.5], ["UAL1"]],
    ["-compare {= on_ground $1}", [false], ["UAL2"]],
    ["-sort flight_id -limit $1 -offset $2", [1, 1], ["UAL1"]],
    ["-sort flight_id -limit $1", [0], []],
    ["-compare {{= flight_id $1} {= typ $1}}", ["UAL1"], []],
    ["-compare {= flight_id $1}", ["a key that is longer than the column"], []],
  ];
  for (const [search, args, expected] of cases) {
    assert.deepEqual(keysOf(compiler.prepare(search), ...args), expected, search);
  }
});

test("prepare() runs again and again with other values", () => {
  const query = compiler.prepare("-compare {{= typ $1} {>= altitude $2}} -sort flight_id");
  assert.deepEqual(keysOf(query, "B738", 1), ["UAL1"]);
  assert.deepEqual(keysOf(query, "A320", 1), ["UAL2"]);
  assert.deepEqual(keysOf(query, "A320", 201), []);
  const list = compiler.prepare("-compare {in flight_id $1} -sort flight_id");
  assert.deepEqual(keysOf(list, ["UAL1", "UAL2", "DAL1"]), ["DAL1", "UAL1", "UAL2"]);
  assert.deepEqual(keysOf(list, ["UAL2"]), ["UAL2"]);
  assert.deepEqual(keysOf(list, []), []);
});

test("prepare() sees a contradiction of the values of one run", () => {
  const query = compiler.prepare("-compare {{> altitude $1} {< altitude $2}}");
  assert.deepEqual(keysOf(query, 1, 150), ["UAL1"]);
  assert.equal(buffer[6], 3);
  assert.deepEqual(keysOf(query, 5, 5), []);
  assert.equal(buffer[6], 0);
  assert.equal(query.explain([5, 5]).route, "Empty");
  assert.equal(query.explain([5, 6]).route, "IndexRangeScan");
});

test("prepare() reads a limit of 0 by the dialect", () => {
  const query = compiler.prepare("-limit $1", "speedtables");
  assert.equal(keysOf(query, 0).length, 3);
  assert.equal(keysOf(query, 2).length, 2);
});

test("prepare() takes the object form", () => {
  const query = compiler.prepare({ compare: [["=", "flight_id", "$1"]], limit: 5 });
  assert.equal(query.query.parameterCount, 1);
  assert.deepEqual(keysOf(query, "UAL2"), ["UAL2"]);
});

test("prepared queries refuse values that do not suit", () => {
  const query = compiler.prepare("-compare {{= altitude $1} {= serial $2}} -limit $3");
  const cases: [unknown[], ErrorCode, RegExp][] = [
    [[], "unknown_parameter", /^The query has 3 parameters, and 0 values were given$/],
    [[1, 2], "unknown_parameter", /^The query has 3 parameters, and 2 values were given$/],
    [[1, 2, 3, 4], "unknown_parameter", /and 4 values were given$/],
    [["high", 2, 3], "type_mismatch", /which 'high' cannot become \(in \$1\)$/],
    [[null, 2, 3], "type_mismatch", /which null cannot become \(in \$1\)$/],
    [[undefined, 2, 3], "type_mismatch", /which undefined cannot become \(in \$1\)$/],
    [[[1], 2, 3], "type_mismatch", /which an array cannot become \(in \$1\)$/],
    [[1, 2 ** 53, 3], "unsafe_integer", /\(in \$2\)$/],
    [
      [1, 2, -1],
      "invalid_query",
      /^'-limit' expects a whole number, 0 or more, got '-1' \(in \$3\)$/,
    ],
  ];
  for (const [args, code, message] of cases) {
    assert.throws(() => query.encode(buffer, args), (error) => {
      assert.ok(error instanceof AerostoreError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    });
  }
  assert.throws(
    () => compiler.prepare("-compare {= typ $1}").encode(buffer, [1, 2]),
    /1 parameter, /,
  );
  assert.throws(
    () => compiler.prepare("").encode(buffer, [1]),
    /0 parameters, and 1 value was given/,
  );
});

test("a query that does not fit the buffer is refused", () => {
  const query = compiler.prepare("-compare {= typ $1}");
  const small = new Uint8Array(128);
  assert.ok(query.encode(small, ["x".repeat(20)]) <= 128);
  for (const text of ["x".repeat(30), "x".repeat(200), "é".repeat(60)]) {
    assert.throws(() => query.encode(small, [text]), {
      code: "invalid_query",
      message: "The query needs more than 128 bytes: give it fewer or shorter values",
    });
  }
  assert.equal(query.encode(small, ["fits"]) % 8, 0);
});

test("PreparedQuery runs by its executor", () => {
  const executor = new FakeExecutor(table, counts, rows);
  const query = new PreparedQuery<ModelRow>(executor, compiler.prepare("-compare {= typ $1}"));
  assert.equal(query.parameterCount, 1);
  assert.equal(query.all("a").length, 3);
  assert.equal(query.first("b")?.["flight_id"], "UAL1");
  query.count("c");
  assert.deepEqual([...query.iterate("d")].length, 3);
  assert.equal(query.update({ typ: "x" }, "e"), 3);
  assert.equal(query.delete("f"), 3);
  assert.deepEqual(query.aggregate({ n: "count" }, "g"), { n: null });
  assert.deepEqual(executor.runs.map(({ args, what }) => [...args, what]), [
    ["a", Infinity],
    ["b", 1],
    ["c", "count"],
    ["d", Infinity],
    ["e", { typ: "x" }],
    ["f", "delete"],
    ["g", { n: "count" }],
  ]);
  assert.equal(query.analyze("h").actual?.filters[0]?.clause, "= typ h");
  assert.deepEqual(query.explain().residuals, ["= typ $1"]);
  assert.deepEqual(query.explain("x y").residuals, ["= typ {x y}"]);
});

test("QueryCompiler reads a repeated search once, for each dialect", () => {
  const own = new QueryCompiler(table, counts);
  const search = "-compare {match typ b*}";
  const first = own.compile(search);
  const other = own.compile(search, "speedtables");
  assert.notEqual(first, other);
  assert.equal(own.compile(search), first);
  assert.equal(own.compile(search, "speedtables"), other);
  for (let number = 0; number < 200; number += 1) own.compile(`-limit ${number}`);
  assert.equal(own.compile(search), first);
  for (let number = 0; number < 600; number += 1) own.compile(`-offset ${number}`);
  assert.notEqual(own.compile(search), first);
});

test("QueryCompiler keeps a search in use, however many others come", () => {
  const own = new QueryCompiler(table, counts);
  const search = "-compare {match typ b*}";
  const first = own.compile(search);
  for (let number = 0; number < 2000; number += 1) {
    own.compile(`-offset ${number}`);
    if (number % 100 === 0) assert.equal(own.compile(search), first);
  }
});

test("QueryCompiler does not remember very long searches", () => {
  const own = new QueryCompiler(table, counts);
  const search = `-compare {in typ {${"B738 ".repeat(1000)}}}`;
  const first = own.compile(search);
  assert.equal(own.compile(search), first);
  own.compile("");
  assert.notEqual(own.compile(search), first);
});

test("QueryCompiler plans a search again when counts change that decided", () => {
  const distinct: Record<string, number> = { altitude: 10, typ: 20 };
  const two = flightTable(["altitude"], ["typ"]);
  const own = new QueryCompiler(two, {
    rows: () => 100,
    distinctKeys: (index: IndexMeta | null) => distinct[index?.name ?? ""] ?? 100,
  });
  const search = "-compare {{= altitude 5} {= typ A}}";
  const dialect: Dialect = "default";
  const first = own.compile(search, dialect);
  assert.equal(first.plan.index?.name, "typ");
  const plan = first.plan;
  assert.equal(own.compile(search).plan, plan);
  distinct["altitude"] = 30;
  assert.equal(own.compile(search), first);
  assert.equal(first.plan.index?.name, "altitude");
  const size = first.encode(buffer);
  assert.equal(new DataView(buffer.buffer).getUint32(52, true), 1);
  assert.ok(size > 0);
});
