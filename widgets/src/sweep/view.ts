// A sweep: how well each layer is reconstructed, as curves and as a table, and what that does not mean.
import type { SaeSweepCard } from "../cards.gen.ts";
import { tabs } from "../core/controls.ts";
import { h, note } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { count, number, tick } from "../core/format.ts";
import { lines, type Lines } from "../core/lines.ts";
import type { Columns } from "../core/columns.ts";
import { blank, openShell, type Shell } from "../core/shell.ts";
import type { Selection, Source } from "../core/source.ts";
import { layerTable } from "./layers.ts";
import { quadrant, volumes, type StandingData } from "../standing/parts.ts";
import standingCss from "../standing/style.css";
import css from "./style.css";

export interface SweepData {
  card: SaeSweepCard;
  layers: Columns;
  /** A layer's number names each row. */
  by_layer: boolean;
  standing: StandingData;
}

export function mountSweep(host: HTMLElement, data: SweepData, source: Source): () => void {
  const { card } = data;
  const shell = openShell(host, { title: card.name, kind: "sweep", label: "Layer sweep", css: standingCss + css });
  shell.setPill(card.status);
  const rows = card.corpus ? `${count(card.corpus.tokens)} rows of ${card.corpus.name}` : "";
  shell.setSub([card.model?.name, `${data.layers.rows} ${data.layers.rows === 1 ? "dictionary" : "dictionaries"}`, rows].filter(Boolean).join(" · "));
  shell.follow(source);
  shell.build(() => build(shell, data, source));
  return () => shell.close();
}

function build(shell: Shell, data: SweepData, source: Source): void {
  const { card, layers, standing } = data;
  if (card.error) shell.body.append(note(card.status === "cancelled" ? "idle" : "bad", h("strong", {}, card.error.type), h("pre", {}, card.error.message)));
  if (layers.rows === 0) {
    shell.body.append(blank("empty", card.status === "running" || card.status === "queued" ? "No layer is done yet." : "No dictionary was trained."));
    return;
  }
  const plots = curves(shell, data);
  const table = layerTable({
    layers, numbered: data.by_layer,
    onSelect: (ids) => source.select({ of: "layers", ids }),
    onPoint: (row) => plots.forEach((plot) => plot.cursor(row === null ? null : data.by_layer ? Number(layers.columns["layer"]![row]) : row)),
  });
  shell.onClose(source.on("select", ({ of, ids }: Selection) => of === "layers" && table.select(ids)));
  table.select(source.selected("layers")?.ids ?? []);
  const points = standing.strengths.length > 0 ? quadrant(shell, standing) : null;
  const panels = [
    { name: "layers", label: "Layers", panel: h("div", {}, h("div", { class: "curves" }, ...plots.map(({ element }) => element)), table.element) },
    { name: "strength", label: "Strength", panel: h("div", {}, points?.element ?? blank("empty", "No dictionary can be placed.")) },
    { name: "volume", label: "Activations", panel: h("div", {}, standing.volumes.length > 0 ? volumes(standing) : blank("empty", "No volumes are known.")) },
  ];
  shell.body.append(tabs({ label: "What is shown", tabs: panels, onShow: () => [...plots, points].forEach((plot) => plot?.redraw()) }).element);
  if (card.caution) shell.body.append(note("idle", h("strong", {}, "How not to read this"), h("p", {}, card.caution)));
  for (const problem of standing.problems) shell.body.append(note("warn", problem));
  const file = (suffix: string) => `${card.name}.${suffix}`;
  shell.exports([
    { label: "Layers as CSV", name: file("csv"), make: () => toCsv(layers) },
    { label: "Card and layers as JSON", name: file("json"), make: () => toJson({ card, layers: layers.columns, strengths: standing.strengths }) },
    ...plots.flatMap((plot, i) => [
      { label: `${TITLES[i]} as PNG`, name: file(`${NAMES[i]}.png`), make: () => plot.png() },
      { label: `${TITLES[i]} as SVG`, name: file(`${NAMES[i]}.svg`), make: () => plot.svg() },
    ]),
  ]);
}

const TITLES = ["FVU", "Recon MSE and mean norm", "Dead latents"];
const NAMES = ["fvu", "recon_mse", "dead"];

function curves(shell: Shell, { layers, by_layer }: SweepData): Lines[] {
  const x = by_layer ? Float64Array.from(layers.columns["layer"] as ArrayLike<number>) : Float64Array.from({ length: layers.rows }, (_, i) => i);
  const hooks = layers.columns["hook"] as (string | null)[];
  const column = (name: string, factor = 1) => Float64Array.from(layers.columns[name] as ArrayLike<number>, (value) => factor * value);
  const plots: Lines[] = [];
  const together = (at: number | null) => plots.forEach((plot) => plot.cursor(at));
  const shared = {
    surface: shell, height: 190, x, yLabel: "", legend: true, text: number, yText: tick, xLabel: by_layer ? "layer" : "hook", onCursor: together,
    xText: (value: number) => (!Number.isInteger(value) ? "" : by_layer ? String(value) : (hooks[value] ?? "")),
  };
  plots.push(
    lines({ ...shared, label: TITLES[0]!, yRange: [0, 0], series: [{ label: "FVU", y: column("fvu") }] }),
    lines({ ...shared, label: TITLES[1]!, logY: true, series: [{ label: "recon MSE", y: column("recon_mse") }, { label: "mean norm", y: column("mean_norm"), category: 7 }] }),
    lines({ ...shared, label: TITLES[2]!, yRange: [0, 1], text: (value) => `${number(value)} %`, yText: (value) => `${tick(value)} %`, series: [{ label: "dead latents", y: column("dead_share", 100), category: 1 }] }),
  );
  return plots;
}
