/** When a commit returns, and who waits for the disk. */

import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import { Aerostore } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

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
