/**
 * The values of one run of a query: its literals, and what the caller gave for `$1`, `$2` ...
 *
 * @module
 */

import { type Clause, isParameter, type Operand, type Query, type Value } from "../stapi/ast.ts";
import { coerceValue } from "../stapi/atoms.ts";
import { readWhole } from "../stapi/draft.ts";
import { type Place, QueryError } from "../stapi/query_error.ts";

/**
 * Holds the operands of each clause. One object serves all runs of a query: `bind` overwrites the
 * values of the last run, so nobody may keep them.
 */
export class Bindings {
  readonly #query: Query;
  /** Numbers of the clauses that have parameters. */
  readonly #open: readonly number[];
  readonly #values: Value[][];
  readonly #places: readonly Place[];
  #limit: number;
  #offset: number;

  /**
   * Takes the literals of a query.
   *
   * @param query The query to bind.
   */
  constructor(query: Query) {
    this.#query = query;
    const numbers = [...query.clauses.keys()];
    this.#open = numbers.filter((number) => query.clauses[number]?.operands.some(isParameter));
    this.#values = query.clauses.map((clause) =>
      clause.operands.filter((operand): operand is Value => !isParameter(operand))
    );
    this.#places = Array.from({ length: query.parameterCount }, (_, at) => ({
      offset: -1,
      word: `$${at + 1}`,
    }));
    this.#limit = typeof query.limit === "number" ? query.limit : -1;
    this.#offset = typeof query.offset === "number" ? query.offset : 0;
  }

  /** The operands of each clause, in the order of the clauses. */
  get values(): readonly (readonly Value[])[] {
    return this.#values;
  }

  /** Most rows to give, -1 for all. */
  get limit(): number {
    return this.#limit;
  }

  /** Rows to leave out first. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Takes the values of a run.
   *
   * @param args The value of `$1` first. An array stands for the whole list of an `in`.
   * @throws {AerostoreError} With `unknown_parameter` if there are too few or too many, and as for
   * literals if one does not suit its column.
   */
  bind(args: readonly unknown[]): void {
    this.bindRange(args);
    const { clauses } = this.#query;
    for (const number of this.#open) {
      const clause = clauses[number];
      const values = this.#values[number];
      if (clause !== undefined && values !== undefined) this.#bindClause(clause, values, args);
    }
  }

  /**
   * Takes only the limit and the offset of a run.
   *
   * @param args As for {@linkcode Bindings.bind}.
   * @throws {AerostoreError} As {@linkcode Bindings.bind} does for them.
   */
  bindRange(args: readonly unknown[]): void {
    const { parameterCount, limit, offset } = this.#query;
    if (args.length !== parameterCount) {
      const message = `The query has ${count(parameterCount, "parameter")}, ` +
        `and ${count(args.length, "value")} ${args.length === 1 ? "was" : "were"} given`;
      throw new QueryError("unknown_parameter", message, { offset: -1, word: "" });
    }
    if (isParameter(limit)) this.#limit = this.#bindLimit(limit.parameter, args);
    if (isParameter(offset)) {
      this.#offset = readWhole(
        args[offset.parameter - 1],
        "-offset",
        this.#place(offset.parameter),
      );
    }
  }

  #bindClause(clause: Clause, values: Value[], args: readonly unknown[]): void {
    const { operands, column } = clause;
    const [only] = operands;
    if (clause.operator === "in" && operands.length === 1 && isOpen(only)) {
      const list = args[only.parameter - 1];
      if (Array.isArray(list)) {
        values.length = list.length;
        for (let at = 0; at < list.length; at += 1) {
          values[at] = this.#coerce(column, list[at], only.parameter);
        }
        return;
      }
    }
    values.length = operands.length;
    for (let at = 0; at < operands.length; at += 1) {
      const operand = operands[at];
      if (operand === undefined) continue;
      values[at] = isParameter(operand)
        ? this.#coerce(column, args[operand.parameter - 1], operand.parameter)
        : operand;
    }
  }

  #bindLimit(parameter: number, args: readonly unknown[]): number {
    const limit = readWhole(args[parameter - 1], "-limit", this.#place(parameter));
    return limit === 0 && this.#query.dialect === "speedtables" ? -1 : limit;
  }

  #coerce(column: number, value: unknown, parameter: number): Value {
    return coerceValue(this.#query.table, column, value, this.#place(parameter));
  }

  #place(parameter: number): Place {
    return this.#places[parameter - 1] ?? { offset: -1, word: `$${parameter}` };
  }
}

function isOpen(operand: Operand | undefined): operand is { readonly parameter: number } {
  return operand !== undefined && isParameter(operand);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
