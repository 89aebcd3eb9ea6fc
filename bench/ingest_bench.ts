/**
 * How many megabytes of tab-separated text a second become rows of a table, from TypeScript?
 *
 *     npm run bench -- ingest
 *     npm run bun -- bench/ingest_bench.ts --rows 100000
 */

import { compare, Place, readSettings } from "./harness.ts";
import { makePositions, type Position, PositionTable, regionSize } from "./positions.ts";
import { openSqlite } from "./sqlite.ts";

const settings = readSettings(200_000);
const names = Object.keys(PositionTable.columns) as (keyof Position)[];
const lines = makePositions(settings.rows).map((row) => names.map((name) => row[name]).join("\t"));
const bytes = new TextEncoder().encode(`${lines.join("\n")}\n`);

using place = new Place([PositionTable], regionSize(settings.rows));
const table = place.database.table(PositionTable);
using sqlite = await openSqlite();
const map = new Map<string, Position>();

/** What a program does that has no reader of its own for such text. */
function* parse(): Generator<Position> {
  for (const line of new TextDecoder().decode(bytes).split("\n")) {
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

/** Adds up a column of all rows. */
function sumOf(rows: Iterable<Position>): number {
  let sum = 0;
  for (const row of rows) sum += row.gs;
  return sum;
}

function fillMap(): void {
  for (const row of parse()) map.set(row.icao24, row);
}

async function fillTable(): Promise<void> {
  await table.ingestTsv(bytes, { columns: names });
}

function fillSqlite(): void {
  sqlite.upsertMany(parse());
}

const select = sqlite.prepare("select * from position");
await compare("How fast does tab-separated text become rows?", settings, [{
  title: `${(bytes.length / 1e6).toFixed(1)} MB, into a table that has the rows already`,
  item: "byte",
  items: bytes.length,
  subjects: [
    {
      name: "split, Number, Map.set",
      run: fillMap,
      check: () => {
        fillMap();
        return sumOf(map.values());
      },
    },
    {
      name: "Aerostore, ingestTsv",
      run: fillTable,
      check: async () => {
        await fillTable();
        return sumOf(table.search(""));
      },
    },
    {
      name: `split, Number, ${sqlite.name}, one transaction`,
      run: fillSqlite,
      check: () => {
        fillSqlite();
        return sumOf(select.all() as Position[]);
      },
    },
  ],
}]);
