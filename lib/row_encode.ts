/**
 * Rows on their way into a region: objects to records in the input buffer.
 *
 * A record is a header of 24 bytes (its size, the null mask, the mask of the columns it gives),
 * then the payload exactly as the region stores it. Values are tested here, column by column; a
 * test that fails asks `values.ts` for the error.
 *
 * @module
 */

import { Record as RecordLayout } from "./abi.ts";
import { codegenPermitted, compile, literal } from "./codegen.ts";
import { AerostoreError, quote } from "./errors.ts";
import { type ColumnLayout, type TableLayout, unknownColumn } from "./layout.ts";
import type { Memory } from "./memory.ts";
import { writeInlineBytes, writeInlineText, writeTailBytes, writeTailText } from "./text.ts";
import { type ColumnValue, refusal } from "./values.ts";

/** Bytes of a record before its payload. */
export const recordHeaderSize: number = RecordLayout.size;

/**
 * Writes the record of a row.
 *
 * @param row What the caller gave.
 * @param memory The input buffer, with room for {@linkcode recordSizeMax}.
 * @param at Offset of the record, a multiple of 8.
 * @returns Bytes of the record, a multiple of 8.
 */
export type RowEncoder = (row: unknown, memory: Memory, at: number) => number;

/** The two encoders of a table. */
export interface RowEncoders {
  /** Every column: a missing one takes its default, else null. For insert and upsert. */
  readonly encodeRow: RowEncoder;
  /** The given columns alone. For update; the key is written apart. */
  readonly encodePatch: RowEncoder;
}

/**
 * Returns the most bytes that a record of a table takes.
 *
 * @param table The table.
 */
export function recordSizeMax(table: TableLayout): number {
  let size = table.fixedSize;
  for (const column of table.columns) {
    if (isTail(column)) size += (column.capacity + 3) & ~3;
  }
  return recordHeaderSize + ((size + 7) & ~7);
}

/**
 * Makes the encoders of a table.
 *
 * @param table The table.
 * @param generate Whether to compile them. Default: if the host permits.
 */
export function makeEncoders(
  table: TableLayout,
  generate: boolean = codegenPermitted(),
): RowEncoders {
  const make = generate ? generateEncoder : makeEncoderOfClosures;
  return { encodeRow: make(table, false), encodePatch: make(table, true) };
}

function isTail(column: ColumnLayout): boolean {
  return (column.kind === "text" || column.kind === "bytes") && !column.inline;
}

/** Bytes of a column's cell in the fixed part. */
function cellSize(column: ColumnLayout): number {
  switch (column.kind) {
    case "text":
    case "bytes":
      return column.inline ? (column.capacity + 2 + 3) & ~3 : 4;
    case "int32":
      return 4;
    case "int64":
    case "float64":
    case "timestamp":
      return 8;
    case "bool":
      return 1;
  }
}

/** Bytes of the fixed part that belong to no cell: they must be zero in every payload. */
function paddingOf(table: TableLayout): number[] {
  const used = new Uint8Array(table.fixedSize);
  for (const column of table.columns) {
    used.fill(1, column.offset, column.offset + cellSize(column));
  }
  const padding: number[] = [];
  used.forEach((mark, offset) => {
    if (mark === 0) padding.push(offset);
  });
  return padding;
}

// Checks shared by both kinds of encoders.

/** Throws the error for a value that a test has refused. */
function refuse(table: TableLayout, column: ColumnLayout, value: unknown): never {
  const attempt = `write to ${quote(table.name)}`;
  throw refusal(attempt, column, value) ??
    new AerostoreError(
      "internal",
      `Cannot ${attempt}: column ${quote(column.name)} was refused ${quote(value)} by mistake`,
    );
}

/** Throws for what is no object, or has a property that is no column. */
function checkRow(table: TableLayout, row: unknown): void {
  if (typeof row !== "object" || row === null || Array.isArray(row)) {
    throw new AerostoreError(
      "bad_argument",
      `Cannot write to ${quote(table.name)}: a row is an object, not ${quote(row)}`,
    );
  }
  for (const name in row) {
    if (!table.columnsByName.has(name)) {
      throw unknownColumn(table, name, `write to ${quote(table.name)}`);
    }
  }
}

// Closures: one writer for each column.

/** Writes a value that is not null; returns where the next tail may start, or -1 to refuse. */
type Writer = (memory: Memory, payload: number, tail: number, value: unknown) => number;

function makeEncoderOfClosures(table: TableLayout, patch: boolean): RowEncoder {
  const writers = table.columns.map((column) => ({
    column,
    write: makeWriter(column),
    mask: 8 + (column.id >> 3),
    bit: 1 << (column.id & 7),
  }));
  return (row, memory, at) => {
    checkRow(table, row);
    const values = row as Readonly<Record<string, unknown>>;
    const payload = at + recordHeaderSize;
    let tail = table.fixedSize;
    memory.u8.fill(0, at, payload + tail);
    for (const { column, write, mask, bit } of writers) {
      let value = values[column.name];
      if (value === undefined) {
        if (patch) continue;
        value = column.default ?? null;
      }
      setBit(memory, at + mask + 8, bit);
      if (value === null) {
        if (!column.nullable) refuse(table, column, values[column.name]);
        setBit(memory, at + mask, bit);
        continue;
      }
      tail = write(memory, payload, tail, value);
      if (tail < 0) refuse(table, column, value);
    }
    return finishRecord(memory, at, tail);
  };
}

function setBit(memory: Memory, at: number, bit: number): void {
  memory.view.setUint8(at, memory.view.getUint8(at) | bit);
}

function finishRecord(memory: Memory, at: number, tail: number): number {
  const payload = at + recordHeaderSize;
  if ((tail & 4) !== 0) memory.view.setUint32(payload + tail, 0, true);
  const size = recordHeaderSize + ((tail + 7) & ~7);
  memory.view.setUint32(at, size, true);
  return size;
}

function makeWriter(column: ColumnLayout): Writer {
  const { offset, capacity, inline } = column;
  const size = cellSize(column);
  switch (column.kind) {
    case "text":
      return (memory, payload, tail, value) => {
        if (typeof value !== "string") return -1;
        const cell = payload + offset;
        if (!inline) return writeTailText(memory, payload, cell, tail, value, capacity);
        return writeInlineText(memory, cell, size, value, capacity) ? tail : -1;
      };
    case "bytes":
      return (memory, payload, tail, value) => {
        if (!(value instanceof Uint8Array)) return -1;
        const cell = payload + offset;
        if (!inline) return writeTailBytes(memory, payload, cell, tail, value, capacity);
        return writeInlineBytes(memory, cell, size, value, capacity) ? tail : -1;
      };
    default:
      return makeScalarWriter(column);
  }
}

function makeScalarWriter(column: ColumnLayout): Writer {
  const { offset } = column;
  return (memory, payload, tail, value) => {
    if (refusal("", column, value) !== undefined) return -1;
    const cell = payload + offset;
    const { view } = memory;
    if (column.kind === "int32") view.setInt32(cell, Number(value), true);
    else if (column.kind === "bool") view.setUint8(cell, value === true ? 1 : 0);
    else if (column.kind === "int64") {
      view.setBigInt64(cell, BigInt(value as number | bigint), true);
    } else view.setFloat64(cell, Number(value), true);
    return tail;
  };
}

// Generated code: the same, unrolled.

function generateEncoder(table: TableLayout, patch: boolean): RowEncoder {
  const bindings: Record<string, unknown> = {
    writeInlineText,
    writeTailText,
    writeInlineBytes,
    writeTailBytes,
    refuse: (id: number, value: unknown): never => {
      const column = table.columns[id];
      if (column === undefined) throw new RangeError(`No column ${id}`);
      return refuse(table, column, value);
    },
    check: (row: unknown): void => checkRow(table, row),
    defaults: table.columns.map((column) => column.default),
  };
  const wide = table.columns.length > 32;
  const body = `
    return function encode(row, memory, at) {
      if (typeof row !== "object" || row === null) check(row);
      const { u8, i32, u32, f64, i64 } = memory;
      const payload = at + ${recordHeaderSize}, w = payload >> 2, d = payload >> 3;
      let nulls0 = 0, nulls1 = 0, given0 = 0, given1 = 0, tail = ${table.fixedSize};
      let value, count = 0, names = 0;
      ${table.columns.map((column) => generateWrite(column, patch)).join("")}
      // Equal counts mean that every property is a column; otherwise look at each.
      for (const name in row) names++;
      if (names !== count) check(row);
      ${generatePadding(table)}
      if ((tail & 4) !== 0) i32[w + (tail >> 2)] = 0;
      const size = ${recordHeaderSize} + ((tail + 7) & ~7);
      i32[w - 6] = size;
      i32[w - 5] = 0;
      i32[w - 4] = nulls0;
      i32[w - 3] = ${wide ? "nulls1" : "0"};
      i32[w - 2] = ${patch ? "given0" : maskLiteral(table.columns.length)};
      i32[w - 1] = ${patch ? "given1" : maskLiteral(table.columns.length - 32)};
      return size;
    };`;
  return compile(bindings, body) as RowEncoder;
}

/** The 32 bits of the mask of the first `count` columns. */
function maskLiteral(count: number): string {
  if (count <= 0) return "0";
  return count >= 32 ? "-1" : String((2 ** count - 1) | 0);
}

function generatePadding(table: TableLayout): string {
  return paddingOf(table).map((offset) => `u8[payload + ${offset}] = 0;`).join(" ");
}

function generateWrite(column: ColumnLayout, patch: boolean): string {
  const { id } = column;
  const half = id < 32 ? 0 : 1;
  const bit = 1 << (id & 31);
  const setNull = column.nullable
    ? `nulls${half} |= ${bit}; ${generateZero(column)}`
    : `refuse(${id}, value);`;
  const missing = column.default === undefined
    ? `${column.nullable ? setNull : `refuse(${id}, undefined);`}`
    : `value = defaults[${id}]; ${generateStore(column)}`;
  return `
      value = row[${literal(column.name)}];
      if (value === undefined) {
        ${patch ? "" : missing}
      } else {
        count++;
        ${patch ? `given${half} |= ${bit};` : ""}
        if (value === null) { ${setNull} }
        else { ${generateStore(column)} }
      }`;
}

function generateZero(column: ColumnLayout): string {
  const { offset } = column;
  if (column.kind === "bool") return `u8[payload + ${offset}] = 0;`;
  const words = cellSize(column) / 4;
  if (words > 8) return `i32.fill(0, w + ${offset / 4}, w + ${offset / 4 + words});`;
  return Array.from({ length: words }, (_, i) => `i32[w + ${offset / 4 + i}] = 0;`).join(" ");
}

function generateStore(column: ColumnLayout): string {
  const { id, offset } = column;
  switch (column.kind) {
    case "text":
      return generateStoreSized(column, `typeof value !== "string"`, "Text");
    case "bytes":
      return generateStoreSized(column, `!(value instanceof Uint8Array)`, "Bytes");
    case "int32":
      return `if (typeof value !== "number" || value !== (value | 0)) refuse(${id}, value); ` +
        `i32[w + ${offset / 4}] = value;`;
    case "int64":
      if (column.bigint) {
        return `if (typeof value !== "bigint" || BigInt.asIntN(64, value) !== value) ` +
          `refuse(${id}, value); i64[d + ${offset / 8}] = value;`;
      }
      // The stores wrap modulo 2^32, which gives the lower half; the upper is the floor.
      return `if (!Number.isSafeInteger(value)) refuse(${id}, value); ` +
        `u32[w + ${offset / 4}] = value; ` +
        `i32[w + ${offset / 4 + 1}] = Math.floor(value / 4294967296);`;
    case "float64":
      return `if (typeof value !== "number" || value !== value) refuse(${id}, value); ` +
        `f64[d + ${offset / 8}] = value;`;
    case "timestamp":
      return `if (typeof value !== "number" || value - value !== 0) refuse(${id}, value); ` +
        `f64[d + ${offset / 8}] = value;`;
    case "bool":
      return `if (typeof value !== "boolean") refuse(${id}, value); ` +
        `u8[payload + ${offset}] = value ? 1 : 0;`;
  }
}

function generateStoreSized(column: ColumnLayout, wrong: string, what: string): string {
  const { id, offset, capacity } = column;
  if (column.inline) {
    return `if (${wrong} || !writeInline${what}(memory, payload + ${offset}, ` +
      `${cellSize(column)}, value, ${capacity})) refuse(${id}, value);`;
  }
  return `if (${wrong} || (tail = writeTail${what}(memory, payload, payload + ${offset}, tail, ` +
    `value, ${capacity})) < 0) refuse(${id}, value);`;
}

/**
 * Writes a primary key as a key cell: an int32, an int64, or a u16 size and the bytes of text,
 * zero-filled to a multiple of 4.
 *
 * @param table The table.
 * @param memory The input buffer.
 * @param at Offset of the cell, a multiple of 8.
 * @param key What the caller gave.
 * @returns Whether it is written; if not, it is a text longer than any key, so no row has it.
 * @throws {AerostoreError} With `type_mismatch`, `unsafe_integer`, `not_a_number` or
 * `not_null_violation` if the key is of another type.
 */
export function encodeKey(table: TableLayout, memory: Memory, at: number, key: unknown): boolean {
  const column = table.primaryKey;
  if (column.kind === "text") {
    if (typeof key === "string") {
      const size = (column.capacity + 5) & ~3;
      if (writeInlineText(memory, at, size, key, column.capacity)) return true;
    }
    const error = refusal(`find a row of ${quote(table.name)}`, column, key);
    if (error === undefined || error.code === "value_too_long") return false;
    throw error;
  }
  if (!isWholeKey(column, key)) {
    const error = refusal(`find a row of ${quote(table.name)}`, column, key);
    if (error !== undefined) throw error;
  }
  if (column.kind === "int32") memory.i32[at >> 2] = key as number;
  else if (typeof key === "bigint") memory.i64[at >> 3] = key;
  else writeInteger(memory, at, key as number);
  return true;
}

/** Whether it is a key of the integer column, without the words for an error, which take longer. */
function isWholeKey(column: ColumnLayout, key: unknown): boolean {
  if (column.bigint) return false;
  if (column.kind === "int32") return typeof key === "number" && key === (key | 0);
  return Number.isSafeInteger(key);
}

function writeInteger(memory: Memory, at: number, value: number): void {
  memory.u32[at >> 2] = value;
  memory.i32[(at >> 2) + 1] = Math.floor(value / 4294967296);
}

/**
 * Writes one value of a scalar column as the 8 bytes of an operand: a float for float64 and
 * timestamp, else a 64-bit integer.
 *
 * @param memory The input buffer.
 * @param at Offset, a multiple of 8.
 * @param column The column whose type the value has; it must have passed the tests.
 * @param value The value.
 */
export function encodeOperand(
  memory: Memory,
  at: number,
  column: ColumnLayout,
  value: ColumnValue,
): void {
  if (column.kind === "float64" || column.kind === "timestamp") {
    memory.f64[at >> 3] = Number(value);
  } else if (typeof value === "bigint") {
    memory.i64[at >> 3] = value;
  } else {
    writeInteger(memory, at, Number(value));
  }
}
