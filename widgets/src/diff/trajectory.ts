// Trajectory (card kind saeTrajectory): curves over checkpoints, and a table of features that says which of them.
import type { Columns } from "../core/columns.ts";
import { searchBox, segmented } from "../core/controls.ts";
import { h, note } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { count, number } from "../core/format.ts";
import { lines, type Lines } from "../core/lines.ts";
import { localRows, virtualTable, type Table } from "../core/rows.ts";
import { openShell, type Shell } from "../core/shell.ts";
import type { Selection, Source } from "../core/source.ts";
import type { TrajectoryData } from "./codes.ts";
import { filterOf } from "./features.ts";
import { compared } from "./head.ts";
import { curves, pathColumns } from "./paths.ts";
import css from "./style.css";

export function mountTrajectory(host: HTMLElement, data: TrajectoryData, source: Source): () => void {
  const shell = openShell(host, { title: data.card.name, kind: "diff trajectory", label: `Trajectory ${data.card.name}`, css });
  let close = () => {};
  shell.build(() => (close = build(shell, data, source)));
  return () => {
    close();
    shell.close();
  };
}

function build(shell: Shell, data: TrajectoryData, source: Source): () => void {
  const { card } = data;
  const steps = card.stops.map((stop) => stop.step);
  const x = Float64Array.from(steps);
  let { paths } = data;
  let columns: Columns = pathColumns(paths, steps);
  let typed = "";
  let only = columns.columns["times"]!.some((times) => Number(times) > 0);
  shell.setPill(card.status);
  shell.setSub(compared(card, `${count(steps.length)} checkpoint${steps.length === 1 ? "" : "s"}`));

  const numbers = (values: (number | null)[]) => Float64Array.from(values, (value) => value ?? NaN);
  const main = lines({ surface: shell, label: "Change of features by step", height: 300, x, series: [], xLabel: "step", yLabel: "Δ of the mean activation", xText: count });
  const small = (label: string, values: (number | null)[], base?: number | null): Lines =>
    lines({ surface: shell, label, height: 150, x, xLabel: "step", yLabel: "", legend: true, xText: count, series: [{ label, y: numbers(values) }, ...(base == null ? [] : [{ label: "base", y: new Float64Array(steps.length).fill(base), category: 7 }])] });
  const panels = [
    small("features changed", card.stops.map((stop) => stop.n_changed)),
    small("mean |Δ|", card.stops.map((stop) => stop.mean_abs_delta)),
    ...(card.fvu_base === null ? [] : [small("FVU", card.stops.map((stop) => stop.fvu), card.fvu_base)]),
  ];

  const table: Table = virtualTable({
    columns: [
      { name: "feature", label: "feature", width: "minmax(72px, 1fr)", text: String, first: "ascending" },
      { name: "mean_base", label: "base", title: "mean activation in the base", width: "minmax(78px, 1fr)" },
      { name: "last", label: "Δ, last", title: "at the last checkpoint", width: "minmax(80px, 1fr)" },
      { name: "size", label: "max |Δ|", title: "the largest change at any checkpoint", width: "minmax(84px, 1fr)" },
      { name: "times", label: "changed at", title: "checkpoints at which it changed", width: "minmax(92px, 1fr)", text: (value) => `${value} of ${steps.length}` },
      { name: "since", label: "since step", title: "the first of them", width: "minmax(96px, 1fr)", first: "ascending", text: (value) => (value === null ? "–" : count(Number(value))) },
    ],
    source: localRows(columns), height: 300, label: "Features", id: "feature", sort: { column: "size", descending: true },
    rowLabel: (row) => `feature ${row["feature"]}`, empty: "No feature is left by these filters.",
    onSelection: (ids) => source.select({ of: "features", ids }),
    onOrder: () => tell(),
    onError: (error) => shell.fail(error),
  });

  const tell = () => {
    const held = paths.complete ? "" : `; this page holds the ${count(paths.rows)} that moved most`;
    shell.status(`${count(table?.rows ?? columns.rows)} rows${held}`);
  };
  const apply = () => {
    const filter = filterOf("all", { q: null, threshold: 0 }, typed);
    if (only) filter.ranges = { times: [1, null] };
    table.setFilter(filter).catch((error: unknown) => shell.fail(error));
  };
  const draw = (ids: readonly number[]) => {
    const feature = columns.columns["feature"] as Int32Array;
    const rows = ids.map((id) => feature.indexOf(id)).filter((row) => row >= 0);
    main.set({ series: curves(paths, rows.length > 0 ? rows : Array.from({ length: Math.min(6, paths.rows) }, (_, i) => i)) });
    hint.textContent = rows.length > 8 ? `The first 8 of ${count(rows.length)} selected features are drawn.` : rows.length > 0 ? "" : "The features that moved most; select rows to see theirs.";
  };
  const hint = h("p", { class: "quiet" });

  const search = searchBox({ label: "Feature numbers", onInput: (text) => ((typed = text), apply()) });
  const which = segmented({ label: "Which features", options: [{ value: "all", label: "All" }, { value: "changed", label: "Changed", title: "at some checkpoint" }], value: only ? "changed" : "all", onChange: (value) => ((only = value === "changed"), apply()) });
  shell.toolbar.append(search.element, which.element);
  const rule = `changed: q ≤ ${number(card.fdr)} and |Δ| ≥ ${number(card.threshold)}`;
  const remarks = [card.error ? note("bad", h("strong", {}, card.error.type), ` ${card.error.message}`) : null, ...[rule, ...card.notes].map((text) => h("p", { class: "quiet" }, text))];
  const nothing = steps.length === 0 ? h("div", { class: "blank" }, h("p", {}, "No checkpoint was compared.")) : null;
  shell.body.append(...[...remarks, nothing ?? h("div", {}, h("div", { class: "two-up" }, table.element, h("div", {}, main.element, hint)), h("div", { class: "three-up" }, ...panels.map((panel) => panel.element)))].filter((part) => part !== null));
  const stepColumns = () => ({ rows: paths.rows, columns: { ...columns.columns, ...Object.fromEntries(steps.map((step, s) => [`delta at ${step}`, Float32Array.from({ length: paths.rows }, (_, row) => paths.delta.values[row * steps.length + s]!)])) } });
  shell.exports([
    { label: "Table as CSV", name: `${card.name}.csv`, make: () => toCsv(stepColumns()) },
    { label: "Card and curves as JSON", name: `${card.name}.json`, make: () => toJson({ card, paths: stepColumns().columns }) },
    { label: "Curves as PNG", name: `${card.name}.png`, make: () => main.png() },
    { label: "Curves as SVG", name: `${card.name}.svg`, make: () => main.svg() },
  ]);
  shell.follow(source);

  const selected = ({ of, ids }: Selection) => {
    if (of !== "features") return;
    table.select(ids, true);
    draw(ids);
  };
  const stop = new AbortController();
  const more = async () => {
    if (source.lane !== "live" || paths.complete) return;
    try {
      ({ paths } = await source.ask<Pick<TrajectoryData, "paths">>("paths", {}, stop.signal));
      columns = pathColumns(paths, steps);
      await table.setSource(localRows(columns));
      apply();
      draw(source.selected("features")?.ids ?? []);
    } catch (error) {
      shell.fail(error);
    }
  };
  const stops = [source.on("select", selected), source.on("lane", () => void more())];
  apply();
  draw([]);
  const now = source.selected("features");
  if (now) selected(now);
  void more();
  return () => {
    stop.abort();
    stops.forEach((end) => end());
    table.close();
  };
}
