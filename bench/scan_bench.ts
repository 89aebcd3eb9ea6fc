/**
 * How many rows a second does a search look at when no index helps, from TypeScript?
 *
 *     npm run bench -- scan
 *     npm run bun -- bench/scan_bench.ts --rows 100000
 */

import { compare, type Group, keep, Place, readSettings, type Subject } from "./harness.ts";
import { makePositions, type Position, PositionTable, regionSize } from "./positions.ts";
import { openSqlite } from "./sqlite.ts";

const settings = readSettings(1_000_000);
const rows = makePositions(settings.rows);
using place = new Place([PositionTable], regionSize(settings.rows));
const table = place.database.table(PositionTable);
table.upsertMany(rows, { atomic: false });
using sqlite = await openSqlite();
sqlite.upsertMany(rows);

/** Bytes of text compare as SQLite does; all texts here are ASCII. */
function compareKeys(a: Position, b: Position): number {
  return a.icao24 < b.icao24 ? -1 : a.icao24 > b.icao24 ? 1 : 0;
}

/** A task of which each subject gives the rows, or their number. */
function group(
  title: string,
  array: () => unknown,
  search: string,
  sql: string,
  ...values: (string | number)[]
): Group {
  const statement = sqlite.prepare(sql);
  const counts = sql.includes("count(*)");
  const run = (name: string, find: () => unknown): Subject => ({
    name,
    run: () => keep(find()),
    check: () => digest(find()),
  });
  return {
    title,
    item: "row of the table",
    items: settings.rows,
    subjects: [
      run("array", array),
      run("Aerostore", () => {
        const found = table.search(search);
        return counts ? found.count : found.all();
      }),
      run(
        sqlite.name,
        () => counts ? statement.get(...values) : statement.all(...values),
      ),
    ],
  };
}

/** What must be the same for all: a count, or the rows, in order. */
function digest(found: unknown): string {
  if (Array.isArray(found)) return JSON.stringify(found.map((row: Position) => row.icao24));
  if (typeof found === "object" && found !== null) return String(Object.values(found)[0]);
  return String(found);
}

await compare("How fast is a search that looks at every row?", settings, [
  group(
    "count of two predicates, 3% of the rows",
    () => rows.filter((row) => row.altitude >= 30_000 && row.typ === "B738").length,
    "-compare {{>= altitude 30000} {= typ B738}} -countOnly 1",
    "select count(*) from position where altitude >= ? and typ = ?",
    30_000,
    "B738",
  ),
  group(
    "count of a pattern, 4% of the rows",
    () => rows.filter((row) => /^K.Q/.test(row.destination)).length,
    "-compare {{match destination K?Q*}} -countOnly 1",
    "select count(*) from position where destination glob ?",
    "K?Q*",
  ),
  group(
    "the 50 fastest above 30,000 feet, as objects",
    () =>
      rows.filter((row) => row.altitude >= 30_000)
        .sort((a, b) => b.gs - a.gs || compareKeys(a, b)).slice(0, 50),
    "-compare {{>= altitude 30000}} -sort {-gs icao24} -limit 50",
    "select * from position where altitude >= ? order by gs desc, icao24 limit 50",
    30_000,
  ),
  group(
    "1% of the rows, sorted, as objects",
    () => rows.filter((row) => row.typ === "B77W" && row.lat > 72).sort(compareKeys),
    "-compare {{= typ B77W} {> lat 72}} -sort icao24",
    "select * from position where typ = ? and lat > ? order by icao24",
    "B77W",
    72,
  ),
]);
