// A table that draws only the rows in sight: sorting, selecting and walking stay quick to 131k rows and beyond.
import type { Columns, Filter, Row, Sort, Value } from "./columns.ts";
import { orderRows, rowAt, valueAt, type Column } from "./columns.ts";
import type { Source } from "./source.ts";
import { VirtualTable } from "./table.ts";

export type { Column, Columns, Filter, Row, Sort, Value } from "./columns.ts";

export interface ColumnSpec {
  /** Of the data. */
  name: string;
  /** In the header. */
  label: string;
  /** Longer name: tooltip of the header. */
  title?: string;
  /** A CSS grid track: "80px", "minmax(120px, 1fr)". By default as wide as numbers need, texts share what is left. */
  width?: string;
  /** Numbers to the right unless said otherwise. */
  align?: "left" | "right";
  /** How a value reads; numbers by core/format.ts `number`, a missing one as "–". */
  text?: (value: Value, row: Row) => string;
  /** A share from 0 to 1 drawn as a bar behind the text. */
  bar?: (value: Value, row: Row) => number;
  /** Fill the cell with elements instead of text; called again whenever the cell shows another row. */
  cell?: (cell: HTMLElement, value: Value, row: Row) => void;
  /** False: the header does not sort. */
  sortable?: boolean;
  /** Direction of the first click; numbers begin with the largest. */
  first?: "ascending" | "descending";
}

export interface RowSource {
  /** Rows of the whole table. */
  readonly rows: number;
  /** Order and filter from now on; resolves with the number of rows left. Aborts what an earlier call still waits for. */
  order(sort: Sort | null, filter: Filter): Promise<number>;
  /** Rows of the present order, from `start`, at most `count`. */
  page(start: number, count: number): Promise<Columns>;
  /** Rows of the present order if they are at hand without waiting. */
  ready?(start: number, count: number): Columns | null;
  /** Where the row with this value lies in the present order; -1 when it is not in it. */
  find(column: string, value: number): Promise<number>;
}

export interface TableOptions {
  columns: readonly ColumnSpec[];
  source: RowSource;
  /** CSS pixels, header included; fewer rows make it lower. */
  height: number;
  /** Name for screen readers. */
  label: string;
  /** Column of whole numbers that name a row: selections are lists of these. */
  id: string;
  sort?: Sort | null;
  /** What a screen reader says of a row, beside its cells. */
  rowLabel?: (row: Row) => string;
  /** A person chose a row: by arrows ("walk", once a frame at most) or by click, Enter or Space ("pick"). */
  onSelect?: (row: Row, how: "walk" | "pick") => void;
  /** The set of selected rows changed by hand (Ctrl and Shift add to it). */
  onSelection?: (ids: number[]) => void;
  /** After each sort or filter: rows left and sort. */
  onOrder?: (rows: number, sort: Sort | null) => void;
  /** A page could not be read. */
  onError?: (error: unknown) => void;
  /** Instead of rows when none is left. */
  empty?: string;
}

export interface Table {
  readonly element: HTMLElement;
  /** Rows left by the filter. */
  readonly rows: number;
  readonly sort: Sort | null;
  readonly filter: Filter;
  readonly selected: readonly number[];
  sortBy(sort: Sort | null): Promise<void>;
  setFilter(filter: Filter): Promise<number>;
  /** From elsewhere: no listener is called. `reveal` scrolls to the first of them. */
  select(ids: readonly number[], reveal?: boolean): void;
  /** Scroll to the row with this id; false when the filter has left it out. */
  goto(id: number): Promise<boolean>;
  setColumns(columns: readonly ColumnSpec[]): void;
  /** Other data. */
  setSource(source: RowSource): Promise<void>;
  /** Draw again, for instance when `text` of a column says something else. */
  redraw(): void;
  focus(): void;
  close(): void;
}

export function virtualTable(options: TableOptions): Table {
  return new VirtualTable(options);
}

/** Typed arrays in the page: 131k rows are sorted in well under 100 ms. */
export function localRows(table: Columns): RowSource {
  let order = orderRows(table, null);
  const ready = (start: number, count: number) => take(table, order.subarray(start, start + count));
  return {
    rows: table.rows,
    async order(sort, filter) {
      order = orderRows(table, sort, filter);
      return order.length;
    },
    page: async (start, count) => ready(start, count),
    ready,
    async find(name, value) {
      const column = table.columns[name];
      return column ? order.findIndex((row) => column[row] === value) : -1;
    },
  };
}

/** Some rows of a table, as a table. */
export function take(table: Columns, rows: ArrayLike<number>): Columns {
  const count = rows.length;
  const columns: Record<string, Column> = {};
  for (const [name, column] of Object.entries(table.columns)) {
    const kept = (Array.isArray(column) ? new Array(count) : new (column.constructor as Float64ArrayConstructor)(count)) as Float64Array;
    for (let i = 0; i < count; i++) kept[i] = column[rows[i]!] as number;
    columns[name] = kept;
  }
  return { rows: count, columns };
}

const PAGE = 200;
const KEPT = 60; // pages: 12,000 rows

/** What a kernel answers to `{sort, filter, start, count}`: those rows, and how many the filter leaves. */
export interface PageAnswer extends Columns {
  total: number;
}

/**
 * Rows that a kernel sorts and filters. `what` is asked with `{sort: {column, descending} | null, filter, start, count}` and
 * answers `{rows, columns, total}`; with `{sort, filter, find: {column, value}}` it answers `{position}` (-1: not there).
 * `more` goes along with each question.
 */
export function remoteRows(source: Source, what: string, rows: number, more: object = {}): RowSource {
  let sort: Sort | null = null;
  let filter: Filter = {};
  let total = rows;
  let stop = new AbortController();
  let pages = new Map<number, Promise<Columns> | Columns>();
  const fetchPage = (page: number): Promise<Columns> | Columns => {
    const known = pages.get(page);
    if (known) return known;
    const mine = pages;
    const asked = source.ask<PageAnswer>(what, { ...more, sort, filter, start: page * PAGE, count: PAGE }, stop.signal).then(
      (answer) => {
        total = answer.total;
        mine.set(page, answer);
        return answer;
      },
      (error: unknown) => {
        mine.delete(page); // the next look asks again
        throw error;
      },
    );
    mine.set(page, asked);
    for (const old of mine.keys()) {
      if (mine.size <= KEPT) break;
      mine.delete(old);
    }
    return asked;
  };
  const join = (start: number, count: number, get: (page: number) => Columns): Columns => {
    const last = Math.min(start + count, total);
    const parts: Columns[] = [];
    for (let at = start; at < last; ) {
      const page = Math.floor(at / PAGE);
      const from = at - page * PAGE;
      const some = Math.min(PAGE - from, last - at);
      parts.push(take(get(page), Array.from({ length: some }, (_, i) => from + i)));
      at += some;
    }
    return parts.length === 1 ? parts[0]! : joined(parts);
  };
  const among = (start: number, count: number) => {
    const [first, last] = [Math.floor(start / PAGE), Math.floor((Math.min(start + count, total) - 1) / PAGE)];
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
  };
  return {
    rows,
    async order(nextSort, nextFilter) {
      stop.abort();
      stop = new AbortController();
      pages = new Map();
      [sort, filter] = [nextSort, nextFilter];
      await fetchPage(0);
      return total;
    },
    async page(start, count) {
      const got = new Map<number, Columns>();
      await Promise.all(among(start, count).map(async (page) => got.set(page, await fetchPage(page))));
      return join(start, count, (page) => got.get(page)!);
    },
    ready(start, count) {
      const needed = among(start, count).map((page) => pages.get(page));
      if (needed.some((page) => !page || page instanceof Promise)) return null;
      return join(start, count, (page) => pages.get(page) as Columns);
    },
    async find(column, value) {
      return (await source.ask<{ position: number }>(what, { ...more, sort, filter, find: { column, value } }, stop.signal)).position;
    },
  };
}

function joined(parts: readonly Columns[]): Columns {
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const columns: Record<string, Column> = {};
  for (const name of Object.keys(parts[0]?.columns ?? {})) {
    const values = parts.flatMap((part) => Array.from({ length: part.rows }, (_, i) => valueAt(part.columns[name], i)));
    columns[name] = values.some((value) => typeof value === "string") ? (values as (string | null)[]) : Float64Array.from(values, (value) => (value === null ? NaN : Number(value)));
  }
  return { rows, columns };
}

export { orderRows, rowAt, valueAt };
