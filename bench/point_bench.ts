/**
 * What does it cost to touch one row, or some rows by their keys, from TypeScript?
 *
 *     npm run bench -- point
 *     npm run bun -- bench/point_bench.ts --rows 100000
 */

import type { Table } from "../mod.ts";
import { keep, Place, runBenchmark, type Settings, type Task } from "./harness.ts";
import {
  keyOf,
  Portions,
  type Position,
  positionOf,
  positions,
  PositionTable,
  regionSize,
} from "./positions.ts";
import { openSqlite, type Sqlite } from "./sqlite.ts";

/**
 * Something that holds the rows. Each has loops of its own, for a loop that runs several of them is
 * optimized for none.
 */
interface Store {
  /** Gets the rows of keys, as objects; returns the sum of a field. */
  get(keys: readonly string[]): number;
  /** Reads two fields of the rows of keys; returns their sum. */
  readTwo(keys: readonly string[]): number;
  /** Gets the rows of keys by calls for 1000 of them; returns the sum of a field. */
  getMany?(keys: readonly string[]): number;
  /** Looks for keys; returns how many there are. */
  has(keys: readonly string[]): number;
  /** Writes rows one by one. */
  upsert(rows: readonly Position[]): void;
  /** Writes rows by one call, each for itself. */
  upsertEach?(rows: readonly Position[]): void;
  /** Writes rows by one call, all or none. */
  upsertAll?(rows: readonly Position[]): void;
}

class MapStore implements Store {
  readonly #map = new Map<string, Position>();

  constructor({ rows }: Settings) {
    this.upsert([...positions(rows)]);
  }

  get(keys: readonly string[]): number {
    let sum = 0;
    for (const key of keys) {
      const row = this.#map.get(key);
      keep(row);
      if (row !== undefined) sum += row.altitude;
    }
    return sum;
  }

  getMany(keys: readonly string[]): number {
    return this.get(keys);
  }

  readTwo(keys: readonly string[]): number {
    let sum = 0;
    for (const key of keys) {
      const row = this.#map.get(key);
      if (row !== undefined) sum += row.altitude + row.gs;
    }
    return sum;
  }

  has(keys: readonly string[]): number {
    let count = 0;
    for (const key of keys) if (this.#map.has(key)) count++;
    return count;
  }

  /** A Map that kept the caller's objects would change when the caller changes them. */
  upsert(rows: readonly Position[]): void {
    for (const row of rows) this.#map.set(row.icao24, { ...row });
  }

  upsertEach(rows: readonly Position[]): void {
    this.upsert(rows);
  }

  upsertAll(rows: readonly Position[]): void {
    this.upsert(rows);
  }
}

class AerostoreStore implements Store, Disposable {
  readonly #place: Place;
  readonly #table: Table<typeof PositionTable.columns>;

  constructor({ rows }: Settings) {
    this.#place = new Place([PositionTable], regionSize(rows));
    this.#table = this.#place.database.table(PositionTable);
    this.#table.upsertMany(positions(rows), { atomic: false });
  }

  get(keys: readonly string[]): number {
    let sum = 0;
    for (const key of keys) {
      const row = this.#table.get(key);
      keep(row);
      if (row !== undefined) sum += row.altitude;
    }
    return sum;
  }

  getMany(keys: readonly string[]): number {
    let sum = 0;
    for (let at = 0; at < keys.length; at += batchSize) {
      for (const row of this.#table.getMany(keys.slice(at, at + batchSize))) {
        keep(row);
        if (row !== undefined) sum += row.altitude;
      }
    }
    return sum;
  }

  readTwo(keys: readonly string[]): number {
    using transaction = this.#place.database.begin({ readOnly: true });
    const table = transaction.table(PositionTable);
    let sum = 0;
    for (const key of keys) {
      const row = table.get(key);
      if (row !== undefined) sum += row.altitude + row.gs;
    }
    return sum;
  }

  has(keys: readonly string[]): number {
    let count = 0;
    for (const key of keys) if (this.#table.has(key)) count++;
    return count;
  }

  upsert(rows: readonly Position[]): void {
    for (const row of rows) this.#table.upsert(row);
  }

  upsertEach(rows: readonly Position[]): void {
    this.#table.upsertMany(rows, { atomic: false });
  }

  upsertAll(rows: readonly Position[]): void {
    this.#table.upsertMany(rows);
  }

  [Symbol.dispose](): void {
    this.#place[Symbol.dispose]();
  }
}

class SqliteStore implements Store {
  readonly #database: Sqlite;

  private constructor(database: Sqlite) {
    this.#database = database;
  }

  static async open({ rows }: Settings): Promise<SqliteStore> {
    return new SqliteStore(await openSqlite(positions(rows)));
  }

  get(keys: readonly string[]): number {
    const statement = this.#database.prepare("select * from position where icao24 = ?");
    let sum = 0;
    for (const key of keys) {
      const row = statement.get(key) as Position;
      keep(row);
      sum += row.altitude;
    }
    return sum;
  }

  readTwo(keys: readonly string[]): number {
    const statement = this.#database.prepare("select altitude, gs from position where icao24 = ?");
    let sum = 0;
    for (const key of keys) {
      const row = statement.get(key) as Position;
      sum += row.altitude + row.gs;
    }
    return sum;
  }

  has(keys: readonly string[]): number {
    const statement = this.#database.prepare("select 1 from position where icao24 = ?");
    let count = 0;
    for (const key of keys) if (statement.get(key)) count++;
    return count;
  }

  upsert(rows: readonly Position[]): void {
    for (const row of rows) this.#database.upsert(row);
  }

  upsertAll(rows: readonly Position[]): void {
    this.#database.upsertMany(rows);
  }
}

/** Rows that one call of `upsertMany` writes. */
const batchSize = 1_000;
/** Rows that are touched one by one while the clock runs: it counts in microseconds. */
const portionSize = 10_000;
const hotCount = 1_000;

/** Rows enough to leave every cache, or few that stay in them. */
const places = [
  { name: "random rows", rows: 200_000, among: Infinity },
  { name: `${hotCount} hot rows`, rows: 20_000, among: hotCount },
];

function tasks({ rows, tiny }: Settings): Task<Store>[] {
  return places.flatMap(({ name, rows: touched, among }) => {
    const limit = Math.min(rows, among);
    const count = tiny ? 2 * portionSize : touched;
    const reading = (
      title: string,
      method: (store: Store) => ((keys: readonly string[]) => number) | undefined,
    ): Task<Store> => ({
      title: `${title}, ${name}`,
      item: "row",
      items: portionSize,
      prepare: (store) => {
        const read = method(store);
        if (read === undefined) return undefined;
        const keys = new Portions(count / portionSize, portionSize, limit, keyOf);
        return () => read.call(store, keys.next());
      },
    });
    const writing = (
      title: string,
      size: number,
      method: (store: Store) => ((rows: readonly Position[]) => void) | undefined,
    ): Task<Store> => ({
      title: `${title}, ${name}`,
      item: "row",
      items: size,
      prepare: (store) => {
        const write = method(store);
        if (write === undefined) return undefined;
        const chosen = new Portions(count / size, size, limit, positionOf);
        let first = true;
        return () => {
          const portion = chosen.next();
          write.call(store, portion);
          if (!first) return undefined;
          first = false;
          return store.get(portion.map((row) => row.icao24));
        };
      },
    });
    return [
      reading("get an object of 8 fields", (store) => store.get),
      reading("getMany of 1000", (store) => store.getMany),
      reading("two fields of a view in a transaction", (store) => store.readTwo),
      reading("has", (store) => store.has),
      writing("upsert", portionSize, (store) => store.upsert),
      writing("upsertMany of 1000, atomic: false", batchSize, (store) => store.upsertEach),
      writing("upsertMany of 1000, one transaction", batchSize, (store) => store.upsertAll),
    ];
  });
}

await runBenchmark<Store>(new URL(import.meta.url), {
  question: "What does it cost to touch one row from TypeScript?",
  rows: 1_000_000,
  contenders: {
    Map: (settings) => new MapStore(settings),
    Aerostore: (settings) => new AerostoreStore(settings),
    SQLite: (settings) => SqliteStore.open(settings),
  },
  tasks,
});
