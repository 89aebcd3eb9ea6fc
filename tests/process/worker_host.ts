/** Starts Workers that write, and terminates each in the middle of it. */

import { Worker } from "node:worker_threads";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options, rounds } = readArguments<{
  directory: string;
  options: OpenOptions;
  rounds: number;
}>();

const db = Aerostore.open(directory, { ...options, tables: [Presence] });

/** Resolves when the Worker has written for the first time. */
function begin(name: string): Promise<Worker> {
  const worker = new Worker(new URL("./endless_worker.ts", import.meta.url), {
    workerData: { directory, options, name },
  });
  return new Promise((resolve, reject) => {
    worker.on("message", () => resolve(worker));
    worker.on("error", reject);
  });
}

for (let round = 0; round < rounds; round++) {
  const workers = await Promise.all([begin(`a${round}`), begin(`b${round}`)]);
  await new Promise((resolve) => setTimeout(resolve, 7 * round));
  await Promise.all(workers.map((worker) => worker.terminate()));
  db.table(Presence).apply("shared", { visits: { increment: 1 } });
}
tell("done");
for await (const command of receive()) if (command === "leave") break;
db.close();
