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
  /**
   * When a commit returns. `"off"`: when it is visible. No process crash loses it, and a power cut
   * loses what was committed in the last moments, 100 ms as a rule. `"on"`: when its record is on
   * disk, together with all that wait at that time. A transaction may choose for itself. A new
   * region begins with `"off"`; an ephemeral database has no other.
   */
  synchronous_commit: "on" | "off";
  /**
   * Seconds from one checkpoint to the next, so that the log stays short and recovery quick. 0 for
   * none by time: then only the size of the log and `Aerostore.checkpoint` make one. A new region
   * begins with 300; an ephemeral database has no other than 0.
   */
  checkpoint_interval_secs: number;
}

/** The name of a setting. An `aerostore.` prefix is allowed. */
export type ConfigurationName = keyof Configuration | `aerostore.${keyof Configuration}`;

/** The value type of a setting. */
export type ConfigurationValue<Name extends ConfigurationName> = Name extends keyof Configuration
  ? Configuration[Name]
  : Name extends `aerostore.${infer Bare extends keyof Configuration}` ? Configuration[Bare]
  : never;

/** How a setting crosses the border. */
interface SettingType {
  /** What it may be, in words. */
  readonly range: string;
  /** The number of a value; undefined if it is out of range. */
  encode(value: unknown): number | undefined;
  decode(number: number): number | string;
}

const wholeMax = 2 ** 32 - 1;

function wholeNumber(unit: string): SettingType {
  return {
    range: `a whole number of ${unit} from 0 to ${wholeMax}`,
    encode: (value) =>
      typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= wholeMax
        ? value
        : undefined,
    decode: (number) => number,
  };
}

const onOff: SettingType = {
  range: `"on" or "off"`,
  encode: (value) => value === "on" ? 1 : value === "off" ? 0 : undefined,
  decode: (number) => number === 0 ? "off" : "on",
};

const types: Record<keyof Configuration, SettingType> = {
  max_snapshot_age_ms: wholeNumber("milliseconds"),
  kill_stalled_after_ms: wholeNumber("milliseconds"),
  synchronous_commit: onOff,
  checkpoint_interval_secs: wholeNumber("seconds"),
};

/** Changes a setting; see {@linkcode Aerostore.setConfig}. */
export function setConfig(connection: Connection, name: string, value: unknown): void {
  const bare = bareName(name, "set");
  const attempt = `set ${quote(bare)} to ${quote(value)}`;
  const { encode, range } = types[bare];
  const number = encode(value);
  if (number === undefined) {
    throw new AerostoreError("bad_argument", `Cannot ${attempt}: it is ${range}`);
  }
  const result = connection.configSet(Setting[bare], number);
  if (result < 0) throw connection.error(result, attempt);
}

/** Reads a setting; see {@linkcode Aerostore.getConfig}. */
export function getConfig(connection: Connection, name: string): number | string {
  const bare = bareName(name, "get");
  const result = connection.configGet(Setting[bare]);
  if (result < 0) throw connection.error(result, `get ${quote(bare)}`);
  return types[bare].decode(result);
}

function bareName(name: string, verb: string): keyof Configuration {
  const bare = typeof name === "string" && name.startsWith("aerostore.")
    ? name.slice("aerostore.".length)
    : name;
  if (Object.hasOwn(types, bare)) return bare as keyof Configuration;
  throw new AerostoreError(
    "bad_argument",
    `Cannot ${verb} ${quote(name)}: there is no such setting`,
  );
}
