/**
 * The three tables of the demo, which every process of it declares.
 *
 * @module
 */

import { defineTable, type InsertOf, type RowOf, t } from "../../mod.ts";

/** The flights of one day. Written once, before the replay. */
export const FlightTable = defineTable("Flight", {
  flight_id: t.text(16).primaryKey(), // such as "DCA-ORD-0830": the data has no flight numbers
  origin: t.text(4),
  destination: t.text(4),
  off_at: t.timestamp(),
  on_at: t.timestamp(),
  miles: t.int32(),
  from_lat: t.float64(),
  from_lon: t.float64(),
  to_lat: t.float64(),
  to_lon: t.float64(),
});

/** Where each flight is. Both writers write here all the time. */
export const PositionTable = defineTable("Position", {
  flight_id: t.text(16).primaryKey(),
  origin: t.text(4),
  destination: t.text(4),
  phase: t.text(8), // climb, cruise, descent, landed
  lat: t.float64(),
  lon: t.float64(),
  altitude: t.int32(), // feet
  miles_to_go: t.int32(),
  updated_at: t.timestamp(), // in the time of the replay
  writer: t.text(8),
});

/** What each writer says of itself. The other one reads it to know whether it is alive. */
export const WriterTable = defineTable("Writer", {
  name: t.text(8).primaryKey(),
  pid: t.int32(),
  commits: t.int64(),
  beat_at: t.timestamp(), // by the clock of the machine
  done_at: t.timestamp(), // how far its flights are, in the time of the replay
});

/** All of them, for `open`. */
export const tables = [FlightTable, PositionTable, WriterTable];

/** A flight of the day. */
export type Flight = RowOf<typeof FlightTable>;

/** Where a flight is. */
export type Position = InsertOf<typeof PositionTable>;
