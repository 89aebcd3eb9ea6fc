/**
 * How many commits a second does a disk let through, and what do a checkpoint and a recovery cost?
 *
 * Here the time on the wall counts, for what is measured is waiting. So everything is set against
 * the rate at which this disk syncs one block, taken in the same run.
 */

import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Aerostore } from "../mod.ts";
import {
  commitInTurns,
  type CommitterOptions,
  commitTogether,
  openSqliteFile,
  play,
  roundCount,
} from "./committer.ts";
import { positions, PositionTable, regionSize } from "./positions.ts";
import { PostgresServer } from "./postgres.ts";

const script = new URL(import.meta.url);
const blockSize = 4096;
/** The name of the database that has no directory. */
const withoutLog = "without-log";

/** The command line. */
interface Settings {
  readonly rows: number;
  readonly tiny: boolean;
  /** How long each is measured. */
  readonly ms: number;
  readonly committers: readonly number[];
  /** Rows of the databases that are opened again. */
  readonly openings: readonly number[];
}

/** A directory on the disk and one in memory, which disappear with all that is in them. */
class Bench implements Disposable {
  readonly settings: Settings;
  readonly root: string;
  readonly shmPath: string;
  readonly directory: string;

  constructor(settings: Settings) {
    this.settings = settings;
    this.root = mkdtempSync(join(tmpdir(), "aerostore-bench-"));
    this.shmPath = mkdtempSync("/dev/shm/aerostore-bench-");
    this.directory = join(this.root, "data");
  }

  /** Opens the database. */
  open(): Aerostore {
    return Aerostore.open(this.directory, this.#options());
  }

  /** Makes the same rows in a database without a log. */
  openWithoutLog(): Aerostore {
    const db = Aerostore.open({ ephemeral: withoutLog, ...this.#options() });
    db.table(PositionTable).upsertMany(positions(this.settings.rows), { atomic: false });
    return db;
  }

  #options(): { tables: [typeof PositionTable]; size: number; shmPath: string } {
    const size = regionSize(this.settings.rows);
    return { tables: [PositionTable], size, shmPath: this.shmPath };
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
    rmSync(this.shmPath, { recursive: true, force: true });
  }
}

function print(name: string, value: string, ratio: string): void {
  console.log(`  ${name.padEnd(54)} ${value.padStart(14)} ${ratio.padStart(10)}`);
}

function rate(perSecond: number): string {
  return perSecond >= 1e6 ? `${(perSecond / 1e6).toFixed(2)} M/s` : `${perSecond.toFixed(0)}/s`;
}

/** How often a second this disk syncs a block in a file whose size stays, at its fastest. */
function syncRate({ root, settings }: Bench): number {
  const file = openSync(join(root, "sync"), "w");
  const block = new Uint8Array(blockSize);
  const blocks = 256;
  for (let index = 0; index < blocks; index++) {
    writeSync(file, block, 0, blockSize, index * blockSize);
  }
  fdatasyncSync(file);
  let best = 0;
  for (let round = 0; round < roundCount; round++) {
    let count = 0;
    const start = performance.now();
    for (; performance.now() - start < settings.ms; count++) {
      block[0] = count & 0xff;
      writeSync(file, block, 0, blockSize, (count % blocks) * blockSize);
      fdatasyncSync(file);
    }
    best = Math.max(best, count * 1000 / (performance.now() - start));
  }
  closeSync(file);
  return best;
}

/** Makes the same table in a file of SQLite. Returns its path. */
async function loadSqlite({ root, settings }: Bench): Promise<string> {
  const path = join(root, "sqlite.db");
  const database = await openSqliteFile(path, "off");
  database.exec(`
    create table position (
      icao24 text primary key, lat real not null, lon real not null, altitude integer not null,
      gs integer not null, updated_at real not null, typ text not null, destination text not null
    ) without rowid`);
  const insert = database.prepare("insert into position values (?, ?, ?, ?, ?, ?, ?, ?)");
  database.exec("begin");
  for (const row of positions(settings.rows)) insert.run(...Object.values(row));
  database.exec("commit");
  database.close();
  return path;
}

/** Commits of Aerostore and of SQLite in turns, with and without waiting for the disk. */
async function measureCommits(bench: Bench, syncs: number): Promise<void> {
  const { directory: path, shmPath } = bench;
  const { rows, ms, committers } = bench.settings;
  const sqlitePath = await loadSqlite(bench);
  using db = bench.open();
  // First those who wait for the disk: the others leave it busy with what they have written.
  for (const promise of ["on", "off"] as const) {
    db.setConfig("synchronous_commit", promise);
    using _other = promise === "off" ? bench.openWithoutLog() : undefined;
    for (const count of committers) {
      const before = db.stats();
      const contenders: Omit<CommitterOptions, "seed">[] = [
        { kind: "one by one", path, shmPath, promise, rows },
        { kind: "sqlite", path: sqlitePath, shmPath: "", promise, rows },
      ];
      if (promise === "off") {
        contenders.push({ kind: "no log", path: withoutLog, shmPath, promise, rows });
      }
      const [ours = 0, theirs = 0, unlogged] = await commitInTurns(script, contenders, count, ms);
      const after = db.stats();
      const commits = (after.commits - before.commits) /
        Math.max(1, after.log.syncs - before.log.syncs);
      const shared = promise === "on" ? `, ${commits.toFixed(1)} a sync` : "";
      const name = `Aerostore ${promise}, ${count} processes${shared}`;
      print(name, rate(ours), (ours / syncs).toFixed(2));
      if (unlogged !== undefined) {
        const name = `Aerostore without a log, ${(unlogged / ours).toFixed(2)} times as many`;
        print(name, rate(unlogged), (unlogged / syncs).toFixed(2));
      }
      const mode = promise === "on" ? "FULL" : "NORMAL";
      print(`SQLite WAL ${mode}, ${count} processes`, rate(theirs), (theirs / syncs).toFixed(2));
    }
  }
  db.setConfig("synchronous_commit", "on");
  const options: Omit<CommitterOptions, "seed"> = {
    kind: "at once",
    path,
    shmPath,
    promise: "on",
    rows,
  };
  const { perSecond } = await commitTogether(script, options, 1, ms);
  print(
    "Aerostore on, 64 awaited at once, 1 process",
    rate(perSecond),
    (perSecond / syncs).toFixed(2),
  );
  db.setConfig("synchronous_commit", "off");
}

function measurePostgres(bench: Bench, syncs: number): void {
  const { rows, ms, committers, tiny } = bench.settings;
  if (tiny) return;
  const server = PostgresServer.start(bench.root);
  if (typeof server === "string") return print(`PostgreSQL is left out: ${server}`, "", "");
  try {
    server.load(rows);
    for (const promise of ["on", "off"] as const) {
      for (const count of committers) {
        const perSecond = server.commit(promise, count, rows, Math.ceil(roundCount * ms / 1000));
        const name = `PostgreSQL ${promise}, ${count} connections`;
        print(name, rate(perSecond), (perSecond / syncs).toFixed(2));
      }
    }
  } finally {
    server.stop();
  }
}

/** What the log holds of one changed column, against the whole row. */
function measureLog(bench: Bench): void {
  using db = bench.open();
  const { wholeRows, wholeRowBytes, deltaRows, deltaRowBytes } = db.stats().log;
  const whole = wholeRowBytes / Math.max(1, wholeRows);
  const delta = deltaRowBytes / Math.max(1, deltaRows);
  print("bytes of a whole row in the log", whole.toFixed(1), "1");
  print("bytes of a row of which one column changed", delta.toFixed(1), (delta / whole).toFixed(2));
}

/** How fast a checkpoint is, and what it does to those who write. */
async function measureCheckpoint(bench: Bench): Promise<void> {
  const { directory: path, shmPath } = bench;
  const { rows, ms } = bench.settings;
  using db = bench.open();
  const options: Omit<CommitterOptions, "seed"> = {
    kind: "one by one",
    path,
    shmPath,
    promise: "off",
    rows,
  };
  const alone = await commitTogether(script, options, 1, ms);
  let bytes = 0;
  let seconds = 0;
  const beside = await commitTogether(script, options, 1, ms, async () => {
    const end = performance.now() + ms;
    do {
      const start = performance.now();
      bytes += (await db.checkpointAsync()).bytes;
      seconds += (performance.now() - start) / 1000;
    } while (performance.now() < end);
  });
  print("checkpoint beside one writer", `${(bytes / seconds / 1e6).toFixed(0)} MB/s`, "");
  for (
    const [name, before, after] of [
      ["median", alone.p50Ms, beside.p50Ms],
      ["99%", alone.p99Ms, beside.p99Ms],
    ] as const
  ) {
    print(`${name} of the writer's commits without it`, `${(before * 1000).toFixed(1)} us`, "1");
    const ratio = (after / before).toFixed(2);
    print(`${name} of the writer's commits beside it`, `${(after * 1000).toFixed(1)} us`, ratio);
  }
}

/** Opening a database of so many rows, when its region is there, and when it is not. */
function measureOpening(settings: Settings, rows: number): void {
  using bench = new Bench({ ...settings, rows });
  {
    using db = bench.open();
    db.table(PositionTable).upsertMany(positions(rows), { atomic: false });
    db.checkpoint();
  }
  const open = (): number => {
    const start = performance.now();
    using db = bench.open();
    const ms = performance.now() - start;
    if (db.table(PositionTable).count() !== rows) throw new Error("There are rows missing");
    return ms;
  };
  const count = rows.toLocaleString("en-US");
  const warm = Math.min(...Array.from({ length: 2 * roundCount }, open));
  print(`open from a region of ${count} rows`, `${warm.toFixed(1)} ms`, "");
  let cold = Infinity;
  for (let round = 0; round < roundCount; round++) {
    for (const name of readdirSync(bench.shmPath)) rmSync(join(bench.shmPath, name));
    cold = Math.min(cold, open());
  }
  print(`open from a snapshot of ${count} rows`, `${cold.toFixed(1)} ms`, rate(rows / cold * 1000));
}

/** Opening from files, and from a region that is there. Returns a hash of what is found. */
function measureRecovery(bench: Bench): number {
  {
    const start = performance.now();
    using _db = bench.open();
    print(
      "open from the region, after all these commits",
      `${(performance.now() - start).toFixed(1)} ms`,
      "",
    );
  }
  rmSync(bench.shmPath, { recursive: true });
  const start = performance.now();
  using db = bench.open();
  const ms = performance.now() - start;
  // Rows of the snapshot, and changes in the log behind it.
  const recovery = db.stats().recovery;
  const count = (recovery?.rowsLoaded ?? 0) + (recovery?.rowsReplayed ?? 0);
  const name = `open from files, ${count} rows and changes`;
  print(name, `${ms.toFixed(1)} ms`, rate(count / ms * 1000));
  return hashOf(db);
}

/** A hash of the columns that nothing has changed. */
function hashOf(db: Aerostore): number {
  let hash = 0;
  for (const { icao24, lat, lon, gs } of db.table(PositionTable).search("-sort icao24")) {
    for (const letter of `${icao24} ${lat} ${lon} ${gs}`) {
      hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
    }
  }
  return hash >>> 0;
}

async function main(settings: Settings): Promise<void> {
  using bench = new Bench(settings);
  const { rows } = settings;
  console.log("How many commits a second does a disk let through?");
  console.log(`${rows.toLocaleString("en-US")} rows, one column of one row in each commit\n`);
  {
    using db = bench.open();
    db.table(PositionTable).upsertMany(positions(rows), { atomic: false });
    db.flushSync();
  }
  const syncs = syncRate(bench);
  print("syncs of one block, one after the other", rate(syncs), "1");
  await measureCommits(bench, syncs);
  measurePostgres(bench, syncs);
  measureLog(bench);
  await measureCheckpoint(bench);
  for (const count of settings.openings) measureOpening(settings, count);
  const hash = measureRecovery(bench);
  console.log(`\nhash of the results: ${hash.toString(16).padStart(8, "0")}`);
}

const { values } = parseArgs({
  options: {
    rows: { type: "string" },
    tiny: { type: "boolean", default: false },
    play: { type: "string" },
  },
});
if (values.play === undefined) {
  const { tiny } = values;
  await main({
    rows: Number(values.rows ?? (tiny ? 3_000 : 200_000)),
    tiny,
    ms: tiny ? 20 : 700,
    committers: tiny ? [1, 2] : [1, 2, 8],
    openings: tiny ? [1_000, 3_000] : [10_000, 1_000_000],
  });
} else {
  await play(JSON.parse(values.play) as CommitterOptions);
}
