/**
 * Processes of both runtimes run random transactions as fast as they can, and keep promises that
 * only serializable transactions keep. On libraries with a deliberate mistake each promise is
 * broken.
 */

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { mutatedLibrary } from "./support/mutated_library.ts";
import { type Outcome, type Vow, vows } from "./support/vows.ts";
import { Store } from "./support/store.ts";
import { assertSound, until } from "./support/verify.ts";

const keeperCount = 4;

/** Processes that are started when first needed. */
class Keepers implements Disposable {
  readonly #environment: Readonly<Record<string, string>>;
  #children: Child[] = [];

  constructor(library?: string) {
    this.#environment = library === undefined ? {} : { AEROSTORE_LIBRARY: library };
  }

  /** Lets all keep a vow for a while; tells what each has done. */
  async keep(store: Store, { name }: Vow, ms: number): Promise<readonly Outcome[]> {
    if (this.#children.length === 0) {
      this.#children = Array.from(
        { length: keeperCount },
        (_, i) => new Child(runtimes[i % 2] ?? "bun", "vow_keeper.ts", null, this.#environment),
      );
      for (const child of this.#children) assert.equal(await child.next(), "ready");
    }
    const { directory, options } = store;
    for (const [number, child] of this.#children.entries()) {
      child.send({ directory, options, name, number, ms });
      // The first one fills the table.
      assert.equal(await child.next(), "prepared");
    }
    return await Promise.all(this.#children.map((child) => child.next())) as Outcome[];
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child[Symbol.dispose]();
  }
}

describe("at full speed, in four processes", () => {
  const keepers = new Keepers();
  after(() => keepers[Symbol.dispose]());
  for (const vow of vows) {
    test(vow.name, { timeout: 120_000 }, async () => {
      using store = new Store();
      const outcomes = await keepers.keep(store, vow, 600);
      for (const { acts, broken } of outcomes) {
        assert.equal(broken, "");
        assert.ok(acts > 0);
      }
      console.log(outcomes.map((outcome) => outcome.acts).join(" "));
      using db = store.open();
      await until("all have left", () => db.stats().processes === 1);
      assertSound(db);
    });
  }
});

for (const mutation of ["no_validation", "moving_snapshot", "dirty_read"] as const) {
  describe(`at full speed with the mistake ${mutation} it is not true that`, () => {
    let keepers: Keepers | undefined;
    after(() => keepers?.[Symbol.dispose]());
    for (const vow of vows.filter((one) => one.mutation === mutation)) {
      test(vow.name, { timeout: 120_000 }, async () => {
        keepers ??= new Keepers(await mutatedLibrary(mutation));
        let broken = "";
        for (let round = 0; broken === ""; round++) {
          using store = new Store();
          const outcomes = await keepers.keep(store, vow, 1000);
          broken = outcomes.map((outcome) => outcome.broken).find((text) => text !== "") ?? "";
          assert.ok(broken !== "" || round < 10, "nobody noticed the mistake");
        }
        console.log(broken);
      });
    }
  });
}
