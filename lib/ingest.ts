/**
 * Tab-separated text into a table.
 *
 * TypeScript only carries bytes: the library splits, converts and writes them, batch by batch.
 *
 * @module
 */

import { createReadStream } from "node:fs";
import { Setting } from "./abi.ts";
import { AerostoreError, quote } from "./errors.ts";
import { columnOf, type TableLayout } from "./layout.ts";
import type { Connection } from "./native.ts";
import type { TableHandle } from "./table_handle.ts";

/**
 * Where tab-separated text comes from: text, bytes, the `URL` or `{ path }` of a file, a stream, or
 * anything that gives pieces of text or bytes. Pieces may end anywhere, in a character too.
 */
export type IngestSource =
  | string
  | Uint8Array
  | URL
  | { readonly path: string }
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | Iterable<Uint8Array | string>;

/** How far an ingest has come. */
export interface IngestProgress {
  /** Rows that are in the table for good. */
  readonly rows: number;
  /** Lines that were left out. */
  readonly skipped: number;
  /** Bytes that were read from the source. */
  readonly bytes: number;
}

/** The options of {@linkcode Table.ingestTsv}. */
export interface IngestOptions<Name extends string = string> {
  /** Rows of one transaction. Default: 1000. */
  readonly batchSize?: number;
  /**
   * Where the fields go. A list: the column of each field, null for a field to leave out. An
   * object: the columns by their names in the header line, where these differ. Default: the header
   * line if there is one, else the columns in the order of the declaration.
   */
  readonly columns?: readonly (Name | null)[] | Readonly<Record<string, Name | null>>;
  /** Whether the first line names the fields. Default: whether `columns` is an object. */
  readonly header?: boolean;
  /** Whether fields are left out whose name in the header line is unknown. Default: false. */
  readonly ignoreUnknown?: boolean;
  /** A field that equals it is null, at most 255 bytes. Default: the empty field. */
  readonly nullText?: string;
  /** `plain`: fields as they are. `tcl`: elements of Tcl lists. Default: `plain`. */
  readonly format?: "plain" | "tcl";
  /**
   * Whether a row replaces one that has its key, or is refused with `duplicate_key`. Default:
   * `upsert`.
   */
  readonly mode?: "upsert" | "insert";
  /**
   * What to do about the first line that is no row, or whose row the table refuses with
   * `duplicate_key` or `unique_violation`: `throw`, or `skip` it and go on. A batch with such a row
   * is then written row by row, each a transaction of its own. Default: `throw`.
   */
  readonly onError?: "throw" | "skip";
  /** Called after each megabyte or piece of the source, and at its end. */
  readonly onProgress?: (progress: IngestProgress) => void;
}

/** The flags of the options in `aero_ingest_begin`. */
const IngestFlag = {
  header: 1,
  tcl: 2,
  skip: 4,
  insert: 8,
  columnList: 16,
  renames: 32,
  ignoreUnknown: 64,
} as const;

/** The column id of a field to leave out. */
const ignored = 255;
const batchSizeMax = 65_536;
/** Bytes of a file that are read at once. */
const readSize = 1 << 20;
const fieldsMax = 1024;

/**
 * Ingests a source into a table.
 *
 * @param handle The table.
 * @param source Where the text comes from.
 * @param options See {@linkcode IngestOptions}.
 * @returns What was read, at the end; with `synchronous_commit` `"on"`, when all of it is on disk.
 * @throws {AerostoreError} With `bad_line`, quoting the first bad line and its number. Batches
 * before it are in the table.
 */
export async function ingest(
  handle: TableHandle,
  source: IngestSource,
  options: IngestOptions,
): Promise<IngestProgress> {
  const { connection, layout } = handle;
  connection.check();
  const attempt = `ingest into ${quote(layout.name)}`;
  const size = connection.putInput(encodeOptions(layout, options, attempt), attempt);
  const id = connection.ingestBegin(layout.id, size);
  if (id < 0) throw connection.error(id, attempt);
  const feeder = new Feeder(connection, id, attempt, options.onProgress);
  try {
    for await (const piece of piecesOf(source, attempt)) feeder.feed(piece);
    const progress = feeder.finish();
    if (connection.configGet(Setting.synchronous_commit) === 1) {
      await connection.waits.wait(feeder.position, attempt);
    }
    return progress;
  } finally {
    feeder.end();
  }
}

/** Hands pieces to one ingest of the library. */
class Feeder {
  readonly #connection: Connection;
  readonly #id: number;
  readonly #attempt: string;
  readonly #onProgress: ((progress: IngestProgress) => void) | undefined;
  readonly #encoder = new TextEncoder();
  /** The first half of a surrogate pair whose second half is in the next piece. */
  #half = "";
  #bytes = 0;
  #position = 0;

  constructor(
    connection: Connection,
    id: number,
    attempt: string,
    onProgress: ((progress: IngestProgress) => void) | undefined,
  ) {
    this.#connection = connection;
    this.#id = id;
    this.#attempt = attempt;
    this.#onProgress = onProgress;
  }

  /** The commit position of the last batch, or a later one. */
  get position(): number {
    return this.#position;
  }

  /** Feeds one piece, of any size. */
  feed(piece: unknown): void {
    if (typeof piece === "string") {
      this.#feedText(piece);
    } else if (piece instanceof Uint8Array) {
      this.#feedBytes(piece);
    } else {
      throw new AerostoreError(
        "bad_argument",
        `Cannot ${this.#attempt}: the source gave ${quote(piece)}, not text or bytes`,
      );
    }
  }

  #feedBytes(bytes: Uint8Array): void {
    const step = this.#connection.inputSize;
    for (let start = 0; start < bytes.length; start += step) {
      const part = bytes.subarray(start, start + step);
      // The source is asynchronous: the database may have been closed meanwhile.
      this.#connection.check();
      this.#connection.input.u8.set(part);
      this.#send(part.length, false);
    }
  }

  #feedText(piece: string): void {
    const text = this.#half + piece;
    const end = text.length - (endsInHalf(text) ? 1 : 0);
    this.#half = text.slice(end);
    // A UTF-16 unit becomes at most 3 bytes, so a part of this length always fits. Whole texts
    // are not handed to the encoder: it would flatten what is left of them each time.
    const step = Math.floor(this.#connection.inputSize / 3);
    for (let start = 0; start < end;) {
      let part = text.slice(start, Math.min(start + step, end));
      if (endsInHalf(part)) part = part.slice(0, -1);
      this.#connection.check();
      const { written } = this.#encoder.encodeInto(part, this.#connection.input.u8);
      this.#send(written, false);
      start += part.length;
    }
  }

  /** Feeds the end of the source. */
  finish(): IngestProgress {
    const half = this.#half;
    this.#half = "";
    this.#feedBytes(this.#encoder.encode(half));
    this.#connection.check();
    this.#send(0, true);
    return this.#progress();
  }

  /** Frees the ingest, finished or not. */
  end(): void {
    if (!this.#connection.closed) this.#connection.ingestEnd(this.#id);
  }

  #send(size: number, last: boolean): void {
    const connection = this.#connection;
    const result = connection.ingestFeed(this.#id, size, last);
    if (result < 0) throw connection.error(result, this.#attempt);
    this.#bytes += size;
    this.#position = Math.max(this.#position, connection.position);
    this.#onProgress?.(this.#progress());
  }

  #progress(): IngestProgress {
    const connection = this.#connection;
    return { rows: connection.total, skipped: connection.resultRows, bytes: this.#bytes };
  }
}

/** Whether a text ends with the first half of a surrogate pair. */
function endsInHalf(text: string): boolean {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last < 0xdc00;
}

function piecesOf(
  source: IngestSource,
  attempt: string,
): AsyncIterable<unknown> | Iterable<unknown> {
  if (typeof source === "string" || source instanceof Uint8Array) return [source];
  if (source instanceof URL) return readFile(source);
  if (typeof source === "object" && source !== null) {
    if ("path" in source && typeof source.path === "string") return readFile(source.path);
    if (Symbol.asyncIterator in source || Symbol.iterator in source) {
      return source as AsyncIterable<unknown> | Iterable<unknown>;
    }
  }
  throw new AerostoreError(
    "bad_argument",
    `Cannot ${attempt}: ${quote(source)} is no source of text`,
  );
}

function readFile(path: string | URL): AsyncIterable<unknown> {
  return createReadStream(path, { highWaterMark: readSize });
}

/** Encodes the options for `aero_ingest_begin`: packed, little endian. */
function encodeOptions(layout: TableLayout, options: IngestOptions, attempt: string): Uint8Array {
  const { batchSize = 1000, nullText = "", columns } = options;
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= batchSizeMax)) {
    throw badOption(attempt, `batchSize is 1 to ${batchSizeMax}, not ${quote(batchSize)}`);
  }
  const idOf = (name: string | null): number =>
    name === null ? ignored : columnOf(layout, name, attempt).id;
  let list: number[] = [];
  let renames: [string, string | null][] = [];
  if (isList(columns)) list = columns.map(idOf);
  else renames = Object.entries(columns ?? {});
  if (Math.max(list.length, renames.length) > fieldsMax) {
    throw badOption(attempt, `columns has more than ${fieldsMax} fields`);
  }
  const chosen = list.filter((id) => id !== ignored);
  if (new Set(chosen).size < chosen.length) {
    throw badOption(attempt, `columns names a column twice`);
  }

  const bytes: number[] = [];
  pushNumber(bytes, flagsOf(options, list.length, renames.length, attempt), 4);
  pushNumber(bytes, batchSize, 4);
  pushNumber(bytes, list.length, 2);
  bytes.push(...list);
  pushShortText(bytes, nullText, `nullText ${quote(nullText)}`, attempt);
  if (renames.length > 0) {
    pushNumber(bytes, renames.length, 2);
    for (const [field, name] of renames) {
      pushShortText(bytes, field, `the field name ${quote(field)}`, attempt);
      bytes.push(idOf(name));
    }
  }
  return Uint8Array.from(bytes);
}

function isList(columns: IngestOptions["columns"]): columns is readonly (string | null)[] {
  return Array.isArray(columns);
}

function flagsOf(
  options: IngestOptions,
  fields: number,
  renames: number,
  attempt: string,
): number {
  const { format = "plain", onError = "throw", mode = "upsert" } = options;
  const header = options.header ?? renames > 0;
  choose(format, ["plain", "tcl"], "format", attempt);
  choose(onError, ["throw", "skip"], "onError", attempt);
  choose(mode, ["upsert", "insert"], "mode", attempt);
  if (renames > 0 && !header) {
    throw badOption(attempt, "columns by name need the header line");
  }
  return (header ? IngestFlag.header : 0) |
    (format === "tcl" ? IngestFlag.tcl : 0) |
    (onError === "skip" ? IngestFlag.skip : 0) |
    (mode === "insert" ? IngestFlag.insert : 0) |
    (fields > 0 ? IngestFlag.columnList : 0) |
    (renames > 0 ? IngestFlag.renames : 0) |
    (options.ignoreUnknown === true ? IngestFlag.ignoreUnknown : 0);
}

function choose(value: string, choices: readonly string[], name: string, attempt: string): void {
  if (choices.includes(value)) return;
  throw badOption(attempt, `${name} is ${choices.map(quote).join(" or ")}, not ${quote(value)}`);
}

function pushNumber(bytes: number[], value: number, size: number): void {
  for (let i = 0; i < size; i++) bytes.push((value >>> (8 * i)) & 0xff);
}

function pushShortText(bytes: number[], text: string, what: string, attempt: string): void {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length > 255) throw badOption(attempt, `${what} is longer than 255 bytes`);
  bytes.push(encoded.length, ...encoded);
}

function badOption(attempt: string, why: string): AerostoreError {
  return new AerostoreError("bad_argument", `Cannot ${attempt}: ${why}`);
}
