/**
 * What the query side knows of a table: columns, kinds, indexes. Nothing here touches the region.
 *
 * @module
 */

import type { ColumnKind } from "../values.ts";

export type { ColumnKind };

/** One column of a table. */
export interface ColumnMeta {
  /** The name, as declared. */
  readonly name: string;
  /** What its values are. */
  readonly kind: ColumnKind;
  /** Whether the column can be null. A primary key never is. */
  readonly nullable: boolean;
  /** Most bytes of a text or bytes value; 0 for the other kinds. */
  readonly capacity: number;
  /** Whether a single-column index on it was declared. */
  readonly indexed: boolean;
  /** Whether that index is unique. */
  readonly unique: boolean;
  /** Whether an int64 column gives bigints to JavaScript. */
  readonly bigint: boolean;
}

/** One secondary index of a table. Its catalogue rank is its place in {@linkcode TableMeta}. */
export interface IndexMeta {
  /** The number by which the engine knows the index. */
  readonly id: number;
  /** What `explain` calls it, such as `destination, altitude`. */
  readonly name: string;
  /** Column numbers, first to last; more than one for a composite index. */
  readonly columns: readonly number[];
  /** Whether two rows cannot have one key; rows with a null in it are exempt. */
  readonly unique: boolean;
}

/** A table as the planner sees it. */
export interface TableMeta {
  /** The number of the table in the region. */
  readonly id: number;
  /** The name, as declared. */
  readonly name: string;
  /** Column number of the primary key. */
  readonly primaryKey: number;
  /** The columns; their places are their numbers. */
  readonly columns: readonly ColumnMeta[];
  /**
   * The indexes that a query may use, in catalogue order. An index holds one entry for each row;
   * it is in key order, then by primary key, and a null stands after every value.
   */
  readonly indexes: readonly IndexMeta[];
  /** Column numbers by name. */
  readonly byName: ReadonlyMap<string, number>;
}

/** A table whose indexes are brought up to date when they change. */
export interface OpenTableMeta extends TableMeta {
  indexes: readonly IndexMeta[];
}

/** A column as {@linkcode tableMeta} takes it: what is left out is false, or 0. */
export type ColumnSpec = Pick<ColumnMeta, "name" | "kind"> & Partial<ColumnMeta>;

/** What {@linkcode tableMeta} needs to know. */
export interface TableSpec {
  /** The number of the table in the region. */
  readonly id: number;
  /** The name, as declared. */
  readonly name: string;
  /** Column number of the primary key. */
  readonly primaryKey: number;
  /** The columns in declared order. */
  readonly columns: readonly ColumnSpec[];
  /** The usable indexes in catalogue order. Default: none. Names are made from the columns. */
  readonly indexes?: readonly (Omit<IndexMeta, "name"> & { readonly name?: string })[];
}

/**
 * Makes the metadata that queries on a table need.
 *
 * @param spec The table.
 * @returns The metadata. Only its indexes may change, see {@linkcode indexMetas}.
 *
 * @example A table of two columns with one index
 * ```ts
 * import assert from "node:assert/strict";
 * import { tableMeta } from "./table_meta.ts";
 *
 * const meta = tableMeta({
 *   id: 0,
 *   name: "Flight",
 *   primaryKey: 0,
 *   columns: [
 *     { name: "flight_id", kind: "text", capacity: 16 },
 *     { name: "altitude", kind: "int32", nullable: true, indexed: true },
 *   ],
 *   indexes: [{ id: 1, columns: [1], unique: false }],
 * });
 * assert.equal(meta.byName.get("altitude"), 1);
 * assert.equal(meta.indexes[0]?.name, "altitude");
 * ```
 */
export function tableMeta(spec: TableSpec): OpenTableMeta {
  const columns = spec.columns.map((column) => ({
    nullable: false,
    capacity: 0,
    indexed: false,
    unique: false,
    bigint: false,
    ...column,
  }));
  return {
    id: spec.id,
    name: spec.name,
    primaryKey: spec.primaryKey,
    columns,
    indexes: indexMetas(columns, spec.indexes ?? []),
    byName: new Map(columns.map((column, number) => [column.name, number])),
  };
}

/** Makes the metadata of the indexes of a table; their names are made from the columns. */
export function indexMetas(
  columns: readonly Pick<ColumnMeta, "name">[],
  indexes: readonly (Omit<IndexMeta, "name"> & { readonly name?: string })[],
): IndexMeta[] {
  const name = (column: number): string => columns[column]?.name ?? `#${column}`;
  return indexes.map((index) => ({ name: index.columns.map(name).join(", "), ...index }));
}

/**
 * Returns column `number` of `table`.
 *
 * @throws {RangeError} If there is no such column, which is a bug of the caller.
 */
export function columnOf(table: TableMeta, number: number): ColumnMeta {
  const column = table.columns[number];
  if (column === undefined) throw new RangeError(`Table ${table.name} has no column ${number}`);
  return column;
}

/** Returns what the error for a column that `table` does not have says; `name` is quoted. */
export function noColumn(table: TableMeta, name: string): string {
  const known = table.columns.map((column) => column.name).join(", ");
  return `Table "${table.name}" has no column ${name}, it has ${known}`;
}
