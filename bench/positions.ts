/**
 * The table of the benchmarks: positions of aircraft, eight columns of four types. Made from a fixed
 * seed, so that every run works on the same rows.
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

/** Bytes of a region in which `rows` rows fit, with room for old versions that nobody recycled yet. */
export function regionSize(rows: number): number {
  return (64 << 20) + rows * 640;
}

/** Returns a generator of numbers from 0 below 1, the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const types = ["A20N", "A320", "A321", "B38M", "B738", "B739", "B77W", "B789", "C172", "E75L"];
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Returns the key of the row of an index; different below 2^24. */
export function keyAt(index: number): string {
  return (Math.imul(index, 0x9e3779b1) & 0xffffff).toString(16).padStart(6, "0");
}

/**
 * Makes rows.
 *
 * @param count How many; at most 2^24.
 * @param seed The seed of what is random in them.
 */
export function makePositions(count: number, seed: number = 1): Position[] {
  const next = random(seed);
  const upTo = (limit: number): number => Math.floor(next() * limit);
  // As in life, many rows share a destination. Texts that are equal are still made one by one.
  const letter = (): string => letters[upTo(letters.length)] ?? "";
  return Array.from({ length: count }, (_, index) => ({
    icao24: keyAt(index),
    lat: next() * 180 - 90,
    lon: next() * 360 - 180,
    altitude: upTo(41_000),
    gs: upTo(600),
    updated_at: 1_533_099_600_000 + index * 100,
    typ: types[upTo(types.length)] ?? "",
    destination: `K${letter()}${letter()}${letter()}`,
  }));
}

/**
 * Rows to touch, in portions: the next portion at each call, again from the first after the last.
 *
 * @typeParam T What stands for a row.
 */
export class Portions<T> {
  /** Rows of each portion. */
  readonly size: number;
  readonly #portions: readonly (readonly T[])[];
  #at = 0;

  /**
   * @param items What stands for the rows, in the order in which they are touched.
   * @param size Rows of each portion.
   */
  constructor(items: readonly T[], size: number) {
    this.size = size;
    this.#portions = Array.from(
      { length: Math.floor(items.length / size) },
      (_, index) => items.slice(index * size, (index + 1) * size),
    );
  }

  /** Returns the next portion. */
  next(): readonly T[] {
    this.#at = (this.#at + 1) % this.#portions.length;
    return this.#portions[this.#at] ?? [];
  }

  /** The first portion. */
  get first(): readonly T[] {
    return this.#portions[0] ?? [];
  }
}

/**
 * Chooses rows at random.
 *
 * @param rows All rows.
 * @param count How many to choose; the same may be chosen again.
 * @param among From how many rows, from the first.
 */
export function chooseRows(rows: readonly Position[], count: number, among: number): Position[] {
  const next = random(2);
  // The index is below the length, so there is a row.
  return Array.from({ length: count }, () => rows[Math.floor(next() * among)] as Position);
}
