/**
 * Throughput of several processes that work on one store at the same time.
 *
 * Each contender gets a place for its files and as many processes as are asked for at the most.
 * They open the store, wait, and do a task for a while when they are told to; then each says how
 * often it did it. All contenders take turns, task by task and round by round, and the best round
 * counts: whatever else runs on the machine can only take away from it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { AccountsPlace } from "./accounts.ts";

/** What a worker is started with, as JSON in its first argument. */
export interface WorkerArguments {
  /** The name of the store. */
  readonly store: string;
  /** Where its files are. */
  readonly place: { readonly root: string; readonly shmPath: string };
  /** Accounts that it writes first, 0 for whoever finds them there. */
  readonly fill: number;
  /** Accounts that there are. */
  readonly rows: number;
  /** Different for each worker, so that they choose different rows. */
  readonly seed: number;
}

/** What a worker is told to do, as JSON on a line. */
export type Order =
  | { readonly task: string; readonly ms: number }
  /** Sum up all balances. */
  | { readonly task: "sum" };

/** A task of a crowd. */
export interface CrowdTask {
  /** What it is called by the workers. */
  readonly name: string;
  /** What it is. */
  readonly title: string;
  /** Numbers of processes that do it at the same time. */
  readonly processes: readonly number[];
  /** What each time adds to the sum of all balances; undefined if that says nothing. */
  readonly adds?: number;
}

/** One process. */
class Worker {
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  constructor(args: WorkerArguments) {
    const flags = process.versions["bun"] === undefined ? ["--allow-all", "--no-check"] : [];
    const script = fileURLToPath(new URL("./crowd_worker.ts", import.meta.url));
    this.#process = spawn(
      process.execPath,
      ["run", ...flags, script, JSON.stringify(args)],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    this.#ended = new Promise((resolve) => this.#process.on("close", resolve));
    this.#process.stdin?.on("error", () => {});
    if (this.#process.stdout === null) throw new Error("The worker has no output");
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** Waits for what the worker says next. */
  async next(): Promise<number> {
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error("A worker ended before it answered");
    return Number(answer.value);
  }

  tell(order: Order): void {
    this.#process.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  async finish(): Promise<void> {
    this.#process.stdin?.end();
    await this.#ended;
  }
}

/** The processes of one contender. */
class Crowd {
  readonly name: string;
  readonly #place = new AccountsPlace();
  readonly #workers: Worker[] = [];

  constructor(name: string) {
    this.name = name;
  }

  async start(count: number, rows: number): Promise<void> {
    const { root, shmPath } = this.#place;
    for (let seed = 0; seed < count; seed++) {
      const fill = seed === 0 ? rows : 0;
      const worker = new Worker({
        store: this.name,
        place: { root, shmPath },
        fill,
        rows,
        seed,
      });
      this.#workers.push(worker);
      // One after the other: the first one makes the store.
      await worker.next();
    }
  }

  /** Lets some workers do a task; returns how often a second they did it together. */
  async run({ name, adds }: CrowdTask, count: number, ms: number): Promise<number> {
    const workers = this.#workers.slice(0, count);
    const before = adds === undefined ? 0 : await this.#sum();
    for (const worker of workers) worker.tell({ task: name, ms });
    let total = 0;
    for (const worker of workers) total += await worker.next();
    if (adds !== undefined) {
      const after = await this.#sum();
      assert.equal(after - before, adds * total, `${this.name} has lost or invented something`);
    }
    return total / (ms / 1_000);
  }

  async #sum(): Promise<number> {
    const [first] = this.#workers;
    if (first === undefined) return 0;
    first.tell({ task: "sum" });
    return await first.next();
  }

  async finish(): Promise<void> {
    for (const worker of this.#workers) await worker.finish();
    this.#place[Symbol.dispose]();
  }
}

/**
 * Lets all contenders do all tasks with one and more processes, and prints a table: transactions a
 * second, how many times the first number of processes that is, and the part of the first
 * contender's.
 *
 * @param names The stores.
 * @param tasks What they do.
 * @param settings Accounts, and whether to do as little as possible.
 */
export async function runCrowds(
  names: readonly string[],
  tasks: readonly CrowdTask[],
  { rows, tiny }: { readonly rows: number; readonly tiny: boolean },
): Promise<void> {
  const [ms, rounds] = tiny ? [20, 1] : [400, 3];
  const most = Math.max(...tasks.flatMap(({ processes }) => processes));
  const crowds = names.map((name) => new Crowd(name));
  try {
    for (const crowd of crowds) await crowd.start(most, rows);
    console.log("\nTransactions a second of processes that run at the same time, best round\n");
    console.log(`${"".padEnd(36)} processes   per second   of fewest   of the first`);
    for (const task of tasks) {
      console.log(task.title);
      await compete(crowds, task, ms, rounds);
    }
  } finally {
    for (const crowd of crowds) await crowd.finish();
  }
}

async function compete(
  crowds: readonly Crowd[],
  task: CrowdTask,
  ms: number,
  rounds: number,
): Promise<void> {
  const best = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    for (const count of task.processes) {
      for (const crowd of crowds) {
        const key = `${crowd.name} ${count}`;
        best.set(key, Math.max(best.get(key) ?? 0, await crowd.run(task, count, ms)));
      }
    }
  }
  const [fewest = 1] = task.processes;
  const of = (crowd: Crowd | undefined, count: number): number =>
    best.get(`${crowd?.name} ${count}`) ?? 0;
  for (const crowd of crowds) {
    for (const count of task.processes) {
      const rate = of(crowd, count);
      console.log(
        `  ${crowd.name.padEnd(34)} ${String(count).padStart(9)} ` +
          `${Math.round(rate).toLocaleString("en-US").padStart(12)} ` +
          `${(rate / of(crowd, fewest)).toFixed(2).padStart(11)} ` +
          `${(rate / of(crowds[0], count)).toFixed(3).padStart(14)}`,
      );
    }
  }
}
