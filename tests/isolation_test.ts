/**
 * Transactions are serializable: no anomaly by name, and no broken promise at full speed.
 *
 * The scenarios run in one process and across two of different runtimes. Then they run on libraries
 * that have a deliberate mistake, where each must fail: a test that nothing can fail proves
 * nothing.
 */

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { Columns, TableDefinition } from "../mod.ts";
import {
  Account,
  type Actor,
  IndexedAccount,
  LocalActor,
  openBy,
  RemoteActor,
  type Step,
} from "./support/actors.ts";
import { type Scenario, scenarios } from "./support/isolation_scenarios.ts";
import { mutatedLibrary } from "./support/mutated_library.ts";
import { Store } from "./support/store.ts";

type AnyTable = TableDefinition<string, Columns>;

const tables: readonly AnyTable[] = [Account, IndexedAccount];

/** Plays a scenario on a database of its own. */
async function play(
  scenario: Scenario,
  table: AnyTable,
  actors: readonly [Actor, Actor],
): Promise<void> {
  using store = new Store();
  const first = await openBy(actors[0], store.directory, store.options, table);
  const second = actors[0] === actors[1]
    ? first
    : await openBy(actors[1], store.directory, store.options, table);
  try {
    await scenario.play(first, second);
    const reply = await actors[0].run(onDatabase("verify"));
    assert.ok("value" in reply, JSON.stringify(reply));
    const { ok, leaks, problems } = reply.value as Verdict;
    assert.deepEqual({ ok, leaks, problems }, { ok: true, leaks: 0, problems: [] });
  } finally {
    // Before the files go: a database whose files are gone cannot be closed in order.
    for (const actor of actors) await actor.run(onDatabase("close"));
  }
}

interface Verdict {
  ok: boolean;
  leaks: number;
  problems: string[];
}

/** A step that concerns no table. */
function onDatabase(call: "verify" | "close"): Step {
  return { call, args: [], transaction: "", table: "" };
}

for (const table of tables) {
  describe(`in one process, with table ${table.name}, there is no`, () => {
    for (const scenario of scenarios) {
      test(scenario.name, async () => {
        using actor = new LocalActor();
        await play(scenario, table, [actor, actor]);
      });
    }
  });
}

/** Actors that are started when first needed, and shared by the tests of a group. */
class Pair implements Disposable {
  #actors: [Actor, Actor] | undefined;

  get(library?: string): [Actor, Actor] {
    this.#actors ??= [new RemoteActor("bun", library), new RemoteActor("deno", library)];
    return this.#actors;
  }

  [Symbol.dispose](): void {
    for (const actor of this.#actors ?? []) actor[Symbol.dispose]();
  }
}

describe("between a Bun and a Deno process there is no", () => {
  const pair = new Pair();
  after(() => pair[Symbol.dispose]());
  for (const table of tables) {
    for (const scenario of scenarios) {
      test(`${scenario.name} (${table.name})`, { timeout: 60_000 }, async () => {
        const [bun, deno] = pair.get();
        await play(scenario, table, [bun, deno]);
        await play(scenario, table, [deno, bun]);
      });
    }
  }
});

for (const mutation of ["no_validation", "moving_snapshot"] as const) {
  describe(`with the mistake ${mutation} there is`, () => {
    const pair = new Pair();
    after(() => pair[Symbol.dispose]());
    for (const scenario of scenarios.filter((one) => one.mutation === mutation)) {
      test(scenario.name, { timeout: 120_000 }, async () => {
        const actors = pair.get(await mutatedLibrary(mutation));
        for (const table of tables) {
          await assert.rejects(play(scenario, table, actors), { name: "AssertionError" });
        }
      });
    }
  });
}
