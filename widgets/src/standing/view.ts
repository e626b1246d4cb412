// Where dictionaries stand: the quadrant of strength and scale, and the volumes.
import { tabs } from "../core/controls.ts";
import { h, note } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { blank, openShell } from "../core/shell.ts";
import type { Source } from "../core/source.ts";
import { quadrant, strengthColumns, volumes, type StandingData } from "./parts.ts";
import css from "./style.css";

export function mountStanding(host: HTMLElement, data: StandingData, source: Source): () => void {
  const shell = openShell(host, { title: "Dictionary strength and activation scale", kind: "standing", label: "Dictionary strength and activation scale", css });
  const { strengths } = data;
  shell.setSub(`${strengths.length} ${strengths.length === 1 ? "dictionary" : "dictionaries"}`);
  shell.follow(source);
  shell.build(() => {
    const plot = strengths.length > 0 ? quadrant(shell, data) : null;
    const panels = [
      { name: "strength", label: "Strength", panel: h("div", {}, plot?.element ?? blank("empty", "No dictionary can be placed yet.")) },
      { name: "volume", label: "Activations", panel: h("div", {}, data.volumes.length > 0 ? volumes(data) : blank("empty", "No volumes are known.")) },
    ];
    shell.body.append(tabs({ label: "What is shown", tabs: panels, onShow: () => plot?.redraw() }).element);
    for (const problem of data.problems) shell.body.append(note("warn", problem));
    shell.exports([
      { label: "Table as CSV", name: "strength.csv", make: () => toCsv(strengthColumns(strengths)) },
      { label: "Data as JSON", name: "strength.json", make: () => toJson(data) },
      ...(plot ? [{ label: "Plot as PNG", name: "strength.png", make: () => plot.png() }, { label: "Plot as SVG", name: "strength.svg", make: () => plot.svg() }] : []),
    ]);
  });
  return () => shell.close();
}
