/**
 * The host of Bun.
 *
 * @module
 */

import { dlopen, type FFIFunction, type Pointer, toArrayBuffer } from "bun:ffi";
import process from "node:process";
import type { Host, Readable, Signatures, Symbols } from "./host.ts";

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

  async readable(descriptor: number, onRead: () => void): Promise<Readable> {
    // A descriptor that is connected already is not in the declared options.
    const options = { fd: descriptor, socket: { data: onRead, close() {}, error() {} } };
    const socket = await Bun.connect(options as unknown as Bun.UnixSocketOptions<undefined>);
    return {
      ref: () => socket.ref(),
      unref: () => socket.unref(),
      close: () => void socket.end(),
    };
  },
};
