/**
 * What can be said when a database is opened.
 *
 * @module
 */

import { resolve } from "node:path";
import { Limit } from "./abi.ts";
import { badArgument, checkFunction, checkOptionNames, checkWord, dialects } from "./arguments.ts";
import { setConfig } from "./config.ts";
import { quote } from "./errors.ts";
import { environmentVariable } from "./library.ts";
import type { RecoveryProgress } from "./maintenance.ts";
import type { Connection, ConnectionOptions } from "./native.ts";
import type { TableDefinition } from "./schema.ts";
import { parseSize } from "./size.ts";
import type { Dialect } from "./stapi/ast.ts";

/** The options of {@linkcode Aerostore.open}. */
export interface OpenOptions {
  /**
   * The tables that the program uses. Those that do not exist are created; those that do must
   * agree. Tables that other programs declared are there all the same, by name. Default: none.
   */
  readonly tables?: readonly TableDefinition[];
  /**
   * Most bytes that the region may ever use, as a number or text such as `"64MiB"`, from 2 MiB to
   * 256 GiB. The process that creates the region decides; afterwards another size does nothing but
   * with `warm: "never"`, while no process has the database open. Memory is taken as rows arrive.
   * Default: `"1GiB"`.
   */
  readonly size?: number | string;
  /**
   * Whether writes are refused, with `read_only`. Then the database must exist, else it is
   * `not_found`. Default: false.
   */
  readonly readOnly?: boolean;
  /**
   * A directory for the region's file, or the file itself, which it is if nothing is there. It
   * should be on a memory-backed file system. Default: the environment variable
   * `AEROSTORE_SHM_PATH`, else `/dev/shm`.
   */
  readonly shmPath?: string;
  /** The native library. Default: `AEROSTORE_LIBRARY`, else the one that belongs to the module. */
  readonly libraryPath?: string;
  /** Whose rules searches follow. Default: `"default"`. */
  readonly dialect?: Dialect;
  /**
   * Sets `synchronous_commit` of the whole database; see {@linkcode Configuration}. Default: it
   * stays as it is, which is `"off"` in a new one. An ephemeral database has nothing on disk and
   * refuses `"on"` with `not_supported`.
   */
  readonly synchronousCommit?: "on" | "off";
  /**
   * Sets `checkpoint_interval_secs` of the whole database; see {@linkcode Configuration}. Default:
   * it stays as it is, which is 300 in a new one.
   */
  readonly checkpointIntervalSecs?: number;
  /**
   * What to do about a log that is damaged where it had been safe: `"none"` refuses it with
   * `corrupt`, and the message says which commits are lost. `"prefix"` opens everything that was
   * committed before them, and gives up the rest, though it may be readable: so use it once, after
   * a copy of the directory was made. Damaged files stay. `"files"` is for a region that another
   * version of Aerostore has left with commits that are not in the log, which is refused with
   * `layout_version`: it opens what the files have and gives those commits up. The region is kept
   * as a file that ends in `.retired`. Default: `"none"`.
   */
  readonly salvage?: "none" | "prefix" | "files";
  /**
   * Whether a region that no process uses is taken as it is. `"always"`: if nothing speaks against
   * it. `"clean-only"`: then, and if the last process that used it has closed it with everything on
   * disk. `"never"`: not at all. A region that is not taken loses nothing: what it has is brought
   * to disk first, and another one is built from the files, which takes as long as after a reboot.
   * If the disk does not take it, opening fails with `disk_full` or `log_failed`, and the region
   * stays. One that processes use is joined in any case. An ephemeral database is nowhere but in
   * its region, and refuses all but `"always"` with `not_supported`. Default: `"always"`.
   *
   * @example Do not rely on memory that was there before
   * ```ts
   * import assert from "node:assert/strict";
   * import { tmpdir } from "node:os";
   * import { join } from "node:path";
   * import { Aerostore, defineTable, t } from "aerostore";
   *
   * const Order = defineTable("Order", { id: t.int32().primaryKey() });
   * const directory = join(tmpdir(), `orders-${crypto.randomUUID()}`);
   * {
   *   using db = Aerostore.open(directory, { tables: [Order], size: "8MiB" });
   *   db.table(Order).insert({ id: 1 });
   * }
   * {
   *   using db = Aerostore.open(directory, { tables: [Order], size: "8MiB", warm: "never" });
   *   assert.equal(db.table(Order).count(), 1);
   *   assert.equal(db.stats().recovery?.rowsReplayed, 1);
   * }
   * Aerostore.remove(directory);
   * ```
   */
  readonly warm?: "always" | "clean-only" | "never";
  /**
   * Called about 20 times a second while `open` builds the region from files, which happens after a
   * reboot, or when the region was removed. Not called if there is nothing to recover.
   */
  readonly onRecovery?: (progress: RecoveryProgress) => void;
  /** Sets `max_snapshot_age_ms` of the whole region; see {@linkcode Configuration}. */
  readonly maxSnapshotAgeMs?: number;
  /** Sets `kill_stalled_after_ms` of the whole region; see {@linkcode Configuration}. */
  readonly killStalledAfterMs?: number;
}

/** The options of {@linkcode Aerostore.open} for a database without a directory. */
export interface EphemeralOptions extends OpenOptions {
  /** The name by which processes find it. */
  readonly ephemeral: string;
}

/** The options of {@linkcode Aerostore.remove}: those of `open` will do, the others are ignored. */
export type RemoveOptions = Pick<OpenOptions, "shmPath" | "libraryPath">;

const optionNames: ReadonlySet<string> = new Set<keyof EphemeralOptions>([
  "tables",
  "size",
  "readOnly",
  "shmPath",
  "libraryPath",
  "dialect",
  "synchronousCommit",
  "checkpointIntervalSecs",
  "salvage",
  "warm",
  "onRecovery",
  "maxSnapshotAgeMs",
  "killStalledAfterMs",
  "ephemeral",
]);

/** The options that are one of some words. */
const words: { readonly [Name in "dialect" | "salvage" | "warm"]: readonly string[] } = {
  dialect: dialects,
  salvage: ["none", "prefix", "files"],
  warm: ["always", "clean-only", "never"],
};

/** Refuses options that do not exist, or have values that make no sense. */
export function checkOptions(options: OpenOptions, attempt: string): void {
  checkOptionNames(options, optionNames, attempt);
  for (const [name, values] of Object.entries(words)) {
    checkWord(name, options[name as keyof typeof words], values, attempt);
  }
  const { onRecovery, tables = [] } = options;
  if (onRecovery !== undefined) checkFunction("onRecovery", onRecovery, attempt);
  if (!Array.isArray(tables)) {
    throw badArgument(attempt, `tables is an array, not ${quote(tables)}`);
  }
}

/**
 * Returns what the library is told.
 *
 * @param path A directory, or the name of an ephemeral database.
 * @param ephemeral Which of the two it is.
 * @param options The options of the program.
 * @param attempt What is attempted, for an error.
 */
export function connectionOptionsOf(
  path: unknown,
  ephemeral: boolean,
  options: OpenOptions,
  attempt: string,
): ConnectionOptions {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    throw badArgument(
      attempt,
      `${ephemeral ? "a name" : "the path of a directory"} is needed`,
    );
  }
  const sizeBytes = parseSize(options.size ?? "1GiB");
  if (sizeBytes < Limit.region_size_min || sizeBytes > Limit.region_size_max) {
    throw badArgument(
      attempt,
      `a region has ${Limit.region_size_min} to ${Limit.region_size_max} ` +
        `bytes, not ${quote(options.size)}`,
    );
  }
  const shmPath = options.shmPath ?? environmentVariable("AEROSTORE_SHM_PATH") ?? "";
  return {
    path: ephemeral ? path : resolve(path),
    ephemeral,
    readOnly: options.readOnly ?? false,
    sizeBytes,
    shmPath: shmPath === "" ? "" : resolve(shmPath),
    salvage: options.salvage,
    warm: options.warm,
    onRecovery: options.onRecovery,
  };
}

/** Sets what the options say about the whole database. */
export function configure(connection: Connection, options: OpenOptions): void {
  const settings = {
    max_snapshot_age_ms: options.maxSnapshotAgeMs,
    kill_stalled_after_ms: options.killStalledAfterMs,
    synchronous_commit: options.synchronousCommit,
    checkpoint_interval_secs: options.checkpointIntervalSecs,
  };
  for (const [name, value] of Object.entries(settings)) {
    if (value !== undefined) setConfig(connection, name, value);
  }
}
