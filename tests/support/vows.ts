/**
 * Vows that random transactions keep at full speed, as long as they are serializable.
 *
 * @module
 */

import { type Aerostore, AerostoreError } from "../../mod.ts";
import { Account } from "./actors.ts";
import { randomNumbers } from "./workload.ts";

type Transaction = ReturnType<Aerostore["begin"]>;

/** One of the processes that take part. */
export interface Participant {
  readonly db: Aerostore;
  /** Its number, from 0. */
  readonly number: number;
  readonly random: (below: number) => number;
}

/** What transactions do, and what must hold whenever somebody looks. */
export interface Vow {
  readonly name: string;
  /** The mistake under which it is broken. */
  readonly mutation: "no_validation" | "moving_snapshot" | "dirty_read";
  /** Fills the table that is empty before. */
  readonly prepare: (db: Aerostore) => void;
  /** Does one thing at random. */
  readonly act: (participant: Participant) => void;
  /** Says how the vow is broken as far as one transaction sees; empty if it is not. */
  readonly broken: (transaction: Transaction, participant: Participant) => string;
}

/** Broken where no transaction that only looks could see it. */
export class BrokenVow extends Error {
  override name = "BrokenVow";
}

const retry = { retriesMax: 100_000 };

function balances(transaction: Transaction, query = ""): number[] {
  return [...transaction.table(Account).search(query)].map((row) => row.balance);
}

function update(transaction: Transaction, id: string, balance: number): void {
  transaction.table(Account).update(id, { balance });
}

function balance(transaction: Transaction, id: string): number {
  return transaction.table(Account).get(id)?.balance ?? 0;
}

const accountCount = 8;

const transfers: Vow = {
  name: "transfers keep the sum (lost update, read skew)",
  mutation: "no_validation",
  prepare(db) {
    for (let i = 0; i < accountCount; i++) db.table(Account).insert({ id: `a${i}`, balance: 100 });
  },
  act({ db, random }) {
    db.transaction((transaction) => {
      const from = `a${random(accountCount)}`;
      const to = `a${random(accountCount)}`;
      if (from === to) return;
      const amount = random(20);
      update(transaction, from, balance(transaction, from) - amount);
      update(transaction, to, balance(transaction, to) + amount);
    }, retry);
  },
  broken(transaction) {
    const sum = balances(transaction).reduce((a, b) => a + b, 0);
    return sum === 100 * accountCount ? "" : `the sum is ${sum}`;
  },
};

const totalOf = (transaction: Transaction): number =>
  balance(transaction, "x") + balance(transaction, "y");

const withdrawals: Vow = {
  name: "two accounts stay above zero together (write skew)",
  mutation: "no_validation",
  prepare(db) {
    for (const id of ["x", "y"]) db.table(Account).insert({ id, balance: 2 });
  },
  act({ db, random }) {
    const id = random(2) === 0 ? "x" : "y";
    db.transaction((transaction) => {
      const total = totalOf(transaction);
      update(transaction, id, balance(transaction, id) + (total > 0 ? -total : 2));
    }, retry);
  },
  broken(transaction) {
    const total = totalOf(transaction);
    return total < 0 ? `together they hold ${total}` : "";
  },
};

const someoneOnCall: Vow = {
  name: "somebody is on call (phantom by update and delete)",
  mutation: "no_validation",
  prepare(db) {
    for (let i = 0; i < 4; i++) db.table(Account).insert({ id: `d${i}`, onCall: true });
  },
  act({ db, random }) {
    const id = `d${random(4)}`;
    const deletes = random(2) === 0;
    db.transaction((transaction) => {
      const table = transaction.table(Account);
      const others = [...table.search("-compare {{true onCall}}")].filter((row) => row.id !== id);
      const me = table.get(id);
      if (me?.onCall !== true) table.upsert({ id, onCall: true });
      else if (others.length === 0) return;
      else if (deletes) table.delete(id);
      else table.update(id, { onCall: false });
    }, retry);
  },
  broken(transaction) {
    const some = balances(transaction, "-compare {{true onCall}}").length;
    return some === 0 ? "nobody is on call" : "";
  },
};

const oneOnCall: Vow = {
  name: "at most one is on call (phantom by insert)",
  mutation: "no_validation",
  prepare() {},
  act({ db, number, random }) {
    const id = `m${number}-${random(5)}`;
    db.transaction((transaction) => {
      const table = transaction.table(Account);
      const [taken] = table.search("-compare {{true onCall}}");
      if (taken === undefined) table.insert({ id, onCall: true });
      else table.delete(taken.id);
    }, retry);
  },
  broken(transaction) {
    const some = balances(transaction, "-compare {{true onCall}}").length;
    return some > 1 ? `${some} are on call` : "";
  },
};

const numbers: Vow = {
  name: "each number is given once (limit query)",
  mutation: "no_validation",
  prepare(db) {
    db.table(Account).insert({ id: "n0", balance: 0 });
  },
  act({ db, number }) {
    db.transaction((transaction) => {
      const table = transaction.table(Account);
      const [top] = table.search("-sort {-balance} -limit 1");
      const next = (top?.balance ?? 0) + 1;
      table.insert({ id: `${number}-${next}`, balance: next });
      // Few rows stay, so that the search takes a short time.
      const [old] = table.search("-sort balance -limit 1");
      if (old !== undefined && old.balance < next - 20) table.delete(old.id);
    }, retry);
  },
  broken(transaction) {
    const given = balances(transaction, "-sort balance");
    const first = given[0] ?? 0;
    const expected = given.map((_, i) => first + i);
    return given.join() === expected.join() ? "" : `given were ${given}`;
  },
};

const oneOfTwoKeys: Vow = {
  name: "one of two keys is absent (absent-key skew)",
  mutation: "no_validation",
  prepare() {},
  act({ db, random }) {
    const [id, other] = random(2) === 0 ? ["p", "q"] : ["q", "p"];
    db.transaction((transaction) => {
      const table = transaction.table(Account);
      if (table.has(other)) table.delete(other);
      else if (!table.has(id)) table.insert({ id });
    }, retry);
  },
  broken(transaction) {
    const table = transaction.table(Account);
    return table.has("p") && table.has("q") ? "both keys are there" : "";
  },
};

const equalPair: Vow = {
  name: "two rows change together (read skew)",
  mutation: "moving_snapshot",
  prepare(db) {
    for (const id of ["x", "y"]) db.table(Account).insert({ id });
  },
  act({ db }) {
    db.transaction((transaction) => {
      const next = balance(transaction, "x") + 1;
      update(transaction, "x", next);
      update(transaction, "y", next);
    }, retry);
  },
  broken(transaction) {
    const x = balance(transaction, "x");
    const y = balance(transaction, "y");
    return x === y ? "" : `x is ${x} and y is ${y}`;
  },
};

const refusedWrites: Vow = {
  name: "what was refused is never seen (dirty read)",
  mutation: "dirty_read",
  prepare(db) {
    for (const id of ["x", "y"]) db.table(Account).insert({ id, balance: 1 });
  },
  act({ db, number, random }) {
    if (number > 0) return;
    using transaction = db.begin();
    balance(transaction, "x");
    update(transaction, "y", -1);
    // Now it cannot commit, but finds out only when its version of y is in place.
    db.table(Account).update("x", { balance: random(1000) });
    try {
      transaction.commit();
    } catch (error) {
      if (error instanceof AerostoreError && error.code === "serialization_failure") return;
      throw error;
    }
    throw new BrokenVow("a transaction whose read was overwritten was committed");
  },
  broken(transaction, { db }) {
    const seen = [db.table(Account).get("y")?.balance, balance(transaction, "y")];
    return seen.every((one) => one === 1) ? "" : `y is ${seen}`;
  },
};

/** All vows. */
export const vows: readonly Vow[] = [
  transfers,
  withdrawals,
  someoneOnCall,
  oneOnCall,
  numbers,
  oneOfTwoKeys,
  equalPair,
  refusedWrites,
];

/** What a participant has done, and how the vow was broken, if it was. */
export interface Outcome {
  readonly acts: number;
  readonly broken: string;
}

/** Acts and looks for a while; ends early if the vow is broken. */
export function keep(vow: Vow, participant: Participant, ms: number): Outcome {
  const { db } = participant;
  let acts = 0;
  let broken = "";
  const end = Date.now() + ms;
  while (broken === "" && Date.now() < end) {
    try {
      for (let i = 0; i < 5; i++) vow.act(participant);
    } catch (error) {
      if (!(error instanceof BrokenVow)) throw error;
      return { acts, broken: error.message };
    }
    acts += 5;
    broken = db.transaction((transaction) => vow.broken(transaction, participant), {
      readOnly: true,
      snapshot: acts % 2 === 0 ? "latest" : "relaxed",
    });
  }
  return { acts, broken };
}

/** The random numbers of a participant. */
export function randomOf(number: number): (below: number) => number {
  return randomNumbers(number * 7919 + Date.now() % 1000);
}
