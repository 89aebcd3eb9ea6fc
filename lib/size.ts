/**
 * Sizes as people write them.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";

const units: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/**
 * Reads a size in bytes.
 *
 * @param size A whole number of bytes, or text such as `"64MiB"`, `"1.5 GiB"` or `"100MB"`.
 * @returns Bytes, rounded down.
 * @throws {AerostoreError} With `bad_argument` if it is neither, or not more than zero.
 *
 * @example Both kinds of units
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseSize } from "./size.ts";
 *
 * assert.equal(parseSize("64MiB"), 67_108_864);
 * assert.equal(parseSize("64MB"), 64_000_000);
 * ```
 */
export function parseSize(size: number | string): number {
  const bytes = typeof size === "string" ? parseText(size) : size;
  if (Number.isFinite(bytes) && bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER) {
    return Math.floor(bytes);
  }
  throw new AerostoreError(
    "bad_argument",
    `Cannot use the size ${quote(size)}: it must be bytes, or text such as "64MiB"`,
  );
}

function parseText(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$/.exec(text);
  const unit = units[match?.[2] === "" ? "B" : match?.[2] ?? ""];
  return match === null || unit === undefined ? NaN : Number(match[1]) * unit;
}
