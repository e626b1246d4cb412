// A small line chart on a canvas: one series, nice ticks, gaps, a cursor. It owns drawing; its view owns interaction.
import { tick } from "./format.ts";
import { axisFor, linearScale, type AxisRule, type Scale } from "./ticks.ts";

export interface ChartColours {
  line: string;
  text: string;
  grid: string;
  cursor: string;
  back: string;
}

const LEFT = 38;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 18;

export class LineChart {
  readonly canvas = document.createElement("canvas");
  readonly #rule: AxisRule;
  #x: Float64Array = new Float64Array();
  #y: Float64Array = new Float64Array();
  #scaleX: Scale | null = null;
  #scaleY: Scale | null = null;
  #width = 0;
  #height = 0;

  constructor(rule: AxisRule) {
    this.#rule = rule;
  }

  get isLog(): boolean {
    return this.#scaleY?.log ?? false;
  }

  /** Columns of equal length, x ascending; NaN and infinite y are gaps. Views into growing storage are fine: set anew. */
  setData(x: Float64Array, y: Float64Array): void {
    this.#x = x;
    this.#y = y;
    this.#scaleY = axisFor(y, this.#rule);
    const low = x[0] ?? 0;
    const high = x[x.length - 1] ?? 1;
    this.#scaleX = x.length > 0 ? linearScale(low, high > low ? high : low + 1, Math.max(2, Math.floor(this.#width / 64))) : null;
  }

  /** Match the canvas to its laid-out size; false when it has none (hidden, or scrolled out of a windowed notebook). */
  resize(): boolean {
    const { clientWidth, clientHeight } = this.canvas;
    if (clientWidth === 0 || clientHeight === 0) return false;
    const ratio = globalThis.devicePixelRatio || 1;
    const [w, h] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    [this.#width, this.#height] = [clientWidth, clientHeight];
    return true;
  }

  /** Index of the point nearest to a horizontal position in CSS pixels; -1 without points. */
  indexAt(pixel: number): number {
    const xs = this.#x;
    if (!this.#scaleX || xs.length === 0) return -1;
    const share = (pixel - LEFT) / Math.max(1, this.#width - LEFT - RIGHT);
    const wanted = this.#scaleX.low + share * (this.#scaleX.high - this.#scaleX.low);
    let [low, high] = [0, xs.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle]! < wanted) low = middle;
      else high = middle;
    }
    return Math.abs(xs[low]! - wanted) <= Math.abs(xs[high]! - wanted) ? low : high;
  }

  /** `marks` are places on the x axis that a dashed line tells apart. */
  draw(colours: ChartColours, cursor: number | null, marks: readonly number[] = []): void {
    const pen = this.canvas.getContext("2d");
    if (!pen || !this.resize()) return;
    const ratio = this.canvas.width / this.#width;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.#width, this.#height);
    pen.font = `10px ${getComputedStyle(this.canvas).fontFamily}`;
    if (!this.#scaleX || !this.#scaleY) return this.#drawEmpty(pen, colours);
    this.#drawAxes(pen, colours, this.#scaleX, this.#scaleY);
    this.#drawMarks(pen, colours, marks);
    this.#drawLine(pen, colours, this.#scaleY);
    this.#drawPoint(pen, colours, cursor);
  }

  #px(x: number): number {
    return LEFT + this.#scaleX!.at(x) * (this.#width - LEFT - RIGHT);
  }

  #py(y: number): number {
    const inner = this.#height - TOP - BOTTOM;
    return TOP + (1 - Math.min(1, Math.max(0, this.#scaleY!.at(y)))) * inner;
  }

  #drawEmpty(pen: CanvasRenderingContext2D, colours: ChartColours): void {
    pen.strokeStyle = colours.grid;
    pen.lineWidth = 1;
    const y = Math.round(this.#height - BOTTOM) + 0.5;
    pen.beginPath();
    pen.moveTo(LEFT, y);
    pen.lineTo(this.#width - RIGHT, y);
    pen.stroke();
  }

  #drawAxes(pen: CanvasRenderingContext2D, colours: ChartColours, sx: Scale, sy: Scale): void {
    pen.lineWidth = 1;
    pen.strokeStyle = colours.grid;
    pen.fillStyle = colours.text;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.beginPath();
    for (const value of sy.ticks) {
      const y = Math.round(this.#py(value)) + 0.5;
      if (y < TOP - 1 || y > this.#height - BOTTOM + 1) continue;
      pen.moveTo(LEFT, y);
      pen.lineTo(this.#width - RIGHT, y);
      pen.fillText(tick(value), LEFT - 6, y);
    }
    pen.stroke();
    pen.textBaseline = "alphabetic";
    let free = -Infinity; // labels never overlap
    for (const value of sx.ticks) {
      const label = tick(value);
      const half = pen.measureText(label).width / 2;
      const x = Math.min(Math.max(this.#px(value), LEFT + half - 4), this.#width - half);
      if (x - half < free) continue;
      free = x + half + 8;
      pen.textAlign = "center";
      pen.fillText(label, x, this.#height - 4);
    }
  }

  /** Points are merged per pixel column (first, extremes, last), so that cost follows the width and peaks stay. */
  #drawLine(pen: CanvasRenderingContext2D, colours: ChartColours, sy: Scale): void {
    pen.strokeStyle = pen.fillStyle = colours.line;
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    pen.lineCap = "round";
    pen.beginPath();
    const right = this.#height - BOTTOM;
    const merge = this.#x.length > 2 * this.#width;
    const gaps: number[] = [];
    const clipped: number[] = [];
    let down = false;
    let lone: [number, number] | null = null; // a point between two gaps would draw nothing
    let [column, low, high, last] = [NaN, 0, 0, 0];
    const flush = () => {
      if (!merge || Number.isNaN(column)) return;
      if (high > low) {
        pen.lineTo(column, low);
        pen.lineTo(column, high);
      }
      pen.lineTo(column, last);
    };
    for (let i = 0; i < this.#x.length; i++) {
      const value = this.#y[i]!;
      const x = merge ? Math.round(this.#px(this.#x[i]!)) : this.#px(this.#x[i]!);
      if (!Number.isFinite(value) || (sy.log && value <= 0)) {
        flush();
        column = NaN;
        if (lone) pen.rect(lone[0] - 0.75, lone[1] - 0.75, 1.5, 1.5);
        lone = null;
        down = false;
        gaps.push(x);
        continue;
      }
      if (value > sy.high) clipped.push(x);
      const y = this.#py(value);
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
    flush();
    if (lone) pen.rect(lone[0] - 0.75, lone[1] - 0.75, 1.5, 1.5);
    pen.stroke();
    for (const x of thinned(gaps)) pen.fillRect(x - 1, right - 3, 2, 6); // a gap leaves a mark on the axis
    for (const x of thinned(clipped)) {
      pen.beginPath();
      pen.moveTo(x - 3, TOP - 1);
      pen.lineTo(x + 3, TOP - 1);
      pen.lineTo(x, TOP - 6);
      pen.fill();
    }
  }

  #drawMarks(pen: CanvasRenderingContext2D, colours: ChartColours, marks: readonly number[]): void {
    pen.strokeStyle = colours.cursor;
    pen.lineWidth = 1;
    pen.setLineDash([3, 3]);
    pen.beginPath();
    for (const mark of marks) {
      const share = this.#scaleX!.at(mark);
      if (share < 0 || share > 1) continue;
      pen.moveTo(Math.round(this.#px(mark)) + 0.5, TOP - 4);
      pen.lineTo(Math.round(this.#px(mark)) + 0.5, this.#height - BOTTOM);
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  #drawPoint(pen: CanvasRenderingContext2D, colours: ChartColours, cursor: number | null): void {
    const index = cursor ?? this.#x.length - 1;
    if (index < 0 || index >= this.#x.length) return;
    const x = this.#px(this.#x[index]!);
    if (cursor !== null) {
      pen.strokeStyle = colours.cursor;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(Math.round(x) + 0.5, TOP - 4);
      pen.lineTo(Math.round(x) + 0.5, this.#height - BOTTOM);
      pen.stroke();
    }
    const value = this.#y[index]!;
    if (!Number.isFinite(value) || (this.isLog && value <= 0)) return;
    pen.beginPath();
    pen.arc(x, this.#py(value), 3, 0, 2 * Math.PI);
    pen.fillStyle = colours.line;
    pen.fill();
    pen.strokeStyle = colours.back;
    pen.lineWidth = 1.5;
    pen.stroke();
  }
}

/** Marks at least four pixels apart: a thousand of them must not cost a thousand paths. */
function thinned(pixels: readonly number[]): number[] {
  let last = -Infinity;
  return pixels.filter((x) => x - last >= 4 && ((last = x), true));
}
