/**
 * SQLite, as the runtime brings it, and one in memory with the table of the benchmarks.
 *
 * @module
 */

import process from "node:process";
import type { Position } from "./positions.ts";

/** A prepared statement, as both runtimes have it. */
export interface Statement {
  get(...values: (string | number)[]): unknown;
  all(...values: (string | number)[]): unknown[];
  run(...values: (string | number)[]): unknown;
}

/** A database, as both runtimes have it. */
export interface SqliteDatabase {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

type DatabaseClass = new (path: string) => SqliteDatabase;

/** An open database in memory. */
export class Sqlite implements Disposable {
  /** The name of the module it comes from. */
  readonly name: string;
  readonly #database: SqliteDatabase;
  readonly #upsert: Statement;

  /**
   * @param name The name of the module.
   * @param Database Its class.
   */
  constructor(name: string, Database: DatabaseClass) {
    this.name = name;
    this.#database = new Database(":memory:");
    // Without a rowid the row stands in the tree of the key: one search instead of two.
    this.#database.exec(`
      create table position (
        icao24 text primary key, lat real not null, lon real not null, altitude integer not null,
        gs integer not null, updated_at real not null, typ text not null, destination text not null
      ) without rowid`);
    this.#upsert = this.prepare("insert or replace into position values (?, ?, ?, ?, ?, ?, ?, ?)");
  }

  /** Runs statements that give nothing. */
  exec(sql: string): void {
    this.#database.exec(sql);
  }

  /** Prepares a statement. */
  prepare(sql: string): Statement {
    return this.#database.prepare(sql);
  }

  /** Writes a row, in a transaction of its own if none is open. */
  upsert(row: Position): void {
    this.#upsert.run(
      row.icao24,
      row.lat,
      row.lon,
      row.altitude,
      row.gs,
      row.updated_at,
      row.typ,
      row.destination,
    );
  }

  /** Writes rows, in one transaction. */
  upsertMany(rows: Iterable<Position>): void {
    this.#database.exec("begin");
    for (const row of rows) this.upsert(row);
    this.#database.exec("commit");
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.#database.close();
  }
}

/** Opens a database in memory and writes rows. */
export async function openSqlite(rows: Iterable<Position> = []): Promise<Sqlite> {
  const { name, Database } = await loadSqlite();
  const database = new Sqlite(name, Database);
  database.upsertMany(rows);
  return database;
}

/** The class of the module that the runtime brings, and the name of that. */
export async function loadSqlite(): Promise<{ name: string; Database: DatabaseClass }> {
  // The name must not be known to the type checker: each runtime has only one of these modules.
  const [name, className] = process.versions["bun"] === undefined
    ? ["node:sqlite", "DatabaseSync"]
    : ["bun:sqlite", "Database"];
  const module = await import(name) as Record<string, DatabaseClass>;
  const Database = module[className];
  if (Database === undefined) throw new Error(`There is no ${className} in ${name}`);
  return { name, Database };
}
