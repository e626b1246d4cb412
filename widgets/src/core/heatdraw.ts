// What a heatmap draws around and over its colours: axes, colour bar, crosshair, marks, and where in the whole it is.
import type { HeatmapOptions } from "./heatmap.ts";
import { colourBar, fitted } from "./legend.ts";
import type { Colours } from "./palette.ts";
import type { Pen } from "./svg.ts";
import { labelStep, type Frame, type Place, type View } from "./viewport.ts";

const [TOP, RIGHT, BOTTOM] = [26, 8, 38];
const NAME_WIDTH = 120; // CSS pixels that names of rows get at most

export interface HeatDrawing {
  readonly place: Place;
  nothing(): void;
  background(frame: Frame, view: View): void;
  /** A picture of `rows` × `cols` cells from a cell on. */
  picture(frame: Frame, view: View, picture: HTMLCanvasElement, row: number, col: number, rows: number, cols: number): void;
  over(frame: Frame, view: View, marks: readonly { row: number; col: number }[], here: { row: number; col: number } | null): void;
  axes(frame: Frame, view: View): void;
  minimap(frame: Frame, view: View, overview: HTMLCanvasElement, size: number): void;
}

export function heatDrawing(pen: Pen, options: HeatmapOptions, colours: Colours, width: number, height: number): HeatDrawing {
  const left = Math.round(leftMargin(pen, options, width));
  const place: Place = { left, top: TOP, width: Math.max(1, width - left - RIGHT), height: Math.max(1, height - TOP - BOTTOM) };
  const canvasPen = pen as CanvasRenderingContext2D;

  const cut = (text: string, most: number) => fitted(pen, text, most);

  /** Until restored. */
  const clip = (x: number, y: number, width: number, height: number) => {
    canvasPen.save();
    canvasPen.beginPath();
    canvasPen.rect(x, y, width, height);
    canvasPen.clip();
  };

  const axes = (frame: Frame, view: View) => {
    const { rows, cols } = frame.sight(view);
    const { rowName, colName, xLabel, yLabel } = options;
    const [stepY, stepX] = [labelStep(frame.fitY * view.zoom, 14), labelStep(frame.fitX * view.zoom, colName ? 64 : 46)];
    pen.fillStyle = colours.text;
    pen.strokeStyle = colours.grid;
    pen.lineWidth = 1;
    // Labels keep to the matrix where it is narrower or lower than the plot.
    const [edge, floor] = [Math.max(left, frame.x(view, 0)), Math.min(place.top + place.height, frame.y(view, frame.shape[0]))];
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let row = Math.ceil(rows[0] / stepY) * stepY; row < rows[1]; row += stepY) {
      const y = frame.y(view, row + 0.5);
      if (y > place.top + 3 && y < place.top + place.height - 3) pen.fillText(rowName ? cut(rowName(row), left - 26) : String(row), edge - 6, y);
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "center";
    for (let col = Math.ceil(cols[0] / stepX) * stepX; col < cols[1]; col += stepX) {
      const text = colName ? cut(colName(col), 60) : String(col); // a name: 32768, not 32.8k
      const half = pen.measureText(text).width / 2;
      const x = Math.min(width - half, Math.max(edge + half - 6, frame.x(view, col + 0.5)));
      if (x - half < width) pen.fillText(text, x, floor + 14);
    }
    pen.fillText(xLabel, left + place.width / 2, floor + 31);
    pen.save();
    pen.translate(11 + edge - left, place.top + place.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(cut(yLabel, place.height), 0, 0);
    pen.restore();
    pen.strokeRect(Math.max(left, frame.x(view, 0)) - 0.5, Math.max(place.top, frame.y(view, 0)) - 0.5, Math.min(place.width, frame.shape[1] * frame.fitX * view.zoom) + 1, Math.min(place.height, frame.shape[0] * frame.fitY * view.zoom) + 1);
    pen.save();
    pen.translate(0, 3);
    const { low, high, label, map = "sequential", text } = options.scale;
    colourBar(pen, colours, { low, high, label, map, ...(text ? { text } : {}) }, left, width - left - 96);
    pen.restore();
  };

  return {
    place,
    axes,
    nothing() {
      pen.fillStyle = colours.text;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText("Nothing to show: the matrix has no cells.", width / 2, height / 2);
    },
    background(frame, view) {
      // A hatch below everything: what stays to be seen of it is missing.
      const [x0, y0] = [Math.max(left, frame.x(view, 0)), Math.max(place.top, frame.y(view, 0))];
      const [x1, y1] = [Math.min(left + place.width, frame.x(view, frame.shape[1])), Math.min(place.top + place.height, frame.y(view, frame.shape[0]))];
      clip(x0, y0, x1 - x0, y1 - y0);
      pen.strokeStyle = colours.grid;
      pen.lineWidth = 1;
      pen.beginPath();
      for (let at = -(y1 - y0); at < x1 - x0; at += 6) {
        pen.moveTo(x0 + at, y1);
        pen.lineTo(x0 + at + (y1 - y0), y0);
      }
      pen.stroke();
      canvasPen.restore();
    },
    picture(frame, view, image, row, col, rows, cols) {
      const [x0, y0] = [frame.x(view, col), frame.y(view, row)];
      const [x1, y1] = [frame.x(view, col + cols), frame.y(view, row + rows)];
      if (x1 <= left || y1 <= place.top || x0 >= left + place.width || y0 >= place.top + place.height) return;
      clip(left, place.top, place.width, place.height);
      // Cells keep their edges and what is reduced stays smooth: a matrix that is wide and low is both, one after the other.
      const [thin, low] = [(x1 - x0) / image.width < 1, (y1 - y0) / image.height < 1];
      canvasPen.imageSmoothingEnabled = thin && low;
      canvasPen.imageSmoothingQuality = "medium";
      const drawn = thin !== low ? reduced(image, thin ? x1 - x0 : image.width, low ? y1 - y0 : image.height) : image;
      canvasPen.drawImage(drawn, x0, y0, x1 - x0, y1 - y0);
      canvasPen.restore();
    },
    over(frame, view, marks, here) {
      clip(left, place.top, place.width, place.height);
      const [cellX, cellY] = [frame.fitX * view.zoom, frame.fitY * view.zoom];
      for (const { row, col } of marks) ring(pen, colours, frame.x(view, col + 0.5), frame.y(view, row + 0.5), Math.max(5, Math.min(cellX, cellY) / 2 + 2));
      if (here) {
        const [x, y] = [frame.x(view, here.col), frame.y(view, here.row)];
        pen.globalAlpha = 0.55;
        pen.fillStyle = colours.fg;
        pen.fillRect(left, Math.round(y + cellY / 2), place.width, 1);
        pen.fillRect(Math.round(x + cellX / 2), place.top, 1, place.height);
        pen.globalAlpha = 1;
        for (const [colour, thick] of [[colours.back, 4], [colours.fg, 2]] as const) {
          pen.strokeStyle = colour;
          pen.lineWidth = thick;
          pen.strokeRect(x - 1, y - 1, Math.max(5, cellX + 2), Math.max(5, cellY + 2));
        }
      }
      canvasPen.restore();
      axes(frame, view);
    },
    minimap(frame, view, overview, size) {
      const [rows, cols] = frame.shape;
      const [w, h] = rows > cols ? [Math.max(8, (size * cols) / rows), size] : [size, Math.max(8, (size * rows) / cols)];
      const [x, y] = [left + place.width - w - 6, place.top + 6];
      pen.fillStyle = colours.back;
      pen.fillRect(x - 3, y - 3, w + 6, h + 6);
      canvasPen.drawImage(overview, x, y, w, h);
      pen.strokeStyle = colours.text;
      pen.lineWidth = 1;
      pen.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
      const sight = frame.sight(view);
      pen.strokeStyle = colours.bad;
      pen.lineWidth = 2;
      const [bx, by] = [x + (w * sight.cols[0]) / cols, y + (h * sight.rows[0]) / rows];
      pen.strokeRect(bx, by, Math.max(3, (w * (sight.cols[1] - sight.cols[0])) / cols), Math.max(3, (h * (sight.rows[1] - sight.rows[0])) / rows));
    },
  };
}

function reduced(image: HTMLCanvasElement, width: number, height: number): HTMLCanvasElement {
  const small = document.createElement("canvas");
  [small.width, small.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  const pen = small.getContext("2d");
  if (pen) pen.imageSmoothingQuality = "medium";
  pen?.drawImage(image, 0, 0, small.width, small.height);
  return small;
}

function ring(pen: Pen, colours: Colours, x: number, y: number, radius: number): void {
  for (const [colour, thick] of [[colours.back, 4], [colours.bad, 2]] as const) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.stroke();
  }
}

function leftMargin(pen: Pen, { rowName, shape }: HeatmapOptions, width: number): number {
  if (!rowName) return 56;
  const step = Math.max(1, Math.floor(shape[0] / 60));
  let widest = 20;
  for (let row = 0; row < shape[0]; row += step) widest = Math.max(widest, pen.measureText(rowName(row).slice(0, 40)).width);
  return 26 + Math.min(NAME_WIDTH, 0.28 * width, widest);
}
