// The virtual table.
import { localRows, remoteRows, type Columns, type RowSource, type Sort } from "../../core/rows.ts";
import { virtualTable, orderRows, take, type Filter } from "../../core/rows.ts";
import { percent } from "../../core/format.ts";
import { openShell } from "../../core/shell.ts";
import type { Source } from "../../core/source.ts";
import { toCsv, toJson } from "../../core/exports.ts";
import { searchBox } from "../../core/controls.ts";
import { count } from "../../core/format.ts";
import { HOSTILE, normal, numbers, register } from "../register.ts";
import { answering, gone } from "../source.ts";

const KINDS = ["shared", "rotated", "split", "merged", "dead"];

export function features(rows: number, nan = false, texts?: readonly string[]): Columns {
  const next = numbers(rows);
  const cosine = Float32Array.from({ length: rows }, (_, i) => (nan && i % 3 === 0 ? NaN : normal(next)));
  const rate = Float32Array.from({ length: rows }, (_, i) => (nan && i % 5 === 0 ? Infinity : 10 ** (-5 * next())));
  const kind = Array.from({ length: rows }, (_, i) => (texts ? texts[i % texts.length]! : KINDS[Math.floor(next() * 5)]!));
  return { rows, columns: { feature: Int32Array.from({ length: rows }, (_, i) => i), cosine, rate, kind } };
}

function mount(host: HTMLElement, data: Columns, rows: RowSource, source?: Source): () => void {
  const shell = openShell(host, { title: "Features", kind: "sample", label: "Features" });
  shell.setSub(`${count(data.rows)} features`);
  if (source) shell.follow(source);
  const table = virtualTable({
    columns: [
      { name: "feature", label: "Feature", width: "80px" },
      { name: "kind", label: "Class" },
      { name: "cosine", label: "Cosine", bar: (value) => Math.abs(Number(value)), title: "Cosine with its partner" },
      { name: "rate", label: "Fires", text: (value) => percent(value as number) },
    ],
    source: rows, height: 320, label: "Features", id: "feature",
    onSelect: (row, how) => shell.status(`Feature ${row["feature"]} by ${how}`),
    onSelection: (ids) => (host.dataset["selected"] = ids.slice(0, 50).join(" ")),
    onOrder: (left) => shell.setSub(`${count(left)} of ${count(data.rows)} features`),
    onError: shell.fail.bind(shell),
    empty: "No feature passes the filter.",
  });
  const search = searchBox({ label: "Search features", onInput: (text) => void table.setFilter({ text }).catch(shell.fail.bind(shell)) });
  shell.toolbar.append(search.element);
  shell.exports([
    { label: "CSV", name: "features.csv", make: () => toCsv(data) },
    { label: "JSON", name: "features.json", make: () => toJson(data) },
  ]);
  shell.body.append(table.element);
  shell.onClose(() => table.close());
  Object.assign(host, { table, shell, data });
  return () => shell.close();
}

/** As Python answers a page. */
function served(data: Columns) {
  return (params: { sort: Sort | null; filter: Filter; start: number; count: number; find?: { column: string; value: number } }) => {
    const order = orderRows(data, params.sort, params.filter);
    if (params.find) return { position: order.findIndex((row) => data.columns[params.find!.column]![row] === params.find!.value) };
    return { ...take(data, order.subarray(params.start, params.start + params.count)), total: order.length };
  };
}

const local = (host: HTMLElement, data: Columns) => mount(host, data, localRows(data));
register("table", "typical", (host) => local(host, features(500)));
register("table", "empty", (host) => local(host, features(0)));
register("table", "one", (host) => local(host, features(1)));
register("table", "NaN", (host) => local(host, features(60, true)));
register("table", "hostile", (host) => local(host, features(40, false, HOSTILE)));
register("table", "huge", (host) => local(host, features(131_072)));
register("table", "two million", (host) => {
  const rows = 2_000_000;
  return local(host, { rows, columns: { feature: Int32Array.from({ length: rows }, (_, i) => i), cosine: new Float32Array(rows), rate: new Float32Array(rows), kind: new Array<string>(rows).fill("shared") } });
});
register("table", "kernel", (host) => {
  const data = features(20_000);
  const source = answering({ features: served(data) }, 80);
  return mount(host, data, remoteRows(source, "features", data.rows), source);
});
register("table", "failed", (host) => {
  const source = gone();
  return mount(host, features(2000), remoteRows(source, "features", 2000), source);
});
