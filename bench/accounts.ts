/**
 * Accounts with balances, kept by three kinds of stores, each in files that several processes open
 * at once.
 *
 * None of them waits for the disk when it commits: that is `synchronous_commit` `off` of Aerostore,
 * WAL with `synchronous` `off` or `normal` of SQLite, and `noSync` of LMDB.
 *
 * @module
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Aerostore, defineTable, t, type Transaction } from "../mod.ts";
import { loadSqlite, type SqliteDatabase, type Statement } from "./sqlite.ts";

/** The table, by the way Aerostore declares it. */
export const AccountTable = defineTable("Account", {
  id: t.int32().primaryKey(),
  owner: t.text(16),
  balance: t.float64(),
});

/** What every account has in the beginning, and whoever is written anew. */
export const balanceOfNew = 1_000;

/** A row. */
export interface Account {
  readonly id: number;
  readonly owner: string;
  readonly balance: number;
}

/** Returns the account of a number, as it is in the beginning. */
export function accountOf(id: number): Account {
  return { id, owner: `owner ${id}`, balance: balanceOfNew };
}

/** Something that holds accounts. Each method is one transaction. */
export interface Accounts extends Disposable {
  /** Reads accounts; returns the sum of their balances. */
  read(ids: readonly number[]): number;
  /** Reads an account and writes it with one more. */
  increment(id: number): void;
  /** Adds one to an account by an expression. Undefined where there are none. */
  add?(id: number): void;
  /** Moves one from an account to another. */
  transfer(from: number, to: number): void;
  /** Writes accounts anew. */
  write(ids: readonly number[]): void;
}

/** A directory for the files of a store, which disappears with everything in it. */
export class AccountsPlace implements Disposable {
  /** The directory. */
  readonly root: string = mkdtempSync(join(tmpdir(), "aerostore-accounts-"));
  /** The directory of Aerostore's region. */
  readonly shmPath: string;

  constructor() {
    const parent = existsSync("/dev/shm") ? "/dev/shm" : this.root;
    this.shmPath = mkdtempSync(join(parent, "aerostore-accounts-"));
    mkdirSync(join(this.root, "files"));
  }

  /** Removes the files. */
  [Symbol.dispose](): void {
    rmSync(this.shmPath, { recursive: true, force: true });
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Opens the accounts in a place, by the name of the store, and writes `rows` of them if not 0. */
export type OpenAccounts = (
  place: { readonly root: string; readonly shmPath: string },
  rows: number,
) => Accounts | Promise<Accounts>;

class AerostoreAccounts implements Accounts {
  readonly #database: Aerostore;

  constructor(place: { readonly root: string; readonly shmPath: string }, rows: number) {
    this.#database = Aerostore.open(join(place.root, "files"), {
      tables: [AccountTable],
      size: "256MiB",
      shmPath: place.shmPath,
    });
    const accounts = Array.from({ length: rows }, (_, id) => accountOf(id));
    this.#database.table(AccountTable).upsertMany(accounts, { atomic: false });
  }

  read(ids: readonly number[]): number {
    return this.#database.transaction((transaction) => {
      const table = transaction.table(AccountTable);
      let sum = 0;
      for (const id of ids) sum += table.get(id)?.balance ?? 0;
      return sum;
    }, { readOnly: true });
  }

  increment(id: number): void {
    this.#database.transaction((transaction) => change(transaction, id, 1));
  }

  add(id: number): void {
    this.#database.table(AccountTable).apply(id, { balance: { increment: 1 } });
  }

  transfer(from: number, to: number): void {
    this.#database.transaction((transaction) => {
      change(transaction, from, -1);
      change(transaction, to, 1);
    });
  }

  write(ids: readonly number[]): void {
    this.#database.transaction((transaction) => {
      const table = transaction.table(AccountTable);
      for (const id of ids) table.upsert(accountOf(id));
    });
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

function change(transaction: Transaction, id: number, by: number): void {
  const table = transaction.table(AccountTable);
  const balance = table.get(id)?.balance ?? 0;
  table.update(id, { balance: balance + by });
}

class SqliteAccounts implements Accounts {
  readonly #database: SqliteDatabase;
  readonly #begin: Statement;
  readonly #beginWrite: Statement;
  readonly #commit: Statement;
  readonly #get: Statement;
  readonly #set: Statement;
  readonly #add: Statement;
  readonly #upsert: Statement;

  private constructor(database: SqliteDatabase) {
    this.#database = database;
    this.#begin = database.prepare("begin");
    // A transaction that reads first and then wants to write would fail instead of waiting.
    this.#beginWrite = database.prepare("begin immediate");
    this.#commit = database.prepare("commit");
    this.#get = database.prepare("select balance from account where id = ?");
    this.#set = database.prepare("update account set balance = ? where id = ?");
    this.#add = database.prepare("update account set balance = balance + 1 where id = ?");
    this.#upsert = database.prepare("insert or replace into account values (?, ?, ?)");
  }

  static async open(
    root: string,
    rows: number,
    synchronous: "off" | "normal",
  ): Promise<SqliteAccounts> {
    const { Database } = await loadSqlite();
    const database = new Database(join(root, "files", "accounts.sqlite"));
    database.exec(`
      pragma busy_timeout = 30000;
      pragma journal_mode = wal;
      pragma synchronous = ${synchronous};
      create table if not exists account (
        id integer primary key, owner text not null, balance real not null
      )`);
    const accounts = new SqliteAccounts(database);
    if (rows > 0) accounts.write(Array.from({ length: rows }, (_, id) => id));
    return accounts;
  }

  read(ids: readonly number[]): number {
    this.#begin.run();
    let sum = 0;
    for (const id of ids) sum += this.#balance(id);
    this.#commit.run();
    return sum;
  }

  increment(id: number): void {
    this.#beginWrite.run();
    this.#set.run(this.#balance(id) + 1, id);
    this.#commit.run();
  }

  add(id: number): void {
    this.#add.run(id);
  }

  transfer(from: number, to: number): void {
    this.#beginWrite.run();
    this.#set.run(this.#balance(from) - 1, from);
    this.#set.run(this.#balance(to) + 1, to);
    this.#commit.run();
  }

  write(ids: readonly number[]): void {
    this.#beginWrite.run();
    for (const id of ids) {
      const { owner, balance } = accountOf(id);
      this.#upsert.run(id, owner, balance);
    }
    this.#commit.run();
  }

  #balance(id: number): number {
    return (this.#get.get(id) as Account).balance;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

/** What is used of the module `lmdb`. */
interface LmdbModule {
  open(options: { readonly path: string; readonly noSync: boolean }): LmdbDatabase;
}

interface LmdbDatabase {
  get(id: number): Account | undefined;
  putSync(id: number, account: Account): unknown;
  transactionSync<T>(run: () => T): T;
  /** Lets the next `get` see what others have committed. */
  resetReadTxn(): void;
  close(): Promise<void>;
}

class LmdbAccounts implements Accounts {
  readonly #database: LmdbDatabase;

  constructor({ open }: LmdbModule, root: string, rows: number) {
    this.#database = open({ path: join(root, "files", "accounts.lmdb"), noSync: true });
    if (rows > 0) this.write(Array.from({ length: rows }, (_, id) => id));
  }

  read(ids: readonly number[]): number {
    this.#database.resetReadTxn();
    let sum = 0;
    for (const id of ids) sum += this.#database.get(id)?.balance ?? 0;
    return sum;
  }

  increment(id: number): void {
    this.#database.transactionSync(() => this.#change(id, 1));
  }

  transfer(from: number, to: number): void {
    this.#database.transactionSync(() => {
      this.#change(from, -1);
      this.#change(to, 1);
    });
  }

  write(ids: readonly number[]): void {
    this.#database.transactionSync(() => {
      for (const id of ids) this.#database.putSync(id, accountOf(id));
    });
  }

  #change(id: number, by: number): void {
    const account = this.#database.get(id) ?? accountOf(id);
    this.#database.putSync(id, { ...account, balance: account.balance + by });
  }

  [Symbol.dispose](): void {
    void this.#database.close();
  }
}

/** The module `lmdb`, or why it cannot be used: its library is built for some systems only. */
async function loadLmdb(): Promise<LmdbModule | string> {
  // The name must not be known to the type checker, which would read all of its declarations.
  const name: string = "lmdb";
  try {
    return await import(name) as LmdbModule;
  } catch (error) {
    return String(error).split("\n")[0] ?? "";
  }
}

/** The stores that this system has, by their names, and why there are no others. */
export async function findStores(): Promise<
  { readonly stores: Readonly<Record<string, OpenAccounts>>; readonly missing: readonly string[] }
> {
  const stores: Record<string, OpenAccounts> = {
    "Aerostore": (place, rows) => new AerostoreAccounts(place, rows),
    "SQLite, synchronous off": ({ root }, rows) => SqliteAccounts.open(root, rows, "off"),
    "SQLite, synchronous normal": ({ root }, rows) => SqliteAccounts.open(root, rows, "normal"),
  };
  const lmdb = await loadLmdb();
  if (typeof lmdb === "string") return { stores, missing: [`lmdb-js cannot be loaded: ${lmdb}`] };
  stores["lmdb-js"] = ({ root }, rows) => new LmdbAccounts(lmdb, root, rows);
  return { stores, missing: [] };
}
