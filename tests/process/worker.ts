/** A Worker that opens a database of its own and adds rows to it. */

import { parentPort, workerData } from "node:worker_threads";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";

const { directory, options, name, rows } = workerData as {
  directory: string;
  options: OpenOptions;
  name: string;
  rows: number;
};

const db = Aerostore.open(directory, { ...options, tables: [Presence] });
const presence = db.table(Presence);
for (let i = 0; i < rows; i++) {
  presence.upsert({ id: `${name}-${i}`, place: name, visits: i });
  presence.apply("shared", { visits: { increment: 1 } });
}
const count = presence.count();
db.close();
let code = "";
try {
  presence.get("shared");
} catch (error) {
  if (error instanceof Error && "code" in error) code = String(error.code);
}
parentPort?.postMessage({ count, code });
