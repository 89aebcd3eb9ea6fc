/** Writes rows of its own whose numbers only grow, and checks that those of others never shrink. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options, names, name, ms } = readArguments<{
  directory: string;
  options: OpenOptions;
  /** Everybody who takes part. */
  names: readonly string[];
  name: string;
  ms: number;
}>();

using db = Aerostore.open(directory, { ...options, tables: [Presence] });
const presence = db.table(Presence);
tell("ready");

for await (const _ of receive()) {
  const seen = new Map<string, number>();
  const look = (id: string, visits: number): void => {
    const before = seen.get(id) ?? 0;
    if (visits < before) throw new Error(`${id} went back from ${before} to ${visits}`);
    seen.set(id, visits);
  };
  let writes = 0;
  for (const end = Date.now() + ms; Date.now() < end;) {
    writes += 1;
    presence.upsert({ id: name, place: name, visits: writes });
    if (presence.get(name)?.visits !== writes) throw new Error("It does not see its own write");
    for (const id of names) look(id, presence.get(id)?.visits ?? 0);
    for (const row of presence.search("-sort id")) look(row.id, row.visits);
    db.transaction((transaction) => {
      const table = transaction.table(Presence);
      for (const id of names) look(id, table.get(id)?.visits ?? 0);
    }, { readOnly: true });
  }
  tell({ writes, seen: Math.max(...seen.values()) });
}
