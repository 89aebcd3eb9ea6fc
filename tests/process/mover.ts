/** Moves all accounts from owner to owner and pays into them, by queries. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Account } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

using db = Aerostore.open(directory, { ...options, tables: [Account] });

tell("ready");
for await (const order of receive()) {
  const { rounds } = order as { rounds: number };
  for (let round = 0; round < rounds; round++) {
    // What moves from a to b must not be paid twice, so it is one transaction.
    db.transaction((tx) => {
      const accounts = tx.table(Account);
      const moved = accounts.query().where("owner", "=", "a")
        .update({ owner: "b", balance: { increment: 1 }, note: "moved" });
      const others = accounts.query().where("owner", "=", "b").where("note", "null")
        .update({ owner: "a", balance: { increment: 1 } });
      accounts.query().where("note", "=", "moved").update({ note: null });
      if (moved + others !== 20) throw new Error(`${moved} and ${others} accounts`);
    }, { retriesMax: 10_000 });
  }
  tell(rounds);
}
