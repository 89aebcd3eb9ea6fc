/**
 * What the compiler must infer, and what it must refuse.
 *
 * The type checkers do the work; the tests run so that no runner finds an empty file.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  Aerostore,
  type AerostoreError,
  type Changes,
  type CloseReport,
  type ColumnValue,
  type CompareClause,
  type ConfigurationName,
  type ConfigurationValue,
  defineTable,
  type Dialect,
  type EphemeralOptions,
  type ErrorCode,
  type Explanation,
  type IngestProgress,
  type IngestSource,
  type InsertOf,
  type KeyOf,
  type MemoryStats,
  type OpenOptions,
  type PatchOf,
  type QueryError,
  type RemoveOptions,
  type Result,
  type RetryOptions,
  type Route,
  type RowOf,
  type RowView,
  type SearchQuery,
  type SnapshotReport,
  type Stats,
  t,
  type Table,
  type TableStats,
  type Transaction,
  type TransactionOptions,
  type UpsertManyOptions,
  type Verification,
} from "../mod.ts";

/** True if both types are the same, optionality and modifiers included. */
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

function isTrue<T extends true>(value: T = true as T): void {
  assert.equal(value, true);
}

const FlightState = defineTable("FlightState", {
  flight_id: t.text(16).primaryKey(),
  lat: t.float64().nullable(),
  altitude: t.int32().nullable().index(),
  seats: t.int32().default(0),
  serial: t.int64({ as: "bigint" }),
  distance: t.int64(),
  on_ground: t.bool().nullable().default(false),
  updated_at: t.timestamp(),
  raw: t.bytes(8).nullable(),
}, { indexes: [["altitude", "lat"], { columns: ["seats", "distance"], unique: true }] });

const Counter = defineTable("Counter", { id: t.int32().primaryKey(), n: t.int32().default(0) });

/** Never called: only the compiler reads it. */
function unreached(db: Aerostore): void {
  const flights = db.table(FlightState);
  const key: string = "UAL123";

  // @ts-expect-error: the key is text
  flights.get(5);
  // @ts-expect-error: no such column
  flights.get(key)?.speed;
  // @ts-expect-error: serial, distance and updated_at are missing
  flights.insert({ flight_id: key });
  // @ts-expect-error: serial is a bigint
  flights.insert({ flight_id: key, serial: 1, distance: 1, updated_at: 0 });
  // @ts-expect-error: seats has a default, but is not nullable
  flights.insert({ flight_id: key, serial: 1n, distance: 1, updated_at: 0, seats: null });
  // @ts-expect-error: with exact optional properties, undefined is no value
  flights.insert({ flight_id: key, serial: 1n, distance: 1, updated_at: 0, lat: undefined });
  flights.insert({ flight_id: key, serial: 1n, distance: 1, updated_at: 0, lat: null });

  // @ts-expect-error: the key cannot be patched
  flights.update(key, { flight_id: "UAL124" });
  // @ts-expect-error: no such column
  flights.update(key, { speed: 1 });
  flights.update(key, { altitude: null, seats: 3 });

  // @ts-expect-error: text has no operations
  flights.apply(key, { flight_id: { increment: 1 } });
  // @ts-expect-error: a bigint column takes bigints
  flights.apply(key, { serial: { increment: 1 } });
  // @ts-expect-error: no such operation
  flights.apply(key, { seats: { decrement: 1 } });
  flights.apply(key, { serial: { increment: 1n }, lat: { max: 0.5 }, altitude: { min: 3 } });

  // @ts-expect-error: no such column
  flights.search({ compare: [[">", "speed", 5]] });
  // @ts-expect-error: altitude is a number
  flights.search({ compare: [[">", "altitude", "high"]] });
  for (const row of flights.search("-limit 1")) isTrue<Equal<typeof row, Flight>>();

  unreachedQueries(flights);

  // @ts-expect-error: no such column
  void flights.ingestTsv("", { columns: ["speed"] });
  void flights.ingestTsv("", { columns: ["flight_id", null, "lat"] });

  // @ts-expect-error: a definition or a name
  db.table({ name: "FlightState" });
  // @ts-expect-error: an unknown option
  db.begin({ readonly: true });

  const view = db.begin().table(FlightState).get(key);
  isTrue<Equal<typeof view, RowView<Flight> | undefined>>();
  // @ts-expect-error: views are read only
  if (view !== undefined) view.altitude = 5;
  const copy = view?.toObject();
  isTrue<Equal<typeof copy, Flight | undefined>>();

  const untyped = db.table("Anything").get("key")?.whatever;
  isTrue<
    Equal<typeof untyped, string | number | bigint | boolean | Uint8Array | null | undefined>
  >();
}

/** The same, for what queries compute and change. */
function unreachedQueries(flights: Table<typeof FlightState.columns>): void {
  const query = flights.query().where("altitude", ">", 5);
  const results = query.aggregate({
    rows: "count",
    values: ["count", "lat"],
    first: ["min", "flight_id"],
    top: ["max", "on_ground"],
    serial: ["sum", "serial"],
    distance: ["sum", "distance"],
    mean: ["avg", "serial"],
  });
  isTrue<
    Equal<typeof results, {
      rows: number;
      values: number;
      first: string | null;
      top: boolean | null;
      serial: bigint | null;
      distance: number | null;
      mean: number | null;
    }>
  >();
  const serial = query.sum("serial");
  isTrue<Equal<typeof serial, bigint | null>>();
  const raw = query.max("raw");
  isTrue<Equal<typeof raw, Uint8Array | null>>();
  // @ts-expect-error: text has no sum
  query.sum("flight_id");
  // @ts-expect-error: a bool has no average
  query.aggregate({ it: ["avg", "on_ground"] });
  // @ts-expect-error: no such aggregate
  query.aggregate({ it: ["median", "lat"] });
  // @ts-expect-error: no such column
  flights.aggregate("", { it: ["min", "speed"] });

  query.update({ lat: { increment: 0.5 }, altitude: null, serial: { max: 5n }, raw: null });
  query.select("lat").update({ on_ground: true });
  // @ts-expect-error: the key cannot be patched
  query.update({ flight_id: "UAL1" });
  // @ts-expect-error: no such column
  query.update({ speed: 1 });
  // @ts-expect-error: a bigint column takes bigints
  query.update({ serial: { increment: 1 } });
  // @ts-expect-error: a bool has no operations
  query.update({ on_ground: { increment: 1 } });
  // @ts-expect-error: seats is not nullable
  flights.updateWhere("", { seats: null });
  flights.updateWhere({ compare: [["=", "seats", 5]] }, { seats: { multiply: 2 } });
  const count = flights.deleteWhere("");
  isTrue<Equal<typeof count, number>>();

  const stream = query.select("flight_id").stream();
  isTrue<Equal<typeof stream, AsyncIterable<Pick<Flight, "flight_id">>>>();
  const prepared = flights.prepare("-compare {= seats $1}");
  const total = prepared.aggregate({ total: ["sum", "lat"] }, 5);
  isTrue<Equal<typeof total, { total: number | null }>>();
}

interface Flight {
  flight_id: string;
  lat: number | null;
  altitude: number | null;
  seats: number;
  serial: bigint;
  distance: number;
  on_ground: boolean | null;
  updated_at: number;
  raw: Uint8Array | null;
}

/** Never called: the compiler looks at it. */
async function promised(db: Aerostore) {
  // @ts-expect-error: no such promise
  db.setConfig("synchronous_commit", "maybe");
  // @ts-expect-error: no such promise
  db.begin({ synchronousCommit: true });
  // @ts-expect-error: it is a number
  db.setConfig("aerostore.checkpoint_interval_secs", "10");
  // @ts-expect-error: there is nothing in between
  Aerostore.open("./db", { salvage: "some" });
  const { durable } = db.stats().log;
  const fee = await db.transaction(async () => await Promise.resolve(1), {
    synchronousCommit: "on",
  });
  return [db.getConfig("synchronous_commit"), fee, durable] as const;
}

describe("inference", () => {
  test("RowOf gives every column, with null where it may be", () => {
    isTrue<Equal<RowOf<typeof FlightState>, { [K in keyof Flight]: Flight[K] }>>();
    isTrue<Equal<RowOf<typeof Counter>, { id: number; n: number }>>();
  });

  test("InsertOf lets nullable and defaulted columns be left out", () => {
    isTrue<
      Equal<InsertOf<typeof FlightState>, {
        flight_id: string;
        serial: bigint;
        distance: number;
        updated_at: number;
        lat?: number | null;
        altitude?: number | null;
        seats?: number;
        on_ground?: boolean | null;
        raw?: Uint8Array | null;
      }>
    >();
    isTrue<Equal<InsertOf<typeof Counter>, { id: number; n?: number }>>();
  });

  test("PatchOf has every column but the key, each optional", () => {
    isTrue<Equal<PatchOf<typeof Counter>, { n?: number }>>();
    isTrue<
      Equal<keyof PatchOf<typeof FlightState>, Exclude<keyof Flight, "flight_id">>
    >();
  });

  test("KeyOf is the type of the primary key", () => {
    isTrue<Equal<KeyOf<typeof FlightState>, string>>();
    isTrue<Equal<KeyOf<typeof Counter>, number>>();
    const Big = defineTable("Big", { id: t.int64({ as: "bigint" }).primaryKey() });
    isTrue<Equal<KeyOf<typeof Big>, bigint>>();
    assert.equal(Big.name, "Big");
  });

  test("a definition keeps its name, and a table its columns", () => {
    isTrue<Equal<typeof FlightState.name, "FlightState">>();
    isTrue<Equal<Parameters<Table<typeof Counter.columns>["get"]>, [key: number]>>();
    assert.equal(typeof unreached, "function");
  });

  test("settings and waits for the disk have the types of their promises", () => {
    isTrue<Equal<ReturnType<typeof promised>, Promise<readonly ["on" | "off", number, number]>>>();
    isTrue<Equal<ReturnType<Transaction["commitAsync"]>, Promise<void>>>();
    isTrue<Equal<ReturnType<Aerostore["flush"]>, Promise<void>>>();
    isTrue<Equal<ReturnType<Aerostore["flushSync"]>, boolean>>();
    isTrue<Equal<ReturnType<Aerostore["close"]>, CloseReport>>();
    isTrue<Equal<ReturnType<Aerostore["checkpointAsync"]>, Promise<SnapshotReport>>>();
    assert.equal(typeof promised, "function");
  });

  test("a code is one of the union", () => {
    isTrue<Equal<AerostoreError["code"], ErrorCode>>();
    isTrue<Equal<Extract<ErrorCode, "region_full" | "no_such_code">, "region_full">>();
  });
});

describe("what public calls take and give", () => {
  test("has a name that programs can import", () => {
    isTrue<Equal<ReturnType<Aerostore["stats"]>, Stats>>();
    isTrue<Equal<Stats["tables"][number], TableStats>>();
    isTrue<Equal<Stats["memory"], MemoryStats>>();
    isTrue<Equal<ReturnType<Aerostore["verify"]>, Verification>>();
    isTrue<Equal<ReturnType<Aerostore["begin"]>, Transaction>>();
    isTrue<Equal<Parameters<Aerostore["begin"]>[0], TransactionOptions | undefined>>();
    isTrue<Equal<Parameters<Aerostore["transaction"]>[1], RetryOptions | undefined>>();
    isTrue<Equal<Parameters<Aerostore["setConfig"]>[0], ConfigurationName>>();
    isTrue<Equal<ConfigurationValue<"synchronous_commit">, "on" | "off">>();
    isTrue<Equal<ReturnType<Table["search"]>, Result<Record<string, ColumnValue | null>>>>();
    isTrue<Equal<ReturnType<ReturnType<Table["query"]>["explain"]>, Explanation>>();
    isTrue<Equal<Explanation["route"], Route>>();
    isTrue<Equal<Parameters<Table["ingestTsv"]>[0], IngestSource>>();
    isTrue<Equal<Awaited<ReturnType<Table["ingestTsv"]>>, IngestProgress>>();
    isTrue<Equal<OpenOptions["dialect"], Dialect | undefined>>();
    isTrue<Equal<EphemeralOptions["ephemeral"], string>>();
    isTrue<Equal<keyof RemoveOptions, "shmPath" | "libraryPath">>();
    isTrue<Equal<QueryError["code"], ErrorCode>>();
  });

  test("can be passed on by programs", () => {
    const clause: CompareClause<RowOf<typeof FlightState>> = ["range", "altitude", 0, 10_000];
    const query: SearchQuery<RowOf<typeof FlightState>> = { compare: [clause], sort: ["-lat"] };
    const options: UpsertManyOptions = { atomic: false };
    const changes: Changes<typeof FlightState.columns> = { seats: { increment: 1 } };
    assert.ok([query, options, changes].every((value) => typeof value === "object"));
  });
});

test("defineTable() refuses at compile time what it can see there", () => {
  assert.throws(() =>
    defineTable("T", { id: t.text(4).primaryKey() }, {
      // @ts-expect-error: an index over a column that is not there
      indexes: [["speed"]],
    })
  );
  assert.throws(() =>
    // @ts-expect-error: a default of another type
    defineTable("T", { id: t.text(4).primaryKey(), n: t.int32().default("0") })
  );
  // @ts-expect-error: no such way to read 64 bits
  assert.throws(() => t.int64({ as: "string" }));
});
