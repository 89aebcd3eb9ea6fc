/** The rows of many keys by one call. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defineTable, t } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";

const Numbered = defineTable("Numbered", { id: t.int64().primaryKey(), half: t.float64() });
/** A few hundred rows fill the output buffer. */
const Long = defineTable("Long", { id: t.int32().primaryKey(), text: t.text(4000) });

describe("getMany of a table", () => {
  test("gives what get gives for each key, in the order of the keys", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    assert.deepEqual(table.getMany(["A"]), [undefined]);
    for (let i = 0; i < 100; i += 2) {
      table.insert({
        id: `row ${i}`,
        note: i % 3 === 0 ? "n".repeat(i) : null,
        exact: BigInt(i),
        raw: Uint8Array.of(i),
      });
    }
    table.delete("row 50");
    const keys = Array.from({ length: 300 }, (_, i) => `row ${(i * 37) % 101}`);
    const rows = table.getMany(keys);
    assert.deepEqual(rows, keys.map((key) => table.get(key)));
    assert.equal(rows.filter((row) => row !== undefined).length > 100, true);
    assert.deepEqual(table.getMany(new Set(keys)), [...new Set(keys)].map((key) => table.get(key)));
    assert.deepEqual(table.getMany([]), []);
  });

  test("takes the numbers of an integer key, and a key twice", () => {
    using store = new Store();
    const table = store.open({ tables: [Numbered] }).table(Numbered);
    const ids = [0, -1, 2 ** 40, -(2 ** 40), Number.MAX_SAFE_INTEGER];
    table.upsertMany(ids.map((id) => ({ id, half: id / 2 })));
    const found = table.getMany([...ids, 1, 0]).map((row) => row?.half);
    assert.deepEqual(found, [...ids.map((id) => id / 2), undefined, 0]);
  });

  test("finds nothing under a text that is longer than any key", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A", visits: 3 });
    const keys = ["A", "x".repeat(500), "ü".repeat(200), "A"];
    assert.deepEqual(table.getMany(keys).map((row) => row?.visits), [3, undefined, undefined, 3]);
  });

  test("refuses a key of another type, and works afterwards", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A", visits: 3 });
    const wrong = ["A", 7] as unknown as string[];
    assert.throws(() => table.getMany(wrong), { code: "type_mismatch" });
    assert.deepEqual(table.getMany(["A"]).map((row) => row?.visits), [3]);
  });

  test("takes more keys and rows than its buffers hold, all of one moment", () => {
    using store = new Store();
    const db = store.open({ tables: [Long, Numbered], size: "64MiB" });
    const long = db.table(Long);
    const text = (id: number): string => `${id} `.repeat(600);
    long.upsertMany(Array.from({ length: 900 }, (_, id) => ({ id, text: text(id) })));
    const rows = long.getMany(Array.from({ length: 1000 }, (_, i) => 999 - i));
    assert.equal(rows.length, 1000);
    for (const [i, row] of rows.entries()) {
      const id = 999 - i;
      assert.deepEqual(row, id < 900 ? { id, text: text(id) } : undefined);
    }

    const numbers = db.table(Numbered);
    numbers.upsertMany(Array.from({ length: 1000 }, (_, id) => ({ id, half: id / 2 })));
    const many = Array.from({ length: 150_000 }, (_, i) => i % 1001);
    const halves = numbers.getMany(many);
    assert.equal(halves.length, many.length);
    for (const [i, row] of halves.entries()) {
      assert.equal(row?.half, many[i] === 1000 ? undefined : (many[i] ?? NaN) / 2);
    }
    // Each of these begins a transaction, and a connection has fewer at a time.
    const wrong = ["A", ...many] as number[];
    for (let i = 0; i < 100; i++) {
      assert.throws(() => numbers.getMany(wrong), { code: "type_mismatch" });
    }
    assert.equal(numbers.getMany(many).length, many.length);
  });

  test("takes a generator that uses the table", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    const keys = function* (): Generator<string> {
      for (const id of ["A", "B", "C"]) {
        table.insert({ id, visits: table.count() });
        yield id;
      }
    };
    assert.deepEqual(table.getMany(keys()).map((row) => row?.visits), [0, 1, 2]);
  });
});

describe("getMany in a transaction", () => {
  test("gives views of the snapshot with the transaction's own changes", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    for (const id of ["A", "B", "C"]) table.insert({ id, visits: 1 });
    const transaction = db.begin();
    const inside = transaction.table(Presence);
    table.upsert({ id: "A", visits: 9 });
    inside.upsert({ id: "B", visits: 2 });
    inside.delete("C");
    inside.insert({ id: "D", visits: 4 });
    const views = inside.getMany(["D", "A", "x", "C", "B", "y".repeat(500)]);
    assert.deepEqual(views.map((view) => view?.visits), [4, 1, undefined, undefined, 2, undefined]);
    table.upsert({ id: "A", visits: 10 });
    assert.equal(views[1]?.visits, 1);
    assert.deepEqual(views[0]?.toObject(), inside.get("D")?.toObject());
    transaction.abort();
    assert.throws(() => views[1]?.visits, { code: "view_expired" });
    assert.throws(() => inside.getMany(["A"]), { code: "transaction_closed" });
  });

  test("counts as reading each row, whether it is there or not", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.insert({ id: "A", visits: 1 });
    for (const rival of ["A", "B"]) {
      const transaction = db.begin();
      const inside = transaction.table(Presence);
      inside.getMany(["A", "B"]);
      table.upsert({ id: rival, visits: 5 });
      inside.upsert({ id: "C", visits: 1 });
      assert.throws(() => transaction.commit(), { code: "serialization_failure" });
    }
  });
});
