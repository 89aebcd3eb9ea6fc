/**
 * What does it cost to touch one row, or some rows by their keys, from TypeScript?
 *
 *     npm run bench -- point
 *     npm run bun -- bench/point_bench.ts --rows 100000
 */

import { compare, type Group, keep, Place, readSettings } from "./harness.ts";
import {
  chooseRows,
  makePositions,
  Portions,
  type Position,
  PositionTable,
  regionSize,
} from "./positions.ts";
import { openSqlite } from "./sqlite.ts";

const settings = readSettings(1_000_000);
const portion = 1_000;
const hot = 1_000;

const rows = makePositions(settings.rows);
const map = new Map(rows.map((row) => [row.icao24, row]));
using place = new Place([PositionTable], regionSize(settings.rows));
const { database } = place;
const table = database.table(PositionTable);
table.upsertMany(rows, { atomic: false });
using sqlite = await openSqlite();
sqlite.upsertMany(rows);

const selectRow = sqlite.prepare("select * from position where icao24 = ?");
const selectTwo = sqlite.prepare("select lat, lon from position where icao24 = ?");
const selectOne = sqlite.prepare("select 1 from position where icao24 = ?");

/** Adds up what a function gives for some rows. */
function sumOf<T>(items: readonly T[], value: (item: T) => number | undefined): number {
  return items.reduce((sum, item) => sum + (value(item) ?? NaN), 0);
}

/** Every subject has a loop of its own, for a loop that runs several of them is optimized for none. */
function getGroup(title: string, keys: Portions<string>): Group {
  const read = (key: string): Position => selectRow.get(key) as Position;
  return {
    title: `get an object of 8 fields, ${title}`,
    item: "row",
    items: keys.size,
    subjects: [
      {
        name: "Map",
        run: () => {
          for (const key of keys.next()) keep(map.get(key)?.altitude);
        },
        check: () => sumOf(keys.first, (key) => map.get(key)?.altitude),
      },
      {
        name: "Aerostore",
        run: () => {
          for (const key of keys.next()) keep(table.get(key));
        },
        check: () => sumOf(keys.first, (key) => table.get(key)?.altitude),
      },
      {
        name: sqlite.name,
        run: () => {
          for (const key of keys.next()) keep(read(key));
        },
        check: () => sumOf(keys.first, (key) => read(key).altitude),
      },
    ],
  };
}

function viewGroup(title: string, keys: Portions<string>): Group {
  const sumOfView = (portion: readonly string[]): number => {
    using transaction = database.begin({ readOnly: true });
    const positions = transaction.table(PositionTable);
    let sum = 0;
    for (const key of portion) {
      const row = positions.get(key);
      if (row !== undefined) sum += row.lat + row.lon;
    }
    return sum;
  };
  const sumOfMap = (portion: readonly string[]): number => {
    let sum = 0;
    for (const key of portion) {
      const row = map.get(key);
      if (row !== undefined) sum += row.lat + row.lon;
    }
    return sum;
  };
  const sumOfSqlite = (portion: readonly string[]): number => {
    let sum = 0;
    for (const key of portion) {
      const row = selectTwo.get(key) as Position;
      sum += row.lat + row.lon;
    }
    return sum;
  };
  return {
    title: `two fields of a view in a transaction, ${title}`,
    item: "row",
    items: keys.size,
    subjects: [
      {
        name: "Map",
        run: () => keep(sumOfMap(keys.next())),
        check: () => sumOfMap(keys.first),
      },
      {
        name: `Aerostore, ${portion} rows in a transaction`,
        run: () => keep(sumOfView(keys.next())),
        check: () => sumOfView(keys.first),
      },
      {
        name: sqlite.name,
        run: () => keep(sumOfSqlite(keys.next())),
        check: () => sumOfSqlite(keys.first),
      },
    ],
  };
}

function hasGroup(title: string, keys: Portions<string>): Group {
  return {
    title: `has, ${title}`,
    item: "row",
    items: keys.size,
    subjects: [
      {
        name: "Map",
        run: () => {
          for (const key of keys.next()) keep(map.has(key));
        },
        check: () => sumOf(keys.first, (key) => map.has(key) ? 1 : 0),
      },
      {
        name: "Aerostore",
        run: () => {
          for (const key of keys.next()) keep(table.has(key));
        },
        check: () => sumOf(keys.first, (key) => table.has(key) ? 1 : 0),
      },
      {
        name: sqlite.name,
        run: () => {
          for (const key of keys.next()) keep(selectOne.get(key));
        },
        check: () => sumOf(keys.first, (key) => selectOne.get(key) ? 1 : 0),
      },
    ],
  };
}

function upsertGroup(title: string, chosen: Portions<Position>): Group {
  const check = (read: (key: string) => Position | undefined) => (): number =>
    sumOf(chosen.first, (row) => read(row.icao24)?.gs);
  return {
    title: `upsert one by one, ${title}`,
    item: "row",
    items: chosen.size,
    subjects: [
      {
        name: "Map, a copy of the object",
        run: () => {
          for (const row of chosen.next()) map.set(row.icao24, { ...row });
        },
        check: check((key) => map.get(key)),
      },
      {
        name: "Aerostore",
        run: () => {
          for (const row of chosen.next()) table.upsert(row);
        },
        check: check((key) => table.get(key)),
      },
      {
        name: sqlite.name,
        run: () => {
          for (const row of chosen.next()) sqlite.upsert(row);
        },
        check: check((key) => selectRow.get(key) as Position),
      },
    ],
  };
}

function upsertManyGroup(title: string, chosen: Portions<Position>): Group {
  const check = (read: (key: string) => Position | undefined) => (): number =>
    sumOf(chosen.first, (row) => read(row.icao24)?.gs);
  return {
    title: `upsertMany of ${portion}, ${title}`,
    item: "row",
    items: chosen.size,
    subjects: [
      {
        name: "Map, copies of the objects",
        run: () => {
          for (const row of chosen.next()) map.set(row.icao24, { ...row });
        },
        check: check((key) => map.get(key)),
      },
      {
        name: "Aerostore, atomic: false",
        run: () => keep(table.upsertMany(chosen.next(), { atomic: false })),
        check: check((key) => table.get(key)),
      },
      {
        name: "Aerostore, one transaction",
        run: () => keep(table.upsertMany(chosen.next())),
        check: check((key) => table.get(key)),
      },
      {
        name: `${sqlite.name}, one transaction`,
        run: () => sqlite.upsertMany(chosen.next()),
        check: check((key) => selectRow.get(key) as Position),
      },
    ],
  };
}

const cases = [
  { title: "random row", among: settings.rows },
  { title: `${hot} hot rows`, among: hot },
];
const groups = cases.flatMap(({ title, among }) => {
  const chosen = chooseRows(rows, settings.rows, among);
  const keys = new Portions(chosen.map((row) => row.icao24), portion);
  const portions = new Portions(chosen, portion);
  return [
    getGroup(title, keys),
    viewGroup(title, keys),
    hasGroup(title, keys),
    upsertGroup(title, portions),
    upsertManyGroup(title, portions),
  ];
});
await compare("What does it cost to touch one row from TypeScript?", settings, groups);
