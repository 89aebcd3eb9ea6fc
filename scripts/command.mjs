/** Runs a command and tells the truth about how it ended. */

import { spawn } from "node:child_process";
import { constants } from "node:os";
import process from "node:process";
import { root } from "./toolchain.mjs";

/**
 * How a command ended.
 *
 * @typedef {object} Outcome
 * @property {number} code Zero only if the command ended by itself and said so; 128 + N when it was
 * killed by signal N, as shells have it.
 * @property {string} reason Why `code` is not zero, in words; empty if it is.
 * @property {string} output Everything printed, if `capture` was set.
 * @property {boolean} interrupted Whether this process was asked to stop meanwhile.
 */

/**
 * @typedef {object} RunOptions
 * @property {Record<string, string>} [env] Variables beside the inherited ones.
 * @property {boolean} [capture] Also return what is printed. It is printed anyway.
 * @property {boolean} [quiet] Do not print while running; needs `capture`.
 * @property {number} [timeoutMs] After this time the command and all its children are killed.
 */

const forwarded = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

/**
 * Runs `path` in the root of the repository.
 *
 * With a timeout the command leads a process group of its own, so that what it started dies with
 * it.
 *
 * @param {string} path
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 * @returns {Promise<Outcome>}
 */
export function run(path, args, options = {}) {
  const { env = {}, capture = false, quiet = false, timeoutMs } = options;
  const grouped = timeoutMs !== undefined;
  const { promise, resolve } = withResolvers();

  const child = spawn(path, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: capture ? ["ignore", "pipe", "pipe"] : "inherit",
    detached: grouped,
  });
  /** @type {Buffer[]} */
  const chunks = [];
  child.stdout?.on("data", (chunk) => {
    chunks.push(chunk);
    if (!quiet) process.stdout.write(chunk);
  });
  child.stderr?.on("data", (chunk) => {
    chunks.push(chunk);
    if (!quiet) process.stderr.write(chunk);
  });

  /** @param {NodeJS.Signals} signal */
  const kill = (signal) => {
    if (child.pid === undefined) return;
    try {
      process.kill(grouped ? -child.pid : child.pid, signal);
    } catch {
      // It has ended in the meantime.
    }
  };
  let interrupted = false;
  const listeners = forwarded.map((signal) => ({
    signal,
    listener: () => {
      interrupted = true;
      kill(signal);
    },
  }));
  for (const { signal, listener } of listeners) process.on(signal, listener);

  let overrun = false;
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => {
    overrun = true;
    kill("SIGKILL");
  }, timeoutMs);

  /** @param {number} code @param {string} reason */
  const finish = (code, reason) => {
    clearTimeout(timer);
    for (const { signal, listener } of listeners) process.off(signal, listener);
    resolve({ code, reason, output: Buffer.concat(chunks).toString("utf8"), interrupted });
  };
  child.on("error", (error) => finish(127, `cannot start ${path}: ${error.message}`));
  child.on("exit", () => {
    // Children that outlived a test would disturb the next suite, and hold the pipes open.
    if (grouped) kill("SIGKILL");
  });
  child.on("close", (code, signal) => {
    if (overrun) return finish(124, `took longer than ${(timeoutMs ?? 0) / 1000} s and was killed`);
    if (signal !== null) return finish(128 + constants.signals[signal], `was killed by ${signal}`);
    finish(code ?? 1, code === 0 ? "" : `ended with code ${code}`);
  });
  return promise;
}

/**
 * @returns {{ promise: Promise<Outcome>, resolve: (outcome: Outcome) => void }}
 */
function withResolvers() {
  /** @type {(outcome: Outcome) => void} */
  let resolve = () => {};
  /** @type {Promise<Outcome>} */
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
