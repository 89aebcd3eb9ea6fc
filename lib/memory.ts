/**
 * Typed arrays over memory that JavaScript does not own.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** Decodes a range of bytes as UTF-8; both runtimes have it on every `Buffer`. */
interface Utf8Slicer {
  utf8Slice(start: number, end: number): string;
}

/**
 * One piece of memory, seen at every width.
 *
 * Offsets are bytes from its start, and handles are units of 8 bytes. A piece has at most 1 GiB, so
 * that every index is a small integer in both engines.
 */
export class Memory {
  /** The bytes. */
  readonly u8: Uint8Array;
  /** The 32-bit words, with sign. */
  readonly i32: Int32Array;
  /** The 32-bit words, without sign. */
  readonly u32: Uint32Array;
  /** The 64-bit floats. */
  readonly f64: Float64Array;
  /** The 64-bit integers, as bigints. */
  readonly i64: BigInt64Array;
  /** Access at any offset, for code that is not hot. */
  readonly view: DataView;
  readonly #buffer: ArrayBuffer;
  readonly #slicer: Utf8Slicer;

  /** @param buffer The memory; its size is a multiple of 8. */
  constructor(buffer: ArrayBuffer) {
    this.#buffer = buffer;
    this.u8 = new Uint8Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.i64 = new BigInt64Array(buffer);
    this.view = new DataView(buffer);
    this.#slicer = Buffer.from(buffer) as unknown as Utf8Slicer;
  }

  /**
   * Decodes the bytes from `start` to `end` as UTF-8.
   *
   * @param start Offset of the first byte.
   * @param end Offset behind the last byte.
   */
  text(start: number, end: number): string {
    return this.#slicer.utf8Slice(start, end);
  }

  /**
   * Takes the memory away from every typed array over it, for good. They read undefined afterwards.
   *
   * @returns Whether it worked. An asynchronous operation of the runtime that borrows the memory
   * keeps it attached, and then it must stay mapped.
   */
  detach(): boolean {
    this.#buffer.transfer(0);
    return this.#buffer.byteLength === 0;
  }
}
