/**
 * Rows as JavaScript sees them: plain objects decoded from records, and views over shared memory.
 *
 * A record in the output buffer and a version in the region have the same shape around the
 * payload: the null mask 16 bytes before it. So one reader serves both, given a memory and a
 * handle: the offset of the payload in units of 8 bytes.
 *
 * @module
 */

import { codegenPermitted, compile, literal } from "./codegen.ts";
import { AerostoreError, quote } from "./errors.ts";
import type { ColumnLayout, TableLayout } from "./layout.ts";
import type { Memory } from "./memory.ts";
import { recordHeaderSize } from "./row_encode.ts";
import {
  readInlineBytes,
  readTailBytes,
  readTailText,
  shortTextCode,
  shortTexts,
  shortWordCount,
} from "./text.ts";
import type { ColumnValue } from "./values.ts";

/** A row as a plain object: a copy that nobody else changes. */
export type PlainRow = Record<string, ColumnValue | null>;

/** How long views live. They hold it, and a transaction ends it. */
export interface ViewScope {
  /** Whether the memory of the views may be reused. */
  ended: boolean;
}

/**
 * A row that reads shared memory when a column is read, without a copy.
 *
 * Valid until its transaction ends; then every read throws `view_expired`. A text is decoded at
 * each read, so keep what you use twice in a variable.
 *
 * Columns are getters of its class, not properties of its own: `{ ...view }`, `Object.keys` and
 * `structuredClone` find none. Write `{ ...view.toObject() }`.
 */
export type RowView<Row> = Readonly<Row> & {
  /** Returns a copy that outlives the transaction. */
  toObject(): Row;
  /** As `toObject`, for `JSON.stringify`; bigints and bytes are as they are. */
  toJSON(): Row;
};

/**
 * Makes a plain object of the row whose payload is at `handle`.
 *
 * If the primary key is text and the caller has it, as `key`, it need not be decoded.
 */
export type RowDecoder = (memory: Memory, handle: number, key?: string) => PlainRow;

/** Makes plain objects of the first `count` records of a memory, and appends them to `into`. */
export type RowsDecoder = (memory: Memory, count: number, into: unknown[]) => void;

/** A class of row views, one for each table. */
export type RowViewClass = new (
  memory: Memory,
  handle: number,
  scope: ViewScope,
) => RowView<PlainRow>;

/**
 * Makes the decoder of a table, or of some of its columns.
 *
 * @param table The table.
 * @param columns The columns that the objects get, in their order. Default: all.
 * @param generate Whether to compile it. Default: if the host permits.
 */
export function makeDecoder(
  table: TableLayout,
  columns: readonly ColumnLayout[] = table.columns,
  generate: boolean = codegenPermitted(),
): RowDecoder {
  if (!generate) return makeDecoderOfClosures(table, columns);
  const { statements, object } = objectCode(table, columns, "key !== undefined ? key : ");
  const body = `
    return function decode(memory, h, key) {
      const { u8, i32, u32, f64, i64 } = memory;
      ${statements}
      return ${object};
    };`;
  return compile(readerBindings(table), body) as RowDecoder;
}

/**
 * Makes the decoder of whole results: one function with the loop inside, which costs each row less
 * than a call.
 *
 * @param table The table.
 * @param columns The columns that the objects get, in their order. Default: all.
 * @param generate Whether to compile it. Default: if the host permits.
 */
export function makeRowsDecoder(
  table: TableLayout,
  columns: readonly ColumnLayout[] = table.columns,
  generate: boolean = codegenPermitted(),
): RowsDecoder {
  if (!generate) {
    const decode = makeDecoderOfClosures(table, columns);
    return (memory, count, into) => {
      let at = 0;
      for (let i = 0; i < count; i++) {
        into.push(decode(memory, at + recordHeaderSize / 8));
        at += (memory.u32[at * 2] ?? 0) / 8;
      }
    };
  }
  const { statements, object } = objectCode(table, columns);
  const body = `
    return function decodeRows(memory, count, into) {
      const { u8, i32, u32, f64, i64 } = memory;
      for (let i = 0, at = 0; i < count; i++) {
        const h = at + ${recordHeaderSize / 8};
        ${statements}
        into.push(${object});
        at += u32[at << 1] >>> 3;
      }
    };`;
  return compile(readerBindings(table), body) as RowsDecoder;
}

function makeDecoderOfClosures(
  table: TableLayout,
  columns: readonly ColumnLayout[],
): RowDecoder {
  const readers = columns.map((column) => [column.name, makeReader(table, column)] as const);
  const keyName = columns.find((column) => isTextKey(table, column))?.name;
  return (memory, handle, key) => {
    const row: PlainRow = {};
    for (const [name, read] of readers) {
      row[name] = key !== undefined && name === keyName ? key : read(memory, handle);
    }
    return row;
  };
}

function isInlineText(column: ColumnLayout): boolean {
  return column.kind === "text" && column.inline;
}

function isTextKey(table: TableLayout, column: ColumnLayout): boolean {
  return column === table.primaryKey && column.kind === "text";
}

/**
 * Makes the class of the views of a table.
 *
 * @param table The table.
 * @param generate Whether to compile it. Default: if the host permits.
 */
export function makeViewClass(
  table: TableLayout,
  generate: boolean = codegenPermitted(),
): RowViewClass {
  const decode = makeDecoder(table, table.columns, generate);
  if (!generate) return makeViewClassOfClosures(table, decode);
  const getters = table.columns.map((column) => {
    const { statements, expression } = readCode(table, column);
    return `
      get ${literal(column.name)}() {
        if (this.#scope.ended) throw expired(${literal(column.name)});
        const memory = this.#memory, h = this.#handle;
        const { ${arraysOf(column)} } = memory;
        ${statements}
        return ${expression};
      }`;
  });
  const body = `
    return class Row {
      #memory; #handle; #scope;
      constructor(memory, handle, scope) {
        this.#memory = memory; this.#handle = handle; this.#scope = scope;
      }
      toObject() {
        if (this.#scope.ended) throw expired("toObject()");
        return decode(this.#memory, this.#handle);
      }
      toJSON() { return this.toObject(); }
      [inspect]() { return this.#scope.ended ? "[expired row view]" : this.toObject(); }
      ${getters.join("\n")}
    };`;
  const bindings = { ...readerBindings(table), decode, expired: makeExpired(table), inspect };
  return compile(bindings, body) as RowViewClass;
}

/** The typed arrays that reading a column needs; the others would only be loaded in vain. */
function arraysOf(column: ColumnLayout): string {
  const arrays: string[] = column.nullable ? ["u32"] : [];
  if (column.kind === "int32" || isInlineText(column)) arrays.push("i32");
  if (column.kind === "int64") arrays.push("i64");
  if (column.kind === "float64" || column.kind === "timestamp") arrays.push("f64");
  if (column.kind === "bool") arrays.push("u8");
  return arrays.join(", ");
}

const inspect = Symbol.for("nodejs.util.inspect.custom");

function makeViewClassOfClosures(table: TableLayout, decode: RowDecoder): RowViewClass {
  const expired = makeExpired(table);
  class Row {
    readonly #memory: Memory;
    readonly #handle: number;
    readonly #scope: ViewScope;

    constructor(memory: Memory, handle: number, scope: ViewScope) {
      this.#memory = memory;
      this.#handle = handle;
      this.#scope = scope;
    }

    static read(row: Row, name: string, reader: Reader): ColumnValue | null {
      if (row.#scope.ended) throw expired(name);
      return reader(row.#memory, row.#handle);
    }

    toObject(): PlainRow {
      if (this.#scope.ended) throw expired("toObject()");
      return decode(this.#memory, this.#handle);
    }

    toJSON(): PlainRow {
      return this.toObject();
    }

    [inspect](): PlainRow | string {
      return this.#scope.ended ? "[expired row view]" : this.toObject();
    }
  }
  for (const column of table.columns) {
    const reader = makeReader(table, column);
    Object.defineProperty(Row.prototype, column.name, {
      configurable: true,
      get(this: Row) {
        return Row.read(this, column.name, reader);
      },
    });
  }
  return Row as unknown as RowViewClass;
}

function makeExpired(table: TableLayout): (name: string) => AerostoreError {
  return (name) =>
    new AerostoreError(
      "view_expired",
      `Cannot read ${quote(name)} of a row of ${quote(table.name)}: its transaction has ` +
        `ended or went back to a savepoint; keep what is needed longer by toObject()`,
    );
}

/** What the code of {@linkcode readCode} refers to. */
function readerBindings(table: TableLayout): Record<string, unknown> {
  const keys = shortTexts(true);
  const values = shortTexts(false);
  return {
    // By names of their own: engines compile the addresses of what is bound into the code.
    keys,
    keysWords: keys.words,
    keysStrings: keys.strings,
    values,
    valuesWords: values.words,
    valuesStrings: values.strings,
    readTailText,
    readInlineBytes,
    readTailBytes,
    readInteger: makeIntegerReader(table),
  };
}

/** Code that gives a value: statements, and an expression for behind them. */
interface ReadCode {
  readonly statements: string;
  readonly expression: string;
}

/** Returns code that makes the object of a row; `known` goes before what reads a textual key. */
function objectCode(
  table: TableLayout,
  columns: readonly ColumnLayout[],
  known = "",
): { readonly statements: string; readonly object: string } {
  const all: string[] = [];
  const fields: string[] = [];
  for (const column of columns) {
    const { statements, expression } = readCode(table, column);
    const value = isTextKey(table, column) ? known + expression : expression;
    // All texts come before the object: what calls may happen do not fall into its making.
    if (statements !== "") all.push(statements, `const value${column.id} = ${value};`);
    fields.push(`${literal(column.name)}: ${statements === "" ? value : `value${column.id}`}`);
  }
  return { statements: all.join("\n"), object: `{ ${fields.join(",\n")} }` };
}

/**
 * Returns the code that reads a column, given `memory`, its typed arrays, and `h`, the handle.
 * Indexes stay below 2^30 because a memory has at most 1 GiB.
 */
function readCode(table: TableLayout, column: ColumnLayout): ReadCode {
  const code = readValueCode(table, column);
  if (!column.nullable) return code;
  const word = column.id < 32 ? -4 : -3;
  const bit = (1 << (column.id & 31)) >>> 0;
  const isNull = `(u32[(h << 1) + ${word}] & ${bit}) !== 0`;
  return { ...code, expression: `${isNull} ? null : ${code.expression}` };
}

function readValueCode(table: TableLayout, column: ColumnLayout): ReadCode {
  if (!isInlineText(column)) {
    return { statements: "", expression: readValueExpression(column) };
  }
  const isKey = isTextKey(table, column);
  return shortTextCode(
    isKey ? "keys" : "values",
    shortTexts(isKey).shift,
    `(h << 1) + ${column.offset / 4}`,
    shortWordCount(column.capacity),
    String(column.id),
  );
}

function readValueExpression(column: ColumnLayout): string {
  const { offset } = column;
  const cell = `(h << 3) + ${offset}`;
  switch (column.kind) {
    case "text":
      return `readTailText(memory, h << 3, ${cell})`;
    case "bytes":
      return column.inline
        ? `readInlineBytes(memory, ${cell})`
        : `readTailBytes(memory, h << 3, ${cell})`;
    case "int32":
      return `i32[(h << 1) + ${offset / 4}]`;
    case "int64":
      return column.bigint
        ? `i64[h + ${offset / 8}]`
        : `readInteger(memory, h + ${offset / 8}, ${literal(column.name)})`;
    case "float64":
    case "timestamp":
      return `f64[h + ${offset / 8}]`;
    case "bool":
      return `u8[${cell}] !== 0`;
  }
}

/** Reads an int64 as a number, given the index of its 8 bytes. */
type IntegerReader = (memory: Memory, index: number, name: string) => number;

function makeIntegerReader(table: TableLayout): IntegerReader {
  return (memory, index, name) => {
    const low = memory.u32[2 * index] ?? 0;
    const high = memory.i32[2 * index + 1] ?? 0;
    // Exact up to 2^53, and beyond it never rounds back to a safe integer.
    const value = high * 4294967296 + low;
    if (value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER) return value;
    throw new AerostoreError(
      "unsafe_integer",
      `Cannot read column ${quote(name)} of ${quote(table.name)}: no number is exactly ` +
        `${memory.i64[index]}; declare the column as t.int64({ as: "bigint" })`,
    );
  };
}

/** Reads one column of the row at a handle. */
type Reader = (memory: Memory, handle: number) => ColumnValue | null;

function makeReader(table: TableLayout, column: ColumnLayout): Reader {
  const read = makeValueReader(table, column);
  if (!column.nullable) return read;
  const maskAt = -16 + (column.id >> 3);
  const bit = 1 << (column.id & 7);
  return (memory, handle) =>
    (memory.view.getUint8(handle * 8 + maskAt) & bit) !== 0 ? null : read(memory, handle);
}

function makeValueReader(table: TableLayout, column: ColumnLayout): Reader {
  const { offset, inline, name } = column;
  const readInteger = makeIntegerReader(table);
  switch (column.kind) {
    case "text": {
      if (!inline) return (memory, handle) => readTailText(memory, handle * 8, handle * 8 + offset);
      const cache = shortTexts(isTextKey(table, column));
      const count = shortWordCount(column.capacity);
      return (memory, handle) => cache.read(memory, handle * 2 + offset / 4, count);
    }
    case "bytes":
      return inline
        ? (memory, handle) => readInlineBytes(memory, handle * 8 + offset)
        : (memory, handle) => readTailBytes(memory, handle * 8, handle * 8 + offset);
    case "int32":
      return (memory, handle) => memory.view.getInt32(handle * 8 + offset, true);
    case "int64":
      return column.bigint
        ? (memory, handle) => memory.view.getBigInt64(handle * 8 + offset, true)
        : (memory, handle) => readInteger(memory, handle + offset / 8, name);
    case "float64":
    case "timestamp":
      return (memory, handle) => memory.view.getFloat64(handle * 8 + offset, true);
    case "bool":
      return (memory, handle) => memory.view.getUint8(handle * 8 + offset) !== 0;
  }
}
