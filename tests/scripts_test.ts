/** The scripts that build and test say truly how a tool ended, and which one they use. */

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { run } from "../scripts/command.mjs";
import { findBun, findDeno, findTool, ToolError } from "../scripts/toolchain.mjs";

const quiet = { capture: true, quiet: true } as const;

describe("run()", () => {
  test("returns the code and everything printed", async () => {
    const outcome = await run("/bin/sh", ["-c", "echo out; echo err >&2; exit 3"], quiet);
    assert.equal(outcome.code, 3);
    assert.match(outcome.output, /out/);
    assert.match(outcome.output, /err/);
    assert.equal(outcome.reason, "ended with code 3");
  });

  test("reports a death by signal as a failure", async () => {
    const outcome = await run("/bin/sh", ["-c", "kill -9 $$"], quiet);
    assert.equal(outcome.code, 137);
    assert.equal(outcome.reason, "was killed by SIGKILL");
  });

  test("reports a program that is not there as a failure", async () => {
    const outcome = await run("/bin/no-such-program", [], quiet);
    assert.equal(outcome.code, 127);
    assert.match(outcome.reason, /^cannot start \/bin\/no-such-program: /);
  });

  test("kills what overruns its time, with its children", async () => {
    // The child holds the output open, so run() returns only once it is dead too.
    const outcome = await run("/bin/sh", ["-c", "sleep 600 & wait"], { ...quiet, timeoutMs: 300 });
    assert.equal(outcome.code, 124);
    assert.equal(outcome.reason, "took longer than 0.3 s and was killed");
  });
});

describe("findTool()", () => {
  const directory = mkdtempSync(join(tmpdir(), "aerostore-tools-"));
  const variables = ["AEROSTORE_BUN", "AEROSTORE_DENO"];
  const kept = variables.map((name) => [name, process.env[name]] as const);

  before(() => {
    for (const name of variables) delete process.env[name];
  });
  after(() => {
    for (const [name, value] of kept) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    rmSync(directory, { recursive: true });
  });

  function impostor(name: string, printed: string): string {
    const path = join(directory, name);
    writeFileSync(path, `#!/bin/sh\necho "${printed}"\n`);
    chmodSync(path, 0o755);
    return path;
  }

  test("refuses a Bun that is too old, and says what to do", () => {
    process.env["AEROSTORE_BUN"] = impostor("bun", "1.3.9");
    assert.throws(findBun, (error: Error) => {
      assert.ok(error instanceof ToolError);
      assert.match(error.message, /^AEROSTORE_BUN names .*bun, which is bun 1\.3\.9, but /);
      assert.match(error.message, /needs Bun 1\.4 or newer\. Upgrade it, or /);
      return true;
    });
  });

  test("refuses a Deno that is too old", () => {
    process.env["AEROSTORE_DENO"] = impostor("deno", "deno 2.4.5 (stable)");
    assert.throws(findDeno, /is deno 2\.4\.5, but Aerostore needs Deno 2\.5 or newer/);
  });

  test("takes the program that a variable names if its version works", () => {
    process.env["AEROSTORE_DENO"] = impostor("deno", "deno 3.0.0 (stable)");
    assert.equal(findDeno().path, process.env["AEROSTORE_DENO"]);
  });

  test("refuses a program that does not run", () => {
    process.env["AEROSTORE_BUN"] = join(directory, "absent");
    assert.throws(findBun, /absent, which does not run: /);
  });

  test("knows no other tools", () => {
    assert.throws(() => findTool("gcc"), /No tool is called gcc: use zig, bun or deno/);
  });
});
