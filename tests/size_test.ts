import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSize } from "../lib/size.ts";

test("parseSize() reads bytes and both kinds of units", () => {
  const sizes: [number | string, number][] = [
    [1, 1],
    [4096.7, 4096],
    ["4096", 4096],
    ["64KiB", 65_536],
    [" 1.5 GiB ", 1_610_612_736],
    ["100MB", 100_000_000],
    ["2TiB", 2_199_023_255_552],
  ];
  for (const [size, bytes] of sizes) assert.equal(parseSize(size), bytes, String(size));
});

test("parseSize() refuses what is no size, and quotes it", () => {
  for (const size of ["", "GiB", "1 gib", "-1MiB", "1e3", 0, -5, NaN, Infinity, 2 ** 60]) {
    assert.throws(() => parseSize(size), {
      code: "bad_argument",
      message: new RegExp(`size ${JSON.stringify(size) === "null" ? size : JSON.stringify(size)}`),
    });
  }
});
