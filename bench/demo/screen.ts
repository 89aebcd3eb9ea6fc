/**
 * A block of lines that is printed again and again: in place on a terminal, one after the other
 * elsewhere, so that a log stays readable.
 *
 * @module
 */

import process from "node:process";

/** Where a process prints. */
export class Screen {
  readonly #live: boolean;
  /** Lines of the block that the cursor stands below, on a terminal. */
  #height = 0;

  /** @param live Whether the cursor may be moved. */
  constructor(live: boolean) {
    this.#live = live;
  }

  /**
   * Prints the block, over its last appearance if that is possible.
   *
   * @param lines Its lines. On a terminal that is narrower they are cut, for a line that wraps
   * would make the block higher than it is taken for.
   */
  show(lines: readonly string[]): void {
    const width = this.#live ? process.stdout.columns ?? 80 : Infinity;
    const cut = lines.map((line) => line.slice(0, width));
    process.stdout.write(`${this.#erase()}${cut.join("\n")}\n`);
    this.#height = this.#live ? lines.length : 0;
  }

  /**
   * Prints lines that stay, above the block.
   *
   * @param lines The lines.
   */
  keep(lines: readonly string[]): void {
    process.stdout.write(`${this.#erase()}${lines.join("\n")}\n`);
    this.#height = 0;
  }

  #erase(): string {
    return this.#height === 0 ? "" : `\x1b[${this.#height}A\x1b[0J`;
  }
}
