// Files a person takes away: CSV, JSON, PNG and SVG of what a view shows.
import type { Columns } from "./columns.ts";
import { valueAt } from "./columns.ts";

const RISKY = /^[=+\-@\t\r]/; // a spreadsheet would run a text that begins so

/** RFC 4180 with a header; numbers plain, gaps empty, texts that a spreadsheet would run begin with an apostrophe. */
export function toCsv(table: Columns, names: readonly string[] = Object.keys(table.columns)): Blob {
  return new Blob([csvText(table, names)], { type: "text/csv;charset=utf-8" });
}

export function csvText(table: Columns, names: readonly string[] = Object.keys(table.columns)): string {
  const lines = [names.map(csvCell).join(",")];
  const columns = names.map((name) => table.columns[name]);
  for (let row = 0; row < table.rows; row++) lines.push(columns.map((column) => csvCell(shorter(valueAt(column, row), column))).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

/** A float32 as the shortest decimal that means it: 0.1, not 0.10000000149011612. */
function shorter(value: number | string | null, column: unknown): number | string | null {
  if (typeof value !== "number" || !(column instanceof Float32Array)) return value;
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === value ? short : Number(value.toPrecision(9));
}

function csvCell(value: number | string | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const safe = RISKY.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Typed arrays become lists; NaN and infinite numbers become null, as JSON has none. */
export function toJson(value: unknown): Blob {
  return new Blob([jsonText(value)], { type: "application/json" });
}

export function jsonText(value: unknown): string {
  const plain = (_key: string, item: unknown): unknown => {
    if (typeof item === "number" && !Number.isFinite(item)) return null;
    if (!ArrayBuffer.isView(item) || item instanceof DataView) return item;
    const list = Array.from(item as unknown as ArrayLike<number>);
    return item instanceof Float32Array ? list.map((number) => shorter(number, item)) : list;
  };
  return `${JSON.stringify(value, plain, 1)}\n`;
}

/** The canvas over its view's background: a transparent PNG is unreadable on a page of the other theme. */
export function canvasPng(canvas: HTMLCanvasElement, background: string): Promise<Blob> {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const pen = copy.getContext("2d");
  if (!pen || copy.width === 0) return Promise.reject(new Error("There is nothing drawn to export yet: scroll the view into sight first."));
  pen.fillStyle = background;
  pen.fillRect(0, 0, copy.width, copy.height);
  pen.drawImage(canvas, 0, 0);
  return new Promise((done, fail) => copy.toBlob((blob) => (blob ? done(blob) : fail(new Error("The browser could not make a PNG of this view."))), "image/png"));
}

export function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.\- ]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}
