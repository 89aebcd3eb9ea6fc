/**
 * One of the two writers: moves its half of the flights, each position a commit of its own, and the
 * other half as well when the other writer falls silent.
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { setImmediate as breathe } from "node:timers/promises";
import { Aerostore } from "../../mod.ts";
import { positionAt } from "./great_circle.ts";
import {
  Fleet,
  type News,
  readOrders,
  replayEnd,
  replayTime,
  silenceMs,
  writerOf,
} from "./replay.ts";
import { type Flight, FlightTable, PositionTable, tables, WriterTable } from "./tables.ts";

const { directory, shmPath, seconds, name } = readOrders();
const tellEveryMs = 20;
const other = name === "bun" ? "deno" : "bun";

using db = Aerostore.open(directory, { tables, shmPath });
const positions = db.table(PositionTable);
const writers = db.table(WriterTable);
const flights: Flight[] = db.table(FlightTable).search("-sort off_at").all();

const own = new Fleet(flights.filter((_, index) => writerOf(index) === name));
const others = flights.filter((_, index) => writerOf(index) === other);
/** The flights of the other writer, while it is silent. */
let inherited: Fleet | undefined;
let commits = 0;
let toldAt = 0;

tell({ ready: true });
const startedAt = await receiveStart();
for (;;) {
  const now = Date.now();
  const at = replayTime(now, startedAt, seconds);

  const rival = writers.get(other);
  if (now - Math.max(rival?.beat_at ?? 0, startedAt) <= silenceMs) inherited = undefined;
  else inherited ??= inherit(at);

  const moving = [...own.moving(at), ...inherited?.moving(at) ?? []];
  const rows = moving.map((flight) => positionAt(flight, at, name));
  commits += positions.upsertMany(rows, { atomic: false });
  commits += 1;
  writers.upsert({ name, pid: process.pid, commits, beat_at: now, done_at: at });

  if (now - toldAt >= tellEveryMs) {
    toldAt = now;
    tell({ commits });
  }
  // The last one to leave has seen to it that the flights of both are where they belong.
  if (at === replayEnd && (inherited !== undefined || rival?.done_at === replayEnd)) break;
  // What was told leaves the process only when it lets the event loop run.
  await breathe();
}

/** Returns the flights of the other writer; positions may be old, so all are written again. */
function inherit(at: number): Fleet {
  tell({ inherited: others.filter((flight) => flight.off_at <= at && flight.on_at > at).length });
  return new Fleet(others);
}

function tell(news: News): void {
  console.log(JSON.stringify(news));
}

/** Waits for the moment to begin, so that all processes have the same clock. */
async function receiveStart(): Promise<number> {
  for await (const line of createInterface({ input: process.stdin })) return JSON.parse(line);
  throw new Error("Nobody said when to start");
}
