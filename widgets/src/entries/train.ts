// Inlined after the static HTML of a finished training.
import { upgradeResults } from "../core/host.ts";
import { upgrade } from "../monitor.ts";

upgradeResults("train", upgrade);
