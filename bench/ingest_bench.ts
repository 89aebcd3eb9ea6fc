/**
 * How many bytes of tab-separated text a second become rows of a table, from TypeScript?
 *
 *     npm run bench -- ingest
 *     npm run bun -- bench/ingest_bench.ts --rows 100000
 */

import type { Table } from "../mod.ts";
import { Place, runBenchmark, type Settings, type Task } from "./harness.ts";
import { type Position, positions, PositionTable, regionSize } from "./positions.ts";
import { openSqlite, type Sqlite } from "./sqlite.ts";

const names = Object.keys(PositionTable.columns) as (keyof Position)[];

/** Something that takes rows in. */
interface Store {
  /** Makes rows of tab-separated text, and writes them. */
  ingest(text: Uint8Array): void | Promise<void>;
  /** All rows. */
  rows(): Iterable<Position>;
}

/** What a program does that has nothing for such text. */
function* parse(text: Uint8Array): Generator<Position> {
  for (const line of new TextDecoder().decode(text).split("\n")) {
    if (line === "") continue;
    const [icao24 = "", lat, lon, altitude, gs, updated_at, typ = "", destination = ""] = line
      .split("\t");
    yield {
      icao24,
      lat: Number(lat),
      lon: Number(lon),
      altitude: Number(altitude),
      gs: Number(gs),
      updated_at: Number(updated_at),
      typ,
      destination,
    };
  }
}

class MapStore implements Store {
  readonly #map = new Map<string, Position>();

  ingest(text: Uint8Array): void {
    for (const row of parse(text)) this.#map.set(row.icao24, row);
  }

  rows(): Iterable<Position> {
    return this.#map.values();
  }
}

class AerostoreStore implements Store, Disposable {
  readonly #place: Place;
  readonly #table: Table<typeof PositionTable.columns>;

  constructor({ rows }: Settings) {
    this.#place = new Place([PositionTable], regionSize(rows));
    this.#table = this.#place.database.table(PositionTable);
  }

  async ingest(text: Uint8Array): Promise<void> {
    await this.#table.ingestTsv(text, { columns: names });
  }

  rows(): Iterable<Position> {
    return this.#table.search("");
  }

  [Symbol.dispose](): void {
    this.#place[Symbol.dispose]();
  }
}

class SqliteStore implements Store {
  readonly #database: Sqlite;

  constructor(database: Sqlite) {
    this.#database = database;
  }

  ingest(text: Uint8Array): void {
    this.#database.upsertMany(parse(text));
  }

  rows(): Iterable<Position> {
    return this.#database.prepare("select * from position").all() as Position[];
  }
}

function sumOf(rows: Iterable<Position>): number {
  let sum = 0;
  for (const row of rows) sum += row.gs + row.altitude;
  return sum;
}

function tasks({ rows }: Settings): Task<Store>[] {
  const lines = Array.from(positions(rows), (row) => names.map((name) => row[name]).join("\t"));
  const text = new TextEncoder().encode(`${lines.join("\n")}\n`);
  return [{
    title: `${(text.length / 1e6).toFixed(1)} MB of text, into a table that has the rows already`,
    item: "byte",
    items: text.length,
    prepare: (store) => {
      let first = true;
      return async () => {
        await store.ingest(text);
        if (!first) return undefined;
        first = false;
        return sumOf(store.rows());
      };
    },
  }];
}

await runBenchmark<Store>(new URL(import.meta.url), {
  question: "How fast does tab-separated text become rows?",
  rows: 200_000,
  contenders: {
    "split, Number, Map.set": () => new MapStore(),
    "Aerostore, ingestTsv": (settings) => new AerostoreStore(settings),
    "split, Number, SQLite, one transaction": async () => new SqliteStore(await openSqlite()),
  },
  tasks,
});
