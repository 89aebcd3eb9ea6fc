/**
 * Processes that are killed or stopped anywhere lose nothing, leave nothing, and hold nobody up.
 *
 * `AEROSTORE_CRASH_SECONDS` says how long the storm lasts, `AEROSTORE_CRASH_SEED` makes it the same
 * again, as far as the scheduler of the system allows.
 */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";
import type { Aerostore } from "../mod.ts";
import { Child, type RuntimeName, runtimes } from "./support/children.ts";
import { Writer } from "./support/ledger.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";
import { assertSound, until } from "./support/verify.ts";
import { Counter, counterCount, Item, randomNumbers } from "./support/workload.ts";

const stormSeconds = Number(process.env["AEROSTORE_CRASH_SECONDS"] ?? 10);
const seed = Number(process.env["AEROSTORE_CRASH_SEED"] ?? Date.now() % 1_000_000);
const writerCount = 5;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function runtimeOf(index: number): RuntimeName {
  return runtimes[index % runtimes.length] ?? "bun";
}

/** Writers that all write to one database, and are killed in the end whatever happens. */
class Crew implements Disposable {
  readonly writers: readonly Writer[];

  constructor(store: Store, db: Aerostore, count: number) {
    const counters = db.table(Counter);
    for (let id = 0; id < counterCount; id++) counters.insert({ id });
    this.writers = Array.from(
      { length: count },
      (_, i) => new Writer(store, runtimeOf(i), `w${i}`, seed + i),
    );
    for (const writer of this.writers) writer.start();
  }

  /** Kills and checks all writers, and compares what all of them have done together. */
  async end(db: Aerostore): Promise<void> {
    await Promise.all(this.writers.map((writer) => writer.kill()));
    this.check(db);
  }

  check(db: Aerostore): void {
    for (const writer of this.writers) writer.check(db);
    const rows = this.writers.flatMap(({ workload }) => [...workload.rows.values()]);
    rows.sort((a, b) => a.id < b.id ? -1 : 1);
    assert.deepEqual(db.table(Item).search("-sort id").all(), rows);
    assert.equal(db.table(Item).count(), rows.length);
    // The indexes are searched as well.
    const search = `-compare {{= owner w0}} -sort id`;
    const owned = db.table(Item).search(search).all();
    assert.deepEqual(owned, rows.filter((row) => row.owner === "w0"));
    const step = rows[0]?.step ?? 0;
    const late = db.table(Item).search(`-compare {{>= step ${step}}}`).length;
    assert.equal(late, rows.filter((row) => row.step >= step).length);
    for (let id = 0; id < counterCount; id++) {
      const added = this.writers.reduce((sum, { workload }) => sum + (workload.added[id] ?? 0), 0);
      assert.equal(db.table(Counter).get(id)?.total, added, `counter ${id}`);
    }
  }

  [Symbol.dispose](): void {
    for (const writer of this.writers) writer[Symbol.dispose]();
  }
}

/** Waits until only this process is left, and then checks the region. */
async function settle(db: Aerostore): Promise<void> {
  await until("the dead processes are recovered", () => db.stats().processes === 1);
  assert.equal(db.stats().slots, 1, "a slot of a dead process is still taken");
  assertSound(db);
}

/** Kills a writer where it is, perhaps after a stop, and starts another in its place. */
async function strike(writer: Writer, random: (below: number) => number): Promise<void> {
  const choice = random(10);
  if (choice < 3) {
    writer.signal("SIGSTOP");
    await pause(random(choice === 0 ? 1200 : 60));
    if (choice === 1) return writer.signal("SIGCONT");
  }
  await writer.kill();
}

describe("processes killed at random", () => {
  const timeout = (stormSeconds + 120) * 1000;

  test(`lose nothing and leave nothing, seed ${seed}`, { timeout }, async () => {
    using store = new Store();
    const db = store.open({ tables: [Item, Counter] });
    using crew = new Crew(store, db, writerCount);
    const random = randomNumbers(seed);
    const end = Date.now() + stormSeconds * 1000;
    await Promise.all(crew.writers.map(async (writer) => {
      while (Date.now() < end) {
        // Now and then one is killed while it attaches.
        if (random(6) > 0) await writer.progress(1 + random(400));
        await pause(random(120));
        const before = writer.kills;
        await strike(writer, random);
        if (writer.kills === before) continue;
        writer.check(db);
        writer.start();
      }
      await writer.progress(1);
    }));
    await crew.end(db);
    await settle(db);
    const kills = crew.writers.reduce((sum, writer) => sum + writer.kills, 0);
    const operations = crew.writers.reduce((sum, { workload }) => sum + workload.done, 0);
    const completed = crew.writers.reduce((sum, writer) => sum + writer.completed, 0);
    console.log(
      `${kills} kills, ${operations} operations, ${completed} done but not acknowledged, ` +
        JSON.stringify(db.stats()),
    );
    assert.ok(kills >= writerCount);
  });

  test("lose nothing when none is left", { timeout: 120_000 }, async () => {
    using store = new Store();
    const first = store.open({ tables: [Item, Counter] });
    using crew = new Crew(store, first, 3);
    const random = randomNumbers(seed);
    for (let round = 0; round < 3; round++) {
      await Promise.all(crew.writers.map((writer) => writer.progress(20 + random(200))));
      first.close();
      await Promise.all(crew.writers.map((writer) => writer.kill()));
      using db = store.open();
      crew.check(db);
      assertSound(db);
      assert.equal(db.stats().processes, 1);
      db.close();
      for (const writer of crew.writers) writer.start();
    }
    await Promise.all(crew.writers.map((writer) => writer.progress(1)));
    using db = store.open();
    await crew.end(db);
    await settle(db);
  });
});

describe("a process that is stopped", () => {
  for (const runtime of runtimes) {
    test(`in ${runtime} keeps nobody from reading and writing`, { timeout: 120_000 }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Item, Counter] });
      using crew = new Crew(store, db, runtime === "bun" ? 1 : 2);
      const writer = crew.writers.at(-1);
      assert.ok(writer !== undefined);
      const random = randomNumbers(seed);
      const counters = db.table(Counter);
      counters.insert({ id: 99 });
      const rounds = 12;
      for (let round = 0; round < rounds; round++) {
        await writer.progress(1 + random(50));
        await pause(random(5));
        writer.signal("SIGSTOP");
        for (let i = 0; i < 20; i++) {
          counters.apply(99, { total: { increment: 1 } });
          db.transaction((transaction) => {
            const table = transaction.table(Counter);
            // The counters that the stopped process may be about to write.
            for (let id = 0; id < counterCount; id++) {
              table.update(id, { total: table.get(id)?.total ?? 0 });
            }
          });
          assert.ok(db.table(Item).search("-sort id").length > 0);
        }
        writer.signal("SIGCONT");
      }
      assert.equal(counters.get(99)?.total, rounds * 20);
      writer.signal("SIGSTOP");
      await pause(20);
      await crew.end(db);
      await settle(db);
    });
  }
});

describe("what a process leaves behind when it is killed", () => {
  for (const runtime of runtimes) {
    test(`open transactions, in ${runtime}`, { timeout: 60_000 }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Presence] });
      const presence = db.table(Presence);
      for (let i = 0; i < 10; i++) presence.insert({ id: `p${i}` });
      const { directory, options } = store;
      using child = new Child(runtime, "holder.ts", { directory, options, transactions: 20 });
      assert.equal(await child.next(), "holding");
      assert.equal(db.stats().processes, 2);
      const held = db.stats().slots;
      assert.ok(held >= 20, `${held} slots are taken`);
      presence.update("p1", { place: "here" });
      await child.kill();
      await settle(db);
      assert.deepEqual(presence.get("p1"), { id: "p1", place: "here", visits: 0 });
      assert.equal(presence.count(), 10);
    });

    test(`children of its own, in ${runtime}`, { timeout: 60_000 }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Presence] });
      db.table(Presence).insert({ id: "p0" });
      const { directory, options } = store;
      using child = new Child(runtime, "holder.ts", {
        directory,
        options,
        transactions: 2,
        sleeper: true,
      });
      assert.equal(await child.next(), "holding");
      const sleeper = await child.next() as number;
      try {
        child.signal("SIGKILL");
        // A program that it has started must not keep its place.
        await settle(db);
        process.kill(sleeper, 0);
      } finally {
        process.kill(sleeper, "SIGKILL");
      }
    });
  }
});

describe("a process that forks without starting a program", () => {
  for (const runtime of runtimes) {
    const skip = existsSync("/lib64/ld-linux-x86-64.so.2") ? false : "needs glibc";
    test(`in ${runtime} loses its place when it is killed`, { timeout: 60_000, skip }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Presence] });
      db.table(Presence).insert({ id: "p0" });
      const { directory, options } = store;
      using child = new Child(runtime, "forker.ts", { directory, options });
      assert.equal(await child.next(), "holding");
      const copy = await child.next() as number;
      try {
        child.signal("SIGKILL");
        // The copy lives, and has every descriptor but the one that stands for the place.
        await settle(db);
        process.kill(copy, 0);
      } finally {
        process.kill(copy, "SIGKILL");
      }
    });
  }
});

describe("a Worker that is terminated", () => {
  for (const runtime of runtimes) {
    test(`in ${runtime} leaves nothing, and its process goes on`, { timeout: 60_000 }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Presence] });
      db.table(Presence).insert({ id: "shared" });
      const { directory, options } = store;
      using child = new Child(runtime, "worker_host.ts", { directory, options, rounds: 4 });
      assert.equal(await child.next(), "done");
      await until("the slots come back", () => db.stats().slots === 2);
      db.table(Presence).apply("shared", { visits: { increment: 1 } });
      assertSound(db);
      child.send("leave");
      await child.finish();
      await settle(db);
    });
  }
});
