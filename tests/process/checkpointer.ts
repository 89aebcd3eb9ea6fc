/** Writes checkpoints until it is killed, and prints after each how many there were. */

import { Aerostore, AerostoreError, type OpenOptions } from "../../mod.ts";
import { readArguments, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

const db = Aerostore.open(directory, options);
tell(0);
for (let count = 1;; count++) {
  try {
    db.checkpoint();
  } catch (error) {
    // A killed process of this program holds the right to write one for a moment longer.
    if (!(error instanceof AerostoreError && error.code === "busy")) throw error;
  }
  tell(count);
}
