/**
 * The typed query builder: field names, operators and values are checked by the compiler.
 *
 * @module
 */

import type { Dialect } from "../stapi/ast.ts";
import { QueryDraft } from "../stapi/draft.ts";
import {
  addObjectClause,
  type BoolOperator,
  type CompareOperator,
  type Field,
  type FieldOf,
  type GlobOperator,
  itemOf,
  type NullOperator,
  type OperandOf,
  type SortField,
} from "../stapi/object_form.ts";
import type { AggregateResult, AggregateResults, Aggregates } from "./aggregate.ts";
import { CompiledQuery } from "./compiler.ts";
import type { Explanation } from "./explain.ts";
import type { Measurement } from "./measurement.ts";
import type { PlanCounts } from "./plan.ts";
import type { TableMeta } from "./table_meta.ts";

/** The options of `explain`. */
export interface ExplainOptions {
  /** Whether to run the query and to tell what each step of it took. Default: false. */
  readonly analyze?: boolean;
}

/** What runs a query: the table of a database, or of a transaction. */
export interface QueryExecutor {
  /** The table that is searched. */
  readonly meta: TableMeta;
  /** Its counts, for the planner. */
  readonly counts: PlanCounts;
  /** Whose rules its queries follow. */
  readonly dialect: Dialect;
  /**
   * Runs a query.
   *
   * @param query What to run.
   * @param args The values of its parameters.
   * @param limitMax Most rows wanted, should the query allow more; `Infinity` for no such limit.
   * @returns The rows. Type `Result` is the caller's word: the row, or the fields it selected.
   */
  run<Result>(
    query: CompiledQuery,
    args: readonly unknown[],
    limitMax: number,
  ): Iterable<Result>;
  /**
   * Runs a query and returns all of its rows at once, at less cost than `run`. The parameters are
   * the same.
   */
  all<Result>(query: CompiledQuery, args: readonly unknown[], limitMax: number): Result[];
  /**
   * Gives the rows of a query in portions, and lets the event loop run between them. All rows are
   * of the moment at which the first is asked for.
   */
  stream<Result>(query: CompiledQuery, args: readonly unknown[]): AsyncIterable<Result>;
  /** Counts the rows that a query would give. */
  count(query: CompiledQuery, args: readonly unknown[]): number;
  /** Runs a query, gives no rows, and tells what it took. */
  measure(query: CompiledQuery, args: readonly unknown[]): Measurement;
  /** Computes aggregates over the rows that a query would give; results by their names. */
  aggregate(
    query: CompiledQuery,
    args: readonly unknown[],
    aggregates: Readonly<Record<string, unknown>>,
  ): Record<string, unknown>;
  /** Changes the rows that a query would give; returns their number. */
  update(query: CompiledQuery, args: readonly unknown[], patch: unknown): number;
  /** Deletes the rows that a query would give; returns their number. */
  delete(query: CompiledQuery, args: readonly unknown[]): number;
}

/**
 * A query in the making. Each method that adds to it gives a new builder and leaves the old one as
 * it was, so a common beginning can be kept and continued in several ways.
 *
 * @typeParam Row The type of the table's rows.
 * @typeParam Result The type of the rows given: `Row`, or the fields that `select` names.
 * @typeParam Patch What `update` takes.
 */
export class QueryBuilder<Row, Result = Row, Patch = Partial<Row>> implements Iterable<Result> {
  readonly #executor: QueryExecutor;
  readonly #draft: QueryDraft;
  #compiled: CompiledQuery | undefined;

  /**
   * Starts a query.
   *
   * @param executor What runs the query.
   * @param draft The query so far. Default: all rows.
   */
  constructor(executor: QueryExecutor, draft?: QueryDraft) {
    this.#executor = executor;
    this.#draft = draft ?? new QueryDraft(executor.meta, executor.dialect);
  }

  /**
   * Adds a condition; rows must satisfy all of them.
   *
   * @param field The column.
   * @param operator One of the operators of the search language.
   * @param operands What the operator needs: nothing, a value, a glob, a list, or a low and a high
   * value.
   * @throws {AerostoreError} With `type_mismatch` for a value that is not one of the column.
   */
  where(field: Field<Row>, operator: NullOperator): QueryBuilder<Row, Result, Patch>;
  /** Adds a condition on a boolean column: it is true, or it is false. */
  where(field: FieldOf<Row, boolean>, operator: BoolOperator): QueryBuilder<Row, Result, Patch>;
  /** Adds a condition that a text column matches a glob, or does not. */
  where(
    field: FieldOf<Row, string>,
    operator: GlobOperator,
    glob: string,
  ): QueryBuilder<Row, Result, Patch>;
  /** Adds a comparison with a value. */
  where<Name extends Field<Row>>(
    field: Name,
    operator: CompareOperator,
    value: OperandOf<Row[Name]>,
  ): QueryBuilder<Row, Result, Patch>;
  /** Adds a condition that a column has one of some values. */
  where<Name extends Field<Row>>(
    field: Name,
    operator: "in",
    values: readonly OperandOf<Row[Name]>[],
  ): QueryBuilder<Row, Result, Patch>;
  /** Adds a condition that a column is at least `low` and below `high`. */
  where<Name extends Field<Row>>(
    field: Name,
    operator: "range",
    low: OperandOf<Row[Name]>,
    high: OperandOf<Row[Name]>,
  ): QueryBuilder<Row, Result, Patch>;
  where(field: string, operator: string, ...operands: unknown[]): QueryBuilder<Row, Result, Patch> {
    return this.#with((draft) =>
      addObjectClause(draft, [operator, field, ...operands], "where", false)
    );
  }

  /** Sets the sort fields, most important first; `-` before a field means descending. */
  sort(...fields: SortField<Row>[]): QueryBuilder<Row, Result, Patch> {
    return this.#with((draft) =>
      draft.setSort(fields.map((field, at) => itemOf(field, `sort[${at}]`, false)))
    );
  }

  /** Sets the most rows to give. */
  limit(rows: number): QueryBuilder<Row, Result, Patch> {
    return this.#with((draft) => draft.setLimit(itemOf(rows, "limit", false)));
  }

  /** Sets the number of rows to leave out first. */
  offset(rows: number): QueryBuilder<Row, Result, Patch> {
    return this.#with((draft) => draft.setOffset(itemOf(rows, "offset", false)));
  }

  /** Gives only these columns. */
  select<Name extends Field<Row>>(...fields: Name[]): QueryBuilder<Row, Pick<Row, Name>, Patch> {
    const draft = this.#draft.clone();
    const items = fields.map((field, at) => itemOf(field, `select[${at}]`, false));
    draft.setFields(items, { offset: -1, word: "select" });
    return new QueryBuilder<Row, Pick<Row, Name>, Patch>(this.#executor, draft);
  }

  /** Hints that the index on a column should be used, if that is possible. */
  index(field: Field<Row>): QueryBuilder<Row, Result, Patch> {
    return this.#with((draft) => draft.setHint(itemOf(field, "index", false)));
  }

  /** Runs the query and returns all rows. */
  all(): Result[] {
    return this.#executor.all<Result>(this.compile(), [], Infinity);
  }

  /** Runs the query and returns its first row, or undefined. */
  first(): Result | undefined {
    return this.#executor.all<Result>(this.compile(), [], 1)[0];
  }

  /** Returns the number of rows that the query would give. */
  count(): number {
    return this.#executor.count(this.compile(), []);
  }

  /** Returns the least value of a column; null if there is none. Nulls do not count. */
  min<Name extends Field<Row>>(field: Name): NonNullable<Row[Name]> | null {
    return this.#aggregateOne("min", field) as NonNullable<Row[Name]> | null;
  }

  /** Returns the greatest value of a column; null if there is none. Nulls do not count. */
  max<Name extends Field<Row>>(field: Name): NonNullable<Row[Name]> | null {
    return this.#aggregateOne("max", field) as NonNullable<Row[Name]> | null;
  }

  /**
   * Returns the sum of a column; null if it has no value. Nulls do not count.
   *
   * Sums of integers are exact: a bigint, of any size, for a column that gives bigints.
   *
   * @param field A column of numbers.
   * @throws {AerostoreError} With `unsafe_integer` if the sum of whole numbers is beyond 2^53.
   */
  sum<Name extends FieldOf<Row, number | bigint>>(
    field: Name,
  ): AggregateResult<Row, readonly ["sum", Name]> {
    return this.#aggregateOne("sum", field) as AggregateResult<Row, readonly ["sum", Name]>;
  }

  /** Returns the average of a column of numbers; null if it has no value. Nulls do not count. */
  avg(field: FieldOf<Row, number | bigint>): number | null {
    return this.#aggregateOne("avg", field) as number | null;
  }

  /**
   * Computes several aggregates over the rows that the query would give, all of one moment.
   *
   * @param aggregates By the names of the results: `"count"` for the number of rows, or `count`,
   * `min`, `max`, `sum` or `avg` with a column. `count` of a column counts what is not null.
   *
   * @example Traffic of an airport
   * ```ts
   * import assert from "node:assert/strict";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Flight = defineTable("Flight", {
   *   id: t.text(16).primaryKey(),
   *   destination: t.text(4),
   *   altitude: t.int32().nullable(),
   * });
   * const ephemeral = `airport-${crypto.randomUUID()}`;
   * const db = Aerostore.open({ ephemeral, tables: [Flight], size: "8MiB" });
   * const flights = db.table(Flight);
   * flights.insert({ id: "UAL1", destination: "KSFO", altitude: 3000 });
   * flights.insert({ id: "SWR12", destination: "KSFO", altitude: 9000 });
   * flights.insert({ id: "ANA7", destination: "KSFO" });
   *
   * const arriving = flights.query().where("destination", "=", "KSFO");
   * assert.deepEqual(
   *   arriving.aggregate({ n: "count", top: ["max", "altitude"], mean: ["avg", "altitude"] }),
   *   { n: 3, top: 9000, mean: 6000 },
   * );
   * db.close();
   * Aerostore.remove({ ephemeral });
   * ```
   */
  aggregate<const A extends Aggregates<Row>>(aggregates: A): AggregateResults<Row, A> {
    const results = this.#executor.aggregate(this.compile(), [], aggregates);
    return results as AggregateResults<Row, A>;
  }

  #aggregateOne(name: string, field: string): unknown {
    return this.#executor.aggregate(this.compile(), [], { result: [name, field] })["result"];
  }

  /**
   * Changes the rows that the query would give, in one transaction: all or none.
   *
   * After a conflict with others it finds and changes them again. Within a transaction it is part
   * of that.
   *
   * @param patch New values by column, or operations such as `{ increment: 1 }`, which are
   * computed from the old value where the row is.
   * @returns The number of rows.
   * @throws {AerostoreError} With `type_mismatch` if a result does not fit its column,
   * `unique_violation`, `bad_argument` for the primary key. Nothing is changed then.
   *
   * @example All flights of a type climb
   * ```ts
   * import assert from "node:assert/strict";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Flight = defineTable("Flight", {
   *   id: t.text(16).primaryKey(),
   *   typ: t.text(4),
   *   altitude: t.int32().nullable(),
   *   climbing: t.bool().default(false),
   * });
   * const ephemeral = `climb-${crypto.randomUUID()}`;
   * const db = Aerostore.open({ ephemeral, tables: [Flight], size: "8MiB" });
   * const flights = db.table(Flight);
   * flights.insert({ id: "UAL1", typ: "B738", altitude: 3000 });
   * flights.insert({ id: "SWR12", typ: "A320", altitude: 9000 });
   *
   * const boeings = flights.query().where("typ", "=", "B738");
   * assert.equal(boeings.update({ climbing: true, altitude: { increment: 500 } }), 1);
   * assert.deepEqual(boeings.all(), [{ id: "UAL1", typ: "B738", altitude: 3500, climbing: true }]);
   * assert.equal(boeings.delete(), 1);
   * assert.equal(flights.count(), 1);
   * db.close();
   * Aerostore.remove({ ephemeral });
   * ```
   */
  update(patch: Patch): number {
    return this.#executor.update(this.compile(), [], patch);
  }

  /**
   * Deletes the rows that the query would give, in one transaction; see
   * {@linkcode QueryBuilder.update}.
   *
   * @returns The number of rows.
   */
  delete(): number {
    return this.#executor.delete(this.compile(), []);
  }

  /** Runs the query and gives its rows one after the other. */
  iterate(): Iterable<Result> {
    return this.#executor.run<Result>(this.compile(), [], Infinity);
  }

  /** The same as {@linkcode QueryBuilder.iterate}, for `for (const row of query)`. */
  [Symbol.iterator](): Iterator<Result> {
    return this.iterate()[Symbol.iterator]();
  }

  /**
   * Runs the query and gives its rows without holding up the event loop: it gets its turn after
   * every few thousand rows that were looked at.
   *
   * All rows are of the moment at which the first is asked for, however long it takes. Memory that
   * others give up meanwhile cannot be used again before the end, so a loop that is left early
   * should be left by `break`, `return` or an error.
   *
   * A sort is done bit by bit as well; only where a limit of many rows is reached, they are put
   * into a heap in one step.
   *
   * @throws {AerostoreError} While it runs: `closed` if the database was closed,
   * `snapshot_revoked` if its snapshot was given up because memory is short or it is too old,
   * `transaction_closed` if the transaction has ended that it belongs to.
   *
   * @example Go through a large table while the program serves others
   * ```ts
   * import assert from "node:assert/strict";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Point = defineTable("Point", { id: t.int32().primaryKey(), x: t.float64() });
   * const ephemeral = `points-${crypto.randomUUID()}`;
   * const db = Aerostore.open({ ephemeral, tables: [Point], size: "16MiB" });
   * const points = db.table(Point);
   * points.upsertMany(Array.from({ length: 20_000 }, (_, id) => ({ id, x: id / 2 })));
   *
   * let seen = 0;
   * for await (const point of points.query().where("x", ">=", 1_000).stream()) {
   *   points.delete(19_999 - seen); // This loop still sees it.
   *   assert.ok(point.x >= 1_000);
   *   seen += 1;
   * }
   * assert.equal(seen, 18_000);
   * db.close();
   * Aerostore.remove({ ephemeral });
   * ```
   */
  stream(): AsyncIterable<Result> {
    return this.#executor.stream<Result>(this.compile(), []);
  }

  /**
   * Explains how the query would be executed now.
   *
   * @param options With `analyze` it is executed, and the explanation has what each step took.
   */
  explain(options: ExplainOptions = {}): Explanation {
    const query = this.compile();
    return query.explain(
      undefined,
      options.analyze === true ? this.#executor.measure(query, []) : undefined,
    );
  }

  /**
   * Returns the query ready to run, planned for the counts of now.
   *
   * @internal
   */
  compile(): CompiledQuery {
    this.#compiled ??= new CompiledQuery(this.#draft.finish(), this.#executor.counts);
    return this.#compiled.refresh();
  }

  #with(change: (draft: QueryDraft) => void): QueryBuilder<Row, Result, Patch> {
    const draft = this.#draft.clone();
    change(draft);
    return new QueryBuilder<Row, Result, Patch>(this.#executor, draft);
  }
}

/**
 * A query whose values come at each run. It is read and planned once.
 *
 * @typeParam Row The type of the rows.
 * @typeParam Patch What `update` takes.
 */
export class PreparedQuery<Row, Patch = Partial<Row>> {
  readonly #executor: QueryExecutor;
  readonly #query: CompiledQuery;

  /**
   * Takes a query that was read and planned.
   *
   * @param executor What runs the query.
   * @param query The query, as `QueryCompiler.prepare` gives it.
   */
  constructor(executor: QueryExecutor, query: CompiledQuery) {
    this.#executor = executor;
    this.#query = query;
  }

  /** The number of values that each run needs. */
  get parameterCount(): number {
    return this.#query.query.parameterCount;
  }

  /**
   * Runs the query with these values and returns all rows.
   *
   * @param args The value of `$1`, of `$2` ... An array stands for the whole list of an `in`.
   * @throws {AerostoreError} With `unknown_parameter` if there are too few or too many values, with
   * `type_mismatch` if one is not a value of its column.
   */
  all(...args: unknown[]): Row[] {
    return this.#executor.all<Row>(this.#current(), args, Infinity);
  }

  /** Runs the query with these values and returns its first row, or undefined. */
  first(...args: unknown[]): Row | undefined {
    return this.#executor.all<Row>(this.#current(), args, 1)[0];
  }

  /** Returns the number of rows that the query would give with these values. */
  count(...args: unknown[]): number {
    return this.#executor.count(this.#current(), args);
  }

  /** Runs the query with these values and gives its rows one after the other. */
  iterate(...args: unknown[]): Iterable<Row> {
    return this.#executor.run<Row>(this.#current(), args, Infinity);
  }

  /** Computes aggregates with these values; see {@linkcode QueryBuilder.aggregate}. */
  aggregate<const A extends Aggregates<Row>>(
    aggregates: A,
    ...args: unknown[]
  ): AggregateResults<Row, A> {
    const results = this.#executor.aggregate(this.#current(), args, aggregates);
    return results as AggregateResults<Row, A>;
  }

  /** Changes the rows found with these values; see {@linkcode QueryBuilder.update}. */
  update(patch: Patch, ...args: unknown[]): number {
    return this.#executor.update(this.#current(), args, patch);
  }

  /** Deletes the rows found with these values; see {@linkcode QueryBuilder.delete}. */
  delete(...args: unknown[]): number {
    return this.#executor.delete(this.#current(), args);
  }

  /** Gives the rows bit by bit; see {@linkcode QueryBuilder.stream}. */
  stream(...args: unknown[]): AsyncIterable<Row> {
    return this.#executor.stream<Row>(this.#current(), args);
  }

  /** Runs the query with these values and explains it with what each step took. */
  analyze(...args: unknown[]): Explanation {
    const query = this.#current();
    return query.explain(args, this.#executor.measure(query, args));
  }

  /** Explains the plan; without values, parameters stand for themselves. */
  explain(...args: unknown[]): Explanation {
    return this.#current().explain(args.length === 0 ? undefined : args);
  }

  /** The query, planned for the indexes of now: its plan may name one that was dropped. */
  #current(): CompiledQuery {
    return this.#query.refreshIndexes();
  }
}
