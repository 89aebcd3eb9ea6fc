/** Builds indexes and drops them, writes meanwhile, and never stops. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { Item } from "../support/tables.ts";
import { readArguments, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

using keeper = Aerostore.open(directory, { ...options, tables: [Item] });
const items = keeper.table("Item");
let dropped = false;
tell("ready");
for (let i = 0;; i++) {
  if (dropped) Aerostore.open(directory, { ...options, tables: [Item] }).close();
  items.updateWhere(`-compare {{range id ${i % 5000} ${i % 5000 + 50}}}`, { n: i % 1000 });
  for (const columns of ["n", ["s", "n"]]) keeper.dropIndex("Item", columns);
  dropped = true;
  items.updateWhere(`-compare {{range id ${i % 5000} ${i % 5000 + 50}}}`, { n: (i + 1) % 1000 });
}
