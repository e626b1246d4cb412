// The line that says how far a job is, and the bar under it.
import css from "./bar.css";
import { h, setText } from "./dom.ts";
import { progressLine, share, stage, type Progress } from "./progress.ts";

export class ProgressBar {
  readonly #stage = h("span");
  readonly #numbers = h("span");
  readonly #fill = h("div");
  readonly #bar = h("div", { class: "bar", role: "progressbar", "aria-label": "Progress of this stage", "aria-valuemin": 0, "aria-valuemax": 100 }, this.#fill);
  readonly element = h("div", { class: "progress" }, h("style", {}, css), h("div", { class: "row" }, this.#stage, this.#numbers), this.#bar);

  draw(progress: Progress, status: string): void {
    const done = share(progress);
    setText(this.#stage, stage(progress.stage) + (done === null ? "" : ` · ${Math.floor(done * 100)} %`));
    setText(this.#numbers, progressLine(progress, status));
    this.#fill.style.width = `${100 * (done ?? 0)}%`;
    if (done === null) this.#bar.removeAttribute("aria-valuenow");
    else this.#bar.setAttribute("aria-valuenow", String(Math.floor(done * 100)));
  }
}
