/**
 * The demo: a real day of flights, written by two processes of different runtimes, searched by a
 * third, while one of the writers is killed. Run by `npm run demo`; ends with code 1 if anything is
 * not as it must be.
 *
 *     npm run demo                     as described
 *     npm run demo -- --seconds 5      a shorter replay
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Aerostore } from "../../mod.ts";
import { Child } from "./child.ts";
import { day, readFlights } from "./flights.ts";
import type { Findings } from "./latecomer.ts";
import { type News, type Orders, silenceMs, type WriterName } from "./replay.ts";
import { type Flight, FlightTable, tables } from "./tables.ts";

const { values } = parseArgs({ options: { seconds: { type: "string", default: "24" } } });
const seconds = Number(values.seconds);
const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
/** The writer that is killed. The other one takes its flights over. */
const victim: WriterName = "bun";
const survivor: WriterName = "deno";

function say(...lines: string[]): void {
  console.log(lines.join("\n"));
}

/** Everything the demo leaves on the machine, while it runs. */
class Workplace {
  readonly root: string;
  readonly #children: Child[] = [];

  constructor() {
    const parent = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    this.root = mkdtempSync(join(parent, "aerostore-demo-"));
    mkdirSync(join(this.root, "shm"));
  }

  orders(name: Orders["name"] = "", live = false): Orders {
    const directory = join(this.root, "data");
    return { directory, shmPath: join(this.root, "shm"), seconds, live, name };
  }

  start(...parameters: ConstructorParameters<typeof Child>): Child {
    const child = new Child(...parameters);
    this.#children.push(child);
    return child;
  }

  clear(): void {
    for (const child of this.#children) child.kill();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Creates the database and reads the flights of the day into it, as tab-separated text. */
async function load(workplace: Workplace): Promise<void> {
  say(`1. The flights of ${day}`, "");
  const flights = await readFlights();
  const names = Object.keys(flights[0] ?? {}) as (keyof Flight)[];
  const lines = flights.map((flight) => names.map((name) => flight[name]).join("\t"));
  const text = [names.join("\t"), ...lines, ""].join("\n");

  const { directory, shmPath } = workplace.orders();
  using db = Aerostore.open(directory, { tables, shmPath, size: "256MiB" });
  const started = performance.now();
  await db.table(FlightTable).ingestTsv(text, { header: true });
  const milliseconds = performance.now() - started;
  say(
    `  ${number.format(flights.length)} real flights of U.S. airlines: origin, destination, ` +
      `departure, delay`,
    "  (Bureau of Transportation Statistics, in vega-datasets). Where a flight is",
    "  between its airports is computed, on the great circle.",
    "",
    `  Read into a new database as ${(text.length / 1e6).toFixed(1)} MB of tab-separated text, ` +
      `in ${milliseconds.toFixed(0)} ms.`,
  );
}

/** What is known after the replay. */
interface Replayed {
  readonly seconds: number;
  /** Commits that had returned before the victim was killed, as far as it had time to say so. */
  readonly acknowledged: number;
}

/** Replays the day. */
async function replay(workplace: Workplace): Promise<Replayed> {
  const live = process.stdout.isTTY === true && process.env["TERM"] !== "dumb";
  say(
    "",
    `2. The day in ${seconds} seconds: two processes write, a third one searches`,
    "",
    "  A Bun process and a Deno process fly one half of the flights each. Every",
    "  new position is a transaction of its own. They know of each other only what",
    "  stands in the database.",
  );
  const dead = workplace.start(victim, "writer.ts", workplace.orders(victim));
  const heir = workplace.start(survivor, "writer.ts", workplace.orders(survivor));
  for (const writer of [dead, heir]) await writer.next();
  const other = process.versions["bun"] === undefined ? "bun" : "deno";
  const searcher = workplace.start(other, "searcher.ts", workplace.orders("", live), "terminal");

  const startedAt = Date.now() + 300;
  for (const writer of [dead, heir]) {
    writer.send(startedAt);
    writer.endInput();
  }
  const acknowledging = lastCommits(dead);
  const heirs = (async () => {
    for await (const news of newsOf(heir)) {
      if (!("inherited" in news)) continue;
      searcher.send(
        `*** ${survivor} writer: the other is silent for ${silenceMs / 1000} s, ` +
          `I fly its ${number.format(news.inherited)} flights ***`,
      );
    }
  })();

  await sleep(startedAt + seconds * 500 - Date.now());
  dead.kill();
  searcher.send(`*** kill -9 ${dead.pid}: the ${victim} writer, in the middle of its work ***`);
  if ((await dead.ended).signal !== "SIGKILL") throw new Error("A writer ended by itself");

  await heirs;
  await heir.finish();
  const took = (Date.now() - startedAt) / 1000;
  await searcher.finish();
  return { seconds: took, acknowledged: await acknowledging };
}

/** Gives the lines of a writer until it ends. */
async function* newsOf(writer: Child): AsyncGenerator<News> {
  for await (const line of writer.rest()) yield line as News;
}

async function lastCommits(writer: Child): Promise<number> {
  let last = 0;
  for await (const news of newsOf(writer)) if ("commits" in news) last = news.commits;
  return last;
}

/** Lets a new process look at everything, and tells what it found; returns what is wrong. */
async function inspect(workplace: Workplace, replayed: Replayed): Promise<string[]> {
  say("", "3. All of them have ended. A new process opens the database", "");
  const late = workplace.start(victim, "latecomer.ts", workplace.orders());
  const findings = await late.next() as Findings;
  await late.finish();

  const { positions, flights, commits, missing, wrong, ok, leaks, problems } = findings;
  const sum = Object.values(commits).reduce((total, count) => total + count, 0);
  const survived = commits[victim] ?? 0;
  const { acknowledged } = replayed;
  say(
    `  opened    in ${findings.openMs.toFixed(1)} ms, the loading of the library included; it ` +
      `learns`,
    `            the ${findings.tables.length} tables from the region`,
    `  rows      ${number.format(flights)} flights, of which ${number.format(positions)} have ` +
      `departed and have`,
    `            a position; ${missing} are missing, ${wrong} are not where the great circle says`,
    `  commits   ${number.format(sum)} in ${replayed.seconds.toFixed(1)} s: ` +
      `${number.format(sum / replayed.seconds)} a second, beside the searches`,
    `  kill -9   the ${victim} writer had said that ${
      number.format(acknowledged)
    } commits were done;`,
    `            the database has ${number.format(survived)} of its commits, none half done`,
    `  verify    ${ok ? "ok" : "NOT OK"}: ${leaks} leaks; ${
      number.format(findings.blocks)
    } blocks ` +
      `of memory checked in ${findings.verifyMs.toFixed(0)} ms`,
    `  memory    ${(findings.size / 2 ** 20).toFixed(0)} MiB; old versions of rows are recycled`,
  );
  const wrongs = [...problems];
  if (!ok || leaks > 0) wrongs.push(`verify found ${leaks} leaks`);
  if (positions === 0 || missing > 0) wrongs.push(`${missing} flights have no current position`);
  if (wrong > 0) wrongs.push(`${wrong} rows are wrong`);
  if (survived < acknowledged) wrongs.push("commits that had returned are lost");
  return wrongs;
}

async function main(workplace: Workplace): Promise<number> {
  await load(workplace);
  const wrongs = await inspect(workplace, await replay(workplace));
  if (wrongs.length > 0) {
    say("", ...wrongs.map((wrong) => `  WRONG: ${wrong}`));
    return 1;
  }
  const program = readFileSync(new URL("own.ts", import.meta.url), "utf8");
  say("", "4. Your own, in ten lines: bench/demo/own.ts", "", program.replace(/^(?=.)/gm, "  "));
  say(
    "  Run it a few times, with other names:",
    "",
    "    npm run bun -- bench/demo/own.ts Ada",
    "    npm run deno -- run -A bench/demo/own.ts Grace",
  );
  return 0;
}

const workplace = new Workplace();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    workplace.clear();
    process.exit(130);
  });
}
// Nothing waits for ever: when the processes are gone, every wait for them fails.
const watchdog = setTimeout(() => {
  say("  WRONG: the demo takes far too long");
  workplace.clear();
}, (seconds + 60) * 1000);
try {
  process.exitCode = await main(workplace);
} finally {
  clearTimeout(watchdog);
  workplace.clear();
}
