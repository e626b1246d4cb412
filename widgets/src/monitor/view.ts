// One view of a training run: its progress, its charts, what came of it, and what a person can do about it.
import type { ProgressBar } from "../core/bar.ts";
import { h, note, setText, show } from "../core/dom.ts";
import { openShell, type Shell } from "../core/shell.ts";
import type { Push, Source } from "../core/source.ts";
import { Compare, otherOf, type OtherData } from "./compare.ts";
import { Lens } from "./lens.ts";
import { Panels } from "./panels.ts";
import type { Resume } from "./resume.ts";
import type { Points, Run } from "./run.ts";
import { savings } from "./saving.ts";
import css from "./style.css";
import { Tools } from "./tools.ts";
import { endLines, remarks, stateLine, subtitle, VERDICTS } from "./words.ts";

const CLOCK_MS = 20_000; // "2 min ago" moves on even while nothing arrives
const REST = 6; // of a drawing's own time, before the next one that nobody asked for
const LONGEST_MS = 500; // and however long that is, a live curve moves twice a second

export interface MonitorOptions {
  /** Cancels the job that feeds the run; absent for one that is over. */
  cancel?: (() => void) | undefined;
  /** How far the job is; absent where the run is over. */
  progress?: ProgressBar;
  /** Goes on with a run that was stopped. */
  resume?: Resume;
  /** What stands under the charts of a run that is over. */
  folds?: (shell: Shell) => HTMLElement[];
}

/** Mount a view of `run` into `host`; what the page does not hold is asked of `source`. */
export function mountMonitor(host: HTMLElement, run: Run, source: Source, options: MonitorOptions = {}): () => void {
  const shell = openShell(host, { title: "Training monitor", kind: "monitor", label: "Training monitor", css });
  const view = new MonitorView(shell, run, source, options);
  return view.live();
}

class MonitorView {
  readonly #shell: Shell;
  readonly #run: Run;
  readonly #source: Source;
  readonly #options: MonitorOptions;
  readonly #cancel = h("button", { type: "button" }, "Cancel");
  readonly #end = h("div", { class: "end" });
  readonly #verdict = h("div", { role: "status" });
  readonly #notes = h("div", { role: "alert" });
  readonly #remarks = h("div", { class: "remarks" });
  readonly #state = h("div", { class: "state" });
  readonly #advice = h("div", { role: "status" });
  readonly #folds = h("div", { class: "folds" });
  readonly #lens: Lens;
  readonly #panels: Panels;
  readonly #tools: Tools;
  readonly #compare: Compare;
  #frame = 0;
  #timer = 0;
  #drawn = 0;
  #cost = 0; // milliseconds of the last drawing
  #said = ""; // what the notes were last built from

  constructor(shell: Shell, run: Run, source: Source, options: MonitorOptions) {
    [this.#shell, this.#run, this.#source, this.#options] = [shell, run, source, options];
    const redraw = () => this.#schedule();
    this.#lens = new Lens(run, redraw, (params, signal) => source.ask<Points>("points", params, signal));
    this.#panels = new Panels(this.#lens, redraw);
    this.#tools = new Tools(this.#lens, redraw);
    this.#compare = new Compare(run, source);
    this.#cancel.addEventListener("click", () => (options.cancel ? options.cancel() : void options.resume?.cancel()));
    shell.header.append(h("span", { class: "acts" }, options.resume?.bar, options.resume?.button, this.#cancel));
    shell.toolbar.before(...(options.progress ? [options.progress.element] : []), this.#end);
    shell.toolbar.append(...this.#tools.parts, this.#compare.button);
    // Advice comes last: it comes while somebody reads what is above.
    shell.body.append(this.#compare.element, this.#panels.element, this.#state, this.#verdict, this.#notes, this.#remarks, this.#advice, this.#folds);
  }

  /** Start following the run, the theme and the size; returns the function that stops it all. */
  live(): () => void {
    const shell = this.#shell;
    const redraw = () => this.#schedule();
    const ends = [this.#run.listen(() => this.#soon()), shell.onTheme(redraw), this.#source.on("lane", redraw)];
    const others = (data: OtherData[] | undefined) => {
      if (!data) return;
      this.#run.others = data.map(otherOf);
      this.#run.changed();
    };
    others(this.#source.pushed<OtherData[]>("others"));
    ends.push(this.#source.on("push", ({ topic, data }: Push) => topic === "others" && others(data as OtherData[])));
    if (!this.#options.cancel) shell.follow(this.#source); // a running job tells of its kernel itself
    shell.onResize((width) => {
      this.#panels.layout(width);
      redraw();
    });
    // Lab detaches cells that scroll away and a canvas may come back empty.
    const sight = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && redraw());
    sight.observe(shell.root);
    const clock = setInterval(() => !this.#run.over && redraw(), CLOCK_MS);
    shell.exports(savings(this.#lens, () => shell.colours()));
    redraw();
    return () => {
      clearInterval(clock);
      for (const end of ends) end();
      sight.disconnect();
      this.#lens.close();
      this.#options.resume?.close();
      shell.close();
      cancelAnimationFrame(this.#frame);
      clearTimeout(this.#timer);
    };
  }

  /** What arrives is drawn as often as the machine can bear: a seventh of its time at most. A touch is drawn at once. */
  #soon(): void {
    const wait = this.#drawn + REST * this.#cost - performance.now();
    if (this.#run.over || wait < 16) return this.#schedule();
    this.#timer ||= window.setTimeout(() => {
      this.#timer = 0;
      this.#schedule();
    }, Math.min(wait, LONGEST_MS));
  }

  #schedule(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const begun = performance.now();
      this.#draw();
      this.#drawn = performance.now();
      this.#cost = this.#drawn - begun;
    });
  }

  #draw(): void {
    const { card } = this.#run;
    const { over } = this.#run;
    if (!card) {
      this.#drawNotes();
      this.#shell.setSub("Waiting for the kernel…");
      for (const part of [this.#end, this.#cancel, this.#options.progress?.element, this.#shell.toolbar, this.#panels.element, this.#state]) if (part) show(part, false);
      return;
    }
    const drawn = !over || this.#run.history.rows > 0;
    show(this.#panels.element, drawn);
    show(this.#shell.toolbar, drawn);
    if (drawn) this.#panels.measure();
    this.#drawNotes();
    this.#shell.setTitle(card.name);
    this.#shell.setSub(subtitle(card));
    const stale = this.#run.trouble !== "" && !over;
    this.#shell.setPill(stale ? "no contact" : card.status, stale ? "unknown" : card.status);
    show(this.#cancel, this.#run.cancellable && !over);
    this.#cancel.disabled = this.#run.cancelling || stale;
    setText(this.#cancel, this.#run.cancelling ? "Cancelling…" : "Cancel");
    this.#options.resume?.draw();
    show(this.#end, over);
    const { progress } = this.#options;
    if (progress) show(progress.element, !over);
    if (!over) progress?.draw(card.progress, card.status);
    const state = stateLine(card, Date.now());
    show(this.#state, !over || state !== ""); // its place is kept while a checkpoint may come
    setText(this.#state, state);
    const colours = this.#shell.colours();
    this.#tools.draw();
    this.#compare.draw(colours.line, colours.theme);
    if (drawn) this.#panels.draw(colours, colours.theme);
  }

  #drawNotes(): void {
    const { card, trouble, error } = this.#run;
    const said = JSON.stringify([card?.verdict, card?.reasons, card?.error, card?.notes, card?.artifacts, card?.advice, trouble, error, this.#run.over && card?.held_out, card?.config]);
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
    const advice = (card?.advice ?? []).map((text) => h("li", {}, text));
    this.#advice.replaceChildren(...(advice.length > 0 ? [note("idle", h("strong", {}, "Advice"), h("ul", {}, ...advice))] : []));
    this.#drawFolds();
  }

  #drawFolds(): void {
    const { card, over } = this.#run;
    if (!card || !over || this.#folds.childElementCount > 0) return;
    this.#folds.append(...(this.#options.folds?.(this.#shell) ?? []));
  }
}
