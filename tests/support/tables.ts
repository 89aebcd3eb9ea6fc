/**
 * Tables that several tests and their children use.
 *
 * @module
 */

import { defineTable, t } from "../../mod.ts";

/** Who is where. */
export const Presence = defineTable("Presence", {
  id: t.text(32).primaryKey(),
  place: t.text(16).nullable(),
  visits: t.int32().default(0),
});

/** A column of every type, and a key of text. */
export const Everything = defineTable("Everything", {
  id: t.text(40).primaryKey(),
  flag: t.bool().nullable(),
  code: t.text(8).nullable(),
  count: t.int32().default(7),
  total: t.int64().nullable(),
  exact: t.int64({ as: "bigint" }).nullable(),
  note: t.text(500).nullable(),
  ratio: t.float64().nullable(),
  seen: t.timestamp().nullable(),
  raw: t.bytes(16).nullable(),
  blob: t.bytes(300).default(Uint8Array.of(1, 2, 3)),
});

/** Money, by owners who meet in indexes. */
export const Account = defineTable("Account", {
  id: t.int32().primaryKey(),
  owner: t.text(8).index(),
  balance: t.int32().default(0),
  total: t.int64({ as: "bigint" }).default(0n),
  note: t.text(100).nullable(),
  code: t.text(8).nullable().unique(),
});

/** Many rows that are all written at once. */
export const Field = defineTable("Field", {
  id: t.int32().primaryKey(),
  round: t.int32(),
  serial: t.int32().unique(),
  hits: t.int32().default(0),
});

const item = { id: t.int32().primaryKey(), n: t.int32(), s: t.text(8) };

/** A table that may have been declared without indexes ... */
export const Indexless = defineTable("Item", item);

/** ... or with them. */
export const Item = defineTable("Item", { ...item, n: t.int32().index() }, {
  indexes: [["s", "n"]],
});
