/** Opens a database, and prints before that, at each step of a recovery, and when it is open. */

import { Aerostore, type OpenOptions } from "../../mod.ts";
import { readArguments, receive, tell } from "./channel.ts";

const { directory, options } = readArguments<{ directory: string; options: OpenOptions }>();

tell("opening");
const db = Aerostore.open(directory, { ...options, onRecovery: ({ phase }) => tell(phase) });
tell("open");
for await (const _ of receive()) tell(db.stats().position);
