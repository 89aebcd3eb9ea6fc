/**
 * What can be said when a transaction begins.
 *
 * @module
 */

import { TransactionFlag } from "./abi.ts";
import { badArgument, booleans, checkOptionNames, checkWord } from "./arguments.ts";
import { quote } from "./errors.ts";

/** The options of a transaction. */
export interface TransactionOptions {
  /** Whether it only reads. Such a transaction never fails by a conflict. Default: false. */
  readonly readOnly?: boolean;
  /**
   * What it sees: `"latest"` everything that was committed before it began, `"relaxed"` everything
   * that was decided a moment ago, about a millisecond behind, without ever waiting for a commit
   * that is under way. Default: `"latest"`.
   */
  readonly snapshot?: "latest" | "relaxed";
  /**
   * When its commit returns: `"on"` when its record is on disk, `"off"` when it is visible.
   * Default: what `synchronous_commit` is for the whole database.
   */
  readonly synchronousCommit?: "on" | "off";
  /**
   * Whether it begins only when all that it sees is on disk, so that no power cut takes back what
   * it has read. Others' commits are seen before they are on disk, at `"on"` as well as at `"off"`:
   * it waits for those, and asks the log to hurry. For transactions with `readOnly`; one that
   * writes has the same with `synchronousCommit` `"on"`, because its record comes behind all that
   * it has seen. {@linkcode Aerostore.begin} and {@linkcode Aerostore.transaction} block for it,
   * {@linkcode Aerostore.beginAsync} does not. Refused with `not_supported` for an ephemeral
   * database, which has nothing on disk. Default: false.
   */
  readonly readDurable?: boolean;
}

/** The options of {@linkcode Aerostore.transaction}. */
export interface RetryOptions extends TransactionOptions {
  /** How often the function may run again after a conflict. Default: 100. */
  readonly retriesMax?: number;
}

const optionNames: ReadonlySet<string> = new Set<keyof RetryOptions>([
  "readOnly",
  "snapshot",
  "synchronousCommit",
  "readDurable",
  "retriesMax",
]);

const attempt = "begin a transaction";
const snapshots = ["latest", "relaxed"];

/**
 * Refuses options that do not exist, or have values that make no sense.
 *
 * @param options What a program gave.
 * @throws {AerostoreError} With `bad_argument`.
 */
export function checkTransactionOptions(options: RetryOptions): void {
  checkOptionNames(options, optionNames, attempt);
  checkWord("readOnly", options.readOnly, booleans, attempt);
  checkWord("snapshot", options.snapshot, snapshots, attempt);
  const { retriesMax = 0 } = options;
  if (retriesMax >= 0) return;
  throw badArgument(attempt, `retriesMax is 0 or more, not ${quote(retriesMax)}`);
}

/** Returns the flag of a `synchronousCommit` option. */
export function promiseFlag(option: unknown): number {
  if (option === undefined) return 0;
  if (option === "on") return TransactionFlag.durable;
  if (option === "off") return TransactionFlag.visible;
  throw badArgument(attempt, `synchronousCommit is "on" or "off", not ${quote(option)}`);
}

/** Returns the flags of a `readDurable` option. */
export function readDurableFlag(
  { readDurable, readOnly }: TransactionOptions,
  mayBlock: boolean,
): number {
  if (readDurable === undefined || readDurable === false) return 0;
  if (readDurable === true && readOnly === true) {
    return TransactionFlag.read_durable | (mayBlock ? 0 : TransactionFlag.wait_later);
  }
  throw badArgument(
    attempt,
    readDurable === true
      ? "readDurable is for one with readOnly"
      : `readDurable is true or false, not ${quote(readDurable)}`,
  );
}
