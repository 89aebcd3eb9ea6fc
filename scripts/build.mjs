/**
 * Builds the shared library as releases have it: checked, stripped, for the oldest system that is
 * supported.
 *
 * Arguments are passed on to `zig build`, for example `-Doptimize=Debug`.
 */

import { statSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";
import { run } from "./command.mjs";
import { findZig, root, ToolError } from "./toolchain.mjs";

const library = join(
  root,
  "zig-out",
  "lib",
  process.platform === "darwin" ? "libaerostore.dylib" : "libaerostore.so",
);

/**
 * Builds the library and makes sure that it is there.
 *
 * @param {readonly string[]} args More arguments for `zig build`.
 * @returns {Promise<string>} What went wrong; empty if nothing did.
 */
export async function build(args) {
  const zig = findZig();
  const outcome = await run(
    zig.path,
    ["build", "-Doptimize=ReleaseSafe", "-Dstrip", ...args],
    { env: zig.env },
  );
  if (outcome.code !== 0) return `zig build ${outcome.reason}`;

  const size = statSync(library, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return `zig build succeeded, but there is no ${relative(root, library)}`;
  console.log(`${relative(root, library)}: ${(size / 1024).toFixed(0)} KiB`);
  return "";
}

if (process.argv[1] === import.meta.filename) {
  try {
    const problem = await build(process.argv.slice(2));
    if (problem !== "") {
      console.error(problem);
      process.exitCode = 1;
    }
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
