/**
 * Says in words, and as an object, how a query will be executed.
 *
 * @module
 */

import {
  type Clause,
  type Dialect,
  isParameter,
  type Operand,
  type Query,
  type SortKey,
  type Value,
} from "../stapi/ast.ts";
import { quoteWord } from "../stapi/tcl_list.ts";
import { Bindings } from "./bind.ts";
import { contradictionText } from "./planner.ts";
import { findContradiction, mergeBounds } from "./interval.ts";
import type { Measurement } from "./measurement.ts";
import {
  driverClauses,
  type Ordering,
  type Plan,
  type PlanCounts,
  type Route,
  stopsEarly,
} from "./plan.ts";
import { columnOf, type TableMeta } from "./table_meta.ts";

/** The part of an index that a range scan reads. */
export interface ExplainedBounds {
  /** The column that the bounds are on. */
  readonly field: string;
  /** The low end; undefined if there is none, or a parameter decides. */
  readonly low: Value | undefined;
  /** Whether `low` itself is inside. */
  readonly lowInclusive: boolean;
  /** The high end, as `low`. */
  readonly high: Value | undefined;
  /** Whether `high` itself is inside. */
  readonly highInclusive: boolean;
}

/** How many rows the plan is expected to touch. Estimates never decide anything. */
export interface Estimate {
  /** Rows of the table. */
  readonly tableRows: number;
  /** Rows that the route reads. */
  readonly rowsRead: number;
}

/** What one test of the rows took. */
export interface ExplainedFilter {
  /** The clause. */
  readonly clause: string;
  /** Whether the route narrows the rows by it; it is tested if that does not decide it. */
  readonly driver: boolean;
  /** Rows that it was tested on. */
  readonly tested: number;
  /** Rows that passed. */
  readonly passed: number;
  /** Milliseconds. */
  readonly timeMs: number;
}

/** What a run of the query took, by its steps. Times are of this one run. */
export interface Actual {
  /** How the rows were reached in fact: by all of them, where an index could not serve. */
  readonly route: Route;
  /**
   * Rows that the route gave; for a count of an index, those that had to be looked at because no
   * summary had counted them.
   */
  readonly rowsVisited: number;
  /** Milliseconds that the route took. */
  readonly routeTimeMs: number;
  /**
   * The tests in the order of the query. One that every row passes, or that the index decides, is
   * not made.
   */
  readonly filters: readonly ExplainedFilter[];
  /** Rows that were sorted; 0 if nothing was. */
  readonly rowsSorted: number;
  /** Rows that the sort kept: limit + offset at most. */
  readonly rowsKept: number;
  /** Milliseconds that the sort took. */
  readonly sortTimeMs: number;
  /** Rows of the result. */
  readonly rowsReturned: number;
  /** Buffers of rows that handing over the result takes. */
  readonly batches: number;
  /** Bytes of the result. */
  readonly outputBytes: number;
  /** Milliseconds that writing them took. */
  readonly outputTimeMs: number;
  /** Milliseconds of everything. */
  readonly totalTimeMs: number;
}

/** What `explain()` gives. Its text, by `String(explanation)`, has one line for each fact. */
export interface Explanation {
  /** The name of the table. */
  readonly table: string;
  /** How the rows are reached. */
  readonly route: Route;
  /** The columns of the key that the route uses, such as `destination, altitude`; else null. */
  readonly index: string | null;
  /** The clauses that the route answers, as they would stand in a search string. */
  readonly driver: readonly string[];
  /** The bounds of a range scan, after all bounds on the column are merged; else null. */
  readonly bounds: ExplainedBounds | null;
  /** The clauses that are tested on each row, in order. */
  readonly residuals: readonly string[];
  /** The sort fields that decide something, `-` for descending; then comes the primary key. */
  readonly sort: readonly string[];
  /** Where the order comes from: the route itself, a sort, or none was asked for. */
  readonly ordering: Ordering;
  /** Whether an index is walked from its end to its start. */
  readonly descending: boolean;
  /** Most rows to give; null for all, undefined if a parameter decides. */
  readonly limit: number | null | undefined;
  /** Rows left out first; undefined if a parameter decides. */
  readonly offset: number | undefined;
  /** Whether the scan itself stops when limit + offset rows have passed. */
  readonly limitPushedDown: boolean;
  /** Whether only the number of rows is wanted. */
  readonly countOnly: boolean;
  /** Why no row can satisfy the query; the empty string if some might. */
  readonly emptiness: string;
  /** What came of the `-index` hint; the empty string without one. */
  readonly hint: string;
  /** How many rows will be read, roughly. */
  readonly estimate: Estimate;
  /** What a run took, with `analyze`; else null. */
  readonly actual: Actual | null;
  /** The explanation as text. */
  toString(): string;
}

/**
 * Explains a plan.
 *
 * @param plan The plan.
 * @param counts Counts of the table, for the estimates.
 * @param args The values of the parameters, if they are known. Default: unknown.
 * @param measurement What a run took, if there was one. Default: none.
 *
 * @example Why a search is fast
 * ```ts
 * import assert from "node:assert/strict";
 * import { explainPlan } from "./explain.ts";
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
 * const counts = { rows: () => 5000, distinctKeys: () => 5000 };
 * const search = "-compare {{= flight_id UAL1} {> altitude 9}}";
 * const explanation = explainPlan(planQuery(parseSearch(search, table), counts), counts);
 * assert.equal(explanation.route, "PrimaryKeyLookup");
 * assert.deepEqual(explanation.residuals, ["> altitude 9"]);
 * assert.match(String(explanation), /route: {5}PrimaryKeyLookup on flight_id/);
 * ```
 */
export function explainPlan(
  plan: Plan,
  counts: PlanCounts,
  args?: readonly unknown[],
  measurement?: Measurement,
): Explanation {
  const { query } = plan;
  const { table, clauses } = query;
  const bindings = new Bindings(query);
  if (args !== undefined) bindings.bind(args);
  const known = args !== undefined || query.parameterCount === 0;
  const contradiction = known ? findContradiction(table, clauses, bindings.values) : -1;
  const emptiness = contradiction < 0 ? plan.emptiness : contradictionText(query, contradiction);
  const words = (numbers: readonly number[]): string[] =>
    numbers.map((number) =>
      clauseText(query, clauses[number], known ? bindings.values[number] : undefined)
    );
  const facts = {
    table: table.name,
    route: emptiness === "" ? plan.route : "Empty" as const,
    index: plan.route === "PrimaryKeyLookup"
      ? columnOf(table, table.primaryKey).name
      : plan.index?.name ?? null,
    driver: words(driverClauses(plan)),
    bounds: explainBounds(plan, bindings),
    residuals: words(plan.residuals),
    sort: plan.sort.map((key) => sortText(table, key, query.dialect === "speedtables")),
    ordering: plan.ordering,
    descending: plan.descending,
    limit: known ? limitOf(bindings.limit) : (isParameter(query.limit) ? undefined : query.limit),
    offset: known ? bindings.offset : (isParameter(query.offset) ? undefined : query.offset),
    limitPushedDown: stopsEarly(plan),
    countOnly: query.countOnly,
    emptiness,
    hint: plan.hint,
    estimate: {
      tableRows: counts.rows(),
      rowsRead: emptiness === "" ? estimateRows(plan, counts, bindings) : 0,
    },
    actual: measurement === undefined ? null : explainActual(plan, measurement, words),
  };
  const text = explanationText(facts);
  return { ...facts, toString: () => text };
}

function explainActual(
  plan: Plan,
  { steps, fellBack, ...rest }: Measurement,
  words: (numbers: readonly number[]) => string[],
): Actual {
  const drivers = driverClauses(plan);
  return {
    route: fellBack ? "FullScan" : plan.route,
    ...rest,
    filters: steps.map(({ clause, tested, passed, timeMs }) => ({
      clause: words([clause])[0] ?? "",
      driver: drivers.includes(clause),
      tested,
      passed,
      timeMs,
    })),
  };
}

function limitOf(limit: number): number | null {
  return limit < 0 ? null : limit;
}

function explainBounds(plan: Plan, bindings: Bindings): ExplainedBounds | null {
  const { query, index, equalities, bounds } = plan;
  const column = index?.columns[equalities.length];
  if (bounds.length === 0 || column === undefined) return null;
  const interval = mergeBounds(
    bounds.map((number) => query.clauses[number]).filter((clause) => clause !== undefined),
    bounds.map((number) => bindings.values[number] ?? []),
  );
  return { field: columnOf(query.table, column).name, ...interval };
}

/** A third of the rows pass one bound: crude, but no statistics are kept. */
const boundSelectivity = 1 / 3;

function estimateRows(plan: Plan, counts: PlanCounts, bindings: Bindings): number {
  const rows = counts.rows();
  const [first] = plan.equalities;
  const keys = first === undefined ? 0 : bindings.values[first]?.length ?? 1;
  let read = rows;
  if (plan.route === "PrimaryKeyLookup") {
    read = keys;
  } else if (plan.index !== null) {
    const distinct = Math.max(1, counts.distinctKeys(plan.index));
    const share = plan.equalities.length / plan.index.columns.length;
    if (plan.route === "IndexExactMatch") {
      const several = first !== undefined && plan.query.clauses[first]?.operator === "in";
      read = rows / distinct * (several ? keys : 1);
    } else {
      const interval = explainBounds(plan, bindings);
      const ends = Number(interval?.low !== undefined) + Number(interval?.high !== undefined);
      read = rows / distinct ** share * boundSelectivity ** ends;
    }
  }
  // A limit ends the scan early, but only what passes the residuals counts.
  if (stopsEarly(plan) && plan.residuals.length === 0 && bindings.limit >= 0) {
    read = Math.min(read, bindings.limit + bindings.offset);
  }
  return Math.min(rows, Math.ceil(read));
}

function clauseText(
  { table, dialect }: Query,
  clause: Clause | undefined,
  values: readonly Value[] | undefined,
): string {
  if (clause === undefined) return "";
  const field = columnOf(table, clause.column).name;
  const operands = (values ?? clause.operands).map(operandText);
  const tail = clause.operator === "in" ? [`{${operands.join(" ")}}`] : operands;
  return [operatorText(clause, dialect), field, ...tail].join(" ");
}

/** Globs are written by an operator that says the same in the dialect. */
function operatorText(clause: Clause, dialect: Dialect): string {
  const { operator, ignoreCase } = clause;
  if (operator !== "match" && operator !== "notmatch") return operator;
  if (ignoreCase) return operator === "match" ? "imatch" : "notimatch";
  return dialect === "speedtables" ? `${operator}_case` : operator;
}

function operandText(operand: Operand): string {
  if (operand instanceof Uint8Array) return `<${operand.length} bytes>`;
  if (isParameter(operand)) return `$${operand.parameter}`;
  return quoteWord(String(operand));
}

function sortText(table: TableMeta, key: SortKey, speedtables: boolean): string {
  const { name, kind } = columnOf(table, key.column);
  const reversed = speedtables && kind === "bool";
  return key.descending !== reversed ? `-${name}` : name;
}

type Facts = Omit<Explanation, "toString">;

function explanationText(facts: Facts): string {
  const lines = [
    line("table", facts.table),
    line("route", facts.index === null ? facts.route : `${facts.route} on ${facts.index}`),
  ];
  if (facts.emptiness !== "") lines.push(line("empty", facts.emptiness));
  if (facts.driver.length > 0) lines.push(line("driver", facts.driver.join(" and ")));
  if (facts.bounds !== null) lines.push(line("bounds", boundsText(facts.bounds)));
  if (facts.emptiness === "") {
    facts.residuals.forEach((residual, at) =>
      lines.push(line("residual", `${at + 1}. ${residual}`))
    );
    lines.push(line("order", orderText(facts)));
    lines.push(line("limit", limitText(facts)));
  }
  if (facts.hint !== "") lines.push(line("hint", facts.hint));
  const { rowsRead, tableRows } = facts.estimate;
  lines.push(line("estimate", `reads about ${rowsRead} of ${tableRows} rows`));
  if (facts.actual !== null) lines.push(...actualLines(facts.actual));
  return lines.join("\n");
}

function actualLines(actual: Actual): string[] {
  const lines = [
    line(
      "actual",
      `${actual.route} gave ${rowsText(actual.rowsVisited)}${took(actual.routeTimeMs)}`,
    ),
  ];
  for (const { clause, tested, passed, timeMs } of actual.filters) {
    lines.push(line("", `${clause}: ${passed} of ${rowsText(tested)} passed${took(timeMs)}`));
  }
  if (actual.rowsSorted > 0) {
    const { rowsSorted, rowsKept, sortTimeMs } = actual;
    lines.push(line("", `${rowsText(rowsSorted)} sorted, ${rowsKept} kept${took(sortTimeMs)}`));
  }
  const { rowsReturned, batches, outputTimeMs, totalTimeMs } = actual;
  const buffers = `${batches} ${batches === 1 ? "buffer" : "buffers"}`;
  lines.push(line("", `${rowsText(rowsReturned)} given in ${buffers}${took(outputTimeMs)}`));
  lines.push(line("time", `${milliseconds(totalTimeMs)} in all`));
  return lines;
}

function rowsText(count: number): string {
  return `${count} ${count === 1 ? "row" : "rows"}`;
}

function took(timeMs: number): string {
  return `, ${milliseconds(timeMs)}`;
}

function milliseconds(timeMs: number): string {
  return `${timeMs.toFixed(3)} ms`;
}

function line(name: string, text: string): string {
  return `${(name === "" ? "" : `${name}:`).padEnd(10)} ${text}`;
}

function boundsText(bounds: ExplainedBounds): string {
  const { field, low, high } = bounds;
  const left = low === undefined ? "" : `${operandText(low)} ${bounds.lowInclusive ? "<=" : "<"} `;
  const right = high === undefined
    ? ""
    : ` ${bounds.highInclusive ? "<=" : "<"} ${operandText(high)}`;
  return left === "" && right === "" ? `${field}, by parameters` : `${left}${field}${right}`;
}

function orderText(facts: Facts): string {
  const fields = facts.sort.join(", ");
  switch (facts.ordering) {
    case "none":
      return "any";
    case "route":
      return `${fields}, which is that of the index${facts.descending ? " read backwards" : ""}`;
    case "sort":
      return `${fields}, by a sort, then by primary key`;
  }
}

function limitText(facts: Facts): string {
  if (facts.limit === null) {
    return facts.offset === 0 ? "none" : `none, offset ${facts.offset ?? "by a parameter"}`;
  }
  const limit = `${facts.limit ?? "by a parameter"}, offset ${facts.offset ?? "by a parameter"}`;
  return facts.limitPushedDown
    ? `${limit}: the scan stops early`
    : `${limit}: a heap of limit + offset rows`;
}
