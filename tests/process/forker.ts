/** Holds transactions, and forks without starting another program: the copy has all that it has. */

import { host } from "../../lib/host.ts";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Presence } from "../support/tables.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

const libc = host.load("libc.so.6", { fork: [[], "i32"], pause: [[], "i32"] });

const db = Aerostore.open(directory, { ...options, tables: [Presence] });
const transaction = db.begin();
transaction.table(Presence).upsert({ id: "left" });
// Compiled and called before: the copy has one thread, and must not need another.
const { fork, pause } = libc;
const pid = fork();
if (pid === 0) {
  while (true) pause();
}
tell("holding");
tell(pid);
for await (const _ of receive()) tell(db.closed);
