/** Opens a database on a runtime that says that it is an older one, and tells how that went. */

import process from "node:process";
import { readArguments, tell } from "./channel.ts";

const { directory, version } = readArguments<{ directory: string; version: string }>();

const scope = globalThis as unknown as { Deno?: object };
if (scope.Deno === undefined) {
  Object.defineProperty(process.versions, "bun", { value: version });
} else {
  const old = Object.create(scope.Deno, { version: { value: { deno: version } } });
  Object.defineProperty(scope, "Deno", { value: old });
}

// The module looks at the version when it is loaded.
const { Aerostore, AerostoreError } = await import("../../mod.ts");
try {
  Aerostore.open(directory).close();
  tell({});
} catch (error) {
  if (!(error instanceof AerostoreError)) throw error;
  tell({ code: error.code, message: error.message });
}
