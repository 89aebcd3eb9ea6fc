/**
 * The table of the benchmarks: positions of aircraft, eight columns of four types. A row follows
 * from its number, so all contenders work on the same rows and none has to keep them as objects.
 *
 * @module
 */

import { defineTable, type RowOf, t } from "../mod.ts";

/** The table. */
export const PositionTable = defineTable("Position", {
  icao24: t.text(6).primaryKey(),
  lat: t.float64(),
  lon: t.float64(),
  altitude: t.int32(),
  gs: t.int32(),
  updated_at: t.timestamp(),
  typ: t.text(8),
  destination: t.text(8),
});

/** A row. */
export type Position = RowOf<typeof PositionTable>;

/** Bytes of a region in which `rows` rows fit, with room for versions not yet recycled. */
export function regionSize(rows: number): number {
  return (64 << 20) + rows * 640;
}

/** Bits of a number, mixed well: the same for the same number and salt. */
function mix(number: number, salt: number): number {
  let mixed = Math.imul(number + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
  mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

/** A number from 0 below 1. */
function fraction(number: number, salt: number): number {
  return mix(number, salt) / 2 ** 32;
}

const types = ["A20N", "A320", "A321", "B38M", "B738", "B739", "B77W", "B789", "C172", "E75L"];
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const airportCount = 1_000;
const airports = Array.from({ length: airportCount }, (_, index) => {
  const code = index * 17;
  const digits = [code % 26, Math.floor(code / 26) % 26, Math.floor(code / 676)];
  return `K${digits.map((digit) => letters[digit]).join("")}`;
});

/** Returns the key of the row of a number; different below 2^24. */
export function keyOf(number: number): string {
  return (Math.imul(number, 0x9e3779b1) & 0xffffff).toString(16).padStart(6, "0");
}

/** Returns the row of a number. */
export function positionOf(number: number): Position {
  return {
    icao24: keyOf(number),
    // Six digits behind the point, as positions arrive: a tenth of a metre.
    lat: Math.round(fraction(number, 1) * 180e6 - 90e6) / 1e6,
    lon: Math.round(fraction(number, 2) * 360e6 - 180e6) / 1e6,
    altitude: mix(number, 3) % 41_000,
    gs: mix(number, 4) % 600,
    updated_at: 1_533_099_600_000 + number * 100,
    typ: types[mix(number, 5) % types.length] ?? "",
    destination: airports[mix(number, 6) % airportCount] ?? "",
  };
}

/** Gives the rows of the numbers from 0 below `count`. */
export function* positions(count: number): Generator<Position> {
  for (let number = 0; number < count; number++) yield positionOf(number);
}

/**
 * Things to work on in portions: another portion each time, the first again after the last.
 *
 * @typeParam T What stands for a row.
 */
export class Portions<T> {
  readonly #portions: readonly (readonly T[])[];
  #at = -1;

  /**
   * Chooses rows at random, in the same way each time.
   *
   * @param count How many portions.
   * @param size Rows of each portion.
   * @param among From how many rows, from the first.
   * @param make Makes what stands for the row of a number.
   */
  constructor(count: number, size: number, among: number, make: (number: number) => T) {
    this.#portions = Array.from(
      { length: count },
      (_, portion) =>
        Array.from({ length: size }, (_, index) => make(mix(portion * size + index, 7) % among)),
    );
  }

  /** Returns the next portion. */
  next(): readonly T[] {
    this.#at = (this.#at + 1) % this.#portions.length;
    return this.#portions[this.#at] ?? [];
  }
}
