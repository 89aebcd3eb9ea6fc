/**
 * Libraries with a deliberate mistake.
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
  let made = builds.get(mutation);
  if (made === undefined) {
    made = build(mutation);
    builds.set(mutation, made);
  }
  return made;
}

async function build(mutation: string): Promise<string> {
  const zig = findZig();
  const outcome = await run(zig.path, ["build", "-Dstrip", `-Dmutation=${mutation}`], {
    env: zig.env,
    capture: true,
    quiet: true,
  });
  if (outcome.code !== 0) throw new Error(`zig build ${outcome.reason}: ${outcome.output}`);
  return join(root, "zig-out", "mutated", mutation, "libaerostore.so");
}
