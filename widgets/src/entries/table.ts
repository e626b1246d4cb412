// Inlined after results that are shown as tables: every table marked for it can be sorted and filtered.
import { upgradeAll } from "../core/upgrade.ts";
import { upgrade } from "../table.ts";

upgradeAll("table", upgrade);
