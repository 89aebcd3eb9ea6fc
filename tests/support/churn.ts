/**
 * Endless change on a fixed set of keys.
 *
 * @module
 */

import { type Aerostore, defineTable, type InsertOf, t } from "../../mod.ts";

/** What changes. */
export const Plain = defineTable("Plain", {
  id: t.text(24).primaryKey(),
  step: t.int32(),
  owner: t.text(12),
  note: t.text(400).nullable(),
});

/** The same with indexes: each write moves a row to another place in both. */
export const Indexed = defineTable("Indexed", {
  id: t.text(24).primaryKey(),
  step: t.int32().index(),
  owner: t.text(12),
  note: t.text(400).nullable().index(),
});

/** A table to churn. */
export type ChurnTable = typeof Plain | typeof Indexed;

/** How many keys there are. */
export const churnKeys = 10_000;

/** Writes of one round: every key once, and a tenth of them deleted and inserted again. */
export const churnRoundWrites = churnKeys + 2 * (churnKeys / 10);

/** Positions that superseded rows may wait for a reader, before writers wait for it too. */
const lagMax = 120_000;

/** Notes of some sizes, so that rows change from one size of block to another. */
const notes = [null, "n".repeat(40), "m".repeat(150), "l".repeat(390)];

/** One writer. */
export class Churner {
  readonly #db: Aerostore;
  readonly #table: ChurnTable;
  readonly #rows: { -readonly [K in keyof InsertOf<typeof Plain>]: InsertOf<typeof Plain>[K] }[];
  #round = 0;

  constructor(db: Aerostore, table: ChurnTable) {
    this.#db = db;
    this.#table = table;
    this.#rows = Array.from(
      { length: churnKeys },
      (_, i) => ({ id: `k${i}`, step: 0, owner: "churn", note: null }),
    );
  }

  /** Writes one round. */
  run(): void {
    this.#round += 1;
    const items = this.#db.table(this.#table as typeof Plain);
    const step = this.#round;
    for (const [i, row] of this.#rows.entries()) {
      row.step = step;
      row.note = notes[(i * 7 + step) % 16] ?? null;
    }
    items.upsertMany(this.#rows, { atomic: false });
    for (let i = step % 10; i < churnKeys; i += 10) items.delete(`k${i}`);
    for (let i = step % 10; i < churnKeys; i += 10) {
      items.upsert({ id: `k${i}`, step, owner: "churn" });
    }
  }

  /** Lets others run, and waits while readers keep so much that the region might fill. */
  async yield(): Promise<void> {
    do {
      await new Promise((resolve) => setTimeout(resolve, 0));
    } while (this.#db.stats().horizonLag > lagMax);
  }
}
