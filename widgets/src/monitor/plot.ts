// One chart of a training: curves over a shared x axis, gaps, clipped peaks, a cursor. Draws on any pen, canvas or SVG.
import type { ChartColours } from "../core/chart.ts";
import { tick } from "../core/format.ts";
import { Sheet } from "../core/sheet.ts";
import type { Pen } from "../core/svg.ts";
import { axisFor, linearTicks, type AxisRule, type Scale } from "../core/ticks.ts";
import { rowsIn, timeTicks, type Axis, type Range } from "./axes.ts";

const [LEFT, RIGHT, TOP, BOTTOM] = [38, 10, 8, 18]; // as in bars.ts, so that neighbours line up

export interface Curve {
  x: Float64Array; // ascending
  y: Float64Array; // NaN and infinite values are gaps
  colour: string;
  dash?: readonly number[];
  pale?: boolean; // what a smoothed curve was made from
}

export interface Drawing {
  curves: readonly Curve[]; // the run's own comes last, on top
  axis: Axis;
  range: Range;
  rule: AxisRule;
  /** Places on the x axis that a dashed line tells apart. */
  marks: readonly number[];
  /** The point that is looked at, and whether somebody points at it. */
  point: { x: number; y: number; pointed: boolean } | null;
  /** What is being selected. */
  band: Range | null;
}

export class Plot {
  readonly sheet = new Sheet();
  #range: Range = [0, 1];
  #scale: Scale | null = null;
  #width = 0;
  #height = 0;

  get isLog(): boolean {
    return this.#scale?.log ?? false;
  }

  /** The place along x under a horizontal position in CSS pixels, within what is shown. */
  placeAt(pixel: number): number {
    const share = (pixel - LEFT) / Math.max(1, this.sheet.width - LEFT - RIGHT);
    return this.#range[0] + Math.min(1, Math.max(0, share)) * (this.#range[1] - this.#range[0]);
  }

  /** Draw on the own sheet as it was measured last; nothing while it has no size. */
  draw(colours: ChartColours, drawing: Drawing): void {
    const { sheet } = this;
    const pen = sheet.begin();
    if (pen) this.paint(pen, sheet.width, sheet.height, sheet.font, colours, drawing);
  }

  paint(pen: Pen, width: number, height: number, font: string, colours: ChartColours, drawing: Drawing): void {
    [this.#width, this.#height, this.#range] = [width, height, drawing.range];
    this.#scale = axisFor(visible(drawing), drawing.rule);
    pen.font = `10px ${font}`;
    pen.lineJoin = pen.lineCap = "round";
    this.#axes(pen, colours, drawing);
    if (!this.#scale) return;
    this.#verticals(pen, colours, drawing.marks, [3, 3]);
    for (const curve of drawing.curves) this.#curve(pen, this.#scale, curve);
    if (drawing.band) this.#band(pen, colours, drawing.band);
    this.#point(pen, colours, drawing);
  }

  #px(x: number): number {
    return LEFT + ((x - this.#range[0]) / (this.#range[1] - this.#range[0])) * (this.#width - LEFT - RIGHT);
  }

  #py(y: number): number {
    return TOP + (1 - Math.min(1, Math.max(0, this.#scale!.at(y)))) * (this.#height - TOP - BOTTOM);
  }

  #axes(pen: Pen, colours: ChartColours, { axis, range }: Drawing): void {
    pen.lineWidth = 1;
    pen.strokeStyle = colours.grid;
    pen.fillStyle = colours.text;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.beginPath();
    const lines = this.#scale ? this.#scale.ticks.map((value) => [this.#py(value), tick(value)] as const) : [[this.#height - BOTTOM, ""] as const];
    for (const [at, label] of lines) {
      const y = Math.round(at) + 0.5;
      if (y < TOP - 1 || y > this.#height - BOTTOM + 1) continue;
      pen.moveTo(LEFT, y);
      pen.lineTo(this.#width - RIGHT, y);
      if (label) pen.fillText(label, LEFT - 6, y);
    }
    pen.stroke();
    if (!this.#scale) return;
    pen.textBaseline = "alphabetic";
    pen.textAlign = "center";
    const room = Math.max(2, Math.floor(this.#width / 64));
    const places = axis === "seconds" ? timeTicks(range, room) : linearTicks(range[0], range[1], room).map((value) => ({ value, label: placeLabel(value, range) }));
    let free = -Infinity; // labels never overlap
    for (const { value, label } of places) {
      const half = pen.measureText(label).width / 2;
      const x = Math.min(Math.max(this.#px(value), LEFT + half - 4), this.#width - half);
      if (x - half < free) continue;
      free = x + half + 8;
      pen.fillText(label, x, this.#height - 4);
    }
  }

  /** Points are merged per pixel column (first, extremes, last), so that cost follows the width and peaks stay. */
  #curve(pen: Pen, scale: Scale, { x: xs, y: ys, colour, dash, pale }: Curve): void {
    const [start, stop] = rowsIn(xs, this.#range);
    const [left, right, floor] = [LEFT - 1, this.#width - RIGHT + 1, this.#height - BOTTOM];
    const merge = stop - start > 2 * this.#width;
    const gaps: number[] = [];
    const clipped: number[] = [];
    let down = false;
    let lone: [number, number] | null = null; // a point between two gaps would draw nothing
    let [column, low, high, last] = [NaN, 0, 0, 0];
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 1.5;
    pen.globalAlpha = pale ? 0.3 : 1;
    pen.setLineDash(dash ? [...dash] : []);
    pen.beginPath();
    const flush = () => {
      if (!merge || Number.isNaN(column)) return;
      if (high > low) {
        pen.lineTo(column, low);
        pen.lineTo(column, high);
      }
      pen.lineTo(column, last);
    };
    const lift = () => {
      flush();
      column = NaN;
      if (lone) pen.rect(lone[0] - 0.75, lone[1] - 0.75, 1.5, 1.5);
      lone = null;
      down = false;
    };
    let before: [number, number] | null = null; // the row before, in pixels
    for (let i = start; i < stop; i++) {
      const value = ys[i]!;
      let x = this.#px(xs[i]!);
      if (!Number.isFinite(value) || (scale.log && value <= 0)) {
        lift();
        before = null;
        if (x >= left && x <= right) gaps.push(Math.round(x));
        continue;
      }
      let y = this.#py(value);
      const here: [number, number] = [x, y];
      if (x < left) {
        before = here;
        continue;
      }
      if (value > scale.high && x <= right) clipped.push(x);
      if (!down && before && before[0] < left) {
        // enters from beyond the left edge
        pen.moveTo(left, crossing(before, here, left));
        down = true;
        [column, low, high, last] = [NaN, 0, 0, 0];
      }
      if (x > right) {
        if (before && before[0] < right) [x, y] = [right, crossing(before, here, right)];
        else break;
      }
      before = here;
      if (merge) x = Math.round(x);
      if (!down) {
        pen.moveTo(x, y);
        down = true;
        lone = [x, y];
        [column, low, high, last] = [x, y, y, y];
      } else if (!merge) {
        pen.lineTo(x, y);
        lone = null;
      } else if (x === column) {
        low = Math.min(low, y);
        high = Math.max(high, y);
        last = y;
      } else {
        flush();
        pen.lineTo(x, y);
        lone = null;
        [column, low, high, last] = [x, y, y, y];
      }
    }
    lift();
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    if (pale) return;
    for (const x of thinned(gaps)) pen.fillRect(x - 1, floor - 3, 2, 6); // a gap leaves a mark on the axis
    for (const x of thinned(clipped)) triangle(pen, x);
  }

  #verticals(pen: Pen, colours: ChartColours, places: readonly number[], dash: number[]): void {
    pen.strokeStyle = colours.cursor;
    pen.lineWidth = 1;
    pen.setLineDash(dash);
    pen.beginPath();
    for (const place of places) {
      if (place < this.#range[0] || place > this.#range[1]) continue;
      const x = Math.round(this.#px(place)) + 0.5;
      pen.moveTo(x, TOP - 4);
      pen.lineTo(x, this.#height - BOTTOM);
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  #band(pen: Pen, colours: ChartColours, [low, high]: Range): void {
    const [left, right] = [this.#px(low), this.#px(high)];
    pen.globalAlpha = 0.15;
    pen.fillStyle = colours.line;
    pen.fillRect(left, TOP - 4, right - left, this.#height - BOTTOM - TOP + 4);
    pen.globalAlpha = 1;
  }

  #point(pen: Pen, colours: ChartColours, { point }: Drawing): void {
    if (!point || point.x < this.#range[0] || point.x > this.#range[1]) return;
    if (point.pointed) this.#verticals(pen, colours, [point.x], []);
    if (!Number.isFinite(point.y) || (this.isLog && point.y <= 0)) return;
    pen.beginPath();
    pen.arc(this.#px(point.x), this.#py(point.y), 3, 0, 2 * Math.PI);
    pen.fillStyle = colours.line;
    pen.fill();
    pen.strokeStyle = colours.back;
    pen.lineWidth = 1.5;
    pen.stroke();
  }
}

/** All values that the range shows, of all curves: what the y axis must hold. */
function visible({ curves, range }: Drawing): Float64Array {
  const parts = curves.filter(({ pale }) => !pale || curves.length === 1).map(({ x, y }) => y.subarray(...rowsIn(x, range)));
  if (parts.length === 1) return parts[0]!;
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Where the line between two points meets a vertical. */
function crossing(a: readonly [number, number], b: readonly [number, number], x: number): number {
  return b[0] > a[0] ? a[1] + ((x - a[0]) / (b[0] - a[0])) * (b[1] - a[1]) : b[1];
}

/** "12.5k", or "12,503" where a zoom is so narrow that short labels would repeat. */
function placeLabel(value: number, [low, high]: Range): string {
  return high - low < 1e-2 * Math.abs(high) ? value.toLocaleString("en-US", { maximumFractionDigits: 2 }) : tick(value);
}

function triangle(pen: Pen, x: number): void {
  pen.beginPath();
  pen.moveTo(x - 3, TOP - 1);
  pen.lineTo(x + 3, TOP - 1);
  pen.lineTo(x, TOP - 6);
  pen.fill();
}

/** Marks at least four pixels apart: a thousand of them must not cost a thousand paths. */
function thinned(pixels: readonly number[]): number[] {
  let last = -Infinity;
  return pixels.filter((x) => x - last >= 4 && ((last = x), true));
}
