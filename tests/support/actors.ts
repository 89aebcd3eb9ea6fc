/**
 * Actors run statements one at a time when a test says so, each in any number of open transactions:
 * in this process, or in a child of either runtime. A test written for actors interleaves
 * transactions the same way every time, wherever they run.
 *
 * @module
 */

import {
  Aerostore,
  AerostoreError,
  type Columns,
  defineTable,
  type OpenOptions,
  t,
  type TableDefinition,
  type TransactionOptions,
} from "../../mod.ts";
import { Child, type RuntimeName } from "./children.ts";

/** Money and duties: the table of the isolation tests. */
export const Account = defineTable("Account", {
  id: t.text(16).primaryKey(),
  balance: t.int32().default(0),
  onCall: t.bool().default(false),
});

/** The same rows, with the columns that searches look at indexed. */
export const IndexedAccount = defineTable("IndexedAccount", {
  id: t.text(16).primaryKey(),
  balance: t.int32().default(0).index(),
  onCall: t.bool().default(false).index(),
});

const definitions: readonly TableDefinition[] = [Account, IndexedAccount];

/** A row of either table. */
export interface AccountRow {
  readonly id: string;
  readonly balance: number;
  readonly onCall: boolean;
}

/** One statement. */
export interface Step {
  /** The method of the table or the transaction; `open`, `begin`, `commit` and `abort` too. */
  readonly call: string;
  readonly args: readonly unknown[];
  /** The name of the transaction; empty for a statement of its own. */
  readonly transaction: string;
  /** The name of the table. */
  readonly table: string;
}

/** What became of a statement: what it returned, or the code of its error. */
export type Reply = { readonly value: unknown } | {
  readonly code: string;
  readonly message: string;
};

/** Runs steps on a database of its own. */
export class Stepper implements Disposable {
  #db: Aerostore | undefined;
  readonly #transactions = new Map<string, ReturnType<Aerostore["begin"]>>();

  /** Runs one step; a database error is a reply like any other. */
  run(step: Step): Reply {
    try {
      return { value: this.#run(step) ?? null };
    } catch (error) {
      if (!(error instanceof AerostoreError)) throw error;
      return { code: error.code, message: error.message };
    }
  }

  #run({ call, args, transaction: name, table }: Step): unknown {
    if (call === "open") return this.#open(args[0] as string, args[1] as OpenOptions);
    if (call === "close") return this[Symbol.dispose]();
    const db = this.#db;
    if (db === undefined) throw new Error("The actor has opened no database");
    if (call === "verify") return db.verify();
    if (call === "begin") {
      this.#transactions.set(name, db.begin(args[0] as TransactionOptions));
      return undefined;
    }
    const transaction = this.#transactions.get(name);
    if (transaction !== undefined && (call === "commit" || call === "abort")) {
      return transaction[call]();
    }
    const target: object = transaction === undefined ? db.table(table) : transaction.table(table);
    const method: unknown = Reflect.get(target, call);
    if (typeof method !== "function") throw new Error(`A table has no method ${call}`);
    return plain(method.apply(target, args));
  }

  #open(directory: string, options: OpenOptions): void {
    this[Symbol.dispose]();
    this.#db = Aerostore.open(directory, { ...options, tables: definitions });
  }

  /** Closes the database; open transactions are aborted. */
  [Symbol.dispose](): void {
    this.#db?.close();
    this.#db = undefined;
    this.#transactions.clear();
  }
}

/** Copies what a statement returned, as JSON can carry it. */
function plain(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("toObject" in value && typeof value.toObject === "function") return value.toObject();
  if (Symbol.iterator in value) return Array.from(value as Iterable<unknown>, plain);
  return value;
}

/** Someone who runs statements when told to. */
export interface Actor extends Disposable {
  /** Runs one step; throws only if the actor itself is broken. */
  run(step: Step): Promise<Reply>;
}

/** An actor in this process. */
export class LocalActor implements Actor {
  readonly #stepper = new Stepper();

  run(step: Step): Promise<Reply> {
    return Promise.resolve(this.#stepper.run(step));
  }

  [Symbol.dispose](): void {
    this.#stepper[Symbol.dispose]();
  }
}

/** An actor in a process of its own. */
export class RemoteActor implements Actor {
  readonly #child: Child;

  /**
   * Starts the process.
   *
   * @param runtime The runtime to start it with.
   * @param library The native library it loads. Default: the one that belongs to the module.
   */
  constructor(runtime: RuntimeName, library?: string) {
    const environment = library === undefined ? {} : { AEROSTORE_LIBRARY: library };
    this.#child = new Child(runtime, "stepper.ts", null, environment);
  }

  async run(step: Step): Promise<Reply> {
    this.#child.send(step);
    return await this.#child.next() as Reply;
  }

  [Symbol.dispose](): void {
    this.#child[Symbol.dispose]();
  }
}

/** Statements on one table by one actor, outside of transactions or in one. */
export class Statements {
  readonly #actor: Actor;
  readonly #table: string;
  readonly #transaction: string;

  constructor(actor: Actor, table: string, transaction = "") {
    this.#actor = actor;
    this.#table = table;
    this.#transaction = transaction;
  }

  /** Begins a transaction. */
  async begin(name: string, options: TransactionOptions = {}): Promise<Statements> {
    const transaction = new Statements(this.#actor, this.#table, name);
    await transaction.#call("begin", options);
    return transaction;
  }

  get(key: string): Promise<AccountRow | null> {
    return this.#call("get", key) as Promise<AccountRow | null>;
  }

  has(key: string): Promise<boolean> {
    return this.#call("has", key) as Promise<boolean>;
  }

  /** The balance of a row that is there. */
  async balance(key: string): Promise<number> {
    const row = await this.get(key);
    if (row === null) throw new Error(`There is no row ${key}`);
    return row.balance;
  }

  search(query: string): Promise<AccountRow[]> {
    return this.#call("search", query) as Promise<AccountRow[]>;
  }

  async insert(row: Partial<AccountRow>): Promise<void> {
    await this.#call("insert", row);
  }

  async upsert(row: Partial<AccountRow>): Promise<void> {
    await this.#call("upsert", row);
  }

  async update(key: string, patch: Partial<AccountRow>): Promise<void> {
    await this.#call("update", key, patch);
  }

  async delete(key: string): Promise<void> {
    await this.#call("delete", key);
  }

  async abort(): Promise<void> {
    await this.#call("abort");
  }

  /** Commits. Returns whether that succeeded; false if another transaction was in conflict. */
  async commit(): Promise<boolean> {
    const reply = await this.#run("commit", []);
    if (!("code" in reply)) return true;
    if (reply.code === "serialization_failure") return false;
    throw new Error(`commit: ${reply.message}`);
  }

  async #call(call: string, ...args: readonly unknown[]): Promise<unknown> {
    const reply = await this.#run(call, args);
    if ("code" in reply) throw new Error(`${call}: ${reply.message}`);
    return reply.value;
  }

  #run(call: string, args: readonly unknown[]): Promise<Reply> {
    return this.#actor.run({ call, args, transaction: this.#transaction, table: this.#table });
  }
}

/** Lets an actor open a database. */
export async function openBy(
  actor: Actor,
  directory: string,
  options: OpenOptions,
  table: TableDefinition<string, Columns>,
): Promise<Statements> {
  const step = { call: "open", args: [directory, options], transaction: "", table: table.name };
  const reply = await actor.run(step);
  if ("code" in reply) throw new Error(`open: ${reply.message}`);
  return new Statements(actor, table.name);
}
