// The layers of a sweep as a table: sorted by a click on a header, each row a toggle that selects its layer.
import { h } from "../core/dom.ts";
import { count, number, percent } from "../core/format.ts";
import { orderRows, valueAt, type Columns, type Sort } from "../core/columns.ts";

interface Head {
  name: string;
  label: string;
  title?: string;
  text?: (value: number) => string;
}

const HEADS: readonly Head[] = [
  { name: "layer", label: "Layer", text: (value) => (value < 0 ? "–" : String(value)) },
  { name: "hook", label: "Hook" },
  { name: "fvu", label: "FVU", title: "Fraction of variance unexplained, on held-out rows" },
  { name: "recon_mse", label: "Recon MSE" },
  { name: "mean_norm", label: "Mean norm", title: "Of the site's activations" },
  { name: "cosine", label: "Cosine" },
  { name: "l0", label: "L0" },
  { name: "dead_share", label: "Dead", text: percent },
  { name: "verdict", label: "Verdict" },
];

export interface LayerTable {
  readonly element: HTMLElement;
  /** From elsewhere: the rows whose layers are among these. */
  select(layers: readonly number[]): void;
}

export interface LayerOptions {
  layers: Columns;
  /** A layer's number names each row. */
  numbered: boolean;
  /** Layers that are selected after a person changed it. */
  onSelect: (layers: number[]) => void;
  /** Row under pointer or focus. */
  onPoint: (row: number | null) => void;
}

export function layerTable({ layers, numbered, onSelect, onPoint }: LayerOptions): LayerTable {
  const heads = HEADS.filter(({ name }) => !(numbered && name === "hook"));
  const chosen = new Set<number>();
  let sort: Sort | null = null;
  const buttons = heads.map(({ label, title }) => h("button", { type: "button", class: "bare", title }, label));
  const columns = buttons.map((button) => h("th", { scope: "col" }, button));
  const body = h("tbody");
  const layerOf = (row: number) => Number(layers.columns["layer"]![row]);
  const rows = Array.from({ length: layers.rows }, (_, row) => {
    const name = numbered ? `layer ${layerOf(row)}` : String(valueAt(layers.columns["hook"], row));
    const pick = h("button", { type: "button", class: "bare", "aria-label": `Select ${name}` }, text(heads[0]!, row));
    pick.addEventListener("click", () => {
      if (!chosen.delete(row)) chosen.add(row);
      draw();
      onSelect([...chosen].map(layerOf).filter((layer) => layer >= 0));
    });
    const cells = heads.slice(1).map((head) => h("td", {}, text(head, row)));
    const element = h("tr", {}, h("td", {}, pick), ...cells);
    element.addEventListener("pointerenter", () => onPoint(row));
    pick.addEventListener("focus", () => onPoint(row));
    return { element, pick };
  });

  function text({ name, text: read = number }: Head, row: number): string {
    const value = valueAt(layers.columns[name], row);
    return typeof value === "number" ? read(value) : (value ?? "–");
  }

  const draw = () =>
    rows.forEach(({ element, pick }, row) => {
      pick.setAttribute("aria-pressed", String(chosen.has(row)));
      element.toggleAttribute("data-chosen", chosen.has(row));
    });
  const order = () => body.replaceChildren(...Array.from(orderRows(layers, sort), (row) => rows[row]!.element));
  buttons.forEach((button, i) =>
    button.addEventListener("click", () => {
      const column = heads[i]!.name;
      sort = sort?.column === column ? (sort.descending ? null : { column, descending: true }) : { column, descending: false };
      columns.forEach((cell, c) => (c === i && sort ? cell.setAttribute("aria-sort", sort.descending ? "descending" : "ascending") : cell.removeAttribute("aria-sort")));
      order();
    }),
  );
  draw();
  order();
  const table = h("table", {}, h("caption", { class: "said" }, `${count(layers.rows)} dictionaries`), h("thead", {}, h("tr", {}, ...columns)), body);
  table.addEventListener("pointerleave", () => onPoint(null));
  return {
    element: h("div", { class: "layers" }, table),
    select(wanted) {
      chosen.clear();
      rows.forEach((_, row) => wanted.includes(layerOf(row)) && chosen.add(row));
      draw();
    },
  };
}
