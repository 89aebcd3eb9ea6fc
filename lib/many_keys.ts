/**
 * The rows of many keys by few calls.
 *
 * Keys stand one behind the other in the input buffer, each in as many bytes as the longest, and
 * the library answers with records in the output buffer, in the order of the keys. In the place of
 * a record stand 8 bytes of zero if there is no row.
 *
 * @module
 */

import { TransactionFlag } from "./abi.ts";
import { badArgument, isIterable } from "./arguments.ts";
import { type AerostoreError, quote } from "./errors.ts";
import type { TableLayout } from "./layout.ts";
import type { Memory } from "./memory.ts";
import type { Connection } from "./native.ts";
import { encodeKey } from "./row_encode.ts";

/** What is needed of a table. */
export interface KeyedTable {
  /** The open database. */
  readonly connection: Connection;
  /** Where the columns are. */
  readonly layout: TableLayout;
  /** Most bytes of a record. */
  readonly recordSizeMax: number;
}

/** Bytes at the end of the input buffer that the library may read with the last key. */
const keyAreaSize = 72;
/** Bytes in the place of a record that does not exist. */
export const noRecordSize = 8;
/** The size of a text that is longer than any key, in the place of a key. */
const noKey = 0xffff;

/** Bytes from one key to the next. */
function strideOf({ primaryKey }: TableLayout): number {
  return primaryKey.kind === "text" ? (primaryKey.capacity + 9) & ~7 : 8;
}

/**
 * Returns keys as an array. A generator may use the database, and with it the input buffer, while
 * it makes a key.
 *
 * @param table The name of the table, for the error.
 * @param keys What the program gave.
 * @throws {AerostoreError} With `bad_argument` if it cannot be iterated.
 */
export function listOfKeys(table: string, keys: unknown): readonly unknown[] {
  if (Array.isArray(keys)) return keys as readonly unknown[];
  if (isIterable(keys)) return [...keys];
  throw badArgument(
    `find rows of ${quote(table)}`,
    `keys come in an array or another iterable, not ${quote(keys)}`,
  );
}

/** Looks the rows of keys up, as many at a time as fit into the buffers. */
export class ManyKeys {
  readonly #table: KeyedTable;
  readonly #keys: readonly unknown[];
  /** The number of the transaction. */
  #transaction: number;
  /** Whether the transaction is begun and ended here. */
  #isOwn = false;
  /** Keys that fit into the input buffer. */
  readonly #room: number;
  /** The first key in the buffer, and how many there are. */
  #start = 0;
  #count = 0;
  /** How many of those in the buffer are answered. */
  #answered = 0;

  /**
   * @param table The table.
   * @param transaction The number of the transaction, 0 for one of its own.
   * @param keys The keys.
   */
  constructor(table: KeyedTable, transaction: number, keys: readonly unknown[]) {
    const { connection, layout, recordSizeMax } = table;
    connection.check();
    this.#table = table;
    this.#keys = keys;
    this.#transaction = transaction;
    this.#room = Math.floor((connection.inputSize - keyAreaSize) / strideOf(layout));
    const recordsMax = Math.floor(connection.output.u8.length / recordSizeMax);
    if (transaction !== 0 || keys.length <= Math.min(this.#room, recordsMax)) return;
    // It may take several calls, and all rows are of one moment.
    this.#transaction = connection.transactionBegin(TransactionFlag.read_only);
    if (this.#transaction < 0) throw this.#error(this.#transaction);
    this.#isOwn = true;
  }

  /**
   * Looks up the next keys.
   *
   * @returns How many answers stand in the output buffer, in the order of the keys; 0 after the
   * last. Read them with {@linkcode recordSizeAt}.
   * @throws {AerostoreError} With the code that says what is wrong with a key.
   */
  next(): number {
    const { connection, layout } = this.#table;
    if (this.#answered === this.#count) {
      this.#start += this.#count;
      if (this.#start === this.#keys.length) return 0;
      this.#encode();
    }
    const answered = connection.rowsGet(
      this.#transaction,
      layout.id,
      this.#answered,
      this.#count,
    );
    if (answered < 0) throw this.#error(answered);
    this.#answered += answered;
    return answered;
  }

  #encode(): void {
    const { connection: { input }, layout } = this.#table;
    const stride = strideOf(layout);
    this.#count = Math.min(this.#room, this.#keys.length - this.#start);
    this.#answered = 0;
    for (let i = 0; i < this.#count; i++) {
      const at = i * stride;
      if (!encodeKey(layout, input, at, this.#keys[this.#start + i])) input.u32[at >> 2] = noKey;
    }
  }

  /** Ends what was begun. */
  end(): void {
    if (this.#isOwn) this.#table.connection.transactionAbort(this.#transaction);
  }

  #error(result: number): AerostoreError {
    const { connection, layout } = this.#table;
    return connection.error(result, `get ${this.#keys.length} rows of ${quote(layout.name)}`);
  }
}

/**
 * Returns the bytes of the record at an offset of the output buffer, 0 if there is no row: what
 * follows stands {@linkcode noRecordSize} bytes behind it then.
 */
export function recordSizeAt(output: Memory, at: number): number {
  return output.u32[at >> 2] ?? 0;
}
