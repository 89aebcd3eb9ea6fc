/**
 * Writers on both runtimes that work on one database and are killed together or one by one.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Aerostore, OpenOptions } from "../../mod.ts";
import { runtimes } from "./children.ts";
import { Writer } from "./ledger.ts";
import { Store } from "./store.ts";
import { assertSound } from "./verify.ts";
import { Counter, counterCount, Item } from "./workload.ts";

/** A store whose processes all promise the same. */
export class PromisingStore extends Store {
  readonly #promise: "on" | "off";
  readonly #size: string;

  constructor(promise: "on" | "off", size = "16MiB") {
    super();
    this.#promise = promise;
    this.#size = size;
  }

  override get options(): OpenOptions {
    return { ...super.options, size: this.#size, synchronousCommit: this.#promise };
  }

  /** Removes the region, as a reboot does. Nobody may have it open. */
  reboot(): void {
    for (const name of readdirSync(this.shmPath)) rmSync(join(this.shmPath, name));
  }
}

/** Writers on both runtimes, and what they have done together. Bind it with `using`. */
export class Crew implements Disposable {
  readonly writers: readonly Writer[];

  constructor(store: Store, count: number, seed: number) {
    using db = store.open({ tables: [Item, Counter] });
    for (let id = 0; id < counterCount; id++) db.table(Counter).insert({ id });
    db.flushSync();
    this.writers = Array.from(
      { length: count },
      (_, i) => new Writer(store, runtimes[i % 2] ?? "bun", `w${i}`, seed + i),
    );
  }

  /** Starts all of them. */
  start(): void {
    for (const writer of this.writers) writer.start();
  }

  /** Waits until each, or each of some, has done `count` more operations. */
  async progress(count: number, some: readonly Writer[] = this.writers): Promise<void> {
    await Promise.all(some.map((writer) => writer.progress(count)));
  }

  /** Kills all of them. */
  async kill(): Promise<void> {
    await Promise.all(this.writers.map((writer) => writer.kill()));
  }

  /** Checks, when all are dead, that nothing acknowledged is missing, from start to end. */
  checkAll(db: Aerostore): void {
    for (const writer of this.writers) writer.check(db);
    this.check(db);
    // No position is left that is not decided, and none behind it that is not on the disk.
    const { position } = db.stats();
    db.flushSync();
    const { durable, drained } = db.stats().log;
    assert.ok(drained >= position && durable >= position, `${durable} of ${position}`);
  }

  /** Compares everything, when each writer knows how far it got. */
  check(db: Aerostore): void {
    const rows = this.writers.flatMap(({ workload }) => [...workload.rows.values()]);
    rows.sort((a, b) => a.id < b.id ? -1 : 1);
    assert.deepEqual(db.table(Item).search("-sort id").all(), rows);
    const owned = db.table(Item).search("-compare {{= owner w0}} -sort id").all();
    assert.deepEqual(owned, rows.filter((row) => row.owner === "w0"));
    for (let id = 0; id < counterCount; id++) {
      const added = this.writers.reduce((sum, { workload }) => sum + (workload.added[id] ?? 0), 0);
      assert.equal(db.table(Counter).get(id)?.total, added, `counter ${id}`);
    }
    assertSound(db);
  }

  [Symbol.dispose](): void {
    for (const writer of this.writers) writer[Symbol.dispose]();
  }
}
