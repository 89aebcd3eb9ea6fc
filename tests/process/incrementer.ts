/** Increments one row, as often and in the way it is told. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Counter } from "../support/workload.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

/** How to increment, and how often. */
interface Order {
  readonly by: "transaction" | "apply";
  readonly times: number;
}

using db = Aerostore.open(directory, { ...options, tables: [Counter] });
const counters = db.table(Counter);

function byTransaction(): number {
  let runs = 0;
  db.transaction((transaction) => {
    runs += 1;
    const table = transaction.table(Counter);
    table.update(0, { total: (table.get(0)?.total ?? 0) + 1 });
  });
  return runs;
}

tell("ready");
for await (const order of receive()) {
  const { by, times } = order as Order;
  let runs = 0;
  for (let i = 0; i < times; i++) {
    if (by === "transaction") {
      runs += byTransaction();
    } else {
      counters.apply(0, { total: { increment: 1 } });
      runs += 1;
    }
  }
  tell({ runs });
}
