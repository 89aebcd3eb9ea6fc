/**
 * Lists and globs against Tcl itself: `tests/fixtures/tcl.json` has what Tcl 8.6 answered to
 * thousands of random questions.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { AerostoreError } from "../lib/errors.ts";
import { globPrefix, prefixEnd } from "../lib/stapi/glob.ts";
import { formatList, parseList, quoteWord } from "../lib/stapi/tcl_list.ts";
import { matchGlob } from "./support/query_model.ts";

interface Fixture {
  /** A list, its words or null, and Tcl's complaint. */
  readonly lists: readonly (readonly [string, readonly string[] | null, string?])[];
  /** A pattern, a text, and whether it matches: 1 or 0, with case and without. */
  readonly globs: readonly (readonly [string, string, 0 | 1, 0 | 1])[];
}

const fixture = JSON.parse(
  readFileSync(new URL("./fixtures/tcl.json", import.meta.url), "utf8"),
) as Fixture;

const values = (text: string): string[] => parseList(text).map((word) => word.value);

test("parseList() reads lists as Tcl does", () => {
  for (const [text, words] of fixture.lists) {
    if (words !== null) assert.deepEqual(values(text), words, JSON.stringify(text));
  }
});

test("parseList() refuses what Tcl refuses, for the same reason", () => {
  for (const [text, words, problem = ""] of fixture.lists) {
    if (words !== null) continue;
    const reason = problem
      .replace(/ in list$/, "")
      .replace(/ followed by "(.*)" instead of space$/s, " followed by ");
    assert.throws(() => parseList(text), (error) => {
      assert.ok(error instanceof AerostoreError);
      assert.equal(error.code, "invalid_list");
      assert.ok(
        error.message.startsWith(`invalid Tcl-style list syntax: ${reason}`),
        error.message,
      );
      return true;
    }, JSON.stringify(text));
  }
});

test("parseList() gives the place of each word", () => {
  const text = ' a {b c}  "d\te" f\\ g';
  const words = parseList(text);
  assert.deepEqual(words, [
    { value: "a", offset: 1, verbatim: true },
    { value: "b c", offset: 4, verbatim: true },
    { value: "d\te", offset: 11, verbatim: true },
    { value: "f g", offset: 16, verbatim: false },
  ]);
  for (const { value, offset, verbatim } of words) {
    if (verbatim) assert.equal(text.slice(offset, offset + value.length), value);
  }
});

test("parseList() gives the true place of words in nested lists", () => {
  const text = "-compare {{= typ {B7 38}}}";
  const [, compare] = parseList(text);
  assert.ok(compare);
  const [clause] = parseList(compare.value, compare);
  assert.ok(clause);
  const [, , operand] = parseList(clause.value, clause);
  assert.ok(operand);
  assert.equal(operand.offset, text.indexOf("B7"));
  const [inner] = parseList("a\\ b");
  assert.ok(inner);
  // Behind a backslash only the place of the whole word is known.
  assert.deepEqual(parseList(inner.value, inner).map(({ offset }) => offset), [0, 0]);
});

test("parseList() knows characters beyond U+FFFF", () => {
  assert.deepEqual(values("\\U0001F600 \\😀 {😀} \\U110000"), ["😀", "😀", "😀", "\u{11000}0"]);
});

test("quoteWord() makes one word that reads back", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (word) => {
    assert.deepEqual(values(quoteWord(word)), [word]);
  }));
  const nasty = fc.string({ unit: fc.constantFrom(...'{}"\\ \n\t[]$;#ab') });
  fc.assert(fc.property(fc.array(nasty), (words) => {
    assert.deepEqual(values(formatList(words)), words);
  }));
});

test("matchGlob() of the model matches as Tcl does", () => {
  for (const [pattern, text, exact, nocase] of fixture.globs) {
    const question = JSON.stringify([pattern, text]);
    assert.equal(matchGlob(pattern, text), exact === 1, question);
    assert.equal(matchGlob(pattern, text, true), nocase === 1, `${question} -nocase`);
  }
});

test("globPrefix() begins every text that matches", () => {
  for (const [pattern, text, exact] of fixture.globs) {
    const found = globPrefix(pattern);
    const question = JSON.stringify([pattern, text]);
    if (found.never) assert.equal(exact, 0, question);
    else if (found.exact) assert.equal(exact === 1, text === found.prefix, question);
    else if (exact === 1) assert.ok(text.startsWith(found.prefix), question);
  }
});

test("prefixEnd() is the least text after all that begin with the prefix", () => {
  assert.equal(prefixEnd("B7"), "B8");
  assert.equal(prefixEnd("a\u{10ffff}"), "b");
  assert.equal(prefixEnd("\ud7ff"), "\ue000");
  assert.equal(prefixEnd("\u{10ffff}"), undefined);
  assert.equal(prefixEnd(""), undefined);
});
