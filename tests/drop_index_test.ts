/** Indexes that come and go while others read and write. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Aerostore, defineTable, t } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Indexless, Item } from "./support/tables.ts";
import { assertSound, until } from "./support/verify.ts";

const count = 20_000;

function fill(db: Aerostore, rows = count): void {
  db.table(Indexless).upsertMany(
    Array.from({ length: rows }, (_, id) => ({ id, n: id % 1000, s: `s${id % 7}` })),
  );
}

function routeOf(db: Aerostore, search: string): string {
  return db.table("Item").search(`${search} -limit 1`).explain().route;
}

/** Blocks of the region that hold something. */
function usedBlocks(db: Aerostore): number {
  return Number(db.verify()["blocksUsed"]);
}

/** Waits until nothing of a dropped index is left: its blocks are free again. */
async function untilBlocks(db: Aerostore, most: number): Promise<void> {
  await until(`${most} blocks`, () => usedBlocks(db) <= most);
}

describe("dropIndex()", () => {
  test("takes an index from the plans of all openers, and its memory comes back", async () => {
    using store = new Store();
    const db = store.open({ tables: [Item], size: "64MiB" });
    const other = store.open({ size: "64MiB" });
    fill(db);
    const prepared = other.table("Item").prepare("-compare {= n $1}");
    const built = db.table(Item).query().where("n", "=", 5);
    const found = built.all().length;
    assert.equal(built.explain().route, "IndexExactMatch");
    assert.equal(prepared.explain().route, "IndexExactMatch");
    assert.equal(routeOf(other, "-compare {{= n 5}}"), "IndexExactMatch");
    const used = usedBlocks(db);

    db.dropIndex(Item, "n");
    assert.equal(built.explain().route, "FullScan");
    assert.equal(prepared.explain().route, "FullScan");
    assert.equal(routeOf(other, "-compare {{= n 5}}"), "FullScan");
    assert.equal(routeOf(other, "-compare {{= s s5} {= n 5}}"), "IndexExactMatch");
    for (const rows of [built.all(), prepared.all(5)]) assert.equal(rows.length, found);
    db.table(Item).query().where("id", "<", 100).update({ n: 5 });
    db.table(Item).query().where("id", ">=", count - 100).delete();
    await untilBlocks(db, used - count + 1000);
    assertSound(db);
    assert.throws(() => db.dropIndex(Item, "n"), { code: "not_found" });
    db.dropIndex("Item", ["s", "n"]);
    assert.throws(() => other.dropIndex(Item, ["s", "n"]), (error: Error) => {
      assert.match(error.message, /the index "s, n" of "Item": there is none/);
      return true;
    });
  });

  test("lets searches and transactions that use it end as they began", async () => {
    using store = new Store();
    const db = store.open({ tables: [Item], size: "64MiB" });
    fill(db);
    const used = usedBlocks(db);
    const items = db.table(Item);
    const query = items.query().where("n", ">=", 0).sort("-n");
    const expected = query.all().map((row) => row.id);
    const stream = query.stream()[Symbol.asyncIterator]();
    const tx = db.begin();
    const first = tx.table(Item).query().where("n", "=", 7).all().length;
    const next = await stream.next();
    db.dropIndex(Item, "n");
    items.query().where("n", "<", 500).delete();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const seen = next.done === true ? [] : [next.value.id];
    for (let it = await stream.next(); it.done !== true; it = await stream.next()) {
      seen.push(it.value.id);
    }
    assert.deepEqual(seen, expected);
    assert.equal(tx.table(Item).query().where("n", "=", 7).count(), first);
    tx.abort();
    await untilBlocks(db, used - count + 1000);
    assertSound(db);
  });

  test("lets what was to be unique occur twice", () => {
    const Named = defineTable("Named", {
      id: t.int32().primaryKey(),
      name: t.text(8).unique(),
    });
    using store = new Store();
    const db = store.open({ tables: [Named] });
    const named = db.table(Named);
    named.insert({ id: 1, name: "a" });
    assert.throws(() => named.insert({ id: 2, name: "a" }), { code: "unique_violation" });
    db.dropIndex(Named, "name");
    named.insert({ id: 2, name: "a" });
    assert.throws(() => store.open({ tables: [Named] }), { code: "unique_violation" });
    named.delete(2);
    store.open({ tables: [Named] });
    assert.throws(() => named.insert({ id: 2, name: "a" }), { code: "unique_violation" });
  });

  test("is refused where it makes no sense", () => {
    using store = new Store();
    const db = store.open({ tables: [Item] });
    const reader = store.open({ readOnly: true });
    assert.throws(() => reader.dropIndex("Item", "n"), { code: "read_only" });
    assert.throws(() => db.dropIndex("Item", "nothing"), { code: "unknown_column" });
    assert.throws(() => db.dropIndex("Nothing", "n"), { code: "unknown_table" });
    assert.throws(() => db.dropIndex(Item, ["n", "s"]), (error: Error) => {
      assert.match(error.message, /there is only "n" and "s, n"/);
      return true;
    });
  });
});

test("an index that another opener adds is used without opening anew", async () => {
  using store = new Store();
  const db = store.open({ tables: [Indexless], size: "64MiB" });
  fill(db, 2000);
  const query = db.table(Indexless).query().where("n", "=", 5);
  const prepared = db.table(Indexless).prepare("-compare {= n $1}");
  const found = query.all().length;
  assert.equal(query.explain().route, "FullScan");
  const other = store.open({ tables: [Item], size: "64MiB" });
  for (const it of [query.explain(), prepared.explain()]) assert.equal(it.route, "IndexExactMatch");
  assert.equal(query.all().length, found);
  // Dropped and declared again, while the first one still waits for a reader.
  using tx = db.begin();
  tx.table(Indexless).get(1);
  for (let i = 0; i < 5; i++) {
    other.dropIndex("Item", "n");
    assert.equal(query.explain().route, "FullScan");
    store.open({ tables: [Item], size: "64MiB" }).close();
    assert.equal(query.explain().route, "IndexExactMatch");
    assert.equal(query.all().length, found);
  }
  tx.abort();
  await until("four indexes to go", () => db.verify().ok);
  assertSound(db);
});

for (const runtime of runtimes) {
  test(`a process of ${runtime} killed while it drops and builds loses nothing`, {
    timeout: 120_000,
  }, async () => {
    using store = new Store();
    const options = { ...store.options, size: "64MiB" };
    const db = store.open({ tables: [Indexless], size: "64MiB" });
    fill(db, 5000);
    db.table(Indexless).query().where("n", "<", 0).count();
    const used = usedBlocks(db);
    const { directory } = store;
    for (let round = 0; round < 8; round++) {
      const child = new Child(runtime, "dropper.ts", { directory, options });
      assert.equal(await child.next(), "ready");
      await new Promise((resolve) => setTimeout(resolve, 5 + (round * 37) % 90));
      await child.kill();
      const table = db.table(Indexless);
      for (const n of [5, 77, 999]) {
        const found = table.query().where("n", "=", n).all().map((row) => row.id).sort();
        const all = table.search("").all().filter((row) => row.n === n).map((row) => row.id);
        assert.deepEqual(found, all.sort());
      }
    }
    // Whatever state they were left in, they can be completed and dropped.
    const last = store.open({ tables: [Item], size: "64MiB" });
    assert.equal(routeOf(last, "-compare {{= n 5}}"), "IndexExactMatch");
    assertSound(last);
    last.dropIndex("Item", "n");
    last.dropIndex("Item", ["s", "n"]);
    await untilBlocks(db, used + 1000);
    assertSound(db);
  });
}
