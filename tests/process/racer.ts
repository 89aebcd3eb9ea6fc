/** Opens databases the moment it is told to, and inserts keys that others want as well. */

import { Aerostore, AerostoreError, defineTable, type OpenOptions, t } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { name } = readArguments<{ name: string }>();

/** One race. */
interface Order {
  readonly directory: string;
  readonly options: OpenOptions;
  readonly keys: number;
}

/** A table that no other racer declares, so that declarations race as well. */
const Own = defineTable(`Own${name}`, { id: t.int32().primaryKey() });

function race({ directory, options, keys }: Order): unknown {
  using db = Aerostore.open(directory, { ...options, tables: [Presence, Own] });
  const presence = db.table(Presence);
  const inserted: string[] = [];
  for (let i = 0; i < keys; i++) {
    const id = `key-${i}`;
    try {
      presence.insert({ id, place: name });
      inserted.push(id);
    } catch (error) {
      if (!(error instanceof AerostoreError && error.code === "duplicate_key")) throw error;
    }
    if (presence.get(id) === undefined) throw new Error(`Key ${id} is gone`);
  }
  db.table(Own).insert({ id: 1 });
  return { inserted, count: presence.count(), tables: db.tableNames.length };
}

tell("ready");
for await (const order of receive()) tell(race(order as Order));
