/**
 * Chooses the route of a query. The choice is a pure function of the query, the table's metadata
 * and the counts: same query, same catalogue, same counts, same plan.
 *
 * The rules, in order:
 *
 * 1. Clauses on one column that no value satisfies make the plan empty.
 * 2. Candidates with a value for every column of a key (`=`, or `in` on a key of one column)
 *    compete: more distinct keys first, then the primary key before an index, then the earlier
 *    clause, then the catalogue rank of the index.
 * 3. Without any, a composite index whose first columns have values: more such columns first, then
 *    one whose next column is bounded, then rank.
 * 4. Without any, an index whose first column is bounded: by rank. All bounds of the column merge
 *    into one interval.
 * 5. Without any, an index in the order asked for, if there is a limit and nothing else to test.
 * 6. Else the whole table is read.
 *
 * `!=`, `notmatch`, `null` and `notnull` never drive. The winner of rule 2, if it is one value on
 * an index of one column, gives way to a composite index that begins with the same column and
 * answers more clauses, or gives the order that a limit can use. `-index FIELD` restricts rules 2
 * to 5 to the keys that begin with the field, if there is such a candidate.
 *
 * @module
 */

import { type Clause, isParameter, type Query, type SortKey, type Value } from "../stapi/ast.ts";
import { QueryError } from "../stapi/query_error.ts";
import { admitsNull, clausesOn, findContradiction, isBound } from "./interval.ts";
import type { CountUsed, Ordering, Plan, PlanCounts, Route } from "./plan.ts";
import { columnOf, type IndexMeta } from "./table_meta.ts";

/** Most clauses of a query. */
export const clauseCountMax = 1024;
/** Most keys that a route can look up; a longer in-list is tested on each row instead. */
export const keyCountMax = 65_536;

/** One way to reach the rows. */
interface Candidate {
  readonly route: Route;
  /** Null for the primary key. */
  readonly index: IndexMeta | null;
  /** Place of the index in the catalogue; -1 for the primary key. */
  readonly rank: number;
  readonly equalities: readonly number[];
  readonly bounds: readonly number[];
}

/**
 * Plans a query.
 *
 * @param query The query.
 * @param counts The counts of the table; asked only where candidates compete by them.
 * @returns The plan. For a prepared query the values come later, so only its literal clauses can
 * make it empty here.
 * @throws {AerostoreError} With `invalid_query` for more than 1024 clauses.
 *
 * @example A value of the primary key is looked up
 * ```ts
 * import assert from "node:assert/strict";
 * import { planQuery } from "./planner.ts";
 * import { tableMeta } from "./table_meta.ts";
 * import { parseSearch } from "../stapi/parser.ts";
 *
 * const table = tableMeta({
 *   id: 0,
 *   name: "Flight",
 *   primaryKey: 0,
 *   columns: [
 *     { name: "flight_id", kind: "text", capacity: 16 },
 *     { name: "altitude", kind: "int32", nullable: true },
 *   ],
 * });
 * const query = parseSearch("-compare {{> altitude 9} {= flight_id UAL1}}", table);
 * const plan = planQuery(query, { rows: () => 100, distinctKeys: () => 100 });
 * assert.equal(plan.route, "PrimaryKeyLookup");
 * assert.deepEqual(plan.residuals, [0]);
 * ```
 */
export function planQuery(query: Query, counts: PlanCounts): Plan {
  if (query.clauses.length > clauseCountMax) {
    const message = `A query has at most ${clauseCountMax} clauses, and this one has ` +
      `${query.clauses.length}`;
    throw new QueryError("invalid_query", message, { offset: -1, word: "" });
  }
  const emptiness = findEmptiness(query);
  if (emptiness !== "") return emptyPlan(query, emptiness);
  return new Planner(query, counts).plan();
}

/** Returns the values of each clause where all are known; parameters leave their clause out. */
export function literalValues(clauses: readonly Clause[]): Value[][] {
  return clauses.map((clause) =>
    clause.operands.filter((operand): operand is Value => !isParameter(operand))
  );
}

function findEmptiness(query: Query): string {
  if (query.limit === 0) return "the limit is 0";
  const literal = query.clauses.filter((clause) => !clause.operands.some(isParameter));
  const column = findContradiction(query.table, literal, literalValues(literal));
  return column < 0 ? "" : contradictionText(query, column);
}

/** Says that the clauses on a column contradict each other. */
export function contradictionText(query: Query, column: number): string {
  return `no value of ${columnOf(query.table, column).name} satisfies its clauses`;
}

function emptyPlan(query: Query, emptiness: string): Plan {
  return {
    query,
    route: "Empty",
    index: null,
    equalities: [],
    bounds: [],
    residuals: [],
    descending: false,
    ordering: "none",
    sort: [],
    emptiness,
    hint: "",
    counts: [],
  };
}

class Planner {
  readonly #query: Query;
  readonly #counts: PlanCounts;
  readonly #used: CountUsed[] = [];
  /** The sort fields that decide something; see `necessarySort`. */
  readonly #sort: readonly SortKey[];

  constructor(query: Query, counts: PlanCounts) {
    this.#query = query;
    this.#counts = counts;
    this.#sort = query.countOnly ? [] : necessarySort(query);
  }

  plan(): Plan {
    const all = this.#candidates();
    const { hint: field } = this.#query;
    let hint = "";
    let winner: Candidate | undefined;
    if (field !== null) {
      const hinted = all.filter((candidate) => this.#firstColumn(candidate) === field);
      winner = this.#choose(hinted) ?? this.#orderScan(field);
      hint = winner === undefined ? "of no use" : "followed";
    }
    winner ??= this.#choose(all) ?? this.#orderScan(null);
    return this.#finish(winner ?? fullScan, hint);
  }

  #firstColumn(candidate: Candidate): number | undefined {
    return candidate.index === null ? this.#query.table.primaryKey : candidate.index.columns[0];
  }

  /** All candidates of rules 2 to 4. */
  #candidates(): Candidate[] {
    const { table } = this.#query;
    const found = this.#lookups(null, table.primaryKey, "PrimaryKeyLookup", -1);
    for (const [rank, index] of table.indexes.entries()) {
      const [first] = index.columns;
      if (first === undefined) continue;
      if (index.columns.length === 1) {
        found.push(...this.#lookups(index, first, "IndexExactMatch", rank));
      }
      const prefix = this.#prefix(index, rank);
      if (prefix !== undefined) found.push(prefix);
    }
    return found;
  }

  /** One candidate for each `=` and `in` on the only column of a key. */
  #lookups(index: IndexMeta | null, column: number, route: Route, rank: number): Candidate[] {
    const found: Candidate[] = [];
    for (const [number, clause] of this.#query.clauses.entries()) {
      if (clause.column !== column || !isLookup(clause)) continue;
      found.push({ route, index, rank, equalities: [number], bounds: [] });
    }
    return found;
  }

  /** The use of an index by values for its first columns and bounds on the next, if any. */
  #prefix(index: IndexMeta, rank: number): Candidate | undefined {
    const { clauses } = this.#query;
    const equalities: number[] = [];
    for (const column of index.columns) {
      const number = clauses.findIndex((clause) =>
        clause.column === column && clause.operator === "="
      );
      if (number < 0) break;
      equalities.push(number);
    }
    const next = index.columns[equalities.length];
    if (next === undefined) {
      // Indexes of one column are served by `#lookups`.
      if (index.columns.length === 1) return undefined;
      return { route: "IndexExactMatch", index, rank, equalities, bounds: [] };
    }
    const bounds = this.#bounds(next);
    if (equalities.length === 0 && bounds.length === 0) return undefined;
    return { route: "IndexRangeScan", index, rank, equalities, bounds };
  }

  /** The clauses that bound a column. None if a null satisfies them: it is in no interval. */
  #bounds(column: number): number[] {
    const { clauses } = this.#query;
    if (this.#mayBeNull(column)) return [];
    return clausesOn(clauses, column).filter((number) => {
      const clause = clauses[number];
      return clause !== undefined && isBound(clause);
    });
  }

  /** Whether a row of the result can be null in the column. */
  #mayBeNull(column: number): boolean {
    const { table, clauses } = this.#query;
    if (!columnOf(table, column).nullable) return false;
    return clauses.every((clause) => clause.column !== column || admitsNull(clause));
  }

  #choose(candidates: readonly Candidate[]): Candidate | undefined {
    const exact = candidates.filter((candidate) => candidate.route !== "IndexRangeScan");
    const ranges = candidates.filter((candidate) => candidate.route === "IndexRangeScan");
    const lookup = this.#best(exact);
    if (lookup !== undefined) return this.#refine(lookup, ranges);
    return ranges.toSorted(compareRanges)[0];
  }

  /** Rule 2. */
  #best(exact: readonly Candidate[]): Candidate | undefined {
    const [only] = exact;
    if (exact.length < 2) return only;
    const counted = exact.map((candidate) => ({
      candidate,
      count: this.#distinctKeys(candidate.index),
    }));
    counted.sort((a, b) =>
      b.count - a.count ||
      Number(a.candidate.index !== null) - Number(b.candidate.index !== null) ||
      Math.min(...a.candidate.equalities) - Math.min(...b.candidate.equalities) ||
      a.candidate.rank - b.candidate.rank
    );
    return counted[0]?.candidate;
  }

  #distinctKeys(index: IndexMeta | null): number {
    const known = this.#used.find((used) => used.index === index);
    if (known !== undefined) return known.count;
    const count = this.#counts.distinctKeys(index);
    this.#used.push({ index, count });
    return count;
  }

  /** Lets a composite index that begins with the same value and does more take the place. */
  #refine(lookup: Candidate, ranges: readonly Candidate[]): Candidate {
    const [number] = lookup.equalities;
    const { index } = lookup;
    if (number === undefined || index === null || index.unique) return lookup;
    if (index.columns.length > 1 || this.#query.clauses[number]?.operator !== "=") return lookup;
    const ordered = this.#query.limit !== null && this.#sort.length > 0 && !this.#ordered(lookup);
    const better = ranges.filter((range) =>
      range.equalities.includes(number) &&
      (range.equalities.length + range.bounds.length > 1 || (ordered && this.#ordered(range)))
    );
    return better.toSorted(compareRanges)[0] ?? lookup;
  }

  /** Rule 5; with a hint, other clauses may remain to be tested. */
  #orderScan(field: number | null): Candidate | undefined {
    const { table, clauses, limit, countOnly } = this.#query;
    if (limit === null || countOnly || this.#sort.length === 0) return undefined;
    if (field === null && clauses.some((clause) => clause.operator !== "notnull")) return undefined;
    for (const [rank, index] of table.indexes.entries()) {
      if (field !== null && index.columns[0] !== field) continue;
      const scan: Candidate = {
        route: "IndexOrderScan",
        index,
        rank,
        equalities: [],
        bounds: [],
      };
      if (this.#ordered(scan)) return scan;
    }
    return undefined;
  }

  /** Whether walking the candidate, in either direction, gives the order asked for. */
  #ordered(candidate: Candidate): boolean {
    return this.#direction(candidate) !== undefined;
  }

  /** Returns the direction in which the candidate gives the order asked for, if it does. */
  #direction(candidate: Candidate): "ascending" | "descending" | undefined {
    const { table, clauses } = this.#query;
    const { index, equalities } = candidate;
    const [key] = this.#sort;
    if (index === null || key === undefined) return undefined;
    const several = clauses[equalities[0] ?? -1]?.operator === "in";
    // The keys of an in-list can be visited in any order, so their column is still to be ordered.
    const rest = several ? index.columns : index.columns.slice(equalities.length);
    if (rest.length === 0) {
      // Rows with equal keys stand in primary key order.
      return key.column === table.primaryKey && !key.descending ? "ascending" : undefined;
    }
    if (rest.length !== this.#sort.length) return undefined;
    for (const [at, column] of rest.entries()) {
      const wanted = this.#sort[at];
      if (wanted?.column !== column || wanted.descending !== key.descending) return undefined;
      // In an index a null stands after every value.
      if (wanted.nullsFirst !== wanted.descending && this.#mayBeNull(column)) return undefined;
    }
    return key.descending ? "descending" : "ascending";
  }

  #finish(winner: Candidate, hint: string): Plan {
    const { clauses } = this.#query;
    const answered = new Set([...winner.equalities, ...winner.bounds]);
    let ordering: Ordering = "none";
    let descending = false;
    if (this.#sort.length > 0 && !this.#isOneRow(winner)) {
      const direction = this.#direction(winner);
      ordering = direction === undefined ? "sort" : "route";
      descending = direction === "descending";
    }
    return {
      query: this.#query,
      route: winner.route,
      index: winner.index,
      equalities: winner.equalities,
      bounds: winner.bounds,
      residuals: [...clauses.keys()].filter((number) => !answered.has(number)),
      descending,
      ordering,
      sort: ordering === "none" ? [] : this.#sort,
      emptiness: "",
      hint,
      counts: this.#used,
    };
  }

  /** Whether the candidate can give at most one row: one value of a unique key. */
  #isOneRow(candidate: Candidate): boolean {
    const isUnique = candidate.route === "PrimaryKeyLookup" ||
      (candidate.route === "IndexExactMatch" && candidate.index?.unique === true);
    return isUnique &&
      candidate.equalities.every((number) => this.#query.clauses[number]?.operator === "=");
  }
}

const fullScan: Candidate = {
  route: "FullScan",
  index: null,
  rank: 0,
  equalities: [],
  bounds: [],
};

/** Whether the clause gives the values of a key: rule 2. */
function isLookup(clause: Clause): boolean {
  if (clause.operator === "=") return true;
  return clause.operator === "in" && clause.operands.length <= keyCountMax;
}

/** Rules 3 and 4. */
function compareRanges(a: Candidate, b: Candidate): number {
  return b.equalities.length - a.equalities.length ||
    (a.equalities.length === 0 ? 0 : Math.sign(b.bounds.length) - Math.sign(a.bounds.length)) ||
    a.rank - b.rank;
}

/**
 * Returns the sort fields without those that decide nothing: fields of which the result has one
 * value, and fields behind the primary key. The rest is followed by the ascending primary key in
 * any case, so it is left out unless it is all that remains.
 */
function necessarySort(query: Query): SortKey[] {
  const { primaryKey } = query.table;
  const sort: SortKey[] = [];
  for (const key of query.sort) {
    if (!isConstant(query, key.column)) sort.push(key);
    if (key.column === primaryKey) break;
  }
  const last = sort.at(-1);
  if (sort.length > 1 && last?.column === primaryKey && !last.descending) sort.pop();
  if (sort.length === 0 && query.sort.length > 0) {
    sort.push({ column: primaryKey, descending: false, nullsFirst: false });
  }
  return sort;
}

/** Whether every row of the result has the same value in the column. */
function isConstant(query: Query, column: number): boolean {
  return query.clauses.some((clause) =>
    clause.column === column && ["=", "true", "false", "null"].includes(clause.operator)
  );
}
