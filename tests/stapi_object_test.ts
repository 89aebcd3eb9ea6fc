/**
 * The object form and the builder: they give the tree of the search string, check values again, and
 * are checked by the compiler.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AerostoreError, type ErrorCode } from "../lib/errors.ts";
import { QueryBuilder } from "../lib/query/builder.ts";
import type { Dialect, Query } from "../lib/stapi/ast.ts";
import { readSearch, type SearchQuery } from "../lib/stapi/object_form.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { FakeExecutor } from "./support/fake_executor.ts";
import { flightTable } from "./support/flight_table.ts";

interface Flight {
  flight_id: string;
  altitude: number | null;
  gs: number | null;
  lat: number | null;
  typ: string | null;
  destination: string | null;
  on_ground: boolean | null;
  hex: Uint8Array | null;
  serial: bigint | null;
  updated_at: number | null;
  origin: string;
}

const table = flightTable(["altitude"]);
const counts = { rows: () => 100, distinctKeys: () => 10 };

const builder = (dialect?: Dialect): QueryBuilder<Flight> =>
  new QueryBuilder<Flight>(new FakeExecutor(table, counts, [], dialect));

const cases: [string, SearchQuery<Flight>, QueryBuilder<Flight, unknown>][] = [
  ["", {}, builder()],
  [
    "-compare {{= flight_id UAL123} {>= altitude 10000}} -sort altitude -limit 50",
    {
      compare: [["=", "flight_id", "UAL123"], [">=", "altitude", 10000]],
      sort: "altitude",
      limit: 50,
    },
    builder().where("flight_id", "=", "UAL123").where("altitude", ">=", 10000).sort("altitude")
      .limit(50),
  ],
  [
    "-compare {{null lat} {notnull gs} {true on_ground}} -sort {-altitude gs} -offset 3",
    {
      compare: [["null", "lat"], ["notnull", "gs"], ["true", "on_ground"]],
      sort: ["-altitude", "gs"],
      offset: 3,
    },
    builder().where("lat", "null").where("gs", "notnull").where("on_ground", "true")
      .sort("-altitude", "gs").offset(3),
  ],
  [
    "-compare {{in gs {1 2}} {range lat 1.5 2} {notmatch typ C17*}} -fields {gs lat} " +
    "-index altitude",
    {
      compare: [["in", "gs", [1, 2]], ["range", "lat", 1.5, 2], ["notmatch", "typ", "C17*"]],
      fields: ["gs", "lat"],
      index: "altitude",
    },
    builder().where("gs", "in", [1, 2]).where("lat", "range", 1.5, 2)
      .where("typ", "notmatch", "C17*").index("altitude").select("gs", "lat"),
  ],
  [
    "-compare {{= serial 9007199254740993} {= on_ground 0} {= hex ab} {<> updated_at 5}}",
    {
      compare: [
        ["=", "serial", 9007199254740993n],
        ["=", "on_ground", false],
        ["=", "hex", new Uint8Array([0x61, 0x62])],
        ["<>", "updated_at", 5],
      ],
    },
    builder().where("serial", "=", 9007199254740993n).where("on_ground", "=", false)
      .where("hex", "=", new Uint8Array([0x61, 0x62])).where("updated_at", "<>", 5),
  ],
];

test("readSearch() and the builder give the tree of the search string", () => {
  for (const [text, search, built] of cases) {
    const expected = parseSearch(text, table);
    assert.deepEqual(readSearch(search, table), expected, text);
    assert.deepEqual(built.compile().query, expected, text);
  }
});

test("readSearch() and the builder follow the dialect", () => {
  const text = "-compare {{match typ b*} {> gs 5}} -sort -typ -limit 0";
  const expected = parseSearch(text, table, { dialect: "speedtables" });
  const search: SearchQuery<Flight> = {
    compare: [["match", "typ", "b*"], [">", "gs", 5]],
    sort: ["-typ"],
    limit: 0,
  };
  assert.deepEqual(readSearch(search, table, { dialect: "speedtables" }), expected);
  const built = builder("speedtables").where("typ", "match", "b*").where("gs", ">", 5)
    .sort("-typ").limit(0);
  assert.deepEqual(built.compile().query, expected);
});

/** Reads a search that the compiler would refuse, as JSON could hold. */
function readLoose(search: unknown): Query {
  return readSearch(search as SearchQuery<Flight>, table);
}

test("readSearch() takes a single bare clause, null as no limit, and undefined as absent", () => {
  assert.deepEqual(
    readLoose({ compare: ["=", "typ", "B738"], limit: null, sort: undefined }),
    parseSearch("-compare {= typ B738}", table),
  );
});

test("readSearch() coerces values as the search string does", () => {
  const operands = (field: string, value: unknown): unknown =>
    readLoose({ compare: [["=", field, value]] }).clauses[0]?.operands[0];
  assert.equal(operands("typ", 406696), "406696");
  assert.equal(operands("typ", 12n), "12");
  assert.equal(operands("gs", "12e1"), 120);
  assert.equal(operands("gs", 12n), 12);
  assert.equal(operands("serial", 12), 12n);
  assert.equal(operands("lat", 12n), 12);
  assert.equal(operands("lat", Infinity), Infinity);
  assert.equal(operands("lat", -Infinity), -Infinity);
  assert.equal(operands("on_ground", 1), true);
  assert.ok(Object.is(operands("lat", -0), 0));
  assert.ok(Object.is(operands("gs", -0), 0));
});

test("readSearch() says what is wrong, and where", () => {
  const failures: [unknown, ErrorCode, RegExp][] = [
    [{ x: 1 }, "unknown_option", /^unknown STAPI option 'x'/],
    [{ compare: "x" }, "invalid_query", /^'compare' expects an array/],
    [{ compare: [["=", "typ", "x"], 5] }, "invalid_query", /^'compare\[1\]' expects an array/],
    [
      { compare: [["like", "typ", "x"]] },
      "unsupported_operator",
      /'like' \(in compare\[0\]\[0\]\)/,
    ],
    [
      { compare: [["=", "typ"]] },
      "wrong_arity",
      /expects exactly 3 items, got 2 \(in compare\[0\]\)/,
    ],
    [
      { compare: [["=", "speed", 1]] },
      "unknown_column",
      /has no column 'speed', it has flight_id, .* \(in compare\[0\]\[1\]\)/,
    ],
    [
      { compare: [["=", "gs", null]] },
      "type_mismatch",
      /null cannot become \(in compare\[0\]\[2\]\)/,
    ],
    [{ compare: [["=", "gs", 1.5]] }, "type_mismatch", /which 1.5 cannot become/],
    [{ compare: [["=", "gs", 2 ** 31]] }, "type_mismatch", /which 2147483648 cannot become/],
    [{ compare: [["=", "lat", NaN]] }, "type_mismatch", /which NaN cannot become/],
    [{ compare: [["=", "gs", Infinity]] }, "type_mismatch", /which Infinity cannot become/],
    [{ compare: [["=", "updated_at", Infinity]] }, "type_mismatch", /which Infinity cannot/],
    [{ compare: [["=", "lat", 2n ** 2000n]] }, "type_mismatch", /cannot become/],
    [{ compare: [[">", "updated_at", new Date(0)]] }, "type_mismatch", /use its getTime\(\)/],
    [{ compare: [["=", "typ", true]] }, "type_mismatch", /which true cannot become/],
    [{ compare: [["=", "typ", {}]] }, "type_mismatch", /a value of type object cannot become/],
    [
      { compare: [["=", "serial", 2 ** 53]] },
      "unsafe_integer",
      /^9007199254740992 is beyond 2\^53/,
    ],
    [{ compare: [["=", "serial", 2n ** 63n]] }, "type_mismatch", /cannot become/],
    [{ compare: [["in", "gs", [1, "x"]]] }, "type_mismatch", /\(in compare\[0\]\[2\]\[1\]\)/],
    [{ compare: [["in", "gs", 1]] }, "invalid_query", /'compare\[0\]\[2\]' expects an array/],
    [{ sort: [5] }, "unknown_column", /has no column '5', .* \(in sort\[0\]\)/],
    [{ limit: -1 }, "invalid_query", /^'-limit' expects a whole number, 0 or more, got '-1'/],
    [{ offset: 1.5 }, "invalid_query", /^'-offset' expects a whole number/],
    [{ countOnly: 1 }, "invalid_query", /^'countOnly' expects a boolean/],
    [{ fields: [] }, "invalid_query", /names no field/],
    [{ index: "speed" }, "unknown_column", /has no column 'speed'/],
  ];
  for (const [search, code, message] of failures) {
    assert.throws(() => readLoose(search), (error) => {
      assert.ok(error instanceof AerostoreError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    });
  }
});

test("readSearch() refuses what is no search, which would find every row", () => {
  class Search {
    readonly limit = 1;
  }
  const notSearches: [unknown, string][] = [
    [undefined, "undefined"],
    [null, "null"],
    [5, "5"],
    [[], "an array"],
    [Promise.resolve({ limit: 1 }), "a Promise"],
    [new Map(), "a Map"],
    [new Date(), "a Date"],
    [new Search(), "a value of type object"],
    [() => ({}), "a value of type function"],
  ];
  for (const [search, words] of notSearches) {
    assert.throws(() => readLoose(search), {
      code: "invalid_query",
      message: `a search is a string or a plain object, not ${words}`,
    });
  }
  const bare: object = Object.assign(Object.create(null), { limit: 1 });
  assert.equal(readLoose(bare).limit, 1);
});

test("QueryBuilder leaves the builder it continues as it was", () => {
  const base = builder().where("typ", "=", "B738");
  const low = base.where("altitude", "<", 10000);
  const high = base.where("altitude", ">", 30000);
  assert.equal(base.compile().query.clauses.length, 1);
  assert.deepEqual(low.compile().query.clauses[1]?.operator, "<");
  assert.deepEqual(high.compile().query.clauses[1]?.operator, ">");
  assert.equal(base.compile(), base.compile());
});

test("QueryBuilder refuses a wrong value where it is given", () => {
  // @ts-expect-error: altitude is a number
  assert.throws(() => builder().where("altitude", "=", "high"), { code: "type_mismatch" });
});

test("QueryBuilder runs by its executor", () => {
  const executor = new FakeExecutor(table, counts, [{ flight_id: "A" }, { flight_id: "B" }]);
  const query = new QueryBuilder<Flight>(executor).where("altitude", ">", 5);
  assert.equal(query.all().length, 2);
  assert.equal(executor.runs.at(-1)?.what, Infinity);
  assert.equal(query.first()?.flight_id, "A");
  assert.equal(executor.runs.at(-1)?.what, 1);
  assert.equal(query.count(), 2);
  assert.deepEqual([...query.select("flight_id")].map((row) => row.flight_id), ["A", "B"]);
  assert.equal(query.explain().route, "IndexRangeScan");
});

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;
const isTrue = (_: true): void => {};

test("QueryBuilder is checked by the compiler", () => {
  const query = builder();
  isTrue(true satisfies Equal<ReturnType<typeof query.all>, Flight[]>);
  const selected = query.select("altitude", "typ").first();
  isTrue(true satisfies Equal<typeof selected, Pick<Flight, "altitude" | "typ"> | undefined>);
  const wrong: (() => unknown)[] = [
    // @ts-expect-error: no such column
    () => query.where("speed", "=", 1),
    // @ts-expect-error: no such operator
    () => query.where("gs", "like", "1*"),
    // @ts-expect-error: globs need text
    () => query.where("gs", "match", "1*"),
    // @ts-expect-error: only booleans are true
    () => query.where("typ", "true"),
    // @ts-expect-error: null is asked for by an operator
    () => query.where("typ", "=", null),
    // @ts-expect-error: a list
    () => query.where("gs", "in", 1),
    // @ts-expect-error: two values
    () => query.where("gs", "range", 1),
    // @ts-expect-error: no such column
    () => query.sort("-speed"),
    // @ts-expect-error: no such column
    () => query.select("speed"),
    // @ts-expect-error: text
    () => query.where("serial", "=", "1"),
  ];
  assert.equal(wrong.length, 10);
  query.where("serial", "=", 1).where("serial", "=", 1n);
  // @ts-expect-error: typ is text
  ({ compare: [["=", "typ", 5]] }) satisfies SearchQuery<Flight>;
  // @ts-expect-error: no such column
  ({ sort: ["-speed"] }) satisfies SearchQuery<Flight>;
});
