// A scatter plot to 131k points: pointer, box and lasso selection, keyboard, linked by ids.
import { drawAxes, drawGuide, extent, placeOf, px, py, spread, type Axes, type Numbers } from "./axes.ts";
import { count, number } from "./format.ts";
import { colourBar, legend, type LegendItem } from "./legend.ts";
import { category, mapCss, type Category, type Colours } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
import { inside, mark, PointIndex } from "./points.ts";
import { splat, toBytes } from "./splat.ts";
import type { Pen } from "./svg.ts";

export type { Numbers } from "./axes.ts";

/** What a point's colour tells: one of up to eight names (codes from the names' number on are muted), or a value on a map. */
export type PointColour =
  | { kind: "category"; codes: Uint8Array; names: readonly string[] }
  | { kind: "value"; values: Numbers; label: string; low?: number; high?: number; map?: "sequential" | "diverging" };

export interface ScatterData {
  /** NaN and infinite points are left out and counted in the plot. */
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
  /** Text of the tooltip; by default id and coordinates. */
  tip?: (index: number) => string;
  /** The line x = y. */
  diagonal?: boolean;
  /** Dashed lines at values. */
  guides?: readonly { x?: number; y?: number; label?: string }[];
  /** What dragging does: draw a box (default) or a lasso. */
  drag?: "box" | "lasso";
  /** Id under the pointer or at the keyboard's place; null when there is none. */
  onHover?: (id: number | null) => void;
  /** Ids chosen by click, Enter, box or lasso; empty when a click missed. */
  onSelect?: (ids: number[]) => void;
}

type Changes = ScatterData & Partial<Pick<ScatterOptions, "xLabel" | "yLabel" | "logX" | "logY" | "guides" | "drag" | "diagonal">>;

export interface Scatter extends Plot {
  /** Other data; `colour` and `ids` that are not named go. */
  set(data: Changes): void;
  /** From elsewhere: no listener is called. */
  select(ids: readonly number[]): void;
  /** Points drawn, and points left out. */
  readonly drawn: number;
  readonly left: number;
}

export function scatter(options: ScatterOptions): Scatter {
  return new ScatterPlot(options);
}

const MARKED_TO = 4000; // more points are squares of two pixels: shapes would be too small to be told apart
const NEAR = 18; // CSS pixels from which the pointer catches a point

class ScatterPlot extends CanvasPlot implements Scatter {
  #options: ScatterOptions;
  #selected = new Set<number>();
  #here = -1;
  #base: HTMLCanvasElement | null = null; // axes and points; what moves is drawn over it
  #axes: Axes | null = null;
  #xs = new Float32Array();
  #ys = new Float32Array();
  #index: PointIndex | null = null;
  #path: [number, number][] = []; // of a drag
  #dragging = false;
  drawn = 0;
  left = 0;

  constructor(options: ScatterOptions) {
    super({ height: 320, ...options }, "scatter plot", "Arrow keys walk the points, Enter selects one, Space adds one, Escape selects none.");
    this.#options = options;
    this.#listen();
    options.surface.onTheme(() => this.#stale());
  }

  set(data: Changes): void {
    const { colour: _colour, ids: _ids, ...rest } = this.#options;
    this.#options = { ...rest, ...data };
    this.#here = -1;
    this.tip("");
    this.#stale();
  }

  select(ids: readonly number[]): void {
    this.#selected = new Set(ids);
    this.#stale();
  }

  #stale(): void {
    this.#base = null;
    this.redraw();
  }

  #id(index: number): number {
    return this.#options.ids?.[index] ?? index;
  }

  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    if (!this.#base || this.#base.width !== this.canvas.width || this.#base.height !== this.canvas.height) {
      this.#base = document.createElement("canvas");
      [this.#base.width, this.#base.height] = [this.canvas.width, this.canvas.height];
      const base = this.#base.getContext("2d");
      if (!base) return;
      base.setTransform(pen.getTransform());
      base.font = pen.font;
      this.#layout(base, colours);
      this.#still(base, colours);
    }
    pen.save();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.#base, 0, 0);
    pen.restore();
    this.#moving(pen, colours);
  }

  protected paintSvg(pen: Pen, colours: Colours): void {
    this.#still(pen, colours);
  }

  /** Where everything lies: measured once for each size and set of data. */
  #layout(pen: Pen, colours: Colours): void {
    const { x, y, logX = false, logY = false } = this.#options;
    const top = this.#legend(pen, colours, false);
    const place = placeOf(this.width, this.height - top);
    place.top += top;
    const { guides = [] } = this.#options; // without its lines a quadrant is none
    const along = (values: Numbers, log: boolean, axis: "x" | "y") => extent([...(extent(values, log) ?? []), ...guides.map((guide) => guide[axis] ?? NaN)], log) ?? [log ? 0.1 : 0, 1];
    const [alongX, alongY] = [along(x, logX, "x"), along(y, logY, "y")];
    this.#axes = { place, x: spread(alongX as [number, number], logX, Math.max(2, Math.floor(place.width / 70))), y: spread(alongY as [number, number], logY, Math.max(2, Math.floor(place.height / 40))) };
    this.#xs = new Float32Array(x.length);
    this.#ys = new Float32Array(x.length);
    this.drawn = 0;
    for (let i = 0; i < x.length; i++) {
      const [a, b] = [px(this.#axes, x[i]!), py(this.#axes, y[i]!)];
      const seen = Number.isFinite(a) && Number.isFinite(b);
      [this.#xs[i], this.#ys[i]] = seen ? [a, b] : [NaN, NaN];
      this.drawn += Number(seen);
    }
    this.left = x.length - this.drawn;
    this.#index = new PointIndex(this.#xs, this.#ys, this.width, this.height);
  }

  #looks(colours: Colours): Category[] {
    const { colour } = this.#options;
    return colour?.kind === "category" ? colour.names.map((_, i) => category(i, colours.theme)) : [{ ...category(0, colours.theme), colour: colours.line }];
  }

  #valueScale(): { low: number; high: number } {
    const { colour } = this.#options;
    const [low, high] = (colour?.kind === "value" && extent(colour.values)) || [0, 1];
    return { low: (colour?.kind === "value" && colour.low) || low, high: colour?.kind === "value" ? (colour.high ?? high) : 1 };
  }

  #legend(pen: Pen, colours: Colours, draw: boolean): number {
    const { colour } = this.#options;
    const [left, width] = [56, Math.max(60, this.width - 66)];
    if (colour?.kind === "category") {
      const looks = this.#looks(colours);
      return legend(pen, colours, colour.names.map((label, i): LegendItem => ({ label, look: this.#many ? { ...looks[i]!, mark: "square" } : looks[i]!, as: "point" })), left, width, draw);
    }
    if (colour?.kind !== "value") return 0;
    return colourBar(pen, colours, { ...this.#valueScale(), label: colour.label, map: colour.map ?? "sequential" }, left, width, draw);
  }

  get #many(): boolean {
    return this.#options.x.length > MARKED_TO;
  }

  /** Axes, guides and points. */
  #still(pen: Pen, colours: Colours): void {
    const axes = this.#axes!;
    const { xLabel, yLabel, guides = [], diagonal } = this.#options;
    this.#legend(pen, colours, true);
    drawAxes(pen, colours, axes, { xLabel, yLabel });
    if (diagonal) this.#diagonal(pen, colours, axes);
    this.#points(pen, colours);
    for (const guide of guides) drawGuide(pen, colours, axes, guide);
    if (this.left === 0 && this.drawn > 0) return;
    pen.fillStyle = colours.text;
    pen.textAlign = this.drawn > 0 ? "right" : "center";
    pen.textBaseline = "alphabetic";
    const text = this.drawn > 0 ? `${count(this.left)} of ${count(this.left + this.drawn)} not shown: no finite place` : this.left > 0 ? "No point has a finite place." : "No points.";
    const { place } = axes;
    if (this.drawn > 0) pen.fillText(text, place.left + place.width - 4, place.top + place.height - 5);
    else pen.fillText(text, place.left + place.width / 2, place.top + place.height / 2);
  }

  #diagonal(pen: Pen, colours: Colours, axes: Axes): void {
    const low = Math.max(axes.x.low, axes.y.low);
    const high = Math.min(axes.x.high, axes.y.high);
    if (!(low < high)) return;
    pen.strokeStyle = colours.cursor;
    pen.lineWidth = 1;
    pen.setLineDash([4, 3]);
    pen.beginPath();
    for (let i = 0; i <= 50; i++) {
      const at = axes.x.log || axes.y.log ? Math.max(low, 1e-300) * (high / Math.max(low, 1e-300)) ** (i / 50) : low + ((high - low) * i) / 50;
      if (i === 0) pen.moveTo(px(axes, at), py(axes, at));
      else pen.lineTo(px(axes, at), py(axes, at));
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  #points(pen: Pen, colours: Colours): void {
    const groups = this.#groups(colours);
    const total = this.#options.x.length;
    const faint = this.#selected.size > 0 ? 0.3 : 1;
    if (this.#many) this.#cloud(pen, groups, faint * Math.max(0.25, Math.min(0.8, 12_000 / total)));
    else {
      pen.globalAlpha = faint * 0.75;
      for (const { look, points } of groups) this.#group(pen, look, points, total > 800 ? 2.6 : 3.6);
      pen.globalAlpha = 1;
    }
    for (const { look, chosen } of groups) {
      this.#group(pen, { ...look, colour: colours.back }, chosen, 6);
      this.#group(pen, { ...look, colour: colours.fg }, chosen, 5);
      this.#group(pen, look, chosen, 3.4);
    }
  }

  /** Points by look: those of a category, or of one of 32 steps of the colour map; the last group is for what has none. */
  #groups(colours: Colours): { look: Category; points: number[]; chosen: number[] }[] {
    const { colour, x } = this.#options;
    const plain = { ...category(0, colours.theme), colour: colours.line };
    const { low, high } = this.#valueScale();
    const looks = colour?.kind === "value" ? Array.from({ length: 32 }, (_, i) => ({ ...plain, colour: mapCss(colour.map ?? "sequential", colours.theme, 0.15 + (0.85 * i) / 31) })) : this.#looks(colours);
    const groups = [...looks, { ...plain, colour: colours.idle }].map((look) => ({ look, points: [] as number[], chosen: [] as number[] }));
    const none = groups.length - 1;
    const times = 31 / (high - low || 1);
    for (let i = 0; i < x.length; i++) {
      if (Number.isNaN(this.#xs[i]!)) continue;
      let at = 0;
      if (colour?.kind === "category") at = colour.codes[i]!;
      else if (colour?.kind === "value") at = Math.round(Math.min(31, Math.max(0, (colour.values[i]! - low) * times)));
      const group = groups[at < none ? at : none]!; // NaN is no index below
      if (this.#selected.size > 0 && this.#selected.has(this.#id(i))) group.chosen.push(i);
      else group.points.push(i);
    }
    return groups;
  }

  /** Too many points for one call each: blended in memory, and a picture inside an SVG. */
  #cloud(pen: Pen, groups: readonly { look: Category; points: number[] }[], alpha: number): void {
    const { width, height } = this.canvas;
    const ratio = width / this.width;
    const cloud = document.createElement("canvas");
    [cloud.width, cloud.height] = [width, height];
    const inner = cloud.getContext("2d");
    if (!inner) return;
    const image = inner.createImageData(width, height);
    toBytes(splat(width, height, this.#xs, this.#ys, ratio, Math.max(2, Math.round(2 * ratio)), alpha, groups.map(({ look, points }) => ({ colour: look.colour, points }))), image.data);
    inner.putImageData(image, 0, 0);
    if ("image" in pen) (pen as Pen & { image: (href: string, x: number, y: number, width: number, height: number) => void }).image(cloud.toDataURL("image/png"), 0, 0, this.width, this.height);
    else (pen as CanvasRenderingContext2D).drawImage(cloud, 0, 0, this.width, this.height);
  }

  #group(pen: Pen, look: Category, points: readonly number[], size: number): void {
    pen.fillStyle = pen.strokeStyle = look.colour;
    pen.lineWidth = 1.3;
    for (let start = 0; start < points.length; start += 500) {
      pen.beginPath(); // one path of very many parts is slow to fill
      for (const i of points.slice(start, start + 500)) mark(pen, look.mark, this.#xs[i]!, this.#ys[i]!, size);
      if (look.mark === "ring") pen.stroke();
      else pen.fill();
    }
  }

  #moving(pen: CanvasRenderingContext2D, colours: Colours): void {
    if (this.#here >= 0 && !Number.isNaN(this.#xs[this.#here] ?? NaN)) {
      for (const [colour, width] of [[colours.back, 4], [colours.fg, 2]] as const) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.beginPath();
        pen.arc(this.#xs[this.#here]!, this.#ys[this.#here]!, 7, 0, 2 * Math.PI);
        pen.stroke();
      }
    }
    if (!this.#dragging || this.#path.length < 2) return;
    pen.strokeStyle = colours.fg;
    pen.fillStyle = colours.track;
    pen.lineWidth = 1;
    pen.setLineDash([4, 3]);
    pen.beginPath();
    this.#polygon().forEach(([x, y], i) => (i === 0 ? pen.moveTo(x, y) : pen.lineTo(x, y)));
    pen.closePath();
    pen.fill();
    pen.stroke();
    pen.setLineDash([]);
  }

  #polygon(): [number, number][] {
    if (this.#options.drag === "lasso") return this.#path;
    const [[x0, y0], [x1, y1]] = [this.#path[0]!, this.#path.at(-1)!];
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  }

  #choose(ids: number[]): void {
    this.select(ids);
    this.say(ids.length === 1 ? `Selected ${ids[0]}` : `${count(ids.length)} selected`);
    this.#options.onSelect?.(ids);
  }

  #point(index: number, say: boolean): void {
    if (index === this.#here && !say) return;
    this.#here = index;
    if (index >= 0) this.tip(this.#text(index), this.#xs[index]!, this.#ys[index]!, say);
    else this.tip("");
    this.#options.onHover?.(index >= 0 ? this.#id(index) : null);
    this.redraw();
  }

  #text(index: number): string {
    const { tip, xLabel, yLabel, x, y } = this.#options;
    return tip ? tip(index) : `${this.#id(index)}\n${xLabel} ${number(x[index])}\n${yLabel} ${number(y[index])}`;
  }

  #listen(): void {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.#dragging = true;
      this.#path = [[event.offsetX, event.offsetY]];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.#dragging) {
        const [x, y] = this.#path.at(-1)!;
        if (Math.hypot(event.offsetX - x, event.offsetY - y) > 2) this.#path.push([event.offsetX, event.offsetY]);
        if (this.#path.length > 1) this.#point(-1, false);
        this.redraw();
      } else this.#point(this.#index?.nearest(event.offsetX, event.offsetY, NEAR) ?? -1, false);
    });
    const up = (event: PointerEvent) => {
      if (!this.#dragging) return;
      this.#dragging = false;
      const polygon = this.#path.length > 1 ? this.#polygon() : [];
      this.#path = [];
      this.redraw();
      if (event.type === "pointercancel") return;
      if (polygon.length > 0) return this.#choose(inside(this.#xs, this.#ys, polygon).map((i) => this.#id(i)));
      const index = this.#index?.nearest(event.offsetX, event.offsetY, NEAR) ?? -1;
      const id = index >= 0 ? [this.#id(index)] : [];
      this.#point(index, index >= 0);
      const more = event.shiftKey || event.ctrlKey || event.metaKey;
      this.#choose(more ? [...new Set([...this.#selected, ...id])] : id);
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => !this.#dragging && !canvas.matches(":focus") && this.#point(-1, false));
    canvas.addEventListener("blur", () => this.#point(-1, false));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event: KeyboardEvent): void {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && this.drawn > 0) {
      const next = this.#here < 0 ? this.#first() : this.#index!.next(this.#here, arrow[0]!, arrow[1]!);
      if (next >= 0) this.#point(next, true);
    } else if (event.key === "Enter" && this.#here >= 0) this.#choose([this.#id(this.#here)]);
    else if (event.key === " " && this.#here >= 0) {
      const ids = new Set(this.#selected);
      if (!ids.delete(this.#id(this.#here))) ids.add(this.#id(this.#here));
      this.#choose([...ids]);
    } else if (event.key === "Escape" && this.#selected.size > 0) this.#choose([]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Walking begins at what is selected, else at the first point drawn. */
  #first(): number {
    const chosen = this.#xs.findIndex((x, i) => !Number.isNaN(x) && this.#selected.has(this.#id(i)));
    return chosen >= 0 ? chosen : this.#xs.findIndex((x) => !Number.isNaN(x));
  }
}
