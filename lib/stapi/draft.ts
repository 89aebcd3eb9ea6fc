/**
 * Collects the parts of one query, checks each against the table, and gives the finished tree. The
 * parser of search strings, the object form and the builder all fill a draft, so that a rule is
 * checked in one place and its error reads the same everywhere.
 *
 * @module
 */

import { columnOf, noColumn, type TableMeta } from "../query/table_meta.ts";
import type { Clause, Dialect, Operand, Parameter, Query, SortKey } from "./ast.ts";
import { coerceValue } from "./atoms.ts";
import { findOperator, ignoresCase, nullSatisfies, requiredKind } from "./operators.ts";
import { type Place, QueryError, shorten } from "./query_error.ts";

/** A value of a query as its author wrote it, and where. */
export interface Item {
  /** A word of the search string, or any JavaScript value. */
  readonly value: unknown;
  /** Where it stands. */
  readonly place: Place;
  /** The number n of `$n` where parameters are allowed, else 0. */
  readonly parameter: number;
}

/** Splits the list operand of `in`, the third item of a clause; throws if it is no list. */
export type ListReader = (item: Item) => readonly Item[];

/** A sort field as written, before the dialect says where its nulls go. */
interface SortField {
  readonly column: number;
  readonly descending: boolean;
}

/** The parts of a query that may be given once. */
interface Parts {
  limit: number | Parameter | null;
  offset: number | Parameter;
  fields: readonly number[] | null;
  countOnly: boolean;
  hint: number | null;
}

/** A query in the making. */
export class QueryDraft {
  readonly #table: TableMeta;
  readonly #dialect: Dialect;
  #clauses: Clause[] = [];
  #sort: readonly SortField[] = [];
  #reversed: Place | null = null;
  readonly #parts: Parts = { limit: null, offset: 0, fields: null, countOnly: false, hint: null };
  /** The place of the first use of each parameter. */
  readonly #parameters = new Map<number, Place>();

  /**
   * Starts a query for all rows.
   *
   * @param table The table that is searched.
   * @param dialect The rules to follow.
   */
  constructor(table: TableMeta, dialect: Dialect) {
    this.#table = table;
    this.#dialect = dialect;
  }

  /** Returns a draft that goes on from here by itself. */
  clone(): QueryDraft {
    const copy = new QueryDraft(this.#table, this.#dialect);
    copy.#clauses = [...this.#clauses];
    copy.#sort = this.#sort;
    copy.#reversed = this.#reversed;
    Object.assign(copy.#parts, this.#parts);
    for (const [number, place] of this.#parameters) copy.#parameters.set(number, place);
    return copy;
  }

  /** Forgets all clauses: a repeated `-compare` of the speedtables dialect. */
  clearClauses(): void {
    this.#clauses = [];
  }

  /**
   * Adds one clause.
   *
   * @param items The operator, the field, and the operands.
   * @param place The whole clause.
   * @param readList Reads the operand of `in`.
   */
  addClause(items: readonly Item[], place: Place, readList: ListReader): void {
    const [first, second, ...operands] = items;
    if (first === undefined) throw new QueryError("invalid_query", "empty compare clause", place);
    const spelling = typeof first.value === "string" ? first.value : String(first.value);
    const found = findOperator(spelling);
    if (found === undefined) {
      const message = `unsupported compare operator '${shorten(spelling)}'`;
      throw new QueryError("unsupported_operator", message, first.place);
    }
    if (second === undefined || items.length !== found.items) {
      const counts = `exactly ${found.items} items, got ${items.length}`;
      throw new QueryError("wrong_arity", `operator '${spelling}' expects ${counts}`, place);
    }
    const { operator } = found;
    const number = this.#column(second);
    const column = columnOf(this.#table, number);
    const kind = requiredKind(operator);
    if (kind !== undefined && column.kind !== kind) {
      const message = `operator '${spelling}' needs a ${kind} column, and "${column.name}" is ` +
        column.kind;
      throw new QueryError("type_mismatch", message, second.place);
    }
    const list = operator === "in" ? this.#inList(operands, readList) : operands;
    this.#clauses.push({
      operator,
      column: number,
      operands: list.map((operand) => this.#operand(number, operand)),
      ignoreCase: ignoresCase(found, this.#dialect),
      // A column without nulls has none to let through, which frees the planner.
      nullSatisfies: column.nullable && nullSatisfies(operator, this.#dialect),
    });
  }

  /** Replaces the sort fields; `-` before a name means descending. */
  setSort(items: readonly Item[]): void {
    const sort: SortField[] = [];
    for (const item of items) {
      const text = typeof item.value === "string" ? item.value : String(item.value);
      const descending = text.startsWith("-");
      const column = this.#column(descending ? { ...item, value: text.slice(1) } : item);
      // A second mention of a field can decide nothing.
      if (!sort.some((key) => key.column === column)) sort.push({ column, descending });
    }
    this.#sort = sort;
  }

  /** Reverses the sort (`-desc`, with its place), or not (`-asc`, null). */
  setReversed(place: Place | null): void {
    this.#reversed = place;
  }

  /** Sets the most rows to give. */
  setLimit(item: Item): void {
    const limit = this.#whole(item, "-limit");
    // The value of a parameter comes later; the planner reads 0 by the dialect then.
    this.#parts.limit = limit === 0 && this.#dialect === "speedtables" ? null : limit;
  }

  /** Sets the rows to leave out first. */
  setOffset(item: Item): void {
    this.#parts.offset = this.#whole(item, "-offset");
  }

  /** Sets the columns to give. */
  setFields(items: readonly Item[], place: Place): void {
    if (items.length === 0) {
      throw new QueryError("invalid_query", "'-fields' names no field", place);
    }
    this.#parts.fields = [...new Set(items.map((item) => this.#column(item)))];
  }

  /** Sets whether only the number of rows is wanted. */
  setCountOnly(countOnly: boolean): void {
    this.#parts.countOnly = countOnly;
  }

  /** Sets the column whose index to use if that is possible. */
  setHint(item: Item): void {
    this.#parts.hint = this.#column(item);
  }

  /**
   * Returns the finished query.
   *
   * @throws {AerostoreError} With `invalid_query` if parts contradict each other, and with
   * `unknown_parameter` if a parameter is skipped, as `$1` and `$3` without `$2` do.
   */
  finish(): Query {
    if (this.#reversed !== null && this.#sort.length !== 1) {
      const message = `'-desc' reverses a sort by one field, and this one has ${this.#sort.length}`;
      throw new QueryError("invalid_query", message, this.#reversed);
    }
    const parameterCount = this.#parameters.size;
    for (const [number, place] of this.#parameters) {
      if (number > parameterCount) {
        let missing = 1;
        while (this.#parameters.has(missing)) missing += 1;
        const message = `'$${number}' is used, but '$${missing}' is not`;
        throw new QueryError("unknown_parameter", message, place);
      }
    }
    return {
      table: this.#table,
      dialect: this.#dialect,
      clauses: [...this.#clauses],
      sort: this.#sort.map((key) =>
        sortKey(
          this.#table,
          this.#dialect,
          key.column,
          key.descending !== (this.#reversed !== null),
        )
      ),
      ...this.#parts,
      parameterCount,
    };
  }

  #column(item: Item): number {
    const name = typeof item.value === "string" ? item.value : String(item.value);
    const number = this.#table.byName.get(name);
    if (number === undefined) {
      const message = noColumn(this.#table, `'${shorten(name)}'`);
      throw new QueryError("unknown_column", message, item.place);
    }
    return number;
  }

  #inList(operands: readonly Item[], readList: ListReader): readonly Item[] {
    const [list] = operands;
    return list === undefined || list.parameter !== 0 ? operands : readList(list);
  }

  #operand(column: number, item: Item): Operand {
    if (item.parameter === 0) {
      return coerceValue(this.#table, column, item.value, item.place);
    }
    return this.#parameter(item);
  }

  #parameter(item: Item): Parameter {
    if (!this.#parameters.has(item.parameter)) this.#parameters.set(item.parameter, item.place);
    return { parameter: item.parameter };
  }

  #whole(item: Item, option: string): number | Parameter {
    return item.parameter === 0 ? readWhole(item.value, option, item.place) : this.#parameter(item);
  }
}

/**
 * Returns the value of `-limit` or `-offset`.
 *
 * @throws {AerostoreError} With `invalid_query` unless it is a whole number from 0 to 2^53 - 1.
 */
export function readWhole(value: unknown, option: string, place: Place): number {
  let number = NaN;
  if (typeof value === "number") number = value;
  else if (typeof value === "bigint") number = Number(value);
  else if (typeof value === "string" && /^\+?\d+$/.test(value)) number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) {
    const message = `'${option}' expects a whole number, 0 or more, got '${
      shorten(String(value))
    }'`;
    throw new QueryError("invalid_query", message, place);
  }
  return number;
}

/**
 * Returns how a field sorts by the rules of a dialect.
 *
 * In the default dialect nulls come after every value, and so before them when descending. In
 * speedtables the same holds for numbers and booleans; null text comes first, last when descending;
 * and true comes before false.
 */
export function sortKey(
  table: TableMeta,
  dialect: Dialect,
  column: number,
  descending: boolean,
): SortKey {
  if (dialect === "default") return { column, descending, nullsFirst: descending };
  const { kind } = columnOf(table, column);
  const isText = kind === "text" || kind === "bytes";
  return {
    column,
    descending: kind === "bool" ? !descending : descending,
    nullsFirst: isText ? !descending : descending,
  };
}
