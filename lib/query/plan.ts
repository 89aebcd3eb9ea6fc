/**
 * The plan of a query: which route reaches the rows, what is checked on the way, and in which order
 * they come. A plan is data; `encode.ts` turns it into bytes and `explain.ts` into words.
 *
 * @module
 */

import type { Query, SortKey } from "../stapi/ast.ts";
import type { IndexMeta } from "./table_meta.ts";

/**
 * How the rows are reached.
 *
 * - `Empty`: not at all, the query contradicts itself.
 * - `PrimaryKeyLookup`: by their primary keys.
 * - `IndexExactMatch`: by whole keys of an index.
 * - `IndexRangeScan`: by an interval of an index, walked in either direction.
 * - `IndexOrderScan`: by all of an index, because its order is the order asked for and a limit
 *   stops the walk early.
 * - `FullScan`: by reading every row of the table.
 */
export type Route =
  | "Empty"
  | "PrimaryKeyLookup"
  | "IndexExactMatch"
  | "IndexRangeScan"
  | "IndexOrderScan"
  | "FullScan";

/**
 * Where the order of the result comes from.
 *
 * - `none`: no order was asked for, or there can be only one row.
 * - `route`: the index gives the rows in the order asked for.
 * - `sort`: the rows are sorted; with a limit, in a heap of limit + offset rows.
 */
export type Ordering = "none" | "route" | "sort";

/** What the planner may ask about a table; both are counts of the moment. */
export interface PlanCounts {
  /** Number of rows of the table. */
  rows(): number;
  /**
   * Number of distinct keys of an index, or of the primary key for null (that is the number of
   * rows).
   */
  distinctKeys(index: IndexMeta | null): number;
  /**
   * Brings the indexes of the table's metadata up to date, and returns a number that is another one
   * whenever they have changed. Left out where they never change.
   */
  indexVersion?(): number;
}

/** One count that decided between two candidates. */
export interface CountUsed {
  /** The index, or null for the primary key. */
  readonly index: IndexMeta | null;
  /** What it was. */
  readonly count: number;
}

/** A plan. Clause numbers index `query.clauses`. */
export interface Plan {
  /** What is planned. */
  readonly query: Query;
  /** How the rows are reached. */
  readonly route: Route;
  /** The index of an index route, else null. */
  readonly index: IndexMeta | null;
  /**
   * For each leading column of the key, the clause that gives its value: all columns of the key for
   * a lookup or exact match (one of them may be an `in`), fewer for a range scan.
   */
  readonly equalities: readonly number[];
  /** For a range scan, the clauses that bound the column behind the equalities. */
  readonly bounds: readonly number[];
  /** The clauses that the route does not answer, in the order in which they are tested. */
  readonly residuals: readonly number[];
  /** Whether an index is walked from its end to its start. */
  readonly descending: boolean;
  /** Where the order of the result comes from. */
  readonly ordering: Ordering;
  /**
   * The sort fields that decide something, most important first; after them, ascending primary key.
   * Empty if `ordering` is `none`.
   */
  readonly sort: readonly SortKey[];
  /** Why the plan is empty; the empty string if it is not. */
  readonly emptiness: string;
  /** What came of the `-index` hint; the empty string without one. */
  readonly hint: string;
  /** The counts that the choice depends on: while they stay, the plan stays. */
  readonly counts: readonly CountUsed[];
}

/** Whether the route can stop as soon as limit + offset rows have passed. */
export function stopsEarly(plan: Plan): boolean {
  return plan.query.limit !== null && plan.ordering !== "sort";
}

/** Returns the clauses that the route itself answers, ascending. */
export function driverClauses(plan: Plan): number[] {
  return [...plan.equalities, ...plan.bounds].sort((a, b) => a - b);
}
