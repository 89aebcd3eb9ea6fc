/**
 * What a query means, as plainly as it can be said: a filter, a sort and a slice over an array of
 * rows. The engine must give the same answer by every route.
 *
 * It takes the query after parsing and shares no code with the planner, the encoder or the engine.
 */

import { Buffer } from "node:buffer";
import type { Clause, Query, SortKey, Value } from "../../lib/stapi/ast.ts";
import type { TableMeta } from "../../lib/query/table_meta.ts";

/** A row of the model. */
export type ModelRow = Readonly<Record<string, Value | null>>;

/**
 * Returns the rows that `query` gives, in order. Where the query asks for no order, rows come by
 * ascending primary key.
 *
 * @param query The query.
 * @param rows All rows of the table, in any order.
 * @param args The values of its parameters, already of the types of their columns.
 */
export function runModel(
  query: Query,
  rows: readonly ModelRow[],
  args: readonly unknown[] = [],
): ModelRow[] {
  const { table } = query;
  const found = rows.filter((row) =>
    query.clauses.every((clause) => satisfies(table, clause, row, args))
  );
  found.sort((a, b) => compareRows(table, query.sort, a, b));
  const offset = Number(resolve(query.offset, args)[0]);
  const limit = query.limit === null ? null : Number(resolve(query.limit, args)[0]);
  const unlimited = limit === null || (limit === 0 && query.dialect === "speedtables");
  const slice = found.slice(offset, unlimited ? undefined : offset + limit);
  return query.fields === null ? slice : slice.map((row) => pick(table, query.fields ?? [], row));
}

/** Whether a row satisfies a clause. */
export function satisfies(
  table: TableMeta,
  clause: Clause,
  row: ModelRow,
  args: readonly unknown[] = [],
): boolean {
  const value = row[columnName(table, clause.column)] ?? null;
  const { operator } = clause;
  if (operator === "null") return value === null;
  if (value === null) return clause.nullSatisfies;
  const operands = clause.operands.flatMap((operand) => resolve(operand, args));
  const [first = "", second = ""] = operands;
  switch (operator) {
    case "notnull":
      return true;
    case "true":
      return value === true;
    case "false":
      return value === false;
    case "=":
      return order(value, first) === 0;
    case "!=":
      return order(value, first) !== 0;
    case ">":
      return order(value, first) > 0;
    case ">=":
      return order(value, first) >= 0;
    case "<":
      return order(value, first) < 0;
    case "<=":
      return order(value, first) <= 0;
    case "in":
      return operands.some((operand) => order(value, operand) === 0);
    case "range":
      return order(value, first) >= 0 && order(value, second) < 0;
    case "match":
      return matchGlob(String(first), String(value), clause.ignoreCase);
    case "notmatch":
      return !matchGlob(String(first), String(value), clause.ignoreCase);
  }
}

/**
 * Tcl's `string match`, character by character.
 *
 * @param pattern `*`, `?`, `[a-z]` (either end may be the larger), `\x`; a set that is not closed
 * ends with the pattern.
 * @param text What is matched, as a whole.
 * @param ignoreCase Whether letters match whatever their case.
 */
export function matchGlob(pattern: string, text: string, ignoreCase = false): boolean {
  const points = (source: string): string[] =>
    Array.from(source, (character) => ignoreCase ? lowerCase(character) : character);
  return matchFrom(points(pattern), 0, points(text), 0);
}

function matchFrom(pattern: string[], p: number, text: string[], t: number): boolean {
  const wanted = pattern[p];
  if (wanted === undefined) return t === text.length;
  if (wanted === "*") {
    for (let rest = t; rest <= text.length; rest += 1) {
      if (matchFrom(pattern, p + 1, text, rest)) return true;
    }
    return false;
  }
  const character = text[t];
  if (character === undefined) return false;
  if (wanted === "?") return matchFrom(pattern, p + 1, text, t + 1);
  if (wanted === "[") {
    const end = matchSet(pattern, p + 1, character);
    return end >= 0 && matchFrom(pattern, end, text, t + 1);
  }
  const literal = wanted === "\\" ? p + 1 : p;
  return pattern[literal] === character && matchFrom(pattern, literal + 1, text, t + 1);
}

/** Returns the index behind the set that begins at `p` if `character` is in it, else -1. */
function matchSet(pattern: string[], p: number, character: string): number {
  for (let at = p; at < pattern.length && pattern[at] !== "]";) {
    const first = pattern[at] ?? "";
    let last = first;
    at += 1;
    if (pattern[at] === "-") {
      const end = pattern[at + 1];
      if (end === undefined) return -1;
      last = end;
      at += 2;
    }
    const inside = order(first, character) <= 0 && order(character, last) <= 0;
    const reversed = order(last, character) <= 0 && order(character, first) <= 0;
    if (!inside && !reversed) continue;
    while (at < pattern.length && pattern[at] !== "]") at += 1;
    return at + 1;
  }
  return -1;
}

/** One character in lower case; U+0130, the only one that would become two, gives the first. */
function lowerCase(character: string): string {
  return Array.from(character.toLowerCase())[0] ?? character;
}

function compareRows(
  table: TableMeta,
  sort: readonly SortKey[],
  a: ModelRow,
  b: ModelRow,
): number {
  for (const key of sort) {
    const name = columnName(table, key.column);
    const left = a[name] ?? null;
    const right = b[name] ?? null;
    if (left === null && right === null) continue;
    if (left === null) return key.nullsFirst ? -1 : 1;
    if (right === null) return key.nullsFirst ? 1 : -1;
    const difference = order(left, right);
    if (difference !== 0) return key.descending ? -difference : difference;
  }
  const name = columnName(table, table.primaryKey);
  return order(a[name] ?? "", b[name] ?? "");
}

/** Orders two values of one column: text by UTF-8 bytes. */
export function order(a: Value, b: Value): number {
  if (typeof a === "string" && typeof b === "string") return Buffer.compare(utf8(a), utf8(b));
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b);
  return a < b ? -1 : a > b ? 1 : 0;
}

const encoder = new TextEncoder();

function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

function resolve(operand: unknown, args: readonly unknown[]): Value[] {
  if (typeof operand === "object" && operand !== null && "parameter" in operand) {
    const value = args[Number(operand.parameter) - 1];
    return (Array.isArray(value) ? value : [value]) as Value[];
  }
  return [operand as Value];
}

function columnName(table: TableMeta, number: number): string {
  return table.columns[number]?.name ?? "";
}

function pick(table: TableMeta, fields: readonly number[], row: ModelRow): ModelRow {
  return Object.fromEntries(fields.map((field) => {
    const name = columnName(table, field);
    return [name, row[name] ?? null];
  }));
}
