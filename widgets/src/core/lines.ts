// Several curves over one x axis: log axes, a band, marks, a cursor; gaps where values are missing.
import type { Colours } from "./palette.ts";
import { category } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import type { Numbers } from "./scatter.ts";
import type { Pen } from "./svg.ts";

export interface Series {
  label: string;
  y: Numbers;
  /** Own x values, ascending; by default those of the plot. */
  x?: Numbers;
  /** Place in the palette: colour and dash; by default the place in the list. */
  category?: number;
}

export interface LinesData {
  x: Numbers;
  series: readonly Series[];
  band?: { low: Numbers; high: Numbers; label: string };
  marks?: readonly { at: number; label: string }[];
}

export interface LinesOptions extends LinesData, PlotOptions {
  xLabel: string;
  yLabel: string;
  logX?: boolean;
  logY?: boolean;
  /** Smallest and largest y that the axis shows at least. */
  yRange?: [number, number];
  xText?: (value: number) => string;
  text?: (value: number) => string;
  /** Legend above the plot; by default when there are two series or more. */
  legend?: boolean;
  /** Place of the cursor on the x axis, null when it leaves: hand it to other plots' `cursor`. */
  onCursor?: (x: number | null) => void;
  /** A click or Enter at the cursor. */
  onPick?: (x: number) => void;
}

export interface Lines extends Plot {
  set(data: Partial<LinesData & Pick<LinesOptions, "logX" | "logY" | "xLabel" | "yLabel" | "yRange">>): void;
  cursor(x: number | null): void;
}

export function lines(options: LinesOptions): Lines {
  return new LinesPlot(options);
}

class LinesPlot extends CanvasPlot implements Lines {
  #options: LinesOptions;
  constructor(options: LinesOptions) {
    super({ height: 200, ...options }, "line chart", "Arrow keys move the cursor.");
    this.#options = options;
  }
  set(data: Partial<LinesOptions>): void {
    this.#options = { ...this.#options, ...data };
    this.redraw();
  }
  cursor(_x: number | null): void {}
  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    this.paintSvg(pen, colours);
  }
  protected paintSvg(pen: Pen, colours: Colours): void {
    const { x, series } = this.#options;
    const [low, high] = [x[0] ?? 0, x[x.length - 1] ?? 1];
    series.forEach(({ y }, s) => {
      pen.strokeStyle = category(s, colours.theme).colour;
      pen.beginPath();
      for (let i = 0; i < x.length; i++) pen.lineTo((this.width * (x[i]! - low)) / (high - low || 1), this.height * (1 - y[i]!));
      pen.stroke();
    });
  }
}
