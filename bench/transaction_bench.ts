/**
 * What does a transaction cost, in one process and in several at once?
 *
 *     npm run bench -- transaction
 *     npm run bun -- bench/transaction_bench.ts --rows 10000
 *
 * One table says the processor time of a transaction in one process, the next the throughput of
 * several processes, on rows at random and on one row that all of them want.
 */

import process from "node:process";
import { type Accounts, AccountsPlace, findStores, type OpenAccounts } from "./accounts.ts";
import { type CrowdTask, runCrowds } from "./crowd.ts";
import { runBenchmark, type Settings, type Task } from "./harness.ts";

const rowsDefault = 100_000;

/** Accounts in a place of their own. */
class Placed implements Disposable {
  readonly #place: AccountsPlace;
  readonly accounts: Accounts;

  private constructor(place: AccountsPlace, accounts: Accounts) {
    this.#place = place;
    this.accounts = accounts;
  }

  static async open(open: OpenAccounts, rows: number): Promise<Placed> {
    const place = new AccountsPlace();
    return new Placed(place, await open(place, rows));
  }

  [Symbol.dispose](): void {
    this.accounts[Symbol.dispose]();
    this.#place[Symbol.dispose]();
  }
}

/** Transactions of one call: the clock counts in microseconds. */
const portion = 500;
const rowsOfMany = 10;

function tasks({ rows }: Settings): Task<Placed>[] {
  const all = Array.from({ length: rows }, (_, id) => id);
  const step = Math.floor(rows / rowsOfMany);
  const task = (
    title: string,
    run: (accounts: Accounts, ids: readonly number[]) => unknown,
  ): Task<Placed> => ({
    title,
    item: "transaction",
    items: portion,
    prepare: ({ accounts }) => {
      let next = 0;
      const some = (): number[] => {
        // Far apart, so that each is in another place of memory.
        const first = next * 7_919 % step;
        next += 1;
        return Array.from({ length: rowsOfMany }, (_, index) => first + index * step);
      };
      // All begin with the same balances, and the sum of all tells what the first call did.
      accounts.write(all);
      let first = true;
      return () => {
        for (let count = 0; count < portion; count++) run(accounts, some());
        if (!first) return undefined;
        first = false;
        return accounts.read(all);
      };
    },
  });
  return [
    task("read-only transaction of 10 gets", (accounts, ids) => accounts.read(ids)),
    task("read-modify-write of one row", (accounts, [id = 0]) => accounts.increment(id)),
    task(
      "transfer between two rows",
      (accounts, [from = 0, to = 1]) => accounts.transfer(from, to),
    ),
    task("write of 10 rows", (accounts, ids) => accounts.write(ids)),
  ];
}

const crowdTasks: readonly CrowdTask[] = [
  { name: "read", title: "read-only transaction of 10 gets", processes: [1, 2] },
  { name: "increment", title: "read-modify-write of one row", processes: [1, 2], adds: 1 },
  { name: "transfer", title: "transfer between two rows", processes: [1, 2], adds: 0 },
  { name: "write", title: "write of 10 rows", processes: [1, 2] },
  { name: "hot", title: "read-modify-write of the same row", processes: [1, 2, 4], adds: 1 },
  { name: "hotAdd", title: "addition to the same row", processes: [1, 2, 4], adds: 1 },
];

const { stores, missing } = await findStores();
const contenders = Object.fromEntries(
  Object.entries(stores).map(([name, open]) => [
    name,
    ({ rows }: Settings) => Placed.open(open, rows),
  ]),
);
await runBenchmark<Placed>(new URL(import.meta.url), {
  question: "What does a transaction cost from TypeScript?",
  rows: rowsDefault,
  contenders,
  tasks,
  then: (settings) => runCrowds(Object.keys(stores), crowdTasks, settings),
});
if (!process.argv.includes("--contender")) { for (const reason of missing) console.log(reason); }
