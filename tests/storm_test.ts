/**
 * Kill storms, each aimed at one thing, with and without waiting for the disk: whatever was
 * acknowledged is there, and what is there are whole transactions.
 *
 * Processes that are all killed at once are in `restart_test.ts`. `AEROSTORE_RESTART_ROUNDS` says
 * how often each storm is repeated, `AEROSTORE_RESTART_SEED` makes it the same again, as far as the
 * scheduler of the system allows.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { Crew, PromisingStore } from "./support/crew.ts";
import { leaderOf } from "./support/leader.ts";
import type { Writer } from "./support/ledger.ts";
import { Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";
import { randomNumbers } from "./support/workload.ts";

const rounds = Number(process.env["AEROSTORE_RESTART_ROUNDS"] ?? 1);
const seed = Number(process.env["AEROSTORE_RESTART_SEED"] ?? Date.now() % 1_000_000);
const timeout = 60_000 + rounds * 60_000;

/** The writer that writes the log; waits until one does, and it is not `not`. */
async function leadingWriter(store: PromisingStore, crew: Crew, not?: Writer): Promise<Writer> {
  let found: Writer | undefined;
  await until("a writer leads", () => {
    const { pid } = leaderOf(store);
    found = crew.writers.find((writer) => writer !== not && writer.pid === pid);
    return found !== undefined;
  });
  assert.ok(found !== undefined);
  return found;
}

/** Looks at what a dead writer has left while the others go on, and starts it again. */
function replace(store: PromisingStore, writer: Writer): void {
  using db = store.open();
  writer.check(db);
  db.close();
  writer.start();
}

/** Ends a storm: all are killed, the region is lost where nothing rests on it, all is compared. */
async function settle(store: PromisingStore, crew: Crew, promise: "on" | "off"): Promise<void> {
  await crew.kill();
  if (promise === "on") store.reboot();
  using db = store.open();
  crew.checkAll(db);
}

for (const promise of ["on", "off"] as const) {
  describe(`at ${promise}, nothing acknowledged is lost when kills hit`, () => {
    test("the leader only, again and again", { timeout }, async () => {
      using store = new PromisingStore(promise);
      using crew = new Crew(store, 3, seed);
      const random = randomNumbers(seed);
      crew.start();
      for (let strike = 0; strike < 4 * rounds; strike++) {
        await crew.progress(1 + random(40));
        const leader = await leadingWriter(store, crew);
        await leader.kill();
        await crew.progress(1 + random(10), crew.writers.filter((writer) => writer !== leader));
        replace(store, leader);
      }
      await settle(store, crew, promise);
    });

    test("the leader and the one that takes over from it", { timeout }, async () => {
      using store = new PromisingStore(promise);
      using crew = new Crew(store, 4, seed);
      const random = randomNumbers(seed);
      crew.start();
      for (let strike = 0; strike < 2 * rounds; strike++) {
        await crew.progress(1 + random(40));
        const first = await leadingWriter(store, crew);
        await first.kill();
        const second = await leadingWriter(store, crew, first);
        await second.kill();
        const dead = [first, second];
        await crew.progress(
          1 + random(10),
          crew.writers.filter((writer) => !dead.includes(writer)),
        );
        for (const writer of dead) replace(store, writer);
      }
      await settle(store, crew, promise);
    });

    test("whoever writes a checkpoint", { timeout }, async () => {
      using store = new PromisingStore(promise);
      using crew = new Crew(store, 2, seed);
      const random = randomNumbers(seed);
      const { directory, options } = store;
      crew.start();
      for (let strike = 0; strike < 3 * rounds; strike++) {
        const runtime = runtimes[strike % 2] ?? "bun";
        using checkpointer = new Child(runtime, "checkpointer.ts", { directory, options });
        for (let count = random(4); count >= 0; count--) await checkpointer.next();
        await crew.progress(1 + random(20));
        await checkpointer.kill();
      }
      await settle(store, crew, promise);
    });

    test("whoever opens the database, before it is open", { timeout }, async () => {
      using store = new PromisingStore(promise);
      {
        // So that there is something to load.
        const rows = Array.from({ length: 20_000 }, (_, i) => ({ id: `p${i}`, place: "gate" }));
        using db = store.open({ tables: [Presence] });
        db.table(Presence).upsertMany(rows, { atomic: false });
        db.close();
      }
      using crew = new Crew(store, 2, seed);
      const random = randomNumbers(seed);
      const { directory, options } = store;
      for (let round = 0; round < rounds; round++) {
        crew.start();
        await crew.progress(20 + random(50));
        await crew.kill();
        if (promise === "on") store.reboot();
        for (let strike = 0; strike < 4; strike++) {
          // Every second pair builds the region anew, whatever there is.
          const warm = strike < 2 ? "always" : "never";
          using opener = new Child(runtimes[strike % 2] ?? "bun", "recoverer.ts", {
            directory,
            options: { ...options, warm },
          });
          let last = await opener.next();
          // The first is hit while it opens; the others where chance will have it.
          for (let count = strike === 0 ? 0 : random(4); count > 0 && last !== "open"; count--) {
            last = await opener.next();
          }
          await new Promise((resolve) => setTimeout(resolve, random(6)));
          await opener.kill();
        }
        using db = store.open();
        crew.checkAll(db);
        assert.equal(db.table(Presence).count(), 20_000);
        db.close();
      }
    });

    test("a leader that was stopped, replaced and woken up", { timeout }, async () => {
      // A stopped process may hold back all that is superseded meanwhile.
      using store = new PromisingStore(promise, "512MiB");
      using crew = new Crew(store, 3, seed);
      const random = randomNumbers(seed);
      crew.start();
      for (let strike = 0; strike < rounds; strike++) {
        await crew.progress(5 + random(20));
        const leader = await leadingWriter(store, crew);
        const before = leaderOf(store).changes;
        leader.signal("SIGSTOP");
        const others = crew.writers.filter((writer) => writer !== leader);
        await crew.progress(5, others);
        await until("another one leads", () => leaderOf(store).changes > before);
        await crew.progress(5, others);
        // It finds that it does not lead, whatever it was about to write, and goes on as a writer.
        leader.signal("SIGCONT");
        await crew.progress(10);
        assert.notEqual((await leadingWriter(store, crew)).pid, leader.pid);
        await leader.kill();
        replace(store, leader);
      }
      await crew.progress(1);
      await settle(store, crew, promise);
    });
  });
}
