/** Bun gives each test five seconds; tests that start processes on a busy machine need longer. */

import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(60_000);
