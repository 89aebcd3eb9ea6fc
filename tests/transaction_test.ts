import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { RowView } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";

describe("a reading transaction", () => {
  test("gives row views, which read as the rows", () => {
    using store = new Store();
    const db = store.open({ tables: [Everything] });
    const row = { id: "A", note: "n".repeat(300), exact: 5n, raw: Uint8Array.of(7) };
    db.table(Everything).insert(row);
    using transaction = db.begin({ readOnly: true });
    const view = transaction.table(Everything).get("A");
    assert.equal(view?.note, row.note);
    assert.equal(view?.exact, 5n);
    assert.deepEqual(view?.raw, row.raw);
    assert.equal(view?.flag, null);
    assert.deepEqual(view?.toObject(), db.table(Everything).get("A"));
    assert.equal(transaction.table(Everything).get("B"), undefined);
    assert.equal(transaction.table(Everything).has("A"), true);
  });

  test("keeps reading the rows of its beginning", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.insert({ id: "A", visits: 1 });
    table.insert({ id: "B", visits: 1 });
    using transaction = db.begin({ readOnly: true });
    const inside = transaction.table(Presence);
    const view = inside.get("A");
    for (let i = 0; i < 1000; i++) table.upsert({ id: "A", visits: i });
    table.delete("B");
    table.insert({ id: "C" });
    assert.equal(view?.visits, 1);
    assert.equal(inside.get("A")?.visits, 1);
    assert.equal(inside.has("B"), true);
    assert.equal(inside.has("C"), false);
    assert.deepEqual([...inside.search("-sort id")].map((row) => row.id), ["A", "B"]);
    assert.deepEqual(inside.query().where("visits", "=", 1).select("id").sort("id").all(), [
      { id: "A" },
      { id: "B" },
    ]);
  });

  test("expires its views when it ends, however it ends", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A" });
    let kept: RowView<{ id: string }> | undefined;
    const expired = { code: "view_expired" };

    const committed = db.begin({ readOnly: true });
    kept = committed.table(Presence).get("A");
    committed.commit();
    assert.throws(() => kept?.id, expired);

    {
      using left = db.begin({ readOnly: true });
      kept = left.table(Presence).search("").first();
      assert.equal(kept?.id, "A");
    }
    assert.throws(() => kept?.id, expired);

    db.transaction((tx) => {
      kept = tx.table(Presence).get("A");
    }, { readOnly: true });
    assert.throws(() => kept?.toObject(), expired);

    const open = db.begin({ readOnly: true });
    kept = open.table(Presence).get("A");
    db.close();
    assert.throws(() => kept?.id, expired);
    assert.equal(open.ended, true);
    assert.throws(() => open.commit(), { code: "closed" });
  });

  test("refuses to write", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    using transaction = db.begin({ readOnly: true });
    const table = transaction.table(Presence);
    const writes: readonly (() => unknown)[] = [
      () => table.insert({ id: "A" }),
      () => table.upsert({ id: "A" }),
      () => table.update("A", {}),
      () => table.apply("A", { visits: { increment: 1 } }),
      () => table.delete("A"),
      () => table.lockForUpdate("A"),
    ];
    for (const write of writes) assert.throws(write, { code: "read_only", message: /"Presence"/ });
  });
});

describe("transaction()", () => {
  test("passes on what its function returns or throws, and ends", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A", visits: 7 });
    const options = { readOnly: true };
    assert.equal(db.transaction((tx) => tx.table(Presence).get("A")?.visits, options), 7);
    const mistake = new Error("mistake");
    assert.throws(() =>
      db.transaction(() => {
        throw mistake;
      }, options), mistake);
  });
});

describe("a relaxed transaction", () => {
  const relaxed = { snapshot: "relaxed" } as const;

  test("sees what was decided a moment ago, and keeps seeing it", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.insert({ id: "A" });
    for (let visits = 1; visits <= 20; visits++) {
      table.update("A", { visits });
      // It may be behind, but never ahead, never for long, and never back again.
      let seen = -1;
      await until("it sees the last commit", () => {
        const now = db.transaction((tx) => tx.table(Presence).get("A")?.visits ?? -1, relaxed);
        assert.ok(now >= seen && now <= visits, `${seen}, ${now}, ${visits}`);
        seen = now;
        return now === visits;
      });
    }
    using reader = db.begin({ ...relaxed, readOnly: true });
    const before = reader.table(Presence).get("A")?.visits;
    table.update("A", { visits: 100 });
    table.insert({ id: "B" });
    assert.equal(reader.table(Presence).get("A")?.visits, before);
    assert.equal(reader.table(Presence).has("B"), false);
    assert.equal(reader.table(Presence).search("").length, 1);
    reader.commit();
  });

  test("that writes is validated from what it has seen", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.upsertMany([{ id: "A", visits: 1 }, { id: "B", visits: 1 }]);
    await until(
      "both are seen",
      () => db.transaction((tx) => tx.table(Presence).has("B"), relaxed),
    );
    using loser = db.begin(relaxed);
    assert.equal(loser.table(Presence).get("A")?.visits, 1);
    table.update("A", { visits: 2 });
    loser.table(Presence).update("B", { visits: 2 });
    assert.throws(() => loser.commit(), { code: "serialization_failure" });
    // One that is behind fails as well, and is run again until it is not.
    for (let i = 0; i < 50; i++) {
      table.apply("A", { visits: { increment: 1 } });
      db.transaction((tx) => {
        const visits = tx.table(Presence).get("A")?.visits ?? 0;
        tx.table(Presence).update("A", { visits: visits + 1 });
      }, relaxed);
    }
    assert.equal(table.get("A")?.visits, 102);
    assert.deepEqual(db.verify().problems, []);
  });
});
