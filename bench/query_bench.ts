/**
 * What do queries cost where indexes help, from TypeScript, and what do the indexes cost?
 *
 *     npm run bench -- query
 *     npm run bun -- bench/query_bench.ts --rows 100000
 *
 * Both contenders have the same indexes, and prepare every statement once. SQLite has counted its
 * keys (`analyze`).
 */

import { defineTable, t, type Table } from "../mod.ts";
import { keep, Place, runBenchmark, type Settings, type Task } from "./harness.ts";
import { type Position, positionOf, positions, PositionTable, regionSize } from "./positions.ts";
import { openSqlite, type Sqlite } from "./sqlite.ts";

/** The table of the other benchmarks, with indexes. */
const IndexedTable = defineTable("Position", {
  ...PositionTable.columns,
  altitude: t.int32().index(),
  updated_at: t.timestamp().index(),
  destination: t.text(8).index(),
});

type Values = readonly (string | number)[];

/** A query with its values at hand: gives rows. */
type Find = (values: Values) => readonly Partial<Position>[];
/** Gives a number of rows. */
type Count = (values: Values) => number;

/** The same query in two languages. */
interface Query {
  readonly search: string;
  readonly sql: string;
}

/** Something that holds the rows. */
interface Store {
  /** Prepares a query that gives objects. */
  find(query: Query): Find;
  /** Prepares a query of which two fields of each row are read: their sum. */
  sum(query: Query): Count;
  /** Prepares a query that counts. */
  count(query: Query): Count;
  /** Writes a row. */
  upsert(row: Position): void;
}

class AerostoreStore implements Store, Disposable {
  readonly #place: Place;
  readonly #table: Table<typeof IndexedTable.columns>;

  constructor({ rows }: Settings) {
    this.#place = new Place([IndexedTable], 2 * regionSize(rows));
    this.#table = this.#place.database.table(IndexedTable);
    this.#table.upsertMany(positions(rows), { atomic: false });
  }

  find({ search }: Query): Find {
    const prepared = this.#table.prepare(search);
    return (values) => prepared.all(...values);
  }

  sum({ search }: Query): Count {
    const text = (values: Values): string =>
      values.reduce<string>((done, value, at) => done.replace(`$${at + 1}`, String(value)), search);
    return (values) =>
      this.#place.database.transaction((tx) => {
        let sum = 0;
        for (const row of tx.table(IndexedTable).search(text(values))) sum += row.lat + row.gs;
        return sum;
      }, { readOnly: true });
  }

  count({ search }: Query): Count {
    const prepared = this.#table.prepare(search);
    return (values) => prepared.count(...values);
  }

  upsert(row: Position): void {
    this.#table.upsert(row);
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
    const database = await openSqlite(positions(rows));
    for (const column of ["altitude", "updated_at", "destination"]) {
      database.exec(`create index by_${column} on position (${column})`);
    }
    database.exec("analyze");
    return new SqliteStore(database);
  }

  find({ sql }: Query): Find {
    const statement = this.#database.prepare(`select * from position where ${sql}`);
    return (values) => statement.all(...values) as Position[];
  }

  sum({ sql }: Query): Count {
    const statement = this.#database.prepare(`select lat, gs from position where ${sql}`);
    return (values) => {
      let sum = 0;
      for (const row of statement.all(...values) as Position[]) sum += row.lat + row.gs;
      return sum;
    };
  }

  count({ sql }: Query): Count {
    const statement = this.#database.prepare(`select count(*) as n from position where ${sql}`);
    return (values) => (statement.get(...values) as { n: number }).n;
  }

  upsert(row: Position): void {
    this.#database.upsert(row);
  }
}

/** Numbers below `below` that look random, the same for all contenders. */
function* randomNumbers(below: number): Generator<number, never> {
  for (let state = 1;;) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    yield Math.floor((state >>> 8) / 2 ** 24 * below);
  }
}

/** Makes the values of one query after the other. */
type MakeValues = (next: () => number) => Values;

/** A task that runs a query so often in one call that the clock can tell. */
function repeated(
  title: string,
  times: number,
  query: Query,
  below: number,
  values: MakeValues,
  prepare: (store: Store, query: Query) => (values: Values) => unknown,
): Task<Store> {
  return {
    title,
    item: "query",
    items: times,
    prepare: (store) => {
      const run = prepare(store, query);
      const numbers = randomNumbers(below);
      const all = Array.from({ length: times }, () => values(() => numbers.next().value));
      let first = true;
      return () => {
        for (const one of all) keep(run(one));
        if (!first) return undefined;
        first = false;
        return all.map((one) => fingerprint(run(one))).join();
      };
    },
  };
}

function fingerprint(found: unknown): string {
  if (!Array.isArray(found)) return String(Math.round(Number(found)));
  return `${found.length}:${found[0]?.icao24}:${found.at(-1)?.icao24}:${found[0]?.lat}`;
}

/** Moment of the row of a number; see `positionOf`. */
const firstMoment = positionOf(0).updated_at;
const between = (from: number, rows: number): Values => [
  firstMoment + from * 100,
  firstMoment + (from + rows) * 100,
];
const inOrder: Query = {
  search: "-compare {range updated_at $1 $2} -sort updated_at",
  sql: "updated_at >= ? and updated_at < ? order by updated_at",
};
const find = (store: Store, query: Query) => store.find(query);
const count = (store: Store, query: Query) => store.count(query);
const sum = (store: Store, query: Query) => store.sum(query);

function tasks({ rows, tiny }: Settings): Task<Store>[] {
  const few = tiny ? 2 : 200;
  const many = Math.min(10_000, rows / 2);
  const altitude: MakeValues = (next) => [next() % 41_000];
  const last = firstMoment + (rows - 11) * 100;
  return [
    repeated(
      `exact match, ${Math.round(rows / 41_000)} rows as objects`,
      few,
      { search: "-compare {= altitude $1} -sort icao24", sql: "altitude = ? order by icao24" },
      41_000,
      altitude,
      find,
    ),
    repeated(
      "seek to > max - 10, 10 rows as objects",
      few,
      {
        search: "-compare {> updated_at $1} -sort -updated_at",
        sql: "updated_at > ? order by updated_at desc",
      },
      2,
      () => [last],
      find,
    ),
    repeated(
      "range of 50 in order, as objects",
      few,
      inOrder,
      rows - 50,
      (next) => between(next(), 50),
      find,
    ),
    repeated(
      `range of ${many} in order, as objects`,
      tiny ? 1 : 4,
      inOrder,
      rows - many,
      (next) => between(next(), many),
      find,
    ),
    repeated(
      `count of a range of ${many}`,
      tiny ? 1 : 20,
      { search: "-compare {range updated_at $1 $2}", sql: "updated_at >= ? and updated_at < ?" },
      rows - many,
      (next) => between(next(), many),
      count,
    ),
    ...scans(),
    repeated(
      "in of 5 values, as objects",
      few,
      {
        search: "-compare {in altitude {$1 $2 $3 $4 $5}} -sort icao24",
        sql: "altitude in (?, ?, ?, ?, ?) order by icao24",
      },
      41_000,
      (next) => Array.from({ length: 5 }, () => next() % 41_000),
      find,
    ),
    ...results(rows, tiny),
    moves(rows, tiny),
  ];
}

/** Counts by queries that look at many rows. */
function scans(): Task<Store>[] {
  return [
    repeated(
      "full scan, two predicates, count",
      1,
      { search: "-compare {{>= gs $1} {> lat $2}}", sql: "gs >= ? and lat > ?" },
      2,
      () => [400, 30],
      count,
    ),
    repeated(
      "match with a prefix, 4% of the rows, count",
      1,
      { search: "-compare {match destination $1}", sql: "destination glob ?" },
      2,
      () => ["KQ*"],
      count,
    ),
    repeated(
      "match without a prefix, count",
      1,
      { search: "-compare {match destination $1}", sql: "destination glob ?" },
      2,
      () => ["*QB"],
      count,
    ),
  ];
}

/** The same rows as objects and as views. */
function results(rows: number, tiny: boolean): Task<Store>[] {
  const destination: MakeValues = (next) => [positionOf(next()).destination];
  return [
    repeated(
      "objects of 8 fields, 0.1% of the rows",
      tiny ? 2 : 20,
      { search: "-compare {= destination $1}", sql: "destination = ? order by icao24" },
      rows,
      destination,
      find,
    ),
    repeated(
      "two fields of a view, 0.1% of the rows",
      tiny ? 2 : 20,
      { search: "-compare {= destination $1}", sql: "destination = ?" },
      rows,
      destination,
      sum,
    ),
  ];
}

/** Upserts each of which moves its row along two indexes. */
function moves(rows: number, tiny: boolean): Task<Store> {
  const items = tiny ? 20 : 1000;
  return {
    title: "upsert that moves a row in two indexes",
    item: "row",
    items,
    prepare: (store) => {
      const numbers = randomNumbers(rows);
      const altitudes = randomNumbers(41_000);
      let moment = firstMoment + rows * 100;
      return () => {
        for (let i = 0; i < items; i++) {
          moment += 100;
          store.upsert({
            ...positionOf(numbers.next().value),
            altitude: altitudes.next().value,
            updated_at: moment,
          });
        }
        return undefined;
      };
    },
  };
}

await runBenchmark<Store>(new URL(import.meta.url), {
  question: "How fast are queries that indexes help, and writes that indexes burden?",
  rows: 1_000_000,
  contenders: {
    Aerostore: (settings) => new AerostoreStore(settings),
    SQLite: (settings) => SqliteStore.open(settings),
  },
  tasks,
});
