/** A Worker that writes until it is terminated, with transactions open all the while. */

import { parentPort, workerData } from "node:worker_threads";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";

const { directory, options, name } = workerData as {
  directory: string;
  options: OpenOptions;
  name: string;
};

const db = Aerostore.open(directory, { ...options, tables: [Presence] });
const presence = db.table(Presence);
const reading = db.begin({ readOnly: true });
const view = reading.table(Presence).get("shared");
const writing = db.begin();
writing.table(Presence).upsert({ id: `${name}-open`, place: name });
const sleepWord = new Int32Array(new SharedArrayBuffer(4));
for (let i = 0;; i++) {
  // What the open transactions may still read stays, and must not fill the region.
  if (i % 4 === 0) Atomics.wait(sleepWord, 0, 0, 2);
  presence.upsert({ id: `${name}-${i % 50}`, place: name, visits: i });
  presence.apply("shared", { visits: { increment: 1 } });
  db.transaction((transaction) => {
    const table = transaction.table(Presence);
    table.delete(`${name}-${i % 50}`);
    table.upsert({ id: `${name}-x`, visits: view?.visits ?? 0 });
  });
  if (i === 20) parentPort?.postMessage("writing");
}
