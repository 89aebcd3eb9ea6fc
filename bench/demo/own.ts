import process from "node:process";
import { Aerostore, defineTable, t } from "../../mod.ts";

const Guest = defineTable("Guest", {
  name: t.text(32).primaryKey(),
  seen: t.timestamp(),
});
using db = Aerostore.open("/tmp/guests", { tables: [Guest], size: "64MiB" });
const guests = db.table(Guest);

guests.upsert({ name: process.argv[2] ?? "nobody", seen: Date.now() });
for (const { name, seen } of guests.search("-sort -seen -limit 10")) {
  console.log(new Date(seen).toISOString(), name);
}
