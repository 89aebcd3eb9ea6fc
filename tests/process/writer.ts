/** Opens a database when told to, writes rows of its own and increments a shared one. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options, name, rows } = readArguments<{
  directory: string;
  options: OpenOptions;
  name: string;
  rows: number;
}>();

tell("started");
for await (const command of receive()) {
  if (command === "write") {
    using db = Aerostore.open(directory, { ...options, tables: [Presence] });
    const presence = db.table(Presence);
    let inserted = 0;
    for (let i = 0; i < rows; i++) {
      presence.upsert({ id: `${name}-${i}`, place: name, visits: i });
      presence.apply("shared", { visits: { increment: 1 } });
      try {
        // All writers want the same keys: each key must be inserted once.
        presence.insert({ id: `contested-${i}`, place: name });
        inserted++;
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "duplicate_key")) {
          throw error;
        }
      }
    }
    tell({ inserted, seen: presence.get("shared") });
  }
}
