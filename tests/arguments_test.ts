/** What a program without a type checker gets wrong is `bad_argument`, and changes nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Aerostore, defineTable, type ErrorCode } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Presence } from "./support/tables.ts";

/** Any use of the public classes. */
// deno-lint-ignore no-explicit-any
type Untyped = any;

/** Runs `use`, which throws an error with this code that quotes `quoted`. */
function refuses(use: () => unknown, quoted: string, code: ErrorCode = "bad_argument"): void {
  assert.throws(use, (error: Error & { code?: string }) => {
    assert.equal(error.name, "AerostoreError", `${use}: ${error}`);
    assert.equal(error.code, code, error.message);
    assert.ok(error.message.includes(quoted), `${use}: ${error.message}`);
    return true;
  });
}

test("open() and remove() refuse what is neither a path nor options", () => {
  const untyped: Untyped = Aerostore;
  for (const value of [undefined, null, 5]) {
    refuses(() => untyped.open(value), String(value));
    refuses(() => untyped.remove(value), String(value));
  }
  using store = new Store();
  refuses(() => untyped.open(store.directory, null), "null");
  refuses(() => untyped.open(store.directory, { tables: Presence }), "tables is an array");
});

test("defineTable() refuses columns that are no object", () => {
  const declare: Untyped = defineTable;
  for (const columns of [undefined, null, 5]) {
    refuses(() => declare("T", columns), String(columns), "invalid_schema");
  }
});

test("options that are misspelled or make no sense are refused", () => {
  using store = new Store();
  const db: Untyped = store.open({ tables: [Presence] });
  const table = db.table(Presence);
  const run = () => assert.fail("It runs");
  for (
    const begin of [
      (options: unknown) => db.begin(options),
      (options: unknown) => db.transaction(run, options),
    ]
  ) {
    refuses(() => begin({ readonly: true }), '"readonly"');
    refuses(() => begin({ readOnly: "no" }), '"no"');
    refuses(() => begin({ snapshot: "newest" }), '"newest"');
    refuses(() => begin({ retriesMax: -1 }), "-1");
    refuses(() => begin({ retriesMax: NaN }), "NaN");
    refuses(() => begin(null), "null");
  }
  refuses(() => table.upsertMany([{ id: "A" }], { atomc: false }), '"atomc"');
  refuses(() => table.upsertMany([{ id: "A" }], { atomic: "no" }), '"no"');
  const tx = db.begin();
  for (const searched of [table, tx.table(Presence)]) {
    refuses(() => searched.search("", { dialect: "sql" }), '"sql"');
    refuses(() => searched.search("", { limit: 5 }), '"limit"');
  }
  refuses(() => table.prepare("", { dialect: "sql" }), '"sql"');
  refuses(() => table.deleteWhere("", { limit: 5 }), '"limit"');
  tx.abort();
  assert.equal(table.count(), 0);
});

test("values of another kind are refused", () => {
  using store = new Store();
  const db: Untyped = store.open({ tables: [Presence] });
  const table = db.table(Presence);
  const tx = db.begin();
  for (const value of [undefined, null, 5, "AB"]) {
    const quoted = typeof value === "string" ? `"${value}"` : String(value);
    refuses(() => table.getMany(value), quoted);
    refuses(() => tx.table(Presence).getMany(value), quoted);
    refuses(() => table.upsertMany(value), quoted);
    refuses(() => db.transaction(value), quoted);
    refuses(() => table.aggregate("", value), quoted, "invalid_query");
  }
  for (const value of [undefined, 5, ""]) {
    refuses(() => db.backup(value), typeof value === "string" ? '""' : String(value));
  }
  tx.abort();
  assert.equal(table.count(), 0);
});
