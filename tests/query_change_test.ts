/** `update` and `delete` by a query: one transaction, whatever others do meanwhile. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Account } from "./support/tables.ts";
import { assertSound } from "./support/verify.ts";

/** A database with accounts 1 to `count`: odd ones of `a`, even ones of `b`. */
function open(store: Store, count = 10) {
  const db = store.open({ tables: [Account] });
  const accounts = db.table(Account);
  accounts.upsertMany(
    Array.from({ length: count }, (_, i) => ({ id: i + 1, owner: i % 2 === 0 ? "a" : "b" })),
  );
  return { db, accounts };
}

describe("query().update()", () => {
  test("sets values and computes others, of the rows found, and says how many", () => {
    using store = new Store();
    const { accounts } = open(store);
    const mine = accounts.query().where("owner", "=", "a");
    assert.equal(mine.update({ note: "seen", balance: { increment: 5 }, total: { max: 7n } }), 5);
    assert.equal(accounts.query().where("note", "=", "seen").sum("balance"), 25);
    assert.deepEqual(accounts.get(1), {
      id: 1,
      owner: "a",
      balance: 5,
      total: 7n,
      note: "seen",
      code: null,
    });
    assert.equal(accounts.get(2)?.note, null);
    assert.equal(mine.update({ balance: { multiply: 2, increment: 1 } }), 5);
    assert.equal(accounts.get(1)?.balance, 11);
    assert.equal(mine.where("id", ">", 100).update({ note: "none" }), 0);
    assert.equal(mine.update({}), 5);
  });

  test("respects sort, limit and offset", () => {
    using store = new Store();
    const { accounts } = open(store);
    const last = accounts.query().sort("-id").limit(2).offset(1);
    assert.equal(last.update({ note: "last" }), 2);
    assert.deepEqual(
      accounts.query().where("note", "=", "last").all().map((row) => row.id).sort(),
      [
        8,
        9,
      ],
    );
    assert.equal(last.delete(), 2);
    assert.deepEqual(accounts.query().where("id", ">", 6).sort("id").all().map((row) => row.id), [
      7,
      10,
    ]);
  });

  test("moves rows along the very index that finds them, each once", () => {
    using store = new Store();
    const { db, accounts } = open(store, 500);
    assert.equal(accounts.query().where("owner", ">=", "a").update({ owner: "z" }), 500);
    assert.equal(accounts.query().where("owner", "=", "z").count(), 500);
    assert.equal(accounts.query().where("owner", "=", "a").count(), 0);
    assertSound(db);
  });

  test("changes nothing if one row cannot be changed", () => {
    using store = new Store();
    const { db, accounts } = open(store);
    accounts.update(9, { balance: 2 ** 31 - 1 });
    const mine = accounts.query().where("owner", "=", "a");
    assert.throws(() => mine.update({ balance: { increment: 1 } }), { code: "type_mismatch" });
    assert.equal(accounts.query().where("balance", "=", 0).count(), 9);
    assert.throws(() => mine.update({ code: "same" }), { code: "unique_violation" });
    assert.equal(accounts.query().where("code", "null").count(), 10);
    db.transaction((tx) => {
      const inside = tx.table(Account);
      inside.update(1, { note: "kept" });
      const rows = inside.query().where("owner", "=", "a").sort("id");
      assert.throws(() => rows.update({ balance: { increment: 1 } }), { code: "type_mismatch" });
      assert.equal(inside.get(3)?.balance, 0);
    });
    assert.equal(accounts.get(1)?.note, "kept");
  });

  test("refuses what is no patch of the table", () => {
    using store = new Store();
    const { accounts } = open(store);
    const all = accounts.query() as { update(patch: unknown): number };
    const refused: [unknown, string][] = [
      [{ id: 5 }, "bad_argument"],
      [null, "bad_argument"],
      [[1], "bad_argument"],
      [{ nothing: 5 }, "unknown_column"],
      [{ nothing: { increment: 1 } }, "unknown_column"],
      [{ owner: { increment: 1 } }, "type_mismatch"],
      [{ balance: { decrement: 1 } }, "bad_argument"],
      [{ balance: "much" }, "type_mismatch"],
      [{ owner: null }, "not_null_violation"],
      [{ owner: "much too long" }, "value_too_long"],
    ];
    for (const [patch, code] of refused) {
      assert.throws(() => all.update(patch), { code }, JSON.stringify(patch));
    }
    assert.equal(accounts.query().where("owner", "in", ["a", "b"]).count(), 10);
  });

  test("is refused where nothing may be written", () => {
    using store = new Store();
    const { db } = open(store);
    const reader = store.open({ tables: [Account], readOnly: true });
    assert.throws(() => reader.table(Account).query().delete(), { code: "read_only" });
    using tx = db.begin({ readOnly: true });
    assert.throws(() => tx.table(Account).query().update({ note: "x" }), { code: "read_only" });
    assert.throws(() => tx.table(Account).deleteWhere(""), { code: "read_only" });
  });
});

test("searches, objects and prepared searches change rows, too", () => {
  using store = new Store();
  const { accounts } = open(store);
  assert.equal(accounts.updateWhere("-compare {{= owner a} {< id 6}}", { note: "x" }), 3);
  assert.equal(accounts.updateWhere({ compare: [["=", "note", "x"]], limit: 2 }, { note: "y" }), 2);
  const prepared = accounts.prepare("-compare {= note $1}");
  assert.equal(prepared.update({ balance: { increment: 3 } }, "y"), 2);
  assert.deepEqual(prepared.aggregate({ n: "count", sum: ["sum", "balance"] }, "y"), {
    n: 2,
    sum: 6,
  });
  assert.equal(prepared.delete("x"), 1);
  assert.equal(accounts.deleteWhere({ compare: [["=", "owner", "b"]] }), 5);
  assert.equal(accounts.deleteWhere("-countOnly 1 -compare {= note y}"), 2);
  assert.equal(accounts.count(), 2);
});

test("what is no search deletes nothing", () => {
  using store = new Store();
  const { accounts } = open(store);
  const notSearches: unknown[] = [[], Promise.resolve({ limit: 1 }), new Map([["limit", 1]])];
  for (const search of notSearches) {
    assert.throws(() => accounts.deleteWhere(search as string), { code: "invalid_query" });
  }
  assert.equal(accounts.count(), 10);
});

describe("in a transaction", () => {
  test("changes see own writes and belong to it", () => {
    using store = new Store();
    const { db, accounts } = open(store);
    using tx = db.begin();
    const inside = tx.table(Account);
    inside.insert({ id: 50, owner: "a" });
    inside.delete(1);
    tx.savepoint("before");
    assert.equal(inside.query().where("owner", "=", "a").update({ balance: 9 }), 5);
    assert.equal(inside.query().sum("balance"), 45);
    assert.equal(accounts.query().sum("balance"), 0);
    assert.equal(inside.query().where("owner", "=", "b").delete(), 5);
    assert.equal(inside.query().count(), 5);
    tx.rollbackTo("before");
    assert.equal(inside.query().count(), 10);
    assert.equal(inside.query().sum("balance"), 0);
    assert.equal(inside.query().where("owner", "=", "a").delete(), 5);
    tx.commit();
    assert.deepEqual(accounts.query().sort("id").all().map((row) => row.id), [2, 4, 6, 8, 10]);
    assertSound(db);
  });

  for (
    const [what, change] of [
      ["an insert", { id: 90, owner: "a" }],
      ["a row that moves in", { id: 2, owner: "a" }],
      ["a row that moves out", { id: 3, owner: "c" }],
    ] as const
  ) {
    test(`${what} that would have been changed is a conflict`, () => {
      using store = new Store();
      const { db, accounts } = open(store);
      using tx = db.begin();
      const rows = tx.table(Account).query().where("owner", "=", "a");
      assert.equal(rows.update({ note: "mine" }), 5);
      accounts.upsert(change);
      assert.throws(() => tx.commit(), { code: "serialization_failure" });
      assert.equal(accounts.query().where("note", "notnull").count(), 0);
    });
  }

  test("an aggregate is checked like a search", () => {
    using store = new Store();
    const { db, accounts } = open(store);
    using tx = db.begin();
    const inside = tx.table(Account);
    assert.equal(inside.query().where("owner", "=", "a").sum("balance"), 0);
    inside.update(2, { note: "sum was 0" });
    accounts.update(5, { note: "not looked at" });
    accounts.update(4, { balance: 7 });
    using other = db.begin();
    assert.equal(other.table(Account).query().where("owner", "=", "a").max("balance"), 0);
    other.table(Account).update(4, { note: "max was 0" });
    accounts.update(3, { balance: 8 });
    assert.throws(() => tx.commit(), { code: "serialization_failure" });
    assert.throws(() => other.commit(), { code: "serialization_failure" });
  });
});

test("processes of both runtimes that increment by queries lose nothing", {
  timeout: 120_000,
}, async () => {
  using store = new Store();
  const { db, accounts } = open(store, 20);
  const rounds = 60;
  const children = runtimes.map((runtime) =>
    new Child(runtime, "mover.ts", { directory: store.directory, options: store.options })
  );
  try {
    for (const child of children) assert.equal(await child.next(), "ready");
    for (const child of children) child.send({ rounds });
    for (const child of children) assert.equal(await child.next(), rounds);
  } finally {
    for (const child of children) child[Symbol.dispose]();
  }
  assert.equal(accounts.query().sum("balance"), children.length * rounds * 20);
  assert.equal(accounts.query().where("owner", "in", ["a", "b"]).count(), 20);
  assertSound(db);
});
