/**
 * The error of a query that cannot be understood, which points at the word at fault.
 *
 * @module
 */

import { AerostoreError, type ErrorCode } from "../errors.ts";

/** Where a piece of a query stands, for error messages. */
export interface Place {
  /**
   * Index of its first character (UTF-16 unit) in the search string; -1 in the object form and in
   * the builder, which have no text.
   */
  readonly offset: number;
  /** The word itself, or the path of the value in the object form, such as `compare[0][2]`. */
  readonly word: string;
}

/** Longest quotation of a user's word in a message, in characters. */
const quotedLengthMax = 60;

/**
 * A query that cannot be understood: an {@linkcode AerostoreError} that also knows the place of the
 * word at fault, so that tools can underline it.
 *
 * @example Underline what is wrong
 * ```ts
 * import assert from "node:assert/strict";
 * import { Aerostore, defineTable, QueryError, t } from "aerostore";
 *
 * const Gate = defineTable("Gate", { id: t.text(8).primaryKey() });
 * const ephemeral = `gates-${crypto.randomUUID()}`;
 * const db = Aerostore.open({
 *   ephemeral,
 *   tables: [Gate],
 *   size: "8MiB",
 * });
 * const search = "-limit 5 -sideways 1";
 * try {
 *   db.table(Gate).search(search);
 * } catch (error) {
 *   assert.ok(error instanceof QueryError);
 *   assert.equal(search.slice(error.offset), "-sideways 1");
 *   assert.equal(error.word, "-sideways");
 * }
 * db.close();
 * Aerostore.remove({ ephemeral });
 * ```
 */
export class QueryError extends AerostoreError {
  /** Index of the word at fault in the search string, or -1 if the query was not text. */
  readonly offset: number;
  /** The word at fault, or its path in the object form. */
  readonly word: string;

  /**
   * Makes the error; the message ends with the place.
   *
   * @param code What went wrong.
   * @param message What went wrong, for people.
   * @param place Where.
   */
  constructor(
    code: ErrorCode,
    message: string,
    place: { readonly offset: number; readonly word: string },
  ) {
    super(code, message + suffix(message, place));
    this.offset = place.offset;
    this.word = place.word;
  }
}

/** Returns `word` cut to a length that fits a message. */
export function shorten(word: string): string {
  return word.length > quotedLengthMax ? `${word.slice(0, quotedLengthMax - 3)}...` : word;
}

function suffix(message: string, place: Place): string {
  if (place.offset < 0) return place.word === "" ? "" : ` (in ${shorten(place.word)})`;
  const word = shorten(place.word);
  // A message that quotes the word already need not repeat it.
  if (word === "" || message.includes(`'${word}'`)) return ` (offset ${place.offset})`;
  return ` (offset ${place.offset}: '${word}')`;
}
