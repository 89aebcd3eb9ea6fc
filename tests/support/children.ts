/**
 * Child processes of both runtimes.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { findBun, findDeno } from "../../scripts/toolchain.mjs";

type Tool = ReturnType<typeof findBun>;

/** The runtimes that the module runs on. */
export type RuntimeName = "bun" | "deno";

/** Both runtimes. */
export const runtimes: readonly RuntimeName[] = ["bun", "deno"];

/** The programs, once found: finding asks each for its version. */
const programs = new Map<RuntimeName, Tool>();

/** Returns the program of a runtime, and the variables it needs. */
export function programOf(runtime: RuntimeName): Tool {
  const known = programs.get(runtime);
  if (known !== undefined) return known;
  const found = runtime === "bun" ? findBun() : findDeno();
  programs.set(runtime, found);
  return found;
}

/** A running script of `tests/process/`. */
export class Child implements Disposable {
  readonly #process: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiting: ((line: string | undefined) => void)[] = [];
  readonly #exit: Promise<number | null>;
  #stderr = "";
  #ended = false;

  /**
   * Starts a script.
   *
   * @param runtime The runtime to start it with.
   * @param script The name of the file in `tests/process/`.
   * @param args What the script finds as its first argument, as JSON.
   * @param environment Variables that it has beside those of this process. Default: none.
   * @param wrapper A command that starts the runtime, and takes a kill with it. Default: none.
   */
  constructor(
    runtime: RuntimeName,
    script: string,
    args: unknown,
    environment: Readonly<Record<string, string>> = {},
    wrapper: readonly string[] = [],
  ) {
    const tool = programOf(runtime);
    const path = fileURLToPath(new URL(`../process/${script}`, import.meta.url));
    const flags = runtime === "bun" ? [] : ["run", "--allow-all", "--no-check"];
    const whole = [...wrapper, tool.path, ...flags, path, JSON.stringify(args)];
    this.#process = spawn(whole[0] ?? "", whole.slice(1), {
      env: { ...process.env, ...tool.env, ...environment },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#exit = new Promise((resolve, reject) => {
      this.#process.on("error", reject);
      this.#process.on("close", (code) => resolve(code));
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => this.#stderr += text);
    const output = this.#process.stdout;
    if (output === null) throw new Error("The child has no output");
    const reader = createInterface({ input: output });
    reader.on("line", (line) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#lines.push(line);
      else next(line);
    });
    reader.on("close", () => {
      this.#ended = true;
      for (const next of this.#waiting.splice(0)) next(undefined);
    });
  }

  /** The number of the process. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Whether nothing more can come from the child. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Returns what the child prints next, read as JSON. */
  async next(): Promise<unknown> {
    let line = this.#lines.shift();
    if (line === undefined && !this.#ended) {
      line = await new Promise<string | undefined>((resolve) => this.#waiting.push(resolve));
    }
    if (line === undefined) {
      throw new Error(`The child ended with ${await this.#exit}: ${this.#stderr}`);
    }
    return JSON.parse(line);
  }

  /** Sends a line to the child. */
  send(value: unknown): void {
    this.#process.stdin?.write(`${JSON.stringify(value)}\n`);
  }

  /** Sends the child a signal, and does not wait for what it does. */
  signal(name: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void {
    // By its number: a signal sent by the object counts as its end in some runtimes.
    if (this.#process.pid !== undefined) process.kill(this.#process.pid, name);
  }

  /** Kills the child at once. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exit;
  }

  /** Waits until the child has ended, and fails if it did not end well. */
  async finish(): Promise<void> {
    this.#process.stdin?.end();
    const code = await this.#exit;
    if (code !== 0) throw new Error(`The child ended with ${code}: ${this.#stderr}`);
  }

  /** Kills the child if it still runs. */
  [Symbol.dispose](): void {
    this.#process.kill("SIGKILL");
  }
}
