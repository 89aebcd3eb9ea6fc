/**
 * Processes that commit as fast as they can, all at the same time: one change of one column of a
 * random row in each transaction.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Aerostore } from "../mod.ts";
import { keyOf, PositionTable } from "./positions.ts";

/** Who commits, and where. */
export interface CommitterOptions {
  /**
   * Aerostore with one commit at a time, with many that it waits for at once, or in memory alone;
   * or SQLite.
   */
  readonly kind: "one by one" | "at once" | "no log" | "sqlite";
  /** The directory of the database, its name if it has none, or the file. */
  readonly path: string;
  /** The directory of the region. */
  readonly shmPath: string;
  /** When a commit returns: `synchronous_commit`, or the same in SQLite's words. */
  readonly promise: "on" | "off";
  /** Rows in the table. */
  readonly rows: number;
  /** Decides which rows. */
  readonly seed: number;
}

/** What a committer has done. */
export interface Committed {
  /** Commits. */
  readonly count: number;
  /** The time in milliseconds within which half of the commits returned. */
  readonly p50Ms: number;
  /** The time in milliseconds within which 99 of 100 commits returned. */
  readonly p99Ms: number;
}

/** How often each is measured; the fastest counts, for others can only make it slower. */
export const roundCount = 3;

/** Commits of one process that are waited for at once. */
const atOnce = 64;

/** Numbers that a seed decides, below a limit. */
function numbers(seed: number, below: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 >>> 0;
    return state % below;
  };
}

/** A database of either kind: one commit, and the end. */
interface Player {
  commit(key: string, value: number): void | Promise<void>;
  close(): void;
}

function openAerostore({ kind, path, shmPath, promise }: CommitterOptions): Player {
  const hasLog = kind !== "no log";
  const db = hasLog
    ? Aerostore.open(path, { shmPath })
    : Aerostore.open({ ephemeral: path, shmPath });
  const table = db.table(PositionTable);
  if (!hasLog || (kind === "one by one" && promise === db.getConfig("synchronous_commit"))) {
    return {
      commit: (key, value) => table.update(key, { altitude: value }),
      close: () => void db.close(),
    };
  }
  return {
    commit: (key, value) => {
      const transaction = db.begin({ synchronousCommit: promise });
      transaction.table(PositionTable).update(key, { altitude: value });
      return transaction.commitAsync();
    },
    close: () => void db.close(),
  };
}

/** SQLite, as the runtime brings it. */
interface SqliteDatabase {
  exec(sql: string): unknown;
  prepare(sql: string): { run(...values: unknown[]): unknown };
  close(): void;
}

/** Opens a file of SQLite as both runtimes do, with a log and the promise of `synchronous`. */
export async function openSqliteFile(path: string, promise: "on" | "off"): Promise<SqliteDatabase> {
  const [name, className] = process.versions["bun"] === undefined
    ? ["node:sqlite", "DatabaseSync"]
    : ["bun:sqlite", "Database"];
  const module = await import(name) as Record<string, new (path: string) => SqliteDatabase>;
  const Database = module[className];
  if (Database === undefined) throw new Error(`There is no ${className} in ${name}`);
  const database = new Database(path);
  database.exec("pragma busy_timeout = 30000");
  database.exec("pragma journal_mode = wal");
  database.exec(`pragma synchronous = ${promise === "on" ? "full" : "normal"}`);
  return database;
}

async function openSqlite({ path, promise }: CommitterOptions): Promise<Player> {
  const database = await openSqliteFile(path, promise);
  const update = database.prepare("update position set altitude = ? where icao24 = ?");
  return {
    commit: (key, value) => void update.run(value, key),
    close: () => database.close(),
  };
}

/**
 * What comes next. It goes on from round to round: SQLite writes nothing for a row that is set to
 * what it is.
 */
interface Script {
  readonly nextRow: () => number;
  changes: number;
}

async function commitFor(
  player: Player,
  script: Script,
  ms: number,
  atOnce: number,
): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + ms;
  const run = async (): Promise<void> => {
    for (let now = performance.now(); now < end;) {
      script.changes += 1;
      const waited = player.commit(keyOf(script.nextRow()), script.changes & 0x7fff);
      if (waited !== undefined) await waited;
      const after = performance.now();
      times.push(after - now);
      now = after;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, run));
  return times;
}

/** The other side of {@linkcode Committer}: plays until its input ends. */
export async function play(options: CommitterOptions): Promise<void> {
  const player = options.kind === "sqlite" ? await openSqlite(options) : openAerostore(options);
  const script: Script = { nextRow: numbers(options.seed, options.rows), changes: 0 };
  const width = options.kind === "at once" ? atOnce : 1;
  console.log("null");
  for await (const line of createInterface({ input: process.stdin })) {
    const times = Float64Array.from(await commitFor(player, script, Number(line), width)).sort();
    const within = (part: number): number => times[Math.floor(times.length * part)] ?? 0;
    const answer: Committed = { count: times.length, p50Ms: within(0.5), p99Ms: within(0.99) };
    console.log(JSON.stringify(answer));
  }
  player.close();
}

/** A process that commits when it is told to. */
export class Committer {
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  /**
   * @param script A script that calls {@linkcode play} with what follows `--play` on its command
   * line, as JSON.
   * @param options What to do.
   */
  constructor(script: URL, options: CommitterOptions) {
    const flags = process.versions["bun"] === undefined ? ["--allow-all", "--no-check"] : [];
    this.#process = spawn(
      process.execPath,
      ["run", ...flags, fileURLToPath(script), "--play", JSON.stringify(options)],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    this.#ended = new Promise((resolve) => this.#process.on("close", resolve));
    const { stdout } = this.#process;
    if (stdout === null) throw new Error("The process has no output");
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  /** Waits until it is ready. */
  async ready(): Promise<void> {
    await this.#next();
  }

  /** Has it commit for some milliseconds. */
  async commit(ms: number): Promise<Committed> {
    this.#process.stdin?.write(`${ms}\n`);
    return await this.#next() as Committed;
  }

  /** Lets it end. */
  async finish(): Promise<void> {
    this.#process.stdin?.end();
    await this.#ended;
  }

  async #next(): Promise<unknown> {
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error("A committer ended before it answered");
    return JSON.parse(answer.value);
  }
}

/** What committers have done together. */
export interface Round {
  /** Commits a second of all of them. */
  readonly perSecond: number;
  /** The worst of their times within which half of the commits returned. */
  readonly p50Ms: number;
  /** The worst of their times within which 99 of 100 commits returned. */
  readonly p99Ms: number;
}

/**
 * How many committers were started. Each has a seed of its own: one that did what an earlier one
 * has done would set rows to what they are.
 */
let startedCount = 0;

/** Processes of one kind. */
class Crowd {
  readonly #committers: readonly Committer[];

  /** Starts `count` processes, and has each commit for a moment: files grow, code is compiled. */
  static async start(
    script: URL,
    options: Omit<CommitterOptions, "seed">,
    count: number,
    ms: number,
  ): Promise<Crowd> {
    const crowd = new Crowd(Array.from(
      { length: count },
      () => new Committer(script, { ...options, seed: 17 * startedCount++ + 1 }),
    ));
    for (const committer of crowd.#committers) await committer.ready();
    await crowd.commit(ms);
    return crowd;
  }

  private constructor(committers: readonly Committer[]) {
    this.#committers = committers;
  }

  /** Has all commit for some milliseconds. */
  async commit(ms: number): Promise<Round> {
    const done = await Promise.all(this.#committers.map((committer) => committer.commit(ms)));
    const total = done.reduce((sum, { count }) => sum + count, 0);
    return {
      perSecond: total * 1000 / ms,
      p50Ms: Math.max(...done.map(({ p50Ms }) => p50Ms)),
      p99Ms: Math.max(...done.map(({ p99Ms }) => p99Ms)),
    };
  }

  /** Lets all end. */
  async finish(): Promise<void> {
    for (const committer of this.#committers) await committer.finish();
  }
}

/** Has several processes commit at the same time, beside something else. */
export async function commitTogether(
  script: URL,
  options: Omit<CommitterOptions, "seed">,
  count: number,
  ms: number,
  meanwhile: () => void | Promise<void> = () => {},
): Promise<Round> {
  const crowd = await Crowd.start(script, options, count, ms / 5);
  try {
    let best: Round = { perSecond: 0, p50Ms: Infinity, p99Ms: Infinity };
    for (let round = 0; round < roundCount; round++) {
      const [done] = await Promise.all([crowd.commit(ms), meanwhile()]);
      best = {
        perSecond: Math.max(best.perSecond, done.perSecond),
        p50Ms: Math.min(best.p50Ms, done.p50Ms),
        p99Ms: Math.min(best.p99Ms, done.p99Ms),
      };
    }
    return best;
  } finally {
    await crowd.finish();
  }
}

/** How many short turns make up the time of one round. */
const turnCount = 10;

/**
 * Has contenders commit one after the other, many times. The disk of a machine that others use may
 * be ten times as fast in the next second: nobody shall have the good ones for himself.
 *
 * @returns Commits a second of each, over all of its turns.
 */
export async function commitInTurns(
  script: URL,
  contenders: readonly Omit<CommitterOptions, "seed">[],
  count: number,
  ms: number,
): Promise<number[]> {
  const crowds: Crowd[] = [];
  try {
    for (const options of contenders) {
      crowds.push(await Crowd.start(script, options, count, ms / 5));
    }
    const sums = contenders.map(() => 0);
    for (let turn = 0; turn < roundCount * turnCount; turn++) {
      for (const [index, crowd] of crowds.entries()) {
        sums[index] = (sums[index] ?? 0) + (await crowd.commit(ms / turnCount)).perSecond;
      }
    }
    return sums.map((sum) => sum / (roundCount * turnCount));
  } finally {
    for (const crowd of crowds) await crowd.finish();
  }
}
