// The charts of a training run with one shared cursor: pointer, touch and keyboard move it over all of them.
import { BarChart, binText, medianRate } from "../core/bars.ts";
import { LineChart, type ChartColours } from "../core/chart.ts";
import { h, setText, show } from "../core/dom.ts";
import { count, number } from "../core/format.ts";
import type { AxisRule } from "../core/ticks.ts";
import { Numbers } from "./numbers.ts";
import type { Run } from "./run.ts";

interface Panel {
  label: string;
  long: string;
  rule: AxisRule;
  /** The series, and how its values read. */
  series(run: Run): Float64Array;
  text(value: number, run: Run): string;
}

const PANELS: readonly Panel[] = [
  { label: "Recon MSE", long: "Reconstruction error", rule: { scale: "log" }, series: (run) => run.history.column("recon_mse"), text: number },
  { label: "FVU", long: "Fraction of variance unexplained", rule: { scale: "linear", floor: 0, clip: 1 }, series: (run) => run.history.column("fvu"), text: number },
  { label: "L0", long: "Mean active latents a row", rule: { scale: "auto", span: 0.1 }, series: (run) => run.history.column("l0"), text: number },
  { label: "Dead", long: "Dead latents", rule: { scale: "linear", floor: 0 }, series: dead, text: (value, run) => (width(run) ? `${value !== 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)} %` : count(value)) },
];

const MEDIAN_PIXELS = 180; // below this the word would leave no room for the panel's own name

const width = (run: Run): number => run.card?.config?.d_sae ?? 0;

/** Dead latents as a percentage of all, or as their number while the width is not known. */
function dead(run: Run): Float64Array {
  const counts = run.history.column("dead");
  const all = width(run);
  return all ? counts.map((n) => (100 * n) / all) : counts;
}

export class Panels {
  readonly element: HTMLElement;
  readonly #grid = h("div", { class: "charts" });
  readonly #where = h("span");
  readonly #slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Cursor over the training curves" });
  readonly #charts: { panel: Panel; chart: LineChart; value: HTMLElement; scale: HTMLElement }[] = [];
  #cursor: number | null = null; // null follows the newest point
  #run: Run | null = null;
  readonly #redraw: () => void;
  readonly #bars = new BarChart();
  readonly #rates: HTMLElement;
  readonly #rate = h("b");
  readonly #which = h("span", { class: "scale" });
  #bin: number | null = null; // of the histogram, under the pointer
  readonly #numbers = new Numbers();
  #pixels = 0;

  constructor(redraw: () => void) {
    this.#redraw = redraw;
    for (const panel of PANELS) {
      const chart = new LineChart(panel.rule);
      const [value, scale] = [h("b"), h("span", { class: "scale" })];
      this.#charts.push({ panel, chart, value, scale });
      chart.canvas.setAttribute("role", "img");
      chart.canvas.addEventListener("pointermove", (event) => this.#point(chart, event));
      chart.canvas.addEventListener("pointerdown", (event) => this.#point(chart, event));
      chart.canvas.addEventListener("pointerleave", () => this.#move(null));
      this.#grid.append(h("figure", {}, h("figcaption", {}, h("span", { title: panel.long }, panel.label), scale, value), chart.canvas));
    }
    this.#bars.canvas.setAttribute("role", "img");
    const pointBin = (event: PointerEvent | null) => {
      this.#bin = event && this.#bars.binAt(event.clientX - this.#bars.canvas.getBoundingClientRect().left);
      this.#redraw();
    };
    for (const type of ["pointermove", "pointerdown"] as const) this.#bars.canvas.addEventListener(type, pointBin);
    this.#bars.canvas.addEventListener("pointerleave", () => pointBin(null));
    const long = "Latents by the share of rows they fire for, since the last point, and the median; the first bar also holds those that never fired";
    this.#rates = h("figure", {}, h("figcaption", {}, h("span", { title: long }, "Firing rate"), this.#which, this.#rate), this.#bars.canvas);
    this.#grid.append(this.#rates, this.#numbers.element);
    this.#slider.addEventListener("input", () => {
      const at = Number(this.#slider.value);
      this.#move(at >= Number(this.#slider.max) ? null : at);
    });
    this.element = h("div", {}, this.#grid, h("div", { class: "under" }, this.#where, this.#slider));
  }

  layout(pixels: number): void {
    this.#pixels = pixels;
  }

  /** Five charts in a row and the numbers below, or the numbers as a cell of their own, as the width allows. */
  #arrange(withRates: boolean): void {
    const wide = this.#pixels >= 960 ? "5" : this.#pixels >= 540 ? "3" : this.#pixels >= 400 ? "2" : "1";
    const narrow = this.#pixels >= 820 ? "4" : this.#pixels >= 440 ? "2" : "1";
    this.#grid.dataset["columns"] = withRates ? wide : narrow;
    show(this.#rates, withRates);
  }

  draw(run: Run, colours: ChartColours): void {
    this.#run = run;
    const rows = run.history.rows;
    if (this.#cursor !== null && this.#cursor >= rows) this.#cursor = null;
    const steps = run.history.column("step");
    const index = this.#cursor ?? rows - 1;
    const spoken: string[] = [];
    const density = run.card?.latest.density ?? [];
    this.#arrange(!run.over || density.length > 0); // a running run may get one yet: nothing moves when it does
    for (const { panel, chart, value, scale } of this.#charts) {
      const ys = panel.series(run);
      chart.resize();
      chart.setData(steps, ys);
      chart.draw(colours, this.#cursor, run.card?.resumed_from);
      const shown = index >= 0 ? panel.text(ys[index]!, run) : "–";
      setText(value, shown);
      setText(scale, chart.isLog ? "log" : "");
      spoken.push(`${panel.label} ${shown}`);
      chart.canvas.setAttribute("aria-label", rows > 0 ? `${panel.long} over steps, ${count(steps[0])} to ${count(steps[rows - 1])}; ${shown} at step ${count(steps[index])}` : `${panel.long}: no points yet`);
    }
    this.#drawRates(density, colours);
    this.#numbers.draw(run, index);
    this.#drawCursor(run, index, spoken);
  }

  #drawRates(density: readonly number[], colours: ChartColours): void {
    const bin = this.#bin !== null && this.#bin < density.length ? this.#bin : null;
    this.#bars.draw(colours, density, bin);
    const median = density.length > 0 ? medianRate(density) : "–";
    const room = this.#bars.canvas.clientWidth >= MEDIAN_PIXELS;
    setText(this.#which, bin === null ? (room ? "median" : "") : binText(density.length, bin));
    setText(this.#rate, bin === null ? median : count(density[bin]));
    this.#bars.canvas.setAttribute("aria-label", density.length > 0 ? `Latents by firing rate, newest point: median ${median}` : "Latents by firing rate: no points yet");
  }

  #drawCursor(run: Run, index: number, spoken: string[]): void {
    const { rows, total } = run.history;
    show(this.#slider, rows > 1);
    this.#slider.max = String(Math.max(0, rows - 1));
    this.#slider.value = String(Math.max(0, index));
    if (index < 0) return setText(this.#where, run.over ? "No points were recorded." : "Curves start with the first training steps.");
    const at = `step ${count(run.history.column("step")[index])} · ${count(run.history.column("tokens")[index])} tokens`;
    this.#slider.setAttribute("aria-valuetext", `${at}; ${spoken.join(", ")}`);
    const shown = total > rows ? `${count(rows)} of ${count(total)} points shown, extremes kept` : `${count(rows)} point${rows === 1 ? "" : "s"}`;
    setText(this.#where, this.#cursor === null ? `${at} · ${shown}` : at);
  }

  #point(chart: LineChart, event: PointerEvent): void {
    if (!this.#run) return;
    const index = chart.indexAt(event.clientX - chart.canvas.getBoundingClientRect().left);
    this.#move(index < 0 ? null : index);
  }

  #move(index: number | null): void {
    if (index === this.#cursor) return;
    this.#cursor = index;
    this.#redraw();
  }
}
