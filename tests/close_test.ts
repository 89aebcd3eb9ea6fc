/** What is used after its end is an error, never a crash. */

import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { describe, test } from "node:test";
import { Aerostore } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";

const closed = { name: "AerostoreError", code: "closed" };

describe("close()", () => {
  test("makes every later use an error that names the database", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.insert({ id: "A" });
    const prepared = table.prepare("-compare {{= id $1}}");
    const query = table.query().where("id", "=", "A");
    const rows = query.iterate();
    const result = table.search("");
    db.close();
    assert.equal(db.closed, true);
    const uses: readonly (() => unknown)[] = [
      () => db.table(Presence),
      () => db.table("Presence"),
      () => db.tableNames,
      () => db.begin(),
      () => db.transaction(() => 0),
      () => db.stats(),
      () => db.verify(),
      () => table.get("A"),
      () => table.has("A"),
      () => table.count(),
      () => table.insert({ id: "B" }),
      () => table.upsert({ id: "B" }),
      () => table.update("A", {}),
      () => table.delete("A"),
      () => table.apply("A", { visits: { increment: 1 } }),
      () => table.upsertMany([{ id: "B" }]),
      () => table.search(""),
      () => table.query().all(),
      () => table.query().count(),
      () => prepared.all("A"),
      () => query.first(),
      () => [...rows],
    ];
    for (const use of uses) {
      assert.throws(use, { ...closed, message: new RegExp(`"${db.path}": it is closed`) });
    }
    await assert.rejects(() => table.ingestTsv("B\n"), closed);
    assert.deepEqual(result.all(), [{ id: "A", place: null, visits: 0 }]);
  });

  test("may be called twice, and `using` calls it", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.close();
    db.close();
    let kept: Aerostore | undefined;
    {
      using other = store.open();
      kept = other;
      assert.equal(other.closed, false);
    }
    assert.equal(kept.closed, true);
  });

  test("leaves the data to the next opener", () => {
    using store = new Store();
    const first = store.open({ tables: [Presence] });
    first.table(Presence).insert({ id: "A", visits: 3 });
    first.close();
    assert.equal(store.open({ tables: [Presence] }).table(Presence).get("A")?.visits, 3);
  });

  test("tells how much is not on the disk, and that the log has failed", async () => {
    using store = new Store();
    const db = store.open({ tables: [Everything], size: "64MiB", checkpointIntervalSecs: 0 });
    const files = () => readdirSync(store.directory).filter((name) => name.endsWith(".wal"));
    await until("there is a spare", () => files().length === 2);
    rmSync(store.directory, { recursive: true });
    // One commit that is larger than the files that are open, 1 and 2 MiB.
    const note = "n".repeat(500);
    const rows = Array.from({ length: 10_000 }, (_, i) => ({ id: `row ${i}`, note }));
    db.table(Everything).upsertMany(rows);
    await until("the log has failed", () => db.stats().log.state === "failed");
    const { pending, log } = db.close();
    assert.equal(log, "failed");
    assert.ok(pending > 0, `${pending} pending`);
  });

  test("while an ingest waits for its source ends the ingest", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    async function* source(): AsyncGenerator<string> {
      yield "A\tgate\t1\n";
      await new Promise((resolve) => setTimeout(resolve, 1));
      db.close();
      yield "B\tgate\t1\n";
    }
    await assert.rejects(() => table.ingestTsv(source()), closed);
  });

  test("while rows are fetched ends the iteration", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], size: "32MiB" });
    const table = db.table(Presence);
    // More than one buffer of records, so that the second must be fetched.
    const rows = Array.from({ length: 30_000 }, (_, i) => ({ id: `row ${i}` }));
    table.upsertMany(rows, { atomic: false });
    let seen = 0;
    assert.throws(() => {
      for (const row of table.query()) {
        if (seen++ === 0) db.close();
        assert.ok(row.id.startsWith("row "));
      }
    }, closed);
    assert.ok(seen > 0 && seen < 30_000);
  });

  test("of many databases one after the other leaves room for more", () => {
    for (let i = 0; i < 60; i++) {
      using store = new Store();
      const table = store.open({ tables: [Presence], size: "4MiB" }).table(Presence);
      table.insert({ id: "A" });
      assert.equal(table.count(), 1);
    }
  });

  test("of one database again and again leaves room for more", () => {
    using store = new Store();
    store.open({ tables: [Presence] }).table(Presence).insert({ id: "A" });
    for (let i = 0; i < 400; i++) {
      using db = Aerostore.open(store.directory, store.options);
      assert.equal(db.table("Presence").has("A"), true);
    }
  });
});
