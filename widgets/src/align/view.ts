// The explorer of an alignment: map, features, margins and thresholds, beside one pair under the glass.
import { searchBox, tabs } from "../core/controls.ts";
import { h, setText } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { count, number, percent } from "../core/format.ts";
import { openShell, type Export } from "../core/shell.ts";
import type { Source } from "../core/source.ts";
import { asked, some, type AlignData } from "./data.ts";
import { features } from "./features.ts";
import { inspector } from "./inspector.ts";
import { tintRoot } from "./kinds.ts";
import { alignmentMap, type AlignmentMap } from "./map.ts";
import { margins, threshold } from "./spread.ts";
import { Explorer } from "./state.ts";
import css from "./style.css";

const COMPARED: Record<string, string> = { decoder: "decoder rows", encoder: "encoder columns", both: "decoder rows, encoders beside", firings: "correlation of firings" };

export function mountAlign(host: HTMLElement, data: AlignData, source: Source): () => void {
  const { card } = data;
  const shell = openShell(host, { title: card.name, kind: "align", label: `Alignment ${card.name}`, css });
  const explorer = new Explorer(data, source, (error) => shell.fail(error));
  shell.onClose(() => explorer.close());
  shell.build(() => {
    shell.setPill(card.status);
    shell.setSub([`a ${named(data, "a")}`, `b ${named(data, "b")}`, `by ${COMPARED[card.on] ?? card.on}`, card.sample && `encoded \u2068${card.sample}\u2069`].filter(Boolean).join(" · "));
    const tint = () => tintRoot(shell.root, data.classes, shell.colours());
    tint();
    shell.onTheme(tint);

    const list = features(explorer, shell);
    const look = inspector(explorer, shell, (by) => list.step(by));
    let map: AlignmentMap | null = null;
    const saves: Record<string, Export[]> = {};
    const slug = card.name.slice(0, 60) || "alignment";
    const panels = Object.fromEntries(["features", "map", "margins", "threshold"].map((name) => [name, h("div")])) as Record<string, HTMLElement>;
    const drawn = (name: string, label: string, plot: { png(): Promise<Blob>; svg(): Blob }) => {
      saves[name] = [
        { label: `${label} (PNG)`, name: `${slug}-${name}.png`, make: () => plot.png() },
        { label: `${label} (SVG)`, name: `${slug}-${name}.svg`, make: () => plot.svg() },
      ];
      offer();
    };
    const offer = () =>
      shell.exports([
        { label: "Features shown (CSV)", name: `${slug}-features-${explorer.side}.csv`, make: () => toCsv(list.shown()) },
        { label: "Features shown (JSON)", name: `${slug}-features-${explorer.side}.json`, make: () => toJson(list.shown().columns) },
        { label: "Annotations (CSV)", name: `${slug}-annotations.csv`, make: () => toCsv(noted()) },
        { label: "Annotations (JSON)", name: `${slug}-annotations.json`, make: () => toJson([...explorer.notes.values()]) },
        ...Object.values(saves).flat(),
      ]);
    const noted = () => {
      const notes = [...explorer.notes.values()];
      const numbers = (name: "a" | "b") => Float64Array.from(notes, (note) => note[name] ?? NaN);
      const texts = (name: "verdict" | "note" | "at") => notes.map((note) => note[name]);
      return { rows: notes.length, columns: { a: numbers("a"), b: numbers("b"), verdict: texts("verdict"), note: texts("note"), at: texts("at") } };
    };

    panels["features"]!.append(list.element);
    const show = (name: string) => {
      const panel = panels[name]!;
      if (panel.childElementCount > 0) return;
      if (name === "map") {
        if (data.map.shape[0] === 0 || data.map.shape[1] === 0) return void panel.append(h("p", { class: "told" }, "No feature took part: there is no map."));
        map = alignmentMap(explorer, shell);
        panel.append(map.element);
        drawn(name, "Map", map.heat);
      } else if (name === "margins") {
        const { element, plot } = margins(explorer, shell, (ids) => {
          explorer.list("a");
          list.only(ids);
        });
        panel.append(element);
        drawn(name, "Margins", plot);
      } else if (name === "threshold") {
        const { element, plot } = threshold(explorer, shell);
        panel.append(element);
        drawn(name, "Thresholds", plot);
      }
    };
    const go = searchBox({
      label: "Go to a feature",
      placeholder: "Go to 17 or b 203",
      wait: 400,
      onInput: (text) => {
        const found = asked(text, explorer.side, { a: data.a.total, b: data.b.total });
        if (found) explorer.focusFeature(found.side, found.feature);
        if (found && views.value === "map") map?.reveal();
        const wide = `features 0 to ${count(data[explorer.side].total - 1)}`;
        shell.status(found || text.trim() === "" ? "" : `There is no feature “${text.slice(0, 40)}”: write a number, or a or b before it; ${explorer.side} has the ${wide}.`, "warn");
      },
    });
    shell.toolbar.prepend(go.element);
    drawn("features", "Histogram", list.histogram);
    const views = tabs({
      label: "Views",
      tabs: [
        { name: "features", label: "Features", panel: panels["features"]! },
        { name: "map", label: "Map", panel: panels["map"]! },
        { name: "margins", label: "Margins", panel: panels["margins"]! },
        { name: "threshold", label: "Threshold", panel: panels["threshold"]! },
      ],
      onShow: show,
    });
    shell.body.append(facts(explorer), h("div", { class: "split" }, views.element, look.element));

    shell.root.addEventListener("keydown", (event) => {
      const target = event.composedPath()[0];
      const typing = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const run = { j: () => list.step(1), k: () => list.step(-1), a: () => look.judge("accepted"), f: () => look.judge("flagged"), n: () => look.remark() }[event.key];
      if (!run) return;
      event.preventDefault();
      event.stopPropagation();
      run();
    });
    if (data.trouble) shell.fail(new Error(data.trouble));
    shell.follow(source);
    whenSeen(host, (closed) => shell.onClose(closed), () => {
      const load = () => void explorer.load();
      explorer.on("lane", load);
      load();
    });
    const held = () => {
      const whole = explorer.whole("a") && explorer.whole("b");
      shell.status(explorer.live ? "" : whole ? "Single pairs of the map and top texts need the kernel." : "This page holds the most telling features; all of them, single pairs of the map and top texts need the kernel.");
    };
    explorer.on("lane", held);
    held();
  });
  return () => shell.close();
}

function named(data: AlignData, side: "a" | "b"): string {
  const ref = data.card[side];
  // Isolated, so that a name's own direction of writing ends with the name.
  return `\u2068${ref.name || ref.path}\u2069 (${some(data[side].total, "feature")})`;
}

/** The numbers one looks at first. */
function facts({ data: { card }, word }: Explorer): HTMLElement {
  const told: [string, string, string][] = [
    [number(card.mean_cosine), `mean ${word}`, "over matched pairs, dead features included"],
    [percent(card.share_above_0_7), "pairs ≥ 0.7", "share of matched pairs"],
    [percent(card.mutual), "mutual", "features that are the nearest of their nearest"],
    [count(card.n_significant), "above chance", `of ${some(card.n_pairs, "pair")}, at a false discovery rate of 1 %`],
    [number(card.null_line), "chance, 99 %", `an unrelated feature's best ${word} is below this with 99 %`],
  ];
  const list = h("dl", { class: "facts" }, ...told.map(([value, name, help]) => h("div", { title: help }, h("dd", {}, value), h("dt", {}, name))));
  const verdict = h("div", { title: `sum of ${word}s ${card.objective.toPrecision(6)}, no matching has more than ${card.bound.toPrecision(6)}` }, h("dd"), h("dt", {}, some(card.n_pairs, "pair")));
  setText(verdict.firstElementChild as HTMLElement, card.verdict || "–");
  list.append(verdict);
  return list;
}

/** Once, when the element comes into sight. */
function whenSeen(element: HTMLElement, onClose: (closed: () => void) => void, seen: () => void): void {
  const sight = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    sight.disconnect();
    seen();
  });
  sight.observe(element);
  onClose(() => sight.disconnect());
}
