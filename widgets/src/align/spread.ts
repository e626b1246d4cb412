// Cosine against margin, and what other thresholds would call shared.
import { slider } from "../core/controls.ts";
import { button, h, setText } from "../core/dom.ts";
import { count, percent } from "../core/format.ts";
import { lines, type Lines } from "../core/lines.ts";
import { scatter, type Scatter } from "../core/scatter.ts";
import type { Shell } from "../core/shell.ts";
import { binOf, dividedAt, fromEach, numbers, type AlignData } from "./data.ts";
import { fixed, margin } from "./features.ts";
import { kindName } from "./kinds.ts";
import type { Explorer } from "./state.ts";

const COLOURED = 8;

interface Cloud {
  ids: Int32Array;
  partner: Int32Array;
  x: Float32Array;
  y: Float32Array;
  codes: Uint8Array;
}

/** Every matched pair that the page holds. */
export function cloud(explorer: Explorer): Cloud {
  const parts = explorer.whole("a") ? [explorer.tables.a] : [explorer.tables.a, explorer.data.points];
  const found: [number, number, number, number, number][] = [];
  for (const part of parts) {
    const [ids, partners, cosines, margins, kinds] = ["feature", "partner", "cosine", "margin", "class"].map((name) => numbers(part, name));
    for (let i = 0; i < part.rows; i++) if (partners![i]! >= 0) found.push([ids![i]!, partners![i]!, cosines![i]!, margins![i]!, kinds![i]!]);
  }
  found.sort((one, two) => one[0] - two[0]);
  return {
    ids: Int32Array.from(found, (point) => point[0]),
    partner: Int32Array.from(found, (point) => point[1]),
    x: Float32Array.from(found, (point) => point[2]),
    y: Float32Array.from(found, (point) => point[3]),
    codes: Uint8Array.from(found, (point) => (point[4] < COLOURED ? point[4] : 255)),
  };
}

/** `onChosen` hears which features of a were chosen together. */
export function margins(explorer: Explorer, shell: Shell, onChosen: (ids: number[]) => void): { element: HTMLElement; plot: Scatter } {
  const { data } = explorer;
  const { word } = explorer;
  let points = cloud(explorer);
  const names = data.classes.slice(0, COLOURED);
  const told = h("div", { class: "told" });
  const plot = scatter({
    surface: shell,
    label: `${word} against margin`,
    height: 400,
    ...points,
    colour: { kind: "category", codes: points.codes, names },
    xLabel: `${word} with the partner`,
    yLabel: "margin: what the matching would lose without the pair",
    guides: [{ x: data.card.thresholds.tau, label: "τ" }, ...(data.card.null_line === null ? [] : [{ x: data.card.null_line, label: "chance" }])],
    tip: (i) => `a ${points.ids[i]} – b ${points.partner[i]}\n${kindName(points.codes[i] === 255 ? null : points.codes[i]!, data.classes)}\n${word} ${fixed(points.x[i])}, margin ${margin(points.y[i])}`,
    onSelect: (ids) => {
      if (ids.length === 1) {
        const at = points.ids.indexOf(ids[0]!);
        explorer.focus({ a: ids[0]!, b: points.partner[at]! });
      } else if (ids.length > 1) explorer.source.select({ of: "features", ids: [...ids] });
      onChosen(ids.length > 1 ? ids : []);
      tell(ids.length);
    },
  });
  const tell = (chosen = 0) => {
    const held = explorer.whole("a") ? "" : ` The page holds ${count(points.ids.length)} of ${count(data.card.n_pairs)} pairs; the kernel has the rest.`;
    const some = chosen > 1 ? ` ${count(chosen)} chosen: the table of features shows only these.` : " Drag a box to choose several.";
    setText(told, `At the lower end a partner is often arbitrary: a pair with a margin of 0 may be swapped for another at no loss.${some}${held}`);
  };
  explorer.on("tables", () => {
    points = cloud(explorer);
    plot.set({ ...points, colour: { kind: "category", codes: points.codes, names } });
    tell();
  });
  const mark = () => plot.select(explorer.chosen("a"));
  explorer.on("pair", mark);
  mark();
  tell();
  return { element: h("div", {}, plot.element, told), plot };
}

/** Share of the features of each side that are shared at every threshold, and of pairs that reach it. */
export function curves(data: AlignData): { x: Float64Array; a: Float64Array; b: Float64Array; pairs: Float64Array } {
  const { bins } = data.counts;
  const first = binOf(0, bins);
  const x = Float64Array.from({ length: bins - first + 1 }, (_, i) => Number((-1 + (2 * (first + i)) / bins).toFixed(6)));
  const share = (counts: Int32Array, whole: number) => fromEach(counts).subarray(first).map((n) => (whole > 0 ? n / whole : NaN));
  const { n_a: a, n_b: b, n_pairs: pairs } = data.card;
  return { x, a: share(data.counts.a, a), b: share(data.counts.b, b), pairs: share(data.counts.pairs, pairs) };
}

export function threshold(explorer: Explorer, shell: Shell): { element: HTMLElement; plot: Lines } {
  const { data } = explorer;
  const { card } = data;
  const { word } = explorer;
  const { x, a, b, pairs } = curves(data);
  const told = h("div", { class: "told counts", role: "status" });
  const marks = (tau: number) => [...(card.null_line === null ? [] : [{ at: card.null_line, label: "chance, 99 %" }]), { at: tau, label: `τ = ${tau}` }];
  const plot = lines({
    surface: shell,
    label: "Share of features that are shared, by threshold",
    height: 300,
    x,
    series: [
      { label: "shared, of a", y: a },
      { label: "shared, of b", y: b },
      { label: "pairs at least as similar", y: pairs },
    ],
    marks: marks(card.thresholds.tau),
    xLabel: `threshold τ of ${word}`,
    yLabel: "share",
    yRange: [0, 1],
    text: percent,
    onPick: (at) => {
      tau.set(Math.max(0, Math.min(1, Math.round(at * 200) / 200)));
      tell(tau.value);
    },
  });
  const tau = slider({ label: "τ", low: 0, high: 1, step: 2 / data.counts.bins, value: card.thresholds.tau, text: (value) => value.toFixed(3), onChange: (value) => tell(value) });
  const back = button(`As aligned (${card.thresholds.tau})`, () => {
    tau.set(card.thresholds.tau);
    tell(card.thresholds.tau);
  });
  const tell = (at: number) => {
    const words = (["a", "b"] as const).map((side) => {
      const { shared, rotated } = dividedAt(data.counts[side], at);
      const whole = side === "a" ? card.n_a : card.n_b;
      return `${side}: ${count(shared)} shared (${percent(whole ? shared / whole : NaN)}), ${count(rotated)} rotated`;
    });
    const reach = fromEach(data.counts.pairs)[binOf(at, data.counts.bins)]!;
    const low = card.null_line !== null && at < card.null_line ? " Below the line of chance a threshold says nothing." : "";
    setText(told, `${words.join(" · ")} · ${count(reach)} of ${count(card.n_pairs)} pairs at least ${at.toFixed(3)}.${low}`);
    plot.set({ marks: marks(Number(at.toFixed(3))) });
  };
  tell(card.thresholds.tau);
  const why = h("div", { class: "told" }, "Shared are features that are each other's nearest, at τ or above; those below it count as rotated. The other classes do not depend on τ.");
  return { element: h("div", {}, h("div", { class: "filters" }, tau.element, back), plot.element, told, why), plot };
}
