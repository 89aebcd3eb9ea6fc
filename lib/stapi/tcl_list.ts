/**
 * Tcl lists: reading, with the place of every word, and writing.
 *
 * The rules are those of Tcl 8.6 for lists (not for scripts): words are separated by white space; a
 * word is in braces, in double quotes, or bare; backslash sequences are substituted in bare and
 * quoted words and left alone within braces; nothing else is special, so `$`, `[` and `;` stand for
 * themselves.
 *
 * @module
 */

import { QueryError } from "./query_error.ts";

/** One word of a list. */
export interface ListWord {
  /** The value of the word: without its braces or quotes, with its backslashes substituted. */
  readonly value: string;
  /** Index in the whole search string of the first character of the value. */
  readonly offset: number;
  /**
   * Whether the value is a verbatim piece of the search string. If so, character i of the value
   * stands at `offset + i`; if not (a backslash was substituted), only `offset` is known.
   */
  readonly verbatim: boolean;
}

/** Every list error starts with these words; the reason follows. */
const invalid = "invalid Tcl-style list syntax";

/**
 * Splits `text` into the words of a Tcl list.
 *
 * @param text The list.
 * @param base The place of `text` within the search string, so that words of nested lists have
 * their true offset. Default: `text` is the search string.
 * @returns The words, in order.
 * @throws {AerostoreError} With `invalid_list` for an unmatched brace or quote, and for characters
 * right after a closing one.
 *
 * @example Read a list
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseList } from "./tcl_list.ts";
 *
 * const words = parseList('= name {San Francisco} "a\\tb"');
 * assert.deepEqual(words.map((word) => word.value), ["=", "name", "San Francisco", "a\tb"]);
 * assert.equal(words[2]?.offset, 8);
 * ```
 */
export function parseList(text: string, base?: ListWord): ListWord[] {
  const words: ListWord[] = [];
  let at = skipSpace(text, 0);
  while (at < text.length) {
    const opener = text.charCodeAt(at);
    if (opener === codeOpenBrace) at = readBraced(text, at, base, words);
    else if (opener === codeQuote) at = readQuoted(text, at, base, words);
    else at = readBare(text, at, base, words);
    at = skipSpace(text, at);
  }
  return words;
}

/**
 * Returns `word` written so that {@linkcode parseList} gives it back as one word.
 *
 * @param word Any text.
 * @returns The word itself if nothing in it is special, else in braces or with backslashes.
 *
 * @example Quote a value for a search string
 * ```ts
 * import assert from "node:assert/strict";
 * import { quoteWord } from "./tcl_list.ts";
 *
 * assert.equal(quoteWord("B738"), "B738");
 * assert.equal(quoteWord("San Francisco"), "{San Francisco}");
 * assert.equal(quoteWord("a { b"), "a\\ \\{\\ b");
 * ```
 */
export function quoteWord(word: string): string {
  if (word === "") return "{}";
  if (!/[\s{}"\\[\]$;]|^#/.test(word)) return word;
  if (canBrace(word)) return `{${word}}`;
  return word.replace(/[\s{}"\\[\]$;#]/g, escapeCharacter);
}

/**
 * Returns the Tcl list of `words`: the reverse of {@linkcode parseList}.
 *
 * @param words Any texts.
 */
export function formatList(words: readonly string[]): string {
  return words.map(quoteWord).join(" ");
}

const codeQuote = 0x22;
const codeBackslash = 0x5c;
const codeOpenBrace = 0x7b;
const codeCloseBrace = 0x7d;
const codeNewline = 0x0a;

/** Tcl's white space between words: blank, tab, newline, vertical tab, form feed, return. */
function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d);
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && isSpace(text.charCodeAt(at))) at += 1;
  return at;
}

/** Returns the offset in the search string of character `at` of a nested list. */
function offsetOf(base: ListWord | undefined, at: number): number {
  if (base === undefined) return at;
  return base.verbatim ? base.offset + at : base.offset;
}

function push(words: ListWord[], value: string, at: number, verbatim: boolean, base?: ListWord) {
  const exact = verbatim && (base === undefined || base.verbatim);
  words.push({ value, offset: offsetOf(base, at), verbatim: exact });
}

function fail(reason: string, text: string, from: number, base: ListWord | undefined): never {
  const place = { offset: offsetOf(base, from), word: text.slice(from) };
  throw new QueryError("invalid_list", `${invalid}: ${reason}`, place);
}

/** Returns the end of the run of characters up to the next white space: what an error quotes. */
function checkEnd(text: string, at: number, what: string, base: ListWord | undefined): number {
  if (at < text.length && !isSpace(text.charCodeAt(at))) {
    let end = at;
    while (end < text.length && !isSpace(text.charCodeAt(end))) end += 1;
    const rest = text.slice(at, end);
    const place = { offset: offsetOf(base, at), word: rest };
    const reason = `list element in ${what} followed by '${rest}' instead of space`;
    throw new QueryError("invalid_list", `${invalid}: ${reason}`, place);
  }
  return at;
}

function readBraced(
  text: string,
  start: number,
  base: ListWord | undefined,
  words: ListWord[],
): number {
  let depth = 1;
  let at = start + 1;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === codeBackslash) {
      at += 1; // The next character counts for nothing, and both stay as they are.
    } else if (code === codeOpenBrace) {
      depth += 1;
    } else if (code === codeCloseBrace) {
      depth -= 1;
      if (depth === 0) {
        push(words, text.slice(start + 1, at), start + 1, true, base);
        return checkEnd(text, at + 1, "braces", base);
      }
    }
    at += 1;
  }
  return fail("unmatched open brace", text, start, base);
}

function readQuoted(
  text: string,
  start: number,
  base: ListWord | undefined,
  words: ListWord[],
): number {
  let value = "";
  let from = start + 1; // First character that is not in `value` yet.
  let at = from;
  let verbatim = true;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === codeQuote) {
      push(words, value + text.slice(from, at), start + 1, verbatim, base);
      return checkEnd(text, at + 1, "quotes", base);
    }
    if (code === codeBackslash) {
      value += text.slice(from, at);
      [at, value] = substitute(text, at, value);
      from = at;
      verbatim = false;
    } else {
      at += 1;
    }
  }
  return fail("unmatched open quote", text, start, base);
}

function readBare(
  text: string,
  start: number,
  base: ListWord | undefined,
  words: ListWord[],
): number {
  let value = "";
  let from = start;
  let at = start;
  let verbatim = true;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (isSpace(code)) break;
    if (code === codeBackslash) {
      value += text.slice(from, at);
      [at, value] = substitute(text, at, value);
      from = at;
      verbatim = false;
    } else {
      at += 1;
    }
  }
  push(words, value + text.slice(from, at), start, verbatim, base);
  return at;
}

const simpleEscapes: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** Appends what the backslash sequence at `at` stands for; returns the index after it. */
function substitute(text: string, at: number, value: string): [number, string] {
  const next = text.charAt(at + 1);
  if (next === "") return [at + 1, `${value}\\`];
  const simple = simpleEscapes[next];
  if (simple !== undefined) return [at + 2, value + simple];
  if (next === "x") return readHex(text, at, 2, value);
  if (next === "u") return readHex(text, at, 4, value);
  if (next === "U") return readHex(text, at, 8, value);
  if (next >= "0" && next <= "7") return readOctal(text, at, value);
  if (text.charCodeAt(at + 1) === codeNewline) {
    let end = at + 2;
    while (text.charAt(end) === " " || text.charAt(end) === "\t") end += 1;
    return [end, `${value} `];
  }
  // The character itself; a pair of surrogates is one character.
  const character = String.fromCodePoint(text.codePointAt(at + 1) ?? 0);
  return [at + 1 + character.length, value + character];
}

/** `\x` takes at most 2 hexadecimal digits, `\u` 4, `\U` 8; without any, the letter stands. */
function readHex(text: string, at: number, digitsMax: number, value: string): [number, string] {
  let code = 0;
  let end = at + 2;
  while (end < text.length && end - at - 2 < digitsMax) {
    const digit = hexDigit(text.charCodeAt(end));
    // A digit that would leave Unicode is not part of the sequence.
    if (digit < 0 || code * 16 + digit > 0x10ffff) break;
    code = code * 16 + digit;
    end += 1;
  }
  if (end === at + 2) return [end, value + text.charAt(at + 1)];
  return [end, value + String.fromCodePoint(code)];
}

/** At most 3 octal digits, and a third only if the number stays below 256. */
function readOctal(text: string, at: number, value: string): [number, string] {
  let code = 0;
  let end = at + 1;
  while (end < text.length && end - at - 1 < 3) {
    const digit = text.charCodeAt(end) - 0x30;
    if (digit < 0 || digit > 7 || code * 8 + digit > 0xff) break;
    code = code * 8 + digit;
    end += 1;
  }
  return [end, value + String.fromCharCode(code)];
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

/** Whether `{word}` reads back as `word`: braces balance, and no backslash is last. */
function canBrace(word: string): boolean {
  let depth = 0;
  for (let at = 0; at < word.length; at += 1) {
    const code = word.charCodeAt(at);
    if (code === codeBackslash) {
      at += 1;
      if (at === word.length) return false;
    } else if (code === codeOpenBrace) {
      depth += 1;
    } else if (code === codeCloseBrace) {
      depth -= 1;
      if (depth < 0) return false;
    }
  }
  return depth === 0;
}

function escapeCharacter(character: string): string {
  switch (character) {
    case "\n":
      return "\\n";
    case "\t":
      return "\\t";
    case "\r":
      return "\\r";
    case "\f":
      return "\\f";
    case "\v":
      return "\\v";
    default:
      return `\\${character}`;
  }
}
