// Axes of plots over two numbers: scales from data, labels, guides, and the place of the plot on its canvas.
import { tick } from "./format.ts";
import { fitted } from "./legend.ts";
import type { Colours } from "./palette.ts";
import type { Pen } from "./svg.ts";
import { linearScale, logScale, type Scale } from "./ticks.ts";
import type { Place } from "./viewport.ts";

export type Numbers = Float32Array | Float64Array | Int32Array;

/** Lowest and highest finite value (above 0, for a logarithm); null when there is none. */
export function extent(values: ArrayLike<number>, log = false): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

/** A scale from `low` to `high` with a margin of `pad` of its length on both sides. */
export function spread([low, high]: readonly [number, number], log: boolean, count: number, pad = 0.04): Scale {
  if (log) {
    const factor = high > low ? (high / low) ** pad : 2;
    return logScale(low / factor, high * factor, count);
  }
  const margin = high > low ? (high - low) * pad : Math.abs(high) * 0.1 || 1;
  return linearScale(low - margin, high + margin, count);
}

/** The value at a share of a scale: the reverse of its `at`. */
export function valueOn(scale: Scale, share: number): number {
  return scale.log ? Math.exp(Math.log(scale.low) + share * Math.log(scale.high / scale.low)) : scale.low + share * (scale.high - scale.low);
}

export interface Axes {
  place: Place;
  x: Scale;
  y: Scale;
}

export const px = ({ place, x }: Axes, value: number): number => place.left + x.at(value) * place.width;
export const py = ({ place, y }: Axes, value: number): number => place.top + (1 - y.at(value)) * place.height;

export function placeOf(width: number, height: number, bare = false): Place {
  const [left, top, right, bottom] = [bare ? 12 : 56, 8, 10, 36];
  return { left, top, width: Math.max(1, width - left - right), height: Math.max(1, height - top - bottom) };
}

export interface AxisText {
  xLabel: string;
  yLabel: string;
  xText?: (value: number) => string;
  yText?: (value: number) => string;
}

export function drawAxes(pen: Pen, colours: Colours, axes: Axes, text: AxisText): void {
  const { place } = axes;
  const floor = place.top + place.height;
  pen.lineWidth = 1;
  pen.strokeStyle = colours.grid;
  pen.fillStyle = colours.text;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.beginPath();
  for (const value of axes.y.ticks) {
    const y = Math.round(py(axes, value)) + 0.5;
    if (y < place.top - 1 || y > floor + 1) continue;
    pen.moveTo(place.left, y);
    pen.lineTo(place.left + place.width, y);
    pen.fillText((text.yText ?? tick)(value), place.left - 6, y);
  }
  const labels: [string, number][] = [];
  pen.textAlign = "center";
  let free = -Infinity; // labels never overlap
  for (const value of axes.x.ticks) {
    const label = (text.xText ?? tick)(value);
    const half = pen.measureText(label).width / 2;
    const x = px(axes, value);
    if (x < place.left - 1 || x > place.left + place.width + 1) continue;
    pen.moveTo(Math.round(x) + 0.5, place.top);
    pen.lineTo(Math.round(x) + 0.5, floor);
    const at = Math.min(Math.max(x, place.left + half - 6), place.left + place.width + 10 - half);
    if (at - half < free) continue;
    free = at + half + 8;
    labels.push([label, at]);
  }
  pen.stroke();
  pen.textBaseline = "alphabetic";
  for (const [label, at] of labels) pen.fillText(label, at, floor + 14);
  pen.fillText(fitted(pen, text.xLabel, place.width), place.left + place.width / 2, floor + 30);
  if (!text.yLabel) return;
  pen.save();
  pen.translate(11, place.top + place.height / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(fitted(pen, text.yLabel, place.height), 0, 0);
  pen.restore();
}

/** A dashed line at a value of one axis, with a word at its end. */
export function drawGuide(pen: Pen, colours: Colours, axes: Axes, guide: { x?: number; y?: number; label?: string }): void {
  const { place } = axes;
  const shares = [guide.x === undefined ? 0 : axes.x.at(guide.x), guide.y === undefined ? 0 : axes.y.at(guide.y)];
  if (shares.some((share) => !(share >= 0 && share <= 1))) return;
  pen.strokeStyle = pen.fillStyle = colours.cursor;
  pen.lineWidth = 1;
  pen.setLineDash([4, 3]);
  pen.beginPath();
  pen.textBaseline = "alphabetic";
  if (guide.x !== undefined) {
    const x = Math.round(px(axes, guide.x)) + 0.5;
    pen.moveTo(x, place.top);
    pen.lineTo(x, place.top + place.height);
    if (guide.label) {
      const rooms = [place.left + place.width - x - 4, x - 4 - place.left] as const;
      const right = pen.measureText(guide.label).width < rooms[0] || rooms[0] > rooms[1];
      const label = fitted(pen, guide.label, rooms[right ? 0 : 1]);
      const { width } = pen.measureText(label);
      pen.textAlign = right ? "left" : "right";
      const at = right ? x + 4 : x - 4;
      pen.fillStyle = colours.back; // a label over bars is else unreadable
      pen.globalAlpha = 0.85;
      pen.fillRect(right ? at - 2 : at - width - 2, place.top, width + 4, 14);
      pen.globalAlpha = 1;
      pen.fillStyle = colours.cursor;
      pen.fillText(label, at, place.top + 10);
    }
  }
  if (guide.y !== undefined) {
    const y = Math.round(py(axes, guide.y)) + 0.5;
    pen.moveTo(place.left, y);
    pen.lineTo(place.left + place.width, y);
    pen.textAlign = "right";
    if (guide.label) pen.fillText(guide.label, place.left + place.width - 3, y - 4 < place.top + 8 ? y + 12 : y - 4);
  }
  pen.stroke();
  pen.setLineDash([]);
}
