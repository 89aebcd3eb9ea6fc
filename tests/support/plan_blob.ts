/**
 * An executor of plan blobs over an array of rows: it reads the bytes alone, takes the route they
 * name, and does what `lib/query/encode.ts` says an executor must. Indexes are arrays sorted on the
 * spot. Slow, and nothing but right.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { columnOf, type TableMeta } from "../../lib/query/table_meta.ts";
import type { Value } from "../../lib/stapi/ast.ts";
import { matchGlob, type ModelRow } from "./query_model.ts";

/** What the blob made the executor do, beside the rows. */
export interface BlobResult {
  readonly rows: ModelRow[];
  readonly route: number;
  readonly countOnly: boolean;
}

const textDecoder = new TextDecoder("utf-8", { fatal: true });

/** The header of a blob, and its bytes. */
class Blob {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly table: TableMeta;
  readonly route: number;
  readonly flags: number;
  readonly limit: number;
  readonly offset: number;
  readonly scan: number;

  constructor(bytes: Uint8Array, table: TableMeta) {
    this.bytes = bytes;
    this.table = table;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    assert.equal(this.u32(0), bytes.length, "total_bytes");
    assert.equal(bytes.length % 8, 0);
    assert.equal(this.u16(4), table.id);
    this.route = this.u8(6);
    this.flags = this.u8(7);
    this.limit = this.view.getFloat64(16, true);
    this.offset = this.view.getFloat64(24, true);
    this.scan = this.u32(56);
    assert.ok(this.limit === -1 || (Number.isSafeInteger(this.limit) && this.limit >= 0));
    assert.ok(Number.isSafeInteger(this.offset) && this.offset >= 0);
    assert.equal(this.u32(40) % 8, 0);
    assert.equal(this.u32(44) % 4, 0);
  }

  u8(at: number): number {
    return this.view.getUint8(at);
  }

  u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  scalar(column: number, at: number): Value {
    const { kind } = columnOf(this.table, column);
    if (kind === "float64" || kind === "timestamp") return this.view.getFloat64(at, true);
    const integer = this.view.getBigInt64(at, true);
    if (kind === "bool") return integer === 1n;
    return kind === "int32" ? Number(integer) : integer;
  }

  text(column: number, at: number, size: number): Value {
    assert.ok(at >= 64 && at + size <= this.bytes.length);
    const bytes = this.bytes.slice(at, at + size);
    return columnOf(this.table, column).kind === "text" ? textDecoder.decode(bytes) : bytes;
  }

  isText(column: number): boolean {
    const { kind } = columnOf(this.table, column);
    return kind === "text" || kind === "bytes";
  }
}

/**
 * Executes a blob.
 *
 * @param bytes The blob.
 * @param table The table; the blob names its indexes by id.
 * @param rows All rows of the table.
 */
export function runBlob(
  bytes: Uint8Array,
  table: TableMeta,
  rows: readonly ModelRow[],
): BlobResult {
  const blob = new Blob(bytes, table);
  const reached = reach(blob, rows);
  const clauseCount = blob.u16(8);
  const found = reached.filter((row) => {
    for (let number = 0; number < clauseCount; number += 1) {
      if (!satisfies(blob, blob.u32(40) + number * 40, row)) return false;
    }
    return true;
  });
  const countOnly = (blob.flags & 1) !== 0;
  const isOrdered = (blob.scan & 32) !== 0;
  if (!countOnly && !isOrdered && blob.u16(10) > 0) found.sort((a, b) => compareRows(blob, a, b));
  const end = blob.limit < 0 ? undefined : blob.offset + blob.limit;
  const slice = found.slice(blob.offset, end);
  return {
    rows: slice.map((row) => project(blob, row)),
    route: blob.route,
    countOnly,
  };
}

function reach(blob: Blob, rows: readonly ModelRow[]): ModelRow[] {
  const { table } = blob;
  switch (blob.route) {
    case 0:
      return [];
    case 1: {
      const keys = readPrimaryKeys(blob);
      const name = columnOf(table, table.primaryKey).name;
      return keys.flatMap((key) => rows.filter((row) => order(row[name] ?? null, key) === 0));
    }
    case 2: {
      const sorted = indexOrder(blob, rows);
      const keys = readCells(blob, blob.u32(48), blob.u32(12));
      return keys.flatMap((key) => sorted.filter((row) => compareKey(blob, row, key) === 0));
    }
    case 3:
      return scanRange(blob, rows);
    default:
      assert.equal(blob.route, 4);
      return [...rows];
  }
}

function scanRange(blob: Blob, rows: readonly ModelRow[]): ModelRow[] {
  const { scan } = blob;
  const [hasLow, hasHigh] = [(scan & 2) !== 0, (scan & 8) !== 0];
  const cells = readCells(blob, blob.u32(60), Number(hasLow) + Number(hasHigh));
  const low = hasLow ? cells[0] : undefined;
  const high = hasHigh ? cells.at(-1) : undefined;
  // A null is no value: what is null in a column of a bound need not be brought, so it is not.
  const bounded = Math.max(low?.length ?? 0, high?.length ?? 0);
  const names = indexColumns(blob).slice(0, bounded).map((column) =>
    columnOf(blob.table, column).name
  );
  const inside = indexOrder(blob, rows).filter((row) => {
    if (names.some((name) => (row[name] ?? null) === null)) return false;
    const fromLow = low === undefined ? 1 : compareKey(blob, row, low);
    const fromHigh = high === undefined ? -1 : compareKey(blob, row, high);
    return (fromLow > 0 || (fromLow === 0 && (scan & 4) !== 0)) &&
      (fromHigh < 0 || (fromHigh === 0 && (scan & 16) !== 0));
  });
  if ((scan & 1) === 0) return inside;
  // Downwards, but rows of equal keys still by ascending primary key.
  return groupByKey(blob, inside).toReversed().flat();
}

function groupByKey(blob: Blob, rows: readonly ModelRow[]): ModelRow[][] {
  const groups: ModelRow[][] = [];
  let last: ModelRow | undefined;
  for (const row of rows) {
    const group = groups.at(-1);
    if (last !== undefined && group !== undefined && compareIndexed(blob, last, row) === 0) {
      group.push(row);
    } else {
      groups.push([row]);
    }
    last = row;
  }
  return groups;
}

function indexColumns(blob: Blob): readonly number[] {
  const index = blob.table.indexes.find(({ id }) => id === blob.u32(52));
  assert.ok(index, "the blob names an index");
  return index.columns;
}

function compareIndexed(blob: Blob, a: ModelRow, b: ModelRow): number {
  for (const column of indexColumns(blob)) {
    const { name } = columnOf(blob.table, column);
    const difference = order(a[name] ?? null, b[name] ?? null);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** All rows in the order of the index: by key, then by primary key. */
function indexOrder(blob: Blob, rows: readonly ModelRow[]): ModelRow[] {
  const { name } = columnOf(blob.table, blob.table.primaryKey);
  return rows.toSorted((a, b) =>
    compareIndexed(blob, a, b) || order(a[name] ?? null, b[name] ?? null)
  );
}

/** Compares a row with a key on the columns that the key has. */
function compareKey(blob: Blob, row: ModelRow, key: readonly Value[]): number {
  for (const [at, value] of key.entries()) {
    const { name } = columnOf(blob.table, indexColumns(blob)[at] ?? -1);
    const difference = order(row[name] ?? null, value);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Reads `count` cells with index keys. */
function readCells(blob: Blob, start: number, count: number): Value[][] {
  const keys: Value[][] = [];
  let at = start;
  for (; keys.length < count;) {
    assert.equal(at % 8, 0);
    const size = blob.u32(at);
    const key: Value[] = [];
    let part = at + 4;
    for (const column of indexColumns(blob)) {
      if (part === at + 4 + size) break;
      if (blob.isText(column)) {
        const length = blob.u32(part);
        key.push(blob.text(column, part + 4, length));
        part += (4 + length + 7) & ~7;
      } else {
        key.push(blob.scalar(column, part));
        part += 8;
      }
    }
    assert.equal(part, at + 4 + size, "the key fills its cell");
    keys.push(key);
    at = (part + 7) & ~7;
  }
  return keys;
}

function readPrimaryKeys(blob: Blob): Value[] {
  const { kind, capacity } = columnOf(blob.table, blob.table.primaryKey);
  const keys: Value[] = [];
  let at = blob.u32(48);
  for (let left = blob.u32(12); left > 0; left -= 1) {
    assert.equal(at % 8, 0);
    const size = blob.u32(at);
    if (kind === "text") {
      const length = blob.u16(at + 4);
      assert.ok(length <= capacity);
      assert.equal(size, (2 + length + 3) & ~3);
      keys.push(blob.text(blob.table.primaryKey, at + 6, length));
      assert.ok(blob.bytes.slice(at + 6 + length, at + 4 + size).every((byte) => byte === 0));
    } else if (kind === "int32") {
      assert.equal(size, 4);
      keys.push(blob.view.getInt32(at + 4, true));
    } else {
      assert.equal(size, 8);
      keys.push(blob.view.getBigInt64(at + 4, true));
    }
    at = (at + 4 + size + 7) & ~7;
  }
  assert.equal(new Set(keys).size, keys.length, "keys are distinct");
  return keys;
}

function satisfies(blob: Blob, at: number, row: ModelRow): boolean {
  const operator = blob.u8(at);
  const column = blob.u8(at + 1);
  const flags = blob.u16(at + 2);
  const value = row[columnOf(blob.table, column).name] ?? null;
  if (operator === 1) return value === null;
  if (value === null) return (flags & 1) !== 0;
  const operand = (second: boolean): Value =>
    blob.isText(column)
      ? blob.text(column, blob.u32(at + (second ? 32 : 8)), blob.u32(at + (second ? 36 : 12)))
      : blob.scalar(column, at + (second ? 24 : 16));
  const compared = (second = false): number => order(value, operand(second));
  const globbed = (): boolean =>
    matchGlob(String(operand(false)), String(value), (flags & 2) !== 0);
  const tests: (() => boolean)[] = [
    () => true,
    () => compared() === 0,
    () => compared() !== 0,
    () => compared() > 0,
    () => compared() >= 0,
    () => compared() < 0,
    () => compared() <= 0,
    () => readList(blob, at, column).some((item) => order(value, item) === 0),
    () => compared() >= 0 && compared(true) < 0,
    globbed,
    () => !globbed(),
    () => value === true,
    () => value === false,
  ];
  const run = tests[operator - 2];
  assert.ok(run, `operator ${operator}`);
  return run();
}

function readList(blob: Blob, at: number, column: number): Value[] {
  const items: Value[] = [];
  let item = blob.u32(at + 8);
  const end = item + blob.u32(at + 12);
  for (let left = blob.u32(at + 4); left > 0; left -= 1) {
    if (blob.isText(column)) {
      const size = blob.u32(item);
      items.push(blob.text(column, item + 4, size));
      item = (item + 4 + size + 3) & ~3;
    } else {
      items.push(blob.scalar(column, item));
      item += 8;
    }
  }
  assert.equal(item, end, "the list fills its part of the pool");
  return items;
}

function compareRows(blob: Blob, a: ModelRow, b: ModelRow): number {
  for (let number = 0; number < blob.u16(10); number += 1) {
    const at = blob.u32(44) + number * 4;
    const { name } = columnOf(blob.table, blob.u8(at));
    const flags = blob.u8(at + 1);
    const left = a[name] ?? null;
    const right = b[name] ?? null;
    if (left === null && right === null) continue;
    if (left === null || right === null) {
      return (left === null) === ((flags & 2) !== 0) ? -1 : 1;
    }
    const difference = order(left, right);
    if (difference !== 0) return (flags & 1) !== 0 ? -difference : difference;
  }
  const { name } = columnOf(blob.table, blob.table.primaryKey);
  return order(a[name] ?? null, b[name] ?? null);
}

function project(blob: Blob, row: ModelRow): ModelRow {
  const mask = blob.view.getBigUint64(32, true);
  if (mask === 0n) return row;
  const names = blob.table.columns.filter((_, column) => (mask >> BigInt(column) & 1n) === 1n);
  return Object.fromEntries(names.map(({ name }) => [name, row[name] ?? null]));
}

/** Orders two values of one column; a null stands after every value. */
function order(a: Value | null, b: Value | null): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  if (typeof a === "string" && typeof b === "string") {
    return Buffer.compare(Buffer.from(a), Buffer.from(b));
  }
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b);
  return a < b ? -1 : a > b ? 1 : 0;
}
