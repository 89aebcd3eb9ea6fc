/** Writes as its workload says, and prints the number of operations done after each. */

import { writeSync } from "node:fs";
import process from "node:process";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Counter, Item, perform, Workload } from "../support/workload.ts";
import { readArguments } from "./channel.ts";

const { directory, options, name, seed, done, deadline } = readArguments<{
  directory: string;
  options: OpenOptions;
  name: string;
  seed: number;
  /** Operations that an earlier process has done. */
  done: number;
  /** When to give up, in ms since 1970, should nobody kill it. */
  deadline: number;
}>();

/** Writes to the pipe itself: what a stream holds back would be lost with the process. */
function acknowledge(count: number): void {
  const line = new TextEncoder().encode(`${count}\n`);
  let written = 0;
  while (written < line.length) {
    try {
      written += writeSync(1, line, written);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    }
  }
}

const workload = new Workload(name, seed);
workload.skipTo(done);
const db = Aerostore.open(directory, { ...options, tables: [Item, Counter] });
acknowledge(done);
while (Date.now() < deadline) {
  const existing = new Set(workload.rows.keys());
  perform(db, workload.next(), (id) => existing.has(id));
  acknowledge(workload.done);
}
process.exit(3);
