// A training's curves as files: every point that is here as CSV or JSON, the charts as PNG or SVG.
import { BarChart } from "../core/bars.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { WIRE } from "../core/protocol.ts";
import type { Colours } from "../core/palette.ts";
import type { Export } from "../core/shell.ts";
import { toSvg, type Pen } from "../core/svg.ts";
import type { Lens } from "./lens.ts";
import { drawing, latentsOf, PANELS } from "./panels.ts";
import { Plot } from "./plot.ts";

const [WIDTH, HEIGHT, HEAD, GAP, ACROSS] = [320, 150, 22, 16, 3];

export function savings(lens: Lens, colours: () => Colours): Export[] {
  const name = (suffix: string) => `${lens.run.card?.name ?? "training"}.${suffix}`;
  const columns = () => Object.fromEntries(WIRE.map((column) => [column, lens.history.column(column).slice()]));
  return [
    { label: "Points as CSV", name: name("csv"), make: () => toCsv({ rows: lens.history.rows, columns: columns() }, WIRE) },
    { label: "Card and points as JSON", name: name("json"), make: () => toJson({ card: lens.run.card, total: lens.run.history.total, points: columns() }) },
    { label: "Charts as PNG", name: name("png"), make: () => png(lens, colours()) },
    { label: "Charts as SVG", name: name("svg"), make: () => toSvg(...size(lens), (pen) => paint(pen, lens, colours()), colours().back) },
  ];
}

function size(lens: Lens): [width: number, height: number] {
  const charts = PANELS.length + (lens.run.card?.latest.density?.length ? 1 : 0);
  const rows = Math.ceil(charts / ACROSS);
  return [ACROSS * WIDTH + (ACROSS + 1) * GAP, rows * (HEIGHT + HEAD + GAP) + GAP];
}

function paint(pen: Pen, lens: Lens, colours: Colours): void {
  const font = "system-ui, sans-serif";
  const density = lens.run.card?.latest.density ?? [];
  const row = lens.row();
  const charts = PANELS.map((panel) => ({
    title: `${panel.label} ${row >= 0 ? panel.text(panel.series(lens.history, latentsOf(lens.run))[row]!, latentsOf(lens.run)) : ""}`,
    draw: () => new Plot().paint(pen, WIDTH, HEIGHT, font, colours, { ...drawing(panel, lens, colours, colours.theme, null) }),
  }));
  if (density.length > 0) charts.push({ title: "Firing rate", draw: () => new BarChart().paint(pen, WIDTH, HEIGHT, font, colours, density, null) });
  charts.forEach(({ title, draw }, i) => {
    pen.save();
    pen.translate(GAP + (i % ACROSS) * (WIDTH + GAP), GAP + Math.floor(i / ACROSS) * (HEIGHT + HEAD + GAP));
    [pen.font, pen.fillStyle, pen.textAlign, pen.textBaseline] = [`600 12px ${font}`, colours.fg, "left", "alphabetic"];
    pen.fillText(title, 4, 12);
    pen.translate(0, HEAD);
    draw();
    pen.restore();
  });
}

function png(lens: Lens, colours: Colours): Promise<Blob> {
  const canvas = document.createElement("canvas");
  const [width, height] = size(lens);
  [canvas.width, canvas.height] = [2 * width, 2 * height];
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("This browser gave no canvas to draw on.");
  pen.scale(2, 2);
  pen.fillStyle = colours.back;
  pen.fillRect(0, 0, width, height);
  paint(pen, lens, colours);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The browser could not make a PNG.")))));
}
