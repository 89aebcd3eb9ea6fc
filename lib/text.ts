/**
 * Text between rows and JavaScript.
 *
 * Two forms of cell exist. An inline cell is a u16 size and the bytes, zero-filled up to the size
 * of the cell. A tail cell is a u16 offset from the payload and a u16 size; the bytes stand behind
 * the fixed part, 4-aligned and zero-filled to a multiple of 4.
 *
 * Short text goes through caches that compare words and return the string they kept: making a
 * string costs 25 to 100 ns, a hit 3 to 14, and a kept string also keeps its hash. Of inline cells,
 * text of up to 10 bytes has caches of its own, which generated code looks into by itself.
 *
 * @module
 */

import type { Memory } from "./memory.ts";

/**
 * Slots for the values of ordinary columns, of which a table usually has few, as a power of two.
 */
const valueSlotsLog2 = 14;
/**
 * Slots for primary keys. They have a cache of their own: all keys of a scan differ, and would
 * drive out the values.
 */
const keySlotsLog2 = 12;

/** Bytes of text that take three words with their size. */
const shortCachedMax = 10;

/**
 * A cache of text in inline cells of which the first three words are the whole text.
 *
 * Cells are zero-filled, so a text is found by as many words as the cell has: what a slot keeps has
 * the same size if its first word is the same, and no further words but zeros.
 */
export class ShortTextCache {
  /** Four words for each slot: those of its text, and one that is not used. */
  readonly words: Int32Array;
  /** The text of each slot; empty at first, as its words say. */
  readonly strings: string[];
  /** How far a mixed word is shifted to give a slot. */
  readonly shift: number;

  constructor(slotsLog2: number) {
    this.words = new Int32Array(4 << slotsLog2);
    this.strings = new Array<string>(1 << slotsLog2).fill("");
    this.shift = 32 - slotsLog2;
  }

  /**
   * Reads the text of an inline cell.
   *
   * @param memory The memory.
   * @param at Index of the first word of the cell.
   * @param count Words of the cell; 3 if it has more.
   */
  read(memory: Memory, at: number, count: number): string {
    const cells = memory.i32;
    const first = cells[at] ?? 0;
    const second = count > 1 ? cells[at + 1] ?? 0 : 0;
    const third = count > 2 ? cells[at + 2] ?? 0 : 0;
    const slot = mix(first ^ mix(second ^ mix(third))) >>> this.shift;
    const { words } = this;
    const base = slot * 4;
    const isKept = words[base] === first && words[base + 1] === second &&
      words[base + 2] === third;
    return isKept ? this.strings[slot] ?? "" : this.make(memory, at, slot);
  }

  /**
   * Makes the text of an inline cell, and keeps it in place of another one if it is short.
   *
   * @param memory The memory.
   * @param at Index of the first word of the cell.
   * @param slot Where to keep it.
   */
  make(memory: Memory, at: number, slot: number): string {
    const cells = memory.i32;
    const first = cells[at] ?? 0;
    const size = first & 0xffff;
    if (size > shortCachedMax) return readLongText(memory, at * 4, this);
    const text = makeText(memory, at * 4 + 2, size);
    const { words } = this;
    const base = slot * 4;
    words[base] = first;
    words[base + 1] = size > 2 ? cells[at + 1] ?? 0 : 0;
    words[base + 2] = size > 6 ? cells[at + 2] ?? 0 : 0;
    this.strings[slot] = text;
    return text;
  }
}

const factor = 0x9e3779b1;

function mix(word: number): number {
  return Math.imul(word, factor);
}

let shortValues: ShortTextCache | undefined;
let shortKeys: ShortTextCache | undefined;

/** Returns the cache of this isolate for short primary keys, or for other short text. */
export function shortTexts(isKey: boolean): ShortTextCache {
  if (isKey) return shortKeys ??= new ShortTextCache(keySlotsLog2);
  return shortValues ??= new ShortTextCache(valueSlotsLog2);
}

/** Words of a cell that count for the short cache. */
export function shortWordCount(capacity: number): number {
  return Math.min((capacity + 5) >> 2, 3);
}

/**
 * Returns code that does what {@linkcode ShortTextCache.read} does: statements, and an expression
 * for behind them. Where it stands, nothing is left to the engines' rules of what they inline; a
 * call takes three times as long.
 *
 * @param cache The name of the cache. Behind it, `Words` and `Strings` name what it has.
 * @param shift That of the cache.
 * @param at Code for the index of the cell's first word in `i32`, the words of `memory`.
 * @param count Words of the cell; 3 if it has more.
 * @param suffix What makes the names of the statements' constants unique.
 */
export function shortTextCode(
  cache: string,
  shift: number,
  at: string,
  count: number,
  suffix: string,
): { readonly statements: string; readonly expression: string } {
  const slot = `slot${suffix}`;
  const names = ["first", "second", "third"].slice(0, count).map((name) => name + suffix);
  const loads = names.map((name, index) => `${name} = i32[${at} + ${index}]`);
  const mixed = names.reduceRight(
    (rest, name) => `Math.imul(${rest === "" ? name : `${name} ^ ${rest}`}, ${factor})`,
    "",
  );
  const tests = names.map((name, index) => `${cache}Words[(${slot} << 2) + ${index}] === ${name}`);
  return {
    statements: `const ${loads.join(", ")}, ${slot} = ${mixed} >>> ${shift};`,
    expression: `${tests.join(" && ")} ? ${cache}Strings[${slot}] : ` +
      `${cache}.make(memory, ${at}, ${slot})`,
  };
}

/** Words of a key: an inline cell of up to 30 bytes with its size. */
const slotWords = 8;
const inlineCachedMax = 30;
/** One word of the key is the size, so a tail has two bytes less. */
const tailCachedMax = 28;
/** Set in the first word of a tail's key; no cached inline size reaches it. */
const tailMark = 0x8000;

/** A cache of longer text. A collision of hashes replaces the older string. */
class TextCache {
  readonly #keys: Int32Array;
  readonly #strings: string[];
  readonly #mask: number;

  constructor(slotsLog2: number) {
    const slots = 1 << slotsLog2;
    this.#keys = new Int32Array(slots * slotWords);
    this.#strings = new Array<string>(slots).fill("");
    this.#mask = slots - 1;
  }

  /**
   * Returns the text whose key is `first` and the words that follow.
   *
   * @param words The memory, as words.
   * @param first The first word of the key; it contains the size of the text.
   * @param rest Index of the second word of the key.
   * @param count Number of words of the key, 1 to 8.
   * @param memory The memory to decode from on a miss.
   * @param start Offset of the first byte of the text.
   * @param size Bytes of the text.
   */
  get(
    words: Int32Array,
    first: number,
    rest: number,
    count: number,
    memory: Memory,
    start: number,
    size: number,
  ): string {
    let hash = first;
    for (let i = 0; i < count - 1; i++) {
      hash = Math.imul(hash ^ (words[rest + i] ?? 0), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    const slot = (hash ^ (hash >>> 13)) & this.#mask;
    const keys = this.#keys;
    const base = slot * slotWords;
    if (keys[base] === first) {
      let i = 1;
      while (i < count && keys[base + i] === words[rest + i - 1]) i++;
      if (i === count) return this.#strings[slot] ?? "";
    }
    const text = makeText(memory, start, size);
    keys[base] = first;
    for (let i = 1; i < count; i++) keys[base + i] = words[rest + i - 1] ?? 0;
    this.#strings[slot] = text;
    return text;
  }
}

function makeText(memory: Memory, start: number, size: number): string {
  if (size === 0) return "";
  return size <= shortMax ? shortText(memory, start, size) : memory.text(start, start + size);
}

/** Text up to this length is made of its characters, which spares Deno a call out of JavaScript. */
const shortMax = 8;
const make = String.fromCharCode;

function shortText(memory: Memory, start: number, size: number): string {
  const { u8 } = memory;
  let high = 0;
  for (let i = start; i < start + size; i++) high |= at(u8, i);
  if (high > 0x7f) return memory.text(start, start + size);
  const a = at(u8, start);
  const b = at(u8, start + 1);
  const c = at(u8, start + 2);
  const d = at(u8, start + 3);
  switch (size) {
    case 1:
      return make(a);
    case 2:
      return make(a, b);
    case 3:
      return make(a, b, c);
    case 4:
      return make(a, b, c, d);
    case 5:
      return make(a, b, c, d, at(u8, start + 4));
    case 6:
      return make(a, b, c, d, at(u8, start + 4), at(u8, start + 5));
    case 7:
      return make(a, b, c, d, at(u8, start + 4), at(u8, start + 5), at(u8, start + 6));
    default:
      return make(
        a,
        b,
        c,
        d,
        at(u8, start + 4),
        at(u8, start + 5),
        at(u8, start + 6),
        at(u8, start + 7),
      );
  }
}

/** The byte at an index; 0 behind the end, of which nothing is used. */
function at(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}

let values: TextCache | undefined;
let keys: TextCache | undefined;

/** Reads text of an inline cell that is too long for its cache of short text. */
function readLongText(memory: Memory, cell: number, short: ShortTextCache): string {
  const words = memory.i32;
  const first = words[cell >> 2] ?? 0;
  const size = first & 0xffff;
  if (size > inlineCachedMax) return memory.text(cell + 2, cell + 2 + size);
  const cache = short === shortKeys
    ? keys ??= new TextCache(keySlotsLog2)
    : values ??= new TextCache(valueSlotsLog2);
  return cache.get(words, first, (cell >> 2) + 1, (size + 5) >> 2, memory, cell + 2, size);
}

/**
 * Reads the text of a tail cell.
 *
 * @param memory The memory.
 * @param payload Offset of the payload, a multiple of 8.
 * @param cell Offset of the cell, a multiple of 4.
 */
export function readTailText(memory: Memory, payload: number, cell: number): string {
  const words = memory.i32;
  const word = words[cell >> 2] ?? 0;
  if (word === 0) return "";
  const start = payload + (word & 0xffff);
  const size = word >>> 16;
  if (size > tailCachedMax) return memory.text(start, start + size);
  values ??= new TextCache(valueSlotsLog2);
  const count = 1 + ((size + 3) >> 2);
  return values.get(words, size | tailMark, start >> 2, count, memory, start, size);
}

/** Returns a copy of the bytes of an inline cell. */
export function readInlineBytes(memory: Memory, cell: number): Uint8Array {
  const size = memory.view.getUint16(cell, true);
  return memory.u8.slice(cell + 2, cell + 2 + size);
}

/** Returns a copy of the bytes of a tail cell. */
export function readTailBytes(memory: Memory, payload: number, cell: number): Uint8Array {
  const start = payload + memory.view.getUint16(cell, true);
  return memory.u8.slice(start, start + memory.view.getUint16(cell + 2, true));
}

/**
 * Writes text into an inline cell.
 *
 * @param memory The memory.
 * @param cell Offset of the cell, a multiple of 4.
 * @param size Bytes of the cell, a multiple of 4; what the text leaves becomes zero.
 * @param text The text.
 * @param capacity Bytes of UTF-8 that the cell takes, at most `size - 2`.
 * @returns Whether it is written. If not, the text is too long or has half a surrogate pair.
 */
export function writeInlineText(
  memory: Memory,
  cell: number,
  size: number,
  text: string,
  capacity: number,
): boolean {
  const length = text.length;
  if (length > capacity) return false;
  const words = memory.i32;
  const end = (cell + size) >> 2;
  for (let i = cell >> 2; i < end; i++) words[i] = 0;

  const u8 = memory.u8;
  let high = 0;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    high |= unit;
    u8[cell + 2 + i] = unit;
  }
  // The capacity of an inline cell fits a byte, so the upper byte of the size stays zero.
  u8[cell] = length;
  return high < 0x80 || writeInlineWide(memory, cell, size, text, capacity);
}

/** As above for text that is not ASCII; the ASCII attempt has left nothing to keep. */
function writeInlineWide(
  memory: Memory,
  cell: number,
  size: number,
  text: string,
  capacity: number,
): boolean {
  const written = encodeUtf8(memory.u8, cell + 2, capacity, text);
  if (written < 0) return false;
  memory.u8[cell] = written;
  memory.u8.fill(0, cell + 2 + written, cell + size);
  return true;
}

/**
 * Writes text behind the fixed part and its place into a tail cell.
 *
 * @param memory The memory; beyond the capacity it must have 3 bytes to spare for zeros.
 * @param payload Offset of the payload.
 * @param cell Offset of the cell.
 * @param tail Bytes from the payload to the place for the text, a multiple of 4.
 * @param text The text.
 * @param capacity Bytes of UTF-8 that the column takes.
 * @returns Where the next tail may start, or -1: the text is too long or has half a surrogate pair.
 */
export function writeTailText(
  memory: Memory,
  payload: number,
  cell: number,
  tail: number,
  text: string,
  capacity: number,
): number {
  const length = text.length;
  if (length > capacity) return -1;
  const start = payload + tail;
  let written = length;
  if (length > 64) {
    written = encodeLong(memory.u8, start, capacity, text);
  } else {
    const u8 = memory.u8;
    let high = 0;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      high |= unit;
      u8[start + i] = unit;
    }
    if (high >= 0x80) written = encodeUtf8(u8, start, capacity, text);
  }
  if (written < 0) return -1;
  return finishTail(memory, payload, cell, tail, written);
}

/** Writes the bytes of an inline cell; false if they are too many. Parameters as for text. */
export function writeInlineBytes(
  memory: Memory,
  cell: number,
  size: number,
  bytes: Uint8Array,
  capacity: number,
): boolean {
  if (bytes.length > capacity) return false;
  memory.u8.fill(0, cell, cell + size);
  memory.u8[cell] = bytes.length;
  memory.u8.set(bytes, cell + 2);
  return true;
}

/** Writes bytes behind the fixed part; -1 if they are too many. Parameters as for text. */
export function writeTailBytes(
  memory: Memory,
  payload: number,
  cell: number,
  tail: number,
  bytes: Uint8Array,
  capacity: number,
): number {
  if (bytes.length > capacity) return -1;
  memory.u8.set(bytes, payload + tail);
  return finishTail(memory, payload, cell, tail, bytes.length);
}

function finishTail(
  memory: Memory,
  payload: number,
  cell: number,
  tail: number,
  size: number,
): number {
  if (size === 0) {
    memory.u32[cell >> 2] = 0;
    return tail;
  }
  const end = tail + size;
  for (let i = end; (i & 3) !== 0; i++) memory.u8[payload + i] = 0;
  memory.u32[cell >> 2] = tail | (size << 16);
  return (end + 3) & ~3;
}

const encoder = new TextEncoder();

/** For long text the encoder of the runtime wins over a loop, its fixed cost included. */
function encodeLong(u8: Uint8Array, start: number, capacity: number, text: string): number {
  const { read, written } = encoder.encodeInto(text, u8.subarray(start, start + capacity));
  if (read < text.length || !text.isWellFormed()) return -1;
  return written;
}

/**
 * Writes `text` as UTF-8.
 *
 * @param u8 The bytes to write to.
 * @param start Index of the first byte.
 * @param capacity Bytes that may be written.
 * @param text The text.
 * @returns Bytes written, or -1: it needs more than `capacity` or has half a surrogate pair.
 */
export function encodeUtf8(
  u8: Uint8Array,
  start: number,
  capacity: number,
  text: string,
): number {
  const limit = start + capacity;
  let at = start;
  for (let i = 0; i < text.length; i++) {
    let point = text.charCodeAt(i);
    if (point >= 0xd800 && point < 0xe000) {
      const low = i + 1 < text.length ? text.charCodeAt(i + 1) : 0;
      if (point >= 0xdc00 || low < 0xdc00 || low >= 0xe000) return -1;
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      i++;
    }
    if (point < 0x80) {
      if (at >= limit) return -1;
      u8[at++] = point;
    } else if (point < 0x800) {
      if (at + 2 > limit) return -1;
      u8[at++] = 0xc0 | (point >> 6);
      u8[at++] = 0x80 | (point & 0x3f);
    } else if (point < 0x10000) {
      if (at + 3 > limit) return -1;
      u8[at++] = 0xe0 | (point >> 12);
      u8[at++] = 0x80 | ((point >> 6) & 0x3f);
      u8[at++] = 0x80 | (point & 0x3f);
    } else {
      if (at + 4 > limit) return -1;
      u8[at++] = 0xf0 | (point >> 18);
      u8[at++] = 0x80 | ((point >> 12) & 0x3f);
      u8[at++] = 0x80 | ((point >> 6) & 0x3f);
      u8[at++] = 0x80 | (point & 0x3f);
    }
  }
  return at - start;
}
