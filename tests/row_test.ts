/** Rows to records and back, on plain memory: no native library is needed. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { TableLayout } from "../lib/layout.ts";
import { Memory } from "../lib/memory.ts";
import { encodeKey, makeEncoders, recordHeaderSize, recordSizeMax } from "../lib/row_encode.ts";
import { makeDecoder, makeRowsDecoder, makeViewClass, type PlainRow } from "../lib/row_view.ts";
import { type Column, defineTable, t, type TableDefinition } from "../lib/schema.ts";
import { layoutOf } from "./support/layouts.ts";

const Sample = defineTable("Sample", {
  id: t.text(40).primaryKey(),
  flag: t.bool().nullable(),
  small: t.text(7).nullable(),
  count: t.int32().default(7),
  big: t.int64().nullable(),
  huge: t.int64({ as: "bigint" }).nullable(),
  note: t.text(100).nullable(),
  ratio: t.float64().nullable(),
  seen: t.timestamp().nullable(),
  raw: t.bytes(9).nullable(),
  blob: t.bytes(200).default(Uint8Array.of(1, 2, 3)),
  kind: t.text(8).default("none"),
});

/** More columns than a word of the null mask has bits. */
const Wide = defineTable(
  "Wide",
  Object.fromEntries(
    Array.from({ length: 64 }, (_, i): [string, Column] => [
      `c${i}`,
      i === 40 ? t.int32().primaryKey() : t.int32().nullable(),
    ]),
  ),
);

/** Both ways to read and write: compiled, and by closures. */
const modes = [true, false];
const recordHandle = recordHeaderSize / 8;

function newMemory(): Memory {
  const memory = new Memory(new ArrayBuffer(8192));
  // Whatever was in the buffer before must not show.
  memory.u8.fill(0xee);
  return memory;
}

function roundTrip(layout: TableLayout, row: unknown, generate: boolean): PlainRow {
  const memory = newMemory();
  const size = makeEncoders(layout, generate).encodeRow(row, memory, 0);
  assert.equal(memory.u32[0], size);
  assert.ok(size <= recordSizeMax(layout));
  return makeDecoder(layout, layout.columns, generate)(memory, recordHandle);
}

const sample = layoutOf(Sample);

const fullRow = {
  id: "Zürich–東京",
  flag: true,
  small: "abc",
  count: -2147483648,
  big: -9007199254740991,
  huge: -(2n ** 63n),
  note: "n".repeat(100),
  ratio: -0.1,
  seen: 1533099600000.5,
  raw: Uint8Array.of(0, 255),
  blob: new Uint8Array(200).fill(9),
  kind: "",
};

describe("a row through a record", () => {
  for (const generate of modes) {
    const how = generate ? "compiled" : "by closures";

    test(`comes back with every value, ${how}`, () => {
      assert.deepEqual(roundTrip(sample, fullRow, generate), fullRow);
      const edges = { ...fullRow, big: 9007199254740991, huge: 2n ** 63n - 1n, count: 2147483647 };
      assert.deepEqual(roundTrip(sample, edges, generate), edges);
    });

    test(`takes defaults, then null, for what is missing or undefined, ${how}`, () => {
      const expected = {
        id: "A",
        flag: null,
        small: null,
        count: 7,
        big: null,
        huge: null,
        note: null,
        ratio: null,
        seen: null,
        raw: null,
        blob: Uint8Array.of(1, 2, 3),
        kind: "none",
      };
      assert.deepEqual(roundTrip(sample, { id: "A" }, generate), expected);
      const spelled = { id: "A", flag: undefined, count: undefined, small: null };
      assert.deepEqual(roundTrip(sample, spelled, generate), expected);
    });

    test(`may have 64 columns, any of them null, ${how}`, () => {
      const wide = layoutOf(Wide);
      const row = Object.fromEntries(
        Array.from({ length: 64 }, (_, i) => [`c${i}`, i % 3 === 0 && i !== 40 ? null : -i]),
      );
      assert.deepEqual(roundTrip(wide, row, generate), { ...row, c0: null, c40: -40 });
    });
  }

  test("is the same bytes in both ways, for any values", () => {
    // One grapheme may take a dozen bytes, and the columns' capacities are bytes.
    const text = (capacity: number, maxLength: number) =>
      fc.string({ unit: "grapheme", maxLength })
        .filter((value) => new TextEncoder().encode(value).length <= capacity);
    const rows = fc.record({
      id: text(40, 6),
      flag: fc.option(fc.boolean()),
      small: fc.option(fc.string({ maxLength: 7 })),
      count: fc.integer(),
      big: fc.option(fc.maxSafeInteger()),
      huge: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
      note: fc.option(text(100, 10)),
      ratio: fc.option(fc.double({ noNaN: true })),
      seen: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
      raw: fc.option(fc.uint8Array({ maxLength: 9 })),
      blob: fc.uint8Array({ maxLength: 200 }),
      kind: fc.string({ maxLength: 8 }),
    }, { requiredKeys: ["id"] });
    const compiled = makeEncoders(sample, true);
    const closures = makeEncoders(sample, false);
    const decode = makeDecoder(sample, sample.columns, true);
    const decodeSlowly = makeDecoder(sample, sample.columns, false);
    fc.assert(fc.property(rows, (row) => {
      const [a, b] = [newMemory(), newMemory()];
      const size = compiled.encodeRow(row, a, 8);
      assert.equal(closures.encodeRow(row, b, 8), size);
      assert.deepEqual(a.u8.subarray(8, 8 + size), b.u8.subarray(8, 8 + size));
      assert.equal(a.u8[8 + size], 0xee);
      const back = decode(a, recordHandle + 1);
      assert.deepEqual(decodeSlowly(a, recordHandle + 1), back);
      for (const [name, value] of Object.entries(row)) assert.deepEqual(back[name], value);
    }));
  });
});

describe("makeDecoder()", () => {
  for (const generate of modes) {
    test(`gives chosen columns in their order${generate ? "" : ", by closures"}`, () => {
      const memory = newMemory();
      makeEncoders(sample).encodeRow(fullRow, memory, 0);
      const chosen = [5, 0].flatMap((id) => sample.columns[id] ?? []);
      const row = makeDecoder(sample, chosen, generate)(memory, recordHandle);
      assert.deepEqual(Object.entries(row), [["huge", fullRow.huge], ["id", fullRow.id]]);
    });

    test(`gives all rows of a result${generate ? "" : ", by closures"}`, () => {
      const memory = newMemory();
      const rows = [fullRow, { ...fullRow, id: "B", note: "longer than before" }, { id: "C" }];
      let at = 0;
      for (const row of rows) {
        const size = makeEncoders(sample).encodeRow(row, memory, at);
        memory.u32[at / 4] = size;
        at += size;
      }
      const decode = makeDecoder(sample, sample.columns, generate);
      const found: unknown[] = ["before"];
      makeRowsDecoder(sample, sample.columns, generate)(memory, 2, found);
      const second = (memory.u32[0] ?? 0) / 8 + recordHandle;
      assert.deepEqual(found, ["before", decode(memory, recordHandle), decode(memory, second)]);
      const chosen = [5, 0].flatMap((id) => sample.columns[id] ?? []);
      const few: object[] = [];
      makeRowsDecoder(sample, chosen, generate)(memory, 3, few);
      assert.deepEqual(few.map((row) => Object.keys(row)), Array(3).fill(["huge", "id"]));
      assert.deepEqual((few[2] as PlainRow)["id"], "C");
    });

    test(`refuses an int64 that no number is${generate ? "" : ", by closures"}`, () => {
      const memory = newMemory();
      makeEncoders(sample).encodeRow({ id: "A", big: 1 }, memory, 0);
      const index = (recordHeaderSize + (sample.columnsByName.get("big")?.offset ?? 0)) / 8;
      const decode = makeDecoder(sample, sample.columns, generate);
      for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
        memory.i64[index] = value;
        assert.throws(() => decode(memory, recordHandle), {
          code: "unsafe_integer",
          message: new RegExp(`"big" of "Sample": no number is exactly ${value};`),
        });
      }
      memory.i64[index] = 1n - 2n ** 53n;
      assert.equal(decode(memory, recordHandle).big, Number.MIN_SAFE_INTEGER);
    });
  }
});

describe("an encoder", () => {
  const refused: readonly (readonly [object, string, RegExp])[] = [
    [{}, "not_null_violation", /column "id" is not nullable/],
    [{ id: null }, "not_null_violation", /column "id".*got null/],
    [
      { id: "A", count: null },
      "not_null_violation",
      /column "count" is not nullable, but got null/,
    ],
    [{ id: 5 }, "type_mismatch", /column "id" takes text, not 5/],
    [{ id: "A".repeat(41) }, "value_too_long", /column "id" holds 40 bytes.*has 41/],
    [{ id: "A", small: "éééé" }, "value_too_long", /column "small" holds 7 bytes.*"éééé" has 8/],
    [{ id: "A", note: "é".repeat(51) }, "value_too_long", /column "note".*has 102/],
    [{ id: "A", note: "\ud800" }, "type_mismatch", /half a surrogate pair/],
    [{ id: "A", count: 1.5 }, "type_mismatch", /column "count" takes a whole number.*not 1.5/],
    [{ id: "A", count: 2147483648 }, "type_mismatch", /not 2147483648/],
    [{ id: "A", count: "5" }, "type_mismatch", /not "5"/],
    [{ id: "A", count: 5n }, "type_mismatch", /not 5n/],
    [{ id: "A", count: NaN }, "not_a_number", /column "count" cannot hold NaN/],
    [{ id: "A", big: 2 ** 53 }, "unsafe_integer", /not 9007199254740992; declare/],
    [{ id: "A", big: Infinity }, "unsafe_integer", /not Infinity/],
    [{ id: "A", big: 0.5 }, "type_mismatch", /not 0.5/],
    [{ id: "A", big: 1n }, "type_mismatch", /takes a number, not 1n; declare/],
    [{ id: "A", huge: 2n ** 63n }, "type_mismatch", /64 bits/],
    [{ id: "A", huge: 1 }, "type_mismatch", /takes a bigint, not 1/],
    [{ id: "A", ratio: NaN }, "not_a_number", /column "ratio"/],
    [{ id: "A", ratio: "1" }, "type_mismatch", /takes a number/],
    [{ id: "A", seen: NaN }, "not_a_number", /column "seen"/],
    [{ id: "A", seen: new Date() }, "type_mismatch", /not a Date: use its getTime\(\)/],
    [{ id: "A", seen: Infinity }, "type_mismatch", /finite/],
    [{ id: "A", seen: new Date(0) }, "type_mismatch", /milliseconds/],
    [{ id: "A", flag: 1 }, "type_mismatch", /true or false, not 1/],
    [{ id: "A", raw: [1] }, "type_mismatch", /a Uint8Array/],
    [{ id: "A", raw: new Uint8Array(10) }, "value_too_long", /holds 9 bytes, not 10/],
    [{ id: "A", blob: new Uint8Array(201) }, "value_too_long", /holds 200 bytes, not 201/],
    [{ id: "A", Flag: true }, "unknown_column", /no column "Flag", it has id, flag/],
    [{ id: "A", flag: true, extra: undefined }, "unknown_column", /"extra"/],
  ];

  for (const generate of modes) {
    test(`refuses bad values${generate ? "" : ", by closures"}`, () => {
      const { encodeRow, encodePatch } = makeEncoders(sample, generate);
      for (const [row, code, message] of refused) {
        assert.throws(() => encodeRow(row, newMemory(), 0), {
          name: "AerostoreError",
          code,
          message,
        });
        if ("id" in row) assert.throws(() => encodePatch(row, newMemory(), 0), { code });
      }
    });

    test(`refuses what is no object${generate ? "" : ", by closures"}`, () => {
      const { encodeRow } = makeEncoders(sample, generate);
      for (const row of [null, undefined, 5, "row", [], ["A"]]) {
        assert.throws(() => encodeRow(row, newMemory(), 0), (error: Error & { code?: string }) => {
          return ["bad_argument", "not_null_violation"].includes(error.code ?? "");
        });
      }
    });
  }

  test("names the table and the value in the message", () => {
    const { encodeRow } = makeEncoders(sample);
    assert.throws(() => encodeRow({ id: "A", count: 3.5 }, newMemory(), 0), {
      message: 'Cannot write to "Sample": column "count" takes a whole number from -2147483648 ' +
        "to 2147483647, not 3.5",
    });
  });

  test("marks in a patch only what was given", () => {
    for (const generate of modes) {
      const memory = newMemory();
      const { encodePatch } = makeEncoders(sample, generate);
      encodePatch({ count: 5, note: null, kind: undefined, raw: Uint8Array.of(1) }, memory, 0);
      assert.deepEqual([memory.u32[2], memory.u32[3]], [1 << 6, 0]);
      assert.deepEqual([memory.u32[4], memory.u32[5]], [(1 << 3) | (1 << 6) | (1 << 9), 0]);
    }
  });

  test("takes a row view, or any object with the right properties, as a row", () => {
    const memory = newMemory();
    makeEncoders(sample).encodeRow(fullRow, memory, 0);
    const view = new (makeViewClass(sample))(memory, recordHandle, { ended: false });
    for (const generate of modes) assert.deepEqual(roundTrip(sample, view, generate), fullRow);
  });
});

describe("a row view", () => {
  for (const generate of modes) {
    const how = generate ? "" : ", by closures";

    test(`reads each column from memory${how}`, () => {
      const memory = newMemory();
      makeEncoders(sample).encodeRow(fullRow, memory, 0);
      const view = new (makeViewClass(sample, generate))(memory, recordHandle, { ended: false });
      for (const [name, value] of Object.entries(fullRow)) assert.deepEqual(view[name], value);
      assert.deepEqual(view.toObject(), fullRow);
      assert.deepEqual(Object.keys(view), []);
      memory.u8[recordHeaderSize + (sample.columnsByName.get("flag")?.offset ?? 0)] = 0;
      assert.equal(view.flag, false);
    });

    test(`expires with its scope, column by column${how}`, () => {
      const memory = newMemory();
      makeEncoders(sample).encodeRow(fullRow, memory, 0);
      const scope = { ended: false };
      const view = new (makeViewClass(sample, generate))(memory, recordHandle, scope);
      assert.equal(view.small, "abc");
      scope.ended = true;
      for (const name of Object.keys(fullRow)) {
        assert.throws(() => view[name], {
          code: "view_expired",
          message: new RegExp(`Cannot read "${name}" of a row of "Sample"`),
        });
      }
      assert.throws(() => view.toObject(), { code: "view_expired" });
      assert.throws(() => JSON.stringify(view), { code: "view_expired" });
    });

    test(`gives nothing away by assignment${how}`, () => {
      const memory = newMemory();
      makeEncoders(sample).encodeRow(fullRow, memory, 0);
      const view = new (makeViewClass(sample, generate))(memory, recordHandle, { ended: false });
      assert.throws(() => Object.assign(view, { small: "x" }), TypeError);
      assert.equal(view.small, "abc");
    });
  }
});

describe("encodeKey()", () => {
  const keyTable = (column: Column): TableLayout => {
    const definition: TableDefinition = defineTable("K", { key: column.primaryKey() });
    return layoutOf(definition);
  };

  test("writes text with its size, zero-filled", () => {
    const memory = newMemory();
    assert.ok(encodeKey(keyTable(t.text(6)), memory, 0, "é1"));
    assert.deepEqual([...memory.u8.subarray(0, 9)], [3, 0, 0xc3, 0xa9, 0x31, 0, 0, 0, 0xee]);
  });

  test("writes integers, little endian", () => {
    const memory = newMemory();
    assert.ok(encodeKey(keyTable(t.int32()), memory, 0, -2));
    assert.equal(memory.i32[0], -2);
    for (const key of [5, -5, 2 ** 32, -(2 ** 32) - 1, Number.MIN_SAFE_INTEGER]) {
      assert.ok(encodeKey(keyTable(t.int64()), memory, 0, key));
      assert.equal(memory.i64[0], BigInt(key));
    }
    assert.ok(encodeKey(keyTable(t.int64({ as: "bigint" })), memory, 0, -(2n ** 63n)));
    assert.equal(memory.i64[0], -(2n ** 63n));
  });

  test("says that no row can have a text that is too long", () => {
    assert.equal(encodeKey(keyTable(t.text(3)), newMemory(), 0, "abcd"), false);
    assert.equal(encodeKey(keyTable(t.text(3)), newMemory(), 0, "éé"), false);
  });

  test("refuses keys of another type", () => {
    const refused: readonly (readonly [Column, unknown, string])[] = [
      [t.text(3), 5, "type_mismatch"],
      [t.text(3), null, "not_null_violation"],
      [t.text(3), "\ud800", "type_mismatch"],
      [t.int32(), "5", "type_mismatch"],
      [t.int32(), NaN, "not_a_number"],
      [t.int64(), 2 ** 53, "unsafe_integer"],
      [t.int64({ as: "bigint" }), 5, "type_mismatch"],
    ];
    for (const [column, key, code] of refused) {
      assert.throws(() => encodeKey(keyTable(column), newMemory(), 0, key), {
        code,
        message: /Cannot find a row of "K": column "key"/,
      });
    }
  });
});
