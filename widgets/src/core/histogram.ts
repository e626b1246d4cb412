// Counts in bins: bars, a second distribution over them as an outline, bands, marks, and a range chosen by hand.
import { drawAxes, drawGuide, extent, placeOf, px, py, valueOn, type Axes } from "./axes.ts";
import { count, tick } from "./format.ts";
import { legend, type LegendItem } from "./legend.ts";
import { category, type Colours } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import type { Pen } from "./svg.ts";
import { linearScale, logScale } from "./ticks.ts";

export interface HistogramData {
  /** One more than counts, ascending; bins may differ in width. */
  edges: ArrayLike<number>;
  counts: ArrayLike<number>;
  /** Another distribution in the same bins, drawn as a line scaled to the same total: chance, the other half. */
  outline?: { counts: ArrayLike<number>; label: string };
  /** A shaded range of values. */
  band?: { low: number; high: number; label: string };
  /** Dashed lines at values. */
  marks?: readonly { at: number; label: string }[];
}

export interface HistogramOptions extends HistogramData, PlotOptions {
  xLabel: string;
  /** What the bars count, in the tooltip: "features". */
  unit: string;
  /** How a value of the x axis reads. */
  text?: (value: number) => string;
  logX?: boolean;
  logY?: boolean;
  /** A range chosen by dragging, or with Shift and arrows; null when it was taken back (click, Escape). */
  onRange?: (range: [number, number] | null) => void;
}

export interface Histogram extends Plot {
  set(data: HistogramData & { logY?: boolean }): void;
  /** From elsewhere: no listener is called. */
  setRange(range: [number, number] | null): void;
}

export function histogram(options: HistogramOptions): Histogram {
  return new HistogramPlot(options);
}

/** Value at the top of the count axis: one bin that dwarfs all others is cut off (and marked), not the others flattened. */
export function topCount(counts: ArrayLike<number>): number {
  const sorted = Array.from(counts).filter(Number.isFinite).sort((a, b) => b - a);
  const [first = 0, second = 0] = sorted;
  return second > 0 && first > 8 * second ? 1.6 * second : Math.max(1, first);
}

/** The bin that holds a value; -1 outside. The last bin includes its end. */
export function binOf(edges: ArrayLike<number>, value: number): number {
  const bins = edges.length - 1;
  if (!(bins > 0 && value >= edges[0]! && value <= edges[bins]!)) return -1;
  let [low, high] = [0, bins - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

class HistogramPlot extends CanvasPlot implements Histogram {
  #options: HistogramOptions;
  #axes: Axes | null = null;
  #here = -1;
  #range: [number, number] | null = null; // values
  #from: number | null = null; // bin where a choice began

  constructor(options: HistogramOptions) {
    super({ height: 180, ...options }, "histogram", `Arrow keys walk the bins${options.onRange ? ", with Shift they choose a range, Escape takes it back" : ""}.`);
    this.#options = options;
    this.#listen();
  }

  set(data: HistogramData & { logY?: boolean }): void {
    const { outline: _outline, band: _band, marks: _marks, ...rest } = this.#options;
    this.#options = { ...rest, ...data };
    this.#here = -1;
    this.tip("");
    this.redraw();
  }

  setRange(range: [number, number] | null): void {
    this.#range = range;
    this.redraw();
  }

  get #bins(): number {
    return Math.max(0, Math.min(this.#options.counts.length, this.#options.edges.length - 1));
  }

  #items(colours: Colours): LegendItem[] {
    const { outline, band } = this.#options;
    const items: LegendItem[] = [];
    if (outline) items.push({ label: outline.label, look: { ...category(1, colours.theme), dash: [] }, as: "line" });
    if (band) items.push({ label: band.label, look: { ...category(7, colours.theme) }, as: "area" });
    return items;
  }

  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    this.paintSvg(pen, colours);
  }

  protected paintSvg(pen: Pen, colours: Colours): void {
    const { edges, counts, outline, logX = false, logY = false, marks = [], xLabel, text } = this.#options;
    const bins = this.#bins;
    const top = legend(pen, colours, this.#items(colours), 56, Math.max(60, this.width - 66));
    const place = placeOf(this.width, this.height - top);
    place.top += top;
    const [low, high] = extent(edges, logX) ?? [logX ? 0.1 : 0, 1];
    const factor = outline ? sum(counts) / (sum(outline.counts) || 1) : 1;
    const line = outline ? Array.from(outline.counts, (n) => n * factor) : [];
    const most = topCount([...Array.from(counts), ...line]);
    const across = Math.max(2, Math.floor(place.width / 70));
    const y = logY ? logScale(0.5, most * 1.2, 3) : linearScale(0, most * 1.04, 3);
    const axes: Axes = { place, x: logX ? logScale(low, Math.max(high, low * 2), across) : linearScale(low, high > low ? high : low + 1, across), y };
    this.#axes = axes;
    drawAxes(pen, colours, axes, { xLabel, yLabel: "", ...(text ? { xText: text } : {}) });
    if (bins === 0 || sum(counts) === 0) {
      pen.fillStyle = colours.text;
      pen.textAlign = "center";
      pen.fillText(bins === 0 ? "No values." : `No ${this.#options.unit}.`, place.left + place.width / 2, place.top + place.height / 2);
    }
    this.#band(pen, colours, axes);
    const floor = place.top + place.height;
    const heightOf = (n: number) => (n > 0 ? Math.min(floor - 1.5, Math.max(place.top, py(axes, Math.min(n, most)))) : floor); // one of something must not vanish beside thousands
    for (let bin = 0; bin < bins; bin++) {
      const n = counts[bin]!;
      if (!(n > 0)) continue;
      const [x0, x1] = [this.#edge(axes, bin), this.#edge(axes, bin + 1)];
      const chosen = !this.#range || ((edges[bin]! + edges[bin + 1]!) / 2 >= this.#range[0] && (edges[bin]! + edges[bin + 1]!) / 2 <= this.#range[1]);
      pen.globalAlpha = chosen ? 1 : 0.35;
      pen.fillStyle = bin === this.#here ? colours.fg : colours.line;
      const gap = x1 - x0 > 3 ? 0.5 : 0;
      pen.fillRect(x0 + gap, heightOf(n), Math.max(0.75, x1 - x0 - 2 * gap), floor - heightOf(n));
      pen.globalAlpha = 1;
      if (n > most) this.#cut(pen, (x0 + x1) / 2, place.top);
    }
    if (outline) this.#outline(pen, colours, axes, line, heightOf);
    for (const { at, label } of marks) drawGuide(pen, colours, axes, { x: at, label });
  }

  #edge(axes: Axes, bin: number): number {
    const { left, width } = axes.place;
    const x = px(axes, this.#options.edges[bin]!);
    return Math.min(left + width, Math.max(left, Number.isFinite(x) ? x : left));
  }

  #band(pen: Pen, colours: Colours, axes: Axes): void {
    const { band } = this.#options;
    const { place } = axes;
    const shade = (low: number, high: number, colour: string, alpha: number) => {
      const within = (value: number) => Math.min(place.left + place.width, Math.max(place.left, px(axes, value)));
      pen.globalAlpha = alpha;
      pen.fillStyle = colour;
      pen.fillRect(within(low), place.top, within(high) - within(low), place.height);
      pen.globalAlpha = 1;
    };
    if (band) shade(band.low, band.high, category(7, colours.theme).colour, 0.22);
    if (this.#range) shade(this.#range[0], this.#range[1], colours.line, 0.12);
  }

  #cut(pen: Pen, x: number, top: number): void {
    pen.beginPath(); // cut off: the same mark as on a clipped line
    pen.moveTo(x - 3, top - 1);
    pen.lineTo(x + 3, top - 1);
    pen.lineTo(x, top - 6);
    pen.fill();
  }

  #outline(pen: Pen, colours: Colours, axes: Axes, line: readonly number[], heightOf: (n: number) => number): void {
    pen.strokeStyle = category(1, colours.theme).colour;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(this.#edge(axes, 0), heightOf(0));
    for (let bin = 0; bin < Math.min(this.#bins, line.length); bin++) {
      pen.lineTo(this.#edge(axes, bin), heightOf(line[bin]!));
      pen.lineTo(this.#edge(axes, bin + 1), heightOf(line[bin]!));
    }
    pen.stroke();
  }

  #walk(bin: number, say: boolean): void {
    if (bin === this.#here && !say) return;
    this.#here = bin;
    const axes = this.#axes;
    if (bin < 0 || !axes) this.tip("");
    else this.tip(this.#words(bin), (this.#edge(axes, bin) + this.#edge(axes, bin + 1)) / 2, axes.place.top, say);
    this.redraw();
  }

  #words(bin: number): string {
    const { edges, counts, unit, outline, text = tick } = this.#options;
    const other = outline ? `\n${outline.label}: ${count(outline.counts[bin] ?? 0)}` : "";
    return `${text(edges[bin]!)} to ${text(edges[bin + 1]!)}\n${count(counts[bin] ?? 0)} ${unit}${other}`;
  }

  #binAt(pixel: number): number {
    const axes = this.#axes;
    return axes ? binOf(this.#options.edges, valueOn(axes.x, (pixel - axes.place.left) / axes.place.width)) : -1;
  }

  #choose(from: number, to: number, done: boolean): void {
    const { edges, onRange } = this.#options;
    const [a, b] = [Math.min(from, to), Math.max(from, to)];
    this.#range = [edges[a]!, edges[b + 1]!];
    if (done) onRange?.(this.#range);
    this.redraw();
  }

  #clear(): void {
    this.#from = null;
    if (!this.#range) return;
    this.#range = null;
    this.#options.onRange?.(null);
    this.redraw();
  }

  #listen(): void {
    const { canvas } = this;
    let start: number | null = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.#options.onRange || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      start = this.#binAt(event.offsetX);
    });
    canvas.addEventListener("pointermove", (event) => {
      const bin = this.#binAt(event.offsetX);
      this.#walk(bin, false);
      if (start !== null && start >= 0 && bin >= 0 && bin !== start) this.#choose(start, bin, false);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const bin = this.#binAt(event.offsetX);
      if (start >= 0 && bin >= 0 && bin !== start) this.#choose(start, bin, true);
      else if (start >= 0 && bin < 0 && this.#range) this.#options.onRange?.(this.#range);
      else this.#clear();
      start = null;
    });
    canvas.addEventListener("pointercancel", () => (start = null));
    canvas.addEventListener("pointerleave", () => canvas.matches(":focus") || this.#walk(-1, false));
    canvas.addEventListener("blur", () => this.#walk(-1, false));
    canvas.addEventListener("keydown", (event) => {
      const last = this.#bins - 1;
      const next = { ArrowRight: this.#here + 1, ArrowLeft: this.#here < 0 ? last : this.#here - 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape" && this.#range) this.#clear();
      else if (next === undefined || last < 0) return;
      else {
        const bin = Math.max(0, Math.min(last, next));
        if (event.shiftKey && this.#options.onRange) {
          this.#from ??= Math.max(0, this.#here);
          this.#choose(this.#from, bin, true);
        } else this.#from = null;
        this.#walk(bin, true);
      }
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]! || 0;
  return total;
}
