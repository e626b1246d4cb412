// Earlier trainings beside this one: a list to choose from, asked from the kernel, and a legend of what is drawn.
import type { Verdict } from "./words.ts";
import { h, setText, show } from "../core/dom.ts";
import { ago, count, number } from "../core/format.ts";
import { category } from "../core/palette.ts";
import type { Source } from "../core/source.ts";
import type { Theme } from "../core/theme.ts";
import { historyOf, type Other, type Points, type Run } from "./run.ts";

/** What the kernel says of an earlier training of the same place. */
export interface Earlier {
  id: string;
  name: string;
  status: string;
  verdict: Verdict | null;
  fvu: number | null;
  d_sae: number;
  ended: string | null;
}
export type OtherData = Points & { id: string; name: string; d_sae: number };

const MOST = 7; // with the run's own, as many as there are colours that can be told apart

export function otherOf(data: OtherData): Other {
  return { id: data.id, name: data.name, width: data.d_sae, history: historyOf(data) };
}

export class Compare {
  readonly button = h("button", { type: "button", class: "small", "aria-expanded": "false" }, "Compare");
  readonly element: HTMLElement;
  readonly #list = h("ul", { class: "earlier", "aria-label": "Earlier trainings" });
  readonly #said = h("p", { class: "quiet", role: "status" });
  readonly #legend = h("ul", { class: "legend", "aria-label": "Curves" });
  readonly #run: Run;
  readonly #source: Source;
  #drawn = "";

  constructor(run: Run, source: Source) {
    [this.#run, this.#source] = [run, source];
    const box = h("div", { class: "picker", hidden: true }, this.#said, this.#list);
    this.element = h("div", {}, box, this.#legend);
    this.button.addEventListener("click", () => {
      show(box, Boolean(box.hidden));
      this.button.setAttribute("aria-expanded", String(!box.hidden));
      if (!box.hidden) void this.#look();
    });
  }

  draw(line: string, theme: Theme): void {
    const { others, card } = this.#run;
    show(this.#legend, others.length > 0);
    const drawn = JSON.stringify([others.map(({ id }) => id), line, theme, card?.name]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const items = others.length > 0 ? [h("li", {}, sample(line, []), h("span", {}, card?.name ?? "this run"))] : [];
    others.forEach((other, i) => {
      const { colour, dash } = category(i + 1, theme);
      const remove = h("button", { type: "button", class: "bare", "aria-label": `Take ${other.name} away` }, "×");
      remove.addEventListener("click", () => this.#set(others.filter((one) => one !== other)));
      items.push(h("li", {}, sample(colour, dash), h("span", {}, other.name), remove));
    });
    this.#legend.replaceChildren(...items);
    for (const box of this.#list.querySelectorAll("input")) box.checked = others.some(({ id }) => id === box.value);
  }

  async #look(): Promise<void> {
    if (this.#source.lane !== "live") return setText(this.#said, this.#source.why || "Earlier trainings are listed while a kernel is there.");
    setText(this.#said, "Looking for earlier trainings…");
    try {
      const { trainings } = await this.#source.ask<{ trainings: Earlier[] }>("earlier");
      this.#list.replaceChildren(...trainings.map((one) => this.#item(one)));
      setText(this.#said, trainings.length > 0 ? "" : "There is no other training of this layer and model yet.");
    } catch (error) {
      setText(this.#said, error instanceof Error ? error.message : String(error));
    }
  }

  #item(one: Earlier): HTMLElement {
    const box = h("input", { type: "checkbox", value: one.id, checked: this.#run.others.some(({ id }) => id === one.id) });
    const since = one.ended ? ago((Date.now() - Date.parse(one.ended)) / 1000) : one.status;
    const about = [`${count(one.d_sae)} latents`, one.fvu === null ? null : `FVU ${number(one.fvu)}`, one.verdict, since].filter(Boolean).join(" · ");
    box.addEventListener("change", () => void this.#toggle(box, one));
    return h("li", {}, h("label", {}, box, h("span", {}, one.name), h("span", { class: "quiet" }, about)));
  }

  async #toggle(box: HTMLInputElement, { id, name }: Earlier): Promise<void> {
    const others = this.#run.others.filter((one) => one.id !== id);
    if (!box.checked) return this.#set(others);
    if (others.length >= MOST) {
      box.checked = false;
      return setText(this.#said, `${MOST} at a time can be told apart; take one away first.`);
    }
    try {
      const found = await this.#source.ask<OtherData>("training", { id });
      setText(this.#said, `${name} is drawn.`);
      this.#set([...this.#run.others.filter((one) => one.id !== id), otherOf(found)]);
    } catch (error) {
      box.checked = false;
      setText(this.#said, error instanceof Error ? error.message : String(error));
    }
  }

  #set(others: Other[]): void {
    this.#run.others = others;
    this.#run.changed();
  }
}

/** A piece of the line as the charts draw it. */
function sample(colour: string, dash: readonly number[]): HTMLElement {
  const canvas = h("canvas", { width: 44, height: 12, class: "sample", "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  if (pen) {
    pen.scale(2, 2);
    [pen.strokeStyle, pen.lineWidth] = [colour, 1.5];
    pen.setLineDash([...dash]);
    pen.beginPath();
    pen.moveTo(0, 3);
    pen.lineTo(22, 3);
    pen.stroke();
  }
  return canvas;
}
