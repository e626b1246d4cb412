// A matrix as colours, from 16 × 16 to 131k × 131k: an overview that is always there, tiles that make the viewport sharp.
import { button, h } from "./dom.ts";
import { heatDrawing } from "./heatdraw.ts";
import { number } from "./format.ts";
import type { Colours, MapName } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import type { Pen } from "./svg.ts";
import { hasGaps, picture, Tiles, valueOf, type FetchTiles } from "./tiles.ts";
import type { Values } from "./unpack.ts";
import { Frame, type View } from "./viewport.ts";

/** Rows × columns of values, row by row. NaN is a gap; in a Uint8Array 0 is a gap and 1 to 255 run
    from scale.low to scale.high, in a Uint16Array 1 to 65,535. */
export interface Grid {
  values: Values;
  shape: readonly [number, number];
}

export interface HeatScale {
  low: number;
  high: number;
  map?: MapName;
  /** What the colours mean, beside the colour bar: "|cosine|". */
  label: string;
  text?: (value: number) => string;
}

export interface Cell {
  row: number;
  col: number;
  /** Null while the tile is not there, or for a gap. */
  value: number | null;
}

/** Values a side of a tile: tile (level, row, col) holds rows [256·2^level·row, 256·2^level·(row + 1)) of the matrix, 2^level to a value. */
export const TILE = 256;

export interface HeatmapOptions extends PlotOptions {
  shape: readonly [number, number];
  /** The whole matrix, as it is or reduced to any smaller shape (the largest or the mean of each block). */
  overview: Grid;
  /** Level 0 is the matrix itself, each next level half as many rows and columns; border tiles are smaller. Absent: only the overview. */
  tiles?: FetchTiles;
  scale: HeatScale;
  xLabel: string;
  yLabel: string;
  /** Name of a row or column for tooltips and axes; by default its number. */
  rowName?: (row: number) => string;
  colName?: (col: number) => string;
  /** A last line of the tooltip. */
  note?: (row: number, col: number) => string;
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
  set(data: Partial<Pick<HeatmapOptions, "shape" | "overview" | "tiles" | "scale" | "xLabel" | "yLabel" | "rowName" | "colName" | "note">>): void;
  /** First and last row and column in sight (the last excluded). */
  readonly view: { rows: [number, number]; cols: [number, number] };
  /** True when all of the viewport is drawn at full sharpness. */
  readonly sharp: boolean;
}

export function heatmap(options: HeatmapOptions): Heatmap {
  return new HeatmapPlot(options);
}

const MINIMAP = 84; // CSS pixels of its longer side
const SEEN_AT = 18; // CSS pixels a cell has after goto

class HeatmapPlot extends CanvasPlot implements Heatmap {
  #options: HeatmapOptions;
  #frame: Frame;
  #view: View;
  #tiles: Tiles | null = null;
  #overview: HTMLCanvasElement | null = null;
  #gaps = false; // in it
  #theme = "";
  #marks: readonly { row: number; col: number }[];
  #here: { row: number; col: number } | null = null;
  #pointers = new Map<number, { x: number; y: number }>();
  #dragged = 0;
  #toView: { row: number; col: number } | null = null; // a goto before the first layout
  #told = ""; // in the tooltip
  sharp = false;

  constructor(options: HeatmapOptions) {
    super({ height: 420, ...options }, "heatmap", "Arrow keys move the crosshair, with Shift further; plus and minus zoom, 0 shows all, Enter picks.");
    this.#options = options;
    this.#marks = options.mark ?? [];
    this.#frame = new Frame(options.shape, { left: 0, top: 0, width: 1, height: 1 });
    this.#view = this.#frame.home;
    this.#newTiles();
    this.#listen();
    const act = (label: string, title: string, run: () => void) => button(label, run, { "aria-label": title, title });
    this.element.append(h("div", { class: "zooms" }, act("+", "Zoom in", () => this.#zoom(2)), act("−", "Zoom out", () => this.#zoom(0.5)), act("⤢", "Show all", () => this.home())));
  }

  get view(): { rows: [number, number]; cols: [number, number] } {
    return this.#frame.sight(this.#view);
  }

  get #empty(): boolean {
    return this.#options.shape.includes(0);
  }

  goto(row: number, col: number): void {
    const [rows, cols] = this.#options.shape;
    if (this.#empty || !(row >= 0 && row < rows && col >= 0 && col < cols)) return;
    this.#here = { row: Math.floor(row), col: Math.floor(col) };
    if (this.width === 0) this.#toView = this.#here;
    const { fitX, fitY } = this.#frame;
    this.#look({ row: this.#here.row + 0.5, col: this.#here.col + 0.5, zoom: Math.max(this.#view.zoom, SEEN_AT / Math.max(fitX, fitY)) });
    this.#tell(true);
  }

  home(): void {
    this.#look(this.#frame.home);
  }

  mark(cells: readonly { row: number; col: number }[]): void {
    this.#marks = cells;
    this.redraw();
  }

  set(data: Partial<HeatmapOptions>): void {
    const before = this.#options.shape;
    this.#options = { ...this.#options, ...data };
    const [rows, cols] = this.#options.shape;
    this.#overview = null;
    this.#newTiles();
    if (before[0] !== rows || before[1] !== cols) {
      this.#here = null;
      this.#frame = new Frame([rows, cols], this.#frame.place);
      this.#view = this.#frame.home;
    }
    this.redraw();
  }

  #newTiles(): void {
    this.#tiles?.close();
    const { tiles, onError } = this.#options;
    const arrived = () => {
      this.redraw();
      if (this.#told && this.#here && this.#told !== this.#words()) this.#tell(false); // its value is here now
    };
    this.#tiles = tiles ? new Tiles(tiles, arrived, (error) => onError?.(error)) : null;
  }

  protected override closed(): void {
    this.#tiles?.close();
  }

  #look(view: View): void {
    this.#view = this.#frame.clamp(view);
    this.redraw();
  }

  #zoom(factor: number): void {
    const { left, top, width, height } = this.#frame.place;
    const [x, y] = this.#here ? [this.#frame.x(this.#view, this.#here.col + 0.5), this.#frame.y(this.#view, this.#here.row + 0.5)] : [left + width / 2, top + height / 2];
    this.#look(this.#frame.zoomAt(this.#view, factor, x, y));
  }

  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    const drawing = heatDrawing(pen, this.#options, colours, this.width, this.height);
    const frame = new Frame(this.#options.shape, drawing.place);
    if (JSON.stringify(frame.place) !== JSON.stringify(this.#frame.place)) {
      this.#frame = frame;
      this.#view = frame.clamp(this.#view);
      const first = this.#toView;
      this.#toView = null;
      if (first) this.goto(first.row, first.col);
    }
    if (this.#empty) {
      this.sharp = true;
      return drawing.nothing();
    }
    if (this.#theme !== colours.theme) {
      this.#theme = colours.theme;
      this.#overview = null;
      this.#tiles?.fade();
    }
    if (!this.#overview) {
      this.#overview = picture(this.#options.overview, this.#options.scale, colours.theme);
      this.#gaps = hasGaps(this.#options.overview, this.#options.scale);
    }
    const level = this.#frame.level(this.#view, this.canvas.width / this.width);
    const enough = this.#options.shape.every((cells, side) => this.#options.overview.shape[side]! * 2 ** level >= cells);
    this.sharp = enough || !this.#tiles || this.#tiles.want(this.#frame.tiles(this.#view, level, TILE));
    if (this.#gaps) drawing.background(this.#frame, this.#view); // hundreds of lines, seen nowhere else
    drawing.picture(this.#frame, this.#view, this.#overview, 0, 0, this.#options.shape[0], this.#options.shape[1]);
    for (const tile of enough ? [] : (this.#tiles?.drawable(level) ?? [])) {
      const span = TILE * 2 ** tile.level;
      const size = 2 ** tile.level;
      tile.picture ??= picture(tile.grid, this.#options.scale, colours.theme);
      drawing.picture(this.#frame, this.#view, tile.picture, tile.row * span, tile.col * span, tile.grid.shape[0] * size, tile.grid.shape[1] * size);
    }
    drawing.over(this.#frame, this.#view, this.#marks, this.#here);
    if (this.#view.zoom > 1.01) drawing.minimap(this.#frame, this.#view, this.#overview, MINIMAP);
  }

  protected paintSvg(pen: Pen, colours: Colours): void {
    const drawing = heatDrawing(pen, this.#options, colours, this.width, this.height);
    const { place } = this.#frame;
    const ratio = this.canvas.width / this.width;
    const part = h("canvas", { width: Math.round(place.width * ratio), height: Math.round(place.height * ratio) });
    part.getContext("2d")?.drawImage(this.canvas, -place.left * ratio, -place.top * ratio);
    (pen as Pen & { image?: (href: string, x: number, y: number, width: number, height: number) => void }).image?.(part.toDataURL("image/png"), place.left, place.top, place.width, place.height);
    drawing.axes(this.#frame, this.#view);
  }

  /** The grid that holds a cell as it is, and where in it; null while its tile is not here. */
  #exact(row: number, col: number): [Grid, number] | null {
    const { overview, shape } = this.#options;
    if (overview.shape[0] === shape[0] && overview.shape[1] === shape[1]) return [overview, row * shape[1] + col];
    const tile = this.#tiles?.get({ level: 0, row: Math.floor(row / TILE), col: Math.floor(col / TILE) });
    return tile ? [tile.grid, (row % TILE) * tile.grid.shape[1] + (col % TILE)] : null;
  }

  #valueAt(row: number, col: number): number | null {
    const found = this.#exact(row, col);
    return found && valueOf(found[0], found[1], this.#options.scale);
  }

  #cell(): Cell | null {
    return this.#here && { ...this.#here, value: this.#valueAt(this.#here.row, this.#here.col) };
  }

  #words(): string {
    const cell = this.#cell();
    if (!cell) return "";
    const { rowName = String, colName = String, note, scale, xLabel, yLabel } = this.#options;
    const coarse = this.#frame.level(this.#view, 1) > 0;
    let value = "no value";
    if (cell.value !== null) value = `${scale.label} ${(scale.text ?? number)(cell.value)}`;
    else if (this.#tiles && !this.#exact(cell.row, cell.col)) value = coarse ? "zoom in for the value" : "…";
    return `${yLabel} ${rowName(cell.row)}\n${xLabel} ${colName(cell.col)}\n${value}${note ? `\n${note(cell.row, cell.col)}` : ""}`;
  }

  /** Tell of the cell under the crosshair, in the tooltip and to whoever listens. */
  #tell(say: boolean): void {
    const cell = this.#cell();
    this.#told = this.#words();
    this.tip(this.#told, cell ? this.#frame.x(this.#view, cell.col + 0.5) : 0, cell ? this.#frame.y(this.#view, cell.row + 0.5) : 0, say);
    this.#options.onHover?.(cell);
    this.redraw();
  }

  #hush(): void {
    this.#told = "";
    this.tip("");
  }

  #listen(): void {
    const { canvas } = this;
    const at = (event: MouseEvent) => ({ x: event.offsetX, y: event.offsetY });
    const cellUnder = ({ x, y }: { x: number; y: number }) => {
      const { left, top, width, height } = this.#frame.place;
      const { row, col } = this.#frame.under(this.#view, x, y);
      const [rows, cols] = this.#options.shape;
      const inside = x >= left && y >= top && x < left + width && y < top + height && row >= 0 && col >= 0 && row < rows && col < cols;
      return inside ? { row: Math.floor(row), col: Math.floor(col) } : null;
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, at(event));
      if (this.#pointers.size === 1) this.#dragged = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = at(event);
      const before = this.#pointers.get(event.pointerId);
      if (!before) {
        const cell = cellUnder(now);
        if (cell?.row === this.#here?.row && cell?.col === this.#here?.col) return;
        this.#here = cell;
        return this.#tell(false);
      }
      const [dx, dy] = [now.x - before.x, now.y - before.y];
      this.#pointers.set(event.pointerId, now);
      this.#dragged += Math.abs(dx) + Math.abs(dy);
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
        this.#look(this.#frame.zoomAt(this.#view, factor, other.x, other.y));
      } else if (this.#dragged > 4) {
        this.#hush();
        canvas.style.cursor = "grabbing";
        this.#look(this.#frame.pan(this.#view, dx, dy));
      }
    });
    const up = (event: PointerEvent) => {
      const was = this.#pointers.delete(event.pointerId);
      canvas.style.cursor = "";
      if (!was || event.type !== "pointerup" || this.#dragged > 4) return;
      this.#here = cellUnder(at(event));
      this.#tell(true);
      const cell = this.#cell();
      if (cell) this.#options.onPick?.(cell);
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => {
      if (canvas.matches(":focus") || this.#pointers.size > 0) return;
      this.#here = null;
      this.#tell(false);
    });
    canvas.addEventListener("dblclick", (event) => this.#look(this.#frame.zoomAt(this.#view, 2, event.offsetX, event.offsetY)));
    // A page must scroll past a heatmap: the wheel zooms once the heatmap was clicked, or with Ctrl.
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && !canvas.matches(":focus")) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.#look(this.#frame.zoomAt(this.#view, Math.exp(-event.deltaY * lines * 0.002), event.offsetX, event.offsetY));
    }, { passive: false });
    canvas.addEventListener("blur", () => this.#hush());
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || this.#empty) return;
    const arrow = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (arrow) this.#step(arrow[0]!, arrow[1]!, event.shiftKey ? 10 : 1);
    else if (event.key === "+" || event.key === "=") this.#zoom(1.6);
    else if (event.key === "-" || event.key === "_") this.#zoom(1 / 1.6);
    else if (event.key === "0") this.home();
    else if (event.key === "Enter" || event.key === " ") {
      const cell = this.#cell();
      if (cell) this.#options.onPick?.(cell);
    } else if (event.key === "Escape") {
      this.#here = null;
      this.#tell(false);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** One cell further, or as many as can be told apart on the screen. */
  #step(down: number, right: number, times: number): void {
    const { rows, cols } = this.view;
    const { fitX, fitY } = this.#frame;
    const { zoom } = this.#view;
    const [most, wide] = this.#options.shape;
    const from = this.#here ?? { row: (rows[0] + rows[1]) >> 1, col: (cols[0] + cols[1]) >> 1 };
    const far = (fit: number) => times * Math.max(1, Math.round(6 / (fit * zoom)));
    const row = Math.max(0, Math.min(most - 1, from.row + down * far(fitY)));
    const col = Math.max(0, Math.min(wide - 1, from.col + right * far(fitX)));
    this.#here = { row, col };
    const inside = (at: number, [low, high]: [number, number], margin: number) => (at < low + margin ? low + margin - at : at > high - 1 - margin ? high - 1 - margin - at : 0);
    const [moveY, moveX] = [inside(row, rows, Math.min(1, (rows[1] - rows[0]) >> 2)), inside(col, cols, Math.min(1, (cols[1] - cols[0]) >> 2))];
    if (moveX || moveY) this.#look({ ...this.#view, row: this.#view.row - moveY, col: this.#view.col - moveX });
    this.#tell(true);
  }
}
