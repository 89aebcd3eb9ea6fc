/**
 * Transactions of several statements.
 *
 * @module
 */

import { TransactionFlag } from "./abi.ts";
import { dialectOf } from "./arguments.ts";
import { AerostoreError, quote } from "./errors.ts";
import {
  type QueryContext,
  type RowsChange,
  TableExecutor,
  type TransactionScope,
} from "./execution.ts";
import { listOfKeys } from "./many_keys.ts";
import type { Connection } from "./native.ts";
import type { AggregateResults, Aggregates } from "./query/aggregate.ts";
import { QueryBuilder } from "./query/builder.ts";
import type { CompiledQuery } from "./query/compiler.ts";
import { Result } from "./result.ts";
import type { RowView, ViewScope } from "./row_view.ts";
import type {
  Columns,
  InsertOfColumns,
  KeyOfColumns,
  PatchOfColumns,
  RowOfColumns,
  TableDefinition,
} from "./schema.ts";
import type { Dialect } from "./stapi/ast.ts";
import type { SearchQuery } from "./stapi/object_form.ts";
import type { Changes, RowsPatch, SearchOptions } from "./table.ts";
import type { TableHandle } from "./table_handle.ts";
import { promiseFlag, readDurableFlag, type TransactionOptions } from "./transaction_options.ts";

/** What a transaction needs of its database. */
export interface TransactionHost {
  /** The open database. */
  readonly connection: Connection;
  /** Whose rules searches follow. */
  readonly dialect: Dialect;
  /** Finds the table of a definition or a name. */
  context(table: TableDefinition | string): QueryContext;
  /** Tells that the transaction has ended. */
  ended(transaction: Transaction): void;
}

/**
 * A transaction by hand: several statements that happen at once or not at all.
 *
 * It reads the state of the moment it began, with its own changes. Bind it with `using`, and it
 * aborts if it was not committed.
 */
export class Transaction implements Disposable {
  readonly #host: TransactionHost;
  readonly #state: TransactionState;
  #savepoints: { readonly name: string; readonly place: number }[] = [];
  readonly #tables = new Map<QueryContext, TransactionTable>();

  /**
   * Begins a transaction; programs call {@linkcode Aerostore.begin}.
   *
   * @param host What it needs of its database.
   * @param options See {@linkcode TransactionOptions}.
   * @param attempt How often it has lost already. After some losses it queues for the row it lost
   * on, after more it asks others to hold their commits back.
   * @param mayBlock Whether it may wait for the disk; else whoever begins it does, with
   * `readDurable`, for the position of the connection.
   */
  constructor(host: TransactionHost, options: TransactionOptions, attempt = 0, mayBlock = true) {
    const { connection } = host;
    connection.check();
    const readOnly = options.readOnly ?? false;
    let flags = readOnly ? TransactionFlag.read_only : 0;
    if (options.snapshot === "relaxed") flags |= TransactionFlag.relaxed;
    flags |= promiseFlag(options.synchronousCommit);
    flags |= readDurableFlag(options, mayBlock);
    if (attempt >= queueAfter) flags |= TransactionFlag.queue;
    if (attempt >= exclusiveAfter) flags |= TransactionFlag.exclusive;
    const result = connection.transactionBegin(flags);
    if (result <= 0) throw connection.error(result, "begin a transaction");
    this.#host = host;
    this.#state = { id: result, readOnly, ended: false, scope: { ended: false } };
  }

  /** Whether it was committed or aborted. */
  get ended(): boolean {
    return this.#state.ended;
  }

  /**
   * Returns a table to be used within this transaction.
   *
   * @param table The declared table, or the name of a stored one.
   * @throws {AerostoreError} With `unknown_table`, or `transaction_closed`.
   */
  table<C extends Columns>(table: TableDefinition<string, C>): TransactionTable<C>;
  /** Returns a stored table by its name; its rows have no static type. */
  table(table: string): TransactionTable;
  table(table: TableDefinition | string): TransactionTable {
    this.#check("use a table");
    const context = this.#host.context(table);
    let known = this.#tables.get(context);
    if (known === undefined) {
      const executor = new TableExecutor(context, this.#host.dialect, this.#state);
      known = new TransactionTable(context.handle, this.#state, executor);
      this.#tables.set(context, known);
    }
    return known;
  }

  /**
   * Makes the changes visible to everybody, at once. With `synchronousCommit` `"on"` it blocks
   * until they are on disk.
   *
   * @throws {AerostoreError} With `serialization_failure` if another transaction changed what this
   * one has read; the message names the row or the table. Nothing is done then, and running all of
   * it again may succeed. With `durability_unknown` if it is visible, but the log failed before it
   * was on disk; with `disk_full` or `log_failed` if the log takes nothing, and nothing is done.
   */
  commit(): void {
    this.#commit(true);
  }

  /**
   * As {@linkcode Transaction.commit}, but does not block while the changes go to disk. They are
   * visible when it returns; what it waits for is the disk.
   *
   * @returns A promise that is fulfilled when they are on disk; with `synchronousCommit` `"off"`,
   * at once.
   *
   * @example Wait for the disk, and let other work go on
   * ```ts
   * import assert from "node:assert/strict";
   * import { tmpdir } from "node:os";
   * import { join } from "node:path";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Order = defineTable("Order", { id: t.int32().primaryKey(), paid: t.bool() });
   * const directory = join(tmpdir(), `orders-${crypto.randomUUID()}`);
   * {
   *   using db = Aerostore.open(directory, { tables: [Order], size: "8MiB" });
   *   using tx = db.begin({ synchronousCommit: "on" });
   *   tx.table(Order).insert({ id: 1, paid: true });
   *   await tx.commitAsync();
   *   assert.equal(db.table(Order).count(), 1);
   * }
   * Aerostore.remove(directory);
   * ```
   */
  async commitAsync(): Promise<void> {
    if (!this.#commit(false)) return;
    const { connection } = this.#host;
    await connection.waits.wait(connection.position, "commit the transaction");
  }

  /** Returns whether the commit is to be waited for, which it is not if it may block. */
  #commit(mayBlock: boolean): boolean {
    this.#check("commit");
    this.#end();
    const { connection } = this.#host;
    const result = connection.transactionCommit(this.#state.id, mayBlock);
    if (result < 0) throw connection.error(result, "commit the transaction");
    return result > 0;
  }

  /** Gives all changes up. */
  abort(): void {
    this.#check("abort");
    this.#end();
    const { connection } = this.#host;
    const result = connection.transactionAbort(this.#state.id);
    if (result < 0) throw connection.error(result, "abort the transaction");
  }

  /**
   * Marks a place to return to.
   *
   * @param name Its name. As in SQL, a later savepoint of the same name hides an earlier one until
   * it is released.
   */
  savepoint(name: string): void {
    this.#check(`make savepoint ${quote(name)}`);
    const { connection } = this.#host;
    const place = connection.transactionSavepoint(this.#state.id);
    if (place < 0) throw connection.error(place, `make savepoint ${quote(name)}`);
    this.#savepoints.push({ name, place });
  }

  /**
   * Undoes what was done since a savepoint. The savepoint stays, later ones are gone, and so are
   * all row views: what they showed may have been undone.
   *
   * @param name The name of the savepoint.
   * @throws {AerostoreError} With `bad_argument` if there is none of that name.
   */
  rollbackTo(name: string): void {
    const attempt = `roll back to savepoint ${quote(name)}`;
    const { place, index } = this.#findSavepoint(name, attempt);
    const { connection } = this.#host;
    const result = connection.transactionRollbackTo(this.#state.id, place);
    if (result < 0) throw connection.error(result, attempt);
    this.#savepoints.length = index + 1;
    this.#state.scope.ended = true;
    this.#state.scope = { ended: false };
  }

  /**
   * Forgets a savepoint and those after it. What was done since stays done.
   *
   * @param name The name of the savepoint.
   * @throws {AerostoreError} With `bad_argument` if there is none of that name.
   */
  release(name: string): void {
    this.#savepoints.length = this.#findSavepoint(name, `release savepoint ${quote(name)}`).index;
  }

  #findSavepoint(name: string, attempt: string): { place: number; index: number } {
    this.#check(attempt);
    const index = this.#savepoints.findLastIndex((savepoint) => savepoint.name === name);
    const found = this.#savepoints[index];
    if (found !== undefined) return { place: found.place, index };
    throw new AerostoreError("bad_argument", `Cannot ${attempt}: there is none of that name`);
  }

  /** Aborts unless it has ended; for `using`. */
  [Symbol.dispose](): void {
    if (!this.#state.ended) this.abort();
  }

  #check(attempt: string): void {
    this.#host.connection.check();
    if (!this.#state.ended) return;
    throw new AerostoreError("transaction_closed", `Cannot ${attempt}: the transaction has ended`);
  }

  #end(): void {
    this.#state.ended = true;
    this.#state.scope.ended = true;
    this.#host.ended(this);
  }
}

/** What the tables of a transaction know of it. */
interface TransactionState extends TransactionScope {
  /** Whether it only reads. */
  readonly readOnly: boolean;
  ended: boolean;
  /** Replaced when views are taken back and the transaction goes on. */
  scope: ViewScope;
}

/** A table within a transaction. Rows are views, valid until the transaction ends. */
export class TransactionTable<C extends Columns = Columns> {
  readonly #handle: TableHandle;
  readonly #transaction: number;
  readonly #state: TransactionState;
  readonly #executor: TableExecutor;

  /**
   * Made by {@linkcode Transaction.table}.
   *
   * @param handle The table.
   * @param transaction The transaction.
   * @param executor Runs queries in the transaction.
   */
  constructor(handle: TableHandle, transaction: TransactionState, executor: TableExecutor) {
    this.#handle = handle;
    this.#transaction = transaction.id;
    this.#state = transaction;
    this.#executor = executor;
  }

  /** Returns a view of the row of `key`, or undefined. */
  get(key: KeyOfColumns<C>): RowView<RowOfColumns<C>> | undefined {
    this.#check();
    const view = this.#handle.view(this.#transaction, key, this.#state.scope);
    return view as RowView<RowOfColumns<C>> | undefined;
  }

  /** Returns views of the rows of `keys`, in their order; see {@linkcode Table.getMany}. */
  getMany(keys: Iterable<KeyOfColumns<C>>): (RowView<RowOfColumns<C>> | undefined)[] {
    this.#check();
    const list = listOfKeys(this.#handle.layout.name, keys);
    const views = this.#handle.viewMany(this.#transaction, list, this.#state.scope);
    return views as (RowView<RowOfColumns<C>> | undefined)[];
  }

  /** Returns whether there is a row of `key`. */
  has(key: KeyOfColumns<C>): boolean {
    this.#check();
    return this.#handle.has(this.#transaction, key);
  }

  /** Inserts a row; `duplicate_key` if there is one with its key. */
  insert(row: InsertOfColumns<C>): void {
    this.#checkWrite();
    this.#handle.insert(this.#transaction, row);
  }

  /** Inserts a row, or replaces all of the one with its key. */
  upsert(row: InsertOfColumns<C>): void {
    this.#checkWrite();
    this.#handle.upsert(this.#transaction, row);
  }

  /** Changes some columns of a row; `not_found` if there is none. */
  update(key: KeyOfColumns<C>, patch: PatchOfColumns<C>): void {
    this.#checkWrite();
    this.#handle.update(this.#transaction, key, patch);
  }

  /** Computes new values from the old ones; see {@linkcode Table.apply}. */
  apply(key: KeyOfColumns<C>, changes: Changes<C>): void {
    this.#checkWrite();
    this.#handle.apply(this.#transaction, key, changes);
  }

  /** Deletes the row of `key`; returns whether there was one. */
  delete(key: KeyOfColumns<C>): boolean {
    this.#checkWrite();
    return this.#handle.delete(this.#transaction, key);
  }

  /**
   * Queues for the row of `key` among all who ask for it, and keeps the place until the transaction
   * ends, or for 20 ms while others wait. What protects the row is that a commit is checked.
   */
  lockForUpdate(key: KeyOfColumns<C>): void {
    this.#checkWrite();
    this.#handle.lock(this.#transaction, key);
  }

  /**
   * Finds rows, its own changes included; see {@linkcode Table.search}. Rows that are read bit by
   * bit, by `query().iterate()` and `stream()`, come as they were when the search began, whatever
   * the transaction writes meanwhile.
   */
  search(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): Result<RowView<RowOfColumns<C>>> {
    return new Result(this.#executor, this.#compile(query, options));
  }

  /** Finds rows and gives them bit by bit; see {@linkcode Table.stream}. */
  stream(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): AsyncIterable<RowView<RowOfColumns<C>>> {
    return this.#executor.stream<RowView<RowOfColumns<C>>>(this.#compile(query, options), []);
  }

  /** Computes aggregates over the rows that a search finds; see {@linkcode Table.aggregate}. */
  aggregate<const A extends Aggregates<RowOfColumns<C>>>(
    query: string | SearchQuery<RowOfColumns<C>>,
    aggregates: A,
    options: SearchOptions = {},
  ): AggregateResults<RowOfColumns<C>, A> {
    const results = this.#executor.aggregate(this.#compile(query, options), [], aggregates);
    return results as AggregateResults<RowOfColumns<C>, A>;
  }

  /** Changes the rows that a search finds; see {@linkcode Table.updateWhere}. */
  updateWhere(
    query: string | SearchQuery<RowOfColumns<C>>,
    patch: RowsPatch<C>,
    options: SearchOptions = {},
  ): number {
    this.#checkWrite();
    return this.#executor.update(this.#compile(query, options), [], patch);
  }

  /** Deletes the rows that a search finds; see {@linkcode Table.deleteWhere}. */
  deleteWhere(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions = {},
  ): number {
    this.#checkWrite();
    return this.#executor.delete(this.#compile(query, options), []);
  }

  /**
   * Updates or deletes the rows of a query that was compiled for the table.
   *
   * @internal
   */
  change(query: CompiledQuery, args: readonly unknown[], change: RowsChange): number {
    this.#checkWrite();
    return this.#executor.change(query, args, change);
  }

  /** Begins a query whose columns, operators and values the compiler checks. */
  query(): QueryBuilder<RowOfColumns<C>, RowView<RowOfColumns<C>>, RowsPatch<C>> {
    this.#check();
    return new QueryBuilder<RowOfColumns<C>, RowView<RowOfColumns<C>>, RowsPatch<C>>(
      this.#executor,
    );
  }

  #compile(
    query: string | SearchQuery<RowOfColumns<C>>,
    options: SearchOptions,
  ): CompiledQuery {
    this.#check();
    const dialect = dialectOf(options, this.#executor.dialect);
    return this.#executor.compiler.compile(query, dialect);
  }

  #checkWrite(): void {
    this.#check();
    if (!this.#state.readOnly) return;
    throw new AerostoreError(
      "read_only",
      `Cannot write to ${quote(this.#handle.layout.name)}: the transaction only reads`,
    );
  }

  #check(): void {
    if (!this.#state.ended) return;
    throw new AerostoreError(
      "transaction_closed",
      `Cannot use ${quote(this.#handle.layout.name)}: the transaction has ended`,
    );
  }
}

/** Losses after which a transaction queues for the row that it lost on. */
const queueAfter = 3;
/** Losses after which it asks others to hold their commits back. */
const exclusiveAfter = 8;

/** Begins a transaction that has lost `attempt` times. */
type Begin = (attempt: number) => Transaction;

/**
 * Runs a function in a transaction, again while it fails by a conflict.
 *
 * @param begin Begins a transaction.
 * @param run The function. If it returns a promise, the transaction ends when that is settled.
 * @param retriesMax How often it may run again.
 * @returns What the function returned.
 */
export function runTransaction<T>(
  begin: Begin,
  run: (transaction: Transaction) => T,
  retriesMax: number,
): T {
  for (let attempt = 0;; attempt++) {
    const transaction = begin(attempt);
    try {
      const result = run(transaction);
      if (isPromise(result)) {
        return finishAsync(begin, run, retriesMax, attempt, transaction, result) as T;
      }
      if (!transaction.ended) transaction.commit();
      return result;
    } catch (error) {
      transaction[Symbol.dispose]();
      if (attempt >= retriesMax || !isConflict(error)) throw error;
      backOff(attempt);
    }
  }
}

/** The asynchronous rest of `runTransaction`, from the first promise on. */
async function finishAsync(
  begin: Begin,
  run: (transaction: Transaction) => unknown,
  retriesMax: number,
  attempts: number,
  first: Transaction,
  pending: PromiseLike<unknown>,
): Promise<unknown> {
  let transaction = first;
  let result: unknown = pending;
  for (let attempt = attempts;; attempt++) {
    try {
      const value = await result;
      if (!transaction.ended) await transaction.commitAsync();
      return value;
    } catch (error) {
      transaction[Symbol.dispose]();
      if (attempt >= retriesMax || !isConflict(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs(attempt)));
    transaction = begin(attempt + 1);
    // A throw of the function itself is a rejection like any other.
    result = new Promise((resolve) => resolve(run(transaction)));
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof AerostoreError &&
    (error.code === "serialization_failure" || error.code === "snapshot_revoked");
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

const sleepWord = new Int32Array(new SharedArrayBuffer(4));
const backOffMaxMs = 50;

/**
 * How long to wait after a conflict: longer each time, by a random share, so that rivals do not
 * meet again. The first retry is at once: most conflicts are over when they are noticed.
 */
function pauseMs(attempt: number): number {
  return attempt === 0 ? 0 : Math.random() * Math.min(backOffMaxMs, 0.05 * 2 ** attempt);
}

function backOff(attempt: number): void {
  const pause = pauseMs(attempt);
  if (pause > 0) Atomics.wait(sleepWord, 0, 0, pause);
}
