/**
 * Turns what stands in a query into a value of the column's type, or says why it cannot.
 *
 * A word of a search string is an integer, a decimal or scientific number, or text; the type of the
 * column decides what it becomes. So `4007e8` is that text for a text column, a number for a
 * float64 column, and 400700000000 for an int64 column. Integers are exact to the last digit.
 *
 * @module
 */

import { type ColumnMeta, columnOf, type TableMeta } from "../query/table_meta.ts";
import type { Value } from "./ast.ts";
import { type Place, QueryError, shorten } from "./query_error.ts";

/**
 * Returns the value that the word `text` of a search string has for a column.
 *
 * @param table The table, for the message.
 * @param number The column.
 * @param text The word.
 * @param place Where it stands, for the message.
 * @throws {AerostoreError} With `type_mismatch` if the column cannot hold such a value.
 */
export function coerceWord(table: TableMeta, number: number, text: string, place: Place): Value {
  const column = columnOf(table, number);
  switch (column.kind) {
    case "text":
      return text;
    case "bytes":
      return encoder.encode(text);
    case "bool": {
      const value = parseBool(text);
      return value === undefined ? mismatch(table, column, `'${shorten(text)}'`, place) : value;
    }
    case "int32":
    case "int64": {
      const exact = parseInteger(text);
      const value = exact === undefined ? undefined : fitInteger(column.kind, exact);
      return value ?? mismatch(table, column, `'${shorten(text)}'`, place);
    }
    case "float64":
    case "timestamp": {
      const value = numberShape.test(text) ? Number(text) : NaN;
      if (Number.isFinite(value)) return value === 0 ? 0 : value;
      return mismatch(table, column, `'${shorten(text)}'`, place);
    }
  }
}

/**
 * Returns the value that a JavaScript value has for a column. Text follows the rules of
 * {@linkcode coerceWord}.
 *
 * @param table The table, for the message.
 * @param number The column.
 * @param value Anything, from the object form, the builder or a parameter.
 * @param place Where it stands, for the message.
 * @throws {AerostoreError} With `type_mismatch` if the column cannot hold such a value, with
 * `unsafe_integer` for a number beyond 2^53 on an int64 column: it may have lost digits already.
 */
export function coerceValue(
  table: TableMeta,
  number: number,
  value: unknown,
  place: Place,
): Value {
  if (typeof value === "string") return coerceWord(table, number, value, place);
  const column = columnOf(table, number);
  switch (column.kind) {
    case "text":
      if (typeof value === "bigint") return value.toString();
      if (typeof value === "number" && Number.isFinite(value)) return String(value);
      break;
    case "bytes":
      if (value instanceof Uint8Array) return value;
      break;
    case "bool":
      if (typeof value === "boolean") return value;
      if (value === 0 || value === 0n) return false;
      if (value === 1 || value === 1n) return true;
      break;
    case "int32":
      if (typeof value === "number" && (value | 0) === value) return value | 0;
      if (typeof value === "bigint") {
        const fitted = fitInteger("int32", value);
        if (fitted !== undefined) return fitted;
      }
      break;
    case "int64":
      return coerceInt64(table, column, value, place);
    case "float64":
      // Infinity has no word in a search string, but columns hold it.
      if (value === Infinity || value === -Infinity) return value;
      return coerceFinite(value) ?? mismatch(table, column, describe(value), place);
    case "timestamp":
      if (value instanceof Date) {
        return mismatch(table, column, "a Date", place, "; use its getTime()");
      }
      return coerceFinite(value) ?? mismatch(table, column, describe(value), place);
  }
  return mismatch(table, column, describe(value), place);
}

const encoder = new TextEncoder();

/** The decimal and scientific numbers of the grammar; hexadecimal, `inf` and `nan` are text. */
const numberShape = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;

function coerceFinite(value: unknown): number | undefined {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
  return number === 0 ? 0 : number;
}

function coerceInt64(
  table: TableMeta,
  column: ColumnMeta,
  value: unknown,
  place: Place,
): Value {
  if (typeof value === "number" && Number.isInteger(value)) {
    if (Number.isSafeInteger(value)) return BigInt(value);
    throw new QueryError(
      "unsafe_integer",
      `${value} is beyond 2^53 and may have lost digits; give column "${column.name}" a bigint`,
      place,
    );
  }
  if (typeof value === "bigint") {
    const fitted = fitInteger("int64", value);
    if (fitted !== undefined) return fitted;
  }
  return mismatch(table, column, describe(value), place);
}

function fitInteger(kind: "int32" | "int64", value: bigint): Value | undefined {
  if (kind === "int32") {
    return value >= -0x80000000n && value <= 0x7fffffffn ? Number(value) : undefined;
  }
  return value >= int64Min && value <= int64Max ? value : undefined;
}

/** Returns the integer that `text` writes (also as `4.0` or `12e2`), exactly; undefined if none. */
function parseInteger(text: string): bigint | undefined {
  if (/^-?\d{1,18}$/.test(text)) return BigInt(text);
  const parts = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (parts === null || !numberShape.test(text)) return undefined;
  const [, sign = "", whole = "", fraction = "", exponentText = "0"] = parts;
  // Zeros around the digits that count are dropped first, so the length bounds the work below.
  const trailing = (whole + fraction).replace(/0+$/, "");
  const digits = trailing.replace(/^0+/, "");
  if (digits === "") return 0n;
  const exponent = Number(exponentText) + whole.length - trailing.length;
  if (exponent < 0 || digits.length + exponent > 19) return undefined;
  const magnitude = BigInt(digits) * 10n ** BigInt(exponent);
  return sign === "-" ? -magnitude : magnitude;
}

/** Tcl's booleans: 0, 1, and the words, in any case, cut short as long as they are clear. */
export function parseBool(text: string): boolean | undefined {
  const word = text.toLowerCase();
  if (word === "1") return true;
  if (word === "0") return false;
  if (word === "" || word === "o") return undefined; // `o` may be `on` or `off`.
  if ("true".startsWith(word) || "yes".startsWith(word) || word === "on") return true;
  if ("false".startsWith(word) || "no".startsWith(word) || "off".startsWith(word)) return false;
  return undefined;
}

function mismatch(
  table: TableMeta,
  column: ColumnMeta,
  what: string,
  place: Place,
  advice = "",
): never {
  throw new QueryError(
    "type_mismatch",
    `Column "${column.name}" of table "${table.name}" is ${column.kind}, ` +
      `which ${what} cannot become${advice}`,
    place,
  );
}

/** Returns what a message calls a value that is of the wrong type. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string") return `'${shorten(value)}'`;
  if (Array.isArray(value)) return "an array";
  for (const known of [Uint8Array, Date, Map, Set, Promise]) {
    if (value instanceof known) return `a ${known.name}`;
  }
  return `a value of type ${typeof value}`;
}
