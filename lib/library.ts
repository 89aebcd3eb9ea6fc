/**
 * Finds and loads the native library, once in each isolate and not before it is needed.
 *
 * A second `dlopen` would make every native call of this isolate ten times slower in Deno, because
 * a call site that has seen two functions leaves the fast path for good.
 *
 * @module
 */

import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { abiHash, signatures } from "./abi.ts";
import { AerostoreError, quote } from "./errors.ts";
import { host, type Symbols } from "./host.ts";

/** The functions of the native library. */
export type Library = Symbols<typeof signatures>;

interface Loaded {
  readonly path: string;
  readonly library: Library;
}

let loaded: Loaded | undefined;

/**
 * Returns the native library, and loads it at the first call.
 *
 * @param chosen The `libraryPath` option. Default: the environment variable `AEROSTORE_LIBRARY`,
 * else the place where a build from source puts it.
 * @throws {AerostoreError} With `library_not_found` if it cannot be loaded, `abi_mismatch` if it
 * belongs to another version of this module, `unsupported_platform` if the runtime is too old,
 * `bad_argument` if another library is loaded already.
 */
export function loadLibrary(chosen?: string): Library {
  if (loaded === undefined) {
    checkRuntime();
    const path = libraryPath(chosen);
    loaded = { path, library: openLibrary(path) };
  } else if (chosen !== undefined && resolve(chosen) !== loaded.path) {
    throw new AerostoreError(
      "bad_argument",
      `Cannot load ${quote(chosen)}: this isolate uses ${quote(loaded.path)} already`,
    );
  }
  return loaded.library;
}

function checkRuntime(): void {
  const { name, version, versionMin } = host;
  if (versionMin !== undefined && atLeast(version, versionMin)) return;
  const needed = versionMin === undefined ? "Bun or Deno" : `${name} ${versionMin} or later`;
  throw new AerostoreError(
    "unsupported_platform",
    `Cannot run on ${name} ${version}: Aerostore needs ${needed}`,
  );
}

function atLeast(version: string, minimum: string): boolean {
  const have = version.split(/[.+-]/).map(Number);
  const need = minimum.split(".").map(Number);
  for (let i = 0; i < need.length; i++) {
    const difference = (have[i] ?? 0) - (need[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function openLibrary(path: string): Library {
  let library: Library;
  try {
    library = host.load(path, signatures);
  } catch (cause) {
    throw new AerostoreError(
      "library_not_found",
      `Cannot load the native library ${quote(path)}: ${hintOf(cause)}`,
      { cause },
    );
  }
  const hash = library.aero_abi_hash();
  if (hash === abiHash) return library;
  throw new AerostoreError(
    "abi_mismatch",
    `Cannot use the native library ${
      quote(path)
    }: its interface is ${hash} and this module needs ` +
      `${abiHash}; build both from one version`,
  );
}

/** Says what to do, as far as the runtime's own message lets us know. */
function hintOf(cause: unknown): string {
  const text = cause instanceof Error ? cause.message.split("\n")[0] ?? "" : String(cause);
  if (cause instanceof Error && cause.name === "NotCapable") {
    return `${text}; run Deno with --allow-ffi`;
  }
  if (/--allow-ffi/.test(text)) return text;
  if (/failed to map segment/.test(text)) {
    return `${text}; its file system is mounted noexec, copy it elsewhere and set ` +
      `AEROSTORE_LIBRARY`;
  }
  if (/ld-linux|libc\.so|ld-musl|GLIBC/.test(text)) {
    return `${text}; it was built for another C library`;
  }
  return `${text}; build it by "npm run build", or set AEROSTORE_LIBRARY or libraryPath`;
}

/**
 * Returns where the native library is looked for.
 *
 * @param chosen The `libraryPath` option. Default: none.
 * @throws {AerostoreError} With `library_not_found` if there is no place to look in.
 */
export function libraryPath(chosen?: string): string {
  if (chosen !== undefined) return resolve(chosen);
  const fromEnvironment = environmentVariable("AEROSTORE_LIBRARY");
  if (fromEnvironment !== undefined && fromEnvironment !== "") return resolve(fromEnvironment);
  const name = process.platform === "darwin" ? "libaerostore.dylib" : "libaerostore.so";
  const beside = new URL(`../zig-out/lib/${name}`, import.meta.url);
  if (beside.protocol === "file:") return fileURLToPath(beside);
  throw new AerostoreError(
    "library_not_found",
    `Cannot find the native library beside ${quote(import.meta.url)}: set AEROSTORE_LIBRARY or ` +
      `libraryPath`,
  );
}

/**
 * Returns a variable of the environment, or undefined if it is not set or Deno does not let the
 * program look.
 *
 * @param name The name of the variable.
 */
export function environmentVariable(name: string): string | undefined {
  try {
    return process.env[name];
  } catch {
    return undefined;
  }
}
