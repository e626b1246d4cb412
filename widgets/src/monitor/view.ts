// One view of a training run, in a shadow root so that the host's styles and ours leave each other alone.
import { ProgressBar } from "../core/bar.ts";
import type { ChartColours } from "../core/chart.ts";
import { h, note, setText, show } from "../core/dom.ts";
import panel from "../core/panel.css";
import { watchTheme } from "../core/theme.ts";
import { Panels } from "./panels.ts";
import type { Run } from "./run.ts";
import css from "./style.css";
import { endLines, remarks, stateLine, subtitle, VERDICTS } from "./words.ts";

const CLOCK_MS = 20_000; // "2 min ago" moves on even while nothing arrives

/** Mount a view of `run` into `host`. `cancel` is absent where there is no kernel to cancel anything. */
export function mountMonitor(host: HTMLElement, run: Run, cancel?: () => void): () => void {
  const view = new MonitorView(run, cancel);
  // Lab's notebook takes arrow keys from everything inside it unless an element asks it not to.
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  host.removeAttribute("style"); // a static result's box; ours has its own
  const shadow = host.attachShadow({ mode: "open" });
  shadow.append(h("style", {}, panel + css), view.root);
  return view.live();
}

class MonitorView {
  readonly root: HTMLElement;
  readonly #run: Run;
  readonly #title = h("h3");
  readonly #pill = h("span", { class: "pill", role: "status" });
  readonly #cancel = h("button", { type: "button" }, "Cancel");
  readonly #subtitle = h("div", { class: "sub" });
  readonly #progress = new ProgressBar();
  readonly #end = h("div", { class: "end" });
  readonly #verdict = h("div", { role: "status" });
  readonly #notes = h("div", { role: "alert" });
  readonly #remarks = h("div", { class: "remarks" });
  readonly #state = h("div", { class: "state" });
  readonly #advice = h("div", { role: "status" });
  readonly #panels = new Panels(() => this.#schedule());
  #colours: ChartColours | null = null;
  #frame = 0;
  #said = ""; // what the notes were last built from

  constructor(run: Run, cancel?: () => void) {
    this.#run = run;
    if (cancel) this.#cancel.addEventListener("click", cancel);
    else this.#cancel.remove();
    this.root = h(
      "section",
      { class: "panel monitor", "aria-label": "Training monitor" },
      h("header", {}, this.#title, this.#pill, cancel ? this.#cancel : null),
      this.#subtitle,
      this.#progress.element,
      this.#end,
      this.#panels.element,
      this.#state,
      this.#verdict,
      this.#notes,
      this.#remarks,
      this.#advice, // last: it comes while somebody reads what is above
      h("slot", { name: "details" }),
    );
  }

  /** Start following the run, the theme and the size; returns the function that stops it all. */
  live(): () => void {
    const unlisten = this.#run.listen(() => this.#schedule());
    const unwatch = watchTheme(this.root, (theme) => {
      this.root.dataset["theme"] = theme;
      this.#colours = null;
      this.#schedule();
    });
    const sizes = new ResizeObserver(() => {
      this.#panels.layout(this.root.clientWidth);
      this.#schedule();
    });
    sizes.observe(this.root);
    // Lab detaches cells that scroll away and a canvas may come back empty.
    const sight = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.#schedule());
    sight.observe(this.root);
    const clock = setInterval(() => !this.#run.over && this.#schedule(), CLOCK_MS);
    this.#schedule();
    return () => {
      clearInterval(clock);
      unlisten();
      unwatch();
      sizes.disconnect();
      sight.disconnect();
      cancelAnimationFrame(this.#frame);
    };
  }

  #schedule(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const { card } = this.#run;
    this.#drawNotes();
    if (!card) {
      setText(this.#title, "Training monitor");
      setText(this.#subtitle, "Waiting for the kernel…");
      for (const part of [this.#progress.element, this.#end, this.#cancel, this.#panels.element, this.#state, this.#pill]) show(part, false);
      return;
    }
    show(this.#panels.element, !this.#run.over || this.#run.history.rows > 0);
    setText(this.#title, card.name);
    setText(this.#subtitle, subtitle(card));
    const stale = this.#run.trouble !== "" && !this.#run.over;
    show(this.#pill, true);
    this.#pill.dataset["status"] = stale ? "unknown" : card.status;
    setText(this.#pill, stale ? "no contact" : card.status);
    show(this.#cancel, this.#run.cancellable && !this.#run.over);
    this.#cancel.disabled = this.#run.cancelling || stale;
    setText(this.#cancel, this.#run.cancelling ? "Cancelling…" : "Cancel");
    show(this.#progress.element, !this.#run.over);
    show(this.#end, this.#run.over);
    if (!this.#run.over) this.#progress.draw(card.progress, card.status);
    const state = stateLine(card, Date.now());
    show(this.#state, !this.#run.over || state !== ""); // its place is kept while a checkpoint may come
    setText(this.#state, state);
    this.#panels.draw(this.#run, (this.#colours ??= this.#readColours()));
  }

  #drawNotes(): void {
    const { card, trouble, error } = this.#run;
    const said = JSON.stringify([card?.verdict, card?.reasons, card?.error, card?.notes, card?.artifacts, card?.advice, trouble, error, this.#run.over && card?.held_out]);
    if (said === this.#said) return;
    this.#said = said;
    this.#end.replaceChildren(...(card && this.#run.over ? endLines(card) : []).map((text) => h("p", {}, text)));
    this.#verdict.replaceChildren();
    if (card?.verdict) {
      const { title, mark, tone } = VERDICTS[card.verdict];
      const reasons = card.reasons.map((reason) => h("li", {}, reason));
      this.#verdict.append(note(tone, h("strong", {}, `${mark} ${title}`), reasons.length > 0 && h("ul", {}, ...reasons)));
    }
    this.#notes.replaceChildren();
    if (card?.error) this.#notes.append(note(card.status === "cancelled" ? "idle" : "bad", h("strong", {}, card.error.type), h("pre", {}, card.error.message)));
    if (trouble) this.#notes.append(note("idle", trouble));
    if (error) this.#notes.append(note("bad", h("strong", {}, "The monitor failed"), h("pre", {}, error)));
    this.#remarks.replaceChildren(...(card ? remarks(card) : []).map((text) => h("p", {}, text)));
    this.#drawAdvice(card?.advice ?? []);
  }

  #drawAdvice(advice: readonly string[]): void {
    const lines = advice.map((text) => h("li", {}, text));
    this.#advice.replaceChildren(...(lines.length > 0 ? [note("idle", h("strong", {}, "Advice"), h("ul", {}, ...lines))] : []));
  }

  /** Canvas needs resolved colours; custom properties give theirs only through a real property. */
  #readColours(): ChartColours {
    const probe = h("i", { hidden: true });
    this.root.append(probe);
    const read = (name: string) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    const colours = { line: read("line"), text: read("muted"), grid: read("grid"), cursor: read("idle"), back: read("bg") };
    probe.remove();
    return colours;
  }
}
