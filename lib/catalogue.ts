/**
 * The tables of an open region.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import { parseCatalogue, type TableLayout } from "./layout.ts";
import type { Connection } from "./native.ts";
import type { TableDefinition } from "./schema.ts";
import { encodeSchema } from "./schema_blob.ts";

/** The tables of one open database, which grow when a process declares one. */
export class Catalogue {
  readonly #connection: Connection;
  #layouts: ReadonlyMap<string, TableLayout>;

  /** @param connection The open database. */
  constructor(connection: Connection) {
    this.#connection = connection;
    this.#layouts = this.#read();
  }

  /** The names of all tables. */
  names(): string[] {
    this.#layouts = this.#read();
    return [...this.#layouts.keys()];
  }

  /**
   * Creates a table, or checks that the stored one is the same.
   *
   * @param definition The declared table.
   * @returns Where its columns are.
   * @throws {AerostoreError} With `schema_mismatch` if the stored one differs, `read_only` if it
   * would have to be created in a database that only reads.
   */
  declare(definition: TableDefinition): TableLayout {
    const attempt = `declare table ${quote(definition.name)}`;
    const connection = this.#connection;
    const size = connection.putInput(encodeSchema(definition), attempt);
    const result = connection.tableDeclare(size);
    if (result < 0) throw connection.error(result, attempt);
    this.#layouts = this.#read();
    const layout = this.#layouts.get(definition.name);
    if (layout !== undefined) return layout;
    throw new AerostoreError("internal", `Cannot ${attempt}: it is not in the catalogue`);
  }

  /**
   * Finds a table that some process has declared.
   *
   * @param name The name of the table.
   * @throws {AerostoreError} With `unknown_table` if there is none.
   */
  find(name: string): TableLayout {
    const known = this.#layouts.get(name);
    if (known !== undefined) return known;
    // Another process may have declared it since.
    this.#layouts = this.#read();
    const layout = this.#layouts.get(name);
    if (layout !== undefined) return layout;
    const names = [...this.#layouts.keys()].map(quote).join(", ");
    throw new AerostoreError(
      "unknown_table",
      `Cannot use table ${quote(name)} of ${quote(this.#connection.path)}: it has ` +
        `${names === "" ? "no tables" : names}; declare it in the tables option of open`,
    );
  }

  #read(): ReadonlyMap<string, TableLayout> {
    const connection = this.#connection;
    const size = connection.catalogueRead();
    if (size < 0) throw connection.error(size, `read the tables of ${quote(connection.path)}`);
    return parseCatalogue(connection.output.text(0, size));
  }
}
