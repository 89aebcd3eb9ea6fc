/** Does transactions on accounts for as long as it is told to, and counts them: see `crowd.ts`. */

import process from "node:process";
import { createInterface } from "node:readline";
import { type Accounts, findStores } from "./accounts.ts";
import type { Order, WorkerArguments } from "./crowd.ts";

const { store, place, fill, rows, seed } = JSON.parse(process.argv[2] ?? "") as WorkerArguments;
const { stores } = await findStores();
const open = stores[store];
if (open === undefined) throw new Error(`There is no ${store}`);
using accounts = await open(place, fill);

/** Transactions between two looks at the clock. */
const batch = 16;
const all = Array.from({ length: rows }, (_, id) => id);
let state = seed * 7_919 + 1;

/** An account at random. */
function any(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor(state / 2 ** 32 * rows);
}

/** Ten different accounts in ascending order, at random. */
function ten(): number[] {
  const first = any();
  const step = Math.floor(rows / 10);
  return Array.from({ length: 10 }, (_, index) => (first + index * step) % rows).sort((a, b) =>
    a - b
  );
}

const tasks: Readonly<Record<string, (accounts: Accounts) => void>> = {
  read: (accounts) => void accounts.read(ten()),
  increment: (accounts) => accounts.increment(any()),
  transfer: (accounts) => {
    const from = any();
    accounts.transfer(from, (from + 1 + Math.floor(rows / 3)) % rows);
  },
  write: (accounts) => accounts.write(ten()),
  hot: (accounts) => accounts.increment(0),
  hotAdd: (accounts) => accounts.add === undefined ? accounts.increment(0) : accounts.add(0),
};

function work(task: (accounts: Accounts) => void, ms: number): number {
  const end = performance.now() + ms;
  let count = 0;
  do {
    for (let at = 0; at < batch; at++) task(accounts);
    count += batch;
  } while (performance.now() < end);
  return count;
}

console.log(0);
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as Order;
  if (!("ms" in order)) {
    console.log(accounts.read(all));
    continue;
  }
  const task = tasks[order.task];
  if (task === undefined) throw new Error(`There is no task ${order.task}`);
  console.log(work(task, order.ms));
}
