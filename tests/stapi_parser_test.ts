/**
 * Search strings: options, clauses, coercion, dialects, and the words of every error.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AerostoreError, type ErrorCode } from "../lib/errors.ts";
import type { Dialect, Query, Value } from "../lib/stapi/ast.ts";
import { parseSearch } from "../lib/stapi/parser.ts";
import { QueryError } from "../lib/stapi/query_error.ts";
import { Column, flightTable } from "./support/flight_table.ts";

const table = flightTable();
const parse = (text: string, dialect: Dialect = "default"): Query =>
  parseSearch(text, table, { dialect });

/** Returns the first clause as `operator column operands...`. */
function clauseOf(text: string, dialect: Dialect = "default"): unknown[] {
  const [clause] = parse(text, dialect).clauses;
  assert.ok(clause);
  return [clause.operator, table.columns[clause.column]?.name, ...clause.operands];
}

/** Asserts that reading `text` fails, with this code, these words first, at this place. */
function assertFails(
  text: string,
  code: ErrorCode,
  message: string,
  word?: string,
  dialect: Dialect = "default",
): void {
  assert.throws(() => parse(text, dialect), (error) => {
    assert.ok(error instanceof QueryError && error instanceof AerostoreError, String(error));
    assert.equal(error.name, "AerostoreError");
    assert.equal(error.code, code, error.message);
    assert.ok(error.message.startsWith(message), `${error.message}\nexpected: ${message}`);
    if (word !== undefined) {
      assert.equal(text.slice(error.offset, error.offset + word.length), word, error.message);
      assert.ok(error.message.includes(word), error.message);
      assert.ok(error.message.includes(`offset ${error.offset}`), error.message);
    }
    return true;
  }, text);
}

test("parseSearch() reads every option", () => {
  const text = "-compare {{= typ B738}} -sort {altitude -gs} -limit 50 -offset 7 " +
    "-fields {gs altitude} -countOnly yes -index typ";
  const query = parse(text);
  assert.equal(query.table, table);
  assert.equal(query.clauses.length, 1);
  assert.deepEqual(query.sort, [
    { column: Column.altitude, descending: false, nullsFirst: false },
    { column: Column.gs, descending: true, nullsFirst: true },
  ]);
  assert.equal(query.limit, 50);
  assert.equal(query.offset, 7);
  assert.deepEqual(query.fields, [Column.gs, Column.altitude]);
  assert.equal(query.countOnly, true);
  assert.equal(query.hint, Column.typ);
});

test("parseSearch() reads nothing as all rows", () => {
  for (const text of ["", "  \n", "-compare {}", "-sort {}"]) {
    const query = parse(text);
    assert.deepEqual(query.clauses, []);
    assert.deepEqual(query.sort, []);
    assert.equal(query.limit, null);
    assert.equal(query.offset, 0);
    assert.equal(query.fields, null);
    assert.equal(query.countOnly, false);
    assert.equal(query.hint, null);
  }
});

test("parseSearch() ANDs repeated -compare", () => {
  const { clauses } = parse("-compare {{= typ B738}} -limit 1 -compare {{> altitude 5}}");
  assert.deepEqual(clauses.map(({ operator }) => operator), ["=", ">"]);
});

test("parseSearch() takes a single bare clause", () => {
  assert.deepEqual(clauseOf("-compare {= typ B738}"), ["=", "typ", "B738"]);
  assert.deepEqual(clauseOf("-compare {null typ}"), ["null", "typ"]);
  assert.deepEqual(clauseOf("-compare {in typ {B738 A320}}"), ["in", "typ", "B738", "A320"]);
  assert.deepEqual(clauseOf('-compare "= typ {B 738}"'), ["=", "typ", "B 738"]);
  assert.deepEqual(clauseOf("-compare {{{=} {typ} {B738}}}"), ["=", "typ", "B738"]);
});

test("parseSearch() knows every operator, in any case", () => {
  const cases: [string, unknown[]][] = [
    ["null typ", ["null", "typ"]],
    ["NotNull typ", ["notnull", "typ"]],
    ["= typ a", ["=", "typ", "a"]],
    ["== typ a", ["=", "typ", "a"]],
    ["!= typ a", ["!=", "typ", "a"]],
    ["<> typ a", ["!=", "typ", "a"]],
    ["> gs 1", [">", "gs", 1]],
    [">= gs 1", [">=", "gs", 1]],
    ["< gs 1", ["<", "gs", 1]],
    ["<= gs 1", ["<=", "gs", 1]],
    ["IN gs {1 2 3}", ["in", "gs", 1, 2, 3]],
    ["in gs {}", ["in", "gs"]],
    ["Range gs 1 5", ["range", "gs", 1, 5]],
    ["MATCH typ B*", ["match", "typ", "B*"]],
    ["notmatch typ B*", ["notmatch", "typ", "B*"]],
    ["match_case typ B*", ["match", "typ", "B*"]],
    ["notmatch_case typ B*", ["notmatch", "typ", "B*"]],
    ["imatch typ B*", ["match", "typ", "B*"]],
    ["notimatch typ B*", ["notmatch", "typ", "B*"]],
    ["true on_ground", ["true", "on_ground"]],
    ["False on_ground", ["false", "on_ground"]],
  ];
  for (const [clause, expected] of cases) {
    assert.deepEqual(clauseOf(`-compare {{${clause}}}`), expected, clause);
  }
});

test("parseSearch() lets only the right globs ignore case", () => {
  const ignores = (operator: string, dialect: Dialect): boolean | undefined =>
    parse(`-compare {{${operator} typ x}}`, dialect).clauses[0]?.ignoreCase;
  for (const not of ["", "not"]) {
    assert.equal(ignores(`${not}match`, "default"), false);
    assert.equal(ignores(`${not}match`, "speedtables"), true);
    for (const dialect of ["default", "speedtables"] as const) {
      assert.equal(ignores(`${not}match_case`, dialect), false);
      assert.equal(ignores(`${not}imatch`, dialect), true);
    }
  }
});

test("parseSearch() makes atoms values of the column's type", () => {
  const cases: [string, string, Value][] = [
    ["typ", "406696", "406696"],
    ["typ", "4007e8", "4007e8"],
    ["typ", "007", "007"],
    ["altitude", "-12", -12],
    ["altitude", "+12", 12],
    ["altitude", "007", 7],
    ["altitude", "12.0", 12],
    ["altitude", "1.5e3", 1500],
    ["altitude", "1200e-2", 12],
    ["altitude", "-0", 0],
    ["altitude", "2147483647", 2147483647],
    ["altitude", "-2147483648", -2147483648],
    ["serial", "9223372036854775807", 9223372036854775807n],
    ["serial", "-9223372036854775808", -9223372036854775808n],
    ["serial", "9007199254740993", 9007199254740993n],
    ["serial", "9007199254740993.0", 9007199254740993n],
    ["serial", "9.007199254740993e15", 9007199254740993n],
    ["serial", "4007e8", 400700000000n],
    ["serial", "0e99999", 0n],
    ["lat", "41.979595", 41.979595],
    ["lat", "-.5", -0.5],
    ["lat", "5.", 5],
    ["lat", "12", 12],
    ["lat", "1E2", 100],
    ["updated_at", "1700000000000.5", 1700000000000.5],
    ["on_ground", "1", true],
    ["on_ground", "0", false],
    ["on_ground", "TRUE", true],
    ["on_ground", "no", false],
    ["on_ground", "off", false],
    ["on_ground", "t", true],
  ];
  for (const [field, atom, expected] of cases) {
    assert.deepEqual(clauseOf(`-compare {{= ${field} ${atom}}}`), ["=", field, expected]);
  }
  const [clause] = parse("-compare {{= hex abc}}").clauses;
  assert.deepEqual(clause?.operands, [new Uint8Array([0x61, 0x62, 0x63])]);
});

test("parseSearch() refuses atoms that cannot become the column's type", () => {
  const cases: [string, string][] = [
    ["altitude", "abc"],
    ["altitude", "10.5"],
    ["altitude", "0x10"],
    ["altitude", "1_000"],
    ["altitude", "2147483648"],
    ["altitude", "1e400000000"],
    ["altitude", "{}"],
    ["serial", "9223372036854775808"],
    ["serial", "1e19"],
    ["serial", "1e-1"],
    ["lat", "north"],
    ["lat", "nan"],
    ["lat", "inf"],
    ["lat", "1e999"],
    ["lat", "{ 5}"],
    ["updated_at", "2026-11-23"],
    ["on_ground", "2"],
    ["on_ground", "o"],
    ["on_ground", "maybe"],
  ];
  for (const [field, atom] of cases) {
    const word = atom.replace(/[{}]/g, "");
    for (const clause of [`= ${field} ${atom}`, `!= ${field} ${atom}`, `in ${field} {${atom}}`]) {
      assertFails(
        `-compare {{${clause}}}`,
        "type_mismatch",
        `Column "${field}" of table "Flight"`,
        word,
      );
    }
  }
  assertFails("-compare {{range gs 1 x}}", "type_mismatch", 'Column "gs"', "x");
});

test("parseSearch() wants globs on text and truth on booleans", () => {
  for (const operator of ["match", "notmatch", "imatch", "notmatch_case"]) {
    const message = `operator '${operator}' needs a text column, and "gs" is int32`;
    assertFails(`-compare {{${operator} gs 1*}}`, "type_mismatch", message, "gs");
  }
  const message = `operator 'true' needs a bool column, and "typ" is text`;
  assertFails("-compare {{true typ}}", "type_mismatch", message, "typ");
});

test("parseSearch() refuses malformed lists, pointing at the place", () => {
  const words = "invalid Tcl-style list syntax";
  assertFails("-compare {{= typ B738}", "invalid_list", words, "{{= typ B738}");
  assertFails('-compare {{= typ "B738}}', "invalid_list", words, '"B738');
  assertFails("-compare {{= typ {B}738}}", "invalid_list", words, "738");
  assertFails("-sort {altitude {gs}", "invalid_list", words, "{altitude {gs}");
  assertFails('-compare {{in typ {a "b}}}', "invalid_list", words, '"b');
});

test("parseSearch() refuses unknown options", () => {
  assertFails("-compare {} -x 1", "unknown_option", "unknown STAPI option '-x'", "-x");
  assertFails("limit 5", "unknown_option", "unknown STAPI option 'limit'", "limit");
  assertFails("-LIMIT 5", "unknown_option", "unknown STAPI option '-LIMIT'", "-LIMIT");
});

test("parseSearch() refuses unknown operators", () => {
  const message = "unsupported compare operator 'like'";
  assertFails("-compare {{like typ B*}}", "unsupported_operator", message, "like");
  assertFails("-compare {like typ B*}", "unsupported_operator", message, "like");
});

test("parseSearch() refuses clauses of the wrong size", () => {
  const cases: [string, string][] = [
    ["= typ", "operator '=' expects exactly 3 items, got 2"],
    ["= typ a b", "operator '=' expects exactly 3 items, got 4"],
    ["==", "operator '==' expects exactly 3 items, got 1"],
    ["null", "operator 'null' expects exactly 2 items, got 1"],
    ["null typ x", "operator 'null' expects exactly 2 items, got 3"],
    ["range gs 1", "operator 'range' expects exactly 4 items, got 3"],
    ["in gs 1 2", "operator 'in' expects exactly 3 items, got 4"],
    ["true", "operator 'true' expects exactly 2 items, got 1"],
  ];
  for (const [clause, message] of cases) {
    assertFails(`-compare {{= gs 1} {${clause}}}`, "wrong_arity", message, clause);
  }
  assertFails("-compare {null}", "wrong_arity", "operator 'null' expects exactly 2 items, got 1");
  assertFails("-compare {{} {= gs 1}}", "invalid_query", "empty compare clause");
});

test("parseSearch() refuses unknown columns wherever one can stand", () => {
  const message = `Table "Flight" has no column 'speed', it has flight_id, altitude, `;
  for (
    const text of [
      "-compare {{= speed 1}}",
      "-compare {null speed}",
      "-sort speed",
      "-fields {gs speed}",
      "-index speed",
    ]
  ) {
    assertFails(text, "unknown_column", message, "speed");
  }
  assertFails("-sort {gs -speed}", "unknown_column", message, "-speed");
  assertFails("-sort GS", "unknown_column", `Table "Flight" has no column 'GS'`, "GS");
});

test("parseSearch() refuses values that options do not take", () => {
  const whole = "expects a whole number, 0 or more, got";
  for (const value of ["-1", "1.5", "ten", "1e3", "{}", "9007199254740993"]) {
    const word = value === "{}" ? "" : value;
    assertFails(`-limit ${value}`, "invalid_query", `'-limit' ${whole} '${word}'`, word);
    assertFails(`-offset ${value}`, "invalid_query", `'-offset' ${whole} '${word}'`, word);
  }
  assertFails("-countOnly 2", "invalid_query", "'-countOnly' expects a boolean, got '2'", "2");
  assertFails("-fields {}", "invalid_query", "'-fields' names no field", "-fields");
  assertFails("-sort", "invalid_query", "STAPI option '-sort' expects a value", "-sort");
});

test("parseSearch() reverses a sort by one field for -desc", () => {
  const descending = (text: string): boolean[] => parse(text).sort.map((key) => key.descending);
  assert.deepEqual(descending("-sort altitude -desc"), [true]);
  assert.deepEqual(descending("-desc -sort altitude"), [true]);
  assert.deepEqual(descending("-sort altitude -asc"), [false]);
  assert.deepEqual(descending("-sort -altitude -asc"), [true]);
  assert.deepEqual(descending("-sort -altitude -desc"), [false]);
  assertFails(
    "-sort {gs lat} -desc",
    "invalid_query",
    "'-desc' reverses a sort by one field",
    "-desc",
  );
  assertFails("-desc", "invalid_query", "'-desc' reverses a sort by one field", "-desc");
});

test("parseSearch() lets a second mention of a sort or output field count for nothing", () => {
  const query = parse("-sort {gs -gs lat} -fields {gs lat gs}");
  assert.deepEqual(query.sort.map((key) => key.column), [Column.gs, Column.lat]);
  assert.deepEqual(query.fields, [Column.gs, Column.lat]);
});

test("parseSearch() refuses repeated options, unless the dialect lets the last win", () => {
  for (
    const option of ["-sort gs", "-limit 1", "-offset 1", "-fields gs", "-countOnly 1", "-index gs"]
  ) {
    const [name = ""] = option.split(" ");
    const message = `STAPI option '${name}' is given twice`;
    assertFails(`${option} ${option}`, "invalid_query", message, name);
  }
  assertFails("-sort gs -asc -desc", "invalid_query", "STAPI option '-desc' is a second direction");
  const text =
    "-compare {{= gs 1}} -sort gs -limit 1 -desc -limit 2 -sort lat -compare {null gs} -asc";
  const query = parse(text, "speedtables");
  assert.deepEqual(query.clauses.map(({ operator }) => operator), ["null"]);
  assert.equal(query.limit, 2);
  assert.deepEqual(query.sort, [{ column: Column.lat, descending: false, nullsFirst: false }]);
});

test("parseSearch() reads -limit 0 by the dialect", () => {
  assert.equal(parse("-limit 0").limit, 0);
  assert.equal(parse("-limit 0", "speedtables").limit, null);
});

test("parseSearch() lets nulls satisfy what the dialect says, where there can be any", () => {
  const satisfied = (operator: string, field: string, dialect: Dialect): boolean | undefined =>
    parse(`-compare {{${operator} ${field} 1}}`, dialect).clauses[0]?.nullSatisfies;
  for (const operator of [">", ">=", "!=", "<>"]) {
    assert.equal(satisfied(operator, "gs", "default"), false, operator);
    assert.equal(satisfied(operator, "gs", "speedtables"), true, operator);
    assert.equal(satisfied(operator, "origin", "speedtables"), false, operator);
  }
  for (const operator of ["=", "<", "<=", "in"]) {
    assert.equal(satisfied(operator, "gs", "speedtables"), false, operator);
  }
  assert.equal(satisfied("notmatch", "typ", "speedtables"), false);
});

test("parseSearch() places nulls and booleans in a sort by the dialect", () => {
  const key = (field: string, dialect: Dialect): unknown[] => {
    const [first] = parse(`-sort ${field}`, dialect).sort;
    return [first?.descending, first?.nullsFirst];
  };
  const cases: [string, unknown[], unknown[]][] = [
    ["gs", [false, false], [false, false]],
    ["-gs", [true, true], [true, true]],
    ["lat", [false, false], [false, false]],
    ["-lat", [true, true], [true, true]],
    ["typ", [false, false], [false, true]],
    ["-typ", [true, true], [true, false]],
    ["on_ground", [false, false], [true, false]],
    ["-on_ground", [true, true], [false, true]],
  ];
  for (const [field, inDefault, inSpeedtables] of cases) {
    assert.deepEqual(key(field, "default"), inDefault, field);
    assert.deepEqual(key(field, "speedtables"), inSpeedtables, `${field} in speedtables`);
  }
});

test("parseSearch() takes $1 for text, unless parameters are allowed", () => {
  assert.deepEqual(clauseOf("-compare {{= typ $1}}"), ["=", "typ", "$1"]);
  assertFails("-compare {{= gs $1}}", "type_mismatch", 'Column "gs"', "$1");
  const prepared = (text: string): Query => parseSearch(text, table, { parameters: true });
  const query = prepared(
    "-compare {{= typ {$1}} {range gs $2 $3} {in lat {$4 5 $1}} {match typ $5} {= typ \\$9}} " +
      "-limit $6 -offset $7",
  );
  assert.equal(query.parameterCount, 7);
  assert.deepEqual(query.clauses.map(({ operands }) => operands), [
    [{ parameter: 1 }],
    [{ parameter: 2 }, { parameter: 3 }],
    [{ parameter: 4 }, 5, { parameter: 1 }],
    [{ parameter: 5 }],
    ["$9"],
  ]);
  assert.deepEqual(query.limit, { parameter: 6 });
  assert.deepEqual(query.offset, { parameter: 7 });
});

test("parseSearch() refuses parameters that leave a gap or have no number", () => {
  const fails = (text: string, message: RegExp): void => {
    assert.throws(
      () => parseSearch(text, table, { parameters: true }),
      (error) =>
        error instanceof AerostoreError && error.code === "unknown_parameter" &&
        message.test(error.message),
      text,
    );
  };
  fails("-compare {{= typ $2}}", /'\$2' is used, but '\$1' is not \(offset 17\)/);
  fails("-compare {{= typ $1} {= gs $3}}", /'\$3' is used, but '\$2' is not/);
  fails("-compare {{= typ $0}}", /'\$0' is not one/);
  fails("-compare {{= typ $99999999999}}", /'\$99999999999' is not one/);
});

test("parseSearch() reads any text, or says what is wrong with which of its words", () => {
  const word = fc.constantFrom(
    ...'{}"\\ \t\n$-5a',
    ..."-compare -sort -limit -offset -fields -countOnly -index -desc -asc".split(" "),
    ..."= != in range match null true gs typ lat on_ground serial hex $1 $2 1e5 B7*".split(" "),
    " ",
    " {",
    "} ",
  );
  fc.assert(
    fc.property(fc.array(word), fc.boolean(), fc.boolean(), (words, parameters, speedtables) => {
      const text = words.join("");
      const dialect = speedtables ? "speedtables" : "default";
      try {
        parseSearch(text, table, { dialect, parameters });
      } catch (error) {
        assert.ok(error instanceof QueryError, String(error));
        assert.ok(error.offset >= 0 && error.offset <= text.length, error.message);
      }
    }),
    { numRuns: 3000 },
  );
});
