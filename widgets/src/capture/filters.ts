// Which probes are shown: words, and chips of the metadata keys that are categories.
import type { Filter } from "../core/columns.ts";
import { chips, disclosure, searchBox } from "../core/controls.ts";
import { h } from "../core/dom.ts";
import { count } from "../core/format.ts";
import type { CaptureModel, FieldInfo } from "./model.ts";

const SHOWN = 12; // levels as chips; a key with more shows its most frequent ones
const OPEN = 2; // keys in sight; the others wait in a drawer
const MISSING = "\u0000missing";

export interface Filters {
  readonly search: HTMLElement;
  readonly chips: HTMLElement;
  readonly value: Filter;
}

export function filters(model: CaptureModel, changed: (filter: Filter) => void): Filters {
  let text = "";
  const among = new Map<string, string[]>();
  const value = (): Filter => {
    const keys = [...among].filter(([, levels]) => levels.length > 0);
    return {
      ...(text.trim() ? { text } : {}),
      ...(keys.length > 0 ? { among: Object.fromEntries(keys.map(([name, levels]) => [name, levels.map((level) => (level === MISSING ? null : level))])) } : {}),
    };
  };
  const search = searchBox({
    label: "Search probes",
    onInput: (words) => {
      text = words;
      changed(value());
    },
  });
  const group = (field: FieldInfo): HTMLElement =>
    chips({
      label: field.name,
      values: levelCounts(model, field).slice(0, SHOWN),
      onChange: (levels) => {
        among.set(field.name, levels);
        changed(value());
      },
    }).element;
  const categories = model.digest.fields.filter((field) => field.kind === "category" && (field.carried || model.live) && field.levels.length > 0);
  const row = h("div", { class: "filters" }, ...categories.slice(0, OPEN).map(group));
  const rest = categories.slice(OPEN);
  if (rest.length > 0) row.append(disclosure({ summary: `${count(rest.length)} more to filter by`, body: () => h("div", { class: "filters" }, ...rest.map(group)) }));
  return {
    search: search.element,
    chips: row,
    get value() {
      return value();
    },
  };
}

/** Levels with how many of the embedded probes have them; of a part of the probes without counts, which would mislead. */
export function levelCounts(model: CaptureModel, field: FieldInfo): { value: string; label?: string; count?: string }[] {
  const codes = model.digest.codes[model.digest.fields.indexOf(field)];
  if (!codes || !model.complete) return field.levels.map((level) => ({ value: level }));
  const counts = new Array<number>(field.levels.length + 1).fill(0);
  for (const code of codes) counts[code]!++;
  const levels: { value: string; label?: string; count?: string }[] = field.levels.map((level, at) => ({ value: level, count: count(counts[at + 1]!) }));
  if (counts[0]! > 0) levels.push({ value: MISSING, label: "missing", count: count(counts[0]!) });
  return levels;
}
