import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { otherLibrary } from "./support/mutated_library.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

/** What `opener.ts` tells. */
interface Opened {
  readonly tables?: readonly string[];
  readonly code?: string;
  readonly message?: string;
}

describe("libraries of two layouts on one database", () => {
  test("do not share a region, and lose nothing", { timeout: 240_000 }, async () => {
    const libraryPath = await otherLibrary();
    for (const runtime of runtimes) {
      using store = new Store();
      const openOther = async () => {
        const options = { shmPath: store.shmPath, libraryPath };
        using child = new Child(runtime, "opener.ts", { directory: store.directory, options });
        const answer = await child.next() as Opened;
        await child.finish();
        return answer;
      };

      // While one is at work, the other is refused, and the first goes on.
      const db = store.open({ tables: [Presence] });
      db.table(Presence).insert({ id: "before" });
      const refused = await openOther();
      assert.equal(refused.code, "layout_version");
      assert.ok(refused.message?.includes(store.directory));
      db.table(Presence).insert({ id: "after" });
      assert.equal(db.close().pending, 0);

      // Once nobody is, and all is in the log, each builds a region of its own from the files.
      assert.deepEqual((await openOther()).tables, [Presence.name]);
      const again = store.open();
      assert.ok(again.stats().recovery !== null);
      const ids = again.table(Presence).query().sort("id").all().map((row) => row.id);
      assert.deepEqual(ids, ["after", "before"]);
      assert.ok(again.verify().ok);
    }
  });
});
