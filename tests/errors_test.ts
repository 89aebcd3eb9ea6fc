/** Every code is reached by the mistake it stands for, or is said to be out of reach, and why. */

import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { abiHash, Status } from "../lib/abi.ts";
import { codeOfResult, quote, reasonOf } from "../lib/errors.ts";
import {
  Aerostore,
  AerostoreError,
  defineTable,
  type ErrorCode,
  QueryError,
  t,
  type Transaction,
} from "../mod.ts";
import { libraryPath } from "../lib/library.ts";
import { Child, type RuntimeName, runtimes } from "./support/children.ts";
import { Store } from "./support/store.ts";
import { Everything, Presence } from "./support/tables.ts";
import { until } from "./support/verify.ts";

/** The codes that no call of this version can give on a healthy machine, and why. */
const outOfReach: Readonly<Partial<Record<ErrorCode, string>>> = {
  disk_full: "tests/full_disk_test.ts reaches it, where a file system may be mounted",
};

const reached = new Set<ErrorCode>();

/** Runs `use`, and notes that its error has `code` and quotes `quoted`. */
function expectCode(code: ErrorCode, use: () => unknown, quoted: string | RegExp): void {
  let error: unknown;
  try {
    use();
  } catch (thrown) {
    error = thrown;
  }
  checkError(error, code, quoted);
}

function checkError(error: unknown, code: ErrorCode, quoted: string | RegExp): void {
  assert.ok(error instanceof AerostoreError, `${code}: ${String(error)}`);
  assert.equal(error.code, code, error.message);
  assert.equal(error.name, "AerostoreError");
  if (typeof quoted === "string") assert.ok(error.message.includes(quoted), error.message);
  else assert.match(error.message, quoted);
  assert.doesNotMatch(error.message, /\.$/);
  reached.add(code);
}

/** How it went in a child. */
interface Outcome {
  readonly code?: ErrorCode;
  readonly message?: string;
}

/** Runs a script that opens the database, and returns what it tells. */
async function openInChild(
  runtime: RuntimeName,
  script: string,
  args: object,
): Promise<AerostoreError> {
  using child = new Child(runtime, script, args);
  const { code, message } = await child.next() as Outcome;
  if (code === undefined || message === undefined) throw new Error("It was opened");
  return new AerostoreError(code, message);
}

/** The path of the file that the only region of a store is in. */
function regionFile(store: Store): string {
  const names = readdirSync(store.shmPath);
  assert.equal(names.length, 1, names.join());
  return join(store.shmPath, names[0] ?? "");
}

describe("opening", () => {
  test("refuses arguments that make no sense", () => {
    using store = new Store();
    expectCode("bad_argument", () => Aerostore.open(""), '""');
    expectCode("bad_argument", () => store.open({ size: "huge" }), '"huge"');
    const dialect: object = { dialect: "sql" };
    expectCode("bad_argument", () => store.open(dialect), '"sql"');
    const misspelled: object = { readonly: true };
    expectCode("bad_argument", () => store.open(misspelled), '"readonly"');
    const tables: object = { tables: [{ name: "T" }] };
    expectCode("bad_argument", () => store.open(tables), '{"name":"T"}');
    expectCode("bad_argument", () => store.open({ size: 0 }), "0");
    expectCode("bad_argument", () => store.open({ size: "1MiB" }), '"1MiB"');
    expectCode("bad_argument", () => store.open({ size: "300GiB" }), '"300GiB"');
  });

  test("refuses what a database without a directory cannot do", () => {
    using store = new Store();
    const options = { ...store.options, ephemeral: `errors-${process.pid}` };
    const open = () => Aerostore.open({ ...options, synchronousCommit: "on" });
    expectCode("not_supported", open, "nothing on disk");
  });

  test("refuses a file that is not a region", () => {
    using store = new Store();
    const file = join(store.root, "foreign");
    writeFileSync(file, new Uint8Array(1 << 20).fill(0x41), { mode: 0o600 });
    expectCode("not_aerostore", () => store.open({ shmPath: file }), store.directory);
  });

  test("refuses a region of another layout, and one whose log is gone", () => {
    using store = new Store();
    store.open({ tables: [Presence] }).close();
    const file = regionFile(store);
    const sound = readFileSync(file);
    // The magic stands first, then the version of the layout.
    const other = Uint8Array.from(sound);
    other[8] = (other[8] ?? 0) ^ 0x55;
    // One commit more than the log has: its position is the first word of the control part, whose
    // place stands at byte 80. Without it, the log is all that is needed.
    const view = new DataView(other.buffer);
    const control = Number(view.getBigUint64(80, true));
    view.setBigUint64(control, view.getBigUint64(control, true) + 1n, true);
    writeFileSync(file, other);
    expectCode("layout_version", () => store.open(), store.directory);

    writeFileSync(file, sound);
    for (const name of readdirSync(store.directory)) {
      if (name.endsWith(".wal")) unlinkSync(join(store.directory, name));
    }
    expectCode("corrupt", () => store.open(), store.directory);
  });

  test("refuses a region that others may read", () => {
    using store = new Store();
    store.open({ tables: [Presence] }).close();
    chmodSync(regionFile(store), 0o644);
    expectCode("permission_denied", () => store.open(), store.directory);
  });

  test("passes on what the operating system says", () => {
    using store = new Store();
    // A file of which no byte can be read.
    expectCode("io_error", () => store.open({ shmPath: "/proc/self/mem" }), "/proc/self/mem");
  });

  for (const runtime of runtimes) {
    test(`without a library says how to get one, on ${runtime}`, { timeout: 30_000 }, async () => {
      using store = new Store();
      const missing = join(store.root, "nowhere.so");
      const { directory } = store;
      const options = { ...store.options, libraryPath: missing };
      const error = await openInChild(runtime, "opener.ts", { directory, options });
      checkError(error, "library_not_found", missing);
      assert.match(error.message, /npm run build/);
    });

    test(`with a library of another version is refused, on ${runtime}`, {
      timeout: 30_000,
    }, async () => {
      using store = new Store();
      const other = join(store.root, "other.so");
      writeFileSync(other, libraryOfAnotherVersion());
      const { directory } = store;
      const options = { ...store.options, libraryPath: other };
      const error = await openInChild(runtime, "opener.ts", { directory, options });
      checkError(error, "abi_mismatch", other);
    });

    test(`on a version of ${runtime} that is too old is refused`, { timeout: 30_000 }, async () => {
      using store = new Store();
      const { directory } = store;
      const [version, wanted] = runtime === "bun" ? ["1.3.9", "1.4"] : ["2.4.5", "2.5"];
      const error = await openInChild(runtime, "old_runtime.ts", { directory, version });
      checkError(error, "unsupported_platform", version);
      assert.ok(error.message.includes(`needs ${runtime === "bun" ? "Bun" : "Deno"} ${wanted}`));
      assert.equal(existsSync(directory), false);
    });

    test(
      `is internal if no thread can be started, on ${runtime}`,
      { timeout: 30_000 },
      async () => {
        using store = new Store();
        // The child is nobody if the test is the superuser, for whom there is no limit.
        for (const place of [store.root, store.shmPath]) chmodSync(place, 0o777);
        const { directory, options } = store;
        const error = await openInChild(runtime, "out_of_threads.ts", { directory, options });
        checkError(error, "internal", "cannot start the maintenance thread");
      },
    );
  }
});

/** A copy of the library whose hash is another number: its eight bytes are changed. */
function libraryOfAnotherVersion(): Uint8Array {
  const library = readFileSync(libraryPath());
  const hash = new Uint8Array(new Float64Array([abiHash]).buffer);
  let changed = 0;
  for (let at = library.indexOf(hash); at >= 0; at = library.indexOf(hash, at + 1)) {
    library[at] = (library[at] ?? 0) ^ 1;
    changed++;
  }
  assert.ok(changed > 0, "the hash is not in the library as the eight bytes of a float");
  return library;
}

describe("declaring", () => {
  test("refuses what cannot be a table, and what the stored one is not", () => {
    using store = new Store();
    expectCode("invalid_schema", () => defineTable("T", { a: t.int32() }), '"T"');
    const db = store.open({ tables: [Presence] });
    expectCode("unknown_table", () => db.table("Nowhere"), '"Nowhere"');
    const other = defineTable("Presence", { id: t.text(32).primaryKey(), place: t.int32() });
    expectCode("schema_mismatch", () => store.open({ tables: [other] }), '"Presence"');
  });
});

describe("writing", () => {
  test("refuses rows that break a rule", () => {
    using store = new Store();
    const db = store.open({ tables: [Everything] });
    const table = db.table(Everything);
    table.insert({ id: "A" });
    const put = (row: object): void => table.upsert({ id: "B", ...row });
    expectCode("duplicate_key", () => table.insert({ id: "A" }), '"A"');
    expectCode("not_found", () => table.update("Z", {}), '"Z"');
    expectCode("unknown_column", () => put({ nothing: 1 }), '"nothing"');
    expectCode("value_too_long", () => put({ code: "too long for it" }), '"too long for it"');
    expectCode("type_mismatch", () => put({ flag: "yes" }), '"yes"');
    expectCode("not_null_violation", () => put({ count: null }), '"count"');
    expectCode("unsafe_integer", () => put({ total: 2 ** 60 }), String(2 ** 60));
    expectCode("not_a_number", () => put({ ratio: NaN }), '"ratio"');
    assert.equal(table.has("B"), false);
  });

  test("into a database that only reads is refused", () => {
    using store = new Store();
    store.open({ tables: [Presence] }).table(Presence).insert({ id: "A" });
    const db = store.open({ readOnly: true, tables: [Presence] });
    const table = db.table(Presence);
    assert.equal(table.has("A"), true);
    expectCode("read_only", () => table.insert({ id: "B" }), '"B"');
    expectCode("read_only", () => table.upsert({ id: "A" }), '"A"');
    expectCode("read_only", () => table.delete("A"), '"A"');
    expectCode(
      "read_only",
      () => store.open({ readOnly: true, tables: [Everything] }),
      "Everything",
    );
    assert.equal(table.count(), 1);
  });

  test("into a full region is refused, with nothing half done", () => {
    using store = new Store();
    const db = store.open({ tables: [Everything], size: "4MiB" });
    const table = db.table(Everything);
    let written = 0;
    expectCode("region_full", () => {
      for (; written < 100_000; written++) {
        table.insert({ id: `row ${written}`, note: "n".repeat(500) });
      }
    }, `"row ${written}`.slice(0, 5));
    assert.ok(written > 100);
    assert.equal(table.count(), written);
    assert.equal(table.has(`row ${written}`), false);
    assert.equal(table.get("row 0")?.note?.length, 500);
    assert.deepEqual(db.verify().problems, []);
    // Room that is given back can be used again.
    for (let i = 0; i < 50; i++) table.delete(`row ${i}`);
    table.insert({ id: "after", note: "n".repeat(500) });
    assert.equal(table.has("after"), true);
  });

  test("lines that cannot be rows are quoted with their number", async () => {
    using store = new Store();
    const table = store.open({ tables: [Presence] }).table(Presence);
    const source = "A\tgate\t1\nB\tgate\tmany\nC\tgate\t3\n";
    const error = await table.ingestTsv(source).catch((thrown: unknown) => thrown);
    checkError(error, "bad_line", /line 2\b.*many/s);
  });
});

describe("a log whose directory is gone", () => {
  test("takes no more commits, and does not know what is on disk", async () => {
    using store = new Store();
    const options = { size: "64MiB", checkpointIntervalSecs: 0 };
    const db = store.open({ ...options, tables: [Everything] });
    const table = db.table(Everything);
    // The log's thread makes the spare, and looks for commits to sync when that is done.
    const logFiles = () => readdirSync(store.directory).filter((name) => name.endsWith(".wal"));
    await until("there is a spare", () => logFiles().length === 2);
    table.insert({ id: "first" });
    const { position } = db.stats().log;
    await until("it is on disk", () => db.stats().log.durable >= position);
    rmSync(store.directory, { recursive: true });
    // More than fits into the segment and its spare, 1 and 2 MiB: the next one cannot be made.
    const note = "n".repeat(500);
    table.upsertMany(Array.from({ length: 10_000 }, (_, i) => ({ id: `row ${i}`, note })));
    expectCode("durability_unknown", () => db.flushSync(), /disk/);
    const reading = { readOnly: true, readDurable: true } as const;
    expectCode("durability_unknown", () => db.begin(reading), /disk/);
    await assert.rejects(() => db.beginAsync(reading), { code: "durability_unknown" });
    const count = (transaction: Transaction): number =>
      transaction.table(Everything).search("").length;
    expectCode("durability_unknown", () => db.transaction(count, reading), /disk/);
    assert.equal(db.transaction(count, { readOnly: true }), 10_001);
    assert.equal(db.stats().log.state, "failed");
    // Reading goes on.
    assert.equal(table.has("first"), true);
    assert.equal(table.get("row 0")?.note?.length, 500);
    expectCode("log_failed", () => table.delete("first"), /log/);
  });
});

describe("a unique index", () => {
  test("refuses a second row with the value", () => {
    const Seat = defineTable("Seat", {
      id: t.text(8).primaryKey(),
      passenger: t.text(16).nullable().unique(),
    });
    using store = new Store();
    const seats = store.open({ tables: [Seat] }).table(Seat);
    seats.insert({ id: "1A", passenger: "Ada" });
    const second = () => seats.insert({ id: "1B", passenger: "Ada" });
    expectCode("unique_violation", second, '"Seat"');
    assert.equal(seats.has("1B"), false);
  });
});

describe("searching", () => {
  test("points at the word at fault", () => {
    using store = new Store();
    const table = store.open({ tables: [Everything] }).table(Everything);
    const search = (query: string): () => unknown => () => table.search(query);
    expectCode("invalid_list", search("-compare {{= id A"), "invalid Tcl-style list syntax");
    expectCode("unknown_option", search("-x 1"), "unknown STAPI option '-x'");
    assert.throws(
      search("-limit 5 -x 1"),
      (error) => error instanceof QueryError && error.offset === 9 && error.word === "-x",
    );
    expectCode(
      "unsupported_operator",
      search("-compare {{~ id A}}"),
      "unsupported compare operator '~'",
    );
    expectCode(
      "wrong_arity",
      search("-compare {{= id A B}}"),
      "operator '=' expects exactly 3 items, got 4",
    );
    expectCode("unknown_column", search("-sort nothing"), "nothing");
    expectCode("type_mismatch", search("-compare {{= count many}}"), "many");
    expectCode("invalid_query", search("-limit -1"), "-1");
    const prepared = table.prepare("-compare {{= id $1}}");
    expectCode("unknown_parameter", () => prepared.all(), "parameter");
  });
});

describe("a region", () => {
  test("that somebody has open is not removed", () => {
    using store = new Store();
    store.open();
    const remove = () => Aerostore.remove(store.directory, store.options);
    expectCode("busy", remove, store.directory);
  });

  test("that as many processes use as can is refused, until one of them ends", async () => {
    using store = new Store();
    store.open({ tables: [Presence] }).close();
    const files = [join(store.directory, "LOCK"), regionFile(store)];
    using crowd = new Child("bun", "crowd.ts", { files });
    await crowd.next();
    expectCode("too_many_processes", () => store.open(), store.directory);
    await crowd.kill();
    assert.deepEqual(store.open().tableNames, ["Presence"]);
  });

  test("that this process has open elsewhere is refused", () => {
    using store = new Store();
    store.open();
    const elsewhere = () => store.open({ shmPath: store.root });
    expectCode("already_open", elsewhere, store.root);
  });

  test("whose file was removed while others use it is not made anew", async () => {
    using store = new Store();
    using holder = new Child("bun", "holder.ts", {
      directory: store.directory,
      options: store.options,
      transactions: 0,
    });
    await holder.next();
    for (const name of readdirSync(store.shmPath)) unlinkSync(join(store.shmPath, name));
    expectCode("region_lost", () => store.open(), store.directory);
  });
});

describe("a transaction", () => {
  test("that read what another one changed cannot commit", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).upsertMany([{ id: "A", visits: 1 }, { id: "B", visits: 1 }]);
    using first = db.begin();
    using second = db.begin();
    // Each reads what the other one writes.
    const visitsOf = (tx: Transaction, id: string) => tx.table(Presence).get(id)?.visits ?? 0;
    first.table(Presence).update("A", { visits: visitsOf(first, "B") + 1 });
    second.table(Presence).update("B", { visits: visitsOf(second, "A") + 1 });
    first.commit();
    expectCode("serialization_failure", () => second.commit(), '"Presence"');
    assert.equal(db.table(Presence).get("B")?.visits, 1);
  });

  test("whose snapshot was given up fails", async () => {
    using store = new Store();
    const db = store.open({ tables: [Presence], maxSnapshotAgeMs: 1 });
    using transaction = db.begin();
    const deadline = Date.now() + 30_000;
    while (db.stats().revokedSnapshots === 0 && Date.now() < deadline) {
      db.table(Presence).upsert({ id: "A" });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expectCode("snapshot_revoked", () => transaction.table(Presence).has("A"), "snapshot");
  });

  test("beyond those that a region can have is refused", () => {
    using store = new Store();
    expectCode("too_many_transactions", () => {
      for (let opened = 0; opened < 1000; opened += 50) {
        const db = store.open({ tables: [Presence] });
        for (let i = 0; i < 50; i++) db.begin();
      }
    }, "begin a transaction");
  });
});

describe("an end", () => {
  test("of the database makes its use an error", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.close();
    expectCode("closed", () => db.table(Presence), store.directory);
  });

  test("of a transaction makes its use, and that of its views, an error", () => {
    using store = new Store();
    const db = store.open({ tables: [Presence] });
    db.table(Presence).insert({ id: "A" });
    const transaction = db.begin({ readOnly: true });
    const table = transaction.table(Presence);
    const view = table.get("A");
    assert.equal(view?.id, "A");
    transaction.abort();
    expectCode("transaction_closed", () => table.get("A"), '"Presence"');
    expectCode("transaction_closed", () => transaction.commit(), "commit");
    expectCode("view_expired", () => view?.id, '"id"');
  });
});

describe("codes", () => {
  test("of the library are those of the module", () => {
    for (const [code, number] of Object.entries(Status)) {
      if (code === "ok") continue;
      assert.equal(codeOfResult(-number), code);
      assert.match(reasonOf(codeOfResult(-number)), /^[^.]{5,79}$/);
    }
    assert.equal(codeOfResult(-9999), "internal");
  });

  test("are all reached by a test above, or out of reach", () => {
    for (const code of Object.keys(Status) as (ErrorCode | "ok")[]) {
      if (code === "ok") continue;
      assert.ok(reached.has(code) !== (code in outOfReach), code);
    }
  });
});

test("quote() cuts long values, and shows every kind", () => {
  const cases: readonly (readonly [unknown, string])[] = [
    ["a\tb", '"a\\tb"'],
    [5n, "5n"],
    [-0, "-0"],
    [NaN, "NaN"],
    [null, "null"],
    [undefined, "undefined"],
    [Uint8Array.of(1, 2), "2 bytes"],
    [{ a: [1] }, '{"a":[1]}'],
    [{ a: 1n }, "an object"],
    [() => 0, "a function"],
    [Symbol("s"), "a symbol"],
    ["x".repeat(100), `"${"x".repeat(57)}..."`],
  ];
  for (const [value, text] of cases) assert.equal(quote(value), text);
});
