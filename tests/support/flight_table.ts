/** The metadata of a table of flights with one column of each kind, for tests of the query side. */

import { type IndexMeta, type TableMeta, tableMeta } from "../../lib/query/table_meta.ts";

/** Column numbers, by name. */
export const Column = {
  flight_id: 0,
  altitude: 1,
  gs: 2,
  lat: 3,
  typ: 4,
  destination: 5,
  on_ground: 6,
  hex: 7,
  serial: 8,
  updated_at: 9,
  origin: 10,
} as const;

/**
 * Makes the metadata of the table.
 *
 * @param indexes The columns of each index, in catalogue order; a leading `unique` makes it so.
 */
export function flightTable(...indexes: (keyof typeof Column | "unique")[][]): TableMeta {
  return tableMeta({
    id: 7,
    name: "Flight",
    primaryKey: Column.flight_id,
    columns: [
      { name: "flight_id", kind: "text", capacity: 16 },
      { name: "altitude", kind: "int32", nullable: true },
      { name: "gs", kind: "int32", nullable: true },
      { name: "lat", kind: "float64", nullable: true },
      { name: "typ", kind: "text", capacity: 8, nullable: true },
      { name: "destination", kind: "text", capacity: 8, nullable: true },
      { name: "on_ground", kind: "bool", nullable: true },
      { name: "hex", kind: "bytes", capacity: 8, nullable: true },
      { name: "serial", kind: "int64", nullable: true },
      { name: "updated_at", kind: "timestamp", nullable: true },
      { name: "origin", kind: "text", capacity: 8 },
    ],
    indexes: indexes.map((names, id): Omit<IndexMeta, "name"> => ({
      id: id + 1,
      columns: names.filter((name) => name !== "unique").map((name) => Column[name]),
      unique: names[0] === "unique",
    })),
  });
}
