/**
 * One table of one open database, untyped: what tables outside and inside transactions share.
 *
 * Every operation takes the number of a transaction, 0 for one of its own.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import { writeChanges, writePatch } from "./changes.ts";
import type { TableLayout } from "./layout.ts";
import { ManyKeys, noRecordSize, recordSizeAt } from "./many_keys.ts";
import { Memory } from "./memory.ts";
import type { Connection } from "./native.ts";
import {
  encodeKey,
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

/** The handle of a record at the start of a buffer. */
export const firstRecordHandle = recordHeaderSize / 8;

/** Windows of the region have 2^27 units of 8 bytes. */
const windowShift = 2 ** 27;
/** The library's answer for a row that the transaction wrote itself: the output has its record. */
const viewInOutput = 1;

/** The handle of the record at an offset of a buffer. */
function handleOf(at: number): number {
  return (at + recordHeaderSize) >> 3;
}

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

  /** Returns copies of the rows of `keys`, undefined in the place of one that does not exist. */
  getMany(transaction: number, keys: readonly unknown[]): (PlainRow | undefined)[] {
    const { output } = this.connection;
    const rows: (PlainRow | undefined)[] = [];
    const reading = new ManyKeys(this, transaction, keys);
    try {
      for (let count = reading.next(); count > 0; count = reading.next()) {
        let at = 0;
        for (let i = 0; i < count; i++) {
          const size = recordSizeAt(output, at);
          const key = keys[rows.length];
          const known = typeof key === "string" ? key : undefined;
          rows.push(size === 0 ? undefined : this.decode(output, handleOf(at), known));
          at += size || noRecordSize;
        }
      }
    } finally {
      reading.end();
    }
    return rows;
  }

  /** Returns views of copies of the rows of `keys`, undefined where there is none. */
  viewMany(
    transaction: number,
    keys: readonly unknown[],
    scope: ViewScope,
  ): (RowView<PlainRow> | undefined)[] {
    const { output } = this.connection;
    const rows: (RowView<PlainRow> | undefined)[] = [];
    const reading = new ManyKeys(this, transaction, keys);
    for (let count = reading.next(); count > 0; count = reading.next()) {
      let end = 0;
      for (let i = 0; i < count; i++) end += recordSizeAt(output, end) || noRecordSize;
      const copy = this.copyOutput(end);
      for (let at = 0; at < end;) {
        const size = recordSizeAt(copy, at);
        rows.push(size === 0 ? undefined : this.viewOf(copy, handleOf(at), scope));
        at += size || noRecordSize;
      }
    }
    return rows;
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

  /**
   * Changes every row that the plan in the input buffer finds.
   *
   * @param transaction The number of the transaction, which must not be 0.
   * @param size Bytes of the plan.
   * @param patch New values or operations by column.
   * @returns How many rows there were.
   */
  updateRows(transaction: number, size: number, patch: unknown): number {
    const { connection, layout } = this;
    const room = connection.inputSize - size - this.recordSizeMax;
    const end = writePatch(layout, this.#encodePatch, connection.input, { at: size, room }, patch);
    const result = connection.queryUpdate(transaction, end);
    if (result < 0) throw connection.error(result, `update rows of ${quote(layout.name)}`);
    return connection.total;
  }

  /** Deletes every row that the plan in the input buffer finds; returns how many there were. */
  deleteRows(transaction: number, size: number): number {
    const { connection } = this;
    const result = connection.queryDelete(transaction, size);
    if (result < 0) throw connection.error(result, `delete rows of ${quote(this.layout.name)}`);
    return connection.total;
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
