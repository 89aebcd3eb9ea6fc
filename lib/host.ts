/**
 * What a runtime must offer: loading the native library, and seeing its memory.
 *
 * `host.bun.ts` and `host.deno.ts` implement it and are the only files that know their runtime.
 * Both load under both, and one of them is chosen here, so that a program may import the module
 * from anywhere without saying which runtime it runs on.
 *
 * @module
 */

import process from "node:process";
import { makeBunHost } from "./host.bun.ts";
import { makeDenoHost } from "./host.deno.ts";

/** The types that cross the border. 64-bit integers do not: an `f64` is exact up to 2^53. */
export type NativeType = "u32" | "i32" | "f64" | "buffer";

/** The parameters and the result of a native function. */
export type Signature = readonly [
  parameters: readonly NativeType[],
  result: Exclude<NativeType, "buffer"> | "void",
];

/** Native functions by name. */
export type Signatures = Readonly<Record<string, Signature>>;

type Parameter<T> = T extends "buffer" ? Uint8Array<ArrayBuffer> : number;
type Parameters<T extends readonly NativeType[]> = { -readonly [I in keyof T]: Parameter<T[I]> };

/** The loaded functions of a table of signatures. */
export type Symbols<S extends Signatures> = {
  readonly [K in keyof S]: (
    ...parameters: Parameters<S[K][0]>
  ) => S[K][1] extends "void" ? void : number;
};

/** A socket in the event loop. */
export interface Readable {
  /** Lets it keep the process alive. */
  ref(): void;
  /** Lets the process end while it is open. */
  unref(): void;
  /** Closes it. */
  close(): void;
}

/** A runtime. */
export interface Host {
  /** The name of the runtime, for messages. */
  readonly name: string;
  /** The version that runs. */
  readonly version: string;
  /** The oldest version that works; undefined if none does. */
  readonly versionMin: string | undefined;
  /**
   * Loads a shared library. It stays loaded until the process ends.
   *
   * @param path An absolute path.
   * @param signatures The functions to find in it.
   * @throws Whatever the runtime throws if there is no such library or function.
   */
  load<S extends Signatures>(path: string, signatures: S): Symbols<S>;
  /**
   * Returns the memory at `address` as an `ArrayBuffer`, which neither owns nor keeps it.
   *
   * @param address Where it starts in this process.
   * @param size Bytes, at most 1 GiB.
   */
  view(address: number, size: number): ArrayBuffer;
  /**
   * Has the event loop read a socket, and throws away what it reads.
   *
   * @param descriptor The socket, which belongs to the event loop from now on.
   * @param onRead Called each time that something was there to read.
   */
  readable(descriptor: number, onRead: () => void): Promise<Readable>;
}

/** The runtime that runs. */
export const host: Host = chooseHost();

function chooseHost(): Host {
  if ("Bun" in globalThis) return makeBunHost();
  if ("Deno" in globalThis) return makeDenoHost();
  const refuse = (): never => {
    throw new Error("This runtime cannot load native libraries");
  };
  return {
    name: "Node.js",
    version: process.versions.node,
    versionMin: undefined,
    load: refuse,
    view: refuse,
    readable: refuse,
  };
}
