// Several curves over one x axis: log axes, a band, marks, a cursor; gaps where values are missing.
import { drawAxes, drawGuide, extent, placeOf, px, py, spread, valueOn, type Axes, type Numbers } from "./axes.ts";
import { number, tick } from "./format.ts";
import { legend, type LegendItem } from "./legend.ts";
import { category, type Colours } from "./palette.ts";
import { CanvasPlot, type Plot, type PlotOptions } from "./plot.ts";
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
  /** Ascending. */
  x: Numbers;
  series: readonly Series[];
  /** Over the plot's x. */
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
  /** A value in the tooltip, and on the axis where `yText` does not say it shorter. */
  text?: (value: number) => string;
  yText?: (value: number) => string;
  /** Legend above the plot; by default when there are two series or more. */
  legend?: boolean;
  /** Place of the cursor on the x axis, null when it leaves: hand it to other plots' `cursor`. */
  onCursor?: (x: number | null) => void;
  /** A click or Enter at the cursor. */
  onPick?: (x: number) => void;
}

type Changes = Partial<LinesData & Pick<LinesOptions, "logX" | "logY" | "xLabel" | "yLabel" | "yRange">>;

export interface Lines extends Plot {
  set(data: Changes): void;
  /** From elsewhere: no listener is called. */
  cursor(x: number | null): void;
}

export function lines(options: LinesOptions): Lines {
  return new LinesPlot(options);
}

/** Index of the ascending value nearest to `wanted`; -1 without values. */
export function nearest(values: ArrayLike<number>, wanted: number): number {
  let [low, high] = [0, values.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle]! < wanted) low = middle;
    else high = middle;
  }
  if (high < 0) return -1;
  return Math.abs(values[low]! - wanted) <= Math.abs(values[high]! - wanted) ? low : high;
}

/** What to draw of a curve: per pixel column its first, lowest, highest and last point; NaN pairs are gaps. */
export function merged(xs: ArrayLike<number>, ys: ArrayLike<number>): [number, number][] {
  const path: [number, number][] = [];
  let [column, low, high, last] = [NaN, 0, 0, 0];
  const flush = () => {
    if (Number.isNaN(column)) return;
    if (high > low) path.push([column, low], [column, high]);
    if (path.at(-1)?.[1] !== last) path.push([column, last]);
    column = NaN;
  };
  for (let i = 0; i < xs.length; i++) {
    const [x, y] = [Math.round(xs[i]! * 2) / 2, ys[i]!];
    if (!Number.isFinite(y) || !Number.isFinite(x)) {
      flush();
      if (path.length > 0 && !Number.isNaN(path.at(-1)![1])) path.push([x, NaN]);
    } else if (x === column) [low, high, last] = [Math.min(low, y), Math.max(high, y), y];
    else {
      flush();
      path.push([x, y]);
      [column, low, high, last] = [x, y, y, y];
    }
  }
  flush();
  return path;
}

class LinesPlot extends CanvasPlot implements Lines {
  #options: LinesOptions;
  #axes: Axes | null = null;
  #cursor: number | null = null;

  constructor(options: LinesOptions) {
    super({ height: 200, ...options }, "line chart", `Arrow keys move the cursor${options.onPick ? ", Enter picks" : ""}.`);
    this.#options = options;
    this.#listen();
  }

  set(data: Changes): void {
    this.#options = { ...this.#options, ...data };
    this.redraw();
  }

  cursor(x: number | null): void {
    if (x === this.#cursor) return;
    this.#cursor = x;
    this.tip("");
    this.redraw();
  }

  #look(index: number, colours: Colours) {
    const { series } = this.#options;
    const look = category(series[index]!.category ?? index, colours.theme);
    return series.length > 1 ? look : { ...look, dash: [] }; // alone it need not be told apart
  }

  protected paint(pen: CanvasRenderingContext2D, colours: Colours): void {
    this.paintSvg(pen, colours);
    if (this.#axes && this.#cursor !== null) this.#drawCursor(pen, colours, this.#axes, this.#cursor);
  }

  protected paintSvg(pen: Pen, colours: Colours): void {
    const { x, series, band, marks = [], xLabel, yLabel, logX = false, logY = false, yRange, xText, text, yText = text } = this.#options;
    const items = series.map(({ label }, i): LegendItem => ({ label, look: this.#look(i, colours), as: "line" }));
    if (band) items.push({ label: band.label, look: category(7, colours.theme), as: "area" });
    const top = (this.#options.legend ?? items.length > 1) ? legend(pen, colours, items, 56, Math.max(60, this.width - 66)) : 0;
    const place = placeOf(this.width, this.height - top);
    place.top += top;
    const widest = all([x, ...series.flatMap((one) => (one.x ? [one.x] : []))].map((values) => extent(values, logX)));
    const tallest = all([...series.map(({ y }) => extent(y, logY)), band ? extent(band.low, logY) : null, band ? extent(band.high, logY) : null, yRange && (!logY || yRange[0] > 0) ? yRange : null]);
    const axes: Axes = {
      place,
      x: spread(widest ?? [logX ? 0.1 : 0, 1], logX, Math.max(2, Math.floor(place.width / 70)), 0),
      y: spread(tallest ?? [logY ? 0.1 : 0, 1], logY, Math.max(2, Math.floor(place.height / 40)), 0.06),
    };
    this.#axes = axes;
    drawAxes(pen, colours, axes, { xLabel, yLabel, ...(xText ? { xText } : {}), ...(yText ? { yText } : {}) });
    if (!tallest) {
      pen.fillStyle = colours.text;
      pen.textAlign = "center";
      pen.fillText("No values.", place.left + place.width / 2, place.top + place.height / 2);
    }
    if (band) this.#band(pen, colours, axes, band.low, band.high);
    for (const { at, label } of marks) drawGuide(pen, colours, axes, { x: at, label });
    series.forEach((one, i) => this.#curve(pen, colours, axes, one, i));
  }

  #band(pen: Pen, colours: Colours, axes: Axes, low: Numbers, high: Numbers): void {
    const { x } = this.#options;
    pen.fillStyle = category(7, colours.theme).colour;
    pen.globalAlpha = 0.2;
    pen.beginPath();
    const seen = Array.from(x.keys()).filter((i) => [low[i], high[i]].every((value) => Number.isFinite(py(axes, value!))));
    for (const i of seen) pen.lineTo(px(axes, x[i]!), py(axes, high[i]!));
    for (const i of seen.reverse()) pen.lineTo(px(axes, x[i]!), py(axes, low[i]!));
    pen.closePath();
    pen.fill();
    pen.globalAlpha = 1;
  }

  #curve(pen: Pen, colours: Colours, axes: Axes, { x = this.#options.x, y }: Series, index: number): void {
    const look = this.#look(index, colours);
    const xs = Float64Array.from(x, (value) => px(axes, value));
    const ys = Float64Array.from(y, (value) => py(axes, value));
    pen.strokeStyle = pen.fillStyle = look.colour;
    pen.lineWidth = 1.8;
    pen.lineJoin = pen.lineCap = "round";
    pen.setLineDash([...look.dash]);
    pen.beginPath();
    const path = merged(xs, ys);
    const lone: [number, number][] = []; // between two gaps a point would draw nothing
    let down = false;
    path.forEach(([a, b], i) => {
      if (Number.isNaN(b)) return void (down = false);
      if (down) pen.lineTo(a, b);
      else {
        pen.moveTo(a, b);
        if (Number.isNaN(path[i + 1]?.[1] ?? NaN)) lone.push([a, b]);
      }
      down = true;
    });
    pen.stroke();
    pen.setLineDash([]);
    const { place } = axes;
    for (const [a, b] of lone) pen.fillRect(a - 1.5, b - 1.5, 3, 3);
    for (const [a, b] of path) if (Number.isNaN(b) && Number.isFinite(a)) pen.fillRect(a - 1, place.top + place.height - 3, 2, 6); // a gap leaves a mark on the axis
  }

  #drawCursor(pen: Pen, colours: Colours, axes: Axes, at: number): void {
    const { place } = axes;
    const share = axes.x.at(at);
    if (!(share >= 0 && share <= 1)) return;
    const x = Math.round(px(axes, at)) + 0.5;
    pen.strokeStyle = colours.cursor;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, place.top);
    pen.lineTo(x, place.top + place.height);
    pen.stroke();
    this.#options.series.forEach((one, i) => {
      const xs = one.x ?? this.#options.x;
      const index = nearest(xs, at);
      const y = index < 0 ? NaN : py(axes, one.y[index]!);
      if (!Number.isFinite(y)) return;
      pen.beginPath();
      pen.arc(px(axes, xs[index]!), y, 3.5, 0, 2 * Math.PI);
      pen.fillStyle = this.#look(i, colours).colour;
      pen.fill();
      pen.strokeStyle = colours.back;
      pen.lineWidth = 1.5;
      pen.stroke();
    });
  }

  #move(x: number | null, say: boolean): void {
    if (x === this.#cursor && !say) return;
    this.#cursor = x;
    const { series, xLabel, xText = tick, text = number } = this.#options;
    if (x === null || !this.#axes) this.tip("");
    else {
      const values = series.map((one) => {
        const index = nearest(one.x ?? this.#options.x, x);
        return `${series.length > 1 ? `${one.label}: ` : ""}${index < 0 ? "–" : text(one.y[index]!)}`;
      });
      this.tip([`${xLabel} ${xText(x)}`, ...values].join("\n"), px(this.#axes, x), this.#axes.place.top, say);
    }
    this.#options.onCursor?.(x);
    this.redraw();
  }

  #listen(): void {
    const { canvas } = this;
    const at = (event: MouseEvent): number | null => {
      const axes = this.#axes;
      if (!axes) return null;
      const wanted = valueOn(axes.x, Math.min(1, Math.max(0, (event.offsetX - axes.place.left) / axes.place.width)));
      const xs = this.#options.x.length > 0 ? this.#options.x : (this.#options.series[0]?.x ?? []);
      const index = nearest(xs, wanted);
      return index < 0 ? null : xs[index]!;
    };
    canvas.addEventListener("pointermove", (event) => this.#move(at(event), false));
    canvas.addEventListener("pointerleave", () => canvas.matches(":focus") || this.#move(null, false));
    canvas.addEventListener("blur", () => this.#move(null, false));
    canvas.addEventListener("click", (event) => {
      const x = at(event);
      if (x !== null) this.#options.onPick?.(x);
    });
    canvas.addEventListener("keydown", (event) => {
      const { x } = this.#options;
      const last = x.length - 1;
      const here = this.#cursor === null ? -1 : nearest(x, this.#cursor);
      const step = event.shiftKey ? Math.max(1, Math.round(last / 20)) : 1;
      const next = { ArrowRight: here + step, ArrowLeft: here < 0 ? last : here - step, Home: 0, End: last }[event.key];
      if (event.key === "Enter" && this.#cursor !== null) this.#options.onPick?.(this.#cursor);
      else if (next !== undefined && last >= 0) this.#move(x[Math.max(0, Math.min(last, next))]!, true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

function all(extents: readonly (readonly [number, number] | null)[]): [number, number] | null {
  const known = extents.filter((one) => one !== null);
  return known.length > 0 ? [Math.min(...known.map(([low]) => low)), Math.max(...known.map(([, high]) => high))] : null;
}
