// Layers at a glance: norms along the depth, and a heat map of every probe at every layer.
import { segmented } from "../core/controls.ts";
import { h, setText, show } from "../core/dom.ts";
import { count, number } from "../core/format.ts";
import { heatmap, type HeatScale, type Heatmap } from "../core/heatmap.ts";
import { lines, type Lines } from "../core/lines.ts";
import { blank, type Shell } from "../core/shell.ts";
import { ends, Latest, layerTick, marked } from "./common.ts";
import type { CaptureModel, Heat, Metric } from "./model.ts";
import type { Filter } from "../core/columns.ts";

export interface NormsPanel {
  readonly element: HTMLElement;
  readonly plot: Lines;
}

export function normsPanel(shell: Shell, model: CaptureModel, onPick: (layer: number) => void): NormsPanel {
  const { median, max } = model.digest;
  const x = Float64Array.from(model.layers);
  const nearest = (value: number) => model.layers.reduce((best, one) => (Math.abs(one - value) < Math.abs(best - value) ? one : best), model.layers[0]!);
  const found = ends(max);
  const steep = found !== null && Math.min(...median) > 0 && found[1] > 20 * Math.min(...median);
  const plot = lines({
    surface: shell, label: "Norm by layer", height: 190, x, xLabel: "layer", yLabel: "norm", logY: steep, xText: layerTick,
    series: [{ label: "median", y: median }, { label: "largest", y: max }], onPick: (at) => onPick(nearest(at)),
  });
  const scale = segmented({
    label: "Scale of the norms", options: [{ value: "linear", label: "Linear" }, { value: "log", label: "Log" }], value: steep ? "log" : "linear",
    onChange: (value) => plot.set({ logY: value === "log" }),
  });
  const element = h("section", { class: "part", role: "group", "aria-label": "Norms" }, h("h4", {}, "Norms by layer"), h("div", { class: "controls" }, scale.element), plot.element);
  return { element, plot };
}

export interface HeatPanel {
  readonly element: HTMLElement;
  readonly plot: Heatmap;
  setFilter(filter: Filter): void;
  select(ids: readonly number[], layer: number): void;
  refresh(): void;
}

interface Options {
  shell: Shell;
  model: CaptureModel;
  onPick: (layer: number, probe: number) => void;
  onHover: (probe: number | null) => void;
}

export function heatPanel({ shell, model, onPick, onHover }: Options): HeatPanel {
  const latest = new Latest(shell);
  let metric: Metric = "norm";
  let filter: Filter = {};
  let selected: readonly number[] = [];
  let layer = -1;
  let heat: Heat | null = null;
  let places = new Map<number, number>();
  const plot = heatmap({
    surface: shell, label: "Layer by probe", height: 240, shape: [1, 1], overview: { values: new Float32Array([NaN]), shape: [1, 1] },
    scale: { low: 0, high: 1, label: "" }, xLabel: "probe", yLabel: "layer",
    onHover: (cell) => onHover(cell && heat ? (heat.ids[cell.col] ?? null) : null),
    onPick: (cell) => heat && onPick(model.layers[cell.row]!, heat.ids[cell.col]!),
  });
  const told = h("p", { class: "told" });
  const none = blank("empty", "");
  const mark = () => {
    const cols = selected.map((id) => places.get(id)).filter((col) => col !== undefined);
    plot.mark(marked(cols, Math.max(0, model.layers.indexOf(layer))));
  };
  const draw = () =>
    latest.run(async (signal) => {
      const found = await model.heat(metric, filter, signal);
      signal.throwIfAborted();
      heat = found;
      places = new Map(found ? Array.from(found.ids, (id, col) => [id, col]) : []);
      const empty = !found || found.ids.length === 0;
      show(plot.element, !empty);
      show(none, empty);
      if (empty) return setText(none.querySelector("p")!, found ? "No probe is left by the filter." : "No numbers of single probes were saved with the page.");
      const { scale, values } = scaled(found, metric);
      const [rows, cols] = found.values.shape;
      plot.set({
        shape: [rows, cols], overview: { values, shape: [rows, cols] }, scale,
        rowName: (row) => String(model.layers[row]), colName: (col) => String(found.ids[col]), note: (_row, col) => model.text(found.ids[col]!).slice(0, 160),
      });
      setText(told, found.total > cols ? `${count(cols)} of ${count(found.total)} probes, evenly spaced.` : "");
      mark();
    });
  const controls = h("div", { class: "controls" });
  const build = () => {
    const metrics = model.metrics;
    if (!metrics.includes(metric)) metric = "norm";
    const chooser = segmented({
      label: "What is shown", options: [{ value: "norm", label: "Norm" }, { value: "cosine", label: "Cosine to the mean" }].filter(({ value }) => metrics.includes(value as Metric)),
      value: metric, onChange: (value) => ((metric = value as Metric), draw()),
    });
    controls.replaceChildren(...(metrics.length > 1 ? [chooser.element] : []));
  };
  build();
  draw();
  return {
    element: h("section", { class: "part", role: "group", "aria-label": "Layer by probe" }, h("h4", {}, "Every probe at every layer"), controls, plot.element, none, told),
    plot,
    setFilter(next) {
      filter = next;
      draw();
    },
    select(ids, at) {
      [selected, layer] = [ids, at];
      mark();
    },
    refresh() {
      build();
      draw();
    },
  };
}

/** Norms grow from layer to layer by orders of magnitude: where they do, colours follow the logarithm. */
export function scaled(heat: Heat, metric: Metric): { scale: HeatScale; values: Float32Array } {
  const { values } = heat.values;
  if (metric === "cosine") return { values, scale: { low: -1, high: 1, map: "diverging", label: "cosine to the layer's mean" } };
  const positive = ends(values.filter((value) => value > 0));
  const whole = ends(values) ?? [0, 1];
  if (!positive || positive[1] <= 20 * positive[0]) return { values, scale: { low: Math.min(0, whole[0]), high: whole[1] || 1, label: "norm" } };
  const logs = values.map((value) => (Number.isNaN(value) ? NaN : Math.log10(Math.max(value, positive[0]))));
  return { values: logs, scale: { low: Math.log10(positive[0]), high: Math.log10(positive[1]), label: "norm (log)", text: (value) => number(10 ** value) } };
}
