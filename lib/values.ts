/**
 * What a column can hold, and the error for what it cannot.
 *
 * The generated encoders test values inline and call {@linkcode refusal} only after a test has
 * failed, so this file may take its time.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";

/** The types of columns. */
export type ColumnKind =
  | "text"
  | "bytes"
  | "int32"
  | "int64"
  | "float64"
  | "bool"
  | "timestamp";

/** A value of a column that is not null. */
export type ColumnValue = string | number | bigint | boolean | Uint8Array;

/** The facts about a column that decide which values it takes. */
export interface ColumnDomain {
  /** The name, as declared. */
  readonly name: string;
  /** The type. */
  readonly kind: ColumnKind;
  /** Whether it takes null. */
  readonly nullable: boolean;
  /** Bytes that a text or bytes column holds; 0 for the other types. */
  readonly capacity: number;
  /** Whether an int64 column takes and gives bigints. */
  readonly bigint: boolean;
}

/**
 * Returns the number of bytes of `text` in UTF-8. Lone surrogates count as three.
 *
 * @param text The text to measure.
 */
export function utf8Size(text: string): number {
  let size = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    size += unit < 0x800 ? 1 : 2;
    const next = i + 1 < text.length ? text.charCodeAt(i + 1) : 0;
    if (unit >= 0xd800 && unit < 0xdc00 && next >= 0xdc00 && next < 0xe000) {
      // A pair is four bytes: three of them are counted, and its second unit is one of the length.
      i++;
    }
  }
  return size;
}

/**
 * Returns the error for a value that the column does not take, or undefined if it takes it.
 *
 * @param attempt What was attempted, such as `write to "FlightState"`.
 * @param column The column that was to hold the value.
 * @param value The value, null included; undefined counts as null.
 */
export function refusal(
  attempt: string,
  column: ColumnDomain,
  value: unknown,
): AerostoreError | undefined {
  const problem = problemOf(column, value);
  if (problem === undefined) return undefined;
  const [code, text] = problem;
  return new AerostoreError(
    code,
    `Cannot ${attempt}: column ${quote(column.name)} ${text}`,
  );
}

type Problem = readonly [code: AerostoreError["code"], text: string];

function problemOf(column: ColumnDomain, value: unknown): Problem | undefined {
  if (value === null || value === undefined) {
    if (column.nullable) return undefined;
    // Null is never replaced by a default.
    return value === null
      ? ["not_null_violation", "is not nullable, but got null"]
      : ["not_null_violation", "is not nullable and has no default, but got undefined"];
  }
  if (typeof value === "number" && Number.isNaN(value)) {
    return ["not_a_number", "cannot hold NaN"];
  }
  switch (column.kind) {
    case "text":
      return problemOfText(column, value);
    case "bytes":
      return problemOfBytes(column, value);
    case "int32":
      if (typeof value === "number" && value === (value | 0)) return undefined;
      return mismatch(
        "a whole number from -2147483648 to 2147483647",
        value,
      );
    case "int64":
      return column.bigint ? problemOfBigint(value) : problemOfInteger(value);
    case "float64":
      return typeof value === "number" ? undefined : mismatch("a number", value);
    case "bool":
      return typeof value === "boolean" ? undefined : mismatch("true or false", value);
    case "timestamp":
      if (typeof value === "number" && Number.isFinite(value)) return undefined;
      if (value instanceof Date) {
        return ["type_mismatch", "takes milliseconds since 1970, not a Date: use its getTime()"];
      }
      return mismatch("a finite number of milliseconds since 1970", value);
  }
}

function problemOfText(column: ColumnDomain, value: unknown): Problem | undefined {
  if (typeof value !== "string") return mismatch("text", value);
  if (!value.isWellFormed()) {
    return ["type_mismatch", `takes Unicode text, and ${quote(value)} has half a surrogate pair`];
  }
  const size = utf8Size(value);
  if (size <= column.capacity) return undefined;
  return [
    "value_too_long",
    `holds ${column.capacity} bytes of UTF-8, and ${quote(value)} has ${size}`,
  ];
}

function problemOfBytes(column: ColumnDomain, value: unknown): Problem | undefined {
  if (!(value instanceof Uint8Array)) return mismatch("a Uint8Array", value);
  if (value.length <= column.capacity) return undefined;
  return ["value_too_long", `holds ${column.capacity} bytes, not ${value.length}`];
}

function problemOfBigint(value: unknown): Problem | undefined {
  if (typeof value !== "bigint") return mismatch("a bigint", value);
  if (BigInt.asIntN(64, value) === value) return undefined;
  return mismatch("a bigint of 64 bits", value);
}

function problemOfInteger(value: unknown): Problem | undefined {
  if (typeof value === "bigint") {
    const advice = `declare it as t.int64({ as: "bigint" }) for bigints`;
    return ["type_mismatch", `takes a number, not ${quote(value)}; ${advice}`];
  }
  if (typeof value !== "number" || (Number.isFinite(value) && !Number.isInteger(value))) {
    return mismatch("a whole number", value);
  }
  if (Number.isSafeInteger(value)) return undefined;
  return [
    "unsafe_integer",
    `takes whole numbers up to 2^53, which are exact, not ${quote(value)}; ` +
    `declare it as t.int64({ as: "bigint" }) for more`,
  ];
}

function mismatch(wanted: string, value: unknown): Problem {
  return ["type_mismatch", `takes ${wanted}, not ${quote(value)}`];
}
