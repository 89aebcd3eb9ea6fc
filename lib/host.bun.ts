/**
 * The host of Bun.
 *
 * @module
 */

import process from "node:process";
import type { Host, NativeType, Readable, Signatures, Symbols } from "./host.ts";

/** What is used of `bun:ffi`, so that the file loads and type-checks under other runtimes. */
interface ForeignFunctions {
  dlopen(
    path: string,
    functions: Record<string, { args: readonly NativeType[]; returns: NativeType | "void" }>,
  ): { readonly symbols: unknown };
  toArrayBuffer(address: number, offset: number, size: number): ArrayBuffer;
}

/** What is used of `Bun`. */
interface BunNamespace {
  connect(options: {
    /** A descriptor that is connected already. */
    readonly fd: number;
    readonly socket: { data(): void; close(): void; error(): void };
  }): Promise<{ ref(): void; unref(): void; end(): void }>;
}

/** Makes the host, by way of `bun:ffi`. */
export function makeBunHost(): Host {
  const bun = (globalThis as unknown as { readonly Bun: BunNamespace }).Bun;
  const ffi = process.getBuiltinModule("bun:ffi") as unknown as ForeignFunctions;
  return {
    name: "Bun",
    version: process.versions["bun"] ?? "0",
    versionMin: "1.4.0",

    load<S extends Signatures>(path: string, signatures: S): Symbols<S> {
      const functions: Parameters<ForeignFunctions["dlopen"]>[1] = {};
      for (const [name, [args, returns]] of Object.entries(signatures)) {
        functions[name] = { args, returns };
      }
      return ffi.dlopen(path, functions).symbols as Symbols<S>;
    },

    view(address: number, size: number): ArrayBuffer {
      return ffi.toArrayBuffer(address, 0, size);
    },

    async readable(descriptor: number, onRead: () => void): Promise<Readable> {
      const socket = await bun.connect({
        fd: descriptor,
        socket: { data: onRead, close() {}, error() {} },
      });
      return {
        ref: () => socket.ref(),
        unref: () => socket.unref(),
        close: () => void socket.end(),
      };
    },
  };
}
