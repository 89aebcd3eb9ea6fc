/** Searches through the whole path: parser, planner, engine, decoder. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defineTable, type RowOf, t, type Table } from "../mod.ts";
import { Store } from "./support/store.ts";

const Flight = defineTable("Flight", {
  id: t.text(12).primaryKey(),
  typ: t.text(8).nullable(),
  altitude: t.int32().nullable(),
  lat: t.float64().nullable(),
  route: t.text(200).nullable(),
  on_ground: t.bool(),
});

type Row = RowOf<typeof Flight>;

const types = ["B738", "A320", "C172", null];

/** Rows that differ in every column, some of them null; always the same. */
function makeRows(count: number): Row[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `F${String(i).padStart(5, "0")}`,
    typ: types[i % types.length] ?? null,
    altitude: i % 7 === 0 ? null : (i * 7919) % 40_000,
    lat: i % 5 === 0 ? null : (i % 180) - 90 + 0.5,
    route: i % 3 === 0 ? null : `ZRH ${"fix ".repeat(i % 40)}${i}`,
    on_ground: i % 2 === 0,
  }));
}

function withRows(count: number, use: (table: Table<typeof Flight.columns>) => void): void {
  using store = new Store();
  const table = store.open({ tables: [Flight] }).table(Flight);
  table.upsertMany(makeRows(count), { atomic: false });
  use(table);
}

const ids = (rows: Iterable<Row>): string[] => [...rows].map((row) => row.id);

describe("search()", () => {
  test("gives the rows that a filter in JavaScript gives", () => {
    withRows(3000, (table) => {
      const rows = makeRows(3000);
      const high = rows.filter((row) => (row.altitude ?? 0) > 30_000 && row.typ === "B738");
      const result = table.search("-compare {{= typ B738} {> altitude 30000}} -sort id");
      assert.deepEqual(result.all(), high);
      assert.equal(result.count, high.length);
      assert.equal(result.length, high.length);
      assert.deepEqual(result.first(), high[0]);
      assert.deepEqual([...result], [...result]);
    });
  });

  test("takes an object for a string", () => {
    withRows(500, (table) => {
      const text = "-compare {{>= lat 10} {match id F00*}} -sort -altitude -limit 20 -offset 5";
      const object = {
        compare: [[">=", "lat", 10], ["match", "id", "F00*"]],
        sort: ["-altitude"],
        limit: 20,
        offset: 5,
      } as const;
      assert.equal(table.search(text).length, 20);
      assert.deepEqual(table.search(object).all(), table.search(text).all());
    });
  });

  test("sorts with nulls last, and first when descending, then by key", () => {
    withRows(200, (table) => {
      const byAltitude = (rows: Row[], sign: number): Row[] =>
        rows.sort((a, b) => {
          if (a.altitude === b.altitude) return a.id < b.id ? -1 : 1;
          if (a.altitude === null) return sign;
          if (b.altitude === null) return -sign;
          return sign * (a.altitude - b.altitude);
        });
      const rows = makeRows(200);
      assert.deepEqual(ids(table.search("-sort altitude")), ids(byAltitude([...rows], 1)));
      assert.deepEqual(ids(table.search("-sort -altitude")), ids(byAltitude([...rows], -1)));
    });
  });

  test("finds rows by their keys without a scan", () => {
    withRows(500, (table) => {
      const result = table.search("-compare {{in id {F00007 F00003 F99999 F00007}}} -sort id");
      assert.deepEqual(ids(result), ["F00003", "F00007"]);
      assert.equal(result.explain().route, "PrimaryKeyLookup");
      assert.equal(table.search("-compare {{= typ A320}}").explain().route, "FullScan");
    });
  });

  test("gives chosen columns alone, in their order", () => {
    withRows(10, (table) => {
      const [row] = table.search("-compare {{= id F00004}} -fields {route id}");
      assert.deepEqual(Object.entries(row ?? {}), [
        ["route", makeRows(10)[4]?.route],
        ["id", "F00004"],
      ]);
    });
  });

  test("with countOnly counts, and gives no rows", () => {
    withRows(1000, (table) => {
      const result = table.search("-compare {{true on_ground}} -countOnly 1");
      assert.equal(result.count, 500);
      assert.deepEqual(result.all(), []);
    });
  });

  test("gives more rows than one buffer holds", () => {
    withRows(20_000, (table) => {
      assert.deepEqual(ids(table.search("-sort id")), ids(makeRows(20_000)));
      assert.equal(table.search("").length, 20_000);
    });
  });

  test("gives the rows of its moment", () => {
    withRows(10, (table) => {
      const result = table.search("");
      table.delete("F00001");
      assert.equal(result.length, 10);
      assert.equal(table.search("").length, 9);
    });
  });

  test("follows the rules of the dialect that the call or the database chooses", () => {
    using store = new Store();
    const table = store.open({ tables: [Flight] }).table(Flight);
    table.upsertMany(makeRows(100));
    const query = "-compare {{> altitude 39000}}";
    const dialect = "speedtables";
    const nulls = makeRows(100).filter((row) => row.altitude === null).length;
    const plain = table.search(query).length;
    assert.equal(table.search(query, { dialect }).length, plain + nulls);
    const other = store.open({ dialect }).table(Flight);
    assert.equal(other.search(query).length, plain + nulls);
    assert.equal(other.search(query, { dialect: "default" }).length, plain);
  });
});

/** Opens the database with a catalogue that takes columns of bigints for columns of numbers. */
function openAsNumbers(store: Store) {
  const { parse } = JSON;
  JSON.parse = (text: string) => parse(text.replaceAll('"bigint":true', '"bigint":false'));
  try {
    const db = store.open();
    db.table("Big");
    return db;
  } finally {
    JSON.parse = parse;
  }
}

test("search() and query() leave no cursor open when a row cannot be decoded", () => {
  using store = new Store();
  const columns = { id: t.int32().primaryKey(), text: t.text(600) };
  const Big = defineTable("Big", { ...columns, n: t.int64({ as: "bigint" }) });
  const writing = store.open({ tables: [Big] }).table(Big);
  const table = openAsNumbers(store).table("Big");
  // Enough for two buffers.
  const text = "x".repeat(600);
  const rows = Array.from({ length: 2000 }, (_, i) => ({ id: i, n: BigInt(i), text }));
  writing.upsertMany(rows, { atomic: false });
  const unsafe = { code: "unsafe_integer" };
  for (const id of [10, 1990]) {
    writing.update(id, { n: 2n ** 53n });
    // More often than a connection may have cursors.
    for (let i = 0; i < 40; i++) {
      assert.throws(() => table.search(""), unsafe);
      assert.throws(() => [...table.query()], unsafe);
    }
    table.delete(id);
  }
  assert.equal(table.search("").length, 1998);
});

describe("query()", () => {
  test("builds the same search step by step", () => {
    withRows(1000, (table) => {
      const query = table.query().where("altitude", ">=", 10_000).where("typ", "notmatch", "C17*");
      const rows = makeRows(1000).filter((row) =>
        (row.altitude ?? 0) >= 10_000 && row.typ !== null && !row.typ.startsWith("C17")
      );
      assert.equal(query.count(), rows.length);
      assert.deepEqual(query.sort("id").all(), rows);
      assert.deepEqual(query.sort("id").limit(3).all(), rows.slice(0, 3));
      assert.deepEqual(query.sort("id").first(), rows[0]);
      assert.deepEqual(query.sort("id").offset(2).select("altitude", "id").first(), {
        altitude: rows[2]?.altitude,
        id: rows[2]?.id,
      });
      assert.match(String(query.explain()), /FullScan/);
    });
  });

  test("iterates large results as they are fetched, and may be left early", () => {
    withRows(20_000, (table) => {
      for (let round = 0; round < 20; round++) {
        let seen = 0;
        for (const row of table.query().sort("id")) {
          assert.equal(row.id, `F${String(seen).padStart(5, "0")}`);
          if (++seen === 8000) break;
        }
        assert.equal(seen, 8000);
      }
      // Other calls may use the buffers between two fetches.
      let sum = 0;
      for (const row of table.query().where("on_ground", "true").iterate()) {
        if (table.get(row.id)?.on_ground === true) sum++;
      }
      assert.equal(sum, 10_000);
    });
  });
});

describe("prepare()", () => {
  test("runs one plan with other values each time", () => {
    withRows(1000, (table) => {
      const prepared = table.prepare("-compare {{= typ $1} {> altitude $2}} -sort id");
      for (const [typ, floor] of [["B738", 1000], ["A320", 39_000], ["none", 0]] as const) {
        const rows = makeRows(1000).filter((row) => row.typ === typ && (row.altitude ?? 0) > floor);
        assert.deepEqual(prepared.all(typ, floor), rows);
        assert.deepEqual(prepared.first(typ, floor), rows[0]);
        assert.equal(prepared.count(typ, floor), rows.length);
      }
      assert.throws(() => prepared.all("B738"), { code: "unknown_parameter" });
      assert.throws(() => prepared.all("B738", "high"), { code: "type_mismatch" });
    });
  });
});

test("search() finds infinite numbers, with an index and without", () => {
  const Reading = defineTable("Reading", {
    id: t.int32().primaryKey(),
    plain: t.float64(),
    indexed: t.float64().index(),
  });
  using store = new Store();
  const table = store.open({ tables: [Reading] }).table(Reading);
  const values = [-Infinity, -Number.MAX_VALUE, 0, Number.MAX_VALUE, Infinity];
  table.upsertMany(values.map((value, id) => ({ id, plain: value, indexed: value })));
  for (const column of ["plain", "indexed"] as const) {
    const idsOf = (operator: "=" | "<" | ">=", value: number): number[] =>
      table.query().where(column, operator, value).sort("id").all().map((row) => row.id);
    assert.deepEqual(idsOf("=", Infinity), [4]);
    assert.deepEqual(idsOf("<", Infinity), [0, 1, 2, 3]);
    assert.deepEqual(idsOf(">=", -Infinity), [0, 1, 2, 3, 4]);
    assert.deepEqual(idsOf("<", -Infinity), []);
    const below = table.prepare(`-compare {{< ${column} $1}}`);
    assert.deepEqual([5, 5, Infinity, 5].map((value) => below.count(value)), [3, 3, 4, 3]);
  }
});
