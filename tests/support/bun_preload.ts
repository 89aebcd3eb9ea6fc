/**
 * Bun gives each test five seconds; tests that start processes on a busy machine need longer. Bun
 * forgets the default with each file, so it is set again as each one is loaded.
 */

import { readFileSync } from "node:fs";
import { setDefaultTimeout } from "bun:test";

/** What is used of Bun here, for checkers that do not know it. */
interface Builder {
  onLoad(
    which: { filter: RegExp },
    load: (file: { path: string }) => { contents: string; loader: "ts" },
  ): void;
}
interface PluginHost {
  plugin(plugin: { name: string; setup(build: Builder): void }): void;
}

const { Bun } = globalThis as unknown as { Bun: PluginHost };
Bun.plugin({
  name: "patience",
  setup(build) {
    build.onLoad({ filter: /_test\.ts$/ }, ({ path }) => {
      setDefaultTimeout(60_000);
      return { contents: readFileSync(path, "utf8"), loader: "ts" };
    });
  },
});
