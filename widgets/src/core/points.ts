// Points on pixels: the nearest one, the next one in a direction, those in a polygon, and drawing very many of them.
import type { Mark } from "./palette.ts";
import type { Pen } from "./svg.ts";

const CELL = 24; // CSS pixels a side of a bucket

/** Points by place, so that the nearest of 131k is found in a moment. Places are CSS pixels; NaN is a point left out. */
export class PointIndex {
  readonly #x: Float32Array;
  readonly #y: Float32Array;
  readonly #columns: number;
  readonly #rows: number;
  readonly #starts: Uint32Array;
  readonly #points: Uint32Array;

  constructor(x: Float32Array, y: Float32Array, width: number, height: number) {
    [this.#x, this.#y] = [x, y];
    this.#columns = Math.max(1, Math.ceil(width / CELL));
    this.#rows = Math.max(1, Math.ceil(height / CELL));
    const counts = new Uint32Array(this.#columns * this.#rows + 1);
    for (let i = 0; i < x.length; i++) if (!Number.isNaN(x[i]!)) counts[this.#bucket(x[i]!, y[i]!) + 1]!++;
    for (let i = 1; i < counts.length; i++) counts[i]! += counts[i - 1]!;
    this.#starts = counts.slice();
    this.#points = new Uint32Array(counts[counts.length - 1]!);
    for (let i = 0; i < x.length; i++) if (!Number.isNaN(x[i]!)) this.#points[counts[this.#bucket(x[i]!, y[i]!)]!++] = i;
  }

  #bucket(x: number, y: number): number {
    const column = Math.min(this.#columns - 1, Math.max(0, Math.floor(x / CELL)));
    return Math.min(this.#rows - 1, Math.max(0, Math.floor(y / CELL))) * this.#columns + column;
  }

  /** The point nearest to a place and at most `within` pixels away; -1 when there is none. */
  nearest(x: number, y: number, within: number): number {
    let [best, least] = [-1, within * within];
    const reach = Math.ceil(within / CELL);
    const [column, row] = [Math.floor(x / CELL), Math.floor(y / CELL)];
    for (let r = Math.max(0, row - reach); r <= Math.min(this.#rows - 1, row + reach); r++) {
      for (let c = Math.max(0, column - reach); c <= Math.min(this.#columns - 1, column + reach); c++) {
        const bucket = r * this.#columns + c;
        for (let k = this.#starts[bucket]!; k < this.#starts[bucket + 1]!; k++) {
          const i = this.#points[k]!;
          const far = (this.#x[i]! - x) ** 2 + (this.#y[i]! - y) ** 2;
          if (far < least) [best, least] = [i, far];
        }
      }
    }
    return best;
  }

  /** The next point to the right, left, up or down: the one least far, with what lies aside counted twice. */
  next(from: number, dx: number, dy: number): number {
    let [best, least] = [-1, Infinity];
    const [x0, y0] = [this.#x[from]!, this.#y[from]!];
    for (const i of this.#points) {
      if (i === from) continue;
      const along = (this.#x[i]! - x0) * dx + (this.#y[i]! - y0) * dy;
      // Points at the same place are walked in their order.
      if (along < 0 || (along === 0 && (this.#x[i] !== x0 || this.#y[i] !== y0))) continue;
      const same = along === 0;
      if (same && (dx + dy > 0 ? i < from : i > from)) continue;
      const aside = Math.abs((this.#x[i]! - x0) * dy) + Math.abs((this.#y[i]! - y0) * dx);
      const far = same ? Math.abs(i - from) * 1e-9 : along + 2 * aside;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }
}

/** Points inside a closed polygon of pixels. */
export function inside(x: Float32Array, y: Float32Array, polygon: readonly (readonly [number, number])[]): number[] {
  const found: number[] = [];
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!];
    if (Number.isNaN(a)) continue;
    let within = false;
    for (let p = 0, q = polygon.length - 1; p < polygon.length; q = p++) {
      const [px, py] = polygon[p]!;
      const [qx, qy] = polygon[q]!;
      if (py > b !== qy > b && a < ((qx - px) * (b - py)) / (qy - py) + px) within = !within;
    }
    if (within) found.push(i);
  }
  return found;
}

/** One mark around a place; `size` is about its radius. */
export function mark(pen: Pen, kind: Mark, x: number, y: number, size: number): void {
  const r = size;
  if (kind === "circle" || kind === "ring") {
    pen.moveTo(x + r, y);
    pen.arc(x, y, r, 0, 2 * Math.PI);
  } else if (kind === "square") pen.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else if (kind === "cross" || kind === "plus") {
    // One outline of twelve corners; a cross is a plus turned by 45°.
    const turn = kind === "cross" ? Math.SQRT1_2 : 1;
    const [a, b] = [r * 1.25, r * 0.42];
    const plus = [[-b, -a], [b, -a], [b, -b], [a, -b], [a, b], [b, b], [b, a], [-b, a], [-b, b], [-a, b], [-a, -b], [-b, -b]];
    plus.forEach(([dx, dy], i) => {
      const [u, v] = kind === "cross" ? [(dx! - dy!) * turn, (dx! + dy!) * turn] : [dx!, dy!];
      if (i === 0) pen.moveTo(x + u, y + v);
      else pen.lineTo(x + u, y + v);
    });
    pen.closePath();
  } else {
    const corners = { triangle: [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]], down: [[0, 1.3], [1.2, -0.9], [-1.2, -0.9]], diamond: [[0, -1.35], [1.15, 0], [0, 1.35], [-1.15, 0]] }[kind];
    corners.forEach(([dx, dy], i) => (i === 0 ? pen.moveTo(x + dx! * r, y + dy! * r) : pen.lineTo(x + dx! * r, y + dy! * r)));
    pen.closePath();
  }
}
