// Parts of the comparison that need no state: what the captures are, and the colours of distances.
import { h } from "../core/dom.ts";
import { count } from "../core/format.ts";
import type { HeatScale } from "../core/heatmap.ts";
import type { Matrix } from "../core/unpack.ts";
import { ends } from "./common.ts";
import type { ComparisonDigest } from "./pair_model.ts";

const ROWS: [string, string][] = [
  ["model", "model"], ["checkpoint", "checkpoint"], ["site", "site"], ["position", "position"], ["probes", "probes"], ["layers", "layers"],
  ["d_model", "d_model"], ["matched_by", "matched by"], ["path", "folder"],
];

/** A column a capture; what differs from the first is told by weight and mark, not by colour alone. */
export function sidesTable({ captures }: Pick<ComparisonDigest, "captures">): HTMLElement {
  const head = h("tr", {}, h("td"), ...captures.map((row) => h("th", { scope: "col" }, String(row["capture"]))));
  const body = ROWS.filter(([key]) => captures.some((row) => row[key] !== null && row[key] !== undefined)).map(([key, label]) => {
    const first = captures[0]?.[key];
    const cells = captures.map((row, at) => {
      const differs = at > 0 && row[key] !== first && key !== "matched_by" && key !== "path";
      const value = row[key];
      const text = value === null || value === undefined ? (key === "matched_by" && at === 0 ? "" : "–") : typeof value === "number" ? count(value) : value;
      return h("td", { class: differs ? "differs" : null, title: differs ? "differs from the first" : null }, differs ? `≠ ${text}` : text);
    });
    return h("tr", {}, h("th", { scope: "row" }, label), ...cells);
  });
  return h("div", { class: "sides" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
}

/** Columns of a distance matrix, from 0 to the largest: with the same scale at every layer. */
export function scaledDistance({ values, shape: [rows, stride] }: Matrix<Float32Array>, columns: Uint32Array): { values: Float32Array; scale: HeatScale } {
  const kept = new Float32Array(rows * columns.length);
  for (let row = 0; row < rows; row++) columns.forEach((place, col) => (kept[row * columns.length + col] = values[row * stride + place]!));
  const high = ends(kept)?.[1] ?? 0;
  return { values: kept, scale: { low: 0, high: high > 0 ? high : 1, label: "1 − cosine" } };
}
