/**
 * An open database.
 *
 * @module
 */

import { resolve } from "node:path";
import { badArgument, checkFunction } from "./arguments.ts";
import { Catalogue } from "./catalogue.ts";
import { type ConfigurationName, type ConfigurationValue, getConfig, setConfig } from "./config.ts";
import { AerostoreError, quote } from "./errors.ts";
import { QueryContext } from "./execution.ts";
import { loadLibrary } from "./library.ts";
import {
  type CloseReport,
  closeReportOf,
  perform,
  performAsync,
  type SnapshotOptions,
  type SnapshotReport,
} from "./maintenance.ts";
import { type Connection, openConnection, removeStore } from "./native.ts";
import {
  checkOptions,
  configure,
  connectionOptionsOf,
  type EphemeralOptions,
  type OpenOptions,
  type RemoveOptions,
} from "./open_options.ts";
import { type Columns, TableDefinition } from "./schema.ts";
import type { Dialect } from "./stapi/ast.ts";
import type { Stats, Verification } from "./stats.ts";
import { Table } from "./table.ts";
import { TableHandle } from "./table_handle.ts";
import { runTransaction, Transaction, type TransactionHost } from "./transaction.ts";
import {
  checkTransactionOptions,
  type RetryOptions,
  type TransactionOptions,
} from "./transaction_options.ts";

/**
 * An open database: a region of memory that all processes share which opened the same directory.
 *
 * Bind it with `using`, or call {@linkcode Aerostore.close}. After that every use of it, of its
 * tables, transactions and row views throws `closed`, `transaction_closed` or `view_expired`.
 *
 * Each Worker opens its own.
 *
 * @example Write, read and search
 * ```ts
 * import assert from "node:assert/strict";
 * import { Aerostore, defineTable, t } from "aerostore";
 *
 * const Gate = defineTable("Gate", {
 *   id: t.text(8).primaryKey(),
 *   flight: t.text(16).nullable(),
 *   passengers: t.int32().default(0),
 * });
 *
 * const ephemeral = `gates-${crypto.randomUUID()}`;
 * const db = Aerostore.open({ ephemeral, tables: [Gate], size: "8MiB" });
 * const gates = db.table(Gate);
 * gates.insert({ id: "A1", flight: "UAL123" });
 * gates.update("A1", { passengers: 180 });
 * assert.deepEqual(gates.get("A1"), { id: "A1", flight: "UAL123", passengers: 180 });
 * assert.equal(gates.search("-compare {{> passengers 100}}").length, 1);
 * db.close();
 * Aerostore.remove({ ephemeral });
 * ```
 */
export class Aerostore implements Disposable {
  readonly #connection: Connection;
  readonly #catalogue: Catalogue;
  readonly #dialect: Dialect;
  /** Everything that is known of the tables in use, by name. */
  readonly #contexts = new Map<string, QueryContext>();
  readonly #tables = new Map<string, Table>();
  /** The definitions that were found to agree with their stored tables. */
  readonly #checked = new WeakSet<TableDefinition>();
  readonly #transactions = new Set<Transaction>();
  readonly #transactionHost: TransactionHost;
  #closeReport: CloseReport | undefined;

  private constructor(connection: Connection, dialect: Dialect) {
    this.#connection = connection;
    this.#dialect = dialect;
    this.#catalogue = new Catalogue(connection);
    this.#transactionHost = {
      connection,
      dialect,
      context: (table) => this.#contextOf(table),
      ended: (transaction) => this.#transactions.delete(transaction),
    };
  }

  /**
   * Opens a database, and creates it if there is none.
   *
   * Any number of processes may do so at once, of Bun and of Deno.
   *
   * @param path A directory; it is created with mode 0700 if it does not exist.
   * @param options See {@linkcode OpenOptions}; with `ephemeral` there is no directory.
   * @throws {AerostoreError} `not_aerostore`, `layout_version` or `corrupt` if what is there is no
   * sound region of this version; `schema_mismatch` if a stored table differs; `permission_denied`,
   * `disk_full`, `io_error`; `library_not_found` or `abi_mismatch` if the native library cannot be
   * used; `unsupported_platform`; `bad_argument` for an option that makes no sense.
   */
  static open(path: string, options?: OpenOptions): Aerostore;
  /** Opens a database that has a name instead of a directory, and nothing on disk. */
  static open(options: EphemeralOptions): Aerostore;
  static open(first: string | EphemeralOptions, second: OpenOptions = {}): Aerostore {
    const options: OpenOptions & { readonly ephemeral?: string } = typeof first === "string"
      ? second
      : first;
    const path = typeof first === "string" ? first : nameIn(first);
    const attempt = `open ${quote(path)}`;
    checkOptions(options, attempt);
    const connectionOptions = connectionOptionsOf(
      path,
      typeof first !== "string",
      options,
      attempt,
    );
    const connection = openConnection(loadLibrary(options.libraryPath), connectionOptions);
    try {
      const database = new Aerostore(connection, options.dialect ?? "default");
      for (const definition of options.tables ?? []) database.#declare(definition);
      configure(connection, options);
      return database;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /**
   * Removes a database that nobody has open: its region, its log and snapshots, its lock file, and
   * the directory if nothing else is in it. There is no way back.
   *
   * @param path The directory.
   * @param options See {@linkcode RemoveOptions}. If the region is not in the default place,
   * `shmPath` must say where it is: otherwise it stays.
   * @returns Whether there was one.
   * @throws {AerostoreError} With `busy` if a process has it open; `permission_denied` or
   * `not_aerostore` if a file is not this user's, or no file of Aerostore. Nothing is removed then.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { Aerostore } from "aerostore";
   *
   * const ephemeral = `scratch-${crypto.randomUUID()}`;
   * Aerostore.open({ ephemeral, size: "8MiB" }).close();
   * assert.equal(Aerostore.remove({ ephemeral }), true);
   * assert.equal(Aerostore.remove({ ephemeral }), false);
   * ```
   */
  static remove(path: string, options?: RemoveOptions): boolean;
  /** Removes a database that has a name instead of a directory. */
  static remove(options: RemoveOptions & Pick<EphemeralOptions, "ephemeral">): boolean;
  static remove(
    first: string | (RemoveOptions & Pick<EphemeralOptions, "ephemeral">),
    second: RemoveOptions = {},
  ): boolean {
    const isPath = typeof first === "string";
    const options = isPath ? second : first;
    const path = isPath ? first : nameIn(first);
    const attempt = `remove ${quote(path)}`;
    checkOptions(options, attempt);
    const { shmPath, libraryPath } = options;
    const place = shmPath === undefined ? {} : { shmPath };
    return removeStore(
      loadLibrary(libraryPath),
      connectionOptionsOf(path, !isPath, place, attempt),
    );
  }

  /** What was opened: the directory, or the name of an ephemeral database. */
  get path(): string {
    return this.#connection.path;
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#connection.closed;
  }

  /** The names of all tables that any process has declared. */
  get tableNames(): string[] {
    this.#connection.check();
    return this.#catalogue.names();
  }

  /**
   * Returns a table.
   *
   * @param table The declared table, or the name of a stored one; then the rows have no static
   * type.
   * @throws {AerostoreError} With `unknown_table` if nobody declared it, `schema_mismatch` if the
   * stored table differs.
   */
  table<C extends Columns>(table: TableDefinition<string, C>): Table<C>;
  /** Returns a stored table by its name; its rows have no static type. */
  table(table: string): Table;
  table(table: TableDefinition | string): Table {
    const context = this.#contextOf(table);
    const { name } = context.handle.layout;
    let known = this.#tables.get(name);
    if (known === undefined) {
      known = new Table(
        context,
        this.#dialect,
        (run) => this.transaction((transaction) => run(transaction.table(name))),
      );
      this.#tables.set(name, known);
    }
    return known;
  }

  /**
   * Runs a function in a transaction, and commits when it returns.
   *
   * After a conflict with another transaction the function runs again, so it should change nothing
   * but the database. If it throws, the transaction is aborted and the error passed on.
   *
   * With `synchronousCommit` `"on"`, a plain function blocks until its changes are on disk; the
   * promise of an asynchronous one waits for that without blocking.
   *
   * @param run The function. It may be asynchronous: the transaction then ends when its promise is
   * settled, and stays open while it waits.
   * @param options See {@linkcode RetryOptions}.
   * @returns What the function returns, or a promise of it. Row views in it have expired: copy by
   * `toObject()`.
   * @throws {AerostoreError} With `serialization_failure` after too many conflicts.
   */
  transaction<T>(run: (transaction: Transaction) => T, options: RetryOptions = {}): T {
    checkTransactionOptions(options);
    checkFunction("the first argument", run, "run a transaction");
    const begin = (attempt: number): Transaction => this.#begin(options, attempt);
    return runTransaction(begin, run, options.retriesMax ?? 100);
  }

  /**
   * Begins a transaction to be committed or aborted by hand.
   *
   * @param options See {@linkcode TransactionOptions}.
   * @throws {AerostoreError} With `too_many_transactions` if all slots of the region are taken;
   * with `readDurable`, `durability_unknown` if the log fails before what it sees is on disk.
   */
  begin(options: TransactionOptions = {}): Transaction {
    checkTransactionOptions(options);
    return this.#begin(options, 0);
  }

  /**
   * As {@linkcode Aerostore.begin}, but does not block while what it sees goes to disk, with
   * `readDurable`. Its snapshot is of the moment of the call.
   *
   * @param options See {@linkcode TransactionOptions}.
   * @throws {AerostoreError} Rejects as `begin` throws, and with `closed` if the database is closed
   * before.
   *
   * @example Tell somebody only what no power cut takes back
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
   *   db.table(Order).insert({ id: 1, paid: true });
   *   using tx = await db.beginAsync({ readOnly: true, readDurable: true });
   *   assert.equal(tx.table(Order).get(1)?.paid, true);
   *   assert.ok(db.stats().log.durable >= db.stats().log.logged);
   * }
   * Aerostore.remove(directory);
   * ```
   */
  async beginAsync(options: TransactionOptions = {}): Promise<Transaction> {
    checkTransactionOptions(options);
    const transaction = this.#begin(options, 0, false);
    if (options.readDurable !== true) return transaction;
    const { waits, position } = this.#connection;
    try {
      await waits.wait(position, "begin a transaction");
    } catch (error) {
      transaction[Symbol.dispose]();
      throw error;
    }
    return transaction;
  }

  #begin(options: TransactionOptions, attempt: number, mayBlock = true): Transaction {
    const transaction = new Transaction(this.#transactionHost, options, attempt, mayBlock);
    this.#transactions.add(transaction);
    return transaction;
  }

  /**
   * Changes a setting for all processes that have the database open.
   *
   * @param name See {@linkcode Configuration}.
   * @param value The new value.
   * @throws {AerostoreError} With `bad_argument` for a name or value that makes no sense,
   * `not_supported` for one that this database cannot follow, `read_only`.
   *
   * @example Bound how long a forgotten transaction holds memory back
   * ```ts
   * import assert from "node:assert/strict";
   * import { Aerostore } from "aerostore";
   *
   * const ephemeral = `ages-${crypto.randomUUID()}`;
   * const db = Aerostore.open({ ephemeral, size: "8MiB" });
   * db.setConfig("max_snapshot_age_ms", 60_000);
   * assert.equal(db.getConfig("aerostore.max_snapshot_age_ms"), 60_000);
   * db.close();
   * Aerostore.remove({ ephemeral });
   * ```
   */
  setConfig<Name extends ConfigurationName>(name: Name, value: ConfigurationValue<Name>): void {
    this.#connection.check();
    setConfig(this.#connection, name, value);
  }

  /** Returns a setting; see {@linkcode Aerostore.setConfig}. */
  getConfig<Name extends ConfigurationName>(name: Name): ConfigurationValue<Name> {
    this.#connection.check();
    return getConfig(this.#connection, name) as ConfigurationValue<Name>;
  }

  /**
   * Waits, without blocking, until everything that is committed by now is on disk, whoever has
   * committed it.
   *
   * @throws {AerostoreError} Rejects with `not_supported` for an ephemeral database, `closed` if it
   * is closed before, `durability_unknown` if the log fails.
   *
   * @example Commit quickly, and wait for the disk once
   * ```ts
   * import assert from "node:assert/strict";
   * import { tmpdir } from "node:os";
   * import { join } from "node:path";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Visit = defineTable("Visit", { id: t.int32().primaryKey() });
   * const directory = join(tmpdir(), `visits-${crypto.randomUUID()}`);
   * {
   *   using db = Aerostore.open(directory, { tables: [Visit], size: "8MiB" });
   *   for (let id = 0; id < 100; id++) db.table(Visit).insert({ id });
   *   await db.flush();
   *   assert.ok(db.stats().log.durable >= db.stats().log.logged);
   * }
   * Aerostore.remove(directory);
   * ```
   */
  async flush(): Promise<void> {
    const connection = this.#connection;
    connection.check();
    await connection.waits.wait(connection.lastPosition(), `flush ${quote(this.path)}`);
  }

  /**
   * As {@linkcode Aerostore.flush}, but blocks.
   *
   * @param timeoutMs Milliseconds after which it gives up, from 0. Default: never.
   * @returns Whether it is done; false after the time.
   */
  flushSync(timeoutMs = Infinity): boolean {
    this.#connection.check();
    const attempt = `flush ${quote(this.path)}`;
    if (!(timeoutMs >= 0)) {
      throw new AerostoreError(
        "bad_argument",
        `Cannot ${attempt}: timeoutMs is 0 or more, not ${quote(timeoutMs)}`,
      );
    }
    const limit = Math.min(timeoutMs, 2 ** 32 - 1);
    const result = this.#connection.durableWait(this.#connection.lastPosition(), limit);
    if (result < 0) throw this.#connection.error(result, attempt);
    return result > 0;
  }

  /**
   * Writes all rows to a file, and lets go of the log that it makes superfluous, so that a recovery
   * has less to read. Others go on writing meanwhile; the calling thread waits. It also happens by
   * itself: see `checkpoint_interval_secs`, and after the log has grown.
   *
   * @throws {AerostoreError} With `not_supported` for an ephemeral database, `busy` if another
   * process writes one, `disk_full`, `log_failed`, `read_only`.
   */
  checkpoint(): SnapshotReport {
    return perform(this.#connection, "checkpoint");
  }

  /**
   * As {@linkcode Aerostore.checkpoint}, but does not block: a thread of the library does it.
   *
   * @param options See {@linkcode SnapshotOptions}.
   */
  checkpointAsync(options: SnapshotOptions = {}): Promise<SnapshotReport> {
    return performAsync(this.#connection, "checkpoint", options);
  }

  /**
   * Writes a copy of the database into another directory, while others go on writing. It opens as a
   * database of its own.
   *
   * @param path A directory; it is created if it does not exist, and has to be empty.
   * @throws {AerostoreError} As {@linkcode Aerostore.checkpoint}; `bad_argument` if the directory
   * is not empty.
   */
  backup(path: string): SnapshotReport {
    return perform(this.#connection, "backup", this.#backupPath(path));
  }

  /**
   * As {@linkcode Aerostore.backup}, but does not block: a thread of the library does it.
   *
   * @param path A directory, as for {@linkcode Aerostore.backup}.
   * @param options See {@linkcode SnapshotOptions}.
   */
  backupAsync(path: string, options: SnapshotOptions = {}): Promise<SnapshotReport> {
    return performAsync(this.#connection, "backup", options, this.#backupPath(path));
  }

  #backupPath(path: unknown): string {
    if (typeof path === "string" && path !== "") return resolve(path);
    const attempt = `write a backup of ${quote(this.path)}`;
    throw badArgument(attempt, `the path of a directory is needed, not ${quote(path)}`);
  }

  /**
   * Drops an index, for all processes, while they read and write.
   *
   * Searches that use it go on to their ends; all that begin later are planned without it. Its
   * memory comes back bit by bit when the last of those searches and transactions has ended. A
   * declaration that still has the index builds it again, so take it out there, too.
   *
   * @param table The declared table, or the name of a stored one.
   * @param columns The columns of the index, in its order; one name for an index of one column.
   * @throws {AerostoreError} With `not_found` if there is no such index, `read_only`.
   *
   * @example Two indexes, of which one is not worth its writes
   * ```ts
   * import assert from "node:assert/strict";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Flight = defineTable("Flight", {
   *   id: t.text(16).primaryKey(),
   *   typ: t.text(4).index(),
   *   altitude: t.int32().index(),
   * });
   * const ephemeral = `drop-${crypto.randomUUID()}`;
   * const db = Aerostore.open({ ephemeral, tables: [Flight], size: "8MiB" });
   * const low = db.table(Flight).query().where("altitude", "<", 1000);
   * assert.equal(low.explain().route, "IndexRangeScan");
   * db.dropIndex(Flight, "altitude");
   * assert.equal(low.explain().route, "FullScan");
   * db.close();
   * Aerostore.remove({ ephemeral });
   * ```
   */
  dropIndex<C extends Columns>(
    table: TableDefinition<string, C> | string,
    columns: Extract<keyof C, string> | readonly Extract<keyof C, string>[],
  ): void {
    this.#connection.check();
    // By its name: to check a definition is to declare it, which would add the index.
    const name = typeof table === "string" ? table : table.name;
    this.#catalogue.dropIndexes(name, typeof columns === "string" ? [columns] : columns);
  }

  /** Returns what the database tells about itself. */
  stats(): Stats {
    this.#connection.check();
    return this.#json(this.#connection.stats(), "read the statistics") as Stats;
  }

  /** Checks the whole region. It never throws for what it finds. */
  verify(): Verification {
    this.#connection.check();
    return this.#json(this.#connection.verify(), "verify the region") as Verification;
  }

  #json(size: number, attempt: string): unknown {
    const connection = this.#connection;
    if (size < 0) throw connection.error(size, `${attempt} of ${quote(this.path)}`);
    return JSON.parse(connection.output.text(0, size));
  }

  /**
   * Closes the database for this isolate: open transactions are aborted, row views expire, and the
   * memory is given back. The data stay for others. Who is the last to close it brings the log to
   * disk; promises of `flush` and `commitAsync` that are open get a second for it, and are rejected
   * with `closed` after that. A checkpoint that is under way ends before.
   *
   * @returns What is not on disk. Called again, it does nothing and returns the same.
   */
  close(): CloseReport {
    if (this.#closeReport !== undefined) return this.#closeReport;
    try {
      for (const transaction of [...this.#transactions]) transaction[Symbol.dispose]();
    } finally {
      this.#closeReport = closeReportOf(this.path, this.#connection.close());
    }
    return this.#closeReport;
  }

  /** Closes the database; for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #contextOf(table: TableDefinition | string): QueryContext {
    this.#connection.check();
    if (typeof table !== "string" && !(table instanceof TableDefinition)) {
      throw new AerostoreError(
        "bad_argument",
        `Cannot use ${quote(table)} as a table: pass what defineTable returned, or a name`,
      );
    }
    const name = typeof table === "string" ? table : table.name;
    const context = this.#contexts.get(name) ?? this.#newContext(name);
    // The table exists by now, so this only checks.
    if (typeof table !== "string" && !this.#checked.has(table)) this.#declare(table);
    return context;
  }

  /** Creates a table, or checks that the stored one agrees. */
  #declare(definition: TableDefinition): void {
    if (!(definition instanceof TableDefinition)) {
      throw new AerostoreError(
        "bad_argument",
        `Cannot declare ${quote(definition)}: pass what defineTable returned`,
      );
    }
    this.#catalogue.declare(definition);
    this.#checked.add(definition);
  }

  #newContext(name: string): QueryContext {
    const context = new QueryContext(
      new TableHandle(this.#connection, this.#catalogue.find(name)),
      () => this.#catalogue.indexesOf(name),
    );
    this.#contexts.set(name, context);
    return context;
  }
}

/** The name in the options of an ephemeral database, of which nothing is known so far. */
function nameIn(options: unknown): string {
  if (typeof options !== "object" || options === null) {
    throw badArgument(`use ${quote(options)}`, "the path of a directory is needed, or options");
  }
  return (options as EphemeralOptions).ephemeral;
}
