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
import { CompiledQuery } from "./compiler.ts";
import type { Explanation } from "./explain.ts";
import type { PlanCounts } from "./plan.ts";
import type { TableMeta } from "./table_meta.ts";

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
  /** Counts the rows that a query would give. */
  count(query: CompiledQuery, args: readonly unknown[]): number;
}

/**
 * A query in the making. Each method that adds to it gives a new builder and leaves the old one as
 * it was, so a common beginning can be kept and continued in several ways.
 *
 * @typeParam Row The type of the table's rows.
 * @typeParam Result The type of the rows given: `Row`, or the fields that `select` names.
 */
export class QueryBuilder<Row, Result = Row> implements Iterable<Result> {
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
  where(field: Field<Row>, operator: NullOperator): QueryBuilder<Row, Result>;
  /** Adds a condition on a boolean column: it is true, or it is false. */
  where(field: FieldOf<Row, boolean>, operator: BoolOperator): QueryBuilder<Row, Result>;
  /** Adds a condition that a text column matches a glob, or does not. */
  where(
    field: FieldOf<Row, string>,
    operator: GlobOperator,
    glob: string,
  ): QueryBuilder<Row, Result>;
  /** Adds a comparison with a value. */
  where<Name extends Field<Row>>(
    field: Name,
    operator: CompareOperator,
    value: OperandOf<Row[Name]>,
  ): QueryBuilder<Row, Result>;
  /** Adds a condition that a column has one of some values. */
  where<Name extends Field<Row>>(
    field: Name,
    operator: "in",
    values: readonly OperandOf<Row[Name]>[],
  ): QueryBuilder<Row, Result>;
  /** Adds a condition that a column is at least `low` and below `high`. */
  where<Name extends Field<Row>>(
    field: Name,
    operator: "range",
    low: OperandOf<Row[Name]>,
    high: OperandOf<Row[Name]>,
  ): QueryBuilder<Row, Result>;
  where(field: string, operator: string, ...operands: unknown[]): QueryBuilder<Row, Result> {
    return this.#with((draft) =>
      addObjectClause(draft, [operator, field, ...operands], "where", false)
    );
  }

  /** Sets the sort fields, most important first; `-` before a field means descending. */
  sort(...fields: SortField<Row>[]): QueryBuilder<Row, Result> {
    return this.#with((draft) =>
      draft.setSort(fields.map((field, at) => itemOf(field, `sort[${at}]`, false)))
    );
  }

  /** Sets the most rows to give. */
  limit(rows: number): QueryBuilder<Row, Result> {
    return this.#with((draft) => draft.setLimit(itemOf(rows, "limit", false)));
  }

  /** Sets the number of rows to leave out first. */
  offset(rows: number): QueryBuilder<Row, Result> {
    return this.#with((draft) => draft.setOffset(itemOf(rows, "offset", false)));
  }

  /** Gives only these columns. */
  select<Name extends Field<Row>>(...fields: Name[]): QueryBuilder<Row, Pick<Row, Name>> {
    const draft = this.#draft.clone();
    const items = fields.map((field, at) => itemOf(field, `select[${at}]`, false));
    draft.setFields(items, { offset: -1, word: "select" });
    return new QueryBuilder<Row, Pick<Row, Name>>(this.#executor, draft);
  }

  /** Hints that the index on a column should be used, if that is possible. */
  index(field: Field<Row>): QueryBuilder<Row, Result> {
    return this.#with((draft) => draft.setHint(itemOf(field, "index", false)));
  }

  /** Runs the query and returns all rows. */
  all(): Result[] {
    return [...this.iterate()];
  }

  /** Runs the query and returns its first row, or undefined. */
  first(): Result | undefined {
    for (const row of this.#executor.run<Result>(this.compile(), [], 1)) return row;
    return undefined;
  }

  /** Returns the number of rows that the query would give. */
  count(): number {
    return this.#executor.count(this.compile(), []);
  }

  /** Runs the query and gives its rows one after the other. */
  iterate(): Iterable<Result> {
    return this.#executor.run<Result>(this.compile(), [], Infinity);
  }

  /** The same as {@linkcode QueryBuilder.iterate}, for `for (const row of query)`. */
  [Symbol.iterator](): Iterator<Result> {
    return this.iterate()[Symbol.iterator]();
  }

  /** Explains how the query would be executed now. */
  explain(): Explanation {
    return this.compile().explain();
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

  #with(change: (draft: QueryDraft) => void): QueryBuilder<Row, Result> {
    const draft = this.#draft.clone();
    change(draft);
    return new QueryBuilder<Row, Result>(this.#executor, draft);
  }
}

/**
 * A query whose values come at each run. It is read and planned once.
 *
 * @typeParam Row The type of the rows.
 */
export class PreparedQuery<Row> {
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
    return [...this.iterate(...args)];
  }

  /** Runs the query with these values and returns its first row, or undefined. */
  first(...args: unknown[]): Row | undefined {
    for (const row of this.#executor.run<Row>(this.#query, args, 1)) return row;
    return undefined;
  }

  /** Returns the number of rows that the query would give with these values. */
  count(...args: unknown[]): number {
    return this.#executor.count(this.#query, args);
  }

  /** Runs the query with these values and gives its rows one after the other. */
  iterate(...args: unknown[]): Iterable<Row> {
    return this.#executor.run<Row>(this.#query, args, Infinity);
  }

  /** Explains the plan; without values, parameters stand for themselves. */
  explain(...args: unknown[]): Explanation {
    return this.#query.explain(args.length === 0 ? undefined : args);
  }
}
