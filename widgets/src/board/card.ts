// One card on the board. Built once and changed in place, so that what a person opened or focused stays so.

import { h, setText, show } from "../core/dom.ts";
import { count, duration, percent } from "../core/format.ts";
import { read } from "./access.ts";
import { hashOf } from "./address.ts";
import { Details } from "./details.ts";
import { context, face, plain } from "./faces.ts";
import { type CardView, type Fields, fields, quantity, text } from "./model.ts";
import { Curve } from "./spark.ts";
import { clock, lastContact, origin, took, wording } from "./words.ts";

export class CardElement {
  readonly element: HTMLElement;
  private readonly name = h("h2");
  private readonly pill = h("span", { class: "pill" });
  private readonly kind = h("span", { class: "kind" });
  private readonly again = h("span", { class: "again" });
  private readonly when = h("time");
  private readonly sub = h("div", { class: "sub" });
  private readonly contact = h("div", { class: "sub" });
  private readonly stage = h("span");
  private readonly left = h("span");
  private readonly bar = h("progress", { max: 1, "aria-label": "progress" });
  private readonly progress = h("div", { class: "progress" }, h("div", { class: "row" }, this.stage, this.left), this.bar);
  private readonly figures = h("div", { class: "facts" });
  private readonly canvas = h("canvas", { role: "img" });
  private readonly curveName = h("span");
  private readonly curveBox = h("div", { class: "curve" }, this.canvas, this.curveName);
  private readonly notes = h("div");
  private readonly sync = h("summary");
  private readonly rows = h("div", { class: "rows" });
  private readonly table = h("tbody");
  private readonly more = h("details", { class: "all" }, h("summary", {}, "Everything it says"), h("table", {}, this.table));
  private readonly box = h("input", { type: "checkbox", class: "pick" });
  private readonly permalink = h("a", { class: "permalink", title: "address of this card" }, "#");
  private readonly details = new Details();
  private curve: Curve | null = null;
  private curveOf = 0;
  private near = false;
  /** When it was selected, to compare cards in the order of selecting. */
  chosenAt = 0;

  constructor(
    public view: CardView,
    chosen: (card: CardElement) => void,
  ) {
    this.element = h(
      "article", { "data-card": view.id, tabindex: -1 },
      h("div", { class: "head" }, this.box, this.name, this.pill, this.kind, this.again, this.permalink, this.when),
      this.sub, this.contact, this.progress, this.figures, this.notes,
      h("div", { class: "folds" }, this.details.element, h("details", { class: "sync" }, this.sync, this.rows), this.more),
    );
    this.more.addEventListener("toggle", () => this.tell());
    this.box.addEventListener("change", () => {
      this.chosenAt = performance.now();
      this.element.classList.toggle("chosen", this.box.checked);
      chosen(this);
    });
    sight(this.element, () => {
      this.near = true; // a thousand cards must not ask for a thousand curves
      this.update(this.view);
    });
    this.update(view);
  }

  get selected(): boolean {
    return this.box.checked;
  }

  toggleSelected(): void {
    this.box.click();
  }

  /** Open the view of the whole, else everything the card says; close it when open. */
  expand(): void {
    const fold = this.details.there ? this.details.element : this.more;
    fold.open = !fold.open;
  }

  /** Bring it into sight, open, as a link to it asks. */
  reveal(): void {
    show(this.element, true);
    if (!this.details.element.open && !this.more.open) this.expand();
    this.element.scrollIntoView({ block: "start" });
    this.element.focus({ preventScroll: true });
  }

  update(view: CardView): void {
    this.view = view;
    const shown = face(view);
    const state = wording(view);
    setText(this.name, view.name || shown.title || "A run");
    this.box.setAttribute("aria-label", `Select ${this.name.textContent} to compare`);
    this.permalink.href = hashOf({ room: view.room, filter: "", card: view.id, compare: [], grouped: false });
    this.permalink.setAttribute("aria-label", `Address of ${this.name.textContent}`);
    this.details.update(view);
    setText(this.pill, state.label);
    this.pill.dataset.tone = state.tone;
    setText(this.kind, shown.title);
    setText(this.again, view.attempt > 1 ? `attempt ${view.attempt}` : "");
    setText(this.sub, [context(view), origin(view)].filter(Boolean).join(" · "));
    this.step();
    this.facts(shown.facts);
    this.trace(shown.curves);
    this.notes.replaceChildren(
      ...shown.notes.map((one) =>
        h("div", { class: "note", "data-tone": one.tone }, h("strong", {}, one.title), one.body ? `\n${one.body}` : null)),
    );
    show(this.more, Object.keys(fields(view.card)).length > 0);
    this.tell();
    this.tick(Date.now());
  }

  /** What changes with time alone. */
  tick(now: number): void {
    const { view } = this;
    setText(this.when, clock(view.completed_at ?? view.invoked_at, now));
    this.when.dateTime = view.completed_at ?? view.invoked_at ?? "";
    setText(this.contact, lastContact(view, now));
    show(this.contact, this.contact.textContent !== "");
    const events = view.attempts.reduce((sum, one) => sum + one.events, 0);
    const lost = view.attempts.reduce((sum, one) => sum + one.lost, 0);
    setText(this.sync, `Synced: ${count(events)} ${events === 1 ? "event" : "events"}${lost ? `, ${count(lost)} lost` : ""}`);
    const rows = view.attempts.flatMap((one, i) => {
      const state = wording(one);
      const kept = `${count(one.events)} events${one.lost ? `, ${count(one.lost)} lost` : ""}${one.late ? ", some after its end" : ""}`;
      const named = view.attempts.length > 1 ? `attempt ${one.attempt} · ` : "";
      const how = one.status === "running" || one.status === "unknown" ? state.label : `${took(one)} · ${kept}`;
      const ended = one.completed_at ? sentence(one.status) : sentence(state.label);
      return [
        row(i > 0, "Invoked", clock(one.invoked_at, now), `${named}${view.tool || "unknown verb"}`),
        row(false, ended, one.completed_at ? clock(one.completed_at, now) : "", one.completed_at ? how : kept),
      ];
    });
    this.rows.replaceChildren(...rows);
  }

  private step(): void {
    const { view } = this;
    const progress = fields(view.progress ?? fields(view.card).progress);
    const running = view.status === "running" && Object.keys(progress).length > 0;
    show(this.progress, running);
    this.progress.dataset.tone = wording(view).tone;
    if (!running) return;
    const [done, total] = [quantity(progress.done), quantity(progress.total)];
    const fraction = quantity(progress.fraction) ?? 0;
    const unit = text(progress.unit);
    const reached = total ? `${count(done)} of ${count(total)}${unit ? ` ${unit}` : ""}` : "";
    setText(this.stage, [sentence(text(progress.stage)) || "Running", reached].filter(Boolean).join(" · "));
    const seconds = quantity(progress.eta_seconds);
    setText(this.left, seconds === null ? percent(fraction) : `${percent(fraction)} · ${duration(seconds)} left`);
    this.bar.value = Math.max(0, Math.min(1, fraction));
  }

  private facts(facts: { value: string; label: string; why?: string }[]): void {
    this.figures.replaceChildren(
      ...facts.map((one) => h("div", { title: one.why }, h("b", {}, one.value), h("span", {}, one.label))),
      this.curveBox,
    );
  }

  private trace(columns: string[]): void {
    const { view } = this;
    if (columns.length && this.near && this.curveOf !== view.attempt) {
      this.curveOf = view.attempt;
      const curve = new Curve(columns);
      this.curve = curve;
      const path = `v1/cards/${encodeURIComponent(view.id)}/points?attempt=${view.attempt}&room=${encodeURIComponent(view.room)}`;
      void read<{ points: Fields[] }>(path).then(
        ({ points }) => {
          curve.begin(points);
          this.draw();
        },
        () => undefined, // the curve is an extra: the figures beside it are there already
      );
    }
    this.curve?.add(fields(view.point));
    this.draw();
  }

  private draw(): void {
    const name = this.curve?.name ?? "";
    show(this.curveBox, name !== "");
    show(this.figures, name !== "" || this.figures.childElementCount > 1);
    if (!name) return;
    const title = `${name === "fvu" ? "FVU" : name} over steps`;
    setText(this.curveName, title);
    this.canvas.setAttribute("aria-label", title);
    requestAnimationFrame(() => this.curve?.draw(this.canvas));
  }

  private tell(): void {
    if (!this.more.open) return;
    const left = Array.isArray(this.view.left_out) ? this.view.left_out.map(fields) : [];
    const rows = [...plain(this.view), ...left.map((one): [string, string] => [text(one.path), `left out here: ${text(one.what)}`])];
    this.table.replaceChildren(...rows.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value))));
  }
}

function row(old: boolean, what: string, when: string, how: string): HTMLElement {
  return h("div", { class: old ? "old" : null }, h("span", {}, what), h("span", {}, when), h("span", {}, how));
}

function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Call `seen` once, when the element is near the window for the first time. */
function sight(element: HTMLElement, seen: () => void): void {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      seen();
    },
    { rootMargin: "300px" },
  );
  observer.observe(element);
}
