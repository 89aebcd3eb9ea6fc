import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AerostoreError, type Column, defineTable, type KeyOf, type RowOf, t } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";

type Row = RowOf<typeof Everything>;

const fullRow: Row = {
  id: "Zürich–東京 🛩",
  flag: true,
  code: "B738",
  count: -2147483648,
  total: Number.MIN_SAFE_INTEGER,
  exact: -(2n ** 63n),
  note: "long text ".repeat(49),
  ratio: -0.1,
  seen: 1533099600000.25,
  raw: Uint8Array.of(0, 255),
  blob: new Uint8Array(300).fill(9),
};

const bareRow: Row = {
  id: "bare",
  flag: null,
  code: null,
  count: 7,
  total: null,
  exact: null,
  note: null,
  ratio: null,
  seen: null,
  raw: null,
  blob: Uint8Array.of(1, 2, 3),
};

describe("insert()", () => {
  test("stores every type, and get() gives it back", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.insert(fullRow);
    assert.deepEqual(table.get(fullRow.id), fullRow);
  });

  test("fills what is missing by defaults and nulls", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.insert({ id: "bare" });
    assert.deepEqual(table.get("bare"), bareRow);
  });

  test("refuses a key that exists, and changes nothing", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A", place: "gate" });
    assert.throws(() => table.insert({ id: "A", place: "bar" }), {
      code: "duplicate_key",
      message: /^Cannot insert row "A" into "Presence": /,
    });
    assert.equal(table.get("A")?.place, "gate");
    assert.equal(table.count(), 1);
  });

  test("works again after delete()", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    for (let i = 0; i < 50; i++) {
      table.insert({ id: "A", visits: i });
      assert.equal(table.get("A")?.visits, i);
      assert.equal(table.delete("A"), true);
      assert.equal(table.get("A"), undefined);
    }
  });
});

describe("get() and has()", () => {
  test("of a missing key are undefined and false", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    assert.equal(table.get("A"), undefined);
    assert.equal(table.has("A"), false);
    table.insert({ id: "A" });
    assert.equal(table.has("A"), true);
  });

  test("of a key longer than any can be are undefined and false", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    assert.equal(table.get("A".repeat(1000)), undefined);
    assert.equal(table.has("é".repeat(17)), false);
    assert.equal(table.delete("A".repeat(33)), false);
  });

  test("get() gives copies that later writes do not change", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A", place: "gate" });
    const before = table.get("A");
    table.upsert({ id: "A", place: "bar" });
    assert.equal(before?.place, "gate");
    assert.notEqual(table.get("A"), table.get("A"));
  });
});

describe("upsert()", () => {
  test("inserts, then replaces the whole row", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.upsert({ ...fullRow, id: "bare" });
    table.upsert({ id: "bare" });
    assert.deepEqual(table.get("bare"), bareRow);
    assert.equal(table.count(), 1);
  });

  test("survives thousands of replacements in a small region", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything], size: "8MiB" }).table(Everything);
    for (let i = 0; i < 20_000; i++) table.upsert({ ...fullRow, count: i });
    assert.equal(table.get(fullRow.id)?.count, 19_999);
    assert.equal(table.count(), 1);
  });
});

describe("update()", () => {
  test("changes what is given and keeps the rest", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.insert(fullRow);
    table.update(fullRow.id, { code: null, note: "short", count: 3 });
    assert.deepEqual(table.get(fullRow.id), { ...fullRow, code: null, note: "short", count: 3 });
    table.update(fullRow.id, { code: "A320", note: "n".repeat(500), blob: new Uint8Array(0) });
    assert.deepEqual(table.get(fullRow.id), {
      ...fullRow,
      code: "A320",
      note: "n".repeat(500),
      count: 3,
      blob: new Uint8Array(0),
    });
  });

  test("with nothing to change still needs the row", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A", visits: 5 });
    table.update("A", {});
    assert.equal(table.get("A")?.visits, 5);
    assert.throws(() => table.update("B", {}), { code: "not_found" });
  });

  test("of a missing row is not_found and quotes the key", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    for (const key of ["B", "B".repeat(100)]) {
      assert.throws(() => table.update(key, { visits: 1 }), {
        code: "not_found",
        message: new RegExp(`^Cannot update row "${key.slice(0, 40)}`),
      });
    }
  });

  test("does not change a primary key", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A" });
    const patch: object = { id: "B" };
    assert.throws(() => table.update("A", patch), { code: "bad_argument" });
    const same: object = { id: "A", visits: 2 };
    table.update("A", same);
    assert.equal(table.get("A")?.visits, 2);
  });
});

describe("delete()", () => {
  test("tells whether there was a row", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.insert({ id: "A" });
    assert.equal(table.delete("A"), true);
    assert.equal(table.delete("A"), false);
    assert.equal(table.count(), 0);
  });
});

describe("apply()", () => {
  test("computes from the stored value, one operation after the other", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.insert({ id: "A", count: 5, total: 10, exact: 2n ** 60n, ratio: 0.5, seen: 100 });
    table.apply("A", {
      count: { increment: 3, multiply: 2 },
      total: { max: 20 },
      exact: { increment: -1n },
      ratio: { multiply: 4 },
      seen: { min: 50 },
    });
    const row = table.get("A");
    assert.equal(row?.count, 16);
    assert.equal(row?.total, 20);
    assert.equal(row?.exact, 2n ** 60n - 1n);
    assert.equal(row?.ratio, 2);
    assert.equal(row?.seen, 50);
  });

  test("takes a null for absent", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.insert({ id: "A" });
    table.apply("A", { total: { increment: 5 }, ratio: { multiply: 2 }, seen: { max: 9 } });
    const row = table.get("A");
    assert.deepEqual([row?.total, row?.ratio, row?.seen], [5, null, 9]);
  });

  test("gives nothing that a read would refuse", () => {
    using store = new Store();
    const db = store.open({ tables: [Everything] });
    const table = db.table(Everything);
    const row = { id: "A", total: Number.MAX_SAFE_INTEGER, ratio: Infinity, seen: 1e308 };
    table.insert(row);
    const refused: readonly (readonly [string, object, string])[] = [
      ["type_mismatch", { total: { increment: 1 } }, '"total" does not fit'],
      ["type_mismatch", { total: { multiply: -2 } }, '"total" does not fit'],
      ["type_mismatch", { seen: { multiply: 10 } }, '"seen" does not fit'],
      ["type_mismatch", { count: { increment: 1 }, total: { increment: 1 } }, '"count" or "total"'],
      ["not_a_number", { ratio: { increment: -Infinity } }, '"ratio" is no number'],
    ];
    for (const [code, changes, words] of refused) {
      for (
        const use of [
          () => table.apply("A", changes),
          () => table.updateWhere("", changes),
          () => db.transaction((tx) => tx.table(Everything).apply("A", changes)),
        ]
      ) {
        assert.throws(use, (error: AerostoreError) => {
          assert.equal(error.code, code);
          assert.ok(error.message.includes(words), error.message);
          return true;
        });
      }
    }
    const { total, ratio, seen } = table.get("A") ?? {};
    assert.deepEqual({ id: "A", total, ratio, seen }, row);
  });

  test("refuses what has no result in the column, and changes nothing", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    table.insert({ id: "A", count: 2147483647, flag: true });
    assert.throws(() => table.apply("A", { count: { increment: 1 } }), AerostoreError);
    assert.equal(table.get("A")?.count, 2147483647);
    assert.throws(() => table.apply("B", { count: { increment: 1 } }), { code: "not_found" });
    const wrong: readonly (readonly [object, string])[] = [
      [{ flag: { increment: 1 } }, "type_mismatch"],
      [{ id: { increment: 1 } }, "type_mismatch"],
      [{ count: { increment: 0.5 } }, "type_mismatch"],
      [{ count: { increment: NaN } }, "not_a_number"],
      [{ count: { decrement: 1 } }, "bad_argument"],
      [{ count: 1 }, "bad_argument"],
      [{ nothing: { increment: 1 } }, "unknown_column"],
    ];
    for (const [changes, code] of wrong) {
      assert.throws(() => table.apply("A", changes), { code }, JSON.stringify(changes));
    }
  });
});

describe("upsertMany()", () => {
  const rows = (count: number, place: string): { id: string; place: string; visits: number }[] =>
    Array.from({ length: count }, (_, i) => ({ id: `row ${i}`, place, visits: i }));

  test("writes all rows of an array, row by row or at once", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    assert.equal(table.upsertMany(rows(1000, "gate")), 1000);
    assert.equal(table.upsertMany(rows(1500, "bar"), { atomic: false }), 1500);
    assert.equal(table.count(), 1500);
    assert.deepEqual(table.get("row 1499"), { id: "row 1499", place: "bar", visits: 1499 });
    assert.equal(table.upsertMany([]), 0);
  });

  test("fills as many buffers as it takes", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    assert.equal(table.upsertMany(rows(30_000, "gate"), { atomic: false }), 30_000);
    assert.equal(table.count(), 30_000);
    assert.equal(table.get("row 29999")?.visits, 29_999);
  });

  test("takes the rows of a generator that uses the table meanwhile", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    table.upsertMany(rows(3000, "gate"), { atomic: false });
    function* moved(): Generator<RowOf<typeof Presence>> {
      for (let i = 0; i < 3000; i++) {
        const row = table.get(`row ${i}`);
        if (row !== undefined) yield { ...row, place: "bar" };
      }
    }
    assert.equal(table.upsertMany(moved(), { atomic: false }), 3000);
    assert.deepEqual(table.get("row 0"), { id: "row 0", place: "bar", visits: 0 });
    assert.deepEqual(table.get("row 2999"), { id: "row 2999", place: "bar", visits: 2999 });
  });

  test("at once, writes nothing if a row fails", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    const bad = [...rows(10, "gate"), { id: "bad", visits: 1.5 }, { id: "after" }];
    assert.throws(() => table.upsertMany(bad), {
      code: "type_mismatch",
      message: /not 1.5, at index 10$/,
    });
    assert.equal(table.count(), 0);
  });

  test("row by row, keeps the rows before the one that fails", () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    const bad = [...rows(10, "gate"), { id: "bad", visits: 1.5 }, { id: "after" }];
    assert.throws(() => table.upsertMany(bad, { atomic: false }), { code: "type_mismatch" });
    assert.equal(table.count(), 10);
    assert.equal(table.has("after"), false);
  });
});

describe("a primary key", () => {
  function check<T extends Column>(column: T, keys: readonly KeyOf<ReturnType<typeof one<T>>>[]) {
    using store = new Store();
    const definition = one(column);
    const table = store.open({ tables: [definition] }).table(definition);
    for (const [i, id] of keys.entries()) {
      const row: object = { id, n: i };
      table.insert(row as never);
    }
    for (const [i, id] of keys.entries()) {
      const row: unknown = table.get(id);
      assert.deepEqual(row, { id, n: i });
    }
    assert.equal(table.count(), keys.length);
    for (const id of keys) assert.equal(table.delete(id), true);
    assert.equal(table.count(), 0);
  }

  const one = <T extends Column>(id: T) => defineTable("Keys", { id, n: t.int32() });

  test("may be an int32", () => {
    check(t.int32().primaryKey(), [0, 1, -1, 2147483647, -2147483648]);
  });

  test("may be an int64", () => {
    check(t.int64().primaryKey(), [0, -1, 2 ** 32, Number.MAX_SAFE_INTEGER, -(2 ** 40)]);
  });

  test("may be an int64 as bigint", () => {
    check(t.int64({ as: "bigint" }).primaryKey(), [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)]);
  });

  test("may be text of up to 64 bytes", () => {
    check(t.text(64).primaryKey(), ["", "a", "A", "é", "\0", "x".repeat(64), "日".repeat(21)]);
  });
});

describe("tables of one database", () => {
  test("are apart, though their keys are the same", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence, Everything] });
    db.table(Presence).insert({ id: "A", place: "gate" });
    db.table(Everything).insert({ id: "A", note: "other" });
    db.table(Presence).delete("A");
    assert.equal(db.table(Presence).count(), 0);
    assert.equal(db.table(Everything).get("A")?.note, "other");
  });

  test("are found by name without a declaration", () => {
    using store = new Store();
    store.open({ tables: [Everything] }).table(Everything).insert(fullRow);
    const db = store.open();
    assert.deepEqual(db.tableNames, ["Everything"]);
    assert.deepEqual(db.table("Everything").get(fullRow.id), fullRow);
    assert.throws(() => db.table("Nothing"), {
      code: "unknown_table",
      message: /"Nothing".*it has "Everything"/,
    });
  });

  test("are found when another opener declares them later", () => {
    using store = new Store();
    const db = store.open();
    assert.throws(() => db.table(Presence), { code: "unknown_table" });
    store.open({ tables: [Presence] }).table(Presence).insert({ id: "A" });
    assert.equal(db.table("Presence").has("A"), true);
    assert.equal(db.table(Presence).count(), 1);
  });
});

describe("two databases of one process", () => {
  test("are apart", () => {
    using first = new Store();
    using second = new Store();
    const a = first.open({ tables: [Presence] }).table(Presence);
    const b = second.open({ tables: [Presence] }).table(Presence);
    for (let i = 0; i < 100; i++) {
      a.upsert({ id: "A", visits: i });
      b.upsert({ id: "A", visits: -i });
    }
    assert.equal(a.get("A")?.visits, 99);
    assert.equal(b.get("A")?.visits, -99);
  });

  test("may be the same one, opened twice", () => {
    using store = new Store();
    const a = store.open({ tables: [Presence] });
    const b = store.open({ tables: [Presence] });
    a.table(Presence).insert({ id: "A" });
    assert.equal(b.table(Presence).has("A"), true);
    a.close();
    assert.equal(b.table(Presence).has("A"), true);
  });
});
