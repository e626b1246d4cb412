// Pictures of views that are no plot: drawn for a file alone, with the same pen as SVG and as PNG.
import type { Colours } from "./palette.ts";
import type { Export } from "./shell.ts";
import { toSvg, type Pen } from "./svg.ts";

/** CSS pixels. */
export interface Picture {
  width: number;
  height: number;
  draw: (pen: Pen) => void;
}

const TALLEST = 16_000; // device pixels of a canvas, in all browsers

/** The two exports of a picture; `make` gets a pen to measure texts with. */
export function pictures(label: string, name: string, colours: () => Colours, make: (ruler: Pen, colours: Colours) => Picture): Export[] {
  const made = () => {
    const canvas = document.createElement("canvas");
    const pen = canvas.getContext("2d");
    if (!pen) throw new Error("This browser gave no canvas to draw on.");
    return { canvas, pen, ...make(pen, colours()) };
  };
  const png = (): Promise<Blob> => {
    const { canvas, pen, width, height, draw } = made();
    const ratio = Math.min(2, TALLEST / height);
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    pen.scale(ratio, ratio);
    pen.fillStyle = colours().back;
    pen.fillRect(0, 0, width, height);
    draw(pen);
    return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The browser could not make a PNG of this view.")))));
  };
  const svg = (): Blob => {
    const { width, height, draw } = made();
    return toSvg(width, height, draw, colours().back);
  };
  return [
    { label: `${label} as PNG`, name: `${name}.png`, make: png },
    { label: `${label} as SVG`, name: `${name}.svg`, make: svg },
  ];
}
