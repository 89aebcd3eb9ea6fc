/**
 * What a search gives.
 *
 * @module
 */

import type { TableExecutor } from "./execution.ts";
import type { ExplainOptions } from "./query/builder.ts";
import type { CompiledQuery } from "./query/compiler.ts";
import type { Explanation } from "./query/explain.ts";

/**
 * The rows of a search, all of them, as they were at the moment of the search.
 *
 * For results too large to hold, use `query().iterate()`, which fetches as you go.
 *
 * @typeParam Row The type of the rows.
 */
export class Result<Row> implements Iterable<Row> {
  /** The number of rows; with `-countOnly`, the number that there would be. */
  readonly count: number;
  readonly #rows: readonly Row[];
  readonly #query: CompiledQuery;
  readonly #executor: TableExecutor;

  /**
   * Runs a search.
   *
   * @param executor What runs it.
   * @param query The search.
   */
  constructor(executor: TableExecutor, query: CompiledQuery) {
    this.#query = query;
    this.#executor = executor;
    if (query.query.countOnly) {
      this.#rows = [];
      this.count = executor.count(query, []);
    } else {
      this.#rows = executor.all<Row>(query, [], Infinity);
      this.count = this.#rows.length;
    }
  }

  /** The number of rows at hand; 0 with `-countOnly`. */
  get length(): number {
    return this.#rows.length;
  }

  /** Returns the rows as a new array. */
  all(): Row[] {
    return [...this.#rows];
  }

  /** Returns the first row, or undefined. */
  first(): Row | undefined {
    return this.#rows[0];
  }

  /**
   * Explains how the search is executed.
   *
   * @param options With `analyze` it is executed again, and the explanation has what each step
   * took.
   */
  explain(options: ExplainOptions = {}): Explanation {
    const query = this.#query.refresh();
    return query.explain(
      undefined,
      options.analyze === true ? this.#executor.measure(query, []) : undefined,
    );
  }

  /** Gives the rows; as often as you like. */
  [Symbol.iterator](): Iterator<Row> {
    return this.#rows.values();
  }
}
