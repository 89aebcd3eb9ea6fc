/** When a commit returns, and who waits for the disk. */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { Aerostore } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";

/** Opens an ephemeral database in the directory of a store. */
function openEphemeral(store: Store, name: string): Aerostore {
  const ephemeral = `${name}-${process.pid}`;
  return Aerostore.open({ ...store.options, ephemeral, tables: [Presence] });
}

describe("a database without a directory", () => {
  test("has no log, and refuses what only a log can promise", async () => {
    using store = new Store();
    using db = openEphemeral(store, "no-log");
    assert.equal(db.stats().log.state, "none");
    assert.equal(db.getConfig("synchronous_commit"), "off");
    const refused = { name: "AerostoreError", code: "not_supported", message: /nothing on disk/ };
    assert.throws(() => db.setConfig("synchronous_commit", "on"), refused);
    assert.throws(() => db.setConfig("checkpoint_interval_secs", 10), refused);
    assert.throws(() => db.begin({ synchronousCommit: "on" }), refused);
    assert.throws(() => db.flushSync(), refused);
    await assert.rejects(() => db.flush(), refused);
    assert.throws(() => db.checkpoint(), refused);
    assert.throws(() => db.backup(store.root), refused);
    await assert.rejects(() => db.checkpointAsync(), refused);
    await assert.rejects(() => db.backupAsync(store.root), refused);
    assert.deepEqual(db.close(), { pending: 0, log: "none" });
  });

  test("commits at once, however it is asked to", async () => {
    using store = new Store();
    using db = openEphemeral(store, "at-once");
    db.setConfig("synchronous_commit", "off");
    const transaction = db.begin({ synchronousCommit: "off" });
    transaction.table(Presence).insert({ id: "A" });
    await transaction.commitAsync();
    await db.transaction(async (transaction) => {
      await Promise.resolve();
      transaction.table(Presence).insert({ id: "B" });
    });
    assert.equal(db.table(Presence).count(), 2);
  });
});

describe("a commit at on", () => {
  test("returns when it is on disk, from every call that commits", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], synchronousCommit: "on" });
    const table = db.table(Presence);
    const isDurable = () => {
      const { durable, logged } = db.stats().log;
      return durable >= logged;
    };
    const calls: readonly (() => unknown)[] = [
      () => table.insert({ id: "A" }),
      () => table.upsert({ id: "A", visits: 1 }),
      () => table.update("A", { visits: 2 }),
      () => table.apply("A", { visits: { increment: 1 } }),
      () => table.apply("A", ({ visits }) => ({ visits: (visits ?? 0) + 1 })),
      () => table.upsertMany([{ id: "B" }, { id: "C" }]),
      () => table.upsertMany([{ id: "B" }, { id: "D" }], { atomic: false }),
      () => table.ingestTsv("E\tthere\t1\n"),
      () => table.delete("A"),
      () => db.transaction((transaction) => transaction.table(Presence).insert({ id: "F" })),
      () =>
        db.transaction(async (transaction) => {
          await Promise.resolve();
          transaction.table(Presence).insert({ id: "G" });
        }),
    ];
    for (const call of calls) {
      const before = db.stats().log.logged;
      await call();
      assert.ok(isDurable(), String(call));
      assert.ok(db.stats().log.logged > before, String(call));
    }
    assert.deepEqual(table.search("-sort id").all().map(({ id }) => id), [..."BCDEFG"]);
    db.setConfig("synchronous_commit", "off");
    const transaction = db.begin({ synchronousCommit: "on" });
    transaction.table(Presence).insert({ id: "H" });
    transaction.commit();
    assert.ok(isDurable());
    assert.deepEqual(db.close(), { pending: 0, log: "working" });
  });

  test("that only reads waits for nothing", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], synchronousCommit: "on" });
    db.table(Presence).insert({ id: "A" });
    const { syncs } = db.stats().log;
    for (let i = 0; i < 20; i++) {
      assert.equal(db.transaction((transaction) => transaction.table(Presence).has("A")), true);
      using reading = db.begin({ readOnly: true });
      assert.equal(reading.table(Presence).has("A"), true);
      await reading.commitAsync();
    }
    // What others do meanwhile, such as maintenance, may be synced.
    assert.ok(db.stats().log.syncs - syncs < 20);
  });

  test("is shared by those who wait at the same time", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const count = 500;
    const { syncs } = db.stats().log;
    await Promise.all(Array.from({ length: count }, (_, i) => {
      const transaction = db.begin({ synchronousCommit: "on" });
      transaction.table(Presence).insert({ id: `p${i}` });
      return transaction.commitAsync();
    }));
    const { log } = db.stats();
    assert.ok(log.durable >= log.logged);
    assert.ok(log.syncs - syncs < count, `${log.syncs - syncs} syncs`);
    assert.ok(log.commitsPerSync > 0);
    assert.equal(db.table(Presence).count(), count);
  });
});

describe("waiting without blocking", () => {
  test("lets the event loop turn", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    let waits = 0;
    while (turns < 5) {
      db.table(Presence).upsert({ id: "A", visits: waits++ });
      await db.flush();
    }
    clearInterval(timer);
    assert.ok(waits > 0);
    assert.equal(db.flushSync(), true);
  });

  test("ends when the database is closed", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A" });
    const flushed = db.flush();
    const transaction = db.begin({ synchronousCommit: "on" });
    transaction.table(Presence).insert({ id: "B" });
    const committed = transaction.commitAsync();
    assert.deepEqual(db.close(), { pending: 0, log: "working" });
    // There was room on the disk, so closing has brought them there.
    await Promise.all([flushed, committed]);
    assert.deepEqual(db.close(), { pending: 0, log: "working" });
  });

  for (const runtime of runtimes) {
    test(`works in Workers and with several databases, on ${runtime}`, {
      timeout: 60_000,
    }, async () => {
      using store = new Store();
      const directories = [store.directory, `${store.directory}2`];
      const { options } = store;
      using child = new Child(runtime, "flusher.ts", { directories, options, rounds: 30 });
      assert.equal(await child.next(), 180);
      assert.equal(await child.next(), "worker ended");
      assert.equal(await child.next(), "flushed");
      assert.equal(await child.next(), "exit");
      await child.finish();
      const db = store.open({ tables: [Presence] });
      assert.equal(db.table(Presence).count(), 7);
    });
  }
});

describe("a transaction with readDurable", () => {
  const reading = { readOnly: true, readDurable: true } as const;

  test("begins when all that it sees is on disk", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    /** Writes, and returns a position at or behind which a snapshot is that sees it. */
    const write = (visits: number): number => {
      table.upsert({ id: "A", visits });
      return db.stats().position;
    };
    const isDurable = (position: number): boolean => db.stats().log.durable >= position;
    for (let i = 0; i < 20; i++) {
      const before = write(i);
      using first = db.begin(reading);
      assert.ok(isDurable(before));
      assert.equal(first.table(Presence).get("A")?.visits, i);
      const between = write(i + 1);
      const pending = db.beginAsync(reading);
      // It sees the moment of the call, whenever it comes.
      const after = write(-1);
      using second = await pending;
      assert.ok(isDurable(between));
      assert.equal(second.table(Presence).get("A")?.visits, i + 1);
      const visits = db.transaction((tx) => tx.table(Presence).get("A")?.visits, reading);
      assert.equal(visits, -1);
      assert.ok(isDurable(after));
      using relaxed = db.begin({ ...reading, snapshot: "relaxed" });
      assert.equal(relaxed.table(Presence).has("A"), true);
    }
    using nothing = await db.beginAsync();
    nothing.table(Presence).delete("A");
    nothing.commit();
  });

  test("waits in a process that only reads", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A" });
    const { directory, options } = store;
    using child = new Child("deno", "durable_reader.ts", { directory, options });
    assert.equal(await child.next(), "ready");
    for (let i = 0; i < 10; i++) {
      db.table(Presence).update("A", { visits: i });
      child.send("read");
      assert.deepEqual(await child.next(), [i, true, i, true]);
    }
    child.send("end");
    await child.finish();
  });

  test("lets the event loop turn, and ends when the database is closed", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    for (let i = 0; turns < 5; i++) {
      db.table(Presence).upsert({ id: "A", visits: i });
      using transaction = await db.beginAsync(reading);
      transaction.commit();
    }
    clearInterval(timer);
    db.table(Presence).insert({ id: "B" });
    const pending = db.beginAsync(reading);
    db.close();
    // Closing has brought it to disk, and has ended the transaction.
    const transaction = await pending;
    assert.equal(transaction.ended, true);
    await assert.rejects(() => db.beginAsync(reading), { code: "closed" });
  });

  test("is refused without readOnly, without a disk, and for other values", async () => {
    using store = new Store();
    using ephemeral = openEphemeral(store, "durable");
    const unsupported = { code: "not_supported", message: /nothing on disk/ };
    assert.throws(() => ephemeral.begin(reading), unsupported);
    await assert.rejects(() => ephemeral.beginAsync(reading), unsupported);
    const db = store.open({ tables: [Presence] });
    const writing = { code: "bad_argument", message: /readDurable is for one with readOnly/ };
    assert.throws(() => db.begin({ readDurable: true }), writing);
    await assert.rejects(() => db.beginAsync({ readDurable: true }), writing);
    const wrong: { readDurable: true } = JSON.parse('{"readDurable":"on"}');
    const refused = { code: "bad_argument", message: /true or false, not "on"/ };
    assert.throws(() => db.begin({ readOnly: true, ...wrong }), refused);
    db.begin({ readDurable: false }).abort();
  });
});

describe("checkpoints and stats()", () => {
  test("a checkpoint tells how far it is, and stats() has counted it", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], size: "64MiB", checkpointIntervalSecs: 0 });
    assert.equal(db.getConfig("aerostore.checkpoint_interval_secs"), 0);
    const rows = Array.from({ length: 50_000 }, (_, i) => ({ id: `p${i}`, place: "gate" }));
    db.table(Presence).upsertMany(rows, { atomic: false });
    const before = db.stats().log;
    assert.equal(before.checkpoints, 0);
    const told: number[] = [];
    const report = await db.checkpointAsync({
      onProgress: ({ rows, rowsExpected }) => told.push(rows, rowsExpected),
    });
    assert.equal(report.rows, rows.length);
    assert.ok(report.position >= rows.length && report.bytes > rows.length * 20);
    assert.ok(told.every((number) => number <= rows.length));
    assert.equal(db.checkpoint().rows, rows.length);
    const after = db.stats().log;
    assert.equal(after.checkpoints, 2);
    assert.ok(after.checkpointPosition > 0 && after.segment >= before.segment);
    const failing = db.checkpointAsync({ onProgress: () => assert.fail("enough") });
    await assert.doesNotReject(failing.catch((error) => assert.match(error.message, /enough/)));
  });

  test("a checkpoint is made although old files cannot be looked at or removed", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], checkpointIntervalSecs: 0 });
    // Neither can be, whoever tries: a directory, and a segment that others may read.
    const snapshot = join(store.directory, "snapshot-00000000000000000000.dat");
    mkdirSync(snapshot);
    const segment = join(store.directory, "aerostore-00000000.wal");
    writeFileSync(segment, "", { mode: 0o644 });
    const checkpoint = (id: string) => {
      db.table(Presence).insert({ id });
      // So that each checkpoint begins at a position of its own.
      db.flushSync();
      db.checkpoint();
      return db.stats().log.checkpointFilesLeft;
    };
    assert.deepEqual(["A", "B", "C"].map(checkpoint), [1, 2, 2]);
    const names = readdirSync(store.directory).filter((name) => name.startsWith("snapshot-"));
    assert.equal(names.length, 3, names.join());
    assert.ok(statSync(snapshot).isDirectory() && statSync(segment).isFile());
    assert.equal(db.stats().log.checkpoints, 3);
    rmdirSync(snapshot);
    rmSync(segment);
    assert.equal(checkpoint("D"), 0);
    db.close();
    for (const name of readdirSync(store.shmPath)) rmSync(join(store.shmPath, name));
    assert.equal(store.open().table(Presence).count(), 4);
  });

  test("a checkpoint is written by itself when its time has come", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], checkpointIntervalSecs: 1 });
    db.table(Presence).insert({ id: "A" });
    await until("there is one", () => db.stats().log.checkpoints === 1);
    assert.ok(db.stats().log.checkpointPosition > 0);
  });

  test("the log has the changed columns of a row, and says what that saves", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const table = db.table(Presence);
    table.insert({ id: "A", place: "gate with a name" });
    for (let i = 0; i < 100; i++) table.update("A", { visits: i });
    db.flushSync();
    const { wholeRows, wholeRowBytes, deltaRows, deltaRowBytes } = db.stats().log;
    assert.ok(wholeRows >= 1 && deltaRows >= 90, `${wholeRows} whole, ${deltaRows} delta`);
    assert.ok(deltaRowBytes / deltaRows < wholeRowBytes / wholeRows);
  });
});

describe("onRecovery", () => {
  test("opens as usual where there is nothing to recover, and passes errors on", () => {
    using store = new Store();
    const db = store.open({
      tables: [Presence],
      onRecovery: () => assert.fail("there is nothing to recover"),
    });
    db.table(Presence).insert({ id: "A" });
    assert.equal(store.open({ onRecovery: () => {} }).table("Presence").count(), 1);
    const missing = { readOnly: true, onRecovery: () => {} };
    assert.throws(() => Aerostore.open(`${store.root}/missing`, { ...store.options, ...missing }), {
      code: "not_found",
      message: /missing/,
    });
  });
});

describe("what makes no sense", () => {
  test("is bad_argument, and quoted", async () => {
    using store = new Store();
    using db = store.open({ tables: [Presence] });
    const wrong: { synchronousCommit: "on" } = JSON.parse('{"synchronousCommit":"maybe"}');
    const refused = {
      code: "bad_argument",
      message: /"on" or "off".*"maybe"|"maybe".*"on" or "off"/,
    };
    assert.throws(() => db.begin(wrong), refused);
    assert.throws(() => db.transaction(() => 0, wrong), refused);
    assert.throws(() => store.open(wrong), refused);
    const seconds = { code: "bad_argument", message: /-1.*whole number of seconds/ };
    assert.throws(() => store.open({ checkpointIntervalSecs: -1 }), seconds);
    assert.throws(() => db.setConfig("checkpoint_interval_secs", 0.5), { code: "bad_argument" });
    const salvage: { salvage: "prefix" } = JSON.parse('{"salvage":"all"}');
    assert.throws(() => store.open(salvage), { code: "bad_argument", message: /"all"/ });
    const watch: { onRecovery: () => void } = JSON.parse('{"onRecovery":7}');
    assert.throws(() => store.open(watch), { code: "bad_argument", message: /function, not 7/ });
    assert.throws(() => db.flushSync(-1), { code: "bad_argument", message: /-1/ });
    assert.throws(() => db.flushSync(NaN), { code: "bad_argument", message: /NaN/ });
    db.close();
    await assert.rejects(() => db.flush(), { code: "closed" });
    await assert.rejects(() => db.checkpointAsync(), { code: "closed" });
    assert.throws(() => db.checkpoint(), { code: "closed" });
    assert.throws(() => db.flushSync(), { code: "closed" });
  });
});
