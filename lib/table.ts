/**
 * A table outside of transactions: every call is a transaction of its own.
 *
 * @module
 */

import { RowsFlag } from "./abi.ts";
import {
  badArgument,
  booleans,
  checkOptionNames,
  checkWord,
  dialectOf,
  isIterable,
} from "./arguments.ts";
import { AerostoreError, quote } from "./errors.ts";
import { type QueryContext, TableExecutor } from "./execution.ts";
import { ingest, type IngestOptions, type IngestProgress, type IngestSource } from "./ingest.ts";
import { listOfKeys } from "./many_keys.ts";
import type { AggregateResults, Aggregates } from "./query/aggregate.ts";
import { PreparedQuery, QueryBuilder } from "./query/builder.ts";
import type { CompiledQuery } from "./query/compiler.ts";
import { Result } from "./result.ts";
import type {
  Columns,
  InsertOfColumns,
  KeyOfColumns,
  PatchOfColumns,
  RowOfColumns,
} from "./schema.ts";
import type { Dialect } from "./stapi/ast.ts";
import type { SearchQuery } from "./stapi/object_form.ts";
import type { TableHandle } from "./table_handle.ts";
import type { TransactionTable } from "./transaction.ts";

/**
 * How `apply` computes a new value from the old one. A null counts as absent: increment, min and
 * max then give their operand, and multiply leaves it null.
 */
export interface Change<Value> {
  /** Adds to the value. */
  readonly increment?: Value;
  /** The smaller of the value and this one. */
  readonly min?: Value;
  /** The larger of the value and this one. */
  readonly max?: Value;
  /** Multiplies the value. */
  readonly multiply?: Value;
}

/** The names of the columns of `Row` that hold numbers or bigints. */
export type NumericName<Row> = {
  [K in keyof Row]: NonNullable<Row[K]> extends number | bigint ? K : never;
}[keyof Row];

/** What `apply` takes for a table with the columns `C`. */
export type Changes<C extends Columns> = {
  readonly [K in NumericName<PatchedRow<C>>]?: Change<NonNullable<RowOfColumns<C>[K]>>;
};

/** The columns that a change may concern: all but the primary key. */
export type PatchedRow<C extends Columns> = Pick<
  RowOfColumns<C>,
  keyof PatchOfColumns<C> & keyof RowOfColumns<C>
>;

/**
 * What `update` by a query takes for a table with the columns `C`: new values, or for numbers also
 * operations.
 */
export type RowsPatch<C extends Columns> = {
  readonly [K in keyof PatchOfColumns<C> & keyof RowOfColumns<C>]?:
    | RowOfColumns<C>[K]
    | (K extends NumericName<PatchedRow<C>> ? Change<NonNullable<RowOfColumns<C>[K]>> : never);
};

/** Runs a function on the table in a transaction, again after a conflict. */
export type InTransaction<C extends Columns> = <T>(run: (table: TransactionTable<C>) => T) => T;

/** The options of {@linkcode Table.upsertMany}. */
export interface UpsertManyOptions {
  /**
   * Whether all rows are written or none. False is fastest: each row is a transaction of its own,
   * and rows before one that fails stay. Default: true.
   */
  readonly atomic?: boolean;
}

/** The options of {@linkcode Table.search}. */
export interface SearchOptions {
  /** Whose rules the search follows. Default: the `dialect` option of `open`, else `default`. */
  readonly dialect?: Dialect;
}

const upsertManyOptionNames: ReadonlySet<string> = new Set<keyof UpsertManyOptions>(["atomic"]);

/** Rows taken from an iterable before the first of them is encoded. */
const chunkRows = 1024;

/**
 * A table of an open database, made by `Aerostore.table`.
 *
 * Rows it gives are plain objects, copies of what was stored at the moment of the call.
 */
export class Table<C extends Columns = Columns> {
  readonly #handle: TableHandle;
  readonly #executor: TableExecutor;
  readonly #inTransaction: InTransaction<C>;

  /**
   * Made by {@linkcode Aerostore.table}.
   *
   * @param context The table, and what its queries share.
   * @param dialect Whose rules its searches follow by default.
   * @param inTransaction Runs a function in a transaction.
   */
  constructor(context: QueryContext, dialect: Dialect, inTransaction: InTransaction<C>) {
    this.#handle = context.handle;
    this.#executor = new TableExecutor(
      context,
      dialect,
      (query, args, change) => inTransaction((table) => table.change(query, args, change)),
    );
    this.#inTransaction = inTransaction;
  }

  /** The name of the table. */
  get name(): string {
    return this.#handle.layout.name;
  }

  /**
   * Returns a copy of a row.
   *
   * @param key The primary key.
   * @returns The row, or undefined if there is none.
   * @throws {AerostoreError} With `type_mismatch` if the key is of another type.
   */
  get(key: KeyOfColumns<C>): RowOfColumns<C> | undefined {
    return this.#handle.get(0, key) as RowOfColumns<C> | undefined;
  }

  /**
   * Returns copies of many rows, as they were at one moment, in about half the time of one by one.
   *
   * @param keys The primary keys. One may stand there twice.
   * @returns For each key, in their order, the row, or undefined if there is none.
   * @throws {AerostoreError} With `type_mismatch` if a key is of another type.
   *
   * @example Look up what a list names
   * ```ts
   * import assert from "node:assert/strict";
   * import { tmpdir } from "node:os";
   * import { join } from "node:path";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Airport = defineTable("Airport", { code: t.text(3).primaryKey(), name: t.text(20) });
   * const directory = join(tmpdir(), `airports-${crypto.randomUUID()}`);
   * {
   *   using db = Aerostore.open(directory, { tables: [Airport], size: "8MiB" });
   *   const airports = db.table(Airport);
   *   airports.upsertMany([{ code: "ZRH", name: "Zürich" }, { code: "BRN", name: "Bern" }]);
   *   const names = airports.getMany(["BRN", "GVA", "ZRH"]).map((airport) => airport?.name);
   *   assert.deepEqual(names, ["Bern", undefined, "Zürich"]);
   * }
   * Aerostore.remove(directory);
   * ```
   */
  getMany(keys: Iterable<KeyOfColumns<C>>): (RowOfColumns<C> | undefined)[] {
    const list = listOfKeys(this.name, keys);
    return this.#handle.getMany(0, list) as (RowOfColumns<C> | undefined)[];
  }

  /**
   * Returns whether there is a row.
   *
   * @param key The primary key.
   */
  has(key: KeyOfColumns<C>): boolean {
    return this.#handle.has(0, key);
  }

  /** Returns the number of rows. It takes the same short time for any number. */
  count(): number {
    return this.#handle.count();
  }

  /**
   * Inserts a row.
   *
   * @param row The row; a missing column takes its default, else null.
   * @throws {AerostoreError} With `duplicate_key` if there is a row with its key, or with the code
   * that says what is wrong with a value. Nothing is done then.
   */
  insert(row: InsertOfColumns<C>): void {
    this.#handle.insert(0, row);
  }

  /**
   * Inserts a row, or replaces the one with its key.
   *
   * @param row The whole row: of a replaced one nothing remains, a missing column takes its
   * default, else null.
   * @throws {AerostoreError} With the code that says what is wrong with a value.
   */
  upsert(row: InsertOfColumns<C>): void {
    this.#handle.upsert(0, row);
  }

  /**
   * Changes some columns of a row.
   *
   * @param key The primary key.
   * @param patch The new values; columns that are missing or undefined stay as they are.
   * @throws {AerostoreError} With `not_found` if there is no such row.
   */
  update(key: KeyOfColumns<C>, patch: PatchOfColumns<C>): void {
    this.#handle.update(0, key, patch);
  }

  /**
   * Deletes a row.
   *
   * @param key The primary key.
   * @returns Whether there was one.
   */
  delete(key: KeyOfColumns<C>): boolean {
    return this.#handle.delete(0, key);
  }

  /**
   * Computes new values from the old ones, so that nothing is lost when others do the same at the
   * same time.
   *
   * Operations run where the row is, at the moment of the commit, and never conflict. A function
   * runs in a transaction that queues for the row, and again after a conflict.
   *
   * @param key The primary key.
   * @param changes Operations by column, such as `{ count: { increment: 1 } }`, or a function that
   * gets the row and returns the columns to change.
   * @throws {AerostoreError} With `not_found` if there is no such row, `type_mismatch` if a result
   * does not fit its column.
   */
  apply(
    key: KeyOfColumns<C>,
    changes: Changes<C> | ((row: RowOfColumns<C>) => PatchOfColumns<C>),
  ): void {
    if (typeof changes !== "function") {
      this.#handle.apply(0, key, changes);
      return;
    }
    this.#inTransaction((table) => {
      table.lockForUpdate(key);
      const row = table.get(key);
      // An update of a row that is not there fails as it should.
      table.update(key, row === undefined ? {} as PatchOfColumns<C> : changes(row.toObject()));
    });
  }

  /**
   * Upserts many rows, several times faster than one by one.
   *
   * @param rows The rows, each as for {@linkcode Table.upsert}.
   * @param options See {@linkcode UpsertManyOptions}.
   * @returns The number of rows written.
   * @throws {AerostoreError} With the code of the first row that fails. If `atomic`, nothing is
   * written then; else the rows before it are.
   */
  upsertMany(rows: Iterable<InsertOfColumns<C>>, options: UpsertManyOptions = {}): number {
    const attempt = `upsert rows into ${quote(this.name)}`;
    checkOptionNames(options, upsertManyOptionNames, attempt);
    checkWord("atomic", options.atomic, booleans, attempt);
    if (!isIterable(rows)) {
      throw badArgument(attempt, `${quote(rows)} is neither an array nor another iterable`);
    }
    const writer = new RowsWriter(this.#handle, options.atomic ?? true);
    return writer.write(rows);
  }

  /**
   * Reads tab-separated text into the table, each line a row that is upserted.
   *
   * @param source Text, bytes, the `URL` or `{ path }` of a file, or anything that gives pieces of
   * text or bytes.
   * @param options See {@linkcode IngestOptions}.
   * @returns How much was read.
   * @throws {AerostoreError} With `bad_line`, quoting the first bad line and its number. The
   * batches before it are in the table.
   */
  ingestTsv(
    source: IngestSource,
    options: IngestOptions<Extract<keyof C, string>> = {},
  ): Promise<IngestProgress> {
    return ingest(this.#handle, source, options);
  }

  /**
   * Finds rows.
   *
   * @param query A search string, such as `-compare {{> altitude 10000}} -sort altitude -limit 50`,
   * or the same as an object.
   * @param options See {@linkcode SearchOptions}.
   * @returns The rows, as they were at the moment of the call.
   * @throws {AerostoreError} With a code and a message that point at the word at fault.
   */
  search(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): Result<RowOfColumns<C>> {
    return new Result(this.#executor, this.#compile(query, options));
  }

  /**
   * Finds rows and gives them bit by bit: the event loop has its turn meanwhile. See
   * {@linkcode QueryBuilder.stream}.
   *
   * @param query A search, as for {@linkcode Table.search}.
   * @param options See {@linkcode SearchOptions}.
   */
  stream(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): AsyncIterable<RowOfColumns<C>> {
    return this.#executor.stream<RowOfColumns<C>>(this.#compile(query, options), []);
  }

  /**
   * Computes aggregates over the rows that a search finds, all of one moment.
   *
   * @param query A search, as for {@linkcode Table.search}.
   * @param aggregates See {@linkcode QueryBuilder.aggregate}.
   * @param options See {@linkcode SearchOptions}.
   */
  aggregate<const A extends Aggregates<RowOfColumns<C>>>(
    query: string | SearchQuery<RowOfColumns<C>>,
    aggregates: A,
    options: SearchOptions = {},
  ): AggregateResults<RowOfColumns<C>, A> {
    const results = this.#executor.aggregate(this.#compile(query, options), [], aggregates);
    return results as AggregateResults<RowOfColumns<C>, A>;
  }

  /**
   * Changes the rows that a search finds, in one transaction; see {@linkcode QueryBuilder.update}.
   *
   * @param query A search, as for {@linkcode Table.search}.
   * @param patch New values, or operations such as `{ increment: 1 }`, by column.
   * @param options See {@linkcode SearchOptions}.
   * @returns The number of rows.
   */
  updateWhere(
    query: string | SearchQuery<RowOfColumns<C>>,
    patch: RowsPatch<C>,
    options: SearchOptions = {},
  ): number {
    return this.#executor.update(this.#compile(query, options), [], patch);
  }

  /**
   * Deletes the rows that a search finds, in one transaction.
   *
   * @param query A search, as for {@linkcode Table.search}. An empty one deletes all
   * rows.
   * @param options See {@linkcode SearchOptions}.
   * @returns The number of rows.
   */
  deleteWhere(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): number {
    return this.#executor.delete(this.#compile(query, options), []);
  }

  /** Begins a query whose columns, operators and values the compiler checks. */
  query(): QueryBuilder<RowOfColumns<C>, RowOfColumns<C>, RowsPatch<C>> {
    return new QueryBuilder<RowOfColumns<C>, RowOfColumns<C>, RowsPatch<C>>(this.#executor);
  }

  #compile(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions,
  ): CompiledQuery {
    const dialect = dialectOf(options, this.#executor.dialect);
    return this.#executor.compiler.compile(query, dialect);
  }

  /**
   * Reads and plans a search once, to run it with other values each time.
   *
   * @param query A search with `$1`, `$2` and so on in place of values.
   * @param options See {@linkcode SearchOptions}.
   * @throws {AerostoreError} As for {@linkcode Table.search}.
   */
  prepare(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): PreparedQuery<RowOfColumns<C>, RowsPatch<C>> {
    const dialect = dialectOf(options, this.#executor.dialect);
    const compiled = this.#executor.compiler.prepare(query, dialect);
    return new PreparedQuery<RowOfColumns<C>, RowsPatch<C>>(this.#executor, compiled);
  }
}

/** Writes many rows by few calls: records stand back to back in the input buffer. */
class RowsWriter {
  readonly #handle: TableHandle;
  readonly #atomic: boolean;
  /** The number of the transaction, once one buffer was not enough for an atomic call. */
  #transaction = 0;
  /** Records in the buffer. */
  #count = 0;
  /** Bytes in the buffer. */
  #size = 0;
  /** Rows written before those in the buffer. */
  #written = 0;

  constructor(handle: TableHandle, atomic: boolean) {
    this.#handle = handle;
    this.#atomic = atomic;
  }

  /** Writes all rows; returns how many. */
  write(rows: Iterable<unknown>): number {
    this.#handle.connection.check();
    try {
      if (Array.isArray(rows)) this.#encodeAll(rows);
      else if (this.#atomic) this.#encodeAll([...rows]);
      else this.#encodeChunks(rows);
      this.#flush(true);
    } catch (error) {
      this.#fail();
      throw error;
    }
    return this.#written;
  }

  /**
   * Takes some rows out of an iterable before it encodes them: a generator may use the database,
   * and with it the input buffer, while it makes a row.
   */
  #encodeChunks(rows: Iterable<unknown>): void {
    let chunk: unknown[] = [];
    for (const row of rows) {
      chunk.push(row);
      if (chunk.length < chunkRows) continue;
      this.#encodeAll(chunk);
      this.#flush(false);
      chunk = [];
    }
    this.#encodeAll(chunk);
  }

  #encodeAll(rows: readonly unknown[]): void {
    const { connection, recordSizeMax } = this.#handle;
    connection.check();
    const limit = connection.inputSize - recordSizeMax;
    for (const row of rows) {
      if (this.#size > limit) this.#flush(false);
      this.#size += this.#encode(row);
      this.#count += 1;
    }
  }

  #encode(row: unknown): number {
    const { connection, encodeRow } = this.#handle;
    try {
      return encodeRow(row, connection.input, this.#size);
    } catch (error) {
      if (!(error instanceof AerostoreError)) throw error;
      const index = this.#written + this.#count;
      throw new AerostoreError(error.code, `${error.message}, at index ${index}`, { cause: error });
    }
  }

  /** Writes what is in the buffer. An atomic call that goes on after it becomes a transaction. */
  #flush(last: boolean): void {
    const { connection, layout } = this.#handle;
    const attempt = `upsert rows into ${quote(layout.name)}`;
    if (this.#atomic && !last && this.#transaction === 0) {
      const transaction = connection.transactionBegin(0);
      if (transaction < 0) throw this.#tooManyRows(transaction, attempt);
      this.#transaction = transaction;
    }
    const count = this.#count;
    const size = this.#size;
    this.#count = 0;
    this.#size = 0;
    if (count > 0) {
      const flags = this.#atomic ? 0 : RowsFlag.row_by_row;
      const result = connection.rowsUpsert(this.#transaction, layout.id, count, size, flags);
      if (result < 0) {
        const index = this.#written + connection.failedIndex;
        throw connection.error(result, `${attempt}, at index ${index}`);
      }
      this.#written += result;
    }
    if (last && this.#transaction !== 0) {
      const transaction = this.#transaction;
      this.#transaction = 0;
      const result = connection.transactionCommit(transaction, true);
      if (result < 0) throw connection.error(result, attempt);
    }
  }

  #tooManyRows(result: number, attempt: string): AerostoreError {
    const { connection } = this.#handle;
    return connection.error(
      result,
      `${attempt} in one transaction, as they take more than ${connection.inputSize} bytes`,
    );
  }

  /** Row by row, what came before the error stays; atomically, nothing does. */
  #fail(): void {
    const { connection } = this.#handle;
    if (connection.closed) return;
    if (this.#transaction !== 0) {
      connection.transactionAbort(this.#transaction);
      this.#transaction = 0;
    } else if (!this.#atomic) {
      this.#flush(true);
    }
  }
}
