/**
 * How single values are written into a plan: operands of clauses, items of lists, parts of keys.
 *
 * @module
 */

import type { Value } from "../stapi/ast.ts";
import type { Cursor } from "./cursor.ts";
import { compareValues, fits } from "./interval.ts";
import type { ColumnKind, ColumnMeta } from "./table_meta.ts";

/** Writes one operand: a number at `at`, or text at the cursor, its place and size at `poolAt`. */
export function writeOperand(
  cursor: Cursor,
  kind: ColumnKind,
  value: Value,
  at: number,
  poolAt: number,
): void {
  if (typeof value === "string" || value instanceof Uint8Array) {
    cursor.patchU32(poolAt, cursor.at);
    cursor.patchU32(poolAt + 4, cursor.textOrBytes(value));
  } else {
    patchScalar(cursor, kind, value, at);
  }
}

/** Writes 8 bytes at `at`: an f64 for float64 and timestamp columns, else an i64. */
function patchScalar(
  cursor: Cursor,
  kind: ColumnKind,
  value: number | bigint | boolean,
  at: number,
): void {
  if (typeof value === "bigint") cursor.patchI64(at, value);
  else if (typeof value === "boolean") cursor.patchI32AsI64(at, value ? 1 : 0);
  else if (kind === "int32") cursor.patchI32AsI64(at, value);
  else cursor.patchF64(at, value);
}

/** Writes one item of an in-list. */
export function writeListItem(cursor: Cursor, kind: ColumnKind, value: Value): void {
  if (typeof value === "string" || value instanceof Uint8Array) {
    const sizeAt = cursor.skip(4);
    cursor.patchU32(sizeAt, cursor.textOrBytes(value));
    cursor.align(4);
  } else {
    patchScalar(cursor, kind, value, cursor.skip(8));
  }
}

/** Writes one column of an index key. */
export function writeKeyPart(cursor: Cursor, kind: ColumnKind, value: Value): void {
  if (typeof value === "string" || value instanceof Uint8Array) {
    const sizeAt = cursor.skip(4);
    const size = cursor.textOrBytes(value);
    cursor.patchU32(sizeAt, size);
    cursor.skip(-(size + 4) & 7);
  } else {
    patchScalar(cursor, kind, value, cursor.skip(8));
  }
}

/** Writes a primary key as `aero_row_get` takes it, in a cell. */
export function writePrimaryKey(cursor: Cursor, kind: ColumnKind, value: Value): void {
  const sizeAt = cursor.skip(4);
  if (typeof value === "string") {
    const lengthAt = cursor.skip(2);
    const size = cursor.textOrBytes(value);
    cursor.patchByte(lengthAt, size & 0xff);
    cursor.patchByte(lengthAt + 1, size >> 8);
    cursor.skip(-(size + 2) & 3);
  } else if (kind === "int64" && typeof value === "bigint") {
    cursor.patchI64(cursor.skip(8), value);
  } else {
    cursor.u32(Number(value));
  }
  endCell(cursor, sizeAt);
}

/** Closes a cell: fills in its size and moves to the next multiple of 8. */
export function endCell(cursor: Cursor, sizeAt: number): void {
  cursor.patchU32(sizeAt, cursor.at - sizeAt - 4);
  cursor.align(8);
}

/** Returns the values that the column can hold, without repetitions, in order. */
export function distinctFitting(column: ColumnMeta, values: readonly Value[]): readonly Value[] {
  const only = values[0];
  if (only === undefined) return values;
  if (values.length === 1) return fits(column, only) ? values : [];
  const fitting = values.filter((value) => fits(column, value));
  if (!(only instanceof Uint8Array)) return withoutRepetitions(fitting);
  return fitting.filter((value, at) =>
    fitting.findIndex((other) => compareValues(other, value) === 0) === at
  );
}

/** Lists up to this length are searched faster than put into a set. */
const searchedLengthMax = 12;

function withoutRepetitions(values: Value[]): Value[] {
  if (values.length > searchedLengthMax) return [...new Set(values)];
  let kept = 0;
  for (const value of values) {
    let at = 0;
    while (at < kept && values[at] !== value) at += 1;
    if (at < kept) continue;
    values[kept] = value;
    kept += 1;
  }
  values.length = kept;
  return values;
}
