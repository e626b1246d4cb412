// The features of one side: classes as chips, cosines as a histogram whose range filters, and the table.
import type { Columns, Filter } from "../core/columns.ts";
import { orderRows } from "../core/columns.ts";
import { chips, segmented } from "../core/controls.ts";
import { button, h, setText } from "../core/dom.ts";
import { count } from "../core/format.ts";
import { histogram, type Histogram } from "../core/histogram.ts";
import { localRows, virtualTable, type ColumnSpec, type Sort, type Table } from "../core/rows.ts";
import type { Shell } from "../core/shell.ts";
import { lowestFilled, numbers, other, rebinned, some, VERDICTS, type SideName } from "./data.ts";
import { kindName, kindTag } from "./kinds.ts";
import type { Explorer } from "./state.ts";

const WEAKEST: Sort = { column: "near", descending: false };
const BINS_TOGETHER = 4; // of 400: bars of 0.02
const MARKS = ["", "✓", "⚑", "✎"];

export interface Features {
  readonly element: HTMLElement;
  readonly histogram: Histogram;
  /** The next (1) or the one before (-1) in the order of the table, the first one when none is in focus. */
  step(by: 1 | -1): void;
  /** Show only these features of a; none lifts it. */
  only(ids: readonly number[]): void;
  /** What the table shows, for a file. */
  shown(): Columns;
}

export function features(explorer: Explorer, shell: Shell): Features {
  const { data } = explorer;
  const { word } = explorer;
  let chosen: ReadonlySet<number> = new Set<number>();
  let range: [number, number] | null = null;
  let table: Table | null = null;
  let order: Uint32Array | null = null; // of the table's rows, as sorted and filtered; null when it is to be made anew

  const sides = segmented({
    label: "Features of",
    options: [{ value: "a", label: "a", title: data.card.a.name }, { value: "b", label: "b", title: data.card.b.name }],
    value: explorer.side,
    onChange: (side) => explorer.list(side as SideName),
  });
  const kinds = chips({ label: "Class", values: [], onChange: () => refilter() });
  const said = chips({ label: "Said", values: [], onChange: () => refilter() });
  const told = h("div", { class: "told", role: "status" });
  const all = () => {
    chosen = new Set();
    range = null;
    bars.setRange(null);
    kinds.set([]);
    said.set([]);
    refilter();
  };
  const lift = button("Show all", all, { hidden: true });

  const from = Math.min(-0.2, lowestFilled(data.counts.pairs));
  const { null_line: line, null_typical: typical, thresholds } = data.card;
  const bars = histogram({
    surface: shell,
    label: `Matched ${word}s`,
    height: 160,
    ...rebinned(data.counts.pairs, BINS_TOGETHER, from),
    xLabel: `${word} with the partner`,
    unit: "pairs",
    ...(line !== null && { band: { low: typical ?? from, high: line, label: "by chance" } }),
    marks: [...(line !== null ? [{ at: line, label: `chance, 99 %` }] : []), { at: thresholds.tau, label: `τ ${thresholds.tau}` }],
    onRange: (next) => {
      range = next;
      refilter();
    },
  });

  const head = h("div", { class: "filters" }, h("span", { class: "control" }, h("span", { "aria-hidden": true }, "Features of"), sides.element), kinds.element, said.element);
  const place = h("div", { class: "rows" });
  const element = h("div", {}, head, bars.element, h("div", { class: "between" }, told, lift), place);

  const filter = (): Filter => {
    const among: Record<string, number[]> = {};
    if (kinds.value.length > 0) among["class"] = kinds.value.map(Number);
    if (said.value.length > 0) among["verdict"] = said.value.map(Number);
    if (chosen.size > 0) among[explorer.side === "a" ? "feature" : "partner"] = [...chosen];
    return { among, ...(range && { ranges: { cosine: range } }) };
  };
  const refilter = () => {
    order = null;
    table?.setFilter(filter()).catch((error: unknown) => shell.fail(error));
  };
  const ordered = () => {
    const here = explorer.tables[explorer.side];
    return (order ??= orderRows(here, table?.sort ?? WEAKEST, filter()));
  };

  const showChips = () => {
    const counts = explorer.side === "a" ? data.card.classes_a : data.card.classes_b;
    kinds.show(
      data.classes.flatMap((name, code) => (counts[name] ? [{ value: String(code), label: name, count: count(counts[name]), colour: `var(--kind-${code})` }] : [])),
    );
    const verdicts = numbers(explorer.tables[explorer.side], "verdict");
    const tally = [0, 0, 0, 0];
    for (const code of verdicts) tally[code]!++;
    said.show([1, 2, 3].flatMap((code) => (tally[code] ? [{ value: String(code), label: VERDICTS[code]!, count: count(tally[code]) }] : [])));
    said.element.hidden = tally[1]! + tally[2]! + tally[3]! === 0;
  };
  const tell = (rows: number) => {
    const here = explorer.tables[explorer.side];
    const total = data[explorer.side].total;
    const filtered = rows < here.rows;
    lift.hidden = !filtered;
    const held = here.rows < total ? `, the most telling of ${count(total)}` : "";
    setText(told, rows === here.rows ? `${some(rows, "feature")}${held}` : `${count(rows)} of ${some(here.rows, "feature")}${held}`);
  };

  const show = () => {
    const side = explorer.side;
    const source = localRows(explorer.tables[side]);
    order = null;
    if (table) {
      table.setColumns(columns(side, explorer, word));
      table.setSource(source).then(() => table!.setFilter(filter())).then(mark, (error: unknown) => shell.fail(error));
      return;
    }
    table = virtualTable({
      columns: columns(side, explorer, word),
      source,
      height: 360,
      label: "Features",
      id: "feature",
      sort: WEAKEST,
      empty: data.a.total + data.b.total > 0 ? "No feature passes these filters." : "There are no features.",
      rowLabel: (row) => `feature ${row["feature"]}, ${kindName(row["class"] as number, data.classes)}`,
      onSelect: (row) => explorer.focusFeature(explorer.side, Number(row["feature"])),
      onOrder: (rows) => {
        order = null;
        tell(rows);
      },
      onError: (error) => shell.fail(error),
    });
    place.append(table.element);
    tell(table.rows || explorer.tables[side].rows);
    shell.onClose(() => table?.close());
    mark();
  };
  const mark = () => {
    const ids = explorer.chosen(explorer.side);
    if (ids.length !== 1 || table?.selected.length !== 1 || table.selected[0] !== ids[0]) table?.select(ids, true);
  };

  explorer.on("pair", mark);
  const renew = () => {
    showChips();
    show();
  };
  explorer.on("side", () => {
    sides.set(explorer.side);
    kinds.set([]);
    renew();
  });
  explorer.on("tables", renew);
  explorer.on("notes", renew);
  renew();

  return {
    element,
    histogram: bars,
    step(by) {
      const rows = ordered();
      if (rows.length === 0) return;
      const here = explorer.tables[explorer.side];
      const ids = numbers(here, "feature");
      const at = rows.findIndex((row) => ids[row] === explorer.pair[explorer.side]);
      const next = at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by));
      explorer.focusFeature(explorer.side, ids[rows[next]!]!);
    },
    only(ids) {
      chosen = new Set(ids);
      refilter();
    },
    shown() {
      const rows = ordered();
      const here = explorer.tables[explorer.side];
      const made: Columns["columns"] = {};
      for (const [name, column] of Object.entries(here.columns)) {
        if (name === "near") continue; // only there to be sorted by
        if (name === "class") made[name] = Array.from(rows, (row) => kindName(column[row] as number, data.classes));
        else if (name === "verdict") made[name] = Array.from(rows, (row) => VERDICTS[column[row] as number] || null);
        else if (["partner", "nearest", "second", "parent"].includes(name)) made[name] = Float64Array.from(rows, (row) => ((column[row] as number) < 0 ? NaN : (column[row] as number)));
        else made[name] = Float32Array.from(rows, (row) => column[row] as number);
      }
      return { rows: rows.length, columns: made };
    },
  };
}

function columns(side: SideName, explorer: Explorer, word: string): ColumnSpec[] {
  const feature = (value: unknown) => (typeof value === "number" && value >= 0 ? String(value) : "–");
  const share = (value: unknown) => (typeof value === "number" ? Math.max(0, value) : 0);
  const there = other(side);
  return [
    { name: "feature", label: `${side}`, title: `Feature of ${side}`, width: "62px", align: "right", text: feature, first: "ascending" },
    { name: "class", label: "class", width: "minmax(106px, 1fr)", align: "left", first: "ascending", cell: (cell, value) => cell.replaceChildren(kindTag(value as number | null, explorer.data.classes)) },
    { name: "near", label: "nearest", title: `Largest ${word} with any feature of ${there}; dead features are sorted to the end`, width: "88px", text: (_, row) => fixed(row["nearest_cosine"]), bar: (_, row) => share(row["nearest_cosine"]), first: "ascending" },
    { name: "nearest", label: `in ${there}`, title: `The most similar feature of ${there}`, width: "62px", align: "right", text: feature },
    { name: "cosine", label: "partner", title: `${word} with the partner`, width: "82px", text: fixed, bar: share },
    { name: "partner", label: `in ${there}`, title: `The feature of ${there} it was matched with`, width: "62px", align: "right", text: feature },
    { name: "margin", label: "margin", title: "What the whole matching would lose at least without this pair", width: "68px", text: margin },
    { name: "q", label: "q", title: "False discovery rate: is the pair more alike than chance?", width: "70px", first: "ascending" },
    { name: "firing_rate", label: "fires", title: "Share of the sample's rows", width: "76px", text: rate },
    { name: "verdict", label: "said", title: "Accepted ✓, flagged ⚑ or remarked ✎", width: "48px", align: "left", text: (value) => MARKS[value as number] ?? "" },
  ];
}

/** A cosine with three decimals: columns of them are compared at a glance. */
export function fixed(value: unknown): string {
  return typeof value === "number" && !Number.isNaN(value) ? value.toFixed(3).replace("-", "−") : "–";
}

/** "none" for what is not distinguishable from 0. */
export function margin(value: unknown): string {
  if (typeof value !== "number" || Number.isNaN(value)) return "–";
  return value === Infinity ? "∞" : value < 5e-4 ? "none" : value.toFixed(3);
}

export function rate(value: unknown): string {
  if (typeof value !== "number" || Number.isNaN(value)) return "–";
  return value === 0 ? "never" : `${Number((100 * value).toPrecision(2))} %`;
}
