/** Removing a database: all of it, nothing else, and never under somebody's feet. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Aerostore } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

describe("Aerostore.remove()", () => {
  test("removes the files of a database and its directory, and says whether there was one", () => {
    using store = new Store();
    store.open({ tables: [Presence] }).close();
    assert.notDeepEqual(readdirSync(store.shmPath), []);
    assert.equal(Aerostore.remove(store.directory, store.options), true);
    assert.deepEqual(readdirSync(store.shmPath), []);
    assert.equal(existsSync(store.directory), false);
    assert.equal(Aerostore.remove(store.directory, store.options), false);
  });

  test("lets the next opener start with an empty database", () => {
    using store = new Store();
    const old = store.open({ tables: [Presence] });
    old.table(Presence).insert({ id: "A" });
    old.close();
    Aerostore.remove(store.directory, store.options);
    assert.deepEqual(store.open().tableNames, []);
  });

  test("leaves files that are not of the database, and their directory", () => {
    using store = new Store();
    store.open().close();
    const names = ["notes.txt", "aerostore-1.wal.bak", "snapshot.dat"];
    for (const name of names) writeFileSync(join(store.directory, name), "mine");
    assert.equal(Aerostore.remove(store.directory, store.options), true);
    assert.deepEqual(readdirSync(store.directory).sort(), names.sort());
  });

  test("leaves a directory without a database alone", () => {
    using store = new Store();
    mkdirSync(store.directory);
    assert.equal(Aerostore.remove(store.directory, store.options), false);
    assert.equal(existsSync(store.directory), true);
  });

  test("removes an ephemeral database", () => {
    using store = new Store();
    const options = { ephemeral: "scratch", shmPath: store.shmPath };
    Aerostore.open({ ...options, size: "8MiB" }).close();
    assert.equal(Aerostore.remove(options), true);
    assert.deepEqual(readdirSync(store.shmPath), []);
    assert.equal(Aerostore.remove(options), false);
  });

  test("refuses while this process has it open", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A" });
    const remove = () => Aerostore.remove(store.directory, store.options);
    assert.throws(remove, { code: "busy", message: /^Cannot remove .*open/ });
    assert.equal(db.table(Presence).has("A"), true);
    db.close();
    assert.equal(remove(), true);
  });

  for (const runtime of runtimes) {
    test(`refuses while ${runtime} has it open, and not after its death`, {
      timeout: 30_000,
    }, async () => {
      using store = new Store();
      using holder = new Child(runtime, "holder.ts", {
        directory: store.directory,
        options: store.options,
        transactions: 0,
      });
      await holder.next();
      const remove = () => Aerostore.remove(store.directory, store.options);
      assert.throws(remove, { code: "busy" });
      await holder.kill();
      assert.equal(remove(), true);
      assert.deepEqual(readdirSync(store.shmPath), []);
    });
  }

  test("refuses arguments that make no sense", () => {
    assert.throws(() => Aerostore.remove(""), { code: "bad_argument" });
    const misspelled: object = { shmpath: "x" };
    assert.throws(() => Aerostore.remove("x", misspelled), { code: "bad_argument" });
  });
});
