/**
 * The operators of `-compare`: their spellings, how many items each takes, and on what.
 *
 * @module
 */

import type { ColumnKind } from "../query/table_meta.ts";
import type { Dialect, Operator } from "./ast.ts";

/** What a spelling of an operator stands for. */
export interface OperatorMeaning {
  /** The operator. */
  readonly operator: Operator;
  /** Items of a clause, the operator and the field included. */
  readonly items: number;
  /** Whether a glob ignores case; `speedtables` where only that dialect does. */
  readonly ignoreCase: boolean | "speedtables";
}

function meaning(
  operator: Operator,
  items: number,
  ignoreCase: OperatorMeaning["ignoreCase"] = false,
): OperatorMeaning {
  return { operator, items, ignoreCase };
}

/** Every spelling, in lower case. */
const operators: ReadonlyMap<string, OperatorMeaning> = new Map([
  ["null", meaning("null", 2)],
  ["notnull", meaning("notnull", 2)],
  ["true", meaning("true", 2)],
  ["false", meaning("false", 2)],
  ["=", meaning("=", 3)],
  ["==", meaning("=", 3)],
  ["!=", meaning("!=", 3)],
  ["<>", meaning("!=", 3)],
  [">", meaning(">", 3)],
  [">=", meaning(">=", 3)],
  ["<", meaning("<", 3)],
  ["<=", meaning("<=", 3)],
  ["in", meaning("in", 3)],
  ["range", meaning("range", 4)],
  ["match", meaning("match", 3, "speedtables")],
  ["notmatch", meaning("notmatch", 3, "speedtables")],
  ["imatch", meaning("match", 3, true)],
  ["notimatch", meaning("notmatch", 3, true)],
  ["match_case", meaning("match", 3)],
  ["notmatch_case", meaning("notmatch", 3)],
]);

/**
 * Returns what `spelling` stands for, in any case; undefined if it is no operator.
 */
export function findOperator(spelling: string): OperatorMeaning | undefined {
  return operators.get(spelling.toLowerCase());
}

/** Whether the globs of this meaning ignore case in a dialect. */
export function ignoresCase(meaning: OperatorMeaning, dialect: Dialect): boolean {
  return meaning.ignoreCase === true || meaning.ignoreCase === dialect;
}

/** Whether nulls satisfy the operator in a dialect: speedtables sorts them high. */
export function nullSatisfies(operator: Operator, dialect: Dialect): boolean {
  if (operator === "null") return true;
  if (dialect === "default") return false;
  return operator === ">" || operator === ">=" || operator === "!=";
}

/** Returns the only kind that an operator works on, or undefined if it works on all. */
export function requiredKind(operator: Operator): ColumnKind | undefined {
  if (operator === "match" || operator === "notmatch") return "text";
  if (operator === "true" || operator === "false") return "bool";
  return undefined;
}
