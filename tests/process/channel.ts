/**
 * How a child talks to the test that started it.
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";

/** Returns what the test passed to the child. */
export function readArguments<T>(): T {
  return JSON.parse(process.argv[2] ?? "null");
}

/** Prints a line for the test. */
export function tell(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Gives the lines that the test sends, until it ends the input. */
export async function* receive(): AsyncGenerator<unknown> {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line);
}
