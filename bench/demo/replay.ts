/**
 * What all processes of the demo agree on: the clock of the replay, who writes which flight, and
 * how they are told.
 *
 * @module
 */

import process from "node:process";
import type { Flight } from "./tables.ts";

/** The first and the last moment of the replay: 6 in New York, 22 in Los Angeles. */
export const replayStart = Date.parse("2001-01-04T11:00:00Z");
export const replayEnd = Date.parse("2001-01-05T06:00:00Z");

/** A writer that has been silent for this long is taken for dead. */
export const silenceMs = 1_500;

/** The names of the writers, and the runtimes they run on. */
export const writerNames = ["bun", "deno"] as const;

/** The name of a writer. */
export type WriterName = typeof writerNames[number];

/** What a process of the demo is told when it starts, as JSON in its first argument. */
export interface Orders {
  /** The data directory. */
  readonly directory: string;
  /** The directory of the region file. */
  readonly shmPath: string;
  /** How long the replay takes, in seconds. */
  readonly seconds: number;
  /** Whether the searcher may move the cursor. */
  readonly live: boolean;
  /** Who a writer is; empty for the others. */
  readonly name: WriterName | "";
}

/** Reads the orders of this process. */
export function readOrders(): Orders {
  return JSON.parse(process.argv[2] ?? "null") as Orders;
}

/** What a writer tells main, one line each. */
export type News =
  /** It has opened the database and waits for the start. */
  | { readonly ready: true }
  /** So many commits have returned. */
  | { readonly commits: number }
  /** The other writer is silent; this one now moves so many flights of it as well. */
  | { readonly inherited: number };

/** Returns which writer is responsible for the flight of an index: each for every other one. */
export function writerOf(index: number): WriterName {
  return index % 2 === 0 ? "bun" : "deno";
}

/**
 * Returns the moment of the replay at a moment of the machine's clock.
 *
 * @param now Milliseconds of the machine's clock.
 * @param startedAt When the replay started, by the same clock.
 * @param seconds How long it takes.
 */
export function replayTime(now: number, startedAt: number, seconds: number): number {
  const done = Math.max(0, Math.min(1, (now - startedAt) / (seconds * 1000)));
  return Math.round(replayStart + done * (replayEnd - replayStart));
}

/** Flights of which each that has departed is either in the air or has landed. */
export class Fleet {
  readonly #flights: readonly Flight[];
  #departed = 0;
  #flying: Flight[] = [];

  /** @param flights The flights, by departure. */
  constructor(flights: readonly Flight[]) {
    this.#flights = flights;
  }

  /**
   * Returns the flights that are in the air, and those that have landed since the last call.
   *
   * @param at The moment, not before that of the last call.
   */
  moving(at: number): readonly Flight[] {
    for (;;) {
      const flight = this.#flights[this.#departed];
      if (flight === undefined || flight.off_at > at) break;
      this.#departed++;
      this.#flying.push(flight);
    }
    const moving = this.#flying;
    this.#flying = moving.filter((flight) => flight.on_at > at);
    return moving;
  }
}
