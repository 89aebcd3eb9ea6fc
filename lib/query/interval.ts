/**
 * What the clauses on one column allow together: intervals of values, and contradictions.
 *
 * @module
 */

import type { Clause, Value } from "../stapi/ast.ts";
import { globPrefix, prefixEnd } from "../stapi/glob.ts";
import { utf8Size } from "../values.ts";
import { type ColumnMeta, columnOf, type TableMeta } from "./table_meta.ts";

/** Most pairs of in-list values that are compared to see whether two lists have one in common. */
const pairsComparedMax = 10_000;

/** The values between two bounds; an undefined bound is open. */
export interface Interval {
  /** The low end. */
  low: Value | undefined;
  /** Whether `low` itself is inside. */
  lowInclusive: boolean;
  /** The high end. */
  high: Value | undefined;
  /** Whether `high` itself is inside. */
  highInclusive: boolean;
}

/**
 * Orders two values of one column as the engine does: numbers by size, false before true, text and
 * bytes by unsigned bytes (for text that is the order of code points).
 *
 * @returns Negative, zero or positive.
 */
export function compareValues(a: Value, b: Value): number {
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if (a instanceof Uint8Array && b instanceof Uint8Array) return compareBytes(a, b);
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Whether the clause bounds its column from a side or both, so that an ordered index can serve. */
export function isBound(clause: Clause): boolean {
  switch (clause.operator) {
    case ">":
    case ">=":
    case "<":
    case "<=":
    case "range":
      return true;
    case "match": {
      const [pattern] = clause.operands;
      if (clause.ignoreCase || typeof pattern !== "string") return false;
      const { prefix, exact } = globPrefix(pattern);
      return exact || prefix !== "";
    }
    default:
      return false;
  }
}

/**
 * Whether the interval of the clause has exactly the values that satisfy it, so that they need not
 * be tested.
 *
 * @param clause A clause that bounds its column.
 * @param values Its operands.
 */
export function isExact(clause: Clause, values: readonly Value[]): boolean {
  if (clause.operator !== "match") return true;
  const [pattern] = values;
  if (clause.ignoreCase || typeof pattern !== "string") return false;
  const { exact, open, prefix } = globPrefix(pattern);
  return exact || (open && prefix !== "");
}

/**
 * Returns the values that satisfy all bounding clauses in `clauses`; clauses that bound nothing
 * count for nothing.
 *
 * @param clauses Clauses on one column.
 * @param values The operands of each clause, in the same order.
 */
export function mergeBounds(
  clauses: readonly Clause[],
  values: readonly (readonly Value[])[],
): Interval {
  const interval = { low: undefined, lowInclusive: false, high: undefined, highInclusive: false };
  for (let at = 0; at < clauses.length; at += 1) {
    const clause = clauses[at];
    const operands = values[at];
    if (clause !== undefined && operands !== undefined) narrow(interval, clause, operands);
  }
  return interval;
}

/** Whether no value at all lies in the interval. */
export function isEmpty(interval: Interval): boolean {
  const { low, high } = interval;
  if (low === undefined || high === undefined) return false;
  const order = compareValues(low, high);
  return order > 0 || (order === 0 && !(interval.lowInclusive && interval.highInclusive));
}

/** Whether `value` lies in the interval. */
export function contains(interval: Interval, value: Value): boolean {
  if (interval.low !== undefined) {
    const order = compareValues(value, interval.low);
    if (order < 0 || (order === 0 && !interval.lowInclusive)) return false;
  }
  if (interval.high !== undefined) {
    const order = compareValues(value, interval.high);
    if (order > 0 || (order === 0 && !interval.highInclusive)) return false;
  }
  return true;
}

/** Whether a row that is null in the clause's column can be in the result as far as it goes. */
export function admitsNull(clause: Clause): boolean {
  return clause.operator === "null" || clause.nullSatisfies;
}

/**
 * Returns the first column whose clauses contradict each other, so that no row can satisfy them, or
 * -1.
 *
 * @param table The table.
 * @param clauses All clauses of a query.
 * @param values The operands of each clause, in the same order.
 */
export function findContradiction(
  table: TableMeta,
  clauses: readonly Clause[],
  values: readonly (readonly Value[])[],
): number {
  for (const [at, clause] of clauses.entries()) {
    // Each column is examined once, at its first clause.
    let first = 0;
    while (clauses[first]?.column !== clause.column) first += 1;
    if (first !== at) continue;
    const numbers = clausesOn(clauses, clause.column);
    const own = numbers.map((number) => clauses[number] ?? clause);
    const ownValues = numbers.map((number) => values[number] ?? []);
    if (contradicts(columnOf(table, clause.column), own, ownValues)) return clause.column;
  }
  return -1;
}

/** Returns the numbers of the clauses on a column, ascending. */
export function clausesOn(clauses: readonly Clause[], column: number): number[] {
  const numbers: number[] = [];
  for (const [number, clause] of clauses.entries()) {
    if (clause.column === column) numbers.push(number);
  }
  return numbers;
}

/** Whether a value can stand in the column at all: text longer than its capacity cannot. */
export function fits(column: ColumnMeta, value: Value): boolean {
  if (typeof value === "string") return utf8Size(value) <= column.capacity;
  return !(value instanceof Uint8Array) || value.length <= column.capacity;
}

/** Whether no row satisfies all of `clauses`, which are on one column. */
function contradicts(
  column: ColumnMeta,
  clauses: readonly Clause[],
  values: readonly (readonly Value[])[],
): boolean {
  if (clauses.some((clause) => clause.operator === "null")) {
    return !column.nullable || !clauses.every(admitsNull);
  }
  // Only clauses that reject nulls can contradict: a lower bound alone is always satisfiable.
  if (clauses.some(neverMatches)) return true;
  const interval = mergeBounds(clauses, values);
  if (isEmpty(interval)) return true;
  let allowed: readonly Value[] | undefined;
  for (const [at, clause] of clauses.entries()) {
    const wanted = equalValues(clause, values[at] ?? []);
    if (wanted === undefined) continue;
    // Seeing a contradiction saves work; looking for it must not cost more.
    if (allowed !== undefined && allowed.length * wanted.length > pairsComparedMax) continue;
    allowed = allowed === undefined
      ? wanted.filter((value) => fits(column, value) && contains(interval, value))
      : allowed.filter((value) => wanted.some((other) => compareValues(value, other) === 0));
  }
  if (allowed === undefined) return false;
  const rest = allowed.filter((value) =>
    !clauses.some((clause, at) => clause.operator === "!=" && isSame(values[at]?.[0], value))
  );
  return rest.length === 0;
}

function neverMatches(clause: Clause): boolean {
  const [pattern] = clause.operands;
  return clause.operator === "match" && typeof pattern === "string" && globPrefix(pattern).never;
}

/** Returns the only values that the clause lets through, or undefined if it names none. */
function equalValues(clause: Clause, values: readonly Value[]): readonly Value[] | undefined {
  switch (clause.operator) {
    case "=":
    case "in":
      return values;
    case "true":
      return [true];
    case "false":
      return [false];
    default:
      return undefined;
  }
}

function isSame(a: Value | undefined, b: Value): boolean {
  return a !== undefined && compareValues(a, b) === 0;
}

function narrow(interval: Interval, clause: Clause, values: readonly Value[]): void {
  const [first, second] = values;
  if (first === undefined) return;
  switch (clause.operator) {
    case ">":
    case ">=":
      raise(interval, first, clause.operator === ">=");
      break;
    case "<":
    case "<=":
      lower(interval, first, clause.operator === "<=");
      break;
    case "range":
      raise(interval, first, true);
      if (second !== undefined) lower(interval, second, false);
      break;
    case "match":
      if (!clause.ignoreCase && typeof first === "string") narrowToGlob(interval, first);
      break;
    default:
      break;
  }
}

function narrowToGlob(interval: Interval, pattern: string): void {
  const { prefix, exact } = globPrefix(pattern);
  if (exact) {
    raise(interval, prefix, true);
    lower(interval, prefix, true);
    return;
  }
  if (prefix === "") return;
  raise(interval, prefix, true);
  const end = prefixEnd(prefix);
  if (end !== undefined) lower(interval, end, false);
}

function raise(interval: Interval, low: Value, inclusive: boolean): void {
  const order = interval.low === undefined ? 1 : compareValues(low, interval.low);
  if (order > 0) {
    interval.low = low;
    interval.lowInclusive = inclusive;
  } else if (order === 0) {
    interval.lowInclusive = interval.lowInclusive && inclusive;
  }
}

function lower(interval: Interval, high: Value, inclusive: boolean): void {
  const order = interval.high === undefined ? -1 : compareValues(high, interval.high);
  if (order < 0) {
    interval.high = high;
    interval.highInclusive = inclusive;
  } else if (order === 0) {
    interval.highInclusive = interval.highInclusive && inclusive;
  }
}

function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const left = a.charCodeAt(at);
    const right = b.charCodeAt(at);
    if (left === right) continue;
    // Surrogates stand for code points above all others, but below U+E000 as units.
    const leftHigh = left >= 0xd800 && left <= 0xdfff;
    const rightHigh = right >= 0xd800 && right <= 0xdfff;
    if (leftHigh !== rightHigh) return leftHigh ? 1 : -1;
    return left - right;
  }
  return a.length - b.length;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
