/** Changes rows for as many rounds as it is told, or reads them in long transactions. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Churner, Plain } from "../support/churn.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options, rounds } = readArguments<{
  directory: string;
  options: OpenOptions;
  /** 0: it reads, until it is told to leave. */
  rounds: number;
}>();

using db = Aerostore.open(directory, { ...options, tables: [Plain] });
let leaving = false;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function write(): Promise<void> {
  const churner = new Churner(db, Plain);
  for (let round = 0; round < rounds; round++) {
    churner.run();
    await churner.yield();
  }
}

/** What the rows of a few keys are, as far as a transaction can see. */
function look(transaction: ReturnType<typeof db.begin>): string {
  const table = transaction.table(Plain);
  const keys = Array.from({ length: 20 }, (_, i) => `k${i * 491}`);
  return JSON.stringify(keys.map((key) => table.get(key)?.toObject() ?? null));
}

/** Keeps a snapshot while others write some 50,000 rows, again and again. */
async function read(): Promise<void> {
  while (!leaving) {
    using transaction = db.begin({ readOnly: true });
    const before = look(transaction);
    const end = db.stats().position + 50_000;
    while (!leaving && db.stats().position < end) await pause(1);
    if (look(transaction) !== before) throw new Error("A snapshot changed");
    transaction.commit();
    tell("snapshot");
    await pause(10);
  }
}

tell("ready");
for await (const command of receive()) {
  if (command === "write") {
    await write();
    tell("done");
  } else if (command === "read") {
    void read().then(() => tell("left"));
  } else {
    leaving = true;
  }
}
