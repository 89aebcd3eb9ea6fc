/**
 * The host of Bun.
 *
 * @module
 */

import { dlopen, type FFIFunction, type Pointer, toArrayBuffer } from "bun:ffi";
import process from "node:process";
import type { Host, Signatures, Symbols } from "./host.ts";

/** The native functions and memory of this process, by way of `bun:ffi`. */
export const host: Host = {
  name: "Bun",
  version: process.versions.bun ?? "0",
  versionMin: "1.4.0",

  load<S extends Signatures>(path: string, signatures: S): Symbols<S> {
    const functions: Record<string, FFIFunction> = {};
    for (const [name, [parameters, result]] of Object.entries(signatures)) {
      functions[name] = { args: [...parameters], returns: result };
    }
    return dlopen(path, functions).symbols as unknown as Symbols<S>;
  },

  view(address: number, size: number): ArrayBuffer {
    return toArrayBuffer(address as Pointer, 0, size);
  },
};
