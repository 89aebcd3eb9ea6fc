/** Processes whose clocks show different times: each measures by its own, and none asks another. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { Child, runtimes } from "./support/children.ts";
import { leaderOf } from "./support/leader.ts";
import { PromisingStore } from "./support/crew.ts";
import { assertSound, until } from "./support/verify.ts";
import { Counter } from "./support/workload.ts";

const daySecs = 24 * 3600;
/** A program that starts another one with a clock that is ahead, and dies with it. */
const ahead = ["unshare", "--time", "--monotonic", String(30 * daySecs), "--kill-child"];

describe("processes in different time namespaces", () => {
  for (const promise of ["on", "off"] as const) {
    test(`work together at ${promise}, and take over from each other`, {
      timeout: 120_000,
    }, async (context) => {
      const [command = "", ...flags] = ahead;
      if (spawnSync(command, [...flags, "true"]).status !== 0) {
        return context.skip("needs the right to make a time namespace");
      }
      using store = new PromisingStore(promise);
      {
        using db = store.open({ tables: [Counter] });
        db.table(Counter).insert({ id: 0 });
        db.close();
      }
      const { directory, options } = store;
      const args = { directory, options };
      const times = 150;
      // Each of them leads once: the first one in its time, then the other.
      for (const [first, second] of [[ahead, []], [[], ahead]] as const) {
        using leader = new Child("bun", "incrementer.ts", args, {}, first);
        assert.equal(await leader.next(), "ready");
        await until("somebody leads", () => leaderOf(store).pid !== 0);
        const before = leaderOf(store);
        using other = new Child("deno", "incrementer.ts", args, {}, second);
        assert.equal(await other.next(), "ready");
        for (const by of ["apply", "transaction"]) {
          leader.send({ by, times });
          other.send({ by, times });
          await Promise.all([leader.next(), other.next()]);
        }
        await leader.kill();
        other.send({ by: "apply", times });
        await other.next();
        await until("the other one leads", () => leaderOf(store).changes > before.changes);
        await other.finish();
      }
      using db = store.open();
      assert.equal(db.table(Counter).get(0)?.total, 2 * 5 * times);
      await until("the dead are recovered", () => db.stats().processes === 1);
      assertSound(db);
      assert.equal(runtimes.length, 2);
    });
  }
});
