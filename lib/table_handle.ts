/**
 * One table of one open database, untyped: what tables outside and inside transactions share.
 *
 * Every operation takes the number of a transaction, 0 for one of its own.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import { type ColumnLayout, type TableLayout, unknownColumn } from "./layout.ts";
import { Memory } from "./memory.ts";
import type { Connection } from "./native.ts";
import {
  encodeKey,
  encodeOperand,
  makeEncoders,
  recordHeaderSize,
  recordSizeMax,
  type RowEncoder,
} from "./row_encode.ts";
import {
  makeDecoder,
  makeViewClass,
  type PlainRow,
  type RowDecoder,
  type RowView,
  type RowViewClass,
  type ViewScope,
} from "./row_view.ts";
import { refusal } from "./values.ts";

/** The operations of `apply` and their numbers. */
const operations: ReadonlyMap<string, number> = new Map([
  ["increment", 1],
  ["min", 2],
  ["max", 3],
  ["multiply", 4],
]);

/** Bytes that the key takes before the operations of `apply`. */
const applyKeySize = 72;

/** The handle of a record at the start of a buffer. */
export const firstRecordHandle = recordHeaderSize / 8;

/** Windows of the region have 2^27 units of 8 bytes. */
const windowShift = 2 ** 27;
/** The library's answer for a row that the transaction wrote itself: the output has its record. */
const viewInOutput = 1;

/** One table of one open database. */
export class TableHandle {
  /** The open database. */
  readonly connection: Connection;
  /** Where the columns are. */
  readonly layout: TableLayout;
  /** Writes whole rows as records. */
  readonly encodeRow: RowEncoder;
  /** Makes plain objects of records. */
  readonly decode: RowDecoder;
  /** Most bytes of a record. */
  readonly recordSizeMax: number;
  readonly #encodePatch: RowEncoder;
  readonly #id: number;
  #viewClass: RowViewClass | undefined;

  /**
   * @param connection The open database.
   * @param layout Where the columns are.
   */
  constructor(connection: Connection, layout: TableLayout) {
    this.connection = connection;
    this.layout = layout;
    this.#id = layout.id;
    const { encodeRow, encodePatch } = makeEncoders(layout);
    this.encodeRow = encodeRow;
    this.#encodePatch = encodePatch;
    this.decode = makeDecoder(layout);
    this.recordSizeMax = recordSizeMax(layout);
  }

  /** Returns a copy of the row of `key`, or undefined. */
  get(transaction: number, key: unknown): PlainRow | undefined {
    const { connection } = this;
    connection.check();
    if (!encodeKey(this.layout, connection.input, 0, key)) return undefined;
    const result = connection.rowGet(transaction, this.#id);
    if (result > 0) {
      const known = typeof key === "string" ? key : undefined;
      return this.decode(connection.output, firstRecordHandle, known);
    }
    if (result === 0) return undefined;
    throw connection.error(result, `get row ${quote(key)} of ${quote(this.layout.name)}`);
  }

  /** Returns a view of the row of `key`, or undefined. */
  view(transaction: number, key: unknown, scope: ViewScope): RowView<PlainRow> | undefined {
    const { connection } = this;
    connection.check();
    if (!encodeKey(this.layout, connection.input, 0, key)) return undefined;
    const handle = connection.rowView(transaction, this.#id);
    if (handle === viewInOutput) {
      const size = connection.output.u32[0] ?? 0;
      return this.viewOf(this.copyOutput(size), firstRecordHandle, scope);
    }
    if (handle > 0) return this.viewAt(handle, scope);
    if (handle === 0) return undefined;
    throw connection.error(handle, `get row ${quote(key)} of ${quote(this.layout.name)}`);
  }

  /**
   * Returns a view of the row at a place in the region.
   *
   * @param handle The offset of the payload from the start of the region, in units of 8 bytes.
   * @param scope How long the view lives.
   */
  viewAt(handle: number, scope: ViewScope): RowView<PlainRow> {
    const window = Math.floor(handle / windowShift);
    const memory = this.connection.window(window);
    return this.viewOf(memory, handle - window * windowShift, scope);
  }

  /**
   * Returns a view of the row in some memory.
   *
   * @param memory The memory.
   * @param handle The offset of the payload in it, in units of 8 bytes.
   * @param scope How long the view lives.
   */
  viewOf(memory: Memory, handle: number, scope: ViewScope): RowView<PlainRow> {
    this.#viewClass ??= makeViewClass(this.layout);
    return new this.#viewClass(memory, handle, scope);
  }

  /**
   * Copies records out of the output buffer: rows that the transaction has written itself stand
   * nowhere in the region yet.
   *
   * @param size Bytes from the start of the buffer.
   */
  copyOutput(size: number): Memory {
    return new Memory(this.connection.output.u8.slice(0, size).buffer);
  }

  /** Returns whether there is a row of `key`. */
  has(transaction: number, key: unknown): boolean {
    const { connection } = this;
    connection.check();
    if (!encodeKey(this.layout, connection.input, 0, key)) return false;
    const result = connection.rowHas(transaction, this.#id);
    if (result < 0) {
      throw connection.error(result, `find row ${quote(key)} of ${quote(this.layout.name)}`);
    }
    return result > 0;
  }

  /** Inserts a row that must not exist. */
  insert(transaction: number, row: unknown): void {
    const { connection } = this;
    connection.check();
    const size = this.encodeRow(row, connection.input, 0);
    const result = connection.rowInsert(transaction, this.#id, size);
    if (result < 0) throw this.#writeError(result, "insert", row);
  }

  /** Inserts a row or replaces all of it. */
  upsert(transaction: number, row: unknown): void {
    const { connection } = this;
    connection.check();
    const size = this.encodeRow(row, connection.input, 0);
    const result = connection.rowUpsert(transaction, this.#id, size);
    if (result < 0) throw this.#writeError(result, "upsert", row);
  }

  #writeError(result: number, verb: string, row: unknown): AerostoreError {
    return this.connection.error(
      result,
      `${verb} row ${quote(this.keyOf(row))} into ${quote(this.layout.name)}`,
    );
  }

  /** Returns the primary key of a row that a caller gave. */
  keyOf(row: unknown): unknown {
    return (row as Readonly<Record<string, unknown>>)[this.layout.primaryKey.name];
  }

  /** Changes some columns of a row that must exist. */
  update(transaction: number, key: unknown, patch: unknown): void {
    const { connection, layout } = this;
    connection.check();
    const { input } = connection;
    const attempt = (): string => `update row ${quote(key)} of ${quote(layout.name)}`;
    const size = this.#encodePatch(patch, input, 0);
    const given = this.keyOf(patch);
    if (given !== undefined && given !== key) {
      throw new AerostoreError(
        "bad_argument",
        `Cannot ${attempt()}: a primary key cannot become another, ${quote(given)}`,
      );
    }
    const { id, offset } = layout.primaryKey;
    if (!encodeKey(layout, input, recordHeaderSize + offset, key)) {
      throw new AerostoreError("not_found", `Cannot ${attempt()}: no key is as long`);
    }
    const mask = input.u8[16 + (id >> 3)] ?? 0;
    input.u8[16 + (id >> 3)] = mask | (1 << (id & 7));
    const result = connection.rowUpdate(transaction, this.#id, size);
    if (result < 0) throw connection.error(result, attempt());
  }

  /** Deletes the row of `key`; returns whether there was one. */
  delete(transaction: number, key: unknown): boolean {
    const { connection } = this;
    connection.check();
    if (!encodeKey(this.layout, connection.input, 0, key)) return false;
    const result = connection.rowDelete(transaction, this.#id);
    if (result < 0) {
      throw connection.error(result, `delete row ${quote(key)} of ${quote(this.layout.name)}`);
    }
    return result > 0;
  }

  /** Computes new values of some columns from the old ones, where the row is. */
  apply(transaction: number, key: unknown, changes: unknown): void {
    const { connection, layout } = this;
    connection.check();
    const { input } = connection;
    const size = writeChanges(layout, input, changes);
    if (!encodeKey(layout, input, 0, key)) {
      throw new AerostoreError(
        "not_found",
        `Cannot apply changes to row ${quote(key)} of ${quote(layout.name)}: no key is as long`,
      );
    }
    const result = connection.rowApply(transaction, this.#id, size);
    if (result < 0) {
      throw connection.error(
        result,
        `apply changes to row ${quote(key)} of ${quote(layout.name)}`,
      );
    }
  }

  /** Locks the row of `key` until the transaction ends. */
  lock(transaction: number, key: unknown): void {
    const { connection } = this;
    connection.check();
    const attempt = `lock row ${quote(key)} of ${quote(this.layout.name)}`;
    if (!encodeKey(this.layout, connection.input, 0, key)) {
      throw new AerostoreError("not_found", `Cannot ${attempt}: no key is as long`);
    }
    const result = connection.transactionLock(transaction, this.#id);
    if (result < 0) throw connection.error(result, attempt);
  }

  /** Returns the number of rows. */
  count(): number {
    this.connection.check();
    const result = this.connection.rowCount(this.#id);
    if (result < 0) throw this.connection.error(result, `count ${quote(this.layout.name)}`);
    return result;
  }

  /** Returns the number of distinct keys of an index. */
  countKeys(index: number): number {
    this.connection.check();
    const result = this.connection.indexCount(this.#id, index);
    if (result < 0) throw this.connection.error(result, `count keys of ${quote(this.layout.name)}`);
    return result;
  }
}

/**
 * Writes the operations of `apply` behind the place of the key; returns where they end.
 *
 * Programs count by this, so it makes nothing but what an error needs.
 */
function writeChanges(layout: TableLayout, input: Memory, changes: unknown): number {
  let at = applyKeySize + 8;
  let count = 0;
  checkObject(layout, changes);
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
      input.u32[at / 4] = column.id | (operation << 8);
      input.u32[at / 4 + 1] = 0;
      encodeOperand(input, at + 8, column, operand);
      at += 16;
      count += 1;
    }
  }
  input.u32[applyKeySize / 4] = count;
  input.u32[applyKeySize / 4 + 1] = 0;
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
