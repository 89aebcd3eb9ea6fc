/**
 * Libraries with a deliberate mistake, or of another layout.
 *
 * @module
 */

import { join } from "node:path";
import { run } from "../../scripts/command.mjs";
import { findZig, root } from "../../scripts/toolchain.mjs";

const builds = new Map<string, Promise<string>>();

/**
 * Builds the library with a mistake, once. Returns its path.
 *
 * @param mutation The mistake: a member of `Mutation` in `src-zig/sync_native.zig`.
 */
export function mutatedLibrary(mutation: string): Promise<string> {
  return libraryOf(`-Dmutation=${mutation}`, join("mutated", mutation));
}

/** Builds the library as if it were of a version with another layout, once. Returns its path. */
export function otherLibrary(): Promise<string> {
  return libraryOf("-Dother-layout", "other-layout");
}

function libraryOf(option: string, place: string): Promise<string> {
  let made = builds.get(place);
  if (made === undefined) {
    made = build(option, place);
    builds.set(place, made);
  }
  return made;
}

async function build(option: string, place: string): Promise<string> {
  const zig = findZig();
  const outcome = await run(zig.path, ["build", "-Dstrip", option], {
    env: zig.env,
    capture: true,
    quiet: true,
  });
  if (outcome.code !== 0) throw new Error(`zig build ${outcome.reason}: ${outcome.output}`);
  return join(root, "zig-out", place, "libaerostore.so");
}
