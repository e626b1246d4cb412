// The quiet figures of a training beside its charts: one label and one value each, at the point that is looked at.
import { h, setText, show } from "../core/dom.ts";
import { number, rate } from "../core/format.ts";
import type { Column } from "../core/protocol.ts";
import type { History } from "../core/history.ts";
import type { Run } from "./run.ts";

const FIGURES: readonly { column: Column; label: string; long: string; text: (value: number) => string }[] = [
  { column: "explained_variance", label: "Explained variance", long: "Share of the variance that the reconstruction explains", text: number },
  { column: "cosine", label: "Cosine", long: "Mean cosine of a row with its reconstruction", text: number },
  { column: "lr", label: "Learning rate", long: "Learning rate of the step", text: number },
  { column: "grad_norm", label: "Gradient norm", long: "Norm of the gradient of all parameters, after clipping", text: number },
  { column: "tokens_per_second", label: "Tokens/s", long: "Rows of activations trained on in a second", text: rate },
];

export class Numbers {
  readonly element: HTMLElement;
  readonly #values = FIGURES.map(() => h("b"));
  readonly #cells: HTMLElement[];

  constructor() {
    this.#cells = FIGURES.map(({ label, long }, i) => h("div", { title: long }, h("span", {}, label), this.#values[i]!));
    this.element = h("div", { class: "numbers" }, ...this.#cells);
  }

  /** Show the figures of point `index`; those that a finished run never measured are left out. */
  draw(run: Run, history: History, index: number): void {
    FIGURES.forEach(({ column, text }, i) => {
      const values = history.column(column);
      const value = values[index];
      setText(this.#values[i]!, value === undefined || Number.isNaN(value) ? "–" : text(value));
      show(this.#cells[i]!, !run.over || values.some(Number.isFinite));
    });
    show(this.element, this.#cells.some((cell) => !cell.hidden));
  }
}
