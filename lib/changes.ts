/**
 * Changes that are computed where the rows are: the operations of `apply`, and the patches of
 * `update` by a query.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import { type ColumnLayout, type TableLayout, unknownColumn } from "./layout.ts";
import type { Memory } from "./memory.ts";
import { encodeOperand, type RowEncoder } from "./row_encode.ts";
import { refusal } from "./values.ts";

/** The operations and their numbers. */
const operations: ReadonlyMap<string, number> = new Map([
  ["increment", 1],
  ["min", 2],
  ["max", 3],
  ["multiply", 4],
]);

/** The bit of an operation whose result has to be an exact number, as its column is read as one. */
const exactResult = 1 << 16;

/** Bytes that the key takes before the operations of `apply`. */
const applyKeySize = 72;
/** Bytes of an operation. */
const operationSize = 16;

/**
 * Writes the operations of `apply` behind the place of the key; returns where they end.
 *
 * Programs count by this, so it makes nothing but what an error needs.
 */
export function writeChanges(layout: TableLayout, input: Memory, changes: unknown): number {
  checkObject(layout, changes);
  const start = applyKeySize + 8;
  const end = writeOperations(layout, input, start, changes);
  input.u32[applyKeySize / 4] = (end - start) / operationSize;
  input.u32[applyKeySize / 4 + 1] = 0;
  return end;
}

/** Where a patch may be written. */
export interface PatchPlace {
  /** Offset of its first byte, a multiple of 8. */
  readonly at: number;
  /** Bytes behind it, beside those of the largest record. */
  readonly room: number;
}

/**
 * Writes what `update` by a query does: the size of a record of new values, the number of
 * operations, the record, the operations.
 *
 * @param layout The table.
 * @param encodePatch Writes the record.
 * @param input The buffer.
 * @param place Where to write.
 * @param patch Values, and operations such as `{ increment: 1 }`, by column.
 * @returns The offset behind it.
 */
export function writePatch(
  layout: TableLayout,
  encodePatch: RowEncoder,
  input: Memory,
  { at, room }: PatchPlace,
  patch: unknown,
): number {
  const attempt = `update rows of ${quote(layout.name)}`;
  checkObject(layout, patch);
  const values: Record<string, unknown> = {};
  const changes: Record<string, unknown> = {};
  let valueCount = 0;
  let operationCount = 0;
  for (const name of Object.keys(patch)) {
    const value = patch[name];
    if (value === undefined) continue;
    if (name === layout.primaryKey.name) {
      throw new AerostoreError(
        "bad_argument",
        `Cannot ${attempt}: a primary key cannot become another, ${quote(value)}`,
      );
    }
    if (isOperations(value)) {
      changes[name] = value;
      operationCount += Object.keys(value).length;
    } else {
      values[name] = value;
      valueCount += 1;
    }
  }
  if (operationCount * operationSize + 8 > room) {
    throw new AerostoreError("invalid_query", `Cannot ${attempt}: the query is too long`);
  }
  const recordSize = valueCount > 0 ? encodePatch(values, input, at + 8) : 0;
  const start = at + 8 + recordSize;
  const end = writeOperations(layout, input, start, changes);
  input.u32[at / 4] = recordSize;
  input.u32[at / 4 + 1] = (end - start) / operationSize;
  return end;
}

/** Whether a patch computes the column rather than giving it a value. */
function isOperations(value: unknown): value is object {
  return typeof value === "object" && value !== null && !(value instanceof Uint8Array);
}

/** Writes operations by column; returns where they end. */
function writeOperations(
  layout: TableLayout,
  input: Memory,
  start: number,
  changes: Readonly<Record<string, unknown>>,
): number {
  let at = start;
  for (const name of Object.keys(changes)) {
    const change: unknown = changes[name];
    const column = numericColumn(layout, name);
    checkObject(layout, change);
    for (const operationName of Object.keys(change)) {
      const operand = change[operationName];
      const operation = operations.get(operationName);
      if (operation === undefined) throw unknownOperation(layout, operationName);
      if (operand === undefined) continue;
      if (!isOperand(column, operand)) {
        throw refusal(attemptOf(layout), { ...column, nullable: false }, operand);
      }
      const isExact = column.kind === "int64" && !column.bigint;
      input.u32[at / 4] = column.id | (operation << 8) | (isExact ? exactResult : 0);
      input.u32[at / 4 + 1] = 0;
      encodeOperand(input, at + 8, column, operand);
      at += operationSize;
    }
  }
  return at;
}

/** Whether a column takes a value, without the making of an error. */
function isOperand(column: ColumnLayout, value: unknown): value is number | bigint {
  if (column.bigint) return typeof value === "bigint" && BigInt.asIntN(64, value) === value;
  if (typeof value !== "number") return false;
  if (column.kind === "int32") return value === (value | 0);
  if (column.kind === "int64") return Number.isSafeInteger(value);
  return column.kind === "timestamp" ? Number.isFinite(value) : !Number.isNaN(value);
}

function attemptOf(layout: TableLayout): string {
  return `apply changes to a row of ${quote(layout.name)}`;
}

function numericColumn(layout: TableLayout, name: string): ColumnLayout {
  const column = layout.columnsByName.get(name);
  if (column === undefined) throw unknownColumn(layout, name, attemptOf(layout));
  const { kind } = column;
  const isNumeric = kind === "int32" || kind === "int64" || kind === "float64" ||
    kind === "timestamp";
  if (isNumeric && column !== layout.primaryKey) return column;
  throw new AerostoreError(
    "type_mismatch",
    `Cannot ${attemptOf(layout)}: column ${quote(name)} is ` +
      (column === layout.primaryKey ? "the primary key" : `${kind}, not a number`),
  );
}

function checkObject(
  layout: TableLayout,
  value: unknown,
): asserts value is Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  throw new AerostoreError(
    "bad_argument",
    `Cannot ${attemptOf(layout)}: ${quote(value)} is no object`,
  );
}

function unknownOperation(layout: TableLayout, name: string): AerostoreError {
  return new AerostoreError(
    "bad_argument",
    `Cannot ${attemptOf(layout)}: there is no operation ${quote(name)}, only ` +
      [...operations.keys()].join(", "),
  );
}
