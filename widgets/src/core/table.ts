// The table of rows.ts: which rows are in sight, their cells, what pointer and keys do.
//
// A real <table role="grid"> whose rows are placed one by one: those in sight lie in a small pool of elements that are
// written anew as the table scrolls. Focus stays on the table and names its cell (aria-activedescendant), so that
// nothing is lost when the row under it leaves the pool.
import { emptyRow, writeRow, type Drawn } from "./cells.ts";
import { rowAt, type Columns, type Filter, type Row, type Sort } from "./columns.ts";
import { h, ringWhileFocused, setText } from "./dom.ts";
import type { ColumnSpec, RowSource, Table, TableOptions } from "./rows.ts";
import { inSight, trackedColumns, tracks } from "./sight.ts";
import css from "./table.css";

const ROW = 28; // CSS pixels, as in table.css
const SPARE = 4; // rows drawn above and below those in sight
const SETTLE_MS = 60; // rows that rush by are not asked for
const EXTENT = 5000; // rows that one Shift click may take

let numbered = 0; // ids must differ between the tables of one view, nothing more

export class VirtualTable implements Table {
  readonly element: HTMLElement;
  readonly #options: TableOptions;
  readonly #id = `grid-${++numbered}`;
  readonly #head = h("tr", { role: "row", "aria-rowindex": 1 });
  readonly #body = h("tbody", { role: "rowgroup" });
  readonly #none = h("div", { class: "none", role: "status", hidden: true });
  readonly #table: HTMLTableElement;
  readonly #sizes: ResizeObserver;
  #columns: readonly ColumnSpec[];
  #numeric = new Set<string>();
  #source: RowSource;
  #pool: Drawn[] = [];
  #epoch = 0; // what is drawn is written anew when it moves on
  #turn = 0; // of the last order asked for: answers to older ones are dropped
  #frame = 0;
  #state: "asked" | "here" | "failed" = "asked"; // rows of the present order
  #settle: ReturnType<typeof setTimeout> | undefined;
  #walk = 0;
  #here = { row: 0, column: 0 }; // row -1 is the header
  #pointed: HTMLElement | undefined; // the cell of it, if that is drawn
  #anchor = 0;
  #selected = new Set<number>();
  rows: number;
  sort: Sort | null;
  filter: Filter = {};

  constructor(options: TableOptions) {
    this.#options = options;
    this.#columns = options.columns;
    this.#source = options.source;
    this.rows = 0;
    this.sort = options.sort ?? null;
    const many = options.onSelection ? "true" : null;
    this.#table = h("table", { role: "grid", tabindex: 0, "aria-label": options.label, "aria-multiselectable": many }, h("thead", { role: "rowgroup" }, this.#head), this.#body);
    this.element = h("div", { class: "grid" }, h("style", {}, css), this.#table, this.#none);
    this.element.addEventListener("scroll", () => this.#schedule(), { passive: true });
    this.#table.addEventListener("keydown", (event) => this.#key(event));
    this.#table.addEventListener("focus", () => this.#point());
    ringWhileFocused(this.#table, this.element);
    this.#body.addEventListener("click", (event) => this.#click(event));
    this.#sizes = new ResizeObserver(() => this.#schedule());
    this.#sizes.observe(this.element);
    this.#height();
    this.#header();
    void this.sortBy(this.sort);
  }

  get selected(): readonly number[] {
    return [...this.#selected];
  }

  async sortBy(sort: Sort | null): Promise<void> {
    await this.#order(sort, this.filter);
  }

  async setFilter(filter: Filter): Promise<number> {
    await this.#order(this.sort, filter);
    return this.rows;
  }

  async setSource(source: RowSource): Promise<void> {
    this.#source = source;
    this.#numeric.clear();
    this.#height();
    await this.#order(this.sort, this.filter);
  }

  async #order(sort: Sort | null, filter: Filter): Promise<void> {
    const turn = ++this.#turn;
    [this.sort, this.filter] = [sort, filter];
    this.#table.setAttribute("aria-busy", "true");
    this.#state = "asked";
    try {
      const rows = await this.#source.order(sort, filter);
      const first = this.#numeric.size === 0 && rows > 0 ? await this.#source.page(0, 1) : null;
      if (turn !== this.#turn) return;
      if (first) this.#learn(trackedColumns(first));
      if (this.rows > 0) this.element.scrollTop = 0; // lays out the whole page: not while it is being built
      this.rows = rows;
      this.#state = "here";
      this.#here.row = Math.min(this.#here.row, rows - 1);
      this.#header();
      this.redraw();
      this.#options.onOrder?.(rows, sort);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#state = "failed";
      this.#schedule();
      this.#fail(error);
    } finally {
      if (turn === this.#turn) this.#table.removeAttribute("aria-busy");
    }
  }

  /** Which columns hold numbers decides their sides and widths. */
  #learn(numeric: Set<string>): void {
    this.#numeric = numeric;
    this.#pool = [];
    this.#body.replaceChildren();
  }

  select(ids: readonly number[], reveal = false): void {
    this.#selected = new Set(ids);
    this.#mark();
    if (reveal && ids[0] !== undefined) void this.goto(ids[0]);
  }

  async goto(id: number): Promise<boolean> {
    const turn = this.#turn;
    try {
      const row = await this.#source.find(this.#options.id, id);
      if (row < 0 || turn !== this.#turn) return false;
      this.#here.row = this.#anchor = row;
      this.#reveal(true);
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  setColumns(columns: readonly ColumnSpec[]): void {
    this.#columns = columns;
    this.#pool = [];
    this.#body.replaceChildren();
    this.#here.column = Math.min(this.#here.column, columns.length - 1);
    this.#header();
    this.redraw();
  }

  redraw(): void {
    this.#epoch++;
    this.#schedule();
  }

  focus(): void {
    this.#table.focus({ preventScroll: true });
  }

  close(): void {
    this.#turn++;
    this.#sizes.disconnect();
    clearTimeout(this.#settle);
    cancelAnimationFrame(this.#frame);
    cancelAnimationFrame(this.#walk);
  }

  #fail(error: unknown): void {
    if (!(error instanceof Error && error.name === "AbortError")) this.#options.onError?.(error);
  }

  #height(): void {
    const rows = Math.max(3, this.#source.rows);
    this.element.style.height = `${Math.min(this.#options.height, (rows + 1) * ROW + 14)}px`;
  }

  #header(): void {
    this.#table.style.setProperty("--columns", tracks(this.#columns, this.#numeric));
    this.#table.setAttribute("aria-colcount", String(this.#columns.length));
    const cells = this.#columns.map((spec, i) => {
      const sorted = this.sort?.column === spec.name ? (this.sort.descending ? "descending" : "ascending") : null;
      const arrow = sorted && h("span", { "aria-hidden": true }, sorted === "descending" ? " ↓" : " ↑");
      const fixed = spec.sortable === false;
      const order = fixed ? null : (sorted ?? "none");
      const th = h("th", { role: "columnheader", scope: "col", class: this.#side(spec), title: spec.title, "aria-sort": order, "aria-colindex": i + 1, "data-fixed": fixed }, spec.label, arrow);
      if (!fixed) th.addEventListener("click", () => this.#turnTo(spec));
      return th;
    });
    this.#head.replaceChildren(...cells);
    this.#point();
  }

  #turnTo(spec: ColumnSpec): void {
    if (spec.sortable === false) return;
    const largest = spec.first ? spec.first === "descending" : this.#numeric.has(spec.name);
    const descending = this.sort?.column === spec.name ? !this.sort.descending : largest;
    void this.sortBy({ column: spec.name, descending });
  }

  #side(spec: ColumnSpec): string {
    return (spec.align ?? (this.#numeric.has(spec.name) ? "right" : "left")) === "right" ? "right" : "";
  }

  #schedule(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    this.#table.setAttribute("aria-rowcount", String(this.rows + 1));
    const none = this.rows === 0 && this.#state !== "asked";
    if (this.#none.hidden === none) this.#none.hidden = !none;
    setText(this.#none, !none ? "" : this.#state === "failed" ? "These rows could not be read." : (this.#options.empty ?? "No rows."));
    const { clientHeight, scrollTop } = this.element;
    // 0 while a notebook has taken the cell out of its page, which it puts back without any change of size to be told of.
    const height = clientHeight || this.#options.height;
    const sight = inSight(this.rows, ROW, height - ROW, scrollTop, SPARE);
    this.#body.style.height = `${sight.extent}px`;
    while (this.#pool.length < sight.last - sight.first || this.#pool.length % 2 === 1) this.#addRow(); // even: a row element keeps its shade
    // As many rows as there are elements, so that none is taken away and put back while the table scrolls.
    const size = this.#pool.length;
    const first = Math.max(0, Math.min(sight.first, this.rows - size));
    const count = Math.min(size, this.rows - first);
    const page = count > 0 ? this.#at(first, count) : null;
    for (let row = first; row < first + size; row++) {
      const drawn = this.#pool[row % size]!;
      const beyond = row >= this.rows;
      if (drawn.tr.hidden !== beyond) drawn.tr.hidden = beyond;
      if (beyond) continue;
      const top = row * ROW + sight.shift;
      if (drawn.top !== top) drawn.tr.style.transform = `translateY(${(drawn.top = top)}px)`;
      if (drawn.row === row && drawn.epoch === this.#epoch) continue;
      this.#write(drawn, row, page ? rowAt(page, row - first) : null);
    }
    this.#point();
    if (!page && count > 0) this.#ask(first, count);
  }

  #addRow(): void {
    const drawn = emptyRow(this.#columns.map((spec) => this.#side(spec)));
    this.#pool.push(drawn);
    this.#body.append(drawn.tr);
  }

  #at(start: number, count: number): Columns | null {
    return this.#source.ready?.(start, count) ?? null;
  }

  /** Rows that are not at hand are asked for once scrolling has settled, and drawn if they are still in sight then. */
  #ask(start: number, count: number): void {
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => {
      const turn = this.#turn;
      this.#source.page(start, count).then(
        () => turn === this.#turn && this.redraw(),
        (error: unknown) => turn === this.#turn && this.#fail(error),
      );
    }, SETTLE_MS);
  }

  #write(drawn: Drawn, row: number, values: Row | null): void {
    drawn.epoch = values ? this.#epoch : -1;
    writeRow(drawn, row, values, this.#columns, this.#options);
    drawn.tr.ariaSelected = String(this.#selected.has(Number(drawn.tr.dataset["id"] || NaN)));
  }

  /** Show which cell the keys act on. */
  #point(): void {
    const { row, column } = this.#here;
    const drawn = this.#pool.find((some) => some.row === row && !some.tr.hidden);
    const cell = row < 0 ? this.#head.cells[column] : drawn?.tr.cells[column];
    const id = `${this.#id}-here`;
    if (cell === this.#pointed) return;
    this.#pointed?.removeAttribute("data-here");
    this.#pointed?.removeAttribute("id");
    this.#pointed = cell;
    if (!cell) return this.#table.removeAttribute("aria-activedescendant");
    cell.id = id;
    cell.dataset["here"] = "";
    this.#table.setAttribute("aria-activedescendant", id);
  }

  #mark(): void {
    for (const { tr } of this.#pool) tr.ariaSelected = String(this.#selected.has(Number(tr.dataset["id"] || NaN)));
  }

  #reveal(centre = false): void {
    const { row, column } = this.#here;
    const view = this.element.clientHeight - ROW;
    if (row >= 0) {
      const { scrollTop } = this.element;
      const sight = inSight(this.rows, ROW, view, scrollTop, 0);
      const top = row * ROW + sight.shift;
      const ratio = sight.extent / Math.max(1, this.rows * ROW);
      if (centre) this.element.scrollTop = Math.max(0, (row * ROW - (view - ROW) / 2) * ratio);
      else if (top < scrollTop) this.element.scrollTop = ratio < 1 ? row * ROW * ratio : top;
      else if (top + ROW > scrollTop + view) this.element.scrollTop = ratio < 1 ? (row * ROW + ROW - view) * ratio : top + ROW - view;
    }
    const head = this.#head.cells[column];
    if (head) {
      const { scrollLeft, clientWidth } = this.element;
      if (head.offsetLeft < scrollLeft) this.element.scrollLeft = head.offsetLeft;
      else if (head.offsetLeft + head.offsetWidth > scrollLeft + clientWidth) this.element.scrollLeft = head.offsetLeft + head.offsetWidth - clientWidth;
    }
    this.#schedule();
    this.#point();
  }

  #key(event: KeyboardEvent): void {
    const { row, column } = this.#here;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 2);
    const last = this.rows - 1;
    const to = { ArrowDown: row + 1, ArrowUp: row - 1, PageDown: row + page, PageUp: Math.max(0, row - page), Home: 0, End: last }[event.key];
    const side = { ArrowLeft: column - 1, ArrowRight: column + 1 }[event.key];
    this.element.dataset["keys"] = "";
    if (to !== undefined) {
      this.#here.row = Math.max(-1, Math.min(last, to));
      this.#reveal();
      if (this.#here.row >= 0 && !event.ctrlKey && !event.metaKey) this.#follow(event.shiftKey);
    } else if (side !== undefined) {
      this.#here.column = Math.max(0, Math.min(this.#columns.length - 1, side));
      this.#reveal();
    } else if (event.key === "Enter" || event.key === " ") {
      if (row < 0) this.#turnTo(this.#columns[column]!);
      else void this.#choose(row, event.key === " " ? "toggle" : "one", "pick");
    } else if (event.key === "Escape" && this.#selected.size > 0) this.#selection([]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The selection goes with the arrows, at most once a frame. */
  #follow(extend: boolean): void {
    if (this.#walk !== 0) return;
    this.#walk = requestAnimationFrame(() => {
      this.#walk = 0;
      if (this.#here.row >= 0) void this.#choose(this.#here.row, extend ? "extend" : "one", "walk");
    });
  }

  #click(event: MouseEvent): void {
    const tr = (event.target as Element).closest("tr");
    const drawn = this.#pool.find((some) => some.tr === tr);
    if (!drawn || drawn.epoch < 0 || (event.target as Element).closest("button, a, input")) return;
    delete this.element.dataset["keys"];
    this.#here = { row: drawn.row, column: Math.max(0, [...drawn.tr.cells].findIndex((cell) => cell.contains(event.target as Node))) };
    this.#point();
    this.focus();
    void this.#choose(drawn.row, event.shiftKey ? "extend" : event.ctrlKey || event.metaKey ? "toggle" : "one", "pick");
  }

  async #choose(row: number, how: "one" | "toggle" | "extend", told: "walk" | "pick"): Promise<void> {
    const turn = this.#turn;
    const wanted = how === "extend" && this.#options.onSelection ? [Math.min(row, this.#anchor), Math.max(row, this.#anchor) + 1] as const : ([row, row + 1] as const);
    const [start, stop] = [wanted[0], Math.min(wanted[1], wanted[0] + EXTENT)];
    try {
      const page = this.#at(start, stop - start) ?? (await this.#source.page(start, stop - start));
      if (turn !== this.#turn || page.rows === 0) return;
      const ids = Array.from(page.columns[this.#options.id] ?? [], Number);
      if (how !== "extend") this.#anchor = row;
      if (how === "toggle" && this.#options.onSelection) {
        const next = new Set(this.#selected);
        if (!next.delete(ids[0]!)) next.add(ids[0]!);
        this.#selection([...next]);
      } else this.#selection(ids);
      this.#options.onSelect?.(rowAt(page, Math.min(page.rows - 1, row - start)), told);
    } catch (error) {
      this.#fail(error);
    }
  }

  #selection(ids: number[]): void {
    this.#selected = new Set(ids);
    this.#mark();
    this.#options.onSelection?.(ids);
  }
}
