// Captures side by side: what differs about them, curves by layer, linked projections, and how far each probe moved.
import { h, note, show } from "../core/dom.ts";
import { choice, disclosure, searchBox, segmented } from "../core/controls.ts";
import { count } from "../core/format.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { heatmap } from "../core/heatmap.ts";
import { lines } from "../core/lines.ts";
import { orderRows, type Filter } from "../core/columns.ts";
import { localRows, virtualTable } from "../core/rows.ts";
import { openShell, type Export } from "../core/shell.ts";
import type { Source } from "../core/source.ts";
import { curves, MEASURES, PairModel, type ComparisonDigest } from "./pair_model.ts";
import { fitted, layerTick, marked } from "./common.ts";
import { pairPictures } from "./pair_pictures.ts";
import { scaledDistance, sidesTable } from "./pair_parts.ts";
import { plural } from "./words.ts";
import style from "./style.css";

export function mountComparison(host: HTMLElement, data: ComparisonDigest, source: Source): () => void {
  const names = data.captures.map((row) => String(row["capture"]));
  const shell = openShell(host, { title: "Captures side by side", kind: "capture", label: `Comparison of ${names.join(", ")}`, css: style });
  shell.build(() => {
    shell.setSub(`${names.join(", ")} · ${plural(data.rows, "probe")} in the first · ${data.flagged === 0 ? "no probe differs" : `${plural(data.flagged, "probe")} flagged`}`);
    const measures = Object.keys(data.lines.columns).flatMap((column) => MEASURES.filter((one) => one.column.test(column)).map((one) => ({ value: column, label: one.label(column) }))).filter(({ value }) => curves(data.lines, names, value).length > 0);
    const pickLayer = (layer: number) => source.select({ of: "layers", ids: [layer] });
    const plot = lines({ surface: shell, label: "Captures by layer", height: 200, x: new Float64Array(), series: [], xLabel: "layer", yLabel: "", legend: true, xText: layerTick, onPick: (at) => pickLayer(Math.round(at)) });
    const showMeasure = (column: string) => plot.set({ series: curves(data.lines, names, column), yLabel: measures.find(({ value }) => value === column)?.label ?? "" });
    const measure = measures.some(({ value }) => value === "cosine_median") ? "cosine_median" : (measures[0]?.value ?? "");
    showMeasure(measure);
    const chooser = segmented({ label: "Curve", options: measures, value: measure, onChange: showMeasure });
    const curve = h("section", { class: "part", role: "group", "aria-label": "By layer" }, h("h4", {}, "By layer"), h("div", { class: "controls" }, chooser.element), plot.element);
    if (data.why) shell.body.append(note("bad", h("strong", {}, "The activations cannot be read. "), data.why));
    shell.body.append(h("div", { class: "two" }, sidesTable(data), curve));
    const pairs = data.pairs.map((pair, at) => new PairModel(data, pair, at + 1, source));
    const exported: Export[] = [
      { label: "By layer as CSV", name: "captures by layer.csv", make: () => toCsv(data.lines) },
      { label: "Probes that differ as CSV", name: "probes that differ.csv", make: () => toCsv(data.flags) },
      { label: "Curves as PNG", name: "captures by layer.png", make: () => plot.png() },
      { label: "Curves as SVG", name: "captures by layer.svg", make: () => plot.svg() },
    ];
    if (pairs.length > 0) exported.push(...matched(pairs));
    shell.body.append(...remarks(data));
    shell.follow(source);
    shell.exports([...exported, { label: "Everything as JSON", name: "captures.json", make: () => toJson({ captures: data.captures, layers: data.lines.columns, flags: data.flags.columns, notes: data.notes, methods: data.methods }) }]);
  });
  return () => shell.close();

  /** The parts about single probes, of one pair at a time. */
  function matched(pairs: PairModel[]): Export[] {
    let pair = pairs[0]!;
    let flags = pair.flags();
    let filter: Filter = {};
    let only = "all";
    let left = data.ids.length;
    const texts = new Map(Array.from(data.ids, (id, at) => [id, data.texts[at]!]));
    const pick = (ids: number[]) => source.select({ of: "probes", ids });
    const pickLayer = (layer: number) => source.select({ of: "layers", ids: [layer] });
    const tip = (id: number) => `${flags.known.has(id) ? `${flags.known.get(id)} · ` : ""}probe ${id}: ${(texts.get(id) ?? "").slice(0, 160)}`;
    const pictures = pairPictures({ shell, pair, tip, onLayer: () => void retable(), onHover: () => undefined, onSelect: pick });
    const table = virtualTable({
      columns: [],
      source: localRows(pair.table(pictures.layer, flags.known)), height: 320, label: "Matched probes", id: "probe", empty: "No probe is left by the filter.",
      onSelection: pick, onOrder: (rows) => ((left = rows), say()), onError: (error) => shell.fail(error),
    });
    const heat = heatmap({ surface: shell, label: "How far each probe moved at each layer", height: 260, shape: [1, 1], overview: { values: new Float32Array([NaN]), shape: [1, 1] }, scale: { low: 0, high: 1, label: "1 − cosine" }, xLabel: "probe", yLabel: "layer", onPick: (cell) => (pickLayer(pair.layers[cell.row]!), pick([data.ids[columns[cell.col]!]!])) });
    let columns: Uint32Array = Uint32Array.from(data.ids.keys());
    const extra = h("p", { class: "told" });
    const distances = h("section", { class: "part", role: "group", "aria-label": "Distances" }, h("h4", {}, "How far each probe moved at each layer"), heat.element);
    const say = () => {
      const chosen = source.selected("probes")?.ids.length ?? 0;
      const sample = data.ids.length < data.rows ? `${count(data.ids.length)} of ${count(data.rows)} probes in this view, evenly spaced` : "";
      shell.status([left < data.ids.length ? `${count(left)} of ${plural(data.ids.length, "probe")}` : plural(left, "probe"), chosen > 0 ? `${count(chosen)} selected` : "", sample].filter(Boolean).join(" · "));
    };
    const drawHeat = () => {
      show(distances, pair.distance !== null);
      if (!pair.distance) return;
      const { values, scale } = scaledDistance(pair.distance, columns);
      const shape: [number, number] = [pair.layers.length, columns.length];
      heat.set({ shape, overview: { values, shape }, scale, rowName: (row) => String(pair.layers[row]), colName: (col) => String(data.ids[columns[col]!]), note: (_row, col) => tip(data.ids[columns[col]!]!) });
    };
    const refilter = () => {
      const whole: Filter = only === "all" ? filter : { ...filter, among: { differs: [...new Set(flags.known.values())] } };
      table.setFilter(whole).catch((error: unknown) => shell.fail(error));
      columns = orderRows(pair.table(pictures.layer, flags.known), null, whole);
      const everything = Object.keys(whole).length === 0;
      pictures.setWanted(everything ? null : new Set(Array.from(columns, (at) => data.ids[at]!)));
      drawHeat();
    };
    const retable = () => table.setSource(localRows(pair.table(pictures.layer, flags.known))).catch((error: unknown) => shell.fail(error));
    const showPair = (at: string) => {
      pair = pairs[Number(at)]!;
      flags = pair.flags();
      pictures.setPair(pair);
      extra.textContent = flags.extra.length > 0 ? `Only in ${pair.pair.name}: ${flags.extra.slice(0, 5).map((text) => `“${text.slice(0, 60)}”`).join(", ")}${flags.extra.length > 5 ? ` and ${flags.extra.length - 5} more` : ""}` : "";
      void retable();
      refilter();
    };
    shell.toolbar.prepend(
      searchBox({ label: "Search probes", onInput: (text) => ((filter = text.trim() ? { text } : {}), refilter()) }).element,
      segmented({ label: "Which probes", options: [{ value: "all", label: "All" }, { value: "differ", label: "That differ" }], value: only, onChange: (value) => ((only = value), refilter()) }).element,
      ...(pairs.length > 1 ? [choice({ label: `${data.captures[0]!["capture"]} with`, options: pairs.map(({ pair: { name } }, at) => ({ value: String(at), label: name })), value: "0", onChange: showPair }).element] : []),
    );
    const list: HTMLElement = h("section", { class: "part", role: "group", "aria-label": "Probes" }, h("h4", {}, "Matched probes"), table.element, extra);
    shell.body.append(pictures.element, h("div", { class: "two" }, list, distances));
    fitted(shell, list, (width) => table.setColumns([
      { name: "probe", label: "#", width: "52px", text: String, first: "ascending" },
      { name: "text", label: "text", width: `${Math.max(110, width - 52 - 92 - 62 - 120)}px` },
      { name: "distance", label: "1 − cosine", title: "of the probe's two vectors at the layer shown", width: "92px" },
      { name: "row", label: "other", title: "its row in the other capture", width: "62px", text: (value) => (value === -1 ? "–" : String(value)) },
      { name: "differs", label: "differs", width: "132px" },
    ]));
    const chosen = () => {
      const ids = source.selected("probes")?.ids ?? [];
      table.select(ids, true);
      pictures.select(ids);
      const places = new Map(Array.from(columns, (at, col) => [data.ids[at]!, col]));
      heat.mark(marked(ids.flatMap((id) => places.get(id) ?? []), Math.max(0, pair.layers.indexOf(pictures.layer))));
      say();
    };
    shell.onClose(source.on("select", ({ of, ids }) => {
      if (of === "layers" && ids.length > 0) {
        if (ids.at(-1) !== pictures.layer) pictures.setLayer(ids.at(-1)!);
        void retable();
      }
      chosen();
    }));
    shell.onClose(source.on("lane", () => pictures.setPair(pair)));
    showPair("0");
    chosen();
    return [
      { label: "Matched probes as CSV", name: "matched probes.csv", make: () => toCsv(pair.table(pictures.layer, flags.known)) },
      ...pictures.plots.flatMap((plot, i) => {
        const name = i === 0 ? "first" : "second";
        return [
          { label: `Projection as PNG: ${name}`, name: `${name}.png`, make: () => plot.png() },
          { label: `Projection as SVG: ${name}`, name: `${name}.svg`, make: () => plot.svg() },
        ];
      }),
    ];
  }

}

function remarks(data: ComparisonDigest): HTMLElement[] {
  const notes = data.notes.map((text) => h("p", { class: "told" }, text));
  const methods = data.methods.length > 0 ? [disclosure({ summary: "How this was measured", body: () => h("div", {}, ...data.methods.map((text) => h("p", { class: "told" }, text))) })] : [];
  return [...notes, ...methods];
}

