/** What a full file system does to opening, to a region that grows, and to a log. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { Aerostore, AerostoreError } from "../mod.ts";
import { Child } from "./support/children.ts";
import { leaderOf } from "./support/leader.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";

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

test("a disk that is full refuses commits before they share anything, until there is room", {
  timeout: 60_000,
}, async (context) => {
  using store = new Store();
  using small = new SmallFileSystem(store.root, 16);
  if (!small.mounted) return context.skip("needs the right to mount a file system");
  const ballast = join(small.path, "ballast");
  writeFileSync(ballast, new Uint8Array(9 << 20));
  const directory = join(small.path, "data");
  const options = { ...store.options, size: "64MiB", checkpointIntervalSecs: 0 };
  const db = Aerostore.open(directory, { ...options, tables: [Presence] });
  const table = db.table(Presence);
  let written = 0;
  const fill = () => {
    for (;; written++) table.insert({ id: `row ${written}`, place: "gate" });
  };
  assert.throws(fill, { code: "disk_full", message: /row|disk/ });
  // A checkpoint may have given room meanwhile. There are more rows each time, so it ends.
  const expectRefusal = (change: () => void) => {
    for (;;) {
      try {
        change();
      } catch (error) {
        assert.ok(error instanceof AerostoreError && error.code === "disk_full", String(error));
        return;
      }
      assert.throws(fill, { code: "disk_full" });
    }
  };
  expectRefusal(() => table.update("row 0", { place: "bar" }));
  expectRefusal(() =>
    db.transaction((transaction) => transaction.table(Presence).update("row 1", { place: "bar" }))
  );
  // Reading goes on, and what was refused is not there.
  assert.ok(written > 1000, `${written} rows`);
  assert.equal(table.count(), written);
  assert.equal(table.has(`row ${written}`), false);
  // There may be room for a snapshot, but what was committed last has to be in the log before it.
  try {
    assert.equal(db.checkpoint().rows, written);
  } catch (error) {
    assert.ok(error instanceof AerostoreError && error.code === "disk_full", String(error));
  }
  rmSync(ballast);
  await until("there is room again", () => db.stats().log.state === "working");
  table.insert({ id: "after", place: "gate" });
  await db.flush();
  assert.deepEqual(db.close(), { pending: 0, log: "working" });
  for (const name of readdirSync(store.shmPath)) rmSync(join(store.shmPath, name));
  using again = Aerostore.open(directory, options);
  assert.equal(again.table(Presence).count(), written + 1);
  assert.equal(again.table(Presence).has(`row ${written - 1}`), true);
});

test("a log that fills the disk gets its room back by checkpoints, again and again", {
  timeout: 120_000,
}, async (context) => {
  using store = new Store();
  const mebibytes = 24;
  using small = new SmallFileSystem(store.root, mebibytes);
  if (!small.mounted) return context.skip("needs the right to mount a file system");
  const directory = join(small.path, "data");
  const options = { ...store.options, size: "64MiB", checkpointIntervalSecs: 0 };
  const db = Aerostore.open(directory, { ...options, tables: [Presence] });
  const table = db.table(Presence);
  const rows = (visits: number) =>
    Array.from({ length: 2000 }, (_, i) => ({ id: `row ${i}`, place: "gate", visits }));
  // The rows stay as many as they are, and each is written again and again.
  let refused = 0;
  let visits = 0;
  while (db.stats().log.bytes < 4 * mebibytes * 2 ** 20) {
    try {
      table.upsertMany(rows(visits + 1));
      visits++;
    } catch (error) {
      assert.ok(error instanceof AerostoreError && error.code === "disk_full", String(error));
      refused++;
      await until("there is room again", () => db.stats().log.state === "working");
    }
  }
  assert.ok(refused >= 2, `refused ${refused} times`);
  assert.ok(db.stats().log.checkpoints >= refused);
  await db.flush();
  assert.deepEqual(db.close(), { pending: 0, log: "working" });
  for (const name of readdirSync(store.shmPath)) rmSync(join(store.shmPath, name));
  using again = Aerostore.open(directory, options);
  assert.equal(again.table(Presence).count(), 2000);
  assert.equal(again.table(Presence).search(`-compare {{= visits ${visits}}}`).length, 2000);
  assert.equal(again.verify().ok, true);
});

/** Writes files into a directory until its file system has no room for a page. */
function fillUp(directory: string): void {
  for (const size of [1 << 20, 1 << 16, 1 << 12]) {
    for (let i = 0;; i++) {
      try {
        writeFileSync(join(directory, `ballast-${size}-${i}`), new Uint8Array(size));
      } catch {
        break;
      }
    }
  }
}

test("a leader that is killed on a full disk is replaced, and the log goes on by itself", {
  timeout: 60_000,
}, async (context) => {
  using store = new Store();
  using small = new SmallFileSystem(store.root, 24);
  if (!small.mounted) return context.skip("needs the right to mount a file system");
  const directory = join(small.path, "data");
  const options = { ...store.options, size: "64MiB", checkpointIntervalSecs: 0 };
  const role = { names: [], name: "nobody", ms: 0 };
  using child = new Child("bun", "observer.ts", { directory, options, ...role });
  assert.equal(await child.next(), "ready");
  const db = Aerostore.open(directory, { ...options, tables: [Presence] });
  const table = db.table(Presence);
  for (const visits of [1, 2]) {
    table.upsertMany(Array.from({ length: 500 }, (_, i) => ({ id: `row ${i}`, visits })));
    db.checkpoint();
  }
  await db.flush();
  assert.equal(leaderOf(store).pid, child.pid);
  fillUp(small.path);
  table.upsert({ id: "row 0", visits: 3 });
  await child.kill();
  const { leaderChanges } = db.stats().log;
  await until("this process writes the log", () => {
    const { state, leaderChanges: now } = db.stats().log;
    return state === "working" && now > leaderChanges;
  });
  assert.equal(leaderOf(store).pid, process.pid);
  await db.flush();
  await until("commits are taken", () => {
    try {
      table.upsert({ id: "row 1", visits: 4 });
      return true;
    } catch (error) {
      assert.ok(error instanceof AerostoreError && error.code === "disk_full", String(error));
      return false;
    }
  });
  await db.flush();
  db.close();
  for (const name of readdirSync(store.shmPath)) rmSync(join(store.shmPath, name));
  using again = Aerostore.open(directory, { ...options, tables: [Presence] });
  const rows = again.table(Presence);
  assert.equal(rows.count(), 500);
  assert.equal(rows.get("row 0")?.visits, 3);
  assert.equal(rows.get("row 1")?.visits, 4);
  assert.equal(again.verify().ok, true);
});

test("closing while the disk is full tells what is not on it, and the next opener writes it", {
  timeout: 60_000,
}, (context) => {
  using store = new Store();
  using small = new SmallFileSystem(store.root, 16);
  if (!small.mounted) return context.skip("needs the right to mount a file system");
  const ballast = join(small.path, "ballast");
  writeFileSync(ballast, new Uint8Array(9 << 20));
  const directory = join(small.path, "data");
  const options = { ...store.options, size: "64MiB", checkpointIntervalSecs: 0 };
  let written = 0;
  const fillAndClose = () => {
    const db = Aerostore.open(directory, { ...options, tables: [Presence] });
    const table = db.table(Presence);
    const fill = () => {
      for (;; written++) table.insert({ id: `row ${written}`, place: "gate" });
    };
    assert.throws(fill, { code: "disk_full" });
    return db.close();
  };
  // A checkpoint may have given room meanwhile. There are more rows each time, so it ends.
  let closed = fillAndClose();
  while (closed.log !== "no_space") closed = fillAndClose();
  const { pending } = closed;
  assert.ok(pending >= 0);
  // A region that has more than the log has is not given up.
  const cold = () => Aerostore.open(directory, { ...options, warm: "never" });
  if (pending > 0) assert.throws(cold, { code: "disk_full", message: /its region has commits/ });
  rmSync(ballast);
  using again = Aerostore.open(directory, options);
  assert.equal(again.table(Presence).count(), written);
  again.flushSync();
  assert.deepEqual(again.close(), { pending: 0, log: "working" });
});
