// The row elements of a table, which show one row after the other as it scrolls.
import type { Row } from "./columns.ts";
import { h } from "./dom.ts";
import type { ColumnSpec, TableOptions } from "./rows.ts";
import { cellText } from "./sight.ts";

export interface Drawn {
  readonly tr: HTMLTableRowElement;
  row: number;
  /** Of what it shows; -1 while its values are on their way. */
  epoch: number;
  top: number;
}

export function emptyRow(sides: readonly string[]): Drawn {
  const tr = h("tr", { role: "row" }, ...sides.map((side, i) => h("td", { role: "gridcell", class: side, "aria-colindex": i + 1 })));
  return { tr, row: -1, epoch: -1, top: NaN };
}

/** Show `values`, or that they are on their way. */
export function writeRow(drawn: Drawn, row: number, values: Row | null, columns: readonly ColumnSpec[], { id, rowLabel }: TableOptions): void {
  const { tr } = drawn;
  drawn.row = row;
  tr.setAttribute("aria-rowindex", String(row + 2));
  tr.toggleAttribute("data-odd", row % 2 === 1);
  tr.dataset["id"] = values ? String(values[id]) : "";
  if (rowLabel) tr.ariaLabel = values ? rowLabel(values) : null;
  columns.forEach((spec, i) => {
    const td = tr.cells[i]!;
    const value = values?.[spec.name] ?? null;
    if (values && spec.cell) {
      td.replaceChildren();
      spec.cell(td, value, values);
      return;
    }
    write(td, values ? cellText(spec, value, values) : "…");
    if (!spec.bar) return;
    const share = values ? spec.bar(value, values) : 0;
    td.dataset["bar"] = "";
    td.style.backgroundSize = `${Math.round(100 * Math.min(1, Math.max(0, share || 0)))}% 100%`;
  });
}

/** Into the text node that is there: a new one for each cell costs most of a frame while a table rushes by. */
function write(cell: HTMLElement, text: string): void {
  const node = cell.firstChild;
  if (node instanceof Text && cell.childNodes.length === 1) {
    if (node.data !== text) node.data = text;
  } else cell.textContent = text;
  const title = text.length > 18 ? text : "";
  if (cell.title !== title) cell.title = title;
}
