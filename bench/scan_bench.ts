/**
 * How many rows a second does a search look at when no index helps, from TypeScript?
 *
 *     npm run bench -- scan
 *     npm run bun -- bench/scan_bench.ts --rows 100000
 */

import type { Table } from "../mod.ts";
import { keep, Place, runBenchmark, type Settings, type Task } from "./harness.ts";
import { type Position, positions, PositionTable, regionSize } from "./positions.ts";
import { openSqlite, type Sqlite } from "./sqlite.ts";

/** Something that holds the rows and searches them. */
interface Store {
  /** Counts rows. */
  count(query: Query): number;
  /** Finds rows, in order, as objects. */
  find(query: Query): readonly Position[];
}

/** The same search in three languages. */
interface Query {
  readonly title: string;
  /** Whether only the number of rows is asked for. */
  readonly counts: boolean;
  readonly search: string;
  readonly sql: string;
  readonly filter: (rows: readonly Position[]) => readonly Position[];
}

const queries: readonly Query[] = [
  {
    title: "count of two predicates, 3% of the rows",
    counts: true,
    search: "-compare {{>= altitude 30000} {= typ B738}} -countOnly 1",
    sql: "select count(*) from position where altitude >= 30000 and typ = 'B738'",
    filter: (rows) => rows.filter((row) => row.altitude >= 30_000 && row.typ === "B738"),
  },
  {
    title: "count of a pattern, 4% of the rows",
    counts: true,
    search: "-compare {{match destination K?Q*}} -countOnly 1",
    sql: "select count(*) from position where destination glob 'K?Q*'",
    filter: (rows) => rows.filter((row) => /^K.Q/.test(row.destination)),
  },
  {
    title: "the 50 fastest of 27% of the rows, as objects",
    counts: false,
    search: "-compare {{>= altitude 30000}} -sort {-gs icao24} -limit 50",
    sql: "select * from position where altitude >= 30000 order by gs desc, icao24 limit 50",
    filter: (rows) =>
      rows.filter((row) => row.altitude >= 30_000)
        .sort((a, b) => b.gs - a.gs || compareKeys(a, b)).slice(0, 50),
  },
  {
    title: "1% of the rows, sorted, as objects",
    counts: false,
    search: "-compare {{= typ B77W} {> lat 72}} -sort icao24",
    sql: "select * from position where typ = 'B77W' and lat > 72 order by icao24",
    filter: (rows) => rows.filter((row) => row.typ === "B77W" && row.lat > 72).sort(compareKeys),
  },
];

/** Text compares by its bytes; all keys here are ASCII. */
function compareKeys(a: Position, b: Position): number {
  return a.icao24 < b.icao24 ? -1 : a.icao24 > b.icao24 ? 1 : 0;
}

class ArrayStore implements Store {
  readonly #rows: readonly Position[];

  constructor({ rows }: Settings) {
    this.#rows = [...positions(rows)];
  }

  count(query: Query): number {
    return query.filter(this.#rows).length;
  }

  find(query: Query): readonly Position[] {
    return query.filter(this.#rows);
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

  count(query: Query): number {
    return this.#table.search(query.search).count;
  }

  find(query: Query): readonly Position[] {
    return this.#table.search(query.search).all();
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

  count(query: Query): number {
    const [row] = this.#database.prepare(query.sql).all();
    return Number(Object.values(row as Record<string, number>)[0]);
  }

  find(query: Query): readonly Position[] {
    return this.#database.prepare(query.sql).all() as Position[];
  }
}

function tasks({ rows }: Settings): Task<Store>[] {
  return queries.map((query) => ({
    title: query.title,
    item: "row of the table",
    items: rows,
    prepare: (store) => {
      if (query.counts) return () => store.count(query);
      let first = true;
      return () => {
        const found = store.find(query);
        keep(found);
        if (!first) return undefined;
        first = false;
        return JSON.stringify(found.map((row) => [row.icao24, row.gs, row.destination]));
      };
    },
  }));
}

await runBenchmark<Store>(new URL(import.meta.url), {
  question: "How fast is a search that looks at every row?",
  rows: 1_000_000,
  contenders: {
    "array of objects": (settings) => new ArrayStore(settings),
    Aerostore: (settings) => new AerostoreStore(settings),
    SQLite: (settings) => SqliteStore.open(settings),
  },
  tasks,
});
