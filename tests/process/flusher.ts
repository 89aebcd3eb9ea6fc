/** Waits for the disk and ends, without closing what it has open; a Worker of it does the same. */

import process from "node:process";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, tell } from "./channel.ts";

interface Arguments {
  readonly directories: readonly string[];
  readonly options: OpenOptions;
  readonly rounds: number;
}

const { directories, options, rounds }: Arguments = isMainThread
  ? readArguments<Arguments>()
  : workerData as Arguments;

/** Commits and waits, in all databases at the same time. */
async function work(): Promise<number> {
  const databases = directories.map((directory) =>
    Aerostore.open(directory, { ...options, tables: [Presence] })
  );
  let waits = 0;
  for (let round = 0; round < rounds; round++) {
    await Promise.all(databases.flatMap((db) => {
      const flushed = [0, 1, 2].map(async (i) => {
        const transaction = db.begin({ synchronousCommit: "on" });
        transaction.table(Presence).upsert({ id: `${isMainThread}-${i}`, visits: round });
        await transaction.commitAsync();
        waits++;
      });
      return [...flushed, db.flush()];
    }));
  }
  return waits;
}

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { directories, options, rounds } satisfies Arguments,
  });
  const ended = new Promise((resolve) => worker.on("exit", resolve));
  tell(await work());
  await ended;
  tell("worker ended");
  // Nothing but this keeps the process alive, and then nothing does.
  const db = Aerostore.open(directories[0] ?? "", options);
  db.table(Presence).upsert({ id: "last" });
  void db.flush().then(() => tell("flushed"));
  process.on("exit", () => tell("exit"));
} else {
  await work();
}
