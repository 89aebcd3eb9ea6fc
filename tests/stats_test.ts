/** Every figure of `stats()` moves when that happens which it counts, and only then. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Aerostore, Stats } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Everything, Field, Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";
import { Counter } from "./support/workload.ts";

/** What some of the figures that only grow have grown by. */
function grown<Name extends keyof Stats>(before: Stats, after: Stats, ...names: Name[]): number[] {
  return names.map((name) => Number(after[name]) - Number(before[name]));
}

const counts = ["commits", "aborts", "conflicts", "kicks", "skips", "retries"] as const;

describe("stats() counts", () => {
  test("commits, each transaction once, and nothing that only reads or is given up", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    const before = db.stats();
    table.insert({ id: "A" });
    table.upsertMany([{ id: "B" }, { id: "C" }]);
    db.transaction((transaction) => {
      transaction.table(Presence).update("A", { visits: 1 });
      transaction.table(Presence).update("B", { visits: 1 });
    });
    table.get("A");
    db.transaction((transaction) => transaction.table(Presence).get("A"), { readOnly: true });
    db.begin().abort();
    using given = db.begin();
    given.table(Presence).delete("A");
    given.abort();
    assert.throws(() => table.insert({ id: "A" }), { code: "duplicate_key" });
    const after = db.stats();
    assert.deepEqual(grown(before, after, ...counts), [3, 0, 0, 0, 0, 0]);
    assert.ok(after.position >= before.position + 3);
  });

  test("aborts and conflicts, by what validation refuses", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.upsertMany([{ id: "A" }, { id: "B" }]);
    const before = db.stats();
    using loser = db.begin();
    loser.table(Presence).get("A");
    table.update("A", { visits: 1 });
    loser.table(Presence).update("B", { visits: 1 });
    assert.throws(() => loser.commit(), { code: "serialization_failure" });
    assert.deepEqual(grown(before, db.stats(), ...counts), [1, 1, 1, 0, 0, 0]);
  });

  for (const runtime of runtimes) {
    test(`kicks, skips, retries and waits, for a process of ${runtime} that stops`, {
      timeout: 120_000,
    }, async () => {
      using store = new Store();
      const db = store.open({ tables: [Counter] });
      const counters = db.table(Counter);
      counters.insert({ id: 0 });
      const { directory, options } = store;
      using child = new Child(runtime, "incrementer.ts", { directory, options });
      assert.equal(await child.next(), "ready");
      child.send({ by: "apply", times: 1_000_000_000 });
      await until("it writes", () => counters.get(0)?.total !== 0);
      const names = ["kicks", "skips", "retries", "waits"] as const;
      const still = new Set<string>(names);
      for (const started = Date.now(); still.size > 0 && Date.now() - started < 90_000;) {
        child.signal("SIGSTOP");
        for (let i = 0; i < 3; i++) counters.apply(0, { total: { increment: 1 } });
        child.signal("SIGCONT");
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
        const stats = db.stats();
        for (const name of names) if (stats[name] > 0) still.delete(name);
      }
      assert.deepEqual([...still], []);
      await child.kill();
      await until("it is recovered", () => db.stats().recoveredProcesses === 1);
      assert.equal(db.stats().processes, 1);
    });
  }

  test("processes and slots that are taken", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "p1" });
    const before = db.stats();
    assert.equal(before.processes, 1);
    const open = [db.begin(), db.begin(), db.begin()];
    assert.ok(db.stats().slots >= 3 && db.stats().slots <= before.slots + 3);
    for (const transaction of open) transaction.abort();
    const { directory, options } = store;
    using child = new Child("deno", "holder.ts", { directory, options, transactions: 5 });
    assert.equal(await child.next(), "holding");
    const with5 = db.stats();
    assert.equal(with5.processes, 2);
    assert.ok(with5.slots >= 6, `${with5.slots} slots`);
    using other = new Child("bun", "incrementer.ts", { directory, options });
    assert.equal(await other.next(), "ready");
    assert.equal(db.stats().processes, 3);
    await other.finish();
    await until("it has left", () => db.stats().processes === 2);
    assert.equal(db.stats().recoveredProcesses, 0, "who leaves in order needs no recovery");
    await child.kill();
    await until("it is recovered", () => db.stats().recoveredProcesses === 1);
    assert.equal(db.stats().processes, 1);
    assert.ok(db.stats().slots <= 3);
  });
});

/** Commits so often. */
function commit(db: Aerostore, times: number): void {
  const table = db.table(Presence);
  for (let i = 0; i < times; i++) table.apply("A", { visits: { increment: 1 } });
}

describe("stats() measures", () => {
  test("how far the oldest snapshot is behind, and what waits for it", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A" });
    const reader = db.begin({ readOnly: true });
    const view = reader.table(Presence).get("A");
    commit(db, 500);
    const held = db.stats();
    assert.ok(held.horizonLag >= 500, `${held.horizonLag} positions behind`);
    assert.ok(held.logEntries >= 500, `${held.logEntries} entries wait`);
    assert.equal(view?.visits, 0);
    assert.equal(held.revokedSnapshots, 0);
    reader.commit();
    await until("the horizon has followed, and the log is drained", () => {
      commit(db, 10);
      const { horizonLag, logEntries } = db.stats();
      return horizonLag < 100 && logEntries < 200;
    });
  });

  test("memory by what it holds", () => {
    using store = new Store();
    const db = store.open({ tables: [Everything, Field], size: "64MiB" });
    const first = db.stats().memory;
    const note = "n".repeat(500);
    const everything = db.table(Everything);
    everything.upsertMany(Array.from({ length: 2000 }, (_, i) => ({ id: `row ${i}`, note })));
    const second = db.stats().memory;
    assert.ok(second.versions - first.versions >= 2000 * 500, "the texts are in versions");
    assert.ok(second.rows > first.rows, "each row has a node");
    assert.equal(second.indexes, first.indexes, "the table has no index");
    assert.ok(second.logs > 0);
    const rows = Array.from({ length: 20_000 }, (_, id) => ({ id, round: 0, serial: id }));
    db.table(Field).upsertMany(rows);
    const third = db.stats();
    assert.ok(third.memory.indexes - second.indexes >= 20_000 * 16, "each row has an entry");
    assert.ok(third.memory.other > 0, "the catalogue takes some");
    const sum = Object.values(third.memory).reduce((total, part) => total + part, 0);
    assert.ok(sum <= third.regionSize && third.regionSize <= third.regionSizeMax);
    assert.deepEqual(third.tables, [{ name: "Everything", rows: 2000 }, {
      name: "Field",
      rows: 20_000,
    }]);
    everything.delete("row 0");
    assert.equal(db.stats().tables[0]?.rows, 1999);
  });
});
