/**
 * The anomalies that serializable transactions must not have, each as one interleaving of
 * statements.
 *
 * Names and shapes are those of Adya (1999) and Fekete, O'Neil and O'Neil (2004). Each scenario
 * throws if the anomaly happens, and says which deliberate mistake in the engine brings it about.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { AccountRow, Statements } from "./actors.ts";

/** One interleaving. */
export interface Scenario {
  /** What must not happen. */
  readonly name: string;
  /**
   * The mistake, as `-Dmutation` names it, under which it does happen. Dirty reads then happen only
   * in the moment of a commit, which no interleaving of statements hits: see `vows.ts`.
   */
  readonly mutation: "no_validation" | "moving_snapshot" | "dirty_read";
  /** Plays it with two actors on one table that is empty before. */
  readonly play: (first: Statements, second: Statements) => Promise<void>;
}

/** Rows `x` and `y` with balances of 0. */
async function zeroes(table: Statements): Promise<void> {
  await table.insert({ id: "x", balance: 0 });
  await table.insert({ id: "y", balance: 0 });
}

/** Commits both; the first must succeed, and the second must not, as one of two rivals. */
async function oneWins(winner: Statements, loser: Statements): Promise<void> {
  assert.equal(await winner.commit(), true, "the first to commit has no reason to fail");
  assert.equal(await loser.commit(), false, "no serial order explains both transactions");
}

/** What the rows of a search are called. */
function ids(rows: readonly AccountRow[]): string[] {
  return rows.map((row) => row.id);
}

const dirtyRead: Scenario = {
  name: "dirty read",
  mutation: "dirty_read",
  async play(first, second) {
    await zeroes(first);
    const writer = await first.begin("writer");
    await writer.update("x", { balance: 1 });
    await writer.insert({ id: "z", balance: 1 });
    await writer.delete("y");
    const reader = await second.begin("reader");
    for (const one of [second, reader]) {
      assert.equal(await one.balance("x"), 0);
      assert.deepEqual(ids(await one.search("-sort id")), ["x", "y"]);
    }
    await writer.abort();
    assert.equal(await reader.balance("x"), 0);
    await reader.update("x", { balance: 2 });
    assert.equal(await reader.commit(), true, "nobody else has changed anything");
    assert.deepEqual(ids(await first.search("-sort id")), ["x", "y"]);
  },
};

const intermediateRead: Scenario = {
  name: "intermediate read",
  mutation: "dirty_read",
  async play(first, second) {
    await zeroes(first);
    const writer = await first.begin("writer");
    for (const balance of [1, 2, 3]) {
      await writer.update("x", { balance });
      assert.equal(await writer.balance("x"), balance, "it sees its own writes");
      assert.equal(await second.balance("x"), 0, "nobody else does");
    }
    assert.equal(await writer.commit(), true);
    assert.equal(await second.balance("x"), 3);
  },
};

const lostUpdate: Scenario = {
  name: "lost update",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    const b = await second.begin("b");
    const seen = [await a.balance("x"), await b.balance("x")];
    assert.deepEqual(seen, [0, 0]);
    await a.update("x", { balance: 10 });
    await b.update("x", { balance: 1 });
    await oneWins(a, b);
    assert.equal(await second.balance("x"), 10);
  },
};

const lostColumn: Scenario = {
  name: "lost update of another column",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    const b = await second.begin("b");
    await a.update("x", { balance: 10 });
    await b.update("x", { onCall: true });
    await oneWins(a, b);
    assert.deepEqual(await second.get("x"), { id: "x", balance: 10, onCall: false });
  },
};

const readSkew: Scenario = {
  name: "read skew",
  mutation: "moving_snapshot",
  async play(first, second) {
    await zeroes(first);
    const reader = await first.begin("reader", { readOnly: true });
    assert.equal(await reader.balance("x"), 0);
    const writer = await second.begin("writer");
    await writer.update("x", { balance: 5 });
    await writer.update("y", { balance: -5 });
    assert.equal(await writer.commit(), true);
    assert.equal(await reader.balance("y"), 0, "half of the other transaction was seen");
    assert.deepEqual((await reader.search("-sort id")).map((row) => row.balance), [0, 0]);
    assert.equal(await reader.commit(), true);
  },
};

const readSkewOfWriter: Scenario = {
  name: "read skew of a transaction that writes",
  mutation: "moving_snapshot",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    assert.equal(await a.balance("x"), 0);
    const writer = await second.begin("writer");
    await writer.update("x", { balance: 5 });
    await writer.update("y", { balance: -5 });
    assert.equal(await writer.commit(), true);
    assert.equal(await a.balance("y"), 0, "half of the other transaction was seen");
    await a.abort();
  },
};

const writeSkew: Scenario = {
  name: "write skew",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    const b = await second.begin("b");
    // Each may take 1 if the sum stays at least -1; together they take too much.
    for (const one of [a, b]) assert.equal(await one.balance("x") + await one.balance("y"), 0);
    await a.update("x", { balance: -1 });
    await b.update("y", { balance: -1 });
    await oneWins(a, b);
    assert.equal(await first.balance("x") + await first.balance("y"), -1);
  },
};

const circularFlow: Scenario = {
  name: "circular information flow",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    const b = await second.begin("b");
    await a.update("x", { balance: 1 });
    await b.update("y", { balance: 2 });
    assert.equal(await a.balance("y"), 0, "what is not committed is nobody else's");
    assert.equal(await b.balance("x"), 0, "what is not committed is nobody else's");
    await oneWins(a, b);
  },
};

const readOnlyAnomaly: Scenario = {
  name: "read-only anomaly",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    // Takes 10 of x, with a penalty of 1 because x and y together hold less.
    const withdrawal = await first.begin("withdrawal");
    assert.equal(await withdrawal.balance("x") + await withdrawal.balance("y"), 0);
    const deposit = await second.begin("deposit");
    await deposit.update("y", { balance: await deposit.balance("y") + 20 });
    assert.equal(await deposit.commit(), true);
    // Whoever sees the deposit and no withdrawal knows that there can be no penalty.
    const report = await second.begin("report", { readOnly: true });
    assert.deepEqual([await report.balance("x"), await report.balance("y")], [0, 20]);
    assert.equal(await report.commit(), true, "a transaction that only reads never fails");
    await withdrawal.update("x", { balance: -11 });
    assert.equal(await withdrawal.commit(), false, "the report has seen that it came later");
  },
};

const phantomByInsert: Scenario = {
  name: "phantom by insert",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    const b = await second.begin("b");
    // Whoever finds nobody on call adds somebody: at most one is.
    for (const one of [a, b]) {
      assert.deepEqual(await one.search("-compare {{true onCall}}"), []);
      await one.insert({ id: one === a ? "p" : "q", onCall: true });
    }
    await oneWins(a, b);
    assert.deepEqual(ids(await first.search("-compare {{true onCall}}")), ["p"]);
  },
};

const phantomByUpdate: Scenario = {
  name: "phantom by update",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    const b = await second.begin("b");
    for (const one of [a, b]) {
      assert.deepEqual(await one.search("-compare {{> balance 100}}"), []);
      await one.update(one === a ? "x" : "y", { balance: 150 });
    }
    await oneWins(a, b);
    assert.deepEqual(ids(await first.search("-compare {{> balance 100}}")), ["x"]);
  },
};

const phantomByDelete: Scenario = {
  name: "phantom by delete",
  mutation: "no_validation",
  async play(first, second) {
    await first.insert({ id: "p", onCall: true });
    await first.insert({ id: "q", onCall: true });
    const a = await first.begin("a");
    const b = await second.begin("b");
    // Whoever finds two on call lets one go: at least one stays.
    for (const one of [a, b]) {
      assert.equal((await one.search("-compare {{true onCall}}")).length, 2);
      await one.delete(one === a ? "p" : "q");
    }
    await oneWins(a, b);
    assert.deepEqual(ids(await first.search("-compare {{true onCall}}")), ["q"]);
  },
};

const phantomInRange: Scenario = {
  name: "phantom in a range",
  mutation: "no_validation",
  async play(first, second) {
    for (const balance of [10, 20, 30]) await first.insert({ id: `r${balance}`, balance });
    const a = await first.begin("a");
    const b = await second.begin("b");
    const range = "-compare {{range balance 15 35}} -sort balance";
    for (const one of [a, b]) {
      assert.deepEqual(ids(await one.search(range)), ["r20", "r30"]);
      await one.insert({ id: one === a ? "r25" : "r26", balance: one === a ? 25 : 26 });
    }
    await oneWins(a, b);
    assert.deepEqual(ids(await first.search(range)), ["r20", "r25", "r30"]);
  },
};

const rowThatLeavesARange: Scenario = {
  name: "phantom by a row that leaves a range",
  mutation: "no_validation",
  async play(first, second) {
    await first.insert({ id: "p", balance: 20 });
    await first.insert({ id: "q", balance: 30 });
    const a = await first.begin("a");
    const b = await second.begin("b");
    // Whoever finds two in the range moves one out of it: one stays.
    for (const one of [a, b]) {
      assert.equal((await one.search("-compare {{range balance 15 35}}")).length, 2);
      await one.update(one === a ? "p" : "q", { balance: 1000 });
    }
    await oneWins(a, b);
    assert.equal((await first.search("-compare {{range balance 15 35}}")).length, 1);
  },
};

const limitQuery: Scenario = {
  name: "phantom in a limit query",
  mutation: "no_validation",
  async play(first, second) {
    for (const balance of [10, 20, 30]) await first.insert({ id: `r${balance}`, balance });
    const a = await first.begin("a");
    const b = await second.begin("b");
    // Each takes the number below the smallest: two must not get the same.
    for (const one of [a, b]) {
      const [smallest] = await one.search("-sort balance -limit 1");
      assert.equal(smallest?.balance, 10);
      await one.insert({ id: one === a ? "p" : "q", balance: 9 });
    }
    await oneWins(a, b);
    assert.deepEqual(ids(await first.search("-sort balance -limit 2")), ["p", "r10"]);
  },
};

const limitWithOffset: Scenario = {
  name: "phantom in a limit query with an offset",
  mutation: "no_validation",
  async play(first, second) {
    for (const balance of [10, 20, 30]) await first.insert({ id: `r${balance}`, balance });
    const a = await first.begin("a");
    const b = await second.begin("b");
    // A row before the page moves everything on it.
    for (const one of [a, b]) {
      const page = await one.search("-sort balance -offset 1 -limit 1");
      assert.deepEqual(ids(page), ["r20"]);
      await one.insert({ id: one === a ? "p" : "q", balance: 1 });
    }
    await oneWins(a, b);
  },
};

const absentKeySkew: Scenario = {
  name: "absent-key skew",
  mutation: "no_validation",
  async play(first, second) {
    const a = await first.begin("a");
    const b = await second.begin("b");
    assert.equal(await a.get("q"), null);
    assert.equal(await b.has("p"), false);
    await a.insert({ id: "p" });
    await b.insert({ id: "q" });
    await oneWins(a, b);
    assert.deepEqual(ids(await first.search("-sort id")), ["p"]);
  },
};

const absentKeyOfDeleted: Scenario = {
  name: "absent-key skew where there was a row once",
  mutation: "no_validation",
  async play(first, second) {
    await first.insert({ id: "p" });
    await first.insert({ id: "q" });
    await second.delete("p");
    await second.delete("q");
    await absentKeySkew.play(first, second);
  },
};

const deletedAndInsertedAgain: Scenario = {
  name: "lost update of a row that was deleted and inserted again",
  mutation: "no_validation",
  async play(first, second) {
    await zeroes(first);
    const a = await first.begin("a");
    assert.equal(await a.balance("x"), 0);
    await second.delete("x");
    await second.insert({ id: "x", balance: 0 });
    await second.update("x", { balance: 7 });
    await a.update("x", { balance: 1 });
    assert.equal(await a.commit(), false, "the row that was read is gone");
    assert.equal(await first.balance("x"), 7);
  },
};

const insertTwice: Scenario = {
  name: "two inserts of one key",
  mutation: "no_validation",
  async play(first, second) {
    const a = await first.begin("a");
    const b = await second.begin("b");
    // Each writes another row as well, by which a mistake could be told.
    await a.insert({ id: "p", balance: 1 });
    await a.upsert({ id: "by", balance: 1 });
    await b.insert({ id: "p", balance: 2 });
    await b.upsert({ id: "by", balance: 2 });
    await oneWins(a, b);
    assert.deepEqual([await first.balance("p"), await first.balance("by")], [1, 1]);
  },
};

const longFork: Scenario = {
  name: "long fork",
  mutation: "moving_snapshot",
  async play(first, second) {
    await zeroes(first);
    const one = await first.begin("one", { readOnly: true });
    const other = await second.begin("other", { readOnly: true });
    assert.equal(await one.balance("y"), 0);
    assert.equal(await other.balance("x"), 0);
    await first.update("x", { balance: 1 });
    await second.update("y", { balance: 1 });
    const seen = { x: await one.balance("x"), y: await other.balance("y") };
    // Otherwise one saw x and not y, the other y and not x.
    assert.ok(seen.x === 0 || seen.y === 0, "two readers disagree about what came first");
    assert.deepEqual([await one.commit(), await other.commit()], [true, true]);
  },
};

/** All scenarios that one interleaving of statements decides. */
export const scenarios: readonly Scenario[] = [
  dirtyRead,
  intermediateRead,
  lostUpdate,
  lostColumn,
  readSkew,
  readSkewOfWriter,
  writeSkew,
  circularFlow,
  readOnlyAnomaly,
  phantomByInsert,
  phantomByUpdate,
  phantomByDelete,
  phantomInRange,
  rowThatLeavesARange,
  limitQuery,
  limitWithOffset,
  absentKeySkew,
  absentKeyOfDeleted,
  deletedAndInsertedAgain,
  insertTwice,
  longFork,
];
