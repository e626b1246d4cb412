// The list of probes, and everything about the one in hand.
import type { Columns, Filter } from "../core/columns.ts";
import { h } from "../core/dom.ts";
import { count, number } from "../core/format.ts";
import { localRows, remoteRows, virtualTable, type ColumnSpec, type Table } from "../core/rows.ts";
import type { Shell } from "../core/shell.ts";
import { fitted, Latest } from "./common.ts";
import type { CaptureModel } from "./model.ts";

const KEYS = 6; // metadata columns beside the text; the rest is said about the probe in hand

export interface ProbesPanel {
  readonly element: HTMLElement;
  readonly table: Table;
  /** Once it stands in the page. */
  fit(): void;
  setFilter(filter: Filter): void;
  show(id: number): void;
  refresh(): void;
}

interface Options {
  shell: Shell;
  model: CaptureModel;
  onSelect: (ids: number[]) => void;
  onLeft: (rows: number) => void;
}

export function probesPanel({ shell, model, onSelect, onLeft }: Options): ProbesPanel {
  const latest = new Latest(shell);
  const detail = h("div", { class: "detail", role: "status" }, h("p", { class: "told" }, "Point at a probe, or walk the list, to read it here."));
  let remote = !model.complete && model.live;
  const source = () => (remote ? remoteRows(model.source, "rows", model.digest.rows) : localRows(model.table));
  const table = virtualTable({
    columns: columns(model, 480), source: source(), height: 340, label: "Probes", id: "probe", empty: "No probe is left by the filter.",
    rowLabel: (row) => (model.bad.has(Number(row["probe"])) ? "has NaN or infinity" : ""),
    onSelect: (row) => show(Number(row["probe"])),
    onSelection: onSelect,
    onOrder: onLeft,
    onError: (error) => shell.fail(error),
  });
  let shown = -1;
  const show = (id: number) => {
    if (id === shown) return;
    shown = id;
    latest.run(async (signal) => {
      const info = await model.probe(id, signal);
      signal.throwIfAborted();
      const about = info.about.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value!)));
      detail.replaceChildren(
        h("h4", {}, `Probe ${id}`, model.bad.has(id) ? h("span", { class: "flag" }, "NaN or infinity") : null),
        h("p", { class: "probe" }, info.text),
        h("dl", {}, ...about, ...norms(model, info.norm)),
      );
    });
  };
  const element = h("section", { class: "part", role: "group", "aria-label": "Probes" }, h("h4", {}, "Probes"), table.element, detail);
  return {
    element,
    table,
    fit: () => fitted(shell, element, (width) => table.setColumns(columns(model, width))),
    setFilter(filter) {
      table.setFilter(filter).catch((error: unknown) => shell.fail(error));
    },
    show,
    refresh() {
      const now = !model.complete && model.live;
      if (now === remote) return;
      remote = now;
      table.setSource(source()).catch((error: unknown) => shell.fail(error));
    },
  };
}

function norms(model: CaptureModel, norm?: Float32Array): HTMLElement[] {
  if (!norm || norm.length === 0) return [];
  const [first, last] = [model.layers[0]!, model.layers.at(-1)!];
  const text = `${number(norm[0])} at layer ${first}${norm.length > 1 ? `, ${number(norm.at(-1))} at layer ${last}` : ""}`;
  return [h("div", {}, h("dt", {}, "norm"), h("dd", {}, text))];
}

function columns(model: CaptureModel, width: number): ColumnSpec[] {
  const probe: ColumnSpec = { name: "probe", label: "#", width: "60px", text: (value) => `${model.bad.has(Number(value)) ? "⚠ " : ""}${value}`, first: "ascending" };
  const keys = model.digest.fields.filter((field) => field.name in model.table.columns && !RESERVED.has(field.name)).slice(0, KEYS);
  const wide = keys.map(({ kind }) => (kind === "number" ? 76 : 100));
  const room = () => width - 60 - wide.reduce((sum, one) => sum + one, 0);
  while (room() < 190 && wide.length > 1) wide.pop(); // the probe in hand tells them all
  const left = room();
  const text: ColumnSpec = { name: "text", label: "text", width: `${Math.max(150, left)}px` };
  return [probe, text, ...keys.slice(0, wide.length).map(({ name }, at): ColumnSpec => ({ name, label: name, width: `${wide[at]}px` }))];
}

const RESERVED = new Set(["probe", "text"]);

/** Every probe that the filter leaves, as a table to take away. */
export async function everyProbe(model: CaptureModel, filter: Filter, told: (text: string) => void): Promise<Columns> {
  const source = !model.complete && model.live ? remoteRows(model.source, "rows", model.digest.rows) : localRows(model.table);
  const rows = await source.order(null, filter);
  const parts: Columns[] = [];
  for (let start = 0; start < rows; start += 2000) {
    if (rows > 4000) told(`Reading ${count(start)} of ${count(rows)} probes…`);
    parts.push(await source.page(start, 2000));
  }
  const names = Object.keys(parts[0]?.columns ?? model.table.columns);
  const joined = names.map((name) => [name, parts.flatMap((part) => Array.from(part.columns[name] as ArrayLike<string | number>, (value) => (value === null || Number.isNaN(value) ? null : String(value))))]);
  return { rows, columns: Object.fromEntries(joined) as Columns["columns"] };
}

