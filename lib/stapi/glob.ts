/**
 * What a glob pattern (Tcl's `string match`) tells a planner: which text every match begins with.
 * Matching itself is done by the engine, next to the data.
 *
 * @module
 */

/** What all texts that match a pattern have in common. */
export interface GlobPrefix {
  /** The characters that every match begins with; may be empty. */
  readonly prefix: string;
  /** Whether the prefix is the only match: there is no wildcard. */
  readonly exact: boolean;
  /** Whether nothing can match: the pattern ends within a backslash sequence. */
  readonly never: boolean;
  /** Whether everything that begins with the prefix matches: nothing but `*` follows. */
  readonly open: boolean;
}

/**
 * Returns the literal text that a pattern begins with.
 *
 * @param pattern The pattern: `*`, `?`, `[a-z]`, and `\x` for the character x itself.
 *
 * @example The rows that match stand side by side in an index
 * ```ts
 * import assert from "node:assert/strict";
 * import { globPrefix } from "./glob.ts";
 *
 * const rest = { exact: false, never: false, open: false };
 * assert.deepEqual(globPrefix("B7*"), { ...rest, prefix: "B7", open: true });
 * assert.deepEqual(globPrefix("B738"), { ...rest, prefix: "B738", exact: true });
 * assert.deepEqual(globPrefix("\\*x?"), { ...rest, prefix: "*x" });
 * ```
 */
export function globPrefix(pattern: string): GlobPrefix {
  let prefix = "";
  for (let at = 0; at < pattern.length; at += 1) {
    const character = pattern.charAt(at);
    if (character === "*" || character === "?" || character === "[") {
      return { prefix, exact: false, never: false, open: /^\*+$/.test(pattern.slice(at)) };
    }
    if (character === "\\") {
      at += 1;
      if (at === pattern.length) return { prefix, exact: false, never: true, open: false };
      prefix += pattern.charAt(at);
    } else {
      prefix += character;
    }
  }
  return { prefix, exact: true, never: false, open: false };
}

/**
 * Returns the least text that is greater than every text beginning with `prefix`, in the order of
 * UTF-8 bytes (which is the order of code points).
 *
 * @param prefix The common beginning.
 * @returns The bound, or undefined if there is none: the prefix is empty or all U+10FFFF.
 */
export function prefixEnd(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last >= 0x10ffff) continue;
    // Surrogates are no characters: U+D7FF is followed by U+E000.
    points.push(last === 0xd7ff ? 0xe000 : last + 1);
    return String.fromCodePoint(...points);
  }
  return undefined;
}
