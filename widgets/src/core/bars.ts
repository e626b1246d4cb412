// How many latents fire how often: bars over a logarithmic rate axis, on a canvas like the line charts beside it.
import type { ChartColours } from "./chart.ts";
import { tick } from "./format.ts";
import { Sheet } from "./sheet.ts";
import type { Pen } from "./svg.ts";
import { linearTicks } from "./ticks.ts";

const [LEFT, RIGHT, TOP, BOTTOM] = [38, 10, 8, 18]; // as in chart.ts, so that neighbours line up
const LOWEST = -6; // log10 of the rate where the first bin begins; the last one ends at 1
const TICKS = [-6, -4, -2, 0];

/** Firing rate at a place in the histogram, in bins from its left end. */
export function rateAt(bins: number, bin: number): number {
  return 10 ** (LOWEST * (1 - bin / bins));
}

/** Value at the top of the count axis: a first bin that dwarfs the others is cut off, not the others flattened. */
export function ceiling(counts: readonly number[]): number {
  const others = Math.max(0, ...counts.slice(1));
  const first = counts[0] ?? 0;
  return first > 1.5 * others && others > 0 ? 1.25 * others : Math.max(first, others, 1);
}

/** The median latent's firing rate as text; "≈ 0" where most latents hardly ever fire. */
export function medianRate(counts: readonly number[]): string {
  const half = counts.reduce((sum, n) => sum + n, 0) / 2;
  if (half === 0) return "–";
  let seen = 0;
  const bin = counts.findIndex((n) => (seen += n) >= half);
  return bin === 0 ? "≈ 0" : twoDigits(rateAt(counts.length, bin + 0.5));
}

/** The rates of one bin: "0.011–0.016". */
export function binText(bins: number, bin: number): string {
  const [low, high] = [bin, bin + 1].map((edge) => twoDigits(rateAt(bins, edge)));
  return bin === 0 ? `< ${high}` : `${low}–${high}`;
}

/** As exact as a bin is wide. */
function twoDigits(rate: number): string {
  return rate < 0.001 ? rate.toExponential(1) : String(Number(rate.toPrecision(2)));
}

export class BarChart {
  readonly sheet = new Sheet();
  #bins = 0;

  /** The bin below a horizontal position in CSS pixels; null outside. */
  binAt(pixel: number): number | null {
    const bin = Math.floor((this.#bins * (pixel - LEFT)) / (this.sheet.width - LEFT - RIGHT));
    return bin >= 0 && bin < this.#bins ? bin : null;
  }

  /** Draw on the own sheet as it was measured last; nothing while it has no size. */
  draw(colours: ChartColours, counts: readonly number[], pointed: number | null): void {
    const { sheet } = this;
    const pen = sheet.begin();
    if (pen) this.paint(pen, sheet.width, sheet.height, sheet.font, colours, counts, pointed);
  }

  /** Draw with any pen, a canvas's or one that writes SVG. */
  paint(pen: Pen, width: number, height: number, font: string, colours: ChartColours, counts: readonly number[], pointed: number | null): void {
    this.#bins = counts.length;
    pen.font = `10px ${font}`;
    const [inner, floor] = [width - LEFT - RIGHT, height - BOTTOM];
    const most = ceiling(counts);
    const y = (n: number) => floor - (Math.min(n, most) / most) * (floor - TOP);
    pen.strokeStyle = colours.grid;
    pen.fillStyle = colours.text;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.beginPath();
    for (const value of counts.length > 0 ? linearTicks(0, most, 3) : [0]) {
      const at = Math.round(y(value)) + 0.5;
      pen.moveTo(LEFT, at);
      pen.lineTo(width - RIGHT, at);
      if (counts.length > 0) pen.fillText(tick(value), LEFT - 6, at);
    }
    pen.stroke();
    if (counts.length === 0) return;
    pen.textBaseline = "alphabetic";
    for (const power of TICKS) {
      const label = tick(10 ** power);
      const half = pen.measureText(label).width / 2;
      pen.textAlign = "center";
      pen.fillText(label, Math.min(Math.max(LEFT + inner * (1 - power / LOWEST), LEFT + half - 4), width - half), height - 4);
    }
    counts.forEach((n, bin) => {
      if (n === 0) return;
      const left = LEFT + (inner * bin) / counts.length;
      const top = Math.min(y(n), floor - 1.5); // one latent must not vanish beside thousands
      pen.fillStyle = bin === pointed ? colours.text : bin === 0 ? colours.cursor : colours.line;
      pen.fillRect(left + 0.5, top, inner / counts.length - 1, floor - top);
      if (n <= most) return;
      pen.beginPath(); // cut off: the same mark as on a clipped line
      pen.moveTo(left - 1, TOP - 1);
      pen.lineTo(left + 5, TOP - 1);
      pen.lineTo(left + 2, TOP - 6);
      pen.fill();
    });
  }
}
