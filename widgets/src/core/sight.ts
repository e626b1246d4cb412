// Which rows of a long table are in sight, how wide its columns are, and how its cells read.
import type { Columns, Row, Value } from "./columns.ts";
import { number } from "./format.ts";
import type { ColumnSpec } from "./rows.ts";

const TALLEST = 12_000_000; // CSS pixels: browsers end elements somewhere above
const LONGEST = 300; // characters in a cell

export interface Sight {
  first: number;
  /** Excluded. */
  last: number;
  /** Height of what scrolls. */
  extent: number;
  /** To add to a row's own place (row × height): not 0 where a table is taller than an element can be. */
  shift: number;
}

export function inSight(rows: number, row: number, view: number, scrollTop: number, spare: number): Sight {
  const whole = rows * row;
  const extent = Math.min(whole, TALLEST);
  const top = whole > extent && extent > view ? (scrollTop / (extent - view)) * (whole - view) : scrollTop;
  const first = Math.max(0, Math.floor(top / row) - spare);
  const last = Math.max(first, Math.min(rows, Math.ceil((top + Math.max(0, view)) / row) + spare));
  return { first, last, extent, shift: whole > extent ? scrollTop - top : 0 };
}

/** Names of the columns that hold numbers. */
export function trackedColumns(page: Columns): Set<string> {
  return new Set(Object.keys(page.columns).filter((name) => !Array.isArray(page.columns[name])));
}

/** The grid's column template. */
export function tracks(columns: readonly ColumnSpec[], numeric: ReadonlySet<string>): string {
  return columns.map(({ name, label, width }) => width ?? (numeric.has(name) ? `minmax(${Math.max(64, 8 * label.length + 26)}px, 1fr)` : "minmax(120px, 3fr)")).join(" ");
}

export function cellText(spec: ColumnSpec, value: Value, row: Row): string {
  const text = spec.text ? spec.text(value, row) : value === null ? "–" : typeof value === "number" ? plain(value) : value;
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** Whole numbers name things (feature 12345) and are written out; others have three digits. */
function plain(value: number): string {
  return Number.isInteger(value) && Math.abs(value) < 1e7 ? String(value).replace("-", "−") : number(value);
}
