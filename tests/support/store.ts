/**
 * Databases for tests: each in a directory of its own, which disappears with everything in it.
 *
 * @module
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Aerostore, type OpenOptions } from "../../mod.ts";

/** The place of one database. Bind it with `using`. */
export class Store implements Disposable {
  /** The directory that holds all of it. */
  readonly root: string;
  /** The data directory, which `open` creates. */
  readonly directory: string;
  /** The directory of the region file. */
  readonly shmPath: string;
  readonly #opened: Aerostore[] = [];

  constructor() {
    const parent = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    this.root = mkdtempSync(join(parent, "aerostore-test-"));
    this.directory = join(this.root, "data");
    this.shmPath = join(this.root, "shm");
    mkdirSync(this.shmPath);
  }

  /** The options that all openers of this database need. */
  get options(): OpenOptions {
    return { size: "16MiB", shmPath: this.shmPath };
  }

  /** Opens the database. It is closed with the store, if not before. */
  open(options: OpenOptions = {}): Aerostore {
    const database = Aerostore.open(this.directory, { ...this.options, ...options });
    this.#opened.push(database);
    return database;
  }

  /** Closes what is open and removes all files. */
  [Symbol.dispose](): void {
    for (const database of this.#opened) database.close();
    rmSync(this.root, { recursive: true, force: true });
  }
}
