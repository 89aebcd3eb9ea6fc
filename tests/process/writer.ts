/** Opens a database when told to, writes rows of its own and counts in one that all share. */

import { Aerostore, AerostoreError, type OpenOptions } from "../../mod.ts";
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
    // All writers want the same keys.
    const insertOnce = (id: string): boolean => {
      try {
        presence.insert({ id });
        return true;
      } catch (error) {
        if (error instanceof AerostoreError && error.code === "duplicate_key") return false;
        throw error;
      }
    };
    let inserted = 0;
    insertOnce("shared");
    for (let i = 0; i < rows; i++) {
      presence.upsert({ id: `${name}-${i}`, place: name, visits: i });
      presence.apply("shared", { visits: { increment: 1 } });
      if (insertOnce(`contested-${i}`)) inserted++;
    }
    tell({ inserted, seen: presence.get("shared") });
  }
}
