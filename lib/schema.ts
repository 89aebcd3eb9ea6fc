/**
 * Tables declared in TypeScript, and the types of their rows.
 *
 * @module
 */

import { Limit } from "./abi.ts";
import { AerostoreError, quote } from "./errors.ts";
import {
  type ColumnDomain,
  type ColumnKind,
  type ColumnValue,
  refusal,
  utf8Size,
} from "./values.ts";

/** Everything a declaration says about one column. */
export interface ColumnSpec {
  /** The type. */
  readonly kind: ColumnKind;
  /** Bytes that text or bytes may have; 0 for the other types. */
  readonly capacity: number;
  /** Whether an int64 column takes and gives bigints. */
  readonly bigint: boolean;
  /** Whether the column takes null. */
  readonly nullable: boolean;
  /** Whether the column identifies the row. */
  readonly primaryKey: boolean;
  /** Whether the column has a secondary index. */
  readonly index: boolean;
  /** Whether no two rows may have the same value. */
  readonly unique: boolean;
  /** What a missing value becomes; undefined for none. */
  readonly default: ColumnValue | undefined;
}

/**
 * A column of a table to be declared. Made by {@linkcode t}; every modifier returns a new one.
 *
 * The type parameters carry what inference needs: the value, and whether the column is nullable,
 * has a default, or is the primary key.
 */
export class Column<
  Value extends ColumnValue = ColumnValue,
  Nullable extends boolean = boolean,
  Defaulted extends boolean = boolean,
  Key extends boolean = boolean,
> {
  /** What the declaration says so far. */
  readonly spec: ColumnSpec;

  // Never set: they tie the type parameters to the shape of the class, by which types compare.
  /** The type of a value. Exists for the type checker alone. */
  declare readonly value: Value;
  /** Whether null is among the values. Exists for the type checker alone. */
  declare readonly isNullable: Nullable;
  /** Whether the value may be left out. Exists for the type checker alone. */
  declare readonly isDefaulted: Defaulted;
  /** Whether this is the primary key. Exists for the type checker alone. */
  declare readonly isKey: Key;

  /**
   * Makes a column; programs use {@linkcode t}.
   *
   * @param spec What the declaration says so far.
   */
  constructor(spec: ColumnSpec) {
    this.spec = spec;
  }

  /**
   * Makes the column the one that identifies a row.
   *
   * A table has exactly one such column, of text (at most 64 bytes), int32 or int64.
   */
  primaryKey(): Column<Value, false, Defaulted, true> {
    return new Column({ ...this.spec, primaryKey: true });
  }

  /** Lets the column be null, which is also what a missing value becomes. */
  nullable(): Column<Value, true, Defaulted, Key> {
    return new Column({ ...this.spec, nullable: true });
  }

  /**
   * Gives the column a value to take when an inserted row has none.
   *
   * @param value Must be a value that the column takes; a `Uint8Array` is copied.
   */
  default(value: Value): Column<Value, Nullable, true, Key> {
    const copy = value instanceof Uint8Array ? value.slice() : value;
    return new Column({ ...this.spec, default: copy });
  }

  /** Adds a secondary index on this column. */
  index(): Column<Value, Nullable, Defaulted, Key> {
    return new Column({ ...this.spec, index: true });
  }

  /**
   * Adds a secondary index that refuses a second row with the same value. Nulls are not the same.
   *
   * On a table that has rows, it refuses what others write from the moment its building begins,
   * even if it then fails because two rows have the same value.
   */
  unique(): Column<Value, Nullable, Defaulted, Key> {
    return new Column({ ...this.spec, unique: true });
  }
}

/** The columns of a table by name. */
export type Columns = Readonly<Record<string, Column>>;

/** An index over several columns, the most significant first. */
export type IndexOption<Name extends string> =
  | readonly Name[]
  | { readonly columns: readonly Name[]; readonly unique?: boolean };

/** The options of {@linkcode defineTable}. */
export interface TableOptions<Name extends string> {
  /** Indexes over several columns. None by default. */
  readonly indexes?: readonly IndexOption<Name>[];
}

/** An index over several columns, checked. */
export interface IndexSpec {
  /** The positions of the columns in the declaration. */
  readonly columns: readonly number[];
  /** Whether two rows may not agree in all of them. */
  readonly unique: boolean;
}

/** A declared table. Made by {@linkcode defineTable}. */
export class TableDefinition<Name extends string = string, C extends Columns = Columns> {
  /** The name of the table. */
  readonly name: Name;
  /** The columns in the order of the declaration. */
  readonly columns: C;
  /** The indexes over several columns. */
  readonly indexes: readonly IndexSpec[];

  /**
   * Makes a declaration without any check; programs use {@linkcode defineTable}.
   *
   * @param name The name of the table.
   * @param columns The columns, already checked.
   * @param indexes The indexes over several columns, already checked.
   */
  constructor(name: Name, columns: C, indexes: readonly IndexSpec[]) {
    this.name = name;
    this.columns = columns;
    this.indexes = indexes;
  }
}

/** Flattens an intersection, so that editors show one object. */
export type Simplify<T> = { [K in keyof T]: T[K] } & unknown;

/** The values a column gives, null among them if it is nullable. */
export type ValueOf<C> = C extends Column<infer Value, infer Nullable, boolean, boolean>
  ? Nullable extends true ? Value | null : Value
  : never;

/** The columns of a declared table. */
export type ColumnsOf<T> = T extends TableDefinition<string, infer C> ? C : never;

/** The names of the columns that may be left out of an inserted row. */
export type OptionalName<C extends Columns> = {
  [K in keyof C]: C[K] extends Column<ColumnValue, true, boolean, boolean> ? K
    : C[K] extends Column<ColumnValue, boolean, true, boolean> ? K
    : never;
}[keyof C];

/** The names of the columns that are the primary key: one, in a sound table. */
export type KeyName<C extends Columns> = {
  [K in keyof C]: C[K] extends Column<ColumnValue, boolean, boolean, true> ? K : never;
}[keyof C];

/** The rows that a table with the columns `C` gives. */
export type RowOfColumns<C extends Columns> = { -readonly [K in keyof C]: ValueOf<C[K]> };

/** The rows that a table with the columns `C` takes. */
export type InsertOfColumns<C extends Columns> = Simplify<
  & { -readonly [K in Exclude<keyof C, OptionalName<C>>]: ValueOf<C[K]> }
  & { -readonly [K in OptionalName<C>]?: ValueOf<C[K]> }
>;

/** The changes that a table with the columns `C` takes. */
export type PatchOfColumns<C extends Columns> = {
  -readonly [K in Exclude<keyof C, KeyName<C>>]?: ValueOf<C[K]>;
};

/** The primary key of a table with the columns `C`. */
export type KeyOfColumns<C extends Columns> = string extends keyof C ? string | number | bigint
  : ValueOf<C[KeyName<C>]>;

/**
 * The rows a table gives: every column, null where it may be null.
 *
 * @example The row type of a declaration
 * ```ts
 * import { defineTable, type RowOf, t } from "aerostore";
 *
 * const Gate = defineTable("Gate", { id: t.text(8).primaryKey(), flight: t.text(16).nullable() });
 * const row: RowOf<typeof Gate> = { id: "A1", flight: null };
 * ```
 */
export type RowOf<T extends TableDefinition> = RowOfColumns<ColumnsOf<T>>;

/** The rows a table takes: columns that are nullable or have a default may be left out. */
export type InsertOf<T extends TableDefinition> = InsertOfColumns<ColumnsOf<T>>;

/** The changes `update` takes: any columns but the primary key. */
export type PatchOf<T extends TableDefinition> = PatchOfColumns<ColumnsOf<T>>;

/** The type of the primary key of a table. */
export type KeyOf<T extends TableDefinition> = KeyOfColumns<ColumnsOf<T>>;

/** The makers of columns, one for each type. */
export interface ColumnMakers {
  /**
   * Text of up to `capacity` bytes of UTF-8, 1 to 60,000.
   *
   * Up to 30 bytes (64 in a primary key) stand inside the row; longer text stands behind it.
   */
  text(capacity: number): Column<string, false, false, false>;
  /** Up to `capacity` raw bytes, 1 to 60,000. */
  bytes(capacity: number): Column<Uint8Array, false, false, false>;
  /** A whole number of 32 bits with sign. */
  int32(): Column<number, false, false, false>;
  /**
   * A whole number of 64 bits with sign. It is a number, and one beyond 2^53 throws
   * `unsafe_integer`, unless `as` makes it a bigint.
   */
  int64(options?: { readonly as?: "number" }): Column<number, false, false, false>;
  /** The same with exact bigints. */
  int64(options: { readonly as: "bigint" }): Column<bigint, false, false, false>;
  /** A number, but not NaN. */
  float64(): Column<number, false, false, false>;
  /** True or false. */
  bool(): Column<boolean, false, false, false>;
  /** Milliseconds since 1970 as a finite number, which may have a fraction. */
  timestamp(): Column<number, false, false, false>;
}

function newColumn<Value extends ColumnValue>(
  kind: ColumnKind,
  capacity = 0,
  bigint = false,
): Column<Value, false, false, false> {
  return new Column({
    kind,
    capacity,
    bigint,
    nullable: false,
    primaryKey: false,
    index: false,
    unique: false,
    default: undefined,
  });
}

function newInt64(options?: { readonly as?: "number" }): Column<number, false, false, false>;
function newInt64(options: { readonly as: "bigint" }): Column<bigint, false, false, false>;
function newInt64(
  options: { readonly as?: "number" | "bigint" } = {},
): Column<number | bigint, false, false, false> {
  const as: unknown = options.as ?? "number";
  if (as !== "number" && as !== "bigint") {
    throw new AerostoreError(
      "invalid_schema",
      `Cannot declare an int64 column as ${quote(as)}: it can be "number" or "bigint"`,
    );
  }
  return newColumn<number | bigint>("int64", 0, as === "bigint");
}

/**
 * Makes columns for {@linkcode defineTable}.
 *
 * @example Columns of all types
 * ```ts
 * import assert from "node:assert/strict";
 * import { defineTable, t } from "aerostore";
 *
 * const Sample = defineTable("Sample", {
 *   id: t.int64().primaryKey(),
 *   name: t.text(40).unique(),
 *   photo: t.bytes(2000).nullable(),
 *   visits: t.int32().default(0),
 *   balance: t.int64({ as: "bigint" }).default(0n),
 *   weight: t.float64().nullable(),
 *   active: t.bool().default(true),
 *   seen_at: t.timestamp().index(),
 * });
 * assert.equal(Sample.columns.visits.spec.default, 0);
 * ```
 */
export const t: ColumnMakers = {
  text: (capacity) => newColumn<string>("text", capacity),
  bytes: (capacity) => newColumn<Uint8Array>("bytes", capacity),
  int32: () => newColumn<number>("int32"),
  int64: newInt64,
  float64: () => newColumn<number>("float64"),
  bool: () => newColumn<boolean>("bool"),
  timestamp: () => newColumn<number>("timestamp"),
};

/**
 * Declares a table.
 *
 * Nothing is created yet: pass the result in the `tables` option of `Aerostore.open`.
 *
 * @param name 1 to 64 bytes: letters, digits and underscores, not starting with a digit.
 * @param columns 1 to 64 columns, exactly one of them the primary key. Their names follow the same
 * rule, and may not be those of the hidden columns `_null_bitmask`, `_xmin` and `_xmax`.
 * @param options Composite indexes.
 * @returns The declaration, from which {@linkcode RowOf} derives the type of the rows.
 * @throws {AerostoreError} With `invalid_schema` if the declaration breaks a rule.
 *
 * @example A table with a composite index
 * ```ts
 * import assert from "node:assert/strict";
 * import { defineTable, t } from "aerostore";
 *
 * const Flight = defineTable("Flight", {
 *   id: t.text(16).primaryKey(),
 *   destination: t.text(8).nullable(),
 *   altitude: t.int32().nullable().index(),
 * }, { indexes: [["destination", "altitude"]] });
 * assert.deepEqual(Flight.indexes, [{ columns: [1, 2], unique: false }]);
 * ```
 */
export function defineTable<const Name extends string, C extends Columns>(
  name: Name,
  columns: C,
  options: TableOptions<Extract<keyof C, string>> = {},
): TableDefinition<Name, C> {
  checkName(name, "table", `declare table ${quote(name)}`);
  const attempt = `declare table ${quote(name)}`;
  if (typeof columns !== "object" || columns === null) {
    throw invalid(attempt, `its columns are an object, not ${quote(columns)}`);
  }
  const names = Object.keys(columns);
  if (names.length === 0 || names.length > Limit.columns_max) {
    throw invalid(attempt, `it has ${names.length} columns, not 1 to ${Limit.columns_max}`);
  }
  for (const [columnName, column] of Object.entries(columns)) {
    checkName(columnName, "column", attempt);
    checkColumn(columnName, column, attempt);
  }
  const keys = names.filter((key) => columns[key]?.spec.primaryKey === true);
  if (keys.length !== 1) {
    throw invalid(
      attempt,
      `it needs exactly one primary key, and has ${
        keys.length === 0 ? "none" : keys.map(quote).join(" and ")
      }`,
    );
  }
  if ((options.indexes ?? []).length > Limit.composite_indexes_max) {
    throw invalid(attempt, `it has more than ${Limit.composite_indexes_max} composite indexes`);
  }
  const indexes = (options.indexes ?? []).map((index) => checkIndex(index, names, attempt));
  return new TableDefinition(name, Object.freeze({ ...columns }), indexes);
}

/**
 * What the row classes need for themselves, what the engine keeps beside the columns, and the one
 * name that JavaScript objects treat in its own way.
 */
const reservedNames: ReadonlySet<string> = new Set([
  "__proto__",
  "constructor",
  "toObject",
  "toJSON",
  "_null_bitmask",
  "_xmin",
  "_xmax",
]);

function checkName(name: unknown, what: string, attempt: string): void {
  if (typeof name !== "string" || !/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name)) {
    throw invalid(
      attempt,
      `${quote(name)} is no ${what} name: use letters, digits and underscores, no digit first`,
    );
  }
  if (utf8Size(name) > Limit.name_size_max) {
    throw invalid(attempt, `the ${what} name is longer than ${Limit.name_size_max} bytes`);
  }
  if (what === "column" && reservedNames.has(name)) {
    throw invalid(attempt, `the column name ${quote(name)} is reserved`);
  }
}

function checkColumn(name: string, column: unknown, attempt: string): void {
  if (!(column instanceof Column)) {
    throw invalid(attempt, `column ${quote(name)} is not made by t, it is ${quote(column)}`);
  }
  const spec = column.spec;
  const sized = spec.kind === "text" || spec.kind === "bytes";
  if (
    sized &&
    !(Number.isInteger(spec.capacity) && spec.capacity >= 1 &&
      spec.capacity <= Limit.payload_size_max)
  ) {
    throw invalid(
      attempt,
      `column ${quote(name)} holds 1 to ${Limit.payload_size_max} bytes, not ${
        quote(spec.capacity)
      }`,
    );
  }
  if (spec.primaryKey) checkKey(name, spec, attempt);
  if (spec.default !== undefined) {
    const domain: ColumnDomain = { name, ...spec };
    const problem = refusal(attempt, domain, spec.default);
    if (problem !== undefined) {
      throw new AerostoreError("invalid_schema", `${problem.message}, as its default`);
    }
  }
}

function checkKey(name: string, spec: ColumnSpec, attempt: string): void {
  if (spec.kind !== "text" && spec.kind !== "int32" && spec.kind !== "int64") {
    throw invalid(
      attempt,
      `the primary key ${quote(name)} is ${spec.kind}, it can be text, int32 or int64`,
    );
  }
  if (spec.capacity > Limit.key_size_max) {
    throw invalid(
      attempt,
      `the primary key ${quote(name)} holds ${spec.capacity} bytes, at most ` +
        `${Limit.key_size_max} are possible`,
    );
  }
  if (spec.nullable) throw invalid(attempt, `the primary key ${quote(name)} cannot be nullable`);
}

function checkIndex(
  index: IndexOption<string>,
  names: readonly string[],
  attempt: string,
): IndexSpec {
  const { columns, unique = false } = "columns" in index
    ? index
    : { columns: index, unique: false };
  if (!Array.isArray(columns) || columns.length === 0) {
    throw invalid(attempt, `an index names no columns`);
  }
  if (columns.length > Limit.index_columns_max) {
    throw invalid(attempt, `an index names more than ${Limit.index_columns_max} columns`);
  }
  const ids = columns.map((name) => {
    const id = names.indexOf(name);
    if (id < 0) throw invalid(attempt, `an index names ${quote(name)}, which is no column`);
    return id;
  });
  if (new Set(ids).size !== ids.length) {
    throw invalid(attempt, `the index over ${quote(columns)} names a column twice`);
  }
  return { columns: ids, unique };
}

function invalid(attempt: string, why: string): AerostoreError {
  return new AerostoreError("invalid_schema", `Cannot ${attempt}: ${why}`);
}
