/** Increments rows at random for as long as it is told, and looks at all of them now and then. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Field } from "../support/tables.ts";
import { randomNumbers } from "../support/workload.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options, seed, looks } = readArguments<{
  directory: string;
  options: OpenOptions;
  seed: number;
  /** Whether to check that each transaction of others is seen whole. */
  looks: boolean;
}>();

using db = Aerostore.open(directory, { ...options, tables: [Field] });
const fields = db.table(Field);
const count = fields.count();
const random = randomNumbers(seed);
let writes = 0;
let seen = 0;
let torn = 0;
let leaving = false;

async function work(): Promise<void> {
  while (!leaving) {
    for (let i = 0; i < 200; i++) fields.apply(random(count), { hits: { increment: 1 } });
    writes += 200;
    if (looks) {
      const { low, high } = fields.aggregate("", { low: ["min", "round"], high: ["max", "round"] });
      seen += 1;
      if (low !== high) torn += 1;
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
}

tell("ready");
let working: Promise<void> | undefined;
for await (const order of receive()) {
  if (order === "work") working = work();
  else {
    leaving = true;
    await working;
    tell({ writes, seen, torn });
  }
}
