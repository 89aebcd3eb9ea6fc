/**
 * Endless random writes that are the same every time: a name and a seed decide each of them. So
 * whoever knows how many a process has done knows what must be in the database.
 *
 * @module
 */

import { type Aerostore, defineTable, type InsertOf, type RowOf, t } from "../../mod.ts";

/** What the writers write. A row belongs to the writer whose name its key begins with. */
export const Item = defineTable("Item", {
  id: t.text(24).primaryKey(),
  step: t.int32().index(),
  owner: t.text(12).index(),
  note: t.text(400).nullable(),
});

/** Counters that all writers increment. */
export const Counter = defineTable("Counter", {
  id: t.int32().primaryKey(),
  total: t.int64().default(0),
});

/** How many counters there are. */
export const counterCount = 3;

const keyCount = 24;

type ItemRow = RowOf<typeof Item>;

/** A change of one row; `undefined` deletes it. */
type Change = readonly [id: string, row: ItemRow | undefined];

/** What one operation does, all of it or nothing. */
interface Operation {
  readonly kind: "single" | "many" | "transaction" | "abandoned";
  readonly changes: readonly Change[];
  /** The counter that a transaction increments. */
  readonly counter: number;
}

/** Numbers below 2^32 that a seed decides (mulberry32, public domain, Tommy Ettinger). */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The operations of one writer, and what they lead to. */
export class Workload {
  /** The rows of the writer after all operations so far. */
  readonly rows = new Map<string, ItemRow>();
  /** How often each counter was incremented so far. */
  readonly added: number[] = Array.from({ length: counterCount }, () => 0);
  readonly #name: string;
  readonly #random: (below: number) => number;
  #done = 0;

  /**
   * Begins before the first operation.
   *
   * @param name The name of the writer, at most 12 bytes.
   * @param seed Decides everything.
   */
  constructor(name: string, seed: number) {
    this.#name = name;
    this.#random = randomNumbers(seed);
  }

  /** How many operations were taken. */
  get done(): number {
    return this.#done;
  }

  /** All keys that the writer may use. */
  get keys(): string[] {
    return Array.from({ length: keyCount }, (_, i) => `${this.#name}-${i}`);
  }

  /** Takes operations until `count` have been taken. */
  skipTo(count: number): void {
    while (this.#done < count) this.next();
  }

  /** Takes the next operation. Each changes a row of the writer, unless it is abandoned. */
  next(): Operation {
    this.#done += 1;
    const choice = this.#random(100);
    if (choice < 55) return this.#take("single", [this.#change()]);
    if (choice < 65) return this.#take("many", this.#upserts(2 + this.#random(20)));
    const changes = this.#distinct(1 + this.#random(6));
    if (choice >= 96) return { kind: "abandoned", changes, counter: this.#random(counterCount) };
    const operation = this.#take("transaction", changes);
    this.added[operation.counter] = (this.added[operation.counter] ?? 0) + 1;
    return operation;
  }

  #take(kind: Operation["kind"], changes: readonly Change[]): Operation {
    for (const [id, row] of changes) {
      if (row === undefined) this.rows.delete(id);
      else this.rows.set(id, row);
    }
    return { kind, changes, counter: this.#random(counterCount) };
  }

  /** A new row for a key, or the end of the one it has. */
  #change(): Change {
    const id = `${this.#name}-${this.#random(keyCount)}`;
    return [id, this.rows.has(id) && this.#random(4) === 0 ? undefined : this.#row(id)];
  }

  #distinct(count: number): Change[] {
    const changes = Array.from({ length: count }, () => this.#change());
    return [...new Map(changes.map((change) => [change[0], change])).values()];
  }

  #upserts(count: number): Change[] {
    const first = this.#random(keyCount);
    return Array.from({ length: Math.min(count, keyCount) }, (_, i) => {
      const id = `${this.#name}-${(first + i) % keyCount}`;
      return [id, this.#row(id)];
    });
  }

  #row(id: string): ItemRow {
    const length = this.#random(3) === 0 ? this.#random(400) : 0;
    const note = length === 0 ? null : String.fromCharCode(97 + this.#done % 26).repeat(length);
    return { id, step: this.#done, owner: this.#name, note };
  }
}

/** Does one operation. When this returns, it is done and cannot be lost. */
export function perform(
  db: Aerostore,
  operation: Operation,
  existing: (id: string) => boolean,
): void {
  const items = db.table(Item);
  const { kind, changes } = operation;
  const [first] = changes;
  if (first === undefined) throw new Error("An operation changes at least one row");
  if (kind === "single") {
    writeOne(items, first, existing(first[0]));
    return;
  }
  if (kind === "many") {
    items.upsertMany(changes.flatMap(([, row]) => row === undefined ? [] : [row]));
    return;
  }
  if (kind === "abandoned") {
    using transaction = db.begin();
    const table = transaction.table(Item);
    for (const change of changes) writeOne(table, change, existing(change[0]));
    return;
  }
  db.transaction((transaction) => {
    const table = transaction.table(Item);
    for (const change of changes) writeOne(table, change, existing(change[0]));
    const counters = transaction.table(Counter);
    const total = counters.get(operation.counter)?.total ?? 0;
    counters.update(operation.counter, { total: total + 1 });
  }, { retriesMax: 100_000 });
}

/** What tables and transactions have in common. */
interface Items {
  insert(row: InsertOf<typeof Item>): void;
  upsert(row: InsertOf<typeof Item>): void;
  update(id: string, patch: Omit<ItemRow, "id">): void;
  delete(id: string): boolean;
}

/** Writes in the way that fits, each in its turn: a row that exists is updated or replaced. */
function writeOne(items: Items, [id, row]: Change, exists: boolean): void {
  if (row === undefined) {
    if (!items.delete(id)) throw new Error(`Row ${id} is not there to be deleted`);
  } else if (!exists) {
    if (row.step % 2 === 0) items.insert(row);
    else items.upsert(row);
  } else if (row.step % 2 === 0) {
    items.upsert(row);
  } else {
    const { id: _, ...patch } = row;
    items.update(id, patch);
  }
}
