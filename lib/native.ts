/**
 * One open database as the native library knows it: a connection, its buffers, and the region.
 *
 * Only numbers cross the border. Arguments and results that are more than a number stand in two
 * buffers of 1 MiB that belong to the connection, and facts about the last call in its control
 * block. The buffers are reused by the next call, so what is in them is decoded at once.
 *
 * Every native function has one call site, here: a site that sees two functions is slow for good.
 *
 * @module
 */

import { Control, Limit, OpenFlag } from "./abi.ts";
import { DurabilityWaits } from "./durability.ts";
import { AerostoreError, codeOfResult, type ErrorCode, quote, reasonOf } from "./errors.ts";
import { host } from "./host.ts";
import type { Library } from "./library.ts";
import { phaseOf, type RecoveryProgress } from "./maintenance.ts";
import { Memory } from "./memory.ts";
import type { OpenOptions } from "./open_options.ts";
import { type Wakeups, wakeupsOf } from "./wakeups.ts";

/** What opening a region needs to know. */
export interface ConnectionOptions {
  /** The directory of the database, or the name of an ephemeral one. */
  readonly path: string;
  /** Whether there is no directory, only a region. */
  readonly ephemeral: boolean;
  /** Whether writes are refused. */
  readonly readOnly: boolean;
  /** Most bytes that the region may ever use. */
  readonly sizeBytes: number;
  /** The file of the region, or a directory for it; empty for the default. */
  readonly shmPath: string;
  /** What to do without; see `OpenOptions`. */
  readonly salvage?: OpenOptions["salvage"] | undefined;
  /** Whether a region is taken as it is; see `OpenOptions`. */
  readonly warm?: OpenOptions["warm"] | undefined;
  /** Whom to tell how far a recovery is. */
  readonly onRecovery?: ((progress: RecoveryProgress) => void) | undefined;
}

/**
 * Opens a region.
 *
 * @param library The native library.
 * @param options What to open.
 * @throws {AerostoreError} With the code that the library gives.
 */
export function openConnection(library: Library, options: ConnectionOptions): Connection {
  const blob = encodeOptions(options);
  const id = options.onRecovery === undefined
    ? library.aero_open(blob, blob.length)
    : openWatched(library, blob, options.onRecovery);
  if (id > 0) return new Connection(library, id, options.path);
  throw openError(library, id, `open ${quote(options.path)}`);
}

/**
 * Removes all files of a database.
 *
 * @param library The native library.
 * @param options Which one; only the paths count.
 * @returns Whether there was one.
 * @throws {AerostoreError} With the code that the library gives.
 */
export function removeStore(library: Library, options: ConnectionOptions): boolean {
  const blob = encodeOptions(options);
  const result = library.aero_remove(blob, blob.length);
  if (result >= 0) return result > 0;
  throw openError(library, result, `remove ${quote(options.path)}`);
}

/** The error of a call that has no connection. */
function openError(library: Library, result: number, attempt: string): AerostoreError {
  const code = codeOfResult(result);
  const detail = new Uint8Array(1024);
  // The size is that of the whole text, of which the buffer may hold less.
  const size = library.aero_open_error(detail, detail.length);
  const text = size > 0 ? new TextDecoder().decode(detail.subarray(0, size)) : "";
  return new AerostoreError(code, `Cannot ${attempt}: ${explain(code, text)}`);
}

/** How often a recovery is looked at. */
const progressPauseMs = 50;

/**
 * Opens in a thread of the library, and tells how far its recovery is: from here, because nothing
 * can call a function of JavaScript from another thread.
 */
function openWatched(
  library: Library,
  blob: Uint8Array<ArrayBuffer>,
  onRecovery: (progress: RecoveryProgress) => void,
): number {
  const begun = library.aero_open_begin(blob, blob.length);
  if (begun < 0) return begun;
  const bytes = new Uint8Array(new ArrayBuffer(24));
  const numbers = new Float64Array(bytes.buffer);
  let told = "";
  let failure: { readonly error: unknown } | undefined;
  for (;;) {
    const id = library.aero_open_wait(progressPauseMs, bytes);
    const [number = -1, done = 0, total = 0] = numbers;
    const phase = phaseOf(number);
    const progress = `${number} ${done} ${total}`;
    if (phase !== undefined && progress !== told && failure === undefined && id >= 0) {
      told = progress;
      try {
        onRecovery({ phase, done, total });
      } catch (error) {
        // Nobody else would end what was begun.
        failure = { error };
      }
    }
    if (id > 0 && failure !== undefined) {
      library.aero_close(id);
      throw failure.error;
    }
    if (id !== 0) return id;
  }
}

/** Encodes the options: flags, 4 bytes of zero, the size, then two paths with their sizes. */
function encodeOptions(options: ConnectionOptions): Uint8Array<ArrayBuffer> {
  const path = new TextEncoder().encode(options.path);
  const shmPath = new TextEncoder().encode(options.shmPath);
  const blob = new Uint8Array(24 + path.length + shmPath.length);
  const view = new DataView(blob.buffer);
  let flags = 0;
  // Who may not write cannot create a region either.
  if (options.readOnly) flags |= OpenFlag.read_only | OpenFlag.must_exist;
  if (options.ephemeral) flags |= OpenFlag.ephemeral;
  if (options.salvage === "prefix") flags |= OpenFlag.salvage_prefix;
  if (options.salvage === "files") flags |= OpenFlag.salvage_files;
  if (options.warm === "clean-only") flags |= OpenFlag.warm_clean_only;
  if (options.warm === "never") flags |= OpenFlag.warm_never;
  view.setUint32(0, flags, true);
  view.setFloat64(8, options.sizeBytes, true);
  view.setUint32(16, path.length, true);
  blob.set(path, 20);
  view.setUint32(20 + path.length, shmPath.length, true);
  blob.set(shmPath, 24 + path.length);
  return blob;
}

/** Completes "Cannot do this: ..." by the general reason and what the library knows besides. */
function explain(code: ErrorCode, detail: string): string {
  return detail === "" ? `${reasonOf(code)} (${code})` : `${detail} (${code})`;
}

/** What the log had when a connection was closed. */
export interface CloseFacts {
  /** Commits that are not on disk. */
  readonly pending: number;
  /** The number of its state; see `LogState`. */
  readonly state: number;
  /** Whether nothing of this process has the region open any more. */
  readonly last: boolean;
}

/** One open region. */
export class Connection {
  /** What was opened, for messages. */
  readonly path: string;
  /** The buffer for arguments. */
  readonly input: Memory;
  /** The buffer for results. */
  readonly output: Memory;
  /** Bytes of the input buffer. */
  readonly inputSize: number;
  /** The waits for the disk. */
  readonly waits: DurabilityWaits;
  /** Whether it is closed; then nothing of it may be used. */
  closed = false;

  readonly #library: Library;
  readonly #id: number;
  readonly #control: Memory;
  readonly #wakeups: Wakeups;
  readonly #windows: (Memory | undefined)[] = [];
  readonly #catalogueVersion: Int32Array;

  /**
   * @param library The native library.
   * @param id The number that `aero_open` gave.
   * @param path What was opened, for messages.
   */
  constructor(library: Library, id: number, path: string) {
    this.#library = library;
    this.#id = id;
    this.path = path;
    this.#control = new Memory(host.view(library.aero_connection_control(id), Control.size));
    const control = this.#control.view;
    const version = control.getFloat64(Control.catalogue_version_address, true);
    this.#catalogueVersion = new Int32Array(host.view(version, 4));
    this.inputSize = control.getUint32(Control.input_size, true);
    this.input = new Memory(
      host.view(control.getFloat64(Control.input_address, true), this.inputSize),
    );
    this.output = new Memory(
      host.view(
        control.getFloat64(Control.output_address, true),
        control.getUint32(Control.output_size, true),
      ),
    );
    this.waits = new DurabilityWaits(this);
    this.#wakeups = wakeupsOf(library);
    this.#wakeups.enter();
  }

  /**
   * Throws if the connection is closed.
   *
   * @throws {AerostoreError} With `closed`.
   */
  check(): void {
    if (this.closed) {
      throw new AerostoreError("closed", `Cannot use ${quote(this.path)}: it is closed`);
    }
  }

  /**
   * Gives everything back.
   *
   * If memory cannot be taken away from JavaScript, it stays mapped until the process ends, for
   * an access to unmapped memory would kill the process.
   *
   * @returns What the library tells about the log; undefined if it stays open.
   */
  close(): CloseFacts | undefined {
    if (this.closed) return undefined;
    this.waits.close();
    this.closed = true;
    let detached = this.#control.detach();
    const version = this.#catalogueVersion.buffer as ArrayBuffer;
    version.transfer(0);
    if (version.byteLength > 0) detached = false;
    for (const memory of [this.input, this.output, ...this.#windows]) {
      if (memory !== undefined && !memory.detach()) detached = false;
    }
    const bytes = new Uint8Array(new ArrayBuffer(24));
    if (detached) {
      this.#library.aero_close(this.#id);
      this.#library.aero_close_report(bytes, bytes.length);
    }
    // Whoever still waits learns that it is closed.
    this.#wakeups.look();
    this.#wakeups.leave();
    if (!detached) return undefined;
    const [pending = 0, state = 0, last = 0] = new Float64Array(bytes.buffer);
    return { pending, state, last: last === 1 };
  }

  /**
   * Returns one GiB of the region, or what there is of it.
   *
   * Made when first needed, because Bun counts the size of a view as used heap.
   *
   * @param index Which one, from 0.
   */
  window(index: number): Memory {
    const known = this.#windows[index];
    if (known !== undefined) return known;
    const control = this.#control.view;
    const start = index * Limit.window_size;
    const size = Math.min(
      Limit.window_size,
      control.getFloat64(Control.region_size, true) - start,
    );
    const address = control.getFloat64(Control.region_address, true) + start;
    const memory = new Memory(host.view(address, size));
    this.#windows[index] = memory;
    return memory;
  }

  /**
   * Returns the error of a failed call.
   *
   * @param result The negative number that the call returned.
   * @param attempt What was attempted, such as `insert row "A" into "T"`.
   */
  error(result: number, attempt: string): AerostoreError {
    const code = codeOfResult(result);
    const control = this.#control.view;
    let detail = "";
    if (control.getUint32(Control.error_status, true) === -result) {
      const size = control.getUint32(Control.error_detail_length, true);
      detail = this.#control.text(Control.error_detail, Control.error_detail + size);
    }
    return new AerostoreError(code, `Cannot ${attempt}: ${explain(code, detail)}`);
  }

  /** The index of the record, or the number of the line, that the last failed call stopped at. */
  get failedIndex(): number {
    return this.#control.view.getUint32(Control.failed_index, true);
  }

  /** Rows that the last query matched or counted. */
  get total(): number {
    return this.#control.view.getFloat64(Control.total, true);
  }

  /**
   * A number in the region that changes with every change of tables and indexes, whoever makes it.
   */
  get catalogueVersion(): number {
    // A plain load could be taken out of a loop by the engine.
    return Atomics.load(this.#catalogueVersion, 0);
  }

  /** The commit position of the last write of this connection, or what a begin has put there. */
  get position(): number {
    return this.#control.view.getFloat64(Control.position, true);
  }

  /** Rows in the output buffer after a query. */
  get resultRows(): number {
    return this.#control.view.getUint32(Control.result_rows, true);
  }

  /** Bytes in the output buffer after a query. */
  get resultBytes(): number {
    return this.#control.view.getUint32(Control.result_bytes, true);
  }

  /** Whether the rows of the last query are handles; records otherwise. */
  get resultHasHandles(): boolean {
    return this.#control.view.getUint32(Control.result_has_handles, true) === 1;
  }

  /**
   * Puts bytes into the input buffer.
   *
   * @param bytes At most the size of the buffer.
   * @param attempt What was attempted, for the error.
   * @returns Their number.
   * @throws {AerostoreError} With `bad_argument` if they do not fit.
   */
  putInput(bytes: Uint8Array, attempt: string): number {
    if (bytes.length > this.inputSize) {
      throw new AerostoreError(
        "bad_argument",
        `Cannot ${attempt}: it needs ${bytes.length} bytes, and ${this.inputSize} are possible`,
      );
    }
    this.input.u8.set(bytes);
    return bytes.length;
  }

  /** Declares the table in the input buffer; returns its number. */
  tableDeclare(size: number): number {
    return this.#library.aero_table_declare(this.#id, size);
  }

  /** Puts the catalogue into the output buffer; returns its size. */
  catalogueRead(): number {
    return this.#library.aero_catalogue_read(this.#id);
  }

  /** Copies the row of the key in the input buffer; 1 if there is one. */
  rowGet(transaction: number, table: number): number {
    return this.#library.aero_row_get(this.#id, transaction, table);
  }

  /**
   * Copies the rows of the keys in the input buffer, from the key `first` on; returns how many of
   * the `count` keys are answered.
   */
  rowsGet(transaction: number, table: number, first: number, count: number): number {
    return this.#library.aero_rows_get(this.#id, transaction, table, first, count);
  }

  /** Looks for the key in the input buffer; 1 if there is a row. */
  rowHas(transaction: number, table: number): number {
    return this.#library.aero_row_has(this.#id, transaction, table);
  }

  /** Inserts the record in the input buffer. */
  rowInsert(transaction: number, table: number, size: number): number {
    return this.#library.aero_row_insert(this.#id, transaction, table, size);
  }

  /** Inserts or replaces the record in the input buffer. */
  rowUpsert(transaction: number, table: number, size: number): number {
    return this.#library.aero_row_upsert(this.#id, transaction, table, size);
  }

  /** Merges the record in the input buffer into its row. */
  rowUpdate(transaction: number, table: number, size: number): number {
    return this.#library.aero_row_update(this.#id, transaction, table, size);
  }

  /** Deletes the row of the key in the input buffer; 1 if there was one. */
  rowDelete(transaction: number, table: number): number {
    return this.#library.aero_row_delete(this.#id, transaction, table);
  }

  /** Applies the operations in the input buffer to a row. */
  rowApply(transaction: number, table: number, size: number): number {
    return this.#library.aero_row_apply(this.#id, transaction, table, size);
  }

  /** Writes the records in the input buffer; returns how many. `flags` are of `RowsFlag`. */
  rowsUpsert(
    transaction: number,
    table: number,
    count: number,
    size: number,
    flags: number,
  ): number {
    return this.#library.aero_rows_upsert(this.#id, transaction, table, count, size, flags);
  }

  /** Counts the rows of a table. */
  rowCount(table: number): number {
    return this.#library.aero_row_count(this.#id, table);
  }

  /** Counts the distinct keys of an index. */
  indexCount(table: number, index: number): number {
    return this.#library.aero_index_count(this.#id, table, index);
  }

  /** Drops an index. */
  indexDrop(table: number, index: number): number {
    return this.#library.aero_index_drop(this.#id, table, index);
  }

  /** Finds the row of the key in the input buffer; returns its handle in the region, or 0. */
  rowView(transaction: number, table: number): number {
    return this.#library.aero_row_view(this.#id, transaction, table);
  }

  /** Begins a transaction; returns its number. `flags` are of `TransactionFlag`. */
  transactionBegin(flags: number): number {
    return this.#library.aero_transaction_begin(this.#id, flags);
  }

  /** Commits a transaction. 1 if it should be waited for and may not block, else 0. */
  transactionCommit(transaction: number, mayBlock: boolean): number {
    return this.#library.aero_transaction_commit(this.#id, transaction, mayBlock ? 1 : 0);
  }

  /** Aborts a transaction. */
  transactionAbort(transaction: number): number {
    return this.#library.aero_transaction_abort(this.#id, transaction);
  }

  /** Marks a place to roll back to; returns its number. */
  transactionSavepoint(transaction: number): number {
    return this.#library.aero_transaction_savepoint(this.#id, transaction);
  }

  /** Undoes what a transaction did since a savepoint. */
  transactionRollbackTo(transaction: number, savepoint: number): number {
    return this.#library.aero_transaction_rollback_to(this.#id, transaction, savepoint);
  }

  /** Queues for the row of the key in the input buffer. */
  transactionLock(transaction: number, table: number): number {
    return this.#library.aero_transaction_lock(this.#id, transaction, table);
  }

  /** Runs the plan in the input buffer; 0 if all rows are in the output, else a cursor. */
  queryOpen(transaction: number, size: number): number {
    return this.#library.aero_query_open(this.#id, transaction, size);
  }

  /** Puts the next rows of a cursor into the output buffer; 0 after the last. */
  queryNext(cursor: number): number {
    return this.#library.aero_query_next(this.#id, cursor);
  }

  /** Ends a cursor before its last rows. */
  queryClose(cursor: number): number {
    return this.#library.aero_query_close(this.#id, cursor);
  }

  /** Computes the aggregates behind the plan in the input buffer; returns the answers' size. */
  queryAggregate(transaction: number, size: number): number {
    return this.#library.aero_query_aggregate(this.#id, transaction, size);
  }

  /** Changes the rows of the plan in the input buffer as what follows it says. */
  queryUpdate(transaction: number, size: number): number {
    return this.#library.aero_query_update(this.#id, transaction, size);
  }

  /** Deletes the rows of the plan in the input buffer. */
  queryDelete(transaction: number, size: number): number {
    return this.#library.aero_query_delete(this.#id, transaction, size);
  }

  /** Measures the plan in the input buffer; returns the size of what it found. */
  queryMeasure(transaction: number, size: number): number {
    return this.#library.aero_query_measure(this.#id, transaction, size);
  }

  /** Begins an ingest with the options in the input buffer; returns its number. */
  ingestBegin(table: number, size: number): number {
    return this.#library.aero_ingest_begin(this.#id, table, size);
  }

  /** Feeds the bytes in the input buffer to an ingest. */
  ingestFeed(ingest: number, size: number, last: boolean): number {
    return this.#library.aero_ingest_feed(this.#id, ingest, size, last ? 1 : 0);
  }

  /** Ends an ingest, finished or not. */
  ingestEnd(ingest: number): number {
    return this.#library.aero_ingest_end(this.#id, ingest);
  }

  /** Returns the position that everything committed so far is at or before. */
  lastPosition(): number {
    return this.#library.aero_position(this.#id);
  }

  /** Looks whether a position is on disk: 1, or 0 if not yet. */
  durablePoll(position: number): number {
    return this.#library.aero_durable_poll(this.#id, position);
  }

  /** Asks the log to bring a position to disk soon. */
  durableRequest(position: number): number {
    return this.#library.aero_durable_request(this.#id, position);
  }

  /** Blocks until a position is on disk: 1, or 0 after the time. */
  durableWait(position: number, timeoutMs: number): number {
    return this.#library.aero_durable_wait(this.#id, position, timeoutMs);
  }

  /** Has this isolate woken when a position is on disk; 1 if it is already. */
  durableArm(position: number): number {
    return this.#library.aero_durable_arm(this.#id, this.#wakeups.open(), position);
  }

  /**
   * Has a function called after each wake-up of this isolate, and when the connection is closed,
   * until it returns false. The process stays alive meanwhile.
   */
  onWakeup(look: () => boolean): void {
    this.#wakeups.add(look);
  }

  /** Does a task and blocks; returns the size of its result in the output buffer. */
  taskPerform(kind: number, size: number): number {
    return this.#library.aero_task_perform(this.#id, kind, size);
  }

  /** Starts a task; returns its number. It wakes this isolate. */
  taskStart(kind: number, size: number): number {
    return this.#library.aero_task_start(this.#id, this.#wakeups.open(), kind, size);
  }

  /** Puts how far a task is, or its result, into the output buffer; returns the size. */
  taskPoll(task: number): number {
    return this.#library.aero_task_poll(this.#id, task);
  }

  /** Changes a setting of the region. */
  configSet(setting: number, value: number): number {
    return this.#library.aero_config_set(this.#id, setting, value);
  }

  /** Returns a setting of the region, or a negative status. */
  configGet(setting: number): number {
    return this.#library.aero_config_get(this.#id, setting);
  }

  /** Puts the statistics into the output buffer; returns their size. */
  stats(): number {
    return this.#library.aero_stats(this.#id);
  }

  /** Checks the region and puts the findings into the output buffer; returns their size. */
  verify(): number {
    return this.#library.aero_verify(this.#id);
  }
}
