/**
 * A process that opens the database when all others have ended. It knows none of the tables: their
 * columns stand in the region. It checks every row against what the replay must have written.
 */

import { Aerostore } from "../../mod.ts";
import { positionAt } from "./great_circle.ts";
import { readOrders, replayEnd } from "./replay.ts";
import type { Flight, Position } from "./tables.ts";

/** What the process finds, printed as JSON. */
export interface Findings {
  readonly openMs: number;
  readonly tables: readonly string[];
  readonly flights: number;
  readonly positions: number;
  readonly commits: Readonly<Record<string, number>>;
  /** Flights that have departed and have no row, or an old one. */
  readonly missing: number;
  /** Rows that are not where their flight was at that moment, or belong to no flight. */
  readonly wrong: number;
  readonly verifyMs: number;
  readonly ok: boolean;
  readonly leaks: number;
  readonly problems: readonly string[];
  /** Blocks of memory that verify has looked at. */
  readonly blocks: number;
  /** Bytes of the region. */
  readonly size: number;
}

if (import.meta.main) {
  const { directory, shmPath } = readOrders();
  const started = performance.now();
  using db = Aerostore.open(directory, { shmPath });
  const openMs = performance.now() - started;
  console.log(JSON.stringify({ openMs, ...inspect(db) }));
}

function inspect(db: Aerostore): Omit<Findings, "openMs"> {
  const positions = db.table("Position");
  const flights = db.table("Flight").search("-sort off_at").all() as unknown as Flight[];
  const departed = flights.filter((flight) => flight.off_at <= replayEnd);
  let missing = 0;
  let wrong = positions.count();
  for (const flight of departed) {
    const row = positions.get(flight.flight_id) as unknown as Position | undefined;
    if (row !== undefined && agrees(flight, row)) wrong--;
    if (row === undefined || (row.phase !== "landed" && row.updated_at !== replayEnd)) missing++;
  }
  const writers = db.table("Writer").search("").all();
  const started = performance.now();
  const { ok, leaks, problems, blocksUsed, blocksRetired } = db.verify();
  return {
    tables: db.tableNames,
    flights: flights.length,
    positions: positions.count(),
    commits: Object.fromEntries(writers.map((writer) => [writer["name"], writer["commits"]])),
    missing,
    wrong,
    verifyMs: performance.now() - started,
    ok,
    leaks,
    problems,
    blocks: Number(blocksUsed) + Number(blocksRetired),
    size: Number(db.stats()["regionSize"]),
  };
}

/** The engines of the runtimes round sines differently, in the last digits. */
function agrees(flight: Flight, row: Position): boolean {
  const expected = positionAt(flight, row.updated_at, row.writer);
  return Math.abs(row.lat - expected.lat) < 1e-9 && Math.abs(row.lon - expected.lon) < 1e-9 &&
    Math.abs(row.altitude - expected.altitude) <= 1 && row.phase === expected.phase &&
    row.origin === flight.origin && row.destination === flight.destination &&
    Math.abs(row.miles_to_go - expected.miles_to_go) <= 1;
}
