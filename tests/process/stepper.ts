/** Runs the statements that it is sent, and answers each. */

import { type Step, Stepper } from "../support/actors.ts";
import { receive, tell } from "./channel.ts";

using stepper = new Stepper();
for await (const step of receive()) tell(stepper.run(step as Step));
