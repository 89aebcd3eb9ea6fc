/**
 * Checks of arguments that a program without a type checker may get wrong.
 *
 * An option that is misspelled would otherwise be as good as none, and a value of another kind the
 * `TypeError` of a runtime.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import type { Dialect } from "./stapi/ast.ts";

/** The dialects of searches. */
export const dialects: readonly Dialect[] = ["default", "speedtables"];

/** What an option may be that is on or off. */
export const booleans: readonly boolean[] = [true, false];

/**
 * Refuses options that are no object, or have a name that does not exist.
 *
 * @param options What was given.
 * @param names The names that exist.
 * @param attempt What is attempted, for the error.
 * @throws {AerostoreError} With `bad_argument`.
 */
export function checkOptionNames(
  options: unknown,
  names: ReadonlySet<string>,
  attempt: string,
): void {
  if (typeof options !== "object" || options === null) {
    throw badArgument(attempt, `options are an object, not ${quote(options)}`);
  }
  for (const name in options) {
    if (!names.has(name)) throw badArgument(attempt, `there is no option ${quote(name)}`);
  }
}

/**
 * Refuses a value that is none of some words.
 *
 * @param name What the value is called.
 * @param value The value; undefined will do.
 * @param words The words that it may be.
 * @param attempt What is attempted, for the error.
 * @throws {AerostoreError} With `bad_argument`.
 */
export function checkWord(
  name: string,
  value: unknown,
  words: readonly unknown[],
  attempt: string,
): void {
  if (value === undefined || words.includes(value)) return;
  const known = words.map((word) => quote(word));
  const list = `${known.slice(0, -1).join(", ")} or ${known.at(-1)}`;
  throw badArgument(attempt, `${name} is ${list}, not ${quote(value)}`);
}

/** Returns whether a value can be iterated. Text does not count, because no caller means it. */
export function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.iterator in value;
}

/**
 * Returns the dialect of a search.
 *
 * @param options The options of the search.
 * @param standard The dialect if they name none.
 * @throws {AerostoreError} With `bad_argument` if they are none.
 */
export function dialectOf(options: { readonly dialect?: Dialect }, standard: Dialect): Dialect {
  checkOptionNames(options, dialectOnly, "search");
  checkWord("dialect", options.dialect, dialects, "search");
  return options.dialect ?? standard;
}

const dialectOnly: ReadonlySet<string> = new Set(["dialect"]);

/**
 * Refuses what is no function.
 *
 * @param name What the function is called.
 * @param value What was given.
 * @param attempt What is attempted, for the error.
 * @throws {AerostoreError} With `bad_argument`.
 */
export function checkFunction(name: string, value: unknown, attempt: string): void {
  if (typeof value === "function") return;
  throw badArgument(attempt, `${name} is a function, not ${quote(value)}`);
}

/**
 * Returns the error for an argument that makes no sense.
 *
 * @param attempt What is attempted.
 * @param why What is wrong with the argument.
 */
export function badArgument(attempt: string, why: string): AerostoreError {
  return new AerostoreError("bad_argument", `Cannot ${attempt}: ${why}`);
}
