/**
 * Secondary indexes through the whole path: every route gives what a table without indexes gives.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AerostoreError, defineTable, t } from "../mod.ts";
import { oracleMissing, readOracle } from "./support/oracle.ts";
import { Store } from "./support/store.ts";

const Flight = defineTable("Flight", {
  id: t.text(16).primaryKey(),
  origin: t.text(8).index(),
  destination: t.text(8).nullable().index(),
  city: t.text(40).index(),
  name: t.text(64).nullable().index(),
  delay: t.int32().nullable().index(),
  distance: t.int32().index(),
  lat: t.float64().nullable().index(),
  lon: t.float64().index(),
  late: t.bool().nullable().index(),
  gate: t.text(8).nullable().index(),
}, { indexes: [["origin", "distance"], ["destination", "delay"]] });

test("every column indexed: search() gives what speedtables gave", { skip: oracleMissing }, () => {
  const oracle = readOracle();
  using store = new Store();
  const table = store.open({ tables: [Flight] }).table(Flight);
  for (const row of oracle.rows) table.insert(row as unknown as Parameters<typeof table.insert>[0]);
  for (const { stapi, keys, sort } of oracle.queries) {
    const found = table.search(stapi, { dialect: "speedtables" }).all().map((row) => row.id);
    assert.deepEqual(sort.length > 0 ? found : found.toSorted(), keys, stapi);
    const count = table.search(`${stapi} -countOnly 1`, { dialect: "speedtables" }).count;
    assert.equal(count, keys.length, stapi);
  }
});

const columns = {
  id: t.int32().primaryKey(),
  n: t.int32().nullable(),
  x: t.float64().nullable(),
  s: t.text(12).nullable(),
  b: t.bool(),
  w: t.int64(),
};
const Plain = defineTable("Plain", columns);
const Indexed = defineTable("Indexed", {
  ...columns,
  n: t.int32().nullable().index(),
  x: t.float64().nullable().index(),
  s: t.text(12).nullable().index(),
}, { indexes: [["s", "n"], ["b", "w"]] });

/** Numbers that are the same in every run. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state >>> 8) / 2 ** 24 * below);
  };
}

function randomRow(random: (below: number) => number) {
  const words = ["", "a", "ab", "abc", "b", "ba", "zz"];
  return {
    id: random(300),
    n: random(10) === 0 ? null : random(20) - 10,
    x: random(10) === 0 ? null : (random(40) - 20) / 4,
    s: random(8) === 0 ? null : words[random(words.length)] ?? "",
    b: random(2) === 0,
    w: random(30) - 15,
  };
}

function randomSearch(random: (below: number) => number): string {
  const operators = ["=", "<", "<=", ">", ">=", "!="];
  const clauses: string[] = [];
  for (let i = random(3); i >= 0; i--) {
    const operator = operators[random(operators.length)];
    switch (random(8)) {
      case 0:
        clauses.push(`{${operator} n ${random(24) - 12}}`);
        break;
      case 1:
        clauses.push(`{${operator} x ${(random(40) - 20) / 4}}`);
        break;
      case 2:
        clauses.push(`{${operator} s ${["a", "ab", "b", "zz"][random(4)]}}`);
        break;
      case 3:
        clauses.push(`{in n {${random(9)} ${random(9)} ${-random(9)}}}`);
        break;
      case 4:
        clauses.push(`{match s ${["a*", "ab*", "b*"][random(3)]}}`);
        break;
      case 5:
        clauses.push(`{range n ${random(9) - 9} ${random(9)}}`);
        break;
      case 6:
        clauses.push(`{${random(2) === 0 ? "null" : "notnull"} ${random(2) === 0 ? "s" : "n"}}`);
        break;
      default:
        clauses.push(`{${random(2) === 0 ? "true" : "false"} b}`, `{${operator} w ${random(9)}}`);
    }
  }
  let search = `-compare {${clauses.join(" ")}}`;
  const sorts = ["", "n", "-n", "x", "-x", "s", "-s", "s n", "-s -n", "w", "-id"];
  const sort = sorts[random(sorts.length)] ?? "";
  search += ` -sort {${sort === "" ? "id" : sort}}`;
  if (random(2) === 0) search += ` -limit ${random(12) + 1}`;
  if (random(4) === 0) search += ` -offset ${random(5)}`;
  return search;
}

for (const dialect of ["default", "speedtables"] as const) {
  test(`${dialect} dialect: searches by index and by full scan give the same`, () => {
    const random = makeRandom(dialect.length);
    using store = new Store();
    const database = store.open({ tables: [Plain, Indexed] });
    const plain = database.table(Plain);
    const indexed = database.table(Indexed);
    const routes = new Set<string>();
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 40; i++) {
        const row = randomRow(random);
        if (random(4) === 0) {
          assert.equal(plain.delete(row.id), indexed.delete(row.id));
        } else {
          plain.upsert(row);
          indexed.upsert(row);
        }
      }
      for (let i = 0; i < 20; i++) {
        const search = randomSearch(random);
        const expected = plain.search(search, { dialect }).all();
        const found = indexed.search(search, { dialect }).all();
        assert.deepEqual(found, expected, search);
        const counts = `${search} -countOnly 1`;
        assert.equal(indexed.search(counts, { dialect }).count, expected.length, counts);
        routes.add(indexed.search(search, { dialect }).explain().route);
      }
    }
    const wanted = ["IndexExactMatch", "IndexRangeScan", "IndexOrderScan"];
    for (const route of wanted) assert.ok(routes.has(route), route);
    assert.deepEqual(database.verify().problems, []);
  });
}

test("unique() refuses a second row with the value, but not a second null", () => {
  const User = defineTable("User", {
    id: t.int32().primaryKey(),
    name: t.text(40).nullable().unique(),
  });
  using store = new Store();
  const users = store.open({ tables: [User] }).table(User);
  users.insert({ id: 1, name: "ada" });
  assert.throws(() => users.insert({ id: 2, name: "ada" }), { code: "unique_violation" });
  assert.throws(() => users.upsert({ id: 2, name: "ada" }), AerostoreError);
  users.insert({ id: 2, name: null });
  users.insert({ id: 3, name: null });
  assert.throws(() => users.update(2, { name: "ada" }), { code: "unique_violation" });
  users.update(1, { name: "bob" });
  users.update(2, { name: "ada" });
  assert.deepEqual(users.search("-compare {{= name ada}}").all(), [{ id: 2, name: "ada" }]);
});

test("unique() says which row of which table has the value of another, in which columns", () => {
  const User = defineTable("User", {
    id: t.int32().primaryKey(),
    name: t.text(40).nullable().unique(),
    first: t.int32().default(0),
    second: t.int32().nullable(),
  }, { indexes: [{ columns: ["second", "first"], unique: true }] });
  using store = new Store();
  const database = store.open({ tables: [User] });
  const users = database.table(User);
  users.insert({ id: 1, name: "ada", second: 5 });
  const words = (id: number, columns: string): string =>
    `another row of table "User" has the value that row ${id} has in the unique index on ` +
    `${columns} (unique_violation)`;
  assert.throws(() => users.insert({ id: 2, name: "ada" }), {
    message: `Cannot insert row 2 into "User": ${words(2, '"name"')}`,
  });
  assert.throws(() => users.insert({ id: 3, second: 5 }), {
    message: `Cannot insert row 3 into "User": ${words(3, '"second", "first"')}`,
  });
  const commit = () =>
    database.transaction((tx) => {
      for (const id of [4, 5, 6]) tx.table(User).insert({ id, second: id });
    });
  assert.throws(commit, {
    message: `Cannot commit the transaction: ${words(5, '"second", "first"')}`,
  });
  for (const atomic of [true, false]) {
    for (let at = 0; at < 5; at++) {
      const rows = [0, 1, 2, 3, 4].map((i) => ({ id: 10 + i, name: i === at ? "ada" : `${i}` }));
      assert.throws(() => users.upsertMany(rows, { atomic }), {
        message: `Cannot upsert rows into "User", at index ${at}: ${words(10 + at, '"name"')}`,
      });
      users.query().where("id", ">=", 10).delete();
    }
  }
  const Unique = defineTable("User", { ...User.columns, first: t.int32().default(0).unique() });
  users.insert({ id: 2 });
  assert.throws(() => store.open({ tables: [Unique] }), /"first" \(unique_violation\)$/);
});

test("an index that a declaration adds is built from the rows that are there", () => {
  using store = new Store();
  const before = store.open({ tables: [defineTable("T", columns)] });
  const random = makeRandom(7);
  for (let i = 0; i < 2000; i++) before.table("T").upsert(randomRow(random));
  const T = defineTable("T", { ...columns, n: t.int32().nullable().index() });
  const after = store.open({ tables: [T] });
  const table = after.table(T);
  assert.equal(table.search("-compare {{= n 3}}").explain().route, "IndexExactMatch");
  const found = table.search("-compare {{= n 3}}").all();
  const all = table.search("").all();
  assert.deepEqual(
    new Set(found.map((row) => row.id)),
    new Set(all.filter((row) => row.n === 3).map((row) => row.id)),
  );
  const Unique = defineTable("T", { ...columns, b: t.bool().unique() });
  assert.throws(() => store.open({ tables: [Unique] }), { code: "unique_violation" });
  assert.throws(() => store.open({ tables: [Unique] }), { code: "unique_violation" });
  assert.deepEqual(after.verify().problems, []);
  for (const row of all.slice(2)) table.delete(row.id);
  for (const [i, row] of all.slice(0, 2).entries()) table.update(row.id, { b: i === 0 });
  const unique = store.open({ tables: [Unique] }).table(Unique);
  assert.throws(() => unique.update(all[0]?.id ?? 0, { b: false }), { code: "unique_violation" });
  assert.deepEqual(after.verify().problems, []);
});

test("a transaction sees its own writes in searches by index", () => {
  using store = new Store();
  const database = store.open({ tables: [Indexed] });
  const table = database.table(Indexed);
  const row = { id: 1, n: 5, x: 1, s: "a", b: true, w: 0 };
  table.insert(row);
  database.transaction((tx) => {
    const inside = tx.table(Indexed);
    inside.update(1, { n: 6 });
    inside.insert({ ...row, id: 2, n: 6 });
    const found = inside.search("-compare {{= n 6}} -sort id").all().map((it) => it.id);
    assert.deepEqual(found, [1, 2]);
    assert.equal(inside.search("-compare {{= n 5}}").all().length, 0);
  });
  assert.equal(table.search("-compare {{= n 6}}").count, 2);
});

test("a prepared glob uses an index if it begins with letters", () => {
  using store = new Store();
  const table = store.open({ tables: [Indexed] }).table(Indexed);
  for (const [id, s] of ["a", "ab", "abc", "b", null].entries()) {
    table.insert({ id, n: null, x: null, s, b: true, w: 0 });
  }
  const prepared = table.prepare("-compare {{match s $1} {< id $2}} -sort id");
  const routes = { "ab*": "IndexRangeScan", "*b": "FullScan", "ab": "IndexRangeScan" };
  for (const [glob, route] of Object.entries(routes)) {
    const literal = `-compare {{match s ${glob}} {< id 9}} -sort id`;
    assert.deepEqual(prepared.all(glob, 9), table.search(literal).all());
    assert.equal(prepared.count(glob, 1), table.search(`${literal} -compare {< id 1}`).count);
    assert.equal(prepared.explain(glob, 9).route, route);
  }
  assert.equal(prepared.explain().route, "FullScan");
  assert.throws(() => prepared.all("a*"), { code: "unknown_parameter" });
  for (let i = 0; i < 100; i++) assert.equal(prepared.count(`a${i}*`, 9), 0);
});
