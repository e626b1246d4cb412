// The features of a diff as columns: joined from pages, cut by the two levels, filtered and counted.
import type { Columns, Filter } from "../core/columns.ts";
import { decode, type Packed } from "./codes.ts";

/** What makes a feature count as changed: q at most, |Δ| at least. Before version 0.2 there is no q. */
export interface Levels {
  q: number | null;
  threshold: number;
}

export type Kind = "all" | "changed" | "more" | "less" | "appeared" | "gone" | "untested";

export const KINDS: { kind: Kind; label: string; title: string }[] = [
  { kind: "all", label: "All", title: "every feature" },
  { kind: "changed", label: "Changed", title: "q and |Δ| reach both levels" },
  { kind: "more", label: "More", title: "its mean activation went up" },
  { kind: "less", label: "Less", title: "its mean activation went down" },
  { kind: "appeared", label: "Appeared", title: "fires in the checkpoint only" },
  { kind: "gone", label: "Gone", title: "fires in the base only" },
  { kind: "untested", label: "Untested", title: "differs on too few probes to be tested" },
];

/** Between the tokens of a feature. */
export const SEPARATOR = "\u0001";
const TINY = 1e-38; // more than nothing, in ranges that include their ends

/**
 * One row a feature: `feature`, `name` (tokens on which it changes most), `mean_base`,
 * `mean_checkpoint`, `delta`, `size` (|Δ|), `rate_base`, `rate_checkpoint`, and since version 0.2 `probes` and `q`.
 */
export function featureColumns(packed: Packed, words: Record<string, string[]> = {}): Columns {
  const { rows, first, numbers, codes } = packed;
  const feature = numbers["feature"] ?? Int32Array.from({ length: rows }, (_, i) => (first ?? 0) + i);
  const delta = numbers["delta"] as Float32Array;
  const columns: Columns["columns"] = { feature: feature as Int32Array };
  const name: (string | null)[] = new Array(rows);
  for (let i = 0; i < rows; i++) {
    const said = words[feature[i]!];
    name[i] = said ? said.join(SEPARATOR) : null;
  }
  columns["name"] = name;
  for (const [key, coded] of Object.entries(codes)) columns[key] = decode(coded);
  columns["delta"] = delta;
  columns["size"] = delta.map(Math.abs);
  if (numbers["probes"]) columns["probes"] = numbers["probes"];
  return { rows, columns };
}

/** Pages end to end. */
export function joined(pages: Columns[]): Columns {
  const [one] = pages;
  if (!one || pages.length === 1) return one ?? { rows: 0, columns: {} };
  const rows = pages.reduce((sum, page) => sum + page.rows, 0);
  const columns: Columns["columns"] = {};
  for (const [name, column] of Object.entries(one.columns)) {
    if (Array.isArray(column)) columns[name] = pages.flatMap((page) => page.columns[name] as (string | null)[]);
    else {
      // Counts of probes may need two bytes on one page and four on the next.
      const wide = pages.some((page) => page.columns[name] instanceof Int32Array);
      const whole = wide ? new Int32Array(rows) : new (column.constructor as Float32ArrayConstructor)(rows);
      let at = 0;
      for (const page of pages) {
        whole.set(page.columns[name] as Float32Array, at);
        at += page.rows;
      }
      columns[name] = whole;
    }
  }
  return { rows, columns };
}

/** Which rows count as changed, 1 or 0. */
export function changedRows({ rows, columns }: Columns, { q, threshold }: Levels): Uint8Array {
  const size = columns["size"] as Float32Array | undefined;
  const own = columns["q"] as Float32Array | undefined;
  const [least, most] = [Math.fround(threshold), limit(q)];
  const found = new Uint8Array(rows);
  // Infinity and NaN are no changes: nothing can be said of them.
  for (let i = 0; i < rows; i++) found[i] = Number(size![i]! >= least && size![i]! < Infinity && (q === null || !own || own[i]! <= most));
  return found;
}

export function howMany(mask: Uint8Array): number {
  let sum = 0;
  for (const one of mask) sum += one;
  return sum;
}

/** q is coded with a step of about a thousandth, and the card's own level lies on it but for rounding. */
function limit(q: number | null): number {
  return q === null ? Infinity : Math.fround(q * (1 + 1e-5));
}

/** Conditions of the table's rows: what kind, at which levels, and the words or feature numbers that were typed. */
export function filterOf(kind: Kind, levels: Levels, typed: string): Filter {
  const filter: Filter = {};
  const ranges: NonNullable<Filter["ranges"]> = {};
  if (kind === "changed") {
    ranges["size"] = [Math.fround(levels.threshold), Number.MAX_VALUE];
    if (levels.q !== null) ranges["q"] = [null, limit(levels.q)];
  }
  if (kind === "more") ranges["delta"] = [TINY, null];
  if (kind === "less") ranges["delta"] = [null, -TINY];
  if (kind === "appeared") [ranges["rate_base"], ranges["rate_checkpoint"]] = [[0, 0], [TINY, null]];
  if (kind === "gone") [ranges["rate_base"], ranges["rate_checkpoint"]] = [[TINY, null], [0, 0]];
  if (Object.keys(ranges).length > 0) filter.ranges = ranges;
  if (kind === "untested") filter.among = { q: [null] };
  const numbers = typed.split(/[\s,;]+/).filter(Boolean);
  if (numbers.length > 0 && numbers.every((word) => /^\d+$/.test(word))) filter.among = { ...filter.among, feature: numbers.map(Number) };
  else if (typed.trim()) filter.text = typed;
  return filter;
}

/** "180 of 1,024 changed" needs a count of what the page does not hold: then it is only a least number. */
export function counted(changed: number, complete: boolean, levels: Levels, card: { n_changed: number; threshold: number; fdr?: number | null }): { n: number; least: boolean } {
  if (complete) return { n: changed, least: false };
  const stricter = levels.threshold >= card.threshold && (levels.q ?? 0) <= (card.fdr ?? 0);
  return { n: changed, least: !(stricter && changed <= card.n_changed) };
}
