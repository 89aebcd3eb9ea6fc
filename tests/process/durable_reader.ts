/** Opens a database for reading and, when it is asked, tells what is on disk. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();
const db = Aerostore.open(directory, { ...options, readOnly: true });
const reading = { readOnly: true, readDurable: true } as const;
tell("ready");
for await (const message of receive()) {
  if (message === "end") break;
  const told: unknown[] = [];
  for (const begin of [() => db.begin(reading), () => db.beginAsync(reading)]) {
    const { position } = db.stats();
    using transaction = await begin();
    const isDurable = db.stats().log.durable >= position;
    told.push(transaction.table(Presence).get("A")?.visits, isDurable);
  }
  tell(told);
}
db.close();
