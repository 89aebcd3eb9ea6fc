/** Opens a database where no thread can be started any more, and tells how that went. */

import process from "node:process";
import { Aerostore, AerostoreError, type OpenOptions } from "../../mod.ts";
import { host } from "../../lib/host.ts";
import { loadLibrary } from "../../lib/library.ts";
import { readArguments, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();
const nobody = 65_534;
const processLimit = 6; // RLIMIT_NPROC

const libc = host.load("libc.so.6", {
  setuid: [["u32"], "i32"],
  setrlimit: [["i32", "buffer"], "i32"],
});
loadLibrary(options.libraryPath);
// The limit does not hold for the superuser.
if (process.getuid?.() === 0) libc.setuid(nobody);
libc.setrlimit(processLimit, new Uint8Array(16));
try {
  Aerostore.open(directory, options).close();
  tell({});
} catch (error) {
  if (!(error instanceof AerostoreError)) throw error;
  tell({ code: error.code, message: error.message });
}
