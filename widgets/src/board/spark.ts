// A curve at a glance: one line, on a logarithmic scale where it falls over decades.

import { quantity, type Fields } from "./model.ts";

const MOST = 600;

/** Points of one attempt, thinned by half when they are many; the newest always stays. */
export class Curve {
  private values: [number, number][] = [];
  private column = "";

  constructor(private readonly columns: readonly string[]) {}

  add(point: Fields): void {
    if (this.column === "") this.column = this.columns.find((name) => typeof point[name] === "number") ?? "";
    const step = quantity(point.step);
    const value = this.column === "" ? null : quantity(point[this.column]);
    if (step === null || value === null || !Number.isFinite(value)) return;
    const last = this.values.at(-1);
    if (last && step <= last[0]) return;
    this.values.push([step, value]);
    if (this.values.length > MOST) this.values = this.values.filter((_, i) => i % 2 === 0 || i === this.values.length - 1);
  }

  /** What was logged before this page opened. */
  begin(points: readonly Fields[]): void {
    const since = this.values;
    this.values = [];
    points.forEach((point) => this.add(point));
    const last = this.values.at(-1)?.[0] ?? Number.NEGATIVE_INFINITY;
    this.values.push(...since.filter(([step]) => step > last));
  }

  get name(): string {
    return this.values.length > 1 ? this.column : "";
  }

  draw(canvas: HTMLCanvasElement): void {
    const width = canvas.clientWidth * devicePixelRatio;
    const height = canvas.clientHeight * devicePixelRatio;
    const context = canvas.getContext("2d");
    if (!context || !width || this.values.length < 2) return;
    canvas.width = width;
    canvas.height = height;
    const all = this.values.map(([, value]) => value);
    const low = Math.min(...all);
    const high = Math.max(...all);
    const log = low > 0 && high / low > 20;
    const scaled = (value: number) => (log ? Math.log(value) : value);
    const spread = scaled(high) - scaled(low) || 1;
    const [first, last] = [this.values[0] as [number, number], this.values.at(-1) as [number, number]];
    const pad = 2 * devicePixelRatio;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 1.5 * devicePixelRatio;
    context.lineJoin = "round";
    context.beginPath();
    for (const [step, value] of this.values) {
      const x = pad + ((step - first[0]) / (last[0] - first[0])) * (width - 2 * pad);
      const y = pad + (1 - (scaled(value) - scaled(low)) / spread) * (height - 2 * pad);
      context.lineTo(x, y);
    }
    context.stroke();
  }
}
