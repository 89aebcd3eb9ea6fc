/** Processes of both runtimes that do the same thing at the same moment. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";
import { assertSound, until } from "./support/verify.ts";

const racerCount = 8;
const keys = 60;

/** What a racer reports. */
interface Report {
  readonly inserted: readonly string[];
  readonly count: number;
  readonly tables: number;
}

/** Racers that are started once and used by all tests; half of them in each runtime. */
class Racers implements Disposable {
  #children: Child[] = [];

  /** Returns all racers, ready to go. A racer that was killed is replaced. */
  async get(): Promise<readonly Child[]> {
    this.#children = await Promise.all(
      Array.from({ length: racerCount }, async (_, i) => {
        const known = this.#children[i];
        if (known !== undefined && !known.ended) return known;
        const child = new Child(runtimes[i % 2] ?? "bun", "racer.ts", { name: `racer${i}` });
        assert.equal(await child.next(), "ready");
        return child;
      }),
    );
    return this.#children;
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child[Symbol.dispose]();
  }
}

/** Checks that each key was inserted by exactly one of the reporters, and is there. */
function assertEachOnce(store: Store, reports: readonly Report[]): void {
  const inserted = reports.flatMap((report) => report.inserted).toSorted();
  const wanted = Array.from({ length: keys }, (_, i) => `key-${i}`).toSorted();
  assert.deepEqual(inserted, wanted);
  using db = store.open();
  assert.deepEqual(db.table(Presence).search("-sort id").all().map((row) => row.id), wanted);
  assert.equal(db.table(Presence).count(), keys);
}

describe("eight processes", () => {
  const racers = new Racers();
  after(() => racers[Symbol.dispose]());

  test("create one database, and insert each key once", { timeout: 120_000 }, async () => {
    const children = await racers.get();
    for (let round = 0; round < 12; round++) {
      using store = new Store();
      const { directory, options } = store;
      for (const child of children) child.send({ directory, options, keys });
      const reports = await Promise.all(children.map((child) => child.next())) as Report[];
      assertEachOnce(store, reports);
      assert.equal(readdirSync(store.shmPath).length, 1, "an unfinished region was left behind");
      using db = store.open();
      assert.equal(db.tableNames.length, racerCount + 1);
      await until("all have left", () => db.stats().processes === 1);
      assertSound(db);
    }
  });

  test("create one database though some are killed meanwhile", { timeout: 120_000 }, async () => {
    for (let round = 0; round < 3; round++) {
      const children = await racers.get();
      using store = new Store();
      const { directory, options } = store;
      for (const child of children) child.send({ directory, options, keys });
      const victims = children.slice(round, round + 2);
      await new Promise((resolve) => setTimeout(resolve, round));
      await Promise.all(victims.map((child) => child.kill()));
      const others = children.filter((child) => !victims.includes(child));
      const reports = await Promise.all(others.map((child) => child.next())) as Report[];
      using db = store.open({ tables: [Presence] });
      const presence = db.table(Presence);
      // A victim may have inserted keys before it was killed; nobody else has them then.
      const inserted = reports.flatMap((report) => report.inserted);
      assert.equal(new Set(inserted).size, inserted.length);
      assert.equal(presence.count(), keys);
      for (const id of inserted) assert.match(presence.get(id)?.place ?? "", /^racer/);
      await until("the victims are recovered", () => db.stats().processes === 1);
      assertSound(db);
    }
  });

  test("attach while the dead are recovered", { timeout: 120_000 }, async () => {
    const children = await racers.get();
    for (let round = 0; round < 3; round++) {
      using store = new Store();
      const { directory, options } = store;
      {
        using db = store.open({ tables: [Presence] });
        db.table(Presence).insert({ id: "p1" });
        db.table(Presence).delete("p1");
      }
      // All are dead before anybody who could recover them attaches.
      const dead = runtimes.map((runtime) =>
        new Child(runtime, "holder.ts", { directory, options, transactions: 30 })
      );
      for (const child of dead) assert.equal(await child.next(), "holding");
      await Promise.all(dead.map((child) => child.kill()));
      for (const child of children) child.send({ directory, options, keys });
      const reports = await Promise.all(children.map((child) => child.next())) as Report[];
      assertEachOnce(store, reports);
      using db = store.open();
      await until("the dead are recovered", () => db.stats().processes === 1);
      assert.ok(db.stats().slots <= 1);
      assertSound(db);
    }
  });
});

describe("readers and writers of both runtimes", () => {
  test("never see a row go back in time", { timeout: 120_000 }, async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const names = ["bun-1", "deno-1", "bun-2", "deno-2"];
    const { directory, options } = store;
    const children = names.map((name, i) => {
      const args = { directory, options, names, name, ms: 1500 };
      return new Child(runtimes[i % 2] ?? "bun", "observer.ts", args);
    });
    try {
      for (const child of children) assert.equal(await child.next(), "ready");
      for (const child of children) child.send("go");
      for (const [i, child] of children.entries()) {
        const { writes } = await child.next() as { writes: number };
        assert.equal(db.table(Presence).get(names[i] ?? "")?.visits, writes);
        assert.ok(writes > 0);
        await child.finish();
      }
    } finally {
      for (const child of children) child[Symbol.dispose]();
    }
    await until("all have left", () => db.stats().processes === 1);
    assertSound(db);
  });
});
