/** The table of `flight_table.ts` in a database: without indexes, and with many. */

import { defineTable, type RowOf, t } from "../../mod.ts";

/** The columns, without indexes. */
export const flightColumns = {
  flight_id: t.text(16).primaryKey(),
  altitude: t.int32().nullable(),
  gs: t.int32().nullable(),
  lat: t.float64().nullable(),
  typ: t.text(8).nullable(),
  destination: t.text(8).nullable(),
  on_ground: t.bool().nullable(),
  hex: t.bytes(8).nullable(),
  serial: t.int64({ as: "bigint" }).nullable(),
  updated_at: t.timestamp().nullable(),
  origin: t.text(8),
};

/** Every search of it reads all rows, or looks up keys. */
export const Plain = defineTable("Plain", flightColumns);

/** Searches of it take every route. */
export const Indexed = defineTable("Indexed", {
  ...flightColumns,
  altitude: t.int32().nullable().index(),
  lat: t.float64().nullable().index(),
  typ: t.text(8).nullable().index(),
  hex: t.bytes(8).nullable().index(),
  serial: t.int64({ as: "bigint" }).nullable().index(),
}, { indexes: [["typ", "altitude"], ["on_ground", "serial"]] });

/** A row of either. */
export type Flight = RowOf<typeof Plain>;
