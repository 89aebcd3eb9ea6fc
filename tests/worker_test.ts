import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

const workerCount = 3;
const rows = 500;

function run(store: Store, name: string): Promise<{ count: number; code: string }> {
  const worker = new Worker(new URL("./process/worker.ts", import.meta.url), {
    workerData: { directory: store.directory, options: store.options, name, rows },
  });
  return new Promise((resolve, reject) => {
    worker.on("message", (message) => {
      resolve(message);
      void worker.terminate();
    });
    worker.on("error", reject);
  });
}

describe("a database open in several Workers", () => {
  test("is one database, and each closes its own", { timeout: 60_000 }, async () => {
    using store = new Store();
    const presence = store.open({ tables: [Presence] }).table(Presence);
    presence.insert({ id: "shared" });
    const names = Array.from({ length: workerCount }, (_, i) => `worker${i}`);
    const results = await Promise.all(names.map((name) => run(store, name)));
    for (const { count, code } of results) {
      assert.ok(count > rows);
      assert.equal(code, "closed");
    }
    assert.equal(presence.count(), workerCount * rows + 1);
    assert.equal(presence.get("shared")?.visits, workerCount * rows);
    for (const name of names) {
      assert.deepEqual(presence.get(`${name}-7`), { id: `${name}-7`, place: name, visits: 7 });
    }
  });
});
