/** An executor without a database. */

import type { QueryExecutor } from "../../lib/query/builder.ts";
import type { CompiledQuery } from "../../lib/query/compiler.ts";
import type { Measurement } from "../../lib/query/measurement.ts";
import type { PlanCounts } from "../../lib/query/plan.ts";
import type { TableMeta } from "../../lib/query/table_meta.ts";
import type { Dialect } from "../../lib/stapi/ast.ts";

/** What it was asked to do. */
export interface Run {
  readonly query: CompiledQuery;
  readonly args: readonly unknown[];
  /** Most rows wanted; for other things than rows, the name of the method. */
  readonly what: unknown;
}

/** Runs nothing: notes what it was asked to run, and gives the rows it was made with. */
export class FakeExecutor implements QueryExecutor {
  readonly meta: TableMeta;
  readonly counts: PlanCounts;
  readonly dialect: Dialect;
  readonly rows: readonly unknown[];
  readonly runs: Run[] = [];

  constructor(
    meta: TableMeta,
    counts: PlanCounts,
    rows: readonly unknown[] = [],
    dialect: Dialect = "default",
  ) {
    this.meta = meta;
    this.counts = counts;
    this.rows = rows;
    this.dialect = dialect;
  }

  run<Result>(query: CompiledQuery, args: readonly unknown[], limitMax: number): Iterable<Result> {
    this.runs.push({ query, args, what: limitMax });
    return this.rows as Result[];
  }

  all<Result>(query: CompiledQuery, args: readonly unknown[], limitMax: number): Result[] {
    this.runs.push({ query, args, what: limitMax });
    return [...this.rows] as Result[];
  }

  async *stream<Result>(
    query: CompiledQuery,
    args: readonly unknown[],
  ): AsyncGenerator<Result, undefined> {
    this.runs.push({ query, args, what: "stream" });
    yield* this.rows as Result[];
  }

  count(query: CompiledQuery, args: readonly unknown[]): number {
    this.runs.push({ query, args, what: "count" });
    return this.rows.length;
  }

  measure(query: CompiledQuery, args: readonly unknown[]): Measurement {
    this.runs.push({ query, args, what: "measure" });
    return {
      rowsVisited: 3,
      routeTimeMs: 1,
      steps: [{ clause: 0, tested: 3, passed: 1, timeMs: 0.5 }],
      rowsSorted: 0,
      rowsKept: 0,
      sortTimeMs: 0,
      rowsReturned: 1,
      batches: 1,
      outputBytes: 64,
      outputTimeMs: 0.25,
      totalTimeMs: 2,
      fellBack: false,
    };
  }

  aggregate(
    query: CompiledQuery,
    args: readonly unknown[],
    aggregates: Readonly<Record<string, unknown>>,
  ): Record<string, unknown> {
    this.runs.push({ query, args, what: aggregates });
    return Object.fromEntries(Object.keys(aggregates).map((name) => [name, null]));
  }

  update(query: CompiledQuery, args: readonly unknown[], patch: unknown): number {
    this.runs.push({ query, args, what: patch });
    return this.rows.length;
  }

  delete(query: CompiledQuery, args: readonly unknown[]): number {
    this.runs.push({ query, args, what: "delete" });
    return this.rows.length;
  }
}
