/**
 * How the benchmarks measure and print.
 *
 * Each contender runs in a process of its own, so that the garbage of one is not collected at the
 * cost of another, and all processes take turns, task by task and round by round. What counts is
 * the processor time of the fastest call of all rounds: what other processes of the machine take
 * away can only make a call slower, and means, medians and the time on the wall would tell about
 * them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { do_not_optimize, measure } from "mitata";
import { Aerostore, type TableDefinition } from "../mod.ts";

export { do_not_optimize as keep };

/** Something that contenders can do. */
export interface Task<Contender> {
  /** What it is. */
  readonly title: string;
  /** How many items one call handles. */
  readonly items: number;
  /** What an item is, such as `row`. */
  readonly item: string;
  /**
   * Prepares the task.
   *
   * @returns A function that does it once, on other input each time, and returns something of what
   * it found. The first call after the preparation must give the same for all contenders. Undefined
   * if the contender cannot do it.
   */
  readonly prepare: (contender: Contender) => (() => unknown) | undefined;
}

/** A benchmark. */
export interface Benchmark<Contender> {
  /** The question that it answers. */
  readonly question: string;
  /** Rows in the table if the command line does not say. */
  readonly rows: number;
  /** What makes the contenders, by their names. The others are compared with the first. */
  readonly contenders: Readonly<
    Record<string, (settings: Settings) => Contender | Promise<Contender>>
  >;
  /** What they do. */
  readonly tasks: (settings: Settings) => readonly Task<Contender>[];
  /** What is measured afterwards in another way, before the end. */
  readonly then?: (settings: Settings) => Promise<void>;
}

/** The command line of a benchmark. */
export interface Settings {
  /** Rows in the table. */
  readonly rows: number;
  /** Whether to do as little as possible, only to see that it works. */
  readonly tiny: boolean;
}

/** What a contender answers about a task: nothing, or the time of an item and the first result. */
type Answer = { readonly ns: number; readonly result: string } | null;

const roundCount = 3;
const roundNs = 150e6;
const nameWidth = 50;

/**
 * Runs a benchmark and prints a table, or plays one contender if a parent process asks for it.
 *
 * The command line takes `--rows N` and `--tiny`.
 *
 * @param script The address of the benchmark's file: `import.meta.url`.
 * @param benchmark The benchmark.
 */
export async function runBenchmark<Contender>(
  script: URL,
  benchmark: Benchmark<Contender>,
): Promise<void> {
  const { values } = parseArgs({
    options: {
      rows: { type: "string" },
      tiny: { type: "boolean", default: false },
      contender: { type: "string" },
    },
  });
  const { tiny, contender } = values;
  const settings: Settings = {
    rows: Number(values.rows ?? (tiny ? 3_000 : benchmark.rows)),
    tiny,
  };
  if (contender === undefined) await hold(script, benchmark, settings);
  else await play(benchmark, settings, contender);
}

/** Plays one contender until the parent ends the input. */
async function play<Contender>(
  { contenders, tasks }: Benchmark<Contender>,
  settings: Settings,
  name: string,
): Promise<void> {
  const contender = await contenders[name]?.(settings);
  if (contender === undefined) throw new Error(`There is no contender ${name}`);
  try {
    await answer(contender, tasks(settings), settings.tiny);
  } finally {
    if (isDisposable(contender)) contender[Symbol.dispose]();
  }
}

/** Answers the questions of the parent: each is the number of a task, on a line. */
async function answer<Contender>(
  contender: Contender,
  tasks: readonly Task<Contender>[],
  tiny: boolean,
): Promise<void> {
  let prepared: { task: number; run: (() => unknown) | undefined; result: string } | undefined;
  for await (const line of createInterface({ input: process.stdin })) {
    const number = Number(line);
    const task = tasks[number];
    if (task === undefined) throw new Error(`There is no task ${line}`);
    if (prepared?.task !== number) {
      const run = task.prepare(contender);
      prepared = { task: number, run, result: run === undefined ? "" : String(await run()) };
    }
    const { run, result } = prepared;
    const answer: Answer = run === undefined
      ? null
      : { ns: await time(run, task.items, tiny), result };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

function isDisposable(value: unknown): value is Disposable {
  return typeof value === "object" && value !== null && Symbol.dispose in value;
}

async function time(run: () => unknown, items: number, tiny: boolean): Promise<number> {
  const once = (): unknown => {
    const found = run();
    do_not_optimize(found);
    return found;
  };
  const stats = await measure(once, {
    now: processorTime,
    min_samples: 1,
    min_cpu_time: tiny ? 1 : roundNs,
    gc: false,
    ...tiny ? { max_samples: 1, batch_samples: 4 } : {},
  });
  return stats.min / items;
}

/** Nanoseconds that the processors have spent on this process, on all its threads. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1_000;
}

/** Lets all contenders do all tasks, and prints what they answer. */
async function hold<Contender>(
  script: URL,
  { question, contenders, tasks, then }: Benchmark<Contender>,
  settings: Settings,
): Promise<void> {
  const { bun, deno } = process.versions;
  console.log(question);
  console.log(
    `${settings.rows.toLocaleString("en-US")} rows, ${bun ? `Bun ${bun}` : `Deno ${deno}`}, ` +
      `${process.platform} ${process.arch}, ${availableParallelism()} processors, ` +
      `processor time of the fastest call\n`,
  );
  console.log(`${"".padEnd(nameWidth)}   ns each   per second   ratio`);
  const players = Object.keys(contenders).map((name) => new Player(script, name));
  try {
    let hash = 0;
    for (const [number, task] of tasks(settings).entries()) {
      hash = mix(hash, await compete(players, number, task, settings.tiny ? 1 : roundCount));
    }
    console.log(`\nhash of the results: ${hex(hash)}`);
  } finally {
    for (const player of players) await player.finish();
  }
  await then?.(settings);
}

/** Lets all contenders do one task; returns the result on which they agree. */
async function compete(
  players: readonly Player[],
  number: number,
  { title, item }: Pick<Task<unknown>, "title" | "item">,
  rounds: number,
): Promise<string> {
  const times = new Map<string, number>();
  const results = new Map<string, string>();
  for (let round = 0; round < rounds; round++) {
    for (const player of players) {
      const answer = await player.ask(number);
      if (answer === null) continue;
      times.set(player.name, Math.min(times.get(player.name) ?? Infinity, answer.ns));
      results.set(player.name, answer.result);
    }
  }
  const [expected = ""] = results.values();
  for (const [name, result] of results) {
    assert.equal(result, expected, `${title}: ${name} finds something else`);
  }
  print(`${title}, each ${item}`, times);
  return expected;
}

/** A process that plays one contender. */
class Player {
  /** The name of the contender. */
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  constructor(script: URL, name: string) {
    this.name = name;
    const flags = process.versions["bun"] === undefined ? ["--allow-all", "--no-check"] : [];
    this.#process = spawn(
      process.execPath,
      ["run", ...flags, fileURLToPath(script), ...process.argv.slice(2), "--contender", name],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    this.#ended = new Promise((resolve) => this.#process.on("close", resolve));
    const { stdin, stdout } = this.#process;
    // A question that a dead process does not take is noticed by the missing answer.
    stdin?.on("error", () => {});
    if (stdout === null) throw new Error("The process has no output");
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async ask(task: number): Promise<Answer> {
    this.#process.stdin?.write(`${task}\n`);
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error(`${this.name} ended before it answered`);
    return JSON.parse(answer.value) as Answer;
  }

  /** Lets the process end, and waits until it has removed its files. */
  async finish(): Promise<void> {
    this.#process.stdin?.end();
    await this.#ended;
  }
}

function print(title: string, times: Times): void {
  console.log(title);
  const [base = NaN] = times.values();
  for (const [name, ns] of times) {
    console.log(
      `  ${name.padEnd(nameWidth - 2)} ${format(ns).padStart(9)} ${rate(ns).padStart(12)} ` +
        `${format(ns / base).padStart(7)}`,
    );
  }
}

/** Nanoseconds of an item by the name of the contender. */
type Times = ReadonlyMap<string, number>;

/** Three digits that matter. */
function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function rate(ns: number): string {
  const perSecond = 1e9 / ns;
  return perSecond >= 1e6 ? `${format(perSecond / 1e6)} M` : `${format(perSecond / 1e3)} k`;
}

/** Returns 8 hexadecimal digits that are the same for the same text. */
export function hashOf(text: string): string {
  return hex(mix(0, text));
}

function hex(hash: number): string {
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/** One step of the hash FNV-1a for each letter. */
function mix(hash: number, text: string): number {
  let mixed = hash;
  for (const letter of text) mixed = Math.imul(mixed ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  return mixed;
}

/** A database that disappears with everything in it. */
export class Place implements Disposable {
  /** The open database. */
  readonly database: Aerostore;
  readonly #root: string;

  /**
   * @param tables Its tables.
   * @param size Most bytes of its region.
   */
  constructor(tables: readonly TableDefinition[], size: number) {
    const parent = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    this.#root = mkdtempSync(join(parent, "aerostore-bench-"));
    const shmPath = join(this.#root, "shm");
    mkdirSync(shmPath);
    this.database = Aerostore.open(join(this.#root, "data"), { tables, size, shmPath });
  }

  /** Closes it and removes the files. */
  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.#root, { recursive: true, force: true });
  }
}
