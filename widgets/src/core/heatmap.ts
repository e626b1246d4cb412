// A matrix as colours, from 16 × 16 to 131k × 131k: an overview that is always there, tiles that make the viewport sharp.
import type { Colours, MapName } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import type { Pen } from "./svg.ts";
import type { Values } from "./unpack.ts";

/** Rows × columns of values, row by row. NaN is a gap; in a Uint8Array 0 is a gap and 1 to 255 run from scale.low to scale.high. */
export interface Grid {
  values: Values;
  shape: readonly [number, number];
}

export interface HeatScale {
  low: number;
  high: number;
  map?: MapName;
  /** What the colours mean, under the colour bar: "|cosine|". */
  label: string;
  text?: (value: number) => string;
}

export interface Cell {
  row: number;
  col: number;
  /** Null while the tile is not there, or for a gap. */
  value: number | null;
}

/** Cells a side of a tile: tile (level, row, col) holds cells [256·2^level·row, 256·2^level·(row + 1)) of the matrix, 2^level to a value. */
export const TILE = 256;

export interface HeatmapOptions extends PlotOptions {
  shape: readonly [number, number];
  /** The whole matrix, as it is or reduced to any smaller shape (the largest or the mean of each block). */
  overview: Grid;
  /** Level 0 is the matrix itself, each next level half as many rows and columns; border tiles are smaller. Absent: only the overview. */
  tile?: (level: number, row: number, col: number, signal: AbortSignal) => Promise<Grid>;
  scale: HeatScale;
  xLabel: string;
  yLabel: string;
  /** Name of a row or column for tooltips and axes; by default its number. */
  rowName?: (row: number) => string;
  colName?: (col: number) => string;
  onHover?: (cell: Cell | null) => void;
  onPick?: (cell: Cell) => void;
  /** Cells with a ring around them. */
  mark?: readonly { row: number; col: number }[];
  onError?: (error: unknown) => void;
}

export interface Heatmap extends Plot {
  /** Centre a cell at a zoom at which it can be seen, with the crosshair on it. */
  goto(row: number, col: number): void;
  /** The whole matrix. */
  home(): void;
  mark(cells: readonly { row: number; col: number }[]): void;
  /** Other data (another order, another measure): tiles are forgotten; the viewport stays when the shape does. */
  set(data: Partial<Pick<HeatmapOptions, "shape" | "overview" | "tile" | "scale" | "xLabel" | "yLabel" | "rowName" | "colName">>): void;
  /** First and last row and column in sight (the last excluded). */
  readonly view: { rows: [number, number]; cols: [number, number] };
  /** True when all of the viewport is drawn at full sharpness. */
  readonly sharp: boolean;
}

export function heatmap(options: HeatmapOptions): Heatmap {
  return new HeatmapPlot(options);
}

class HeatmapPlot extends CanvasPlot implements Heatmap {
  readonly sharp = true;
  readonly view: { rows: [number, number]; cols: [number, number] };
  constructor(private options: HeatmapOptions) {
    super({ height: 420, ...options }, "heatmap", "Arrow keys move, plus and minus zoom, 0 shows all, Enter picks.");
    this.view = { rows: [0, options.shape[0]], cols: [0, options.shape[1]] };
  }
  goto(): void {}
  home(): void {}
  mark(): void {}
  set(data: Partial<HeatmapOptions>): void {
    this.options = { ...this.options, ...data };
    this.redraw();
  }
  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    this.paintSvg(pen, colours);
  }
  protected paintSvg(pen: Pen, colours: Colours): void {
    const { values, shape: [rows, cols] } = this.options.overview;
    pen.fillStyle = colours.line;
    for (let i = 0; i < rows * cols; i++) {
      pen.globalAlpha = Math.min(1, Math.abs(values[i]!) || 0);
      pen.fillRect(((i % cols) * this.width) / cols, (Math.floor(i / cols) * this.height) / rows, this.width / cols, this.height / rows);
    }
    pen.globalAlpha = 1;
  }
}
