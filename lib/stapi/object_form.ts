/**
 * The object form of a search: the same query as a search string, with values instead of words and
 * with types that the compiler checks.
 *
 * @module
 */

import type { TableMeta } from "../query/table_meta.ts";
import type { Query } from "./ast.ts";
import { type Item, QueryDraft } from "./draft.ts";
import { describe } from "./atoms.ts";
import type { ReadOptions } from "./parser.ts";
import { type Place, QueryError } from "./query_error.ts";

/** The names of the columns of a row type. */
export type Field<Row> = keyof Row & string;

/** What a column can be compared with: never null; int64 columns also take plain numbers. */
export type OperandOf<Value> = NonNullable<Value> extends bigint ? bigint | number
  : NonNullable<Value> extends Uint8Array ? Uint8Array
  : NonNullable<Value>;

/** Operators that compare a column with one value. */
export type CompareOperator = "=" | "==" | "!=" | "<>" | ">" | ">=" | "<" | "<=";

/** Operators that compare a text column with a glob. */
export type GlobOperator =
  | "match"
  | "notmatch"
  | "imatch"
  | "notimatch"
  | "match_case"
  | "notmatch_case";

/** Operators that ask whether a column is null. */
export type NullOperator = "null" | "notnull";

/** Operators that ask what a boolean column is. */
export type BoolOperator = "true" | "false";

/** The names of the columns of a row type that hold a `Kind`. */
export type FieldOf<Row, Kind> = {
  [Name in Field<Row>]: NonNullable<Row[Name]> extends Kind ? Name : never;
}[Field<Row>];

/** One clause of the object form, such as `[">=", "altitude", 10000]`. */
export type CompareClause<Row> =
  | readonly [NullOperator, Field<Row>]
  | readonly [BoolOperator, FieldOf<Row, boolean>]
  | readonly [GlobOperator, FieldOf<Row, string>, string]
  | {
    [Name in Field<Row>]:
      | readonly [CompareOperator, Name, OperandOf<Row[Name]>]
      | readonly ["in", Name, readonly OperandOf<Row[Name]>[]]
      | readonly ["range", Name, OperandOf<Row[Name]>, OperandOf<Row[Name]>];
  }[Field<Row>];

/** A sort field; `-` before it means descending. */
export type SortField<Row> = Field<Row> | `-${Field<Row>}`;

/** A search in the object form. */
export interface SearchQuery<Row> {
  /** Conditions; a row must satisfy all of them. Default: none. */
  readonly compare?: readonly CompareClause<Row>[];
  /** Sort fields, most important first. Default: no particular order. */
  readonly sort?: SortField<Row> | readonly SortField<Row>[];
  /** Most rows to give. Default: all. */
  readonly limit?: number;
  /** Rows to leave out first. Default: 0. */
  readonly offset?: number;
  /** Columns to give. Default: all. */
  readonly fields?: readonly Field<Row>[];
  /** Whether only the number of rows is wanted. Default: false. */
  readonly countOnly?: boolean;
  /** A hint: a column whose index to use if that is possible. Default: the planner decides. */
  readonly index?: Field<Row>;
}

/**
 * Reads the object form of a search.
 *
 * @param search The search. Its shape is checked here again, because it may come from JSON.
 * @param table The table that is searched.
 * @param options See {@linkcode ReadOptions}.
 * @returns The query, its names and values resolved.
 * @throws {AerostoreError} As for a search string; the message names the path of what is at fault.
 *
 * @example Read a search object
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSearch } from "./object_form.ts";
 * import { tableMeta } from "../query/table_meta.ts";
 *
 * const table = tableMeta({
 *   id: 0,
 *   name: "Flight",
 *   primaryKey: 0,
 *   columns: [{ name: "flight_id", kind: "text", capacity: 16 }],
 * });
 * const query = readSearch({ compare: [["in", "flight_id", ["UAL1", "UAL2"]]], limit: 1 }, table);
 * assert.deepEqual(query.clauses[0]?.operands, ["UAL1", "UAL2"]);
 * ```
 */
export function readSearch<Row>(
  search: SearchQuery<Row>,
  table: TableMeta,
  options: ReadOptions = {},
): Query {
  checkPlain(search);
  const parameters = options.parameters ?? false;
  const draft = new QueryDraft(table, options.dialect ?? "default");
  for (const [key, value] of Object.entries(search)) {
    if (value !== undefined) readPart(draft, key, value, parameters);
  }
  return draft.finish();
}

/**
 * Refuses what has no options at all, such as a promise of a search: it would find every row, and
 * `deleteWhere` would delete them.
 */
function checkPlain(search: unknown): void {
  if (typeof search === "object" && search !== null) {
    const prototype: unknown = Object.getPrototypeOf(search);
    // The prototype of plain objects, of any realm, has none itself.
    if (prototype === null || Object.getPrototypeOf(prototype) === null) return;
  }
  throw new QueryError(
    "invalid_query",
    `a search is a string or a plain object, not ${describe(search)}`,
    placeOf(""),
  );
}

/**
 * Adds one clause of the object form to a draft.
 *
 * @param draft Where it goes.
 * @param clause `[operator, field, ...operands]`.
 * @param path What an error calls it.
 * @param parameters Whether text such as `$1` is the place of a value.
 */
export function addObjectClause(
  draft: QueryDraft,
  clause: readonly unknown[],
  path: string,
  parameters: boolean,
): void {
  const readList = (item: Item): Item[] => itemsOf(item.value, item.place.word, parameters);
  draft.addClause(itemsOf(clause, path, parameters), placeOf(path), readList);
}

function readPart(draft: QueryDraft, key: string, value: unknown, parameters: boolean): void {
  switch (key) {
    case "compare":
      readCompare(draft, value, parameters);
      break;
    case "sort":
      draft.setSort(itemsOf(typeof value === "string" ? [value] : value, key, false));
      break;
    case "limit":
      // JSON has no undefined; null is what a form without a limit sends.
      if (value !== null) draft.setLimit(itemOf(value, key, parameters));
      break;
    case "offset":
      draft.setOffset(itemOf(value, key, parameters));
      break;
    case "fields":
      draft.setFields(itemsOf(value, key, false), placeOf(key));
      break;
    case "countOnly":
      if (typeof value !== "boolean") {
        throw new QueryError("invalid_query", "'countOnly' expects a boolean", placeOf(key));
      }
      draft.setCountOnly(value);
      break;
    case "index":
      draft.setHint(itemOf(value, key, false));
      break;
    default:
      throw new QueryError("unknown_option", `unknown STAPI option '${key}'`, placeOf(""));
  }
}

function readCompare(draft: QueryDraft, value: unknown, parameters: boolean): void {
  const clauses = arrayOf(value, "compare");
  if (typeof clauses[0] === "string") {
    addObjectClause(draft, clauses, "compare", parameters); // A single bare clause.
    return;
  }
  for (const [at, clause] of clauses.entries()) {
    const path = `compare[${at}]`;
    addObjectClause(draft, arrayOf(clause, path), path, parameters);
  }
}

function arrayOf(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value as readonly unknown[];
  throw new QueryError("invalid_query", `'${path}' expects an array`, placeOf(path));
}

function itemsOf(value: unknown, path: string, parameters: boolean): Item[] {
  return arrayOf(value, path).map((item, at) => itemOf(item, `${path}[${at}]`, parameters));
}

/** Returns a value of the object form as an item of a draft; `path` is what an error calls it. */
export function itemOf(value: unknown, path: string, parameters: boolean): Item {
  const isPlace = parameters && typeof value === "string" && /^\$[1-9]\d{0,2}$/.test(value);
  return { value, place: placeOf(path), parameter: isPlace ? Number(value.slice(1)) : 0 };
}

function placeOf(path: string): Place {
  return { offset: -1, word: path };
}
