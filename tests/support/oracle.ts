/**
 * Results of the real speedtables, where they are at hand: `../shared/oracle` by the repository.
 */

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  type ColumnSpec,
  type IndexMeta,
  type TableMeta,
  tableMeta,
} from "../../lib/query/table_meta.ts";
import type { ModelRow } from "./query_model.ts";

/** One search, and what speedtables answered. */
export interface OracleQuery {
  readonly stapi: string;
  readonly sort: readonly string[];
  readonly limit?: number;
  readonly offset?: number;
  /** Primary keys of the result: in order if the search has a sort, else in key order. */
  readonly keys: readonly string[];
  /** Those that are there only because a null satisfied an ordering or `!=`. */
  readonly null_matches?: readonly string[];
  readonly sort_has_nulls?: boolean;
}

/** The table, its rows and the searches. */
export interface Oracle {
  readonly columns: readonly ColumnSpec[];
  readonly rows: readonly ModelRow[];
  readonly queries: readonly OracleQuery[];
}

interface OracleFile {
  readonly schema: readonly {
    readonly name: string;
    readonly type: string;
    readonly notnull?: boolean;
  }[];
  readonly rows: readonly Readonly<Record<string, string | number | null>>[];
  readonly queries: readonly OracleQuery[];
}

const path = fileURLToPath(
  new URL("../../../shared/oracle/speedtables-golden.json", import.meta.url),
);

/** Why tests against the oracle are skipped; false if they are not. */
export const oracleMissing: string | false = existsSync(path)
  ? false
  : "no ../shared/oracle/speedtables-golden.json beside the repository";

/** Reads the oracle. Booleans, which it has as 0 and 1, become booleans. */
export function readOracle(): Oracle {
  const file = JSON.parse(readFileSync(path, "utf8")) as OracleFile;
  const kinds: Readonly<Record<string, ColumnSpec["kind"]>> = {
    key: "text",
    varstring: "text",
    int: "int32",
    double: "float64",
    boolean: "bool",
  };
  const columns = file.schema.map(({ name, type, notnull }): ColumnSpec => ({
    name,
    kind: kinds[type] ?? "text",
    nullable: type !== "key" && notnull !== true,
    capacity: type === "key" ? 16 : type === "varstring" ? 64 : 0,
  }));
  const booleans = new Set(columns.filter(({ kind }) => kind === "bool").map(({ name }) => name));
  const rows = file.rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [
        name,
        value !== null && booleans.has(name) ? value === 1 : value,
      ]),
    )
  );
  return { columns, rows, queries: file.queries };
}

/**
 * Returns the metadata of the oracle's table.
 *
 * @param oracle The oracle.
 * @param indexed Whether every column but the primary key has an index.
 */
export function oracleTable(oracle: Oracle, indexed: boolean): TableMeta {
  const indexes: Omit<IndexMeta, "name">[] = [];
  for (let column = 1; indexed && column < oracle.columns.length; column += 1) {
    indexes.push({ id: column, columns: [column], unique: false });
  }
  return tableMeta({ id: 0, name: "Flight", primaryKey: 0, columns: oracle.columns, indexes });
}
