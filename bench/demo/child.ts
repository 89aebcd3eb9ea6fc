/**
 * The other processes of the demo, as the main one sees them.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { findBun, findDeno } from "../../scripts/toolchain.mjs";
import type { Orders, WriterName } from "./replay.ts";

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A process that was started. */
export class Child {
  /** Its number. */
  readonly pid: number;
  /** How it ended, once it has. */
  readonly ended: Promise<Ending>;
  readonly #process: ChildProcess;
  readonly #lines: (string | undefined)[] = [];
  #asking: ((line: string | undefined) => void) | undefined;

  /**
   * Starts a process.
   *
   * @param runtime What runs it.
   * @param script The file beside this one.
   * @param orders What it is told.
   * @param output Whether it prints to the terminal, or for {@linkcode Child.next}.
   */
  constructor(
    runtime: WriterName,
    script: string,
    orders: Orders,
    output: "terminal" | "lines" = "lines",
  ) {
    const tool = runtime === "bun" ? findBun() : findDeno();
    const path = fileURLToPath(new URL(script, import.meta.url));
    const flags = runtime === "bun" ? ["run"] : ["run", "--allow-all", "--no-check", "--quiet"];
    this.#process = spawn(tool.path, [...flags, path, JSON.stringify(orders)], {
      env: { ...process.env, ...tool.env },
      stdio: ["pipe", output === "terminal" ? "inherit" : "pipe", "inherit"],
    });
    this.pid = this.#process.pid ?? 0;
    this.ended = new Promise((resolve, reject) => {
      this.#process.on("error", reject);
      this.#process.on("close", (code, signal) => resolve({ code, signal }));
    });
    const { stdin, stdout } = this.#process;
    // Writing to a process that has just died is no failure of the demo.
    stdin?.on("error", () => {});
    if (stdout !== null) {
      const reader = createInterface({ input: stdout });
      reader.on("line", (line) => this.#receive(line));
      reader.on("close", () => this.#receive(undefined));
    }
  }

  /** Keeps a line, or the end of all lines, for who asks, or gives it to who has asked already. */
  #receive(line: string | undefined): void {
    const asking = this.#asking;
    this.#asking = undefined;
    if (asking === undefined) this.#lines.push(line);
    else asking(line);
  }

  /** Returns what the process says next, or undefined if it says nothing more. */
  async #line(): Promise<string | undefined> {
    if (this.#lines.length > 0) return this.#lines.shift();
    return await new Promise((resolve) => this.#asking = resolve);
  }

  /** Returns what the process says next, read as JSON. */
  async next(): Promise<unknown> {
    const line = await this.#line();
    if (line !== undefined) return JSON.parse(line);
    const { code, signal } = await this.ended;
    throw new Error(`A process of the demo ended early: ${signal ?? `code ${code}`}`);
  }

  /** Gives what else the process says, each line read as JSON, until it ends. */
  async *rest(): AsyncGenerator<unknown> {
    for (let line = await this.#line(); line !== undefined; line = await this.#line()) {
      yield JSON.parse(line);
    }
  }

  /** Sends a line to the process. */
  send(value: unknown): void {
    this.#process.stdin?.write(`${JSON.stringify(value)}\n`);
  }

  /** Tells the process that no more lines come. */
  endInput(): void {
    this.#process.stdin?.end();
  }

  /** Kills the process without a chance to say goodbye. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  /** Waits until the process has ended, and fails if it did not end well. */
  async finish(): Promise<void> {
    this.endInput();
    const { code, signal } = await this.ended;
    if (code !== 0) throw new Error(`A process of the demo failed: ${signal ?? `code ${code}`}`);
  }
}
