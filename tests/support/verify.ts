/**
 * What tests of several processes ask of a region.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Aerostore } from "../../mod.ts";

/** Checks that the region is sound, has no leak, and that nobody is inside a transaction. */
export function assertSound(db: Aerostore): void {
  const { ok, quiescent, leaks, problems } = db.verify();
  assert.deepEqual({ ok, quiescent, leaks, problems }, {
    ok: true,
    quiescent: true,
    leaks: 0,
    problems: [],
  });
}

/** Waits until something holds. It is the test's own time limit that ends a wait in vain. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const started = Date.now();
  while (!holds()) {
    if (Date.now() - started > 30_000) assert.fail(`After 30 s still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
