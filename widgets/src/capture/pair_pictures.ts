// The same layer of two captures in two dimensions, side by side: a probe selected in one is selected in the other.
import { choice, segmented, slider } from "../core/controls.ts";
import { h, setText, show } from "../core/dom.ts";
import { percent } from "../core/format.ts";
import { scatter, type PointColour, type Scatter } from "../core/scatter.ts";
import { blank, type Shell } from "../core/shell.ts";
import { places, pointColour } from "./colouring.ts";
import { Latest } from "./common.ts";
import { DISTANCE, type PairModel } from "./pair_model.ts";

export interface PairPictures {
  readonly element: HTMLElement;
  readonly plots: readonly [Scatter, Scatter];
  readonly layer: number;
  setLayer(layer: number): void;
  setPair(pair: PairModel): void;
  setWanted(wanted: ReadonlySet<number> | null): void;
  select(ids: readonly number[]): void;
}

interface Options {
  shell: Shell;
  pair: PairModel;
  tip: (id: number) => string;
  onLayer: (layer: number) => void;
  onHover: (id: number | null) => void;
  onSelect: (ids: number[]) => void;
}

export function pairPictures({ shell, pair: first, tip, onLayer, onHover, onSelect }: Options): PairPictures {
  const latest = new Latest(shell);
  const { digest } = first;
  let pair = first;
  let layer = pair.projected[pair.projected.length >> 1] ?? pair.layers[0] ?? 0;
  const category = digest.fields.find(({ kind, carried }) => kind === "category" && carried);
  let field = category?.name ?? (pair.distance ? DISTANCE : "");
  let wanted: ReadonlySet<number> | null = null;
  let ids = new Int32Array();
  let drag: "box" | "lasso" = "box";
  const nothing = { x: new Float32Array(), y: new Float32Array() };
  const make = () => scatter({ surface: shell, label: "Projection of probes", height: 300, ...nothing, xLabel: "", yLabel: "", tip: (index) => tip(ids[index]!), onHover, onSelect });
  const plots: [Scatter, Scatter] = [make(), make()];
  const titles = [h("h4"), h("h4")];
  const controls = h("div", { class: "controls" });
  const none = blank("empty", "No projection was saved with the page.", "Run the cell again to see one.");
  const row = h("div", { class: "two" }, h("div", {}, titles[0]!, plots[0].element), h("div", {}, titles[1]!, plots[1].element));
  const draw = () =>
    latest.run(async (signal) => {
      const empty = pair.projected.length === 0;
      show(none, empty);
      show(row, !empty);
      if (empty) return;
      const at = await pair.place(layer, signal);
      signal.throwIfAborted();
      const keep = places(digest.ids, wanted);
      ids = Int32Array.from(keep, (place) => digest.ids[place]!);
      const colour = pointColour(pair.colouring(field, layer), field === DISTANCE ? "1 − cosine" : field, keep) as PointColour;
      const pick = (values: Float32Array) => Float32Array.from(keep, (place) => values[place]!);
      const axis = (number: number, share: number) => `component ${number}${Number.isFinite(share) ? ` · ${percent(share)} of the variance` : ""}`;
      const sides = [[at.x, at.y, at.explained], [at.x2, at.y2, at.explained2]] as const;
      sides.forEach(([x, y, explained], side) => plots[side]!.set({ x: pick(x), y: pick(y), ids, colour, drag, xLabel: axis(1, explained[0]), yLabel: axis(2, explained[1]) }));
      setText(titles[0]!, `${digest.captures[0]!["capture"]}, layer ${layer}`);
      setText(titles[1]!, `${pair.pair.name}, layer ${layer}`);
    });
  const build = () => {
    const known = pair.projected;
    const steps = slider({
      label: "Layer", low: 0, high: Math.max(1, known.length - 1), step: 1, value: Math.max(0, known.indexOf(layer)), text: (place) => String(known[Math.round(place)] ?? ""),
      onChange: (place) => {
        const next = known[Math.round(place)];
        if (next === undefined || next === layer) return;
        layer = next;
        draw();
        onLayer(layer);
      },
    });
    const usable = digest.fields.filter(({ kind, carried }) => kind !== "text" && carried).map(({ name }) => ({ value: name }));
    const colours = [...usable, ...(pair.distance ? [{ value: DISTANCE, label: "distance of the two" }] : []), { value: "", label: "nothing" }];
    controls.replaceChildren(
      ...(known.length > 1 ? [steps.element] : []),
      choice({ label: "Colour", options: colours, value: field, onChange: (next) => ((field = next), draw()) }).element,
      segmented({ label: "Dragging selects by", options: [{ value: "box", label: "Box" }, { value: "lasso", label: "Lasso" }], value: drag, onChange: (next) => ((drag = next as "box" | "lasso"), draw()) }).element,
    );
  };
  const setLayer = (next: number) => {
    const known = pair.projected;
    layer = known.reduce((best, one) => (Math.abs(one - next) < Math.abs(best - next) ? one : best), known[0] ?? next);
    build();
    draw();
  };
  build();
  draw();
  return {
    element: h("section", { class: "part", role: "group", "aria-label": "Projections" }, controls, row, none),
    plots,
    get layer() {
      return layer;
    },
    setLayer,
    setPair(next) {
      pair = next;
      setLayer(layer);
    },
    setWanted(next) {
      wanted = next;
      draw();
    },
    select: (chosen) => plots.forEach((plot) => plot.select(chosen)),
  };
}
