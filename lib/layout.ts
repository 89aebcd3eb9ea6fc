/**
 * Where each column of a table lies, as the library published it.
 *
 * The library computes layouts, once, when a table is declared; the catalogue in the region hands
 * them to everyone. This file only reads and checks.
 *
 * @module
 */

import { Limit } from "./abi.ts";
import { AerostoreError, quote } from "./errors.ts";
import type { ColumnDomain, ColumnKind, ColumnValue } from "./values.ts";

/** One column of a stored table. */
export interface ColumnLayout extends ColumnDomain {
  /** The position among the declared columns; the bit of the null mask. */
  readonly id: number;
  /** Whether text or bytes stand in the fixed part rather than behind it. */
  readonly inline: boolean;
  /** Bytes from the start of the payload to the column's cell. */
  readonly offset: number;
  /** Whether the column has a secondary index. */
  readonly index: boolean;
  /** Whether that index is unique. */
  readonly unique: boolean;
  /** What a missing value becomes; undefined if there is no default. */
  readonly default: ColumnValue | undefined;
}

/** One secondary index of a stored table that queries can use. */
export interface IndexLayout {
  /** Its number within the table. */
  readonly id: number;
  /** The ids of the columns, the most significant first. */
  readonly columns: readonly number[];
  /** Whether two rows may not agree in all of them. */
  readonly unique: boolean;
}

/** One stored table. */
export interface TableLayout {
  /** The number of the table in the region. */
  readonly id: number;
  /** The name, as declared. */
  readonly name: string;
  /** Bytes of the fixed part of a payload, a multiple of 4. */
  readonly fixedSize: number;
  /** The column that identifies a row. */
  readonly primaryKey: ColumnLayout;
  /** All columns in the order of the declaration. */
  readonly columns: readonly ColumnLayout[];
  /** The same columns by name. */
  readonly columnsByName: ReadonlyMap<string, ColumnLayout>;
  /** The secondary indexes, those of one column too. */
  readonly indexes: readonly IndexLayout[];
}

const kinds: ReadonlySet<string> = new Set<ColumnKind>([
  "text",
  "bytes",
  "int32",
  "int64",
  "float64",
  "bool",
  "timestamp",
]);

/**
 * Reads the catalogue.
 *
 * Offsets end up in generated code and names in messages, so nothing is taken on trust.
 *
 * @param json The catalogue as the library wrote it.
 * @returns The tables by name.
 * @throws {AerostoreError} With `corrupt` if it does not describe tables.
 */
export function parseCatalogue(json: string): Map<string, TableLayout> {
  let catalogue: unknown;
  try {
    catalogue = JSON.parse(json);
  } catch (cause) {
    throw corrupt("it is not JSON", cause);
  }
  const tables = new Map<string, TableLayout>();
  for (const entry of list(record(catalogue).tables)) {
    const table = parseTable(record(entry));
    tables.set(table.name, table);
  }
  return tables;
}

/**
 * Finds a column by its name.
 *
 * @param table The table to look in.
 * @param name What the caller wrote.
 * @param attempt What was attempted, for the message, such as `sort "FlightState"`.
 * @throws {AerostoreError} With `unknown_column` if there is none.
 */
export function columnOf(table: TableLayout, name: string, attempt: string): ColumnLayout {
  const column = table.columnsByName.get(name);
  if (column !== undefined) return column;
  throw unknownColumn(table, name, attempt);
}

/**
 * Returns the error for a column that a table does not have.
 *
 * @param table The table that was meant.
 * @param name What the caller wrote.
 * @param attempt What was attempted, for the message.
 */
export function unknownColumn(
  table: TableLayout,
  name: string,
  attempt: string,
): AerostoreError {
  const known = table.columns.map((column) => column.name).join(", ");
  return new AerostoreError(
    "unknown_column",
    `Cannot ${attempt}: table ${quote(table.name)} has no column ${quote(name)}, it has ${known}`,
  );
}

function parseTable(entry: Record<string, unknown>): TableLayout {
  const name = text(entry.name);
  const fixedSize = integer(entry.fixedSize, Limit.payload_size_max);
  const columns = list(entry.columns).map((column, id) =>
    parseColumn(record(column), id, fixedSize)
  );
  if (columns.length > Limit.columns_max) throw corrupt(`table ${quote(name)} is too wide`);
  const primaryKey = columns[integer(entry.primaryKey, Limit.columns_max)];
  if (primaryKey === undefined) throw corrupt(`table ${quote(name)} has no primary key`);
  return {
    id: integer(entry.id, Limit.tables_max),
    name,
    fixedSize,
    primaryKey,
    columns,
    columnsByName: new Map(columns.map((column) => [column.name, column])),
    indexes: list(entry.indexes).map((index) => parseIndex(record(index), columns.length)),
  };
}

function parseColumn(
  entry: Record<string, unknown>,
  id: number,
  fixedSize: number,
): ColumnLayout {
  const kind = text(entry.kind);
  if (!isKind(kind)) throw corrupt(`${quote(kind)} is no column type`);
  const bigint = entry.bigint === true;
  return {
    id,
    name: text(entry.name),
    kind,
    nullable: entry.nullable === true,
    capacity: integer(entry.capacity, Limit.payload_size_max),
    inline: entry.inline === true,
    offset: integer(entry.offset, fixedSize),
    index: entry.index === true,
    unique: entry.unique === true,
    bigint,
    default: parseDefault(entry.default, kind, bigint),
  };
}

function isKind(kind: string): kind is ColumnKind {
  return kinds.has(kind);
}

function parseIndex(entry: Record<string, unknown>, columnCount: number): IndexLayout {
  return {
    id: integer(entry.id, Limit.columns_max),
    columns: list(entry.columns).map((column) => integer(column, columnCount - 1)),
    unique: entry.unique === true,
  };
}

function parseDefault(
  value: unknown,
  kind: ColumnKind,
  bigint: boolean,
): ColumnValue | undefined {
  if (value === undefined || value === null) return undefined;
  switch (kind) {
    case "text":
      return text(value);
    case "bytes":
      return Uint8Array.from(atob(text(value)), (unit) => unit.charCodeAt(0));
    case "int64":
      return bigint ? BigInt(text(value)) : Number(text(value));
    case "bool":
      return value === true;
    case "int32":
    case "float64":
    case "timestamp":
      if (typeof value !== "number") throw corrupt(`${quote(value)} is no default`);
      return value;
  }
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw corrupt(`${quote(value)} is no object`);
  return value as Record<string, unknown>;
}

function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw corrupt(`${quote(value)} is no list`);
  return value;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw corrupt(`${quote(value)} is no text`);
  return value;
}

function integer(value: unknown, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max) {
    return value;
  }
  throw corrupt(`${quote(value)} is out of range`);
}

function corrupt(why: string, cause?: unknown): AerostoreError {
  return new AerostoreError("corrupt", `Cannot read the catalogue of the region: ${why}`, {
    cause,
  });
}
