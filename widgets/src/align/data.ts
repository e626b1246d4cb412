// What the explorer of an alignment holds, and what follows from it: pure functions, tested without a page.
import type { SaeAlignCard } from "../cards.gen.ts";
import type { Columns } from "../core/columns.ts";
import { count } from "../core/format.ts";
import type { Matrix } from "../core/unpack.ts";

export type SideName = "a" | "b";

/** A feature of each dictionary; null where there is none. */
export interface Pair {
  a: number | null;
  b: number | null;
}

export interface Note {
  a: number | null;
  b: number | null;
  verdict: string;
  note: string;
  at: string;
}

export interface SideData {
  /** Features of the dictionary, and those that took part. */
  total: number;
  took: number;
  /** The most telling features, or all of few. */
  table: Columns;
  /** Nearest features of the other side, row by row of the table. */
  near: { ids: Matrix<Int32Array>; cosines: Matrix<Float32Array> };
  members: Record<string, string>;
}

export interface MapData {
  shape: [number, number];
  orders: string[];
  matching?: Matrix<Uint8Array>;
  clusters?: { values: Matrix<Uint8Array>; most: number; sizes_a: Int32Array; sizes_b: Int32Array };
  listed?: { a: Int32Array; b: Int32Array };
}

export interface Counts {
  bins: number;
  pairs: Int32Array;
  a: Int32Array;
  b: Int32Array;
}

/** aquin_nb/widgets/views/align.py `align_data`. */
export interface AlignData {
  card: SaeAlignCard;
  meanings: Record<string, string>;
  classes: string[];
  map: MapData;
  counts: Counts;
  a: SideData;
  b: SideData;
  points: Columns;
  annotations: Note[];
  trouble: string;
  reading: boolean;
}

export interface Neighbour {
  feature: number;
  cosine: number;
  /** Class, partner and nearest feature on this side, as far as they are known. */
  kind: number | null;
  partner: number | null;
}

/** A feature as the inspector shows it; `row` is null while nothing but its number is known. */
export interface Detail {
  feature: number;
  row: Record<string, number | null> | null;
  near: Neighbour[];
  members: number[];
  siblings: number[];
}

/** The kernel's answer to `pair`. */
export interface PairAnswer {
  a: SideAnswer | null;
  b: SideAnswer | null;
  cosine: number | null;
}

interface SideAnswer {
  row: Columns;
  near: Columns;
  cosines: Float32Array;
  members: Int32Array;
  siblings: Int32Array;
}

export const VERDICTS = ["", "accepted", "flagged", "noted"] as const;

/** "1 feature", "2,304 features". */
export function some(n: number, what: string): string {
  return `${count(n)} ${what}${n === 1 ? "" : "s"}`;
}

export function other(side: SideName): SideName {
  return side === "a" ? "b" : "a";
}

export function pairKey({ a, b }: Pair): string {
  return `${a ?? ""}:${b ?? ""}`;
}

/** 0 for nothing said, 1 accepted, 2 flagged, 3 only a remark: a number column sorts and filters. */
export function verdictCode(note: Note | undefined): number {
  return note ? (note.verdict === "accepted" ? 1 : note.verdict === "flagged" ? 2 : 3) : 0;
}

/** The column `verdict` of a table, from what was said of each feature and its partner, or of the feature alone. */
export function verdicts(table: Columns, side: SideName, notes: ReadonlyMap<string, Note>): Uint8Array {
  const found = new Uint8Array(table.rows);
  if (notes.size === 0) return found;
  const [features, partners] = [numbers(table, "feature"), numbers(table, "partner")];
  for (let i = 0; i < table.rows; i++) {
    const [own, partner] = [features[i]!, partners[i]! < 0 ? null : partners[i]!];
    const pair = side === "a" ? { a: own, b: partner } : { a: partner, b: own };
    found[i] = verdictCode(notes.get(pairKey(pair)));
  }
  return found;
}

/** The column `near` that the table is sorted by at first: cosine of the nearest feature, missing for dead ones. */
export function weakness(table: Columns, dead: number): Float32Array {
  const kinds = numbers(table, "class");
  return Float32Array.from(numbers(table, "nearest_cosine"), (cosine, i) => (kinds[i] === dead ? NaN : cosine));
}

export function numbers(table: Columns, name: string): Int32Array | Float32Array | Uint8Array {
  return (table.columns[name] ?? new Int32Array(0)) as Int32Array;
}

/** Row of a feature; the table is sorted by it. */
export function rowOf(table: Columns, feature: number): number {
  const features = numbers(table, "feature");
  let [low, high] = [0, table.rows - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (features[middle] === feature) return middle;
    if (features[middle]! < feature) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export function rowNumbers(table: Columns, row: number): Record<string, number | null> {
  const pick = (value: unknown) => (typeof value === "number" && !Number.isNaN(value) ? value : null);
  return Object.fromEntries(Object.entries(table.columns).map(([name, column]) => [name, pick(column[row])]));
}

/** What the page itself knows of a feature. */
export function embeddedDetail(data: AlignData, side: SideName, feature: number, table: Columns): Detail {
  const here = data[side];
  const at = rowOf(here.table, feature);
  const row = rowOf(table, feature);
  const near: Neighbour[] = [];
  const theirs = data[other(side)].table;
  const [ids, cosines, k] = [here.near.ids.values, here.near.cosines.values, here.near.ids.shape[1]];
  for (let i = 0; at >= 0 && i < k; i++) {
    const id = ids[at * k + i]!;
    if (id < 0) continue;
    const known = rowOf(theirs, id);
    const kind = known < 0 ? null : numbers(theirs, "class")[known]!;
    const partner = known < 0 ? null : numbers(theirs, "partner")[known]!;
    near.push({ feature: id, cosine: cosines[at * k + i]!, kind, partner });
  }
  const found = row < 0 ? null : rowNumbers(table, row);
  const parent = found?.["parent"] ?? -1;
  return {
    feature,
    row: found,
    near,
    members: list(here.members[feature]),
    siblings: parent >= 0 ? list(data[other(side)].members[parent]) : [],
  };
}

export function answeredDetail(answer: SideAnswer, feature: number): Detail {
  const { row, near, cosines, members, siblings } = answer;
  return {
    feature,
    row: rowNumbers(row, 0),
    near: Array.from(numbers(near, "feature"), (id, i) => ({
      feature: id,
      cosine: cosines[i]!,
      kind: numbers(near, "class")[i]!,
      partner: numbers(near, "partner")[i]!,
    })),
    members: [...members],
    siblings: [...siblings],
  };
}

function list(text: string | undefined): number[] {
  return text ? text.split(" ").map(Number) : [];
}

/** Counts of the bins from each bin on: how many are at least as large as its lower edge. */
export function fromEach(counts: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(counts.length + 1);
  for (let i = counts.length - 1; i >= 0; i--) sums[i] = sums[i + 1]! + counts[i]!;
  return sums;
}

/** Bin whose lower edge is a threshold between -1 and 1. */
export function binOf(threshold: number, bins: number): number {
  return Math.max(0, Math.min(bins, Math.round(((threshold + 1) * bins) / 2)));
}

/**
 * Features that would be shared, and those that would be rotated, at another tau: both are each other's nearest above the
 * null line, and only tau divides them.
 */
export function dividedAt(counts: ArrayLike<number>, tau: number): { shared: number; rotated: number } {
  const sums = fromEach(counts);
  const shared = sums[binOf(tau, counts.length)]!;
  return { shared, rotated: sums[0]! - shared };
}

/** Fewer, wider bins from `low` on; `each` old bins make a new one. */
export function rebinned(counts: ArrayLike<number>, each: number, low: number): { edges: Float64Array; counts: Float64Array } {
  const first = Math.floor(binOf(low, counts.length) / each);
  const n = Math.ceil(counts.length / each) - first;
  const made = new Float64Array(n);
  for (let i = 0; i < n; i++) for (let j = 0; j < each; j++) made[i]! += counts[(first + i) * each + j] ?? 0;
  const edges = Float64Array.from({ length: n + 1 }, (_, i) => Number((-1 + (2 * each * (first + i)) / counts.length).toFixed(6)));
  return { edges, counts: made };
}

/** Largest of the first bins that hold nothing, as a cosine: where a histogram may begin. */
export function lowestFilled(counts: ArrayLike<number>): number {
  let first = 0;
  while (first < counts.length && counts[first] === 0) first++;
  return first >= counts.length ? 0 : -1 + (2 * first) / counts.length;
}

/** "17", "a 17" or "b17": a feature of one side; null for anything else or out of range. */
export function asked(text: string, fallback: SideName, totals: Record<SideName, number>): { side: SideName; feature: number } | null {
  const found = /^\s*([ab])?\s*#?(\d{1,9})\s*$/i.exec(text);
  if (!found) return null;
  const side = (found[1]?.toLowerCase() as SideName | undefined) ?? fallback;
  const feature = Number(found[2]);
  return feature < totals[side] ? { side, feature } : null;
}

/** Mean cosines of clusters as one value a cell of a square picture, each cluster as wide as it has features. */
export function clusterPicture(of: NonNullable<MapData["clusters"]>, size = 192): { values: Uint8Array; shape: [number, number] } {
  const [rows, cols] = [spread(of.sizes_a, size), spread(of.sizes_b, size)];
  const k = of.values.shape[1];
  const values = new Uint8Array(rows.length * cols.length);
  rows.forEach((i, r) => cols.forEach((j, c) => (values[r * cols.length + c] = of.values.values[i * k + j]!)));
  return { values, shape: [rows.length, cols.length] };
}

/** Cluster at each of `size` even places along a side. */
function spread(sizes: Int32Array, size: number): number[] {
  const total = sizes.reduce((sum, n) => sum + n, 0);
  const places = Math.max(1, Math.min(size, total));
  let [cluster, end] = [0, sizes[0] ?? 0];
  return Array.from({ length: places }, (_, i) => {
    const at = ((i + 0.5) * total) / places;
    while (at >= end && cluster < sizes.length - 1) end += sizes[++cluster]!;
    return cluster;
  });
}

/** Rows of pages put together; every page has the same columns. */
export function joinPages(pages: readonly Columns[]): Columns {
  const rows = pages.reduce((sum, page) => sum + page.rows, 0);
  const columns: Columns["columns"] = {};
  for (const [name, first] of Object.entries(pages[0]?.columns ?? {})) {
    const made = new (first.constructor as Float32ArrayConstructor)(rows);
    let at = 0;
    for (const page of pages) {
      made.set(page.columns[name] as Float32Array, at);
      at += page.rows;
    }
    columns[name] = made;
  }
  return { rows, columns };
}
