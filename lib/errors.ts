/**
 * The one error class of Aerostore and its codes.
 *
 * @module
 */

import { Status, statusText } from "./abi.ts";

/**
 * What went wrong, as a word that never changes its meaning.
 *
 * Programs decide by the code; the message is for people and may be reworded.
 */
export type ErrorCode =
  /** An argument is out of its range or makes no sense. */
  | "bad_argument"
  /** The file is not an Aerostore region. */
  | "not_aerostore"
  /** The region was made by a version with another layout. */
  | "layout_version"
  /** Stored bytes contradict each other. */
  | "corrupt"
  /** The region file was removed or replaced while it is open. */
  | "region_lost"
  /** The region has no room left. Nothing of the failed call was done. */
  | "region_full"
  /** The operating system denies access, or the file is not private to its owner. */
  | "permission_denied"
  /** The operating system reports another error. */
  | "io_error"
  /** Somebody else holds what is needed for too long. */
  | "busy"
  /** All 256 transaction slots of the region are taken. */
  | "too_many_transactions"
  /** All process entries of the region are taken. */
  | "too_many_processes"
  /** The declared table differs from the stored one. */
  | "schema_mismatch"
  /** There is no such table. */
  | "unknown_table"
  /** There is no such column. */
  | "unknown_column"
  /** A row with this primary key exists. */
  | "duplicate_key"
  /** There is no row with this primary key. */
  | "not_found"
  /** Text or bytes longer than the column takes. */
  | "value_too_long"
  /** A value that its column cannot hold. */
  | "type_mismatch"
  /** Null, or no value, for a column that is not nullable. */
  | "not_null_violation"
  /** Another row has this value in a unique index. */
  | "unique_violation"
  /** Another transaction changed what this one has read; running it again may succeed. */
  | "serialization_failure"
  /** The database is closed. */
  | "closed"
  /** A row view was used after its transaction. */
  | "view_expired"
  /** An integer beyond 2^53 in a column that gives numbers. */
  | "unsafe_integer"
  /** NaN, which no column holds. */
  | "not_a_number"
  /** Aerostore does not run on this operating system or processor. */
  | "unsupported_platform"
  /** A list that breaks the rules of Tcl. */
  | "invalid_list"
  /** An option that does not exist. */
  | "unknown_option"
  /** A compare operator that does not exist. */
  | "unsupported_operator"
  /** A compare operator with too few or too many operands. */
  | "wrong_arity"
  /** A parameter of a prepared query without a value. */
  | "unknown_parameter"
  /** A query that contradicts itself. */
  | "invalid_query"
  /** A table that cannot be declared. */
  | "invalid_schema"
  /** A line of the ingested text that cannot be a row. */
  | "bad_line"
  /** The transaction has ended. */
  | "transaction_closed"
  /** A write through a database or transaction that only reads. */
  | "read_only"
  /** The native library belongs to another version of this module. */
  | "abi_mismatch"
  /** The native library cannot be loaded. */
  | "library_not_found"
  /** The snapshot was given up because it kept too much memory. */
  | "snapshot_revoked"
  /** The disk, or the memory file system, is full. */
  | "disk_full"
  /** This version cannot do it. */
  | "not_supported"
  /** The region is open already, with other options. */
  | "already_open"
  /** A bug of Aerostore, or the process is out of memory. */
  | "internal"
  /** The log on disk cannot be written: commits are refused, reads go on. */
  | "log_failed"
  /** The commit is visible, but it is not known whether it is on disk. */
  | "durability_unknown";

/** The codes that the native library can return. */
type NativeCode = Exclude<keyof typeof Status, "ok">;

// Written out above and generated from Zig: each line compiles only if one list is within the
// other.
const codeNumbers: Record<ErrorCode, number> = Status;
Status satisfies Record<NativeCode & ErrorCode, number> & { ok: 0 };
const reasons: Record<NativeCode, string> = statusText satisfies Record<ErrorCode | "ok", string>;

const codes: (ErrorCode | undefined)[] = [];
for (const [code, number] of Object.entries(codeNumbers) as [ErrorCode | "ok", number][]) {
  if (code !== "ok") codes[number] = code;
}

/**
 * Everything that Aerostore throws.
 *
 * @example Decide by the code
 * ```ts
 * import assert from "node:assert/strict";
 * import { AerostoreError } from "aerostore";
 *
 * const error = new AerostoreError("not_found", 'Cannot update "A1": there is no such row');
 * assert.equal(error.code, "not_found");
 * assert.equal(error.name, "AerostoreError");
 * ```
 */
export class AerostoreError extends Error {
  /** The stable word for what went wrong. */
  readonly code: ErrorCode;

  /**
   * Makes an error.
   *
   * @param code The stable word for what went wrong.
   * @param message What was attempted, quoting it; a capital first, no period last.
   * @param options `cause`: the error that led to this one.
   */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AerostoreError";
    this.code = code;
  }
}

/**
 * Returns the code for a negative result of the native library.
 *
 * @param result What the function returned: the status, negated.
 * @returns The code; `internal` for a number that this module does not know.
 */
export function codeOfResult(result: number): ErrorCode {
  return codes[-result] ?? "internal";
}

/**
 * Returns one line that completes "Cannot do this: ...".
 *
 * @param code The code to explain.
 */
export function reasonOf(code: ErrorCode): string {
  return reasons[code];
}

/**
 * Returns `value` as it may stand in a message: text in quotes, cut after 60 characters.
 *
 * @param value Anything, from outside.
 */
export function quote(value: unknown): string {
  let text: string;
  if (typeof value === "string") {
    text = JSON.stringify(value);
  } else if (typeof value === "bigint") {
    text = `${value}n`;
  } else if (value instanceof Uint8Array) {
    text = `${value.length} bytes`;
  } else if (typeof value === "function" || typeof value === "symbol") {
    text = `a ${typeof value}`;
  } else if (typeof value === "object" && value !== null) {
    text = quoteObject(value);
  } else {
    text = Object.is(value, -0) ? "-0" : String(value);
  }
  return text.length > 62 ? `${text.slice(0, 58)}...${typeof value === "string" ? '"' : ""}` : text;
}

function quoteObject(value: object): string {
  try {
    return JSON.stringify(value) ?? "an object";
  } catch {
    return "an object";
  }
}
