/** Runs one of the tools: `node scripts/exec.mjs zig build test`, or bun, or deno. */

import process from "node:process";
import { run } from "./command.mjs";
import { findTool, ToolError } from "./toolchain.mjs";

const [name = "", ...args] = process.argv.slice(2);
try {
  const tool = findTool(name);
  const outcome = await run(tool.path, args, { env: tool.env });
  // The tool prints its own failures, but a signal leaves no word behind.
  if (outcome.code >= 124) console.error(`${name} ${outcome.reason}`);
  process.exitCode = outcome.code;
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
