import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import {
  AerostoreError,
  defineTable,
  type IngestProgress,
  type IngestSource,
  t,
  type Table,
} from "../mod.ts";
import { Store } from "./support/store.ts";

const Position = defineTable("Position", {
  id: t.text(12).primaryKey(),
  lat: t.float64().nullable(),
  altitude: t.int32().nullable(),
  callsign: t.text(60).nullable(),
  on_ground: t.bool().nullable(),
  serial: t.int64({ as: "bigint" }).nullable(),
  updated_at: t.timestamp().nullable(),
});

type PositionTable = Table<typeof Position.columns>;

const text = [
  "A1\t46.5\t38000\tSWISS 1\t0\t9223372036854775807\t1533099600000",
  "B2\t-0.25\t\tZürich – 東京\t1\t-1\t1533099600000.5",
  "C3\t\t-100\t\t\t\t",
  "",
].join("\n");

const rows = [
  {
    id: "A1",
    lat: 46.5,
    altitude: 38000,
    callsign: "SWISS 1",
    on_ground: false,
    serial: 2n ** 63n - 1n,
    updated_at: 1533099600000,
  },
  {
    id: "B2",
    lat: -0.25,
    altitude: null,
    callsign: "Zürich – 東京",
    on_ground: true,
    serial: -1n,
    updated_at: 1533099600000.5,
  },
  {
    id: "C3",
    lat: null,
    altitude: -100,
    callsign: null,
    on_ground: null,
    serial: null,
    updated_at: null,
  },
];

async function withTable(
  use: (table: PositionTable, store: Store) => Promise<void>,
): Promise<void> {
  using store = new Store();
  await use(store.open({ tables: [Position], size: "64MiB" }).table(Position), store);
}

const sorted = (table: PositionTable) => table.search("-sort id").all();
const bytes = new TextEncoder().encode(text);

describe("ingestTsv()", () => {
  const sources: Readonly<Record<string, () => IngestSource>> = {
    "text": () => text,
    "bytes": () => bytes,
    "an array of pieces": () => ["", text.slice(0, 50), bytes.subarray(0, 0), text.slice(50)],
    "a stream of bytes": () => new Blob([bytes]).stream(),
    "an async generator of single bytes": async function* () {
      for (const byte of bytes) yield Uint8Array.of(byte);
    },
    "an async generator of UTF-16 units": async function* () {
      for (let i = 0; i < text.length; i++) yield text.charAt(i);
    },
  };
  for (const [name, source] of Object.entries(sources)) {
    test(`reads ${name}`, () =>
      withTable(async (table) => {
        const progress = await table.ingestTsv(source());
        assert.deepEqual(progress, { rows: 3, skipped: 0, bytes: bytes.length });
        assert.deepEqual(sorted(table), rows);
      }));
  }

  test("reads a file, by URL or path", () =>
    withTable(async (table, store) => {
      const path = join(store.root, "positions.tsv");
      writeFileSync(path, text);
      await table.ingestTsv({ path });
      assert.deepEqual(sorted(table), rows);
      table.delete("A1");
      await table.ingestTsv(pathToFileURL(path));
      assert.deepEqual(sorted(table), rows);
      await assert.rejects(table.ingestTsv({ path: join(store.root, "none") }), /ENOENT/);
    }));

  test("keeps a character whose halves come in two pieces", () =>
    withTable(async (table) => {
      const pieces = ["A1\t\t\t🛩".slice(0, -1), "🛩".slice(1), "\t\t\t\n"];
      await table.ingestTsv(pieces);
      assert.equal(table.get("A1")?.callsign, "🛩");
    }));

  test("keeps every character of a text that takes several buffers", () =>
    withTable(async (table) => {
      // Pairs of surrogates at even and odd places, so that some stand at the end of a part.
      const name = "🛩".repeat(14);
      const lines = Array.from({ length: 20_000 }, (_, i) => `R${i}\t\t\t${name}\t\t\t\n`);
      await table.ingestTsv(lines.join(""));
      assert.equal(table.count(), 20_000);
      assert.equal(table.query().where("callsign", "=", name).count(), 20_000);
    }));

  test("goes by a list of columns, leaving fields out", () =>
    withTable(async (table) => {
      await table.ingestTsv("5\tignored\tA1\n6\t\tB2\n", {
        columns: ["altitude", null, "id"],
      });
      assert.deepEqual(sorted(table).map((row) => [row.id, row.altitude]), [["A1", 5], ["B2", 6]]);
    }));

  test("goes by the header line, and by other names for it", () =>
    withTable(async (table) => {
      await table.ingestTsv("altitude\tid\n5\tA1\n", { header: true });
      await table.ingestTsv("alt\tid\tsource\n6\tB2\tradar\n", {
        columns: { alt: "altitude" },
        ignoreUnknown: true,
      });
      assert.deepEqual(sorted(table).map((row) => [row.id, row.altitude]), [["A1", 5], ["B2", 6]]);
      await assert.rejects(table.ingestTsv("id\tspeed\nC3\t1\n", { header: true }), /speed/);
    }));

  test("takes another text for null", () =>
    withTable(async (table) => {
      await table.ingestTsv("A1\t\\N\t\\N\t\t\\N\t\\N\t\\N\n", { nullText: "\\N" });
      assert.deepEqual(sorted(table).map((row) => [row.lat, row.callsign]), [[null, ""]]);
    }));

  test("reads elements of Tcl lists", () =>
    withTable(async (table) => {
      await table.ingestTsv('{A 1}\t1.5\t7\t"tab\\there"\t1\t\t\n', { format: "tcl" });
      assert.equal(table.get("A 1")?.callsign, "tab\there");
    }));

  test("reads lines of both ends, and a last one without", () =>
    withTable(async (table) => {
      await table.ingestTsv("A1\t\t1\t\t\t\t\r\nB2\t\t2\t\t\t\t\nC3\t\t3\t\t\t\t");
      assert.deepEqual(sorted(table).map((row) => row.altitude), [1, 2, 3]);
    }));

  test("quotes the first bad line, and keeps the batches before it", () =>
    withTable(async (table) => {
      const lines = Array.from({ length: 50 }, (_, i) => `R${i}\t\t${i}\t\t\t\t`);
      lines[33] = "R33\t\thigh\t\t\t\t";
      await assert.rejects(table.ingestTsv(lines.join("\n"), { batchSize: 10 }), {
        code: "bad_line",
        message: /^Cannot ingest into "Position": .*\b34\b.*high/s,
      });
      assert.equal(table.count(), 30);
    }));

  test("skips bad lines if told so, and counts them", () =>
    withTable(async (table) => {
      const source = "A1\t\t1\t\t\t\t\nB2\t\thigh\t\t\t\t\ntoo few\nC3\t\t3\t\t\t\t\n";
      const { rows, skipped } = await table.ingestTsv(source, { onError: "skip" });
      assert.deepEqual([rows, skipped], [2, 2]);
      assert.deepEqual(sorted(table).map((row) => row.id), ["A1", "C3"]);
    }));

  test("refuses integers that a read would refuse", async () => {
    const Distance = defineTable("Distance", {
      id: t.int64().primaryKey(),
      big: t.int64({ as: "bigint" }),
    });
    using store = new Store();
    const distances = store.open({ tables: [Distance] }).table(Distance);
    const source = "9007199254740991\t9007199254740993\n-9007199254740992\t1\n";
    await assert.rejects(distances.ingestTsv(source, { batchSize: 1 }), {
      code: "bad_line",
      message: /line 2, column "id": "-9007199254740992" is beyond 2\^53/,
    });
    assert.deepEqual(distances.search("").all(), [{ id: 2 ** 53 - 1, big: 2n ** 53n + 1n }]);
  });

  test("names the line whose row has a value that only another may have", async () => {
    const User = defineTable("User", { id: t.int32().primaryKey(), name: t.text(9).unique() });
    using store = new Store();
    const users = store.open({ tables: [User] }).table(User);
    users.insert({ id: 1, name: "ada" });
    for (let bad = 1; bad <= 5; bad++) {
      const lines = [1, 2, 3, 4, 5].map((i) => `${10 + i}\t${i === bad ? "ada" : i}\n`);
      await assert.rejects(users.ingestTsv(lines.join("")), {
        code: "unique_violation",
        message:
          `Cannot ingest into "User": line ${bad}: another row of table "User" has the value ` +
          `that row ${10 + bad} has in the unique index on "name" (unique_violation)`,
      });
    }
    assert.equal(users.count(), 1);
  });

  test("skips rows that the table refuses, and keeps the others of their batches", async () => {
    const User = defineTable("User", { id: t.int32().primaryKey(), name: t.text(9).unique() });
    using store = new Store();
    const users = store.open({ tables: [User] }).table(User);
    for (const batchSize of [1, 2, 3, 1000]) {
      users.deleteWhere("");
      users.insert({ id: 1, name: "ada" });
      const source = "1\tbob\n2\tcy\nx\tdan\n3\tada\n4\teve\n2\tfay\n5\tcy\n6\tgus\n1\thal\n";
      const options = { batchSize, mode: "insert", onError: "skip" } as const;
      const { rows, skipped } = await users.ingestTsv(source, options);
      assert.deepEqual([rows, skipped], [3, 6]);
      assert.deepEqual(users.search("-sort id").all().map((row) => `${row.id} ${row.name}`), [
        "1 ada",
        "2 cy",
        "4 eve",
        "6 gus",
      ]);
    }
  });

  test("replaces rows, or takes an existing key for a bad line", () =>
    withTable(async (table) => {
      await table.ingestTsv("A1\t\t1\t\t\t\t\n");
      await table.ingestTsv("A1\t\t2\t\t\t\t\n");
      assert.equal(table.get("A1")?.altitude, 2);
      await assert.rejects(table.ingestTsv("A1\t\t3\t\t\t\t\n", { mode: "insert" }));
      assert.equal(table.get("A1")?.altitude, 2);
    }));

  test("tells how far it is", () =>
    withTable(async (table) => {
      const lines = Array.from(
        { length: 60_000 },
        (_, i) => `R${i}\t${i / 8}\t${i}\tcall\t1\t\t\n`,
      );
      const seen: IngestProgress[] = [];
      const last = await table.ingestTsv(lines.join(""), {
        onProgress: (progress) => seen.push(progress),
      });
      assert.ok(seen.length >= 2);
      assert.deepEqual(seen.at(-1), last);
      assert.equal(last.rows, 60_000);
      assert.ok((seen[0]?.rows ?? 0) < 60_000);
      assert.equal(table.count(), 60_000);
      assert.deepEqual(table.get("R59999")?.lat, 59_999 / 8);
    }));

  test("refuses more at the same time than a database can have, and goes on with the others", () =>
    withTable(async (table) => {
      const { promise: word, resolve: give } = Promise.withResolvers<void>();
      async function* slow(id: number): AsyncGenerator<string> {
        await word;
        yield `R${id}\n`;
      }
      const running: Promise<IngestProgress>[] = [];
      const refused: unknown[] = [];
      for (let id = 0; id < 300; id++) {
        const ingest = table.ingestTsv(slow(id), { columns: ["id"] });
        ingest.catch((error: unknown) => refused.push(error));
        running.push(ingest);
      }
      // Each has begun, or was refused, before it waits for its source.
      await new Promise((resolve) => setTimeout(resolve, 0));
      give();
      const outcomes = await Promise.allSettled(running);
      const done = outcomes.filter((outcome) => outcome.status === "fulfilled").length;
      assert.ok(done > 0 && done + refused.length === outcomes.length);
      for (const error of refused) {
        assert.ok(error instanceof AerostoreError);
        assert.equal(error.code, "busy");
        assert.match(error.message, /ingests open \(busy\)$/);
      }
      assert.ok(refused.length > 0);
      assert.equal(table.count(), done);
    }));

  test("refuses options and sources that make no sense", () =>
    withTable(async (table) => {
      const wrong: readonly object[] = [
        { batchSize: 0 },
        { batchSize: 1.5 },
        { columns: ["id", "speed"] },
        { columns: ["id", "id"] },
        { columns: { a: "id" }, header: false },
        { format: "csv" },
        { onError: "ignore" },
        { mode: "replace" },
        { nullText: "n".repeat(256) },
      ];
      for (const options of wrong) {
        await assert.rejects(table.ingestTsv("A1\n", options), (error: Error) => {
          assert.match(error.message, /^Cannot ingest into "Position": /, JSON.stringify(options));
          return true;
        });
      }
      const numbers: unknown = [1, 2];
      await assert.rejects(table.ingestTsv(numbers as Iterable<string>), { code: "bad_argument" });
      const nothing: unknown = 5;
      await assert.rejects(table.ingestTsv(nothing as string), { code: "bad_argument" });
    }));
});
