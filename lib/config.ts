/**
 * The settings of an open database, which all its processes share.
 *
 * @module
 */

import { Setting } from "./abi.ts";
import { AerostoreError, quote } from "./errors.ts";
import type { Connection } from "./native.ts";

/** What can be set while a database is open, and the type of each value. */
export interface Configuration {
  /**
   * Milliseconds after which a snapshot that nothing runs in is given up, so that it does not hold
   * memory back; its next use fails with `snapshot_revoked`. 0 for never, which is the default.
   */
  max_snapshot_age_ms: number;
  /**
   * Milliseconds after which a process that does not come out of one operation, or keeps row views,
   * is killed by another one. 0 for never, which is the default.
   */
  kill_stalled_after_ms: number;
  /** When a commit returns. Only `"off"` for now: there is no log on disk. */
  synchronous_commit: "off";
}

/** The name of a setting. An `aerostore.` prefix is allowed. */
export type ConfigurationName = keyof Configuration | `aerostore.${keyof Configuration}`;

/** The value type of a setting. */
export type ConfigurationValue<Name extends ConfigurationName> = Name extends keyof Configuration
  ? Configuration[Name]
  : Name extends `aerostore.${infer Bare extends keyof Configuration}` ? Configuration[Bare]
  : never;

const millisecondsMax = 2 ** 32 - 1;

/** Changes a setting; see {@linkcode Aerostore.setConfig}. */
export function setConfig(connection: Connection, name: string, value: unknown): void {
  const bare = bareName(name, "set");
  const attempt = `set ${quote(bare)} to ${quote(value)}`;
  if (bare === "synchronous_commit") {
    if (value === "off") return;
    const [code, reason] = value === "on"
      ? ["not_supported", "this version has no log on disk"] as const
      : ["bad_argument", `it is "on" or "off"`] as const;
    throw new AerostoreError(code, `Cannot ${attempt}: ${reason}`);
  }
  const valid = typeof value === "number" && Number.isInteger(value) && value >= 0 &&
    value <= millisecondsMax;
  if (!valid) {
    throw new AerostoreError(
      "bad_argument",
      `Cannot ${attempt}: it is a whole number of milliseconds from 0 to ${millisecondsMax}`,
    );
  }
  const result = connection.configSet(Setting[bare], value);
  if (result < 0) throw connection.error(result, attempt);
}

/** Reads a setting; see {@linkcode Aerostore.getConfig}. */
export function getConfig(connection: Connection, name: string): number | string {
  const bare = bareName(name, "get");
  if (bare === "synchronous_commit") return "off";
  const result = connection.configGet(Setting[bare]);
  if (result < 0) throw connection.error(result, `get ${quote(bare)}`);
  return result;
}

function bareName(name: string, verb: string): keyof Configuration {
  const bare = name.startsWith("aerostore.") ? name.slice("aerostore.".length) : name;
  if (bare === "synchronous_commit" || Object.hasOwn(Setting, bare)) {
    return bare as keyof Configuration;
  }
  throw new AerostoreError(
    "bad_argument",
    `Cannot ${verb} ${quote(name)}: there is no such setting`,
  );
}
