import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Store } from "./support/store.ts";
import { Field, Presence } from "./support/tables.ts";

/** A store with the rows A, B and C, each with one visit. */
function openThree(store: Store) {
  const db = store.open({ tables: [Presence] });
  db.table(Presence).upsertMany(["A", "B", "C"].map((id) => ({ id, visits: 1 })));
  return db;
}

describe("savepoints", () => {
  test("rollbackTo() takes back updates, inserts and deletes, and keeps what came before", () => {
    using store = new Store();
    const db = openThree(store);
    using transaction = db.begin();
    const table = transaction.table(Presence);
    table.update("A", { visits: 2 });
    transaction.savepoint("s");
    table.update("A", { visits: 3 });
    table.delete("B");
    table.insert({ id: "D", visits: 4 });
    assert.deepEqual([...table.search("-sort id")].map((row) => row.id), ["A", "C", "D"]);
    transaction.rollbackTo("s");
    assert.deepEqual([...table.search("-sort id")].map((row) => row.visits), [2, 1, 1]);
    table.delete("C");
    transaction.commit();
    const rows = [...db.table(Presence).search("-sort id")];
    assert.deepEqual(rows.map((row) => [row.id, row.visits]), [["A", 2], ["B", 1]]);
    assert.equal(db.table(Presence).count(), 2);
  });

  test("names hide earlier ones until they are released, as in SQL", () => {
    using store = new Store();
    const db = openThree(store);
    using transaction = db.begin();
    const table = transaction.table(Presence);
    transaction.savepoint("s");
    table.update("A", { visits: 2 });
    transaction.savepoint("s");
    table.update("A", { visits: 3 });
    transaction.rollbackTo("s");
    assert.equal(table.get("A")?.visits, 2);
    transaction.release("s");
    transaction.rollbackTo("s");
    assert.equal(table.get("A")?.visits, 1);
    transaction.release("s");
    assert.throws(() => transaction.rollbackTo("s"), { code: "bad_argument", message: /"s"/ });
  });

  test("rollbackTo() forgets later savepoints and expires all row views", () => {
    using store = new Store();
    const db = openThree(store);
    using transaction = db.begin();
    const table = transaction.table(Presence);
    transaction.savepoint("outer");
    transaction.savepoint("inner");
    const view = table.get("A");
    transaction.rollbackTo("outer");
    assert.throws(() => view?.visits, {
      code: "view_expired",
      message: /back to a savepoint; keep/,
    });
    assert.throws(() => transaction.rollbackTo("inner"), { code: "bad_argument" });
    assert.equal(table.get("A")?.visits, 1);
  });
});

describe("a transaction's own writes", () => {
  test("are seen by every kind of read, with sort and limit", () => {
    using store = new Store();
    const db = openThree(store);
    using transaction = db.begin();
    const table = transaction.table(Presence);
    table.upsert({ id: "B", visits: 9 });
    table.insert({ id: "E", visits: 5 });
    table.apply("A", { visits: { increment: 6 } });
    const own = table.get("E");
    assert.equal(own?.visits, 5);
    assert.equal(table.has("E"), true);
    const top = [...table.search("-sort -visits -limit 3")].map((row) => [row.id, row.visits]);
    assert.deepEqual(top, [["B", 9], ["A", 7], ["E", 5]]);
    assert.deepEqual([...table.search("-compare {{= id E}}")].map((row) => row.toObject()), [
      own?.toObject(),
    ]);
    assert.equal(table.query().where("visits", ">", 4).count(), 3);
    assert.equal(db.table(Presence).has("E"), false);
    table.update("E", { visits: 6 });
    assert.equal(own?.visits, 5, "a view shows what was there when it was made");
    transaction.commit();
    assert.equal(db.table(Presence).get("E")?.visits, 6);
    assert.throws(() => own?.visits, { code: "view_expired" });
    assert.equal(db.verify().ok, true);
  });

  for (const route of ["FullScan", "IndexRangeScan", "PrimaryKeyLookup"] as const) {
    test(`do not change the rows of a search that goes on, by ${route}`, () => {
      const count = 40_000; // more than one buffer of records
      const ids = Array.from({ length: count }, (_, id) => id);
      using store = new Store();
      const db = store.open({ tables: [Field], size: "128MiB" });
      db.table(Field).upsertMany(ids.map((id) => ({ id, round: 0, serial: id })));
      using transaction = db.begin();
      const table = transaction.table(Field);
      // Before the search: it sees these.
      table.delete(7);
      table.insert({ id: count, round: 1, serial: count });
      table.update(8, { round: 1 });
      const query = {
        FullScan: table.query().where("hits", "=", 0),
        IndexRangeScan: table.query().where("serial", ">=", 0),
        PrimaryKeyLookup: table.query().where("id", "in", [...ids, count]),
      }[route];
      assert.equal(query.explain().route, route);
      const rounds = new Map<number, number>();
      for (const { id, round } of query.iterate()) {
        assert.ok(!rounds.has(id), `${id} comes twice`);
        rounds.set(id, round);
        if (rounds.size > 1) continue;
        // After it began: its own rows and others, of which nearly all are still to come.
        table.delete(count);
        table.update(8, { round: 2 });
        for (const other of [9, 10, count - 9]) table.update(other, { round: 2 });
        for (const other of [11, 12, count - 11]) table.delete(other);
        for (const other of [7, count + 1]) {
          table.insert({ id: other, round: 2, serial: other });
        }
      }
      assert.equal(rounds.size, count);
      const changed = [...rounds].filter(([, round]) => round !== 0);
      assert.deepEqual(new Map(changed), new Map([[8, 1], [count, 1]]));
      assert.equal(rounds.has(7), false);
      // The next one sees all of it.
      assert.equal(table.query().where("round", "=", 2).count(), 6);
      assert.equal(query.count(), route === "PrimaryKeyLookup" ? count - 3 : count - 2);
      transaction.commit();
      assert.equal(db.table(Field).count(), count - 2);
    });
  }

  test("insert() after delete() and delete() after insert() leave what they should", () => {
    using store = new Store();
    const db = openThree(store);
    db.transaction((transaction) => {
      const table = transaction.table(Presence);
      assert.equal(table.delete("A"), true);
      assert.equal(table.delete("A"), false);
      table.insert({ id: "A", visits: 7 });
      table.insert({ id: "X", visits: 1 });
      assert.equal(table.delete("X"), true);
      assert.throws(() => table.update("X", { visits: 1 }), { code: "not_found" });
      assert.throws(() => table.insert({ id: "B" }), { code: "duplicate_key" });
    });
    const rows = [...db.table(Presence).search("-sort id")];
    assert.deepEqual(rows.map((row) => [row.id, row.visits]), [["A", 7], ["B", 1], ["C", 1]]);
  });
});

describe("transaction()", () => {
  test("waits for an asynchronous function, and runs it again after a conflict", async () => {
    using store = new Store();
    const db = openThree(store);
    let runs = 0;
    const seen = await db.transaction(async (transaction) => {
      const table = transaction.table(Presence);
      const before = table.get("A")?.visits ?? 0;
      await Promise.resolve();
      if (runs++ === 0) db.table(Presence).update("A", { visits: 10 });
      table.update("A", { visits: before + 1 });
      return before;
    });
    assert.deepEqual([runs, seen, db.table(Presence).get("A")?.visits], [2, 10, 11]);
    const mistake = new Error("mistake");
    await assert.rejects(db.transaction(() => Promise.reject(mistake)), mistake);
  });

  test("names the row or the table that another transaction changed", () => {
    using store = new Store();
    const db = openThree(store);
    const table = db.table(Presence);
    const readRow = () =>
      db.transaction((transaction) => {
        transaction.table(Presence).get("A");
        table.apply("A", { visits: { increment: 1 } });
        transaction.table(Presence).update("B", { visits: 2 });
      }, { retriesMax: 0 });
    assert.throws(readRow, { code: "serialization_failure", message: /"A".*"Presence"/ });
    const readRange = () =>
      db.transaction((transaction) => {
        [...transaction.table(Presence).search("-compare {{> visits 100}}")];
        table.upsert({ id: "Z", visits: 101 });
        transaction.table(Presence).update("B", { visits: 2 });
      }, { retriesMax: 0 });
    assert.throws(readRange, { code: "serialization_failure", message: /search.*"Presence"/ });
    assert.equal(table.get("B")?.visits, 1);
    assert.equal(db.stats().conflicts, 2);
  });
});

describe("apply() with a function", () => {
  test("changes a row by what it was", () => {
    using store = new Store();
    const db = openThree(store);
    const table = db.table(Presence);
    for (let i = 0; i < 10; i++) table.apply("A", (row) => ({ visits: (row.visits ?? 0) * 2 }));
    assert.equal(table.get("A")?.visits, 1024);
    assert.throws(() => table.apply("Q", () => ({ visits: 1 })), { code: "not_found" });
  });
});

describe("old snapshots", () => {
  test("are given up after max_snapshot_age_ms, unless row views stand on them", async () => {
    using store = new Store();
    const db = openThree(store);
    db.setConfig("max_snapshot_age_ms", 20);
    assert.equal(db.getConfig("aerostore.max_snapshot_age_ms"), 20);
    using resting = db.begin();
    assert.equal(resting.table(Presence).has("A"), true);
    using viewing = db.begin();
    const view = viewing.table(Presence).get("A");
    const table = db.table(Presence);
    const deadline = Date.now() + 20_000;
    while (db.stats().revokedSnapshots === 0 && Date.now() < deadline) {
      table.apply("B", { visits: { increment: 1 } });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.throws(() => resting.table(Presence).has("B"), { code: "snapshot_revoked" });
    assert.equal(view?.visits, 1);
    db.setConfig("max_snapshot_age_ms", 0);
  });

  test("setConfig() refuses what makes no sense", () => {
    using store = new Store();
    const db = openThree(store);
    assert.throws(() => db.setConfig("max_snapshot_age_ms", -1), { code: "bad_argument" });
    // @ts-expect-error: no such setting
    assert.throws(() => db.setConfig("colour", 1), { code: "bad_argument", message: /"colour"/ });
    // @ts-expect-error: no such value
    assert.throws(() => db.setConfig("synchronous_commit", "maybe"), { code: "bad_argument" });
    db.setConfig("synchronous_commit", "off");
    assert.equal(db.getConfig("aerostore.synchronous_commit"), "off");
  });
});
