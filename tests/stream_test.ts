/** Searches that give the event loop its turn. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defineTable, t } from "../mod.ts";
import { Store } from "./support/store.ts";
import { assertSound } from "./support/verify.ts";

const Point = defineTable("Point", {
  id: t.int32().primaryKey(),
  x: t.float64().index(),
  name: t.text(40).nullable(),
});
const count = 50_000;

function open(store: Store, rows = count) {
  const db = store.open({ tables: [Point], size: "64MiB" });
  const points = db.table(Point);
  points.upsertMany(Array.from({ length: rows }, (_, id) => ({ id, x: (id * 7) % rows })));
  return { db, points };
}

/** Counts turns of the event loop while something runs. */
async function turnsDuring(run: () => Promise<void>): Promise<number> {
  let turns = 0;
  let running = true;
  const tick = (): void => {
    turns += 1;
    if (running) setImmediate(tick);
  };
  setImmediate(tick);
  await run();
  running = false;
  return turns;
}

describe("stream()", () => {
  test("gives all rows of one moment, and the event loop its turn", async () => {
    using store = new Store();
    const { db, points } = open(store);
    const seen = new Set<number>();
    const turns = await turnsDuring(async () => {
      for await (const { id, x } of points.query().stream()) {
        if (seen.size === 100) {
          points.query().where("id", ">=", count / 2).delete();
          points.insert({ id: count, x: -1 });
        }
        assert.equal(x, (id * 7) % count);
        seen.add(id);
      }
    });
    assert.equal(seen.size, count);
    assert.ok(!seen.has(count));
    assert.ok(turns > 5, `${turns} turns`);
    assertSound(db);
  });

  test("gives turns also while it finds nothing, and while it collects for a sort", async () => {
    using store = new Store();
    const { points } = open(store);
    const queries = [
      points.query().where("name", "notnull"),
      points.query().where("id", ">=", 0).sort("-name", "id").limit(3),
    ];
    for (const query of queries) {
      const found: number[] = [];
      const turns = await turnsDuring(async () => {
        for await (const row of query.stream()) found.push(row.id);
      });
      assert.ok(turns > 5, `${turns} turns`);
      assert.deepEqual(found, query.all().map((row) => row.id));
    }
  });

  test("keeps the order of an index, limit and offset", async () => {
    using store = new Store();
    const { points } = open(store);
    const query = points.query().where("x", "<", 20_000).sort("-x").limit(9000).offset(10);
    const found: number[] = [];
    for await (const row of query.select("x").stream()) found.push(row.x);
    assert.deepEqual(found, query.all().map((row) => row.x));
    const prepared = points.prepare("-compare {< x $1} -sort x");
    const few: number[] = [];
    for await (const row of prepared.stream(3)) few.push(row.x);
    assert.deepEqual(few, [0, 1, 2]);
  });

  test("ends when the loop is left, when its maker is closed, and when it is revoked", async () => {
    using store = new Store();
    const { db, points } = open(store);
    for (let i = 0; i < 200; i++) {
      for await (const row of points.query().stream()) {
        if (row.id >= 0) break;
      }
    }
    assertSound(db);

    const iterator = points.query().stream()[Symbol.asyncIterator]();
    await iterator.next();
    db.setConfig("max_snapshot_age_ms", 20);
    await assert.rejects(async () => {
      // The snapshot is used only while a batch is read.
      await new Promise((resolve) => setTimeout(resolve, 200));
      while ((await iterator.next()).done !== true);
    }, { code: "snapshot_revoked" });
    db.setConfig("max_snapshot_age_ms", 0);

    const other = store.open({ tables: [Point], size: "64MiB" });
    await assert.rejects(async () => {
      for await (const _ of other.table(Point).query().stream()) other.close();
    }, { code: "closed" });
    await assert.rejects(async () => {
      for await (const _ of other.table(Point).stream("")) assert.fail("it is closed");
    }, { code: "closed" });
    assertSound(db);
  });

  test("within a transaction gives views of what it sees, while it lasts", async () => {
    using store = new Store();
    const { db } = open(store);
    await db.transaction(async (tx) => {
      const inside = tx.table(Point);
      inside.delete(0);
      let sum = 0;
      for await (const point of inside.query().where("id", "<", 10).stream()) sum += point.x;
      assert.equal(sum, 45 * 7);
    });
    const tx = db.begin();
    await assert.rejects(async () => {
      for await (const _ of tx.table(Point).query().stream()) if (!tx.ended) tx.abort();
    }, { code: "transaction_closed" });
    assertSound(db);
  });
});
