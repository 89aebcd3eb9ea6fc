/** What a memory file system that is full does to opening, and to a region that grows. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

/** A memory file system of a few mebibytes. Bind it with `using`. */
class SmallFileSystem implements Disposable {
  readonly path: string;
  /** Whether it could be mounted: that takes rights which tests seldom have. */
  readonly mounted: boolean;

  constructor(parent: string, mebibytes: number) {
    this.path = join(parent, "small");
    mkdirSync(this.path);
    const options = ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "aerostore-test", this.path];
    this.mounted = spawnSync("mount", options).status === 0;
  }

  [Symbol.dispose](): void {
    // Lazily, because a database in it may still be open when a test fails.
    if (this.mounted) spawnSync("umount", ["--lazy", this.path]);
  }
}

test("a file system without room for a region is disk_full", (context) => {
  using store = new Store();
  using small = new SmallFileSystem(store.root, 1);
  if (!small.mounted) return context.skip("needs the right to mount a file system");
  const open = () => store.open({ shmPath: small.path, size: "64MiB", tables: [Presence] });
  assert.throws(open, { code: "disk_full" });
});

test("one that is full before the region is region_full, and no row is lost", (context) => {
  using store = new Store();
  using small = new SmallFileSystem(store.root, 24);
  if (!small.mounted) return context.skip("needs the right to mount a file system");
  const db = store.open({ shmPath: small.path, size: "256MiB", tables: [Presence] });
  const table = db.table(Presence);
  let written = 0;
  const fill = () => {
    for (;; written++) table.insert({ id: `row ${written}`, place: "gate" });
  };
  assert.throws(fill, { code: "region_full" });
  assert.ok(written > 1000);
  assert.equal(table.count(), written);
  assert.equal(table.get("row 0")?.place, "gate");
  assert.equal(table.get(`row ${written - 1}`)?.place, "gate");
  assert.equal(db.verify().ok, true);
  for (let i = 0; i < 500; i++) table.delete(`row ${i}`);
  table.insert({ id: "after", place: "gate" });
  assert.equal(table.has("after"), true);
  db.close();
});
