/**
 * Writes little-endian numbers and text into bytes that somebody else owns, without garbage.
 *
 * @module
 */

import { AerostoreError } from "../errors.ts";

/** Text up to this length is written by a loop, which beats the call of an encoder. */
const loopLengthMax = 40;

/** Words up to this number are copied by a loop. */
const loopWordsMax = 64;

const encoder = new TextEncoder();

/** A place in a buffer, moving forward. Everything that is skipped is set to zero. */
export class Cursor {
  #bytes: Uint8Array;
  #view: DataView;
  #words: Int32Array;
  /** Offset of the next byte. */
  at = 0;

  /**
   * Starts at the first byte.
   *
   * @param bytes The buffer to write into; its place in memory is a multiple of 4.
   */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  }

  /** Whether it writes into these very bytes. */
  isOn(bytes: Uint8Array): boolean {
    return this.#bytes === bytes;
  }

  /** Sets a byte that was written before. */
  patchByte(at: number, value: number): void {
    this.#bytes[at] = value;
  }

  /** Sets a u32 that was written before. */
  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** Sets an f64 that was written before. */
  patchF64(at: number, value: number): void {
    this.#view.setFloat64(at, value, true);
  }

  /** Sets an i64 that was written before. */
  patchI64(at: number, value: bigint): void {
    this.#view.setBigInt64(at, value, true);
  }

  /** Sets an i64 that was written before to an integer of at most 32 bits. */
  patchI32AsI64(at: number, value: number): void {
    this.#view.setInt32(at, value, true);
    this.#view.setInt32(at + 4, value < 0 ? -1 : 0, true);
  }

  /** Moves on to the next multiple of `alignment`, a power of two. */
  align(alignment: number): void {
    this.skip(-this.at & (alignment - 1));
  }

  /** Writes `count` zero bytes; returns the offset of the first. */
  skip(count: number): number {
    const start = this.at;
    this.#reserve(count);
    const bytes = this.#bytes;
    const end = start + count;
    for (let i = start; i < end; i += 1) bytes[i] = 0;
    this.at = end;
    return start;
  }

  /** Writes a u16. */
  u16(value: number): void {
    this.#reserve(2);
    this.#view.setUint16(this.at, value, true);
    this.at += 2;
  }

  /** Writes an i32 or a u32. */
  u32(value: number): void {
    this.#reserve(4);
    this.#view.setInt32(this.at, value, true);
    this.at += 4;
  }

  /** Copies bytes. */
  copy(source: Uint8Array): void {
    this.#reserve(source.length);
    this.#bytes.set(source, this.at);
    this.at += source.length;
  }

  /** Copies words to the start, and stands behind them. Few of them take less than by a call. */
  restart(source: Int32Array): void {
    const words = this.#words;
    const count = source.length;
    if (count > words.length) throw tooLong(this.#bytes.length);
    if (count > loopWordsMax) words.set(source);
    else for (let i = 0; i < count; i += 1) words[i] = source[i] ?? 0;
    this.at = count * 4;
  }

  /** Writes text as UTF-8, or bytes as they are; returns the number of bytes. */
  textOrBytes(value: string | Uint8Array): number {
    const start = this.at;
    if (typeof value !== "string") this.copy(value);
    else if (value.length > loopLengthMax || !this.#writeAscii(value)) this.#writeUtf8(value);
    return this.at - start;
  }

  #writeAscii(text: string): boolean {
    this.#reserve(text.length);
    const bytes = this.#bytes;
    const start = this.at;
    let all = 0;
    for (let i = 0; i < text.length; i += 1) {
      const unit = text.charCodeAt(i);
      all |= unit;
      bytes[start + i] = unit;
    }
    if (all > 0x7f) return false;
    this.at += text.length;
    return true;
  }

  #writeUtf8(text: string): void {
    const { read, written } = encoder.encodeInto(text, this.#bytes.subarray(this.at));
    this.at += written;
    if (read < text.length) throw tooLong(this.#bytes.length);
  }

  #reserve(count: number): void {
    if (this.at + count > this.#bytes.length) throw tooLong(this.#bytes.length);
  }
}

function tooLong(size: number): AerostoreError {
  const message = `The query needs more than ${size} bytes: give it fewer or shorter values`;
  return new AerostoreError("invalid_query", message);
}
