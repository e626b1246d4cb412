// Counts in bins: bars, a second distribution over them as an outline, bands, marks, and a range chosen by hand.
import type { Colours } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import type { Pen } from "./svg.ts";

export interface HistogramData {
  /** One more than counts, ascending; bins may differ in width. */
  edges: ArrayLike<number>;
  counts: ArrayLike<number>;
  /** Another distribution in the same bins, drawn as a line scaled to the same area: chance, the other half. */
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
  /** A range chosen by dragging or Shift and arrows; null when it was taken back. */
  onRange?: (range: [number, number] | null) => void;
}

export interface Histogram extends Plot {
  set(data: HistogramData & { logY?: boolean }): void;
  setRange(range: [number, number] | null): void;
}

export function histogram(options: HistogramOptions): Histogram {
  return new HistogramPlot(options);
}

class HistogramPlot extends CanvasPlot implements Histogram {
  #options: HistogramOptions;
  constructor(options: HistogramOptions) {
    super({ height: 160, ...options }, "histogram", "Arrow keys walk the bins.");
    this.#options = options;
  }
  set(data: HistogramData & { logY?: boolean }): void {
    this.#options = { ...this.#options, ...data };
    this.redraw();
  }
  setRange(_range: [number, number] | null): void {}
  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    this.paintSvg(pen, colours);
  }
  protected paintSvg(pen: Pen, colours: Colours): void {
    const counts = Array.from(this.#options.counts);
    const most = Math.max(1, ...counts);
    pen.fillStyle = colours.line;
    counts.forEach((n, i) => pen.fillRect((i * this.width) / counts.length, this.height * (1 - n / most), this.width / counts.length - 1, (this.height * n) / most));
  }
}
