/**
 * Everything that a query can do to its rows, by every route, against a model in plain TypeScript:
 * searches, streams, aggregates, updates and deletes, in transactions and outside.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Query, Value } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import type { Aerostore, Table, Transaction, TransactionTable } from "../mod.ts";
import { flightTable } from "./support/flight_table.ts";
import { type Flight, Indexed, Plain } from "./support/indexed_flight.ts";
import { rowsArbitrary, searchArbitrary } from "./support/query_arbitrary.ts";
import { type ModelRow, order, runModel } from "./support/query_model.ts";
import { Store } from "./support/store.ts";

const meta = flightTable();
const names = meta.columns.map(({ name }) => name);

/** What happens to all tables and to the model. */
type Operation =
  | { readonly kind: "upsert"; readonly rows: readonly ModelRow[] }
  | { readonly kind: "search" | "stream" | "count" | "aggregate"; readonly search: string }
  | { readonly kind: "delete"; readonly search: string }
  | { readonly kind: "update"; readonly search: string; readonly patch: Patch };

/** A patch as the model understands it. */
interface Patch {
  readonly typ?: string | null;
  readonly origin?: string;
  readonly lat?: number | null;
  readonly altitude?: { readonly increment: number } | null;
}

const patches = fc.constantFrom<Patch>(
  { altitude: { increment: 1 } },
  { typ: "B738" },
  { typ: null, altitude: null },
  { origin: "SFO", lat: 0.25 },
  { altitude: { increment: -2 }, typ: "A" },
);

const operationArbitrary: fc.Arbitrary<Operation> = fc.oneof(
  rowsArbitrary.map((rows): Operation => ({ kind: "upsert", rows })),
  fc.tuple(fc.constantFrom("search", "stream", "count", "aggregate"), searchArbitrary)
    .map(([kind, search]): Operation => ({ kind, search })),
  searchArbitrary.map((search): Operation => ({ kind: "delete", search: ordered(search) })),
  fc.tuple(searchArbitrary, patches)
    .map(([search, patch]): Operation => ({ kind: "update", search: ordered(search), patch })),
);

/** Some operations of one transaction, which may give them up. */
const blockArbitrary = fc.record({
  inTransaction: fc.boolean(),
  commits: fc.boolean(),
  operations: fc.array(operationArbitrary, { minLength: 1, maxLength: 5 }),
});

/** A search whose limit keeps the same rows by every route. */
function ordered(search: string): string {
  const query = parseSearch(search, meta);
  const isCut = query.limit !== null || query.offset !== 0;
  return query.sort.length > 0 || !isCut
    ? search
    : search.replace(/ -sort \{\}/, " -sort flight_id");
}

function complete(row: ModelRow): ModelRow {
  return Object.fromEntries(names.map((name) => [name, row[name] ?? null]));
}

const aggregates = {
  rows: "count",
  altitudes: ["count", "altitude"],
  low: ["min", "altitude"],
  high: ["max", "altitude"],
  sum: ["sum", "altitude"],
  mean: ["avg", "altitude"],
  lat: ["sum", "lat"],
  serials: ["sum", "serial"],
  typ: ["max", "typ"],
  hex: ["min", "hex"],
  ground: ["max", "on_ground"],
} as const;

function sumOf(values: readonly Value[]): unknown {
  if (values.length === 0) return null;
  if (typeof values[0] === "bigint") {
    return values.reduce((sum: bigint, value) => sum + BigInt(value as bigint), 0n);
  }
  return values.reduce((sum: number, value) => sum + Number(value), 0);
}

function modelAggregates(rows: readonly ModelRow[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(aggregates).map(([name, aggregate]) => {
      if (aggregate === "count") return [name, rows.length];
      const [what, field] = aggregate;
      const values = rows.flatMap((row) => row[field] ?? []);
      const sorted = values.toSorted(order);
      switch (what) {
        case "count":
          return [name, values.length];
        case "min":
          return [name, sorted[0] ?? null];
        case "max":
          return [name, sorted.at(-1) ?? null];
        case "sum":
          return [name, sumOf(values)];
        case "avg":
          return [name, values.length === 0 ? null : Number(sumOf(values)) / values.length];
      }
    }),
  );
}

/** The rows as they should be. */
class Model {
  readonly rows = new Map<unknown, ModelRow>();

  copy(): Model {
    const copy = new Model();
    for (const [key, row] of this.rows) copy.rows.set(key, row);
    return copy;
  }

  find(query: Query): ModelRow[] {
    return runModel(query, [...this.rows.values()]);
  }

  change(query: Query, change: (row: ModelRow) => ModelRow | undefined): number {
    const found = this.find({ ...query, fields: null });
    for (const row of found) {
      const changed = change(row);
      if (changed === undefined) this.rows.delete(row["flight_id"]);
      else this.rows.set(row["flight_id"], changed);
    }
    return found.length;
  }
}

function patched(row: ModelRow, patch: Patch): ModelRow {
  const { altitude, ...values } = patch;
  const changed: Record<string, Value | null> = { ...row, ...values };
  if (altitude === null) changed["altitude"] = null;
  else if (altitude !== undefined) {
    changed["altitude"] = Number(row["altitude"] ?? 0) + altitude.increment;
  }
  return changed;
}

type AnyTable = Table<typeof Plain.columns> | TransactionTable<typeof Plain.columns>;

/** Does one operation to a table and asserts that it gives what the model gives. */
async function assertSame(table: AnyTable, operation: Operation, model: Model): Promise<void> {
  if (operation.kind === "upsert") {
    for (const row of operation.rows) table.upsert(complete(row) as unknown as Flight);
    for (const row of operation.rows) model.rows.set(row["flight_id"], complete(row));
    return;
  }
  const { search } = operation;
  const query = parseSearch(search, meta);
  switch (operation.kind) {
    case "search":
      return assertRows([...table.search(search)], query, model, search);
    case "stream": {
      const rows: unknown[] = [];
      for await (const row of table.stream(search)) rows.push(row);
      return assertRows(rows, query, model, search);
    }
    case "count":
      return assert.equal(table.search(`${search} -countOnly 1`).count, model.find(query).length);
    case "aggregate": {
      const rowCount = model.find({ ...query, fields: null }).length;
      assert.deepEqual(table.aggregate(search, { n: "count" }), { n: rowCount }, search);
      const isOpen = query.sort.length === 0 && (query.limit !== null || query.offset !== 0);
      if (isOpen) return;
      const rows = model.find({ ...query, fields: null });
      assert.deepEqual(table.aggregate(search, aggregates), modelAggregates(rows), search);
      const { high } = modelAggregates(rows);
      const found = table.aggregate(search, { high: aggregates.high });
      return assert.deepEqual(found, { high }, search);
    }
    case "delete":
      return assert.equal(table.deleteWhere(search), model.change(query, () => undefined), search);
    case "update": {
      const { patch } = operation;
      const count = model.change(query, (row) => patched(row, patch));
      return assert.equal(table.updateWhere(search, patch), count, search);
    }
  }
}

function assertRows(rows: unknown[], query: Query, model: Model, search: string): void {
  const found = rows.map((row) => (row as { toObject?: () => unknown }).toObject?.() ?? row);
  const expected = model.find(query);
  if (query.sort.length > 0) return assert.deepEqual(found, expected, search);
  assert.equal(found.length, expected.length, search);
  const all = model.find({ ...query, limit: null, offset: 0 }).map(inspect);
  for (const row of found) assert.ok(all.includes(inspect(row)), search);
}

function inspect(row: unknown): string {
  return JSON.stringify(
    row,
    (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value,
  );
}

/** Does operations to a table, in a transaction of its own or not; returns the model after them. */
async function play(
  database: Aerostore,
  definition: typeof Plain,
  { inTransaction, commits, operations }: {
    readonly inTransaction: boolean;
    readonly commits: boolean;
    readonly operations: readonly Operation[];
  },
  model: Model,
): Promise<Model> {
  const inside = model.copy();
  let transaction: Transaction | undefined;
  if (inTransaction) transaction = database.begin();
  using _ = transaction ?? { [Symbol.dispose]() {} };
  const table = transaction?.table(definition) ?? database.table(definition);
  for (const operation of operations) await assertSame(table, operation, inside);
  if (transaction === undefined) return inside;
  if (commits) transaction.commit();
  return commits ? inside : model;
}

test("searches, streams, aggregates, updates and deletes give what the model gives", async () => {
  using store = new Store();
  const database = store.open({ tables: [Plain, Indexed] });
  const definitions = [Plain, Indexed as unknown as typeof Plain];
  await fc.assert(
    fc.asyncProperty(fc.array(blockArbitrary, { maxLength: 4 }), async (blocks) => {
      for (const definition of definitions) {
        const table = database.table(definition);
        table.deleteWhere("");
        assert.equal(table.count(), 0);
        let model = new Model();
        for (const block of blocks) model = await play(database, definition, block, model);
        const rows = runModel(parseSearch("-sort flight_id", meta), [...model.rows.values()]);
        assert.deepEqual(table.search("-sort flight_id").all(), rows);
        assert.equal(table.count(), rows.length);
      }
    }),
    { numRuns: 250 },
  );
  assert.deepEqual(database.verify().problems, []);
});
