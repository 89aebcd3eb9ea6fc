/**
 * Random rows and searches for the table of `flight_table.ts`, from values so few that they meet.
 */

import fc from "fast-check";
import type { Value } from "../../lib/stapi/ast.ts";
import { formatList, parseList } from "../../lib/stapi/tcl_list.ts";
import type { ModelRow } from "./query_model.ts";

/** Values few enough to meet often; each as the engine holds it and as a search writes it. */
const samples: Readonly<Record<string, readonly (readonly [Value, string])[]>> = {
  flight_id: ["UAL1", "UAL2", "DAL1", "é", "\u{1f600}", "\uff5e", ""].map((text) => [text, text]),
  altitude: [-5, 0, 1, 2, 3].map((number) => [number, String(number)]),
  lat: [-1.5, 0, 0.25, 1e10].map((number) => [number, String(number)]),
  typ: ["A", "B738", "B737", "b738", "B7", "", "é"].map((text) => [text, text]),
  on_ground: [[true, "1"], [false, "0"]],
  hex: ["a", "ab", "b"].map((text) => [new TextEncoder().encode(text), text]),
  serial: [-1n, 0n, 1n, 2n ** 60n, 2n ** 60n + 1n].map((number) => [number, String(number)]),
  origin: ["SFO", "SEA", "JFK"].map((text) => [text, text]),
};
const fields = Object.keys(samples);
/** Fields to ask about: those with most indexes more often. */
const asked = [...fields, "altitude", "typ", "altitude", "typ"];
/** Orders that an index could give, and some that it nearly gives. */
const sorts = [
  ["altitude"],
  ["-altitude"],
  ["typ"],
  ["-typ", "-altitude"],
  ["typ", "-altitude"],
  ["altitude", "lat"],
  ["-altitude", "-lat"],
  ["-altitude", "lat"],
  ["-on_ground", "-serial"],
  ["flight_id", "altitude"],
  ["-flight_id"],
];

const rowArbitrary: fc.Arbitrary<ModelRow> = fc.record(
  Object.fromEntries(fields.map((field): [string, fc.Arbitrary<Value | null>] => {
    const values = fc.constantFrom(...(samples[field] ?? []).map(([value]) => value));
    const nullable = field !== "flight_id" && field !== "origin";
    return [field, nullable ? fc.option(values, { nil: null, freq: 3 }) : values];
  })),
);

/** A few rows with different primary keys. */
export const rowsArbitrary: fc.Arbitrary<ModelRow[]> = fc.uniqueArray(rowArbitrary, {
  selector: (row) => row["flight_id"],
  maxLength: 7,
});

/** Many rows: their primary keys are counted up. */
export const manyRowsArbitrary: fc.Arbitrary<ModelRow[]> = fc.array(rowArbitrary, {
  minLength: 200,
  maxLength: 200,
}).map((rows) => rows.map((row, at) => ({ ...row, flight_id: `${String(row["typ"])}${at}` })));

const patternArbitrary = fc.constantFrom(
  "B*",
  "B73?",
  "b7*",
  "*8",
  "B738",
  "",
  "*",
  "[A-C]*",
  "é*",
);

const clauseArbitrary: fc.Arbitrary<string[]> = fc.constantFrom(...asked).chain((field) => {
  const words = (samples[field] ?? []).map(([, text]) => text);
  const word = fc.constantFrom(
    ...words,
    ...(field === "flight_id" ? ["longer than 16 bytes"] : []),
  );
  const choices: fc.Arbitrary<string[]>[] = [
    fc.constantFrom("null", "notnull").map((operator) => [operator, field]),
    fc.tuple(fc.constantFrom("=", "=", "=", "!=", ">", ">=", "<", "<="), word)
      .map(([operator, value]) => [operator, field, value]),
    fc.array(word, { maxLength: 4 }).map((words) => ["in", field, formatList(words)]),
    fc.tuple(word, word).map(([low, high]) => ["range", field, low, high]),
  ];
  if (field === "typ" || field === "flight_id") {
    const operators = fc.constantFrom("match", "notmatch", "imatch", "match_case");
    choices.push(
      fc.tuple(operators, patternArbitrary).map(([operator, glob]) => [operator, field, glob]),
    );
  }
  if (field === "on_ground") {
    choices.push(fc.constantFrom("true", "false").map((operator) => [operator, field]));
  }
  return fc.oneof(...choices);
});

/** A search string. */
export const searchArbitrary: fc.Arbitrary<string> = fc.record({
  clauses: fc.array(clauseArbitrary, { maxLength: 4 }),
  sort: fc.oneof(
    fc.constantFrom(...sorts),
    fc.array(
      fc.tuple(fc.constantFrom("", "-"), fc.constantFrom(...fields)).map((parts) => parts.join("")),
      { maxLength: 3 },
    ),
  ),
  limit: fc.option(fc.integer({ min: 0, max: 4 })),
  offset: fc.option(fc.integer({ min: 0, max: 2 })),
  fields: fc.option(fc.subarray(fields, { minLength: 1 })),
  hint: fc.option(fc.constantFrom(...fields), { freq: 4 }),
}).map(({ clauses, sort, limit, offset, fields: wanted, hint }) => {
  const words = ["-compare", formatList(clauses.map(formatList)), "-sort", formatList(sort)];
  if (limit !== null) words.push("-limit", String(limit));
  if (offset !== null) words.push("-offset", String(offset));
  if (wanted !== null) words.push("-fields", formatList(wanted));
  if (hint !== null) words.push("-index", hint);
  return formatList(words);
});

/** A search whose every value is a parameter, its values, and the same with the values in place. */
export const preparedArbitrary = fc.array(clauseArbitrary, { minLength: 1, maxLength: 4 }).map(
  (clauses) => {
    const args: unknown[] = [];
    const open = clauses.map(([operator = "", field = "", ...operands]) => {
      const places = operands.map((operand) => {
        args.push(operator === "in" ? parseList(operand).map(({ value }) => value) : operand);
        return `$${args.length}`;
      });
      return [operator, field, ...places];
    });
    return {
      open: formatList(["-compare", formatList(open.map(joinRaw))]),
      literal: formatList(["-compare", formatList(clauses.map(formatList))]),
      args,
    };
  },
);

/** `$` must stay bare: within a list it is written without backslashes. */
function joinRaw(words: readonly string[]): string {
  return words.join(" ");
}
