/**
 * Aggregates over the rows of a query: what may be asked, and how it crosses the border.
 *
 * @module
 */

import { AggregateFunction, Answer, AnswerState } from "../abi.ts";
import { AerostoreError, quote } from "../errors.ts";
import type { Memory } from "../memory.ts";
import type { Query } from "../stapi/ast.ts";
import type { Field, FieldOf } from "../stapi/object_form.ts";
import { QueryError } from "../stapi/query_error.ts";
import type { CompiledQuery } from "./compiler.ts";
import { type ColumnMeta, columnOf, noColumn, type TableMeta } from "./table_meta.ts";

/** One aggregate: the number of rows, or a function of the values of a column. */
export type Aggregate<Row> =
  | "count"
  | readonly ["count" | "min" | "max", Field<Row>]
  | readonly ["sum" | "avg", FieldOf<Row, number | bigint>];

/** Aggregates by the names that their results shall have. */
export type Aggregates<Row> = { readonly [name: string]: Aggregate<Row> };

/** The result of one aggregate. */
export type AggregateResult<Row, A> = A extends "count" | readonly ["count", unknown] ? number
  : A extends readonly ["min" | "max", infer Name extends keyof Row] ? NonNullable<Row[Name]> | null
  : A extends readonly ["sum", infer Name extends keyof Row] ?
      | (NonNullable<Row[Name]> extends bigint ? bigint : number)
      | null
  : A extends readonly ["avg", unknown] ? number | null
  : never;

/** The results of some aggregates, by their names. */
export type AggregateResults<Row, A> = {
  -readonly [Name in keyof A]: AggregateResult<Row, A[Name]>;
};

/** An aggregate with its column found. */
export interface AggregateRequest {
  /** What the library computes. */
  readonly function: keyof typeof AggregateFunction;
  /** Its column; that of the primary key for the number of rows. */
  readonly column: ColumnMeta;
  /** The number of the column. */
  readonly columnId: number;
}

/** More than the library takes at once would be a mistake. */
const requestsMax = 256;
const requestSize = 8;

const functions: ReadonlyMap<unknown, AggregateRequest["function"]> = new Map([
  ["count", "count_values"],
  ["min", "minimum"],
  ["max", "maximum"],
  ["sum", "sum"],
  ["avg", "average"],
]);

/**
 * Finds the columns of aggregates, and checks that they can be computed.
 *
 * @param table The table.
 * @param aggregates What the program wrote.
 * @returns The requests, in the order of the names.
 * @throws {AerostoreError} With `invalid_query`, `unknown_column`, or `type_mismatch` for a sum of
 * what is no number.
 */
export function readAggregates(
  table: TableMeta,
  aggregates: Readonly<Record<string, unknown>>,
): AggregateRequest[] {
  if (typeof aggregates !== "object" || aggregates === null) {
    const message = `Aggregates are an object, not ${quote(aggregates)}`;
    throw new QueryError("invalid_query", message, { offset: -1, word: "aggregate" });
  }
  const entries = Object.entries(aggregates);
  if (entries.length > requestsMax) {
    const message = `A query computes at most ${requestsMax} aggregates, not ${entries.length}`;
    throw new QueryError("invalid_query", message, { offset: -1, word: "aggregate" });
  }
  return entries.map(([name, aggregate]) => readAggregate(table, name, aggregate));
}

function readAggregate(table: TableMeta, name: string, aggregate: unknown): AggregateRequest {
  const place = { offset: -1, word: name };
  const { primaryKey } = table;
  if (aggregate === "count") {
    return { function: "count", column: columnOf(table, primaryKey), columnId: primaryKey };
  }
  const [word, field] = Array.isArray(aggregate) && aggregate.length === 2 ? aggregate : [];
  const found = functions.get(word);
  if (found === undefined) {
    const message =
      `An aggregate is "count", or one of ${[...functions.keys()].join(" ")} with a ` +
      `column, not ${quote(aggregate)}`;
    throw new QueryError("invalid_query", message, place);
  }
  const columnId = typeof field === "string" ? table.byName.get(field) : undefined;
  if (columnId === undefined) {
    throw new QueryError("unknown_column", noColumn(table, quote(field)), place);
  }
  const column = columnOf(table, columnId);
  const isNumber = column.kind !== "text" && column.kind !== "bytes" && column.kind !== "bool";
  if ((found === "sum" || found === "average") && !isNumber) {
    const message = `Column ${quote(column.name)} is ${column.kind}: only numbers have a ${word}`;
    throw new QueryError("type_mismatch", message, place);
  }
  return { function: found, column, columnId };
}

/** Returns the query whose rows the aggregates are computed from. */
export function aggregatedQuery(
  query: CompiledQuery,
  requests: readonly AggregateRequest[],
): CompiledQuery {
  const columns = [...new Set(requests.map((request) => request.columnId))];
  return query.variant(`aggregate ${columns.join()}`, (whole) => ({
    ...unordered(whole),
    countOnly: false,
    fields: columns,
  }));
}

/** Leaves the order out where it does not decide which rows there are. */
export function unordered(query: Query): Query {
  return query.limit === null && query.offset === 0 ? { ...query, sort: [] } : query;
}

/**
 * Returns the query whose only row has the least or greatest value, if an index gives it without
 * looking at the others.
 *
 * @param query The query.
 * @param request The aggregate.
 */
export function extremeQuery(
  query: CompiledQuery,
  request: AggregateRequest,
): CompiledQuery | undefined {
  const { function: which, column, columnId } = request;
  if (which !== "minimum" && which !== "maximum") return undefined;
  if (query.query.limit !== null || query.query.offset !== 0) return undefined;
  const descending = which === "maximum";
  const notNull = {
    operator: "notnull",
    column: columnId,
    operands: [],
    ignoreCase: false,
    nullSatisfies: false,
  } as const;
  const variant = query.variant(`${which} ${columnId}`, (whole) => ({
    ...whole,
    clauses: column.nullable ? [...whole.clauses, notNull] : whole.clauses,
    sort: [{ column: columnId, descending, nullsFirst: false }],
    limit: 1,
    countOnly: false,
    fields: [columnId],
  }));
  return variant.plan.ordering === "route" ? variant : undefined;
}

/**
 * Writes requests behind a plan.
 *
 * @param input The buffer.
 * @param at Where to write, a multiple of 8.
 * @param requests The requests.
 * @returns The offset behind them.
 * @throws {AerostoreError} With `invalid_query` if they do not fit.
 */
export function writeRequests(
  input: Memory,
  at: number,
  requests: readonly AggregateRequest[],
): number {
  const end = at + requests.length * requestSize;
  if (end > input.u8.length) {
    throw new AerostoreError("invalid_query", `The query needs more than ${at} bytes`);
  }
  for (const [index, request] of requests.entries()) {
    const word = at / 4 + index * 2;
    input.u32[word] = AggregateFunction[request.function] | (request.columnId << 8);
    input.u32[word + 1] = 0;
  }
  return end;
}

/**
 * Reads the answers.
 *
 * @param output The buffer in which they stand, from its start.
 * @param requests What was asked.
 * @param table The name of the table, for messages.
 * @returns The results in the order of the requests.
 * @throws {AerostoreError} With `unsafe_integer` if an integer does not fit a number exactly.
 */
export function readAnswers(
  output: Memory,
  requests: readonly AggregateRequest[],
  table: string,
): unknown[] {
  return requests.map((request, index) => readAnswer(output, index * Answer.size, request, table));
}

function readAnswer(
  output: Memory,
  at: number,
  request: AggregateRequest,
  table: string,
): unknown {
  const { view } = output;
  const { kind, bigint } = request.column;
  switch (view.getUint32(at + Answer.state, true)) {
    case AnswerState.integer: {
      const high = view.getBigInt64(at + Answer.high, true);
      const value = BigInt.asIntN(128, (high << 64n) | view.getBigUint64(at + Answer.low, true));
      const counts = request.function === "count" || request.function === "count_values";
      if (kind === "bool" && !counts) return value !== 0n;
      return bigint && !counts ? value : exactNumber(value, request, table);
    }
    case AnswerState.float:
      return view.getFloat64(at + Answer.low, true);
    case AnswerState.text: {
      const start = Number(view.getBigUint64(at + Answer.low, true));
      const end = start + view.getUint32(at + Answer.length, true);
      return kind === "bytes" ? output.u8.slice(start, end) : output.text(start, end);
    }
    default:
      return null;
  }
}

function exactNumber(value: bigint, request: AggregateRequest, table: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  const { column } = request;
  throw new AerostoreError(
    "unsafe_integer",
    `Cannot compute the ${request.function} of column ${quote(column.name)} of ${quote(table)}: ` +
      `no number is exactly ${value}; declare the column as t.int64({ as: "bigint" })`,
  );
}
