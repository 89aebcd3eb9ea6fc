/**
 * A query after parsing: names resolved to column numbers, operands to values of the column's type,
 * and the rules of the dialect to flags. The string form, the object form and the builder all give
 * this tree, so that everything behind it knows only one kind of query.
 *
 * @module
 */

import type { TableMeta } from "../query/table_meta.ts";

/** Whose rules a search follows; see {@linkcode Query}. */
export type Dialect = "default" | "speedtables";

/**
 * A value of a column. By the kind of the column: `string` for text, `Uint8Array` for bytes,
 * `number` for int32, float64 and timestamp, `bigint` for int64, `boolean` for bool.
 */
export type Value = string | number | bigint | boolean | Uint8Array;

/** A place that a prepared query fills at each run. */
export interface Parameter {
  /** 1 for `$1`. */
  readonly parameter: number;
}

/** A value, or the place of one. */
export type Operand = Value | Parameter;

/** Operators after their spellings are made one: `==` is `=`, `<>` is `!=`, and so on. */
export type Operator =
  | "null"
  | "notnull"
  | "true"
  | "false"
  | "="
  | "!="
  | ">"
  | ">="
  | "<"
  | "<="
  | "in"
  | "range"
  | "match"
  | "notmatch";

/** One condition on one column. A row is in the result if it satisfies every clause. */
export interface Clause {
  /** What it asks. */
  readonly operator: Operator;
  /** Column number. */
  readonly column: number;
  /**
   * Nothing for null, notnull, true and false; one value for the comparisons and globs; low and
   * high for `range`; any number for `in`.
   */
  readonly operands: readonly Operand[];
  /** Whether a glob ignores case. */
  readonly ignoreCase: boolean;
  /** Whether a null satisfies it: `>`, `>=` and `!=` of the speedtables dialect. */
  readonly nullSatisfies: boolean;
}

/** One sort field. After the last, rows are ordered by ascending primary key. */
export interface SortKey {
  /** Column number. */
  readonly column: number;
  /**
   * Largest value first. Booleans count as false < true; the speedtables dialect, which sorts true
   * first, has this reversed for them.
   */
  readonly descending: boolean;
  /** Whether nulls come before every value, whatever the direction. */
  readonly nullsFirst: boolean;
}

/** A search of one table. */
export interface Query {
  /** The table that is searched. */
  readonly table: TableMeta;
  /** The rules it was read by. Everything about clauses and sort fields is in their flags. */
  readonly dialect: Dialect;
  /** The conditions, in the order given. */
  readonly clauses: readonly Clause[];
  /** The sort fields, most important first, each once. */
  readonly sort: readonly SortKey[];
  /** Most rows to give; null for all. */
  readonly limit: number | Parameter | null;
  /** Rows to leave out first. */
  readonly offset: number | Parameter;
  /** Column numbers to give, in this order; null for all. */
  readonly fields: readonly number[] | null;
  /** Whether only the number of rows is wanted. */
  readonly countOnly: boolean;
  /** Column number of the `-index` hint. */
  readonly hint: number | null;
  /** How many parameters (`$1` to `$n`) it has. */
  readonly parameterCount: number;
}

/** Tells a parameter from a value. */
export function isParameter(operand: Operand | null): operand is Parameter {
  return typeof operand === "object" && operand !== null && !(operand instanceof Uint8Array);
}
