import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

const rows = 400;

interface Report {
  readonly inserted: number;
}

describe("Bun and Deno processes at the same time", () => {
  test("work on the same rows, each key inserted once", { timeout: 120_000 }, async () => {
    using store = new Store();
    const presence = store.open({ tables: [Presence] }).table(Presence);
    presence.insert({ id: "shared" });

    const names = runtimes.flatMap((runtime) => [`${runtime}-1`, `${runtime}-2`]);
    const children = names.map((name) => {
      const runtime = runtimes.find((candidate) => name.startsWith(candidate)) ?? "bun";
      const { directory, options } = store;
      return new Child(runtime, "writer.ts", { directory, options, name, rows });
    });
    try {
      for (const child of children) assert.equal(await child.next(), "started");
      for (const child of children) child.send("write");
      let inserted = 0;
      for (const child of children) {
        const report = await child.next() as Report;
        inserted += report.inserted;
        await child.finish();
      }
      assert.equal(inserted, rows);
    } finally {
      for (const child of children) child[Symbol.dispose]();
    }

    assert.equal(presence.get("shared")?.visits, names.length * rows);
    assert.equal(presence.count(), 1 + rows + names.length * rows);
    for (const name of names) {
      assert.deepEqual(presence.get(`${name}-${rows - 1}`), {
        id: `${name}-${rows - 1}`,
        place: name,
        visits: rows - 1,
      });
    }
  });

  test("see at once what the other runtime committed", { timeout: 120_000 }, async () => {
    for (const runtime of runtimes) {
      using store = new Store();
      const presence = store.open({ tables: [Presence] }).table(Presence);
      presence.insert({ id: "shared", visits: 100 });
      using child = new Child(runtime, "writer.ts", {
        directory: store.directory,
        options: store.options,
        name: "child",
        rows: 1,
      });
      assert.equal(await child.next(), "started");
      child.send("write");
      assert.deepEqual(await child.next(), {
        inserted: 1,
        seen: { id: "shared", place: null, visits: 101 },
      });
      assert.equal(presence.get("child-0")?.place, "child");
      await child.finish();
    }
  });
});
