import process from "node:process";
import { Aerostore, defineTable, t } from "../../mod.ts";

const Visitor = defineTable("Visitor", { name: t.text(32).primaryKey(), seen_at: t.timestamp() });
using db = Aerostore.open("/tmp/visitors", { tables: [Visitor], size: "64MiB" });
const visitors = db.table(Visitor);

visitors.upsert({ name: process.argv[2] ?? "nobody", seen_at: Date.now() });
for (const { name, seen_at } of visitors.search("-sort -seen_at -limit 10")) {
  console.log(new Date(seen_at).toISOString(), name);
}
