/** Changes the same few rows as others do, in transactions that it may give up, until its death. */

import fc from "fast-check";
import { Aerostore, type OpenOptions } from "../../mod.ts";
import { type Flight, Indexed } from "../support/indexed_flight.ts";
import { rowsArbitrary } from "../support/query_arbitrary.ts";
import { readArguments, tell } from "./channel.ts";

const { directory, options, seed } = readArguments<{
  directory: string;
  options: OpenOptions;
  seed: number;
}>();

const columns = Object.keys(Indexed.columns);
const batches = fc.sample(rowsArbitrary, { seed, numRuns: 200 }).map((rows) =>
  rows.map((row) =>
    Object.fromEntries(columns.map((name) => [name, row[name] ?? null])) as unknown as Flight
  )
);

using db = Aerostore.open(directory, { ...options, tables: [Indexed] });
tell("ready");
for (let round = 0;; round++) {
  const rows = batches[round % batches.length] ?? [];
  const choice = (round * 7 + seed) % 8;
  const transaction = db.begin();
  try {
    const flights = transaction.table(Indexed);
    for (const row of rows) flights.upsert(row);
    transaction.savepoint("rows");
    if (choice % 2 === 0) {
      flights.query().where("altitude", ">=", 1).update({ altitude: { increment: -1 } });
      flights.query().where("typ", "=", "B738").update({ typ: "A", lat: null });
    }
    if (choice % 3 === 0) transaction.rollbackTo("rows");
    if (choice === 1) flights.query().where("origin", "=", "SEA").delete();
    if (choice === 5) transaction.abort();
    else transaction.commit();
  } catch (error) {
    // Another one was first, and the transaction is gone.
    if ((error as { code?: string }).code !== "serialization_conflict") throw error;
  }
  if (round % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}
