import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Catalogue } from "../lib/catalogue.ts";
import { loadLibrary } from "../lib/library.ts";
import { openConnection } from "../lib/native.ts";
import { encodeSchema } from "../lib/schema_blob.ts";
import { AerostoreError, type Column, defineTable, t, type TableDefinition } from "../mod.ts";
import { layoutOf } from "./support/layouts.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";

const key = (): Column => t.text(8).primaryKey();

describe("defineTable()", () => {
  const broken: readonly (readonly [string, () => unknown, RegExp])[] = [
    ["no name", () => defineTable("", { id: key() }), /"" is no table name/],
    ["a digit first", () => defineTable("1T", { id: key() }), /"1T" is no table name/],
    ["a space", () => defineTable("T", { "a b": key() }), /"a b" is no column name/],
    ["a dash", () => defineTable("T", { "-id": key() }), /"-id" is no column name/],
    ["a long name", () => defineTable("T".repeat(65), { id: key() }), /longer than 64 bytes/],
    ["a wide name", () => defineTable("é".repeat(33), { id: key() }), /longer than 64 bytes/],
    ["no columns", () => defineTable("T", {}), /it has 0 columns, not 1 to 64/],
    ["no key", () => defineTable("T", { a: t.int32() }), /exactly one primary key, and has none/],
    ["two keys", () => defineTable("T", { a: key(), b: key() }), /has "a" and "b"/],
    ["a float key", () => defineTable("T", { a: t.float64().primaryKey() }), /is float64/],
    ["a long key", () => defineTable("T", { a: t.text(65).primaryKey() }), /holds 65 bytes/],
    ["a null key", () => defineTable("T", { a: key().nullable() }), /cannot be nullable/],
    ["a hidden name", () => defineTable("T", { _xmin: key() }), /"_xmin" is reserved/],
    ["a method", () => defineTable("T", { toObject: key() }), /"toObject" is reserved/],
    ["a prototype", () => defineTable("T", { ["__proto__"]: key() }), /"__proto__" is reserved/],
    ["no size", () => defineTable("T", { id: key(), a: t.text(0) }), /1 to 60000 bytes, not 0/],
    ["a huge size", () => defineTable("T", { id: key(), a: t.bytes(60_001) }), /not 60001/],
    ["half a size", () => defineTable("T", { id: key(), a: t.text(1.5) }), /not 1.5/],
    [
      "a long default",
      () => defineTable("T", { id: key(), a: t.text(2).default("abc") }),
      /holds 2 bytes of UTF-8, and "abc" has 3, as its default/,
    ],
    [
      "a bad default",
      () => defineTable("T", { id: key(), a: t.int32().default(0.5) }),
      /not 0.5, as its default/,
    ],
    [
      "an index on nothing",
      () => defineTable("T", { id: key() }, { indexes: [[]] }),
      /names no columns/,
    ],
    [
      "an index on a column twice",
      () => defineTable("T", { id: key() }, { indexes: [["id", "id"]] }),
      /names a column twice/,
    ],
  ];
  for (const [name, define, message] of broken) {
    test(`refuses ${name}`, () => {
      assert.throws(define, { code: "invalid_schema", message });
    });
  }

  test("takes 64 columns, and no more", () => {
    const columns = (count: number): Record<string, Column> =>
      Object.fromEntries(
        Array.from({ length: count }, (_, i) => [`c${i}`, i === 0 ? key() : t.bool()]),
      );
    assert.equal(Object.keys(defineTable("T", columns(64)).columns).length, 64);
    assert.throws(() => defineTable("T", columns(65)), { code: "invalid_schema" });
  });

  test("takes names of all scripts, and keeps the order of the columns", () => {
    const table = defineTable("Flüge", { größe: t.int32(), 便名: key(), _a1: t.bool() });
    assert.deepEqual(Object.keys(table.columns), ["größe", "便名", "_a1"]);
  });

  test("copies a default of bytes", () => {
    const bytes = Uint8Array.of(1);
    const column = t.bytes(4).default(bytes);
    bytes[0] = 2;
    assert.deepEqual(column.spec.default, Uint8Array.of(1));
  });
});

test("encodeSchema() writes the documented bytes", () => {
  const table = defineTable("T", {
    id: t.text(8).primaryKey(),
    n: t.int32().nullable().index().default(-2),
    b: t.int64({ as: "bigint" }).unique(),
  }, { indexes: [{ columns: ["n", "id"], unique: true }] });
  assert.deepEqual(
    [...encodeSchema(table)],
    [
      ...[1, 1, 0x54, 3],
      ...[2, 0x69, 0x64, 1, 2, 8, 0],
      ...[1, 0x6e, 3, 1 | 4 | 16, 0, 0, 4, 0, 0xfe, 0xff, 0xff, 0xff],
      ...[1, 0x62, 4, 8 | 32, 0, 0],
      ...[1, 2, 1, 0, 1],
    ],
  );
});

describe("a stored table", () => {
  test("has the layout that the rules give", () => {
    using store = new Store();
    store.open({ tables: [Everything, Presence] });
    const connection = openConnection(loadLibrary(), {
      path: store.directory,
      ephemeral: false,
      readOnly: false,
      sizeBytes: 16 * 2 ** 20,
      shmPath: store.shmPath,
    });
    try {
      const catalogue = new Catalogue(connection);
      for (const [id, definition] of [Everything, Presence].entries()) {
        assert.deepEqual(catalogue.find(definition.name), layoutOf(definition, id));
      }
    } finally {
      connection.close();
    }
  });

  test("agrees with the same declaration, and with one of more indexes", () => {
    using store = new Store();
    const declare = (altitude: Column): TableDefinition =>
      defineTable("Flight", { id: key(), altitude });
    store.open({ tables: [declare(t.int32().nullable())] });
    store.open({ tables: [declare(t.int32().nullable())] });
    store.open({ tables: [declare(t.int32().nullable().index())] });
  });

  test("whose rows would be too large is refused, and says so", () => {
    using store = new Store();
    const Large = defineTable("Large", { id: key(), a: t.text(40_000), b: t.bytes(30_000) });
    assert.throws(() => store.open({ tables: [Large] }), {
      code: "invalid_schema",
      message: /a row of table "Large" with all columns full would take more than 60000 bytes/,
    });
  });

  test("that differs from its declaration is a schema_mismatch that names the column", () => {
    using store = new Store();
    store.open({
      tables: [defineTable("Flight", { id: key(), altitude: t.int32().nullable() })],
    });
    const others: readonly TableDefinition[] = [
      defineTable("Flight", { id: key(), altitude: t.int64().nullable() }),
      defineTable("Flight", { id: key(), altitude: t.int32() }),
      defineTable("Flight", { id: key(), altitude: t.int32().nullable().default(3) }),
      defineTable("Flight", { id: key(), altitude: t.text(8).nullable() }),
    ];
    for (const other of others) {
      assert.throws(() => store.open({ tables: [other] }), {
        code: "schema_mismatch",
        message: /^Cannot declare table "Flight": .*altitude/,
      });
    }
    const renamed = defineTable("Flight", { id: key(), height: t.int32().nullable() });
    assert.throws(() => store.open({ tables: [renamed] }), { code: "schema_mismatch" });
    const longer = defineTable("Flight", {
      id: key(),
      altitude: t.int32().nullable(),
      a: t.bool(),
    });
    assert.throws(() => store.open({ tables: [longer] }), { code: "schema_mismatch" });
  });

  test("whose row can be too long is refused", () => {
    using store = new Store();
    const wide = defineTable("Wide", { id: key(), a: t.text(40_000), b: t.text(40_000) });
    assert.throws(() => store.open({ tables: [wide] }), { code: "invalid_schema" });
  });

  test("is one of at most 64", () => {
    using store = new Store();
    const tables = Array.from({ length: 64 }, (_, i) => defineTable(`T${i}`, { id: key() }));
    const db = store.open({ tables });
    assert.equal(db.tableNames.length, 64);
    assert.throws(
      () => store.open({ tables: [defineTable("T64", { id: key() })] }),
      (error: unknown) => error instanceof AerostoreError,
    );
    db.table("T63").insert({ id: "A" });
    assert.equal(db.table("T63").count(), 1);
  });
});
