/**
 * The process that searches while the writers write, and prints what it finds.
 *
 * Main sends it a line when something happens that the reader should know, and ends its input when
 * the replay is over.
 */

import { createInterface } from "node:readline";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Aerostore, type RowOf } from "../../mod.ts";
import { readOrders, replayStart, silenceMs, writerNames } from "./replay.ts";
import { Screen } from "./screen.ts";
import { PositionTable, tables, WriterTable } from "./tables.ts";

const { directory, shmPath, live } = readOrders();
const pauseMs = 50;
const showEveryMs = live ? 250 : 4_000;

/** The search that the table shows. */
const arrivalsQuery = "-compare {{= destination ORD} {> miles_to_go 0}} -sort miles_to_go -limit 5";

using db = Aerostore.open(directory, { tables, shmPath });
const positions = db.table(PositionTable);
const writers = db.table(WriterTable);
const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 0 });

/** What one round of searches found. */
interface Round {
  readonly at: number;
  readonly flying: number;
  readonly landed: number;
  readonly arrivals: readonly RowOf<typeof PositionTable>[];
}

/** Four searches that look at every row, for there is no index. */
function search(): Round {
  return {
    arrivals: positions.search(arrivalsQuery).all(),
    flying: positions.search("-compare {{!= phase landed}} -countOnly 1").count,
    landed: positions.search("-compare {{= phase landed}} -countOnly 1").count,
    at: positions.search("-sort -updated_at -limit 1").first()?.updated_at ?? replayStart,
  };
}

/** How fast the writers are, from what they say of themselves. */
class Speeds {
  readonly #words = new Map<string, string>();
  readonly #since = new Map<string, { readonly commits: number; readonly beatAt: number }>();

  /** Looks at the writers; a speed is taken over a second or more. */
  look(now: number): void {
    for (const name of writerNames) {
      const row = writers.get(name);
      if (row === undefined) continue;
      const since = this.#since.get(name);
      const milliseconds = row.beat_at - (since?.beatAt ?? 0);
      if (now - row.beat_at > silenceMs) {
        this.#words.set(name, `${name} silent`);
      } else if (since === undefined || milliseconds >= 1_000) {
        this.#since.set(name, { commits: row.commits, beatAt: row.beat_at });
        if (since === undefined) continue;
        const perSecond = 1000 * (row.commits - since.commits) / milliseconds;
        this.#words.set(name, `${name} ${compact.format(perSecond)}`);
      }
    }
  }

  /** What is known of them, in a few words. */
  get words(): string {
    return writerNames.map((name) => this.#words.get(name) ?? `${name} starts`).join(", ");
  }
}

function render({ at, flying, landed, arrivals }: Round, speeds: string): string[] {
  const time = new Date(at).toISOString().slice(11, 16);
  const header = ["next at ORD", "from", "miles", "feet", "phase", "written by"];
  const rows = arrivals.map((row) => [
    row.flight_id,
    row.origin,
    number.format(row.miles_to_go),
    number.format(row.altitude),
    row.phase,
    row.writer,
  ]);
  // The block keeps its height, so that it can be printed in place.
  while (rows.length < 5) rows.push(["", "", "", "", "", ""]);
  return [
    "",
    `  ${time} UTC   ${number.format(flying)} flying   ${
      number.format(landed)
    } landed   commits/s: ${speeds}`,
    ...[header, ...rows].map(([id = "", origin = "", miles = "", feet = "", phase = "", by = ""]) =>
      `    ${id.padEnd(16)} ${origin.padEnd(5)} ${miles.padStart(6)} ${feet.padStart(8)}   ` +
      `${phase.padEnd(8)} ${by}`.trimEnd()
    ),
  ];
}

const screen = new Screen(live);
let over = false;
const input = createInterface({ input: process.stdin });
input.on("line", (line) => screen.keep(["", `  ${JSON.parse(line)}`]));
input.on("close", () => over = true);

screen.keep(["", "  The table below is what this search finds:", `    ${arrivalsQuery}`]);
const speeds = new Speeds();
const milliseconds: number[] = [];
// The first table comes when there is something to see.
let shownAt = Date.now() - showEveryMs + 1_500;
while (!over) {
  const started = performance.now();
  const round = search();
  milliseconds.push((performance.now() - started) / 4);
  const now = Date.now();
  speeds.look(now);
  if (now - shownAt >= showEveryMs) {
    shownAt = now;
    screen.show(render(round, speeds.words));
  }
  await sleep(pauseMs);
}
screen.keep(render(search(), speeds.words));

milliseconds.sort((a, b) => a - b);
const median = milliseconds[milliseconds.length >> 1] ?? 0;
screen.keep([
  "",
  `  ${number.format(milliseconds.length * 4)} searches meanwhile, each over all rows, half of ` +
  `them in ${median.toFixed(1)} ms`,
]);
