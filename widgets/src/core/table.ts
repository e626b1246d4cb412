// The drawing and keyboard of rows.ts's table.
import type { Filter, Sort } from "./columns.ts";
import { rowAt } from "./columns.ts";
import { h } from "./dom.ts";
import { number } from "./format.ts";
import type { ColumnSpec, RowSource, Table, TableOptions } from "./rows.ts";

export class VirtualTable implements Table {
  readonly element: HTMLElement;
  readonly #options: TableOptions;
  rows = 0;
  sort: Sort | null;
  filter: Filter = {};
  selected: readonly number[] = [];

  constructor(options: TableOptions) {
    this.#options = options;
    this.sort = options.sort ?? null;
    this.element = h("div", { class: "grid", style: `height:${options.height}px`, tabindex: 0 });
    void this.sortBy(this.sort);
  }
  async sortBy(sort: Sort | null): Promise<void> {
    this.sort = sort;
    this.rows = await this.#options.source.order(sort, this.filter);
    const page = await this.#options.source.page(0, 100);
    const rows = Array.from({ length: page.rows }, (_, i) => rowAt(page, i));
    this.element.replaceChildren(
      h("table", {}, ...rows.map((row) => h("tr", {}, ...this.#options.columns.map(({ name }) => h("td", {}, typeof row[name] === "number" ? number(row[name]) : (row[name] ?? "–")))))),
    );
  }
  async setFilter(filter: Filter): Promise<number> {
    this.filter = filter;
    await this.sortBy(this.sort);
    return this.rows;
  }
  select(ids: readonly number[]): void {
    this.selected = ids;
  }
  async goto(): Promise<boolean> {
    return false;
  }
  setColumns(_columns: readonly ColumnSpec[]): void {}
  async setSource(_source: RowSource): Promise<void> {}
  redraw(): void {}
  focus(): void {
    this.element.focus();
  }
  close(): void {}
}
