/**
 * Reads a search string: `-compare {{= typ B738} {> altitude 10000}} -sort -altitude -limit 50`.
 *
 * @module
 */

import type { TableMeta } from "../query/table_meta.ts";
import type { Dialect, Query } from "./ast.ts";
import { parseBool } from "./atoms.ts";
import { type Item, QueryDraft } from "./draft.ts";
import { QueryError, shorten } from "./query_error.ts";
import { type ListWord, parseList } from "./tcl_list.ts";

/** How a query is read. */
export interface ReadOptions {
  /** Whose rules to follow. Default: `"default"`. */
  readonly dialect?: Dialect;
  /** Whether `$1`, `$2` ... are places for values, and not text. Default: false. */
  readonly parameters?: boolean;
}

/**
 * Reads a search string.
 *
 * @param text The search string; the product's documentation has the grammar.
 * @param table The table that is searched.
 * @param options See {@linkcode ReadOptions}.
 * @returns The query, its names and values resolved.
 * @throws {AerostoreError} With `invalid_list`, `unknown_option`, `unsupported_operator`,
 * `wrong_arity`, `unknown_column`, `type_mismatch`, `unknown_parameter` or `invalid_query`. The
 * message quotes the word at fault and says where it stands.
 *
 * @example Read a search string
 * ```ts
 * import assert from "node:assert/strict";
 * import { tableMeta } from "../query/table_meta.ts";
 * import { parseSearch } from "./parser.ts";
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
 * const query = parseSearch("-compare {{>= altitude 1e4}} -sort -altitude -limit 50", table);
 * assert.deepEqual(query.clauses[0]?.operands, [10000]);
 * assert.equal(query.limit, 50);
 * ```
 */
export function parseSearch(text: string, table: TableMeta, options: ReadOptions = {}): Query {
  const reader = new Reader(text, table, options);
  return reader.read();
}

class Reader {
  readonly #text: string;
  readonly #dialect: Dialect;
  readonly #parameters: boolean;
  readonly #draft: QueryDraft;
  /** Options that were given: each may be given once, unless the dialect lets the last win. */
  readonly #given = new Set<string>();

  constructor(text: string, table: TableMeta, options: ReadOptions) {
    this.#text = text;
    this.#dialect = options.dialect ?? "default";
    this.#parameters = options.parameters ?? false;
    this.#draft = new QueryDraft(table, this.#dialect);
  }

  read(): Query {
    const words = parseList(this.#text);
    for (let at = 0; at < words.length;) {
      const option = words[at];
      if (option === undefined) break;
      at += this.#readOption(option, words[at + 1]);
    }
    return this.#draft.finish();
  }

  /** Reads one option; returns how many words it took. */
  #readOption(option: ListWord, value: ListWord | undefined): number {
    const name = option.value;
    switch (name) {
      case "-asc":
      case "-desc":
        this.#once("direction", option);
        this.#draft.setReversed(name === "-desc" ? placeOf(option) : null);
        return 1;
      case "-compare":
        this.#readCompare(this.#valueOf(option, value));
        return 2;
      case "-sort":
        this.#draft.setSort(this.#items(this.#valueOf(option, value)));
        break;
      case "-limit":
        this.#draft.setLimit(this.#item(this.#valueOf(option, value)));
        break;
      case "-offset":
        this.#draft.setOffset(this.#item(this.#valueOf(option, value)));
        break;
      case "-fields": {
        const list = this.#valueOf(option, value);
        this.#draft.setFields(this.#items(list), placeOf(option));
        break;
      }
      case "-countOnly":
        this.#draft.setCountOnly(this.#bool(this.#valueOf(option, value)));
        break;
      case "-index":
        this.#draft.setHint(this.#item(this.#valueOf(option, value)));
        break;
      default:
        throw new QueryError(
          "unknown_option",
          `unknown STAPI option '${shorten(name)}'`,
          placeOf(option),
        );
    }
    this.#once(name, option);
    return 2;
  }

  #valueOf(option: ListWord, value: ListWord | undefined): ListWord {
    if (value !== undefined) return value;
    const message = `STAPI option '${option.value}' expects a value`;
    throw new QueryError("invalid_query", message, placeOf(option));
  }

  #once(name: string, option: ListWord): void {
    if (this.#given.has(name) && this.#dialect === "default") {
      const what = name === "direction" ? "a second direction" : "given twice";
      const message = `STAPI option '${option.value}' is ${what}`;
      throw new QueryError("invalid_query", message, placeOf(option));
    }
    this.#given.add(name);
  }

  #readCompare(list: ListWord): void {
    if (this.#dialect === "speedtables") this.#draft.clearClauses();
    const words = parseList(list.value, list);
    const [first] = words;
    if (first === undefined) return;
    if (isBare(first)) {
      this.#readClause(words, list);
      return;
    }
    for (const word of words) this.#readClause(parseList(word.value, word), word);
  }

  #readClause(words: readonly ListWord[], clause: ListWord): void {
    const items = words.map((word) => this.#item(word));
    const [, , list] = words;
    const readList = (item: Item): Item[] => list === undefined ? [item] : this.#items(list);
    this.#draft.addClause(items, placeOf(clause), readList);
  }

  #items(list: ListWord): Item[] {
    return parseList(list.value, list).map((word) => this.#item(word));
  }

  #item(word: ListWord): Item {
    let parameter = 0;
    // `\$1` is the text: a word with a backslash is not verbatim.
    if (this.#parameters && word.verbatim && /^\$\d+$/.test(word.value)) {
      parameter = Number(word.value.slice(1));
      if (parameter === 0 || parameter > parameterNumberMax) {
        const message = `Parameters are numbered from $1 to $${parameterNumberMax}, ` +
          `and '${word.value}' is not one`;
        throw new QueryError("unknown_parameter", message, placeOf(word));
      }
    }
    return { value: word.value, place: placeOf(word), parameter };
  }

  #bool(word: ListWord): boolean {
    const value = parseBool(word.value);
    if (value !== undefined) return value;
    const message = `'-countOnly' expects a boolean, got '${shorten(word.value)}'`;
    throw new QueryError("invalid_query", message, placeOf(word));
  }
}

/** A typo such as `$99999` would else ask for that many values. */
const parameterNumberMax = 1000;

/** Whether the first word of `-compare` is an operator: one clause without its own braces. */
function isBare(first: ListWord): boolean {
  const inner = parseList(first.value, first);
  return inner.length === 1 && inner[0]?.value === first.value;
}

function placeOf(word: ListWord): { offset: number; word: string } {
  return { offset: word.offset, word: word.value };
}
