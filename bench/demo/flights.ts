/**
 * The flights of one real day, from the npm package `vega-datasets`: on-time statistics of the U.S.
 * Bureau of Transportation Statistics, joined with the places of the airports.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { parquetReadObjects } from "hyparquet";
import { angleBetween, type Point } from "./great_circle.ts";
import type { Flight } from "./tables.ts";

/** The day that is replayed, a Thursday. */
export const day = "2001-01-04";

/** The file is sorted by departure, and its first rows are the first 17 days of 2001. */
const rowsOfFirstDays = 272_727;

const hourMs = 3_600_000;
const minuteMs = 60_000;
const milesPerRadian = 3958.8;

/** The data has no arrival times. Cruising and what departure and approach take on top of it. */
const milesPerMinute = 8;
const extraMinutes = 25;

/**
 * Hours from UTC of the airports of a state, in winter. Where a state has two, the one of most of
 * its flights.
 */
const hoursFromUtc: ReadonlyMap<string, number> = new Map(
  ([
    [-4, "PR VI"],
    [-5, "CT DC DE FL GA IN KY MA MD ME MI NC NH NJ NY OH PA RI SC VA VT WV"],
    [-6, "AL AR IA IL KS LA MN MO MS ND NE OK SD TN TX WI"],
    [-7, "AZ CO ID MT NM UT WY"],
    [-8, "CA NV OR WA"],
    [-9, "AK"],
    [-10, "HI"],
    [10, "GU"],
  ] as const).flatMap(([hours, states]) => states.split(" ").map((state) => [state, hours])),
);

interface Airport extends Point {
  readonly hoursFromUtc: number;
}

interface Departure {
  /** Local time of the origin, as if it were UTC. */
  readonly date: Date;
  /** Minutes that it arrived late; negative if early. */
  readonly delay: bigint;
  readonly origin: string;
  readonly destination: string;
}

/** The module of the package stands in a directory beside the data. */
const data = join(dirname(createRequire(import.meta.url).resolve("vega-datasets")), "..", "data");

/**
 * Reads all flights that departed on {@linkcode day}, by local time of their origins.
 *
 * @returns The flights, by departure.
 */
export async function readFlights(): Promise<Flight[]> {
  const airports = readAirports();
  const bytes = readFileSync(join(data, "flights-3m.parquet"));
  const rows = await parquetReadObjects({
    file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    columns: ["date", "delay", "origin", "destination"],
    rowEnd: rowsOfFirstDays,
    compressors: { ZSTD: (input) => new Uint8Array(zstdDecompressSync(input)) },
  }) as unknown as Departure[];

  const flights: Flight[] = [];
  const seen = new Map<string, number>();
  for (const row of rows) {
    if (row.date.toISOString().slice(0, 10) !== day) continue;
    const origin = airports.get(row.origin);
    const destination = airports.get(row.destination);
    if (origin === undefined || destination === undefined) continue;
    flights.push(makeFlight(row, origin, destination, seen));
  }
  return flights.sort((a, b) => a.off_at - b.off_at);
}

function makeFlight(
  row: Departure,
  origin: Airport,
  destination: Airport,
  seen: Map<string, number>,
): Flight {
  const time = row.date.toISOString().slice(11, 16).replace(":", "");
  const name = `${row.origin}-${row.destination}-${time}`;
  // Two airlines may fly the same way at the same minute.
  const copy = seen.get(name) ?? 0;
  seen.set(name, copy + 1);
  const miles = angleBetween(origin, destination) * milesPerRadian;
  const scheduled = row.date.getTime() - origin.hoursFromUtc * hourMs;
  const off = scheduled + Number(row.delay) * minuteMs;
  return {
    flight_id: copy === 0 ? name : `${name}-${copy + 1}`,
    origin: row.origin,
    destination: row.destination,
    off_at: off,
    on_at: off + (extraMinutes + miles / milesPerMinute) * minuteMs,
    miles: Math.max(1, Math.round(miles)),
    from_lat: origin.lat,
    from_lon: origin.lon,
    to_lat: destination.lat,
    to_lon: destination.lon,
  };
}

function readAirports(): Map<string, Airport> {
  const airports = new Map<string, Airport>();
  const [, ...lines] = readFileSync(join(data, "airports.csv"), "utf8").trimEnd().split("\n");
  for (const line of lines) {
    // Names of airports may contain commas, in quotes; what is used here never does.
    const fields = line.replace(/"[^"]*"/g, "").split(",");
    const [code = "", , , state = "", , lat = "", lon = ""] = fields;
    airports.set(code, {
      lat: Number(lat),
      lon: Number(lon),
      hoursFromUtc: hoursFromUtc.get(state) ?? 0,
    });
  }
  return airports;
}
