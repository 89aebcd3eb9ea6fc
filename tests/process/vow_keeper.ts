/** Takes part in keeping the vows that it is told, one after the other. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Account } from "../support/actors.ts";
import { keep, randomOf, vows } from "../support/vows.ts";
import { receive, tell } from "./channel.ts";

/** One vow. */
interface Order {
  readonly directory: string;
  readonly options: OpenOptions;
  readonly name: string;
  readonly number: number;
  readonly ms: number;
}

tell("ready");
for await (const line of receive()) {
  const { directory, options, name, number, ms } = line as Order;
  const vow = vows.find((candidate) => candidate.name === name);
  if (vow === undefined) throw new Error(`There is no vow ${name}`);
  using db = Aerostore.open(directory, { ...options, tables: [Account] });
  if (number === 0) vow.prepare(db);
  tell("prepared");
  // Continues when the others are there as well.
  await new Promise((resolve) => setTimeout(resolve, 5));
  tell(keep(vow, { db, number, random: randomOf(number) }, ms));
}
