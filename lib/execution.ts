/**
 * Runs compiled queries: hands the plan to the library, and decodes what comes back.
 *
 * @module
 */

import { setImmediate as turnOfEventLoop } from "node:timers/promises";
import { AerostoreError, quote } from "./errors.ts";
import {
  aggregatedQuery,
  type AggregateRequest,
  extremeQuery,
  readAggregates,
  readAnswers,
  unordered,
  writeRequests,
} from "./query/aggregate.ts";
import type { IndexLayout } from "./layout.ts";
import type { QueryExecutor } from "./query/builder.ts";
import { type CompiledQuery, QueryCompiler } from "./query/compiler.ts";
import { PlanFlag } from "./query/encode.ts";
import { type Measurement, readMeasurement } from "./query/measurement.ts";
import type { PlanCounts } from "./query/plan.ts";
import { indexMetas, type OpenTableMeta, type TableMeta, tableMeta } from "./query/table_meta.ts";
import { makeRowsDecoder, type RowsDecoder, type ViewScope } from "./row_view.ts";
import type { Dialect } from "./stapi/ast.ts";
import { firstRecordHandle, type TableHandle } from "./table_handle.ts";

/** Most decoders of selected columns that a table keeps. */
const decodersMax = 100;

/** What the queries of one table share, inside transactions and outside. */
export class QueryContext {
  /** The table. */
  readonly handle: TableHandle;
  /** The table, as the planner sees it. */
  readonly meta: TableMeta;
  /** Reads and plans searches, and remembers them. */
  readonly compiler: QueryCompiler;
  /** The counts of the table, as they are when asked. */
  readonly counts: PlanCounts;
  readonly #decoders = new Map<string, RowsDecoder>();
  /** The same by the very list, which a query keeps from run to run. */
  readonly #decodersOfLists = new WeakMap<readonly number[], RowsDecoder>();
  #decoder: RowsDecoder | undefined;
  readonly #meta: OpenTableMeta;
  readonly #readIndexes: () => readonly IndexLayout[];
  /** The catalogue's version when the indexes were read; undefined before the first query. */
  #seenVersion: number | undefined;
  /** How often they have changed. */
  #indexVersion = 0;

  /**
   * @param handle The table.
   * @param readIndexes Reads the indexes of the table anew.
   */
  constructor(
    handle: TableHandle,
    readIndexes: () => readonly IndexLayout[],
  ) {
    const { layout } = handle;
    this.handle = handle;
    this.#readIndexes = readIndexes;
    this.#meta = tableMeta({
      id: layout.id,
      name: layout.name,
      primaryKey: layout.primaryKey.id,
      columns: layout.columns.map((column) => ({ ...column, indexed: column.index })),
      indexes: layout.indexes,
    });
    this.meta = this.#meta;
    this.counts = {
      indexVersion: () => this.#refreshIndexes(),
      rows: () => handle.count(),
      distinctKeys: (index) => index === null ? handle.count() : handle.countKeys(index.id),
    };
    this.compiler = new QueryCompiler(this.meta, this.counts);
  }

  /** Notices indexes that any process has added or dropped. */
  #refreshIndexes(): number {
    const { connection } = this.handle;
    if (connection.closed) return this.#indexVersion;
    const version = connection.catalogueVersion;
    if (version === this.#seenVersion) return this.#indexVersion;
    this.#seenVersion = version;
    const found = this.#readIndexes();
    const known = this.#meta.indexes;
    const isSame = found.length === known.length &&
      found.every((index, at) => index.id === known[at]?.id);
    if (!isSame) {
      this.#meta.indexes = indexMetas(this.#meta.columns, found);
      this.#indexVersion += 1;
    }
    return this.#indexVersion;
  }

  /**
   * Returns the decoder of some columns.
   *
   * @param fields The numbers of the columns; null for all.
   */
  decoderOf(fields: readonly number[] | null): RowsDecoder {
    if (fields === null) return this.#decoder ??= makeRowsDecoder(this.handle.layout);
    let decoder = this.#decodersOfLists.get(fields);
    if (decoder === undefined) {
      decoder = this.#decoderByNames(fields);
      this.#decodersOfLists.set(fields, decoder);
    }
    return decoder;
  }

  #decoderByNames(fields: readonly number[]): RowsDecoder {
    const key = fields.join();
    let decoder = this.#decoders.get(key);
    if (decoder === undefined) {
      const { layout } = this.handle;
      const chosen = fields.flatMap((id) => layout.columns[id] ?? []);
      decoder = makeRowsDecoder(layout, chosen);
      if (this.#decoders.size >= decodersMax) this.#decoders.clear();
      this.#decoders.set(key, decoder);
    }
    return decoder;
  }
}

/** The transaction that queries run in. */
export interface TransactionScope {
  /** Its number. */
  readonly id: number;
  /** Whether it was committed or aborted. */
  readonly ended: boolean;
  /** How long views that are made now live. */
  readonly scope: ViewScope;
}

/** What a query does to the rows that it finds. */
export type RowsChange =
  | { readonly kind: "update"; readonly patch: unknown }
  | { readonly kind: "delete" };

/** Changes the rows of a query in a transaction of its own, again after a conflict. */
export type ChangeRunner = (
  query: CompiledQuery,
  args: readonly unknown[],
  change: RowsChange,
) => number;

/** Runs the queries of one table, each in a transaction of its own or all in one. */
export class TableExecutor implements QueryExecutor {
  readonly dialect: Dialect;
  readonly #context: QueryContext;
  readonly #transaction: TransactionScope | undefined;
  readonly #runChange: ChangeRunner | undefined;

  /**
   * @param context What the queries of the table share.
   * @param dialect Whose rules the queries follow.
   * @param transaction The transaction that they all belong to, or what changes the rows of a query
   * in one of its own. In the second case each query sees a snapshot of its own, and gives plain
   * objects.
   */
  constructor(
    context: QueryContext,
    dialect: Dialect,
    transaction: TransactionScope | ChangeRunner,
  ) {
    this.#context = context;
    this.dialect = dialect;
    if (typeof transaction === "function") this.#runChange = transaction;
    else this.#transaction = transaction;
  }

  /** The table, as the planner sees it. */
  get meta(): TableMeta {
    return this.#context.meta;
  }

  /** The counts of the table. */
  get counts(): PlanCounts {
    return this.#context.counts;
  }

  /** Reads and plans searches. */
  get compiler(): QueryCompiler {
    return this.#context.compiler;
  }

  /** Gives the rows of a query, read when they are iterated. */
  run<Row>(
    query: CompiledQuery,
    args: readonly unknown[],
    limitMax: number,
  ): Iterable<Row> {
    const open = (): Iterator<Row> => this.#open<Row>(query, args, limitMax);
    return { [Symbol.iterator]: open };
  }

  /** Gives the rows of a query in portions; the event loop has its turn between them. */
  async *stream<Row>(
    query: CompiledQuery,
    args: readonly unknown[],
  ): AsyncGenerator<Row, undefined> {
    const { connection } = this.#context.handle;
    const flags = PlanFlag.yields | (this.#givesViews(query) ? PlanFlag.handles : 0);
    const cursor = this.#start(query, args, flags, Infinity);
    let more = cursor;
    try {
      for (;;) {
        const rows: Row[] = [];
        this.#takeRows(query, rows);
        yield* rows;
        if (more <= 0) return;
        await turnOfEventLoop();
        this.#check();
        more = this.#fetch(cursor);
      }
    } finally {
      if (more > 0 && !connection.closed && this.#transaction?.ended !== true) {
        connection.queryClose(cursor);
      }
    }
  }

  /** Runs a query, gives no rows, and tells what it took. */
  measure(query: CompiledQuery, args: readonly unknown[]): Measurement {
    this.#check();
    const { connection } = this.#context.handle;
    const size = query.encode(connection.input.u8, args);
    const result = connection.queryMeasure(this.#transaction?.id ?? 0, size);
    if (result < 0) throw connection.error(result, this.#attempt());
    return readMeasurement(connection.output);
  }

  /** Counts the rows that a query would give. */
  count(query: CompiledQuery, args: readonly unknown[]): number {
    this.#start(query, args, PlanFlag.countOnly, Infinity);
    return this.#context.handle.connection.total;
  }

  /** Gives all rows of a query at once, at less cost than `run`. */
  all<Row>(query: CompiledQuery, args: readonly unknown[], limitMax: number): Row[] {
    const rows: Row[] = [];
    const flags = this.#givesViews(query) ? PlanFlag.handles : 0;
    const cursor = this.#start(query, args, flags, limitMax);
    if (cursor === 0) this.#takeRows(query, rows);
    else this.#takeBatches(query, cursor, rows);
    return rows;
  }

  #takeBatches<Row>(query: CompiledQuery, cursor: number, into: Row[]): void {
    let more = cursor;
    try {
      this.#takeRows(query, into);
      while (more > 0) {
        more = this.#fetch(cursor);
        this.#takeRows(query, into);
      }
    } catch (error) {
      if (more > 0) this.#context.handle.connection.queryClose(cursor);
      throw error;
    }
  }

  /** Computes aggregates over the rows that a query would give; results by their names. */
  aggregate(
    query: CompiledQuery,
    args: readonly unknown[],
    aggregates: Readonly<Record<string, unknown>>,
  ): Record<string, unknown> {
    this.#check();
    const requests = readAggregates(this.meta, aggregates);
    const results = this.#onlyCounts(query, args, requests) ??
      this.#extreme(query, args, requests) ?? this.#fold(query, args, requests);
    return Object.fromEntries(Object.keys(aggregates).map((name, at) => [name, results[at]]));
  }

  /** The number of rows, if nothing else is asked: an index may have it without looking at them. */
  #onlyCounts(
    query: CompiledQuery,
    args: readonly unknown[],
    requests: readonly AggregateRequest[],
  ): unknown[] | undefined {
    if (requests.length === 0 || requests.some((one) => one.function !== "count")) return undefined;
    const rows = this.count(query, args);
    return requests.map(() => rows);
  }

  /** The result of one `min` or `max` that an index has at one of its ends. */
  #extreme(
    query: CompiledQuery,
    args: readonly unknown[],
    requests: readonly AggregateRequest[],
  ): unknown[] | undefined {
    const [request] = requests;
    if (request === undefined || requests.length > 1) return undefined;
    const extreme = extremeQuery(query, request);
    if (extreme === undefined) return undefined;
    const [row] = this.all<Record<string, unknown>>(extreme, args, Infinity);
    return [row?.[request.column.name] ?? null];
  }

  #fold(
    query: CompiledQuery,
    args: readonly unknown[],
    requests: readonly AggregateRequest[],
  ): unknown[] {
    const { connection, layout } = this.#context.handle;
    const size = aggregatedQuery(query, requests).encode(connection.input.u8, args);
    const end = writeRequests(connection.input, size, requests);
    const result = connection.queryAggregate(this.#transaction?.id ?? 0, end);
    if (result < 0) throw connection.error(result, this.#attempt());
    return readAnswers(connection.output, requests, layout.name);
  }

  /** Changes the rows that a query would give; returns their number. */
  update(query: CompiledQuery, args: readonly unknown[], patch: unknown): number {
    return this.change(query, args, { kind: "update", patch });
  }

  /** Deletes the rows that a query would give; returns their number. */
  delete(query: CompiledQuery, args: readonly unknown[]): number {
    return this.change(query, args, { kind: "delete" });
  }

  /** Updates or deletes the rows that a query would give; returns their number. */
  change(query: CompiledQuery, args: readonly unknown[], change: RowsChange): number {
    this.#check();
    if (this.#runChange !== undefined) return this.#runChange(query, args, change);
    const { handle } = this.#context;
    const { input } = handle.connection;
    const found = query.variant("change", (whole) => ({
      ...unordered(whole),
      countOnly: false,
      fields: null,
    }));
    const size = found.encode(input.u8, args);
    const transaction = this.#transaction?.id ?? 0;
    return change.kind === "delete"
      ? handle.deleteRows(transaction, size)
      : handle.updateRows(transaction, size, change.patch);
  }

  #open<Row>(
    query: CompiledQuery,
    args: readonly unknown[],
    limitMax: number,
  ): Iterator<Row> {
    const { connection } = this.#context.handle;
    const flags = this.#givesViews(query) ? PlanFlag.handles : 0;
    const cursor = this.#start(query, args, flags, limitMax);
    const rows: Row[] = [];
    try {
      this.#takeRows(query, rows);
    } catch (error) {
      if (cursor > 0) connection.queryClose(cursor);
      throw error;
    }
    // Nearly always everything fits, and an array iterator is much cheaper than a generator.
    return cursor === 0 ? rows.values() : this.#continue(query, cursor, rows);
  }

  *#continue<Row>(query: CompiledQuery, cursor: number, first: Row[]): Generator<Row, undefined> {
    const { connection } = this.#context.handle;
    let rows = first;
    let more = 1;
    try {
      while (more > 0) {
        yield* rows;
        this.#check();
        more = this.#fetch(cursor);
        rows = [];
        this.#takeRows(query, rows);
      }
      yield* rows;
    } finally {
      if (more > 0 && !connection.closed && this.#transaction?.ended !== true) {
        connection.queryClose(cursor);
      }
    }
  }

  /** Puts the next rows of a query into the output buffer; 0 if they are the last. */
  #fetch(cursor: number): number {
    const { connection } = this.#context.handle;
    const more = connection.queryNext(cursor);
    // The library ends a query that fails.
    if (more < 0) throw connection.error(more, this.#attempt());
    return more;
  }

  #start(
    query: CompiledQuery,
    args: readonly unknown[],
    flags: number,
    limitMax: number,
  ): number {
    this.#check();
    const { connection } = this.#context.handle;
    const size = query.encode(connection.input.u8, args, flags, limitMax);
    const cursor = connection.queryOpen(this.#transaction?.id ?? 0, size);
    if (cursor < 0) throw connection.error(cursor, this.#attempt());
    return cursor;
  }

  /** Decodes what the output buffer holds. Type `Row` is the word of the query's maker. */
  #takeRows<Row>(query: CompiledQuery, into: Row[]): void {
    const { handle } = this.#context;
    const { connection } = handle;
    const { output, resultRows } = connection;
    const rows: unknown[] = into;
    const scope = this.#givesViews(query) ? this.#transaction?.scope : undefined;
    if (scope === undefined) {
      const decode = this.#context.decoderOf(query.query.fields);
      decode(output, resultRows, rows);
      return;
    }
    if (connection.resultHasHandles) {
      for (let i = 0; i < resultRows; i++) rows.push(handle.viewAt(output.f64[i] ?? 0, scope));
      return;
    }
    const memory = handle.copyOutput(connection.resultBytes);
    let at = 0;
    for (let i = 0; i < resultRows; i++) {
      rows.push(handle.viewOf(memory, at + firstRecordHandle, scope));
      at += (memory.u32[at * 2] ?? 0) / 8;
    }
  }

  /** Whether the rows are views: those of a transaction are, unless columns were selected. */
  #givesViews(query: CompiledQuery): boolean {
    return this.#transaction !== undefined && query.query.fields === null;
  }

  #check(): void {
    this.#context.handle.connection.check();
    if (this.#transaction?.ended !== true) return;
    throw new AerostoreError(
      "transaction_closed",
      `Cannot ${this.#attempt()}: the transaction has ended`,
    );
  }

  #attempt(): string {
    return `search ${quote(this.#context.handle.layout.name)}`;
  }
}
