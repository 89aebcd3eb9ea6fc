/**
 * Keeps book of what writers have acknowledged, and compares it with what is there when they are
 * dead.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Aerostore } from "../../mod.ts";
import { programOf, type RuntimeName } from "./children.ts";
import type { Store } from "./store.ts";
import { Item, Workload } from "./workload.ts";

/** Longest life of a writer that nobody kills. */
const lifeMs = 300_000;

/** A writer: processes, one after the other, that go on where the last one was killed. */
export class Writer implements Disposable {
  /** What is in the database, as far as this writer is concerned, when no process runs. */
  workload: Workload;
  /** How many processes were killed. */
  kills = 0;
  /** How often the operation under way when a process was killed turned out to be done. */
  completed = 0;
  readonly runtime: RuntimeName;
  readonly #store: Store;
  readonly #name: string;
  readonly #seed: number;
  #process: ChildProcess | undefined;
  #exit: Promise<unknown> = Promise.resolve();
  #acknowledged = -1;
  /** The exit code or the signal, once the process has ended. */
  #ending = "";
  #waiting: (() => void)[] = [];
  #stderr = "";

  constructor(store: Store, runtime: RuntimeName, name: string, seed: number) {
    this.#store = store;
    this.runtime = runtime;
    this.#name = name;
    this.#seed = seed;
    this.workload = new Workload(name, seed);
  }

  /** Starts a process. */
  start(): void {
    const { directory, options } = this.#store;
    const script = fileURLToPath(new URL("../process/workload_writer.ts", import.meta.url));
    const flags = this.runtime === "bun" ? [] : ["run", "--allow-all", "--no-check"];
    const args = JSON.stringify({
      directory,
      options,
      name: this.#name,
      seed: this.#seed,
      done: this.workload.done,
      deadline: Date.now() + lifeMs,
    });
    const program = programOf(this.runtime);
    const started = spawn(program.path, [...flags, script, args], {
      env: { ...process.env, ...program.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = started;
    this.#acknowledged = -1;
    this.#stderr = "";
    this.#ending = "";
    started.stderr.setEncoding("utf8").on("data", (text: string) => this.#stderr += text);
    let rest = "";
    started.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      const last = lines.at(-1);
      if (last !== undefined) this.#acknowledged = Number(last);
      this.#wake();
    });
    this.#exit = new Promise((resolve) =>
      started.on("close", (code, signal) => {
        this.#ending = `${code ?? signal}`;
        resolve(undefined);
        this.#wake();
      })
    );
  }

  /** The number of the process that runs; undefined if none does. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** How many operations were acknowledged, by all processes. */
  get acknowledged(): number {
    return Math.max(this.#acknowledged, this.workload.done);
  }

  /** Waits until `count` more operations were acknowledged. */
  async progress(count: number): Promise<void> {
    const goal = this.acknowledged + count;
    while (this.#acknowledged < goal) {
      this.#checkAlive();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #checkAlive(): void {
    if (this.#ending === "") return;
    assert.fail(`${this.#name} ended by itself with ${this.#ending}: ${this.#stderr}`);
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Sends the process a signal: SIGSTOP or SIGCONT. */
  signal(name: "SIGSTOP" | "SIGCONT"): void {
    // By its number: a signal sent by the object counts as its end in some runtimes.
    const pid = this.#process?.pid;
    if (pid !== undefined) process.kill(pid, name);
  }

  /** Kills the process, and waits until it is gone and all that it has said was heard. */
  async kill(): Promise<void> {
    this.#checkAlive();
    this.#process?.kill("SIGKILL");
    await this.#exit;
    this.#process = undefined;
    this.kills += 1;
  }

  /**
   * Checks, while no process runs, that everything acknowledged is there, and nothing else but what
   * the one operation under way may have done, all of it.
   */
  check(db: Aerostore): void {
    const sure = new Workload(this.#name, this.#seed);
    sure.skipTo(this.acknowledged);
    const difference = differenceOf(db, sure);
    if (difference === "") {
      this.workload = sure;
      return;
    }
    const later = new Workload(this.#name, this.#seed);
    later.skipTo(this.acknowledged + 1);
    const laterDifference = differenceOf(db, later);
    assert.equal(
      laterDifference,
      "",
      `${this.#name} acknowledged ${sure.done} operations of seed ${this.#seed}, but neither ` +
        `these ` +
        `(${difference}) nor one more (${laterDifference}) make what is there`,
    );
    this.completed += 1;
    this.workload = later;
  }

  /**
   * Checks, while no process runs, that what is there are the first operations, none of them in
   * part, and at least so many.
   *
   * @param db The database.
   * @param least How many operations cannot be lost.
   */
  checkPrefix(db: Aerostore, least: number): void {
    const workload = new Workload(this.#name, this.#seed);
    workload.skipTo(least);
    const wanted = differenceOf(db, workload);
    while (differenceOf(db, workload) !== "") {
      assert.ok(
        workload.done <= this.acknowledged,
        `${this.#name} acknowledged ${this.acknowledged} operations of seed ${this.#seed}, and ` +
          `no number of them from ${least} on makes what is there: ${wanted}`,
      );
      workload.skipTo(workload.done + 1);
    }
    this.workload = workload;
  }

  [Symbol.dispose](): void {
    this.#process?.kill("SIGKILL");
  }
}

/** Says how the database differs from a workload's rows; empty if it does not. */
function differenceOf(db: Aerostore, workload: Workload): string {
  const items = db.table(Item);
  for (const key of workload.keys) {
    const found = JSON.stringify(items.get(key) ?? null);
    const wanted = JSON.stringify(workload.rows.get(key) ?? null);
    if (found !== wanted) return `${key} is ${found}, not ${wanted}`;
  }
  return "";
}
