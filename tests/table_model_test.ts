/**
 * Random operations on a table and on a plain `Map`, which must agree after each.
 *
 * The seed of a failure is in its message; run it again by `AEROSTORE_SEED=... bun test`.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import type { InsertOf, PatchOf, RowOf, Table } from "../mod.ts";
import { Store } from "./support/store.ts";
import { Everything } from "./support/tables.ts";

type Row = RowOf<typeof Everything>;
type Insert = InsertOf<typeof Everything>;
type Patch = PatchOf<typeof Everything>;
type Target = Table<typeof Everything.columns>;
type Model = Map<string, Row>;

const defaults: Omit<Row, "id"> = {
  flag: null,
  code: null,
  count: 7,
  total: null,
  exact: null,
  note: null,
  ratio: null,
  seen: null,
  raw: null,
  blob: Uint8Array.of(1, 2, 3),
};

/** Few keys, so that operations meet. */
const keys = fc.constantFrom("", "a", "b", "é", "key of exactly forty bytes: 0123456789 !", "🛩");

const columns = {
  flag: fc.option(fc.boolean()),
  code: fc.option(fc.string({ maxLength: 8 })),
  count: fc.integer(),
  total: fc.option(fc.maxSafeInteger()),
  exact: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  note: fc.option(fc.string({ unit: "grapheme", maxLength: 100 })).filter((note) =>
    note === null || new TextEncoder().encode(note).length <= 500
  ),
  ratio: fc.option(fc.double({ noNaN: true })),
  seen: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
  raw: fc.option(fc.uint8Array({ maxLength: 16 })),
  blob: fc.uint8Array({ maxLength: 300 }),
};

const inserts = fc.record({ id: keys, ...columns }, { requiredKeys: ["id"] });
const patches = fc.record(columns, { requiredKeys: [] });

/** One operation, on both. */
type Step = (table: Target, model: Model) => void;

const complete = (row: Insert): Row => ({ ...defaults, ...row });

/** Checks that the table refuses with `code` if it should, and succeeds otherwise. */
function attempt(code: string | undefined, run: () => void): void {
  if (code === undefined) run();
  else assert.throws(run, { code });
}

const insert = (row: Insert): Step => (table, model) => {
  const exists = model.has(row.id);
  attempt(exists ? "duplicate_key" : undefined, () => table.insert(row));
  if (!exists) model.set(row.id, complete(row));
};

const upsert = (row: Insert): Step => (table, model) => {
  table.upsert(row);
  model.set(row.id, complete(row));
};

const update = (key: string, patch: Patch): Step => (table, model) => {
  const row = model.get(key);
  attempt(row === undefined ? "not_found" : undefined, () => table.update(key, patch));
  if (row !== undefined) model.set(key, { ...row, ...patch });
};

const remove = (key: string): Step => (table, model) => {
  assert.equal(table.delete(key), model.delete(key));
};

const increment = (key: string, by: number): Step => (table, model) => {
  const row = model.get(key);
  attempt(
    row === undefined ? "not_found" : undefined,
    () => table.apply(key, { ratio: { increment: by }, exact: { max: BigInt(by) } }),
  );
  if (row === undefined) return;
  const exact = row.exact === null || row.exact < BigInt(by) ? BigInt(by) : row.exact;
  model.set(key, { ...row, ratio: row.ratio === null ? by : row.ratio + by, exact });
};

const many = (rows: readonly Insert[], atomic: boolean): Step => (table, model) => {
  assert.equal(table.upsertMany(rows, { atomic }), rows.length);
  for (const row of rows) model.set(row.id, complete(row));
};

const inTransaction = (steps: readonly [string, Patch][], commits: boolean): Step => {
  return (table, model) => {
    const draft = new Map(model);
    const { database } = current;
    const transaction = database.begin();
    const inside = transaction.table(Everything);
    for (const [key, patch] of steps) {
      const row = draft.get(key);
      if (row === undefined) {
        inside.insert({ id: key, ...patch });
        draft.set(key, complete({ id: key, ...patch }));
      } else {
        inside.update(key, patch);
        draft.set(key, { ...row, ...patch });
      }
      assert.deepEqual(inside.get(key)?.toObject(), draft.get(key));
      assert.deepEqual(table.get(key), model.get(key));
    }
    if (commits) transaction.commit();
    else transaction.abort();
    if (commits) { for (const [key, row] of draft) model.set(key, row); }
  };
};

/** The database of the run that goes on. */
const current: { database: ReturnType<Store["open"]> } = { database: undefined as never };

const steps: fc.Arbitrary<Step> = fc.oneof(
  inserts.map(insert),
  inserts.map(upsert),
  fc.tuple(keys, patches).map(([key, patch]) => update(key, patch)),
  keys.map(remove),
  fc.tuple(keys, fc.integer({ min: -1000, max: 1000 })).map(([key, by]) => increment(key, by)),
  fc.tuple(fc.array(inserts, { maxLength: 20 }), fc.boolean()).map(([rows, atomic]) =>
    many(rows, atomic)
  ),
  fc.tuple(fc.array(fc.tuple(keys, patches), { maxLength: 5 }), fc.boolean()).map((
    [list, commits],
  ) => inTransaction(list, commits)),
);

function checkAll(table: Target, model: Model): void {
  assert.equal(table.count(), model.size);
  for (const [key, row] of model) assert.deepEqual(table.get(key), row);
  const rows = table.search("-sort id").all();
  assert.deepEqual(new Map(rows.map((row) => [row.id, row])), model);
}

test("a table does what a Map does", { timeout: 120_000 }, () => {
  const seed = process.env["AEROSTORE_SEED"];
  const runs = fc.property(fc.array(steps, { maxLength: 40 }), (list) => {
    using store = new Store();
    current.database = store.open({ tables: [Everything], size: "8MiB" });
    const table = current.database.table(Everything);
    const model: Model = new Map();
    for (const step of list) {
      step(table, model);
      checkAll(table, model);
    }
    assert.deepEqual(current.database.verify().problems, []);
  });
  fc.assert(runs, { numRuns: 60, ...(seed === undefined ? {} : { seed: Number(seed) }) });
});
