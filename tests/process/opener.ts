/** Opens a database as it is told, and tells how that went. */

import { Aerostore, AerostoreError, type OpenOptions } from "../../mod.ts";
import { readArguments, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

try {
  using db = Aerostore.open(directory, options);
  tell({ tables: db.tableNames });
} catch (error) {
  if (!(error instanceof AerostoreError)) throw error;
  tell({ code: error.code, message: error.message });
}
