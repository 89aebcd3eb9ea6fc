/** Opens transactions that have read and written, and keeps them. */

import { spawn } from "node:child_process";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options, transactions, sleeper = false } = readArguments<{
  directory: string;
  options: OpenOptions;
  transactions: number;
  /** Whether to start a program that outlives this one. */
  sleeper?: boolean;
}>();

const db = Aerostore.open(directory, { ...options, tables: [Presence] });
const open = Array.from({ length: transactions }, (_, i) => {
  const transaction = db.begin();
  const table = transaction.table(Presence);
  table.get("p1");
  table.search("-sort id");
  table.upsert({ id: `left-${i}` });
  return transaction;
});
tell("holding");
if (sleeper) {
  const program = spawn("sleep", ["60"], { stdio: "ignore", detached: true });
  tell(program.pid);
}
for await (const _ of receive()) tell(open.length);
