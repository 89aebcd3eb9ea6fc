import assert from "node:assert/strict";
import { test } from "node:test";
import { columnOf, parseCatalogue } from "../lib/layout.ts";

const catalogue = {
  tables: [{
    id: 3,
    name: "Sample",
    fixedSize: 24,
    primaryKey: 1,
    columns: [
      {
        name: "total",
        kind: "int64",
        nullable: true,
        capacity: 0,
        inline: false,
        offset: 0,
        index: true,
        unique: false,
        bigint: true,
        default: "-9223372036854775808",
      },
      {
        name: "id",
        kind: "text",
        nullable: false,
        capacity: 8,
        inline: true,
        offset: 8,
        index: false,
        unique: false,
        bigint: false,
      },
      {
        name: "raw",
        kind: "bytes",
        nullable: true,
        capacity: 100,
        inline: false,
        offset: 20,
        index: false,
        unique: false,
        bigint: false,
        default: "AP8=",
      },
    ],
    indexes: [{ id: 2, columns: [0, 1], unique: true }],
  }],
};

test("parseCatalogue() gives tables with their columns, defaults and indexes", () => {
  const table = parseCatalogue(JSON.stringify(catalogue)).get("Sample");
  assert.ok(table !== undefined);
  assert.equal(table.id, 3);
  assert.equal(table.primaryKey.name, "id");
  assert.equal(table.columns[0]?.default, -(2n ** 63n));
  assert.deepEqual(table.columns[2]?.default, Uint8Array.of(0, 255));
  assert.equal(table.columns[1]?.default, undefined);
  assert.deepEqual(table.indexes, [{ id: 2, columns: [0, 1], unique: true }]);
  assert.equal(table.columnsByName.get("raw"), table.columns[2]);
});

test("parseCatalogue() refuses what cannot be a catalogue as corrupt", () => {
  const broken: ((table: (typeof catalogue.tables)[0]) => unknown)[] = [
    (table) => table.columns[0] && (table.columns[0].offset = 1000),
    (table) => table.columns[0] && (table.columns[0].offset = 0.5),
    (table) => table.columns[0] && (table.columns[0].kind = "json"),
    (table) => table.primaryKey = 7,
    (table) => table.fixedSize = 1e9,
    (table) => table.indexes[0]?.columns.push(9),
  ];
  for (const breakIt of broken) {
    const copy = structuredClone(catalogue);
    const table = copy.tables[0];
    assert.ok(table !== undefined);
    breakIt(table);
    assert.throws(() => parseCatalogue(JSON.stringify(copy)), { code: "corrupt" });
  }
  for (const json of ["", "[]", "null", '{"tables":{}}', '{"tables":[1]}', '{"tables":[{}]}']) {
    assert.throws(() => parseCatalogue(json), { code: "corrupt" }, json);
  }
});

test("columnOf() names the columns that there are", () => {
  const table = parseCatalogue(JSON.stringify(catalogue)).get("Sample");
  assert.ok(table !== undefined);
  assert.equal(columnOf(table, "id", "sort").id, 1);
  assert.throws(() => columnOf(table, "Total", 'sort "Sample"'), {
    code: "unknown_column",
    message: 'Cannot sort "Sample": table "Sample" has no column "Total", it has total, id, raw',
  });
});
