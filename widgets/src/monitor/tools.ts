// The controls over the charts of a training: x axis, y scale, smoothing, zoom.
import { choice } from "../core/controls.ts";
import { h, show } from "../core/dom.ts";
import { AXES, timed, type Axis } from "./axes.ts";
import type { Lens, YScale } from "./lens.ts";

const SCALES: Record<YScale, string> = { auto: "as suits", log: "log", linear: "linear" };
const SMOOTHING = { "0": "off", "0.01": "over 1 %", "0.05": "over 5 %", "0.2": "over 20 %" }; // of what is shown

const options = (names: Record<string, string>) => Object.entries(names).map(([value, label]) => ({ value, label }));

export class Tools {
  readonly parts: readonly HTMLElement[];
  readonly #lens: Lens;
  readonly #time: HTMLOptionElement;
  readonly #all = h("button", { type: "button" }, "Show all");

  constructor(lens: Lens, redraw: () => void) {
    this.#lens = lens;
    const axis = choice({ label: "x", options: options(AXES), value: lens.axis, onChange: (value) => lens.setAxis(value as Axis) });
    const scale = choice({
      label: "y", options: options(SCALES), value: lens.scale,
      onChange: (value) => {
        lens.scale = value as YScale;
        redraw();
      },
    });
    const smooth = choice({
      label: "Smooth", options: options(SMOOTHING), value: "0",
      onChange: (value) => {
        lens.smooth = Number(value);
        redraw();
      },
    });
    this.#time = axis.element.querySelector<HTMLOptionElement>('option[value="seconds"]')!;
    this.#all.addEventListener("click", () => lens.setRange(null));
    this.parts = [axis.element, scale.element, smooth.element, this.#all];
  }

  draw(): void {
    show(this.#all, this.#lens.range !== null);
    const known = timed(this.#lens.run.history);
    this.#time.disabled = !known;
    this.#time.title = known ? "Training time, without pauses" : "This run did not log how fast it was.";
  }
}
