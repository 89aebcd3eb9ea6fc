/**
 * Waiting, without blocking, until commits are on disk.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import type { Connection } from "./native.ts";

/** How long closing may wait for the disk on behalf of promises. */
const closeTimeoutMs = 1000;

/** A promise that somebody holds. */
interface Waiter {
  /** The commit position that must be on disk. */
  readonly position: number;
  /** What was attempted, for an error. */
  readonly attempt: string;
  readonly resolve: () => void;
  readonly reject: (error: AerostoreError) => void;
}

/** The waits of one open database. */
export class DurabilityWaits {
  readonly #connection: Connection;
  #waiters: Waiter[] = [];
  readonly #look = (): boolean => this.#settle();

  /** @param connection The database. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * Waits until everything up to a position is on disk.
   *
   * @param position A commit position.
   * @param attempt What was attempted, for an error.
   * @throws {AerostoreError} Rejects with `durability_unknown`, `log_failed` or `disk_full` if the
   * log cannot be written, `closed` if the database is closed before.
   */
  wait(position: number, attempt: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { position, attempt, resolve, reject };
      // A commit of another process may have taken it along.
      if (this.#isSettled(waiter)) return;
      const nearest = this.#waiters.every((other) => other.position > position);
      this.#waiters.push(waiter);
      if (nearest) this.#arm();
      else this.#connection.durableRequest(position);
      if (this.#waiters.length > 0) this.#connection.onWakeup(this.#look);
    });
  }

  /**
   * Ends all waits: those whose commits get to disk within a second well, the others with
   * `closed`.
   */
  close(): void {
    const positions = this.#waiters.map(({ position }) => position);
    if (positions.length > 0) this.#connection.durableWait(Math.max(...positions), closeTimeoutMs);
    this.#waiters = this.#waiters.filter((waiter) => !this.#isSettled(waiter));
    for (const { attempt, reject } of this.#waiters.splice(0)) {
      reject(
        new AerostoreError(
          "closed",
          `Cannot ${attempt}: ${quote(this.#connection.path)} was closed before it was known ` +
            "to be on disk (closed)",
        ),
      );
    }
  }

  /** Resolves what has come to pass, and arms the next wake-up. Returns whether waits are left. */
  #settle(): boolean {
    this.#waiters = this.#waiters.filter((waiter) => !this.#isSettled(waiter));
    this.#arm();
    return this.#waiters.length > 0;
  }

  #isSettled(waiter: Waiter): boolean {
    const result = this.#connection.durablePoll(waiter.position);
    if (result === 0) return false;
    if (result > 0) waiter.resolve();
    else waiter.reject(this.#connection.error(result, waiter.attempt));
    return true;
  }

  /** Asks for the nearest position that is waited for: one wake-up at a time is enough. */
  #arm(): void {
    while (this.#waiters.length > 0) {
      let nearest = Infinity;
      for (const { position } of this.#waiters) nearest = Math.min(nearest, position);
      const result = this.#connection.durableArm(nearest);
      if (result === 0) return;
      const waiters = this.#waiters;
      this.#waiters = waiters.filter((waiter) => !this.#isSettled(waiter));
      if (result > 0) continue;
      // There is no way to be woken.
      for (const { attempt, reject } of this.#waiters.splice(0)) {
        reject(this.#connection.error(result, attempt));
      }
    }
  }
}
