/**
 * The choice of the planner: each rule, each tie, and what remains to be tested on each row.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AerostoreError } from "../lib/errors.ts";
import { type Plan, type PlanCounts, stopsEarly } from "../lib/query/plan.ts";
import { clauseCountMax, planQuery } from "../lib/query/planner.ts";
import type { IndexMeta, TableMeta } from "../lib/query/table_meta.ts";
import type { Dialect } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { flightTable } from "./support/flight_table.ts";

/** Counts by the name of the index; the primary key is `key`. */
function countsOf(distinct: Readonly<Record<string, number>> = {}): PlanCounts {
  return {
    rows: () => 1000,
    distinctKeys: (index: IndexMeta | null) => distinct[index?.name ?? "key"] ?? 1000,
  };
}

interface PlanOptions {
  readonly counts?: Readonly<Record<string, number>>;
  readonly dialect?: Dialect;
  readonly parameters?: boolean;
}

function plan(table: TableMeta, text: string, options: PlanOptions = {}): Plan {
  const { dialect = "default", parameters = false } = options;
  return planQuery(parseSearch(text, table, { dialect, parameters }), countsOf(options.counts));
}

/** The choice in short: route, index, clauses of the driver, residuals. */
function choice(found: Plan): string {
  const index = found.index === null ? "" : ` ${found.index.name}`;
  const driver = [...found.equalities, ...found.bounds].join(",");
  return `${found.route}${index} [${driver}] [${found.residuals.join(",")}]`;
}

const plain = flightTable();
const two = flightTable(["altitude"], ["typ"]);
const many = flightTable(["altitude"], ["typ"], ["destination"], ["gs"]);

test("planQuery() reads everything when nothing else helps", () => {
  const searches = [
    "",
    "-compare {{> lat 5}}",
    "-compare {{= typ B738}}",
    "-compare {{> flight_id UAL}}",
    "-compare {{match flight_id UAL*}}",
    "-sort -altitude -limit 5",
  ];
  for (const search of searches) assert.equal(plan(plain, search).route, "FullScan", search);
  assert.equal(choice(plan(plain, "-compare {{> lat 5} {< gs 6}}")), "FullScan [] [0,1]");
});

test("planQuery() looks up the primary key for = and in", () => {
  assert.equal(
    choice(plan(plain, "-compare {{> lat 5} {= flight_id UAL1} {null gs}}")),
    "PrimaryKeyLookup [1] [0,2]",
  );
  assert.equal(choice(plan(plain, "-compare {in flight_id {A B}}")), "PrimaryKeyLookup [0] []");
});

test("planQuery() never drives by != notmatch null notnull true false", () => {
  const table = flightTable(["typ"], ["on_ground"]);
  const searches = [
    "{!= typ A}",
    "{notmatch typ A*}",
    "{null typ}",
    "{notnull typ}",
    "{!= flight_id A}",
    "{true on_ground}",
    "{imatch typ A*}",
    "{match typ *A}",
    "{match typ ?A}",
    "{match typ {[AB]*}}",
  ];
  for (const search of searches) {
    assert.equal(choice(plan(table, `-compare {${search}}`)), "FullScan [] [0]", search);
  }
});

test("planQuery() prefers the equality with more distinct keys", () => {
  const search = "-compare {{= altitude 5} {= typ A} {> lat 1}}";
  assert.equal(
    choice(plan(two, search, { counts: { altitude: 10, typ: 20 } })),
    "IndexExactMatch typ [1] [0,2]",
  );
  assert.equal(
    choice(plan(two, search, { counts: { altitude: 20, typ: 10 } })),
    "IndexExactMatch altitude [0] [1,2]",
  );
  assert.equal(
    choice(plan(two, "-compare {{= flight_id A} {= typ B}}", { counts: { key: 10, typ: 11 } })),
    "IndexExactMatch typ [1] [0]",
  );
});

test("planQuery() breaks a tie for the primary key, then the earlier clause, then by rank", () => {
  assert.equal(
    choice(plan(two, "-compare {{= typ A} {= flight_id B}}")),
    "PrimaryKeyLookup [1] [0]",
  );
  assert.equal(
    choice(plan(two, "-compare {{= typ A} {= altitude 5}}")),
    "IndexExactMatch typ [0] [1]",
  );
  assert.equal(
    choice(plan(two, "-compare {{= altitude 5} {= typ A}}")),
    "IndexExactMatch altitude [0] [1]",
  );
  const twice = flightTable(["typ"], ["unique", "typ"]);
  assert.equal(plan(twice, "-compare {{= typ A}}").index?.id, 1);
});

test("planQuery() counts in as several equalities", () => {
  const counts = { altitude: 10, typ: 20 };
  assert.equal(
    choice(plan(two, "-compare {{= altitude 5} {in typ {A B C}}}", { counts })),
    "IndexExactMatch typ [1] [0]",
  );
  assert.equal(
    choice(plan(two, "-compare {{in typ {A B}} {= typ A}}", { counts })),
    "IndexExactMatch typ [0] [1]",
  );
});

test("planQuery() asks for counts only where candidates compete", () => {
  const asked: (string | undefined)[] = [];
  const counts: PlanCounts = {
    rows: () => assert.fail("rows are not asked for"),
    distinctKeys: (index) => asked.push(index?.name),
  };
  for (const search of ["{= typ A}", "{> altitude 1} {> gs 2}", "{= flight_id A} {> altitude 1}"]) {
    const found = planQuery(parseSearch(`-compare {${search}}`, many), counts);
    assert.deepEqual(found.counts, []);
  }
  assert.deepEqual(asked, []);
  const found = planQuery(parseSearch("-compare {{= typ A} {= flight_id B}}", many), counts);
  assert.deepEqual(asked, [undefined, "typ"]);
  assert.deepEqual(found.counts.map(({ count }) => count), [1, 2]);
});

test("planQuery() prefers any equality to any range", () => {
  assert.equal(
    choice(plan(many, "-compare {{> altitude 1} {= typ A}}", { counts: { typ: 1 } })),
    "IndexExactMatch typ [1] [0]",
  );
});

test("planQuery() chooses among ranges by catalogue rank, whatever their order", () => {
  for (const search of ["{> altitude 1} {< gs 2}", "{< gs 2} {> altitude 1}"]) {
    const found = plan(many, `-compare {${search}}`);
    assert.equal(found.index?.name, "altitude");
  }
  const reversed = flightTable(["gs"], ["altitude"]);
  assert.equal(plan(reversed, "-compare {{> altitude 1} {< gs 2}}").index?.name, "gs");
});

test("planQuery() merges all bounds of a field into one driver", () => {
  assert.equal(
    choice(plan(many, "-compare {{> altitude 1} {= lat 5} {<= altitude 9} {range altitude 2 8}}")),
    "IndexRangeScan altitude [0,2,3] [1]",
  );
});

test("planQuery() scans the range of a glob's prefix", () => {
  assert.equal(choice(plan(two, "-compare {match typ B7*8}")), "IndexRangeScan typ [0] []");
  assert.equal(choice(plan(two, "-compare {match typ B738}")), "IndexRangeScan typ [0] []");
  assert.equal(
    plan(two, "-compare {match typ B7*}", { dialect: "speedtables" }).route,
    "FullScan",
  );
  assert.equal(
    plan(two, "-compare {match_case typ B7*}", { dialect: "speedtables" }).route,
    "IndexRangeScan",
  );
});

test("planQuery() keeps nulls that satisfy a bound: they are not in its interval", () => {
  const dialect = "speedtables";
  assert.equal(plan(two, "-compare {> altitude 5}", { dialect }).route, "FullScan");
  assert.equal(plan(two, "-compare {< altitude 5}", { dialect }).route, "IndexRangeScan");
  assert.equal(
    choice(plan(two, "-compare {{> altitude 5} {< altitude 9}}", { dialect })),
    "IndexRangeScan altitude [0,1] []",
  );
  assert.equal(
    choice(plan(two, "-compare {{>= altitude 5} {notnull altitude}}", { dialect })),
    "IndexRangeScan altitude [0] [1]",
  );
  const notNull = flightTable(["origin"]);
  assert.equal(plan(notNull, "-compare {> origin A}", { dialect }).route, "IndexRangeScan");
});

test("planQuery() sees contradictions, indexed or not", () => {
  const contradictions = [
    "{> altitude 5} {< altitude 5}",
    "{>= altitude 5} {< altitude 5}",
    "{> altitude 9} {<= altitude 5}",
    "{range altitude 5 5}",
    "{range altitude 9 5}",
    "{= altitude 5} {= altitude 6}",
    "{= altitude 5} {!= altitude 5}",
    "{= altitude 5} {> altitude 5}",
    "{in altitude {1 2}} {in altitude {3 4}}",
    "{in altitude {1 2}} {> altitude 2}",
    "{in altitude {}}",
    "{null altitude} {notnull altitude}",
    "{null altitude} {= altitude 5}",
    "{null altitude} {> altitude 5}",
    "{null origin}",
    "{null flight_id}",
    "{true on_ground} {false on_ground}",
    "{= on_ground 1} {false on_ground}",
    "{= lat 1} {= lat 2}",
    "{> typ B} {< typ A}",
    "{match typ A*} {= typ B738}",
    "{match typ A*} {match typ B*}",
    "{match typ A738} {> typ A738}",
    "{match typ A\\\\}",
    "{= typ 123456789}",
    "{in flight_id {12345678901234567}}",
    "{= hex abc} {= hex abd}",
    "{= serial 9007199254740993} {= serial 9007199254740992}",
    "{> typ \u{ff5e}} {< typ \u{1f600}} {= typ A}",
  ];
  for (const search of contradictions) {
    for (const table of [plain, many]) {
      const found = plan(table, `-compare {{= gs 1} ${search}}`);
      assert.equal(found.route, "Empty", search);
      assert.notEqual(found.emptiness, "");
    }
  }
});

test("planQuery() does not see contradictions where there are none", () => {
  const searches = [
    "{>= altitude 5} {<= altitude 5}",
    "{> altitude 5} {< altitude 6}",
    "{= altitude 5} {= altitude 5}",
    "{= altitude 5} {!= altitude 6}",
    "{= altitude 5} {>= altitude 5}",
    "{in altitude {1 2 3}} {in altitude {3 4}} {> altitude 2}",
    "{null altitude}",
    "{null altitude} {null altitude}",
    "{!= altitude 5} {!= altitude 6}",
    "{match typ A*} {= typ A320}",
    "{match typ A*} {< typ B}",
    "{imatch typ a*} {= typ A320}",
    "{imatch typ a*} {match typ B*}",
    "{= typ 12345678}",
    "{> typ \u{ff5e}} {< typ \u{1f600}}",
    "{> lat 1.5} {< lat 1.6}",
  ];
  for (const search of searches) {
    assert.notEqual(plan(plain, `-compare {${search}}`).route, "Empty", search);
  }
  const dialect = "speedtables";
  for (const search of ["{null altitude} {> altitude 5}", "{null altitude} {!= altitude 5}"]) {
    assert.notEqual(plan(plain, `-compare {${search}}`, { dialect }).route, "Empty", search);
  }
  const found = plan(plain, "-compare {{null altitude} {< altitude 5}}", { dialect });
  assert.equal(found.route, "Empty");
});

test("planQuery() refuses a wrong type on every route, also where nothing could match", () => {
  for (const search of ["{= altitude x}", "{> altitude 5} {< altitude 5} {= gs x}"]) {
    for (const table of [plain, many]) {
      assert.throws(() => plan(table, `-compare {${search}}`), { code: "type_mismatch" });
    }
  }
});

test("planQuery() makes -limit 0 empty, but not in speedtables", () => {
  assert.equal(plan(plain, "-limit 0").route, "Empty");
  assert.equal(plan(plain, "-limit 0", { dialect: "speedtables" }).route, "FullScan");
});

test("planQuery() follows the hint where it can", () => {
  const search = "-compare {{= typ A} {> altitude 5}}";
  assert.equal(choice(plan(two, `${search} -index altitude`)), "IndexRangeScan altitude [1] [0]");
  assert.equal(plan(two, `${search} -index altitude`).hint, "followed");
  assert.equal(choice(plan(two, `${search} -index gs`)), "IndexExactMatch typ [0] [1]");
  assert.equal(plan(two, `${search} -index gs`).hint, "of no use");
  assert.equal(plan(two, search).hint, "");
  assert.equal(
    choice(plan(two, "-compare {{= typ A} {= flight_id B}} -index typ")),
    "IndexExactMatch typ [0] [1]",
  );
  assert.equal(
    choice(plan(two, "-compare {> gs 5} -sort altitude -limit 5 -index altitude")),
    "IndexOrderScan altitude [] [0]",
  );
});

test("planQuery() uses a whole composite key, and competes with its count", () => {
  const table = flightTable(["destination"], ["destination", "altitude"]);
  const search = "-compare {{= altitude 5} {= destination SFO}}";
  assert.equal(
    choice(plan(table, search, { counts: { destination: 10, "destination, altitude": 90 } })),
    "IndexExactMatch destination, altitude [1,0] []",
  );
  assert.equal(
    choice(plan(flightTable(["destination", "altitude"]), search)),
    "IndexExactMatch destination, altitude [1,0] []",
  );
});

test("planQuery() uses the beginning of a composite key", () => {
  const table = flightTable(["destination", "altitude"], ["typ", "destination", "gs"]);
  assert.equal(
    choice(plan(table, "-compare {{> altitude 5} {= destination SFO} {< altitude 9}}")),
    "IndexRangeScan destination, altitude [1,0,2] []",
  );
  assert.equal(
    choice(plan(table, "-compare {{> gs 5} {= destination SFO}}")),
    "IndexRangeScan destination, altitude [1] [0]",
  );
  assert.equal(
    choice(plan(table, "-compare {{> altitude 5} {= destination SFO} {= typ A}}")),
    "IndexRangeScan typ, destination, gs [2,1] [0]",
  );
  assert.equal(
    choice(plan(table, "-compare {{> destination A} {> altitude 5}}")),
    "IndexRangeScan destination, altitude [0] [1]",
  );
  assert.equal(plan(table, "-compare {{> altitude 5}}").route, "FullScan");
});

test("planQuery() prefers a composite index that continues the winning equality", () => {
  const table = flightTable(["destination"], ["altitude"], ["destination", "altitude"]);
  assert.equal(
    choice(plan(table, "-compare {{= destination SFO} {> altitude 5}}")),
    "IndexRangeScan destination, altitude [0,1] []",
  );
  assert.equal(
    choice(plan(table, "-compare {{= destination SFO}}")),
    "IndexExactMatch destination [0] []",
  );
  assert.equal(
    choice(plan(table, "-compare {{= destination SFO}} -sort -altitude -limit 9")),
    "IndexRangeScan destination, altitude [0] []",
  );
  assert.equal(
    choice(plan(table, "-compare {{= destination SFO}} -sort -altitude")),
    "IndexExactMatch destination [0] []",
  );
  const unique = flightTable(["unique", "destination"], ["destination", "altitude"]);
  assert.equal(
    choice(plan(unique, "-compare {{= destination SFO} {> altitude 5}}")),
    "IndexExactMatch destination [0] [1]",
  );
});

/** The order in short: where it comes from, its fields, and whether a limit stops the scan. */
function order(table: TableMeta, text: string, options: PlanOptions = {}): string {
  const found = plan(table, text, options);
  const fields = found.sort.map(({ column, descending }) =>
    (descending ? "-" : "") + (table.columns[column]?.name ?? "")
  );
  const direction = found.descending ? " backwards" : "";
  return `${found.ordering}${direction} [${fields.join(" ")}]${stopsEarly(found) ? " stops" : ""}`;
}

test("planQuery() lets an index order replace the sort, and the limit stop the scan", () => {
  const range = "-compare {> altitude 5}";
  assert.equal(order(two, `${range} -sort altitude -limit 9`), "route [altitude] stops");
  assert.equal(
    order(two, `${range} -sort -altitude -limit 9`),
    "route backwards [-altitude] stops",
  );
  assert.equal(order(two, `${range} -sort -altitude`), "route backwards [-altitude]");
  assert.equal(order(two, `${range} -sort gs -limit 9`), "sort [gs]");
  assert.equal(order(two, `${range} -sort {altitude gs} -limit 9`), "sort [altitude gs]");
  assert.equal(
    order(two, `${range} -sort {altitude flight_id} -limit 9`),
    "route [altitude] stops",
  );
  assert.equal(order(two, `${range} -sort {altitude -flight_id}`), "sort [altitude -flight_id]");
  assert.equal(order(two, `${range} -limit 9`), "none [] stops");
  assert.equal(order(two, range), "none []");
  assert.equal(order(plain, "-compare {> altitude 5} -sort altitude -limit 9"), "sort [altitude]");
});

test("planQuery() sorts nothing that has one value or comes after the primary key", () => {
  assert.equal(order(two, "-compare {= typ A} -sort typ"), "route [flight_id]");
  assert.equal(order(two, "-compare {= typ A} -sort -flight_id"), "sort [-flight_id]");
  assert.equal(order(two, "-compare {= typ A} -sort {typ gs}"), "sort [gs]");
  assert.equal(order(plain, "-compare {true on_ground} -sort {on_ground lat}"), "sort [lat]");
  assert.equal(order(plain, "-sort {-flight_id gs lat}"), "sort [-flight_id]");
  assert.equal(order(plain, "-sort {gs flight_id lat}"), "sort [gs]");
  assert.equal(order(plain, "-sort flight_id"), "sort [flight_id]");
  assert.equal(order(plain, "-compare {= typ A} -sort -typ"), "sort [flight_id]");
});

test("planQuery() sorts nothing where there can be one row, or only a count is wanted", () => {
  assert.equal(order(plain, "-compare {= flight_id A} -sort {gs lat}"), "none []");
  assert.equal(order(plain, "-compare {in flight_id {A B}} -sort gs"), "sort [gs]");
  assert.equal(order(plain, "-sort gs -countOnly 1 -limit 5"), "none [] stops");
  const unique = flightTable(["unique", "typ"]);
  assert.equal(order(unique, "-compare {= typ A} -sort gs"), "none []");
});

test("planQuery() visits the keys of an in-list in the order asked for", () => {
  const list = "-compare {in altitude {3 1 2}}";
  assert.equal(order(two, `${list} -sort altitude -limit 2`), "route [altitude] stops");
  assert.equal(order(two, `${list} -sort -altitude`), "route backwards [-altitude]");
  assert.equal(order(two, `${list} -sort flight_id`), "sort [flight_id]");
});

test("planQuery() uses the order of a composite index behind its equalities", () => {
  const table = flightTable(["destination", "altitude", "gs"]);
  const fixed = "-compare {= destination SFO}";
  assert.equal(order(table, `${fixed} -sort {altitude gs}`), "route [altitude gs]");
  assert.equal(order(table, `${fixed} -sort {-altitude -gs}`), "route backwards [-altitude -gs]");
  assert.equal(order(table, `${fixed} -sort {altitude -gs}`), "sort [altitude -gs]");
  assert.equal(order(table, `${fixed} -sort altitude`), "sort [altitude]");
  assert.equal(order(table, `${fixed} -sort {destination altitude gs}`), "route [altitude gs]");
});

test("planQuery() minds where the dialect puts nulls and booleans", () => {
  const dialect = "speedtables";
  const table = flightTable(["typ"], ["on_ground"], ["gs"], ["origin"]);
  assert.equal(order(table, "-compare {< typ M} -sort typ", { dialect }), "route [typ]");
  assert.equal(order(table, "-sort typ -limit 5", { dialect }), "sort [typ]");
  assert.equal(order(table, "-sort typ -limit 5"), "route [typ] stops");
  assert.equal(order(table, "-sort gs -limit 5", { dialect }), "route [gs] stops");
  assert.equal(order(table, "-sort origin -limit 5", { dialect }), "route [origin] stops");
  assert.equal(
    order(table, "-compare {notnull on_ground} -sort on_ground -limit 5", { dialect }),
    "route backwards [-on_ground] stops",
  );
  assert.equal(order(table, "-sort on_ground -limit 5", { dialect }), "sort [-on_ground]");
});

test("planQuery() walks an index for its order only if a limit ends the walk soon", () => {
  assert.equal(choice(plan(two, "-sort -altitude -limit 5")), "IndexOrderScan altitude [] []");
  assert.equal(
    choice(plan(two, "-compare {notnull gs} -sort altitude -limit 5")),
    "IndexOrderScan altitude [] [0]",
  );
  assert.equal(plan(two, "-sort altitude").route, "FullScan");
  assert.equal(plan(two, "-compare {= gs 5} -sort altitude -limit 5").route, "FullScan");
  assert.equal(plan(two, "-sort {altitude gs} -limit 5").route, "FullScan");
});

test("planQuery() plans parameters by their places", () => {
  const parameters = true;
  assert.equal(
    choice(plan(two, "-compare {{> gs $2} {= flight_id $1}}", { parameters })),
    "PrimaryKeyLookup [1] [0]",
  );
  assert.equal(
    choice(plan(two, "-compare {{> altitude $1} {< altitude 5}} -limit $2", { parameters })),
    "IndexRangeScan altitude [0,1] []",
  );
  assert.equal(plan(two, "-compare {match typ $1}", { parameters }).route, "FullScan");
  assert.equal(
    plan(two, "-compare {{= gs $1} {> altitude 5} {< altitude 5}}", { parameters }).route,
    "Empty",
  );
});

test("planQuery() gives the same plan for the same query, metadata and counts", () => {
  const search = "-compare {{= typ A} {= altitude 5} {> gs 1}} -sort gs -limit 5";
  assert.deepEqual(plan(many, search), plan(many, search));
});

test("planQuery() refuses more clauses than the engine takes", () => {
  const clauses = (count: number): string => `-compare {${"{= gs 1} ".repeat(count)}}`;
  assert.equal(plan(plain, clauses(clauseCountMax)).route, "FullScan");
  assert.throws(
    () => plan(plain, clauses(clauseCountMax + 1)),
    (error) =>
      error instanceof AerostoreError && error.code === "invalid_query" &&
      error.message === "A query has at most 1024 clauses, and this one has 1025",
  );
});
