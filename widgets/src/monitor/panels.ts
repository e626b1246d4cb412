// The charts of a training run with one shared cursor and one shared zoom: pointer, touch and keyboard move them all.
import { BarChart, binText, medianRate } from "../core/bars.ts";
import type { ChartColours } from "../core/chart.ts";
import { h, setText, show } from "../core/dom.ts";
import { count, duration, number } from "../core/format.ts";
import type { History } from "../core/history.ts";
import { category } from "../core/palette.ts";
import type { AxisRule } from "../core/ticks.ts";
import type { Theme } from "../core/theme.ts";
import { AXES, smoothed, type Range } from "./axes.ts";
import type { Lens } from "./lens.ts";
import { Numbers } from "./numbers.ts";
import { Plot, type Curve, type Drawing } from "./plot.ts";
import type { Run } from "./run.ts";

export interface Panel {
  label: string;
  long: string;
  rule: AxisRule;
  /** The values of a history whose dictionary has so many latents, and how they read. */
  series(history: History, latents: number): Float64Array;
  text(value: number, latents: number): string;
  /** What the y axis counts in, where it is not plain. */
  unit?(latents: number): string;
}

export const PANELS: readonly Panel[] = [
  { label: "Recon MSE", long: "Reconstruction error", rule: { scale: "log" }, series: (history) => history.column("recon_mse"), text: number },
  { label: "FVU", long: "Fraction of variance unexplained", rule: { scale: "linear", floor: 0, clip: 1 }, series: (history) => history.column("fvu"), text: number },
  { label: "L0", long: "Mean active latents a row", rule: { scale: "auto", span: 0.1 }, series: (history) => history.column("l0"), text: number },
  { label: "Dead", long: "Dead latents", rule: { scale: "linear", floor: 0 }, series: dead, text: (value, latents) => (latents ? `${value !== 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)} %` : count(value)), unit: (latents) => (latents ? "%" : "") },
];

const MEDIAN_PIXELS = 180; // below this the word would leave no room for the panel's own name
const DRAG_PIXELS = 6; // less is a click

export const latentsOf = (run: Run): number => run.card?.config?.d_sae ?? 0;

/** Dead latents as a percentage of all, or as their number while the width is not known. */
function dead(history: History, latents: number): Float64Array {
  const counts = history.column("dead");
  return latents ? counts.map((n) => (100 * n) / latents) : counts;
}

/** What one panel draws: other runs behind, the run itself on top, smoothed or not. */
export function drawing(panel: Panel, lens: Lens, colours: ChartColours, theme: Theme, band: Range | null): Drawing {
  const { run, axis } = lens;
  const range = lens.shown();
  const latents = latentsOf(run);
  const curves: Curve[] = [];
  const add = (history: History, of: number, colour: string, dash?: readonly number[]) => {
    const [x, y] = [history.column(axis), panel.series(history, of)];
    const line = { x, colour, ...(dash && { dash }) };
    if (lens.smooth > 0) curves.push({ ...line, y, pale: true }, { ...line, y: smoothed(x, y, lens.smooth * (range[1] - range[0])) });
    else curves.push({ ...line, y });
  };
  run.others.forEach((other, i) => {
    const { colour, dash } = category(i + 1, theme);
    add(other.history, other.width, colour, dash);
  });
  add(lens.history, latents, colours.line);
  const [row, own] = [lens.row(), curves[curves.length - 1]!];
  const point = row >= 0 ? { x: own.x[row]!, y: own.y[row]!, pointed: lens.cursor !== null } : null;
  const marks = (run.card?.resumed_from ?? []).map((step) => lens.placeOf(step));
  return { curves, axis, range, rule: lens.rule(panel.rule), marks, point, band };
}

export class Panels {
  readonly element: HTMLElement;
  readonly #lens: Lens;
  readonly #grid = h("div", { class: "charts" });
  readonly #where = h("span");
  readonly #slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Cursor over the training curves", "aria-keyshortcuts": "+ - 0 Shift+ArrowLeft Shift+ArrowRight" });
  readonly #charts: { panel: Panel; plot: Plot; value: HTMLElement; scale: HTMLElement }[] = [];
  readonly #redraw: () => void;
  readonly #bars = new BarChart();
  readonly #rates: HTMLElement;
  readonly #rate = h("b");
  readonly #which = h("span", { class: "scale" });
  #bin: number | null = null; // of the histogram, under the pointer
  #drag: { plot: Plot; from: number; to: number; moved: boolean } | null = null;
  readonly #numbers = new Numbers();
  #pixels = 0;

  constructor(lens: Lens, redraw: () => void) {
    [this.#lens, this.#redraw] = [lens, redraw];
    for (const panel of PANELS) {
      const plot = new Plot();
      const [value, scale] = [h("b"), h("span", { class: "scale" })];
      this.#charts.push({ panel, plot, value, scale });
      plot.sheet.canvas.setAttribute("role", "img");
      plot.sheet.canvas.setAttribute("aria-label", "No points yet"); // until it is in sight and drawn
      this.#follow(plot);
      this.#grid.append(h("figure", {}, h("figcaption", {}, h("span", { title: panel.long }, panel.label), scale, value), plot.sheet.canvas));
    }
    this.#bars.sheet.canvas.setAttribute("role", "img");
    this.#bars.sheet.canvas.setAttribute("aria-label", "No points yet");
    const pointBin = (event: PointerEvent | null) => {
      this.#bin = event && this.#bars.binAt(event.clientX - this.#bars.sheet.canvas.getBoundingClientRect().left);
      this.#redraw();
    };
    for (const type of ["pointermove", "pointerdown"] as const) this.#bars.sheet.canvas.addEventListener(type, pointBin);
    this.#bars.sheet.canvas.addEventListener("pointerleave", () => pointBin(null));
    const long = "Latents by the share of rows they fire for, since the last point, and the median; the first bar also holds those that never fired";
    this.#rates = h("figure", {}, h("figcaption", {}, h("span", { title: long }, "Firing rate"), this.#which, this.#rate), this.#bars.sheet.canvas);
    this.#grid.append(this.#rates, this.#numbers.element);
    this.#slider.addEventListener("input", () => {
      const [start, stop] = lens.rows();
      const row = start + Number(this.#slider.value);
      lens.look(row >= stop - 1 && !lens.range ? null : lens.history.column("step")[row]!);
    });
    this.element = h("div", {}, this.#grid, h("div", { class: "under" }, this.#where, this.#slider));
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  layout(pixels: number): void {
    this.#pixels = pixels;
  }

  /** Five charts in a row and the numbers below, or the numbers as a cell of their own, as the width allows. */
  #arrange(withRates: boolean): void {
    const widths: readonly [number, number][] = withRates ? [[960, 5], [540, 3], [400, 2]] : [[820, 4], [440, 2]];
    const across = widths.find(([width]) => this.#pixels >= width)?.[1] ?? 1;
    if (this.#grid.style.getPropertyValue("--across") !== String(across)) this.#grid.style.setProperty("--across", String(across));
    this.#grid.toggleAttribute("data-wide", across > 3);
    show(this.#rates, withRates);
  }

  /** Read the sizes of all charts; before anything else of a drawing writes. */
  measure(): void {
    const { run } = this.#lens;
    this.#arrange(!run.over || (run.card?.latest.density ?? []).length > 0); // a running run may get one yet: nothing moves when it does
    for (const { plot } of this.#charts) plot.sheet.measure();
    this.#bars.sheet.measure();
  }

  draw(colours: ChartColours, theme: Theme): void {
    const { run, history } = this.#lens;
    const rows = history.rows;
    const [steps, row, latents] = [history.column("step"), this.#lens.row(), latentsOf(run)];
    const [from, to] = this.#lens.rows();
    const spoken: string[] = [];
    const density = run.card?.latest.density ?? [];
    const band: Range | null = this.#drag?.moved ? [Math.min(this.#drag.from, this.#drag.to), Math.max(this.#drag.from, this.#drag.to)] : null;
    for (const { panel, plot, value, scale } of this.#charts) {
      const drawn = drawing(panel, this.#lens, colours, theme, band);
      plot.draw(colours, drawn);
      const raw = drawn.curves[drawn.curves.length - (this.#lens.smooth > 0 ? 2 : 1)]!; // not the smoothed one
      const shown = row >= 0 ? panel.text(raw.y[row]!, latents) : "–";
      setText(value, shown);
      setText(scale, [panel.unit?.(latents), plot.isLog && "log", this.#lens.smooth > 0 && "smoothed"].filter(Boolean).join(", "));
      spoken.push(`${panel.label} ${shown}`);
      const span = rows > 0 ? `${panel.long} over steps, ${count(steps[from])} to ${count(steps[to - 1])}; ${shown} at step ${count(steps[row])}` : `${panel.long}: no points yet`;
      plot.sheet.canvas.setAttribute("aria-label", span);
    }
    this.#drawRates(density, colours);
    this.#numbers.draw(run, history, row);
    this.#drawCursor(row, [from, to], spoken);
  }

  #drawRates(density: readonly number[], colours: ChartColours): void {
    const bin = this.#bin !== null && this.#bin < density.length ? this.#bin : null;
    this.#bars.draw(colours, density, bin);
    const median = density.length > 0 ? medianRate(density) : "–";
    const room = this.#bars.sheet.width >= MEDIAN_PIXELS;
    setText(this.#which, bin === null ? (room ? "median" : "") : binText(density.length, bin));
    setText(this.#rate, bin === null ? median : count(density[bin]));
    this.#bars.sheet.canvas.setAttribute("aria-label", density.length > 0 ? `Latents by firing rate, newest point: median ${median}` : "Latents by firing rate: no points yet");
  }

  #drawCursor(row: number, [from, to]: readonly [number, number], spoken: string[]): void {
    const { run, history, axis, range } = this.#lens;
    show(this.#slider, to - from > 1);
    this.#slider.max = String(Math.max(0, to - from - 1));
    this.#slider.value = String(Math.max(0, row - from));
    if (row < 0) return setText(this.#where, run.over ? "No points were recorded." : "Curves start with the first training steps.");
    const time = axis === "seconds" ? ` · ${duration(history.column("seconds")[row])}` : "";
    const at = `step ${count(history.column("step")[row])} · ${count(history.column("tokens")[row])} tokens${time}`;
    this.#slider.setAttribute("aria-valuetext", `${at}; ${spoken.join(", ")}`);
    // Of a zoom it is known how many points there are only once they were asked for.
    const all = !range || history === run.history ? run.history.total : history.total;
    const here = count(to - from);
    const shown = all > to - from ? `${here} of ${count(all)} points shown${range ? "" : ", extremes kept"}` : `${here} point${to - from === 1 ? "" : "s"}`;
    setText(this.#where, this.#lens.cursor === null ? `${at} · ${shown}${range ? ` · ${AXES[axis].toLowerCase()} zoomed` : ""}` : at);
  }

  /** Pointing moves the cursor, dragging selects what to zoom into, a double click shows all again. */
  #follow(plot: Plot): void {
    const { canvas } = plot.sheet;
    const place = (event: PointerEvent) => plot.placeAt(event.clientX - canvas.getBoundingClientRect().left);
    const drop = () => {
      this.#drag = null;
      this.#redraw();
    };
    let began = 0;
    canvas.addEventListener("pointerdown", (event) => {
      this.#lens.look(this.#lens.stepAt(place(event)));
      if (event.button !== 0 || event.pointerType === "touch") return;
      canvas.setPointerCapture(event.pointerId);
      began = event.clientX;
      this.#drag = { plot, from: place(event), to: place(event), moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.#drag?.plot === plot) {
        this.#drag.to = place(event);
        this.#drag.moved ||= Math.abs(event.clientX - began) >= DRAG_PIXELS;
      }
      this.#lens.look(this.#lens.stepAt(place(event)));
      if (this.#drag) this.#redraw();
    });
    canvas.addEventListener("pointerup", () => {
      const drag = this.#drag;
      drop();
      if (drag?.moved) this.#lens.setRange([Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)]);
    });
    canvas.addEventListener("pointercancel", drop);
    canvas.addEventListener("pointerleave", () => !this.#drag && this.#lens.look(null));
    canvas.addEventListener("dblclick", () => this.#lens.setRange(null));
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "+" || key === "=") this.#lens.zoom(0.5);
    else if (key === "-") this.#lens.zoom(2);
    else if (key === "0" || (key === "Escape" && this.#lens.range)) this.#lens.setRange(null);
    else if (event.shiftKey && (key === "ArrowLeft" || key === "ArrowRight")) this.#lens.pan(key === "ArrowLeft" ? -0.25 : 0.25);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
