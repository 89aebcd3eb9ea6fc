/**
 * What is there after all processes died, after the region is gone as it is after a reboot, and
 * after files were moved, damaged or removed.
 *
 * `AEROSTORE_RESTART_ROUNDS` says how often each storm is repeated, `AEROSTORE_RESTART_SEED` makes
 * it the same again, as far as the scheduler of the system allows.
 */

import assert from "node:assert/strict";
import type { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { Aerostore, AerostoreError, type OpenOptions, type RecoveryProgress } from "../mod.ts";
import { Child } from "./support/children.ts";
import { Crew, PromisingStore } from "./support/crew.ts";
import type { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";
import { assertSound, until } from "./support/verify.ts";
import { Counter, randomNumbers } from "./support/workload.ts";

const rounds = Number(process.env["AEROSTORE_RESTART_ROUNDS"] ?? 2);
const seed = Number(process.env["AEROSTORE_RESTART_SEED"] ?? Date.now() % 1_000_000);

/** Changes the bytes of the region of a store that nobody has open; returns its name. */
function changeRegion(store: Store, change: (bytes: Buffer) => void): string {
  const [name = ""] = readdirSync(store.shmPath);
  const file = join(store.shmPath, name);
  const bytes = readFileSync(file);
  change(bytes);
  writeFileSync(file, bytes);
  return name;
}

/** The magic stands first, then the version of the layout. */
function setOtherLayout(bytes: Buffer): void {
  bytes[8] = (bytes[8] ?? 0) ^ 0x55;
}

describe("after all processes were killed at once", () => {
  const timeout = 60_000 + rounds * 30_000;

  for (const promise of ["on", "off"] as const) {
    test(`the region has all that was acknowledged at ${promise}`, { timeout }, async () => {
      using store = new PromisingStore(promise);
      using crew = new Crew(store, 3, seed);
      const random = randomNumbers(seed);
      for (let round = 0; round < rounds; round++) {
        crew.start();
        await crew.progress(20 + random(100));
        await crew.kill();
        using db = store.open();
        crew.checkAll(db);
        assert.equal(db.stats().recovery, null);
        db.table(Counter).apply(0, { total: { increment: 0 } });
        db.flushSync();
        db.close();
      }
    });
  }

  test("and a reboot, the files have all that was acknowledged at on", { timeout }, async () => {
    using store = new PromisingStore("on");
    using crew = new Crew(store, 3, seed);
    const random = randomNumbers(seed);
    for (let round = 0; round < rounds; round++) {
      crew.start();
      await crew.progress(20 + random(100));
      await crew.kill();
      store.reboot();
      const phases = new Set<RecoveryProgress["phase"]>();
      using db = store.open({ onRecovery: ({ phase }) => phases.add(phase) });
      for (const writer of crew.writers) writer.check(db);
      crew.check(db);
      assert.ok(phases.size > 0, "onRecovery was not called");
      const { recovery } = db.stats();
      assert.ok(recovery !== null && recovery.rowsReplayed + recovery.rowsLoaded > 0);
      db.close();
    }
  });

  test("and a reboot, the files have a prefix of what was done at off", { timeout }, async () => {
    using store = new PromisingStore("off");
    using crew = new Crew(store, 3, seed);
    const random = randomNumbers(seed);
    for (let round = 0; round < rounds; round++) {
      crew.start();
      await crew.progress(20 + random(200));
      using watcher = store.open();
      const least = crew.writers.map((writer) => writer.acknowledged);
      await watcher.flush();
      watcher.close();
      await crew.progress(20 + random(200));
      await crew.kill();
      store.reboot();
      using db = store.open();
      crew.writers.forEach((writer, i) => writer.checkPrefix(db, least[i] ?? 0));
      crew.check(db);
      db.close();
    }
  });
});

/** A store with some rows, all of them on disk, that nobody has open. */
function filledStore(rows: number, size = "16MiB"): PromisingStore {
  const store = new PromisingStore("on");
  using db = store.open({ tables: [Presence], size });
  for (let i = 0; i < rows; i++) db.table(Presence).insert({ id: `p${i}`, place: "here" });
  assert.equal(db.close().pending, 0);
  return store;
}

/** The file of the log that has most in it. */
function logFile(store: Store): string {
  const names = readdirSync(store.directory).filter((name) => name.endsWith(".wal"));
  const used = (path: string) => readFileSync(path).findLastIndex((byte) => byte !== 0);
  const paths = names.map((name) => join(store.directory, name));
  return paths.reduce((best, path) => used(path) > used(best) ? path : best);
}

describe("a directory", () => {
  test("that is copied opens as a database of its own", () => {
    using store = filledStore(50);
    const copy = join(store.root, "copy");
    cpSync(store.directory, copy, { recursive: true });
    using original = store.open();
    using other = Aerostore.open(copy, store.options);
    assert.notEqual(other.stats().regionPath, original.stats().regionPath);
    other.table(Presence).insert({ id: "only there" });
    original.table(Presence).delete("p0");
    assert.equal(other.table(Presence).count(), 51);
    assert.equal(original.table(Presence).count(), 49);
    assertSound(other);
    other.close();
    original.close();
    store.reboot();
    using again = Aerostore.open(copy, store.options);
    assert.equal(again.table(Presence).count(), 51);
    again.close();
    assert.equal(store.open().table(Presence).count(), 49);
  });

  test("keeps every file as it was when it is recovered", () => {
    using store = filledStore(50);
    {
      using db = store.open();
      db.checkpoint();
      db.table(Presence).insert({ id: "behind the checkpoint" });
      db.close();
    }
    store.reboot();
    const contents = () =>
      new Map(
        readdirSync(store.directory).map((name) =>
          [name, readFileSync(join(store.directory, name)).toString("base64")] as const
        ),
      );
    const before = contents();
    using db = store.open();
    assert.ok(db.stats().recovery !== null);
    const after = contents();
    assert.ok(before.size >= 3 && [...before.keys()].some((name) => name.endsWith(".dat")));
    for (const [name, bytes] of before) assert.ok(after.get(name) === bytes, name);
    assert.equal(db.table(Presence).count(), 51);
  });

  test("keeps its files private", () => {
    using store = filledStore(10);
    store.open().checkpoint();
    const names = readdirSync(store.directory);
    assert.ok(names.some((name) => /^aerostore-[0-9a-f]{8}\.wal$/.test(name)), names.join());
    assert.ok(names.some((name) => /^snapshot-\d+\.dat$/.test(name)), names.join());
    for (const name of names) {
      assert.equal(statSync(join(store.directory, name)).mode & 0o777, 0o600, name);
    }
  });

  test("on a file system that is read-only is refused", (context) => {
    using store = new PromisingStore("on");
    const place = join(store.root, "mounted");
    mkdirSync(place);
    const mount = (...options: string[]) => spawnSync("mount", [...options, place]).status === 0;
    if (!mount("-t", "tmpfs", "-o", "size=16m", "aerostore-test")) {
      return context.skip("needs the right to mount a file system");
    }
    try {
      const directory = join(place, "data");
      Aerostore.open(directory, { ...store.options, tables: [Presence] }).close();
      assert.ok(mount("-o", "remount,ro"));
      for (const readOnly of [false, true]) {
        const open = () => Aerostore.open(directory, { ...plainOptions(store), readOnly });
        assert.throws(open, { code: "permission_denied", message: /LOCK/ });
      }
    } finally {
      spawnSync("umount", ["--lazy", place]);
    }
  });
});

/** The options without a promise, which whoever only reads cannot make. */
function plainOptions({ shmPath }: Store): OpenOptions {
  return { size: "16MiB", shmPath };
}

describe("a region file", () => {
  test("that is removed under a live process: newcomers are refused, it goes on", async () => {
    using store = filledStore(10);
    const db = store.open();
    store.reboot();
    const { directory } = store;
    using child = new Child("deno", "opener.ts", { directory, options: plainOptions(store) });
    const { code, message } = await child.next() as { code: string; message: string };
    assert.equal(code, "region_lost");
    assert.match(message, /processes use/);
    db.table(Presence).insert({ id: "after" });
    assert.equal(db.close().pending, 0);
    assert.equal(store.open().table(Presence).count(), 11);
  });

  test("of another layout is made anew of the files", () => {
    using store = filledStore(10);
    changeRegion(store, setOtherLayout);
    const db = store.open();
    assert.equal(db.table(Presence).count(), 10);
    assert.ok(db.stats().recovery !== null);
  });
});

describe("a region of another layout that has commits which are not in the log", () => {
  test("is refused, until somebody gives them up", () => {
    using store = filledStore(10);
    const name = changeRegion(store, (bytes) => {
      setOtherLayout(bytes);
      // The last position stands at the beginning of the control part, whose place the header has.
      const next = Number(bytes.readBigUInt64LE(80));
      bytes.writeBigUInt64LE(bytes.readBigUInt64LE(next) + 1n, next);
    });
    const refused = { code: "layout_version", message: /not in the log.*salvage: "files"/ };
    assert.throws(() => store.open(), refused);
    assert.throws(() => store.open({ salvage: "prefix", warm: "never" }), refused);
    assert.deepEqual(readdirSync(store.shmPath), [name]);
    const db = store.open({ salvage: "files" });
    assert.equal(db.table(Presence).count(), 10);
    assert.match(
      db.stats().recovery === null ? "" : readdirSync(store.shmPath).join(),
      /\.retired/,
    );
    db.table(Presence).insert({ id: "after" });
    db.close();
    assert.equal(store.open().table(Presence).count(), 11);
  });
});

describe("a region whose header has a flipped bit", () => {
  /** The bytes that mean something; the others are zero and are not looked at. */
  const headerSize = 168;

  test("opens with all rows, or is refused", { timeout: 120_000 }, () => {
    using store = filledStore(10, "4MiB");
    const [name = ""] = readdirSync(store.shmPath);
    const file = join(store.shmPath, name);
    const sound = readFileSync(file);
    // Who opens it goes on in the log, so each looks at the same one.
    const saved = join(store.root, "saved");
    cpSync(store.directory, saved, { recursive: true });
    const outcomes = { trusted: 0, rebuilt: 0, refused: 0 };
    const stride = rounds > 2 ? 1 : 7;
    for (let at = seed % stride; at < headerSize; at += stride) {
      store.reboot();
      for (const one of readdirSync(store.directory)) rmSync(join(store.directory, one));
      cpSync(saved, store.directory, { recursive: true });
      const bytes = Uint8Array.from(sound);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      writeFileSync(file, bytes, { mode: 0o600 });
      try {
        const options = { shmPath: store.shmPath, size: "4MiB" };
        const db = Aerostore.open(store.directory, options);
        assert.equal(db.table(Presence).count(), 10, `byte ${at}`);
        assert.equal(db.table(Presence).get("p9")?.place, "here", `byte ${at}`);
        outcomes[db.stats().recovery === null ? "trusted" : "rebuilt"] += 1;
        db.close();
      } catch (error) {
        if (!(error instanceof AerostoreError)) throw error;
        outcomes.refused += 1;
      }
    }
    assert.ok(outcomes.rebuilt > 5, JSON.stringify(outcomes));
    console.log(`flipped bits in the header of a region: ${JSON.stringify(outcomes)}`);
  });
});

describe("a region that nobody uses, and warm", () => {
  const timeout = 60_000;

  test("never builds another one from the files, and keeps none aside", () => {
    using store = filledStore(20);
    const inode = () =>
      readdirSync(store.shmPath).map((name) => statSync(join(store.shmPath, name)).ino);
    const before = inode();
    const db = store.open({ warm: "never" });
    assert.equal(db.table(Presence).count(), 20);
    assert.equal(db.stats().recovery?.rowsReplayed, 20);
    assert.ok(inode().length === 1 && inode()[0] !== before[0]);
    assertSound(db);
    db.table(Presence).insert({ id: "later" });
    db.close();
    assert.equal(store.open({ warm: "never" }).table(Presence).count(), 21);
  });

  test("clean-only takes what was closed", () => {
    using store = filledStore(20);
    for (let i = 0; i < 2; i++) {
      const db = store.open({ warm: "clean-only" });
      assert.equal(db.stats().recovery, null);
      db.table(Presence).insert({ id: `later ${i}` });
      assert.equal(db.close().pending, 0);
    }
    assert.equal(store.open().table(Presence).count(), 22);
  });

  test("gets another size by never, and by nothing else", () => {
    using store = filledStore(20);
    const sizeOf = (options: OpenOptions): number => {
      const db = store.open(options);
      assert.equal(db.table(Presence).count(), 20);
      const { regionSizeMax } = db.stats();
      db.close();
      return Number(regionSizeMax);
    };
    const before = sizeOf({});
    const [larger, smaller] = [2 * before, before / 2];
    assert.equal(sizeOf({ size: larger }), before);
    assert.equal(sizeOf({ size: larger, warm: "never" }), larger);
    assert.equal(sizeOf({ size: smaller, warm: "never" }), smaller);
    assert.equal(sizeOf({ size: larger }), smaller);
  });

  for (const warm of ["never", "clean-only"] as const) {
    test(`${warm} brings to disk what killed processes left, before another takes its place`, {
      timeout,
    }, async () => {
      using store = new PromisingStore("off");
      using crew = new Crew(store, 3, seed);
      for (let round = 0; round < rounds; round++) {
        crew.start();
        await crew.progress(50);
        await crew.kill();
        using db = store.open({ warm });
        crew.checkAll(db);
        assert.ok(db.stats().recovery !== null);
        assertSound(db);
        db.close();
      }
    });

    test(`${warm} joins those who use it`, { timeout }, async () => {
      using store = filledStore(20);
      const { directory } = store;
      const options = plainOptions(store);
      using child = new Child("deno", "holder.ts", { directory, options, transactions: 1 });
      assert.equal(await child.next(), "holding");
      const db = store.open({ warm });
      assert.equal(db.stats().recovery, null);
      assert.equal(db.stats().processes, 2);
      db.close();
      await child.kill();
    });

    test(`${warm} is refused where there is nothing but the region`, () => {
      using store = filledStore(1);
      const options = { ...plainOptions(store), ephemeral: "warm", warm };
      const refused = { code: "not_supported", message: /nowhere but in its region/ };
      assert.throws(() => Aerostore.open(options), refused);
    });
  }

  test("other words are bad_argument", () => {
    using store = filledStore(1);
    const wrong: { warm: "never" } = JSON.parse('{"warm":"sometimes"}');
    const refused = {
      code: "bad_argument",
      message: /warm is "always", "clean-only" or "never", not "sometimes"/,
    };
    assert.throws(() => store.open(wrong), refused);
  });
});

describe("a log that is damaged in its middle", () => {
  test("is refused, and salvage opens what stands before the damage", () => {
    using store = filledStore(200);
    store.reboot();
    const file = logFile(store);
    const bytes = readFileSync(file);
    // In the middle of the frames, which begin behind the first block and have zeros between them.
    const used = Array.from(bytes.keys()).filter((at) => at >= 4096 && bytes[at] !== 0);
    const at = used[used.length >> 1] ?? 0;
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    writeFileSync(file, bytes);
    const damaged = { code: "corrupt", message: /positions \d+ to \d+/ };
    assert.throws(() => store.open(), damaged);
    assert.throws(() => store.open(), damaged);
    const db = store.open({ salvage: "prefix" });
    const count = db.table(Presence).count();
    assert.ok(count > 0 && count < 200, `${count} rows`);
    for (let i = 0; i < count; i++) assert.ok(db.table(Presence).has(`p${i}`), `row ${i}`);
    assert.equal(db.stats().recovery?.salvaged, true);
    db.table(Presence).insert({ id: "after" });
    db.close();
    store.reboot();
    assert.equal(store.open().table(Presence).count(), count + 1);
  });
});

describe("a backup", () => {
  test("opens, and has what was committed before it", async () => {
    using store = filledStore(100);
    const db = store.open();
    const path = join(store.root, "backup");
    const { rows, bytes, position } = await db.backupAsync(path);
    assert.equal(rows, 100);
    assert.ok(bytes > 0 && position >= 100);
    assert.throws(() => db.backup(path), { code: "bad_argument", message: /backup/ });
    db.table(Presence).insert({ id: "later" });
    db.checkpoint();
    db.backup(join(store.root, "second"));
    using copy = Aerostore.open(path, store.options);
    assert.equal(copy.table(Presence).count(), 100);
    copy.table(Presence).insert({ id: "elsewhere" });
    assertSound(copy);
    copy.close();
    using second = Aerostore.open(join(store.root, "second"), store.options);
    assert.equal(second.table(Presence).count(), 101);
    assert.equal(db.table(Presence).count(), 101);
  });

  test("is made while others write", { timeout: 60_000 }, async () => {
    using store = new PromisingStore("off");
    using crew = new Crew(store, 2, seed);
    crew.start();
    await crew.progress(200);
    using db = store.open();
    const least = crew.writers.map((writer) => writer.acknowledged);
    const path = join(store.root, "backup");
    await db.backupAsync(path);
    db.close();
    await crew.progress(20);
    await crew.kill();
    using copy = Aerostore.open(path, store.options);
    crew.writers.forEach((writer, i) => writer.checkPrefix(copy, least[i] ?? 0));
    crew.check(copy);
    await until("it is closed", () => copy.close().pending === 0);
  });
});
