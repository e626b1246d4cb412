// The capture browser: probes with filters, norms, a heat map and projections, all of one selection.
import { h } from "../core/dom.ts";
import { count, plural } from "./words.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { openShell } from "../core/shell.ts";
import type { Source } from "../core/source.ts";
import type { Filter } from "../core/columns.ts";
import { note } from "../core/dom.ts";
import { filters } from "./filters.ts";
import { heatPanel, normsPanel } from "./layers.ts";
import { CaptureModel, type CaptureDigest } from "./model.ts";
import { everyProbe, probesPanel } from "./probes.ts";
import { projectionPanel } from "./projection.ts";
import { details } from "./details.ts";
import style from "./style.css";

export function mountCapture(host: HTMLElement, data: CaptureDigest, source: Source): () => void {
  const { card } = data;
  const shell = openShell(host, { title: card.name, kind: "capture", label: `Capture ${card.name}`, css: style });
  shell.build(() => {
    const model = new CaptureModel(data, source);
    shell.setPill(card.status ?? "");
    shell.setSub(subtitle(data));
    let left = data.rows;
    let filter: Filter = {};
    const say = () => {
      const chosen = source.selected("probes")?.ids.length ?? 0;
      const layers = source.selected("layers")?.ids ?? [];
      const parts = [
        left === data.rows ? plural(data.rows, "probe") : `${count(left)} of ${plural(data.rows, "probe")}`,
        chosen > 0 ? `${count(chosen)} selected` : "",
        layers.length > 0 ? `${layers.length === 1 ? "layer" : "layers"} ${layers.slice(0, 8).join(", ")} selected` : "",
        !model.complete && !model.live ? `${count(model.ids.length)} saved with the page, evenly spaced` : "",
      ];
      shell.status(parts.filter(Boolean).join(" · "));
    };
    const pick = (ids: number[]) => source.select({ of: "probes", ids });
    const pickLayer = (layer: number) => source.select({ of: "layers", ids: [layer] });
    const probes = probesPanel({ shell, model, onSelect: pick, onLeft: (rows) => ((left = rows), say()) });
    const hover = (id: number | null) => void (id !== null && probes.show(id));
    const projection = projectionPanel({ shell, model, onHover: hover, onSelect: pick });
    const norms = normsPanel(shell, model, pickLayer);
    const heat = heatPanel({ shell, model, onHover: hover, onPick: (layer, id) => (pickLayer(layer), pick([id])) });

    const filtered = (next: Filter) => {
      filter = next;
      probes.setFilter(next);
      heat.setFilter(next);
      const everything = Object.keys(next).length === 0;
      if (everything) return projection.setWanted(null);
      model.match(next).then((ids) => filter === next && projection.setWanted(new Set(ids)), (error: unknown) => shell.fail(error));
    };
    const controls = filters(model, filtered);
    shell.toolbar.prepend(controls.search);
    const clear = h("button", { type: "button", class: "plain" }, "Select none");
    clear.addEventListener("click", () => pick([]));
    shell.toolbar.append(clear);
    if (data.why) shell.body.append(note("bad", h("strong", {}, "The activations cannot be read. "), data.why, " What the manifest says is shown."));
    if (data.bad_total) shell.body.append(note("warn", flagged(data)));
    for (const remark of card.notes ?? []) shell.body.append(h("p", { class: "told" }, remark));
    const pictures = data.norm ? [h("div", { class: "two" }, projection.element, probes.element), h("div", { class: "two" }, norms.element, heat.element)] : [h("div", { class: "two" }, norms.element, probes.element)];
    shell.body.append(controls.chips, ...pictures, details(data));
    probes.fit();

    const chosen = () => {
      const ids = source.selected("probes")?.ids ?? [];
      probes.table.select(ids, true);
      projection.plot.select(ids);
      heat.select(ids, projection.layer);
      clear.hidden = ids.length === 0;
      if (ids.length === 1) probes.show(ids[0]!);
      say();
    };
    shell.onClose(source.on("select", ({ of, ids }) => {
      if (of === "layers" && ids.length > 0 && ids.at(-1) !== projection.layer) projection.setLayer(ids.at(-1)!);
      chosen();
    }));
    shell.onClose(source.on("lane", () => {
      probes.refresh();
      heat.refresh();
      projection.refresh();
      say();
    }));
    chosen();
    shell.follow(source);
    const name = card.name.slice(0, 60) || "capture";
    shell.exports([
      { label: "Probes as CSV", name: `${name} probes.csv`, make: async () => toCsv(await everyProbe(model, filter, (text) => shell.status(text, "busy"))) },
      { label: "Manifest and norms as JSON", name: `${name}.json`, make: () => toJson({ facts: Object.fromEntries(data.facts), layers: data.layers, median: data.median, max: data.max, selected: source.selected("probes")?.ids ?? [] }) },
      ...(data.norm
        ? [
            { label: "Projection as PNG", name: `${name} projection.png`, make: () => projection.plot.png() },
            { label: "Projection as SVG", name: `${name} projection.svg`, make: () => projection.plot.svg() },
            { label: "Heat map as PNG", name: `${name} layers.png`, make: () => heat.plot.png() },
            { label: "Heat map as SVG", name: `${name} layers.svg`, make: () => heat.plot.svg() },
          ]
        : []),
      { label: "Norms as PNG", name: `${name} norms.png`, make: () => norms.plot.png() },
      { label: "Norms as SVG", name: `${name} norms.svg`, make: () => norms.plot.svg() },
    ]);
  });
  return () => shell.close();
}

function subtitle({ card, rows, layers }: CaptureDigest): string {
  const model = card.model ? card.model.name + (card.model.checkpoint ? ` + ${card.model.checkpoint.path.split(/[\\/]/).at(-1)}` : "") : "";
  const parts = [model, plural(rows, "probe"), plural(layers.length, "layer"), card.position === "mean" ? "mean over tokens" : "last token", card.dtype, card.topic ? `topic: ${card.topic}` : ""];
  return parts.filter(Boolean).join(" · ");
}

function flagged({ bad, bad_total }: CaptureDigest): string {
  const some = [...(bad ?? [])].slice(0, 8).join(", ");
  const total = bad_total ?? 0;
  return `${plural(total, "probe")} with NaN or infinity at some layer: ${some}${total > 8 ? ", …" : ""}. ${total === 1 ? "It is" : "They are"} left out of norms and projections; capture with dtype="float32" and check the checkpoint.`;
}
