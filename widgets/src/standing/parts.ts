// Dictionaries by the rows they were trained on and what they explain, and where activations went.
import { h } from "../core/dom.ts";
import { count, percent } from "../core/format.ts";
import { scatter, type Scatter } from "../core/scatter.ts";
import type { Surface } from "../core/shell.ts";

export interface Strength {
  name: string;
  rows: number;
  d_sae: number;
  explained_variance: number;
  held_out: boolean;
  dead_share: number | null;
  verdict: string | null;
}
export interface Volume {
  name: string;
  mode: string;
  training: number;
  held_out: number;
  unused: number;
  kept: number;
}
/** aquin_nb/widgets/views/sweep.py makes it. */
export interface StandingData {
  strengths: Strength[];
  volumes: Volume[];
  fates: Record<string, string>;
  counted: string;
  lines: { rows: number; explained_variance: number };
  problems: string[];
}

const VERDICTS = ["usable", "weak", "smoke test only", "no verdict"];
export const FATES = ["training", "held_out", "unused", "kept"] as const;
const LOWEST = -1; // of the explained variance that is drawn: what is far worse than the mean stands on the edge

/** In which of the four fields a dictionary lies. */
export function field({ rows, explained_variance }: Strength, lines: StandingData["lines"]): string {
  const [many, strong] = [rows >= lines.rows, explained_variance >= lines.explained_variance];
  if (strong) return many ? "usable, if few latents are dead" : "memorised";
  return many ? "enough rows, little explained" : "a smoke test";
}

export function strengthText(one: Strength, lines: StandingData["lines"]): string {
  const dead = one.dead_share === null ? "" : `, ${percent(one.dead_share)} dead`;
  return [
    one.name,
    `${percent(one.explained_variance)} of the variance explained, on ${one.held_out ? "held-out" : "training"} rows`,
    `${count(one.rows)} rows for ${count(one.d_sae)} latents${dead}`,
    `${one.verdict ?? "no verdict"} · ${field(one, lines)}`,
  ].join("\n");
}

/** The quadrant; `onSelect` gets places in `strengths`. */
export function quadrant(surface: Surface, { strengths, lines }: StandingData, onSelect?: (places: number[]) => void): Scatter {
  const names = VERDICTS.filter((verdict) => strengths.some((one) => (one.verdict ?? "no verdict") === verdict));
  return scatter({
    surface,
    label: `Explained variance of ${strengths.length} ${strengths.length === 1 ? "dictionary" : "dictionaries"} against rows of activations`,
    height: 320,
    xLabel: "rows of activations to train on",
    yLabel: "explained variance, 1 − FVU",
    logX: true,
    x: Float64Array.from(strengths, ({ rows }) => Math.max(1, rows)),
    y: Float64Array.from(strengths, ({ explained_variance }) => Math.max(LOWEST, explained_variance)),
    colour: { kind: "category", codes: Uint8Array.from(strengths, ({ verdict }) => names.indexOf(verdict ?? "no verdict")), names },
    guides: [
      { y: lines.explained_variance, label: `${percent(lines.explained_variance)}: what "usable" asks for` },
      { y: 0, label: "no better than the mean" },
      { y: 1 },
      { x: lines.rows, label: `${count(lines.rows)} rows: fewer can only be memorised` },
    ],
    tip: (place) => strengthText(strengths[place]!, lines),
    ...(onSelect && { onSelect }),
  });
}

/** One bar a result, cut by what became of its vectors, in proportion to the largest. */
export function volumes({ volumes: all, fates, counted }: StandingData): HTMLElement {
  const total = (one: Volume) => FATES.reduce((sum, fate) => sum + one[fate], 0);
  const most = Math.max(1, ...all.map(total));
  const used = FATES.filter((fate) => all.some((one) => one[fate] > 0));
  const rows = all.map((one) => {
    const parts = used.filter((fate) => one[fate] > 0);
    const bar = h("div", { class: "stack", style: `width:${Math.max(1, (100 * total(one)) / most)}%`, "aria-hidden": true }, ...parts.map((fate) => h("i", { class: fate, style: `flex:${one[fate]}`, title: `${fates[fate]}: ${count(one[fate])}` })));
    return h("tr", {}, h("th", { scope: "row" }, one.name, h("small", {}, one.mode)), h("td", { class: "wide" }, bar), ...used.map((fate) => h("td", {}, one[fate] > 0 ? count(one[fate]) : "–")), h("td", {}, count(total(one))));
  });
  const heads = used.map((fate) => h("th", { scope: "col" }, h("i", { class: `key ${fate}` }), fates[fate] ?? fate));
  return h(
    "div", { class: "volumes" },
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Vectors of"), h("td", { class: "wide" }), ...heads, h("th", { scope: "col" }, "All"))), h("tbody", {}, ...rows)),
    h("p", { class: "quiet" }, counted),
  );
}

/** The strengths as a table, for those who do not see the points. */
export function strengthColumns(strengths: readonly Strength[]) {
  return {
    rows: strengths.length,
    columns: {
      name: strengths.map(({ name }) => name),
      rows: Float64Array.from(strengths, ({ rows }) => rows),
      d_sae: Float64Array.from(strengths, ({ d_sae }) => d_sae),
      explained_variance: Float64Array.from(strengths, (one) => one.explained_variance),
      held_out: strengths.map(({ held_out }) => (held_out ? "held-out rows" : "training rows")),
      dead_share: Float64Array.from(strengths, ({ dead_share }) => dead_share ?? NaN),
      verdict: strengths.map(({ verdict }) => verdict),
    },
  };
}

