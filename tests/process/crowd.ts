/**
 * Stands for as many processes as can have a database open: holds the locks by which they would be
 * known to live, of the files that it is told.
 */

import { host } from "../../lib/host.ts";
import { readArguments, receive, tell } from "./channel.ts";

/** The byte of the file that the first process locks, see `src-zig/lock_file.zig`. */
const firstByte = 16n;
/** Processes that can have a database open: the README says so too. */
const processCount = 128n;
const readWrite = 2;
const setLockOfFile = 37; // F_OFD_SETLK
const writeLock = 1; // F_WRLCK

const libc = host.load("libc.so.6", {
  open: [["buffer", "i32"], "i32"],
  fcntl: [["i32", "i32", "buffer"], "i32"],
});

const { files } = readArguments<{ files: readonly string[] }>();
for (const file of files) {
  const fd = libc.open(new TextEncoder().encode(`${file}\0`), readWrite);
  const flock = new DataView(new ArrayBuffer(32));
  flock.setInt16(0, writeLock, true);
  flock.setBigInt64(8, firstByte, true);
  flock.setBigInt64(16, processCount, true);
  const outcome = libc.fcntl(fd, setLockOfFile, new Uint8Array(flock.buffer));
  if (fd < 0 || outcome !== 0) throw new Error(`Cannot lock ${file}`);
}
tell("crowded");
for await (const _ of receive());
