/**
 * The tables of an open region.
 *
 * @module
 */

import { AerostoreError, quote } from "./errors.ts";
import { columnOf, type IndexLayout, parseCatalogue, type TableLayout } from "./layout.ts";
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

  /**
   * Reads the indexes that a table has now.
   *
   * @param name The name of the table, which exists.
   */
  indexesOf(name: string): readonly IndexLayout[] {
    this.#layouts = this.#read();
    return this.#layouts.get(name)?.indexes ?? [];
  }

  /**
   * Drops the indexes over some columns. There may be two, one of them unique.
   *
   * @param name The name of the table.
   * @param columns The columns, in the order of the index.
   * @throws {AerostoreError} With `unknown_table`, `unknown_column`, or `not_found`.
   */
  dropIndexes(name: string, columns: readonly string[]): void {
    const attempt = `drop the index ${quote(columns.join(", "))} of ${quote(name)}`;
    const layout = this.find(name);
    const ids = columns.map((column) => columnOf(layout, column, attempt).id);
    const indexes = this.indexesOf(name);
    const wanted = indexes.filter((index) => index.columns.join() === ids.join());
    if (wanted.length === 0) {
      const names = indexes.map((index) =>
        quote(index.columns.map((id) => layout.columns[id]?.name).join(", "))
      );
      const there = names.length === 0 ? "none" : `only ${names.join(" and ")}`;
      throw new AerostoreError("not_found", `Cannot ${attempt}: there is ${there}`);
    }
    for (const { id } of wanted) {
      const result = this.#connection.indexDrop(layout.id, id);
      if (result < 0) throw this.#connection.error(result, attempt);
    }
  }

  #read(): ReadonlyMap<string, TableLayout> {
    const connection = this.#connection;
    const size = connection.catalogueRead();
    if (size < 0) throw connection.error(size, `read the tables of ${quote(connection.path)}`);
    return parseCatalogue(connection.output.text(0, size));
  }
}
