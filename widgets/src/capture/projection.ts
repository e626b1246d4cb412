// A layer in two dimensions: points are probes, coloured by metadata; box or lasso selects them.
import { choice, segmented, slider, type Control } from "../core/controls.ts";
import { h, setText, show } from "../core/dom.ts";
import { count, percent } from "../core/format.ts";
import { scatter, type PointColour, type Scatter, type ScatterData } from "../core/scatter.ts";
import { blank, type Shell } from "../core/shell.ts";
import { colourChoices, Latest } from "./common.ts";
import { places, pointColour } from "./colouring.ts";
import { NORM, type CaptureModel } from "./model.ts";

export interface ProjectionPanel {
  readonly element: HTMLElement;
  readonly plot: Scatter;
  readonly layer: number;
  setLayer(layer: number): void;
  setWanted(wanted: ReadonlySet<number> | null): void;
  /** The kernel came or went. */
  refresh(): void;
}

interface Options {
  shell: Shell;
  model: CaptureModel;
  onHover: (id: number | null) => void;
  onSelect: (ids: number[]) => void;
}

export function projectionPanel({ shell, model, onHover, onSelect }: Options): ProjectionPanel {
  const title = h("h4");
  const told = h("p", { class: "told" });
  const controls = h("div", { class: "controls" });
  const latest = new Latest(shell);
  const middle = () => model.projected[model.projected.length >> 1] ?? model.layers[0] ?? 0;
  let layer = middle();
  let field = colourChoices(model)[0]?.value ?? "";
  let wanted: ReadonlySet<number> | null = null;
  let ids = new Int32Array();
  let data: ScatterData = { x: new Float32Array(), y: new Float32Array() };
  let chooser: Control<number> | null = null;
  const plot = scatter({
    surface: shell, label: "Projection of probes", height: 400, ...data, xLabel: "", yLabel: "",
    tip: (index) => model.tip(ids[index]!), onHover, onSelect,
  });
  const none = blank("empty", "No projection was saved with the page.", "Run the cell again to see one.");
  const draw = () =>
    latest.run(async (signal) => {
      show(none, model.projected.length === 0);
      show(plot.element, model.projected.length > 0);
      setText(title, model.projected.length === 0 ? "Projection" : `Layer ${layer} in two dimensions`);
      if (model.projected.length === 0) return;
      const placed = await model.place(layer, signal);
      const found = await model.colouring(field, placed, layer, signal);
      signal.throwIfAborted();
      const keep = places(placed.ids, wanted);
      ids = Int32Array.from(keep, (at) => placed.ids[at]!);
      const pick = (values: Float32Array) => Float32Array.from(keep, (at) => values[at]!);
      const colour = pointColour(found, field === NORM ? `norm at layer ${layer}` : field, keep);
      const axis = (at: 0 | 1) => `component ${at + 1}${Number.isFinite(placed.explained[at]) ? ` · ${percent(placed.explained[at])} of the variance` : ""}`;
      // An absent colour must replace the one before.
      data = { x: pick(placed.x), y: pick(placed.y), ids, colour: colour as PointColour };
      plot.set({ ...data, xLabel: axis(0), yLabel: axis(1) });
      const gone = keep.reduce((sum, at) => sum + Number(Number.isNaN(placed.x[at]!)), 0);
      const some = placed.ids.length < model.digest.rows ? `${count(placed.ids.length)} of ${count(model.digest.rows)} probes, evenly spaced. ` : "";
      setText(told, some + (gone > 0 ? `${count(gone)} with NaN or infinity cannot be placed.` : ""));
    });
  const setLayer = (next: number) => {
    const known = model.projected;
    if (known.length === 0) return;
    layer = known.reduce((best, one) => (Math.abs(one - next) < Math.abs(best - next) ? one : best), known[0]!);
    chooser?.set(model.projected.indexOf(layer));
    draw();
  };
  const build = () => {
    const known = model.projected;
    controls.replaceChildren();
    chooser = null;
    if (known.length > 1) {
      chooser = slider({
        label: "Layer", low: 0, high: known.length - 1, step: 1, value: Math.max(0, known.indexOf(layer)), text: (at) => String(known[Math.round(at)]),
        onChange: (at) => {
          const next = known[Math.round(at)]!;
          if (next === layer) return;
          layer = next;
          draw();
        },
      });
      controls.append(chooser.element);
    }
    if (known.length > 0) {
      controls.append(
        choice({ label: "Colour", options: colourChoices(model), value: field, onChange: (next) => ((field = next), draw()) }).element,
        segmented({ label: "Dragging selects by", options: [{ value: "box", label: "Box" }, { value: "lasso", label: "Lasso" }], value: "box", onChange: (drag) => plot.set({ ...data, drag: drag as "box" | "lasso" }) }).element,
      );
    }
  };
  build();
  draw();
  return {
    element: h("section", { class: "part", role: "group", "aria-label": "Projection" }, title, controls, plot.element, none, told),
    plot,
    get layer() {
      return layer;
    },
    setLayer,
    setWanted(next) {
      wanted = next;
      draw();
    },
    refresh() {
      build();
      setLayer(layer);
    },
  };
}
