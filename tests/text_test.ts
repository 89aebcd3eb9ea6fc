import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Memory } from "../lib/memory.ts";
import {
  encodeUtf8,
  readTailText,
  shortTexts,
  shortWordCount,
  writeInlineText,
  writeTailText,
} from "../lib/text.ts";
import { utf8Size } from "../lib/values.ts";

const samples = [
  "",
  "a",
  "UAL123",
  "exactly thirty bytes, no more!",
  "thirty-one bytes: not in cache.",
  "é",
  "日本語",
  "mixed é 日 🛩",
  "\0nul\0",
  "\ufefffirst a byte order mark",
];

/** Reads an inline cell of a column, as a value and as a primary key. */
function readInlineText(memory: Memory, cell: number, capacity = 64): string {
  const count = shortWordCount(capacity);
  const text = shortTexts(false).read(memory, cell >> 2, count);
  assert.equal(shortTexts(true).read(memory, cell >> 2, count), text);
  return text;
}

function cellSizeOf(capacity: number): number {
  return (capacity + 5) & ~3;
}

describe("inline text", () => {
  test("comes back as it was written, cached or not", () => {
    const memory = new Memory(new ArrayBuffer(1024));
    for (const text of [...samples, ...samples]) {
      assert.ok(writeInlineText(memory, 64, cellSizeOf(64), text, 64));
      assert.equal(readInlineText(memory, 64), text);
    }
  });

  test("is zero-filled up to the end of its cell, and not further", () => {
    const memory = new Memory(new ArrayBuffer(64));
    memory.u8.fill(0xaa);
    assert.ok(writeInlineText(memory, 8, cellSizeOf(16), "é", 16));
    assert.deepEqual([...memory.u8.subarray(8, 12)], [2, 0, 0xc3, 0xa9]);
    assert.ok(memory.u8.subarray(12, 28).every((byte) => byte === 0));
    assert.equal(memory.u8[28], 0xaa);
    assert.equal(memory.u8[7], 0xaa);
  });

  test("is refused beyond the capacity in bytes, not in characters", () => {
    const memory = new Memory(new ArrayBuffer(64));
    assert.ok(writeInlineText(memory, 0, cellSizeOf(4), "éé", 4));
    assert.ok(!writeInlineText(memory, 0, cellSizeOf(4), "éé.", 4));
    assert.ok(!writeInlineText(memory, 0, cellSizeOf(4), "abcde", 4));
    assert.ok(!writeInlineText(memory, 0, cellSizeOf(4), "a🛩", 4));
  });

  test("is refused with half a surrogate pair", () => {
    const memory = new Memory(new ArrayBuffer(64));
    for (const text of ["\ud83d", "\udee9", "a\ud83d.", "\udee9\ud83d"]) {
      assert.ok(!writeInlineText(memory, 0, cellSizeOf(30), text, 30), JSON.stringify(text));
    }
  });

  test("of two rows with the same hash slot does not mix", () => {
    const memory = new Memory(new ArrayBuffer(64));
    // More texts than the cache has slots: every slot is taken over many times.
    for (let i = 0; i < 40_000; i++) {
      const text = `text ${i}`;
      writeInlineText(memory, 0, cellSizeOf(16), text, 16);
      if (readInlineText(memory, 0) !== text) assert.fail(text);
    }
  });
});

describe("tail text", () => {
  test("comes back as it was written, and tells where the next may start", () => {
    const memory = new Memory(new ArrayBuffer(4096));
    for (const text of [...samples, "x".repeat(65), "é".repeat(500), ...samples]) {
      const next = writeTailText(memory, 64, 72, 40, text, 2000);
      assert.equal(next, 40 + ((utf8Size(text) + 3) & ~3));
      assert.equal(readTailText(memory, 64, 72), text);
    }
  });

  test("of no bytes is a cell of zeros", () => {
    const memory = new Memory(new ArrayBuffer(128));
    memory.u32[2] = 7;
    assert.equal(writeTailText(memory, 0, 8, 40, "", 100), 40);
    assert.equal(memory.u32[2], 0);
  });

  test("is refused beyond the capacity or with half a surrogate pair, short or long", () => {
    const memory = new Memory(new ArrayBuffer(4096));
    const long = "é".repeat(100);
    assert.equal(writeTailText(memory, 0, 8, 40, long, 199), -1);
    assert.equal(writeTailText(memory, 0, 8, 40, "é".repeat(20), 39), -1);
    assert.equal(writeTailText(memory, 0, 8, 40, `${long}\ud83d`, 2000), -1);
    assert.equal(writeTailText(memory, 0, 8, 40, "\ud83d", 2000), -1);
  });

  test("is not taken for inline text of the same bytes", () => {
    const memory = new Memory(new ArrayBuffer(256));
    for (const text of ["ab", "abcd", "abcdefgh"]) {
      writeInlineText(memory, 0, cellSizeOf(30), text, 30);
      writeTailText(memory, 64, 64, 40, `${text}.`, 100);
      assert.equal(readInlineText(memory, 0), text);
      assert.equal(readTailText(memory, 64, 64), `${text}.`);
    }
  });
});

describe("UTF-8", () => {
  test("is written and measured as the encoder of the platform does", () => {
    const buffer = new Uint8Array(1024);
    fc.assert(fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 100 }), (text) => {
      const expected = new TextEncoder().encode(text);
      const written = encodeUtf8(buffer, 3, 1000, text);
      assert.deepEqual(buffer.slice(3, 3 + written), expected);
      assert.equal(utf8Size(text), expected.length);
      assert.equal(encodeUtf8(buffer, 0, expected.length - 1, text), -1);
    }));
  });
});
