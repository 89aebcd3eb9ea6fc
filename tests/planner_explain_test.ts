/**
 * What `explain()` says, as an object and as text.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { explainPlan, type Explanation } from "../lib/query/explain.ts";
import { planQuery } from "../lib/query/planner.ts";
import type { IndexMeta } from "../lib/query/table_meta.ts";
import type { Dialect } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { formatList } from "../lib/stapi/tcl_list.ts";
import { Column, flightTable } from "./support/flight_table.ts";
import { searchArbitrary } from "./support/query_arbitrary.ts";

const table = flightTable(["altitude"], ["typ"], ["destination", "altitude"]);
const counts = {
  rows: () => 10_000,
  distinctKeys: (index: IndexMeta | null) =>
    index === null ? 10_000 : index.name === "typ" ? 50 : 400,
};

function explain(search: string, args?: readonly unknown[], dialect?: Dialect): Explanation {
  const options = {
    parameters: args !== undefined || search.includes("$"),
    dialect: dialect ?? "default",
  };
  return explainPlan(planQuery(parseSearch(search, table, options), counts), counts, args);
}

test("explainPlan() tells everything about an exact match", () => {
  const search = "-compare {{notnull lat} {= typ B738} {> gs 5} {imatch flight_id {a b*}}} " +
    "-sort {typ -gs} -limit 50 -offset 7";
  const { toString, ...facts } = explain(search);
  assert.deepEqual(facts, {
    table: "Flight",
    route: "IndexExactMatch",
    index: "typ",
    driver: ["= typ B738"],
    bounds: null,
    residuals: ["notnull lat", "> gs 5", "imatch flight_id {a b*}"],
    sort: ["-gs"],
    ordering: "sort",
    descending: false,
    limit: 50,
    offset: 7,
    limitPushedDown: false,
    countOnly: false,
    emptiness: "",
    hint: "",
    estimate: { tableRows: 10_000, rowsRead: 200 },
    actual: null,
  });
  assert.equal(
    toString(),
    [
      "table:     Flight",
      "route:     IndexExactMatch on typ",
      "driver:    = typ B738",
      "residual:  1. notnull lat",
      "residual:  2. > gs 5",
      "residual:  3. imatch flight_id {a b*}",
      "order:     -gs, by a sort, then by primary key",
      "limit:     50, offset 7: a heap of limit + offset rows",
      "estimate:  reads about 200 of 10000 rows",
    ].join("\n"),
  );
});

test("explainPlan() tells the merged bounds of a range and the order of the index", () => {
  const search =
    "-compare {{> altitude 5} {<= altitude 90} {< altitude 100}} -sort -altitude -limit 5";
  const found = explain(search);
  assert.deepEqual(found.bounds, {
    field: "altitude",
    low: 5,
    lowInclusive: false,
    high: 90,
    highInclusive: true,
  });
  assert.equal(
    String(found),
    [
      "table:     Flight",
      "route:     IndexRangeScan on altitude",
      "driver:    > altitude 5 and <= altitude 90 and < altitude 100",
      "bounds:    5 < altitude <= 90",
      "order:     -altitude, which is that of the index read backwards",
      "limit:     5, offset 0: the scan stops early",
      "estimate:  reads about 5 of 10000 rows",
    ].join("\n"),
  );
});

test("explainPlan() tells why a plan is empty", () => {
  assert.equal(
    String(explain("-compare {{> altitude 5} {< altitude 5}} -sort gs")),
    [
      "table:     Flight",
      "route:     Empty",
      "empty:     no value of altitude satisfies its clauses",
      "estimate:  reads about 0 of 10000 rows",
    ].join("\n"),
  );
  assert.equal(explain("-limit 0").emptiness, "the limit is 0");
});

test("explainPlan() tells of full scans, hints and lookups", () => {
  assert.equal(
    String(explain("-index gs -offset 3")),
    [
      "table:     Flight",
      "route:     FullScan",
      "order:     any",
      "limit:     none, offset 3",
      "hint:      of no use",
      "estimate:  reads about 10000 of 10000 rows",
    ].join("\n"),
  );
  const lookup = explain("-compare {in flight_id {A B C}}");
  assert.equal(lookup.index, "flight_id");
  assert.equal(lookup.estimate.rowsRead, 3);
  const scan = explain("-sort -altitude -limit 10 -offset 5");
  assert.equal(scan.route, "IndexOrderScan");
  assert.equal(scan.estimate.rowsRead, 15);
});

test("explainPlan() shows parameters by name until their values are known", () => {
  const search = "-compare {{= destination $1} {> altitude $2} {in gs $3}} -limit $4";
  const unknown = explain(search);
  assert.deepEqual(unknown.driver, ["= destination $1", "> altitude $2"]);
  assert.deepEqual(unknown.residuals, ["in gs {$3}"]);
  assert.equal(unknown.limit, undefined);
  assert.match(String(unknown), /limit: {5}by a parameter, offset 0: the scan stops early/);
  assert.match(String(unknown), /bounds: {4}altitude, by parameters/);
  const known = explain(search, ["SFO", 100, [1, 2], 9]);
  assert.deepEqual(known.driver, ["= destination SFO", "> altitude 100"]);
  assert.deepEqual(known.residuals, ["in gs {1 2}"]);
  assert.equal(known.limit, 9);
  assert.equal(known.bounds?.low, 100);
});

test("explainPlan() writes the sort as it was asked for", () => {
  assert.deepEqual(explain("-sort {on_ground -typ}", undefined, "speedtables").sort, [
    "on_ground",
    "-typ",
  ]);
  assert.deepEqual(explain("-sort {-on_ground typ}").sort, ["-on_ground", "typ"]);
});

test("explainPlan() writes clauses that read back", () => {
  const search = "-compare {{in typ {{a b} {} \\{}} {= hex ab} {= serial 5} {range lat 1 2.5}}";
  const clauses = explain(search).residuals;
  assert.deepEqual(clauses, ["= hex <2 bytes>", "= serial 5", "range lat 1 2.5"]);
  assert.deepEqual(explain(search).driver, ["in typ {{a b} {} \\{}"]);
});

test("explainPlan() writes every clause so that it reads back, in both dialects", () => {
  fc.assert(
    fc.property(
      searchArbitrary,
      fc.constantFrom<Dialect>("default", "speedtables"),
      (search, dialect) => {
        const query = parseSearch(search, table, { dialect });
        // Bytes are not text, so an explanation only says how many there are.
        fc.pre(query.clauses.every(({ column }) => column !== Column.hex));
        const plan = planQuery(query, counts);
        fc.pre(plan.route !== "Empty");
        const { driver, residuals } = explainPlan(plan, counts);
        const written = formatList(["-compare", formatList([...driver, ...residuals])]);
        const inOrder = [...plan.equalities, ...plan.bounds].sort((a, b) => a - b);
        assert.deepEqual(
          parseSearch(written, table, { dialect }).clauses,
          [...inOrder, ...plan.residuals].map((number) => query.clauses[number]),
        );
      },
    ),
    { numRuns: 500 },
  );
});
