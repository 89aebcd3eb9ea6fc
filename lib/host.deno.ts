/**
 * The host of Deno.
 *
 * @module
 */

import process from "node:process";
import type { Host, NativeType, Readable, Signatures, Symbols } from "./host.ts";

/** What is used of `Deno`, so that the file type-checks under other runtimes as well. */
interface DenoNamespace {
  readonly version: { readonly deno: string };
  dlopen(
    path: string,
    symbols: Record<string, { parameters: readonly NativeType[]; result: NativeType | "void" }>,
  ): { readonly symbols: unknown };
  readonly permissions: { requestSync(permission: { name: "ffi" }): { readonly state: string } };
  readonly UnsafePointer: { create(address: bigint): object | null };
  readonly UnsafePointerView: { getArrayBuffer(pointer: object, size: number): ArrayBuffer };
}

/** What is used of `node:net`, which nobody loads who does not wait for the disk. */
interface Net {
  readonly Socket: new (options: {
    readonly fd: number;
    readonly readable: boolean;
    readonly writable: boolean;
  }) => {
    on(event: "data" | "error", listener: () => void): unknown;
    ref(): unknown;
    unref(): unknown;
    destroy(): unknown;
  };
}

/** Makes the host, by way of `Deno.dlopen`. */
export function makeDenoHost(): Host {
  const deno = (globalThis as unknown as { readonly Deno: DenoNamespace }).Deno;
  return {
    name: "Deno",
    version: deno.version.deno,
    versionMin: "2.5.0",

    load<S extends Signatures>(path: string, signatures: S): Symbols<S> {
      const functions: Parameters<DenoNamespace["dlopen"]>[1] = {};
      for (const [name, [parameters, result]] of Object.entries(signatures)) {
        functions[name] = { parameters, result };
      }
      const { symbols } = deno.dlopen(path, functions);
      if (deno.permissions.requestSync({ name: "ffi" }).state !== "granted") {
        throw new Error("Its memory cannot be seen with --allow-ffi=path, only with --allow-ffi");
      }
      return symbols as Symbols<S>;
    },

    view(address: number, size: number): ArrayBuffer {
      const pointer = deno.UnsafePointer.create(BigInt(address));
      if (pointer === null) throw new RangeError(`Cannot view memory at address ${address}`);
      return deno.UnsafePointerView.getArrayBuffer(pointer, size);
    },

    readable(descriptor: number, onRead: () => void): Promise<Readable> {
      const { Socket } = process.getBuiltinModule("node:net") as unknown as Net;
      const socket = new Socket({ fd: descriptor, readable: true, writable: false });
      socket.on("data", onRead);
      // The other end is closed: nobody waits any more.
      socket.on("error", () => {});
      return Promise.resolve({
        ref: () => void socket.ref(),
        unref: () => void socket.unref(),
        close: () => void socket.destroy(),
      });
    },
  };
}
