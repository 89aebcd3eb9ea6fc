/**
 * The model and the parser against the real speedtables: every recorded search, in both dialects.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSearch } from "../lib/stapi/parser.ts";
import { oracleMissing, oracleTable, readOracle } from "./support/oracle.ts";
import { runModel } from "./support/query_model.ts";

test("parseSearch() and the model give what speedtables gave", { skip: oracleMissing }, () => {
  const oracle = readOracle();
  const table = oracleTable(oracle, false);
  assert.equal(oracle.queries.length, 400);
  for (const { stapi, keys } of oracle.queries) {
    const query = parseSearch(stapi, table, { dialect: "speedtables" });
    const found = runModel(query, oracle.rows).map((row) => row["id"]);
    assert.deepEqual(found, keys, stapi);
  }
});

test("the default dialect gives the same but for nulls", { skip: oracleMissing }, () => {
  const oracle = readOracle();
  const table = oracleTable(oracle, false);
  let compared = 0;
  for (const { stapi, keys, limit, sort, null_matches, sort_has_nulls } of oracle.queries) {
    // Where the dialects differ in more than nulls.
    const sortsBool = sort.some((field) => field.endsWith("late"));
    if (/match\}/.test(stapi) || limit !== undefined || sort_has_nulls || sortsBool) continue;
    const expected = keys.filter((key) => !null_matches?.includes(key));
    const found = runModel(parseSearch(stapi, table), oracle.rows).map((row) => row["id"]);
    assert.deepEqual(found, expected, stapi);
    compared += 1;
  }
  assert.ok(compared > 200, `only ${compared} searches could be compared`);
});
