/**
 * Tab-separated text into a table.
 *
 * TypeScript only carries bytes: the library splits, converts and writes them, batch by batch.
 *
 * @module
 */

import { createReadStream } from "node:fs";
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
  /** Bad lines that were left out. */
  readonly skipped: number;
  /** Bytes that were read from the source. */
  readonly bytes: number;
}

/** The options of {@linkcode Table.ingestTsv}. */
export interface IngestOptions<Name extends string = string> {
  /** Rows of one transaction. Default: 1000. */
  readonly batchSize?: number;
  /**
   * The column of each field, null for a field to leave out. Default: the header line if there is
   * one, else the columns in the order of the declaration.
   */
  readonly columns?: readonly (Name | null)[];
  /** Whether the first line names the columns. Default: false. */
  readonly header?: boolean;
  /** What stands for null in a field. Default: `""` for nullable columns. */
  readonly nullText?: string;
  /** `plain`: fields as they are. `tcl`: fields with Tcl's backslashes. Default: `plain`. */
  readonly format?: "plain" | "tcl";
  /** What to do about the first bad line: `throw`, or `skip` it and go on. Default: `throw`. */
  readonly onError?: "throw" | "skip";
  /** Called after each megabyte or piece of the source, and at its end. */
  readonly onProgress?: (progress: IngestProgress) => void;
}

/** The flags of the options in `aero_ingest_begin`. */
const IngestFlag = { tcl: 1, header: 2, skip: 4 } as const;

/** The column id of a field to leave out. */
const ignored = 255;

const batchSizeMax = 1_000_000;

/**
 * Ingests a source into a table.
 *
 * @param handle The table.
 * @param source Where the text comes from.
 * @param options See {@linkcode IngestOptions}.
 * @returns What was read, at the end.
 * @throws {AerostoreError} With `bad_line`, quoting the first bad line and its number. Batches before
 * it are in the table.
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
    return feeder.finish();
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
    let text = this.#half + piece;
    const last = text.charCodeAt(text.length - 1);
    this.#half = last >= 0xd800 && last < 0xdc00 ? text.slice(-1) : "";
    let end = text.length - this.#half.length;
    while (end > 0) {
      this.#connection.check();
      const source = end === text.length ? text : text.slice(0, end);
      const { read, written } = this.#encoder.encodeInto(source, this.#connection.input.u8);
      text = text.slice(read);
      end -= read;
      this.#send(written, false);
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
    this.#onProgress?.(this.#progress());
  }

  #progress(): IngestProgress {
    const connection = this.#connection;
    return { rows: connection.total, skipped: connection.resultRows, bytes: this.#bytes };
  }
}

function piecesOf(
  source: IngestSource,
  attempt: string,
): AsyncIterable<unknown> | Iterable<unknown> {
  if (typeof source === "string" || source instanceof Uint8Array) return [source];
  if (source instanceof URL) return createReadStream(source);
  if (typeof source === "object" && source !== null) {
    if ("path" in source && typeof source.path === "string") return createReadStream(source.path);
    if (Symbol.asyncIterator in source || Symbol.iterator in source) {
      return source as AsyncIterable<unknown> | Iterable<unknown>;
    }
  }
  throw new AerostoreError(
    "bad_argument",
    `Cannot ${attempt}: ${quote(source)} is no source of text`,
  );
}

function encodeOptions(layout: TableLayout, options: IngestOptions, attempt: string): Uint8Array {
  const { batchSize = 1000, nullText = "", columns = [] } = options;
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= batchSizeMax)) {
    throw new AerostoreError(
      "bad_argument",
      `Cannot ${attempt}: batchSize is 1 to ${batchSizeMax}, not ${quote(batchSize)}`,
    );
  }
  const ids = columns.map((name) => name === null ? ignored : columnOf(layout, name, attempt).id);
  const nullBytes = new TextEncoder().encode(nullText);
  const padded = (ids.length + 3) & ~3;
  const bytes = new Uint8Array(16 + padded + nullBytes.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, flagsOf(options, attempt), true);
  view.setUint32(4, batchSize, true);
  view.setUint32(8, ids.length, true);
  view.setUint32(12, nullBytes.length, true);
  bytes.set(ids, 16);
  bytes.set(nullBytes, 16 + padded);
  return bytes;
}

function flagsOf(options: IngestOptions, attempt: string): number {
  const { format = "plain", onError = "throw", header = false } = options;
  if (!["plain", "tcl"].includes(format) || !["throw", "skip"].includes(onError)) {
    throw new AerostoreError(
      "bad_argument",
      `Cannot ${attempt}: format is "plain" or "tcl", and onError is "throw" or "skip"`,
    );
  }
  return (format === "tcl" ? IngestFlag.tcl : 0) | (header ? IngestFlag.header : 0) |
    (onError === "skip" ? IngestFlag.skip : 0);
}
