import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { Aerostore, defineTable, t } from "../mod.ts";
import { Child, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";

describe("open()", () => {
  test("creates the directory and the region, for the owner alone", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    assert.equal(statSync(store.directory).mode & 0o777, 0o700);
    const [name = ""] = readdirSync(store.shmPath);
    assert.equal(statSync(join(store.shmPath, name)).mode & 0o777, 0o600);
    assert.equal(db.stats().regionPath, join(store.shmPath, name));
    assert.equal(db.path, store.directory);
  });

  test("puts the region into a given file", () => {
    using store = new Store();
    const shmPath = join(store.root, "region");
    store.open({ shmPath, tables: [Presence] }).table(Presence).insert({ id: "A" });
    assert.ok(existsSync(shmPath));
    assert.equal(store.open({ shmPath }).table("Presence").count(), 1);
  });

  test("takes AEROSTORE_SHM_PATH where shmPath is not given", () => {
    using store = new Store();
    const other = join(store.root, "other");
    mkdirSync(other);
    const before = process.env["AEROSTORE_SHM_PATH"];
    process.env["AEROSTORE_SHM_PATH"] = other;
    try {
      using db = Aerostore.open(store.directory, { size: "4MiB", tables: [Presence] });
      assert.ok(db.stats().regionPath.startsWith(other));
    } finally {
      if (before === undefined) delete process.env["AEROSTORE_SHM_PATH"];
      else process.env["AEROSTORE_SHM_PATH"] = before;
    }
  });

  test("finds an ephemeral database by its name", () => {
    using store = new Store();
    const options = { ...store.options, ephemeral: "night-shift", tables: [Presence] };
    using first = Aerostore.open(options);
    first.table(Presence).insert({ id: "A" });
    using second = Aerostore.open(options);
    assert.equal(second.table(Presence).has("A"), true);
    assert.equal(second.path, "night-shift");
    const wrong = { ...options, ephemeral: "night/shift" };
    assert.throws(() => Aerostore.open(wrong), { code: "bad_argument", message: /night\/shift/ });
  });

  test("for reading needs a database, and sees what others write", () => {
    using store = new Store();
    assert.throws(() => store.open({ readOnly: true }), { code: "not_found" });
    assert.equal(existsSync(store.directory), false);
    const writer = store.open({ tables: [Presence] }).table(Presence);
    const reader = store.open({ readOnly: true, tables: [Presence] }).table(Presence);
    writer.insert({ id: "A", visits: 1 });
    assert.equal(reader.get("A")?.visits, 1);
    assert.equal(reader.search("-compare {{= visits 1}}").length, 1);
  });

  test("keeps the size that the first opener chose", () => {
    using store = new Store();
    const first = store.open({ size: "8MiB" });
    const second = store.open({ size: "64MiB" });
    assert.equal(first.stats().regionSizeMax, 8 * 2 ** 20);
    assert.equal(second.stats().regionSizeMax, 8 * 2 ** 20);
  });

  test("leaves nothing open when a table cannot be declared", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    const other = defineTable("Presence", { id: t.int32().primaryKey() });
    // More often than a region has places for processes or transactions.
    for (let i = 0; i < 300; i++) {
      assert.throws(() => store.open({ tables: [other] }), { code: "schema_mismatch" });
    }
    assert.equal(db.stats().processes, 1);
    db.table(Presence).insert({ id: "A" });
  });
});

describe("stats() and verify()", () => {
  test("tell rows, sizes and commits, and find nothing wrong", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence, Everything] });
    const before = db.stats();
    db.table(Presence).insert({ id: "A" });
    db.table(Presence).upsert({ id: "A" });
    const after = db.stats();
    assert.deepEqual(after.tables, [{ name: "Presence", rows: 1 }, {
      name: "Everything",
      rows: 0,
    }]);
    assert.ok(after.position - before.position >= 2);
    assert.equal(after.commits - before.commits, 2);
    assert.ok(after.regionSize > 0 && after.regionSize <= after.regionSizeMax);
    assert.equal(after.processes, 1);
    const { ok, quiescent, leaks, contradictions, problems } = db.verify();
    assert.deepEqual({ ok, quiescent, leaks, contradictions, problems }, {
      ok: true,
      quiescent: true,
      leaks: 0,
      contradictions: 0,
      problems: [],
    });
  });
});

describe("eight processes that create one database at once", () => {
  const rows = 200;

  test("all get the same one, and insert each key once", { timeout: 120_000 }, async () => {
    using store = new Store();
    const { directory, options } = store;
    const names = Array.from({ length: 8 }, (_, i) => `process-${i}`);
    const children = names.map((name, i) => {
      return new Child(runtimes[i % 2] ?? "bun", "writer.ts", { directory, options, name, rows });
    });
    try {
      for (const child of children) assert.equal(await child.next(), "started");
      // Whoever opens first inserts the row that all of them count in.
      for (const child of children) child.send("write");
      let inserted = 0;
      for (const child of children) {
        inserted += (await child.next() as { inserted: number }).inserted;
        await child.finish();
      }
      assert.equal(inserted, rows);
    } finally {
      for (const child of children) child[Symbol.dispose]();
    }
    const db = store.open({ tables: [Presence] });
    assert.equal(db.table(Presence).get("shared")?.visits, names.length * rows);
    assert.equal(db.table(Presence).count(), 1 + rows + names.length * rows);
    assert.equal(db.verify().ok, true);
  });
});
