/**
 * Who writes the log, read from the region's file: whoever opens a database may become it.
 *
 * @module
 */

import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Store } from "./store.ts";

/** Where things stand in a region; `src-zig/README.md` shows them. */
const headerOffsets = { control: 80, processes: 88 } as const;
const logInControl = 896;
const takeoversInLog = 184;
const processSize = 64;
const pidInProcess = 4;

/** What the region says about its leader. */
export interface Leader {
  /** The number of its process; 0 if nobody leads. */
  readonly pid: number;
  /** How often somebody has begun to write the log. */
  readonly changes: number;
}

/** Returns who leads. The store has one region. */
export function leaderOf(store: Store): Leader {
  const name = readdirSync(store.shmPath).find((one) => /^aerostore-\d+-[0-9a-f]+$/.test(one));
  if (name === undefined) return { pid: 0, changes: 0 };
  const file = openSync(join(store.shmPath, name), "r");
  const view = new DataView(new ArrayBuffer(8));
  const read = (at: number) => {
    readSync(file, view, 0, 8, at);
    return view;
  };
  try {
    const log = Number(read(headerOffsets.control).getBigUint64(0, true)) + logInControl;
    const changes = Number(read(log + takeoversInLog).getBigUint64(0, true));
    // {generation: 24 bits, process + 1: 8, epoch: 32}
    const entry = read(log).getUint8(3);
    if (entry === 0) return { pid: 0, changes };
    const processes = Number(read(headerOffsets.processes).getBigUint64(0, true));
    const at = processes + (entry - 1) * processSize + pidInProcess;
    return { pid: read(at).getUint32(0, true), changes };
  } finally {
    closeSync(file);
  }
}
