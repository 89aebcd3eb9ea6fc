/** The module can be imported by its path, by a program that knows nothing else of it. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { libraryPath } from "../lib/library.ts";
import { programOf, type RuntimeName, runtimes } from "./support/children.ts";

const module = new URL("../mod.ts", import.meta.url);

/** A directory of another project, with one program. */
class Project implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "aerostore-import-"));

  constructor() {
    writeFileSync(join(this.directory, "deno.json"), "{}");
    writeFileSync(
      join(this.directory, "main.ts"),
      `import { Aerostore, defineTable, t } from ${JSON.stringify(module.href)};
const Gate = defineTable("Gate", { id: t.text(8).primaryKey(), seats: t.int32() });
const directory: string = ${JSON.stringify(join(this.directory, "data"))};
const options = { tables: [Gate], size: "8MiB", shmPath: ${JSON.stringify(this.directory)} };
{
  using db = Aerostore.open(directory, options);
  db.table(Gate).insert({ id: "A1", seats: 180 });
  const seats: number | undefined = db.table(Gate).get("A1")?.seats;
  console.log(seats);
}
Aerostore.remove(directory, options);
`,
    );
  }

  run(runtime: RuntimeName, args: readonly string[]): string {
    const { path, env } = programOf(runtime);
    const outcome = spawnSync(path, [...args, "main.ts"], {
      cwd: this.directory,
      env: { ...process.env, ...env, AEROSTORE_LIBRARY: libraryPath(), NO_COLOR: "1" },
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.equal(outcome.status, 0, outcome.stderr);
    return outcome.stdout.trim();
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

describe("mod.ts, imported by a program elsewhere", () => {
  for (const runtime of runtimes) {
    test(`runs on ${runtime}`, { timeout: 90_000 }, () => {
      using project = new Project();
      const flags = runtime === "bun" ? [] : ["run", "--no-check", "--allow-all"];
      assert.equal(project.run(runtime, flags), "180");
    });
  }

  test("runs on Deno with no permission but that to load the library", { timeout: 90_000 }, () => {
    using project = new Project();
    const flags = ["run", "--no-check", "--no-prompt", "--allow-ffi", "--allow-env"];
    assert.equal(project.run("deno", flags), "180");
  });

  test("says on Deno which permission it needs", { timeout: 90_000 }, () => {
    using project = new Project();
    for (const permission of ["--allow-env", `--allow-ffi=${libraryPath()}`]) {
      const flags = ["run", "--no-check", "--no-prompt", permission];
      const wanted = /AerostoreError: Cannot load the native library .* --allow-ffi$/m;
      assert.throws(() => project.run("deno", flags), wanted, permission);
    }
  });

  test("is type-checked there by Deno", { timeout: 90_000 }, () => {
    using project = new Project();
    project.run("deno", ["check", "--quiet"]);
  });
});
