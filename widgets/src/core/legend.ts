// Legends drawn on the canvas itself, so that exported pictures have them too.
import { tick } from "./format.ts";
import { mapCss, type Category, type Colours, type MapName } from "./palette.ts";
import { mark } from "./points.ts";
import type { Pen } from "./svg.ts";

const LINE = 16; // CSS pixels
const SWATCH = 18;

export interface LegendItem {
  label: string;
  look: Category;
  /** A line with its dash, or a point with its mark. */
  as: "line" | "point" | "area";
}

/** Draw items in as many lines as they need; returns the height used. With `draw` false it only measures. */
export function legend(pen: Pen, colours: Colours, items: readonly LegendItem[], left: number, width: number, draw = true): number {
  if (items.length === 0) return 0;
  let [x, y] = [left, 0];
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const item of items) {
    const text = fitted(pen, item.label, Math.max(20, width - SWATCH - 12));
    const long = SWATCH + pen.measureText(text).width + 12;
    if (x > left && x + long > left + width) [x, y] = [left, y + LINE];
    if (draw) {
      swatch(pen, item, x, y + LINE / 2);
      pen.fillStyle = colours.text;
      pen.fillText(text, x + SWATCH, y + LINE / 2);
    }
    x += long;
  }
  return y + LINE + 2;
}

function swatch(pen: Pen, { look, as }: LegendItem, x: number, y: number): void {
  pen.fillStyle = pen.strokeStyle = look.colour;
  pen.beginPath();
  if (as === "line") {
    pen.lineWidth = 2;
    pen.setLineDash([...look.dash]);
    pen.moveTo(x, y);
    pen.lineTo(x + 14, y);
    pen.stroke();
    pen.setLineDash([]);
  } else if (as === "area") {
    pen.globalAlpha = 0.3;
    pen.fillRect(x, y - 5, 14, 10);
    pen.globalAlpha = 1;
  } else {
    mark(pen, look.mark, x + 7, y, 4);
    if (look.mark === "ring") pen.stroke();
    else pen.fill();
  }
}

/** A colour bar with its ends and its meaning; returns the height used. */
export function colourBar(pen: Pen, colours: Colours, scale: { low: number; high: number; label: string; map: MapName; text?: (value: number) => string }, left: number, width: number, draw = true): number {
  if (!draw) return LINE + 2;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillStyle = colours.text;
  const text = scale.text ?? tick;
  const [low, high] = [text(scale.low), text(scale.high)];
  const label = fitted(pen, scale.label, Math.max(40, width - 170));
  let x = left;
  for (const part of [label, low]) {
    pen.fillText(part, x, LINE / 2);
    x += pen.measureText(part).width + 8;
  }
  const steps = 40;
  const length = Math.max(30, Math.min(110, left + width - x - pen.measureText(high).width - 12));
  for (let i = 0; i < steps; i++) {
    pen.fillStyle = mapCss(scale.map, colours.theme, i / (steps - 1));
    pen.fillRect(x + (length * i) / steps, 3, length / steps + 0.5, 10);
  }
  pen.fillStyle = colours.text;
  pen.fillText(high, x + length + 8, LINE / 2);
  return LINE + 2;
}

export function fitted(pen: Pen, text: string, most: number): string {
  if (text.length <= 60 && pen.measureText(text).width <= most) return text;
  let short = text.slice(0, 60);
  while (short.length > 1 && pen.measureText(`${short}…`).width > most) short = short.slice(0, -1);
  return `${short}…`;
}
