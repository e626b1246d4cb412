// Inlined after results that are shown as tables: every table marked for it can be sorted and filtered.
import { upgradeResults } from "../core/host.ts";
import { upgrade } from "../table.ts";

upgradeResults("table", upgrade);
